"""Participants: who is enrolled at a venue, with which key, in which roles.

Decides: the key document, the enrolment state and its table (lifecycles names none for participants; this one is ours,
docs/decisions/0003), the invitation file. Leaves to others: certificates (``keys``), who asked (``rpc``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec

from trustnode.core.document import Key, Required, Statement, Text, Time
from trustnode.core.lifecycle import CAUSES_REMAIN, NO_CAUSE_LEFT, Machine, Row, State
from trustnode.errors import error

Custody = Literal["HELD", "CUSTODY"]
ENROLLED_ROLES: Final = frozenset(
    {"PROVIDER", "CONSUMER", "SERVICE_PARTY", "MERCHANT", "CUSTODIAN", "SUPERVISOR", "AUDITOR"}
)
"""Roles that a participant may be enrolled with."""
ParticipantId = Annotated[
    str,
    msgspec.Meta(pattern=r"^spiffe://[a-z0-9._-]{1,255}/participant/[a-z0-9][a-z0-9._-]{0,62}$(?!\n)"),
]
"""SPIFFE id of a participant: two segments, lower case, so that no two look alike."""
MAX_LIFE_S: Final = 2 * 366 * 86400


class ParticipantKey(Statement, tag="participant-key", kw_only=True, frozen=True):
    """The venue says whose key this is and who holds it; the key itself signs too (possession). protocol 1.2."""

    participant: ParticipantId
    """SPIFFE id in the signer's own domain."""
    title: Text
    roles: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=8)]
    public: Key
    custody: Custody
    not_before: Time
    not_after: Time
    subject: str = ""
    """Subject code of 18 characters, where the venue checked one."""
    assurance: str = "organisation-checked"
    previous: str = ""
    """Digest of the key document that this one replaces."""

    def required(self) -> tuple[Required, ...]:
        """The home venue and the key itself."""
        return (Required(self.iss, "evidence"), Required(self.participant, "participant"))


class Invitation(Statement, tag="invitation", kw_only=True, frozen=True):
    """The venue invites somebody to enrol, or an enrolled participant to fetch a new certificate."""

    participant: ParticipantId
    title: Text
    roles: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=8)]
    until: Time
    previous: str = ""
    """Digest of the key document whose key was taken back: who is invited makes a new key in its place."""

    def required(self) -> tuple[Required, ...]:
        """The venue."""
        return (Required(self.iss, "evidence"),)


class ParticipantState(State, kw_only=True, frozen=True):
    """One enrolled participant; ``id`` is its SPIFFE id, ``document`` its newest key document."""

    name: str
    title: str = ""
    roles: tuple[str, ...] = ()
    custody: str = ""
    kid: str = ""
    home: str = ""
    """Trust domain; another venue's participants are known by the key documents that came along."""
    invited_until: str = ""
    certificate_serial: str = ""


@dataclass(frozen=True)
class ParticipantFacts:
    """What the guards look at."""

    own_domain: bool = False
    known_roles: bool = False
    new_key: bool = False


def _may_enrol(facts: ParticipantFacts) -> tuple[str, str] | None:
    if not facts.own_domain:
        return "IDENTITY_WRONG_DOMAIN", "a participant lies in the domain of the venue that enrols it"
    if not facts.known_roles:
        return "VOCABULARY_UNKNOWN", "a participant needs at least one role, all of them known"
    return None


def _new_key(facts: ParticipantFacts) -> tuple[str, str] | None:
    return None if facts.new_key else ("DUPLICATE", "this key is known already; one key has one owner and one use")


PARTICIPANT: Final = Machine[ParticipantFacts](
    name="participant",
    kind="participant",
    states=("INVITED", "ENROLLED", "SUSPENDED", "REVOKED"),
    terminal=frozenset({"REVOKED"}),
    rows=(
        Row(None, "invite", "V", "INVITED", "identity.register", _may_enrol),
        Row(None, "enrol", "VN", "ENROLLED", "identity.register", _may_enrol),
        Row("INVITED", "enrol", "V", "ENROLLED", "identity.register", _may_enrol),
        Row("INVITED", "invite", "V", "INVITED", "identity.update", _may_enrol),
        Row("INVITED", "revoke", "VX", "REVOKED", "identity.revoke"),
        Row("ENROLLED", "rekey", "VN", "ENROLLED", "identity.update", _new_key),
        Row("ENROLLED", "renew", "VC", "ENROLLED", "identity.update"),
        Row("ENROLLED", "suspend", "VXN", "SUSPENDED", "identity.update"),
        Row("ENROLLED", "revoke", "VXN", "REVOKED", "identity.revoke"),
        Row("SUSPENDED", "suspend", "VXN", "SUSPENDED", "identity.update"),
        Row("SUSPENDED", "lift_cause", "VXN", "SUSPENDED", "identity.update", when=CAUSES_REMAIN),
        Row("SUSPENDED", "lift_cause", "VXN", "ENROLLED", "identity.update", when=NO_CAUSE_LEFT),
        Row("SUSPENDED", "rekey", "VN", "SUSPENDED", "identity.update", _new_key),
        Row("SUSPENDED", "revoke", "VXN", "REVOKED", "identity.revoke"),
    ),
)


def participant_of(spiffe_id: str) -> str:
    """The participant that a client's SPIFFE id belongs to: its first two path segments; empty when it is none."""
    parts = spiffe_id.split("/")
    return "/".join(parts[:5]) if len(parts) >= 5 and parts[3] == "participant" else ""


def domain_of(owner: str) -> str:
    """The trust domain of a SPIFFE id, or the trust domain itself."""
    return owner.removeprefix("spiffe://").split("/", 1)[0]


def check_roles(roles: tuple[str, ...]) -> tuple[str, ...]:
    """Return the roles, sorted, each once.

    Raises:
        TrustnodeError: VOCABULARY_UNKNOWN.
    """
    unknown = sorted(set(roles) - ENROLLED_ROLES)
    if unknown or not roles:
        known = ", ".join(sorted(ENROLLED_ROLES))
        raise error("VOCABULARY_UNKNOWN", f"role {[*unknown, '(none)'][0]} is not one of {known}", field="role")
    return tuple(sorted(set(roles)))
