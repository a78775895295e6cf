"""The product file: what a provider writes about a product and its offers, in TOML.

Decides: which documents a file becomes (registration, binding, offers, listing); each refusal names file, line and
column. Leaves to others: keys and places (``product_text``), words (``vocabulary``), what terms mean (``core.policy``),
what a level demands (``core.catalog``), reading the source (the caller passes ``describe``, because the client needs no
engine), signing and sending (``client``).
Source: surface 8.
"""

from __future__ import annotations

import hashlib
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

from trustnode import vocabulary
from trustnode.core import clock
from trustnode.core.catalog import (
    Approval,
    Binding,
    Listing,
    Personal,
    Public,
    Registration,
    Right,
    Table,
    Visibility,
    check_registration,
)
from trustnode.core.contract import Mandate, Offer, Price
from trustnode.core.document import Statement, canonical
from trustnode.core.identifier import check_name
from trustnode.core.policy import conflict, floor, grammar
from trustnode.core.policy import terms as terms_module
from trustnode.core.policy.compile import compile_terms
from trustnode.core.policy.decompile import to_terms
from trustnode.core.policy.odrl import Policy, identified, same_terms
from trustnode.core.policy.odrl import decode as decode_policy
from trustnode.core.policy.schema import Column
from trustnode.core.policy.terms import Terms
from trustnode.errors import error
from trustnode.sdk.product_text import (
    ColumnLine,
    Contents,
    OfferTable,
    PersonalLine,
    ProductText,
    PublicLine,
    Resource,
    RightLine,
    read,
)
from trustnode.sdk.toml_position import Path as KeyPath

MAX_AGREEMENTS: Final = 1_000_000
"""What an offer with automatic approval lets the venue conclude, where the file names no number."""
OFFER_LIFE_DAYS: Final = 365
"""How long an offer stands that names neither ``until`` nor days in ``period``."""
KINDS: Final = ("parquet", "csv", "json", "duckdb", "sqlite", "postgres", "s3")
DATABASES: Final = ("duckdb", "sqlite", "postgres")
"""Kinds whose ``table`` names a table and not a file."""
ADDRESSES: Final = ("postgres", "s3")
"""Kinds whose ``location`` is an address and not a path."""
APPROVALS: Final = typing.get_args(Approval)
VISIBILITIES: Final = typing.get_args(Visibility)


class Where(NamedTuple):
    """How the data are reached, as ``describe`` needs it."""

    kind: str
    location: str
    """Absolute path, or address."""
    tables: Mapping[str, str] = {}
    """Name in SQL -> file or table."""
    credentials: str = ""
    version: str = ""


Describe = Callable[[Where], Sequence[Table]]
"""Gives the tables of a source with their columns."""


class Header(NamedTuple):
    """What the file does not know: for which venue, when, under which identifiers."""

    venue: str
    """Trust domain of the venue that registers and lists."""
    now: str
    new_id: Callable[[], str]
    """Gives a random UUID for each document."""


@dataclass(frozen=True)
class ProductFile:
    """A product file that was read, decoded and checked as far as that needs no venue."""

    text: ProductText
    tables: tuple[Table, ...]
    digests: Mapping[str, str]
    """Text of the file -> SHA-256 of the statement it stands for."""

    @property
    def path(self) -> Path:
        """The file; what it names is relative to it."""
        return self.text.path

    @property
    def contents(self) -> Contents:
        """The file, decoded."""
        return self.text.contents

    @property
    def name(self) -> str:
        """The handle's second half."""
        return self.contents.product.name

    def participant(self, venue: str) -> str:
        """SPIFFE id of the provider at ``venue``."""
        return f"spiffe://{venue}/participant/{self.contents.product.provider}"

    def handle(self, venue: str) -> str:
        """``venue/name``."""
        return f"{venue}/{self.name}"

    def registration(self, header: Header, version: int = 1) -> Registration:
        """The registration that the file states.

        Raises:
            TrustnodeError: As ``check_registration``, with file, line and column.
        """
        made = self.text.at(("product",), lambda: _bounded(self._registration(header, version)))
        self.text.at(("product",), lambda: check_registration(made))
        return made

    def binding(self, header: Header) -> Binding:
        """How the node reaches the data; the location is absolute."""
        where = _where(self.path, self.contents.resource)
        return Binding(
            **self._common(header, (header.venue,)),
            product=self.handle(header.venue),
            kind=where.kind,
            location=where.location,
            tables=tuple(where.tables.items()),
            credentials=where.credentials,
            version=where.version,
            content_digest=self.contents.resource.content_digest,
        )

    def offers(self, header: Header, version: int = 1, names: Sequence[str] = ()) -> tuple[Offer, ...]:
        """The offers of the file, compiled.

        Args:
            header: Venue, time and identifiers.
            version: Version of the product that they belong to.
            names: Only these; empty: all.

        Raises:
            TrustnodeError: As ``compile_terms``, with file, line and column; NOT_FOUND for a name that is not there.
        """
        known = {offer.name: number for number, offer in enumerate(self.contents.offer)}
        for name in names:
            if name not in known:
                raise error("NOT_FOUND", f"{self.path.name} has no offer {name!r}; it has: {', '.join(known)}")
        chosen = [known[name] for name in names] or list(known.values())
        return tuple(self._offer(number, header, version) for number in chosen)

    def listing(
        self, header: Header, offers: Sequence[str], version: int = 1, listing: str = "", previous: str = ""
    ) -> Listing:
        """The listing of the product with the offers of these digests."""
        return Listing(
            **self._common(header, ("*",)),
            listing=listing or header.new_id(),
            product=self.handle(header.venue),
            product_version=version,
            venue=header.venue,
            visibility=typing.cast("Visibility", self.contents.listing.visibility),
            offers=tuple(offers),
            previous=previous,
        )

    def terms(self, number: int) -> Terms:
        """Terms of the offer ``number`` as they stand in the file, or as its policy file means them."""
        table = self.contents.offer[number]
        if table.odrl is not None:
            policy_file = self.path.parent / table.odrl
            return self.text.at(("offer", number, "odrl"), lambda: to_terms(_policy(policy_file))[0])
        return self.text.at(("offer", number), lambda: terms_module.decode(table.terms or {}))

    @property
    def schema(self) -> tuple[Column, ...]:
        """Columns that the terms speak of."""
        return self.tables[0].columns

    @property
    def floor(self) -> Terms | None:
        """``[product.terms]``: no offer at any venue may be weaker; read, its words checked."""
        table = self.contents.product.terms
        return None if table is None else self.text.at(("product",), lambda: _read_floor(table))

    # --- inside

    def _registration(self, header: Header, version: int) -> Registration:
        product, facts = self.contents.product, self.contents.product.facts
        demanded = self.floor
        return Registration(
            **self._common(header, ("*",)),
            product=self.handle(header.venue),
            version=version,
            title=product.title,
            title_zh=product.title_zh,
            abstract=product.abstract,
            provider=self.participant(header.venue),
            licence=product.licence,
            category=product.category,
            level=product.level,
            level_basis=product.level_basis,
            topic=vocabulary.find_class(vocabulary.TOPICS, product.classes.topic, "classes.topic"),
            scene=vocabulary.find_class(vocabulary.SCENES, product.classes.scene, "classes.scene"),
            industry=_industry(product.classes.industry),
            form=facts.form,
            updates=facts.updates,
            source=facts.source,
            source_sha256=self.digests[product.source_statement],
            rights=tuple(self._right(right) for right in product.rights),
            personal=self._personal(product.personal),
            public=_public(product.public),
            cross_border=product.cross_border,
            zone=product.zone,
            tables=self.tables,
            floor=canonical(demanded).decode() if demanded else "",
        )

    def _right(self, right: RightLine) -> Right:
        return Right(
            right=right.right,
            holder=right.holder,
            basis_sha256=self.digests[right.basis],
            exclusivity=right.exclusivity,
        )

    def _personal(self, personal: PersonalLine) -> Personal:
        return Personal(
            kind=personal.kind,
            processing=personal.processing,
            method_sha256=self.digests.get(personal.method or ""),
            sensitive=personal.sensitive or (),
            legal_basis=personal.legal_basis or "",
            consent_sha256=self.digests.get(personal.consent or ""),
            assessment=personal.assessment or "",
        )

    def _offer(self, number: int, header: Header, version: int) -> Offer:
        table, product = self.contents.offer[number], self.contents.product
        place: KeyPath = ("offer", number)
        price = self.text.at(place, lambda: Price.parse(table.price))
        terms = self.terms(number)
        policy = self.text.at(place, lambda: self._policy(number, terms, header.now))
        self.text.at(place, lambda: self._check_floor(self._frozen(terms)))
        offer = Offer(
            **self._common(header, ("*",)),
            name=table.name,
            product=self.handle(header.venue),
            product_version=version,
            provider=self.participant(header.venue),
            policy=policy,
            terms=canonical(self._frozen(terms)).decode(),
            price=price,
            approval=typing.cast("Approval", table.approval),
            valid_until=self.text.at(place, lambda: _valid_until(table, terms, product.zone, header.now)),
            mandate=_mandate(table),
        )
        return self.text.at(place, lambda: _bounded(offer))

    def _policy(self, number: int, terms: Terms, now: str) -> Policy:
        table, product = self.contents.offer[number], self.contents.product
        if len(self.tables) > 1:
            message = "the terms of an offer govern one table; register each table as a product of its own"
            raise error("OFFER_UNENFORCEABLE", message, field="table")
        policy = compile_terms(
            terms,
            price=table.price,
            schema=self.schema,
            zone=product.zone,
            level=product.level,
            at=clock.moment(now),
            approval=table.approval,
        )
        if table.odrl is not None and not same_terms(_policy(self.path.parent / table.odrl), policy):
            raise error(
                "POLICY_CONFLICT", "the policy file and the price differ, or it is not in its short form", field="odrl"
            )
        return policy

    def _check_floor(self, terms: Terms) -> None:
        demanded = self.floor
        if demanded is not None:
            floor.check(terms, demanded)

    def _frozen(self, terms: Terms) -> Terms:
        """``columns = "all"`` frozen to the columns there are: one that appears later is not delivered."""
        if terms.columns != "all":
            return terms
        named = tuple(column.name for column in self.schema if column.name not in terms.masks)
        return msgspec.structs.replace(terms, columns=named)

    def _common(self, header: Header, audience: tuple[str, ...]) -> dict[str, Any]:
        return {
            "suite": "tn1",
            "id": header.new_id(),
            "iss": self.participant(header.venue),
            "aud": audience,
            "time": header.now,
        }


# --- reading --------------------------------------------------------------------------------------------------------


def load(path: Path, describe: Describe) -> ProductFile:
    """Read a product file and what it names.

    Args:
        path: The file; what it names is relative to it.
        describe: Reads the schema of the source.

    Raises:
        TrustnodeError: As ``product_text.read``, and the reasons of ``describe``, with ``file``, ``line``, ``column``.
    """
    text = read(path)
    contents = text.contents
    text.at((), partial(_check_words, contents))
    for number, offer in enumerate(contents.offer):
        text.at(("offer", number), partial(_check_offer, offer, contents.offer[:number]))
    digests = {name: text.at(place, partial(_digest, path, name)) for place, name in _statements(contents)}
    tables = text.at(("resource",), partial(_tables, path, contents, describe))
    return ProductFile(text, tables, digests)


# --- values ---------------------------------------------------------------------------------------------------------


def _check_words(contents: Contents) -> None:
    """Closed words and names that need neither source nor venue."""
    check_name(contents.product.name, "name")
    check_name(contents.product.provider, "provider")
    grammar.zone(contents.product.zone)
    _one_of("kind", contents.resource.kind, KINDS)
    _one_of("visibility", contents.listing.visibility, VISIBILITIES)
    for word in contents.product.personal.sensitive or ():
        vocabulary.check_word("SensitiveKind", word, "personal.sensitive")


S = TypeVar("S", bound=Statement)


def _bounded(statement: S) -> S:
    """The statement, if it keeps the lengths and patterns of its fields: building one does not look at them."""
    try:
        return msgspec.json.decode(canonical(statement), type=type(statement))
    except msgspec.ValidationError as problem:
        what, _, place = str(problem).partition(" - at `$")
        field = place.strip("`.").replace("[", ".").replace("]", "")
        raise error("FIELD_FORMAT", f"{field}: {what[:1].lower()}{what[1:]}", field=field) from None


def _check_offer(offer: OfferTable, before: Sequence[OfferTable]) -> None:
    check_name(offer.name, "name")
    if any(other.name == offer.name for other in before):
        raise error("DUPLICATE", f"two offers are named {offer.name!r}", field="name")
    _one_of("approval", offer.approval, APPROVALS)
    if (offer.terms is None) == (offer.odrl is None):
        raise error(
            "FIELD_MISSING", "an offer has [offer.terms], or odrl with a policy file; one of them", field="name"
        )
    if offer.max_agreements is not None and not 1 <= offer.max_agreements <= MAX_AGREEMENTS:
        raise error("FIELD_FORMAT", f"max_agreements: 1 to {MAX_AGREEMENTS}", field="max_agreements")


def _read_floor(table: Mapping[str, Any]) -> Terms:
    terms = terms_module.decode(table)
    terms_module.refuse_unkept(terms)
    floor.check(terms, terms)  # reads each of its lines
    return terms


def _policy(path: Path) -> Policy:
    """The policy of a file. Once no two of its rules meet, what it says of conflicts says nothing and is left out."""
    try:
        decoded = decode_policy(path.read_bytes())
    except OSError as problem:
        raise error("NOT_FOUND", f"{path.name} cannot be read: {problem.strerror}", field="odrl") from None
    conflict.check(decoded)
    return identified(msgspec.structs.replace(decoded, conflict=None))


def _one_of(field: str, word: str, known: Sequence[str]) -> None:
    if word not in known:
        raise vocabulary.unknown(field, word, known)


def _industry(code: str) -> str:
    if not re.fullmatch(r"[0-9]{4}", code):
        raise error("FIELD_FORMAT", "industry: four digits, 00 and the GB/T 4754 division", field="classes.industry")
    return code


def _statements(contents: Contents) -> list[tuple[KeyPath, str]]:
    """Every text that stands for a statement: where it stands, and what."""
    product = contents.product
    found: list[tuple[KeyPath, str | None]] = [
        (("product", "source_statement"), product.source_statement),
        (("product", "personal", "method"), product.personal.method),
        (("product", "personal", "consent"), product.personal.consent),
        *((("product", "rights", n, "basis"), right.basis) for n, right in enumerate(product.rights)),
    ]
    return [(place, text) for place, text in found if text]


def _digest(path: Path, text: str) -> str:
    """SHA-256 of a statement: of the file that is named, or of the text itself where it is a sentence."""
    file = path.parent / text
    if len(text) < 1024 and file.is_file():
        return hashlib.sha256(file.read_bytes()).hexdigest()
    if " " in text or not text.isascii():
        return hashlib.sha256(text.encode()).hexdigest()
    raise error("FIELD_MISSING", f"{text}: no such file beside {path.name}; a statement in words has several")


def _where(path: Path, resource: Resource) -> Where:
    if resource.kind in ADDRESSES:
        location = resource.location
        if ":" in urlsplit(location).netloc.rpartition("@")[0]:
            message = (
                "location: a password does not stand here; write it into credentials/NAME.toml (mode 600) below the"
            )
            raise error("FIELD_FORMAT", f'{message} home, and here: credentials = "NAME"', field="location")
    else:
        location = str(_path(path, resource))
        if resource.credentials:
            raise error("FIELD_FORMAT", f"credentials: a {resource.kind} source needs none", field="credentials")
    if resource.version and resource.kind != "postgres":
        raise error("FIELD_FORMAT", f"version: a {resource.kind} source tells it by itself", field="version")
    named = _sources(resource, is_folder=Path(location).is_dir())
    return Where(resource.kind, location, named, resource.credentials or "", resource.version or "")


def _path(path: Path, resource: Resource) -> Path:
    try:
        return (path.parent / resource.location).resolve()
    except (OSError, ValueError):
        raise error("FIELD_FORMAT", "location: this is no path", field="location") from None


def _sources(resource: Resource, *, is_folder: bool) -> dict[str, str]:
    """Name in SQL -> file or table in the source; empty: what the source holds, under its own names."""
    if not isinstance(resource.table, str):
        return {table.name: table.location for table in resource.table}
    if not resource.table:
        return {}
    if resource.kind in DATABASES:
        schema, _, name = resource.table.rpartition(".")
        return {name: resource.table} if schema else {resource.table: resource.table}
    return {resource.table: "." if is_folder or resource.kind == "s3" else Path(resource.location).name}


def _tables(path: Path, contents: Contents, describe: Describe) -> tuple[Table, ...]:
    resource = contents.resource
    found = describe(_where(path, resource))
    extras = contents.product.columns or {}
    known = {column.name for table in found for column in table.columns}
    for name in extras:
        if name not in known:
            raise vocabulary.unknown(f"columns.{name}", name, known)
    return tuple(_with_extras(table, extras) for table in found)


def _with_extras(table: Table, extras: Mapping[str, ColumnLine]) -> Table:
    none = ColumnLine()
    columns = tuple(
        msgspec.structs.replace(column, unit=extra.unit or column.unit, description=extra.description)
        for column in table.columns
        for extra in (extras.get(column.name, none),)
    )
    return msgspec.structs.replace(table, columns=columns)


def _public(line: PublicLine | None) -> Public | None:
    return None if line is None else Public(**msgspec.structs.asdict(line))


def _mandate(table: OfferTable) -> Mandate | None:
    if table.approval != "automatic":
        return None
    return Mandate(max_agreements=table.max_agreements or MAX_AGREEMENTS)


_DAY: Final = re.compile(r"2[0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")


def _valid_until(table: OfferTable, terms: Terms, zone: str, now: str) -> str:
    """The end of ``until``, else of the days in ``period``, else a year from now."""
    last = table.until or (terms.period.partition(" to ")[2])
    if not last:
        return clock.shift(now, OFFER_LIFE_DAYS * 86400)
    if not _DAY.fullmatch(last):
        raise error("FIELD_FORMAT", f"until: {last!r} is no day; write: 2027-11-30", field="until")
    days = grammar.Days(date.fromisoformat(last), date.fromisoformat(last))
    end = clock.text(clock.moment(grammar.bounds(days, grammar.zone(zone))[1]))
    if end <= now:
        raise error("POLICY_CONFLICT", f"until = {last!r} is over", field="until")
    return end
