"""The mark of a copy, as SQL: one row in fifty differs from the source by one quantum, up or down.

Decides: which rows carry a mark and the expression that writes it, for every type of number (privacy 4.1, balanced).
Leaves to others: secrets and judgement (``core.tracing``), where the expression stands (``relation``), counting marks
again (``leak``).

    h = first 15 hexadecimal digits of sha256(key || key of the row)
    h mod 50 = 0              the row is marked
    (h div 50) mod 64         the bit of the codeword it carries
    (h div 3200) mod 2        its mask: +q when bit = (mask is 0), else -q

A value that is absent, that would leave its type, change its sign or lose the quantum in rounding stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

import sqlglot
from sqlglot import exp

from trustnode.core.policy.governed import Mark
from trustnode.core.policy.schema import Column
from trustnode.core.tracing import BITS, ONE_ROW_IN, MarkSecret
from trustnode.engine.source import sql_type

MARK_MACRO: Final = "mark_of"
_DECIMALS: Final = "DECIMAL(38, 20)"
"""In which a float is changed, so that no digit appears that the value did not have."""
_MAX_PRECISION: Final = 38
_LARGEST_FLOAT: Final = {"float32": 2**20, "float64": 2**48}
"""Quanta beyond which a change would drown in the rounding of the type."""


def hash_sql(key: bytes, row: str) -> str:
    """The number that decides everything about a row."""
    return f"CAST('0x' || left(sha256('{key.hex()}' || {row}), 15) AS BIGINT)"


def bit_sql(hashed: str) -> str:
    """Which bit of the codeword a marked row carries."""
    return f"(({hashed} // {ONE_ROW_IN}) % {BITS})"


def mask_sql(hashed: str) -> str:
    """1 where the row says the opposite of its bit."""
    return f"(({hashed} // {ONE_ROW_IN * BITS}) % 2)"


def macro_sql(schema: str, secret: MarkSecret) -> str:
    """The macro that gives -1, 0 or 1 for the key of a row. The secrets stand in it, and in no text of a query."""
    hashed = hash_sql(secret.key, "v")
    bit = f"((CAST({int.from_bytes(secret.codeword, 'big')} AS UBIGINT) >> CAST({bit_sql(hashed)} AS UBIGINT)) & 1)"
    sign = f"CASE WHEN {bit} = CAST({mask_sql(hashed)} AS UBIGINT) THEN -1 ELSE 1 END"
    body = f"CASE WHEN {hashed} % {ONE_ROW_IN} = 0 THEN {sign} ELSE 0 END"
    return f'CREATE MACRO "{schema}"."{MARK_MACRO}"(v) AS CAST({body} AS TINYINT)'


def marked(mark: Mark, column: Column, value: exp.Expr, key: exp.Expr, schema: str) -> exp.Expr:
    """The value of a column with its mark.

    Args:
        mark: What the terms say.
        column: The column that carries it.
        value: Its value as it would be delivered without.
        key: What the copy shows as the key of the row.
        schema: Where the macro is.
    """
    text = f'"{schema}"."{MARK_MACRO}"(CAST(:k AS VARCHAR))'
    shape: exp.Expr = sqlglot.parse_one(_SHAPES[column.family](mark, column, text), read="duckdb")
    parts = {"c": value, "k": key}
    return shape.transform(lambda node: parts[node.name].copy() if isinstance(node, exp.Placeholder) else node)


def _float(mark: Mark, column: Column, sign: str) -> str:
    kind, step = sql_type(column.type), Decimal(mark.quantum)
    largest = step * _LARGEST_FLOAT[column.type]
    delta = f"CAST({sign} AS DECIMAL(1, 0)) * CAST('{step:f}' AS DECIMAL(18, 9))"
    changed = f"TRY_CAST(CAST(:c AS VARCHAR) AS {_DECIMALS}) + {delta}"
    reach = f"abs(:c) BETWEEN CAST('{step:f}' AS DOUBLE) AND CAST('{largest:f}' AS DOUBLE)"
    return f"CASE WHEN {reach} AND {sign} <> 0 THEN coalesce(CAST({changed} AS {kind}), :c) ELSE :c END"


def _integer(mark: Mark, column: Column, sign: str) -> str:
    bits, signed = int(column.type.lstrip("uint")), not column.type.startswith("u")
    largest = 2 ** (bits - signed) - 1 - int(mark.quantum)
    wide = "BIGINT" if signed or bits < 64 else "HUGEINT"
    delta = f"CAST({sign} AS {wide}) * {mark.quantum}"
    reach = _reach(mark.quantum, str(largest), wide, signed=signed)
    return f"CAST(CAST(:c AS {wide}) + CASE WHEN {reach} THEN {delta} ELSE 0 END AS {sql_type(column.type)})"


def _decimal(mark: Mark, column: Column, sign: str) -> str:
    kind = sql_type(column.type)
    precision, scale = map(int, column.type.removeprefix("decimal(").removesuffix(")").split(","))
    largest = 10**precision - 1 - int(Decimal(mark.quantum).scaleb(scale))  # in the last digit: exact at any precision
    high = f"{largest // 10**scale}.{largest % 10**scale:0{scale}}" if scale else str(largest)
    step, none = (f"CAST('{text}' AS {kind})" for text in (mark.quantum, "0"))
    delta = f"CAST({sign} AS DECIMAL(1, 0)) * {step}"
    if precision == _MAX_PRECISION:  # no room for a product; then the sign is computed twice
        delta = f"CASE {sign} WHEN 1 THEN {step} WHEN -1 THEN -{step} ELSE {none} END"
    return f"CAST(:c + CASE WHEN {_reach(mark.quantum, high, kind)} THEN {delta} ELSE {none} END AS {kind})"


def _reach(smallest: str, largest: str, kind: str, *, signed: bool = True) -> str:
    """Values that stay within their type and keep their sign."""
    low, high = (f"CAST('{text}' AS {kind})" for text in (smallest, largest))
    above = f":c BETWEEN {low} AND {high}"
    return f"({above} OR :c BETWEEN -{high} AND -{low})" if signed else above


_SHAPES: Final[dict[str, Callable[[Mark, Column, str], str]]] = {
    "float": _float,
    "integer": _integer,
    "decimal": _decimal,
}
