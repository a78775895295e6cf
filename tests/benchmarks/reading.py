"""Reads: streams at the provider against bare Arrow Flight, a brokered one against the direct one, small ones.

The baseline streams the same query of the same file with DuckDB through `pyarrow.flight` over TLS, from a process of
its own; it checks nothing, signs nothing and keeps nothing. A whole table is read from kept frames after its first
reader, a query with a condition runs in the engine each time. Small reads are compared with an empty call on the same
connection, one at a time and many at once.
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

from harness import PAIRS, Result, against, at_least, at_most, rate
from pyarrow import flight
from venues import FEW, HANDLE, venues

from trustnode import aio
from trustnode.core import clock
from trustnode.demo.stage import free_port
from trustnode.sdk.read import Reader, make_query
from trustnode.testing.certificates import Venue

WHOLE = "select * from numbers"
ANY = "select * from numbers where c0 >= 0"
"""The same rows, through the engine."""
KEPT = "select c0 from few where c1 < 0.01"
CALLERS = 32
LOAD = 160
"""Reads of one measurement."""
SMALL = 40
SERVER = """
import sys
import duckdb, pyarrow.flight as flight
port, data, key, chain = sys.argv[1:]
view = f"create view numbers as select * from read_parquet('{data}')"
class Server(flight.FlightServerBase):
    def do_get(self, context, ticket):
        connection = duckdb.connect()
        connection.execute(view)
        return flight.RecordBatchStream(connection.sql(ticket.ticket.decode()).to_arrow_reader(65536))
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


def _bare_rate(client: flight.FlightClient, sql: str) -> float:
    started, size = time.perf_counter(), 0
    for chunk in client.do_get(flight.Ticket(sql.encode())):
        size += chunk.data.nbytes
    return size / 1e6 / (time.perf_counter() - started)


async def _rate(agreement: aio.Agreement, sql: str) -> float:
    started, size = time.perf_counter(), 0
    async with agreement.reader(sql) as batches:
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


async def _streams(bare: flight.FlightClient, direct: aio.Agreement, brokered: aio.Agreement) -> list[Result]:
    """Each structure in turn, so that what else the machine does meets all of them."""
    runs = {
        "bare any": lambda: asyncio.to_thread(_bare_rate, bare, ANY),
        "any": lambda: _rate(direct, ANY),
        "brokered any": lambda: _rate(brokered, ANY),
        "bare whole": lambda: asyncio.to_thread(_bare_rate, bare, WHOLE),
        "whole": lambda: _rate(direct, WHOLE),
    }
    for run in runs.values():
        await run()
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(PAIRS):
        for name, run in runs.items():
            rates[name].append(await run())
    note = "192 MB through the engine, content digest on; signed request, receipt, acknowledgement"
    kept = "192 MB from kept frames; decision, receipt and log as ever; the client hashes what it gets"
    far, near = rates["brokered any"], rates["any"]
    return [
        against("stream", "MB/s", near, "bare Flight", rates["bare any"], at_least=0.75, note=note),
        against("stream_kept", "MB/s", rates["whole"], "bare Flight", rates["bare whole"], at_least=1.0, note=kept),
        against("stream_brokered", "MB/s", far, "direct", near, at_least=0.5, note="through two nodes"),
    ]


def _tickets(agreement: aio.Agreement, sql: str, count: int) -> list[bytes]:
    """Signed requests, ready to be sent: the client's own work is not measured."""
    query = make_query(sql, ())
    readers = [Reader(agreement, query, agreement.purpose, timeout_s=60, small=True) for _ in range(count)]
    return [reader._ask().ticket for reader in readers]


async def _kept(cx: aio.Client, agreement: aio.Agreement) -> list[Result]:
    """The same small read again and again, many at once, against empty calls."""

    async def echo(_number: int) -> None:
        await cx.connection.call("EvidenceService/GetCheckpoint")

    tickets = _tickets(agreement, KEPT, (PAIRS + 1) * LOAD)

    async def read(_number: int) -> None:
        await cx.connection.home.read(tickets.pop(), timeout_s=60)

    await rate(read, LOAD, CALLERS)
    calls, echoes = [], []
    for _ in range(PAIRS):
        echoes.append(await rate(echo, LOAD, CALLERS))
        calls.append(await rate(read, LOAD, CALLERS))
    note = f"{CALLERS} at once from one client on the same cores; decision and receipt durable before each answer"
    return [
        against("small_kept", "reads/s", calls, "empty call", echoes, at_least=0.3, note=note),
        at_least("small_kept_rate", "reads/s", statistics.median(calls), 1000.0, "the same, as a rate"),
    ]


async def _measure(folder: Path, bare: flight.FlightClient, only: str) -> list[Result]:
    results = []
    near, far = (str(folder / "profiles" / name) for name in ("near", "far"))
    async with aio.connect(near) as cx, aio.connect(far) as fx:
        if only in ("", "stream", "stream_kept", "stream_brokered"):
            direct = await cx.negotiate(HANDLE, offer="open", purpose="statistics")
            brokered = await fx.negotiate(HANDLE, offer="open", purpose="statistics")
            results += await _streams(bare, direct, brokered)
        if only in ("", "small_read", "small_kept"):
            few = await cx.negotiate(FEW, offer="open", purpose="statistics")
            results += await _small(cx, few) if only != "small_kept" else []
            results += await _kept(cx, few) if only != "small_read" else []
    return results


def run(only: str) -> list[Result]:
    """Measure."""
    with venues() as stage, _bare(stage.folder) as bare:
        return asyncio.run(_measure(stage.folder, bare, only))
