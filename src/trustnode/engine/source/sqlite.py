"""SQLite as a source, read through ADBC as Arrow.

Decides: which declared type is which word, that a value which is not what its column declares ends the stream, how a
file in write-ahead mode is read without writing beside it. Leaves to others: statements and connections (``database``).
Only a worker gets here.

SQLite has no types of columns, only of values; the driver guesses from the first rows. So a row of known types is put
before all others and taken off again, and each value is then cast to what its column declares.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

import adbc_driver_sqlite
import pyarrow as pa

from trustnode.core.policy.governed import Predicate
from trustnode.core.policy.schema import Column, columns
from trustnode.engine.source import pushdown
from trustnode.engine.source.arrow import Batches
from trustnode.engine.source.database import Database, driver_path
from trustnode.engine.source.files import data_version, files
from trustnode.engine.source.model import Source, SourceFailed, Table, bad
from trustnode.engine.source.words import folded, quoted_name, quoted_text

TYPES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("int", "integer", "bigint", "smallint", "tinyint", "mediumint", "int2", "int8"), "int64"),
    **dict.fromkeys(("real", "double", "double precision", "float"), "float64"),
    **dict.fromkeys(("text", "varchar", "char", "character", "nvarchar", "nchar", "clob", "uuid", "json"), "utf8"),
    "blob": "binary",
    **dict.fromkeys(("boolean", "bool"), "bool"),
    "date": "date32",
    "time": "time",
    **dict.fromkeys(("datetime", "timestamp"), "timestamp"),
}
"""Declared type, without its length -> word; ``decimal(p,s)`` and ``numeric(p,s)`` up to 15 digits come besides."""

_EXACT_DIGITS: Final = 15
"""A decimal is stored as a double: up to so many digits it comes back as it was."""
_FIRST: Final[Mapping[str, str]] = {"int64": "0", "bool": "0", "float64": "0.0", "binary": "x''"}
"""A value of the type that is stored for a word; all others are stored as text."""
_PARAMETERS: Final = re.compile(r"\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)\s*$")
_BATCH_ROWS: Final = "16384"
_WRITE_AHEAD: Final = 2


class SqliteSource:
    """One database file."""

    def __init__(self, source: Source) -> None:
        """Find the file, and how it may be read.

        Raises:
            InvalidRequest: FIELD_FORMAT.
        """
        self._source = source
        (path,) = files(source)
        self._is_fixed = _needs_no_lock(path)
        mode = "immutable=1" if self._is_fixed else "mode=ro"
        self._database = Database(driver_path(adbc_driver_sqlite), {"uri": f"file:{quote(str(path))}?{mode}"})
        self._opened_at = data_version(source)

    def names(self) -> Sequence[str]:
        """Names in SQL of its tables."""
        return tuple(self._targets())

    def table(self, name: str, *, counted: bool) -> Table:
        """Columns by their declared types."""
        target = self._target(name)
        rows = self._database.rows(f'SELECT name, type, "notnull" FROM pragma_table_xinfo({quoted_text(target)})')
        if not rows:
            raise bad(f"the database has no table {target}", "tables")
        known = [(row["name"], word_of(row["type"]), not row["notnull"]) for row in rows]
        found = tuple(_column(column, word, nullable) for column, word, nullable in known if word)
        if not found:
            raise bad(f"no column of {target} declares a type that can be delivered")
        count = self._database.rows(f"SELECT count(*) AS n FROM {quoted_name(target)}")[0]["n"] if counted else None
        return Table(name, found, tuple(column for column, word, _ in known if not word), count)

    def size_bytes(self, name: str) -> int | None:
        """Size of the whole file: of a single table it is not known."""
        return sum(path.stat().st_size for path in files(self._source))

    def batches(self, name: str, wanted: Sequence[Column], rows: Predicate | None) -> Batches:
        """Rows of these columns."""
        known = columns(self.table(name, counted=False).columns)
        first = ", ".join(f"{_FIRST.get(_stored(column.type), _TEXT)}" for column in wanted)
        listed = ", ".join(quoted_name(column.name) for column in wanted)
        filtered = pushdown.where(rows, known, pushdown.SQLITE)
        sql = f"SELECT {first} UNION ALL SELECT {listed} FROM main.{quoted_name(self._target(name))}{filtered}"
        yield from _without_first(self._checked(wanted, sql))
        if self._is_fixed and data_version(self._source) != self._opened_at:
            raise SourceFailed("the file has changed while it was read")

    def version(self) -> str:
        """State of the file and of the log beside it."""
        return data_version(self._source)

    def _checked(self, wanted: Sequence[Column], sql: str) -> Iterator[pa.RecordBatch]:
        for batch in self._database.stream(sql, **{"adbc.sqlite.query.batch_rows": _BATCH_ROWS}):
            for column, array in zip(wanted, batch.columns, strict=True):
                if column.type == "bool" and _has_other_than_0_and_1(array):
                    raise SourceFailed(f"a value of the column {column.name} is no bool")
            yield batch

    def _target(self, name: str) -> str:
        return self._targets()[name]

    def _targets(self) -> Mapping[str, str]:
        """Name in SQL -> table or view of the file."""
        rows = self._database.rows(
            "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
            "AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
        )
        there = {folded(row["name"]): row["name"] for row in rows}
        if not there:
            raise bad("the database holds no table")
        for target in self._source.tables.values():
            if folded(target) not in there:
                raise bad(
                    f"the database has no table {target[:128]}; it has: {', '.join(there.values())[:512]}", "tables"
                )
        if self._source.tables:
            return {name: there[folded(target)] for name, target in self._source.tables.items()}
        return {name: name for name in there.values()}


def word_of(declared: str) -> str | None:
    """The catalogue's word for a declared type; None when such a column is not delivered."""
    text = " ".join(declared.lower().split())
    parameters = _PARAMETERS.search(text)
    name = text[: parameters.start()] if parameters else text
    if name in {"decimal", "numeric"}:
        if parameters is None or not 0 < int(parameters[1]) <= _EXACT_DIGITS:
            return None
        scale = int(parameters[2] or 0)
        return f"decimal({int(parameters[1])},{scale})" if scale <= int(parameters[1]) else None
    return TYPES.get(name)


_TEXT: Final = "''"


def _stored(word: str) -> str:
    return "float64" if word.startswith("decimal") else word


def _column(name: str, word: str, nullable: bool) -> Column:
    try:
        return Column(name=name, type=word, nullable=nullable)
    except ValueError as failure:
        raise bad("a column of the source has a name that cannot be used") from failure


def _has_other_than_0_and_1(array: pa.Array) -> bool:
    return not pa.types.is_integer(array.type) or not set(array.unique().to_pylist()) <= {0, 1, None}


def _without_first(batches: Iterator[pa.RecordBatch]) -> Batches:
    skipped = 1
    for batch in batches:
        yield batch.slice(skipped)
        skipped = 0


def _needs_no_lock(path: Path) -> bool:
    """Whether the file is in write-ahead mode and nothing stands beside it: then opening would make files there."""
    with path.open("rb") as file:
        head = file.read(20)
    beside = path.with_name(f"{path.name}-wal")
    has_log = beside.exists() and beside.stat().st_size > 0
    return len(head) == 20 and head[18] == _WRITE_AHEAD and not has_log
