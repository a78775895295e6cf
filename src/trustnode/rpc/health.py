"""grpc.health.v1, served the same way as everything else and open to every certificate this node can verify."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]

from trustnode.errors import error
from trustnode.rpc.dispatch import Call
from trustnode.rpc.methods import ANYONE, Method

Request: Final[Any] = health_pb2.HealthCheckRequest
Response: Final[Any] = health_pb2.HealthCheckResponse


class Health:
    """Whether the node serves: not before it is ready, and not while it drains."""

    def __init__(self, services: Iterable[str] = ()) -> None:
        self._services = frozenset({"", *services})
        self._serving = False
        self._changed = asyncio.Event()

    @property
    def serving(self) -> bool:
        """Whether the node serves."""
        return self._serving

    def set_serving(self, serving: bool) -> None:
        """Change the answer; watchers hear of it at once."""
        self._serving = serving
        self._changed.set()
        self._changed = asyncio.Event()

    def methods(self) -> tuple[Method, Method]:
        """Check and Watch."""
        check = Method(
            name="/grpc.health.v1.Health/Check",
            request=Request,
            response=Response,
            handler=self._check,
            audiences=ANYONE,
            cost="LIGHT",
        )
        watch = Method(
            name="/grpc.health.v1.Health/Watch",
            request=Request,
            response=Response,
            handler=self._watch,
            audiences=ANYONE,
            cost="LIGHT",
            server_streaming=True,
        )
        return check, watch

    def _answer(self) -> Any:
        return Response(status=Response.SERVING if self._serving else Response.NOT_SERVING)

    async def _check(self, _call: Call, request: Any) -> Any:
        if request.service not in self._services:
            raise error("NOT_FOUND", "no such service")
        return self._answer()

    async def _watch(self, _call: Call, request: Any) -> AsyncIterator[Any]:
        if request.service not in self._services:
            # The protocol of health checking asks for this answer and an open stream instead of an error.
            yield Response(status=Response.SERVICE_UNKNOWN)
            await asyncio.Event().wait()
        while True:
            changed = self._changed
            yield self._answer()
            await changed.wait()
