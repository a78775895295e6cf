"""Where a product's rows come from, and which columns they have.

Decides: what a source is, that it stays inside its location, the closed type word of every engine type. Leaves to
others: which columns a consumer gets (``core.policy``), how a session opens it (``engine.session``).

DuckDB is imported where it is used: the node and the command line import this module for its values.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from trustnode.core.policy.schema import Column
from trustnode.errors import TrustnodeError, error

if TYPE_CHECKING:
    import duckdb

Kind = Literal["parquet", "csv", "duckdb"]

SUFFIXES: Final[Mapping[str, Kind]] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".duckdb": "duckdb",
    ".db": "duckdb",
}

ENGINE_TYPES: Final[Mapping[str, str]] = {
    "TINYINT": "int8",
    "SMALLINT": "int16",
    "INTEGER": "int32",
    "BIGINT": "int64",
    "UTINYINT": "uint8",
    "USMALLINT": "uint16",
    "UINTEGER": "uint32",
    "UBIGINT": "uint64",
    "HUGEINT": "decimal(38,0)",
    "UHUGEINT": "decimal(38,0)",
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "VARCHAR": "utf8",
    "UUID": "utf8",
    "JSON": "utf8",
    "BOOLEAN": "bool",
    "DATE": "date32",
    "TIME": "time",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP_S": "timestamp",
    "TIMESTAMP_MS": "timestamp",
    "TIMESTAMP_NS": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "BLOB": "binary",
}
"""Type of the engine -> word of the catalogue; DECIMAL(p,s) and ENUM come besides, everything else is not delivered."""

_SQL_TYPES: Final[Mapping[str, str]] = {word: name for name, word in reversed(list(ENGINE_TYPES.items()))}
_DECIMAL: Final = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_FOLD: Final = str.maketrans(ascii_uppercase, ascii_lowercase)
_PATTERN_CHARACTERS: Final = frozenset("*?[]{}")


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the providing node reaches the data; never leaves it."""

    kind: Kind
    location: str
    """Path of a file, or of a directory that holds the files named in ``tables`` (parquet and csv)."""
    tables: dict[str, str] = {}
    """Name in SQL -> file below ``location``, or table of the database; empty: all, under their own names."""


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table as the source holds it."""

    name: str
    columns: tuple[Column, ...]
    left_out: tuple[str, ...] = ()
    """Columns whose type has no word in the catalogue (lists, structures, intervals)."""
    rows: int | None = None
    """How many it holds now; None where counting would read the whole of it (CSV)."""


def type_word(engine_type: str) -> str | None:
    """The catalogue's word for a type of the engine; None when such a value is not delivered."""
    if match := _DECIMAL.fullmatch(engine_type):
        return f"decimal({match[1]},{match[2]})"
    if engine_type.startswith("ENUM("):
        return "utf8"
    return ENGINE_TYPES.get(engine_type)


def sql_type(word: str) -> str:
    """The engine's type for a word of the catalogue."""
    return word.upper() if word.startswith("decimal") else _SQL_TYPES[word]


def source_of(path: str) -> Source:
    """The source that one file is, told by its suffix.

    Raises:
        InvalidRequest: FIELD_FORMAT, when the suffix names no kind.
    """
    kind = SUFFIXES.get(Path(path).suffix.lower())
    if kind is None:
        raise _bad(f"a source is a file that ends in one of {', '.join(SUFFIXES)}")
    return Source(kind, path)


def files(source: Source) -> tuple[Path, ...]:
    """Every file the source reads, resolved; raises FIELD_FORMAT for one that is missing or lies outside."""
    if source.kind == "duckdb":
        return (_file(Path(source.location)),)
    return tuple(path for _, path in _members(source))


def data_version(source: Source) -> str:
    """A digest that changes when a file of the source is replaced or written to."""
    digest = hashlib.sha256()
    for path in files(source):
        stat = path.stat()
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


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
        raise _bad("the source cannot be read as what it is said to be") from failure


def attach(connection: duckdb.DuckDBPyConnection, source: Source) -> None:
    """Make a database file known to ``connection``, read-only; nothing to do for the other kinds."""
    if source.kind == "duckdb":
        connection.execute(f"ATTACH {quoted_text(str(files(source)[0]))} AS source (READ_ONLY)")


def readers(connection: duckdb.DuckDBPyConnection, source: Source) -> dict[str, str]:
    """Name in SQL -> text of the FROM item that reads the table. Trusted text: names are quoted, paths are checked."""
    if source.kind == "duckdb":
        return {name: _database_table(target) for name, target in _database_tables(connection, source).items()}
    function = "read_parquet" if source.kind == "parquet" else "read_csv"
    return {name: f"{function}({quoted_text(str(path))})" for name, path in _members(source)}


def folded(name: str) -> str:
    """A name as the engine compares it: letters of ASCII without case, all others as they are."""
    return name.translate(_FOLD)


def quoted_text(text: str) -> str:
    """An SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def quoted_name(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _members(source: Source) -> Iterator[tuple[str, Path]]:
    location = Path(source.location)
    if not location.is_dir():
        if len(source.tables) > 1:
            raise error("FIELD_FORMAT", "one file holds one table", field="tables")
        yield next(iter(source.tables), _name_of(location)), _file(location)
        return
    root = location.resolve()
    for name, file in (source.tables or _listed(source.kind, root)).items():
        path = _file(root / file)
        if not path.is_relative_to(root):
            raise error("FIELD_FORMAT", "a file of the source must lie below its location", field="tables")
        yield name, path


def _listed(kind: Kind, root: Path) -> dict[str, str]:
    found = {_name_of(path): path.name for path in sorted(root.iterdir()) if SUFFIXES.get(path.suffix) == kind}
    if not found:
        raise _bad(f"the directory holds no {kind} file")
    return found


def _name_of(path: Path) -> str:
    return re.sub(r"\W+", "_", path.stem).strip("_").lower() or "data"


def _file(path: Path) -> Path:
    try:
        resolved = path.resolve()
        if not resolved.is_file():
            raise _bad(f"there is no file {path}")
        resolved.open("rb").close()
        if not resolved.stat().st_size:
            raise _bad("the file is empty")
    except (OSError, ValueError) as failure:
        raise _bad("the file cannot be read") from failure
    if _PATTERN_CHARACTERS & set(str(resolved)):
        raise _bad("the path must not contain any of * ? [ ] { }")
    return resolved


def _database_tables(connection: duckdb.DuckDBPyConnection, source: Source) -> Mapping[str, str]:
    if source.tables:
        return source.tables
    rows = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = 'source' AND schema_name = 'main' ORDER BY 1"
    ).fetchall()
    if not rows:
        raise _bad("the database holds no table")
    return {row[0]: row[0] for row in rows}


def _database_table(target: str) -> str:
    schema, _, table = target.rpartition(".")
    return f"source.{quoted_name(schema or 'main')}.{quoted_name(table)}"


def describe_reader(connection: duckdb.DuckDBPyConnection, name: str, reader: str, *, counted: bool = False) -> Table:
    """Read names and types of one FROM item, and count its rows where asked."""
    rows = connection.execute(f"DESCRIBE SELECT * FROM {reader}").fetchall()
    words = [(str(row[0]), type_word(str(row[1])), row[2] != "NO") for row in rows]
    try:
        columns = tuple(Column(name=column, type=word, nullable=nullable) for column, word, nullable in words if word)
    except ValueError as failure:
        raise _bad("a column of the source has a name that cannot be used") from failure
    if not columns:
        raise _bad("the source has no column that can be delivered")
    count = connection.execute(f"SELECT count(*) FROM {reader}").fetchone() if counted else None
    return Table(name, columns, tuple(column for column, word, _ in words if not word), count[0] if count else None)


def _bad(message: str) -> TrustnodeError:
    return error("FIELD_FORMAT", message, field="location")
