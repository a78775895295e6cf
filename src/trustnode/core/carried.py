"""Which columns of a state entries carry, and what becomes of the others (lifecycles 1, L11).

Decides: in whose chain a change of a state stands, and for every column one of: carried in the entry, carried as a
digest, following from something else that is kept, or a local cache that nothing commits to. Leaves to others: writing
entries (``store``), reading them back (``core.replay``).

A bundle shows entries of agreement and negotiation chains to the other party and to strangers: what these rows carry is
what both parties signed or told each other. Resource bindings are named by digest, in the product's chain, which stays
at home.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, NamedTuple, get_origin

import msgspec

from trustnode.core.evidence.events import ObjectKind
from trustnode.core.evidence.moved import Moved, Value
from trustnode.core.lifecycle import State
from trustnode.core.states import KINDS, STATES


class Chain(NamedTuple):
    """Where the entries of a state stand."""

    kind: ObjectKind
    column: str = "id"
    """Column of the state that names the object of the chain."""


CHAINS: Final[Mapping[str, Chain]] = {
    "participant": Chain("participant"),
    "peering": Chain("peer"),
    "product": Chain("product"),
    "listing": Chain("product", "product"),
    "negotiation": Chain("negotiation"),
    "agreement": Chain("agreement"),
    "grant": Chain("agreement"),
    "access": Chain("agreement", "agreement"),
    "duty": Chain("agreement", "agreement"),
}
"""Kind of state -> whose chain carries its changes; one that is not here changes without an entry (``LOCAL``)."""

DIGESTED: Final[Mapping[tuple[str, str], str]] = {
    ("participant", "title"): "names a person or a firm, which no entry does; stands in the key document or invitation",
    ("product", "title"): "prose; stands in the registration",
}
"""Carried as SHA-256 of the text; the text stands in a document that the entry names."""

FOLLOWING: Final[Mapping[tuple[str, str], str]] = {
    ("access", "decision_seq"): "where the entry access.decide of this access stands",
    ("access", "decision_link"): "where the entry access.decide of this access stands",
    ("access", "acked_frames"): "the most that a kept receipt-ack of this access states before the final one",
    ("access", "acked_rows"): "the most that a kept receipt-ack of this access states before the final one",
    ("access", "acked_bytes"): "the most that a kept receipt-ack of this access states before the final one",
    ("catalog", "state"): "the catalogue record",
    ("catalog", "product"): "the catalogue record",
    ("catalog", "origin"): "the venue that signed the catalogue record",
    ("catalog", "registration"): "the catalogue record",
    ("catalog", "offers"): "the catalogue record",
    ("catalog", "visibility"): "the catalogue record",
    ("catalog", "level"): "the registration that the catalogue record names",
    ("catalog", "category"): "the registration that the catalogue record names",
}
"""Set without a new version; derived again from entries and kept documents."""

LOCAL: Final[Mapping[tuple[str, str], str]] = {
    ("catalog", "causes"): "always empty: a mirror has no life cycle",
    ("catalog", "version"): "how often this node took the record in; following the lane anew counts anew",
    ("catalog", "changed_at"): "when this node took the record in",
    ("catalog", "document"): "which of the origin's records is the newest is known again by following its lane",
    ("catalog", "path"): "the way it came; the origin's signature counts, not the way",
    ("catalog", "received_at"): "when this node took the record in",
    ("catalog", "verification"): "whether the origin's card is compared here follows from the peering at each use",
}
"""A local cache that nothing commits to, with the reason why nothing needs to. Closed: a test walks every column."""

_ALWAYS: Final = frozenset({"id", "version", "changed_at"})
"""Stand beside the columns in every change."""


@cache
def carried(kind: str) -> tuple[str, ...]:
    """Columns of a kind of state that entries carry, in the order of its fields."""
    columns = STATES[kind].__struct_fields__
    left_out = {column for name, column in (*FOLLOWING, *LOCAL) if name == kind} | _ALWAYS
    return tuple(column for column in columns if column not in left_out)


@cache
def _digested(kind: str) -> frozenset[str]:
    return frozenset(column for name, column in DIGESTED if name == kind)


def chain_of(state: State) -> tuple[ObjectKind, str] | None:
    """Kind and name of the object whose chain carries a state's changes; None: it changes without an entry."""
    chain = CHAINS.get(KINDS[type(state)])
    return (chain.kind, str(getattr(state, chain.column))) if chain else None


def change_of(before: State | None, after: State) -> Moved:
    """What an entry has to say when a state went from ``before`` to ``after``."""
    kind = KINDS[type(after)]
    columns: dict[str, Value] = {}
    for name in carried(kind):
        value = getattr(after, name)
        if value != getattr(before, name) if before else value:
            columns[name] = value
    for name in _digested(kind):
        if columns.get(name):
            columns[name] = text_digest(str(columns[name]))
    return Moved(
        kind=kind,  # type: ignore[arg-type] # every kind that has a chain, a closed set
        id=after.id,
        since=before.version if before else 0,
        version=after.version,
        columns=columns,
    )


def text_digest(text: str) -> str:
    """How a column of ``DIGESTED`` is carried."""
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def empty_columns(kind: str) -> Mapping[str, Any]:
    """Every column of a kind of state, empty: what it holds where no entry names it."""
    return {field.name: _EMPTY[get_origin(field.type) or field.type] for field in msgspec.structs.fields(STATES[kind])}


_EMPTY: Final[Mapping[Any, Any]] = {str: "", int: 0, tuple: ()}
