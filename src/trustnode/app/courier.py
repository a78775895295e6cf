"""The courier: what is in the outbox reaches its peer, in order for each object, until the peer has answered.

Decides: when to try again and what counts as an answer. Leaves to others: what is sent (``tx.send`` in the nouns), the
channel (``wire``). The event id makes repetition harmless, so a crash at any moment only repeats.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from trustnode.app.cards import CARD_LINES
from trustnode.app.venue import Venue, log
from trustnode.errors import TrustnodeError
from trustnode.store.unit import OutboxLine

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
CALL_S = 20.0
AT_ONCE = 16
"""Lines of different objects delivered to one peer at the same time."""


class Courier:
    """One task for each peer that something waits for."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._wake: dict[str, asyncio.Event] = {}
        self._heard: dict[str, asyncio.Event] = {}
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Deliver until cancelled; begins with what a former run left."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self.notify(await self._venue.store.read(lambda view: view.outbox_peers()))
            await asyncio.Event().wait()

    def notify(self, peers: Iterable[str]) -> None:
        """Something new waits for these peers."""
        for peer in peers:
            if peer not in self._wake and self._tasks is not None:
                self._wake[peer], self._heard[peer] = asyncio.Event(), asyncio.Event()
                self._tasks.create_task(self._serve(peer))
            if peer in self._wake:
                self._wake[peer].set()

    def heard(self, peer: str) -> None:
        """A peer that was silent answers again: do not wait for the rest of a pause."""
        if peer in self._heard:
            self._heard[peer].set()

    async def _serve(self, peer: str) -> None:
        wake, pause = self._wake[peer], FIRST_PAUSE_S
        while True:
            wake.clear()
            lines = await self._venue.store.due(peer, first=CARD_LINES, limit=AT_ONCE)
            if not lines:
                await wake.wait()
                continue
            done = await asyncio.gather(*(self._deliver(line) for line in lines))
            if all(done):
                pause = FIRST_PAUSE_S
                continue
            pause = await self._pause(peer, pause)

    async def _pause(self, peer: str, seconds: float) -> float:
        """Leave a peer alone for a while; returns how long the next pause is."""
        heard = self._heard[peer]
        heard.clear()
        try:
            await asyncio.wait_for(heard.wait(), seconds)
        except TimeoutError:
            return min(seconds * 2, LONGEST_PAUSE_S)
        return FIRST_PAUSE_S

    async def _deliver(self, line: OutboxLine) -> bool:
        """True when the peer gave its durable answer, be it a refusal that will not change."""
        try:
            peer = self._venue.peers.get(line.peer)
            event = f"{line.document.digest}/{len(line.document.signatures)}"
            await peer.deliver(event, line.document, line.supporting, timeout_s=CALL_S)
        except Exception as problem:  # noqa: BLE001  # the border to another venue
            if not isinstance(problem, TrustnodeError):
                # Whatever a peer's answer makes of our code ends this attempt and nothing else.
                log.error("delivery failed", peer=line.peer, exc_info=problem)
                return False
            refusal = problem
            if refusal.retryable or refusal.reason in ("PEER_SUSPENDED", "IDENTITY_UNKNOWN", "IDENTITY_EXPIRED"):
                return False
            log.warning(
                "peer refused a document", peer=line.peer, type=line.document.name, reason=refusal.reason,
                message=refusal.message,
            )  # fmt: skip
        await self._venue.store.delivered(line.id)
        return True
