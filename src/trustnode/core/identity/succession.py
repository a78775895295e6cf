"""Versions of one venue's card over the years: which follows which, and which keys they vouched for at which time.

Decides: how a receiver that was away takes several versions at once, and until when a key counts that a later version
no longer lists. Leaves to others: one card by itself and one step (``card``), revoked keys (the status events).
Sources: protocol 1.3, 1.4, 2.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from trustnode.core.document import Document, KeyUse, PublicKey, Verified, decode
from trustnode.core.identity.card import Card, accept_card, check_card, check_follows, is_signed_by, vouched
from trustnode.errors import TrustnodeError, error


def in_order(documents: Iterable[Document]) -> list[Document]:
    """Card documents by version, each payload once; nothing in them is verified.

    Raises:
        TrustnodeError: As ``document.decode``.
    """
    found = {document.digest: document for document in documents}
    return sorted(found.values(), key=lambda document: decode(document, Card).version)


def accept_versions(
    documents: Iterable[Document],
    stored: Verified[Card] | None,
    trust_domain: str,
    now: str,
    others: Iterable[Card] = (),
) -> list[Verified[Card]]:
    """Take the versions that follow the stored one, each checked against the one before (protocol 2.2, step 3).

    A version between may have ended meanwhile: it is evidence of the succession. Only the last one has to be in force.

    Args:
        documents: Cards of one domain, in any order; those up to the stored version are passed over.
        stored: The version held now; None when there is none: then the last one alone is accepted.
        trust_domain: The domain they were received for.
        now: Instant of the check.
        others: Cards of all other domains, for the uniqueness of keys and roots.

    Returns:
        What is new, oldest first; empty when nothing is.

    Raises:
        TrustnodeError: As ``accept_card``; STALE_VERSION names the first version that is missing.
    """
    ordered = in_order(documents)
    if stored is None:
        return [accept_card(ordered[-1], None, trust_domain, now, others)] if ordered else []
    taken: list[Verified[Card]] = []
    last = stored
    for document in _after(ordered, stored):
        last = _between(document, last, trust_domain)
        taken.append(last)
    if taken:
        taken[-1] = accept_card(taken[-1].document, taken[-2] if taken[1:] else stored, trust_domain, now, others)
    return taken


def proven_later(documents: Iterable[Document], held: Verified[Card]) -> list[Verified[Card]]:
    """Versions of a card after the one held that its own roots signed: proof that the holder once had them.

    Versions between may be missing. What is no card, of another venue, or signed by nobody we know proves nothing and
    is passed over, so that whoever shows it decides nothing.

    Args:
        documents: What was shown, in any order.
        held: The version held.

    Returns:
        What is proven, oldest first.
    """
    found, last = [], held
    for card in sorted(_genuine(documents), key=lambda one: one.value.version):
        is_later = card.value.trust_domain == held.value.trust_domain and card.value.version > last.value.version
        if is_later and is_signed_by(card.document, last.value.root):
            found.append(card)
            last = card
    return found


def _genuine(documents: Iterable[Document]) -> Iterator[Verified[Card]]:
    for document in documents:
        with suppress(TrustnodeError):
            yield check_card(document, None)


def _after(ordered: Sequence[Document], stored: Verified[Card]) -> list[Document]:
    return [document for document in ordered if decode(document, Card).version > stored.value.version]


def _between(document: Document, last: Verified[Card], trust_domain: str) -> Verified[Card]:
    card = check_card(document, None)
    if card.value.trust_domain != trust_domain:
        raise error("IDENTITY_WRONG_DOMAIN", f"the card is of {card.value.trust_domain}, not of {trust_domain}")
    check_follows(card, last)
    return card


def vouched_over(cards: Sequence[Card]) -> dict[KeyUse, tuple[PublicKey, ...]]:
    """The keys that all versions of one card vouched for, by use; those of the newest version first.

    A key that a later version no longer lists counts up to the time of that version: what it signed before stays.

    Args:
        cards: Versions of one domain's card, oldest first, without a gap as far as they are held.
    """
    found: dict[KeyUse, dict[bytes, PublicKey]] = {}
    for at, card in reversed(list(enumerate(cards))):
        ended = cards[at + 1].time if at + 1 < len(cards) else ""
        for use, keys in vouched(card).items():
            known = found.setdefault(use, {})
            for key in keys:
                if key.raw not in known:
                    known[key.raw] = key._replace(not_after=min(key.not_after, ended)) if ended else key
    return {use: tuple(keys.values()) for use, keys in found.items()}
