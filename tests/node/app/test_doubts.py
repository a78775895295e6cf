"""A proof that fails convicts nobody: the leaves of the log decide."""

import pytest
from node.app.witness_world import GZ, ZJ, Shadow, world_of

from trustnode.app.doubts import Doubts, root_of
from trustnode.app.history import compare
from trustnode.core.evidence.checkpoint import parse_checkpoint
from trustnode.core.evidence.note import text_of
from trustnode.core.evidence.witness import AddCheckpoint
from trustnode.core.identity import log_origin
from trustnode.errors import error

ORIGIN = log_origin(GZ)


@pytest.fixture
async def world(tmp_path):
    async with world_of(tmp_path) as made:
        yield made


def serving(leaves):
    """A log that gives its tiles."""

    async def tile(_domain, number, width):
        return b"".join(leaves[number * 256 : number * 256 + width])

    return tile


async def forks(party):
    return await party.read(lambda view: view.forks())


async def suspected(world, size):
    """zj has cosigned gz at its size and is shown a larger head of another history."""
    gz, zj = world[GZ], world[ZJ]
    await zj.witness(await gz.request(0))
    shadow = Shadow(GZ, world.keys[GZ], *(b"%d" % i for i in range(size)))
    await zj.witness(shadow.request(gz.venue.store.head().size, size))
    return shadow


@pytest.mark.parametrize("size", [9, 300])
async def test_l16_a_grown_fork_is_proven_by_the_leaves_that_lead_to_both_roots(world, size):
    await world[GZ].append(4)
    shadow = await suspected(world, size)
    zj = world[ZJ]
    await Doubts(zj.venue, serving(shadow.leaves)).look()
    found = (await forks(zj))[0]
    held, shown = (parse_checkpoint(text_of(note)) for note in (found.held, found.shown))
    assert found.proven
    assert root_of(found.hashes, shown.size) == shown.root
    assert root_of(found.hashes, held.size) != held.root
    assert (await zj.events()).count(("incident.notify", ORIGIN)) == 2


async def test_a_log_that_was_slandered_is_cleared_by_its_own_leaves(world):
    gz, zj = world[GZ], world[ZJ]
    size = await gz.append(4)
    await zj.witness(await gz.request(0))
    await gz.append(5)
    good = await gz.request(size)
    await zj.witness(AddCheckpoint(size, (bytes(32),), good.partition(b"\n\n")[2]).body)
    assert [one.proven for one in await forks(zj)] == [False]
    await gz.append(3)
    leaves = await gz.read(lambda view: view.evidence.tile(0, 0))
    await Doubts(zj.venue, serving([leaves[i : i + 32] for i in range(0, len(leaves), 32)])).look()
    assert await forks(zj) == []


@pytest.mark.parametrize("leaves", [[], [bytes(32)] * 9])
async def test_leaves_that_lead_elsewhere_decide_nothing(world, leaves):
    await world[GZ].append(4)
    await suspected(world, 9)
    await Doubts(world[ZJ].venue, serving(leaves)).look()
    assert [(one.proven, one.hashes) for one in await forks(world[ZJ])] == [(False, b"")]


async def test_a_log_that_does_not_answer_stays_suspected_and_is_not_asked_at_once_again(world):
    await world[GZ].append(4)
    await suspected(world, 9)
    asked = []

    async def down(domain, _number, _width):
        asked.append(domain)
        raise error("PEER_UNREACHABLE", "down")

    doubts = Doubts(world[ZJ].venue, down)
    await doubts.look()
    await doubts.look()
    assert asked == [GZ]
    assert [one.proven for one in await forks(world[ZJ])] == [False]


async def test_l16_our_own_fork_at_a_size_that_we_did_not_sign_is_kept_with_our_leaves(world):
    gz = world[GZ]
    await gz.append(9)
    await gz.publisher.publish()
    shadow = Shadow(GZ, world.keys[GZ], *(b"%d" % i for i in range(5)))
    assert await compare(gz.venue, ZJ, shadow.note(5)) == ("FORK", 5)
    found = (await forks(gz))[0]
    assert (found.proven, found.held, found.shown) == (True, gz.publisher.newest.note, shadow.note(5))
    assert root_of(found.hashes, 9) == gz.publisher.newest.checkpoint.root
    assert root_of(found.hashes, 5) != parse_checkpoint(text_of(found.shown)).root
