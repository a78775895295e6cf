"""Whose keys the client believes: its own venue's by the fingerprint compared, others' as its venue shows them.

Decides: which cards and key documents count when a signature is checked here. Another venue's card is kept from the
first time on; from then on only a successor signed by its roots replaces it, and an anchor of the profile decides where
there is one. Leaves to others: asking for a card that is missing (``fetch`` is given a node).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from trustnode.core.document import Document, KeyUse, PublicKey, Verified, decode, verify
from trustnode.core.identity import Card, accept_card, check_fingerprint, vouched
from trustnode.core.participant import ParticipantKey, domain_of
from trustnode.errors import InvalidRequest, NotFound, TrustnodeError, error
from trustnode.sdk.profile import Profile, now

if TYPE_CHECKING:
    from trustnode.sdk.connection import Node


class Trust:
    """The cards and key documents that signatures are checked with."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._cards: dict[str, Verified[Card]] = {profile.venue: profile.card}
        self._participants: dict[str, tuple[PublicKey, ...]] = {profile.participant: (profile.public_key,)}

    def keys(self, owner: str, use: KeyUse) -> Sequence[PublicKey]:
        """Keys of an owner (``document.Keys``)."""
        if use == "participant":
            return self._participants.get(owner, ())
        card = self._cards.get(owner)
        return vouched(card.value).get(use, ()) if card else ()

    def learn(self, documents: Iterable[Document]) -> None:
        """Take in cards and key documents that came along; what does not verify is left out.

        Raises:
            TrustnodeError: FINGERPRINT_MISMATCH when a card differs from an anchor of the profile.
        """
        held = tuple(documents)
        for document in held:
            if document.name == "card":
                self._learn_card(document)
        for document in held:
            if document.name == "participant-key":
                with contextlib.suppress(TrustnodeError):
                    self._learn_key(document)

    async def prepare(self, node: Node, *owners: str) -> None:
        """Ask the home node for what is missing to check signatures of these venues and participants."""
        for domain in dict.fromkeys(domain_of(owner) for owner in owners):
            if domain not in self._cards:
                self._from_profile(domain)
            if domain not in self._cards:
                # What stays unknown is refused by its signature, with a better message.
                with contextlib.suppress(NotFound, InvalidRequest):
                    answer = await node.call("CatalogService/ResolveIdentifier", identifier=domain)
                    self.learn([*answer["supporting"], *([answer["document"]] if answer["document"] else [])])
        for owner in owners:
            if owner.startswith("spiffe://") and owner not in self._participants:
                with contextlib.suppress(NotFound):
                    found = await node.get("participant", owner)
                    self.learn([*found.documents, *([found.object.document] if found.object.document else [])])

    def _from_profile(self, domain: str) -> None:
        document = self._profile.kept_card(domain)
        if document is not None:
            self._cards[domain] = accept_card(document, None, domain, now())

    def _learn_card(self, document: Document) -> None:
        try:
            domain = decode(document, Card).trust_domain
            if domain == self._profile.venue:
                return
            if domain not in self._cards:
                self._from_profile(domain)
            accepted = accept_card(document, self._cards.get(domain), domain, now())
        except TrustnodeError:
            # An older version among the documents of an old agreement is no fault; its keys are just not needed.
            return
        anchor = self._profile.settings.anchors.get(domain)
        if anchor and domain not in self._cards:
            check_fingerprint(document, anchor)
        if self._cards.get(domain) != accepted:
            self._cards[domain] = accepted
            self._profile.keep_card(domain, document)

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
