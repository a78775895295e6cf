"""Masks: how single columns are shown, their words both ways, and the type that a consumer sees.

Decides: which masks there are, what each fits and takes, what type a masked column has. Leaves to others: their SQL
(``engine.masking``), which columns carry one (``terms``, ``compile``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from trustnode import vocabulary
from trustnode.core.policy.governed import MASK_METHODS, GovernedTable, Mask
from trustnode.core.policy.schema import NUMBERS, Column, Family, Schema, columns
from trustnode.core.policy.uses import use_text
from trustnode.errors import TrustnodeError, error

OTHER: Final = "other"
"""What ``only`` shows for a text that is not on its list; a number is shown as nothing."""
TEXT_METHODS: Final = frozenset({"hash", "token", "first", "last", "domain", "redact", "network"})
"""Masks that deliver text whatever the column was."""
KEYED_METHODS: Final = frozenset({"hash", "token", "first", "last"})
"""Masks with a key of each agreement, so that their values differ from one to the other."""


class MaskRule(NamedTuple):
    """What one mask fits and takes."""

    families: frozenset[Family]
    parameter: str = ""
    """Regular expression of the parameter; empty: takes none."""
    example: str = ""
    """How it is written, where it takes something."""


_ALL: Final[frozenset[Family]] = frozenset(
    {"integer", "decimal", "float", "text", "boolean", "date", "time", "timestamp", "binary"}
)
_TEXT: Final[frozenset[Family]] = frozenset({"text"})
_TIMES: Final[frozenset[Family]] = frozenset({"date", "timestamp"})
_CHARACTERS: Final = r"[1-9][0-9]?"
_WORDS: Final = r"[^\x00-\x1f]{1,200}"

MASKS: Final[Mapping[str, MaskRule]] = {
    "null": MaskRule(_ALL),
    "constant": MaskRule(_TEXT, r"[^\x00-\x1f]{1,64}", "constant ***"),
    "hash": MaskRule(_ALL - {"float", "binary"}, r"(?:[89]|[1-5][0-9]|6[0-4])?", "hash, or hash 16"),
    "token": MaskRule(_TEXT),
    "bucket": MaskRule(NUMBERS, r"[1-9][0-9]{0,14}", "bucket 10000"),
    "round": MaskRule(NUMBERS, r"-?[0-9]{1,2}", "round -2"),
    "year": MaskRule(_TIMES),
    "quarter": MaskRule(_TIMES),
    "month": MaskRule(_TIMES),
    "first": MaskRule(_TEXT, _CHARACTERS, "first 3"),
    "last": MaskRule(_TEXT, _CHARACTERS, "last 4"),
    "domain": MaskRule(_TEXT),
    "only": MaskRule(_TEXT | {"integer"}, _WORDS, "only Berlin, Bonn"),
    "redact": MaskRule(_TEXT, _WORDS, "redact [0-9]{4,}"),
    "network": MaskRule(_TEXT),
}
"""Each mask of ``governed.MASK_METHODS``. Coordinates are rounded: ``round 1`` is 11 km."""


def parse_mask(column: Column, text: str) -> Mask:
    """``bucket 10000`` on a column.

    Raises:
        VOCABULARY_UNKNOWN: no such mask.
        FIELD_FORMAT: its parameter is missing or wrong, or the mask does not fit the type of the column.
    """
    method, _, parameter = text.partition(" ")
    if method not in MASK_METHODS:
        raise vocabulary.unknown(f"masks.{column.name}", method, MASK_METHODS)
    rule = MASKS[method]
    if column.family not in rule.families:
        raise _bad(f"{method} does not fit {column.name}, which is {column.type}")
    if not re.fullmatch(rule.parameter, parameter):
        raise _bad(f"cannot read {text!r}; write: {rule.example or method}")
    if method == "only":
        _check_list(column, parameter)
    if method == "redact":
        _check_pattern(parameter)
    return Mask(column.name, method, parameter)


def mask_words(mask: Mask) -> str:
    """``bucket 10000``."""
    return f"{mask.method} {mask.parameter}" if mask.parameter else mask.method


def listed(mask: Mask) -> tuple[str, ...]:
    """The values that ``only`` shows."""
    return tuple(item.strip() for item in mask.parameter.split(","))


def masked_type(column: Column, mask: Mask) -> str:
    """The type a consumer sees."""
    return "utf8" if mask.method in TEXT_METHODS else column.type


class Shown(NamedTuple):
    """One column as the catalogue shows it."""

    column: Column
    """With the type it has after masking."""
    mask: str
    """``bucket 10000``, or empty."""
    use: str
    """``filter``, ``join``, ``aggregate 10``, or empty: it may be used for everything."""


def shown(table: GovernedTable, schema: Schema) -> tuple[Shown, ...]:
    """The columns a consumer gets, masked ones last, as they are delivered."""
    known = columns(schema)
    uses = {use.column: use_text(use) for use in table.uses}
    plain = [Shown(known[name], "", uses.get(name, "")) for name in table.columns]
    masked = [
        Shown(masked_column(known[mask.column], mask), mask_words(mask), uses.get(mask.column, ""))
        for mask in table.masks
    ]
    return (*plain, *masked)


def masked_column(column: Column, mask: Mask) -> Column:
    """A column as it is after masking: a mask may make any value null."""
    return msgspec.structs.replace(column, type=masked_type(column, mask), nullable=True)


def _check_list(column: Column, parameter: str) -> None:
    items = [item.strip() for item in parameter.split(",")]
    if not all(items):
        raise _bad(f"only {parameter!r} names nothing between two commas")
    if column.family == "integer" and not all(re.fullmatch(r"-?[0-9]{1,18}", item) for item in items):
        raise _bad(f"only: {column.name} is {column.type}; write whole numbers, 1, 2, 3")


_BEYOND_THE_ENGINE: Final = re.compile(r"\(\?(?:[=!]|<[=!]|>|\(|P=|#)|\\[1-9]")
"""Look-around and back-references: the engine's expressions run in linear time because they have none."""


def _check_pattern(pattern: str) -> None:
    try:
        empty = re.compile(pattern).fullmatch("") is not None
    except (re.error, RecursionError, OverflowError):
        raise _bad(f"redact: {pattern!r} is no regular expression") from None
    if empty or _BEYOND_THE_ENGINE.search(pattern):
        raise _bad(f"redact: {pattern!r} matches nothing at all, looks around or refers back; the engine takes neither")


def _bad(message: str) -> TrustnodeError:
    return error("FIELD_FORMAT", f"masks: {message}", field="masks")
