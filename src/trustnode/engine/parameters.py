"""Parameters of a prepared statement: their types as the query shows them, their values as a client sends them.

Decides: which types a value may have, that nothing is read before it was validated (data-plane 4). Runs in a worker
that belongs to one caller: what a client sends may end the process. Leaves to others: what a value does to the query
(``shape.bind``), how many bytes may arrive (``rpc.flight``).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa
from sqlglot import exp

from trustnode.core.arrow_header import RECORD_BATCH, UnfitMessageError, check_message
from trustnode.core.document import MAX_INTEGER
from trustnode.core.policy.schema import Column
from trustnode.engine import shape
from trustnode.engine.message import Value
from trustnode.engine.source import folded, type_word
from trustnode.errors import TrustnodeError, error

TEXT: Final = "utf8"
MAX_COLUMNS: Final = 256
MAX_HEADER_BYTES: Final = 64 * 1024
_TYPES: Final = frozenset({
    pa.types.is_null, pa.types.is_boolean, pa.types.is_integer, pa.types.is_float32, pa.types.is_float64,
    pa.types.is_decimal, pa.types.is_string, pa.types.is_large_string, pa.types.is_date, pa.types.is_time,
    pa.types.is_timestamp,
})  # fmt: skip
"""Types a parameter may have; their size follows from their bytes."""
_WHOLE: Final = (exp.Limit, exp.Offset)
_COMPARED: Final = (
    exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Between, exp.In,
    exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod,
)  # fmt: skip


# --- types ----------------------------------------------------------------------------------------------------------


def words(sql: str, columns: Sequence[Column]) -> tuple[str, ...]:
    """Type of each ``?`` of a query: that of the column it stands beside, text where nothing says.

    Args:
        sql: A consumer's text; what it may do is decided when it is planned.
        columns: What the agreement delivers.

    Raises:
        TrustnodeError: QUERY_INVALID, FIELD_TOO_LONG.
    """
    tree = shape.parse(sql)
    shape.check_depth(tree)
    known = {folded(column.name): column.type for column in columns}
    return tuple(_word(place, known) for place in shape.placeholders(tree))


def _word(place: exp.Placeholder, known: Mapping[str, str]) -> str:
    parent = place.parent
    if isinstance(parent, exp.Cast):
        return type_word(parent.args["to"].sql(shape.DIALECT).replace(", ", ",")) or TEXT
    if isinstance(parent, _WHOLE):
        return "int64"
    if isinstance(parent, _COMPARED):
        beside = (_word_of(other, known) for other in parent.iter_expressions())
        return next((word for word in beside if word), TEXT)
    return TEXT


def _word_of(other: exp.Expr, known: Mapping[str, str]) -> str:
    """The type of what stands beside a parameter; empty where that takes more than a look."""
    if isinstance(other, exp.Column):
        return known.get(folded(other.name), "")
    if isinstance(other, exp.Count):
        return "int64"
    if isinstance(other, exp.Literal) and not other.is_string:
        return "int64" if other.is_int else "float64"
    return ""


# --- values ---------------------------------------------------------------------------------------------------------


def decode(messages: Sequence[tuple[bytes, bytes]]) -> tuple[Value, ...]:
    """The values of one row of parameters.

    Whole numbers and truth values stay what they are; fractions, dates and times become text, which the engine reads
    as the type they stand beside.

    Args:
        messages: Header and body of each Arrow message, the schema first.

    Raises:
        TrustnodeError: QUERY_INVALID.
    """
    try:
        return _decoded(messages)
    except UnfitMessageError as why:
        raise _refused(str(why)) from None
    except (pa.ArrowException, ValueError, OverflowError, struct.error) as failure:
        raise _refused("they are no valid Arrow stream") from failure


def _decoded(messages: Sequence[tuple[bytes, bytes]]) -> tuple[Value, ...]:
    headers = [check_message(header, len(body)) for header, body in messages]
    kinds = [header.kind == RECORD_BATCH for header in headers]
    if kinds != [False] + [True] * (len(kinds) - 1):
        raise _refused("a schema comes first, then their values")
    rows = sum(header.rows for header in headers)
    if rows != 1:
        raise _refused(f"{rows} rows of values came; a query takes one row at a time")
    schema = pa.ipc.read_schema(_message(*messages[0]))
    _check_types(schema)
    values: list[Any] = []
    for message, header in zip(messages[1:], headers[1:], strict=True):
        batch = pa.ipc.read_record_batch(_message(*message), schema)
        batch.validate(full=True)
        if batch.num_rows != header.rows:
            raise _refused("they are no valid Arrow stream")
        values += [_value(column[0].as_py()) for column in batch.columns if batch.num_rows]
    return tuple(values)


def _check_types(schema: pa.Schema) -> None:
    if len(schema) > MAX_COLUMNS:
        raise _refused(f"there are more than {MAX_COLUMNS}")
    for number, field in enumerate(schema, 1):
        if not any(fits(field.type) for fits in _TYPES):
            raise _refused(f"value {number} is neither a number, text, truth value, date nor time")


def _message(header: bytes, body: bytes) -> pa.Message:
    if len(header) > MAX_HEADER_BYTES:
        raise _refused("their header is too long")
    padding = -len(header) % 8
    length = struct.pack("<iI", -1, len(header) + padding)
    return pa.ipc.read_message(pa.py_buffer(length + header + bytes(padding) + body))


def _value(value: Any) -> Value:
    match value:
        case bool() | str() | None:
            return value
        case int():
            return value if abs(value) <= MAX_INTEGER else str(value)
        case float():
            return _fraction(value)
        case datetime():
            plain = value.astimezone(UTC) if value.tzinfo else value
            return plain.isoformat(sep=" ")
        case date() | time():
            return value.isoformat()
        case Decimal() if value.is_finite():
            return format(value, "f")
    raise _refused("a value has a type that is not taken")


def _fraction(value: float) -> Value:
    if not math.isfinite(value):
        raise _refused("a value is not a finite number")
    return repr(value)


def _refused(why: str) -> TrustnodeError:
    return error("QUERY_INVALID", f"the parameters are not taken: {why}", field="parameters")
