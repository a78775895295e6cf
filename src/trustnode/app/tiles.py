"""What anybody may read of our log: the newest checkpoint, and what lies below a checkpoint that was signed.

Decides: that nothing unsigned is shown, and that a tile is never wider than a signed tree makes it. Leaves to others:
how it travels (``rpc.evidence``, ``web.tiles``), signing (``publisher``), paths and framing (``core.evidence.tile``).
Reads snapshots and never waits for the writer; a node that may sign no more still shows what it signed. Source:
evidence-log 1.6, 1.7, 9.
"""

from __future__ import annotations

from trustnode.app.publisher import Publisher
from trustnode.app.venue import Venue
from trustnode.core.evidence.tile import TileName, encode_bundle, width_at
from trustnode.core.evidence.tree import HASH_BYTES
from trustnode.errors import error
from trustnode.store.unit import View


async def newest_checkpoint(venue: Venue, publisher: Publisher) -> bytes:
    """The signed note of the newest tree with the cosignatures known here; nothing is signed for it.

    Raises:
        TrustnodeError: NOT_FOUND before the first checkpoint.
    """
    if publisher.newest is not None:
        return publisher.newest.note
    kept = await venue.store.read(lambda view: view.newest_checkpoint())
    if kept is None:
        raise error("NOT_FOUND", "the log has not signed a checkpoint yet")
    return kept.note


async def tile(venue: Venue, publisher: Publisher, name: TileName) -> bytes:
    """The bytes of a tile of hashes or of a bundle of entries, cut to the width that is asked for.

    Args:
        venue: The node.
        publisher: Knows how far the log was signed.
        name: What is asked for; a bundle has the numbers and widths of level 0.

    Raises:
        TrustnodeError: NOT_FOUND where no signed tree has a tile of this width.
    """
    signed = publisher.newest.checkpoint.size if publisher.newest else None
    return await venue.store.read(lambda view: _read(view, name, signed))


def _read(view: View, name: TileName, signed: int | None) -> bytes:
    size = _kept_size(view) if signed is None else signed
    if not 0 < name.width <= width_at(size, name.level or 0, name.number):
        raise error("NOT_FOUND", "no signed tree has such a tile")
    if name.level is None:
        return encode_bundle(view.evidence.bundle(name.number, name.first + name.width))
    return view.evidence.tile(name.level, name.number)[: name.width * HASH_BYTES]


def _kept_size(view: View) -> int:
    kept = view.newest_checkpoint()
    return kept.size if kept else 0
