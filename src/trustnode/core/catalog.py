"""Products and listings: what is registered, what is on sale, and what other venues say is on sale.

Decides: the registration, binding, listing and catalogue documents, what each level and category demands, both state
tables (lifecycles 3 and 4). Leaves to others: reading a source (``engine``), the words of an offer (``policy``), search
(``store``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec

from trustnode.core import clock
from trustnode.core.document import Count, Digest, LongText, Required, Statement, Text, Time, Uuid, Version
from trustnode.core.lifecycle import CAUSES_REMAIN, NO_CAUSE_LEFT, Machine, Row, State
from trustnode.core.policy.schema import Column
from trustnode.errors import error
from trustnode.vocabulary import SCENES, TOPICS, check_word

Visibility = Literal["PUBLIC", "NETWORK", "VENUE", "SPACE", "INVITED"]
Approval = Literal["automatic", "provider", "provider and venue"]


class Right(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One link of the chain of rights: who may hold, use, operate."""

    right: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=3)]
    holder: Text
    basis_sha256: Digest
    """Digest of the document that the right rests on; the document stays home."""
    exclusivity: str = "NON_EXCLUSIVE"


class Personal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the data say about persons."""

    kind: str
    processing: str
    method_sha256: Digest | None = None
    """Digest of the method statement; mandatory for ANONYMISED."""
    sensitive: tuple[str, ...] = ()
    legal_basis: str = ""
    consent_sha256: Digest | None = None
    assessment: str = ""
    """Reference of the impact assessment."""


class Public(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What public data must state."""

    authorising_body: Text
    authorisation: Text
    fee_mode: Text


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One table of a product: its name in SQL and its columns."""

    name: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]{0,62}$(?!\n)")]
    columns: Annotated[tuple[Column, ...], msgspec.Meta(min_length=1, max_length=2048)]
    rows: Count | None = None


class Registration(Statement, tag="registration", kw_only=True, frozen=True):
    """A provider registers a product, or a change of it (vocabulary 12.1)."""

    max_bytes = 512 * 1024

    product: Annotated[str, msgspec.Meta(pattern="^[a-z0-9._-]+/[a-z0-9][a-z0-9._-]{0,62}$(?!\n)")]
    """Handle ``venue/name``, for ever."""
    version: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    title: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    title_zh: Annotated[str, msgspec.Meta(max_length=128)] = ""
    abstract: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    provider: Text
    """SPIFFE id."""
    licence: Text
    category: str
    level: str
    level_basis: Text
    topic: str
    scene: str
    industry: Annotated[str, msgspec.Meta(pattern="^[0-9]{4}$(?!\n)")]
    form: str
    updates: str
    source: str
    source_sha256: Digest
    """Digest of the source statement; the statement stays home."""
    rights: Annotated[tuple[Right, ...], msgspec.Meta(min_length=1, max_length=32)]
    personal: Personal
    public: Public | None = None
    cross_border: bool
    zone: Text
    tables: Annotated[tuple[Table, ...], msgspec.Meta(min_length=1, max_length=64)]
    floor: LongText = ""
    """Canonical terms that no offer at any venue may be weaker than; empty: none."""

    def required(self) -> tuple[Required, ...]:
        """The provider."""
        return (Required(self.provider, "participant"),)


class Binding(Statement, tag="resource-binding", kw_only=True, frozen=True):
    """How the providing node reaches the data. It never leaves home."""

    product: str
    kind: str
    location: Text
    tables: tuple[tuple[str, str], ...] = ()
    """(name in SQL, file or table in the source)."""
    credentials: str = ""
    """Name of the file below the node's home that holds them; never what stands in it."""
    version: str = ""
    """PostgreSQL: a query whose one value changes with the data."""
    content_digest: bool = True
    """False: frames are digested by header and length only, and receipts say so."""

    def required(self) -> tuple[Required, ...]:
        """Who registers the product."""
        return (Required(self.iss, "participant"),)


class Listing(Statement, tag="listing", kw_only=True, frozen=True):
    """A product goes on sale at one venue, with its offers (vocabulary 12.2)."""

    listing: Uuid
    product: str
    product_version: Version
    venue: str
    """Trust domain of the venue that lists it."""
    visibility: Visibility
    offers: Annotated[tuple[Digest, ...], msgspec.Meta(min_length=1, max_length=32)]
    previous: str = ""
    """Digest of the listing document that this one changes."""

    def required(self) -> tuple[Required, ...]:
        """The provider."""
        return (Required(self.iss, "participant"),)


class CatalogRecord(Statement, tag="catalog-record", kw_only=True, frozen=True):
    """The origin says what is listed, for one version of one listing (protocol 9)."""

    listing: Uuid
    listing_version: Version
    product: str
    product_id: str
    product_version: Version
    registration_sha256: Digest
    offers: Annotated[tuple[Digest, ...], msgspec.Meta(min_length=1, max_length=32)]
    visibility: Visibility
    state: Literal["LISTED", "SUSPENDED", "DELISTED"]

    def required(self) -> tuple[Required, ...]:
        """The venue of origin."""
        return (Required(self.iss, "evidence"),)


class ProductState(State, kw_only=True, frozen=True):
    """A registered product; ``id`` is its handle, ``document`` the registration in force."""

    product_id: str = ""
    """Identifier of 32 characters, given when it is first registered."""
    provider: str = ""
    product_version: int = 0
    level: str = ""
    category: str = ""
    title: str = ""
    pending: str = ""
    """Digest of the registration that waits for a review."""
    binding: str = ""
    """Digest of the resource binding; empty where the data lie at another node."""
    notice_until: str = ""


class ListingState(State, kw_only=True, frozen=True):
    """A listing at this venue; ``id`` is its UUID, ``document`` the listing document."""

    product: str = ""
    provider: str = ""
    visibility: str = ""
    offers: tuple[str, ...] = ()
    record: str = ""
    """Digest of the newest catalogue record."""


class CatalogEntry(State, kw_only=True, frozen=True):
    """A listing as somebody may find it here: our own, or what a peer told; ``document`` is the catalogue record."""

    product: str = ""
    origin: str = ""
    path: tuple[str, ...] = ()
    """Trust domains it came through, nearest first; empty for our own."""
    received_at: str = ""
    registration: str = ""
    offers: tuple[str, ...] = ()
    level: str = ""
    category: str = ""
    visibility: str = ""
    verification: str = ""
    """CONFIRMED: the origin's card was compared here; INTRODUCED: a peer vouches for it."""


@dataclass(frozen=True)
class ProductFacts:
    """What the guards look at; everything is refused unless somebody established it."""

    incomplete: tuple[str, str] | None = ("FIELD_MISSING", "nothing was checked")
    signed: bool = False
    never_registered: bool = False
    reasons_given: bool = False
    ground: bool = False
    source_confirmed: bool = False
    rights_valid: bool = False
    level_allowed: bool = False
    notice_days: int = 0
    admissible: bool = False
    term_over: bool = False
    objection_open: bool = True
    rights_unchanged: bool = False
    right_held: bool = False
    renewable: bool = False
    agreements_settled: bool = False


def needs(attribute: str, reason: str, sentence: str = "") -> Callable[[object], tuple[str, str] | str | None]:
    """Build a guard that holds when the fact ``attribute`` is true."""

    def guard(facts: object) -> tuple[str, str] | str | None:
        return None if getattr(facts, attribute) else ((reason, sentence) if sentence else reason)

    return guard


def _complete(facts: ProductFacts) -> tuple[str, str] | str | None:
    return facts.incomplete or (None if facts.signed else "SIGNATURE_INVALID")


def _checked(facts: ProductFacts) -> tuple[str, str] | None:
    if not facts.source_confirmed:
        return "SOURCE_UNCONFIRMED", "the source cannot be confirmed"
    if not facts.rights_valid:
        return "RIGHT_MISSING", "nobody is shown to hold the right to operate this product"
    return None if facts.level_allowed else ("LEVEL_FORBIDDEN", "data of this level may not be registered here")


def _notice_due(facts: ProductFacts) -> bool:
    return facts.notice_days > 0


def _no_notice(facts: ProductFacts) -> bool:
    return facts.notice_days == 0


def _notice_over(facts: ProductFacts) -> tuple[str, str] | str | None:
    if facts.objection_open:
        return "OBJECTION_OPEN"
    return None if facts.term_over else ("ILLEGAL_TRANSITION", "the notice term is not over")


_signed = needs("signed", "SIGNATURE_INVALID")
_reasons = needs("reasons_given", "FIELD_MISSING", "give the reasons")
_ground = needs("ground", "FIELD_MISSING", "name the ground")
_admissible = needs("admissible", "FIELD_MISSING", "an objection needs grounds, a signature and admission")
_term_over = needs("term_over", "ILLEGAL_TRANSITION", "the term is not over")
_unchanged = needs("rights_unchanged", "RIGHT_CONFLICT", "a change may not touch the rights")
_right_held = needs("right_held", "RIGHT_MISSING")
_renewable = needs("renewable", "ILLEGAL_TRANSITION", "outside the renewal window")
_level = needs("level_allowed", "LEVEL_FORBIDDEN")
_settled = needs("agreements_settled", "PRECONDITION_OPEN", "agreements are still running")

PRODUCT: Final = Machine[ProductFacts](
    name="product registration",
    kind="product",
    states=(
        "DRAFT",
        "SUBMITTED",
        "PUBLIC_NOTICE",
        "OBJECTED",
        "REGISTERED",
        "CHANGE_REVIEW",
        "CANCEL_REVIEW",
        "DISPUTED",
        "EXPIRED",
        "CANCELLED",
        "REVOKED",
        "REJECTED",
    ),
    terminal=frozenset({"CANCELLED", "REVOKED", "REJECTED"}),
    rows=(
        Row(None, "draft", "P", "DRAFT", ""),
        Row("DRAFT", "submit", "P", "SUBMITTED", "product.submit", _complete),
        Row("DRAFT", "discard", "P", "CANCELLED", "product.discard", needs("never_registered", "ILLEGAL_TRANSITION")),
        Row("SUBMITTED", "check_failed", "H", "DRAFT", "product.return", _reasons),
        Row("SUBMITTED", "refuse", "H", "REJECTED", "product.reject", _ground),
        Row("SUBMITTED", "withdraw", "P", "DRAFT", "product.withdraw"),
        Row("SUBMITTED", "check_passed", "H", "PUBLIC_NOTICE", "product.notice", _checked, _notice_due),
        Row("SUBMITTED", "check_passed", "H", "REGISTERED", "product.register", _checked, _no_notice),
        Row("PUBLIC_NOTICE", "withdraw", "P", "DRAFT", "product.withdraw"),
        Row("PUBLIC_NOTICE", "object", "PCVHNXS", "OBJECTED", "product.object", _admissible),
        Row("PUBLIC_NOTICE", "refuse", "H", "REJECTED", "product.reject", _ground),
        Row("PUBLIC_NOTICE", "notice_over", "T", "REGISTERED", "product.register", _notice_over),
        Row("OBJECTED", "objection_dismissed", "H", "PUBLIC_NOTICE", "product.settle_objection", _reasons),
        Row("OBJECTED", "objection_upheld", "H", "REJECTED", "product.reject", _reasons),
        Row("OBJECTED", "withdraw", "P", "DRAFT", "product.withdraw"),
        Row("REGISTERED", "correct", "H", "REGISTERED", "product.change", _reasons),
        Row("REGISTERED", "request_change", "P", "CHANGE_REVIEW", "product.change", _unchanged),
        Row("REGISTERED", "transfer", "P", "REGISTERED", "product.transfer", _right_held),
        Row("REGISTERED", "license", "P", "REGISTERED", "product.licence", _right_held),
        Row("REGISTERED", "renew", "P", "REGISTERED", "product.renew", _renewable),
        Row("REGISTERED", "change_level", "PHX", "REGISTERED", "product.level_change", _level),
        Row("REGISTERED", "object", "PCVHNXS", "DISPUTED", "product.dispute", _admissible),
        Row("REGISTERED", "request_cancel", "P", "CANCEL_REVIEW", "product.cancel", _signed),
        Row("REGISTERED", "term_over", "T", "EXPIRED", "product.expire", _term_over),
        Row("REGISTERED", "revoke", "HX", "REVOKED", "product.revoke", _ground),
        Row("CHANGE_REVIEW", "change_approved", "H", "REGISTERED", "product.change", _checked),
        Row("CHANGE_REVIEW", "change_refused", "H", "REGISTERED", "product.change", _reasons),
        Row("CHANGE_REVIEW", "object", "PCVHNXS", "DISPUTED", "product.dispute", _admissible),
        Row("CHANGE_REVIEW", "revoke", "HX", "REVOKED", "product.revoke", _ground),
        Row("CANCEL_REVIEW", "cancel_approved", "H", "CANCELLED", "product.cancel", _settled),
        Row("CANCEL_REVIEW", "cancel_refused", "H", "REGISTERED", "product.cancel", _reasons),
        Row("CANCEL_REVIEW", "revoke", "HX", "REVOKED", "product.revoke", _ground),
        Row("DISPUTED", "dispute_dismissed", "H", "REGISTERED", "product.settle_objection", _reasons),
        Row("DISPUTED", "dispute_upheld", "H", "REVOKED", "product.revoke", _reasons),
        Row("DISPUTED", "revoke", "HX", "REVOKED", "product.revoke", _ground),
        Row("EXPIRED", "renew", "P", "REGISTERED", "product.renew", _renewable),
        Row("EXPIRED", "grace_over", "T", "CANCELLED", "product.cancel", _term_over),
        Row("EXPIRED", "revoke", "HX", "REVOKED", "product.revoke", _ground),
    ),
)
REGISTERED: Final = frozenset({"REGISTERED", "CHANGE_REVIEW", "CANCEL_REVIEW"})
"""States in which the last registered version stands."""


@dataclass(frozen=True)
class ListingFacts:
    """What the guards look at."""

    product_registered: bool = False
    offers: int = 0
    operate_held: bool = False
    offers_refused: tuple[str, str] | None = ("OFFER_UNENFORCEABLE", "nothing was compiled")
    visibility_fits: bool = False
    reasons_given: bool = False
    ground: bool = False
    signed: bool = False
    product_ended: bool = False


def _may_list(facts: ListingFacts) -> tuple[str, str] | str | None:
    if not facts.product_registered:
        return "NOT_REGISTERED"
    if not facts.offers:
        return "PRICE_MISSING", "a listing needs at least one offer"
    return None if facts.operate_held else ("RIGHT_MISSING", "only who holds OPERATE may list")


def _may_approve(facts: ListingFacts) -> tuple[str, str] | str | None:
    if not facts.product_registered:
        return "NOT_REGISTERED"
    if facts.offers_refused:
        return facts.offers_refused
    return None if facts.visibility_fits else ("LEVEL_FORBIDDEN", "this visibility does not fit the level")


def _offers_compile(facts: ListingFacts) -> tuple[str, str] | None:
    return facts.offers_refused


_registered = needs("product_registered", "NOT_REGISTERED")
_ended = needs("product_ended", "ILLEGAL_TRANSITION", "the registration has not ended")

LISTING: Final = Machine[ListingFacts](
    name="listing",
    kind="product",
    states=("LISTING_REVIEW", "LISTED", "SUSPENDED", "DELIST_REVIEW", "DELISTED", "LISTING_REJECTED"),
    terminal=frozenset({"DELISTED", "LISTING_REJECTED"}),
    rows=(
        Row(None, "submit", "P", "LISTING_REVIEW", "listing.submit", _may_list),
        Row("LISTING_REVIEW", "approve", "V", "LISTED", "listing.approve", _may_approve),
        Row("LISTING_REVIEW", "reject", "V", "LISTING_REJECTED", "listing.reject", _reasons),
        Row("LISTING_REVIEW", "withdraw", "P", "DELISTED", "listing.delist"),
        Row("LISTING_REVIEW", "registration_ended", "K", "LISTING_REJECTED", "listing.reject", _ended),
        Row("LISTED", "change_offer", "P", "LISTED", "listing.change", _offers_compile),
        Row("LISTED", "suspend", "PVXK", "SUSPENDED", "listing.suspend"),
        Row("LISTED", "request_delist", "P", "DELIST_REVIEW", "listing.delist", _signed),
        Row("LISTED", "remove", "VX", "DELISTED", "listing.delist", _ground),
        Row("LISTED", "registration_ended", "K", "DELISTED", "listing.delist", _ended),
        Row("SUSPENDED", "suspend", "PVXK", "SUSPENDED", "listing.suspend"),
        Row("SUSPENDED", "lift_cause", "PVXK", "SUSPENDED", "listing.resume", when=CAUSES_REMAIN),
        Row("SUSPENDED", "lift_cause", "PVXK", "LISTED", "listing.resume", _registered, NO_CAUSE_LEFT),
        Row("SUSPENDED", "request_delist", "P", "DELIST_REVIEW", "listing.delist", _signed),
        Row("SUSPENDED", "remove", "VX", "DELISTED", "listing.delist", _ground),
        Row("SUSPENDED", "registration_ended", "K", "DELISTED", "listing.delist", _ended),
        Row("DELIST_REVIEW", "delist_approved", "V", "DELISTED", "listing.delist"),
        Row("DELIST_REVIEW", "delist_refused", "V", "SUSPENDED", "listing.delist", _reasons),
        Row("DELIST_REVIEW", "registration_ended", "K", "DELISTED", "listing.delist", _ended),
    ),
)

_WORD_FIELDS: Final = (
    ("DataCategory", "category"),
    ("DataLevel", "level"),
    ("ProductForm", "form"),
    ("UpdateFrequency", "updates"),
    ("SourceKind", "source"),
)
NOTICE_DAYS: Final = {"GENERAL_1": 0, "GENERAL_2": 0, "GENERAL_3": 0, "GENERAL_4": 0, "IMPORTANT": 10}
"""Days of public notice by level before a product counts as registered; CORE is never registered."""
VISIBLE: Final = {
    "GENERAL_1": frozenset({"PUBLIC", "NETWORK", "VENUE", "SPACE", "INVITED"}),
    "GENERAL_2": frozenset({"NETWORK", "VENUE", "SPACE", "INVITED"}),
    "GENERAL_3": frozenset({"NETWORK", "VENUE", "SPACE", "INVITED"}),
    "GENERAL_4": frozenset({"NETWORK", "VENUE", "SPACE", "INVITED"}),
    "IMPORTANT": frozenset({"INVITED"}),
}
"""Which visibility fits which level (market 12)."""


def check_registration(document: Registration) -> None:
    """Check the words of a registration and what its category and level demand.

    Raises:
        TrustnodeError: VOCABULARY_UNKNOWN, CATEGORY_FIELD_MISSING, LEVEL_FORBIDDEN, RIGHT_MISSING.
    """
    for kind, field in _WORD_FIELDS:
        check_word(kind, getattr(document, field), field)
    if document.level == "CORE":
        raise error("LEVEL_FORBIDDEN", "core data are not for the market", field="level")
    if document.topic not in TOPICS or document.scene not in SCENES:
        raise error("VOCABULARY_UNKNOWN", "classes: topic and scene are codes of the classification", field="classes")
    for problem in _personal_problems(document):
        raise problem
    _check_rights(document)


def _personal_problems(document: Registration) -> Iterator[Exception]:
    personal = document.personal
    check_word("PersonalInfoKind", personal.kind, "personal.kind")
    check_word("ProcessingDegree", personal.processing, "personal.processing")
    if document.category == "PUBLIC" and document.public is None:
        yield error("CATEGORY_FIELD_MISSING", "PUBLIC data name who authorised them: [product.public]", field="public")
    if personal.processing == "ANONYMISED" and personal.method_sha256 is None:
        yield error("CATEGORY_FIELD_MISSING", "ANONYMISED needs a method statement", field="personal.method")
    if document.category in ("PERSONAL", "MIXED") and not personal.legal_basis:
        yield error("CATEGORY_FIELD_MISSING", f"{document.category} data need a legal basis", field="legal_basis")
    if personal.legal_basis:
        check_word("LegalBasis", personal.legal_basis, "personal.legal_basis")
    if document.category in ("PUBLIC", "ENTERPRISE") and personal.kind != "NONE":
        yield error("CATEGORY_FIELD_MISSING", "data about persons are PERSONAL or MIXED", field="category")


def _check_rights(document: Registration) -> None:
    for right in document.rights:
        for word in right.right:
            check_word("RightType", word, "rights.right")
        check_word("RightExclusivity", right.exclusivity, "rights.exclusivity")
    if not holds(document, "OPERATE"):
        raise error("RIGHT_MISSING", "the provider must hold OPERATE to offer the product", field="rights")


def holds(document: Registration, right: str) -> bool:
    """Whether the provider of a registration is shown to hold ``right``."""
    provider = document.provider.rpartition("/")[2]
    return any(right in link.right and link.holder in (provider, document.provider) for link in document.rights)


def end_of_notice(time: Time, level: str) -> str:
    """When the public notice that begins at ``time`` is over; empty where the level asks for none."""
    days = NOTICE_DAYS[level]
    return clock.shift(time, days * 86400) if days else ""
