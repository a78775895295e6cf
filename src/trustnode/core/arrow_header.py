"""What an Arrow message says about itself, read before Arrow decodes it.

Decides: which messages are decoded at all: a schema or a record batch, not compressed, its buffers inside the body and
apart from each other, as many rows as were announced. A 2.8 kB compressed batch can hold 80 MB of zeros, and a null
column of 2^40 rows needs no bytes (data-plane 4). Leaves to others: decoding, types and the words of a
refusal (``sdk.decoding`` for what a node sends, ``engine.parameters`` for what a client sends).

The header is a flatbuffer; the few fields that matter are read with bounds, nothing else.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

SCHEMA: Final = 1
RECORD_BATCH: Final = 3
MAX_ROWS: Final = 1 << 24
"""Rows in one frame; the engine sends about a megabyte a frame."""
MAX_BUFFERS: Final = 1 << 16
MAX_HEADER_BYTES: Final = 2 * 1024 * 1024
"""Five megabytes hold a hundred thousand columns, which take many times that when they are decoded."""
_BUFFER: Final = struct.Struct("<qq")


class UnfitMessageError(ValueError):
    """Why a message is not decoded, as the end of a sentence."""


class Header(NamedTuple):
    """What a message announces."""

    kind: int
    rows: int
    """0 for a schema."""


def check_message(header: bytes | memoryview, body_bytes: int) -> Header:
    """Read and bound a message.

    Args:
        header: The flatbuffer, without its length prefix.
        body_bytes: Length of the body that came with it.

    Raises:
        UnfitMessageError: It is not to be decoded.
    """
    if len(header) > MAX_HEADER_BYTES:
        raise UnfitMessageError("its header is too long")
    try:
        return _checked(bytes(header), body_bytes)
    except UnfitMessageError:
        raise
    except (struct.error, IndexError, ValueError):
        raise UnfitMessageError("its header cannot be read") from None


def _checked(raw: bytes, body_bytes: int) -> Header:
    message = _Table(raw, _offset(raw, 0))
    kind = message.byte(1)
    if kind not in (SCHEMA, RECORD_BATCH):
        raise UnfitMessageError("it is neither a schema nor a record batch")
    if message.long(3) != body_bytes:
        raise UnfitMessageError("it announces a body of another length")
    if kind == SCHEMA:
        return Header(kind, 0)
    batch = message.table(2)
    rows = batch.long(0)
    if not 0 <= rows <= MAX_ROWS:
        raise UnfitMessageError("it announces too many rows")
    if batch.has(3):
        raise UnfitMessageError("it is compressed")
    _check_buffers(raw, batch, body_bytes)
    return Header(kind, rows)


def _check_buffers(raw: bytes, batch: _Table, body_bytes: int) -> None:
    start, count = batch.vector(2)
    if count > MAX_BUFFERS:
        raise UnfitMessageError("it has too many buffers")
    end = 0
    for number in range(count):
        offset, length = _BUFFER.unpack_from(raw, start + number * _BUFFER.size)
        if length < 0 or offset < 0 or offset + length > body_bytes:
            raise UnfitMessageError("a buffer lies outside its body")
        if length and offset < end:
            raise UnfitMessageError("its buffers overlap")
        end = max(end, offset + length)


class _Table:
    """A table of a flatbuffer."""

    def __init__(self, raw: bytes, at: int) -> None:
        self._raw, self._at = raw, at
        vtable = at - struct.unpack_from("<i", raw, at)[0]
        size = struct.unpack_from("<H", raw, _inside(raw, vtable))[0]
        self._fields = [struct.unpack_from("<H", raw, vtable + i)[0] for i in range(4, min(size, 64), 2)]

    def has(self, field: int) -> bool:
        return field < len(self._fields) and self._fields[field] != 0

    def byte(self, field: int) -> int:
        return self._raw[self._place(field)] if self.has(field) else 0

    def long(self, field: int) -> int:
        return int(struct.unpack_from("<q", self._raw, self._place(field))[0]) if self.has(field) else 0

    def table(self, field: int) -> _Table:
        return _Table(self._raw, _offset(self._raw, self._place(field)))

    def vector(self, field: int) -> tuple[int, int]:
        """Place of the first element, and how many there are."""
        if not self.has(field):
            return 0, 0
        at = _offset(self._raw, self._place(field))
        return at + 4, struct.unpack_from("<I", self._raw, at)[0]

    def _place(self, field: int) -> int:
        if not self.has(field):
            raise ValueError("a field is missing")
        return _inside(self._raw, self._at + self._fields[field])


def _offset(raw: bytes, at: int) -> int:
    return _inside(raw, at + int(struct.unpack_from("<I", raw, at)[0]))


def _inside(raw: bytes, at: int) -> int:
    # A negative index would read from the end.
    if not 0 <= at < len(raw):
        raise ValueError("outside the header")
    return at
