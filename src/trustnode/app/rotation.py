"""Replacing the node's own keys while it works: each step when peers are ready for it, whatever happened in between.

Decides: when a staged key takes its place, when a replaced one is destroyed, what is told of revoked ones. Leaves to
others: the files (``keys.rotation``), the card that publishes a key and its roots (the operator), certificates of the
running server (``node``). Nothing is remembered here: what is due follows from the files, the card and the outbox, so
that a node which stopped at any point goes on from there. Source: protocol 1.3, identity 7.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from trustnode.app.cards import CARD_LINES
from trustnode.app.submission import submit
from trustnode.app.venue import Venue, log
from trustnode.core import clock
from trustnode.core.document import Document, Verified, cosign
from trustnode.core.identity import Card
from trustnode.core.participant import ParticipantKey, domain_of
from trustnode.core.peering import PeeringState, Status, StatusEvent
from trustnode.errors import TrustnodeError
from trustnode.keys import NodeKeys, load_node_keys
from trustnode.keys.rotation import (
    KINDS,
    SIGNING,
    Kind,
    drop_old,
    drop_old_issuers,
    is_staged,
    promote,
    read_revocations,
)
from trustnode.store.unit import Tx, View

LOOK_S: Final = 5.0
STAGED_LOOK_S: Final = 0.5
"""How often to look while a key waits for its turn."""
PATIENCE_S: Final = 86400.0
"""A peer that did not answer for so long is not waited for: it finds the versions in our lane when it is back."""


@dataclass
class Rotation:
    """The background step that drives staged keys on."""

    venue: Venue
    home: Path
    take_over: Callable[[NodeKeys], None]
    """Called with keys that changed: the node issues and shows certificates with them."""
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _settled: tuple[str, frozenset[tuple[str, int]]] | None = None
    """What was seen when nothing was left to do."""

    @property
    def keys(self) -> Path:
        """Folder of the key files."""
        return self.home / "keys"

    def notify(self) -> None:
        """Something changed that a staged key may have waited for."""
        self._wake.set()

    async def run(self) -> None:
        """Drive on until cancelled; a file that cannot be read is for the operator to repair and ends nothing."""
        while True:
            self._wake.clear()
            if not self.venue.read_only:
                try:
                    await self.advance()
                except (TrustnodeError, OSError) as problem:
                    log.error("keys not driven on", cause=str(problem))
            try:
                await asyncio.wait_for(self._wake.wait(), LOOK_S if self._settled else STAGED_LOOK_S)
            except TimeoutError:
                continue

    async def advance(self) -> tuple[str, ...]:
        """Do everything that is due.

        Returns:
            Keys that took their place now.
        """
        async with self._lock:
            card = self.venue.keyring.cards[self.venue.domain]
            if self._seen(card) == self._settled:
                return ()
            changed = await self._promote_all(card)
            self._drop_all(card)
            self.use(self._load())
            await self._sign_again()
            await self._tell_revoked(card)
            self._settled = None if any(is_staged(self.keys, kind) for kind in KINDS) else self._seen(card)
            return changed

    def _seen(self, card: Verified[Card]) -> tuple[str, frozenset[tuple[str, int]]]:
        """What every step depends on: the card, and the key files."""
        files = frozenset((path.name, path.stat().st_mtime_ns) for path in self.keys.glob("*.*") if path.is_file())
        return card.digest, files

    def use(self, keys: NodeKeys) -> None:
        """Sign with these keys from now on. While a card lists two log keys, both sign the log."""
        venue, listed = self.venue, _listed(self.venue.keyring.cards[self.venue.domain])
        besides = (keys.staged.old.get("log"), keys.staged.next.get("log"))
        venue.log_keys_besides = tuple(one for one in besides if one and one.public.hex() in listed)
        venue.evidence, venue.log_key, venue.witness_key = keys.evidence, keys.log, keys.witness

    def _load(self) -> NodeKeys:
        return load_node_keys(self.home, self.venue.domain, self.venue.clock.now())

    # --- taking a place ---------------------------------------------------------------------------------------------

    async def _promote_all(self, card: Verified[Card]) -> tuple[str, ...]:
        keys = self._load()
        published = _published(card, keys)
        if published and not await self._is_spread(card):
            published = [kind for kind in published if not _is_listed(card, keys, kind)]
        due: list[Kind] = [*published, *(kind for kind in UNPUBLISHED if is_staged(self.keys, kind))]
        if is_staged(self.keys, "authority") and "intermediate" in due:
            due.remove("intermediate")  # the one that is staged belongs to the new authority
        for kind in due:
            promote(self.keys, kind, self.venue.clock.now())
            log.info("key replaced", kind=kind)
        if due:
            keys = self._load()
            self.use(keys)
            self.take_over(keys)
        return tuple(due)

    async def _is_spread(self, card: Verified[Card]) -> bool:
        """Every peer has answered for our newest card, or had its time to."""
        if clock.shift(card.value.time, PATIENCE_S) <= self.venue.clock.now():
            return True
        return not await self.venue.store.read(_waiting_for_cards)

    def _drop_all(self, card: Verified[Card]) -> None:
        """A replaced key that the card no longer lists is destroyed: nobody would believe it any more."""
        listed, staged = _listed(card), self._load().staged
        for use, signer in staged.old.items():
            if signer.public.hex() not in listed or use != "log":
                drop_old(self.keys, use)  # type: ignore[arg-type] # a use of SIGNING is a kind
        if staged.root_old is not None and _x5c(staged.root_old) not in listed:
            drop_old(self.keys, "authority")
        drop_old_issuers(self.keys)

    # --- what a new evidence key has to sign ------------------------------------------------------------------------

    async def _sign_again(self) -> None:
        """Key documents of our participants carry the signature of the present evidence key too.

        One whose only signature is of a revoked key would be refused by a venue that never saw it before.
        """
        kid = self.venue.keyring(self.venue.domain, "evidence")
        mine = next((key.kid for key in kid if key.raw == self.venue.evidence.public), "")
        for document in self.venue.keyring.key_documents.values():
            if domain_of(document.value.participant) == self.venue.domain and mine:
                await self._sign_key_document(document, mine)

    async def _sign_key_document(self, key: Verified[ParticipantKey], kid: str) -> None:
        held = await self.venue.store.read(lambda view: view.document(key.digest))
        if held is None or any(one.keyid == kid for one in held.signatures):
            return
        signed = cosign(held, self.venue.evidence)
        await self.venue.store.write(_keeping(signed), event_id="", returns=str)

    # --- revoked keys -----------------------------------------------------------------------------------------------

    async def _tell_revoked(self, card: Verified[Card]) -> None:
        """Say of each key that the operator took back from when on it does not count, once the card is without it."""
        told, now = self.venue.keyring.revoked_by(self.venue.domain), self.venue.clock.now()
        listed = {key.public for key in card.value.keys}
        taken_back = [one for one in read_revocations(self.keys) if one.use in SIGNING and one.kid not in told]
        due = [one for one in taken_back if one.public not in listed]
        if not due:
            return
        events = tuple(
            StatusEvent(
                kind="KEY_REVOKED", subject=one.kid, state="REVOKED", effective=now, invalid_from=one.invalid_from
            )
            for one in due
        )
        status = self.venue.sign(Status(events=events, **self.venue.fields("*")))
        await submit(self.venue, self.venue.self_sender, status)
        log.warning("keys revoked", kinds=[one.use for one in due])


UNPUBLISHED: Final[tuple[Kind, ...]] = ("intermediate", "node")
"""Kinds that no card names: they take their place at once."""


def _published(card: Verified[Card], held: NodeKeys) -> list[Kind]:
    """Kinds whose staged key stands on our card."""
    listed, staged = _listed(card), held.staged
    found: list[Kind] = [use for use in SIGNING if use in staged.next and staged.next[use].public.hex() in listed]  # type: ignore[misc]
    if staged.root_next is not None and _x5c(staged.root_next) in listed:
        found.append("authority")
    return found


def _is_listed(card: Verified[Card], held: NodeKeys, kind: Kind) -> bool:
    """Whether the key in use still stands on our card; one that was taken back does not, and is replaced at once."""
    listed = _listed(card)
    return (_x5c(held.authority.root) if kind == "authority" else held.signer(kind).public.hex()) in listed


def _listed(card: Verified[Card]) -> frozenset[str]:
    """Raw keys and roots of a card."""
    return frozenset({*(key.public for key in card.value.keys), *card.value.bundle.x5c})


def _x5c(root: x509.Certificate) -> str:
    return base64.b64encode(root.public_bytes(serialization.Encoding.DER)).decode()


def _waiting_for_cards(view: View) -> bool:
    peers = view.find(PeeringState, state="APPROVED", limit=10_000)
    return any(view.outbox(peer.id, object=CARD_LINES, limit=1) for peer in peers)


def _keeping(document: Document) -> Callable[[Tx], str]:
    return lambda tx: tx.keep(document)
