"""The text of a product file: its tables and keys, read strictly, and where each of them stands.

Decides: which keys there are, which must stand there, that nothing stands there empty, and how a refusal names file,
line and column. Leaves to others: what the values mean and which documents they become (``product_file``).
Source: surface 8.
"""

from __future__ import annotations

import re
import tomllib
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec

from trustnode import vocabulary
from trustnode.errors import TrustnodeError, error
from trustnode.sdk.toml_position import Path as KeyPath
from trustnode.sdk.toml_position import Positions

MAX_FILE_BYTES: Final = 1024 * 1024

Text = Annotated[str, msgspec.Meta(min_length=1)]
Words = Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the file."""


class Classes(Shape, frozen=True, kw_only=True):
    """``classes``: codes, Chinese labels or English words of the classifications."""

    topic: Text
    scene: Text
    industry: Text


class Facts(Shape, frozen=True, kw_only=True):
    """``facts``: form, how often it is updated, how the data were obtained."""

    form: Text
    updates: Text
    source: Text


class PersonalLine(Shape, frozen=True, kw_only=True):
    """``personal``: what the data say about persons."""

    kind: Text
    processing: Text
    method: Text | None = None
    sensitive: Words | None = None
    legal_basis: Text | None = None
    consent: Text | None = None
    assessment: Text | None = None


class PublicLine(Shape, frozen=True, kw_only=True):
    """``[product.public]``: who authorised the use of public data."""

    authorising_body: Text
    authorisation: Text
    fee_mode: Text


class RightLine(Shape, frozen=True, kw_only=True):
    """One of ``rights``."""

    right: Words
    holder: Text
    basis: Text
    exclusivity: Text = "NON_EXCLUSIVE"


class ColumnLine(Shape, frozen=True, kw_only=True):
    """``[product.columns]``: unit and description of one column."""

    unit: Text = ""
    description: Text = ""


class ProductTable(Shape, frozen=True, kw_only=True):
    """``[product]``."""

    name: Text
    title: Text
    title_zh: Text = ""
    abstract: Text
    provider: Text
    licence: Text
    category: Text
    level: Text
    level_basis: Text
    classes: Classes
    facts: Facts
    personal: PersonalLine
    public: PublicLine | None = None
    source_statement: Text
    rights: Annotated[tuple[RightLine, ...], msgspec.Meta(min_length=1)]
    cross_border: bool
    zone: Text
    columns: dict[str, ColumnLine] | None = None
    terms: dict[str, Any] | None = None


class TableLine(Shape, frozen=True, kw_only=True):
    """``[[resource.table]]``: one of several tables."""

    name: Text
    location: Text


class Resource(Shape, frozen=True, kw_only=True):
    """``[resource]``: how the node reaches the data."""

    kind: Text
    location: Text
    table: Text | tuple[TableLine, ...] = ""
    credentials: Text | None = None
    """Name of a file below the node's home: ``credentials/NAME.toml``."""
    version: Text | None = None
    """PostgreSQL: a query whose one value changes with the data."""
    content_digest: bool = True
    """False: what is delivered is digested by lengths only, which is faster; receipts say so."""


class OfferTable(Shape, frozen=True, kw_only=True):
    """``[[offer]]``."""

    name: Text
    price: Text
    approval: Text
    until: Text | None = None
    max_agreements: int | None = None
    terms: dict[str, Any] | None = None
    odrl: Text | None = None
    """A file with the policy, in place of ``terms``."""


class ListingTable(Shape, frozen=True, kw_only=True):
    """``[listing]``: who may see it."""

    visibility: Text = "NETWORK"


class ExampleTable(Shape, frozen=True, kw_only=True):
    """``[[test]]``: an example request and what must come of it."""

    name: Text
    expect: Text
    offer: Text | None = None
    """Only under this offer; without it, under each."""
    purpose: Text = ""
    who: Words | None = None
    places: Words | None = None
    time: Text = ""
    signed: Text = ""
    operation: Text = ""
    done: Words | None = None
    overdue: Words | None = None
    sql: Text = ""
    """A query that is planned, too, where the decision allows it."""


class Contents(Shape, frozen=True, kw_only=True):
    """The whole file."""

    product: ProductTable
    resource: Resource
    offer: tuple[OfferTable, ...] = ()
    listing: ListingTable = ListingTable()
    test: tuple[ExampleTable, ...] = ()


T = TypeVar("T")


@dataclass(frozen=True)
class ProductText:
    """A product file as it stands: decoded, with the place of every key."""

    path: Path
    contents: Contents
    positions: Positions

    def at(self, base: KeyPath, step: Callable[[], T]) -> T:
        """Run ``step``; a refusal gets file, line and column of the key it names, sought from ``base``."""
        try:
            return step()
        except TrustnodeError as problem:
            place = _find(problem, base, self.positions, self.contents)
            raise located(problem, self.path, self.positions, place) from None


# --- reading --------------------------------------------------------------------------------------------------------


def read(path: Path) -> ProductText:
    """Read a product file.

    Raises:
        TrustnodeError: NOT_FOUND, FIELD_TOO_LONG; FIELD_MISSING, FIELD_FORMAT, VOCABULARY_UNKNOWN with ``file``,
            ``line`` and ``column``.
    """
    text = _read(path)
    table = _parse(path, text)
    positions = Positions(text)
    return ProductText(path, _decode(path, table, positions, Contents), positions)


class _Examples(Shape, frozen=True, kw_only=True):
    """A file that holds nothing but examples."""

    test: tuple[ExampleTable, ...]


def read_examples(path: Path) -> tuple[ExampleTable, ...]:
    """Read a file of ``[[test]]`` tables.

    Raises:
        TrustnodeError: As ``read``.
    """
    text = _read(path)
    return _decode(path, _parse(path, text), Positions(text), _Examples).test


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise error(
                "FIELD_TOO_LONG", f"{path.name}: a product file has at most {MAX_FILE_BYTES} bytes", file=str(path)
            )
        return path.read_text(encoding="utf-8")
    except OSError as problem:
        raise error("NOT_FOUND", f"{path} cannot be read: {problem.strerror}", file=str(path)) from None
    except UnicodeDecodeError:
        raise error("FIELD_FORMAT", f"{path.name} is not UTF-8 text", file=str(path)) from None


_TOML_PLACE: Final = re.compile(r"(?P<what>.*) \(at line (?P<line>\d+), column (?P<column>\d+)\)\Z", re.DOTALL)


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text, parse_float=str)
    except tomllib.TOMLDecodeError as problem:
        match = _TOML_PLACE.match(str(problem))
        what, line, column = match.groups() if match else (str(problem), str(text.count("\n") + 1), "1")
        message = f"line {line}, column {column}: {what[:1].lower()}{what[1:]}"
        raise error("FIELD_FORMAT", message, file=str(path), line=line, column=column) from None


S = TypeVar("S", bound=Shape)


def _decode(path: Path, table: dict[str, Any], positions: Positions, shape: type[S]) -> S:
    try:
        _check_keys(table, shape, ())
        return msgspec.convert(table, shape)
    except _At as problem:
        raise located(problem.cause, path, positions, problem.path) from None
    except msgspec.ValidationError as problem:
        what, _, place = str(problem).partition(" - at `$")
        raise located(_mistyped(what), path, positions, _path_of(place.rstrip("`"))) from None


class _At(Exception):
    """A refusal and the path of the key that it is about."""

    def __init__(self, cause: TrustnodeError, path: KeyPath) -> None:
        self.cause, self.path = cause, path
        super().__init__(str(cause))


def _check_keys(table: Mapping[str, Any], shape: type[msgspec.Struct], path: KeyPath) -> None:
    """Refuse unknown keys, what is missing, and what stands there empty, anywhere below ``shape``."""
    fields = {field.name: field for field in msgspec.structs.fields(shape)}
    for key, value in table.items():
        if key not in fields:
            raise _At(_unknown_key(path, key, fields), (*path, key))
        _check_value(value, fields[key].type, (*path, key))
    for name, field in fields.items():
        if field.required and name not in table:
            raise _At(error("FIELD_MISSING", f"{_where(path)} needs {name}", field=name), path)


def _unknown_key(path: KeyPath, key: str, known: Mapping[str, Any]) -> TrustnodeError:
    return typing.cast("TrustnodeError", vocabulary.unknown(_where(path), key, known))


def _where(path: KeyPath) -> str:
    words = [str(part) for part in path if isinstance(part, str)]
    return f"[{'.'.join(words)}]" if words else "the file"


def _check_value(value: Any, kind: Any, path: KeyPath) -> None:
    if value in ("", [], {}):
        raise _At(error("FIELD_MISSING", f"{path[-1]} stands there and is empty", field=str(path[-1])), path)
    shape = _shape_in(kind)
    if shape is None:
        return
    if isinstance(value, dict) and not _is_map(kind):
        _check_keys(value, shape, path)
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if _is_map(kind) or isinstance(value, list):
        for name, item in members:
            if isinstance(item, dict):
                _check_keys(item, shape, (*path, name))


def _shape_in(kind: Any) -> type[msgspec.Struct] | None:
    """The table shape inside a type such as ``tuple[Shape, ...] | None``."""
    if isinstance(kind, type) and issubclass(kind, Shape):
        return kind
    return next((found for part in typing.get_args(kind) if (found := _shape_in(part))), None)


def _is_map(kind: Any) -> bool:
    return typing.get_origin(kind) is dict or any(_is_map(part) for part in typing.get_args(kind))


def _mistyped(what: str) -> TrustnodeError:
    words = {
        "`str`": "text in quotes",
        "`int`": "a number",
        "`bool`": "true or false",
        "`array`": "a list",
        "`object`": "a table",
    }
    for name, word in words.items():
        what = what.replace(name, word)
    return error("FIELD_FORMAT", what[:1].lower() + what[1:])


def _path_of(place: str) -> KeyPath:
    parts = re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", place)
    return tuple(int(number) if number else name for name, number in parts)


# --- places ---------------------------------------------------------------------------------------------------------

_ALIASES: Final[Mapping[str, KeyPath]] = {
    "topic": ("classes", "topic"),
    "scene": ("classes", "scene"),
    "form": ("facts", "form"),
    "updates": ("facts", "updates"),
    "source": ("facts", "source"),
    "tables": ("table",),
}
"""Field of a document -> key below [product] or [resource]."""


_TYPED: Final = re.compile(r"at `\$\.([^`]+)`")
"""Where msgspec says that a value is of the wrong kind."""


def _find(problem: TrustnodeError, base: KeyPath, positions: Positions, contents: Contents) -> KeyPath:
    """The path of the key, or of the item of its list, that a refusal names in ``field``."""
    field = problem.metadata.get("field", "")
    typed = _TYPED.search(problem.message) if field == "terms" else None
    inside = typed[1] if typed else field.removeprefix("terms.")
    parts = _path_of(f".{inside}") if inside else ()
    for root in dict.fromkeys((base, ("product",), ("resource",), ())):
        for below in ((*root, "terms"), root):
            for tail in (parts, _ALIASES.get(field, parts), parts[:1]):
                path = (*below, *tail)
                if tail and path in positions:
                    return _item(problem.message, path, positions, contents)
    return base


def _item(message: str, path: KeyPath, positions: Positions, contents: Contents) -> KeyPath:
    value: Any = msgspec.to_builtins(contents)
    try:
        for part in path:
            value = value[part]
    except (KeyError, IndexError, TypeError):
        return path
    if not isinstance(value, list | tuple):
        return path
    for number, item in enumerate(value):
        words = {repr(item), repr(str(item).partition(":")[2])} - {"''"}
        if isinstance(item, str) and (
            any(word in message for word in words) or item.split(" ")[-1] in message.split("'")
        ):
            return (*path, number)
    return path


def located(problem: TrustnodeError, path: Path, positions: Positions, at: KeyPath) -> TrustnodeError:
    """The same refusal with file, line and column, named in its message."""
    line, column = positions.of(at)
    place = f"line {line}" if column == 1 else f"line {line}, column {column}"
    known = {key: text for key, text in problem.metadata.items() if key not in ("file", "line", "column")}
    return error(
        problem.reason, f"{place}: {problem.message}", file=str(path), line=str(line), column=str(column), **known
    )
