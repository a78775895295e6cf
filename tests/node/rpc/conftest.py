"""A real server with real certificates, and clients that show whatever a test wants."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import grpc
import pytest
from grpc import aio

from trustnode.config import Limits
from trustnode.core import clock
from trustnode.errors import error
from trustnode.keys import Credential
from trustnode.rpc.authentication import Trust, TrustState
from trustnode.rpc.health import Health
from trustnode.rpc.methods import ANYONE, Method, MethodTable
from trustnode.rpc.server import Server
from trustnode.testing.certificates import Venue
from trustnode.testing.clock import FakeClock
from trustnode.v1 import document_pb2
from trustnode.wire.channel import Target, channel_options

NOW = clock.text(datetime.now(UTC))
Message = document_pb2.Document


class World:
    """One node of ``venue-b.example`` that knows a confirmed and an unconfirmed peer."""

    def __init__(self) -> None:
        self.a, self.b, self.u = (Venue.create(f"venue-{name}.example", NOW) for name in "abu")
        self.stranger = Venue.create("venue-x.example", NOW)
        self.clock = FakeClock(NOW)
        self.state = TrustState(
            own="venue-b.example",
            bundles={venue.trust_domain: venue.bundle() for venue in (self.a, self.b, self.u)},
            unconfirmed=frozenset({"venue-u.example"}),
        )
        self.trust = Trust(self.state)
        self.started = asyncio.Event()
        self.ended = asyncio.Event()
        self.written = 0
        self.health = Health(["trustnode.v1.PeerService"])
        self.server: Server | None = None
        self.port = 0

    def change(self, **changes) -> None:
        """Replace parts of the trust state."""
        fields = {name: getattr(self.trust.state, name) for name in ("own", "bundles", "unconfirmed", "denied")}
        self.trust.replace(TrustState(**(fields | changes)))

    # --- handlers

    async def who(self, call, request) -> Message:
        fields = ("kind", "spiffe_id", "trust_domain", "participant", "name")
        value = {name: getattr(call.caller, name) for name in fields} | {"audience": call.audience}
        return Message(payload_type=request.payload_type, payload=json.dumps(value).encode())

    async def fail(self, call, request) -> Message:
        if request.payload_type == "unforeseen":
            raise RuntimeError("the password is hunter2")
        raise error(request.payload_type, "a sentence with ümlaut", **json.loads(request.payload or b"{}"))

    async def count(self, call, request) -> AsyncIterator[bytes]:
        await call.send_initial([("trustnode-access-bin", b"\x01\x02")])
        for number in range(int(request.payload)):
            yield b"frame %d" % number
        call.set_trailing([("trustnode-receipt-bin", b"\x03")])

    async def wait(self, call, request) -> AsyncIterator[Message]:
        try:
            yield Message(payload=b"begun")
            self.started.set()
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def flood(self, call, request) -> AsyncIterator[bytes]:
        frame = bytes(64 * 1024)
        for _ in range(1024):
            yield frame
            self.written += len(frame)
        self.ended.set()

    async def slow(self, call, request) -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def echo(self, call, requests) -> AsyncIterator[Message]:
        async for request in requests:
            yield request

    async def admin(self, call, request) -> Message:
        return Message(payload=b"admin")

    def methods(self) -> MethodTable:
        """Every kind of method, each for somebody."""

        def method(name, handler, audiences=ANYONE, **more) -> Method:
            fields = {"request": Message, "response": Message} | more
            return Method(name=f"/test.T/{name}", handler=handler, audiences=frozenset(audiences), **fields)

        return MethodTable(
            [
                method("Who", self.who),
                method("Client", self.who, {"CLIENT"}),
                method("Peer", self.who, {"PEER"}),
                method("Apply", self.who, {"PEER", "UNCONFIRMED_PEER", "APPLICANT"}),
                method("Enrol", self.who, {"INVITEE"}),
                method("Fail", self.fail),
                method("Slow", self.slow),
                method("Count", self.count, response=None, server_streaming=True),
                method("Flood", self.flood, response=None, server_streaming=True),
                method("Wait", self.wait, server_streaming=True),
                method("Echo", self.echo, client_streaming=True, server_streaming=True),
                method("Small", self.who, max_request_bytes=64),
                method("Admin", self.admin, {"OPERATOR"}),
                *self.health.methods(),
            ]
        )

    # --- listening and calling

    async def start(self, **limits) -> None:
        """Listen on a free port."""
        self.server = Server(
            methods=self.methods(),
            trust=self.trust,
            credential=self.b.node(),
            limits=Limits(**limits),
            now=self.clock.now,
            monotonic=self.clock.monotonic,
        )
        self.port = await self.server.listen("127.0.0.1:0")

    @property
    def target(self) -> Target:
        """This node, as a client knows it."""
        return Target("venue-b.example", (f"127.0.0.1:{self.port}",), self.b.bundle().pem)

    def channel(self, credential: Credential | None, **more) -> aio.Channel:
        """A channel that shows ``credential``."""
        key, chain = credential or (None, None)
        tls = grpc.ssl_channel_credentials(more.pop("roots", self.b.bundle().pem), key, chain)
        options = [*channel_options("venue-b.example"), *more.items()]
        return aio.secure_channel(f"127.0.0.1:{self.port}", tls, options)


@pytest.fixture
async def world():
    world = World()
    yield world
    if world.server is not None:
        await world.server.stop(0)


@pytest.fixture
def call():
    """Call a unary method on a fresh channel: returns the answer's payload as a value."""

    async def one(channel: aio.Channel, method: str, payload_type: str = "x", payload: bytes = b"p", **more):
        invoke = channel.unary_unary(f"/test.T/{method}", Message.SerializeToString, Message.FromString)
        answer = await invoke(Message(payload_type=payload_type, payload=payload), timeout=5, **more)
        return json.loads(answer.payload)

    return one


@pytest.fixture
def refusal():
    """The status of a call that is refused."""

    async def failed(awaitable) -> aio.AioRpcError:
        with pytest.raises(aio.AioRpcError) as caught:
            await awaitable
        return caught.value

    return failed


@pytest.fixture
def many():
    """Close channels at the end of a test."""
    return contextlib.AsyncExitStack()
