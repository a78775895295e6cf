"""One pass over the log, with the tree, the chains and the states grown again beside it.

Decides: what each entry, link, tile and head must be, and how the first one that is not is named. Leaves to others: the
pace (``check``), comparing states with what was told (``told``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final, NamedTuple

from trustnode.core.evidence import chain, tree
from trustnode.core.evidence.edges import TileEdges
from trustnode.core.evidence.entry import Entry, parse_statement
from trustnode.core.evidence.tree import HASH_BYTES, TILE_WIDTH
from trustnode.core.replay import Place, Replay
from trustnode.errors import TrustnodeError, error
from trustnode.store.difference import Difference
from trustnode.store.log import chain_object, read_head, read_tile

_ENTRIES: Final = (
    "select e.idx, e.chain, e.seq, e.link, e.commitment, s.salt, s.body "
    "from entry e left join statement s on s.idx = e.idx where e.idx >= ? order by e.idx limit ?"
)


class _Stored(NamedTuple):
    at: int
    chain_id: int
    seq: int
    link: bytes
    commitment: bytes
    salt: bytes | None
    body: bytes | None


class Retrace:
    """A log read from its beginning, in chunks that may be of different snapshots: what is appended stays.

    Attributes:
        expected: Index of the next entry.
        told: What the entries so far tell of states and counters.
    """

    def __init__(self, told: Replay) -> None:
        self.told = told
        self.expected = 0
        self._names: dict[int, tuple[str, str]] = {}
        self._objects: dict[int, bytes] = {}
        self._ends: dict[int, chain.ChainEnd] = {}
        self._edges = TileEdges()
        self._tiles = 0

    def chunk(self, db: sqlite3.Connection, limit: int) -> Iterator[Difference]:
        """Read up to ``limit`` further entries; ``expected`` stands still when there are none."""
        rows = [_Stored(*row) for row in db.execute(_ENTRIES, (self.expected, limit))]
        for row in rows:
            if row.at != self.expected:
                message = f"the entry is missing; the next one is {row.at}"
                yield Difference(where="entry", message=message, index=self.expected)
            self.expected = row.at + 1
            yield from self._entry(db, row)
        yield from self._grow(db, [row.link for row in rows])

    def end(self, db: sqlite3.Connection) -> Iterator[Difference]:
        """Compare what ends here: right edge, head, ends of the chains. In the snapshot of the last chunk."""
        yield from self._right_edge(db)
        yield from self._head(db)
        for id, seq, link in db.execute("select id, seq, link from chain"):
            if self._ends.get(id, chain.ChainEnd()) != (seq, link):
                message = "the end of the chain is not its last entry"
                yield Difference(where="chain", message=message, object=" ".join(self._name(db, id) or ("chain", "?")))
        (surplus,) = db.execute("select count(*) from statement where idx not in (select idx from entry)").fetchone()
        if surplus:
            yield Difference(where="statement", message=f"{surplus} statements belong to no entry")

    def _name(self, db: sqlite3.Connection, chain_id: int) -> tuple[str, str] | None:
        if chain_id not in self._names:
            row = db.execute("select kind, object from chain where id = ?", (chain_id,)).fetchone()
            if row is None:
                return None
            self._names[chain_id] = (row[0], row[1])
            self._objects[chain_id] = chain_object(*row)
        return self._names[chain_id]

    def _entry(self, db: sqlite3.Connection, row: _Stored) -> Iterator[Difference]:
        name = self._name(db, row.chain_id)
        if name is None:
            yield Difference(where="entry", message="the entry belongs to no chain", index=row.at)
            return
        label = " ".join(name)
        before = self._ends.get(row.chain_id, chain.ChainEnd())
        if chain.extend(before, self._objects[row.chain_id], row.commitment) != (row.seq, row.link):
            message = "the link does not follow from the chain"
            yield Difference(where="entry", message=message, index=row.at, object=label)
        self._ends[row.chain_id] = chain.ChainEnd(row.seq, row.link)
        try:
            entry = _read(row, name)
        except TrustnodeError as problem:
            yield Difference(where="statement", message=problem.message, index=row.at, object=label)
            return
        self.told.add(Place(row.at, *name, row.seq, row.link), entry)

    def _grow(self, db: sqlite3.Connection, links: list[bytes]) -> Iterator[Difference]:
        growth = self._edges.grow([tree.leaf_hash(link) for link in links])
        self._edges = growth.edges
        for (level, number), data in growth.tiles.items():
            if len(data) == TILE_WIDTH * HASH_BYTES:
                yield from self._tile(db, level, number, data)

    def _right_edge(self, db: sqlite3.Connection) -> Iterator[Difference]:
        for level, data in enumerate(self._edges.partials):
            if data:
                yield from self._tile(db, level, self._edges.size >> tree.TILE_HEIGHT * (level + 1), data)
        (stored,) = db.execute("select count(*) from tile").fetchone()
        if stored != self._tiles:
            yield Difference(where="tile", message=f"there are {stored} tiles, {self._tiles} follow from the entries")

    def _tile(self, db: sqlite3.Connection, level: int, number: int, data: bytes) -> Iterator[Difference]:
        self._tiles += 1
        stored = read_tile(db, level, number)
        if stored == data:
            return
        at = next(
            (i for i in range(0, len(data), HASH_BYTES) if stored[i : i + HASH_BYTES] != data[i : i + HASH_BYTES]), 0
        )
        first = (number * TILE_WIDTH + at // HASH_BYTES) << (tree.TILE_HEIGHT * level)
        yield Difference(
            where=f"tile {level}/{number}", message="a hash is not the one derived from the entries", index=first
        )

    def _head(self, db: sqlite3.Connection) -> Iterator[Difference]:
        head = read_head(db)
        if self.expected != head.size:
            message = f"the head says {head.size} entries, there are {self.expected}"
            yield Difference(where="head", message=message, index=self.expected)
        elif self._edges.head.root != head.root:
            message = "the root is not the one derived from the entries"
            yield Difference(where="head", message=message, index=self.expected)


def _read(row: _Stored, name: tuple[str, str]) -> Entry | None:
    """The record of an entry; None: erased, only the commitment is left by design.

    Raises:
        TrustnodeError: It is not the one committed to, not a record, or about another object.
    """
    if row.salt is None or row.body is None:
        return None
    if chain.commitment(row.salt, row.body) != row.commitment:
        raise error("STORE_CORRUPT", "the statement is not the one committed to")
    entry = parse_statement(row.body)
    if (entry.object_kind, entry.object) != name:
        raise error("STORE_CORRUPT", "the statement is about another object")
    return entry
