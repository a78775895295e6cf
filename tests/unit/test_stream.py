"""Commitments: the vectors of the protocol, and that order and content count."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trustnode.core.access import Query
from trustnode.core.stream import (
    FrameNote,
    chain_next,
    chain_start,
    covers_content,
    frame_digest,
    length_digest,
    plan_commitment,
    query_commitment,
)

SALT = bytes(range(16, 32))


def test_query_commitment_vector() -> None:
    expected = "0fa2a8f228d8a22571b70c6f21dfd5ca39e5c97c1ab48af5c7561b6a99255d37"
    assert query_commitment(SALT, Query("select 1").to_bytes()) == expected


def test_frame_and_stream_vectors() -> None:
    digest = frame_digest(b"\x01\x02\x03", b"\x0a\x0b")
    assert digest.hex() == "76d09ca27867b39c79be8aec86e6a53158645ba7bd4586f3dd17ebf9a629673a"
    chain = chain_next(chain_start(SALT), digest)
    assert chain.hex() == "0b8e502c2d76602726f97a425e80228efee986135d53edd281dd3f3ffbc12633"


def test_a_plan_is_not_a_query() -> None:
    assert plan_commitment(SALT, "select 1") != query_commitment(SALT, b"select 1")


@given(st.binary(max_size=64), st.binary(max_size=64), st.binary(min_size=1, max_size=8))
def test_moving_bytes_between_header_and_body_changes_the_digest(header: bytes, body: bytes, moved: bytes) -> None:
    assert frame_digest(header + moved, body) != frame_digest(header, moved + body)


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=2, max_size=6, unique=True))
def test_the_order_of_frames_counts(digests: list[bytes]) -> None:
    def chain(order: list[bytes]) -> bytes:
        value = chain_start(SALT)
        for digest in order:
            value = chain_next(value, digest)
        return value

    assert chain(digests) != chain(digests[::-1])


@given(st.integers(0, 2**63), st.integers(0, 2**63), st.binary(min_size=32, max_size=32))
def test_frame_notes_survive_the_wire(number: int, rows: int, digest: bytes) -> None:
    note = FrameNote(number, rows, digest)
    assert FrameNote.from_bytes(note.to_bytes()) == note


def test_a_note_covers_the_content_its_length_or_another_frame() -> None:
    header, body = b"head", b"body"
    assert covers_content(FrameNote(1, 1, frame_digest(header, body)), header, body) is True
    assert covers_content(FrameNote(1, 1, length_digest(header, body)), header, body) is False
    assert covers_content(FrameNote(1, 1, length_digest(header, b"")), header, b"") is True
    assert covers_content(FrameNote(1, 1, frame_digest(header, b"other")), header, body) is None
