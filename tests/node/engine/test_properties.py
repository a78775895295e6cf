"""Taking away rows or columns never adds any to the answer of an accepted query."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from node.engine.world import ORDERS, read_corpus

from trustnode.core.policy.governed import Comparison, Governed, GovernedTable, Junction, Mask
from trustnode.engine.session import Session
from trustnode.errors import TrustnodeError

COLUMNS = ("id", "city", "zip", "price", "quantity", "paid")
COMPARISONS = st.one_of(
    st.builds(
        lambda op, n: Comparison("zip", op, (n,)), st.sampled_from(["=", "<>", "<", ">="]), st.integers(9999, 10007)
    ),
    st.builds(lambda op, n: Comparison("id", op, (n,)), st.sampled_from(["<", ">", "="]), st.integers(-5, 700)),
    st.builds(
        lambda n: Comparison("city", "in", tuple(n)), st.lists(st.sampled_from(["Bonn", "Köln", "x"]), min_size=1)
    ),
    st.sampled_from([Comparison("city", "is null"), Comparison("paid", "=", (True,))]),
)
PREDICATES = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.builds(
            lambda op, items: Junction(op, tuple(items)),
            st.sampled_from(["and", "or"]),
            st.lists(inner, min_size=2, max_size=3),
        ),
        st.builds(lambda item: Junction("not", (item,)), inner),
    ),
    max_leaves=5,
)
ROWS = ["SELECT * FROM orders", "SELECT id FROM orders WHERE price > 20", "SELECT city, zip FROM orders WHERE NOT paid"]


@pytest.fixture(scope="module")
def rows_of(make_spec):
    def rows_of(sql, columns, predicate, load):
        table = GovernedTable("orders", columns, rows=predicate)
        return Session(make_spec(Governed((table,)), load=load)).run(sql, (), "")[1]

    return rows_of


@settings(max_examples=25)
@given(predicate=PREDICATES, sql=st.sampled_from(ROWS), load=st.booleans())
def test_a_row_filter_only_takes_rows_away(rows_of, predicate, sql, load):
    whole, filtered = (Counter(rows_of(sql, COLUMNS, rows, load).fetchall()) for rows in (None, predicate))
    assert filtered <= whole


@settings(max_examples=25)
@given(predicate=PREDICATES)
def test_a_filter_and_its_negation_share_no_row(rows_of, predicate):
    both = [
        {row[0] for row in rows_of("SELECT id FROM orders", COLUMNS, rows, True).fetchall()}
        for rows in (predicate, Junction("not", (predicate,)))
    ]
    assert not both[0] & both[1]


@settings(max_examples=25)
@given(columns=st.lists(st.sampled_from(COLUMNS), unique=True, min_size=1))
def test_leaving_out_columns_leaves_them_out_of_the_whole_table(rows_of, columns):
    assert rows_of("SELECT * FROM orders", tuple(columns), None, True).columns == columns


def test_a_query_that_is_accepted_with_fewer_columns_touches_none_of_the_others(make_spec):
    kept = ("id", "zip", "city")
    session = Session(make_spec(Governed((GovernedTable("orders", kept, (Mask("email", "null"),), ORDERS.rows),))))
    accepted = 0
    for case in read_corpus("ordinary")["case"]:
        try:
            plan = session.plan(case["sql"], tuple(case.get("parameters", ())))
        except TrustnodeError:
            continue
        accepted += 1
        assert set(plan.columns_used) <= {f"orders.{name}" for name in (*kept, "email")}
    assert accepted > 10
