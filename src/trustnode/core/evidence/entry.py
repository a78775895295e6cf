"""The record of one event: what the node states, before it is salted, chained and logged.

Decides: the fields, their limits, and the one spelling of a record in bytes. Leaves to others: salt and link
(``chain``), index and time (``store``), signatures (there are none: the signed checkpoint covers it).

A record holds no content and no personal data: digests, commitments, states, pseudonyms.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from trustnode.core.evidence.events import EVENTS, ObjectKind
from trustnode.core.evidence.moved import Counted, Moved
from trustnode.errors import REASONS, error

MAX_STATEMENT_BYTES: Final = 16384

# No space, no backslash: nothing that JSON escapes or writes in two ways, no prose, no name of a person. Looking once
# at the whole record costs less than a pattern for each field.
_PLAIN: Final = bytes(c for c in range(0x21, 0x7F) if c != 0x5C)

Hex64 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Time = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$")]
Text32 = Annotated[str, Meta(min_length=1, max_length=32)]
Text36 = Annotated[str, Meta(min_length=1, max_length=36)]
Text47 = Annotated[str, Meta(min_length=1, max_length=47)]
Text64 = Annotated[str, Meta(min_length=1, max_length=64)]
Text65 = Annotated[str, Meta(min_length=1, max_length=65)]
ObjectName = Annotated[str, Meta(min_length=1, max_length=2048)]
"""Identifier of any kind; the longest is a participant's SPIFFE id."""
Amount = Annotated[int, Meta(ge=0, le=2**53 - 1)]

Decision = Literal["ALLOW", "CONDITIONAL", "DENY", "DEFAULT_DENY"]
Stage = Literal[
    "SOURCE_STATED",
    "SOURCE_CHECKED",
    "DESCRIPTION",
    "LISTING_CHECK",
    "SIGNATURE",
    "AT_REST",
    "PREPARATION",
    "TRANSFER",
    "RELAY_PATH",
    "USE",
    "DERIVATION",
    "DELETION",
    "DELETION_CHECK",
    "INCIDENT_NOTICE",
    "METERING",
    "STATEMENT",
    "EVIDENCE_LOG",
    "PERSONAL_NOTICE",
]
"""Row of the responsibility matrix."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One event. A field that does not apply is absent."""

    event_id: Text36
    """Unique; a repeated append of it gives the first index."""
    type: Text32
    """Key of ``EVENTS``."""
    time: Time
    """Clock of the node that writes."""
    node_id: Text32
    object_kind: ObjectKind
    """With ``object``: whose chain the entry stands in."""
    object: ObjectName
    trace_id: Text64 | None = None
    product_id: Text65 | None = None
    contract_id: Text47 | None = None
    policy_id: Text36 | None = None
    policy_version: Text36 | None = None
    grant_id: Text36 | None = None
    access_id: Text36 | None = None
    actor: Text64 | None = None
    """Pseudonym of who acted, never a name."""
    responsible_party: Text64 | None = None
    stage: Stage | None = None
    from_state: Text32 | None = None
    to_state: Text32 | None = None
    decision: Decision | None = None
    reason_code: Text64 | None = None
    """Key of ``trustnode.errors.REASONS``."""
    documents: Annotated[tuple[Hex64, ...], Meta(max_length=64)] = ()
    """SHA-256 of the payloads of the signed documents that the event reports."""
    query_commitment: Hex64 | None = None
    plan_commitment: Hex64 | None = None
    stream_commitment: Hex64 | None = None
    mark_commitment: Hex64 | None = None
    """To the secrets behind the mark of an agreement's copy, before its first delivery (``core.tracing``)."""
    amount: Amount | None = None
    unit: Text32 | None = None
    """What ``amount`` counts: fen, rows, bytes, ..."""
    previous_object: ObjectName | None = None
    """In the first entry of an agreement's chain: id of the negotiation that it comes from. In ``log.succeed``: origin
    of the log that was closed; then ``amount`` is the size at which it was cosigned last."""
    previous_link: Hex64 | None = None
    """The last link of that negotiation's chain; in ``log.succeed`` the root of the closed log at that size."""
    moved: Annotated[tuple[Moved, ...], Meta(max_length=16)] = ()
    """What the event changed in the objects of this chain: their states can be told again from entries alone."""
    reserved: Annotated[tuple[Counted, ...], Meta(max_length=64)] = ()
    """What the access took of counters, beside what it took before."""
    used: Annotated[tuple[Counted, ...], Meta(max_length=64)] = ()
    """What the access used up in the end; it holds nothing any more."""

    def __post_init__(self) -> None:
        """Refuse what the types cannot say."""
        event = EVENTS.get(self.type)
        if event is None:
            raise error("VOCABULARY_UNKNOWN", f"no event {self.type}", field="type")
        if self.object_kind not in event.kinds:
            raise error("FIELD_FORMAT", f"{self.type} is not in the chain of a {self.object_kind}", field="object_kind")
        if self.reason_code is not None and self.reason_code not in REASONS:
            raise error("VOCABULARY_UNKNOWN", f"no reason {self.reason_code}", field="reason_code")
        if (self.amount is None) != (self.unit is None):
            raise error("FIELD_MISSING", "an amount has a unit, a unit an amount", field="unit")
        if (self.reserved or self.used) and self.access_id is None:
            raise error("FIELD_MISSING", "only an access takes of a counter", field="access_id")
        if (self.previous_object is None) != (self.previous_link is None):
            raise error("FIELD_MISSING", "a previous chain has an object and a link", field="previous_link")


_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(Entry)


def statement(entry: Entry) -> bytes:
    """Canonical bytes of a record.

    Raises:
        InvalidRequest: FIELD_FORMAT, where a field is outside its limits. A record that nobody could read back must
            not reach the log.
    """
    data = _encoder.encode(entry)
    try:
        _decode(data)
    except msgspec.MsgspecError as cause:
        raise error("FIELD_FORMAT", f"not a record of the log: {cause}", field="entry") from cause
    return data


def parse_statement(data: bytes) -> Entry:
    """Read a record in its one spelling.

    Raises:
        VerificationFailed: Malformed, unknown field, or not the canonical bytes.
        InvalidRequest: An unknown event or reason, or fields that contradict each other.
    """
    try:
        entry = _decode(data)
    except msgspec.MsgspecError as cause:
        raise error("VERIFICATION_FAILED", f"not a record of the log: {cause}") from cause
    if _encoder.encode(entry) != data:
        raise error("VERIFICATION_FAILED", "record is not in its canonical form")
    return entry


def _decode(data: bytes) -> Entry:
    if len(data) > MAX_STATEMENT_BYTES or data.translate(None, _PLAIN):
        raise msgspec.ValidationError("too long, or characters other than plain ASCII")
    return _decoder.decode(data)
