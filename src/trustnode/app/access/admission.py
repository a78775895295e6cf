"""Admission: every check of a request before anything is reserved (protocol 6.5, steps 1 to 9).

Decides: who may ask what under which agreement, in which grade, and that the query is the one that was signed. Leaves
to others: the durable decision (``decision``), the policy's own words (``core.policy``), planning (``engine``).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from trustnode.app.access.opening import Part, Prepared, open_session, prepared_product
from trustnode.app.access.resuming import Resumed, resumed
from trustnode.app.budget import Ledger, ledger_of
from trustnode.app.duties import CAUSE, NOTHING_SAID, Standing, standing
from trustnode.app.submission import check_audience, record_entry
from trustnode.app.transition import pseudonym
from trustnode.app.venue import Sender, Venue
from trustnode.core import clock
from trustnode.core.access import (
    MAX_QUERY_BYTES,
    AccessRequest,
    Named,
    Query,
)
from trustnode.core.contract import Agreement, AgreementState, Delegation, Grade, GrantState, at_least
from trustnode.core.document import Document, Keys, Verified, decode, verify
from trustnode.core.identifier import short_name
from trustnode.core.participant import ParticipantKey, domain_of
from trustnode.core.peering import PeeringState, check_scope
from trustnode.core.policy import compiled, grammar
from trustnode.core.stream import plan_commitment, query_commitment
from trustnode.engine.message import Plan
from trustnode.engine.pool import Session
from trustnode.errors import TrustnodeError, error
from trustnode.store.unit import RefusalRecord, View
from trustnode.wire.convert import Ticket


class Contract(NamedTuple):
    """An agreement ready to be used: read once for each digest."""

    value: Agreement
    policy: compiled.CompiledPolicy
    duties: Standing = NOTHING_SAID
    """As they stood when the request was admitted; one that is overdue later suspends the agreement."""


class Granted(NamedTuple):
    """One agreement of a request, checked."""

    id: str
    """Of the access as it stands under this agreement."""
    contract: Contract
    state: AgreementState
    zone: str
    """Time zone of the product, in which windows of limits begin."""


@dataclass(frozen=True)
class Admission:
    """A request that passed every check before the reservation (protocol 6.5, 1 to 9)."""

    request: Verified[AccessRequest]
    granted: tuple[Granted, ...]
    """Every agreement that it reads under, the first one first."""
    key: Verified[ParticipantKey]
    query: Query
    session: Session
    plan: Plan
    salt: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    delegation: Delegation | None = None
    """What covers a request of the grade DELEGATED; its accesses are counted."""
    resumed: Resumed | None = None
    """What it goes on with; None: it begins anew."""
    ledger: Ledger | None = None
    """Where the cost of the question is booked; None: answers are exact."""

    @property
    def id(self) -> str:
        """The access id."""
        return self.request.value.id

    @property
    def contract(self) -> Contract:
        """The first agreement; the only one but where products are joined."""
        return self.granted[0].contract

    @property
    def state(self) -> AgreementState:
        """Its row."""
        return self.granted[0].state

    @property
    def plan_commitment(self) -> str:
        """Commitment to the regenerated SQL."""
        return plan_commitment(self.salt, self.plan.sql)

    def question(self, window: str) -> str:
        """Name of the stored answer of one window; empty where answers are exact."""
        ledger = self.ledger
        return ledger.question(self.plan.sql, self.session.data_version, window) if ledger else ""


async def admit(venue: Venue, sender: Sender, ticket: Ticket) -> Admission:
    """Check a request in the order of protocol 6.5 and plan it; a refusal is logged.

    Raises:
        TrustnodeError: The first check that did not hold.
    """
    try:
        return await _admit(venue, sender, ticket)
    except TrustnodeError as refusal:
        await record_denial(venue, sender, ticket, refusal)
        raise


async def _admit(venue: Venue, sender: Sender, ticket: Ticket) -> Admission:
    request, keys, brought = verified_request(venue, ticket)
    value = request.value
    venue.check_in_force(venue.domain, value.home)
    found = await venue.store.read(lambda view: _found(view, venue, sender, value))
    contracts = [one.contract for one in found]
    key = _key_of(venue, value.consumer, brought)
    _check_grade(venue, [contract.value for contract in contracts], request, ticket, keys)
    query = _opened(value, ticket)
    _check_operation(value, [contract.policy for contract in contracts])
    decide_all(venue, value, contracts, Asker.of(key.value))
    prepared = [one.product() for one in found]
    session = await _session(venue, contracts, [one.state for one in found], prepared)
    plan = await session.plan(query.sql, query.parameters)
    delegation = decode(ticket.delegation, Delegation) if ticket.delegation and value.delegation_sha256 else None
    granted = tuple(
        Granted(value.id_under(one.state.id), contract, one.state, ready.registration.zone)
        for one, contract, ready in zip(found, contracts, prepared, strict=True)
    )
    before = await resumed(venue, value, plan.sql)
    ledger = _ledger(venue, contracts, prepared, key.value)
    if before is not None and ledger is not None:
        raise error("RESUME_CHANGED", "an answer with noise is asked for again as a whole; it costs nothing")
    return Admission(request, granted, key, query, session, plan, delegation=delegation, resumed=before, ledger=ledger)


def _ledger(
    venue: Venue, contracts: Sequence[Contract], prepared: Sequence[Prepared], key: ParticipantKey
) -> Ledger | None:
    """Where the question is booked; products with noise are never joined (``opening``)."""
    if contracts[0].policy.budget is None:
        return None
    registration, source = prepared[0].registration, prepared[0].source
    return ledger_of(venue, contracts[0].policy, registration, source, asker=key.participant, subject=key.subject)


def decide_all(venue: Venue, value: AccessRequest, contracts: Sequence[Contract], asker: Asker) -> None:
    """Ask every policy at one instant; what one of them refuses is refused.

    Raises:
        TrustnodeError: The refusal of the first policy that does not allow it.
    """
    now = venue.clock.now()
    for contract in contracts:
        request = policy_request(venue, value.purpose, value.operation, contract.value, asker, now, contract.duties)
        decision = contract.policy.decide(request)
        if decision.outcome != "ALLOW":
            raise decision.refusal()


def verified_request(
    venue: Venue, ticket: Ticket
) -> tuple[Verified[AccessRequest], Keys, Sequence[Verified[ParticipantKey]]]:
    """Check form, times and signature of a request; key documents that came along are checked on the way.

    Returns:
        The request, the lookup of keys used, and the key documents that were new.

    Raises:
        TrustnodeError: As ``document.verify``; FIELD_FORMAT when it lives too long;
            IDENTITY_WRONG_DOMAIN when it is not for us.
    """
    now = venue.clock.now()
    supporting = [ticket.key_document] if ticket.key_document else []
    keys, brought = venue.keyring.with_documents(supporting, now)
    request = verify(ticket.request, AccessRequest, keys, now)
    check_audience(venue, request.value)
    if request.value.expires is None or request.value.expires > clock.shift(now, 360):
        raise error("FIELD_FORMAT", "an access request lives at most 300 s", field="expires")
    return request, keys, brought


def _asked_for(
    view: View, venue: Venue, sender: Sender, value: AccessRequest
) -> tuple[tuple[AgreementState, Document], ...]:
    _check_sender(view, venue, sender, value)
    return tuple(_agreement(view, sender, value, named) for named in value.agreements)


def _found(view: View, venue: Venue, sender: Sender, value: AccessRequest) -> tuple[Found, ...]:
    """All that is read for one request, in one snapshot."""
    found = []
    for state, document in _asked_for(view, venue, sender, value):
        prepared: Prepared | TrustnodeError
        try:
            prepared = prepared_product(view, state.product)
        except TrustnodeError as refusal:
            prepared = refusal
        contract = _contract(document, venue.policies)
        contract = contract._replace(duties=standing(view, state.id, contract.policy))
        found.append(Found(state, contract, prepared))
    return tuple(found)


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


def _agreement(view: View, sender: Sender, value: AccessRequest, named: Named) -> tuple[AgreementState, Document]:
    """Step 5: an agreement by id and digest, in force, with this consumer and these nodes."""
    state = view.get(AgreementState, named.agreement)
    document = view.document(state.document) if state else None
    if (
        state is None
        or document is None
        or state.document != named.agreement_sha256
        or state.consumer != value.consumer
        or state.consumer_node != value.home
        or (sender.kind == "PEER" and state.consumer_node != sender.domain)
    ):
        raise error("NOT_FOUND", "no such agreement")
    check_held_at(state, value.provider)
    check_usable(view, state)
    return state, document


def check_held_at(state: AgreementState, provider: str) -> None:
    """Refuse an agreement whose data another venue holds than the one that is asked.

    Raises:
        TrustnodeError: QUERY_INVALID.
    """
    if state.provider_node != provider:
        message = f"these are held at two venues, {provider} and {state.provider_node}: read each"
        raise error("QUERY_INVALID", message, field="joined")


def check_usable(view: View, state: AgreementState) -> None:
    """Refuse an agreement that does not perform, or whose grant is over.

    Raises:
        TrustnodeError: GRANT_INVALID, GRANT_EXPIRED.
    """
    check_performing(state)
    grant = view.get(GrantState, state.id)
    if grant is None or grant.state not in ("ACTIVE", "EXHAUSTED"):
        raise error("GRANT_EXPIRED" if grant and grant.state == "EXPIRED" else "GRANT_INVALID")


def check_performing(state: AgreementState) -> None:
    """Refuse an agreement that does not perform, with what holds it.

    Raises:
        TrustnodeError: GRANT_INVALID.
    """
    if state.state != "PERFORMING":
        causes = ", ".join(cause.partition(":")[2] for cause in state.causes)
        message = f"the agreement is {state.state}" + (f" ({causes})" if causes else "")
        step = {"next_step": f"See what is overdue: trustnode agreement duties {short_name(state.id)}"}
        raise error("GRANT_INVALID", message, **(step if f"K:{CAUSE}" in state.causes else {}))


async def check_still_performing(venue: Venue, agreements: Sequence[str]) -> None:
    """Look again at agreements that a stream rests on.

    Raises:
        TrustnodeError: GRANT_INVALID.
    """
    for state in await venue.store.read(lambda view: [view.get(AgreementState, one) for one in agreements]):
        if state is None:
            raise error("GRANT_INVALID", "the agreement is gone")
        check_performing(state)


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


def _check_grade(
    venue: Venue, agreements: Sequence[Agreement], request: Verified[AccessRequest], ticket: Ticket, keys: Keys
) -> None:
    """Step 6: the grade stated is the grade there is, and enough for each agreement."""
    value = request.value
    actual = "DELEGATED" if value.request_proof == "DELEGATED" else _grade_of_key(venue, request, ticket)
    if value.request_proof != actual:
        raise error("REQUEST_PROOF_TOO_WEAK", f"this request is {actual}, not {value.request_proof}")
    for agreement in agreements:
        if not at_least(value.request_proof, agreement.request_proof_min):
            raise error(
                "REQUEST_PROOF_TOO_WEAK",
                f"the agreement asks for {agreement.request_proof_min}, this is {value.request_proof}",
            )
    if value.request_proof == "DELEGATED":
        _check_delegation(venue, value, ticket, keys)


def _grade_of_key(venue: Venue, request: Verified[AccessRequest], ticket: Ticket) -> Grade:
    """SIGNED or CUSTODY by the document of the very key that signed; a document that came along may be of another."""
    held = venue.keyring.key_documents.get(request.value.consumer)
    brought = decode(ticket.key_document, ParticipantKey) if ticket.key_document else None
    for value in (brought, held.value if held else None):
        if value is not None and hashlib.sha256(bytes.fromhex(value.public)).hexdigest() in request.keys:
            return "SIGNED" if value.custody == "HELD" else "CUSTODY"
    raise error("IDENTITY_UNKNOWN", "the document of the key that signed must come along")


def _check_delegation(venue: Venue, value: AccessRequest, ticket: Ticket, keys: Keys) -> None:
    if ticket.delegation is None or ticket.delegation.digest != value.delegation_sha256:
        raise error("REQUEST_PROOF_TOO_WEAK", "a delegated request carries its delegation")
    delegation = verify(ticket.delegation, Delegation, keys, venue.clock.now()).value
    if delegation.iss != value.consumer or delegation.home != value.home or not covers(delegation, value):
        raise error("REQUEST_PROOF_TOO_WEAK", "the delegation does not cover this agreement")


def covers(delegation: Delegation, value: AccessRequest) -> bool:
    """Whether a delegation is for every agreement of a request."""
    return {(named.agreement, named.agreement_sha256) for named in value.agreements} <= set(delegation.agreements)


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


def _check_operation(value: AccessRequest, policies: Sequence[compiled.CompiledPolicy]) -> None:
    expected = "aggregate" if any(policy.aggregate_only for policy in policies) else value.operation
    if value.operation != expected:
        raise error("DENIED", "aggregates only: this agreement delivers no rows")


class Asker(NamedTuple):
    """Who asks, as certificate and registry have it."""

    participant: str
    home: str
    roles: frozenset[str]
    assurance: frozenset[str]
    subject: str = ""
    """Subject code; empty: none is known."""

    @classmethod
    def of(cls, key: ParticipantKey) -> Asker:
        """The participant of a key document."""
        return cls(key.participant, key.iss, frozenset(key.roles), frozenset({key.assurance} - {""}), key.subject)


def policy_request(
    venue: Venue,
    purpose: str,
    operation: str,
    agreement: Agreement | None,
    asker: Asker,
    now: str = "",
    duties: Standing = NOTHING_SAID,
) -> compiled.Request:
    """The attributes of a decision: from certificate, registry, agreement, log and clock, never from the request."""
    home = venue.keyring.cards.get(asker.home)
    area = home.value.area if home else ""
    now = now or venue.clock.now()
    return compiled.Request(
        operation="aggregate" if operation == "aggregate" else "read",
        purpose=purpose,
        now=clock.moment(now),
        start=clock.moment(agreement.start if agreement else now),
        consumer=asker.participant,
        roles=asker.roles,
        venue=asker.home,
        areas=grammar.areas(area),
        assurance=asker.assurance,
        fulfilled=duties.fulfilled,
        violated=duties.violated,
    )


class Found(NamedTuple):
    """An agreement that a request names, as it stands."""

    state: AgreementState
    contract: Contract
    prepared: Prepared | TrustnodeError
    """Its product; or why there is none, which nobody learns whom the policy refuses."""

    def product(self) -> Prepared:
        """The product.

        Raises:
            TrustnodeError: As ``prepared_product``.
        """
        if isinstance(self.prepared, TrustnodeError):
            raise self.prepared
        return self.prepared


async def _session(
    venue: Venue, contracts: Sequence[Contract], states: Sequence[AgreementState], prepared: Sequence[Prepared]
) -> Session:
    key = venue.keyring.cards.get(states[0].consumer_node)
    attributes = {"consumer_id": states[0].consumer, "consumer_area": key.value.area if key else ""}
    parts = [
        Part(contract.value.policy, ready, attributes, state.id)
        for contract, state, ready in zip(contracts, states, prepared, strict=True)
    ]
    return await open_session(venue, *parts)


async def record_denial(venue: Venue, sender: Sender, ticket: Ticket, refusal: TrustnodeError) -> None:
    """Log a denial in the agreement's chain when the caller is a party, else in the node's own chain."""
    try:
        value = decode(ticket.request, AccessRequest)
        state = await venue.store.read(lambda view: view.get(AgreementState, value.agreement))
        party = state is not None and state.consumer == value.consumer and refusal.reason != "NOT_FOUND"
    except TrustnodeError:
        value, state, party = None, None, False
    fields: dict[str, Any] = {"reason_code": refusal.reason, "decision": "DENY", "documents": (ticket.request.digest,)}
    if value is not None:
        fields |= {"access_id": value.id}
    record = RefusalRecord(
        object_kind="agreement" if party and value else "node",
        object=value.agreement if party and value else venue.domain,
        event="access.deny",
        # An agreement that the caller made up is no key of its own: it would buy an entry for each name.
        caller=f"{sender.name}/{state.id if state else ''}",
        fields=fields | {"actor": pseudonym(sender.name)},
    )
    await record_entry(venue, refusal, record)
