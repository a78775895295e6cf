"""The standing audit: what differs is found by the node itself, and it signs and serves no more."""

from __future__ import annotations

import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from trustnode import node as composition
from trustnode.app import upkeep
from trustnode.app.submission import Answer, submit
from trustnode.core.participant import Invitation
from trustnode.errors import TrustnodeError
from trustnode.home import check_stopped
from trustnode.testing.network import Network, until

HERE = "zj.example"


async def invite(node: Any, name: str) -> Answer:
    venue = node.venue
    statement = Invitation(
        participant=venue.identity.participant(name), title=f"Firm {name}", roles=("CONSUMER",),
        until="2030-01-01T00:00:00.000Z", **venue.fields("*"),
    )  # fmt: skip
    return await submit(venue, venue.self_sender, venue.sign(statement))


def change(path: Path, statement: str) -> None:
    """Reach below the node, as an enemy with the disk would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        assert db.execute(statement).rowcount == 1


PLANTED = {
    "altered": "update participant set state = 'REVOKED'",
    "added": "insert into participant select 'spiffe://zj.example/participant/x', state, causes, version, changed_at, "
    "document, 'x', title, roles, custody, kid, home, invited_until, certificate_serial from participant limit 1",
    "deleted": "delete from participant",
    "reordered": "update entry set link = (select link from entry where idx = 1) where idx = 0",
    "counted": "insert into counter values ('C1/reads', '', 1, '2026-01-01T00:00:00.000Z')",
}


@pytest.mark.parametrize("how", PLANTED)
async def test_se_op_4_a_planted_change_is_found_and_the_node_is_a_reader(tmp_path: Path, how: str) -> None:
    async with Network(tmp_path) as network:
        node = await network.start(HERE)
        await invite(node, "acme")
        assert await node.upkeep.audit() == []
        assert node.upkeep.audited_at
        change(node.venue.store.path, PLANTED[how])
        found = await node.upkeep.audit()
        assert found
        assert str(found[0]) in node.venue.read_only
        assert (node.status().state, node.status().alarms[0].name) == ("READ_ONLY", "READ_ONLY")
        with pytest.raises(TrustnodeError) as refused:
            await invite(node, "other")
        assert refused.value.reason == "READ_ONLY"


async def test_the_audit_runs_by_itself_and_ends_with_the_node(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(upkeep, "PAUSE_S", 0.001)
    async with Network(tmp_path) as network:
        node = await network.start(HERE)
        node.upkeep._audit_s = 0.01
        running = composition.asyncio.ensure_future(node.upkeep._audit_forever())
        await until(lambda: _is(bool(node.upkeep.audited_at)))
        running.cancel()


async def _is(holds: bool) -> bool:
    return holds


async def test_answers_older_than_anybody_repeats_are_dropped(tmp_path: Path) -> None:
    async with Network(tmp_path) as network:
        node = await network.start(HERE)
        await invite(node, "acme")
        assert await node.upkeep.forget() == 0
        change(
            node.venue.store.path, f"insert into answer values ('{uuid.uuid4()}', x'7b7d', '2020-01-01T00:00:00.000Z')"
        )
        assert await node.upkeep.forget() == 1


async def test_a_stopped_node_is_checked_while_nobody_can_start_it(tmp_path: Path) -> None:
    async with Network(tmp_path) as network:
        node = await network.start(HERE)
        path, home = node.venue.store.path, node.home
        await invite(node, "acme")
        with pytest.raises(TrustnodeError, match="runs on the store"):
            check_stopped(home)
    assert check_stopped(home).differences == []
    assert check_stopped(home).entries > 1
    change(path, PLANTED["altered"])
    first = check_stopped(home).differences[0]
    assert (first.where, first.object.split("/")[-1]) == ("participant", "acme")
    assert first.index is not None
