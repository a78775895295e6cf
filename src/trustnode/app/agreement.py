"""Agreements in force: what begins with one, and the steps that its parties and their venues take.

Decides: when the grant is active, who may suspend, resume or end, what a delegation covers. Leaves to others: how an
agreement comes about (``contract``), the tables (``core.contract``).
"""

from __future__ import annotations

from typing import Final

import msgspec

from trustnode.app import duties
from trustnode.app.submission import Answer, Submission, Unit, handles
from trustnode.app.transition import fire, pseudonym
from trustnode.app.venue import Sender
from trustnode.core.contract import (
    AGREEMENT,
    GRANT,
    Act,
    Agreement,
    AgreementFacts,
    AgreementState,
    Delegation,
    GrantFacts,
    GrantState,
)
from trustnode.core.document import decode, name_of
from trustnode.core.evidence.entry import parse_statement
from trustnode.core.participant import domain_of
from trustnode.errors import error
from trustnode.store.unit import Tx, View

LOOK: Final = 64
"""Entries read at a time on the way back to the stop that stands: hardly anything is logged behind one."""


def activate(tx: Tx, agreement: AgreementState, value: Agreement) -> AgreementState:
    """PERFORMING, with the grant that goes with it; before its start the agreement waits for a timer."""
    if tx.now < value.start:
        tx.at(value.start, "agreement", agreement.id, "activate")
        return agreement
    facts = AgreementFacts(start_reached=True, signatures_valid=True, product_registered=True, cleared=True)
    performing = fire(tx, AGREEMENT, agreement, "activate", "K", facts)
    grant = GrantState(
        id=agreement.id, agreement=agreement.id, holder=agreement.consumer, provider_node=agreement.provider_node,
        not_before=agreement.start, not_after=agreement.end,
    )  # fmt: skip
    grant_facts = GrantFacts(performing=True, holder_bound=True, started=True, compiled=True)
    issued = fire(tx, GRANT, grant, "issue", "K", grant_facts)
    fire(tx, GRANT, issued, "activate", "K", grant_facts)
    tx.at(agreement.end, "grant", agreement.id, "term_over")
    duties.watch(tx, agreement.id)
    return performing


async def prepare_act(submission: Submission[Act]) -> Unit:
    """Suspend, resume or end an agreement; the other node takes the same document."""
    venue, act, sender = submission.venue, submission.value, submission.sender

    def unit(tx: Tx) -> Answer:
        state = tx.get(AgreementState, act.object)
        actor = _actor(state, act, sender) if state else ""
        if state is None or not actor:
            raise error("NOT_FOUND", "no such agreement")
        stored = _ended(tx, state, act, actor, submission) if act.event == "end_early" else None
        if stored is None:
            cause = _cause(act)
            _check_cause(tx, state, act, actor, venue.domain)
            facts = AgreementFacts(
                start_reached=True, signatures_valid=True, product_registered=True, cleared=True,
                grounds=bool(act.reason), settled=False,
            )  # fmt: skip
            stored = fire(
                tx, AGREEMENT, state, act.event, actor, facts, by=act.iss, cause=cause, documents=(submission.digest,)
            )
        if sender.kind != "PEER":
            other = state.provider_node if venue.domain == state.consumer_node else state.consumer_node
            if other != venue.domain:
                tx.send(other, submission.document, object=state.id)
        return Answer.of(stored)

    return unit


def _actor(state: AgreementState, act: Act, sender: Sender) -> str:
    """Provider, consumer, or the venue of either; a peer hands over acts of its own side only."""
    if sender.kind == "PEER" and domain_of(act.iss) != sender.domain:
        return ""
    roles = {state.provider: "P", state.consumer: "C", state.provider_node: "V", state.consumer_node: "V"}
    return roles.get(act.iss, "")


def _cause(act: Act) -> str:
    return act.cause or ("OWNER" if act.iss.startswith("spiffe://") else "VENUE")


def _check_cause(tx: Tx, state: AgreementState, act: Act, actor: str, own: str) -> None:
    """A venue stops for itself and lifts for its own side: both venues are one letter in the table of causes.

    Raises:
        TrustnodeError: DUPLICATE, the other venue has stopped for this cause; ROLE_NOT_ALLOWED.
    """
    cause = _cause(act)
    if actor != "V" or act.event not in ("suspend", "lift_cause"):
        return
    stands = {tag[0] for tag in state.causes if tag.partition(":")[2] == cause}
    owners = {"P": state.provider_node, "C": state.consumer_node}
    if "V" in stands:
        owners["V"] = _set_by(tx, state.id, cause) or own
    if act.event == "suspend" and owners.get("V", act.iss) != act.iss:
        raise error("DUPLICATE", f"{owners['V']} has stopped it for {cause} already; name another cause", field="cause")
    if act.event == "lift_cause" and any(owners.get(letter, act.iss) != act.iss for letter in stands):
        raise error("ROLE_NOT_ALLOWED", f"only the side that set {cause} may lift it")


def _set_by(view: View, agreement: str, cause: str) -> str:
    """The venue whose act set a cause last; empty: no act, the node of this log did. No read stands behind a stop."""
    end = view.chain("agreement", agreement).seq
    while end > 0:
        page = view.evidence.chain("agreement", agreement, after=max(0, end - LOOK), limit=min(end, LOOK))
        for one in reversed(page):
            entry = parse_statement(one.statement) if one.statement is not None else None
            for digest in entry.documents if entry is not None and entry.type == "contract.suspend" else ():
                document = view.document(digest)
                act = decode(document, Act) if document is not None and document.name == name_of(Act) else None
                if act is not None and _cause(act) == cause and not act.iss.startswith("spiffe://"):
                    return act.iss
        end -= LOOK
    return ""


def _ended(tx: Tx, state: AgreementState, act: Act, actor: str, submission: Submission[Act]) -> AgreementState:
    """An early end: our data stop at once, the agreement ends when the other side signs too."""
    signed = tuple(sorted({*state.ending_signed_by, actor}))
    facts = AgreementFacts(both_ended={"P", "C"} <= set(signed))
    if facts.both_ended:
        return fire(
            tx, AGREEMENT, state, "end_early", actor, facts, by=act.iss, documents=(submission.digest,),
            ending_signed_by=signed,
        )  # fmt: skip
    if state.state != "PERFORMING":
        # Nothing moves: the end is signed by one side, and data flow no more already.
        stored = tx.save(msgspec.structs.replace(state, ending_signed_by=signed))
        tx.log("agreement", state.id, "contract.terminate", actor=pseudonym(act.iss), documents=(submission.digest,))
        return stored
    return fire(
        tx, AGREEMENT, state, "suspend", "P" if actor == "P" else "K", AgreementFacts(), by=act.iss, cause="OWNER",
        documents=(submission.digest,), ending_signed_by=signed,
    )  # fmt: skip


@handles(Delegation, "CLIENT")
async def delegate(submission: Submission[Delegation]) -> Unit:
    """A participant lets this venue ask in its name; kept here and carried with each request."""
    venue, value = submission.venue, submission.value
    if value.home != venue.domain or value.iss != submission.sender.participant or value.expires is None:
        raise error("ROLE_NOT_ALLOWED", "a participant delegates to its own venue, for a limited time")

    def unit(tx: Tx) -> Answer:
        for agreement, digest in value.agreements:
            state = tx.get(AgreementState, agreement)
            if state is None or state.document != digest or state.consumer != value.iss:
                raise error("NOT_FOUND", "no such agreement")
            tx.set_setting(f"delegation/{agreement}", submission.digest)
            tx.log("agreement", agreement, "grant.activate", documents=(submission.digest,), contract_id=agreement)
        return Answer(kind="agreement", id=value.agreements[0][0], state="DELEGATED", document=submission.digest)

    return unit


def parties_only(state: AgreementState | None, sender: Sender) -> AgreementState:
    """The agreement, for its parties, their nodes and the operator; the same answer to everybody else.

    Raises:
        TrustnodeError: NOT_FOUND.
    """
    allowed = state is not None and (
        sender.kind in ("OPERATOR", "SELF")
        or (sender.kind == "CLIENT" and sender.participant in (state.consumer, state.provider))
        or (sender.kind == "PEER" and sender.domain in (state.consumer_node, state.provider_node))
    )
    if not allowed or state is None:
        raise error("NOT_FOUND", "no such agreement")
    return state
