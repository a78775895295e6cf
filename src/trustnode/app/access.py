"""Accesses: ``serve`` where we hold the data, ``broker`` where a peer does.

Decides: who may read what under which agreement, that the decision is on the disk before the first byte, what is
counted and settled, and what receipts and acknowledgements say. Leaves to others: rewriting and running SQL
(``engine``), the policy's own words (``core.policy``), moving frames (``streams``). Source: protocol 6.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from trustnode.app import catalog
from trustnode.app.contract import parties_only
from trustnode.app.quota import Reservation, cover, reservations, reserve, rows_left
from trustnode.app.streams import Frame, Stream, Window, pump
from trustnode.app.submission import Answer, Submission, Unit, handles, record_entry
from trustnode.app.transition import fire, pseudonym
from trustnode.app.venue import Sender, Venue
from trustnode.core import clock
from trustnode.core.access import (
    ACCESS,
    MAX_QUERY_BYTES,
    MAX_UNACKNOWLEDGED,
    AccessFacts,
    AccessHeader,
    AccessRequest,
    AccessState,
    AckItem,
    DecisionLink,
    Meter,
    Query,
    Receipt,
    ReceiptAck,
)
from trustnode.core.catalog import Binding, ProductState, Registration
from trustnode.core.contract import Act, Agreement, AgreementState, Delegation, GrantState, at_least
from trustnode.core.document import Document, Verified, decode, verify
from trustnode.core.participant import ParticipantKey, domain_of
from trustnode.core.peering import PeeringState, check_scope
from trustnode.core.policy import compiled, odrl
from trustnode.core.stream import FrameNote, chain_next, chain_start, frame_digest, plan_commitment, query_commitment
from trustnode.engine.message import Plan, SessionSpec
from trustnode.engine.pool import Session
from trustnode.engine.source import Source, data_version
from trustnode.errors import TrustnodeError, error
from trustnode.store.unit import RefusalRecord, Tx, View
from trustnode.wire.convert import Ticket, document_from_bytes
from trustnode.wire.frame import parse_frame

STREAM_LIFE_S: Final = 3600.0
"""Longest a stream may run; what hangs longer is begun again (protocol 6.8)."""
SMALL_BYTES: Final = 1 << 20
PEER_SILENCE_S: Final = 10.0
"""A stream to or from a venue that was silent this long ends (protocol 8.3)."""
ENDED_BY_US: Final = frozenset({"DRAINING", "GRANT_INVALID", "IDENTITY_REVOKED", "PEER_SUSPENDED", "NOT_REGISTERED"})


class Contract(NamedTuple):
    """An agreement ready to be used: read once for each digest."""

    value: Agreement
    policy: compiled.CompiledPolicy


@dataclass(frozen=True)
class Admission:
    """A request that passed every check before the reservation (protocol 6.5, 1 to 9)."""

    request: Verified[AccessRequest]
    contract: Contract
    state: AgreementState
    key: Verified[ParticipantKey]
    query: Query
    session: Session
    plan: Plan
    salt: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    @property
    def id(self) -> str:
        """The access id."""
        return self.request.value.id

    @property
    def plan_commitment(self) -> str:
        """Commitment to the regenerated SQL."""
        return plan_commitment(self.salt, self.plan.sql)


class Sink(NamedTuple):
    """Where a served or brokered stream goes; the transport is the caller's."""

    header: Callable[[AccessHeader], Awaitable[None]]
    """Sends what a reader needs before the first frame."""
    frame: Callable[[bytes], Awaitable[None]]


class Outcome(NamedTuple):
    """How a stream ended: its receipt, and the failure that ended it early."""

    receipt: Document
    failure: TrustnodeError | None


# --- checks ---------------------------------------------------------------------------------------------------------


async def admit(venue: Venue, sender: Sender, ticket: Ticket) -> Admission:
    """Check a request in the order of protocol 6.5 and plan it; a refusal is logged.

    Raises:
        TrustnodeError: The first check that did not hold.
    """
    try:
        return await _admit(venue, sender, ticket)
    except TrustnodeError as refusal:
        await _record_denial(venue, sender, ticket, refusal)
        raise


async def _admit(venue: Venue, sender: Sender, ticket: Ticket) -> Admission:
    request, keys, brought = _verified_request(venue, ticket)
    value = request.value
    await venue.store.read(lambda view: _check_sender(view, venue, sender, value))
    state, document = await venue.store.read(lambda view: _agreement(view, sender, value))
    contract = _contract(document, venue.policies)
    key = _key_of(venue, value.consumer, brought)
    await _check_grade(venue, contract.value, request, ticket, keys)
    query = _opened(value, ticket)
    _check_operation(value, contract.policy)
    decision = contract.policy.decide(policy_request(venue, value.purpose, value.operation, contract.value, key))
    if decision.outcome != "ALLOW":
        raise decision.refusal()
    session = await _session(venue, contract, state)
    plan = await session.plan(query.sql, query.parameters)
    return Admission(request, contract, state, key, query, session, plan)


def _verified_request(venue: Venue, ticket: Ticket) -> tuple[Verified[AccessRequest], Any, Sequence[Any]]:
    now = venue.clock.now()
    supporting = [ticket.key_document] if ticket.key_document else []
    keys, brought = venue.keyring.with_documents(supporting, now)
    request = verify(ticket.request, AccessRequest, keys, now)
    if request.value.expires is None or request.value.expires > clock.shift(now, 360):
        raise error("FIELD_FORMAT", "an access request lives at most 300 s", field="expires")
    return request, keys, brought


def _check_sender(view: View, venue: Venue, sender: Sender, value: AccessRequest) -> None:
    """Steps 1 and 3: who carries this request, and is it a request to us."""
    if value.provider != venue.domain:
        raise error("IDENTITY_WRONG_DOMAIN", f"this request is for {value.provider}")
    if domain_of(value.consumer) != value.home:
        raise error("IDENTITY_WRONG_DOMAIN", "a consumer asks through its own venue")
    if sender.kind == "PEER":
        check_scope(view.get(PeeringState, sender.domain), "ACCESS")
        if value.home != sender.domain:
            raise error("IDENTITY_WRONG_DOMAIN", "a venue carries requests of its own participants")
    elif sender.participant != value.consumer:
        raise error("NOT_FOUND", "no such agreement")


def _agreement(view: View, sender: Sender, value: AccessRequest) -> tuple[AgreementState, Document]:
    """Step 5: the agreement by id and digest, in force, with this consumer and these nodes."""
    state = view.get(AgreementState, value.agreement)
    document = view.document(state.document) if state else None
    if (
        state is None
        or document is None
        or state.document != value.agreement_sha256
        or state.consumer != value.consumer
        or state.consumer_node != value.home
        or (sender.kind == "PEER" and state.consumer_node != sender.domain)
    ):
        raise error("NOT_FOUND", "no such agreement")
    _check_usable(view, state)
    return state, document


def _check_usable(view: View, state: AgreementState) -> None:
    if state.state != "PERFORMING":
        causes = ", ".join(cause.partition(":")[2] for cause in state.causes)
        raise error("GRANT_INVALID", f"the agreement is {state.state}" + (f" ({causes})" if causes else ""))
    grant = view.get(GrantState, state.id)
    if grant is None or grant.state not in ("ACTIVE", "EXHAUSTED"):
        raise error("GRANT_EXPIRED" if grant and grant.state == "EXPIRED" else "GRANT_INVALID")


def _contract(document: Document, policies: Any) -> Contract:
    value = _agreement_value(document.payload_type, document.payload)
    return Contract(value, policies.load(value.policy))


@lru_cache(maxsize=1024)
def _agreement_value(payload_type: str, payload: bytes) -> Agreement:
    return decode(Document(payload_type, payload), Agreement)


def _key_of(venue: Venue, consumer: str, brought: Sequence[Verified[ParticipantKey]]) -> Verified[ParticipantKey]:
    for key in brought:
        if key.value.participant == consumer:
            return key
    known = venue.keyring.key_documents.get(consumer)
    if known is None:
        raise error("IDENTITY_UNKNOWN", "the key document of the consumer must come along")
    return known


async def _check_grade(
    venue: Venue, agreement: Agreement, request: Verified[AccessRequest], ticket: Ticket, keys: Any
) -> None:
    """Step 6: the grade stated is the grade there is, and enough."""
    value = request.value
    custody = decode_key(ticket, venue, value.consumer).custody
    actual = "DELEGATED" if value.request_proof == "DELEGATED" else ("SIGNED" if custody == "HELD" else "CUSTODY")
    if value.request_proof != actual:
        raise error("REQUEST_PROOF_TOO_WEAK", f"this request is {actual}, not {value.request_proof}")
    if not at_least(value.request_proof, agreement.request_proof_min):
        raise error(
            "REQUEST_PROOF_TOO_WEAK",
            f"the agreement asks for {agreement.request_proof_min}, this is {value.request_proof}",
        )
    if value.request_proof == "DELEGATED":
        _check_delegation(venue, value, ticket, keys)


def decode_key(ticket: Ticket, venue: Venue, consumer: str) -> ParticipantKey:
    """The key document that a ticket brings, or the one we hold."""
    if ticket.key_document is not None:
        return decode(ticket.key_document, ParticipantKey)
    known = venue.keyring.key_documents.get(consumer)
    if known is None:
        raise error("IDENTITY_UNKNOWN", "the key document of the consumer must come along")
    return known.value


def _check_delegation(venue: Venue, value: AccessRequest, ticket: Ticket, keys: Any) -> None:
    if ticket.delegation is None or ticket.delegation.digest != value.delegation_sha256:
        raise error("REQUEST_PROOF_TOO_WEAK", "a delegated request carries its delegation")
    delegation = verify(ticket.delegation, Delegation, keys, venue.clock.now()).value
    covered = (value.agreement, value.agreement_sha256) in delegation.agreements
    if delegation.iss != value.consumer or delegation.home != value.home or not covered:
        raise error("REQUEST_PROOF_TOO_WEAK", "the delegation does not cover this agreement")


def _opened(value: AccessRequest, ticket: Ticket) -> Query:
    """Step 8: the commitment opens to the query that came along."""
    if (
        len(ticket.query) > MAX_QUERY_BYTES * 3
        or query_commitment(ticket.query_salt, ticket.query) != value.query_commitment
    ):
        raise error("HASH_MISMATCH", "the query is not the one that was signed")
    try:
        query = msgspec.json.decode(ticket.query, type=Query)
    except msgspec.DecodeError as problem:
        raise error("QUERY_INVALID", str(problem)[:200], field="query") from None
    if query.to_bytes() != ticket.query:
        raise error("MESSAGE_UNPARSABLE", "the query is not in canonical form", field="query")
    return query


def _check_operation(value: AccessRequest, policy: compiled.CompiledPolicy) -> None:
    expected = "aggregate" if policy.aggregate_only else value.operation
    if value.operation != expected:
        raise error("DENIED", "aggregates only: this agreement delivers no rows")


def policy_request(
    venue: Venue, purpose: str, operation: str, agreement: Agreement | None, key: Verified[ParticipantKey],
    start: str = "",
) -> compiled.Request:  # fmt: skip
    """The attributes of a decision: from certificate, registry, agreement and clock, never from the request."""
    home = venue.keyring.cards.get(key.value.iss)
    area = home.value.area if home else ""
    now = venue.clock.now()
    begun = agreement.start if agreement else (start or now)
    return compiled.Request(
        operation="aggregate" if operation == "aggregate" else "read",
        purpose=purpose,
        now=clock.moment(now),
        start=clock.moment(begun),
        consumer=key.value.participant,
        roles=frozenset(key.value.roles),
        venue=key.value.iss,
        areas=frozenset({"CN", area[:2], area} - {""}),
        assurance=frozenset({key.value.assurance} - {""}),
    )


# --- sessions -------------------------------------------------------------------------------------------------------


class Prepared(NamedTuple):
    """Product and source of an agreement, as the engine needs them."""

    registration: Registration
    source: Source


async def _session(venue: Venue, contract: Contract, state: AgreementState) -> Session:
    prepared = await venue.store.read(lambda view: prepared_product(view, contract.value.product))
    key = venue.keyring.cards.get(state.consumer_node)
    attributes = {"consumer_id": state.consumer, "consumer_area": key.value.area if key else ""}
    return await open_session(venue, contract.value.policy, prepared, attributes, state.id)


def prepared_product(view: View, handle: str) -> Prepared:
    """The registration in force of a product, and how we reach its data.

    Raises:
        TrustnodeError: NOT_REGISTERED, SOURCE_UNCONFIRMED.
    """
    document = catalog.registration_document(view, handle)
    product = view.get(ProductState, handle)
    binding = view.document(product.binding) if product and product.binding else None
    if document is None:
        raise error("NOT_REGISTERED", f"{handle} is not registered now", product=handle)
    if binding is None:
        raise error("SOURCE_UNCONFIRMED", f"{handle} has no data at this node", product=handle)
    return Prepared(decode(document, Registration), catalog.source_of(decode(binding, Binding)))


async def open_session(
    venue: Venue, policy: odrl.Policy, prepared: Prepared, attributes: Mapping[str, str], agreement: str
) -> Session:
    """A worker that sees the product as the policy lets this consumer see it."""
    ready = venue.policies.load(policy)
    table = prepared.registration.tables[0]
    governed = ready.governed(table.columns, table=table.name, **attributes)
    spec = SessionSpec(
        agreement=agreement,
        policy_digest=ready.digest,
        data_version=await asyncio.to_thread(data_version, prepared.source),
        source=prepared.source,
        governed=governed,
        hash_key=venue.mask_key(agreement),
    )
    return await venue.engine.session(spec)


# --- the decision ---------------------------------------------------------------------------------------------------


class Decided(msgspec.Struct, frozen=True):
    """What the decision unit made durable."""

    seq: int
    link: str
    reserved: tuple[Reservation, ...]
    rows_left: int | None
    """Rows that the limits still allow; None: no limit."""


async def decide(venue: Venue, admission: Admission, whole: Mapping[str, int] | None = None) -> Decided:
    """One durable unit: access row, reservation, entry (protocol 6.4, step 5).

    Args:
        venue: The node.
        admission: The request, checked and planned.
        whole: Rows and bytes of an answer that is complete already; None where a stream begins.

    Raises:
        TrustnodeError: QUOTA_*, REPLAYED, GRANT_INVALID, PRECONDITION_OPEN.
    """

    def unit(tx: Tx) -> Decided:
        return _decide(tx, venue, admission, whole)

    return await venue.store.write(unit, event_id="", returns=Decided)


def _decide(tx: Tx, venue: Venue, admission: Admission, whole: Mapping[str, int] | None) -> Decided:
    state = tx.get(AgreementState, admission.state.id)
    grant = tx.get(GrantState, admission.state.id)
    value = admission.request.value
    if state is None or grant is None:
        raise error("NOT_FOUND", "no such agreement")
    _check_usable(tx, state)
    _check_acknowledged(tx, state)
    if tx.get(AccessState, admission.id) is not None:
        raise _denial(admission, error("REPLAYED", "this request was answered before"))
    try:
        reserved = reserve(tx, admission.contract.policy.counters, admission.id, state.id, _zone(admission))
        left = rows_left(tx, reserved)
        reserved = cover(tx, reserved, admission.id, whole)
    except TrustnodeError as refusal:
        raise _denial(admission, refusal) from None
    facts = AccessFacts(
        grant_active=True,
        performing=True,
        well_formed=True,
        grade_sufficient=True,
        refusal=None,
        counters_reserved=True,
    )
    fresh = AccessState(
        id=admission.id, document=admission.request.digest, agreement=state.id, product=state.product,
        consumer=value.consumer, consumer_node=value.home, provider_node=venue.domain, purpose=value.purpose,
        grade=value.request_proof, plan_commitment=admission.plan_commitment, stream_salt=admission.salt.hex(),
        started_at=tx.now,
    )  # fmt: skip
    tx.keep(admission.request.document)
    # Request, allow and prepared are one unit with one entry, `access.decide` (lifecycles 8).
    fresh = fire(tx, ACCESS, fresh, "request", "C", facts, by=value.consumer, quiet=True)
    fresh = fire(tx, ACCESS, fresh, "allow", "K", facts, quiet=True)
    tx.log(
        "agreement", state.id, "access.decide", access_id=admission.id, actor=pseudonym(value.consumer),
        decision="ALLOW",
        documents=(admission.request.digest,), contract_id=state.id, plan_commitment=admission.plan_commitment,
        query_commitment=value.query_commitment, to_state="STREAMING",
    )  # fmt: skip
    end = tx.chain("agreement", state.id)
    fire(tx, ACCESS, fresh, "prepared", "K", facts, quiet=True, decision_seq=end.seq, decision_link=end.link.hex())
    return Decided(end.seq, end.link.hex(), reserved, left)


def _check_acknowledged(tx: Tx, state: AgreementState) -> None:
    """At most so many receipts without a final acknowledgement (protocol 6.6)."""
    if state.consumer_node == state.provider_node:
        return
    waiting = tx.find(AccessState, agreement=state.id, state="DELIVERED", carrier_ack="", limit=MAX_UNACKNOWLEDGED)
    if len(waiting) >= MAX_UNACKNOWLEDGED:
        raise error("PRECONDITION_OPEN", "acknowledge the receipts of earlier reads first")


def _zone(admission: Admission) -> str:
    del admission
    return "Asia/Shanghai"


def _denial(admission: Admission, refusal: TrustnodeError) -> TrustnodeError:
    """The refusal with the entry that is due."""
    refusal.record = RefusalRecord(
        object_kind="agreement",
        object=admission.state.id,
        event="access.deny",
        caller=f"{admission.request.value.consumer}/{admission.state.id}",
        fields={
            "reason_code": refusal.reason,
            "decision": "DENY",
            "access_id": admission.id,
            "documents": (admission.request.digest,),
            "actor": pseudonym(admission.request.value.consumer),
        },
    )
    return refusal


async def _record_denial(venue: Venue, sender: Sender, ticket: Ticket, refusal: TrustnodeError) -> None:
    """Log a denial in the agreement's chain when the caller is a party, else in the node's own chain."""
    try:
        value = decode(ticket.request, AccessRequest)
        state = await venue.store.read(lambda view: view.get(AgreementState, value.agreement))
        party = state is not None and state.consumer == value.consumer and refusal.reason != "NOT_FOUND"
    except TrustnodeError:
        value, party = None, False
    fields: dict[str, Any] = {"reason_code": refusal.reason, "decision": "DENY", "documents": (ticket.request.digest,)}
    if value is not None:
        fields |= {"access_id": value.id}
    record = RefusalRecord(
        object_kind="agreement" if party and value else "node",
        object=value.agreement if party and value else venue.domain,
        event="access.deny",
        caller=f"{sender.name}/{value.agreement if value else ''}",
        fields=fields | {"actor": pseudonym(sender.name)},
    )
    await record_entry(venue, refusal, record)


# --- serve ----------------------------------------------------------------------------------------------------------


async def serve(venue: Venue, sender: Sender, ticket: Ticket, sink: Sink) -> Outcome:
    """Answer a request with a stream, from our own data.

    Returns:
        The receipt, and why the stream ended early if it did.

    Raises:
        TrustnodeError: Refused before the first byte.
    """
    admission = await admit(venue, sender, ticket)
    decided = await decide(venue, admission)
    stream = _stream(venue, sender, admission)
    failure: TrustnodeError | None = None
    try:
        with venue.streams.running(stream):
            await sink.header(_header(admission, decided))
            await _run(venue, admission, decided, stream, sink)
    except TrustnodeError as stopped:
        failure = stopped
    except asyncio.CancelledError:
        await asyncio.shield(settle(venue, admission, decided, stream, error("CANCELLED", "the reader went away")))
        raise
    receipt = await settle(venue, admission, decided, stream, failure)
    return Outcome(receipt, failure)


def _header(admission: Admission, decided: Decided) -> AccessHeader:
    return AccessHeader(
        access=admission.id,
        stream_salt=admission.salt.hex(),
        decision_seq=decided.seq,
        decision_link=decided.link,
    )


def _stream(venue: Venue, sender: Sender, admission: Admission) -> Stream:
    state, ack = admission.state, admission.contract.value.ack
    keys = {
        f"access:{admission.id}",
        f"agreement:{state.id}",
        f"product:{state.product}",
        f"participant:{state.consumer}",
        f"participant:{state.provider}",
    }
    if sender.kind == "PEER":
        keys.add(f"peer:{sender.domain}")
    return Stream(
        access=admission.id,
        keys=frozenset(keys),
        salt=admission.salt,
        window=Window(ack.window_bytes, ack.window_rows) if sender.kind == "PEER" else None,
        recheck=lambda: _recheck(venue, admission),
    )


async def _recheck(venue: Venue, admission: Admission) -> None:
    """Decide a running stream again (odrl 3, rule 10)."""
    state = await venue.store.read(lambda view: view.get(AgreementState, admission.state.id))
    if state is None or state.state != "PERFORMING":
        raise error("GRANT_INVALID", f"the agreement is {state.state if state else 'gone'}")
    value = admission.request.value
    request = policy_request(venue, value.purpose, value.operation, admission.contract.value, admission.key)
    decision = admission.contract.policy.decide(request)
    if decision.outcome != "ALLOW":
        raise decision.refusal()


async def _run(venue: Venue, admission: Admission, decided: Decided, stream: Stream, sink: Sink) -> None:
    budget = Budget(venue, admission.id, decided.reserved)
    frames = await admission.session.run(admission.plan, max_rows=decided.rows_left)
    async with frames, asyncio.timeout(STREAM_LIFE_S):
        await pump(frames, sink.frame, stream, before=budget.cover)


@dataclass
class Budget:
    """Reserves rows and bytes in portions, always before they are handed over."""

    venue: Venue
    access: str
    reserved: tuple[Reservation, ...]
    used: dict[str, int] = field(default_factory=lambda: {"rows": 0, "bytes": 0})

    async def cover(self, frame: Frame) -> None:
        """Reserve further portions when this frame needs them.

        Raises:
            TrustnodeError: QUOTA_* when a limit is reached.
        """
        self.used["rows"] += frame.note.rows
        self.used["bytes"] += len(frame.data)
        if any(held.amount < self.used.get(held.unit, 0) for held in self.reserved):
            self.reserved = await self.venue.store.write(self._unit, event_id="", returns=tuple[Reservation, ...])

    def _unit(self, tx: Tx) -> tuple[Reservation, ...]:
        return cover(tx, self.reserved, self.access, self.used)


async def settle(
    venue: Venue, admission: Admission, decided: Decided, stream: Stream, failure: TrustnodeError | None
) -> Document:
    """Give back what was not used, sign the receipt, log the end (protocol 6.4, step 9)."""
    receipt = venue.sign(_receipt(venue, admission, decided, stream, failure))

    def unit(tx: Tx) -> str:
        return _settled(tx, admission, decided, stream, failure, receipt)

    await venue.store.write(unit, event_id=f"settle/{admission.id}", returns=str)
    return receipt


def _receipt(
    venue: Venue, admission: Admission, decided: Decided, stream: Stream, failure: TrustnodeError | None
) -> Receipt:
    agreement, now = admission.contract.value, venue.clock.now()
    return Receipt(
        access=admission.id,
        request_sha256=admission.request.digest,
        agreement=admission.state.id,
        agreement_sha256=admission.state.document,
        policy_sha256=admission.contract.policy.digest,
        decision=DecisionLink(decided.seq, decided.link),
        plan_commitment=admission.plan_commitment,
        outcome="ABORTED" if failure else "COMPLETE",
        cause=failure.reason if failure else "",
        frames=stream.frames,
        rows=stream.rows,
        bytes=stream.bytes,
        stream_salt=admission.salt.hex(),
        stream_commitment=stream.commitment,
        meter=(Meter("CALL", 1), Meter("ROW", stream.rows), Meter("BYTE", stream.bytes)),
        cost_fen=agreement.price.cost_fen(rows=stream.rows),
        started=admission.request.value.time if stream.frames == 0 else now,
        ended=now,
        path=admission.request.value.path,
        **venue.fields(venue.domain, agreement.consumer_node),
    )


def _settled(
    tx: Tx, admission: Admission, decided: Decided, stream: Stream, failure: TrustnodeError | None, receipt: Document
) -> str:
    state = tx.get(AccessState, admission.id)
    if state is None:
        raise error("NOT_FOUND", "no such access")
    tx.keep(receipt)
    used = {r.key: {"count": 1, "rows": stream.rows, "bytes": stream.bytes}[r.unit] for r in decided.reserved}
    tx.settle(admission.id, used)
    columns: dict[str, Any] = {
        "frames": stream.frames, "rows": stream.rows, "bytes": stream.bytes, "stream_commitment": stream.commitment,
        "receipt": receipt.digest, "cost_fen": decode(receipt, Receipt).cost_fen, "ended_at": tx.now,
        "cause": failure.reason if failure else "",
    }  # fmt: skip
    entry: dict[str, Any] = {
        "access_id": admission.id, "contract_id": state.agreement, "amount": stream.rows, "unit": "rows",
        "stream_commitment": stream.commitment,
    }  # fmt: skip
    facts = AccessFacts(receipt_signed=True, cause_named=True)
    event = "abort" if failure else "complete"
    extra = {"reason_code": failure.reason} if failure else {}
    fire(tx, ACCESS, state, event, "K", facts, documents=(receipt.digest,), entry=entry | extra, **columns)
    return receipt.digest


# --- a small answer -------------------------------------------------------------------------------------------------


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
    left = await venue.store.read(lambda view: _rows_left(view, admission))
    try:
        answer = await admission.session.read(admission.plan, max_bytes=SMALL_BYTES, max_rows=left)
    except TrustnodeError as refusal:
        await _record_denial(venue, sender, ticket, refusal)
        raise
    stream = Stream(admission.id, frozenset(), admission.salt)
    for frame in answer.frames:
        stream.count(frame.note, len(frame.data))
    decided = await decide(venue, admission, {"rows": stream.rows, "bytes": stream.bytes})
    receipt = await settle(venue, admission, decided, stream, None)
    return SmallRead(_header(admission, decided), tuple(frame.data for frame in answer.frames), receipt)


def _rows_left(view: View, admission: Admission) -> int | None:
    wanted = reservations(admission.contract.policy.counters, admission.state.id, view.now, _zone(admission))
    return rows_left(view, wanted)


# --- broker ---------------------------------------------------------------------------------------------------------


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
    peer = venue.peers.get(state.provider_node)
    failure: TrustnodeError | None = None
    stream: Stream | None = None
    receipt: Document | None = None
    try:
        async with peer.do_get(ticket.raw, timeout_s=STREAM_LIFE_S) as call:
            header = await _answer_header(call, logged)
            stream = _carried(venue, state, header)
            with venue.streams.running(stream):
                await sink.header(header)
                carrier = Carrier(venue, stream, state, request.value.id)
                await pump(carrier.frames(call), sink.frame, stream, before=carrier.before)
            receipt = _receipt_in(await call.trailing_metadata())
    except TrustnodeError as stopped:
        failure = stopped
    except asyncio.CancelledError:
        await asyncio.shield(_carried_end(venue, request, state, stream, None, error("CANCELLED")))
        raise
    if stream is None:
        refusal = failure or error("PEER_UNREACHABLE")
        await _denied_there(venue, request, state, refusal)
        raise refusal
    receipt = receipt or await _fetch_receipt(venue, state, request.value.id)
    document = await _carried_end(venue, request, state, stream, receipt, failure)
    return Outcome(document or ticket.request, failure)


async def _checked_here(venue: Venue, sender: Sender, ticket: Ticket) -> tuple[Verified[AccessRequest], AgreementState]:
    request, _, _ = _verified_request(venue, ticket)
    value = request.value
    if value.home != venue.domain or value.consumer != sender.participant:
        raise error("NOT_FOUND", "no such agreement")
    state = await venue.store.read(lambda view: parties_only(view.get(AgreementState, value.agreement), sender))
    if state.document != value.agreement_sha256 or state.provider_node != value.provider:
        raise error("NOT_FOUND", "no such agreement")
    if state.state != "PERFORMING":
        raise error("GRANT_INVALID", f"the agreement is {state.state}")
    return request, state


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


async def _answer_header(call: Any, logged: asyncio.Future[None]) -> AccessHeader:
    """The provider's header; our own entry is durable before anything goes on to the client."""
    pairs = await call.initial_metadata()
    await logged
    raw = pairs.get("trustnode-access-bin")
    if not isinstance(raw, bytes):
        # The call ended before its first frame: reading it raises what the other node said.
        async for _ in call:
            break
        raise error("VERIFICATION_FAILED", "the other node sent no header")
    return msgspec.json.decode(raw, type=AccessHeader)


def _carried(venue: Venue, state: AgreementState, header: AccessHeader) -> Stream:
    keys = {
        f"access:{header.access}",
        f"agreement:{state.id}",
        f"participant:{state.consumer}",
        f"peer:{state.provider_node}",
    }
    return Stream(access=header.access, keys=frozenset(keys), salt=bytes.fromhex(header.stream_salt))


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
    frame = parse_frame(data)
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
    for _ in range(5):
        try:
            receipt = await venue.peers.get(state.provider_node).receipt(access, timeout_s=10)
        except TrustnodeError:
            receipt = None
        if receipt is not None:
            return receipt
        await asyncio.sleep(0.2)
    return None


async def _carried_end(
    venue: Venue, request: Verified[AccessRequest], state: AgreementState, stream: Stream | None,
    receipt: Document | None, failure: TrustnodeError | None,
) -> Document | None:  # fmt: skip
    """Compare with our own count, log, acknowledge (protocol 6.4, step 10)."""
    if stream is None:
        return None
    if receipt is None and failure is not None and failure.reason == "CANCELLED":
        receipt = await _fetch_receipt(venue, state, request.value.id)
    checked = verify(receipt, Receipt, venue.keyring, None).value if receipt else None
    verdict = _verdict(stream, checked)
    item = _ack_item(request.value.id, stream, receipt.digest if receipt else None, verdict, final=True)
    ack = venue.sign(_ack(venue, "CARRIER", item, state))

    def unit(tx: Tx) -> str:
        return _carried_unit(tx, request, state, stream, receipt, ack, verdict, failure)

    await venue.store.write(unit, event_id=f"carried/{request.value.id}", returns=str)
    return receipt


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
    for event in ("allow", "prepared"):
        access = fire(tx, ACCESS, access, event, "K", facts, quiet=True)
    digests = tuple(d.digest for d in (receipt, ack) if d is not None)
    if receipt is not None:
        tx.keep(receipt)
    value = decode(receipt, Receipt) if receipt else None
    aborted = failure is not None or value is None or value.outcome == "ABORTED"
    cause = failure.reason if failure else (value.cause if value else "PEER_UNREACHABLE")
    fire(
        tx, ACCESS, access, "abort" if aborted else "complete", "K", facts, documents=digests,
        entry={
            "access_id": access.id, "contract_id": state.id, "amount": stream.rows, "unit": "rows",
            "stream_commitment": stream.commitment, **({"reason_code": cause} if aborted and cause else {}),
        },
        frames=stream.frames, rows=stream.rows, bytes=stream.bytes, stream_commitment=stream.commitment,
        receipt=receipt.digest if receipt else "", carrier_ack=verdict, cause=cause if aborted else "",
        cost_fen=value.cost_fen if value else 0, ended_at=tx.now, stream_salt=stream.salt.hex(),
    )  # fmt: skip
    tx.send(state.provider_node, ack, object=f"ack/{state.id}")
    return ack.digest


async def _denied_there(
    venue: Venue, request: Verified[AccessRequest], state: AgreementState, refusal: TrustnodeError
) -> None:
    def unit(tx: Tx) -> str:
        access = tx.get(AccessState, request.value.id)
        if access is not None and access.state == "REQUESTED":
            fire(
                tx, ACCESS, access, "deny", "K", AccessFacts(denied=True), cause=refusal.reason,
                entry={
                    "access_id": access.id, "reason_code": refusal.reason, "contract_id": state.id, "decision": "DENY",
                },
            )  # fmt: skip
        return ""

    await venue.store.write(unit, event_id="", returns=str)


async def broker_read(venue: Venue, sender: Sender, ticket: Ticket) -> SmallRead:
    """As ``broker``, for an answer in one message."""
    request, state = await _checked_here(venue, sender, ticket)
    logged = asyncio.ensure_future(_log_request(venue, request, state))
    try:
        answer = await venue.peers.get(state.provider_node).read(ticket.raw, timeout_s=60)
    except TrustnodeError as refusal:
        await logged
        await _denied_there(venue, request, state, refusal)
        raise
    await logged
    header = AccessHeader(
        access=answer.access, stream_salt=answer.stream_salt.hex(), decision_seq=answer.decision_seq,
        decision_link=answer.decision_link.hex(),
    )  # fmt: skip
    stream = Stream(answer.access, frozenset(), answer.stream_salt)
    for data in answer.frames:
        stream.count(_checked_note(data), len(data))
    await _carried_end(venue, request, state, stream, answer.receipt, None)
    return SmallRead(header, answer.frames, answer.receipt)


# --- acknowledgements and stops -------------------------------------------------------------------------------------


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
    if not item.final:
        kept = max(access.acked_frames, item.frames)
        return Answer.of(
            tx.save(
                msgspec.structs.replace(
                    access, acked_frames=kept, acked_rows=max(access.acked_rows, item.rows),
                    acked_bytes=max(access.acked_bytes, item.bytes),
                )
            )
        )  # fmt: skip
    column = "carrier_ack" if value.by == "CARRIER" else "participant_ack"
    if not getattr(access, column):
        access = tx.save(msgspec.structs.replace(access, **{column: item.verdict}))
        tx.log(
            "agreement", access.agreement, "clearing.meter", access_id=access.id, documents=(document.digest,),
            actor=pseudonym(value.iss), amount=item.rows, unit="rows", contract_id=access.agreement,
        )  # fmt: skip
    if venue.domain == access.consumer_node and access.provider_node != venue.domain and sender.kind != "PEER":
        tx.send(access.provider_node, document, object=f"ack/{access.agreement}")
    return Answer.of(access)


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
        tx.settle(access, {held.key: held.amount for held in tx.reservations(access)})
        fire(
            tx, ACCESS, state, "abort", "K", AccessFacts(cause_named=True), cause="INTERNAL", ended_at=tx.now,
            entry={"access_id": access, "reason_code": "INTERNAL", "contract_id": state.agreement},
        )  # fmt: skip
        return access

    return unit


async def receipt_of(venue: Venue, sender: Sender, access: str) -> tuple[AccessState, Document | None]:
    """The receipt of an access, for its parties and their nodes.

    Raises:
        TrustnodeError: NOT_FOUND.
    """

    def query(view: View) -> tuple[AccessState, Document | None]:
        state = view.get(AccessState, access)
        agreement = view.get(AgreementState, state.agreement) if state else None
        if state is None:
            raise error("NOT_FOUND", "no such access")
        parties_only(agreement, sender)
        return state, view.document(state.receipt) if state.receipt else None

    return await venue.store.read(query)


def stream_chain(salt: bytes, digests: Sequence[bytes]) -> str:
    """h(n) over frame digests."""
    chain = chain_start(salt)
    for digest in digests:
        chain = chain_next(chain, digest)
    return chain.hex()
