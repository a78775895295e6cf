"""Callers whose identity was refused, on their way into the log.

Decides: that the first of a kind is recorded at once and those that follow as numbers, one step a second whatever
arrives: whoever is refused at the door must not be able to keep the writer of the store busy. Leaves to others: who is
refused (``rpc``), one entry and one number a minute (``store.refusals``).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Final

from trustnode.app.submission import record_entry
from trustnode.app.venue import Venue
from trustnode.errors import TrustnodeError, error
from trustnode.store.unit import RefusalRecord

PAUSE_S: Final = 1.0


class Strangers:
    """Refused identities of one node, counted by reason: a closed set, so the memory is bounded."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._waiting: Counter[str] = Counter()
        self._wake = asyncio.Event()

    def refused(self, refusal: TrustnodeError) -> None:
        """An identity was refused."""
        self._waiting[refusal.reason] += 1
        self._wake.set()

    async def run(self) -> None:
        """Record until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            counts, self._waiting = self._waiting, Counter()
            for reason, times in counts.items():
                with contextlib.suppress(TrustnodeError):  # a full disk is an alarm of its own
                    await record_entry(self._venue, error(reason), self._record(reason, times))
            await asyncio.sleep(PAUSE_S)

    def _record(self, reason: str, times: int) -> RefusalRecord:
        return RefusalRecord(
            object_kind="node", object=self._venue.domain, event="lifecycle.refuse", caller="identity",
            fields={"reason_code": reason}, times=times,
        )  # fmt: skip
