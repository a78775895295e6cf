"""What a node keeps of answers that were given, so that the same question costs no engine.

Decides: that nothing is kept under a key that does not name agreements, policy, masks, data version and the text that
ran; how much is kept; when it goes. Leaves to others: that every call is identified, decided, counted and logged all
the same (``app.access``), which answers are worth keeping (``pool``).

Nothing here knows time or data: a change of policy, data version or agreement gives another key, so that the old answer
is not found any more; ``forget`` and the bound take it away.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from trustnode.engine.message import SessionSpec

V = TypeVar("V")
LARGEST_PART: Final = 8
"""Nothing larger than this part of the whole room is kept: one answer must not drive out all others."""
OVERHEAD_BYTES: Final = 512
"""What an entry costs beside its value."""
_encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode


def digest_of(spec: SessionSpec) -> str:
    """Names everything that a session may see and how: agreements, policies, governed tables, mask keys, data version.

    A field that a session gets later is part of it without a line here.
    """
    return hashlib.sha256(_encode(spec)).hexdigest()


def relation_digest(spec: SessionSpec) -> str:
    """Names the rows and columns that a session delivers, whoever asks.

    Two agreements share them only where nothing in them depends on an agreement: no masks, whose keys are secrets of
    each, and no mark. Everything else that differs makes another name.
    """
    if any(table.masks for part in spec.parts for table in part.governed.tables) or spec.joined:
        return digest_of(spec)
    return digest_of(msgspec.structs.replace(spec, agreement="", policy_digest="", hash_key=b""))


class _Entry(NamedTuple):
    value: Any
    owners: frozenset[str]
    size: int


@dataclass
class Kept:
    """Values by key, the least recently used ones first to go; bounded in bytes."""

    max_bytes: int
    """0: nothing is kept."""
    size: int = 0
    hits: int = 0
    misses: int = 0
    _entries: OrderedDict[Hashable, _Entry] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, kind: type[V]) -> V | None:
        """What was kept under a key."""
        found = self._entries.get(key)
        if found is None or not isinstance(found.value, kind):
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return found.value

    def put(self, key: Hashable, value: object, *, owners: Iterable[str], size: int) -> None:
        """Keep a value for the agreements that may have it; what is too large is not kept.

        Args:
            key: Everything the value depends on.
            value: Immutable.
            owners: Agreements and the session; when one of them is forgotten, the value goes.
            size: About how many bytes it holds, keys included.
        """
        size += OVERHEAD_BYTES
        if size > self.max_bytes // LARGEST_PART:
            return
        self._drop(key)
        self._entries[key] = _Entry(value, frozenset(owners), size)
        self.size += size
        while self.size > self.max_bytes:
            self._drop(next(iter(self._entries)))

    def forget(self, owner: str) -> None:
        """Drop everything of an agreement that ended or was suspended."""
        for key in [key for key, entry in self._entries.items() if owner in entry.owners]:
            self._drop(key)

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.size -= entry.size
