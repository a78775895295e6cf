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
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from harness import PAIRS, Result, against, at_least, at_most, rate
from pyarrow import flight
from venues import FEW, HANDLE, QUICK, venues

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


async def _streams(
    bare: flight.FlightClient, direct: aio.Agreement, quick: aio.Agreement, brokered: aio.Agreement
) -> list[Result]:
    """Each structure in turn, so that what else the machine does meets all of them.

    Two rounds: more agreements at a time than the node has workers would measure how fast workers are started.
    """
    bare_any = ("bare", lambda: asyncio.to_thread(_bare_rate, bare, ANY))
    first = await _in_turn(bare_any, ("any", lambda: _rate(direct, ANY)), ("undigested", lambda: _rate(quick, ANY)))
    second = await _in_turn(
        ("bare", lambda: asyncio.to_thread(_bare_rate, bare, WHOLE)),
        ("whole", lambda: _rate(direct, WHOLE)),
        ("any", lambda: _rate(direct, ANY)),
        ("brokered", lambda: _rate(brokered, ANY)),
    )
    note = "192 MB through the engine, content digest on; signed request, receipt, acknowledgement"
    kept = "192 MB from kept frames; decision, receipt and log as ever; the client hashes what it gets"
    without = "the same without a digest of the content: headers and lengths only, at the provider and at the client"
    unit, base = "MB/s", "bare Flight"
    return [
        against("stream", unit, first["any"], base, first["bare"], at_least=0.75, note=note),
        against("stream_undigested", unit, first["undigested"], base, first["bare"], at_least=0.85, note=without),
        against("stream_kept", unit, second["whole"], base, second["bare"], at_least=1.0, note=kept),
        against(
            "stream_brokered", unit, second["brokered"], "direct", second["any"], at_least=0.5,
            note="through two nodes",
        ),
    ]  # fmt: skip


async def _in_turn(*runs: tuple[str, Callable[[], Awaitable[float]]]) -> dict[str, list[float]]:
    """Rates of each, one after the other, after one of each that does not count."""
    rates: dict[str, list[float]] = {name: [] for name, _ in runs}
    for number in range(PAIRS + 1):
        for name, run in runs:
            found = await run()
            if number:
                rates[name].append(found)
    return rates


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
        if only in ("", "stream", "stream_undigested", "stream_kept", "stream_brokered"):
            direct = await cx.negotiate(HANDLE, offer="open", purpose="statistics")
            quick = await cx.negotiate(QUICK, offer="open", purpose="statistics")
            brokered = await fx.negotiate(HANDLE, offer="open", purpose="statistics")
            results += await _streams(bare, direct, quick, brokered)
        if only in ("", "small_read", "small_kept"):
            few = await cx.negotiate(FEW, offer="open", purpose="statistics")
            results += await _small(cx, few) if only != "small_kept" else []
            results += await _kept(cx, few) if only != "small_read" else []
    return results


def run(only: str) -> list[Result]:
    """Measure."""
    with venues() as stage, _bare(stage.folder) as bare:
        return asyncio.run(_measure(stage.folder, bare, only))
