"""What a unit may do: states, documents, counters, outbox, feeds, timers."""

import asyncio
from types import NoneType

import pytest
from node.store.world import document, note, statements

from trustnode.core.access import AccessState
from trustnode.core.catalog import ListingState
from trustnode.core.document import MAX_SIGNATURES
from trustnode.core.evidence.entry import parse_statement
from trustnode.errors import TrustnodeError
from trustnode.store.unit import FEED_START, Change, line_digest

pytestmark = pytest.mark.usefixtures("without_entries")


def do(store, unit, event_id=""):
    return store.write(lambda tx: unit(tx) and None, event_id=event_id, returns=NoneType)


async def test_a_saved_object_comes_back_with_its_version_and_time(store, clock):
    await do(store, lambda tx: tx.save(ListingState(id="l1", state="LISTED", offers=("a", "b"), causes=("X:ORDER",))))
    clock.advance(60)
    await do(store, lambda tx: tx.save(ListingState(id="l1", state="DELISTED", version=1)))
    found = await store.read(lambda view: view.get(ListingState, "l1"))
    assert found == ListingState(id="l1", state="DELISTED", version=2, changed_at="2026-11-24T12:01:00.000Z")


async def test_tuples_and_zero_values_survive_the_table(store):
    state = ListingState(id="l1", offers=("a", "b"), causes=("X:ORDER",))
    await do(store, lambda tx: tx.save(state))
    found = await store.read(lambda view: view.get(ListingState, "l1"))
    assert (found.offers, found.causes, found.provider) == (("a", "b"), ("X:ORDER",), "")


@pytest.mark.parametrize("version", [0, 2, 7])
async def test_a_save_that_did_not_see_the_last_version_is_stale(store, version):
    await do(store, lambda tx: tx.save(AccessState(id="a1", state="REQUESTED")))
    with pytest.raises(TrustnodeError) as refused:
        await do(store, lambda tx: tx.save(AccessState(id="a1", state="DENIED", version=version)))
    assert refused.value.reason == "STALE_VERSION"
    assert (await store.read(lambda view: view.get(AccessState, "a1"))).state == "REQUESTED"


async def test_of_many_writers_who_read_the_same_version_one_wins(store):
    await do(store, lambda tx: tx.save(AccessState(id="a1")))
    seen = await store.read(lambda view: view.get(AccessState, "a1"))
    results = await asyncio.gather(*(do(store, lambda tx: tx.save(seen)) for _ in range(20)), return_exceptions=True)
    assert [r for r in results if r is None] == [None]
    assert {r.reason for r in results if r} == {"STALE_VERSION"}


async def test_find_takes_equality_sets_order_and_keyset_pages(store):
    def fill(tx):
        for i in range(6):
            tx.save(AccessState(id=f"a{i}", state="OPEN" if i % 2 else "ENDED", agreement="C1", rows=10 - i))

    await do(store, fill)

    def ids(**where):
        return store.read(lambda view: [s.id for s in view.find(AccessState, **where)])

    assert await ids(state="OPEN") == ["a1", "a3", "a5"]
    assert await ids(id=("a0", "a5", "zz"), agreement="C1") == ["a0", "a5"]
    assert await ids(id=()) == []
    assert await ids(order="rows", limit=2) == ["a5", "a4"]
    assert await ids(order="-rows", limit=2) == ["a0", "a1"]
    assert await ids(order="-rows", limit=2, after="a1") == ["a2", "a3"]
    assert await ids(after="a3") == ["a4", "a5"]
    with pytest.raises(TypeError):
        await ids(nonsense=1)
    with pytest.raises(TypeError):
        await ids(order='id" desc; --')

    def counted(**where):
        return store.read(lambda view: view.count(AccessState, **where))

    for where in ({}, {"state": "OPEN"}, {"id": ("a0", "a5", "zz"), "agreement": "C1"}, {"id": ()}):
        assert await counted(**where) == len(await ids(**where))
    with pytest.raises(TypeError):
        await counted(nonsense=1)


async def test_one_instant_for_the_whole_unit(store, clock):
    def unit(tx):
        before = tx.now
        clock.advance(5)
        tx.log("agreement", "C1", "access.request")
        assert tx.save(AccessState(id="a1")).changed_at == before == tx.now

    await do(store, unit)
    assert parse_statement((await statements(store))[0]).time == "2026-11-24T12:00:00.000Z"


async def test_a_kept_document_gathers_signatures_and_never_changes(store):
    digest = await store.write(lambda tx: tx.keep(document("d", "k1")), event_id="", returns=str)
    await do(store, lambda tx: tx.keep(document("d", "k2", "k1")))
    await do(store, lambda tx: tx.keep(document("d")))
    found = await store.read(lambda view: view.document(digest))
    assert found == document("d", "k1", "k2")
    assert await store.read(lambda view: view.document("0" * 64)) is None


async def test_the_same_bytes_under_another_type_are_a_replay(store):
    await do(store, lambda tx: tx.keep(document("d")))
    other = type(document("d"))("application/vnd.trustnode.order.v1+json", document("d").payload)
    with pytest.raises(TrustnodeError) as refused:
        await do(store, lambda tx: tx.keep(other))
    assert refused.value.reason == "REPLAYED"


async def test_signatures_of_one_document_are_bounded(store):
    await do(store, lambda tx: tx.keep(document("d", *(f"k{i}" for i in range(MAX_SIGNATURES)))))
    with pytest.raises(TrustnodeError) as refused:
        await do(store, lambda tx: tx.keep(document("d", "one more")))
    assert refused.value.reason == "FIELD_TOO_LONG"


async def test_parallel_reservations_never_pass_the_limit_and_leave_none_unused(store):
    def take(i):
        return store.write(lambda tx: tx.reserve("C1/rows", 7, 100, access=f"a{i}"), event_id=f"r{i}", returns=bool)

    taken = await asyncio.gather(*(take(i) for i in range(64)))
    assert sum(taken) == 14
    assert (await store.read(lambda view: view.counter("C1/rows"))).used == 98


async def test_settling_gives_back_what_was_not_used_and_is_idempotent(store):
    await do(
        store, lambda tx: tx.reserve("C1/rows", 60, 100, access="a1") and tx.reserve("C1/count", 1, 5, access="a1")
    )
    for _ in range(2):
        await do(store, lambda tx: tx.settle("a1", {"C1/rows": 20, "C1/count": 1}))
    counters = await store.read(lambda view: [view.counter(k).used for k in ("C1/rows", "C1/count")])
    assert counters == [20, 1]
    assert await store.read(lambda view: view.reservations()) == []


async def test_what_settling_does_not_name_was_not_used(store):
    await do(store, lambda tx: tx.reserve("C1/rows", 60, 100, access="a1"))
    await do(store, lambda tx: tx.settle("a1", {}))
    assert (await store.read(lambda view: view.counter("C1/rows"))).used == 0


async def test_windows_are_counted_alone_and_settled_where_they_were_taken(store):
    assert await store.write(lambda tx: tx.reserve("k", 5, 5, access="a1", window="d1"), event_id="", returns=bool)
    assert not await store.write(lambda tx: tx.reserve("k", 1, 5, access="a2", window="d1"), event_id="", returns=bool)
    assert await store.write(lambda tx: tx.reserve("k", 5, 5, access="a2", window="d2"), event_id="", returns=bool)
    await do(store, lambda tx: tx.settle("a1", {"k": 2}))
    assert await store.read(lambda view: (view.counter("k", "d1").used, view.counter("k", "d2").used)) == (2, 5)


async def test_a_negative_reservation_is_refused(store):
    with pytest.raises(TrustnodeError):
        await do(store, lambda tx: tx.reserve("k", -5, 5, access="a1"))


async def test_the_outbox_offers_the_oldest_line_of_each_object(store):
    def fill(tx):
        extra = tx.keep(document("supporting"))
        tx.send("gz", document("1"), object="N1", supporting=[extra])
        tx.send("gz", document("2"), object="N1")
        tx.send("gz", document("3"), object="N2")
        tx.send("cn", document("4"))

    await do(store, fill)
    due = await store.due("gz")
    assert [(line.document, line.object) for line in due] == [(document("1"), "N1"), (document("3"), "N2")]
    assert due[0].supporting == (document("supporting"),)
    assert await store.read(lambda view: view.outbox_peers()) == ["cn", "gz"]
    await store.delivered(due[0].id)
    await store.delivered(due[0].id)
    assert [line.document for line in await store.due("gz")] == [document("2"), document("3")]


async def test_what_travels_along_must_be_kept(store):
    with pytest.raises(TrustnodeError):
        await do(store, lambda tx: tx.send("gz", document("1"), supporting=["0" * 64]))
    assert await store.due("gz") == []


async def test_feeds_have_no_gaps_and_each_line_holds_the_one_before(store):
    async def tell(i):
        return await store.write(
            lambda tx: tx.tell("CATALOG", "*", [document(str(i))], origin="gz", path=("gz", "cn")),
            event_id="",
            returns=int,
        )

    assert sorted(await asyncio.gather(*(tell(i) for i in range(30)))) == list(range(1, 31))
    await do(store, lambda tx: tx.tell("CONTROL", "*", []))
    lines = await store.read(lambda view: view.feed("CATALOG", "*", 0, 100))
    previous = FEED_START
    for seq, line in enumerate(lines, 1):
        previous = line_digest(previous, seq, [d.digest for d in line.documents])
        assert (line.seq, line.digest, line.origin, line.path) == (seq, previous, "gz", ("gz", "cn"))
    assert await store.read(lambda view: view.feed_head("CATALOG", "*")) == (30, previous)
    assert [line.seq for line in await store.read(lambda view: view.feed("CATALOG", "*", 27, 2))] == [28, 29]
    assert await store.read(lambda view: view.feed_head("CATALOG", "gz")) == (0, FEED_START)


async def test_a_feed_number_of_a_unit_that_failed_is_used_by_the_next(store):
    def fails(tx):
        tx.tell("CATALOG", "*", [document("lost")])
        raise ValueError

    with pytest.raises(ValueError):
        await do(store, fails)
    assert await store.write(lambda tx: tx.tell("CATALOG", "*", []), event_id="", returns=int) == 1


async def test_a_timer_is_replaced_by_the_same_timer_and_due_in_order(store):
    def fill(tx):
        tx.at("2026-11-25T00:00:00.000Z", "grant", "g1", "expire")
        tx.at("2026-11-24T00:00:00.000Z", "grant", "g1", "expire")
        tx.at("2026-11-23T00:00:00.000Z", "negotiation", "n1", "lapse")
        tx.at("2026-12-01T00:00:00.000Z", "grant", "g2", "expire")

    await do(store, fill)
    assert await store.read(lambda view: view.next_timer()) == "2026-11-23T00:00:00.000Z"
    due = await store.timers_due("2026-11-24T12:00:00.000Z")
    assert [(t.kind, t.id, t.event) for t in due] == [("negotiation", "n1", "lapse"), ("grant", "g1", "expire")]
    await do(store, lambda tx: [tx.forget_timer(t.kind, t.id, t.event) for t in due])
    assert await store.timers_due("2026-11-24T12:00:00.000Z") == []


async def test_small_facts_are_kept_and_taken_away(store):
    await do(store, lambda tx: [tx.set_setting("feed/gz/CATALOG", "17"), tx.set_setting("feed/gz/CONTROL", "3")])
    assert await store.read(lambda view: view.settings("feed/gz/")) == {"feed/gz/CATALOG": "17", "feed/gz/CONTROL": "3"}
    await do(store, lambda tx: tx.set_setting("feed/gz/CATALOG", ""))
    assert await store.read(lambda view: (view.setting("feed/gz/CATALOG"), view.setting("feed/gz/CONTROL"))) == (
        "",
        "3",
    )


async def test_a_unit_sees_the_entries_it_has_logged_at_the_end_of_their_chain(store):
    await note(store, "N1", event="access.request")
    before = await store.read(lambda view: view.chain("agreement", "N1"))

    def unit(tx):
        assert tx.chain("agreement", "N1") == before
        tx.log("agreement", "N1", "access.decide")
        return tx.chain("agreement", "N1").link.hex()

    link = await store.write(unit, event_id="", returns=str)
    after = await store.read(lambda view: view.chain("agreement", "N1"))
    assert (before.seq, after.seq, after.link.hex()) == (1, 2, link)


async def test_changes_reach_the_loop_in_their_order_before_the_caller_goes_on(store):
    order = []
    store.on_commit = order.append
    saved = []
    await do(store, lambda tx: saved.append(tx.save(tx.save(AccessState(id="a1")))))
    await do(
        store, lambda tx: [tx.send("gz", document("1")), tx.tell("CONTROL", "cn", []), tx.at("2026", "a", "b", "c")]
    )
    first, second = order
    assert [change.state.version for change in first.changes] == [1, 2]
    assert first.changes[1] == Change("access", saved[0])
    assert (second.changes, second.peers, second.feeds, second.timers) == ((), {"gz"}, {("CONTROL", "cn")}, True)


async def test_old_answers_and_windows_are_forgotten_open_reservations_are_not(store, clock):
    def fill(tx):
        tx.reserve("k", 1, 9, access="a1", window="d1")
        tx.reserve("k", 1, 9, access="a2", window="d2")
        tx.settle("a1", {"k": 1})

    await do(store, fill, event_id="old")
    clock.advance(86400)
    await do(store, lambda tx: tx.reserve("k", 1, 9, access="a3", window="d3"), event_id="new")
    assert await store.write(lambda tx: tx.forget_answers("2026-11-25T00:00:00.000Z"), event_id="", returns=int) == 1
    left = await store.read(lambda view: [view.counter("k", w) is not None for w in ("d1", "d2", "d3")])
    assert left == [True, True, True]  # a window may be a year long: what was used in it is not given back
    clock.advance(401 * 86400)
    assert await store.write(lambda tx: tx.forget_answers("2026-11-25T00:00:00.000Z"), event_id="", returns=int) == 1
    left = await store.read(lambda view: [view.counter("k", w) is not None for w in ("d1", "d2", "d3")])
    assert left == [False, True, True]
