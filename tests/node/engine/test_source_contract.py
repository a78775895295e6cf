"""What holds for every kind of source, under the same policy: one table in each, the same questions, the same answers."""

from __future__ import annotations

import dataclasses
import os
from decimal import Decimal
from typing import get_args

import duckdb
import msgspec
import pyarrow as pa
import pytest
from node.engine import sources

from trustnode.core.policy.governed import Comparison, Governed, GovernedTable, Junction, Mask
from trustnode.engine.message import RunLimits, SessionSpec
from trustnode.engine.session import Session
from trustnode.engine.source import Kind, SourceFailed, data_version, describe, open_foreign
from trustnode.errors import TrustnodeError

COLUMNS = ("id", "city", "price", "ratio", "day", "sold_at", "seen_at", "paid")
SESSIONS = []
STREAMED = RunLimits(load_bytes=0)
OPEN = Comparison("tenant", "=", ("open",))
SALES = GovernedTable("sales", COLUMNS, (Mask("email", "domain"),), OPEN)
BIG = GovernedTable("big", ("id", "city"), (), OPEN)


@pytest.fixture(params=sources.KINDS)
def world(request, worlds):
    yield worlds(request.param)
    while SESSIONS:  # a DuckDB file that a session holds open cannot be written by the next test
        SESSIONS.pop()._connection.close()


@pytest.fixture(params=["loaded", "streamed"])
def limits(request):
    return RunLimits(load_bytes=(64 << 20) if request.param == "loaded" else 0)


def session_on(world, *tables, limits=RunLimits(), columns=None):  # noqa: B008 - an immutable value
    spec = SessionSpec(
        agreement="urn:agreement:1", policy_digest="p", data_version="v", source=world.source,
        governed=Governed(tables or (SALES,)), hash_key=b"k" * 32, limits=limits, columns=columns or {},
    )  # fmt: skip
    SESSIONS.append(Session(spec, world.secrets))
    return SESSIONS[-1]


def rows_of(session, sql):
    return session.run(sql, (), "")[1].to_arrow_reader(8192).read_all().to_pylist()


def plain(rows):
    """Decimals as floats, instants without their zone, booleans and all else as they are."""
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def _plain(value):
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, str) and value.endswith("+00:00"):
        return value.removesuffix("+00:00")
    return value.replace(tzinfo=None) if hasattr(value, "tzinfo") else value


def expected(*names):
    """What the policy leaves of the rows, computed from the rows."""
    rows = [row for row in sources.sales().to_pylist() if row["tenant"] == "open"]
    return plain([{name: row[name] for name in names} for row in rows])


def as_instants(rows):
    return [{name: str(value) if name == "seen_at" and value else value for name, value in row.items()} for row in rows]


def test_every_kind_describes_the_same_columns_in_its_own_types(world):
    (table,) = [table for table in describe(world.source, world.secrets) if table.name == "sales"]
    assert {column.name: column.type for column in table.columns} == world.words


def test_row_filter_projection_and_every_value_arrive_as_they_are(world, limits):
    rows = rows_of(session_on(world, limits=limits), f"SELECT {', '.join(COLUMNS)} FROM sales ORDER BY id")
    wanted = expected(*COLUMNS)
    if world.kind == "csv":  # an empty field is an empty text or nothing: the file does not tell
        for row in [*wanted, *rows]:
            row["city"] = row["city"] or None
    assert as_instants(plain(rows)) == as_instants(wanted)


def test_a_column_that_is_not_delivered_and_a_row_that_is_hidden_do_not_exist(world):
    session = session_on(world, limits=STREAMED)
    with pytest.raises(TrustnodeError):
        session.plan("SELECT tenant FROM sales", ())
    assert rows_of(session, "SELECT count(*) AS n FROM sales") == [{"n": len(expected("id"))}]


def test_masks_joins_with_itself_and_aggregates_are_the_same_everywhere(world):
    session = session_on(world, limits=STREAMED)
    assert {row["email"] for row in rows_of(session, "SELECT email FROM sales")} == {"XXXXX@a.example"}
    joined = rows_of(session, "SELECT count(*) AS n FROM sales AS a JOIN sales AS b ON a.id = b.id + 1")
    ids = {row["id"] for row in expected("id")}
    assert joined == [{"n": sum(i - 1 in ids for i in ids)}]
    (total,) = rows_of(session, "SELECT sum(price) AS p, min(day) AS d, count(ratio) AS r FROM sales")
    known = expected("price", "day", "ratio")
    assert float(total["p"]) == pytest.approx(sum(row["price"] for row in known if row["price"] is not None))
    assert total["d"] == min(row["day"] for row in known if row["day"])
    assert total["r"] == sum(row["ratio"] is not None for row in known)


FILTERS = [
    Comparison("city", "=", ("L'Aquila",)),
    Comparison("city", "<", ("Köln",)),
    Comparison("city", "in", ("Bonn", 'Sa"int')),
    Comparison("city", "is null"),
    Junction("not", (Comparison("city", "=", ("Bonn",)),)),
    Junction("not", (Comparison("city", "in", ("Bonn", "Köln")),)),
    Comparison("id", "between", (5, 20)),
    Comparison("price", ">", ("3.10",)),
    Comparison("ratio", "<=", ("1.5",)),
    Comparison("day", ">=", ("1970-01-01",)),
    Comparison("sold_at", "<", ("2024-01-02 00:00:00",)),
    Comparison("paid", "=", (True,)),
    Junction("or", (Comparison("paid", "=", (False,)), Comparison("day", "<", ("1970-01-01",)))),
    Junction("not", (Junction("and", (Comparison("day", "<", ("1970-01-05",)), Comparison("id", ">", (3,)))),)),
    Junction("and", (Comparison("ratio", ">", ("0",)), Comparison("city", "is not null"))),
]


def test_a_filter_that_is_pushed_down_keeps_the_rows_that_the_engine_would_keep(world, worlds):
    found = filtered(world, STREAMED)
    oracle = filtered(worlds("parquet"), RunLimits())
    if world.kind == "csv":  # an empty field is an empty text or nothing: the file does not tell
        cities = {row["id"]: row["city"] for row in sources.sales().to_pylist()}
        found, oracle = ([{one for one in ids if cities[one]} for ids in sets] for sets in (found, oracle))
    assert found == oracle


def filtered(world, limits):
    """Keys of the rows that each filter keeps, all in one session: a table for each."""
    (target,) = [target for name, target in world.source.tables.items() if name == "sales"]
    source = msgspec.structs.replace(world.source, tables={f"f{n}": target for n in range(len(FILTERS))})
    tables = [GovernedTable(f"f{n}", ("id",), (), one) for n, one in enumerate(FILTERS)]
    session = session_on(dataclasses.replace(world, source=source), *tables, limits=limits)
    return [{row["id"] for row in rows_of(session, f"SELECT id FROM f{n}")} for n in range(len(FILTERS))]


def test_an_empty_table_has_columns_and_no_rows(world):
    if world.kind == "json":
        pytest.skip("a JSON file without a line names no column")
    empty = GovernedTable("empty", ("id", "city"))
    assert rows_of(session_on(world, empty, limits=STREAMED), "SELECT id, city FROM empty") == []


def test_200000_rows_stream_and_the_session_can_be_asked_again(world):
    session = session_on(world, BIG, limits=STREAMED)
    batches = [batch.num_rows for batch in session.run("SELECT id, city FROM big", (), "")[1].to_arrow_reader(65536)]
    assert sum(batches) == sources.BIG_ROWS * 3 // 4
    assert len(batches) > 1
    assert rows_of(session, "SELECT count(*) AS n FROM big WHERE id < 8") == [{"n": 6}]
    session.check_unchanged()


def test_a_stream_that_nobody_reads_to_its_end_leaves_the_session_usable(world):
    session = session_on(world, BIG, limits=STREAMED)
    reader = session.run("SELECT id FROM big", (), "")[1].to_arrow_reader(1000)
    assert reader.read_next_batch().num_rows
    reader.close()
    assert rows_of(session, "SELECT count(*) AS n FROM big WHERE id < 8") == [{"n": 6}]


def version_of(world):
    if world.source.needs_network:
        return open_foreign(world.source, world.secrets).version()
    return data_version(world.source)


def test_the_data_version_changes_with_the_data_and_not_without(world):
    before = version_of(world)
    assert version_of(world) == before
    world.write("sales", sources.sales(30))
    try:
        assert version_of(world) != before
    finally:
        world.write("sales", sources.sales())


def test_a_table_that_is_gone_is_one_failure_without_words_and_is_served_again_when_it_is_back(world):
    world.drop()
    try:
        with pytest.raises((SourceFailed, TrustnodeError)) as caught:
            session_on(world)
        assert isinstance(caught.value, SourceFailed)
        assert "hidden-tenant" not in str(caught.value)
    finally:
        world.write("sales", sources.sales())
    assert len(rows_of(session_on(world), "SELECT id FROM sales")) == len(expected("id"))


def test_a_column_that_is_gone_or_of_another_type_is_a_failure_of_the_source(world):
    registered = {"sales": next(t.columns for t in describe(world.source, world.secrets) if t.name == "sales")}
    wide = sources.sales().set_column(0, "id", pa.array([f"x{i}" for i in range(40)]))
    for changed in (sources.sales().drop_columns(["city"]), wide):
        if world.kind in {"sqlite", "postgres"} and changed is wide:
            continue  # a table made anew declares its types anew: see the tests of these kinds
        world.write("sales", changed)
        try:
            with pytest.raises(SourceFailed):
                rows_of(session_on(world, columns=registered), "SELECT id, city FROM sales")
        finally:
            world.write("sales", sources.sales())


def test_a_source_that_changes_under_a_stream_is_not_passed_off_as_whole(world, store):
    if world.kind == "postgres":
        pytest.skip("a statement of PostgreSQL sees one state of the data")
    session = session_on(world, BIG, limits=STREAMED)
    if world.kind == "s3":
        store.before_get = lambda key: store.objects.update({key: store.objects[key] + b" "})
    try:
        with pytest.raises((duckdb.Error, OSError, SourceFailed)) as caught:
            reader = session.run("SELECT id FROM big", (), "")[1].to_arrow_reader(65536)
            reader.read_next_batch()
            if world.kind == "duckdb":
                os.utime(world.source.location)  # its engine holds the file against writers
            elif world.kind != "s3":
                world.write("big", sources.big().slice(0, 50_000))
            for _ in reader:
                pass
            session.check_unchanged()
        assert isinstance(session.explained(caught.value), SourceFailed)
    finally:
        store.before_get = lambda _: None
        session._connection.close()
        world.write("big", sources.big())


def test_every_kind_is_tested():
    assert set(get_args(Kind)) == set(sources.KINDS) - {"folder"}
