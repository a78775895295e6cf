"""SIGKILL at random moments while sixteen callers append to one store.

Decides: the moments (from a seed), when a store is left behind for a new one. Leaves to others: what must hold then
(``outside``), the process that is killed (``appender``).
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from faults import outside
from faults.outside import Tally, World

APPENDER = Path(__file__).with_name("appender.py")
ROUNDS_A_STORE = 25
"""Kills of one store; verification of a longer one takes longer than the round itself."""
STARTING_S = 1.0
RUNNING_S = 0.6
BEGINS_S = 60.0


def start(store: Path, world: Path, *flags: str, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Start the process that appends."""
    return subprocess.Popen(
        [*before, sys.executable, APPENDER, store, world, *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _wait_for_growth(world: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the world has heard something new."""
    before = world.stat().st_size if world.exists() else 0
    ends = time.monotonic() + BEGINS_S
    while (world.stat().st_size if world.exists() else 0) == before:
        if process.poll() is not None or time.monotonic() > ends:
            raise AssertionError(f"the appender did not begin: {process.stderr.read() if process.stderr else ''}")
        time.sleep(0.002)


def kill_once(store: Path, world: Path, chance: random.Random, limit: int) -> None:
    """Start, wait for a random moment, kill. One in five falls into the start, when the store is being opened."""
    with start(store, world, "--limit", str(limit)) as process:
        try:
            if chance.random() < 0.2:
                time.sleep(chance.uniform(0, STARTING_S))
            else:
                _wait_for_growth(world, process)
                time.sleep(chance.uniform(0, RUNNING_S))
            if process.poll() is not None:
                raise AssertionError(f"it ended by itself: {process.stderr.read() if process.stderr else ''}")
        finally:
            process.kill()


async def run(folder: Path, kills: int, seed: int) -> Tally:
    """Kill and verify, that many times.

    Returns:
        The figures over all stores.
    """
    chance, tally, done = random.Random(seed), Tally(), 0
    while done < kills:
        home = folder / f"store-{done}"
        home.mkdir()
        rounds = min(ROUNDS_A_STORE, kills - done)
        tally.add(await _one_store(home, rounds, chance))
        done += rounds
    return tally


async def _one_store(home: Path, rounds: int, chance: random.Random) -> Tally:
    store, file, world = home / "store.db", home / "world", World()
    limit = chance.randrange(200, 2000 * rounds)
    tally, found = Tally(), Tally()
    for _ in range(rounds):
        kill_once(store, file, chance, limit)
        world.hear(file)
        found = await outside.verify(store, world, limit=limit)
        tally.kills += 1
        tally.lost += found.lost
        tally.forks += found.forks
        tally.wrong += found.wrong
    tally.acknowledged, tally.checkpoints = found.acknowledged, found.checkpoints
    return tally
