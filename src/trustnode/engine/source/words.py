"""The engine's words: which type of the catalogue a type of the engine is, how text and names are written in SQL.

Decides: the closed type word of every engine type. Leaves to others: which types a product may have (``core.policy``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import ascii_lowercase, ascii_uppercase
from typing import Final

ENGINE_TYPES: Final[Mapping[str, str]] = {
    "TINYINT": "int8",
    "SMALLINT": "int16",
    "INTEGER": "int32",
    "BIGINT": "int64",
    "UTINYINT": "uint8",
    "USMALLINT": "uint16",
    "UINTEGER": "uint32",
    "UBIGINT": "uint64",
    "HUGEINT": "decimal(38,0)",
    "UHUGEINT": "decimal(38,0)",
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "VARCHAR": "utf8",
    "UUID": "utf8",
    "JSON": "utf8",
    "BOOLEAN": "bool",
    "DATE": "date32",
    "TIME": "time",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP_S": "timestamp",
    "TIMESTAMP_MS": "timestamp",
    "TIMESTAMP_NS": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "BLOB": "binary",
}
"""Type of the engine -> word of the catalogue; DECIMAL(p,s) and ENUM come besides, everything else is not delivered."""

_SQL_TYPES: Final[Mapping[str, str]] = {word: name for name, word in reversed(list(ENGINE_TYPES.items()))}
_DECIMAL: Final = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_FOLD: Final = str.maketrans(ascii_uppercase, ascii_lowercase)


def type_word(engine_type: str) -> str | None:
    """The catalogue's word for a type of the engine; None when such a value is not delivered."""
    if match := _DECIMAL.fullmatch(engine_type):
        return f"decimal({match[1]},{match[2]})"
    if engine_type.startswith("ENUM("):
        return "utf8"
    return ENGINE_TYPES.get(engine_type)


def sql_type(word: str) -> str:
    """The engine's type for a word of the catalogue."""
    return word.upper() if word.startswith("decimal") else _SQL_TYPES[word]


def folded(name: str) -> str:
    """A name as the engine compares it: letters of ASCII without case, all others as they are."""
    return name.translate(_FOLD)


def quoted_text(text: str) -> str:
    """An SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def quoted_name(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
