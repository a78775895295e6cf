"""Notices of other venues: an old one does not come back, and none is lost because this node was busy."""

from __future__ import annotations

import uuid

import pytest
from node.app.witness_world import GZ, ZJ, world_of

from trustnode import node as _all_nouns  # noqa: F401 (each noun names its documents when it is imported)
from trustnode.app import follower
from trustnode.app.follower import Follower
from trustnode.app.submission import submit
from trustnode.app.venue import Sender
from trustnode.core import clock as times
from trustnode.core.document import PublicKey, seal
from trustnode.core.peering import Status, StatusEvent
from trustnode.errors import TrustnodeError, error
from trustnode.wire.peer import FeedItem

PEER = Sender("PEER", ZJ)


@pytest.fixture
async def gz(tmp_path):
    async with world_of(tmp_path) as made:
        own = made.keys[ZJ].evidence
        key = PublicKey(own.public, "2020-01-01T00:00:00.000Z", times.FOREVER)
        made[GZ].venue.keyring._keys[ZJ, "evidence"] = (key,)
        yield made[GZ]


def notice(gz, keys):
    event = StatusEvent(
        kind="PARTICIPANT", subject=f"spiffe://{ZJ}/participant/acme", state="ENROLLED", effective=gz.venue.clock.now()
    )
    fields = {"suite": "tn1", "id": str(uuid.uuid4()), "iss": ZJ, "aud": ("*",), "time": gz.venue.clock.now()}
    return seal(Status(**fields, events=(event,)), keys)


async def test_an_old_notice_that_lifts_a_suspension_does_not_come_back_when_its_answer_is_forgotten(gz):
    """A carrier kept it; ninety days later the same person is suspended anew."""
    old = notice(gz, gz.others[ZJ].keys.evidence)
    first = await submit(gz.venue, PEER, old)
    assert (await submit(gz.venue, PEER, old)) == first, "repeated: the same answer"
    await gz.write(lambda tx: tx._db.execute("delete from answer"))
    with pytest.raises(TrustnodeError) as refusal:
        await submit(gz.venue, PEER, old)
    assert refusal.value.reason == "REPLAYED"
    assert [event for event, _ in await gz.events()].count("status.event") == 1


async def test_a_revocation_that_comes_while_this_node_is_busy_is_asked_for_again(gz, monkeypatch):
    async def full(*_):
        raise error("BUSY", "4,096 steps wait")

    follow = Follower(gz.venue)
    item = FeedItem(1, ZJ, (), (notice(gz, gz.others[ZJ].keys.evidence),))
    monkeypatch.setattr(follower, "submit", full)
    with pytest.raises(TrustnodeError):
        await follow._take(ZJ, "CONTROL", item, "ab")
    assert await gz.read(lambda view: view.setting(f"follow/{ZJ}/CONTROL")) == ""
    monkeypatch.undo()
    await follow._take(ZJ, "CONTROL", item, "ab")
    assert await gz.read(lambda view: view.setting(f"follow/{ZJ}/CONTROL")) == "1"
