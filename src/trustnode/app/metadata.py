"""What a stock client finds out before it asks: the tables its agreements let it see, and facts about the server.

Decides: that a caller sees its own agreements in force, each as a schema with the table it delivers as it is delivered
(masks applied, columns that are not agreed left out), and nothing else. Leaves to others: the Arrow form
(``engine.tables``, written in a worker and kept here as finished bytes), the messages (``rpc.flight_sql``).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Final, NamedTuple, TypeVar

from trustnode.app import catalog, reading
from trustnode.app.agreement import parties_only
from trustnode.app.handles import attributes_of
from trustnode.app.venue import Sender, Venue
from trustnode.core.catalog import Registration
from trustnode.core.contract import Agreement, AgreementState
from trustnode.core.document import Document, decode
from trustnode.core.identifier import schema_name
from trustnode.core.policy.schema import Column
from trustnode.engine.message import Cell
from trustnode.errors import TrustnodeError, error
from trustnode.store.unit import View

TABLE_TYPE: Final = "TABLE"
MAX_TABLES: Final = 1_000
"""Agreements of one caller that are listed."""
KEPT: Final = 256
"""Answers and schemas kept as finished bytes."""
SERVER_VERSION: Final = 1
ARROW_VERSION: Final = "26"
K = TypeVar("K")
V = TypeVar("V")
Row = tuple[Cell, ...]

SQL_INFO: Final[dict[int, Cell]] = {
    0: "trustnode",
    2: ARROW_VERSION,
    3: True,  # read-only
    4: True,  # SQL
    5: False,  # Substrait
    8: [0],  # transactions: none
    9: True,  # cancel
    10: False,  # bulk ingestion
    100: [0],  # statement timeout in ms: none of the client's making
    101: [0],  # transaction timeout
    500: False,  # DDL catalogs
    501: False,  # DDL schemas
    502: False,  # DDL tables
    503: [1],  # identifiers: case-insensitive
    504: '"',
    505: [1],  # quoted identifiers: case-insensitive
    506: True,  # all tables are selectable
    507: [3],  # NULL is sorted at the end
    508: [],  # keywords beyond SQL-92: none
}
"""Flight SQL code -> fact. A list of one number is a 32-bit value; codes that are not here have no answer."""


class Table(NamedTuple):
    """A table as an agreement delivers it."""

    db_schema: str
    name: str
    columns: tuple[Column, ...]
    schema: bytes
    """Arrow IPC message."""


class _Known(NamedTuple):
    state: AgreementState
    agreement: Agreement
    registration: Registration


@dataclass
class Metadata:
    """Answers to metadata commands."""

    venue: Venue
    _written: OrderedDict[object, tuple[bytes, ...]] = field(default_factory=OrderedDict)
    _tables: OrderedDict[tuple[str, str], Table] = field(default_factory=OrderedDict)

    # --- tables

    async def tables(self, sender: Sender) -> list[Table]:
        """The tables that the agreements of a caller deliver, by schema and name."""
        found = await self.venue.store.read(lambda view: _agreements(view, sender))
        shown = [table for known in found if (table := await self._shown(known)) is not None]
        return sorted(shown, key=lambda table: (table.db_schema, table.name))

    async def table_of(self, sender: Sender, agreement: str) -> Table:
        """The table that one agreement delivers.

        Raises:
            TrustnodeError: NOT_FOUND, or why nothing is delivered.
        """
        domain = self.venue.domain
        known = await self.venue.store.read(
            lambda view: _known(view, parties_only(reading.find_agreement(view, sender, domain, agreement), sender))
        )
        if known is None:
            raise error("NOT_FOUND", "the product of this agreement is not known here now")
        return await self._table(known)

    async def _shown(self, known: _Known) -> Table | None:
        try:
            return await self._table(known)
        except TrustnodeError as refusal:
            if refusal.retryable:
                raise
            return None  # what can no longer be read is not shown

    async def _table(self, known: _Known) -> Table:
        key = known.state.document, f"{known.registration.product} {known.registration.version}"
        if key not in self._tables:
            keep(self._tables, key, await self._described(known))
        return self._tables[key]

    async def _described(self, known: _Known) -> Table:
        table = known.registration.tables[0]
        policy = self.venue.policies.load(known.agreement.policy)
        governed = policy.governed(table.columns, table=table.name, **attributes_of(self.venue, known.state))
        columns, schema = await self.venue.engine.clerk().schema(table.columns, governed.tables[0])
        return Table(schema_name(known.state.id), table.name, columns, schema)

    # --- answers

    async def sql_info(self, codes: Sequence[int]) -> tuple[bytes, ...]:
        """Facts about the server; no codes: all."""
        facts = {**SQL_INFO, SERVER_VERSION: _version()}
        wanted = set(codes) or set(facts)
        return await self._answer("SqlInfo", [(code, facts[code]) for code in sorted(wanted & set(facts))])

    async def catalogs(self) -> tuple[bytes, ...]:
        """There are none: a schema is an agreement, and agreements have nothing above them."""
        return await self._answer("Catalogs", [])

    async def db_schemas(self, sender: Sender, catalog_name: str | None, pattern: str | None) -> tuple[bytes, ...]:
        """One schema an agreement."""
        names = sorted({table.db_schema for table in await self._in_catalog(sender, catalog_name)})
        return await self._answer("DbSchemas", [(None, name) for name in names if matches(name, pattern)])

    async def tables_answer(
        self, sender: Sender, catalog_name: str | None, db_schema: str | None, name: str | None,
        types: Sequence[str], *, with_schema: bool,
    ) -> tuple[bytes, ...]:  # fmt: skip
        """Tables by patterns, with the schema that they deliver if that is asked for."""
        found = [
            table
            for table in await self._in_catalog(sender, catalog_name)
            if matches(table.db_schema, db_schema) and matches(table.name, name)
        ]
        rows: list[Row] = [(None, table.db_schema, table.name, TABLE_TYPE) for table in found]
        if types and TABLE_TYPE not in types:
            rows = []
        if not with_schema:
            return await self._answer("Tables", rows)
        schemas = {(table.db_schema, table.name): table.schema for table in found}
        return await self._answer("TablesWithSchema", [(*row, schemas[str(row[1]), str(row[2])]) for row in rows])

    async def table_types(self) -> tuple[bytes, ...]:
        """The one type there is."""
        return await self._answer("TableTypes", [(TABLE_TYPE,)])

    async def nothing(self, name: str) -> tuple[bytes, ...]:
        """An answer without rows: keys are not told, types are not listed."""
        return await self._answer(name, [])

    async def parameter_schema(self, words: Sequence[str]) -> bytes:
        """Types of parameters as an Arrow schema, named by their number."""
        columns = [Column(name=str(number), type=word) for number, word in enumerate(words, 1)]
        key = ("parameters", tuple(words))
        if key not in self._written:
            keep(self._written, key, ((await self.venue.engine.clerk().schema(columns))[1],))
        return self._written[key][0]

    async def _in_catalog(self, sender: Sender, catalog_name: str | None) -> list[Table]:
        """Our tables have no catalog: absent means any, empty means without one."""
        return await self.tables(sender) if not catalog_name else []

    async def _answer(self, name: str, rows: Sequence[Row]) -> tuple[bytes, ...]:
        key = name, repr(rows)
        if key not in self._written:
            keep(self._written, key, await self.venue.engine.clerk().table(name, rows))
        return self._written[key]


def keep(kept: OrderedDict[K, V], key: K, value: V) -> None:
    """Keep a value; the one kept longest makes room."""
    kept[key] = value
    if len(kept) > KEPT:
        kept.popitem(last=False)


def matches(name: str, pattern: str | None) -> bool:
    """Whether a name fits a pattern with ``%`` and ``_``, a backslash before one of them taken as it is; None: any."""
    if pattern is None:
        return True
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    regex = "".join({"%": ".*", "_": "."}.get(part, re.escape(part[-1])) for part in parts)
    return re.fullmatch(regex, name, re.DOTALL | re.IGNORECASE) is not None


def _version() -> str:
    try:
        return metadata.version("trustnode")
    except metadata.PackageNotFoundError:
        return ""


def _agreements(view: View, sender: Sender) -> list[_Known]:
    mine = view.find(AgreementState, consumer=sender.participant, state="PERFORMING", limit=MAX_TABLES)
    return [known for state in mine if (known := _known(view, state)) is not None]


def _known(view: View, state: AgreementState) -> _Known | None:
    document, registration = view.document(state.document), _registration(view, state.product)
    if document is None or registration is None:
        return None
    return _Known(state, decode(document, Agreement), decode(registration, Registration))


def _registration(view: View, handle: str) -> Document | None:
    """The registration of a product: in force here, or as its origin told it."""
    own = catalog.registration_document(view, handle)
    entry = catalog.entry_of(view, handle) if own is None else None
    return own or (view.document(entry.registration) if entry and entry.registration else None)
