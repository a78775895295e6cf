"""Noise in the engine: what one person may add, how much noise hides it, which keys are shown (privacy 3)."""

from __future__ import annotations

import math
import random
from collections import Counter
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trustnode.core.policy.governed import (
    AggregateRule,
    Clamp,
    Governed,
    GovernedTable,
    KeyValues,
    Mask,
    Measure,
    NoiseRule,
)
from trustnode.core.policy.privacy import NOISE_95, RHO_UNITS
from trustnode.engine import release
from trustnode.engine.message import SessionSpec
from trustnode.engine.session import Session
from trustnode.engine.source import Source

GROUPS = ("10", "20", "30", "90")
"""Public keys of ``age``; nobody has 90."""


def table(seed=3, persons=60):
    """Persons with several rows in several groups; some values are wild, missing, or of nobody."""
    chance = random.Random(seed)
    rows = [
        (person, 10 * chance.randrange(1, 4) + chance.randrange(10), chance.randrange(3), _value(chance))
        for person in range(persons)
        for _ in range(chance.randrange(1, 7))
    ]
    rows += [(None, 15, 0, 5.0)] * 3
    ids, ages, zips, pay = zip(*rows, strict=True)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "age": pa.array(ages, pa.int32()),
            "zip": pa.array([f"z{number}" for number in zips]),
            "pay": pa.array(pay, pa.float64()),
        }
    )


def _value(chance):
    return chance.choice([None, -1e12, 1e12, math.nan, *[round(chance.uniform(-5, 25), 2)] * 6])


def rule(groups=2, rows=2, rho=RHO_UNITS, key_delta=0, keys=GROUPS, min_group=2):
    return AggregateRule(
        "id",
        ("age", "zip"),
        (Measure("count"), Measure("sum", "pay"), Measure("avg", "pay")),
        min_group,
        NoiseRule(
            rho=rho,
            key_delta=key_delta,
            groups_per_person=groups,
            rows_per_group=rows,
            clamps=(Clamp("pay", "-2.5", "20"),),
            keys=(KeyValues("age", keys),) if keys else (),
        ),
    )


@pytest.fixture
def opened(tmp_path):
    """Sessions on tables that a test makes."""
    number = iter(range(10_000))

    def opening(data, **more):
        path = tmp_path / f"{next(number)}.parquet"
        pq.write_table(data, path)
        governed = Governed((GovernedTable("t", ("zip", "pay"), (Mask("age", "bucket", "10"),)),), rule(**more))
        source = Source("parquet", str(path), {"t": path.name})
        return Session(
            SessionSpec(agreement="a", policy_digest="p", data_version="v", source=source, governed=governed)
        )

    return opening


def bounded(session, sql):
    """Sums before noise, by key: what one person can move is seen here."""
    question = session._planned(sql, ())[0].question
    found = session._bounded(question.text).to_pylist()
    keys = [f"k{number}" for number in range(len(question.keys))]
    return question, {tuple(row[key] for key in keys): row for row in found}


ALL = "select age, count(*) n, sum(pay) s, avg(pay) m from t group by age"


# --- one person


@pytest.mark.parametrize("groups, rows", [(1, 1), (2, 1), (2, 3), (3, 2)])
def test_taking_one_person_away_moves_the_sums_no_further_than_the_noise_is_made_for(opened, groups, rows):
    """The property of the formula, for every person: which rows and groups count depends on that person's rows alone."""
    whole = table(persons=12)
    ids = whole["id"].to_pylist()
    fixed = {"key": "0" * 64}
    for person in range(12):
        kept = whole.filter(pa.array([one != person for one in ids]))
        both = []
        for rows_of in (whole, kept):
            session = opened(rows_of, groups=groups, rows=rows)
            question = session._planned(ALL, ())[0].question
            both.append(session._connection.sql(question.text, params=fixed).to_arrow_table())
        statistics = release._statistics(question, rule(groups=groups, rows=rows).noise)
        for statistic in statistics:
            one, other = ([int(value) for value in found[statistic.name].to_pylist()] for found in both)
            apart = math.sqrt(sum((a - b) ** 2 for a, b in zip(one, other, strict=True)))
            assert apart <= statistic.sensitivity + 1e-9, (person, statistic)


def test_a_person_counts_in_as_many_groups_and_rows_as_agreed_and_no_value_passes_the_clamp(opened):
    rows = pa.table(
        {
            "id": pa.array([1] * 40, pa.int64()),
            "age": pa.array([10, 20, 30, 10] * 10, pa.int32()),
            "zip": ["z"] * 40,
            "pay": [1e9] * 40,
        }
    )
    _, found = bounded(opened(rows, groups=2, rows=3), ALL)
    assert sorted(row["units"] for row in found.values()) == [0, 0, 1, 1]
    assert sorted(row["n"] for row in found.values()) == [0, 0, 3, 3]
    assert sorted(row["sv0"] for row in found.values()) == [0, 0, 3 * 20_000, 3 * 20_000]


def test_what_counts_is_drawn_anew_for_each_question(opened):
    rows = pa.table(
        {
            "id": pa.array([1] * 3, pa.int64()),
            "age": pa.array([10, 20, 30], pa.int32()),
            "zip": ["z"] * 3,
            "pay": [1.0] * 3,
        }
    )
    session = opened(rows, groups=1)
    kept = {key for _ in range(60) for key, row in bounded(session, ALL)[1].items() if row["units"]}
    assert kept == {(10,), (20,), (30,)}


def test_rows_of_nobody_and_values_that_are_none_count_for_nothing(opened):
    rows = pa.table(
        {
            "id": pa.array([1, 2, None], pa.int64()),
            "age": pa.array([10, 10, 10], pa.int32()),
            "zip": ["z"] * 3,
            "pay": [None, 4.0, 9.0],
        }
    )
    _, found = bounded(opened(rows), "select age, count(*) n, avg(pay) m from t group by age")
    assert [found[10,][name] for name in ("units", "n", "nv0", "sv0")] == [2, 2, 1, 4000]
    assert found[90,]["units"] == 0


# --- keys


def test_public_keys_stand_there_whether_or_not_anybody_has_them_and_others_never(opened):
    session = opened(table(), keys=("20", "90"), min_group=2, rho=10**14)
    answers = [drawn(session, "select age, count(*) n from t group by age") for _ in range(5)]
    assert {row["age"] for answer in answers for row in answer} <= {20, 90}
    question, found = bounded(session, "select age, count(*) n from t group by age")
    assert set(found) == {(20,), (90,)}
    assert question.public


def test_a_condition_on_the_keys_leaves_out_the_groups_that_it_excludes(opened):
    session = opened(table())
    _, found = bounded(session, "select age, count(*) n from t where age >= 20 and not age = 30 group by age")
    assert set(found) == {(20,), (90,)}
    _, found = bounded(session, "select age, count(*) n from t where zip = 'z1' group by age")
    assert set(found) == {(10,), (20,), (30,), (90,)}


def test_a_key_that_is_not_public_is_shown_only_where_enough_persons_have_it(opened):
    rows = pa.table(
        {
            "id": pa.array(range(2001), pa.int64()),
            "age": pa.array([20] * 2001, pa.int32()),
            "zip": ["many"] * 2000 + ["one"],
            "pay": [1.0] * 2001,
        }
    )
    session = opened(rows, groups=1, rows=1, rho=RHO_UNITS // 10, key_delta=10**9)
    shown = {row["zip"] for _ in range(40) for row in drawn(session, "select zip, count(*) n from t group by zip")}
    assert shown == {"many"}
    rule_ = rule(groups=1, rows=1, rho=RHO_UNITS // 10, key_delta=10**9).noise
    measurement, threshold = release.threshold_of(rule_, 0.1)
    rho, chance = measurement.map((1, 1.0, 1.0))
    assert rho <= 0.1
    assert chance <= 1e-9
    assert 1 < threshold < 40


# --- noise


def drawn(session, sql):
    plan = session.plan(sql, ())
    _, answer = session.run(sql, (), plan.sql)
    return answer.to_arrow_reader(1000).read_all().to_pylist()


def test_the_noise_has_the_variance_that_its_share_of_rho_asks_for(opened):
    """2,000 draws: the sample variance of a Gaussian lies within 6 standard errors, sqrt(2 / n) each."""
    statistic, rho, draws = release.Statistic("s", 50.0), 0.02, 2000
    sigma = release.scale_of(statistic, rho)
    found = release.noised([7] * draws, statistic, rho)
    mean = sum(found) / draws
    variance = sum((value - mean) ** 2 for value in found) / (draws - 1)
    assert abs(variance / sigma**2 - 1) < 6 * math.sqrt(2 / draws)
    assert abs(mean - 7) < 6 * sigma / math.sqrt(draws)


def test_two_neighbouring_tables_are_told_apart_no_better_than_epsilon_allows():
    """An audit: 20,000 answers of each; the chance of each outcome differs at most by what rho and delta promise."""
    statistic, rho, delta, draws = release.Statistic("units", 1.0), 0.125, 1e-3, 20_000
    one, other = (Counter(release.noised([count] * draws, statistic, rho)) for count in (10, 11))
    epsilon = rho + 2 * math.sqrt(rho * math.log(1 / delta))
    for cut in range(4, 18):
        above = [sum(n for value, n in found.items() if value >= cut) / draws for found in (one, other)]
        for p, q in (above, above[::-1], [1 - part for part in above], [1 - part for part in above[::-1]]):
            margin = 6 * math.sqrt(max(p * (1 - p), 1e-4) / draws)
            assert p - margin <= math.exp(epsilon) * (q + margin) + delta


def test_an_average_is_noised_sum_over_noised_count_and_stays_within_its_clamp(opened):
    rows = drawn(opened(table(persons=4000), rho=10**13, groups=3, rows=6), ALL)
    by_age = {row["age"]: row for row in rows}
    assert by_age.keys() >= {10, 20, 30}
    for row in by_age.values():
        assert row["m"] is None or Decimal("-2.5") <= row["m"] <= 20
    assert all(isinstance(row["n"], int) and isinstance(row["s"], Decimal) for row in rows)


def test_small_groups_are_dropped_by_their_noised_number_of_persons(opened):
    session = opened(table(), min_group=1000, rho=10**13)
    assert drawn(session, "select age, count(*) n from t group by age") == []


def test_the_answer_is_sorted_and_cut_after_the_noise(opened):
    session = opened(table(persons=300), rho=10**13)
    rows = drawn(session, "select age a, count(*) n from t where age < 40 group by age order by n desc limit 2")
    assert len(rows) == 2
    assert rows[0]["n"] >= rows[1]["n"]
    assert [row["a"] for row in drawn(session, "select age a, count(*) n from t where age < 40 group by 1")] == [
        10,
        20,
        30,
    ]


def test_the_schema_is_declared_before_anything_is_drawn(opened):
    session = opened(table())
    plan = session.plan(ALL, ())
    _, answer = session.run(ALL, (), plan.sql)
    assert [column.type for column in plan.columns] == ["int32", "int64", "decimal(38,3)", "decimal(18,4)"]
    assert session.answer_schema(ALL, ()).equals(answer.table.schema, check_metadata=True)
    widths = [field.metadata and field.metadata[NOISE_95] for field in answer.table.schema]
    assert widths[0] is None and widths[3] is None  # noqa: PT018
    assert float(widths[2]) > float(widths[1]) > 0


def test_a_question_costs_the_same_whatever_it_asks(opened):
    """Four numbers of a group share what one number would have alone."""
    session = opened(table())
    for sql, parts in (("select count(*) n from t", 2), (ALL, 4), ("select sum(pay) s from t", 2)):
        question = session._planned(sql, ())[0].question
        shared = release.shares(question)
        assert (len(shared.statistics), shared.rho) == (parts, 1.0 / parts)


@pytest.mark.parametrize("condition", ["zip = 5", "zip = 'z1' and age = 'ten'", "age > 1e300", "zip in (1, 'z1')"])
def test_no_condition_fails_on_a_value(opened, condition):
    assert isinstance(drawn(opened(table()), f"select count(*) n from t where {condition}"), list)


def test_the_same_question_has_the_same_text_in_another_session(opened):
    one, other = opened(table()), opened(table())
    assert (
        one.plan(ALL, ()).sql
        == other.plan("SELECT t.age, COUNT(*) AS n, sum(pay) s, avg(pay) AS m FROM t GROUP BY 1", ()).sql
    )
