"""Channels to one venue: replaced while calls run, closed when the venue goes."""

import asyncio
import json

import pytest

from trustnode.errors import TrustnodeError
from trustnode.testing.certificates import Leaf
from trustnode.v1 import document_pb2
from trustnode.wire.call import call_both, call_stream, call_unary
from trustnode.wire.channel import Target, VenueChannel, open_channel
from trustnode.wire.peer import Peers

Message = document_pb2.Document


@pytest.fixture
async def peers(world):
    await world.start()
    peers = Peers(world.a.node("1"))
    peers.put(world.target)
    yield peers
    await peers.aclose()


async def who(channel) -> dict[str, str]:
    answer = await call_unary(channel, "/test.T/Who", Message(payload=b"p"), Message, timeout_s=5)
    return json.loads(answer.payload)


async def reason(awaitable) -> str:
    with pytest.raises(TrustnodeError) as caught:
        await awaitable
    return caught.value.reason


async def test_a_new_certificate_is_shown_on_new_calls_and_running_ones_go_on(world, peers):
    peer = peers.get("venue-b.example")
    conversation = call_both(peer.channel.get(), "/test.T/Echo", Message.FromString, timeout_s=30)
    answers = aiter(conversation)
    await conversation.send(Message(payload=b"before"))
    assert (await anext(answers)).payload == b"before"
    peers.replace_credential(world.a.node("2"))
    assert (await who(peer.channel.get()))["name"] == "2"
    await conversation.send(Message(payload=b"after"))
    assert (await anext(answers)).payload == b"after"
    conversation.cancel()


async def test_the_same_target_and_certificate_keep_the_connection(world, peers):
    peer = peers.get("venue-b.example")
    channel = peer.channel.get()
    assert peers.put(world.target) is peer
    assert peer.channel.get() is channel


async def test_a_card_with_other_roots_makes_another_connection(world, peers):
    peer = peers.put(world.target._replace(roots_pem=world.a.bundle().pem))
    assert await reason(who(peer.channel.get())) == "PEER_UNREACHABLE"
    peers.put(world.target)
    assert (await who(peer.channel.get()))["kind"] == "PEER"


async def test_the_next_address_is_tried_after_one_that_does_not_answer(world, peers):
    peer = peers.put(world.target._replace(addresses=("127.0.0.1:1", *world.target.addresses)))
    assert await reason(who(peer.channel.get())) == "PEER_UNREACHABLE"
    assert await reason(peer.read(b"ticket", timeout_s=5)) == "PEER_UNREACHABLE"
    assert await reason(peer.read(b"ticket", timeout_s=5)) == "VERSION_UNSUPPORTED"


@pytest.mark.parametrize("replaced", [None, "just now", "before"])
async def test_a_venue_that_was_removed_has_no_channel_and_its_calls_end(world, peers, replaced):
    peer = peers.get("venue-b.example")
    answers = aiter(call_stream(peer.channel.get(), "/test.T/Wait", Message(payload=b"p"), None, timeout_s=30))
    await anext(answers)
    if replaced:
        peers.replace_credential(world.a.node("2"))
    if replaced == "before":
        await who(peer.channel.get())
    await peers.remove("venue-b.example")
    await asyncio.wait_for(world.ended.wait(), 5)
    assert await reason(anext(answers)) in {"CANCELLED", "PEER_UNREACHABLE"}
    with pytest.raises(TrustnodeError) as caught:
        peers.get("venue-b.example")
    assert caught.value.reason == "PEER_UNREACHABLE"


async def test_a_venue_without_valid_roots_or_addresses_cannot_be_called(world):
    await world.start()
    for target in (world.target._replace(roots_pem=b""), Target("venue-b.example", (), world.b.bundle().pem)):
        with pytest.raises(TrustnodeError) as caught:
            VenueChannel(target, world.a.node()).get()
        assert caught.value.reason == "PEER_UNREACHABLE"


async def test_the_proxy_of_the_environment_is_not_used(world, monkeypatch):
    await world.start()
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with open_channel(world.target, world.a.node()) as channel:
        assert (await who(channel))["kind"] == "PEER"


async def test_a_server_without_the_nodes_dns_name_is_refused(world):
    await world.start()
    world.server.replace_credential(world.b.leaf(Leaf(uris=("spiffe://venue-b.example/node/1",), dns=("localhost",))))
    async with open_channel(world.target, world.a.node()) as channel:
        assert await reason(who(channel)) == "PEER_UNREACHABLE"
