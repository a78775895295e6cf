"""What makes a node's part of a bundle a sealed one: the head it is proven under, earlier seals, published keys.

Decides: which head that is, how long its cosignatures are waited for, which signature lines stay on a note. Leaves to
others: documents and chains (``evidence``), what a seal is (``sealing``). Source: protocol 10, 11.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from trustnode.app import sealing
from trustnode.app.publisher import Published, Publisher
from trustnode.app.venue import Venue, log
from trustnode.core.contract import Agreement
from trustnode.core.document import Document, decode
from trustnode.core.evidence import note as notes
from trustnode.core.evidence.bundle import Publication
from trustnode.core.evidence.checkpoint import Checkpoint
from trustnode.core.evidence.checks.logs import PUBLISHING
from trustnode.core.evidence.entry import parse_statement
from trustnode.core.evidence.proof import TlogProof
from trustnode.core.evidence.quorum import WitnessPolicy
from trustnode.core.identity import Card, log_origin, witness_name
from trustnode.core.participant import ParticipantKey, domain_of
from trustnode.store.log import LogEntry
from trustnode.store.unit import View

WAIT_S: Final = 3.0
"""Longest wait for the witnesses of a head that was just signed."""
MAX_SEALS: Final = 1_000
"""Seals in one part; where there would be more, every second, third, ... of them: what they seal is sealed later."""
PAGE: Final = 10_000
ZEROS: Final = "0" * 64
Cards = Mapping[str, Mapping[int, Document]]


# --- the head -------------------------------------------------------------------------------------------------------


async def head_for(venue: Venue, publisher: Publisher, value: Agreement) -> Published:
    """The newest head that covers everything logged until now and has the quorum of an agreement.

    Where its witnesses do not answer in time it is the newest head without them: the bundle then says UNWITNESSED.

    Raises:
        TrustnodeError: READ_ONLY.
    """
    newest = await publisher.publish()
    policy = sealing.policy_of(value, venue.domain)
    if policy is None or not policy.asks:
        return newest
    try:
        async with asyncio.timeout(WAIT_S):
            return await _sealed(venue, publisher, policy, newest.checkpoint.size)
    except TimeoutError:
        log.warning("no quorum for a bundle", agreement=value.contract_id, size=newest.checkpoint.size)
        return await venue.store.read(lambda view: _again(view, newest))


async def _sealed(venue: Venue, publisher: Publisher, policy: WitnessPolicy, size: int) -> Published:
    """Wait for a head of at least ``size`` entries that has its quorum."""
    while True:
        news = publisher.cosigned_next
        kept = await venue.store.read(lambda view: sealing.newest_sealed(view, policy))
        if kept is not None and kept.size >= size:
            return Published(Checkpoint(venue.log_origin, kept.size, kept.root), kept.note)
        await news.wait()


def _again(view: View, newest: Published) -> Published:
    """A head with the cosignatures that it has by now."""
    kept = view.checkpoint_of(newest.checkpoint.size)
    return Published(newest.checkpoint, kept.note) if kept is not None else newest


def cosigners(note: bytes) -> list[str]:
    """Trust domains whose cosignature stands under a note."""
    return [name.rpartition("/")[0] for name in notes.cosigned_when(note)]


def known_lines(note: bytes, domain: str, cards: Cards) -> bytes:
    """A note with those signatures only that keys of these cards made: what a bundle may hold."""
    keys = [
        notes.VerifierKey(log_origin(domain, key.log), notes.ED25519, bytes.fromhex(key.public))
        if key.use == "log"
        else notes.VerifierKey(witness_name(owner), notes.COSIGNATURE_V1, bytes.fromhex(key.public))
        for owner, versions in cards.items()
        for card in versions.values()
        for key in decode(card, Card).keys
        if key.use == "witness" or (key.use == "log" and owner == domain)
    ]
    return notes.assemble(notes.text_of(note), notes.lines_by(note, dict.fromkeys(keys)))


# --- seals ----------------------------------------------------------------------------------------------------------


def seals(
    view: View, policy: WitnessPolicy | None, indexes: Sequence[int], alone: Sequence[int], newest: int, domain: str,
    cards: Cards,
) -> dict[int, TlogProof]:  # fmt: skip
    """Query: proofs under earlier heads, which show when the entries of a chain, and others alone, were sealed."""
    if policy is None or not policy.asks:
        return {}
    found = sealing.seals(view, policy, indexes, newest)
    step = 1 + len(found) // MAX_SEALS
    made: dict[int, TlogProof] = {}
    others = [(index, head) for one in alone for index, head in sealing.seals(view, policy, [one], newest)]
    for index, head in (*found[:1], *found[1::step], *others):
        path = view.evidence.inclusions([index], head.size)[index]
        made[index] = TlogProof(index, tuple(path), known_lines(head.note, domain, cards))
    return made


# --- when keys were published ---------------------------------------------------------------------------------------


def publications(
    view: View, domain: str, value: Agreement, cards: Cards, documents: Mapping[str, Document], size: int
) -> list[Publication]:
    """Query: our entries that published cards and key documents which the agreement does not name.

    And key documents that a key signed which our card no longer lists: it may have been taken back since.
    """
    named = {value.provider.key_sha256, value.consumer.key_sha256, *value.cards}
    own = cards.get(domain, {})
    agreed = max((version for version, card in own.items() if card.digest in named), default=1)
    wanted = {card.digest for version, card in own.items() if version > agreed}
    chains = [("node", domain)] if wanted else []
    current = {hashlib.sha256(raw).hexdigest() for raw in _evidence_keys(own)}
    for digest, document in documents.items():
        participant = decode(document, ParticipantKey).participant if document.name == "participant-key" else ""
        replaced = not current & {one.keyid for one in document.signatures}
        if participant and domain_of(participant) == domain and (replaced or digest not in named):
            wanted.add(digest)
            chains.append(("participant", participant))
    found = {one.index: one for kind, name in dict.fromkeys(chains) for one in _told(view, kind, name, wanted, size)}
    return [found[index] for index in sorted(found)]


def _evidence_keys(versions: Mapping[int, Document]) -> Iterator[bytes]:
    """Keys with which a venue may sign now. What others signed is shown with the entry that published it."""
    if versions:
        newest = decode(versions[max(versions)], Card)
        yield from (bytes.fromhex(key.public) for key in newest.keys if key.use == "evidence")


def _told(view: View, kind: str, name: str, wanted: set[str], size: int) -> Iterator[Publication]:
    previous = ZEROS
    for one in _entries(view, kind, name):
        entry = parse_statement(one.statement) if one.statement is not None and one.index < size else None
        if entry is not None and entry.type in PUBLISHING and wanted & set(entry.documents):
            yield Publication(
                object_kind="node" if kind == "node" else "participant", object=name, seq=one.seq, index=one.index,
                previous=previous, salt=(one.salt or b"").hex(), statement=(one.statement or b"").decode("ascii"),
            )  # fmt: skip
        previous = one.data.hex()


def _entries(view: View, kind: str, name: str) -> Iterator[LogEntry]:
    after = 0
    while page := view.evidence.chain(kind, name, after=after, limit=PAGE):
        yield from page
        after = page[-1].seq
