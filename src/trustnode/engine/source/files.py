"""Which files a source reads, that they lie inside its location, and whether they have changed.

Decides: the path of every file. Leaves to others: what is in them (``reading``). Needs no engine: the node asks here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from trustnode.engine.source.model import DATABASES, SUFFIXES, Kind, Source, bad

MAX_FILES: Final = 1000
"""Files of one table: each is named to the engine, and looked at whenever the source is opened."""
_PATTERN_CHARACTERS: Final = frozenset("*?[]{}")
_SQLITE_MAGIC: Final = b"SQLite format 3\0"
_DUCKDB_MAGIC: Final = b"DUCK"
_NOT_DATA: Final = (".", "_")
"""Marks of other programs in a directory begin so: ``_SUCCESS``, ``.crc``."""


def files(source: Source) -> tuple[Path, ...]:
    """Every file the source reads, resolved; none for a source that is no file.

    Raises:
        InvalidRequest: FIELD_FORMAT for one that is missing, unreadable or outside the location.
    """
    if source.needs_network:
        return ()
    if source.kind in DATABASES:
        return (_database(source),)
    return tuple(path for _, paths in members(source) for path in paths)


def folders(source: Source) -> frozenset[Path]:
    """The directories in which files of the source are looked for."""
    is_listed = source.kind not in DATABASES and not source.needs_network and _is_directory(Path(source.location))
    return frozenset(path.parent for path in files(source)) if is_listed else frozenset()


def engine_files(source: Source) -> tuple[Path, ...]:
    """The files that the engine itself opens; of an SQLite database it sees the rows that it is given and no more."""
    return () if source.kind == "sqlite" else files(source)


def data_version(source: Source) -> str:
    """A digest that changes when a file of the source is replaced, added, removed or written to, whatever its time."""
    digest = hashlib.sha256()
    for path in files(source):
        beside = (path.with_name(f"{path.name}-wal"),) if source.kind == "sqlite" else ()
        for one in (path, *beside):
            digest.update(_mark(one))
    return digest.hexdigest()


def members(source: Source) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """Name in SQL and files of every table."""
    if "\0" in source.location:
        raise bad("the location is no path")
    location = Path(source.location)
    if not _is_directory(location):
        if len(source.tables) > 1:
            raise bad("one file holds one table", "tables")
        yield next(iter(source.tables), _name_of(location)), (_file(location),)
        return
    root = location.resolve()
    named = source.tables or {_name_of(path): path.name for path in _listed(source.kind, root)}
    for name, target in named.items():
        yield name, tuple(_inside(root, path) for path in _targets(source.kind, root, target))


def _targets(kind: Kind, root: Path, target: str) -> list[Path]:
    """The one file that is named, or all of the directory that is named."""
    try:
        path = root / target
        return _listed(kind, path) if path.is_dir() and _is_below(root, path) else [path]
    except (OSError, ValueError) as failure:
        raise bad("a file of the source is not named by its path", "tables") from failure


def _inside(root: Path, path: Path) -> Path:
    if not _is_below(root, path):
        raise bad("a file of the source must lie below its location", "tables")
    return _file(path)


def _is_below(root: Path, path: Path) -> bool:
    try:
        return path.resolve().is_relative_to(root)
    except (OSError, ValueError, RuntimeError):
        return False


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _listed(kind: Kind, folder: Path) -> list[Path]:
    """Files of a kind in a directory, in the order of their names; what lies deeper is not looked for."""
    found = [
        path
        for path in sorted(folder.iterdir())
        if SUFFIXES.get(path.suffix.lower()) == kind and not path.name.startswith(_NOT_DATA)
    ]
    if not found:
        raise bad(f"the directory holds no {kind} file")
    if len(found) > MAX_FILES:
        raise bad(f"a table has at most {MAX_FILES} files; join them into larger ones")
    return found


def _database(source: Source) -> Path:
    path = _file(Path(source.location))
    with path.open("rb") as file:
        head = file.read(16)
    is_sqlite, is_duckdb = head == _SQLITE_MAGIC, head[8:12] == _DUCKDB_MAGIC
    if is_sqlite and source.kind != "sqlite":
        raise bad('the file is an SQLite database; write kind = "sqlite"')
    if is_duckdb and source.kind != "duckdb":
        raise bad('the file is a DuckDB database; write kind = "duckdb"')
    return path


def _mark(path: Path) -> bytes:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return b"-\n"
    return f"{path}\0{stat.st_ino}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}\n".encode()


def _name_of(path: Path) -> str:
    return re.sub(r"\W+", "_", path.stem).strip("_").lower() or "data"


def _file(path: Path) -> Path:
    try:
        resolved = path.resolve()
        if not resolved.is_file():
            raise bad(f"there is no file {str(path)[:256]}")
        resolved.open("rb").close()
        if not resolved.stat().st_size:
            raise bad("the file is empty")
    except (OSError, ValueError) as failure:
        raise bad("the file cannot be read") from failure
    if _PATTERN_CHARACTERS & set(str(resolved)):
        raise bad("the path must not contain any of * ? [ ] { }")
    return resolved
