"""A long log on the disk: opening it, proofs from it, memory for it. 1 million entries, or 10 with `ONLY=log_10m`.

The store is written in bulk by the library's own code, once: TRUSTNODE_BENCH_LOGS names a folder where it is kept.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from harness import Result, at_most

from trustnode.core.evidence.entry import Entry, statement
from trustnode.store import connection, schema
from trustnode.store.head import HeadRecord, write_record
from trustnode.store.log import Append, Edge
from trustnode.store.writer import Store

NAMES = ("log_1m", "log_10m")
SIZES = {"log_1m": 1_000_000, "log_10m": 10_000_000}
BATCH = 4096
PROOFS = 400
NOW = "2026-11-24T12:00:00.000Z"


def build(path: Path, entries: int) -> None:
    """Write entries until the log has so many; one that was left half-way goes on."""
    made = Entry(event_id="0" * 32, type="access.request", time=NOW, node_id="n", object_kind="agreement", object="C1")
    body = statement(made)
    with closing(connection.open_writer(path)) as db:
        schema.migrate(db)
        edge = Edge.load(db)
        while edge.head.size < entries:
            append = Append(db, edge)
            db.execute("begin immediate")
            for _ in range(min(BATCH, entries - edge.head.size)):
                append.add("agreement", "C1", body)
            edge = append.write(os.urandom(16), NOW)
            db.execute("commit")
            db.execute("pragma wal_checkpoint(passive)").fetchone()
    write_record(path, HeadRecord(size=edge.head.size, root=edge.head.root.hex(), time=edge.head.time))


async def measure(path: Path) -> dict[str, float]:
    """Open the store as a node does, and prove entries from all over it; seconds, milliseconds, megabytes."""
    before = _resident_mb()
    started = time.perf_counter()
    async with await Store.open(path, clock=lambda: NOW, node_id="n", reserve_bytes=0) as store:
        opened, size, times = time.perf_counter() - started, store.head().size, []
        for number in range(PROOFS):
            index = (number * 2_654_435_761) % size
            started = time.perf_counter()
            await store.read(lambda view, index=index: view.evidence.inclusion(index, size))
            times.append((time.perf_counter() - started) * 1000)
        grown = _resident_mb() - before
    return {"open": opened, "proof": statistics.median(times), "memory": grown}


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def run(only: str) -> list[Result]:
    """Build where it is not there yet, then measure in a process of its own."""
    name = only or "log_1m"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(os.environ.get("TRUSTNODE_BENCH_LOGS", folder)) / f"{name}.db"
        build(path, SIZES[name])
        done = subprocess.run([sys.executable, __file__, path], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    return [
        at_most(name, "ms", found["proof"], 1.0, "inclusion proof from the disk, median of 400 all over the log"),
        at_most(f"{name}_open", "s", found["open"], 2.0, "until the store may be written"),
        at_most(f"{name}_memory", "MB", found["memory"], 100, "resident memory that opening and proving add"),
    ]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(Path(sys.argv[1])))))
