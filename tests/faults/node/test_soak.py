"""A short part of `make soak` at two real nodes."""

from __future__ import annotations

from faults import node_kills


async def test_l1_kills_of_two_nodes_that_negotiate_and_read_lose_nothing_a_client_was_told(tmp_path):
    tally = await node_kills.run(tmp_path, 3, seed=1)
    assert tally.clean, tally
    assert tally.acknowledged > 0
    assert tally.checkpoints > 0
