"""Clearing up suspicions: a proof that failed convicts nobody, so the log itself is asked for its leaves.

Decides: what becomes of a fork that is not proven: proven by the leaf hashes that lead to both roots, dropped because
the log is one after all, or open as long as nobody gives them. Leaves to others: finding forks (``witness``,
``history``). Source: evidence-log 8 (proof of equivocation), attack-tests L16.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from trustnode.app.venue import Venue, log
from trustnode.app.witness import keep_fork
from trustnode.core.evidence.checkpoint import parse_checkpoint
from trustnode.core.evidence.edges import TileEdges
from trustnode.core.evidence.note import text_of
from trustnode.core.evidence.tree import HASH_BYTES, TILE_WIDTH
from trustnode.core.identity import parse_log_origin
from trustnode.errors import TrustnodeError
from trustnode.store.checkpoints import Fork
from trustnode.store.unit import Tx, View

MAX_LEAVES: Final = 65_536
"""Largest log whose leaf hashes are fetched and kept as a proof: 2 MiB."""
LOOK_S: Final = 5.0
LONGEST_PAUSE_S: Final = 3600.0
TILE_S: Final = 10.0

Tile = Callable[[str, int, int], Awaitable[bytes]]
"""(trust domain of the log, number, width) -> bytes of that tile of leaf hashes."""


class Doubts:
    """Looks after forks that are not proven."""

    def __init__(self, venue: Venue, tile: Tile | None = None) -> None:
        self._venue = venue
        self._tile = tile or self._tile_of_peer
        self._next: dict[tuple[str, int, bytes], tuple[float, float]] = {}
        """When to try again, on the clock of the event loop, and the pause after that."""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            if not self._venue.read_only:
                await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Try to clear up each open suspicion whose time has come."""
        now = asyncio.get_running_loop().time()
        for fork in await self._venue.store.read(_open):
            key = (fork.origin, fork.size, fork.root)
            due, pause = self._next.get(key, (0.0, LOOK_S))
            if due <= now:
                self._next[key] = (now + pause, min(pause * 2, LONGEST_PAUSE_S))
                try:
                    await self._clear_up(fork)
                except TrustnodeError as problem:
                    log.info("a suspicion stays open", origin=fork.origin, size=fork.size, cause=problem.message)

    async def _clear_up(self, fork: Fork) -> None:
        held = parse_checkpoint(text_of(fork.held)).head
        domain, _ = parse_log_origin(fork.origin)
        if self._venue.keyring.is_closed(fork.origin):
            return  # whatever its leaves say, it must not have grown: only a person can clear that up
        hashes = await self._leaves(domain, fork.size)
        shown_root, held_root = await asyncio.to_thread(
            lambda: (root_of(hashes, fork.size), root_of(hashes, held.size))
        )
        if shown_root != fork.root:
            log.info("leaves of another history", origin=fork.origin, size=fork.size)
        elif held_root == held.root:
            await self._venue.store.write(_drop(fork), event_id="", returns=type(None))
        else:
            await keep_fork(self._venue, fork._replace(hashes=hashes, proven=True))

    async def _leaves(self, domain: str, size: int) -> bytes:
        parts = []
        for number in range(-(-size // TILE_WIDTH)):
            width = min(TILE_WIDTH, size - number * TILE_WIDTH)
            parts.append((await self._tile(domain, number, width))[: width * HASH_BYTES])
        return b"".join(parts)

    async def _tile_of_peer(self, domain: str, number: int, width: int) -> bytes:
        return await self._venue.peers.get(domain).tile(0, number, width, timeout_s=TILE_S)


def _open(view: View) -> list[Fork]:
    """Query: suspicions about logs that are small enough."""
    return [one for one in view.forks() if not one.proven and one.size <= MAX_LEAVES]


def _drop(fork: Fork) -> Callable[[Tx], None]:
    return lambda tx: tx.forget_suspicion(fork.origin, fork.size, fork.root)


def root_of(hashes: bytes, size: int) -> bytes:
    """Root over the first ``size`` leaf hashes; empty where there are fewer."""
    if len(hashes) < size * HASH_BYTES:
        return b""
    leaves = [hashes[i : i + HASH_BYTES] for i in range(0, size * HASH_BYTES, HASH_BYTES)]
    return TileEdges().grow(leaves).head.root


def own_leaves(view: View, size: int) -> bytes:
    """The first leaf hashes of our own log, as a proof; empty where that would be too large."""
    if size > MAX_LEAVES:
        return b""
    tiles = [view.evidence.tile(0, number) for number in range(-(-size // TILE_WIDTH))]
    return b"".join(tiles)[: size * HASH_BYTES]
