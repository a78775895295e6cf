"""What a consumer's query becomes, or why it is refused."""

from __future__ import annotations

import re

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from node.engine.world import AGGREGATES, PLAIN, ROWS, SECRETS, orders_table, read_corpus

from trustnode.core.identifier import schema_name
from trustnode.core.policy.governed import Comparison, Governed, GovernedTable
from trustnode.engine.session import Session
from trustnode.engine.source import Source
from trustnode.engine.worker import failure_of
from trustnode.errors import TrustnodeError

HOSTILE = read_corpus("hostile")["case"]
ORDINARY = read_corpus("ordinary")["case"]
AGGREGATE = read_corpus("aggregate")
SKETCH = read_corpus("sketch")
CLOSED = {"QUERY_INVALID", "FIELD_NOT_AGREED", "FIELD_TOO_LONG", "DENIED", "QUERY_TOO_COSTLY"}


@pytest.fixture(scope="module", params=["loaded", "scanned"])
def session(request, make_spec):
    return Session(make_spec(load=request.param == "loaded"))


@pytest.fixture(scope="module")
def aggregates(make_spec):
    return Session(make_spec(AGGREGATES))


@pytest.fixture(scope="module")
def reference(make_spec):
    """A database that holds the governed relation and nothing else."""
    session, connection = Session(make_spec()), duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for table in ("orders", "shops"):
        rows = session.run(f"SELECT * FROM {table}", (), "")[1].to_arrow_table()  # noqa: F841 - read by name
        connection.execute(f"CREATE TABLE {table} AS SELECT * FROM rows")
    return connection


def refusal(session, sql, parameters=()):
    with pytest.raises((TrustnodeError, duckdb.Error)) as caught:
        session.run(sql, parameters, "")[1].fetchall()
    return failure_of(caught.value)


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case["name"])
def test_no_hostile_statement_escapes(session, case):
    failure = refusal(session, case["sql"])
    assert failure.reason in CLOSED
    for secret in (*SECRETS, session._token, "tenant", ".parquet"):
        if secret not in case["sql"]:
            assert secret not in failure.message + repr(failure.metadata)


@pytest.mark.parametrize("case", ORDINARY, ids=lambda case: case["name"])
def test_q1i_an_ordinary_query_gives_what_it_gives_on_the_governed_relation_alone(session, reference, case):
    parameters = tuple(case.get("parameters", ()))
    plan, rows = session.run(case["sql"], parameters, "")
    got = rows.fetchall()
    if case["name"] == "failing cast gives null":
        assert all(row[0] is None for row in got)
        return
    wanted = reference.sql(case["sql"], params=list(parameters))
    assert [str(kind) for kind in rows.types] == [str(kind) for kind in wanted.types]
    expected = wanted.fetchall()
    got, expected = _rounded(got), _rounded(expected)
    if not plan.ordered:
        got, expected = sorted(got, key=repr), sorted(expected, key=repr)
    assert got == expected


def _rounded(rows):
    """Sums of doubles depend on the order of rows in their last digits."""
    return [tuple(float(f"{item:.9g}") if isinstance(item, float) else item for item in row) for row in rows]


@pytest.mark.parametrize("case", SKETCH["refused"], ids=lambda case: case["sql"])
def test_what_a_first_sketch_of_the_guard_was_tried_with_is_refused(session, case):
    assert refusal(session, case["sql"]).reason in CLOSED


@pytest.mark.parametrize("case", SKETCH["allowed"], ids=lambda case: case["sql"])
def test_what_of_it_is_harmless_is_answered_from_the_governed_relation(session, case):
    shown = repr(session.run(case["sql"], (), "")[1].fetchall())
    assert not any(secret in shown for secret in SECRETS)


def test_the_corpora_are_as_large_as_promised():
    assert len(HOSTILE) >= 300
    assert len(ORDINARY) >= 50


@pytest.mark.parametrize("case", AGGREGATE["allowed"], ids=lambda case: case["sql"])
def test_an_agreed_aggregate_of_large_groups_is_answered(aggregates, case):
    assert aggregates.run(case["sql"], (), "")[1].fetchall()


@pytest.mark.parametrize("case", AGGREGATE["refused"], ids=lambda case: case["sql"])
def test_what_is_no_agreed_aggregate_of_a_group_is_refused(aggregates, case):
    assert refusal(aggregates, case["sql"]).reason in {"DENIED", "FIELD_NOT_AGREED"}


def test_a_group_with_too_few_persons_is_missing_and_a_full_one_is_exact(make_spec):
    rows = orders_table().select(["zip", "city", "person", "quantity", "tenant"]).to_pylist()
    visible = [row for row in rows if row["tenant"] == "open" and row["zip"] == 10001]
    persons = {}
    for row in visible:
        persons.setdefault(row["city"], set()).add(row["person"])
    least = min(len(found) for found in persons.values()) + 1
    rule = AGGREGATES.aggregate
    governed = type(AGGREGATES)(AGGREGATES.tables, type(rule)(rule.person, rule.group_by, rule.measures, least))
    sql = "SELECT city, count(*), sum(quantity) FROM orders WHERE zip = 10001 GROUP BY city"
    got = {row[0]: row[1:] for row in Session(make_spec(governed)).run(sql, (), "")[1].fetchall()}
    assert set(got) == {city for city, found in persons.items() if len(found) >= least} < set(persons)
    for city, (count, total) in got.items():
        mine = [row["quantity"] for row in visible if row["city"] == city]
        assert (count, total) == (len(mine), sum(mine))


def test_an_unknown_column_is_named_with_the_nearest_delivered_one(session):
    failure = refusal(session, "SELECT prize FROM orders")
    assert failure.reason == "FIELD_NOT_AGREED"
    assert "prize" in failure.message
    assert "did you mean price" in failure.message


def test_a_hidden_column_is_refused_like_one_that_does_not_exist(session):
    hidden, absent = (refusal(session, f"SELECT {name} FROM orders") for name in ("secret", "segrot"))
    assert hidden.reason == absent.reason == "FIELD_NOT_AGREED"
    assert hidden.message.replace("secret", "x") == absent.message.replace("segrot", "x")


def test_the_plan_names_every_column_the_query_touches(session):
    plan = session.plan("SELECT o.id FROM orders o JOIN shops s USING (zip) WHERE lower(city) = 'x' ORDER BY price", ())
    assert plan.columns_used == ("orders.city", "orders.id", "orders.price", "orders.zip", "shops.zip")
    assert plan.ordered


def test_the_plan_has_names_and_types_of_what_is_delivered(session):
    plan = session.plan(
        'SELECT ID, "total amount", count(*) OVER () AS "Anzahl", sum(quantity) OVER () FROM orders', ()
    )
    assert [(column.name, column.type) for column in plan.columns] == [
        ("id", "int64"),
        ("Total Amount", "decimal(12,2)"),
        ("Anzahl", "int64"),
        ("sum(quantity) over ()", "decimal(38,0)"),
    ]


def test_the_text_of_a_plan_is_the_same_in_every_session_and_holds_no_key(make_spec):
    one, other = (Session(make_spec()).plan("SELECT name FROM orders", ()).sql for _ in range(2))
    assert one == other
    assert (b"k" * 32).hex() not in one
    assert not re.search(r"[0-9a-f]{32}", one)


def test_a_parameter_is_a_value_whatever_it_contains(session):
    hostile = "x' OR 1 = 1 UNION SELECT secret FROM t0 --"
    plan, rows = session.run("SELECT count(*) FROM orders WHERE city = ?", (hostile,), "")
    assert rows.fetchall() == [(0,)]
    assert hostile.replace("'", "''") in plan.sql


@pytest.mark.parametrize(
    "sql, parameters, rows",
    [
        ("SELECT id FROM orders WHERE id > ? ORDER BY id LIMIT ? OFFSET ?", (3, 2, 1), 2),
        ("SELECT id FROM orders WHERE id > ? ORDER BY id OFFSET ? LIMIT ?", (3, 1, 2), 2),
        ("FROM orders SELECT id, ? WHERE id > ? LIMIT ?", ("x", 3, 2), 2),
        ("SELECT ? FROM (SELECT id FROM orders WHERE id > ? LIMIT ?) LIMIT ?", (9, 3, 2, 7), 2),
    ],
)
def test_parameters_are_bound_in_the_order_of_the_text(session, reference, sql, parameters, rows):
    got = session.run(sql, parameters, "")[1].fetchall()
    assert len(got) == rows
    if "ORDER BY" in sql:
        assert got == reference.sql(sql, params=list(parameters)).fetchall()


@pytest.mark.parametrize("value, doubled", [("0.5", 1.0), ("-0.5", -1.0), ("1e3", 2000.0)])
def test_a_fraction_that_travels_as_text_is_a_number_beside_a_number(session, value, doubled):
    assert float(session.run("SELECT ? * 2", (value,), "")[1].fetchall()[0][0]) == doubled


def test_the_agreements_own_schema_may_stand_before_a_table(session):
    own = schema_name("urn:agreement:1")
    sql = f'SELECT {own}.orders.id, o.id FROM {own.upper()}.orders JOIN "{own}"."orders" AS o USING (id)'
    assert session.run(sql, (), "")[1].fetchall()


@pytest.mark.parametrize("name", ["agreement_aaaaaaaa.orders", "main.orders", "a.agreement_aaaaaaaa.orders"])
def test_no_other_schema_may_stand_before_a_table(session, name):
    failure = refusal(session, f"SELECT id FROM {name}")
    assert failure.reason == "QUERY_INVALID"
    if "." not in name.partition(".")[2]:
        assert schema_name("urn:agreement:1") in failure.message


def test_the_schema_of_an_answer_is_the_one_that_is_delivered(session):
    sql = "SELECT id, city, count(*) AS n FROM orders WHERE id > ? GROUP BY ALL"
    assert session.answer_schema(sql, (1,)) == session.run(sql, (1,), "")[1].to_arrow_reader().schema


@pytest.mark.parametrize("parameters", [(), (1, 2), (float("nan"),), (float("inf"),)])
def test_missing_surplus_and_infinite_parameters_are_refused(session, parameters):
    assert refusal(session, "SELECT id FROM orders WHERE id = ?", parameters).reason == "QUERY_INVALID"


def test_p4_a_plan_that_is_not_the_one_decided_on_does_not_run(session):
    with pytest.raises(TrustnodeError) as caught:
        session.run("SELECT id FROM orders", (), "SELECT something else")
    assert caught.value.reason == "STALE_VERSION"


def test_q1h_a_name_given_by_the_engine_never_shows_the_governed_sub_select(session):
    sql = "SELECT (SELECT max(id) FROM orders), EXISTS (FROM shops), 1 IN (SELECT zip FROM shops) FROM shops LIMIT 1"
    for column in session.plan(sql, ()).columns:
        assert session._token not in column.name
        assert "tenant" not in column.name


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id // 0 FROM orders",
        "SELECT id % 0 FROM orders",
        "SELECT (SELECT id FROM orders) FROM shops",
        "SELECT quantity * 2000000000 * quantity * 2000000000 * quantity * id * id FROM orders",
        "SELECT chr(-1 - id::int) FROM orders",
    ],
)
def test_q1h_a_failing_computation_gives_one_sentence_without_values(session, sql):
    failure = refusal(session, sql)
    assert failure.reason == "QUERY_INVALID"
    assert failure.message == "the engine cannot compute this query"


def test_hidden_rows_and_columns_are_not_in_the_process_of_a_small_product(make_spec):
    session = Session(make_spec(load=True))
    [(count,)] = session._connection.sql(f'SELECT count(*) FROM "{session._schemas[0]}"."t0"').fetchall()
    columns = session._connection.sql(f'SELECT * FROM "{session._schemas[0]}"."t0" LIMIT 0').columns
    assert 0 < count < ROWS
    assert "secret" not in columns


def test_q1b_the_opened_engine_reads_no_other_file_and_takes_no_setting(make_spec, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("a\n1\n")
    session = Session(make_spec(PLAIN, load=False))
    for sql in (
        f"SELECT * FROM read_csv('{other}')",
        f"SELECT * FROM '{other}'",
        f"COPY (SELECT 1) TO '{tmp_path / 'out'}'",
        f"ATTACH '{tmp_path / 'x.db'}'",
        "SET memory_limit = '10GB'",
        "INSTALL httpfs",
    ):
        with pytest.raises(duckdb.Error):
            session._connection.sql(sql).fetchall()


@pytest.mark.parametrize(
    "sql, used",
    [
        (
            "SELECT 1 AS a FROM shops s WHERE EXISTS (SELECT 1 FROM orders o WHERE o.zip = s.zip AND o.price > 5)",
            ("orders.price", "orders.zip", "shops.zip"),
        ),
        (
            "SELECT (SELECT max(o.id) FROM orders o WHERE o.quantity = s.zip) AS a FROM shops s",
            ("orders.id", "orders.quantity", "shops.zip"),
        ),
        ("SELECT count(*) AS n FROM orders SEMI JOIN shops USING (zip)", ("orders.zip", "shops.zip")),
        (
            "SELECT zip FROM orders GROUP BY zip HAVING max(price) > 1 ORDER BY min(quantity)",
            ("orders.price", "orders.quantity", "orders.zip"),
        ),
        (
            "SELECT sum(id) FILTER (WHERE paid) OVER w AS s FROM orders WINDOW w AS (PARTITION BY city ORDER BY bought)",
            ("orders.bought", "orders.city", "orders.id", "orders.paid"),
        ),
        ("WITH a AS (SELECT * FROM shops) SELECT zip FROM a", ("shops.opened", "shops.zip")),
        ("SELECT id FROM orders QUALIFY row_number() OVER (ORDER BY price) = 1", ("orders.id", "orders.price")),
        ("SELECT DISTINCT ON (city) id FROM orders ORDER BY city, price", ("orders.city", "orders.id", "orders.price")),
    ],
)
def test_columns_used_are_found_wherever_they_stand(session, sql, used):
    assert session.plan(sql, ()).columns_used == used


@pytest.fixture(scope="module", params=["loaded", "scanned"])
def zeros(request, make_spec, tmp_path_factory):
    """Rows with ``k = 0`` and a text that is no number exist only where the row filter hides them."""
    path = tmp_path_factory.mktemp("zeros") / "t.parquet"
    hidden = [n % 10 == 3 for n in range(50_000)]
    table = pa.table(
        {
            "n": range(50_000),
            "k": [0 if gone else 1 for gone in hidden],
            "t": ["hidden text" if gone else "5" for gone in hidden],
            "gone": hidden,
        }
    )
    pq.write_table(table, path, row_group_size=5_000)
    governed = Governed((GovernedTable("t", ("n", "k", "t"), rows=Comparison("gone", "=", (False,))),))
    return Session(make_spec(governed, source=Source("parquet", str(path)), load=request.param == "loaded"))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT sum(n // k) AS s FROM t",
        "SELECT count(*) AS s FROM t WHERE n // k >= 0",
        "SELECT count(*) AS s FROM t WHERE n % k = 0 AND n > 3",
        "SELECT count(*) AS s FROM t WHERE k <> 0 OR n // k > 0",
        "SELECT n // k AS s FROM t ORDER BY n // k LIMIT 3",
        "SELECT count(*) AS s FROM t a JOIN t b ON a.n // a.k = b.n % b.k",
        "SELECT count(*) AS s FROM t a LEFT JOIN t b ON a.n = b.n AND a.n // b.k > 0",
        "SELECT count(*) AS s FROM t WHERE n IN (SELECT n // k FROM t)",
        "SELECT count(*) AS s FROM t a WHERE EXISTS (SELECT 1 FROM t b WHERE b.n // b.k = a.n)",
        "SELECT count(*) AS s FROM (SELECT n // k AS q FROM t) WHERE q > 10",
        "WITH a AS MATERIALIZED (SELECT n // k AS q FROM t) SELECT count(*) AS s FROM a WHERE q > 10",
        "SELECT count(*) AS s FROM t GROUP BY n // k HAVING max(n // k) > 3 LIMIT 2",
        "SELECT max(n // k) OVER (PARTITION BY n % k) AS s FROM t LIMIT 2",
        "SELECT count(*) AS s FROM t WHERE t::int + n // k > 0",
        "SELECT CASE WHEN k = 1 THEN n // k END AS s FROM t LIMIT 5",
        "SELECT count(DISTINCT n // k) AS s FROM t",
        "SELECT count(*) FILTER (WHERE n // k > 0) AS s FROM t",
        "SELECT count(*) AS s FROM t WHERE (SELECT max(n // k) FROM t) > 0",
        "SELECT n // k AS s FROM t UNION SELECT n % k FROM t ORDER BY 1 LIMIT 2",
    ],
)
def test_q1h_q1i_a_hidden_row_cannot_be_made_visible_by_an_error(zeros, sql):
    assert zeros.run(sql, (), "")[1].fetchall()


def test_q1i_text_that_only_a_hidden_row_holds_is_never_seen(zeros):
    found = zeros.run("SELECT count(*) AS n, count(t::int) AS m, min(t) AS a, max(t) AS b FROM t", (), "")[1].fetchall()
    assert found == [(45_000, 45_000, "5", "5")]
