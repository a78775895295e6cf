"""Rules that contradict each other, found when an offer is published and when an agreement is signed.

Decides: which permission and prohibition can meet, which conditions can never hold, and what the ``conflict`` of a
policy would say. Two rules meet unless their conditions provably exclude each other; what cannot be decided counts as
meeting (odrl 8, rule 5). Leaves to others: contradictions between readable terms (``compile``), proofs (``subsume``).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Final

from trustnode.core.policy import subsume
from trustnode.core.policy.odrl import Constraint, Permission, Policy, Prohibition, Strategy
from trustnode.core.policy.purposes import PURPOSES, covered
from trustnode.core.policy.subsume import NOT_FALSE, TRUE, Space
from trustnode.core.policy.words import covers
from trustnode.errors import error

MAX_COMPARED: Final = 250_000
"""Pairs of boxes looked at; a policy beyond that is refused, for nobody could say that its rules do not meet."""
_SOME: Final = frozenset({"eq", "isA", "isAnyOf", "isPartOf"})
_NONE: Final = frozenset({"neq", "isNoneOf"})

_ELSEWHERE: Final[Mapping[Strategy, str]] = {
    "perm": 'conflict = "perm" would let the permission win; here no beats yes',
    "prohibit": 'conflict = "prohibit" would let the prohibition win; say so in the permission',
    "invalid": "such a policy is void",
}


def strategy(policy: Policy) -> Strategy:
    """What ``conflict`` says: silence is ``invalid``, and so are several that differ, as merged policies have them."""
    if isinstance(policy.conflict, tuple):
        return policy.conflict[0] if len(set(policy.conflict)) == 1 else "invalid"
    return policy.conflict or "invalid"


def check(policy: Policy) -> None:
    """Refuse a policy that contradicts itself, whatever its strategy: nobody may believe that a rule binds which loses.

    Raises:
        POLICY_CONFLICT: names both rules, or the two conditions.
    """
    for number, permission in enumerate(policy.permission):
        _check_satisfiable(f"permission[{number}]", permission)
    for path, other in meetings(policy):
        text = f"{path} and {other} can apply to the same request: {_ELSEWHERE[strategy(policy)]}"
        raise error("POLICY_CONFLICT", text, field=path, other=other)


def _check_satisfiable(path: str, permission: Permission) -> None:
    for one, two in combinations(permission.constraint, 2):
        if exclusive(one, two):
            message = f"{path}: two conditions on {one.left} can never hold together"
            raise error("POLICY_CONFLICT", message, field=path)
    if not Space(permission.constraint, widest=True).boxes(permission.constraint, TRUE):
        raise error("POLICY_CONFLICT", f"{path}: its conditions can never hold together", field=path)


def meetings(policy: Policy) -> list[tuple[str, str]]:
    """The pairs of permission and prohibition that can apply to one request; "do not know" is yes."""
    constraints = [part for rule in policy.permission for part in rule.constraint]
    constraints += [part for rule in policy.prohibition for part in rule.constraint]
    space = Space(constraints, widest=True)
    allowed = [space.boxes(rule.constraint, TRUE) for rule in policy.permission]
    forbidden = [space.boxes(rule.constraint, NOT_FALSE) for rule in policy.prohibition]
    found, compared = [], 0
    for number, permission in enumerate(policy.permission):
        for other, prohibition in enumerate(policy.prohibition):
            if not _reaches(permission, prohibition):
                continue
            compared += len(allowed[number]) * len(forbidden[other])
            if compared > MAX_COMPARED or subsume.may_meet(allowed[number], forbidden[other]):
                found.append(
                    (f"permission[{number}] {permission.action}", f"prohibition[{other}] {prohibition.action}")
                )
    return found


def _reaches(permission: Permission, prohibition: Prohibition) -> bool:
    return covers(permission.action, prohibition.action) or covers(prohibition.action, permission.action)


def exclusive(one: Constraint, other: Constraint) -> bool:
    """Whether no request can satisfy both; False where that cannot be proven."""
    if one.left is None or one.left != other.left:
        return False
    space = Space((one, other), widest=True)
    return not space.boxes((one, other), TRUE)


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
