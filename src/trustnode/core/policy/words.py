"""The node's ODRL profile: which actions, operands, operators and datatypes a policy may use, and where.

Decides: the closed tables that make everything else unknown, and so refused (odrl 3, rule 1). Leaves to others: the
shape of a policy (``odrl``), comparing values (``evaluate``) and what the duties do (``compiled``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

Kind = Literal["instant", "elapsed", "purpose", "term"]
"""How an operand compares: times, time since the start, purposes with their hierarchy, plain terms."""

Place = Literal["permission", "prohibition", "duty", "obligation"]


class Action(NamedTuple):
    """One action."""

    parent: str
    """The action it is included in; empty for a root."""
    places: frozenset[Place]


def _action(parent: str, *places: Place) -> Action:
    return Action(parent, frozenset(places))


ACTIONS: Final[Mapping[str, Action]] = {
    "use": _action("", "prohibition"),
    "transfer": _action("", "prohibition"),
    "read": _action("use", "permission", "prohibition"),
    "aggregate": _action("use", "permission", "prohibition"),
    "reproduce": _action("use", "prohibition"),
    "distribute": _action("use", "permission", "prohibition"),
    "derive": _action("use", "permission", "prohibition"),
    "grantUse": _action("use", "prohibition"),
    "sell": _action("transfer", "prohibition"),
    "delete": _action("use", "obligation"),
    "inform": _action("use", "obligation"),
    "attribute": _action("use", "obligation"),
    "compensate": _action("use", "duty", "obligation"),
    "tn:policyTransmit": _action("use", "duty", "obligation"),
    "tn:rowFilter": _action("use", "duty"),
    "tn:project": _action("use", "duty"),
    "tn:mask": _action("use", "duty"),
    "tn:columnUse": _action("use", "duty"),
    "tn:aggregateColumn": _action("use", "duty"),
    "tn:aggregateOnly": _action("use", "duty"),
    "tn:watermark": _action("use", "duty"),
    "tn:dp": _action("use", "duty"),
}
"""Closed. ``use`` is never permitted as a whole: beside a prohibition of ``distribute`` it would void the policy."""


def covers(ancestor: str, action: str) -> bool:
    """Whether a rule on ``ancestor`` reaches ``action`` (``includedIn``, transitive)."""
    while action and action != ancestor:
        action = ACTIONS[action].parent
    return action == ancestor


class Operand(NamedTuple):
    """One left operand of permissions and prohibitions that a decision compares."""

    kind: Kind
    attribute: str
    """Field or property of ``compiled.Request`` that holds the value."""
    reason: str
    """Reason of the refusal when it does not hold."""


OPERANDS: Final[Mapping[str, Operand]] = {
    "dateTime": Operand("instant", "now", "GRANT_EXPIRED"),
    "elapsedTime": Operand("elapsed", "elapsed", "GRANT_EXPIRED"),
    "purpose": Operand("purpose", "purpose", "PURPOSE_NOT_AGREED"),
    "recipient": Operand("term", "consumer", "DEFAULT_DENIED"),
    "tn:role": Operand("term", "roles", "ROLE_NOT_ALLOWED"),
    "tn:membership": Operand("term", "membership", "DEFAULT_DENIED"),
    "tn:assuranceLevel": Operand("term", "assurance", "DEFAULT_DENIED"),
    "tn:jurisdiction": Operand("term", "areas", "DEFAULT_DENIED"),
}
"""Closed. Every value comes from certificate, registry, clock or agreement; the purpose alone is a recorded claim."""

ORDERED: Final = frozenset({"eq", "neq", "lt", "lteq", "gt", "gteq"})
BOUNDS: Final = frozenset({"lt", "lteq", "gt", "gteq"})
SETS: Final = frozenset({"eq", "neq", "isA", "isAnyOf", "isNoneOf", "isAllOf", "hasPart", "isPartOf"})
OPERATORS: Final[Mapping[Kind, frozenset[str]]] = {
    "instant": ORDERED,
    "elapsed": BOUNDS,
    "purpose": SETS,
    "term": SETS,
}
DATATYPES: Final[Mapping[Kind, frozenset[str]]] = {
    "instant": frozenset({"xsd:dateTime"}),
    "elapsed": frozenset({"xsd:duration"}),
    "purpose": frozenset({"xsd:string"}),
    "term": frozenset({"xsd:string"}),
}

Unit = Literal["count", "rows", "bytes", "running"]
"""What a limit counts; ``running``: reads that go on at the same time."""
Window = Literal["none", "minute", "hour", "day", "week", "month", "year"]
COUNTERS: Final[Mapping[str, Unit]] = {
    "count": "count",
    "tn:frequency": "count",
    "tn:rowsReturned": "rows",
    "tn:bytesReturned": "bytes",
    "tn:concurrentReads": "running",
}
"""Operands that are reserved before the plan runs and settled after it, never compared (odrl 9)."""
EPSILON: Final = "tn:epsilon"
"""What all questions of a window may cost: reserved before the plan runs, and never given back (privacy 3.4)."""
WINDOWS: Final[Mapping[str, Window]] = {
    "tn:perMinute": "minute",
    "tn:perHour": "hour",
    "tn:perDay": "day",
    "tn:perWeek": "week",
    "tn:perMonth": "month",
    "tn:perYear": "year",
}

ROLES: Final = frozenset({"PROVIDER", "CONSUMER", "SERVICE_PARTY", "MERCHANT", "CUSTODIAN", "SUPERVISOR", "AUDITOR"})
"""Words of ``vocabulary`` Role that may be named in ``who``: those a participant can hold."""
ASSURANCE: Final[Mapping[str, str]] = {
    "person-checked": "个人实名核验",
    "biometric-checked": "生物特征核验",
    "organisation-checked": "组织身份核验",
}
"""What a venue may vouch for about a participant (NDI-TR-03, tables of real-name and organisation checks)."""


class Parameter(NamedTuple):
    """One parameter of a duty, written as a constraint."""

    operators: frozenset[str]
    required: bool = False


_EQ: Final = frozenset({"eq"})
_AT_MOST: Final = frozenset({"lteq"})
_ANY: Final = frozenset({"isPartOf"})


class Form(NamedTuple):
    """What a duty must look like."""

    timings: frozenset[str]
    parameters: Mapping[str, Parameter]


FORMS: Final[Mapping[tuple[Place, str], Form]] = {
    ("duty", "tn:rowFilter"): Form(frozenset({"PARALLEL"}), {"tn:expression": Parameter(_EQ, True)}),
    ("duty", "tn:project"): Form(frozenset({"PARALLEL"}), {"tn:column": Parameter(_ANY, True)}),
    ("duty", "tn:mask"): Form(
        frozenset({"PARALLEL"}),
        {
            "tn:column": Parameter(_EQ, True),
            "tn:method": Parameter(_EQ, True),
            "tn:parameter": Parameter(_EQ),
        },
    ),
    ("duty", "tn:columnUse"): Form(
        frozenset({"PARALLEL"}),
        {
            "tn:column": Parameter(_EQ, True),
            "tn:useKind": Parameter(_EQ, True),
        },
    ),
    ("duty", "tn:aggregateColumn"): Form(
        frozenset({"PARALLEL"}),
        {
            "tn:column": Parameter(_EQ, True),
            "tn:minGroupSize": Parameter(frozenset({"gteq"}), True),
            "tn:privacyUnit": Parameter(_EQ),
        },
    ),
    ("duty", "tn:aggregateOnly"): Form(
        frozenset({"PARALLEL"}),
        {
            "tn:privacyUnit": Parameter(_EQ, True),
            "tn:groupBy": Parameter(_ANY),
            "tn:measure": Parameter(_ANY, True),
            "tn:minGroupSize": Parameter(frozenset({"gteq"}), True),
        },
    ),
    ("duty", "tn:watermark"): Form(
        frozenset({"PARALLEL"}),
        {
            "tn:column": Parameter(_EQ, True),
            "tn:quantum": Parameter(_EQ, True),
            "tn:key": Parameter(_EQ, True),
            "tn:markerRows": Parameter(_AT_MOST),
        },
    ),
    ("duty", "tn:dp"): Form(
        frozenset({"PARALLEL"}),
        {
            "tn:epsilonPerQuery": Parameter(_EQ, True),
            "tn:delta": Parameter(_EQ, True),
            "tn:groupsPerPerson": Parameter(_AT_MOST, True),
            "tn:rowsPerGroup": Parameter(_AT_MOST, True),
            "tn:clamp": Parameter(_ANY),
            "tn:keys": Parameter(_ANY),
        },
    ),
    ("duty", "compensate"): Form(
        frozenset({"BEFORE", "AFTER"}), {"payAmount": Parameter(_EQ, True), "tn:per": Parameter(_EQ, True)}
    ),
    ("duty", "tn:policyTransmit"): Form(frozenset({"AFTER"}), {}),
    ("obligation", "delete"): Form(frozenset({"AFTER"}), {"tn:retention": Parameter(_AT_MOST, True)}),
    ("obligation", "attribute"): Form(frozenset({"AFTER"}), {}),
    ("obligation", "compensate"): Form(frozenset({"AFTER"}), {"delayPeriod": Parameter(_AT_MOST, True)}),
    ("obligation", "inform"): Form(
        frozenset({"AFTER"}),
        {"event": Parameter(_EQ, True), "timeInterval": Parameter(_EQ), "delayPeriod": Parameter(_AT_MOST)},
    ),
    ("obligation", "tn:policyTransmit"): Form(frozenset({"AFTER"}), {"tn:dataState": Parameter(_EQ, True)}),
}
"""Closed: a duty in another place, at another time or with another parameter is refused."""

DATA_STATES: Final = frozenset({"AGGREGATED", "DERIVED"})
EVENTS: Final = frozenset({"USE", "LEAK"})
