"""One connection of a command: as the operator of a node over its local socket, or as a participant over the SDK.

Decides: how a statement of the command line is signed and handed over in either case, and the values that commands
show. Leaves to others: transport and keys (``sdk``), what becomes of a document (the node).
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from trustnode.cli import asking, counter, output, source
from trustnode.cli.values import (
    Delivery,
    Explanation,
    Found,
    Hits,
    Item,
    Listed,
    Outcome,
    Page,
    Resolved,
    Seal,
    Silent,
    Step,
    Waiting,
    explanation_of,
    listed_of,
)
from trustnode.core import clock, envelope
from trustnode.core import documents as _documents  # noqa: F401 (closes the table of document types)
from trustnode.core.catalog import Registration
from trustnode.core.contract import Act, Delegation, NegotiationMessage, Offer
from trustnode.core.document import Document, Statement, canonical, decode, payload_type
from trustnode.core.evidence.erasure import Erasure
from trustnode.core.participant import ParticipantKey
from trustnode.core.peering import PeerAgreement, Status
from trustnode.errors import TrustnodeError, error

if TYPE_CHECKING:
    from trustnode.sdk.connection import Node
    from trustnode.sdk.profile import Profile

S = TypeVar("S", bound=Statement)
Call = Callable[[str, Mapping[str, Any]], dict[str, Any]]
"""``Service/Method`` and its request -> its answer, in the value form of ``wire.value``."""
Stream = Callable[[str, Mapping[str, Any]], Iterator[dict[str, Any]]]
"""The same for a method that answers with a stream."""
SETTLING_S: Final = 10.0
"""How long the last signatures of an agreement that both sides want may take."""
VENUE_SIGNS: Final = "venue"
"""Signer that stands for the venue's own evidence key."""


CARD_FILE: Final = "venue.card"


def card_file(home: Path) -> Document:
    """The card in a home folder; needs no running node.

    Raises:
        TrustnodeError: CONFIG_INVALID.
    """
    try:
        content = (home / CARD_FILE).read_bytes()
    except OSError as problem:
        raise error("CONFIG_INVALID", f"{home / CARD_FILE}: {problem.strerror}", field=CARD_FILE) from None
    try:
        return msgspec.json.decode(content, type=Document)
    except msgspec.DecodeError:
        return envelope.decode(content)


# --- a connection -----------------------------------------------------------------------------------------------------


class Session:
    """What operator and participant have in common."""

    is_operator = False

    def __init__(self, call: Call, stream: Stream, venue: str, name: str, participant: str = "") -> None:
        self.call = call
        self.stream = stream
        self.venue = venue
        """Trust domain of the node that is asked."""
        self.name = name
        self.participant = participant
        """SPIFFE id; empty for the operator."""

    def acting(self) -> None:
        """Say who is about to change something, and where."""
        output.acting(self.name, self.venue)

    @staticmethod
    def decode(document: Document, kind: type[S]) -> S:
        """Read a document that the node sent."""
        return decode(document, kind)

    # reading

    def get(self, kind: str, id: str) -> Found:
        """One object: identifier, short name, handle or name."""
        answer = self.call("DocumentService/GetObject", {"kind": kind, "id": self.resolve_alias(id)})
        return Found(self.named(Item.of(answer["object"])), tuple(answer["documents"]), Seal.of(answer.get("seal")))

    def items(self, kind: str, *, token: str = "", size: int = 50, **where: str) -> Page:
        """A page of objects, newest change first."""
        request = {"kind": kind, "filter": where, "page_size": size, "page_token": token}
        answer = self.call("DocumentService/ListObjects", request)
        return Page([self.named(Item.of(value)) for value in answer["objects"]], answer["next_page_token"])

    def resolve_alias(self, name: str) -> str:
        """The identifier that a private name stands for; any other name is itself."""
        return name

    def named(self, item: Item) -> Item:
        """The object with its private name."""
        return item

    def agreement(self, name: str) -> Found:
        """One agreement, with the name of its offer."""
        found = self.get("agreement", name)
        offers = [decode(d, Offer) for d in found.documents if d.name == "offer"]
        return found._replace(object=replace(found.object, offer_name=offers[-1].name if offers else ""))

    def resolve(self, identifier: str) -> Resolved:
        """What an identifier or handle stands for."""
        answer = self.call("CatalogService/ResolveIdentifier", {"identifier": identifier})
        return Resolved(answer["kind"], answer["identifier"], answer["handle"])

    def search(
        self, query: str, *, level: str, category: str, venue: str, all_venues: bool, token: str, size: int
    ) -> Hits:
        """A page of listings."""
        request = {
            "query": query,
            "level": level,
            "category": category,
            "venue": venue,
            "all_venues": all_venues,
            "page_size": size,
            "page_token": token,
        }
        answer = self.call("CatalogService/SearchListings", request)
        silent = [Silent(one["venue"], one["since"] or "") for one in answer["not_asked"]]
        hits = [listed_of(hit) for hit in answer["hits"]]
        return Hits(hits, answer["next_page_token"], silent, answer["answered_at"] or "")

    def describe(self, product: str, offer: str = "") -> Listed:
        """One listing with the columns of each offer."""
        answer = self.call("CatalogService/DescribeListing", {"product": product, "offer": offer})
        return listed_of(answer["listing"], answer["offers"])

    def registration(self, product: str) -> Registration:
        """The registration behind a product that is listed somewhere."""
        return self.describe(product).registration

    def offer_of(self, negotiation: Item) -> Offer | None:
        """The offer that lies on the table; None where it cannot be seen."""
        message = negotiation.negotiation_message()
        documents = self.get("negotiation", negotiation.id).documents if message else ()
        return next((decode(d, Offer) for d in documents if message and d.digest == message.offer_sha256), None)

    # evidence

    def receipts(self, agreement: str, *, token: str = "", size: int = 50) -> tuple[list[Delivery], str]:
        """A page of what was delivered under an agreement."""
        id = self.get("agreement", agreement).object.id
        page = self.items("access", token=token, size=size, agreement=id)
        return [delivery for item in page.items if (delivery := self._delivery(item, id))], page.next_page_token

    def all_receipts(self, agreement: str) -> list[Delivery]:
        """Everything that was delivered under an agreement."""
        found: list[Delivery] = []
        token = ""
        while True:
            page, token = self.receipts(agreement, token=token, size=200)
            found += page
            if not token:
                return found

    def _delivery(self, access: Item, agreement: str) -> Delivery | None:
        answer = self.call("AccessService/GetReceipt", {"access": access.id})
        if answer["receipt"] is None:
            return None
        return Delivery.of(answer["receipt"], answer["acks"], Seal.of(answer.get("seal")), agreement=agreement)

    def checkpoint(self) -> bytes:
        """The newest signed checkpoint of the node's log."""
        return bytes(self.call("EvidenceService/GetCheckpoint", {})["checkpoint"])

    def bundle(self, agreement: str, target: Path) -> tuple[int, str]:
        """Write the bundle of an agreement; returns its size and digest.

        Raises:
            TrustnodeError: HASH_MISMATCH when what came is not what the node says it sent.
        """
        id = self.get("agreement", agreement).object.id
        digest, said = hashlib.sha256(), b""
        partial = target.with_name(f"{target.name}.part")
        with partial.open("wb") as file:
            for part in self.stream("EvidenceService/GetBundle", {"agreement": id}):
                file.write(part["chunk"])
                digest.update(part["chunk"])
                said = part["sha256"] or said
        if said != digest.digest():
            partial.unlink()
            raise error("HASH_MISMATCH", "the bundle that came is not the one the node sent")
        partial.replace(target)
        return target.stat().st_size, digest.hexdigest()

    # changing

    def sign(self, statement: Statement, signer: str = "") -> Document:
        """The document of a statement, signed where the key is at hand."""
        raise error("ROLE_NOT_ALLOWED", "this connection signs nothing")

    def submit(self, statement: Statement, *, supporting: Sequence[Document] = (), signer: str = "") -> Step:
        """Sign a statement and hand it over."""
        document = self.sign(statement, signer)
        answer = self.call("DocumentService/SubmitDocument", {"document": document, "supporting": list(supporting)})
        return Step(self.named(Item.of(answer["object"])), tuple(answer["produced"]))

    def hand_over(self, document: Document) -> Item:
        """Hand over a document that others have signed."""
        answer = self.call("DocumentService/SubmitDocument", {"document": document, "supporting": []})
        return self.named(Item.of(answer["object"]))

    def issuer(self, signer: str) -> str:
        """Who issues a statement: the participant that signs it, or the venue."""
        return self.participant

    def act(
        self, machine: Any, item: Item, event: str, *, cause: str = "", reason: str = "", signer: str = "",
        effective: str = "",
    ) -> Item:  # fmt: skip
        """Move an object one step."""
        statement = Act(
            suite="tn1",
            id=source.new_id(),
            iss=self.issuer(signer),
            aud=("*",),
            time=source.now(),
            machine=machine,
            object=item.id,
            event=event,
            cause=cause,
            reason=reason,
            effective=effective or None,
        )
        return replace(self.submit(statement, signer=signer).object, alias=item.alias, offer_name=item.offer_name)

    def cause(self, item: Item) -> str:
        """The cause under which this side suspends, and lifts again."""
        return "VENUE" if self.is_operator else "OWNER"


class Operator(Session):
    """The operator of a node, over its local socket: the node signs."""

    is_operator = True

    def __init__(self, call: Call, stream: Stream, venue: str, home: Path) -> None:
        super().__init__(call, stream, venue, "operator")
        self.home = home

    def issuer(self, signer: str) -> str:
        """The participant in custody that signs, or the venue."""
        return f"spiffe://{self.venue}/participant/{signer}" if signer not in ("", VENUE_SIGNS) else self.venue

    def sign(self, statement: Statement, signer: str = "") -> Document:
        """The document without a signature: the node signs it with the statement that it belongs to."""
        return Document(payload_type(type(statement)), canonical(statement))

    def submit(self, statement: Statement, *, supporting: Sequence[Document] = (), signer: str = "") -> Step:
        """Have the node sign a statement and submit it."""
        return self.issue(payload_type(type(statement)), canonical(statement), signer or VENUE_SIGNS, supporting)

    def issue(self, kind: str, statement: bytes, signer: str, supporting: Sequence[Document] = ()) -> Step:
        """Have the node fill in, sign and submit a statement."""
        request = {
            "payload_type": kind,
            "statement_json": statement,
            "signer": signer,
            "supporting": list(supporting),
            "request_id": str(uuid.uuid4()),
        }
        answer = self.call("AdminService/IssueDocument", request)
        return Step(Item.of(answer["object"]), tuple(answer["produced"]))

    # negotiations of participants in custody

    def terminate(self, found: Found, reason: str) -> Item:
        """End a negotiation."""
        return self._answer(found, "ContractNegotiationTerminationMessage", reason=reason)

    def counter(self, found: Found, terms: Path) -> Item:
        """Answer a request with the terms of a file."""
        old = self.offer_of(found.object)
        if old is None:
            raise error("NOT_FOUND", "the offer on the table cannot be seen")
        document = self.sign(counter.offer(terms, old, self.registration(old.product)))
        return self._answer(found, "ContractOfferMessage", offer=document.digest, supporting=[document])

    def approve(self, found: Found) -> Item:
        """Say yes to what waits: sign the agreement, accept the counter-offer, let a registration or listing pass."""
        item = found.object
        if item.kind != "negotiation":
            event = {"product": "check_passed", "listing": "approve"}.get(item.kind, "")
            if not event:
                raise error("ILLEGAL_TRANSITION", f"a {item.kind} is not accepted here")
            return self.act(item.kind, item, event, reason="approved")
        if item.state == "OFFERED":
            return self._answer(found, "ContractNegotiationEventMessage:ACCEPTED")
        drafts = [document for document in found.documents if document.name == "agreement"]
        if not drafts:
            raise error("ILLEGAL_TRANSITION", "there is no agreement to sign yet")
        if drafts[-1].signatures and item.state != "AGREED":  # the provider said yes; this is the venue's own turn
            return self.act("negotiation", item, "approve", reason="approved by the venue")
        signer = self._ours(found).rpartition("/")[2]
        return self.issue(drafts[-1].payload_type, drafts[-1].payload, signer, [drafts[-1]]).object

    def _ours(self, found: Found) -> str:
        """The party of a negotiation that is our participant: whoever must move, where both are."""
        message = found.object.negotiation_message()
        if message is None:
            raise error("NOT_FOUND", "the last message of this negotiation cannot be seen")
        parties = (message.counterpart, message.iss)
        ours = [one for one in parties if one.startswith(f"spiffe://{self.venue}/")]
        if not ours:
            raise error("ROLE_NOT_ALLOWED", "no party of this negotiation is a participant of this venue")
        return ours[0]

    def _answer(
        self, found: Found, message: Any, *, offer: str = "", reason: str = "", supporting: Sequence[Document] = ()
    ) -> Item:
        """Send the next message of a negotiation."""
        last, issuer = found.object.negotiation_message(), self._ours(found)
        if last is None:
            raise error("NOT_FOUND", "the last message of this negotiation cannot be seen")
        statement = NegotiationMessage(
            suite="tn1",
            id=source.new_id(),
            iss=issuer,
            aud=("*",),
            time=source.now(),
            negotiation=last.negotiation,
            number=last.number + 1,
            previous=found.object.digest,
            message=message,
            offer_sha256=offer or last.offer_sha256,
            counterpart=last.counterpart if last.iss == issuer else last.iss,
            purpose=last.purpose,
            listing=last.listing,
            reason=reason,
        )
        return self.submit(statement, supporting=supporting, signer=issuer.rpartition("/")[2]).object

    # running the node

    def status(self) -> dict[str, Any]:
        """How the node stands."""
        found = self.call("AdminService/GetStatus", {})["status"]
        return dict(found or {})

    def drain(self, grace_s: int | None) -> int:
        """Stop in order; returns the streams still running."""
        return int(self.call("AdminService/DrainNode", {"grace": grace_s})["streams"])

    def reload(self) -> dict[str, Any]:
        """Read configuration and keys again."""
        return self.call("AdminService/ReloadNode", {})

    def invite(self, name: str, *, reissue: bool, **settings: Any) -> dict[str, Any]:
        """Make an invitation."""
        request = {
            "name": name,
            "roles": list(settings.get("roles", ())),
            "title": settings.get("title", ""),
            "reissue": reissue,
            "subject_code": settings.get("subject", ""),
        }
        return self.call("AdminService/InviteParticipant", request)

    def enrol_custody(self, name: str, *, roles: Sequence[str], title: str, subject: str) -> Item:
        """Enrol somebody whose key the node makes and holds."""
        statement = {
            "type": "participant-key",
            "participant": f"spiffe://{self.venue}/participant/{name}",
            "title": title,
            "roles": sorted(set(roles)),
            "custody": "CUSTODY",
            **({"subject": subject} if subject else {}),
        }
        return self.issue(payload_type(ParticipantKey), json.dumps(statement).encode(), name).object

    def enrol_here(self, name: str, folder: Path, *, roles: Sequence[str], title: str, subject: str) -> Item:
        """Enrol somebody with keys made here, in a folder to hand over; the keys count as held in custody."""
        from trustnode.core.identity import fingerprint
        from trustnode.sdk import enrolment, loop
        from trustnode.sdk.profile import replace_file

        made = self.invite(name, reissue=False, roles=roles, title=title, subject=subject)
        file = folder / f"{name}.invite"
        replace_file(file, made["invitation"])
        mark = fingerprint(self.own_card())
        loop.run(enrolment.join(file, mark, folder=folder, custody="CUSTODY"))
        file.unlink()
        return self.get("participant", made["participant"]).object

    def own_card(self) -> Document:
        """Our own venue card, as it lies in the home folder."""
        return card_file(self.home)

    def add_peer(self, card: Document, *, relation: str, fingerprint: str, scopes: Sequence[str]) -> Item:
        """Apply to the venue of a card; without a fingerprint it is only stored."""
        statement = {
            "type": "peer-agreement",
            "relation": relation,
            "fingerprint": fingerprint,
            "scopes": sorted(scopes),
        }
        kind = payload_type(PeerAgreement)
        return self.issue(kind, json.dumps(statement).encode(), VENUE_SIGNS, [card]).object

    def confirm_peer(self, venue: str, fingerprint: str) -> Item:
        """Sign the peer agreement of an applicant whose fingerprint was compared."""
        statement = {
            "type": "act",
            "aud": ["*"],
            "machine": "peering",
            "object": venue,
            "event": "confirm",
            "reason": fingerprint,
        }
        return self.issue(payload_type(Act), json.dumps(statement).encode(), VENUE_SIGNS).object

    def tell(self, events: Sequence[Mapping[str, str]]) -> Item:
        """Say to every peer what became of keys and certificates of ours; it holds here at once."""
        now = source.now()
        statement = {"aud": ["*"], "events": [{"effective": now, **event} for event in events]}
        return self.issue(payload_type(Status), json.dumps(statement).encode(), VENUE_SIGNS).object

    def test_peer(self, venue: str) -> list[dict[str, Any]]:
        """Test the way to a peer."""
        return list(self.call("AdminService/TestPeer", {"trust_domain": venue})["checks"])

    def erase(
        self, entries: Sequence[int], kind: str, object: str, documents: Sequence[str], *, reason: str, authority: str
    ) -> Item:
        """Erase entries of the node's log, or those of one object."""
        statement = {
            "type": "erasure",
            "aud": ["*"],
            "entries": sorted(set(entries)),
            "object_kind": kind,
            "object": object,
            "documents": list(documents),
            "reason": reason,
            "authority": authority,
        }
        return self.issue(payload_type(Erasure), json.dumps(statement).encode(), VENUE_SIGNS).object

    def check_store(self) -> dict[str, Any]:
        """Check the store."""
        return self.call("AdminService/CheckStore", {})

    def backup(self, path: Path) -> dict[str, Any]:
        """Copy the store."""
        return self.call("AdminService/BackupStore", {"path": str(path)})


class Client(Session):
    """A participant at its home node: its own key signs."""

    def __init__(self, call: Call, stream: Stream, profile: Profile, sdk: Any = None) -> None:
        super().__init__(call, stream, profile.venue, profile.name, profile.participant)
        self.profile = profile
        self.sdk = sdk
        """The client of the SDK: it negotiates, reads and acknowledges."""

    def resolve_alias(self, name: str) -> str:
        """The agreement that a private name stands for."""
        return self.profile.aliases.get(name, name)

    def named(self, item: Item) -> Item:
        """The object with its private name."""
        return replace(item, alias=self.profile.alias_of(item.id)) if item.kind == "agreement" else item

    def sign(self, statement: Statement, signer: str = "") -> Document:
        """The document of a statement, signed with our key."""
        return self.profile.sign(statement)

    def submit(self, statement: Statement, *, supporting: Sequence[Document] = (), signer: str = "") -> Step:
        """Sign a statement and hand it over, with the document that names our key."""
        return super().submit(statement, supporting=[*supporting, self.profile.key_document])

    def agreement(self, name: str) -> Found:
        """One agreement; a private name may belong to a negotiation that has come to its end meanwhile."""
        if self.sdk is not None and self.resolve_alias(name) != name:
            name = self._held(name).id
        return super().agreement(name)

    def _held(self, name: str) -> Any:
        """The SDK's agreement; one whose last signatures are under way gets a moment."""
        try:
            return self._run(self.sdk.agreement(name))
        except TrustnodeError as problem:
            if problem.reason != "PRECONDITION_OPEN":
                raise
            concluded = self._run(self._negotiation(name, "advance", SETTLING_S))
            if concluded is None:
                raise
            return concluded

    # negotiating

    def negotiate(self, product: str, *, offer: str, purpose: str, alias: str) -> Found | Waiting:
        """Ask for an agreement on an offer: the agreement, or who has to move."""
        return self._outcome(self._run(self.sdk.negotiate(product, offer=offer, purpose=purpose, as_=alias)))

    def wait(self, waiting: Waiting, timeout_s: float) -> Found:
        """Wait until the other side has moved and the agreement is in force."""
        found = self._outcome(self._run(self._negotiation(waiting.id, "wait", timeout_s)))
        if isinstance(found, Waiting):
            raise error("DEADLINE", f"{found.waits_for} has not answered")
        return found

    def _outcome(self, made: Any) -> Found | Waiting:
        if hasattr(made, "until"):
            return self.agreement(made.id)
        waits_for = made.offer.provider if made.offer else "the provider"
        return Waiting(made.id, made.short, made.state, waits_for.rpartition("/")[2])

    def terminate(self, found: Found, reason: str) -> Item:
        """End a negotiation."""
        return self._moved(found, "withdraw", reason)

    def approve(self, found: Found) -> Item:
        """Say yes: the SDK compares what is signed with what was asked for."""
        if found.object.kind != "negotiation":
            raise error("ROLE_NOT_ALLOWED", f"a {found.object.kind} is accepted by the operator of the venue")
        return self._moved(found, "accept")

    def counter(self, found: Found, terms: Path) -> Item:
        """Answer a request with the terms of a file."""
        table, price = counter.read(terms)
        return self._moved(found, "counter", table, price=price)

    def _moved(self, found: Found, step: str, *words: Any, **more: Any) -> Item:
        self._run(self._negotiation(found.object.id, step, *words, **more))
        return self.get("negotiation", found.object.id).object

    async def _negotiation(self, id: str, step: str, *words: Any, **more: Any) -> Any:
        return await getattr(await self.sdk.negotiation(id), step)(*words, **more)

    def delegate(self, items: Sequence[Item], expires: str, max_accesses: int) -> None:
        """Let the venue ask in our name, under each of some agreements and under all of them together.

        Raises:
            TrustnodeError: FIELD_FORMAT when it would last longer than a delegation may.
        """
        from trustnode.sdk.agreement import MAX_DELEGATION_DAYS

        if expires > clock.shift(source.now(), MAX_DELEGATION_DAYS * 86400):
            raise error("FIELD_FORMAT", f"until: at most {MAX_DELEGATION_DAYS} days ahead", field="until")
        values = [value for item in items if (value := item.agreement())]
        nodes = sorted({node for value in values for node in (value.consumer_node, value.provider_node)})
        statement = Delegation(
            **{**self.profile.fields(self.venue, *nodes), "expires": expires},
            agreements=tuple({item.id: item.digest for item in items}.items()),
            home=self.venue,
            max_accesses=max_accesses,
        )
        self.submit(statement)

    # using

    def explain(self, agreement: str, *, purpose: str, sql: str, others: Sequence[str] = ()) -> Explanation:
        """What a query under an agreement, or under several together, would deliver; reads nothing."""
        id, *joined = [self.agreement(name).object.id for name in (agreement, *others)]
        return self._explanation({"agreement": id, "joined": joined, "purpose": purpose, "sql": sql})

    def explain_offer(self, product: str, *, offer: str, purpose: str, sql: str) -> Explanation:
        """The same for an offer, before any contract."""
        return self._explanation({"offer": {"product": product, "offer": offer}, "purpose": purpose, "sql": sql})

    def _explanation(self, request: Mapping[str, Any]) -> Explanation:
        return explanation_of(self.call("AccessService/ExplainAccess", request)["explanation"])

    def read(self, agreement: str, *, purpose: str, sql: str, others: Sequence[str] = ()) -> Outcome:
        """Read into memory."""
        held, *joined = [self._held(name) for name in (agreement, *others)]
        table = held.sql(sql or self._everything(held.product, joined), purpose=purpose, joined=joined)
        rows = self._run(table.to_arrow())
        return Outcome(rows.num_rows, tuple(rows.column_names), rows, self._receipt(table.receipt_document))

    def save(
        self, agreement: str, target: Path, *, purpose: str, sql: str, progress: Callable[[int], None],
        others: Sequence[str] = (),
    ) -> Outcome:  # fmt: skip
        """Read into a file; it has its name once it is complete."""
        from trustnode.sdk import output as files

        held, *joined = [self._held(name) for name in (agreement, *others)]
        reader = held.reader(sql or self._everything(held.product, joined), purpose=purpose, joined=joined)
        self._run(files.save(reader, target, lambda running: progress(running.rows_before + running.rows)))
        rows = reader.rows_before + reader.rows
        return Outcome(
            rows, tuple(reader.schema.names), None, self._receipt(reader.receipt_document), reader.rows_before
        )

    def _everything(self, product: str, joined: Sequence[Any]) -> str:
        """The query that stands for none: all that is delivered of the product's table.

        Raises:
            TrustnodeError: USAGE for several products: how they are joined is said by a query alone.
        """
        if joined:
            raise error("USAGE", "say how the products are joined: --sql")
        return f"from {self.registration(product).tables[0].name}"

    def _receipt(self, document: Document | None) -> Delivery:
        if document is None:
            raise error("VERIFICATION_FAILED", "the node delivered without a receipt")
        waiting = {access for access, _ in self.profile.kept_acks()}
        delivery = Delivery.of(document, ())
        signed = (*delivery.signed_by, *(() if delivery.access in waiting else (self.participant,)))
        return replace(delivery, signed_by=signed)

    def _run(self, work: Any) -> Any:
        from trustnode.sdk import loop

        return loop.run(work)


def _ways(node: Node) -> tuple[Call, Stream]:
    """How a node's methods are called without waiting in an event loop of one's own."""
    from trustnode.sdk import loop

    def stream(method: str, fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        async def draw() -> AsyncIterator[dict[str, Any]]:
            async with node.watch(method, **fields) as answers:
                async for answer in answers:
                    yield answer

        yield from loop.iterate(draw())

    return lambda method, fields: loop.run(node.call(method, **fields)), stream


@contextmanager
def operator() -> Iterator[Operator]:
    """The operator's connection to the node that ``--home`` names."""
    home = asking.home()
    from trustnode import config
    from trustnode.sdk import connection, loop

    venue = config.load(home, os.environ).config.node.trust_domain
    node = connection.Operator(home)
    try:
        yield Operator(*_ways(node), venue, home)
    finally:
        loop.run(node.aclose())


@contextmanager
def client() -> Iterator[Client]:
    """The participant that ``--profile`` names, at its home node."""
    from trustnode.sdk import loop
    from trustnode.sdk.client import Client as SdkClient
    from trustnode.sdk.profile import Profile

    async def opened() -> SdkClient:
        return SdkClient(profile)  # its channel belongs to the loop that it is made on

    profile = Profile.open(asking.profile())
    sdk = loop.run(opened())
    try:
        yield Client(*_ways(sdk.connection), profile, sdk)
    finally:
        loop.run(sdk.aclose())


@contextmanager
def connect() -> Iterator[Operator | Client]:
    """Whoever asks: the operator with ``--home``, a participant with ``--profile``."""
    if asking.is_operator():
        with operator() as opened:
            yield opened
    else:
        with client() as opened_client:
            yield opened_client
