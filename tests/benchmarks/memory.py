"""Memory of the provider's node while gigabytes stream through it; workers are processes of their own."""

from __future__ import annotations

import asyncio

from harness import Result, at_most
from venues import HANDLE, children, pid_of, resident_kib, venues

from trustnode import aio

READS = 11
"""Of 192 MB each: 2.1 GB."""


async def _measure(profile: str, pid: int) -> tuple[float, float, float]:
    sizes, streamed = [], 0
    async with aio.connect(profile) as cx:
        agreement = await cx.negotiate(HANDLE, offer="open", purpose="statistics")
        for _ in range(READS):
            async with agreement.reader("select * from numbers") as batches:
                async for batch in batches:
                    streamed += batch.nbytes
            sizes.append(resident_kib(pid) / 1024)
    workers = sum(resident_kib(child) for child in children(pid)) / 1024
    return max(sizes[1:]) - sizes[0], streamed / 1e9, workers


def run(_only: str) -> list[Result]:
    """Measure."""
    with venues() as stage:
        pid = pid_of(stage, "gz")
        grown, streamed, workers = asyncio.run(_measure(str(stage.folder / "profiles" / "near"), pid))
        total = resident_kib(pid) / 1024
    note = f"after the first 192 MB of {streamed:.1f} GB; node {total:.0f} MB, workers {workers:.0f} MB"
    return [at_most("memory", "MB grown", grown, 64.0, note)]
