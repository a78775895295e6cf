"""What an entry says about state: the columns that an event changed, and what it took of a counter.

Decides: the form of both inside a record. Leaves to others: which columns are carried (``core.carried``), reading them
back into states (``core.replay``).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MAX_COLUMNS = 64
RowKind = Literal["participant", "peering", "product", "listing", "negotiation", "agreement", "grant", "access", "duty"]
"""Kinds of object that entries move: every key of ``core.states.MACHINES``."""
_Text = Annotated[str, Meta(max_length=2048)]
Value = _Text | Annotated[int, Meta(ge=0, le=2**53 - 1)] | Annotated[tuple[_Text, ...], Meta(max_length=64)]
"""What a column holds; text that is not plain stands as its SHA-256 (``core.carried.DIGESTED``)."""


class Moved(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One object before and after an event. Its ``changed_at`` is the time of the entry."""

    kind: RowKind
    id: Annotated[str, Meta(min_length=1, max_length=2048)]
    since: Annotated[int, Meta(ge=0, le=2**53 - 1)] = 0
    """Version before; absent: the event created the object, and a column not named is empty."""
    version: Annotated[int, Meta(ge=1, le=2**53 - 1)]
    columns: Annotated[dict[str, Value], Meta(max_length=MAX_COLUMNS)]
    """Column -> what it holds now, for the columns that changed."""


class Counted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An amount of one counter in one window."""

    key: Annotated[str, Meta(min_length=1, max_length=2048)]
    window: Annotated[str, Meta(max_length=64)] = ""
    amount: Annotated[int, Meta(ge=0, le=2**53 - 1)]
