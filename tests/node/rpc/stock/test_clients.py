"""What stock clients do beyond the matrix that all share (``test_matrix``): metadata, sessions, sentences of refusals."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import adbc_driver_manager
import pyarrow as pa
import pytest
from federation.world import DATA, until
from google.protobuf import any_pb2
from node.rpc.stock.clients import ROWS, Stock, fetched, used
from pyarrow import flight

from trustnode.arrow import flight_pb2 as pb
from trustnode.arrow import flight_sql_pb2
from trustnode.core.policy.schema import Column
from trustnode.engine.source.arrow import arrow_schema

pytestmark = pytest.mark.asyncio(loop_scope="session")
CANCELLED = pb.CANCEL_STATUS_CANCELLED
DRIVER_ERROR = adbc_driver_manager.Error
GOVERNED = pa.schema([
    ("id", pa.int64()), ("grp", pa.string()), ("kind", pa.string()), ("price", pa.decimal128(9, 2)),
    ("name", pa.string()),
])  # fmt: skip


async def refused(stock: Stock, sql: str, parameters: Any = None, name: str = "local", **settings: str) -> str:
    """What a driver says of a query that is refused."""
    with pytest.raises(DRIVER_ERROR) as caught:
        await used(lambda: stock.adbc(name, **settings), lambda cursor: fetched(cursor, sql, parameters))
    return str(caught.value)


# --- ADBC -----------------------------------------------------------------------------------------------------------


async def test_q7_adbc_reads_a_table_by_the_schema_of_its_agreement(stock: Stock) -> None:
    before = {one.id for one in await stock.accesses()}
    sql = f"select grp, count(*) n from {stock.table()} group by grp order by grp"
    found = await used(stock.adbc, lambda cursor: fetched(cursor, sql))
    assert found["n"] == [143, 143, 143, 143, 143, 143, 142]
    states = {(one.grade, one.state) for one in await stock.accesses() if one.id not in before}
    assert states in ({("DELEGATED", "DELIVERED")}, {("DELEGATED", "COMPLETED")})


@pytest.mark.parametrize(
    "where, values, rows",
    [
        ("id < ? and grp = ?", (70, "g1"), 10),
        ("id between ? and ? limit ?", (10, 99, 5), 5),
        ("price = ?", ("1.50",), 1),
        ("price < ?", (0.5,), 50),
        ("id * ? < 10", (0.5,), 20),
        ("grp = ?", ("x' or '1'='1",), 0),
        ("kind = ?", ("red",), ROWS // 2),
        ("? is null", (None,), ROWS),
    ],
)
async def test_q7_adbc_binds_parameters(stock: Stock, where: str, values: Any, rows: int) -> None:
    found = await used(
        stock.adbc, lambda cursor: fetched(cursor, f"select id from {stock.table()} where {where}", values)
    )
    assert len(found["id"]) == rows


async def test_a_prepared_statement_is_bound_again_and_again(stock: Stock) -> None:
    def work(cursor: Any) -> list[int]:
        sql = f"select count(*) n from {stock.table()} where id < ?"
        return [fetched(cursor, sql, (bound,))["n"][0] for bound in (3, 5, 7)]

    assert await used(stock.adbc, work) == [3, 5, 7]


@pytest.mark.parametrize(
    "sql, words",
    [
        ("select secret from {table}", "the column secret is not delivered [FIELD_NOT_AGREED]"),
        ("select name_ from {table}", "did you mean name [FIELD_NOT_AGREED]"),
        ("delete from {table}", "only a SELECT is allowed [QUERY_INVALID]"),
        ("select * from read_csv('/etc/passwd'), {table}", "[QUERY_INVALID]"),
        ("select id from {table} where id = ?", "[QUERY_INVALID]"),
        ("select id from t", "agreement_<short name>.<table>"),
        ("select id from main.t, {table}", "the schema main is not of this agreement"),
        ("select 1 from agreement_aaaaaaaa.t, {table}", "no such agreement [NOT_FOUND]"),
        ("select cast(id / 0 as tinyint), error('x') from {table}", "[QUERY_INVALID]"),
    ],
)
async def test_q7_adbc_is_denied_in_a_short_sentence_that_names_the_reason(stock: Stock, sql: str, words: str) -> None:
    said = await refused(stock, sql.format(table=stock.table()))
    assert words in said
    assert not re.search(r"Binder|Candidate|DuckDB|Traceback|sqlglot|\bg[0-9a-f]{32}\b", said)
    assert len(said) < 300


@pytest.mark.parametrize("values", [("a",), (1, 2), ()])
async def test_q7_adbc_with_wrong_parameters_gets_an_error_and_goes_on(stock: Stock, values: Any) -> None:
    def work(cursor: Any) -> int:
        with pytest.raises(DRIVER_ERROR, match="QUERY_INVALID"):
            fetched(cursor, f"select id from {stock.table()} where id = ?", values)
        return int(fetched(cursor, f"select count(*) n from {stock.table()}")["n"][0])

    assert await used(stock.adbc, work) == ROWS


async def test_q7_adbc_under_the_agreement_of_somebody_else_finds_nothing(stock: Stock) -> None:
    said = await refused(stock, f"select id from {stock.table('other')}")
    assert "no such agreement [NOT_FOUND]" in said
    assert said.replace(stock.schema("other"), "") == (await refused(stock, "select id from agreement_zzzzzzzz.t"))


async def test_a_header_names_the_agreement_and_what_the_query_names_wins(stock: Stock) -> None:
    header = "adbc.flight.sql.rpc.call_header.trustnode-agreement"
    for value in (stock.deals["local"].short, stock.deals["local"].id, stock.schema()):
        found = await used(
            lambda value=value: stock.adbc(**{header: value}), lambda c: fetched(c, "select count(*) n from t")
        )
        assert found == {"n": [ROWS]}
    settings = {header: "AAAAAAAA"}
    assert "no such agreement" in await refused(stock, "select count(*) n from t", **settings)
    sql = f"select count(*) n from {stock.table()} where grp <> 'agreement_aaaaaaaa.t' -- agreement_bbbbbbbb.t"
    assert await used(lambda: stock.adbc(**settings), lambda cursor: fetched(cursor, sql)) == {"n": [ROWS]}


async def test_a_session_option_names_the_agreement_for_clients_that_keep_cookies(stock: Stock) -> None:
    option = "adbc.flight.sql.session.option.agreement"

    def connect() -> Any:
        made = stock.adbc(**{"adbc.flight.sql.rpc.with_cookie_middleware": "true"})
        made.adbc_connection.set_options(**{option: stock.schema()})
        assert made.adbc_connection.get_option(option) == stock.schema()
        return made

    assert await used(connect, lambda cursor: fetched(cursor, "select count(*) n from t")) == {"n": [ROWS]}


# --- metadata -------------------------------------------------------------------------------------------------------


async def test_metadata_is_what_the_agreements_let_one_see_and_nothing_else(stock: Stock) -> None:
    def work(cursor: Any) -> tuple[Any, ...]:
        connection = cursor.connection
        return (
            connection.adbc_get_objects(depth="all").read_all().to_pylist(),
            connection.adbc_get_table_schema("t", db_schema_filter=stock.schema()),
            connection.adbc_get_table_types(),
            connection.adbc_get_info(),
        )

    objects, schema, types, info = await used(stock.adbc, work)
    schemas = [one for catalog in objects for one in catalog["catalog_db_schemas"]]
    assert [one["db_schema_name"] for one in schemas] == [stock.schema()]
    columns = [column["column_name"] for column in schemas[0]["db_schema_tables"][0]["table_columns"]]
    assert columns == GOVERNED.names
    assert (schema, types) == (GOVERNED, ["TABLE"])
    assert info["vendor_name"] == "trustnode"


async def test_the_catalogue_shows_the_schema_that_every_client_is_told_and_that_is_delivered(stock: Stock) -> None:
    listing = await stock.world.clients["local"].product(f"{DATA}/small")
    offer = next(one for one in listing.offers if one.name == "open")
    assert {column.name: column.mask for column in offer.columns if column.mask} == {"name": "hash"}
    listed = arrow_schema([Column(name=column.name, type=column.type) for column in offer.columns])
    sql = f"select * from {stock.table()}"

    def work() -> tuple[pa.Schema, pa.Schema, pa.Schema]:
        with stock.arrow() as client:
            descriptor = flight.FlightDescriptor.for_command(packed(sql))
            info = client.get_flight_info(descriptor)
            delivered = client.do_get(info.endpoints[0].ticket).read_all().schema
            return client.get_schema(descriptor).schema, info.schema, delivered

    told, planned, delivered = await asyncio.to_thread(work)
    plain = pa.schema([f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in delivered])
    assert listed == GOVERNED == told == planned == plain


async def test_somebody_without_an_agreement_sees_no_table(stock: Stock) -> None:
    def work(cursor: Any) -> Any:
        return cursor.connection.adbc_get_objects(depth="all").read_all().to_pylist()

    found = await used(lambda: stock.adbc("stranger"), work)
    assert [one for catalog in found for one in catalog["catalog_db_schemas"] or ()] == []


async def test_metadata_of_an_agreement_on_aggregates_shows_what_may_be_grouped_and_measured(stock: Stock) -> None:
    def work(cursor: Any) -> tuple[Any, Any]:
        schema = cursor.connection.adbc_get_table_schema("t", db_schema_filter=stock.schema("counter"))
        return schema, fetched(
            cursor, f"select grp, count(*) n from {stock.table('counter')} group by grp order by grp"
        )

    schema, found = await used(lambda: stock.adbc("counter"), work)
    assert schema.names == ["grp", "price"]
    assert found["n"] == [143] * 6 + [142]
    said = await refused(stock, f"select grp from {stock.table('counter')}", name="counter")
    assert "aggregates only, of groups of 100 or more" in said


async def test_the_schema_is_known_before_anything_is_read_and_it_is_the_one_delivered(stock: Stock) -> None:
    before = len(await stock.accesses())

    def work(cursor: Any) -> tuple[pa.Schema, pa.Schema]:
        sql = f"select *, count(*) over () n from {stock.table()} where id < ?"
        told = cursor.adbc_execute_schema(sql)
        cursor.execute(sql, (3,))
        return told, cursor.fetch_arrow_table().schema

    told, delivered = await used(stock.adbc, work)
    assert told == delivered
    assert len(await stock.accesses()) == before + 1


async def test_a_partition_is_read_once(stock: Stock) -> None:
    def work(cursor: Any) -> int:
        parts, schema = cursor.adbc_execute_partitions(f"select id from {stock.table()}")
        assert schema == pa.schema([("id", pa.int64())])
        cursor.adbc_read_partition(parts[0])
        rows = cursor.fetch_arrow_table().num_rows
        with pytest.raises(DRIVER_ERROR, match="no such ticket"):
            cursor.adbc_read_partition(parts[0])
            cursor.fetch_arrow_table()
        return int(rows)

    assert await used(stock.adbc, work) == ROWS


# --- cancelling -----------------------------------------------------------------------------------------------------


async def test_q7_adbc_cancels_and_the_access_is_settled(stock: Stock) -> None:
    before = {one.id for one in await stock.accesses()}

    def work(cursor: Any) -> None:
        cursor.execute(f"select a.id, b.name from {stock.table()} a, {stock.table()} b")
        reader = cursor.fetch_record_batch()
        reader.read_next_batch()
        cursor.adbc_cancel()

    await used(stock.adbc, work)
    await _settled(stock, before)


async def test_dropping_the_reader_settles_the_access(stock: Stock) -> None:
    before = {one.id for one in await stock.accesses()}

    def work(cursor: Any) -> None:
        cursor.execute(f"select a.id, b.name from {stock.table()} a, {stock.table()} b")
        cursor.fetch_record_batch().read_next_batch()

    await used(stock.adbc, work)
    await _settled(stock, before)


async def _settled(stock: Stock, before: set[str]) -> None:
    """The one new access has ended, with the rows that were handed over, not all of them."""

    async def ended() -> bool:
        new = [one for one in await stock.accesses() if one.id not in before]
        return len(new) == 1 and new[0].state == "ABORTED" and new[0].rows < ROWS * ROWS and bool(new[0].receipt)

    await until(ended)
    assert len(stock.world[DATA].venue.streams) == 0


async def test_q7_arrows_client_cancels_by_the_flight_it_was_given(stock: Stock) -> None:
    before = {one.id for one in await stock.accesses()}
    sql = f"select a.id, b.name from {stock.table()} a, {stock.table()} b"

    def work() -> list[int]:
        with stock.arrow() as client:
            info = client.get_flight_info(flight.FlightDescriptor.for_command(packed(sql)))
            reader = client.do_get(info.endpoints[0].ticket)
            reader.read_chunk()
            told = [cancelled(client, info)]
            with pytest.raises(pa.ArrowException, match="CANCELLED"):
                while reader.read_chunk():  # read_all makes a KeyboardInterrupt of it
                    pass
            unused = client.get_flight_info(flight.FlightDescriptor.for_command(packed(sql)))
            told += [cancelled(client, unused) for _ in range(2)]
            with pytest.raises(pa.ArrowException, match="no such ticket"):
                client.do_get(unused.endpoints[0].ticket).read_all()
            return told

    assert await asyncio.to_thread(work) == [CANCELLED, CANCELLED, pb.CANCEL_STATUS_NOT_CANCELLABLE]
    await _settled(stock, before)


def cancelled(client: flight.FlightClient, info: flight.FlightInfo) -> int:
    """What a node says when a flight is cancelled."""
    request = pb.CancelFlightInfoRequest(info=pb.FlightInfo.FromString(info.serialize()))
    (result,) = client.do_action(flight.Action("CancelFlightInfo", request.SerializeToString()))
    return int(pb.CancelFlightInfoResult.FromString(result.body.to_pybytes()).status)


def packed(sql: str) -> bytes:
    """A query as a Flight SQL client packs it."""
    command = any_pb2.Any()
    command.Pack(flight_sql_pb2.CommandStatementQuery(query=sql))
    return command.SerializeToString()
