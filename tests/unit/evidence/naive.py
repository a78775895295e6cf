"""The tree as RFC 6962 defines it, by recursion: the oracle for everything that is faster."""

from collections.abc import Sequence
from hashlib import sha256

from trustnode.core.evidence.tree import HashReader


def mth(leaves: Sequence[bytes]) -> bytes:
    """Root over leaf hashes (RFC 6962 2.1)."""
    n = len(leaves)
    if n == 0:
        return sha256(b"").digest()
    if n == 1:
        return leaves[0]
    k = 1
    while 2 * k < n:
        k *= 2
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def reader(leaves: Sequence[bytes]) -> HashReader:
    """Subtree hashes computed from the leaves each time."""
    return lambda height, index: mth(leaves[index << height : (index + 1) << height])


def tiles(leaves: Sequence[bytes]) -> dict[tuple[int, int], bytes]:
    """All tiles of a tree, level by level."""
    found: dict[tuple[int, int], bytes] = {}
    level, row = 0, list(leaves)
    while row:
        for number in range(-(-len(row) // 256)):
            found[level, number] = b"".join(row[number * 256 : (number + 1) * 256])
        row = [mth(row[i * 256 : (i + 1) * 256]) for i in range(len(row) // 256)]
        level += 1
    return found
