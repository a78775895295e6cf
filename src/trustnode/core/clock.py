"""Arithmetic on the one form of time: RFC 3339 UTC with three fraction digits. No clock is read here."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta

FOREVER = "9999-12-31T23:59:59.999Z"


def text(moment: datetime) -> str:
    """Write an instant as the canonical text, cut to milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(time: str) -> datetime:
    """Read the canonical text back."""
    return datetime.fromisoformat(time)


def from_ms(milliseconds: int) -> str:
    """Write milliseconds since 1970 as the canonical text."""
    return text(datetime.fromtimestamp(milliseconds / 1000, UTC))


def to_ms(time: str) -> int:
    """Milliseconds since 1970 of the canonical text."""
    return round(moment(time).timestamp() * 1000)


@functools.lru_cache(maxsize=1024)
def shift(time: str, seconds: float) -> str:
    """The instant ``seconds`` later (earlier when negative); clamped to the years that the text can hold."""
    try:
        return text(moment(time) + timedelta(seconds=seconds))
    except OverflowError:
        return FOREVER if seconds > 0 else "0001-01-01T00:00:00.000Z"
