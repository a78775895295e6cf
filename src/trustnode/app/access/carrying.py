"""Carrying: the home node's part of a brokered read (protocol 6.4, steps 2, 3, 7, 8, 10).

Decides: that our own entry is durable before a frame goes on, what we counted and acknowledge. Leaves to others: what
the provider decides (``serving`` there), what the participant says (``acknowledging``).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from trustnode.app.access.acknowledging import ACK_PREFIX
from trustnode.app.access.admission import check_held_at, check_performing, check_still_performing, verified_request
from trustnode.app.access.serving import STREAM_LIFE_S, Outcome, Sink, SmallRead
from trustnode.app.agreement import parties_only
from trustnode.app.streams import Frame, Stream, finish, pump
from trustnode.app.transition import fire
from trustnode.app.venue import Sender, Venue
from trustnode.core.access import (
    ACCESS,
    AccessFacts,
    AccessHeader,
    AccessRequest,
    AccessState,
    AckItem,
    Named,
    Receipt,
    ReceiptAck,
)
from trustnode.core.contract import AgreementState
from trustnode.core.document import Document, Verified, decode, verify
from trustnode.core.stream import FRAME_NOTE_BYTES, FrameNote, covers_content
from trustnode.errors import TrustnodeError, error
from trustnode.store.unit import Tx, View
from trustnode.wire.convert import Ticket, document_from_bytes
from trustnode.wire.frame import parse_frame
from trustnode.wire.peer import ReadAnswer

RECEIPT_WAIT_S: Final = 5.0
"""How long a home node waits for the receipt of a stream that was cut; without it the access ends all the same."""
RECEIPT_PAUSE_S: Final = 0.2


class _Received(NamedTuple):
    """A frame from the other node."""

    data: bytes
    note: FrameNote


async def broker(venue: Venue, sender: Sender, ticket: Ticket, sink: Sink) -> Outcome:
    """Carry a request of our participant to the node that holds the data, and its frames back.

    Raises:
        TrustnodeError: Refused here or there before the first byte.
    """
    request, states = await _checked_here(venue, sender, ticket)
    logged = asyncio.ensure_future(_log_request(venue, request, states))
    failure: TrustnodeError | None = None
    stream: Stream | None = None
    receipt: Document | None = None
    try:
        async with venue.peers.get(request.value.provider).do_get(ticket.raw, timeout_s=STREAM_LIFE_S) as call:
            header = await _answer_header(call, logged, request.value.id)
            stream = _carried(request.value, states, header)
            with venue.streams.running(stream):
                # What changed before the stream was known to ``streams`` stopped nothing; so look once more.
                await check_still_performing(venue, [state.id for state in states])
                await sink.header(header)
                carrier = Carrier(venue, stream, request.value)
                await pump(carrier.frames(call), sink.frame, stream, before=carrier.before)
            receipt = _receipt_in(await call.trailing_metadata())
    except TrustnodeError as stopped:
        failure = stopped
    except asyncio.CancelledError:
        failure = (stream and stream.failure) or error("CANCELLED", "the reader went away")
        await finish(_ended(venue, request, logged, stream, None, failure))
        raise
    return Outcome(await finish(_ended(venue, request, logged, stream, receipt, failure)), failure)


async def _ended(
    venue: Venue, request: Verified[AccessRequest], logged: asyncio.Future[None], stream: Stream | None,
    receipt: Document | None, failure: TrustnodeError | None,
) -> Document:  # fmt: skip
    """Settle our part, however it ended; what began nothing is a denial.

    Returns:
        The receipt; the request where the provider gave none.

    Raises:
        TrustnodeError: Why nothing began.
    """
    await logged
    if stream is None:
        refusal = failure or error("PEER_UNREACHABLE")
        await _denied_there(venue, request, refusal)
        raise refusal
    receipt = receipt or await _fetch_receipt(venue, request.value)
    return await _carried_end(venue, request, stream, receipt, failure) or request.document


async def _checked_here(
    venue: Venue, sender: Sender, ticket: Ticket
) -> tuple[Verified[AccessRequest], tuple[AgreementState, ...]]:
    request, _, _ = verified_request(venue, ticket)
    value = request.value
    if value.home != venue.domain or value.consumer != sender.participant:
        raise error("NOT_FOUND", "no such agreement")
    states = await venue.store.read(
        lambda view: tuple(_agreement_here(view, sender, value, named) for named in value.agreements)
    )
    venue.check_in_force(venue.domain, value.provider)
    for state in states:
        check_performing(state)
    return request, states


def _agreement_here(view: View, sender: Sender, value: AccessRequest, named: Named) -> AgreementState:
    """An agreement of a request, for its consumer, with the venue that the request names."""
    state = parties_only(view.get(AgreementState, named.agreement), sender)
    if state.document != named.agreement_sha256 or state.consumer != value.consumer:
        raise error("NOT_FOUND", "no such agreement")
    check_held_at(state, value.provider)
    return state


async def _log_request(venue: Venue, request: Verified[AccessRequest], states: Sequence[AgreementState]) -> None:
    """The request in the chain of each of its agreements."""

    def unit(tx: Tx) -> str:
        tx.keep(request.document)
        for state in states:
            _requested(tx, request, state)
        return ""

    await venue.store.write(unit, event_id="", returns=str)


def _requested(tx: Tx, request: Verified[AccessRequest], state: AgreementState) -> None:
    value = request.value
    access = value.id_under(state.id)
    if tx.get(AccessState, access) is not None:
        raise error("REPLAYED", "this request was made before")
    facts = AccessFacts(grant_active=True, performing=True, well_formed=True, grade_sufficient=True)
    fresh = AccessState(
        id=access, document=request.digest, agreement=state.id, product=state.product, consumer=value.consumer,
        consumer_node=value.home, provider_node=value.provider, purpose=value.purpose, grade=value.request_proof,
        started_at=tx.now, resumes=value.resumes.access if value.resumes else "",
    )  # fmt: skip
    fire(
        tx, ACCESS, fresh, "request", "C", facts, by=value.consumer, documents=(request.digest,),
        entry={"access_id": access, "contract_id": state.id},
    )  # fmt: skip


async def _answer_header(call: Any, logged: asyncio.Future[None], access: str) -> AccessHeader:
    """The provider's header; our own entry is durable before anything goes on to the client."""
    pairs = await call.initial_metadata()
    await asyncio.shield(logged)  # whoever goes away now must not take the entry along: the step would run all the same
    raw = pairs.get("trustnode-access-bin")
    if not isinstance(raw, bytes):
        # The call ended before its first frame: reading it raises what the other node said.
        async for _ in call:
            break
        raise error("VERIFICATION_FAILED", "the other node sent no header")
    return _header_of(raw, access)


def _header_of(raw: bytes, access: str) -> AccessHeader:
    """Read the provider's header; one of another access would speak in that one's name here."""
    try:
        header = msgspec.json.decode(raw, type=AccessHeader)
    except (msgspec.MsgspecError, ValueError):
        raise error("VERIFICATION_FAILED", "the other node's header cannot be read") from None
    if header.access != access:
        raise error("VERIFICATION_FAILED", "the other node's header is of another access")
    return header


def _carried(value: AccessRequest, states: Sequence[AgreementState], header: AccessHeader) -> Stream:
    keys = {f"participant:{value.consumer}", f"peer:{value.provider}"}
    for state in states:
        keys |= {f"access:{value.id_under(state.id)}", f"agreement:{state.id}"}
    return Stream(
        access=header.access, keys=frozenset(keys), salt=bytes.fromhex(header.stream_salt), peer=value.provider
    )


@dataclass
class Carrier:
    """The home node's part of a stream: recompute digests, acknowledge windows."""

    venue: Venue
    stream: Stream
    request: AccessRequest
    acked_rows: int = 0
    acked_bytes: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def frames(self, call: Any) -> AsyncIterator[_Received]:
        """Frames as they come, each digest recomputed over its bytes in a thread.

        Raises:
            TrustnodeError: VERIFICATION_FAILED when the provider's note is not of this frame.
        """
        async for data in call:
            note, covers = await asyncio.to_thread(_checked_note, data)
            self.stream.covers_content &= covers
            yield _Received(data, note)

    async def before(self, _frame: Frame) -> None:
        """Acknowledge when a window is full; the ack runs beside the stream."""
        rows, size = self.stream.rows, self.stream.bytes
        if rows - self.acked_rows >= 100_000 or size - self.acked_bytes >= 64 * 1024 * 1024:
            self.acked_rows, self.acked_bytes = rows, size
            task = asyncio.ensure_future(self._acknowledge())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _acknowledge(self) -> None:
        item = _ack_item(self.request.id, self.stream, None, "EQUAL", final=False)
        document = self.venue.sign(_ack(self.venue, "CARRIER", item, self.request.provider))
        try:
            peer = self.venue.peers.get(self.request.provider)
            await peer.deliver(document.digest, document, timeout_s=20)
        except TrustnodeError:
            return  # the next window's acknowledgement covers this one


def _checked_note(data: bytes) -> tuple[FrameNote, bool]:
    """The note of a frame, and whether its digest covers the content."""
    try:
        frame = parse_frame(data)
    except TrustnodeError as problem:
        raise error("VERIFICATION_FAILED", f"the other node sent {problem.message}") from None
    if len(frame.app_metadata) != FRAME_NOTE_BYTES:
        raise error("VERIFICATION_FAILED", "a frame came without its note")
    note = FrameNote.from_bytes(bytes(frame.app_metadata))
    covers = covers_content(note, frame.header, frame.body)
    if covers is None:
        raise error("VERIFICATION_FAILED", "a frame differs from its digest")
    return note, covers


def _ack_item(access: str, stream: Stream, receipt: str | None, verdict: Any, *, final: bool) -> AckItem:
    return AckItem(
        access=access, receipt_sha256=receipt, frames=stream.frames, rows=stream.rows, bytes=stream.bytes,
        stream_commitment=stream.commitment, verdict=verdict, final=final,
    )  # fmt: skip


def _ack(venue: Venue, by: Any, item: AckItem, provider: str) -> ReceiptAck:
    return ReceiptAck(by=by, items=(item,), **venue.fields(provider, venue.domain))


def _receipt_in(trailing: Mapping[str, Any]) -> Document | None:
    raw = trailing.get("trustnode-receipt-bin")
    return document_from_bytes(raw) if isinstance(raw, bytes) else None


async def _fetch_receipt(venue: Venue, request: AccessRequest) -> Document | None:
    """A cut stream has no trailers here; ask for the receipt, the provider settles within moments."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(RECEIPT_WAIT_S):
            while True:
                if (receipt := await _asked_receipt(venue, request)) is not None:
                    return receipt
                await asyncio.sleep(RECEIPT_PAUSE_S)
    return None


async def _asked_receipt(venue: Venue, request: AccessRequest) -> Document | None:
    try:
        return await venue.peers.get(request.provider).receipt(request.id, timeout_s=RECEIPT_WAIT_S)
    except TrustnodeError:
        return None


async def _carried_end(
    venue: Venue, request: Verified[AccessRequest], stream: Stream, receipt: Document | None,
    failure: TrustnodeError | None,
) -> Document | None:  # fmt: skip
    """Compare with our own count, log, acknowledge (protocol 6.4, step 10)."""
    checked = _receipt_of(venue, request, receipt)
    if checked is None and receipt is not None:
        receipt, failure = (
            None,
            failure or error("VERIFICATION_FAILED", "what came as a receipt is none of this access"),
        )
    verdict = _verdict(stream, checked)
    item = _ack_item(request.value.id, stream, receipt.digest if receipt else None, verdict, final=True)
    ack = venue.sign(_ack(venue, "CARRIER", item, request.value.provider))

    def unit(tx: Tx) -> str:
        if receipt is not None:
            tx.keep(receipt)
        for named in request.value.agreements:
            _carried_unit(tx, request.value, named.agreement, stream, receipt, ack, verdict, failure)
        tx.send(request.value.provider, ack, object=f"ack/{request.value.agreement}")
        return ack.digest

    await venue.store.write(unit, event_id=f"carried/{request.value.id}", returns=str)
    return receipt


def _receipt_of(venue: Venue, request: Verified[AccessRequest], receipt: Document | None) -> Receipt | None:
    """The receipt of this access, signed by the provider; None where there is none, whatever came in its place."""
    asked = request.value
    with contextlib.suppress(TrustnodeError):
        value = verify(receipt, Receipt, venue.keyring, None).value if receipt else None
        if value and (value.access, value.iss, value.agreements) == (asked.id, asked.provider, asked.agreements):
            return value
    return None


def _verdict(stream: Stream, receipt: Receipt | None) -> str:
    """EQUAL, or LESS when fewer frames arrived than were handed over, or DIFFERENT."""
    if receipt is None:
        return "LESS"
    if receipt.content_digest and not stream.covers_content:
        return "DIFFERENT"
    if (stream.frames, stream.rows, stream.commitment) == (receipt.frames, receipt.rows, receipt.stream_commitment):
        return "EQUAL"
    return "LESS" if stream.frames < receipt.frames else "DIFFERENT"


def _carried_unit(
    tx: Tx, request: AccessRequest, agreement: str, stream: Stream, receipt: Document | None, ack: Document,
    verdict: str, failure: TrustnodeError | None,
) -> None:  # fmt: skip
    """The end of the access in the chain of one of its agreements."""
    access = tx.get(AccessState, request.id_under(agreement))
    if access is None:
        raise error("NOT_FOUND", "no such access")
    facts = AccessFacts(
        grant_active=True, performing=True, refusal=None, counters_reserved=True, receipt_signed=receipt is not None,
        cause_named=True,
    )  # fmt: skip
    digests = tuple(d.digest for d in (receipt, ack) if d is not None)
    value = decode(receipt, Receipt) if receipt else None
    share = value.under(agreement) if value else None
    aborted = failure is not None or value is None or value.outcome == "ABORTED"
    cause = failure.reason if failure else (value.cause if value else "PEER_UNREACHABLE")
    columns: dict[str, Any] = {
        "frames": stream.frames, "rows": stream.rows, "bytes": stream.bytes,
        "stream_commitment": stream.commitment, "receipt": receipt.digest if receipt else "", "carrier_ack": verdict,
        "cost_fen": share.cost_fen if share else 0, "ended_at": tx.now, "stream_salt": stream.salt.hex(),
    }  # fmt: skip
    entry: dict[str, Any] = {
        "access_id": access.id, "contract_id": agreement, "amount": stream.rows, "unit": "rows",
        "stream_commitment": stream.commitment, **({"reason_code": cause} if aborted and cause else {}),
    }  # fmt: skip
    if access.state == "ABORTED":
        # Stopped here before the first frame: the state stands, what came all the same is counted.
        tx.save(msgspec.structs.replace(access, **columns))
        tx.log("agreement", agreement, "delivery.abort", documents=digests, **entry)
    else:
        for event in ("allow", "prepared"):
            access = fire(tx, ACCESS, access, event, "K", facts, quiet=True)
        fire(
            tx, ACCESS, access, "abort" if aborted else "complete", "K", facts, documents=digests, entry=entry,
            cause=cause if aborted else "", **columns,
        )  # fmt: skip
    tx.set_setting(f"{ACK_PREFIX}{access.id}/CARRIER", ack.digest)


async def _denied_there(venue: Venue, request: Verified[AccessRequest], refusal: TrustnodeError) -> None:
    def unit(tx: Tx) -> str:
        for named in request.value.agreements:
            access = tx.get(AccessState, request.value.id_under(named.agreement))
            if access is not None and access.state == "REQUESTED":
                _denied_under(tx, access, refusal)
        return ""

    await venue.store.write(unit, event_id="", returns=str)


def _denied_under(tx: Tx, access: AccessState, refusal: TrustnodeError) -> None:
    gone = refusal.reason == "CANCELLED"
    facts = AccessFacts(denied=True, cause_named=True)
    entry = {"access_id": access.id, "reason_code": refusal.reason, "contract_id": access.agreement}
    fire(
        tx, ACCESS, access, "abort" if gone else "deny", "K", facts, cause=refusal.reason, ended_at=tx.now,
        entry=entry if gone else entry | {"decision": "DENY"},
    )  # fmt: skip


async def broker_read(venue: Venue, sender: Sender, ticket: Ticket) -> SmallRead:
    """As ``broker``, for an answer in one message; a reader that goes away meanwhile leaves nothing open."""
    return await finish(_broker_read(venue, sender, ticket))


async def _broker_read(venue: Venue, sender: Sender, ticket: Ticket) -> SmallRead:
    request, states = await _checked_here(venue, sender, ticket)
    logged = asyncio.ensure_future(_log_request(venue, request, states))
    try:
        answer = await venue.peers.get(request.value.provider).read(ticket.raw, timeout_s=60)
        await logged
        header, stream = _counted(answer, request.value.id)
    except TrustnodeError as refusal:
        await _ended(venue, request, logged, None, None, refusal)
        raise
    if await _carried_end(venue, request, stream, answer.receipt, None) is None:
        raise error("VERIFICATION_FAILED", "the other node gave no receipt for what it sent")
    return SmallRead(header, answer.frames, answer.receipt)


def _counted(answer: ReadAnswer, access: str) -> tuple[AccessHeader, Stream]:
    """Header and count of a small answer, as a stream would have had them."""
    fields = {
        "access": answer.access, "stream_salt": answer.stream_salt.hex(), "decision_seq": answer.decision_seq,
        "decision_link": answer.decision_link.hex(),
    }  # fmt: skip
    header = _header_of(msgspec.json.encode(fields), access)
    stream = Stream(access, frozenset(), answer.stream_salt)
    for data in answer.frames:
        note, covers = _checked_note(data)
        stream.covers_content &= covers
        stream.count(note, len(data))
    return header, stream
