"""Duties in force: proofs are taken in, what is overdue suspends its agreement, a later proof lets it go on.

Decides: whose proof counts at the door, and what follows when a duty is overdue or shown as done. Leaves to others:
when a duty falls due and the table of its states (``core.duty``), what a decision makes of them (``core.policy``).

Both nodes of an agreement have its terms, its deliveries and every proof, so each looks at its own clock: nobody has to
tell the other that a day has passed, and a stop does not wait for a message.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from trustnode.app.submission import Answer, Submission, Unit, handles
from trustnode.app.transition import fire, resume_agreements, suspend_agreements
from trustnode.app.venue import Sender
from trustnode.core.access import AccessState
from trustnode.core.contract import Agreement, AgreementState
from trustnode.core.document import Document, decode
from trustnode.core.duty import DUTY, DutyFacts, DutyProof, DutyState, Watched, due_at, watched, why_not
from trustnode.core.participant import domain_of
from trustnode.core.policy.compiled import CompiledPolicy
from trustnode.errors import error
from trustnode.store.unit import Timer, Tx, View

CAUSE: Final = "DUTY"
TIMER: Final = "duty"
BEGUN: Final = ("PERFORMING", "SUSPENDED", "BREACHED", "DISPUTED", "FULFILLED", "TERMINATING")
"""States of an agreement in which its duties fall due; what was delivered is erased and paid after its end, too."""
PAGE: Final = 256
"""Accesses that are read at a time on the way to the first one that no proof covers."""


class Standing(NamedTuple):
    """Names of duties, for a decision."""

    fulfilled: frozenset[str] = frozenset()
    violated: frozenset[str] = frozenset()


NOTHING_SAID: Final = Standing()


def standing(view: View, agreement: str, policy: CompiledPolicy) -> Standing:
    """How the duties of an agreement stand; where none of them matters to a decision, nothing is looked up."""
    if not policy.waits_for_duties:
        return NOTHING_SAID
    rows = view.find(DutyState, agreement=agreement)
    return Standing(*(frozenset(row.duty for row in rows if row.state == state) for state in ("FULFILLED", "VIOLATED")))


# --- what falls due -------------------------------------------------------------------------------------------------


class _Terms(NamedTuple):
    value: Agreement
    duties: tuple[Watched, ...]


def _terms(view: View, state: AgreementState) -> _Terms | None:
    document = view.document(state.document)
    return _read(document.payload_type, document.payload) if document else None


@lru_cache(maxsize=256)
def _read(payload_type: str, payload: bytes) -> _Terms:
    value = decode(Document(payload_type, payload), Agreement)
    return _Terms(value, watched(value))


def _key(agreement: str, duty: str) -> str:
    return f"{agreement}/{duty}"


def _deliveries(view: View, agreement: str, covered: str) -> Iterator[AccessState]:
    """Accesses that ended after what is covered, in order."""
    after = (covered, chr(0x10FFFF))
    while page := view.find(AccessState, order="ended_at", after=after, limit=PAGE, agreement=agreement):
        yield from page
        after = (page[-1].ended_at, page[-1].id)


def _first_open(view: View, one: Watched, agreement: str, covered: str) -> str:
    """End of the first delivery for which something is owed and that no proof covers; empty: there is none."""
    if one.rule not in ("delivery", "cost"):
        return ""
    column = "rows" if one.rule == "delivery" else "cost_fen"
    return next((access.ended_at for access in _deliveries(view, agreement, covered) if getattr(access, column)), "")


def watch(tx: Tx, agreement: str) -> None:
    """From now on, look at the duties of an agreement when the first of them can be due."""
    state = tx.get(AgreementState, agreement)
    terms = _terms(tx, state) if state else None
    if state is not None and terms is not None:
        _look_again(tx, state, [_next_look(tx, state, terms, one, None) for one in terms.duties])


def look(tx: Tx, agreement: str) -> None:
    """Bring the duties of an agreement to this instant: what is overdue suspends it, what is done lets it go on."""
    state = tx.get(AgreementState, agreement)
    terms = _terms(tx, state) if state is not None and state.state in BEGUN else None
    if state is None or terms is None or not terms.duties:
        return
    rows = [_brought_to_now(tx, state, terms, one) for one in terms.duties]
    if any(row is not None and row.state == "VIOLATED" for row in rows):
        if state.state in ("PERFORMING", "SUSPENDED"):
            suspend_agreements(tx, [state], CAUSE)
    else:
        resume_agreements(tx, [state], CAUSE)
    open_ones = [(one, row) for one, row in zip(terms.duties, rows, strict=True) if not row or row.state != "VIOLATED"]
    _look_again(tx, state, [_next_look(tx, state, terms, one, row) for one, row in open_ones])


def fired(tx: Tx, timer: Timer) -> None:
    """The timer of an agreement's duties."""
    look(tx, timer.id)


def _brought_to_now(tx: Tx, state: AgreementState, terms: _Terms, one: Watched) -> DutyState | None:
    row = tx.get(DutyState, _key(state.id, one.name))
    due = _due(tx, state, terms, one, row)
    if not due or due > tx.now or (row is not None and row.state == "VIOLATED"):
        return row
    row = row or DutyState(id=_key(state.id, one.name), agreement=state.id, duty=one.name)
    return fire(tx, DUTY, row, "overdue", "T", DutyFacts(overdue=True), entry={"contract_id": state.id})


def _due(view: View, state: AgreementState, terms: _Terms, one: Watched, row: DutyState | None) -> str:
    covered = row.covered if row else ""
    ended = state.changed_at if state.state == "TERMINATING" else state.end
    return due_at(terms.value, one, covered, _first_open(view, one, state.id, covered), ended)


def _next_look(view: View, state: AgreementState, terms: _Terms, one: Watched, row: DutyState | None) -> str:
    """When a duty can be overdue first; a delivery that is still to come is not due before its own term is over."""
    due = _due(view, state, terms, one, row)
    if due or one.rule not in ("delivery", "cost"):
        return due
    later = due_at(terms.value, one, "", max(view.now, state.start), "")
    return later if state.state != "TERMINATING" else ""


def _look_again(tx: Tx, state: AgreementState, times: Sequence[str]) -> None:
    if first := min((time for time in times if time), default=""):
        tx.at(first, "agreement", state.id, TIMER)
    else:
        tx.forget_timer("agreement", state.id, TIMER)


# --- proofs ---------------------------------------------------------------------------------------------------------


@handles(DutyProof, "CLIENT", "OPERATOR", "PEER")
async def prove(submission: Submission[DutyProof]) -> Unit:
    """A party shows that a duty is done; the other node takes the same document."""
    venue, value, sender = submission.venue, submission.value, submission.sender

    def unit(tx: Tx) -> Answer:
        state, terms = _named(tx, value, sender)
        one = _owed(state, terms, value)
        row = tx.get(DutyState, _key(state.id, one.name)) or DutyState(
            id=_key(state.id, one.name), agreement=state.id, duty=one.name
        )
        if sender.kind != "PEER" or one.rule not in ("delivery", "cost"):  # each node has its own times of deliveries
            _check_owed(tx, state, terms, one, row, value)
        fire(
            tx, DUTY, row, "fulfil", "P" if one.prover == "provider" else "C",
            DutyFacts(covers=row.covered < value.until <= value.time), by=value.iss, documents=(submission.digest,),
            entry={"contract_id": state.id}, document=submission.digest, covered=value.until,
        )  # fmt: skip
        look(tx, state.id)
        other = state.provider_node if venue.domain == state.consumer_node else state.consumer_node
        if sender.kind != "PEER" and other != venue.domain:
            tx.send(other, submission.document, object=state.id)
        stored = tx.get(DutyState, row.id)
        return Answer.of(stored or row)

    return unit


def _named(tx: Tx, value: DutyProof, sender: Sender) -> tuple[AgreementState, _Terms]:
    """The agreement of a proof, for its parties; a peer hands over proofs of its own side only."""
    state = tx.get(AgreementState, value.agreement)
    if (
        state is None
        or state.document != value.agreement_sha256
        or value.iss not in (state.consumer, state.provider)
        or (sender.kind == "PEER" and domain_of(value.iss) != sender.domain)
    ):
        raise error("NOT_FOUND", "no such agreement")
    terms = _terms(tx, state)
    if terms is None or state.state not in BEGUN:
        raise error("ILLEGAL_TRANSITION", f"the agreement is {state.state}: nothing is owed under it")
    return state, terms


def _owed(state: AgreementState, terms: _Terms, value: DutyProof) -> Watched:
    """The duty that a proof names, if it is its issuer's to show."""
    one = next((one for one in terms.duties if one.name == value.duty), None)
    if one is None:
        known = ", ".join(one.name for one in terms.duties) or "none"
        raise error("NOT_FOUND", f"no duty {value.duty} can be shown as done here; there is: {known}", field="duty")
    if value.iss != getattr(state, one.prover):
        who = "the provider, who is paid, confirms it" if one.prover == "provider" else "the consumer shows it"
        raise error("ROLE_NOT_ALLOWED", f"{one.name}: {who}")
    return one


def _check_owed(
    tx: Tx, state: AgreementState, terms: _Terms, one: Watched, row: DutyState, value: DutyProof
) -> None:  # fmt: skip
    if value.until > value.time:
        raise error("FIELD_FORMAT", "nobody shows what is still to come", field="until")
    first = _first_open(tx, one, state.id, row.covered)
    if reason := why_not(terms.value, one, row.covered, first, value.until):
        raise error("DUPLICATE", f"{one.name}: {reason}", field="duty")
