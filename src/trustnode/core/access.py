"""Accesses: one request under one grant, its receipt and its acknowledgements.

Decides: these documents and the state table (lifecycles 8), what a ticket must satisfy, what is settled for a broken
delivery (protocol 6.7). Leaves to others: decisions (``policy``), counting and streaming (``app.access``).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec

from trustnode.core.catalog import needs
from trustnode.core.contract import Grade
from trustnode.core.document import Count, Digest, Required, Salt, Statement, Text, Time, Uuid, canonical
from trustnode.core.lifecycle import Machine, Row, State
from trustnode.errors import error

REQUEST_LIFE_S: Final = 300
MAX_QUERY_BYTES: Final = 20_000
MAX_UNACKNOWLEDGED: Final = 2048
"""Receipts without a final acknowledgement per grant before new accesses are refused (protocol 6.6)."""


MAX_JOINED: Final = 7
"""Agreements that a request may name beside its first."""


class Named(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An agreement that a request reads under."""

    agreement: Text
    agreement_sha256: Digest


class Resumes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The access that a request goes on with, after so many frames with this chain value."""

    access: Uuid
    frames: Count
    stream_commitment: Digest


def reads_due(resumes: Resumes | None, frames: int | None, *, is_complete: bool = False, is_taken: bool = False) -> int:
    """How many reads an access counts and costs as.

    Args:
        resumes: What it goes on with.
        frames: How many the other handed over by its receipt; None: not known.
        is_complete: Whether the other came to its end: there is no rest that belongs to it.
        is_taken: Whether a third one went on there before and was handed rows: the rest is read twice.

    Returns:
        0 where it is the first to begin exactly behind what was broken off, so that nothing is read twice; else 1.
    """
    is_rest = resumes is not None and resumes.frames == frames
    return 0 if is_rest and not is_complete and not is_taken else 1


class AccessRequest(Statement, tag="access-request", kw_only=True, frozen=True):
    """Who asks for what, under which agreement, in which grade (protocol 6.2). Its id is the access id."""

    agreement: Text
    agreement_sha256: Digest
    consumer: Text
    home: Text
    provider: Text
    purpose: Text
    operation: Literal["read", "aggregate"]
    query_commitment: Digest
    request_proof: Grade
    delegation_sha256: Digest | None = None
    resumes: Resumes | None = None
    path: tuple[str, ...] = ()
    joined: Annotated[tuple[Named, ...], msgspec.Meta(max_length=MAX_JOINED)] = ()
    """Further agreements whose products one query reads together; each is checked, counted and logged as the first."""

    def __post_init__(self) -> None:
        """One spelling for one set: each agreement once, those that are joined in the order of their ids."""
        names = [one.agreement for one in self.joined]
        if names != sorted({*names} - {self.agreement}):
            raise error("FIELD_FORMAT", "joined agreements are named once each, in order", field="joined")

    @property
    def agreements(self) -> tuple[Named, ...]:
        """All that the request reads under, the first one first."""
        return (Named(self.agreement, self.agreement_sha256), *self.joined)

    def id_under(self, agreement: str) -> str:
        """Identifier of the access as it stands under one of them: its own, or one that follows from it."""
        return self.id if agreement == self.agreement else joined_id(self.id, agreement)

    def required(self) -> tuple[Required, ...]:
        """The participant's key (SIGNED, CUSTODY) or the home venue (DELEGATED)."""
        if self.request_proof == "DELEGATED":
            return (Required(self.home, "evidence"),)
        return (Required(self.consumer, "participant"),)


def joined_id(access: str, agreement: str) -> str:
    """Identifier of an access as it stands in the chain of an agreement that was joined.

    Both nodes and every verifier compute the same; it has the form of every identifier of an access.
    """
    digest = bytearray(hashlib.sha256(f"{access}/{agreement}".encode()).digest()[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x40, digest[8] & 0x3F | 0x80
    text = digest.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked; its canonical bytes open the query commitment."""

    sql: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_QUERY_BYTES)]
    parameters: Annotated[tuple[str | int | bool | None, ...], msgspec.Meta(max_length=256)] = ()

    def to_bytes(self) -> bytes:
        """Canonical JSON of {parameters, sql}."""
        return canonical(self)


class DecisionLink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where in the agreement's chain at the provider the decision stands."""

    seq: Count
    link: Digest


class Meter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One metered amount."""

    unit: Literal["CALL", "ROW", "BYTE", "COMPUTE_SECOND"]
    amount: Count


class Share(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an access is under one of its agreements: where it was decided, by which policy, what it costs."""

    agreement: Text
    agreement_sha256: Digest
    policy_sha256: Digest
    decision: DecisionLink
    cost_fen: Count = 0


class Receipt(Statement, tag="receipt", kw_only=True, frozen=True):
    """The providing venue states what it handed over (protocol 3.5)."""

    max_bytes = 8192

    access: Uuid
    request_sha256: Digest
    agreement: Text
    agreement_sha256: Digest
    policy_sha256: Digest
    decision: DecisionLink
    plan_commitment: Digest
    outcome: Literal["COMPLETE", "ABORTED"]
    cause: str = ""
    frames: Count
    rows: Count
    bytes: Count
    stream_salt: Salt
    stream_commitment: Digest
    meter: tuple[Meter, ...]
    cost_fen: Count = 0
    started: Time
    ended: Time
    path: tuple[str, ...] = ()
    joined: Annotated[tuple[Share, ...], msgspec.Meta(max_length=MAX_JOINED)] = ()
    """The same under each further agreement of the request, in its order."""
    content_digest: bool = True
    """Whether the commitment covers the content of the frames; else their headers and lengths."""

    @property
    def shares(self) -> tuple[Share, ...]:
        """The access under each of its agreements, the first one first."""
        first = Share(
            agreement=self.agreement, agreement_sha256=self.agreement_sha256, policy_sha256=self.policy_sha256,
            decision=self.decision, cost_fen=self.cost_fen,
        )  # fmt: skip
        return (first, *self.joined)

    @property
    def agreements(self) -> tuple[Named, ...]:
        """What it was read under, as the request has it."""
        return tuple(Named(share.agreement, share.agreement_sha256) for share in self.shares)

    @property
    def total_fen(self) -> int:
        """What it costs under all its agreements together."""
        return sum(share.cost_fen for share in self.shares)

    def under(self, agreement: str) -> Share | None:
        """The access under one agreement; None for one that it was not read under."""
        return next((share for share in self.shares if share.agreement == agreement), None)

    def required(self) -> tuple[Required, ...]:
        """The providing venue."""
        return (Required(self.iss, "evidence"),)


class AccessHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a reader needs before the first frame; initial metadata ``trustnode-access-bin`` (protocol 6.3)."""

    access: Uuid
    stream_salt: Salt
    decision_seq: Count
    decision_link: Digest


class AckItem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one side counted for one access."""

    access: Uuid
    receipt_sha256: Digest | None = None
    frames: Count
    rows: Count
    bytes: Count
    stream_commitment: Digest
    verdict: Literal["EQUAL", "LESS", "DIFFERENT"]
    final: bool


class ReceiptAck(Statement, tag="receipt-ack", kw_only=True, frozen=True):
    """The carrier or the participant states what it got."""

    by: Literal["CARRIER", "PARTICIPANT"]
    items: Annotated[tuple[AckItem, ...], msgspec.Meta(min_length=1, max_length=256)]

    def required(self) -> tuple[Required, ...]:
        """The home venue or the participant."""
        return (Required(self.iss, "evidence" if self.by == "CARRIER" else "participant"),)


class AccessState(State, kw_only=True, frozen=True):
    """One access; ``id`` is the request id, ``document`` the request."""

    agreement: str = ""
    product: str = ""
    consumer: str = ""
    consumer_node: str = ""
    provider_node: str = ""
    purpose: str = ""
    grade: str = ""
    decision_seq: int = 0
    decision_link: str = ""
    plan_commitment: str = ""
    stream_salt: str = ""
    frames: int = 0
    rows: int = 0
    bytes: int = 0
    stream_commitment: str = ""
    acked_frames: int = 0
    acked_rows: int = 0
    acked_bytes: int = 0
    receipt: str = ""
    """Digest of the receipt."""
    carrier_ack: str = ""
    """Verdict of the carrier's final acknowledgement; empty while it is open."""
    participant_ack: str = ""
    cause: str = ""
    cost_fen: int = 0
    resumes: str = ""
    started_at: str = ""
    ended_at: str = ""


@dataclass(frozen=True)
class AccessFacts:
    """What the guards look at."""

    grant_active: bool = False
    performing: bool = False
    well_formed: bool = False
    grade_sufficient: bool = False
    refusal: tuple[str, str] | None = ("DEFAULT_DENIED", "nothing was decided")
    conditional: bool = False
    denied: bool = False
    duty_proven: bool = False
    counters_reserved: bool = False
    receipt_signed: bool = False
    stalled: bool = False
    cause_named: bool = False
    token_given: bool = False
    resume_matches: bool = False
    token_expired: bool = False
    copy_policy_allows: bool = False
    inheritance_agreed: bool = False
    notice_due: bool = False
    proof_sent: bool = False
    proof_matches: bool = False
    cleaned: bool = False
    receipts_differ: bool = False


def _may_request(facts: AccessFacts) -> tuple[str, str] | str | None:
    if not facts.performing or not facts.grant_active:
        return "GRANT_INVALID"
    if not facts.well_formed:
        return "MESSAGE_UNPARSABLE"
    return None if facts.grade_sufficient else "REQUEST_PROOF_TOO_WEAK"


def _allowed(facts: AccessFacts) -> tuple[str, str] | None:
    return facts.refusal


_cause = needs("cause_named", "FIELD_MISSING", "name the cause")
_conditional = needs("conditional", "PRECONDITION_OPEN")
_denied = needs("denied", "ILLEGAL_TRANSITION", "the decision is not a denial")
_duty = needs("duty_proven", "PRECONDITION_OPEN")
_reserved = needs("counters_reserved", "QUOTA_AGREED")
_receipt = needs("receipt_signed", "EVIDENCE_UNAVAILABLE", "no receipt was signed")
_stalled = needs("stalled", "ILLEGAL_TRANSITION", "the stream makes progress")
_token = needs("token_given", "FIELD_MISSING", "a pause gives a token")
_resume = needs("resume_matches", "RESUME_CHANGED")
_token_over = needs("token_expired", "ILLEGAL_TRANSITION", "the token still stands")
_copy = needs("copy_policy_allows", "DENIED")
_inherit = needs("inheritance_agreed", "DENIED")
_notice = needs("notice_due", "ILLEGAL_TRANSITION", "no notice is due")
_proof = needs("proof_sent", "FIELD_MISSING", "send the proof to provider and venue")
_mismatch = needs("proof_matches", "ILLEGAL_TRANSITION", "the proof matches the evidence")
_cleaned = needs("cleaned", "ERASURE_PENDING")
_differ = needs("receipts_differ", "ILLEGAL_TRANSITION", "the receipts are equal")

ACCESS: Final = Machine[AccessFacts](
    name="access and delivery",
    kind="agreement",
    states=(
        "REQUESTED",
        "CONDITIONAL",
        "PREPARING",
        "STREAMING",
        "PAUSED",
        "DELIVERED",
        "IN_USE",
        "PROVED",
        "CLEANED",
        "DENIED",
        "ABORTED",
    ),
    terminal=frozenset({"CLEANED", "DENIED"}),
    rows=(
        Row(None, "request", "C", "REQUESTED", "access.request", _may_request),
        Row("REQUESTED", "allow", "K", "PREPARING", "access.decide", _allowed),
        Row("REQUESTED", "condition", "K", "CONDITIONAL", "access.decide", _conditional),
        Row("REQUESTED", "deny", "K", "DENIED", "access.deny", _denied),
        Row("REQUESTED", "abort", "PCVXK", "ABORTED", "delivery.abort", _cause),
        Row("CONDITIONAL", "precondition_done", "CK", "REQUESTED", "access.precondition", _duty),
        Row("CONDITIONAL", "precondition_failed", "CKT", "DENIED", "access.deny"),
        Row("CONDITIONAL", "abort", "PCVXK", "ABORTED", "delivery.abort", _cause),
        Row("PREPARING", "prepared", "PK", "STREAMING", "delivery.prepare", _reserved),
        Row("PREPARING", "abort", "PCVXK", "ABORTED", "delivery.abort", _cause),
        Row("STREAMING", "pause", "PCK", "PAUSED", "delivery.pause", _token),
        Row("STREAMING", "complete", "PK", "DELIVERED", "delivery.complete", _receipt),
        Row("STREAMING", "time_out", "T", "ABORTED", "delivery.abort", _stalled),
        Row("STREAMING", "abort", "PCVXK", "ABORTED", "delivery.abort", _cause),
        Row("PAUSED", "resume", "PCK", "STREAMING", "delivery.transfer", _resume),
        Row("PAUSED", "time_out", "T", "ABORTED", "delivery.abort", _token_over),
        Row("PAUSED", "abort", "PCVXK", "ABORTED", "delivery.abort", _cause),
        Row("DELIVERED", "use", "C", "IN_USE", "use.start", _copy),
        Row("DELIVERED", "prove", "C", "PROVED", "proof.fulfil", _proof),
        Row("DELIVERED", "abort", "PVXK", "ABORTED", "delivery.abort", _cause),
        Row("IN_USE", "use", "C", "IN_USE", "use.step", _copy),
        Row("IN_USE", "derive", "C", "IN_USE", "use.derive", _inherit),
        Row("IN_USE", "notify", "C", "IN_USE", "use.notify", _notice),
        Row("IN_USE", "prove", "C", "PROVED", "proof.fulfil", _proof),
        Row("IN_USE", "abort", "PVXK", "ABORTED", "delivery.abort", _cause),
        Row("PROVED", "clean", "CV", "CLEANED", "proof.verify", _cleaned),
        Row("PROVED", "reject_proof", "PV", "IN_USE", "proof.verify", _mismatch),
        Row("ABORTED", "clean", "CV", "CLEANED", "proof.verify", _cleaned),
        Row("ABORTED", "dispute_receipt", "PC", "ABORTED", "clearing.dispute", _differ),
        Row("ABORTED", "notify", "K", "ABORTED", "use.notify", _notice),
    ),
)
