"""Several agreements in one session: names, keys of masks, the strictest rule, and a worker for that set alone."""

from __future__ import annotations

import hashlib
import sqlite3

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from node.engine.world import AGGREGATES, PLAIN

from trustnode.core.identifier import schema_name
from trustnode.core.policy.governed import Governed, GovernedTable, Mask
from trustnode.engine.joining import strictest
from trustnode.engine.message import SessionSpec
from trustnode.engine.pool import EngineLimits, EnginePool
from trustnode.engine.session import Session
from trustnode.engine.source import Source
from trustnode.errors import TrustnodeError

ONE, TWO = "urn:agreement:one", "urn:agreement:two"
PEOPLE = Governed((GovernedTable("people", ("zip", "age"), (Mask("name", "hash"),)),))
OTHERS = Governed((GovernedTable("people", ("zip", "wage"), (Mask("name", "hash"),)),))


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    path = tmp_path_factory.mktemp("people")
    rows = range(60)
    table = pa.table(
        {
            "zip": pa.array([10001 + i % 3 for i in rows], pa.int32()),
            "age": pa.array([20 + i for i in rows], pa.int32()),
            "wage": pa.array([1000 * i for i in rows], pa.int64()),
            "name": [f"name {i}" for i in rows],
        }
    )
    pq.write_table(table, path / "people.parquet")
    with duckdb.connect(str(path / "people.duckdb")) as db:
        db.execute(f"create table people as from '{path / 'people.parquet'}'")
    with sqlite3.connect(path / "people.sqlite") as database:
        database.execute("create table people (zip integer, age integer, wage integer, name text)")
        database.executemany("insert into people values (?, ?, ?, ?)", zip(*table.to_pydict().values(), strict=True))
    return path


@pytest.fixture
def joined(make_spec, people):
    """A session under several agreements, each a governed product with a source and a key of its own."""

    def make(*parts: tuple[str, Governed, Source | None]) -> SessionSpec:
        specs = [
            make_spec(governed, agreement=agreement, policy=agreement, **({"source": source} if source else {}))
            for agreement, governed, source in parts
        ]
        keyed = [msgspec.structs.replace(s, hash_key=hashlib.sha256(s.agreement.encode()).digest()) for s in specs]
        return msgspec.structs.replace(keyed[0], joined=tuple(keyed[1:]))

    return make


def source(people, kind="parquet"):
    return Source(kind, str(people / f"people.{kind}"), {} if kind == "parquet" else {"people": "people"})


def rows(session, sql, parameters=()):
    return session.run(sql, parameters, "")[1].fetchall()


def refusal(session, sql):
    with pytest.raises(TrustnodeError) as caught:
        session.plan(sql, ())
    return caught.value


def test_two_products_are_read_in_one_query(joined, people):
    session = Session(joined((ONE, PLAIN, None), (TWO, PEOPLE, source(people))))
    found = rows(session, "select s.zip, count(*) n from shops s join people p using (zip) group by 1 order by 1")
    assert found == [(10001, 20), (10002, 20), (10003, 20)]
    plan = session.plan("select opened, age from shops join people on shops.zip = people.zip", ())
    assert plan.columns_used == ("people.age", "people.zip", "shops.opened", "shops.zip")
    a, b = schema_name(ONE), schema_name(TWO)
    assert rows(session, f"select count(*) from {a}.shops join {b}.people on {a}.shops.zip = {b}.people.zip") == [(60,)]


@pytest.mark.parametrize(
    "kinds",
    [("parquet", "parquet"), ("duckdb", "duckdb"), ("parquet", "duckdb"), ("sqlite", "sqlite"), ("sqlite", "duckdb")],
)
def test_products_of_one_name_are_told_apart_by_the_schema(joined, people, kinds):
    one, two = (source(people, kind) for kind in kinds)
    session = Session(joined((ONE, PEOPLE, one), (TWO, OTHERS, two)))
    a, b = schema_name(ONE), schema_name(TWO)
    assert rows(session, f"select max(x.age + y.wage) from {a}.people x, {b}.people y") == [(79 + 59_000,)]
    assert rows(session, f"select count(*) from {a}.people where zip in (select zip from {b}.people)") == [(60,)]
    said = refusal(session, f"select age from people, {b}.people y")
    assert said.message == f"several agreements deliver a table people: write {a}.people or {b}.people"
    assert "alias" in refusal(session, f"select age from {a}.people, {b}.people").message
    assert refusal(session, f"select y.age from {a}.people x, {b}.people y").reason == "QUERY_INVALID"
    plan = session.plan(f"select x.age, y.wage from {a}.people x, {b}.people y", ())
    assert set(plan.columns_used) == {f"{a}.people.age", f"{b}.people.wage"}


def test_a_with_of_the_query_hides_a_name_of_both(joined, people):
    session = Session(joined((ONE, PEOPLE, source(people)), (TWO, OTHERS, source(people))))
    a, b = schema_name(ONE), schema_name(TWO)
    sql = f"with people as (select x.age from {a}.people x, {b}.people y where x.age = y.wage) select * from people"
    assert rows(session, sql) == []


@pytest.mark.parametrize(
    "sql, words",
    [
        ("select 1 from {a}.people x, agreement_00000000.people y", "is not of these agreements"),
        ("select 1 from {a}.people x, main.people y", "is not of these agreements"),
        ("select 1 from x.{a}.people x, {b}.people y", "a database before the name"),
        ("select {b}.people.zip from {a}.people, {b}.people y", "the query does not read"),
        ("select 1 from {a}.wages x, {b}.people y", "delivers no table wages"),
        ("select age from {a}.people", "leave that agreement out"),
    ],
)
def test_a_name_that_means_no_table_of_the_set_is_refused(joined, people, sql, words):
    session = Session(joined((ONE, PEOPLE, source(people)), (TWO, OTHERS, source(people))))
    failure = refusal(session, sql.format(a=schema_name(ONE), b=schema_name(TWO)))
    assert failure.reason == "QUERY_INVALID"
    assert words in failure.message


def test_q4a_the_same_person_has_another_masked_key_in_each_agreement(joined, people):
    session = Session(joined((ONE, PEOPLE, source(people)), (TWO, OTHERS, source(people))))
    a, b = schema_name(ONE), schema_name(TWO)
    assert rows(session, f"select count(*) from {a}.people x join {b}.people y on x.name = y.name") == [(0,)]
    assert rows(session, f"select count(distinct name) from (select name from {a}.people union select name from"
                         f" {b}.people) u") == [(120,)]  # fmt: skip
    alone = Session(joined((ONE, PEOPLE, source(people))))
    mine = rows(alone, "select name from people order by 1")
    assert rows(session, f"select x.name from {a}.people x, (select count(*) n from {b}.people) y order by 1") == mine


def test_the_strictest_rule_of_all_products_counts(people):
    plain, strict = strictest([PEOPLE, AGGREGATES])
    assert strict == AGGREGATES.aggregate
    assert (plain.min_group, plain.person) == (5, "")
    assert strictest([PEOPLE]) == (None,)
    assert strictest([PEOPLE, OTHERS]) == (None, None)
    larger = msgspec.structs.replace(AGGREGATES.aggregate, min_group=50)
    assert [rule.min_group for rule in strictest([AGGREGATES, Governed(AGGREGATES.tables, larger)])] == [50, 50]


@pytest.mark.parametrize(
    "sql",
    [
        "select age from people, (select count(*) n from orders) x",
        "select o.zip, count(*) from orders o join people p using (zip) group by 1",
        "select p.zip, x.n from people p join (select zip, count(*) n from orders group by zip) x using (zip)",
        "select zip, count(*) from orders where zip in (select zip from people) group by zip",
        "select zip, n from (select zip, count(*) n from orders group by zip) where zip = (select max(zip) from people)",
        (
            "select zip, sum(case when age = 20 then age end) from people group by zip union select zip, count(*) from"
            " orders group by zip"
        ),
        "select zip, count(*) over () from people union select zip, count(*) from orders group by zip",
    ],
)
def test_q3a_a_join_gets_no_row_and_no_condition_past_aggregate_only(joined, people, sql):
    session = Session(joined((ONE, AGGREGATES, None), (TWO, PEOPLE, source(people))))
    failure = refusal(session, sql)
    assert failure.reason == "DENIED"
    assert failure.message.startswith("aggregates only, of groups of 5 or more")


def test_aggregates_of_both_products_are_put_side_by_side(joined, people):
    session = Session(joined((ONE, AGGREGATES, None), (TWO, PEOPLE, source(people))))
    sql = ("select a.zip, b.n from (select zip, count(*) n from orders group by zip) a join"
           " (select zip, count(*) n, avg(age) g from people group by zip) b on a.zip = b.zip order by 1")  # fmt: skip
    assert rows(session, sql) == [(10001, 20), (10002, 20), (10003, 20)]
    small = ("select a.n from (select count(*) n from orders) a,"
             " (select age, count(*) n from people group by age) b")  # fmt: skip
    assert rows(session, small) == []


@pytest.mark.asyncio
async def test_a_worker_belongs_to_a_set_of_agreements_and_never_to_another(joined, people):
    both = joined((ONE, PEOPLE, source(people)), (TWO, OTHERS, source(people)))
    alone = joined((ONE, PEOPLE, source(people)))
    turned = joined((TWO, OTHERS, source(people)), (ONE, PEOPLE, source(people)))
    assert both.key == turned.key
    assert both.key != alone.key
    assert joined((ONE, PEOPLE, source(people)), (TWO, PEOPLE, source(people))).key[0] == both.key[0]
    a, b = schema_name(ONE), schema_name(TWO)
    async with EnginePool(EngineLimits(max_workers=3, spare_workers=0)) as pool:
        session = await pool.session(both)
        answer = await session.read(f"select count(*) n from {a}.people x, {b}.people y")
        assert answer.rows == 1
        single = await pool.session(alone)
        assert pool.workers == 2
        with pytest.raises(TrustnodeError):
            await single.plan(f"select wage from {b}.people")
        assert await pool.kill(TWO) == 1
        assert pool.workers == 1
