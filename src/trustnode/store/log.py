"""The evidence log in the database: its right edge for the writer, its tiles and chains for readers.

Decides: index, number in the chain and link of each entry, which rows one batch of entries writes, and what is loaded
again after a failure. Leaves to others: what a statement says (``core.evidence.entry``), all hashing
(``core.evidence``), when a batch is committed (``batch``), signing the head (``app``).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from trustnode.core.evidence import chain, tree
from trustnode.core.evidence.chain import SALT_BYTES, ChainEnd
from trustnode.core.evidence.edges import TileEdges, restore
from trustnode.core.evidence.mirror import CheckedLine
from trustnode.core.evidence.tile import width_at
from trustnode.core.evidence.tree import EMPTY_ROOT, HASH_BYTES
from trustnode.errors import error

BATCH_ID_BYTES: Final = 16
MAX_KNOWN_CHAINS: Final = 512
"""Chains whose ends are remembered between batches."""


class Head(NamedTuple):
    """The committed head of the log."""

    size: int = 0
    root: bytes = EMPTY_ROOT
    batch: bytes = b""
    """Random id of the batch that wrote it: tells whether a commit that failed was stored."""
    time: str = ""
    """Instant of that batch; entries of a log never go back before it (attack-tests L13)."""


class LogEntry(msgspec.Struct, frozen=True):
    """One leaf and, unless it was erased, what it stands for."""

    index: int
    seq: int
    """Number in the chain of its object, from 1."""
    data: bytes
    """E, the link: what is hashed as the leaf."""
    commitment: bytes
    salt: bytes | None
    """None after erasure, like ``statement``."""
    statement: bytes | None


class NamedEntry(NamedTuple):
    """One leaf and whose chain it stands in."""

    kind: str
    """Empty where only O is known: ``object`` is its hexadecimal then (``chain_object``)."""
    object: str
    entry: LogEntry


def chain_object(kind: str, object: str) -> bytes:
    """O of a chain as its row names it: kind and name, or O itself where a recovered chain has no name yet."""
    return chain.object_id(kind, object) if kind else bytes.fromhex(object)


class _Link(NamedTuple):
    at: int
    chain_id: int
    seq: int
    data: bytes
    commitment: bytes
    salt: bytes | None
    """None where nobody keeps the statement of a recovered entry, like ``statement``."""
    statement: bytes | None


class _End(NamedTuple):
    chain_id: int
    end: ChainEnd
    of: bytes
    """O, the object id that every link of the chain holds."""


_Key = tuple[str, str]


def read_head(db: sqlite3.Connection) -> Head:
    """The committed head; the empty log where nothing was written yet."""
    row = db.execute("select size, root, batch, time from head").fetchone()
    return Head(*row) if row else Head()


def read_tile(db: sqlite3.Connection, level: int, number: int) -> bytes:
    """The bytes of a tile, as wide as it is now; empty where there is none."""
    row = db.execute("select data from tile where level = ? and number = ?", (level, number)).fetchone()
    return row[0] if row else b""


class Edge(NamedTuple):
    """All that the writer remembers of the log. Replaced after a commit, loaded again after a failure."""

    head: Head
    edges: TileEdges
    next_chain_id: int
    ends: dict[_Key, _End]
    """Where recently used chains end."""

    @classmethod
    def load(cls, db: sqlite3.Connection) -> Edge:
        """Read it from the database and compare the root computed from the tiles with the stored one.

        Raises:
            StoreCorrupt: They differ, or a tile is missing.
        """
        head = read_head(db)
        edges = recompute(db, head.size)
        if edges.head.root != head.root:
            raise error("STORE_CORRUPT", f"the tiles of the log do not lead to the stored root of size {head.size}")
        (last,) = db.execute("select coalesce(max(id), 0) from chain").fetchone()
        return cls(head, edges, last + 1, {})


def recompute(db: sqlite3.Connection, size: int) -> TileEdges:
    """The right edge of the first ``size`` entries, from the tiles.

    Raises:
        StoreCorrupt: A tile is narrower than ``size`` demands.
    """
    try:
        return restore(size, lambda level, number: read_tile(db, level, number))
    except Exception as problem:
        raise error("STORE_CORRUPT", f"the tiles of the log do not hold {size} entries: {problem}") from problem


class Append:
    """The entries of one batch, linked as they come, written together before the commit."""

    def __init__(self, db: sqlite3.Connection, edge: Edge) -> None:
        self._db = db
        self._edge = edge
        self._links: list[_Link] = []
        self._ends: dict[_Key, _End] = {}
        self._undo: list[tuple[_Key, _End | None]] = []
        self._next_chain_id = edge.next_chain_id

    def __len__(self) -> int:
        return len(self._links)

    def add(self, kind: str, object: str, statement: bytes) -> None:
        """Salt, commit to and link one statement behind the last entry of its object."""
        key = (kind, object)
        before = self._end(key)
        salt = os.urandom(SALT_BYTES)
        committed = chain.commitment(salt, statement)
        end = chain.extend(before.end, before.of, committed)
        index = self._edge.head.size + len(self._links)
        self._undo.append((key, self._ends.get(key)))
        self._links.append(_Link(index, before.chain_id, end.seq, end.link, committed, salt, statement))
        self._ends[key] = _End(before.chain_id, end, before.of)

    def take(self, kind: str, object: str, line: CheckedLine) -> None:
        """Put an entry back at the index it had; ``kind`` is empty where only O is known, and ``object`` its digits.

        Raises:
            TrustnodeError: VERIFICATION_FAILED, it is not the next one of the log or of its chain.
        """
        key, index = (kind, object), self._edge.head.size + len(self._links)
        before = self._end(key)
        end = chain.extend(before.end, before.of, line.line.commitment)
        if (index, end.seq, end.link) != (line.line.index, line.line.seq, line.link):
            raise error(
                "VERIFICATION_FAILED", f"entry {line.line.index} does not follow entry {index - 1} of this store"
            )
        shown = (line.line.salt, line.line.statement) if line.entry is not None else (None, None)
        self._undo.append((key, self._ends.get(key)))
        self._links.append(_Link(index, before.chain_id, end.seq, end.link, line.line.commitment, *shown))
        self._ends[key] = _End(before.chain_id, end, before.of)

    def root(self) -> tree.TreeHead:
        """Size and root of the log with the entries of this batch."""
        return self._edge.edges.grow([tree.leaf_hash(one.data) for one in self._links]).head

    def end(self, kind: str, object: str) -> ChainEnd:
        """Where the chain of an object ends, the entries of this batch included."""
        known = self._known((kind, object))
        return known.end if known else ChainEnd()

    def mark(self) -> int:
        """A point to which ``rollback`` returns."""
        return len(self._links)

    def rollback(self, mark: int) -> None:
        """Drop the entries added since ``mark``."""
        while len(self._links) > mark:
            self._links.pop()
            key, before = self._undo.pop()
            if before is None:
                del self._ends[key]
            else:
                self._ends[key] = before

    def write(self, batch: bytes, time: str) -> Edge:
        """Write entries, chains, tiles and head; the result is true once the transaction commits."""
        db, links = self._db, self._links
        growth = self._edge.edges.grow([tree.leaf_hash(one.data) for one in links])
        head = Head(growth.head.size, growth.head.root, batch, time)
        db.executemany("insert into entry values (?, ?, ?, ?, ?)", [one[:5] for one in links])
        db.executemany("insert into statement values (?, ?, ?)", [(one.at, *one[5:]) for one in links if one.salt])
        db.executemany(
            "insert into chain values (?, ?, ?, ?, ?) "
            "on conflict (id) do update set kind = excluded.kind, object = excluded.object, "
            "seq = excluded.seq, link = excluded.link",
            [(one.chain_id, *key, *one.end) for key, one in self._ends.items()],
        )
        db.executemany(
            "insert into tile values (?, ?, ?) on conflict (level, number) do update set data = excluded.data",
            [(*name, data) for name, data in growth.tiles.items()],
        )
        db.execute("insert or replace into head values (1, ?, ?, ?, ?)", head)
        known = self._edge.ends if len(self._edge.ends) < MAX_KNOWN_CHAINS else {}
        return Edge(head, growth.edges, self._next_chain_id, {**known, **self._ends})

    def _known(self, key: _Key) -> _End | None:
        """The end of a chain; one that was just put back without its name is found by its O, or it would begin anew."""
        return self._held(key) or (self._held(("", chain.object_id(*key).hex())) if key[0] else None)

    def _held(self, key: _Key) -> _End | None:
        return self._ends.get(key) or self._edge.ends.get(key) or _stored_end(self._db, key)

    def _end(self, key: _Key) -> _End:
        known = self._known(key)
        if known:
            return known
        self._next_chain_id += 1
        return _End(self._next_chain_id - 1, ChainEnd(), chain_object(*key))


def _stored_end(db: sqlite3.Connection, key: _Key) -> _End | None:
    row = db.execute(_CHAIN, key).fetchone()
    return _End(row[0], ChainEnd(row[1], row[2]), chain_object(*key)) if row else None


def _chain_row(db: sqlite3.Connection, key: _Key) -> tuple[int, int, bytes] | None:
    """Id, number and link of a chain; a recovered one that has no name yet is found by its O."""
    found: tuple[int, int, bytes] | None = db.execute(_CHAIN, key).fetchone()
    return found or (db.execute(_CHAIN, ("", chain.object_id(*key).hex())).fetchone() if key[0] else None)


_CHAIN: Final = "select id, seq, link from chain where kind = ? and object = ?"
_ENTRY: Final = (
    "select e.idx, e.seq, e.link, e.commitment, s.salt, s.body from entry e left join statement s on s.idx = e.idx "
)
_NAMES: Final = b'"documents":['
"""Stands in the canonical form of an entry that names documents, and in no text inside it, for quotes are escaped."""
_NAMED: Final = (
    "select c.kind, c.object, e.idx, e.seq, e.link, e.commitment, s.salt, s.body from entry e "
    "join chain c on c.id = e.chain left join statement s on s.idx = e.idx "
)


class LogView:
    """The log in one snapshot."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def head(self) -> Head:
        """The committed head."""
        return read_head(self._db)

    def tile(self, level: int, number: int) -> bytes:
        """The hashes of a tile, as wide as it is in this snapshot; empty where there is none."""
        return read_tile(self._db, level, number)

    def bundle(self, number: int, size: int) -> list[bytes]:
        """The entries (E) of bundle ``number`` in the tree of ``size`` entries, for ``tile.encode_bundle``."""
        first = number * tree.TILE_WIDTH
        rows = self._db.execute(
            "select link from entry where idx >= ? and idx < ? order by idx", (first, first + width_at(size, 0, number))
        )
        return [row[0] for row in rows]

    def entry(self, index: int) -> LogEntry:
        """One entry.

        Raises:
            NotFound: There is no such index.
        """
        row = self._db.execute(_ENTRY + "where e.idx = ?", (index,)).fetchone()
        if row is None:
            raise error("NOT_FOUND", f"the log has no entry {index}")
        return LogEntry(*row)

    def entries(self, first: int, limit: int = 1000) -> list[LogEntry]:
        """Entries from index ``first`` on."""
        return [
            LogEntry(*row)
            for row in self._db.execute(_ENTRY + "where e.idx >= ? order by e.idx limit ?", (first, limit))
        ]

    def last_naming(self, first: int, end: int) -> int | None:
        """The last entry from ``first`` up to ``end`` that names documents, or may have before it was erased."""
        row = self._db.execute(
            "select max(e.idx) from entry e left join statement s on s.idx = e.idx "
            "where e.idx >= ? and e.idx < ? and (s.idx is null or instr(s.body, ?) > 0)",
            (first, end, _NAMES),
        ).fetchone()
        return None if row[0] is None else int(row[0])

    def named(self, first: int, limit: int = 1000) -> list[NamedEntry]:
        """As ``entries``, with the object in whose chain each stands."""
        rows = self._db.execute(_NAMED + "where e.idx >= ? order by e.idx limit ?", (first, limit))
        return [NamedEntry(kind, object, LogEntry(*row)) for kind, object, *row in rows]

    def chain(self, object_kind: str, object: str, *, after: int = 0, limit: int = 10_000) -> list[LogEntry]:
        """The chain of an object in its order, from number ``after`` + 1 on."""
        found = _chain_row(self._db, (object_kind, object))
        if found is None:
            return []
        rows = self._db.execute(
            _ENTRY + "where e.chain = ? and e.seq > ? order by e.seq limit ?", (found[0], after, limit)
        )
        return [LogEntry(*row) for row in rows]

    def end(self, object_kind: str, object: str) -> ChainEnd:
        """Number and link (E) of an object's newest entry; (0, 32 zero bytes) before the first."""
        found = _chain_row(self._db, (object_kind, object))
        return ChainEnd(found[1], found[2]) if found else ChainEnd()

    def objects(self) -> dict[bytes, tuple[str, str]]:
        """O -> kind and name of every chain; both as its row has them where the chain has no name yet."""
        rows = self._db.execute("select kind, object from chain")
        return {chain_object(*row): row for row in rows.fetchall()}

    def ends(self, objects: Iterable[bytes]) -> dict[bytes, ChainEnd]:
        """Where the chains of some objects end, by O."""
        names = self.objects()
        return {of: self.end(*names[of]) for of in set(objects) if of in names}

    def edges(self) -> TileEdges:
        """The right edge of the log."""
        return recompute(self._db, self.head().size)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Proof that entry ``index`` is in the tree of ``size`` entries, leaf sibling first."""
        return tree.prove_inclusion(index, size, self._hashes(size))

    def inclusions(self, indexes: Iterable[int], size: int) -> dict[int, list[bytes]]:
        """As ``inclusion`` for several entries; each tile is read once."""
        get = self._hashes(size)
        return {index: tree.prove_inclusion(index, size, get) for index in indexes}

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Proof that the tree of ``new`` entries begins with the tree of ``old`` entries."""
        return tree.prove_consistency(old, new, self._hashes(new))

    def root(self, size: int) -> bytes:
        """Root of the first ``size`` entries, computed from the tiles."""
        known: dict[tuple[int, int], bytes] = {}
        return restore(size, _cached(self.tile, known, size)).head.root

    def _hashes(self, size: int) -> tree.HashReader:
        if size > self.head().size:
            raise error("NOT_FOUND", f"the log has not reached size {size}")
        return tree.hashes_in(_cached(self.tile, {}, size))


def _cached(read: tree.TileReader, known: dict[tuple[int, int], bytes], size: int) -> tree.TileReader:
    """Read each tile once, cut to its width at ``size``."""

    def tile(level: int, number: int) -> bytes:
        if (level, number) not in known:
            known[level, number] = read(level, number)[: width_at(size, level, number) * HASH_BYTES]
        return known[level, number]

    return tile
