"""Reaching a venue that does not know our certificates: with the one that its own card file carried for applicants.

It opens ``ApplyPeering`` there and nothing else. Used for a first application, and for a newer card after every
certificate that the peer knew was taken back: the card's roots are what counts.

Decides: when that way is taken. Leaves to others: what the other venue makes of it (``rpc.peer`` there).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from trustnode.app.cards import CARD_LINES
from trustnode.app.venue import Venue, log
from trustnode.core import clock
from trustnode.core.document import Document
from trustnode.core.peering import PeeringState
from trustnode.errors import TrustnodeError
from trustnode.keys import Credential, read_secret
from trustnode.store.unit import View
from trustnode.wire.channel import VenueChannel
from trustnode.wire.peer import EARLIER_CARDS, Peer

APPLY_S: Final = 10.0
LOOK_S: Final = 2.0
PATIENCE_S: Final = 3.0
"""How long the courier gets to deliver a card before the other way is tried."""


def applicant(home: Path, domain: str) -> Credential | None:
    """The certificate that another venue's card file carried for applicants; None where it carried none."""
    chain, key = (home / "keys" / "applicant" / f"{domain}.{kind}" for kind in ("pem", "key"))
    return Credential(read_secret(key), chain.read_bytes()) if chain.exists() and key.exists() else None


async def hand_cards(venue: Venue, home: Path, domain: str, agreement: Document | None) -> None:
    """Hand our card with the versions before it to a venue, and an application where there is one.

    Raises:
        TrustnodeError: As ``Peer.apply``.
    """
    credential, peer = applicant(home, domain), venue.peers.get(domain)
    if credential is None:
        await _hand(venue, peer, agreement)
        return
    channel = VenueChannel(peer.channel.target, credential)
    try:
        await _hand(venue, Peer(channel), agreement)
    finally:
        await channel.aclose()


async def _hand(venue: Venue, peer: Peer, agreement: Document | None) -> None:
    *earlier, own = (card.document for card in venue.keyring.versions(venue.domain))
    await peer.apply(own, agreement, earlier[-EARLIER_CARDS:], timeout_s=APPLY_S)


async def introduce_forever(venue: Venue, home: Path) -> None:
    """Look for peers that the courier cannot give our newest card to, and go the other way."""
    while True:
        await asyncio.sleep(LOOK_S)
        for domain in await venue.store.read(_waiting):
            if applicant(home, domain) is None:
                continue
            try:
                await hand_cards(venue, home, domain, None)
            except (TrustnodeError, OSError) as problem:
                log.info("card not handed over", peer=domain, cause=str(problem))


def _waiting(view: View) -> list[str]:
    """Peers for whom a version of our card has waited too long."""
    before = clock.shift(view.now, -PATIENCE_S)
    peers = view.find(PeeringState, state=("APPROVED", "SUSPENDED"), limit=10_000)
    lines = ((peer.id, view.outbox(peer.id, object=CARD_LINES, limit=1)) for peer in peers)
    return [domain for domain, found in lines if found and found[0].created_at <= before]
