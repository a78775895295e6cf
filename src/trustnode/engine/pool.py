"""The asyncio side of the engine: which worker serves whom. Imports no engine.

Decides: which worker serves which agreement, how many there are, who waits for one, when one is stopped, killed or
replaced. Leaves to others: what is asked of a worker (``asking``), frames (``streaming``), what a query may see (worker
side: ``plan``), quotas and receipts (``app``).

A warm worker is kept for one session (agreement, policy, governed tables, data version) and never serves another; one
query or stream at a time. When all are busy, callers wait their turn for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeVar

import msgspec

from trustnode.core.policy.governed import GovernedTable
from trustnode.core.policy.schema import Column
from trustnode.engine import message as wire
from trustnode.engine import probing
from trustnode.engine.asking import Session, SmallAnswer
from trustnode.engine.kept import Kept, digest_of
from trustnode.engine.kept_files import Relations
from trustnode.engine.message import ClerkSpec, Frame, Parameter, Plan, ProbeSpec, RunLimits, SessionSpec
from trustnode.engine.probing import Credentials, Spec
from trustnode.engine.process import WorkerProcess
from trustnode.engine.source import Source, Table
from trustnode.engine.streaming import Frames, FrameStream, refuse
from trustnode.engine.versions import version_now
from trustnode.errors import TrustnodeError, error

__all__ = [
    "Clerk",
    "EngineLimits",
    "EnginePool",
    "Frame",
    "FrameStream",
    "Frames",
    "Parameter",
    "Plan",
    "RunLimits",
    "Session",
    "SessionSpec",
    "SmallAnswer",
]

A = TypeVar("A", bound=wire.ClerkAnswer)
Key = tuple[str, str, str]
SESSIONS_KNOWN: Final = 1024
SWEEP_SECONDS: Final = 30.0
"""How often what is kept is compared with the data behind it; a read compares at once."""
PATIENCE_SECONDS: Final = 1.0
"""After this a caller is next, although a warm worker goes to somebody who needs another."""
_OPEN_SECONDS: Final = 60.0
_CLERK_SECONDS: Final = 5.0
_VERSION_SECONDS: Final = 15.0


class EngineLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a pool."""

    max_workers: int = 8
    spare_workers: int = 1
    """Workers started ahead that belong to nobody yet."""
    run: RunLimits = RunLimits()
    """What one query may use."""
    queue_seconds: float = 5.0
    """Longest wait for a worker when all are busy; then BUSY."""
    kept_bytes: int = 64 << 20
    """Memory for answers and plans that are kept; 0: none."""
    kept_disk_bytes: int = 0
    """Disk for whole tables as they are delivered; 0: none."""
    disk_reserve_bytes: int = 0
    """What stays free on that disk."""


class _Turn(NamedTuple):
    """Somebody who waits: the worker is handed over warm, or a place in which one may be opened (None)."""

    key: Key
    since: float
    granted: asyncio.Future[WorkerProcess | None]


def can_noise() -> bool:
    """Whether workers of this installation find the library that noise needs; it is not loaded here."""
    return importlib.util.find_spec("opendp") is not None


class EnginePool:
    """All worker processes of a node; an async context manager."""

    def __init__(
        self,
        limits: EngineLimits = EngineLimits(),  # noqa: B008 - an immutable value
        folder: Path | None = None,
        credentials: Credentials = probing.no_credentials,
    ) -> None:
        """Start nothing yet.

        Args:
            limits: Bounds of the pool and of each query.
            folder: Where whole tables may be kept; None: nowhere.
            credentials: Reads what a source names; called whenever a worker opens one.
        """
        self._limits = limits
        self._credentials = credentials
        self.run_limits = limits.run
        self._executor = ThreadPoolExecutor(
            2 * (limits.max_workers + limits.spare_workers) + 2, thread_name_prefix="engine"
        )
        self._idle: dict[WorkerProcess, None] = {}
        """Least recently used first."""
        self._busy: set[WorkerProcess] = set()
        self._starting = 0
        self._turns: list[_Turn] = []
        self.kept = Kept(limits.kept_bytes)
        self.relations = Relations(
            folder, limits.kept_disk_bytes, self._executor, reserve_bytes=limits.disk_reserve_bytes
        )
        self._sessions: OrderedDict[str, SessionSpec] = OrderedDict()
        """Sessions that a worker has opened, the most used ones, by their digest."""
        self._sweeping: asyncio.Task[None] | None = None
        self._spares: list[asyncio.Task[WorkerProcess]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False
        self._probed: dict[Key, asyncio.Lock] = {}
        """One question about its version at a time for each source, in one worker."""

    async def __aenter__(self) -> Self:
        self._start_spares()
        self._sweeping = asyncio.ensure_future(self._sweep_forever())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closed = True
        down = error("DRAINING")
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait([self._sweeping])
        for turn in self._turns:
            turn.granted.cancel()
        spares = await asyncio.gather(*self._spares, return_exceptions=True)
        workers = [*self._idle, *self._busy, *(spare for spare in spares if isinstance(spare, WorkerProcess))]
        await asyncio.gather(*(worker.kill(down) for worker in workers), *self._closing)
        self.relations.close()
        self._executor.shutdown(wait=True)

    @property
    def workers(self) -> int:
        """Workers that serve an agreement, idle ones included."""
        return len(self._idle) + len(self._busy) + self._starting

    async def session(self, spec: SessionSpec) -> Session:
        """Open a session, or find it warm.

        Raises:
            TrustnodeError: BUSY; SOURCE_UNAVAILABLE; OFFER_UNENFORCEABLE (the policy does not fit the source).
        """
        session = Session(self, spec)
        if session.digest not in self._sessions:
            self.release(await self.borrow(spec))
        self._sessions[session.digest] = spec
        self._sessions.move_to_end(session.digest)
        while len(self._sessions) > SESSIONS_KNOWN:
            self._sessions.popitem(last=False)
        return session

    def clerk(self, owner: str = "") -> Clerk:
        """Who reads and writes Arrow for one caller; without a name, for the node itself."""
        return Clerk(self, ClerkSpec(owner))

    async def describe(self, source: Source) -> tuple[Table, ...]:
        """Read the columns of a source in a worker of its own, which ends afterwards.

        Raises:
            TrustnodeError: FIELD_FORMAT, which speaks to the provider; CONFIG_INVALID (its credentials); DEADLINE.
        """
        secrets = await asyncio.to_thread(probing.secrets_of, (source,), self._credentials)
        worker = await self._loaded((source,))
        try:
            answer = await worker.exchange(wire.DescribeSource(source, secrets), _OPEN_SECONDS)
        finally:
            await worker.close()
        if not isinstance(answer, wire.Described):
            refuse(answer)
        return answer.tables

    async def data_version(self, source: Source) -> str:
        """What tells the present state of a source's data from another; asked anew each time.

        Raises:
            TrustnodeError: SOURCE_UNAVAILABLE, BUSY.
        """
        if not source.needs_network:
            return await asyncio.to_thread(version_now, source)
        spec = ProbeSpec(source)
        async with self._probed.setdefault(spec.key, asyncio.Lock()), self.worker(spec) as worker:
            answer = await worker.exchange(wire.ReadVersion(), _VERSION_SECONDS)
        if not isinstance(answer, wire.VersionRead):
            refuse(answer)
        return answer.version

    async def is_current(self, spec: SessionSpec) -> bool:
        """Whether every source of a session has the version it was opened for; one that cannot be asked has not."""
        with contextlib.suppress(TrustnodeError, OSError):
            return all([await self.data_version(part.source) == part.data_version for part in spec.parts])
        return False

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
        self._grant_places()
        return len(doomed)

    def forget(self, agreement: str) -> None:
        """Keep nothing of an agreement that ended or was suspended: no answer, no idle worker that holds its rows."""
        self.kept.forget(agreement)
        self.relations.forget(agreement)
        self._end_idle(lambda key: agreement in key[0].split(" "))

    async def drop_outdated(self) -> None:
        """Keep nothing of data that are not there any more, although nobody asks for them."""
        for digest, spec in tuple(self._sessions.items()):
            if not any(part.source.needs_network for part in spec.parts) and not await self.is_current(spec):
                self._sessions.pop(digest, None)
                self.kept.forget(digest)
                self._end_idle(lambda key, digest=digest: key[1] == digest)  # type: ignore[misc]
        await self.relations.drop_outdated(self.is_current)

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.drop_outdated()

    def _end_idle(self, is_meant: Callable[[Key], bool]) -> None:
        for worker in [worker for worker in self._idle if worker.key and is_meant(worker.key)]:
            del self._idle[worker]
            self._discard(worker)

    @contextlib.asynccontextmanager
    async def worker(self, spec: Spec) -> AsyncIterator[WorkerProcess]:
        """A worker that is open for this spec, for one exchange."""
        worker = await self.borrow(spec)
        try:
            yield worker
        finally:
            self.release(worker)

    async def borrow(self, spec: Spec) -> WorkerProcess:
        """A worker that is open for this spec; give it back with ``release``.

        Raises:
            TrustnodeError: BUSY, none was free for ``queue_seconds``; as ``session``.
        """
        key = key_of(spec)
        worker = self._warm(key)
        if worker is None and not self._take_place():
            worker = await self._wait_turn(key)
        if worker is None:
            worker = await self._opened(spec, key)
        self._busy.add(worker)
        return worker

    async def _opened(self, spec: Spec, key: Key) -> WorkerProcess:
        """A new worker in a place that was taken."""
        try:
            worker = await self._open(spec, key)
            self._busy.add(worker)
        finally:
            self._starting -= 1
            self._grant_places()
        return worker

    def _warm(self, key: Key) -> WorkerProcess | None:
        for worker in reversed(list(self._idle)):
            if not worker.is_usable:
                del self._idle[worker]
                self._discard(worker)
            elif worker.key == key:
                del self._idle[worker]
                return worker
        return None

    def _take_place(self) -> bool:
        """Take the place in which a worker may be opened, if need be from the least recently used idle one."""
        if self.workers >= self._limits.max_workers:
            oldest = next(iter(self._idle), None)
            if oldest is None:
                return False
            del self._idle[oldest]
            self._discard(oldest)
        self._starting += 1
        return True

    async def _wait_turn(self, key: Key) -> WorkerProcess | None:
        turn = _Turn(key, asyncio.get_running_loop().time(), asyncio.get_running_loop().create_future())
        self._turns.append(turn)
        try:
            async with asyncio.timeout(self._limits.queue_seconds):
                return await turn.granted
        except TimeoutError:
            self._refuse_turn(turn)
            raise error("BUSY", "all workers are in use") from None
        except asyncio.CancelledError:
            self._refuse_turn(turn)
            if self._closed:
                raise error("DRAINING") from None
            raise

    def _refuse_turn(self, turn: _Turn) -> None:
        """Whoever waited goes away; what was handed over at that moment goes to the next."""
        if turn in self._turns:
            self._turns.remove(turn)
        elif not turn.granted.cancelled():
            worker = turn.granted.result()
            if worker is not None:
                self.release(worker)
            else:
                self._starting -= 1
                self._grant_places()

    def _next_turn(self, key: Key | None) -> _Turn | None:
        """Who is next: somebody who needs exactly this worker, unless the first has waited too long."""
        self._turns = [turn for turn in self._turns if not turn.granted.done()]  # who gave up may not know it yet
        if not self._turns:
            return None
        first = self._turns[0]
        late = asyncio.get_running_loop().time() - first.since > PATIENCE_SECONDS
        chosen = first if late else next((turn for turn in self._turns if turn.key == key), first)
        self._turns.remove(chosen)
        return chosen

    def _grant_places(self) -> None:
        """Let those who wait open a worker where there is room now."""
        while not self._closed and self._turns and self._take_place():
            turn = self._next_turn(None)
            if turn is None:
                self._starting -= 1
                return
            turn.granted.set_result(None)

    async def _open(self, spec: Spec, key: Key) -> WorkerProcess:
        opening = await asyncio.to_thread(probing.opening, spec, self._credentials)
        worker = await self._loaded(spec.sources)
        try:
            answer = await worker.exchange(opening, _OPEN_SECONDS)
            if not isinstance(answer, wire.Ready):
                refuse(answer)
        except BaseException:
            await worker.close()
            raise
        worker.key = key
        return worker

    def release(self, worker: WorkerProcess) -> None:
        """Give a worker back; it goes to who waits for it, or stays warm. Safe to call twice."""
        if worker not in self._busy:
            return
        self._busy.discard(worker)
        if not worker.is_usable or self._closed:
            self._discard(worker)
            self._grant_places()
            return
        turn = self._next_turn(worker.key)
        if turn is None:
            self._idle[worker] = None
        elif turn.key == worker.key:
            self._busy.add(worker)
            turn.granted.set_result(worker)
        else:
            self._discard(worker)
            self._starting += 1
            turn.granted.set_result(None)

    def _discard(self, worker: WorkerProcess) -> None:
        task = asyncio.ensure_future(worker.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _loaded(self, sources: Sequence[Source]) -> WorkerProcess:
        """A worker that belongs to nobody; with a network only where one of the sources lies beyond this machine."""
        if not any(source.needs_network for source in sources):
            return await self._spare()
        if self._closed:
            raise error("DRAINING")
        return await self._start(network=True)

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

    async def _start(self, *, network: bool = False) -> WorkerProcess:
        worker = WorkerProcess(self._executor, network=network)
        try:
            await worker.ready()
        except BaseException:
            await worker.close()
            raise
        return worker


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


def key_of(spec: Spec) -> Key:
    """What a warm worker is kept for: whose it is, and everything it was told when it was opened."""
    return (spec.key[0], digest_of(spec), "") if isinstance(spec, SessionSpec) else spec.key
