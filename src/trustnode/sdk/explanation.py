"""What a query would deliver, as the providing node explains it.

Decides: the values a person or program reads. Leaves to others: the explanation itself (the node).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from trustnode.sdk.connection import Node


class Column(msgspec.Struct, frozen=True):
    """One column as it is delivered."""

    name: str
    type: str = ""
    unit: str = ""
    mask: str = ""
    """The mask in words, such as ``bucket 10000``; empty: values as they are."""
    description: str = ""
    use: str = ""
    """What alone it may be used for: ``filter``, ``join`` or ``aggregate 10``; empty: for everything."""


class Term(msgspec.Struct, frozen=True):
    """One line of the terms, and how it is kept: ENFORCED, PROVEN or PROMISED."""

    key: str
    text: str
    text_zh: str = ""
    keeping: str = "UNSPECIFIED"
    added_by: str = ""


class Counter(msgspec.Struct, frozen=True):
    """One counter of an agreement."""

    text: str
    unit: str = ""
    used: int = 0
    reserved: int = 0
    limit: int = 0
    window_ends_at: str | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What would be delivered, or why nothing would."""

    allowed: bool
    reason: str = ""
    message: str = ""
    next_step: str = ""
    columns: tuple[Column, ...] = ()
    columns_total: int = 0
    rows_estimate: int | None = None
    rows_total: int | None = None
    price: str = ""
    price_fen: int | None = None
    counters: tuple[Counter, ...] = ()
    terms: tuple[Term, ...] = ()


async def explanation(
    node: Node, subject: Mapping[str, Any], purpose: str, sql: str, parameters: Sequence[Any]
) -> Explanation:
    """Ask for an explanation under an agreement or an offer."""
    answer = await node.call(
        "AccessService/ExplainAccess",
        purpose=purpose,
        sql=sql,
        parameters_json=json.dumps(list(parameters)) if parameters else "",
        **subject,
    )
    return msgspec.convert(answer["explanation"], Explanation)
