import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from trustnode.v1 import catalog_pb2 as _catalog_pb2
from trustnode.v1 import document_pb2 as _document_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AccessTicket(_message.Message):
    __slots__ = ("request", "query", "query_salt", "key_document", "delegation")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    QUERY_SALT_FIELD_NUMBER: _ClassVar[int]
    KEY_DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    DELEGATION_FIELD_NUMBER: _ClassVar[int]
    request: _document_pb2.Document
    query: bytes
    query_salt: bytes
    key_document: _document_pb2.Document
    delegation: _document_pb2.Document
    def __init__(self, request: _Optional[_Union[_document_pb2.Document, _Mapping]] = ..., query: _Optional[bytes] = ..., query_salt: _Optional[bytes] = ..., key_document: _Optional[_Union[_document_pb2.Document, _Mapping]] = ..., delegation: _Optional[_Union[_document_pb2.Document, _Mapping]] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("allowed", "reason", "message", "next_step", "columns", "columns_total", "rows_estimate", "rows_total", "price", "price_fen", "counters", "terms")
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    NEXT_STEP_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ROWS_ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    ROWS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    PRICE_FEN_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    allowed: bool
    reason: str
    message: str
    next_step: str
    columns: _containers.RepeatedCompositeFieldContainer[_catalog_pb2.Column]
    columns_total: int
    rows_estimate: int
    rows_total: int
    price: str
    price_fen: int
    counters: _containers.RepeatedCompositeFieldContainer[Counter]
    terms: _containers.RepeatedCompositeFieldContainer[_catalog_pb2.Term]
    def __init__(self, allowed: _Optional[bool] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., next_step: _Optional[str] = ..., columns: _Optional[_Iterable[_Union[_catalog_pb2.Column, _Mapping]]] = ..., columns_total: _Optional[int] = ..., rows_estimate: _Optional[int] = ..., rows_total: _Optional[int] = ..., price: _Optional[str] = ..., price_fen: _Optional[int] = ..., counters: _Optional[_Iterable[_Union[Counter, _Mapping]]] = ..., terms: _Optional[_Iterable[_Union[_catalog_pb2.Term, _Mapping]]] = ...) -> None: ...

class Counter(_message.Message):
    __slots__ = ("text", "unit", "used", "reserved", "limit", "window_ends_at")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    RESERVED_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    WINDOW_ENDS_AT_FIELD_NUMBER: _ClassVar[int]
    text: str
    unit: str
    used: int
    reserved: int
    limit: int
    window_ends_at: _timestamp_pb2.Timestamp
    def __init__(self, text: _Optional[str] = ..., unit: _Optional[str] = ..., used: _Optional[int] = ..., reserved: _Optional[int] = ..., limit: _Optional[int] = ..., window_ends_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ReadResult(_message.Message):
    __slots__ = ("access", "frames", "stream_salt", "decision_seq", "decision_link", "receipt")
    ACCESS_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    STREAM_SALT_FIELD_NUMBER: _ClassVar[int]
    DECISION_SEQ_FIELD_NUMBER: _ClassVar[int]
    DECISION_LINK_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    access: str
    frames: _containers.RepeatedScalarFieldContainer[bytes]
    stream_salt: bytes
    decision_seq: int
    decision_link: bytes
    receipt: _document_pb2.Document
    def __init__(self, access: _Optional[str] = ..., frames: _Optional[_Iterable[bytes]] = ..., stream_salt: _Optional[bytes] = ..., decision_seq: _Optional[int] = ..., decision_link: _Optional[bytes] = ..., receipt: _Optional[_Union[_document_pb2.Document, _Mapping]] = ...) -> None: ...
