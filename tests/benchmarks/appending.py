"""Durable appends with 64 callers, against the same rows written by SQLite alone in batches of 64."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

from harness import PAIRS, Result, against, rate

from trustnode.core import clock
from trustnode.core.evidence.entry import Entry, statement
from trustnode.store import connection, schema
from trustnode.store.unit import Tx
from trustnode.store.writer import Store

NAMES = ("append",)
COUNT = 8000
CALLERS = 64
NODE = "2" * 32
CHAIN = "C1"


def now() -> str:
    return clock.from_ms(time.time_ns() // 1_000_000)


async def _ours(folder: Path) -> float:
    async with await Store.open(folder / "node.db", clock=now, node_id=NODE, reserve_bytes=0) as store:

        def unit(tx: Tx) -> None:
            tx.log("agreement", CHAIN, "access.request")

        async def one(_number: int) -> None:
            await store.write(unit, event_id="", returns=type(None))

        return await rate(one, COUNT, CALLERS)


def _floor(folder: Path) -> float:
    """The rows of an append, made before the clock starts; the pragmas and the checkpoints of the store."""
    path = folder / "floor.db"
    with closing(connection.open_writer(path)) as db:
        schema.migrate(db)
        batches = [_rows(first) for first in range(0, COUNT, CALLERS)]
        started, moved = time.perf_counter(), 0
        for batch in batches:
            _write(db, batch)
            if db.total_changes - moved >= connection.CHANGES_BEFORE_CHECKPOINT:
                moved = db.total_changes
                db.execute("pragma wal_checkpoint(passive)").fetchone()
        return COUNT / (time.perf_counter() - started)


def _rows(first: int) -> list[tuple[int, bytes, bytes, bytes, bytes]]:
    entry = Entry(
        event_id="0" * 32, type="access.request", time=now(), node_id=NODE, object_kind="agreement", object=CHAIN
    )
    body = statement(entry)
    return [
        (at, hashlib.sha256(b"%d" % at).digest(), os.urandom(32), os.urandom(16), body)
        for at in range(first, min(first + CALLERS, COUNT))
    ]


def _write(db: sqlite3.Connection, rows: list[tuple[int, bytes, bytes, bytes, bytes]]) -> None:
    last = rows[-1][0]
    db.execute("begin immediate")
    db.executemany(
        "insert into entry (idx, chain, seq, link, commitment) values (?, 1, ?, ?, ?)",
        [(at, at + 1, link, committed) for at, link, committed, _, _ in rows],
    )
    db.executemany(
        "insert into statement (idx, salt, body) values (?, ?, ?)", [(at, salt, body) for at, _, _, salt, body in rows]
    )
    db.execute(
        "insert or replace into chain (id, kind, object, seq, link) values (1, 'agreement', ?, ?, ?)",
        (CHAIN, last + 1, rows[-1][1]),
    )
    db.execute(
        "insert or replace into tile (level, number, data) values (0, ?, ?)",
        (last // 256, bytes(32 * (last % 256 + 1))),
    )
    db.execute(
        "insert or replace into head (one, size, root, batch, time) values (1, ?, ?, ?, '')",
        (last + 1, rows[-1][1], bytes(16)),
    )
    db.execute("commit")


def run(_only: str) -> list[Result]:
    """Measure in turn."""
    ours, floor = [], []
    for _ in range(PAIRS):
        with tempfile.TemporaryDirectory() as folder:
            floor.append(_floor(Path(folder)))
            ours.append(asyncio.run(_ours(Path(folder))))
    note = "one entry each, 64 callers; the floor has the rows ready, hashes nothing and answers nobody"
    return [against("append", "appends/s", ours, "SQLite alone", floor, at_least=0.5, note=note)]
