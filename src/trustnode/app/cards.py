"""Versions of cards: our own, told to every peer, and those of peers, followed by themselves.

Decides: what becomes of a version that comes in, from whom it is taken, what contradicts the one held. Leaves to
others: the card's own rules (``core.identity``), who is a peer (``peering``), when a version is made (``keys``,
``rotation``). Source: protocol 1.3, 2.2.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import msgspec

from trustnode.app.revocation import OWN_CARD
from trustnode.app.submission import Answer, Submission, Unit, handles
from trustnode.app.venue import Venue, log
from trustnode.core.document import Document, Verified, decode
from trustnode.core.identity import (
    Card,
    accept_card,
    accept_versions,
    check_card,
    check_follows,
    in_order,
    is_signed_by,
    log_number,
    vouched,
)
from trustnode.core.peering import PeerAgreement, PeeringState
from trustnode.errors import TrustnodeError, error
from trustnode.store.unit import Tx, View

CARD_LINES: Final = "card"
"""Object under which versions of our own card stand in the outbox: the courier delivers them before all others."""
CONFLICT_PREFIX: Final = "card-conflict/"
"""Settings: a card of a venue that contradicts the one we hold; both are kept."""


def versions_of(view: View, newest: str) -> tuple[Document, ...]:
    """A card and the versions before it that we hold without a gap, oldest first; empty where it is not stored."""
    found: list[Document] = []
    document = view.document(newest) if newest else None
    while document is not None:
        found.append(document)
        previous = decode(document, Card).previous
        document = view.document(previous) if previous else None
    return tuple(reversed(found))


async def check_new_card(venue: Venue, document: Document) -> Verified[Card]:
    """Check the card of another venue against the version we hold and against all others.

    Raises:
        TrustnodeError: As ``accept_card``; IDENTITY_WRONG_DOMAIN for our own card.
    """
    domain = decode(document, Card).trust_domain
    if domain == venue.domain:
        raise error("IDENTITY_WRONG_DOMAIN", "this is our own card")
    held = venue.keyring.cards.get(domain)
    checked = accept_card(document, held, domain, venue.clock.now(), _others(venue, domain))
    _check_keys_are_free(venue, checked)
    return checked


def _others(venue: Venue, domain: str) -> list[Card]:
    return [card.value for name, card in venue.keyring.cards.items() if name != domain]


def _check_keys_are_free(venue: Venue, card: Verified[Card]) -> None:
    """No key of a card was ever somebody else's, or had another use: one key, one owner, one use (protocol 1.1)."""
    for use, keys in vouched(card.value).items():
        for key in keys:
            owner, known = venue.keyring.holder_of(key.raw)
            if owner and (owner, known) != (card.value.trust_domain, use):
                raise error("DUPLICATE", f"a key of this card is already the {known} key of {owner}", field="keys")
            if any(one.raw == key.raw and one.log != key.log for one in venue.keyring(owner, use) if owner):
                raise error(
                    "DUPLICATE", f"a key of this card is already the key of another log of {owner}", field="keys"
                )


def is_history(venue: Venue, document: Document) -> bool:
    """Whether a card is a version that we hold already, the newest or one before it: to hear of it again is no news."""
    domain = decode(document, Card).trust_domain
    return any(document.digest == one.digest for one in venue.keyring.versions(domain))


async def follow_cards(venue: Venue, documents: Sequence[Document]) -> tuple[Verified[Card], ...]:
    """Take in the versions of a peer's card that came while we did not hear it, one by one (protocol 2.2).

    Returns:
        What was new, oldest first.

    Raises:
        TrustnodeError: As ``accept_versions``; NOT_FOUND for a venue that is no peer.
    """
    domain = decode(documents[0], Card).trust_domain
    held = venue.keyring.cards.get(domain)
    if held is None or domain == venue.domain:
        raise error("NOT_FOUND", f"no confirmed card of {domain}: compare its fingerprint with trustnode peer add")
    try:
        found = accept_versions(documents, held, domain, venue.clock.now(), _others(venue, domain))
        for card in found:
            _check_keys_are_free(venue, card)
    except TrustnodeError as refusal:
        await keep_conflict(venue, in_order(documents)[-1], refusal)
        raise
    for card in found:
        _say_closed(venue, card)
        await venue.store.write(_amended(card), event_id="", returns=Answer)
        venue.keyring.add_card(card)
    if found:
        venue.on_trust_change()
    return tuple(found)


def conflicts(view: View) -> tuple[str, ...]:
    """Venues of which we hold two cards that contradict each other."""
    return tuple(name.removeprefix(CONFLICT_PREFIX) for name in view.settings(CONFLICT_PREFIX))


async def keep_conflict(venue: Venue, document: Document, refusal: TrustnodeError) -> None:
    """Keep a card that contradicts the one we hold, and raise the alarm: two cards are proof against their author.

    Only the roots of a version that we hold are that author; a stranger's card would frame a venue and fill the disk.
    """
    value = decode(document, Card)
    held = venue.keyring.cards.get(value.trust_domain)
    if refusal.reason != "CARD_ROLLBACK" or held is None or is_history(venue, document):
        return
    if not any(is_signed_by(document, one.value.root) for one in venue.keyring.versions(value.trust_domain)):
        return
    note = json.dumps({"held": held.digest, "shown": document.digest, "since": venue.clock.now()}, sort_keys=True)

    def unit(tx: Tx) -> str:
        if tx.setting(CONFLICT_PREFIX + value.trust_domain):
            return value.trust_domain  # one pair convinces, a hundred would only take room
        tx.keep(document)
        tx.set_setting(CONFLICT_PREFIX + value.trust_domain, note)
        return value.trust_domain

    await venue.store.write(unit, event_id="", returns=str)
    venue.on_trust_change()


@handles(Card, "PEER", "OPERATOR", "SELF", checked_by_handler=True)
async def renew_card(submission: Submission[Card]) -> Unit:
    """A newer version of a card we know, signed by the roots of both versions."""
    venue, value = submission.venue, submission.value
    if value.trust_domain == venue.domain:
        return _own_card(venue, submission)
    try:
        card = await check_new_card(venue, submission.document)
    except TrustnodeError as refusal:
        await keep_conflict(venue, submission.document, refusal)
        raise
    _say_closed(venue, card)
    return _amended(card, settles=submission.sender.kind == "OPERATOR")


def _say_closed(venue: Venue, card: Verified[Card]) -> None:
    """Our operator should ask what was lost: bundles of agreements with that venue may miss entries from now on."""
    domain, number = card.value.trust_domain, log_number(card.value)
    if domain in venue.keyring.cards and number > venue.keyring.log_number(domain):
        log.warning("a peer closed its log and opened the next one", peer=domain, log=number, card=card.value.version)


def _amended(card: Verified[Card], *, settles: bool = False) -> Unit:
    """Unit: the peer's card is this version now. An operator who hands one over has looked at a conflict before."""
    value = card.value

    def unit(tx: Tx) -> Answer:
        state = tx.get(PeeringState, value.trust_domain)
        if state is None:
            raise error("NOT_FOUND", f"no peering with {value.trust_domain}")
        if settles:
            tx.set_setting(CONFLICT_PREFIX + value.trust_domain, "")
        if state.card == card.digest or state.card_version > value.version:
            return Answer.of(state)
        tx.keep(card.document)
        kept = msgspec.structs.replace(
            state, card=card.digest, card_version=value.version, address=(value.endpoints or ("",))[0]
        )
        stored = tx.save(kept)
        tx.log("peer", state.id, "peer.amend", documents=(card.digest,), actor=value.trust_domain[-64:])
        return Answer.of(stored)

    return unit


def _own_card(venue: Venue, submission: Submission[Card]) -> Unit:
    """A new version of our own card.

    It is told twice: by courier, whose answer says that the peer has it, and in the lane in which notices signed with
    its keys follow it.
    """
    held = venue.keyring.cards[venue.domain]
    card = check_card(submission.document, None if submission.document.digest == held.digest else venue.clock.now())
    if card.digest != held.digest:
        check_follows(card, held)

    versions = (*(one for one in venue.keyring.versions(venue.domain) if one.digest != card.digest), card)

    def unit(tx: Tx) -> Answer:
        for one in _after_version(versions, tx.setting(OWN_CARD)):
            tx.keep(one.document)
            tx.set_setting(OWN_CARD, one.digest)
            tx.log("node", venue.domain, "identity.update", documents=(one.digest,))
            for peering in tx.find(PeeringState, state=("APPROVED", "SUSPENDED")):
                _send_card(tx, peering.id, one.document)
        return Answer(kind="peering", id=venue.domain, state="OWN", document=card.digest)

    return unit


def _after_version(versions: Sequence[Verified[Card]], digest: str) -> Sequence[Verified[Card]]:
    """The versions after the one with this digest; the newest alone where it is not among them (a first start)."""
    known = next((at for at, one in enumerate(versions) if one.digest == digest), len(versions) - 2)
    return versions[known + 1 :]


def _send_card(tx: Tx, peer: str, card: Document) -> None:
    tx.send(peer, card, object=CARD_LINES)
    tx.tell("CONTROL", peer, [card])


def send_cards_since(tx: Tx, venue: Venue, state: PeeringState) -> None:
    """A peering came into force: the peer gets the versions after the one that its operator compared."""
    agreement = tx.document(state.document)
    named = decode(agreement, PeerAgreement).cards if agreement else ()
    versions = venue.keyring.versions(venue.domain)
    known = next((at for at, one in enumerate(versions) if one.digest in named), len(versions))
    for one in versions[known + 1 :]:
        _send_card(tx, state.id, one.document)
