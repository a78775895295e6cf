"""What node and worker say to each other over the socket pair.

Decides: requests, answers, and their framing. Leaves to others: who may ask (``pool``), what is done (``worker``).

Towards the worker: 4 bytes length, then msgpack; a length of 0 is one credit (a frame was handed over). From the
worker: kind (1 byte), length (4), frame note (48), then the bytes: an answer in msgpack, or one finished FlightData.
"""

from __future__ import annotations

import socket
import struct
from typing import Any, Final, Literal, NamedTuple

import msgspec

from trustnode.core.policy.governed import Governed, GovernedTable
from trustnode.core.policy.schema import Column
from trustnode.core.stream import FRAME_NOTE_BYTES, FrameNote, Prefix
from trustnode.core.tracing import MarkSecret
from trustnode.engine.source import Secrets, Source, Table

Value = str | int | bool | None
"""A parameter as documents hold it: a fraction, a date or a time is text."""
Parameter = Value | float
"""A value for one ``?``; other types travel as text and are cast in the query."""

Cell = str | int | bool | bytes | list[int] | list[str] | None
"""A value of a metadata answer."""

CREDIT: Final = struct.pack(">I", 0)
FRAMES_IN_FLIGHT: Final = 2

ANSWER: Final = 1
FRAME: Final = 2
_NO_NOTE: Final = bytes(FRAME_NOTE_BYTES)
_REQUEST: Final = struct.Struct(">I")
_HEAD: Final = struct.Struct(">BI")
_CONTROL: Final = struct.Struct(">Q")
HEAD_BYTES: Final = _HEAD.size + FRAME_NOTE_BYTES


class RunLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one query may use."""

    engine_seconds: float = 30.0
    """Time the engine works; the time a slow reader takes does not count."""
    plan_seconds: float = 5.0
    """Time to check and rewrite one query."""
    cpu_seconds: int = 120
    """Processor time of the worker, all threads together."""
    memory_bytes: int = 512 << 20
    """What the engine may allocate; the process may map 1.5 GiB beyond it."""
    threads: int = 2
    load_bytes: int = 64 << 20
    """Up to this size, uncompressed, a table is copied into memory once a session."""
    max_frame_bytes: int = 1 << 20


class SessionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """All a worker must know of one agreement."""

    agreement: str
    policy_digest: str
    data_version: str
    source: Source
    columns: dict[str, tuple[Column, ...]] = {}
    """Table -> columns it was registered with; a source that has others is not served. Empty: not compared."""
    governed: Governed
    hash_key: bytes = b""
    """Secret of this agreement for keyed hashes; needed when a mask hashes. At least 16 bytes."""
    mark: MarkSecret | None = None
    """Secrets behind the mark of this agreement's copy; needed when a table has one."""
    content_digest: bool = True
    """False: frame digests cover header and length of the body only, and the plan says so."""
    limits: RunLimits = RunLimits()
    joined: tuple[SessionSpec, ...] = ()
    """Further agreements that the same queries read; nothing is joined to those in turn. Limits are the first one's."""

    @property
    def sources(self) -> tuple[Source, ...]:
        """Everything its worker reads."""
        return tuple(part.source for part in self.parts)

    @property
    def parts(self) -> tuple[SessionSpec, ...]:
        """Every agreement of the session, this one first."""
        return (self, *self.joined)

    @property
    def key(self) -> tuple[str, str, str]:
        """What a warm worker is kept for: a set of agreements, and of each its policy and data."""
        parts = sorted((part.agreement, part.policy_digest, part.data_version) for part in self.parts)
        agreements, policies, versions = zip(*parts, strict=True)
        return " ".join(agreements), " ".join(policies), " ".join(versions)


class ClerkSpec(msgspec.Struct, frozen=True):
    """A worker that reads and writes Arrow for one caller and sees no data."""

    owner: str
    """Whose parameters it reads; empty: the node's own tables, which no caller has touched."""
    limits: RunLimits = RunLimits(memory_bytes=64 << 20)

    @property
    def sources(self) -> tuple[Source, ...]:
        """None: it sees no data."""
        return ()

    @property
    def key(self) -> tuple[str, str, str]:
        """What a warm worker is kept for; no agreement has an empty name."""
        return "", self.owner, ""


class ProbeSpec(msgspec.Struct, frozen=True):
    """A worker that asks a source beyond this machine whether its data have changed, and reads none of them."""

    source: Source

    @property
    def sources(self) -> tuple[Source, ...]:
        """The one that is asked."""
        return (self.source,)

    @property
    def key(self) -> tuple[str, str, str]:
        """What a warm worker is kept for; no agreement has an empty name, no caller's begins so."""
        return "", "source:", _encode(self.source).hex()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A query the policy allows, and what it will deliver."""

    query: str
    """The consumer's text."""
    parameters: tuple[Parameter, ...] = ()
    sql: str
    """The regenerated text, for the commitment; the same in every session."""
    columns: tuple[Column, ...]
    """What is delivered, in order."""
    columns_used: tuple[str, ...]
    """``table.column`` of every delivered column the query touches, masked or not."""
    ordered: bool
    """Whether the query fixes the order of its rows."""
    whole: bool = False
    """Whether it is one table as it is delivered, all of it: ``SELECT * FROM t``."""
    content_digest: bool = True


class OpenSession(msgspec.Struct, frozen=True, tag="open"):
    """First request to a worker."""

    spec: SessionSpec
    secrets: Secrets = {}


class OpenProbe(msgspec.Struct, frozen=True, tag="probe"):
    """First request to a worker that answers ``ReadVersion`` for one source."""

    source: Source
    secrets: Secrets = {}


class ReadVersion(msgspec.Struct, frozen=True, tag="version"):
    """What tells the present state of the source's data from another."""


class OpenClerk(msgspec.Struct, frozen=True, tag="clerk"):
    """First request to a worker that serves a clerk's requests: the four below."""

    limits: RunLimits


class FindParameters(msgspec.Struct, frozen=True, tag="find-parameters"):
    """Types of the ``?`` of a query."""

    sql: str
    columns: tuple[Column, ...]


class ReadParameters(msgspec.Struct, frozen=True, tag="read-parameters"):
    """Decode the values that a client sent: header and body of each Arrow message."""

    messages: tuple[tuple[bytes, bytes], ...]


class WriteSchema(msgspec.Struct, frozen=True, tag="write-schema"):
    """Write columns as an Arrow schema; those of a governed table where one is given."""

    columns: tuple[Column, ...]
    governed: GovernedTable | None = None


class WriteTable(msgspec.Struct, frozen=True, tag="write-table"):
    """Write a metadata answer; ``name`` is a key of ``tables.SCHEMAS``."""

    name: str
    rows: tuple[tuple[Any, ...], ...]


class DescribeSource(msgspec.Struct, frozen=True, tag="describe"):
    """Read the columns of a source; the worker serves nothing else."""

    source: Source
    secrets: Secrets = {}


class PlanQuery(msgspec.Struct, frozen=True, tag="plan"):
    """Check and rewrite; no data is read."""

    sql: str
    parameters: tuple[Parameter, ...] = ()


class ShowSchema(msgspec.Struct, frozen=True, tag="schema"):
    """The Arrow schema of what a query would deliver."""

    sql: str
    parameters: tuple[Parameter, ...] = ()


class RunQuery(msgspec.Struct, frozen=True, tag="run"):
    """Stream the rows of a query; ``expected_sql`` is that of its plan."""

    sql: str
    parameters: tuple[Parameter, ...]
    expected_sql: str
    run: int
    """Names this run to the control socket."""
    max_rows: int | None = None
    after: Prefix | None = None
    """The stream goes on behind it, if the result is still the same so far."""


class ReadQuery(msgspec.Struct, frozen=True, tag="read"):
    """Plan, run and answer in one message."""

    sql: str
    parameters: tuple[Parameter, ...]
    max_bytes: int
    run: int
    expected_sql: str = ""
    max_rows: int | None = None


ClerkRequest = FindParameters | ReadParameters | WriteSchema | WriteTable
Opening = OpenSession | OpenClerk | OpenProbe
Request = Opening | ClerkRequest | ReadVersion | DescribeSource | PlanQuery | ShowSchema | RunQuery | ReadQuery


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The worker has loaded its engine, or opened its session."""


class Described(msgspec.Struct, frozen=True, tag="described"):
    """Answer to ``DescribeSource``."""

    tables: tuple[Table, ...]


class VersionRead(msgspec.Struct, frozen=True, tag="version-read"):
    """Answer to ``ReadVersion``."""

    version: str


class Planned(msgspec.Struct, frozen=True, tag="planned"):
    """Answer to ``PlanQuery``."""

    plan: Plan


class ParametersFound(msgspec.Struct, frozen=True, tag="parameters-found"):
    """Answer to ``FindParameters``: a type word each."""

    words: tuple[str, ...]


class ParametersRead(msgspec.Struct, frozen=True, tag="parameters-read"):
    """Answer to ``ReadParameters``."""

    values: tuple[Value, ...]


class SchemaWritten(msgspec.Struct, frozen=True, tag="schema-written"):
    """Answer to ``WriteSchema`` and ``ShowSchema``."""

    columns: tuple[Column, ...]
    """What the schema says, in words; empty from ``ShowSchema``."""
    schema: bytes
    """An encapsulated IPC message."""


class TableWritten(msgspec.Struct, frozen=True, tag="table-written"):
    """Answer to ``WriteTable``: whole FlightData messages, the schema first."""

    frames: tuple[bytes, ...]


class SmallResult(msgspec.Struct, frozen=True, tag="small"):
    """Answer to ``ReadQuery``: whole frames, the schema first."""

    plan: Plan
    frames: tuple[tuple[bytes, bytes], ...]
    """Encoded note, FlightData."""


class End(msgspec.Struct, frozen=True, tag="end"):
    """The stream is over; ``quota`` when rows were left that the budget did not cover."""

    reason: Literal["complete", "quota", "stopped"]


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """A refusal or an error; ``detail`` is for the provider's log and never leaves the node."""

    reason: str
    message: str
    metadata: dict[str, str] = {}
    detail: str = ""


ClerkAnswer = ParametersFound | ParametersRead | SchemaWritten | TableWritten
Answer = Ready | Described | VersionRead | Planned | ClerkAnswer | SmallResult | End | Failure


class Frame(NamedTuple):
    """One finished FlightData and its note."""

    data: bytes
    note: FrameNote


class WorkerGone(Exception):
    """The other side has closed the socket."""


_encode = msgspec.msgpack.Encoder().encode
_decode_request = msgspec.msgpack.Decoder(Request).decode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode


def request_bytes(request: Request) -> bytes:
    """Frame a request."""
    body = _encode(request)
    return _REQUEST.pack(len(body)) + body


def receive_request(sock: socket.socket) -> Request | None:
    """The next request; None for a credit."""
    (length,) = _REQUEST.unpack(_receive(sock, _REQUEST.size))
    return _decode_request(_receive(sock, length)) if length else None


def receive_credit(sock: socket.socket) -> None:
    """Wait until the node has handed one frame over."""
    if receive_request(sock) is not None:
        raise WorkerGone


def send_answer(sock: socket.socket, answer: Answer) -> None:
    """Send a message that is no frame."""
    body = _encode(answer)
    send_parts(sock, [_HEAD.pack(ANSWER, len(body)) + _NO_NOTE, body])


def send_frame(sock: socket.socket, note: bytes, parts: list[bytes | memoryview]) -> None:
    """Send one FlightData, given in parts that lie in order."""
    send_parts(sock, [_HEAD.pack(FRAME, sum(map(len, parts))) + note, *parts])


def send_parts(sock: socket.socket, parts: list[bytes | memoryview]) -> None:
    """Send all parts without joining them; a partial ``sendmsg`` is normal."""
    views = [memoryview(part) for part in parts]
    while views:
        sent = sock.sendmsg(views)
        while views and sent >= len(views[0]):
            sent -= len(views.pop(0))
        if sent:
            views[0] = views[0][sent:]


def receive(sock: socket.socket) -> Frame | Answer:
    """The next message of the worker; blocks.

    Raises:
        WorkerGone: It has ended.
    """
    head = _receive(sock, HEAD_BYTES)
    kind, length = _HEAD.unpack_from(head)
    body = _receive(sock, length)
    if kind == FRAME:
        return Frame(body, FrameNote.from_bytes(head[_HEAD.size :]))
    answer: Answer = _decode_answer(body)
    return answer


def control_bytes(run: int) -> bytes:
    """What the control socket carries to stop ``run``."""
    return _CONTROL.pack(run)


def receive_control(sock: socket.socket) -> int:
    """The run that is to stop; raises ``WorkerGone`` when the node has ended."""
    return int(_CONTROL.unpack(_receive(sock, _CONTROL.size))[0])


def _receive(sock: socket.socket, length: int) -> bytes:
    """Exactly ``length`` bytes; a signal may end a waiting ``recv`` early, so it is repeated for the rest."""
    parts: list[bytes] = []
    while length:
        try:
            data = sock.recv(length, socket.MSG_WAITALL)
        except OSError as failure:
            raise WorkerGone from failure
        if not data:
            raise WorkerGone
        parts.append(data)
        length -= len(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)
