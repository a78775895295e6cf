"""Permissions and prohibitions made ready: each constraint a closure, with its reason and its words.

Decides: which constraints a rule may have and what a refusal for each is called; refuses every unknown word, naming the
path (odrl 3, rule 1). Leaves to others: operators (``evaluate``), counters (``counters``), duties (``duties``).
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Final, NamedTuple, NoReturn

from trustnode.core.policy import evaluate, odrl, words
from trustnode.core.policy.evaluate import Test, Unreadable
from trustnode.core.policy.odrl import Constraint, Permission, Prohibition
from trustnode.core.policy.purposes import PURPOSES, covered
from trustnode.errors import error

PURPOSE_WORDS: Final = frozenset(PURPOSES)
SERVED: Final[Mapping[str, tuple[str, ...]]] = {"read": ("read", "aggregate"), "aggregate": ("aggregate",)}
"""Permission -> operations it lets through: who may read the rows may be given less."""


class Premise(NamedTuple):
    """One condition of a rule."""

    test: Test
    reason: str
    """Key of ``errors.REASONS`` when it does not hold."""
    words: str
    path: str


class ReadyRule(NamedTuple):
    """A permission or prohibition whose conditions are closures."""

    action: str
    path: str
    premises: tuple[Premise, ...]
    holds: Test
    """All premises together."""


def unknown(path: str, message: str) -> NoReturn:
    """Refuse a word that the profile does not have."""
    raise error("VOCABULARY_UNKNOWN", f"{path}: {message}", field=path)


def _logic(constraint: Constraint) -> str:
    by_name = {"and": constraint.all_of, "or": constraint.any_of, "xone": constraint.one_of}
    return next((name for name, parts in by_name.items() if parts), "andSequence")


def test_of(constraint: Constraint, path: str) -> Test:
    """The closure of a constraint of a permission or prohibition."""
    if constraint.parts:
        name = _logic(constraint)
        parts = tuple(test_of(part, f"{path}.{name}[{number}]") for number, part in enumerate(constraint.parts))
        return evaluate.LOGIC[name](parts)
    operand = words.OPERANDS.get(constraint.left or "")
    if operand is None:
        unknown(f"{path}.leftOperand", f"{constraint.left!r} is not known here")
    if constraint.operator not in words.OPERATORS[operand.kind]:
        unknown(f"{path}.operator", f"{constraint.operator} does not go with {constraint.left}")
    _refuse_annotations(constraint, path, words.DATATYPES[operand.kind])
    try:
        return _atomic(operand, constraint)
    except Unreadable as cause:
        raise error("FIELD_FORMAT", f"{path}.rightOperand: {cause}", field=path) from None


def _refuse_annotations(constraint: Constraint, path: str, datatypes: frozenset[str]) -> None:
    if constraint.unit is not None:
        unknown(f"{path}.unit", f"{constraint.left} takes no unit")
    if isinstance(constraint.right, odrl.Typed) and constraint.right.type not in datatypes:
        unknown(f"{path}.rightOperand.@type", f"{constraint.right.type!r} does not go with {constraint.left}")


def _atomic(operand: words.Operand, constraint: Constraint) -> Test:
    name, values = str(constraint.operator), constraint.values
    if operand.kind in ("instant", "elapsed") and len(values) != 1:
        raise Unreadable("one value expected")
    if operand.kind == "instant":
        return evaluate.instant(name, values[0], attrgetter(operand.attribute))
    if operand.kind == "elapsed":
        return evaluate.elapsed(name, values[0], attrgetter("start"), attrgetter("now"))
    if operand.kind == "purpose":
        return evaluate.term(name, values, attrgetter("purpose"), down=covered, known=PURPOSE_WORDS)
    return evaluate.term(name, values, attrgetter(operand.attribute))


DATA_STATE: Final = "tn:dataState"
"""Says of what is handed on or made what it must be; compared with nothing at a request."""


def is_counter(constraint: Constraint) -> bool:
    """Whether it limits a quantity, which is reserved and not compared."""
    return constraint.left in words.COUNTERS or constraint.left == words.EPSILON


def ready(rule: Permission | Prohibition, path: str, place: words.Place) -> ReadyRule:
    """Make a rule ready.

    Raises:
        VOCABULARY_UNKNOWN, FIELD_FORMAT: what is not known or cannot be read, with its path.
    """
    check_action(rule.action, path, place)
    premises = []
    for number, constraint in enumerate(rule.constraint):
        where = f"{path}.constraint[{number}]"
        if constraint.left == DATA_STATE and rule.action in ("distribute", "derive"):
            _check_data_state(constraint, where)
        elif not (is_counter(constraint) and place == "permission" and rule.action in SERVED):
            premises.append(_premise(constraint, where))
    holds = evaluate.all_of(tuple(premise.test for premise in premises))
    return ReadyRule(rule.action, path, tuple(premises), holds)


def _premise(constraint: Constraint, path: str) -> Premise:
    test = test_of(constraint, path)
    operand = words.OPERANDS.get(constraint.left or "")
    reason = operand.reason if operand else "DEFAULT_DENIED"
    if constraint.left in ("dateTime", "elapsedTime") and constraint.operator in ("gt", "gteq"):
        reason = "DEFAULT_DENIED"
    return Premise(test, reason, phrase(constraint), path)


def _check_data_state(constraint: Constraint, path: str) -> None:
    _refuse_annotations(constraint, path, frozenset())
    if constraint.operator != "eq" or not words.DATA_STATES.issuperset(constraint.values):
        unknown(path, f"{DATA_STATE} eq {' or '.join(sorted(words.DATA_STATES))} expected")


def check_action(action: str, path: str, place: words.Place) -> None:
    """Refuse an action that is unknown, or not known in this place."""
    known = words.ACTIONS.get(action)
    if known is None or place not in known.places:
        unknown(f"{path}.action", f"{action!r} is not known as the action of a {place}")


_PHRASES: Final[Mapping[str, str]] = {
    "eq": "is",
    "neq": "is not",
    "lt": "before",
    "lteq": "at most",
    "gt": "after",
    "gteq": "from",
    "isA": "is",
    "isAnyOf": "one of",
    "isNoneOf": "none of",
    "isAllOf": "exactly",
    "hasPart": "includes",
    "isPartOf": "only",
}


def phrase(constraint: Constraint) -> str:
    """A constraint in words, for refusals and for policies that have no short form."""
    if constraint.left is None:
        joint = " or " if constraint.any_of else " xor " if constraint.one_of else " and "
        return "(" + joint.join(phrase(part) for part in constraint.parts) + ")"
    name = constraint.left.removeprefix("tn:")
    value = ", ".join(constraint.values)
    unit = f" {constraint.unit.removeprefix('tn:')}" if constraint.unit else ""
    return f"{name} {_PHRASES[str(constraint.operator)]} {value}{unit}"
