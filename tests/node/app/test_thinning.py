"""Heads of long ago are thinned, and no agreement is sealed later for it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from node.app.witness_world import FIN, GZ, ZJ, World, world_of

from trustnode.app import sealing, thinning
from trustnode.core import clock
from trustnode.core.evidence import note as notes
from trustnode.core.evidence.quorum import parse_policy
from trustnode.core.identity import log_origin, witness_name
from trustnode.store.checkpoints import KeptCheckpoint

DAY_S = 86400


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_of(tmp_path) as made:
        yield made


def policy(world: World, quorum: str, *lines: str) -> Any:
    vkeys = {
        name: notes.VerifierKey(witness_name(domain), notes.COSIGNATURE_V1, world.keys[domain].witness.public).text
        for name, domain in (("zj", ZJ), ("fin", FIN))
    }
    log = notes.VerifierKey(log_origin(GZ), notes.ED25519, world.keys[GZ].log.public).text
    listed = [f"witness {name} {vkey}" for name, vkey in vkeys.items()]
    return parse_policy("\n".join([f"log {log}", *listed, *lines, f"quorum {quorum}"]) + "\n")


async def head(world: World, *witnesses: str) -> KeptCheckpoint:
    """Sign a head and have it cosigned by some, a second apart."""
    gz = world[GZ]
    published = await gz.publisher.publish()
    kept = await gz.read(lambda view: view.checkpoint_of(published.checkpoint.size))
    seconds = clock.to_ms(world.clock.now()) // 1000
    for later, domain in enumerate(witnesses):
        key = world.keys[domain].witness
        line = notes.cosign(
            notes.text_of(kept.note), witness_name(domain), key.public, key.sign, seconds + 1 + later
        )  # fmt: skip
        kept = kept._replace(note=notes.add_lines(kept.note, [line]))
    await gz.write(lambda tx: tx.keep_checkpoint(kept))
    return kept


async def entry(world: World, *, named: bool) -> int:
    gz = world[GZ]
    documents = (f"{random.getrandbits(256):064x}",) if named else ()
    await gz.write(lambda tx: tx.log("node", GZ, "status.event", documents=documents))
    return gz.venue.store.head().size - 1


async def sizes(world: World) -> list[int]:
    return await world[GZ].read(lambda view: [one.size for one in view.checkpoints_covering(0)])


async def sealed(world: World, policies: list[Any], indexes: list[int]) -> list[Any]:
    """When each entry was sealed, by each policy."""

    def query(view: Any) -> list[Any]:
        found = [sealing.sealing(view, one, index) for one in policies for index in indexes]
        return [(one.size, notes.cosigned_when(one.note)) if one else None for one in found]

    return await world[GZ].read(query)


@pytest.mark.parametrize("seed", range(3))
async def test_no_agreement_is_sealed_later_after_thinning(world, seed, monkeypatch):
    monkeypatch.setattr(thinning, "AT_ONCE", 16)
    chance = random.Random(seed)
    policies = [policy(world, "zj"), policy(world, "fin"), policy(world, "q", "group q all zj fin"),
                policy(world, "q", "group q any zj fin")]  # fmt: skip
    named: list[int] = []
    for _ in range(90):
        world.clock.advance(chance.choice((2, 30, 900)))
        for _ in range(chance.randint(1, 3)):
            is_named = chance.random() < 0.2
            index = await entry(world, named=is_named)
            named += [index] if is_named else []
        await head(world, *[one for one in (ZJ, FIN) if chance.random() < 0.5])
    world.clock.advance(DAY_S - 3600)
    before, kept = await sealed(world, policies, named), await sizes(world)
    dropped = await thinning.thin(world[GZ].venue)
    assert dropped == len(kept) - len(await sizes(world)) > 10
    assert await sealed(world, policies, named) == before
    assert await thinning.thin(world[GZ].venue) == 0


async def test_of_heads_that_seal_nothing_one_an_hour_stays_and_the_last_day_whole(world):
    world.clock.set("2026-03-01T08:00:00.000Z")
    old = []
    for _ in range(8):  # four in each of two hours
        world.clock.advance(900)
        await entry(world, named=False)
        old.append((await head(world, ZJ)).size)
    world.clock.advance(DAY_S)
    young = []
    for _ in range(3):
        world.clock.advance(1)
        await entry(world, named=False)
        young.append((await head(world, ZJ)).size)
    await thinning.thin(world[GZ].venue)
    assert await sizes(world) == [old[2], old[6], old[7], *young]
    await entry(world, named=True)
    first = (await head(world, ZJ)).size
    world.clock.advance(2)
    await entry(world, named=False)
    second = (await head(world, ZJ)).size
    await entry(world, named=False)
    third = (await head(world, ZJ)).size
    world.clock.advance(2 * DAY_S)
    await entry(world, named=False)
    await head(world)
    await thinning.thin(world[GZ].venue)
    left = await sizes(world)
    assert first in left
    assert second not in left
    assert third in left, "the newest of its hour"
