"""Names and contents of the files in which a log is published (C2SP tlog-tiles).

Decides: the path of a tile or entry bundle, its width at a tree size, the framing of entries. Leaves to others: serving
(``web``), hashes (``tree``).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from trustnode.core.evidence.tree import TILE_HEIGHT, TILE_WIDTH
from trustnode.errors import error

MAX_ENTRY_BYTES: Final = 0xFFFF
MAX_LEVEL: Final = 63
_LENGTH = struct.Struct(">H")
_PATH = re.compile(r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII)


class TileName(NamedTuple):
    """One tile of hashes, or one bundle of entries."""

    level: int | None
    """0..63; None for a bundle of entries."""
    number: int
    width: int = TILE_WIDTH

    @property
    def first(self) -> int:
        """Index of its first hash on its level, of its first entry for a bundle."""
        return self.number * TILE_WIDTH

    @property
    def path(self) -> str:
        """Path below the prefix of the log."""
        name = f"{self.number % 1000:03d}"
        rest = self.number // 1000
        while rest:
            name = f"x{rest % 1000:03d}/{name}"
            rest //= 1000
        kind = "entries" if self.level is None else str(self.level)
        return f"tile/{kind}/{name}" + ("" if self.width == TILE_WIDTH else f".p/{self.width}")


def parse_path(path: str) -> TileName:
    """Read a path that a client asks for.

    Raises:
        InvalidRequest: FIELD_FORMAT, where the path is not exactly one that ``TileName.path`` writes.
    """
    match = _PATH.fullmatch(path)
    if match:
        kind, number, width = match.groups()
        level = None if kind == "entries" else int(kind)
        name = TileName(level, int(re.sub("[x/]", "", number)), int(width or TILE_WIDTH))
        if (level or 0) <= MAX_LEVEL and name.width <= TILE_WIDTH and name.path == path:
            return name
    raise error("FIELD_FORMAT", "not the path of a tile", field="path")


def width_at(size: int, level: int, number: int) -> int:
    """Hashes (entries for a bundle, with level 0) that a tile holds in the tree of ``size`` entries: 0..256."""
    present = size >> (level * TILE_HEIGHT)
    return max(0, min(TILE_WIDTH, present - number * TILE_WIDTH))


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Frame up to 256 entries, each preceded by its length as a big-endian u16."""
    if not 1 <= len(entries) <= TILE_WIDTH or any(len(entry) > MAX_ENTRY_BYTES for entry in entries):
        raise error("FIELD_TOO_LONG", "a bundle holds 1 to 256 entries of at most 65,535 bytes", field="entries")
    return b"".join(_LENGTH.pack(len(entry)) + entry for entry in entries)


def decode_bundle(data: bytes) -> list[bytes]:
    """Read the entries of a bundle.

    Raises:
        VerificationFailed: The framing is cut, or there is no entry, or there are more than 256.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(data) and len(entries) <= TILE_WIDTH:
        start = at + _LENGTH.size
        if start > len(data):
            raise error("VERIFICATION_FAILED", "entry bundle is cut")
        at = start + _LENGTH.unpack_from(data, at)[0]
        entries.append(data[start:at])
    if at != len(data) or not 1 <= len(entries) <= TILE_WIDTH:
        raise error("VERIFICATION_FAILED", "entry bundle is cut, empty or too long")
    return entries
