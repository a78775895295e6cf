from trustnode.v1 import document_pb2 as _document_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetCheckpointRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCheckpointResponse(_message.Message):
    __slots__ = ("checkpoint",)
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    checkpoint: bytes
    def __init__(self, checkpoint: _Optional[bytes] = ...) -> None: ...

class GetProofRequest(_message.Message):
    __slots__ = ("index", "from_size", "tree_size")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    FROM_SIZE_FIELD_NUMBER: _ClassVar[int]
    TREE_SIZE_FIELD_NUMBER: _ClassVar[int]
    index: int
    from_size: int
    tree_size: int
    def __init__(self, index: _Optional[int] = ..., from_size: _Optional[int] = ..., tree_size: _Optional[int] = ...) -> None: ...

class GetProofResponse(_message.Message):
    __slots__ = ("checkpoint", "tree_size", "hashes", "root")
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    TREE_SIZE_FIELD_NUMBER: _ClassVar[int]
    HASHES_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    checkpoint: bytes
    tree_size: int
    hashes: _containers.RepeatedScalarFieldContainer[bytes]
    root: bytes
    def __init__(self, checkpoint: _Optional[bytes] = ..., tree_size: _Optional[int] = ..., hashes: _Optional[_Iterable[bytes]] = ..., root: _Optional[bytes] = ...) -> None: ...

class GetTileRequest(_message.Message):
    __slots__ = ("level", "index", "width")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    level: int
    index: int
    width: int
    def __init__(self, level: _Optional[int] = ..., index: _Optional[int] = ..., width: _Optional[int] = ...) -> None: ...

class GetTileResponse(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class GetChainHeadRequest(_message.Message):
    __slots__ = ("kind", "id")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    kind: str
    id: str
    def __init__(self, kind: _Optional[str] = ..., id: _Optional[str] = ...) -> None: ...

class GetChainHeadResponse(_message.Message):
    __slots__ = ("chain_head", "checkpoint")
    CHAIN_HEAD_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    chain_head: _document_pb2.Document
    checkpoint: bytes
    def __init__(self, chain_head: _Optional[_Union[_document_pb2.Document, _Mapping]] = ..., checkpoint: _Optional[bytes] = ...) -> None: ...

class GetBundleRequest(_message.Message):
    __slots__ = ("agreement", "own_part")
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    OWN_PART_FIELD_NUMBER: _ClassVar[int]
    agreement: str
    own_part: bool
    def __init__(self, agreement: _Optional[str] = ..., own_part: _Optional[bool] = ...) -> None: ...

class GetBundleResponse(_message.Message):
    __slots__ = ("chunk", "total_bytes", "sha256")
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    total_bytes: int
    sha256: bytes
    def __init__(self, chunk: _Optional[bytes] = ..., total_bytes: _Optional[int] = ..., sha256: _Optional[bytes] = ...) -> None: ...
