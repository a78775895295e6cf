"""Several nodes in one process, over real gRPC and real certificates, for tests of what crosses a venue's border.

Public: whoever builds on trustnode may test the same way. Decides: homes in a temporary folder, ports chosen by the
system, peerings confirmed by both sides. Leaves to others: what is tested.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from trustnode import node as composition
from trustnode.app import peering
from trustnode.app.venue import Clock
from trustnode.core.identity import fingerprint
from trustnode.core.peering import DEFAULT_SCOPES, PeeringState, Relation
from trustnode.errors import TrustnodeError
from trustnode.home import initialise

SUBJECTS: Final = {"NATIONAL": "911100000000000001", "REGIONAL": "913300000000000004", "INDUSTRY": "913100000000000005"}
WAIT_S: Final = 20.0


class Network:
    """Nodes that run until the block is left."""

    def __init__(self, folder: Path, *, clock: Clock | None = None) -> None:
        self.folder = folder
        self._clock = clock
        self._exits = contextlib.AsyncExitStack()
        self._running: dict[str, contextlib.AsyncExitStack] = {}
        self.nodes: dict[str, composition.Node] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        for domain in tuple(self.nodes):
            await self.stop(domain)

    def __getitem__(self, domain: str) -> composition.Node:
        return self.nodes[domain]

    async def start(
        self, domain: str, *, level: Any = "REGIONAL", area: str = "3300", subject: str = "", **flags: Any
    ) -> composition.Node:
        """Start a node; the second time the same home is used again."""
        home = self.folder / domain
        listen = f"127.0.0.1:{await free_port()}" if not home.exists() else ""
        if listen:
            initialise(
                home, venue=domain, level=level, area=area, subject=subject or SUBJECTS[level], trust_domain=domain,
                listen=listen,
            )  # fmt: skip
        exits = contextlib.AsyncExitStack()
        settings = {
            "node.drain_s": 0, "log.requests": False, "disk.reserve_mb": 0, "store.audit_hours": 0, **flags,
        }  # fmt: skip
        running = composition.running(home, environ={}, flags=settings, time=self._clock)
        self.nodes[domain] = await exits.enter_async_context(running)
        self._running[domain] = exits
        return self.nodes[domain]

    async def stop(self, domain: str) -> None:
        """Stop a node as SIGTERM would."""
        self.nodes.pop(domain)
        await self._running.pop(domain).aclose()

    async def peer(
        self, one: str, other: str, *, relation: Relation = "PEER", scopes: Sequence[str] = DEFAULT_SCOPES
    ) -> None:
        """Let two venues confirm each other's fingerprints, as their operators would."""
        first, second = self.nodes[one].venue, self.nodes[other].venue
        theirs = second.keyring.cards[other].document
        _, agreement = await peering.add(
            first, theirs, peering.Application(relation, fingerprint(theirs), tuple(scopes))
        )
        ours = first.keyring.cards[one].document
        await peering.receive_application(second, one, ours, agreement)
        await peering.confirm(second, one, fingerprint(ours))
        await until(lambda: self._is_approved(one, other))

    async def _is_approved(self, one: str, other: str) -> bool:
        state = await self.nodes[one].venue.store.read(lambda view: view.get(PeeringState, other))
        return state is not None and state.state == "APPROVED"


async def free_port() -> int:
    """A port that nobody uses at this moment."""
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def until(holds: Callable[[], Awaitable[bool]], *, seconds: float = WAIT_S) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: It did not within ``seconds``.
    """
    async with asyncio.timeout(seconds):
        while not await _quietly(holds):
            await asyncio.sleep(0.01)


async def _quietly(holds: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await holds()
    except TrustnodeError as refusal:
        if refusal.retryable or refusal.reason == "NOT_FOUND":
            return False
        raise
