"""Lengths of time: ``90 days`` in terms, ``P90D`` in ODRL, and what they add to an instant.

Decides: the grammar of both, and calendar arithmetic. Leaves to others: which instant they count from.
"""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple

from trustnode.errors import error

Unit = Literal["hours", "days", "months", "years"]

_WORDS: Final = re.compile(r"([1-9][0-9]{0,4}) (hour|day|month|year)s?")
_ISO: Final = re.compile(
    r"P(?=[0-9T])(?:([0-9]{1,5})Y)?(?:([0-9]{1,5})M)?(?:([0-9]{1,5})D)?"
    r"(?:T(?=[0-9])(?:([0-9]{1,5})H)?(?:([0-9]{1,5})M)?(?:([0-9]{1,5})S)?)?"
)
_ISO_ONE: Final = re.compile(r"P(?:([1-9][0-9]{0,4})([YMD])|T([1-9][0-9]{0,4})H)")
_LETTERS: Final = {"Y": "years", "M": "months", "D": "days"}


class Duration(NamedTuple):
    """Months and seconds apart, because a month is no fixed number of days."""

    months: int
    seconds: int

    def after(self, start: datetime) -> datetime:
        """The instant this long after ``start``, in UTC; a day that the month lacks becomes its last."""
        start = start.astimezone(UTC)
        years, month = divmod(start.month - 1 + self.months, 12)
        year = start.year + years
        if year > 9000:
            return datetime.max.replace(tzinfo=UTC)
        day = min(start.day, calendar.monthrange(year, month + 1)[1])
        return start.replace(year=year, month=month + 1, day=day) + timedelta(seconds=self.seconds)

    @property
    def at_least_s(self) -> int:
        """Its shortest possible length, seconds: a month counts 28 days."""
        return self.months * 28 * 86_400 + self.seconds

    @property
    def at_most_s(self) -> int:
        """Its longest possible length, seconds: a month counts 31 days."""
        return self.months * 31 * 86_400 + self.seconds


def parse(text: str) -> Duration | None:
    """Read ``xsd:duration`` (no sign, no fractions); None when it is none."""
    match = _ISO.fullmatch(text)
    if match is None or text == "P":
        return None
    years, months, days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return Duration(years * 12 + months, ((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def to_iso(words: str, field: str) -> str:
    """``90 days`` -> ``P90D``.

    Raises:
        FIELD_FORMAT: not a number of hours, days, months or years.
    """
    match = _WORDS.fullmatch(words)
    if match is None:
        raise error("FIELD_FORMAT", f"{words!r} is no length of time; write: 90 days, 12 months", field=field)
    number, unit = match[1], match[2][0].upper()
    return f"PT{number}H" if unit == "H" else f"P{number}{unit}"


def to_words(iso: str) -> str | None:
    """``P90D`` -> ``90 days``; None when it has no short form."""
    match = _ISO_ONE.fullmatch(iso)
    if match is None:
        return None
    number, unit = (match[3], "hours") if match[3] else (match[1], _LETTERS[match[2]])
    return f"{number} {unit[:-1] if number == '1' else unit}"
