"""The mark of a copy: which values change, by how much, in every type of number."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trustnode.core.policy.governed import Comparison, Governed, GovernedTable, Mark, Mask
from trustnode.core.tracing import MarkSecret, recipient
from trustnode.engine.session import Session
from trustnode.engine.source import Source
from trustnode.errors import TrustnodeError

ROWS = 6_000
ONE = recipient(b"s" * 32, "gz.example/prices", "C1").secret
OTHER = recipient(b"s" * 32, "gz.example/prices", "C2").secret
TYPES = {
    "i8": (pa.int8(), "1"),
    "u8": (pa.uint8(), "1"),
    "i64": (pa.int64(), "5"),
    "u64": (pa.uint64(), "1"),
    "f32": (pa.float32(), "0.5"),
    "f64": (pa.float64(), "0.01"),
    "d": (pa.decimal128(12, 2), "0.01"),
    "wide": (pa.decimal128(38, 2), "0.05"),
    "whole": (pa.decimal128(38, 0), "1"),
}


def value(name, row):
    kind = TYPES[name][0]
    if row % 1000 == 999:
        return None
    if pa.types.is_decimal(kind):
        return Decimal(row % 997) / (1 if name == "whole" else 100)
    return row % 997 / 4 if pa.types.is_floating(kind) else row % 100


@pytest.fixture(scope="module")
def table():
    columns = {"id": pa.array(range(ROWS), pa.int64()), "name": [f"n{row}" for row in range(ROWS)]}
    columns |= {name: pa.array([value(name, row) for row in range(ROWS)], TYPES[name][0]) for name in TYPES}
    return pa.table(columns)


@pytest.fixture(scope="module")
def source(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("marks") / "t.parquet"
    pq.write_table(table, path)
    return Source("parquet", str(path))


@pytest.fixture(scope="module")
def read(make_spec, source):
    def read(mark, sql, *, secret=ONE, masks=(), rows=None, columns=("id", *TYPES), load=True):
        governed = Governed((GovernedTable("t", columns, masks, rows, mark),))
        session = Session(make_spec(governed, source=source, mark=secret, load=load))
        return session.run(sql, (), "")[1].to_arrow_table()

    return read


@pytest.mark.parametrize("name, load", [*((name, True) for name in TYPES), ("d", False)])
def test_one_row_in_fifty_differs_by_one_quantum_and_keeps_its_type(read, table, name, load):
    kind, quantum = TYPES[name]
    found = read(Mark(name, quantum, "id"), f"SELECT id, {name} FROM t ORDER BY id", load=load)
    assert found.schema.field(name).type == kind
    before, after = table[name].to_pylist(), found[name].to_pylist()
    steps = [Decimal(str(b)) - Decimal(str(a)) for a, b in zip(before, after, strict=True) if a != b]
    assert set(map(abs, steps)) == {Decimal(quantum)}
    assert 0.012 < len(steps) / ROWS < 0.028
    assert abs(sum(steps)) < 5 * Decimal(quantum) * Decimal(len(steps)).sqrt()
    assert [row for row, one in enumerate(after) if one is None] == [r for r, one in enumerate(before) if one is None]


EDGES = {
    "i8": (pa.int8(), [-128, 127, 0]),
    "u8": (pa.uint8(), [255, 0]),
    "d": (pa.decimal128(38, 0), [10**38 - 1, 0]),
    "f": (pa.float64(), [float("inf"), 1e300, -1e300, 0.0, 1e-12]),
}


@pytest.mark.parametrize("name", EDGES)
def test_a_value_at_the_edge_of_its_type_or_at_nothing_is_not_changed(make_spec, tmp_path, name):
    kind, edges = EDGES[name]
    values = [Decimal(one) if name == "d" else one for one in [*edges, 1, 5] * 1000]
    pq.write_table(pa.table({"id": range(len(values)), name: pa.array(values, kind)}), tmp_path / "t.parquet")
    governed = Governed((GovernedTable("t", ("id", name), mark=Mark(name, "1", "id")),))
    session = Session(make_spec(governed, source=Source("parquet", str(tmp_path / "t.parquet")), mark=ONE))
    found = [row[0] for row in session.run(f"SELECT {name} FROM t ORDER BY id", (), "")[1].fetchall()]
    changed = {(before, after) for before, after in zip(values, found, strict=True) if before != after}
    assert changed == {(1, 0), (1, 2), (5, 4), (5, 6)}


def test_a_float_shows_no_digit_that_it_did_not_have(read):
    found = read(Mark("f64", "0.01", "id"), "SELECT f64 FROM t WHERE f64 IS NOT NULL")["f64"].to_pylist()
    assert max(len(str(one).partition(".")[2]) for one in found) == 2


def test_any_query_computes_over_marked_values(read, table):
    mark, sums = Mark("d", "0.01", "id"), "SELECT sum(d) s, count(*) n FROM t"
    rows = read(mark, "SELECT d FROM t")["d"].to_pylist()
    found = read(mark, sums).to_pylist()[0]
    assert found == {"s": sum(one for one in rows if one is not None), "n": ROWS}
    mean_before = sum(one for one in table["d"].to_pylist() if one is not None) / ROWS
    assert abs(found["s"] / ROWS - mean_before) < Decimal("0.001")


def test_two_recipients_have_marks_in_the_same_rows_and_half_of_them_differ(read, table):
    mark, sql = Mark("d", "0.01", "id"), "SELECT d FROM t ORDER BY id"
    one, other = (read(mark, sql, secret=secret)["d"].to_pylist() for secret in (ONE, OTHER))
    original = table["d"].to_pylist()
    marked = [n for n in range(ROWS) if one[n] != original[n]]
    assert marked == [n for n in range(ROWS) if other[n] != original[n]]
    differing = sum(one[n] != other[n] for n in marked) / len(marked)
    assert 0.3 < differing < 0.7


def test_the_key_may_be_masked_by_hash(read):
    mark = Mark("d", "0.01", "name")
    plain = read(mark, "SELECT d FROM t ORDER BY id", columns=("id", "name", "d"))
    hashed = read(mark, "SELECT d FROM t ORDER BY id", columns=("id", "d"), masks=(Mask("name", "hash"),))
    assert plain["d"].to_pylist() != hashed["d"].to_pylist()


def test_the_rows_of_a_policy_are_judged_by_the_value_of_the_source(read):
    found = read(Mark("i64", "5", "id"), "SELECT i64 FROM t", rows=Comparison("i64", ">=", (50,)))["i64"].to_pylist()
    assert min(found) in range(45, 50)


def test_no_secret_stands_in_a_plan(make_spec, source):
    governed = Governed((GovernedTable("t", ("id", "d"), mark=Mark("d", "0.01", "id")),))
    plan = Session(make_spec(governed, source=source, mark=ONE)).plan("SELECT * FROM t", ())
    assert ONE.key.hex() not in plan.sql
    assert str(int.from_bytes(ONE.codeword, "big")) not in plan.sql
    assert plan.sql == Session(make_spec(governed, source=source, mark=OTHER)).plan("SELECT * FROM t", ()).sql


def test_without_secrets_a_marked_copy_is_not_delivered(make_spec, source):
    governed = Governed((GovernedTable("t", ("id", "d"), mark=Mark("d", "0.01", "id")),))
    with pytest.raises(TrustnodeError):
        Session(make_spec(governed, source=source))


def test_secrets_of_agreements_and_products_have_nothing_in_common():
    third = recipient(b"s" * 32, "gz.example/other", "C1").secret
    assert ONE.key == OTHER.key != third.key
    assert len({ONE.codeword, OTHER.codeword, ONE.seed, OTHER.seed}) == 4
    assert isinstance(ONE, MarkSecret)
