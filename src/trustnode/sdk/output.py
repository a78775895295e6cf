"""Batches into a file: Parquet, CSV or Arrow, under another name until they are complete.

Decides: formats, that a broken read never leaves a file that looks whole, where the receipt goes. Leaves to others:
reading (``read``).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from trustnode.core import envelope
from trustnode.errors import error
from trustnode.sdk.decoding import need
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

    ``out.arrow`` also gets ``out.arrow.receipt``, the signed receipt.

    Args:
        reader: The access; it is begun, read and ended here.
        path: Ends in .parquet, .csv or .arrow.
        progress: Called after each batch.

    Raises:
        TrustnodeError: USAGE for another ending; what the read fails with. ``path.part`` keeps what came until then.
    """
    target = Path(path)
    check_suffix(target)
    part = target.with_name(target.name + ".part")
    async with reader:
        writer = _writer(part, target.suffix, reader.schema)
        try:
            async for batch in reader:
                writer.write_batch(batch)
                if progress is not None:
                    progress(reader)
        finally:
            writer.close()
    part.replace(target)
    if target.suffix == ".arrow" and reader.receipt_document is not None:
        target.with_name(target.name + ".receipt").write_bytes(envelope.encode(reader.receipt_document))
    return target


def check_suffix(path: Path) -> None:
    """Refuse a file whose format we do not write, before anything is read.

    Raises:
        TrustnodeError: USAGE.
    """
    if path.suffix not in SUFFIXES:
        raise error("USAGE", f"{path.name}: the file ends in {', '.join(SUFFIXES)}", field="output")


def _writer(part: Path, suffix: str, schema: Any) -> BatchWriter:
    made: BatchWriter
    if suffix == ".parquet":
        made = need("pyarrow.parquet").ParquetWriter(part, schema)
    elif suffix == ".csv":
        made = need("pyarrow.csv").CSVWriter(part, schema)
    else:
        made = need("pyarrow").ipc.new_file(part, schema)
    return made
