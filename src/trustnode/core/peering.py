"""Peerings: two venues that confirmed each other's cards, what they open to each other, and what they tell.

Decides: the peer agreement, the status notice, the peering state and its table (lifecycles 6). Leaves to others: cards
and fingerprints (``identity``), delivery (``app.courier``, ``app.follower``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec

from trustnode.core.document import Count, Digest, Required, Statement, Time, TrustDomain
from trustnode.core.lifecycle import CAUSES_REMAIN, NO_CAUSE_LEFT, Machine, Row, State
from trustnode.errors import error

Relation = Literal["PARENT", "CHILD", "PEER"]
DEFAULT_SCOPES: Final = ("ACCESS", "CATALOG", "CONTRACT", "EVIDENCE")
StatusKind = Literal["CARD", "KEY_REVOKED", "CERT_DENIED", "PARTICIPANT", "PRODUCT", "AGREEMENT", "PEER", "ORDER"]


class PeerAgreement(Statement, tag="peer-agreement", kw_only=True, frozen=True):
    """Two venues recognise each other; signed by both evidence keys."""

    parties: Annotated[tuple[TrustDomain, ...], msgspec.Meta(min_length=2, max_length=2)]
    """Sorted."""
    cards: Annotated[tuple[Digest, ...], msgspec.Meta(min_length=2, max_length=2)]
    """Digests of the cards compared, in the order of ``parties``."""
    scopes: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=7)]
    parent: str = ""
    """Trust domain of the party that is the other's parent; empty between peers."""
    max_listings: Count = 1_000_000
    authority: tuple[str, ...] = ()
    """Order types that the parent may issue."""
    end: Time | None = None

    def required(self) -> tuple[Required, ...]:
        """Both venues."""
        return tuple(Required(party, "evidence") for party in self.parties)


class StatusEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What changed for one subject (protocol 8.1)."""

    kind: StatusKind
    subject: str
    """SPIFFE id, kid, certificate serial, product or agreement id, trust domain."""
    state: str
    cause: str = ""
    effective: Time
    invalid_from: Time | None = None


class Status(Statement, tag="status", kw_only=True, frozen=True):
    """A numbered notice of revocations and suspensions."""

    events: Annotated[tuple[StatusEvent, ...], msgspec.Meta(min_length=1, max_length=500)]

    def required(self) -> tuple[Required, ...]:
        """The issuing venue."""
        return (Required(self.iss, "evidence"),)


class PeeringState(State, kw_only=True, frozen=True):
    """What we know of another venue; ``id`` is its trust domain, ``document`` the peer agreement."""

    relation: str = "PEER"
    scopes: tuple[str, ...] = ()
    applied_by: str = ""
    """Trust domain of the side that applied."""
    card: str = ""
    """Digest of the newest card accepted."""
    card_version: int = 0
    confirmed: str = ""
    """Fingerprint that our operator compared; empty: UNCONFIRMED, opens nothing."""
    address: str = ""
    max_listings: int = 1_000_000


def check_scope(state: PeeringState | None, scope: str = "") -> None:
    """Refuse what a peering does not open.

    Raises:
        TrustnodeError: PEER_SUSPENDED when none is in force; ROLE_NOT_ALLOWED when ``scope`` is not part of it.
    """
    if state is None or state.state != "APPROVED":
        raise error("PEER_SUSPENDED", "no peering is in force with this venue")
    if scope and scope not in state.scopes:
        raise error("ROLE_NOT_ALLOWED", f"the peering does not open {scope}")


@dataclass(frozen=True)
class PeeringFacts:
    """What the guards look at."""

    identity_verified: bool = False
    level_known: bool = False
    both_signed: bool = False
    fingerprint_compared: bool = False
    sent_by_applicant: bool = False
    reasons_given: bool = False


def _may_apply(facts: PeeringFacts) -> str | None:
    if not facts.identity_verified:
        return "IDENTITY_WRONG_DOMAIN"
    return None if facts.level_known else "VOCABULARY_UNKNOWN"


def _may_confirm(facts: PeeringFacts) -> tuple[str, str] | None:
    if facts.sent_by_applicant:
        return "ROLE_NOT_ALLOWED", "the side that applied cannot confirm its own application"
    if not facts.both_signed:
        return "SIGNATURE_INVALID", "a peer agreement needs the signature of both venues"
    if not facts.fingerprint_compared:
        return "FINGERPRINT_MISMATCH", "compare the fingerprint of the card first"
    return None


def _may_reject(facts: PeeringFacts) -> tuple[str, str] | None:
    if facts.sent_by_applicant:
        return "ROLE_NOT_ALLOWED", "the side that applied withdraws, the other one rejects"
    return None if facts.reasons_given else ("FIELD_MISSING", "say why")


def _may_withdraw(facts: PeeringFacts) -> tuple[str, str] | None:
    return None if facts.sent_by_applicant else ("ROLE_NOT_ALLOWED", "only the side that applied withdraws")


def _both_signed(facts: PeeringFacts) -> str | None:
    return None if facts.both_signed else "SIGNATURE_INVALID"


def _verified(facts: PeeringFacts) -> str | None:
    return None if facts.identity_verified else "IDENTITY_REVOKED"


PEERING: Final = Machine[PeeringFacts](
    name="peer agreement",
    kind="peer",
    states=("APPLIED", "APPROVED", "SUSPENDED", "REJECTED", "TERMINATED"),
    terminal=frozenset({"REJECTED", "TERMINATED"}),
    rows=(
        Row(None, "apply", "VN", "APPLIED", "peer.apply", _may_apply),
        Row("APPLIED", "confirm", "VN", "APPROVED", "peer.approve", _may_confirm),
        Row("APPLIED", "reject", "VN", "REJECTED", "peer.reject", _may_reject),
        Row("APPLIED", "withdraw", "VN", "REJECTED", "peer.reject", _may_withdraw),
        Row("APPLIED", "time_out", "T", "REJECTED", "peer.reject"),
        Row("APPROVED", "amend", "VN", "APPROVED", "peer.amend", _both_signed),
        Row("APPROVED", "suspend", "VNX", "SUSPENDED", "peer.suspend"),
        Row("APPROVED", "terminate", "VN", "TERMINATED", "peer.terminate"),
        Row("APPROVED", "term_over", "T", "TERMINATED", "peer.terminate"),
        Row("APPROVED", "identity_revoked", "KX", "TERMINATED", "peer.terminate"),
        Row("SUSPENDED", "suspend", "VNX", "SUSPENDED", "peer.suspend"),
        Row("SUSPENDED", "lift_cause", "VNX", "SUSPENDED", "peer.resume", when=CAUSES_REMAIN),
        Row("SUSPENDED", "lift_cause", "VNX", "APPROVED", "peer.resume", _verified, NO_CAUSE_LEFT),
        Row("SUSPENDED", "terminate", "VN", "TERMINATED", "peer.terminate"),
        Row("SUSPENDED", "term_over", "T", "TERMINATED", "peer.terminate"),
        Row("SUSPENDED", "identity_revoked", "KX", "TERMINATED", "peer.terminate"),
    ),
)
