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
from trustnode.core.document import Document, Verified, decode
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
from trustnode.store.noted import SERIAL_PREFIX
from trustnode.store.unit import Tx

DENIED_PREFIX = "denied/"
"""Settings that hold the deny list of participants, by SPIFFE id."""
CERTIFICATE_PREFIX = "certificate/"
"""Settings: ``certificate/<SPIFFE id>/<hex serial>`` -> end of a certificate that was issued to a participant."""
EVERYBODY = "*"
"""Audience of the line that keeps a notice here; peers follow lines of their own."""
NO_KEY = "SYSTEM"
"""Cause under which a participant is suspended from the loss of its key until it has joined with a new one."""


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
    back = venue.sign(_notice(venue, value.participant, "ENROLLED", NO_KEY))

    def unit(tx: Tx) -> Answer:
        known = tx.get(ParticipantState, value.participant)
        state = known or ParticipantState(id=value.participant, name=value.participant.rpartition("/")[2])
        is_new = known is None or known.state not in ("ENROLLED", "SUSPENDED")
        if known is not None and not is_new and known.document and value.previous != known.document:
            raise error("HASH_MISMATCH", "a new key names the key document that it replaces", field="previous")
        stored = fire(
            tx, PARTICIPANT, state, "enrol" if is_new else "rekey", "V", facts, by=submission.sender.name,
            documents=(submission.digest,), title=value.title, roles=value.roles, custody=value.custody,
            home=venue.domain, invited_until="", kid=submission.verified.keys[1], document=submission.digest,
        )  # fmt: skip
        return Answer.of(_back(tx, stored, back, submission.sender.name))

    return unit


def _back(tx: Tx, state: ParticipantState, told: Document, by: str) -> ParticipantState:
    """Somebody whose key was taken back has joined with a new one: that cause is over, here and at peers."""
    if f"V:{NO_KEY}" not in state.causes:
        return state
    stored = fire(tx, PARTICIPANT, state, "lift_cause", "V", ParticipantFacts(), by=by, cause=NO_KEY)
    tx.set_setting(DENIED_PREFIX + stored.id, "" if stored.state == "ENROLLED" else stored.state)
    tell_control(tx, told)
    return stored


def key_taken_back(tx: Tx, event: StatusEvent, issuer: str, digest: str) -> None:
    """Our own participant's key no longer counts: until it has a new one it is suspended, its certificates refused."""
    found = tx.find(ParticipantState, kid=event.subject, home=issuer, limit=1)
    if not found or found[0].state not in ("ENROLLED", "SUSPENDED") or f"V:{NO_KEY}" in found[0].causes:
        return
    stored = fire(
        tx, PARTICIPANT, found[0], "suspend", "V", ParticipantFacts(), by=issuer, cause=NO_KEY, documents=(digest,)
    )
    tx.set_setting(DENIED_PREFIX + stored.id, stored.state)
    issued = f"{CERTIFICATE_PREFIX}{stored.id}/"
    for name in tx.settings(issued):
        tx.set_setting(f"{SERIAL_PREFIX}{issuer}/{name.removeprefix(issued)}", tx.now)
        tx.set_setting(name, "")


def remember_certificate(tx: Tx, participant: str, serial: str, not_after: str) -> None:
    """Keep what was issued, so that it can be refused when its key is stolen; forget what has ended."""
    issued = f"{CERTIFICATE_PREFIX}{participant}/"
    for name, end in tx.settings(issued).items():
        if end < tx.now:
            tx.set_setting(name, "")
    tx.set_setting(issued + serial, not_after)


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
        elif known.document != key.digest and known.state != "REVOKED" and not _is_replaced(tx, known, key):
            fire(
                tx, PARTICIPANT, known, "rekey", "N", ParticipantFacts(new_key=True), by=value.iss,
                documents=(key.digest,), document=key.digest, custody=value.custody, kid=key.keys[1],
            )  # fmt: skip


def _is_replaced(tx: Tx, known: ParticipantState, key: Verified[ParticipantKey]) -> bool:
    """Whether we hold a later document: an old one must not come back by being shown."""
    held = tx.document(known.document)
    return held is not None and decode(held, ParticipantKey).time > key.value.time


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
    state = {"revoke": "REVOKED", "suspend": "SUSPENDED", "lift_cause": "ENROLLED"}.get(act.event, "REVOKED")
    return _notice(venue, act.object, state, act.cause or act.reason[:64], act.effective or "")


def _notice(venue: Venue, participant: str, state: str, cause: str, effective: str = "") -> Status:
    event = StatusEvent(
        kind="PARTICIPANT", subject=participant, state=state, cause=cause, effective=effective or venue.clock.now()
    )
    return Status(events=(event,), **venue.fields("*"))


def tell_control(tx: Tx, status: Document) -> None:
    """Put a notice into the CONTROL lane of every venue we federate with, and keep it for bundles."""
    tx.tell("CONTROL", EVERYBODY, [status])
    for peering in tx.find(PeeringState, state=("APPROVED", "SUSPENDED")):
        tx.tell("CONTROL", peering.id, [status])


def apply_status(tx: Tx, event: StatusEvent, issuer: str, digest: str) -> None:
    """Follow what another venue says of its own participant."""
    state = tx.get(ParticipantState, event.subject)
    if state is None or state.home != issuer:
        return
    step = {"REVOKED": "revoke", "SUSPENDED": "suspend", "ENROLLED": "lift_cause"}.get(event.state)
    cause = event.cause or "VENUE"
    stands = f"N:{cause}" in state.causes
    if step is None or state.state == "REVOKED" or stands is {"suspend": True, "lift_cause": False}.get(step):
        return
    fire(tx, PARTICIPANT, state, step, "N", ParticipantFacts(), by=issuer, cause=cause, documents=(digest,))
