"""Noise in the terms: what it costs, what must be said, both directions (demo 2, privacy 3)."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.policy.samples import NOISE, OFFERS, PATIENTS, agreed_offer, compiled, compiled_offer

from trustnode.core.policy import explain, floor, odrl, privacy
from trustnode.core.policy.decompile import to_terms
from trustnode.core.policy.governed import Clamp, KeyValues
from trustnode.core.policy.masks import KEYED_METHODS
from trustnode.core.policy.odrl import Constraint
from trustnode.core.policy.schema import Column
from trustnode.core.policy.terms import decode
from trustnode.errors import TrustnodeError


def noised(**changes):
    """The statistics offer with noise; ``None`` takes a line out of the table."""
    merged = {key: value for key, value in {**NOISE, **changes}.items() if value is not None}
    return compiled_offer("statistics", noise=merged)


def refusal(**changes):
    with pytest.raises(TrustnodeError) as caught:
        noised(**changes)
    return caught.value


# --- what it costs


@given(st.decimals("0.01", 10, places=3), st.sampled_from(["1e-5", "1e-7", "1e-9"]))
@settings(max_examples=60)
def test_rho_gives_no_more_epsilon_than_was_said_and_nearly_all_of_it(epsilon, delta):
    """The textbook bound both ways; one unit more would be above it."""
    rho = privacy.rho_of(epsilon, Decimal(delta))
    exact = [_epsilon(units, Decimal(delta)) for units in (rho, rho + 1)]
    assert exact[0] <= epsilon < exact[1]


def _epsilon(rho, delta):
    part = Decimal(rho) / privacy.RHO_UNITS
    return part + 2 * (part * -delta.ln()).sqrt()


def test_the_conversion_is_conservative_beside_the_numeric_one_of_opendp():
    """Whoever converts the same rho numerically finds a smaller epsilon: the promise is kept with room."""
    from opendp import domains, measurements, metrics, mod
    from opendp.combinators import make_zCDP_to_approxDP

    mod.enable_features("contrib")
    for epsilon, delta in (("0.5", "1e-7"), ("1", "1e-7"), ("4", "1e-5")):
        rho = privacy.rho_of(Decimal(epsilon), Decimal(delta)) / privacy.RHO_UNITS
        space = domains.vector_domain(domains.atom_domain(T="i64")), metrics.l2_distance(T="f64")
        gaussian = measurements.make_gaussian(*space, scale=(2 * rho) ** -0.5)
        numeric = make_zCDP_to_approxDP(gaussian).map(1.0).epsilon(float(delta))
        assert 0.6 * float(epsilon) < numeric <= float(epsilon)


def test_the_ledger_adds_rho_so_that_one_in_all_is_three_questions_of_a_half():
    """Known numbers: another machine, or another version of Python, must find the same."""
    budget = agreed_offer("statistics", noise=NOISE).budget
    assert (budget.rho, budget.rho_in_all, budget.questions) == (3818626, 15047247, 3)
    assert (budget.window, budget.delta, budget.delta_in_all) == ("year", 0, 0)
    assert [budget.left(used) for used in (0, 1, 3818626, 15047247, 10**12)] == [3, 3, 2, 0, 0]


def test_keys_that_are_not_public_take_half_of_delta_in_equal_parts():
    budget = agreed_offer("statistics", noise={**NOISE, "keys": {"age": [10, 20]}}).budget
    assert budget.delta_in_all == 10**18 // 10**7 // 2
    assert budget.delta * budget.questions <= budget.delta_in_all < budget.delta * (budget.questions + 1)
    assert budget.rho == privacy.rho_of(Decimal("0.5"), Decimal("5e-8"))


# --- both directions


def test_the_table_compiles_to_a_premise_and_a_duty_that_the_plan_gets():
    policy = noised()
    main = policy.permission[0]
    assert [(c.operator, c.right, c.unit) for c in main.constraint if c.left == "tn:epsilon"] == [
        ("lteq", "1", "tn:perYear")
    ]
    assert [duty.timing for duty in main.duty if duty.action == "tn:dp"] == ["PARALLEL"]
    rule = agreed_offer("statistics", noise=NOISE).governed(PATIENTS, table="t").aggregate.noise
    assert rule.clamps == (Clamp("bmi", "10", "70"), Clamp("status", "0", "1"))
    assert rule.keys == (KeyValues("age", ("10", "20", "30")), KeyValues("male", ("0", "1")))
    assert (rule.rho, rule.key_delta, rule.groups_per_person, rule.rows_per_group) == (3818626, 0, 1, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"per": None},
        {"per": "day", "delta": "0.00001", "groups_per_person": 5, "rows_per_group": 3},
        {"keys": None, "epsilon_per_query": 1, "epsilon_in_all": "7.5"},
        {"clamp": {"status": ["-0.5", "1.25"], "bmi": [10, 70]}},
    ],
)
def test_the_table_comes_back_from_odrl(changes):
    policy = noised(**changes)
    terms, price = to_terms(policy)
    again = compiled(terms, price=price, schema=PATIENTS, level="GENERAL_4")
    assert odrl.encode(again) == odrl.encode(policy)


def test_numbers_have_one_spelling():
    assert odrl.digest(noised(delta="0.0000001", epsilon_in_all="1.0")) == odrl.digest(noised())


def test_words_say_what_it_costs_in_both_languages():
    terms, price = to_terms(noised())
    line = next(line for line in explain.lines(terms, price) if line.key == "noise")
    assert line.kept == "enforced"
    assert line.words == (
        "each answer noised, epsilon 0.5 a question, 1 per year, delta 0.0000001; "
        "a person counts in at most 1 group, 1 row each"
    )
    assert "每年 1" in line.zh
    assert "never given back" in line.how


# --- what is refused


@pytest.mark.parametrize("key", ["epsilon_per_query", "epsilon_in_all", "delta", "groups_per_person", "rows_per_group"])
def test_nothing_of_it_is_allowed_by_silence(key):
    refused = refusal(**{key: None})
    assert (refused.reason, refused.metadata["field"]) == ("FIELD_MISSING", f"noise.{key}")


@pytest.mark.parametrize(
    "changes, reason, field",
    [
        ({"epsilon_per_query": 2}, "POLICY_CONFLICT", "noise.epsilon_per_query"),
        ({"epsilon_per_query": "1e-9"}, "FIELD_FORMAT", "noise.epsilon_per_query"),
        ({"epsilon_per_query": "NaN"}, "FIELD_FORMAT", "noise.epsilon_per_query"),
        ({"epsilon_per_query": "half"}, "FIELD_FORMAT", "noise.epsilon_per_query"),
        ({"epsilon_in_all": 1000}, "FIELD_FORMAT", "epsilon_in_all"),
        ({"delta": "0.5"}, "FIELD_FORMAT", "noise.delta"),
        ({"delta": "-1e-7"}, "FIELD_FORMAT", "noise.delta"),
        ({"per": "hour"}, "VOCABULARY_UNKNOWN", "noise.per"),
        ({"clamp": {"status": [0, 1]}}, "POLICY_CONFLICT", "noise.clamp"),
        ({"clamp": {**NOISE["clamp"], "age": [0, 99]}}, "POLICY_CONFLICT", "noise.clamp"),
        ({"clamp": {"status": [1, 0], "bmi": [10, 70]}}, "FIELD_FORMAT", "noise.clamp"),
        ({"clamp": {"status": [0, 1], "bmi": [10]}}, "FIELD_FORMAT", "noise.clamp"),
        ({"clamp": {"status": [0, 1], "bmi": [10, "1e12"]}}, "FIELD_FORMAT", "noise.clamp"),
        ({"keys": {"status": [0, 1]}}, "POLICY_CONFLICT", "noise.keys"),
        ({"keys": {"agee": [10]}}, "VOCABULARY_UNKNOWN", "noise.keys"),
        ({"keys": {"age": [10, "10"]}}, "FIELD_FORMAT", "noise.keys"),
        ({"keys": {"age": ["old"]}}, "FIELD_FORMAT", "noise.keys"),
        ({"groups_per_person": 5000}, "FIELD_FORMAT", "tn:groupsPerPerson"),
    ],
)
def test_what_the_ledger_or_the_columns_do_not_bear_is_refused_with_its_line(changes, reason, field):
    refused = refusal(**changes)
    assert (refused.reason, refused.metadata["field"]) == (reason, field)


def test_a_spread_is_no_noised_measure():
    with pytest.raises(TrustnodeError, match="noise knows count, sum and avg"):
        compiled_offer("statistics", noise=NOISE, measures=["count", "stddev bmi"])


def test_noise_belongs_to_aggregates():
    with pytest.raises(TrustnodeError, match='noise belongs to result = "aggregates"'):
        compiled_offer("scoring", noise=NOISE)


def test_the_keys_of_each_contract_cannot_be_listed():
    with pytest.raises(TrustnodeError, match="a key of each contract"):
        compiled_offer("statistics", noise=NOISE, masks={"age": "hash"})


@pytest.mark.parametrize("mask", sorted(KEYED_METHODS))
def test_the_keys_of_each_contract_cannot_be_listed_of_any_mask_that_has_one(mask):
    example = {"first": "first 3", "last": "last 4"}.get(mask, mask)
    terms, price, _, level = OFFERS["statistics"]
    schema = (*PATIENTS, Column(name="town", type="utf8"))
    changed = {
        **terms, "group_by": ["town"], "masks": {"town": example}, "noise": {**NOISE, "keys": {"town": ["Gent", "Brugge"]}},
    }  # fmt: skip
    with pytest.raises(TrustnodeError, match="a key of each contract"):
        compiled(decode(changed), price=price, schema=schema, level=level)


@pytest.mark.parametrize("drop", ["tn:dp", "tn:epsilon"])
def test_a_budget_without_noise_and_noise_without_a_budget_are_no_policy(drop):
    policy = noised()
    main = policy.permission[0]
    kept = {
        "duty": tuple(duty for duty in main.duty if duty.action != drop),
        "constraint": tuple(part for part in main.constraint if part.left != drop),
    }
    broken = odrl.msgspec.structs.replace(
        policy, permission=(odrl.msgspec.structs.replace(main, **kept), *policy.permission[1:])
    )
    from trustnode.core.policy import compiled as ready

    with pytest.raises(TrustnodeError) as caught:
        ready.load(broken)
    assert caught.value.reason == "FIELD_MISSING"


@pytest.mark.parametrize("constraint", [("lt", "1", None), ("lteq", "1", "tn:perHour"), ("lteq", "none", None)])
def test_a_budget_that_cannot_be_counted_is_no_policy(constraint):
    policy = noised()
    main = policy.permission[0]
    operator, right, unit = constraint
    wrong = Constraint(left="tn:epsilon", operator=operator, right=right, unit=unit)
    parts = tuple(wrong if part.left == "tn:epsilon" else part for part in main.constraint)
    broken = odrl.msgspec.structs.replace(
        policy,
        permission=(odrl.msgspec.structs.replace(main, constraint=parts), *policy.permission[1:]),
    )
    from trustnode.core.policy import compiled as ready

    with pytest.raises(TrustnodeError):
        ready.load(broken)


def test_an_offer_may_be_stricter_than_its_floor_and_never_weaker():
    def terms(**changes):
        return decode({"noise": {**NOISE, **changes}})

    floor.check(terms(epsilon_per_query="0.25", delta="1e-9"), terms())
    for weaker in ({"epsilon_in_all": 2}, {"delta": "1e-6"}, {"per": "day"}, {"rows_per_group": 2}):
        with pytest.raises(TrustnodeError) as caught:
            floor.check(terms(**weaker), terms())
        assert caught.value.reason == "POLICY_WEAKER"
    with pytest.raises(TrustnodeError):
        floor.check(decode({}), terms())
