"""What a Flight SQL client asks about the server and its tables, as finished frames (data-plane 2.3).

Decides: the exact Arrow schema of each metadata answer, in which the clients look up columns by place. Leaves to
others: what is in it and who sees it (``app.metadata``). Runs in a worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from trustnode.engine.frames import FrameEncoder
from trustnode.engine.message import Cell
from trustnode.errors import error


def _field(name: str, kind: pa.DataType, *, needed: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=not needed)


_TEXT, _INT32 = pa.string(), pa.int32()
_SQL_INFO_VALUE: Final = pa.dense_union([
    pa.field("string_value", _TEXT), pa.field("bool_value", pa.bool_()), pa.field("bigint_value", pa.int64()),
    pa.field("int32_bitmask", _INT32), pa.field("string_list", pa.list_(_TEXT)),
    pa.field("int32_to_int32_list_map", pa.map_(_INT32, pa.list_(_INT32))),
])  # fmt: skip
_KEYS: Final = [
    _field("pk_catalog_name", _TEXT), _field("pk_db_schema_name", _TEXT), _field("pk_table_name", _TEXT, needed=True),
    _field("pk_column_name", _TEXT, needed=True), _field("fk_catalog_name", _TEXT), _field("fk_db_schema_name", _TEXT),
    _field("fk_table_name", _TEXT, needed=True), _field("fk_column_name", _TEXT, needed=True),
    _field("key_sequence", _INT32, needed=True), _field("fk_key_name", _TEXT), _field("pk_key_name", _TEXT),
    _field("update_rule", pa.uint8(), needed=True), _field("delete_rule", pa.uint8(), needed=True),
]  # fmt: skip
_TABLE: Final = [
    _field("catalog_name", _TEXT), _field("db_schema_name", _TEXT), _field("table_name", _TEXT, needed=True),
    _field("table_type", _TEXT, needed=True),
]  # fmt: skip

SCHEMAS: Final[Mapping[str, pa.Schema]] = {
    "SqlInfo": pa.schema([
        _field("info_name", pa.uint32(), needed=True), _field("value", _SQL_INFO_VALUE, needed=True),
    ]),
    "Catalogs": pa.schema([_field("catalog_name", _TEXT, needed=True)]),
    "DbSchemas": pa.schema([_field("catalog_name", _TEXT), _field("db_schema_name", _TEXT, needed=True)]),
    "Tables": pa.schema(_TABLE),
    "TablesWithSchema": pa.schema([*_TABLE, _field("table_schema", pa.binary(), needed=True)]),
    "TableTypes": pa.schema([_field("table_type", _TEXT, needed=True)]),
    "PrimaryKeys": pa.schema([
        _field("catalog_name", _TEXT), _field("db_schema_name", _TEXT), _field("table_name", _TEXT, needed=True),
        _field("column_name", _TEXT, needed=True), _field("key_name", _TEXT),
        _field("key_sequence", _INT32, needed=True),
    ]),
    "Keys": pa.schema(_KEYS),
    "XdbcTypeInfo": pa.schema([
        _field("type_name", _TEXT, needed=True), _field("data_type", _INT32, needed=True),
        _field("column_size", _INT32), _field("literal_prefix", _TEXT), _field("literal_suffix", _TEXT),
        _field("create_params", pa.list_(_field("item", _TEXT, needed=True))),
        _field("nullable", _INT32, needed=True), _field("case_sensitive", pa.bool_(), needed=True),
        _field("searchable", _INT32, needed=True), _field("unsigned_attribute", pa.bool_()),
        _field("fixed_prec_scale", pa.bool_(), needed=True), _field("auto_increment", pa.bool_()),
        _field("local_type_name", _TEXT), _field("minimum_scale", _INT32), _field("maximum_scale", _INT32),
        _field("sql_data_type", _INT32, needed=True), _field("datetime_subcode", _INT32),
        _field("num_prec_radix", _INT32), _field("interval_precision", _INT32),
    ]),
}  # fmt: skip
"""Name of an answer -> its schema."""


def encoded(schema: pa.Schema) -> bytes:
    """A schema as an encapsulated IPC message, dictionaries as what they stand for."""
    plain = [f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in schema]
    return bytes(pa.schema(plain).serialize())


def frames(name: str, rows: Sequence[Sequence[Cell]]) -> tuple[bytes, ...]:
    """A metadata answer: its schema, and its rows if there are any.

    Args:
        name: A key of ``SCHEMAS``.
        rows: Values in the order of the schema; of ``SqlInfo`` code and value.
    """
    schema = SCHEMAS.get(name)
    if schema is None:
        raise error("INTERNAL", "no such table of metadata")
    encoder = FrameEncoder(schema, max_frame_bytes=1 << 20, content_digest=True)
    out = [encoder.schema()]
    if rows:
        columns: list[Any] = [list(column) for column in zip(*rows, strict=True)]
        arrays = [_array(values, field.type) for values, field in zip(columns, schema, strict=True)]
        out += encoder.batches(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return tuple(b"".join(frame.parts) for frame in out)


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    return _union(values) if pa.types.is_union(kind) else pa.array(values, kind)


def _union(values: list[Any]) -> pa.Array:
    """Values of ``SqlInfo``: text, truth value, 64-bit number; 32-bit as a list of one; other lists are of text."""
    children: list[list[Any]] = [[] for _ in range(_SQL_INFO_VALUE.num_fields)]
    kinds, offsets = [], []
    for value in values:
        number, plain = _member(value)
        kinds.append(number)
        offsets.append(len(children[number]))
        children[number].append(plain)
    fields = [_SQL_INFO_VALUE.field(i) for i in range(_SQL_INFO_VALUE.num_fields)]
    arrays = [pa.array(held, field.type) for held, field in zip(children, fields, strict=True)]
    names = [field.name for field in fields]
    return pa.UnionArray.from_dense(pa.array(kinds, pa.int8()), pa.array(offsets, pa.int32()), arrays, names)


def _member(value: Any) -> tuple[int, Any]:
    match value:
        case bool():
            return 1, value
        case str():
            return 0, value
        case int():
            return 2, value
        case [int() as bits]:
            return 3, bits
        case _:
            return 4, value
