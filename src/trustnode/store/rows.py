"""A state Struct as a row: its fields are the columns of its table (DESIGN 3.1).

Decides: how a field is spelled in SQLite, and the prepared statements of each table. Leaves to others: which tables
exist (``core.states``), creating them (``schema``), what a change means (``unit``).
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Generic, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import msgspec

from trustnode.core.lifecycle import State
from trustnode.core.states import KINDS

S = TypeVar("S", bound=State)
Filter = Literal["is", "one of", "begins"]
_COMPARED: Final[Mapping[Filter, str]] = {
    "is": '"{column}" is ?',
    "one of": '"{column}" in (select value from json_each(?))',
    "begins": '"{column}" >= ? and "{column}" < ?',
}


class Begins(NamedTuple):
    """A condition: the column begins with this text; a day, for a column that holds a time."""

    text: str


class Column(NamedTuple):
    """One field of a state."""

    name: str
    sql_type: str
    """TEXT, INTEGER or BLOB."""
    nullable: bool
    write: Callable[[Any], Any] | None
    """Field to SQLite value; None where they are the same."""
    read: Callable[[Any], Any] | None


def columns_of(kind: type[State]) -> tuple[Column, ...]:
    """The columns of a state's table, in the order of its fields."""
    return tuple(_column(field.name, field.type) for field in msgspec.structs.fields(kind))


def _column(name: str, annotation: Any) -> Column:
    kind, nullable = _bare(annotation)
    if kind in {str, int, bytes}:
        return Column(name, {str: "TEXT", int: "INTEGER", bytes: "BLOB"}[kind], nullable, None, None)
    if kind is bool:
        return Column(name, "INTEGER", nullable, None, bool)
    decoder = msgspec.json.Decoder(kind)
    return Column(name, "TEXT", nullable, _as_json, decoder.decode)


def _bare(annotation: Any) -> tuple[Any, bool]:
    """Strip limits and None from an annotation; a set of words is text."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _bare(get_args(annotation)[0])
    if origin is Literal:
        return type(get_args(annotation)[0]), False
    if origin in {Union, types.UnionType} and type(None) in get_args(annotation):
        rest = tuple(one for one in get_args(annotation) if one is not type(None))
        return _bare(rest[0])[0] if len(rest) == 1 else Union[rest], True  # noqa: UP007 (built at run time)
    return annotation, False


def _as_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class Table(Generic[S]):
    """The table of one state class, with its statements written once."""

    def __init__(self, kind: type[S]) -> None:
        self.kind = kind
        self.name: Final = KINDS[kind]
        self.columns: Final = columns_of(kind)
        self._names: Final = tuple(column.name for column in self.columns)
        self._readers: Final = tuple((i, c.read) for i, c in enumerate(self.columns) if c.read)
        self._writers: Final = tuple((i, c.write) for i, c in enumerate(self.columns) if c.write)
        self.selected: Final = "select " + ", ".join(f'"{name}"' for name in self._names) + f' from "{self.name}"'
        self.get: Final = f'{self.selected} where "id" = ?'
        self.insert: Final = (
            f'insert into "{self.name}" ({", ".join(f"{chr(34)}{name}{chr(34)}" for name in self._names)}) '
            f'values ({", ".join("?" * len(self._names))}) on conflict("id") do nothing'
        )
        self.replace: Final = self.insert.replace("insert into", "insert or replace into").partition(" on conflict")[0]
        changed = ", ".join(f'"{name}" = ?' for name in self._names)
        self.update: Final = f'update "{self.name}" set {changed} where "id" = ? and "version" = ?'

    def read(self, row: Sequence[Any]) -> S:
        """Build the state from a row of ``selected``. Our own rows are not validated again."""
        values = dict(zip(self._names, row, strict=True))
        for i, convert in self._readers:
            if row[i] is not None:
                values[self._names[i]] = convert(row[i])
        return self.kind(**values)

    def write(self, state: S) -> list[Any]:
        """The values of a state in the order of the columns."""
        values: list[Any] = [getattr(state, name) for name in self._names]
        for i, convert in self._writers:
            if values[i] is not None:
                values[i] = convert(values[i])
        return values

    @functools.lru_cache(maxsize=256)  # noqa: B019 (a table lives as long as the process)
    def count(self, filters: tuple[tuple[str, Filter], ...]) -> str:
        """The statement that counts rows; ``filters`` as for ``find``."""
        return f'select count(*) from "{self.name}"{_where(self._conditions(filters))}'

    @functools.lru_cache(maxsize=64)  # noqa: B019 (a table lives as long as the process)
    def total(self, column: str, filters: tuple[tuple[str, Filter], ...]) -> str:
        """The statement that adds up a column; ``filters`` as for ``find``."""
        self._check(column)
        return f'select coalesce(sum("{column}"), 0) from "{self.name}"{_where(self._conditions(filters))}'

    @functools.lru_cache(maxsize=64)  # noqa: B019 (a table lives as long as the process)
    def place(self, columns: tuple[str, ...]) -> str:
        """The statement that sets some plain columns of one row."""
        self._check(*columns)
        return f'update "{self.name}" set {", ".join(f"{chr(34)}{name}{chr(34)} = ?" for name in columns)} where id = ?'

    def _conditions(self, filters: tuple[tuple[str, Filter], ...]) -> list[str]:
        self._check(*(column for column, _ in filters))
        return [_COMPARED[how].format(column=column) for column, how in filters]

    def _check(self, *columns: str) -> None:
        for column in columns:
            if column not in self._names:
                raise TypeError(f"{self.kind.__name__} has no column {column}")

    @functools.lru_cache(maxsize=256)  # noqa: B019 (a table lives as long as the process)
    def find(self, filters: tuple[tuple[str, Filter], ...], order: str, *, after: bool, by_value: bool = False) -> str:
        """The statement that lists rows.

        Args:
            filters: (column, how it is compared) for each condition, in the order of the bound values.
            order: Column to sort by, with ``-`` before it for the largest first; ties are broken by id.
            after: Whether the page starts after a row whose id is bound twice behind the filters.
            by_value: Whether the first of these two is the value of ``order`` instead.
        """
        name, descending = order.removeprefix("-"), order.startswith("-")
        self._check(name)
        conditions = self._conditions(filters)
        way, compare = ("desc", "<") if descending else ("asc", ">")
        if after:
            value = "?" if by_value else f'(select "{name}" from "{self.name}" where "id" = ?)'
            conditions.append(f'("{name}", "id") {compare} ({value}, ?)')
        return f'{self.selected}{_where(conditions)} order by "{name}" {way}, "id" {way} limit ?'


def _where(conditions: list[str]) -> str:
    return f" where {' and '.join(conditions)}" if conditions else ""


@functools.cache
def _table(kind: type[State]) -> Table[Any]:
    return Table(kind)


def table_of(kind: type[S]) -> Table[S]:
    """The table of a state class.

    Raises:
        KeyError: The class is not registered in ``core.states``.
    """
    table: Table[S] = _table(kind)
    return table
