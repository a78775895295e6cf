"""Column rules: filter only, join key only, aggregate only - held wherever the column is handed on to."""

from __future__ import annotations

import duckdb
import pytest
from node.engine import world
from node.engine.world import read_corpus

from trustnode.core.policy.governed import AggregateRule, Comparison, Governed, GovernedTable, Mask, Measure, Use
from trustnode.engine.session import Session
from trustnode.engine.worker import failure_of
from trustnode.errors import TrustnodeError

OPEN_ROWS = Comparison("tenant", "=", ("open",))
USES = (
    Use("price", "filter"),
    Use("zip", "join"),
    Use("quantity", "aggregate", 5),
    Use("id", "aggregate", 3, "person"),
)
ORDERS = GovernedTable(
    "orders",
    ("id", "city", "zip", "price", "quantity", "bought", "paid"),
    (Mask("email", "domain"),),
    OPEN_ROWS,
    uses=USES,
)
SHOPS = GovernedTable("shops", ("zip", "opened"))
RULED = Governed((ORDERS, SHOPS))
CORPUS = read_corpus("uses")


@pytest.fixture(scope="module")
def session(make_spec):
    return Session(make_spec(RULED))


@pytest.fixture(scope="module")
def free(make_spec):
    """The same rows without a rule on any column."""
    return Session(make_spec(Governed((GovernedTable("orders", ORDERS.columns, ORDERS.masks, OPEN_ROWS), SHOPS))))


def rows(session, sql):
    return sorted(session.run(sql, (), "")[1].fetchall(), key=repr)


def refusal(session, sql):
    with pytest.raises((TrustnodeError, duckdb.Error)) as caught:
        session.run(sql, (), "")[1].fetchall()
    return failure_of(caught.value)


@pytest.mark.parametrize("case", CORPUS["refused"], ids=lambda case: case["sql"])
def test_a_use_that_a_rule_does_not_allow_is_refused_by_its_name(session, case):
    failure = refusal(session, case["sql"])
    assert failure.reason == "FIELD_NOT_AGREED", failure
    assert case["column"] == failure.metadata["field"]
    assert ("cannot be followed" in failure.message) == case.get("unclear", False)


@pytest.mark.parametrize("case", CORPUS["allowed"], ids=lambda case: case["sql"])
def test_a_use_that_the_rules_allow_gives_what_it_gives_without_them(session, free, case):
    assert rows(session, case["sql"]) == rows(free, case["sql"])


@pytest.mark.parametrize("case", CORPUS["fewer"], ids=lambda case: case["sql"])
def test_groups_that_are_too_small_are_missing_and_the_others_are_exact(session, free, case):
    got, all_groups = rows(session, case["sql"]), rows(free, case["sql"])
    assert set(got) < set(all_groups)
    assert bool(got) == case["any"]


def test_a_star_means_the_columns_that_may_be_shown(session):
    names = [column.name for column in session.plan("SELECT * FROM orders", ()).columns]
    assert names == ["city", "bought", "paid", "email"]
    plan = session.plan("SELECT o.*, s.zip FROM orders o JOIN shops s ON o.zip = s.zip", ())
    assert [column.name for column in plan.columns] == [*names, "zip"]


def test_a_group_is_counted_by_what_the_rule_says(make_spec):
    """Many rows of few persons are many rows and few persons."""
    sql = "SELECT city, sum(quantity) AS s, count(quantity) AS n FROM orders GROUP BY city"
    shown = {}
    for use in (Use("quantity", "aggregate", 41), Use("quantity", "aggregate", 41, "person")):
        table = GovernedTable("orders", ("city", "quantity"), uses=(use,))
        shown[use.unit] = rows(Session(make_spec(Governed((table,)))), sql)
    assert len(shown[""]) > 3
    assert all(count >= 41 for *_, count in shown[""])
    assert shown["person"] == []  # there are forty


def test_of_aggregates_a_group_key_can_be_for_filtering_alone(make_spec):
    rule = AggregateRule("person", ("zip", "city"), (Measure("count"),), 5)
    table = GovernedTable("orders", ("zip", "city"), rows=OPEN_ROWS, uses=(Use("zip", "filter"),))
    session = Session(make_spec(Governed((table,), rule)))
    assert rows(session, "SELECT city, count(*) FROM orders WHERE zip > 10001 GROUP BY city")
    assert refusal(session, "SELECT zip, count(*) FROM orders GROUP BY zip").reason == "FIELD_NOT_AGREED"


def test_a_mask_comes_before_the_rule(make_spec):
    table = GovernedTable("orders", ("city",), (Mask("price", "bucket", "50"),), uses=(Use("price", "filter"),))
    session = Session(make_spec(Governed((table,))))
    assert rows(session, "SELECT count(*) FROM orders WHERE price NOT IN (0, 50)") == [(0,)]
    assert refusal(session, "SELECT price FROM orders").reason == "FIELD_NOT_AGREED"


def test_rules_on_other_columns_refuse_no_ordinary_query(make_spec):
    """Where lineage cannot follow it refuses; it can follow everything that an analyst writes."""
    one = world.ORDERS
    table = GovernedTable("orders", (*one.columns, "secret"), one.masks, one.rows, uses=(Use("secret", "filter"),))
    session = Session(make_spec(Governed((table, SHOPS))))
    for case in read_corpus("ordinary")["case"]:
        assert session.plan(case["sql"], tuple(case.get("parameters", ()))).columns, case["name"]
