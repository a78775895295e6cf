"""Day 13: a backup, more deals, the disk is lost, the backup comes back, mirrors give the rest (surface 6, demo 3)."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from federation.world import (
    DATA,
    FAR,
    HOME,
    AgreementState,
    World,
    product_text,
    ticket,
    until,
    write_tables,
)

from trustnode import aio, maintenance
from trustnode.app import salvage
from trustnode.app.recovery import Order
from trustnode.core.identity import fingerprint, log_origin
from trustnode.errors import QuotaExceeded, TrustnodeError
from trustnode.store.head import record_path
from trustnode.testing.network import Network

pytestmark = pytest.mark.asyncio(loop_scope="module")
FLAGS = {"disk.reserve_mb": 0}
ALONE = Order(None)


@dataclass
class Day:
    """What was done before and after the backup."""

    world: World
    backup: Path
    before: Any
    """Agreement of the backup: five reads in all, one of them read before the backup, two after it."""
    after: Any
    """Agreement made after the backup."""
    local: Any
    """Agreement of two participants of the venue itself, used after the backup."""
    raw: bytes
    """Request of an access after the backup."""
    size: int = 0
    root: bytes = b""

    @property
    def home(self) -> Path:
        return self.world.folder / DATA

    def lose(self) -> None:
        """The disk is gone; keys and configuration are there from elsewhere."""
        for name in self.home.glob("node.db*"):
            name.unlink()

    async def start(self) -> Any:
        """The node serves, and its consumers' venue has noticed."""
        node = await self.world.network.start(DATA)
        await until(self._is_heard)
        return node

    async def _is_heard(self) -> bool:
        await self.world[HOME].venue.peers.get(DATA).check_health(timeout_s=2)
        return self.world[DATA].follower.age_s(HOME) < 3

    async def stop(self) -> None:
        """Stop the node once every mirror has all that it signed."""

        async def whole() -> bool:
            return await is_mirrored(self.world, HOME) and await is_mirrored(self.world, FAR)

        await until(whole)
        self.size, self.root = self.world.size(DATA), self.world[DATA].venue.store.head().root
        await self.world.network.stop(DATA)


async def read(agreement: Any) -> int:
    return int((await agreement.sql("select id from t limit 2").to_arrow()).num_rows)


async def is_mirrored(world: World, at: str) -> bool:
    size = world.size(DATA)
    copy = await world[at].venue.store.read(lambda view: view.mirrors.head(log_origin(DATA)))
    return copy is not None and copy.size == size and world[DATA].publisher.newest.checkpoint.size == size


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def day(tmp_path_factory: pytest.TempPathFactory):
    """One story for the file; each test leaves the node stopped, with a log that every mirror has."""
    tmp_path = tmp_path_factory.mktemp("recovery")
    write_tables(tmp_path)
    async with Network(tmp_path) as network:
        world = World(network, tmp_path)
        await network.start(DATA, area="5200", subject="915200000000000001")
        await network.start(HOME)
        await network.start(FAR, level="INDUSTRY", area="3100")
        await network.peer(DATA, HOME)
        await network.peer(DATA, FAR)
        bureau = await world.join(DATA, "bureau", "PROVIDER", "CONSUMER")
        local = await world.join(DATA, "local", "CONSUMER")
        acme = await world.join(HOME, "acme", "CONSUMER")
        await world.publish(bureau, product_text("small", ("open", "few")), "small")
        before = await world.agree(acme, f"{DATA}/small", "few")
        own = await local.negotiate(f"{DATA}/small", offer="few")
        await read(before)
        async with aio.operator(tmp_path / DATA) as operator:
            await operator.call("AdminService/BackupStore", path=str(tmp_path / "b.tnb"))
        await read(before)
        after = await world.agree(acme, f"{DATA}/small", "few")
        await read(after)
        await read(own)
        raw = ticket(acme, before, "select id from t limit 2").raw
        await acme.connection.home.read(raw, timeout_s=60)
        made = Day(world, tmp_path / "b.tnb", before, after, own, raw)
        await made.stop()
        yield made
        for client in world.clients.values():
            await client.aclose()


@pytest.fixture
def unsigned(day: Day, tmp_path: Path):
    """A test that starts no node: what it does to the home is undone, and nobody has seen it."""
    shutil.copytree(day.home, tmp_path / "home")
    yield
    shutil.rmtree(day.home)
    shutil.copytree(tmp_path / "home", day.home)


async def lost_and_restored(day: Day) -> None:
    """The backup is put where the lost store was."""
    day.lose()
    head = await maintenance.restore(day.home, day.backup, ALONE, environ={}, flags=FLAGS)
    assert head.size < day.size


async def recovered(day: Day, *names: str) -> Any:
    return await maintenance.recover(day.home, names or (HOME,), ALONE, environ={}, flags=FLAGS)


@pytest.mark.usefixtures("unsigned")
async def test_a_backup_of_somebody_else_is_not_restored(day: Day):
    with pytest.raises(TrustnodeError) as refused:
        await maintenance.restore(day.world.folder / HOME, day.backup, ALONE, environ={}, flags=FLAGS)
    assert refused.value.reason == "CONFIG_INVALID"


@pytest.mark.usefixtures("unsigned")
async def test_l6e_entries_that_were_shown_and_that_nobody_holds_are_no_reason_to_fork(day: Day):
    """The head record says that more was signed than the mirrors hold: the same log cannot go on."""
    record = record_path(day.home / "node.db")
    shown = record.read_text()
    ahead = shown.replace(f'"size":{day.size}', f'"size":{day.size + 3}')
    assert ahead != shown
    day.lose()
    record.write_text(ahead)
    await maintenance.restore(day.home, day.backup, ALONE, environ={}, flags=FLAGS)
    with pytest.raises(TrustnodeError, match="two histories") as refused:
        await recovered(day, HOME)
    assert "a mirror that holds more" in refused.value.next_step


@pytest.mark.usefixtures("unsigned")
async def test_a_mirror_that_lies_when_it_gives_back_is_refused(day: Day, monkeypatch: pytest.MonkeyPatch):
    await lost_and_restored(day)
    true = salvage.mirrored_log
    venue = day.world[HOME].venue

    def lying(lie: Any) -> None:
        async def asked(peer: Any, origin: str, first: int, limit: int, *, timeout_s: float) -> Any:
            page = await true(peer, origin, first, limit, timeout_s=timeout_s)
            return lie(page, limit) if peer.trust_domain == HOME else page

        monkeypatch.setattr(salvage, "mirrored_log", asked)

    other = await venue.store.read(lambda view: view.newest_checkpoint())
    lies = {
        "changed": lambda page, _: page._replace(lines=page.lines[1:] + page.lines[:1]),
        "none": lambda page, limit: page._replace(lines=()) if limit else page,
        "more than signed": lambda page, _: page._replace(size=10**9),
        "another log": lambda page, _: page._replace(checkpoint=other.note),
        "no note": lambda page, _: page._replace(checkpoint=b"x"),
    }
    for name, lie in lies.items():
        lying(lie)
        with pytest.raises(TrustnodeError) as refused:
            await recovered(day, HOME)
        assert refused.value.reason in ("VERIFICATION_FAILED", "NOT_FOUND"), name
    monkeypatch.setattr(salvage, "mirrored_log", true)
    # somebody else who tells the truth is enough, and the liar's statements are not missed for long
    report = await recovered(day, FAR, HOME)
    assert report.size == day.size
    assert report.statements[HOME] > 0


async def test_l5a_x12_a_restored_node_is_read_only_recovers_and_gives_no_quota_back(day: Day):
    await lost_and_restored(day)
    node = await day.world.network.start(DATA)
    assert "this store ends at entry" in node.venue.read_only
    assert f"has cosigned {day.size:,}" in node.venue.read_only
    with pytest.raises(TrustnodeError):
        await node.publisher.publish()
    with pytest.raises(TrustnodeError):
        await read(day.before)
    await day.world.network.stop(DATA)

    report = await recovered(day, HOME)
    assert report.size == day.size
    assert report.statements[HOME] > 0
    assert report.waiting == (day.local.id,)
    assert report.silent
    assert "statements that nobody gave" in (day.home / maintenance.REPORT_FILE).read_text()

    node = await day.start()
    assert node.venue.read_only == ""
    assert await node.venue.store.read(lambda view: view.evidence.root(day.size)) == day.root
    [entry] = [one for one in await day.world.log_since(DATA, day.size) if one.type == "log.recover"]
    assert (entry.amount, entry.unit) == (report.entries, "entries")
    assert await node.venue.store.check() == []

    # the quota: five in all, three were used, two of them after the backup
    assert [await read(day.before), await read(day.before)] == [2, 2]
    with pytest.raises(QuotaExceeded):
        await read(day.before)
    # the request id of an access after the backup is known
    with pytest.raises(TrustnodeError) as again:
        await day.world.clients["acme"].connection.home.read(day.raw, timeout_s=60)
    assert again.value.reason in ("REPLAYED", "QUOTA_TOTAL", "QUOTA_AGREED", "DUPLICATE")
    # the agreement made after the backup performs, the one of which nobody can tell how much was used waits
    assert await read(day.after) == 2
    assert (await day.world.state(DATA, AgreementState, day.after.id)).state == "PERFORMING"
    assert (await day.world.state(DATA, AgreementState, day.local.id)).state == "SUSPENDED"
    # and deals go on, in one log that every mirror follows
    more = await day.world.agree(day.world.clients["acme"], f"{DATA}/small", "open")
    assert await read(more) == 2
    await day.stop()


async def test_a_backup_that_is_as_new_as_every_mirror_goes_on_by_itself(day: Day):
    fresh = day.world.folder / "fresh.tnb"
    shutil.copyfile(day.home / "node.db", fresh)
    await maintenance.restore(day.home, fresh, ALONE, environ={}, flags=FLAGS)
    size = day.size
    node = await day.start()

    async def says_so() -> bool:
        return any(one.type == "log.recover" for one in await day.world.log_since(DATA, size))

    await until(says_so)
    assert not node.venue.read_only
    assert await read(day.after) == 2
    assert list(day.home.glob("node.db.replaced-*"))
    await day.stop()


async def test_a_lost_store_comes_back_from_a_card_and_its_fingerprint(day: Day):
    day.lose()
    card = day.world.card(HOME)
    with pytest.raises(TrustnodeError) as refused:
        await maintenance.recover(
            day.home, (), ALONE, mirrors=[maintenance.Mirror(card, "0000-" * 7 + "0000")], environ={}, flags=FLAGS
        )
    assert refused.value.reason == "FINGERPRINT_MISMATCH"
    mirrors = [maintenance.Mirror(one, fingerprint(one)) for one in (card, day.world.card(FAR))]
    report = await maintenance.recover(day.home, (), ALONE, mirrors=mirrors, environ={}, flags=FLAGS)
    assert (report.first, report.size) == (0, day.size)
    node = await day.start()
    assert await node.venue.store.read(lambda view: view.evidence.root(day.size)) == day.root
    assert await node.venue.store.check() == []
    for mirror in (HOME, FAR):
        assert (await day.world.state(DATA, salvage.PeeringState, mirror)).state == "APPROVED"
    assert (await day.world.state(DATA, AgreementState, day.after.id)).state == "PERFORMING"
    await day.stop()
