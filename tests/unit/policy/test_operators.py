"""Every operator on every kind of value, present, absent, of another type or unit, in both polarities (odrl 2.2, 2.3).

Each line goes the whole way: written, loaded, decided, as a condition of a permission and as one of a prohibition.
"""

import json
from datetime import timedelta

import msgspec
import pytest
from unit.policy.samples import CONSUMER, NOW, START, agreed_offer, request

from trustnode.core.policy import compiled, dictionary, odrl, words
from trustnode.core.policy.odrl import Constraint, Permission, Prohibition
from trustnode.errors import TrustnodeError

SECOND = timedelta(seconds=1)
KINDS = {
    # operand, attribute of the request, right operand(s), values of the request with what they stand for
    "instant": ("dateTime", "now", [NOW.isoformat()], (NOW - SECOND, NOW, NOW + SECOND)),
    "elapsed": ("elapsedTime", "now", ["P5D"], tuple(START + timedelta(days=5) + n * SECOND for n in (-1, 0, 1))),
    "purpose": ("purpose", "purpose", ["marketing"], ("marketing", "direct-marketing", "statistics")),
    "word": ("recipient", "consumer", ["a", "b"], ("a", "b", "c")),
    "words": ("tn:role", "roles", ["a", "b"], tuple(map(frozenset, ("a", "ab", "abc", "c", "bc")))),
}
WORD_OPERATORS = ("eq", "neq", "isA", "isAnyOf", "isNoneOf", "isAllOf", "hasPart", "isPartOf")
T, F = True, False
EXPECTED = {
    "instant": {
        "eq": (F, T, F), "neq": (T, F, T), "lt": (T, F, F), "lteq": (T, T, F), "gt": (F, F, T), "gteq": (F, T, T),
    },
    "elapsed": {"lt": (T, F, F), "lteq": (T, T, F), "gt": (F, F, T), "gteq": (F, T, T)},
    "purpose": {
        "eq": (T, F, F), "neq": (F, T, T), "isA": (T, T, F), "isAnyOf": (T, T, F), "isNoneOf": (F, F, T),
        "isAllOf": (T, F, F), "hasPart": (T, F, F), "isPartOf": (T, T, F),
    },
    "word": {
        "isA": (T, T, F), "isAnyOf": (T, T, F), "isNoneOf": (F, F, T), "isAllOf": (F, F, F), "hasPart": (F, F, F),
        "isPartOf": (T, T, F),
    },
    "words": {
        "isA": (T, T, T, F, T), "isAnyOf": (T, T, T, F, T), "isNoneOf": (F, F, F, T, F), "isAllOf": (F, T, F, F, F),
        "hasPart": (F, T, T, F, F), "isPartOf": (T, T, F, F, F),
    },
}  # fmt: skip
"""What holds for each value; an operator that is not here is refused for that kind. One value only: eq, neq."""
ONE_VALUE = {"word": {"eq": (T, F, F), "neq": (F, T, T)}, "words": {"eq": (T, F, F, F, F), "neq": (F, T, T, T, T)}}
ABSENT = {"now": None, "purpose": "", "consumer": "", "roles": frozenset()}
OTHER_TYPE = {"now": NOW.isoformat(), "purpose": 5, "consumer": 5, "roles": ["a", "b"]}
ZONELESS = {"now": NOW.replace(tzinfo=None)}


def lines():
    for kind, operators in EXPECTED.items():
        _, _, right, _ = KINDS[kind]
        for operator, expected in operators.items():
            yield kind, operator, tuple(right), expected
    for kind, operators in ONE_VALUE.items():
        for operator, expected in operators.items():
            yield kind, operator, ("a",), expected


def condition(kind, operator, right):
    return Constraint(left=KINDS[kind][0], operator=operator, right=right[0] if len(right) == 1 else right)


def agreement(*, permitted=(), forbidden=None):
    """Nothing but the condition stands between a request and its answer; conflicts are not looked at."""
    policy = odrl.Policy(
        id="urn:x",
        type="Agreement",
        profile=odrl.PROFILE,
        permission=(
            Permission(action="read", constraint=permitted, duty=agreed_offer("open").policy.permission[0].duty),
        ),
        prohibition=(Prohibition(action="use", constraint=(forbidden,)),) if forbidden else (),
        target="t",
        assigner="a",
        assignee=CONSUMER,
    )
    return compiled.CompiledPolicy(odrl.decode(odrl.encode(policy)))


def holds(kind, constraint, value):
    """The two answers to one value: whether the permission lets it through, whether the prohibition blocks it."""
    _, attribute, _, _ = KINDS[kind]
    asked = msgspec.structs.replace(request(purpose="statistics"), **{attribute: value})
    permission, prohibition = agreement(permitted=(constraint,)), agreement(forbidden=constraint)
    permits = permission._rule.holds(asked) is True
    blocks = any(rule.holds(asked) is not False for rule in prohibition._blocking["read"])
    if attribute != "consumer" and isinstance(value, type(getattr(request(), attribute))) and value:
        assert (permission.decide(asked).outcome == "ALLOW") == permits
        assert (prohibition.decide(asked).outcome == "DENY") == blocks
    return permits, blocks


@pytest.mark.parametrize("kind, operator, right, expected", tuple(lines()))
def test_what_is_present_holds_or_fails_in_both_polarities(kind, operator, right, expected):
    constraint = condition(kind, operator, right)
    values = KINDS[kind][3]
    assert [holds(kind, constraint, value) for value in values] == [(truth, truth) for truth in expected]


@pytest.mark.parametrize("kind, operator, right, _expected", tuple(lines()))
@pytest.mark.parametrize("lacking", [ABSENT, OTHER_TYPE, ZONELESS], ids=["absent", "another type", "no zone"])
def test_what_is_absent_or_cannot_be_compared_permits_nothing_and_lifts_no_prohibition(
    kind, operator, right, _expected, lacking
):
    attribute = KINDS[kind][1]
    if attribute in lacking:
        assert holds(kind, condition(kind, operator, right), lacking[attribute]) == (False, True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operator", dictionary.OPERATORS)
def test_every_operator_has_a_line_for_a_kind_or_is_refused_for_it(kind, operator):
    stands = operator in EXPECTED[kind] or operator in ONE_VALUE.get(kind, {})
    known = {"instant": "instant", "elapsed": "elapsed", "purpose": "purpose"}.get(kind, "term")
    assert stands == (operator in words.OPERATORS[known])


@pytest.mark.parametrize("kind", KINDS)
def test_a_unit_a_datatype_of_another_kind_or_a_value_that_cannot_be_read_is_refused_and_named(kind):
    left, _, right, _ = KINDS[kind]
    operator = "lteq" if kind in ("instant", "elapsed") else "isAnyOf"
    wrong = [
        ({"rightOperand": right[0], "unit": "CNY"}, ".unit"),
        ({"rightOperand": {"@value": right[0], "@type": "xsd:boolean"}}, ".rightOperand.@type"),
        ({"rightOperand": ""}, ""),
    ]
    if kind in ("instant", "elapsed"):
        wrong += [({"rightOperand": text}, "") for text in ("2027-01-01", "soon", "1", "P1W")]
        wrong.append(({"rightOperand": [right[0], right[0]]}, ""))
    for changes, path in wrong:
        written = json.loads(odrl.encode(agreed_offer("open").policy))
        written["permission"][0]["constraint"].append({"leftOperand": left, "operator": operator, **changes})
        with pytest.raises(TrustnodeError) as caught:
            compiled.load(odrl.decode(json.dumps(written).encode()))
        assert caught.value.metadata["field"].startswith("permission[0].constraint[")
        assert caught.value.metadata["field"].endswith(path)


@pytest.mark.parametrize(
    "left, unit, value, is_read",
    [
        ("count", None, "5", True),
        ("count", "tn:perDay", "5", False),
        ("tn:frequency", "tn:perDay", "5", True),
        ("tn:frequency", None, "5", False),
        ("tn:rowsReturned", "tn:perFortnight", "5", False),
        ("tn:bytesReturned", "GB", "5", False),
        ("count", None, "5.0", False),
        ("count", None, "-5", False),
        ("count", None, "1e3", False),
        ("count", None, "٥", False),
        ("count", None, str(2**53), False),
    ],
)
def test_a_quantity_in_another_unit_or_that_is_no_whole_number_is_refused(left, unit, value, is_read):
    limit = Constraint(left=left, operator="lteq", right=value, unit=unit)
    policy = agreed_offer("open", limits=None).policy
    main = msgspec.structs.replace(policy.permission[0], constraint=(limit,))
    changed = msgspec.structs.replace(policy, permission=(main, *policy.permission[1:]))
    if is_read:
        assert compiled.load(changed).counters[0].limit == 5
        return
    with pytest.raises(TrustnodeError):
        compiled.load(changed)


# --- logic inside logic

YES = Constraint(left="tn:role", operator="isAnyOf", right="CONSUMER")
NO = Constraint(left="tn:role", operator="isAnyOf", right="AUDITOR")
UNKNOWN = Constraint(left="tn:assuranceLevel", operator="isAnyOf", right="person-checked")


def nested(kind, *parts):
    return Constraint(**{kind: parts})


@pytest.mark.parametrize(
    "constraint, permits, blocks",
    [
        (nested("one_of", YES, NO, NO), True, True),
        (nested("one_of", YES, YES), False, False),
        (nested("one_of", YES, UNKNOWN), False, True),
        (nested("one_of", YES, YES, UNKNOWN), False, False),
        (nested("one_of", NO, UNKNOWN), False, True),
        (nested("any_of", UNKNOWN, YES), True, True),
        (nested("any_of", UNKNOWN, NO), False, True),
        (nested("all_of", UNKNOWN, NO), False, False),
        (nested("all_of", UNKNOWN, YES), False, True),
        (nested("sequence", YES, UNKNOWN, NO), False, False),
        (nested("sequence", YES, nested("any_of", NO, YES)), True, True),
        (nested("any_of", nested("all_of", YES, NO), nested("one_of", YES, NO)), True, True),
        (nested("one_of", nested("any_of", YES, UNKNOWN), nested("all_of", NO, UNKNOWN)), True, True),
        (nested("all_of", nested("one_of", UNKNOWN, NO), nested("any_of", YES)), False, True),
    ],
)
def test_logic_inside_logic_keeps_three_values_in_both_polarities(constraint, permits, blocks):
    asked = request(roles=frozenset({"CONSUMER"}), assurance=frozenset())
    assert (agreement(permitted=(constraint,)).decide(asked).outcome == "ALLOW") is permits
    assert (agreement(forbidden=constraint).decide(asked).outcome == "DENY") is blocks


# --- the worked examples of the formal semantics (odrl 5.4), in this node's words


def paid(timing="BEFORE", **besides):
    return {"action": "compensate", "tn:timing": timing, "constraint": [
        {"leftOperand": "payAmount", "operator": "eq", "rightOperand": "5.00", "unit": "CNY"},
        {"leftOperand": "tn:per", "operator": "eq", "rightOperand": "once"}, *besides.values()]}  # fmt: skip


def semantics(rule):
    """An agreement with one permission, its rule changed."""
    written = json.loads(odrl.encode(agreement().policy))
    main = written["permission"][0]
    for key, value in rule.items():
        main[key] = main.get(key, []) + value if isinstance(value, list) else value
    return compiled.load(odrl.decode(json.dumps(written).encode()))


UNTIL = [{"leftOperand": "dateTime", "operator": "lt", "rightOperand": NOW.isoformat()}]


@pytest.mark.parametrize("case, moment, permits", [("A11", NOW - SECOND, True), ("A12", NOW, False)])
def test_semantics_a1_a_constraint_decides_the_permission(case, moment, permits):
    decided = semantics({"constraint": UNTIL}).decide(request(now=moment))
    assert (decided.outcome == "ALLOW") is permits, case


@pytest.mark.parametrize("moment, forbids", [(NOW - SECOND, True), (NOW, False)])
def test_semantics_a2_a_constraint_decides_the_prohibition(moment, forbids):
    until = Constraint(left="dateTime", operator="lt", right=NOW.isoformat())
    assert (agreement(forbidden=until).decide(request(now=moment)).outcome == "DENY") is forbids


@pytest.mark.parametrize("case, done, outcome", [("C11", (), "CONDITIONAL"), ("C12", ("compensate",), "ALLOW")])
def test_semantics_c1_a_duty_that_is_not_done_makes_the_permission_conditional(case, done, outcome):
    decided = semantics({"duty": [paid()]}).decide(request(fulfilled=frozenset(done)))
    assert decided.outcome == outcome, case
    assert decided.reason == ("" if done else "PRECONDITION_OPEN")


def test_semantics_b_and_c2_refinements_and_conditions_of_duties_are_refused_because_nothing_here_keeps_them():
    refined = {"action": {"rdf:value": "read", "refinement": UNTIL}}
    with pytest.raises(TrustnodeError) as caught:
        semantics(refined)
    assert caught.value.reason == "MESSAGE_UNPARSABLE"
    sunday = {"leftOperand": "dateTime", "operator": "eq", "rightOperand": "2026-12-20T00:00:00Z"}
    with pytest.raises(TrustnodeError) as caught:
        semantics({"duty": [paid(on=sunday)]})
    assert caught.value.reason == "VOCABULARY_UNKNOWN"
    assert caught.value.metadata["field"].endswith(".constraint[2].leftOperand")
