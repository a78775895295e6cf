"""Floods and slowness from one caller, frame by frame, and what the others notice of it: nothing (docs/attacks.md, 4)."""

import asyncio
import contextlib
import ssl
import zlib
from pathlib import Path

import pytest
from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame, RstStreamFrame, SettingsFrame
from node.rpc.test_transport import ask, reason

from trustnode.rpc import authentication
from trustnode.testing import hostile
from trustnode.testing.certificates import Leaf
from trustnode.v1 import document_pb2
from trustnode.wire.call import call_both, call_stream
from trustnode.wire.channel import open_channel

Message = document_pb2.Document
WHO, SLOW, WAIT, ECHO = "/test.T/Who", "/test.T/Slow", "/test.T/Wait", "/test.T/Echo"
MEBIBYTE = 1024 * 1024
RESOURCE_EXHAUSTED = "8"
REFUSED_STREAM = 7


@contextlib.asynccontextmanager
async def healthy(world, count: int = 40):
    """A client that goes on calling while the block runs, on its own connection; every call must succeed."""
    async with open_channel(world.target, world.b.client("healthy")) as channel:
        await ask(channel)

        async def call_on() -> None:
            for _ in range(count):
                await ask(channel, timeout_s=10)

        calling = asyncio.create_task(call_on())
        yield
        await calling
    # A newcomer is let in too.
    async with open_channel(world.target, world.b.client("newcomer")) as channel:
        await ask(channel, timeout_s=10)


def peak_mib() -> float:
    """Highest resident memory since ``forget_peak``."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def forget_peak() -> float:
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return peak_mib()


def raw(world, **more):
    return hostile.connect(world.target, world.b.client("hostile"), **more)


# --- sizes ------------------------------------------------------------------------------------------------------------


async def test_d1a_a_message_that_announces_two_gibibytes_is_refused_at_its_length(world):
    await world.start()
    async with raw(world) as connection:
        before = forget_peak()
        connection.send(connection.headers(1, WHO), DataFrame(1, b"\x00\x7f\xff\xff\xff" + bytes(16000)))
        assert (await connection.trailers(1))["grpc-status"] == RESOURCE_EXHAUSTED
        assert peak_mib() - before < 64


@pytest.mark.parametrize("coding, form", [("gzip", 31), ("deflate", 15)])
async def test_d1b_three_hundred_mebibytes_of_zeros_are_refused_without_being_stored(world, coding, form):
    await world.start()
    packer = zlib.compressobj(1, zlib.DEFLATED, form)
    zeros = bytes(MEBIBYTE)
    bomb = b"".join([packer.compress(zeros) for _ in range(300)] + [packer.flush()])
    async with raw(world) as connection:
        before = forget_peak()
        connection.send(connection.headers(1, WHO, [("grpc-encoding", coding)]))
        with contextlib.suppress(ConnectionError):
            await connection.upload(1, b"\x01" + len(bomb).to_bytes(4, "big") + bomb)
        assert (await connection.trailers(1))["grpc-status"] == RESOURCE_EXHAUSTED
        assert peak_mib() - before < 64


async def test_d1i_metadata_before_settings_are_acknowledged_are_refused_before_the_caller_is_heard(world, monkeypatch):
    heard = []

    async def who(*arguments):
        heard.append(arguments)

    monkeypatch.setattr(world, "who", who)
    await world.start()
    async with raw(world, settled=False) as connection:
        more = [(f"x-{number}", "x" * 16000) for number in range(640)]
        connection.send(*connection.large_headers(1, WHO, more))
        connection.send(connection.message(1, Message(payload=b"p").SerializeToString()))
        assert (await connection.trailers(1))["grpc-status"] != "0"
    assert not heard


async def test_d1h_small_messages_do_not_add_up_to_a_large_call(world):
    await world.start()
    async with open_channel(world.target, world.b.client()) as channel:
        conversation = call_both(channel, ECHO, Message.FromString, timeout_s=30)
        answers = aiter(conversation)
        for _ in range(4):
            await conversation.send(Message(payload=bytes(200 * 1024)))
            assert (await anext(answers)).payload
        for _ in range(2):
            await conversation.send(Message(payload=bytes(200 * 1024)))
        assert await reason(drained(answers)) == "FIELD_TOO_LONG"
        await ask(channel)


async def drained(answers) -> None:
    async for _ in answers:
        pass


async def test_d1h_a_call_that_brings_messages_faster_than_anybody_needs_is_ended(world):
    await world.start()
    async with open_channel(world.target, world.b.client()) as channel:
        conversation = call_both(channel, ECHO, Message.FromString, timeout_s=30)

        async def send() -> None:
            for _ in range(250):
                await conversation.send(Message(payload=b"p"))

        sending = asyncio.ensure_future(send())
        assert await reason(drained(aiter(conversation))) == "RATE_LIMITED"
        await asyncio.wait([sending])
        sending.exception()
        await ask(channel)


# --- slowness ---------------------------------------------------------------------------------------------------------


def client_hello(world) -> bytes:
    """The first bytes of a handshake that nobody will finish."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = hostile.client_tls(world.target, None)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.wrap_bio(incoming, outgoing, server_hostname="node.venue-b.example").do_handshake()
    return outgoing.read()


async def test_d2a_a_hundred_silent_sockets_and_half_handshakes_are_closed(world):
    await world.start(handshake_s=1)
    hello = client_hello(world)
    opened = []
    for number in range(150):
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write((b"", hello[: len(hello) // 2], hello)[number % 3])
        opened.append((reader, writer))
    async with healthy(world), asyncio.timeout(10):
        await asyncio.gather(*(closed(reader) for reader, _ in opened))
    for _, writer in opened:
        writer.close()


async def closed(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while await reader.read(65536):
            pass


async def test_d2e_a_burst_of_unfinished_handshakes_while_certificates_change_leaves_the_process_alive(world):
    await world.start()
    hello = client_hello(world)

    async def begin() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", world.port)
        opened.append(writer)
        writer.write(hello)

    async def rotate() -> None:
        for number in range(10):
            world.server.replace_credential(world.b.node(str(number)))
            await asyncio.sleep(0.02)

    async with healthy(world):
        rotating = asyncio.create_task(rotate())
        for _ in range(2):
            opened: list[asyncio.StreamWriter] = []
            await asyncio.gather(*(begin() for _ in range(300)))
            for writer in opened:
                writer.close()
        await rotating


async def test_d2b_headers_that_come_byte_by_byte_are_ended_with_their_connection(world):
    await world.start(connection_idle_s=1)
    async with raw(world) as connection:
        frame = connection.headers(1, WHO).serialize()

        async def dribble() -> None:
            with contextlib.suppress(ConnectionError):
                for byte in frame:
                    connection.writer.write(bytes([byte]))
                    await connection.flush()
                    await asyncio.sleep(0.2)

        dribbling = asyncio.create_task(dribble())
        async with asyncio.timeout(8):
            await connection.closed()
        dribbling.cancel()


async def test_d2b_a_message_that_comes_byte_by_byte_is_ended_at_its_time(world):
    await world.start(first_message_s=1)
    async with raw(world) as connection:
        connection.send(connection.headers(1, WHO))

        async def dribble() -> None:
            with contextlib.suppress(ConnectionError):
                for byte in b"\x00\x00\x00\x01\x00" + bytes(100):
                    connection.send(DataFrame(1, bytes([byte])))
                    await connection.flush()
                    await asyncio.sleep(0.1)

        dribbling = asyncio.create_task(dribble())
        async with asyncio.timeout(8):
            trailers = await connection.trailers(1)
        dribbling.cancel()
        assert (trailers["grpc-status"], "in time" in trailers["grpc-message"]) == ("4", True)


async def test_d2c_a_reader_that_stopped_is_left_at_the_longest_time_of_a_stream(world):
    await world.start(max_stream_s=1)
    async with (
        healthy(world),
        open_channel(world.target, world.b.client()) as channel,
        call_stream(channel, "/test.T/Flood", Message(payload=b"p"), None, timeout_s=30) as stream,
    ):
        await anext(aiter(stream))
        async with asyncio.timeout(8):
            while any(one.method_name.endswith("Flood") for one in world.server._network._running):
                await asyncio.sleep(0.05)
        assert world.written < 4 * MEBIBYTE


# --- floods of frames -------------------------------------------------------------------------------------------------


async def reading(connection) -> None:
    with contextlib.suppress(ConnectionError):
        await connection.closed()


async def test_d3a_calls_taken_back_at_once_harm_nobody_else(world):
    await world.start()
    most = 0
    async with healthy(world), raw(world) as connection:
        answers = asyncio.create_task(reading(connection))
        for batch in range(12):
            for number in range(500):
                connection.send(*hostile.reset(connection, 1 + 2 * (batch * 500 + number), WAIT))
            with contextlib.suppress(ConnectionError):
                await connection.flush()
            for _ in range(20):
                most = max(most, len(world.server._network._running))
                await asyncio.sleep(0)
        answers.cancel()
    assert 0 < most <= world.server._limits.connection_streams + 2


@pytest.mark.parametrize("kind", ["PING", "SETTINGS", "empty DATA"])
async def test_d3b_a_flood_of_frames_that_say_nothing_harms_nobody_else(world, kind):
    await world.start()
    async with healthy(world), raw(world) as connection:
        connection.send(connection.headers(1, WAIT), connection.message(1, b"", end=False))
        frame = {"PING": hostile.ping(), "SETTINGS": SettingsFrame(0), "empty DATA": DataFrame(1)}[kind]
        answers = asyncio.create_task(reading(connection))
        before = forget_peak()
        for _ in range(100):
            connection.send(*[frame] * 200)
            with contextlib.suppress(ConnectionError):
                await connection.flush()
            await asyncio.sleep(0)
        answers.cancel()
        assert peak_mib() - before < 64


async def test_d3b_headers_without_end_are_bounded(world):
    await world.start()
    async with healthy(world), raw(world) as connection:
        before = forget_peak()
        connection.send(HeadersFrame(1, connection.block(WHO)))
        filler = ContinuationFrame(1, b"\x00\x01x\x7f\x80\x7f" + bytes(255) + b"\x00" * 16000)
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                connection.send(filler)
                await connection.flush()
        assert peak_mib() - before < 64


async def test_d3c_calls_above_the_number_of_a_connection_are_refused_and_others_are_not(world):
    await world.start(connection_streams=8)
    async with healthy(world), raw(world) as connection:
        for number in range(200):
            connection.send(connection.headers(1 + 2 * number, WAIT), connection.message(1 + 2 * number, b""))
        await connection.flush()
        refused = 0
        async with asyncio.timeout(10):
            while refused < 192:
                frame = await connection.frame()
                refused += isinstance(frame, RstStreamFrame) and frame.error_code == REFUSED_STREAM


# --- one against the others -------------------------------------------------------------------------------------------


OPEN = [
    ("identity_calls", SLOW, "calls"),
    ("identity_streams", WAIT, "streams"),
    ("domain_calls", SLOW, "domain calls"),
    ("domain_streams", WAIT, "domain streams"),
]


@pytest.mark.parametrize("limit, method, whose", OPEN)
async def test_d4a_a_noisy_peer_fills_its_own_places_and_ten_others_are_served(world, limit, method, whose):
    await world.start(**{limit: 3})
    async with contextlib.AsyncExitStack() as stack:

        async def opened(credential):
            return await stack.enter_async_context(open_channel(world.target, credential))

        def hold(channel):
            return asyncio.ensure_future(
                drained(aiter(call_stream(channel, method, Message(payload=b"p"), None, timeout_s=30)))
            )

        names = ["noisy"] * 3 if limit.startswith("identity") else ["n1", "n2", "n3"]
        held = [hold(await opened(world.b.client(name))) for name in names]
        while len(world.server._network._running) < 3:
            await asyncio.sleep(0.01)
        one_more = call_stream(await opened(world.b.client(names[0])), method, Message(payload=b"p"), None, timeout_s=5)
        with pytest.raises(Exception, match="open already") as caught:
            await drained(aiter(one_more))
        assert caught.value.metadata["limit"] == whose
        others = [await opened(world.a.node(str(number))) for number in range(10)]
        await asyncio.gather(*(ask(channel) for channel in others))
        for task in held:
            task.cancel()


async def test_d4b_thirty_identities_of_one_domain_get_no_more_than_the_domain(world):
    await world.start(domain_per_second=1, domain_burst=40)
    answered = 0
    for number in range(30):
        async with open_channel(world.target, world.b.client(f"n{number}")) as channel:
            with contextlib.suppress(Exception):
                await ask(channel)
                answered += 1
    assert answered == 20, "a call costs two tokens"
    async with open_channel(world.target, world.a.node()) as channel:
        await ask(channel)


async def verifications(world, monkeypatch, attack) -> int:
    """How often the expensive check ran during an attack."""
    done = []
    genuine = authentication.reverify

    def counted(*arguments):
        done.append(1)
        return genuine(*arguments)

    monkeypatch.setattr(authentication, "reverify", counted)
    await attack()
    return len(done)


async def test_d4c_an_address_that_only_fails_is_refused_before_anything_is_verified(world, monkeypatch):
    await world.start(source_per_second=1, source_burst=500)

    async def attack() -> None:
        for number in range(25):
            forged = world.a.leaf(Leaf(uris=(f"spiffe://venue-b.example/node/{number}",)))
            async with world.channel(forged) as channel:
                found = await reason(ask(channel))
            assert found == ("IDENTITY_WRONG_DOMAIN" if number < 10 else "RATE_LIMITED")

    assert await verifications(world, monkeypatch, attack) == 10


async def test_d6_a_failed_identity_in_a_loop_is_verified_once(world, monkeypatch):
    await world.start()
    forged = world.a.leaf(Leaf(uris=("spiffe://venue-b.example/node/1",)))

    async def attack() -> None:
        async with world.channel(forged) as channel:
            for _ in range(60):
                assert await reason(ask(channel)) == "IDENTITY_WRONG_DOMAIN"

    assert await verifications(world, monkeypatch, attack) == 1
