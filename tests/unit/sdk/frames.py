"""Streams as a providing node makes them, whole and broken."""

import hashlib

import pyarrow as pa

from trustnode.core.stream import FrameNote, frame_digest
from trustnode.wire.frame import encode_frame

TABLE = pa.table({"origin": ["EWR", "JFK", None], "n": [1, 2, 3]})


def split(buffer):
    """Header and body of an encapsulated Arrow message."""
    raw = buffer.to_pybytes()
    size = int.from_bytes(raw[4:8], "little")
    return raw[8 : 8 + size], raw[8 + size :]


def frame(header, body=b"", *, number, rows, digest=None):
    """One FlightData with its note."""
    note = FrameNote(number, rows, digest or frame_digest(header, body))
    return encode_frame(header, body, note.to_bytes())


def frames_of(table=TABLE, options=None):
    """The frames of a table: the schema first."""
    made = [frame(*split(table.schema.serialize()), number=1, rows=0)]
    for number, batch in enumerate(table.to_batches(), start=2):
        made.append(frame(*split(batch_bytes(batch, options)), number=number, rows=batch.num_rows))
    return made


def batch_bytes(batch, options=None):
    """The encapsulated message of a batch, with writer options."""
    if options is None:
        return batch.serialize()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    reader = pa.ipc.MessageReader.open_stream(sink.getvalue())
    reader.read_next_message()
    return reader.read_next_message().serialize()


def commitment(salt, messages):
    """h(n), computed without the code under test."""
    from trustnode.wire.frame import parse_frame

    chain = hashlib.sha256(b"trustnode stream v1\n" + salt).digest()
    for message in messages:
        parsed = parse_frame(message)
        chain = hashlib.sha256(chain + frame_digest(parsed.header, parsed.body)).digest()
    return chain.hex()
