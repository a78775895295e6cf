"""Which files a source reads, that they lie inside its location, and whether they have changed.

Decides: the path of every file. Leaves to others: what is in them (``reading``). Needs no engine: the node asks here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from trustnode.engine.source.model import SUFFIXES, Kind, Source, bad

_PATTERN_CHARACTERS: Final = frozenset("*?[]{}")


def files(source: Source) -> tuple[Path, ...]:
    """Every file the source reads, resolved; raises FIELD_FORMAT for one that is missing or lies outside."""
    if source.kind == "duckdb":
        return (_file(Path(source.location)),)
    return tuple(path for _, path in members(source))


def data_version(source: Source) -> str:
    """A digest that changes when a file of the source is replaced or written to."""
    digest = hashlib.sha256()
    for path in files(source):
        stat = path.stat()
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def members(source: Source) -> Iterator[tuple[str, Path]]:
    """Name in SQL and file of every table."""
    location = Path(source.location)
    if not location.is_dir():
        if len(source.tables) > 1:
            raise bad("one file holds one table", "tables")
        yield next(iter(source.tables), _name_of(location)), _file(location)
        return
    root = location.resolve()
    for name, file in (source.tables or _listed(source.kind, root)).items():
        path = _file(root / file)
        if not path.is_relative_to(root):
            raise bad("a file of the source must lie below its location", "tables")
        yield name, path


def _listed(kind: Kind, root: Path) -> dict[str, str]:
    found = {_name_of(path): path.name for path in sorted(root.iterdir()) if SUFFIXES.get(path.suffix) == kind}
    if not found:
        raise bad(f"the directory holds no {kind} file")
    return found


def _name_of(path: Path) -> str:
    return re.sub(r"\W+", "_", path.stem).strip("_").lower() or "data"


def _file(path: Path) -> Path:
    try:
        resolved = path.resolve()
        if not resolved.is_file():
            raise bad(f"there is no file {path}")
        resolved.open("rb").close()
        if not resolved.stat().st_size:
            raise bad("the file is empty")
    except (OSError, ValueError) as failure:
        raise bad("the file cannot be read") from failure
    if _PATTERN_CHARACTERS & set(str(resolved)):
        raise bad("the path must not contain any of * ? [ ] { }")
    return resolved
