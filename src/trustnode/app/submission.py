"""The door: whoever wants a change hands a signed document to ``submit``, client, peer and operator alike.

Decides: which payload type goes to which handler and who may send it, that form and signatures are checked before the
unit, that the same document gets the same answer, and that a refusal leaves an entry. Leaves to others: what a document
changes (the nouns). Source: DESIGN 3.2, protocol 3.1, 3.2.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from trustnode.app.venue import Sender, Venue, supporting_documents
from trustnode.core import documents as _  # noqa: F401 (closes the table of document types)
from trustnode.core.contract import Act, Agreement
from trustnode.core.document import (
    PAYLOADS,
    Document,
    Keys,
    Required,
    Statement,
    Verified,
    check_times,
    decode,
    name_of,
    verify,
)
from trustnode.core.identity import Card, check_card
from trustnode.core.lifecycle import State
from trustnode.core.participant import ParticipantKey
from trustnode.core.peering import PeeringState, Status, check_scope
from trustnode.core.states import KINDS
from trustnode.errors import TrustnodeError, error
from trustnode.store.unit import RefusalRecord, Tx, View

MAX_SUPPORTING: Final = 64
MAX_SUPPORTING_BYTES: Final = 3 * 1024 * 1024


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a submission did; kept, so that a repeated document gets it again."""

    kind: str
    id: str
    state: str
    causes: tuple[str, ...] = ()
    version: int = 0
    changed_at: str = ""
    document: str = ""
    produced: tuple[str, ...] = ()
    """Digests of documents made on the way."""
    submitted: str = ""
    """Digest of the document that was handed over."""

    @classmethod
    def of(cls, state: State, *produced: str) -> Answer:
        """The answer that shows an object as it is now."""
        return cls(
            kind=KINDS[type(state)],
            id=state.id,
            state=state.state,
            causes=state.causes,
            version=state.version,
            changed_at=state.changed_at,
            document=state.document,
            produced=produced,
        )


S = TypeVar("S", bound=Statement)
Unit = Callable[[Tx], Answer]


@dataclass(frozen=True)
class Submission(Generic[S]):
    """A verified document at the door, with everything its handler may look at."""

    venue: Venue
    sender: Sender
    verified: Verified[S]
    supporting: Mapping[str, Document]
    keys: Keys
    brought: Sequence[Verified[ParticipantKey]]
    """Key documents that came along and were not known."""

    @property
    def value(self) -> S:
        """The statement."""
        return self.verified.value

    @property
    def document(self) -> Document:
        """Its envelope."""
        return self.verified.document

    @property
    def digest(self) -> str:
        """SHA-256 of its payload."""
        return self.verified.digest

    async def find(self, digest: str, what: str) -> Document:
        """A document that came along or that we hold.

        Raises:
            TrustnodeError: FIELD_MISSING.
        """
        if digest in self.supporting:
            return self.supporting[digest]
        held = await self.venue.store.read(lambda view: view.document(digest))
        if held is None:
            raise error("FIELD_MISSING", f"the {what} {digest[:12]} must be sent along", field=what)
        return held


class Handler(NamedTuple):
    """How one payload type is taken in."""

    senders: frozenset[str]
    """Kinds of sender that may hand it over."""
    prepare: Callable[[Submission[Any]], Awaitable[Unit]]
    """Checks outside the unit; returns the unit."""
    required: Callable[[Any, Document], tuple[Required, ...]] | None = None
    """Who must have signed by now, where a document collects signatures on its way."""
    checked_by_handler: bool = False
    """The handler verifies the signatures itself (a card names its own keys)."""


HANDLERS: dict[type[Statement], Handler] = {}
"""Closed table, filled by the nouns through ``handles``; a test compares it with the document types."""
ONCE: Final = (Act, Status)
"""Types whose effect a later one undoes. Answers are forgotten after a while; whoever kept an old notice that lifts a
suspension must not bring it back then (protocol 3.2: unique for ever)."""
NOT_SUBMITTED: Final = frozenset(
    {"chain-head", "resource-binding", "access-request", "catalog-record", "offer", "operator-act", "receipt"}
)
"""Types that never come to the door alone: they travel with another document, a stream or a feed."""


def handles(
    kind: type[S],
    *senders: str,
    required: Callable[[S, Document], tuple[Required, ...]] | None = None,
    checked_by_handler: bool = False,
) -> Callable[[Callable[[Submission[S]], Awaitable[Unit]]], Callable[[Submission[S]], Awaitable[Unit]]]:
    """Register the handler of one payload type."""

    def register(prepare: Callable[[Submission[S]], Awaitable[Unit]]) -> Callable[[Submission[S]], Awaitable[Unit]]:
        HANDLERS[kind] = Handler(frozenset(senders), prepare, required, checked_by_handler)
        return prepare

    return register


async def submit(venue: Venue, sender: Sender, document: Document, supporting: Sequence[Document] = ()) -> Answer:
    """Take a document in.

    Args:
        venue: The node.
        sender: Who hands it over.
        document: Bytes from somebody.
        supporting: Documents that explain it.

    Returns:
        The object it moved. Durable when this returns.

    Raises:
        TrustnodeError: Any refusal; one that is due an entry has left it.
    """
    try:
        submission = await _check(venue, sender, document, tuple(supporting))
        unit = await HANDLERS[type(submission.value)].prepare(submission)
    except TrustnodeError as refusal:
        await record_refusal(venue, sender, document, refusal)
        raise
    try:
        once = isinstance(submission.value, ONCE)
        answer = await venue.store.write(
            _answering(unit, document, once=once), event_id=_event_id(submission), returns=Answer
        )
        if answer.submitted != document.digest:
            raise error("REPLAYED", f"{document.name} {submission.value.id} was seen before with another content")
    except TrustnodeError as refusal:
        if refusal.record is None and not refusal.retryable:
            await record_refusal(venue, sender, document, refusal)
        raise
    _learn(submission)
    return answer


def _learn(submission: Submission[Any]) -> None:
    """Keys that are stored now speak at once; the next document may be signed with them."""
    keyring = submission.venue.keyring
    for key in submission.brought:
        keyring.add_participant(key)
    if isinstance(submission.value, ParticipantKey):
        keyring.add_participant(submission.verified)
    if isinstance(submission.value, Card):
        keyring.add_card(check_card(submission.document, None))
        submission.venue.on_trust_change()
    if isinstance(submission.value, Status):
        _learn_ends(submission.venue, submission.value)


def _learn_ends(venue: Venue, value: Status) -> None:
    """Keys and certificates that somebody took back are refused from this moment on."""
    for event in value.events:
        if event.kind == "KEY_REVOKED":
            venue.keyring.revoke(value.iss, event.subject, event.invalid_from or event.effective)
        if event.kind == "CERT_DENIED":
            venue.on_trust_change()


def _event_id(submission: Submission[Any]) -> str:
    """Unique for (iss, type, id) and the number of signatures: an agreement comes once for each signer."""
    value, count = submission.value, len(submission.document.signatures)
    step = f"/{count}" if HANDLERS[type(value)].required else ""
    return f"{name_of(type(value))}/{value.iss}/{value.id}{step}"


def _answering(unit: Unit, document: Document, *, once: bool) -> Unit:
    def run(tx: Tx) -> Answer:
        if once and tx.document(document.digest) is not None:
            raise error("REPLAYED", f"this {document.name} was taken in before, and its answer is forgotten")
        tx.keep(document)
        return msgspec.structs.replace(unit(tx), submitted=document.digest)

    return run


async def _check(venue: Venue, sender: Sender, document: Document, supporting: tuple[Document, ...]) -> Submission[Any]:
    kind = PAYLOADS.get(document.name)
    handler = HANDLERS.get(kind) if kind else None
    if kind is None or handler is None:
        raise error("VOCABULARY_UNKNOWN", f"{document.name or document.payload_type[:64]!r} is not taken in here")
    if sender.kind not in handler.senders:
        raise error("ROLE_NOT_ALLOWED", f"a {document.name} does not come from a {sender.kind.lower()}")
    _check_supporting(supporting)
    if sender.kind == "PEER":
        await venue.store.read(lambda view: _check_peer(view, sender.domain, document.name))
    now = venue.clock.now()
    # A key document is signed by the very key it introduces.
    keys, brought = venue.keyring.with_documents((document, *supporting), now)
    verified = _verified(handler, kind, document, keys, now)
    check_audience(venue, verified.value)
    _check_sender(venue, sender, verified.value)
    return Submission(venue, sender, verified, supporting_documents(supporting), keys, brought)


SCOPES: Final[Mapping[str, str]] = {
    "negotiation-message": "CONTRACT",
    "agreement": "CONTRACT",
    "act": "CONTRACT",
    "duty-proof": "CONTRACT",
    "receipt-ack": "ACCESS",
}
"""What a peering must open before a peer may hand over a document of this type; others need the peering alone."""


def _check_peer(view: View, domain: str, name: str) -> None:
    state = view.get(PeeringState, domain)
    if name == "peer-agreement" or (name == "act" and state and state.state == "SUSPENDED"):
        return
    check_scope(state, SCOPES.get(name, ""))


def _check_supporting(supporting: tuple[Document, ...]) -> None:
    too_large = sum(len(d.payload) for d in supporting) > MAX_SUPPORTING_BYTES
    if len(supporting) > MAX_SUPPORTING or too_large:
        raise error("FIELD_TOO_LONG", f"at most {MAX_SUPPORTING} documents travel along", field="supporting")


def _verified(handler: Handler, kind: type[Statement], document: Document, keys: Keys, now: str) -> Verified[Statement]:
    if handler.checked_by_handler:
        value = decode(document, kind)
        check_times(value, now)
        return Verified(value, document, ())
    required = handler.required(decode(document, kind), document) if handler.required else None
    return verify(document, kind, keys, now, required=required)


def check_audience(venue: Venue, value: Statement) -> None:
    """A node does not act on what was said to others (protocol 3.1).

    Raises:
        TrustnodeError: IDENTITY_WRONG_DOMAIN.
    """
    if "*" not in value.aud and venue.domain not in value.aud:
        raise error("IDENTITY_WRONG_DOMAIN", f"this document is for {', '.join(value.aud[:3])}, not for {venue.domain}")


def _check_sender(venue: Venue, sender: Sender, value: Statement) -> None:
    """A client hands in what its own participant signed; anything else would be somebody acting in another's name."""
    own = value.iss in (sender.participant, venue.domain) or isinstance(value, Agreement)
    if sender.kind == "CLIENT" and not own:
        raise error("ROLE_NOT_ALLOWED", f"{sender.participant} may not hand in documents of {value.iss}")


async def record_refusal(venue: Venue, sender: Sender, document: Document, refusal: TrustnodeError) -> None:
    """Log that a document was refused at the door, aggregated for each sender, type and reason."""
    record = refusal.record or RefusalRecord(
        object_kind="node",
        object=venue.domain,
        event="lifecycle.refuse",
        caller=f"{sender.name}/{document.name}",
        fields={"reason_code": refusal.reason, "documents": (document.digest,)},
    )
    await record_entry(venue, refusal, record)


async def record_entry(venue: Venue, refusal: TrustnodeError, record: RefusalRecord) -> None:
    """Append the entry of a refusal that happened outside a unit."""
    refusal.record = record
    day = venue.clock.now()[:10]
    venue.refusals[day] = venue.refusals.get(day, 0) + record.times

    def unit(_tx: Tx) -> Answer:
        raise refusal

    try:
        await venue.store.write(unit, event_id="", returns=Answer)
    except TrustnodeError as same:
        if same is not refusal and same.reason != refusal.reason:
            raise
