"""Running streams: what each hangs on, the pump that moves its frames, and what stops it.

Decides: which change stops which stream and with which reason, when a stream waits for acknowledgements, what counts as
handed over. Leaves to others: decisions and settlement (``access``), frames (``engine``, ``wire``). Source: DESIGN 3.4,
3.5; protocol 6.6, 8.3, 8.4.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from trustnode.core.catalog import REGISTERED
from trustnode.core.lifecycle import State
from trustnode.core.stream import FrameNote, chain_next, chain_start
from trustnode.errors import TrustnodeError, error

LOOK_S: Final = 1.0
RECHECK_S: Final = 5.0
"""Every stream is decided again this often, for what no event announces."""
HAND_OVER_S: Final = 0.05
"""A stop waits so long for a frame that is being handed over: a reader that reads gets it, and it counts."""
ACK_WAIT_S: Final = 60.0
"""Longest wait for an acknowledgement with two windows open."""
T = TypeVar("T")


class Frame(Protocol):
    """A finished FlightData message and its note."""

    @property
    def data(self) -> bytes:
        """The message, forwarded as it is."""

    @property
    def note(self) -> FrameNote:
        """Number, rows, digest."""


class Stop(NamedTuple):
    """Why a kind of object no longer lets data flow."""

    key: Callable[[Any], str]
    flowing: frozenset[str]
    """States in which streams go on."""
    reason: str


STOPS: Final[Mapping[str, Stop]] = {
    "agreement": Stop(lambda s: f"agreement:{s.id}", frozenset({"PERFORMING"}), "GRANT_INVALID"),
    "grant": Stop(lambda s: f"agreement:{s.id}", frozenset({"ISSUED", "ACTIVE", "EXHAUSTED"}), "GRANT_INVALID"),
    "participant": Stop(lambda s: f"participant:{s.id}", frozenset({"ENROLLED"}), "IDENTITY_REVOKED"),
    "peering": Stop(lambda s: f"peer:{s.id}", frozenset({"APPROVED"}), "PEER_SUSPENDED"),
    "product": Stop(lambda s: f"product:{s.id}", REGISTERED, "NOT_REGISTERED"),
}
"""Kind of object -> when it stops streams; a kind that is not here stops none."""


@dataclass(frozen=True)
class Window:
    """How much may be on its way unacknowledged; twice this pauses the stream."""

    bytes: int
    rows: int


@dataclass(eq=False)
class Stream:
    """One running stream and its counters: everything handed over so far."""

    access: str
    keys: frozenset[str]
    salt: builtins.bytes
    window: Window | None = None
    """None: nobody acknowledges windows (the participant of this venue)."""
    peer: str = ""
    """The other node of the stream; empty where there is none."""
    recheck: Callable[[], Awaitable[None]] | None = None
    """Raises when the decision would be another one now."""
    frames: int = 0
    rows: int = 0
    bytes: int = 0
    covers_content: bool = True
    """False: a frame came that was digested by its length only."""
    chain: builtins.bytes = b""
    acked_rows: int = 0
    acked_bytes: int = 0
    failure: TrustnodeError | None = None
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)
    _acked: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Start the chain of the stream commitment."""
        self.chain = self.chain or chain_start(self.salt)
        self._flowing.set()

    @property
    def commitment(self) -> str:
        """h(n) over the frames handed over."""
        return self.chain.hex()

    def stop(self, reason: str, message: str = "") -> None:
        """End the stream; the first reason counts."""
        if self.failure is None:
            self.failure = error(reason, message)
            self._stopped.set()

    def hold(self, held: bool) -> None:
        """Hand over nothing while the other node is not heard; it goes on when it is."""
        (self._flowing.clear if held else self._flowing.set)()

    async def until_flowing(self) -> None:
        """Wait while the stream is held.

        Raises:
            TrustnodeError: The reason of a stop.
        """
        if not self._flowing.is_set():
            await self.unless_stopped(_wait(self._flowing))

    def count(self, note: FrameNote, size: int) -> None:
        """Take a frame as handed over."""
        self.frames += 1
        self.rows += note.rows
        self.bytes += size
        self.chain = chain_next(self.chain, note.digest)

    def acknowledge(self, rows: int, size: int) -> None:
        """The carrier says how far it got."""
        self.acked_rows, self.acked_bytes = max(self.acked_rows, rows), max(self.acked_bytes, size)
        self._acked.set()

    async def unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for ``work``; when the stream is stopped first, drop it and raise why.

        Raises:
            TrustnodeError: The reason of the stop.
        """
        self._check_before(work)
        task = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self.check()
            return await task
        finally:
            stopped.cancel()
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, TrustnodeError):
                    await task

    async def hand_over(self, work: Coroutine[Any, Any, None], note: FrameNote, size: int) -> None:
        """Hand a frame to the transport and count it; a stop waits a moment for the frame that is under way.

        Raises:
            TrustnodeError: The reason of the stop.
        """
        self._check_before(work)
        task = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                await asyncio.wait({task}, timeout=HAND_OVER_S)
        finally:
            stopped.cancel()
            is_taken = not task.done() or (not task.cancelled() and task.exception() is None)
            task.cancel()
            if is_taken:
                # Also what was not finished: the transport gives nothing back, and the reader may have it.
                self.count(note, size)
        if task.done():
            await task
        self.check()

    def _check_before(self, work: Coroutine[Any, Any, Any]) -> None:
        """As ``check``; work that is not begun any more is put away."""
        if self.failure is not None:
            work.close()
        self.check()

    def check(self) -> None:
        """Raise why the stream was stopped, if it was."""
        if self.failure is not None:
            raise self.failure

    async def wait_for_window(self) -> None:
        """Pause while two windows are unacknowledged.

        Raises:
            TrustnodeError: DEADLINE after ``ACK_WAIT_S``.
        """
        while self.window and self._open_windows(self.window) >= 2:
            self._acked.clear()
            try:
                await asyncio.wait_for(self.unless_stopped(_wait(self._acked)), ACK_WAIT_S)
            except TimeoutError:
                raise error("DEADLINE", "two windows stayed unacknowledged") from None

    def _open_windows(self, window: Window) -> float:
        rows, size = self.rows - self.acked_rows, self.bytes - self.acked_bytes
        return max(rows / max(window.rows, 1), size / max(window.bytes, 1))


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """Do ``work`` to its end although the caller is cancelled meanwhile: what flowed is settled whoever goes away.

    Raises:
        asyncio.CancelledError: After the work, where the caller was cancelled.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as ours:
            cancelled = ours
    result = task.result()
    if cancelled is not None:
        raise cancelled
    return result


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def pump(
    source: AsyncIterator[Frame],
    sink: Callable[[bytes], Awaitable[None]],
    stream: Stream,
    before: Callable[[Frame], Awaitable[None]] | None = None,
) -> None:
    """Move frames from source to sink until the source ends or the stream is stopped: provider, home and relay alike.

    Args:
        source: Frames, the schema first.
        sink: Hands one frame to the transport; returns when the transport took it.
        stream: What stops it, and the counters.
        before: Called with each frame before it is handed over; may wait or refuse.

    Raises:
        TrustnodeError: Why it ended early; frames handed over by then are counted.
    """
    iterator = aiter(source)
    while (frame := await stream.unless_stopped(_following(iterator))) is not None:
        if before is not None:
            await before(frame)
        await stream.wait_for_window()
        await stream.until_flowing()
        await stream.hand_over(_handed(sink, frame.data), frame.note, len(frame.data))


async def _following(iterator: AsyncIterator[Frame]) -> Frame | None:
    return await anext(iterator, None)


async def _handed(sink: Callable[[bytes], Awaitable[None]], data: bytes) -> None:
    await sink(data)


class Streams:
    """Every running stream of the node, found by all it hangs on."""

    def __init__(self) -> None:
        self.age_s: Callable[[str], float] = _always_fresh
        """Seconds since a peer was last known to be there."""
        self.max_age_s = 5.0
        """No frame to or from a venue that was silent this long (protocol 8.3)."""
        self.abort_age_s = 10.0
        """A stream to or from a venue that was silent this long ends."""
        self._by_key: dict[str, set[Stream]] = {}
        self._running: dict[str, Stream] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    @contextlib.contextmanager
    def running(self, stream: Stream) -> Iterator[Stream]:
        """Keep a stream known while it runs."""
        self._running[stream.access] = stream
        self._empty.clear()
        for key in stream.keys:
            self._by_key.setdefault(key, set()).add(stream)
        try:
            yield stream
        finally:
            self._running.pop(stream.access, None)
            if not self._running:
                self._empty.set()
            for key in stream.keys:
                self._by_key[key].discard(stream)
                if not self._by_key[key]:
                    del self._by_key[key]

    async def none_running(self) -> None:
        """Wait until no stream runs."""
        await self._empty.wait()

    def __len__(self) -> int:
        return len(self._running)

    def get(self, access: str) -> Stream | None:
        """The running stream of an access."""
        return self._running.get(access)

    def stop(self, key: str, reason: str, message: str = "") -> int:
        """Stop every stream that hangs on ``key``.

        Returns:
            How many there were.
        """
        found = tuple(self._by_key.get(key, ()))
        for stream in found:
            stream.stop(reason, message)
        return len(found)

    def stop_all(self, reason: str) -> None:
        """Stop every stream; the node is going down or may no longer serve."""
        for stream in tuple(self._running.values()):
            stream.stop(reason)

    def on_changes(self, changes: Iterable[tuple[str, State]]) -> None:
        """Stop what no longer may run; called after each commit with everything it changed."""
        for kind, state in changes:
            rule = STOPS.get(kind)
            if rule is not None and state.state not in rule.flowing:
                self.stop(rule.key(state), rule.reason, _why(kind, state))

    async def recheck_forever(self) -> None:
        """End streams of silent peers; decide every stream again, every ``RECHECK_S`` seconds."""
        looks = 0
        while True:
            await asyncio.sleep(LOOK_S)
            looks += 1
            for stream in tuple(self._running.values()):
                age = self.age_s(stream.peer) if stream.peer else 0.0
                stream.hold(age > self.max_age_s)
                if age > self.abort_age_s:
                    stream.stop("PEER_UNREACHABLE", f"{stream.peer} has been silent for {age:.0f} s")
                elif looks % int(RECHECK_S / LOOK_S) == 0:
                    await _recheck(stream)


def _always_fresh(_domain: str) -> float:
    return 0.0


async def _recheck(stream: Stream) -> None:
    if stream.recheck is None:
        return
    try:
        await stream.recheck()
    except TrustnodeError as refusal:
        stream.stop(refusal.reason, refusal.message)


def _why(kind: str, state: State) -> str:
    causes = ", ".join(cause.partition(":")[2] for cause in state.causes)
    return f"{kind} is {state.state}" + (f" ({causes})" if causes else "")
