"""The head record: a small file beside the database that says how far the log had got when its head was last shown.

Decides: how a store compares with the record, and whether anything may be signed then. Leaves to others: asking
witnesses, and what the operator does. Source: evidence-log 9, the rows that need no witness.

A store that is behind its record was rolled back: signing again would make two histories of one log.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Final, Literal

import msgspec

from trustnode.core.document import canonical
from trustnode.core.evidence.tree import EMPTY_ROOT
from trustnode.errors import TrustnodeError
from trustnode.store import connection
from trustnode.store.log import read_head, recompute

MAX_RECORD_BYTES: Final = 4096


class HeadRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Size and root of the log when its head was last shown to anybody."""

    size: int = 0
    root: str = EMPTY_ROOT.hex()
    time: str = ""


Outcome = Literal["EQUAL", "BEHIND", "AHEAD", "DIFFERENT", "CORRUPT", "MISSING", "UNREADABLE"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How the store compares with its head record."""

    outcome: Outcome = "EQUAL"
    message: str = ""
    """What the operator is told; empty where all is well."""
    size: int = 0
    recorded_size: int = 0

    @property
    def may_sign(self) -> bool:
        """Whether appends and signatures are safe; otherwise the store is read-only."""
        return self.outcome in {"EQUAL", "BEHIND"}


def record_path(store: Path) -> Path:
    """Where the head record of a database stands."""
    return store.with_name(store.name + ".head")


def write_record(store: Path, record: HeadRecord) -> None:
    """Replace the record so that after a power loss the old or the new one is there, never half of one.

    Raises:
        SyncFailedError: The record may be lost by a power loss.
        OSError: The old record stands.
    """
    path = record_path(store)
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        file.write(canonical(record) + b"\n")
        file.flush()
        connection.sync(file.fileno())
    fresh.replace(path)
    connection.sync_directory(path.parent)


def read_record(store: Path) -> HeadRecord | Literal["MISSING", "UNREADABLE"]:
    """The record beside a database, or why there is none to compare with."""
    try:
        data = record_path(store).read_bytes()
    except FileNotFoundError:
        return "MISSING"
    with contextlib.suppress(msgspec.MsgspecError, ValueError):
        record = msgspec.json.decode(data[:MAX_RECORD_BYTES], type=HeadRecord)
        if record.size >= 0 and len(bytes.fromhex(record.root)) == len(EMPTY_ROOT):
            return record
    return "UNREADABLE"


def compare_head(record: HeadRecord | Literal["MISSING", "UNREADABLE"], db: sqlite3.Connection) -> Verdict:
    """Compare a store with its head record, row by row of evidence-log 9.

    Args:
        record: What stands beside the store.
        db: Any connection to it.
    """
    head = read_head(db)
    try:
        computed = recompute(db, head.size).head.root
        if computed != head.root:
            return _verdict("CORRUPT", "the root computed from the tiles is not the stored one", head.size, record)
        return _compare(record, db, head.size, head.root)
    except TrustnodeError as problem:
        return _verdict("CORRUPT", problem.message, head.size, record)


def _compare(
    record: HeadRecord | Literal["MISSING", "UNREADABLE"], db: sqlite3.Connection, size: int, root: bytes
) -> Verdict:
    if not isinstance(record, HeadRecord):
        return _verdict(
            record, "the head record beside the store cannot be read, so nobody knows what was signed", size, record
        )
    if record.size > size:
        return _verdict(
            "AHEAD", f"the store has {size} entries, {record.size} were shown before: it was rolled back", size, record
        )
    if record.size == size:
        same = record.root == root.hex()
        return _verdict("EQUAL", "", size, record) if same else _verdict("DIFFERENT", _TAMPERED, size, record)
    if recompute(db, record.size).head.root.hex() != record.root:
        return _verdict("DIFFERENT", _TAMPERED, size, record)
    return _verdict("BEHIND", "", size, record)


_TAMPERED: Final = "the log is not the one whose head was shown before: somebody changed it"


def _verdict(outcome: Outcome, message: str, size: int, record: HeadRecord | str) -> Verdict:
    recorded = record.size if isinstance(record, HeadRecord) else 0
    return Verdict(outcome=outcome, message=message, size=size, recorded_size=recorded)
