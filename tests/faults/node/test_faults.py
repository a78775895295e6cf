"""Faults of one node while others go on: a peer that is down, a disk that is full, a home in use, a store that is old."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from federation.world import (
    BIG_ROWS,
    DATA,
    HOME,
    AgreementState,
    NegotiationState,
    World,
    product_text,
    ticket,
    until,
    write_tables,
)

from trustnode.errors import TrustnodeError
from trustnode.sdk.negotiation import request
from trustnode.testing.network import Network

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One venue with data, one that buys."""
    folder: Path = tmp_path_factory.mktemp("faults")
    write_tables(folder)
    async with Network(folder) as network:
        made = World(network, folder)
        await network.start(DATA, area="5200", subject="915200000000000001")
        await network.start(HOME)
        await network.peer(DATA, HOME)
        bureau = await made.join(DATA, "bureau", "PROVIDER")
        acme = await made.join(HOME, "acme", "CONSUMER")
        await made.publish(bureau, product_text("small", ("open",)), "small")
        await made.publish(bureau, product_text("big", ("open",), file="big", columns=("id", "filler")), "big")
        await made.found(acme, f"{DATA}/small")
        yield made
        for client in made.clients.values():
            await client.aclose()


async def refused(awaitable: Any) -> TrustnodeError:
    with pytest.raises(TrustnodeError) as caught:
        await awaitable
    return caught.value


async def outbox(world: World, domain: str, peer: str) -> int:
    return len(await world[domain].venue.store.read(lambda view: view.outbox(peer)))


async def test_what_waits_for_a_peer_that_is_down_is_delivered_once_when_it_is_back(world) -> None:
    acme = world.clients["acme"]
    await world.network.stop(DATA)
    described = await acme.product(f"{DATA}/small")
    _, id = await request(acme, described, described.offer("open"), "")
    under_way = await acme.negotiation(id)
    assert under_way.state == "REQUESTED"
    assert await outbox(world, HOME, DATA) == 1
    await world.network.start(DATA)
    await world.in_state(DATA, NegotiationState, under_way.id, "AGREED", "VERIFIED", "FINALIZED")
    agreement = await under_way.wait(30)
    await world.in_state(DATA, AgreementState, agreement.id, "PERFORMING")
    chain = await world.entries(DATA, "negotiation", under_way.id)
    assert [entry.to_state for entry in chain if entry.to_state == "REQUESTED"] == ["REQUESTED"]

    async def empty() -> bool:
        return await outbox(world, HOME, DATA) == await outbox(world, DATA, HOME) == 0

    await until(empty)


async def test_a_read_from_a_peer_that_is_down_fails_with_its_reason_and_leaves_nothing_open(world) -> None:
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/small", "open")
    await world.network.stop(DATA)
    failure = await refused(agreement.sql("select count(*) from t").to_arrow())
    assert (failure.reason, failure.retryable) == ("PEER_UNREACHABLE", True)
    chain = await world.entries(HOME, "agreement", agreement.id)
    assert chain[-1].reason_code == "PEER_UNREACHABLE"
    await world.network.start(DATA)

    async def reads() -> bool:
        return bool((await agreement.sql("select count(*) from t").to_arrow()).num_rows == 1)

    await until(reads)


async def test_p1b_a_request_that_was_answered_is_known_after_a_restart(world) -> None:
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/small", "open")
    used = ticket(acme, agreement)
    await acme.connection.home.read(used.raw, timeout_s=10)
    await world.network.stop(DATA)
    await world.network.start(DATA)
    liar = world.node_caller(HOME, DATA)
    failure = await refused(liar.read(used.raw, timeout_s=10))
    await liar.channel.aclose()
    assert failure.reason == "REPLAYED"


async def test_p5_evidence_that_ends_in_mid_stream_ends_the_stream(world) -> None:
    agreement = await world.agree(world.clients["acme"], f"{DATA}/big")
    async with agreement.reader("select * from t") as reader:
        batches = aiter(reader)
        await anext(batches)
        venue = world[DATA].venue
        forbidden, venue.store.read_only = venue.store.read_only, "a test"
        venue.halt("a test")
        with pytest.raises(TrustnodeError):
            async for _ in batches:
                pass
        assert reader.rows < BIG_ROWS
        failure = await refused(agreement.sql("select count(*) from t").to_arrow())
        venue.store.read_only = forbidden
    assert failure.reason == "READ_ONLY"


async def test_p5_a_disk_that_reached_its_reserve_delivers_nothing_and_loses_nothing(world) -> None:
    agreement = await world.agree(world.clients["acme"], f"{DATA}/small", "open")
    store = world[DATA].venue.store
    room, full = store._room, type(store._room)(store.path.parent, 1 << 62)
    size = world.size(DATA)
    store._room = full
    try:
        failure = await refused(agreement.sql("select id from t").to_arrow())
        assert failure.reason == "EVIDENCE_UNAVAILABLE"
        assert world.size(DATA) == size
    finally:
        store._room = room
    assert (await agreement.sql("select id from t").to_arrow()).num_rows == 1000


async def test_the_home_nodes_full_disk_holds_the_first_byte_back_too(world) -> None:
    agreement = await world.agree(world.clients["acme"], f"{DATA}/small", "open")
    store = world[HOME].venue.store
    room, full = store._room, type(store._room)(store.path.parent, 1 << 62)
    store._room = full
    reader = agreement.reader("select id from t")
    try:
        failure = await refused(reader.open())
        assert failure.reason == "EVIDENCE_UNAVAILABLE"
        assert reader.rows == 0
    finally:
        store._room = room
    assert (await agreement.sql("select id from t").to_arrow()).num_rows == 1000


async def test_a_second_node_on_the_same_home_is_refused_and_the_first_goes_on(world) -> None:
    second = Network(world.folder)
    failure = await refused(second.start(HOME))
    assert failure.reason == "CONFIG_INVALID"
    assert (await world.clients["acme"].search("small")) is not None


async def test_a_node_whose_store_is_older_than_its_head_record_signs_nothing(world) -> None:
    home = world.folder / HOME
    await world.network.stop(HOME)
    kept = world.folder / "old"
    shutil.copytree(home, kept)
    await world.network.start(HOME)
    await world.agree(world.clients["acme"], f"{DATA}/small", "open")
    await world[HOME].publisher.publish()
    await world.network.stop(HOME)
    now = world.folder / "now"
    home.rename(now)
    shutil.copytree(kept, home)
    for newer in now.glob("**/*.head"):
        shutil.copy(newer, home / newer.relative_to(now))
    try:
        node = await world.network.start(HOME)
        size = world.size(HOME)
        assert node.venue.read_only
        failure = await refused(world.clients["acme"].negotiate(f"{DATA}/small", offer="open"))
        assert failure.reason in ("READ_ONLY", "NOT_FOUND")
        assert (await refused(node.publisher.publish())).reason == "READ_ONLY"
        assert node.publisher.newest is None
        assert world.size(HOME) == size
    finally:
        await world.network.stop(HOME)
        shutil.rmtree(home)
        now.rename(home)
        await world.network.start(HOME)
