"""Real file systems that are full, read-only or lose their power under a store that is being appended to.

Runs in a mount namespace of its own (``unshare -m``), so that nothing is left mounted whatever happens. Power loss: a
file system on a loop device, whose file holds what a disk would hold: what was synced, what the kernel wrote back by
itself, nothing else. While the process stands still the file is copied; the copy is the disk after the power went.

Decides: how the disk is hurt and when. Leaves to others: what must hold then (``outside``).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import msgspec
from faults import outside
from faults.kills import start
from faults.outside import Tally, World

SMALL = "6m"
IMAGE_MB = 48
WAIT_S = 30.0
RUNNING_S = 0.4


class Outcome(msgspec.Struct):
    """What a scenario reports."""

    acknowledged: int
    refused: dict[str, int]
    """Reason -> appends and heads refused while the disk was hurt."""
    after: int
    """Entries acknowledged after the disk was well again."""
    lost: int
    forks: int
    wrong: list[str]
    ended: int | None = None
    """Exit status of a process that ended because of the disk."""
    cuts: int = 0
    """Times the power went."""


@cache
def cannot_mount(*, loop: bool = False) -> str:
    """Why no file system can be mounted here; empty: it can."""
    if os.geteuid() != 0:
        return "only root may mount a file system"
    tried = "mount -t tmpfs tmpfs /mnt"
    if loop:
        tried += " && truncate -s 8m /mnt/i && mkfs.ext4 -q /mnt/i && mkdir /mnt/d && mount -o loop /mnt/i /mnt/d"
    done = subprocess.run(["unshare", "-m", "sh", "-c", tried], check=False, capture_output=True, text=True)
    return "" if done.returncode == 0 else f"this machine mounts nothing: {done.stderr.strip()[-200:]}"


def run(scenario: str, folder: Path, *, cuts: int = 0, seed: int = 1) -> Outcome:
    """Run a scenario in a mount namespace of its own."""
    command = [sys.executable, "-m", "faults.disks", scenario, str(folder), "--cuts", str(cuts), "--seed", str(seed)]
    done = subprocess.run(["unshare", "-m", *command], check=False, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(done.stderr)
    return msgspec.json.decode(done.stdout, type=Outcome)


def mount(*words: str | Path) -> None:
    """Mount, or say why not."""
    subprocess.run(["mount", *words], check=True)


def unmount(directory: Path) -> None:
    """Take a file system away, its loop device too."""
    subprocess.run(["umount", directory], check=True)


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for something that another process does."""
    ends = time.monotonic() + WAIT_S
    while not holds():
        if time.monotonic() > ends:
            raise AssertionError(f"this did not happen: {what}")
        time.sleep(0.005)


class Watched:
    """What the world hears from the process that is running."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.world = World()

    def entries(self) -> int:
        """How many entries were acknowledged until now."""
        self.world.hear(self.file)
        return len(self.world.entries)

    def failures(self) -> int:
        """How often the disk was the reason of a refusal."""
        self.world.hear(self.file)
        return self.world.failures.total()

    async def outcome(self, store: Path, before: int) -> Outcome:
        """Verify the store and report."""
        after = self.entries() - before
        found = await outside.verify(store, self.world)
        return Outcome(len(self.world.entries), dict(self.world.failures), after, found.lost, found.forks, found.wrong)


def full(folder: Path) -> Outcome:
    """Fill a small file system under a running process, then free it: the process goes on without a restart."""
    disk = folder / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", disk)
    watched, ballast = Watched(folder / "world"), disk / "ballast"
    with start(disk / "store.db", watched.file, "--changes", "150") as process:
        try:
            until(lambda: watched.entries() > 50, "the first entries are acknowledged")
            _fill(ballast)
            until(lambda: watched.failures() > 20, "appends are refused")
            ballast.unlink()
            healthy = watched.entries()
            until(lambda: watched.entries() > healthy + 50, "entries are acknowledged again")
        finally:
            process.kill()
    return asyncio.run(watched.outcome(disk / "store.db", healthy))


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def readonly(folder: Path) -> Outcome:
    """A file system that turns read-only by itself, as ext4 does after an error; then it is repaired and mounted anew.

    What the kernel had of the file system in memory is gone with it: here too, only what was synced counts.
    """
    image, disk = _formatted(folder), folder / "disk"
    disk.mkdir()
    mount("-o", "loop,errors=remount-ro", image, disk)
    device = Path(_device_of(disk)).name
    watched = Watched(folder / "world")
    with start(disk / "store.db", watched.file) as process:
        try:
            until(lambda: watched.entries() > 50, "the first entries are acknowledged")
            Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("by a test\n", encoding="ascii")
            until(lambda: watched.failures() > 20 or process.poll() is not None, "appends are refused, or the end")
            ended = process.poll()
        finally:
            process.kill()
    unmount(disk)
    subprocess.run(["e2fsck", "-fy", image], check=False, capture_output=True)
    mount("-o", "loop", image, disk)
    before = watched.entries()
    with start(disk / "store.db", watched.file, "--units", "64") as process:
        process.communicate()
    return msgspec.structs.replace(asyncio.run(watched.outcome(disk / "store.db", before)), ended=ended)


def _formatted(folder: Path) -> Path:
    image = folder / "image"
    with image.open("wb") as file:
        file.truncate(IMAGE_MB << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    return image


def _device_of(disk: Path) -> str:
    found = [line.split()[0] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[1] == str(disk)]
    return found[-1]


def power(folder: Path, cuts: int, seed: int) -> Outcome:
    """Cut the power at random moments; each time the copy of the disk is mounted and its store verified."""
    memory = folder / "memory"
    memory.mkdir()
    mount("-t", "tmpfs", "-o", "size=512m", "tmpfs", memory)
    image, disk, chance = _formatted(memory), folder / "disk", random.Random(seed)
    disk.mkdir()
    mount("-o", "loop", image, disk)
    watched, tally = Watched(folder / "world"), Tally()
    with start(disk / "store.db", watched.file, "--changes", "2000") as process:
        try:
            until(lambda: watched.entries() > 0, "the first entry is acknowledged")
            for _ in range(cuts):
                time.sleep(chance.uniform(0, RUNNING_S))
                _copy_while_stopped(process.pid, image, memory / "copy", watched)
                tally.add(asyncio.run(_verify_copy(memory / "copy", folder / "after", watched)))
        finally:
            process.kill()
    return Outcome(
        len(watched.world.entries), dict(watched.world.failures), 0, tally.lost, tally.forks, tally.wrong, cuts=cuts
    )


def _copy_while_stopped(pid: int, image: Path, copy: Path, watched: Watched) -> None:
    """Nobody may write while the copy is made: it would be a disk that no moment had. Hear what was said until then."""
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: _stands_still(pid), "every thread stands still")
        watched.entries()
        shutil.copyfile(image, copy)
    finally:
        os.kill(pid, signal.SIGCONT)


def _stands_still(pid: int) -> bool:
    states = [stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(state == "T" for state in states)


async def _verify_copy(copy: Path, disk: Path, watched: Watched) -> Tally:
    disk.mkdir(exist_ok=True)
    mount("-o", "loop", copy, disk)
    try:
        return await outside.verify(disk / "store.db", watched.world)
    finally:
        unmount(disk)


def main() -> int:
    """Run one scenario; its outcome on stdout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", choices=("full", "readonly", "power"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cuts", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    match arguments.scenario:
        case "full":
            outcome = full(arguments.folder)
        case "readonly":
            outcome = readonly(arguments.folder)
        case _:
            outcome = power(arguments.folder, arguments.cuts, arguments.seed)
    sys.stdout.write(msgspec.json.encode(outcome).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
