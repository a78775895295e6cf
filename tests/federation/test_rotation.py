"""Every key of a node is replaced while sixteen callers read through it; none of them notices."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import msgspec
import pytest
import pytest_asyncio
from federation.key_world import holds, impatient, install
from federation.world import DATA, HOME, World, two_venues

from trustnode import aio
from trustnode.app import evidence
from trustnode.app.submission import submit
from trustnode.app.venue import Sender
from trustnode.core import clock
from trustnode.core.document import Signer, decode, seal
from trustnode.core.evidence.bundle import pack, unpack
from trustnode.core.evidence.checkpoint import open_checkpoint
from trustnode.core.evidence.note import ED25519, VerifierKey
from trustnode.core.evidence.report import Report
from trustnode.core.evidence.verify import verify_bundle
from trustnode.core.identity import fingerprint, log_origin
from trustnode.core.participant import ParticipantKey
from trustnode.core.peering import Status, StatusEvent
from trustnode.errors import TrustnodeError
from trustnode.keys import FileSigner, load_certificate_key, load_node_keys, make_csr
from trustnode.keys.rotation import KINDS, SIGNING, is_staged, promote, stage, take_back
from trustnode.node import Node
from trustnode.testing.network import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
CALLERS = 16
QUERY = "select id from t where id < 5"


@pytest.fixture(scope="module")
def soon() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        impatient(patch)
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(soon: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with two_venues(tmp_path_factory.mktemp("rotation"), "open") as made:
        yield made


class Callers:
    """Sixteen readers; what failed, and how many reads came through."""

    def __init__(self, agreement) -> None:
        self.agreement = agreement
        self.read = 0
        self.failed: list[str] = []

    async def one(self) -> None:
        while True:
            try:
                rows = await self.agreement.sql(QUERY).to_arrow()
                assert rows.num_rows == 5
                self.read += 1
            except TrustnodeError as failure:
                if failure.reason != "BUSY":  # the machine is full: that says nothing about keys
                    self.failed.append(f"{failure.reason}: {failure.message}")
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def reading(agreement) -> AsyncIterator[Callers]:
    callers = Callers(agreement)
    tasks = [asyncio.ensure_future(callers.one()) for _ in range(CALLERS)]
    try:
        await until(lambda: _more(callers, 0))
        yield callers
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _more(callers: Callers, than: int) -> bool:
    return callers.read >= than + CALLERS


async def rotate(world: World, node: Node, kind) -> None:
    """As an operator does it: a new key, the card that publishes it, later the card that drops the old one."""
    other = HOME if node.venue.domain == DATA else DATA
    stage(node.home / "keys", kind, node.venue.domain, node.venue.clock.now())
    if kind in (*SIGNING, "authority"):
        await holds(world.network, other, await install(node))
    else:
        await node.reload()

    async def in_use() -> bool:
        return not is_staged(node.home / "keys", kind)

    await until(in_use)
    if kind in SIGNING:
        await holds(world.network, other, await install(node))


def present(node: Node) -> dict[str, object]:
    venue, keys = node.venue, node.keys
    return {
        "evidence": venue.evidence.public, "log": venue.log_key.public, "witness": keys.witness.public,
        "authority": keys.authority.root, "intermediate": keys.authority.intermediate.certificate,
        "node": node.credential.leaf.public_key(),
    }  # fmt: skip


async def test_i6a_i6b_every_kind_of_key_is_replaced_at_both_nodes_without_a_failed_call(world) -> None:
    agreement = await world.agree(world.clients["acme"], f"{DATA}/small")
    async with reading(agreement) as callers:
        for domain in (DATA, HOME):
            for kind in KINDS if domain == DATA else ("evidence", "authority"):
                before, done = present(world[domain]), callers.read
                await rotate(world, world[domain], kind)
                await until(lambda done=done: _more(callers, done))
                assert present(world[domain])[kind] != before[kind], kind
                assert callers.failed == [], (domain, kind)
    assert callers.read > CALLERS * (len(KINDS) + 2)
    assert [path.name for path in (world.folder / DATA / "keys").glob("*.old.key")] == []
    await read_anew(world, agreement.id)


async def test_a_participant_replaces_its_document_key_while_it_reads(world) -> None:
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/small")
    old = acme.profile.key_document
    async with reading(agreement) as callers:
        made = await acme.connection.replace_key()
        async with aio.connect(made.folder) as client:
            again = await client.agreement(agreement.id)
            await until(lambda: _reads(again))
        await until(lambda done=callers.read: _more(callers, done))
        assert callers.failed == []
    document = decode(made.key_document, ParticipantKey)
    assert document.previous == old.digest
    assert world[DATA].venue.keyring.key_documents[made.participant].digest == made.key_document.digest
    # A certificate alone replaces no key: its successor carries the signature of the present one.
    stranger = FileSigner.generate()
    forged = seal(
        msgspec.structs.replace(document, public=stranger.public.hex(), previous=made.key_document.digest), stranger
    )
    csr = make_csr(load_certificate_key(made.folder / "client.key"))
    with pytest.raises(TrustnodeError) as refused:
        await acme.connection.call("ParticipantService/RenewCertificate", csr_der=csr, participant_key=forged)
    assert refused.value.reason == "SIGNATURE_INVALID"


async def read_anew(world: World, agreement: str) -> None:
    """A client that knows the first card alone, and so the former root alone, connects and reads."""
    async with aio.connect(world.clients["acme"].profile.folder) as client:
        found = await client.agreement(agreement)
        assert (await found.sql(QUERY).to_arrow()).num_rows == 5


async def bundle_bytes(world: World, agreement: str) -> bytes:
    node = world[DATA]
    return await evidence.bundle(node.venue, node.publisher, Sender("OPERATOR", DATA), agreement)


async def bundle_of(world: World, agreement: str) -> Report:
    return judged(world, await bundle_bytes(world, agreement))


def judged(world: World, data: bytes) -> Report:
    anchors = {domain: fingerprint(world[domain].venue.keyring.versions(domain)[0].document) for domain in (HOME, DATA)}
    return verify_bundle(data, anchors=anchors)


def wrong(report: Report) -> list[str]:
    """What a stranger would object to; that nobody cosigned these logs is not the question here."""
    return [one.message for one in report.findings if one.verdict != "UNWITNESSED"]


async def test_l12_the_log_is_signed_by_the_old_by_both_and_by_the_new_key(world) -> None:
    node = world[DATA]
    agreement = await world.agree(world.clients["acme"], f"{DATA}/small")
    old = node.venue.log_key.public
    notes = [(await node.publisher.publish()).note]
    stage(node.home / "keys", "log", DATA, node.venue.clock.now())
    new = node.keys.staged.next.get("log", load_node_keys(node.home, DATA, node.venue.clock.now()).staged.next["log"])
    await holds(world.network, HOME, await install(node))
    await until(lambda: _is(lambda: node.venue.log_key.public == new.public))
    assert {key.public for key in node.venue.log_keys_besides} == {old}
    notes.append((await node.publisher.publish()).note)
    during = await bundle_of(world, agreement.id)
    await holds(world.network, HOME, await install(node))
    await until(lambda: _is(lambda: node.venue.log_keys_besides == ()))
    await agreement.sql(QUERY).to_arrow()
    notes.append((await node.publisher.publish()).note)
    assert [verifies(note, old) for note in notes] == [True, True, False]
    assert [verifies(note, new.public) for note in notes] == [False, True, True]
    assert all(verifies(note, old, new.public) for note in notes)
    assert wrong(during) == wrong(await bundle_of(world, agreement.id)) == []
    assert not (node.home / "keys" / "log.old.key").exists()


def verifies(note: bytes, *keys: bytes) -> bool:
    try:
        open_checkpoint(note, [VerifierKey(log_origin(DATA), ED25519, key) for key in keys])
    except TrustnodeError:
        return False
    return True


async def _is(holds_now) -> bool:
    return holds_now()


async def test_i6b_a_new_authority_that_no_card_published_is_refused_and_named(world) -> None:
    node, other = world[DATA], world[HOME]
    agreement = await world.agree(world.clients["acme"], f"{DATA}/small")
    stage(node.home / "keys", "authority", DATA, node.venue.clock.now(), stolen=True)
    promote(node.home / "keys", "authority", node.venue.clock.now())
    await node.reload()
    await other.venue.peers.remove(DATA)  # a connection that stands goes on; the next one is what is looked at
    await other.refresh_trust()
    with pytest.raises(TrustnodeError) as named:
        await agreement.sql(QUERY).to_arrow()
    assert named.value.reason == "PEER_UNREACHABLE"
    card = await install(node)
    await submit(other.venue, Sender("OPERATOR", HOME), card)
    await holds(world.network, HOME, card)
    await until(lambda: _reads(agreement))


async def _reads(agreement) -> bool:
    try:
        return (await agreement.sql(QUERY).to_arrow()).num_rows == 5
    except TrustnodeError:
        return False


async def test_a_signature_by_a_revoked_key_after_invalid_from_is_refused_whatever_time_it_claims(world) -> None:
    node, other = world[DATA], world[HOME]
    agreement = await world.agree(world.clients["acme"], f"{DATA}/small")
    await agreement.sql(QUERY).to_arrow()
    # What witnesses had not seen by then would be the thief's word too: revoke when they have.
    await until(lambda: _sealed(world, agreement.id))
    before = await bundle_bytes(world, agreement.id)
    assert wrong(judged(world, before)) == []
    sealed = max(one.sealed_at for one in judged(world, before).accesses)
    await until(lambda: _is(lambda: node.venue.clock.now() > sealed))
    stolen, now = node.venue.evidence, node.venue.clock.now()
    take_back(node.home / "keys", ["evidence", "log"], DATA, now, now)
    await holds(world.network, HOME, await install(node))
    kid = hashlib.sha256(stolen.public).hexdigest()
    await until(lambda: _is(lambda: other.venue.keyring.is_revoked(DATA, kid)))
    assert node.venue.evidence.public != stolen.public
    for time in (clock.shift(now, -86400), clock.shift(now, 1)):
        assert (await by_thief(world, stolen, time)).reason == "SIGNATURE_INVALID"
    await world.network.stop(HOME)
    await world.network.start(HOME)
    assert (await by_thief(world, stolen, clock.shift(now, -86400))).reason == "SIGNATURE_INVALID"
    await until(lambda: _answers(node, HOME))
    after = await bundle_bytes(world, agreement.id)
    assert wrong(judged(world, after)) == []
    told = unpack(after).parts[DATA].status
    assert [event.kind for one in told for event in decode(one, Status).events] == ["KEY_REVOKED", "KEY_REVOKED"]
    # Signed by the stolen log key alone: what was in order before the notice is so no more.
    old = unpack(before)
    parts = {**old.parts, DATA: replace(old.parts[DATA], status=told)}
    stale = pack(replace(old, cards=unpack(after).cards, parts=parts))
    assert f"the newest checkpoint of {DATA} is signed by a log key that was revoked" in wrong(judged(world, stale))


async def _sealed(world: World, agreement: str) -> bool:
    return (await bundle_of(world, agreement)).findings == ()


async def _answers(node: Node, other: str) -> bool:
    await node.venue.peers.get(other).check_health(timeout_s=1)
    return True


async def by_thief(world: World, key: Signer, time: str) -> TrustnodeError:
    """A notice that a thief dates as it likes."""
    event = StatusEvent(kind="PRODUCT", subject=f"{DATA}/small", state="REVOKED", effective=time)
    fields = world[HOME].venue.fields("*", iss=DATA) | {"time": time}
    with pytest.raises(TrustnodeError) as refused:
        await submit(world[HOME].venue, Sender("PEER", DATA), seal(Status(events=(event,), **fields), key))
    return refused.value
