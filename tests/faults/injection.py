"""System calls that fail while a store opens, or appends and shows its head: each kind and each position in turn.

strace is attached when the process has loaded its program, so that a position counts calls of the store alone (in each
thread for itself, as strace counts).

Decides: the grid of calls, positions and modes. Leaves to others: what must hold then (``outside``).
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from functools import cache
from pathlib import Path
from typing import NamedTuple

from faults import outside
from faults.kills import start
from faults.outside import Tally, World

UNITS = 400
CHANGES = "150"
"""Rows before the write-ahead log is moved: a few batches, so that both files are synced within the positions."""
OPENING = (1, 2, 3, 5, 8, 13, 20, 30)
RUNNING = (1, 2, 3, 5, 8, 13, 20, 30, 50)
RENAMES = "rename,renameat,renameat2"
CALLS = (
    ("fsync", "EIO"), ("fdatasync", "EIO"), ("pwrite64", "EIO"), ("openat", "EIO"), (RENAMES, "EIO"),
    ("pwrite64", "ENOSPC"),
)  # fmt: skip
SYNCS = ("fsync", "fdatasync")
ENDS_S = 60.0


class Fault(NamedTuple):
    """One run of the grid."""

    call: str
    problem: str
    during: str
    when: int
    ending: bool
    """The process is killed at this very call; otherwise it hears of the failure and goes on if it may."""
    until: int = 0
    """Last position that fails; 0: the first alone."""

    def __str__(self) -> str:
        """For the name of a test and the line of a table."""
        return f"{self.call.split(',')[0]} {self.problem} {self.during} {self.when} {'ending' if self.ending else 'continuing'}"

    @property
    def injected(self) -> str:
        """As strace wants it."""
        kill = ":signal=KILL" if self.ending else ""
        last = f"..{self.until}" if self.until else ""
        return f"inject={self.call}:error={self.problem}{kill}:when={self.when}{last}"


class Found(NamedTuple):
    """How a run ended."""

    tally: Tally
    status: int
    hit: bool
    """Whether there were that many calls at all."""
    failures: int
    """Appends and heads that were refused."""
    errors: str


GRID = tuple(
    Fault(*call, during, when, ending)
    for call in CALLS
    for during, positions in (("opening", OPENING), ("running", RUNNING))
    for when in positions
    for ending in (True, False)
)


@cache
def cannot_trace() -> str:
    """Why nothing can be injected here; empty: it can."""
    strace = shutil.which("strace")
    if strace is None:
        return "strace is not installed"
    tried = subprocess.run([strace, "-o", "/dev/null", "true"], check=False, capture_output=True)
    return "" if tried.returncode == 0 else "this user may not trace a process"


async def run(folder: Path, fault: Fault, *, units: int = UNITS) -> Found:
    """Inject one fault into a new store and verify what is left.

    The same store is then opened by a process without fault and appended to, and verified again: a store that only
    looks whole would part here.
    """
    store, file, trace, world = folder / "store.db", folder / "world", folder / "trace", World()
    status, errors = _inject(store, file, trace, fault, units)
    world.hear(file)
    tally = await outside.verify(store, world)
    if status == 4:
        tally.wrong.append(f"{fault}: an error that no disk explains: {errors[-300:]}")
    with start(store, file, "--units", "32") as process:
        process.communicate()
    world.hear(file)
    again = await outside.verify(store, world)
    again.wrong += tally.wrong
    hit = status == -signal.SIGKILL or "(INJECTED)" in trace.read_text()
    return Found(again, status, hit, world.failures.total(), errors)


def _inject(store: Path, file: Path, trace: Path, fault: Fault, units: int) -> tuple[int, str]:
    with start(store, file, "--units", str(units), "--changes", CHANGES, "--wait", fault.during) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        command = [
            "strace",
            "-f",
            "-p",
            str(process.pid),
            "-o",
            trace,
            "-e",
            f"trace={fault.call}",
            "-e",
            fault.injected,
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            assert "attached" in tracer.stderr.readline()
            try:
                _, errors = process.communicate("go\n", timeout=ENDS_S)
            except subprocess.TimeoutExpired:
                process.kill()
                _, errors = process.communicate()
                errors += f"\nit did not end within {ENDS_S} s"
            tracer.wait()
    return process.returncode, errors
