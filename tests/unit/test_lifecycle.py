"""Every life cycle is a table; what is not in it is refused, and the tables have the size that the design counted."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustnode.core.access import ACCESS, AccessFacts
from trustnode.core.catalog import LISTING, PRODUCT, ListingFacts, ProductFacts
from trustnode.core.contract import (
    AGREEMENT,
    GRANT,
    NEGOTIATION,
    AgreementFacts,
    GrantFacts,
    NegotiationFacts,
)
from trustnode.core.evidence.events import EVENTS
from trustnode.core.lifecycle import ACTORS, Machine, State, step
from trustnode.core.participant import PARTICIPANT, ParticipantFacts
from trustnode.core.peering import PEERING, PeeringFacts
from trustnode.errors import TrustnodeError

COUNTS = [
    # machine, states, rows, events, illegal state x event pairs (lifecycles 2)
    (PRODUCT, 12, 38, 27, 288),
    (LISTING, 6, 19, 12, 55),
    (NEGOTIATION, 7, 19, 8, 39),
    (AGREEMENT, 9, 45, 17, 112),
    (PEERING, 5, 16, 11, 41),
    (GRANT, 6, 19, 8, 31),
    (ACCESS, 11, 30, 19, 180),
]
FACTS: dict[str, Any] = {
    PRODUCT.name: ProductFacts(),
    LISTING.name: ListingFacts(),
    NEGOTIATION.name: NegotiationFacts(),
    AGREEMENT.name: AgreementFacts(),
    PEERING.name: PeeringFacts(),
    GRANT.name: GrantFacts(),
    ACCESS.name: AccessFacts(),
    PARTICIPANT.name: ParticipantFacts(),
}
MACHINES: list[Machine[Any]] = [row[0] for row in COUNTS] + [PARTICIPANT]
INVERTED = {"own_offer", "open_objection", "objection_open", "filing_required", "sent_by_applicant"}
"""Facts that stand in the way when they are true."""


def generous(facts: Any) -> Any:
    """Facts under which every guard holds."""
    changes: dict[str, Any] = {}
    for item in fields(facts):
        value = getattr(facts, item.name)
        if isinstance(value, bool):
            changes[item.name] = item.name not in INVERTED
        elif isinstance(value, int):
            changes[item.name] = 1
        elif isinstance(value, tuple):
            changes[item.name] = None
    return replace(facts, **changes)


@pytest.mark.parametrize("machine, states, rows, events, illegal", COUNTS, ids=lambda m: getattr(m, "name", ""))
def test_table_has_the_size_that_the_design_counts(
    machine: Machine[Any], states: int, rows: int, events: int, illegal: int
) -> None:
    assert (len(machine.states), len(machine.rows), len(machine.events)) == (states, rows, events)
    assert len(machine.illegal_pairs) == illegal


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
def test_every_pair_outside_the_table_is_refused(machine: Machine[Any]) -> None:
    facts = generous(FACTS[machine.name])
    for state, event in machine.illegal_pairs:
        for actor in ACTORS:
            held = State(id="x", state=state, version=1, causes=("P:OWNER",))
            with pytest.raises(TrustnodeError) as refused:
                step(machine, held, event, actor, facts, cause="OWNER")
            assert refused.value.reason in ("ILLEGAL_TRANSITION", "ROLE_NOT_ALLOWED")


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
def test_rows_name_known_states_actors_and_evidence(machine: Machine[Any]) -> None:
    for row in machine.rows:
        assert row.target in machine.states
        assert row.source is None or row.source in machine.states
        assert set(row.actors) <= set(ACTORS)
        assert row.evidence == "" or row.evidence in EVENTS


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
def test_terminal_states_have_no_way_out(machine: Machine[Any]) -> None:
    assert not [row for row in machine.rows if row.source in machine.terminal]
    reachable = {row.source for row in machine.rows if row.source}
    assert machine.terminal == set(machine.states) - reachable


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
def test_every_row_fires_when_its_guard_holds(machine: Machine[Any]) -> None:
    for row in machine.rows:
        facts = generous(FACTS[machine.name])
        if row.when is not None and not row.when(facts):
            facts = replace(facts, notice_days=1 - facts.notice_days)
        if machine is PEERING and row.event == "withdraw":
            facts = replace(facts, sent_by_applicant=True)
        causes = ("P:OWNER", "V:VENUE") if "CAUSES_REMAIN" in getattr(row.when, "__name__", "") else ("P:OWNER",)
        if row.source != "SUSPENDED" and "NO_CAUSE_LEFT" in getattr(row.when, "__name__", ""):
            causes = ()
        held = State(id="x", state=row.source, version=1, causes=causes) if row.source else None
        actor: Any = "X" if "X" in row.actors and row.event == "lift_cause" else row.actors[0]
        found = step(machine, held, row.event, actor, facts, cause="OWNER")
        assert (found.state, found.evidence) == (row.target, row.evidence), (row.source, row.event)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
def test_a_guard_refuses_when_nobody_established_its_facts(machine: Machine[Any]) -> None:
    for row in machine.rows:
        if row.guard is None or row.when is not None:
            continue
        held = State(id="x", state=row.source, version=1) if row.source else None
        actor: Any = row.actors[0]
        if row.event == "withdraw" and machine is PEERING:
            continue  # its guard asks who sent it, and the default answer is the other side
        with pytest.raises(TrustnodeError):
            step(machine, held, row.event, actor, FACTS[machine.name], cause="OWNER")


def test_a_cause_is_lifted_only_by_who_set_it_or_a_higher_authority() -> None:
    held = State(id="x", state="SUSPENDED", version=1, causes=("V:VENUE",))
    with pytest.raises(TrustnodeError) as refused:
        step(LISTING, held, "lift_cause", "P", generous(ListingFacts()), cause="VENUE")
    assert refused.value.reason == "ROLE_NOT_ALLOWED"
    assert step(LISTING, held, "lift_cause", "X", generous(ListingFacts()), cause="VENUE").state == "LISTED"


@given(
    st.lists(st.tuples(st.sampled_from("PVXK"), st.sampled_from(["OWNER", "VENUE", "PEER"])), min_size=1, max_size=8)
)
def test_an_agreement_resumes_exactly_when_its_last_cause_is_lifted(causes: list[tuple[str, str]]) -> None:
    state = State(id="x", state="PERFORMING", version=1)
    for actor, cause in causes:
        found = step(AGREEMENT, state, "suspend", actor, AgreementFacts(), cause=cause)  # type: ignore[arg-type]
        state = State(id="x", state=found.state, version=1, causes=found.causes)
    while state.state == "SUSPENDED":
        actor, _, cause = state.causes[0].partition(":")
        found = step(AGREEMENT, state, "lift_cause", actor, generous(AgreementFacts()), cause=cause)  # type: ignore[arg-type]
        assert len(found.causes) < len(state.causes)
        assert (found.state == "PERFORMING") == (not found.causes)
        state = State(id="x", state=found.state, version=1, causes=found.causes)


REFUSED_ON_PURPOSE = [
    (PRODUCT, "REGISTERED", "submit"),
    (PRODUCT, "OBJECTED", "notice_over"),
    (PRODUCT, "REVOKED", "renew"),
    (PRODUCT, "DISPUTED", "request_change"),
    (PRODUCT, "CHANGE_REVIEW", "transfer"),
    (PRODUCT, "DRAFT", "revoke"),
    (LISTING, "SUSPENDED", "change_offer"),
    (LISTING, "DELISTED", "suspend"),
    (NEGOTIATION, "REQUESTED", "request"),
    (NEGOTIATION, "OFFERED", "verify"),
    (NEGOTIATION, "ACCEPTED", "verify"),
    (NEGOTIATION, "FINALIZED", "terminate"),
    (NEGOTIATION, "REQUESTED", "finalize"),
    (NEGOTIATION, "OFFERED", "agree"),
    (NEGOTIATION, "ACCEPTED", "offer"),
    (NEGOTIATION, "AGREED", "finalize"),
    (AGREEMENT, "SUSPENDED", "fulfil"),
    (AGREEMENT, "TERMINATED", "dispute"),
    (ACCESS, "PAUSED", "complete"),
]


@pytest.mark.parametrize("machine, state, event", REFUSED_ON_PURPOSE, ids=lambda v: getattr(v, "name", v))
def test_steps_that_are_refused_on_purpose(machine: Machine[Any], state: str, event: str) -> None:
    assert (state, event) in machine.illegal_pairs
