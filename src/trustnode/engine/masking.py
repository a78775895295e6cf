"""Masks as SQL: what stands in the governed sub-select in place of a column (governed-sql 10).

Decides: the expression of each mask. Leaves to others: what a mask fits and takes, and the type it delivers
(``core.policy.masks``), where the expression stands (``relation``).

Values of a policy enter as literals of the tree, never as text. The key of keyed hashes is no part of it: the hash is a
macro of the session.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import sqlglot
from sqlglot import exp

from trustnode.core.policy.governed import Mask
from trustnode.core.policy.masks import OTHER, listed, masked_type
from trustnode.core.policy.schema import NUMBERS, Column, Family
from trustnode.engine.source import quoted_text, sql_type
from trustnode.errors import TrustnodeError, error

HASH_MACRO: Final = "keyed_hash"
HIDDEN_DIGITS: Final = 12
"""Digits of the keyed hash that stand for a value too short to be shown in part: 48 bits."""

_TEXT: Final = "CAST(:c AS VARCHAR)"
_HASH: Final = f'"$schema"."{HASH_MACRO}"({_TEXT})'
_SHORT: Final = f"left({_HASH}, {HIDDEN_DIGITS})"
TEMPLATES: Final[Mapping[str, str]] = {
    "null": "NULL",
    "constant": ":p",
    "hash": _HASH,
    "hash short": f"left({_HASH}, :n)",
    "token": f"translate(left({_HASH}, CAST(length({_TEXT}) AS BIGINT)), 'abcdef', '012345')",
    "bucket": ":c - (((:c % :n) + :n) % :n)",
    "bucket float": "floor(:c / :n) * :n",
    "round": "round(:c, :n)",
    "year": "date_trunc('year', :c)",
    "quarter": "date_trunc('quarter', :c)",
    "month": "date_trunc('month', :c)",
    "first": (
        f"CASE WHEN length({_TEXT}) > :n THEN left({_TEXT}, :n) || repeat('*', length({_TEXT}) - :n) ELSE {_SHORT} END"
    ),
    "last": (
        f"CASE WHEN length({_TEXT}) > :n THEN repeat('*', length({_TEXT}) - :n) || right({_TEXT}, :n) ELSE {_SHORT} END"
    ),
    "domain": (
        f"CASE WHEN :c IS NULL THEN NULL WHEN contains({_TEXT}, '@')"
        f" THEN 'XXXXX@' || split_part({_TEXT}, '@', 2) ELSE 'XXXXX' END"
    ),
    "only": f"CASE WHEN :c IS NULL THEN NULL WHEN :c IN (:l) THEN :c ELSE '{OTHER}' END",
    "only number": "CASE WHEN :c IN (:l) THEN :c END",
    "redact": "regexp_replace(:c, :p, '#', 'g')",
    "network": (
        "CASE WHEN :c IS NULL THEN NULL"
        r" WHEN regexp_full_match(:c, '[0-9]{1,3}(\.[0-9]{1,3}){3}') THEN regexp_replace(:c, '[0-9]+$', '0')"
        " WHEN regexp_full_match(:c, '::[0-9A-Fa-f:.]*') THEN '::'"
        " WHEN regexp_full_match(:c, '([0-9A-Fa-f]{1,4}:){2}[0-9A-Fa-f:.]*')"
        " THEN regexp_extract(:c, '^([0-9A-Fa-f]{1,4}:){1,3}') || ':' ELSE 'XXXXX' END"
    ),
}
"""One SQL shape for each of ``MASK_METHODS``; the result is cast to the column's governed type.

``bucket`` rounds towards minus infinity with the remainder, which is exact where a division of doubles is not. A value
too short for ``first`` and ``last`` is hashed, or all of it would be shown. ``token`` has as many digits as the value
has characters, 64 at most: the keyed hash, its six letters as digits too. ``network`` keeps 24 bits of an IPv4
address and 48 of an IPv6 address.
"""

_FAMILIES: Final[Mapping[str, frozenset[Family]]] = {
    **dict.fromkeys(("bucket", "round"), NUMBERS),
    **dict.fromkeys(("year", "quarter", "month"), frozenset[Family]({"date", "timestamp"})),
    **dict.fromkeys(("domain", "redact", "network"), frozenset[Family]({"text"})),
    "only": frozenset({"text", "integer"}),
}
"""What a shape can be computed of; the terms allow less."""


def hash_macro(schema: str, key: bytes) -> str:
    """The statement that makes the keyed hash of a session: its key stands in no text of a query."""
    prefix = quoted_text(key.hex())
    return f'CREATE MACRO "{schema}"."{HASH_MACRO}"(v) AS sha256({prefix} || sha256({prefix} || v))'


def unfit(message: str, mask: Mask) -> TrustnodeError:
    """OFFER_UNENFORCEABLE: the mask names something that cannot be computed of its column."""
    return error("OFFER_UNENFORCEABLE", message, field=mask.column)


def masked(mask: Mask, column: Column, schema: str) -> exp.Expr:
    """The expression that shows a column through its mask.

    Args:
        mask: What the policy says.
        column: The column of the source.
        schema: Schema of the session that holds the macro of the keyed hash.

    Raises:
        PolicyDenied: OFFER_UNENFORCEABLE, when the mask does not fit the column.
    """
    name = _template(mask, column)
    parts: dict[str, list[exp.Expr]] = {
        "c": [exp.Column(this=exp.to_identifier(column.name, quoted=True))],
        "p": [exp.Literal.string(mask.parameter)],
        "n": [_number(mask)] if ":n" in TEMPLATES[name] else [],
        "l": [_item(item, mask, column) for item in listed(mask)] if ":l" in TEMPLATES[name] else [],
    }
    tree: exp.Expr = sqlglot.parse_one(TEMPLATES[name].replace("$schema", schema), read="duckdb")
    for place in list(tree.find_all(exp.Placeholder)):
        values = [value.copy() for value in parts[place.name]]
        if place is tree:
            tree = values[0]
        elif place.name == "l" and isinstance(place.parent, exp.In):
            place.parent.set("expressions", values)
        else:
            place.replace(values[0])
    return exp.cast(tree, sql_type(masked_type(column, mask)), dialect="duckdb")


def patterns(select: exp.Expr) -> list[exp.Expr]:
    """Each pattern of a governed sub-select applied to nothing: one that the engine cannot read fails there."""
    return [
        exp.RegexpReplace(this=exp.Literal.string(""), expression=node.expression, replacement=exp.Literal.string(""))
        for node in select.find_all(exp.RegexpReplace)
    ]


def _template(mask: Mask, column: Column) -> str:
    if mask.method not in TEMPLATES:
        raise unfit(f"there is no mask {mask.method}", mask)
    families = _FAMILIES.get(mask.method)
    is_unfit = families is not None and column.family not in families
    if is_unfit or (column.family == "binary" and mask.method not in {"null", "hash"}):
        raise unfit(f"the mask {mask.method} does not fit a column of type {column.type}", mask)
    special = {
        ("bucket", "float"): "bucket float",
        ("only", "integer"): "only number",
    }.get((mask.method, column.family), mask.method)
    return "hash short" if mask.method == "hash" and mask.parameter else special


def _item(item: str, mask: Mask, column: Column) -> exp.Expr:
    if column.family == "text":
        return exp.Literal.string(item)
    try:
        return exp.convert(int(item))
    except ValueError as failure:
        raise unfit("the mask only needs whole numbers here", mask) from failure


def _number(mask: Mask) -> exp.Expr:
    try:
        value = int(mask.parameter)
    except ValueError as failure:
        raise unfit(f"the mask {mask.method} needs a whole number", mask) from failure
    if not (-18 <= value <= 18 if mask.method == "round" else 0 < value < 2**53):
        raise unfit(f"the number of the mask {mask.method} is out of range", mask)
    return exp.convert(value)
