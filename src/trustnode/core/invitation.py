"""The invitation file: what a venue hands to somebody who is to become, or again be, its participant.

Decides: the content of the file and that its parts fit together. Leaves to others: comparing the fingerprint (a
person), the certificate in it (``keys``), what it opens (``rpc``). Source: protocol 1.2.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from trustnode.core import documents as _documents  # noqa: F401 (closes the table of document types)
from trustnode.core.document import Document, PublicKey, Verified, canonical, verify
from trustnode.core.envelope import Envelope
from trustnode.core.identity import Card, check_card, vouched
from trustnode.core.participant import Invitation
from trustnode.errors import error

MAX_FILE_BYTES: Final = 256 * 1024


class InvitationFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a participant needs to make its keys and enrol. Secret: whoever holds it can enrol."""

    format: Literal["trustnode-invitation-v1"] = "trustnode-invitation-v1"
    card: Envelope
    """The venue's card; its fingerprint is compared with the one heard out of band."""
    invitation: Envelope
    """The signed invitation."""
    subject: Annotated[str, msgspec.Meta(max_length=18)] = ""
    """Subject code that the venue checked; empty where it has none."""
    chain_pem: Annotated[str, msgspec.Meta(max_length=65536)]
    """One-time certificate ``spiffe://<td>/invite/<id>``, leaf first."""
    key_pem: Annotated[str, msgspec.Meta(max_length=8192)]


def write(card: Document, invitation: Document, *, subject: str, chain_pem: bytes, key_pem: bytes) -> bytes:
    """Make the content of an invitation file."""
    content = InvitationFile(
        card=Envelope.of(card),
        invitation=Envelope.of(invitation),
        subject=subject,
        chain_pem=chain_pem.decode(),
        key_pem=key_pem.decode(),
    )
    return canonical(content)


def read(data: bytes) -> InvitationFile:
    """Read an invitation file; nothing in it is believed yet.

    Raises:
        TrustnodeError: FIELD_TOO_LONG, MESSAGE_UNPARSABLE.
    """
    if len(data) > MAX_FILE_BYTES:
        raise error("FIELD_TOO_LONG", f"an invitation has at most {MAX_FILE_BYTES} bytes", field="invitation")
    try:
        return msgspec.json.decode(data, type=InvitationFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise error("MESSAGE_UNPARSABLE", f"not an invitation file: {problem}", field="invitation") from None


def check(file: InvitationFile, card: Document, now: str) -> tuple[Verified[Card], Verified[Invitation]]:
    """Check that card and invitation belong together; the caller has compared the card's fingerprint.

    Raises:
        TrustnodeError: As ``check_card`` and ``verify``; IDENTITY_EXPIRED, IDENTITY_WRONG_DOMAIN.
    """
    venue = check_card(card, now)
    domain, keys = venue.value.trust_domain, vouched(venue.value)

    def known(owner: str, use: str) -> tuple[PublicKey, ...]:
        return keys.get("evidence", ()) if (owner, use) == (domain, "evidence") else ()

    invitation = verify(file.invitation.document(), Invitation, known, now)
    if not invitation.value.participant.startswith(f"spiffe://{domain}/participant/"):
        raise error("IDENTITY_WRONG_DOMAIN", "the invitation names a participant of another venue")
    if invitation.value.until < now:
        raise error("IDENTITY_EXPIRED", f"the invitation ended at {invitation.value.until}")
    return venue, invitation
