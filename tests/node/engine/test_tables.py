"""Metadata answers: the schemas that clients look up by place, and values as they come back."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from trustnode.core.policy.schema import TYPES, Column
from trustnode.engine import source, tables
from trustnode.engine.source import arrow
from trustnode.errors import TrustnodeError
from trustnode.wire.frame import parse_frame


def read(frames):
    """Frames as a client reads them."""
    sink = pa.BufferOutputStream()
    for frame in map(parse_frame, frames):
        sink.write(
            b"\xff\xff\xff\xff" + len(frame.header).to_bytes(4, "little") + bytes(frame.header) + bytes(frame.body)
        )
    sink.write(b"\xff\xff\xff\xff\0\0\0\0")
    return pa.ipc.open_stream(sink.getvalue()).read_all()


@pytest.mark.parametrize("name", tables.SCHEMAS)
def test_an_answer_without_rows_has_its_schema(name):
    found = read(tables.frames(name, ()))
    assert (found.num_rows, found.schema) == (0, tables.SCHEMAS[name])


def test_an_answer_that_is_not_in_the_table_is_an_error_of_ours():
    with pytest.raises(TrustnodeError):
        tables.frames("Procedures", ())


def test_facts_come_back_in_the_type_they_have():
    rows = [(0, "name"), (3, True), (8, [0]), (100, 5), (508, ["a", "b"])]
    found = read(tables.frames("SqlInfo", rows))
    assert found["value"].to_pylist() == ["name", True, 0, 5, ["a", "b"]]
    assert [found["value"].chunk(0).type_codes[i].as_py() for i in range(5)] == [0, 1, 3, 2, 4]


def test_every_type_of_the_catalogue_is_the_one_the_engine_delivers():
    words = [*TYPES, "decimal(12,3)"]
    select = ", ".join(f"NULL::{source.sql_type(word)} AS c{i}" for i, word in enumerate(words))
    columns = tuple(Column(name=f"c{i}", type=word) for i, word in enumerate(words))
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        assert db.sql(f"SELECT {select}").to_arrow_reader().schema == arrow.arrow_schema(columns)
