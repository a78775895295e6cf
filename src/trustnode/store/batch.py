"""The writer thread: takes what is queued, runs each unit in a savepoint, commits all of them at once (DESIGN 3.3).

Decides: what one commit holds, which unit fails alone and which error loses the batch, what each caller is told when a
commit fails. Leaves to others: the queue's bound and the event loop (``writer``), what a unit does (``unit``).
"""

from __future__ import annotations

import os
import queue
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import structlog

from trustnode.core import clock as times
from trustnode.core.document import SKEW_S
from trustnode.errors import TrustnodeError, error
from trustnode.store import connection
from trustnode.store.log import BATCH_ID_BYTES, Append, Edge, Head, read_head
from trustnode.store.refusals import Refusals
from trustnode.store.unit import Change, Effects, RefusalRecord, Tx

MAX_BATCH_UNITS: Final = 1024
SLOW_UNIT_S: Final = 0.020
"""A unit over this is a defect: everybody else waits for it."""
_IDLE_TURN_S: Final = 5.0
"""How often a writer without work looks whether counted refusals are due."""

_log = structlog.get_logger("trustnode.store")


class Future(Protocol):
    """Where a caller waits; touched by the event loop only."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, value: Any, /) -> None:
        """Give the value."""

    def set_exception(self, problem: BaseException, /) -> None:
        """Give the refusal."""


class Job(NamedTuple):
    """One unit and who waits for it."""

    unit: Callable[[Tx], Any]
    event_id: str
    returns: Any
    future: Future


class Outcome(NamedTuple):
    """What a caller is told."""

    future: Future
    value: Any
    problem: BaseException | None


class Commit(NamedTuple):
    """What one committed batch changed."""

    changes: tuple[Change, ...]
    """In the order in which they happened."""
    peers: frozenset[str]
    """Peers for whom the outbox has something new."""
    feeds: frozenset[tuple[str, str]]
    """(lane, audience) of each feed with new lines."""
    timers: bool
    """Whether timers were set."""
    head: Head


class Report(NamedTuple):
    """Everything that the event loop learns of one batch."""

    outcomes: list[Outcome]
    commit: Commit | None
    """None where nothing was stored."""


class BatchLostError(Exception):
    """SQLite gave up the whole transaction."""


class WriterEndedError(Exception):
    """The writer cannot go on; the cause says why."""


@dataclass
class _Batch:
    id: bytes
    now: str
    append: Append
    effects: Effects = field(default_factory=Effects)
    answers: dict[str, bytes] = field(default_factory=dict)
    """Event id -> encoded answer, for every id of the batch that has one."""
    fresh: dict[str, bytes] = field(default_factory=dict)
    """Those that this batch gives."""


class Writer:
    """The thread side of the store."""

    def __init__(
        self,
        path: Path,
        clock: Callable[[], str],
        node_id: str,
        report: Callable[[Report], None],
        *,
        durable: bool = True,
    ) -> None:
        self._path = path
        self._clock = clock
        self._node_id = node_id
        self._report = report
        self._durable = durable
        self._refusals = Refusals(node_id)
        self._erased = False
        self._db = self._open()
        self._anchor = _anchor(path)
        self._edge = Edge.load(self._db)

    @property
    def head(self) -> Head:
        """The head as this writer committed or loaded it."""
        return self._edge.head

    def run(self, jobs: queue.SimpleQueue[Job | None]) -> None:
        """Work until None comes; what was queued before it is committed."""
        last = False
        while not last:
            batch, last = self._take(jobs)
            if batch or self._refusals.waiting:
                self._run_batch(batch, final=last)
        self._anchor.close()
        self._db.close()

    def _take(self, jobs: queue.SimpleQueue[Job | None]) -> tuple[list[Job], bool]:
        taken: list[Job] = []
        try:
            job = jobs.get(timeout=_IDLE_TURN_S if self._refusals.waiting else None)
            while job is not None:
                taken.append(job)
                if len(taken) >= MAX_BATCH_UNITS:
                    return taken, False
                job = jobs.get_nowait()
        except queue.Empty:
            return taken, False
        return taken, True

    def _run_batch(self, jobs: list[Job], *, final: bool) -> None:
        now = self._now()
        batch = _Batch(os.urandom(BATCH_ID_BYTES), now, Append(self._db, self._edge))
        outcomes: list[Outcome] = []
        edge = self._edge
        try:
            self._db.execute("begin immediate")
            before = self._db.total_changes
            self._mark_clock(batch)
            self._refusals.turn("" if final else now, lambda record: self._log_own(batch, record))
            batch.answers = self._answered(jobs)
            outcomes += [self._run_unit(batch, job) for job in jobs]
            wrote = len(batch.append) > 0 or bool(batch.fresh) or self._db.total_changes != before
            if wrote:
                self._keep_answers(batch)
                edge = batch.append.write(batch.id, now)
            self._commit()
        except Exception as problem:  # noqa: BLE001 (whatever it was, every caller must learn the truth)
            self._report(self._recover(problem, batch, jobs, outcomes))
            return
        self._edge = edge
        self._report(Report(outcomes, _commit_of(batch, edge) if wrote else None))
        self._checkpoint(batch)

    def _commit(self) -> None:
        """The point after which everything is durable."""
        self._db.execute("commit")

    def _now(self) -> str:
        """The instant of a batch: never before the last one, unless the clock was set back by more than a skew."""
        now, last = self._clock(), self._edge.head.time
        if not last or now >= last:
            return now
        if now >= times.shift(last, -SKEW_S):
            return last
        return now

    def _mark_clock(self, batch: _Batch) -> None:
        """Say in the log itself that its times go back from here."""
        if batch.now < self._edge.head.time:
            _log.error("the clock was set back", now=batch.now, last=self._edge.head.time)
            fields = {"reason_code": "TIME_SKEW"}
            self._log_own(
                batch,
                RefusalRecord(object_kind="node", object=self._node_id, event="incident.notify", fields=fields),
            )

    def _run_unit(self, batch: _Batch, job: Job) -> Outcome:
        if job.event_id in batch.answers:
            return _repeated(job, batch.answers[job.event_id])
        mark = batch.append.mark()
        tx = Tx(self._db, batch.now, self._node_id, batch.append)
        started = time.perf_counter()
        self._db.execute("savepoint unit")
        try:
            value = job.unit(tx)
            tx.finish()
            answer = msgspec.json.encode(value)
        except Exception as problem:  # noqa: BLE001 (a unit may raise anything; its caller gets it)
            self._give_up(problem)
            batch.append.rollback(mark)
            self._refuse(batch, problem)
            return Outcome(job.future, None, problem)
        self._db.execute("release unit")
        batch.effects.add(tx.effects)
        if job.event_id:
            batch.answers[job.event_id] = batch.fresh[job.event_id] = answer
        took = time.perf_counter() - started
        if took > SLOW_UNIT_S:
            _log.warning(
                "unit is too slow", unit=_name(job.unit), event_id=job.event_id, milliseconds=round(took * 1000)
            )
        return Outcome(job.future, value, None)

    def _answered(self, jobs: list[Job]) -> dict[str, bytes]:
        """The answers that event ids of this batch already have."""
        asked = msgspec.json.encode([job.event_id for job in jobs if job.event_id]).decode()
        return dict(
            self._db.execute(
                "select event_id, body from answer where event_id in (select value from json_each(?))", (asked,)
            )
        )

    def _keep_answers(self, batch: _Batch) -> None:
        rows = [(event_id, answer, batch.now) for event_id, answer in batch.fresh.items()]
        self._db.executemany("insert into answer values (?, ?, ?)", rows)

    def _give_up(self, problem: Exception) -> None:
        """Undo one unit, or the batch where SQLite already did or the disk is the trouble."""
        if connection.is_disk_error(problem) or not self._db.in_transaction:
            raise BatchLostError(str(problem)) from problem
        self._db.execute("rollback to unit")
        self._db.execute("release unit")

    def _refuse(self, batch: _Batch, problem: Exception) -> None:
        if isinstance(problem, TrustnodeError):
            self._refusals.record(problem, lambda record: self._log_own(batch, record))

    def _log_own(self, batch: _Batch, record: RefusalRecord) -> None:
        mark = batch.append.mark()
        try:
            tx = Tx(self._db, batch.now, self._node_id, batch.append)
            tx.log(record.object_kind, record.object, record.event, **record.fields)
        except (TrustnodeError, TypeError) as problem:
            batch.append.rollback(mark)
            _log.error("an entry of the store itself cannot be logged", entry=record.event, reason=str(problem))

    def _recover(self, problem: Exception, batch: _Batch, jobs: list[Job], outcomes: list[Outcome]) -> Report:
        """Drop memory, reopen, and find out whether the batch was stored.

        Raises:
            WriterEndedError: A sync failed, or the store cannot be opened again.
        """
        cause = problem.__cause__ if isinstance(problem, BatchLostError) and problem.__cause__ else problem
        _log.error("a batch failed", cause=str(cause), units=len(jobs))
        if connection.is_sync_error(cause):
            raise WriterEndedError(f"the disk did not confirm a sync: {cause}") from cause
        try:
            self._reopen()
        except Exception as second:
            raise WriterEndedError(f"the store cannot be opened again: {second}") from second
        if self._edge.head.batch == batch.id:
            return Report(outcomes, _commit_of(batch, self._edge))
        return Report([Outcome(job.future, None, connection.as_refusal(cause)) for job in jobs], None)

    def _reopen(self) -> None:
        self._refusals.forget()
        self._db.close()
        self._db = self._open()
        self._edge = Edge.load(self._db)

    def _open(self) -> sqlite3.Connection:
        db = connection.open_writer(self._path)
        if self._durable:
            connection.sync_directory(self._path.parent)  # SQLite does so too, and swallows the error
        else:
            db.execute("pragma synchronous = off")
        self._checkpointed = 0
        return db

    def _checkpoint(self, batch: _Batch) -> None:
        """Move the write-ahead log into the database, where enough was written or something was erased.

        Raises:
            WriterEndedError: A sync failed.
        """
        self._erased |= batch.effects.erased
        if not self._erased and self._db.total_changes - self._checkpointed < connection.CHANGES_BEFORE_CHECKPOINT:
            return
        self._checkpointed = self._db.total_changes
        try:
            self._erased = self._erased and not self._truncate()
            self._db.execute("pragma wal_checkpoint(passive)").fetchone()
        except sqlite3.Error as problem:
            if connection.is_sync_error(problem):
                raise WriterEndedError(f"the disk did not confirm a sync: {problem}") from problem
            _log.error("the write-ahead log could not be moved", cause=str(problem))

    def _truncate(self) -> bool:
        """Empty the write-ahead log, so that what was erased has left it too; False while a reader needs it."""
        self._db.execute("pragma busy_timeout = 0")  # nobody waits for a reader here; the next batch tries again
        try:
            (busy, *_) = self._db.execute("pragma wal_checkpoint(truncate)").fetchone()
        finally:
            self._db.execute(f"pragma busy_timeout = {int(connection.BUSY_TIMEOUT_S * 1000)}")
        return not busy


def _anchor(path: Path) -> sqlite3.Connection:
    """A connection that stays while the writer reopens its own.

    Without it, closing the only one moves and removes the write-ahead log, and opening it again makes new files: on a
    disk that refuses writes for a moment, the writer could not go on when the moment is over.
    """
    db = connection.open_reader(path)
    read_head(db)
    return db


def _repeated(job: Job, answer: bytes) -> Outcome:
    """What a step that was done before answered; the unit does not run."""
    try:
        return Outcome(job.future, msgspec.json.decode(answer, type=job.returns), None)
    except msgspec.MsgspecError:
        return Outcome(job.future, None, error("REPLAYED", f"event {job.event_id} was another step"))


def _commit_of(batch: _Batch, edge: Edge) -> Commit:
    effects = batch.effects
    return Commit(tuple(effects.changes), frozenset(effects.peers), frozenset(effects.feeds), effects.timers, edge.head)


def _name(unit: Callable[..., Any]) -> str:
    return getattr(unit, "__qualname__", type(unit).__name__)
