"""Backups of the store: which were made, and which was restored in a test.

Decides: what is remembered of a backup and what a test looks at. Leaves to others: copying and verifying
(``store.check``), restoring in earnest (``maintenance``).
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from trustnode.app.venue import Venue
from trustnode.errors import error
from trustnode.store import check
from trustnode.store.unit import Tx, View

PREFIX: Final = "backup/"
"""Settings: a backup by the time at which it was made."""
TESTED: Final = "backup-tested"
MAX_REMEMBERED: Final = 100


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """One backup."""

    time: str
    path: str
    size_bytes: int
    sha256: str
    entries: int
    tested_at: str = ""


async def create(venue: Venue, path: Path) -> Backup:
    """Write a consistent copy and remember it.

    Raises:
        TrustnodeError: FIELD_FORMAT, DUPLICATE, EVIDENCE_UNAVAILABLE.
    """
    if not path.is_absolute() or not path.parent.is_dir():
        raise error("FIELD_FORMAT", f"name the file by its whole path, in a folder that exists: {path}", field="path")
    made = await asyncio.to_thread(_copied, venue.store.path, path, venue.clock.now())
    if not venue.read_only:
        await venue.store.write(lambda tx: _remember(tx, made), event_id="", returns=type(None))
    return made


def _copied(store: Path, path: Path, now: str) -> Backup:
    head = check.backup(store, path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Backup(time=now, path=str(path), size_bytes=path.stat().st_size, sha256=digest, entries=head.size)


def _remember(tx: Tx, made: Backup) -> None:
    tx.set_setting(PREFIX + made.time, msgspec.json.encode(made).decode())
    for name in sorted(tx.settings(PREFIX))[:-MAX_REMEMBERED]:
        tx.set_setting(name, "")


def known(view: View) -> list[Backup]:
    """Query: the backups that were made here, the newest first."""
    found = view.settings(PREFIX)
    return [msgspec.json.decode(found[name], type=Backup) for name in sorted(found, reverse=True)]


async def test(venue: Venue, path: Path) -> Backup:
    """Restore a backup into a scratch folder and verify all of it, and that it is the beginning of our log.

    Raises:
        TrustnodeError: NOT_FOUND; STORE_CORRUPT, it fails verification; VERIFICATION_FAILED, it is of another log.
    """
    size, root, size_bytes = await asyncio.to_thread(_restored, path)
    if size > venue.store.head().size or await venue.store.read(lambda view: view.evidence.root(size)) != root:
        raise error("VERIFICATION_FAILED", f"{path.name} is sound, and no earlier state of this node")
    held = await venue.store.read(known)
    now = venue.clock.now()
    made = next((one for one in held if one.path == str(path)), None)
    made = made or Backup(time=now, path=str(path), size_bytes=size_bytes, sha256="", entries=size)
    done = msgspec.structs.replace(made, tested_at=now)

    def unit(tx: Tx) -> None:
        _remember(tx, done)
        tx.set_setting(TESTED, now)

    if not venue.read_only:
        await venue.store.write(unit, event_id="", returns=type(None))
    return done


def _restored(path: Path) -> tuple[int, bytes, int]:
    if not path.is_file():
        raise error("NOT_FOUND", f"there is no file {path}")
    with tempfile.TemporaryDirectory(prefix="trustnode-restore-") as scratch:
        store = Path(scratch) / "node.db"
        check.restore(path, store)
        problems = check.check_store(store, limit=2)
        if problems:
            raise check.corrupt(problems)
        with check.reading(store) as view:
            head = view.evidence.head()
        return head.size, head.root, path.stat().st_size
