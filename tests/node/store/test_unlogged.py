"""No state and no counter moves without an entry that says so."""

from types import NoneType

import msgspec
import pytest
from node.store.world import statements

from trustnode.core.access import AccessState
from trustnode.core.catalog import CatalogEntry
from trustnode.core.contract import AgreementState, NegotiationState
from trustnode.core.evidence.entry import parse_statement


def do(store, unit):
    return store.write(lambda tx: unit(tx) and None, event_id="", returns=NoneType)


async def entries(store, kind="agreement", object="C1"):
    return [parse_statement(data) for data in await statements(store, kind, object)]


def fresh(id="a1", **columns):
    return AccessState(id=id, agreement="C1", state="REQUESTED", **columns)


async def test_an_entry_carries_what_changed_since_the_one_before(store):
    def unit(tx):
        first = tx.save(fresh(rows=1))
        tx.log("agreement", "C1", "access.request")
        tx.log("agreement", "C1", "access.precondition")
        second = tx.save(msgspec.structs.replace(first, rows=2))
        tx.save(msgspec.structs.replace(second, rows=3, state="ABORTED"))
        tx.log("agreement", "C1", "delivery.abort")

    await do(store, unit)
    created, nothing, moved = await entries(store)
    assert created.moved[0].columns == {"agreement": "C1", "state": "REQUESTED", "rows": 1}
    assert nothing.moved == ()
    assert (moved.moved[0].since, moved.moved[0].version) == (1, 3)
    assert moved.moved[0].columns == {"rows": 3, "state": "ABORTED"}


@pytest.mark.parametrize(
    "unit",
    [
        lambda tx: tx.save(fresh()),
        lambda tx: tx.save(fresh()) and tx.log("agreement", "C2", "access.request"),
        lambda tx: tx.log("agreement", "C1", "access.request") or tx.save(fresh()),
        lambda tx: tx.reserve("k", 1, 9, access="a1"),
        lambda tx: tx.reserve("k", 1, 9, access="a1") and tx.log("agreement", "C1", "access.decide", access_id="a2"),
    ],
)
async def test_a_unit_that_moves_something_without_an_entry_is_refused(store, unit):
    with pytest.raises(TypeError, match="without an entry"):
        await do(store, unit)
    assert store.head().size == 0
    assert await store.read(lambda view: (view.get(AccessState, "a1"), view.counter("k"))) == (None, None)


async def test_a_row_read_in_another_unit_is_compared_as_it_stands(store):
    await do(store, lambda tx: tx.save(fresh(rows=1)) and tx.log("agreement", "C1", "access.request"))
    await do(store, lambda tx: tx.save(fresh(rows=5, version=1)) and tx.log("agreement", "C1", "delivery.abort"))
    assert (await entries(store))[1].moved[0].columns == {"rows": 5}


async def test_the_first_entry_of_an_agreement_carries_the_end_of_its_negotiation(store):
    def unit(tx):
        tx.save(NegotiationState(id="n1", state="FINALIZED"))
        tx.save(AgreementState(id="C1", state="SIGNED", negotiation="n1"))
        tx.log("agreement", "C1", "contract.sign", previous_object="n1", previous_link="0" * 64)

    await do(store, unit)
    assert [one.kind for one in (await entries(store))[0].moved] == ["negotiation", "agreement"]


async def test_counters_stand_in_the_entry_of_their_access(store):
    def decide(tx):
        tx.reserve("C1/rows", 3, 9, access="a1")
        tx.reserve("C1/rows", 4, 9, access="a1")
        tx.log("agreement", "C1", "access.decide", access_id="a1")

    def end(tx):
        tx.settle("a1", {"C1/rows": 5})
        tx.log("agreement", "C1", "delivery.complete", access_id="a1")

    await do(store, decide)
    await do(store, end)
    decided, ended = await entries(store)
    assert [(one.key, one.amount) for one in decided.reserved] == [("C1/rows", 7)]
    assert [(one.key, one.amount) for one in ended.used] == [("C1/rows", 5)]


async def test_a_mirror_of_other_venues_needs_no_entry(store):
    await do(store, lambda tx: tx.save(CatalogEntry(id="l1", product="p")))
    assert store.head().size == 0


async def test_only_columns_that_follow_from_something_are_placed(store):
    def unit(tx):
        state = tx.save(fresh())
        tx.log("agreement", "C1", "access.decide")
        placed = tx.place(state, decision_seq=1, decision_link="ab")
        assert placed.version == state.version == 1
        tx.place(placed, rows=3)

    with pytest.raises(TypeError, match=r"access\.rows"):
        await do(store, unit)
