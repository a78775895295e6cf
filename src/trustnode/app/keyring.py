"""Which keys speak for whom, as this node knows it now.

Decides: nothing; it holds what cards and key documents vouch for, in memory, so that a signature costs no query.
Leaves to others: which card is accepted (``peering``), which key document is (``participant``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from trustnode.core import clock
from trustnode.core.document import Document, Keys, KeyUse, PublicKey, Required, Verified, decode, verify
from trustnode.core.identity import Card, log_number, log_origin, parse_log_origin, vouched_over
from trustnode.core.participant import ParticipantKey, domain_of
from trustnode.errors import TrustnodeError, error


class KeyRing:
    """Keys by owner and use. Calling it looks keys up, so it serves as ``Keys``."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, str], tuple[PublicKey, ...]] = {}
        self.cards: dict[str, Verified[Card]] = {}
        """The card accepted for each domain, our own included."""
        self._versions: dict[str, tuple[Verified[Card], ...]] = {}
        self._revoked: dict[tuple[str, str], str] = {}
        self.key_documents: dict[str, Verified[ParticipantKey]] = {}
        """The newest key document of each participant."""
        self._by_digest: dict[str, Verified[ParticipantKey]] = {}

    def __call__(self, owner: str, use: KeyUse) -> Sequence[PublicKey]:
        """Keys that somebody we trust vouches for."""
        return self._keys.get((owner, use), ())

    def add_card(self, card: Verified[Card], earlier: Sequence[Verified[Card]] = ()) -> None:
        """Let a card speak for its domain, in place of the one before; what older versions vouched for is history.

        Args:
            card: The version that holds now; one that is older than the version held changes nothing.
            earlier: The versions before it, oldest first, where they are read from the store.
        """
        domain = card.value.trust_domain
        held = self._versions.get(domain, ())
        if held and held[-1].value.version > card.value.version:
            return
        kept = [one for one in (earlier or held) if one.value.version < card.value.version]
        self.forget_domain(domain)
        self.cards[domain] = card
        self._versions[domain] = (*kept, card)
        keys = vouched_over([one.value for one in self._versions[domain]])
        self._keys.update({(domain, use): self._with_ends(domain, found) for use, found in keys.items()})

    def log_number(self, domain: str) -> int:
        """Which log of a domain is open, by the card that holds now."""
        card = self.cards.get(domain)
        return log_number(card.value) if card is not None else 1

    def log_origin(self, domain: str) -> str:
        """Origin of the log of a domain that is open; those before it are closed."""
        return log_origin(domain, self.log_number(domain))

    def is_closed(self, origin: str) -> bool:
        """Whether a log was closed by its venue: a later card opened the one that follows it."""
        domain, number = parse_log_origin(origin)
        return 0 < number < self.log_number(domain)

    def versions(self, domain: str) -> tuple[Verified[Card], ...]:
        """The versions of a domain's card that we hold without a gap up to the newest, oldest first."""
        return self._versions.get(domain, ())

    def forget_domain(self, domain: str) -> None:
        """Trust nothing more that a domain says."""
        self.cards.pop(domain, None)
        self._versions.pop(domain, None)
        self._keys = {key: value for key, value in self._keys.items() if key[0] != domain}

    def add_participant(self, key: Verified[ParticipantKey]) -> None:
        """Let a key document speak for its participant; older keys keep their time."""
        value = key.value
        known = PublicKey(bytes.fromhex(value.public), value.not_before, value.not_after)
        others = tuple(k for k in self(value.participant, "participant") if k.raw != known.raw)
        self._keys[(value.participant, "participant")] = self._with_ends(value.participant, (known, *others))
        self._by_digest[key.digest] = key
        if not self._is_older(key):
            self.key_documents[value.participant] = key

    def revoke(self, issuer: str, kid: str, invalid_from: str) -> None:
        """End one key from a time on; the earliest time told counts, and a later card cannot take it back.

        Args:
            issuer: Trust domain that says so; it speaks of its own keys and of its participants' alone.
            kid: The key.
            invalid_from: Time from which on no signature of it counts.
        """
        told = self._revoked.get((issuer, kid), clock.FOREVER)
        self._revoked[issuer, kid] = min(told, invalid_from)
        for owner, use in tuple(self._keys):
            if domain_of(owner) == issuer:
                self._keys[owner, use] = self._with_ends(owner, self._keys[owner, use])

    def is_revoked(self, owner: str, kid: str) -> bool:
        """Whether somebody's key was revoked, from whatever time on."""
        return (domain_of(owner), kid) in self._revoked

    def revoked_by(self, issuer: str) -> frozenset[str]:
        """Keys that a venue took back, by kid."""
        return frozenset(kid for domain, kid in self._revoked if domain == issuer)

    def _with_ends(self, owner: str, keys: Sequence[PublicKey]) -> tuple[PublicKey, ...]:
        ends = ((key, self._revoked.get((domain_of(owner), key.kid), "")) for key in keys)
        return tuple(key._replace(revoked_from=end) if end else key for key, end in ends)

    def owner_of(self, raw_hex: str) -> str:
        """Who already uses this raw key, or used it once; empty: nobody."""
        return self.holder_of(bytes.fromhex(raw_hex))[0]

    def holder_of(self, raw: bytes) -> tuple[str, str]:
        """Owner and use of a raw key that is known here, now or in an earlier card; two empty texts: nobody's."""
        return next((pair for pair, keys in self._keys.items() if any(k.raw == raw for k in keys)), ("", ""))

    def with_documents(self, documents: Iterable[Document], now: str) -> tuple[Keys, list[Verified[ParticipantKey]]]:
        """Look keys up here and in key documents that came along, each checked against its venue's card.

        Returns:
            The lookup, and the key documents that were new and verified.
        """
        brought: dict[str, Verified[ParticipantKey]] = {}
        for document in documents:
            if document.name == "participant-key":
                checked = self._held(document) or self.check_participant_key(document, now)
                brought[checked.value.participant] = checked

        def keys(owner: str, use: KeyUse) -> Sequence[PublicKey]:
            known = self(owner, use)
            if use != "participant" or owner not in brought:
                return known
            value = brought[owner].value
            added = PublicKey(bytes.fromhex(value.public), value.not_before, value.not_after)
            return known if any(k.raw == added.raw for k in known) else (*known, *self._with_ends(owner, (added,)))

        return keys, [v for v in brought.values() if self._is_new(v)]

    def _held(self, document: Document) -> Verified[ParticipantKey] | None:
        """A key document that we took in before: the venue's key that signed it may have been revoked since."""
        held = self._by_digest.get(document.digest)
        return held if held is not None and held.value.iss in self.cards else None

    def _is_new(self, key: Verified[ParticipantKey]) -> bool:
        known = self.key_documents.get(key.value.participant)
        kid = hashlib.sha256(bytes.fromhex(key.value.public)).hexdigest()
        if known is not None and (known.digest == key.digest or self._is_older(key)):
            return False
        return not self.is_revoked(key.value.participant, kid)

    def _is_older(self, key: Verified[ParticipantKey]) -> bool:
        """Whether we hold a later document of the same participant: an old one must not come back by being shown."""
        known = self.key_documents.get(key.value.participant)
        return known is not None and known.value.time > key.value.time

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
