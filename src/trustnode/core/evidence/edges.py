"""The right edge of a growing log: all that an append needs to know of what is already there.

Decides: which tiles an append changes and to which bytes, and the new root. Leaves to others: writing them in one
transaction (``store``), signing the head (``checkpoint``). Values only: a failed commit simply drops the new value.

An append costs one leaf hash and, on average, one node hash: a peak is kept for each set bit of the size, and the hash
that a full tile contributes to the level above is the peak that closes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from trustnode.core.evidence.tree import (
    EMPTY_ROOT,
    HASH_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    TileReader,
    TreeHead,
    fold,
    node_hash,
    pair_up,
)
from trustnode.errors import error

_TILE_BYTES: Final = TILE_WIDTH * HASH_BYTES


class TileEdges(NamedTuple):
    """State of the log after ``size`` entries."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()
    """By height: root of the perfect subtree that the set bit of ``size`` stands for; empty where the bit is 0."""
    partials: tuple[bytes, ...] = ()
    """By level: bytes of the tile that is not full; empty where there is none."""

    @property
    def head(self) -> TreeHead:
        """Size and root."""
        root = b""
        for peak in self.peaks:
            if peak:
                root = node_hash(peak, root) if root else peak
        return TreeHead(self.size, root or EMPTY_ROOT)

    def grow(self, leaf_hashes: Sequence[bytes]) -> Growth:
        """Append the entries with these leaf hashes; ``self`` stays as it is."""
        peaks, partials = list(self.peaks), list(self.partials)
        tiles: dict[tuple[int, int], bytes] = {}
        arriving, height = leaf_hashes, 0
        while arriving:
            if height == len(peaks):
                peaks.append(b"")
            if height % TILE_HEIGHT == 0:
                tiles.update(_fill(partials, height // TILE_HEIGHT, self.size >> height, arriving))
            row = [peaks[height], *arriving] if peaks[height] else arriving
            peaks[height] = row[-1] if len(row) & 1 else b""
            arriving = pair_up(row)
            height += 1
        edges = TileEdges(self.size + len(leaf_hashes), tuple(peaks), tuple(partials))
        return Growth(edges, tiles)


class Growth(NamedTuple):
    """What an append leads to."""

    edges: TileEdges
    tiles: dict[tuple[int, int], bytes]
    """(level, number) -> whole content of each tile that changed."""

    @property
    def head(self) -> TreeHead:
        """Size and root after the append."""
        return self.edges.head


def _fill(partials: list[bytes], level: int, present: int, hashes: Sequence[bytes]) -> dict[tuple[int, int], bytes]:
    """Append ``hashes`` to the last tile of ``level``, which holds ``present`` hashes in all; return what changed."""
    if level == len(partials):
        partials.append(b"")
    data = partials[level] + b"".join(hashes)
    number = present // TILE_WIDTH
    cut = range(0, len(data), _TILE_BYTES)
    partials[level] = data[len(data) - len(data) % _TILE_BYTES :]
    return {(level, number + i): data[start : start + _TILE_BYTES] for i, start in enumerate(cut)}


def restore(size: int, tile: TileReader) -> TileEdges:
    """Rebuild the state after ``size`` entries from the tiles of the right edge.

    The head of the result is computed from those tiles, so that it can be compared with the stored one.

    Args:
        size: Number of entries.
        tile: Reads a tile; asked once for each level that has a tile which is not full.

    Raises:
        VerificationFailed: A tile is narrower than ``size`` demands.
    """
    partials: list[bytes] = []
    peaks: list[bytes] = []
    for level in range(-(-size.bit_length() // TILE_HEIGHT)):
        number, width = divmod(size >> (level * TILE_HEIGHT), TILE_WIDTH)
        data = tile(level, number)[: width * HASH_BYTES] if width else b""
        if len(data) != width * HASH_BYTES:
            raise error("VERIFICATION_FAILED", f"tile {level}/{number} is narrower than the size {size} demands")
        partials.append(data)
        peaks += _peaks_in(data, width)
    return TileEdges(size, tuple(peaks[: size.bit_length()]), tuple(partials))


def _peaks_in(data: bytes, width: int) -> list[bytes]:
    """Peaks of the eight heights inside a tile of ``width`` hashes, lowest first."""
    peaks = []
    end = width
    for height in range(TILE_HEIGHT):
        start = end - (width & (1 << height))
        peaks.append(fold(data[start * HASH_BYTES : end * HASH_BYTES]) if start < end else b"")
        end = start
    return peaks


def root_from_edges(size: int, tile: TileReader) -> bytes:
    """Root of the tree of ``size`` entries, computed from the tiles of its right edge."""
    return restore(size, tile).head.root
