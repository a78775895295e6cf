from trustnode.v1 import access_pb2 as _access_pb2
from trustnode.v1 import document_pb2 as _document_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Lane(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LANE_UNSPECIFIED: _ClassVar[Lane]
    LANE_CONTROL: _ClassVar[Lane]
    LANE_CATALOG: _ClassVar[Lane]
LANE_UNSPECIFIED: Lane
LANE_CONTROL: Lane
LANE_CATALOG: Lane

class ApplyPeeringRequest(_message.Message):
    __slots__ = ("card", "peer_agreement", "earlier_cards")
    CARD_FIELD_NUMBER: _ClassVar[int]
    PEER_AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    EARLIER_CARDS_FIELD_NUMBER: _ClassVar[int]
    card: _document_pb2.Document
    peer_agreement: _document_pb2.Document
    earlier_cards: _containers.RepeatedCompositeFieldContainer[_document_pb2.Document]
    def __init__(self, card: _Optional[_Union[_document_pb2.Document, _Mapping]] = ..., peer_agreement: _Optional[_Union[_document_pb2.Document, _Mapping]] = ..., earlier_cards: _Optional[_Iterable[_Union[_document_pb2.Document, _Mapping]]] = ...) -> None: ...

class ApplyPeeringResponse(_message.Message):
    __slots__ = ("peering", "card", "peer_agreement")
    PEERING_FIELD_NUMBER: _ClassVar[int]
    CARD_FIELD_NUMBER: _ClassVar[int]
    PEER_AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    peering: _document_pb2.Object
    card: _document_pb2.Document
    peer_agreement: _document_pb2.Document
    def __init__(self, peering: _Optional[_Union[_document_pb2.Object, _Mapping]] = ..., card: _Optional[_Union[_document_pb2.Document, _Mapping]] = ..., peer_agreement: _Optional[_Union[_document_pb2.Document, _Mapping]] = ...) -> None: ...

class DeliverDocumentRequest(_message.Message):
    __slots__ = ("event_id", "document", "supporting")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    SUPPORTING_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    document: _document_pb2.Document
    supporting: _containers.RepeatedCompositeFieldContainer[_document_pb2.Document]
    def __init__(self, event_id: _Optional[str] = ..., document: _Optional[_Union[_document_pb2.Document, _Mapping]] = ..., supporting: _Optional[_Iterable[_Union[_document_pb2.Document, _Mapping]]] = ...) -> None: ...

class DeliverDocumentResponse(_message.Message):
    __slots__ = ("object", "produced")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    PRODUCED_FIELD_NUMBER: _ClassVar[int]
    object: _document_pb2.Object
    produced: _containers.RepeatedCompositeFieldContainer[_document_pb2.Document]
    def __init__(self, object: _Optional[_Union[_document_pb2.Object, _Mapping]] = ..., produced: _Optional[_Iterable[_Union[_document_pb2.Document, _Mapping]]] = ...) -> None: ...

class FollowFeedRequest(_message.Message):
    __slots__ = ("lane", "after", "nonce")
    LANE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    lane: Lane
    after: int
    nonce: bytes
    def __init__(self, lane: _Optional[_Union[Lane, str]] = ..., after: _Optional[int] = ..., nonce: _Optional[bytes] = ...) -> None: ...

class FollowFeedResponse(_message.Message):
    __slots__ = ("lane", "nonce", "head_seq", "head_digest", "items")
    LANE_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    HEAD_SEQ_FIELD_NUMBER: _ClassVar[int]
    HEAD_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    lane: Lane
    nonce: bytes
    head_seq: int
    head_digest: bytes
    items: _containers.RepeatedCompositeFieldContainer[FeedItem]
    def __init__(self, lane: _Optional[_Union[Lane, str]] = ..., nonce: _Optional[bytes] = ..., head_seq: _Optional[int] = ..., head_digest: _Optional[bytes] = ..., items: _Optional[_Iterable[_Union[FeedItem, _Mapping]]] = ...) -> None: ...

class FeedItem(_message.Message):
    __slots__ = ("seq", "origin", "path", "documents")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    seq: int
    origin: str
    path: _containers.RepeatedScalarFieldContainer[str]
    documents: _containers.RepeatedCompositeFieldContainer[_document_pb2.Document]
    def __init__(self, seq: _Optional[int] = ..., origin: _Optional[str] = ..., path: _Optional[_Iterable[str]] = ..., documents: _Optional[_Iterable[_Union[_document_pb2.Document, _Mapping]]] = ...) -> None: ...

class PeerServiceExplainAccessRequest(_message.Message):
    __slots__ = ("agreement", "offer_sha256", "consumer", "purpose", "sql", "parameters_json", "joined")
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    OFFER_SHA256_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    SQL_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_JSON_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    agreement: str
    offer_sha256: str
    consumer: str
    purpose: str
    sql: str
    parameters_json: str
    joined: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, agreement: _Optional[str] = ..., offer_sha256: _Optional[str] = ..., consumer: _Optional[str] = ..., purpose: _Optional[str] = ..., sql: _Optional[str] = ..., parameters_json: _Optional[str] = ..., joined: _Optional[_Iterable[str]] = ...) -> None: ...

class PeerServiceExplainAccessResponse(_message.Message):
    __slots__ = ("explanation",)
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    explanation: _access_pb2.Explanation
    def __init__(self, explanation: _Optional[_Union[_access_pb2.Explanation, _Mapping]] = ...) -> None: ...

class PeerServiceReadRequest(_message.Message):
    __slots__ = ("ticket",)
    TICKET_FIELD_NUMBER: _ClassVar[int]
    ticket: bytes
    def __init__(self, ticket: _Optional[bytes] = ...) -> None: ...

class PeerServiceReadResponse(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: _access_pb2.ReadResult
    def __init__(self, result: _Optional[_Union[_access_pb2.ReadResult, _Mapping]] = ...) -> None: ...

class MirrorLogRequest(_message.Message):
    __slots__ = ("first",)
    FIRST_FIELD_NUMBER: _ClassVar[int]
    first: int
    def __init__(self, first: _Optional[int] = ...) -> None: ...

class MirrorLogResponse(_message.Message):
    __slots__ = ("checkpoint", "lines", "consistency")
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    checkpoint: bytes
    lines: _containers.RepeatedCompositeFieldContainer[MirrorLine]
    consistency: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, checkpoint: _Optional[bytes] = ..., lines: _Optional[_Iterable[_Union[MirrorLine, _Mapping]]] = ..., consistency: _Optional[_Iterable[bytes]] = ...) -> None: ...

class MirrorLine(_message.Message):
    __slots__ = ("index", "object", "seq", "commitment", "salt", "statement")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    COMMITMENT_FIELD_NUMBER: _ClassVar[int]
    SALT_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    index: int
    object: bytes
    seq: int
    commitment: bytes
    salt: bytes
    statement: bytes
    def __init__(self, index: _Optional[int] = ..., object: _Optional[bytes] = ..., seq: _Optional[int] = ..., commitment: _Optional[bytes] = ..., salt: _Optional[bytes] = ..., statement: _Optional[bytes] = ...) -> None: ...

class GetMirroredLogRequest(_message.Message):
    __slots__ = ("origin", "first", "max_lines")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    MAX_LINES_FIELD_NUMBER: _ClassVar[int]
    origin: str
    first: int
    max_lines: int
    def __init__(self, origin: _Optional[str] = ..., first: _Optional[int] = ..., max_lines: _Optional[int] = ...) -> None: ...

class GetMirroredLogResponse(_message.Message):
    __slots__ = ("size", "checkpoint", "lines")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    size: int
    checkpoint: bytes
    lines: _containers.RepeatedCompositeFieldContainer[MirrorLine]
    def __init__(self, size: _Optional[int] = ..., checkpoint: _Optional[bytes] = ..., lines: _Optional[_Iterable[_Union[MirrorLine, _Mapping]]] = ...) -> None: ...

class GetConcerningDocumentsRequest(_message.Message):
    __slots__ = ("digests",)
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    digests: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, digests: _Optional[_Iterable[str]] = ...) -> None: ...

class GetConcerningDocumentsResponse(_message.Message):
    __slots__ = ("documents",)
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    documents: _containers.RepeatedCompositeFieldContainer[_document_pb2.Document]
    def __init__(self, documents: _Optional[_Iterable[_Union[_document_pb2.Document, _Mapping]]] = ...) -> None: ...

class AddCheckpointRequest(_message.Message):
    __slots__ = ("body", "card_version")
    BODY_FIELD_NUMBER: _ClassVar[int]
    CARD_VERSION_FIELD_NUMBER: _ClassVar[int]
    body: bytes
    card_version: int
    def __init__(self, body: _Optional[bytes] = ..., card_version: _Optional[int] = ...) -> None: ...

class AddCheckpointResponse(_message.Message):
    __slots__ = ("status", "content_type", "body", "held", "card_version", "card_sha256", "cards")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    CARD_VERSION_FIELD_NUMBER: _ClassVar[int]
    CARD_SHA256_FIELD_NUMBER: _ClassVar[int]
    CARDS_FIELD_NUMBER: _ClassVar[int]
    status: int
    content_type: str
    body: bytes
    held: bytes
    card_version: int
    card_sha256: str
    cards: _containers.RepeatedCompositeFieldContainer[_document_pb2.Document]
    def __init__(self, status: _Optional[int] = ..., content_type: _Optional[str] = ..., body: _Optional[bytes] = ..., held: _Optional[bytes] = ..., card_version: _Optional[int] = ..., card_sha256: _Optional[str] = ..., cards: _Optional[_Iterable[_Union[_document_pb2.Document, _Mapping]]] = ...) -> None: ...
