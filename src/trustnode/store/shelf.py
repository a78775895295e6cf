"""A mapping that keeps a part in memory and the rest on a temporary disk: what a log tells of many objects.

Decides: how many objects stand in memory at a time. Leaves to others: what they are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, MutableMapping
from typing import Final

import msgspec

from trustnode.core.replay import Told

MAX_IN_MEMORY: Final = 20_000
_Key = tuple[str, str]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Told).decode


class Shelf(MutableMapping[_Key, Told]):
    """(kind, id) -> what is told of it."""

    def __init__(self, most: int = MAX_IN_MEMORY) -> None:
        self._most = most
        self._near: dict[_Key, Told] = {}
        self._far = sqlite3.connect("", isolation_level=None)  # a temporary file that nobody else can open
        self._far.execute("pragma journal_mode = off")
        self._far.execute("create table told (kind text, id text, body blob, primary key (kind, id)) without rowid")

    def close(self) -> None:
        """Let go of the temporary file."""
        self._far.close()

    def __setitem__(self, key: _Key, value: Told) -> None:
        self._near[key] = value
        if len(self._near) > self._most:
            self._put_away()

    def __getitem__(self, key: _Key) -> Told:
        if key in self._near:
            return self._near[key]
        row = self._far.execute("select body from told where kind = ? and id = ?", key).fetchone()
        if row is None:
            raise KeyError(key)
        return _decode(row[0])

    def __delitem__(self, key: _Key) -> None:
        found = self._near.pop(key, None)
        if self._far.execute("delete from told where kind = ? and id = ?", key).rowcount == 0 and found is None:
            raise KeyError(key)

    def __iter__(self) -> Iterator[_Key]:
        self._put_away()
        return ((kind, id) for kind, id in self._far.execute("select kind, id from told order by kind, id"))

    def __len__(self) -> int:
        self._put_away()
        (count,) = self._far.execute("select count(*) from told").fetchone()
        return int(count)

    def _put_away(self) -> None:
        self._far.execute("begin")
        rows = [(*key, _encode(value)) for key, value in self._near.items()]
        self._far.executemany("insert or replace into told values (?, ?, ?)", rows)
        self._far.execute("commit")
        self._near.clear()
