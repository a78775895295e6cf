"""The actions of Flight: prepared statements, sessions, cancelling.

Decides: which actions there are and how their bodies are read; only those of Flight SQL are packed in ``Any``. Leaves
to others: what a statement or a session is (``app``). Source: data-plane 2.2.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, NamedTuple, TypeVar

from google.protobuf.message import DecodeError, Message

from trustnode.app.flight_session import MAX_VALUE, OPTION
from trustnode.arrow import flight_pb2 as pb
from trustnode.arrow import flight_sql_pb2 as sql
from trustnode.errors import error
from trustnode.rpc.conversion import sender_of
from trustnode.rpc.dispatch import Call
from trustnode.rpc.flight_sql import COOKIE, Desk, cookie_of, pack, query_text, unpacked

M = TypeVar("M", bound=Message)


class Action(NamedTuple):
    """An action."""

    description: str
    run: Callable[[Desk, Call, bytes], AsyncIterator[bytes]]


def act(desk: Desk, call: Call, action: pb.Action) -> AsyncIterator[bytes]:
    """The results of an action.

    Raises:
        TrustnodeError: VERSION_UNSUPPORTED.
    """
    found = ACTIONS.get(action.type)
    if found is None:
        known = ", ".join(ACTIONS)
        raise error("VERSION_UNSUPPORTED", f"there is no such action; there are {known}", field="type")
    return found.run(desk, call, action.body)


async def _prepare(desk: Desk, call: Call, body: bytes) -> AsyncIterator[bytes]:
    text = query_text(unpacked(body, sql.ActionCreatePreparedStatementRequest))
    made = await desk.statements.prepare(
        sender_of(call, desk.venue), call.caller, desk.session_key(call), desk.agreements(call, text), text
    )
    yield pack(
        sql.ActionCreatePreparedStatementResult(
            prepared_statement_handle=made.handle, dataset_schema=made.schema,
            parameter_schema=await desk.statements.parameter_schema(made), is_update=False,
        )
    )  # fmt: skip


async def _close_prepared(desk: Desk, call: Call, body: bytes) -> AsyncIterator[bytes]:
    request = unpacked(body, sql.ActionClosePreparedStatementRequest)
    desk.statements.close(call.caller, request.prepared_statement_handle)
    nothing: tuple[bytes, ...] = ()
    for result in nothing:
        yield result


async def _cancel(desk: Desk, call: Call, body: bytes) -> AsyncIterator[bytes]:
    tickets = [endpoint.ticket.ticket for endpoint in _read(pb.CancelFlightInfoRequest, body).info.endpoint]
    done = [desk.handles.cancel(call.caller, ticket) for ticket in tickets[:1]]
    status = pb.CANCEL_STATUS_CANCELLED if any(done) else pb.CANCEL_STATUS_NOT_CANCELLABLE
    yield pb.CancelFlightInfoResult(status=status).SerializeToString()


async def _set_options(desk: Desk, call: Call, body: bytes) -> AsyncIterator[bytes]:
    """Set options of the session; without one, open it and give its cookie."""
    request, result = _read(pb.SetSessionOptionsRequest, body), pb.SetSessionOptionsResult()
    session = desk.session(call)
    if session is None:
        cookie = desk.sessions.open(call.caller, desk.venue.clock.now())
        session = desk.sessions.get(call.caller, cookie, desk.venue.clock.now())
        await call.send_initial((("set-cookie", f"{COOKIE}={cookie}; Secure; HttpOnly"),))
    for name, value in request.session_options.items():
        kind = value.WhichOneof("option_value")
        if name != OPTION:
            result.errors[name[:64]].value = pb.SetSessionOptionsResult.INVALID_NAME
        elif session is None or kind not in ("string_value", None) or len(value.string_value) > MAX_VALUE:
            result.errors[name].value = pb.SetSessionOptionsResult.INVALID_VALUE
        else:
            session.options[name] = value.string_value
    yield result.SerializeToString()


async def _get_options(desk: Desk, call: Call, _body: bytes) -> AsyncIterator[bytes]:
    session, result = desk.session(call), pb.GetSessionOptionsResult()
    for name, value in (session.options if session else {}).items():
        result.session_options[name].string_value = value
    yield result.SerializeToString()


async def _close_session(desk: Desk, call: Call, _body: bytes) -> AsyncIterator[bytes]:
    desk.statements.close_session(call.caller, desk.session_key(call))
    desk.sessions.close(call.caller, cookie_of(call))
    yield pb.CloseSessionResult(status=pb.CloseSessionResult.CLOSED).SerializeToString()


def _read(kind: type[M], body: bytes) -> M:
    try:
        return kind.FromString(body)
    except DecodeError:
        raise error("MESSAGE_UNPARSABLE", f"expected a {kind.DESCRIPTOR.name}", field="body") from None


ACTIONS: Final[Mapping[str, Action]] = {
    "CreatePreparedStatement": Action(
        "Plans a query; its parameters may be bound, and it may be read often.", _prepare
    ),
    "ClosePreparedStatement": Action("Forgets a prepared statement.", _close_prepared),
    "CancelFlightInfo": Action("Takes a ticket back, or stops the read it began.", _cancel),
    "SetSessionOptions": Action("Sets the agreement of a session.", _set_options),
    "GetSessionOptions": Action("Shows the options of a session.", _get_options),
    "CloseSession": Action("Forgets a session and what was prepared in it.", _close_session),
}
"""Type -> action; closed, listed by ListActions."""
