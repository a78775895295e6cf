"""The three processes of the floods: a node's port, an attacker, and whoever measures (``floods``).

``python flooded.py serve FOLDER`` opens a port, writes certificates into the folder and says the port; ``python
flooded.py attack FOLDER PORT KIND`` attacks it until it is ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hyperframe.frame import Frame

from trustnode.config import Limits
from trustnode.core import clock
from trustnode.core.identity import node_dns
from trustnode.errors import TrustnodeError
from trustnode.keys import Credential
from trustnode.rpc.authentication import Trust, TrustState
from trustnode.rpc.methods import Method, MethodTable, only
from trustnode.rpc.server import Server
from trustnode.testing import hostile
from trustnode.testing.certificates import Leaf, Venue
from trustnode.v1 import document_pb2
from trustnode.wire.call import call_unary
from trustnode.wire.channel import Target, open_channel

Message = document_pb2.Document
OWN, OTHER = "venue-b.example", "venue-a.example"
ECHO, WAIT, PEERS = "/bench.B/Echo", "/bench.B/Wait", "/bench.B/Peers"
NAMES = ("healthy", "hostile", "forged")


def _now() -> str:
    return clock.text(datetime.now(UTC))


async def _echo(_call: Any, request: Any) -> Any:
    return request


async def _wait(_call: Any, request: Any) -> AsyncIterator[Any]:
    yield request
    await asyncio.Event().wait()


def _methods() -> MethodTable:
    fields: dict[str, Any] = {"request": Message, "response": Message}
    client = only("CLIENT")
    return MethodTable(
        [
            Method(name=ECHO, handler=_echo, audiences=client, **fields),
            Method(name=PEERS, handler=_echo, audiences=only("PEER"), **fields),
            Method(name=WAIT, handler=_wait, audiences=client, server_streaming=True, **fields),
        ]
    )


async def serve(folder: Path) -> None:
    """Listen until stdin ends."""
    own, other = Venue.create(OWN, _now()), Venue.create(OTHER, _now())
    trust = Trust(TrustState(own=OWN, bundles={one.trust_domain: one.bundle() for one in (own, other)}))
    server = Server(
        methods=_methods(), trust=trust, credential=own.node(), limits=Limits(), now=_now, monotonic=time.monotonic,
        log_requests=False,
    )  # fmt: skip
    port = await server.listen("[::]:0")
    forged = other.leaf(Leaf(uris=(f"spiffe://{OWN}/participant/forged",)))
    for name, credential in zip(NAMES, (own.client("healthy"), own.client("hostile"), forged), strict=True):
        (folder / f"{name}.key").write_bytes(credential.key_pem)
        (folder / f"{name}.pem").write_bytes(credential.chain_pem)
    (folder / "roots.pem").write_bytes(own.bundle().pem)
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


def target(folder: Path, port: int, host: str = "127.0.0.1") -> Target:
    """The port, as a caller knows it."""
    return Target(OWN, (f"{host}:{port}",), (folder / "roots.pem").read_bytes())


def credential(folder: Path, name: str) -> Credential:
    """One of the certificates in the folder."""
    return Credential((folder / f"{name}.key").read_bytes(), (folder / f"{name}.pem").read_bytes())


# --- attacks


class Attacker:
    """What an attack needs."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.target = target(folder, port)

    def raw(self) -> Any:
        """A raw connection with a client's own certificate."""
        return hostile.connect(self.target, credential(self.folder, "hostile"))

    async def sockets(self, first: bytes, *, stay: bool) -> None:
        """300 sockets at a time that say one thing or nothing."""
        while True:
            opened = [await asyncio.open_connection("127.0.0.1", self.port) for _ in range(300)]
            for _, writer in opened:
                writer.write(first)
            await asyncio.sleep(5 if stay else 0.05)
            for _, writer in opened:
                writer.close()

    async def frames(self, make: Callable[[Any, int], list[Frame]]) -> None:
        """Frames as fast as they are taken; a connection that is closed is replaced."""
        while True:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                async with self.raw() as connection:
                    reading = asyncio.ensure_future(connection.closed())
                    number = 0
                    while not reading.done():
                        for _ in range(100):
                            connection.send(*make(connection, number))
                            number += 1
                        await connection.flush()
                        await asyncio.sleep(0)

    async def calls(self, name: str, method: str) -> None:
        """Calls that are refused, 32 at a time."""
        async with open_channel(self.target, credential(self.folder, name)) as channel:

            async def loop() -> None:
                while True:
                    with contextlib.suppress(TrustnodeError):
                        await call_unary(channel, method, Message(payload=b"p"), Message, timeout_s=10)

            await asyncio.gather(*(loop() for _ in range(32)))


def _hello(attacker: Attacker) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        hostile.client_tls(attacker.target, None).wrap_bio(
            incoming, outgoing, server_hostname=node_dns(OWN)
        ).do_handshake()
    return outgoing.read()


def _reset(connection: Any, number: int) -> list[Frame]:
    return hostile.reset(connection, 1 + 2 * number, WAIT)


def _ping(_connection: Any, _number: int) -> list[Frame]:
    return [hostile.ping()]


def _stream(connection: Any, number: int) -> list[Frame]:
    stream = 1 + 2 * number
    return [connection.headers(stream, WAIT), connection.message(stream, b"")]


ATTACKS: dict[str, Callable[[Attacker], Awaitable[None]]] = {
    "silent_sockets": lambda a: a.sockets(b"", stay=True),
    "half_handshakes": lambda a: a.sockets(_hello(a), stay=False),
    "rapid_reset": lambda a: a.frames(_reset),
    "pings": lambda a: a.frames(_ping),
    "streams": lambda a: a.frames(_stream),
    "refused_calls": lambda a: a.calls("hostile", PEERS),
    "failed_identities": lambda a: a.calls("forged", ECHO),
}
"""Kind -> what the attacker does until it is ended."""


def main() -> None:
    """Serve or attack."""
    match sys.argv[1:]:
        case ["serve", folder]:
            asyncio.run(serve(Path(folder)))
        case ["attack", folder, port, kind]:
            asyncio.run(_attack(Attacker(Path(folder), int(port)), kind))


async def _attack(attacker: Attacker, kind: str) -> None:
    await ATTACKS[kind](attacker)


if __name__ == "__main__":
    main()
