"""Checks 1 and 2: the file names what it holds, and the keys in it chain to what the reader trusts.

Decides: names of documents, the succession of cards, key documents, notices that end keys, anchors and who is vouched
for. Leaves to others: what was signed with those keys.
"""

from __future__ import annotations

from collections.abc import Mapping

from trustnode.core.document import Document, Verified, decode
from trustnode.core.evidence.checks.case import Case
from trustnode.core.identity import Card, check_card, check_follows, fingerprint
from trustnode.core.participant import ParticipantKey, domain_of
from trustnode.core.peering import PeerAgreement, Status
from trustnode.errors import error


def check_form(case: Case) -> str:
    """1. Each document's name is the digest of its payload; each venue of the agreement has its part."""
    contents = case.contents
    case.deal = contents.value()
    for digest, document in contents.documents.items():
        if document.digest != digest:
            case.find("INVALID", f"documents/{digest[:12]} is not the document of that name")
    if contents.maker not in contents.nodes:
        case.find("INVALID", f"{contents.maker[:80]} put the file together and is no node of this agreement")
    for domain in contents.nodes:
        if domain not in contents.parts:
            case.find("INCOMPLETE", f"what the log of {domain} says is not in the file")
    for domain in contents.parts:
        if domain not in contents.nodes:
            case.find("INVALID", f"{domain} is no node of this agreement")
    return f"{len(contents.documents)} documents, parts of {', '.join(sorted(contents.parts)) or 'nobody'}"


def check_cards(case: Case) -> str:
    """2. Cards follow each other up to the anchored version; key documents and notices are of who they say."""
    for domain, versions in sorted(_all_cards(case).items()):
        case.cards[domain] = _succession(domain, versions)
    for cards in case.cards.values():
        for card in cards:
            case.book.add_card(card.value, card.digest)
    _check_signers(case)
    _take_participants(case)
    _take_notices(case)
    _anchor(case)
    _vouch(case)
    _demand_anchors(case)
    return ", ".join(f"{domain} card {cards[-1].value.version}" for domain, cards in case.cards.items())


def _all_cards(case: Case) -> dict[str, Mapping[int, Document]]:
    """Cards of the bundle; a trusted card that is not there is added where its domain has none."""
    found = dict(case.contents.cards)
    for domain, card in case.trusted.items():
        found.setdefault(domain, {decode(card, Card).version: card})
    return found


def _succession(domain: str, versions: Mapping[int, Document]) -> list[Verified[Card]]:
    """All versions of one domain's card, oldest first, each following the one before."""
    chain: list[Verified[Card]] = []
    for number in sorted(versions):
        card = check_card(versions[number], None)
        if card.value.trust_domain != domain or card.value.version != number:
            raise error("VERIFICATION_FAILED", f"cards/{domain}/{number} is another card")
        if chain:
            check_follows(card, chain[-1])
        chain.append(card)
    return chain


def _check_signers(case: Case) -> None:
    for cards in case.cards.values():
        for card in cards:
            for one in card.document.signatures:
                if not case.book.made(card.document, one.keyid, one.sig):
                    message = f"a card of {card.value.trust_domain} carries a signature that no known key made"
                    raise error("SIGNATURE_INVALID", message)


def _take_participants(case: Case) -> None:
    """Key documents: of the issuer's own domain, signed by it and by the key itself."""
    found = [(document, decode(document, ParticipantKey)) for _, document in case.of_type(ParticipantKey)]
    for document, value in sorted(found, key=lambda one: one[1].time):
        if domain_of(value.participant) != value.iss:
            raise error("IDENTITY_WRONG_DOMAIN", f"{value.iss} speaks for {value.participant}")
        case.book.add_participant(value, document.digest)
    for document, value in found:
        case.check(document, ParticipantKey)
        if value.custody == "CUSTODY":
            case.custody.add(value.participant)


def _take_notices(case: Case) -> None:
    """Notices of a venue about keys that it vouches for end those keys; of other venues' keys it has nothing to say."""
    for part in case.contents.parts.values():
        for document in part.status:
            verified = case.try_check(document, Status)
            if verified is None:
                continue
            for event in verified.value.events:
                if event.kind == "KEY_REVOKED":
                    case.book.revoke(verified.value.iss, event.subject, event.invalid_from or event.effective)


def _anchor(case: Case) -> None:
    for domain, wanted in case.anchors.items():
        cards = case.cards.get(domain, [])
        if any(fingerprint(card.document) == wanted for card in cards):
            case.anchored[domain] = wanted
        elif cards:
            case.find("UNANCHORED", f"no card of {domain} here has the fingerprint {wanted}")


def _vouch(case: Case) -> None:
    """A trusted venue vouches for those whose card it names in a peer agreement as their parent (2.5)."""
    for _, document in case.of_type(PeerAgreement):
        value = decode(document, PeerAgreement)
        if value.parent not in case.trusted or value.parent not in case.anchored:
            continue
        if case.try_check(document, PeerAgreement) is None or not _is_word_of(case, document, value.parent):
            continue
        for domain, digest in zip(value.parties, value.cards, strict=True):
            known = {card.digest for card in case.cards.get(domain, [])}
            if domain != value.parent and digest in known and domain not in case.anchored:
                case.vouched[domain] = value.parent


def _is_word_of(case: Case, document: Document, parent: str) -> bool:
    """Nothing seals a peer agreement: a thief of a parent's old key would vouch for anybody, at any time."""
    own = {key.kid for key in case.book(parent, "evidence")}
    return any(
        not case.was_taken_back(parent, "evidence", one.keyid) for one in document.signatures if one.keyid in own
    )


def _demand_anchors(case: Case) -> None:
    for domain in case.contents.nodes:
        if domain not in case.cards:
            case.find("INCOMPLETE", f"no card of {domain} is in the file")
        elif not case.is_anchored(domain):
            case.find("UNANCHORED", f"no anchor for {domain}")


def trusted_cards(cards: tuple[Document, ...]) -> tuple[dict[str, Document], dict[str, str]]:
    """Cards that the reader holds, by domain, and their fingerprints.

    Raises:
        TrustnodeError: One of them is no genuine card, or two are of one domain.
    """
    found: dict[str, Document] = {}
    for document in cards:
        domain = check_card(document, None).value.trust_domain
        if found.setdefault(domain, document) != document:
            raise error("USAGE", f"two cards of {domain} cannot both be trusted")
    return found, {domain: fingerprint(document) for domain, document in found.items()}
