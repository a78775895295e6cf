"""Upkeep of the store: the standing audit, and dropping what only repetition needs, once an hour.

Decides: when the store is compared with its log and how slowly, and that a node that finds a difference stops signing
and serving. Leaves to others: what differs (``store.check``), the comparison at the start (``store.head``).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Final

from trustnode.app.thinning import thin
from trustnode.app.venue import Venue, log
from trustnode.core import clock
from trustnode.errors import TrustnodeError
from trustnode.store.difference import Difference
from trustnode.store.unit import Tx

PAUSE_S: Final = 0.05
"""Rest between two chunks of the audit: it takes about a tenth of one core."""
AUDIT_CHUNK: Final = 128
"""Entries, or documents, read at a time: about 5 ms."""
FIRST_AUDIT_S: Final = 60.0
"""An audit begins so long after the start: a node that was halted for a difference and started again finds it again."""
FORGET_EVERY_S: Final = 3600.0
FORGET_AT_ONCE: Final = 1000
NEXT_STEP: Final = "Keep the files as they are; then: trustnode store check, and restore a backup or recover the log."


class _StoppedError(Exception):
    """The node ends while an audit runs."""


class Upkeep:
    """The background work on the store.

    Attributes:
        audited_at: When the last audit ended without a difference; empty: not since the start.
    """

    def __init__(self, venue: Venue, *, audit_s: float, answers_s: float) -> None:
        self._venue = venue
        self._audit_s = audit_s
        self._answers_s = answers_s
        self._stopped = threading.Event()
        self.audited_at = ""

    async def run(self) -> None:
        """Audit and forget, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._forget_forever())
                if self._audit_s:
                    tasks.create_task(self._audit_forever())
        finally:
            self._stopped.set()

    async def check(self) -> list[Difference]:
        """Compare the whole store with its log now, as fast as it goes; a difference halts the node."""
        return await self._compare(lambda: None)

    async def audit(self) -> list[Difference]:
        """The same, slowly."""
        return await self._compare(self._rest, AUDIT_CHUNK)

    async def forget(self) -> int:
        """Drop answers older than anybody repeats, and counters of windows long over.

        Returns:
            How many rows.
        """
        before = clock.shift(self._venue.clock.now(), -self._answers_s)
        dropped, more = 0, True
        while more and not self._venue.read_only:
            count = await self._venue.store.write(_forgetting(before), event_id="", returns=int)
            dropped, more = dropped + count, count >= FORGET_AT_ONCE
        return dropped

    async def _forget_forever(self) -> None:
        while True:
            with contextlib.suppress(TrustnodeError):  # a full disk is an alarm of its own; the next hour tries again
                await self.forget()
                await thin(self._venue)
            await asyncio.sleep(FORGET_EVERY_S)

    async def _audit_forever(self) -> None:
        pause = min(FIRST_AUDIT_S, self._audit_s)
        while True:
            await asyncio.sleep(pause)
            await self.audit()
            pause = self._audit_s

    def _rest(self) -> None:
        if self._stopped.wait(PAUSE_S):
            raise _StoppedError

    async def _compare(self, pace: Callable[[], None], chunk: int = 0) -> list[Difference]:
        try:
            found = await self._venue.store.check(pace=pace, **({"chunk": chunk} if chunk else {}))
        except _StoppedError:
            return []
        if found:
            more = f"; and {len(found) - 1} more" if len(found) > 1 else ""
            self._venue.halt(f"the store differs from its log: {found[0]}{more}", next_step=NEXT_STEP)
        else:
            self.audited_at = self._venue.clock.now()
            log.info("the store agrees with its log", entries=self._venue.store.head().size)
        return found


def _forgetting(before: str) -> Callable[[Tx], int]:
    return lambda tx: tx.forget_answers(before, limit=FORGET_AT_ONCE)
