"""FlightService: Arrow Flight on the node's own port, behind the same identity as every other method.

Decides: which descriptors and tickets mean what, how much may be put. Leaves to others: admission and streaming
(``app.access``), frames (``engine``, which builds them), commands (``flight_sql``), actions (``flight_actions``). A
ticket is an ``AccessTicket``, or a handle of ``GetFlightInfo`` for a client that cannot sign, or a metadata command.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Final

import msgspec

from trustnode.app import access, handles
from trustnode.app.flight_session import Names, plain_names
from trustnode.app.venue import Sender, Venue
from trustnode.arrow import flight_pb2 as pb
from trustnode.arrow import flight_sql_pb2
from trustnode.core.access import AccessHeader
from trustnode.errors import TrustnodeError, error
from trustnode.rpc import flight_sql
from trustnode.rpc.access import is_ours
from trustnode.rpc.conversion import sender_of
from trustnode.rpc.dispatch import Call
from trustnode.rpc.flight_actions import ACTIONS, act
from trustnode.rpc.flight_sql import Desk
from trustnode.rpc.methods import Method, only
from trustnode.wire.convert import Ticket, document_to_bytes, ticket_from_bytes

SERVICE: Final = "/arrow.flight.protocol.FlightService/"
HEADER: Final = "trustnode-access-bin"
RECEIPT: Final = "trustnode-receipt-bin"
MAX_PUT_BYTES: Final = 1024 * 1024
MAX_PUT_MESSAGES: Final = 8
"""Arrow messages of one row of parameters: a schema, a batch, and empty ones that some clients add."""
MAX_ACTION_BYTES: Final = 128 * 1024


def methods(venue: Venue, issued: handles.Handles) -> tuple[Method, ...]:
    """The methods of the service."""
    desk = Desk.of(venue, issued)

    def do_get(call: Call, request: pb.Ticket) -> AsyncIterator[bytes]:
        return _frames(desk, call, request.ticket)

    async def get_flight_info(call: Call, request: pb.FlightDescriptor) -> pb.FlightInfo:
        with flight_sql.spoken():
            return await _flight_info(desk, call, request)

    async def get_schema(call: Call, request: pb.FlightDescriptor) -> pb.SchemaResult:
        with flight_sql.spoken():
            return pb.SchemaResult(schema=await _schema(desk, call, request))

    def do_put(call: Call, requests: AsyncIterator[pb.FlightData]) -> AsyncIterator[pb.PutResult]:
        return _put(desk, call, requests)

    def do_action(call: Call, request: pb.Action) -> AsyncIterator[pb.Result]:
        return _results(desk, call, request)

    def list_flights(call: Call, _request: pb.Criteria) -> AsyncIterator[pb.FlightInfo]:
        return _listed(desk, call)

    client = only("CLIENT")
    return (
        Method(
            name=SERVICE + "DoGet", request=pb.Ticket, response=None, handler=do_get,
            audiences=only("CLIENT", "PEER"), server_streaming=True, cost="HEAVY", quotes_query=True,
        ),
        Method(
            name=SERVICE + "GetFlightInfo", request=pb.FlightDescriptor, response=pb.FlightInfo,
            handler=get_flight_info, audiences=client, quotes_query=True,
        ),
        Method(
            name=SERVICE + "GetSchema", request=pb.FlightDescriptor, response=pb.SchemaResult, handler=get_schema,
            audiences=client, quotes_query=True,
        ),
        Method(
            name=SERVICE + "DoPut", request=pb.FlightData, response=pb.PutResult, handler=do_put, audiences=client,
            client_streaming=True, server_streaming=True, max_request_bytes=MAX_PUT_BYTES, max_call_bytes=MAX_PUT_BYTES,
            quotes_query=True,
        ),
        Method(
            name=SERVICE + "DoAction", request=pb.Action, response=pb.Result, handler=do_action, audiences=client,
            server_streaming=True, max_request_bytes=MAX_ACTION_BYTES, quotes_query=True,
        ),
        Method(
            name=SERVICE + "ListFlights", request=pb.Criteria, response=pb.FlightInfo, handler=list_flights,
            audiences=client, server_streaming=True,
        ),
        Method(
            name=SERVICE + "ListActions", request=pb.Empty, response=pb.ActionType, handler=_list_actions,
            audiences=client, server_streaming=True,
        ),
    )  # fmt: skip


async def _frames(desk: Desk, call: Call, raw: bytes) -> AsyncGenerator[bytes, None]:
    """What a ticket stands for: a handle, a metadata command, or a signed request as our own clients send it."""
    venue, sender = desk.venue, sender_of(call, desk.venue)
    if call.audience == "CLIENT" and len(raw) == handles.HANDLE_BYTES:
        with flight_sql.spoken():
            async with desk.handles.redeemed(call.caller, raw) as (ticket, running):
                work = access.serve if is_ours(venue, ticket) else access.broker
                async with contextlib.aclosing(
                    _streamed(call, venue, sender, ticket, work, before=running.check)
                ) as frames:
                    async for frame in frames:
                        yield frame
        return
    command = flight_sql.unpack(raw) if call.audience == "CLIENT" else None
    if command is not None:
        with flight_sql.spoken():
            for frame in await flight_sql.answer(desk, sender, command):
                yield frame
        return
    ticket = ticket_from_bytes(raw)
    work = access.serve if is_ours(venue, ticket) else access.broker
    async with contextlib.aclosing(_streamed(call, venue, sender, ticket, work)) as frames:
        async for frame in frames:
            yield frame


async def _results(desk: Desk, call: Call, request: pb.Action) -> AsyncIterator[pb.Result]:
    with flight_sql.spoken():
        async for body in act(desk, call, request):
            yield pb.Result(body=body)


async def _flight_info(desk: Desk, call: Call, request: pb.FlightDescriptor) -> pb.FlightInfo:
    info = pb.FlightInfo(flight_descriptor=request, total_records=-1, total_bytes=-1)
    command = flight_sql.unpack(request.cmd) if request.type == pb.FlightDescriptor.CMD else None
    made = await flight_sql.planned(desk, call, command) if command is not None else await _made(desk, call, request)
    if made is not None:
        info.schema, info.endpoint.add().ticket.ticket = made.schema, made.handle
    elif command is not None:
        # A metadata command is its own ticket: it is answered for whoever shows it.
        frames = await flight_sql.answer(desk, sender_of(call, desk.venue), command)
        info.schema, info.endpoint.add().ticket.ticket = flight_sql.schema_of(frames), request.cmd
    return info


async def _schema(desk: Desk, call: Call, request: pb.FlightDescriptor) -> bytes:
    command = flight_sql.unpack(request.cmd) if request.type == pb.FlightDescriptor.CMD else None
    if command is not None:
        return await flight_sql.schema(desk, call, command)
    agreements, text = asked(desk, call, request)
    return await desk.handles.schema(sender_of(call, desk.venue), agreements, text)


async def _put(desk: Desk, call: Call, requests: AsyncIterator[pb.FlightData]) -> AsyncIterator[pb.PutResult]:
    with flight_sql.spoken():
        handle = await _bind(desk, call, requests)
    # Named although it is the same: one client takes an absent handle for an empty one.
    result = flight_sql_pb2.DoPutPreparedStatementResult(prepared_statement_handle=handle)
    yield pb.PutResult(app_metadata=result.SerializeToString())


async def _listed(desk: Desk, call: Call) -> AsyncIterator[pb.FlightInfo]:
    for name in await desk.handles.agreements(sender_of(call, desk.venue)):
        descriptor = pb.FlightDescriptor(type=pb.FlightDescriptor.PATH, path=[name])
        yield pb.FlightInfo(flight_descriptor=descriptor, total_records=-1, total_bytes=-1)


async def _list_actions(_call: Call, _request: pb.Empty) -> AsyncIterator[pb.ActionType]:
    for name, action in ACTIONS.items():
        yield pb.ActionType(type=name, description=action.description)


async def _made(desk: Desk, call: Call, request: pb.FlightDescriptor) -> handles.Made:
    agreements, text = asked(desk, call, request)
    return await desk.handles.make(sender_of(call, desk.venue), call.caller, agreements, text)


async def _bind(desk: Desk, call: Call, requests: AsyncIterator[pb.FlightData]) -> bytes:
    """Bind the values of a prepared statement; nothing else is taken in.

    Returns:
        The statement's handle.

    Raises:
        TrustnodeError: REQUEST_EMPTY, FIELD_MISSING, FIELD_TOO_LONG, VERSION_UNSUPPORTED, or as ``Statements.bind``.
    """
    command: flight_sql_pb2.CommandPreparedStatementQuery | None = None
    messages: list[tuple[bytes, bytes]] = []
    async for data in requests:
        if command is None:
            if data.flight_descriptor.type != pb.FlightDescriptor.CMD:
                raise error("FIELD_MISSING", "data are not taken in here; only parameters of a statement", field="cmd")
            command = flight_sql.unpacked(data.flight_descriptor.cmd, flight_sql_pb2.CommandPreparedStatementQuery)
        elif data.HasField("flight_descriptor"):
            raise error("MESSAGE_UNPARSABLE", "a descriptor stands in the first message only", field="cmd")
        if data.data_header:
            messages.append((data.data_header, data.data_body))
        if len(messages) > MAX_PUT_MESSAGES:
            raise error("FIELD_TOO_LONG", "one row of parameters comes in one batch", field="parameters")
    if command is None:
        raise error("REQUEST_EMPTY", "the call carries no message")
    handle: bytes = command.prepared_statement_handle
    await desk.statements.bind(call.caller, handle, messages)
    return handle


def asked(desk: Desk, call: Call, descriptor: pb.FlightDescriptor) -> tuple[Names, str]:
    """Agreements and SQL of a descriptor that holds no packed command: a path [agreements, sql], or SQL as text.

    Raises:
        TrustnodeError: FIELD_MISSING, MESSAGE_UNPARSABLE.
    """
    if descriptor.type == pb.FlightDescriptor.PATH and len(descriptor.path) == 2:
        return plain_names(descriptor.path[0]), descriptor.path[1]
    if descriptor.type != pb.FlightDescriptor.CMD:
        raise error("FIELD_MISSING", "ask by path [agreement, sql], or by command", field="path")
    try:
        text = descriptor.cmd.decode()
    except UnicodeDecodeError:
        message = "a command is a Flight SQL message, or SQL as text"
        raise error("MESSAGE_UNPARSABLE", message, field="cmd") from None
    return desk.agreements(call, text), text


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


async def _streamed(
    call: Call, venue: Venue, sender: Sender, ticket: Ticket, work: Any, *, before: Callable[[], None] | None = None
) -> AsyncGenerator[bytes, None]:
    """Run a read beside the transport; the receipt goes into the trailers however it ended."""
    handover = Handover()

    async def header(value: AccessHeader) -> None:
        if before is not None:
            before()  # the stream is known by now: whoever stops it from here on finds it
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
