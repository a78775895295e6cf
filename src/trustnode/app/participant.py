"""Participants: inviting, enrolling, replacing keys, suspending, revoking; and those of other venues as we know them.

Decides: what each of these steps looks at. Leaves to others: certificates (``keys``, called by ``rpc.participant``),
the table (``core.participant``).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from trustnode.app.submission import Answer, Submission, Unit, handles
from trustnode.app.transition import fire, is_foreign
from trustnode.app.venue import Venue
from trustnode.core.contract import Act
from trustnode.core.document import Document, Verified
from trustnode.core.participant import (
    ENROLLED_ROLES,
    PARTICIPANT,
    Invitation,
    ParticipantFacts,
    ParticipantKey,
    ParticipantState,
    domain_of,
)
from trustnode.core.peering import PeeringState, Status, StatusEvent
from trustnode.errors import error
from trustnode.store.unit import Tx

DENIED_PREFIX = "denied/"
"""Settings that hold the deny list: SPIFFE ids of participants and serials of certificates."""


@handles(Invitation, "SELF", "OPERATOR")
async def invite(submission: Submission[Invitation]) -> Unit:
    """A venue invites somebody; the certificate in the invitation opens enrolment once."""
    value = submission.value
    facts = _facts(submission.venue, value.participant, value.roles)

    def unit(tx: Tx) -> Answer:
        known = tx.get(ParticipantState, value.participant)
        if known and known.state in ("ENROLLED", "SUSPENDED"):
            stored = tx.save(msgspec.structs.replace(known, invited_until=value.until))
            tx.log("participant", stored.id, "identity.update", documents=(submission.digest,), to_state=stored.state)
            return Answer.of(stored)
        state = known or ParticipantState(id=value.participant, name=value.participant.rpartition("/")[2])
        stored = fire(
            tx, PARTICIPANT, state, "invite", "V", facts, by=submission.sender.name, documents=(submission.digest,),
            title=value.title, roles=value.roles, home=submission.venue.domain, invited_until=value.until,
        )  # fmt: skip
        return Answer.of(stored)

    return unit


def _facts(venue: Venue, participant: str, roles: Iterable[str], *, new_key: bool = True) -> ParticipantFacts:
    return ParticipantFacts(
        own_domain=domain_of(participant) == venue.domain,
        known_roles=bool(tuple(roles)) and set(roles) <= ENROLLED_ROLES,
        new_key=new_key,
    )


@handles(ParticipantKey, "SELF", "OPERATOR")
async def enrol(submission: Submission[ParticipantKey]) -> Unit:
    """A key document of our own participant: first enrolment, or a new key."""
    venue, value = submission.venue, submission.value
    owner = venue.keyring.owner_of(value.public)
    facts = _facts(venue, value.participant, value.roles, new_key=not owner)
    if owner and owner != value.participant:
        raise error("DUPLICATE", "this key belongs to somebody else already", field="public")

    def unit(tx: Tx) -> Answer:
        known = tx.get(ParticipantState, value.participant)
        state = known or ParticipantState(id=value.participant, name=value.participant.rpartition("/")[2])
        event = "rekey" if known and known.state in ("ENROLLED", "SUSPENDED") else "enrol"
        stored = fire(
            tx, PARTICIPANT, state, event, "V", facts, by=submission.sender.name, documents=(submission.digest,),
            title=value.title, roles=value.roles, custody=value.custody, home=venue.domain, invited_until="",
            kid=submission.verified.keys[1], document=submission.digest,
        )  # fmt: skip
        return Answer.of(stored)

    return unit


def remember_foreign(tx: Tx, keys: Iterable[Verified[ParticipantKey]], domain: str) -> None:
    """Keep key documents of other venues' participants that came with a document we accept."""
    for key in keys:
        value = key.value
        if not is_foreign(value.participant, domain):
            continue
        known = tx.get(ParticipantState, value.participant)
        tx.keep(key.document)
        if known is None:
            fresh = ParticipantState(id=value.participant, name=value.participant.rpartition("/")[2])
            facts = ParticipantFacts(own_domain=True, known_roles=True, new_key=True)
            fire(
                tx, PARTICIPANT, fresh, "enrol", "N", facts, by=value.iss, documents=(key.digest,), document=key.digest,
                title=value.title, roles=value.roles, custody=value.custody, home=value.iss, kid=key.keys[1],
            )  # fmt: skip
        elif known.document != key.digest and known.state != "REVOKED":
            fire(
                tx, PARTICIPANT, known, "rekey", "N", ParticipantFacts(new_key=True), by=value.iss,
                documents=(key.digest,), document=key.digest, custody=value.custody, kid=key.keys[1],
            )  # fmt: skip


async def prepare_act(submission: Submission[Act]) -> Unit:
    """Suspend, resume or revoke one of our participants; peers are told in the same unit."""
    venue, act = submission.venue, submission.value
    if is_foreign(act.object, venue.domain):
        raise error("ROLE_NOT_ALLOWED", "only its own venue may do this to a participant")
    status = venue.sign(_status(venue, act))

    def unit(tx: Tx) -> Answer:
        state = tx.get(ParticipantState, act.object)
        if state is None:
            raise error("NOT_FOUND", "no such participant")
        stored = fire(
            tx, PARTICIPANT, state, act.event, "V", ParticipantFacts(), by=submission.sender.name, cause=act.cause,
            documents=(submission.digest,),
        )  # fmt: skip
        tx.set_setting(DENIED_PREFIX + stored.id, "" if stored.state == "ENROLLED" else stored.state)
        tell_control(tx, status)
        return Answer.of(stored)

    return unit


def _status(venue: Venue, act: Act) -> Status:
    now = venue.clock.now()
    state = {"revoke": "REVOKED", "suspend": "SUSPENDED", "lift_cause": "ENROLLED"}.get(act.event, "REVOKED")
    event = StatusEvent(
        kind="PARTICIPANT",
        subject=act.object,
        state=state,
        cause=act.cause or act.reason[:64],
        effective=act.effective or now,
    )
    return Status(events=(event,), **venue.fields("*"))


def tell_control(tx: Tx, status: Document) -> None:
    """Put a notice into the CONTROL lane of every venue we federate with."""
    for peering in tx.find(PeeringState, state=("APPROVED", "SUSPENDED")):
        tx.tell("CONTROL", peering.id, [status])


def apply_status(tx: Tx, event: StatusEvent, issuer: str, digest: str) -> None:
    """Follow what another venue says of its own participant."""
    state = tx.get(ParticipantState, event.subject)
    if state is None or state.home != issuer:
        return
    step = {"REVOKED": "revoke", "SUSPENDED": "suspend", "ENROLLED": "lift_cause"}.get(event.state)
    cause = event.cause or "VENUE"
    if step is None or state.state == event.state:
        return
    if step == "lift_cause":
        cause = next((c.partition(":")[2] for c in state.causes if c.startswith("N:")), "")
        if not cause:
            return
    fire(tx, PARTICIPANT, state, step, "N", ParticipantFacts(), by=issuer, cause=cause, documents=(digest,))
