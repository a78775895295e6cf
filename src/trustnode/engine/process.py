"""One worker process seen from the node: start, exchange, stop, kill.

Decides: how a worker is started and ended, and which reason its death becomes. Leaves to others: which worker serves
whom (``pool``), what the worker does (``worker``).

Sockets are read in executor threads with one ``recv`` a message; the event loop never waits. A socket is closed only
after the thread that reads it has returned.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import Executor
from pathlib import Path
from typing import Final

from trustnode.engine import message as wire
from trustnode.errors import TrustnodeError, error

START_SECONDS: Final = 30.0
KILL_GRACE_SECONDS: Final = 0.5
"""Between the interrupt and the kill."""
_SOCKET_BUFFER_BYTES: Final = 1 << 20
_PROGRAM: Final = (sys.executable, "-P", "-s", "-m", "trustnode.engine.worker")
_PACKAGE_ROOT: Final = Path(__file__).resolve().parents[2]
Reading = asyncio.Future[wire.Frame | wire.Answer]

_SPENT: Final = frozenset({signal.SIGXCPU, signal.SIGKILL, signal.SIGABRT})
"""Signals that end a worker which used up processor time or memory (SIGKILL: the kernel, for want of memory)."""

_SPENDING: Final = frozenset({"QUERY_TOO_COSTLY", "INTERNAL", "SOURCE_UNAVAILABLE"})
"""Failures of the engine after which the process serves nobody any more."""


class WorkerProcess:
    """A started worker; serves one exchange at a time."""

    def __init__(self, executor: Executor, *, network: bool = False) -> None:
        """Start it.

        Args:
            executor: Runs what waits for it.
            network: Whether it may reach the network, because its source lies there.
        """
        self._executor = executor
        self._data, theirs = socket.socketpair()
        self._control, their_control = socket.socketpair()
        self._data.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER_BYTES)
        with theirs, their_control:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
            self._process = _start(theirs, their_control, network=network)
        self._run = 0
        self._reading: Reading | None = None
        self._killed_for: TrustnodeError | None = None
        self._is_spent = False
        self._closing: asyncio.Task[None] | None = None
        self.key: tuple[str, str, str] | None = None

    @property
    def pid(self) -> int:
        """Process id, for tests and status."""
        return self._process.pid

    @property
    def is_usable(self) -> bool:
        """False when it has ended or was told to, and after a failure that may have left anything behind."""
        return not self._is_spent and self._killed_for is None and self._process.poll() is None

    def next_run(self) -> int:
        """A number for the next run."""
        self._run += 1
        return self._run

    async def ready(self) -> None:
        """Wait until the program has loaded."""
        await self._bounded(self._read(None), START_SECONDS)

    async def exchange(self, request: wire.Request, seconds: float) -> wire.Answer:
        """Send a request and wait for its answer; the worker is killed when it takes longer than ``seconds``."""
        answer = await self._bounded(self._read(wire.request_bytes(request)), seconds)
        if isinstance(answer, wire.Frame):
            raise await self._broken()
        return answer

    def begin(self, request: wire.RunQuery) -> None:
        """Send a run; its messages come out of ``following``."""
        self._reading = self._read(wire.request_bytes(request))

    def ask(self) -> Reading:
        """Hand one credit to the worker and begin to read the next message, if none is being read."""
        if self._reading is None:
            self._reading = self._read(wire.CREDIT)
        return self._reading

    async def following(self, seconds: float) -> wire.Frame | wire.Answer:
        """The message being read; the worker is stopped, then killed, when it takes longer than ``seconds``."""
        return await self._bounded(self.ask(), seconds)

    async def stop_run(self) -> None:
        """Interrupt the run and read what is left of it; kill the worker when that takes longer than the grace time."""
        self._send_control()
        try:
            async with asyncio.timeout(KILL_GRACE_SECONDS):
                while True:
                    result = await asyncio.shield(self.ask())
                    self._reading = None
                    if not isinstance(result, wire.Frame):
                        return
        except (TimeoutError, wire.WorkerGone):
            await self.kill(error("CANCELLED", "the query was stopped"))
        except asyncio.CancelledError:
            await self.kill(error("CANCELLED", "the query was stopped"))
            raise

    async def kill(self, reason: TrustnodeError) -> None:
        """End the process now; whoever reads from it gets ``reason``."""
        self._killed_for = self._killed_for or reason
        self._process.kill()
        await self.close()

    async def close(self) -> None:
        """End the process and free what it held; safe to call twice; done to its end whoever goes away."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        with contextlib.suppress(OSError):
            self._data.shutdown(socket.SHUT_RDWR)
        if self._reading is not None:
            await asyncio.wait([self._reading])
        await asyncio.get_running_loop().run_in_executor(self._executor, self._process.wait)
        self._data.close()
        self._control.close()

    def _read(self, request: bytes | None) -> Reading:
        future = asyncio.get_running_loop().run_in_executor(self._executor, _exchange, self._data, request)
        future.add_done_callback(_seen)
        return future

    async def _bounded(self, reading: Reading, seconds: float) -> wire.Frame | wire.Answer:
        self._reading = reading
        try:
            done, _ = await asyncio.wait([reading], timeout=seconds)
        except asyncio.CancelledError:
            await self.kill(error("CANCELLED", "the caller has gone"))
            raise
        if not done:
            await self._interrupt(reading)
        try:
            result = reading.result()
        except wire.WorkerGone:
            raise await self._broken() from None
        self._reading = None
        self._is_spent |= isinstance(result, wire.Failure) and result.reason in _SPENDING and bool(result.detail)
        return result

    async def _interrupt(self, reading: Reading) -> None:
        """The deadline has passed: interrupt, then kill."""
        late = error("DEADLINE", "the query took longer than it may")
        self._send_control()
        done, _ = await asyncio.wait([reading], timeout=KILL_GRACE_SECONDS)
        if not done or reading.exception() is not None or isinstance(reading.result(), wire.Frame):
            await self.kill(late)
        self._reading = None
        raise late

    def _send_control(self) -> None:
        with contextlib.suppress(OSError):
            self._control.send(wire.control_bytes(self._run))

    async def _broken(self) -> TrustnodeError:
        """Why the worker is gone."""
        await self.close()
        if self._killed_for is not None:
            return self._killed_for
        self._killed_for = _reason_of(self._process.returncode)
        return self._killed_for


def _exchange(sock: socket.socket, request: bytes | None) -> wire.Frame | wire.Answer:
    if request is not None:
        try:
            sock.sendall(request)
        except OSError as failure:
            raise wire.WorkerGone from failure
    return wire.receive(sock)


def _seen(future: Reading) -> None:
    """A reader that nobody waits for any more must not be reported as forgotten."""
    if not future.cancelled():
        future.exception()


def _reason_of(status: int | None) -> TrustnodeError:
    if status is not None and status < 0 and -status in _SPENT:
        return error("QUERY_TOO_COSTLY", "the query used up the time or memory it may have")
    return error("INTERNAL", "the worker of this query has ended")


def _start(data: socket.socket, control: socket.socket, *, network: bool) -> subprocess.Popen[bytes]:
    """Start the program with nothing of our environment but where Python finds this package."""
    numbers = [data.fileno(), control.fileno()]
    return subprocess.Popen(  # noqa: S603 - our own program
        [*_PROGRAM, *map(str, numbers), str(os.getpid()), "network" if network else "confined"],
        pass_fds=numbers,
        env={"PYTHONPATH": str(_PACKAGE_ROOT), "LANG": "C.UTF-8", "TZ": "UTC"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        cwd="/",
    )
