"""Calls of a client to its home node, and of an operator to the local socket: every method by its name.

Decides: which names there are (the services of the contract), how a data stream is opened. Leaves to others: which call
when (``sdk``), what an answer means.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from typing import Any, Final, Protocol, cast

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from trustnode.arrow import flight_pb2
from trustnode.core.document import Document
from trustnode.errors import error
from trustnode.v1 import (
    access_service_pb2,
    admin_service_pb2,
    catalog_service_pb2,
    document_service_pb2,
    evidence_service_pb2,
    participant_service_pb2,
)
from trustnode.wire.call import Stream, call_stream, call_unary
from trustnode.wire.convert import document_from_bytes
from trustnode.wire.peer import DO_GET, ReadAnswer, read_answer
from trustnode.wire.value import fill, to_value

PACKAGE: Final = "trustnode.v1"
MODULES: Final = (
    access_service_pb2,
    admin_service_pb2,
    catalog_service_pb2,
    document_service_pb2,
    evidence_service_pb2,
    participant_service_pb2,
)
READ: Final = f"/{PACKAGE}.AccessService/Read"
RECEIPT_KEY: Final = "trustnode-receipt-bin"
ACCESS_KEY: Final = "trustnode-access-bin"


class Channels(Protocol):
    """Where the channel for the next call comes from."""

    def get(self) -> aio.Channel:
        """The channel."""


class DataStream:
    """A data stream: the access header first, finished frames, the receipt last."""

    def __init__(self, stream: Stream[bytes]) -> None:
        self._stream = stream

    async def header(self) -> bytes:
        """Encoded ``AccessHeader``; empty if the node sent none."""
        found = (await self._stream.initial_metadata()).get(ACCESS_KEY, b"")
        return found if isinstance(found, bytes) else b""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream.__aiter__()

    async def receipt(self) -> Document | None:
        """The receipt that came after the last frame; None if it has to be asked for."""
        found = (await self._stream.trailing_metadata()).get(RECEIPT_KEY)
        return document_from_bytes(found) if isinstance(found, bytes) else None

    def cancel(self) -> None:
        """End the stream now."""
        self._stream.cancel()


class Home:
    """A node that we are a client of, or whose operator we are."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels

    async def call(self, method: str, fields: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """Call a method with one answer.

        Args:
            method: ``Service/Method`` of ``trustnode.v1``.
            fields: The request, in the value form of ``wire.value``.
            timeout_s: Deadline, seconds from now.

        Raises:
            TrustnodeError: What the node refused with; PEER_UNREACHABLE, DEADLINE.
        """
        described = _method(method)
        request = fill(_class(described.input_type)(), fields)
        answer = await call_unary(
            self._channels.get(),
            f"/{PACKAGE}.{method}",
            request,
            _class(described.output_type),
            timeout_s=timeout_s,
        )
        return cast("dict[str, Any]", to_value(answer))

    def watch(
        self, method: str, fields: Mapping[str, Any], *, timeout_s: float
    ) -> AbstractAsyncContextManager[AsyncIterator[dict[str, Any]]]:
        """Call a method that answers with a stream; leaving the block ends the call."""
        return self._watch(method, fields, timeout_s)

    @asynccontextmanager
    async def _watch(
        self, method: str, fields: Mapping[str, Any], timeout_s: float
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        described = _method(method)
        request = fill(_class(described.input_type)(), fields)
        decode = _class(described.output_type).FromString
        stream = call_stream(self._channels.get(), f"/{PACKAGE}.{method}", request, decode, timeout_s=timeout_s)
        async with stream:
            yield _values(stream)

    async def read(self, ticket: bytes, *, timeout_s: float) -> ReadAnswer:
        """Read a small answer; frames stay as the node sent them."""
        request = access_service_pb2.ReadRequest(ticket=ticket)
        answer = await call_unary(
            self._channels.get(), READ, request, access_service_pb2.ReadResponse, timeout_s=timeout_s
        )
        return read_answer(answer.result)

    @asynccontextmanager
    async def do_get(self, ticket: bytes, *, timeout_s: float) -> AsyncIterator[DataStream]:
        """Open a data stream; leaving the block ends the call."""
        request = flight_pb2.Ticket(ticket=ticket)
        stream: Stream[bytes] = call_stream(self._channels.get(), DO_GET, request, None, timeout_s=timeout_s)
        async with stream:
            yield DataStream(stream)


async def _values(stream: Stream[Message]) -> AsyncIterator[dict[str, Any]]:
    async for message in stream:
        yield to_value(message)


def _class(descriptor: Any) -> type[Message]:
    return GetMessageClass(descriptor)


@cache
def _method(name: str) -> MethodDescriptor:
    service, _, method = name.partition("/")
    for module in MODULES:
        found = module.DESCRIPTOR.services_by_name.get(service)
        if found is not None and method in found.methods_by_name:
            return cast("MethodDescriptor", found.methods_by_name[method])
    raise error("USAGE", f"the contract has no method {name}")
