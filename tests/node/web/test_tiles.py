"""The log over HTTPS, as a stranger reads it."""

import asyncio
import gzip
from email.utils import parsedate_to_datetime

import pytest
import pytest_asyncio
from node.web.world import DOMAIN, ask, fill, start

from trustnode import aio
from trustnode.core.evidence import tile, tree
from trustnode.core.evidence.checkpoint import open_checkpoint
from trustnode.core.evidence.note import ED25519, VerifierKey
from trustnode.core.evidence.tile import TileName
from trustnode.core.identity import log_origin
from trustnode.errors import TrustnodeError
from trustnode.rpc.evidence import ENTRIES
from trustnode.store.unit import View
from trustnode.testing.network import Network

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def node(tmp_path_factory):
    async with Network(tmp_path_factory.mktemp("web")) as network:
        started = await start(network)
        await fill(started, 600)
        await started.publisher.publish()
        yield started


async def checkpoint(node):
    answer = await ask(node, "/checkpoint")
    origin = log_origin(DOMAIN)
    return open_checkpoint(answer.body, [VerifierKey(origin, ED25519, node.venue.log_key.public)], extensions=False)


async def tile_of(node, name):
    answer = await ask(node, "/" + name.path)
    assert answer.status == 200, (name, answer)
    return answer.body


async def hashes(node, size):
    """All tiles of a tree, fetched one by one."""
    found = {}
    for level in range(3):
        number = 0
        while width := tile.width_at(size, level, number):
            found[level, number] = await tile_of(node, TileName(level, number, width))
            number += 1
    return found


async def test_the_checkpoint_is_a_signed_note_that_caches_keep_for_seconds(node):
    answer = await ask(node, "/checkpoint")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert answer.headers["cache-control"] == "public, max-age=2"
    assert parsedate_to_datetime(answer.headers["date"])
    assert (await checkpoint(node)).checkpoint == node.publisher.newest.checkpoint


async def test_tiles_and_bundles_lead_to_the_signed_root_and_never_change(node):
    head = (await checkpoint(node)).head
    tiles = await hashes(node, head.size)
    leaves = []
    for number in range(-(-head.size // 256)):
        width = tile.width_at(head.size, 0, number)
        bundle = await tile_of(node, TileName(None, number, width))
        leaves += [tree.leaf_hash(entry) for entry in tile.decode_bundle(bundle)]
    assert b"".join(leaves) == b"".join(tiles[0, n] for n in range(3))
    read = tree.hashes_in(lambda level, number: tiles[level, number])
    for index in (0, 255, 256, head.size - 1):
        tree.verify_inclusion(index, leaves[index], tree.prove_inclusion(index, head.size, read), head)
    answer = await ask(node, "/tile/0/000")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


async def test_a_partial_tile_is_the_beginning_of_the_full_one(node):
    full = await tile_of(node, TileName(0, 0))
    assert await tile_of(node, TileName(0, 0, 1)) == full[:32]
    assert await tile_of(node, TileName(0, 0, 255)) == full[:-32]
    entries = tile.decode_bundle(await tile_of(node, TileName(None, 0)))
    assert tile.decode_bundle(await tile_of(node, TileName(None, 0, 7))) == entries[:7]


async def test_bundles_are_compressed_for_who_asks(node):
    plain = await ask(node, "/tile/entries/000")
    zipped = await ask(node, "/tile/entries/000", headers=["accept-encoding: gzip"])
    assert zipped.headers["content-encoding"] == "gzip"
    assert gzip.decompress(zipped.body) == plain.body
    assert (await ask(node, "/tile/0/000", headers=["accept-encoding: gzip"])).headers.get("content-encoding") is None


async def test_the_head_of_a_tile_may_be_asked_for_alone(node):
    answer = await ask(node, "/tile/0/000", method="HEAD")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "8192", b"")


ODD = [
    "/", "/tile", "/tile/", "/tile/0", "/tile/0/", "/tile/0/0", "/tile/0/00", "/tile/0/0000", "/tile/0/x000/000",
    "/tile/00/000", "/tile/+1/000", "/tile/-1/000", "/tile/64/000", "/tile/100/000", "/tile/entries", "/tile/entries/0",
    "/tile/entries/../0/000", "/tile/0/../../checkpoint", "/tile/../checkpoint", "/../checkpoint", "/tile/./0/000",
    "//checkpoint", "/checkpoint/", "/checkpoint/..", "/Checkpoint", "/tile/0/x999/../000", "/tile/0/x999/../../../etc/passwd",
    "/%63heckpoint", "/tile/%30/000", "/tile/0/%2e%2e/000", "/tile/0/..%2f000", "/tile/0/000%00", "/checkpoint%0a",
    "/tile/0/000.p/0", "/tile/0/000.p/00", "/tile/0/000.p/01", "/tile/0/000.p/256", "/tile/0/000.p/257",
    "/tile/0/000.p/-1", "/tile/0/000.p/", "/tile/0/000.p/1/", "/tile/0/x001/x234/x067", "/tile/0/000?x=1",
    "/tile/0/" + "x999/" * 6 + "999", "/tile/0/" + "x999/" * 7 + "999", "/tile/63/000", "/tile/63/000.p/1",
    "/tile/0/000\\..", "/tile/0/١٢٣", "/node.db", "/keys/log.key", "http://log/checkpoint", "*",
]  # fmt: skip


@pytest.mark.parametrize("path", ODD)
async def test_l19a_an_odd_path_gets_nothing(node, path):
    answer = await ask(node, path)
    assert answer.status in (400, 404)
    assert answer.headers.get("cache-control") == "no-store" or b"Invalid HTTP" in answer.body
    assert len(answer.body) < 200


async def test_l19a_what_no_checkpoint_covers_is_not_shown(node):
    published = node.publisher.newest.checkpoint.size
    number, width = divmod(published, 256)
    for kind in (0, None):
        assert (await ask(node, "/" + TileName(kind, number, width).path)).status == 200
        assert (await ask(node, "/" + TileName(kind, number, width + 1).path)).status == 404
        assert (await ask(node, "/" + TileName(kind, number).path)).status == 404
        assert (await ask(node, "/" + TileName(kind, number + 1, 1).path)).status == 404
    assert (await ask(node, "/" + TileName(1, 0, published // 256 + 1).path)).status == 404
    assert (await ask(node, "/" + TileName(2, 0, 1).path)).status == 404


async def test_a_node_that_signs_no_more_shows_what_it_signed(node):
    before = await node.publisher.publish()
    await fill(node, 3)
    node.publisher.newest = None
    try:
        assert (await ask(node, "/checkpoint")).body == before.note
        number, width = divmod(before.checkpoint.size, 256)
        assert (await ask(node, "/" + TileName(0, number, width).path)).status == 200
        assert (await ask(node, "/" + TileName(0, number, width + 1).path)).status == 404
    finally:
        await node.publisher.publish()


async def test_l19a_before_the_first_checkpoint_nothing_is_shown(node, monkeypatch):
    await node.publisher.publish()
    monkeypatch.setattr(node.publisher, "newest", None)
    monkeypatch.setattr(View, "newest_checkpoint", lambda _view: None)
    for path in ("/checkpoint", "/tile/0/000", "/tile/entries/000.p/1"):
        assert (await ask(node, path)).status == 404


async def test_l4d_a_stranger_sees_whole_tiles_while_the_log_grows(node):
    done = False

    async def write():
        nonlocal done
        for _ in range(20):
            await asyncio.gather(*(fill(node, 3, f"C{i}") for i in range(16)))
            await node.publisher.publish()
        done = True

    async def read():
        seen = set()
        while not done:
            head = (await checkpoint(node)).head
            tiles = await hashes(node, head.size)
            get = tree.hashes_in(lambda level, number, tiles=tiles: tiles[level, number])
            last = tiles[0, (head.size - 1) // 256][-32:]
            tree.verify_inclusion(head.size - 1, last, tree.prove_inclusion(head.size - 1, head.size, get), head)
            assert head.size >= max(seen, default=0)
            seen.add(head.size)
        assert len(seen) > 2

    await asyncio.gather(write(), read(), read())


@pytest.mark.parametrize(
    "name", [TileName(0, 0), TileName(0, 1, 3), TileName(1, 0, 2), TileName(None, 0), TileName(None, 1, 9)]
)
async def test_the_port_and_the_site_show_the_same_tiles(node, name):
    async with aio.operator(node.home) as operator:
        level = ENTRIES if name.level is None else name.level
        answer = await operator.call("EvidenceService/GetTile", level=level, index=name.number, width=name.width % 256)
        assert answer["data"] == await tile_of(node, name)
        for odd in ({"level": -2}, {"level": 64}, {"index": -1}, {"width": 257}, {"width": -1}):
            with pytest.raises(TrustnodeError, match="FIELD_FORMAT"):
                await operator.call("EvidenceService/GetTile", **odd)
        with pytest.raises(TrustnodeError, match="NOT_FOUND"):
            await operator.call("EvidenceService/GetTile", level=level, index=10**15)
