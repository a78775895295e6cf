"""Appends to a store until it is killed; prints what was acknowledged, a line each: object, number, link."""

import asyncio
import os
import sys
from itertools import count

import structlog

from trustnode.core.access import AccessState
from trustnode.store.writer import Store

CALLERS = 16


async def append(store, name):
    for number in count():
        access = f"{name}-{os.getpid()}-{number}"

        def unit(tx, access=access):
            tx.save(AccessState(id=access, agreement=name))
            tx.log("agreement", name, "access.request", access_id="a")
            tx.tell("CONTROL", name, [])
            end = tx.chain("agreement", name)
            return f"{end.seq} {end.link.hex()}"

        answer = await store.write(unit, event_id=access, returns=str)
        os.write(1, f"{name} {answer}\n".encode())


async def record(store):
    """Show the head, as a publisher does."""
    while True:
        await asyncio.to_thread(store.record_head)


async def main(path):
    def die(problem):
        os.write(2, f"{problem}\n".encode())
        os._exit(3)

    async with await Store.open(
        path, clock=lambda: "2026-11-24T12:00:00.000Z", node_id="n", on_fatal=die, reserve_bytes=0
    ) as store:
        tasks = [asyncio.ensure_future(append(store, f"C{i}")) for i in range(CALLERS)]
        tasks.append(asyncio.ensure_future(record(store)))
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            if task.done() and task.exception():
                os.write(2, f"{task.exception()}\n".encode())
            task.cancel()


structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
asyncio.run(main(sys.argv[1]))
