"""Kept answers: given again without the engine, and never past a change of policy, masks, agreement or data."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from node.engine.test_frames import decode
from node.engine.world import ORDERS, PLAIN

from trustnode.core.policy.governed import Comparison, Governed
from trustnode.core.tracing import MarkSecret
from trustnode.engine import asking
from trustnode.engine.kept import LARGEST_PART, OVERHEAD_BYTES, Kept, digest_of
from trustnode.engine.message import RunLimits, SessionSpec
from trustnode.engine.pool import EngineLimits, EnginePool
from trustnode.engine.source import Source, data_version
from trustnode.errors import TrustnodeError

SQL = "SELECT id, city FROM orders WHERE id < 20"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool():
    async with EnginePool(EngineLimits(max_workers=2, spare_workers=0)) as pool:
        yield pool


@pytest.fixture
def spec(make_spec):
    """A specification whose data version is the true one."""

    def make(**more):
        made = make_spec(**more)
        return msgspec.structs.replace(made, data_version=data_version(made.source))

    return make


async def read(pool, spec, sql=SQL, **more):
    return await (await pool.session(spec)).read(sql, **more)


def exchanges(pool, monkeypatch):
    """Requests that reach a worker from now on."""
    seen = []
    for worker in [*pool._idle, *pool._busy]:
        real = worker.exchange

        async def counted(request, seconds, real=real):
            seen.append(request)
            return await real(request, seconds)

        monkeypatch.setattr(worker, "exchange", counted)
    return seen


@pytest.mark.asyncio(loop_scope="module")
async def test_the_same_question_is_answered_without_a_worker(pool, spec, monkeypatch):
    first = await read(pool, spec())
    seen = exchanges(pool, monkeypatch)
    assert await read(pool, spec()) == first
    session = await pool.session(spec())
    stream = await session.run(await session.plan(SQL))
    async with stream:
        assert tuple([frame async for frame in stream]) == first.frames
    assert not seen
    assert pool._busy == set()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_stream_that_came_to_its_end_is_kept_and_one_that_was_left_is_not(pool, spec, monkeypatch):
    session = await pool.session(spec())
    plan = await session.plan("SELECT id FROM orders WHERE id < 30")
    async with await session.run(plan) as stream:
        await anext(stream)
    seen = exchanges(pool, monkeypatch)
    assert session._kept_answer(plan, None) is None
    async with await session.run(plan) as stream:
        whole = [frame async for frame in stream]
    assert session._kept_answer(plan, None).frames == tuple(whole)
    assert await session.read(plan) == session._kept_answer(plan, None)
    assert not seen


@pytest.mark.asyncio(loop_scope="module")
async def test_a_kept_answer_with_more_rows_than_may_be_handed_over_is_refused_like_any_other(pool, spec):
    rows = (await read(pool, spec())).rows
    with pytest.raises(TrustnodeError) as caught:
        await read(pool, spec(), max_rows=rows - 1)
    assert caught.value.reason == "QUOTA_TOTAL"
    assert (await read(pool, spec(), max_rows=rows)).rows == rows


OTHERS = {
    "agreement": {"agreement": "urn:agreement:2"},
    "policy": {"policy": "p2"},
    "rows": {"governed": Governed((msgspec.structs.replace(ORDERS, rows=Comparison("tenant", "<>", ("open",))),))},
    "columns": {"governed": Governed((msgspec.structs.replace(ORDERS, columns=("id", "city")),))},
    "key": {"hash": True},
    "digest": {"content_digest": False},
}


@pytest.mark.parametrize("what", OTHERS)
def test_whatever_decides_what_a_session_sees_is_part_of_the_key(spec, what):
    changes = dict(OTHERS[what])
    other = spec(**changes) if "hash" not in changes else msgspec.structs.replace(spec(), hash_key=b"o" * 32)
    assert digest_of(other) != digest_of(spec())


def test_every_field_of_a_session_is_part_of_the_key(spec):
    changed = {
        "agreement": "x", "policy_digest": "x", "data_version": "x", "source": Source("csv", "/x"),
        "governed": Governed((ORDERS,)), "hash_key": b"x", "content_digest": False, "mark": MarkSecret(b"k" * 32, b"l" * 8, b"m" * 32), "limits": RunLimits(threads=7),
        "joined": (spec(),), "columns": {"orders": ()},
    }  # fmt: skip
    assert set(changed) == set(SessionSpec.__struct_fields__)
    assert len({digest_of(msgspec.structs.replace(spec(), **{name: to})) for name, to in changed.items()}) == len(
        changed
    )


@pytest.mark.asyncio(loop_scope="module")
async def test_no_answer_is_served_past_a_change_of_the_data(pool, tmp_path):
    path = tmp_path / "t.parquet"

    def spec():
        source = Source("parquet", str(path), {"t": "t.parquet"})
        governed = Governed((msgspec.structs.replace(ORDERS, name="t", columns=("a",), masks=(), rows=None),))
        return SessionSpec(
            agreement="urn:agreement:9", policy_digest="p", data_version=data_version(source), source=source,
            governed=governed,
        )  # fmt: skip

    async def values():
        answer = await read(pool, spec(), "SELECT a FROM t")
        return decode(frame.data for frame in answer.frames)["a"].to_pylist()

    pq.write_table(pa.table({"a": [1, 2]}), path)
    assert [await values(), await values()] == [[1, 2], [1, 2]]
    pq.write_table(pa.table({"a": [3, 4]}), path)
    assert [await values(), await values()] == [[3, 4], [3, 4]]


@pytest.mark.asyncio(loop_scope="module")
async def test_an_answer_of_data_that_changed_meanwhile_is_not_kept(pool, spec):
    stale = msgspec.structs.replace(spec(), data_version="of yesterday")
    session = await pool.session(stale)
    answer = await session.read(SQL)
    assert session._kept_answer(answer.plan, None) is None


@pytest.mark.asyncio(loop_scope="module")
async def test_an_agreement_that_ends_leaves_nothing_behind(pool, spec):
    mine, other = spec(agreement="urn:agreement:5"), spec(agreement="urn:agreement:6")
    await read(pool, mine)
    await read(pool, other)
    pool.forget("urn:agreement:5")
    assert not (await pool_holds(pool, mine))
    assert await pool_holds(pool, other)
    assert all("urn:agreement:5" not in worker.key[0] for worker in pool._idle)


async def pool_holds(pool, spec):
    digest = digest_of(spec)
    return any(digest in key for key in pool.kept._entries)


@pytest.mark.asyncio(loop_scope="module")
async def test_callers_wait_for_a_worker_and_are_not_refused(pool, spec):
    made = spec(governed=PLAIN, agreement="urn:agreement:7")
    sqls = [f"SELECT count(*) AS n FROM orders WHERE id > {n}" for n in range(24)]
    answers = await asyncio.gather(*(read(pool, made, sql) for sql in sqls))
    assert [answer.rows for answer in answers] == [1] * 24
    assert pool.workers <= 2


def test_what_is_kept_is_bounded_in_bytes_and_the_oldest_goes_first():
    kept = Kept(100 * OVERHEAD_BYTES)
    for number in range(200):
        kept.put(number, f"v{number}", owners=["a"], size=0)
    assert (len(kept), kept.size) == (100, kept.max_bytes)
    assert kept.get(99, str) is None
    assert kept.get(100, str) == "v100"
    kept.put(200, "v200", owners=["a"], size=0)
    assert kept.get(100, str) == "v100"
    assert kept.get(101, str) is None
    kept.put("large", "v", owners=["a"], size=kept.max_bytes // LARGEST_PART)
    assert kept.get("large", str) is None
    kept.forget("a")
    assert (len(kept), kept.size) == (0, 0)


def test_where_nothing_may_be_kept_nothing_is():
    kept = Kept(0)
    kept.put("a", "v", owners=["a"], size=0)
    assert kept.get("a", str) is None


@pytest.mark.asyncio(loop_scope="module")
async def test_a_plan_made_at_midnight_is_not_kept_for_the_day_that_begins(pool, spec, monkeypatch):
    today = datetime.now(UTC)
    days = [today]

    class Clock:
        @staticmethod
        def now(_zone):
            return days.pop() if days else today + timedelta(days=1)

    sql = "SELECT id FROM orders WHERE bought < current_date"
    session = await pool.session(spec())
    monkeypatch.setattr(asking, "datetime", Clock)
    await session.plan(sql)
    seen = exchanges(pool, monkeypatch)
    await session.plan(sql)
    assert seen
