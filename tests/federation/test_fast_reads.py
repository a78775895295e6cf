"""Kept answers and kept relations between venues: every call is decided, counted and logged, and no right outlives."""

from __future__ import annotations

import pyarrow as pa
import pytest
from federation.test_control import check_cut, stalled
from federation.world import BIG_ROWS, DATA, product_text, receipt_in

from trustnode.errors import TrustnodeError

pytestmark = pytest.mark.asyncio(loop_scope="session")
SQL = "select id from t where id < 7 limit 10"


async def test_a_kept_answer_counts_and_is_logged_like_the_first_one(world) -> None:
    agreement = await world.agree(world.clients["acme"], f"{DATA}/small", "few")
    kept = world[DATA].venue.engine.kept
    commitments = set()
    for number in range(5):
        hits, table = kept.hits, agreement.sql(SQL)
        assert (await table.to_arrow()).num_rows == 7
        assert (kept.hits > hits) is (number > 0)
        commitments.add(table.receipt.stream_commitment)
    assert len(commitments) == 5  # each access has its own salt
    with pytest.raises(TrustnodeError) as refused:
        await agreement.sql(SQL).to_arrow()
    assert refused.value.reason == "QUOTA_AGREED"
    types = [entry.type for entry in await world.entries(DATA, "agreement", agreement.id)]
    assert (types.count("access.decide"), types.count("delivery.complete"), types.count("access.deny")) == (5, 5, 1)


async def test_a_kept_answer_is_refused_to_who_lost_the_right_and_forgotten(world) -> None:
    agreement = await world.agree(world.clients["acme"], f"{DATA}/small", "open")
    kept = world[DATA].venue.engine.kept
    await agreement.sql(SQL).to_arrow()
    assert any(agreement.id in entry.owners for entry in kept._entries.values())
    held = await world.clients["bureau"].agreement(agreement.id)
    await held.suspend("not now")
    with pytest.raises(TrustnodeError) as refused:
        await agreement.sql(SQL).to_arrow()
    assert refused.value.reason == "GRANT_INVALID"
    assert not any(agreement.id in entry.owners for entry in kept._entries.values())


async def test_a_stream_of_a_kept_relation_ends_with_the_right_and_the_relation_goes(world) -> None:
    agreement = await world.agree(world.clients["acme"], f"{DATA}/big", "open")
    relations = world[DATA].venue.engine.relations
    async with agreement.reader("select * from t") as reader:
        first = pa.Table.from_batches([batch async for batch in reader])
    async with agreement.reader("select * from t") as reader:
        again = pa.Table.from_batches([batch async for batch in reader])
    assert again.equals(first)
    assert first.num_rows == BIG_ROWS
    held = await world.clients["bureau"].agreement(agreement.id)
    async with stalled(world, agreement) as stream:
        assert any(relation.readers for relation in relations._kept.values())
        await held.suspend("prices are wrong")
        await check_cut(stream, "GRANT_INVALID")
    assert not any(agreement.id in relation.owners for relation in relations._kept.values())


async def test_where_content_is_not_digested_the_receipt_says_so_and_everybody_agrees(world) -> None:
    text = product_text("quick", ("open",), file="big", columns=("id", "filler"))
    text = text.replace('table = "t"', 'table = "t"\ncontent_digest = false')
    await world.publish(world.clients["bureau"], text, "quick")
    agreement = await world.agree(world.clients["acme"], f"{DATA}/quick", "open")
    async with agreement.reader("select * from t") as reader:
        rows = [batch.num_rows async for batch in reader]
    assert sum(rows) == BIG_ROWS
    table = agreement.sql("select id from t limit 3")
    assert (await table.to_arrow()).num_rows == 3
    for access in (reader.access, table.access):
        receipt = await world[DATA].venue.store.read(lambda view, access=access: receipt_in(view, access))
        assert (receipt.outcome, receipt.content_digest) == ("COMPLETE", False)
    other = await world.agree(world.clients["acme"], f"{DATA}/big", "open")
    digested = other.sql("select id from t limit 3")
    await digested.to_arrow()
    assert digested.receipt.content_digest
