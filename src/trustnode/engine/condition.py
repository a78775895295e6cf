"""Conditions of questions that are answered with noise: one column compared with constants, joined by AND, OR, NOT.

Decides: which conditions look at one row alone, and the text each becomes. No value of a row can make one fail: both
sides are cast, and what cannot be cast is NULL. Leaves to others: the rest of the question (``noise``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlglot import exp

from trustnode.core.policy.schema import NUMBERS, Column
from trustnode.engine import shape
from trustnode.engine.source import quoted_name, quoted_text, sql_type
from trustnode.errors import TrustnodeError, error

_CLASS: Final = "WHERE compares a column with constants: =, <>, <, >, IN, BETWEEN, IS NULL, with AND, OR and NOT"


def denied(detail: str) -> TrustnodeError:
    """DENIED: the query is not of the class that can be noised."""
    return error("DENIED", f"answers of this product are noised: {detail}")


_COMPARISONS: Final = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE)
_MIRRORED: Final[Mapping[type[exp.Expr], type[exp.Binary]]] = {
    exp.GT: exp.LT,
    exp.GTE: exp.LTE,
    exp.LT: exp.GT,
    exp.LTE: exp.GTE,
}


def text(node: exp.Expr, known: Mapping[str, Column]) -> str:
    """SQL text of a condition over the key columns ``c.NAME``."""
    if isinstance(node, exp.Paren):
        return text(node.this, known)
    if isinstance(node, exp.And | exp.Or):
        word = "AND" if isinstance(node, exp.And) else "OR"
        return f"({text(node.left, known)} {word} {text(node.right, known)})"
    if isinstance(node, exp.Not):
        return f"(NOT {text(node.this, known)})"
    if isinstance(node, exp.Column) and known[node.name].family == "boolean":
        return f"({_name(node)})"
    return f"({_comparison(node, known)})"


def _comparison(node: exp.Expr, known: Mapping[str, Column]) -> str:
    if type(node) in _MIRRORED and isinstance(node.expression, exp.Column):
        node = _MIRRORED[type(node)](this=node.expression, expression=node.this)
    elif isinstance(node, exp.EQ | exp.NEQ) and isinstance(node.expression, exp.Column):
        node = type(node)(this=node.expression, expression=node.this)
    column = node.this
    if not isinstance(column, exp.Column):
        raise denied(_CLASS)
    kind, name = known[column.name], _name(column)
    if isinstance(node, _COMPARISONS):
        left, right = _pair(kind, name, node.expression)
        return f"{left} {_OPERATORS[type(node)]} {right}"
    if isinstance(node, exp.In) and node.expressions and not node.args.get("query"):
        pairs = [_pair(kind, name, item) for item in node.expressions]
        return " OR ".join(f"{left} = {right}" for left, right in pairs)
    if isinstance(node, exp.Between):
        (left, low), (other, high) = (_pair(kind, name, node.args[key]) for key in ("low", "high"))
        return f"{left} >= {low} AND {other} <= {high}"
    if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
        return f"{name} IS NULL"
    if isinstance(node, exp.Is) and isinstance(node.expression, exp.Boolean) and kind.family == "boolean":
        return f"{name} IS {'TRUE' if node.expression.this else 'FALSE'}"
    raise denied(_CLASS)


_OPERATORS: Final[Mapping[type[exp.Expr], str]] = {
    exp.EQ: "=", exp.NEQ: "<>", exp.GT: ">", exp.GTE: ">=", exp.LT: "<", exp.LTE: "<=",
}  # fmt: skip


def _name(column: exp.Column) -> str:
    return f"c.{quoted_name(column.name)}"


def _pair(column: Column, name: str, constant: exp.Expr) -> tuple[str, str]:
    """Both sides of a comparison in one type, cast so that nothing can fail: a failure would tell of a value."""
    text = _constant(constant)
    if column.family == "integer" and _is_whole(constant):
        return name, f"TRY_CAST({text} AS HUGEINT)"
    if column.family in NUMBERS:
        return f"TRY_CAST({name} AS DOUBLE)", f"TRY_CAST({text} AS DOUBLE)"
    return name, f"TRY_CAST({text} AS {sql_type(column.type)})"


def _is_whole(node: exp.Expr) -> bool:
    node = node.this if isinstance(node, exp.Neg) else node
    return isinstance(node, exp.Literal) and not node.is_string and node.name.isdigit() and len(node.name) <= 30


def _constant(node: exp.Expr) -> str:
    if isinstance(node, exp.Paren):
        return _constant(node.this)
    if isinstance(node, exp.Neg):
        return f"-({_constant(node.this)})"
    if isinstance(node, exp.Cast | exp.TryCast):
        return f"TRY_CAST({_constant(node.this)} AS {node.args['to'].sql(shape.DIALECT)})"
    if isinstance(node, exp.Literal):
        return quoted_text(node.name) if node.is_string else node.name
    if isinstance(node, exp.Boolean | exp.Null):
        return node.sql(shape.DIALECT)
    raise denied("a condition compares with constants only")
