import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from trustnode.v1 import document_pb2 as _document_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Verification(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERIFICATION_UNSPECIFIED: _ClassVar[Verification]
    VERIFICATION_VERIFIED: _ClassVar[Verification]
    VERIFICATION_STALE: _ClassVar[Verification]
    VERIFICATION_INTRODUCED: _ClassVar[Verification]

class Keeping(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEEPING_UNSPECIFIED: _ClassVar[Keeping]
    KEEPING_ENFORCED: _ClassVar[Keeping]
    KEEPING_PROVEN: _ClassVar[Keeping]
    KEEPING_PROMISED: _ClassVar[Keeping]
VERIFICATION_UNSPECIFIED: Verification
VERIFICATION_VERIFIED: Verification
VERIFICATION_STALE: Verification
VERIFICATION_INTRODUCED: Verification
KEEPING_UNSPECIFIED: Keeping
KEEPING_ENFORCED: Keeping
KEEPING_PROVEN: Keeping
KEEPING_PROMISED: Keeping

class Listing(_message.Message):
    __slots__ = ("record", "supporting", "origin", "path", "as_of", "verification", "state", "product")
    RECORD_FIELD_NUMBER: _ClassVar[int]
    SUPPORTING_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    VERIFICATION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    record: _document_pb2.Document
    supporting: _containers.RepeatedCompositeFieldContainer[_document_pb2.Document]
    origin: str
    path: _containers.RepeatedScalarFieldContainer[str]
    as_of: _timestamp_pb2.Timestamp
    verification: Verification
    state: str
    product: str
    def __init__(self, record: _Optional[_Union[_document_pb2.Document, _Mapping]] = ..., supporting: _Optional[_Iterable[_Union[_document_pb2.Document, _Mapping]]] = ..., origin: _Optional[str] = ..., path: _Optional[_Iterable[str]] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., verification: _Optional[_Union[Verification, str]] = ..., state: _Optional[str] = ..., product: _Optional[str] = ...) -> None: ...

class Column(_message.Message):
    __slots__ = ("name", "type", "unit", "mask", "description", "use")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    USE_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    unit: str
    mask: str
    description: str
    use: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., unit: _Optional[str] = ..., mask: _Optional[str] = ..., description: _Optional[str] = ..., use: _Optional[str] = ...) -> None: ...

class Term(_message.Message):
    __slots__ = ("key", "text", "text_zh", "keeping", "added_by")
    KEY_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TEXT_ZH_FIELD_NUMBER: _ClassVar[int]
    KEEPING_FIELD_NUMBER: _ClassVar[int]
    ADDED_BY_FIELD_NUMBER: _ClassVar[int]
    key: str
    text: str
    text_zh: str
    keeping: Keeping
    added_by: str
    def __init__(self, key: _Optional[str] = ..., text: _Optional[str] = ..., text_zh: _Optional[str] = ..., keeping: _Optional[_Union[Keeping, str]] = ..., added_by: _Optional[str] = ...) -> None: ...

class SilentVenue(_message.Message):
    __slots__ = ("venue", "since")
    VENUE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    venue: str
    since: _timestamp_pb2.Timestamp
    def __init__(self, venue: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class FeedPosition(_message.Message):
    __slots__ = ("origin", "seq")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    origin: str
    seq: int
    def __init__(self, origin: _Optional[str] = ..., seq: _Optional[int] = ...) -> None: ...
