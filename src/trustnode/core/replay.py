"""States and counters, told again from entries and kept documents alone (lifecycles 1, L11; protocol 6.9).

Decides: what a log says each object is now, what each counter has used up, and which objects it can no longer tell of,
because an entry was erased or is older than this program's way of writing them. Leaves to others: reading a log and
comparing (``store``). What is told goes into a mapping that the caller gives: a dict, or one that spills to a disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Final, NamedTuple

import msgspec

from trustnode.core.access import AckItem, ReceiptAck
from trustnode.core.carried import DIGESTED, empty_columns, text_digest
from trustnode.core.catalog import CatalogRecord, Registration
from trustnode.core.document import Document
from trustnode.core.evidence.entry import Entry
from trustnode.core.evidence.moved import Moved, Value
from trustnode.core.lifecycle import State
from trustnode.core.states import STATES


class Place(NamedTuple):
    """Where an entry stands."""

    at: int
    """Index in the log."""
    kind: str
    """Kind of the object of its chain."""
    object: str
    seq: int
    link: bytes


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One object as its entries tell it."""

    version: int
    changed_at: str
    columns: dict[str, Value]
    """Without those that are empty; text of ``carried.DIGESTED`` as its digest."""
    chain: tuple[str, str]
    """Chain of the newest entry that moved it."""
    index: int
    """That entry."""
    sources: tuple[str, ...] = ()
    """Documents of the entry in which text last changed; one of them has the text."""
    whole: bool = True
    """Whether every step since its creation is told."""


class Used(NamedTuple):
    """A counter as entries tell it."""

    amount: int
    at: str
    """When something was last taken of it."""


Rows = MutableMapping[tuple[str, str], Told]
"""(kind, id) -> what is told of it."""
ERASED_ENTRY: Final = "entry"
ERASED_STEP: Final = "step"
"""Units of ``log.erase``: an entry that moved nothing, and one that told of a state or counter."""
_NO_ACK: Final = (0, 0, 0)


class Replay:
    """A log, read from its beginning.

    Attributes:
        rows: Every object that an entry moved.
        counters: (key, window) -> what is used; what an open access holds counts in full.
        held: Access -> (key, window) -> what it holds until it is settled.
        gone: Index -> chain and number of each entry that was erased.
        reported: Index -> whether the entry had told of a state or counter, for each that a ``log.erase`` names.
        older: Chains with entries from before entries told what they moved.
    """

    def __init__(self, rows: Rows | None = None) -> None:
        self.rows: Rows = {} if rows is None else rows
        self.counters: dict[tuple[str, str], Used] = {}
        self.held: dict[str, dict[tuple[str, str], int]] = {}
        self.gone: dict[int, Place] = {}
        self.reported: dict[int, bool] = {}
        self.older: set[tuple[str, str]] = set()
        self._run = ("", 0)
        """Time and first index of the latest entries of one instant."""
        self._acks: dict[tuple[str, str], tuple[int, int, int]] = {}

    def add(self, place: Place, entry: Entry | None) -> None:
        """Take in the next entry; None: it was erased."""
        if entry is None:
            self.gone[place.at] = place
            self._run = ("", 0)
            return
        if entry.time != self._run[0]:
            self._run = (entry.time, place.at)
        self._report(entry)
        if not entry.moved and (entry.to_state is not None or entry.type == "access.decide"):
            self.older.add((place.kind, place.object))
        for moved in entry.moved:
            self._move(place, entry, moved)
        if entry.access_id is not None:
            self._count(entry, entry.access_id)

    def add_document(self, document: Document) -> None:
        """Take in a kept document: windowed acknowledgements tell an access how far the other side got."""
        if document.name != "receipt-ack":
            return
        ack = msgspec.json.decode(document.payload, type=ReceiptAck)
        for item in ack.items:
            if not item.final:
                key = (item.access, ack.iss)
                self._acks[key] = _larger(self._acks.get(key, _NO_ACK), item)

    @property
    def erased(self) -> frozenset[tuple[str, str]]:
        """Chains of which an entry was erased that had told of a state or counter."""
        return frozenset((one.kind, one.object) for at, one in self.gone.items() if self.reported.get(at))

    @property
    def unreported(self) -> tuple[Place, ...]:
        """Entries whose statement is gone though nobody erased it."""
        return tuple(one for at, one in sorted(self.gone.items()) if at not in self.reported)

    def unprovable(self, kind: str, id: str, chain: tuple[str, str]) -> str:
        """Why a log may be silent about an object: ``erased``, ``older``; empty: it may not.

        Args:
            kind: Kind of state.
            id: Its id.
            chain: Where its entries stand.
        """
        told = self.rows.get((kind, id))
        chains = {chain, told.chain} if told else {chain}
        if chains & self.erased:
            return "erased"
        return "older" if chains & self.older else ""

    def row(self, kind: str, id: str) -> dict[str, Any] | None:
        """Every column of an object as told, those included that follow; None where nothing is told of it."""
        told = self.rows.get((kind, id))
        if told is None:
            return None
        row = {**empty_columns(kind), **told.columns, "id": id, "version": told.version, "changed_at": told.changed_at}
        if kind == "access":
            sides = (row["consumer_node"], row["consumer"])
            acked = (self._acks.get((id, side), _NO_ACK) for side in sides)
            row["acked_frames"], row["acked_rows"], row["acked_bytes"] = map(max, zip(*acked, strict=True))
        return row

    def states(self, documents: Callable[[str], Document | None]) -> Iterator[State]:
        """Every object that is told whole, as its state.

        Args:
            documents: Finds a kept document by its digest; text that no entry carries is taken from there.
        """
        for (kind, id), told in self.rows.items():
            row = self.row(kind, id)
            if row is not None and told.whole:
                texts = {column: _text(row[column], told, documents) for name, column in DIGESTED if name == kind}
                yield STATES[kind](**row | texts)

    def _report(self, entry: Entry) -> None:
        """An erased entry is named by one of its own; those whose statement a recovery did not find, by its number."""
        if entry.type == "log.erase" and entry.amount is not None:
            self.reported[entry.amount] = entry.unit == ERASED_STEP
        if entry.type == "log.recover" and entry.amount:
            first = self._run[1]  # the unit of a recovery may log more than its own entry
            self.reported |= {at: True for at in self.gone if first - entry.amount <= at < first}

    def _move(self, place: Place, entry: Entry, moved: Moved) -> None:
        before = self.rows.get((moved.kind, moved.id)) if moved.since else None
        follows = not moved.since or (before is not None and before.version == moved.since)
        columns = {**(before.columns if before else {}), **moved.columns}
        if entry.type == "access.decide" and (moved.kind, moved.id) == ("access", entry.access_id):
            columns |= {"decision_seq": place.seq, "decision_link": place.link.hex()}
        speaks = any((moved.kind, column) in DIGESTED for column in moved.columns)
        self.rows[moved.kind, moved.id] = Told(
            version=moved.version,
            changed_at=entry.time,
            columns=columns,
            chain=(place.kind, place.object),
            index=place.at,
            sources=entry.documents if speaks else (before.sources if before else ()),
            whole=follows and (before is None or before.whole),
        )

    def _count(self, entry: Entry, access: str) -> None:
        for one in entry.reserved:
            key = (one.key, one.window)
            used = self.counters.get(key, Used(0, ""))
            self.counters[key] = Used(used.amount + one.amount, entry.time)
            held = self.held.setdefault(access, {})
            held[key] = held.get(key, 0) + one.amount
        if entry.used:
            held = self.held.pop(access, {})
            for one in entry.used:
                key = (one.key, one.window)
                used = self.counters.get(key, Used(0, ""))
                self.counters[key] = used._replace(amount=max(0, used.amount - held.get(key, 0) + one.amount))


def replay(entries: Iterable[tuple[Place, Entry | None]], documents: Iterable[Document]) -> Replay:
    """Read a whole log and the documents that are kept beside it."""
    told = Replay()
    for place, entry in entries:
        told.add(place, entry)
    for document in documents:
        told.add_document(document)
    return told


def carried_alike(kind: str, told: Mapping[str, Any], state: State) -> str:
    """The first column in which a state differs from what is told of it; empty: none does."""
    for column in STATES[kind].__struct_fields__:
        value = getattr(state, column)
        if (kind, column) in DIGESTED and value:
            value = text_digest(value)
        if told[column] != value:
            return column
    return ""


def mirrored(record: CatalogRecord, registration: Registration) -> dict[str, Any]:
    """Columns of a mirror of the catalogue that follow from its two documents."""
    return {
        "state": record.state,
        "product": record.product,
        "origin": record.iss,
        "registration": record.registration_sha256,
        "offers": record.offers,
        "visibility": record.visibility,
        "level": registration.level,
        "category": registration.category,
    }


class _Titled(msgspec.Struct):
    title: str = ""


def _text(wanted: str, told: Told, documents: Callable[[str], Document | None]) -> str:
    """The text behind a digest; the digest itself where no document that is still kept has it."""
    for digest in told.sources if wanted else ():
        document = documents(digest)
        text = msgspec.json.decode(document.payload, type=_Titled).title if document else ""
        if text_digest(text) == wanted:
            return text
    return wanted


def _larger(known: tuple[int, int, int], item: AckItem) -> tuple[int, int, int]:
    return max(known[0], item.frames), max(known[1], item.rows), max(known[2], item.bytes)
