"""The durable step: savepoints, answers given once, refusals as entries, admission."""

import asyncio
import threading
from collections import Counter
from types import NoneType

import pytest
from node.store.world import NODE, document, note, open_store, refusal, sql, statements

from trustnode.core.access import AccessState
from trustnode.core.evidence.entry import parse_statement
from trustnode.errors import TrustnodeError, error
from trustnode.store import writer as writer_module


def failing(problem, *, log=False):
    def unit(tx):
        tx.save(AccessState(id="doomed"))
        tx.keep(document("doomed"))
        tx.log("agreement", "C1", "access.request")
        raise problem

    return unit


async def test_a_unit_that_raises_is_rolled_back_alone(store):
    results = await asyncio.gather(
        note(store, access_id="before"),
        store.write(failing(ValueError("defect")), event_id="x", returns=NoneType),
        note(store, access_id="after"),
        return_exceptions=True,
    )
    assert [type(r) for r in results] == [NoneType, ValueError, NoneType]
    assert await store.read(lambda view: view.get(AccessState, "doomed")) is None
    assert await store.read(lambda view: view.document(document("doomed").digest)) is None
    lines = await store.read(lambda view: view.evidence.chain("agreement", "C1"))
    assert [(line.seq, line.index, parse_statement(line.statement).access_id) for line in lines] == [
        (1, 0, "before"),
        (2, 1, "after"),
    ]
    assert await store.check() == []


async def test_l14_an_event_that_was_answered_gives_its_answer_and_does_not_run_again(store, path, clock):
    ran = []

    def unit(tx):
        ran.append(1)
        tx.log("agreement", "C1", "access.request")
        return ("a1", 7)

    async def ask(to):
        return await to.write(unit, event_id="once", returns=tuple[str, int])

    assert await asyncio.gather(*(ask(store) for _ in range(10))) == [("a1", 7)] * 10
    await store.close()
    async with await open_store(path, clock) as again:
        assert await ask(again) == ("a1", 7)
        assert again.head().size == 1
    assert ran == [1]


async def test_an_event_id_used_for_another_step_is_a_replay(store):
    await store.write(lambda _: "text", event_id="e", returns=str)
    with pytest.raises(TrustnodeError) as refused:
        await store.write(lambda _: 1, event_id="e", returns=int)
    assert refused.value.reason == "REPLAYED"


async def test_a_step_that_was_refused_may_be_tried_again(store):
    def unit(tx):
        if not tx.setting("ready"):
            raise error("PRECONDITION_OPEN")

    with pytest.raises(TrustnodeError):
        await store.write(unit, event_id="e", returns=NoneType)
    await store.write(lambda tx: tx.set_setting("ready", "1"), event_id="", returns=NoneType)
    await store.write(unit, event_id="e", returns=NoneType)


async def test_an_answer_that_cannot_be_stored_undoes_its_unit(store):
    def unit(tx):
        tx.save(AccessState(id="a1", agreement="C1"))
        tx.log("agreement", "C1", "access.request")
        return threading.Lock()

    with pytest.raises(TypeError):
        await store.write(unit, event_id="e", returns=NoneType)
    assert await store.read(lambda view: view.get(AccessState, "a1")) is None


async def test_a_refusal_leaves_its_entry_and_nothing_else(store):
    with pytest.raises(TrustnodeError) as refused:
        await store.write(failing(error("PURPOSE_NOT_AGREED", record=refusal())), event_id="", returns=NoneType)
    assert refused.value.reason == "PURPOSE_NOT_AGREED"
    (entry,) = [parse_statement(s) for s in await statements(store)]
    assert (entry.type, entry.reason_code, entry.decision) == ("access.deny", "PURPOSE_NOT_AGREED", "DENY")
    assert await store.read(lambda view: view.get(AccessState, "doomed")) is None


async def refuse(store, times, **about):
    for _ in range(times):
        with pytest.raises(TrustnodeError):
            await store.write(failing(error("DENIED", record=refusal(**about))), event_id="", returns=NoneType)


async def test_d7_refusals_of_one_caller_are_one_entry_and_one_number_a_minute(store, clock):
    await refuse(store, 5)
    await refuse(store, 2, caller="spiffe://gz/other")
    assert store.head().size == 2
    clock.advance(60)
    await note(store, "C2")
    entries = [parse_statement(s) for s in await statements(store)]
    assert [(e.type, e.amount, e.unit) for e in entries] == [
        ("access.deny", None, None),
        ("access.deny", None, None),
        ("access.deny", 4, "refusals"),
        ("access.deny", 1, "refusals"),
    ]


async def test_refusals_about_many_objects_are_counted_in_the_chain_of_the_node(store, clock):
    for i in range(5):
        await refuse(store, 1, object=f"C{i}")
    clock.advance(60)
    await note(store, "other")
    (summary,) = [parse_statement(s) for s in await statements(store, "node", NODE)]
    assert (summary.type, summary.amount, summary.reason_code) == ("lifecycle.refuse", 4, "DENIED")


async def test_what_was_counted_is_logged_when_the_node_stops(store, path, clock):
    await refuse(store, 3)
    await store.close()
    async with await open_store(path, clock) as again:
        assert [parse_statement(s).amount for s in await statements(again)] == [None, 2]


async def test_a_refusal_that_is_no_record_is_still_told_to_its_caller(store):
    record = refusal(event="no.such_event")
    with pytest.raises(TrustnodeError) as refused:
        await store.write(failing(error("DENIED", record=record)), event_id="", returns=NoneType)
    assert refused.value.reason == "DENIED"
    assert store.head().size == 0


async def test_l21_a_full_queue_answers_busy_and_recovers(store, monkeypatch):
    monkeypatch.setattr(writer_module, "MAX_WAITING_UNITS", 8)
    gate = threading.Event()
    blocked = asyncio.ensure_future(store.write(lambda _: gate.wait() and None, event_id="", returns=NoneType))
    await asyncio.sleep(0)
    queued = [asyncio.ensure_future(note(store)) for _ in range(7)]
    await asyncio.sleep(0)
    with pytest.raises(TrustnodeError) as refused:
        await note(store)
    assert refused.value.reason == "BUSY"
    gate.set()
    await asyncio.gather(blocked, *queued)
    await note(store)
    assert store.head().size == 8


async def test_l21_ten_thousand_appends_at_once_are_bounded_by_the_queue(store):
    waiting = 0

    async def one():
        nonlocal waiting
        try:
            await note(store)
        except TrustnodeError as refusal:
            return refusal.reason
        finally:
            waiting = max(waiting, len(store._waiting))
        return "OK"

    found = Counter(await asyncio.gather(*(one() for _ in range(10_000))))
    assert set(found) == {"OK", "BUSY"}
    assert waiting <= writer_module.MAX_WAITING_UNITS
    assert found["OK"] == store.head().size
    await note(store)


async def test_a_caller_that_goes_away_leaves_a_whole_step(store):
    gate = threading.Event()
    caller = asyncio.ensure_future(
        store.write(
            lambda tx: gate.wait() and tx.log("agreement", "C1", "access.request"), event_id="", returns=NoneType
        )
    )
    await asyncio.sleep(0)
    caller.cancel()
    gate.set()
    await note(store)
    assert store.head().size == 2


async def test_a_read_only_store_serves_and_refuses_to_append(store):
    await note(store)
    store.read_only = "a witness is ahead of us"
    with pytest.raises(TrustnodeError) as refused:
        await note(store)
    assert refused.value.reason == "READ_ONLY"
    assert len(await store.read(lambda view: view.evidence.inclusion(0, 1))) == 0


async def test_a_closed_store_refuses(store):
    await store.close()
    with pytest.raises(TrustnodeError) as refused:
        await note(store)
    assert refused.value.reason == "EVIDENCE_UNAVAILABLE"


async def test_what_was_queued_before_the_stop_is_committed(store, path, clock):
    steps = [asyncio.ensure_future(note(store)) for _ in range(50)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*steps)
    async with await open_store(path, clock) as again:
        assert again.head().size == 50


async def test_l6a_a_second_process_on_one_store_is_refused(store, path, clock):
    with pytest.raises(TrustnodeError) as refused:
        await open_store(path, clock)
    assert refused.value.reason == "CONFIG_INVALID"
    assert "pid" in refused.value.message
    await note(store)


async def test_l13_a_clock_that_steps_back_a_little_does_not_turn_the_log_back(store, clock):
    await note(store)
    clock.advance(-30)
    await note(store)
    times = [parse_statement(s).time for s in await statements(store)]
    assert times[0] == times[1] == "2026-11-24T12:00:00.000Z"


async def test_l13_a_clock_that_was_set_back_is_followed_and_marked_in_the_log(store, clock):
    await note(store)
    clock.advance(-3600)
    await note(store)
    entries = [parse_statement(s) for s in await statements(store, "node", NODE)]
    assert [(e.type, e.reason_code, e.time) for e in entries] == [
        ("incident.notify", "TIME_SKEW", "2026-11-24T11:00:00.000Z")
    ]


async def test_a_program_that_is_older_than_the_store_does_not_open_it(store, path, clock):
    await store.close()
    sql(path, "pragma user_version = 99")
    with pytest.raises(TrustnodeError) as refused:
        await open_store(path, clock)
    assert refused.value.reason == "VERSION_UNSUPPORTED"


async def test_a_store_in_memory_works_the_same(clock):
    async with await open_store(":memory:", clock) as store:
        await note(store)
        assert (store.head().size, store.read_only, await store.check()) == (1, "", [])
        directory = store.path.parent
    assert not directory.exists()


async def test_a_reader_cannot_write(store):
    with pytest.raises(TrustnodeError):
        await store.read(lambda view: view._db.execute("delete from entry"))


async def test_a_slow_unit_is_reported_as_a_defect(store, monkeypatch):
    from structlog.testing import capture_logs

    from trustnode.store import batch

    monkeypatch.setattr(batch, "SLOW_UNIT_S", -1.0)
    with capture_logs() as lines:
        await note(store, event_id="slow")
    assert [(line["event"], line["event_id"]) for line in lines] == [("unit is too slow", "slow")]
