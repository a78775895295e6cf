"""ODRL back to terms, for all that terms can say.

Decides: which policies have a short form; anything that ``compile`` would not have written is ``no short form for`` its
path. Leaves to others: comparing policies (``odrl.same_terms``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NoReturn

from trustnode.core.policy import compiled, duration, grammar, noise, trace, uses, words
from trustnode.core.policy.odrl import Constraint, Duty, Permission, Policy, Typed
from trustnode.core.policy.terms import Terms
from trustnode.errors import error


def to_terms(policy: Policy) -> tuple[Terms, str]:
    """The readable form of a policy, and its price.

    Raises:
        VOCABULARY_UNKNOWN: ``no short form for: <path>``; the policy is valid all the same and has words.
        Whatever ``compiled.load`` raises: the policy is not valid here.
    """
    compiled.load(policy)
    found: dict[str, Any] = {"purposes": "any", "who": "anyone", "keep": "unlimited"}
    served = [(n, rule) for n, rule in enumerate(policy.permission) if rule.action in ("read", "aggregate")]
    if len(served) != 1:
        _none("permission")
    number, main = served[0]
    if main.action == "aggregate":
        found["result"] = "aggregates"
    _read_premises(main, f"permission[{number}]", found)
    price = _read_plan(main, f"permission[{number}]", found)
    _read_noise(main, found)
    _read_prohibitions(policy, found)
    _read_besides(policy, found)
    _read_obligations(policy, found)
    said: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
    return Terms(**said), price


def _none(path: str) -> NoReturn:
    raise error("VOCABULARY_UNKNOWN", f"no short form for: {path}", field=path)


# --- premises


def _read_premises(main: Permission, path: str, found: dict[str, Any]) -> None:
    bounds: dict[str, str] = {}
    for number, constraint in enumerate(main.constraint):
        where = f"{path}.constraint[{number}]"
        if constraint.left is None or isinstance(constraint.right, Typed):
            _none(where)
        if constraint.left == "dateTime" and constraint.operator in ("gteq", "lt"):
            bounds[constraint.operator] = constraint.values[0]
        elif constraint.left == words.EPSILON:
            continue
        elif constraint.left in words.COUNTERS:
            found.setdefault("limits", []).append(_limit(constraint, where))
        else:
            _read_premise(constraint, where, found)
    if bounds:
        days = grammar.days_between(bounds.get("gteq", ""), bounds.get("lt", ""))
        if days is None or "period" in found:
            _none(f"{path}.constraint")
        found["period"] = f"{days.first.isoformat()} to {days.last.isoformat()}"
    if "period" not in found:
        _none(f"{path}.constraint")


def _limit(constraint: Constraint, path: str) -> str:
    value = constraint.values[0]
    if constraint.operator != "lteq" or not value.isdigit():
        _none(path)
    unit = words.COUNTERS[str(constraint.left)]
    window = words.WINDOWS.get(constraint.unit or "", "none")
    return grammar.limit_words(grammar.Limit(int(value), unit, window))


def _read_premise(constraint: Constraint, path: str, found: dict[str, Any]) -> None:
    left, operator, values = str(constraint.left), constraint.operator, constraint.values
    if (left, operator) == ("elapsedTime", "lteq") and (span := duration.to_words(values[0])):
        found["period"] = span
    elif (left, operator) == ("purpose", "isAnyOf") and found["purposes"] == "any":
        found["purposes"] = values
    elif (left, operator) == ("purpose", "isNoneOf") and "not_for" not in found:
        found["not_for"] = values
    elif (left, operator) == ("tn:jurisdiction", "isAnyOf") and "places" not in found:
        found["places"] = values
    elif left in _WHO and operator == "isAnyOf":
        _read_who(left, values, path, found)
    else:
        _none(path)


_WHO: Final[Mapping[str, str]] = {
    "tn:role": "role:",
    "tn:assuranceLevel": "assurance:",
    "recipient": "participant:",
    "tn:membership": "",
}


def _read_who(left: str, values: tuple[str, ...], path: str, found: dict[str, Any]) -> None:
    said = [f"{_WHO[left]}{value}" for value in values]
    kinds = {text.partition(":")[0] for text in said}
    known = [] if found["who"] == "anyone" else found["who"]
    if len(kinds) > 1 or not kinds <= grammar.WHO.keys() or kinds & {text.partition(":")[0] for text in known}:
        _none(path)
    found["who"] = [*known, *said]


# --- duties of the main permission


def _values(duty: Duty) -> dict[str, tuple[str, ...]]:
    return {str(constraint.left): constraint.values for constraint in duty.constraint}


def _read_plan(main: Permission, path: str, found: dict[str, Any]) -> str:
    price = "free"
    for number, duty in enumerate(main.duty):
        where, values = f"{path}.duty[{number}]", _values(duty)
        if duty.action == "compensate":
            price = _price(duty, where)
        elif duty.action == "tn:rowFilter" and "rows" not in found:
            found["rows"] = values["tn:expression"][0]
        elif duty.action == "tn:project" and "columns" not in found:
            found["columns"] = values["tn:column"]
        elif duty.action == "tn:mask":
            parameter = values.get("tn:parameter", ("",))[0]
            text = f"{values['tn:method'][0]} {parameter}".rstrip()
            found.setdefault("masks", {})[values["tn:column"][0]] = text
        elif duty.action in ("tn:columnUse", "tn:aggregateColumn"):
            found.setdefault("uses", {})[values["tn:column"][0]] = uses.use_text(uses.of_duty(values))
        elif duty.action == "tn:aggregateOnly" and "person" not in found:
            found["person"] = values["tn:privacyUnit"][0]
            found["group_by"] = values.get("tn:groupBy", ())
            found["measures"] = values["tn:measure"]
            found["min_group"] = int(values["tn:minGroupSize"][0])
        elif duty.action == "tn:watermark" and "trace" not in found:
            found["trace"] = trace.to_text(trace.of_values({name: value[0] for name, value in values.items()}))
        elif duty.action != "tn:dp":
            _none(where)
    return price


def _read_noise(main: Permission, found: dict[str, Any]) -> None:
    """Premise and duty together; ``compiled.load`` has seen that both are there, or neither."""
    epsilon = next((part for part in main.constraint if part.left == words.EPSILON), None)
    duty = next((duty for duty in main.duty if duty.action == "tn:dp"), None)
    if epsilon is not None and duty is not None:
        found["noise"] = noise.table(epsilon, _values(duty))


def _price(duty: Duty, path: str) -> str:
    amount = next((part for part in duty.constraint if part.left == "payAmount"), None)
    per = _values(duty).get("tn:per", ("",))[0]
    if amount is None or amount.unit is None or per not in ("once", "month", "read", "row"):
        _none(path)
    return f"{amount.values[0]} {amount.unit} {per if per == 'once' else f'per {per}'}"


# --- the rest


def _read_prohibitions(policy: Policy, found: dict[str, Any]) -> None:
    actions, forbidden = set(), 0
    for number, rule in enumerate(policy.prohibition):
        path = f"prohibition[{number}]"
        purpose = [part.values for part in rule.constraint if (part.left, part.operator) == ("purpose", "isAnyOf")]
        if rule.action == "use" and len(purpose) == len(rule.constraint) == 1:
            forbidden += 1
            if found.setdefault("not_for", purpose[0]) != purpose[0]:
                _none(path)
        elif rule.constraint or rule.action in actions:
            _none(path)
        else:
            actions.add(rule.action)
    if forbidden != ("not_for" in found):
        _none("prohibition")
    if "reproduce" in actions:
        found["keep"] = "no copy"
    actions.discard("reproduce")
    found["onward"] = _ONWARD.get(frozenset(actions)) or _none("prohibition")


_ONWARD: Final[Mapping[frozenset[str], str]] = {
    frozenset({"distribute", "grantUse", "sell"}): "forbidden",
    frozenset({"grantUse", "sell"}): "results",
    frozenset(): "allowed",
}


def _read_besides(policy: Policy, found: dict[str, Any]) -> None:
    distributes = False
    for number, rule in enumerate(policy.permission):
        path = f"permission[{number}]"
        if rule.action == "distribute" and not distributes:
            distributes = True
            _read_distribute(rule, path, found)
        elif rule.action == "derive" and "derived" not in found and not rule.duty:
            _demand_outside(rule.constraint, path, found)
            found["derived"] = "free"
        elif rule.action not in ("read", "aggregate"):
            _none(path)
    if distributes != (found["onward"] != "forbidden"):
        _none("permission")


def _read_distribute(rule: Permission, path: str, found: dict[str, Any]) -> None:
    state = [part.values for part in rule.constraint if part.left == "tn:dataState"]
    _demand_outside(tuple(part for part in rule.constraint if part.left != "tn:dataState"), path, found)
    carried = [duty.action for duty in rule.duty]
    if carried == ["tn:policyTransmit"] and found["onward"] == "allowed":
        found["onward"] = "with these terms"
    elif carried:
        _none(f"{path}.duty")
    if state != ([("AGGREGATED",)] if found["onward"] == "results" else []):
        _none(f"{path}.constraint")


def _demand_outside(constraints: tuple[Constraint, ...], path: str, found: Mapping[str, Any]) -> None:
    """What lies besides the main permission excludes exactly the forbidden purposes."""
    excluded = [part.values for part in constraints if (part.left, part.operator) == ("purpose", "isNoneOf")]
    wanted = [found["not_for"]] if "not_for" in found else []
    if len(excluded) != len(constraints) or excluded != wanted:
        _none(f"{path}.constraint")


def _read_obligations(policy: Policy, found: dict[str, Any]) -> None:
    for number, duty in enumerate(policy.obligation):
        path, values = f"obligation[{number}]", _values(duty)
        if duty.action == "delete" and found["keep"] == "unlimited":
            found["keep"] = duration.to_words(values["tn:retention"][0]) or _none(path)
        elif duty.action == "tn:policyTransmit" and found.get("derived") == "free":
            found["derived"] = "same terms" if values["tn:dataState"] == ("DERIVED",) else _none(path)
        else:
            found.setdefault("duties", []).append(_sentence(duty, values, path))


def _sentence(duty: Duty, values: Mapping[str, tuple[str, ...]], path: str) -> str:
    event, within = values.get("event", ("",))[0], values.get("delayPeriod", ("",))[0]
    owed = {
        ("attribute", ""): grammar.Owed("attribute"),
        ("compensate", ""): grammar.Owed("pay", within),
        ("inform", "USE"): grammar.Owed("report", values.get("timeInterval", ("",))[0]),
        ("inform", "LEAK"): grammar.Owed("leak", within),
    }.get((duty.action, event))
    return (owed and grammar.duty_words(owed)) or _none(path)
