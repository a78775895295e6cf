"""Reads: a stream at the provider against bare Arrow Flight, a brokered one against the direct one, a small one.

The baseline streams the same query of the same file with DuckDB through `pyarrow.flight` over TLS, from a process of
its own; it checks nothing, signs nothing and keeps nothing. The small read is compared with an empty call on the same
connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from harness import PAIRS, Result, against, at_most
from pyarrow import flight
from venues import FEW, HANDLE, venues

from trustnode import aio
from trustnode.core import clock
from trustnode.demo.stage import free_port
from trustnode.testing.certificates import Venue

SQL = "select * from numbers"
SMALL = 40
SERVER = """
import sys
import duckdb, pyarrow.flight as flight
port, data, key, chain = sys.argv[1:]
class Server(flight.FlightServerBase):
    def do_get(self, context, ticket):
        sql = f"select * from read_parquet('{data}')"
        return flight.RecordBatchStream(duckdb.connect().sql(sql).to_arrow_reader(65536))
pair = (open(chain, "rb").read(), open(key, "rb").read())
Server(f"grpc+tls://127.0.0.1:{port}", tls_certificates=[pair]).serve()
"""


@contextlib.contextmanager
def _bare(folder: Path) -> Iterator[flight.FlightClient]:
    leaf = Venue.create("bare.example", clock.text(datetime.now(UTC))).node()
    (folder / "bare.key").write_bytes(leaf.key_pem)
    (folder / "bare.pem").write_bytes(leaf.chain_pem)
    port = free_port()
    words = (str(port), str(folder / "numbers.parquet"), str(folder / "bare.key"), str(folder / "bare.pem"))
    server = subprocess.Popen([sys.executable, "-c", SERVER, *words])
    try:
        with flight.FlightClient(f"grpc+tls://127.0.0.1:{port}", disable_server_verification=True) as client:
            client.wait_for_available(timeout=20)
            yield client
    finally:
        server.kill()
        server.wait()


def _bare_rate(client: flight.FlightClient) -> float:
    started, size = time.perf_counter(), 0
    for chunk in client.do_get(flight.Ticket(b"")):
        size += chunk.data.nbytes
    return size / 1e6 / (time.perf_counter() - started)


async def _rate(agreement: aio.Agreement) -> float:
    started, size = time.perf_counter(), 0
    async with agreement.reader(SQL) as batches:
        async for batch in batches:
            size += batch.nbytes
    return size / 1e6 / (time.perf_counter() - started)


class Stages:
    """Milliseconds of the parts of a small read, taken around the calls of one client."""

    def __init__(self, cx: aio.Client) -> None:
        self.times: dict[str, list[float]] = {"call": [], "acknowledge": [], "whole": [], "echo": []}
        cx.connection.home.read = self.around("call", cx.connection.home.read)
        cx.acks.try_flush = self.around("acknowledge", cx.acks.try_flush)

    def around(self, name, work):
        """``work``, timed."""

        async def timed(*words, **named):
            started = time.perf_counter()
            try:
                return await work(*words, **named)
            finally:
                self.times[name].append((time.perf_counter() - started) * 1000)

        return timed

    def median(self, name: str) -> float:
        """Of all but the first five."""
        return statistics.median(self.times[name][5:])


async def _small(cx: aio.Client, agreement: aio.Agreement) -> list[Result]:
    """Small reads, each with SQL never seen before, and empty calls, in turn."""
    stages = Stages(cx)

    async def whole(number: int) -> None:
        await agreement.sql(f"select c0 from few where c1 < 0.{number + 11} limit {number + 1}").to_arrow()

    async def echo() -> None:
        await cx.connection.call("EvidenceService/GetCheckpoint")

    for number in range(SMALL):
        await stages.around("whole", whole)(number)
        await stages.around("echo", echo)()
    calls, echoes = ([1000 / one for one in stages.times[name][5:]] for name in ("call", "echo"))
    rest = stages.median("whole") - stages.median("call") - stages.median("acknowledge")
    split = (
        f"client to client {stages.median('whole'):.1f} ms: call {stages.median('call'):.1f},"
        f" acknowledge {stages.median('acknowledge'):.1f}, sign, check and convert {rest:.1f}"
    )
    note = "new SQL each time; decision and receipt durable before the answer"
    return [
        against("small_read", "reads/s", calls, "empty call", echoes, at_least=0.2, note=f"{note}; {split}"),
        at_most("small_read_ms", "ms", stages.median("whole"), 20.0, "the same, client to client"),
    ]


async def _measure(folder: Path, bare: flight.FlightClient, only: str) -> list[Result]:
    results = []
    near, far = (str(folder / "profiles" / name) for name in ("near", "far"))
    async with aio.connect(near) as cx, aio.connect(far) as fx:
        direct = await cx.negotiate(HANDLE, offer="open", purpose="statistics")
        brokered = await fx.negotiate(HANDLE, offer="open", purpose="statistics")
        if only in ("", "stream", "stream_brokered"):
            rates: list[list[float]] = [[], [], []]
            await _rate(direct)
            await _rate(brokered)
            for _ in range(PAIRS):
                rates[0].append(await asyncio.to_thread(_bare_rate, bare))
                rates[1].append(await _rate(direct))
                rates[2].append(await _rate(brokered))
            note = "192 MB, content digest on (it cannot be turned off); signed request, receipt, acknowledgement"
            results += [
                against("stream", "MB/s", rates[1], "bare Flight", rates[0], at_least=0.75, note=note),
                against(
                    "stream_brokered", "MB/s", rates[2], "direct", rates[1], at_least=0.5, note="through two nodes"
                ),
            ]
        if only in ("", "small_read"):
            few = await cx.negotiate(FEW, offer="open", purpose="statistics")
            results += await _small(cx, few)
    return results


def run(only: str) -> list[Result]:
    """Measure."""
    with venues() as stage, _bare(stage.folder) as bare:
        return asyncio.run(_measure(stage.folder, bare, only))
