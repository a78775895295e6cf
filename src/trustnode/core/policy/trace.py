"""The ``trace`` line: which column carries the mark of a copy, and what must be true of it.

Decides: the grammar of the line, both ways, and whether column, quantum and key fit the columns that are delivered.
Leaves to others: the mark itself (``core.tracing``, ``engine.fingerprint``), what else the terms say (``compile``).

    mark AMOUNT by 0.01 key ID
    mark "net weight" by 5 key ID with 5 marker rows
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from trustnode import vocabulary
from trustnode.core.policy.governed import Mark, Mask
from trustnode.core.policy.schema import NUMBERS, Column, Family
from trustnode.errors import TrustnodeError, error

MAX_MARKER_ROWS: Final = 20
KEY_FAMILIES: Final[frozenset[Family]] = frozenset({"integer", "decimal", "text", "date"})
"""What names a row and is written in one way everywhere."""
NEW_KEY_FAMILIES: Final[frozenset[Family]] = frozenset({"integer", "text"})
"""Keys of which new ones are made that look like the others."""
KEY_HASH_DIGITS: Final = 16
"""Of a hashed key: so many keep values apart that differ, 64 bits."""
SHARE: Final = "2 %"
"""Share of the rows that carry a mark, in words."""

_NAME: Final = r'(?:"((?:[^"]|"")+)"|([^\s"]+))'
_LINE: Final = re.compile(rf"mark {_NAME} by (\S+) key {_NAME}(?: with ([1-9][0-9]{{0,2}}) marker rows?)?")
_QUANTUM: Final = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,9})?")
_PLAIN_NAME: Final = re.compile(r'[^\s"]+')
_EXAMPLE: Final = "mark amount by 0.01 key id; mark amount by 0.01 key id with 5 marker rows"


def parse(text: str) -> Mark:
    """Read the line.

    Raises:
        FIELD_FORMAT: it is written otherwise, the quantum is nothing, or there are too many marker rows.
    """
    match = _LINE.fullmatch(text)
    if match is None:
        raise _refused(f"cannot read {text!r}; write: {_EXAMPLE}")
    column, key = _name(match[1], match[2]), _name(match[4], match[5])
    return Mark(column, quantum(match[3]), key, rows(match[6] or "0"))


def _name(quoted: str | None, plain: str | None) -> str:
    return quoted.replace('""', '"') if quoted else str(plain)


def quantum(text: str) -> str:
    """The canonical text of a quantum: no zero that says nothing.

    Raises:
        FIELD_FORMAT: not a decimal number above zero.
    """
    if not _QUANTUM.fullmatch(text) or not Decimal(text):
        raise _refused(f"{text!r} is no quantum; a decimal number above zero such as 0.01")
    return f"{Decimal(text).normalize():f}"


def rows(text: str) -> int:
    """How many marker rows a copy may hold.

    Raises:
        FIELD_FORMAT: not a whole number, or more than ``MAX_MARKER_ROWS``.
    """
    if not text.isascii() or not text.isdigit() or int(text) > MAX_MARKER_ROWS:
        raise _refused(f"at most {MAX_MARKER_ROWS} marker rows")
    return int(text)


def of_values(values: Mapping[str, str]) -> Mark:
    """The mark of a duty ``tn:watermark``, from its parameters.

    Raises:
        FIELD_FORMAT: as ``quantum`` and ``rows``.
    """
    number = rows(values.get("tn:markerRows") or "0")
    return Mark(values["tn:column"], quantum(values["tn:quantum"]), values["tn:key"], number)


def to_text(mark: Mark) -> str:
    """The line again: ``parse(to_text(mark)) == mark``."""
    line = f"mark {_quoted(mark.column)} by {mark.quantum} key {_quoted(mark.key)}"
    if not mark.marker_rows:
        return line
    return f"{line} with {mark.marker_rows} marker row{'' if mark.marker_rows == 1 else 's'}"


def _quoted(name: str) -> str:
    return name if _PLAIN_NAME.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def check(
    mark: Mark,
    known: Mapping[str, Column],
    clear: frozenset[str],
    masks: Mapping[str, Mask],
    held: frozenset[str] = frozenset(),
) -> None:
    """Refuse a mark that would not be in the copy, or by which nobody could be found.

    Args:
        mark: From ``parse``.
        known: Columns of the product.
        clear: Names of those that are delivered as they are.
        masks: Those that are delivered masked.
        held: Those that may be used in one way only.

    Raises:
        VOCABULARY_UNKNOWN: no such column.
        POLICY_CONFLICT: column or key are not delivered, or not in a way that keeps them.
        FIELD_FORMAT: the column is no number, or the quantum does not fit its type.
    """
    for name in (mark.column, mark.key):
        if name not in known:
            raise vocabulary.unknown("trace", name, known)
    if mark.column == mark.key:
        raise _conflict(f"{mark.key} names the rows and is not changed")
    if held & {mark.column, mark.key}:
        raise _conflict(f"{mark.column} and {mark.key} are read as they are; uses would keep them from it")
    if held and mark.marker_rows:
        raise _conflict("marker rows would be counted in groups; leave them out, or uses")
    if mark.column not in clear:
        raise _conflict(f"{mark.column} carries the mark and is delivered as it is, without a mask")
    if mark.key not in clear and not _names_rows(masks.get(mark.key)):
        raise _conflict(f"{mark.key} names the rows and is delivered as it is, or masked by hash (16 digits or more)")
    if known[mark.key].family not in KEY_FAMILIES:
        raise _refused(f"{mark.key} is {known[mark.key].type}, which does not name a row")
    if mark.marker_rows and known[mark.key].family not in NEW_KEY_FAMILIES:
        raise _refused(f"{mark.key} is {known[mark.key].type}; no new keys are made of it for marker rows")
    _check_quantum(mark, known[mark.column])


def _names_rows(mask: Mask | None) -> bool:
    """Whether two values that differ stay different behind a mask."""
    return mask is not None and mask.method == "hash" and int(mask.parameter or 64) >= KEY_HASH_DIGITS


def _check_quantum(mark: Mark, column: Column) -> None:
    if column.family not in NUMBERS:
        raise _refused(f"{column.name} is {column.type}, not a number")
    step, largest = Decimal(mark.quantum), _largest(column)
    if step % _smallest(column) or (largest and step >= largest):
        raise _refused(f"{column.name} is {column.type}; a change by {mark.quantum} does not fit it")


def _smallest(column: Column) -> Decimal:
    """The step between two neighbours of a type; of a float, any quantum that can be written."""
    if column.family == "float":
        return Decimal("0.000000001")
    return Decimal(1).scaleb(-_digits(column)[1])


def _largest(column: Column) -> Decimal:
    """The largest value of a type; zero where it has none that matters."""
    if column.family == "float":
        return Decimal(0)
    precision, scale = _digits(column)
    if column.family == "decimal":
        return Decimal(10) ** (precision - scale)
    return Decimal(2 ** (int(column.type.lstrip("uint")) - (not column.type.startswith("u"))))


def _digits(column: Column) -> tuple[int, int]:
    """Precision and scale of a decimal; an integer has no scale."""
    if column.family != "decimal":
        return 0, 0
    precision, _, scale = column.type.removeprefix("decimal(").removesuffix(")").partition(",")
    return int(precision), int(scale)


def _refused(message: str) -> TrustnodeError:
    return error("FIELD_FORMAT", f"trace: {message}", field="trace")


def _conflict(message: str) -> TrustnodeError:
    return error("POLICY_CONFLICT", f"trace: {message}", field="trace")
