"""A restored store: what counts as having been compared."""

from __future__ import annotations

import pytest
from node.app.witness_world import GZ, ZJ, world_of

from trustnode.app import recovery, salvage
from trustnode.app.recovery import Order
from trustnode.app.salvage import Survey


@pytest.mark.parametrize("covered", [False, True])
async def test_a_mirror_that_says_it_holds_nothing_does_not_let_a_restored_store_sign(tmp_path, monkeypatch, covered):
    """The one mirror lies, the witnesses are silent: only a head record that survived knows what was shown."""

    async def survey(_venue):
        return Survey(empty=(ZJ,))

    monkeypatch.setattr(salvage, "survey", survey)
    async with world_of(tmp_path) as made:
        gz = made[GZ]
        await gz.write(recovery.mark_restored(Order(None), covered=covered))
        found = await recovery.compare_restored(gz.venue)
        assert bool(found.why) is not covered
