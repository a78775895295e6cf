"""Opening the database: connections, the lock on it, room on its disk, what its errors mean.

Decides: the settings that make a commit durable, that one process at a time holds a store, which errors are about the
disk. Leaves to others: what to do then (``batch``).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from trustnode.errors import TrustnodeError, error

CHANGES_BEFORE_CHECKPOINT: Final = 4000
"""Changed rows after which the write-ahead log is moved into the database; they touch some 1,000 to 5,000 pages."""
BUSY_TIMEOUT_S: Final = 5.0
_PIECE_BYTES: Final = 1 << 20
_DISK_CHECK_S: Final = 1.0
_SYNC_ERRORS: Final = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC})
_CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class SyncFailedError(OSError):
    """The disk did not confirm a sync: what was written may be lost, and no later sync says anything about it."""


def sync(handle: int) -> None:
    """Have an open file on the disk.

    Raises:
        SyncFailedError: It may not be there.
    """
    try:
        os.fsync(handle)
    except OSError as problem:
        raise SyncFailedError(problem.errno, f"the disk did not confirm a sync: {problem.strerror}") from problem


def sync_directory(directory: Path) -> None:
    """Have the names in a directory on the disk.

    Raises:
        SyncFailedError: They may not be there.
        OSError: The directory cannot be opened.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync(handle)
    finally:
        os.close(handle)


def open_writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes: WAL, every commit synchronous.

    SQLite's own checkpoints are off: it would swallow a failed sync of the database file (``batch`` runs them).
    """
    db = _connect(f"{path.absolute().as_uri()}?mode=rwc")
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = full")
    db.execute("pragma wal_autocheckpoint = 0")
    db.execute("pragma secure_delete = on")  # what is erased is gone from the file too
    db.execute("pragma journal_size_limit = 67108864")
    return db


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write."""
    db = _connect(f"{path.absolute().as_uri()}?mode=rw")  # ro could not join the write-ahead log of a stopped writer
    db.execute("pragma query_only = on")
    return db


def _connect(uri: str) -> sqlite3.Connection:
    db = sqlite3.connect(
        uri,
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,  # opened and closed beside the thread that uses it
        cached_statements=512,
    )
    db.execute("pragma temp_store = memory")
    db.execute("pragma cache_size = -32768")
    return db


def holds(path: Path, marks: Sequence[bytes]) -> bool:
    """Whether any of these byte strings stands anywhere in the files of a database."""
    longest = max((len(mark) for mark in marks), default=0)
    return any(
        any(mark in window for mark in marks)
        for suffix in ("", "-wal", "-journal")
        for window in _windows(path.with_name(path.name + suffix), longest)
    )


def _windows(path: Path, overlap: int) -> Iterator[bytes]:
    """The content of a file in pieces that overlap; nothing where there is no file."""
    if not path.exists():
        return
    with path.open("rb") as file:
        kept = b""
        while piece := file.read(_PIECE_BYTES):
            yield kept + piece
            kept = (kept + piece)[-overlap:] if overlap else b""


def is_sync_error(problem: BaseException) -> bool:
    """Whether a sync failed: the kernel may have dropped the pages, so no later sync can be trusted."""
    return isinstance(problem, SyncFailedError) or getattr(problem, "sqlite_errorcode", 0) in _SYNC_ERRORS


def is_disk_error(problem: BaseException) -> bool:
    """Whether an error is about disk, lock or memory, and so ends the batch and not only a unit."""
    primary = getattr(problem, "sqlite_errorcode", 0) & 0xFF
    return primary in {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_INTERRUPT,
        *_CORRUPT,
    }


def as_refusal(problem: BaseException) -> TrustnodeError:
    """What a caller is told about an error of the database."""
    if isinstance(problem, TrustnodeError):
        return problem
    primary = getattr(problem, "sqlite_errorcode", 0) & 0xFF
    if primary in _CORRUPT:
        return error("STORE_CORRUPT", f"the database is damaged: {problem}")
    if primary == sqlite3.SQLITE_FULL:
        return error("EVIDENCE_UNAVAILABLE", "the disk of the store is full")
    return error("EVIDENCE_UNAVAILABLE", f"the store could not make the entry durable: {problem}")


def lock(path: Path) -> IO[str]:
    """Take the store for this process, until the file is closed.

    Raises:
        TrustnodeError: CONFIG_INVALID, another process has it; EVIDENCE_UNAVAILABLE, the disk refuses the file.
    """
    try:
        file = path.with_name(path.name + ".lock").open("a+", encoding="ascii")
    except OSError as problem:
        raise as_refusal(problem) from problem
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise error(
            "CONFIG_INVALID",
            f"another process (pid {holder}) runs on the store {path.name}",
            next_step="Stop the other process first, or give this node a home of its own.",
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


class DiskRoom:
    """Whether the disk has room for more, asked at most once a second."""

    def __init__(self, directory: Path, reserve_bytes: int) -> None:
        self._directory = directory
        self._reserve_bytes = reserve_bytes
        self._asked_at = -_DISK_CHECK_S
        self._has_room = True

    def __bool__(self) -> bool:
        now = time.monotonic()
        if now - self._asked_at >= _DISK_CHECK_S:
            self._asked_at = now
            self._has_room = self.free_bytes() >= self._reserve_bytes
        return self._has_room

    def free_bytes(self) -> int:
        """Bytes that this process may still write."""
        found = os.statvfs(self._directory)
        return found.f_bavail * found.f_frsize
