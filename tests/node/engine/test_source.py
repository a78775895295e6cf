"""What a source may be, which files it reads, and which columns it has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trustnode.core.policy.governed import Governed, GovernedTable
from trustnode.engine import source as reading
from trustnode.engine.session import Session
from trustnode.engine.source import ENGINE_TYPES, Source, data_version, describe, files, source_of, sql_type, type_word
from trustnode.errors import TrustnodeError


@pytest.fixture
def parquet(tmp_path):
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), tmp_path / "My file-1.parquet")
    return tmp_path / "My file-1.parquet"


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE a AS SELECT 1 AS x; CREATE SCHEMA s; CREATE TABLE s.b AS SELECT 'y' AS y")
        connection.execute("CREATE TABLE with_lists AS SELECT 1 AS x, [1] AS l, INTERVAL 1 DAY AS i, {'a': 1} AS r")
        connection.execute("CREATE TABLE only_lists AS SELECT [1] AS l")
    return path


def names(tables):
    return {table.name: [f"{column.name} {column.type}" for column in table.columns] for table in tables}


def test_a_file_is_a_table_named_after_it(parquet):
    assert names(describe(source_of(str(parquet)))) == {"my_file_1": ["a int64", "b utf8"]}


def test_a_table_has_the_name_the_product_gives_it(parquet):
    assert names(describe(Source("parquet", str(parquet), {"t": ""}))) == {"t": ["a int64", "b utf8"]}


def test_every_file_of_a_directory_is_a_table(parquet):
    pq.write_table(pa.table({"c": [1.5]}), parquet.parent / "other.parquet")
    assert set(names(describe(Source("parquet", str(parquet.parent))))) == {"my_file_1", "other"}


def test_a_csv_file_has_the_types_of_its_values(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("n,t,d,at\n1,a,2024-01-01,2024-01-01 10:00:00\n2,b,2024-01-02,2024-01-01 11:00:00\n")
    assert names(describe(source_of(str(path)))) == {"x": ["n int64", "t utf8", "d date32", "at timestamp"]}


def test_tables_of_a_database_are_named_by_the_product_or_by_themselves(database):
    named = describe(Source("duckdb", str(database), {"one": "a", "two": "s.b"}))
    assert names(named) == {"one": ["x int32"], "two": ["y utf8"]}


def test_columns_without_a_word_in_the_catalogue_are_left_out_and_named(database):
    (table,) = describe(Source("duckdb", str(database), {"t": "with_lists"}))
    assert [column.name for column in table.columns] == ["x"]
    assert table.left_out == ("l", "i", "r")


@pytest.mark.parametrize("load", [True, False])
def test_a_database_is_read_only_and_served_from_memory_or_from_its_file(database, make_spec, load):
    spec = make_spec(Governed((GovernedTable("a", ("x",)),)), source=source_of_tables(database), load=load)
    before = data_version(spec.source)
    session = Session(spec)
    assert session.run("SELECT x FROM a", (), "")[1].fetchall() == [(1,)]
    (opened,) = session._databases.values()
    assert session._connection.sql(f"SELECT count(*) FROM {opened}.main.a").fetchall() == [(1,)]
    with pytest.raises(duckdb.InvalidInputException, match="read-only"):
        session._connection.sql(f"INSERT INTO {opened}.main.a VALUES (2)")
    assert data_version(spec.source) == before


def source_of_tables(database):
    return Source("duckdb", str(database), {"a": "a"})


def refused(call, *arguments):
    with pytest.raises(TrustnodeError) as caught:
        call(*arguments)
    assert caught.value.reason == "FIELD_FORMAT"
    return caught.value.metadata["field"]


def test_a_source_without_deliverable_columns_is_refused(database):
    assert refused(describe, Source("duckdb", str(database), {"t": "only_lists"})) == "location"


@pytest.mark.parametrize(
    "name", ["absent.parquet", "x\0y.parquet", "a" * 5000 + ".parquet", "https://h/x.parquet", "s3://b/x.parquet"]
)
def test_a_location_that_is_no_readable_file_is_refused(tmp_path, name):
    assert refused(describe, Source("parquet", name if "//" in name else str(tmp_path / name))) == "location"


def test_a_path_that_the_engine_would_read_as_a_pattern_is_refused(tmp_path):
    path = tmp_path / "x*.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    assert refused(describe, Source("parquet", str(path))) == "location"


@pytest.mark.parametrize("file", ["../outside.parquet", "/etc/hostname", "link.parquet"])
def test_a_file_outside_the_location_is_refused(parquet, tmp_path_factory, file):
    outside = parquet.parent.parent / "outside.parquet"
    pq.write_table(pa.table({"a": [1]}), outside)
    (parquet.parent / "link.parquet").symlink_to(outside)
    assert refused(files, Source("parquet", str(parquet.parent), {"t": file})) == "tables"


def test_one_file_holds_one_table(parquet):
    assert refused(files, Source("parquet", str(parquet), {"a": "", "b": ""})) == "tables"


def test_an_unknown_suffix_names_no_kind(tmp_path):
    assert refused(source_of, str(tmp_path / "x.xlsx")) == "location"


def test_a_quote_in_a_path_is_part_of_the_path(tmp_path):
    path = tmp_path / "it's.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    assert names(describe(source_of(str(path)))) == {"it_s": ["a int64"]}


def test_the_data_version_changes_when_the_file_does(parquet):
    source = source_of(str(parquet))
    before = data_version(source)
    assert data_version(source) == before
    os.utime(parquet, ns=(1, 1))
    assert data_version(source) != before


@pytest.mark.parametrize("engine_type", ENGINE_TYPES)
def test_every_word_has_a_type_of_the_engine_that_leads_back_to_it(engine_type):
    word = type_word(engine_type)
    assert type_word(sql_type(word)) == word


@pytest.mark.parametrize("engine_type", ["INTEGER[]", "STRUCT(a INTEGER)", "INTERVAL", "BIT", "MAP(INTEGER, INTEGER)"])
def test_what_the_catalogue_has_no_word_for_is_not_delivered(engine_type):
    assert type_word(engine_type) is None


def test_describing_needs_the_engine_and_naming_a_source_does_not():
    program = "import sys, trustnode.engine.source as s; s.source_of('x.csv'); print('duckdb' in sys.modules)"
    root = Path(reading.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
