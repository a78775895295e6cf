"""CatalogService: what can be found here, and under which terms."""

from __future__ import annotations

from typing import Final

from trustnode.app import catalog, explain
from trustnode.app.follower import Follower
from trustnode.app.venue import Sender, Venue
from trustnode.core.catalog import CatalogEntry, ProductState, Registration
from trustnode.core.contract import Offer
from trustnode.core.document import Document, decode
from trustnode.core.participant import ParticipantState
from trustnode.core.peering import PeeringState
from trustnode.errors import error
from trustnode.rpc.conversion import sender_of, set_time
from trustnode.rpc.dispatch import Call
from trustnode.rpc.methods import Method, only
from trustnode.store.search import Query
from trustnode.store.unit import View
from trustnode.v1 import catalog_pb2
from trustnode.v1 import catalog_service_pb2 as pb
from trustnode.wire.convert import document_to_proto

SERVICE: Final = "/trustnode.v1.CatalogService/"
PAGE: Final = 50
MAX_PAGE: Final = 200
STALE_S: Final = 10.0
"""A hit from a venue that was silent this long is shown stale."""


def methods(venue: Venue, follower: Follower) -> tuple[Method, ...]:
    """The methods of the service."""

    async def search(call: Call, request: pb.SearchListingsRequest) -> pb.SearchListingsResponse:
        query = _query(request, sender_of(call, venue), venue)
        response = await venue.store.read(lambda view: _found(view, query, venue, follower))
        for peering in await venue.store.read(lambda view: view.find(PeeringState, state=("APPROVED", "SUSPENDED"))):
            if "CATALOG" in peering.scopes and follower.age_s(peering.id) > STALE_S:
                silent = response.not_asked.add(venue=peering.id)
                set_time(silent.since, follower.silent_since(peering.id))
        set_time(response.answered_at, venue.clock.now())
        return response

    async def describe(call: Call, request: pb.DescribeListingRequest) -> pb.DescribeListingResponse:
        sender = sender_of(call, venue)
        response = await venue.store.read(lambda view: _described(view, request, sender, venue, follower))
        set_time(response.answered_at, venue.clock.now())
        return response

    async def resolve(_call: Call, request: pb.ResolveIdentifierRequest) -> pb.ResolveIdentifierResponse:
        return await venue.store.read(lambda view: _resolved(view, request.identifier, venue))

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
    token = request.page_token
    return Query(
        viewer=catalog.VENUE_VIEWER if local else "*",
        text=request.query,
        levels=(request.level,) if request.level else (),
        categories=(request.category,) if request.category else (),
        venues=(request.venue,) if request.venue else (),
        before=int(token) if token.isascii() and token.isdigit() else 0,
        limit=min(request.page_size, MAX_PAGE) if request.page_size > 0 else PAGE,
    )


def _found(view: View, query: Query, venue: Venue, follower: Follower) -> pb.SearchListingsResponse:
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
    del venue
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
    told_by = entry.path[0] if entry.path else entry.origin
    is_own = not entry.path and follower.is_own(entry.origin)
    if not is_own and follower.age_s(told_by) > STALE_S:
        return catalog_pb2.VERIFICATION_STALE
    return catalog_pb2.VERIFICATION_VERIFIED


def _described(
    view: View, request: pb.DescribeListingRequest, sender: Sender, venue: Venue, follower: Follower
) -> pb.DescribeListingResponse:
    entry = catalog.entry_of(view, _handle(view, request.product))
    local = sender.kind == "OPERATOR" or sender.domain == venue.domain
    if entry is None or not (entry.visibility in catalog.TOLD or (entry.visibility == "VENUE" and local)):
        raise error("NOT_FOUND", f"no listing {request.product[:80]} is known here")
    response = pb.DescribeListingResponse(listing=listing_of(view, entry, follower))
    registration = view.document(entry.registration)
    for document in catalog.offers_of(view, entry):
        offer = decode(document, Offer)
        if registration is not None and request.offer in ("", offer.name):
            response.offers.append(_offer(venue, document, offer, decode(registration, Registration)))
    return response


def _offer(venue: Venue, document: Document, offer: Offer, registration: Registration) -> pb.OfferDescription:
    """An offer with its columns as they would be delivered, and its terms in words."""
    shown = pb.OfferDescription(offer=document_to_proto(document), name=offer.name)
    table = registration.tables[0]
    governed = venue.policies.load(offer.policy).governed(
        table.columns, table=table.name, consumer_id="nobody", consumer_area="0000"
    )
    known = {column.name: column for column in table.columns}
    for one in governed.tables:
        masks = {mask.column: f"{mask.method} {mask.parameter}".strip() for mask in one.masks}
        for name in (*one.columns, *masks):
            column = known[name]
            shown.columns.add(
                name=name, type=column.type, unit=column.unit, mask=masks.get(name, ""), description=column.description
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


def _handle(view: View, name: str) -> str:
    """A handle, or the handle behind a product identifier."""
    if "/" in name:
        return name
    found = view.find(ProductState, product_id=name, limit=1)
    return found[0].id if found else name


def _resolved(view: View, identifier: str, venue: Venue) -> pb.ResolveIdentifierResponse:
    by_handle = view.get(ProductState, identifier) if "/" in identifier else None
    product = by_handle or next(iter(view.find(ProductState, product_id=identifier, limit=1)), None)
    document = view.document(product.document) if product and product.document else None
    if product is None or document is None:
        raise error("NOT_FOUND", f"no product {identifier[:80]} is registered here")
    response = pb.ResolveIdentifierResponse(
        kind="product",
        identifier=product.product_id,
        handle=product.id,
        origin=venue.domain,
        document=document_to_proto(document),
    )
    key = view.get(ParticipantState, product.provider)
    supporting = view.document(key.document) if key else None
    if supporting is not None:
        response.supporting.append(document_to_proto(supporting))
    return response
