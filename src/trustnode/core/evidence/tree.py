"""Merkle tree of RFC 6962: hashes, proofs, and the verification of proofs.

Decides: what a leaf and a node hash to, which hashes a proof holds, whether a proof holds. Leaves to others: how the
tree grows (``edges``), how hashes are kept (``tile``), who vouches for a root (``checkpoint``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Final, NamedTuple

from trustnode.errors import TrustnodeError, error

HASH_BYTES: Final = 32
TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
"""Hashes of a full tile."""
MAX_PROOF_HASHES: Final = 63
EMPTY_ROOT: Final = sha256(b"").digest()

HashReader = Callable[[int, int], bytes]
"""(height, index) -> root of the perfect subtree over the leaves index * 2^height up to (index + 1) * 2^height."""
TileReader = Callable[[int, int], bytes]
"""(level, number) -> bytes of that tile, at least as wide as the tree at hand needs."""


class TreeHead(NamedTuple):
    """Size and root of one state of a log."""

    size: int
    root: bytes


def leaf_hash(data: bytes) -> bytes:
    """Hash of a leaf that holds ``data``."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


def pair_up(row: Sequence[bytes]) -> list[bytes]:
    """Hash neighbours into the row above; a last one without neighbour is left out."""
    return [sha256(b"\x01" + row[i] + row[i + 1]).digest() for i in range(0, len(row) - 1, 2)]


@lru_cache(maxsize=1024)
def fold(hashes: bytes) -> bytes:
    """Root of the perfect subtree over concatenated hashes, whose number is a power of two."""
    row = [hashes[i : i + HASH_BYTES] for i in range(0, len(hashes), HASH_BYTES)]
    while len(row) > 1:
        row = pair_up(row)
    return row[0]


def hashes_in(tile: TileReader) -> HashReader:
    """Read subtree hashes out of tiles.

    The returned function raises VERIFICATION_FAILED where a tile is too narrow for what is asked.
    """

    def read(height: int, index: int) -> bytes:
        level, above = divmod(height, TILE_HEIGHT)
        number, first = divmod(index << above, TILE_WIDTH)
        count = HASH_BYTES << above
        segment = tile(level, number)[first * HASH_BYTES :][:count]
        if len(segment) != count:
            raise _failed(f"tile {level}/{number} is too short")
        return fold(segment)

    return read


def _split(width: int) -> int:
    """Largest power of two smaller than ``width``."""
    return 1 << ((width - 1).bit_length() - 1)


def _range_hash(first: int, end: int, get: HashReader) -> bytes:
    """MTH(D[first:end]) for a range that the splitting rule produces."""
    width = end - first
    if width & (width - 1) == 0:
        height = width.bit_length() - 1
        return get(height, first >> height)
    middle = first + _split(width)
    return node_hash(_range_hash(first, middle, get), _range_hash(middle, end, get))


def prove_inclusion(index: int, size: int, get: HashReader) -> list[bytes]:
    """Inclusion proof of leaf ``index`` in the tree of ``size`` leaves, leaf sibling first (RFC 9162 2.1.3.1)."""
    if not 0 <= index < size:
        raise _failed(f"no entry {index} in a tree of size {size}")
    path: list[bytes] = []
    first, end = 0, size
    while end - first > 1:
        middle = first + _split(end - first)
        if index < middle:
            path.append(_range_hash(middle, end, get))
            end = middle
        else:
            path.append(_range_hash(first, middle, get))
            first = middle
    return path[::-1]


def prove_consistency(old: int, new: int, get: HashReader) -> list[bytes]:
    """Proof that the tree of ``new`` leaves begins with the tree of ``old`` leaves (RFC 9162 2.1.4.1)."""
    if not 0 <= old <= new:
        raise _failed(f"size {old} is not before size {new}")
    if old == 0:
        return []
    path: list[bytes] = []
    first, end = 0, new
    while old != end:
        middle = first + _split(end - first)
        if old <= middle:
            path.append(_range_hash(middle, end, get))
            end = middle
        else:
            path.append(_range_hash(first, middle, get))
            first = middle
    if first > 0:  # a subtree that starts at 0 is the old root itself, which the verifier has
        path.append(_range_hash(first, end, get))
    return path[::-1]


def verify_inclusion(index: int, leaf: bytes, path: Sequence[bytes], head: TreeHead) -> None:
    """Check that the leaf with hash ``leaf`` stands at ``index`` under ``head`` (RFC 9162 2.1.3.2).

    Raises:
        VerificationFailed: The path is too long, too short, malformed, or leads to another root.
    """
    if not 0 <= index < head.size:
        raise _failed(f"no entry {index} in a tree of size {head.size}")
    result = leaf
    for sibling, is_left in _climb(index, head.size - 1, path):
        result = node_hash(sibling, result) if is_left else node_hash(result, sibling)
    if result != head.root:
        raise _failed("inclusion proof leads to another root")


def verify_consistency(old: TreeHead, new: TreeHead, path: Sequence[bytes]) -> None:
    """Check that the log with head ``new`` begins with the log of head ``old`` (RFC 9162 2.1.4.2).

    Raises:
        VerificationFailed: The sizes are in the wrong order, or the path does not lead to both roots.
    """
    if not 0 <= old.size <= new.size:
        raise _failed(f"size {old.size} is not before size {new.size}")
    if old.size in (0, new.size):
        _verify_without_path(old, new, path)
        return
    steps = list(path)
    if old.size & (old.size - 1) == 0:
        steps.insert(0, old.root)  # a power of two: its root is a node of the new tree and is not sent
    if not steps:
        raise _failed("consistency proof is empty")
    position, last = old.size - 1, new.size - 1
    while position & 1:
        position >>= 1
        last >>= 1
    old_root = new_root = steps[0]
    for sibling, is_left in _climb(position, last, steps[1:]):
        if is_left:
            old_root = node_hash(sibling, old_root)
        new_root = node_hash(sibling, new_root) if is_left else node_hash(new_root, sibling)
    if old_root != old.root or new_root != new.root:
        raise _failed("consistency proof leads to other roots")


def _verify_without_path(old: TreeHead, new: TreeHead, path: Sequence[bytes]) -> None:
    if path:
        raise _failed("consistency proof has surplus hashes")
    known = new.root if old.size == new.size else EMPTY_ROOT
    if old.root != known:
        raise _failed("equal sizes, different roots")


def _climb(position: int, last: int, path: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Walk from a node to the root; yield each sibling and whether it stands on the left."""
    for sibling in path:
        # 31 and 33 bytes would hash like 32 and 32
        if len(sibling) != HASH_BYTES:
            raise _failed("proof hash has not 32 bytes")
        if last == 0:
            raise _failed("proof has surplus hashes")
        is_left = bool(position & 1) or position == last
        yield sibling, is_left
        if is_left:
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        position >>= 1
        last >>= 1
    if last:
        raise _failed("proof has too few hashes")


def _failed(message: str) -> TrustnodeError:
    return error("VERIFICATION_FAILED", message)
