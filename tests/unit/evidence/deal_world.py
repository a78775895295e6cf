"""Two venues, one agreement, two reads, made with generated keys: the good bundle that tests take apart.

``Deal`` makes it in the order in which two nodes would. Whoever wants a lie told by a venue that holds its keys gives
``lies``: field changes of a document or an entry before it is signed or logged. Whoever wants a lie told by the
bearer of the file changes ``Contents``.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trustnode.core import clock
from trustnode.core.access import AccessRequest, AckItem, DecisionLink, Meter, Receipt, ReceiptAck
from trustnode.core.catalog import Personal, Registration, Right, Table
from trustnode.core.contract import (
    RESPONSIBILITY,
    Ack,
    Agreement,
    Delegation,
    Mandate,
    NegotiationMessage,
    Offer,
    Party,
    Price,
)
from trustnode.core.document import Document, Signer, Statement, canonical, seal
from trustnode.core.evidence import bundle, chain, tree
from trustnode.core.evidence.bundle import Contents, Line, Part, Publication
from trustnode.core.evidence.chain import ChainEnd
from trustnode.core.evidence.checkpoint import Checkpoint, sign_checkpoint
from trustnode.core.evidence.edges import TileEdges
from trustnode.core.evidence.entry import Entry, statement
from trustnode.core.evidence.head import ChainHead
from trustnode.core.evidence.note import COSIGNATURE_V1, ED25519, VerifierKey, cosign
from trustnode.core.evidence.proof import TlogProof
from trustnode.core.identity import Card, CardBundle, CardKey, ProtocolRange, RootKeys, fingerprint, log_origin
from trustnode.core.participant import ParticipantKey
from trustnode.core.peering import PeerAgreement, Status, StatusEvent
from trustnode.core.policy import odrl
from trustnode.core.policy.compile import compile_terms
from trustnode.core.policy.schema import Column
from trustnode.core.policy.terms import Terms

START = "2026-11-24T03:00:00.000Z"
NODE_ID = "1" * 32
COLUMNS = (Column(name="origin", type="utf8"), Column(name="delay", type="int64"))
TERMS = Terms(
    purposes="any", who="anyone", period="24 months", columns="all", limits=("3 reads per day", "1000 rows in all"),
    keep="unlimited", onward="allowed", duties=("name the source",),
)  # fmt: skip


class Key:
    """A generated signing key."""

    def __init__(self) -> None:
        self._private = Ed25519PrivateKey.generate()
        self.public = self._private.public_key().public_bytes_raw()
        self.sign = self._private.sign


class Venue:
    """A trust domain with its keys, its cards and its log."""

    def __init__(self, domain: str, level: str = "REGIONAL") -> None:
        self.domain, self.level = domain, level
        self.root, self.evidence, self.log_key, self.witness = Key(), Key(), Key(), Key()
        self.log = Log(self)
        self.cards = [self.card()]

    def card(self, version: int = 1, previous: str = "", **changes: Any) -> Document:
        uses = (("evidence", self.evidence), ("log", self.log_key), ("witness", self.witness))
        until = clock.shift(START, 86400 * 700)
        fields: dict[str, Any] = {
            "expires": clock.shift(START, 86400 * 390), "trust_domain": self.domain, "node_id": NODE_ID,
            "level": self.level, "area": "3300", "name": f"Venue {self.domain}", "version": version,
            "previous": previous, "root": RootKeys(1, (self.root.public.hex(),)),
            "keys": tuple(
                CardKey(use, key.public.hex(), clock.shift(START, -86400), until)  # type: ignore[arg-type]
                for use, key in uses
            ),
            "bundle": CardBundle(1, ()), "endpoints": (f"node.{self.domain}:7443",), "protocol": ProtocolRange(1, 1),
        }  # fmt: skip
        return seal(Card(**common(self.domain, "*"), **(fields | changes)), self.root)

    def add_card(self, *signers: Signer, **changes: Any) -> Document:
        last = self.cards[-1]
        number = len(self.cards) + 1
        self.cards.append(self.card(number, last.digest, **changes))
        return self.cards[-1]

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.cards[0])


class Log:
    """The log of one venue, in memory."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.leaves: list[bytes] = []
        self.lines: dict[tuple[str, str], list[Line]] = {}
        self.ends: dict[tuple[str, str], ChainEnd] = {}
        self.points: list[tuple[int, bytes]] = []
        """Checkpoints that were cosigned on the way: size, note."""
        self.published: list[Publication] = []
        self.alone: tuple[int, int, float] | None = None
        """An entry of another chain that is sealed by itself: index, size of the head, seconds."""

    def publish(self, kind: str, name: str, event: str, time: str, *digests: str) -> None:
        """Log that a card or a key document became known."""
        before = self.ends.get((kind, name), ChainEnd())
        self.add(kind, name, event, time, documents=digests)
        line = self.lines[kind, name][-1]
        self.published.append(
            Publication(
                object_kind=kind, object=name, seq=line.seq, index=line.index, previous=before.link.hex(),  # type: ignore[arg-type]
                salt=line.salt or "", statement=line.statement or "",
            )
        )  # fmt: skip

    def add(self, kind: str, name: str, event: str, time: str, **fields: Any) -> ChainEnd:
        entry = Entry(
            event_id=uuid.uuid4().hex, type=event, time=time, node_id=NODE_ID, object_kind=kind, object=name, **fields
        )
        return self.add_raw(kind, name, statement(entry))

    def add_raw(self, kind: str, name: str, told: bytes) -> ChainEnd:
        salt = uuid.uuid4().bytes
        committed = chain.commitment(salt, told)
        end = chain.extend(self.ends.get((kind, name), ChainEnd()), chain.object_id(kind, name), committed)
        self.ends[kind, name] = end
        line = Line(
            seq=end.seq, index=len(self.leaves), commitment=committed.hex(), salt=salt.hex(), statement=told.decode()
        )
        self.lines.setdefault((kind, name), []).append(line)
        self.leaves.append(end.link)
        return end

    def padding(self, count: int) -> None:
        self.leaves += [uuid.uuid4().bytes * 2 for _ in range(count)]

    def seal(self, seconds: float, *witnesses: Venue) -> None:
        """Have the log cosigned as it is now."""
        self.points.append((len(self.leaves), self.checkpoint(*witnesses, seconds=seconds)))

    def checkpoint(self, *witnesses: Venue, seconds: float = 600, size: int | None = None) -> bytes:
        head = TileEdges().grow([tree.leaf_hash(leaf) for leaf in self.leaves[:size]]).head
        point = Checkpoint(log_origin(self.venue.domain), head.size, head.root)
        note = sign_checkpoint(point, self.venue.log_key.public, self.venue.log_key.sign)
        at = clock.to_ms(START) // 1000 + int(seconds)
        for one in witnesses:
            line = cosign(point.text, f"{one.domain}/witness", one.witness.public, one.witness.sign, at)
            note += line.encode()
        return note

    def part(self, deal: Deal, **head: Any) -> Part:
        note = self.checkpoint(*deal.cosigners(self.venue), seconds=deal.final_s)
        lines = (*self.lines["negotiation", deal.negotiation], *self.lines["agreement", deal.contract])
        size = len(self.leaves)
        proofs = self.prove([line.index for line in lines] + [one.index for one in self.published], size, note)
        seals: dict[int, TlogProof] = {}
        for covered, earlier in self.points:
            last = max(line.index for line in lines if line.index < covered)
            if last not in seals:
                seals |= self.prove([last], covered, earlier)
        if self.alone:
            index, covered, seconds = self.alone
            seals |= self.prove(
                [index], covered, self.checkpoint(*deal.cosigners(self.venue), seconds=seconds, size=covered)
            )
        root = TileEdges().grow([tree.leaf_hash(leaf) for leaf in self.leaves]).head.root
        end = self.ends["agreement", deal.contract]
        fields = {
            "kind": "agreement", "object": deal.contract, "seq": end.seq, "link": end.link.hex(),
            "origin": log_origin(self.venue.domain), "tree_size": size, "root": root.hex(),
        } | head  # fmt: skip
        signed = seal(ChainHead(**common(self.venue.domain, "*", time=deal.time(900)), **fields), self.venue.evidence)
        status = tuple(deal.status.get(self.venue.domain, ()))
        return Part(lines, proofs, seals, tuple(self.published), signed, status)

    def prove(self, indexes: list[int], size: int, note: bytes) -> dict[int, TlogProof]:
        tiles = TileEdges().grow([tree.leaf_hash(leaf) for leaf in self.leaves[:size]]).tiles
        get = tree.hashes_in(lambda level, number: tiles[level, number])
        return {index: TlogProof(index, tuple(tree.prove_inclusion(index, size, get)), note) for index in indexes}


def common(iss: str, *aud: str, time: str = START) -> dict[str, Any]:
    return {"suite": "tn1", "id": str(uuid.uuid4()), "iss": iss, "aud": aud, "time": time}


@dataclass
class Deal:
    """One agreement between a consumer of ``zj`` and a provider of ``gz``, and its reads."""

    lies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What is told -> fields told wrongly: offer, agreement, request, receipt, ack, delegation, sign, decide, end."""
    reads: tuple[int, ...] = (3, 12)
    """Rows of each read."""
    one_venue: bool = False
    grade: str = "SIGNED"
    custody: str = "HELD"
    ack: bool = True
    witnesses: tuple[Venue, ...] = ()
    """Who cosigns at the end, where the agreement asks for nobody."""
    quorum: bool = False
    """The agreement asks for the other party and the national venue; both cosign on the way."""
    sealed_s: float | None = 20
    """When the agreement is sealed; None: only at the end."""
    final_s: float = 600
    """When the newest checkpoint is cosigned."""
    seal_reads: bool = True
    first_read_s: float = 100
    max_unwitnessed_s: int = 0
    price: str = "0.02 CNY per row"
    status: dict[str, list[Document]] = field(default_factory=dict)
    steps: tuple[tuple[str, str], ...] = ()
    """(event, to_state) logged at the provider between the first and the second read."""
    interval_s: int = 60
    limits: tuple[str, ...] = TERMS.limits

    def __post_init__(self) -> None:
        self.gz = Venue("gz.example")
        self.zj = self.gz if self.one_venue else Venue("zj.example")
        self.nat = Venue("nat.example", "NATIONAL")
        self.venues = tuple(dict.fromkeys((self.gz, self.zj)))
        self.provider_key, self.consumer_key = Key(), Key()
        self.provider = f"spiffe://{self.gz.domain}/participant/bureau"
        self.consumer = f"spiffe://{self.zj.domain}/participant/acme"
        self.negotiation, self.contract = str(uuid.uuid4()), "C" + "0" * 46
        self.documents: dict[str, Document] = {}
        self.requests: list[AccessRequest] = []
        for venue in self.venues:
            venue.log.padding(3)
        self._enrol()
        self._publish()
        self._negotiate()
        self._agree()
        self._seal(self.sealed_s)
        self._read_all()

    def cosigners(self, venue: Venue) -> tuple[Venue, ...]:
        """Who cosigns the log of a venue."""
        if not self.quorum:
            return self.witnesses
        return (*(one for one in self.venues if one is not venue), self.nat)

    def _seal(self, seconds: float | None) -> None:
        if self.quorum and seconds is not None:
            for venue in self.venues:
                venue.log.seal(seconds, *self.cosigners(venue))

    def policy(self, venue: Venue) -> str:
        """Who has to cosign the log of a venue: all of the others."""
        lines = [f"log {VerifierKey(log_origin(venue.domain), ED25519, venue.log_key.public).text}"]
        for one in (*(one for one in self.venues if one is not venue), self.nat):
            key = VerifierKey(f"{one.domain}/witness", COSIGNATURE_V1, one.witness.public)
            lines.append(f"witness {one.domain} {key.text}")
        names = " ".join(line.split()[1] for line in lines[1:])
        return "\n".join([*lines, f"group all-of-them all {names}", "quorum all-of-them"]) + "\n"

    def time(self, seconds: float) -> str:
        return clock.shift(START, seconds)

    def told(self, what: str, fields: dict[str, Any]) -> dict[str, Any]:
        return fields | self.lies.get(what, {})

    def keep(self, value: Statement, *signers: Signer) -> Document:
        document = seal(value, *signers)
        self.documents[document.digest] = document
        return document

    # --- before the agreement ---

    def _enrol(self) -> None:
        self.keys = {}
        for venue, who, key, role in (
            (self.gz, self.provider, self.provider_key, "PROVIDER"),
            (self.zj, self.consumer, self.consumer_key, "CONSUMER"),
        ):
            fields = {
                "participant": who, "title": who[-6:], "roles": (role,), "public": key.public.hex(),
                "custody": self.custody if role == "CONSUMER" else "HELD", "not_before": START,
                "not_after": clock.shift(START, 86400 * 365),
            }  # fmt: skip
            document = ParticipantKey(**(common(venue.domain, "*") | self.told(f"key {role}", fields)))
            self.keys[who] = self.keep(document, venue.evidence, key)

    def _publish(self) -> None:
        product = f"{self.gz.domain}/flights"
        title = self.told("registration", {"title": "Flights"})["title"]
        registration = Registration(
            **common(self.provider, "*"), product=product, version=1, title=title, abstract="flights of a year",
            provider=self.provider, licence="CC0-1.0", category="PUBLIC", level="GENERAL_1", level_basis="open data",
            topic="B0300", scene="U0400", industry="0054", form="DATASET", updates="HISTORICAL", source="COLLECTED",
            source_sha256="a" * 64, rights=(Right(right=("OPERATE",), holder="bureau", basis_sha256="b" * 64),),
            personal=Personal(kind="NONE", processing="RAW"), cross_border=False, zone="Asia/Shanghai",
            tables=(Table(name="flights", columns=COLUMNS),),
        )  # fmt: skip
        self.registration = self.keep(registration, self.provider_key)
        terms = msgspec.structs.replace(TERMS, limits=self.limits)
        policy = compile_terms(
            terms, price=self.price, schema=COLUMNS, zone="Asia/Shanghai", level="GENERAL_1", at=clock.moment(START)
        )
        fields = {
            "name": "open", "product": product, "product_version": 1, "provider": self.provider, "policy": policy,
            "terms": canonical(terms).decode(), "price": Price.parse(self.price), "approval": "automatic",
            "valid_until": self.time(86400), "mandate": Mandate(100),
        }  # fmt: skip
        self.offer_value = Offer(**(common(self.provider, "*") | self.told("offer", fields)))
        self.offer = self.keep(self.offer_value, self.provider_key)

    def _negotiate(self) -> None:
        message = NegotiationMessage(
            **common(self.consumer, *self.domains, time=self.time(10)), negotiation=self.negotiation, number=1,
            message="ContractRequestMessage", offer_sha256=self.offer.digest, counterpart=self.provider,
            purpose="statistics",
        )  # fmt: skip
        self.request_message = self.keep(message, self.consumer_key)
        for venue in self.venues:
            digests = (self.request_message.digest, self.offer.digest)
            self.log(venue, "contract.request", 10, kind="negotiation", documents=digests, actor="acme")

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(venue.domain for venue in self.venues)

    def log(self, venue: Venue, event: str, seconds: float, *, kind: str = "agreement", **fields: Any) -> ChainEnd:
        name = self.contract if kind == "agreement" else self.negotiation
        if event in self.lies.get("skip", {}).get(venue.domain, ()):
            return venue.log.ends[kind, name]
        return venue.log.add(kind, name, event, self.time(seconds), **fields)

    def party(self, who: str, venue: Venue) -> Party:
        return Party(participant=who, home=venue.domain, node=NODE_ID, subject="", key_sha256=self.keys[who].digest)

    def _agree(self) -> None:
        policy = odrl.agreement(
            self.offer_value.policy, target=self.offer_value.product, assigner=self.provider, assignee=self.consumer
        )
        fields = {
            "contract_id": self.contract, "negotiation": self.negotiation, "offer_sha256": self.offer.digest,
            "provider": self.party(self.provider, self.gz), "consumer": self.party(self.consumer, self.zj),
            "listing_venue": self.gz.domain, "provider_node": self.gz.domain, "consumer_node": self.zj.domain,
            "cards": tuple(venue.cards[0].digest for venue in self.venues), "sign_mode": "01",
            "mandate": self.offer.digest, "product": self.offer_value.product, "product_id": "6",
            "product_version": 1, "right_granted": "USE", "policy": policy, "purpose": "statistics",
            "price": self.offer_value.price, "start": self.time(11), "end": self.time(86400 * 600),
            "sign_by": self.time(3600), "request_proof_min": "CUSTODY", "ack": Ack(),
            "responsibility": RESPONSIBILITY, "end_disposition": "DESTROY",
            "witness_policies": tuple(map(self.policy, self.venues)) if self.quorum else (),
            "max_unwitnessed_s": self.max_unwitnessed_s,
        }  # fmt: skip
        value = Agreement(
            **(common(self.gz.domain, *self.domains, time=self.time(11)) | self.told("agreement", fields))
        )
        self.agreement_value = value
        self.agreement = self.keep(value, self.gz.evidence, self.consumer_key)
        for venue in self.venues:
            self._in_force(venue)

    def _in_force(self, venue: Venue) -> None:
        self.log(venue, "contract.agree", 12, kind="negotiation", documents=(self.agreement.digest,))
        self.log(venue, "contract.verify", 13, kind="negotiation", documents=(self.agreement.digest,))
        sign = {
            "documents": (self.agreement.digest,), "to_state": "SIGNED", "previous_object": self.negotiation,
            "previous_link": venue.log.ends["negotiation", self.negotiation].link.hex(),
        }  # fmt: skip
        told = self.told("sign", sign)
        activate = {"from_state": "SIGNED", "to_state": "PERFORMING"}
        if "never signed" in self.lies:
            activate |= {name: told[name] for name in ("previous_object", "previous_link")}
        else:
            self.log(venue, "contract.sign", told.pop("seconds", 14), **told)
        self.log(venue, "contract.activate", 14, **activate)
        self.log(venue, "grant.issue", 14, to_state="ISSUED")
        self.log(venue, "grant.activate", 14, from_state="ISSUED", to_state="ACTIVE")

    # --- reads ---

    def _read_all(self) -> None:
        for number, rows in enumerate(self.reads):
            if number == 1:
                for event, state in self.steps:
                    self.log(self.gz, event, 90, to_state=state)
            at = self.first_read_s + number * self.interval_s
            self._read(at, rows)
            self._seal(at + 10 if self.seal_reads else None)
        self.gz.log.padding(2)
        if "deny" in self.lies:
            self.log(self.gz, "access.deny", 800, reason_code="PURPOSE_NOT_AGREED", documents=("c" * 64,), actor="acme")

    def _read(self, at: float, rows: int) -> None:
        request = self._request(at)
        value = self.requests[-1]
        if self.zj is not self.gz and "unasked" not in self.lies:
            self.log(self.zj, "access.request", at, access_id=value.id, documents=(request.digest,))
        plan = "d" * 64
        decide = {
            "access_id": value.id, "decision": "ALLOW", "documents": (request.digest,), "plan_commitment": plan,
            "query_commitment": value.query_commitment, "to_state": "STREAMING",
        }  # fmt: skip
        told = self.told("decide", decide)
        end = self.log(self.gz, "access.decide", at + told.pop("after_s", 1), **told)
        receipt = self._receipt(at, rows, request, end, plan)
        for venue, extra in self._ends(receipt, rows, at):
            told = self.told(
                "end", {"access_id": value.id, "amount": rows, "unit": "rows", "stream_commitment": "e" * 64}
            )
            event = told.pop("event", "delivery.complete")
            self.log(venue, event, at + 3, **(extra | told))
        self._acknowledged(value.id, at)

    def _request(self, at: float) -> Document:
        given = None
        if self.grade == "DELEGATED":
            fields = {
                "agreements": ((self.contract, self.agreement.digest),), "home": self.zj.domain, "max_accesses": 10,
                "expires": self.time(86400),
            }  # fmt: skip
            delegation = Delegation(**(common(self.consumer, *self.domains) | self.told("delegation", fields)))
            given = self.keep(delegation, self.consumer_key).digest
        fields = {
            "agreement": self.contract, "agreement_sha256": self.agreement.digest, "consumer": self.consumer,
            "home": self.zj.domain, "provider": self.gz.domain, "purpose": "statistics", "operation": "read",
            "query_commitment": "f" * 64, "request_proof": self.grade, "expires": self.time(at + 300),
            "delegation_sha256": given,
        }  # fmt: skip
        iss = self.zj.domain if given else self.consumer
        request = AccessRequest(**(common(iss, *self.domains, time=self.time(at)) | self.told("request", fields)))
        self.requests.append(request)
        return self.keep(request, self.zj.evidence if given else self.consumer_key)

    def _receipt(self, at: float, rows: int, request: Document, end: ChainEnd, plan: str) -> Document:
        fields = {
            "access": self.requests[-1].id, "request_sha256": request.digest, "agreement": self.contract,
            "agreement_sha256": self.agreement.digest, "policy_sha256": odrl.digest(self.agreement_value.policy),
            "decision": DecisionLink(end.seq, end.link.hex()), "plan_commitment": plan, "outcome": "COMPLETE",
            "frames": 2, "rows": rows, "bytes": rows * 10, "stream_salt": "0" * 32, "stream_commitment": "e" * 64,
            "meter": (Meter("CALL", 1), Meter("ROW", rows)),
            "cost_fen": self.agreement_value.price.cost_fen(rows=rows), "started": self.time(at + 1),
            "ended": self.time(at + 3),
        }  # fmt: skip
        receipt = Receipt(
            **(common(self.gz.domain, *self.domains, time=self.time(at + 3)) | self.told("receipt", fields))
        )
        return self.keep(receipt, self.gz.evidence)

    def _ends(self, receipt: Document, rows: int, at: float) -> list[tuple[Venue, dict[str, Any]]]:
        self.receipt = receipt
        ends: list[tuple[Venue, dict[str, Any]]] = [(self.gz, {"documents": (receipt.digest,)})]
        if self.zj is not self.gz:
            ack = (self.carrier_ack(rows, at).digest,) if self.ack else ()
            ends.append((self.zj, {"documents": (receipt.digest, *ack)}))
        return ends

    def carrier_ack(self, rows: int, at: float) -> Document:
        fields = {
            "access": self.requests[-1].id, "receipt_sha256": self.receipt.digest, "frames": 2, "rows": rows,
            "bytes": rows * 10, "stream_commitment": "e" * 64, "verdict": "EQUAL", "final": True,
        }  # fmt: skip
        item = AckItem(**self.told("ack", fields))
        ack = ReceiptAck(**common(self.zj.domain, *self.domains, time=self.time(at + 4)), by="CARRIER", items=(item,))
        self.last_ack = self.keep(ack, self.zj.evidence)
        return self.last_ack

    def _acknowledged(self, access: str, at: float) -> None:
        if self.zj is not self.gz and self.ack and "ack lost" not in self.lies:
            digests = (self.last_ack.digest,)
            self.log(self.gz, "clearing.meter", at + 5, access_id=access, documents=digests, amount=1, unit="rows")

    # --- what else may be there ---

    def recognise(self, *, parent: bool = True) -> None:
        """The national venue recognised both others as their parent."""
        for venue in self.venues:
            parties = tuple(sorted((venue, self.nat), key=lambda one: one.domain))
            value = PeerAgreement(
                **common(venue.domain, *(one.domain for one in parties)),
                parties=tuple(one.domain for one in parties), cards=tuple(one.cards[0].digest for one in parties),
                scopes=("CATALOG",), parent=self.nat.domain if parent else "",
            )  # fmt: skip
            self.keep(value, *(one.evidence for one in parties))

    def revoke(self, venue: Venue, key: Key, invalid_from: str) -> None:
        """A venue ends one of the keys it vouches for."""
        import hashlib

        event = StatusEvent(
            kind="KEY_REVOKED", subject=hashlib.sha256(key.public).hexdigest(), state="REVOKED", effective=START,
            invalid_from=invalid_from,
        )  # fmt: skip
        notice = seal(Status(**common(venue.domain, "*"), events=(event,)), venue.evidence)
        self.status.setdefault(venue.domain, []).append(notice)

    # --- the file ---

    def contents(self) -> Contents:
        cards = {v.domain: dict(enumerate(v.cards, 1)) for v in (*self.venues, *self.witnesses)}
        if self.quorum or any(document.name == "peer-agreement" for document in self.documents.values()):
            cards[self.nat.domain] = {1: self.nat.cards[0]}
        parts = {venue.domain: venue.log.part(self) for venue in self.venues}
        return Contents(self.gz.domain, self.agreement.digest, cards, dict(self.documents), parts)

    def file(self) -> bytes:
        return bundle.pack(self.contents())

    @property
    def anchors(self) -> dict[str, str]:
        trusted = (*self.venues, self.nat) if self.quorum else self.venues
        return {venue.domain: venue.fingerprint for venue in trusted}
