"""The frames of one run, from a worker or kept, and what is kept of them on the way.

Decides: credits, the time the engine may take, that only a run that came to its end is kept. Leaves to others: which
worker runs what (``pool``), where kept frames lie (``kept``, ``kept_files``). Imports no engine.
"""

from __future__ import annotations

import asyncio
import secrets
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final, NoReturn, Protocol, Self

import structlog

from trustnode.engine import message as wire
from trustnode.engine.message import Frame
from trustnode.errors import REASONS, TrustnodeError, error

if TYPE_CHECKING:
    from trustnode.engine.process import WorkerProcess

_log: Final = structlog.get_logger("trustnode.engine")


class Frames(ABC):
    """What ``Session.run`` gives: iterate, and leave the block in every case."""

    def __aiter__(self) -> Self:
        return self

    @abstractmethod
    async def __anext__(self) -> Frame:
        """The next frame, the schema first."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    @abstractmethod
    async def stop(self) -> None:
        """End it early; safe to call twice."""


class Recording(Protocol):
    """Keeps the frames of a run as they pass."""

    async def add(self, frame: Frame) -> None:
        """A frame passed."""

    async def complete(self) -> None:
        """It was the last one: what was recorded may be used."""

    def abandon(self) -> None:
        """The run did not come to its end; nothing of it is used. Safe to call twice, and after ``complete``."""


class SmallRecording:
    """Keeps a run in memory as long as it is small."""

    def __init__(
        self,
        max_bytes: int,
        keep: Callable[[tuple[Frame, ...]], None],
        is_current: Callable[[], Awaitable[bool]],
    ) -> None:
        self._left = max_bytes
        self._keep = keep
        self._is_current = is_current
        self._frames: list[Frame] = []

    async def add(self, frame: Frame) -> None:
        """As ``Recording.add``."""
        self._left -= len(frame.data)
        if self._left >= 0:
            self._frames.append(frame)
        else:
            self._frames.clear()

    async def complete(self) -> None:
        """As ``Recording.complete``."""
        if self._left >= 0 and self._frames and await self._is_current():
            self._keep(tuple(self._frames))

    def abandon(self) -> None:
        """As ``Recording.abandon``."""
        self._frames.clear()
        self._left = -1


class FrameStream(Frames):
    """The frames of one run in a worker, the schema first; iterate, and close in every case.

    A frame that was handed out is the credit for a further one: no more than two are under way, and one is read ahead.
    """

    def __init__(
        self,
        worker: WorkerProcess,
        engine_seconds: float,
        *,
        release: Callable[[WorkerProcess], None],
        recording: Recording | None = None,
    ) -> None:
        self._worker = worker
        self._seconds_left = engine_seconds
        self._release = release
        self._recording = recording
        self._over = False

    async def __anext__(self) -> Frame:
        """The next frame.

        Raises:
            TrustnodeError: QUOTA_TOTAL (the row budget is used up), CANCELLED (stopped), DEADLINE, QUERY_TOO_COSTLY,
                QUERY_INVALID, STALE_VERSION, INTERNAL.
        """
        if self._over:
            raise StopAsyncIteration
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            received = await self._worker.following(max(self._seconds_left, 0.0))
        except BaseException:
            self._finish()
            raise
        self._seconds_left -= loop.time() - started
        if isinstance(received, Frame):
            self._worker.ask()
            if self._recording is not None:
                await self._recording.add(received)
            return received
        if received != wire.End("complete"):
            self._finish()
            refuse(received)
        await self._complete()
        raise StopAsyncIteration

    async def _complete(self) -> None:
        recording, self._recording = self._recording, None
        self._finish()
        if recording is not None:
            await recording.complete()

    async def stop(self) -> None:
        """End the stream: interrupt, and kill the worker when it has not ended after 0.5 s. Safe to call twice."""
        if not self._over:
            self._over = True
            try:
                await self._worker.stop_run()
            finally:
                self._finish()

    def _finish(self) -> None:
        self._over = True
        if self._recording is not None:
            self._recording.abandon()
        self._release(self._worker)


class KeptFrames(Frames):
    """A kept answer as a stream."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self._left = iter(frames)

    async def __anext__(self) -> Frame:
        """The next frame."""
        frame = next(self._left, None)
        if frame is None:
            raise StopAsyncIteration
        return frame

    async def stop(self) -> None:
        """End it early."""
        self._left = iter(())


def refuse(answer: wire.Answer | Frame) -> NoReturn:
    """Raise what an answer other than the expected one means.

    A failure of the engine has an identifier, where what the consumer is told meets what the provider's log knows.
    """
    if isinstance(answer, wire.Failure) and answer.reason in REASONS:
        named = {}
        if answer.detail:
            named = {"query_id": secrets.token_hex(8)}
            _log.warning("query refused", reason=answer.reason, cause=answer.detail, **named)
        raise error(answer.reason, answer.message, **answer.metadata, **named)
    if isinstance(answer, wire.End):
        raise _end(answer)
    raise error("INTERNAL", "the worker gave an answer that was not asked for")


def _end(answer: wire.End) -> TrustnodeError:
    if answer.reason == "quota":
        return error("QUOTA_TOTAL", "the rows that were left are delivered; the answer has more")
    return error("CANCELLED", "the query was stopped")
