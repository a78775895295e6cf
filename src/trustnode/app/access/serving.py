"""Serving: answer a request from our own data, as a stream or in one message, and settle it.

Decides: what a stream hangs on, how rows are covered before they leave, what a receipt says. Leaves to others: moving
frames (``streams``), running the plan (``engine``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from trustnode.app.access.admission import (
    Admission,
    Asker,
    Granted,
    admit,
    check_still_performing,
    decide_all,
    record_denial,
)
from trustnode.app.access.decision import Decided, Held, decide, decide_in, write_decision
from trustnode.app.access.noised import Turn
from trustnode.app.quota import Reservation, consumed, cover, reservations, rows_left
from trustnode.app.streams import Frame, Stream, Window, finish, pump
from trustnode.app.transition import fire
from trustnode.app.venue import Sender, Venue
from trustnode.core.access import (
    ACCESS,
    AccessFacts,
    AccessHeader,
    AccessState,
    DecisionLink,
    Meter,
    Receipt,
    Share,
)
from trustnode.core.document import Document
from trustnode.engine.asking import SMALL_BYTES
from trustnode.engine.streaming import KeptFrames
from trustnode.errors import TrustnodeError, error
from trustnode.store.unit import Tx, View
from trustnode.wire.convert import Ticket

STREAM_LIFE_S: Final = 3600.0
"""Longest a stream may run; what hangs longer is begun again (protocol 6.8)."""


class Sink(NamedTuple):
    """Where a served or brokered stream goes; the transport is the caller's."""

    header: Callable[[AccessHeader], Awaitable[None]]
    """Sends what a reader needs before the first frame."""
    frame: Callable[[bytes], Awaitable[None]]


class Outcome(NamedTuple):
    """How a stream ended: its receipt, and the failure that ended it early."""

    receipt: Document
    failure: TrustnodeError | None


async def serve(venue: Venue, sender: Sender, ticket: Ticket, sink: Sink) -> Outcome:
    """Answer a request with a stream, from our own data.

    Returns:
        The receipt, and why the stream ended early if it did.

    Raises:
        TrustnodeError: Refused before the first byte.
    """
    admission = await admit(venue, sender, ticket)
    async with Turn(venue, admission) as turn:
        return await _serve(venue, admission, _stream(venue, sender, admission), sink, turn)


async def _serve(venue: Venue, admission: Admission, stream: Stream, sink: Sink, turn: Turn) -> Outcome:
    decided = await _decided(venue, admission, stream)
    failure: TrustnodeError | None = None
    try:
        with venue.streams.running(stream):
            await sink.header(_header(admission, decided))
            await _run(venue, admission, decided, stream, sink, turn)
    except TrustnodeError as stopped:
        failure = stopped
    except TimeoutError:
        failure = error("DEADLINE", f"a stream lasts at most {STREAM_LIFE_S:.0f} s: begin again where it ended")
    except asyncio.CancelledError:
        failure = stream.failure or error("CANCELLED", "the reader went away")
        await finish(settle(venue, admission, decided, stream, failure))
        raise
    receipt = await finish(settle(venue, admission, decided, stream, failure))
    return Outcome(receipt, failure)


async def _decided(venue: Venue, admission: Admission, stream: Stream) -> Decided:
    """The decision, durable. A reader that goes away before it hears of it has its access settled all the same."""
    deciding = asyncio.ensure_future(decide(venue, admission))
    try:
        return await asyncio.shield(deciding)
    except asyncio.CancelledError:
        await finish(_settle_unheard(venue, admission, stream, deciding))
        raise


async def _settle_unheard(
    venue: Venue, admission: Admission, stream: Stream, deciding: asyncio.Future[Decided]
) -> None:
    try:
        decided = await deciding
    except TrustnodeError:
        return  # nothing was decided, so nothing is open
    await settle(venue, admission, decided, stream, error("CANCELLED", "the reader went away"))


def _header(admission: Admission, decided: Decided) -> AccessHeader:
    return AccessHeader(
        access=admission.id,
        stream_salt=admission.salt.hex(),
        decision_seq=decided.seq,
        decision_link=decided.link,
    )


def _stream(venue: Venue, sender: Sender, admission: Admission) -> Stream:
    ack = admission.contract.value.ack
    keys = {key for granted in admission.granted for key in _keys(granted)}
    if sender.kind == "PEER":
        keys.add(f"peer:{sender.domain}")
    return Stream(
        access=admission.id,
        keys=frozenset(keys),
        salt=admission.salt,
        peer=sender.domain if sender.kind == "PEER" else "",
        window=Window(ack.window_bytes, ack.window_rows) if sender.kind == "PEER" else None,
        recheck=lambda: _recheck(venue, admission),
    )


def _keys(granted: Granted) -> tuple[str, ...]:
    """All that a stream hangs on under one agreement."""
    state = granted.state
    return (
        f"access:{granted.id}", f"agreement:{state.id}", f"product:{state.product}", f"participant:{state.consumer}",
        f"participant:{state.provider}",
    )  # fmt: skip


async def _recheck(venue: Venue, admission: Admission) -> None:
    """Decide a running stream again, under each agreement (odrl 3, rule 10)."""
    venue.check_in_force(venue.domain, admission.request.value.home)
    await check_still_performing(venue, [granted.state.id for granted in admission.granted])
    contracts = [granted.contract for granted in admission.granted]
    decide_all(venue, admission.request.value, contracts, Asker.of(admission.key.value))


async def _run(venue: Venue, admission: Admission, decided: Decided, stream: Stream, sink: Sink, turn: Turn) -> None:
    budget = Budget(venue, decided.held)
    if decided.question:
        answer = await stream.unless_stopped(turn.frames(decided))
        await pump(KeptFrames(answer), sink.frame, stream, before=budget.cover)
        return
    after = admission.resumed.after if admission.resumed else None
    frames = await admission.session.run(admission.plan, max_rows=decided.rows_left, after=after)
    async with frames, asyncio.timeout(STREAM_LIFE_S):
        await pump(frames, sink.frame, stream, before=budget.cover)


@dataclass
class Budget:
    """Reserves rows and bytes in portions, always before they are handed over; each portion is an entry."""

    venue: Venue
    held: tuple[Held, ...]
    used: dict[str, int] = field(default_factory=lambda: {"rows": 0, "bytes": 0})

    async def cover(self, frame: Frame) -> None:
        """Reserve further portions when this frame needs them.

        Raises:
            TrustnodeError: QUOTA_* when a limit is reached.
        """
        self.used["rows"] += frame.note.rows
        self.used["bytes"] += len(frame.data)
        if any(self._is_short(one) for one in self.held):
            self.held = await self.venue.store.write(self._unit, event_id="", returns=tuple[Held, ...])

    def _is_short(self, one: Held) -> bool:
        return any(taken.amount < self.used.get(taken.unit, 0) for taken in one.reserved)

    def _unit(self, tx: Tx) -> tuple[Held, ...]:
        return tuple(self._covered(tx, one) if self._is_short(one) else one for one in self.held)

    def _covered(self, tx: Tx, one: Held) -> Held:
        taken = cover(tx, one.reserved, one.access, self.used)
        tx.log("agreement", one.agreement, "delivery.transfer", access_id=one.access, contract_id=one.agreement)
        return msgspec.structs.replace(one, reserved=taken)


async def settle(
    venue: Venue, admission: Admission, decided: Decided, stream: Stream, failure: TrustnodeError | None
) -> Document:
    """Give back what was not used, sign the receipt, log the end (protocol 6.4, step 9)."""
    value = _receipt(venue, admission, decided, stream, failure)
    receipt = venue.sign(value)

    def unit(tx: Tx) -> str:
        _settle(tx, decided, stream, failure, receipt, value)
        return receipt.digest

    await venue.store.write(unit, event_id=f"settle/{admission.id}", returns=str)
    return receipt


def _settle(
    tx: Tx, decided: Decided, stream: Stream, failure: TrustnodeError | None, receipt: Document, value: Receipt
) -> None:
    tx.keep(receipt)
    for share, held in zip(value.shares, decided.held, strict=True):
        _settled(tx, held, stream, failure, receipt.digest, share.cost_fen)


def _receipt(
    venue: Venue, admission: Admission, decided: Decided, stream: Stream, failure: TrustnodeError | None
) -> Receipt:
    agreement, now = admission.contract.value, venue.clock.now()
    first, *joined = [
        _share(granted, held, stream, decided.reads)
        for granted, held in zip(admission.granted, decided.held, strict=True)
    ]
    return Receipt(
        access=admission.id,
        request_sha256=admission.request.digest,
        agreement=first.agreement,
        agreement_sha256=first.agreement_sha256,
        policy_sha256=first.policy_sha256,
        decision=first.decision,
        plan_commitment=admission.plan_commitment,
        outcome="ABORTED" if failure else "COMPLETE",
        cause=failure.reason if failure else "",
        frames=stream.frames,
        rows=stream.rows,
        bytes=stream.bytes,
        stream_salt=admission.salt.hex(),
        stream_commitment=stream.commitment,
        meter=(Meter("CALL", 1), Meter("ROW", stream.rows), Meter("BYTE", stream.bytes)),
        cost_fen=first.cost_fen,
        started=admission.request.value.time if stream.frames == 0 else now,
        ended=now,
        path=admission.request.value.path,
        joined=tuple(joined),
        content_digest=admission.plan.content_digest,
        **venue.fields(venue.domain, agreement.consumer_node),
    )


def _share(granted: Granted, held: Held, stream: Stream, reads: int) -> Share:
    return Share(
        agreement=granted.state.id,
        agreement_sha256=granted.state.document,
        policy_sha256=granted.contract.policy.digest,
        decision=DecisionLink(held.seq, held.link),
        cost_fen=granted.contract.value.price.cost_fen(rows=stream.rows, reads=reads),
    )


def _settled(tx: Tx, held: Held, stream: Stream, failure: TrustnodeError | None, receipt: str, cost_fen: int) -> None:
    state = tx.get(AccessState, held.access)
    if state is None:
        raise error("NOT_FOUND", "no such access")
    used = {taken.key: consumed(taken, rows=stream.rows, size=stream.bytes) for taken in held.reserved}
    tx.settle(held.access, used)
    columns: dict[str, Any] = {
        "frames": stream.frames, "rows": stream.rows, "bytes": stream.bytes, "stream_commitment": stream.commitment,
        "receipt": receipt, "cost_fen": cost_fen, "ended_at": tx.now,
        "cause": failure.reason if failure else "",
    }  # fmt: skip
    entry: dict[str, Any] = {
        "access_id": held.access, "contract_id": held.agreement, "amount": stream.rows, "unit": "rows",
        "stream_commitment": stream.commitment,
    }  # fmt: skip
    facts = AccessFacts(receipt_signed=True, cause_named=True)
    event = "abort" if failure else "complete"
    extra = {"reason_code": failure.reason} if failure else {}
    fire(tx, ACCESS, state, event, "K", facts, documents=(receipt,), entry=entry | extra, **columns)


class SmallRead(NamedTuple):
    """A whole answer with its evidence."""

    header: AccessHeader
    frames: tuple[bytes, ...]
    receipt: Document


async def read(venue: Venue, sender: Sender, ticket: Ticket) -> SmallRead:
    """Answer a request in one message; larger answers are refused before anything is decided or counted.

    Raises:
        TrustnodeError: As ``serve``; QUERY_TOO_COSTLY when the answer is larger than 1 MiB.
    """
    admission = await admit(venue, sender, ticket)
    if admission.resumed is not None:
        refusal = error("FIELD_FORMAT", "a read goes on as a stream", field="resumes")
        await record_denial(venue, sender, ticket, refusal)
        raise refusal
    if admission.ledger is not None:
        return await _read_noised(venue, admission)
    _check_not_held(admission)
    left = await _rows_left(venue, admission)
    try:
        answer = await admission.session.read(admission.plan, max_bytes=SMALL_BYTES, max_rows=left)
    except TrustnodeError as refusal:
        await record_denial(venue, sender, ticket, refusal)
        raise
    stream = Stream(admission.id, frozenset(), admission.salt)
    for frame in answer.frames:
        stream.count(frame.note, len(frame.data))
    ended = await finish(_decided_and_settled(venue, admission, stream))
    return SmallRead(_header(admission, ended.decided), tuple(frame.data for frame in answer.frames), ended.receipt)


def _check_not_held(admission: Admission) -> None:
    """An answer in one message is computed before it is counted: too late for a limit of reads that run at once.

    Raises:
        TrustnodeError: QUERY_TOO_COSTLY, on which a client asks for the stream.
    """
    if any(counter.unit == "running" for one in admission.granted for counter in one.contract.policy.counters):
        step = "Read it as a stream (DoGet)."
        raise error("QUERY_TOO_COSTLY", "the agreement limits how many reads run at once", next_step=step)


async def _read_noised(venue: Venue, admission: Admission) -> SmallRead:
    """Decided and paid first, drawn afterwards: an answer that was not paid for may not even exist."""
    stream = Stream(admission.id, frozenset(), admission.salt)
    async with Turn(venue, admission) as turn:
        decided = await _decided(venue, admission, stream)
        try:
            frames = await _covered(venue, admission, decided, turn)
        except TrustnodeError as failure:
            await finish(settle(venue, admission, decided, stream, failure))
            raise
        except asyncio.CancelledError:
            await finish(settle(venue, admission, decided, stream, error("CANCELLED", "the reader went away")))
            raise
    for frame in frames:
        stream.count(frame.note, len(frame.data))
    receipt = await finish(settle(venue, admission, decided, stream, None))
    return SmallRead(_header(admission, decided), tuple(frame.data for frame in frames), receipt)


async def _covered(venue: Venue, admission: Admission, decided: Decided, turn: Turn) -> tuple[Frame, ...]:
    frames = await turn.frames(decided)
    budget = Budget(venue, decided.held)
    for frame in frames:
        await budget.cover(frame)
    return frames


class _Ended(msgspec.Struct, frozen=True):
    """A small read in one unit: what was decided, and the receipt of what is handed over now."""

    decided: Decided
    receipt: Document


async def _decided_and_settled(venue: Venue, admission: Admission, stream: Stream) -> _Ended:
    """Both in one unit, with the entries that two would leave: the whole answer is in hand, and leaves after it."""

    def unit(tx: Tx) -> _Ended:
        decided = decide_in(tx, venue, admission, {"rows": stream.rows, "bytes": stream.bytes})
        value = _receipt(venue, admission, decided, stream, None)
        receipt = venue.sign(value)
        _settle(tx, decided, stream, None, receipt, value)
        return _Ended(decided, receipt)

    return await write_decision(venue, admission, unit, _Ended)


async def _rows_left(venue: Venue, admission: Admission) -> int | None:
    """Rows that may be handed over; where none are counted, nothing is looked up."""
    if all(limit.unit != "rows" for one in admission.granted for limit in one.contract.policy.counters):
        return None
    return await venue.store.read(lambda view: rows_left(view, _limits(view, admission)))


def _limits(view: View, admission: Admission) -> list[Reservation]:
    return [
        limit
        for one in admission.granted
        for limit in reservations(one.contract.policy.counters, one.state.id, view.now, one.zone)
    ]
