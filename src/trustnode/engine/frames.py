"""Finished Flight frames from record batches.

Decides: the bytes of a FlightData message, how rows are cut into frames, the digest of each. Leaves to others: who
receives them (``worker`` sends, ``pool`` passes on unparsed), the chain over the digests (``core.stream``).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import pyarrow as pa

from trustnode.core.policy.schema import Column
from trustnode.core.stream import (
    FRAME_NOTE_BYTES,
    FrameNote,
    Prefix,
    chain_next,
    chain_start,
    frame_digest,
    length_digest,
)
from trustnode.errors import error

MAX_MESSAGE_BYTES: Final = 3 << 20
"""No frame is larger: ordinary gRPC clients accept 4 MiB."""
ROWS_STEP: Final = 2048
"""The engine works in vectors of this many rows."""
MAX_BATCH_ROWS: Final = 131_072

_HEADER_TAG: Final = b"\x12"
_METADATA_TAG: Final = b"\x1a" + bytes([FRAME_NOTE_BYTES])
_BODY_TAG: Final = b"\xc2\x3e"
_WIDTHS: Final = {"utf8": 24, "binary": 24, "bool": 1, "date32": 4, "float32": 4}


class EncodedFrame(NamedTuple):
    """One FlightData in parts that lie in order, and its encoded note."""

    note: bytes
    parts: list[bytes | memoryview]


def batch_rows(columns: Sequence[Column], max_frame_bytes: int) -> int:
    """Rows to ask the engine for, so that a batch is about one frame."""
    width = sum(_width(column.type) for column in columns)
    rows = max_frame_bytes // max(width, 1) // ROWS_STEP * ROWS_STEP
    return max(ROWS_STEP, min(rows, MAX_BATCH_ROWS))


class FrameEncoder:
    """Encodes the frames of one stream, the schema first."""

    def __init__(self, schema: pa.Schema, *, max_frame_bytes: int, content_digest: bool) -> None:
        self._plain = pa.schema([_plain_field(field) for field in schema])
        self._cast = self._plain != schema
        self._max_frame_bytes = max_frame_bytes
        self._digest = frame_digest if content_digest else length_digest
        self._number = 0

    def schema(self) -> EncodedFrame:
        """The first frame."""
        return self._encode(self._plain.serialize(), 0)

    def batches(self, batch: pa.RecordBatch) -> Iterator[EncodedFrame]:
        """The frames of one batch.

        Raises:
            QuotaExceeded: QUERY_TOO_COSTLY, when a single row is larger than a frame may be.
        """
        for piece in self.pieces((batch,)):
            yield self.frame(piece)

    def pieces(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The batches cut as frames hold them.

        Raises:
            QuotaExceeded: As ``batches``.
        """
        for batch in batches:
            yield from _pieces(_plain_batch(batch, self._plain) if self._cast else batch, self._max_frame_bytes)

    def frame(self, piece: pa.RecordBatch) -> EncodedFrame:
        """The next frame, of one piece."""
        return self._encode(piece.serialize(), piece.num_rows)

    def skip(self, pieces: Iterator[pa.RecordBatch], after: Prefix) -> None:
        """Take what was handed over before from the pieces; the frames that follow are numbered anew.

        Raises:
            StateError: RESUME_CHANGED, when the result is not the one that was begun.
        """
        chain = chain_next(chain_start(after.salt), self._digest(*_parts(self._plain.serialize())))
        found = 0
        for number, piece in enumerate(islice(pieces, after.offset + after.frames - 1)):
            found += 1
            if number >= after.offset:
                chain = chain_next(chain, self._digest(*_parts(piece.serialize())))
        if chain != after.chain or found < after.offset + after.frames - 1:
            raise error("RESUME_CHANGED", "the result is no longer the one that was begun")

    def _encode(self, message: pa.Buffer, rows: int) -> EncodedFrame:
        header, body = _parts(message)
        self._number += 1
        note = FrameNote(self._number, rows, self._digest(header, body)).to_bytes()
        parts: list[bytes | memoryview] = [_HEADER_TAG + _varint(len(header)), header, _METADATA_TAG + note]
        if len(body):
            parts += [_BODY_TAG + _varint(len(body)), body]
        return EncodedFrame(note, parts)


def _parts(message: pa.Buffer) -> tuple[memoryview, memoryview]:
    """Header and body of an encapsulated IPC message."""
    view = memoryview(message)
    (length,) = struct.unpack_from("<i", view, 4)
    return view[8 : 8 + length], view[8 + length :]


def limited(batches: Iterable[pa.RecordBatch], max_rows: int | None) -> Iterator[tuple[pa.RecordBatch, bool]]:
    """Cut a stream of batches at ``max_rows``; the last one, perhaps empty, is flagged when rows are left."""
    left = max_rows
    for batch in batches:
        if left is not None and batch.num_rows > left:
            yield batch.slice(0, left), True
            return
        left = None if left is None else left - batch.num_rows
        yield batch, False


def _pieces(batch: pa.RecordBatch, max_frame_bytes: int) -> Iterator[pa.RecordBatch]:
    if batch.nbytes <= max_frame_bytes * 5 // 4:
        if batch.num_rows:
            yield batch
        return
    if batch.num_rows == 1:
        if batch.nbytes > MAX_MESSAGE_BYTES:
            raise error("QUERY_TOO_COSTLY", "a single row is larger than a message may be")
        yield batch
        return
    rows = max(1, min(batch.num_rows * max_frame_bytes // batch.nbytes, batch.num_rows // 2))
    for start in range(0, batch.num_rows, rows):
        yield from _pieces(batch.slice(start, rows), max_frame_bytes)


def _plain_field(field: pa.Field) -> pa.Field:
    return field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field


def _plain_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    arrays: list[Any] = [
        array if array.type == field.type else array.cast(field.type)
        for array, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _width(type_word: str) -> int:
    return 16 if type_word.startswith("decimal") else _WIDTHS.get(type_word, 8)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append((number & 0x7F) | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
