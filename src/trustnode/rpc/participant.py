"""ParticipantService: enrolling with an invitation, renewing a certificate."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from trustnode.app.participant import remember_certificate
from trustnode.app.submission import Answer, submit
from trustnode.app.venue import Venue
from trustnode.core.document import Document, cosign, decode, has_signature, pae
from trustnode.core.participant import ParticipantKey, ParticipantState
from trustnode.errors import error
from trustnode.keys.authority import described
from trustnode.rpc.conversion import object_of_answer
from trustnode.rpc.dispatch import Call
from trustnode.rpc.methods import Method, only
from trustnode.store.unit import Tx, View
from trustnode.v1 import participant_service_pb2 as pb
from trustnode.wire.convert import document_from_proto, document_to_proto

SERVICE: Final = "/trustnode.v1.ParticipantService/"
USED_PREFIX: Final = "invitation-used/"
"""Settings: digest of the two keys that an invitation was used for."""
USED: Final = "this invitation was used, or never given; ask your venue for another one"


def methods(venue: Venue) -> tuple[Method, ...]:
    """The methods of the service."""

    async def enrol(call: Call, request: pb.EnrolParticipantRequest) -> pb.EnrolParticipantResponse:
        document = document_from_proto(request.participant_key)
        value = decode(document, ParticipantKey)
        # Both keys: whoever finds a used invitation must not get a certificate for a key document that others know.
        keys = hashlib.sha256(request.csr_der + bytes.fromhex(document.digest)).hexdigest()
        await venue.store.read(lambda view: _check_invited(view, venue, value, keys, call.caller.name))
        chain = venue.issuer.client_chain(request.csr_der, value.participant)
        signed = cosign(document, venue.evidence)
        venue.keyring.check_participant_key(signed, venue.clock.now())
        await venue.store.write(_used(call.caller.name, keys), event_id="", returns=str)
        answer = await _take_in(venue, signed, value)
        await venue.store.write(_issued(value.participant, chain), event_id="", returns=str)
        return pb.EnrolParticipantResponse(
            certificate_chain_pem=chain.decode(), participant_key=document_to_proto(signed),
            card=document_to_proto(venue.keyring.cards[venue.domain].document), participant=object_of_answer(answer),
        )  # fmt: skip

    async def renew(call: Call, request: pb.RenewCertificateRequest) -> pb.RenewCertificateResponse:
        participant = call.caller.participant
        replaced = await _replaced(venue, participant, request) if request.HasField("participant_key") else None
        chain = venue.issuer.client_chain(request.csr_der, participant)

        def unit(tx: Tx) -> str:
            state = tx.get(ParticipantState, participant)
            if state is None or state.state != "ENROLLED":
                raise error("IDENTITY_REVOKED", "this participant is not enrolled now")
            tx.log("participant", participant, "identity.update")
            return _issued(participant, chain)(tx)

        await venue.store.write(unit, event_id="", returns=str)
        return pb.RenewCertificateResponse(
            certificate_chain_pem=chain.decode(),
            participant_key=document_to_proto(replaced) if replaced else None,
        )  # fmt: skip

    return (
        Method(
            name=SERVICE + "EnrolParticipant", request=pb.EnrolParticipantRequest,
            response=pb.EnrolParticipantResponse, handler=enrol, audiences=only("INVITEE"), cost="HEAVY",
        ),
        Method(
            name=SERVICE + "RenewCertificate", request=pb.RenewCertificateRequest,
            response=pb.RenewCertificateResponse, handler=renew, audiences=only("CLIENT"), cost="HEAVY",
        ),
    )  # fmt: skip


async def _replaced(venue: Venue, participant: str, request: pb.RenewCertificateRequest) -> Document:
    """Take a new document key in. The certificate alone is not enough for that: the present key signs its successor."""
    document = document_from_proto(request.participant_key)
    value, message = decode(document, ParticipantKey), pae(document.payload_type, document.payload)
    now, known = venue.clock.now(), venue.keyring(participant, "participant")
    present = venue.keyring.key_documents.get(participant)
    signers = {key.raw.hex() for key in known if key.counts_for(now, now) and has_signature(document, message, key.raw)}
    if value.participant != participant or present is None:
        raise error("IDENTITY_WRONG_DOMAIN", "a participant replaces its own key")
    if (value.title, value.roles, value.custody) != (present.value.title, present.value.roles, present.value.custody):
        raise error("HASH_MISMATCH", "the new key document says something else of its holder than the present one")
    if present.value.public not in signers:
        raise error("SIGNATURE_INVALID", "the present key has not signed the document of the new one")
    signed = cosign(document, venue.evidence)
    await submit(venue, venue.self_sender, signed)
    return signed


def _check_invited(view: View, venue: Venue, value: ParticipantKey, keys: str, invitation: str) -> None:
    """The key document says what the invitation said, and the invitation is open (protocol 1.2)."""
    state = view.get(ParticipantState, value.participant)
    used = view.setting(USED_PREFIX + invitation)
    if state is None or used not in ("", keys):
        raise error("IDENTITY_UNKNOWN", USED)
    if view.setting(f"invitation/{invitation}") != value.participant:
        raise error("IDENTITY_WRONG_DOMAIN", "this invitation is for somebody else")
    if used and state.state == "ENROLLED":
        return  # the same request again: its answer was lost on the way
    if not state.invited_until:
        raise error("IDENTITY_UNKNOWN", USED)
    if state.invited_until < venue.clock.now():
        raise error("IDENTITY_EXPIRED", "this invitation has ended; ask your venue for another one")
    if (value.title, value.roles) != (state.title, state.roles) or value.iss != venue.domain:
        raise error("HASH_MISMATCH", "the key document says something else than the invitation")


async def _take_in(venue: Venue, signed: Document, value: ParticipantKey) -> Answer:
    """Enrol; somebody who fetches a new certificate with a key that is known changes nothing."""
    known = venue.keyring.key_documents.get(value.participant)
    if known is not None and known.digest == signed.digest:
        state = await venue.store.read(lambda view: view.get(ParticipantState, value.participant))
        if state is not None:
            return Answer.of(state)
    return await submit(venue, venue.self_sender, signed)


def _issued(participant: str, chain: bytes) -> Callable[[Tx], str]:
    """Unit: remember a certificate, so that it can be refused when its holder's keys are stolen."""
    serial, not_after = described(chain)

    def unit(tx: Tx) -> str:
        remember_certificate(tx, participant, serial, not_after)
        return participant

    return unit


def _used(invitation: str, keys: str) -> Callable[[Tx], str]:
    """Unit: the invitation belongs to these two keys from now on, and to no others."""

    def unit(tx: Tx) -> str:
        if tx.setting(USED_PREFIX + invitation) not in ("", keys):
            raise error("IDENTITY_UNKNOWN", USED)
        tx.set_setting(USED_PREFIX + invitation, keys)
        return invitation

    return unit
