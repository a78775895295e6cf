"""What a source is: its kind, where it lies, which tables it has.

Decides: the closed set of kinds, and which of them lie beyond this machine. Leaves to others: whether it is there and
what it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from trustnode.core.policy.schema import Column
from trustnode.errors import TrustnodeError, error

Kind = Literal["parquet", "csv", "json", "duckdb", "sqlite", "postgres", "s3"]

SUFFIXES: Final[Mapping[str, Kind]] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".ndjson": "json",
    ".jsonl": "json",
    ".duckdb": "duckdb",
    ".db": "duckdb",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
}
DATABASES: Final[frozenset[Kind]] = frozenset({"duckdb", "sqlite", "postgres"})
"""Kinds whose ``tables`` name tables and not files."""
BEYOND: Final[frozenset[Kind]] = frozenset({"postgres", "s3"})
"""Kinds that are reached over the network, with credentials."""

Secrets = Mapping[str, Mapping[str, str]]
"""Name of credentials -> what stands in their file; travels to a worker when it opens a source, and is kept nowhere."""


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the providing node reaches the data; never leaves it."""

    kind: Kind
    location: str
    """Path of a file or of a directory of files; or an address, ``postgresql://`` or ``s3://``, without a password."""
    tables: dict[str, str] = {}
    """Name in SQL -> file below ``location`` (``.``: all files there are one table), or table of the database; empty:
    all, under their own names."""
    credentials: str = ""
    """Name of the credentials in the provider's home; never what they are."""
    version: str = ""
    """PostgreSQL: a query whose one value changes with the data, in place of the state of the whole server."""

    @property
    def needs_network(self) -> bool:
        """Whether a worker that reads it must reach the network; all others have none."""
        return self.kind in BEYOND


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table as the source holds it."""

    name: str
    columns: tuple[Column, ...]
    left_out: tuple[str, ...] = ()
    """Columns whose type has no word in the catalogue (lists, structures, intervals)."""
    rows: int | None = None
    """How many it holds now; None where counting would read the whole of it (CSV)."""


def source_of(path: str) -> Source:
    """The source that one file is, told by its suffix.

    Raises:
        InvalidRequest: FIELD_FORMAT, when the suffix names no kind.
    """
    kind = SUFFIXES.get(Path(path).suffix.lower())
    if kind is None:
        raise bad(f"a source is a file that ends in one of {', '.join(SUFFIXES)}")
    return Source(kind, path)


class SourceFailed(Exception):
    """A source does not give what it gave when it was opened; the text is for the provider's log and names no value."""


def bad(message: str, field: str = "location") -> TrustnodeError:
    """FIELD_FORMAT: what the provider said of the source does not hold."""
    return error("FIELD_FORMAT", message, field=field)
