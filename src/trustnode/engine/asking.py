"""What one agreement may ask of the engine, and what of it is answered without the engine.

Decides: order of attempts (kept answer, kept relation, then a worker), what is kept under which key, and that nothing
is kept that may be older than the data. Leaves to others: workers (``pool``), what a query may see (``plan``), rights
and counters, which are looked at for every call (``app.access``). Imports no engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from trustnode.core.stream import FrameNote, Prefix
from trustnode.engine import message as wire
from trustnode.engine.kept import digest_of, relation_digest
from trustnode.engine.kept_files import RelationFrames
from trustnode.engine.message import Frame, Parameter, Plan, SessionSpec
from trustnode.engine.streaming import Frames, FrameStream, KeptFrames, Recording, SmallRecording, refuse

if TYPE_CHECKING:
    from trustnode.engine.pool import EnginePool

SMALL_BYTES: Final = 1 << 20
"""An answer up to this size is small: it fits into one message, and may be kept in memory."""


class SmallAnswer(msgspec.Struct, frozen=True):
    """A whole answer: its plan and its frames, the schema first."""

    plan: Plan
    frames: tuple[Frame, ...]

    @property
    def rows(self) -> int:
        """Rows in all frames."""
        return sum(frame.note.rows for frame in self.frames)

    @property
    def size(self) -> int:
        """Bytes in all frames."""
        return sum(len(frame.data) for frame in self.frames)


class Session:
    """What one agreement may ask; holds no worker between two queries."""

    def __init__(self, pool: EnginePool, spec: SessionSpec) -> None:
        self._pool = pool
        self._spec = spec
        self.digest = digest_of(spec)
        self._owners = frozenset(part.agreement for part in spec.parts)

    @property
    def data_version(self) -> str:
        """Digest that changes when the data does."""
        return self._spec.data_version

    async def plan(self, sql: str, parameters: Sequence[Parameter] = ()) -> Plan:
        """Check and rewrite a query; no data is read.

        Raises:
            TrustnodeError: QUERY_INVALID, FIELD_TOO_LONG, FIELD_NOT_AGREED, DENIED, QUERY_TOO_COSTLY, DEADLINE, BUSY.
        """
        key = self._text_key("plan", sql, parameters)
        if (kept := self._pool.kept.get(key, Plan)) is not None:
            return kept
        async with self._pool.worker(self._spec) as worker:
            answer = await worker.exchange(wire.PlanQuery(sql, tuple(parameters)), self._spec.limits.plan_seconds)
        if not isinstance(answer, wire.Planned):
            refuse(answer)
        self._keep_plan(key, answer.plan)
        return answer.plan

    async def answer_schema(self, sql: str, parameters: Sequence[Parameter] = ()) -> bytes:
        """The Arrow schema of what a query would deliver, as an IPC message.

        Raises:
            TrustnodeError: As ``plan``.
        """
        key = self._text_key("schema", sql, parameters)
        if (kept := self._pool.kept.get(key, bytes)) is not None:
            return kept
        async with self._pool.worker(self._spec) as worker:
            request = wire.ShowSchema(sql, tuple(parameters))
            answer = await worker.exchange(request, self._spec.limits.plan_seconds)
        if not isinstance(answer, wire.SchemaWritten):
            refuse(answer)
        self._keep(key, value=answer.schema, size=len(answer.schema) + 2 * len(repr(key)))
        return answer.schema

    async def run(self, plan: Plan, *, max_rows: int | None = None, after: Prefix | None = None) -> Frames:
        """Begin to stream the rows of a plan.

        Args:
            plan: Of this session's policy.
            max_rows: Rows that may be handed over; when more are there, the stream ends with QUOTA_TOTAL after them.
            after: Go on behind what was handed over before; a result that differs so far ends with RESUME_CHANGED
                before its first frame.
        """
        if after is None and (kept := self._kept_frames(plan, max_rows)) is not None:
            return kept
        worker = await self._pool.borrow(self._spec)
        request = wire.RunQuery(plan.query, plan.parameters, plan.sql, worker.next_run(), max_rows, after)
        worker.begin(request)
        recording = self._recording(plan) if after is None else None
        return FrameStream(worker, self._spec.limits.engine_seconds, release=self._pool.release, recording=recording)

    async def read(
        self,
        query: str | Plan,
        parameters: Sequence[Parameter] = (),
        *,
        max_bytes: int = SMALL_BYTES,
        max_rows: int | None = None,
    ) -> SmallAnswer:
        """Plan (unless ``query`` is a plan) and answer in one round trip, or from what is kept.

        Raises:
            TrustnodeError: As ``plan``; QUERY_TOO_COSTLY with ``limit_bytes`` when the answer is larger than
                ``max_bytes``; QUOTA_TOTAL when it has more rows than ``max_rows``.
        """
        key = () if isinstance(query, Plan) else self._text_key("plan", query, parameters)
        plan = query if isinstance(query, Plan) else self._pool.kept.get(key, Plan)
        kept = self._kept_answer(plan, max_rows) if plan is not None else None
        if kept is not None and kept.size <= max_bytes:
            return kept
        text, values, expected = (
            (query.query, query.parameters, query.sql) if isinstance(query, Plan) else (query, tuple(parameters), "")
        )
        async with self._pool.worker(self._spec) as worker:
            request = wire.ReadQuery(text, values, max_bytes, worker.next_run(), expected, max_rows)
            answer = await worker.exchange(request, self._spec.limits.engine_seconds)
        if not isinstance(answer, wire.SmallResult):
            refuse(answer)
        frames = tuple(Frame(data, FrameNote.from_bytes(note)) for note, data in answer.frames)
        if plan is None:
            self._keep_plan(key, answer.plan)
        if await self._is_current():
            self._keep_answer(answer.plan, frames)
        return SmallAnswer(answer.plan, frames)

    # --- what is kept

    def _kept_frames(self, plan: Plan, max_rows: int | None) -> Frames | None:
        """Frames are numbered from 1: a read that goes on behind others needs the engine."""
        if (kept := self._kept_answer(plan, max_rows)) is not None:
            return KeptFrames(kept.frames)
        relations = self._pool.relations
        found = relations.find(self._relation_key(plan), self._owners, max_rows) if plan.whole else None
        return RelationFrames(relations, found) if found is not None else None

    def _recording(self, plan: Plan) -> Recording | None:
        if plan.whole:
            recording = self._pool.relations.record(
                self._relation_key(plan), self._spec, self._owners, self._pool.is_current
            )
            if recording is not None:
                return recording
        if not self._pool.kept.max_bytes:
            return None
        return SmallRecording(SMALL_BYTES, lambda frames: self._keep_answer(plan, frames), self._is_current)

    def _relation_key(self, plan: Plan) -> tuple[str, str]:
        return relation_digest(self._spec), plan.sql

    async def _is_current(self) -> bool:
        """Whether the data are still those that the session was opened for: an answer of others is not kept."""
        if not self._pool.kept.max_bytes:
            return False
        return await self._pool.is_current(self._spec)

    def _text_key(self, what: str, sql: str, parameters: Sequence[Parameter]) -> tuple[object, ...]:
        """``repr`` keeps 1, 1.0 and True apart; a text may mean another query tomorrow."""
        return what, self.digest, sql, repr(tuple(parameters)), datetime.now(UTC).date()

    def _keep_plan(self, key: tuple[object, ...], plan: Plan) -> None:
        """Under the day on which it was asked for: made at midnight, it may be of the day before."""
        size = 3 * len(plan.query) + len(plan.sql) + 3 * len(repr(plan.parameters)) + 100 * len(plan.columns_used)
        self._keep(key, value=plan, size=size)

    def _kept_answer(self, plan: Plan, max_rows: int | None) -> SmallAnswer | None:
        """The answer of the text that runs; one with more rows than may be handed over goes through the engine."""
        found = self._pool.kept.get(("answer", self.digest, plan.sql), SmallAnswer)
        if found is None or (max_rows is not None and found.rows > max_rows):
            return None
        return SmallAnswer(plan, found.frames)

    def _keep_answer(self, plan: Plan, frames: tuple[Frame, ...]) -> None:
        if any(part.governed.aggregate and part.governed.aggregate.noise for part in self._spec.parts):
            return  # who asks whether it was drawn before asks the ledger, which outlives the process
        answer = SmallAnswer(plan, frames)
        size = answer.size + 2 * len(plan.sql) + 200 * len(frames)
        self._keep(("answer", self.digest, plan.sql), value=answer, size=size)

    def _keep(self, key: tuple[object, ...], *, value: object, size: int) -> None:
        self._pool.kept.put(key, value, owners=self._owners | {self.digest}, size=size)
