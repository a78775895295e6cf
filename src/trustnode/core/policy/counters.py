"""Limits of a policy: what is reserved before a plan runs and settled after it.

Decides: which quantities in which windows a permission limits, and the reason when one is used up (odrl 9). Leaves to
others: keeping the counters (``store``), reserving and settling (``app.access``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from trustnode.core.policy import grammar, odrl, words
from trustnode.core.policy.odrl import Constraint, Permission
from trustnode.core.policy.premises import is_counter, unknown
from trustnode.core.policy.words import Unit, Window
from trustnode.errors import error

Exhausted = Literal["QUOTA_TOTAL", "QUOTA_AGREED", "QUOTA_WINDOW", "QUOTA_AT_ONCE"]
_WHOLE: Final[Mapping[Unit, Exhausted]] = {
    "count": "QUOTA_AGREED",
    "rows": "QUOTA_TOTAL",
    "bytes": "QUOTA_TOTAL",
    "running": "QUOTA_AT_ONCE",
}
"""Reason of a limit without a window."""


class Counter(NamedTuple):
    """A limit to reserve before the plan runs and to settle after it (odrl 9)."""

    name: str
    """``rows/none``, ``count/day``: stable, for the counter's row."""
    unit: Unit
    window: Window
    """``none``: over the whole agreement."""
    limit: int
    """The largest total allowed."""
    reason: Exhausted
    words: str


def read(permission: Permission, path: str) -> tuple[Counter, ...]:
    """The limits of a permission.

    Raises:
        POLICY_CONFLICT: the same quantity is limited twice in the same window.
        VOCABULARY_UNKNOWN, FIELD_FORMAT: what cannot be counted, with its path.
    """
    found = [
        _counter(constraint, f"{path}.constraint[{number}]")
        for number, constraint in enumerate(permission.constraint)
        if is_counter(constraint) and constraint.left != words.EPSILON
    ]
    if len({counter.name for counter in found}) < len(found):
        raise error("POLICY_CONFLICT", f"{path}: two limits of the same unit in the same window", field=path)
    return tuple(found)


def _counter(constraint: Constraint, path: str) -> Counter:
    left, unit = str(constraint.left), words.COUNTERS[str(constraint.left)]
    if constraint.operator not in ("lt", "lteq"):
        unknown(f"{path}.operator", f"{constraint.operator} does not limit {left}")
    window = words.WINDOWS.get(constraint.unit or "", "none")
    is_windowed = window != "none"
    fits = {"count": is_windowed == (left == "tn:frequency"), "running": not is_windowed}.get(unit, True)
    if bool(constraint.unit) != is_windowed or not fits:
        unknown(f"{path}.unit", f"{constraint.unit!r} does not go with {left}")
    limit = whole(constraint, path) - (constraint.operator == "lt")
    reason = "QUOTA_WINDOW" if is_windowed else _WHOLE[unit]
    text = grammar.limit_words(grammar.Limit(limit, unit, window))
    return Counter(f"{unit}/{window}", unit, window, limit, reason, text)


def whole(constraint: Constraint, path: str) -> int:
    """The right operand as a whole number up to 2^53 - 1.

    Raises:
        FIELD_FORMAT: it is none.
    """
    text = constraint.values[0] if len(constraint.values) == 1 else ""
    is_plain = not isinstance(constraint.right, odrl.Typed) and text.isascii() and text.isdigit() and len(text) <= 16
    if not is_plain or int(text) > grammar.MAX_AMOUNT:
        raise error("FIELD_FORMAT", f"{path}.rightOperand: a whole number up to 2^53 - 1 expected", field=path)
    return int(text)
