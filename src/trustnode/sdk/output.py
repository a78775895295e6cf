"""Batches into a file: Parquet, CSV or Arrow, under another name until they are complete.

Decides: formats, that a broken read never leaves a file that looks whole, where the receipt goes. Leaves to others:
reading (``read``), what of a broken read is kept (``partial``).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from trustnode.core import envelope
from trustnode.errors import error
from trustnode.sdk.decoding import need
from trustnode.sdk.partial import PartFile
from trustnode.sdk.read import Reader

SUFFIXES: Final = (".parquet", ".csv", ".arrow")


class BatchWriter(Protocol):
    """What pyarrow's writers have in common."""

    def write_batch(self, batch: Any) -> None:
        """Write one batch."""

    def close(self) -> None:
        """Finish the file."""


async def save(reader: Reader, path: str | Path, progress: Callable[[Reader], None] | None = None) -> Path:
    """Read to the end into a file; it has its name only when it is complete.

    What an earlier call left in ``path.part`` is gone on with, if it was the same read. ``out.arrow`` also gets
    ``out.arrow.receipt``, the signed receipt.

    Args:
        reader: The access; it is begun, read and ended here.
        path: Ends in .parquet, .csv or .arrow.
        progress: Called after each batch.

    Raises:
        TrustnodeError: USAGE for another ending; what the read fails with. ``path.part`` keeps what came until then.
    """
    target = Path(path)
    check_suffix(target)
    part = PartFile(target, reader.digest)
    with part:
        reader.go_on_after(part.before)
        try:
            await _read_all(reader, part, progress)
        finally:
            part.note(reader)
    _finish(part, target)
    if target.suffix == ".arrow" and reader.receipt_document is not None:
        target.with_name(target.name + ".receipt").write_bytes(envelope.encode(reader.receipt_document))
    return target


async def _read_all(reader: Reader, part: PartFile, progress: Callable[[Reader], None] | None) -> None:
    async with reader:
        part.begin(reader.schema)
        async for batch in reader:
            part.add(batch, reader)
            if progress is not None:
                progress(reader)


def _finish(part: PartFile, target: Path) -> None:
    """Turn the rows into the format of the file, which then takes its name."""
    fresh = target.with_name(target.name + ".new")
    with part.batches() as batches:
        writer = _writer(fresh, target.suffix, batches.schema)
        try:
            for batch in batches:
                writer.write_batch(batch)
        finally:
            writer.close()
    fresh.replace(target)
    part.remove()


def check_suffix(path: Path) -> None:
    """Refuse a file whose format we do not write, before anything is read.

    Raises:
        TrustnodeError: USAGE.
    """
    if path.suffix not in SUFFIXES:
        raise error("USAGE", f"{path.name}: the file ends in {', '.join(SUFFIXES)}", field="output")


def _writer(path: Path, suffix: str, schema: Any) -> BatchWriter:
    made: BatchWriter
    if suffix == ".parquet":
        made = need("pyarrow.parquet").ParquetWriter(path, schema)
    elif suffix == ".csv":
        made = need("pyarrow.csv").CSVWriter(path, schema)
    else:
        made = need("pyarrow").ipc.new_file(path, schema)
    return made
