"""The part of a read that is on the disk, so that the same command goes on where it was broken off.

Decides: what is remembered beside the rows, when it is of another read and put away. Leaves to others: the format of
the finished file (``output``), whether the result is still the same (the providing venue: protocol 6.8).

``out.parquet.part`` holds the rows as an Arrow stream, ``out.parquet.part.json`` where they end: written after the
rows, and what stands behind it is cut off, so that a process killed at any moment leaves both in step.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from trustnode.core.access import Resumes
from trustnode.errors import error
from trustnode.sdk.decoding import need

if TYPE_CHECKING:
    from trustnode.sdk.read import Reader

NOTE_BYTES: Final = 16 << 20
"""After so many bytes of rows it is written down where they end."""


class Noted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a read came."""

    read: str
    """Digest of what is read: agreements, query, purpose."""
    resumes: Resumes
    size: int
    """Bytes of the rows that belong to it."""
    sha256: str
    """Digest of these bytes: rows that were altered or damaged meanwhile are not gone on with."""
    rows: int
    cost_fen: int = 0
    """What the accesses cost that brought them."""


class PartFile:
    """Rows of a read that is not finished."""

    def __init__(self, target: Path, read: str) -> None:
        self.path = target.with_name(target.name + ".part")
        self._note = target.with_name(target.name + ".part.json")
        self._read = read
        self._digest = hashlib.sha256()
        self.before = self._noted()
        """What an earlier read left here; None: nothing that goes on."""
        self._file: Any = None
        self._end: tuple[Resumes, int] | None = None
        """Where the rows written so far end: the frame, and how many rows."""
        self._size = self._noted_size = self.before.size if self.before else 0

    def __enter__(self) -> Self:
        self._file = self.path.open("r+b" if self.before else "wb")
        self._file.truncate(self._size)
        self._file.seek(self._size)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._file.close()

    def begin(self, schema: Any) -> None:
        """Write the columns, once.

        Raises:
            TrustnodeError: RESUME_CHANGED when those that are here are others.
        """
        if self._size == 0:
            self._write(schema.serialize())
            return
        with self.batches() as stream:
            if stream.schema != schema:
                raise error("RESUME_CHANGED", "the columns are no longer those that were begun")

    def add(self, batch: Any, reader: Reader) -> None:
        """Keep a batch; now and then note how far the reader came."""
        self._write(batch.serialize())
        if reader.point is not None:
            self._end = reader.point, reader.rows
        if self._size - self._noted_size >= NOTE_BYTES:
            self.note(reader)

    def note(self, reader: Reader) -> None:
        """Write down where the rows end; a process that is killed later goes on here."""
        if self._end is None:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        resumes, rows = self._end
        cost_fen = sum(receipt.total_fen for receipt in reader.receipts)
        if self.before:
            rows, cost_fen = rows + self.before.rows, cost_fen + self.before.cost_fen
        noted = Noted(
            read=self._read, resumes=resumes, size=self._size, sha256=self._digest.hexdigest(), rows=rows,
            cost_fen=cost_fen,
        )  # fmt: skip
        fresh = self._note.with_name(self._note.name + ".new")
        fresh.write_bytes(msgspec.json.encode(noted))
        fresh.replace(self._note)
        self._noted_size = self._size

    @contextmanager
    def batches(self) -> Iterator[Any]:
        """Read all that is here."""
        pa = need("pyarrow")
        with pa.memory_map(str(self.path)) as rows, pa.ipc.open_stream(rows) as stream:
            yield stream

    def remove(self) -> None:
        """The read is finished, or another begins."""
        for path in (self.path, self._note):
            path.unlink(missing_ok=True)

    def _write(self, message: Any) -> None:
        self._file.write(message)
        self._digest.update(message)
        self._size += message.size

    def _noted(self) -> Noted | None:
        try:
            noted = msgspec.json.decode(self._note.read_bytes(), type=Noted)
            digest = _digest_of(self.path, noted.size)
        except (OSError, msgspec.MsgspecError):
            return None
        if noted.read != self._read or digest.hexdigest() != noted.sha256:
            return None
        self._digest = digest
        return noted


def _digest_of(path: Path, size: int) -> hashlib._Hash:
    """Over the first ``size`` bytes of a file, or all where it is shorter."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (piece := file.read(min(size, 1 << 20))):
            digest.update(piece)
            size -= len(piece)
    return digest


def read_digest(*parts: bytes) -> str:
    """Digest of what is read; another query, purpose or agreement does not go on with the same rows."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
