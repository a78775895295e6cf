import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from trustnode.v1 import admin_pb2 as _admin_pb2
from trustnode.v1 import document_pb2 as _document_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: _admin_pb2.NodeStatus
    def __init__(self, status: _Optional[_Union[_admin_pb2.NodeStatus, _Mapping]] = ...) -> None: ...

class WatchStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchStatusResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: _admin_pb2.NodeStatus
    def __init__(self, status: _Optional[_Union[_admin_pb2.NodeStatus, _Mapping]] = ...) -> None: ...

class IssueDocumentRequest(_message.Message):
    __slots__ = ("payload_type", "statement_json", "signer", "supporting", "request_id")
    PAYLOAD_TYPE_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_JSON_FIELD_NUMBER: _ClassVar[int]
    SIGNER_FIELD_NUMBER: _ClassVar[int]
    SUPPORTING_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    payload_type: str
    statement_json: bytes
    signer: str
    supporting: _containers.RepeatedCompositeFieldContainer[_document_pb2.Document]
    request_id: str
    def __init__(self, payload_type: _Optional[str] = ..., statement_json: _Optional[bytes] = ..., signer: _Optional[str] = ..., supporting: _Optional[_Iterable[_Union[_document_pb2.Document, _Mapping]]] = ..., request_id: _Optional[str] = ...) -> None: ...

class IssueDocumentResponse(_message.Message):
    __slots__ = ("document", "object", "produced")
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    PRODUCED_FIELD_NUMBER: _ClassVar[int]
    document: _document_pb2.Document
    object: _document_pb2.Object
    produced: _containers.RepeatedCompositeFieldContainer[_document_pb2.Document]
    def __init__(self, document: _Optional[_Union[_document_pb2.Document, _Mapping]] = ..., object: _Optional[_Union[_document_pb2.Object, _Mapping]] = ..., produced: _Optional[_Iterable[_Union[_document_pb2.Document, _Mapping]]] = ...) -> None: ...

class InviteParticipantRequest(_message.Message):
    __slots__ = ("name", "roles", "title", "reissue", "subject_code")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    REISSUE_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_CODE_FIELD_NUMBER: _ClassVar[int]
    name: str
    roles: _containers.RepeatedScalarFieldContainer[str]
    title: str
    reissue: bool
    subject_code: str
    def __init__(self, name: _Optional[str] = ..., roles: _Optional[_Iterable[str]] = ..., title: _Optional[str] = ..., reissue: _Optional[bool] = ..., subject_code: _Optional[str] = ...) -> None: ...

class InviteParticipantResponse(_message.Message):
    __slots__ = ("invitation", "expires_at", "participant")
    INVITATION_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_FIELD_NUMBER: _ClassVar[int]
    invitation: bytes
    expires_at: _timestamp_pb2.Timestamp
    participant: str
    def __init__(self, invitation: _Optional[bytes] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., participant: _Optional[str] = ...) -> None: ...

class TestPeerRequest(_message.Message):
    __slots__ = ("trust_domain",)
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    def __init__(self, trust_domain: _Optional[str] = ...) -> None: ...

class TestPeerResponse(_message.Message):
    __slots__ = ("checks", "round_trip")
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    ROUND_TRIP_FIELD_NUMBER: _ClassVar[int]
    checks: _containers.RepeatedCompositeFieldContainer[_admin_pb2.Check]
    round_trip: _duration_pb2.Duration
    def __init__(self, checks: _Optional[_Iterable[_Union[_admin_pb2.Check, _Mapping]]] = ..., round_trip: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ReloadNodeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReloadNodeResponse(_message.Message):
    __slots__ = ("changed", "needs_restart")
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    NEEDS_RESTART_FIELD_NUMBER: _ClassVar[int]
    changed: _containers.RepeatedScalarFieldContainer[str]
    needs_restart: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, changed: _Optional[_Iterable[str]] = ..., needs_restart: _Optional[_Iterable[str]] = ...) -> None: ...

class DrainNodeRequest(_message.Message):
    __slots__ = ("grace",)
    GRACE_FIELD_NUMBER: _ClassVar[int]
    grace: _duration_pb2.Duration
    def __init__(self, grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class DrainNodeResponse(_message.Message):
    __slots__ = ("streams",)
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    streams: int
    def __init__(self, streams: _Optional[int] = ...) -> None: ...

class CheckStoreRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CheckStoreResponse(_message.Message):
    __slots__ = ("entries", "checks")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    entries: int
    checks: _containers.RepeatedCompositeFieldContainer[_admin_pb2.Check]
    def __init__(self, entries: _Optional[int] = ..., checks: _Optional[_Iterable[_Union[_admin_pb2.Check, _Mapping]]] = ...) -> None: ...

class BackupStoreRequest(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class BackupStoreResponse(_message.Message):
    __slots__ = ("size_bytes", "sha256", "entries")
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    size_bytes: int
    sha256: bytes
    entries: int
    def __init__(self, size_bytes: _Optional[int] = ..., sha256: _Optional[bytes] = ..., entries: _Optional[int] = ...) -> None: ...

class ListWitnessesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListWitnessesResponse(_message.Message):
    __slots__ = ("witnesses", "logs")
    WITNESSES_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    witnesses: _containers.RepeatedCompositeFieldContainer[_admin_pb2.Cosignature]
    logs: _containers.RepeatedCompositeFieldContainer[_admin_pb2.WitnessedLog]
    def __init__(self, witnesses: _Optional[_Iterable[_Union[_admin_pb2.Cosignature, _Mapping]]] = ..., logs: _Optional[_Iterable[_Union[_admin_pb2.WitnessedLog, _Mapping]]] = ...) -> None: ...

class ListForksRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListForksResponse(_message.Message):
    __slots__ = ("forks",)
    FORKS_FIELD_NUMBER: _ClassVar[int]
    forks: _containers.RepeatedCompositeFieldContainer[_admin_pb2.LogFork]
    def __init__(self, forks: _Optional[_Iterable[_Union[_admin_pb2.LogFork, _Mapping]]] = ...) -> None: ...

class AcceptHeadRequest(_message.Message):
    __slots__ = ("trust_domain", "size", "root")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    size: int
    root: bytes
    def __init__(self, trust_domain: _Optional[str] = ..., size: _Optional[int] = ..., root: _Optional[bytes] = ...) -> None: ...

class AcceptHeadResponse(_message.Message):
    __slots__ = ("origin",)
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    origin: str
    def __init__(self, origin: _Optional[str] = ...) -> None: ...

class ListBackupsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListBackupsResponse(_message.Message):
    __slots__ = ("backups",)
    BACKUPS_FIELD_NUMBER: _ClassVar[int]
    backups: _containers.RepeatedCompositeFieldContainer[BackupInfo]
    def __init__(self, backups: _Optional[_Iterable[_Union[BackupInfo, _Mapping]]] = ...) -> None: ...

class BackupInfo(_message.Message):
    __slots__ = ("made_at", "path", "size_bytes", "sha256", "entries", "tested_at")
    MADE_AT_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    TESTED_AT_FIELD_NUMBER: _ClassVar[int]
    made_at: _timestamp_pb2.Timestamp
    path: str
    size_bytes: int
    sha256: str
    entries: int
    tested_at: _timestamp_pb2.Timestamp
    def __init__(self, made_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., path: _Optional[str] = ..., size_bytes: _Optional[int] = ..., sha256: _Optional[str] = ..., entries: _Optional[int] = ..., tested_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class TestBackupRequest(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class TestBackupResponse(_message.Message):
    __slots__ = ("backup",)
    BACKUP_FIELD_NUMBER: _ClassVar[int]
    backup: BackupInfo
    def __init__(self, backup: _Optional[_Union[BackupInfo, _Mapping]] = ...) -> None: ...

class ChangeOperatorsRequest(_message.Message):
    __slots__ = ("act",)
    ACT_FIELD_NUMBER: _ClassVar[int]
    act: _document_pb2.Document
    def __init__(self, act: _Optional[_Union[_document_pb2.Document, _Mapping]] = ...) -> None: ...

class ChangeOperatorsResponse(_message.Message):
    __slots__ = ("operators",)
    OPERATORS_FIELD_NUMBER: _ClassVar[int]
    operators: _containers.RepeatedCompositeFieldContainer[_admin_pb2.OperatorInfo]
    def __init__(self, operators: _Optional[_Iterable[_Union[_admin_pb2.OperatorInfo, _Mapping]]] = ...) -> None: ...
