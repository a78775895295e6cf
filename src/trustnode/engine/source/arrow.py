"""Arrow types of the catalogue's words, and relations that reach the engine as a stream of record batches.

Decides: the Arrow type of every word, how values of another library become exactly that type, that a stream is begun
anew for each scan. Leaves to others: where the batches come from (``postgres``, ``sqlite``, ``objects``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from trustnode.core.policy.schema import Column
from trustnode.engine.source.model import SourceFailed

TYPES: Final[Mapping[str, pa.DataType]] = {
    "float32": pa.float32(), "float64": pa.float64(), "utf8": pa.string(), "bool": pa.bool_(), "date32": pa.date32(),
    "time": pa.time64("us"), "timestamp": pa.timestamp("us"), "timestamptz": pa.timestamp("us", "UTC"),
    "binary": pa.binary(),
    **{f"{kind}int{bits}": getattr(pa, f"{kind}int{bits}")() for kind in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip
"""Type word of the catalogue -> Arrow type; decimals come besides."""

Batches = Iterator[pa.RecordBatch]


def arrow_type(word: str) -> pa.DataType:
    """The Arrow type of a word of the catalogue."""
    if word.startswith("decimal("):
        precision, scale = word.removeprefix("decimal(").removesuffix(")").split(",")
        return pa.decimal128(int(precision), int(scale))
    return TYPES[word]


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """The Arrow schema that columns of the catalogue have when they are delivered."""
    return pa.schema([pa.field(column.name, arrow_type(column.type)) for column in columns])


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch with exactly the types of ``schema``, columns taken in their order.

    Raises:
        SourceFailed: A value does not fit the type that the column was said to have.
    """
    arrays = [_cast(_plain(array), field) for array, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _plain(array: pa.Array) -> pa.Array:
    """The storage of an extension type (PostgreSQL's numeric, uuid and json come as such)."""
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _cast(array: pa.Array, field: pa.Field) -> pa.Array:
    if array.type == field.type:
        return array
    # Arrow keeps microseconds: a nanosecond more is cut off; every other loss is refused.
    loses = pa.types.is_timestamp(array.type) or pa.types.is_time(array.type)
    loses |= pa.types.is_floating(array.type) and pa.types.is_decimal(field.type)
    try:
        return array.cast(field.type, safe=not loses)
    except pa.ArrowException:
        raise SourceFailed(f"a value of the column {field.name} is no {field.type}") from None


class Stream:
    """A relation that the engine may scan as often as it likes: each scan begins a stream of its own."""

    def __init__(self, schema: pa.Schema, begin: Callable[[], Batches], failed: Callable[[Exception], None]) -> None:
        """Keep what begins a stream.

        Args:
            schema: Of every batch.
            begin: Opens the source and gives its batches; closes it when the iterator is closed.
            failed: Is told what ended a stream, because the engine would tell it in its own words only.
        """
        self._schema = schema
        self._begin = begin
        self._failed = failed

    def __arrow_c_schema__(self) -> Any:
        return self._schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        reader = pa.RecordBatchReader.from_batches(self._schema, self._batches())
        return reader.__arrow_c_stream__(requested_schema)

    def _batches(self) -> Batches:
        try:
            for batch in self._begin():
                yield conform(batch, self._schema)
        except Exception as failure:
            self._failed(failure)
            raise
