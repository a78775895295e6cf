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

class SearchListingsRequest(_message.Message):
    __slots__ = ("query", "level", "category", "venue", "all_venues", "page_size", "page_token")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    VENUE_FIELD_NUMBER: _ClassVar[int]
    ALL_VENUES_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    query: str
    level: str
    category: str
    venue: str
    all_venues: bool
    page_size: int
    page_token: str
    def __init__(self, query: _Optional[str] = ..., level: _Optional[str] = ..., category: _Optional[str] = ..., venue: _Optional[str] = ..., all_venues: _Optional[bool] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class SearchListingsResponse(_message.Message):
    __slots__ = ("hits", "next_page_token", "not_asked", "feeds", "answered_at")
    HITS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    NOT_ASKED_FIELD_NUMBER: _ClassVar[int]
    FEEDS_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_AT_FIELD_NUMBER: _ClassVar[int]
    hits: _containers.RepeatedCompositeFieldContainer[_catalog_pb2.Listing]
    next_page_token: str
    not_asked: _containers.RepeatedCompositeFieldContainer[_catalog_pb2.SilentVenue]
    feeds: _containers.RepeatedCompositeFieldContainer[_catalog_pb2.FeedPosition]
    answered_at: _timestamp_pb2.Timestamp
    def __init__(self, hits: _Optional[_Iterable[_Union[_catalog_pb2.Listing, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., not_asked: _Optional[_Iterable[_Union[_catalog_pb2.SilentVenue, _Mapping]]] = ..., feeds: _Optional[_Iterable[_Union[_catalog_pb2.FeedPosition, _Mapping]]] = ..., answered_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DescribeListingRequest(_message.Message):
    __slots__ = ("product", "offer")
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    OFFER_FIELD_NUMBER: _ClassVar[int]
    product: str
    offer: str
    def __init__(self, product: _Optional[str] = ..., offer: _Optional[str] = ...) -> None: ...

class DescribeListingResponse(_message.Message):
    __slots__ = ("listing", "offers", "answered_at")
    LISTING_FIELD_NUMBER: _ClassVar[int]
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_AT_FIELD_NUMBER: _ClassVar[int]
    listing: _catalog_pb2.Listing
    offers: _containers.RepeatedCompositeFieldContainer[OfferDescription]
    answered_at: _timestamp_pb2.Timestamp
    def __init__(self, listing: _Optional[_Union[_catalog_pb2.Listing, _Mapping]] = ..., offers: _Optional[_Iterable[_Union[OfferDescription, _Mapping]]] = ..., answered_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class OfferDescription(_message.Message):
    __slots__ = ("offer", "name", "columns", "terms")
    OFFER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    offer: _document_pb2.Document
    name: str
    columns: _containers.RepeatedCompositeFieldContainer[_catalog_pb2.Column]
    terms: _containers.RepeatedCompositeFieldContainer[_catalog_pb2.Term]
    def __init__(self, offer: _Optional[_Union[_document_pb2.Document, _Mapping]] = ..., name: _Optional[str] = ..., columns: _Optional[_Iterable[_Union[_catalog_pb2.Column, _Mapping]]] = ..., terms: _Optional[_Iterable[_Union[_catalog_pb2.Term, _Mapping]]] = ...) -> None: ...

class ResolveIdentifierRequest(_message.Message):
    __slots__ = ("identifier",)
    IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    identifier: str
    def __init__(self, identifier: _Optional[str] = ...) -> None: ...

class ResolveIdentifierResponse(_message.Message):
    __slots__ = ("kind", "identifier", "handle", "origin", "document", "supporting")
    KIND_FIELD_NUMBER: _ClassVar[int]
    IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    SUPPORTING_FIELD_NUMBER: _ClassVar[int]
    kind: str
    identifier: str
    handle: str
    origin: str
    document: _document_pb2.Document
    supporting: _containers.RepeatedCompositeFieldContainer[_document_pb2.Document]
    def __init__(self, kind: _Optional[str] = ..., identifier: _Optional[str] = ..., handle: _Optional[str] = ..., origin: _Optional[str] = ..., document: _Optional[_Union[_document_pb2.Document, _Mapping]] = ..., supporting: _Optional[_Iterable[_Union[_document_pb2.Document, _Mapping]]] = ...) -> None: ...
