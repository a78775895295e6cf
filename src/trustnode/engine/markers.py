"""Marker rows: rows of one copy that the source does not have, made so that nobody tells them from the others.

Decides: the values of each marker row of an agreement, and between which rows it stands (privacy 4.2). Leaves to
others: how many there may be (the terms), the secret they follow from (``core.tracing``), finding them (``leak``).

A marker row is a row of the source in which some values, one at least, are those of another row; the columns that the
row filter reads stay together. Its key is new and written like the others: from a gap between them, or, where there is
none, beyond the last. It follows the row with the next smaller key, as it would in a source sorted by it.

The same seed and the same rows of the source give the same marker rows, so that nothing needs to be kept.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from trustnode.core.policy.governed import GovernedTable, Mark
from trustnode.core.policy.schema import Column
from trustnode.engine.relation import filter_columns, row_filter
from trustnode.engine.source import quoted_name, quoted_text, sql_type

if TYPE_CHECKING:
    import duckdb

_LOOKED_AT: Final = 20_000
"""Rows of the source from which values are taken, beginning with a key that follows from the seed."""
_DONORS: Final = 64
_TRIES: Final = 16
_BEYOND: Final = 10_000
"""Least room for new keys behind the last one, so that two copies hardly ever have the same."""
_NUMBER: Final = "marker_number"
_BEHIND: Final = "behind_key"


class Rows(NamedTuple):
    """Where marker rows are made from."""

    reader: str
    """FROM item of the source."""
    table: GovernedTable
    columns: Mapping[str, Column]
    needed: Sequence[str]
    """Columns that the session reads."""
    seed: bytes

    @property
    def mark(self) -> Mark:
        """The mark of a table that has marker rows."""
        if self.table.mark is None:
            raise ValueError("a table without a mark has no marker rows")
        return self.table.mark

    @property
    def where(self) -> str:
        """The row filter of the policy, as SQL."""
        rows = self.table.rows
        return f" WHERE {row_filter(rows, self.columns).sql('duckdb', identify=True)}" if rows else ""

    def number(self, *parts: object, below: int) -> int:
        """A number that follows from the seed."""
        name = "/".join(map(str, parts)).encode()
        return int.from_bytes(hmac.digest(self.seed, name, "sha256"), "big") % below


class Place(NamedTuple):
    """A table of the session."""

    schema: str
    name: str

    @property
    def sql(self) -> str:
        """As it stands in a text."""
        return f"{quoted_name(self.schema)}.{quoted_name(self.name)}"

    def beside(self, word: str) -> Place:
        """Another table with a name of its own."""
        return Place(self.schema, f"{self.name} {word}")


def create(connection: duckdb.DuckDBPyConnection, place: Place, rows: Rows) -> int:
    """Make the table ``place`` with the marker rows, their numbers, and the key that each of them follows.

    Returns:
        How many marker rows there are: fewer than declared where no new key was found, none where there are no rows.
    """
    donors, key = place.beside("donors").sql, quoted_name(rows.mark.key)
    ends = connection.execute(f"SELECT min({key}), max({key}) FROM {rows.reader}{rows.where}").fetchone()
    low, high = ends or (None, None)
    keys = _keep_donors(connection, donors, rows, low, high)
    made = list(_new_keys(connection, rows, keys, low, high))
    kind = sql_type(rows.columns[rows.mark.key].type)
    for number, (new, behind) in enumerate(made):
        listed = ", ".join(_values(rows, number, new, len(keys), donors))
        text = f"SELECT {listed}, {number + 1} AS {_NUMBER}, CAST({quoted_text(str(behind))} AS {kind}) AS {_BEHIND}"
        connection.execute(f"INSERT INTO {place.sql} {text}" if number else f"CREATE TABLE {place.sql} AS {text}")
    connection.execute(f"DROP TABLE {donors}")
    return len(made)


def reader(connection: duckdb.DuckDBPyConnection, place: Place, rows: Rows) -> str:
    """A FROM item: the source with its marker rows among the others, in its own order.

    Each row is repeated for the marker rows that follow it, and their values are constants: an outer join would put the
    rows that it found before those that it did not.
    """
    chosen = ", ".join(map(quoted_name, rows.needed))
    repeated = f"SELECT {chosen}, unnest({_following(connection, place, rows)}) AS {_NUMBER} FROM {rows.reader}"
    shown = ", ".join(f"{_shown(connection, place, rows, column)} AS {quoted_name(column)}" for column in rows.needed)
    return f"(SELECT {shown} FROM ({repeated}))"


def _following(connection: duckdb.DuckDBPyConnection, place: Place, rows: Rows) -> str:
    """Numbers of the marker rows that follow a row, after 0 for itself."""
    key, kind = quoted_name(rows.mark.key), sql_type(rows.columns[rows.mark.key].type)
    found = connection.execute(
        f"SELECT CAST({_BEHIND} AS VARCHAR), list({_NUMBER} ORDER BY {key}) FROM {place.sql} GROUP BY 1 ORDER BY 1"
    ).fetchall()
    whens = " ".join(f"WHEN CAST({quoted_text(text)} AS {kind}) THEN {[0, *numbers]}" for text, numbers in found)
    return f"CASE {key} {whens} ELSE [0] END"


def _shown(connection: duckdb.DuckDBPyConnection, place: Place, rows: Rows, column: str) -> str:
    name, kind = quoted_name(column), sql_type(rows.columns[column].type)
    found = connection.execute(f"SELECT CAST({name} AS VARCHAR) FROM {place.sql} ORDER BY {_NUMBER}").fetchall()
    values = ", ".join("NULL" if value is None else quoted_text(value) for (value,) in found)
    return f"CASE WHEN {_NUMBER} > 0 THEN (CAST([{values}] AS {kind}[]))[{_NUMBER}] ELSE {name} END"


def _keep_donors(
    connection: duckdb.DuckDBPyConnection, donors: str, rows: Rows, low: object, high: object
) -> list[object]:
    """Keep rows to take values from, in an order that follows from the seed; returns their keys.

    They are told by their keys, not by their place: a database gives its rows in any order.
    """
    key, chosen = quoted_name(rows.mark.key), ", ".join(map(quoted_name, rows.needed))
    order = f"sha256({quoted_text(rows.seed.hex())} || CAST({key} AS VARCHAR))"
    connection.execute(
        f"CREATE TABLE {donors} AS SELECT row_number() OVER (ORDER BY {order}, {chosen}) AS n, {chosen} "
        f"FROM (SELECT {chosen} FROM {rows.reader}{rows.where} ORDER BY {_start(rows, low, high)}{chosen} "
        f"LIMIT {_LOOKED_AT}) WHERE {key} IS NOT NULL QUALIFY n <= {_DONORS}"
    )
    return [row[0] for row in connection.execute(f"SELECT {key} FROM {donors} ORDER BY n").fetchall()]


def _start(rows: Rows, low: object, high: object) -> str:
    """Terms of an order that begins somewhere among the keys and goes on with the first."""
    key = quoted_name(rows.mark.key)
    if not (isinstance(low, int) and isinstance(high, int)):
        return f"{key}, "
    pivot = low + rows.number("start", below=high - low + 1)
    return f"{key} < CAST({quoted_text(str(pivot))} AS {sql_type(rows.columns[rows.mark.key].type)}), {key}, "


def _values(rows: Rows, number: int, new: object, donors: int, table: str) -> Iterator[str]:
    changed = _changed(rows, number)
    for column in rows.needed:
        name, kind = quoted_name(column), sql_type(rows.columns[column].type)
        if column == rows.mark.key:
            value = f"CAST({quoted_text(str(new))} AS {kind})"
        else:
            donor = 1 + rows.number("row", number, column in changed, below=donors)
            value = f"CAST((SELECT {name} FROM {table} WHERE n = {donor}) AS {kind})"
        yield f"{value} AS {name}"


def _changed(rows: Rows, number: int) -> set[str]:
    """Columns that a marker row has of another row: one at least, and of the others one in three."""
    together = filter_columns(rows.table.rows) if rows.table.rows else set()
    free = [column for column in rows.needed if column not in together and column != rows.mark.key]
    if not free:
        return set()
    first = free[rows.number("first", number, below=len(free))]
    return {first, *(column for column in free if not rows.number("changed", number, column, below=3))}


# --- keys that are new


def _new_keys(
    connection: duckdb.DuckDBPyConnection, rows: Rows, keys: Sequence[object], low: object, high: object
) -> Iterator[tuple[object, object]]:
    """For each marker row a key that the source does not have, and the key of the row that it follows."""
    if not keys:
        return
    tried = [list(_candidates(rows, number, keys, low, high)) for number in range(rows.mark.marker_rows)]
    known = _known(connection, rows, {one for candidates in tried for one in candidates})
    taken: set[object] = set()
    for candidates in tried:
        new = next((one for one in candidates if one not in known and one not in taken), None)
        if new is not None:
            taken.add(new)
            yield new, _before(connection, rows, new, low)


def _candidates(rows: Rows, number: int, keys: Sequence[object], low: object, high: object) -> Iterable[object]:
    if isinstance(low, int) and isinstance(high, int):
        for attempt in range(_TRIES):
            yield low + rows.number("key", number, attempt, below=high - low + 1)
        beyond = max(_BEYOND, (high - low) // 100)
        for attempt in range(_TRIES):
            yield high + 1 + rows.number("beyond", number, attempt, below=beyond)
        return
    texts = [str(key) for key in keys]
    for attempt in range(_TRIES):
        yield _like(rows, texts, (number, attempt))


def _like(rows: Rows, texts: Sequence[str], which: tuple[int, int]) -> str:
    """A text that is written as the others are: at each place one of the characters that they have there."""
    model = texts[rows.number("model", *which, below=len(texts))]
    peers = [text for text in texts if len(text) == len(model)]
    made = []
    for place, character in enumerate(model):
        seen = sorted({text[place] for text in peers}) if len(peers) > 1 else _alike(character)
        made.append(seen[rows.number("character", *which, place, below=len(seen))])
    return "".join(made)


def _alike(character: str) -> Sequence[str]:
    """Characters of the same kind, where no other key is as long."""
    for kind in ("0123456789", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"):
        if character in kind:
            return kind
    return character


def _known(connection: duckdb.DuckDBPyConnection, rows: Rows, keys: set[object]) -> set[object]:
    key, kind = quoted_name(rows.mark.key), sql_type(rows.columns[rows.mark.key].type)
    listed = ", ".join(sorted(f"TRY_CAST({quoted_text(str(one))} AS {kind})" for one in keys))
    found = connection.execute(f"SELECT DISTINCT {key} FROM {rows.reader} WHERE {key} IN ({listed})").fetchall()
    fitting = connection.execute(f"SELECT unnest([{listed}])").fetchall()
    return {row[0] for row in found} | (keys - {row[0] for row in fitting})


def _before(connection: duckdb.DuckDBPyConnection, rows: Rows, new: object, low: object) -> object:
    key, kind = quoted_name(rows.mark.key), sql_type(rows.columns[rows.mark.key].type)
    smaller = f"{key} < CAST({quoted_text(str(new))} AS {kind})"
    where = f"{rows.where} AND {smaller}" if rows.where else f" WHERE {smaller}"
    (found,) = connection.execute(f"SELECT max({key}) FROM {rows.reader}{where}").fetchone() or (None,)
    return low if found is None else found
