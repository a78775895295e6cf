"""Peerings: cards, applications, confirmations, suspensions, and the notices that travel between venues.

Decides: what each step looks at and what a peer may say. Leaves to others: the card's own rules (``core.identity``),
channels (``wire``), the feeds' transport (``follower``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from trustnode.app import participant
from trustnode.app.catalog import mirror_to_peer
from trustnode.app.product import product_status
from trustnode.app.submission import Answer, Submission, Unit, handles
from trustnode.app.transition import fire
from trustnode.app.venue import Venue
from trustnode.core.contract import Act
from trustnode.core.document import Document, Verified, cosign, decode, is_signature, pae
from trustnode.core.identity import Card, accept_card, check_card, check_fingerprint, fingerprint
from trustnode.core.peering import (
    DEFAULT_SCOPES,
    PEERING,
    PeerAgreement,
    PeeringFacts,
    PeeringState,
    Relation,
    Status,
)
from trustnode.errors import error
from trustnode.store.unit import Tx, View
from trustnode.vocabulary import NAMES

UNCONFIRMED_PREFIX = "card-unconfirmed/"
"""Settings: digest of a card that was stored without a fingerprint; it opens nothing."""


@dataclass(frozen=True)
class Application:
    """What our operator decided when adding a card."""

    relation: Relation
    fingerprint: str
    scopes: tuple[str, ...] = DEFAULT_SCOPES


async def check_new_card(venue: Venue, document: Document) -> Verified[Card]:
    """Check the card of another venue against the version we hold and against all others.

    Raises:
        TrustnodeError: As ``accept_card``; IDENTITY_WRONG_DOMAIN for our own card.
    """
    domain = decode(document, Card).trust_domain
    if domain == venue.domain:
        raise error("IDENTITY_WRONG_DOMAIN", "this is our own card")
    held = venue.keyring.cards.get(domain)
    others = [card.value for name, card in venue.keyring.cards.items() if name != domain]
    return accept_card(document, held, domain, venue.clock.now(), others)


async def add(venue: Venue, document: Document, application: Application) -> tuple[PeeringState, Document]:
    """Our operator adds a card with the fingerprint that was compared: apply to that venue.

    Returns:
        The peering, and the peer agreement signed by us, to be handed to the other venue (``ApplyPeering``).

    Raises:
        TrustnodeError: FIELD_FORMAT, FINGERPRINT_MISMATCH, and as ``check_new_card``.
    """
    check_fingerprint(document, application.fingerprint)
    card = await check_new_card(venue, document)
    agreement = venue.sign(_agreement(venue, card, application))
    facts = PeeringFacts(identity_verified=True, level_known=card.value.level in NAMES["VenueLevel"])

    def unit(tx: Tx) -> Answer:
        tx.keep(card.document)
        tx.keep(agreement)
        tx.set_setting(UNCONFIRMED_PREFIX + card.value.trust_domain, "")
        stored = fire(
            tx, PEERING, _fresh(tx, card.value.trust_domain), "apply", "V", facts, by=venue.domain,
            documents=(card.digest, agreement.digest), document=agreement.digest, relation=application.relation,
            scopes=tuple(sorted(application.scopes)), applied_by=venue.domain, **_known(card, fingerprint(document)),
        )  # fmt: skip
        return Answer.of(stored)

    await venue.store.write(unit, event_id="", returns=Answer)
    venue.keyring.add_card(card)
    venue.on_trust_change()
    state = await venue.store.read(lambda view: find(view, card.value.trust_domain))
    if state is None:
        raise error("INTERNAL", "the peering was not stored")
    return state, agreement


def _known(card: Verified[Card], compared: str) -> dict[str, Any]:
    return {
        "card": card.digest,
        "card_version": card.value.version,
        "confirmed": compared,
        "address": card.value.endpoints[0] if card.value.endpoints else "",
    }


def _fresh(tx: Tx, domain: str) -> PeeringState:
    """A new peering; a domain whose peering was rejected or ended begins anew under the same name.

    Raises:
        TrustnodeError: DUPLICATE.
    """
    known = tx.get(PeeringState, domain)
    if known is None:
        return PeeringState(id=domain)
    if known.state not in PEERING.terminal:
        raise error("DUPLICATE", f"{domain} is {known.state} already; see: trustnode peer show {domain}")
    tx.set_setting(f"peering-ended/{domain}/{known.version}", known.document)
    return msgspec.structs.replace(known, state="", causes=())


def _agreement(venue: Venue, card: Verified[Card], application: Application) -> PeerAgreement:
    own = venue.keyring.cards[venue.domain]
    digests = {venue.domain: own.digest, card.value.trust_domain: card.digest}
    parties = tuple(sorted(digests))
    parent = {"PARENT": card.value.trust_domain, "CHILD": venue.domain}.get(application.relation, "")
    return PeerAgreement(
        parties=parties,
        cards=tuple(digests[party] for party in parties),
        scopes=tuple(sorted(application.scopes)),
        parent=parent,
        **venue.fields(*parties),
    )


def find(view: View, domain: str) -> PeeringState | None:
    """What we know of a venue."""
    return view.get(PeeringState, domain)


async def receive_application(venue: Venue, caller_domain: str, card_document: Document, agreement: Document) -> Answer:
    """Another venue applies; its card is stored unconfirmed until our operator compares the fingerprint.

    Raises:
        TrustnodeError: As ``check_new_card``; HASH_MISMATCH when the agreement names other cards.
    """
    card = await check_new_card(venue, card_document)
    if caller_domain not in (card.value.trust_domain, venue.domain):
        raise error("IDENTITY_WRONG_DOMAIN", "a venue applies for itself")
    value = _check_agreement(venue, agreement, card)
    if not _signed_by_card(agreement, card):
        raise error("SIGNATURE_INVALID", "the applicant did not sign the peer agreement")
    relation = "PEER" if not value.parent else ("PARENT" if value.parent == card.value.trust_domain else "CHILD")
    facts = PeeringFacts(identity_verified=True, level_known=card.value.level in NAMES["VenueLevel"])

    def unit(tx: Tx) -> Answer:
        known = tx.get(PeeringState, card.value.trust_domain)
        if known and known.state not in PEERING.terminal and known.document == agreement.digest:
            return Answer.of(known)
        tx.keep(card.document)
        tx.keep(agreement)
        stored = fire(
            tx, PEERING, _fresh(tx, card.value.trust_domain), "apply", "N", facts, by=card.value.trust_domain,
            documents=(card.digest, agreement.digest), document=agreement.digest, relation=relation,
            scopes=value.scopes, applied_by=card.value.trust_domain, **_known(card, ""),
        )  # fmt: skip
        return Answer.of(stored)

    return await venue.store.write(unit, event_id="", returns=Answer)


def _check_agreement(venue: Venue, document: Document, card: Verified[Card]) -> PeerAgreement:
    value = decode(document, PeerAgreement)
    own = venue.keyring.cards[venue.domain]
    expected = {venue.domain: own.digest, card.value.trust_domain: card.digest}
    if dict(zip(value.parties, value.cards, strict=True)) != expected:
        raise error("HASH_MISMATCH", "the peer agreement names other cards than the ones compared")
    if unknown := set(value.scopes) - NAMES["PeerScope"]:
        raise error("VOCABULARY_UNKNOWN", f"scope {min(unknown)} is not known", field="scopes")
    return value


def _signed_by_card(document: Document, card: Verified[Card]) -> bool:
    message = pae(document.payload_type, document.payload)
    keys = [bytes.fromhex(k.public) for k in card.value.keys if k.use == "evidence"]
    return any(is_signature(key, one.sig, message) for key in keys for one in document.signatures)


async def confirm(venue: Venue, domain: str, compared: str) -> Answer:
    """Our operator compared the fingerprint of an applicant: sign, approve, and let the other side know.

    Raises:
        TrustnodeError: NOT_FOUND, FINGERPRINT_MISMATCH, ROLE_NOT_ALLOWED.
    """
    held = await venue.store.read(lambda view: _held(view, domain))
    state, card, agreement = held
    check_fingerprint(card, compared)
    verified = await check_new_card(venue, card)
    _check_agreement(venue, agreement, verified)
    signed = cosign(agreement, venue.evidence)

    def unit(tx: Tx) -> Answer:
        current = tx.get(PeeringState, domain) or state
        facts = PeeringFacts(
            identity_verified=True, both_signed=True, fingerprint_compared=True,
            sent_by_applicant=current.applied_by == venue.domain,
        )  # fmt: skip
        tx.keep(signed)
        stored = fire(
            tx, PEERING, current, "confirm", "V", facts, by=venue.domain, documents=(signed.digest, verified.digest),
            confirmed=fingerprint(card), card=verified.digest,
        )  # fmt: skip
        tx.send(domain, signed, object=f"peering/{domain}")
        mirror_to_peer(tx, stored)
        return Answer.of(stored)

    answer = await venue.store.write(unit, event_id="", returns=Answer)
    venue.keyring.add_card(verified)
    venue.on_trust_change()
    return answer


def _held(view: View, domain: str) -> tuple[PeeringState, Document, Document]:
    state = view.get(PeeringState, domain)
    card = view.document(state.card) if state else None
    agreement = view.document(state.document) if state else None
    if state is None or card is None or agreement is None:
        raise error("NOT_FOUND", f"no application of {domain} waits here; see: trustnode inbox")
    return state, card, agreement


@handles(PeerAgreement, "PEER")
async def approve(submission: Submission[PeerAgreement]) -> Unit:
    """The venue we applied to confirms: the agreement now carries both signatures."""
    domain = submission.sender.domain

    def unit(tx: Tx) -> Answer:
        state = tx.get(PeeringState, domain)
        if state is None or state.document != submission.digest:
            raise error("NOT_FOUND", "no application with this peer agreement")
        if state.state == "APPROVED":
            return Answer.of(state)
        facts = PeeringFacts(
            identity_verified=True, both_signed=True, fingerprint_compared=bool(state.confirmed),
            sent_by_applicant=state.applied_by == domain,
        )  # fmt: skip
        stored = fire(
            tx, PEERING, state, "confirm", "N", facts, by=domain, documents=(submission.digest,)
        )  # fmt: skip
        mirror_to_peer(tx, stored)
        return Answer.of(stored)

    return unit


@handles(Card, "PEER", "OPERATOR", "SELF", checked_by_handler=True)
async def renew_card(submission: Submission[Card]) -> Unit:
    """A newer version of a card we know, signed by the roots of both versions."""
    venue, value = submission.venue, submission.value
    if value.trust_domain == venue.domain:
        return _own_card(venue, submission.document)
    card = await check_new_card(venue, submission.document)

    def unit(tx: Tx) -> Answer:
        state = tx.get(PeeringState, value.trust_domain)
        if state is None:
            raise error("NOT_FOUND", f"no peering with {value.trust_domain}")
        if state.card == card.digest:
            return Answer.of(state)
        kept = msgspec.structs.replace(
            state, card=card.digest, card_version=value.version, address=(value.endpoints or ("",))[0]
        )
        stored = tx.save(kept)
        tx.log("peer", state.id, "peer.amend", documents=(card.digest,), actor=value.trust_domain[-64:])
        return Answer.of(stored)

    return unit


def _own_card(venue: Venue, document: Document) -> Unit:
    card = check_card(document, venue.clock.now())

    def unit(tx: Tx) -> Answer:
        if tx.setting("own-card") != card.digest:
            tx.set_setting("own-card", card.digest)
            tx.log("node", venue.domain, "identity.update", documents=(card.digest,))
            for peering in tx.find(PeeringState, state=("APPROVED", "SUSPENDED")):
                tx.send(peering.id, document, object=f"card/{venue.domain}")
        return Answer(kind="peering", id=venue.domain, state="OWN", document=card.digest)

    return unit


async def prepare_act(submission: Submission[Act]) -> Unit:
    """Suspend, resume or end a peering, by our operator or by the other venue."""
    venue, act, sender = submission.venue, submission.value, submission.sender
    own = act.iss == venue.domain
    domain = act.object if own else sender.domain
    if not own and (act.iss != sender.domain or act.object != venue.domain):
        raise error("ROLE_NOT_ALLOWED", "a venue speaks of its own peering with us")

    def unit(tx: Tx) -> Answer:
        state = tx.get(PeeringState, domain)
        if state is None:
            raise error("NOT_FOUND", f"no peering with {domain}")
        facts = PeeringFacts(
            identity_verified=True, reasons_given=bool(act.reason), sent_by_applicant=state.applied_by == act.iss
        )
        stored = fire(
            tx, PEERING, state, act.event, "V" if own else "N", facts, by=act.iss, cause=act.cause,
            documents=(submission.digest,),
        )  # fmt: skip
        if own:
            tx.send(domain, submission.document, object=f"peering/{domain}")
        return Answer.of(stored)

    return unit


@handles(Status, "PEER")
async def follow_status(submission: Submission[Status]) -> Unit:
    """Another venue's notice, from itself or passed on by a peer; each event is an entry here too."""
    venue, value = submission.venue, submission.value
    handlers: Mapping[str, object] = {"PARTICIPANT": participant.apply_status, "PRODUCT": product_status}

    def unit(tx: Tx) -> Answer:
        tx.log("node", venue.domain, "status.event", documents=(submission.digest,), actor=value.iss[-64:])
        for event in value.events:
            handler = handlers.get(event.kind)
            if handler is not None:
                handler(tx, event, value.iss, submission.digest)  # type: ignore[operator]
        return Answer(kind="peering", id=value.iss, state="NOTED")

    return unit
