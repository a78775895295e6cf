"""Whether conditions imply others: against z3, which knows nothing of cells and boxes (odrl 8)."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
import z3
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from trustnode.core.policy import evaluate, subsume
from trustnode.core.policy.odrl import Constraint
from trustnode.core.policy.purposes import PURPOSES
from trustnode.core.policy.subsume import NOT_FALSE, TRUE, Space

DAY = timedelta(days=1)
FIRST = datetime(2027, 1, 1, tzinfo=UTC)
WORDS = ("a", "b", "c")
SOME_PURPOSES = (
    "research-and-development", "commercial-purpose", "commercial-research", "academic-research", "marketing",
    "direct-marketing",
)  # fmt: skip
LISTS = ("isA", "isAnyOf", "isNoneOf", "isAllOf", "hasPart", "isPartOf")


def when(left, operator, *right, unit=None):
    return Constraint(left=left, operator=operator, right=right[0] if len(right) == 1 else right, unit=unit)


# --- the oracle: three values as two formulas, each operand with its own "present"


def above(word):
    return {word}.union(*(above(parent) for parent in PURPOSES[word].parents))


BELOW = {word: {other for other in PURPOSES if word in above(other)} for word in PURPOSES}


class Oracle:
    """Meanings of the operators as the reference states them, for z3."""

    def __init__(self):
        self.present = {
            left: z3.Bool(f"{left}?") for left in ("purpose", "tn:role", "recipient", "dateTime", "elapsedTime")
        }
        self.purpose, self.recipient = z3.Int("purpose"), z3.Int("recipient")
        self.role = {word: z3.Bool(f"role {word}") for word in (*WORDS, "other")}
        self.time, self.length, self.uses = z3.Real("time"), z3.Real("length"), z3.Int("uses")

    def facts(self):
        known = [
            z3.And(self.purpose >= 0, self.purpose < len(PURPOSES)),
            z3.And(self.recipient >= 0, self.recipient <= len(WORDS)),
            z3.Or(*self.role.values()),
            self.length >= 0,
            self.uses >= 0,
        ]
        return z3.And(*known)

    def truth(self, constraint):
        """(it is TRUE, it is FALSE)."""
        if not constraint.parts:
            holds = self.holds(constraint)
            present = self.present.get(constraint.left, z3.BoolVal(True))
            return z3.And(present, holds), z3.And(present, z3.Not(holds))
        parts = [self.truth(part) for part in constraint.parts]
        trues, falses = [one for one, _ in parts], [other for _, other in parts]
        if constraint.any_of:
            return z3.Or(*trues), z3.And(*falses)
        if constraint.one_of:
            one = [
                z3.And(*(trues[n] if n == chosen else falses[n] for n in range(len(parts))))
                for chosen in range(len(parts))
            ]
            return z3.Or(*one), z3.Or(z3.PbGe([(true, 1) for true in trues], 2), z3.And(*falses))
        return z3.And(*trues), z3.Or(*falses)

    def holds(self, atom):
        if atom.left == "purpose":
            return z3.Or(*(self.purpose == n for n, word in enumerate(PURPOSES) if self.one(atom, word, BELOW)))
        if atom.left == "recipient":
            alone = {word: {word} for word in (*WORDS, "other")}
            return z3.Or(
                *(self.recipient == n for n, word in enumerate((*WORDS, "other")) if self.one(atom, word, alone))
            )
        if atom.left == "tn:role":
            return self.several(atom)
        if atom.left == "dateTime":
            return self.ordered(atom.operator, self.time, (datetime.fromisoformat(atom.right) - FIRST) / DAY)
        if atom.left == "elapsedTime":
            return self.ordered(atom.operator, self.length, int(atom.right[1:-1]))
        return self.ordered(atom.operator, self.uses, int(atom.right))

    def one(self, atom, word, below):
        wanted = set(atom.values)
        inside = set().union(*(below[value] for value in wanted))
        return {
            "eq": {word} == wanted,
            "neq": {word} != wanted,
            "isA": word in inside,
            "isAnyOf": word in inside,
            "isNoneOf": word not in inside,
            "isAllOf": {word} == wanted,
            "hasPart": wanted <= below[word],
            "isPartOf": word in inside,
        }[atom.operator]

    def several(self, atom):
        wanted = set(atom.values)
        named = [held for word, held in self.role.items() if word in wanted]
        besides = [held for word, held in self.role.items() if word not in wanted]
        meets, beyond, all_of = z3.Or(*named), z3.Or(*besides), z3.And(*named)
        return {
            "eq": z3.And(all_of, z3.Not(beyond)),
            "neq": z3.Not(z3.And(all_of, z3.Not(beyond))),
            "isA": meets,
            "isAnyOf": meets,
            "isNoneOf": z3.Not(meets),
            "isAllOf": z3.And(all_of, z3.Not(beyond)),
            "hasPart": all_of,
            "isPartOf": z3.Not(beyond),
        }[atom.operator]

    @staticmethod
    def ordered(operator, value, bound):
        bound = z3.RealVal(str(bound)) if isinstance(bound, float) else bound
        return {
            "eq": value == bound, "neq": value != bound, "lt": value < bound, "lteq": value <= bound,
            "gt": value > bound, "gteq": value >= bound,
        }[operator]  # fmt: skip


def is_possible(*formulas):
    solver = z3.Solver()
    solver.add(*formulas)
    return solver.check() == z3.sat


def oracle_implied(asked, offered):
    oracle = Oracle()
    wanted = z3.And(*(oracle.truth(part)[0] for part in asked))
    given_too = z3.And(*(oracle.truth(part)[0] for part in offered))
    return not is_possible(oracle.facts(), wanted, z3.Not(given_too))


def oracle_meets(permission, prohibition):
    oracle = Oracle()
    wanted = z3.And(*(oracle.truth(part)[0] for part in permission))
    blocked = z3.And(*(z3.Not(oracle.truth(part)[1]) for part in prohibition))
    return is_possible(oracle.facts(), wanted, blocked)


# --- constraints


def words_of(left, known):
    single = st.builds(when, st.just(left), st.sampled_from(["eq", "neq"]), st.sampled_from(known))
    lists = st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True)
    several = st.builds(lambda operator, right: when(left, operator, *right), st.sampled_from(LISTS), lists)
    return st.one_of(single, several)


def bounds_of(left, operators, values):
    return st.builds(when, st.just(left), st.sampled_from(operators), st.sampled_from(values))


BOUNDS = ("lt", "lteq", "gt", "gteq")
ATOMS = st.one_of(
    words_of("purpose", SOME_PURPOSES),
    words_of("tn:role", WORDS),
    words_of("recipient", WORDS),
    bounds_of("dateTime", (*BOUNDS, "eq", "neq"), [(FIRST + n * DAY).isoformat() for n in range(3)]),
    bounds_of("elapsedTime", BOUNDS, ["P1D", "P2D", "P7D"]),
    bounds_of("count", ("lt", "lteq"), ["1", "5", "6"]),
)


def logical(parts):
    lists = st.lists(parts, min_size=1, max_size=3).map(tuple)
    kinds = st.sampled_from(["all_of", "any_of", "one_of", "sequence"])
    return st.builds(lambda kind, inside: Constraint(**{kind: inside}), kinds, lists)


RULES = st.lists(st.recursive(ATOMS, logical, max_leaves=4), max_size=3)
"""The constraints of one rule."""


@given(RULES, RULES, st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_implies_what_is_what_the_oracle_says(asked, offered, is_narrowed):
    asked = [*asked, *offered[1:]] if is_narrowed else asked
    found = subsume.implied(asked, offered)
    if found is None:
        assert Space((*asked, *offered)).is_entangled
    else:
        assert found == oracle_implied(asked, offered)


@given(RULES, RULES)
@settings(max_examples=60, deadline=None)
def test_rules_meet_where_the_oracle_finds_a_request_a_missing_value_included(permission, prohibition):
    space = Space((*permission, *prohibition), widest=True)
    met = subsume.may_meet(space.boxes(permission, TRUE), space.boxes(prohibition, NOT_FALSE))
    assert met or not oracle_meets(permission, prohibition)
    if not space.is_entangled:
        assert met == oracle_meets(permission, prohibition)


@given(RULES)
@settings(max_examples=40, deadline=None)
def test_conditions_imply_themselves(rule):
    assert subsume.implied(rule, rule) is True


@given(RULES, RULES, RULES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_what_implies_what_implies_a_third_implies_it(one, two, three):
    two, three = [*one[:2], *two[:1]], [*one[:1], *three[:1]]
    assume(subsume.implied(one, two) is True)
    assume(subsume.implied(two, three) is True)
    assert subsume.implied(one, three) is True


@given(RULES, RULES)
@settings(max_examples=40, deadline=None)
def test_more_conditions_imply_fewer(rule, more):
    assert subsume.implied([*rule, *more], rule) is True


@pytest.mark.parametrize(
    "asked, offered, answer",
    [
        ("P1M", "P31D", True),
        ("P31D", "P1M", False),
        ("P30D", "P1M", None),
        ("P28D", "P1M", True),
        ("P1Y", "P12M", True),
        ("P24M", "P1Y", False),
        ("PT24H", "P1D", True),
    ],
)
def test_lengths_without_an_order_are_not_known(asked, offered, answer):
    assert subsume.implied([when("elapsedTime", "lteq", asked)], [when("elapsedTime", "lteq", offered)]) is answer


@pytest.mark.parametrize(
    "asked, offered, answer", [("3300", "33", True), ("3300", "CN", True), ("33", "3300", False), ("44", "33", False)]
)
def test_an_area_lies_in_the_area_around_it(asked, offered, answer):
    assert (
        subsume.implied([when("tn:jurisdiction", "isAnyOf", asked)], [when("tn:jurisdiction", "isAnyOf", offered)])
        is answer
    )


AREAS = st.lists(st.sampled_from(["CN", "33", "3300", "330100", "44", "DE"]), min_size=1, max_size=3, unique=True)
OF_AREAS = st.lists(
    st.builds(lambda operator, right: when("tn:jurisdiction", operator, *right), st.sampled_from(LISTS), AREAS),
    min_size=1,
    max_size=2,
)


@given(OF_AREAS, OF_AREAS)
@settings(max_examples=60, deadline=None)
def test_areas_imply_each_other_as_in_every_node_that_there_can_be(asked, offered):
    inside = {"CN": {"CN"}, "DE": {"DE"}, "33": {"33", "CN"}, "44": {"44", "CN"}, "3300": {"3300", "33", "CN"},
              "330100": {"330100", "33", "CN"}, "other": {"other"}}  # fmt: skip
    nodes = [
        frozenset().union(*(inside[area] for area in chosen))
        for size in range(1, 8)
        for chosen in itertools.combinations(inside, size)
    ]

    def holds(rule, areas):
        return all(evaluate.term(part.operator, part.values, lambda value: value)(areas) for part in rule)

    expected = all(holds(offered, areas) for areas in nodes if holds(asked, areas))
    assert subsume.implied(asked, offered) is expected


def test_limits_of_different_windows_are_different_quantities():
    day, hour = (
        when("tn:frequency", "lteq", "5", unit="tn:perDay"),
        when("tn:frequency", "lteq", "5", unit="tn:perHour"),
    )
    assert subsume.implied([day], [hour]) is False
    assert subsume.implied([day], [day]) is True


def test_lists_of_thousands_are_compared():
    many = [f"spiffe://x/participant/{number}" for number in range(2000)]
    assert subsume.implied([when("recipient", "isAnyOf", *many[:500])], [when("recipient", "isAnyOf", *many)]) is True
    assert (
        subsume.implied([when("tn:membership", "isAnyOf", *many[:500])], [when("tn:membership", "isAnyOf", *many)])
        is True
    )
    assert (
        subsume.implied([when("tn:membership", "isAnyOf", *many)], [when("tn:membership", "isAnyOf", *many[:500])])
        is False
    )


def test_what_is_too_much_to_look_at_is_not_known_and_never_yes():
    either = [Constraint(any_of=tuple(when("tn:role", "isAnyOf", f"{n}-{m}") for m in range(10))) for n in range(4)]
    assert subsume.implied(either, [when("tn:role", "isAnyOf", "0-0", "x")]) is None
    assert subsume.implied(either, either[:2]) is True
