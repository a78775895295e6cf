"""The store as the node holds it: durable steps, snapshots, and one call a batch about what changed.

Decides: admission (queue, disk, read-only), and that a caller is answered whatever happens to the writer. Leaves to
others: the batch itself (``batch``), what changes lead to (``on_commit`` is given by ``app``).
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar

import structlog

from trustnode.errors import error
from trustnode.store import connection, schema
from trustnode.store.batch import Commit, Job, Report, Writer
from trustnode.store.check import CHUNK, backup, check_store
from trustnode.store.difference import Difference
from trustnode.store.head import HeadRecord, Verdict, compare_head, read_record, write_record
from trustnode.store.log import Head, read_head
from trustnode.store.unit import OutboxLine, Timer, Tx, View

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

MAX_WAITING_UNITS: Final = 4096
READERS: Final = 2
DEFAULT_RESERVE_BYTES: Final = 64 * 1024 * 1024
"""Free bytes below which no new step is taken: room to stop in order."""

_log = structlog.get_logger("trustnode.store")


def _ignore_commit(_commit: Commit) -> None:
    """Nobody is interested."""


def _no_pace() -> None:
    """Go on at once."""


def _log_fatal(problem: BaseException) -> None:
    _log.critical("the writer ended", cause=str(problem))


class Store:
    """One database and its writer. Belongs to the event loop that opened it.

    Attributes:
        on_commit: Called once for each batch that stored something, on the event loop, before its callers go on.
        on_fatal: Called once when the writer has ended by itself: the node must stop.
        read_only: Why nothing may be appended; empty: it may.
        verdict: How the log compared with the head record when the store was opened.
    """

    def __init__(
        self, path: Path, *, clock: Callable[[], str], node_id: str, reserve_bytes: int, durable: bool
    ) -> None:
        self.path: Final = path
        self.node_id: Final = node_id
        self.on_commit: Callable[[Commit], None] = _ignore_commit
        self.on_fatal: Callable[[BaseException], None] = _log_fatal
        self.read_only = ""
        self.verdict = Verdict()
        self._clock = clock
        self._durable = durable
        self._room = connection.DiskRoom(path.parent, reserve_bytes)
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._waiting: set[Any] = set()
        self._gone = ""
        self._head = Head()
        self._writer: Writer | None = None
        self._local = threading.local()
        self._reader_connections: list[sqlite3.Connection] = []
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._exit = AsyncExitStack()

    @classmethod
    async def open(
        cls,
        path: Path | str,
        *,
        clock: Callable[[], str],
        node_id: str,
        on_commit: Callable[[Commit], None] | None = None,
        on_fatal: Callable[[BaseException], None] | None = None,
        reserve_bytes: int = DEFAULT_RESERVE_BYTES,
        repairing: bool = False,
    ) -> Store:
        """Lock, migrate and check the database, and start its writer.

        Args:
            path: File of the database; ``:memory:``: one that is gone afterwards, for tests.
            clock: Gives now as canonical text.
            node_id: Written into each entry; names the chain of the node itself.
            on_commit: See the class.
            on_fatal: See the class.
            reserve_bytes: Free bytes on the disk below which nothing is written.
            repairing: Open a store that is behind its head record for writing, to put back what it lacks. Nothing of it
                may be signed before that is done.

        Raises:
            TrustnodeError: CONFIG_INVALID, another process has it; VERSION_UNSUPPORTED, a newer program wrote it;
                EVIDENCE_UNAVAILABLE, the disk fails.
        """
        exits = AsyncExitStack()
        async with exits:
            memory = str(path) == ":memory:"
            file = (
                Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="trustnode-"))) / "store.db"
                if memory
                else Path(path)
            )
            store = cls(
                file, clock=clock, node_id=node_id, reserve_bytes=0 if memory else reserve_bytes, durable=not memory
            )
            store.on_commit = on_commit or store.on_commit
            store.on_fatal = on_fatal or store.on_fatal
            exits.enter_context(connection.lock(file))
            exits.callback(store._close_readers)
            await store._loop.run_in_executor(None, store._prepare)
            if repairing and store.verdict.outcome == "AHEAD":
                store.read_only = ""
            if not store.read_only:
                await store._start(exits)
            store._exit = exits.pop_all()
        return store

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Commit what is queued, then let go of the database."""
        self._gone = self._gone or "the node is stopping"
        await self._exit.aclose()

    def head(self) -> Head:
        """The committed head of the log: what may be signed."""
        return self._head

    def forbid(self, reason: str) -> None:
        """Append nothing more while this process lives; the first reason stays."""
        self.read_only = self.read_only or reason

    def permit(self, reason: str) -> bool:
        """Append again, where ``reason`` is what forbade it and the store itself is in order.

        Returns:
            Whether it may be written now.
        """
        if self.read_only == reason and self._writer is not None:
            self.read_only = ""
        return not self.read_only

    def restate(self, reason: str, better: str) -> str:
        """Say more precisely why nothing may be appended, where ``reason`` is what is said now.

        Returns:
            What is said from now on, where it was ``reason``; else ``reason``.
        """
        if better and self.read_only == reason:
            self.read_only = better
            return better
        return reason

    def record_head(self) -> HeadRecord:
        """Write the head record beside the store. Done before a checkpoint of this head leaves the node.

        Blocks for two syncs: call it in a thread. A sync that fails ends the store, as one of the database does.

        Raises:
            TrustnodeError: EVIDENCE_UNAVAILABLE, the record could not be written; nothing may be signed.
        """
        if self._gone:
            raise error("EVIDENCE_UNAVAILABLE", self._gone)
        head = self._head
        record = HeadRecord(size=head.size, root=head.root.hex(), time=head.time)
        try:
            write_record(self.path, record)
        except connection.SyncFailedError as problem:
            self._loop.call_soon_threadsafe(self._ended, problem)
            raise connection.as_refusal(problem) from problem
        except OSError as problem:
            raise connection.as_refusal(problem) from problem
        return record

    async def write(self, unit: Callable[[Tx], T], *, event_id: str, returns: Any) -> T:
        """Run a unit; when this returns, its changes and entries are on the disk.

        Args:
            unit: Plain function of a transaction; runs in the writer thread and must neither wait nor compute long.
            event_id: An id that was answered before gives the stored answer and the unit does not run. Bind it to the
                content (the digest of the document). Empty: the unit's own guards make repetition harmless.
            returns: Type of the answer, which msgspec can encode and decode.

        Raises:
            TrustnodeError: What the unit raised; BUSY, the queue is full; READ_ONLY; EVIDENCE_UNAVAILABLE, disk or
                writer cannot make it durable.
        """
        self._admit()
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.add(future)
        self._jobs.put(Job(unit, event_id, returns, future))
        return await future

    async def read(self, query: Callable[[View], T]) -> T:
        """Run a query in a reader thread, over one snapshot."""
        return await self._loop.run_in_executor(self._readers, self._read, query)

    async def due(self, peer: str, *, first: str = "", limit: int = 256) -> list[OutboxLine]:
        """For the courier: the oldest waiting line of each object for a peer.

        While anything of the object ``first`` waits, that line alone: what follows may need it.
        """

        def query(view: View) -> list[OutboxLine]:
            alone = view.outbox(peer, object=first, limit=1) if first else []
            return alone or view.outbox(peer, limit=limit)

        return await self.read(query)

    async def check(self, *, pace: Callable[[], None] = _no_pace, chunk: int = CHUNK) -> list[Difference]:
        """Verify everything that can be verified (``store.check``), in a thread; empty: nothing differs."""
        return await asyncio.to_thread(check_store, self.path, pace=pace, chunk=chunk)

    def holds(self, marks: Sequence[bytes]) -> bool:
        """Whether any of these bytes stands in the files of the database, its free pages and write-ahead log included.

        Reads the files whole: call it in a thread.
        """
        return connection.holds(self.path, marks)

    async def backup(self, target: Path) -> Head:
        """Copy the store while it runs; returns the head that the copy has."""
        return await self._loop.run_in_executor(None, backup, self.path, target)

    async def delivered(self, line_id: int) -> None:
        """For the courier: the peer gave its durable answer."""
        await self.write(lambda tx: tx.delivered(line_id), event_id="", returns=type(None))

    async def timers_due(self, now: str, *, limit: int = 256) -> list[Timer]:
        """Timers due at ``now``; the unit that fires one takes it away with ``tx.forget_timer``."""
        return await self.read(lambda view: view.timers(now, limit=limit))

    def _admit(self) -> None:
        if self._gone:
            raise error("EVIDENCE_UNAVAILABLE", self._gone)
        if self.read_only:
            raise error("READ_ONLY", self.read_only)
        if len(self._waiting) >= MAX_WAITING_UNITS:
            raise error("BUSY", "too many steps wait for the disk")
        if not self._room:
            raise error("EVIDENCE_UNAVAILABLE", "the disk of the store is nearly full")

    def _prepare(self) -> None:
        """Migrate and compare, before anything is written."""
        try:
            with closing(connection.open_writer(self.path)) as db:
                schema.migrate(db)
                self._head = read_head(db)
                self.verdict = compare_head(self._record(), db)
        except (sqlite3.DatabaseError, OSError) as problem:
            raise connection.as_refusal(problem) from problem
        self.read_only = "" if self.verdict.may_sign else self.verdict.message

    def _record(self) -> HeadRecord | Literal["MISSING", "UNREADABLE"]:
        """The head record; an empty log without one is new and gets it now."""
        record = read_record(self.path)
        if record == "MISSING" and not self._head.size:
            write_record(self.path, HeadRecord())
            return HeadRecord()
        return record

    async def _start(self, exits: AsyncExitStack) -> None:
        def report(outcome: Report) -> None:
            self._loop.call_soon_threadsafe(self._finish, outcome)

        def build() -> Writer:
            try:
                return Writer(self.path, self._clock, self.node_id, report, durable=self._durable)
            except (sqlite3.DatabaseError, OSError) as problem:
                raise connection.as_refusal(problem) from problem

        self._writer = await self._loop.run_in_executor(None, build)
        thread = threading.Thread(target=self._run, args=(self._writer,), name="store-writer", daemon=True)
        thread.start()
        exits.push_async_callback(self._stop, thread)

    def _run(self, writer: Writer) -> None:
        problem: BaseException | None = None
        try:
            writer.run(self._jobs)
        except BaseException as caught:  # noqa: BLE001 (whatever ended it, nobody may wait for ever)
            problem = caught
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._ended, problem)

    async def _stop(self, thread: threading.Thread) -> None:
        self._jobs.put(None)
        await self._loop.run_in_executor(None, thread.join)
        await asyncio.sleep(0)  # the last report and the end stand in the loop's queue

    def _ended(self, problem: BaseException | None) -> None:
        """The writer is gone; whoever still waits is told."""
        self._gone = f"the writer ended: {problem}" if problem else self._gone or "the node is stopping"
        for future in self._waiting:
            if not future.done():
                future.set_exception(error("EVIDENCE_UNAVAILABLE", self._gone))
        self._waiting.clear()
        if problem is not None:
            self.on_fatal(problem)

    def _finish(self, report: Report) -> None:
        """Take in one batch: first what changed, so that streams stop, then the callers."""
        if report.commit is not None:
            self._head = report.commit.head
            self._notify(report.commit)
        for future, value, problem in report.outcomes:
            self._waiting.discard(future)
            if future.done():
                continue
            if problem is None:
                future.set_result(value)
            else:
                future.set_exception(problem)

    def _notify(self, commit: Commit) -> None:
        try:
            self.on_commit(commit)
        except Exception as problem:  # noqa: BLE001 (as below)
            # a stop that was missed would let data flow: better no node than this one
            _log.exception("changes could not be passed on")
            self.on_fatal(problem)

    def _read(self, query: Callable[[View], T]) -> T:
        with _snapshot(self._reader()) as db:
            return query(View(db, self._clock()))

    def _reader(self) -> sqlite3.Connection:
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = connection.open_reader(self.path)
            self._reader_connections.append(db)
        return db

    def _close_readers(self) -> None:
        self._readers.shutdown()
        for db in self._reader_connections:
            db.close()


@contextmanager
def _snapshot(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    db.execute("begin")
    try:
        yield db
    except sqlite3.DatabaseError as problem:
        raise connection.as_refusal(problem) from problem
    finally:
        db.execute("rollback")
