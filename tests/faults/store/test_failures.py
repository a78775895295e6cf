"""Failing commits, a dead writer, a full disk: every caller learns the truth, and the store goes on or says why not."""

import asyncio
import sqlite3
import subprocess
import threading
from types import NoneType

import pytest
from node.store.world import fill, note, open_store

from trustnode.core.access import AccessState
from trustnode.errors import TrustnodeError
from trustnode.store import connection
from trustnode.testing.clock import FakeClock


@pytest.fixture
async def store(tmp_path):
    async with await open_store(tmp_path / "store.db", FakeClock()) as opened:
        yield opened


def disk_error(code):
    problem = sqlite3.OperationalError("disk I/O error")
    problem.sqlite_errorcode = code
    return problem


def fail_once(monkeypatch, store, problem, *, after):
    """Let the next commit raise, before or after it really happened."""
    writer = store._writer
    really = type(writer)._commit
    failed = []

    def commit():
        if failed or after:
            really(writer)
        if not failed:
            failed.append(1)
            raise problem

    monkeypatch.setattr(writer, "_commit", commit)


async def crowd(store, name):
    """Twenty callers of one moment; what each got."""
    return await asyncio.gather(*(note(store, name, event_id=f"{name}{i}") for i in range(20)), return_exceptions=True)


async def test_l3d_a_commit_that_failed_and_was_stored_is_a_success_for_its_callers(store, monkeypatch):
    fail_once(monkeypatch, store, disk_error(sqlite3.SQLITE_IOERR_WRITE), after=True)
    told = []
    store.on_commit = told.append
    assert await crowd(store, "C1") == [None] * 20
    assert store.head().size == 20
    assert await crowd(store, "C1") == [None] * 20
    assert store.head().size == 20
    assert len({commit.head.batch for commit in told}) == len(told)
    assert await store.check() == []


@pytest.mark.parametrize(
    "problem",
    [
        disk_error(sqlite3.SQLITE_IOERR_WRITE),
        disk_error(sqlite3.SQLITE_FULL),
        disk_error(sqlite3.SQLITE_READONLY),
        RuntimeError("our own defect"),
    ],
)
async def test_l3d_a_commit_that_failed_is_told_and_may_be_repeated(store, monkeypatch, problem):
    await fill(store, 300)
    fail_once(monkeypatch, store, problem, after=False)
    first = await crowd(store, "C1")
    lost = [r for r in first if r is not None]
    assert lost
    assert {r.reason for r in lost} == {"EVIDENCE_UNAVAILABLE"}
    assert store.head().size == 320 - len(lost)
    assert await crowd(store, "C1") == [None] * 20
    assert store.head().size == 320
    assert await store.check() == []


async def test_l3e_a_writer_that_dies_leaves_nobody_waiting(store, monkeypatch):
    ended = asyncio.get_running_loop().create_future()
    store.on_fatal = ended.set_result
    fail_once(monkeypatch, store, SystemExit("thread gone"), after=False)
    results = await crowd(store, "C1")
    assert {r.reason for r in results} == {"EVIDENCE_UNAVAILABLE"}
    assert isinstance(await ended, SystemExit)
    with pytest.raises(TrustnodeError) as refused:
        await note(store)
    assert refused.value.reason == "EVIDENCE_UNAVAILABLE"
    assert await store.read(lambda view: view.evidence.head().size) == 0


async def test_a_sync_that_failed_ends_the_writer_even_if_a_later_one_would_succeed(store, monkeypatch):
    ended = asyncio.get_running_loop().create_future()
    store.on_fatal = ended.set_result
    fail_once(monkeypatch, store, disk_error(sqlite3.SQLITE_IOERR_FSYNC), after=True)
    results = await crowd(store, "C1")
    assert {r.reason for r in results} == {"EVIDENCE_UNAVAILABLE"}
    assert "sync" in str(await ended)


async def test_a_store_that_cannot_be_opened_again_ends_the_writer(store, monkeypatch):
    ended = asyncio.get_running_loop().create_future()
    store.on_fatal = ended.set_result

    def gone(_path):
        raise disk_error(sqlite3.SQLITE_CANTOPEN)

    fail_once(monkeypatch, store, disk_error(sqlite3.SQLITE_IOERR_WRITE), after=False)
    monkeypatch.setattr(connection, "open_writer", gone)
    results = await crowd(store, "C1")
    assert {r.reason for r in results} == {"EVIDENCE_UNAVAILABLE"}
    assert "opened again" in str(await ended)


async def test_changes_that_cannot_be_passed_on_end_the_node(store):
    ended = []
    store.on_fatal = ended.append

    def breaks(_commit):
        raise ValueError("a stream was not stopped")

    store.on_commit = breaks
    await note(store)
    assert [str(problem) for problem in ended] == ["a stream was not stopped"]


async def test_a_disk_error_inside_a_unit_loses_the_batch_and_not_only_the_unit(store):
    entered, gate = threading.Event(), threading.Event()
    blocked = asyncio.ensure_future(
        store.write(lambda _: entered.set() or (gate.wait() and None), event_id="", returns=NoneType)
    )
    await asyncio.to_thread(entered.wait)

    def full(tx):
        tx.save(AccessState(id="a1"))
        raise disk_error(sqlite3.SQLITE_FULL)

    rest = asyncio.gather(
        note(store), store.write(full, event_id="", returns=NoneType), note(store), return_exceptions=True
    )
    await asyncio.sleep(0)
    gate.set()
    await blocked
    assert {r.reason for r in await rest} == {"EVIDENCE_UNAVAILABLE"}
    assert store.head().size == 0
    await note(store)
    assert await store.check() == []


async def until_full(store):
    for i in range(2000):
        await store.write(
            lambda tx, i=i: tx.set_setting(f"ballast{i}", "x" * 20_000), event_id=f"b{i}", returns=NoneType
        )


async def test_l3a_a_database_that_may_not_grow_refuses_and_recovers(store, monkeypatch):
    really = connection.open_writer
    full = True

    def limited(path):
        db = really(path)
        if full:
            db.execute("pragma max_page_count = 300")
        return db

    await fill(store, 10)
    monkeypatch.setattr(connection, "open_writer", limited)
    fail = store._writer
    fail._db.execute("pragma max_page_count = 300")
    with pytest.raises(TrustnodeError) as refused:
        await until_full(store)
    assert refused.value.reason == "EVIDENCE_UNAVAILABLE"
    assert await store.check() == []
    size = store.head().size
    full = False
    with pytest.raises(TrustnodeError):
        await until_full(store)
    await note(store)
    assert store.head().size == size + 1


@pytest.fixture
def small_disk(tmp_path):
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", directory], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    yield directory
    subprocess.run(["umount", "-l", directory], check=True)


async def test_l3a_a_full_disk_refuses_loses_nothing_and_is_healthy_when_space_returns(small_disk):
    ballast = small_disk / "ballast"
    async with await open_store(small_disk / "store.db", FakeClock()) as store:
        await fill(store, 100)
        ballast.write_bytes(b"x" * (connection.DiskRoom(small_disk, 0).free_bytes() - 65536))
        with pytest.raises(TrustnodeError) as refused:
            await until_full(store)
        assert refused.value.reason == "EVIDENCE_UNAVAILABLE"
        assert await store.read(lambda view: view.evidence.head().size) == 100
        ballast.unlink()
        await note(store)
        assert store.head().size == 101
        assert await store.check() == []


async def test_no_step_is_taken_below_the_reserve(tmp_path):
    async with await open_store(tmp_path / "store.db", FakeClock()) as store:
        store._room = connection.DiskRoom(tmp_path, 2**62)
        with pytest.raises(TrustnodeError) as refused:
            await note(store)
        assert refused.value.reason == "EVIDENCE_UNAVAILABLE"
        store._room = connection.DiskRoom(tmp_path, 0)
        await note(store)


async def test_parallel_reservations_that_lose_a_batch_are_not_counted(store, monkeypatch):
    fail_once(monkeypatch, store, disk_error(sqlite3.SQLITE_IOERR_WRITE), after=False)

    def reserve(tx, access):
        taken = tx.reserve("k", 1, 50, access=access)
        tx.log("agreement", "C1", "access.decide", access_id=access)
        return taken

    def take(i):
        return store.write(lambda tx: reserve(tx, f"a{i}"), event_id=f"r{i}", returns=bool)

    first = await asyncio.gather(*(take(i) for i in range(64)), return_exceptions=True)
    again = await asyncio.gather(*(take(i) for i in range(64)))
    assert any(isinstance(r, TrustnodeError) for r in first)
    assert sum(again) == 50
    assert (await store.read(lambda view: view.counter("k"))).used == 50
