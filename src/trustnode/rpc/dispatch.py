"""The way of one call: admitted, identified, allowed, read, handled, answered, logged.

Decides: the order of the checks, deadlines, and that a stream ends when its caller is no longer who it was. Leaves to
others: each check (``admission``, ``authentication``, ``methods``), the answer to an error (``boundary``).

Every method is registered as one with a stream of requests (the same on the wire), because gRPC starts the handler of
a unary request only after the whole message: a caller that sends headers alone would never be identified and never
time out (identity 4, step 0).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias, cast
from urllib.parse import unquote

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from grpc import aio

from trustnode.app.buckets import source_of
from trustnode.config import Limits
from trustnode.errors import TrustnodeError, error
from trustnode.rpc.admission import Admission
from trustnode.rpc.authentication import Identified
from trustnode.rpc.boundary import DETAILS_KEY, code_of, details_of, internal, message_of
from trustnode.rpc.methods import Handler, Method, MethodTable, StreamHandler

MAX_METADATA_BYTES: Final = 16 * 1024
UNKNOWN: Final = "(unknown)"
"""Name in the log of every method outside the table; the name that was sent is the caller's text."""

Context: TypeAlias = "aio.ServicerContext[Any, Any]"  # a string: grpc classes cannot be subscripted at run time
Pairs = Iterable[tuple[str, str | bytes]]
Recheck = Callable[[], Identified]


class Call:
    """One call, as its handler sees it.

    Attributes:
        caller: Who calls, verified by this node itself.
        audience: As what the caller counts now.
        method: The record of the table.
        metadata: What the caller sent along; never an identity.
    """

    def __init__(self, method: Method, who: Identified, context: Context, metadata: Mapping[str, str | bytes]) -> None:
        self.method = method
        self.caller, self.audience = who
        self.metadata = metadata
        self._context = context

    @property
    def connection(self) -> str:
        """The connection the call came on, as long as that lives; no identity."""
        return str(self._context.peer())

    async def send_initial(self, pairs: Pairs) -> None:
        """Send the initial metadata now; it goes with the first message otherwise."""
        await self._context.send_initial_metadata(tuple(pairs))

    def set_trailing(self, pairs: Pairs) -> None:
        """Set the metadata that ends a successful call."""
        self._context.set_trailing_metadata(tuple(pairs))

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline; None if it set none (the node's own cap still holds)."""
        return self._context.time_remaining()


class _Progress:
    """What one call has come to: for the log line, and for ending it from outside."""

    def __init__(self, method_name: str, task: asyncio.Task[Any] | None) -> None:
        self.method_name = method_name
        self.started = time.perf_counter()
        self.caller = ""
        self.audience = ""
        self.bytes_in = 0
        self.bytes_out = 0
        self.task = task
        self.recheck: Recheck | None = None
        self.ended_by: TrustnodeError | None = None

    def end(self, refusal: TrustnodeError) -> None:
        """End the call from outside with a reason; the first reason stays."""
        if self.ended_by is None and self.task is not None:
            self.ended_by = refusal
            self.task.cancel()


class Dispatcher(grpc.GenericRpcHandler):
    """Serves a table of methods on one listener."""

    def __init__(
        self,
        methods: MethodTable,
        admission: Admission,
        identify: Callable[[Context], Identified],
        limits: Limits,
        *,
        log_requests: bool = True,
        on_refused: Callable[[TrustnodeError], None] = lambda _refusal: None,
    ) -> None:
        self._methods = methods
        self._admission = admission
        self._identify = identify
        self._limits = limits
        self._log_requests = log_requests
        self._on_refused = on_refused
        self._running: set[_Progress] = set()
        self._log = structlog.get_logger("trustnode.rpc")

    # --- registration -------------------------------------------------------------------------------------------------

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """Find the handler of a call; a method outside the table is refused like any other, after identification."""
        name = handler_call_details.method or ""
        method = self._methods.get(name)

        async def behave(_requests: Any, context: Context) -> bytes | None:
            return await self._behave(name, method, context)

        if method is not None and method.server_streaming:
            return grpc.stream_stream_rpc_method_handler(cast("Any", behave))
        return grpc.stream_unary_rpc_method_handler(cast("Any", behave))

    # --- ending streams -----------------------------------------------------------------------------------------------

    def recheck_running(self) -> None:
        """Identify the callers of all running streams again and end those that are refused now."""
        for progress in tuple(self._running):
            if progress.recheck is None:
                continue
            try:
                progress.recheck()
            except TrustnodeError as refusal:
                progress.end(refusal)

    def end_all(self, refusal: TrustnodeError) -> None:
        """End every running call with one reason."""
        for progress in tuple(self._running):
            progress.end(refusal)

    # --- one call -----------------------------------------------------------------------------------------------------

    async def _behave(self, name: str, method: Method | None, context: Context) -> bytes | None:
        progress = _Progress(name if method else UNKNOWN, asyncio.current_task())
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request=secrets.token_hex(8), method=progress.method_name)
        self._running.add(progress)
        try:
            answer = await self._serve(method, context, progress)
        except TrustnodeError as refusal:
            failure = refusal
        except asyncio.CancelledError:
            if progress.ended_by is None:
                self._write_line(progress, "CANCELLED", "CANCELLED")
                raise
            cast("asyncio.Task[Any]", progress.task).uncancel()
            failure = progress.ended_by
        except Exception as problem:  # the boundary: whatever a handler raises, its text stays here
            if context.done():
                self._write_line(progress, "CANCELLED", "CANCELLED")
                raise
            failure = self._write_problem(problem)
        else:
            self._write_line(progress, "OK", "")
            return answer
        finally:
            self._running.discard(progress)
        loggable = "" if method and method.quotes_query else failure.message
        await self._refuse(context, progress, failure, loggable)
        return None

    async def _refuse(self, context: Context, progress: _Progress, failure: TrustnodeError, loggable: str) -> None:
        unknown = progress.method_name == UNKNOWN and failure.reason == "VERSION_UNSUPPORTED"
        code = grpc.StatusCode.UNIMPLEMENTED if unknown else code_of(failure)
        self._write_line(progress, code.name, failure.reason, loggable)
        # What a handler set stands beside the error: a stream that was cut still has its receipt.
        trailing = (*_trailing(context), (DETAILS_KEY, details_of(_public(failure), code)))
        await context.abort(code, message_of(_public(failure)), trailing)

    async def _serve(self, method: Method | None, context: Context, progress: _Progress) -> bytes | None:
        source = _source(context.peer())
        self._admission.arrive(source)
        metadata = _bounded_metadata(context)
        who = self._identified(context, source)
        progress.caller, progress.audience = who.caller.spiffe_id or who.caller.name, who.audience
        structlog.contextvars.bind_contextvars(caller=progress.caller)
        if method is None:
            raise error("VERSION_UNSUPPORTED", "this node serves no such method here")
        _check_audience(method, who)
        with self._admission.enter(who, method):
            progress.recheck = lambda: _check_audience(method, self._identify(context))
            return await self._handle(method, Call(method, who, context, metadata), context, progress)

    def _identified(self, context: Context, source: str) -> Identified:
        try:
            return self._identify(context)
        except TrustnodeError as refusal:
            self._admission.refused(source)
            self._on_refused(refusal)
            raise

    async def _handle(self, method: Method, call: Call, context: Context, progress: _Progress) -> bytes | None:
        cap = self._limits.max_stream_s if method.server_streaming else self._limits.max_call_s
        try:
            async with asyncio.timeout(cap) as scope:
                request = await self._request(method, context, progress)
                if method.server_streaming:
                    await self._stream(method, call, request, context, progress)
                    return None
                answer = await cast("Handler", method.handler)(call, request)
        except TimeoutError:
            if scope.expired():
                raise error("DEADLINE", f"the call took longer than {cap} s") from None
            raise
        encoded = _encode(method, answer)
        progress.bytes_out = len(encoded)
        return encoded

    async def _stream(self, method: Method, call: Call, request: Any, context: Context, progress: _Progress) -> None:
        answers = cast("StreamHandler", method.handler)(call, request)
        async with contextlib.aclosing(cast("Any", answers)):
            async for answer in answers:
                encoded = _encode(method, answer)
                progress.bytes_out += len(encoded)
                await _written(context, encoded)

    async def _request(self, method: Method, context: Context, progress: _Progress) -> Any:
        if method.client_streaming:
            return self._requests(method, context, progress)
        try:
            async with asyncio.timeout(self._limits.first_message_s):
                raw = await context.read()
                if raw is aio.EOF:
                    raise error("REQUEST_EMPTY", "the call carries no message")
                if await context.read() is not aio.EOF:
                    raise error("MESSAGE_UNPARSABLE", "the call carries a second message")
        except TimeoutError:
            raise error("DEADLINE", "the request message did not come in time") from None
        return _decode(method, raw, progress)

    async def _requests(self, method: Method, context: Context, progress: _Progress) -> AsyncIterator[Message]:
        allowance = self._admission.allowance(method)
        while (raw := await context.read()) is not aio.EOF:
            allowance.take(len(raw))
            yield _decode(method, raw, progress)

    # --- log ----------------------------------------------------------------------------------------------------------

    def _write_problem(self, problem: Exception) -> TrustnodeError:
        error_id = secrets.token_hex(8)
        self._log.error("internal", error_id=error_id, exc_info=problem)
        return internal(error_id)

    def _write_line(self, progress: _Progress, code: str, reason: str, message: str = "") -> None:
        if not self._log_requests:
            return
        self._log.info(
            "request",
            caller=progress.caller,
            audience=progress.audience,
            code=code,
            reason=reason,
            message=message,
            ms=round((time.perf_counter() - progress.started) * 1000, 2),
            bytes_in=progress.bytes_in,
            bytes_out=progress.bytes_out,
        )


async def _written(context: Context, encoded: bytes) -> None:
    """Hand a message to the transport; it fails only when the caller went away, which is no fault of ours."""
    try:
        await context.write(encoded)
    except Exception as gone:  # gRPC's class for it is private
        raise asyncio.CancelledError from gone


def _check_audience(method: Method, who: Identified) -> Identified:
    if who.audience not in method.audiences:
        if who.audience == "UNCONFIRMED_PEER":
            raise error("PEER_SUSPENDED", "this peering waits for its operators to confirm it")
        raise error("ROLE_NOT_ALLOWED", f"a caller of kind {who.audience} may not call this")
    return who


def _public(failure: TrustnodeError) -> TrustnodeError:
    """Of a refused identity the caller hears the reason in fixed words; particulars stay in the log (identity 4)."""
    return error(failure.reason) if code_of(failure) is grpc.StatusCode.UNAUTHENTICATED else failure


def _bounded_metadata(context: Context) -> dict[str, str | bytes]:
    # gRPC's own limit holds only after the caller has acknowledged SETTINGS; before, 16 MiB come through (identity 10).
    pairs = tuple(context.invocation_metadata() or ())
    if sum(len(key) + len(value) + 32 for key, value in pairs) > MAX_METADATA_BYTES:
        raise error("FIELD_TOO_LONG", f"metadata of a call has at most {MAX_METADATA_BYTES} bytes", field="metadata")
    return dict(pairs)


def _trailing(context: Context) -> tuple[tuple[str, str | bytes], ...]:
    return tuple((key, value) for key, value in context.trailing_metadata() or ())


def _source(peer: str) -> str:
    """Whom the address counts as, without its port: ``ipv4:192.0.2.1:5555``, ``ipv6:%5B2001:db8::7%5D:5555``."""
    family, _, rest = peer.partition(":")
    return source_of(unquote(rest.rpartition(":")[0]).strip("[]")) if family in {"ipv4", "ipv6"} else family


def _decode(method: Method, raw: bytes, progress: _Progress) -> Message:
    progress.bytes_in += len(raw)
    if len(raw) > method.max_request_bytes:
        raise error("FIELD_TOO_LONG", f"a request here has at most {method.max_request_bytes} bytes", field="request")
    try:
        return method.request.FromString(raw)
    except (DecodeError, ValueError):
        raise error("MESSAGE_UNPARSABLE", "the request is not the message of this method", field="request") from None


def _encode(method: Method, answer: Any) -> bytes:
    if method.response is None:
        return cast("bytes", answer)
    if type(answer) is not method.response:
        raise TypeError(f"{method.name} answered with {type(answer).__name__}")
    encoded: bytes = answer.SerializeToString()
    return encoded
