from trustnode.v1 import access_pb2 as _access_pb2
from trustnode.v1 import document_pb2 as _document_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExplainAccessRequest(_message.Message):
    __slots__ = ("agreement", "offer", "purpose", "sql", "parameters_json", "joined")
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    OFFER_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    SQL_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_JSON_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    agreement: str
    offer: OfferName
    purpose: str
    sql: str
    parameters_json: str
    joined: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, agreement: _Optional[str] = ..., offer: _Optional[_Union[OfferName, _Mapping]] = ..., purpose: _Optional[str] = ..., sql: _Optional[str] = ..., parameters_json: _Optional[str] = ..., joined: _Optional[_Iterable[str]] = ...) -> None: ...

class OfferName(_message.Message):
    __slots__ = ("product", "offer")
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    OFFER_FIELD_NUMBER: _ClassVar[int]
    product: str
    offer: str
    def __init__(self, product: _Optional[str] = ..., offer: _Optional[str] = ...) -> None: ...

class ExplainAccessResponse(_message.Message):
    __slots__ = ("explanation",)
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    explanation: _access_pb2.Explanation
    def __init__(self, explanation: _Optional[_Union[_access_pb2.Explanation, _Mapping]] = ...) -> None: ...

class ReadRequest(_message.Message):
    __slots__ = ("ticket",)
    TICKET_FIELD_NUMBER: _ClassVar[int]
    ticket: bytes
    def __init__(self, ticket: _Optional[bytes] = ...) -> None: ...

class ReadResponse(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: _access_pb2.ReadResult
    def __init__(self, result: _Optional[_Union[_access_pb2.ReadResult, _Mapping]] = ...) -> None: ...

class GetReceiptRequest(_message.Message):
    __slots__ = ("access",)
    ACCESS_FIELD_NUMBER: _ClassVar[int]
    access: str
    def __init__(self, access: _Optional[str] = ...) -> None: ...

class GetReceiptResponse(_message.Message):
    __slots__ = ("access", "receipt", "acks", "seal")
    ACCESS_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    ACKS_FIELD_NUMBER: _ClassVar[int]
    SEAL_FIELD_NUMBER: _ClassVar[int]
    access: _document_pb2.Object
    receipt: _document_pb2.Document
    acks: _containers.RepeatedCompositeFieldContainer[_document_pb2.Document]
    seal: _document_pb2.Seal
    def __init__(self, access: _Optional[_Union[_document_pb2.Object, _Mapping]] = ..., receipt: _Optional[_Union[_document_pb2.Document, _Mapping]] = ..., acks: _Optional[_Iterable[_Union[_document_pb2.Document, _Mapping]]] = ..., seal: _Optional[_Union[_document_pb2.Seal, _Mapping]] = ...) -> None: ...
