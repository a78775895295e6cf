"""``fire``: the only code that changes the state of an object, and what one change does to others.

Decides: that a step is its guard, new state, entry and effects in one unit (DESIGN 3.2), and the table of effects
(lifecycles 12). Leaves to others: the tables (``core``), the facts (the nouns).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from trustnode.core.access import ACCESS, AccessFacts, AccessState
from trustnode.core.carried import chain_of
from trustnode.core.catalog import LISTING, ListingFacts, ListingState, ProductState
from trustnode.core.contract import AGREEMENT, GRANT, AgreementFacts, AgreementState, GrantFacts, GrantState
from trustnode.core.lifecycle import Machine, State, step
from trustnode.core.participant import domain_of
from trustnode.core.states import MACHINES, STATES
from trustnode.errors import TrustnodeError
from trustnode.store.unit import RefusalRecord, Tx

S = TypeVar("S", bound=State)
EFFECTS_IN_ONE_UNIT: Final = 500
"""Dependent objects changed in the unit of the cause; the rest follows in further units."""


def fire(
    tx: Tx,
    machine: Machine[Any],
    state: S,
    event: str,
    actor: str,
    facts: Any,
    *,
    by: str = "",
    cause: str = "",
    documents: Sequence[str] = (),
    entry: Mapping[str, Any] | None = None,
    quiet: bool = False,
    **changes: Any,
) -> S:
    """Move one object one step.

    Args:
        tx: The unit.
        machine: The table.
        state: The object as read, or a new one with version 0.
        event: What happens.
        actor: Letter of who sends it.
        facts: What the guards look at.
        by: Who acts, for the entry.
        cause: Cause of ``suspend`` and ``lift_cause``; of an access: why it ended.
        documents: Digests of the documents that the entry reports.
        entry: Further fields of the entry.
        quiet: The entry is written by the step of another object in the same unit.
        **changes: Columns that change besides the state.

    Returns:
        The object as stored.

    Raises:
        TrustnodeError: As ``lifecycle.step``; carries the entry ``lifecycle.refuse``.
    """
    try:
        found = step(machine, state if state.version else None, event, actor, facts, cause=cause)
    except TrustnodeError as refusal:
        refusal.record = refusal.record or refusal_record(machine, state, event, by, refusal.reason)
        raise
    if cause and isinstance(state, AccessState):
        changes["cause"] = cause
    moved = msgspec.structs.replace(state, state=found.state, causes=found.causes, **changes)
    stored = tx.save(moved)
    if found.evidence and not quiet:
        kind, object_id = _chain(stored)
        tx.log(
            kind,
            object_id,
            found.evidence,
            **({"actor": pseudonym(by)} if by else {}),
            **({"from_state": state.state} if state.state else {}),
            to_state=found.state,
            documents=tuple(documents),
            **(entry or {}),
        )
    _effects(tx, machine, stored, changed=state.state != stored.state)
    return stored


def refusal_record(machine: Machine[Any], state: State, event: str, by: str, reason: str) -> RefusalRecord:
    """The entry of a step that was refused; an object that does not exist is not named (no chain starts by refusal)."""
    kind, object_id = _chain(state) if state.version else ("node", "refused")
    fields = {"reason_code": reason, **({"from_state": state.state} if state.state else {})}
    return RefusalRecord(
        object_kind=kind,
        object=object_id,
        event="lifecycle.refuse",
        caller=f"{by}/{machine.name}/{event}",
        fields=fields | ({"actor": pseudonym(by)} if by else {}),
    )


def _chain(state: State) -> tuple[str, str]:
    """Kind and name of the object in whose chain a state's entries stand (protocol 4)."""
    found = chain_of(state)
    if found is None:
        raise TypeError(f"{type(state).__name__} has no life cycle")
    return found


def pseudonym(who: str) -> str:
    """Who acted, short enough for an entry: the SPIFFE id without its scheme, cut to 64 characters."""
    return who.removeprefix("spiffe://")[-64:]


# --- what one machine does to the others (lifecycles 12) ------------------------------------------------------------

Effect = Callable[[Tx, Any], None]


def _effects(tx: Tx, machine: Machine[Any], state: State, *, changed: bool) -> None:
    if changed:
        for effect in EFFECTS.get((machine.name, state.state), ()):
            effect(tx, state)


def _more(tx: Tx, machine_name: str, state: State, found: Sequence[State]) -> None:
    if len(found) == EFFECTS_IN_ONE_UNIT:
        tx.at(tx.now, machine_name, state.id, "effects")


def _suspend_listings(tx: Tx, product: ProductState) -> None:
    for listing in tx.find(ListingState, product=product.id, state="LISTED", limit=EFFECTS_IN_ONE_UNIT):
        fire(tx, LISTING, listing, "suspend", "K", ListingFacts(), cause="REGISTRATION")


def _lift_listings(tx: Tx, product: ProductState) -> None:
    for listing in tx.find(ListingState, product=product.id, state="SUSPENDED", limit=EFFECTS_IN_ONE_UNIT):
        if "K:REGISTRATION" in listing.causes:
            fire(tx, LISTING, listing, "lift_cause", "K", ListingFacts(product_registered=True), cause="REGISTRATION")


def _end_listings(tx: Tx, product: ProductState) -> None:
    open_states = ("LISTING_REVIEW", "LISTED", "SUSPENDED", "DELIST_REVIEW")
    for listing in tx.find(ListingState, product=product.id, state=open_states, limit=EFFECTS_IN_ONE_UNIT):
        fire(tx, LISTING, listing, "registration_ended", "K", ListingFacts(product_ended=True))


_ENDABLE: Final = ("SIGNED", "FILED", "PERFORMING", "SUSPENDED", "BREACHED", "DISPUTED", "FULFILLED")


def _end_agreements(tx: Tx, product: ProductState) -> None:
    found = tx.find(AgreementState, product=product.id, state=_ENDABLE, limit=EFFECTS_IN_ONE_UNIT)
    for agreement in found:
        fire(tx, AGREEMENT, agreement, "end_by_order", "K", AgreementFacts(order_or_registration=True))
    _more(tx, "product", product, found)


def _suspend_grant(tx: Tx, agreement: AgreementState) -> None:
    grant = tx.get(GrantState, agreement.id)
    if grant and grant.state in ("ISSUED", "ACTIVE", "EXHAUSTED"):
        fire(tx, GRANT, grant, "suspend", "K", GrantFacts(), cause="SYSTEM")
    _abort_accesses(tx, agreement, "GRANT_INVALID")


def _resume_grant(tx: Tx, agreement: AgreementState) -> None:
    grant = tx.get(GrantState, agreement.id)
    if grant and grant.state == "SUSPENDED" and "K:SYSTEM" in grant.causes:
        fire(tx, GRANT, grant, "lift_cause", "K", GrantFacts(), cause="SYSTEM")


def _revoke_grant(tx: Tx, agreement: AgreementState) -> None:
    grant = tx.get(GrantState, agreement.id)
    if grant and grant.state not in GRANT.terminal:
        fire(tx, GRANT, grant, "revoke", "K", GrantFacts(right_lost=True))
    _abort_accesses(tx, agreement, "GRANT_INVALID")


def _abort_accesses(tx: Tx, agreement: AgreementState, cause: str) -> None:
    """Accesses that wait. A call that runs ends itself: its stream is stopped, and counts what flowed.

    At the home node the row of a running call is REQUESTED until then.
    """
    waiting = ("CONDITIONAL", "PREPARING", "PAUSED")
    for access in tx.find(AccessState, agreement=agreement.id, state=waiting, limit=EFFECTS_IN_ONE_UNIT):
        fire(
            tx, ACCESS, access, "abort", "K", AccessFacts(cause_named=True),
            cause=cause, entry={"access_id": access.id, "reason_code": cause},
        )  # fmt: skip


def suspend_agreements(tx: Tx, agreements: Sequence[AgreementState], cause: str, *, actor: str = "K") -> None:
    """Suspend running agreements for one cause; those already suspended get it too."""
    for agreement in agreements:
        if f"{actor}:{cause}" not in agreement.causes:
            fire(tx, AGREEMENT, agreement, "suspend", actor, AgreementFacts(), cause=cause)


def resume_agreements(tx: Tx, agreements: Sequence[AgreementState], cause: str, *, actor: str = "K") -> None:
    """Lift one cause; an agreement without another one performs again."""
    facts = AgreementFacts(start_reached=True, signatures_valid=True, product_registered=True, cleared=True)
    for agreement in agreements:
        if f"{actor}:{cause}" in agreement.causes:
            fire(tx, AGREEMENT, agreement, "lift_cause", actor, facts, cause=cause)


NODES: Final = ("consumer_node", "provider_node")
PARTIES: Final = ("consumer", "provider")


def _agreements_of(tx: Tx, sides: tuple[str, str], who: str, states: tuple[str, ...]) -> list[AgreementState]:
    """Agreements that have ``who`` on either side."""
    found = (tx.find(AgreementState, state=states, limit=EFFECTS_IN_ONE_UNIT, **{side: who}) for side in sides)
    return [agreement for one_side in found for agreement in one_side]


def _peer_gone(tx: Tx, peering: State) -> None:
    suspend_agreements(tx, _agreements_of(tx, NODES, peering.id, ("PERFORMING", "SUSPENDED")), "PEER")


def _peer_back(tx: Tx, peering: State) -> None:
    resume_agreements(tx, _agreements_of(tx, NODES, peering.id, ("SUSPENDED",)), "PEER")


def _participant_gone(tx: Tx, participant: State) -> None:
    suspend_agreements(tx, _agreements_of(tx, PARTIES, participant.id, ("PERFORMING", "SUSPENDED")), "VENUE")


def _participant_back(tx: Tx, participant: State) -> None:
    resume_agreements(tx, _agreements_of(tx, PARTIES, participant.id, ("SUSPENDED",)), "VENUE")


EFFECTS: Final[Mapping[tuple[str, str], tuple[Effect, ...]]] = {
    ("product registration", "DISPUTED"): (_suspend_listings,),
    ("product registration", "EXPIRED"): (_suspend_listings,),
    ("product registration", "REGISTERED"): (_lift_listings,),
    ("product registration", "CANCELLED"): (_end_listings,),
    ("product registration", "REVOKED"): (_end_listings, _end_agreements),
    ("agreement", "SUSPENDED"): (_suspend_grant,),
    ("agreement", "BREACHED"): (_suspend_grant,),
    ("agreement", "DISPUTED"): (_suspend_grant,),
    ("agreement", "PERFORMING"): (_resume_grant,),
    ("agreement", "TERMINATING"): (_revoke_grant,),
    ("peer agreement", "SUSPENDED"): (_peer_gone,),
    ("peer agreement", "TERMINATED"): (_peer_gone,),
    ("peer agreement", "APPROVED"): (_peer_back,),
    ("participant", "SUSPENDED"): (_participant_gone,),
    ("participant", "REVOKED"): (_participant_gone,),
    ("participant", "ENROLLED"): (_participant_back,),
}
"""(machine, new state) -> what follows for dependent objects, in the same unit."""


def continue_effects(tx: Tx, kind: str, id: str) -> None:
    """Go on with the effects of an object that has more dependents than one unit takes."""
    state = tx.get(STATES[kind], id)
    if state is not None:
        for effect in EFFECTS.get((MACHINES[kind].name, state.state), ()):
            effect(tx, state)


def end_agreements_of(tx: Tx, product: str) -> None:
    """End the agreements on a product that its home venue revoked."""
    found = tx.find(AgreementState, product=product, state=_ENDABLE, limit=EFFECTS_IN_ONE_UNIT)
    for agreement in found:
        fire(tx, AGREEMENT, agreement, "end_by_order", "K", AgreementFacts(order_or_registration=True))


def is_foreign(participant: str, domain: str) -> bool:
    """Whether a participant is of another venue."""
    return domain_of(participant) != domain
