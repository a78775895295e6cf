"""The log in the database: proofs, tiles, erasure, comparison with the head record, readers beside the writer."""

import asyncio
import json
from types import NoneType

import pytest
from node.store.world import fill, note, open_store, sql, statements

from trustnode.core.evidence import chain, tree
from trustnode.core.evidence.tree import TreeHead
from trustnode.errors import TrustnodeError
from trustnode.store.head import HeadRecord, read_record, record_path, write_record


async def test_every_entry_is_proven_in_every_later_tree(store):
    await fill(store, 600)
    roots = await store.read(lambda view: [view.evidence.root(n) for n in (1, 255, 256, 257, 600)])
    for size, root in zip((1, 255, 256, 257, 600), roots, strict=True):
        head = TreeHead(size, root)
        for index in {0, size // 2, size - 1}:
            proof, entry = await store.read(
                lambda view, i=index, n=size: (view.evidence.inclusion(i, n), view.evidence.entry(i))
            )
            tree.verify_inclusion(index, tree.leaf_hash(entry.data), proof, head)
        path = await store.read(lambda view, n=size: view.evidence.consistency(n, 600))
        tree.verify_consistency(head, TreeHead(600, store.head().root), path)


async def test_a_proof_beyond_the_log_is_refused(store):
    await fill(store, 3)
    for ask in (
        lambda v: v.evidence.inclusion(0, 4),
        lambda v: v.evidence.consistency(1, 4),
        lambda v: v.evidence.entry(3),
    ):
        with pytest.raises(TrustnodeError) as refused:
            await store.read(ask)
        assert refused.value.reason == "NOT_FOUND"


async def test_the_log_grows_the_same_in_one_batch_and_in_many(path, tmp_path, clock):
    async with await open_store(path, clock) as store:
        for _ in range(5):
            await asyncio.gather(*(note(store, f"C{i % 7}") for i in range(64)))
        size = store.head().size
        links = [e.data for e in await store.read(lambda view: view.evidence.entries(0))]
    from trustnode.core.evidence.edges import TileEdges

    assert size == 320
    assert TileEdges().grow([tree.leaf_hash(link) for link in links]).head.root == store.head().root


async def test_chains_of_two_objects_grow_apart_in_one_log(store):
    await asyncio.gather(*(note(store, f"C{i % 2}") for i in range(20)))
    for name in ("C0", "C1"):
        lines = await store.read(lambda view, name=name: view.evidence.chain("agreement", name))
        end = chain.ChainEnd()
        for line in lines:
            end = chain.extend(end, chain.object_id("agreement", name), chain.commitment(line.salt, line.statement))
            assert (line.seq, line.data) == end
        assert len(lines) == 10
        assert await store.read(lambda view, name=name: view.chain("agreement", name)) == end


async def test_a_bundle_of_entries_is_cut_to_the_tree_that_is_asked_for(store):
    await fill(store, 300)
    bundles = await store.read(lambda view: [len(view.evidence.bundle(n, 280)) for n in (0, 1, 2)])
    assert bundles == [256, 24, 0]


@pytest.mark.parametrize("extra", [{"actor": "a" * 65_536}, {"documents": ("0" * 64,) * 1024}])
async def test_l9_a_record_too_long_is_refused_and_what_is_logged_is_a_link_of_32_bytes(store, extra):
    await note(store)
    with pytest.raises(TrustnodeError, match="FIELD_FORMAT"):
        await note(store, **extra)
    assert store.head().size == 1
    assert await store.read(lambda view: len(view.evidence.entry(0).data)) == chain.ENTRY_BYTES


async def test_l4d_readers_see_the_old_or_the_new_tile_never_a_mixture(store):
    done = False

    async def write():
        nonlocal done
        for _ in range(40):
            await asyncio.gather(*(note(store, f"C{i}") for i in range(16)))
        done = True

    def look(view):
        head = view.evidence.head()
        return head.root, view.evidence.root(head.size), head.size

    async def read():
        seen = 0
        while not done:
            stored, computed, size = await store.read(look)
            assert stored == computed
            assert size >= seen
            seen = size

    await asyncio.gather(write(), read(), read())


async def test_l15a_what_was_erased_is_gone_and_every_proof_stays_valid(store, path):
    await fill(store, 20)
    secret = "pseudonym-to-be-erased"
    await note(store, actor=secret)
    await fill(store, 20)
    before = store.head()
    await store.write(lambda tx: tx.erase(20), event_id="", returns=NoneType)
    entry = await store.read(lambda view: view.evidence.entry(20))
    assert (entry.salt, entry.statement) == (None, None)
    tree.verify_inclusion(
        20,
        tree.leaf_hash(entry.data),
        await store.read(lambda view: view.evidence.inclusion(20, 41)),
        TreeHead(*before[:2]),
    )
    assert [(one.where, one.index) for one in await store.check()] == [("statement", 20)]  # nobody says that it was
    await note(store, "zj.example", kind="node", event="log.erase", amount=20, unit="entry")
    assert await store.check() == []
    await store.close()
    left = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert secret.encode() not in left


async def test_l15a_an_erased_statement_leaves_the_write_ahead_log_while_the_node_runs(store, path):
    await note(store, actor="pseudonym-to-be-erased")
    await store.write(lambda tx: tx.erase(0), event_id="", returns=NoneType)
    await note(store)
    for name in ("store.db", "store.db-wal"):
        assert b"pseudonym-to-be-erased" not in (path.parent / name).read_bytes()


async def reopened(path, clock):
    async with await open_store(path, clock) as store:
        return store.verdict, store.read_only


async def grown(path, clock, *, recorded):
    """A log of 300 entries whose head was recorded at some size."""
    async with await open_store(path, clock) as store:
        await fill(store, recorded)
        store.record_head()
        await fill(store, 300 - recorded)


@pytest.mark.parametrize("recorded", [0, 1, 256, 299, 300])
async def test_l5b_a_record_that_is_behind_or_equal_lets_the_node_go_on(path, clock, recorded):
    await grown(path, clock, recorded=recorded)
    verdict, read_only = await reopened(path, clock)
    assert verdict.outcome == ("EQUAL" if recorded == 300 else "BEHIND")
    assert (read_only, verdict.recorded_size) == ("", recorded)


async def test_l5a_an_old_backup_is_recognised_and_nothing_is_appended(path, tmp_path, clock):
    async with await open_store(path, clock) as store:
        await fill(store, 100)
        await store.backup(tmp_path / "old.db")
        await fill(store, 100)
        store.record_head()
    path.write_bytes((tmp_path / "old.db").read_bytes())
    async with await open_store(path, clock) as store:
        assert store.verdict.outcome == "AHEAD"
        with pytest.raises(TrustnodeError) as refused:
            await note(store)
        assert refused.value.reason == "READ_ONLY"
        assert len(await statements(store)) == 100


@pytest.mark.parametrize("size", [100, 300])
async def test_l5b_a_record_of_another_history_is_tampering(path, clock, size):
    await grown(path, clock, recorded=300)
    write_record(path, HeadRecord(size=size, root="ab" * 32))
    verdict, read_only = await reopened(path, clock)
    assert verdict.outcome == "DIFFERENT"
    assert read_only


@pytest.mark.parametrize(
    "bytes_, outcome",
    [
        (None, "MISSING"),
        (b"", "UNREADABLE"),
        (b"{}x", "UNREADABLE"),
        (b'{"root":"zz","size":1,"time":""}', "UNREADABLE"),
        (b'{"root":"' + b"00" * 31 + b'","size":1,"time":""}', "UNREADABLE"),
        (b'{"root":"' + b"00" * 32 + b'","size":-1,"time":""}', "UNREADABLE"),
        (b'{"root":"' + b"00" * 32 + b'","size":1,"time":"","more":1}', "UNREADABLE"),
    ],
)
async def test_l5b_a_record_that_is_not_there_is_not_taken_as_agreement(path, clock, bytes_, outcome):
    await grown(path, clock, recorded=10)
    if bytes_ is None:
        record_path(path).unlink()
    else:
        record_path(path).write_bytes(bytes_)
    verdict, read_only = await reopened(path, clock)
    assert verdict.outcome == outcome
    assert read_only


@pytest.mark.parametrize(
    "damage", ["update tile set data = zeroblob(length(data))", "delete from tile", "update head set size = size - 1"]
)
async def test_tiles_that_do_not_lead_to_the_root_make_the_store_read_only(path, clock, damage):
    await grown(path, clock, recorded=10)
    sql(path, damage)
    verdict, read_only = await reopened(path, clock)
    assert verdict.outcome == "CORRUPT"
    assert read_only


async def test_a_deleted_database_beside_its_record_is_a_rollback_too(path, clock):
    await grown(path, clock, recorded=300)
    path.unlink()
    verdict, _ = await reopened(path, clock)
    assert verdict.outcome == "AHEAD"
    assert read_record(path).size == 300


async def test_a_new_store_has_a_record_from_the_start(store, path):
    assert json.loads(record_path(path).read_bytes())["size"] == 0
    assert read_record(path) == HeadRecord()
