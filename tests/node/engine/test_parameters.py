"""Parameters as stock clients send them: types found in the query, values decoded in a worker, hostile bytes refused."""

from __future__ import annotations

import datetime as dt
import decimal
import struct

import pyarrow as pa
import pytest
from node.engine.test_pool import refusal

from trustnode.core.document import MAX_INTEGER
from trustnode.core.policy.schema import Column
from trustnode.engine import parameters
from trustnode.engine.pool import EngineLimits, EnginePool
from trustnode.engine.source import arrow
from trustnode.errors import TrustnodeError

COLUMNS = (
    Column(name="id", type="int64"),
    Column(name="Price", type="decimal(9,2)"),
    Column(name="day", type="date32"),
)


def split(message):
    """Header and body of an encapsulated message."""
    raw = bytes(message)
    (length,) = struct.unpack_from("<i", raw, 4)
    return raw[8 : 8 + length], raw[8 + length :]


def sent(table, **options):
    """A table as a client puts it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    reader = pa.ipc.MessageReader.open_stream(sink.getvalue())
    return [(bytes(m.metadata), bytes(m.body) if m.body else b"") for m in iter_messages(reader)]


def iter_messages(reader):
    while True:
        try:
            yield reader.read_next_message()
        except StopIteration:
            return


def refused(messages):
    with pytest.raises(TrustnodeError) as caught:
        parameters.decode(messages)
    assert caught.value.reason == "QUERY_INVALID"
    return caught.value.message


@pytest.mark.parametrize(
    "sql, words",
    [
        ("select * from t", ()),
        ("select * from t where id = ? and price between ? and ? limit ?", ("int64", "decimal(9,2)", "decimal(9,2)", "int64")),
        ("select * from t where ? < t.day and lower(x) = ?", ("date32", "utf8")),
        ("select ?, cast(? as double), ?::decimal(9, 2) from t where id in (?, ?)",
         ("utf8", "float64", "decimal(9,2)", "int64", "int64")),
        ("select id from t group by id having count(*) > ?", ("int64",)),
        ("select * from agreement_7k3qx9m2.t where id = ? + 1.5", ("float64",)),
    ],
)  # fmt: skip
def test_a_parameter_has_the_type_of_what_it_stands_beside(sql, words):
    assert parameters.words(sql, COLUMNS) == words


@pytest.mark.parametrize(
    "kind, value, taken",
    [
        (pa.int64(), 7, 7), (pa.uint64(), 2**63, str(2**63)), (pa.int64(), MAX_INTEGER, MAX_INTEGER), (pa.bool_(), True, True),
        (pa.float64(), 0.5, "0.5"), (pa.string(), "x' or 1=1 --", "x' or 1=1 --"), (pa.null(), None, None),
        (pa.large_string(), "y", "y"), (pa.decimal128(9, 2), decimal.Decimal("1.50"), "1.50"),
        (pa.date32(), dt.date(2026, 1, 2), "2026-01-02"), (pa.time64("us"), dt.time(1, 2), "01:02:00"),
        (pa.timestamp("ms"), 1767322800000, "2026-01-02 03:00:00"),
        (pa.timestamp("ms", "UTC"), dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC), "2026-01-02 03:00:00+00:00"),
    ],
)  # fmt: skip
def test_a_value_is_taken_as_it_was_meant(kind, value, taken):
    assert parameters.decode(sent(pa.table({"1": pa.array([value], kind)}))) == (taken,)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1]]), pa.array([{"a": 1}]), pa.array([b"x"]), pa.array(["a"]).dictionary_encode(),
        pa.array(["a"], pa.string_view()), pa.array([dt.timedelta(1)]), pa.array([float("nan")]),
        pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), pa.array([5])),
    ],
    ids=lambda column: str(column.type)[:30],
)  # fmt: skip
def test_q5b_a_type_that_is_not_on_the_list_is_refused(column):
    assert "the parameters are not taken" in refused(sent(pa.table({"1": column})))


def test_q5b_compressed_values_are_refused_before_they_are_unpacked():
    assert "compressed" in refused(sent(pa.table({"1": pa.array([1])}), compression="zstd"))


@pytest.mark.parametrize("rows", [0, 2, 5000])
def test_q5b_one_row_and_no_other_number(rows):
    assert f"{rows} rows" in refused(sent(pa.table({"1": pa.array(range(rows), pa.int64())})))


def test_q5b_a_null_column_of_many_rows_is_refused():
    assert "too many rows" in refused(sent(pa.table({"1": pa.nulls((1 << 24) + 1)})))


def test_q5b_falling_offsets_are_found_before_a_value_is_read():
    schema, batch = sent(pa.table({"1": ["aaaa"]}))
    broken = batch[1].replace(struct.pack("<ii", 0, 4), struct.pack("<ii", 4, 0), 1)
    assert broken != batch[1]
    refused([schema, (batch[0], broken)])


def test_q5b_messages_out_of_order_are_refused():
    schema, batch = sent(pa.table({"1": [1]}))
    for messages in (
        [],
        [schema],
        [batch],
        [batch, schema],
        [schema, schema, batch],
        [(b"", b"")],
        [(b"\0" * 64, b"")],
    ):
        refused(messages)


def test_q5b_more_columns_than_any_query_has_are_refused():
    refused(sent(pa.table({str(i): [1] for i in range(parameters.MAX_COLUMNS + 1)})))


@pytest.mark.asyncio
async def test_a_clerk_serves_one_caller_and_never_a_session():
    async with EnginePool(EngineLimits(max_workers=2)) as pool:
        one, other = pool.clerk("one"), pool.clerk("other")
        messages = sent(pa.table({"1": [1], "2": ["a"]}))
        assert await one.parameters(messages) == (1, "a")
        assert await one.parameter_types("select * from t where id = ?", COLUMNS) == ("int64",)
        assert pool.workers == 1
        await other.parameters(messages)
        assert sorted(worker.key for worker in pool._idle) == [("", "one", ""), ("", "other", "")]
        assert (await refusal(one.parameters([messages[0], (messages[1][0], b"x")]))).reason == "QUERY_INVALID"
        columns, schema = await one.schema(COLUMNS)
        assert columns == COLUMNS
        assert pa.ipc.read_schema(pa.py_buffer(schema)) == arrow.arrow_schema(COLUMNS)
