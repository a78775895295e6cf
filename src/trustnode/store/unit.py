"""What one durable step may do: Tx (DESIGN 3.3); what it sees is a View.

Decides: optimistic versions, immutability of documents, conditional counters, order and numbering of outbox and feed
lines, timers. Leaves to others: savepoints and commit (``batch``), rules (``app`` and ``core``).

A unit is a plain function of a Tx. It verifies nothing, parses nothing foreign, touches no file and never waits.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec

from trustnode.core import clock
from trustnode.core.carried import DIGESTED, FOLLOWING
from trustnode.core.document import MAX_INTEGER, MAX_SIGNATURES, Document, Signature
from trustnode.core.evidence.chain import ChainEnd
from trustnode.core.evidence.entry import Entry, statement
from trustnode.core.evidence.mirror import CheckedLine
from trustnode.core.evidence.tree import TreeHead
from trustnode.core.lifecycle import State
from trustnode.core.states import KINDS
from trustnode.errors import error
from trustnode.store.checkpoints import CheckpointWriter
from trustnode.store.log import Append
from trustnode.store.mirror import Mirror
from trustnode.store.rows import table_of
from trustnode.store.search import Index, SearchText
from trustnode.store.unlogged import Unlogged
from trustnode.store.view import (
    FEED_START,
    Change,
    CounterRow,
    FeedLine,
    OutboxLine,
    RefusalRecord,
    Reservation,
    Timer,
    View,
    line_digest,
)

__all__ = [
    "FEED_START",
    "Change",
    "CounterRow",
    "Effects",
    "FeedLine",
    "OutboxLine",
    "RefusalRecord",
    "Reservation",
    "Timer",
    "Tx",
    "View",
    "line_digest",
]

S = TypeVar("S", bound=State)

WINDOWS_KEPT_S: Final = 400 * 86400.0
"""How long a counter of a window is kept after it was last touched: longer than a window, or quota would come back."""
NOISED_KEPT: Final = 20_000
"""Answers with noise that are kept at most; an older question is paid for anew."""


@dataclass
class Effects:
    """What a unit touched that somebody waits for."""

    changes: list[Change] = field(default_factory=list)
    peers: set[str] = field(default_factory=set)
    feeds: set[tuple[str, str]] = field(default_factory=set)
    timers: bool = False
    erased: bool = False

    def add(self, other: Effects) -> None:
        """Take over the effects of a unit that stands."""
        self.changes += other.changes
        self.peers |= other.peers
        self.feeds |= other.feeds
        self.timers |= other.timers
        self.erased |= other.erased


class Tx(View, CheckpointWriter):
    """A snapshot that one unit may change. Nothing in it lasts unless the unit returns and its batch commits."""

    def __init__(self, db: sqlite3.Connection, now: str, node_id: str, append: Append) -> None:
        super().__init__(db, now)
        self._node_id = node_id
        self._append = append
        self._unlogged = Unlogged()
        self.effects: Final = Effects()

    def get(self, kind: type[S], id: str) -> S | None:
        """As ``View.get``."""
        found = super().get(kind, id)
        if found is not None:
            self._unlogged.seen(found)
        return found

    def finish(self) -> None:
        """End the unit.

        Raises:
            TypeError: It moved a state or a counter without an entry that says so.
        """
        self._unlogged.check()

    @property
    def mirrors(self) -> Mirror:
        """Copies of other venues' logs, which the unit may let grow."""
        return Mirror(self._db)

    def chain(self, object_kind: str, object: str) -> ChainEnd:
        """As ``View.chain``; the entries that this unit has logged are included."""
        return self._append.end(object_kind, object)

    def save(self, state: S) -> S:
        """Store an object: the version in it is the version that was read, 0 for a new one.

        The next entry of its chain in this unit carries what changed; without one the unit is refused.

        Returns:
            The object as stored, one version later.

        Raises:
            StateError: STALE_VERSION, somebody changed it in between; DUPLICATE, a unique column is taken.
        """
        table = table_of(type(state))
        before = self._before(state) if state.version else None
        stored = msgspec.structs.replace(state, version=state.version + 1, changed_at=self.now)
        values = table.write(stored)
        try:
            if state.version:
                done = self._db.execute(table.update, (*values, state.id, state.version))
            else:
                done = self._db.execute(table.insert, values)
        except sqlite3.IntegrityError as problem:
            raise error("DUPLICATE", f"{table.name} {state.id}: {problem}", object=state.id) from problem
        if done.rowcount != 1:
            raise error(
                "STALE_VERSION", f"{table.name} {state.id} is no longer at version {state.version}", object=state.id
            )
        self._unlogged.changed(before, stored)
        self.effects.changes.append(Change(table.name, stored))
        return stored

    def _before(self, state: S) -> S | None:
        """The row that ``save`` replaces, as it stands."""
        known = self._unlogged.row(KINDS[type(state)], state.id)
        return known if isinstance(known, type(state)) else self.get(type(state), state.id)

    def place(self, state: S, **columns: object) -> S:
        """Set columns that follow from where an entry stands or from a kept document; the version stays.

        Args:
            state: The object as stored.
            **columns: Columns of ``core.carried.FOLLOWING``.

        Raises:
            TypeError: Another column.
        """
        table = table_of(type(state))
        if stray := [name for name in columns if (table.name, name) not in FOLLOWING]:
            raise TypeError(f"{table.name}.{stray[0]} moves with an entry only")
        placed = msgspec.structs.replace(state, **columns)
        self._db.execute(table.place(tuple(columns)), (*columns.values(), state.id))
        self._unlogged.seen(placed)
        self.effects.changes.append(Change(table.name, placed))
        return placed

    def keep(self, document: Document) -> str:
        """Store a document for ever; signatures given later for the same payload are added.

        Hand over only signatures that were verified: room for them is bounded.

        Returns:
            Its digest.

        Raises:
            TrustnodeError: REPLAYED, the same bytes under another type; FIELD_TOO_LONG, too many signatures.
        """
        digest = document.digest
        known = self.document(digest)
        if known is None:
            self._db.execute(
                "insert into document values (?, ?, ?, ?)",
                (digest, document.payload_type, document.payload, msgspec.json.encode(document.signatures).decode()),
            )
        elif known.payload_type != document.payload_type:
            raise error("REPLAYED", f"document {digest} was kept as a {known.name}")
        else:
            self._sign(digest, known.signatures, document.signatures)
        return digest

    def _sign(self, digest: str, known: tuple[Signature, ...], given: tuple[Signature, ...]) -> None:
        added = tuple(one for one in given if one not in known)
        if not added:
            return
        if len(known) + len(added) > MAX_SIGNATURES:
            raise error("FIELD_TOO_LONG", f"document {digest} has too many signatures", field="signatures")
        self._db.execute(
            "update document set signatures = ? where digest = ?",
            (msgspec.json.encode((*known, *added)).decode(), digest),
        )

    def log(self, object_kind: str, object: str, event: str, **fields: Any) -> None:
        """Append one entry to the chain of an object; index, salt and link are given by the batch.

        Args:
            object_kind: One of ``OBJECT_KINDS``.
            object: Its id.
            event: Key of ``EVENTS``.
            **fields: Fields of ``Entry`` beyond event id, time, node, and what this unit changed since its last entry.

        Raises:
            TrustnodeError: VOCABULARY_UNKNOWN, FIELD_FORMAT, FIELD_MISSING: the record is not one.
        """
        reserved, used = self._unlogged.counts(fields.get("access_id"))
        entry = Entry(
            event_id=os.urandom(16).hex(),
            type=event,
            time=self.now,
            node_id=self._node_id,
            object_kind=object_kind,  # type: ignore[arg-type] # a closed set that Entry checks
            object=object,
            moved=self._unlogged.moved(object_kind, object, fields.get("previous_object")),
            reserved=reserved,
            used=used,
            **fields,
        )
        self._append.add(object_kind, object, statement(entry))

    def take_back(self, lines: Sequence[CheckedLine], names: Mapping[bytes, tuple[str, str]]) -> TreeHead:
        """Put lost entries back behind those that are left, at the indexes they had.

        Args:
            lines: What others kept, without a gap.
            names: O -> kind and name, of the chains that are left.

        Returns:
            Size and root that the log has with them: the caller compares both with the signed head.

        Raises:
            TrustnodeError: VERIFICATION_FAILED, a line does not follow.
        """
        told = {one.line.object: (one.entry.object_kind, one.entry.object) for one in lines if one.entry}
        for one in lines:
            of = one.line.object
            self._append.take(*(told.get(of) or names.get(of) or ("", of.hex())), one)
        return self._append.root()

    def put_back(self, state: State) -> None:
        """Store an object exactly as the log tells it; its entries are there already."""
        table = table_of(type(state))
        self._db.execute(table.replace, table.write(state))
        self._unlogged.seen(state)
        self.effects.changes.append(Change(table.name, state))

    def count_back(self, key: str, window: str, used: int, at: str) -> None:
        """Set a counter to what the log tells, never to less than it has."""
        self._db.execute(
            'insert into counter (key, "window", "used", at) values (?1, ?2, ?3, ?4) '
            'on conflict (key, "window") do update set "used" = max("used", ?3), at = max(at, ?4)',
            (key, window, used, at),
        )

    def hold_back(self, access: str, key: str, window: str, amount: int) -> None:
        """Set what an access that was open holds of a counter; what it holds is part of what is used."""
        self._db.execute("insert or replace into reservation values (?, ?, ?, ?)", (access, key, window, amount))

    def reserve(self, key: str, amount: int, limit: int, *, access: str, window: str = "") -> bool:
        """Take ``amount`` of a counter for an access, unless the counter would pass ``limit``.

        One conditional update: no interleaving passes the limit.

        Args:
            key: Name of the counter.
            amount: How much, at least 0.
            limit: The most that may be used in the window.
            access: Who holds it until ``settle``.
            window: Name of the window that is counted alone (a day, an hour); empty: the whole time.

        Returns:
            False where nothing was taken.
        """
        if amount < 0 or limit > MAX_INTEGER:
            raise error("FIELD_FORMAT", "a reservation is not negative and its limit is bounded", field="amount")
        taken = self._db.execute(
            'insert into counter (key, "window", "used", at) select ?1, ?2, ?3, ?5 where ?3 <= ?4 '
            'on conflict (key, "window") do update set "used" = "used" + ?3, at = ?5 where "used" + ?3 <= ?4',
            (key, window, amount, limit, self.now),
        )
        if taken.rowcount != 1:
            return False
        self._db.execute(
            "insert into reservation values (?, ?, ?, ?) "
            'on conflict (access, key, "window") do update set amount = amount + excluded.amount',
            (access, key, window, amount),
        )
        self._unlogged.reserved(access, key, window, amount)
        return True

    def settle(self, access: str, used: Mapping[str, int]) -> None:
        """End the reservations of an access: what was reserved and not used is given back.

        Args:
            access: Who holds them; where it holds none, nothing happens, so that repeating is harmless.
            used: Key -> what was really used; absent: nothing. More than reserved is counted as it is.
        """
        for held in self.reservations(access):
            amount = max(0, used.get(held.key, 0))
            self._db.execute(
                'update counter set "used" = max(0, "used" - ? + ?) where key = ? and "window" = ?',
                (held.amount, amount, held.key, held.window),
            )
            self._unlogged.used(access, held.key, held.window, amount)
        self._db.execute("delete from reservation where access = ?", (access,))

    def keep_answer(self, key: str, frames: bytes, until: str) -> None:
        """Keep an answer with noise; the first one that is kept under a name stays.

        Args:
            key: What was asked, by whom, on which data.
            frames: The answer.
            until: When the window ends in which it is given again; empty: never.
        """
        digest = hashlib.sha256(frames).hexdigest()
        self._db.execute("insert or ignore into noised values (?, ?, ?, ?, ?)", (key, until, digest, frames, self.now))

    def send(self, peer: str, document: Document, *, supporting: Sequence[str] = (), object: str = "") -> None:
        """Put a document into the outbox for one peer; lines of one object are delivered in order.

        Args:
            peer: Trust domain.
            document: What is delivered; it is kept.
            supporting: Digests of kept documents that travel with it.
            object: Whose order counts.
        """
        digest = self.keep(document)
        for one in supporting:
            self._need(one)
        self._db.execute(
            "insert into outbox (peer, object, document, supporting, created_at) values (?, ?, ?, ?, ?)",
            (peer, object, digest, _as_words(supporting), self.now),
        )
        self.effects.peers.add(peer)

    def delivered(self, line_id: int) -> None:
        """Take a line out of the outbox: the peer gave its durable answer."""
        self._db.execute("delete from outbox where id = ?", (line_id,))

    def tell(
        self, lane: str, audience: str, documents: Sequence[Document], *, origin: str = "", path: Sequence[str] = ()
    ) -> int:
        """Add a line to a feed, numbered without gaps and linked to the line before.

        Args:
            lane: CONTROL or CATALOG.
            audience: ``*`` or the trust domain of one peer.
            documents: What is told; they are kept.
            origin: Trust domain of who told it first; empty: this node.
            path: Trust domains it came through.

        Returns:
            Number of the line, from 1.
        """
        digests = [self.keep(one) for one in documents]
        last, previous = self.feed_head(lane, audience)
        digest = line_digest(previous, last + 1, digests)
        self._db.execute(
            "insert into feed values (?, ?, ?, ?, ?, ?, ?)",
            (lane, audience, last + 1, digest, _as_words(digests), origin, _as_words(path)),
        )
        self.effects.feeds.add((lane, audience))
        return last + 1

    def at(self, time: str, kind: str, id: str, event: str) -> None:
        """Have ``event`` fired on an object at a time; replaces the same timer."""
        self._db.execute("insert or replace into timer values (?, ?, ?, ?)", (kind, id, event, time))
        self.effects.timers = True

    def forget_timer(self, kind: str, id: str, event: str) -> None:
        """Take a timer away: it has fired, or its reason is gone."""
        self._db.execute("delete from timer where kind = ? and id = ? and event = ?", (kind, id, event))

    def set_setting(self, name: str, value: str) -> None:
        """Store a small fact; empty takes it away."""
        if value:
            self._db.execute("insert or replace into setting values (?, ?)", (name, value))
        else:
            self._db.execute("delete from setting where name = ?", (name,))

    def index(self, id: str, text: SearchText) -> None:
        """Make an object findable by its words; replaces what was indexed under this id and moves it to the front."""
        Index(self._db).put(id, text)

    def unindex(self, id: str) -> None:
        """Make an object unfindable."""
        Index(self._db).remove(id)

    def erase(self, index: int) -> None:
        """Erase what an entry says: salt and statement go, its leaf, link and every proof stay valid.

        The caller logs ``log.erase``, so that the gap itself is evidence (evidence-log 4).
        """
        self._db.execute("delete from statement where idx = ?", (index,))
        self.effects.erased = True

    def erase_document(self, digest: str) -> None:
        """Erase a kept document.

        Raises:
            TrustnodeError: NOT_FOUND; ILLEGAL_TRANSITION, a message that waits or a feed needs it.
        """
        if self.document(digest) is None:
            raise error("NOT_FOUND", f"document {digest[:12]} is not kept", field="documents")
        needed = self._db.execute(
            "select 1 from outbox where document = ?1 or instr(supporting, ?1) "
            "union all select 1 from feed where instr(documents, ?1) limit 1",
            (digest,),
        ).fetchone()
        if needed:
            raise error(
                "ILLEGAL_TRANSITION", f"document {digest[:12]} is still told to other venues", field="documents"
            )
        self._db.execute("delete from document where digest = ?", (digest,))
        self.effects.erased = True

    def blank(self, kind: type[State], id: str, column: str) -> None:
        """Take a text of ``core.carried.DIGESTED`` out of a row whose entries were erased; the version stays.

        Raises:
            TypeError: Another column.
        """
        table = table_of(kind)
        if (table.name, column) not in DIGESTED:
            raise TypeError(f"{table.name}.{column} is not a text that stands elsewhere")
        self._db.execute(table.place((column,)), ("", id))
        self.effects.erased = True

    def forget_answers(self, before: str, *, limit: int = 1000) -> int:
        """Drop what only repetition needs: answers stored before ``before``, and counters of windows long over.

        Returns:
            Rows dropped; call again while it is ``limit`` or more.
        """
        answers = self._db.execute(
            "delete from answer where rowid in (select rowid from answer where at < ? order by rowid limit ?)",
            (before, limit),
        )
        counters = self._db.execute(
            """delete from counter where "window" <> '' and at < ?
            and not exists (select 1 from reservation r where r.key = counter.key and r."window" = counter."window")""",
            (clock.shift(self.now, -WINDOWS_KEPT_S),),
        )
        noised = self._db.execute(
            """delete from noised where (until <> '' and until < ?1)
            or key in (select key from noised order by at desc limit -1 offset ?2)""",
            (self.now, NOISED_KEPT),
        )
        return answers.rowcount + counters.rowcount + noised.rowcount


def _as_words(words: Iterable[str]) -> str:
    return msgspec.json.encode(tuple(words)).decode()
