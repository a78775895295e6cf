"""The program that runs in a worker process: one agreement's session, its queries, its frames.

Decides: how the process confines itself, what a request does, which reason an engine's failure becomes. Leaves to
others: when it is started, stopped and killed (``pool``), what a query may see (``session``, ``plan``).

One thread serves requests. A second one waits on the control socket: it interrupts the engine, and ends the process
when the node is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import resource
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import duckdb
import msgspec
import pyarrow as pa

from trustnode.engine import clerk, sandbox, tables
from trustnode.engine import message as wire
from trustnode.engine import source as reading
from trustnode.engine.frames import FrameEncoder, batch_rows, limited
from trustnode.engine.session import Session
from trustnode.engine.source.foreign import Foreign
from trustnode.errors import REASONS, TrustnodeError, error

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_CLONE_NEWNET: Final = 0x40000000
_ADDRESS_SPACE_BEYOND_MEMORY: Final = 1536 << 20
"""What libraries, threads and Arrow buffers map besides the engine's own memory."""
_OPEN_FILES: Final = 128
NETWORK: Final = "network"

_OUT_OF_MEMORY: Final = ("Out of Memory", "bad allocation", "malloc", "bad_alloc", "realloc")
_INTERRUPTED: Final = ("INTERRUPT", "Interrupted")
_UNAVAILABLE: Final = REASONS["SOURCE_UNAVAILABLE"].meaning


class Runs:
    """Which run the engine works for now, and which was told to stop; shared by both threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current = 0
        self._stopped = 0
        self.session: Session | None = None

    def begin(self, run: int) -> None:
        """A run starts."""
        with self._lock:
            self._current = run

    def end(self) -> None:
        """No run is on: a late stop must not hit the next query."""
        with self._lock:
            self._current = 0

    def stop(self, run: int) -> None:
        """Interrupt ``run``, if it is still on or still to come."""
        with self._lock:
            self._stopped = max(self._stopped, run)
            if run == self._current and self.session is not None:
                self.session.interrupt()

    def is_stopped(self, run: int) -> bool:
        """Whether ``run`` was told to stop."""
        with self._lock:
            return self._stopped >= run


class Worker:
    """Serves the requests of one node over one socket."""

    def __init__(self, data: socket.socket, runs: Runs) -> None:
        self._data = data
        self._runs = runs
        self._probed: Foreign | None = None

    def serve(self) -> None:
        """Answer requests until the node closes the socket."""
        wire.send_answer(self._data, wire.Ready())
        while True:
            request = wire.receive_request(self._data)
            if request is None:
                continue  # a credit for a stream that has ended
            try:
                answer = self._answer(request)
            except Exception as failure:  # noqa: BLE001 - every failure becomes an answer; the node decides
                answer = failure_of(self._explained(failure))
            finally:
                self._runs.end()
            wire.send_answer(self._data, answer)

    def _answer(self, request: wire.Request) -> wire.Answer:
        match request:
            case wire.OpenSession(spec, secrets):
                limit_memory(spec.limits)
                with reading.served(lambda failure: failure):
                    keep_to_sources(*(part.source for part in spec.parts))
                self._runs.session = Session(spec, secrets)
                return wire.Ready()
            case wire.DescribeSource(source, secrets):
                limit_memory(wire.RunLimits())
                keep_to_sources(source)
                return wire.Described(reading.describe(source, secrets))
            case wire.OpenProbe(source, secrets):
                limit_memory(wire.RunLimits())
                keep_to_sources(source)
                self._probed = reading.open_foreign(source, secrets)
                return wire.Ready()
            case wire.ReadVersion():
                return wire.VersionRead(self._version())
            case wire.OpenClerk(limits):
                limit_memory(limits)
                keep_to_sources()
                return wire.Ready()
            case wire.FindParameters() | wire.ReadParameters() | wire.WriteSchema() | wire.WriteTable():
                return clerk.answer(request)
            case wire.ShowSchema(sql, parameters):
                return wire.SchemaWritten((), tables.encoded(self._session.answer_schema(sql, parameters)))
            case wire.PlanQuery(sql, parameters):
                return wire.Planned(self._session.plan(sql, parameters))
            case wire.RunQuery():
                return self._stream(request)
            case wire.ReadQuery():
                return self._read(request)

    def _explained(self, failure: Exception) -> Exception:
        """What lies behind an engine's failure where a source of the session has one of its own."""
        return self._runs.session.explained(failure) if self._runs.session else failure

    def _version(self) -> str:
        if self._probed is None:
            raise error("INTERNAL", "no source is open")
        return self._probed.version()

    @property
    def _session(self) -> Session:
        if self._runs.session is None:
            raise error("INTERNAL", "no session is open")
        return self._runs.session

    def _start(self, request: wire.RunQuery | wire.ReadQuery) -> tuple[wire.Plan, FrameEncoder, pa.RecordBatchReader]:
        self._runs.begin(request.run)
        session = self._session
        limit_processor(session.limits)
        plan, relation = session.run(request.sql, request.parameters, request.expected_sql)
        frame_bytes = session.limits.max_frame_bytes
        reader = relation.to_arrow_reader(batch_rows(plan.columns, frame_bytes))
        encoder = FrameEncoder(reader.schema, max_frame_bytes=frame_bytes, content_digest=plan.content_digest)
        return plan, encoder, reader

    def _stream(self, request: wire.RunQuery) -> wire.End:
        _, encoder, reader = self._start(request)
        with contextlib.closing(reader):
            pieces = encoder.pieces(reader)
            if request.after is not None:
                encoder.skip(pieces, request.after)
            first = encoder.schema()
            wire.send_frame(self._data, first.note, first.parts)
            in_flight = 1
            for piece, quota in limited(pieces, request.max_rows):
                if piece.num_rows:
                    if in_flight == wire.FRAMES_IN_FLIGHT:
                        wire.receive_credit(self._data)
                        in_flight -= 1
                    if self._runs.is_stopped(request.run):
                        return wire.End("stopped")
                    frame = encoder.frame(piece)
                    wire.send_frame(self._data, frame.note, frame.parts)
                    in_flight += 1
                if quota:
                    return wire.End("quota")
        self._session.check_unchanged()
        return wire.End("complete")

    def _read(self, request: wire.ReadQuery) -> wire.SmallResult:
        plan, encoder, reader = self._start(request)
        with contextlib.closing(reader):
            encoded = [encoder.schema()]
            size = sum(map(len, encoded[0].parts))
            for batch, quota in limited(reader, request.max_rows):
                for frame in encoder.batches(batch):
                    size += sum(map(len, frame.parts))
                    if size > request.max_bytes:
                        raise _too_large(request.max_bytes)
                    encoded.append(frame)
                if quota:
                    raise error("QUOTA_TOTAL", "the answer has more rows than are left")
        self._session.check_unchanged()
        return wire.SmallResult(plan, tuple((frame.note, b"".join(frame.parts)) for frame in encoded))


def failure_of(failure: BaseException) -> wire.Failure:
    """The reason an exception becomes; what the provider's log may know of it stays in ``detail``."""
    if isinstance(failure, TrustnodeError):
        cause = failure.__cause__
        return wire.Failure(
            failure.reason, failure.message, dict(failure.metadata), _loggable(cause) if cause is not None else ""
        )
    if isinstance(failure, reading.SourceFailed):
        return wire.Failure("SOURCE_UNAVAILABLE", _UNAVAILABLE, detail=str(failure))
    text, detail = f"{type(failure).__name__}: {failure}", _loggable(failure)
    if isinstance(failure, MemoryError | duckdb.OutOfMemoryException | pa.ArrowMemoryError) or _says(
        text, _OUT_OF_MEMORY
    ):
        return wire.Failure("QUERY_TOO_COSTLY", "the query needs more memory than it may use", detail=detail)
    if isinstance(failure, duckdb.InterruptException) or _says(text, _INTERRUPTED):
        return wire.Failure("CANCELLED", "the query was stopped", detail=detail)
    if isinstance(failure, duckdb.IOException | duckdb.InternalException | duckdb.FatalException):
        return wire.Failure("SOURCE_UNAVAILABLE", _UNAVAILABLE, detail=detail)
    if isinstance(failure, duckdb.Error | pa.ArrowException | OSError):
        # One sentence for all: which value, which row and which expression failed is not for the consumer to learn.
        return wire.Failure("QUERY_INVALID", "the engine cannot compute this query", detail=detail)
    return wire.Failure("INTERNAL", "the query could not be served", detail=detail)


def _says(text: str, words: tuple[str, ...]) -> bool:
    return any(word in text for word in words)


def _loggable(failure: BaseException) -> str:
    """An engine's message quotes the query and the values it met; only what is said about a file may be logged."""
    name = type(failure).__name__
    return f"{name}: {failure}" if isinstance(failure, duckdb.IOException | OSError) else name


def _too_large(max_bytes: int) -> TrustnodeError:
    return error(
        "QUERY_TOO_COSTLY",
        "the answer is too large for one message",
        limit_bytes=str(max_bytes),
        next_step="Read it as a stream (DoGet), or ask for less.",
    )


def confine(parent: int, *, network: bool) -> None:
    """Die with the node; no new privileges, no files to write, few to open, no network that the kernel can take away.

    Args:
        parent: Process id of the node.
        network: The source lies beyond this machine: then the network stays.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if not network:
        # needs a privilege that a careful operator does not give; then the filter of system calls stands alone
        libc.unshare(_CLONE_NEWNET)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    sandbox.forbid_system_calls(network=network)


def keep_to_sources(*sources: reading.Source) -> None:
    """From here on, only the files of these sources are read, and the certificates that a connection names.

    Raises:
        InvalidRequest: FIELD_FORMAT for a source that is not there.
    """
    files = [path for source in sources for path in (*reading.files(source), *_certificates(source))]
    folders = {path for source in sources for path in reading.folders(source)}
    sandbox.keep_to(files, network=any(source.needs_network for source in sources), folders=folders)


def _certificates(source: reading.Source) -> list[Path]:
    """The files of TLS that the location of a database names."""
    if not source.needs_network:
        return []
    named = parse_qs(urlsplit(source.location).query)
    return [Path(value) for key in ("sslrootcert", "sslcert", "sslkey") for value in named.get(key, ())]


def limit_memory(limits: wire.RunLimits) -> None:
    """Bound what the whole process may map."""
    size = limits.memory_bytes + _ADDRESS_SPACE_BEYOND_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def limit_processor(limits: wire.RunLimits) -> None:
    """Bound the processor time of the next query; what earlier ones used does not count."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + limits.cpu_seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def watch(control: socket.socket, runs: Runs) -> None:
    """Pass stops on to the engine; end the process when the node has ended."""
    try:
        while True:
            runs.stop(wire.receive_control(control))
    except wire.WorkerGone:
        os._exit(0)


def main() -> None:
    """Entry point: file descriptors of both sockets, process id of the node, whether the network is needed."""
    data, control = (socket.socket(fileno=int(argument)) for argument in sys.argv[1:3])
    confine(int(sys.argv[3]), network=sys.argv[4] == NETWORK)
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)  # it prints the consumer's text
    runs = Runs()
    threading.Thread(target=watch, args=(control, runs), daemon=True).start()
    with contextlib.suppress(wire.WorkerGone, msgspec.DecodeError):
        Worker(data, runs).serve()
    os._exit(0)


if __name__ == "__main__":
    main()
