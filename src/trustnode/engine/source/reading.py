"""What the engine reads of a source: its tables, their columns, what stands for each in FROM.

Decides: which kinds the engine reads itself (files, DuckDB) and how; hands the others to their modules. Leaves to
others: which files there are (``files``), types (``words``), how a session uses it (``engine.session``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from trustnode.core.policy.governed import Predicate
from trustnode.core.policy.schema import Column
from trustnode.engine.source.files import data_version as file_version
from trustnode.engine.source.files import files, members
from trustnode.engine.source.model import Secrets, Source, SourceFailed, Table, bad
from trustnode.engine.source.words import quoted_name, quoted_text, sql_type, type_word
from trustnode.errors import TrustnodeError

if TYPE_CHECKING:
    import duckdb

    from trustnode.engine.source.foreign import Foreign

DATABASE: Final = "source"
"""Name under which a session knows the database file that it reads."""

Schemas = Mapping[str, Sequence[Column]]
"""Table -> columns that were registered, so that text is read as what it was read as then."""

_FUNCTIONS: Final = {"parquet": "read_parquet", "csv": "read_csv", "json": "read_json"}
_COUNTED: Final = frozenset({"parquet", "duckdb", "sqlite", "s3"})
"""Kinds whose rows are counted without reading all of them."""


class Reader(Protocol):
    """One table of an opened source."""

    def table(self, *, counted: bool = False) -> Table:
        """Names and types of its columns; its rows counted where asked."""
        ...

    def size_bytes(self) -> int | None:
        """Its size in memory, roughly, told without reading it; None where that is not known."""
        ...

    def item(self, wanted: Sequence[str], rows: Predicate | None) -> str:
        """What stands for it in FROM; trusted text. More columns and rows may come than are asked for."""
        ...

    def release(self) -> None:
        """Its rows are in memory: what ``item`` gave is not needed any more."""
        ...


class Opened:
    """The tables of a source, and what last went wrong in it."""

    def __init__(self, source: Source, readers: Mapping[str, Reader], failure: Failure) -> None:
        self.source = source
        self.readers = readers
        self.failure = failure
        self._version = file_version(source)

    def has_changed(self) -> bool:
        """Whether a file of the source is another than when it was opened."""
        try:
            return file_version(self.source) != self._version
        except TrustnodeError:
            return True


class Failure(Protocol):
    """Gives what last ended a stream of the source, once."""

    def __call__(self) -> Exception | None:
        """The failure; None after it was taken, or where none was."""


def describe(source: Source, secrets: Secrets | None = None) -> tuple[Table, ...]:
    """Read names and types of all tables.

    Raises:
        InvalidRequest: FIELD_FORMAT with field ``location`` (not there, not readable, no columns) or ``tables``.
    """
    import duckdb

    with readable(), duckdb.connect(":memory:") as connection:
        opened = open_source(connection, source, secrets or {})
        counted = source.kind in _COUNTED
        found = {name: reader.table(counted=counted) for name, reader in opened.readers.items()}
        _check_same_columns(connection, source)
        return tuple(found.values())


@contextmanager
def readable() -> Iterator[None]:
    """Turn what an engine or a driver says about a source into FIELD_FORMAT, without the engine's text."""
    import duckdb
    import pyarrow as pa

    try:
        yield
    except SourceFailed as failure:
        raise bad(f"the source cannot be read: {failure}") from failure
    except (duckdb.Error, OSError, pa.ArrowException) as failure:
        raise bad("the source cannot be read as what it is said to be") from failure


@contextmanager
def served(explained: Callable[[Exception], Exception]) -> Iterator[None]:
    """Turn whatever keeps a source from being opened for a consumer into one failure, told to the provider's log.

    Args:
        explained: Finds what a source itself said of it.
    """
    import duckdb
    import pyarrow as pa

    try:
        yield
    except TrustnodeError as failure:
        if failure.reason != "FIELD_FORMAT":
            raise
        raise SourceFailed(failure.message) from None
    except (duckdb.InterruptException, duckdb.OutOfMemoryException):
        raise
    except (duckdb.Error, OSError, pa.ArrowException) as failure:
        found = explained(failure)
        raise found if isinstance(found, SourceFailed) else SourceFailed(_first_words(failure)) from None


def check_registered(
    table: str, found: Mapping[str, Column], registered: Sequence[Column], needed: Collection[str]
) -> None:
    """Compare the columns that are read with those that were registered.

    Raises:
        SourceFailed: One is gone, or of another type.
    """
    for column in registered:
        if column.name in needed and column.name not in found:
            raise SourceFailed(f"the table {table} has no column {column.name} any more")
        if column.name in needed and found[column.name].type != column.type:
            raise SourceFailed(f"{table}.{column.name} was {column.type} and is {found[column.name].type}")


def open_source(
    connection: duckdb.DuckDBPyConnection, source: Source, secrets: Secrets, name: str = DATABASE,
    registered: Schemas | None = None,
) -> Opened:  # fmt: skip
    """Make a source known to ``connection`` under a name, to be read only.

    Args:
        connection: Of the session.
        source: What is opened.
        secrets: What its credentials say.
        name: Of its own in this connection.
        registered: Columns by table, where they are known.

    Raises:
        InvalidRequest: FIELD_FORMAT.
        SourceFailed: A database or an object store does not answer as it must.
    """
    if source.kind == "duckdb":
        path = quoted_text(str(files(source)[0]))
        connection.execute(f"ATTACH IF NOT EXISTS {path} AS {name} (READ_ONLY)")
        return Opened(source, _database_readers(connection, source, name), _no_failure)
    if source.kind in _FUNCTIONS:
        return Opened(source, _file_readers(connection, source, registered or {}), _no_failure)
    from trustnode.engine.source.foreign import Failures, ForeignReader

    opened, failures = open_foreign(source, secrets), Failures()
    readers = {
        table: ForeignReader(connection, opened, table, f"{name}_{number}", failures)
        for number, table in enumerate(opened.names())
    }
    return Opened(source, readers, failures.take)


def open_foreign(source: Source, secrets: Secrets) -> Foreign:
    """A source that the engine does not read itself.

    Raises:
        InvalidRequest: FIELD_FORMAT, for a location that is not understood, and where the driver is not installed.
    """
    try:
        if source.kind == "sqlite":
            from trustnode.engine.source.sqlite import SqliteSource

            return SqliteSource(source)
        if source.kind == "postgres":
            from trustnode.engine.source.postgres import PostgresSource

            return PostgresSource(source, secrets)
        from trustnode.engine.source.objects import ObjectSource

        return ObjectSource(source, secrets)
    except ImportError as failure:
        raise bad(f"reading {source.kind} needs its driver: pip install 'trustnode[sources]'", "kind") from failure


class EngineReader:
    """A table that the engine reads itself; it takes columns and rows by its own plan."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, name: str, text: str, size_bytes: int) -> None:
        self._connection = connection
        self._name = name
        self._text = text
        self._size_bytes = size_bytes

    def table(self, *, counted: bool = False) -> Table:
        """Names and types of its columns, as the engine reads them."""
        return _described(self._connection, self._name, self._text, counted=counted)

    def size_bytes(self) -> int | None:
        """Uncompressed size of a Parquet table, else the size of its files."""
        if not self._text.startswith("read_parquet("):
            return self._size_bytes
        metadata = self._text.replace("read_parquet(", "parquet_metadata(", 1)
        row = self._connection.execute(f"SELECT sum(total_uncompressed_size) FROM {metadata}").fetchone()
        return int(row[0] or 0) if row else 0

    def item(self, wanted: Sequence[str], rows: Predicate | None) -> str:
        """The text that reads it."""
        return self._text

    def release(self) -> None:
        """Nothing to do: a file stays where it is."""


def _first_words(failure: Exception) -> str:
    """What may be logged of an engine's failure: what is said about a file, and no value."""
    import duckdb

    name = type(failure).__name__
    is_of_a_file = isinstance(failure, duckdb.IOException | OSError)
    return f"{name}: {str(failure).partition(chr(10))[0]}" if is_of_a_file else name


def _no_failure() -> None:
    return None


def _file_readers(
    connection: duckdb.DuckDBPyConnection, source: Source, registered: Schemas
) -> dict[str, EngineReader]:
    found = {}
    for name, paths in members(source):
        named = [str(path) for path in paths]
        text = _file_text(source.kind, named, _still_there(connection, source, named, registered.get(name, ())))
        found[name] = EngineReader(connection, name, text, sum(path.stat().st_size for path in paths))
    return found


def _still_there(
    connection: duckdb.DuckDBPyConnection, source: Source, paths: Sequence[str], registered: Sequence[Column]
) -> Sequence[Column]:
    """Of JSON, the columns that any line still has: the engine would give NULL for one that is gone."""
    if source.kind != "json" or not registered:
        return registered
    found = {name for name, _ in _engine_columns(connection, _file_text(source.kind, paths, ()))}
    return [column for column in registered if column.name in found]


def _file_text(kind: str, paths: Sequence[str], registered: Sequence[Column]) -> str:
    """The table function over these files; columns of text get the types they were registered with."""
    listed = ", ".join(map(quoted_text, paths))
    types = ", ".join(f"{quoted_text(column.name)}: {quoted_text(sql_type(column.type))}" for column in registered)
    options = {
        "parquet": "",
        "csv": f", types = {{{types}}}" if types else "",
        "json": ", format = 'newline_delimited'" + (f", columns = {{{types}}}" if types else ""),
    }[kind]
    return f"{_FUNCTIONS[kind]}([{listed}]{options})"


def _check_same_columns(connection: duckdb.DuckDBPyConnection, source: Source) -> None:
    """Files that are one table have the same columns; a file too many is found before it is sold."""
    if source.kind not in _FUNCTIONS or source.needs_network:
        return
    for _, paths in members(source):
        if len(paths) == 1:
            continue
        found = {path: _engine_columns(connection, _file_text(source.kind, [str(path)], ())) for path in paths}
        for path in paths[1:]:
            if found[path] != found[paths[0]]:
                raise bad(f"{path.name} has other columns than {paths[0].name}", "tables")


def _engine_columns(connection: duckdb.DuckDBPyConnection, text: str) -> list[tuple[str, str]]:
    return [(str(row[0]), str(row[1])) for row in connection.execute(f"DESCRIBE SELECT * FROM {text}").fetchall()]


def _described(connection: duckdb.DuckDBPyConnection, name: str, text: str, *, counted: bool) -> Table:
    rows = connection.execute(f"DESCRIBE SELECT * FROM {text}").fetchall()
    words = [(str(row[0]), type_word(str(row[1])), row[2] != "NO") for row in rows]
    try:
        columns = tuple(Column(name=column, type=word, nullable=nullable) for column, word, nullable in words if word)
    except ValueError as failure:
        raise bad("a column of the source has a name that cannot be used") from failure
    if not columns:
        raise bad("the source has no column that can be delivered")
    count = connection.execute(f"SELECT count(*) FROM {text}").fetchone() if counted else None
    return Table(name, columns, tuple(column for column, word, _ in words if not word), count[0] if count else None)


def _database_readers(connection: duckdb.DuckDBPyConnection, source: Source, database: str) -> dict[str, EngineReader]:
    size = sum(path.stat().st_size for path in files(source))
    return {
        name: EngineReader(connection, name, _database_table(target, database), size)
        for name, target in _database_tables(connection, source, database).items()
    }


def _database_tables(connection: duckdb.DuckDBPyConnection, source: Source, database: str) -> Mapping[str, str]:
    rows = connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = ? UNION ALL "
        "SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = ? AND NOT internal ORDER BY 1, 2",
        [database, database],
    ).fetchall()
    there = [table if schema == "main" else f"{schema}.{table}" for schema, table in rows]
    if not there:
        raise bad("the database holds no table")
    for target in source.tables.values():
        if target.removeprefix("main.") not in there:
            raise bad(f"the database has no table {target[:128]}; it has: {', '.join(there)[:512]}", "tables")
    return source.tables or {target: target for target in there if "." not in target}


def _database_table(target: str, database: str) -> str:
    schema, _, table = target.rpartition(".")
    return f"{database}.{quoted_name(schema or 'main')}.{quoted_name(table)}"
