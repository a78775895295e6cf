"""`make soak`: nothing acknowledged is lost, as a table: kills, failing system calls, disks that fill up or lose power.

A run is named by its seed: the same seed kills after the same waits. Ends with status 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import structlog
from faults import disks, injection, kills, node_kills
from faults.disks import Outcome
from faults.outside import Tally

CUTS = 50
TITLES = ("what", "times", "acknowledged", "lost", "wrong", "forks", "seconds")
LINE = "{:<44}{:>7}{:>14}{:>7}{:>7}{:>7}{:>9}"


class Part(NamedTuple):
    """One line of the table."""

    what: str
    skipped: str
    """Why it cannot run here; empty: it can."""
    run: Callable[[Path], Tally]
    """Times it was done stand in ``kills``."""


def parts(kills_wanted: int, seed: int) -> Iterator[Part]:
    """Everything that is done, in its order."""
    of_nodes = kills_wanted // 5
    of_stores = kills_wanted - of_nodes
    yield Part("SIGKILL while 16 callers append", "", lambda folder: asyncio.run(kills.run(folder, of_stores, seed)))
    yield Part("SIGKILL of one of two nodes", "", lambda folder: asyncio.run(node_kills.run(folder, of_nodes, seed)))
    for call, problem in injection.CALLS:
        name = f"{problem} in {call.split(',')[0]}, 2 phases, 2 modes"
        yield Part(name, injection.cannot_trace(), lambda folder, c=call, p=problem: asyncio.run(_grid(folder, c, p)))
    yield Part("full file system, freed again", disks.cannot_mount(), lambda folder: _of(disks.run("full", folder)))
    no_loop = disks.cannot_mount(loop=True)
    yield Part("file system turns read-only", no_loop, lambda folder: _of(disks.run("readonly", folder)))
    yield Part("power cut", no_loop, lambda folder: _of(disks.run("power", folder, cuts=CUTS, seed=seed)))


async def _grid(folder: Path, call: str, problem: str) -> Tally:
    """Every position of one call; those that no run reached are not counted."""
    tally = Tally()
    for number, fault in enumerate(f for f in injection.GRID if (f.call, f.problem) == (call, problem)):
        home = folder / str(number)
        home.mkdir()
        found = await injection.run(home, fault)
        tally.add(found.tally)
        tally.kills += found.hit
    return tally


def _of(outcome: Outcome) -> Tally:
    return Tally(
        kills=outcome.cuts or 1, acknowledged=outcome.acknowledged, lost=outcome.lost, wrong=outcome.wrong,
        forks=outcome.forks,
    )  # fmt: skip


def _say(*columns: object) -> None:
    sys.stdout.write(LINE.format(*columns) + "\n")
    sys.stdout.flush()


def run(wanted: list[Part]) -> bool:
    """Run the parts and print the table; whether nothing was lost, wrong or forked."""
    total = Tally()
    _say(*TITLES)
    for part in wanted:
        if part.skipped:
            _say(part.what, "-", "-", "-", "-", "-", "-")
            sys.stdout.write(f"    not done: {part.skipped}\n")
            continue
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            tally = part.run(Path(folder))
        _line(part.what, tally, time.monotonic() - started)
        total.add(tally)
    _line("all", total, None)
    return total.clean


def _line(what: str, tally: Tally, seconds: float | None) -> None:
    took = "" if seconds is None else f"{seconds:.0f}"
    _say(what, tally.kills, f"{tally.acknowledged:,}", tally.lost, len(tally.wrong), tally.forks, took)
    for message in tally.wrong[:10]:
        sys.stdout.write(f"    {message}\n")


def main() -> int:
    """Run all parts, or those whose name holds a word."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="a word of a line")
    arguments = parser.parse_args()
    known = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), known)))
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    sys.stdout.write(f"seed {arguments.seed}\n")
    wanted = [part for part in parts(arguments.kills, arguments.seed) if arguments.only in part.what]
    return int(not run(wanted))


if __name__ == "__main__":
    sys.exit(main())
