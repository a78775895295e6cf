"""Nodes that cosign each other's logs over their real connections, and a node whose store is older than they remember."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from trustnode.app.witness import log_keys, witness_keys
from trustnode.core.evidence.checkpoint import open_checkpoint
from trustnode.errors import TrustnodeError
from trustnode.rpc import admin, witnessing
from trustnode.testing.network import Network, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
GZ, ZJ = "gz.example", "zj.example"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Network]:
    """Two peers."""
    folder: Path = tmp_path_factory.mktemp("witnesses")
    async with Network(folder) as made:
        await made.start(GZ, area="5200")
        await made.start(ZJ)
        await made.peer(GZ, ZJ)
        yield made


def by(network: Network, domain: str) -> tuple[Any, Any]:
    """Keys of the log of a venue, and of its witness, as the other one knows them."""
    witness = GZ if domain == ZJ else ZJ
    return log_keys(network[witness].venue, domain), witness_keys(network[domain].venue, witness)


async def cosigned(network: Network, domain: str) -> int:
    """Wait until the newest checkpoint of a venue carries the other's cosignature; returns its size."""
    node = network[domain]

    async def holds() -> bool:
        newest = node.publisher.newest
        if newest is None or newest.checkpoint.size != node.venue.store.head().size:
            return False
        try:
            open_checkpoint(newest.note, *by(network, domain), quorum=1)
        except TrustnodeError:
            return False
        return True

    await until(holds)
    assert node.publisher.newest is not None
    return node.publisher.newest.checkpoint.size


async def grow(network: Network, domain: str) -> None:
    venue = network[domain].venue
    await venue.store.write(lambda tx: tx.log("node", domain, "status.event"), event_id="", returns=type(None))


async def test_peers_cosign_each_others_logs_and_come_to_rest(network) -> None:
    for domain in (GZ, ZJ):
        await grow(network, domain)
    for domain in (GZ, ZJ, GZ, ZJ):  # each writes one entry when it cosigns the other for the first time
        await cosigned(network, domain)
    sizes = [await cosigned(network, domain) for domain in (GZ, ZJ)]
    again = [await cosigned(network, domain) for domain in (GZ, ZJ)]
    assert sizes == again


async def test_the_operator_sees_who_has_cosigned_how_far(network) -> None:
    size = await cosigned(network, GZ)
    node = network[GZ]
    shown = await admin._status(node.venue, node, node.cosigning)
    assert [(one.witness, one.size, one.HasField("behind")) for one in shown.log.cosignatures] == [(ZJ, size, False)]
    listed = await witnessing.methods(node.venue, node.cosigning)[0].handler(None, None)  # type: ignore[arg-type, misc]
    assert [one.witness for one in listed.witnesses] == [ZJ]
    assert [one.origin for one in listed.logs] == [f"{ZJ}/log"]


async def test_l5a_a_restored_home_asks_its_peers_and_signs_nothing(network) -> None:
    home = network.folder / GZ
    await network.stop(GZ)
    old = network.folder / "old"
    shutil.copytree(home, old)
    await network.start(GZ)
    for _ in range(3):
        await grow(network, GZ)
    ahead = await cosigned(network, GZ)
    await network.stop(GZ)
    now = network.folder / "now"
    home.rename(now)
    shutil.copytree(old, home)
    try:
        node = await network.start(GZ)
        size = node.venue.store.head().size
        assert node.venue.read_only == f"this store ends at entry {size:,}; {ZJ} has cosigned {ahead:,}"
        with pytest.raises(TrustnodeError):
            await node.publisher.publish()
        shown = await admin._status(node.venue, node, node.cosigning)
        assert (shown.state, shown.alarms[0].next_step) == ("READ_ONLY", f"trustnode log recover --from {ZJ}")
    finally:
        await network.stop(GZ)
        shutil.rmtree(home)
        now.rename(home)
        await network.start(GZ)
