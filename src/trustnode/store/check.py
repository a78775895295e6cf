"""Verification of a whole store, its copies, and its upkeep.

Decides: what must agree with what, in which order and at which pace, and what nothing commits to. Leaves to others:
what to do about a difference (the operator; the node is read-only then), witnesses.

Everything below the signed head is derived again: commitments from statements, links from commitments, tiles and root
from links (``retrace``), states and counters from statements (``told``). Documents are compared with their digests,
feeds with their chain, heads that were signed with the tiles.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Final, Literal

import msgspec

from trustnode.core.document import Document, Signature
from trustnode.core.evidence.tree import TILE_WIDTH
from trustnode.core.replay import Replay
from trustnode.errors import TrustnodeError, error
from trustnode.store import connection, noted, schema, signed, told
from trustnode.store.difference import Difference
from trustnode.store.head import HeadRecord, compare_head, read_record, record_path, write_record
from trustnode.store.log import Head, read_head
from trustnode.store.retrace import Retrace
from trustnode.store.shelf import Shelf
from trustnode.store.unit import FEED_START, View, line_digest

MAX_DIFFERENCES: Final = 100
LANES: Final = ("CONTROL", "CATALOG")
CHUNK: Final = 16 * TILE_WIDTH

UNCOMMITTED: Final[Mapping[str, str]] = {
    "head.batch": "random name of the newest batch; tells after a failed commit whether it was stored",
    "head.time": "instant of the newest batch; entries carry their own times",
    "document.signatures": "each is verified where the document is used; whoever hands it in may hang more on it",
    "feed.audience": "whom a line is told; a peer that misses it sees the gap in its numbers",
    "feed.origin": "who told a line first; the documents themselves are signed",
    "feed.path": "the way a line came; the documents themselves are signed",
    "answer": "what a repeated document is answered; the objects themselves refuse to move twice",
    "noised": "answers given again; each delivery commits to its frames, and a lost one is only paid for anew",
    "outbox": "what waits for delivery; the peer repeats what it misses, its own log shows what it has",
    "timer": "when a guard is asked again; the guards look at times that states hold",
    "setting": "positions in feeds of others, cards not yet confirmed, the deny list as participants have it; what "
    "documents tell of revoked keys, refused certificates and operators is compared (``noted``)",
    "search": "an index over registrations, made again from them",
    "search_viewer": "part of the search index",
    "search_fts": "part of the search index",
    "checkpoint.time": "when a head was signed; the note does not say",
    "witnessed.time": "when we cosigned; the cosignature says it too",
    "fork": "kept as it was shown; convinces by its own signatures or not at all",
    "mirror_head": "a copy of another log; compared with what that log signed when it is given back",
    "mirror_entry": "a copy of another log; compared with what that log signed when it is given back",
    "mirror_document": "a copy of another log; compared with what that log signed when it is given back",
}
"""Tables and columns that nothing in the log commits to, with the reason why nothing needs to.

Closed: a test compares it with the tables. Beside it stands ``core.carried.LOCAL``."""


class _Walk:
    """One check of a store."""

    def __init__(self, path: Path | None, pace: Callable[[], None], chunk: int) -> None:
        self._path, self._pace, self._chunk = path, pace, chunk
        self._last_document = 0

    def differences(self, db: sqlite3.Connection, shelf: Shelf) -> Iterator[Difference]:
        """Everything that differs; what was erased is no difference."""
        record = (
            read_record(self._path) if self._path is not None else None
        )  # before the snapshot: a node that runs may show a longer log meanwhile
        with _snapshot(db):
            yield from _integrity(db)
            if record is not None:
                yield from _head(db, record)
        replay = Replay(shelf)
        log = Retrace(replay)
        more = True
        while more:
            with _snapshot(db):
                before = log.expected
                yield from log.chunk(db, self._chunk)
                more = log.expected - before >= self._chunk
            self._pace()
        more = True
        while more:
            with _snapshot(db):
                before = self._last_document
                yield from self._documents(db, replay)
                more = self._last_document > before
            self._pace()
        with _snapshot(db):
            while (before := log.expected) < read_head(db).size:
                yield from log.chunk(db, self._chunk)
                if log.expected == before:
                    break
            yield from log.end(db)
            while (before := self._last_document) >= 0:
                yield from self._documents(db, replay)
                if self._last_document == before:
                    break
            yield from _feeds(db)
            yield from signed.differences(db)
            yield from told.differences(db, replay)
            yield from noted.differences(db)

    def _documents(self, db: sqlite3.Connection, replay: Replay) -> Iterator[Difference]:
        rows = db.execute(
            "select rowid, digest, type, payload, signatures from document where rowid > ? order by rowid limit ?",
            (self._last_document, self._chunk),
        ).fetchall()
        for rowid, digest, kind, payload, signatures in rows:
            self._last_document = rowid
            document = Document(kind, payload)
            message = _document_problem(document, digest, signatures)
            if message:
                yield Difference(where=f"document {digest}", message=message)
            else:
                replay.add_document(document)


def check_store(
    path: Path,
    *,
    limit: int = MAX_DIFFERENCES,
    pace: Callable[[], None] = lambda: None,
    chunk: int = CHUNK,
    has_record: bool = True,
) -> list[Difference]:
    """Verify a store, which may be in use.

    Args:
        path: Its file.
        limit: Differences at most.
        pace: Called between two chunks, with no snapshot held; it may wait.
        chunk: Entries, or documents, read at a time.
        has_record: Whether a head record stands beside it; a copy that was carried about may have none.

    Returns:
        The first differences, in the order of the log; empty: nothing differs.
    """
    try:
        with closing(connection.open_reader(path)) as db, closing(Shelf()) as shelf:
            return list(islice(_Walk(path if has_record else None, pace, chunk).differences(db, shelf), limit))
    except sqlite3.DatabaseError as problem:
        return [Difference(where="database", message=f"it cannot be read: {problem}")]


def corrupt(problems: list[Difference]) -> TrustnodeError:
    """The error that names the first difference."""
    more = f"; and {len(problems) - 1} more" if len(problems) > 1 else ""
    return error("STORE_CORRUPT", f"{problems[0]}{more}", differences=str(len(problems)))


@contextmanager
def _snapshot(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("begin")
    try:
        yield
    finally:
        db.execute("rollback")


def _integrity(db: sqlite3.Connection) -> Iterator[Difference]:
    for (line,) in db.execute("pragma integrity_check(10)").fetchall():
        if line != "ok":
            yield Difference(where="database", message=line)


def _head(db: sqlite3.Connection, record: HeadRecord | Literal["MISSING", "UNREADABLE"]) -> Iterator[Difference]:
    verdict = compare_head(record, db)
    if not verdict.may_sign:
        yield Difference(where="head", message=verdict.message, index=verdict.size)


class _Tag(msgspec.Struct):
    type: str


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
        digest = line_digest(digest, seq + 1, _digests(documents))
        seq += 1
        if (number, stored) != (seq, digest) or lane not in LANES:
            message = "the line does not follow from the one before"
            yield Difference(where=f"feed {lane} {audience}", message=message, object=f"line {number}")
            seq, digest = number, stored


def _digests(documents: str) -> list[str]:
    try:
        return msgspec.json.decode(documents, type=list[str])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return []


@contextmanager
def reading(path: Path) -> Iterator[View]:
    """A store, or a copy of one, to read in; nothing of it is verified.

    Raises:
        TrustnodeError: STORE_CORRUPT, it cannot be read.
    """
    try:
        with closing(connection.open_reader(path)) as db, _snapshot(db):
            yield View(db, read_head(db).time)
    except sqlite3.DatabaseError as problem:
        raise connection.as_refusal(problem) from problem


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
    problems = check_store(copy, limit=1, has_record=record_path(copy).exists())
    if problems:
        raise error("STORE_CORRUPT", f"the copy fails verification: {problems[0]}")
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
