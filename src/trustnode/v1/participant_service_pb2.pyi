from trustnode.v1 import document_pb2 as _document_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EnrolParticipantRequest(_message.Message):
    __slots__ = ("csr_der", "participant_key", "name")
    CSR_DER_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_KEY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    csr_der: bytes
    participant_key: _document_pb2.Document
    name: str
    def __init__(self, csr_der: _Optional[bytes] = ..., participant_key: _Optional[_Union[_document_pb2.Document, _Mapping]] = ..., name: _Optional[str] = ...) -> None: ...

class EnrolParticipantResponse(_message.Message):
    __slots__ = ("certificate_chain_pem", "participant_key", "card", "participant")
    CERTIFICATE_CHAIN_PEM_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_KEY_FIELD_NUMBER: _ClassVar[int]
    CARD_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_FIELD_NUMBER: _ClassVar[int]
    certificate_chain_pem: str
    participant_key: _document_pb2.Document
    card: _document_pb2.Document
    participant: _document_pb2.Object
    def __init__(self, certificate_chain_pem: _Optional[str] = ..., participant_key: _Optional[_Union[_document_pb2.Document, _Mapping]] = ..., card: _Optional[_Union[_document_pb2.Document, _Mapping]] = ..., participant: _Optional[_Union[_document_pb2.Object, _Mapping]] = ...) -> None: ...

class RenewCertificateRequest(_message.Message):
    __slots__ = ("csr_der", "participant_key")
    CSR_DER_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_KEY_FIELD_NUMBER: _ClassVar[int]
    csr_der: bytes
    participant_key: _document_pb2.Document
    def __init__(self, csr_der: _Optional[bytes] = ..., participant_key: _Optional[_Union[_document_pb2.Document, _Mapping]] = ...) -> None: ...

class RenewCertificateResponse(_message.Message):
    __slots__ = ("certificate_chain_pem", "participant_key")
    CERTIFICATE_CHAIN_PEM_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_KEY_FIELD_NUMBER: _ClassVar[int]
    certificate_chain_pem: str
    participant_key: _document_pb2.Document
    def __init__(self, certificate_chain_pem: _Optional[str] = ..., participant_key: _Optional[_Union[_document_pb2.Document, _Mapping]] = ...) -> None: ...
