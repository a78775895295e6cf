"""Data frames: one Arrow Flight ``FlightData`` message, read without copying its body and without a protobuf parser.

Decides: the bytes of a frame. Leaves to others: what is in header and body (``engine``, Arrow), the digest of a frame
(``core.stream``). Reading is strict: a field outside the four, or one that stands twice, is refused, because two
readers of one stream must see the same bytes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from trustnode.errors import TrustnodeError, error

MAX_FRAME_BYTES: Final = 8 * 1024 * 1024
_DESCRIPTOR: Final = 1
_HEADER: Final = 2
_METADATA: Final = 3
_BODY: Final = 1000
_LENGTH_DELIMITED: Final = 2
_MAX_VARINT_BYTES: Final = 5
_EMPTY: Final = memoryview(b"")


class Frame(NamedTuple):
    """One frame; the parts are views of the message they were read from."""

    header: memoryview
    """Arrow IPC message; empty in a frame that carries only metadata."""
    app_metadata: memoryview
    body: memoryview


def parse_frame(message: bytes | memoryview, max_bytes: int = MAX_FRAME_BYTES) -> Frame:
    """Read a frame.

    Raises:
        TrustnodeError: FIELD_TOO_LONG, MESSAGE_UNPARSABLE.
    """
    view = memoryview(message)
    if len(view) > max_bytes:
        raise error("FIELD_TOO_LONG", f"a frame has at most {max_bytes} bytes", field="frame")
    parts: dict[int, memoryview] = {}
    at = 0
    while at < len(view):
        tag, at = _varint(view, at)
        number, kind = tag >> 3, tag & 7
        if kind != _LENGTH_DELIMITED or number in parts or number not in (_DESCRIPTOR, _HEADER, _METADATA, _BODY):
            raise _unparsable()
        size, at = _varint(view, at)
        if size > len(view) - at:
            raise _unparsable()
        parts[number] = view[at : at + size]
        at += size
    return Frame(parts.get(_HEADER, _EMPTY), parts.get(_METADATA, _EMPTY), parts.get(_BODY, _EMPTY))


def encode_frame(header: bytes | memoryview, body: bytes | memoryview = b"", app_metadata: bytes = b"") -> bytes:
    """Write a frame in field order; empty parts are left out."""
    parts: list[bytes | memoryview] = []
    for number, part in ((_HEADER, header), (_METADATA, app_metadata), (_BODY, body)):
        if len(part):
            parts += [_encode_varint(number << 3 | _LENGTH_DELIMITED), _encode_varint(len(part)), part]
    return b"".join(parts)


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for offset in range(_MAX_VARINT_BYTES):
        if at + offset >= len(view):
            break
        byte = view[at + offset]
        value |= (byte & 0x7F) << (7 * offset)
        if byte < 0x80:
            return value, at + offset + 1
    raise _unparsable()


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _unparsable() -> TrustnodeError:
    return error("MESSAGE_UNPARSABLE", "not a data frame", field="frame")
