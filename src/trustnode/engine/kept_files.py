"""Kept governed relations: whole tables as a policy delivers them, as finished frames in files without a name.

Decides: where frames of a full read lie, how much disk they take, when they go. Leaves to others: who may read
(``app.access``), under which key they are found (``asking``).

A file has no name from its first byte (``O_TMPFILE``, or made and unlinked at once) and belongs to this process alone:
a crash leaves nothing behind, a half-written one is never found, and nobody can open or change one by its path. What
the disk itself spoils is found by whoever reads, because every frame carries its digest. Nothing is hashed here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from trustnode.core.stream import FrameNote
from trustnode.engine.message import Frame, SessionSpec
from trustnode.engine.streaming import Frames
from trustnode.errors import error

IsCurrent = Callable[[SessionSpec], Awaitable[bool]]
"""Whether the data of a session are those that it was opened for."""
_log: Final = structlog.get_logger("trustnode.engine")


class _Place(NamedTuple):
    """Where a frame lies."""

    offset: int
    length: int
    note: FrameNote


@dataclass(eq=False)
class Relation:
    """One file; closed when it is dropped and nobody reads it."""

    descriptor: int
    spec: SessionSpec
    """Of the session that wrote it."""
    owners: set[str]
    """Agreements that have read it; when none is left it goes."""
    places: list[_Place] = field(default_factory=list)
    size: int = 0
    rows: int = 0
    readers: int = 0
    is_dropped: bool = False

    def frame(self, number: int) -> Frame:
        """A frame, from the disk or the kernel's memory; blocks.

        Raises:
            TrustnodeError: INTERNAL, the file is not what was written.
        """
        offset, length, note = self.places[number]
        try:
            data = os.pread(self.descriptor, length, offset)
        except OSError as failure:
            raise error("INTERNAL", "the data could not be read") from failure
        if len(data) != length:
            raise error("INTERNAL", "the data could not be read")
        return Frame(data, note)

    def append(self, frame: Frame) -> None:
        """Write a frame behind the last one; blocks."""
        view = memoryview(frame.data)
        offset = sum(self.places[-1][:2]) if self.places else 0
        while view:
            view = view[os.pwrite(self.descriptor, view, offset + len(frame.data) - len(view)) :]
        self.places.append(_Place(offset, len(frame.data), frame.note))
        self.rows += frame.note.rows


class Relations:
    """All files of a node, the least recently used ones first to go; bounded in bytes on the disk."""

    def __init__(self, folder: Path | None, max_bytes: int, executor: Executor, *, reserve_bytes: int = 0) -> None:
        """Keep nothing yet.

        Args:
            folder: Below the node's home; None: nothing is kept.
            max_bytes: Most that all files take, those included that are being written or that somebody still reads.
            executor: Reads, writes and closes files.
            reserve_bytes: What stays free on the disk for evidence.
        """
        self.folder = folder if max_bytes else None
        self.executor = executor
        self.size = 0
        self._max_bytes = max_bytes
        self._reserve_bytes = reserve_bytes
        self._kept: OrderedDict[Hashable, Relation] = OrderedDict()
        self._recording: set[Hashable] = set()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Hashable, owners: Iterable[str], max_rows: int | None) -> Relation | None:
        """The relation kept under a key, unless it has more rows than may be handed over."""
        found = self._kept.get(key)
        if found is None or (max_rows is not None and found.rows > max_rows):
            return None
        self._kept.move_to_end(key)
        found.owners.update(owners)
        return found

    def record(
        self, key: Hashable, spec: SessionSpec, owners: Iterable[str], is_current: IsCurrent
    ) -> RelationRecording | None:
        """Begin to write a relation; None where it may not be kept, or is kept or being written already."""
        if self.folder is None or key in self._kept or key in self._recording:
            return None
        try:
            descriptor = _nameless(self.folder)
        except OSError as problem:
            _log.warning("a relation is not kept", cause=type(problem).__name__)
            return None
        self._recording.add(key)
        return RelationRecording(self, key, Relation(descriptor, spec, set(owners)), is_current)

    def make_room(self, relation: Relation, size: int) -> bool:
        """Take ``size`` bytes of the disk, dropping what was used longest ago; False where they are not there."""
        while self.size + size > self._max_bytes and self._kept:
            self._drop(next(iter(self._kept)))
        disk = os.fstatvfs(relation.descriptor)
        if self.size + size > self._max_bytes or disk.f_bavail * disk.f_frsize - size < self._reserve_bytes:
            return False
        self.size += size
        relation.size += size
        return True

    def keep(self, key: Hashable, relation: Relation) -> None:
        """A relation is complete: from here on it is found."""
        self._recording.discard(key)
        self._kept[key] = relation

    def give_up(self, key: Hashable, relation: Relation) -> None:
        """A relation was not written to its end."""
        self._recording.discard(key)
        relation.is_dropped = True
        self._close(relation)

    def forget(self, owner: str) -> None:
        """An agreement ended: what no other one has read goes."""
        for key, relation in tuple(self._kept.items()):
            relation.owners.discard(owner)
            if not relation.owners:
                self._drop(key)

    async def drop_outdated(self, is_current: IsCurrent) -> None:
        """Drop what was written from data that are not there any more."""
        for key, relation in tuple(self._kept.items()):
            if not await is_current(relation.spec):
                self._drop(key)

    def leave(self, relation: Relation) -> None:
        """A reader has ended."""
        relation.readers -= 1
        self._close(relation)

    def close(self) -> None:
        """Let go of every file; readers keep theirs to their end."""
        for key in tuple(self._kept):
            self._drop(key)

    def _drop(self, key: Hashable) -> None:
        relation = self._kept.pop(key, None)
        if relation is not None:
            relation.is_dropped = True
            self._close(relation)

    def _close(self, relation: Relation) -> None:
        if relation.is_dropped and not relation.readers and relation.descriptor >= 0:
            descriptor, relation.descriptor = relation.descriptor, -1
            self.size -= relation.size
            self.executor.submit(os.close, descriptor)  # freeing a large file takes the kernel a while


class RelationRecording:
    """Writes the frames of one full read as they pass; gives up where room or disk fail, and nobody notices."""

    def __init__(self, relations: Relations, key: Hashable, relation: Relation, is_current: IsCurrent) -> None:
        self._relations = relations
        self._key = key
        self._is_current = is_current
        self._relation: Relation | None = relation

    async def add(self, frame: Frame) -> None:
        """As ``Recording.add``."""
        relation = self._relation
        if relation is None:
            return
        if not self._relations.make_room(relation, len(frame.data)):
            self.abandon()
            return
        writing = asyncio.get_running_loop().run_in_executor(self._relations.executor, relation.append, frame)
        try:
            await asyncio.shield(writing)
        except OSError as problem:
            _log.warning("a relation is not kept", cause=type(problem).__name__)
            self.abandon()
        except asyncio.CancelledError:
            self._relation = None
            writing.add_done_callback(lambda _: self._relations.give_up(self._key, relation))
            raise

    async def complete(self) -> None:
        """As ``Recording.complete``; what was written while the data changed is not kept."""
        relation, self._relation = self._relation, None
        if relation is None:
            return
        try:
            current = await self._is_current(relation.spec)
        except asyncio.CancelledError:
            self._relations.give_up(self._key, relation)
            raise
        (self._relations.keep if current else self._relations.give_up)(self._key, relation)

    def abandon(self) -> None:
        """As ``Recording.abandon``."""
        relation, self._relation = self._relation, None
        if relation is not None:
            self._relations.give_up(self._key, relation)


class RelationFrames(Frames):
    """A kept relation as a stream; one frame is read ahead."""

    def __init__(self, relations: Relations, relation: Relation) -> None:
        self._relations = relations
        self._relation = relation
        self._number = 0
        self._is_open = True
        relation.readers += 1
        self._next: asyncio.Future[Frame] | None = self._read()

    async def __anext__(self) -> Frame:
        """The next frame.

        Raises:
            TrustnodeError: INTERNAL, the disk fails.
        """
        if self._next is None:
            raise StopAsyncIteration
        frame = await asyncio.shield(self._next)
        self._next = self._read()
        return frame

    def _read(self) -> asyncio.Future[Frame] | None:
        if self._number == len(self._relation.places):
            return None
        self._number += 1
        reading = asyncio.get_running_loop().run_in_executor(
            self._relations.executor, self._relation.frame, self._number - 1
        )
        reading.add_done_callback(_seen)
        return reading

    async def stop(self) -> None:
        """End it early; the file is let go of after the read that is under way. Safe to call twice."""
        if not self._is_open:
            return
        self._is_open = False
        reading, self._next = self._next, None
        if reading is None or reading.done():
            self._relations.leave(self._relation)
        else:
            reading.add_done_callback(lambda _: self._relations.leave(self._relation))


def _seen(reading: asyncio.Future[Frame]) -> None:
    """A frame that nobody waits for any more must not be reported as forgotten."""
    if not reading.cancelled():
        reading.exception()


def _nameless(folder: Path) -> int:
    """A new file, readable and writable by this process alone, that has no name."""
    folder.mkdir(mode=0o700, exist_ok=True)
    with contextlib.suppress(OSError):  # a file system that knows no such files
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    descriptor, path = tempfile.mkstemp(dir=folder)
    Path(path).unlink()
    return descriptor
