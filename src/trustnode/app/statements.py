"""Prepared statements of stock clients: a query, the types of its parameters, the values bound last.

Decides: whom a statement belongs to, how many one caller may hold open and how long, that values fit it. Leaves to
others: planning and tickets (``handles``), decoding values (``engine.parameters``, in a worker of the caller), the
messages (``rpc.flight_sql``). Nothing here is reserved or logged; a statement gives no right. Source: data-plane 6.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from trustnode.app.flight_session import Names
from trustnode.app.handles import Handles, Made, Values
from trustnode.app.metadata import Metadata
from trustnode.app.venue import Sender, Venue
from trustnode.core import clock
from trustnode.core.identity import Caller
from trustnode.errors import TrustnodeError, error

HANDLE_BYTES: Final = 32
MAX_OPEN: Final = 128
"""Statements one caller may hold open; the one it used longest ago makes room."""
LIFE_S: Final = 1800.0
"""A statement that was not used for so long is closed."""
TEXT: Final = "utf8"


@dataclass(eq=False)
class Statement:
    """A prepared statement."""

    handle: bytes
    owner: tuple[str, str]
    """SPIFFE id and certificate digest."""
    session: str
    """Cookie or connection it was prepared on."""
    agreements: Names
    sql: str
    words: tuple[str, ...]
    """Type word of each ``?``."""
    schema: bytes
    """Arrow schema of the answer; of one with parameters before they are known."""
    until: str
    values: Values | None = None


@dataclass
class Statements:
    """Every open statement, least recently used first."""

    venue: Venue
    handles: Handles
    metadata: Metadata
    _held: dict[bytes, Statement] = field(default_factory=dict)

    async def prepare(self, sender: Sender, caller: Caller, session: str, agreements: Names, sql: str) -> Statement:
        """Plan a query without values.

        Raises:
            TrustnodeError: As ``Handles.schema``.
        """
        words = await self._words(sender, caller, agreements, sql)
        schema = await self._schema(sender, agreements, sql, words)
        made = Statement(
            secrets.token_bytes(HANDLE_BYTES), (caller.spiffe_id, caller.leaf_sha256), session, agreements, sql, words,
            schema, clock.shift(self.venue.clock.now(), LIFE_S),
        )  # fmt: skip
        self._make_room(caller)
        self._held[made.handle] = made
        return made

    async def parameter_schema(self, statement: Statement) -> bytes:
        """The types of a statement's parameters as an Arrow schema; empty where it has none."""
        return await self.metadata.parameter_schema(statement.words) if statement.words else b""

    async def bind(self, caller: Caller, handle: bytes, messages: Sequence[tuple[bytes, bytes]]) -> None:
        """Set the values of a statement's parameters.

        Args:
            caller: Whose statement.
            handle: Of the statement.
            messages: Header and body of the Arrow messages that came, the schema first.

        Raises:
            TrustnodeError: NOT_FOUND, QUERY_INVALID.
        """
        statement = self._get(caller, handle)
        values = await self.venue.engine.clerk(caller.spiffe_id).parameters(messages)
        if len(values) != len(statement.words):
            wanted = len(statement.words)
            raise error("QUERY_INVALID", f"the query has {wanted} parameters (?), {len(values)} values came with it")
        statement.values = values

    async def ticket(self, sender: Sender, caller: Caller, handle: bytes) -> Made:
        """A single-use handle for the statement with its values.

        Raises:
            TrustnodeError: NOT_FOUND, QUERY_INVALID, BUSY.
        """
        statement = self._get(caller, handle)
        values = self._values(statement)
        known = b"" if statement.words else statement.schema
        return await self.handles.make(sender, caller, statement.agreements, statement.sql, values, known)

    async def schema(self, sender: Sender, caller: Caller, handle: bytes) -> bytes:
        """The Arrow schema of a statement's answer."""
        statement = self._get(caller, handle)
        if statement.values is None:
            return statement.schema
        return await self.handles.schema(sender, statement.agreements, statement.sql, statement.values)

    def close(self, caller: Caller, handle: bytes) -> None:
        """Close a statement; one that is closed already is no error."""
        held = self._held.get(handle)
        if held is not None and held.owner == (caller.spiffe_id, caller.leaf_sha256):
            del self._held[handle]

    def close_session(self, caller: Caller, session: str) -> None:
        """Close everything that was prepared in a session."""
        for statement in [one for one in self._held.values() if one.session == session]:
            self.close(caller, statement.handle)

    def _get(self, caller: Caller, handle: bytes) -> Statement:
        found, now = self._held.get(handle), self.venue.clock.now()
        if found is None or found.owner != (caller.spiffe_id, caller.leaf_sha256) or found.until <= now:
            raise error("NOT_FOUND", "no such prepared statement, or it was closed; prepare it again")
        found.until = clock.shift(now, LIFE_S)
        self._held[handle] = self._held.pop(handle)
        return found

    def _make_room(self, caller: Caller) -> None:
        now = self.venue.clock.now()
        self._held = {handle: one for handle, one in self._held.items() if one.until > now}
        mine = [handle for handle, one in self._held.items() if one.owner[0] == caller.spiffe_id]
        for handle in mine[: max(0, len(mine) - MAX_OPEN + 1)]:
            del self._held[handle]

    def _values(self, statement: Statement) -> Values:
        if statement.words and statement.values is None:
            raise error("QUERY_INVALID", f"bind the {len(statement.words)} parameters (?) of the query first")
        return statement.values or ()

    async def _words(self, sender: Sender, caller: Caller, agreements: Names, sql: str) -> tuple[str, ...]:
        if "?" not in sql:
            return ()
        tables = [await self.metadata.table_of(sender, name) for name in agreements]
        columns = {column.name: column for table in reversed(tables) for column in table.columns}
        return await self.venue.engine.clerk(caller.spiffe_id).parameter_types(sql, tuple(columns.values()))

    async def _schema(self, sender: Sender, agreements: Names, sql: str, words: tuple[str, ...]) -> bytes:
        """The schema with nothing in place of the parameters; with empty text where nothing has no type."""
        nothing: Values = (None,) * len(words)
        try:
            return await self.handles.schema(sender, agreements, sql, nothing)
        except TrustnodeError as refusal:
            if refusal.reason != "QUERY_INVALID" or TEXT not in words:
                raise
        empty = tuple("" if word == TEXT else None for word in words)
        return await self.handles.schema(sender, agreements, sql, empty)
