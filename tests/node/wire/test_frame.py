"""Data frames, read without a parser: the same as protobuf reads them, or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustnode.arrow import flight_pb2
from trustnode.errors import TrustnodeError
from trustnode.wire.frame import encode_frame, parse_frame

parts = st.binary(max_size=300)


@given(parts, parts, parts)
def test_a_frame_is_what_protobuf_writes_and_reads(header, body, metadata):
    message = encode_frame(header, body, metadata)
    assert (
        message == flight_pb2.FlightData(data_header=header, app_metadata=metadata, data_body=body).SerializeToString()
    )
    frame = parse_frame(message)
    assert (bytes(frame.header), bytes(frame.app_metadata), bytes(frame.body)) == (header, metadata, body)


@given(st.binary(max_size=200))
def test_what_is_accepted_is_what_protobuf_reads(data):
    try:
        frame = parse_frame(data)
    except TrustnodeError:
        return
    read = flight_pb2.FlightData.FromString(data)
    assert (bytes(frame.header), bytes(frame.body)) == (read.data_header, read.data_body)


def test_the_body_is_not_copied():
    message = encode_frame(b"h", bytes(1_000_000))
    assert parse_frame(message).body.obj is message


@pytest.mark.parametrize(
    "data",
    [
        b"\x12",
        b"\x12\x05abc",
        b"\x12\x01a\x12\x01b",
        b"\x22\x01a",
        b"\x10\x01",
        b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x12\xff\xff\xff\xff\x7f",
        b"\x80",
    ],
    ids=[
        "no length",
        "cut short",
        "header twice",
        "unknown field",
        "varint field",
        "endless length",
        "huge length",
        "half a tag",
    ],
)
def test_a_malformed_frame_is_refused(data):
    with pytest.raises(TrustnodeError) as caught:
        parse_frame(data)
    assert caught.value.reason == "MESSAGE_UNPARSABLE"


def test_a_frame_above_its_limit_is_refused_before_it_is_read():
    with pytest.raises(TrustnodeError) as caught:
        parse_frame(bytes(11), max_bytes=10)
    assert caught.value.reason == "FIELD_TOO_LONG"
