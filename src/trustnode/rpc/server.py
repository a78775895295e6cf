"""The listeners: one port with mutual TLS for the network, one local socket for the operator.

Decides: the options of the transport and how certificates change without a restart. Leaves to others: what happens to
a call (``dispatch``). Sources: identity 7, 9 and 10; gRPC ignores an unknown option name silently, so tests show from
outside that the options hold. Some say what is the default of today, so that an upgrade of gRPC cannot change it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import grpc
from grpc import aio

from trustnode.config import Limits
from trustnode.errors import TrustnodeError, error
from trustnode.keys import Credential
from trustnode.rpc.admission import Admission
from trustnode.rpc.authentication import Authenticator, Identified, Trust
from trustnode.rpc.dispatch import MAX_METADATA_BYTES, Dispatcher
from trustnode.rpc.methods import MethodTable

MAX_SOCKET_PATH: Final = 107
"""Bytes of a Unix socket's path on Linux, without its NUL."""
DRAINING: Final = error("DRAINING", "the node is stopping")

Options = list[tuple[str, int]]


def port_options(limits: Limits) -> Options:
    """Options of the network port."""
    return [
        # A longer message is refused before it is stored; also ends decompression bombs.
        ("grpc.max_receive_message_length", limits.max_request_bytes),
        # Both the same: between the two, refusal is a lottery.
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        # Streams of one connection at a time; alone this ends rapid reset.
        ("grpc.max_concurrent_streams", limits.connection_streams),
        # Sockets that say nothing are closed; the default keeps them for two minutes.
        ("grpc.server_handshake_timeout_ms", limits.handshake_s * 1000),
        # A guard for file descriptors, far above real use: as a limit it would lock out newcomers.
        ("grpc.max_allowed_incoming_connections", limits.connections),
        # A connection without calls is closed.
        ("grpc.max_connection_idle_ms", limits.connection_idle_s * 1000),
        # An old connection is replaced, so that each caller shows its certificate in a new handshake; a stream on it
        # may run to the longest time allowed, since identity is checked again within it. Without grace it never ends.
        ("grpc.max_connection_age_ms", limits.connection_age_s * 1000),
        ("grpc.max_connection_age_grace_ms", limits.max_stream_s * 1000),
        # Pings without calls close the connection (two strikes is the default; 0 would mean never).
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.http2.max_ping_strikes", 2),
        # Finds out that a peer is gone while a stream waits for its reader.
        ("grpc.keepalive_time_ms", limits.keepalive_s * 1000),
        ("grpc.http2.ping_timeout_ms", min(limits.keepalive_s, 20) * 1000),
        # A second process must not share the port silently.
        ("grpc.so_reuseport", 0),
        # What lies in the transport when a stream is stopped still arrives: keep it small (protocol 8.4).
        ("grpc.http2.write_buffer_size", 64 * 1024),
    ]


def local_options(limits: Limits) -> Options:
    """Options of the operator's socket: whoever may open it runs the node, so only sizes are bounded."""
    return [
        ("grpc.max_receive_message_length", limits.max_request_bytes),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    ]


class ServerCertificates:
    """Certificate and roots of the port, replaced without a restart.

    gRPC asks before every handshake. It gets a prepared object once after each change and None otherwise: a new object
    at every handshake ends in use after free (grpc/grpc#36693).
    """

    def __init__(self, credential: Credential, roots_pem: bytes) -> None:
        self._initial = _configuration(credential, roots_pem)
        self._prepared: deque[grpc.ServerCertificateConfiguration] = deque(maxlen=1)

    def replace(self, credential: Credential, roots_pem: bytes) -> None:
        """Use another certificate or other roots from the next handshake on."""
        self._prepared.append(_configuration(credential, roots_pem))

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials that demand a certificate from every caller."""
        return grpc.dynamic_ssl_server_credentials(
            self._initial,
            cast("Any", self._fetch),  # the stubs forget that None is an answer
            require_client_authentication=True,
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        # Runs in the handshake, on a thread of gRPC: it must neither wait nor raise.
        try:
            return self._prepared.pop()
        except IndexError:
            return None


class Server:
    """Everything that answers calls in one node."""

    def __init__(
        self,
        *,
        methods: MethodTable,
        trust: Trust,
        credential: Credential,
        limits: Limits,
        now: Callable[[], str],
        monotonic: Callable[[], float] = time.monotonic,
        log_requests: bool = True,
        on_refused: Callable[[TrustnodeError], None] = lambda _refusal: None,
    ) -> None:
        """Prepare; nothing listens yet.

        Args:
            methods: The closed table.
            trust: Whom we believe about whom; may be replaced at any time.
            credential: Key and chain of the node's own certificate.
            limits: Numbers of the configuration.
            now: The node's clock.
            monotonic: Seconds that never go back, for rates.
            log_requests: Whether each call writes its line.
            on_refused: Told of every caller whose identity was refused, so that it is recorded.
        """
        self._limits = limits
        self._trust = trust
        self._credential = credential
        self._certificates = ServerCertificates(credential, trust.roots_pem)
        self._authenticator = Authenticator(trust, now, monotonic)
        admission = Admission(limits, monotonic)
        network = methods.without("OPERATOR")
        self._network = Dispatcher(
            network, admission, self._identify, limits, log_requests=log_requests, on_refused=on_refused
        )
        self._local = Dispatcher(methods, admission, self._operator, limits, log_requests=log_requests)
        self._servers: list[aio.Server] = []
        self._socket: Path | None = None
        self._rechecks: asyncio.Task[None] | None = None
        trust.subscribe(self._trust_changed)

    async def listen(self, address: str) -> int:
        """Open the network port.

        Returns:
            The port, which differs from the address where that said 0.

        Raises:
            TrustnodeError: CONFIG_INVALID when the address is taken or not ours.
        """
        server = aio.server(handlers=[self._network], options=port_options(self._limits))
        try:
            port = server.add_secure_port(address, self._certificates.credentials())
        except RuntimeError:
            raise error("CONFIG_INVALID", f"cannot listen on {address}; is it in use?", field="node.listen") from None
        await self._start(server)
        self._rechecks = asyncio.create_task(self._recheck_regularly())
        return port

    async def listen_local(self, path: Path) -> None:
        """Open the operator's socket; only the owner of its folder can reach it.

        Raises:
            TrustnodeError: CONFIG_INVALID when the path cannot be a socket.
        """
        if len(os.fsencode(path)) > MAX_SOCKET_PATH:
            raise error("CONFIG_INVALID", f"the socket path is longer than {MAX_SOCKET_PATH} bytes", field="home")
        server = aio.server(handlers=[self._local], options=local_options(self._limits))
        _bind_privately(server, path)
        self._socket = path
        await self._start(server)

    def replace_credential(self, credential: Credential) -> None:
        """Show another certificate from the next handshake on; open connections go on."""
        self._credential = credential
        self._certificates.replace(credential, self._trust.roots_pem)

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, give running ones ``grace_s`` seconds, then end them with DRAINING."""
        if self._rechecks is not None:
            self._rechecks.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._rechecks
        ending = [asyncio.create_task(server.stop(grace_s + 2)) for server in self._servers]
        if ending:
            await asyncio.wait(ending, timeout=grace_s)
        for dispatcher in (self._network, self._local):
            dispatcher.end_all(DRAINING)
        await asyncio.gather(*ending)
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)

    async def _start(self, server: aio.Server) -> None:
        await server.start()
        self._servers.append(server)

    def _identify(self, context: Any) -> Identified:
        return self._authenticator.identify(context.auth_context())

    def _operator(self, _context: Any) -> Identified:
        return self._authenticator.operator()

    def _trust_changed(self) -> None:
        self._certificates.replace(self._credential, self._trust.roots_pem)
        self._network.recheck_running()

    async def _recheck_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._limits.recheck_s)
            self._network.recheck_running()


def _configuration(credential: Credential, roots_pem: bytes) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(credential.key_pem, credential.chain_pem)], roots_pem)


def _bind_privately(server: aio.Server, path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    _remove_stale(path)
    before = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError:
        raise error("CONFIG_INVALID", f"cannot listen on {path.name}", field="home") from None
    finally:
        os.umask(before)
    path.chmod(0o600)


def _remove_stale(path: Path) -> None:
    """Remove the socket of a node that was killed; whether a node runs is decided by the lock of its home."""
    if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
        raise error("CONFIG_INVALID", f"{path.name} is there and is no socket", field="home")
    path.unlink(missing_ok=True)
