"""The grammar of each value of the terms, both ways: words to a value, and the value back to words.

Decides: how a period, a limit, a measure, a duty, a price are written, and which class a duty or ``keep`` has. Leaves
to others: whether the values fit each other and the product (``compile``), how long a span lasts (``duration``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta, timezone
from typing import Final, Literal, NamedTuple, cast

from trustnode import vocabulary
from trustnode.core.policy import duration
from trustnode.core.policy.governed import Measure
from trustnode.core.policy.terms import Kept
from trustnode.core.policy.words import ASSURANCE, ROLES, Unit, Window
from trustnode.errors import TrustnodeError, error

MAX_AMOUNT: Final = 2**53 - 1


def _malformed(field: str, text: str, example: str) -> TrustnodeError:
    return error("FIELD_FORMAT", f"{field}: cannot read {text!r}; write: {example}", field=field)


# --- period


class Days(NamedTuple):
    """Whole days, both included."""

    first: date
    last: date


def parse_period(text: str) -> Days | str:
    """``2026-12-01 to 2027-11-30`` or ``12 months``: the days, or an ISO duration from signing."""
    if " to " not in text:
        return duration.to_iso(text, "period")
    first, _, last = text.partition(" to ")
    try:
        days = Days(_day(first), _day(last))
    except ValueError:
        raise _malformed("period", text, "2026-12-01 to 2027-11-30") from None
    if days.last < days.first:
        raise error("POLICY_CONFLICT", f"period: {last} lies before {first}", field="period")
    return days


def _day(text: str) -> date:
    if not re.fullmatch(r"2[0-9]{3}-[0-9]{2}-[0-9]{2}", text):
        raise ValueError(text)
    return date.fromisoformat(text)


ZONES: Final[Mapping[str, int]] = {
    "UTC": 0,
    "Asia/Shanghai": 480,
    "Asia/Hong_Kong": 480,
    "Asia/Macau": 480,
    "Asia/Taipei": 480,
    "Asia/Singapore": 480,
    "Asia/Urumqi": 360,
    "Asia/Tokyo": 540,
}
"""Minutes east of UTC. Closed to zones without summer time: a table that changes with the machine would give the same
terms another digest elsewhere."""


def zone(name: str) -> timezone:
    """The fixed offset of a zone.

    Raises:
        VOCABULARY_UNKNOWN: not one of ``ZONES``.
    """
    if name not in ZONES:
        raise vocabulary.unknown("zone", name, ZONES)
    return timezone(timedelta(minutes=ZONES[name]))


def bounds(days: Days, offset: timezone) -> tuple[str, str]:
    """First instant, and the first instant after the last day, RFC 3339."""
    midnights = (days.first, days.last + timedelta(days=1))
    start, end = (datetime(day.year, day.month, day.day, tzinfo=offset).isoformat() for day in midnights)
    return start, end


def days_between(start: str, end: str) -> Days | None:
    """The whole days of ``bounds``; None when the instants are no midnights of one zone."""
    try:
        first, after = datetime.fromisoformat(start), datetime.fromisoformat(end)
    except ValueError:
        return None
    is_midnight = all(moment.timetz().replace(tzinfo=None).isoformat() == "00:00:00" for moment in (first, after))
    if not is_midnight or first.utcoffset() is None or first.utcoffset() != after.utcoffset() or after <= first:
        return None
    return Days(first.date(), (after - timedelta(days=1)).date())


# --- who


class Who(NamedTuple):
    """One condition on the consumer: its kind and the word."""

    kind: str
    word: str


WHO: Final[Mapping[str, str]] = {
    "role": "tn:role",
    "assurance": "tn:assuranceLevel",
    "participant": "recipient",
    "venue": "tn:membership",
    "space": "tn:membership",
}
"""Kind of condition -> left operand. Venues and spaces share one; the operand keeps their prefix."""


def parse_who(text: str) -> Who:
    """``role:CONSUMER``; the word is checked where its set is closed."""
    kind, _, word = text.partition(":")
    if kind not in WHO or not word:
        raise vocabulary.unknown("who", text, [f"{kind}:" for kind in WHO])
    closed = {"role": ROLES, "assurance": ASSURANCE}.get(kind)
    if closed is not None and word not in closed:
        raise vocabulary.unknown("who", word, closed)
    return Who(kind, word)


_PLACE: Final = re.compile(r"[A-Z]{2}|[0-9]{2}|[0-9]{4}|[0-9]{6}")


def parse_place(text: str) -> str:
    """A country (ISO 3166, two letters) or an administrative area (GB/T 2260, 2, 4 or 6 digits)."""
    if not _PLACE.fullmatch(text):
        raise _malformed("places", text, "CN, or an area code such as 3300")
    return text


def areas(code: str) -> frozenset[str]:
    """The areas a node in this area lies in, all levels: ``3300`` -> ``CN``, ``33``, ``3300``; nothing of nothing."""
    return frozenset({"CN", code[:2], code}) if code else frozenset()


# --- limits


class Limit(NamedTuple):
    """At most so many units in a window; ``none``: in all."""

    amount: int
    unit: Unit
    window: Window


_UNITS: Final[Mapping[str, tuple[Unit, int]]] = {
    "read": ("count", 1),
    "row": ("rows", 1),
    "byte": ("bytes", 1),
    "KB": ("bytes", 10**3),
    "MB": ("bytes", 10**6),
    "GB": ("bytes", 10**9),
    "TB": ("bytes", 10**12),
}
_WINDOWS: Final = ("minute", "hour", "day", "week", "month", "year")
_LIMIT: Final = re.compile(r"([1-9][0-9]{0,15}) ([A-Za-z]+?)s? (?:in (all)|per ([a-z]+))")
_RUNNING: Final = re.compile(r"([1-9][0-9]{0,15}) reads? at once")


def parse_limit(text: str) -> Limit:
    """``50 reads per day``, ``2000000 rows in all``, ``10 GB per month``, ``3 reads at once``."""
    if running := _RUNNING.fullmatch(text):
        return _bounded(text, int(running[1]), "running", "none")
    match = _LIMIT.fullmatch(text)
    if match is None:
        raise _malformed("limits", text, "50 reads per day; 2000000 rows in all; 3 reads at once")
    if match[2] not in _UNITS:
        raise vocabulary.unknown("limits", match[2], [*_UNITS, "reads", "rows", "bytes"])
    if match[4] and match[4] not in _WINDOWS:
        raise vocabulary.unknown("limits", match[4], _WINDOWS)
    unit, factor = _UNITS[match[2]]
    return _bounded(text, int(match[1]) * factor, unit, cast("Window", match[4] or "none"))


def _bounded(text: str, amount: int, unit: Unit, window: Window) -> Limit:
    if amount > MAX_AMOUNT:
        raise error("FIELD_FORMAT", f"limits: {text} is beyond 2^53 - 1; leave the line out", field="limits")
    return Limit(amount, unit, window)


def limit_words(limit: Limit) -> str:
    """``50 reads per day``."""
    unit = {"count": "read", "rows": "row", "bytes": "byte", "running": "read"}[limit.unit]
    plural = "" if limit.amount == 1 else "s"
    whole = "at once" if limit.unit == "running" else "in all"
    return f"{limit.amount} {unit}{plural} {whole if limit.window == 'none' else f'per {limit.window}'}"


# --- measures

_MEASURES: Final = ("count", "sum", "avg", "stddev")


def parse_measure(text: str) -> Measure:
    """``count``, ``sum status``, ``avg bmi``, ``stddev bmi``."""
    function, _, column = text.partition(" ")
    if function not in _MEASURES:
        raise vocabulary.unknown("measures", function, _MEASURES)
    if (function == "count") == bool(column):
        raise _malformed("measures", text, "count; sum COLUMN; avg COLUMN")
    return Measure(cast('Literal["count", "sum", "avg", "stddev"]', function), column)


def measure_words(measure: Measure) -> str:
    """``avg bmi``."""
    return f"{measure.function} {measure.column}".rstrip()


# --- keep, onward, derived


def parse_keep(text: str) -> str:
    """``no copy`` -> ``none``; ``unlimited`` -> empty; ``90 days`` -> ``P90D``."""
    if text in ("no copy", "unlimited"):
        return "none" if text == "no copy" else ""
    return duration.to_iso(text, "keep")


def keep_kept(text: str) -> Kept:
    """Class of a ``keep`` line: an erasure is proven; no copy can be enforced; without an end nothing is owed."""
    return {"no copy": "enforced", "unlimited": "promised"}.get(text, "proven")  # type: ignore[return-value]


ONWARD: Final = ("forbidden", "results", "with these terms", "allowed")
"""From the strictest to the most generous."""
DERIVED: Final = ("same terms", "free")
RESULTS: Final = ("aggregates",)


def parse_word(field: str, text: str, known: tuple[str, ...]) -> str:
    """One word of a closed set.

    Raises:
        VOCABULARY_UNKNOWN: names the nearest.
    """
    if text not in known:
        raise vocabulary.unknown(field, text, known)
    return text


# --- duties


class Owed(NamedTuple):
    """One sentence of ``duties``: what is owed and by when (ISO duration, or empty)."""

    kind: Literal["attribute", "pay", "report", "leak"]
    within: str = ""


_INTERVALS: Final[Mapping[str, str]] = {
    "daily": "P1D",
    "weekly": "P7D",
    "monthly": "P1M",
    "quarterly": "P3M",
    "yearly": "P1Y",
}
_SENTENCES: Final = ("name the source", "pay within 30 days", "report use monthly", "report a leak within 24 hours")


def parse_duty(text: str) -> Owed:
    """``name the source``, ``pay within 30 days``, ``report use monthly``, ``report a leak within 24 hours``."""
    if text == "name the source":
        return Owed("attribute")
    if text.startswith("pay within "):
        return Owed("pay", duration.to_iso(text.removeprefix("pay within "), "duties"))
    if text.startswith("report a leak within "):
        return Owed("leak", duration.to_iso(text.removeprefix("report a leak within "), "duties"))
    if text.startswith("report use "):
        interval = parse_word("duties", text.removeprefix("report use "), tuple(_INTERVALS))
        return Owed("report", _INTERVALS[interval])
    raise vocabulary.unknown("duties", text, _SENTENCES)


def duty_words(owed: Owed) -> str | None:
    """The sentence again; None when it has no short form."""
    if owed.kind == "attribute":
        return "name the source"
    if owed.kind == "report":
        interval = {iso: word for word, iso in _INTERVALS.items()}.get(owed.within)
        return interval and f"report use {interval}"
    within = duration.to_words(owed.within)
    return within and f"{'pay' if owed.kind == 'pay' else 'report a leak'} within {within}"


DUTY_KEPT: Final[Mapping[str, Kept]] = {
    "attribute": "promised",
    "pay": "proven",
    "report": "proven",
    "leak": "promised",
}
"""Proven where something falls due on a day; a leak that nobody reports cannot be seen to be overdue."""


# --- price

Per = Literal["once", "month", "read", "row"]


class Price(NamedTuple):
    """What is paid; ``amount`` is a decimal text, empty for free."""

    amount: str = ""
    currency: str = ""
    per: Per = "once"


_PRICE: Final = re.compile(r"(0|[1-9][0-9]{0,11})(\.[0-9]{1,6})? ([A-Z]{3}) (once|per month|per read|per row)")


def parse_price(text: str) -> Price:
    """``free``, ``500 CNY once``, ``0.02 CNY per row``.

    Raises:
        PRICE_MISSING: empty.
        FIELD_FORMAT: cannot be read; a price of nothing is written ``free``.
    """
    if not text:
        raise error("PRICE_MISSING", "the offer names no price", field="price")
    if text == "free":
        return Price()
    match = _PRICE.fullmatch(text)
    amount = match and match[1] + (match[2] or "")
    if match is None or amount is None or not amount.strip("0."):
        raise _malformed("price", text, "free; 500 CNY once; 0.02 CNY per row")
    return Price(amount, match[3], cast("Per", match[4].removeprefix("per ")))
