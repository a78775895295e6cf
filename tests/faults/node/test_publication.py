"""A node killed between its commit and what it shows of it: the same head is shown again, never another of that size.

The killed state of a node is a copy of its home: a kill leaves its files as they are (a power cut: ``faults.disks``).
"""

from __future__ import annotations

import shutil

import pytest
from node.store.world import fill

from trustnode.app.publisher import Publisher
from trustnode.core.evidence.tree import TreeHead, verify_consistency
from trustnode.testing.network import Network

VENUE = "zj.example"


class KilledError(BaseException):
    """The process ends here."""


async def killed_while_publishing(network, folder, monkeypatch, *, recorded):
    """Publish, append, and be killed before or after the head record is written; what was shown, and what was signed."""
    node = await network.start(VENUE)
    before = await node.publisher.publish()
    await fill(node.venue.store, 300)
    store, signed = node.venue.store, []

    async def fails(_publisher):
        head = store.record_head() if recorded else store.head()
        shutil.copytree(network.folder / VENUE, folder / VENUE, ignore=shutil.ignore_patterns("*.sock", "*.lock"))
        signed.append(head.size)
        raise KilledError

    monkeypatch.setattr(Publisher, "_sign", fails)
    with pytest.raises(KilledError):
        await node.publisher.publish()
    monkeypatch.undo()
    return before.checkpoint, await node.publisher.publish()


@pytest.mark.parametrize("recorded", [False, True], ids=["before the head record", "after the head record"])
async def test_l2_a_node_killed_between_commit_and_publication_shows_the_same_head_again(
    tmp_path, monkeypatch, recorded
):
    first, second = tmp_path / "first", tmp_path / "second"
    second.mkdir(parents=True)
    async with Network(first) as network:
        before, alive = await killed_while_publishing(network, second, monkeypatch, recorded=recorded)
    async with Network(second) as network:
        node = await network.start(VENUE)
        evidence = (await node.publisher.publish()).checkpoint
        root = await node.venue.store.read(lambda view: view.evidence.root(alive.checkpoint.size))
        assert root == alive.checkpoint.root
        proof = await node.venue.store.read(lambda view: view.evidence.consistency(before.size, evidence.size))
        verify_consistency(TreeHead(before.size, before.root), TreeHead(evidence.size, evidence.root), proof)
        assert evidence.size >= alive.checkpoint.size
