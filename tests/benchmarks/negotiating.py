"""From the request to the agreement in force at both nodes, over two venues in two processes."""

from __future__ import annotations

import asyncio
import statistics
import time

from harness import Result, at_most
from venues import HANDLE, venues

from trustnode import aio

COUNT = 40


async def _measure(profile: str) -> list[float]:
    times = []
    async with aio.connect(profile) as cx:
        product = await cx.product(HANDLE)
        for _ in range(COUNT + 5):
            started = time.perf_counter()
            agreement = await cx.negotiate(product, offer="open", purpose="statistics")
            times.append((time.perf_counter() - started) * 1000)
            assert agreement.state == "PERFORMING"
    return times[5:]


def run(_only: str) -> list[Result]:
    """Measure."""
    with venues() as stage:
        times = asyncio.run(_measure(str(stage.folder / "profiles" / "far")))
    worst = sorted(times)[int(len(times) * 0.95)]
    note = f"client to client: 3 signatures, 4 messages, both logs; p95 {worst:.0f} ms"
    return [at_most("negotiation", "ms", statistics.median(times), 50.0, note)]
