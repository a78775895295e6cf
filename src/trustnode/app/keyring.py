"""Which keys speak for whom, as this node knows it now.

Decides: nothing; it holds what cards and key documents vouch for, in memory, so that a signature costs no query.
Leaves to others: which card is accepted (``peering``), which key document is (``participant``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trustnode.core.document import Document, Keys, KeyUse, PublicKey, Required, Verified, decode, verify
from trustnode.core.identity import Card, vouched
from trustnode.core.participant import ParticipantKey, domain_of
from trustnode.errors import TrustnodeError, error


class KeyRing:
    """Keys by owner and use. Calling it looks keys up, so it serves as ``Keys``."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, str], tuple[PublicKey, ...]] = {}
        self.cards: dict[str, Verified[Card]] = {}
        """The card accepted for each domain, our own included."""
        self.key_documents: dict[str, Verified[ParticipantKey]] = {}
        """The newest key document of each participant."""

    def __call__(self, owner: str, use: KeyUse) -> Sequence[PublicKey]:
        """Keys that somebody we trust vouches for."""
        return self._keys.get((owner, use), ())

    def add_card(self, card: Verified[Card]) -> None:
        """Let a card speak for its domain, in place of the one before."""
        domain = card.value.trust_domain
        self.forget_domain(domain)
        self.cards[domain] = card
        self._keys.update({(domain, use): keys for use, keys in vouched(card.value).items()})

    def forget_domain(self, domain: str) -> None:
        """Trust nothing more that a domain says."""
        self.cards.pop(domain, None)
        self._keys = {key: value for key, value in self._keys.items() if key[0] != domain}

    def add_participant(self, key: Verified[ParticipantKey]) -> None:
        """Let a key document speak for its participant; older keys keep their time."""
        value = key.value
        known = PublicKey(bytes.fromhex(value.public), value.not_before, value.not_after)
        others = tuple(k for k in self(value.participant, "participant") if k.raw != known.raw)
        self._keys[(value.participant, "participant")] = (known, *others)
        self.key_documents[value.participant] = key

    def revoke(self, owner: str, kid: str, invalid_from: str) -> None:
        """End one key from a time on."""
        found = self._keys.get((owner, "participant"), ())
        self._keys[(owner, "participant")] = tuple(
            key._replace(revoked_from=invalid_from) if key.kid == kid else key for key in found
        )

    def owner_of(self, raw_hex: str) -> str:
        """Who already uses this raw key; empty: nobody."""
        raw = bytes.fromhex(raw_hex)
        return next((owner for (owner, _), keys in self._keys.items() if any(k.raw == raw for k in keys)), "")

    def with_documents(self, documents: Iterable[Document], now: str) -> tuple[Keys, list[Verified[ParticipantKey]]]:
        """Look keys up here and in key documents that came along, each checked against its venue's card.

        Returns:
            The lookup, and the key documents that were new and verified.
        """
        brought: dict[str, Verified[ParticipantKey]] = {}
        for document in documents:
            if document.name == "participant-key":
                checked = self.check_participant_key(document, now)
                brought[checked.value.participant] = checked

        def keys(owner: str, use: KeyUse) -> Sequence[PublicKey]:
            known = self(owner, use)
            if use != "participant" or owner not in brought:
                return known
            value = brought[owner].value
            added = PublicKey(bytes.fromhex(value.public), value.not_before, value.not_after)
            return known if any(k.raw == added.raw for k in known) else (*known, added)

        return keys, [v for v in brought.values() if self._is_new(v)]

    def _is_new(self, key: Verified[ParticipantKey]) -> bool:
        known = self.key_documents.get(key.value.participant)
        return known is None or known.digest != key.digest

    def check_participant_key(self, document: Document, now: str | None) -> Verified[ParticipantKey]:
        """Verify a key document: signed by the venue of its domain and by the key itself.

        Raises:
            TrustnodeError: As ``document.verify``; IDENTITY_WRONG_DOMAIN.
        """
        value = decode(document, ParticipantKey)
        if domain_of(value.participant) != value.iss:
            raise error("IDENTITY_WRONG_DOMAIN", f"{value.iss} may not speak for {value.participant}")
        own = PublicKey(bytes.fromhex(value.public), value.not_before, value.not_after)

        def keys(owner: str, use: KeyUse) -> Sequence[PublicKey]:
            return (own,) if use == "participant" and owner == value.participant else self(owner, use)

        wanted = (Required(value.iss, "evidence"), Required(value.participant, "participant"))
        return verify(document, ParticipantKey, keys, now, required=wanted)

    def try_participant_key(self, document: Document) -> Verified[ParticipantKey] | None:
        """As ``check_participant_key`` without a clock; None where it does not verify (a card was replaced)."""
        try:
            return self.check_participant_key(document, None)
        except TrustnodeError:
            return None
