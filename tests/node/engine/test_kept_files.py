"""Kept relations: full reads from finished frames, never past a change, never half, bounded, gone with the process."""

from __future__ import annotations

import asyncio
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from node.engine.test_frames import decode
from node.engine.world import ORDERS

from trustnode.core.policy.governed import Governed, GovernedTable, Mask
from trustnode.core.stream import FrameNote, frame_digest
from trustnode.engine import kept_files, shape
from trustnode.engine.kept import relation_digest
from trustnode.engine.kept_files import Relations
from trustnode.engine.message import Frame, SessionSpec
from trustnode.engine.pool import EngineLimits, EnginePool
from trustnode.engine.source import Source, data_version
from trustnode.errors import TrustnodeError

ROWS = 400_000


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    path = tmp_path_factory.mktemp("kept-source") / "t.parquet"
    write(path)
    return path


def write(path, first=0):
    pq.write_table(pa.table({"n": range(first, first + ROWS), "secret": ["x"] * ROWS}), path)


def spec_of(path, *, agreement="urn:a:1", columns=("n",), masks=()):
    source = Source("parquet", str(path), {"t": path.name})
    return SessionSpec(
        agreement=agreement, policy_digest=f"policy of {agreement}", data_version=data_version(source), source=source,
        governed=Governed((GovernedTable("t", columns, masks),)), hash_key=agreement.encode() * 4,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("home") / "kept"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(folder):
    limits = EngineLimits(max_workers=2, spare_workers=0, kept_disk_bytes=256 << 20)
    async with EnginePool(limits, folder) as pool:
        yield pool


async def read(pool, spec, sql="SELECT * FROM t", **more):
    session = await pool.session(spec)
    async with await session.run(await session.plan(sql), **more) as stream:
        return [frame async for frame in stream]


def no_worker(pool, monkeypatch):
    async def refused(_spec):
        raise AssertionError("a worker was asked for")

    monkeypatch.setattr(pool, "borrow", refused)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_second_full_read_needs_no_engine_and_is_the_same_stream(pool, big, folder, monkeypatch):
    first = await read(pool, spec_of(big))
    assert len(first) > 3
    no_worker(pool, monkeypatch)
    again = await read(pool, spec_of(big))
    assert again == first
    assert decode(frame.data for frame in again)["n"].to_pylist() == list(range(ROWS))
    assert list(folder.iterdir()) == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.asyncio(loop_scope="module")
async def test_64_readers_at_once_get_the_whole_relation(pool, big, monkeypatch):
    first = await read(pool, spec_of(big))
    no_worker(pool, monkeypatch)
    for found in await asyncio.gather(*(read(pool, spec_of(big)) for _ in range(64))):
        assert found == first
    assert all(relation.readers == 0 for relation in pool.relations._kept.values())


@pytest.mark.asyncio(loop_scope="module")
async def test_another_agreement_shares_only_what_depends_on_no_agreement(pool, big):
    await read(pool, spec_of(big))
    assert relation_digest(spec_of(big, agreement="urn:a:2")) == relation_digest(spec_of(big))
    mask = (Mask("secret", "hash"),)
    masked = [relation_digest(spec_of(big, agreement=name, masks=mask)) for name in ("urn:a:1", "urn:a:2")]
    assert len({*masked, relation_digest(spec_of(big)), relation_digest(spec_of(big, columns=("n", "secret")))}) == 4
    one, other = [
        decode(frame.data for frame in await read(pool, spec_of(big, agreement=name, masks=mask)))["secret"][0].as_py()
        for name in ("urn:a:1", "urn:a:2")
    ]
    assert one != other


@pytest.mark.asyncio(loop_scope="module")
async def test_only_a_whole_table_is_kept_and_a_read_that_was_left_is_not(pool, big):
    wide = spec_of(big, agreement="urn:a:3", columns=("secret", "n"))
    before = len(pool.relations)
    await read(pool, wide, "SELECT n FROM t")
    session = await pool.session(wide)
    async with await session.run(await session.plan("SELECT * FROM t")) as stream:
        await anext(stream)
        await anext(stream)
    with pytest.raises(TrustnodeError):
        await read(pool, wide, max_rows=ROWS - 1)
    assert (len(pool.relations), pool.relations._recording) == (before, set())
    assert pool.relations.size == sum(one.size for one in pool.relations._kept.values())


@pytest.mark.asyncio(loop_scope="module")
async def test_a_worker_that_dies_while_a_relation_is_written_leaves_nothing(pool, big, folder):
    spec = spec_of(big, agreement="urn:a:4", columns=("secret",))
    session = await pool.session(spec)
    stream = await session.run(await session.plan("SELECT * FROM t"))
    await anext(stream)
    await pool.kill("urn:a:4")
    with pytest.raises(TrustnodeError):
        async for _ in stream:
            pass
    assert pool.relations._recording == set()
    assert pool.relations.find((relation_digest(spec), ""), [], None) is None
    assert list(folder.iterdir()) == []


@pytest.mark.asyncio(loop_scope="module")
async def test_no_relation_is_served_past_a_change_of_the_data(pool, tmp_path):
    path = tmp_path / "t.parquet"
    write(path)
    await read(pool, spec_of(path, agreement="urn:a:5"))
    kept = len(pool.relations)
    write(path, first=7)
    assert decode(frame.data for frame in await read(pool, spec_of(path, agreement="urn:a:5")))["n"][0].as_py() == 7
    await pool.drop_outdated()
    assert len(pool.relations) == kept
    path.unlink()
    await pool.drop_outdated()
    assert all(relation.spec.source.location != str(path) for relation in pool.relations._kept.values())


@pytest.mark.asyncio(loop_scope="module")
async def test_a_relation_written_while_the_data_change_is_not_kept(pool, tmp_path):
    path = tmp_path / "t.parquet"
    write(path)
    spec = spec_of(path, agreement="urn:a:6")
    session = await pool.session(spec)
    plan = await session.plan("SELECT * FROM t")
    stream = await session.run(plan)
    await anext(stream)
    os.utime(path, ns=(1, 1))
    async for _ in stream:
        pass
    assert pool.relations.find(session._relation_key(plan), [], None) is None


@pytest.mark.asyncio(loop_scope="module")
async def test_a_relation_goes_when_the_last_agreement_that_read_it_ends_and_readers_keep_theirs(pool, big):
    a, b = (spec_of(big, agreement=name, columns=("n", "secret")) for name in ("urn:a:7", "urn:a:8"))
    whole = await read(pool, a)
    await read(pool, b)
    session = await pool.session(b)
    plan = await session.plan("SELECT * FROM t")
    pool.forget("urn:a:7")
    assert pool.relations.find(session._relation_key(plan), [], None) is not None
    async with await session.run(plan) as stream:
        frames = [await anext(stream)]
        pool.forget("urn:a:8")
        assert pool.relations.find(session._relation_key(plan), [], None) is None
        frames += [frame async for frame in stream]
    assert frames == whole
    assert pool.relations.size == sum(one.size for one in pool.relations._kept.values())


@pytest.fixture
def relations(tmp_path):
    with ThreadPoolExecutor(1) as executor:
        yield lambda size, **more: Relations(tmp_path / "kept", size, executor, **more)


def frame(number, size=1000):
    body = bytes([number]) * size
    return Frame(body, FrameNote(number, 1, frame_digest(b"", body)))


async def record(relations, key, count, spec):
    async def is_current(_spec):
        return True

    recording = relations.record(key, spec, ["a"], is_current)
    for number in range(count):
        await recording.add(frame(number))
    await recording.complete()


@pytest.fixture
def any_spec(make_spec):
    made = make_spec(Governed((ORDERS,)))
    return msgspec.structs.replace(made, data_version=data_version(made.source))


async def test_what_lies_on_the_disk_is_bounded_and_the_oldest_goes_first(relations, any_spec):
    kept = relations(10_000)
    for key in ("one", "two", "three"):
        await record(kept, key, 4, any_spec)
    assert [kept.find(key, [], None) is not None for key in ("one", "two", "three")] == [False, True, True]
    assert kept.size == 8000
    await record(kept, "larger than all", 11, any_spec)
    assert kept.find("larger than all", [], None) is None
    assert (len(kept), kept.size) == (0, 0)


async def test_a_full_disk_ends_the_writing_and_not_the_read(relations, any_spec, monkeypatch):
    kept = relations(1 << 40, reserve_bytes=1 << 60)
    await record(kept, "one", 2, any_spec)
    assert (len(kept), kept.size) == (0, 0)
    kept = relations(1 << 20)

    def full(*_):
        raise OSError(28, "no space")

    monkeypatch.setattr(kept_files.os, "pwrite", full)
    await record(kept, "one", 2, any_spec)
    assert (len(kept), kept.size) == (0, 0)


async def test_a_file_that_was_cut_ends_the_stream_and_a_changed_frame_does_not_fit_its_digest(relations, any_spec):
    kept = relations(1 << 20)
    await record(kept, "one", 3, any_spec)
    relation = kept.find("one", [], None)
    os.pwrite(relation.descriptor, b"!", 1500)
    changed = relation.frame(1)
    assert frame_digest(b"", changed.data) != changed.note.digest
    os.ftruncate(relation.descriptor, 2500)
    with pytest.raises(TrustnodeError) as caught:
        relation.frame(2)
    assert caught.value.reason == "INTERNAL"


async def test_where_files_without_a_name_are_not_known_one_is_made_and_unlinked(relations, any_spec, monkeypatch):
    real = os.open

    def refusing(path, flags, *more, **named):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "not supported")
        return real(path, flags, *more, **named)

    monkeypatch.setattr(kept_files.os, "open", refusing)
    kept = relations(1 << 20)
    await record(kept, "one", 3, any_spec)
    assert list(kept.folder.iterdir()) == []
    assert stat.S_IMODE(os.fstat(kept.find("one", [], None).descriptor).st_mode) == 0o600


@pytest.mark.parametrize(
    "sql, whole",
    [
        ("SELECT * FROM t", True), ("select * from T;", True), ("SELECT * FROM t WHERE true", False),
        ("SELECT * FROM t LIMIT 5", False), ("SELECT DISTINCT * FROM t", False), ("SELECT *, 1 FROM t", False),
        ("SELECT * EXCLUDE (a) FROM t", False), ("SELECT t.* FROM t", False), ("SELECT a FROM t", False),
        ("SELECT * FROM t, t AS b", False), ("SELECT * FROM (SELECT * FROM t)", False),
        ("WITH t AS (SELECT 1) SELECT * FROM t", False), ("SELECT * FROM t ORDER BY 1", False),
    ],
)  # fmt: skip
def test_a_whole_table_is_one_star_from_one_table_and_nothing_else(sql, whole):
    assert shape.is_whole_table(shape.parse(sql)) is whole
