"""A query that has not run yet, and what it gave once it has.

Decides: that a query runs once however often its rows are converted, which answers obviously fit into one message.
Leaves to others: the access itself (``read``).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from trustnode.core.access import Query, Receipt
from trustnode.core.document import Document
from trustnode.core.policy.privacy import NOISE_95
from trustnode.sdk.decoding import need
from trustnode.sdk.read import Reader, in_order

if TYPE_CHECKING:
    from trustnode.sdk.agreement import Agreement

SMALL_ROWS: Final = 1000
_LIMIT: Final = re.compile(r"\blimit\s+([0-9]{1,9})\s*(offset\s+[0-9]+\s*)?;?\s*\Z", re.IGNORECASE)
_AGGREGATE: Final = re.compile(r"\b(count|sum|avg|min|max|median|stddev|variance|quantile_cont)\s*\(", re.IGNORECASE)


def looks_small(sql: str) -> bool:
    """Whether the answer obviously fits into one message; a wrong guess costs one more call."""
    limit = _LIMIT.search(sql)
    return int(limit[1]) <= SMALL_ROWS if limit else bool(_AGGREGATE.search(sql))


class Table:
    """A query that has not run. The first conversion runs it once, as one access, and keeps the rows.

    ``repr``, completion and a notebook's display read nothing. ``run`` makes a new access.
    """

    def __init__(
        self, agreement: Agreement, query: Query, purpose: str, *, timeout_s: float, joined: Sequence[Agreement] = ()
    ) -> None:
        self._agreement = agreement
        self._joined = in_order(agreement, joined)
        self._query = query
        self._purpose = purpose
        self._timeout_s = timeout_s
        self._reading = asyncio.Lock()
        self._reader: Reader | None = None
        self._kept: Any = None

    def __repr__(self) -> str:
        state = "not read" if self._kept is None else f"{self._kept.num_rows} rows"
        return f"<Table of {self._agreement.short}, {state}: {self.sql[:60]}>"

    @property
    def sql(self) -> str:
        """The query."""
        return self._query.sql

    @property
    def access(self) -> str:
        """Identifier of the access; empty while nothing was read."""
        return self._reader.access if self._reader else ""

    @property
    def receipt(self) -> Receipt | None:
        """The receipt of the access, signed by the providing venue, acknowledged by us; None while nothing was read."""
        return self._reader.receipt if self._reader else None

    @property
    def receipt_document(self) -> Document | None:
        """The receipt as it was signed."""
        return self._reader.receipt_document if self._reader else None

    @property
    def cost(self) -> int | None:
        """Fen owed for the access; None while nothing was read."""
        return self._reader.cost if self._reader else None

    @property
    def noise(self) -> dict[str, Decimal] | None:
        """95 % half-widths of noised columns; None: nothing is noised, or nothing was read."""
        fields = [] if self._kept is None else self._kept.schema
        found = {one.name: (one.metadata or {}).get(NOISE_95) for one in fields}
        return {name: Decimal(width.decode()) for name, width in found.items() if width} or None

    @property
    def kept(self) -> Any:
        """The ``pyarrow.Table`` that was read; None while nothing was."""
        return self._kept

    async def run(self) -> Table:
        """Make a new access with the same query, and read it."""
        fresh = Table(self._agreement, self._query, self._purpose, timeout_s=self._timeout_s, joined=self._joined)
        await fresh.to_arrow()
        return fresh

    async def to_arrow(self) -> Any:
        """The rows as ``pyarrow.Table``.

        Raises:
            TrustnodeError: What the terms, the venue or the evidence refuse with; nothing is kept then.
        """
        async with self._reading:
            if self._kept is None:
                self._kept = await self._read()
        return self._kept

    async def to_pandas(self) -> Any:
        """The rows as ``pandas.DataFrame``."""
        need("pandas")
        return (await self.to_arrow()).to_pandas()

    async def to_polars(self) -> Any:
        """The rows as ``polars.DataFrame``."""
        polars = need("polars")
        return polars.from_arrow(await self.to_arrow())

    async def _read(self) -> Any:
        pa = need("pyarrow")
        small = looks_small(self.sql)
        reader = Reader(
            self._agreement, self._query, self._purpose, timeout_s=self._timeout_s, small=small, joined=self._joined
        )
        self._reader = reader
        async with reader:
            batches = [batch async for batch in reader]
        return pa.Table.from_batches(batches, schema=reader.schema)
