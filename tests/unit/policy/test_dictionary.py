"""The table of all words is what loading a policy does with them."""

import importlib.util
import json

import pytest
from unit.policy.samples import agreed_offer, request

from trustnode import vocabulary
from trustnode.core.policy import compiled, dictionary, duties, odrl, terms, words
from trustnode.errors import TrustnodeError

PLACES = ("permission", "prohibition", "duty", "obligation")
VALUES = {
    "dateTime": "2026-12-01T00:00:00Z",
    "elapsedTime": "P1D",
    "purpose": "marketing",
    "tn:column": "state",
    "tn:expression": "state = 'NJ'",
    "tn:method": "hash",
    "tn:useKind": "filter",
    "tn:privacyUnit": "id",
    "tn:measure": "count",
    "tn:minGroupSize": "20",
    "tn:quantum": "0.01",
    "payAmount": "5.00",
    "tn:per": "once",
    "delayPeriod": "P30D",
    "tn:retention": "P90D",
    "tn:dataState": "DERIVED",
    "event": "USE",
}
"""A value that each operand takes; ``x`` for plain terms."""


def atom(left, operator="eq", **more):
    return {"leftOperand": left, "operator": operator, "rightOperand": VALUES.get(left, "x"), **more}


def duty(place, action):
    """A duty of the form that the profile demands, with the parameters that it needs."""
    form = words.FORMS[(place, action)]
    needed = {name: parameter for name, parameter in form.parameters.items() if parameter.required}
    return {
        "action": action,
        "tn:timing": max(form.timings),
        "constraint": [
            atom(name, min(parameter.operators), **({"unit": "CNY"} if name == "payAmount" else {}))
            for name, parameter in needed.items()
        ],
    }


BASE = odrl.encode(agreed_offer("scoring", not_for=None, onward="forbidden").policy)


def written(place, rule):
    """The bytes of an agreement that reads, with one rule more in a place."""
    policy = json.loads(BASE)
    if place == "duty":
        policy["permission"][0]["duty"].append(rule)
    else:
        policy.setdefault(place, []).append(rule)
    return json.dumps(policy).encode()


def loaded(place, rule):
    return compiled.load(odrl.decode(written(place, rule)))


def refusal(place, rule):
    with pytest.raises(TrustnodeError) as caught:
        loaded(place, rule)
    return caught.value


def rows(kind, is_refused):
    return [name for name, row in dictionary.TABLES[kind].items() if (row.kept is None) == is_refused]


@pytest.mark.parametrize("kind", dictionary.TABLES)
def test_every_word_of_the_vocabulary_has_a_standing_and_every_standing_is_of_a_word(kind):
    assert list(dictionary.TABLES[kind]) == [word.name for word in vocabulary.WORDS[kind]]


def test_the_closed_sets_are_as_large_as_the_standards_say():
    assert [len(vocabulary.WORDS[kind]) for kind in dictionary.TABLES] == [26, 34, 12]


def test_every_action_and_operand_that_is_understood_stands_in_the_table_and_no_other():
    means = {row.odrl for row in dictionary.ACTIONS.values()} - {""}
    assert means | dictionary.OWN_ACTIONS.keys() >= words.ACTIONS.keys()
    assert means <= words.ACTIONS.keys()
    operands = {row.odrl for row in dictionary.CONSTRAINTS.values()} - {""}
    parameters = {name for form in words.FORMS.values() for name in form.parameters}
    understood = {*words.OPERANDS, *words.COUNTERS, words.EPSILON, *parameters, "tn:dataState"}
    assert operands | dictionary.OWN.keys() >= understood
    assert operands <= understood
    assert not operands & dictionary.OWN.keys()


def test_every_operator_of_the_table_is_one_that_conditions_or_duties_take():
    assert set(dictionary.OPERATORS) == set().union(*words.OPERATORS.values())


@pytest.mark.parametrize("kind", dictionary.TABLES)
def test_every_line_says_how_in_both_languages(kind):
    for line in dictionary.lines(kind):
        assert all((line.word.zh, line.how, line.how_zh))
        assert line.standing.kept is None or line.standing.by in dictionary.KEEPERS
        assert line.standing.key in ("", "price", *terms.KEYS)


def test_every_place_that_keeps_something_is_there():
    for keeper in dictionary.KEEPERS.values():
        assert not keeper.module or importlib.util.find_spec(f"trustnode.{keeper.module}")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("action", rows("Action", is_refused=True))
def test_an_action_that_is_called_refused_is_refused_in_every_place_and_its_path_is_named(action, place):
    caught = refusal(place, {"action": action})
    assert caught.reason == "VOCABULARY_UNKNOWN"
    assert caught.metadata["field"].startswith("permission[" if place == "duty" else place)
    assert caught.metadata["field"].endswith(".action")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", rows("Constraint", is_refused=True))
def test_a_constraint_that_is_called_refused_is_refused_in_every_place_and_its_path_is_named(name, place):
    rule = {
        "permission": {"action": "distribute"},
        "prohibition": {"action": "sell"},
        "duty": {"action": "tn:rowFilter", "tn:timing": "PARALLEL"},
        "obligation": {"action": "attribute", "tn:timing": "AFTER"},
    }[place]
    for left in (name, f"tn:{name}"):
        caught = refusal(place, {**rule, "constraint": [atom(left)]})
        assert caught.reason == "VOCABULARY_UNKNOWN"
        assert ".constraint[0].leftOperand" in caught.metadata["field"]


def placed(action):
    """The rules in which an action can stand, each in its place."""
    for place in sorted(words.ACTIONS[action].places):
        yield place, duty(place, action) if place in ("duty", "obligation") else {"action": action}


def owed_class(place, rule):
    """The class of the duty that was added, as loading computes it."""
    read = duties.read(odrl.decode(written(place, rule)).obligation[-1], "obligation", "obligation")
    return duties.owed(read, "obligation").kept


@pytest.mark.parametrize("name", rows("Action", is_refused=False))
def test_an_action_is_kept_as_the_table_says(name):
    row = dictionary.ACTIONS[name]
    classes = set()
    for place, rule in placed(row.odrl):
        if place == "obligation":
            classes |= {owed_class(place, one) for one in (rule, *events(rule))}
        elif place == "duty":
            read = duties.read(_duty(rule), "permission[0].duty[0]", "duty")
            classes.add(duties.owed(read, "duty").kept)
        else:
            changes = compiled.CompiledPolicy(odrl.decode(written("prohibition", {"action": row.odrl})))
            denied = [changes.decide(request(operation=asked)).outcome for asked in ("read", "aggregate")]
            classes.add("promised" if denied == ["ALLOW", "ALLOW"] else "enforced")
    assert row.kept in classes


def events(rule):
    """The same duty for every other event that it may be about."""
    if rule["action"] == "inform":
        yield from ({**rule, "constraint": [{**atom("event"), "rightOperand": event}]} for event in words.EVENTS)
        every_month = {**atom("timeInterval"), "rightOperand": "P1M"}
        yield {**rule, "constraint": [atom("event"), every_month]}


def _duty(rule):
    return odrl.decode(written("duty", rule)).permission[0].duty[-1]


@pytest.mark.parametrize("left", sorted(words.OPERANDS))
def test_a_condition_that_does_not_hold_denies_and_so_is_enforced(left):
    agreement = json.loads(odrl.encode(agreed_offer("open").policy))
    operator = "gteq" if left in ("dateTime", "elapsedTime") else "eq"
    value = {"dateTime": "2027-12-01T00:00:00Z", "elapsedTime": "P1Y", "purpose": "marketing"}.get(left, "x")
    agreement["permission"][0]["constraint"].append({"leftOperand": left, "operator": operator, "rightOperand": value})
    assert agreed_offer("open").decide(request()).outcome == "ALLOW"
    assert compiled.CompiledPolicy(odrl.decode(json.dumps(agreement).encode())).decide(request()).outcome != "ALLOW"


@pytest.mark.parametrize("name", [n for n, row in dictionary.CONSTRAINTS.items() if row.by == "counter"])
def test_a_quantity_that_is_limited_is_a_counter(name):
    left = dictionary.CONSTRAINTS[name].odrl
    unit = {"unit": "tn:perDay"} if left == "tn:frequency" else {}
    agreement = json.loads(odrl.encode(agreed_offer("open", limits=None).policy))
    limit = {"leftOperand": left, "operator": "lteq", "rightOperand": "7", **unit}
    agreement["permission"][0]["constraint"].append(limit)
    (counter,) = compiled.load(odrl.decode(json.dumps(agreement).encode())).counters
    assert counter.limit == 7


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, row in dictionary.CONSTRAINTS.items()
        if row.kept and row.odrl not in (*words.OPERANDS, *words.COUNTERS, words.EPSILON)
    ],
)
def test_what_is_no_condition_and_no_quantity_is_a_parameter_of_a_duty_of_that_class(name):
    row = dictionary.CONSTRAINTS[name]
    holding = [(place, action) for (place, action), form in words.FORMS.items() if row.odrl in form.parameters]
    classes = set()
    for place, action in holding:
        rule = duty(place, action)
        if place == "obligation":
            classes.add(owed_class(place, rule))
        else:
            classes.add(duties.owed(duties.read(_duty(rule), "p", "duty"), "duty").kept)
            if action == "compensate":
                later = {**rule, "tn:timing": "AFTER", "constraint": [rule["constraint"][0], per_read(rule)]}
                classes.add(duties.owed(duties.read(_duty(later), "p", "duty"), "duty").kept)
    assert row.kept in classes


def per_read(rule):
    return {**rule["constraint"][1], "rightOperand": "read"}


OPERANDS_OF = {"instant": "dateTime", "elapsed": "elapsedTime", "purpose": "purpose", "term": "tn:role"}


@pytest.mark.parametrize("kind", OPERANDS_OF)
@pytest.mark.parametrize("operator", dictionary.OPERATORS)
def test_an_operator_goes_with_the_kinds_that_the_table_says_and_is_refused_with_the_others(operator, kind):
    rule = {"action": "sell", "constraint": [atom(OPERANDS_OF[kind], operator)]}
    assert dictionary.kinds_of(operator)
    if kind in dictionary.kinds_of(operator):
        assert loaded("prohibition", rule)
    else:
        caught = refusal("prohibition", rule)
        assert caught.metadata["field"].endswith(".constraint[0].operator")


def test_the_page_has_a_line_for_every_word():
    page = dictionary.page()
    assert sum(line.startswith("| `") for line in page.splitlines()) == 26 + 34 + 12
