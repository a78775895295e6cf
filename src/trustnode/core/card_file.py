"""The file in which a venue gives its card to another one, and what lets a stranger apply with it.

Decides: the form of the file. Leaves to others: accepting a card (``identity.card``), who may apply (``rpc``). The card
alone is public and is what the fingerprint covers; the certificate beside it was issued by the venue whose card it is,
opens ``ApplyPeering`` there and nothing else, and is not secret in the way a key of one's own is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec

from trustnode.core.document import Document, canonical
from trustnode.core.envelope import Envelope
from trustnode.errors import error

MAX_FILE_BYTES: Final = 2 * 1024 * 1024
MAX_EARLIER: Final = 16


class CardFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A card as one venue hands it to another."""

    format: Literal["trustnode-card-v1"]
    card: Envelope
    chain_pem: Annotated[str, msgspec.Meta(max_length=65536)] = ""
    """Certificate ``spiffe://<td>/apply/<id>``, leaf first; empty: only venues that are known there can apply."""
    key_pem: Annotated[str, msgspec.Meta(max_length=8192)] = ""
    earlier: Annotated[tuple[Envelope, ...], msgspec.Meta(max_length=MAX_EARLIER)] = ()
    """Versions before the card, for a venue that was away meanwhile."""

    def document(self) -> Document:
        """The card; nothing in it is verified."""
        return self.card.document()

    def versions(self) -> tuple[Document, ...]:
        """The card and the versions before it that came along, in the order of the file; nothing is verified."""
        return (*(one.document() for one in self.earlier), self.document())


def write(card: Document, chain_pem: bytes = b"", key_pem: bytes = b"", earlier: Sequence[Document] = ()) -> bytes:
    """Make the content of a card file; of the versions before, the newest ones find room."""
    content = CardFile(
        format="trustnode-card-v1", card=Envelope.of(card), chain_pem=chain_pem.decode(), key_pem=key_pem.decode(),
        earlier=tuple(Envelope.of(one) for one in earlier[-MAX_EARLIER:]),
    )  # fmt: skip
    return canonical(content) + b"\n"


def read(data: bytes) -> CardFile:
    """Read a card file; nothing in it is verified.

    Raises:
        TrustnodeError: FIELD_TOO_LONG, MESSAGE_UNPARSABLE.
    """
    if len(data) > MAX_FILE_BYTES:
        raise error("FIELD_TOO_LONG", f"a card file has at most {MAX_FILE_BYTES} bytes", field="card")
    try:
        found = msgspec.json.decode(data, type=CardFile)
        found.versions()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise error("MESSAGE_UNPARSABLE", f"not a card file: {problem}", field="card") from None
    return found
