"""A bundle under examination: what is known so far, and what was found.

Decides: which keys count at which time, and how a document of the bundle is checked. Leaves to others: the checks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from trustnode.core import clock
from trustnode.core.access import Named as ReadUnder
from trustnode.core.access import Receipt, Resumes
from trustnode.core.contract import Agreement
from trustnode.core.document import (
    SKEW_S,
    Document,
    Keys,
    KeyUse,
    PublicKey,
    Statement,
    Verified,
    decode,
    is_signature,
    name_of,
    pae,
    verify,
)
from trustnode.core.evidence.bundle import Contents, Line
from trustnode.core.evidence.checkpoint import SignedCheckpoint
from trustnode.core.evidence.entry import Entry
from trustnode.core.evidence.quorum import WitnessPolicy
from trustnode.core.evidence.report import AccessLine, Cosignature, Counts, Finding, Named, Verdict
from trustnode.core.evidence.sealing import sealed_text
from trustnode.core.evidence.tree import TreeHead
from trustnode.core.identity import Card, fingerprint, parse_log_origin, vouched, witness_name
from trustnode.core.participant import ParticipantKey, domain_of
from trustnode.errors import TrustnodeError, error

S = TypeVar("S", bound=Statement)
MAX_FINDINGS: Final = 200


class KeyBook:
    """Every key that cards and key documents of the bundle vouch for, of all versions."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, str], tuple[PublicKey, ...]] = {}
        self._owners: dict[bytes, tuple[str, str]] = {}
        self._by_kid: dict[str, bytes] = {}
        self._published: dict[str, tuple[str, str]] = {}

    def __call__(self, owner: str, use: KeyUse) -> Sequence[PublicKey]:
        """Keys of an owner for a use."""
        return self._keys.get((owner, use), ())

    def add_card(self, card: Card, digest: str = "") -> None:
        """Take in what a card vouches for; of several versions the oldest first.

        Raises:
            VerificationFailed: A key has another owner or use already (protocol 1.1).
        """
        for use, keys in vouched(card).items():
            for key in keys:
                self._add(card.trust_domain, use, key)
                self._published.setdefault(key.kid, (card.trust_domain, digest))

    def add_participant(self, value: ParticipantKey, digest: str = "") -> None:
        """Take in a key document; raises as ``add_card``."""
        key = PublicKey(bytes.fromhex(value.public), value.not_before, value.not_after)
        self._add(value.participant, "participant", key)
        self._published.setdefault(key.kid, (value.iss, digest))

    def revoke(self, by: str, kid: str, invalid_from: str) -> None:
        """End a key that the venue ``by`` vouches for at a time; the earliest notice counts."""
        for owner, keys in self._keys.items():
            if by not in (owner[0], domain_of(owner[0])):
                continue
            self._keys[owner] = tuple(_ended(key, invalid_from) if key.kid == kid else key for key in keys)

    def at(self, time: str) -> Keys:
        """The keys that could sign what was sealed at ``time`` (protocol 1.4).

        Witness and venue tell the time from two clocks: a key that begins within the skew after it has begun.
        """
        begun = clock.shift(time, SKEW_S)
        return lambda owner, use: [
            key._replace(not_before="", not_after=clock.FOREVER, revoked_from="")
            for key in self(owner, use)
            if key.not_before <= begun and key.valid_at(max(key.not_before, time))
        ]

    def published_by(self, kid: str) -> tuple[str, str]:
        """Domain and digest of the oldest card or key document that names a key; empty: it is not known."""
        return self._published.get(kid, ("", ""))

    def made(self, document: Document, signature_kid: str, signature: bytes) -> bool:
        """Whether the key with that kid made the signature."""
        raw = self._by_kid.get(signature_kid)
        return raw is not None and is_signature(raw, signature, pae(document.payload_type, document.payload))

    def _add(self, owner: str, use: KeyUse, key: PublicKey) -> None:
        # a key of one log of a venue is none of another: what it signed there would be a second history here
        name = (owner, use if key.log == 1 else f"{use} {key.log}")
        if self._owners.setdefault(key.raw, name) != name:
            raise error("VERIFICATION_FAILED", f"one key serves {owner} ({use}) and {self._owners[key.raw][0]}")
        self._by_kid[key.kid] = key.raw
        held = self._keys.get((owner, use), ())
        if key not in held:
            self._keys[owner, use] = (*held, key)


def _ended(key: PublicKey, invalid_from: str) -> PublicKey:
    return key._replace(revoked_from=min(key.revoked_from or clock.FOREVER, invalid_from))


def without_strangers(document: Document, book: KeyBook) -> Document:
    """The document with those signatures only that known keys made: what a bundle may hold."""
    kept = tuple(s for s in document.signatures if book.made(document, s.keyid, s.sig))
    return Document(document.payload_type, document.payload, kept)


class Cosigned(NamedTuple):
    """A checkpoint of a log, and who cosigned it when."""

    signed: SignedCheckpoint
    times: Mapping[str, int]
    """Trust domain of each witness that counts -> Unix seconds; each once, however many keys it has."""

    @property
    def head(self) -> TreeHead:
        """Size and root."""
        return self.signed.head

    @property
    def log(self) -> int:
        """Which log of its venue it is of."""
        return parse_log_origin(self.signed.checkpoint.origin)[1]

    def under(self, policy: WitnessPolicy, domains: Collection[str] | None = None) -> dict[bytes, int]:
        """The cosignatures as the keys that a policy lists; of these domains only, where they are given."""
        kept = {d: at for d, at in self.times.items() if domains is None or d in domains}
        return policy.by_names({witness_name(domain): at for domain, at in kept.items()})


class Shown(NamedTuple):
    """One entry of an agreement's chain."""

    line: Line
    link: bytes
    """E."""
    entry: Entry | None
    """None where it is withheld or erased."""


@dataclass
class Trail:
    """The chains of one venue, followed as far as they go."""

    domain: str
    negotiation: list[Shown] = field(default_factory=list)
    agreement: list[Shown] = field(default_factory=list)
    doubled: tuple[Shown, ...] = ()
    """Entries under a number that another entry has already."""
    gap: str = ""
    """Where a chain could not be followed further; empty: to its end."""

    @property
    def all(self) -> list[Shown]:
        """Both chains, the negotiation's first."""
        return [*self.negotiation, *self.agreement]

    def entries(self, *types: str) -> list[tuple[Shown, Entry]]:
        """Entries of these types in the agreement's chain that are shown."""
        return [(one, one.entry) for one in self.agreement if one.entry is not None and one.entry.type in types]


@dataclass
class Access:
    """One access as the provider's chain and the documents show it."""

    id: str
    entry_id: str
    """Its id in this agreement's chains; another one where it is one of several that the request joins."""
    decided: Shown
    time: str
    request: str
    """Digest."""
    agreements: tuple[ReadUnder, ...]
    """All that it reads under, the first one first."""
    consumer: str
    plan_commitment: str
    resumes: Resumes | None = None
    frames: int = 0
    reserved_rows: int | None = None
    grade: str = ""
    receipt: str = ""
    receipted: str = ""
    """When the log has the receipt."""
    outcome: str = ""
    rows: int = 0
    bytes: int = 0
    cost_fen: int = 0
    acknowledged: bool = False


@dataclass
class Sealed:
    """What checkpoints and chains say about when a document existed."""

    entries: dict[tuple[str, int], str] = field(default_factory=dict)
    """(domain, index) -> sealed time of the entry."""
    documents: dict[str, str] = field(default_factory=dict)
    """Digest -> earliest sealed time of an entry that names it."""
    published: dict[str, str] = field(default_factory=dict)
    """Digest of a card or key document -> sealed time of the entry that published it."""
    indexes: dict[tuple[str, str], int] = field(default_factory=dict)
    """(domain, digest) -> index of the first entry that names it."""


@dataclass
class Case:
    """The state of one examination. Checks add to it in their order."""

    contents: Contents
    anchors: Mapping[str, str]
    """Domain -> fingerprint."""
    trusted: Mapping[str, Document]
    """Cards of venues whose recognition of others is believed, by domain."""
    witness_policy: str = ""
    findings: list[Finding] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    step: int = 0
    deal: Agreement | None = None
    cards: dict[str, list[Verified[Card]]] = field(default_factory=dict)
    book: KeyBook = field(default_factory=KeyBook)
    anchored: dict[str, str] = field(default_factory=dict)
    vouched: dict[str, str] = field(default_factory=dict)
    policies: list[WitnessPolicy] = field(default_factory=list)
    """Who has to cosign, as the agreement says it; read by check 3."""
    checkpoints: dict[str, Cosigned] = field(default_factory=dict)
    seals: dict[str, dict[int, Cosigned]] = field(default_factory=dict)
    """Domain -> index -> earlier checkpoint that sealed the entry; proven by check 4."""
    published: dict[tuple[str, str], int] = field(default_factory=dict)
    """(domain, digest of a card or key document) -> index of the entry that published it; proven by check 4."""
    sealed: Sealed = field(default_factory=Sealed)
    """Filled by check 5."""
    trails: dict[str, Trail] = field(default_factory=dict)
    as_of: dict[str, str] = field(default_factory=dict)
    accesses: dict[str, Access] = field(default_factory=dict)
    going_on: dict[str, list[Access]] = field(default_factory=lambda: defaultdict(list))
    """Access -> those that go on with it, in the order of their decisions."""
    bare: list[Receipt] = field(default_factory=list)
    """Receipts whose decision is withheld; found by check 9."""
    grades: dict[str, int] = field(default_factory=dict)
    custody: set[str] = field(default_factory=set)
    unwitnessed: bool = True
    zone: str = "Asia/Shanghai"
    """In which the product counts days and months; by its registration."""
    counted: dict[str, int] = field(default_factory=dict)

    @property
    def value(self) -> Agreement:
        """The agreement; its signatures count from step 6 on."""
        if self.deal is None:
            raise error("VERIFICATION_FAILED", "the agreement could not be read")
        return self.deal

    @property
    def provider_trail(self) -> Trail:
        """The chain that counts: decisions and receipts stand in the log of the node that holds the data."""
        return self.trails.get(self.value.provider_node) or Trail(self.value.provider_node)

    @property
    def consumer_trail(self) -> Trail | None:
        """The chain of the carrier; None where both parties are at one venue."""
        value = self.value
        if value.consumer_node == value.provider_node:
            return None
        return self.trails.get(value.consumer_node) or Trail(value.consumer_node)

    def policy(self, domain: str) -> WitnessPolicy | None:
        """Who has to cosign the log of a domain by the agreement."""
        return next((one for one in self.policies if one.covers_log_of(domain)), None)

    @property
    def reserve(self) -> str:
        """What a sentence about reads, limits and stops has to add where the chain that counts is not all shown."""
        hidden = sum(one.entry is None for one in self.provider_trail.agreement)
        return f"; as far as shown: {hidden} entries of {self.value.provider_node} are not" if hidden else ""

    @property
    def _asks(self) -> bool:
        """Whether the agreement asks anybody to cosign."""
        return any(policy.asks for policy in self.policies)

    @property
    def sealed_at(self) -> str:
        """When the agreement counts as sealed: for want of a quorum, the time of ``contract.sign`` at the provider."""
        signed = self.provider_trail.entries("contract.sign")
        sealed = self.sealed.documents.get(self.contents.agreement, "")
        return sealed or (signed[0][1].time if signed else self.value.time)

    def sealed_time(self, digest: str) -> str:
        """When a document was sealed; empty where no quorum says it."""
        if digest in self.sealed.documents or digest not in self.named_in_agreement():
            return self.sealed.documents.get(digest, "")
        return self.sealed.documents.get(self.contents.agreement, "")

    def named_in_agreement(self) -> frozenset[str]:
        """Digests that the agreement names, and of the cards before those: whoever signed it had seen them.

        First cards belong here too: a venue has one before it has a log.
        """
        value = self.value
        named = {value.offer_sha256, value.provider.key_sha256, value.consumer.key_sha256, *value.cards}
        for cards in self.cards.values():
            newest = max((card.value.version for card in cards if card.digest in named), default=1)
            named |= {card.digest for card in cards if card.value.version <= newest}
        return frozenset(named)

    def find(self, verdict: Verdict, message: str) -> None:
        """Note what is wrong."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(self.step, verdict, message))

    def document(self, digest: str, what: str) -> Document | None:
        """A document of the bundle; its absence is noted."""
        document = self.contents.documents.get(digest)
        if document is None:
            self.find("INCOMPLETE", f"{what} {digest[:12]} is left out")
        return document

    def of_type(self, *kinds: type[Statement]) -> list[tuple[str, Document]]:
        """Documents of these types, by digest."""
        names = {name_of(kind) for kind in kinds}
        return [(d, one) for d, one in sorted(self.contents.documents.items()) if one.name in names]

    def named(self, entry: Entry, kind: type[Statement]) -> list[tuple[str, Document]]:
        """Documents of a type that an entry names and that are here."""
        held = ((digest, self.contents.documents.get(digest)) for digest in entry.documents)
        return [(digest, one) for digest, one in held if one is not None and one.name == name_of(kind)]

    def check(self, document: Document, kind: type[S], at: str = "") -> Verified[S]:
        """Check a document's form and all its signatures.

        A signature of nobody known is refused: no byte of a bundle goes unchecked.

        Args:
            document: The document.
            kind: Its type.
            at: When it counts as made where no quorum sealed it; empty: its own time.

        Raises:
            TrustnodeError: As ``document.verify``.
        """
        at = self.sealed_time(document.digest) or at
        verified = verify(document, kind, self.book.at(at) if at else self.book, None)
        for kid in verified.keys:
            self._check_published(kid, document)
        for one in document.signatures:
            if not self.book.made(document, one.keyid, one.sig):
                raise error("SIGNATURE_INVALID", f"a {document.name} carries a signature that no known key made")
        return verified

    def is_revoked(self, document: Document) -> bool:
        """Whether every key of a venue that signed a key document was revoked by the time the document was sealed.

        A venue that took a key back signs its key documents again, so one that still stands is enough. It was sealed
        with the entry that published it, where that is shown; else no later than the agreement that names it.
        """
        owner = decode(document, ParticipantKey).iss
        kids = {one.keyid for one in document.signatures}
        ends = [key.revoked_from or clock.FOREVER for key in self.book(owner, "evidence") if key.kid in kids]
        sealed = self.sealed.published.get(document.digest) or self.sealed_at
        return bool(ends) and all(end <= sealed for end in ends)

    def _check_published(self, kid: str, document: Document) -> None:
        """The entry that published a key precedes the entry of what the key signed, in the issuer's log (1.4)."""
        domain, source = self.book.published_by(kid)
        named = self.sealed.indexes.get((domain, document.digest))
        if named is None or source in self.named_in_agreement():
            return
        published = self.published.get((domain, source))
        if published is None:
            what = f"when {domain} published the key that signed {document.name} {document.digest[:12]}"
            self.find("INCOMPLETE", f"{what} is not shown")
        elif published >= named:
            raise error("SIGNATURE_INVALID", f"{domain} published the key of a {document.name} after its signature")

    def try_check(self, document: Document, kind: type[S], at: str = "") -> Verified[S] | None:
        """As ``check``; what is wrong is noted."""
        try:
            return self.check(document, kind, at)
        except TrustnodeError as problem:
            self.find("INVALID", f"{document.name} {document.digest[:12]}: {problem.message}")
            return None

    def stands(self, owner: str, use: KeyUse, kids: Collection[str]) -> bool:
        """Whether one of these keys of a venue was not revoked and stands in its newest card here.

        For what nothing seals: it is made for the bundle that holds it, so by a key of that day.
        """
        card = self.newest_card(owner)
        listed = vouched(card.value).get(use, ()) if card else ()
        standing = {key.kid for key in self.book(owner, use) if not key.revoked_from} & {key.kid for key in listed}
        return bool(standing & set(kids))

    def was_taken_back(self, owner: str, use: KeyUse, kid: str) -> bool:
        """Whether a venue revoked a key, or dropped it from its card in the step that brought the next one.

        A key that is replaced in good order stands beside its successor on one version (protocol 1.3); a stolen one
        does not. So the cards tell it where the notice is left out.
        """
        if any(key.kid == kid and key.revoked_from for key in self.book(owner, use)):
            return True
        listed = [{key.kid for key in vouched(card.value).get(use, ())} for card in self.cards.get(owner, ())]
        last = max((at for at, kids in enumerate(listed) if kid in kids), default=-1)
        return last < 0 or (last + 1 < len(listed) and not (listed[last] - {kid}) & listed[last + 1])

    def newest_card(self, domain: str) -> Verified[Card] | None:
        """The newest card of a domain."""
        return self.cards[domain][-1] if self.cards.get(domain) else None

    def is_anchored(self, domain: str) -> bool:
        """Whether somebody the reader trusts vouches for the keys of a domain."""
        return domain in self.anchored or domain in self.vouched

    def facts(self) -> dict[str, Any]:
        """The fields of a report that follow from the case."""
        value = self.deal
        relied = [(d, card) for d in (self.contents.nodes if value else ()) if (card := self.newest_card(d))]
        shown = [one for trail in self.trails.values() for one in trail.all]
        return {
            "agreement": value.contract_id if value else "",
            "product": value.product if value else "",
            "provider": value.provider.participant if value else "",
            "consumer": value.consumer.participant if value else "",
            "anchors": _named(self.anchored),
            "vouched": _named(self.vouched),
            "relied_on": tuple(Named(d, fingerprint(card.document)) for d, card in relied if not self.is_anchored(d)),
            "grades": tuple(sorted(self.grades.items())),
            "custody": tuple(sorted(self.custody)),
            "one_venue": value is not None and value.consumer_node == value.provider_node,
            "withheld": sum(one.entry is None for one in shown),
            "unwitnessed": self.unwitnessed,
            "unacknowledged": tuple(a.id for a in self.accesses.values() if a.receipt and not a.acknowledged),
            "as_of": _named(self.as_of),
            "sealed_at": self.sealed.documents.get(self.contents.agreement, "") if value else "",
            "cosigned": tuple(self._cosigned()),
            "asks": tuple(Named(d, p.words) for d in self.contents.nodes if (p := self.policy(d))) if value else (),
            "accesses": tuple(self._access_lines()),
            "unsealed": tuple(line.id for line in self._access_lines() if not line.sealed_at) if self._asks else (),
            "remarks": tuple(self.remarks),
            "counts": Counts(entries=len(shown), accesses=len(self.accesses), **self.counted),
        }

    def _cosigned(self) -> Iterator[Cosignature]:
        for domain, point in sorted(self.checkpoints.items()):
            for witness, at in sorted(point.times.items(), key=lambda one: (one[1], one[0])):
                yield Cosignature(domain, witness, sealed_text(at), point.head.size, self.is_anchored(witness))

    def _access_lines(self) -> Iterator[AccessLine]:
        for one in self.accesses.values():
            yield AccessLine(
                id=one.id, time=one.time, grade=one.grade, outcome=one.outcome, rows=one.rows, bytes=one.bytes,
                cost_fen=one.cost_fen, receipt=one.receipt, acknowledged=one.acknowledged,
                sealed_at=self.sealed.documents.get(one.receipt or one.request, ""),
            )  # fmt: skip


def _named(pairs: Mapping[str, str]) -> tuple[Named, ...]:
    return tuple(Named(domain, pairs[domain]) for domain in sorted(pairs))
