"""The node as its own functions see it: who it is, what it holds, what it signs with.

Decides: the common fields of what the venue signs. Leaves to others: everything else; this is what is passed around.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol
from weakref import WeakValueDictionary

import structlog

from trustnode.core import clock, identifier, tracing
from trustnode.core.document import Document, Signer, Statement, seal
from trustnode.core.policy import compiled, odrl
from trustnode.errors import error

if TYPE_CHECKING:
    from trustnode.app.keyring import KeyRing
    from trustnode.app.streams import Streams
    from trustnode.engine.pool import EnginePool
    from trustnode.store.writer import Store
    from trustnode.wire.peer import Peers

log = structlog.get_logger("trustnode")
POLICIES_KEPT = 512


class Clock(Protocol):
    """Where a node gets the time: the machine, or a test."""

    def now(self) -> str:
        """The present instant as the canonical text."""


class Custodian(Protocol):
    """Holds keys of participants who let the venue keep them."""

    def signer(self, name: str) -> Signer | None:
        """The signer of a participant of this venue; None where its key is not held here."""

    def create(self, name: str) -> Signer:
        """Make and keep the key of a participant."""

    def retire(self, name: str) -> None:
        """Use the key of a participant no more; another one may be made."""


class Issuer(Protocol):
    """The venue's certificate authority."""

    def client_chain(self, csr: bytes, participant: str) -> bytes:
        """Issue the certificate of a participant's client for the key in a request; PEM, leaf first."""

    def credential(self, path: str, life: timedelta) -> tuple[bytes, bytes]:
        """Make a key and its certificate for ``spiffe://<own domain>/<path>``; chain and key in PEM."""


@dataclass(frozen=True)
class Identity:
    """Who this venue is; fixed while the process runs."""

    domain: str
    node_id: str
    level: str
    area: str
    subject: str
    name: str

    @property
    def spiffe(self) -> str:
        """The node's own SPIFFE id."""
        return f"spiffe://{self.domain}/node/{self.node_id}"

    def participant(self, name: str) -> str:
        """SPIFFE id of a participant of this venue.

        Raises:
            TrustnodeError: FIELD_FORMAT: a name is one plain segment, so that no two look alike.
        """
        identifier.check_name(name)
        return f"spiffe://{self.domain}/participant/{name}"


@dataclass(frozen=True)
class Sender:
    """Who hands a document over, established before anything is read."""

    kind: Literal["CLIENT", "PEER", "OPERATOR", "SELF"]
    domain: str
    participant: str = ""
    """SPIFFE id of the participant behind a client."""

    @property
    def name(self) -> str:
        """For the log: the participant, or the domain."""
        return self.participant or self.domain


@dataclass
class Policies:
    """Compiled policies by digest, the most used ones."""

    kept: OrderedDict[str, compiled.CompiledPolicy] = field(default_factory=OrderedDict)
    _same: OrderedDict[int, tuple[odrl.Policy, compiled.CompiledPolicy]] = field(default_factory=OrderedDict)
    """The very objects that were asked for before: naming a policy by its digest costs more than deciding by it."""

    def load(self, policy: odrl.Policy) -> compiled.CompiledPolicy:
        """Compile a policy, or find it compiled.

        Raises:
            TrustnodeError: OFFER_UNENFORCEABLE, POLICY_CONFLICT, VOCABULARY_UNKNOWN.
        """
        same = self._same.get(id(policy))
        if same is not None and same[0] is policy:
            return same[1]
        found = self._load(policy)
        self._same[id(policy)] = policy, found
        while len(self._same) > POLICIES_KEPT:
            self._same.popitem(last=False)
        return found

    def _load(self, policy: odrl.Policy) -> compiled.CompiledPolicy:
        digest = odrl.digest(policy)
        if digest not in self.kept:
            self.kept[digest] = compiled.load(policy)
            while len(self.kept) > POLICIES_KEPT:
                self.kept.popitem(last=False)
        self.kept.move_to_end(digest)
        return self.kept[digest]


@dataclass
class Venue:
    """One running node."""

    identity: Identity
    clock: Clock
    store: Store
    keyring: KeyRing
    evidence: Signer
    log_key: Signer
    witness_key: Signer
    """Signs cosignatures of other logs, never our own."""
    custody: Custodian
    issuer: Issuer
    engine: EnginePool
    peers: Peers
    streams: Streams
    mask_secret: bytes
    """Secret from which the mask key of each agreement is derived; 32 bytes."""
    max_unwitnessed_s: int = 14_400
    """How long our log may go without its witnesses (config ``evidence``)."""
    refusals: dict[str, int] = field(default_factory=dict)
    """Refusals that left an entry, by day; of this process."""
    mirrored: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Entries of our log that each mirror holds by its own word, and when it said so; of this process."""
    issuing: dict[str, asyncio.Lock] = field(default_factory=dict)
    """Requests of the operator that are carried out now, by identifier."""
    pools: Mapping[str, str] = field(default_factory=dict)
    """Subject code or participant -> pool of those who are taken for one asker (config ``privacy``)."""
    questions: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    """Questions whose answers are being drawn now."""
    way_on: str = ""
    """The command that leads out of read-only, where one is known."""
    log_keys_besides: tuple[Signer, ...] = ()
    """The log key that comes next, or the one before: both sign the log while our card lists both."""
    policies: Policies = field(default_factory=Policies)
    on_trust_change: Callable[[], None] = lambda: None
    """Called when roots or the deny list changed, so that the server takes them over."""

    @property
    def domain(self) -> str:
        """Our trust domain."""
        return self.identity.domain

    @property
    def log_origin(self) -> str:
        """Origin of our log, as our card names it."""
        return self.keyring.log_origin(self.domain)

    @property
    def read_only(self) -> str:
        """Why nothing may be signed or appended; empty: it may."""
        return self.store.read_only

    def halt(self, reason: str, *, next_step: str = "") -> None:
        """Go on as a reader: nothing is appended, signed or delivered any more, and running streams end.

        Args:
            reason: One sentence for the operator; the first one stays.
            next_step: The command that leads on, where there is one; the first one stays.
        """
        self.way_on = self.way_on or next_step
        self.store.forbid(reason)
        self.streams.stop_all("READ_ONLY")
        log.critical("read-only", cause=self.read_only)

    @property
    def self_sender(self) -> Sender:
        """The node handing something to its own door."""
        return Sender("SELF", self.domain)

    def fields(self, *aud: str, iss: str = "", life_s: float = 0) -> dict[str, Any]:
        """Common fields of a statement made now."""
        now = self.clock.now()
        common: dict[str, Any] = {
            "suite": "tn1",
            "id": str(uuid.uuid4()),
            "iss": iss or self.domain,
            "aud": tuple(dict.fromkeys(aud)) or ("*",),
            "time": now,
        }
        return common | ({"expires": clock.shift(now, life_s)} if life_s else {})

    def sign(self, statement: Statement) -> Document:
        """Sign as the venue."""
        return seal(statement, self.evidence)

    def mask_key(self, agreement: str) -> bytes:
        """One key per agreement, so that two consumers cannot join on a masked value (governed-sql 10)."""
        return tracing.hash_key(self.mask_secret, agreement)

    def mark(self, product: str, consumer: str, agreement: str) -> tracing.Opening:
        """What is behind the mark of a consumer's copy of a product, and opens the commitment of one agreement."""
        return tracing.opening(self.mask_secret, product, consumer, agreement)

    def check_in_force(self, *domains: str) -> None:
        """Refuse new accesses and agreements with a venue whose card has ended, ourselves included (protocol 2.2).

        Raises:
            TrustnodeError: PEER_SUSPENDED.
        """
        now = self.clock.now()
        for domain in domains:
            card = self.keyring.cards.get(domain)
            if card is not None and card.value.expires <= now:
                step = "Its operator makes the next one: trustnode card next"
                raise error("PEER_SUSPENDED", f"the card of {domain} ended {card.value.expires[:10]}", next_step=step)

    def new_contract_id(self) -> str:
        """A fresh contract identifier of this venue."""
        who = self.identity
        random = identifier.random_part(secrets.token_bytes(8))
        return identifier.contract_id(who.level, who.subject, who.area, self.clock.now(), random)

    def new_product_id(self) -> str:
        """A fresh product identifier of this venue."""
        return identifier.product_id(
            self.identity.subject, self.identity.area, identifier.random_part(secrets.token_bytes(8))
        )

    def check_may_trade(self, party_subject: str = "") -> None:
        """Refuse trade at a national node, and by the venue itself (vocabulary 14, 34 and 35).

        Raises:
            TrustnodeError: NATIONAL_NODE_CANNOT_TRADE, VENUE_IS_PARTY.
        """
        if self.identity.level == "NATIONAL":
            raise error(
                "NATIONAL_NODE_CANNOT_TRADE", f"{self.domain} is a national node: it supervises and does not trade"
            )
        if party_subject and party_subject == self.identity.subject:
            raise error("VENUE_IS_PARTY", "a venue and a trading party may not be one subject")


def supporting_documents(documents: tuple[Document, ...]) -> Mapping[str, Document]:
    """Documents that came along, by digest."""
    return {document.digest: document for document in documents}
