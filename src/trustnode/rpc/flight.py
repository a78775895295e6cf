"""FlightService: Arrow Flight on the node's own port, behind the same identity as every other method.

Decides: which descriptors and tickets mean what. Leaves to others: admission and streaming (``app.access``), frames
(``engine``, which builds them). A ticket is an ``AccessTicket``, or a handle of ``GetFlightInfo`` for a client that
cannot sign.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final

import msgspec
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError

from trustnode.app import access, handles
from trustnode.app.venue import Sender, Venue
from trustnode.arrow import flight_pb2 as pb
from trustnode.arrow import flight_sql_pb2
from trustnode.core.access import AccessHeader
from trustnode.errors import TrustnodeError, error
from trustnode.rpc.access import is_ours
from trustnode.rpc.conversion import sender_of
from trustnode.rpc.dispatch import Call
from trustnode.rpc.methods import Method, only
from trustnode.wire.convert import Ticket, document_to_bytes, ticket_from_bytes

SERVICE: Final = "/arrow.flight.protocol.FlightService/"
HEADER: Final = "trustnode-access-bin"
TYPE_PREFIX: Final = "type.googleapis.com/"
RECEIPT: Final = "trustnode-receipt-bin"


def methods(venue: Venue, issued: handles.Handles) -> tuple[Method, ...]:
    """The methods of the service."""

    async def do_get(call: Call, request: pb.Ticket) -> AsyncIterator[bytes]:
        sender = sender_of(call, venue)
        ticket = await issued.redeem(call.caller, request.ticket) or ticket_from_bytes(request.ticket)
        work = access.serve if is_ours(venue, ticket) else access.broker
        async with contextlib.aclosing(_streamed(call, venue, sender, ticket, work)) as frames:
            async for frame in frames:
                yield frame

    async def get_flight_info(call: Call, request: pb.FlightDescriptor) -> pb.FlightInfo:
        agreement, sql = asked(call, request)
        made = await issued.make(sender_of(call, venue), call.caller, agreement, sql)
        info = pb.FlightInfo(schema=made.schema, flight_descriptor=request, total_records=-1, total_bytes=-1)
        info.endpoint.add().ticket.ticket = made.handle
        return info

    async def get_schema(call: Call, request: pb.FlightDescriptor) -> pb.SchemaResult:
        agreement, sql = asked(call, request)
        return pb.SchemaResult(schema=await issued.schema(sender_of(call, venue), agreement, sql))

    async def list_flights(call: Call, _request: pb.Criteria) -> AsyncIterator[pb.FlightInfo]:
        for name in await issued.agreements(sender_of(call, venue)):
            descriptor = pb.FlightDescriptor(type=pb.FlightDescriptor.PATH, path=[name])
            yield pb.FlightInfo(flight_descriptor=descriptor, total_records=-1, total_bytes=-1)

    async def list_actions(_call: Call, _request: pb.Empty) -> AsyncIterator[pb.ActionType]:
        none: tuple[pb.ActionType, ...] = ()  # stock clients ask; there is nothing but reading
        for kind in none:
            yield kind

    client = only("CLIENT")
    return (
        Method(
            name=SERVICE + "DoGet", request=pb.Ticket, response=None, handler=do_get,
            quotes_query=True, audiences=only("CLIENT", "PEER"), server_streaming=True, cost="HEAVY",
        ),
        Method(
            name=SERVICE + "GetFlightInfo", request=pb.FlightDescriptor, response=pb.FlightInfo,
            handler=get_flight_info, quotes_query=True, audiences=client,
        ),
        Method(
            name=SERVICE + "GetSchema", request=pb.FlightDescriptor, response=pb.SchemaResult, handler=get_schema,
            quotes_query=True, audiences=client,
        ),
        Method(
            name=SERVICE + "ListFlights", request=pb.Criteria, response=pb.FlightInfo, handler=list_flights,
            audiences=client, server_streaming=True,
        ),
        Method(
            name=SERVICE + "ListActions", request=pb.Empty, response=pb.ActionType, handler=list_actions,
            audiences=client, server_streaming=True,
        ),
    )  # fmt: skip


def asked(call: Call, descriptor: pb.FlightDescriptor) -> tuple[str, str]:
    """Agreement and SQL of a descriptor: a path [agreement, sql], or a command with the agreement in a header.

    Raises:
        TrustnodeError: FIELD_MISSING, MESSAGE_UNPARSABLE.
    """
    if descriptor.type == pb.FlightDescriptor.PATH and len(descriptor.path) == 2:
        return descriptor.path[0], descriptor.path[1]
    agreement = call.metadata.get("trustnode-agreement", "")
    if descriptor.type == pb.FlightDescriptor.CMD and isinstance(agreement, str) and agreement:
        return agreement, sql_of(descriptor.cmd)
    raise error(
        "FIELD_MISSING", "ask by path [agreement, sql], or by command with header trustnode-agreement", field="path"
    )


def sql_of(command: bytes) -> str:
    """The SQL of a ``CommandStatementQuery`` packed in ``google.protobuf.Any``; plain text is taken as SQL.

    Raises:
        TrustnodeError: MESSAGE_UNPARSABLE, VERSION_UNSUPPORTED.
    """
    packed, query = any_pb2.Any(), flight_sql_pb2.CommandStatementQuery()
    try:
        packed.ParseFromString(command)
        if not packed.type_url.startswith(TYPE_PREFIX):
            return _plain(command)
        if packed.Unpack(query) and not query.HasField("transaction_id"):
            return str(query.query)
    except DecodeError:
        return _plain(command)
    name = packed.type_url.removeprefix(TYPE_PREFIX)[:80]
    raise error("VERSION_UNSUPPORTED", f"{name} is not served as it was sent; send CommandStatementQuery", field="cmd")


def _plain(command: bytes) -> str:
    try:
        return command.decode()
    except UnicodeDecodeError:
        raise error("MESSAGE_UNPARSABLE", "a command is a CommandStatementQuery, or SQL as text", field="cmd") from None


class Handover:
    """A place for one frame: the giver goes on when the transport has taken it."""

    def __init__(self) -> None:
        self._given: asyncio.Queue[tuple[bytes, asyncio.Future[None]] | None] = asyncio.Queue()

    async def give(self, frame: bytes) -> None:
        """Hand a frame over; returns when the transport took it."""
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._given.put_nowait((frame, taken))
        await taken

    def end(self) -> None:
        """Say that no frame follows."""
        self._given.put_nowait(None)

    async def frames(self) -> AsyncIterator[bytes]:
        """Frames as they are given; one whose giver went away is not handed on."""
        while (found := await self._given.get()) is not None:
            frame, taken = found
            if not taken.cancelled():
                yield frame
            if not taken.done():
                taken.set_result(None)


async def _streamed(call: Call, venue: Venue, sender: Sender, ticket: Ticket, work: Any) -> AsyncGenerator[bytes, None]:
    """Run a read beside the transport; the receipt goes into the trailers however it ended."""
    handover = Handover()

    async def header(value: AccessHeader) -> None:
        await call.send_initial(((HEADER, msgspec.json.encode(value)),))

    async def run() -> access.Outcome:
        try:
            outcome: access.Outcome = await work(venue, sender, ticket, access.Sink(header, handover.give))
        finally:
            handover.end()
        return outcome

    running = asyncio.ensure_future(run())
    try:
        async for frame in handover.frames():
            yield frame
        outcome = await running
    finally:
        if not running.done():
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError, TrustnodeError):
                await running
    call.set_trailing(((RECEIPT, document_to_bytes(outcome.receipt)),))
    if outcome.failure is not None:
        raise outcome.failure
