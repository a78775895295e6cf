"""Publishing a product file: register or change, then list.

Decides: what is new against what the venue holds, the order in which documents are handed in. Leaves to others: what
the file says (``product_file``), what the venue demands (its node).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec

from trustnode.core import clock
from trustnode.core.catalog import Binding, Registration
from trustnode.core.catalog import Listing as ListingStatement
from trustnode.core.contract import Offer
from trustnode.core.document import Document, Statement, decode
from trustnode.errors import NotFound, error
from trustnode.sdk.product_file import Header, ProductFile
from trustnode.sdk.profile import new_id, now
from trustnode.wire.convert import RemoteObject

if TYPE_CHECKING:
    from trustnode.sdk.client import Client

S = TypeVar("S", bound=Statement)
LISTED: Final = frozenset({"LISTED", "SUSPENDED", "LISTING_REVIEW"})


class Held(NamedTuple):
    """What the venue holds of a product."""

    product: RemoteObject | None
    registration: Registration | None
    listing: RemoteObject | None
    listed: ListingStatement | None
    offers: tuple[Offer, ...]


class Difference(NamedTuple):
    """One thing that publishing changes."""

    what: str
    before: str
    after: str


class Published(NamedTuple):
    """What became of a product file."""

    product: RemoteObject
    listing: RemoteObject | None
    """None while the product waits, such as for the end of a public notice."""
    registration: Registration
    offers: tuple[Offer, ...]
    differences: tuple[Difference, ...]


async def held(client: Client, handle: str) -> Held:
    """Look at what the venue holds of a product of ours."""
    connection = client.connection
    try:
        found = await connection.get("product", handle)
    except NotFound:
        return Held(None, None, None, None, ())
    document = found.newest("registration") or found.object.document
    registration = decode(document, Registration) if document else None
    listings = await connection.list_all("listing", product=handle)
    listing = next((one for one in listings if one.state in LISTED), None)
    if listing is None:
        return Held(found.object, registration, None, None, ())
    shown = await connection.get("listing", listing.id)
    statement = shown.newest("listing") or listing.document
    offers = tuple(decode(document, Offer) for document in shown.documents if document.name == "offer")
    return Held(found.object, registration, listing, decode(statement, ListingStatement) if statement else None, offers)


async def publish(client: Client, file: ProductFile, *, offers: Sequence[str] = ()) -> Published:
    """Register or change a product, then list it with its offers.

    Args:
        client: The provider.
        file: The product file, read and checked.
        offers: Names of the offers to list; empty: all.

    Raises:
        TrustnodeError: ROLE_NOT_ALLOWED when the file names another provider, and what the node refuses with.
    """
    profile = client.profile
    if file.participant(profile.venue) != profile.participant:
        provider = file.participant(profile.venue).rpartition("/")[2]
        raise error("ROLE_NOT_ALLOWED", f"the file names the provider {provider}, the profile is {profile.name}")
    before = await held(client, file.handle(profile.venue))
    registration, product = await register(client, file, before)
    chosen = file.offers(_header(client), registration.version, offers)
    changed = differences(before, registration, chosen)
    if product.state not in ("REGISTERED", "CHANGE_REVIEW", "CANCEL_REVIEW"):
        return Published(product, None, registration, chosen, changed)
    if before.listing is not None and not changed:
        return Published(product, before.listing, registration, before.offers, ())
    listing = await _list(client, file, before, registration, chosen)
    return Published(product, listing, registration, chosen, changed)


async def register(client: Client, file: ProductFile, before: Held) -> tuple[Registration, RemoteObject]:
    """Register a product, or its next version where something changed."""
    profile, header = client.profile, _header(client)
    version = before.registration.version if before.registration else 1
    statement = file.registration(header, version)
    if before.registration is not None and before.product is not None:
        if _same(statement, before.registration) and before.product.state != "DRAFT":
            return before.registration, before.product
        statement = file.registration(header, version + 1)
    binding: Binding = file.binding(header)
    answer = await client.submit(profile.sign(statement), [profile.key_document, profile.sign(binding)])
    return statement, answer.object


async def _list(
    client: Client, file: ProductFile, before: Held, registration: Registration, offers: Sequence[Offer]
) -> RemoteObject:
    profile = client.profile
    signed: list[Document] = [profile.sign(offer) for offer in offers]
    listing = file.listing(
        _header(client),
        [document.digest for document in signed],
        registration.version,
        listing=before.listed.listing if before.listed else "",
        previous=before.listing.document.digest if before.listing and before.listing.document else "",
    )
    answer = await client.submit(profile.sign(listing), [profile.key_document, *signed])
    return answer.object


def differences(before: Held, registration: Registration, offers: Sequence[Offer]) -> tuple[Difference, ...]:
    """What publishing changes, field by field; a product that was not there is one line."""
    if before.registration is None:
        return (Difference("product", "", registration.product),)
    changed = [*_changed("", before.registration, registration)]
    known = {offer.name: offer for offer in before.offers}
    for offer in offers:
        old = known.pop(offer.name, None)
        if old is None:
            changed.append(Difference(f"offer {offer.name}", "", str(offer.price)))
        else:
            changed += _changed(f"offer {offer.name}: ", old, offer)
    changed += [Difference(f"offer {name}", str(offer.price), "") for name, offer in known.items()]
    return tuple(changed)


_ENVELOPE: Final = frozenset({"suite", "id", "iss", "aud", "time", "expires", "version", "product_version", "policy"})


def _changed(prefix: str, old: S, new: S) -> list[Difference]:
    one: dict[str, Any] = msgspec.structs.asdict(old)
    other: dict[str, Any] = msgspec.structs.asdict(new)
    fields = [field for field in one if field not in _ENVELOPE and one[field] != other[field]]
    if isinstance(old, Offer) and isinstance(new, Offer) and _life_s(old) == _life_s(new):
        # Where the file names no end, an offer stands for a fixed time from its signing.
        fields = [field for field in fields if field != "valid_until"]
    return [Difference(f"{prefix}{field}", str(one[field]), str(other[field])) for field in fields]


def _life_s(offer: Offer) -> int:
    return (clock.to_ms(offer.valid_until) - clock.to_ms(offer.time)) // 1000


def _same(one: Registration, other: Registration) -> bool:
    return not _changed("", one, other)


def _header(client: Client) -> Header:
    return Header(venue=client.profile.venue, now=now(), new_id=new_id)
