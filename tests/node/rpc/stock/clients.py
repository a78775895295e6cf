"""Stock clients with the certificate of a participant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import adbc_driver_flightsql.dbapi
from federation.world import DATA, World
from pyarrow import flight

from trustnode.core.access import AccessState
from trustnode.core.identifier import schema_name
from trustnode.core.identity import node_dns

ROWS = 1000
OPTION = "adbc.flight.sql.client_option."


@dataclass
class Stock:
    """The venue, and the agreement of each consumer."""

    world: World
    deals: dict[str, Any]

    @property
    def port(self) -> int:
        """Of the node."""
        return self.world[DATA].port

    @property
    def roots(self) -> bytes:
        """What a client trusts."""
        return self.world[DATA].trust.state.bundles[DATA].pem

    def schema(self, name: str = "local") -> str:
        """Where the table of somebody's agreement stands."""
        return schema_name(self.deals[name].id)

    def table(self, name: str = "local") -> str:
        """The table of somebody's agreement."""
        return f"{self.schema(name)}.t"

    def adbc(self, name: str = "local", **settings: str) -> Any:
        """An ADBC connection."""
        credential = self.world.clients[name].profile.credential
        return adbc_driver_flightsql.dbapi.connect(
            f"grpc+tls://127.0.0.1:{self.port}",
            db_kwargs={
                OPTION + "tls_root_certs": self.roots.decode(),
                OPTION + "mtls_cert_chain": credential.chain_pem.decode(),
                OPTION + "mtls_private_key": credential.key_pem.decode(),
                OPTION + "tls_override_hostname": node_dns(DATA),
                **settings,
            },
            autocommit=True,
        )

    def arrow(self, name: str = "local") -> flight.FlightClient:
        """Arrow's own client."""
        credential = self.world.clients[name].profile.credential
        return flight.FlightClient(
            f"grpc+tls://127.0.0.1:{self.port}",
            tls_root_certs=self.roots,
            cert_chain=credential.chain_pem,
            private_key=credential.key_pem,
            override_hostname=node_dns(DATA),
        )

    async def accesses(self, name: str = "local") -> list[AccessState]:
        """Reads under somebody's agreement."""
        agreement = self.deals[name].id
        return await self.world[DATA].venue.store.read(
            lambda view: view.find(AccessState, agreement=agreement, limit=100_000)
        )


async def used(connection: Any, work: Callable[[Any], Any]) -> Any:
    """What ``work`` returns of a cursor of a connection, which is closed afterwards; blocking calls, so in a thread."""

    def run() -> Any:
        with connection() as open_one, open_one.cursor() as cursor:
            return work(cursor)

    return await asyncio.to_thread(run)


def fetched(cursor: Any, sql: str, parameters: Any = None) -> dict[str, list[Any]]:
    """Rows of a query."""
    cursor.execute(sql, parameters)
    table: dict[str, list[Any]] = cursor.fetch_arrow_table().to_pydict()
    return table
