"""Verification names the first difference; copies are whole; upkeep changes nothing."""

import random
import shutil
from types import NoneType

import pytest
from node.store.world import document, fill, note, open_store, sql, statements

from trustnode.core.access import AccessState
from trustnode.errors import TrustnodeError
from trustnode.store.check import check_store, maintain, restore
from trustnode.store.head import read_record


@pytest.fixture
async def stopped(path, clock):
    """A store with some of everything, closed."""
    async with await open_store(path, clock) as store:
        await fill(store, 300)
        for i in range(20):
            await note(store, f"C{i % 3}", access_id=f"a{i}")

        def more(tx):
            digest = tx.keep(document("d", "k1"))
            tx.save(AccessState(id="a1", document=digest, agreement="C1"))
            tx.log("agreement", "C1", "access.request", access_id="a1", documents=(digest,))
            for lane in ("CATALOG", "CONTROL"):
                for i in range(3):
                    tx.tell(lane, "*", [document(f"{lane}{i}")])

        await store.write(more, event_id="", returns=NoneType)
        store.record_head()
    return path


def test_a_whole_store_has_no_difference(stopped):
    assert check_store(stopped) == []


LOGGED = {
    "entry": ("idx", ("seq", "link", "commitment")),
    "statement": ("idx", ("salt", "body")),
    "tile": ("rowid", ("data",)),
    "head": ("rowid", ("size", "root")),
    "chain": ("id", ("seq", "link", "object", "kind")),
    "document": ("rowid", ("payload", "type", "digest")),
}


def flipped(value, bit):
    if isinstance(value, int):
        return value ^ (1 << bit % 20)
    data = bytearray(value.encode() if isinstance(value, str) else value)
    data[bit // 8 % len(data)] ^= 1 << bit % 7
    return data.decode(errors="replace") if isinstance(value, str) else bytes(data)


async def test_l4c_a_tile_above_that_is_not_full_is_compared_too(path, clock):
    async with await open_store(path, clock) as store:
        await fill(store, 4500)
    assert check_store(path) == []
    sql(path, "update tile set data = cast(substr(data, 1, 40) || x'ff' || substr(data, 42) as blob) where level = 1")
    assert [(d.where, d.index) for d in check_store(path)][-1] == ("tile 1/0", 256)


@pytest.mark.parametrize("table", LOGGED)
def test_l4c_one_flipped_bit_is_found(stopped, tmp_path, table):
    chance = random.Random(table)
    key, columns = LOGGED[table]
    rows = sql(stopped, f"select {key} from {table} order by {key}")
    for column in columns:
        for _ in range(4):
            copy = tmp_path / "flipped.db"
            shutil.copy(stopped, copy)
            shutil.copy(f"{stopped}.head", f"{copy}.head")
            (row,) = chance.choice(rows)
            sql(copy, "drop index if exists entry_chain")  # a flip on the disk asks no index
            ((value,),) = sql(copy, f"select {column} from {table} where {key} = ?", row)
            sql(copy, f"update {table} set {column} = ? where {key} = ?", flipped(value, chance.randrange(4096)), row)
            found = check_store(copy, limit=1)
            assert found, (table, column, row)
            if table in {"entry", "statement"}:
                assert found[0].index in {row, 0}, found


def test_the_first_difference_names_index_and_object(stopped):
    sql(stopped, "update statement set body = cast(replace(body, 'a7', 'a8') as blob) where idx = 307")
    sql(stopped, "update statement set body = x'00' where idx = 311")
    first, *_ = check_store(stopped)
    assert (first.where, first.index, first.object) == ("statement", 307, "agreement C1")


@pytest.mark.parametrize(
    "damage, where",
    [
        ("delete from entry where idx = 5", "entry"),
        ("delete from entry where idx = (select max(idx) from entry)", "head"),
        ("delete from feed where seq = 2", "feed CATALOG *"),
        ("update feed set documents = '[]' where seq = 1", "feed CATALOG *"),
        ("delete from document where digest = (select document from access)", "access"),
        ("update access set causes = 'no json'", "access"),
        ("insert into statement values (5000, x'00', x'00')", "statement"),
        ("update chain set seq = seq + 1", "chain"),
        ("insert into tile select 3, 0, data from tile limit 1", "tile"),
    ],
)
def test_what_is_missing_or_too_much_is_found(stopped, damage, where):
    sql(stopped, damage)
    assert where in [difference.where for difference in check_store(stopped)]


def test_l4a_a_database_cut_at_any_page_is_found(stopped, tmp_path):
    data = stopped.read_bytes()
    for pages in range(0, len(data) // 4096, 5):
        copy = tmp_path / "cut.db"
        copy.write_bytes(data[: pages * 4096])
        shutil.copy(f"{stopped}.head", f"{copy}.head")
        assert check_store(copy), pages


async def opened_or_refused(path, clock):
    try:
        async with await open_store(path, clock) as store:
            return store.read_only or [d.message for d in await store.check()]
    except TrustnodeError as refused:
        return refused.reason


@pytest.mark.parametrize("pages", [0, 1, 10, -1])
async def test_l4a_a_cut_database_does_not_start_or_is_read_only(stopped, tmp_path, clock, pages):
    data = stopped.read_bytes()
    copy = tmp_path / "cut.db"
    copy.write_bytes(data[: pages * 4096])
    shutil.copy(f"{stopped}.head", f"{copy}.head")
    assert await opened_or_refused(copy, clock)


async def test_a_running_store_is_copied_whole(store, path, tmp_path, clock):
    await fill(store, 300)
    copy = tmp_path / "copy.db"
    head = await store.backup(copy)
    await fill(store, 10)
    assert head.size == 300
    assert check_store(copy) == []
    with pytest.raises(TrustnodeError) as refused:
        await store.backup(copy)
    assert refused.value.reason == "DUPLICATE"
    home = tmp_path / "elsewhere"
    home.mkdir()
    assert restore(copy, home / "store.db").size == 300
    async with await open_store(home / "store.db", clock) as again:
        assert (again.verdict.outcome, len(await statements(again))) == ("EQUAL", 300)


async def test_l5a_restoring_an_old_copy_keeps_the_record_of_what_was_shown(path, tmp_path, clock):
    async with await open_store(path, clock) as store:
        await fill(store, 10)
        await store.backup(tmp_path / "copy.db")
        await fill(store, 10)
        store.record_head()
    path.unlink()
    assert restore(tmp_path / "copy.db", path).size == 20
    async with await open_store(path, clock) as again:
        assert again.verdict.outcome == "AHEAD"


def test_a_damaged_copy_is_not_restored(stopped, tmp_path):
    sql(stopped, "update entry set link = zeroblob(32) where idx = 7")
    with pytest.raises(TrustnodeError) as refused:
        restore(stopped, tmp_path / "new.db")
    assert refused.value.reason == "STORE_CORRUPT"
    assert not (tmp_path / "new.db").exists()


def test_upkeep_changes_nothing_that_counts(stopped):
    before = read_record(stopped)
    maintain(stopped)
    assert check_store(stopped) == []
    assert read_record(stopped) == before


async def test_upkeep_of_a_store_in_use_is_refused(store, path):
    with pytest.raises(TrustnodeError) as refused:
        maintain(path)
    assert refused.value.reason == "CONFIG_INVALID"
