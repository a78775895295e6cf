"""Parquet files in an S3-compatible object store, read through pyarrow.

Decides: what a location may say, which objects a table is, which types are which words, that an object which is
replaced while it is read ends the stream. Leaves to others: where the keys lie (``keys.credentials``). Only a worker
gets here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
from pyarrow import dataset, fs

from trustnode.core.policy.governed import Predicate
from trustnode.core.policy.schema import Column, columns
from trustnode.engine.source import pushdown
from trustnode.engine.source.arrow import Batches
from trustnode.engine.source.files import MAX_FILES
from trustnode.engine.source.model import Secrets, Source, SourceFailed, Table, bad
from trustnode.engine.source.postgres import PLACE_OF_SECRETS

SUFFIX: Final = ".parquet"
_SECONDS: Final = 5.0
_ATTEMPTS: Final = 2
_AT_ONCE: Final = 8
_BATCH_ROWS: Final = 16384
_MEASURED_FILES: Final = 16
"""Of more files than this the size is not looked up: the table is a stream."""
_QUERY_KEYS: Final = frozenset({"endpoint", "region"})
_SEGMENT: Final = re.compile(r"[^/\\\x00-\x1f\x7f]{1,255}")
"""One part of an object's key."""


class Place(NamedTuple):
    """What a location says."""

    bucket: str
    key: str
    """Of one object, or of what stands for a folder."""
    endpoint: str
    region: str


@contextlib.contextmanager
def _asked() -> Iterator[None]:
    """Turn what the client of the store says into what may be logged: a code of the store, and no value."""
    try:
        yield
    except FileNotFoundError:
        raise SourceFailed("the store has no such object") from None
    except (OSError, pa.ArrowException) as failure:
        code = re.search(r"AWS Error ([A-Z_]+)", str(failure))
        told = f"answers {code[1]}" if code else f"gives no Parquet file ({type(failure).__name__})"
        raise SourceFailed(f"the store {told}") from None


class ObjectSource:
    """Parquet objects of one bucket."""

    def __init__(self, source: Source, secrets: Secrets) -> None:
        """Keep how it is reached; nothing is asked yet.

        Raises:
            InvalidRequest: FIELD_FORMAT for a location that is not understood.
        """
        self._source = source
        self._place = place_of(source.location)
        self._store = _store(self._place, secrets.get(source.credentials))
        self._datasets: dict[str, tuple[dataset.FileSystemDataset, Mapping[str, str]]] = {}

    def names(self) -> Sequence[str]:
        """Names in SQL of its tables."""
        with _asked():
            return tuple(self._targets())

    def table(self, name: str, *, counted: bool) -> Table:
        """Columns by their types in the first object; rows are counted from what the objects say of themselves."""
        with _asked():
            opened, _ = self._dataset(name)
            count = opened.count_rows() if counted else None
        known = [(field, word_of(field.type)) for field in opened.schema]
        found = tuple(_column(field, word) for field, word in known if word)
        if not found:
            raise bad("the source has no column that can be delivered")
        return Table(name, found, tuple(field.name for field, word in known if not word), count)

    def size_bytes(self, name: str) -> int | None:
        """Uncompressed size, as the objects say it."""
        opened, _ = self._dataset(name)
        if len(opened.files) > _MEASURED_FILES:
            return None
        with _asked():
            return sum(int(group.total_byte_size) for piece in opened.get_fragments() for group in piece.row_groups)

    def batches(self, name: str, wanted: Sequence[Column], rows: Predicate | None) -> Batches:
        """Rows of these columns, object after object; each is looked at again when it has been read."""
        opened, versions = self._dataset(name)
        known = columns(self.table(name, counted=False).columns)
        condition = pushdown.arrow_filter(rows, known, opened.schema)
        listed = [column.name for column in wanted]
        with _asked():
            for piece in opened.get_fragments():
                yield from piece.scanner(
                schema=opened.schema, columns=listed, filter=condition, batch_size=_BATCH_ROWS, batch_readahead=2,
                fragment_readahead=1,
            ).to_batches()  # fmt: skip
                if self._tag(piece.path) != versions[piece.path]:
                    raise SourceFailed(f"{piece.path} has changed while it was read")

    def version(self) -> str:
        """A digest over name, size and entity tag of every object."""
        digest = hashlib.sha256()
        with _asked():
            for paths in self._targets().values():
                for path, tag in self._tags(paths).items():
                    digest.update(f"{path}\0{tag}\n".encode())
        return digest.hexdigest()

    def _dataset(self, name: str) -> tuple[dataset.FileSystemDataset, Mapping[str, str]]:
        if name not in self._datasets:
            paths = self._targets()[name]
            versions = self._tags(paths)
            opened = dataset.dataset(list(paths), filesystem=self._store, format="parquet")
            for piece in opened.get_fragments():
                if len(paths) > 1 and not piece.physical_schema.equals(opened.schema):
                    raise bad(f"{piece.path} has other columns than {paths[0]}", "tables")
            self._datasets[name] = opened, versions
        return self._datasets[name]

    def _targets(self) -> dict[str, tuple[str, ...]]:
        """Name in SQL -> ``bucket/key`` of its objects."""
        root = f"{self._place.bucket}/{self._place.key}".rstrip("/")
        if self._place.key.endswith(SUFFIX):
            if len(self._source.tables) > 1:
                raise bad("one object holds one table", "tables")
            return {next(iter(self._source.tables), _name_of(root)): (root,)}
        if self._source.tables:
            return {name: self._below(root, target) for name, target in self._source.tables.items()}
        return {_name_of(path): (path,) for path in self._listed(root)}

    def _below(self, root: str, target: str) -> tuple[str, ...]:
        parts = [part for part in target.split("/") if part != "."] if target else []
        if any(part == ".." or not _SEGMENT.fullmatch(part) for part in parts):
            raise bad("an object of the source must lie below its location", "tables")
        path = "/".join([root, *parts])
        return (path,) if path.endswith(SUFFIX) else self._listed(path)

    def _listed(self, folder: str) -> tuple[str, ...]:
        found = sorted(
            info.path
            for info in self._store.get_file_info(fs.FileSelector(folder, allow_not_found=True))
            if info.type == fs.FileType.File and info.base_name.endswith(SUFFIX) and info.base_name[0] not in "._"
        )
        if not found:
            raise bad(f"nothing in {folder[:256]} ends in {SUFFIX}")
        if len(found) > MAX_FILES:
            raise bad(f"a table has at most {MAX_FILES} objects; join them into larger ones")
        return tuple(found)

    def _tags(self, paths: Sequence[str]) -> dict[str, str]:
        with ThreadPoolExecutor(min(_AT_ONCE, len(paths))) as executor:
            return dict(zip(paths, executor.map(self._tag, paths), strict=True))

    def _tag(self, path: str) -> str:
        with self._store.open_input_file(path) as file:
            tag = file.metadata().get(b"ETag", b"").decode()
            return f"{file.size()} {tag}"


TYPES: Final[Mapping[pa.DataType, str]] = {
    pa.float32(): "float32", pa.float64(): "float64", pa.string(): "utf8", pa.large_string(): "utf8",
    pa.bool_(): "bool", pa.date32(): "date32", pa.time32("ms"): "time", pa.time64("us"): "time",
    pa.time64("ns"): "time", pa.binary(): "binary", pa.large_binary(): "binary",
    **{getattr(pa, f"{kind}int{bits}")(): f"{kind}int{bits}" for kind in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip
"""Arrow type of a file -> word; decimals, timestamps and dictionaries of text come besides."""


def word_of(kind: pa.DataType) -> str | None:
    """The catalogue's word for a type of a file; None when such a column is not delivered."""
    if pa.types.is_decimal128(kind) and 0 <= kind.scale <= kind.precision:
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "timestamptz" if kind.tz else "timestamp"
    if pa.types.is_dictionary(kind):
        return "utf8" if TYPES.get(kind.value_type) == "utf8" else None
    return TYPES.get(kind)


def place_of(location: str) -> Place:
    """Read a location ``s3://BUCKET/KEY?endpoint=URL&region=NAME``.

    Raises:
        InvalidRequest: FIELD_FORMAT.
    """
    form = "write: s3://BUCKET/KEY, with ?endpoint=https://HOST&region=NAME where the store is another than Amazon's"
    try:
        parts = urlsplit(location)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        endpoint = urlsplit(query.get("endpoint", ""))
        has_secret = "@" in parts.netloc or "@" in endpoint.netloc
    except ValueError as failure:
        raise bad(f"the location is no address; {form}") from failure
    if has_secret or query.keys() & {"access_key", "secret_key", "session_token"}:
        raise bad("a key does not stand in the location; " + PLACE_OF_SECRETS)
    key = parts.path.strip("/")
    segments = key.split("/") if key else []
    if (
        parts.scheme != "s3" or not _SEGMENT.fullmatch(parts.netloc) or parts.fragment or query.keys() - _QUERY_KEYS
        or any(part in {".", ".."} or not _SEGMENT.fullmatch(part) for part in segments)
        or ("endpoint" in query and endpoint.scheme not in {"http", "https"})
    ):  # fmt: skip
        raise bad(f"the location is no address; {form}")
    return Place(parts.netloc, key, query.get("endpoint", ""), query.get("region", "us-east-1"))


def _store(place: Place, secret: Mapping[str, str] | None) -> fs.S3FileSystem:
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"  # keys come from the provider's home and from nowhere else
    endpoint = urlsplit(place.endpoint)
    keys = secret or {}
    return fs.S3FileSystem(
        access_key=keys.get("access_key"), secret_key=keys.get("secret_key"), session_token=keys.get("session_token"),
        anonymous=secret is None, region=place.region, scheme=endpoint.scheme or "https",
        endpoint_override=endpoint.netloc or None, connect_timeout=_SECONDS, request_timeout=_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS), allow_bucket_creation=False,
        allow_bucket_deletion=False, background_writes=False,
    )  # fmt: skip


def _name_of(path: str) -> str:
    stem = path.rpartition("/")[2].removesuffix(SUFFIX)
    return re.sub(r"\W+", "_", stem).strip("_").lower() or "data"


def _column(field: pa.Field, word: str) -> Column:
    try:
        return Column(name=field.name, type=word, nullable=field.nullable)
    except ValueError as failure:
        raise bad("a column of the source has a name that cannot be used") from failure
