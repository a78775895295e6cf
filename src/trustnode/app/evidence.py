"""What a node can be held to: heads of chains, its part of a bundle, the whole bundle of an agreement, its story.

Decides: who may have them, which documents explain an agreement, and that a bundle is made of one state of the log.
Leaves to others: signing that state (``publisher``), the form of the file and its verification (``core.evidence``).
Source: protocol 3.4 (chain-head), 10.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from trustnode.app import reading, sealed_part, sealing
from trustnode.app.agreement import parties_only
from trustnode.app.participant import EVERYBODY
from trustnode.app.publisher import Published, Publisher
from trustnode.app.venue import Sender, Venue, log
from trustnode.core.access import AccessRequest
from trustnode.core.catalog import ListingState, ProductState, Registration
from trustnode.core.contract import Agreement, AgreementState, NegotiationState
from trustnode.core.document import Document, decode
from trustnode.core.evidence import verify
from trustnode.core.evidence.bundle import ALL_PROVEN_UP_TO, Contents, Line, Part, merge, pack, unpack
from trustnode.core.evidence.chain import ChainEnd
from trustnode.core.evidence.checks.case import KeyBook, without_strangers
from trustnode.core.evidence.entry import Entry, parse_statement
from trustnode.core.evidence.events import OBJECT_KINDS
from trustnode.core.evidence.head import ChainHead
from trustnode.core.evidence.proof import TlogProof
from trustnode.core.evidence.story import Told, told
from trustnode.core.identity import Card, check_card
from trustnode.core.participant import ParticipantKey, ParticipantState
from trustnode.core.peering import PeeringState, Status
from trustnode.errors import TrustnodeError, error
from trustnode.store.log import LogEntry
from trustnode.store.unit import View

FETCH_S: Final = 60.0
"""Longest wait for the other node's part."""
TRIES: Final = 6
"""How often a bundle is made again while an acknowledgement is on its way between the two logs."""
RETRY_S: Final = 0.5
PAGE: Final = 10_000
MAX_NOTICES: Final = 10_000


# --- chain heads ----------------------------------------------------------------------------------------------------


async def chain_head(
    venue: Venue, publisher: Publisher, sender: Sender, kind: str, name: str
) -> tuple[Document, Published]:
    """State how long an object's chain is, over a checkpoint that was just published.

    Args:
        venue: The node.
        publisher: Signs the log.
        sender: Who asks.
        kind: One of ``OBJECT_KINDS``.
        name: Identifier in full or short.

    Returns:
        The signed ``chain-head``, and the checkpoint that it names.

    Raises:
        TrustnodeError: VOCABULARY_UNKNOWN, NOT_FOUND, READ_ONLY.
    """
    if kind not in OBJECT_KINDS:
        raise error("VOCABULARY_UNKNOWN", f"kind {kind[:40]!r} is not one of {', '.join(OBJECT_KINDS)}", field="kind")
    id = await venue.store.read(lambda view: _object(view, venue, sender, kind, name))
    published = await publisher.publish()
    end = await venue.store.read(lambda view: _end_at(view, kind, id, published.checkpoint.size))
    return _sign_head(venue, published, kind, id, end), published


def _object(view: View, venue: Venue, sender: Sender, kind: str, name: str) -> str:
    """The full identifier of an object that the sender may ask about."""
    if kind == "node":
        if sender.kind not in ("OPERATOR", "SELF"):
            raise error("NOT_FOUND", f"no node {name[:80]}")
        return name or venue.domain
    if kind == "peer":
        known = view.get(PeeringState, name)
        if known is None or (sender.kind not in ("OPERATOR", "SELF") and sender != Sender("PEER", name)):
            raise error("NOT_FOUND", f"no peer {name[:80]}")
        return name
    return reading.show(view, sender, venue.domain, kind, name).state.id


def _end_at(view: View, kind: str, id: str, size: int) -> ChainEnd:
    """Where a chain ended in the tree of ``size`` entries."""
    end = view.chain(kind, id)
    after = end.seq
    while after:
        entry = next(iter(view.evidence.chain(kind, id, after=after - 1, limit=1)))
        if entry.index < size:
            return ChainEnd(entry.seq, entry.data)
        after -= 1  # written after the head was taken
    return ChainEnd()


def _sign_head(venue: Venue, published: Published, kind: str, id: str, end: ChainEnd) -> Document:
    head = published.checkpoint
    return venue.sign(
        ChainHead(
            kind=kind, object=id, seq=end.seq, link=end.link.hex(), origin=head.origin, tree_size=head.size,
            root=head.root.hex(), **venue.fields("*"),
        )
    )  # fmt: skip


# --- the bundle -----------------------------------------------------------------------------------------------------


async def bundle(venue: Venue, publisher: Publisher, sender: Sender, name: str, *, own_part: bool = False) -> bytes:
    """Make the evidence bundle of an agreement.

    Args:
        venue: The node.
        publisher: Signs the log.
        sender: A party, the node of a party, or the operator.
        name: The agreement, in full or short.
        own_part: Only what this node's own log says. Otherwise the other node is asked for its part; where it does not
            answer, the manifest names it as missing, and the bundle verifies as INCOMPLETE.

    Raises:
        TrustnodeError: NOT_FOUND, to everybody else too; READ_ONLY.
    """
    state = await venue.store.read(lambda view: _agreement(view, venue, sender, name))
    other = next((node for node in (state.provider_node, state.consumer_node) if node != venue.domain), "")
    if own_part or not other:
        return await asyncio.to_thread(pack, await _own(venue, publisher, state))
    return await _whole(venue, publisher, state, other)


def _agreement(view: View, venue: Venue, sender: Sender, name: str) -> AgreementState:
    found = reading.show(view, sender, venue.domain, "agreement", name).state
    return parties_only(found if isinstance(found, AgreementState) else None, sender)


async def _whole(venue: Venue, publisher: Publisher, state: AgreementState, other: str) -> bytes:
    """Both parts. What was logged here and is still on its way to the other log would look like an omission: wait."""
    data = b""
    for attempt in range(TRIES):
        await asyncio.sleep(RETRY_S if attempt else 0)
        theirs = await _their_part(venue, state, other)
        own = await _own(venue, publisher, state)
        data, differs = await asyncio.to_thread(_joined, own, theirs, other)
        if not differs:
            break
    return data


async def _their_part(venue: Venue, state: AgreementState, other: str) -> Contents | None:
    try:
        data = await venue.peers.get(other).bundle_part(state.id, timeout_s=FETCH_S)
        return await asyncio.to_thread(unpack, data)
    except TrustnodeError as problem:
        log.warning("the other node gave no part of a bundle", peer=other, agreement=state.id, reason=problem.reason)
        return None


def _joined(own: Contents, theirs: Contents | None, other: str) -> tuple[bytes, bool]:
    """The file, and whether what is missing may only be on its way."""
    if theirs is None or set(theirs.parts) != {other}:
        return pack(own), False
    try:
        data = pack(merge(own, theirs))
    except TrustnodeError as problem:
        log.warning("the other node's part does not fit", peer=other, reason=problem.message)
        return pack(own), False
    found = verify.verify_bundle(data).findings
    return data, any(finding.verdict == "INCOMPLETE" and finding.step == verify.BOTH_SIDES for finding in found)


async def _own(venue: Venue, publisher: Publisher, state: AgreementState) -> Contents:
    """What this node has, as of the checkpoint that is published now."""
    value = decode(await venue.store.read(lambda view: _document(view, state)), Agreement)
    published = await sealed_part.head_for(venue, publisher, value)
    taken = await venue.store.read(lambda view: _take(view, venue, state, published))
    head = _sign_head(venue, published, "agreement", state.id, taken.end)
    return replace(taken.contents, parts={venue.domain: replace(taken.part, head=head)})


def _document(view: View, state: AgreementState) -> Document:
    document = view.document(state.document)
    if document is None:
        raise error("STORE_CORRUPT", f"agreement {state.id} is not stored")
    return document


class _Taken(NamedTuple):
    """One snapshot of a node's part."""

    contents: Contents
    part: Part
    end: ChainEnd


def _take(view: View, venue: Venue, state: AgreementState, published: Published) -> _Taken:
    size = published.checkpoint.size
    entries = _chain(view, "agreement", state.id, size)
    negotiation = _up_to(_chain(view, "negotiation", state.negotiation, size), entries)
    shown = [*negotiation, *entries]
    gathered = _gather(view, venue, state, shown)
    _add_cards(view, venue, gathered, sealed_part.cosigners(published.note))
    contents = Contents(venue.domain, state.document, gathered.by_version(), gathered.clean())
    value, cards = contents.value(), gathered.cards
    told = sealed_part.publications(view, venue.domain, value, cards, contents.documents, size)
    note = sealed_part.known_lines(published.note, venue.domain, cards)
    policy = sealing.policy_of(value, venue.domain)
    part = Part(
        chain=tuple(_line(one) for one in shown),
        proofs=_proofs(view, shown, [one.index for one in told], size, note),
        seals=sealed_part.seals(
            view, policy, [one.index for one in shown], [one.index for one in told], size, venue.domain, cards
        ),
        published=tuple(told),
        status=tuple(_notices(view, gathered)),
    )
    last = entries[-1] if entries else None
    return _Taken(contents, part, ChainEnd(last.seq, last.data) if last else ChainEnd())


def _chain(view: View, kind: str, id: str, size: int) -> list[LogEntry]:
    """A whole chain as the tree of ``size`` entries has it."""
    found: list[LogEntry] = []
    while True:
        page = view.evidence.chain(kind, id, after=len(found), limit=PAGE)
        found += [entry for entry in page if entry.index < size]
        if len(page) < PAGE or page[-1].index >= size:
            return found


def _up_to(negotiation: list[LogEntry], entries: Sequence[LogEntry]) -> list[LogEntry]:
    """The negotiation's chain up to the link that the agreement's first entry names."""
    first = _entry(entries[0]) if entries else None
    wanted = first.previous_link if first else None
    for count, one in enumerate(negotiation, 1):
        if one.data.hex() == wanted:
            return negotiation[:count]
    return negotiation


def _entry(one: LogEntry) -> Entry | None:
    return parse_statement(one.statement) if one.statement is not None else None


def _line(one: LogEntry) -> Line:
    return Line(
        seq=one.seq,
        index=one.index,
        commitment=one.commitment.hex(),
        salt=one.salt.hex() if one.salt is not None else None,
        statement=one.statement.decode("ascii") if one.statement is not None else None,
    )


def _proofs(
    view: View, shown: Sequence[LogEntry], others: Sequence[int], size: int, note: bytes
) -> dict[int, TlogProof]:
    wanted = [one.index for one in shown if len(shown) <= ALL_PROVEN_UP_TO or _must_be_proven(one, shown)]
    paths = view.evidence.inclusions([*wanted, *others], size)
    return {index: TlogProof(index, tuple(path), note) for index, path in paths.items()}


def _must_be_proven(one: LogEntry, shown: Sequence[LogEntry]) -> bool:
    entry = _entry(one)
    return one in (shown[0], shown[-1]) or (entry is not None and bool(entry.documents))


# --- documents ------------------------------------------------------------------------------------------------------


@dataclass
class _Gathered:
    """Documents and cards of a part, while they are collected."""

    view: View
    documents: dict[str, Document] = field(default_factory=dict)
    cards: dict[str, dict[int, Document]] = field(default_factory=dict)

    def add(self, digest: str) -> Document | None:
        """Take a document that we hold; a card goes to the cards."""
        document = self.view.document(digest) if digest else None
        if document is not None and document.name == "card":
            self.add_cards(document)
        elif document is not None:
            self.documents[digest] = document
        return document

    def add_cards(self, newest: Document) -> None:
        """Take a card and all versions before it that we hold."""
        document: Document | None = newest
        while document is not None:
            card = decode(document, Card)
            self.cards.setdefault(card.trust_domain, {})[card.version] = document
            document = self.view.document(card.previous) if card.previous else None

    def by_version(self) -> Mapping[str, Mapping[int, Document]]:
        """Cards by domain and version."""
        return self.cards

    def of_type(self, name: str) -> list[Document]:
        """Documents of one type."""
        return [document for document in self.documents.values() if document.name == name]

    def clean(self) -> dict[str, Document]:
        """The documents with the signatures only that known keys made.

        Whoever hands a document in may hang further signatures on it; in a bundle every signature has to verify.
        """
        book = KeyBook()
        for versions in self.cards.values():
            for card in versions.values():
                book.add_card(check_card(card, None).value)
        for document in self.of_type("participant-key"):
            book.add_participant(decode(document, ParticipantKey))
        return {digest: without_strangers(document, book) for digest, document in self.documents.items()}


def _gather(view: View, venue: Venue, state: AgreementState, shown: Sequence[LogEntry]) -> _Gathered:
    """Everything that explains the agreement and what its entries report."""
    found = _Gathered(view)
    value = decode(_document(view, state), Agreement)
    found.add(state.document)
    for one in shown:
        entry = _entry(one)
        for digest in entry.documents if entry else ():
            found.add(digest)
    for digest in (value.offer_sha256, value.provider.key_sha256, value.consumer.key_sha256, *value.cards):
        found.add(digest)
    for digest in _registrations(view, value):
        found.add(digest)
    for request in found.of_type("access-request"):
        found.add(decode(request, AccessRequest).delegation_sha256 or "")
    _add_listing(view, found, state)
    for party in (value.provider.participant, value.consumer.participant):
        _add_keys(view, found, party)
    _add_cards(view, venue, found, {value.provider_node, value.consumer_node})
    return found


def _registrations(view: View, value: Agreement) -> Iterator[str]:
    """The registration of the version that was agreed: the one in force, or an older one that the chain names."""
    product = view.get(ProductState, value.product)
    named = [product.document] if product else []
    named += [digest for one in _chain(view, "product", value.product, view.evidence.head().size)
              for digest in _documents(one)]  # fmt: skip
    named += reading.product_digests(view, value.product)
    for digest in dict.fromkeys(named):
        document = view.document(digest) if digest else None
        if document is not None and document.name == "registration":
            registration = decode(document, Registration)
            if (registration.product, registration.version) == (value.product, value.product_version):
                yield digest


def _documents(one: LogEntry) -> tuple[str, ...]:
    entry = _entry(one)
    return entry.documents if entry else ()


def _add_listing(view: View, found: _Gathered, state: AgreementState) -> None:
    negotiation = view.get(NegotiationState, state.negotiation)
    listing = view.get(ListingState, negotiation.listing) if negotiation and negotiation.listing else None
    if listing is not None:
        found.add(listing.document)


def _add_keys(view: View, found: _Gathered, participant: str) -> None:
    """Every key document that its chain here names, and the newest."""
    known = view.get(ParticipantState, participant)
    digests = [known.document] if known else []
    for one in _chain(view, "participant", participant, view.evidence.head().size):
        digests += _documents(one)
    for digest in dict.fromkeys(digests):
        document = view.document(digest) if digest else None
        if document is not None and document.name == "participant-key":
            found.documents[digest] = document


def _add_cards(view: View, venue: Venue, found: _Gathered, nodes: Iterable[str]) -> None:
    """Cards of both nodes and of our parents, who recognised us in a peer agreement."""
    for domain in nodes:
        card = venue.keyring.cards.get(domain)
        if card is not None:
            found.add_cards(card.document)
    for peering in view.find(PeeringState, relation="PARENT", state=("APPROVED", "SUSPENDED")):
        card = venue.keyring.cards.get(peering.id)
        if card is not None and found.add(peering.document) is not None:
            found.add_cards(card.document)


def _notices(view: View, found: _Gathered) -> Iterator[Document]:
    """Notices about the keys and participants that are met here, in the order of their digests.

    Ours, and those of other venues that came here and travel on: a witness may have taken a key back, too.
    """
    keys = [decode(one, ParticipantKey) for one in found.of_type("participant-key")]
    raw = [key.public for key in keys]
    raw += [key.public for one in found.cards.values() for card in one.values() for key in decode(card, Card).keys]
    subjects = {key.participant for key in keys} | {hashlib.sha256(bytes.fromhex(one)).hexdigest() for one in raw}
    told_already: dict[str, Document] = {}
    for audience in (EVERYBODY, *(peering.id for peering in view.find(PeeringState))):
        for line in view.feed("CONTROL", audience, 0, MAX_NOTICES):
            for document in line.documents:
                if document.name == "status" and _concerns(document, found.cards.keys(), subjects):
                    told_already[document.digest] = document
    yield from (told_already[digest] for digest in sorted(told_already))


def _concerns(document: Document, known: Collection[str], subjects: set[str]) -> bool:
    """Whether a notice is about one of them, and whoever signed it has a card here."""
    value = decode(document, Status)
    return value.iss in known and any(event.subject in subjects for event in value.events)


# --- the story ------------------------------------------------------------------------------------------------------


async def story(venue: Venue, sender: Sender, name: str) -> tuple[Told, ...]:
    """What happened under an agreement, as our own log has it: one line an entry, refusals too.

    Raises:
        TrustnodeError: NOT_FOUND.
    """
    return await venue.store.read(lambda view: _story(view, venue, _agreement(view, venue, sender, name)))


def _story(view: View, venue: Venue, state: AgreementState) -> tuple[Told, ...]:
    size = view.evidence.head().size
    entries = _chain(view, "agreement", state.id, size)
    shown = [*_up_to(_chain(view, "negotiation", state.negotiation, size), entries), *entries]
    return told(tuple(_line(one) for one in shown), _gather(view, venue, state, shown).documents)
