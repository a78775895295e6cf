"""Signed heads in the database: ours with their cosignatures, those that we cosigned for others, and forks.

Decides: that a size has one root for ever, that what we cosigned for a log never gets smaller, how many forks of one
log are kept. Leaves to others: every signature (``core.evidence``), whom to ask and believe (``app``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from trustnode.errors import error

MAX_FORKS: Final = 16
"""Forks kept of one log. One is proof enough; a log that lies must not fill our disk."""


class KeptCheckpoint(NamedTuple):
    """A head of our own log, as we signed it."""

    size: int
    root: bytes
    time: str
    """When it was signed; canonical text."""
    note: bytes
    """Signed note: the signature of our log, then the cosignatures gathered so far."""


class Witnessed(NamedTuple):
    """The newest head of another log that we cosigned."""

    origin: str
    size: int
    root: bytes
    note: bytes
    """Signed note: the signature of that log, then our cosignature."""
    time: str


class Fork(NamedTuple):
    """Two heads under one log key that do not fit together."""

    origin: str
    size: int
    """Of the head that was shown second."""
    root: bytes
    held: bytes
    """Signed note that was held before."""
    shown: bytes
    """Signed note that does not fit to it."""
    proof: bytes
    """The consistency proof that came with it and failed, 32 bytes a hash; empty where the sizes are equal."""
    hashes: bytes
    """Leaf hashes that lead to the root of the larger head, 32 bytes each; empty where nobody gave them."""
    proven: bool
    """Whether both notes alone, or with the hashes, convince a stranger. A proof that fails convinces nobody."""
    source: str
    """Trust domain of who showed it; empty: not known."""
    time: str


_CHECKPOINT: Final = "select size, root, time, note from checkpoint "
_WITNESSED: Final = "select origin, size, root, note, time from witnessed "
_FORK: Final = "select origin, size, root, held, shown, proof, hashes, proven, source, time from fork "


class CheckpointReader:
    """The part of a snapshot that reads signed heads."""

    _db: sqlite3.Connection

    def newest_checkpoint(self) -> KeptCheckpoint | None:
        """The largest head that we signed; None before the first."""
        return next(iter(self.newest_checkpoints(1)), None)

    def newest_checkpoints(self, limit: int) -> list[KeptCheckpoint]:
        """The largest heads that we signed, the newest first."""
        return [KeptCheckpoint(*row) for row in self._db.execute(_CHECKPOINT + "order by size desc limit ?", (limit,))]

    def checkpoint_of(self, size: int) -> KeptCheckpoint | None:
        """The head of exactly ``size`` entries; None where none was signed."""
        row = self._db.execute(_CHECKPOINT + "where size = ?", (size,)).fetchone()
        return KeptCheckpoint(*row) if row else None

    def checkpoints_covering(self, index: int, *, limit: int = 1000) -> Iterator[KeptCheckpoint]:
        """Heads whose tree holds entry ``index``, the smallest first; read one by one, so stop when one suffices."""
        rows = self._db.execute(_CHECKPOINT + "where size > ? order by size limit ?", (index, limit))
        return (KeptCheckpoint(*row) for row in rows)

    def checkpoints_before(self, size: int, *, limit: int) -> list[KeptCheckpoint]:
        """The largest heads of at most ``size`` entries, the largest first."""
        rows = self._db.execute(_CHECKPOINT + "where size <= ? order by size desc limit ?", (size, limit))
        return [KeptCheckpoint(*row) for row in rows]

    def witnessed(self, origin: str) -> Witnessed | None:
        """The newest head that we cosigned for a log; None before the first."""
        row = self._db.execute(_WITNESSED + "where origin = ?", (origin,)).fetchone()
        return Witnessed(*row) if row else None

    def all_witnessed(self, *, limit: int = 10_000) -> list[Witnessed]:
        """The newest head of each log that we cosigned, by origin."""
        return [Witnessed(*row) for row in self._db.execute(_WITNESSED + "order by origin limit ?", (limit,))]

    def forks(self, origin: str = "", *, limit: int = 1000) -> list[Fork]:
        """Forks of one log, or of all, in the order in which they were found."""
        where, values = ("where origin = ? ", [origin]) if origin else ("", [])
        rows = self._db.execute(f"{_FORK}{where}order by time, origin, size limit ?", (*values, limit)).fetchall()
        return [Fork(*row)._replace(proven=bool(row[7])) for row in rows]


class CheckpointWriter(CheckpointReader):
    """The part of a unit that keeps signed heads."""

    def keep_checkpoint(self, kept: KeptCheckpoint) -> None:
        """Keep a head of our own log; a head of this size that is kept already gets the new note.

        Raises:
            TrustnodeError: STORE_CORRUPT, the same size was signed with another root.
        """
        known = self.checkpoint_of(kept.size)
        if known is None:
            self._db.execute("insert into checkpoint values (?, ?, ?, ?)", kept)
        elif known.root != kept.root:
            raise error("STORE_CORRUPT", f"size {kept.size} of the log was signed with another root before")
        else:
            self._db.execute("update checkpoint set note = ? where size = ?", (kept.note, kept.size))

    def drop_checkpoints(self, sizes: Iterable[int]) -> None:
        """Forget heads of our own log; which ones may go is decided elsewhere."""
        self._db.executemany("delete from checkpoint where size = ?", [(size,) for size in sizes])

    def set_witnessed(self, new: Witnessed) -> None:
        """Remember what we cosigned for a log, in place of the smaller head before.

        Raises:
            TrustnodeError: STALE_VERSION, a larger head of this log, or another of this size, was cosigned meanwhile.
        """
        known = self.witnessed(new.origin)
        if known is not None and (known.size > new.size or (known.size == new.size and known.root != new.root)):
            raise error("STALE_VERSION", f"{new.origin} was cosigned at size {known.size} already")
        self._db.execute("insert or replace into witnessed values (?, ?, ?, ?, ?)", new)

    def keep_fork(self, fork: Fork) -> bool:
        """Keep a fork for ever.

        Returns:
            Whether it is news: not kept before, or proven now, and room for it was left.
        """
        known = {(one.size, one.root): one for one in self.forks(fork.origin)}
        same = known.get((fork.size, fork.root))
        if same is None and len(known) >= MAX_FORKS and not (fork.proven and self._make_room(known.values())):
            return False
        if same is not None and same.proven >= fork.proven:
            return False
        self._db.execute("insert or replace into fork values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", fork)
        return True

    def _make_room(self, known: Iterable[Fork]) -> bool:
        """Give a proven fork the place of a suspicion: a log must not fill the shelf with bad proofs and then lie."""
        oldest = next((one for one in known if not one.proven), None)
        if oldest is not None:
            self.forget_suspicion(oldest.origin, oldest.size, oldest.root)
        return oldest is not None

    def forget_suspicion(self, origin: str, size: int, root: bytes) -> None:
        """Drop a fork that was never proven: this head was shown to be consistent after all."""
        self._db.execute(
            "delete from fork where origin = ? and size = ? and root = ? and proven = 0", (origin, size, root)
        )
