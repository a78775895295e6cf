"""Taking away rows or columns never adds any to the answer of an accepted query."""

from __future__ import annotations

from collections import Counter

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from node.engine.world import ORDERS, SECRETS, read_corpus

from trustnode.core.policy.governed import Comparison, Governed, GovernedTable, Junction, Mask
from trustnode.engine.session import Session
from trustnode.engine.worker import failure_of
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
WORDS = [
    "id",
    "city",
    "zip",
    "secret",
    "tenant",
    "orders",
    "t0",
    "o",
    ",",
    ",",
    ",",
    "(",
    ")",
    "(",
    ")",
    "*",
    ".",
    "=",
    "<",
    "+",
    "||",
    "-",
    "/",
    "''",
    "'x'",
    '"id"',
    "\u200b",
    "\ufeff",
    "1",
    "2",
    "from",
    "from",
    "from",
    "where",
    "group",
    "by",
    "order",
    "limit",
    "union",
    "all",
    "select",
    "select",
    "join",
    "on",
    "using",
    "with",
    "as",
    "as",
    "a",
    "case",
    "when",
    "then",
    "else",
    "end",
    "and",
    "or",
    "not",
    "in",
    "is",
    "null",
    "count(*)",
    "sum(",
    "max(",
    "cast(",
    "try_cast(",
    "::",
    "int",
    "varchar",
    "interval",
    "day",
    "over",
    "distinct",
    "having",
    "qualify",
    "exists",
    "values",
    "lateral",
    "unnest(",
    ";",
    "--",
    "/*",
    "*/",
    "$1",
    "?",
    "read_csv(",
    "pragma_table_info(",
    "information_schema.",
    "duckdb_tables",
    "main.",
    "g.",
    "exclude",
    "replace",
]

ROWS = ["SELECT * FROM orders", "SELECT id FROM orders WHERE price > 20", "SELECT city, zip FROM orders WHERE NOT paid"]


@pytest.fixture(scope="module")
def rows_of(make_spec):
    def rows_of(sql, columns, predicate, load):
        table = GovernedTable("orders", columns, rows=predicate)
        return Session(make_spec(Governed((table,)), load=load)).run(sql, (), "")[1]

    return rows_of


@pytest.fixture(scope="module")
def session(make_spec):
    return Session(make_spec())


@settings(max_examples=25)
@given(predicate=PREDICATES, sql=st.sampled_from(ROWS), load=st.booleans())
def test_q1i_a_row_filter_only_takes_rows_away(rows_of, predicate, sql, load):
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


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@settings(max_examples=200)
@given(text=TEXTS)
def test_q1f_a_text_means_to_the_engine_what_it_means_to_the_rewriter(session, text):
    quoted = text.replace("'", "''")
    assert session.run(f"SELECT '{quoted}' AS a, ? AS b", (text,), "")[1].fetchall() == [(text, text)]


@settings(max_examples=200)
@given(name=st.text(min_size=1, max_size=20))
def test_q1f_a_quoted_name_is_that_name_or_is_refused(session, name):
    quoted = name.replace('"', '""')
    reason, names = "", [name]
    try:
        names = [column.name for column in session.plan(f'SELECT id AS "{quoted}" FROM orders', ()).columns]
    except TrustnodeError as refused:
        reason = refused.reason
    assert names == [name]
    assert reason in {"", "QUERY_INVALID"}


@settings(max_examples=300)
@given(words=st.lists(st.sampled_from(WORDS), max_size=12))
def test_q1f_whatever_is_typed_gives_visible_rows_or_a_closed_reason(session, words):
    try:
        shown = repr(session.run("SELECT " + " ".join(words), (), "")[1].limit(50).fetchall())
    except (TrustnodeError, duckdb.Error) as refused:
        failure = failure_of(refused)
        shown = failure.message if failure.reason in {"QUERY_INVALID", "FIELD_NOT_AGREED"} else SECRETS[0]
    assert not any(secret in shown for secret in SECRETS)
