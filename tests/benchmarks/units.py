"""A durable unit: guard, state, three entries, against the same rows written by plain SQLite in batches."""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from harness import PAIRS, Result, at_least, at_most, rate

from trustnode.core import clock
from trustnode.core.lifecycle import step
from trustnode.core.peering import PEERING, PeeringFacts, PeeringState
from trustnode.store.unit import Tx
from trustnode.store.writer import Store

NAMES = ("unit", "unit_alone")
COUNT = 6000


def _now() -> str:
    return clock.from_ms(time.time_ns() // 1_000_000)


def _unit(number: int):  # type: ignore[no-untyped-def]
    def unit(tx: Tx) -> int:
        facts = PeeringFacts(identity_verified=True, level_known=True)
        known = tx.get(PeeringState, f"venue-{number}.example") or PeeringState(id=f"venue-{number}.example")
        found = step(PEERING, None, "apply", "V", facts)
        tx.save(PeeringState(id=known.id, state=found.state, version=known.version))
        for event in ("peer.apply", "peer.amend", "peer.amend"):
            tx.log("peer", known.id, event)
        return number

    return unit


async def _measure(folder: Path) -> tuple[float, float]:
    async with await Store.open(folder / "node.db", clock=_now, node_id="2" * 32, reserve_bytes=0) as store:

        async def one(number: int) -> None:
            await store.write(_unit(number), event_id=f"e{number}", returns=int)

        many = await rate(one, COUNT, 64)
        alone = []
        for number in range(COUNT, COUNT + 200):
            started = time.perf_counter()
            await one(number)
            alone.append(time.perf_counter() - started)
        return many, statistics.median(alone) * 1000


def _plain(folder: Path) -> float:
    """Five inserts a unit, 64 units a transaction, synchronous FULL: what the disk and SQLite allow."""
    db = sqlite3.connect(folder / "plain.db", isolation_level=None)
    db.execute("pragma journal_mode=wal")
    db.execute("pragma synchronous=full")
    db.execute("create table t (id integer primary key, data blob)")
    started = time.perf_counter()
    for batch in range(COUNT // 64):
        db.execute("begin immediate")
        db.executemany("insert into t (data) values (?)", [(bytes(400),)] * (64 * 5))
        db.execute("commit")
        del batch
    return COUNT / (time.perf_counter() - started)


def run(_only: str) -> list[Result]:
    """Measure."""
    many, alone, floor = [], [], []
    for _ in range(PAIRS):
        with tempfile.TemporaryDirectory() as folder:
            floor.append(_plain(Path(folder)))
            a, b = asyncio.run(_measure(Path(folder)))
            many.append(a)
            alone.append(b)
    return [
        at_least("unit", "units/s", statistics.median(many), 5000, "64 callers; guard, state, 3 entries, durable"),
        Result(
            "unit_floor",
            statistics.median(many),
            "units/s",
            "plain SQLite, same rows",
            statistics.median(floor),
            statistics.median(a / b for a, b in zip(many, floor, strict=True)),
        ),
        at_most("unit_alone", "ms", statistics.median(alone), 1.0, "one caller, median"),
    ]
