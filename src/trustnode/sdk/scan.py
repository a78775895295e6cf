"""A polars scan over an agreement: columns, row limit and simple filters become SQL, polars does the rest again.

Decides: what of a predicate is sent along. polars' serial form of expressions is not stable, so what is not recognised
is left to polars, which filters what comes anyway. Leaves to others: reading (``read``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from trustnode.sdk.decoding import need

if TYPE_CHECKING:
    from trustnode.sdk.blocking import Agreement

_COMPARE: Final = {"Eq": "=", "NotEq": "<>", "Lt": "<", "LtEq": "<=", "Gt": ">", "GtEq": ">="}
_NULL: Final = {"IsNull": "is null", "IsNotNull": "is not null"}
_TYPES: Final = {
    "int8": "Int8",
    "int16": "Int16",
    "int32": "Int32",
    "int64": "Int64",
    "uint8": "UInt8",
    "uint16": "UInt16",
    "uint32": "UInt32",
    "uint64": "UInt64",
    "float32": "Float32",
    "float64": "Float64",
    "utf8": "String",
    "bool": "Boolean",
    "date32": "Date",
    "time": "Time",
    "binary": "Binary",
}


def scan(agreement: Agreement, table: str, purpose: str) -> Any:
    """A ``polars.LazyFrame`` over a table of an agreement; its schema is asked for, nothing is read."""
    polars = need("polars")
    plugins = need("polars.io.plugins")

    def source(columns: list[str] | None, predicate: Any, rows: int | None, _size: int | None) -> Iterator[Any]:
        # A limit counts rows before the filter, so that only one of both may travel.
        condition = where(_serial(predicate)) if predicate is not None and rows is None else ""
        sql = select(table, columns, condition, rows)
        with agreement.reader(sql, purpose=purpose) as reader:
            for batch in reader:
                frame = polars.from_arrow(batch)
                yield frame if predicate is None else frame.filter(predicate)

    return plugins.register_io_source(source, schema=lambda: _schema(agreement, table, purpose), is_pure=False)


def _schema(agreement: Agreement, table: str, purpose: str) -> Any:
    explained = agreement.explain(select(table, None, "", None), purpose=purpose)
    return need("polars").Schema({column.name: polars_type(column.type) for column in explained.columns})


def polars_type(word: str) -> Any:
    """The polars type of a type word of the catalogue."""
    polars = need("polars")
    if word.startswith("decimal("):
        precision, scale = word.removeprefix("decimal(").rstrip(")").split(",")
        return polars.Decimal(int(precision), int(scale))
    if word == "timestamp":
        return polars.Datetime("us")
    if word == "timestamptz":
        return polars.Datetime("us", "UTC")
    return getattr(polars, _TYPES.get(word, "String"))


def select(table: str, columns: list[str] | None, condition: str, rows: int | None) -> str:
    """The SQL of a scan."""
    chosen = ", ".join(_name(column) for column in columns) if columns else "*"
    filtered = f" where {condition}" if condition else ""
    limited = f" limit {rows}" if rows is not None else ""
    return f"select {chosen} from {_name(table)}{filtered}{limited}"  # noqa: S608 (names are quoted, the node checks it)


def where(expression: Any) -> str:
    """The part of a predicate that SQL says as well; empty where it has none.

    Args:
        expression: The predicate in polars' serial form.
    """
    match expression:
        case {"BinaryExpr": {"left": left, "op": "And" | "LogicalAnd", "right": right}}:
            return " and ".join(part for part in (where(left), where(right)) if part)
        case {"BinaryExpr": {"left": {"Column": str(column)}, "op": str(op), "right": {"Literal": literal}}}:
            value = _literal(literal)
            return f"{_name(column)} {_COMPARE[op]} {value}" if op in _COMPARE and value else ""
        case {"Function": {"input": [{"Column": str(column)}], "function": {"Boolean": str(test)}}}:
            return f"{_name(column)} {_NULL[test]}" if test in _NULL else ""
        case {
            "Function": {
                "input": [{"Column": str(column)}, {"Literal": low}, {"Literal": high}],
                "function": {"Boolean": {"IsBetween": {"closed": "Both"}}},
            }
        }:
            lowest, highest = _literal(low), _literal(high)
            return f"{_name(column)} between {lowest} and {highest}" if lowest and highest else ""
    return ""


def _literal(literal: Any) -> str:
    """An integer, a decimal number or a text; empty for anything else."""
    match literal:
        case {"Dyn": {"Int": int(number)}}:
            return str(number)
        case {"Dyn": {"Float": float(number)}} if number == number and abs(number) < 1e15:  # noqa: PLR0124 (not NaN)
            return f"{number!r}" if "e" not in f"{number!r}" else ""
        case {"Scalar": {"String": str(text)}} | {"Dyn": {"Str": str(text)}}:
            doubled = text.replace("'", "''")
            return f"'{doubled}'"
    return ""


def _name(identifier: str) -> str:
    doubled = identifier.replace('"', '""')
    return f'"{doubled}"'


def _serial(predicate: Any) -> Any:
    try:
        return json.loads(predicate.meta.serialize(format="json"))
    except (ValueError, TypeError, need("polars").exceptions.PolarsError):
        return None
