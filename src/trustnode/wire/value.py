"""Messages as values, by their descriptors: what the client and the command line read instead of generated classes.

Decides: one form for every message. A ``Document`` is a ``core.document.Document``, an ``Object`` a ``RemoteObject``, a
time the canonical text, a duration seconds, an enumeration its word, any other message a dict with a key for every
field, None where an optional one is absent. Leaves to others: what the values mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import duration_pb2, timestamp_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from trustnode.core import clock
from trustnode.errors import error
from trustnode.v1 import document_pb2
from trustnode.wire.convert import document_from_proto, document_to_proto, object_from_proto

_MESSAGE: Final = FieldDescriptor.TYPE_MESSAGE
_ENUM: Final = FieldDescriptor.TYPE_ENUM


def to_value(message: Message) -> Any:
    """Read a message."""
    if isinstance(message, document_pb2.Document):
        return document_from_proto(message)
    if isinstance(message, document_pb2.Object):
        return object_from_proto(message)
    if isinstance(message, timestamp_pb2.Timestamp):
        return clock.from_ms(message.ToMilliseconds())
    if isinstance(message, duration_pb2.Duration):
        return message.ToMilliseconds() / 1000
    return {field.name: _field_value(message, field) for field in message.DESCRIPTOR.fields}


def _field_value(message: Message, field: Any) -> Any:
    held = getattr(message, field.name)
    if _is_map(field):
        return dict(held)
    if field.is_repeated:
        return [_single(item, field) for item in held]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _single(held, field)


def _single(held: Any, field: Any) -> Any:
    if field.type == _MESSAGE:
        return to_value(held)
    return _word(held, field) if field.type == _ENUM else held


def _word(number: int, field: Any) -> str:
    enumeration = field.enum_type
    known = enumeration.values_by_number.get(number)
    # Words of a newer version are unknown here, and unknown is the unspecified word.
    return known.name.removeprefix(_prefix(enumeration.name)) if known else "UNSPECIFIED"


def _prefix(enumeration: str) -> str:
    words = "".join(f"_{letter}" if letter.isupper() else letter for letter in enumeration)
    return f"{words.strip('_').upper()}_"


def fill(message: Message, values: Mapping[str, Any]) -> Message:
    """Write values into a message; None leaves a field out.

    Raises:
        TrustnodeError: USAGE for a field that the message does not have.
    """
    for name, value in values.items():
        field = message.DESCRIPTOR.fields_by_name.get(name)
        if field is None:
            raise error("USAGE", f"{message.DESCRIPTOR.name} has no field {name}", field=name)
        if value is not None:
            _set(message, field, value)
    return message


def _set(message: Message, field: Any, value: Any) -> None:
    target = getattr(message, field.name)
    if _is_map(field):
        target.update(value)
    elif field.is_repeated and field.type == _MESSAGE:
        for item in value:
            _fill_single(target.add(), item)
    elif field.is_repeated:
        target.extend(value)
    elif field.type == _MESSAGE:
        target.SetInParent()
        _fill_single(target, value)
    elif field.type == _ENUM:
        setattr(message, field.name, _prefix(field.enum_type.name) + value)
    else:
        setattr(message, field.name, value)


def _fill_single(target: Any, value: Any) -> None:
    if isinstance(target, document_pb2.Document):
        target.CopyFrom(document_to_proto(value))
    elif isinstance(target, timestamp_pb2.Timestamp):
        target.FromMilliseconds(clock.to_ms(value))
    elif isinstance(target, duration_pb2.Duration):
        target.FromMilliseconds(round(value * 1000))
    else:
        fill(target, value)


def _is_map(field: Any) -> bool:
    kind = field.message_type if field.type == _MESSAGE else None
    return bool(kind is not None and kind.GetOptions().map_entry)
