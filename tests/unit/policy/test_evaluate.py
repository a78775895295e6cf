"""Operators, three values, both polarities (odrl 2.2 to 2.5)."""

import itertools
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustnode.core.policy import evaluate, purposes
from trustnode.core.policy.evaluate import Unreadable

EARLY, AT, LATE = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3))
SHANGHAI = timezone(timedelta(hours=8))
ORDER = {
    "eq": (False, True, False),
    "neq": (True, False, True),
    "lt": (True, False, False),
    "lteq": (True, True, False),
    "gt": (False, False, True),
    "gteq": (False, True, True),
}


def value_of(facts):
    return facts


@pytest.mark.parametrize("operator", ORDER)
def test_instants_before_at_and_after(operator):
    test = evaluate.instant(operator, AT.isoformat(), value_of)
    assert tuple(test(moment) for moment in (EARLY, AT, LATE)) == ORDER[operator]


@pytest.mark.parametrize("operator", ORDER)
def test_numbers_below_at_and_above(operator):
    test = evaluate.number(operator, "10", value_of)
    assert tuple(test(value) for value in (Decimal("9.5"), 10, 11)) == ORDER[operator]


@pytest.mark.parametrize(
    "operator, expected",
    [
        ("lt", (True, False, False, False)),
        ("lteq", (True, True, True, False)),
        ("gt", (False, False, False, True)),
        ("gteq", (False, True, True, True)),
        ("eq", (False, True, True, False)),
        ("neq", (True, False, False, True)),
    ],
)
def test_a_date_is_the_whole_day_in_its_zone(operator, expected):
    test = evaluate.instant(operator, "2026-01-02", value_of, SHANGHAI)
    start = datetime(2026, 1, 2, tzinfo=SHANGHAI)
    second = timedelta(seconds=1)
    day = timedelta(days=1)
    assert tuple(test(moment) for moment in (start - second, start, start + day - second, start + day)) == expected


@pytest.mark.parametrize("operator", ORDER)
@pytest.mark.parametrize("value", [None, "2026-01-02T00:00:00Z", 7, AT.replace(tzinfo=None)])
def test_a_time_that_is_missing_or_says_no_zone_is_unknown(operator, value):
    assert evaluate.instant(operator, AT.isoformat(), value_of)(value) is None


@pytest.mark.parametrize("operator", ORDER)
@pytest.mark.parametrize("value", [None, "10", 10.0, True])
def test_a_number_of_another_type_is_unknown(operator, value):
    assert evaluate.number(operator, "10", value_of)(value) is None


@pytest.mark.parametrize("text", ["", "1e3", "NaN", "Infinity", "1" * 39, "--1", "1.", "0x1", "١"])
def test_a_number_that_no_policy_may_hold_is_refused(text):
    with pytest.raises(Unreadable):
        evaluate.number("eq", text, value_of)


@pytest.mark.parametrize("text", ["", "2026-01-02", "2026-01-02T00:00:00", "tomorrow", "9999-12-31T23:59:59-10:00"])
def test_a_time_that_says_no_zone_is_refused_at_load(text):
    with pytest.raises(Unreadable):
        evaluate.instant("lt", text, value_of)


X, Y, Z = "x", "y", "z"


@pytest.mark.parametrize(
    "operator, right, value, expected",
    [
        ("eq", [X], X, True),
        ("eq", [X], {X, Y}, False),
        ("neq", [X], Y, True),
        ("neq", [X], X, False),
        ("isA", [X], X, True),
        ("isA", [X], Y, False),
        ("isAnyOf", [X, Y], {Y, Z}, True),
        ("isAnyOf", [X, Y], {Z}, False),
        ("isNoneOf", [X, Y], {Z}, True),
        ("isNoneOf", [X, Y], {Y, Z}, False),
        ("isAllOf", [X, Y], {Y, X}, True),
        ("isAllOf", [X, Y], {X}, False),
        ("isAllOf", [X, Y], {X, Y, Z}, False),
        ("hasPart", [X], {X, Y}, True),
        ("hasPart", [X, Y], {X}, False),
        ("isPartOf", [X, Y], {X}, True),
        ("isPartOf", [X], {X, Y}, False),
    ],
)
def test_set_operators_have_a_direction(operator, right, value, expected):
    value = frozenset(value) if isinstance(value, set) else value
    assert evaluate.term(operator, right, value_of)(value) is expected


SET_OPERATORS = ["eq", "neq", "isA", "isAnyOf", "isNoneOf", "isAllOf", "hasPart", "isPartOf"]


@pytest.mark.parametrize("operator", SET_OPERATORS)
@pytest.mark.parametrize("value", [None, "", frozenset(), 5, ["statistics"], "no-such-word"])
def test_a_term_that_is_missing_empty_or_no_word_is_unknown_for_every_operator(operator, value):
    test = evaluate.term(operator, ["statistics"], value_of, down=purposes.covered, known=frozenset(purposes.PURPOSES))
    assert test(value) is None


@pytest.mark.parametrize("right", [[], [""], ["no-such-word"]])
def test_a_right_operand_that_is_empty_or_no_word_is_refused(right):
    with pytest.raises(Unreadable):
        evaluate.term("isAnyOf", right, value_of, known=frozenset({"x"}))


@pytest.mark.parametrize("operator", ["lt", "gteq"])
def test_terms_have_no_order(operator):
    with pytest.raises(Unreadable):
        evaluate.term(operator, ["x"], value_of)


VALUES = (True, False, None)


def fixed(value):
    return lambda _: value


@pytest.mark.parametrize("values", list(itertools.product(VALUES, repeat=3)))
def test_logic_of_three_values(values):
    parts = tuple(map(fixed, values))
    trues, falses = values.count(True), values.count(False)
    both = evaluate.all_of(parts)(None)
    assert both is (True if trues == 3 else False if falses else None)
    assert evaluate.LOGIC["andSequence"](parts)(None) is both
    assert evaluate.any_of(parts)(None) is (True if trues else False if falses == 3 else None)
    exactly = False if trues > 1 else None if None in values else trues == 1
    assert evaluate.one_of(parts)(None) is exactly


@pytest.mark.parametrize("truth, permits, forbids", [(True, True, True), (False, False, False), (None, False, True)])
def test_unknown_denies_in_both_polarities(truth, permits, forbids):
    assert evaluate.permission_active(truth) is permits
    assert evaluate.prohibition_active(truth) is forbids


@pytest.mark.parametrize(
    "timing, state, holds",
    [
        ("BEFORE", "FULFILLED", True),
        ("BEFORE", "OPEN", False),
        ("BEFORE", "VIOLATED", False),
        ("AFTER", "FULFILLED", True),
        ("AFTER", "OPEN", True),
        ("AFTER", "VIOLATED", False),
        ("PARALLEL", "OPEN", True),
    ],
)
def test_a_duty_is_due_by_its_timing(timing, state, holds):
    assert evaluate.permission_active(True, [(timing, state)]) is holds


def pair(facts):
    return facts


@pytest.mark.parametrize(
    "length, start, now, expected",
    [
        ("P1M", "2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z", True),
        ("P1M", "2026-01-31T00:00:00Z", "2026-02-28T00:00:01Z", False),
        ("P24M", "2024-02-29T12:00:00Z", "2026-02-28T12:00:00Z", True),
        ("PT24H", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", True),
        ("P1Y", "2026-01-01T00:00:00Z", "2025-12-31T00:00:00Z", None),
    ],
)
def test_months_are_applied_to_the_start_and_not_turned_into_seconds(length, start, now, expected):
    test = evaluate.elapsed("lteq", length, lambda facts: facts[0], lambda facts: facts[1])
    assert test((datetime.fromisoformat(start), datetime.fromisoformat(now))) is expected


@pytest.mark.parametrize("text", ["", "P", "PT", "P1W", "-P1D", "P1.5D", "1 day", "P1DT"])
def test_a_duration_that_is_none_is_refused(text):
    with pytest.raises(Unreadable):
        evaluate.elapsed("lteq", text, value_of, value_of)


@pytest.mark.parametrize("words", [["research-and-development"], ["commercial-purpose"]])
def test_commercial_research_lies_below_both_its_parents(words):
    assert "commercial-research" in purposes.covered(words)


def test_a_permission_on_a_child_does_not_meet_a_request_for_the_parent():
    assert "research-and-development" not in purposes.covered(["academic-research"])


def test_every_parent_is_a_purpose_and_there_is_no_circle():
    for word, purpose in purposes.PURPOSES.items():
        assert set(purpose.parents) <= purposes.PURPOSES.keys()
        assert word not in purposes.covered(purposes.covered([word]) - {word})


@given(st.sets(st.sampled_from(sorted(purposes.PURPOSES)), max_size=5))
def test_bit_sets_agree_with_walking_the_parents(words):
    def above(word):
        return {word}.union(*(above(parent) for parent in purposes.PURPOSES[word].parents))

    assert purposes.covered(words) == {word for word in purposes.PURPOSES if above(word) & words}
