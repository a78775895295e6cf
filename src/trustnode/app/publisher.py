"""The publisher: signs the committed head of the log, never ahead of the commit.

Decides: the order (head record on the disk, then the signature), that a store which is behind its record signs nothing.
Leaves to others: the log itself (``store``), who may see what (``evidence``). Source: evidence-log 5, 9; DESIGN 3.3.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from trustnode.app.venue import Venue, log
from trustnode.core.evidence.checkpoint import Checkpoint, sign_checkpoint
from trustnode.core.identity import log_origin
from trustnode.errors import TrustnodeError, error

PUBLISH_S: Final = 1.0


@dataclass(frozen=True)
class Published:
    """A checkpoint that was signed, as a note."""

    checkpoint: Checkpoint
    note: bytes


@dataclass
class Publisher:
    """Keeps the newest signed checkpoint."""

    venue: Venue
    newest: Published | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self) -> None:
        """Publish once a second while anything is new; a store that may not sign is left alone."""
        while True:
            if not self.venue.read_only:
                try:
                    await self.publish()
                except (TrustnodeError, OSError) as problem:
                    log.error("checkpoint not published", cause=str(problem))
            await asyncio.sleep(PUBLISH_S)

    async def publish(self) -> Published:
        """Sign the committed head, unless it is signed already.

        Raises:
            TrustnodeError: READ_ONLY.
        """
        if self.venue.read_only:
            raise error("READ_ONLY", self.venue.read_only)
        async with self._lock:
            if self.newest is None or self.newest.checkpoint.size != self.venue.store.head().size:
                self.newest = await self._sign()
            return self.newest

    async def _sign(self) -> Published:
        record = await asyncio.to_thread(self.venue.store.record_head)
        checkpoint = Checkpoint(log_origin(self.venue.domain), record.size, bytes.fromhex(record.root))
        key = self.venue.log_key
        return Published(checkpoint, sign_checkpoint(checkpoint, key.public, key.sign))
