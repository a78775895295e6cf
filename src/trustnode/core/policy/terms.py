"""Readable terms: the closed keys a provider types, and how each one is kept.

Decides: which keys there are, which must be said, and the class of each (``enforced``, ``proven``, ``promised``); a key
that nothing here keeps makes the offer unpublishable. Leaves to others: the grammar of the values (``grammar``), what
they become (``compile``) and their words (``explain``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from trustnode import vocabulary
from trustnode.errors import error

Kept = Literal["enforced", "proven", "promised"]
"""Impossible otherwise; the other side owes proof, overdue suspends; stands in the contract only."""

Short = Annotated[str, msgspec.Meta(max_length=256)]
List = Annotated[tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=256)], ...], msgspec.Meta(max_length=2048)]
Choice = Short | List
"""One of the words that stand alone (``any``, ``anyone``, ``all``), or a list."""


class Noise(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Differential privacy of aggregates; numbers that are not whole are text (read TOML with ``parse_float=str``)."""

    epsilon_per_query: Short | int = ""
    epsilon_in_all: Short | int = ""
    per: Short = ""
    delta: Short | int = ""
    clamp: dict[str, tuple[Short | int, ...]] = {}
    groups_per_person: int = 0
    rows_per_group: int = 0
    keys: dict[str, tuple[Short | int, ...]] = {}


class Terms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a consumer may do, in words. Empty means: not said (surface 8)."""

    purposes: Choice = ()
    """``any`` or purposes; one covers those below it."""
    not_for: List = ()
    who: Choice = ()
    """``anyone`` or ``role:``, ``assurance:``, ``participant:``, ``venue:``, ``space:``; any of one kind, all kinds."""
    places: List = ()
    period: Short = ""
    """``2026-12-01 to 2027-11-30``, whole days in the zone of the product, or ``12 months`` from signing."""
    result: Short = ""
    """``aggregates``, or empty for rows."""
    rows: Annotated[str, msgspec.Meta(max_length=4096)] = ""
    columns: Choice = ()
    masks: dict[str, Short] = {}
    uses: dict[str, Short] = {}
    """Delivered columns that may not be used for everything: ``filter``, ``join`` or ``aggregate N``."""
    person: Short = ""
    """Privacy unit of aggregates: the column whose distinct values a group must hold enough of."""
    group_by: List = ()
    measures: List = ()
    min_group: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)] = 0
    noise: Noise | None = None
    limits: List = ()
    environment: Short = ""
    keep: Short = ""
    """``no copy``, ``N days`` or ``unlimited``."""
    onward: Short = ""
    derived: Short = ""
    duties: List = ()
    trace: Short = ""

    def said(self) -> tuple[str, ...]:
        """Keys that stand in the terms, in their order."""
        return tuple(key for key in KEYS if getattr(self, key) != _SILENT[key])


KEYS: Final[tuple[str, ...]] = Terms.__struct_fields__
_SILENT: Final[Mapping[str, Any]] = {key: getattr(Terms(), key) for key in KEYS}

MANDATORY: Final = ("purposes", "who", "period", "keep", "onward")
"""Nothing by silence: an offer says these, ``any`` if so meant; so it does ``columns``, ``masks``
or ``result``."""

OF_AGGREGATES: Final = ("person", "group_by", "measures", "min_group", "noise")

UNKEPT: Final[Mapping[str, str]] = {
    "environment": "no verifier here",
}
"""Keys without an enforcer in this node, and what is missing."""

KEPT: Final[Mapping[str, Kept]] = {
    "purposes": "enforced",
    "not_for": "enforced",
    "who": "enforced",
    "places": "enforced",
    "period": "enforced",
    "result": "enforced",
    "rows": "enforced",
    "columns": "enforced",
    "masks": "enforced",
    "uses": "enforced",
    "person": "enforced",
    "group_by": "enforced",
    "measures": "enforced",
    "min_group": "enforced",
    "noise": "enforced",
    "limits": "enforced",
    "keep": "proven",
    "onward": "promised",
    "derived": "promised",
    "duties": "promised",
    "trace": "enforced",
}
"""Class of each key that has one; ``keep`` and ``duties`` depend on their value (``grammar``). Closed with UNKEPT."""


def decode(mapping: Mapping[str, Any], field: str = "terms") -> Terms:
    """Read the ``terms`` table of a product file.

    Args:
        mapping: As ``tomllib.load(..., parse_float=str)`` gives it.
        field: Where it stands, for messages.

    Raises:
        VOCABULARY_UNKNOWN: a key is not one of ``KEYS``; names the nearest.
        FIELD_MISSING: a key stands there with nothing in it.
        FIELD_FORMAT: a value is of the wrong kind.
    """
    for key, value in mapping.items():
        if key not in KEYS:
            raise vocabulary.unknown(f"{field}.{key}", key, KEYS)
        if value in ("", [], {}, ()):
            raise error("FIELD_MISSING", f"{key} stands there and is empty", field=f"{field}.{key}")
    try:
        return msgspec.convert(mapping, Terms)
    except msgspec.ValidationError as cause:
        raise error("FIELD_FORMAT", f"{field}: {cause}", field=field) from None


def refuse_unkept(terms: Terms) -> None:
    """Refuse a term that nothing in this node keeps (promise 1).

    Raises:
        OFFER_UNENFORCEABLE: names the line and what is missing.
    """
    for key in terms.said():
        if key in UNKEPT:
            value = getattr(terms, key)
            line = f'{key} = "{value}"' if isinstance(value, str) else f"[{key}]"
            raise error("OFFER_UNENFORCEABLE", f"{line}: {UNKEPT[key]}", field=key)
