"""Carrying: the home node's part of a brokered read (protocol 6.4, steps 2, 3, 7, 8, 10).

Decides: that our own entry is durable before a frame goes on, what we counted and acknowledge. Leaves to others: what
the provider decides (``serving`` there), what the participant says (``acknowledging``).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from trustnode.app.access.acknowledging import ACK_PREFIX
from trustnode.app.access.admission import verified_request
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
    Receipt,
    ReceiptAck,
)
from trustnode.core.contract import AgreementState
from trustnode.core.document import Document, Verified, decode, verify
from trustnode.core.stream import FRAME_NOTE_BYTES, FrameNote, frame_digest
from trustnode.errors import TrustnodeError, error
from trustnode.store.unit import Tx
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
    request, state = await _checked_here(venue, sender, ticket)
    logged = asyncio.ensure_future(_log_request(venue, request, state))
    failure: TrustnodeError | None = None
    stream: Stream | None = None
    receipt: Document | None = None
    try:
        async with venue.peers.get(state.provider_node).do_get(ticket.raw, timeout_s=STREAM_LIFE_S) as call:
            header = await _answer_header(call, logged, request.value.id)
            stream = _carried(venue, state, header)
            with venue.streams.running(stream):
                await _check_still_performing(venue, state)
                await sink.header(header)
                carrier = Carrier(venue, stream, state, request.value.id)
                await pump(carrier.frames(call), sink.frame, stream, before=carrier.before)
            receipt = _receipt_in(await call.trailing_metadata())
    except TrustnodeError as stopped:
        failure = stopped
    except asyncio.CancelledError:
        failure = (stream and stream.failure) or error("CANCELLED", "the reader went away")
        await finish(_ended(venue, request, state, logged, stream, None, failure))
        raise
    return Outcome(await finish(_ended(venue, request, state, logged, stream, receipt, failure)), failure)


async def _ended(
    venue: Venue, request: Verified[AccessRequest], state: AgreementState, logged: asyncio.Future[None],
    stream: Stream | None, receipt: Document | None, failure: TrustnodeError | None,
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
        await _denied_there(venue, request, state, refusal)
        raise refusal
    receipt = receipt or await _fetch_receipt(venue, state, request.value.id)
    return await _carried_end(venue, request, state, stream, receipt, failure) or request.document


async def _checked_here(venue: Venue, sender: Sender, ticket: Ticket) -> tuple[Verified[AccessRequest], AgreementState]:
    request, _, _ = verified_request(venue, ticket)
    value = request.value
    if value.home != venue.domain or value.consumer != sender.participant:
        raise error("NOT_FOUND", "no such agreement")
    state = await venue.store.read(lambda view: parties_only(view.get(AgreementState, value.agreement), sender))
    venue.check_in_force(venue.domain, state.provider_node)
    if state.document != value.agreement_sha256 or state.provider_node != value.provider:
        raise error("NOT_FOUND", "no such agreement")
    if state.state != "PERFORMING":
        raise error("GRANT_INVALID", f"the agreement is {state.state}")
    return request, state


async def _check_still_performing(venue: Venue, state: AgreementState) -> None:
    """What changed before the stream was known to ``streams`` stopped nothing; so look once more."""
    now = await venue.store.read(lambda view: view.get(AgreementState, state.id))
    if now is None or now.state != "PERFORMING":
        raise error("GRANT_INVALID", f"the agreement is {now.state if now else 'gone'}")


async def _log_request(venue: Venue, request: Verified[AccessRequest], state: AgreementState) -> None:
    value = request.value

    def unit(tx: Tx) -> str:
        if tx.get(AccessState, value.id) is not None:
            raise error("REPLAYED", "this request was made before")
        tx.keep(request.document)
        facts = AccessFacts(grant_active=True, performing=True, well_formed=True, grade_sufficient=True)
        fresh = AccessState(
            id=value.id, document=request.digest, agreement=state.id, product=state.product, consumer=value.consumer,
            consumer_node=venue.domain, provider_node=value.provider, purpose=value.purpose, grade=value.request_proof,
            started_at=tx.now,
        )  # fmt: skip
        fire(
            tx, ACCESS, fresh, "request", "C", facts, by=value.consumer, documents=(request.digest,),
            entry={"access_id": value.id, "contract_id": state.id},
        )  # fmt: skip
        return ""

    await venue.store.write(unit, event_id="", returns=str)


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


def _carried(venue: Venue, state: AgreementState, header: AccessHeader) -> Stream:
    keys = {
        f"access:{header.access}",
        f"agreement:{state.id}",
        f"participant:{state.consumer}",
        f"peer:{state.provider_node}",
    }
    return Stream(
        access=header.access, keys=frozenset(keys), salt=bytes.fromhex(header.stream_salt), peer=state.provider_node
    )


@dataclass
class Carrier:
    """The home node's part of a stream: recompute digests, acknowledge windows."""

    venue: Venue
    stream: Stream
    state: AgreementState
    access: str
    acked_rows: int = 0
    acked_bytes: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def frames(self, call: Any) -> AsyncIterator[_Received]:
        """Frames as they come, each digest recomputed over its bytes in a thread.

        Raises:
            TrustnodeError: VERIFICATION_FAILED when the provider's note is not of this frame.
        """
        async for data in call:
            note = await asyncio.to_thread(_checked_note, data)
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
        item = _ack_item(self.access, self.stream, None, "EQUAL", final=False)
        document = self.venue.sign(_ack(self.venue, "CARRIER", item, self.state))
        try:
            peer = self.venue.peers.get(self.state.provider_node)
            await peer.deliver(document.digest, document, timeout_s=20)
        except TrustnodeError:
            return  # the next window's acknowledgement covers this one


def _checked_note(data: bytes) -> FrameNote:
    try:
        frame = parse_frame(data)
    except TrustnodeError as problem:
        raise error("VERIFICATION_FAILED", f"the other node sent {problem.message}") from None
    if len(frame.app_metadata) != FRAME_NOTE_BYTES:
        raise error("VERIFICATION_FAILED", "a frame came without its note")
    note = FrameNote.from_bytes(bytes(frame.app_metadata))
    if note.digest != frame_digest(frame.header, frame.body):
        raise error("VERIFICATION_FAILED", "a frame differs from its digest")
    return note


def _ack_item(access: str, stream: Stream, receipt: str | None, verdict: Any, *, final: bool) -> AckItem:
    return AckItem(
        access=access, receipt_sha256=receipt, frames=stream.frames, rows=stream.rows, bytes=stream.bytes,
        stream_commitment=stream.commitment, verdict=verdict, final=final,
    )  # fmt: skip


def _ack(venue: Venue, by: Any, item: AckItem, state: AgreementState) -> ReceiptAck:
    return ReceiptAck(by=by, items=(item,), **venue.fields(state.provider_node, venue.domain))


def _receipt_in(trailing: Mapping[str, Any]) -> Document | None:
    raw = trailing.get("trustnode-receipt-bin")
    return document_from_bytes(raw) if isinstance(raw, bytes) else None


async def _fetch_receipt(venue: Venue, state: AgreementState, access: str) -> Document | None:
    """A cut stream has no trailers here; ask for the receipt, the provider settles within moments."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(RECEIPT_WAIT_S):
            while True:
                if (receipt := await _asked_receipt(venue, state, access)) is not None:
                    return receipt
                await asyncio.sleep(RECEIPT_PAUSE_S)
    return None


async def _asked_receipt(venue: Venue, state: AgreementState, access: str) -> Document | None:
    try:
        return await venue.peers.get(state.provider_node).receipt(access, timeout_s=RECEIPT_WAIT_S)
    except TrustnodeError:
        return None


async def _carried_end(
    venue: Venue, request: Verified[AccessRequest], state: AgreementState, stream: Stream,
    receipt: Document | None, failure: TrustnodeError | None,
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
    ack = venue.sign(_ack(venue, "CARRIER", item, state))

    def unit(tx: Tx) -> str:
        return _carried_unit(tx, request, state, stream, receipt, ack, verdict, failure)

    await venue.store.write(unit, event_id=f"carried/{request.value.id}", returns=str)
    return receipt


def _receipt_of(venue: Venue, request: Verified[AccessRequest], receipt: Document | None) -> Receipt | None:
    """The receipt of this access, signed by the provider; None where there is none, whatever came in its place."""
    with contextlib.suppress(TrustnodeError):
        value = verify(receipt, Receipt, venue.keyring, None).value if receipt else None
        return value if value and value.access == request.value.id and value.iss == request.value.provider else None
    return None


def _verdict(stream: Stream, receipt: Receipt | None) -> str:
    """EQUAL, or LESS when fewer frames arrived than were handed over, or DIFFERENT."""
    if receipt is None:
        return "LESS"
    if (stream.frames, stream.rows, stream.commitment) == (receipt.frames, receipt.rows, receipt.stream_commitment):
        return "EQUAL"
    return "LESS" if stream.frames < receipt.frames else "DIFFERENT"


def _carried_unit(
    tx: Tx, request: Verified[AccessRequest], state: AgreementState, stream: Stream, receipt: Document | None,
    ack: Document, verdict: str, failure: TrustnodeError | None,
) -> str:  # fmt: skip
    access = tx.get(AccessState, request.value.id)
    if access is None:
        raise error("NOT_FOUND", "no such access")
    facts = AccessFacts(
        grant_active=True, performing=True, refusal=None, counters_reserved=True, receipt_signed=receipt is not None,
        cause_named=True,
    )  # fmt: skip
    digests = tuple(d.digest for d in (receipt, ack) if d is not None)
    if receipt is not None:
        tx.keep(receipt)
    value = decode(receipt, Receipt) if receipt else None
    aborted = failure is not None or value is None or value.outcome == "ABORTED"
    cause = failure.reason if failure else (value.cause if value else "PEER_UNREACHABLE")
    columns: dict[str, Any] = {
        "frames": stream.frames, "rows": stream.rows, "bytes": stream.bytes,
        "stream_commitment": stream.commitment, "receipt": receipt.digest if receipt else "", "carrier_ack": verdict,
        "cost_fen": value.cost_fen if value else 0, "ended_at": tx.now, "stream_salt": stream.salt.hex(),
    }  # fmt: skip
    entry: dict[str, Any] = {
        "access_id": access.id, "contract_id": state.id, "amount": stream.rows, "unit": "rows",
        "stream_commitment": stream.commitment, **({"reason_code": cause} if aborted and cause else {}),
    }  # fmt: skip
    if access.state == "ABORTED":
        # Stopped here before the first frame: the state stands, what came all the same is counted.
        tx.save(msgspec.structs.replace(access, **columns))
        tx.log("agreement", state.id, "delivery.abort", documents=digests, **entry)
    else:
        for event in ("allow", "prepared"):
            access = fire(tx, ACCESS, access, event, "K", facts, quiet=True)
        fire(
            tx, ACCESS, access, "abort" if aborted else "complete", "K", facts, documents=digests, entry=entry,
            cause=cause if aborted else "", **columns,
        )  # fmt: skip
    tx.set_setting(f"{ACK_PREFIX}{access.id}/CARRIER", ack.digest)
    tx.send(state.provider_node, ack, object=f"ack/{state.id}")
    return ack.digest


async def _denied_there(
    venue: Venue, request: Verified[AccessRequest], state: AgreementState, refusal: TrustnodeError
) -> None:
    gone = refusal.reason == "CANCELLED"

    def unit(tx: Tx) -> str:
        access = tx.get(AccessState, request.value.id)
        if access is not None and access.state == "REQUESTED":
            facts = AccessFacts(denied=True, cause_named=True)
            entry = {"access_id": access.id, "reason_code": refusal.reason, "contract_id": state.id}
            fire(
                tx, ACCESS, access, "abort" if gone else "deny", "K", facts, cause=refusal.reason, ended_at=tx.now,
                entry=entry if gone else entry | {"decision": "DENY"},
            )  # fmt: skip
        return ""

    await venue.store.write(unit, event_id="", returns=str)


async def broker_read(venue: Venue, sender: Sender, ticket: Ticket) -> SmallRead:
    """As ``broker``, for an answer in one message; a reader that goes away meanwhile leaves nothing open."""
    return await finish(_broker_read(venue, sender, ticket))


async def _broker_read(venue: Venue, sender: Sender, ticket: Ticket) -> SmallRead:
    request, state = await _checked_here(venue, sender, ticket)
    logged = asyncio.ensure_future(_log_request(venue, request, state))
    try:
        answer = await venue.peers.get(state.provider_node).read(ticket.raw, timeout_s=60)
        await logged
        header, stream = _counted(answer, request.value.id)
    except TrustnodeError as refusal:
        await _ended(venue, request, state, logged, None, None, refusal)
        raise
    if await _carried_end(venue, request, state, stream, answer.receipt, None) is None:
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
        stream.count(_checked_note(data), len(data))
    return header, stream
