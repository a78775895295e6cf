"""What ends when: cards, keys, authorities, certificates; who is warned, and what an ended card stops.

Decides: what is looked at, how many days ahead a warning comes, that each is written once. Leaves to others: renewing
(``rotation``, the node, the SDK), showing it (``status``, a page of metrics).
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from cryptography import x509

from trustnode.app.participant import CERTIFICATE_PREFIX
from trustnode.app.venue import Venue, log
from trustnode.core import clock
from trustnode.core.participant import ParticipantState
from trustnode.errors import TrustnodeError
from trustnode.keys import NodeKeys, renewal_time
from trustnode.store.unit import Tx, View

DAYS: Final = (30, 14, 3)
"""Days ahead at which a warning is written, the widest first."""
LOOK_S: Final = 3600.0
WARNED_PREFIX: Final = "expiry-warned/"
"""Settings: ``expiry-warned/<name>`` -> end and days of the last warning."""


class End(NamedTuple):
    """Something that ends."""

    name: str
    """Stable: ``card``, ``key/evidence``, ``authority``, ``peer/gz.example/card``, ``participant/acme/key``."""
    not_after: str
    shown: str
    """What it is, for a person."""
    step: str
    """What to do about it."""

    def days_left(self, now: str) -> int:
        """Whole days until it ends; negative once it has."""
        return int((clock.moment(self.not_after) - clock.moment(now)).total_seconds() // 86400)

    def threshold(self, now: str) -> int | None:
        """The narrowest warning that is due; None while none is."""
        due = [days for days in DAYS if self.not_after <= clock.shift(now, days * 86400)]
        return min(due) if due else None

    def sentence(self, now: str) -> str:
        """``card ends 2027-01-12 (9 d)``."""
        left, day = self.days_left(now), self.not_after[:10]
        return f"{self.shown} ended {day}" if left < 0 else f"{self.shown} ends {day} ({left} d)"


def by_name(ends: Iterable[End]) -> dict[str, str]:
    """Name -> end, for a page of metrics."""
    return {one.name: one.not_after for one in ends}


def _own(venue: Venue, keys: NodeKeys) -> Iterable[End]:
    card = venue.keyring.cards[venue.domain].value
    yield End("card", card.expires, "our card", "Make the next one: trustnode card next")
    held = {venue.evidence.public.hex(), venue.log_key.public.hex(), venue.witness_key.public.hex()}
    for key in card.keys:
        if key.public in held:
            step = f"Replace it: trustnode key rotate {key.use}"
            yield End(f"key/{key.use}", key.not_after, f"the {key.use} key", step)
    authority = keys.authority
    step = "Replace it: trustnode key rotate authority"
    yield End("authority", _end(authority.root), "our certificate authority", step)
    issuer = authority.intermediate.certificate
    if renewal_time(issuer) <= venue.clock.now():  # it renews itself; if it did not, somebody has to look
        yield End("intermediate", _end(issuer), "the issuing certificate", "See keys/ca.key: without it nothing renews")


def _of_peers(venue: Venue) -> Iterable[End]:
    for domain, card in sorted(venue.keyring.cards.items()):
        if domain != venue.domain:
            step = f"Ask {domain} for its next card; it comes by itself, or: trustnode peer update CARD"
            yield End(f"peer/{domain}/card", card.value.expires, f"the card of {domain}", step)
            roots = [_root_end(x5c) for x5c in card.value.bundle.x5c]
            if roots:
                yield End(f"peer/{domain}/authority", max(roots), f"the authority of {domain}", step)


def _of_participants(venue: Venue, certificates: Mapping[str, str]) -> Iterable[End]:
    for participant, not_after in sorted(certificates.items()):
        name = participant.rpartition("/")[2]
        key = venue.keyring.key_documents.get(participant)
        if key is not None:
            step = f"Let it make another one: trustnode participant rekey {name} --lost"
            yield End(f"participant/{name}/key", key.value.not_after, f"the key of {name}", step)
        if not_after:
            step = f"It renews itself when it is used; else: trustnode participant reissue {name}"
            yield End(f"participant/{name}/certificate", not_after, f"the certificate of {name}", step)


def _end(certificate: x509.Certificate) -> str:
    return clock.text(certificate.not_valid_after_utc)


def _root_end(x5c: str) -> str:
    return _end(x509.load_der_x509_certificate(base64.b64decode(x5c)))


def newest_certificates(view: View, domain: str) -> dict[str, str]:
    """Our enrolled participants, and when the newest certificate of each ends; empty where none is remembered."""
    issued = view.settings(CERTIFICATE_PREFIX)
    found: dict[str, str] = {}
    for name, not_after in issued.items():
        participant = name.removeprefix(CERTIFICATE_PREFIX).rpartition("/")[0]
        found[participant] = max(found.get(participant, ""), not_after)
    enrolled = view.find(ParticipantState, state="ENROLLED", home=domain, limit=1_000_000)
    return {one.id: found.get(one.id, "") for one in enrolled}


def due(ends: Iterable[End], now: str) -> tuple[End, ...]:
    """What ends within the widest warning, the most urgent first."""
    return tuple(sorted((one for one in ends if one.threshold(now) is not None), key=lambda one: one.not_after))


@dataclass
class Warnings:
    """Writes each warning once, and keeps what the status shows."""

    venue: Venue
    keys: Callable[[], NodeKeys]
    _participants: tuple[End, ...] = ()
    """As of the last look; there may be many."""

    @property
    def ends(self) -> tuple[End, ...]:
        """Everything that this node knows to end."""
        return (*_own(self.venue, self.keys()), *_of_peers(self.venue), *self._participants)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.look()
            except TrustnodeError as problem:
                log.error("what ends was not looked at", cause=str(problem))
            await asyncio.sleep(LOOK_S)

    async def look(self) -> tuple[End, ...]:
        """Look once; returns what was warned of now."""
        held = await self.venue.store.read(lambda view: newest_certificates(view, self.venue.domain))
        self._participants, now = tuple(_of_participants(self.venue, held)), self.venue.clock.now()
        warned = await self.venue.store.read(lambda view: view.settings(WARNED_PREFIX))
        fresh = [one for one in due(self.ends, now) if warned.get(WARNED_PREFIX + one.name) != _mark(one, now)]
        if fresh and not self.venue.read_only:
            await self.venue.store.write(_remembering(fresh, now), event_id="", returns=int)
        for one in fresh:
            log.warning("ends soon", name=one.name, not_after=one.not_after, days=one.days_left(now), next=one.step)
        return tuple(fresh)


def _mark(end: End, now: str) -> str:
    return f"{end.not_after} {end.threshold(now)}"


def _remembering(ends: Iterable[End], now: str) -> Callable[[Tx], int]:
    held = tuple(ends)

    def unit(tx: Tx) -> int:
        for one in held:
            tx.set_setting(WARNED_PREFIX + one.name, _mark(one, now))
        return len(held)

    return unit
