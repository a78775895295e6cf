"""kill -9 of either node, in the middle of a negotiation or of a stream: after the restart both sides agree.

The nodes are processes of their own, as an operator starts them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from federation.world import (
    BIG_ROWS,
    DATA,
    HOME,
    AccessState,
    AgreementState,
    NegotiationState,
    World,
    product_text,
    write_tables,
)

from trustnode import aio
from trustnode.app.quota import PORTIONS
from trustnode.core.access import Receipt
from trustnode.core.contract import GrantState
from trustnode.core.document import decode
from trustnode.errors import TrustnodeError
from trustnode.sdk.negotiation import request
from trustnode.store.writer import Store
from trustnode.testing.network import Network

pytestmark = pytest.mark.asyncio(loop_scope="module")
PRODUCT, BIG = f"{DATA}/small", f"{DATA}/big"
WAIT_S = 30.0


class Processes:
    """Nodes as processes, on homes that were set up before."""

    def __init__(self, folder: Path, profile: Path) -> None:
        self.folder = folder
        self.client = aio.connect(profile)
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, domain: str) -> None:
        """Start a node and wait until it says that it serves."""
        command = [sys.executable, "-m", "trustnode.cli", "start", "--home", str(self.folder / domain), "--json"]
        settings = {"TRUSTNODE_DISK_RESERVE_MB": "0", "TRUSTNODE_LOG_REQUESTS": "false", "TRUSTNODE_NODE_DRAIN_S": "0"}
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env={**os.environ, **settings}
        )
        self._running[domain] = process
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), WAIT_S)
        assert domain.encode() in line, f"{domain} did not start: {line!r}"

    async def kill(self, domain: str) -> None:
        """As if the machine's memory ran out: no handler runs, nothing is flushed."""
        process = self._running.pop(domain)
        process.kill()
        await process.wait()

    async def stop(self) -> None:
        """Stop every node, as an operator does."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            await asyncio.wait_for(process.wait(), WAIT_S)
        self._running.clear()

    async def restart(self, domain: str) -> None:
        await self.kill(domain)
        await self.start(domain)

    async def in_state(self, domain: str, kind: str, id: str, *states: str) -> str:
        """Wait until the operator of a node sees an object in one of some states."""
        async with asyncio.timeout(WAIT_S), aio.operator(self.folder / domain) as operator:
            while True:
                with contextlib.suppress(TrustnodeError):
                    found = (await operator.get(kind, id)).object.state
                    if found in states:
                        return found
                await asyncio.sleep(0.02)

    async def ask(self) -> Any:
        """Hand in a request for the offer under a mandate; the negotiation, as the home node has stored it."""
        described = await self.client.product(PRODUCT)
        _, id = await request(self.client, described, described.offer("open"), "")
        return id

    async def conclude(self, negotiation: str) -> Any:
        """Go on until the agreement is in force, over every break."""
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    found = await (await self.client.negotiation(negotiation)).advance(WAIT_S)
                except TrustnodeError as broken:
                    if not broken.retryable:
                        raise
                else:
                    if found is not None:
                        return found
                await asyncio.sleep(0.1)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Processes]:
    """One venue with data, one that buys; set up in this process, then run as two others."""
    folder: Path = tmp_path_factory.mktemp("kills")
    write_tables(folder)
    async with Network(folder) as network:
        made = World(network, folder)
        await network.start(DATA, area="5200", subject="915200000000000001")
        await network.start(HOME)
        await network.peer(DATA, HOME)
        bureau = await made.join(DATA, "bureau", "PROVIDER")
        acme = await made.join(HOME, "acme", "CONSUMER")
        await made.publish(bureau, product_text("small", ("open",)), "small")
        await made.publish(bureau, product_text("big", ("much",), file="big", columns=("id", "filler")), "big")
        await made.found(acme, PRODUCT)
        await made.found(acme, BIG)
        for client in made.clients.values():
            await client.aclose()
    processes = Processes(folder, acme.profile.folder)
    await processes.start(DATA)
    await processes.start(HOME)
    yield processes
    await processes.client.aclose()
    await processes.stop()


async def check_in_force(nodes: Processes, negotiation: str, agreement: str) -> None:
    for domain in (HOME, DATA):
        await nodes.in_state(domain, "negotiation", negotiation, "FINALIZED")
        await nodes.in_state(domain, "agreement", agreement, "PERFORMING")


async def test_a_home_node_killed_after_its_answer_has_lost_nothing_of_it(nodes) -> None:
    negotiation = await nodes.ask()
    await nodes.restart(HOME)
    agreement = await nodes.conclude(negotiation)
    await check_in_force(nodes, negotiation, agreement.id)


async def test_a_provider_node_killed_before_it_hears_answers_after_its_restart(nodes) -> None:
    await nodes.kill(DATA)
    negotiation = await nodes.ask()
    await nodes.start(DATA)
    agreement = await nodes.conclude(negotiation)
    await check_in_force(nodes, negotiation, agreement.id)


async def test_a_provider_node_killed_between_its_yes_and_the_consumers_concludes(nodes) -> None:
    negotiation = await nodes.ask()
    await nodes.in_state(HOME, "negotiation", negotiation, "AGREED")
    await nodes.kill(DATA)
    concluding = asyncio.ensure_future(nodes.conclude(negotiation))
    await nodes.in_state(HOME, "negotiation", negotiation, "VERIFIED")
    await nodes.start(DATA)
    agreement = await concluding
    await check_in_force(nodes, negotiation, agreement.id)


async def test_a_home_node_killed_when_the_consumer_has_signed_hears_that_it_is_in_force(nodes) -> None:
    negotiation = await nodes.ask()
    await nodes.in_state(HOME, "negotiation", negotiation, "AGREED")
    with contextlib.suppress(TrustnodeError):
        await (await nodes.client.negotiation(negotiation)).advance(0)
    await nodes.restart(HOME)
    agreement = await nodes.conclude(negotiation)
    await check_in_force(nodes, negotiation, agreement.id)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_either_node_killed_at_any_moment_of_a_negotiation_it_concludes(nodes, seed) -> None:
    chance = random.Random(seed)
    negotiation = await nodes.ask()
    concluding = asyncio.ensure_future(nodes.conclude(negotiation))
    await asyncio.sleep(chance.uniform(0, 0.06))
    await nodes.restart(chance.choice((HOME, DATA)))
    agreement = await concluding
    await check_in_force(nodes, negotiation, agreement.id)


@pytest.mark.parametrize("killed", [DATA, HOME])
async def test_a_node_killed_while_a_stream_runs_leaves_no_access_open_and_gives_no_quota_back(nodes, killed) -> None:
    agreement = await nodes.client.negotiate(BIG)
    await nodes.in_state(DATA, "agreement", agreement.id, "PERFORMING")
    reader = agreement.reader("select * from t")
    batches = aiter(reader)
    await reader.open()
    await nodes.in_state(DATA, "access", reader.access, "STREAMING")
    await nodes.restart(killed)
    with pytest.raises(TrustnodeError):
        async for _ in batches:
            pass
    for domain in (HOME, DATA):
        await nodes.in_state(domain, "access", reader.access, "ABORTED")
    async with aio.operator(nodes.folder / DATA) as operator:
        answer = await operator.call("AccessService/GetReceipt", access=reader.access)
    (used,) = [counter.used for counter in (await agreement.explain("select id from t")).counters]
    if killed == DATA:
        # Nobody knows what was handed over: no receipt, and the whole reservation counts as used (protocol 6.7).
        assert answer["receipt"] is None
        assert used >= PORTIONS["rows"]
    else:
        receipt = decode(answer["receipt"], Receipt)
        assert (receipt.outcome, receipt.rows) == ("ABORTED", used)
        assert 0 < used < BIG_ROWS
    assert reader.rows <= used


async def test_after_all_kills_both_stores_hold_the_same_and_nothing_waits(nodes) -> None:
    await nodes.stop()
    try:
        held = [await everything(nodes.folder / domain / "node.db") for domain in (HOME, DATA)]
    finally:
        await nodes.start(DATA)
        await nodes.start(HOME)
    (home, data) = held
    assert home["negotiations"] == data["negotiations"]
    assert set(home["negotiations"].values()) == {"FINALIZED"}
    assert home["agreements"] == data["agreements"]
    for one in held:
        assert one["open"] == []
        assert one["reservations"] == []


async def everything(path: Path) -> dict[str, Any]:
    async with await Store.open(path, clock=lambda: "2099-01-01T00:00:00.000Z", node_id="test") as store:
        assert not store.read_only
        assert await store.check() == []
        return await store.read(
            lambda view: {
                "negotiations": {n.id: n.state for n in view.find(NegotiationState)},
                "agreements": {a.id: (a.state, a.document) for a in view.find(AgreementState)},
                "grants": {g.id: g.state for g in view.find(GrantState)},
                "open": view.find(AccessState, state=("REQUESTED", "PREPARING", "STREAMING")),
                "reservations": view.reservations(),
            }
        )
