"""Contracts: the steps of a negotiation, up to the agreement that both nodes hold in force.

Decides: what each message looks at, who answers for the provider under a mandate, when both nodes hold the agreement in
force (protocol 5). Leaves to others: tables and documents (``core.contract``), the words of a policy (``core.policy``),
delivery (``courier``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from trustnode.app import catalog, quorums, sealing
from trustnode.app.agreement import activate
from trustnode.app.participant import remember_foreign
from trustnode.app.submission import Answer, Submission, Unit, handles
from trustnode.app.transition import fire, pseudonym
from trustnode.app.venue import Sender, Venue
from trustnode.core import clock
from trustnode.core.catalog import ProductState, Registration
from trustnode.core.contract import (
    AGREEMENT,
    EVENT_OF,
    NEGOTIATION,
    NEGOTIATION_TERM_S,
    RESPONSIBILITY,
    SIGN_BY_S,
    Ack,
    Act,
    Agreement,
    AgreementFacts,
    AgreementState,
    NegotiationFacts,
    NegotiationMessage,
    NegotiationState,
    Offer,
    Party,
    check_equals_offer,
    check_mandate,
    default_grade,
)
from trustnode.core.document import Document, Required, Verified, decode, has_signature, pae, seal, verify
from trustnode.core.participant import ParticipantKey, domain_of
from trustnode.core.policy import odrl
from trustnode.errors import error
from trustnode.store.unit import Tx, View

DEFAULT_TERM_DAYS: Final = 5 * 365
"""Longest life of an agreement whose policy names no end, days."""


# --- messages -------------------------------------------------------------------------------------------------------


@handles(NegotiationMessage, "CLIENT", "OPERATOR", "PEER")
async def negotiate(submission: Submission[NegotiationMessage]) -> Unit:
    """One message of a negotiation, from a party or from the other party's node."""
    event = EVENT_OF[submission.value.message]
    return await _STEPS[event](submission)


async def _request(submission: Submission[NegotiationMessage]) -> Unit:
    """The consumer asks for an offer. At the provider's node an automatic offer is agreed in the same unit."""
    venue, value = submission.venue, submission.value
    venue.check_may_trade()
    offer = await _offer(submission)
    venue.policies.load(offer.value.policy).check_purpose(value.purpose)
    consumer_key = await _key(submission, value.iss)
    _check_consumer(venue, submission.sender, consumer_key)
    nodes = _nodes(venue, offer.value, value.iss)
    if venue.domain == nodes["provider_node"]:
        _check_may_buy(consumer_key.value, offer.value)
    draft = await _draft(submission, offer, consumer_key) if venue.domain == nodes["provider_node"] else None

    def unit(tx: Tx) -> Answer:
        remember_foreign(tx, submission.brought, venue.domain)
        tx.keep(offer.document)
        state = _opened(tx, submission, offer, nodes, draft)
        if venue.domain != nodes["provider_node"]:
            provider = nodes["provider_node"]
            quorums.check_moving(tx, provider, venue.keyring.log_origin(provider), venue.max_unwitnessed_s)
            supporting = [consumer_key.digest, *quorums.cards_to_send(tx, venue, nodes["provider_node"])]
            tx.send(nodes["provider_node"], submission.document, supporting=supporting, object=state.id)
        elif draft is not None:
            state = _drafted(tx, venue, state, offer, draft)
        return Answer.of(state, *([draft.digest] if draft else []))

    return unit


def _nodes(venue: Venue, offer: Offer, consumer: str) -> dict[str, str]:
    nodes = {"provider_node": domain_of(offer.provider), "consumer_node": domain_of(consumer)}
    if venue.domain not in nodes.values():
        raise error("IDENTITY_WRONG_DOMAIN", "this negotiation is between two other venues")
    _check_levels(venue, nodes.values())
    venue.check_in_force(*nodes.values())
    return nodes


def _check_levels(venue: Venue, domains: Iterable[str]) -> None:
    """Whatever its own node says: nobody contracts with a party of a national venue (vocabulary 14, 34)."""
    for domain in domains:
        card = venue.keyring.cards.get(domain)
        if card is not None and card.value.level == "NATIONAL":
            raise error("NATIONAL_NODE_CANNOT_TRADE", f"{domain} is a national node: it supervises and does not trade")


async def _offer(submission: Submission[NegotiationMessage]) -> Verified[Offer]:
    document = await submission.find(submission.value.offer_sha256, "offer")
    offer = verify(document, Offer, submission.keys, None)
    if offer.value.valid_until < submission.venue.clock.now():
        raise error("NOT_LISTED", f"offer {offer.value.name} ended at {offer.value.valid_until}")
    return offer


async def _key(submission: Submission[Any], participant: str) -> Verified[ParticipantKey]:
    """The key document of a participant: known here, or brought along."""
    for key in submission.brought:
        if key.value.participant == participant:
            return key
    known = submission.venue.keyring.key_documents.get(participant)
    if known is None:
        raise error("IDENTITY_UNKNOWN", f"no key document of {participant} came along")
    return known


def _check_consumer(venue: Venue, sender: Sender, key: Verified[ParticipantKey]) -> None:
    value = key.value
    if sender.kind == "PEER" and value.iss != sender.domain:
        raise error("IDENTITY_WRONG_DOMAIN", "a venue hands over messages of its own participants")
    if not {"CONSUMER", "MERCHANT", "SERVICE_PARTY"} & set(value.roles):
        raise error("ROLE_NOT_ALLOWED", f"{value.participant.rpartition('/')[2]} is not enrolled as CONSUMER")
    venue.check_may_trade(value.subject)


def _check_may_buy(key: ParticipantKey, offer: Offer) -> None:
    if key.participant == offer.provider:
        raise error("ROLE_NOT_ALLOWED", "nobody contracts with themselves")


def _opened(
    tx: Tx, submission: Submission[NegotiationMessage], offer: Verified[Offer], nodes: Mapping[str, Any],
    draft: Document | None,
) -> NegotiationState:  # fmt: skip
    value = submission.value
    known = tx.get(NegotiationState, value.negotiation)
    entry = catalog.entry_of(tx, offer.value.product)
    facts = NegotiationFacts(
        listing_open=bool(entry and entry.state == "LISTED" and offer.digest in entry.offers),
        signed=True,
        words_known=True,
        next_version=_follows(known, value),
    )
    return fire(
        tx, NEGOTIATION, known or NegotiationState(id=value.negotiation), "request", "C", facts, by=value.iss,
        documents=(submission.digest, offer.digest), document=submission.digest, product=offer.value.product,
        listing=value.listing, offer=offer.digest, offer_name=offer.value.name, provider=offer.value.provider,
        consumer=value.iss, purpose=value.purpose, number=value.number, proposed_by="C", waits_for=offer.value.provider,
        lapses_at=_lapse(tx, value.negotiation), agreement=draft.digest if draft else "", **nodes,
    )  # fmt: skip


def _follows(known: NegotiationState | None, value: NegotiationMessage) -> bool:
    if known is None:
        return value.number == 1 and not value.previous
    return value.number == known.number + 1 and value.previous == known.document


def _lapse(tx: Tx, negotiation: str, seconds: float = NEGOTIATION_TERM_S) -> str:
    at = clock.shift(tx.now, seconds)
    tx.at(at, "negotiation", negotiation, "time_out")
    return at


# --- the agreement --------------------------------------------------------------------------------------------------


async def _draft(
    submission: Submission[NegotiationMessage], offer: Verified[Offer], consumer: Verified[ParticipantKey]
) -> Document:
    """The agreement that this request would become: signed by us under a mandate, else waiting for the provider."""
    venue, value = submission.venue, submission.value
    provider = await _key(submission, offer.value.provider)
    product, registration = await _registered(venue, offer.value.product)
    catalog.check_terms(offer.value, registration)
    policy = odrl.agreement(
        offer.value.policy, target=offer.value.product, assigner=offer.value.provider, assignee=value.iss
    )
    witnesses = await quorums.draft(venue, consumer.value.iss, submission.supporting.values())
    start = venue.clock.now()
    automatic = offer.value.approval == "automatic" and offer.value.mandate is not None
    statement = Agreement(
        contract_id=venue.new_contract_id(),
        negotiation=value.negotiation,
        offer_sha256=offer.digest,
        provider=_party(venue, provider),
        consumer=_party(venue, consumer),
        listing_venue=venue.domain,
        provider_node=venue.domain,
        consumer_node=consumer.value.iss,
        cards=_cards(venue, consumer.value.iss),
        sign_mode="01",
        mandate=offer.digest if automatic else None,
        product=offer.value.product,
        product_id=product.product_id,
        product_version=offer.value.product_version,
        right_granted="USE",
        policy=policy,
        purpose=value.purpose,
        price=offer.value.price,
        start=start,
        end=_end(venue, policy, start),
        sign_by=clock.shift(start, SIGN_BY_S if automatic else NEGOTIATION_TERM_S),
        request_proof_min=default_grade(registration.level),
        ack=Ack(),
        witness_policies=witnesses,
        max_unwitnessed_s=venue.max_unwitnessed_s if quorums.asks(witnesses) else 0,
        responsibility=RESPONSIBILITY,
        end_disposition="DESTROY",
        **venue.fields(venue.domain, consumer.value.iss),
    )
    document = venue.sign(statement) if automatic else seal(statement)
    check_equals_offer(statement, offer.value, offer.digest)
    return document


def _party(venue: Venue, key: Verified[ParticipantKey]) -> Party:
    home = key.value.iss
    card = venue.keyring.cards.get(home)
    return Party(
        participant=key.value.participant,
        home=home,
        node=card.value.node_id if card else "",
        subject=key.value.subject,
        key_sha256=key.digest,
    )


def _cards(venue: Venue, other: str) -> tuple[str, ...]:
    held = venue.keyring.cards
    return tuple(held[domain].digest for domain in sorted({venue.domain, other}) if domain in held)


def _end(venue: Venue, policy: odrl.Policy, start: str) -> str:
    """When the policy ends what it permits; bounded where it names no end."""
    last = clock.shift(start, DEFAULT_TERM_DAYS * 86400)
    ends: datetime | None = venue.policies.load(policy).expires(clock.moment(start))
    return min(clock.text(ends), last) if ends else last


async def _registered(venue: Venue, handle: str) -> tuple[ProductState, Registration]:
    """A product of ours and its registration in force.

    Raises:
        TrustnodeError: NOT_REGISTERED.
    """

    def query(view: View) -> tuple[ProductState | None, Document | None]:
        return view.get(ProductState, handle), catalog.registration_document(view, handle)

    product, document = await venue.store.read(query)
    if product is None or document is None:
        raise error("NOT_REGISTERED", f"{handle} is not registered here", product=handle)
    return product, decode(document, Registration)


def _drafted(
    tx: Tx, venue: Venue, state: NegotiationState, offer: Verified[Offer], draft: Document
) -> NegotiationState:
    """At the provider's node: conclude under the mandate, or leave the draft for the provider."""
    tx.keep(draft)
    value = decode(draft, Agreement)
    quorums.check_sealed(tx, venue.domain, value.witness_policies, venue.max_unwitnessed_s)
    if value.mandate is None:
        return state
    concluded = tx.count(AgreementState, product=value.product, offer_name=offer.value.name)
    check_mandate(value, offer.value, tx.now, concluded)
    return _agree(tx, venue, state, draft, value, by=venue.domain)


def _agree(
    tx: Tx, venue: Venue, state: NegotiationState, document: Document, value: Agreement, *, by: str, approval: str = ""
) -> NegotiationState:
    """AGREED: the provider's side has signed, the venue has approved where it must; the consumer's node learns of it.

    Args:
        approval: Digest of the venue's act of approval, where there is one.
    """
    facts = NegotiationFacts(
        provider_signed=True, offer_unchanged=value.offer_sha256 == state.offer, digest_matches=True,
        conflict=None, right_free=True, gates_passed=True,
    )  # fmt: skip
    documents = (document.digest, approval) if approval else (document.digest,)
    stored = fire(
        tx, NEGOTIATION, state, "agree", "P", facts, by=by, documents=documents, agreement=document.digest,
        waits_for=value.consumer.participant, lapses_at=_lapse(tx, state.id),
    )  # fmt: skip
    if value.consumer_node != venue.domain and value.provider_node == venue.domain:
        supporting = [value.provider.key_sha256] if tx.document(value.provider.key_sha256) else []
        tx.send(value.consumer_node, document, supporting=supporting, object=state.id)
    return stored


def _required_so_far(value: Agreement, document: Document) -> tuple[Required, ...]:
    """The provider's side signs first; once the consumer's signature is there, it counts too."""
    return value.required() if len(document.signatures) > 1 else (value.provider_signer(),)


@handles(Agreement, "CLIENT", "OPERATOR", "PEER", required=_required_so_far)
async def sign(submission: Submission[Agreement]) -> Unit:
    """The agreement itself, with one signature (AGREED) or both (VERIFIED, and in force at the provider's node)."""
    venue, value = submission.venue, submission.value
    _check_handed_over(venue, submission.sender, value)
    offer = verify(await submission.find(value.offer_sha256, "offer"), Offer, submission.keys, None)
    check_equals_offer(value, offer.value, offer.digest)
    venue.policies.load(value.policy)
    if submission.sender.kind == "PEER" and value.consumer_node == venue.domain:
        quorums.check_policies(venue, value)
    both = _has_both(submission)
    finalized = _final_message(venue, value, offer.digest) if both and value.provider_node == venue.domain else None

    def unit(tx: Tx) -> Answer:
        remember_foreign(tx, submission.brought, venue.domain)
        state = tx.get(NegotiationState, value.negotiation)
        if state is None or value.consumer.participant != state.consumer:
            raise error("NOT_FOUND", "no such negotiation")
        if state.state in ("REQUESTED", "ACCEPTED"):
            if _venue_approves(venue, offer.value) and state.provider_node == venue.domain:
                return Answer.of(_before_the_venue(tx, venue, state, submission.document, value))
            state = _agree(tx, venue, state, submission.document, value, by=value.provider.participant)
        if not both or state.state == "FINALIZED":
            return Answer.of(state)
        state = _verified(tx, venue, state, submission.document, value)
        if finalized is not None:
            return Answer.of(_in_force(tx, venue, state, submission.document, value, finalized))
        return Answer.of(state)

    return unit


def _venue_approves(venue: Venue, offer: Offer) -> bool:
    return offer.approval == "provider and venue" and offer.provider.startswith(f"spiffe://{venue.domain}/")


def _before_the_venue(
    tx: Tx, venue: Venue, state: NegotiationState, document: Document, value: Agreement
) -> NegotiationState:
    """The provider has signed; the agreement lies before our operator until ``approve``."""
    if value.provider.participant != state.provider or value.offer_sha256 != state.offer:
        raise error("HASH_MISMATCH", "the agreement differs from the offer on the table")
    tx.keep(document)
    stored = tx.save(msgspec.structs.replace(state, agreement=document.digest, waits_for=venue.domain))
    tx.log(
        "negotiation", state.id, "contract.agree", actor=pseudonym(value.provider.participant),
        documents=(document.digest,), from_state=state.state, to_state=state.state,
    )  # fmt: skip
    return stored


async def prepare_negotiation_act(submission: Submission[Act]) -> Unit:
    """``approve`` by the operator of the provider's venue: the second yes that the level or the offer asks for."""
    venue, value = submission.venue, submission.value
    if submission.sender.kind != "OPERATOR" or value.event != "approve":
        raise error("ROLE_NOT_ALLOWED", "a negotiation is moved by its messages; the venue only approves")

    def unit(tx: Tx) -> Answer:
        state = tx.get(NegotiationState, value.object)
        if state is None:
            raise error("NOT_FOUND", "no such negotiation")
        document = tx.document(state.agreement) if state.waits_for == venue.domain else None
        if document is None or state.provider_node != venue.domain:
            raise error("ILLEGAL_TRANSITION", "no agreement waits for the approval of this venue", state=state.state)
        agreement = decode(document, Agreement)
        return Answer.of(_agree(tx, venue, state, document, agreement, by=venue.domain, approval=submission.digest))

    return unit


def _check_handed_over(venue: Venue, sender: Sender, value: Agreement) -> None:
    parties = {value.consumer.participant, value.provider.participant}
    nodes = {value.consumer_node, value.provider_node}
    if sender.kind == "CLIENT" and sender.participant not in parties:
        raise error("NOT_FOUND", "no such negotiation")
    if sender.kind == "PEER" and sender.domain not in nodes:
        raise error("NOT_FOUND", "no such negotiation")
    if venue.domain not in nodes:
        raise error("IDENTITY_WRONG_DOMAIN", "this agreement is between two other venues")
    venue.check_may_trade()


def _has_both(submission: Submission[Agreement]) -> bool:
    document, consumer = submission.document, submission.value.consumer.participant
    message = pae(document.payload_type, document.payload)
    return any(has_signature(document, message, key.raw) for key in submission.keys(consumer, "participant"))


def _verified(tx: Tx, venue: Venue, state: NegotiationState, document: Document, value: Agreement) -> NegotiationState:
    """VERIFIED: the consumer signed the same bytes; the provider's node is told."""
    facts = NegotiationFacts(
        consumer_signed=True, provider_signed=True, digest_matches=state.agreement == document.digest
    )
    stored = fire(
        tx, NEGOTIATION, state, "verify", "C", facts, by=value.consumer.participant, documents=(document.digest,),
        waits_for=value.provider_node, lapses_at=_lapse(tx, state.id, SIGN_BY_S),
    )  # fmt: skip
    if value.provider_node != venue.domain:
        tx.send(value.provider_node, document, object=state.id)
    return stored


def _final_message(venue: Venue, value: Agreement, offer: str) -> Document:
    """FINALIZED, signed before the unit; it leaves this node only if the unit stands."""
    return venue.sign(
        NegotiationMessage(
            negotiation=value.negotiation,
            number=10_000,
            message="ContractNegotiationEventMessage:FINALIZED",
            offer_sha256=offer,
            counterpart=value.consumer.participant,
            agreement_sha256=None,
            **venue.fields(value.provider_node, value.consumer_node),
        )
    )


def _in_force(
    tx: Tx, venue: Venue, state: NegotiationState, document: Document, value: Agreement,
    message: Document,
) -> NegotiationState:  # fmt: skip
    """FINALIZED at the provider's node: the agreement performs, its grant is active, the other side is told."""
    stored = _finalize(tx, state, document, value, by=venue.domain)
    sealing.watch(tx, value, venue.domain)
    if value.consumer_node != venue.domain:
        tx.send(value.consumer_node, message, object=state.id)
    return stored


def _finalize(tx: Tx, state: NegotiationState, document: Document, value: Agreement, *, by: str) -> NegotiationState:
    facts = NegotiationFacts(consumer_signed=True, provider_signed=True, in_time=tx.now <= value.sign_by)
    before = tx.chain("negotiation", state.id)
    # One event, one entry: `contract.sign` opens the agreement's chain and names where the negotiation's chain ended.
    stored = fire(
        tx, NEGOTIATION, state, "finalize", "P", facts, by=by, documents=(document.digest,), quiet=True, waits_for="",
        lapses_at="",
    )  # fmt: skip
    tx.forget_timer("negotiation", state.id, "time_out")
    agreement = fire(
        tx, AGREEMENT, _new_agreement(state, document, value), "finalized", "K", AgreementFacts(finalized=True), by=by,
        documents=(document.digest,),
        entry={
            "contract_id": value.contract_id, "previous_object": state.id, "previous_link": before.link.hex(),
        },
    )  # fmt: skip
    tx.at(value.end, "agreement", agreement.id, "end_term")
    activate(tx, agreement, value)
    return stored


def _new_agreement(state: NegotiationState, document: Document, value: Agreement) -> AgreementState:
    return AgreementState(
        id=value.contract_id,
        document=document.digest,
        negotiation=state.id,
        product=value.product,
        product_id=value.product_id,
        provider=value.provider.participant,
        consumer=value.consumer.participant,
        provider_node=value.provider_node,
        consumer_node=value.consumer_node,
        offer_name=state.offer_name,
        purpose=value.purpose,
        start=value.start,
        end=value.end,
        policy=odrl.digest(value.policy),
    )


async def _finalized(submission: Submission[NegotiationMessage]) -> Unit:
    """The provider's node says that the agreement is in force."""
    value, sender = submission.value, submission.sender

    def unit(tx: Tx) -> Answer:
        state = tx.get(NegotiationState, value.negotiation)
        document = tx.document(state.agreement) if state and state.agreement else None
        if state is None or document is None or value.iss != state.provider_node or sender.domain != value.iss:
            raise error("NOT_FOUND", "no such negotiation")
        if state.state == "FINALIZED":
            return Answer.of(state)
        return Answer.of(_finalize(tx, state, document, decode(document, Agreement), by=value.iss))

    return unit


# --- counter-offers and withdrawal ----------------------------------------------------------------------------------


async def _counter(submission: Submission[NegotiationMessage]) -> Unit:
    """The provider answers with another offer."""
    venue, value = submission.venue, submission.value
    offer = await _offer(submission)
    venue.policies.load(offer.value.policy)

    def unit(tx: Tx) -> Answer:
        state = _held(tx, submission, "P")
        tx.keep(offer.document)
        facts = NegotiationFacts(next_version=_follows(state, value))
        stored = fire(
            tx, NEGOTIATION, state, "offer", "P", facts, by=value.iss, documents=(submission.digest, offer.digest),
            document=submission.digest, offer=offer.digest, offer_name=offer.value.name, number=value.number,
            proposed_by="P", agreement="", waits_for=state.consumer, lapses_at=_lapse(tx, state.id),
        )  # fmt: skip
        _forward(tx, venue, stored, submission, stored.consumer_node, [offer.digest])
        return Answer.of(stored)

    return unit


async def _accept(submission: Submission[NegotiationMessage]) -> Unit:
    """The consumer accepts the counter-offer; under a mandate the provider's node concludes at once."""
    venue, value = submission.venue, submission.value
    offer = await _offer(submission)
    venue.policies.load(offer.value.policy).check_purpose(value.purpose)
    key = await _key(submission, value.iss)
    at_provider = venue.domain == domain_of(offer.value.provider)
    draft = await _draft(submission, offer, key) if at_provider else None

    def unit(tx: Tx) -> Answer:
        state = _held(tx, submission, "C")
        facts = NegotiationFacts(own_offer=state.proposed_by == "C", digest_matches=value.offer_sha256 == state.offer)
        stored = fire(
            tx, NEGOTIATION, state, "accept", "C", facts, by=value.iss, documents=(submission.digest,),
            document=submission.digest, number=value.number, waits_for=state.provider, lapses_at=_lapse(tx, state.id),
            agreement=draft.digest if draft else "",
        )  # fmt: skip
        known = quorums.cards_to_send(tx, venue, stored.provider_node)
        _forward(tx, venue, stored, submission, stored.provider_node, known)
        if draft is not None:
            stored = _drafted(tx, venue, stored, offer, draft)
        return Answer.of(stored)

    return unit


async def _terminate(submission: Submission[NegotiationMessage]) -> Unit:
    """Either party withdraws."""
    venue, value = submission.venue, submission.value

    def unit(tx: Tx) -> Answer:
        state = tx.get(NegotiationState, value.negotiation)
        actor = {state.consumer: "C", state.provider: "P"}.get(value.iss, "") if state else ""
        if state is None or not actor:
            raise error("NOT_FOUND", "no such negotiation")
        stored = fire(
            tx, NEGOTIATION, state, "terminate", actor, NegotiationFacts(), by=value.iss,
            documents=(submission.digest,), document=submission.digest, waits_for="", lapses_at="",
        )  # fmt: skip
        tx.forget_timer("negotiation", state.id, "time_out")
        other = stored.provider_node if venue.domain == stored.consumer_node else stored.consumer_node
        _forward(tx, venue, stored, submission, other, [])
        return Answer.of(stored)

    return unit


def _held(tx: Tx, submission: Submission[NegotiationMessage], actor: str) -> NegotiationState:
    state = tx.get(NegotiationState, submission.value.negotiation)
    who = (state.consumer if actor == "C" else state.provider) if state else ""
    if state is None or who != submission.value.iss:
        raise error("NOT_FOUND", "no such negotiation")
    return state


def _forward(
    tx: Tx, venue: Venue, state: NegotiationState, submission: Submission[NegotiationMessage], to: str,
    supporting: Sequence[str],
) -> None:  # fmt: skip
    """Hand a message on to the other node, unless it came from there."""
    if to != venue.domain and submission.sender.kind != "PEER":
        tx.send(to, submission.document, supporting=supporting, object=state.id)


_STEPS: Final = {
    "request": _request,
    "offer": _counter,
    "accept": _accept,
    "finalize": _finalized,
    "terminate": _terminate,
}
