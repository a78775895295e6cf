"""What follows a delivery: acknowledgements, stops, receipts asked for, recovery after a crash (protocol 6.6, 6.7).

Decides: whose word on a delivery counts, and that reservations left by a crash count as used. Leaves to others: the
receipt itself (``serving``), our own acknowledgement as carrier (``carrying``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from trustnode.app import quota
from trustnode.app.agreement import parties_only
from trustnode.app.sealing import Seal, seal_of_receipt
from trustnode.app.submission import Answer, Submission, Unit, handles
from trustnode.app.transition import fire, pseudonym
from trustnode.app.venue import Sender, Venue
from trustnode.core.access import (
    ACCESS,
    AccessFacts,
    AccessRequest,
    AccessState,
    AckItem,
    Receipt,
    ReceiptAck,
)
from trustnode.core.contract import Act, Agreement, AgreementState
from trustnode.core.document import Document, decode
from trustnode.errors import error
from trustnode.store.unit import Tx, View

ACK_PREFIX: Final = "ack/"
"""Settings: digest of the final acknowledgement of an access, by who gave it."""


@handles(ReceiptAck, "CLIENT", "OPERATOR", "PEER")
async def acknowledge(submission: Submission[ReceiptAck]) -> Unit:
    """The carrier's or the participant's word on what it got."""
    venue, value, sender = submission.venue, submission.value, submission.sender
    for item in value.items:
        running = venue.streams.get(item.access)
        if running is not None and not item.final:
            running.acknowledge(item.rows, item.bytes)

    def unit(tx: Tx) -> Answer:
        last: Answer | None = None
        for item in value.items:
            last = _acknowledged(tx, venue, sender, value, item, submission.document)
        if last is None:
            raise error("NOT_FOUND", "no such access")
        return last

    return unit


def _acknowledged(tx: Tx, venue: Venue, sender: Sender, value: ReceiptAck, item: AckItem, document: Document) -> Answer:
    access = tx.get(AccessState, item.access)
    expected = {"CARRIER": access.consumer_node, "PARTICIPANT": access.consumer}[value.by] if access else ""
    if access is None or value.iss != expected or (sender.kind == "PEER" and sender.domain != access.consumer_node):
        raise error("NOT_FOUND", "no such access")
    rows = _under_each(tx, access)
    if rows[0].id != access.id:
        raise error("NOT_FOUND", "no such access")  # as it stands under a joined agreement: it is settled with all
    if not item.final:
        # No entry a window: the document is kept, and the account follows from it.
        return Answer.of(
            tx.place(
                access, acked_frames=max(access.acked_frames, item.frames),
                acked_rows=max(access.acked_rows, item.rows), acked_bytes=max(access.acked_bytes, item.bytes),
            )
        )  # fmt: skip
    access, *_ = [_final(tx, row, value, item, document) for row in rows]
    if venue.domain == access.consumer_node and access.provider_node != venue.domain and sender.kind != "PEER":
        tx.send(access.provider_node, document, object=f"ack/{access.agreement}")
    return Answer.of(access)


def _under_each(tx: Tx, access: AccessState) -> list[AccessState]:
    """The rows of an access under all its agreements, the first one first."""
    document = tx.document(access.document)
    request = decode(document, AccessRequest) if document else None
    if request is None:
        return [access]
    found = (tx.get(AccessState, request.id_under(named.agreement)) for named in request.agreements)
    return [row for row in found if row is not None]


def _final(tx: Tx, access: AccessState, value: ReceiptAck, item: AckItem, document: Document) -> AccessState:
    """A final word on an access, as it stands under one agreement; the first word of each side counts."""
    column = "carrier_ack" if value.by == "CARRIER" else "participant_ack"
    if getattr(access, column):
        return access
    access = tx.save(msgspec.structs.replace(access, **{column: item.verdict}))
    tx.set_setting(ACK_PREFIX + f"{access.id}/{value.by}", document.digest)
    tx.log(
        "agreement", access.agreement, "clearing.meter", access_id=access.id, documents=(document.digest,),
        actor=pseudonym(value.iss), amount=item.rows, unit="rows", contract_id=access.agreement,
    )  # fmt: skip
    return _disputed_if_it_differs(tx, access, item, value.iss, document)


def _disputed_if_it_differs(tx: Tx, access: AccessState, item: AckItem, iss: str, ack: Document) -> AccessState:
    """A final word that is not our receipt's: the access is in dispute and the smaller number is billed (protocol 6.7).

    The numbers count, not the verdict that stands beside them.
    """
    receipt_document = tx.document(access.receipt) if access.receipt else None
    contract = tx.document(_contract_of(tx, access))
    if receipt_document is None or contract is None or access.state not in ("DELIVERED", "ABORTED"):
        return access
    receipt, price = decode(receipt_document, Receipt), decode(contract, Agreement).price
    got = (item.frames, item.rows, item.bytes, item.stream_commitment, item.verdict)
    if got == (receipt.frames, receipt.rows, receipt.bytes, receipt.stream_commitment, "EQUAL"):
        return access
    entry: dict[str, Any] = {"access_id": access.id, "contract_id": access.agreement}
    if access.state == "DELIVERED":
        access = fire(
            tx, ACCESS, access, "abort", "K", AccessFacts(cause_named=True), cause="OBJECTION_OPEN",
            documents=(ack.digest,), entry=entry | {"reason_code": "OBJECTION_OPEN"},
        )  # fmt: skip
    return fire(
        tx, ACCESS, access, "dispute_receipt", "C", AccessFacts(receipts_differ=True), by=iss, documents=(ack.digest,),
        entry=entry, cost_fen=min(access.cost_fen, price.cost_fen(rows=min(item.rows, receipt.rows))),
    )  # fmt: skip


def _contract_of(tx: Tx, access: AccessState) -> str:
    state = tx.get(AgreementState, access.agreement)
    return state.document if state else ""


async def prepare_act(submission: Submission[Act]) -> Unit:
    """Stop a running access; what was delivered is settled by the stream itself."""
    venue, act = submission.venue, submission.value
    if act.event != "abort":
        raise error("ILLEGAL_TRANSITION", f"an access has no step {act.event} from outside")
    access = await venue.store.read(lambda view: view.get(AccessState, act.object))
    state = await venue.store.read(lambda view: view.get(AgreementState, access.agreement)) if access else None
    parties = (state.consumer, state.provider, venue.domain) if state else ()
    if access is None or act.iss not in parties:
        raise error("NOT_FOUND", "no such access")
    stopped = venue.streams.stop(f"access:{access.id}", "CANCELLED", act.reason or f"stopped by {act.iss}")

    def unit(tx: Tx) -> Answer:
        current = tx.get(AccessState, act.object)
        if current is None:
            raise error("NOT_FOUND", "no such access")
        if not stopped and current.state in ("REQUESTED", "PREPARING", "STREAMING", "PAUSED"):
            current = fire(
                tx, ACCESS, current, "abort", "K", AccessFacts(cause_named=True), by=act.iss, cause="CANCELLED",
                documents=(submission.digest,), entry={"access_id": current.id},
            )  # fmt: skip
        return Answer.of(current)

    return unit


async def recover(venue: Venue) -> int:
    """After a crash: accesses left in the middle end, their open reservations count as used (protocol 6.7).

    Returns:
        How many there were.
    """
    left = await venue.store.read(
        lambda view: view.find(AccessState, state=("REQUESTED", "PREPARING", "STREAMING"), limit=100_000)
    )
    for access in left:
        await venue.store.write(_recovering(access.id), event_id="", returns=str)
    return len(left)


def _recovering(access: str) -> Callable[[Tx], str]:
    def unit(tx: Tx) -> str:
        state = tx.get(AccessState, access)
        if state is None or state.state not in ("REQUESTED", "PREPARING", "STREAMING"):
            return ""
        tx.settle(access, {held.key: held.amount for held in tx.reservations(access) if not quota.is_running(held.key)})
        fire(
            tx, ACCESS, state, "abort", "K", AccessFacts(cause_named=True), cause="INTERNAL", ended_at=tx.now,
            entry={"access_id": access, "reason_code": "INTERNAL", "contract_id": state.agreement},
        )  # fmt: skip
        return access

    return unit


class Settlement(NamedTuple):
    """An access with what was signed about its delivery."""

    state: AccessState
    receipt: Document | None
    acks: tuple[Document, ...]
    seal: Seal | None = None
    """How far the receipt is sealed in our log; None where nobody is asked to."""


async def receipt_of(venue: Venue, sender: Sender, access: str) -> Settlement:
    """The receipt of an access and its final acknowledgements, for its parties and their nodes.

    Raises:
        TrustnodeError: NOT_FOUND.
    """

    def query(view: View) -> Settlement:
        state = view.get(AccessState, access)
        agreement = view.get(AgreementState, state.agreement) if state else None
        if state is None:
            raise error("NOT_FOUND", "no such access")
        shared = parties_only(agreement, sender)
        digests = (view.setting(f"{ACK_PREFIX}{access}/{by}") for by in ("CARRIER", "PARTICIPANT"))
        acks = tuple(document for digest in digests if digest and (document := view.document(digest)) is not None)
        receipt = view.document(state.receipt) if state.receipt else None
        return Settlement(state, receipt, acks, seal_of_receipt(view, venue.domain, shared, state))

    return await venue.store.read(query)
