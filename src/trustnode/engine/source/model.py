"""What a source is: its kind, where it lies, which tables it has.

Decides: the closed set of kinds. Leaves to others: whether it is there and what it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from trustnode.core.policy.schema import Column
from trustnode.errors import TrustnodeError, error

Kind = Literal["parquet", "csv", "duckdb"]

SUFFIXES: Final[Mapping[str, Kind]] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".duckdb": "duckdb",
    ".db": "duckdb",
}


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


def source_of(path: str) -> Source:
    """The source that one file is, told by its suffix.

    Raises:
        InvalidRequest: FIELD_FORMAT, when the suffix names no kind.
    """
    kind = SUFFIXES.get(Path(path).suffix.lower())
    if kind is None:
        raise bad(f"a source is a file that ends in one of {', '.join(SUFFIXES)}")
    return Source(kind, path)


def bad(message: str, field: str = "location") -> TrustnodeError:
    """FIELD_FORMAT: what the provider said of the source does not hold."""
    return error("FIELD_FORMAT", message, field=field)
