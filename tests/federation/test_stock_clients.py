"""A stock client at its home venue reads what another venue holds: planned there, carried here."""

from __future__ import annotations

import asyncio
from typing import Any

import adbc_driver_flightsql.dbapi
import adbc_driver_manager
import pyarrow as pa
import pytest
from federation.world import DATA, HOME, AccessState, World

from trustnode.core import clock
from trustnode.core.identifier import schema_name
from trustnode.core.identity import node_dns
from trustnode.sdk.profile import now

pytestmark = pytest.mark.asyncio(loop_scope="session")
OPTION = "adbc.flight.sql.client_option."


def connect(world: World, name: str) -> Any:
    """ADBC with the certificate of a participant of the home venue."""
    held = world.clients[name].profile.credential
    settings = {
        OPTION + "tls_root_certs": world[HOME].trust.state.bundles[HOME].pem.decode(),
        OPTION + "mtls_cert_chain": held.chain_pem.decode(),
        OPTION + "mtls_private_key": held.key_pem.decode(),
        OPTION + "tls_override_hostname": node_dns(HOME),
    }
    address = f"grpc+tls://127.0.0.1:{world[HOME].port}"
    return adbc_driver_flightsql.dbapi.connect(address, db_kwargs=settings, autocommit=True)


async def test_q7_a_stock_client_reads_over_two_nodes_with_parameters_and_schema(world: World) -> None:
    deal = await world.agree(world.clients["acme"], f"{DATA}/small", "open")
    await deal.delegate(clock.shift(now(), 7 * 86400))
    table = f"{schema_name(deal.id)}.t"

    def work() -> tuple[Any, ...]:
        with connect(world, "acme") as connection, connection.cursor() as cursor:
            schema = cursor.adbc_execute_schema(f"select grp, count(*) n from {table} where id < ? group by grp")
            cursor.execute(f"select count(*) n from {table} where id < ? and grp = ?", (70, "g1"))
            count = cursor.fetchone()
            told = connection.adbc_get_table_schema("t", db_schema_filter=schema_name(deal.id))
            return schema, count, told

    schema, count, told = await asyncio.to_thread(work)
    assert schema == pa.schema([("grp", pa.string()), ("n", pa.int64())])
    assert count == (10,)
    assert told == pa.schema([("id", pa.int64()), ("grp", pa.string())])
    for domain in (HOME, DATA):
        rows = await world[domain].venue.store.read(lambda view: view.find(AccessState, agreement=deal.id))
        assert [(row.grade, row.rows) for row in rows] == [("DELEGATED", 1)]

    def refused(name: str, sql: str) -> str:
        with (
            pytest.raises(adbc_driver_manager.Error) as caught,
            connect(world, name) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(sql)
        return str(caught.value)

    assert "[FIELD_NOT_AGREED]" in await asyncio.to_thread(refused, "acme", f"select filler from {table}")
    assert "no such agreement [NOT_FOUND]" in await asyncio.to_thread(refused, "other", f"select id from {table}")
