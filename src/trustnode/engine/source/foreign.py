"""Sources that the engine does not read itself: what each kind has to give, and how the engine scans it.

Decides: that the columns and the rows of the policy are asked for at the source, and that a stream which fails is
remembered. Leaves to others: each kind (``postgres``, ``sqlite``, ``objects``), what can be asked of it (``pushdown``).
The engine filters again whatever comes: what a source is asked for makes a read cheaper, never larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from trustnode.core.policy.governed import Predicate
from trustnode.core.policy.schema import Column, columns
from trustnode.engine.source.arrow import Batches, Stream, arrow_schema
from trustnode.engine.source.model import Table
from trustnode.engine.source.words import quoted_name

if TYPE_CHECKING:
    import duckdb


class Foreign(Protocol):
    """An opened source of one kind."""

    def names(self) -> Sequence[str]:
        """Names in SQL of its tables."""
        ...

    def table(self, name: str, *, counted: bool) -> Table:
        """Columns of one table; its rows are counted where asked and where that is cheap."""
        ...

    def size_bytes(self, name: str) -> int | None:
        """Size of a table in memory, roughly; None where that is not known."""
        ...

    def batches(self, name: str, wanted: Sequence[Column], rows: Predicate | None) -> Batches:
        """Rows of these columns, at least those that ``rows`` keeps; a connection of its own for each call."""
        ...

    def version(self) -> str:
        """Text that changes when the data do."""
        ...


class Failures:
    """What last ended a stream."""

    def __init__(self) -> None:
        self._last: Exception | None = None

    def keep(self, failure: Exception) -> None:
        """A stream has ended by this."""
        self._last = failure

    def take(self) -> Exception | None:
        """The failure, once."""
        last, self._last = self._last, None
        return last


class ForeignReader:
    """One table of such a source, as a session sees it."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, source: Foreign, name: str, place: str, failures: Failures
    ) -> None:
        self._connection = connection
        self._source = source
        self._name = name
        self._place = place
        self._failures = failures

    def table(self, *, counted: bool = False) -> Table:
        """Names and types of its columns."""
        return self._source.table(self._name, counted=counted)

    def size_bytes(self) -> int | None:
        """Size in memory, roughly; None where that is not known."""
        return self._source.size_bytes(self._name)

    def item(self, wanted: Sequence[str], rows: Predicate | None) -> str:
        """What stands for it in FROM: the columns wanted, each scan a stream of its own."""
        known = columns(self.table().columns)
        chosen = [known[name] for name in wanted]

        def begin() -> Batches:
            return self._source.batches(self._name, chosen, rows)

        self._connection.register(self._place, Stream(arrow_schema(chosen), begin, self._failures.keep))
        return quoted_name(self._place)

    def release(self) -> None:
        """Take the way to the source out of the engine."""
        self._connection.unregister(self._place)
