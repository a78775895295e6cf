import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NodeStatus(_message.Message):
    __slots__ = ("trust_domain", "name", "level", "area", "node_id", "version", "listen", "state", "started_at", "alarms", "log", "peers", "today", "certificate_not_after", "certificate_renews_at", "authority_not_after", "clock_offset", "disk_used_percent", "disk_days_left", "backup_at", "backup_tested_at", "now", "operators")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    AREA_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LISTEN_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ALARMS_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    TODAY_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_RENEWS_AT_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    CLOCK_OFFSET_FIELD_NUMBER: _ClassVar[int]
    DISK_USED_PERCENT_FIELD_NUMBER: _ClassVar[int]
    DISK_DAYS_LEFT_FIELD_NUMBER: _ClassVar[int]
    BACKUP_AT_FIELD_NUMBER: _ClassVar[int]
    BACKUP_TESTED_AT_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    OPERATORS_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    name: str
    level: str
    area: str
    node_id: str
    version: str
    listen: str
    state: str
    started_at: _timestamp_pb2.Timestamp
    alarms: _containers.RepeatedCompositeFieldContainer[Alarm]
    log: LogStatus
    peers: _containers.RepeatedCompositeFieldContainer[PeerStatus]
    today: Activity
    certificate_not_after: _timestamp_pb2.Timestamp
    certificate_renews_at: _timestamp_pb2.Timestamp
    authority_not_after: _timestamp_pb2.Timestamp
    clock_offset: _duration_pb2.Duration
    disk_used_percent: int
    disk_days_left: int
    backup_at: _timestamp_pb2.Timestamp
    backup_tested_at: _timestamp_pb2.Timestamp
    now: _timestamp_pb2.Timestamp
    operators: _containers.RepeatedCompositeFieldContainer[OperatorInfo]
    def __init__(self, trust_domain: _Optional[str] = ..., name: _Optional[str] = ..., level: _Optional[str] = ..., area: _Optional[str] = ..., node_id: _Optional[str] = ..., version: _Optional[str] = ..., listen: _Optional[str] = ..., state: _Optional[str] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., alarms: _Optional[_Iterable[_Union[Alarm, _Mapping]]] = ..., log: _Optional[_Union[LogStatus, _Mapping]] = ..., peers: _Optional[_Iterable[_Union[PeerStatus, _Mapping]]] = ..., today: _Optional[_Union[Activity, _Mapping]] = ..., certificate_not_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., certificate_renews_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., authority_not_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., clock_offset: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., disk_used_percent: _Optional[int] = ..., disk_days_left: _Optional[int] = ..., backup_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., backup_tested_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., now: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., operators: _Optional[_Iterable[_Union[OperatorInfo, _Mapping]]] = ...) -> None: ...

class Alarm(_message.Message):
    __slots__ = ("name", "message", "next_step", "since")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    NEXT_STEP_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    message: str
    next_step: str
    since: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., message: _Optional[str] = ..., next_step: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class LogStatus(_message.Message):
    __slots__ = ("entries", "signed", "cosignatures", "mirrors")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    SIGNED_FIELD_NUMBER: _ClassVar[int]
    COSIGNATURES_FIELD_NUMBER: _ClassVar[int]
    MIRRORS_FIELD_NUMBER: _ClassVar[int]
    entries: int
    signed: int
    cosignatures: _containers.RepeatedCompositeFieldContainer[Cosignature]
    mirrors: _containers.RepeatedCompositeFieldContainer[MirrorStatus]
    def __init__(self, entries: _Optional[int] = ..., signed: _Optional[int] = ..., cosignatures: _Optional[_Iterable[_Union[Cosignature, _Mapping]]] = ..., mirrors: _Optional[_Iterable[_Union[MirrorStatus, _Mapping]]] = ...) -> None: ...

class MirrorStatus(_message.Message):
    __slots__ = ("trust_domain", "size", "seen_at")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SEEN_AT_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    size: int
    seen_at: _timestamp_pb2.Timestamp
    def __init__(self, trust_domain: _Optional[str] = ..., size: _Optional[int] = ..., seen_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Cosignature(_message.Message):
    __slots__ = ("witness", "size", "behind", "problem")
    WITNESS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    BEHIND_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    witness: str
    size: int
    behind: _duration_pb2.Duration
    problem: str
    def __init__(self, witness: _Optional[str] = ..., size: _Optional[int] = ..., behind: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., problem: _Optional[str] = ...) -> None: ...

class WitnessedLog(_message.Message):
    __slots__ = ("origin", "size", "time")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    origin: str
    size: int
    time: _timestamp_pb2.Timestamp
    def __init__(self, origin: _Optional[str] = ..., size: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class LogFork(_message.Message):
    __slots__ = ("origin", "size", "held", "shown", "proof", "hashes", "proven", "source", "time")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    SHOWN_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    HASHES_FIELD_NUMBER: _ClassVar[int]
    PROVEN_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    origin: str
    size: int
    held: bytes
    shown: bytes
    proof: _containers.RepeatedScalarFieldContainer[bytes]
    hashes: bytes
    proven: bool
    source: str
    time: _timestamp_pb2.Timestamp
    def __init__(self, origin: _Optional[str] = ..., size: _Optional[int] = ..., held: _Optional[bytes] = ..., shown: _Optional[bytes] = ..., proof: _Optional[_Iterable[bytes]] = ..., hashes: _Optional[bytes] = ..., proven: _Optional[bool] = ..., source: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PeerStatus(_message.Message):
    __slots__ = ("trust_domain", "relation", "state", "round_trip", "silent_since", "card_version", "outbox", "control_seq", "catalog_seq", "notice_waits_since")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    RELATION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ROUND_TRIP_FIELD_NUMBER: _ClassVar[int]
    SILENT_SINCE_FIELD_NUMBER: _ClassVar[int]
    CARD_VERSION_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_FIELD_NUMBER: _ClassVar[int]
    CONTROL_SEQ_FIELD_NUMBER: _ClassVar[int]
    CATALOG_SEQ_FIELD_NUMBER: _ClassVar[int]
    NOTICE_WAITS_SINCE_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    relation: str
    state: str
    round_trip: _duration_pb2.Duration
    silent_since: _timestamp_pb2.Timestamp
    card_version: int
    outbox: int
    control_seq: int
    catalog_seq: int
    notice_waits_since: _timestamp_pb2.Timestamp
    def __init__(self, trust_domain: _Optional[str] = ..., relation: _Optional[str] = ..., state: _Optional[str] = ..., round_trip: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., silent_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., card_version: _Optional[int] = ..., outbox: _Optional[int] = ..., control_seq: _Optional[int] = ..., catalog_seq: _Optional[int] = ..., notice_waits_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Activity(_message.Message):
    __slots__ = ("contracts", "reads", "refused", "rows", "streams")
    CONTRACTS_FIELD_NUMBER: _ClassVar[int]
    READS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    contracts: int
    reads: int
    refused: int
    rows: int
    streams: int
    def __init__(self, contracts: _Optional[int] = ..., reads: _Optional[int] = ..., refused: _Optional[int] = ..., rows: _Optional[int] = ..., streams: _Optional[int] = ...) -> None: ...

class Check(_message.Message):
    __slots__ = ("name", "ok", "detail", "next_step")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OK_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    NEXT_STEP_FIELD_NUMBER: _ClassVar[int]
    name: str
    ok: bool
    detail: str
    next_step: str
    def __init__(self, name: _Optional[str] = ..., ok: _Optional[bool] = ..., detail: _Optional[str] = ..., next_step: _Optional[str] = ...) -> None: ...

class OperatorInfo(_message.Message):
    __slots__ = ("name", "role", "public_key", "account")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    role: str
    public_key: str
    account: str
    def __init__(self, name: _Optional[str] = ..., role: _Optional[str] = ..., public_key: _Optional[str] = ..., account: _Optional[str] = ...) -> None: ...
