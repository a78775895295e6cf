"""Days that go wrong: a participant's key, one certificate, a node's whole disk in other hands."""

import asyncio
import hashlib
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from click.testing import CliRunner
from cryptography import x509
from federation.key_world import holds, impatient, install, next_version
from federation.world import DATA, HOME, World, product_text, ticket, two_venues

from trustnode import aio
from trustnode.app.status import counted
from trustnode.app.submission import submit
from trustnode.app.venue import Sender
from trustnode.cli.root import root
from trustnode.core import clock
from trustnode.core.contract import AgreementState
from trustnode.core.document import decode, payload_type, seal
from trustnode.core.identity import fingerprint
from trustnode.core.participant import ParticipantKey, ParticipantState
from trustnode.core.peering import Status, StatusEvent
from trustnode.errors import TrustnodeError
from trustnode.keys import load_node_keys, node_credential, write_card
from trustnode.keys.rotation import take_back
from trustnode.testing.network import until

STEALABLE = ("evidence", "log", "witness", "authority")
pytestmark = pytest.mark.asyncio(loop_scope="module")
QUERY = "select id from t where id < 5"


@pytest.fixture(scope="module")
def soon() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        impatient(patch)
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(soon: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with two_venues(tmp_path_factory.mktemp("stolen"), "open", "few") as made:
        yield made


async def tell(world: World, domain: str, *events: dict[str, str]) -> None:
    """What ``participant rekey`` and ``key revoke`` ask of the node."""
    now = world[domain].venue.clock.now()
    statement = {"aud": ["*"], "events": [{"effective": now, "state": "REVOKED", **event} for event in events]}
    async with aio.operator(world.folder / domain) as operator:
        await operator.issue(payload_type(Status), json.dumps(statement).encode())


async def refused(awaitable) -> str:
    with pytest.raises(TrustnodeError) as caught:
        await awaitable
    return caught.value.reason


async def _works(ask) -> bool:
    try:
        await ask()
    except TrustnodeError:
        return False
    return True


async def test_a_stolen_participant_key_is_revoked_at_the_peer_too_and_counters_go_on(world, tmp_path: Path) -> None:
    robbed = await world.join(HOME, "robbed", "CONSUMER")
    agreement = await world.agree(robbed, f"{DATA}/small", "few")
    await agreement.sql(QUERY).to_arrow()
    old, folder, name = robbed.profile.key_document, robbed.profile.folder, robbed.profile.participant
    shutil.copytree(folder, tmp_path / "thief")
    thief = aio.connect(tmp_path / "thief")
    kid = robbed.profile.public_key.kid
    since = world[HOME].venue.clock.now()
    await tell(
        world, HOME, {"kind": "KEY_REVOKED", "subject": kid, "invalid_from": since},
        {"kind": "PARTICIPANT", "subject": name, "state": "SUSPENDED", "cause": "SYSTEM"},
    )  # fmt: skip
    assert await refused(thief.search("small")) == "IDENTITY_REVOKED"
    await world.in_state(DATA, ParticipantState, name, "SUSPENDED")
    await world.in_state(DATA, AgreementState, agreement.id, "SUSPENDED")
    assert world[DATA].venue.keyring.is_revoked(name, kid)

    async with aio.operator(world.folder / HOME) as operator:
        answer = await operator.call("AdminService/InviteParticipant", name="robbed", reissue=True)
    file = tmp_path / "robbed.invite"
    file.write_bytes(answer["invitation"])
    await robbed.aclose()
    profile = await aio.join(file, fingerprint(world.card(HOME)), folder=folder)
    document = decode(profile.key_document, ParticipantKey)
    assert document.previous == old.digest
    assert profile.public_key.kid != kid
    for domain in (HOME, DATA):
        await world.in_state(domain, AgreementState, agreement.id, "PERFORMING")

    again = aio.connect(profile.folder)
    held = await again.agreement(agreement.id)
    caller = world.node_caller(HOME, DATA)
    assert await refused(caller.read(ticket(thief, held).raw, timeout_s=10)) == "SIGNATURE_INVALID"
    for _ in range(4):
        await held.sql(QUERY).to_arrow()
    assert await refused(held.sql(QUERY).to_arrow()) == "QUOTA_AGREED"
    assert world[DATA].venue.keyring.key_documents[name].digest == profile.key_document.digest
    # The certificate was in the same folder as the key: it opens nothing either, though its holder is enrolled again.
    assert await refused(thief.search("small")) == "IDENTITY_REVOKED"
    for one in (thief, again):
        await one.aclose()
    await caller.channel.aclose()


async def test_a_peer_acknowledges_that_a_key_was_taken_back_and_writes_it_down_once(world, tmp_path: Path) -> None:
    await world.join(HOME, "forgetful", "CONSUMER")
    home, words = world.folder / HOME, ("participant", "rekey", "forgetful", "--lost", "--yes")
    before = await notices(world, DATA)
    done = await asyncio.to_thread(
        CliRunner().invoke, root, [*words, "-o", str(tmp_path / "i"), "--home", str(home)]
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "old key revoked here and at 1 peer in" in done.stderr
    assert f"acknowledged by {DATA} after" in done.stderr
    status = await world[HOME].venue.store.read(lambda view: counted(view, world[HOME].venue))
    assert [one.notice_waits_since for one in status.peers] == [""]

    async def followed() -> bool:
        venue = world[HOME].venue
        head = await venue.store.read(lambda view: view.feed_head("CONTROL", DATA))
        seen = await world[DATA].venue.store.read(lambda view: view.setting(f"follow/{HOME}/CONTROL"))
        return seen == str(head[0])

    await until(followed)  # the same notice came over the lane too
    assert await notices(world, DATA) == before + 1


async def notices(world: World, domain: str) -> int:
    entries = await world[domain].venue.store.read(lambda view: view.evidence.chain("node", domain))
    return sum(b'"status.event"' in (one.statement or b"") for one in entries)


async def test_a_new_key_that_does_not_name_the_old_one_is_no_replacement(world, tmp_path: Path) -> None:
    file = tmp_path / "acme.invite"
    async with aio.operator(world.folder / HOME) as operator:
        answer = await operator.call("AdminService/InviteParticipant", name="acme", reissue=True)
    file.write_bytes(answer["invitation"])
    mark = fingerprint(world.card(HOME))
    assert await refused(aio.join(file, mark, folder=tmp_path / "another")) == "HASH_MISMATCH"


async def test_i8_a_certificate_named_by_its_serial_is_refused_at_the_next_call_and_after_a_restart(world) -> None:
    denied = await world.join(HOME, "denied", "CONSUMER")
    await denied.search("small")
    leaf = x509.load_pem_x509_certificate((denied.profile.folder / "client.pem").read_bytes())
    await tell(world, HOME, {"kind": "CERT_DENIED", "subject": f"{leaf.serial_number:x}"})
    await until(lambda: _refused(denied))
    await world.clients["acme"].search("small")
    serial = (HOME, f"{leaf.serial_number:x}")
    await until(lambda: _holds(lambda: serial in world[DATA].trust.state.denied.serials))
    await world.network.stop(HOME)
    await world.network.start(HOME)
    await until(lambda: _refused(denied))


async def _refused(client) -> bool:
    try:
        await client.search("small")
    except TrustnodeError as refusal:
        return refusal.reason == "IDENTITY_REVOKED"
    return False


async def _holds(check) -> bool:
    return check()


async def test_an_ended_card_ends_streams_and_opens_nothing_new_until_the_next_one(world) -> None:
    acme, node = world.clients["acme"], world[DATA]
    await world.publish(
        world.clients["bureau"], product_text("big", ("open",), file="big", columns=("id", "filler")), "big"
    )
    agreement = await world.agree(acme, f"{DATA}/big")
    reader = agreement.reader("select * from t")
    await anext(aiter(reader))
    (stream,) = node.venue.streams._running.values()
    await stream.recheck()
    card = await install(node, expires=clock.shift(node.venue.clock.now(), 1.5))
    await holds(world.network, HOME, card)
    await until(lambda: _holds(lambda: _ended(node)))
    assert await refused(stream.recheck()) == "PEER_SUSPENDED"
    await reader.aclose()
    assert await refused(agreement.sql(QUERY).to_arrow()) == "PEER_SUSPENDED"
    assert await refused(acme.negotiate(f"{DATA}/small", offer="open")) == "PEER_SUSPENDED"
    assert any(alarm.message.startswith("our card ended") for alarm in node.status().alarms)
    await holds(world.network, HOME, await install(node))
    assert (await agreement.sql(QUERY).to_arrow()).num_rows == 5


def _ended(node) -> bool:
    return node.venue.keyring.cards[DATA].value.expires <= node.venue.clock.now()


async def test_after_a_stolen_disk_peers_follow_the_roots_refuse_the_thief_and_deals_go_on(world) -> None:
    """docs/operations/stolen-disk.md, step by step."""
    acme, bureau = world.clients["acme"], world.clients["bureau"]
    agreement = await world.agree(acme, f"{DATA}/small", "open")
    await agreement.sql(QUERY).to_arrow()
    home, thief = world.folder / DATA, world.folder / "thief"
    await world.network.stop(DATA)
    stolen_at = clock.shift(world[HOME].venue.clock.now(), -1)
    shutil.copytree(home, thief)
    (thief / "root.key").unlink()
    held = load_node_keys(thief, DATA, stolen_at)
    credential = node_credential(thief, held, "x", stolen_at)
    # The operator, with the root key, on a new machine: new keys, a card that lists them alone, and the node starts.
    for kind in ("pem", "key"):
        source = world.folder / HOME / "keys" / f"apply.{kind}"
        target = home / "keys" / "applicant" / f"{HOME}.{kind}"
        target.parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copy(source, target)
    take_back(home / "keys", STEALABLE, DATA, stolen_at, stolen_at)
    card = next_version(home)
    write_card(home, card)
    node = await world.network.start(DATA)
    await holds(world.network, HOME, card)
    other = world[HOME].venue
    for raw in (held.evidence.public, held.log.public, held.witness.public):
        kid = hashlib.sha256(raw).hexdigest()
        await until(lambda kid=kid: _holds(lambda: other.keyring.is_revoked(DATA, kid)))
        assert raw not in [one.public for one in (node.venue.evidence, node.venue.log_key, node.venue.witness_key)]
    # The thief: its certificate opens nothing, what it signs is nobody's word, whatever time it writes into it.
    caller = world.caller(HOME, credential)
    with pytest.raises(TrustnodeError) as refusal:
        await caller.check_health(timeout_s=5)
    assert refusal.value.reason in ("PEER_UNREACHABLE", "IDENTITY_WRONG_DOMAIN")
    await caller.channel.aclose()
    fields = other.fields("*", iss=DATA) | {"time": clock.shift(stolen_at, -3600)}
    event = StatusEvent(kind="PRODUCT", subject=f"{DATA}/small", state="REVOKED", effective=stolen_at)
    forged = seal(Status(events=(event,), **fields), held.evidence)
    assert await refused(submit(other, Sender("PEER", DATA), forged)) == "SIGNATURE_INVALID"
    assert await refused(bureau.search("small")) in ("PEER_UNREACHABLE", "IDENTITY_WRONG_DOMAIN")
    # Deals go on: the agreement that was signed before, and new ones.
    await until(lambda: _works(lambda: agreement.sql(QUERY).to_arrow()))
    async with aio.operator(home) as operator:
        answer = await operator.call("AdminService/InviteParticipant", name="bureau", reissue=True)
    file = world.folder / "bureau.invite"
    file.write_bytes(answer["invitation"])
    await aio.join(file, fingerprint(world.card(DATA)), folder=bureau.profile.folder)
    async with aio.connect(bureau.profile.folder) as back:
        await world.publish(back, product_text("after", ("open",)), "after")
    later = await world.agree(acme, f"{DATA}/after")
    assert (await later.sql(QUERY).to_arrow()).num_rows == 5
