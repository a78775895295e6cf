"""The asyncio side of the engine: sessions, streams, small answers. Imports no engine.

Decides: which worker serves which agreement, how many there are, when one is stopped, killed or replaced. Leaves to
others: what a query may see (worker side: ``plan``), quotas and receipts (``app``).

A warm worker is kept for (agreement, policy digest, data version) and never serves another; one query or stream at a
time. Frames pass through as the bytes they were built as.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Final, NoReturn, Self, TypeVar

import msgspec
import structlog

from trustnode.core.policy.governed import GovernedTable
from trustnode.core.policy.schema import Column
from trustnode.core.stream import FrameNote
from trustnode.engine import message as wire
from trustnode.engine.message import ClerkSpec, Frame, Parameter, Plan, RunLimits, SessionSpec
from trustnode.engine.process import WorkerProcess
from trustnode.engine.source import Source, Table
from trustnode.errors import REASONS, TrustnodeError, error

__all__ = [
    "Clerk",
    "EngineLimits",
    "EnginePool",
    "Frame",
    "FrameStream",
    "Parameter",
    "Plan",
    "RunLimits",
    "Session",
    "SessionSpec",
    "SmallAnswer",
]

A = TypeVar("A", bound=wire.ClerkAnswer)
_log: Final = structlog.get_logger("trustnode.engine")
_OPEN_SECONDS: Final = 60.0
_CLERK_SECONDS: Final = 5.0


class EngineLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a pool."""

    max_workers: int = 8
    spare_workers: int = 1
    """Workers started ahead that belong to nobody yet."""
    run: RunLimits = RunLimits()
    """What one query may use."""


class SmallAnswer(msgspec.Struct, frozen=True):
    """A whole answer: its plan and its frames, the schema first."""

    plan: Plan
    frames: tuple[Frame, ...]

    @property
    def rows(self) -> int:
        """Rows in all frames."""
        return sum(frame.note.rows for frame in self.frames)


class EnginePool:
    """All worker processes of a node; an async context manager."""

    def __init__(self, limits: EngineLimits = EngineLimits()) -> None:  # noqa: B008 - an immutable value
        self._limits = limits
        self.run_limits = limits.run
        self._executor = ThreadPoolExecutor(
            2 * (limits.max_workers + limits.spare_workers) + 2, thread_name_prefix="engine"
        )
        self._idle: dict[WorkerProcess, None] = {}
        """Least recently used first."""
        self._busy: set[WorkerProcess] = set()
        self._starting = 0
        self._spares: list[asyncio.Task[WorkerProcess]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        self._start_spares()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closed = True
        down = error("DRAINING")
        spares = await asyncio.gather(*self._spares, return_exceptions=True)
        workers = [*self._idle, *self._busy, *(spare for spare in spares if isinstance(spare, WorkerProcess))]
        await asyncio.gather(*(worker.kill(down) for worker in workers), *self._closing)
        self._executor.shutdown(wait=True)

    @property
    def workers(self) -> int:
        """Workers that serve an agreement, idle ones included."""
        return len(self._idle) + len(self._busy) + self._starting

    async def session(self, spec: SessionSpec) -> Session:
        """Open a session, or find it warm.

        Raises:
            TrustnodeError: BUSY; FIELD_FORMAT (source not readable); OFFER_UNENFORCEABLE (the policy does not fit it).
        """
        self._release(await self._borrow(spec))
        return Session(self, spec)

    def clerk(self, owner: str = "") -> Clerk:
        """Who reads and writes Arrow for one caller; without a name, for the node itself."""
        return Clerk(self, ClerkSpec(owner))

    async def describe(self, source: Source) -> tuple[Table, ...]:
        """Read the columns of a source in a worker of its own, which ends afterwards."""
        worker = await self._spare()
        try:
            answer = await worker.exchange(wire.DescribeSource(source), _OPEN_SECONDS)
        finally:
            await worker.close()
        if not isinstance(answer, wire.Described):
            refuse(answer)
        return answer.tables

    async def kill(self, agreement: str, reason: str = "CANCELLED") -> int:
        """End every worker of an agreement at once.

        Args:
            agreement: Whose workers.
            reason: What readers of running streams get, a key of ``REASONS``.

        Returns:
            How many workers were ended.
        """
        doomed = [
            worker for worker in [*self._idle, *self._busy] if worker.key and agreement in worker.key[0].split(" ")
        ]
        for worker in doomed:
            self._idle.pop(worker, None)
        await asyncio.gather(*(worker.kill(error(reason)) for worker in doomed))
        self._busy.difference_update(doomed)
        return len(doomed)

    @contextlib.asynccontextmanager
    async def worker(self, spec: SessionSpec | ClerkSpec) -> AsyncIterator[WorkerProcess]:
        """A worker that is open for this spec, for one exchange."""
        worker = await self._borrow(spec)
        try:
            yield worker
        finally:
            self._release(worker)

    async def _borrow(self, spec: SessionSpec | ClerkSpec) -> WorkerProcess:
        for worker in reversed(list(self._idle)):
            if not worker.is_usable:
                del self._idle[worker]
                self._discard(worker)
            elif worker.key == spec.key:
                del self._idle[worker]
                self._busy.add(worker)
                return worker
        self._starting += 1
        try:
            await self._make_room()
            worker = await self._open(spec)
        finally:
            self._starting -= 1
        self._busy.add(worker)
        return worker

    async def _make_room(self) -> None:
        """End the least recently used idle worker when there are too many; BUSY when none is idle."""
        while self.workers > self._limits.max_workers:
            oldest = next(iter(self._idle), None)
            if oldest is None:
                raise error("BUSY", "all workers are in use")
            del self._idle[oldest]
            await oldest.close()

    async def _open(self, spec: SessionSpec | ClerkSpec) -> WorkerProcess:
        opening = wire.OpenSession(spec) if isinstance(spec, SessionSpec) else wire.OpenClerk(spec.limits)
        worker = await self._spare()
        try:
            answer = await worker.exchange(opening, _OPEN_SECONDS)
            if not isinstance(answer, wire.Ready):
                refuse(answer)
        except BaseException:
            await worker.close()
            raise
        worker.key = spec.key
        return worker

    def _release(self, worker: WorkerProcess) -> None:
        self._busy.discard(worker)
        if worker.is_usable and not self._closed:
            self._idle[worker] = None
        else:
            self._discard(worker)

    def _discard(self, worker: WorkerProcess) -> None:
        task = asyncio.ensure_future(worker.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _spare(self) -> WorkerProcess:
        """A loaded worker that belongs to nobody; another is started in its place."""
        if self._closed:
            raise error("DRAINING")
        task = self._spares.pop(0) if self._spares else asyncio.ensure_future(self._start())
        self._start_spares()
        return await task

    def _start_spares(self) -> None:
        while len(self._spares) < self._limits.spare_workers:
            self._spares.append(asyncio.ensure_future(self._start()))

    async def _start(self) -> WorkerProcess:
        worker = WorkerProcess(self._executor)
        try:
            await worker.ready()
        except BaseException:
            await worker.close()
            raise
        return worker


class Session:
    """What one agreement may ask; holds no worker between two queries."""

    def __init__(self, pool: EnginePool, spec: SessionSpec) -> None:
        self._pool = pool
        self._spec = spec

    async def plan(self, sql: str, parameters: Sequence[Parameter] = ()) -> Plan:
        """Check and rewrite a query; no data is read.

        Raises:
            TrustnodeError: QUERY_INVALID, FIELD_TOO_LONG, FIELD_NOT_AGREED, DENIED, QUERY_TOO_COSTLY, DEADLINE, BUSY.
        """
        async with self._pool.worker(self._spec) as worker:
            answer = await worker.exchange(wire.PlanQuery(sql, tuple(parameters)), self._spec.limits.plan_seconds)
        if not isinstance(answer, wire.Planned):
            refuse(answer)
        return answer.plan

    async def answer_schema(self, sql: str, parameters: Sequence[Parameter] = ()) -> bytes:
        """The Arrow schema of what a query would deliver, as an IPC message.

        Raises:
            TrustnodeError: As ``plan``.
        """
        async with self._pool.worker(self._spec) as worker:
            request = wire.ShowSchema(sql, tuple(parameters))
            answer = await worker.exchange(request, self._spec.limits.plan_seconds)
        if not isinstance(answer, wire.SchemaWritten):
            refuse(answer)
        return answer.schema

    async def run(self, plan: Plan, *, max_rows: int | None = None) -> FrameStream:
        """Begin to stream the rows of a plan.

        Args:
            plan: Of this session's policy.
            max_rows: Rows that may be handed over; when more are there, the stream ends with QUOTA_TOTAL after them.
        """
        worker = await self._pool._borrow(self._spec)  # noqa: SLF001 - the session is the pool's other half
        request = wire.RunQuery(plan.query, plan.parameters, plan.sql, worker.next_run(), max_rows)
        worker.begin(request)
        return FrameStream(self._pool, worker, self._spec.limits.engine_seconds)

    async def read(
        self,
        query: str | Plan,
        parameters: Sequence[Parameter] = (),
        *,
        max_bytes: int = 1 << 20,
        max_rows: int | None = None,
    ) -> SmallAnswer:
        """Plan (unless ``query`` is a plan) and answer in one round trip.

        Raises:
            TrustnodeError: As ``plan``; QUERY_TOO_COSTLY with ``limit_bytes`` when the answer is larger than
                ``max_bytes``; QUOTA_TOTAL when it has more rows than ``max_rows``.
        """
        text, values, expected = (
            (query.query, query.parameters, query.sql) if isinstance(query, Plan) else (query, tuple(parameters), "")
        )
        async with self._pool.worker(self._spec) as worker:
            request = wire.ReadQuery(text, values, max_bytes, worker.next_run(), expected, max_rows)
            answer = await worker.exchange(request, self._spec.limits.engine_seconds)
        if not isinstance(answer, wire.SmallResult):
            refuse(answer)
        frames = tuple(Frame(data, FrameNote.from_bytes(note)) for note, data in answer.frames)
        return SmallAnswer(answer.plan, frames)


class Clerk:
    """Reads and writes Arrow for one caller, in a worker that serves no other."""

    def __init__(self, pool: EnginePool, spec: ClerkSpec) -> None:
        self._pool = pool
        self._spec = spec

    async def parameter_types(self, sql: str, columns: Sequence[Column]) -> tuple[str, ...]:
        """Type words of the ``?`` of a query over these columns.

        Raises:
            TrustnodeError: QUERY_INVALID, FIELD_TOO_LONG, BUSY.
        """
        return (await self._ask(wire.FindParameters(sql, tuple(columns)), wire.ParametersFound)).words

    async def parameters(self, messages: Sequence[tuple[bytes, bytes]]) -> tuple[wire.Value, ...]:
        """The values of one row that a client sent as Arrow messages.

        Raises:
            TrustnodeError: QUERY_INVALID, BUSY; INTERNAL when they ended the worker.
        """
        return (await self._ask(wire.ReadParameters(tuple(messages)), wire.ParametersRead)).values

    async def schema(
        self, columns: Sequence[Column], governed: GovernedTable | None = None
    ) -> tuple[tuple[Column, ...], bytes]:
        """Columns as an IPC schema message, and in words; of a governed table what it delivers."""
        answer = await self._ask(wire.WriteSchema(tuple(columns), governed), wire.SchemaWritten)
        return answer.columns, answer.schema

    async def table(self, name: str, rows: Sequence[tuple[wire.Cell, ...]]) -> tuple[bytes, ...]:
        """A metadata answer as FlightData messages, the schema first; names as in ``tables.SCHEMAS``."""
        return (await self._ask(wire.WriteTable(name, tuple(rows)), wire.TableWritten)).frames

    async def _ask(self, request: wire.ClerkRequest, expected: type[A]) -> A:
        async with self._pool.worker(self._spec) as worker:
            answer = await worker.exchange(request, _CLERK_SECONDS)
        if not isinstance(answer, expected):
            refuse(answer)
        return answer


class FrameStream:
    """The frames of one run, the schema first; iterate, and close in every case.

    A frame that was handed out is the credit for a further one: no more than two are under way, and one is read ahead.
    """

    def __init__(self, pool: EnginePool, worker: WorkerProcess, engine_seconds: float) -> None:
        self._pool = pool
        self._worker = worker
        self._seconds_left = engine_seconds
        self._over = False
        self._stopping: asyncio.Task[None] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Frame:
        """The next frame.

        Raises:
            TrustnodeError: QUOTA_TOTAL (the row budget is used up), CANCELLED (stopped), DEADLINE, QUERY_TOO_COSTLY,
                QUERY_INVALID, STALE_VERSION, INTERNAL.
        """
        if self._over:
            raise StopAsyncIteration
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            received = await self._worker.following(max(self._seconds_left, 0.0))
        except BaseException:
            self._finish()
            raise
        self._seconds_left -= loop.time() - started
        if isinstance(received, Frame):
            self._worker.ask()
            return received
        self._finish()
        if received != wire.End("complete"):
            refuse(received)
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End the stream: interrupt, and kill the worker when it has not ended after 0.5 s. Safe to call twice."""
        if not self._over:
            self._over = True
            try:
                await self._worker.stop_run()
            finally:
                self._finish()

    def _finish(self) -> None:
        self._over = True
        self._pool._release(self._worker)  # noqa: SLF001 - the stream gives back what the session borrowed


def refuse(answer: wire.Answer | Frame) -> NoReturn:
    """Raise what an answer other than the expected one means."""
    if isinstance(answer, wire.Failure) and answer.reason in REASONS:
        if answer.detail:
            _log.warning("query refused", reason=answer.reason, cause=answer.detail)
        raise error(answer.reason, answer.message, **answer.metadata)
    if isinstance(answer, wire.End):
        raise _end(answer)
    raise error("INTERNAL", "the worker gave an answer that was not asked for")


def _end(answer: wire.End) -> TrustnodeError:
    if answer.reason == "quota":
        return error("QUOTA_TOTAL", "the rows that were left are delivered; the answer has more")
    return error("CANCELLED", "the query was stopped")
