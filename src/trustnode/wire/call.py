"""General calls to a node: the peer's side and the client are built of them.

Decides: how a method is called, that each call has a deadline and each answer a longest size, and which error a failure
is. Leaves to others: when to repeat (the courier, the SDK), what an answer means.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Generic, NamedTuple, Self, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from grpc import aio

from trustnode.errors import error
from trustnode.wire.channel import MAX_RECEIVE_BYTES
from trustnode.wire.convert import error_from_rpc, is_answered

M = TypeVar("M", bound=Message)
T = TypeVar("T")
Pairs = Iterable[tuple[str, str | bytes]]
UNREADABLE: Final = "the node's answer cannot be read"


class Answer(NamedTuple, Generic[T]):
    """An answer with what came beside it."""

    message: T
    initial: Mapping[str, str | bytes]
    trailing: Mapping[str, str | bytes]


async def call_unary(
    channel: aio.Channel,
    method: str,
    request: Message,
    response: type[M],
    *,
    timeout_s: float,
    metadata: Pairs = (),
    max_bytes: int = MAX_RECEIVE_BYTES,
) -> M:
    """Call a method with one answer.

    Args:
        channel: Connection to the node.
        method: ``/package.Service/Method``.
        request: The request message.
        response: Type of the answer.
        timeout_s: Deadline, seconds from now.
        metadata: Pairs to send along.
        max_bytes: Longest answer that is parsed.

    Raises:
        TrustnodeError: What the node refused with; PEER_UNREACHABLE, DEADLINE, RemoteError.
    """
    answer = await call_unary_whole(
        channel, method, request, response, timeout_s=timeout_s, metadata=metadata, max_bytes=max_bytes
    )
    return answer.message


async def call_unary_whole(
    channel: aio.Channel,
    method: str,
    request: Message,
    response: type[M],
    *,
    timeout_s: float,
    metadata: Pairs = (),
    max_bytes: int = MAX_RECEIVE_BYTES,
) -> Answer[M]:
    """As ``call_unary``, with the metadata of the answer."""
    with _errors():
        invoke: Any = channel.unary_unary(method, _serialize)
        call = invoke(request, timeout=timeout_s, metadata=tuple(metadata))
        # Parsed here: of bytes that are no message gRPC itself would make None.
        message = _parsed(response.FromString, await _answered(call), max_bytes)
        return Answer(message, _pairs(await call.initial_metadata()), _pairs(await call.trailing_metadata()))


class Stream(Generic[T]):
    """A stream of answers. Leaving its ``async with`` block before the end cancels the call."""

    def __init__(
        self, call: Any, decode: Callable[[bytes], T] | None = None, max_bytes: int = MAX_RECEIVE_BYTES
    ) -> None:
        self._call = call
        self._decode = decode
        self._max_bytes = max_bytes

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._call.cancel()

    async def __aiter__(self) -> AsyncIterator[T]:
        """Every answer, in order.

        Raises:
            TrustnodeError: As ``call_unary``.
        """
        try:
            with _errors():
                async for raw in self._call:
                    yield _parsed(self._decode, raw, self._max_bytes) if self._decode else raw
        except asyncio.CancelledError:
            # gRPC reports a call that was cancelled here as if this task had been; only one of the two ends the task.
            task = asyncio.current_task()
            if task is not None and not task.cancelling() and self._call.cancelled():
                raise error("CANCELLED", "the call was ended here") from None
            raise

    async def initial_metadata(self) -> Mapping[str, str | bytes]:
        """What the node sent before its first answer."""
        with _errors():
            return _pairs(await self._call.initial_metadata())

    async def trailing_metadata(self) -> Mapping[str, str | bytes]:
        """What the node sent after its last answer; waits for the end of the call."""
        with _errors():
            return _pairs(await self._call.trailing_metadata())

    def cancel(self) -> None:
        """End the call now."""
        self._call.cancel()


def call_stream(
    channel: aio.Channel,
    method: str,
    request: Message,
    decode: Callable[[bytes], T] | None,
    *,
    timeout_s: float,
    metadata: Pairs = (),
) -> Stream[T]:
    """Call a method that answers with a stream.

    Args:
        channel: Connection to the node.
        method: ``/package.Service/Method``.
        request: The request message.
        decode: Reads one answer; None leaves it as bytes.
        timeout_s: Deadline of the whole stream, seconds from now.
        metadata: Pairs to send along.
    """
    with _errors():
        invoke: Any = channel.unary_stream(method, _serialize)
        return Stream(invoke(request, timeout=timeout_s, metadata=tuple(metadata)), decode)


class Conversation(Stream[T]):
    """A stream in both directions."""

    async def send(self, message: Message) -> None:
        """Send one message.

        Raises:
            TrustnodeError: As ``call_unary``.
        """
        with _errors():
            await self._call.write(message)

    async def done_sending(self) -> None:
        """Say that no more messages follow."""
        with _errors():
            await self._call.done_writing()


def call_both(
    channel: aio.Channel,
    method: str,
    decode: Callable[[bytes], T] | None,
    *,
    timeout_s: float,
    metadata: Pairs = (),
    max_bytes: int = MAX_RECEIVE_BYTES,
) -> Conversation[T]:
    """Call a method with streams in both directions; arguments as ``call_stream``."""
    with _errors():
        invoke: Any = channel.stream_stream(method, _serialize)
        return Conversation(invoke(timeout=timeout_s, metadata=tuple(metadata)), decode, max_bytes)


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _parsed(decode: Callable[[bytes], T], raw: bytes | None, max_bytes: int) -> T:
    if raw is None:  # gRPC's word for a call that ended well and brought nothing
        raise error("PEER_UNREACHABLE", "the node ended the call without an answer")
    if len(raw) > max_bytes:
        raise error("FIELD_TOO_LONG", f"the node's answer has more than {max_bytes} bytes", field="answer")
    try:
        return decode(raw)
    except DecodeError:
        raise error("PEER_UNREACHABLE", UNREADABLE) from None


def _pairs(metadata: Any) -> dict[str, str | bytes]:
    return dict(metadata or ())


async def _answered(call: aio.UnaryUnaryCall[Any, bytes]) -> bytes | None:
    """The answer. Our own cancelling raises CancelledError, so that this status means a node that went away.

    A channel that is closed under a call, because it was replaced or its venue removed, raises the same without anybody
    having cancelled the task: that would end a courier in silence.
    """
    try:
        return await call
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and not task.cancelling():
            raise error("PEER_UNREACHABLE", "the connection was closed during the call") from None
        raise
    except aio.AioRpcError as failed:
        if failed.code() is grpc.StatusCode.CANCELLED and not is_answered(failed):
            raise error("PEER_UNREACHABLE", "the node went away during the call") from failed
        raise


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except aio.AioRpcError as failed:
        raise error_from_rpc(failed) from failed
    except aio.UsageError as failed:
        raise error("PEER_UNREACHABLE", "the connection was closed") from failed
    except asyncio.InvalidStateError as failed:
        raise error("PEER_UNREACHABLE", "the call was over already") from failed
