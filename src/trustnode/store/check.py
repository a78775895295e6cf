"""Verification of a whole store, its copies, and its upkeep.

Decides: what must agree with what, and how the first difference is named. Leaves to others: what to do about it (the
operator; the node is read-only then), witnesses.

Everything below the signed head is derived again: commitments from statements, links from commitments, tiles and root
from links. Documents are compared with their digests, feeds with their chain. Columns that nothing commits to (states,
counters, settings, signatures) are only read.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from trustnode.core.document import Document, Signature
from trustnode.core.evidence import chain, tree
from trustnode.core.evidence.edges import TileEdges
from trustnode.core.evidence.entry import parse_statement
from trustnode.core.evidence.tree import HASH_BYTES, TILE_WIDTH
from trustnode.core.states import STATES
from trustnode.errors import TrustnodeError, error
from trustnode.store import connection, schema
from trustnode.store.head import HeadRecord, compare_head, read_record, write_record
from trustnode.store.log import Head, read_head, read_tile
from trustnode.store.rows import table_of
from trustnode.store.unit import FEED_START, line_digest

MAX_DIFFERENCES: Final = 100
_CHUNK: Final = 16 * TILE_WIDTH


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One place where a store does not agree with itself."""

    where: str
    """Table, and row where one can be named."""
    message: str
    index: int | None = None
    """Index in the log."""
    object: str = ""
    """Kind and id of the object concerned."""


def check_store(path: Path, *, limit: int = MAX_DIFFERENCES) -> list[Difference]:
    """Verify a store, which may be in use.

    Returns:
        The first differences, in the order of the log; empty: nothing differs.
    """
    try:
        with closing(connection.open_reader(path)) as db:
            db.execute("begin")
            return list(islice(_differences(db, path), limit))
    except sqlite3.DatabaseError as problem:
        return [Difference(where="database", message=f"it cannot be read: {problem}")]


def _differences(db: sqlite3.Connection, path: Path) -> Iterator[Difference]:
    for (line,) in db.execute("pragma integrity_check(10)").fetchall():
        if line != "ok":
            yield Difference(where="database", message=line)
    yield from _head(db, path)
    yield from _Log(db).differences()
    yield from _documents(db)
    yield from _feeds(db)
    yield from _states(db)


def _head(db: sqlite3.Connection, path: Path) -> Iterator[Difference]:
    verdict = compare_head(read_record(path), db)
    if not verdict.may_sign:
        yield Difference(where="head", message=verdict.message, index=verdict.size)


class _Log:
    """One pass over the entries, with the tree and the chains grown again beside them."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._names = {row[0]: (row[1], row[2]) for row in db.execute("select id, kind, object from chain")}
        self._objects = {id: chain.object_id(*name) for id, name in self._names.items()}
        self._ends: dict[int, chain.ChainEnd] = {}
        self._edges = TileEdges()
        self._tiles = 0

    def differences(self) -> Iterator[Difference]:
        """Everything that differs, by rising index."""
        rows = self._db.execute(
            "select e.idx, e.chain, e.seq, e.link, e.commitment, s.salt, s.body "
            "from entry e left join statement s on s.idx = e.idx order by e.idx"
        )
        expected = 0
        while chunk := rows.fetchmany(_CHUNK):
            for index, *row in chunk:
                if index != expected:
                    yield Difference(
                        where="entry", message=f"the entry is missing; the next one is {index}", index=expected
                    )
                expected = index + 1
                yield from self._entry(index, *row)
            yield from self._grow([row[3] for row in chunk])
        yield from self._right_edge()
        yield from self._ending(expected)

    def _entry(
        self, index: int, chain_id: int, seq: int, link: bytes, committed: bytes, salt: bytes | None, body: bytes | None
    ) -> Iterator[Difference]:
        name = self._names.get(chain_id)
        label = " ".join(name or ())
        if name is None:
            yield Difference(where="entry", message="the entry belongs to no chain", index=index)
            return
        before = self._ends.get(chain_id, chain.ChainEnd())
        if chain.extend(before, self._objects[chain_id], committed) != (seq, link):
            yield Difference(
                where="entry", message="the link does not follow from the chain", index=index, object=label
            )
        self._ends[chain_id] = chain.ChainEnd(seq, link)
        message = _statement_problem(committed, salt, body, name)
        if message:
            yield Difference(where="statement", message=message, index=index, object=label)

    def _grow(self, links: list[bytes]) -> Iterator[Difference]:
        growth = self._edges.grow([tree.leaf_hash(link) for link in links])
        self._edges = growth.edges
        for (level, number), data in growth.tiles.items():
            if len(data) == TILE_WIDTH * HASH_BYTES:
                yield from self._tile(level, number, data)

    def _right_edge(self) -> Iterator[Difference]:
        for level, data in enumerate(self._edges.partials):
            if data:
                yield from self._tile(level, self._edges.size >> tree.TILE_HEIGHT * (level + 1), data)
        (stored,) = self._db.execute("select count(*) from tile").fetchone()
        if stored != self._tiles:
            yield Difference(where="tile", message=f"there are {stored} tiles, {self._tiles} follow from the entries")

    def _tile(self, level: int, number: int, data: bytes) -> Iterator[Difference]:
        self._tiles += 1
        stored = read_tile(self._db, level, number)
        if stored == data:
            return
        at = next(
            (i for i in range(0, len(data), HASH_BYTES) if stored[i : i + HASH_BYTES] != data[i : i + HASH_BYTES]), 0
        )
        first = (number * TILE_WIDTH + at // HASH_BYTES) << (tree.TILE_HEIGHT * level)
        yield Difference(
            where=f"tile {level}/{number}", message="a hash is not the one derived from the entries", index=first
        )

    def _ending(self, entries: int) -> Iterator[Difference]:
        head = read_head(self._db)
        if entries != head.size:
            yield Difference(
                where="head", message=f"the head says {head.size} entries, there are {entries}", index=entries
            )
        elif self._edges.head.root != head.root:
            yield Difference(where="head", message="the root is not the one derived from the entries", index=entries)
        for id, seq, link in self._db.execute("select id, seq, link from chain"):
            if self._ends.get(id, chain.ChainEnd()) != (seq, link):
                yield Difference(
                    where="chain",
                    message="the end of the chain is not its last entry",
                    object=" ".join(self._names[id]),
                )
        (surplus,) = self._db.execute(
            "select count(*) from statement where idx not in (select idx from entry)"
        ).fetchone()
        if surplus:
            yield Difference(where="statement", message=f"{surplus} statements belong to no entry")


def _statement_problem(committed: bytes, salt: bytes | None, body: bytes | None, name: tuple[str, str]) -> str:
    if salt is None or body is None:
        return ""  # erased: only the commitment is left, by design
    try:
        if chain.commitment(salt, body) != committed:
            return "the statement is not the one committed to"
        entry = parse_statement(body)
    except TrustnodeError as problem:
        return problem.message
    return "" if (entry.object_kind, entry.object) == name else "the statement is about another object"


class _Tag(msgspec.Struct):
    type: str


def _documents(db: sqlite3.Connection) -> Iterator[Difference]:
    for digest, kind, payload, signatures in db.execute("select digest, type, payload, signatures from document"):
        message = _document_problem(Document(kind, payload), digest, signatures)
        if message:
            yield Difference(where=f"document {digest}", message=message)


def _document_problem(document: Document, digest: str, signatures: str) -> str:
    if document.digest != digest:
        return "the payload differs from its digest"
    try:
        tag = msgspec.json.decode(document.payload, type=_Tag).type
        msgspec.json.decode(signatures, type=tuple[Signature, ...])
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        return f"it cannot be read: {problem}"
    return "" if document.name == tag else f"a {tag} is kept as {document.payload_type}"


def _feeds(db: sqlite3.Connection) -> Iterator[Difference]:
    known: tuple[str, str] | None = None
    seq, digest = 0, FEED_START
    for lane, audience, number, stored, documents in db.execute(
        "select lane, audience, seq, digest, documents from feed order by lane, audience, seq"
    ):
        if known != (lane, audience):
            known, seq, digest = (lane, audience), 0, FEED_START
        digest = line_digest(digest, seq + 1, msgspec.json.decode(documents, type=list[str]))
        seq += 1
        if (number, stored) != (seq, digest):
            yield Difference(
                where=f"feed {lane} {audience}", message="the line does not follow from the one before", index=number
            )
            seq, digest = number, stored


def _states(db: sqlite3.Connection) -> Iterator[Difference]:
    for name, kind in STATES.items():
        table = table_of(kind)
        for row in db.execute(table.selected):
            try:
                state = table.read(row)
                msgspec.convert(msgspec.to_builtins(state), kind)
            except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
                yield Difference(where=name, message=f"the row cannot be read: {problem}", object=str(row[0]))
                continue
            if state.document and not _has_document(db, state.document):
                yield Difference(where=name, message="its document is not kept", object=state.id)


def _has_document(db: sqlite3.Connection, digest: str) -> bool:
    return db.execute("select 1 from document where digest = ?", (digest,)).fetchone() is not None


def backup(store: Path, target: Path) -> Head:
    """Copy a store, which may be in use, with a head record of its own beside the copy.

    Raises:
        TrustnodeError: DUPLICATE, the target exists.
    """
    if target.exists():
        raise error("DUPLICATE", f"{target.name} exists already", field="target")
    fresh = target.with_name(target.name + ".new")
    fresh.unlink(missing_ok=True)
    with (
        closing(connection.open_reader(store)) as source,
        closing(sqlite3.connect(fresh, isolation_level=None)) as copy,
    ):
        source.backup(copy)  # one snapshot: a copy in steps would begin again with every commit
        copy.execute("pragma journal_mode = delete")
        head = read_head(copy)
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    write_record(target, HeadRecord(size=head.size, root=head.root.hex(), time=head.time))
    fresh.replace(target)
    return head


def restore(copy: Path, store: Path) -> HeadRecord:
    """Put a copy where a store is expected.

    A head record that is already there and knows a longer log stays: the store is read-only then, because what it
    showed before cannot be taken back.

    Returns:
        The head record that the store will be compared with.

    Raises:
        TrustnodeError: DUPLICATE, a store is there; STORE_CORRUPT, the copy fails verification.
    """
    if store.exists():
        raise error("DUPLICATE", f"a store is there already: {store.name}", field="store")
    problems = check_store(copy, limit=1)
    if problems:
        raise error("STORE_CORRUPT", f"the copy fails verification: {problems[0].where}: {problems[0].message}")
    with closing(connection.open_reader(copy)) as db:
        head = read_head(db)
    known = read_record(store)
    shutil.copyfile(copy, store)
    if isinstance(known, HeadRecord) and known.size > head.size:
        return known
    record = HeadRecord(size=head.size, root=head.root.hex(), time=head.time)
    write_record(store, record)
    return record


def maintain(path: Path) -> None:
    """Defragment the text index and the file of a store that no node runs on.

    Raises:
        TrustnodeError: CONFIG_INVALID, a node runs on it.
    """
    with connection.lock(path), closing(connection.open_writer(path)) as db:
        library = schema.library().Database(db)
        library.table("search").optimize()
        library.analyze()
        library.vacuum()
