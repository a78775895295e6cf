"""Streams: what stops them, what counts as handed over, when they wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from trustnode.app.streams import STOPS, Stream, Streams, Window, pump
from trustnode.core.contract import AgreementState
from trustnode.core.lifecycle import State
from trustnode.core.stream import FrameNote, chain_next, chain_start
from trustnode.errors import TrustnodeError, error

SALT = bytes(16)


class Frame(NamedTuple):
    data: bytes
    note: FrameNote


def frame(number: int, rows: int = 10) -> Frame:
    return Frame(bytes(100), FrameNote(number, rows, bytes([number]) * 32))


async def frames(count: int) -> AsyncIterator[Frame]:
    for number in range(1, count + 1):
        yield frame(number)


def stream(*keys: str, window: Window | None = None) -> Stream:
    return Stream("a", frozenset(keys), SALT, window=window)


async def test_counts_and_commitment_cover_exactly_what_was_handed_over() -> None:
    got: list[bytes] = []

    async def sink(data: bytes) -> None:
        got.append(data)

    running = stream()
    await pump(frames(3), sink, running)
    chain = chain_start(SALT)
    for number in (1, 2, 3):
        chain = chain_next(chain, bytes([number]) * 32)
    assert (running.frames, running.rows, running.bytes, running.commitment) == (3, 30, 300, chain.hex())
    assert len(got) == 3


async def test_a_stop_ends_a_stream_that_waits_for_its_reader_and_the_frame_counts_which_the_transport_keeps() -> None:
    blocked, streams = asyncio.Event(), Streams()
    running = stream("agreement:C1")

    async def sink(_data: bytes) -> None:
        blocked.set()
        await asyncio.Event().wait()

    with streams.running(running):
        work = asyncio.ensure_future(pump(frames(3), sink, running))
        await blocked.wait()
        assert streams.stop("agreement:C1", "GRANT_INVALID") == 1
        with pytest.raises(TrustnodeError) as stopped:
            await work
    assert stopped.value.reason == "GRANT_INVALID"
    assert running.frames == 1


async def test_a_stop_ends_a_stream_that_waits_for_its_source() -> None:
    waiting, running = asyncio.Event(), stream("product:p")

    async def source() -> AsyncIterator[Frame]:
        yield frame(1)
        waiting.set()
        await asyncio.Event().wait()

    async def sink(_data: bytes) -> None:
        return

    work = asyncio.ensure_future(pump(source(), sink, running))
    await waiting.wait()
    running.stop("NOT_REGISTERED")
    with pytest.raises(TrustnodeError):
        await work
    assert running.frames == 1


async def test_the_first_reason_counts() -> None:
    running = stream()
    running.stop("IDENTITY_REVOKED", "one")
    running.stop("PEER_SUSPENDED", "two")
    with pytest.raises(TrustnodeError) as stopped:
        running.check()
    assert stopped.value.reason == "IDENTITY_REVOKED"


async def test_x8_two_open_windows_pause_until_the_carrier_acknowledges() -> None:
    running, sent = stream(window=Window(bytes=10**9, rows=10)), asyncio.Queue[bytes]()
    work = asyncio.ensure_future(pump(frames(4), sent.put, running))
    for _ in range(2):
        await sent.get()
    await asyncio.sleep(0)
    assert sent.empty()
    assert not work.done()
    running.acknowledge(20, 200)
    await work
    assert running.frames == 4


async def test_x8_two_windows_that_nobody_acknowledges_end_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trustnode.app.streams.ACK_WAIT_S", 0.01)
    running, sent = stream(window=Window(bytes=10**9, rows=10)), asyncio.Queue[bytes]()
    with pytest.raises(TrustnodeError) as ended:
        await pump(frames(4), sent.put, running)
    assert ended.value.reason == "DEADLINE"
    assert (running.frames, sent.qsize()) == (2, 2)


async def test_p6a_a_frame_that_was_taken_counts_although_its_stream_is_cancelled_in_the_same_moment() -> None:
    running, taken = stream(), asyncio.Event()

    async def sink(_data: bytes) -> None:
        await taken.wait()

    work = asyncio.ensure_future(running.hand_over(sink(b""), frame(1).note, 100))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    taken.set()
    asyncio.get_running_loop().call_soon(work.cancel)
    with pytest.raises(asyncio.CancelledError):
        await work
    assert (running.frames, running.rows, running.bytes) == (1, 10, 100)


@pytest.mark.parametrize("kind", sorted(STOPS))
async def test_each_kind_of_object_stops_what_hangs_on_it(kind: str) -> None:
    streams, rule = Streams(), STOPS[kind]
    state = State(id="x", state="SOMETHING_ELSE", version=1)
    running = stream(rule.key(state))
    with streams.running(running):
        streams.on_changes([(kind, State(id="x", state=min(rule.flowing), version=1))])
        assert running.failure is None
        streams.on_changes([(kind, state)])
    assert running.failure is not None
    assert running.failure.reason == rule.reason


async def test_the_message_names_the_cause() -> None:
    streams, running = Streams(), stream("agreement:C1")
    with streams.running(running):
        streams.on_changes([("agreement", AgreementState(id="C1", state="SUSPENDED", causes=("P:OWNER",), version=2))])
    assert running.failure is not None
    assert running.failure.message == "agreement is SUSPENDED (OWNER)"


async def test_a_stream_that_ended_is_forgotten() -> None:
    streams, running = Streams(), stream("peer:b.example")
    with streams.running(running):
        assert streams.get("a") is running
    assert streams.get("a") is None
    assert streams.stop("peer:b.example", "PEER_SUSPENDED") == 0


async def test_a_refusal_before_a_frame_ends_the_stream_without_it() -> None:
    async def before(one: Frame) -> None:  # type: ignore[misc]
        if one.note.number == 3:
            raise error("QUOTA_TOTAL")

    async def sink(_data: bytes) -> None:
        return

    running = stream()
    with pytest.raises(TrustnodeError) as stopped:
        await pump(frames(5), sink, running, before=before)  # type: ignore[arg-type]
    assert (stopped.value.reason, running.frames) == ("QUOTA_TOTAL", 2)
