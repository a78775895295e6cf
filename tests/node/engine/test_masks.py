# ruff: noqa: DTZ001 - timestamps of the source have no zone
"""Masks and row filters as SQL: values, types, and policies that do not fit the source."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trustnode.core.policy.governed import (
    MASK_METHODS,
    AggregateRule,
    Comparison,
    Governed,
    GovernedTable,
    Junction,
    Mask,
)
from trustnode.core.policy.masks import KEYED_METHODS, MASKS, parse_mask, shown
from trustnode.engine.masking import TEMPLATES
from trustnode.engine.relation import governed_schema
from trustnode.engine.session import Session
from trustnode.engine.source import Source, arrow, describe
from trustnode.errors import TrustnodeError

COLUMNS = {
    "n": pa.array([-7, 0, 7, 1234, None], pa.int64()),
    "small": pa.array([-7, 0, 7, 99, None], pa.int8()),
    "u": pa.array([0, 7, 10, 255, None], pa.uint8()),
    "f": pa.array([-0.5, 0.0, 12.75, 99.99, None], pa.float64()),
    "d": pa.array([Decimal("-1.50"), Decimal(0), Decimal("12.75"), Decimal("99.99"), None], pa.decimal128(8, 2)),
    "t": pa.array(["anna@a.example", "b", "no sign", "12345678", None]),
    "day": pa.array([dt.date(2024, 5, 17), dt.date(1999, 12, 31), dt.date(2000, 1, 1), dt.date(1, 1, 1), None]),
    "at": pa.array([dt.datetime(2024, 5, 17, 8, 30), dt.datetime(1999, 12, 31), None, None, None], pa.timestamp("us")),
    "ip": pa.array(["192.168.7.41", "2001:db8:1:22::7", "host.example", "::1", None]),
    "b": pa.array([True, False, None, True, False]),
    "raw": pa.array([b"a", b"b", None, b"d", b"e"], pa.binary()),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("masks") / "m.parquet"
    pq.write_table(pa.table(COLUMNS), path)
    return Source("parquet", str(path))


@pytest.fixture
def show(make_spec, source):
    def show(*masks, columns=(), rows=None, sql="SELECT * FROM m", **more):
        governed = Governed((GovernedTable("m", columns, masks, rows),))
        plan, found = Session(make_spec(governed, source=source, **more)).run(sql, (), "")
        values = found.fetchall()
        return plan, [row[0] for row in values] if len(plan.columns) == 1 else values

    return show


def test_every_mask_has_a_shape():
    assert {name.split()[0] for name in TEMPLATES} == set(MASK_METHODS)


MASKED = [
    (Mask("n", "null"), "int64", [None] * 5),
    (Mask("d", "null"), "decimal(8,2)", [None] * 5),
    (Mask("t", "constant", "it's"), "utf8", ["it's"] * 5),
    (Mask("n", "constant", "-1"), "int64", [-1] * 5),
    (Mask("day", "constant", "2000-01-01"), "date32", [dt.date(2000, 1, 1)] * 5),
    (Mask("n", "bucket", "10"), "int64", [-10, 0, 0, 1230, None]),
    (Mask("small", "bucket", "50"), "int8", [-50, 0, 0, 50, None]),
    (Mask("u", "bucket", "10"), "uint8", [0, 0, 10, 250, None]),
    (Mask("f", "bucket", "5"), "float64", [-5.0, 0.0, 10.0, 95.0, None]),
    (Mask("d", "bucket", "5"), "decimal(8,2)", [Decimal(-5), Decimal(0), Decimal(10), Decimal(95), None]),
    (Mask("f", "round", "0"), "float64", [-1.0, 0.0, 13.0, 100.0, None]),
    (Mask("n", "round", "-2"), "int64", [0, 0, 0, 1200, None]),
    (Mask("d", "round", "1"), "decimal(8,2)", [Decimal("-1.50"), Decimal(0), Decimal("12.80"), Decimal(100), None]),
    (
        Mask("day", "year"),
        "date32",
        [dt.date(2024, 1, 1), dt.date(1999, 1, 1), dt.date(2000, 1, 1), dt.date(1, 1, 1), None],
    ),
    (
        Mask("day", "month"),
        "date32",
        [dt.date(2024, 5, 1), dt.date(1999, 12, 1), dt.date(2000, 1, 1), dt.date(1, 1, 1), None],
    ),
    (Mask("at", "year"), "timestamp", [dt.datetime(2024, 1, 1), dt.datetime(1999, 1, 1), None, None, None]),
    (Mask("at", "month"), "timestamp", [dt.datetime(2024, 5, 1), dt.datetime(1999, 12, 1), None, None, None]),
    (
        Mask("day", "quarter"),
        "date32",
        [dt.date(2024, 4, 1), dt.date(1999, 10, 1), dt.date(2000, 1, 1), dt.date(1, 1, 1), None],
    ),
    (Mask("t", "only", "b, no sign,it's"), "utf8", ["other", "b", "no sign", "other", None]),
    (Mask("n", "only", "0, -7"), "int64", [-7, 0, None, None, None]),
    (Mask("u", "only", "7,255"), "uint8", [None, 7, None, 255, None]),
    (Mask("t", "redact", "[a-z]+@|[0-9]{3}"), "utf8", ["#a.example", "b", "no sign", "##78", None]),
    (Mask("t", "redact", "'; DROP|x"), "utf8", ["anna@a.e#ample", "b", "no sign", "12345678", None]),
    (Mask("ip", "network"), "utf8", ["192.168.7.0", "2001:db8:1::", "XXXXX", "::", None]),
    (Mask("t", "domain"), "utf8", ["XXXXX@a.example", "XXXXX", "XXXXX", "XXXXX", None]),
]


@pytest.mark.parametrize("case", MASKED, ids=lambda case: f"{case[0].method} of {case[0].column}")
def test_a_mask_changes_values_and_keeps_the_type(show, case):
    mask, kind, values = case
    plan, got = show(mask)
    assert [column.type for column in plan.columns] == [kind]
    assert got == values


def test_a_hash_is_keyed_repeatable_and_text(show):
    plan, one = show(Mask("n", "hash"))
    assert plan.columns[0].type == "utf8"
    assert one[4] is None
    assert len({*one[:4]}) == 4
    assert all(len(value) == 64 for value in one[:4])
    assert show(Mask("n", "hash"))[1] == one


def test_q4a_two_agreements_cannot_join_on_a_hash(make_spec, source):
    import msgspec

    spec = make_spec(Governed((GovernedTable("m", (), (Mask("t", "hash"),)),)), source=source)
    other = msgspec.structs.replace(spec, hash_key=b"o" * 32)
    one, two = ({row[0] for row in Session(it).run("SELECT t FROM m", (), "")[1].fetchall()} for it in (spec, other))
    assert one & two == {None}


def test_a_value_too_short_for_its_last_characters_is_hashed(show):
    _, got = show(Mask("t", "last", "4"))
    assert got[0] == "*" * 10 + "mple"
    assert got[3] == "****5678"
    assert len(got[1]) == 12
    assert got[1] != "b"
    assert got[4] is None


def test_a_value_too_short_for_its_first_characters_is_hashed(show):
    _, got = show(Mask("t", "first", "4"))
    assert got[0] == "anna" + "*" * 10
    assert len(got[1]) == 12
    assert got[1] != "b"
    assert got[4] is None


def test_a_short_hash_is_the_beginning_of_the_whole_one(show):
    whole, short = show(Mask("t", "hash"))[1], show(Mask("t", "hash", "16"))[1]
    assert [value and value[:16] for value in whole] == short


def test_a_token_has_as_many_digits_as_the_value_and_is_repeatable(show):
    plan, got = show(Mask("t", "token"))
    assert plan.columns[0].type == "utf8"
    assert [value and len(value) for value in got] == [14, 1, 7, 8, None]
    assert all(value.isdigit() for value in got[:4])
    assert got[3] != "12345678"
    assert show(Mask("t", "token"))[1] == got


def test_the_hash_is_the_nested_one(show):
    import hashlib

    key = (b"k" * 32).hex().encode()
    inner = hashlib.sha256(key + b"b").hexdigest().encode()
    assert show(Mask("t", "hash"))[1][1] == hashlib.sha256(key + inner).hexdigest()


@pytest.mark.parametrize("method", sorted(KEYED_METHODS))
def test_no_text_of_a_query_holds_the_key_of_a_mask(make_spec, source, method):
    parameter = {"hash": "", "token": ""}.get(method, "2")
    session = Session(make_spec(Governed((GovernedTable("m", (), (Mask("t", method, parameter),)),)), source=source))
    session.plan("SELECT t FROM m", ())
    for rewritten, plan in session._plans.values():
        assert (b"k" * 32).hex() not in rewritten.text + plan.sql


SUITED = {
    "null": "", "constant": "x", "hash": "", "token": "", "bucket": "10", "round": "1", "year": "", "quarter": "",
    "month": "", "first": "1", "last": "1", "domain": "", "only": "1, 2", "redact": "[0-9]", "network": "",
}  # fmt: skip


@pytest.mark.parametrize("method", MASK_METHODS)
def test_the_type_in_the_catalogue_is_the_type_that_is_delivered_and_that_clients_are_told(make_spec, source, method):
    """One table of types in the rules, one in the engine: for each mask on each column that it fits."""
    schema = tuple(describe(source)[0].columns)
    words = f"{method} {SUITED[method]}".rstrip()
    fitting = [column for column in schema if column.family in MASKS[method].families]
    assert fitting
    table = GovernedTable("m", (), tuple(parse_mask(column, words) for column in fitting))
    session = Session(make_spec(Governed((table,)), source=source))
    in_catalogue = [(one.column.name, one.column.type) for one in shown(table, schema)]
    plan, rows = session.run("SELECT * FROM m", (), "")
    assert [(column.name, column.type) for column in plan.columns] == in_catalogue
    told = arrow.arrow_schema(governed_schema(table, {column.name: column for column in schema}))
    assert told == session.answer_schema("SELECT * FROM m", ()) == rows.to_arrow_reader().schema


def test_q4a_a_filter_on_a_masked_column_sees_the_mask(show):
    assert show(Mask("t", "domain"), sql="SELECT count(*) FROM m WHERE t LIKE 'anna%'")[1] == [0]


FILTERS = [
    (Comparison("n", "=", (7,)), [7]),
    (Comparison("n", "<>", (7,)), [-7, 0, 1234]),
    (Comparison("n", "<", (0,)), [-7]),
    (Comparison("n", "<=", (0,)), [-7, 0]),
    (Comparison("n", ">", (7,)), [1234]),
    (Comparison("n", ">=", (7,)), [7, 1234]),
    (Comparison("n", "in", (0, 7, 8)), [0, 7]),
    (Comparison("n", "between", (0, 7)), [0, 7]),
    (Comparison("n", "is null"), [None]),
    (Comparison("n", "is not null"), [-7, 0, 7, 1234]),
    (Comparison("t", "=", ("b' OR 1=1 --",)), []),
    (Comparison("t", "=", ("b",)), [0]),
    (Comparison("day", ">=", ("2000-01-01",)), [-7, 7]),
    (Comparison("at", "<", ("2000-01-01 00:00:00",)), [0]),
    (Comparison("d", "=", ("12.75",)), [7]),
    (Comparison("b", "=", (True,)), [-7, 1234]),
    (Junction("and", (Comparison("n", ">", (0,)), Comparison("n", "<", (100,)))), [7]),
    (Junction("or", (Comparison("n", "=", (0,)), Comparison("n", "=", (7,)))), [0, 7]),
    (Junction("not", (Junction("or", (Comparison("n", "=", (0,)), Comparison("n", "=", (7,)))),)), [-7, 1234]),
    (
        Junction(
            "and",
            (Junction("or", (Comparison("n", "=", (0,)), Comparison("n", "=", (7,)))), Comparison("n", ">", (0,))),
        ),
        [7],
    ),
]


@pytest.mark.parametrize("load", [True, False])
@pytest.mark.parametrize("case", FILTERS, ids=str)
def test_a_row_filter_lets_exactly_its_rows_exist(show, make_spec, case, load):
    rows, values = case
    from trustnode.engine.message import RunLimits

    limits = RunLimits(load_bytes=(1 << 20) if load else 0)
    assert show(columns=("n",), rows=rows, limits=limits, sql="SELECT n FROM m ORDER BY n")[1] == values


UNFIT = [
    ("unknown column", GovernedTable("m", ("nothing",))),
    ("unknown masked column", GovernedTable("m", ("n",), (Mask("nothing", "null"),))),
    ("unknown filter column", GovernedTable("m", ("n",), rows=Comparison("nothing", "=", (1,)))),
    ("unknown table", GovernedTable("nothing", ("n",))),
    ("unknown mask", GovernedTable("m", (), (Mask("n", "frobnicate"),))),
    ("column named twice", GovernedTable("m", ("n",), (Mask("n", "null"),))),
    ("year of a number", GovernedTable("m", (), (Mask("n", "year"),))),
    ("bucket of a text", GovernedTable("m", (), (Mask("t", "bucket", "10"),))),
    ("domain of a number", GovernedTable("m", (), (Mask("n", "domain"),))),
    ("last of bytes", GovernedTable("m", (), (Mask("raw", "last", "2"),))),
    ("bucket of width zero", GovernedTable("m", (), (Mask("n", "bucket", "0"),))),
    ("bucket without width", GovernedTable("m", (), (Mask("n", "bucket"),))),
    ("list of words on a number", GovernedTable("m", (), (Mask("n", "only", "a, b"),))),
    ("pattern that the engine has not", GovernedTable("m", (), (Mask("t", "redact", "(?=x)"),))),
    ("redaction of a number", GovernedTable("m", (), (Mask("n", "redact", "1"),))),
    ("network of a date", GovernedTable("m", (), (Mask("day", "network"),))),
    ("width that is SQL", GovernedTable("m", (), (Mask("n", "bucket", "1) OR (1=1"),))),
    ("constant of another type", GovernedTable("m", (), (Mask("n", "constant", "x"),))),
    ("filter value of another type", GovernedTable("m", ("n",), rows=Comparison("day", "=", ("no day",)))),
    ("comparison with nothing", GovernedTable("m", ("n",), rows=Comparison("n", "=", (None,)))),
    ("too few values", GovernedTable("m", ("n",), rows=Comparison("n", "between", (1,)))),
    ("empty list", GovernedTable("m", ("n",), rows=Comparison("n", "in", ()))),
    ("empty junction", GovernedTable("m", ("n",), rows=Junction("and", ()))),
    ("not of two", GovernedTable("m", ("n",), rows=Junction("not", (Comparison("n", "=", (1,)),) * 2))),
]


@pytest.mark.parametrize("case", UNFIT, ids=lambda case: case[0])
def test_a_policy_that_does_not_fit_its_source_opens_no_session(make_spec, source, case):
    with pytest.raises(TrustnodeError) as caught:
        Session(make_spec(Governed((case[1],)), source=source))
    assert caught.value.reason == "OFFER_UNENFORCEABLE"


def test_an_aggregation_rule_needs_its_person(make_spec, source):
    rule = AggregateRule("nobody", ("n",), (), 5)
    with pytest.raises(TrustnodeError) as caught:
        Session(make_spec(Governed((GovernedTable("m", ("n",)),), rule), source=source))
    assert caught.value.reason == "OFFER_UNENFORCEABLE"


@pytest.mark.parametrize("method", ["hash", "last"])
def test_a_keyed_mask_without_a_key_opens_no_session(make_spec, source, method):
    import msgspec

    spec = make_spec(Governed((GovernedTable("m", (), (Mask("t", method, "4"),)),)), source=source)
    with pytest.raises(TrustnodeError) as caught:
        Session(msgspec.structs.replace(spec, hash_key=b"short"))
    assert caught.value.reason == "INTERNAL"


def test_columns_of_a_source_are_described_in_words_of_the_catalogue(source):
    (table,) = describe(source)
    assert {column.name: column.type for column in table.columns} == {
        "n": "int64",
        "small": "int8",
        "u": "uint8",
        "f": "float64",
        "d": "decimal(8,2)",
        "t": "utf8",
        "ip": "utf8",
        "day": "date32",
        "at": "timestamp",
        "b": "bool",
        "raw": "binary",
    }


@pytest.mark.parametrize("name", ["Größe", "ÄNDERUNG", "价格", "with space", 'quo"te', "SELECT", "İ", "ſ"])
@pytest.mark.parametrize("masked", [True, False])
def test_a_column_may_have_any_visible_name(make_spec, tmp_path, name, masked):
    path = tmp_path / "n.parquet"
    pq.write_table(pa.table({name: [1, 2], "other": [3, 4]}), path)
    table = GovernedTable("n", () if masked else (name,), (Mask(name, "constant", "7"),) if masked else ())
    session = Session(make_spec(Governed((table,)), source=Source("parquet", str(path))))
    quoted = name.replace('"', '""')
    for sql in ("SELECT * FROM n", f'SELECT "{quoted}" FROM n', f'SELECT t."{quoted}" FROM n t ORDER BY t."{quoted}"'):
        plan, rows = session.run(sql, (), "")
        assert [column.name for column in plan.columns] == [name]
        assert plan.columns_used == (f"n.{name}",)
        assert rows.fetchall() == ([(7,), (7,)] if masked else [(1,), (2,)])
