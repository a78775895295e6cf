"""What the engine reads of a source: its tables, their columns, the text that stands for each in FROM.

Decides: how a kind of source is opened by the engine. Leaves to others: which files there are (``files``), types
(``words``), how a session uses it (``engine.session``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from trustnode.core.policy.schema import Column
from trustnode.engine.source.files import files, members
from trustnode.engine.source.model import Source, Table, bad
from trustnode.engine.source.words import quoted_name, quoted_text, type_word

if TYPE_CHECKING:
    import duckdb

DATABASE: Final = "source"
"""Name under which a session knows the database file that it reads."""


def describe(source: Source) -> tuple[Table, ...]:
    """Read names and types of all tables.

    Raises:
        InvalidRequest: FIELD_FORMAT with field ``location`` (no such file, not readable, no columns) or ``tables``.
    """
    import duckdb

    with readable(), duckdb.connect(":memory:") as connection:
        attach(connection, source)
        found = readers(connection, source)
        return tuple(
            describe_reader(connection, name, text, counted=source.kind != "csv") for name, text in found.items()
        )


@contextmanager
def readable() -> Iterator[None]:
    """Turn what the engine says about a foreign file into FIELD_FORMAT, without its text."""
    import duckdb

    try:
        yield
    except (duckdb.Error, OSError) as failure:
        raise bad("the source cannot be read as what it is said to be") from failure


def attach(connection: duckdb.DuckDBPyConnection, source: Source, name: str = DATABASE) -> None:
    """Make a database file known to ``connection`` under a name, read-only; nothing to do for the other kinds."""
    if source.kind == "duckdb":
        connection.execute(f"ATTACH IF NOT EXISTS {quoted_text(str(files(source)[0]))} AS {name} (READ_ONLY)")


def readers(connection: duckdb.DuckDBPyConnection, source: Source, database: str = DATABASE) -> dict[str, str]:
    """Name in SQL -> text of the FROM item that reads the table. Trusted text: names are quoted, paths are checked."""
    if source.kind == "duckdb":
        found = _database_tables(connection, source, database)
        return {name: _database_table(target, database) for name, target in found.items()}
    function = "read_parquet" if source.kind == "parquet" else "read_csv"
    return {name: f"{function}({quoted_text(str(path))})" for name, path in members(source)}


def describe_reader(connection: duckdb.DuckDBPyConnection, name: str, reader: str, *, counted: bool = False) -> Table:
    """Read names and types of one FROM item, and count its rows where asked."""
    rows = connection.execute(f"DESCRIBE SELECT * FROM {reader}").fetchall()
    words = [(str(row[0]), type_word(str(row[1])), row[2] != "NO") for row in rows]
    try:
        columns = tuple(Column(name=column, type=word, nullable=nullable) for column, word, nullable in words if word)
    except ValueError as failure:
        raise bad("a column of the source has a name that cannot be used") from failure
    if not columns:
        raise bad("the source has no column that can be delivered")
    count = connection.execute(f"SELECT count(*) FROM {reader}").fetchone() if counted else None
    return Table(name, columns, tuple(column for column, word, _ in words if not word), count[0] if count else None)


def _database_tables(connection: duckdb.DuckDBPyConnection, source: Source, database: str) -> Mapping[str, str]:
    if source.tables:
        return source.tables
    rows = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = ? AND schema_name = 'main' ORDER BY 1", [database]
    ).fetchall()
    if not rows:
        raise bad("the database holds no table")
    return {row[0]: row[0] for row in rows}


def _database_table(target: str, database: str) -> str:
    schema, _, table = target.rpartition(".")
    return f"{database}.{quoted_name(schema or 'main')}.{quoted_name(table)}"
