"""Memory of both nodes while gigabytes stream through them in one read; workers are processes of their own.

`BENCH_MEMORY_GB` says how many (default 2; the goal is meant for 10).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass, field

from harness import Result, at_most
from venues import HANDLE, children, pid_of, resident_kib, venues

from trustnode import aio

READ_GB = 0.192
"""All rows of the product, once."""
LOOK_S = 0.25


@dataclass
class Watched:
    """Highest and latest sizes of one node and of its workers, MB."""

    pid: int
    node: list[float] = field(default_factory=list)
    workers: list[float] = field(default_factory=list)

    def look(self) -> None:
        """Take down what they are now."""
        self.node.append(resident_kib(self.pid) / 1024)
        with contextlib.suppress(OSError, StopIteration):  # a worker may end meanwhile
            self.workers.append(sum(resident_kib(child) for child in children(self.pid)) / 1024)

    def quarters(self) -> str:
        """The highest size of the node in each quarter of the read: what leaks, grows."""
        step = max(len(self.node) // 4, 1)
        return " ".join(f"{max(self.node[at : at + step]):.0f}" for at in range(0, 4 * step, step) if self.node[at:])


async def _watch(watched: tuple[Watched, ...]) -> None:
    while True:
        for one in watched:
            one.look()
        await asyncio.sleep(LOOK_S)


async def _read(profile: str, repeats: int) -> int:
    """One brokered read of every row, ``repeats`` times over."""
    size = 0
    async with aio.connect(profile) as cx:
        agreement = await cx.negotiate(HANDLE, offer="open", purpose="statistics")
        sql = f"select n.* from numbers n cross join (select c0 as x from numbers limit {repeats}) r"
        async with agreement.reader(sql) as batches:
            async for batch in batches:
                size += batch.nbytes
    return size


async def _measure(profile: str, watched: tuple[Watched, ...], gigabytes: float) -> tuple[int, float]:
    watching = asyncio.ensure_future(_watch(watched))
    started = time.perf_counter()
    try:
        size = await _read(profile, max(round(gigabytes / READ_GB), 1))
    finally:
        watching.cancel()
    return size, time.perf_counter() - started


def run(_only: str) -> list[Result]:
    """Measure."""
    with venues() as stage:
        watched = {name: Watched(pid_of(stage, name)) for name in ("gz", "zj")}
        profile = str(stage.folder / "profiles" / "far")
        gigabytes = float(os.environ.get("BENCH_MEMORY_GB", "2"))
        size, seconds = asyncio.run(_measure(profile, tuple(watched.values()), gigabytes))
    flow = f"{size / 1e9:.1f} GB in one brokered read, {size / 1e6 / seconds:.0f} MB/s"
    results = []
    for name, role in (("gz", "provider"), ("zj", "broker")):
        one = watched[name]
        note = f"{role} node: {flow}; highest in each quarter {one.quarters()}; workers {max(one.workers):.0f} MB"
        results.append(at_most(f"memory_{role}", "MB", max(one.node), 400.0, note))
    return results
