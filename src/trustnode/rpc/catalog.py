"""CatalogService: what can be found here, and under which terms."""

from __future__ import annotations

from typing import Final, NamedTuple

from trustnode.app import catalog, explain, reading
from trustnode.app.follower import Follower
from trustnode.app.venue import Sender, Venue
from trustnode.core.catalog import CatalogEntry, CatalogRecord, ProductState, Registration
from trustnode.core.contract import Offer
from trustnode.core.document import Document, decode
from trustnode.core.peering import PeeringState, check_scope
from trustnode.core.policy import masks
from trustnode.errors import error
from trustnode.rpc.conversion import sender_of, set_time
from trustnode.rpc.dispatch import Call
from trustnode.rpc.methods import Method, only
from trustnode.store.search import MAX_QUERY_CHARACTERS, Query
from trustnode.store.unit import View
from trustnode.v1 import catalog_pb2
from trustnode.v1 import catalog_service_pb2 as pb
from trustnode.vocabulary import NAMES
from trustnode.wire.convert import document_to_proto

SERVICE: Final = "/trustnode.v1.CatalogService/"
MAX_TOKEN_DIGITS: Final = 19
STALE_S: Final = 10.0
"""A hit from a venue that was silent this long is shown stale."""


def methods(venue: Venue, follower: Follower) -> tuple[Method, ...]:
    """The methods of the service."""

    async def search(call: Call, request: pb.SearchListingsRequest) -> pb.SearchListingsResponse:
        query = _query(request, sender_of(call, venue), venue)
        silent = await venue.store.read(lambda view: _silent(view, follower))
        if silent and request.all_venues:
            raise error("PEER_UNREACHABLE", f"listings of {', '.join(silent)} may be missing", venues=",".join(silent))
        response = await venue.store.read(lambda view: _found(view, query, follower))
        for domain in silent:
            set_time(response.not_asked.add(venue=domain).since, follower.silent_since(domain))
        set_time(response.answered_at, venue.clock.now())
        return response

    async def describe(call: Call, request: pb.DescribeListingRequest) -> pb.DescribeListingResponse:
        sender = sender_of(call, venue)
        response = await venue.store.read(lambda view: _described(view, request, sender, venue, follower))
        set_time(response.answered_at, venue.clock.now())
        return response

    async def resolve(call: Call, request: pb.ResolveIdentifierRequest) -> pb.ResolveIdentifierResponse:
        sender = sender_of(call, venue)
        return await venue.store.read(lambda view: _resolved(view, request.identifier, sender, venue))

    readers = only("CLIENT", "OPERATOR")
    return (
        Method(
            name=SERVICE + "SearchListings", request=pb.SearchListingsRequest, response=pb.SearchListingsResponse,
            handler=search, audiences=readers,
        ),
        Method(
            name=SERVICE + "DescribeListing", request=pb.DescribeListingRequest, response=pb.DescribeListingResponse,
            handler=describe, audiences=readers,
        ),
        Method(
            name=SERVICE + "ResolveIdentifier", request=pb.ResolveIdentifierRequest,
            response=pb.ResolveIdentifierResponse, handler=resolve, audiences=only("CLIENT", "OPERATOR", "PEER"),
        ),
    )  # fmt: skip


def _query(request: pb.SearchListingsRequest, sender: Sender, venue: Venue) -> Query:
    local = sender.kind == "OPERATOR" or sender.domain == venue.domain
    _check_word("DataLevel", request.level, "level")
    _check_word("DataCategory", request.category, "category")
    if len(request.query) > MAX_QUERY_CHARACTERS:
        raise error("FIELD_TOO_LONG", f"a search has at most {MAX_QUERY_CHARACTERS} characters", field="query")
    token = request.page_token
    if token and not (token.isascii() and token.isdigit() and len(token) < MAX_TOKEN_DIGITS):
        raise error("FIELD_FORMAT", "this is no page token of ours", field="page_token")
    return Query(
        viewer=catalog.VENUE_VIEWER if local else "*",
        text=request.query,
        levels=(request.level,) if request.level else (),
        categories=(request.category,) if request.category else (),
        venues=(request.venue,) if request.venue else (),
        before=int(token or 0),
        limit=reading.page_size(request.page_size),
    )


def _check_word(kind: str, word: str, field: str) -> None:
    if word and word not in NAMES[kind]:
        raise error("VOCABULARY_UNKNOWN", f"{word[:40]!r} is not one of {', '.join(sorted(NAMES[kind]))}", field=field)


def _silent(view: View, follower: Follower) -> list[str]:
    """Venues whose listings may be missing from an answer, or old."""
    peers = view.find(PeeringState, state=("APPROVED", "SUSPENDED"))
    return [peer.id for peer in peers if "CATALOG" in peer.scopes and follower.age_s(peer.id) > STALE_S]


def _found(view: View, query: Query, follower: Follower) -> pb.SearchListingsResponse:
    found = view.search(query)
    response = pb.SearchListingsResponse(next_page_token=str(found.next) if found.next else "")
    for hit in found.hits:
        entry = view.get(CatalogEntry, hit.id)
        if entry is not None and entry.state == "LISTED":
            response.hits.append(listing_of(view, entry, follower))
    for name, value in view.settings("follow/").items():
        _, domain, lane = name.split("/")
        if lane == "CATALOG":
            response.feeds.add(origin=domain, seq=int(value))
    return response


def listing_of(view: View, entry: CatalogEntry, follower: Follower) -> catalog_pb2.Listing:
    """A listing as it is found here, with the documents that it refers to."""
    record = view.document(entry.document)
    if record is None:
        raise error("STORE_CORRUPT", "a catalogue record is missing")
    listing = catalog_pb2.Listing(
        record=document_to_proto(record),
        supporting=[document_to_proto(one) for one in _supporting(view, entry)],
        origin=entry.origin,
        path=entry.path,
        verification=_verification(entry, follower),
        state=entry.state,
        product=entry.product,
    )
    set_time(listing.as_of, entry.received_at)
    return listing


def _supporting(view: View, entry: CatalogEntry) -> list[Document]:
    found = [d for digest in (entry.registration, *entry.offers) if (d := view.document(digest)) is not None]
    return found + catalog.provider_key(view, found)


def _verification(entry: CatalogEntry, follower: Follower) -> catalog_pb2.Verification:
    if entry.verification == "INTRODUCED":
        return catalog_pb2.VERIFICATION_INTRODUCED
    told_by = entry.path[-1] if entry.path else entry.origin
    is_own = not entry.path and follower.is_own(entry.origin)
    if not is_own and follower.age_s(told_by) > STALE_S:
        return catalog_pb2.VERIFICATION_STALE
    return catalog_pb2.VERIFICATION_VERIFIED


def _described(
    view: View, request: pb.DescribeListingRequest, sender: Sender, venue: Venue, follower: Follower
) -> pb.DescribeListingResponse:
    if not request.product:
        raise error("FIELD_MISSING", "name a product", field="product")
    entry = _entry(view, request.product)
    if entry is None or not reading.sees_listing(view, entry, sender, venue.domain):
        raise error("NOT_FOUND", f"no listing {request.product[:80]} is known here")
    response = pb.DescribeListingResponse(listing=listing_of(view, entry, follower))
    registration = view.document(entry.registration)
    for document in catalog.offers_of(view, entry):
        offer = decode(document, Offer)
        if registration is not None and request.offer in ("", offer.name):
            response.offers.append(_offer(venue, document, offer, decode(registration, Registration)))
    if request.offer and not response.offers:
        raise error("NOT_FOUND", f"{entry.product} has no offer {request.offer[:80]}", field="offer")
    return response


def _offer(venue: Venue, document: Document, offer: Offer, registration: Registration) -> pb.OfferDescription:
    """An offer with its columns as they would be delivered, and its terms in words."""
    shown = pb.OfferDescription(offer=document_to_proto(document), name=offer.name)
    table = registration.tables[0]
    governed = venue.policies.load(offer.policy).governed(
        table.columns, table=table.name, consumer_id="nobody", consumer_area="0000"
    )
    for one in governed.tables:
        for column, mask, use in masks.shown(one, table.columns):
            shown.columns.add(
                name=column.name, type=column.type, unit=column.unit, mask=mask, use=use, description=column.description
            )
    for term in explain.shown_terms(offer.terms, str(offer.price), registration.level):
        shown.terms.append(term_of(term))
    return shown


def term_of(term: explain.ShownTerm) -> catalog_pb2.Term:
    """One line of terms as a message."""
    keeping = catalog_pb2.Keeping.Value(f"KEEPING_{term.keeping}" if term.keeping else "KEEPING_UNSPECIFIED")
    shown = catalog_pb2.Term(key=term.key, text=term.text, text_zh=term.text_zh, added_by=term.added_by)
    shown.keeping = keeping  # type: ignore[assignment] # the stubs tell the number apart from the enumeration
    return shown


def _entry(view: View, name: str) -> CatalogEntry | None:
    """The listing by handle, by its own identifier, or by that of its product."""
    if "/" in name:
        return catalog.entry_of(view, name)
    own = view.find(ProductState, product_id=name, limit=1)
    return catalog.entry_of(view, own[0].id) if own else view.get(CatalogEntry, name)


def _resolved(view: View, identifier: str, sender: Sender, venue: Venue) -> pb.ResolveIdentifierResponse:
    """What an identifier stands for: a venue, a product of ours, or one that we know from its listing.

    A product that is on sale nowhere is its provider's business; to others it does not exist.
    """
    if sender.kind == "PEER":
        check_scope(view.get(PeeringState, sender.domain), "CATALOG")
    if not identifier:
        raise error("IDENTIFIER_INVALID", "name an identifier or a handle", field="identifier")
    card = venue.keyring.cards.get(identifier)
    if card is not None and sender.kind != "PEER":
        return pb.ResolveIdentifierResponse(
            kind="venue", identifier=identifier, origin=identifier, document=document_to_proto(card.document),
            supporting=[document_to_proto(one.document) for one in venue.keyring.versions(identifier)[-9:-1]],
        )  # fmt: skip
    found = _product(view, identifier, sender, venue)
    document = view.document(found.registration) if found else None
    if found is None or document is None:
        raise error("NOT_FOUND", f"no product {identifier[:80]} is known here")
    return pb.ResolveIdentifierResponse(
        kind="product", identifier=found.identifier, handle=found.handle, origin=found.handle.partition("/")[0],
        document=document_to_proto(document),
        supporting=[document_to_proto(one) for one in catalog.provider_key(view, [document])],
    )  # fmt: skip


class _Product(NamedTuple):
    """A product as this node knows it."""

    identifier: str
    handle: str
    registration: str


def _product(view: View, identifier: str, sender: Sender, venue: Venue) -> _Product | None:
    handle = identifier if "/" in identifier else ""
    own = view.get(ProductState, handle) if handle else next(
        iter(view.find(ProductState, product_id=identifier, limit=1)), None)  # fmt: skip
    if own is not None and reading.may_see(own, sender, venue.domain):
        return _Product(own.product_id, own.id, own.document)
    entry = catalog.entry_of(view, own.id if own else handle)
    record = view.document(entry.document) if entry and reading.may_see(entry, sender, venue.domain) else None
    if entry is None or record is None:
        return None
    return _Product(decode(record, CatalogRecord).product_id, entry.product, entry.registration)
