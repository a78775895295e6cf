"""Answers with noise: paid for before the question runs, kept before they leave, given again byte for byte.

Decides: that the same question is drawn once, and what is handed out when it is asked again. Leaves to others: the
ledger (``app.budget``), the unit that takes of it (``decision``), noise (``engine``), settling (``serving``).
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

import msgspec

from trustnode.app.access.admission import Admission
from trustnode.app.access.decision import Decided
from trustnode.app.venue import Venue
from trustnode.core.stream import FrameNote
from trustnode.engine.asking import SmallAnswer
from trustnode.engine.message import Frame
from trustnode.errors import TrustnodeError, error
from trustnode.store.unit import Tx

ANSWER_BYTES: Final = 1 << 20
"""No answer with noise is larger: it is kept whole."""
WORKER_TRIES: Final = 4
WORKER_PAUSE_S: Final = 0.25
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[tuple[bytes, bytes], ...]).decode


class Turn:
    """Who asks a question waits until nobody else is drawing its answer: two would pay twice, for two answers.

    An async context manager, left early when the answer is there. Where answers are exact, nobody waits.
    """

    def __init__(self, venue: Venue, admission: Admission) -> None:
        self._venue = venue
        self._admission = admission
        self._lock: asyncio.Lock | None = None

    async def __aenter__(self) -> Self:
        name = self._admission.question("")
        if name:
            lock = self._venue.questions.setdefault(name, asyncio.Lock())
            await lock.acquire()
            self._lock = lock
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Let the next one in; safe to call twice."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def frames(self, decided: Decided) -> tuple[Frame, ...]:
        """The answer: the one that was given before, else a new one, which is durable before it is handed out.

        Raises:
            TrustnodeError: As ``Session.read``; what the question cost stays spent.
        """
        kept = await self._venue.store.read(lambda view: view.noised_answer(decided.question))
        if decided.answered and kept is None:
            raise error("BUSY", "the answer to this question is no longer kept; ask again")
        if kept is None:
            kept = await self._drawn(decided)
        self.leave()
        return tuple(Frame(data, FrameNote.from_bytes(note)) for note, data in _decode(kept))

    async def _drawn(self, decided: Decided) -> bytes:
        answer = await self._read()
        frames = _encode(tuple((frame.note.to_bytes(), frame.data) for frame in answer.frames))

        def unit(tx: Tx) -> str:
            tx.keep_answer(decided.question, frames, decided.window_ends)
            return ""

        await self._venue.store.write(unit, event_id="", returns=str)
        return frames

    async def _read(self) -> SmallAnswer:
        """A question that is paid for waits for a worker."""
        admission = self._admission
        for _ in range(WORKER_TRIES):
            try:
                return await admission.session.read(admission.plan, max_bytes=ANSWER_BYTES)
            except TrustnodeError as refusal:
                if refusal.reason != "BUSY":
                    raise
            await asyncio.sleep(WORKER_PAUSE_S)
        return await admission.session.read(admission.plan, max_bytes=ANSWER_BYTES)
