"""Times and days as people type them.

Decides: their forms. Leaves to others: what they are for.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from trustnode.core import clock
from trustnode.errors import error


def parse_time(text: str, field: str) -> str:
    """``2026-11-20T00:00+08:00``, or without offset in local time, as the canonical text.

    Raises:
        TrustnodeError: FIELD_FORMAT.
    """
    try:
        return clock.text(datetime.fromisoformat(text).astimezone())
    except ValueError:
        raise error(
            "FIELD_FORMAT", f"{field}: {text!r} is no time; write: 2026-11-20T00:00+08:00", field=field
        ) from None


def seconds_between(start: str | None, end: str | None) -> float:
    """Seconds from one instant to another; 0 where one is missing."""
    if not (start and end):
        return 0.0
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def end_of_day(text: str, field: str) -> str:
    """The end of a day such as ``2026-12-31``, local time.

    Raises:
        TrustnodeError: FIELD_FORMAT.
    """
    try:
        day = datetime.strptime(text, "%Y-%m-%d")  # noqa: DTZ007 (local time is added below)
    except ValueError:
        raise error("FIELD_FORMAT", f"{field}: {text!r} is no day; write: 2026-12-31", field=field) from None
    return clock.text((day + timedelta(days=1)).astimezone())
