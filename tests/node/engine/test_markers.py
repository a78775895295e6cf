"""Rows that only one copy has: they look like the others, stand among them, and are found again."""

from __future__ import annotations

import duckdb
import pytest

from trustnode.core.policy.governed import Comparison, Governed, GovernedTable, Junction, Mark, Mask
from trustnode.core.tracing import recipient
from trustnode.engine.leak import Marked, Original, Suspicious
from trustnode.engine.session import Session
from trustnode.engine.source import Source

ONE = recipient(b"s" * 32, "gz.example/people", "C1").secret
OTHER = recipient(b"s" * 32, "gz.example/people", "C2").secret
ROWS = 5000
KEYS = {
    "dense": ("range::BIGINT", "int64"),
    "gaps": ("(range * 17 + range % 5)::INTEGER", "int32"),
    "text": "('AB-' || lpad((range * 137 % 99991)::VARCHAR, 5, '0'))",
}
FILTER = Junction("or", (Comparison("town", "=", ("t3",)), Comparison("age", ">", (60,))))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("markers") / "t.parquet"
    duckdb.sql(
        f"COPY (SELECT {KEYS['dense'][0]} AS dense, {KEYS['gaps'][0]} AS gaps, {KEYS['text']} AS text, "
        "'t' || (range % 9) AS town, (range * 7 % 80)::INTEGER AS age, DATE '1950-01-01' + (range % 9000)::INT AS born, "
        f"((range * 31) % 977) / 8 AS pay FROM range({ROWS})) TO '{path}'"
    )
    return Source("parquet", str(path))


@pytest.fixture
def copy_of(make_spec, source):
    def copy_of(key, secret=ONE, *, load=True, rows=None, masks=(), number=5, sql="SELECT * FROM t"):
        shown = ("town", "age", "born", "pay") if masks else (key, "town", "age", "born", "pay")
        table = GovernedTable("t", shown, masks, rows, Mark("pay", "0.125", key, number))
        session = Session(make_spec(Governed((table,)), source=source, mark=secret, load=load))
        return session.run(sql, (), "")[1].to_arrow_table(), table

    return copy_of


def rows_of(table):
    return {tuple(row.values()) for row in table.to_pylist()}


@pytest.mark.parametrize("load", [True, False])
@pytest.mark.parametrize("key", KEYS)
def test_a_copy_has_so_many_rows_more_with_keys_that_are_new(copy_of, source, key, load):
    copy, _ = copy_of(key, load=load)
    own = {row[0] for row in duckdb.sql(f"SELECT {key} FROM '{source.location}'").fetchall()}
    new = [one for one in copy[key].to_pylist() if one not in own]
    assert copy.num_rows == ROWS + 5
    assert len(set(new)) == 5
    if key == "gaps":
        assert all(min(own) < one < max(own) for one in new)
    if key == "text":
        assert all(len(one) == 8 and one.startswith("AB-") and one[3:].isdigit() for one in new)
    if key != "text":  # sorted as the source is
        assert copy[key].to_pylist() == sorted(copy[key].to_pylist())


def test_values_of_a_marker_row_are_values_of_their_columns(copy_of, source):
    copy, _ = copy_of("gaps", number=20)
    own = duckdb.sql(f"SELECT * FROM '{source.location}'").to_arrow_table()
    known = set(own["gaps"].to_pylist())
    for row in copy.to_pylist():
        if row["gaps"] not in known:
            assert row["town"] in own["town"].to_pylist()
            assert row["age"] in own["age"].to_pylist()
            assert row["born"] in own["born"].to_pylist()


@pytest.mark.parametrize("load", [True, False])
def test_a_marker_row_is_one_that_the_policy_lets_through(copy_of, load):
    copy, _ = copy_of("gaps", rows=FILTER, number=20, load=load)
    assert all(row["town"] == "t3" or row["age"] > 60 for row in copy.to_pylist())


def test_marker_rows_follow_from_the_agreement_and_are_the_same_in_every_answer(copy_of):
    once, again, other = (
        rows_of(copy_of("gaps", secret, load=load)[0]) for secret, load in ((ONE, True), (ONE, False), (OTHER, True))
    )
    assert once == again
    assert len({row[0] for row in once} & {row[0] for row in other}) == ROWS
    counted, _ = copy_of("gaps", sql="SELECT count(*) n FROM t")
    assert counted["n"].to_pylist() == [ROWS + 5]


def test_without_rows_there_is_nothing_to_make_them_from(copy_of):
    copy, _ = copy_of("gaps", rows=Comparison("town", "=", ("nowhere",)))
    assert copy.num_rows == 0


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.parametrize("masks", [(), (Mask("text", "hash"),)])
def test_q4b_marker_rows_are_found_in_what_is_left_of_the_copy(copy_of, source, tmp_path, masks, suffix):
    copy, table = copy_of("text", masks=masks)
    file = tmp_path / f"suspect.{suffix}"
    with duckdb.connect() as db:
        db.register("copy_", copy)
        db.execute(f"COPY (SELECT text, town, born, pay FROM copy_ ORDER BY hash(text)) TO '{file}'")
    with Original(source, "t", Suspicious(file, "", "")) as rows:
        assert rows.marker_rows(Marked(table, ONE, b"k" * 32)) == 5
        assert rows.marker_rows(Marked(table, OTHER, b"k" * 32)) == 0


def test_marker_rows_do_not_depend_on_the_order_of_the_source(make_spec, source, tmp_path):
    other = tmp_path / "t.parquet"
    duckdb.sql(f"COPY (FROM '{source.location}' ORDER BY hash(dense)) TO '{other}'")
    table = GovernedTable("t", ("gaps", "town", "age", "pay"), (), None, Mark("pay", "0.125", "gaps", 5))
    both = []
    for one in (source, Source("parquet", str(other))):
        session = Session(make_spec(Governed((table,)), source=one, mark=ONE))
        both.append(rows_of(session.run("SELECT * FROM t", (), "")[1].to_arrow_table()))
    assert both[0] == both[1]
