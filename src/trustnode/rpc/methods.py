"""The closed table of methods: its form, and the checks that keep it closed.

Decides: what the record of a method says, and that nothing outside the table is served. Leaves to others: which
methods a node serves (the modules of the services, joined in ``node``), what a handler does (``app``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from google.protobuf.message import Message

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

    from trustnode.rpc.dispatch import Call

Audience = Literal["CLIENT", "PEER", "UNCONFIRMED_PEER", "SELF", "INVITEE", "APPLICANT", "OPERATOR"]
ANYONE: Final[frozenset[Audience]] = frozenset(
    {"CLIENT", "PEER", "UNCONFIRMED_PEER", "SELF", "INVITEE", "APPLICANT", "OPERATOR"}
)
"""Every kind of caller. UNCONFIRMED_PEER: its card is stored, not confirmed. SELF: a node of our own domain."""


def only(*names: Audience) -> frozenset[Audience]:
    """Callers of these kinds and no others."""
    return frozenset(names)


Cost = Literal["LIGHT", "NORMAL", "HEAVY"]
COSTS: Final[dict[Cost, int]] = {"LIGHT": 1, "NORMAL": 2, "HEAVY": 10}
"""Tokens of the rate limit that one call takes."""

Handler = Callable[["Call", Any], Awaitable[Any]]
StreamHandler = Callable[["Call", Any], AsyncIterator[Any]]


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method of the table."""

    name: str
    """Full name: ``/package.Service/Method``."""
    request: type[Message]
    response: type[Message] | None
    """None: the handler gives finished bytes (Flight data)."""
    handler: Handler | StreamHandler
    """``async def (call, request) -> response``; an async generator where ``server_streaming``. A method with
    ``client_streaming`` gets an async iterator of requests."""
    audiences: frozenset[Audience]
    cost: Cost = "NORMAL"
    quotes_query: bool = False
    """Its refusals name what stands in a query: the log keeps their reason alone (attack-tests L22)."""
    client_streaming: bool = False
    server_streaming: bool = False
    max_request_bytes: int = 1024 * 1024
    """Longest request message; the server's own limit is the upper bound."""
    max_call_bytes: int = 1024 * 1024
    """All messages of a stream of requests together; without it small ones add up to any size."""
    messages_per_s: int = 20
    """Messages that a stream of requests may bring in the long run; ten seconds' worth at once."""

    def __post_init__(self) -> None:
        """Refuse a record that would open or close too much."""
        if not self.audiences or not self.audiences <= ANYONE:
            raise ValueError(f"{self.name}: audiences must name known kinds of callers")
        if self.client_streaming and not self.server_streaming:
            raise ValueError(f"{self.name}: a stream of requests with one answer is not served here")


class MethodTable:
    """Name -> method; what is not in it is not served."""

    def __init__(self, methods: Iterable[Method]) -> None:
        self._methods: dict[str, Method] = {}
        for method in methods:
            if self._methods.setdefault(method.name, method) is not method:
                raise ValueError(f"{method.name} stands twice in the table")

    def __iter__(self) -> Iterator[Method]:
        return iter(self._methods.values())

    def get(self, name: str) -> Method | None:
        """The method of that full name."""
        return self._methods.get(name)

    def without(self, audience: Audience) -> MethodTable:
        """The table without the methods that only ``audience`` may call."""
        return MethodTable(method for method in self if method.audiences != {audience})

    def differences(self, services: Iterable[ServiceDescriptor]) -> list[str]:
        """Compare with the proto services: what is missing, or differs in types or streaming."""
        return [text for service in services for method in service.methods if (text := self._difference(method))]

    def _difference(self, described: MethodDescriptor) -> str:
        name = f"/{described.containing_service.full_name}/{described.name}"
        held = self.get(name)
        if held is None:
            return f"{name} is not in the table"
        if (held.client_streaming, held.server_streaming) != (described.client_streaming, described.server_streaming):
            return f"{name} streams differently"
        wanted = (described.input_type.full_name, described.output_type.full_name)
        response = held.response.DESCRIPTOR.full_name if held.response else wanted[1]
        if (held.request.DESCRIPTOR.full_name, response) != wanted:
            return f"{name} has other messages"
        return ""
