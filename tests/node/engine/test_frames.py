"""Finished FlightData frames: read back by pyarrow, cut by size, counted, with the digest of the protocol."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pytest

from trustnode.core.policy.schema import Column
from trustnode.core.stream import FrameNote, frame_digest
from trustnode.engine.frames import FrameEncoder, batch_rows, limited
from trustnode.errors import TrustnodeError


def fields(data):
    """Number -> bytes of a protobuf message of length-delimited fields."""
    found, place = {}, 0

    def varint():
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while place < len(data):
        tag, length = varint(), varint()
        assert tag & 7 == 2
        found[tag >> 3] = data[place : place + length]
        place += length
    return found


def decode(frames):
    schema = batches = None
    for frame in frames:
        parts = fields(frame)
        message = b"\xff\xff\xff\xff" + len(parts[2]).to_bytes(4, "little") + parts[2] + parts.get(1000, b"")
        if schema is None:
            schema, batches = pa.ipc.read_schema(pa.py_buffer(message)), []
        else:
            batches.append(pa.ipc.read_record_batch(pa.py_buffer(message), schema))
    return pa.Table.from_batches(batches, schema)


def encode(table, *, max_frame_bytes=1 << 20, content_digest=True):
    encoder = FrameEncoder(table.schema, max_frame_bytes=max_frame_bytes, content_digest=content_digest)
    frames = [encoder.schema()]
    for batch in table.to_batches():
        frames.extend(encoder.batches(batch))
    return [(FrameNote.from_bytes(frame.note), b"".join(frame.parts)) for frame in frames]


TABLE = pa.table({"a": range(5000), "b": [f"text {i}" for i in range(5000)], "c": [None, 1.5] * 2500})


def test_pyarrow_reads_back_what_was_encoded():
    assert decode(data for _, data in encode(TABLE)).equals(TABLE)


def test_a_frame_carries_its_own_note_and_the_digest_of_the_protocol():
    for number, (note, data) in enumerate(encode(TABLE, max_frame_bytes=20_000), 1):
        parts = fields(data)
        assert parts[3] == note.to_bytes()
        assert note.number == number
        assert note.digest == frame_digest(parts[2], parts.get(1000, b""))


def test_without_content_digest_the_lengths_are_still_bound():
    for note, data in encode(TABLE, content_digest=False):
        header, body = fields(data)[2], fields(data).get(1000, b"")
        expected = len(header).to_bytes(4, "big") + header + len(body).to_bytes(8, "big")
        assert note.digest == hashlib.sha256(expected).digest()


def test_frames_are_cut_by_size_and_lose_no_row():
    frames = encode(TABLE, max_frame_bytes=20_000)
    assert len(frames) > 5
    assert sum(note.rows for note, _ in frames) == TABLE.num_rows
    assert decode(data for _, data in frames).equals(TABLE)


def test_one_long_text_among_short_ones_is_cut_out():
    table = pa.table({"a": ["x"] * 2000 + ["y" * 2_000_000] + ["x"] * 2000})
    frames = encode(table)
    assert max(len(data) for _, data in frames) < 3 << 20
    assert decode(data for _, data in frames).equals(table)


def test_a_row_larger_than_a_message_is_refused():
    with pytest.raises(TrustnodeError) as caught:
        encode(pa.table({"a": ["y" * 4_000_000]}))
    assert caught.value.reason == "QUERY_TOO_COSTLY"


def test_dictionaries_are_delivered_as_their_values():
    table = pa.table({"a": pa.array(["x", "y", None, "x"]).dictionary_encode()})
    assert decode(data for _, data in encode(table)).to_pydict() == {"a": ["x", "y", None, "x"]}


@pytest.mark.parametrize(
    "rows, taken, quota",
    [(0, 0, True), (3, 3, True), (7, 7, True), (10, 10, False), (11, 10, False), (None, 10, False)],
)
def test_a_row_budget_is_never_exceeded_and_says_whether_more_was_there(rows, taken, quota):
    batches = [pa.record_batch({"a": list(range(size))}) for size in (4, 0, 3, 3)]
    found = list(limited(iter(batches), rows))
    assert sum(batch.num_rows for batch, _ in found) == taken
    assert [flag for _, flag in found][-1:] == [quota]
    assert not any(flag for _, flag in found[:-1])


def test_rows_asked_for_are_whole_vectors_of_about_one_frame():
    narrow, wide = [Column(name="a", type="int64")], [Column(name=f"c{i}", type="utf8") for i in range(200)]
    assert batch_rows(narrow, 1 << 20) == 131_072
    assert batch_rows(wide, 1 << 20) == 2048
