"""What the client counts and decodes, and the frames that it does not decode."""

import struct

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.sdk.frames import TABLE, commitment, frame, frames_of, split

from trustnode.core.access import AccessHeader, DecisionLink, Receipt
from trustnode.core.stream import FrameNote, length_digest
from trustnode.errors import TrustnodeError
from trustnode.sdk.decoding import check_message
from trustnode.sdk.delivery import Delivery
from trustnode.wire.frame import encode_frame, parse_frame

SALT = bytes(range(16))
HEADER = AccessHeader(
    access="6f1de0a5-9f5b-4e0e-8f5c-0d5f0c1e2a3b", stream_salt=SALT.hex(), decision_seq=3, decision_link="a" * 64
)


def receipt(**changes):
    messages = frames_of()
    stated = {
        "frames": len(messages),
        "rows": TABLE.num_rows,
        "bytes": sum(map(len, messages)),
        "stream_commitment": commitment(SALT, messages),
        **changes,
    }
    return Receipt(
        suite="tn1",
        id=HEADER.access,
        iss="gz.example",
        aud=("gz.example",),
        time="2026-11-24T00:00:00.000Z",
        access=HEADER.access,
        request_sha256="b" * 64,
        agreement="C",
        agreement_sha256="c" * 64,
        policy_sha256="d" * 64,
        decision=DecisionLink(3, "a" * 64),
        plan_commitment="e" * 64,
        outcome="COMPLETE",
        stream_salt=SALT.hex(),
        meter=(),
        started="2026-11-24T00:00:00.000Z",
        ended="2026-11-24T00:00:00.000Z",
        **stated,
    )


def delivered(messages=None):
    delivery = Delivery(HEADER)
    batches = [batch for message in (messages or frames_of()) if (batch := delivery.take(message)) is not None]
    return delivery, batches


def test_what_was_sent_is_what_is_decoded_and_counted():
    delivery, batches = delivered()

    assert pa.Table.from_batches(batches) == TABLE
    assert (delivery.frames, delivery.rows) == (2, 3)
    assert delivery.verdict(receipt()) == "EQUAL"


@pytest.mark.parametrize(
    "changes, verdict",
    [
        ({"rows": 4}, "DIFFERENT"),
        ({"bytes": 1}, "DIFFERENT"),
        ({"stream_commitment": "0" * 64}, "DIFFERENT"),
        ({"frames": 9}, "LESS"),
        ({"frames": 1}, "DIFFERENT"),
    ],
)
def test_a_receipt_that_says_something_else_gets_its_verdict(changes, verdict):
    delivery, _ = delivered()

    assert delivery.verdict(receipt(**changes)) == verdict


def by_length(message, number, rows):
    """The same frame with the digest of its length in the note."""
    shown = parse_frame(message)
    note = FrameNote(number, rows, length_digest(shown.header, shown.body)).to_bytes()
    return encode_frame(bytes(shown.header), bytes(shown.body), note)


def test_frames_digested_by_length_count_only_where_the_receipt_says_so():
    schema, batch = frames_of()
    delivery, _ = delivered([schema, by_length(batch, 2, TABLE.num_rows)])
    stated = {
        "frames": 2, "rows": 3, "bytes": delivery.size_bytes, "stream_commitment": delivery.chain.hex(),
    }  # fmt: skip
    assert delivery.verdict(receipt(**stated, content_digest=False)) == "EQUAL"
    assert delivery.verdict(receipt(**stated)) == "DIFFERENT"
    assert delivered()[0].verdict(receipt()) == "EQUAL"


def refused(*messages):
    with pytest.raises(TrustnodeError) as caught:
        delivered(list(messages))
    return caught.value.reason


def test_a_byte_changed_on_the_way_is_noticed():
    schema, batch = frames_of()
    for at in (len(batch) - 1, len(batch) // 2):
        altered = bytearray(batch)
        altered[at] ^= 1
        assert refused(schema, bytes(altered)) in ("VERIFICATION_FAILED", "MESSAGE_UNPARSABLE")


def test_a_frame_that_is_missing_or_comes_twice_is_noticed():
    schema, batch = frames_of()

    assert refused(batch) == "VERIFICATION_FAILED"
    assert refused(schema, batch, batch) == "VERIFICATION_FAILED"
    assert refused(schema, schema) == "VERIFICATION_FAILED"


def test_a_frame_without_note_is_refused():
    assert refused(encode_frame(*split(TABLE.schema.serialize()))) == "VERIFICATION_FAILED"


def test_rows_that_the_note_does_not_announce_are_refused():
    schema, _ = frames_of()
    header, body = split(TABLE.to_batches()[0].serialize())

    assert refused(schema, frame(header, body, number=2, rows=2)) == "VERIFICATION_FAILED"


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_d1d_a_compressed_batch_is_not_decoded(codec):
    zeros = pa.table({"n": [0] * 100_000})

    assert refused(*frames_of(zeros, pa.ipc.IpcWriteOptions(compression=codec))) == "VERIFICATION_FAILED"


def test_d1e_a_dictionary_batch_is_not_decoded():
    column = pa.array(["a", "b", "a"]).dictionary_encode()

    assert refused(*frames_of(pa.table({"a": column}))) == "VERIFICATION_FAILED"


@pytest.mark.parametrize(
    "column",
    [
        pa.RunEndEncodedArray.from_arrays(pa.array([3], pa.int32()), pa.array([1])),
        pa.array([[1]], pa.list_view(pa.int64())),
        pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
    ],
    ids=["run-end", "list view", "map"],
)
def test_d1e_a_type_whose_size_does_not_follow_from_its_bytes_is_refused(column):
    assert refused(*frames_of(pa.table({"a": column}))) == "VERIFICATION_FAILED"


def test_d1e_falling_offsets_are_found_before_a_value_is_read():
    schema = pa.schema([("s", pa.string())])
    batch = pa.RecordBatch.from_arrays([pa.array(["aaaa", "bbbb"])], schema=schema)
    header, body = split(batch.serialize())
    offsets = struct.pack("<iii", 0, 4, 8)
    broken = body.replace(offsets, struct.pack("<iii", 0, 8, 4), 1)

    messages = [frame(*split(schema.serialize()), number=1, rows=0), frame(header, broken, number=2, rows=2)]
    assert broken != body
    assert refused(*messages) == "VERIFICATION_FAILED"


def test_d1e_a_null_column_of_many_rows_is_refused():
    count = (1 << 24) + 1
    schema = pa.schema([("z", pa.null())])
    batch = pa.RecordBatch.from_arrays([pa.nulls(count)], schema=schema)
    messages = [
        frame(*split(schema.serialize()), number=1, rows=0),
        frame(*split(batch.serialize()), number=2, rows=count),
    ]

    assert refused(*messages) == "VERIFICATION_FAILED"


def test_d1e_a_body_of_another_length_than_announced_is_refused():
    header, body = split(TABLE.to_batches()[0].serialize())

    with pytest.raises(TrustnodeError):
        check_message(header, len(body) + 8)


@pytest.mark.parametrize(
    "place", [(-8, None), (0, -1), (0, 1 << 40), (1 << 62, None)], ids=["before", "negative", "long", "far"]
)
def test_d1e_a_buffer_outside_its_body_is_refused(place):
    header, body = split(TABLE.to_batches()[0].serialize())
    places = [at for at in range(len(header) - 15) if struct.unpack_from("<qq", header, at)[1] == 24]
    last = next(at for at in places if 0 < struct.unpack_from("<qq", header, at)[0] < len(body))  # three numbers
    offset, length = struct.unpack_from("<qq", header, last)
    altered = bytearray(header)
    struct.pack_into("<qq", altered, last, place[0] or offset, length if place[1] is None else place[1])

    schema = frames_of()[0]
    assert refused(schema, frame(bytes(altered), body, number=2, rows=3)) == "VERIFICATION_FAILED"


def test_d1e_a_hundred_thousand_columns_are_refused_before_they_are_decoded():
    schema = pa.schema([pa.field(str(number), pa.int8()) for number in range(100_000)])

    assert refused(frame(*split(schema.serialize()), number=1, rows=0)) == "VERIFICATION_FAILED"


def test_d1e_columns_inside_each_other_two_thousand_deep_are_refused():
    kind = pa.int8()
    for _ in range(2000):
        kind = pa.list_(kind)

    assert refused(frame(*split(pa.schema([("x", kind)]).serialize()), number=1, rows=0)) == "VERIFICATION_FAILED"


def checked(header, size):
    """The header, or the reason why it is refused."""
    try:
        return check_message(header, size)
    except TrustnodeError as refusal:
        return refusal.reason


@given(st.binary(max_size=300))
def test_any_bytes_as_header_are_refused_or_read_never_worse(raw):
    found = checked(raw, 0)

    assert found == "VERIFICATION_FAILED" or found.rows <= 1 << 24


@given(st.data())
def test_a_header_with_one_changed_byte_is_refused_or_still_bounded(data):
    header, body = split(TABLE.to_batches()[0].serialize())
    altered = bytearray(header)
    altered[data.draw(st.integers(0, len(header) - 1))] = data.draw(st.integers(0, 255))
    found = checked(bytes(altered), len(body))

    assert found == "VERIFICATION_FAILED" or found.rows <= 1 << 24
