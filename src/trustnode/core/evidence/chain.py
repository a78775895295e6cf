"""What a leaf of the log holds: the link of an object's chain over a salted commitment (protocol 4).

Decides: commitment C, object id O, link E. Leaves to others: making salts, assigning numbers inside the append
transaction (``store``), what a statement says (``entry``).

An entry can be shown (salt and statement), withheld or erased (commitment only); the chain verifies in all three cases.
"""

from __future__ import annotations

import struct
from hashlib import sha256
from typing import Final, NamedTuple

from trustnode.errors import error

SALT_BYTES: Final = 16
ENTRY_BYTES: Final = 32
_SEQ = struct.Struct(">Q")


class ChainEnd(NamedTuple):
    """Number and link of the newest entry of one object's chain; the default stands before the first."""

    seq: int = 0
    link: bytes = bytes(ENTRY_BYTES)


def commitment(salt: bytes, statement: bytes) -> bytes:
    """C: hides ``statement`` and binds to it; ``salt`` has exactly 16 bytes, so that no other split gives C."""
    if len(salt) != SALT_BYTES:
        raise error("FIELD_FORMAT", "a salt has 16 bytes", field="salt")
    return sha256(salt + statement).digest()


def object_id(kind: str, name: str) -> bytes:
    """O: the object whose chain is meant, without telling its name to who reads the log."""
    return sha256(f"trustnode object v1\n{kind}\n{name}".encode()).digest()


def link(of: bytes, seq: int, previous: bytes, committed: bytes) -> bytes:
    """E: entry data of number ``seq``.

    Args:
        of: O of the object, 32 bytes.
        seq: 1 for the first entry.
        previous: E of the entry before; 32 zero bytes at first.
        committed: C of the statement, 32 bytes.
    """
    return sha256(b"trustnode link v1\n" + of + _SEQ.pack(seq) + previous + committed).digest()


def extend(end: ChainEnd, of: bytes, committed: bytes) -> ChainEnd:
    """The chain of object ``of`` with one more entry."""
    seq = end.seq + 1
    return ChainEnd(seq, link(of, seq, end.link, committed))


def padding(noise: bytes) -> bytes:
    """Entry data that stands for nothing: 32 random bytes, which nobody can tell from a link."""
    if len(noise) != ENTRY_BYTES:
        raise error("FIELD_FORMAT", "a padding entry has 32 bytes", field="noise")
    return noise
