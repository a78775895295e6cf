"""Whether our own card is still the newest one: what peers hold of it, compared with ours before anything is signed.

Decides: what counts (a later version signed by our own roots, and nothing else) and that we stop then: a home that was
restored would go on with keys that its peers have replaced, and make a second card of one version. Leaves to others:
asking (``cosigning``), the cards of other venues (``cards``). Source: protocol 2.2 (after a restore).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from trustnode.app.venue import Venue
from trustnode.core.document import Document, Verified
from trustnode.core.identity import Card, proven_later
from trustnode.wire.peer import CheckpointAnswer

SHOWN_AT_ONCE: Final = 16
"""Versions in one answer."""


class Held(NamedTuple):
    """What we hold of another venue's card."""

    version: int = 0
    digest: str = ""
    later: tuple[Document, ...] = ()
    """Versions after the one that its owner named, oldest first."""


class Compared(NamedTuple):
    """What a peer showed of our own card."""

    later: tuple[Verified[Card], ...] = ()
    """Versions after ours that our own roots signed, oldest first."""
    claim: str = ""
    """What it says without proof; empty: nothing."""


def held_of(venue: Venue, domain: str, version: int) -> Held:
    """What we tell a venue of its own card.

    Args:
        venue: The node.
        domain: The venue that asks.
        version: The version that it holds; 0: it asks for none.
    """
    versions = venue.keyring.versions(domain)
    if not versions:
        return Held()
    newest = versions[-1]
    later = [one.document for one in versions if 0 < version < one.value.version]
    return Held(newest.value.version, newest.digest, tuple(later[:SHOWN_AT_ONCE]))


def compare(venue: Venue, peer: str, answer: CheckpointAnswer) -> Compared:
    """Compare what a peer shows as the newest version of our card with the one that we hold."""
    held = venue.keyring.cards.get(venue.domain)
    if held is None or not answer.card_version:
        return Compared()
    later = tuple(proven_later(answer.cards, held))
    if later:
        return Compared(later)
    own, shown = held.value.version, answer.card_version
    if shown > own:
        return Compared(claim=f"{peer} says that it holds version {shown:,} of our card, and shows none that we signed")
    if shown == own and answer.card_sha256 != held.digest:
        return Compared(claim=f"{peer} says that it holds another version {own:,} of our card")
    return Compared()
