"""The HTTPS socket: opens it, bounds every connection on it, closes it.

Decides: how long a handshake, a request and an idle connection may take, how many connections one source may hold.
Leaves to others: what a request gets (``site``), the certificate (``certificate``).

uvicorn's own server is not used: it takes over the signals of the process and waits for slow senders without limit. Its
HTTP/1.1 connection is, with a deadline of our own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Final, cast

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from trustnode.app.buckets import source_of
from trustnode.errors import error
from trustnode.web.admission import MAX_HEADER_BYTES

HANDSHAKE_S: Final = 5.0
REQUEST_S: Final = 10.0
"""From the first byte of a request to the last of its answer."""
IDLE_S: Final = 5
SOURCE_CONNECTIONS: Final = 64
"""Connections of one source address at a time."""
CLOSE_S: Final = 2.0
"""Time in which running answers end when the listener closes."""


class Connections:
    """The open connections of one listener."""

    def __init__(self, total: int, per_source: int = SOURCE_CONNECTIONS, request_s: float = REQUEST_S) -> None:
        self.request_s = request_s
        self._total = total
        self._per_source = per_source
        self._open: Counter[str] = Counter()

    def enter(self, source: str) -> bool:
        """Count a connection; False where there is no room for it."""
        if self._open[source] >= self._per_source or self._open.total() >= self._total:
            return False
        self._open[source] += 1
        return True

    def leave(self, source: str) -> None:
        """A connection that was let in is gone."""
        self._open[source] -= 1
        if not self._open[source]:
            del self._open[source]


class Connection(H11Protocol):
    """One connection. Whoever is slower than the deadline, in either direction, is cut off."""

    def __init__(self, config: Config, state: ServerState, connections: Connections) -> None:
        super().__init__(config, state, {})
        self._connections_of_all = connections
        self._counted = ""
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A handshake succeeded."""
        super().connection_made(transport)
        source = source_of(self.client[0]) if self.client else "?"
        if not self._connections_of_all.enter(source):
            transport.abort()
            return
        self._counted = source
        self._expect_end()

    def data_received(self, data: bytes) -> None:
        """Bytes of a request arrived."""
        self._expect_end()
        super().data_received(data)

    def on_response_complete(self) -> None:
        """An answer was handed over whole; the next request may lie in the buffer already."""
        self._unset_deadline()
        super().on_response_complete()
        if not self.cycle.response_complete:
            self._expect_end()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended, whoever ended it."""
        self._unset_deadline()
        if self._counted:
            self._connections_of_all.leave(self._counted)
        super().connection_lost(exc)

    def _expect_end(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._connections_of_all.request_s, self.transport.abort)

    def _unset_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


@contextlib.asynccontextmanager
async def listening(app: ASGIApp, listen: str, context: ssl.SSLContext, connections: Connections) -> AsyncIterator[int]:
    """Serve an application until the block is left.

    Args:
        app: What answers.
        listen: host:port; port 0 lets the system choose.
        context: Its certificate may change while it serves.
        connections: Bounds and counts them.

    Yields:
        The port.

    Raises:
        TrustnodeError: CONFIG_INVALID when the address is malformed, taken or not ours.
    """
    config, state = _config(app), ServerState()
    host, port = address(listen)
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(
            lambda: cast("asyncio.Protocol", Connection(config, state, connections)),
            host, port, ssl=context, ssl_handshake_timeout=HANDSHAKE_S, ssl_shutdown_timeout=CLOSE_S,
        )  # fmt: skip
    except OSError as problem:
        why = problem.strerror or type(problem).__name__
        raise error("CONFIG_INVALID", f"cannot listen on {listen}: {why}", field="web.listen") from None
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await _close(state)
        await server.wait_closed()


async def _close(state: ServerState) -> None:
    """Let running answers end, then cut what is left."""
    for connection in list(state.connections):
        cast("Any", connection).shutdown()
    if state.tasks:
        await asyncio.wait(list(state.tasks), timeout=CLOSE_S)
    for task in list(state.tasks):
        task.cancel()
    for connection in list(state.connections):
        connection.transport.abort()


def _config(app: ASGIApp) -> Config:
    config = Config(
        app, http=Connection, ws="none", lifespan="off", interface="asgi3", log_config=None, access_log=False,
        proxy_headers=False, server_header=False, date_header=False, timeout_keep_alive=IDLE_S,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )  # fmt: skip
    config.load()
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL + 1)  # what strangers send is not worth a line
    return config


def address(text: str) -> tuple[str, int]:
    """Read host:port, with brackets around an address of version 6.

    Raises:
        TrustnodeError: CONFIG_INVALID.
    """
    host, _, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and int(port) <= 0xFFFF):
        raise error("CONFIG_INVALID", f"{text} is not host:port", field="web.listen")
    return host.strip("[]"), int(port)
