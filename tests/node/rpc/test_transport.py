"""The effect of each option of the listeners, seen from outside; gRPC ignores an unknown name silently."""

import asyncio
import contextlib
import json
import socket
import ssl
import stat

import grpc
import pytest
from grpc import aio
from structlog.testing import capture_logs

from trustnode.config import Limits
from trustnode.errors import TrustnodeError
from trustnode.rpc.dispatch import _bounded_metadata
from trustnode.rpc.server import Server, port_options
from trustnode.testing.certificates import Leaf
from trustnode.v1 import document_pb2
from trustnode.wire.call import call_both, call_stream, call_unary
from trustnode.wire.channel import open_channel, open_local

Message = document_pb2.Document
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, GOAWAY = 4, 6, 7


async def ask(channel, name="Who", payload=b"p", timeout_s=5, **more):
    return await call_unary(channel, f"/test.T/{name}", Message(payload=payload), Message, timeout_s=timeout_s, **more)


async def reason(awaitable) -> str:
    with pytest.raises(TrustnodeError) as caught:
        await awaitable
    return caught.value.reason


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def literal(name: bytes, value: bytes) -> bytes:
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def headers(path: bytes) -> bytes:
    pairs = {b":method": b"POST", b":scheme": b"https", b":path": path, b":authority": b"node.venue-b.example"}
    pairs |= {b"te": b"trailers", b"content-type": b"application/grpc"}
    return frame(1, 0x4, 1, b"".join(literal(*pair) for pair in pairs.items()))


@contextlib.asynccontextmanager
async def raw(world, tmp_path, *, newest=ssl.TLSVersion.TLSv1_3):
    """An HTTP/2 connection without a library that would behave."""
    key, chain = world.b.client()
    (tmp_path / "pem").write_bytes(key + chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=world.b.bundle().pem.decode())
    context.load_cert_chain(tmp_path / "pem")
    context.maximum_version = newest
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", world.port, ssl=context, server_hostname="node.venue-b.example"
    )
    writer.write(PREFACE + frame(SETTINGS))
    try:
        yield reader, writer
    finally:
        writer.close()


async def read_frame(reader) -> tuple[int, int, bytes]:
    head = await reader.readexactly(9)
    payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
    return head[3], head[4], payload


async def read_until(reader, wanted: int) -> bytes:
    """Read frames until one of a kind that is no acknowledgement; EOF and reset count as GOAWAY."""
    try:
        async with asyncio.timeout(10):
            while True:
                kind, flags, payload = await read_frame(reader)
                if kind == wanted and not flags & 1:
                    return payload
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        assert wanted == GOAWAY
        return b""


# --- sizes ------------------------------------------------------------------------------------------------------------


async def test_d1a_a_message_above_four_mebibytes_is_refused(world):
    await world.start()
    async with open_channel(world.target, world.b.client()) as channel:
        invoke = channel.unary_unary("/test.T/Who", Message.SerializeToString)
        with pytest.raises(aio.AioRpcError) as caught:
            await invoke(Message(payload=bytes(5 * 1024 * 1024)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_the_limit_of_messages_is_the_configured_one(world):
    await world.start(max_request_bytes=64 * 1024)
    async with open_channel(world.target, world.b.client()) as channel:
        await ask(channel, payload=bytes(60 * 1024))
        invoke = channel.unary_unary("/test.T/Who", Message.SerializeToString)
        with pytest.raises(aio.AioRpcError) as caught:
            await invoke(Message(payload=bytes(70 * 1024)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_d1b_a_bomb_is_refused_at_its_size_after_decompression(world):
    await world.start()
    async with open_channel(world.target, world.b.client()) as channel:
        invoke = channel.unary_unary("/test.T/Who", Message.SerializeToString)
        with pytest.raises(aio.AioRpcError) as caught:
            await invoke(Message(payload=bytes(100 * 1024 * 1024)), compression=grpc.Compression.Gzip)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


SIZES = [(7_000, True), (9_000, True), (12_000, True), (15_500, True), (16_500, False), (100_000, False)]


@pytest.mark.parametrize("size, passes", SIZES)
async def test_d1c_the_limit_of_metadata_is_sharp(world, size, passes):
    await world.start()
    async with open_channel(world.target, world.b.client()) as channel:
        await ask(channel)
        metadata = [("x-filler", "x" * size)]
        for _ in range(6 if passes else 1):
            # Fifty at a time: with limits that differ a part of them fails, and one lucky call proves nothing.
            calls = (ask(channel, metadata=metadata) for _ in range(50))
            found = await asyncio.gather(*calls, return_exceptions=True)
            assert [isinstance(one, TrustnodeError) for one in found] == [not passes] * 50


def test_metadata_that_slipped_through_the_transport_is_refused_on_the_call():
    class Slipped:
        def invocation_metadata(self):
            return (("x", "y" * 20_000),)

    with pytest.raises(TrustnodeError) as caught:
        _bounded_metadata(Slipped())
    assert caught.value.reason == "FIELD_TOO_LONG"


async def test_d2c_few_bytes_are_on_the_way_to_a_reader_that_has_stopped(world):
    await world.start()
    async with open_channel(world.target, world.b.client()) as channel:
        async with call_stream(channel, "/test.T/Flood", Message(payload=b"p"), None, timeout_s=30) as stream:
            await anext(aiter(stream))
            before = -1
            while before != world.written:
                before = world.written
                await asyncio.sleep(0.3)
            assert 0 < world.written < 4 * 1024 * 1024
        await asyncio.sleep(0)


# --- connections ------------------------------------------------------------------------------------------------------


async def test_d3c_a_connection_carries_a_bounded_number_of_calls_at_a_time(world):
    await world.start(connection_streams=3)
    async with open_channel(world.target, world.b.client()) as channel:
        await ask(channel)
        streams = [call_stream(channel, "/test.T/Wait", Message(payload=b"p"), None, timeout_s=30) for _ in range(3)]
        for stream in streams:
            await anext(aiter(stream))
        assert await reason(ask(channel, timeout_s=0.5)) == "DEADLINE"
        streams[0].cancel()
        await ask(channel)


async def test_d2a_a_socket_that_says_nothing_is_closed(world):
    await world.start(handshake_s=1)
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


async def test_d3c_connections_above_the_guard_are_closed(world):
    await world.start(connections=2)
    silent = [await asyncio.open_connection("127.0.0.1", world.port) for _ in range(6)]
    closed = asyncio.as_completed([reader.read() for reader, _ in silent])
    async with asyncio.timeout(4):
        for _ in range(3):
            with contextlib.suppress(ConnectionError):
                assert await next(closed) == b""
    for _, writer in silent:
        writer.close()


async def left_ready(channel) -> None:
    """Return when the server has taken leave of the connection."""
    async with asyncio.timeout(10):
        while (state := channel.get_state()) is grpc.ChannelConnectivity.READY:
            await channel.wait_for_state_change(state)


async def test_a_connection_without_calls_is_closed(world):
    await world.start(connection_idle_s=1)
    async with open_channel(world.target, world.b.client()) as channel:
        await ask(channel)
        await left_ready(channel)


async def test_an_old_connection_is_replaced_and_its_streams_go_on(world):
    await world.start(connection_age_s=1)
    async with open_channel(world.target, world.b.client()) as channel:
        conversation = call_both(channel, "/test.T/Echo", Message.FromString, timeout_s=30)
        answers = aiter(conversation)
        for _ in range(2):
            await conversation.send(Message(payload=b"p"))
            assert (await anext(answers)).payload == b"p"
            await left_ready(channel)
        conversation.cancel()
        await ask(channel)


async def test_the_grace_of_an_old_connection_is_the_backstop_for_a_stream_that_nobody_ended(world):
    await world.start(connection_age_s=1, max_stream_s=1)
    world.server._network._limits = Limits()  # as if the cap of the dispatcher had failed
    async with open_channel(world.target, world.b.client()) as channel:
        answers = aiter(call_stream(channel, "/test.T/Wait", Message(payload=b"p"), None, timeout_s=30))
        await anext(answers)
        assert await reason(anext(answers)) == "PEER_UNREACHABLE"


async def test_d3b_pings_on_a_connection_without_calls_close_it(world, tmp_path):
    await world.start()
    async with raw(world, tmp_path) as (reader, writer):
        for _ in range(6):
            writer.write(frame(PING, payload=bytes(8)))
        await read_until(reader, GOAWAY)


async def test_a_silent_connection_with_a_call_is_asked_and_then_closed(world, tmp_path):
    await world.start(keepalive_s=1)
    async with raw(world, tmp_path) as (reader, writer):
        writer.write(frame(SETTINGS, 1) + headers(b"/test.T/Wait") + frame(0, 1, 1, bytes(5)))
        for _ in range(3):  # the first may measure the bandwidth; those without data in between ask for life
            writer.write(frame(PING, 1, payload=await read_until(reader, PING)))
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await reader.read()


async def test_i9_tls_1_2_passes_the_handshake_and_is_refused_on_the_call(world, tmp_path):
    await world.start()
    with capture_logs() as lines:
        async with raw(world, tmp_path, newest=ssl.TLSVersion.TLSv1_2) as (reader, writer):
            writer.write(frame(SETTINGS, 1) + headers(b"/test.T/Who"))
            async with asyncio.timeout(5):
                while (await read_frame(reader))[0] != 1:
                    pass
    assert [(line["reason"], line["message"]) for line in lines] == [
        ("IDENTITY_UNKNOWN", "the connection is older than TLS 1.3")
    ]


async def test_a_second_process_cannot_share_the_port(world):
    await world.start()
    other = Server(
        methods=world.methods(), trust=world.trust, credential=world.b.node(), limits=Limits(), now=world.clock.now
    )
    assert await reason(other.listen(f"127.0.0.1:{world.port}")) == "CONFIG_INVALID"


def test_no_option_stands_twice():
    names = [name for name, _ in port_options(Limits())]
    assert len(set(names)) == len(names)


# --- one noisy caller against the others --------------------------------------------------------------------------------


async def test_d4a_one_identity_is_limited_and_another_is_not(world):
    await world.start(identity_per_second=2, identity_burst=4)
    async with (
        open_channel(world.target, world.b.client()) as noisy,
        open_channel(world.target, world.b.client("quiet")) as quiet,
    ):
        await ask(noisy)
        await ask(noisy)
        with pytest.raises(TrustnodeError) as caught:
            await ask(noisy)
        assert (caught.value.reason, caught.value.retry_after) == ("RATE_LIMITED", 1.0)
        await ask(quiet)
        world.clock.advance(1)
        await ask(noisy)


async def test_d4b_many_identities_of_one_domain_share_its_limit(world):
    await world.start(domain_per_second=2, domain_burst=4)
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(open_channel(world.target, world.b.client(name))) for name in "abc"]
        await ask(clients[0])
        await ask(clients[1])
        assert await reason(ask(clients[2])) == "RATE_LIMITED"
        await ask(await stack.enter_async_context(open_channel(world.target, world.a.node())))


async def test_d4c_a_source_address_is_limited_before_it_is_identified_and_failures_cost_more(world, call, refusal):
    await world.start(source_per_second=1, source_burst=60)
    forged = world.a.leaf(Leaf(uris=("spiffe://venue-b.example/node/1",)))
    async with world.channel(forged) as channel:
        assert await reason(ask(channel)) == "IDENTITY_WRONG_DOMAIN"
        for _ in range(9):
            await reason(ask(channel))
        assert await reason(ask(channel)) == "RATE_LIMITED"


async def test_d4a_streams_of_one_identity_are_counted_and_given_back(world):
    await world.start(identity_streams=1)
    async with open_channel(world.target, world.b.client()) as channel:
        first = call_stream(channel, "/test.T/Wait", Message(payload=b"p"), None, timeout_s=30)
        await anext(aiter(first))
        second = call_stream(channel, "/test.T/Wait", Message(payload=b"p"), None, timeout_s=30)
        assert await reason(anext(aiter(second))) == "RATE_LIMITED"
        first.cancel()
        await asyncio.wait_for(world.ended.wait(), 5)
        third = call_stream(channel, "/test.T/Wait", Message(payload=b"p"), None, timeout_s=30)
        await anext(aiter(third))
        third.cancel()


# --- the operator's socket ----------------------------------------------------------------------------------------------


async def test_the_operator_calls_over_a_socket_that_others_cannot_open(world, tmp_path):
    await world.start()
    path = tmp_path / "run" / "admin.sock"
    await world.server.listen_local(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    async with open_local(path) as channel:
        who = json.loads((await ask(channel)).payload)
        assert (who["kind"], who["audience"], who["trust_domain"]) == ("OPERATOR", "OPERATOR", "venue-b.example")
        assert (await ask(channel, "Admin")).payload == b"admin"
        assert await reason(ask(channel, "Client")) == "ROLE_NOT_ALLOWED"
    await world.server.stop(0)
    assert not path.exists()


async def test_the_socket_of_a_killed_node_is_replaced_and_a_file_is_not(world, tmp_path):
    await world.start()
    (tmp_path / "file").write_text("data")
    assert await reason(world.server.listen_local(tmp_path / "file")) == "CONFIG_INVALID"
    assert await reason(world.server.listen_local(tmp_path / ("x" * 120))) == "CONFIG_INVALID"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "sock"))
    stale.close()
    await world.server.listen_local(tmp_path / "sock")
    async with open_local(tmp_path / "sock") as channel:
        await ask(channel)


# --- stopping and health ------------------------------------------------------------------------------------------------


async def test_a_node_that_stops_ends_its_streams_with_the_reason(world):
    await world.start()
    async with open_channel(world.target, world.b.client()) as channel:
        answers = aiter(call_stream(channel, "/test.T/Wait", Message(payload=b"p"), None, timeout_s=30))
        await anext(answers)
        stopping = asyncio.create_task(world.server.stop(0.2))
        assert await reason(anext(answers)) == "DRAINING"
        await stopping


async def test_health_is_open_to_every_certificate_and_is_watched(world):
    from grpc_health.v1 import health_pb2

    await world.start()
    request, response = health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
    check = "/grpc.health.v1.Health/Check"
    async with open_channel(world.target, world.u.node()) as channel:
        assert (await call_unary(channel, check, request(), response, timeout_s=5)).status == response.NOT_SERVING
        watch = call_stream(channel, "/grpc.health.v1.Health/Watch", request(), response.FromString, timeout_s=30)
        answers = aiter(watch)
        assert (await anext(answers)).status == response.NOT_SERVING
        world.health.set_serving(True)
        assert (await anext(answers)).status == response.SERVING
        named = request(service="trustnode.v1.PeerService")
        assert (await call_unary(channel, check, named, response, timeout_s=5)).status == response.SERVING
        assert (
            await reason(call_unary(channel, check, request(service="no.Such"), response, timeout_s=5)) == "NOT_FOUND"
        )
        unknown = call_stream(
            channel, "/grpc.health.v1.Health/Watch", request(service="no.Such"), response.FromString, timeout_s=5
        )
        assert (await anext(aiter(unknown))).status == response.SERVICE_UNKNOWN
        watch.cancel()
        unknown.cancel()
