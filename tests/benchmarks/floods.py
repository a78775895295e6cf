"""What a healthy client notices of each flood: its p99 while the flood runs, against its p99 before, in one run."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import flooded
from harness import Result
from venues import resident_kib

from trustnode.wire.call import call_unary
from trustnode.wire.channel import open_channel

SECONDS = 3.0
SETTLE_S = 0.7
"""Time that an attacker gets to begin."""


async def _latencies_ms(folder: Path, port: int) -> list[float]:
    """Calls one after the other on one connection; a call that fails ends the benchmark.

    From another address than the attacker's: what an address may do before it is identified is limited for all behind it.
    """
    times = []
    async with open_channel(flooded.target(folder, port, "[::1]"), flooded.credential(folder, "healthy")) as channel:
        request, message = flooded.Message(payload=b"p"), flooded.Message
        await call_unary(channel, flooded.ECHO, request, message, timeout_s=10)
        ends = time.perf_counter() + SECONDS
        while time.perf_counter() < ends:
            started = time.perf_counter()
            await call_unary(channel, flooded.ECHO, request, message, timeout_s=10)
            times.append((time.perf_counter() - started) * 1000)
    return sorted(times)


def _p(times: list[float], share: float) -> float:
    return times[min(int(len(times) * share), len(times) - 1)]


@contextlib.contextmanager
def _process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(Path(__file__).with_name("flooded.py")), *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _flood(folder: Path, port: int, server: int, kind: str) -> Result:
    before, memory = asyncio.run(_latencies_ms(folder, port)), resident_kib(server)
    with _process("attack", str(folder), str(port), kind):
        time.sleep(SETTLE_S)
        during = asyncio.run(_latencies_ms(folder, port))
    base, value = _p(before, 0.99), _p(during, 0.99)
    grown = (resident_kib(server) - memory) / 1024
    note = f"p50 {_p(before, 0.5):.2f} -> {_p(during, 0.5):.2f} ms, {len(during)} calls, none failed; node +{grown:.0f} MiB"
    return Result(f"flood_{kind}", value, "ms p99", "before", base, value / base, "<= 50 ms", value <= 50, note)


def run(_only: str) -> list[Result]:
    """Measure every flood in turn, against one and the same server."""
    with tempfile.TemporaryDirectory() as folder, _process("serve", folder) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        return [_flood(Path(folder), port, server.pid, kind) for kind in flooded.ATTACKS]
