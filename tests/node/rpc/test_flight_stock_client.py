"""Arrow's own Flight client against a node: what it needs to read, what it may not do, what a handle is good for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import pytest_asyncio
from federation.world import DATA, World, product_text, write_tables
from google.protobuf import any_pb2
from pyarrow import flight

from trustnode.arrow import flight_sql_pb2
from trustnode.core import clock
from trustnode.core.access import AccessState
from trustnode.core.identity import node_dns
from trustnode.sdk.profile import now
from trustnode.testing.network import Network

pytestmark = pytest.mark.asyncio(loop_scope="module")
SQL = "select grp, count(*) n from t group by grp order by grp"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One venue; ``local`` has an agreement and delegates to its venue, ``other`` has one and does not."""
    folder: Path = tmp_path_factory.mktemp("stock")
    write_tables(folder)
    async with Network(folder) as network:
        made = World(network, folder)
        await network.start(DATA, area="5200", subject="915200000000000001")
        await made.join(DATA, "bureau", "PROVIDER")
        for name in ("local", "other"):
            await made.join(DATA, name, "CONSUMER")
        await made.publish(made.clients["bureau"], product_text("small", ("open",)), "small")
        yield made
        for client in made.clients.values():
            await client.aclose()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def deals(world: World) -> dict[str, Any]:
    """The agreement of each consumer."""
    made = {}
    for name in ("local", "other"):
        await world.found(world.clients[name], f"{DATA}/small")
        made[name] = await world.clients[name].negotiate(f"{DATA}/small", offer="open")
    await made["local"].delegate(clock.shift(now(), 7 * 86400))
    return made


def stock(world: World, name: str) -> flight.FlightClient:
    """Arrow's client with the certificate of a participant."""
    credential = world.clients[name].profile.credential
    return flight.FlightClient(
        f"grpc+tls://127.0.0.1:{world[DATA].port}",
        tls_root_certs=world[DATA].trust.state.bundles[DATA].pem,
        cert_chain=credential.chain_pem,
        private_key=credential.key_pem,
        override_hostname=node_dns(DATA),
    )


async def ask(client: flight.FlightClient, agreement: str, sql: str) -> flight.FlightInfo:
    return await asyncio.to_thread(client.get_flight_info, flight.FlightDescriptor.for_path(agreement, sql))


async def fetch(client: flight.FlightClient, ticket: flight.Ticket) -> pa.Table:
    return await asyncio.to_thread(lambda: client.do_get(ticket).read_all())


def packed(sql: str, transaction: bytes | None = None) -> bytes:
    """A command as a Flight SQL client packs it."""
    command = any_pb2.Any()
    command.Pack(flight_sql_pb2.CommandStatementQuery(query=sql, transaction_id=transaction))
    return command.SerializeToString()


@pytest.mark.parametrize("by_short_name", [False, True])
async def test_a_client_that_cannot_sign_reads_under_a_delegation(
    world: World, deals: dict[str, Any], by_short_name: bool
) -> None:
    deal = deals["local"]
    with stock(world, "local") as client:
        info = await ask(client, deal.short if by_short_name else deal.id, SQL)
        table = await fetch(client, info.endpoints[0].ticket)
    assert table["n"].to_pylist() == [143, 143, 143, 143, 143, 143, 142]
    assert info.schema == table.schema
    accesses = await world[DATA].venue.store.read(lambda view: view.find(AccessState, agreement=deal.id))
    assert {(one.grade, one.state) for one in accesses} <= {("DELEGATED", "DELIVERED"), ("DELEGATED", "COMPLETED")}


async def test_a_flight_sql_command_names_its_agreement_in_a_header(world: World, deals: dict[str, Any]) -> None:
    options = flight.FlightCallOptions(headers=[(b"trustnode-agreement", deals["local"].id.encode())])
    descriptor = flight.FlightDescriptor.for_command(packed(SQL))
    with stock(world, "local") as client:
        info = await asyncio.to_thread(client.get_flight_info, descriptor, options)
        table = await fetch(client, info.endpoints[0].ticket)
        schema = (await asyncio.to_thread(client.get_schema, descriptor, options)).schema
    assert (table.num_rows, schema) == (7, table.schema)


async def test_p2b_a_handle_is_good_once_and_for_its_caller_alone(world: World, deals: dict[str, Any]) -> None:
    with stock(world, "local") as client, stock(world, "other") as thief:
        ticket = (await ask(client, deals["local"].id, SQL)).endpoints[0].ticket
        with pytest.raises(pa.ArrowException, match="no such ticket"):
            await fetch(thief, ticket)
        ticket = (await ask(client, deals["local"].id, SQL)).endpoints[0].ticket
        await fetch(client, ticket)
        with pytest.raises(pa.ArrowException, match="no such ticket"):
            await fetch(client, ticket)


async def test_asking_for_a_handle_leaves_no_entry_and_reserves_nothing(world: World, deals: dict[str, Any]) -> None:
    before = world.size(DATA)
    with stock(world, "local") as client:
        await ask(client, deals["local"].id, SQL)
    assert world.size(DATA) == before


async def test_without_a_delegation_there_is_nobody_to_sign(world: World, deals: dict[str, Any]) -> None:
    with stock(world, "other") as client:
        ticket = (await ask(client, deals["other"].id, SQL)).endpoints[0].ticket
        with pytest.raises(pa.ArrowException, match="delegated nothing"):
            await fetch(client, ticket)


async def test_an_agreement_of_somebody_else_is_not_found(world: World, deals: dict[str, Any]) -> None:
    with stock(world, "other") as client:
        for name in (deals["local"].id, deals["local"].short):
            with pytest.raises(pa.ArrowException, match="no such agreement"):
                await ask(client, name, SQL)


async def test_flights_are_the_agreements_of_the_caller(world: World, deals: dict[str, Any]) -> None:
    with stock(world, "local") as client:
        listed = await asyncio.to_thread(lambda: list(client.list_flights()))
        assert [one.descriptor.path for one in listed] == [[deals["local"].id.encode()]]
        actions = {action.type for action in await asyncio.to_thread(lambda: list(client.list_actions()))}
    assert actions == {
        "CreatePreparedStatement", "ClosePreparedStatement", "CancelFlightInfo", "SetSessionOptions",
        "GetSessionOptions", "CloseSession",
    }  # fmt: skip


async def test_nothing_can_be_written_or_done(world: World, deals: dict[str, Any]) -> None:
    del deals
    with stock(world, "local") as client:
        with pytest.raises(pa.ArrowException, match="no such action"):
            await asyncio.to_thread(lambda: list(client.do_action(flight.Action("drop", b""))))
        with pytest.raises(pa.ArrowException, match="data are not taken in here"):
            await asyncio.to_thread(_put, client)


def _put(client: flight.FlightClient) -> None:
    table = pa.table({"a": [1]})
    writer, _ = client.do_put(flight.FlightDescriptor.for_path("x"), table.schema)
    with writer:
        writer.write_table(table)
