"""Flight SQL commands: what travels as ``google.protobuf.Any`` in a descriptor, a ticket or an action.

Decides: which commands are served, what each answers, the sentence a stock client sees of a refusal. Leaves to others:
planning (``app.handles``, ``app.statements``), metadata (``app.metadata``), the methods of Flight (``rpc.flight``).
Source: data-plane 2.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message

from trustnode.app.flight_session import Names, Session, Sessions, agreements_for
from trustnode.app.handles import Handles, Made
from trustnode.app.metadata import Metadata
from trustnode.app.statements import Statements
from trustnode.app.venue import Sender, Venue
from trustnode.arrow import flight_sql_pb2 as sql
from trustnode.errors import TrustnodeError, error
from trustnode.rpc.conversion import sender_of
from trustnode.rpc.dispatch import Call
from trustnode.wire.frame import parse_frame

SQL_PREFIX: Final = "type.googleapis.com/arrow.flight.protocol.sql."
AGREEMENT_HEADER: Final = "trustnode-agreement"
COOKIE: Final = "trustnode_session"
M = TypeVar("M", bound=Message)
Frames = tuple[bytes, ...]


@dataclass(frozen=True)
class Desk:
    """What serves stock clients, made once for a node."""

    venue: Venue
    handles: Handles
    metadata: Metadata
    statements: Statements
    sessions: Sessions

    @classmethod
    def of(cls, venue: Venue, handles: Handles) -> Desk:
        """A desk with its registers empty."""
        metadata = Metadata(venue)
        return cls(venue, handles, metadata, Statements(venue, handles, metadata), Sessions())

    def session(self, call: Call) -> Session | None:
        """The session that the cookie of a call names."""
        return self.sessions.get(call.caller, cookie_of(call), self.venue.clock.now())

    def session_key(self, call: Call) -> str:
        """What statements of a call are closed with: its session; its connection where it shows no cookie."""
        return cookie_of(call) if self.session(call) else call.connection

    def agreements(self, call: Call, text: str) -> Names:
        """The agreements that a query is read under; raises as ``agreements_for``."""
        header = call.metadata.get(AGREEMENT_HEADER, "")
        return agreements_for(text, header if isinstance(header, str) else "", self.session(call))


def cookie_of(call: Call) -> str:
    """The session cookie of a call; empty if it shows none."""
    raw = call.metadata.get("cookie", "")
    pairs = raw.split(";") if isinstance(raw, str) else ()
    return next((value.strip() for name, _, value in (p.partition("=") for p in pairs) if name.strip() == COOKIE), "")


@contextlib.contextmanager
def spoken() -> Iterator[None]:
    """Give a refusal its reason in the sentence: the sentence is all that stock clients show.

    Raises:
        TrustnodeError: The same, with the reason after its message.
    """
    try:
        yield
    except TrustnodeError as refusal:
        message = f"{refusal.message} [{refusal.reason}]"
        raise error(refusal.reason, message, record=refusal.record, **refusal.metadata) from None


# --- messages -------------------------------------------------------------------------------------------------------


def pack(message: Message) -> bytes:
    """A message as Flight SQL carries it."""
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed.SerializeToString()


def unpack(raw: bytes) -> Message | None:
    """A Flight SQL message; None for what is not one.

    Raises:
        TrustnodeError: MESSAGE_UNPARSABLE; VERSION_UNSUPPORTED for one that is not served.
    """
    packed = any_pb2.Any()
    try:
        packed.ParseFromString(raw)
        if not packed.type_url.startswith(SQL_PREFIX):
            return None
        name = packed.type_url.removeprefix(SQL_PREFIX)
        kind = _SERVED.get(name)
        if kind is None:
            raise error(
                "VERSION_UNSUPPORTED", f"{name[:80]} is not served: data are read here, not written", field="cmd"
            )
        return kind.FromString(packed.value)
    except DecodeError:
        return None


def unpacked(raw: bytes, kind: type[M]) -> M:
    """A Flight SQL message of one kind.

    Raises:
        TrustnodeError: As ``unpack``; MESSAGE_UNPARSABLE.
    """
    message = unpack(raw)
    if not isinstance(message, kind):
        raise error("MESSAGE_UNPARSABLE", f"expected a {kind.DESCRIPTOR.name}", field="body")
    return message


def query_text(request: sql.CommandStatementQuery | sql.ActionCreatePreparedStatementRequest) -> str:
    """The text of a query that belongs to no transaction.

    Raises:
        TrustnodeError: VERSION_UNSUPPORTED.
    """
    if request.HasField("transaction_id"):
        raise error("VERSION_UNSUPPORTED", "there are no transactions here; send the query without one", field="cmd")
    return request.query


# --- commands -------------------------------------------------------------------------------------------------------


async def planned(desk: Desk, call: Call, command: Message) -> Made | None:
    """Plan a query or a prepared statement; None for a command that asks for metadata.

    Raises:
        TrustnodeError: As ``Handles.make``.
    """
    sender = sender_of(call, desk.venue)
    if isinstance(command, sql.CommandStatementQuery):
        text = query_text(command)
        return await desk.handles.make(sender, call.caller, desk.agreements(call, text), text)
    if isinstance(command, sql.CommandPreparedStatementQuery):
        return await desk.statements.ticket(sender, call.caller, command.prepared_statement_handle)
    return None


async def schema(desk: Desk, call: Call, command: Message) -> bytes:
    """The Arrow schema of what a command would answer."""
    sender = sender_of(call, desk.venue)
    if isinstance(command, sql.CommandStatementQuery):
        text = query_text(command)
        return await desk.handles.schema(sender, desk.agreements(call, text), text)
    if isinstance(command, sql.CommandPreparedStatementQuery):
        return await desk.statements.schema(sender, call.caller, command.prepared_statement_handle)
    return schema_of(await answer(desk, sender, command))


async def answer(desk: Desk, sender: Sender, command: Message) -> Frames:
    """The frames of a metadata command.

    Raises:
        TrustnodeError: VERSION_UNSUPPORTED for one that asks for no metadata.
    """
    found = _METADATA.get(type(command))
    if found is None:
        raise error("VERSION_UNSUPPORTED", f"{command.DESCRIPTOR.name} cannot be used here", field="cmd")
    return await found(desk.metadata, sender, command)


def schema_of(frames: Frames) -> bytes:
    """The schema of finished frames as an encapsulated message."""
    header = bytes(parse_frame(frames[0]).header)
    return b"\xff\xff\xff\xff" + len(header).to_bytes(4, "little") + header


def _optional(message: Message, name: str) -> str | None:
    held: Any = message
    return str(getattr(held, name)) if held.HasField(name) else None


async def _db_schemas(metadata: Metadata, sender: Sender, command: sql.CommandGetDbSchemas) -> Frames:
    return await metadata.db_schemas(
        sender, _optional(command, "catalog"), _optional(command, "db_schema_filter_pattern")
    )


async def _tables(metadata: Metadata, sender: Sender, command: sql.CommandGetTables) -> Frames:
    return await metadata.tables_answer(
        sender, _optional(command, "catalog"), _optional(command, "db_schema_filter_pattern"),
        _optional(command, "table_name_filter_pattern"), command.table_types, with_schema=command.include_schema,
    )  # fmt: skip


_METADATA: Final[Mapping[type[Message], Callable[[Metadata, Sender, Any], Awaitable[Frames]]]] = {
    sql.CommandGetSqlInfo: lambda metadata, _, command: metadata.sql_info(command.info),
    sql.CommandGetCatalogs: lambda metadata, _, __: metadata.catalogs(),
    sql.CommandGetDbSchemas: _db_schemas,
    sql.CommandGetTables: _tables,
    sql.CommandGetTableTypes: lambda metadata, _, __: metadata.table_types(),
    sql.CommandGetPrimaryKeys: lambda metadata, _, __: metadata.nothing("PrimaryKeys"),
    sql.CommandGetExportedKeys: lambda metadata, _, __: metadata.nothing("Keys"),
    sql.CommandGetImportedKeys: lambda metadata, _, __: metadata.nothing("Keys"),
    sql.CommandGetCrossReference: lambda metadata, _, __: metadata.nothing("Keys"),
    sql.CommandGetXdbcTypeInfo: lambda metadata, _, __: metadata.nothing("XdbcTypeInfo"),
}
"""Metadata command -> what answers it."""

_KINDS: Final[tuple[type[Message], ...]] = (
    *_METADATA, sql.CommandStatementQuery, sql.CommandPreparedStatementQuery,
    sql.ActionCreatePreparedStatementRequest, sql.ActionClosePreparedStatementRequest,
)  # fmt: skip
_SERVED: Final[Mapping[str, type[Message]]] = {kind.DESCRIPTOR.name: kind for kind in _KINDS}
"""Name -> message of everything that travels packed and is served."""
