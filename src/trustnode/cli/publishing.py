"""Publishing a product file: what differs from what is registered and listed, and the documents that change it.

Decides: whether a file is a first registration, a change or nothing new, and how the difference is shown. Leaves to
others: the documents (``sdk.product_file``), the gates (the node).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trustnode.cli import acts, exit_status, output, policy_diff, source
from trustnode.core.catalog import Listing, Registration, end_of_notice
from trustnode.core.contract import Offer, Price
from trustnode.core.document import Statement
from trustnode.errors import TrustnodeError, error

if TYPE_CHECKING:
    from trustnode.cli.session import Session
    from trustnode.cli.values import Item
    from trustnode.sdk.product_file import Header, ProductFile

HEADER_FIELDS: Final = ("suite", "id", "iss", "aud", "time", "expires")
POLL_S: Final = 1.0
_ABSENT: Final = ("NOT_FOUND", "NOT_LISTED", "NOT_REGISTERED")


# --- what is there ----------------------------------------------------------------------------------------------------


def registered(connection: Session, file: ProductFile) -> Item | None:
    """The registration of the product at this venue; None where there is none."""
    return _find(connection, "product", file.handle(connection.venue))


def _find(connection: Session, kind: str, id: str) -> Item | None:
    try:
        return connection.get(kind, id).object
    except TrustnodeError as problem:
        if problem.reason in _ABSENT:
            return None
        raise


def listing_of(connection: Session, product: str) -> Item | None:
    """The listing of a product that stands at this venue."""
    handle = product if "/" in product else f"{connection.venue}/{product}"
    found = acts.everything(connection, "listing", product=handle)
    return next((one for one in found if one.state in ("LISTED", "SUSPENDED", "LISTING_REVIEW")), None)


def listed_offers(connection: Session, listing: Item | None) -> dict[str, tuple[str, Offer]]:
    """The offers of a listing: name -> digest and offer."""
    if listing is None:
        return {}
    documents = connection.get("listing", listing.id).documents
    wanted = listing.listing()
    return {
        offer.name: (document.digest, offer)
        for document in documents
        if document.name == "offer" and (wanted is None or document.digest in wanted.offers)
        for offer in (connection.decode(document, Offer),)
    }


def same(one: Statement, other: Statement, *besides: str) -> bool:
    """Whether two documents say the same, whoever signed them when."""
    left, right = msgspec.structs.asdict(one), msgspec.structs.asdict(other)
    return all(left[key] == right[key] for key in left if key not in (*HEADER_FIELDS, *besides))


# --- the plan ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What publishing a file would do."""

    file: ProductFile
    head: Header
    registration: Registration | None
    """None: what is registered says the same."""
    version: int
    known: Item | None
    listing: Item | None
    kept: dict[str, str]
    """Offers that stand as they are: name -> digest."""
    offers: tuple[Offer, ...]
    """Offers that are new or say something else."""
    order: tuple[str, ...]
    differences: tuple[str, ...]

    @property
    def changes_listing(self) -> bool:
        """Whether a listing document must be sent."""
        listed = self.listing.listing() if self.listing else None
        is_visible_alike = listed is not None and listed.visibility == self.file.contents.listing.visibility
        kept = tuple(self.kept.get(name, "") for name in self.order)
        return listed is None or not is_visible_alike or bool(self.offers) or set(kept) != set(listed.offers)


def plan(connection: Session, file: ProductFile, names: Sequence[str]) -> Plan:
    """Compare a file with what is registered and listed here."""
    head = source.header(connection.venue)
    known = registered(connection, file)
    old = known.registration() if known else None
    version = old.version if old else 1
    registration = file.registration(head, version)
    if old is not None and not same(registration, old):
        version += 1
        registration = file.registration(head, version)
    listing = listing_of(connection, file.handle(connection.venue)) if known else None
    before = listed_offers(connection, listing)
    offers = file.offers(head, version, names)
    fixed = [offer.name for offer in offers if offer.name in before and _stands(offer, before[offer.name][1])]
    return Plan(
        file=file,
        head=head,
        registration=None if old is not None and version == old.version else registration,
        version=version,
        known=known,
        listing=listing,
        kept={name: before[name][0] for name in fixed},
        offers=tuple(offer for offer in offers if offer.name not in fixed),
        order=tuple(offer.name for offer in offers),
        differences=(*_product_differences(old, registration), *_offer_differences(before, offers)),
    )


def _stands(new: Offer, old: Offer) -> bool:
    """Whether a listed offer says what the file says; a default end moves with the day and is no difference."""
    return same(new, old, "valid_until", "listing", "product_id")


def _product_differences(old: Registration | None, new: Registration) -> list[str]:
    if old is None:
        return []
    return [
        f"{name:<12} {_brief(getattr(old, name))} -> {_brief(getattr(new, name))}"
        for name in Registration.__struct_fields__
        if name not in (*HEADER_FIELDS, "version") and getattr(old, name) != getattr(new, name)
    ]


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return output.shorten(output.printable(text), 30) or "none"


def _offer_differences(before: dict[str, tuple[str, Offer]], offers: Sequence[Offer]) -> list[str]:
    if not before:
        return []
    lines = []
    for offer in offers:
        old = before[offer.name][1] if offer.name in before else None
        if old is None:
            lines.append(f"offer {offer.name}   new: {offer.price}")
        elif not _stands(offer, old):
            lines.append(f"offer {offer.name}   {_price_change(old.price, offer.price)}{_terms_change(old, offer)}")
            lines += policy_diff.table([one for one in policy_diff.changes(old, offer) if one.key != "price"])
    gone = [name for name in before if name not in {offer.name for offer in offers}]
    return [*lines, *(f"offer {name}   no longer offered" for name in gone)]


def _price_change(old: Price, new: Price) -> str:
    if old == new:
        return f"price  {new}      "
    shown = old.cny if old.unit == new.unit else str(old)
    return f"price  {shown} -> {new}      "


def _terms_change(old: Offer, new: Offer) -> str:
    from trustnode.core.policy import odrl

    if old.terms == new.terms:
        return f"terms unchanged (digest {odrl.digest(new.policy)[:4]}...)"
    return f"terms {policy_diff.verdict_words(policy_diff.changes(old, new))}"


# --- doing it ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Published:
    """What became of a product and its listing."""

    product: Item
    product_id: str
    was_registered: bool
    """Whether this run registered it."""
    listing: Item | None
    offers: tuple[Offer, ...]

    @property
    def state(self) -> str:
        """The state that decides the exit status."""
        return self.listing.state if self.listing else self.product.state

    def data(self) -> dict[str, Any]:
        """For programs."""
        listing = self.listing.data() if self.listing else None
        offers = [{"name": offer.name, "price": str(offer.price), "approval": offer.approval} for offer in self.offers]
        return {**registered_data(self.product), "product_id": self.product_id, "listing": listing, "offers": offers}

    def lines(self) -> list[str]:
        """For people."""
        lines = registered_lines(
            self.product, self.product_id, word="registered" if self.was_registered else "unchanged"
        )
        if self.listing is None:
            return lines
        listing = self.listing.listing()
        seen = f"; seen by {listing.visibility}" if listing else ""
        state = "listed" if self.listing.state == "LISTED" else self.listing.state
        return lines + [
            f"{state:<10}  offer {offer.name}: {offer.price}, {approval_words(offer.approval)}{seen}"
            for offer in self.offers
        ]


def approval_words(approval: str) -> str:
    """``automatic approval``, ``approval by provider``."""
    return "automatic approval" if approval == "automatic" else f"approval by {approval}"


def register(connection: Session, file: ProductFile, known: Item | None) -> Item:
    """Send the registration of a file, as version 1 or as the next one."""
    old = known.registration() if known else None
    head = source.header(connection.venue)
    made = file.registration(head, old.version if old else 1)
    if old is not None and same(made, old) and known is not None:
        return known
    return _send(connection, file, file.registration(head, old.version + 1 if old else 1), head)


def _send(connection: Session, file: ProductFile, registration: Registration, head: Header) -> Item:
    signer = file.contents.product.provider
    binding = connection.sign(file.binding(head), signer=signer)
    done = connection.submit(registration, supporting=[binding], signer=signer).object
    return _shown(connection, done)


def _shown(connection: Session, done: Item) -> Item:
    """The object with its document: the answer to a step may show the state alone."""
    return done if done.document is not None else connection.get(done.kind, done.id).object


def publish(connection: Session, plan: Plan, *, wait: bool) -> Published:
    """Carry a plan out."""
    product = plan.known
    if plan.registration is not None or product is None:
        registration = plan.registration or plan.file.registration(plan.head, plan.version)
        product = _send(connection, plan.file, registration, plan.head)
    product = settled(connection, product, wait=wait)
    if product.state not in ("REGISTERED", "CHANGE_REVIEW"):
        return Published(product, "", plan.registration is not None, None, ())
    listing = _list(connection, plan) if plan.changes_listing else plan.listing
    offers = plan.file.offers(plan.head, plan.version, plan.order)
    return Published(product, _identifier(connection, product.id), plan.registration is not None, listing, offers)


def _list(connection: Session, plan: Plan) -> Item:
    signer = plan.file.contents.product.provider
    signed = {offer.name: connection.sign(offer, signer=signer) for offer in plan.offers}
    digests = [plan.kept[name] if name in plan.kept else signed[name].digest for name in plan.order]
    old = plan.listing
    document = plan.file.listing(
        plan.head, digests, plan.version, listing=old.id if old else "", previous=old.digest if old else ""
    )
    return _shown(connection, connection.submit(document, supporting=list(signed.values()), signer=signer).object)


def list_again(connection: Session, subject: str, file: ProductFile | None, names: Sequence[str]) -> Published:
    """List a registered product: with the offers of its file, or with offers that stood in its last listing."""
    if file is not None:
        found = plan(connection, file, names)
        if found.known is None:
            raise error("NOT_REGISTERED", f"{file.handle(connection.venue)} is not registered here")
        return publish(connection, found, wait=False)
    handle = subject if "/" in subject else f"{connection.venue}/{subject}"
    product = connection.get("product", handle).object
    old = next(iter(acts.everything(connection, "listing", product=handle)), None)
    known = listed_offers(connection, old)
    chosen = list(names) or list(known)
    missing = [name for name in chosen if name not in known]
    if missing or old is None or not chosen:
        step = "Name the product file: trustnode listing publish FILE"
        raise error("NOT_FOUND", f"{handle} has no offer {', '.join(missing) or 'yet'}", next_step=step)
    return Published(product, _identifier(connection, handle), False, _relist(connection, old, known, chosen),
                     tuple(known[name][1] for name in chosen))  # fmt: skip


def _relist(connection: Session, old: Item, known: dict[str, tuple[str, Offer]], chosen: Sequence[str]) -> Item:
    before = old.listing()
    if before is None:
        raise error("NOT_FOUND", "the listing cannot be read by this profile")
    is_over = old.state in ("DELISTED", "LISTING_REJECTED")
    head = source.header(connection.venue)
    listing = Listing(
        suite="tn1",
        id=head.new_id(),
        iss=before.iss,
        aud=before.aud,
        time=head.now,
        listing=head.new_id() if is_over else before.listing,
        product=before.product,
        product_version=before.product_version,
        venue=before.venue,
        visibility=before.visibility,
        offers=tuple(known[name][0] for name in chosen),
        previous="" if is_over else old.digest,
    )
    done = connection.submit(listing, signer=before.iss.rpartition("/")[2]).object
    return _shown(connection, done)


def settled(connection: Session, item: Item, *, wait: bool) -> Item:
    """The object once nobody has to move any more; at once without ``--wait``."""
    while wait and item.state in acts.WAITING:
        time.sleep(POLL_S)
        item = connection.get(item.kind, item.id).object
    return item


def _identifier(connection: Session, handle: str) -> str:
    """Identifier of 32 characters; empty until the catalogue knows it."""
    try:
        return connection.resolve(handle).identifier
    except TrustnodeError:
        return ""


# --- showing it -------------------------------------------------------------------------------------------------------


def title_of(registration: Registration) -> str:
    """The title in the language of the screen."""
    chinese = output.lang() == "zh" and registration.title_zh
    return registration.title_zh if chinese else registration.title


def registered_data(item: Item) -> dict[str, Any]:
    """A registration for programs."""
    registration = item.registration()
    level = registration.level if registration else ""
    return {**item.data(), "product_version": registration.version if registration else 0, "level": level}


def registered_lines(item: Item, identifier: str = "", word: str = "registered") -> list[str]:
    """A registration for people: ``registered  gz.example/flights-2013  6915...  version 1  GENERAL_1``."""
    registration = item.registration()
    parts = [item.id, identifier]
    if registration is not None:
        parts += [f"version {registration.version}", registration.level]
    line = "  ".join(part for part in parts if part)
    if item.state in ("REGISTERED", "CHANGE_REVIEW"):
        return [f"{word:<10}  {line}"]
    until = end_of_notice(item.changed_at, registration.level) if registration and item.state == "PUBLIC_NOTICE" else ""
    return [f"submitted   {line}", f"{item.state}{f' until {output.day(until)}' if until else ''}"]


def exit_of(state: str) -> int:
    """10 where somebody must move, else 0."""
    return exit_status.WAITS if state in acts.WAITING else exit_status.DONE
