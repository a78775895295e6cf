"""Three-valued evaluation of ODRL rules: closures compiled once, called for each request.

Decides: what each operator means on times, durations, numbers and terms; that what is missing or cannot be compared is
UNKNOWN; when a rule is active (odrl 2). Leaves to others: which words exist (``words``), where values come from
(``compiled``), what is answered (``compiled``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

from trustnode.core.policy import duration
from trustnode.core.policy.duration import Duration
from trustnode.core.policy.odrl import Timing

Truth = bool | None
"""TRUE, FALSE, or None: UNKNOWN."""

Test = Callable[[Any], Truth]
"""A compiled constraint: facts in, truth out. It never raises."""

Getter = Callable[[Any], Any]
"""Fetches one attribute from the facts; None: no value."""

Down = Callable[[Iterable[str]], frozenset[str]]
"""The given terms and all below them; the identity for terms without hierarchy."""

DutyState = Literal["FULFILLED", "VIOLATED", "OPEN"]


class Unreadable(ValueError):
    """A right operand that cannot be read; the policy is refused when it is loaded."""


# --- values


class Moment(NamedTuple):
    """A right operand of time: an instant, or a whole day from ``start`` to before ``end``."""

    start: datetime
    end: datetime
    is_day: bool


def read_moment(text: str, zone: tzinfo | None = None) -> Moment:
    """Read ``xsd:dateTime`` with a zone; a date or a zoneless time only where ``zone`` is given.

    Raises:
        Unreadable: not a time, or no zone.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Unreadable(f"{text!r} is no time") from None
    is_day = re.fullmatch(r"\d{4}-\d\d-\d\d", text) is not None
    if found.utcoffset() is None and zone is None:
        raise Unreadable(f"{text!r} says no zone")
    try:
        start = (found if found.utcoffset() is not None else found.replace(tzinfo=zone)).astimezone(UTC)
        return Moment(start, start + timedelta(days=1) if is_day else start, is_day)
    except OverflowError:
        raise Unreadable(f"{text!r} is beyond the calendar") from None


_DECIMAL: Final = re.compile(r"-?[0-9]{1,38}(\.[0-9]{1,38})?")


def read_number(text: str) -> Decimal:
    """A plain decimal of at most 38 digits; no exponent, no NaN.

    Raises:
        Unreadable: anything else.
    """
    if not _DECIMAL.fullmatch(text) or sum(map(str.isdigit, text)) > 38:
        raise Unreadable(f"{text[:60]!r} is no number")
    return Decimal(text)


def read_duration(text: str) -> Duration:
    """``xsd:duration``.

    Raises:
        Unreadable: anything else.
    """
    found = duration.parse(text)
    if found is None:
        raise Unreadable(f"{text[:60]!r} is no duration")
    return found


# --- comparisons

_Compare = Callable[[Any], bool]


def _ordered(operator: str, bound: Any) -> _Compare:
    table: dict[str, _Compare] = {
        "eq": lambda value: bool(value == bound),
        "neq": lambda value: bool(value != bound),
        "lt": lambda value: bool(value < bound),
        "lteq": lambda value: bool(value <= bound),
        "gt": lambda value: bool(value > bound),
        "gteq": lambda value: bool(value >= bound),
    }
    if operator not in table:
        raise Unreadable(f"{operator} does not order anything")
    return table[operator]


def _within_day(operator: str, day: Moment) -> _Compare:
    """A date is the whole day: ``lteq`` holds until it ends, ``gt`` from its end on (odrl 2.3)."""
    start, end = day.start, day.end
    table: dict[str, _Compare] = {
        "eq": lambda value: bool(start <= value < end),
        "neq": lambda value: not start <= value < end,
        "lt": lambda value: bool(value < start),
        "lteq": lambda value: bool(value < end),
        "gt": lambda value: bool(value >= end),
        "gteq": lambda value: bool(value >= start),
    }
    if operator not in table:
        raise Unreadable(f"{operator} does not order times")
    return table[operator]


def instant(operator: str, text: str, get: Getter, zone: tzinfo | None = None) -> Test:
    """Compare an instant. A value without a zone is UNKNOWN."""
    moment = read_moment(text, zone)
    compare = _within_day(operator, moment) if moment.is_day else _ordered(operator, moment.start)

    def test(facts: Any) -> Truth:
        value = get(facts)
        if not isinstance(value, datetime) or value.tzinfo is None:
            return None
        return compare(value)

    return test


def number(operator: str, text: str, get: Getter) -> Test:
    """Compare a number: ``int`` or ``Decimal``; a float, a bool or a text is UNKNOWN."""
    compare = _ordered(operator, read_number(text))

    def test(facts: Any) -> Truth:
        value = get(facts)
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            return None
        return compare(value)

    return test


def elapsed(operator: str, text: str, get_start: Getter, get_now: Getter) -> Test:
    """Compare the time since ``start`` with a duration, applied to the start instant and not turned into seconds."""
    length = read_duration(text)
    compare = {"lt": datetime.__lt__, "lteq": datetime.__le__, "gt": datetime.__gt__, "gteq": datetime.__ge__}
    if operator not in compare:
        raise Unreadable(f"{operator} does not bound a duration")
    holds = compare[operator]

    def test(facts: Any) -> Truth:
        start, now = get_start(facts), get_now(facts)
        times = isinstance(start, datetime) and isinstance(now, datetime)
        if not times or start.tzinfo is None or now.tzinfo is None or now < start:
            return None
        return holds(now, length.after(start))

    return test


def same(words: Iterable[str]) -> frozenset[str]:
    """The hierarchy of terms that have none."""
    return frozenset(words)


def term(
    operator: str,
    right: Iterable[str],
    get: Getter,
    *,
    down: Down = same,
    known: frozenset[str] | None = None,
) -> Test:
    """Compare terms.

    Args:
        operator: One of the eight that take terms.
        right: Operand of the policy; not empty.
        get: Gives a word or a set of words; nothing, an empty set and a word outside ``known`` are UNKNOWN.
        down: The hierarchy.
        known: The closed set of words, where it is closed.

    Raises:
        Unreadable: no value, a word that is not known, or several values for ``eq``, ``neq`` or ``isA``.
    """
    words = frozenset(right)
    if not words or "" in words:
        raise Unreadable("an empty right operand")
    if known is not None and not words <= known:
        raise Unreadable(f"unknown: {', '.join(sorted(words - known))}")
    if operator in ("eq", "neq") and len(words) > 1:
        raise Unreadable(f"{operator} takes one value")
    compare = _set_operator(operator, words, down)
    answers = {word: compare(frozenset((word,))) for word in known or ()}

    def test(facts: Any) -> Truth:
        value = get(facts)
        if value.__class__ is str and known is not None:
            return answers.get(value)
        if isinstance(value, str):
            value = frozenset((value,)) if value else None
        if not isinstance(value, frozenset) or not value or (known is not None and not value <= known):
            return None
        return compare(value)

    return test


def _set_operator(operator: str, words: frozenset[str], down: Down) -> _Compare:
    inside = down(words)
    table: dict[str, _Compare] = {
        "eq": lambda value: bool(value == words),
        "neq": lambda value: bool(value != words),
        "isA": lambda value: not inside.isdisjoint(value),
        "isAnyOf": lambda value: not inside.isdisjoint(value),
        "isNoneOf": inside.isdisjoint,
        "isAllOf": lambda value: bool(value == words),
        "hasPart": lambda value: words <= down(value),
        "isPartOf": lambda value: bool(value <= inside),
    }
    if operator not in table:
        raise Unreadable(f"{operator} does not compare terms")
    return table[operator]


# --- logic


def all_of(tests: tuple[Test, ...]) -> Test:
    """``and`` and ``andSequence``: one FALSE is FALSE, all TRUE is TRUE, else UNKNOWN; nothing at all is TRUE."""
    if len(tests) == 1:
        return tests[0]

    def test(facts: Any) -> Truth:
        result: Truth = True
        for part in tests:
            value = part(facts)
            if value is False:
                return False
            if value is None:
                result = None
        return result

    return test


def any_of(tests: tuple[Test, ...]) -> Test:
    """``or``: one TRUE is TRUE, all FALSE is FALSE, else UNKNOWN."""

    def test(facts: Any) -> Truth:
        values = [part(facts) for part in tests]
        return True if True in values else None if None in values or not values else False

    return test


def one_of(tests: tuple[Test, ...]) -> Test:
    """``xone``: exactly one TRUE and the rest FALSE; two TRUE is FALSE whatever else is unknown."""

    def test(facts: Any) -> Truth:
        values = [part(facts) for part in tests]
        if values.count(True) > 1:
            return False
        return None if None in values or not values else True in values

    return test


LOGIC: Final[dict[str, Callable[[tuple[Test, ...]], Test]]] = {
    "and": all_of,
    "or": any_of,
    "xone": one_of,
    "andSequence": all_of,
}


# --- rules


def duty_holds(timing: Timing, state: DutyState) -> bool:
    """Whether a duty lets its permission be active.

    BEFORE must be fulfilled. PARALLEL is done by the node itself, in the plan. AFTER must not be violated (odrl 2.5).
    """
    if timing == "BEFORE":
        return state == "FULFILLED"
    return timing == "PARALLEL" or state != "VIOLATED"


def permission_active(premises: Truth, duties: Iterable[tuple[Timing, DutyState]] = ()) -> bool:
    """A permission needs TRUE: UNKNOWN denies."""
    return premises is True and all(duty_holds(timing, state) for timing, state in duties)


def prohibition_active(premises: Truth) -> bool:
    """A prohibition blocks unless FALSE: UNKNOWN denies."""
    return premises is not False
