"""Commitments to a query, a plan and a stream of frames (protocol 3.5).

Decides: what exactly a receipt binds. Leaves to others: making salts, building frames (``engine``), reading them
(``wire``). Provider, carrier and client compute the same chain over the same frames.
"""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

SALT_BYTES = 16
_FRAME_NOTE = struct.Struct(">QQ32s")
FRAME_NOTE_BYTES = _FRAME_NOTE.size


class FrameNote(NamedTuple):
    """What travels in ``app_metadata`` beside a frame."""

    number: int
    """1 for the schema."""
    rows: int
    digest: bytes
    """f(i), 32 bytes."""

    def to_bytes(self) -> bytes:
        """Encode as 48 bytes, big-endian."""
        return _FRAME_NOTE.pack(self.number, self.rows, self.digest)

    @classmethod
    def from_bytes(cls, data: bytes) -> FrameNote:
        """Decode; raises ``struct.error`` when the length is not 48."""
        return cls(*_FRAME_NOTE.unpack(data))


class Prefix(NamedTuple):
    """What of a result was handed over before, so that a stream can go on behind it (protocol 6.8)."""

    offset: int
    """Frames with rows that came before the first of the last access."""
    frames: int
    """Frames of the last access, its schema included."""
    salt: bytes
    """Of its stream."""
    chain: bytes
    """h(frames) of its stream."""


def query_commitment(salt: bytes, canonical_query: bytes) -> str:
    """Commit to ``canonical_query``, the canonical JSON of {parameters, sql}."""
    return hashlib.sha256(b"trustnode query v1\n" + salt + canonical_query).hexdigest()


def plan_commitment(salt: bytes, sql: str) -> str:
    """Commit to the regenerated SQL text."""
    return hashlib.sha256(b"trustnode plan v1\n" + salt + sql.encode()).hexdigest()


def frame_digest(header: bytes | memoryview, body: bytes | memoryview) -> bytes:
    """f(i): digest of one FlightData that has a data_header; ``app_metadata`` is not part of it."""
    digest = hashlib.sha256(struct.pack(">I", len(header)))
    digest.update(header)
    digest.update(struct.pack(">Q", len(body)))
    digest.update(body)
    return digest.digest()


def length_digest(header: bytes | memoryview, body: bytes | memoryview) -> bytes:
    """f(i) where the product's content is not digested: covers the header and the length of the body only."""
    digest = hashlib.sha256(struct.pack(">I", len(header)))
    digest.update(header)
    digest.update(struct.pack(">Q", len(body)))
    return digest.digest()


def covers_content(note: FrameNote, header: bytes | memoryview, body: bytes | memoryview) -> bool | None:
    """Whether a note's digest covers the body of its frame, or only its length; None: it is of another frame.

    A frame without a body has one digest for both. The cheap question comes first.
    """
    if note.digest == length_digest(header, body):
        return not len(body)
    return True if note.digest == frame_digest(header, body) else None


def chain_start(salt: bytes) -> bytes:
    """h(0)."""
    return hashlib.sha256(b"trustnode stream v1\n" + salt).digest()


def chain_next(previous: bytes, digest: bytes) -> bytes:
    """h(i) from h(i-1) and f(i)."""
    return hashlib.sha256(previous + digest).digest()
