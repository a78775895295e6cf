"""What happened in real deals, told again from each node's log alone, is what the node holds (lifecycles 1, L11)."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from federation.world import DATA, FAR, HOME, NATION, World, two_venues

from trustnode.core.carried import CHAINS, LOCAL, chain_of
from trustnode.core.duty import DutyProof, DutyState
from trustnode.core.evidence.entry import parse_statement
from trustnode.core.lifecycle import State
from trustnode.core.replay import Place, Replay, replay
from trustnode.core.states import KINDS, STATES
from trustnode.errors import TrustnodeError
from trustnode.store.check import UNCOMMITTED, check_store
from trustnode.store.difference import Difference
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
    reported = await world.agree(acme, f"{DATA}/small", "rows")
    fields = acme.profile.fields(HOME, DATA)
    shown = DutyProof(
        agreement=reported.id, agreement_sha256=reported.document.digest, duty="inform:USE", until=fields["time"], **fields
    )  # fmt: skip
    await acme.connection.submit(acme.profile.sign(shown), [acme.profile.key_document])
    await world.in_state(DATA, DutyState, f"{reported.id}/inform:USE", "FULFILLED")
    with pytest.raises(TrustnodeError):
        await far.negotiate(f"{DATA}/small", offer="open", purpose="marketing")


async def test_every_state_and_counter_of_every_node_is_told_by_its_log(world) -> None:
    await deal_of_everything(world)
    kinds, counted = set(), 0
    for domain in (DATA, HOME, FAR, NATION):
        store = world[domain].venue.store
        told, live, counters = await store.read(lambda view: (told_by(view), rows(view), counters_of(view)))
        again = await store.read(lambda view, told=told: {(type(s), s.id): s for s in told.states(view.document)})
        assert again == {name: s for name, s in live.items() if not lost(told, s)}, domain
        assert {name: used.amount for name, used in told.counters.items()} == counters, domain
        kinds |= {kind for kind, _ in told.rows}
        counted += len(counters)
        assert (told.unreported, told.older) == ((), set())
    assert kinds == set(CHAINS)
    assert counted


def lost(told: Replay, state: State) -> bool:
    """Whether another test erased what told of an object."""
    chain = chain_of(state)
    return chain is not None and told.unprovable(KINDS[type(state)], state.id, chain) == "erased"


def rows(view: View) -> dict[Any, Any]:
    return {(kind, s.id): s for name, kind in STATES.items() if name in CHAINS for s in view.find(kind, limit=100_000)}


def counters_of(view: View) -> dict[tuple[str, str], int]:
    return {(k, w): used for k, w, used in view._db.execute('select key, "window", "used" from counter')}


async def test_a_whole_store_of_real_deals_has_no_difference(world) -> None:
    for domain in (DATA, HOME, FAR, NATION):
        assert await asyncio.to_thread(check_store, world[domain].venue.store.path) == []


# --- what is changed behind the node's back -------------------------------------------------------------------------


def committed(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """Every column that something commits to: all but the closed lists."""
    tables = [name for (name,) in db.execute("select name from sqlite_master where type = 'table' order by name")]
    ours = [name for name in tables if not name.startswith(("sqlite_", "_sqlite", "search"))]
    columns = [(name, row[1]) for name in ours for row in db.execute(f'pragma table_info("{name}")')]
    local = {("head", "one"), *LOCAL, *(tuple(name.split(".")) for name in UNCOMMITTED if "." in name)}
    return [(table, column) for table, column in columns if table not in UNCOMMITTED and (table, column) not in local]


def flipped(value: Any, chance: random.Random) -> Any:
    if isinstance(value, int):
        return value ^ (1 << chance.randrange(20))
    data = bytearray(value.encode() if isinstance(value, str) else value)
    if (
        isinstance(value, bytes) and b"\n\n" in value
    ):  # a note: text and first signature; further cosignatures are asked
        data = data[: value.index(b"\n", value.index(b"\n\n") + 2)]  # for again, and one of an unknown key is ignored
    at = chance.randrange(len(data))
    data[at] ^= 1 << chance.randrange(7)
    rest = value[len(data) :]
    return data.decode("ascii", "replace") + rest if isinstance(value, str) else bytes(data) + rest


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def young(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Two venues with a few deals of their own: a store is checked whole for every bit that is turned in it."""
    async with two_venues(tmp_path_factory.mktemp("young"), "open", "few", "rows") as made:
        acme = made.clients["acme"]
        agreement = await made.agree(acme, f"{DATA}/small", "few")
        assert (await agreement.sql("select id from t limit 3").to_arrow()).num_rows == 3
        await made.agree(acme, f"{DATA}/small", "rows")
        yield made


async def test_l4c_each_of_200_flipped_bits_is_found_and_named(young, tmp_path) -> None:
    """And se_op_3, altered: whatever the log commits to."""
    chance, named = random.Random(4), 0
    for domain in (DATA, HOME):
        copy = tmp_path / f"{domain}.db"
        await young[domain].venue.store.backup(copy)
        with contextlib.closing(sqlite3.connect(copy, isolation_level=None, check_same_thread=False)) as db:
            db.execute("pragma synchronous = off")
            db.execute("drop index entry_chain")  # a flip on the disk asks no index
            columns = [one for one in committed(db) if db.execute(f'select count(*) from "{one[0]}"').fetchone()[0]]
            for number in range(100):
                table, column = columns[number % len(columns)]
                found = await asyncio.to_thread(one_flip, db, copy, table, column, chance)
                assert found, (domain, table, column)
                named += bool(found[0].index is not None or found[0].object or " " in found[0].where)
        assert check_store(copy) == []
    assert named > 190


async def test_l4c_a_note_under_the_name_of_a_log_that_no_card_knows_is_found(world, tmp_path) -> None:
    copy = tmp_path / "copy.db"
    await world[DATA].publisher.publish()
    await world[DATA].venue.store.backup(copy)
    with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as db:
        size, note = db.execute("select size, note from checkpoint order by size desc limit 1").fetchone()
        db.execute("update checkpoint set note = ? where size = ?", (note.replace(b"gz.", b"gx.", 1), size))
    assert [(one.where, one.index) for one in check_store(copy)] == [("checkpoint", size)]


def one_flip(db: sqlite3.Connection, path: Path, table: str, column: str, chance: random.Random) -> list[Difference]:
    """Change one value, look, and change it back."""
    names = [row[1] for row in db.execute(f'pragma table_info("{table}")')]
    at = names.index(column)
    rows = [row for row in db.execute(f'select * from "{table}"') if row[at] not in ("", b"", None)]
    if not rows:
        return [Difference(where="nothing to flip", message="every value is empty")]
    before = chance.choice(rows)
    after = before
    while after == before:
        after = (*before[:at], flipped(before[at], chance), *before[at + 1 :])
        with contextlib.suppress(sqlite3.IntegrityError):
            replace(db, table, names, before, after)
            break
        after = before
    try:
        return check_store(path, limit=1)
    finally:
        replace(db, table, names, after, before)


def replace(db: sqlite3.Connection, table: str, names: list[str], old: Any, new: Any) -> None:
    changes = ", ".join(f'"{name}" = ?' for name in names)
    which = " and ".join(f'"{name}" is ?' for name in names)
    db.execute(f'update "{table}" set {changes} where {which}', (*new, *old))
