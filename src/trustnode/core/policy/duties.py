"""Duties of a policy: what is owed, when, and how it is kept.

Decides: which duties exist in which place, with which parameters (``words.FORMS``), and the class of each. Leaves to
others: what the plan does with its own (``plan``), deadlines and proofs (``access``, ``settlement``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal, NamedTuple

from trustnode.core.policy import counters, duration, grammar, odrl, rows, trace, words
from trustnode.core.policy.governed import USES
from trustnode.core.policy.masks import MASKS
from trustnode.core.policy.odrl import Constraint, Duty, Policy, Timing
from trustnode.core.policy.premises import check_action, phrase, unknown
from trustnode.core.policy.terms import Kept
from trustnode.errors import error

Place = Literal["duty", "obligation"]


class Owed(NamedTuple):
    """A duty somebody owes: the node while data flow, the consumer before or after."""

    name: str
    action: str
    timing: Timing
    kept: Kept
    within: str
    """ISO duration until it is due, or between two reports; empty: no date."""
    words: str
    path: str


class ReadDuty(NamedTuple):
    """A duty with its parameters read."""

    duty: Duty
    path: str
    parameters: Mapping[str, Constraint]

    def one(self, name: str) -> str:
        """The single value of a parameter; empty where it is not given."""
        found = self.parameters.get(name)
        return found.values[0] if found else ""

    def several(self, name: str) -> tuple[str, ...]:
        """All values of a parameter."""
        found = self.parameters.get(name)
        return found.values if found else ()


def read(duty: Duty, path: str, place: Place) -> ReadDuty:
    """Read a duty strictly.

    Raises:
        VOCABULARY_UNKNOWN, FIELD_FORMAT, FIELD_MISSING: what its form does not have, or lacks; with the path.
    """
    check_action(duty.action, path, place)
    form = words.FORMS.get((place, duty.action))
    if form is None or duty.timing not in form.timings:
        unknown(f"{path}.tn:timing", f"{duty.action} is not done {duty.timing}")
    found: dict[str, Constraint] = {}
    for number, constraint in enumerate(duty.constraint):
        where = f"{path}.constraint[{number}]"
        found[_check_parameter(constraint, where, form, found)] = constraint
    for name, parameter in form.parameters.items():
        if parameter.required and name not in found:
            raise error("FIELD_MISSING", f"{path}: {duty.action} needs {name}", field=path)
    read = ReadDuty(duty, path, found)
    _check_values(read)
    return read


def _check_parameter(constraint: Constraint, path: str, form: words.Form, found: Mapping[str, Constraint]) -> str:
    name = constraint.left or ""
    if name not in form.parameters or name in found:
        unknown(f"{path}.leftOperand", f"{name!r} is not known here, or stands twice")
    if constraint.operator not in form.parameters[name].operators:
        unknown(f"{path}.operator", f"{constraint.operator} does not go with {name}")
    if (constraint.unit is not None) != (name == "payAmount") or isinstance(constraint.right, odrl.Typed):
        unknown(f"{path}.unit", f"{name} does not take a unit or a datatype, payAmount takes its currency")
    is_list = "isPartOf" in form.parameters[name].operators
    if "" in constraint.values or (len(constraint.values) != 1 and not is_list):
        raise error("FIELD_FORMAT", f"{path}.rightOperand: one value expected", field=path)
    return name


_CLOSED: Final[Mapping[str, frozenset[str]]] = {
    "tn:method": frozenset(MASKS),
    "tn:useKind": frozenset(USES) - {"aggregate"},
    "tn:per": frozenset({"once", "month", "read", "row"}),
    "event": words.EVENTS,
    "tn:dataState": words.DATA_STATES,
}
_DURATIONS: Final = ("delayPeriod", "timeInterval", "tn:retention")


def _check_values(read: ReadDuty) -> None:
    for name, closed in _CLOSED.items():
        value = read.one(name)
        if value and value not in closed:
            unknown(f"{read.path}.{name}", f"{value!r} is not known here")
    for name in _DURATIONS:
        value = read.one(name)
        length = duration.parse(value) if value else None
        if value and (length is None or (name == "timeInterval" and not length.at_least_s)):
            raise error("FIELD_FORMAT", f"{read.path}.{name}: {value!r} is no duration", field=read.path)
    if "payAmount" in read.parameters:
        pay = read.parameters["payAmount"]
        timing = "BEFORE" if read.one("tn:per") == "once" else "AFTER"
        grammar.parse_price(f"{pay.values[0]} {pay.unit} {_PER_WORDS[read.one('tn:per')]}")
        if read.duty.timing != timing:
            unknown(f"{read.path}.tn:timing", f"what is paid per {read.one('tn:per')} is paid {timing}")
    if "tn:expression" in read.parameters:
        rows.parse(read.one("tn:expression"))
    for text in read.several("tn:measure"):
        grammar.parse_measure(text)
    if "tn:minGroupSize" in read.parameters:
        counters.whole(read.parameters["tn:minGroupSize"], read.path)
    if "tn:quantum" in read.parameters:
        trace.quantum(read.one("tn:quantum"))
        trace.rows(read.one("tn:markerRows") or "0")


_PER_WORDS: Final = {"once": "once", "month": "per month", "read": "per read", "row": "per row"}

_KEPT: Final[Mapping[str, Kept]] = {
    "tn:rowFilter": "enforced",
    "tn:project": "enforced",
    "tn:mask": "enforced",
    "tn:columnUse": "enforced",
    "tn:aggregateColumn": "enforced",
    "tn:aggregateOnly": "enforced",
    "tn:watermark": "enforced",
    "tn:dp": "enforced",
    "delete": "proven",
    "attribute": "promised",
    "tn:policyTransmit": "promised",
    "inform:USE": "proven",
    "inform:LEAK": "promised",
    "obligation:compensate": "proven",
    "compensate:BEFORE": "enforced",
    "compensate:AFTER": "promised",
}
"""Class of every duty a policy can hold; a test holds it against ``words.FORMS``. What is paid for the use is proven
where an obligation beside it says by when."""


def owed(read: ReadDuty, place: Place) -> Owed:
    """Who owes what by when, with a name that evidence can refer to."""
    action, event = read.duty.action, read.one("event")
    name = f"{action}:{event}" if event else f"obligation:{action}" if place == "obligation" else action
    keys = (name, action, f"{action}:{read.duty.timing}")
    kept = next(_KEPT[key] for key in keys if key in _KEPT)
    if name == "inform:USE" and not read.one("timeInterval"):
        kept = "promised"  # on no day is it overdue
    within = next((read.one(key) for key in _DURATIONS if read.one(key)), "")
    details = "; ".join(phrase(constraint) for constraint in read.duty.constraint)
    text = f"{action.removeprefix('tn:')} {details}".strip()
    return Owed(name, action, read.duty.timing, kept, within, text, read.path)


def places(policy: Policy) -> Iterator[tuple[str, Duty, Place]]:
    """Every duty of a policy with its path and its place."""
    for path, rule in odrl.rules(policy):
        if isinstance(rule, Duty):
            yield path, rule, "obligation" if path.startswith("obligation") else "duty"
