"""What happened in real deals, told again from each node's log alone, is what the node holds (lifecycles 1, L11)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from federation.world import DATA, FAR, HOME, NATION

from trustnode.core.carried import CHAINS
from trustnode.core.evidence.entry import parse_statement
from trustnode.core.replay import Place, Replay, replay
from trustnode.core.states import STATES
from trustnode.errors import TrustnodeError
from trustnode.store.check import check_store
from trustnode.store.unit import View

pytestmark = pytest.mark.asyncio(loop_scope="session")


def told_by(view: View) -> Replay:
    """Entries and documents of a node, as anybody may copy them, read into nothing."""
    db = view._db
    names = {row[0]: (row[1], row[2]) for row in db.execute("select id, kind, object from chain")}
    links = {row[0]: (row[1], row[2]) for row in db.execute("select idx, chain, link from entry")}
    entries = []
    for one in view.evidence.entries(0, 1_000_000):
        chain_id, link = links[one.index]
        place = Place(one.index, *names[chain_id], one.seq, link)
        entries.append((place, parse_statement(one.statement) if one.statement else None))
    documents = [view.document(row[0]) for row in db.execute("select digest from document")]
    return replay(entries, [one for one in documents if one])


async def deal_of_everything(world: Any) -> None:
    acme, far = world.clients["acme"], world.clients["far"]
    agreement = await world.agree(acme, f"{DATA}/small", "few")
    assert (await agreement.sql("select id from t limit 3").to_arrow()).num_rows == 3
    await world.agree(acme, f"{DATA}/small", "rows")
    with pytest.raises(TrustnodeError):
        await far.negotiate(f"{DATA}/small", offer="open", purpose="marketing")


async def test_l11_every_state_and_counter_of_every_node_is_told_by_its_log(world) -> None:
    await deal_of_everything(world)
    kinds, counted = set(), 0
    for domain in (DATA, HOME, FAR, NATION):
        store = world[domain].venue.store
        told, live, counters = await store.read(lambda view: (told_by(view), rows(view), counters_of(view)))
        again = await store.read(lambda view, told=told: {(type(s), s.id): s for s in told.states(view.document)})
        assert again == live, domain
        assert {name: used.amount for name, used in told.counters.items()} == counters, domain
        kinds |= {kind for kind, _ in told.rows}
        counted += len(counters)
        assert (told.erased, told.older) == (set(), set())
    assert kinds == set(CHAINS)
    assert counted


def rows(view: View) -> dict[Any, Any]:
    return {(kind, s.id): s for name, kind in STATES.items() if name in CHAINS for s in view.find(kind, limit=100_000)}


def counters_of(view: View) -> dict[tuple[str, str], int]:
    return {(k, w): used for k, w, used in view._db.execute('select key, "window", "used" from counter')}


async def test_a_whole_store_of_real_deals_has_no_difference(world) -> None:
    for domain in (DATA, HOME, FAR, NATION):
        assert await asyncio.to_thread(check_store, world[domain].venue.store.path) == []
