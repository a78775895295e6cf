"""The file form of a signed document: the JSON envelope of DSSE v1.

Decides: how a card, a key document or a receipt stands in a file, an invitation or a bundle. Leaves to others: what the
document means (``document``), where the file lies. Source: DSSE v1 envelope, protocol 10 (``documents/<sha256>.json``).
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Final

import msgspec

from trustnode.core.document import MAX_SIGNATURES, Document, Signature, canonical
from trustnode.errors import error

MAX_ENVELOPE_BYTES: Final = 1024 * 1024


class EnvelopeSignature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One signature of the envelope; base64."""

    keyid: Annotated[str, msgspec.Meta(max_length=128)]
    sig: Annotated[str, msgspec.Meta(max_length=512)]


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A document as JSON; ``payload`` is base64 of the exact bytes that were signed."""

    payload_type: Annotated[str, msgspec.Meta(max_length=128)]
    payload: str
    signatures: Annotated[tuple[EnvelopeSignature, ...], msgspec.Meta(max_length=MAX_SIGNATURES)] = ()

    @classmethod
    def of(cls, document: Document) -> Envelope:
        """Write a document."""
        signatures = tuple(EnvelopeSignature(s.keyid, _text(s.sig)) for s in document.signatures)
        return cls(document.payload_type, _text(document.payload), signatures)

    def document(self) -> Document:
        """Read the document; nothing in it is verified.

        Raises:
            TrustnodeError: MESSAGE_UNPARSABLE.
        """
        signatures = tuple(Signature(s.keyid, _bytes(s.sig)) for s in self.signatures)
        return Document(self.payload_type, _bytes(self.payload), signatures)


def encode(document: Document) -> bytes:
    """Write a document as one line of canonical JSON."""
    return canonical(Envelope.of(document))


def decode(data: bytes) -> Document:
    """Read a document from a file.

    Raises:
        TrustnodeError: FIELD_TOO_LONG, MESSAGE_UNPARSABLE.
    """
    if len(data) > MAX_ENVELOPE_BYTES:
        raise error("FIELD_TOO_LONG", f"an envelope has at most {MAX_ENVELOPE_BYTES} bytes", field="envelope")
    try:
        return msgspec.json.decode(data, type=Envelope).document()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise error("MESSAGE_UNPARSABLE", f"not a signed document: {problem}", field="envelope") from None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise error("MESSAGE_UNPARSABLE", "an envelope carries base64", field="envelope") from None
