"""kill -9 of either node, in the middle of a negotiation or of a stream: after the restart both sides agree.

The nodes are processes of their own, as an operator starts them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import pytest_asyncio
from faults.processes import BIG, WAIT_S, Processes, two_nodes
from federation.world import BIG_ROWS, DATA, HOME, AccessState, AgreementState, NegotiationState

from trustnode import aio
from trustnode.app.quota import PORTIONS
from trustnode.core.access import Receipt
from trustnode.core.contract import GrantState
from trustnode.core.document import decode
from trustnode.errors import TrustnodeError, VenueUnavailable
from trustnode.store.writer import Store

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Processes]:
    """Both venues, for every test of this module."""
    async with two_nodes(tmp_path_factory.mktemp("kills")) as running:
        yield running


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
    agreement = await nodes.client.negotiate(BIG, offer="much")
    await nodes.in_state(DATA, "agreement", agreement.id, "PERFORMING")
    reader = agreement.reader("select * from t", tries=0)
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
    used = await rows_used(agreement)
    if killed == DATA:
        # Nobody knows what was handed over: no receipt, and the whole reservation counts as used (protocol 6.7).
        assert answer["receipt"] is None
        assert used >= PORTIONS["rows"]
    else:
        receipt = decode(answer["receipt"], Receipt)
        assert (receipt.outcome, receipt.rows) == ("ABORTED", used)
        assert 0 < used < BIG_ROWS
    assert reader.rows <= used


async def test_a_reader_gets_one_table_although_each_node_is_killed_once_in_the_middle(nodes) -> None:
    agreement = await nodes.client.negotiate(BIG, offer="much")
    await nodes.in_state(DATA, "agreement", agreement.id, "PERFORMING")
    reader, chance = agreement.reader("select * from t"), random.Random(7)
    third = BIG_ROWS // 3
    kills = [(chance.randrange(third), DATA), (third + chance.randrange(third), HOME)]
    ids: list[int] = []
    async for batch in reader:
        ids += batch.column("id").to_pylist()
        if kills and len(ids) > kills[0][0]:
            await nodes.restart(kills.pop(0)[1])
    assert kills == []
    assert ids == list(range(BIG_ROWS))
    assert reader.rows == BIG_ROWS
    assert await rows_used(agreement) >= BIG_ROWS


async def rows_used(agreement: aio.Agreement) -> int:
    """Of the limit of rows, once both nodes hear each other again."""
    async with asyncio.timeout(WAIT_S):
        while True:
            with contextlib.suppress(VenueUnavailable):
                (counter,) = (await agreement.explain("select id from t")).counters
                return counter.used
            await asyncio.sleep(0.05)


async def test_a_client_killed_while_it_saves_goes_on_with_the_same_command(nodes, tmp_path) -> None:
    agreement = await nodes.client.negotiate(BIG, offer="much")
    await nodes.in_state(DATA, "agreement", agreement.id, "PERFORMING")
    target, profile = tmp_path / "out.arrow", nodes.client.profile.folder
    words = ("read", agreement.id, "--sql", "select * from t", "-o", str(target), "--profile", str(profile), "--json")
    command = (sys.executable, "-m", "trustnode.cli", *words)
    part = tmp_path / "out.arrow.part"
    first = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=DEVNULL)
    async with asyncio.timeout(30):
        while not (tmp_path / "out.arrow.part.json").exists() and first.returncode is None:
            await asyncio.sleep(0.002)
    assert first.returncode is None, "it was not killed in the middle"
    first.kill()
    await first.wait()
    assert part.exists()
    second = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    _out, said = await second.communicate()
    assert second.returncode == 0, said
    assert b"went on at row" in said
    with pa.memory_map(str(target)) as file:
        assert pa.ipc.open_file(file).read_all().column("id").to_pylist() == list(range(BIG_ROWS))


async def test_neither_node_grows_with_what_flows_through_it(nodes) -> None:
    agreement = await nodes.client.negotiate(BIG, offer="open")
    await nodes.in_state(DATA, "agreement", agreement.id, "PERFORMING")
    sizes: dict[str, list[float]] = {HOME: [], DATA: []}
    async with agreement.reader("select t.* from t cross join (select id x from t limit 12) r") as reader:
        async for _ in reader:
            if reader.size_bytes >= 100e6 * (1 + 3 * bool(sizes[HOME])) and len(sizes[HOME]) < 2:
                for domain, found in sizes.items():
                    found.append(nodes.resident_mib(domain))
    for domain, (after_100_mb, after_400_mb) in sizes.items():
        assert after_400_mb - after_100_mb < 24, f"{domain}: {after_100_mb:.0f} MB, then {after_400_mb:.0f} MB"


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
