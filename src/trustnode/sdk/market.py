"""What is on sale: hits of a search, and a product with its offers.

Decides: what a hit and an offer show. Leaves to others: searching (the node's index), asking for an agreement
(``negotiation``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from trustnode.core import documents as _documents  # noqa: F401 (closes the table of document types)
from trustnode.core.catalog import CatalogRecord, Registration
from trustnode.core.contract import Offer
from trustnode.core.document import Document, decode
from trustnode.core.policy.terms import Terms
from trustnode.errors import error
from trustnode.sdk.explanation import Column, Explanation, Term, explanation

if TYPE_CHECKING:
    from trustnode.sdk.agreement import Agreement
    from trustnode.sdk.client import Client
    from trustnode.sdk.negotiation import Negotiation


class SilentVenue(NamedTuple):
    """A venue whose listings may be missing, because its lane is silent."""

    venue: str
    since: str | None
    """Canonical time; None: never heard."""


class Listing:
    """One listing, where it came from, and how old that knowledge is."""

    def __init__(self, client: Client, answer: Mapping[str, Any], answered_at: str) -> None:
        self._client = client
        self._answer = answer
        self.answered_at = answered_at
        """Time of the answer by the clock of the node: ages are counted from it."""
        self.record: CatalogRecord = decode(answer["record"], CatalogRecord)
        supporting: Sequence[Document] = answer["supporting"]
        self.registration: Registration | None = next(
            (decode(document, Registration) for document in supporting if document.name == "registration"), None
        )
        self.offers: tuple[Offer, ...] = tuple(
            decode(document, Offer)
            for document in supporting
            if document.name == "offer" and document.digest in self.record.offers
        )

    def __repr__(self) -> str:
        return f"<Listing {self.product}: {self.title}>"

    @property
    def product(self) -> str:
        """Handle, ``venue/name``."""
        return str(self._answer["product"] or self.record.product)

    @property
    def title(self) -> str:
        """Title for people; the Chinese one where there is no other."""
        return self.registration.title if self.registration else self.product

    @property
    def origin(self) -> str:
        """Venue that lists."""
        return str(self._answer["origin"])

    @property
    def path(self) -> tuple[str, ...]:
        """Venues that passed the record on."""
        return tuple(self._answer["path"])

    @property
    def hops(self) -> int:
        """Venues between us and the listing; 0: our own."""
        return 0 if self.origin == self._client.connection.profile.venue else len(self.path) + 1

    @property
    def as_of(self) -> str | None:
        """Last time at which the origin was known to stand by the record, canonical time."""
        held = self._answer["as_of"]
        return str(held) if held else None

    @property
    def verification(self) -> str:
        """VERIFIED, STALE or INTRODUCED."""
        return str(self._answer["verification"])

    @property
    def state(self) -> str:
        """State of the listing, such as LISTED."""
        return str(self._answer["state"])

    async def describe(self, offer: str = "") -> Product:
        """Columns and terms of its offers."""
        return await self._client.product(self.product, offer)

    async def negotiate(
        self, *, offer: str = "", purpose: str = "", as_: str = "", wait: float | None = None
    ) -> Agreement | Negotiation:
        """Ask for an agreement; see ``Client.negotiate``."""
        return await self._client.negotiate(self.product, offer=offer, purpose=purpose, as_=as_, wait=wait)


class Hits(Sequence[Listing]):
    """What a search found."""

    def __init__(self, items: Sequence[Listing], not_asked: Sequence[SilentVenue], feeds: Mapping[str, int]) -> None:
        self._items = tuple(items)
        self.not_asked = tuple(not_asked)
        """Venues whose listings may be missing or old."""
        self.feeds = dict(feeds)
        """Venue -> number of its catalogue lane that the answer was computed from."""

    def __repr__(self) -> str:
        return f"<Hits {len(self._items)}: {', '.join(item.product for item in self._items[:5])}>"

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __iter__(self) -> Iterator[Listing]:
        return iter(self._items)


class OfferView(NamedTuple):
    """One offer, as it would deliver."""

    name: str
    document: Document
    offer: Offer
    columns: tuple[Column, ...]
    terms: tuple[Term, ...]

    @property
    def price(self) -> str:
        """Price in words."""
        return str(self.offer.price)

    @property
    def purposes(self) -> tuple[str, ...]:
        """Purposes that may be claimed; empty: any."""
        purposes = msgspec.json.decode(self.offer.terms, type=Terms).purposes
        return () if isinstance(purposes, str) else tuple(purposes)


class Product:
    """A product on sale, with its offers."""

    def __init__(self, client: Client, answer: Mapping[str, Any]) -> None:
        self._client = client
        self.listing = Listing(client, answer["listing"], answer["answered_at"] or "")
        self.offers = tuple(_offer(described) for described in answer["offers"])

    def __repr__(self) -> str:
        return f"<Product {self.handle}: {', '.join(offer.name for offer in self.offers)}>"

    @property
    def handle(self) -> str:
        """``venue/name``."""
        return self.listing.product

    @property
    def title(self) -> str:
        """Title for people."""
        return self.listing.title

    @property
    def registration(self) -> Registration | None:
        """What the provider registered."""
        return self.listing.registration

    def offer(self, name: str = "") -> OfferView:
        """One offer; without a name the only one.

        Raises:
            TrustnodeError: NOT_FOUND, FIELD_MISSING; both name the offers there are.
        """
        known = ", ".join(offer.name for offer in self.offers)
        if not name and len(self.offers) != 1:
            raise error("FIELD_MISSING", f"{self.handle} has several offers, name one: {known}", field="offer")
        for offer in self.offers:
            if name in ("", offer.name):
                return offer
        raise error("NOT_FOUND", f"{self.handle} has no offer {name}; it has: {known or 'none'}", field="offer")

    async def explain(
        self, sql: str = "", parameters: Sequence[Any] = (), *, offer: str = "", purpose: str = ""
    ) -> Explanation:
        """What a query would deliver under an offer, before any contract."""
        subject = {"offer": {"product": self.handle, "offer": offer}}
        return await explanation(self._client.connection, subject, purpose, sql, parameters)

    async def negotiate(
        self, *, offer: str = "", purpose: str = "", as_: str = "", wait: float | None = None
    ) -> Agreement | Negotiation:
        """Ask for an agreement; see ``Client.negotiate``."""
        return await self._client.negotiate(self, offer=offer, purpose=purpose, as_=as_, wait=wait)


def _offer(described: Mapping[str, Any]) -> OfferView:
    document = described["offer"]
    offer = decode(document, Offer)
    columns = msgspec.convert(described["columns"], tuple[Column, ...])
    terms = msgspec.convert(described["terms"], tuple[Term, ...])
    return OfferView(described["name"] or offer.name, document, offer, columns, terms)
