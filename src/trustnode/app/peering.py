"""Peerings: cards, applications, confirmations, suspensions, and the notices that travel between venues.

Decides: what each step looks at and what a peer may say. Leaves to others: the card's own rules (``core.identity``),
channels (``wire``), the feeds' transport (``follower``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from trustnode.app import participant, revocation
from trustnode.app.cards import check_new_card, send_cards_since
from trustnode.app.catalog import mirror_to_peer
from trustnode.app.product import product_status
from trustnode.app.submission import Answer, Submission, Unit, handles
from trustnode.app.transition import fire
from trustnode.app.venue import Venue
from trustnode.core.contract import Act
from trustnode.core.document import Document, Verified, cosign, decode, is_signature, pae
from trustnode.core.identity import Card, check_fingerprint, fingerprint
from trustnode.core.peering import (
    DEFAULT_SCOPES,
    PEERING,
    PeerAgreement,
    PeeringFacts,
    PeeringState,
    Relation,
    Status,
    StatusEvent,
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
    named = dict(zip(value.parties, value.cards, strict=True))
    ours = {one.digest for one in venue.keyring.versions(venue.domain)}
    if named.get(card.value.trust_domain) != card.digest or named.get(venue.domain) not in ours:
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
        send_cards_since(tx, venue, stored)
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
        send_cards_since(tx, submission.venue, stored)
        mirror_to_peer(tx, stored)
        return Answer.of(stored)

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


@handles(Status, "PEER", "OPERATOR", "SELF")
async def follow_status(submission: Submission[Status]) -> Unit:
    """A venue's notice: another one's, from itself or passed on by a peer, or our own of keys that no longer count.

    Each event is an entry here too.

    Raises:
        TrustnodeError: ROLE_NOT_ALLOWED where our own notice speaks of what other steps announce.
    """
    venue, value = submission.venue, submission.value
    own = value.iss == venue.domain
    handlers = OWN_EVENTS if own else FOREIGN_EVENTS
    unknown = sorted({event.kind for event in value.events} - set(handlers))
    if own and unknown:
        raise error("ROLE_NOT_ALLOWED", f"{unknown[0]} is announced by the step that changes it", field="kind")

    def unit(tx: Tx) -> Answer:
        tx.log("node", venue.domain, "status.event", documents=(submission.digest,), actor=value.iss[-64:])
        for event in value.events:
            for apply in handlers.get(event.kind, ()):
                apply(tx, event, value.iss, submission.digest)
        if own:
            participant.tell_control(tx, submission.document)
            _hand_over(tx, submission.document)
        return Answer(kind="peering", id=value.iss, state="NOTED")

    return unit


NOTICE_LINES: Final = "notice"
"""Object under which notices of keys that were taken back stand in the outbox."""


def _hand_over(tx: Tx, notice: Document) -> None:
    """By courier too: the lane is followed, but only a delivery is acknowledged, and the operator waits for that."""
    for peering in tx.find(PeeringState, state="APPROVED", limit=10_000):
        tx.send(peering.id, notice, object=NOTICE_LINES)


EventHandler = Callable[[Tx, StatusEvent, str, str], None]


def _revoke_key(tx: Tx, event: StatusEvent, issuer: str, _digest: str) -> None:
    revocation.revoke_key(tx, event, issuer)


def _deny_certificate(tx: Tx, event: StatusEvent, issuer: str, _digest: str) -> None:
    revocation.deny_certificate(tx, event, issuer)


FOREIGN_EVENTS: Final[Mapping[str, tuple[EventHandler, ...]]] = {
    "PARTICIPANT": (participant.apply_status,),
    "PRODUCT": (product_status,),
    "KEY_REVOKED": (_revoke_key,),
    "CERT_DENIED": (_deny_certificate,),
}
"""Kind of event in another venue's notice -> what follows from it here; other kinds are kept as evidence alone."""
OWN_EVENTS: Final[Mapping[str, tuple[EventHandler, ...]]] = {
    "KEY_REVOKED": (_revoke_key, participant.key_taken_back),
    "CERT_DENIED": (_deny_certificate,),
    "PARTICIPANT": (),
}
"""The same for a notice of our own operator; ``PARTICIPANT`` in it tells peers of somebody who has no key now."""
