"""Peers that answer nonsense, too much, too slowly or never: nobody but themselves notices (docs/attacks.md, 2 and 4)."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import Any

import grpc
import msgspec
import pytest
from federation.world import DATA, FAR, HOME, AccessState, ticket, until
from grpc import aio

from trustnode.app import courier, follower
from trustnode.app.access.carrying import _header_of
from trustnode.errors import TrustnodeError
from trustnode.testing import hostile
from trustnode.testing.certificates import Leaf, Venue
from trustnode.v1 import access_pb2, document_pb2, evidence_service_pb2, peer_service_pb2
from trustnode.wire import peer as wire_peer
from trustnode.wire.convert import document_to_proto

pytestmark = pytest.mark.asyncio(loop_scope="session")
GARBAGE = b"\xff\xff\xff\xff"
MEBIBYTE = 1024 * 1024


class Script(grpc.GenericRpcHandler):
    """Answers every call with the same messages, whatever was asked."""

    def __init__(self, answers: Any, header: tuple[tuple[str, bytes], ...] = ()) -> None:
        self.answers, self.header = answers, header
        self.calls = 0

    def service(self, _details: Any) -> Any:
        return grpc.stream_stream_rpc_method_handler(self._answer)

    async def _answer(self, _requests: Any, context: Any) -> Any:
        self.calls += 1
        await context.send_initial_metadata(self.header)
        for message in self.answers() if callable(self.answers) else self.answers:
            yield message


@contextlib.asynccontextmanager
async def impostor(world: Any, of: str, behaviour: Any) -> Any:
    """A server with a venue's own certificate that behaves as told; HOME takes it for that venue's node."""
    roots = world[of].trust.roots_pem
    if isinstance(behaviour, Script):
        server = aio.server(handlers=[behaviour], options=[("grpc.max_send_message_length", -1)])
        pair = (world[of].credential.key_pem, world[of].credential.chain_pem)
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair], roots, True))
        await server.start()
    else:
        raw, port = await hostile.listen(world[of].credential, roots, behaviour)
    peers = world[HOME].venue.peers
    genuine = peers.get(of).channel.target
    peers.put(genuine._replace(addresses=(f"127.0.0.1:{port}",)))
    await follow_anew(world, of)
    try:
        yield behaviour
    finally:
        peers.put(genuine)
        await follow_anew(world, of)
        if isinstance(behaviour, Script):
            await server.stop(0)
        else:
            raw.close()


async def follow_anew(world: Any, domain: str) -> None:
    lanes = world[HOME].follower
    for key in [key for key in lanes._following if key[0] == domain]:
        lanes._following.pop(key).cancel()
    lanes._silent_since.pop(domain, None)
    await lanes.refresh()


async def others_are_well(world: Any) -> None:
    """The node runs, serves its own people, and hears its other peer."""
    home = world[HOME]
    assert not home.fatal.done()
    assert await world.clients["acme"].search("harbour")

    async def heard() -> bool:
        return bool(home.follower.age_s(DATA) < 3)

    await until(heard, seconds=5)


def feed(**fields: Any) -> bytes:
    response = peer_service_pb2.FollowFeedResponse(lane=peer_service_pb2.LANE_CONTROL, **fields)
    encoded: bytes = response.SerializeToString()
    return encoded


def many_items() -> bytes:
    response = peer_service_pb2.FollowFeedResponse(lane=peer_service_pb2.LANE_CONTROL)
    for number in range(1000):
        response.items.add(seq=number)
    return response.SerializeToString()  # type: ignore[no-any-return]


LANES = {
    "says nothing, not even SETTINGS": lambda: hostile.say_nothing,
    "answers a byte every tenth of a second": lambda: hostile.dribble,
    "answers what is no message": lambda: Script([GARBAGE]),
    "answers ten megabytes": lambda: Script([feed(nonce=bytes(10 * MEBIBYTE))]),
    "answers five megabytes of one line": lambda: Script([feed(nonce=bytes(5 * MEBIBYTE))]),
    "answers a thousand lines at once": lambda: Script([many_items()]),
    "floods with nonces nobody sent": lambda: Script(lambda: (feed(nonce=uuid.uuid4().bytes) for _ in range(10**9))),
    "floods with nothing": lambda: Script(lambda: (feed() for _ in range(10**9))),
    "ends every call at once": lambda: Script([]),
}


@pytest.mark.parametrize("how", LANES)
async def test_d5_a_peer_whose_lane_is_hostile_is_silent_and_nobody_else_is(world, how, monkeypatch) -> None:
    monkeypatch.setattr(follower, "SILENT_S", 0.6)
    monkeypatch.setattr(wire_peer, "BEGIN_S", 0.6)
    monkeypatch.setattr(follower, "NONCE_S", 0.2)
    monkeypatch.setattr(follower, "RETRY_S", 0.2)
    lanes = world[HOME].follower
    ended = how != "ends every call at once"
    async with impostor(world, FAR, LANES[how]()):

        async def silent() -> bool:
            return bool(lanes.silent_since(FAR)) or not ended

        await until(silent, seconds=8)
        await others_are_well(world)
    await until(lambda: heard_again(lanes, FAR), seconds=10)


async def heard_again(lanes: Any, domain: str) -> bool:
    return bool(lanes.age_s(domain) < 2 and not lanes.silent_since(domain))


# --- deliveries


def out_of_time() -> bytes:
    held = document_pb2.Object(kind="agreement", id="x", state="y", causes=["c"] * 3)
    held.changed_at.seconds = 2**62
    return delivered(object=held)


def delivered(**fields: Any) -> bytes:
    encoded: bytes = peer_service_pb2.DeliverDocumentResponse(**fields).SerializeToString()
    return encoded


ANSWERS = {
    "never": lambda: hostile.say_nothing,
    "a byte every tenth of a second": lambda: hostile.dribble,
    "what is no message": lambda: Script([GARBAGE]),
    "a time outside the calendar": lambda: Script([out_of_time()]),
    "half a million empty documents": lambda: Script([delivered(produced=[document_pb2.Document()] * 500_000)]),
    "nothing at all": lambda: Script([]),
}


@pytest.mark.parametrize("how", ANSWERS)
async def test_d5_a_document_for_a_hostile_peer_waits_and_one_for_another_peer_does_not(
    world, how, monkeypatch
) -> None:
    monkeypatch.setattr(courier, "CALL_S", 0.5)
    home, card = world[HOME], world.card(HOME)

    async def send(domain: str) -> None:
        def unit(tx: Any) -> int:
            tx.send(domain, card, object=f"card/{uuid.uuid4()}")
            return 0

        await home.venue.store.write(unit, event_id="", returns=int)

    async def delivered_to(domain: str) -> bool:
        return not await home.venue.store.due(domain, limit=10)

    async with impostor(world, FAR, ANSWERS[how]()) as behaviour:
        await send(FAR)
        await send(DATA)
        await until(lambda: delivered_to(DATA), seconds=10)
        if isinstance(behaviour, Script):
            await until(lambda: called(behaviour), seconds=5)
        await others_are_well(world)
        assert not await delivered_to(FAR)
    home.courier.heard(FAR)
    await until(lambda: delivered_to(FAR), seconds=40)


async def called(script: Script) -> bool:
    return script.calls > 2


# --- answers to single calls

CALLS = {
    "read": lambda peer: peer.read(b"ticket", timeout_s=0.3),
    "explain": lambda peer: peer.explain(consumer="c", agreement="a", timeout_s=0.3),
    "receipt": lambda peer: peer.receipt("a", timeout_s=0.3),
    "bundle": lambda peer: peer.bundle_part("a", timeout_s=0.3),
    "checkpoint": lambda peer: peer.add_checkpoint(b"note", timeout_s=0.3),
    "tile": lambda peer: peer.tile(0, 0, 256, timeout_s=0.3),
}
NONSENSE = {
    "never": lambda: hostile.say_nothing,
    "slow": lambda: hostile.dribble,
    "garbage": lambda: Script([GARBAGE]),
    "ten megabytes": lambda: Script([b"\x0a\x80\x80\x80\x05" + bytes(10 * MEBIBYTE)]),
    "nothing": lambda: Script([]),
}


async def refused(work: Any) -> TrustnodeError:
    with pytest.raises(TrustnodeError) as caught:
        await work
    return caught.value


@pytest.mark.parametrize("how", NONSENSE)
async def test_d5_every_answer_of_a_peer_is_bounded_in_size_and_time(world, how) -> None:
    async with impostor(world, FAR, NONSENSE[how]()):
        peer = world[HOME].venue.peers.get(FAR)
        for name, call in CALLS.items():
            async with asyncio.timeout(5):
                failure = await refused(call(peer))
            allowed = {"PEER_UNREACHABLE", "DEADLINE", "FIELD_TOO_LONG", "INTERNAL", "HASH_MISMATCH"}
            assert failure.reason in allowed, (name, failure)
        await others_are_well(world)


async def test_d5_a_part_of_a_bundle_is_given_up_at_its_longest_size(world, monkeypatch) -> None:
    monkeypatch.setattr(wire_peer, "MAX_PART_BYTES", 3 * MEBIBYTE)
    chunk = evidence_service_pb2.GetBundleResponse(chunk=bytes(MEBIBYTE)).SerializeToString()
    async with impostor(world, FAR, Script(lambda: (chunk for _ in range(10**9)))):
        failure = await refused(world[HOME].venue.peers.get(FAR).bundle_part("a", timeout_s=20))
    assert failure.reason == "FIELD_TOO_LONG"


def small(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "access": str(uuid.uuid4()), "frames": [b"x"], "stream_salt": bytes(16), "decision_seq": 1,
        "decision_link": bytes(32),
    }  # fmt: skip
    result = access_pb2.ReadResult(**(fields | changes))
    encoded: bytes = peer_service_pb2.PeerServiceReadResponse(result=result).SerializeToString()
    return encoded


HEADER = {"access": "", "stream_salt": "00" * 16, "decision_seq": 1, "decision_link": "a" * 64}


@pytest.mark.parametrize("how", ["another access", "frames that are none", "a receipt of something else", "garbage"])
async def test_d5_a_provider_that_answers_nonsense_leaves_no_access_open_at_the_home_node(world, how) -> None:
    acme = world.clients["acme"]
    under = await world.agree(acme, "gz.example/small", "open")
    asked = ticket(acme, under)
    access = str(asked.request.payload and msgspec.json.decode(asked.request.payload)["id"])
    receipt = document_to_proto(world.card(DATA))
    answer = {
        "another access": small(receipt=receipt),
        "frames that are none": small(access=access, receipt=receipt),
        "a receipt of something else": small(access=access, frames=[], receipt=receipt),
        "garbage": GARBAGE,
    }[how]
    async with impostor(world, DATA, Script([answer])):
        failure = await refused(acme.connection.home.read(asked.raw, timeout_s=10))
    assert failure.reason in {"VERIFICATION_FAILED", "PEER_UNREACHABLE"}
    assert (await world.in_state(HOME, AccessState, access, "ABORTED", "DENIED")).id == access


@pytest.mark.parametrize(
    "header", [b"", b"{", msgspec.json.encode(HEADER), msgspec.json.encode(HEADER | {"access": str(uuid.uuid4())})]
)
async def test_d5_a_stream_whose_header_is_nonsense_leaves_no_access_open_at_the_home_node(world, header) -> None:
    acme = world.clients["acme"]
    under = await world.agree(acme, "gz.example/small", "open")
    asked = ticket(acme, under)
    access = msgspec.json.decode(asked.request.payload)["id"]
    async with (
        impostor(world, DATA, Script([b"x"], (("trustnode-access-bin", header),))),
        acme.connection.home.do_get(asked.raw, timeout_s=10) as stream,
    ):
        failure = await refused(drained(stream))
    assert failure.reason == "VERIFICATION_FAILED"
    assert (await world.in_state(HOME, AccessState, access, "ABORTED", "DENIED")).id == access


async def drained(stream: Any) -> None:
    async for _ in stream:
        pass


# --- what hostile callers cost the log


async def test_d7_three_hundred_refused_identities_are_one_entry_and_few_steps(world) -> None:
    far = world[FAR]  # not where other tests look for the first entry of a minute
    authority = Venue(FAR, far.venue.clock.now(), far.keys.authority.intermediate, far.keys.authority.intermediate)
    forged = authority.leaf(Leaf(uris=(f"spiffe://{HOME}/node/x",), dns=(f"node.{HOME}",)))
    size, steps = world.size(FAR), []
    genuine = far.venue.store.write

    async def counted(*arguments: Any, **more: Any) -> Any:
        steps.append(1)
        return await genuine(*arguments, **more)

    caller = world.caller(FAR, forged)
    far.venue.store.write = counted
    try:
        failures = []
        for _ in range(10):
            failures += await asyncio.gather(*(refused(caller.receipt("x", timeout_s=10)) for _ in range(30)))
    finally:
        del far.venue.store.write
        await caller.channel.aclose()
    assert {failure.reason for failure in failures} == {"IDENTITY_WRONG_DOMAIN"}
    assert len(steps) < 60, "the writer is not kept busy by strangers"
    entries = [e for e in await world.log_since(FAR, size) if e.reason_code == "IDENTITY_WRONG_DOMAIN"]
    assert len(entries) <= 2
    assert len(far.strangers._waiting) <= 1


async def test_d7_agreements_that_a_peer_makes_up_are_one_entry(world) -> None:
    acme = world.clients["acme"]
    under = await world.agree(acme, "gz.example/small", "open")
    liar, size = world.node_caller(HOME, DATA), world.size(DATA)
    for _ in range(40):
        made_up = ticket(acme, under, agreement=f"urn:uuid:{uuid.uuid4()}")
        assert (await refused(liar.read(made_up.raw, timeout_s=10))).reason == "NOT_FOUND"
    await liar.channel.aclose()
    entries = [e for e in await world.log_since(DATA, size) if e.type == "access.deny"]
    assert len(entries) <= 2


async def test_d4a_a_follower_that_floods_nonces_is_ended_and_the_others_are_followed(world) -> None:
    liar = world.node_caller(HOME, DATA)
    call = await liar.follow_feed("CONTROL", 0, uuid.uuid4().bytes, timeout_s=30)
    async with call:

        async def flood() -> None:
            with contextlib.suppress(TrustnodeError):
                for _ in range(2000):
                    await call.ask(uuid.uuid4().bytes)

        flooding = asyncio.ensure_future(flood())
        failure = await refused(drained(call))
        await flooding
    await liar.channel.aclose()
    # A caller that still writes when its call has ended may hear of that from its own gRPC first.
    assert failure.reason == "RATE_LIMITED" or failure.message == "Internal error from Core"
    await others_are_well(world)


async def test_a_header_in_the_name_of_another_access_is_refused() -> None:
    mine, other = str(uuid.uuid4()), str(uuid.uuid4())
    assert _header_of(msgspec.json.encode(HEADER | {"access": mine}), mine).access == mine
    with pytest.raises(TrustnodeError, match="of another access"):
        _header_of(msgspec.json.encode(HEADER | {"access": other}), mine)
