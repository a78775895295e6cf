"""Day 13, the hard end: a store came back without its last entries, no mirror has them, the log is closed (surface 6)."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from federation.test_two_people import People
from federation.world import DATA, HOME, AgreementState, World, product_text, until, write_tables
from unit.evidence import naive

from trustnode import maintenance
from trustnode.app import succession, witness
from trustnode.app.history import log_number
from trustnode.app.recovery import Order
from trustnode.core import envelope
from trustnode.core.evidence.bundle import pack, unpack
from trustnode.core.evidence.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from trustnode.core.evidence.note import line_keys
from trustnode.core.evidence.tree import leaf_hash, prove_consistency
from trustnode.core.evidence.verify import verify_bundle
from trustnode.core.evidence.witness import AddCheckpoint
from trustnode.core.identity import fingerprint, log_origin
from trustnode.errors import TrustnodeError
from trustnode.keys import FileSigner, read_card
from trustnode.testing.network import Network

pytestmark = pytest.mark.asyncio(loop_scope="module")
FLAGS = {"disk.reserve_mb": 0}
OPEN = ("CATALOG", "CONTRACT", "ACCESS")
"""A peering without EVIDENCE: each cosigns the other's log, and none keeps a copy of it."""
FIRST, SECOND = log_origin(DATA), log_origin(DATA, 2)


@dataclass
class Day:
    """The venue whose log is to be closed, restored and stopped."""

    world: World
    people: People
    before: Any
    """Agreement of the backup; one of its two reads came after the backup, and is lost here."""
    quiet: Any
    """Agreement of the backup of which no entry is lost."""
    old_bundle: bytes
    old_anchors: dict[str, str]
    old_key: FileSigner
    leaves: list[bytes]
    """Leaf hashes of the log that is lost."""
    size: int
    """Entries that were cosigned."""
    held: int = 0
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.world.folder / DATA

    @property
    def anchors(self) -> dict[str, str]:
        return {domain: fingerprint(self.world.card(domain)) for domain in (DATA, HOME)}

    async def copied(self, name: str) -> Path:
        """The home as it is now, to do something to."""
        shutil.copytree(self.home, self.world.folder / name, ignore=shutil.ignore_patterns("run"))
        return self.world.folder / name

    async def bundle(self, agreement: Any) -> bytes:
        file = self.world.folder / f"{agreement.id}.bundle"
        return (await self.world.clients["acme"].bundle(agreement.id, file)).read_bytes()

    async def start(self) -> Any:
        node = await self.world.network.start(DATA)

        async def heard() -> bool:
            await self.world[HOME].venue.peers.get(DATA).check_health(timeout_s=2)
            return self.world[DATA].follower.age_s(HOME) < 3

        await until(heard)
        return node


async def read(agreement: Any) -> int:
    return int((await agreement.sql("select id from t limit 2").to_arrow()).num_rows)


async def cosigned(world: World) -> int:
    """Wait until HOME has cosigned all that DATA has logged, and DATA shows it."""

    async def all_of_it() -> bool:
        venue = world[DATA].venue
        held = await world[HOME].venue.store.read(lambda view: view.witnessed(venue.log_origin))
        newest = world[DATA].publisher.newest
        shown = newest is not None and len(line_keys(newest.note)) > 1 and newest.checkpoint.size == held.size
        return shown and held.size == venue.store.head().size

    await until(all_of_it)
    return world[DATA].venue.store.head().size


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def day(tmp_path_factory: pytest.TempPathFactory):
    """One story for the file: backup, deals, the disk is lost, the backup comes back."""
    tmp_path = tmp_path_factory.mktemp("succession")
    write_tables(tmp_path)
    async with Network(tmp_path) as network:
        world = World(network, tmp_path)
        await network.start(DATA, area="5200", subject="915200000000000001")
        await network.start(HOME)
        await network.peer(DATA, HOME, scopes=OPEN)
        bureau = await world.join(DATA, "bureau", "PROVIDER")
        acme = await world.join(HOME, "acme", "CONSUMER")
        await world.publish(bureau, product_text("small", ("open", "few")), "small")
        before = await world.agree(acme, f"{DATA}/small", "few")
        await read(before)
        quiet = await world.agree(acme, f"{DATA}/small", "open")
        await read(quiet)
        people = People(tmp_path, tmp_path / DATA)
        await people.types("li", "admin", "add", "li", "--role", "SYSTEM")
        wang = (await people.types("wang", "admin", "key"))["key"]
        await people.types("li", "admin", "add", "wang", "--role", "SECURITY", "--key", wang)
        await people.types("li", "backup", "create", "-o", str(tmp_path / "b.tnb"))
        await read(before)
        await cosigned(world)
        made = Day(
            world, people, before, quiet, b"", {}, FileSigner.load(tmp_path / DATA / "keys" / "log.key"), [], 0
        )  # fmt: skip
        made.old_bundle, made.old_anchors = await made.bundle(before), made.anchors
        made.size = await cosigned(world)
        entries = await world[DATA].venue.store.read(lambda view: view.evidence.entries(0))
        made.leaves = [leaf_hash(one.data) for one in entries]
        assert len(made.leaves) == made.size
        await network.stop(DATA)
        for name in made.home.glob("node.db*"):
            name.unlink()
        restored = await maintenance.restore(made.home, tmp_path / "b.tnb", Order(None), environ={}, flags=FLAGS)
        made.held = restored.size
        yield made
        for client in world.clients.values():
            await client.aclose()


async def test_l5a_a_restored_node_that_no_mirror_can_help_signs_nothing(day: Day):
    assert verify_bundle(day.old_bundle, day.old_anchors).verdict == "VERIFIED"
    node = await day.world.network.start(DATA)
    assert f"has cosigned {day.size:,}" in node.venue.read_only
    with pytest.raises(TrustnodeError):
        await node.publisher.publish()
    await day.world.network.stop(DATA)
    with pytest.raises(TrustnodeError):
        await maintenance.recover(day.home, (HOME,), Order(None), environ={}, flags=FLAGS)
    day.kept["old home"] = await day.copied("old")


async def test_one_person_is_not_enough_and_an_approval_is_for_one_loss(day: Day):
    types, words = day.people.types, ("log", "succeed", "--yes")
    assert (await types("li", *words, "--alone", status=2))["error"]["reason"] == "USAGE"
    assert (await types("stranger", *words, status=11))["error"]["reason"] == "IDENTITY_UNKNOWN"
    waits = await types("li", *words, status=10)
    assert waits["arguments"][:2] == [FIRST, str(day.size)]
    assert waits["arguments"][3] == str(day.held)
    assert (await types("li", "approve", waits["id"], status=3))["error"]["reason"] == "APPROVAL_MISSING"

    # wang signs in his own account; what he signed is for this size and no other
    signed = day.world.folder / "signed.act"
    shutil.copyfile(day.home / "acts" / f"{waits['id']}.act", signed)
    await types("wang", "approve", str(signed))
    document = envelope.decode(signed.read_bytes())
    origin, size, root, held = waits["arguments"]
    for arguments in ((origin, str(day.size - 1), root, held), (origin, size, root, str(day.held + 1))):
        with pytest.raises(TrustnodeError):
            maintenance.order_of(maintenance.Asked(day.home, "log.succeed", arguments, document))
        with pytest.raises(TrustnodeError, match="another loss"):
            await maintenance.succeed(day.home, arguments, Order(None), environ={}, flags=FLAGS)
    assert fingerprint(read_card(day.home)) == day.old_anchors[DATA]
    day.kept["act"], day.kept["arguments"] = waits["id"], waits["arguments"]


async def test_a_succession_that_is_cut_off_is_not_begun_or_is_finished(day: Day, monkeypatch: pytest.MonkeyPatch):
    how, order = {"environ": {}, "flags": FLAGS}, Order(None, "li", "wang")
    home = await day.copied("cut")
    old_card, old_key = read_card(home).digest, (home / "keys" / "log.key").read_bytes()

    async def no_power(*_: Any) -> Any:
        raise OSError("power is gone")

    with monkeypatch.context() as cut:
        cut.setattr(succession, "succeed", no_power)
        with pytest.raises(OSError, match="power"):
            await maintenance.succeed(home, day.kept["arguments"], order, **how)
    async with maintenance.opened(home, **how) as venue:
        assert (venue.log_origin, await venue.store.read(log_number)) == (FIRST, 1)
    assert (read_card(home).digest, (home / "keys" / "log.key").read_bytes()) == (old_card, old_key)

    for step in ("write_record", "write_card", "read_card", "none"):
        # behind the unit: whatever was not done yet is done by the next start
        with monkeypatch.context() as cut:
            if step != "none":
                cut.setattr(succession, step, lambda *_: (_ for _ in ()).throw(OSError("power is gone")))
            if step == "write_record":
                with pytest.raises(OSError, match="power"):
                    await maintenance.succeed(home, day.kept["arguments"], order, **how)
            elif step != "none":
                with pytest.raises(OSError, match="power"):
                    async with maintenance.opened(home, **how):
                        pass
    async with maintenance.opened(home, **how) as venue:
        assert (venue.log_origin, await venue.store.read(log_number)) == (SECOND, 2)
        assert venue.store.read_only == ""
        assert venue.log_key.public != day.old_key.public
        assert await venue.store.check() == []
    assert not list((home / "keys").glob("log.old*"))
    assert not (home / succession.STAGED_CARD).exists()


async def test_two_people_close_the_log_and_peers_cosign_the_next_one(day: Day):
    done = await day.people.types("wang", "approve", day.kept["act"])
    assert (done["closed"], done["origin"]) == (FIRST, SECOND)
    assert (done["size"], done["held"], done["lost"]) == (day.size, day.held, day.size - day.held)
    assert (done["asked_by"], done["approved_by"]) == ("li", "wang")
    assert set(done["suspended"]) == {day.before.id, day.quiet.id}

    node = await day.start()
    assert node.venue.read_only == ""
    await cosigned(day.world)
    assert day.world[HOME].venue.keyring.log_number(DATA) == 2
    assert node.publisher.newest.checkpoint.origin == SECOND
    keys = witness.log_keys(day.world[HOME].venue, DATA)
    witnesses = witness.witness_keys(node.venue, HOME)
    assert open_checkpoint(node.publisher.newest.note, keys, witnesses, quorum=1).checkpoint.origin == SECOND
    entry = (await day.world.log_since(DATA, day.held))[0]
    assert (entry.type, entry.amount, entry.previous_object) == ("log.succeed", day.size, FIRST)
    assert entry.actor == "operator/li+wang"
    held = await day.world[HOME].venue.store.read(lambda view: view.witnessed(FIRST))
    assert (held.size, held.root.hex()) == (day.size, entry.previous_link)
    assert await node.venue.store.check() == []


async def test_old_agreements_wait_go_on_and_verify_as_far_as_they_are_there(day: Day):
    for agreement in (day.quiet, day.before):
        with pytest.raises(TrustnodeError):
            await read(agreement)
        await day.people.types("li", "agreement", "resume", agreement.id)
        assert (await day.world.state(DATA, AgreementState, agreement.id)).state == "PERFORMING"
        assert await read(agreement) == 2
    await cosigned(day.world)
    lost = day.size - day.held
    remark = f"log 2 of {DATA} follows log 1, closed at {day.size:,}; it holds {day.held:,}: {lost:,} entries are lost"
    result = verify_bundle(await day.bundle(day.quiet), day.anchors)
    assert result.verdict == "VERIFIED", result.findings
    assert remark in result.remarks
    # without the entry that opened the log, who was to witness it is not shown
    contents = unpack(await day.bundle(day.quiet))
    part = contents.parts[DATA]
    opened = next(one for one in part.published if '"log.succeed"' in one.statement)
    fewer = tuple(one for one in part.published if one != opened)
    proofs = {index: proof for index, proof in part.proofs.items() if index != opened.index}
    seals = {index: proof for index, proof in part.seals.items() if index != opened.index}
    cut = dataclasses.replace(part, published=fewer, proofs=proofs, seals=seals)
    without = pack(dataclasses.replace(contents, parts={**contents.parts, DATA: cut}))
    result = verify_bundle(without, day.anchors)
    assert result.verdict == "UNWITNESSED", result.findings
    assert f"how log 2 of {DATA} follows log 1 is not shown" in {one.message for one in result.findings}
    # a loss hides nothing: what the consumer's log has of it is missing in the provider's, and is said to be
    result = verify_bundle(await day.bundle(day.before), day.anchors)
    assert result.verdict == "INCOMPLETE"
    assert {finding.step for finding in result.findings} == {11}
    assert remark in result.remarks
    assert verify_bundle(day.old_bundle, day.old_anchors).verdict == "VERIFIED"


async def test_a_new_deal_is_made_and_verifies_under_the_next_log(day: Day):
    after = await day.world.agree(day.world.clients["acme"], f"{DATA}/small", "open")
    assert await read(after) == 2
    await cosigned(day.world)
    result = verify_bundle(await day.bundle(after), day.anchors)
    assert result.verdict == "VERIFIED", result.findings
    assert not any("follows log 1" in one for one in result.remarks)


async def test_l7a_the_key_of_a_closed_log_signs_nothing_that_a_peer_accepts(day: Day):
    home, key = day.world[HOME].venue, day.old_key

    async def answer(origin: str, size: int, old: int) -> Any:
        note = sign_checkpoint(Checkpoint(origin, size, bytes(32)), key.public, key.sign)
        return await witness.add_checkpoint(home, AddCheckpoint(old, (), note).body, source=DATA)

    grown = await day.world[HOME].venue.store.read(lambda view: view.witnessed(FIRST))
    assert (await answer(SECOND, 10**6, 0)).status == 403
    assert (await answer(log_origin(DATA, 3), 10**6, 0)).status == 404
    assert (await answer(FIRST, day.size, day.size)).status == 422
    assert (await answer(FIRST, day.size + 5, day.size)).status != 200
    forks = await home.store.read(lambda view: view.forks(FIRST))
    assert {one.size for one in forks} == {day.size, day.size + 5}
    assert [one.proven for one in forks if one.size == day.size] == [True]
    assert await home.store.read(lambda view: view.witnessed(FIRST)) == grown


async def test_l7b_a_closed_log_that_grows_is_refused_and_kept_although_it_is_consistent(day: Day):
    """What the old disk would have signed next: consistent, and yet nothing follows in a log that is closed."""
    home, key = day.world[HOME].venue, day.old_key
    held = await home.store.read(lambda view: view.witnessed(FIRST))
    log = [*day.leaves[: held.size], leaf_hash(bytes(32))]
    root, proof = naive.mth(log), prove_consistency(held.size, len(log), naive.reader(log))
    note = sign_checkpoint(Checkpoint(FIRST, len(log), root), key.public, key.sign)
    answer = await witness.add_checkpoint(home, AddCheckpoint(held.size, tuple(proof), note).body, source=DATA)
    assert (answer.status, answer.held) == (403, held.note)
    assert b"log 2 of gz.example follows it" in answer.body
    assert any(one.shown == note for one in await home.store.read(lambda view: view.forks(FIRST)))
    assert await home.store.read(lambda view: view.witnessed(FIRST)) == held


async def test_l5a_a_node_with_the_store_of_a_closed_log_is_refused(day: Day):
    """The old disk is found again, or a copy of the backup with the new keys: neither may go on."""
    await cosigned(day.world)
    await day.world.network.stop(DATA)
    shutil.move(day.home, day.world.folder / "good")
    shutil.copytree(day.kept["old home"], day.home)
    node = await day.world.network.start(DATA)
    said = (f"has cosigned {day.size:,}", "holds version 2")
    assert any(words in node.venue.read_only for words in said), node.venue.read_only
    await day.world.network.stop(DATA)

    shutil.rmtree(day.home)
    shutil.copytree(day.world.folder / "good", day.home, ignore=shutil.ignore_patterns("node.db*"))
    shutil.copyfile(day.world.folder / "b.tnb", day.home / "node.db")
    async with maintenance.opened(day.kept["old home"], environ={}, flags=FLAGS) as venue:
        head = {"root": venue.store.head().root.hex(), "size": venue.store.head().size, "time": venue.clock.now()}
    (day.home / "node.db.head").write_text(json.dumps(head, sort_keys=True, separators=(",", ":")))
    node = await day.world.network.start(DATA)
    assert "is of log 1" in node.venue.read_only
    await day.world.network.stop(DATA)

    shutil.rmtree(day.home)
    shutil.move(day.world.folder / "good", day.home)
    node = await day.start()
    assert node.venue.read_only == ""
    assert await read(day.before) == 2


async def test_only_a_succession_opens_the_next_log_and_not_where_nothing_is_lost(day: Day):
    await day.world.network.stop(DATA)
    refused = await day.people.types("li", "log", "succeed", "--yes", status=5)
    assert "nothing of" in refused["error"]["message"]
    card = await day.people.types("li", "card", "next")
    assert card["installed"]
    async with maintenance.opened(day.home, environ={}, flags=FLAGS) as venue:
        assert venue.log_origin == SECOND


# --- without deals: who may help, whose word is asked, where the roots are --------------------------------------------


async def behind(network: Network, folder: Path, *, scopes: tuple[str, ...]) -> tuple[People, Path]:
    """A venue whose store went back by some entries that its peer has cosigned; stopped."""
    home, people = folder / DATA, People(folder, folder / DATA)
    await network.start(DATA)
    await network.start(HOME)
    await network.peer(DATA, HOME, scopes=scopes)
    world = World(network, folder)
    await cosigned(world)
    await people.types("li", "backup", "create", "-o", str(folder / "b.tnb"))
    await network[DATA].venue.store.write(
        lambda tx: tx.log("node", DATA, "status.event"), event_id="", returns=type(None)
    )
    await cosigned(world)
    if "EVIDENCE" in scopes:

        async def copied() -> bool:
            copy = await network[HOME].venue.store.read(lambda view: view.mirrors.head(FIRST))
            return copy is not None and copy.size == network[DATA].venue.store.head().size

        await until(copied)
    await network.stop(DATA)
    for name in home.glob("node.db*"):
        if name.suffix != ".head":
            name.unlink()
    await maintenance.restore(home, folder / "b.tnb", Order(None), environ={}, flags=FLAGS)
    return people, home


async def test_a_log_that_a_mirror_can_give_back_is_not_closed(tmp_path: Path):
    async with Network(tmp_path) as network:
        people, _ = await behind(network, tmp_path, scopes=(*OPEN, "EVIDENCE"))
        refused = (await people.types("li", "log", "succeed", "--yes", "--alone", status=5))["error"]
        assert refused["reason"] == "ILLEGAL_TRANSITION"
        assert refused["next_step"] == f"trustnode log recover --from {HOME}"
        # nor is it while the mirror is silent: only an operator may say that it never comes back
        await network.stop(HOME)
        silent = (await people.types("li", "log", "succeed", "--yes", "--alone", status=6))["error"]
        assert f"--without {HOME}" in silent["next_step"]


async def test_one_operator_closes_a_log_alone_with_roots_that_are_elsewhere(tmp_path: Path):
    async with Network(tmp_path) as network:
        people, home = await behind(network, tmp_path, scopes=(*OPEN, "EVIDENCE"))
        size = int(json.loads((home / "node.db.head").read_text())["size"])
        await network.stop(HOME)
        shutil.move(home / "root.key", tmp_path / "root.key")  # it lies in a safe
        words = ("log", "succeed", "--yes", "--without", HOME)
        draft = str(tmp_path / "log-2.draft")
        assert (await people.types("li", *words, "--alone", "--draft", draft, status=10))["draft"] == draft
        missing = (await people.types("li", *words, "--alone", "--card", draft, status=7))["error"]
        assert missing["reason"] == "SIGNATURE_INVALID"
        signed = await people.types("safe", "card", "sign", draft, "--key", str(tmp_path / "root.key"))
        assert signed["complete"]
        refused = (await people.types("li", "card", "install", draft, status=5))["error"]
        assert refused["next_step"].endswith("trustnode log succeed")
        assert (await people.types("li", *words, "--card", draft, status=3))["error"]["reason"] == "APPROVAL_MISSING"
        done = await people.types("li", *words, "--alone", "--card", draft)
        # nobody answers, but the head record beside the store says how far the log was shown
        assert (done["size"], done["approved_by"]) == (size, "")
        assert done["lost"] > 0
        await network.start(HOME)
        node = await network.start(DATA)
        assert node.venue.read_only == ""
        await cosigned(World(network, tmp_path))
        assert network[HOME].venue.keyring.log_origin(DATA) == SECOND
        [key] = (await people.types("li", "peer", "card", "--vkey", "log"))["vkeys"]
        assert key.startswith(f"{SECOND}+")

        # the mirror that was silent begins the next log anew, and keeps what it has of the closed one
        async def copied() -> bool:
            head = await network[HOME].venue.store.read(lambda view: view.mirrors.head(SECOND))
            return head is not None and head.size == network[DATA].venue.store.head().size

        await until(copied)
        assert (await network[HOME].venue.store.read(lambda view: view.mirrors.head(FIRST))).size == size
