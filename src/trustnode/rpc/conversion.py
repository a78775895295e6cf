"""From a call to who sends it, and from what the app shows to messages; used by every service.

Decides: nothing. Leaves to others: rules (``app``), documents and errors (``wire.convert``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trustnode.app.sealing import Seal
from trustnode.app.submission import Answer
from trustnode.app.venue import Sender, Venue
from trustnode.core import clock
from trustnode.core.access import AccessState
from trustnode.core.document import Document
from trustnode.core.lifecycle import State
from trustnode.v1 import document_pb2
from trustnode.wire.convert import RemoteObject, object_to_proto

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from trustnode.rpc.dispatch import Call


def sender_of(call: Call, venue: Venue) -> Sender:
    """Who sends a call, in the words of the door."""
    caller = call.caller
    if call.audience == "OPERATOR":
        return Sender("OPERATOR", venue.domain)
    if call.audience == "CLIENT":
        return Sender("CLIENT", caller.trust_domain, caller.participant)
    return Sender("PEER", caller.trust_domain)


def object_of(kind: str, state: State, document: Document | None = None) -> document_pb2.Object:
    """An object as it is now; an access shows why it ended (protocol 8.4)."""
    ended = (state.cause,) if isinstance(state, AccessState) and state.cause else ()
    return object_to_proto(
        RemoteObject(kind, state.id, state.state, state.causes or ended, state.version, state.changed_at, document)
    )


def object_of_answer(answer: Answer) -> document_pb2.Object:
    """The object that a submission moved."""
    return object_to_proto(
        RemoteObject(answer.kind, answer.id, answer.state, answer.causes, answer.version, answer.changed_at)
    )


def seal_of(seal: Seal | None) -> document_pb2.Seal | None:
    """How far an entry is sealed."""
    if seal is None:
        return None
    shown = document_pb2.Seal(log=seal.log, size=seal.size, witnesses=seal.witnesses)
    set_time(shown.sealed_at, seal.sealed_at)
    return shown


def set_time(field: Timestamp, time: str) -> None:
    """Fill a timestamp; an empty time leaves it absent."""
    if time:
        field.FromMilliseconds(clock.to_ms(time))
