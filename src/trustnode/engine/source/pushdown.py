"""The row filter of a policy in the words of a source: SQL of another dialect, or an expression of Arrow.

Decides: which comparisons mean the same there. What does not is left out where more rows come by that, because the
engine filters again; below ``not`` nothing may be left out. Leaves to others: the filter itself (``engine.relation``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

from trustnode.core.policy.governed import Comparison, Junction, Predicate
from trustnode.core.policy.schema import Column, Family
from trustnode.engine import relation


class Dialect(NamedTuple):
    """What one database can be asked."""

    name: str
    """Of sqlglot."""
    families: frozenset[Family]
    """Columns whose comparisons mean there what they mean to the engine."""
    collation: exp.Expr
    """Compares text by its bytes, as the engine does."""


POSTGRES: Final = Dialect(
    "postgres",
    frozenset({"integer", "decimal", "float", "text", "boolean", "date", "timestamp"}),
    exp.to_identifier("C", quoted=True),
)
SQLITE: Final = Dialect("sqlite", frozenset({"integer", "text"}), exp.var("BINARY"))
"""Its dates are text in more than one form, its decimals are doubles: the engine alone compares those."""

_ARROW_FAMILIES: Final = frozenset[Family]({"integer", "decimal", "text", "boolean", "date", "timestamp"})


def where(predicate: Predicate | None, known: Mapping[str, Column], dialect: Dialect) -> str:
    """`` WHERE ...`` in the dialect; empty when nothing can be asked."""
    kept = predicate and pushable(predicate, lambda one: known[one.column].family in dialect.families)
    if not kept:
        return ""
    tree = relation.row_filter(kept, known)
    texts = {name for name, column in known.items() if column.family == "text"}
    for column in list(tree.find_all(exp.Column)):
        if column.name in texts and not isinstance(column.parent, exp.Is) and not _may_use_an_index(column):
            column.replace(exp.Collate(this=column.copy(), expression=dialect.collation.copy()))
    return f" WHERE {tree.sql(dialect.name, identify=True)}"


def _may_use_an_index(column: exp.Column) -> bool:
    """Equality needs no collation to be complete: one that takes more for equal gives more rows, except below not."""
    return isinstance(column.parent, exp.EQ | exp.In) and column.find_ancestor(exp.Not) is None


def pushable(predicate: Predicate, understood: Callable[[Comparison], bool]) -> Predicate | None:
    """The part of a filter that can be asked: it keeps every row that the filter keeps. None: nothing."""
    if isinstance(predicate, Comparison):
        return predicate if understood(predicate) else None
    found = [pushable(operand, understood) for operand in predicate.operands]
    kept = tuple(operand for operand in found if operand is not None)
    if predicate.operator == "and":
        return Junction("and", kept) if kept else None
    is_whole = len(kept) == len(found) and (predicate.operator == "or" or kept == predicate.operands)
    return Junction(predicate.operator, kept) if kept and is_whole else None


def arrow_filter(predicate: Predicate | None, known: Mapping[str, Column], schema: pa.Schema) -> Any:
    """A filter for ``pyarrow.dataset``; None when nothing can be asked.

    Args:
        predicate: Row filter of the policy.
        known: Columns by name.
        schema: Of the files, whose own types the values take.
    """

    def understood(one: Comparison) -> bool:
        return known[one.column].family in _ARROW_FAMILIES and _values(one, schema) is not None

    kept = predicate and pushable(predicate, understood)
    return _expression(kept, schema) if kept else None


def _expression(predicate: Predicate, schema: pa.Schema) -> Any:
    if isinstance(predicate, Comparison):
        return _COMPARISONS[predicate.operator](pc.field(predicate.column), _values(predicate, schema))
    parts = [_expression(operand, schema) for operand in predicate.operands]
    if predicate.operator == "not":
        return ~parts[0]
    combined = parts[0]
    for part in parts[1:]:
        combined = combined & part if predicate.operator == "and" else combined | part
    return combined


def _values(one: Comparison, schema: pa.Schema) -> list[pa.Scalar] | None:
    """The values in the type of their column; None when one has no place in it."""
    kind = schema.field(one.column).type
    try:
        return [pa.scalar(value).cast(kind) for value in one.values]
    except (pa.ArrowException, TypeError):
        return None


def _any(field: Any, values: list[pa.Scalar]) -> Any:
    combined = field == values[0]
    for value in values[1:]:
        combined = combined | (field == value)
    return combined


_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "=": lambda field, values: field == values[0],
    "<>": lambda field, values: field != values[0],
    "<": lambda field, values: field < values[0],
    "<=": lambda field, values: field <= values[0],
    ">": lambda field, values: field > values[0],
    ">=": lambda field, values: field >= values[0],
    "in": _any,
    "between": lambda field, values: (field >= values[0]) & (field <= values[1]),
    "is null": lambda field, _: field.is_null(),
    "is not null": lambda field, _: field.is_valid(),
}
"""``in`` is a chain of comparisons: ``is_in`` would take an empty value for no member instead of not known."""
