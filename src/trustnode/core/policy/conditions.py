"""Terms to conditions: who may do it, where, when, how often and what for.

Decides: the constraints that ``purposes``, ``not_for``, ``who``, ``places``, ``period`` and ``limits`` mean, in their
canonical order. Leaves to others: everything else of a policy (``compile``), the grammar of values (``grammar``),
comparing conditions (``subsume``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Final

from trustnode import vocabulary
from trustnode.core.policy import grammar, noise, odrl
from trustnode.core.policy.odrl import Constraint
from trustnode.core.policy.purposes import PURPOSES, covered
from trustnode.core.policy.terms import Terms
from trustnode.core.policy.words import COUNTERS, WINDOWS, Window
from trustnode.errors import TrustnodeError, error

_UNIT_ORDER: Final = ("count", "rows", "bytes", "running")
_WINDOW_UNIT: Final[Mapping[Window, str]] = {window: unit for unit, window in WINDOWS.items()}


def contradiction(key: str, message: str) -> TrustnodeError:
    """The refusal of terms that cannot hold together."""
    return error("POLICY_CONFLICT", message, field=key)


def premises(terms: Terms, offset: timezone, at: datetime) -> tuple[Constraint, ...]:
    """Every condition of the permission that serves data.

    Raises:
        POLICY_CONFLICT: two terms contradict each other, or the period is over at ``at``.
        VOCABULARY_UNKNOWN, FIELD_FORMAT: as named.
    """
    return (
        *period(terms, offset, at),
        *purposes(terms),
        *who(terms),
        *places(terms),
        *limits(terms),
        *noise.premise(terms),
    )


def atom(left: str, operator: odrl.Operator, right: str | tuple[str, ...], unit: str | None = None) -> Constraint:
    """One comparison."""
    return Constraint(left=left, operator=operator, right=right, unit=unit)


def period(terms: Terms, offset: timezone, at: datetime) -> tuple[Constraint, ...]:
    """Whole days in the zone ``offset``, or a span from signing."""
    said = grammar.parse_period(terms.period)
    if isinstance(said, str):
        return (atom("elapsedTime", "lteq", said),)
    start, end = grammar.bounds(said, offset)
    if datetime.fromisoformat(end) <= at:
        raise contradiction("period", f"period = {terms.period!r} is over")
    return (atom("dateTime", "gteq", start), atom("dateTime", "lt", end))


def _known_purposes(field: str, words: Iterable[str]) -> tuple[str, ...]:
    for word in words:
        if word not in PURPOSES:
            raise vocabulary.unknown(field, word, PURPOSES)
    return tuple(sorted(set(words)))


def purposes(terms: Terms) -> tuple[Constraint, ...]:
    """Allowed purposes, minus the forbidden ones where a purpose could be both: rules that meet void a policy."""
    forbidden = covered(_known_purposes("not_for", terms.not_for))
    constraint: tuple[Constraint, ...]
    if terms.purposes == "any":
        allowed, constraint = frozenset(PURPOSES), ()
    else:
        words = _known_purposes("purposes", several("purposes", terms.purposes, "any"))
        for word in words:
            if word in forbidden:
                raise contradiction("not_for", f"purposes allow {word}, not_for forbids it: {', '.join(terms.not_for)}")
        allowed, constraint = covered(words), (atom("purpose", "isAnyOf", words),)
    if not allowed - forbidden:
        raise contradiction("not_for", "not_for leaves no purpose")
    return (*constraint, *except_forbidden(terms, allowed))


def except_forbidden(terms: Terms, allowed: frozenset[str]) -> tuple[Constraint, ...]:
    """What ``not_for`` takes away from ``allowed``, where it takes something."""
    words = tuple(sorted(set(terms.not_for)))
    return (atom("purpose", "isNoneOf", words),) if words and allowed & covered(words) else ()


def several(key: str, value: str | tuple[str, ...], alone: str) -> tuple[str, ...]:
    """A list; a single text is refused unless it is the word that stands alone, which the caller took out before."""
    if isinstance(value, str):
        raise vocabulary.unknown(key, value, [alone])
    if alone in value:
        raise contradiction(key, f'{key}: "{alone}" stands alone, without a list')
    return value


def who(terms: Terms) -> tuple[Constraint, ...]:
    """Any word of one kind, all kinds."""
    if terms.who == "anyone":
        return ()
    found: dict[str, set[str]] = {kind: set() for kind in grammar.WHO}
    for text in several("who", terms.who, "anyone"):
        kind, word = grammar.parse_who(text)
        found[kind].add(text if grammar.WHO[kind] == "tn:membership" else word)
    return tuple(atom(grammar.WHO[kind], "isAnyOf", tuple(sorted(words))) for kind, words in found.items() if words)


def places(terms: Terms) -> tuple[Constraint, ...]:
    """Any of the areas."""
    words = tuple(sorted({grammar.parse_place(text) for text in terms.places}))
    return (atom("tn:jurisdiction", "isAnyOf", words),) if words else ()


def limits(terms: Terms) -> tuple[Constraint, ...]:
    """Each unit once in a window, in one order."""
    found = [grammar.parse_limit(text) for text in terms.limits]
    if len({(limit.unit, limit.window) for limit in found}) < len(found):
        raise contradiction("limits", "limits: two lines limit the same unit in the same window")
    windows = ("none", *WINDOWS.values())
    found.sort(key=lambda limit: (_UNIT_ORDER.index(limit.unit), windows.index(limit.window)))
    return tuple(_limit(limit) for limit in found)


def _limit(limit: grammar.Limit) -> Constraint:
    unit = _WINDOW_UNIT.get(limit.window)
    names = [name for name, counted in COUNTERS.items() if counted == limit.unit]
    name = "tn:frequency" if limit.unit == "count" and unit else names[0]
    return atom(name, "lteq", str(limit.amount), unit)
