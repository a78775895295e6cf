"""One network for the whole folder: starting and peering four nodes costs more than most tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from federation.world import BIG_ROWS, DATA, FAR, HOME, NATION, World, product_text, write_tables

from trustnode.testing.network import Network, until

SHARED: list[World] = []
"""The network of the folder, once it runs."""


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """gz holds data, zj buys, fin knows only zj, a national venue stands above; two buyers and one provider."""
    folder: Path = tmp_path_factory.mktemp("federation")
    write_tables(folder)
    async with Network(folder) as network:
        made = World(network, folder)
        await network.start(DATA, area="5200", subject="915200000000000001")
        await network.start(HOME)
        await network.start(FAR, level="INDUSTRY", area="3100")
        await network.start(NATION, level="NATIONAL", area="1100")
        await network.peer(DATA, HOME)
        await network.peer(FAR, HOME)
        await network.peer(DATA, NATION, relation="PARENT")
        await made.join(DATA, "bureau", "PROVIDER", "CONSUMER")
        await made.join(DATA, "local", "CONSUMER")
        await made.join(HOME, "acme", "CONSUMER")
        await made.join(HOME, "other", "CONSUMER")
        await made.join(FAR, "far", "CONSUMER")
        bureau = made.clients["bureau"]
        offers = ("open", "asked", "few", "rows")
        await made.publish(bureau, product_text("small", offers), "small")
        await made.publish(bureau, product_text("big", ("open",), file="big", columns=("id", "filler")), "big")
        await made.publish(bureau, product_text("single", ("one",), file="big", columns=("id", "filler")), "single")
        assert BIG_ROWS > 200_000
        SHARED.append(made)
        yield made
        SHARED.clear()
        for client in made.clients.values():
            await client.aclose()


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def heard(request: pytest.FixtureRequest) -> None:
    """The shared network stands still while files run that do not use it: its peers are heard again before it is used."""
    if SHARED and "world" in request.fixturenames and request.getfixturevalue("world") is SHARED[0]:
        await until(lambda: _all_heard(SHARED[0]))


async def _all_heard(made: World) -> bool:
    """Whether no running node takes a running peer for silent."""
    nodes = made.network.nodes
    return all(
        node.follower.age_s(domain) <= node.config.peers.max_age_s
        for node in nodes.values()
        for domain in node.follower.followed()
        if domain in nodes
    )
