"""One venue whose product has a mask, a hidden column and a column of an enumerated type, and those who read it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from federation.world import DATA, World, product_text
from node.rpc.stock.clients import ROWS, Stock

from trustnode.core import clock
from trustnode.sdk.profile import now
from trustnode.testing.network import Network

COLUMNS = ("id", "grp", "kind", "price")
TOTALS = """
[[offer]]
name = "totals"
price = "free"
approval = "automatic"
[offer.terms]
purposes = ["statistics"]
who = "anyone"
period = "12 months"
result = "aggregates"
person = "id"
group_by = ["grp"]
measures = ["count", "sum price"]
min_group = 100
keep = "unlimited"
onward = "allowed"
"""
MASKED = 'masks = { name = "hash" }'


def product(name: str) -> str:
    """The product on a DuckDB file: there a column can have an enumerated type, which becomes an Arrow dictionary."""
    text = product_text(name, ("open",), columns=COLUMNS)
    text = text.replace('kind = "parquet"', 'kind = "duckdb"').replace(
        'location = "small.parquet"', 'location = "s.duckdb"'
    )
    return text.replace('derived = "free"', f'derived = "free"\n{MASKED}') + TOTALS


def write_source(path: Path) -> None:
    """The table of the product."""
    import duckdb

    with duckdb.connect(str(path)) as db:
        db.execute("create type colour as enum ('red', 'green')")
        db.execute(
            "create table t as select i::bigint id, 'g' || (i % 7) grp, (case when i % 2 = 0 then 'red' else 'green' end)"
            "::colour kind, (i / 100)::decimal(9, 2) price, 'n' || i as name, 'secret' || i as secret "
            f"from range({ROWS}) r(i)"
        )


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def stock(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stock]:
    """``local``, ``other`` and ``counter`` (aggregates only) have an agreement each and delegate; ``stranger`` has none."""
    folder = tmp_path_factory.mktemp("stock")
    write_source(folder / "s.duckdb")
    async with Network(folder) as network:
        world = World(network, folder)
        await network.start(DATA, area="5200", subject="915200000000000001")
        await world.join(DATA, "bureau", "PROVIDER")
        for name in ("local", "other", "counter", "stranger"):
            await world.join(DATA, name, "CONSUMER")
        await world.publish(world.clients["bureau"], product("small"), "small")
        deals = {}
        for name, offer in (("local", "open"), ("other", "open"), ("counter", "totals")):
            await world.found(world.clients[name], f"{DATA}/small")
            deals[name] = await world.clients[name].negotiate(f"{DATA}/small", offer=offer)
            await deals[name].delegate(clock.shift(now(), 7 * 86400))
        yield Stock(world, deals)
        for client in world.clients.values():
            await client.aclose()
