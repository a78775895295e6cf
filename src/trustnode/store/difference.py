"""One place where a store does not agree with itself, and how it is said."""

from __future__ import annotations

import msgspec


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One place where a store does not agree with itself."""

    where: str
    """Table, and row where one can be named."""
    message: str
    index: int | None = None
    """Index in the log."""
    object: str = ""
    """Kind and id of the object concerned."""

    def __str__(self) -> str:
        at = f"entry {self.index}: " if self.index is not None else ""
        return f"{self.where}: {at}{self.message}{f' ({self.object})' if self.object else ''}"
