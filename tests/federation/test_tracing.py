"""Two consumers buy the same marked product and one of them leaks it."""

from __future__ import annotations

import duckdb
import pytest
from federation.world import DATA, HOME, product_text

from trustnode.core.access import AccessState

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROWS = 60_000
TRACE = 'trace = "mark price by 0.01 key id"'


@pytest.fixture(scope="session")
def marked_text():
    text = product_text("prices", ("open",), file="prices", columns=("id", "price", "town"))
    return f"{text}{TRACE}\n"


async def test_the_first_delivery_of_a_marked_copy_commits_to_its_mark_once(world, marked_text):
    with duckdb.connect() as db:
        made = f"select i::bigint id, ((i * 7919) % 100000)::decimal(12,2) / 100 price, 't' || (i % 9) town from range({ROWS}) t(i)"
        db.execute(f"copy ({made}) to '{world.folder / 'prices.parquet'}'")
    await world.publish(world.clients["bureau"], marked_text, "prices")
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/prices", "open")
    for _ in range(2):
        table = agreement.sql("select * from t")
        assert (await table.to_arrow()).num_rows == ROWS
    await acme.acks.flush(agreement.id)
    await world.in_state(HOME, AccessState, table.access, "DELIVERED")
    chain = await world.entries(DATA, "agreement", agreement.id)
    (entry,) = [entry for entry in chain if entry.type == "delivery.prepare"]
    decided = [entry.type for entry in chain].index("access.decide")
    assert chain.index(entry) < decided
    assert entry.mark_commitment == world[DATA].venue.mark(f"{DATA}/prices", agreement.id).commitment
