"""States and counters against their entries: what an enemy with the disk changes is found; an erased step is not held
against anybody."""

import os
import random
import shutil
import sqlite3
from contextlib import closing
from types import NoneType

import msgspec
import pytest
from node.store.world import document, fill, note, open_store, sql

from trustnode.core.access import AccessState
from trustnode.core.carried import LOCAL
from trustnode.core.replay import Told
from trustnode.errors import TrustnodeError
from trustnode.store import connection, schema
from trustnode.store.check import UNCOMMITTED, check_store, restore
from trustnode.store.rows import Begins, table_of
from trustnode.store.shelf import Shelf

LIMIT = 5


def do(store, unit, event_id=""):
    return store.write(lambda tx: unit(tx) and None, event_id=event_id, returns=NoneType)


def asked(access, agreement="C1"):
    """One read, decided: a row, a reservation, an entry."""

    def unit(tx):
        if tx.get(AccessState, access) is not None:
            return "REPLAYED"
        if not tx.reserve(f"{agreement}/reads", 1, LIMIT, access=access, window="2026"):
            return "QUOTA"
        state = tx.save(AccessState(id=access, agreement=agreement, state="STREAMING", started_at=tx.now))
        tx.log("agreement", agreement, "access.decide", access_id=access)
        end = tx.chain("agreement", agreement)
        tx.place(state, decision_seq=end.seq, decision_link=end.link.hex())
        return "ALLOW"

    return unit


async def ask(store, access):
    return await store.write(asked(access), event_id="", returns=str)


def delivered(access, agreement="C1"):
    def unit(tx):
        tx.settle(access, {f"{agreement}/reads": 1})
        state = tx.get(AccessState, access)
        tx.save(msgspec.structs.replace(state, state="DELIVERED", rows=7, document=tx.keep(document(access))))
        tx.log("agreement", agreement, "delivery.complete", access_id=access, documents=(document(access).digest,))

    return unit


@pytest.fixture
async def used(path, clock):
    """Three of five reads, two of them delivered; closed."""
    async with await open_store(path, clock) as store:
        for access in ("a1", "a2", "a3"):
            assert await ask(store, access) == "ALLOW"
        for access in ("a1", "a2"):
            await do(store, delivered(access))
        await fill(store, 300, "C2")
        store.record_head()
        assert await store.check() == []
    return path


FOUND = {
    "update access set rows = 8 where id = 'a1'": ("access", 3, "access a1"),
    "update access set state = 'ABORTED' where id = 'a3'": ("access", 2, "access a3"),
    "update access set decision_link = '00' where id = 'a3'": ("access", 2, "access a3"),
    "update access set acked_rows = 9 where id = 'a3'": ("access", 2, "access a3"),
    "update access set version = 9 where id = 'a3'": ("access", 2, "access a3"),
    "delete from access where id = 'a2'": ("access", 4, "access a2"),
    "update counter set used = 1": ("counter", None, "C1/reads 2026"),
    "delete from counter": ("counter", None, "C1/reads 2026"),
    "update counter set \"window\" = '2027'": ("counter", None, "C1/reads 2026"),
    "delete from reservation": ("reservation", None, "access a3"),
    "insert into reservation values ('a1', 'C1/reads', '2026', 1)": ("reservation", None, "access a1"),
    "delete from statement where idx = 1": ("access", None, "access a2"),
}


@pytest.mark.parametrize("damage", FOUND)
def test_l4c_a_state_or_counter_that_the_log_does_not_tell_is_named(used, damage):
    sql(used, damage)
    first = check_store(used, limit=1)[0]
    where, index, object = FOUND[damage]
    if damage.startswith("delete from statement"):
        assert (first.where, first.index) == ("statement", 1)
    else:
        assert (first.where, first.index, first.object) == (where, index, object)


OPERATIONS = {
    "alter": "update statement set body = cast(replace(body, 'ALLOW', 'DENY_') || ' ' as blob) where idx = 4",
    "delete": "delete from entry where idx = 4",
    "reorder": "update entry set link = case idx when 3 then (select link from entry where idx = 4) "
    "else (select link from entry where idx = 3) end where idx in (3, 4)",
}


@pytest.mark.parametrize("how", OPERATIONS)
def test_se_op_3_a_log_that_was_tampered_with_is_found_with_the_index(used, how):
    sql(used, OPERATIONS[how])
    assert check_store(used, limit=1)[0].index in {3, 4}


async def test_se_op_3_a_log_that_was_rolled_back_is_found_and_not_written(used, clock, tmp_path):
    old = tmp_path / "old.db"
    shutil.copy(used, old)
    async with await open_store(used, clock) as store:
        await note(store)
        store.record_head()
    shutil.copy(old, used)
    for suffix in ("-wal", "-shm"):
        used.with_name(used.name + suffix).unlink(missing_ok=True)
    assert check_store(used)[0].where == "head"
    async with await open_store(used, clock) as store:
        with pytest.raises(TrustnodeError) as refused:
            await note(store)
        assert refused.value.reason == "READ_ONLY"


@pytest.mark.parametrize("seed", range(6))
async def test_l4b_a_write_ahead_log_that_is_cut_or_of_another_run_is_found(path, clock, tmp_path, seed):
    """The database as it was copied while the node ran, its write-ahead log cut, or exchanged for an older one."""
    chance = random.Random(seed)
    async with await open_store(path, clock) as store:
        for number in range(6):
            await fill(store, 40, f"C{number}")
            if number == 2:
                older = path.with_name(path.name + "-wal").read_bytes()
        store.record_head()
        copy = tmp_path / "copy" / "store.db"
        copy.parent.mkdir()
        shutil.copy(path, copy)
        shutil.copy(f"{path}.head", f"{copy}.head")
        wal = path.with_name(path.name + "-wal").read_bytes()
    damaged = older if seed % 2 else wal[: chance.randrange(len(wal) - 4096)]
    copy.with_name(copy.name + "-wal").write_bytes(damaged)
    assert check_store(copy, limit=1)
    with pytest.raises(TrustnodeError) as refused:
        async with await open_store(copy, clock) as store:
            await note(store)
    assert refused.value.reason in ("READ_ONLY", "STORE_CORRUPT")


async def test_x12_an_old_copy_gives_back_neither_quota_nor_request_ids(used, clock, tmp_path):
    """States and counters of a copy may be older than its log, or emptied: what counts is told by the log."""
    copy, store_path = tmp_path / "copy.db", tmp_path / "home" / "node.db"
    store_path.parent.mkdir()
    async with await open_store(used, clock) as store:
        await store.backup(copy)
    emptied = tmp_path / "emptied.db"
    shutil.copy(copy, emptied)
    shutil.copy(f"{copy}.head", f"{emptied}.head")
    for table in ("counter", "reservation", "access"):
        sql(emptied, f"delete from {table}")
    with pytest.raises(TrustnodeError, match="the copy fails verification"):
        restore(emptied, store_path)
    restore(copy, store_path)
    async with await open_store(store_path, clock) as store:
        assert [await ask(store, access) for access in ("a1", "a3", "a4", "a5", "a6")] == [
            "REPLAYED", "REPLAYED", "ALLOW", "ALLOW", "QUOTA",
        ]  # fmt: skip
        assert await store.check() == []


async def test_an_erased_step_makes_its_objects_unprovable_and_nothing_else(used, clock):
    async with await open_store(used, clock) as store:

        def unit(tx):
            tx.erase(3)
            tx.log("node", "zj.example", "log.erase", amount=3, unit="step")

        await do(store, unit)
        assert await store.check() == []
        await fill(store, 2, "C1")
    sql(used, "update access set rows = 8 where id = 'a1'")
    assert check_store(used) == []
    sql(used, "update access set rows = 8 where id = 'a2'")
    assert [one.object for one in check_store(used)] == ["access a2"]


async def test_entries_from_before_they_told_what_they_moved_stay_valid(path, clock):
    async with await open_store(path, clock) as store:
        await note(store, access_id="a0", to_state="STREAMING")
    table = table_of(AccessState)
    for access, agreement in (("a0", "C1"), ("b0", "C2")):
        state = AccessState(id=access, agreement=agreement, state="STREAMING", version=3)
        sql(path, table.insert, *table.write(state))
        assert [one.object for one in check_store(path)] == ([] if access == "a0" else ["access b0"])


def test_every_table_is_committed_to_or_named_with_the_reason_why_not():
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        schema.migrate(db)
        names = [row[0] for row in db.execute("select name from sqlite_master where type = 'table'")]
        columns = {f"{name}.{row[1]}" for name in names for row in db.execute(f'pragma table_info("{name}")')}
    assert set(UNCOMMITTED) <= {*names, *columns}
    committed = {
        "head",
        "entry",
        "statement",
        "chain",
        "tile",
        "document",
        "feed",
        "counter",
        "reservation",
        "checkpoint",
    }
    committed |= {"witnessed", "participant", "peering", "product", "listing", "negotiation", "agreement", "grant"}
    committed |= {"access", "catalog", "duty"}
    rest = {name for name in names if not name.startswith(("sqlite_", "_sqlite", "search"))} - set(UNCOMMITTED)
    assert rest == committed
    assert all(len(reason) > 20 for reason in (*UNCOMMITTED.values(), *LOCAL.values()))


def test_what_is_told_of_many_objects_stands_on_the_disk():
    with closing(Shelf(most=3)) as shelf:
        for number in range(10):
            shelf["access", f"a{number}"] = Told(
                version=number, changed_at="", columns={"causes": ("x",)}, chain=("agreement", "C1"), index=number
            )
        shelf["access", "a3"] = msgspec.structs.replace(shelf["access", "a3"], version=30)
        assert (len(shelf), shelf["access", "a3"].version, shelf["access", "a9"].columns) == (
            10,
            30,
            {"causes": ("x",)},
        )
        del shelf["access", "a1"]
        assert ("access", "a1") not in shelf
        assert [id for _, id in shelf][:2] == ["a0", "a2"]
        with pytest.raises(KeyError):
            del shelf["access", "a1"]


async def test_what_happened_on_a_day_is_counted(used, clock):
    async with await open_store(used, clock) as store:
        day = clock.now()[:10]
        counts = await store.read(
            lambda view: (
                view.count(AccessState, started_at=Begins(day)),
                view.count(AccessState, started_at=Begins("2020-01-01")),
                view.total(AccessState, "rows", started_at=Begins(day)),
                view.total(AccessState, "rows", started_at=Begins("2020")),
            )
        )
        assert counts == (3, 0, 14, 0)


def test_bytes_are_found_wherever_they_stand_in_the_files(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "_PIECE_BYTES", 64)
    path = tmp_path / "store.db"
    path.with_name("store.db-wal").write_bytes(os.urandom(60) + b"the mark that is looked for" + os.urandom(60))
    assert connection.holds(path, [b"the mark that is looked for"])
    assert not connection.holds(path, [b"the mark that is not there"])
    assert not connection.holds(path, [])
