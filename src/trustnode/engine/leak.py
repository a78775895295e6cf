"""Counting the marks of a copy in a file that turned up somewhere.

Decides: how a suspect file is read, which of its rows are known by their key, and for which bit each of them votes
(privacy 4.1, detection). Leaves to others: what votes mean (``core.tracing``), whose copies there are (``tracing``).

It is not blind: the rows of the source and unchanged keys are needed. The order of the rows is not, and a row that is
missing, rounded or changed otherwise has no vote. DuckDB is imported where it is used.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple, Self

from sqlglot import exp

from trustnode.core.policy.governed import GovernedTable, Mark
from trustnode.core.policy.schema import Column, columns
from trustnode.core.tracing import ONE_ROW_IN, MarkSecret, Votes, tally
from trustnode.engine import fingerprint, markers, masking, relation
from trustnode.engine import source as reading
from trustnode.engine.source import Source, folded, quoted_name, quoted_text, sql_type
from trustnode.errors import TrustnodeError, error

_READERS: Final[Mapping[str, str]] = {
    ".parquet": "read_parquet({})",
    ".csv": "read_csv({}, all_varchar = true, header = true)",
    ".tsv": "read_csv({}, all_varchar = true, header = true)",
}
_HERE: Final = "here"
"""Schema of this connection for what is computed."""
_TOLERANCE: Final = 0.01
"""Part of a quantum by which a change may miss it: floats, and files that wrote them as text."""


class Copies(NamedTuple):
    """Copies that are marked in the same rows: those of one product, or one alone where its key is masked."""

    table: GovernedTable
    key: bytes
    """Of the mark."""
    hash_key: bytes
    """Of masks; unused where the key of the rows is delivered as it is."""


class Suspicious(NamedTuple):
    """A file and what its columns are called there."""

    path: Path
    column: str
    """Column that may carry marks; empty: as the terms call it."""
    key: str
    """Column that names the rows; empty: as the terms call it."""


class Found(NamedTuple):
    """What a file holds of the rows that would be marked."""

    rows: int
    """Of the file, those without a readable key included."""
    known: int
    """Of them, rows that are marked in a copy, found by their key."""
    votes: tuple[Votes, ...]


class Marked(NamedTuple):
    """One copy that may hold marker rows."""

    table: GovernedTable
    secret: MarkSecret
    hash_key: bytes


class Original:
    """The rows of a product beside a suspect file, in one connection that reads nothing else."""

    def __init__(self, source: Source, table: str, file: Suspicious, secrets: reading.Secrets | None = None) -> None:
        """Open both; ``secrets`` is what the credentials of the source say.

        Raises:
            TrustnodeError: FIELD_FORMAT, a file cannot be read; NOT_FOUND, the source has no such table.
        """
        import duckdb

        self._file = file
        self._db = duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"})
        with reading.readable():
            reader = reading.open_source(self._db, source, secrets or {}).readers.get(table)
            if reader is None:
                raise error("NOT_FOUND", f"the source has no table {table}", field="table")
            self._columns = columns(reader.table().columns)
            self._reader = reader.item(list(self._columns), None)
            self._suspect = _reader(file.path)
            self._names = [str(row[0]) for row in self._db.execute(f"DESCRIBE FROM {self._suspect}").fetchall()]
        self._db.execute(f'CREATE SCHEMA "{_HERE}"')
        self._numbers = itertools.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def count(self, copies: Copies) -> Found:
        """Count the votes for these copies.

        Raises:
            TrustnodeError: FIELD_MISSING, the file has no such column; FIELD_FORMAT, it cannot be read.
        """
        mark = copies.table.mark
        if mark is None:
            raise error("NOT_FOUND", "these copies carry no mark")
        schema = self._own_schema(copies.hash_key)
        key = relation.row_key(copies.table, mark, self._columns, schema)
        with reading.readable():
            self._keep_marked(mark, key, copies.key)
            rows = self._keep_suspect(mark, _key_type(copies.table, mark, self._columns))
            return Found(rows, *self._counted(mark))

    def marker_rows(self, copy: Marked) -> int:
        """How many marker rows of a copy the file holds: the key is there, and what stands beside it."""
        table, mark = copy.table, copy.table.mark
        if mark is None or not mark.marker_rows:
            return 0
        schema = self._own_schema(copy.hash_key)
        self._db.execute(fingerprint.macro_sql(schema, copy.secret))
        place, needed = markers.Place(schema, "markers"), sorted(relation.needed_columns(table, None))
        rows = markers.Rows(self._reader, table, self._columns, needed, copy.secret.seed)
        with reading.readable():
            if not markers.create(self._db, place, rows):
                return 0
            select = relation.governed_select(table, self._columns, schema=schema, place=place.name, units={})
            return self._held(mark, select.sql("duckdb", identify=True))

    def _own_schema(self, hash_key: bytes) -> str:
        """A schema with the keyed hash of one agreement."""
        schema = f"copy{next(self._numbers)}"
        self._db.execute(f'CREATE SCHEMA "{schema}"')
        self._db.execute(masking.hash_macro(schema, hash_key))
        return schema

    def _held(self, mark: Mark, made: str) -> int:
        """Rows of a query that the suspect file has, by their key and all other columns that they share but one."""
        theirs = {folded(name): quoted_name(name) for name in self._names}
        theirs[folded(mark.key)] = self._column(self._file.key or mark.key, "--key")
        kinds = {str(row[0]): str(row[1]) for row in self._db.execute(f"DESCRIBE {made}").fetchall()}
        same = {
            name: f"(m.{quoted_name(name)} IS NOT DISTINCT FROM TRY_CAST(s.{theirs[name]} AS {kind}))"
            for name, kind in kinds.items()
            if name in theirs
        }
        key = same.pop(folded(mark.key))
        alike = " + ".join(f"CAST({test} AS INTEGER)" for test in same.values()) or "0"
        (number,) = self._db.execute(
            f"SELECT count(DISTINCT m.{quoted_name(folded(mark.key))}) FROM ({made}) m JOIN {self._suspect} s "
            f"ON {key} AND {alike} >= {len(same) - (len(same) > 1)}"
        ).fetchone() or (0,)
        return int(number)

    def _keep_marked(self, mark: Mark, key: exp.Expr, secret: bytes) -> None:
        """Rows of the source that are marked, by the key that a copy shows; one that names several names none."""
        hashed = fingerprint.hash_sql(secret, "CAST(k AS VARCHAR)")
        self._db.execute(
            f"CREATE OR REPLACE TABLE {_HERE}.marked AS SELECT k, any_value(o) AS o, any_value(bit) AS bit, "
            f"any_value(mask) AS mask FROM (SELECT k, o, {fingerprint.bit_sql(hashed)} AS bit, "
            f"{fingerprint.mask_sql(hashed)} AS mask FROM (SELECT {key.sql('duckdb', identify=True)} AS k, "
            f"CAST({quoted_name(mark.column)} AS DOUBLE) AS o FROM {self._reader}) "
            f"WHERE {hashed} % {ONE_ROW_IN} = 0) WHERE o IS NOT NULL GROUP BY k HAVING count(*) = 1"
        )

    def _keep_suspect(self, mark: Mark, key_type: str) -> int:
        key = self._column(self._file.key or mark.key, "--key")
        value = self._column(self._file.column or mark.column, "--column")
        (number,) = self._db.execute(
            f"CREATE OR REPLACE TABLE {_HERE}.suspect AS SELECT TRY_CAST({key} AS {key_type}) AS k, "
            f"TRY_CAST({value} AS DOUBLE) AS v FROM {self._suspect}"
        ).fetchone() or (0,)
        return int(number)

    def _column(self, name: str, option: str) -> str:
        for known in self._names:
            if folded(known) == folded(name):
                return quoted_name(known)
        step = f"Name the column of the file that holds it: {option} NAME. It has: {', '.join(self._names)[:200]}"
        raise error("FIELD_MISSING", f"the file has no column {name}", field=option, next_step=step)

    def _counted(self, mark: Mark) -> tuple[int, tuple[Votes, ...]]:
        joined = f"{_HERE}.suspect JOIN {_HERE}.marked USING (k)"
        (known,) = self._db.execute(f"SELECT count(*) FROM {joined}").fetchone() or (0,)
        steps = f"(v - o) / {mark.quantum}"
        votes = self._db.execute(
            f"SELECT bit, CAST((v > o) = (mask = 0) AS INTEGER), count(*) FROM {joined} "
            f"WHERE abs(abs({steps}) - 1) < {_TOLERANCE} GROUP BY ALL"
        ).fetchall()
        return int(known), tally(votes)


def _key_type(table: GovernedTable, mark: Mark, known: Mapping[str, Column]) -> str:
    is_masked = any(mask.column == mark.key for mask in table.masks)
    return "VARCHAR" if is_masked else sql_type(known[mark.key].type)


def _reader(path: Path) -> str:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise _unread(path)
    return reader.format(quoted_text(str(path)))


def _unread(path: Path) -> TrustnodeError:
    return error("FIELD_FORMAT", f"{path.name}: a file to trace ends in {', '.join(_READERS)}", field="file")
