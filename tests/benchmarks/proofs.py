"""A proof from a log of a million entries, read from stored tiles."""

from __future__ import annotations

import hashlib
import statistics
import time

from harness import Result, at_most

from trustnode.core.evidence import edges, tree

NAMES = ("log_proof",)
ENTRIES = 1_000_000


def run(_only: str) -> list[Result]:
    """Measure."""
    tiles: dict[tuple[int, int], bytes] = {}
    grown = edges.TileEdges()
    for start in range(0, ENTRIES, 10_000):
        hashes = [hashlib.sha256(number.to_bytes(8, "big")).digest() for number in range(start, start + 10_000)]
        growth = grown.grow(hashes)
        tiles |= growth.tiles
        grown = growth.edges
    times = []
    for number in range(400):
        index = (number * 2_654_435_761) % ENTRIES
        started = time.perf_counter()
        tree.prove_inclusion(index, ENTRIES, tree.hashes_in(lambda level, at: tiles[(level, at)]))
        times.append((time.perf_counter() - started) * 1000)
    return [at_most("log_proof", "ms", statistics.median(times), 1.0, "inclusion, 1 million entries, nothing cached")]
