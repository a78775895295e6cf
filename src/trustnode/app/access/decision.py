"""The decision: one durable unit that holds access row, reservation and entry (protocol 6.4, step 5).

Decides: that nothing is handed over before this unit is on the disk, and what it reserves. Leaves to others: the
checks before it (``admission``), what flows after it (``serving``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import msgspec

from trustnode.app.access.admission import Admission, Granted, check_usable
from trustnode.app.access.resuming import reads_of
from trustnode.app.participant import remember_foreign
from trustnode.app.quota import Reservation, cover, reserve, rows_left, window_of
from trustnode.app.transition import fire, pseudonym
from trustnode.app.venue import Venue
from trustnode.core import clock
from trustnode.core.access import (
    ACCESS,
    MAX_UNACKNOWLEDGED,
    AccessFacts,
    AccessState,
)
from trustnode.core.contract import AgreementState, GrantState
from trustnode.core.evidence.chain import ChainEnd
from trustnode.errors import TrustnodeError, error
from trustnode.store.unit import RefusalRecord, Tx

T = TypeVar("T")


class Held(msgspec.Struct, frozen=True):
    """What an access is and holds under one agreement: its entry in that chain, what it took of its limits."""

    access: str
    agreement: str
    seq: int
    link: str
    reserved: tuple[Reservation, ...]


class Decided(msgspec.Struct, frozen=True):
    """What the decision unit made durable."""

    held: tuple[Held, ...]
    """Under each agreement, the first one first."""
    rows_left: int | None
    """Rows that the limits of all still allow; None: no limit."""
    question: str = ""
    """Name of the stored answer; empty where answers are exact."""
    answered: bool = False
    """Whether it was answered before, so that nothing was spent."""
    window_ends: str = ""
    """Until when the answer is given again; empty: for ever."""
    reads: int = 1
    """How many reads it counts and costs as."""

    @property
    def seq(self) -> int:
        """Number of the entry in the first agreement's chain."""
        return self.held[0].seq

    @property
    def link(self) -> str:
        """Its link."""
        return self.held[0].link


async def decide(venue: Venue, admission: Admission, whole: Mapping[str, int] | None = None) -> Decided:
    """One durable unit: access row, reservation, entry (protocol 6.4, step 5).

    Args:
        venue: The node.
        admission: The request, checked and planned.
        whole: Rows and bytes of an answer that is complete already; None where a stream begins.

    Raises:
        TrustnodeError: QUOTA_*, REPLAYED, GRANT_INVALID, PRECONDITION_OPEN.
    """
    return await write_decision(venue, admission, lambda tx: decide_in(tx, venue, admission, whole), Decided)


async def write_decision(venue: Venue, admission: Admission, unit: Callable[[Tx], T], returns: type[T]) -> T:
    """Run a unit that decides; the consumer's key is remembered with it."""
    held = venue.keyring.key_documents.get(admission.key.value.participant)
    new = () if held is not None and held.digest == admission.key.digest else (admission.key,)

    def remembering(tx: Tx) -> T:
        answer = unit(tx)
        remember_foreign(tx, new, venue.domain)
        return answer

    answer = await venue.store.write(remembering, event_id="", returns=returns)
    for key in new:
        venue.keyring.add_participant(key)
    return answer


def decide_in(tx: Tx, venue: Venue, admission: Admission, whole: Mapping[str, int] | None) -> Decided:
    """The decision within a unit; as ``decide``."""
    tx.keep(admission.request.document)
    asked = _asked(tx, admission)
    reads = reads_of(tx, admission.request.value, admission.resumed)
    held: list[Held] = []
    left: list[int] = []
    for granted in admission.granted:
        one, rows = _decide_under(tx, venue, admission, granted, whole, reads)
        held.append(one)
        left += [] if rows is None else [rows]
    held[0] = msgspec.structs.replace(held[0], reserved=(*held[0].reserved, *asked.spent))
    return Decided(tuple(held), min(left, default=None), asked.question, asked.answered, asked.window_ends, reads)


def _decide_under(
    tx: Tx, venue: Venue, admission: Admission, granted: Granted, whole: Mapping[str, int] | None, reads: int
) -> tuple[Held, int | None]:
    """The decision in the chain of one agreement; what one of them refuses undoes all of the unit."""
    state = tx.get(AgreementState, granted.state.id)
    if state is None or tx.get(GrantState, state.id) is None:
        raise error("NOT_FOUND", "no such agreement")
    check_usable(tx, state)
    _check_acknowledged(tx, state, granted.contract.value.ack.term_s)
    if tx.get(AccessState, granted.id) is not None:
        raise _denial(admission, error("REPLAYED", "this request was answered before"))
    try:
        reserved = reserve(tx, granted.contract.policy.counters, granted.id, state.id, granted.zone, reads)
        left = rows_left(tx, reserved)
        reserved = (*cover(tx, reserved, granted.id, whole), *_delegated(tx, admission, granted))
    except TrustnodeError as refusal:
        raise _denial(admission, refusal) from None
    end = _log_decision(tx, venue, admission, granted)
    return Held(granted.id, state.id, end.seq, end.link.hex(), reserved), left


def _log_decision(tx: Tx, venue: Venue, admission: Admission, granted: Granted) -> ChainEnd:
    """Row and entry of the access under one agreement.

    Returns:
        Where the entry stands.
    """
    value, state = admission.request.value, granted.state
    facts = AccessFacts(
        grant_active=True,
        performing=True,
        well_formed=True,
        grade_sufficient=True,
        refusal=None,
        counters_reserved=True,
    )
    fresh = AccessState(
        id=granted.id, document=admission.request.digest, agreement=state.id, product=state.product,
        consumer=value.consumer, consumer_node=value.home, provider_node=venue.domain, purpose=value.purpose,
        grade=value.request_proof, plan_commitment=admission.plan_commitment, stream_salt=admission.salt.hex(),
        started_at=tx.now, resumes=value.resumes.access if value.resumes else "",
    )  # fmt: skip
    _commit_to_mark(tx, venue, granted)
    # Request, allow and prepared are one unit with one entry, `access.decide` (lifecycles 8).
    fresh = fire(tx, ACCESS, fresh, "request", "C", facts, by=value.consumer, quiet=True)
    fresh = fire(tx, ACCESS, fresh, "allow", "K", facts, quiet=True)
    fresh = fire(tx, ACCESS, fresh, "prepared", "K", facts, quiet=True)
    tx.log(
        "agreement", state.id, "access.decide", access_id=granted.id, actor=pseudonym(value.consumer),
        decision="ALLOW",
        documents=(admission.request.digest,), contract_id=state.id, plan_commitment=admission.plan_commitment,
        query_commitment=value.query_commitment, to_state="STREAMING",
    )  # fmt: skip
    end = tx.chain("agreement", state.id)
    tx.place(fresh, decision_seq=end.seq, decision_link=end.link.hex())
    return end


class _Asked(NamedTuple):
    """What a question costs where answers are noised."""

    question: str = ""
    answered: bool = False
    window_ends: str = ""
    spent: tuple[Reservation, ...] = ()


def _asked(tx: Tx, admission: Admission) -> _Asked:
    """Take the cost of the question, unless its answer is kept.

    Raises:
        TrustnodeError: QUOTA_*, the privacy budget is used up.
    """
    ledger = admission.ledger
    if ledger is None:
        return _Asked()
    window, ends = window_of(ledger.budget.window, tx.now, ledger.zone)
    question = admission.question(window)
    if tx.noised_answer(question) is not None:
        return _Asked(question, answered=True, window_ends=ends)
    try:
        spent = ledger.spend(tx, admission.granted[0].id)
    except TrustnodeError as refusal:
        raise _denial(admission, refusal) from None
    return _Asked(question, answered=False, window_ends=ends, spent=spent)


def _commit_to_mark(tx: Tx, venue: Venue, granted: Granted) -> None:
    """Before the first delivery of a marked copy, commit to what marks it: nobody can make it up once it leaked."""
    agreement = granted.state.id
    if not granted.contract.policy.is_marked or tx.find(AccessState, limit=1, agreement=agreement):
        return
    mark = venue.mark(granted.state.product, granted.state.consumer, agreement)
    tx.log("agreement", agreement, "delivery.prepare", contract_id=agreement, mark_commitment=mark.commitment)


def _delegated(tx: Tx, admission: Admission, granted: Granted) -> tuple[Reservation, ...]:
    """One access of those that the delegation covers: a venue that asks more often would spoil the evidence of both.

    Raises:
        TrustnodeError: QUOTA_TOTAL.
    """
    given, value = admission.delegation, admission.request.value
    if given is None or value.request_proof != "DELEGATED" or value.delegation_sha256 is None:
        return ()
    key = f"{granted.state.id}/delegation-{value.delegation_sha256[:32]}"
    if not tx.reserve(key, 1, given.max_accesses, access=granted.id):
        step = "The participant delegates anew: trustnode agreement delegate"
        raise error("QUOTA_TOTAL", f"the delegation covers {given.max_accesses:,} accesses", next_step=step)
    words = f"{given.max_accesses:,} accesses under one delegation"
    return (Reservation(key, "count", "", "", given.max_accesses, "QUOTA_TOTAL", words, 1),)


def _check_acknowledged(tx: Tx, state: AgreementState, term_s: int) -> None:
    """Receipts without a final acknowledgement: at most so many, and none older than the term (protocol 6.6, 6.7)."""
    if state.consumer_node == state.provider_node:
        return
    open_ones = {"agreement": state.id, "state": "DELIVERED", "carrier_ack": ""}
    oldest = tx.find(AccessState, order="ended_at", limit=1, **open_ones)
    if not oldest:
        return
    overdue = oldest[0].ended_at <= clock.shift(tx.now, -term_s)
    if overdue or tx.count(AccessState, **open_ones) >= MAX_UNACKNOWLEDGED:
        raise error("PRECONDITION_OPEN", "acknowledge the receipts of earlier reads first")


def _denial(admission: Admission, refusal: TrustnodeError) -> TrustnodeError:
    """The refusal with the entry that is due."""
    refusal.record = RefusalRecord(
        object_kind="agreement",
        object=admission.state.id,
        event="access.deny",
        caller=f"{admission.request.value.consumer}/{admission.state.id}",
        fields={
            "reason_code": refusal.reason,
            "decision": "DENY",
            "access_id": admission.id,
            "documents": (admission.request.digest,),
            "actor": pseudonym(admission.request.value.consumer),
        },
    )
    return refusal
