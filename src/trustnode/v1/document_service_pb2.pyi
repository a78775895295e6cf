from trustnode.v1 import document_pb2 as _document_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SubmitDocumentRequest(_message.Message):
    __slots__ = ("document", "supporting")
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    SUPPORTING_FIELD_NUMBER: _ClassVar[int]
    document: _document_pb2.Document
    supporting: _containers.RepeatedCompositeFieldContainer[_document_pb2.Document]
    def __init__(self, document: _Optional[_Union[_document_pb2.Document, _Mapping]] = ..., supporting: _Optional[_Iterable[_Union[_document_pb2.Document, _Mapping]]] = ...) -> None: ...

class SubmitDocumentResponse(_message.Message):
    __slots__ = ("object", "produced")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    PRODUCED_FIELD_NUMBER: _ClassVar[int]
    object: _document_pb2.Object
    produced: _containers.RepeatedCompositeFieldContainer[_document_pb2.Document]
    def __init__(self, object: _Optional[_Union[_document_pb2.Object, _Mapping]] = ..., produced: _Optional[_Iterable[_Union[_document_pb2.Document, _Mapping]]] = ...) -> None: ...

class GetObjectRequest(_message.Message):
    __slots__ = ("kind", "id")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    kind: str
    id: str
    def __init__(self, kind: _Optional[str] = ..., id: _Optional[str] = ...) -> None: ...

class GetObjectResponse(_message.Message):
    __slots__ = ("object", "documents", "seal")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    SEAL_FIELD_NUMBER: _ClassVar[int]
    object: _document_pb2.Object
    documents: _containers.RepeatedCompositeFieldContainer[_document_pb2.Document]
    seal: _document_pb2.Seal
    def __init__(self, object: _Optional[_Union[_document_pb2.Object, _Mapping]] = ..., documents: _Optional[_Iterable[_Union[_document_pb2.Document, _Mapping]]] = ..., seal: _Optional[_Union[_document_pb2.Seal, _Mapping]] = ...) -> None: ...

class ListObjectsRequest(_message.Message):
    __slots__ = ("kind", "filter", "page_size", "page_token")
    class FilterEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KIND_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    kind: str
    filter: _containers.ScalarMap[str, str]
    page_size: int
    page_token: str
    def __init__(self, kind: _Optional[str] = ..., filter: _Optional[_Mapping[str, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListObjectsResponse(_message.Message):
    __slots__ = ("objects", "next_page_token")
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    objects: _containers.RepeatedCompositeFieldContainer[_document_pb2.Object]
    next_page_token: str
    def __init__(self, objects: _Optional[_Iterable[_Union[_document_pb2.Object, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchObjectsRequest(_message.Message):
    __slots__ = ("kind", "ids", "after_version")
    KIND_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    AFTER_VERSION_FIELD_NUMBER: _ClassVar[int]
    kind: str
    ids: _containers.RepeatedScalarFieldContainer[str]
    after_version: int
    def __init__(self, kind: _Optional[str] = ..., ids: _Optional[_Iterable[str]] = ..., after_version: _Optional[int] = ...) -> None: ...

class WatchObjectsResponse(_message.Message):
    __slots__ = ("object",)
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    object: _document_pb2.Object
    def __init__(self, object: _Optional[_Union[_document_pb2.Object, _Mapping]] = ...) -> None: ...
