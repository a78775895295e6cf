"""Copies of other venues' logs, kept for the day on which they need them.

Decides: how a copy is kept, found again by object and by document, and that its head moves with its lines. Leaves to
others: whether a page holds (``core.evidence.mirror``), whose log may be copied, who may read a copy (``app.mirror``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from trustnode.core.evidence.chain import ChainEnd
from trustnode.core.evidence.edges import TileEdges
from trustnode.core.evidence.mirror import Checked, CheckedLine, LogLine


class MirrorHead(NamedTuple):
    """How far one copy has got."""

    origin: str
    """Of the log that is copied."""
    venue: str
    """Trust domain of its node."""
    edges: TileEdges
    note: bytes
    """The newest checkpoint that covers the copy, as its log signed it."""
    time: str
    """When the copy last grew or was found complete."""
    bytes: int
    """What the copy takes."""

    @property
    def size(self) -> int:
        """Entries copied."""
        return self.edges.size


class MirrorView:
    """The copies in one snapshot."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def head(self, origin: str) -> MirrorHead | None:
        """How far the copy of a log has got; None where there is none."""
        row = self._db.execute(_HEAD + " where origin = ?", (origin,)).fetchone()
        return _head_of(row) if row else None

    def heads(self, venue: str = "") -> list[MirrorHead]:
        """Every copy, or those of one venue's logs."""
        where, values = (" where venue = ?", (venue,)) if venue else ("", ())
        return [_head_of(row) for row in self._db.execute(_HEAD + where + " order by origin", values)]

    def ends(self, origin: str, objects: Iterable[bytes]) -> dict[bytes, ChainEnd]:
        """Where the chains of some objects end in a copy; those without an entry are left out."""
        found = {}
        for object in set(objects):
            row = self._db.execute(
                "select seq, link from mirror_entry where origin = ? and object = ? order by seq desc limit 1",
                (origin, object),
            ).fetchone()
            if row:
                found[object] = ChainEnd(*row)
        return found

    def lines(self, origin: str, after: int, limit: int) -> list[LogLine]:
        """Lines of a copy from index ``after`` on."""
        rows = self._db.execute(
            "select idx, object, seq, commitment, salt, body from mirror_entry where origin = ? and idx >= ? "
            "order by idx limit ?",
            (origin, after, limit),
        )
        return [LogLine(*row) for row in rows]

    def names(self, venue: str, digest: str) -> bool:
        """Whether a statement that is kept of a venue's logs names a document."""
        row = self._db.execute(
            "select 1 from mirror_document d join mirror_head h on h.origin = d.origin "
            "where h.venue = ? and d.digest = ?",
            (venue, digest),
        ).fetchone()
        return row is not None


class Mirror(MirrorView):
    """The copies, for a unit that adds to them."""

    def append(self, head: MirrorHead, checked: Checked) -> None:
        """Keep a page that holds, and the head behind it.

        Raises:
            sqlite3.IntegrityError: Somebody else has kept these lines meanwhile.
        """
        self._db.executemany(
            "insert into mirror_entry values (?, ?, ?, ?, ?, ?, ?, ?)",
            [(head.origin, *_row(one)) for one in checked.lines],
        )
        named = {digest for one in checked.lines if one.entry for digest in one.entry.documents}
        self._db.executemany(
            "insert or ignore into mirror_document values (?, ?)", [(head.origin, digest) for digest in sorted(named)]
        )
        self.put_head(head)

    def put_head(self, head: MirrorHead) -> None:
        """Keep a head: another checkpoint over the same lines, or behind ``append``."""
        self._db.execute(
            "insert or replace into mirror_head values (?, ?, ?, ?, ?, ?, ?)",
            (
                head.origin, head.venue, head.size, msgspec.msgpack.encode(tuple(head.edges)), head.note, head.time,
                head.bytes,
            ),
        )  # fmt: skip


def size_of(lines: Sequence[CheckedLine]) -> int:
    """Bytes that lines take in a copy, as its quota counts them."""
    return sum(_LINE_BYTES + len(one.line.statement or b"") for one in lines)


_LINE_BYTES = 200
"""Hashes, keys and index of one line."""
_HEAD = "select origin, venue, edges, note, time, bytes from mirror_head"
_edges = msgspec.msgpack.Decoder(tuple[int, tuple[bytes, ...], tuple[bytes, ...]])


def _head_of(row: tuple[str, str, bytes, bytes, str, int]) -> MirrorHead:
    origin, venue, edges, note, time, taken = row
    return MirrorHead(origin, venue, TileEdges(*_edges.decode(edges)), note, time, taken)


def _row(one: CheckedLine) -> tuple[object, ...]:
    line = one.line
    return line.index, line.object, line.seq, one.link, line.commitment, line.salt, line.statement
