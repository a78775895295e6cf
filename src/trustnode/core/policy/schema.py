"""The columns of a product: names and types, as the catalogue shows them and the compiler checks terms against them.

Decides: which type words exist and which family (number, text, time) each belongs to. Leaves to others: how a source is
read (``engine``) and which columns a consumer may have (``compile``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, cast

import msgspec

Family = Literal["integer", "decimal", "float", "text", "boolean", "date", "time", "timestamp", "binary"]

TYPES: Final[Mapping[str, Family]] = {
    **{f"{sign}int{bits}": "integer" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "float32": "float",
    "float64": "float",
    "utf8": "text",
    "bool": "boolean",
    "date32": "date",
    "time": "time",
    "timestamp": "timestamp",
    "timestamptz": "timestamp",
    "binary": "binary",
}
"""Closed; ``decimal(p,s)`` with 1 <= p <= 38 and s <= p comes besides. Named after Arrow."""

NUMBERS: Final[frozenset[Family]] = frozenset({"integer", "decimal", "float"})
_DECIMAL: Final = re.compile(r"decimal\(([1-9][0-9]?),([0-9][0-9]?)\)")


def family(type_word: str) -> Family | None:
    """The family of a type word; None when there is no such type."""
    if match := _DECIMAL.fullmatch(type_word):
        precision, scale = int(match[1]), int(match[2])
        return "decimal" if scale <= precision <= 38 else None
    return TYPES.get(type_word)


class Column(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One column as the provider describes it."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    type: Annotated[str, msgspec.Meta(max_length=16)]
    """A word of ``TYPES`` or ``decimal(p,s)``."""
    nullable: bool = True
    unit: Annotated[str, msgspec.Meta(max_length=64)] = ""
    description: Annotated[str, msgspec.Meta(max_length=1024)] = ""

    def __post_init__(self) -> None:
        if family(self.type) is None:
            raise ValueError(f"no such column type: {self.type}")
        if not self.name.isprintable() or self.name != self.name.strip():
            raise ValueError(f"not a column name: {self.name!r}")

    @property
    def family(self) -> Family:
        """What may be done with the values: compare, sum, shorten."""
        return cast("Family", family(self.type))  # __post_init__ let only known types in


Schema = tuple[Column, ...]


def columns(schema: Schema) -> dict[str, Column]:
    """The columns by name, in the order of the schema."""
    return {column.name: column for column in schema}
