"""A process that appends to a store until it is killed, and tells the world in a file what it was told.

Lines of the file, each one write to a file opened for appending, so that a kill leaves whole lines only:

    t ACCESS                            a read is about to be asked for
    e ACCESS OBJECT SEQ LINK TAKEN      the store acknowledged it: its entry, and whether the counter allowed it
    c SIZE ROOT                         a head left the process, as a checkpoint does
    f REASON                            an append was refused because the disk failed
    p REASON                            a head could not be shown

Decides: nothing about what is right (``outside`` does). Ends with status 3 where the writer ended, 4 where anything
happened that no disk explains.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from itertools import count
from pathlib import Path

import structlog

from trustnode.core.access import AccessState
from trustnode.core.document import Document
from trustnode.errors import TrustnodeError
from trustnode.store import connection, schema
from trustnode.store.unit import Tx
from trustnode.store.writer import Store

CALLERS = 16
PAUSE_S = 0.002
NOTICE = Document("application/vnd.trustnode.offer.v1+json", b'{"id":"o1","type":"offer"}', ())
COUNTER = "reads"
EXPLAINED = frozenset({"EVIDENCE_UNAVAILABLE", "STORE_CORRUPT", "BUSY"})
"""What a failing disk may answer; a read error of the database counts as damage until it was opened again."""


class Appender:
    """The callers of one store."""

    def __init__(self, store: Store, world: int, *, limit: int, units: int) -> None:
        self._store = store
        self._world = world
        self._limit = limit
        self._left = iter(range(units)) if units else iter(count())
        self._run = os.urandom(4).hex()  # a process id comes again

    def say(self, *words: object) -> None:
        """Tell the world."""
        os.write(self._world, (" ".join(str(word) for word in words) + "\n").encode())

    async def call(self, name: str) -> None:
        """One caller: ask, hear, go on; a disk that fails is no reason to stop."""
        for number in self._left:
            access = f"{name}-{self._run}-{number}"
            self.say("t", access)
            try:
                told = await self._store.write(self._unit(access, name), event_id=access, returns=str)
            except TrustnodeError as problem:
                if problem.reason not in EXPLAINED:
                    raise
                self.say("f", problem.reason)
                await asyncio.sleep(PAUSE_S)
                continue
            self.say("e", access, name, told)
            if number % 2:
                await self._settle(access, name)

    def _unit(self, access: str, name: str):
        """State, entry, notice and counter of one read: they stand or fall together."""

        def unit(tx: Tx) -> str:
            taken = tx.reserve(COUNTER, 1, self._limit, access=access)
            state = tx.save(AccessState(id=access, agreement=name))
            tx.log("agreement", name, "access.decide" if taken else "access.deny", access_id=access)
            tx.tell("CONTROL", name, [NOTICE])
            end = tx.chain("agreement", name)
            if taken:
                tx.place(state, decision_seq=end.seq, decision_link=end.link.hex())
            return f"{end.seq} {end.link.hex()} {int(taken)}"

        return unit

    async def _settle(self, access: str, name: str) -> None:
        """The second step of a read: what was reserved is used."""

        def unit(tx: Tx) -> None:
            tx.settle(access, {COUNTER: 1})
            tx.log("agreement", name, "delivery.complete", access_id=access)
            tx.tell("CONTROL", name, [NOTICE])

        try:
            await self._store.write(unit, event_id="", returns=type(None))
        except TrustnodeError as problem:
            self.say("f", problem.reason)

    async def show(self) -> None:
        """Show the head again and again, as a publisher does."""
        while True:
            try:
                record = await asyncio.to_thread(self._store.record_head)
            except TrustnodeError as problem:
                self.say("p", problem.reason)
            else:
                self.say("c", record.size, record.root)
            await asyncio.sleep(PAUSE_S)


def wait() -> None:
    """Let somebody trace this process before it goes on."""
    schema.library()  # loaded now: from here on, what is opened belongs to the store
    os.write(1, b"ready\n")
    os.read(0, 1)


async def append(arguments: argparse.Namespace) -> None:
    """Open the store, append until the units are used up."""
    world = os.open(arguments.world, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    if arguments.wait == "opening":
        wait()

    def die(problem: BaseException) -> None:
        os.write(2, f"{problem}\n".encode())
        os._exit(3)

    opened = await Store.open(
        arguments.store, clock=lambda: "2026-11-24T12:00:00.000Z", node_id="n", on_fatal=die, reserve_bytes=0
    )
    async with opened as store:
        if arguments.wait == "running":
            wait()
        appender = Appender(store, world, limit=arguments.limit, units=arguments.units)
        showing = asyncio.ensure_future(appender.show())
        await asyncio.gather(*(appender.call(f"C{i}") for i in range(CALLERS)))
        showing.cancel()


def main() -> int:
    """Run; 0 when all units were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("world", type=Path, help="the file that the world reads")
    parser.add_argument("--limit", type=int, default=1 << 40, help="most reads that the counter allows")
    parser.add_argument("--units", type=int, default=0, help="end after so many; 0: never")
    parser.add_argument("--wait", choices=("opening", "running"), help="before that, say `ready` and wait for a line")
    parser.add_argument("--changes", type=int, default=connection.CHANGES_BEFORE_CHECKPOINT, help="before a checkpoint")
    arguments = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    connection.CHANGES_BEFORE_CHECKPOINT = arguments.changes  # type: ignore[misc]
    try:
        asyncio.run(append(arguments))
    except TrustnodeError as problem:
        os.write(2, f"{problem.reason}: {problem.message}\n".encode())
        return 3 if problem.reason in EXPLAINED else 4
    except Exception as problem:  # noqa: BLE001 (whatever it was, the test reports it)
        os.write(2, f"{type(problem).__name__}: {problem}\n".encode())
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
