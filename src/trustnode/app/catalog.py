"""Listings at this venue, and those that other venues tell of.

Decides: the gates of a listing, what is told to whom, what a search may show. Leaves to others: registration
(``product``), the tables (``core.catalog``), words (``core.policy``), the index (``store.search``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from trustnode.app.participant import remember_foreign
from trustnode.app.product import check_provider
from trustnode.app.submission import Answer, Submission, Unit, handles
from trustnode.app.transition import fire
from trustnode.app.venue import Venue
from trustnode.core import clock
from trustnode.core.catalog import (
    LISTING,
    REGISTERED,
    VISIBLE,
    CatalogEntry,
    CatalogRecord,
    Listing,
    ListingFacts,
    ListingState,
    ProductState,
    Registration,
    holds,
)
from trustnode.core.contract import Act, Offer
from trustnode.core.document import Document, Verified, decode, verify
from trustnode.core.participant import ParticipantKey, ParticipantState, domain_of
from trustnode.core.peering import PeeringState
from trustnode.core.policy import floor
from trustnode.core.policy.compile import check_stated
from trustnode.core.policy.terms import Terms
from trustnode.engine.pool import can_noise
from trustnode.errors import error
from trustnode.store.search import SearchText
from trustnode.store.unit import Tx, View

TOLD: Final = frozenset({"PUBLIC", "NETWORK"})
"""Visibilities that leave the venue."""
VENUE_VIEWER: Final = "venue"
"""Viewer word of participants of this venue; an INVITED listing is shown to nobody by search."""
LISTINGS_PREFIX: Final = "listings/"
"""Settings: how many listings of an origin were ever taken in."""
MAX_HOPS: Final = 8
TOLD_IN_ONE_UNIT: Final = 200
"""Listings that one unit tells a new peer."""


# --- listing --------------------------------------------------------------------------------------------------------


@handles(Listing, "CLIENT", "OPERATOR", "SELF")
async def list_product(submission: Submission[Listing]) -> Unit:
    """A provider puts a registered product on sale, or changes its offers."""
    venue, value = submission.venue, submission.value
    check_provider(venue, submission.sender, value.iss)
    if value.venue != venue.domain:
        raise error("IDENTITY_WRONG_DOMAIN", "this listing is for another venue", field="venue")
    registration = await _registered(venue, value.product)
    offers = [await _checked_offer(submission, digest, registration) for digest in value.offers]
    facts = ListingFacts(
        product_registered=True,
        offers=len(offers),
        operate_held=holds(registration, "OPERATE"),
        offers_refused=None,
        visibility_fits=value.visibility in VISIBLE.get(registration.level, frozenset()),
        signed=True,
    )

    def unit(tx: Tx) -> Answer:
        product = tx.get(ProductState, value.product)
        if product is None or product.state not in REGISTERED or product.provider != value.iss:
            raise error("NOT_REGISTERED", f"{value.product} is not registered", product=value.product)
        for offer in offers:
            tx.keep(offer.document)
        return Answer.of(_listed(tx, submission, facts))

    return unit


async def _registered(venue: Venue, handle: str) -> Registration:
    document = await venue.store.read(lambda view: registration_document(view, handle))
    if document is None:
        raise error("NOT_REGISTERED", f"{handle} is not registered here", product=handle)
    return decode(document, Registration)


def registration_document(view: View, handle: str) -> Document | None:
    """The registration in force of a product of ours."""
    product = view.get(ProductState, handle)
    return view.document(product.document) if product and product.state in REGISTERED else None


async def _checked_offer(submission: Submission[Listing], digest: str, registration: Registration) -> Verified[Offer]:
    """One offer: signed by the provider, of this product, compiling to enforcers, not weaker than the floor."""
    venue = submission.venue
    offer = verify(await submission.find(digest, "offer"), Offer, submission.keys, venue.clock.now())
    value = offer.value
    if value.product != registration.product or value.provider != submission.value.iss:
        raise error("HASH_MISMATCH", f"offer {value.name} is of another product", field="offers")
    policy = venue.policies.load(value.policy)
    for table in registration.tables:
        # A consumer that does not exist stands in for the attributes; only the columns are checked.
        policy.governed(table.columns, table=table.name, consumer_id="nobody", consumer_area="0000")
    check_terms(value, registration)
    return offer


def check_terms(offer: Offer, registration: Registration) -> None:
    """The readable terms mean the signed policy, at the level and above the floor of the product.

    Raises:
        HASH_MISMATCH: terms and policy differ.
        POLICY_WEAKER: below the floor.
        TrustnodeError: As ``compile.check_stated``.
    """
    terms = _terms(offer.terms)
    check_stated(
        offer.policy,
        terms,
        price=str(offer.price),
        schema=registration.tables[0].columns,
        zone=registration.zone,
        level=registration.level,
        at=clock.moment(offer.time),
        approval=offer.approval,
    )
    if registration.floor:
        floor.check(terms, _terms(registration.floor))
    if terms.noise is not None and not can_noise():
        raise error(
            "OFFER_UNENFORCEABLE", "[noise]: this node has no OpenDP; install trustnode[privacy]", field="noise"
        )


def _terms(text: str) -> Terms:
    try:
        return msgspec.json.decode(text, type=Terms)
    except msgspec.DecodeError as problem:
        raise error("MESSAGE_UNPARSABLE", f"terms: {problem}", field="terms") from None


def _listed(tx: Tx, submission: Submission[Listing], facts: ListingFacts) -> ListingState:
    value, documents = submission.value, (submission.digest, *submission.value.offers)
    known = tx.get(ListingState, value.listing)
    columns: dict[str, Any] = {"offers": value.offers, "visibility": value.visibility, "document": submission.digest}
    if known is not None:
        if known.provider != value.iss:
            raise error("NOT_FOUND", "no such listing of this provider")
        if known.document == submission.digest:
            return known
        return fire(tx, LISTING, known, "change_offer", "P", facts, by=value.iss, documents=documents, **columns)
    if tx.find(ListingState, product=value.product, state=("LISTED", "SUSPENDED", "LISTING_REVIEW"), limit=1):
        raise error("DUPLICATE", f"{value.product} is listed here already; change that listing", product=value.product)
    fresh = ListingState(id=value.listing, product=value.product, provider=value.iss)
    review = fire(tx, LISTING, fresh, "submit", "P", facts, by=value.iss, documents=documents, **columns)
    return fire(tx, LISTING, review, "approve", "V", facts, by=submission.venue.domain, documents=documents)


async def prepare_listing_act(submission: Submission[Act]) -> Unit:
    """Suspend, resume or delist."""
    venue, act = submission.venue, submission.value

    def unit(tx: Tx) -> Answer:
        state = tx.get(ListingState, act.object)
        actor = "P" if state and act.iss == state.provider else ("V" if act.iss == venue.domain else "")
        if state is None or not actor:
            raise error("NOT_FOUND", "no such listing")
        product = tx.get(ProductState, state.product)
        facts = ListingFacts(
            product_registered=bool(product and product.state in REGISTERED), reasons_given=bool(act.reason),
            ground=bool(act.reason), signed=True, offers_refused=None, visibility_fits=True,
        )  # fmt: skip
        cause = act.cause or ("OWNER" if actor == "P" else "VENUE")
        stored = fire(
            tx, LISTING, state, act.event, actor, facts, by=act.iss, cause=cause, documents=(submission.digest,)
        )
        if act.event == "request_delist":
            stored = fire(tx, LISTING, stored, "delist_approved", "V", facts, by=venue.domain)
        return Answer.of(stored)

    return unit


# --- what is told ---------------------------------------------------------------------------------------------------


async def publish_records(venue: Venue, listings: Sequence[str] = ()) -> None:
    """Sign and tell a catalogue record for each listing whose record is not the newest.

    Called after a commit that changed listings, and for all of them at the start: a crash in between loses none.
    """
    pending = await venue.store.read(lambda view: _unpublished(view, listings))
    for listing, record in pending:
        document = venue.sign(CatalogRecord(**record, **venue.fields("*")))
        await venue.store.write(_record_unit(venue, listing, document), event_id="", returns=str)


def _unpublished(view: View, ids: Sequence[str]) -> list[tuple[ListingState, dict[str, Any]]]:
    where: dict[str, Any] = {"id": tuple(ids)} if ids else {}
    found = []
    for listing in view.find(ListingState, **where):
        entry = view.get(CatalogEntry, listing.id)
        product = view.get(ProductState, listing.product)
        shown = "LISTED" if listing.state == "LISTED" else ("SUSPENDED" if listing.state == "SUSPENDED" else "DELISTED")
        if product is None or (entry is None and shown == "DELISTED"):
            continue
        current = (shown, listing.offers, product.document)
        if entry is None or (entry.state, entry.offers, entry.registration) != current:
            version = entry.version + 1 if entry else 1
            found.append((listing, _record(listing, product, shown, version)))
    return found


def _record(listing: ListingState, product: ProductState, shown: str, version: int) -> dict[str, Any]:
    return {
        "listing": listing.id,
        "listing_version": version,
        "product": product.id,
        "product_id": product.product_id,
        "product_version": product.product_version,
        "registration_sha256": product.document,
        "offers": listing.offers,
        "visibility": listing.visibility,
        "state": shown,
    }


def _record_unit(venue: Venue, listing: ListingState, document: Document) -> Callable[[Tx], str]:
    def unit(tx: Tx) -> str:
        record = decode(document, CatalogRecord)
        supporting = _supporting(tx, record)
        known = tx.get(CatalogEntry, listing.id)
        if known is not None and known.version + 1 != record.listing_version:
            return ""
        tx.keep(document)
        _remember(tx, record, document.digest, supporting, origin=venue.domain, path=(), verification="CONFIRMED")
        if record.visibility in TOLD:
            for peering in tx.find(PeeringState, state="APPROVED"):
                if "CATALOG" in peering.scopes:
                    tx.tell("CATALOG", peering.id, [document, *supporting])
        return document.digest

    return unit


def _supporting(tx: View, record: CatalogRecord) -> list[Document]:
    """The documents that a record refers to: registration, offers, and the provider's key document."""
    wanted = [record.registration_sha256, *record.offers]
    found = [document for digest in wanted if (document := tx.document(digest)) is not None]
    return found + provider_key(tx, found)


def provider_key(tx: View, documents: Sequence[Document]) -> list[Document]:
    """The key document of the provider named in a registration."""
    for document in documents:
        if document.name == "registration":
            state = tx.get(ParticipantState, decode(document, Registration).provider)
            key = tx.document(state.document) if state and state.document else None
            return [key] if key else []
    return []


def _remember(
    tx: Tx, record: CatalogRecord, digest: str, supporting: Sequence[Document], *, origin: str, path: tuple[str, ...],
    verification: str,
) -> None:  # fmt: skip
    """Store a record as found by searches here, and index its words."""
    registration = next((decode(d, Registration) for d in supporting if d.name == "registration"), None)
    if registration is None:
        raise error("FIELD_MISSING", "a catalogue record travels with its registration", field="registration")
    known = tx.get(CatalogEntry, record.listing)
    entry = CatalogEntry(
        id=record.listing,
        state=record.state,
        version=known.version if known else 0,
        document=digest,
        product=record.product,
        origin=origin,
        path=path,
        received_at=tx.now,
        registration=record.registration_sha256,
        offers=record.offers,
        level=registration.level,
        category=registration.category,
        visibility=record.visibility,
        verification=verification,
    )
    tx.save(entry)
    if record.state == "LISTED":
        tx.index(record.listing, search_text(registration, origin, record.visibility))
    else:
        tx.unindex(record.listing)


def search_text(registration: Registration, origin: str, visibility: str) -> SearchText:
    """What of a product can be found by words, and by what it can be filtered."""
    viewers = ("*",) if visibility in TOLD else ((VENUE_VIEWER,) if visibility == "VENUE" else ())
    return SearchText(
        title=f"{registration.title} {registration.title_zh}",
        words=f"{registration.product}\n{registration.abstract}\n{registration.licence}",
        level=registration.level,
        category=registration.category,
        venue=origin,
        visibility=visibility,
        viewers=viewers,
    )


def mirror_to_peer(tx: Tx, peering: PeeringState) -> None:
    """Tell a venue that was just approved every listing it may see: our own and what came here from others.

    So many in one unit; a timer goes on behind the last one, so that a large catalogue holds nobody up.
    """
    if "CATALOG" not in peering.scopes or peering.state != "APPROVED":
        return
    name = f"mirror/{peering.id}"
    found = tx.find(CatalogEntry, after=tx.setting(name), limit=TOLD_IN_ONE_UNIT)
    for entry in found:
        if entry.state == "LISTED" and entry.visibility in TOLD and peering.id not in (entry.origin, *entry.path):
            _tell_entry(tx, entry, peering.id)
    more = len(found) == TOLD_IN_ONE_UNIT
    tx.set_setting(name, found[-1].id if more else "")
    if more:
        tx.at(tx.now, "peering", peering.id, "mirror")


def _tell_entry(tx: Tx, entry: CatalogEntry, audience: str) -> None:
    document = tx.document(entry.document)
    if document is not None:
        supporting = _supporting(tx, decode(document, CatalogRecord))
        tx.tell("CATALOG", audience, [document, *supporting], origin=entry.origin, path=entry.path)


async def receive_record(venue: Venue, sender: str, documents: Sequence[Document], path: tuple[str, ...]) -> None:
    """Take in a catalogue record that a peer told: check, store, pass on.

    Raises:
        TrustnodeError: SIGNATURE_INVALID (nobody we trust vouches for the origin), FIELD_MISSING, HASH_MISMATCH.
    """
    if not documents or documents[0].name != "catalog-record":
        raise error("FIELD_MISSING", "a line of this lane begins with its catalogue record", field="documents")
    record = decode(documents[0], CatalogRecord)
    verification = _verify_record(venue, documents[0], record, sender)
    supporting, keys = _check_supporting(venue, record, documents[1:], known=verification == "CONFIRMED")
    whole_path = (*path, sender) if sender != record.iss else ()
    if venue.domain in (record.iss, *whole_path) or len(whole_path) > MAX_HOPS:
        return

    def unit(tx: Tx) -> str:
        remember_foreign(tx, keys, venue.domain)
        return _accept_record(tx, record, documents[0], supporting, whole_path, verification, sender)

    await venue.store.write(unit, event_id="", returns=str)
    for key in keys:
        venue.keyring.add_participant(key)


def _verify_record(venue: Venue, document: Document, record: CatalogRecord, sender: str) -> str:
    """CONFIRMED by the origin's card; INTRODUCED when only the peer that tells it vouches for the origin."""
    if record.iss in venue.keyring.cards:
        verify(document, CatalogRecord, venue.keyring, None)
        return "CONFIRMED"
    if record.iss == sender:
        raise error("SIGNATURE_INVALID", f"no card of {sender} is known")
    return "INTRODUCED"


def _check_supporting(
    venue: Venue, record: CatalogRecord, documents: Sequence[Document], *, known: bool
) -> tuple[list[Document], list[Verified[ParticipantKey]]]:
    """Only documents that the record names by digest; where we know the origin, their signatures too."""
    named = {record.registration_sha256, *record.offers}
    given = [d for d in documents if d.digest in named]
    if {d.digest for d in given} != named:
        raise error("HASH_MISMATCH", "documents of the catalogue record are missing or differ")
    _check_belongs(record, given)
    key_documents = [d for d in documents if d.name == "participant-key"]
    if not known:
        return given + key_documents, []
    keys, brought = venue.keyring.with_documents(key_documents, venue.clock.now())
    for document in given:
        kind: type[Registration | Offer] = Registration if document.name == "registration" else Offer
        verify(document, kind, keys, None)
    return given + key_documents, brought


def _check_belongs(record: CatalogRecord, given: Sequence[Document]) -> None:
    """A venue lists what its own participants registered, under its own name; otherwise it could sell in another's.

    Raises:
        TrustnodeError: IDENTIFIER_AREA, HASH_MISMATCH.
    """
    registration = next(decode(one, Registration) for one in given if one.digest == record.registration_sha256)
    if {record.iss, domain_of(registration.provider)} != {record.product.partition("/")[0]}:
        raise error("IDENTIFIER_AREA", f"{record.iss} may not list {record.product}", field="product")
    said = (record.product, record.product_version, registration.provider)
    if (registration.product, registration.version, registration.provider) != said:
        raise error("HASH_MISMATCH", "the registration is of another product", field="registration_sha256")
    offers = [decode(one, Offer) for one in given if one.digest != record.registration_sha256]
    if any((offer.product, offer.provider) != (record.product, registration.provider) for offer in offers):
        raise error("HASH_MISMATCH", "an offer is of another product", field="offers")


def _accept_record(
    tx: Tx, record: CatalogRecord, document: Document, supporting: Sequence[Document], path: tuple[str, ...],
    verification: str, sender: str,
) -> str:  # fmt: skip
    known = tx.get(CatalogEntry, record.listing)
    if known is not None and not _is_news(tx, known, record, path):
        return ""
    if known is None:
        _count_listing(tx, record.iss, sender)
    for one in (document, *supporting):
        tx.keep(one)
    _remember(tx, record, document.digest, supporting, origin=record.iss, path=path, verification=verification)
    if record.visibility not in TOLD:
        return record.listing
    for peering in tx.find(PeeringState, state="APPROVED"):
        if "CATALOG" in peering.scopes and peering.id not in (record.iss, *path):
            tx.tell("CATALOG", peering.id, [document, *supporting], origin=record.iss, path=path)
    return record.listing


def _count_listing(tx: Tx, origin: str, sender: str) -> None:
    """One listing more of an origin; whoever tells it may not tell more than its peering allows (protocol 9).

    Raises:
        TrustnodeError: QUOTA_AGREED.
    """
    peering = tx.get(PeeringState, sender)
    held = int(tx.setting(LISTINGS_PREFIX + origin) or 0)
    if peering is not None and held >= peering.max_listings:
        raise error("QUOTA_AGREED", f"{origin} has {held} listings here, no more are agreed with {sender}")
    tx.set_setting(LISTINGS_PREFIX + origin, str(held + 1))


def _is_news(tx: Tx, known: CatalogEntry, record: CatalogRecord, path: tuple[str, ...]) -> bool:
    """A newer version, or the same one by a shorter way."""
    if known.origin != record.iss:
        return False
    held = tx.document(known.document)
    held_version = decode(held, CatalogRecord).listing_version if held else 0
    if record.listing_version != held_version:
        return record.listing_version > held_version
    return len(path) < len(known.path)


def entry_of(view: View, handle: str) -> CatalogEntry | None:
    """The listing under which a product is found here; one on sale before one that is not."""
    found = view.find(CatalogEntry, product=handle, limit=50)
    on_sale = [entry for entry in found if entry.state == "LISTED"]
    return next(iter(on_sale or found), None)


def offers_of(view: View, entry: CatalogEntry) -> list[Document]:
    """The signed offers of a listing."""
    return [document for digest in entry.offers if (document := view.document(digest)) is not None]


def find_offer(view: View, handle: str, name: str) -> tuple[CatalogEntry, Document]:
    """The offer of a product by name; one offer needs no name.

    Raises:
        TrustnodeError: NOT_FOUND, NOT_LISTED, FIELD_MISSING.
    """
    entry = entry_of(view, handle)
    if entry is None:
        raise error("NOT_FOUND", f"no listing {handle} is known here")
    if entry.state != "LISTED":
        raise error("NOT_LISTED", f"{handle} is not on sale now")
    offers = offers_of(view, entry)
    named = [d for d in offers if not name or decode(d, Offer).name == name]
    if len(named) == 1:
        return entry, named[0]
    names = ", ".join(decode(d, Offer).name for d in offers)
    if name:
        raise error("NOT_FOUND", f"{handle} has no offer {name}; it has: {names}")
    raise error("FIELD_MISSING", f"name one of the offers: {names}", field="offer")
