"""Proofs, true and false, for verifiers to agree on: small trees whole, edges of tiles, and every kind of mutation."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from trustnode.core.evidence.edges import TileEdges
from trustnode.core.evidence.tree import (
    HashReader,
    TreeHead,
    hashes_in,
    leaf_hash,
    prove_consistency,
    prove_inclusion,
    verify_consistency,
    verify_inclusion,
)
from trustnode.errors import VerificationFailed

SMALL = 70
EDGES = (255, 256, 257, 65535, 65536, 65537)
OLD = (1, 2, 3, 4, 127, 128, 129, 255, 256, 257, 512, 32768, 65535, 65536)


@dataclass(frozen=True)
class Proof:
    """One claim: of inclusion where there is a leaf, else of consistency."""

    size: int
    root: bytes
    path: tuple[bytes, ...]
    index: int = 0
    leaf: bytes | None = None
    old: int = 0
    old_root: bytes = b""

    def holds(self) -> bool:
        """Our own verdict."""
        head = TreeHead(self.size, self.root)
        try:
            if self.leaf is not None:
                verify_inclusion(self.index, self.leaf, self.path, head)
            else:
                verify_consistency(TreeHead(self.old, self.old_root), head, self.path)
        except VerificationFailed:
            return False
        return True

    def question(self) -> dict[str, object]:
        """As the foreign program reads it."""
        return {
            "Index": self.index, "Size": self.size, "Old": self.old, "Leaf": self.leaf, "Root": self.root,
            "OldRoot": self.old_root, "Path": self.path,
        }  # fmt: skip


@cache
def leaf(index: int) -> bytes:
    return leaf_hash(b"entry %d" % index)


@cache
def grown(size: int) -> tuple[TreeHead, HashReader]:
    """The tree of ``size`` entries, made as a node makes it."""
    growth = TileEdges().grow([leaf(index) for index in range(size)])
    return growth.head, hashes_in(lambda level, number: growth.tiles[level, number])


def inclusion(index: int, size: int) -> Proof:
    head, get = grown(size)
    return Proof(size, head.root, tuple(prove_inclusion(index, size, get)), index=index, leaf=leaf(index))


def consistency(old: int, size: int) -> Proof:
    head, get = grown(size)
    return Proof(size, head.root, tuple(prove_consistency(old, size, get)), old=old, old_root=grown(old)[0].root)


def true_ones() -> Iterator[Proof]:
    """Every proof of every small tree, and those at the edges of tiles."""
    for size in range(1, SMALL + 1):
        yield from (inclusion(index, size) for index in range(size))
        yield from (consistency(old, size) for old in range(1, size + 1))
    for size in EDGES:
        places = {0, 1, size // 2, *(one + by for one in OLD for by in (-1, 0)), size - 2, size - 1}
        yield from (inclusion(index, size) for index in sorted(places) if index < size)
        yield from (consistency(old, size) for old in (*OLD, size) if old <= size)


def flipped(data: bytes, bit: int) -> bytes:
    return bytes(byte ^ (1 << bit % 8 if at == bit // 8 else 0) for at, byte in enumerate(data))


def mutations(proof: Proof) -> Iterator[Proof]:
    """False proofs that are one step away from a true one."""
    path, own = proof.path, leaf(10**6)
    for at, one in enumerate(path):
        yield replace(proof, path=(*path[:at], flipped(one, (37 * at + proof.size) % 256), *path[at + 1 :]))
        yield replace(proof, path=(*path[:at], *path[at + 1 :]))
        yield replace(proof, path=(*path[:at], one, one, *path[at + 1 :]))
        yield replace(proof, path=(*path[:at], one[:-1], *path[at + 1 :]))
        if at:
            yield replace(proof, path=(*path[: at - 1], one, path[at - 1], *path[at + 1 :]))
    yield replace(proof, path=(*path, own))
    yield replace(proof, path=(own, *path))
    yield replace(proof, root=flipped(proof.root, 7))
    yield replace(proof, size=0)
    yield replace(proof, size=proof.size + 1, path=(*path, own))
    yield from _misplaced(proof)


def _misplaced(proof: Proof) -> Iterator[Proof]:
    if proof.leaf is None:
        yield replace(proof, old_root=flipped(proof.old_root, 8))
        yield replace(proof, old=proof.size + 1)
        return
    yield replace(proof, leaf=leaf(10**6))
    yield replace(proof, index=proof.size)
    yield replace(proof, index=proof.index + proof.size)
    yield replace(proof, index=-1)


def false_ones() -> Iterator[Proof]:
    """Mutations of proofs of trees of every shape."""
    for size in (1, 2, 3, 4, 5, 6, 7, 8, 11, 16, 31, 33, 70, 256, 65537):
        places = range(size) if size <= 16 else (0, 1, size // 3, size - 2, size - 1)
        for place in places:
            yield from mutations(inclusion(place, size))
            yield from mutations(consistency(place + 1, size))
