"""Acknowledgements of receipts: kept on disk until the home node has them.

Decides: that a receipt we have not countersigned blocks the next read of the same agreement, how many go together.
Leaves to others: what we counted (``delivery``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from trustnode.core.access import AckItem, ReceiptAck
from trustnode.errors import TrustnodeError, VenueUnavailable
from trustnode.sdk.connection import Connection

MAX_ITEMS: Final = 256


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """One acknowledgement that is still to be sent."""

    agreement: str
    provider: str
    item: AckItem


class Acks:
    """The acknowledgements of one profile."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = asyncio.Lock()
        kept = connection.profile.kept_acks()
        self._waiting = {access: msgspec.json.decode(content, type=Waiting) for access, content in kept}

    def add(self, agreement: str, provider: str, item: AckItem) -> None:
        """Remember what is to be acknowledged; it outlives this process."""
        waiting = Waiting(agreement=agreement, provider=provider, item=item)
        self._connection.profile.keep_ack(item.access, msgspec.json.encode(waiting))
        self._waiting[item.access] = waiting

    async def flush(self, agreement: str = "") -> None:
        """Send what waits, of one agreement or of all.

        Raises:
            TrustnodeError: What the node refuses with; PEER_UNREACHABLE.
        """
        async with self._sending:
            while batch := self._next(agreement):
                await self._send(batch)

    async def try_flush(self) -> None:
        """Send what waits if the node answers; the rest goes with the next read."""
        try:
            await self.flush()
        except VenueUnavailable:
            return

    def _next(self, agreement: str) -> list[Waiting]:
        chosen = [waiting for waiting in self._waiting.values() if agreement in ("", waiting.agreement)]
        return [waiting for waiting in chosen if waiting.provider == chosen[0].provider][:MAX_ITEMS]

    async def _send(self, batch: Sequence[Waiting]) -> None:
        profile = self._connection.profile
        fields = profile.fields(profile.venue, batch[0].provider)
        ack = ReceiptAck(by="PARTICIPANT", items=tuple(waiting.item for waiting in batch), **fields)
        try:
            await self._connection.submit(profile.sign(ack))
        except TrustnodeError as refusal:
            # Unknown there, or said already: nothing that sending again would change.
            if refusal.reason not in ("NOT_FOUND", "REPLAYED"):
                raise
        for waiting in batch:
            self._waiting.pop(waiting.item.access, None)
            profile.drop_ack(waiting.item.access)
