"""The blocking form of the client: every class of ``trustnode.aio``, derived, never written twice.

Decides: how a method that waits becomes one that blocks, which results are wrapped again. Leaves to others: everything
they do. What only makes sense where one may block (the Arrow protocol, a polars scan) is added here.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

from trustnode.sdk import agreement, client, connection, enrolment, market, negotiation, output, read, table
from trustnode.sdk.decoding import need
from trustnode.sdk.loop import iterate, run
from trustnode.sdk.profile import Profile
from trustnode.sdk.scan import scan

SYNC_NAMES: Final = {"__aenter__": "__enter__", "__aexit__": "__exit__", "__aiter__": "__iter__", "aclose": "close"}
KEPT_NAMES: Final = frozenset({"__len__", "__getitem__", "__iter__"})
B = TypeVar("B", bound="type[Blocking]")


class Blocking:
    """A blocking form of an object of ``trustnode.aio``."""

    def __init__(self, held: Any) -> None:
        self._aio = held

    def __repr__(self) -> str:
        return repr(self._aio)

    def __getattr__(self, name: str) -> Any:
        # What __init__ of the other class has set; methods and properties stand in this one.
        if name.startswith("_"):
            raise AttributeError(name)
        return wrap(getattr(self._aio, name))


FORMS: dict[type, type[Blocking]] = {}
"""Class of ``trustnode.aio`` -> its blocking form."""


def wrap(value: Any) -> Any:
    """The blocking form of a value, or of each value of a list or tuple."""
    form = FORMS.get(type(value))
    if form is not None:
        return form(value)
    if type(value) in (list, tuple):
        return type(value)(wrap(item) for item in value)
    return value


def unwrap(value: Any) -> Any:
    """The object behind a blocking form, or behind each of a list or tuple."""
    if type(value) in (list, tuple):
        return type(value)(unwrap(item) for item in value)
    return value._aio if isinstance(value, Blocking) else value  # noqa: SLF001 (our own)


def form_of(source: type) -> Callable[[B], B]:
    """Fill a class with the blocking forms of everything that ``source`` has and it does not define itself."""

    def fill(form: B) -> B:
        for name, member in _members(source):
            known = SYNC_NAMES.get(name, name)
            if known not in form.__dict__:
                setattr(form, known, _blocking_member(name, member))
        form.__doc__ = source.__doc__
        FORMS[source] = form
        return form

    return fill


def _members(source: type) -> Iterator[tuple[str, Any]]:
    for base in reversed(source.__mro__[:-1]):
        if base.__module__.startswith("trustnode."):
            yield from ((name, member) for name, member in vars(base).items() if _is_public(name))


def _is_public(name: str) -> bool:
    return name in SYNC_NAMES or name in KEPT_NAMES or not name.startswith("_")


def _blocking_member(name: str, member: Any) -> Any:
    if isinstance(member, property | functools.cached_property):
        getter = member.fget if isinstance(member, property) else member.func
        return property(lambda self: wrap(getattr(self._aio, name)), doc=getter.__doc__ if getter else None)
    if inspect.isasyncgenfunction(member):
        return _method(member, lambda found: map(wrap, iterate(found)))
    if inspect.iscoroutinefunction(member):
        return _method(member, lambda found: wrap(run(found)))
    return _method(member, wrap) if inspect.isfunction(member) else member


def _method(member: Callable[..., Any], finish: Callable[[Any], Any]) -> Callable[..., Any]:
    @functools.wraps(member)
    def method(self: Blocking, *args: Any, **kwargs: Any) -> Any:
        given = {name: unwrap(value) for name, value in kwargs.items()}
        return finish(member(self._aio, *(unwrap(value) for value in args), **given))

    return method


# --- the classes ----------------------------------------------------------------------------------------------------


@form_of(client.Client)
class Client(Blocking):
    """A participant at its home node."""


@form_of(market.Listing)
class Listing(Blocking):
    """A hit of a search."""


@form_of(market.Hits)
class Hits(Blocking):
    """What a search found."""

    def __iter__(self) -> Iterator[Any]:
        return map(wrap, iter(self._aio))


@form_of(market.Product)
class Product(Blocking):
    """A product on sale, with its offers."""


@form_of(negotiation.Negotiation)
class Negotiation(Blocking):
    """A negotiation that we are a party of."""


@form_of(agreement.Agreement)
class Agreement(Blocking):
    """An agreement that came into force."""

    def scan(self, table: str, *, purpose: str = "") -> Any:
        """A polars ``LazyFrame``: the columns and simple filters of a query travel to the node.

        Each ``collect`` is one access.

        Args:
            table: Name of the table in SQL.
            purpose: Purpose of the use; by default the agreed one.
        """
        return scan(self, table, purpose)


@form_of(read.Reader)
class Reader(Blocking):
    """One access as a stream of batches."""

    def to_reader(self) -> Any:
        """The batches as ``pyarrow.RecordBatchReader``, still one pass."""
        self.open()
        return need("pyarrow").RecordBatchReader.from_batches(self.schema, iter(self))

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.to_reader().__arrow_c_stream__(requested_schema)


@form_of(table.Table)
class Table(Blocking):
    """A query that runs once, when its rows are asked for."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> Any:
        return self.to_arrow().schema.__arrow_c_schema__()


@form_of(connection.Connection)
class Connection(Blocking):
    """The connection to the home node."""


@form_of(connection.Operator)
class Operator(Blocking):
    """The operator of a node on this machine."""


# --- the ways in ----------------------------------------------------------------------------------------------------


def connect(profile: str | Path | None = None, *, timeout_s: float = connection.TIMEOUT_S) -> Any:
    """Connect to the home node of a profile.

    Args:
        profile: Name or folder; by default TRUSTNODE_PROFILE, else the only one there is.
        timeout_s: Deadline of calls that name none, seconds.

    Returns:
        A ``Client``; use it in a ``with`` block.

    Raises:
        TrustnodeError: CONFIG_INVALID when there is no such profile. Nothing is called yet.
    """
    return wrap(client.Client(Profile.open(profile), timeout_s=timeout_s))


def operator(home: str | Path, *, timeout_s: float = connection.TIMEOUT_S) -> Any:
    """The operator of a node on this machine; an ``Operator``, over the node's local socket."""
    return wrap(connection.Operator(Path(home), timeout_s=timeout_s))


def save(reader: Any, path: str | Path, progress: Callable[[Any], None] | None = None) -> Path:
    """Read to the end into a file; see ``trustnode.aio.save``."""
    return run(output.save(unwrap(reader), path, progress))


def join(file: str | Path, fingerprint: str, **options: Any) -> Profile:
    """Enrol with an invitation; see ``trustnode.aio.join``."""
    return run(enrolment.join(file, fingerprint, **options))
