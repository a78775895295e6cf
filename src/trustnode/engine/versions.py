"""Which version of its data a source of files has now, for the price of one look at each file.

Decides: when the names of a source alone say which files there are, so that looking at them is enough. Leaves to
others: what a version is (``source.data_version``), sources that are no files (``probing``).
"""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from pathlib import Path
from typing import Final

import msgspec

from trustnode.engine.probing import version_of_files
from trustnode.engine.source import Source

Marks = tuple[tuple[int, ...], ...]
SOURCES_KNOWN: Final = 512
_known: Final[OrderedDict[bytes, tuple[Marks, str]]] = OrderedDict()
_encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode


def known_version(source: Source) -> str:
    """As ``version_now``, where one look at each file is enough to say it; else empty. Blocks for a system call."""
    found = _known.get(_encode(source))
    return found[1] if found is not None and found[0] == _marks(source) else ""


def version_now(source: Source) -> str:
    """The version that a source of files has now; remembered for as long as its files look the same. Blocks.

    Raises:
        TrustnodeError: SOURCE_UNAVAILABLE.
    """
    marks, version = _marks(source), version_of_files(source)
    if marks:
        # Looked at before: a file that changes in between is looked at again the next time.
        _known[_encode(source)] = marks, version
        while len(_known) > SOURCES_KNOWN:
            _known.popitem(last=False)
    return version


def _marks(source: Source) -> Marks:
    """What the system says of each file that is named; empty where the names alone do not say which files there are."""
    if source.kind not in ("parquet", "csv", "json"):
        return ()
    location = Path(source.location)
    try:
        paths = [location / file for file in source.tables.values()] if location.is_dir() else [location]
        stats = [os.stat(path) for path in paths]  # noqa: PTH116 - one system call
    except (OSError, ValueError):
        return ()
    if not all(stat.S_ISREG(one.st_mode) for one in stats):
        return ()
    return tuple((one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for one in stats)
