"""Sessions, streams and workers seen from the node: limits, stops, deaths, and what the consumer learns of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from node.engine.test_frames import decode
from node.engine.world import PLAIN, SECRETS, orders_table
from structlog.testing import capture_logs

from trustnode.core.policy.governed import Governed, GovernedTable
from trustnode.engine import message, process, worker
from trustnode.engine.pool import EngineLimits, EnginePool, RunLimits
from trustnode.engine.session import Session
from trustnode.engine.source import Source
from trustnode.errors import REASONS, TrustnodeError

BIG_ROWS = 3_000_000
SLOW_SQL = "SELECT count(*) AS n FROM big a, big b, big c WHERE sin(a.n + b.n + c.n) > 2"
SOURCE_ROOT = Path(process.__file__).parents[2]


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    path = tmp_path_factory.mktemp("big") / "big.parquet"
    numbers = pa.array(range(BIG_ROWS), pa.int64())
    pq.write_table(pa.table({"n": numbers, "t": pa.repeat("a" * 100, BIG_ROWS)}), path)
    return Source("parquet", str(path))


@pytest.fixture
def big_spec(make_spec, big):
    def make(**more):
        return make_spec(Governed((GovernedTable("big", ("n", "t")),)), source=big, load=False, **more)

    return make


@pytest.fixture
async def pool():
    async with EnginePool(EngineLimits(max_workers=3, queue_seconds=0.2)) as pool:
        yield pool


async def collect(stream):
    async with stream:
        return [frame async for frame in stream]


async def refusal(awaitable):
    with pytest.raises(TrustnodeError) as caught:
        await awaitable
    return caught.value


async def test_a_stream_delivers_the_rows_of_the_plan_in_whole_frames(pool, make_spec):
    session = await pool.session(make_spec())
    plan = await session.plan("SELECT id, city, email FROM orders WHERE paid ORDER BY id")
    frames = await collect(await session.run(plan))
    assert [frame.note.number for frame in frames] == list(range(1, len(frames) + 1))
    table = decode(frame.data for frame in frames)
    wanted = [row for row in orders_table().to_pylist() if row["paid"] and row["tenant"] == "open"]
    assert table.column("id").to_pylist() == [row["id"] for row in wanted]
    assert table.num_rows == sum(frame.note.rows for frame in frames)
    assert set(table.column("email").to_pylist()) == {"XXXXX@a.example", "XXXXX@b.example"}


async def test_a_small_answer_comes_in_one_round_trip_with_its_plan(pool, make_spec):
    session = await pool.session(make_spec())
    answer = await session.read("SELECT count(*) AS n FROM orders WHERE id >= ?", [0])
    assert decode(frame.data for frame in answer.frames).to_pydict() == {
        "n": [sum(row == "open" for row in orders_table()["tenant"].to_pylist())]
    }
    assert answer.rows == 1
    assert answer.plan.columns_used == ("orders.id",)
    again = await session.read(answer.plan)
    assert again == answer


async def test_an_answer_too_large_for_one_message_says_so(pool, big_spec):
    session = await pool.session(big_spec())
    failure = await refusal(session.read("SELECT * FROM big", max_bytes=100_000))
    assert failure.reason == "QUERY_TOO_COSTLY"
    assert failure.metadata["limit_bytes"] == "100000"
    assert (await session.read("SELECT 1 AS a")).rows == 1


@pytest.mark.parametrize("max_rows", [0, 1, 200_000, 200_001])
async def test_a_stream_hands_over_no_row_beyond_its_budget(pool, big_spec, max_rows):
    session = await pool.session(big_spec())
    stream = await session.run(await session.plan("SELECT n FROM big"), max_rows=max_rows)
    rows = 0
    with pytest.raises(TrustnodeError) as caught:
        async for frame in stream:
            rows += frame.note.rows
    assert caught.value.reason == "QUOTA_TOTAL"
    assert rows == max_rows
    assert (await session.read("SELECT 1 AS a")).rows == 1


async def test_a_budget_of_exactly_the_rows_there_are_is_no_failure(pool, big_spec):
    session = await pool.session(big_spec())
    stream = await session.run(await session.plan("SELECT n FROM big WHERE n < 5000"), max_rows=5000)
    assert sum(frame.note.rows for frame in await collect(stream)) == 5000


async def test_a_stream_is_whole_whatever_its_size(pool, big_spec):
    session = await pool.session(big_spec())
    stream = await session.run(await session.plan("SELECT n FROM big"))
    frames = await collect(stream)
    assert sum(frame.note.rows for frame in frames) == BIG_ROWS
    assert max(len(frame.data) for frame in frames) < 3 << 20


def test_a_third_frame_needs_a_credit(big_spec, monkeypatch):
    monkeypatch.setattr(worker, "limit_processor", id)  # it would hold for the tests themselves
    node, theirs = socket.socketpair()
    runs = worker.Runs()
    runs.session = Session(big_spec())

    def serve():
        with contextlib.suppress(message.WorkerGone):
            worker.Worker(theirs, runs).serve()

    serving = threading.Thread(target=serve)
    with node, theirs:
        serving.start()
        assert message.receive(node) == message.Ready()
        node.sendall(message.request_bytes(message.RunQuery("SELECT n FROM big", (), "", 1)))
        assert [message.receive(node).note.number for _ in range(message.FRAMES_IN_FLIGHT)] == [1, 2]
        runs.stop(1)  # before the credit: had a third frame been under way, it would come first now
        node.sendall(message.CREDIT)
        assert isinstance(message.receive(node), message.End | message.Failure)
        node.shutdown(socket.SHUT_RDWR)
        serving.join()


async def test_a_stopped_stream_leaves_a_worker_that_serves_the_next_query(pool, big_spec):
    session = await pool.session(big_spec())
    plan = await session.plan("SELECT n FROM big")
    stream = await session.run(plan)
    mine = stream._worker
    await anext(stream)
    await stream.stop()
    await stream.stop()
    assert [frame async for frame in stream] == []
    assert mine.is_usable
    assert sum(frame.note.rows for frame in await collect(await session.run(plan))) == BIG_ROWS
    assert pool.workers == 1


async def test_a_stop_interrupts_a_query_that_has_not_delivered_anything(pool, big_spec):
    session = await pool.session(big_spec(limits=RunLimits(load_bytes=0, engine_seconds=600)))
    stream = await session.run(await session.plan(SLOW_SQL))
    reading = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait([reading])
    await stream.stop()
    assert (await session.read("SELECT 1 AS a")).rows == 1


async def test_what_does_not_obey_an_interrupt_is_killed(pool, big_spec, monkeypatch):
    killed = asyncio.Event()
    kill = process.WorkerProcess.kill

    async def noticed(self, reason):
        killed.set()
        await kill(self, reason)

    monkeypatch.setattr(process.WorkerProcess, "kill", noticed)
    session = await pool.session(big_spec(limits=RunLimits(load_bytes=0, engine_seconds=600)))
    stream = await session.run(await session.plan("SELECT n FROM big"))
    os.kill(stream._worker.pid, signal.SIGSTOP)
    await stream.stop()
    assert killed.is_set()
    assert (await session.read("SELECT 1 AS a")).rows == 1


async def test_a_deadline_ends_the_query_and_not_the_session(pool, big_spec):
    session = await pool.session(big_spec(limits=RunLimits(load_bytes=0, engine_seconds=0.2)))
    assert (await refusal(session.read(SLOW_SQL))).reason == "DEADLINE"
    stream = await session.run(await session.plan(SLOW_SQL))
    assert (await refusal(anext(stream))).reason == "DEADLINE"
    assert (await session.read("SELECT 1 AS a")).rows == 1


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT string_agg(t, '') FROM big",
        "SELECT count(*) FROM (SELECT t || n AS k FROM big GROUP BY k)",
        "SELECT t || n AS k FROM big ORDER BY k DESC",
        "SELECT length(replace(replace(t, 'a', ?), 'b', ?)) FROM big",
        SLOW_SQL,
    ],
)
async def test_q1g_a_query_that_needs_too_much_is_ended_and_the_next_one_works(pool, big_spec, sql):
    limits = RunLimits(load_bytes=0, memory_bytes=96 << 20, engine_seconds=2)
    session = await pool.session(big_spec(limits=limits))
    parameters = ["b" * 10_000, "c" * 10_000] if "?" in sql else []
    failure = await refusal(session.read(sql, parameters))
    assert failure.reason in {"QUERY_TOO_COSTLY", "DEADLINE"}
    assert (await session.read("SELECT count(*) AS n FROM big")).rows == 1


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT n AS a0, " + ", ".join(f"a{i} + a{i} AS a{i + 1}" for i in range(40)) + " FROM big",
        "WITH c0 AS (SELECT * FROM big), "
        + ", ".join(f"c{i + 1} AS (SELECT a.*, b.* FROM c{i} a, c{i} b)" for i in range(30))
        + " SELECT 1 AS x FROM c30",
    ],
    ids=["aliases that double", "columns that double"],
)
async def test_q1g_a_query_that_grows_while_it_is_planned_is_ended(pool, big_spec, sql):
    session = await pool.session(big_spec(limits=RunLimits(load_bytes=0, plan_seconds=1.0)))
    failure = await refusal(session.plan(sql))
    assert failure.reason in {"QUERY_INVALID", "DEADLINE", "QUERY_TOO_COSTLY"}
    assert (await session.read("SELECT 1 AS a")).rows == 1


async def test_q1g_a_worker_that_uses_up_its_processor_time_ends(pool, big_spec):
    session = await pool.session(big_spec(limits=RunLimits(load_bytes=0, cpu_seconds=0, engine_seconds=60)))
    assert (await refusal(session.read(SLOW_SQL))).reason == "QUERY_TOO_COSTLY"


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_worker_that_dies_in_mid_stream_is_a_typed_error_and_the_next_query_works(pool, big_spec, signum):
    session = await pool.session(big_spec())
    plan = await session.plan("SELECT n FROM big")
    stream = await session.run(plan)
    await anext(stream)
    os.kill(stream._worker.pid, signum)
    with pytest.raises(TrustnodeError) as caught:
        async for _ in stream:
            pass
    assert caught.value.reason in {"QUERY_TOO_COSTLY", "INTERNAL"}
    assert sum(frame.note.rows for frame in await collect(await session.run(plan))) == BIG_ROWS


async def test_a_dead_idle_worker_is_replaced(pool, make_spec):
    session = await pool.session(make_spec())
    (worker,) = pool._idle
    os.kill(worker.pid, signal.SIGKILL)
    worker._process.wait()
    assert (await session.read("SELECT 1 AS a")).rows == 1
    assert worker not in pool._idle


async def test_killing_an_agreement_ends_its_streams_with_the_reason_and_no_other(pool, big_spec):
    one, other = await pool.session(big_spec(agreement="one")), await pool.session(big_spec(agreement="other"))
    plan = await one.plan("SELECT n FROM big")
    doomed, safe = await one.run(plan), await other.run(plan)
    await anext(doomed)
    assert await pool.kill("one", "ORDER_IN_FORCE") == 1
    with pytest.raises(TrustnodeError) as caught:
        async for _ in doomed:
            pass
    assert caught.value.reason == "ORDER_IN_FORCE"
    assert sum(frame.note.rows for frame in await collect(safe)) == BIG_ROWS
    assert await pool.kill("nobody") == 0


async def test_a_worker_never_serves_another_agreement_policy_or_data_version(pool, make_spec):
    pids = set()
    for change in ({}, {"agreement": "other"}, {"policy": "p2"}, {"version": "v2"}):
        await pool.session(make_spec(**change))
        pids.add(next(reversed(pool._idle)).pid)
    assert len(pids) == 4
    assert pool.workers == 3  # the bound: the least recently used one has ended


async def test_when_all_workers_are_in_use_the_node_is_busy(pool, big_spec):
    streams = []
    for name in ("a", "b", "c"):
        session = await pool.session(big_spec(agreement=name))
        streams.append(await session.run(await session.plan("SELECT n FROM big")))
    assert (await refusal(pool.session(big_spec(agreement="d")))).reason == "BUSY"
    await streams.pop().stop()
    assert await pool.session(big_spec(agreement="d"))
    for stream in streams:
        await stream.stop()


async def test_a_place_is_not_lost_to_a_caller_that_gives_up_at_that_moment(make_spec):
    """The caller is cancelled, and before it is told so a worker becomes free."""
    async with EnginePool(EngineLimits(max_workers=1, spare_workers=0, queue_seconds=5)) as small:
        for name in ("a", "b"):
            worker = await small.borrow(make_spec(agreement="a"))
            waiting = asyncio.ensure_future(small.borrow(make_spec(agreement=name)))
            await asyncio.sleep(0)
            assert small._turns
            waiting.cancel()
            small.release(worker)
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert (small._busy, small._starting, small._turns) == (set(), 0, [])


async def test_two_streams_of_one_agreement_have_a_worker_each(pool, big_spec):
    session = await pool.session(big_spec())
    plan = await session.plan("SELECT n FROM big")
    async with await session.run(plan) as one, await session.run(plan) as other:
        assert one._worker is not other._worker
        assert await anext(one) == await anext(other)


async def test_a_caller_that_goes_away_ends_its_worker(pool, big_spec):
    session = await pool.session(big_spec(limits=RunLimits(load_bytes=0, engine_seconds=600)))
    reading = asyncio.ensure_future(session.read(SLOW_SQL))
    while not pool._busy:
        await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not pool._busy


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT secret FROM orders",
        "SELECT id // 0 FROM orders",
        "SELECT (SELECT id FROM orders) AS x FROM orders",
        "SELECT * FROM t0",
        "SELECT city + 1 AS x FROM orders",
        "SELECT sum(city) AS x FROM orders",
        "SELECT length(id) AS x FROM orders",
        "SELECT substring(city, 'a') AS x FROM orders",
        "SELECT count(*) FROM orders GROUP BY frobnicate",
        "SELECT date_trunc('month', city) AS x FROM orders",
        "SELECT city AS x FROM orders UNION SELECT zip, id FROM orders",
        "SELECT id FROM orders ORDER BY 99",
        "SELECT name, count(*) FROM orders",
        "SELECT try_strptime(city, '%Q') AS x FROM orders",
        "SELECT regexp_matches(city, '(') AS x FROM orders",
    ],
)
async def test_q1h_no_answer_to_the_consumer_holds_anything_of_the_provider(pool, make_spec, directory, sql):
    session = await pool.session(make_spec())
    failure = await refusal(session.read(sql))
    shown = f"{failure} {failure.metadata} {failure.next_step}"
    assert failure.reason in {"QUERY_INVALID", "FIELD_NOT_AGREED"}
    for secret in (*SECRETS, str(directory), "tenant", "parquet", "person", "Bonn", "LINE 1", "Error:", "Candidate"):
        assert secret not in shown


async def test_q1h_a_failure_of_the_engine_has_an_identifier_where_consumer_and_provider_meet(pool, make_spec):
    session = await pool.session(make_spec())
    with capture_logs() as logged:
        failure = await refusal(session.read("SELECT id // 0 FROM orders"))
        await refusal(session.read("SELECT secret FROM orders"))
    assert failure.message == "the engine cannot compute this query"
    assert next(entry["query_id"] for entry in logged if "query_id" in entry) == failure.metadata["query_id"]
    assert len(failure.metadata["query_id"]) == 16


async def test_a_source_is_described_in_a_worker(pool, directory):
    source = Source("parquet", str(directory), {"orders": "orders.parquet"})
    (table,) = await pool.describe(source)
    assert table.name == "orders"
    assert len(table.columns) == len(orders_table().schema)


@pytest.mark.parametrize("kind", ["parquet", "csv", "json", "duckdb", "sqlite"])
async def test_a_source_that_cannot_be_read_is_told_to_its_provider_and_not_to_a_consumer(
    pool, tmp_path, make_spec, kind
):
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x00\x01garbage" * 100 if kind != "csv" else b"")
    for location in (str(broken), str(tmp_path / "absent")):
        source = Source(kind, location, {"orders": ""} if kind not in {"duckdb", "sqlite"} else {})
        failure = await refusal(pool.describe(source))
        assert failure.reason == "FIELD_FORMAT"
        assert failure.metadata["field"] == "location"
        heard = await refusal(pool.session(make_spec(source=source)))
        assert (heard.reason, heard.message) == ("SOURCE_UNAVAILABLE", REASONS["SOURCE_UNAVAILABLE"].meaning)


async def test_the_frame_digest_covers_less_only_when_the_plan_says_so(pool, make_spec):
    answers = []
    for content in (True, False):
        session = await pool.session(make_spec(agreement=str(content), content_digest=content))
        answers.append(await session.read("SELECT id FROM orders ORDER BY id"))
    full, light = answers
    assert full.plan.content_digest
    assert not light.plan.content_digest
    assert decode(f.data for f in full.frames) == decode(f.data for f in light.frames)
    assert full.frames[1].note.digest != light.frames[1].note.digest


def test_the_node_side_imports_no_engine():
    program = "import sys, trustnode.engine.pool; print(sorted({'duckdb', 'sqlglot', 'pyarrow'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(SOURCE_ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_a_worker_ends_with_its_node(tmp_path):
    program = """
import asyncio, os
from trustnode.engine.pool import EnginePool
async def main():
    pool = await EnginePool().__aenter__()
    worker = await pool._spare()
    print(worker.pid, flush=True)
    os._exit(9)
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(SOURCE_ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 9
    # The pipe of stderr is inherited: that `run` has returned says that every process which held it is ending.
    for _ in range(100):
        if not _is_running(int(done.stdout)):
            break
        time.sleep(0.05)  # a process closes its files before it is gone
    assert not _is_running(int(done.stdout))


def _is_running(pid):
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False
    return "State:\tZ" not in status


async def test_a_worker_has_nothing_of_the_environment_and_cannot_write_a_file(pool, make_spec, monkeypatch):
    monkeypatch.setenv("NODE_SECRET", "x")
    await pool.session(make_spec(agreement="fresh"))
    worker = await pool._spare()
    environment = Path(f"/proc/{worker.pid}/environ").read_bytes()
    limits = Path(f"/proc/{worker.pid}/limits").read_text(encoding="utf-8")
    await worker.close()
    assert b"NODE_SECRET" not in environment
    assert any(line.split()[:5] == ["Max", "file", "size", "0", "0"] for line in limits.splitlines())


async def test_the_key_of_a_hash_is_in_no_plan(pool, make_spec):
    session = await pool.session(msgspec.structs.replace(make_spec(PLAIN), hash_key=bytes(range(32))))
    plan = await session.plan("SELECT name FROM orders")
    assert bytes(range(32)).hex() not in msgspec.json.encode(plan).decode()
