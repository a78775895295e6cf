"""Frames into Arrow batches.

Decides: which types are decoded, that every batch is validated before anybody reads a value. Leaves to others: bounds
of a message (``core.arrow_header``), what a frame counts for (``delivery``). pyarrow is imported with the first frame.
"""

from __future__ import annotations

import importlib
import struct
from typing import Any, Final

from trustnode.core import arrow_header
from trustnode.core.arrow_header import RECORD_BATCH
from trustnode.errors import error
from trustnode.wire.frame import Frame

EXTRAS: Final = {"pyarrow": "trustnode[arrow]", "pandas": "pandas", "polars": "polars"}


def need(module: str) -> Any:
    """Import an optional module.

    Raises:
        TrustnodeError: USAGE, naming what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        step = f"Install it: pip install '{EXTRAS[module.partition('.')[0]]}'"
        raise error("USAGE", f"{module} is not installed", next_step=step) from None


def check_message(header: bytes | memoryview, body_bytes: int) -> arrow_header.Header:
    """As ``arrow_header.check_message``, in the words of what a node sent.

    Raises:
        TrustnodeError: VERIFICATION_FAILED.
    """
    try:
        return arrow_header.check_message(header, body_bytes)
    except arrow_header.UnfitMessageError as why:
        message = f"the node sent a data frame that is not decoded: {why}"
        raise error("VERIFICATION_FAILED", message, field="frame") from None


class Decoder:
    """Decodes the frames of one stream in order."""

    def __init__(self) -> None:
        self.schema: Any = None
        """``pyarrow.Schema``, from the first frame on."""

    def take(self, frame: Frame, rows: int) -> Any:
        """Decode a frame.

        Args:
            frame: Schema first, then record batches.
            rows: Rows that the frame's note announces.

        Returns:
            A ``pyarrow.RecordBatch``; None for the schema.

        Raises:
            TrustnodeError: VERIFICATION_FAILED.
        """
        header = check_message(frame.header, len(frame.body))
        if (self.schema is None) == (header.kind == RECORD_BATCH):
            raise error("VERIFICATION_FAILED", "a stream has one schema, and it comes first", field="frame")
        if header.rows != rows:
            raise error("VERIFICATION_FAILED", "a frame has another number of rows than its note", field="frame")
        return self._decoded(frame, header.kind)

    def _decoded(self, frame: Frame, kind: int) -> Any:
        pa = need("pyarrow")
        try:
            message = pa.ipc.read_message(_encapsulated(frame))
            if kind != RECORD_BATCH:
                self.schema = _checked_schema(pa.ipc.read_schema(message))
                return None
            batch = pa.ipc.read_record_batch(message, self.schema)
            # Offsets that fall end the process when a value is read (data-plane 4).
            batch.validate(full=True)
        except (pa.ArrowException, OSError, ValueError) as problem:
            raise error("VERIFICATION_FAILED", f"a frame is not valid Arrow: {problem}", field="frame") from None
        return batch


def _encapsulated(frame: Frame) -> bytes:
    prefix = struct.pack("<Ii", 0xFFFFFFFF, len(frame.header))
    return b"".join((prefix, frame.header, frame.body))


def _checked_schema(schema: Any) -> Any:
    """Types whose size does not follow from their bytes are refused."""
    for field in schema:
        if not _is_plain(field.type):
            raise error("VERIFICATION_FAILED", f"column {field.name}: {field.type} is not read here", field=field.name)
    return schema


def _is_plain(kind: Any) -> bool:
    types = need("pyarrow.types")
    if types.is_list(kind) or types.is_large_list(kind):
        return _is_plain(kind.value_type)
    if types.is_struct(kind):
        return all(_is_plain(kind.field(number).type) for number in range(kind.num_fields))
    scalar = types.is_primitive(kind) or types.is_decimal(kind)
    text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    binary = types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    return bool(scalar or text or binary or types.is_null(kind) or types.is_binary_view(kind))
