"""What a node cannot live without: when it is gone, the node says so at once and ends."""

from __future__ import annotations

import asyncio

import pytest
from node.store.world import note

from trustnode import node as composition
from trustnode.app.courier import Courier
from trustnode.errors import TrustnodeError
from trustnode.testing.network import Network

VENUE = "zj.example"


async def test_l3e_a_node_whose_writer_died_leaves_nobody_waiting_and_turns_its_health_red(tmp_path, monkeypatch):
    async with Network(tmp_path) as network:
        node = await network.start(VENUE)
        assert node.health.serving

        def gone():
            raise SystemExit("thread gone")

        monkeypatch.setattr(node.venue.store._writer, "_commit", gone)
        told = await asyncio.gather(*(note(node.venue.store) for _ in range(20)), return_exceptions=True)
        assert {problem.reason for problem in told} == {"EVIDENCE_UNAVAILABLE"}
        assert isinstance(await node.fatal, SystemExit)
        assert not node.health.serving
        with pytest.raises(TrustnodeError) as refused:
            await node.venue.store.write(lambda _: None, event_id="", returns=type(None))
        assert refused.value.reason == "EVIDENCE_UNAVAILABLE"


async def test_a_node_ends_when_one_of_its_background_tasks_does(tmp_path, monkeypatch):
    async with Network(tmp_path) as network:
        await network.start(VENUE)
        await network.stop(VENUE)

    async def breaks(_courier):
        raise ValueError("a defect in the courier")

    monkeypatch.setattr(Courier, "run", breaks)
    with pytest.raises(TrustnodeError) as ended:
        await composition._serve(tmp_path / VENUE, {"node.drain_s": 0, "disk.reserve_mb": 0}, None)
    assert ended.value.reason == "EVIDENCE_UNAVAILABLE"
    assert "a defect in the courier" in ended.value.message
