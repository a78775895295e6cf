"""What is remembered between starts about whom we believe: read from the store into the key ring and the roots.

Decides: which cards speak here (ours, and those whose fingerprint our operator compared) and which may only apply.
Leaves to others: accepting a card (``peering``), using the roots (``rpc``, ``wire``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from trustnode.app.cards import conflicts, versions_of
from trustnode.app.participant import DENIED_PREFIX
from trustnode.app.revocation import OWN_CARD, Revoked, denied_serials, revoked_keys
from trustnode.app.venue import Venue
from trustnode.core.document import Document, Verified
from trustnode.core.identity import Bundle, Card, bundle_of, check_card
from trustnode.core.participant import ParticipantState
from trustnode.core.peering import PeeringState
from trustnode.errors import TrustnodeError
from trustnode.store.unit import View

SPEAKING = ("APPLIED", "APPROVED", "SUSPENDED")


class Known(NamedTuple):
    """Everything of other venues that bears on trust."""

    peerings: tuple[PeeringState, ...]
    cards: Mapping[str, tuple[Document, ...]]
    """Versions of each peer's card, oldest first, as far back as they are held."""
    participants: tuple[ParticipantState, ...]
    keys: tuple[Document, ...]
    denied: frozenset[str]
    serials: frozenset[tuple[str, str]]
    """Certificates that are refused: trust domain and serial."""
    revoked: tuple[Revoked, ...]
    own: tuple[Document, ...]
    """Versions of our own card."""
    conflicts: tuple[str, ...]
    """Venues of which two contradicting cards are held."""


def known(view: View) -> Known:
    """Read it in one snapshot."""
    peerings = tuple(view.find(PeeringState, state=SPEAKING, limit=10_000))
    cards = {p.id: found for p in peerings if (found := versions_of(view, p.card))}
    participants = tuple(view.find(ParticipantState, limit=1_000_000))
    keys = tuple(d for p in participants if p.document and (d := view.document(p.document)) is not None)
    denied = frozenset(name.removeprefix(DENIED_PREFIX) for name in view.settings(DENIED_PREFIX))
    return Known(
        peerings, cards, participants, keys, denied, denied_serials(view), revoked_keys(view),
        versions_of(view, view.setting(OWN_CARD)), tuple(sorted(conflicts(view))),
    )  # fmt: skip


def load_keyring(venue: Venue, found: Known) -> None:
    """Let every confirmed card and every stored key document speak."""
    for revoked in found.revoked:
        venue.keyring.revoke(revoked.issuer, revoked.kid, revoked.invalid_from)
    for peering in found.peerings:
        if peering.confirmed and peering.id in found.cards:
            *earlier, newest = (check_card(document, None) for document in found.cards[peering.id])
            venue.keyring.add_card(newest, earlier)
    _load_own(venue, found.own)
    for document in found.keys:
        key = venue.keyring.try_participant_key(document)
        if key is not None:
            venue.keyring.add_participant(key)
    for state in found.participants:
        if state.state == "REVOKED":
            venue.keyring.revoke(state.home, state.kid, state.changed_at)


def _load_own(venue: Venue, versions: tuple[Document, ...]) -> None:
    """The history of our own card: what the home folder has, which may be ahead of the store, and what the store has.

    A folder that was put back from an old copy must not make this node speak by an older card.
    """
    of_home = {card.digest: card for card in venue.keyring.versions(venue.domain)}
    of_store = {document.digest: check_card(document, None) for document in versions}
    *earlier, newest = sorted({**of_store, **of_home}.values(), key=lambda card: card.value.version)
    venue.keyring.add_card(newest, earlier)


def bundles(venue: Venue, found: Known) -> tuple[dict[str, Bundle], frozenset[str]]:
    """Roots by domain, and the domains that may only apply because nobody compared their card yet."""
    now = venue.clock.now()
    unconfirmed: dict[str, Verified[Card]] = {}
    for peering in found.peerings:
        if not peering.confirmed and peering.id in found.cards:
            unconfirmed[peering.id] = check_card(found.cards[peering.id][-1], None)
    cards = {**unconfirmed, **venue.keyring.cards}
    roots = {domain: bundle for domain, card in cards.items() if (bundle := _roots(card, now)) is not None}
    return roots, frozenset(unconfirmed.keys() - venue.keyring.cards.keys())


def _roots(card: Verified[Card], now: str) -> Bundle | None:
    """An expired or broken bundle opens nothing; the others go on."""
    try:
        return bundle_of(card.value, now)
    except TrustnodeError:
        return None
