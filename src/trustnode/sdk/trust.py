"""Whose keys the client believes: its own venue's by the fingerprint compared, others' as its venue shows them.

Decides: which cards and key documents count when a signature is checked here. Another venue's card is kept from the
first time on; from then on only a successor signed by its roots replaces it, and an anchor of the profile decides where
there is one. Leaves to others: asking for a card that is missing (``fetch`` is given a node).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from trustnode.core.document import Document, KeyUse, PublicKey, Statement, Verified, decode, verify
from trustnode.core.identity import (
    Card,
    accept_card,
    accept_versions,
    check_card,
    check_fingerprint,
    vouched_over,
)
from trustnode.core.participant import ParticipantKey, domain_of
from trustnode.errors import InvalidRequest, NotFound, TrustnodeError, VerificationFailed, error
from trustnode.sdk.profile import Profile, now

if TYPE_CHECKING:
    from trustnode.sdk.connection import Node

S = TypeVar("S", bound=Statement)


class Trust:
    """The cards and key documents that signatures are checked with."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._versions: dict[str, tuple[Verified[Card], ...]] = {profile.venue: profile.own_cards()}
        self._participants: dict[str, tuple[PublicKey, ...]] = {profile.participant: (profile.public_key,)}

    def keys(self, owner: str, use: KeyUse) -> Sequence[PublicKey]:
        """Keys of an owner (``document.Keys``), those of earlier cards for what was signed then."""
        if use == "participant":
            own = (self._profile.public_key,) if owner == self._profile.participant else ()
            return tuple(dict.fromkeys((*own, *self._participants.get(owner, ()))))
        versions = self._versions.get(owner, ())
        return vouched_over([card.value for card in versions]).get(use, ())

    async def check(self, node: Node, document: Document, kind: type[S], venue: str) -> Verified[S]:
        """Verify what a venue signed; a venue whose key changed meanwhile is asked for its newer cards once.

        Raises:
            TrustnodeError: As ``document.verify``.
        """
        try:
            return verify(document, kind, self.keys, None)
        except VerificationFailed:
            await self._ask_for(node, venue)
            return verify(document, kind, self.keys, None)

    def learn(self, documents: Iterable[Document]) -> None:
        """Take in cards and key documents that came along; what does not verify is left out.

        Raises:
            TrustnodeError: FINGERPRINT_MISMATCH when a card differs from an anchor of the profile.
        """
        held = tuple(documents)
        cards: dict[str, list[Document]] = {}
        for document in held:
            if document.name == "card":
                with contextlib.suppress(TrustnodeError):
                    cards.setdefault(decode(document, Card).trust_domain, []).append(document)
        for domain, versions in cards.items():
            self._learn_cards(domain, versions)
        for document in held:
            if document.name == "participant-key":
                with contextlib.suppress(TrustnodeError):
                    self._learn_key(document)

    async def prepare(self, node: Node, *owners: str) -> None:
        """Ask the home node for what is missing to check signatures of these venues and participants."""
        for domain in dict.fromkeys(domain_of(owner) for owner in owners):
            if domain not in self._versions:
                self._from_profile(domain)
            if domain not in self._versions:
                await self._ask_for(node, domain)
        for owner in owners:
            if owner.startswith("spiffe://") and owner not in self._participants:
                with contextlib.suppress(NotFound):
                    found = await node.get("participant", owner)
                    self.learn([*found.documents, *([found.object.document] if found.object.document else [])])

    def _from_profile(self, domain: str) -> None:
        document = self._profile.kept_card(domain)
        if document is not None:
            self._versions[domain] = (accept_card(document, None, domain, now()),)

    async def _ask_for(self, node: Node, domain: str) -> None:
        # What stays unknown is refused by its signature, with a better message.
        with contextlib.suppress(NotFound, InvalidRequest):
            answer = await node.call("CatalogService/ResolveIdentifier", identifier=domain)
            self.learn([*answer["supporting"], *([answer["document"]] if answer["document"] else [])])

    def _learn_cards(self, domain: str, documents: Sequence[Document]) -> None:
        """Versions that follow the one held; versions before it, where it names them by digest."""
        try:
            if domain not in self._versions:
                self._from_profile(domain)
            held = self._versions.get(domain, ())
            taken = accept_versions(documents, held[-1] if held else None, domain, now())
        except TrustnodeError:
            # Versions that do not follow are no reason to trust less: what they alone vouch for is refused.
            return
        anchor = self._profile.settings.anchors.get(domain)
        if anchor and not held:
            check_fingerprint(taken[-1].document, anchor)
        history = _history((*held, *taken)[0], documents)
        self._versions[domain] = (*history, *held, *taken)
        if taken:
            self._profile.keep_card(domain, taken[-1].document)

    def _learn_key(self, document: Document) -> None:
        value = decode(document, ParticipantKey)
        if domain_of(value.participant) != value.iss:
            raise error("IDENTITY_WRONG_DOMAIN", "a venue vouches for its own participants")
        own = PublicKey(bytes.fromhex(value.public), value.not_before, value.not_after)

        def known(owner: str, use: KeyUse) -> Sequence[PublicKey]:
            return (own,) if owner == value.participant else self.keys(owner, use)

        verify(document, ParticipantKey, known, None)
        if value.participant != self._profile.participant:
            held = self._participants.get(value.participant, ())
            self._participants[value.participant] = tuple(dict.fromkeys((*held, own)))


def _history(oldest: Verified[Card], documents: Sequence[Document]) -> list[Verified[Card]]:
    """The versions before a card, as far back as the documents reach; each is named by the digest in the next."""
    by_digest = {document.digest: document for document in documents}
    found: list[Verified[Card]] = []
    while (before := by_digest.get(oldest.value.previous)) is not None:
        oldest = check_card(before, None)
        found.insert(0, oldest)
    return found
