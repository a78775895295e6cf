"""What each kind of source has of its own: types, addresses, credentials, failures; and what no kind lets through."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from node.engine import sources
from node.engine.test_pool import decode, refusal

from trustnode.core.policy.governed import Comparison, Governed, GovernedTable, Junction
from trustnode.core.policy.schema import TYPES as WORDS
from trustnode.core.policy.schema import Column, family
from trustnode.engine.message import RunLimits, SessionSpec
from trustnode.engine.pool import EngineLimits, EnginePool
from trustnode.engine.session import Session
from trustnode.engine.source import (
    Source,
    SourceFailed,
    describe,
    files,
    objects,
    open_foreign,
    postgres,
    pushdown,
    sqlite,
)
from trustnode.errors import REASONS, TrustnodeError

MEANING = REASONS["SOURCE_UNAVAILABLE"].meaning
GOVERNED = Governed((GovernedTable("sales", ("id", "city"), (), Comparison("tenant", "=", ("open",))),))


def spec_of(source, version="v", **more):
    return SessionSpec(
        agreement="urn:agreement:1", policy_digest="p", data_version=version, source=source, governed=GOVERNED, **more
    )


def said(call, *arguments):
    with pytest.raises(TrustnodeError) as caught:
        call(*arguments)
    assert caught.value.reason in {"FIELD_FORMAT", "CONFIG_INVALID"}
    return caught.value.message


# --- no name is a path (Q2)

OUTSIDE = ["../secret.parquet", "/etc/passwd", "./../secret.parquet", "inner/../../secret.parquet", "link.parquet"]
STRANGE = ["a\0b", "\u202e", "\ud800", "CON", "x" * 10_240, "%2e%2e/secret.parquet", "‥/secret.parquet", "~", "folder"]


@pytest.mark.parametrize("target", [*OUTSIDE, *STRANGE, "outside"])
@pytest.mark.parametrize("kind", ["parquet", "csv", "json"])
def test_q2_the_target_of_a_table_does_not_leave_the_location(tmp_path, kind, target):
    suffix = {"parquet": "parquet", "csv": "csv", "json": "ndjson"}[kind]
    target = target.replace("parquet", suffix)
    root, secret = tmp_path / "root", tmp_path / f"secret.{suffix}"
    root.mkdir()
    pq.write_table(pa.table({"a": [1]}), secret) if kind == "parquet" else secret.write_text('{"a": 1}\n')
    (root / f"link.{suffix}").symlink_to(secret)
    (root / "outside").symlink_to(tmp_path)
    message = said(files, Source(kind, str(root), {"t": target}))
    assert "secret" not in message.replace(target[:256], "")


@pytest.mark.parametrize("target", ["../x", "/etc/passwd", "a\0b", "main.sqlite_master", "sqlite_master", "x" * 10_240])
@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_q2_the_target_in_a_database_is_one_of_its_tables(tmp_path, kind, target):
    path = tmp_path / "shop.db"
    with duckdb.connect(str(path)) if kind == "duckdb" else sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE sales (id INTEGER)")
    assert "no table" in said(describe, Source(kind, str(path), {"t": target}))


@pytest.mark.parametrize("target", ["../x", "a\0b", 'x"; DROP TABLE sales; --', "'; SELECT 1; --", "x" * 10_240])
def test_q2_the_target_in_a_server_is_one_of_its_tables(server, target):
    source = Source("postgres", server.location, {"t": target}, "shop")
    assert said(describe, source, {"shop": {"password": sources.PASSWORD}})
    assert server.rows("SELECT 1") == [(1,)]


@pytest.mark.parametrize("target", ["../sales", "a/../../x", "\0", "x\ny", "//", "x" * 10_240])
def test_q2_the_target_in_an_object_store_does_not_leave_the_location(store, target):
    source = Source("s3", f"s3://data/shop?endpoint={store.endpoint}", {"t": target}, "k")
    asked = len(store.requests)
    assert "below its location" in said(describe, source, {"k": {"access_key": "AKTEST", "secret_key": "s3-Secret"}})
    assert len(store.requests) == asked


# --- folders


def test_a_folder_is_one_table_and_a_file_with_other_columns_is_named(tmp_path):
    for number in range(2):
        pq.write_table(pa.table({"a": [number]}), tmp_path / f"{number}.parquet")
    (tmp_path / "_SUCCESS").touch()
    source = Source("parquet", str(tmp_path), {"t": "."})
    assert [(table.name, table.rows) for table in describe(source)] == [("t", 2)]
    pq.write_table(pa.table({"b": ["x"]}), tmp_path / "odd.parquet")
    assert "odd.parquet has other columns" in said(describe, source)


def test_a_file_of_another_database_is_named(tmp_path):
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE sales (id INTEGER)")
    assert 'kind = "sqlite"' in said(describe, Source("duckdb", str(path)))


# --- types


@pytest.mark.parametrize(
    "words",
    [
        [*sqlite.TYPES.values(), sqlite.word_of("DECIMAL(12,2)")],
        [word for word, _ in postgres.TYPES.values()],
        [*objects.TYPES.values(), objects.word_of(pa.timestamp("ns", "UTC")), objects.word_of(pa.decimal128(9, 2))],
    ],
)
def test_every_type_of_a_kind_is_a_word_of_the_catalogue(words):
    assert all(family(word) for word in words)
    assert set(words) - set(WORDS) <= {"decimal(12,2)", "decimal(9,2)"}


@pytest.mark.parametrize("declared", ["", "NUMERIC", "DECIMAL(20,2)", "GEOMETRY", "DECIMAL(3,5)", "INTERVAL"])
def test_sqlite_leaves_out_what_it_cannot_give_back_as_it_was(declared):
    assert sqlite.word_of(declared) is None


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.int8()), pa.duration("s"), pa.month_day_nano_interval(), pa.float16(), pa.decimal256(50, 2)]
)
def test_an_object_store_leaves_out_what_has_no_word(kind):
    assert objects.word_of(kind) is None


def test_the_types_of_a_server_that_have_no_word_are_left_out_and_named(server):
    server.run(
        "CREATE TYPE mood AS ENUM ('good', 'bad')",
        "CREATE DOMAIN cents AS numeric(10,2)",
        """CREATE TABLE odd (a int[], b interval, c money, d numeric, e numeric(40,2), f mood, g cents, h uuid, i jsonb,
        j char(5), k timestamptz, l time, m bytea, n date, o real)""",
        """INSERT INTO odd VALUES ('{1}', '1 day', 1, 1, 1, 'bad', 1.5, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a": 1}',
        'x', '2024-01-01 10:00+02', '10:00', '\\x01', 'infinity', 0.5)""",
        database=server.shop,
    )  # fmt: skip
    source, secrets = Source("postgres", server.location, {"odd": "odd"}, "s"), {"s": {"password": sources.PASSWORD}}
    (table,) = describe(source, secrets)
    assert table.left_out == ("a", "b", "c", "d", "e")
    assert {column.name: column.type for column in table.columns} == {
        "f": "utf8", "g": "decimal(10,2)", "h": "utf8", "i": "utf8", "j": "utf8", "k": "timestamptz", "l": "time",
        "m": "binary", "n": "date32", "o": "float32",
    }  # fmt: skip
    governed = Governed((GovernedTable("odd", tuple("fghijklmno")),))
    session = Session(
        SessionSpec(agreement="a", policy_digest="p", data_version="v", source=source, governed=governed), secrets
    )
    (row,) = session.run("SELECT * FROM odd", (), "")[1].to_arrow_reader(10).read_all().to_pylist()
    assert [str(row[name]) for name in "fghijln"] == [
        "bad", "1.50", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", '{"a": 1}', "x", "10:00:00", "None",
    ]  # fmt: skip


def test_a_value_of_sqlite_that_is_not_what_its_column_declares_ends_the_stream(tmp_path):
    path = tmp_path / "x.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (i INTEGER, b BOOLEAN, d DATE)")
        connection.executemany("INSERT INTO t VALUES (?, 1, '2024-01-01')", [(n,) for n in range(20_000)])
    source = Source("sqlite", str(path))
    reader = open_foreign(source, {})
    wanted = [Column(name="i", type="int64"), Column(name="b", type="bool"), Column(name="d", type="date32")]
    assert sum(batch.num_rows for batch in reader.batches("t", wanted, None)) == 20_000
    for wrong in ("('abc', 1, NULL)", "(1.5, 1, NULL)", "(1, 7, NULL)", "(1, 1, 'yesterday')"):
        with sqlite3.connect(path) as connection:
            connection.execute("DELETE FROM t WHERE rowid > 20000")
            connection.execute(f"INSERT INTO t VALUES {wrong}")
        session = Session(
            SessionSpec(
                agreement="a", policy_digest="p", data_version="v", source=source, limits=RunLimits(load_bytes=0),
                governed=Governed((GovernedTable("t", ("i", "b", "d")),)),
            )
        )  # fmt: skip
        with pytest.raises(Exception) as caught:
            session.run("SELECT * FROM t", (), "")[1].to_arrow_reader(65536).read_all()
        failure = session.explained(caught.value)
        assert isinstance(failure, SourceFailed), wrong
        assert "abc" not in str(failure)
        assert "yesterday" not in str(failure)


# --- what a source is asked


def test_only_what_means_the_same_is_asked_of_a_database():
    known = {
        "t": Column(name="t", type="utf8"), "d": Column(name="d", type="date32"), "n": Column(name="n", type="int64"),
    }  # fmt: skip
    day, text = Comparison("d", ">", ("2024-01-01",)), Comparison("t", "=", ("it's",))
    both = Junction("and", (day, text))
    assert pushdown.where(both, known, pushdown.SQLITE) == """ WHERE (("t" = CAST('it''s' AS TEXT)))"""
    assert pushdown.where(Junction("or", (day, text)), known, pushdown.SQLITE) == ""
    assert pushdown.where(Junction("not", (both,)), known, pushdown.SQLITE) == ""
    assert "COLLATE" not in pushdown.where(text, known, pushdown.POSTGRES)
    assert '"t" COLLATE "C"' in pushdown.where(Junction("not", (text,)), known, pushdown.POSTGRES)
    assert pushdown.where(None, known, pushdown.POSTGRES) == ""


@pytest.mark.usefixtures("beyond")
@pytest.mark.parametrize("beyond", ["postgres"], indirect=True)
def test_a_server_sees_the_policy_and_nothing_of_the_consumers_query(server):
    source, secrets = (
        Source("postgres", server.location, {"sales": "sales"}, "s"),
        {"s": {"password": sources.PASSWORD}},
    )
    server.run("ALTER ROLE reader SET log_statement = 'all'")
    session = Session(spec_of(source, limits=RunLimits(load_bytes=0)), secrets)
    rows = session.run("SELECT city AS mine FROM sales WHERE id = 4711 OR city = 'Bonn'", (), "")[1].fetchall()
    assert rows
    server.run("ALTER ROLE reader RESET log_statement")
    log = Path(server.server.log).read_text(encoding="utf-8")
    assert "\"tenant\" = CAST('open' AS TEXT)" in log
    assert "4711" not in log
    assert '"email"' not in log


def test_a_role_that_may_write_does_not_write_here(server):
    database = postgres.PostgresSource(
        Source("postgres", server.location, {}, "s"), {"s": {"password": sources.PASSWORD}}
    )
    server.run("CREATE TABLE IF NOT EXISTS scratch (a int)", "GRANT ALL ON scratch TO reader", database=server.shop)
    with pytest.raises(SourceFailed, match="SQLSTATE 25006"):
        database._streaming.rows("INSERT INTO public.scratch VALUES (1) RETURNING a")


def test_a_query_of_the_provider_may_stand_for_the_state_of_the_server(server):
    server.run("DROP TABLE IF EXISTS noted", "CREATE TABLE noted AS SELECT 1 AS changed, 1 AS n", database=server.shop)
    source, secrets = (
        Source("postgres", server.location, {"noted": "noted"}, "s"),
        {"s": {"password": sources.PASSWORD}},
    )
    told = msgspec.structs.replace(source, version="SELECT max(changed) FROM public.noted")
    before = [open_foreign(one, secrets).version() for one in (source, told)]
    server.run("UPDATE noted SET n = 2", database=server.shop)
    after = [open_foreign(one, secrets).version() for one in (source, told)]
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True]
    with pytest.raises(SourceFailed):
        open_foreign(msgspec.structs.replace(source, version="SELECT 1 AS a, 2 AS b"), secrets).version()


# --- addresses and credentials


@pytest.mark.parametrize(
    "kind, location, words",
    [
        ("postgres", "postgresql://reader:pw@db.example/shop", "a password does not stand in the location"),
        ("postgres", "postgresql://reader@db.example/shop?password=pw", "a password does not stand in the location"),
        ("postgres", "postgresql://reader@db.example/shop?options=-cx", "may not set options"),
        ("postgres", "mysql://reader@db.example/shop", "write: postgresql://"),
        ("postgres", "postgresql://reader@db.example", "write: postgresql://"),
        ("s3", "s3://key:secret@bucket/x", "a key does not stand in the location"),
        ("s3", "s3://bucket/x?secret_key=y", "a key does not stand in the location"),
        ("s3", "https://bucket/x", "write: s3://"),
        ("s3", "s3://bucket/../x", "write: s3://"),
        ("s3", "s3://bucket/x?endpoint=file:///etc", "write: s3://"),
    ],
)
def test_an_address_says_where_and_nothing_else(kind, location, words):
    message = said(describe, Source(kind, location, {"t": "t"}))
    assert words in message
    assert "pw" not in message


def test_a_server_far_away_is_spoken_to_over_verified_tls():
    assert "sslmode=verify-full&sslrootcert=system" in postgres.address("postgresql://r@db.example/shop", "x", 1)
    assert "sslmode=require" in postgres.address("postgresql://r@db.example/shop?sslmode=require", "x", 1)
    assert "sslmode" not in postgres.address("postgresql://r@/shop?host=/run/pg", "x", 1)


MISTAKES = [
    ("postgres", {"sales": "towns"}, sources.PASSWORD, "no table towns"),
    ("postgres", {"sales": "sales"}, "wrong", "password authentication failed"),
    ("postgres", {"sales": "hidden"}, sources.PASSWORD, "may not SELECT"),
    ("s3", {"sales": "towns"}, "s3-Secret", "nothing in data/shop/towns ends in .parquet"),
    ("s3", {"sales": "sales"}, "wrong", "SIGNATURE_DOES_NOT_MATCH"),
]


@pytest.mark.parametrize("kind, tables, secret, words", MISTAKES)
def test_each_mistake_of_a_provider_has_a_sentence(server, store, kind, tables, secret, words):
    server.run("CREATE TABLE IF NOT EXISTS hidden (a int)", "REVOKE ALL ON hidden FROM reader", database=server.shop)
    location = server.location if kind == "postgres" else f"s3://data/shop?endpoint={store.endpoint}"
    secrets = {"postgres": {"password": secret}, "s3": {"access_key": "AKTEST", "secret_key": secret}}[kind]
    message = said(describe, Source(kind, location, tables, "s"), {"s": secrets})
    assert words in message
    assert secret not in message


# --- in workers


@pytest.fixture(params=["postgres", "s3"])
def beyond(request, worlds):
    world = worlds(request.param)
    yield world
    world.write("sales", sources.sales())


async def test_a_source_beyond_this_machine_is_read_by_a_worker_that_gets_the_credentials_and_the_network(beyond):
    asked = []

    def credentials(source):
        asked.append(source.credentials)
        return beyond.secrets[source.credentials]

    async with EnginePool(EngineLimits(spare_workers=0), credentials=credentials) as pool:
        assert {table.name for table in await pool.describe(beyond.source)} == {"sales", "big", "empty"}
        version = await pool.data_version(beyond.source)
        session = await pool.session(spec_of(beyond.source, version))
        answer = await session.read("SELECT count(*) AS n FROM sales")
        assert decode(frame.data for frame in answer.frames).to_pylist() == [{"n": 30}]
        assert await pool.data_version(beyond.source) == version
        beyond.write("sales", sources.sales(8))
        assert await pool.data_version(beyond.source) != version
    assert set(asked) == {beyond.source.credentials}


async def test_a_consumer_hears_one_sentence_of_any_failure_and_the_next_query_works(beyond, caplog):
    secrets = {name: dict(values) for name, values in beyond.secrets.items()}
    right = dict(secrets[beyond.source.credentials])
    async with EnginePool(EngineLimits(spare_workers=0), credentials=lambda s: secrets[s.credentials]) as pool:
        secrets[beyond.source.credentials] |= dict.fromkeys(right, "wrong-Secret-7")
        for ask in (lambda: pool.data_version(beyond.source), lambda: pool.session(spec_of(beyond.source))):
            failure = await refusal(ask())
            assert (failure.reason, failure.message) == ("SOURCE_UNAVAILABLE", MEANING)
            assert set(failure.metadata) <= {"query_id"}
        secrets[beyond.source.credentials] |= right
        session = await pool.session(spec_of(beyond.source))
        assert (await session.read("SELECT id FROM sales WHERE id = 1")).rows == 1
    assert "wrong-Secret-7" not in caplog.text


@pytest.mark.parametrize("kind", ["parquet", "folder", "csv", "json", "duckdb", "sqlite"])
@pytest.mark.parametrize("load_bytes", [0, 64 << 20])
async def test_a_source_on_this_machine_is_read_by_a_confined_worker(worlds, kind, load_bytes):
    world, limits = worlds(kind), RunLimits(load_bytes=load_bytes)
    async with EnginePool(EngineLimits(spare_workers=0)) as pool:
        session = await pool.session(spec_of(world.source, limits=limits))
        assert (await session.read("SELECT id FROM sales")).rows == 30


async def test_without_its_credentials_a_source_is_not_opened():
    source = Source("postgres", "postgresql://reader@db.example/shop", {"sales": "sales"}, "shop")
    async with EnginePool(EngineLimits(spare_workers=0)) as pool:
        assert (await refusal(pool.describe(source))).reason == "CONFIG_INVALID"
        assert (await refusal(pool.session(spec_of(source)))).message == MEANING


def test_a_column_of_any_name_is_asked_for_by_that_name():
    row = {"name": 'a{b}"c', "type": "text", "sort": "b", "modifier": -1, "nullable": True, "allowed": True}
    assert postgres._attribute(row).asked == '"a{b}""c"::pg_catalog.text'
