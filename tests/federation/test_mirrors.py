"""Peers keep each other's logs: whole in hashes, readable only where they are a party."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from federation.world import DATA, FAR, HOME, NATION, World, until

from trustnode.app import mirror
from trustnode.app.mirror import Mirrors
from trustnode.core.evidence.chain import object_id
from trustnode.core.evidence.checkpoint import Checkpoint, sign_checkpoint
from trustnode.core.identity import log_origin
from trustnode.errors import NotFound, QuotaExceeded, TrustnodeError, VerificationFailed
from trustnode.keys.files import FileSigner
from trustnode.store.mirror import MirrorHead
from trustnode.wire.mirror import MirrorPage, concerning_documents, mirrored_log

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def copy(world: World, of: str, at: str) -> MirrorHead:
    head = await world[at].venue.store.read(lambda view: view.mirrors.head(log_origin(of)))
    assert head is not None
    return head


async def caught_up(world: World, of: str, at: str) -> None:
    async def whole() -> bool:
        head = await world[at].venue.store.read(lambda view: view.mirrors.head(log_origin(of)))
        return head is not None and head.size >= size

    size = world.size(of)
    await until(whole)


async def local_deal(world: World) -> Any:
    """An agreement and a read of two participants of one venue."""
    local = world.clients["local"]
    agreement = await local.negotiate(f"{DATA}/small", offer="open")
    await agreement.sql("select id from t limit 3").to_arrow()
    return agreement


async def test_a_mirror_holds_the_whole_log_and_sees_only_its_own_deals(world: World):
    theirs = await local_deal(world)
    ours = await world.agree(world.clients["acme"], f"{DATA}/small", "open")
    await ours.sql("select id from t limit 3").to_arrow()
    await caught_up(world, DATA, HOME)
    lines = await world[HOME].venue.store.read(lambda view: view.mirrors.lines(log_origin(DATA), 0, 100_000))
    root = await world[DATA].venue.store.read(lambda view: view.evidence.root(len(lines)))
    assert (await copy(world, DATA, HOME)).edges.head.root == root

    shown = {object: [one for one in lines if one.object == of] for object, of in {
        "ours": object_id("agreement", ours.id),
        "our negotiation": object_id("negotiation", ours.value.negotiation),
        "theirs": object_id("agreement", theirs.id),
        "the node": object_id("node", DATA),
        "the peering": object_id("peer", HOME),
        "another peering": object_id("peer", NATION),
    }.items()}  # fmt: skip
    said = {name: [one.statement is not None for one in found] for name, found in shown.items()}
    assert all(said.values())
    assert {name: all(one) for name, one in said.items()} == {
        "ours": True, "our negotiation": True, "the peering": True,
        "theirs": False, "the node": False, "another peering": False,
    }  # fmt: skip
    assert not any(any(said[name]) for name in ("theirs", "the node", "another peering"))
    assert not any(theirs.id.encode() in (one.statement or b"") for one in lines)


async def test_a_copy_goes_back_to_its_owner_and_to_nobody_else(world: World):
    await caught_up(world, DATA, HOME)
    held = await mirrored_log(world[DATA].venue.peers.get(HOME), log_origin(DATA), 0, 10, timeout_s=10)
    own = await world[DATA].venue.store.read(lambda view: view.evidence.entries(0, 10))
    assert [one.commitment for one in held.lines] == [one.commitment for one in own]
    assert held.size == (await copy(world, DATA, HOME)).size
    for caller in (FAR, DATA):
        with pytest.raises(NotFound):
            origin = log_origin(DATA if caller == FAR else FAR)
            await mirrored_log(world[caller].venue.peers.get(HOME), origin, 0, 10, timeout_s=10)


async def test_documents_go_back_to_whom_they_concern(world: World):
    theirs = await local_deal(world)
    ours = await world.agree(world.clients["acme"], f"{DATA}/small", "open")
    await caught_up(world, DATA, HOME)
    asked = [ours.document.digest, theirs.document.digest, "0" * 64]
    found = await concerning_documents(world[DATA].venue.peers.get(HOME), asked, timeout_s=10)
    assert [one.digest for one in found] == [ours.document.digest]
    assert await concerning_documents(world[FAR].venue.peers.get(HOME), asked, timeout_s=10) == ()
    with pytest.raises(TrustnodeError, match="hexadecimal"):
        await concerning_documents(world[DATA].venue.peers.get(HOME), ["x"], timeout_s=10)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nodes' own mirroring waits, so that the test alone lets a copy grow."""

    async def nothing(_self: Mirrors, _domain: str) -> None: ...

    monkeypatch.setattr(Mirrors, "_try", nothing)


class Liar:
    """A log that is not what it says; what it answers goes through the same checks as any other."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.venue = world[HOME].venue
        self.key = world[DATA].venue.log_key
        self.calls = 0
        self.answer: Any = lambda page: page
        self._true = mirror.mirror_log
        monkeypatch.setattr(mirror, "mirror_log", self._asked)

    async def _asked(self, peer: Any, first: int, *, timeout_s: float) -> MirrorPage:
        self.calls += 1
        return self.answer(await self._true(peer, first, timeout_s=timeout_s))

    def signs(self, size: int, root: bytes, origin: str = log_origin(DATA), key: Any = None) -> bytes:
        signer = key or self.key
        return sign_checkpoint(Checkpoint(origin, size, root), signer.public, signer.sign)

    async def pull(self) -> None:
        await Mirrors(self.venue).pull(DATA)


@pytest.mark.usefixtures("alone")
async def test_a_log_that_lies_is_not_copied(world: World, monkeypatch: pytest.MonkeyPatch):
    liar = Liar(world, monkeypatch)
    await liar.pull()
    before = await copy(world, DATA, HOME)
    await local_deal(world)

    def changed(page: MirrorPage) -> MirrorPage:
        first = msgspec.structs.replace(page.lines[0], commitment=bytes(32), salt=None, statement=None)
        return page._replace(lines=(first, *page.lines[1:]))

    lies = {
        "wrong entries": changed,
        "a gap": lambda page: page._replace(lines=page.lines[1:]),
        "a wrong root": lambda page: page._replace(checkpoint=liar.signs(before.size + len(page.lines), bytes(32))),
        "a shorter log": lambda page: page._replace(
            lines=(), checkpoint=liar.signs(before.size - 1, bytes(32)), consistency=()
        ),
        "another origin": lambda page: page._replace(
            checkpoint=liar.signs(10**6, bytes(32), log_origin(FAR), world[FAR].venue.log_key)
        ),
        "another key": lambda page: page._replace(checkpoint=liar.signs(10**6, bytes(32), key=FileSigner.generate())),
        "no lines": lambda page: page._replace(lines=(), consistency=page.consistency),
        "too many lines": lambda page: page._replace(lines=page.lines * 1025),
    }
    for name, lie in lies.items():
        liar.answer = lie
        with pytest.raises(VerificationFailed):
            await liar.pull()
        assert (await copy(world, DATA, HOME)).size == before.size, name
    liar.answer = lambda page: page
    await liar.pull()
    assert (await copy(world, DATA, HOME)).size == world.size(DATA)


@pytest.mark.usefixtures("alone")
async def test_an_endless_log_ends_at_its_quota(world: World):
    await Mirrors(world[HOME].venue).pull(DATA)
    before = await copy(world, DATA, HOME)
    await local_deal(world)
    with pytest.raises(QuotaExceeded):
        await Mirrors(world[HOME].venue, before.bytes).pull(DATA)
    assert (await copy(world, DATA, HOME)).size == before.size


async def test_a_venue_without_a_peering_is_shown_nothing(world: World):
    stranger = mirror.Sender("PEER", "nobody.example")
    with pytest.raises(TrustnodeError) as refused:
        await mirror.page(world[HOME].venue, world[HOME].publisher, stranger, 0)
    assert refused.value.reason == "PEER_SUSPENDED"
    for query in (
        lambda view: mirror.held(view, stranger, log_origin(DATA), 0, 1),
        lambda view: mirror.documents(view, stranger, ["0" * 64]),
    ):
        with pytest.raises(TrustnodeError) as refused:
            await world[HOME].venue.store.read(query)
        assert refused.value.reason == "PEER_SUSPENDED"
