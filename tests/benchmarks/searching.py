"""Catalogue search over 100,000 listings: a page of 50 for several kinds of query."""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path

from harness import Result, at_most

from trustnode.core import clock
from trustnode.store.search import Query, SearchText
from trustnode.store.unit import Tx
from trustnode.store.writer import Store

NAMES = ("search",)
LISTINGS = 100_000
WORDS = (
    "气象",
    "航班",
    "贷款",
    "信用",
    "交通",
    "医疗",
    "flights",
    "loans",
    "weather",
    "roads",
    "patients",
    "energy",
    "杭州",
    "贵阳",
)
QUERIES = ("航班", "信用 杭州", "flights", "气象 weather", "贷", "loans energy 交通", "贵阳")


def _now() -> str:
    return clock.from_ms(time.time_ns() // 1_000_000)


async def _measure(folder: Path) -> list[float]:
    draw = random.Random(7)
    async with await Store.open(folder / "node.db", clock=_now, node_id="2" * 32, reserve_bytes=0) as store:
        for start in range(0, LISTINGS, 500):

            def unit(tx: Tx, start: int = start) -> int:
                for number in range(start, start + 500):
                    words = " ".join(draw.choices(WORDS, k=3))
                    tx.index(f"l{number}", SearchText(title=f"{words} {number}", words=words, viewers=("*",)))
                return start

            await store.write(unit, event_id="", returns=int)
        times = []
        for number in range(210):
            query = Query(viewer="venue", text=QUERIES[number % len(QUERIES)], limit=50)
            started = time.perf_counter()
            await store.read(lambda view, query=query: view.search(query))  # type: ignore[misc]
            times.append((time.perf_counter() - started) * 1000)
        return times


def run(_only: str) -> list[Result]:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        times = asyncio.run(_measure(Path(folder)))
    worst = sorted(times)[int(len(times) * 0.99)]
    return [
        at_most("search", "ms", statistics.median(times), 10.0, f"100,000 listings, page of 50; p99 {worst:.1f} ms")
    ]
