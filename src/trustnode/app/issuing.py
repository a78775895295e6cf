"""What the operator's node signs: statements of the venue, and acts of participants in its custody.

Decides: which fields the node fills in, with which key it signs, that custody leaves an entry, and the steps that need
more than a signature (adding and confirming a peer, enrolling with a key made here). Leaves to others: taking documents
in (the door).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import msgspec

from trustnode.app import erasing, peering
from trustnode.app.cards import check_new_card
from trustnode.app.submission import Answer, submit
from trustnode.app.transition import pseudonym
from trustnode.app.venue import Sender, Venue
from trustnode.core import clock
from trustnode.core.contract import Agreement
from trustnode.core.document import PAYLOADS, Document, Signer, Statement, canonical, cosign, name_of, seal
from trustnode.core.evidence.erasure import Erasure
from trustnode.core.identity import Card
from trustnode.core.participant import MAX_LIFE_S, ParticipantKey, check_roles
from trustnode.core.peering import DEFAULT_SCOPES
from trustnode.errors import error
from trustnode.store.unit import Tx, View

VENUE: Final = "venue"
"""Signer word: the venue itself."""
ISSUED_PREFIX: Final = "issued/"
"""Settings: what became of each request of the operator, by its identifier."""
MAX_REQUEST_ID: Final = 64
KEY_LIFE_S: Final = MAX_LIFE_S - 2 * 86400


class Issued(NamedTuple):
    """A statement that was signed and taken in."""

    document: Document
    answer: Answer
    apply_to: str = ""
    """Domain of the venue to which the document is an application."""


class _Remembered(msgspec.Struct, frozen=True):
    """What became of one request of the operator."""

    asked: str
    """SHA-256 of what was asked."""
    document: str
    answer: Answer


async def issue_once(
    venue: Venue, request_id: str, payload_type: str, statement: bytes, signer: str, supporting: Sequence[Document]
) -> Issued:
    """As ``issue``; the same request again gets the same answer and signs nothing.

    Raises:
        TrustnodeError: FIELD_MISSING, REPLAYED; as ``issue``.
    """
    if not 0 < len(request_id) <= MAX_REQUEST_ID:
        raise error("FIELD_MISSING", f"name the request by 1 to {MAX_REQUEST_ID} characters", field="request_id")
    async with _one_at_a_time(venue, request_id):
        return await _issue_once(venue, request_id, payload_type, statement, signer, supporting)


@asynccontextmanager
async def _one_at_a_time(venue: Venue, request_id: str) -> AsyncIterator[None]:
    """Two calls with one identifier at once: the second one finds what became of the first."""
    lock = venue.issuing.setdefault(request_id, asyncio.Lock())
    try:
        async with lock:
            yield
    finally:
        if not lock.locked():
            venue.issuing.pop(request_id, None)


async def _issue_once(
    venue: Venue, request_id: str, payload_type: str, statement: bytes, signer: str, supporting: Sequence[Document]
) -> Issued:
    asked = hashlib.sha256(f"{payload_type}\n{signer}\n".encode() + statement).hexdigest()
    known = await venue.store.read(lambda view: _remembered(view, request_id))
    if known is not None:
        if known[0] != asked:
            raise error("REPLAYED", "this identifier stood with another statement before", field="request_id")
        return known[1]
    made = await issue(venue, payload_type, statement, signer, supporting)
    record = _Remembered(asked, made.document.digest, made.answer)

    def unit(tx: Tx) -> str:
        tx.keep(made.document)
        tx.set_setting(ISSUED_PREFIX + request_id, msgspec.json.encode(record).decode())
        return request_id

    await venue.store.write(unit, event_id="", returns=str)
    return made


def _remembered(view: View, request_id: str) -> tuple[str, Issued] | None:
    text = view.setting(ISSUED_PREFIX + request_id)
    if not text:
        return None
    record = msgspec.json.decode(text, type=_Remembered)
    document = view.document(record.document)
    return (record.asked, Issued(document, record.answer)) if document else None


async def issue(
    venue: Venue, payload_type: str, statement: bytes, signer: str, supporting: Sequence[Document]
) -> Issued:
    """Fill in, sign and submit a statement for the operator.

    Raises:
        TrustnodeError: MESSAGE_UNPARSABLE, VOCABULARY_UNKNOWN, IDENTITY_UNKNOWN (no key of the signer is held
            here), and whatever the door refuses.
    """
    kind = PAYLOADS.get(Document(payload_type, b"").name)
    fields = _fields(statement)
    if kind is None or kind is Card:
        raise error("VOCABULARY_UNKNOWN", "not a statement that a node signs", field="payload_type")
    if fields.get("type", name_of(kind)) != name_of(kind):
        raise error("FIELD_FORMAT", "the statement is of another type", field="type")
    special = _SPECIAL.get((name_of(kind), str(fields.get("event", ""))))
    if special is not None:
        return await special(venue, fields, tuple(supporting), signer)
    return await _plain(venue, kind, fields, signer, supporting)


def _fields(statement: bytes) -> dict[str, Any]:
    try:
        found = json.loads(statement)
    except ValueError as problem:
        raise error("MESSAGE_UNPARSABLE", f"statement: {problem}", field="statement_json") from None
    if not isinstance(found, dict):
        raise error("MESSAGE_UNPARSABLE", "a statement is an object", field="statement_json")
    return found


async def _plain(
    venue: Venue, kind: type[Statement], fields: Mapping[str, Any], signer: str, supporting: Sequence[Document]
) -> Issued:
    issuer, key = _signer(venue, signer)
    if kind is Agreement:
        return await _countersign(venue, canonical(dict(fields)), issuer, key, supporting)
    common = venue.fields(venue.domain, iss=issuer)
    value = _convert(kind, {**common, **fields, "type": name_of(kind)})
    if value.iss != issuer:
        raise error("ROLE_NOT_ALLOWED", f"{signer} does not speak for {value.iss}", field="iss")
    document = seal(value, key)
    signed = [_by_custodian(one, key) for one in supporting]
    answer = await submit(
        venue, Sender("OPERATOR", venue.domain, issuer if issuer != venue.domain else ""), document, signed
    )
    await _record_custody(venue, issuer, document)
    return Issued(document, answer)


def _by_custodian(document: Document, key: Signer) -> Document:
    """Supporting statements that came without a signature are of the same hand."""
    return document if document.signatures or document.name in ("card", "participant-key") else cosign(document, key)


async def _countersign(
    venue: Venue, payload: bytes, issuer: str, key: Signer, supporting: Sequence[Document]
) -> Issued:
    """A participant in custody signs an agreement: the bytes stand, only a signature is added."""
    given = [d for d in supporting if d.name == "agreement"]
    held = await venue.store.read(lambda view: view.document(Document("", payload).digest))
    base = held or (given[0] if given else None)
    if base is None:
        raise error("NOT_FOUND", "no agreement with this text waits here")
    document = cosign(base, key)
    answer = await submit(venue, Sender("OPERATOR", venue.domain, issuer), document)
    await _record_custody(venue, issuer, document)
    return Issued(document, answer)


def _convert(kind: type[Statement], fields: Mapping[str, Any]) -> Statement:
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as problem:
        raise error("FIELD_FORMAT", f"{name_of(kind)}: {problem}", field=name_of(kind)) from None


def _signer(venue: Venue, signer: str) -> tuple[str, Signer]:
    if signer in ("", VENUE, venue.domain):
        return venue.domain, venue.evidence
    name = signer.rpartition("/")[2]
    key = venue.custody.signer(name)
    if key is None:
        raise error("IDENTITY_UNKNOWN", f"the key of {name} is not in custody here; it signs with its own profile")
    return venue.identity.participant(name), key


async def _record_custody(venue: Venue, issuer: str, document: Document) -> None:
    """Each use of a key in custody is an entry in the participant's chain (protocol 1.2)."""
    if issuer == venue.domain:
        return

    def unit(tx: Tx) -> str:
        tx.log("participant", issuer, "custody.act", documents=(document.digest,), actor=pseudonym(venue.domain))
        return issuer

    await venue.store.write(unit, event_id="", returns=str)


# --- steps that need more than a signature --------------------------------------------------------------------------


async def _enrol(venue: Venue, fields: Mapping[str, Any], supporting: Sequence[Document], signer: str) -> Issued:
    """Enrol a participant whose key is made and held here."""
    del supporting
    name = str(fields.get("participant", signer)).rpartition("/")[2]
    participant, now = venue.identity.participant(name), venue.clock.now()
    held, known = venue.custody.signer(name), venue.keyring.key_documents.get(participant)
    if held is not None and venue.keyring.is_revoked(participant, hashlib.sha256(held.public).hexdigest()):
        venue.custody.retire(name)
        held = None
    key = held or venue.custody.create(name)
    statement = ParticipantKey(
        participant=participant,
        previous=known.digest if known else "",
        title=str(fields.get("title") or name),
        roles=check_roles(tuple(fields.get("roles", ()))),
        public=key.public.hex(),
        custody="CUSTODY",
        not_before=clock.shift(now, -60),
        not_after=clock.shift(now, KEY_LIFE_S),
        subject=str(fields.get("subject", "")),
        **venue.fields("*"),
    )
    document = seal(statement, venue.evidence, key)
    answer = await submit(venue, Sender("OPERATOR", venue.domain), document)
    await _record_custody(venue, statement.participant, document)
    return Issued(document, answer)


async def _add_peer(venue: Venue, fields: Mapping[str, Any], supporting: Sequence[Document], signer: str) -> Issued:
    """Add the card of another venue; with the fingerprint that was compared, apply to it."""
    del signer
    card = next((d for d in supporting if d.name == "card"), None)
    if card is None:
        raise error("FIELD_MISSING", "the card of the venue must come along", field="card")
    if not fields.get("fingerprint"):
        return await _store_unconfirmed(venue, card)
    relation: Any = fields.get("relation", "PEER")
    if relation not in ("PARENT", "CHILD", "PEER"):
        raise error("VOCABULARY_UNKNOWN", "a venue is added as PARENT, CHILD or PEER", field="relation")
    scopes = tuple(fields.get("scopes") or DEFAULT_SCOPES)
    state, agreement = await peering.add(venue, card, peering.Application(relation, str(fields["fingerprint"]), scopes))
    return Issued(agreement, Answer.of(state), apply_to=state.id)


async def _store_unconfirmed(venue: Venue, card: Document) -> Issued:
    checked = await check_new_card(venue, card)
    domain = checked.value.trust_domain

    def unit(tx: Tx) -> str:
        tx.set_setting(peering.UNCONFIRMED_PREFIX + domain, tx.keep(card))
        return domain

    await venue.store.write(unit, event_id="", returns=str)
    return Issued(card, Answer(kind="peering", id=domain, state="UNCONFIRMED", document=card.digest))


async def _confirm_peer(venue: Venue, fields: Mapping[str, Any], supporting: Sequence[Document], signer: str) -> Issued:
    """Confirm an applicant whose fingerprint was compared; it stands in ``reason``."""
    del supporting, signer
    answer = await peering.confirm(venue, str(fields.get("object", "")), str(fields.get("reason", "")))
    document = await venue.store.read(lambda view: view.document(answer.document))
    if document is None:
        raise error("INTERNAL", "the peer agreement was not stored")
    return Issued(document, answer)


async def _erase(venue: Venue, fields: Mapping[str, Any], supporting: Sequence[Document], signer: str) -> Issued:
    """Erase entries; the answer comes when their bytes have left the disk."""
    value = _convert(Erasure, {**venue.fields(venue.domain), **fields, "type": "erasure"})
    marks = await erasing.marks(venue, value) if isinstance(value, Erasure) else ()
    issued = await _plain(venue, Erasure, fields, signer, supporting)
    await erasing.wiped(venue, marks)
    return issued


_SPECIAL: Final = {
    ("erasure", ""): _erase,
    ("participant-key", ""): _enrol,
    ("peer-agreement", ""): _add_peer,
    ("act", "confirm"): _confirm_peer,
}
"""(type, event) -> the step; everything else is filled in, signed and submitted."""
