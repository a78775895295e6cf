"""Between messages and values: documents, objects, and errors read back into the classes a caller catches.

Decides: the value form of what travels, and which error a failed call is. Leaves to others: writing errors (``rpc``),
the table (``errors``). Message text is never parsed; the reason alone decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from trustnode.core import clock
from trustnode.core.document import MAX_SIGNATURES, Document, Signature
from trustnode.errors import REASONS, InternalError, TrustnodeError, error
from trustnode.v1 import access_pb2, document_pb2

M = TypeVar("M", bound=Message)
DOMAIN: Final = "trustnode"
DETAILS_KEY: Final = "grpc-status-details-bin"
MAX_DOCUMENT_BYTES: Final = 512 * 1024
MAX_TYPE_CHARACTERS: Final = 128
MAX_DOCUMENTS: Final = 256
"""Documents in one message; the senders of this project stay below 64."""
MAX_CAUSES: Final = 64
_METADATA_KEY: Final = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
_TAKEN: Final = frozenset({"reason", "message", "record", "self"})
"""Parameters of ``TrustnodeError``; a peer must not set them through its metadata."""

WITHOUT_REASON: Final[dict[str, str]] = {
    "UNAVAILABLE": "PEER_UNREACHABLE",
    "DEADLINE_EXCEEDED": "DEADLINE",
    "CANCELLED": "CANCELLED",
    "UNAUTHENTICATED": "IDENTITY_UNKNOWN",
    "UNIMPLEMENTED": "VERSION_UNSUPPORTED",
    "RESOURCE_EXHAUSTED": "FIELD_TOO_LONG",
}
"""What gRPC itself says, where no node gave a reason: code -> reason. (Its only bare RESOURCE_EXHAUSTED is a size.)"""


class RemoteError(InternalError):
    """A node answered with something this version has no word for.

    Attributes:
        code: Name of the gRPC status code.
        remote_reason: The reason that the node named; empty if none.
    """

    def __init__(self, code: str, remote_reason: str, message: str, **metadata: str) -> None:
        text = f"{code} {remote_reason}".strip()
        super().__init__("INTERNAL", message or f"the node answered {text}", **metadata)
        self.code = code
        self.remote_reason = remote_reason


def error_from_rpc(failed: aio.AioRpcError) -> TrustnodeError:
    """The error that a failed call stands for."""
    code = failed.code().name
    info = _error_info(failed)
    message = failed.details() or ""
    if info is None:
        reason = WITHOUT_REASON.get(code)
        return error(reason, **_transport(reason, message)) if reason else RemoteError(code, "", message)
    metadata = {k: v for k, v in info.metadata.items() if _METADATA_KEY.match(k) and k not in _TAKEN}
    if info.reason in REASONS:
        return error(info.reason, message, **metadata)
    return RemoteError(code, info.reason, message, **metadata)


def is_answered(failed: aio.AioRpcError) -> bool:
    """Whether a node of this kind said why; otherwise gRPC itself ended the call."""
    return _error_info(failed) is not None


def _transport(reason: str, message: str) -> dict[str, str]:
    # gRPC's own text names addresses: for the operator's log, not for a message to show.
    return {"transport": message[:512]} if reason == "PEER_UNREACHABLE" and message else {}


def _error_info(failed: aio.AioRpcError) -> error_details_pb2.ErrorInfo | None:
    for key, value in failed.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            return _first_info(value)
    return None


def _first_info(raw: bytes) -> error_details_pb2.ErrorInfo | None:
    try:
        status = status_pb2.Status.FromString(raw)
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info) and info.domain == DOMAIN:
                return info
    except DecodeError:
        return None
    return None


# --- documents and objects ------------------------------------------------------------------------------------------


def document_to_proto(document: Document) -> document_pb2.Document:
    """Write a document as a message; the payload's bytes are carried as they are."""
    return document_pb2.Document(
        payload_type=document.payload_type,
        payload=document.payload,
        signatures=[document_pb2.Signature(keyid=s.keyid, sig=s.sig) for s in document.signatures],
    )


def document_from_proto(message: document_pb2.Document) -> Document:
    """Read a document; nothing in it is verified yet.

    Raises:
        TrustnodeError: REQUEST_EMPTY, FIELD_TOO_LONG.
    """
    if not message.payload:
        raise error("REQUEST_EMPTY", "a document has a payload", field="document.payload")
    too_long = len(message.payload) > MAX_DOCUMENT_BYTES or len(message.payload_type) > MAX_TYPE_CHARACTERS
    if too_long or len(message.signatures) > MAX_SIGNATURES:
        raise error("FIELD_TOO_LONG", "the document is larger than any may be", field="document")
    signatures = tuple(Signature(s.keyid, s.sig) for s in message.signatures)
    return Document(message.payload_type, message.payload, signatures)


def documents_from_proto(messages: Iterable[document_pb2.Document]) -> tuple[Document, ...]:
    """Read several documents; raises as ``document_from_proto``."""
    messages = tuple(islice(messages, MAX_DOCUMENTS + 1))
    if len(messages) > MAX_DOCUMENTS:
        raise error("FIELD_TOO_LONG", f"a message has at most {MAX_DOCUMENTS} documents", field="document")
    return tuple(document_from_proto(message) for message in messages)


def document_to_bytes(document: Document) -> bytes:
    """Write a document for a metadata value."""
    return document_to_proto(document).SerializeToString()


def document_from_bytes(raw: bytes) -> Document:
    """Read a document from a metadata value; raises as ``document_from_proto``, and MESSAGE_UNPARSABLE."""
    return document_from_proto(_parsed(document_pb2.Document, raw, "document"))


def _parsed(kind: type[M], raw: bytes, what: str) -> M:
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise error("MESSAGE_UNPARSABLE", f"not a {what}", field=what) from None


class Ticket(NamedTuple):
    """What an access is asked with; the same bytes go from client to home and on to the provider (protocol 6.3)."""

    raw: bytes
    request: Document
    query: bytes
    query_salt: bytes
    key_document: Document | None = None
    delegation: Document | None = None


MAX_TICKET_BYTES: Final = 128 * 1024


def ticket_from_bytes(raw: bytes) -> Ticket:
    """Read a ticket.

    Raises:
        TrustnodeError: FIELD_TOO_LONG, MESSAGE_UNPARSABLE, REQUEST_EMPTY.
    """
    if len(raw) > MAX_TICKET_BYTES:
        raise error("FIELD_TOO_LONG", f"a ticket has at most {MAX_TICKET_BYTES} bytes", field="ticket")
    message = _parsed(access_pb2.AccessTicket, raw, "ticket")
    optional = {
        name: document_from_proto(getattr(message, name)) if message.HasField(name) else None
        for name in ("key_document", "delegation")
    }
    return Ticket(raw, document_from_proto(message.request), message.query, message.query_salt, **optional)


def new_ticket(
    request: Document,
    query: bytes,
    query_salt: bytes,
    key_document: Document | None = None,
    delegation: Document | None = None,
) -> Ticket:
    """Make a ticket with its bytes."""
    message = access_pb2.AccessTicket(request=document_to_proto(request), query=query, query_salt=query_salt)
    if key_document is not None:
        message.key_document.CopyFrom(document_to_proto(key_document))
    if delegation is not None:
        message.delegation.CopyFrom(document_to_proto(delegation))
    return Ticket(message.SerializeToString(), request, query, query_salt, key_document, delegation)


class RemoteObject(NamedTuple):
    """An object as another node, or our home node, holds it."""

    kind: str
    id: str
    state: str
    causes: tuple[str, ...] = ()
    version: int = 0
    changed_at: str = ""
    """Canonical time by the clock of the node that holds it."""
    document: Document | None = None
    """Absent where the caller may see the state but not the text."""


def object_to_proto(value: RemoteObject) -> document_pb2.Object:
    """Write an object as a message."""
    message = document_pb2.Object(
        kind=value.kind, id=value.id, state=value.state, causes=value.causes, version=value.version
    )
    if value.changed_at:
        message.changed_at.FromMilliseconds(clock.to_ms(value.changed_at))
    if value.document is not None:
        message.document.CopyFrom(document_to_proto(value.document))
    return message


def object_from_proto(message: document_pb2.Object) -> RemoteObject:
    """Read an object.

    Raises:
        TrustnodeError: As ``document_from_proto``; FIELD_FORMAT for a time that is none.
    """
    held: Any = message
    if len(message.causes) > MAX_CAUSES:
        raise error("FIELD_TOO_LONG", f"an object has at most {MAX_CAUSES} causes", field="causes")
    return RemoteObject(
        kind=message.kind,
        id=message.id,
        state=message.state,
        causes=tuple(message.causes),
        version=message.version,
        changed_at=_time(message.changed_at) if held.HasField("changed_at") else "",
        document=document_from_proto(message.document) if held.HasField("document") else None,
    )


def _time(stamp: Any) -> str:
    try:
        return clock.from_ms(stamp.ToMilliseconds())
    except (ValueError, OverflowError):
        raise error("FIELD_FORMAT", "a time is outside the calendar", field="changed_at") from None


def is_retryable_code(failed: aio.AioRpcError) -> bool:
    """Whether the transport failed before or beside the call, so that another address may answer."""
    return failed.code() is grpc.StatusCode.UNAVAILABLE and _error_info(failed) is None
