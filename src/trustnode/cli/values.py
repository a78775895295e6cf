"""Objects, listings and explanations as commands show them.

Decides: which documents an object is read as, and the fields of ``--json``. Leaves to others: where they come from
(``session``), how they are laid out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from trustnode.core import documents as _documents  # noqa: F401 (closes the table of document types)
from trustnode.core.access import AccessRequest, Receipt, ReceiptAck
from trustnode.core.catalog import CatalogRecord, Listing, Registration
from trustnode.core.contract import Agreement, NegotiationMessage, Offer
from trustnode.core.document import Document, Statement, decode
from trustnode.core.identifier import short_name
from trustnode.core.participant import ParticipantKey
from trustnode.errors import error

if TYPE_CHECKING:
    from trustnode.wire.convert import RemoteObject

S = TypeVar("S", bound=Statement)


@dataclass(frozen=True)
class Item:
    """One object as the node holds it."""

    kind: str
    id: str
    state: str
    causes: tuple[str, ...] = ()
    version: int = 0
    changed_at: str = ""
    document: Document | None = None
    alias: str = ""
    """Private name."""
    offer_name: str = ""
    """Name of an agreement's offer, where it is known."""

    @classmethod
    def of(cls, value: RemoteObject) -> Item:
        """As it travels."""
        return cls(
            value.kind, value.id, value.state, tuple(value.causes), value.version, value.changed_at, value.document
        )

    @property
    def digest(self) -> str:
        """Digest of the document that put it where it is; empty where it is not shown."""
        return self.document.digest if self.document else ""

    def data(self) -> dict[str, Any]:
        """For programs: the document's payload is the signed text itself."""
        return {
            "kind": self.kind,
            "id": self.id,
            "state": self.state,
            "causes": list(self.causes),
            "version": self.version,
            "changed_at": self.changed_at,
            "document": json.loads(self.document.payload) if self.document else None,
            "document_sha256": self.digest,
        }

    def _as(self, kind: type[S]) -> S | None:
        name = kind.__struct_config__.tag
        return decode(self.document, kind) if self.document is not None and self.document.name == name else None

    def registration(self) -> Registration | None:
        """The registration of a product."""
        return self._as(Registration)

    def listing(self) -> Listing | None:
        """The listing document."""
        return self._as(Listing)

    def agreement(self) -> Agreement | None:
        """The agreement document."""
        return self._as(Agreement)

    def negotiation_message(self) -> NegotiationMessage | None:
        """The newest message of a negotiation."""
        return self._as(NegotiationMessage)

    def participant_key(self) -> ParticipantKey | None:
        """The key document of a participant."""
        return self._as(ParticipantKey)

    def access_request(self) -> AccessRequest | None:
        """The request of an access."""
        return self._as(AccessRequest)


class Step(NamedTuple):
    """What became of a document."""

    object: Item
    produced: tuple[Document, ...]


@dataclass(frozen=True)
class Seal:
    """How far the agreed witnesses have sealed an entry of the node's log."""

    log: str
    size: int
    sealed_at: str
    """Empty: they have not, yet."""
    witnesses: tuple[str, ...]

    @classmethod
    def of(cls, value: Mapping[str, Any] | None) -> Seal | None:
        """As it travels; None where the agreement asks for no witnesses."""
        if value is None:
            return None
        return cls(value["log"], value["size"], value["sealed_at"] or "", tuple(value["witnesses"]))

    def data(self) -> dict[str, Any]:
        """For programs."""
        return {
            "log": self.log, "size": self.size, "sealed_at": self.sealed_at, "witnesses": list(self.witnesses),
        }  # fmt: skip


class Found(NamedTuple):
    """An object with the documents that explain it."""

    object: Item
    documents: tuple[Document, ...]
    seal: Seal | None = None

    def data(self) -> dict[str, Any]:
        """For programs."""
        documents = [
            {"payload_type": d.payload_type, "digest": d.digest, "payload": json.loads(d.payload)}
            for d in self.documents
        ]
        return {**self.object.data(), "documents": documents}

    def provider(self) -> str:
        """Name of the provider of a product."""
        registration = self.object.registration()
        return registration.provider.rpartition("/")[2] if registration else ""

    def registrations(self) -> Iterator[Registration]:
        """The registrations among the documents."""
        for document in self.documents:
            if document.name == "registration":
                yield decode(document, Registration)


class Waiting(NamedTuple):
    """A negotiation in which somebody else has to move."""

    id: str
    short: str
    state: str
    waits_for: str


class Page(NamedTuple):
    """One page of a list."""

    items: list[Item]
    next_page_token: str


class Resolved(NamedTuple):
    """What an identifier stands for."""

    kind: str
    identifier: str
    handle: str


class Column(NamedTuple):
    """One column as an offer delivers it."""

    name: str
    type: str
    unit: str
    mask: str
    description: str
    use: str = ""


class ListedOffer(NamedTuple):
    """One offer of a listing."""

    offer: Offer
    columns: tuple[Column, ...] = ()


@dataclass(frozen=True)
class Listed:
    """One listing as this node knows it."""

    product: str
    registration: Registration
    offers: tuple[ListedOffer, ...]
    origin: str
    path: tuple[str, ...]
    as_of: str
    verification: str
    state: str


class Silent(NamedTuple):
    """A venue whose listings may be missing."""

    venue: str
    since: str


class Hits(NamedTuple):
    """One page of a search."""

    hits: list[Listed]
    next_page_token: str
    not_asked: list[Silent]
    answered_at: str


class Counter(NamedTuple):
    """One counter of an agreement."""

    text: str
    used: int
    reserved: int
    limit: int
    unit: str = ""
    window_ends_at: str | None = None


@dataclass(frozen=True)
class Explanation:
    """What a query would deliver, and why."""

    allowed: bool
    reason: str
    message: str
    next_step: str
    columns: tuple[Column, ...]
    columns_total: int
    rows_estimate: int | None
    rows_total: int | None
    price: str
    price_fen: int | None
    counters: tuple[Counter, ...]
    terms: tuple[Mapping[str, Any], ...] = ()

    def data(self) -> dict[str, Any]:
        """For programs."""
        return {
            "allowed": self.allowed,
            "columns": [column._asdict() for column in self.columns],
            "columns_total": self.columns_total,
            "rows_estimate": self.rows_estimate,
            "rows_total": self.rows_total,
            "price": self.price,
            "price_fen": self.price_fen,
            "counters": [counter._asdict() for counter in self.counters],
            "terms": [dict(term) for term in self.terms],
        }


@dataclass(frozen=True)
class Delivery:
    """What one access delivered: its receipt, and who has signed for it."""

    access: str
    outcome: str
    cause: str
    rows: int
    bytes: int
    cost_fen: int
    started: str
    ended: str
    signed_by: tuple[str, ...]
    digest: str
    seal: Seal | None = None
    shares: tuple[tuple[str, int], ...] = ()
    """Agreements it was read under, the first one first, and what it cost under each, in fen."""

    @classmethod
    def of(
        cls, receipt: Document, acks: Sequence[Document], seal: Seal | None = None, *, agreement: str = ""
    ) -> Delivery:
        """As it travels: only acknowledgements that agree count as signatures.

        Args:
            receipt: As it was signed.
            acks: Of the carrier and the participant.
            seal: Of its entry.
            agreement: Under which the cost is counted; empty: under all together.
        """
        value = decode(receipt, Receipt)
        share = value.under(agreement)
        agreed = [ack.iss for document in acks for ack in (decode(document, ReceiptAck),) if _agrees(ack, value.access)]
        return cls(
            access=value.access,
            outcome=value.outcome,
            cause=value.cause,
            rows=value.rows,
            bytes=value.bytes,
            cost_fen=share.cost_fen if share else value.total_fen,
            shares=tuple((one.agreement, one.cost_fen) for one in value.shares),
            started=value.started,
            ended=value.ended,
            signed_by=tuple(dict.fromkeys((value.iss, *agreed))),
            digest=receipt.digest,
            seal=seal,
        )

    @property
    def name(self) -> str:
        """Short name."""
        return short_name(self.access)

    def data(self) -> dict[str, Any]:
        """For programs."""
        return {
            "access": self.access,
            "outcome": self.outcome,
            "cause": self.cause,
            "rows": self.rows,
            "bytes": self.bytes,
            "cost_fen": self.cost_fen,
            "agreements": [{"agreement": id, "cost_fen": fen} for id, fen in self.shares],
            "started": self.started,
            "ended": self.ended,
            "signed_by": list(self.signed_by),
            "receipt_sha256": self.digest,
            "seal": self.seal.data() if self.seal else None,
        }


@dataclass(frozen=True)
class Outcome:
    """What a read gave."""

    rows: int
    columns: tuple[str, ...]
    table: Any
    """``pyarrow.Table``; None where it went into a file."""
    receipt: Delivery
    """Of the last access."""
    rows_before: int = 0
    """Rows that an earlier command had, which this one went on behind."""

    def first_rows(self, count: int) -> list[tuple[Any, ...]]:
        """The first rows as Python values."""
        kept = self.table.slice(0, count).to_pydict().values() if self.table is not None else ()
        return list(zip(*kept, strict=True))

    def data(self) -> dict[str, Any]:
        """For programs."""
        return {"rows": self.rows, "columns": list(self.columns), "receipt": self.receipt.data()}


def _agrees(ack: ReceiptAck, access: str) -> bool:
    return any(item.access == access and item.verdict == "EQUAL" for item in ack.items)


def columns_of(values: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    """Columns as they travel."""
    return tuple(Column(*(str(value.get(name) or "") for name in Column._fields)) for value in values)


def explanation_of(value: Mapping[str, Any]) -> Explanation:
    """An explanation as it travels."""
    counters = tuple(Counter(**{name: c[name] for name in Counter._fields if name in c}) for c in value["counters"])
    names = (
        "allowed",
        "reason",
        "message",
        "next_step",
        "columns_total",
        "rows_estimate",
        "rows_total",
        "price",
        "price_fen",
    )
    return Explanation(
        **{name: value[name] for name in names},
        columns=columns_of(value["columns"]),
        counters=counters,
        terms=tuple(value["terms"]),
    )


def listed_of(value: Mapping[str, Any], described: Sequence[Mapping[str, Any]] = ()) -> Listed:
    """A listing as it travels.

    Raises:
        TrustnodeError: NOT_FOUND when its registration did not come along.
    """
    supporting: Sequence[Document] = value["supporting"]
    registration = next((decode(d, Registration) for d in supporting if d.name == "registration"), None)
    if registration is None:
        raise error("NOT_FOUND", f"the registration of {value['product']} did not come along")
    named = {d["offer"].digest: columns_of(d["columns"]) for d in described if d["offer"] is not None}
    documents = [d["offer"] for d in described if d["offer"] is not None] or [
        d for d in supporting if d.name == "offer"
    ]
    record = decode(value["record"], CatalogRecord) if value["record"] is not None else None
    if record is not None:
        order = {digest: number for number, digest in enumerate(record.offers)}
        documents = sorted((d for d in documents if d.digest in order), key=lambda d: order[d.digest])
    return Listed(
        product=value["product"],
        registration=registration,
        offers=tuple(ListedOffer(decode(d, Offer), named.get(d.digest, ())) for d in documents),
        origin=value["origin"],
        path=tuple(value["path"]),
        as_of=value["as_of"] or "",
        verification=value["verification"],
        state=value["state"],
    )
