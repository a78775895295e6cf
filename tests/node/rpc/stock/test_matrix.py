"""Every stock client in every row of the matrix of data-plane 7; the JDBC driver has its own (``test_jdbc``)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import adbc_driver_flightsql.dbapi
import adbc_driver_manager
import duckdb
import polars as pl
import pyarrow as pa
import pytest
from federation.world import DATA, until
from google.protobuf import any_pb2
from node.rpc.stock.clients import OPTION, ROWS, Stock
from pyarrow import flight

from trustnode.arrow import flight_sql_pb2 as sql_pb
from trustnode.core.identity import node_dns

pytestmark = pytest.mark.asyncio(loop_scope="session")
REFUSED = (adbc_driver_manager.Error, pa.ArrowException, pl.exceptions.PolarsError, duckdb.Error)


class Client(NamedTuple):
    """What one client does; blocking."""

    read: Callable[[Any, str, tuple[Any, ...]], pa.Table]
    """Rows of a query with values for its ``?``, over an open connection."""
    begin: Callable[[Any, str], None]
    """Takes the first rows of a query and goes away."""
    connect: Callable[[Stock, str], Any]
    """As somebody."""
    unknown: Callable[[Stock], Any]
    """Without a certificate."""


def packed(message: Any) -> bytes:
    """A Flight SQL command as it travels."""
    command = any_pb2.Any()
    command.Pack(message)
    return command.SerializeToString()


# --- each client ----------------------------------------------------------------------------------------------------


def adbc_read(connection: Any, sql: str, values: tuple[Any, ...]) -> pa.Table:
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return cursor.fetch_arrow_table()


def adbc_begin(connection: Any, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        cursor.fetch_record_batch().read_next_batch()
        cursor.adbc_cancel()


def adbc_unknown(stock: Stock) -> Any:
    settings = {OPTION + "tls_root_certs": stock.roots.decode(), OPTION + "tls_override_hostname": node_dns(DATA)}
    return adbc_driver_flightsql.dbapi.connect(
        f"grpc+tls://127.0.0.1:{stock.port}", db_kwargs=settings, autocommit=True
    )


def polars_read(connection: Any, sql: str, values: tuple[Any, ...]) -> pa.Table:
    options = {"parameters": values} if values else {}
    return pl.read_database(sql, connection, execute_options=options).to_arrow()


def polars_begin(connection: Any, sql: str) -> None:
    with connection.cursor() as cursor:
        next(pl.read_database(sql, cursor, iter_batches=True, batch_size=100))


def duckdb_read(connection: Any, sql: str, values: tuple[Any, ...]) -> pa.Table:
    with connection.cursor() as cursor, duckdb.connect() as engine:
        cursor.execute(sql, values or None)
        engine.register("answer", cursor.fetch_record_batch())
        return engine.sql("select * from answer").to_arrow_table()


def duckdb_begin(connection: Any, sql: str) -> None:
    with connection.cursor() as cursor, duckdb.connect() as engine:
        cursor.execute(sql)
        engine.register("answer", cursor.fetch_record_batch())
        engine.sql("select * from answer limit 1").fetchall()


def arrow_read(client: flight.FlightClient, sql: str, values: tuple[Any, ...]) -> pa.Table:
    return client.do_get(arrow_ticket(client, sql, values)).read_all()


def arrow_ticket(client: flight.FlightClient, sql: str, values: tuple[Any, ...] = ()) -> flight.Ticket:
    command: Any = sql_pb.CommandStatementQuery(query=sql)
    if values:
        command = sql_pb.CommandPreparedStatementQuery(prepared_statement_handle=arrow_bound(client, sql, values))
    return client.get_flight_info(flight.FlightDescriptor.for_command(packed(command))).endpoints[0].ticket


def arrow_bound(client: flight.FlightClient, sql: str, values: tuple[Any, ...]) -> bytes:
    request = packed(sql_pb.ActionCreatePreparedStatementRequest(query=sql))
    (result,) = client.do_action(flight.Action("CreatePreparedStatement", request))
    made = sql_pb.ActionCreatePreparedStatementResult()
    any_pb2.Any.FromString(result.body.to_pybytes()).Unpack(made)
    command = sql_pb.CommandPreparedStatementQuery(prepared_statement_handle=made.prepared_statement_handle)
    batch = pa.RecordBatch.from_arrays(
        [pa.array([value]) for value in values], names=[str(n) for n in range(len(values))]
    )
    writer, answers = client.do_put(flight.FlightDescriptor.for_command(packed(command)), batch.schema)
    writer.write_batch(batch)
    writer.done_writing()
    told = answers.read()
    writer.close()
    bound = sql_pb.DoPutPreparedStatementResult()
    bound.ParseFromString(told.to_pybytes() if told is not None else b"")
    return bound.prepared_statement_handle or made.prepared_statement_handle


def arrow_begin(client: flight.FlightClient, sql: str) -> None:
    reader = client.do_get(arrow_ticket(client, sql))
    reader.read_chunk()
    reader.cancel()


def arrow_unknown(stock: Stock) -> flight.FlightClient:
    return flight.FlightClient(
        f"grpc+tls://127.0.0.1:{stock.port}", tls_root_certs=stock.roots, override_hostname=node_dns(DATA)
    )


CLIENTS: Mapping[str, Client] = {
    "adbc": Client(adbc_read, adbc_begin, Stock.adbc, adbc_unknown),
    "arrow": Client(arrow_read, arrow_begin, Stock.arrow, arrow_unknown),
    "polars": Client(polars_read, polars_begin, Stock.adbc, adbc_unknown),
    "duckdb": Client(duckdb_read, duckdb_begin, Stock.adbc, adbc_unknown),
}


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Client:
    """Each of them."""
    return CLIENTS[request.param]


async def rows(client: Client, stock: Stock, sql: str, *values: Any, name: str = "local") -> list[dict[str, Any]]:
    """What a client gets."""

    def run() -> list[dict[str, Any]]:
        with client.connect(stock, name) as connection:
            return client.read(connection, sql, values).to_pylist()

    return await asyncio.to_thread(run)


# --- each row -------------------------------------------------------------------------------------------------------


async def test_q7_plain(client: Client, stock: Stock) -> None:
    found = await rows(client, stock, f"select grp, count(*) n from {stock.table()} group by grp order by grp limit 1")
    assert found == [{"grp": "g0", "n": 143}]


async def test_q7_parameters(client: Client, stock: Stock) -> None:
    found = await rows(client, stock, f"select id from {stock.table()} where id < ? and grp = ? order by id", 20, "g1")
    assert [row["id"] for row in found] == [1, 8, 15]


async def test_q7_a_dictionary_column(client: Client, stock: Stock) -> None:
    found = await rows(client, stock, f"select kind, count(*) n from {stock.table()} group by kind order by kind::text")
    assert [(row["kind"], row["n"]) for row in found] == [("green", ROWS // 2), ("red", ROWS // 2)]


@pytest.mark.parametrize(
    "sql, reason", [("select secret from {table}", "FIELD_NOT_AGREED"), ("drop table {table}", "QUERY_INVALID")]
)
async def test_q7_denied(client: Client, stock: Stock, sql: str, reason: str) -> None:
    with pytest.raises(REFUSED, match=reason):
        await rows(client, stock, sql.format(table=stock.table()))


async def test_q7_wrong_parameters(client: Client, stock: Stock) -> None:
    with pytest.raises(REFUSED, match="QUERY_INVALID"):
        await rows(client, stock, f"select id from {stock.table()} where id < ?", 1, 2)


async def test_q7_the_agreement_of_somebody_else(client: Client, stock: Stock) -> None:
    with pytest.raises(REFUSED, match="NOT_FOUND"):
        await rows(client, stock, f"select id from {stock.table('other')}")
    with pytest.raises(REFUSED, match="NOT_FOUND"):
        await rows(client, stock, f"select id from {stock.table()}", name="stranger")


async def test_q7_no_certificate(client: Client, stock: Stock) -> None:
    def run() -> None:
        with client.unknown(stock) as connection:
            client.read(connection, f"select id from {stock.table()}", ())

    with pytest.raises(REFUSED):
        await asyncio.to_thread(run)


async def test_q7_cancelled(client: Client, stock: Stock) -> None:
    before = {one.id for one in await stock.accesses()}

    def run() -> None:
        with client.connect(stock, "local") as connection:
            client.begin(connection, f"select a.id, b.name from {stock.table()} a, {stock.table()} b")

    await asyncio.to_thread(run)

    async def ended() -> bool:
        new = [one for one in await stock.accesses() if one.id not in before]
        return len(new) == 1 and new[0].state == "ABORTED" and new[0].rows < ROWS * ROWS and bool(new[0].receipt)

    await until(ended)
    assert len(stock.world[DATA].venue.streams) == 0
