"""What two people do to one node, as they type it: operators, a restore, a recovery (surface 2 and 6)."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trustnode import aio
from trustnode.cli.root import root
from trustnode.core.identity import log_origin
from trustnode.testing.network import Network, until

pytestmark = pytest.mark.asyncio(loop_scope="function")
GZ, ZJ = "gz.example", "zj.example"


class People:
    """Accounts on the machine of a node, each with its own configuration."""

    def __init__(self, folder: Path, home: Path) -> None:
        self._folder, self._home = folder, home

    async def types(self, who: str, *words: str, status: int = 0) -> Any:
        environment = {"XDG_CONFIG_HOME": str(self._folder / who), "TRUSTNODE_PROFILES": ""}
        done = await asyncio.to_thread(
            CliRunner().invoke, root, [*words, "--home", str(self._home), "--json"], env=environment
        )
        assert done.exit_code == status, (done.exit_code, done.output)
        written = done.stdout if status in (0, 9, 10) else done.stderr
        return json.loads(written.strip().splitlines()[-1])  # the nodes of this process log before it


async def test_an_act_that_reaches_far_takes_two_people(tmp_path: Path):
    home, backup = tmp_path / GZ, tmp_path / "b.tnb"
    people = People(tmp_path, home)
    async with Network(tmp_path) as network:
        await network.start(GZ, area="5200", subject="915200000000000001")
        await network.start(ZJ)
        await network.peer(GZ, ZJ)

        # people: the first adds himself, the second's key comes from another account, the third takes both
        await people.types("li", "admin", "add", "li", "--role", "SYSTEM")
        wang = (await people.types("wang", "admin", "key"))["key"]
        assert [one["name"] for one in (await people.types("li", "admin", "list"))["items"]] == ["li"]
        await people.types("li", "admin", "add", "wang", "--role", "SECURITY", "--key", wang)
        zhao = (await people.types("zhao", "admin", "key"))["key"]
        waits = await people.types("li", "admin", "add", "zhao", "--role", "AUDIT", "--key", zhao, status=10)
        assert (await people.types("li", "approve", waits["id"], status=3))["error"]["reason"] == "APPROVAL_MISSING"
        assert len((await people.types("wang", "approve", waits["id"]))["operators"]) == 3
        assert (await people.types("li", "admin", "add", "li", "--role", "AUDIT", "--key", wang, status=10))["id"]

        # a backup, tested; the status says both, and who mirrors the log
        await people.types("li", "backup", "create", "-o", str(backup))
        await people.types("li", "backup", "test", str(backup))
        [listed] = (await people.types("li", "backup", "list"))["items"]
        assert listed["tested_at"]
        await aio_invite(home)

        async def mirrored() -> bool:
            copy = await network[ZJ].venue.store.read(lambda view: view.mirrors.head(log_origin(GZ)))
            size = network[GZ].venue.store.head().size
            return copy is not None and copy.size == size == network[GZ].publisher.newest.checkpoint.size

        await until(mirrored)
        status = await people.types("li", "status", status=9)
        assert status["backup_at"]
        assert status["backup_tested_at"]
        assert [one["trust_domain"] for one in status["log"]["mirrors"]] == [ZJ]
        size = network[GZ].venue.store.head().size
        await network.stop(GZ)

        # restore: one asks, another one approves; alone is not offered to two
        asks = ("backup", "restore", str(backup))
        assert (await people.types("li", *asks, "--alone", status=2))["error"]["reason"] == "USAGE"
        assert (await people.types("stranger", *asks, status=11))["error"]["reason"] == "IDENTITY_UNKNOWN"
        waits = await people.types("li", *asks, status=10)
        assert (await people.types("stranger", "approve", waits["id"], status=11))["error"]
        done = await people.types("zhao", "approve", waits["id"])
        assert (done["asked_by"], done["approved_by"]) == ("li", "zhao")
        assert done["entries"] < size

        # recover: the same
        waits = await people.types("wang", "log", "recover", "--from", ZJ, status=10)
        act, elsewhere = home / "acts" / f"{waits['id']}.act", tmp_path / "signed-elsewhere.act"
        shutil.copyfile(act, elsewhere)  # li cannot write into the folder of the node
        assert (await people.types("wang", "approve", str(elsewhere), status=3))["error"]
        await people.types("li", "approve", str(elsewhere))
        assert (await people.types("wang", "log", "recover", "--from", ZJ, status=10))["id"] == waits["id"]
        shutil.copyfile(elsewhere, act)
        done = await people.types("wang", "log", "recover", "--from", ZJ)
        assert (done["size"], done["asked_by"], done["approved_by"]) == (size, "wang", "li")
        assert not list((home / "acts").glob(f"{waits['id']}.act"))
        node = await network.start(GZ)
        assert node.venue.read_only == ""
        entries = await node.venue.store.read(lambda view: view.evidence.chain("node", GZ))
        [recovery] = [one.statement for one in entries if one.statement and b'"log.recover"' in one.statement]
        assert b'"actor":"operator/wang+li"' in recovery
        assert recovery.count(b"documents") == 1


async def aio_invite(home: Path) -> None:
    """Something that the backup does not have."""
    async with aio.operator(home) as operator:
        await operator.call("AdminService/InviteParticipant", name="late", roles=("CONSUMER",), title="late")


async def test_a_venue_that_nobody_mirrors_goes_on_only_by_its_own_head_record(tmp_path: Path):
    home, backup = tmp_path / GZ, tmp_path / "b.tnb"
    people = People(tmp_path, home)
    async with Network(tmp_path) as network:
        await network.start(GZ)
        await people.types("li", "backup", "create", "-o", str(backup))
        await network.stop(GZ)

        # the disk is gone, and with it the record of what was shown
        for name in home.glob("node.db*"):
            name.unlink()
        refused = await people.types("li", "backup", "restore", str(backup), status=3)
        assert refused["error"]["reason"] == "APPROVAL_MISSING"
        await people.types("li", "backup", "restore", str(backup), "--alone")
        node = await network.start(GZ)

        async def says_why() -> bool:
            return "nobody mirrors this log" in node.venue.read_only

        await until(says_why)
        status = await people.types("li", "status", status=9)
        assert status["state"] == "READ_ONLY"
        await network.stop(GZ)

        # the disk is there, its record says that the backup holds all that was ever shown
        await people.types("li", "backup", "restore", str(backup), "--alone")
        node = await network.start(GZ)

        async def says_so() -> bool:
            entries = await node.venue.store.read(lambda view: view.evidence.chain("node", GZ))
            return any(b'"actor":"operator/alone"' in one.statement for one in entries if one.statement)

        await until(says_so)
        assert not node.venue.read_only


async def test_a_new_authority_and_taking_all_keys_back_take_two_people(tmp_path: Path):
    home = tmp_path / GZ
    people = People(tmp_path, home)
    async with Network(tmp_path) as network:
        node = await network.start(GZ)

        # one person alone has to say so
        asks = ("key", "rotate", "authority")
        assert (await people.types("li", *asks, status=3))["error"]["reason"] == "APPROVAL_MISSING"
        await people.types("li", *asks, "--alone")
        assert await acts_of(node, b'"identity.update"') == [b"operator/alone"]

        await people.types("li", "admin", "add", "li", "--role", "SYSTEM")
        wang = (await people.types("wang", "admin", "key"))["key"]
        await people.types("li", "admin", "add", "wang", "--role", "SECURITY", "--key", wang)
        await until(lambda: _is_settled(node))
        root = node.keys.authority.root
        assert (await people.types("li", *asks, "--alone", status=2))["error"]["reason"] == "USAGE"
        waits = await people.types("li", *asks, status=10)
        assert not (home / "keys" / "ca.next.pem").exists()
        assert (await people.types("li", "approve", waits["id"], status=3))["error"]["reason"] == "APPROVAL_MISSING"
        done = await people.types("wang", "approve", waits["id"])
        assert done["installed"]
        await until(lambda: _is_settled(node))
        assert node.keys.authority.root != root
        assert (await acts_of(node, b'"identity.update"'))[1:] == [b"operator/li+wang"]

        # the same with the node down; it is written down when it runs again, and once
        await network.stop(GZ)
        asks = ("key", "revoke", "all", "--invalid-from", "2026-01-01T00:00Z", "--yes")
        waits = await people.types("wang", *asks, status=10)
        kept = (home / "acts" / f"{waits['id']}.act").read_bytes()
        await people.types("li", "approve", waits["id"])
        (home / "acts" / f"{waits['id']}.act").write_bytes(kept)
        assert (await people.types("li", "approve", waits["id"], status=5))["error"]["reason"] == "REPLAYED"
        (home / "acts" / "AAAAAAAA.carried").write_bytes(b"no act at all")
        for _ in range(2):
            node = await network.start(GZ)
            assert await acts_of(node, b'"identity.revoke"') == [b"operator/wang+li"]
            await network.stop(GZ)
        assert [path.name for path in (home / "acts").glob("*.carried")] == ["AAAAAAAA.carried"]


async def _is_settled(node: Any) -> bool:
    return not (node.home / "keys" / "ca.next.key").exists()


async def acts_of(node: Any, event: bytes) -> list[bytes]:
    """Who ordered, of each entry of an event that an operator caused."""
    entries = await node.venue.store.read(lambda view: view.evidence.chain("node", node.venue.domain))
    found = [one.statement for one in entries if one.statement and event in one.statement]
    return [one.partition(b'"actor":"')[2].partition(b'"')[0] for one in found if b'"actor":"operator/' in one]
