"""Becoming a participant with an invitation, or coming back with one.

Decides: what is compared before anything is made, which keys are made, what the key document says. Leaves to others:
what the venue grants (its node), the profile's files (``profile``).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from trustnode.core import clock, envelope, invitation
from trustnode.core.document import Document, Verified, seal
from trustnode.core.identity import Card, bundle_of, check_fingerprint, fingerprint
from trustnode.core.participant import Custody, Invitation, ParticipantKey
from trustnode.errors import error
from trustnode.keys import Credential, FileSigner, make_client_key_and_csr
from trustnode.sdk import profile as profiles
from trustnode.sdk.connection import TIMEOUT_S
from trustnode.sdk.profile import Profile, Settings, new_id, now
from trustnode.wire.channel import Target, VenueChannel
from trustnode.wire.home import Home

KEY_LIFE_DAYS: Final = 730
NEXT_KEY: Final = "participant.next.key"
"""A key that takes the place of one that was taken back, until the venue has signed its document."""
NEXT_DOCUMENT: Final = "participant-key.next.json"


async def join(
    file: str | Path,
    fingerprint: str,
    *,
    folder: str | Path | None = None,
    address: str = "",
    custody: Custody = "HELD",
    timeout_s: float = TIMEOUT_S,
) -> Profile:
    """Enrol with an invitation; keys are made here and stay here.

    With an invitation from ``participant reissue`` the profile keeps its document key and gets a new certificate; with
    one from ``participant rekey`` it gets a new document key, whose document names the one it replaces.

    Args:
        file: The invitation.
        fingerprint: What the venue told out of band; compared in full before anything is made.
        folder: Folder of the profile; by default one of the participant's name among the others.
        address: host:port of the node, where the card's addresses do not lead to it.
        custody: HELD, or CUSTODY where the operator makes the keys for somebody.
        timeout_s: Deadline of the call.

    Raises:
        TrustnodeError: FINGERPRINT_MISMATCH, IDENTITY_EXPIRED, DUPLICATE (a profile of somebody else lies there), and
            what the node refuses with.
    """
    content = invitation.read(_read(Path(file)))
    card = content.card.document()
    check_fingerprint(card, fingerprint)
    venue, invited = invitation.check(content, card, now())
    place = Path(folder) if folder else profiles.root() / _name(invited.value)
    signer, statement = _key(place, venue, invited.value, content.subject, custody)
    key_pem, csr = make_client_key_and_csr()
    addresses = (address,) if address else venue.value.endpoints
    bearer = Credential(content.key_pem.encode(), content.chain_pem.encode())
    channel = VenueChannel(Target(venue.value.trust_domain, addresses, bundle_of(venue.value, now()).pem), bearer)
    try:
        answer = await Home(channel).call(
            "ParticipantService/EnrolParticipant",
            {"csr_der": csr, "participant_key": statement},
            timeout_s=timeout_s,
        )
    finally:
        await channel.aclose()
    settings = _settings(venue, invited.value, addresses, custody)
    if invited.value.previous:
        profiles.replace_file(place / "participant.key", signer.pem)
    made = profiles.write(place, settings, card, signer, _countersigned(answer["participant_key"], statement))
    made.write_certificate(answer["certificate_chain_pem"].encode(), key_pem)
    for name in (NEXT_KEY, NEXT_DOCUMENT):
        (place / name).unlink(missing_ok=True)
    return made


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as problem:
        raise error("USAGE", f"{file}: {problem.strerror}", field="invitation") from None


def _name(invited: Invitation) -> str:
    return invited.participant.rpartition("/")[2]


def _key(
    place: Path, venue: Verified[Card], invited: Invitation, subject: str, custody: Custody
) -> tuple[FileSigner, Document]:
    """The key and its document: those of the profile that is there, or new ones."""
    if (place / profiles.SETTINGS).exists():
        held = Profile.open(place)
        if held.participant != invited.participant:
            raise error("DUPLICATE", f"{place} is the profile of {held.participant}", field="folder")
        if held.key_document.digest != invited.previous:
            return held.signer, held.key_document
    names = (NEXT_KEY, NEXT_DOCUMENT) if invited.previous else ("participant.key", "participant-key.json")
    key, statement = (place / name for name in names)
    if not statement.exists():
        signer = FileSigner.generate()
        profiles.replace_file(key, signer.pem)
        made = seal(_statement(venue, invited, subject, custody, signer), signer)
        profiles.replace_file(statement, envelope.encode(made))
    # An enrolment that was cut off goes on with its key: the venue may have taken it in already.
    return FileSigner.load(key), envelope.decode(statement.read_bytes())


def _statement(
    venue: Verified[Card], invited: Invitation, subject: str, custody: Custody, signer: FileSigner
) -> ParticipantKey:
    time = now()
    domain = venue.value.trust_domain
    return ParticipantKey(
        suite="tn1",
        id=new_id(),
        iss=domain,
        aud=("*",),
        time=time,
        participant=invited.participant,
        title=invited.title,
        roles=invited.roles,
        public=signer.public.hex(),
        custody=custody,
        not_before=time,
        not_after=clock.shift(time, KEY_LIFE_DAYS * 86400),
        subject=subject,
        previous=invited.previous,
    )


def _countersigned(answer: Document, ours: Document) -> Document:
    """The venue adds its signature to our bytes; other bytes are not what we signed."""
    if answer.payload != ours.payload:
        raise error("HASH_MISMATCH", "the venue answered with another key document than ours")
    return answer


def _settings(venue: Verified[Card], invited: Invitation, addresses: tuple[str, ...], custody: Custody) -> Settings:
    domain = venue.value.trust_domain
    mark = fingerprint(venue.document)
    return Settings(
        name=re.sub(r"[^a-z0-9._-]", "-", _name(invited)),
        participant=invited.participant,
        venue=domain,
        addresses=addresses,
        fingerprint=mark,
        roles=invited.roles,
        custody=custody,
        anchors={domain: mark},
    )
