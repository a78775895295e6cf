"""Where the keys of a TOML text stand, so that a refusal can name line and column; ``tomllib`` keeps none.

Decides: the position of every key, value and list item of a text that ``tomllib`` has accepted. Leaves to others:
whether the text is TOML (``tomllib``) and what its values mean (``product_file``).
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

Path = tuple[str | int, ...]

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_SPACE: Final = re.compile(r"(?:[ \t]|\r?\n|#[^\n]*)*")
_SCALAR: Final = re.compile(r"[^,\]}\n#]*")
_STRING: Final = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\])*"|\'[^\']*\'', re.DOTALL)


class Position(NamedTuple):
    """A place in a text, both counted from 1."""

    line: int
    column: int


class Positions:
    """Positions of one text, by path: keys as text, items of arrays as numbers from 0."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._keys: dict[Path, int] = {}
        self._arrays: dict[Path, int] = {}
        self._table: Path = ()
        self._read()

    def __contains__(self, path: Path) -> bool:
        return path in self._keys

    def of(self, path: Path) -> Position:
        """Position of the key (or list item) at ``path``, or of the nearest table or list around it."""
        while path and path not in self._keys:
            path = path[:-1]
        offset = self._keys.get(path, 0)
        line_start = self._text.rfind("\n", 0, offset) + 1
        return Position(self._text.count("\n", 0, offset) + 1, offset - line_start + 1)

    def items(self, path: Path) -> int:
        """Number of items of the list at ``path``; 0 when it is none."""
        count = 0
        while (*path, count) in self._keys:
            count += 1
        return count

    def _read(self) -> None:
        self._skip()
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                self._header()
            else:
                self._pair(self._table)
            self._skip()

    def _skip(self) -> None:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _header(self) -> None:
        start, is_array = self._at, self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        *parents, last = self._dotted()
        path: Path = ()
        for part in parents:
            path = self._entered((*path, part))
        path = (*path, last)
        if is_array:
            self._keys.setdefault(path, start)
            self._arrays[path] = self._arrays.get(path, -1) + 1
            path = (*path, self._arrays[path])
        self._keys.setdefault(path, start)
        self._table = path
        self._at = self._text.index("]", self._at) + (2 if is_array else 1)

    def _entered(self, path: Path) -> Path:
        return (*path, self._arrays[path]) if path in self._arrays else path

    def _dotted(self) -> list[str]:
        parts = [self._name()]
        self._blanks()
        while self._text.startswith(".", self._at):
            self._at += 1
            self._blanks()
            parts.append(self._name())
            self._blanks()
        return parts

    def _blanks(self) -> None:
        while self._text[self._at : self._at + 1] in (" ", "\t"):
            self._at += 1

    def _name(self) -> str:
        self._blanks()
        match = _BARE.match(self._text, self._at)
        if match:
            self._at = match.end()
            return match[0]
        return self._string()[1:-1]

    def _string(self) -> str:
        match = _STRING.match(self._text, self._at)
        if match is None:  # tomllib has read the text, so this is a scalar of another kind
            match = _SCALAR.match(self._text, self._at)
        text = match[0] if match else ""
        self._at += max(len(text), 1)
        return text

    def _pair(self, table: Path) -> None:
        start = self._at
        path = table
        for part in self._dotted():
            path = (*path, part)
            self._keys.setdefault(path, start)
        self._at = self._text.index("=", self._at) + 1
        self._skip()
        self._value(path)

    def _value(self, path: Path) -> None:
        self._keys.setdefault(path, self._at)
        opening = self._text[self._at]
        if opening == "[":
            self._members("]", path, as_list=True)
        elif opening == "{":
            self._members("}", path, as_list=False)
        elif opening in "\"'":
            self._string()
        else:
            match = _SCALAR.match(self._text, self._at)
            self._at = match.end() if match else self._at + 1

    def _members(self, closing: str, path: Path, *, as_list: bool) -> None:
        self._at += 1
        number = 0
        self._skip()
        while self._text[self._at] != closing:
            if as_list:
                self._value((*path, number))
                number += 1
            else:
                self._pair(path)
            self._skip()
            if self._text[self._at] == ",":
                self._at += 1
                self._skip()
        self._at += 1
