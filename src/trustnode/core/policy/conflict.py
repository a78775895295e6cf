"""Rules that contradict each other, found when an offer is published and when an agreement is signed.

Decides: which permission and prohibition can meet, and which conditions can never hold. Two rules meet unless some pair
of their constraints is provably exclusive; what cannot be decided counts as meeting (odrl 8, rule 5). Leaves to others:
contradictions between readable terms (``compile``).
"""

from __future__ import annotations

from datetime import datetime
from itertools import combinations
from typing import Final

from trustnode.core.policy.evaluate import Unreadable, read_moment
from trustnode.core.policy.odrl import Constraint, Permission, Policy, Prohibition
from trustnode.core.policy.purposes import PURPOSES, covered
from trustnode.core.policy.words import covers
from trustnode.errors import error

_UPPER: Final = frozenset({"lt", "lteq"})
_LOWER: Final = frozenset({"gt", "gteq"})
_SOME: Final = frozenset({"eq", "isA", "isAnyOf", "isPartOf"})
_NONE: Final = frozenset({"neq", "isNoneOf"})


def check(policy: Policy) -> None:
    """Refuse a policy that contradicts itself, whatever its ``conflict`` strategy would have been.

    Raises:
        POLICY_CONFLICT: names both rules, or the two conditions.
    """
    for number, permission in enumerate(policy.permission):
        _check_satisfiable(f"permission[{number}]", permission)
        for other, prohibition in enumerate(policy.prohibition):
            if meet(permission, prohibition):
                one, two = f"permission[{number}] {permission.action}", f"prohibition[{other}] {prohibition.action}"
                raise error("POLICY_CONFLICT", f"{one} and {two} can apply to the same request", field=one, other=two)


def _check_satisfiable(path: str, permission: Permission) -> None:
    for one, two in combinations(permission.constraint, 2):
        if exclusive(one, two):
            message = f"{path}: two conditions on {one.left} can never hold together"
            raise error("POLICY_CONFLICT", message, field=path)


def meet(permission: Permission, prohibition: Prohibition) -> bool:
    """Whether both rules can apply to one request; "do not know" is yes."""
    overlap = covers(permission.action, prohibition.action) or covers(prohibition.action, permission.action)
    return overlap and not any(exclusive(a, b) for a in permission.constraint for b in prohibition.constraint)


def exclusive(one: Constraint, other: Constraint) -> bool:
    """Whether no request can satisfy both; False where that cannot be proven."""
    if one.left is None or one.left != other.left:
        return False
    if one.left == "purpose":
        return not purposes(one) & purposes(other)
    if one.left == "dateTime":
        return _times_apart(one, other) or _times_apart(other, one)
    return _terms_apart(one, other) or _terms_apart(other, one)


def purposes(constraint: Constraint) -> frozenset[str]:
    """The purposes that satisfy it; all where the operator is of no use for a single value."""
    everything = frozenset(PURPOSES)
    words = frozenset(constraint.values)
    if not words <= everything:
        return everything
    inside = words if constraint.operator in ("eq", "neq") else covered(words)
    if constraint.operator in _SOME:
        return inside
    return everything - inside if constraint.operator in _NONE else everything


def _times_apart(upper: Constraint, lower: Constraint) -> bool:
    if upper.operator not in _UPPER or lower.operator not in _LOWER:
        return False
    end, start = _instant(upper), _instant(lower)
    if end is None or start is None:
        return False
    touches = upper.operator == "lteq" and lower.operator == "gteq"
    return end < start if touches else end <= start


def _instant(constraint: Constraint) -> datetime | None:
    try:
        moment = read_moment(constraint.values[0])
    except Unreadable:
        return None
    return None if moment.is_day else moment.start


def _terms_apart(some: Constraint, none: Constraint) -> bool:
    """A value that must be one of X and none of a superset of X cannot be; holds for sets of values, too."""
    return some.operator in _SOME and none.operator in _NONE and set(some.values) <= set(none.values)
