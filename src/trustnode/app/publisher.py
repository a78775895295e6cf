"""The publisher: signs the committed head of the log, never ahead of the commit.

Decides: the order (head record on the disk, then the signature, then the note in the store), that a size which was
signed before is shown with the note of then, that a store which is behind its record signs nothing. Leaves to others:
the log itself (``store``), cosignatures (``cosigning``), who may see what (``evidence``). Source: evidence-log 5, 9;
DESIGN 3.3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from trustnode.app.history import own_keys
from trustnode.app.venue import Venue, log
from trustnode.core.evidence import note as notes
from trustnode.core.evidence.checkpoint import Checkpoint, sign_checkpoint
from trustnode.core.evidence.note import Sign
from trustnode.core.evidence.witness import open_own
from trustnode.errors import TrustnodeError, error
from trustnode.store.checkpoints import KeptCheckpoint

PUBLISH_S: Final = 1.0


@dataclass(frozen=True)
class Published:
    """A checkpoint that was signed, as a note with the cosignatures gathered so far."""

    checkpoint: Checkpoint
    note: bytes


@dataclass
class Publisher:
    """Keeps the newest signed checkpoint."""

    venue: Venue
    newest: Published | None = None
    on_published: Callable[[], None] = lambda: None
    """Called after a new size was signed."""
    cosigned_next: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the next cosignature has been added, and then replaced: take it before you look, wait for it after."""
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
                self.on_published()
            return self.newest

    def cosigned(self, size: int, note: bytes) -> None:
        """Show the note of a size with more cosignatures from now on."""
        if self.newest is not None and self.newest.checkpoint.size == size:
            self.newest = Published(self.newest.checkpoint, note)
        self.cosigned_next.set()
        self.cosigned_next = asyncio.Event()

    async def _sign(self) -> Published:
        record = await asyncio.to_thread(self.venue.store.record_head)
        checkpoint = Checkpoint(self.venue.log_origin, record.size, bytes.fromhex(record.root))
        kept = await self.venue.store.read(lambda view: view.checkpoint_of(record.size))
        if kept is not None and kept.root != checkpoint.root:
            self.venue.halt(f"size {kept.size} of the log was signed with another root before")
            raise error("READ_ONLY", self.venue.read_only)
        key = self.venue.log_key
        note = self._joined(kept, sign_checkpoint(checkpoint, key.public, key.sign, *self._besides()))
        if kept is None or note != kept.note:
            time = kept.time if kept is not None else self.venue.clock.now()
            await self._keep(KeptCheckpoint(checkpoint.size, checkpoint.root, time, note))
        return Published(checkpoint, note)

    def _joined(self, kept: KeptCheckpoint | None, fresh: bytes) -> bytes:
        """What was signed before with its cosignatures, under the keys of now too; what is not ours is dropped."""
        keys = own_keys(self.venue)
        opened = open_own(kept.note, keys) if kept is not None else None
        if kept is None or opened is None or opened.head != (kept.size, kept.root):
            return fresh
        return notes.add_lines(kept.note, notes.lines_by(fresh, keys))

    async def _keep(self, kept: KeptCheckpoint) -> None:
        await self.venue.store.write(lambda tx: tx.keep_checkpoint(kept), event_id="", returns=type(None))

    def _besides(self) -> list[tuple[bytes, Sign]]:
        """Log keys that sign too while one takes the place of another."""
        return [(key.public, key.sign) for key in self.venue.log_keys_besides]
