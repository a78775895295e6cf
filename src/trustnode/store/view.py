"""One snapshot of the store, and what stands in it besides states and the log.

Decides: how objects, documents, feeds, counters, timers and settings are looked up. Leaves to others: changing them
(``unit``), the log itself (``log``), the text index (``search``).
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from trustnode.core.document import Document, Signature
from trustnode.core.evidence.chain import ChainEnd
from trustnode.core.lifecycle import State
from trustnode.errors import error
from trustnode.store.checkpoints import CheckpointReader
from trustnode.store.log import LogView
from trustnode.store.mirror import MirrorView
from trustnode.store.rows import Begins, Filter, table_of
from trustnode.store.search import Found, Index, Query

S = TypeVar("S", bound=State)

LAST_CHARACTER: Final = "\U0010ffff"
FEED_START: Final = bytes(32).hex()
"""Digest before the first line of a feed."""


class Change(NamedTuple):
    """One object as a committed batch left it."""

    kind: str
    """Name of its table."""
    state: State


class FeedLine(NamedTuple):
    """One numbered line of a feed."""

    seq: int
    digest: str
    """Of this line and all before it (``line_digest``)."""
    documents: tuple[Document, ...]
    origin: str
    path: tuple[str, ...]


class OutboxLine(NamedTuple):
    """A document that waits for one peer's durable answer."""

    id: int
    peer: str
    object: str
    document: Document
    supporting: tuple[Document, ...]
    created_at: str


class Timer(NamedTuple):
    """An event that is due at a time."""

    time: str
    kind: str
    id: str
    event: str


class CounterRow(NamedTuple):
    """What is used up; open reservations count in full."""

    key: str
    window: str
    used: int


class Reservation(NamedTuple):
    """What one access holds of a counter until it is settled."""

    access: str
    key: str
    window: str
    amount: int


class RefusalRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The entry of a refusal, carried by ``TrustnodeError.record``.

    Refusals of one caller for one reason are aggregated a minute: the first is logged as it is, the others are counted.
    """

    object_kind: str
    object: str
    event: str
    """``lifecycle.refuse`` or ``access.deny``."""
    caller: str = ""
    """Who was refused; empty: the ``actor`` of the fields."""
    fields: Mapping[str, Any] = {}
    times: int = 1
    """How many refusals this stands for, where they were counted before."""


def line_digest(previous: str, seq: int, digests: Iterable[str]) -> str:
    """Digest of a feed line and of all before it.

    SHA-256 over lines: ``trustnode feed v1``, the digest before, the number, the digest of each document.
    """
    return hashlib.sha256("\n".join(("trustnode feed v1", previous, str(seq), *digests)).encode()).hexdigest()


class View(CheckpointReader):
    """One snapshot of the store."""

    def __init__(self, db: sqlite3.Connection, now: str) -> None:
        self._db = db
        self.now: Final = now
        """One instant for the whole unit or query, canonical text."""

    @property
    def evidence(self) -> LogView:
        """The committed log, its tiles and proofs."""
        return LogView(self._db)

    @property
    def mirrors(self) -> MirrorView:
        """Copies of other venues' logs."""
        return MirrorView(self._db)

    def get(self, kind: type[S], id: str) -> S | None:
        """The object with this id."""
        table = table_of(kind)
        row = self._db.execute(table.get, (id,)).fetchone()
        return table.read(row) if row else None

    def find(
        self, kind: type[S], *, limit: int = 1000, order: str = "id", after: str | tuple[str, str] = "", **where: object
    ) -> list[S]:
        """Objects whose columns equal the values given; a tuple or list means one of them.

        Args:
            kind: State class.
            limit: Rows at most.
            order: Column to sort by; ``-`` before it: largest first. Ties are broken by id.
            after: Id of the last row of the page before, as it stands now; or its value of ``order`` and its id, as
                they stood then, for pages that stay in order while rows change.
            **where: Column and value; ``Begins`` for text that begins so.
        """
        table = table_of(kind)
        values = _bound(where)
        by_value = isinstance(after, tuple)
        keyset = after if isinstance(after, tuple) else ((after, after) if after else ())
        sql = table.find(_shape(where), order, after=bool(after), by_value=by_value)
        rows = self._db.execute(sql, (*values, *keyset, limit))
        return [table.read(row) for row in rows]

    def count(self, kind: type[S], **where: object) -> int:
        """How many objects ``find`` would list without a limit."""
        sql = table_of(kind).count(_shape(where))
        (found,) = self._db.execute(sql, _bound(where)).fetchone()
        return int(found)

    def total(self, kind: type[State], column: str, **where: object) -> int:
        """Sum of a number column over the objects that ``find`` would list without a limit."""
        sql = table_of(kind).total(column, _shape(where))
        (found,) = self._db.execute(sql, _bound(where)).fetchone()
        return int(found)

    def document(self, digest: str) -> Document | None:
        """The document whose payload has this digest, with every signature we were given."""
        row = self._db.execute("select type, payload, signatures from document where digest = ?", (digest,)).fetchone()
        return Document(row[0], row[1], _signatures.decode(row[2])) if row else None

    def chain(self, object_kind: str, object: str) -> ChainEnd:
        """Number and link (E) of an object's newest entry; (0, 32 zero bytes) before the first."""
        return self.evidence.end(object_kind, object)

    def feed(self, lane: str, audience: str, after: int, limit: int) -> list[FeedLine]:
        """Lines of a feed behind number ``after``."""
        rows = self._db.execute(
            "select seq, digest, documents, origin, path from feed where lane = ? and audience = ? and seq > ? "
            "order by seq limit ?",
            (lane, audience, after, limit),
        ).fetchall()
        return [
            FeedLine(seq, digest, self._kept(documents), origin, _words.decode(path))
            for seq, digest, documents, origin, path in rows
        ]

    def feed_head(self, lane: str, audience: str) -> tuple[int, str]:
        """Number and digest of the newest line; (0, FEED_START) before the first."""
        row = self._db.execute(
            "select seq, digest from feed where lane = ? and audience = ? order by seq desc limit 1", (lane, audience)
        ).fetchone()
        return (row[0], row[1]) if row else (0, FEED_START)

    def counter(self, key: str, window: str = "") -> CounterRow | None:
        """What is used of a counter in one window; None where nothing ever was."""
        row = self._db.execute('select "used" from counter where key = ? and "window" = ?', (key, window)).fetchone()
        return CounterRow(key, window, row[0]) if row else None

    def noised_answer(self, key: str) -> bytes | None:
        """An answer with noise that was given before, as it was kept; None where there is none.

        Raises:
            TrustnodeError: STORE_CORRUPT, it is not what was kept.
        """
        row = self._db.execute("select frames, digest from noised where key = ?", (key,)).fetchone()
        if row is None:
            return None
        if hashlib.sha256(row[0]).hexdigest() != row[1]:
            raise error("STORE_CORRUPT", "a kept answer is not what was kept")
        return bytes(row[0])

    def reservations(self, access: str = "", *, limit: int = 10_000) -> list[Reservation]:
        """Open reservations, of one access or of all."""
        where, values = ("where access = ?", [access]) if access else ("", [])
        rows = self._db.execute(
            f'select access, key, "window", amount from reservation {where} order by access, key limit ?',
            (*values, limit),
        )
        return [Reservation(*row) for row in rows]

    def setting(self, name: str) -> str:
        """A small fact that is no object (a feed position, the id of the own card); empty where it is not known."""
        row = self._db.execute("select value from setting where name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def settings(self, prefix: str) -> dict[str, str]:
        """All small facts whose name begins with ``prefix``."""
        rows = self._db.execute("select name, value from setting where substr(name, 1, ?) = ?", (len(prefix), prefix))
        return dict(rows.fetchall())

    def outbox_peers(self) -> list[str]:
        """Peers for whom something waits."""
        return [row[0] for row in self._db.execute("select distinct peer from outbox order by peer")]

    def outbox(self, peer: str, *, object: str = "", limit: int = 256) -> list[OutboxLine]:
        """The oldest waiting line of each object for a peer, or of one object: those that may be delivered now."""
        only, values = ("and object = ?", (object,)) if object else ("", ())
        rows = self._db.execute(
            "select id, peer, object, document, supporting, created_at from outbox "
            f"where id in (select min(id) from outbox where peer = ? {only} group by object) order by id limit ?",
            (peer, *values, limit),
        ).fetchall()
        return [
            OutboxLine(id, to, object, self._need(digest), self._kept(supporting), created_at)
            for id, to, object, digest, supporting, created_at in rows
        ]

    def timers(self, now: str, *, limit: int = 256) -> list[Timer]:
        """Timers due at ``now``, the oldest first."""
        rows = self._db.execute(
            "select time, kind, id, event from timer where time <= ? order by time, kind, id limit ?", (now, limit)
        )
        return [Timer(*row) for row in rows]

    def next_timer(self) -> str:
        """When the next timer is due; empty where there is none."""
        row = self._db.execute("select min(time) from timer").fetchone()
        return row[0] or ""

    def search(self, query: Query) -> Found:
        """Indexed texts that match, the newest first (``store.search``)."""
        return Index(self._db).search(query)

    def _kept(self, digests: str) -> tuple[Document, ...]:
        return tuple(self._need(digest) for digest in _words.decode(digests))

    def _need(self, digest: str) -> Document:
        found = self.document(digest)
        if found is None:
            raise error("STORE_CORRUPT", f"document {digest} is referred to and not stored")
        return found


_signatures = msgspec.json.Decoder(tuple[Signature, ...])
_words = msgspec.json.Decoder(tuple[str, ...])


def _shape(where: Mapping[str, object]) -> tuple[tuple[str, Filter], ...]:
    """Columns of a condition, and how each is compared."""
    return tuple((column, _filter(value)) for column, value in where.items())


def _filter(value: object) -> Filter:
    if isinstance(value, Begins):
        return "begins"
    return "one of" if isinstance(value, tuple | list) else "is"


def _bound(where: Mapping[str, object]) -> list[object]:
    """The values of a condition as they are bound, in order."""
    found: list[object] = []
    for value in where.values():
        if isinstance(value, Begins):
            found += [value.text, value.text + LAST_CHARACTER]
        else:
            found.append(msgspec.json.encode(value).decode() if isinstance(value, tuple | list) else value)
    return found
