"""Days that go wrong: a participant's key, one certificate, a node's whole disk in other hands."""

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from federation.key_world import holds, install
from federation.world import DATA, HOME, World, product_text, ticket, write_tables

from trustnode import aio
from trustnode.core import clock
from trustnode.core.contract import AgreementState
from trustnode.core.document import decode, payload_type
from trustnode.core.identity import fingerprint
from trustnode.core.participant import ParticipantKey, ParticipantState
from trustnode.core.peering import Status
from trustnode.errors import TrustnodeError
from trustnode.testing.network import Network, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
QUERY = "select id from t where id < 5"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("stolen")
    write_tables(folder)
    async with Network(folder) as network:
        made = World(network, folder)
        await network.start(DATA, area="5200", subject="915200000000000001")
        await network.start(HOME)
        await network.peer(DATA, HOME)
        await made.join(DATA, "bureau", "PROVIDER")
        await made.join(HOME, "acme", "CONSUMER")
        await made.publish(made.clients["bureau"], product_text("small", ("open", "few")), "small")
        yield made
        for client in made.clients.values():
            await client.aclose()


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
