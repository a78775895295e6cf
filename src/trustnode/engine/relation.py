"""The governed sub-select: what stands in a query in place of a table.

Decides: which columns it has, how row filters become SQL. Leaves to others: which masks and filters apply
(``core.policy``), the SQL of a mask (``masking``), where the sub-select is put (``plan``).

Values of a policy enter as literals of the tree, never as text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sqlglot import exp

from trustnode.core.policy.governed import Comparison, GovernedTable, Mark, Predicate, Scalar
from trustnode.core.policy.masks import masked_column
from trustnode.core.policy.schema import Column, Schema
from trustnode.engine.fingerprint import marked
from trustnode.engine.masking import masked
from trustnode.engine.source import folded, sql_type
from trustnode.errors import TrustnodeError, error

_COMPARISONS: Final[Mapping[str, Callable[[exp.Expr, list[exp.Expr]], exp.Expr]]] = {
    "=": lambda column, values: exp.EQ(this=column, expression=values[0]),
    "<>": lambda column, values: exp.NEQ(this=column, expression=values[0]),
    "<": lambda column, values: exp.LT(this=column, expression=values[0]),
    "<=": lambda column, values: exp.LTE(this=column, expression=values[0]),
    ">": lambda column, values: exp.GT(this=column, expression=values[0]),
    ">=": lambda column, values: exp.GTE(this=column, expression=values[0]),
    "in": lambda column, values: exp.In(this=column, expressions=values),
    "between": lambda column, values: exp.Between(this=column, low=values[0], high=values[1]),
    "is null": lambda column, _: exp.Is(this=column, expression=exp.Null()),
    "is not null": lambda column, _: exp.Not(this=exp.Is(this=column, expression=exp.Null())),
}
_NUMBER_OF_VALUES: Final[Mapping[str, range]] = {
    **dict.fromkeys(("=", "<>", "<", "<=", ">", ">="), range(1, 2)),
    "in": range(1, 10_001),
    "between": range(2, 3),
    "is null": range(1),
    "is not null": range(1),
}


def unenforceable(message: str, field: str) -> TrustnodeError:
    """OFFER_UNENFORCEABLE: the policy names something the source does not have."""
    return error("OFFER_UNENFORCEABLE", message, field=field)


def governed_schema(table: GovernedTable, source: Mapping[str, Column]) -> Schema:
    """The columns a consumer sees, with the types they have after masking."""
    plain = [_column(source, name) for name in table.columns]
    hidden = [masked_column(_column(source, mask.column), mask) for mask in table.masks]
    found = tuple(plain + hidden)
    if len({folded(column.name) for column in found}) != len(found):
        raise unenforceable("a column is named twice", f"table {table.name}")
    return found


def counted_units(table: GovernedTable, person: str | None) -> tuple[str, ...]:
    """Columns of the source whose distinct values a group is counted by; they are delivered under secret names only."""
    return tuple(dict.fromkeys(filter(None, (person, *(use.unit for use in table.uses)))))


def needed_columns(table: GovernedTable, person: str | None) -> set[str]:
    """Columns of the source that the governed relation reads; no other is needed in the process."""
    rows = filter_columns(table.rows) if table.rows is not None else set()
    return {*table.columns, *(mask.column for mask in table.masks), *rows, *counted_units(table, person)}


def row_filter(predicate: Predicate, source: Mapping[str, Column]) -> exp.Expr:
    """A policy's row filter as a tree; literals are cast to the type of their column."""
    if isinstance(predicate, Comparison):
        return _comparison(predicate, source)
    operands = [row_filter(operand, source) for operand in predicate.operands]
    if predicate.operator == "not":
        if len(operands) != 1:
            raise unenforceable("not takes one operand", "rows")
        return exp.Not(this=exp.Paren(this=operands[0]))
    if not operands:
        raise unenforceable("and / or without operands", "rows")
    combined = exp.and_(*operands) if predicate.operator == "and" else exp.or_(*operands)
    return exp.Paren(this=combined)


def governed_select(
    table: GovernedTable, source: Mapping[str, Column], *, schema: str, place: str, units: Mapping[str, str]
) -> exp.Select:
    """Build the sub-select; its columns have lower-case names, as every resolved reference has.

    Args:
        table: What the policy says.
        source: Columns of the source by name.
        schema: Random schema of the session.
        place: Table or view in it that holds the source's rows.
        units: Columns that are counted, and the secret name under which the plan counts each.
    """
    items = [_alias(_delivered(table, name, source, schema), folded(name)) for name in table.columns]
    items += [_alias(masked(mask, _column(source, mask.column), schema), folded(mask.column)) for mask in table.masks]
    items += [_alias(_raw(_column(source, name).name), secret) for name, secret in units.items()]
    origin = exp.Table(this=_name(place), db=_name(schema))
    select = exp.Select(expressions=items, from_=exp.From(this=origin))
    return select if table.rows is None else select.where(row_filter(table.rows, source), copy=False)


def _column(source: Mapping[str, Column], name: str) -> Column:
    if name not in source:
        raise unenforceable(f"the source has no column {name}", name)
    return source[name]


def _delivered(table: GovernedTable, name: str, source: Mapping[str, Column], schema: str) -> exp.Expr:
    """A column without a mask: as it is, but for the mark of the copy."""
    column, mark = _column(source, name), table.mark
    value = _raw(column.name)
    if mark is None or mark.column != name:
        return value
    return marked(mark, column, value, row_key(table, mark, source, schema), schema)


def row_key(table: GovernedTable, mark: Mark, source: Mapping[str, Column], schema: str) -> exp.Expr:
    """What a copy shows as the key of a row."""
    column = _column(source, mark.key)
    hidden = [mask for mask in table.masks if mask.column == mark.key]
    return masked(hidden[0], column, schema) if hidden else _raw(column.name)


def _comparison(comparison: Comparison, source: Mapping[str, Column]) -> exp.Expr:
    column = _column(source, comparison.column)
    if len(comparison.values) not in _NUMBER_OF_VALUES[comparison.operator]:
        raise unenforceable(f"{comparison.operator} has a wrong number of values", column.name)
    values = [_value(value, column) for value in comparison.values]
    return exp.Paren(this=_COMPARISONS[comparison.operator](_raw(column.name), values))


def _value(value: Scalar, column: Column) -> exp.Expr:
    if value is None:
        raise unenforceable("a comparison with nothing is never true; say is null", column.name)
    return exp.cast(exp.convert(value), sql_type(column.type), dialect="duckdb")


def filter_columns(predicate: Predicate) -> set[str]:
    """Columns of the source that a row filter reads."""
    if isinstance(predicate, Comparison):
        return {predicate.column}
    return {name for operand in predicate.operands for name in filter_columns(operand)}


def _name(name: str) -> exp.Identifier:
    return exp.to_identifier(name, quoted=True)


def _raw(name: str) -> exp.Column:
    return exp.Column(this=_name(name))


def _alias(value: exp.Expr, name: str) -> exp.Alias:
    return exp.Alias(this=value, alias=_name(name))
