"""One event loop in a background thread for everything that blocks.

Decides: how a blocking call waits for a coroutine, and that Ctrl-C lets it put things in order before it is raised.
Leaves to others: what is run. A process that forks gets a loop of its own.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from typing import Any, Final, TypeVar

from trustnode.errors import error

T = TypeVar("T")
SETTLE_S: Final = 10.0
"""How long an interrupted call may take to put things in order (receipt, acknowledgement)."""

_lock = threading.Lock()
_held: dict[int, asyncio.AbstractEventLoop] = {}


def _loop() -> asyncio.AbstractEventLoop:
    with _lock:
        loop = _held.get(os.getpid())
        if loop is None:
            loop = _held[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="trustnode", daemon=True).start()
        return loop


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end and return its result.

    Raises:
        KeyboardInterrupt: After the coroutine was cancelled and had its time to settle.
        TrustnodeError: USAGE when called on the loop itself, which would wait for ever.
    """
    loop = _loop()
    if threading.current_thread().name == "trustnode" and _running() is loop:
        work.close()
        raise error("USAGE", "a blocking call inside the client's own loop", next_step="Use trustnode.aio there.")
    done: Future[T] = Future()
    tasks: list[asyncio.Task[T]] = []

    def start() -> None:
        task = loop.create_task(work)
        tasks.append(task)
        task.add_done_callback(lambda ended: _hand_over(ended, done))

    try:
        loop.call_soon_threadsafe(start)
        return done.result()
    except KeyboardInterrupt:
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])
        _wait(done)
        raise


def iterate(source: AsyncIterator[T]) -> Iterator[T]:
    """Draw from an async iterator; closing the iterator closes the source."""
    try:
        while True:
            try:
                yield run(_following(source))
            except StopAsyncIteration:
                return
    finally:
        close = getattr(source, "aclose", None)
        if close is not None:
            run(close())


async def _following(source: AsyncIterator[T]) -> T:
    return await anext(source)


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _hand_over(task: asyncio.Task[T], done: Future[T]) -> None:
    if task.cancelled():
        done.set_exception(error("CANCELLED", "ended by the caller"))
    elif (problem := task.exception()) is not None:
        done.set_exception(problem)
    else:
        done.set_result(task.result())


def _wait(done: Future[Any]) -> None:
    try:
        done.exception(SETTLE_S)
    except (Late, KeyboardInterrupt):
        return
