"""Venues that have a store, keys and peers, and nothing else: what witnesses do, without certificates and ports."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from types import NoneType
from typing import Any

from unit.evidence import naive

from trustnode.app import witness
from trustnode.app.cosigning import Cosigning
from trustnode.app.keyring import KeyRing
from trustnode.app.publisher import Publisher
from trustnode.app.streams import Streams
from trustnode.app.venue import Identity, Venue
from trustnode.core import clock as times
from trustnode.core.document import PublicKey
from trustnode.core.evidence.checkpoint import Checkpoint, sign_checkpoint
from trustnode.core.evidence.entry import parse_statement
from trustnode.core.evidence.note import line_keys
from trustnode.core.evidence.tree import leaf_hash, prove_consistency
from trustnode.core.evidence.witness import AddCheckpoint
from trustnode.core.identity import log_origin
from trustnode.core.peering import PeeringState
from trustnode.errors import error
from trustnode.keys.files import FileSigner
from trustnode.store.rows import table_of
from trustnode.store.writer import Store
from trustnode.testing.clock import FakeClock
from trustnode.wire.peer import CheckpointAnswer

GZ, ZJ, FIN = "gz.example", "zj.example", "fin.example"


def signers(note: bytes) -> list[str]:
    """Names on the signature lines of a note."""
    return [name for name, _ in line_keys(note)]


class Keys:
    """The keys of one venue, and what its card says of them."""

    def __init__(self) -> None:
        self.log, self.witness, self.evidence = (FileSigner.generate() for _ in range(3))


class Party:
    """One venue."""

    def __init__(self, domain: str, store: Store, keys: Keys, clock: FakeClock) -> None:
        none: Any = None
        self.keys = keys
        self.venue = Venue(
            identity=Identity(domain, store.node_id, "REGIONAL", "3300", "", domain), clock=clock, store=store,
            keyring=KeyRing(), evidence=keys.evidence, log_key=keys.log, witness_key=keys.witness, custody=none,
            issuer=none, engine=none, peers=none, streams=Streams(), mask_secret=b"",
        )  # fmt: skip
        self.publisher = Publisher(self.venue)
        self.others: dict[str, Any] = {}
        """Who answers for a witness: a party, or a function of a body."""
        self.asked: list[str] = []
        self.cosigning = Cosigning(self.venue, self.publisher, self._ask)
        self.trust(domain, keys)

    async def _ask(self, domain: str, body: bytes, timeout_s: float) -> CheckpointAnswer:
        self.asked.append(domain)
        other = self.others.get(domain)
        if other is None:
            raise error("PEER_UNREACHABLE", f"{domain} is down")
        answer = await (other.witness(body, self.venue.domain) if isinstance(other, Party) else other(body))
        return CheckpointAnswer(*answer)

    async def witness(self, body: bytes, source: str = "") -> witness.WitnessAnswer:
        return await witness.add_checkpoint(self.venue, body, source=source)

    def trust(self, domain: str, keys: Keys) -> None:
        """Let the card of a venue speak."""
        for use, key in (("log", keys.log), ("witness", keys.witness)):
            self.venue.keyring._keys[domain, use] = (PublicKey(key.public, "2020-01-01T00:00:00.000Z", times.FOREVER),)

    async def peer(self, domain: str, *, state: str = "APPROVED", confirmed: str = "AB", agreement: str = "") -> None:
        """Have a peering with a venue."""
        document = agreement or "a" * 64
        table = table_of(PeeringState)

        def unit(tx: Any) -> None:  # past the life cycle, so that the log holds nothing but what a test appends
            tx._db.execute("delete from peering where id = ?", (domain,))
            held = PeeringState(id=domain, state=state, confirmed=confirmed, document=document, version=1)
            tx._db.execute(table.insert, table.write(held))

        await self.write(unit)

    async def write(self, unit: Any) -> None:
        await self.venue.store.write(lambda tx: unit(tx) and None, event_id="", returns=NoneType)

    async def read(self, query: Any) -> Any:
        return await self.venue.store.read(query)

    async def append(self, count: int = 1) -> int:
        """Let the log grow; returns its size."""
        for _ in range(count):
            await self.write(lambda tx: tx.log("node", self.venue.domain, "status.event"))
        return self.venue.store.head().size

    async def events(self) -> list[tuple[str, str | None]]:
        """(type, actor) of every entry."""
        found = await self.read(lambda view: view.evidence.entries(0))
        entries = [parse_statement(one.statement) for one in found]
        return [(one.type, one.actor) for one in entries]

    async def request(self, old: int, size: int = 0) -> bytes:
        """Ask to cosign the newest head, or that of an earlier size."""
        published = await self.publisher.publish()
        size = size or published.checkpoint.size
        kept = await self.read(lambda view: view.checkpoint_of(size))
        proof = await self.read(lambda view: view.evidence.consistency(old, size)) if old < size else ()
        return AddCheckpoint(old, tuple(proof), kept.note).body


class Shadow:
    """A second history under the log key of a venue."""

    def __init__(self, domain: str, keys: Keys, *leaves: bytes) -> None:
        self.domain, self.keys = domain, keys
        self.leaves = [leaf_hash(leaf) for leaf in leaves]

    def note(self, size: int) -> bytes:
        key = self.keys.log
        head = Checkpoint(log_origin(self.domain), size, naive.mth(self.leaves[:size]))
        return sign_checkpoint(head, key.public, key.sign)

    def request(self, old: int, size: int) -> bytes:
        proof = prove_consistency(old, size, naive.reader(self.leaves)) if 0 < old < size else ()
        return AddCheckpoint(old, tuple(proof), self.note(size)).body


class World:
    """Parties that peered with one another."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, FakeClock()
        self.keys = {domain: Keys() for domain in (GZ, ZJ, FIN)}
        self.parties: dict[str, Party] = {}

    def __getitem__(self, domain: str) -> Party:
        return self.parties[domain]

    async def open(self, domain: str) -> Party:
        path = self.folder / f"{domain}.db"
        if not path.exists() and not path.with_name(f"{domain}.db.head").exists():
            shutil.copy(await _template(), path)
        store = await Store.open(path, clock=self.clock.now, node_id=f"node-{domain}", reserve_bytes=0)
        party = self.parties[domain] = Party(domain, store, self.keys[domain], self.clock)
        for other, keys in self.keys.items():
            party.trust(other, keys)
        self.link()
        return party

    async def close(self, domain: str) -> None:
        await self.parties.pop(domain).venue.store.close()
        self.link()

    def link(self) -> None:
        for party in self.parties.values():
            party.others = dict(self.parties.items())


_made: list[Path] = []


async def _template() -> Path:
    """An empty store with all its tables; making one takes longer than most of these tests."""
    if not _made:
        folder = Path(tempfile.mkdtemp(prefix="trustnode-template-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        path = folder / "store.db"
        async with await Store.open(path, clock=FakeClock().now, node_id="none", reserve_bytes=0):
            pass
        _made.append(path)
    return _made[0]


@contextlib.asynccontextmanager
async def world_of(folder: Path) -> AsyncIterator[World]:
    """Two venues that run and a third that has peered with both and is down."""
    made = World(folder)
    for domain, other in ((GZ, ZJ), (ZJ, GZ)):
        party = await made.open(domain)
        for peer in (other, FIN):
            await party.peer(peer)
    yield made
    for domain in tuple(made.parties):
        await made.close(domain)


@contextlib.asynccontextmanager
async def cosigning(*parties: Party) -> AsyncIterator[None]:
    """Let parties ask their witnesses."""
    tasks = [asyncio.ensure_future(party.cosigning.run()) for party in parties]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
