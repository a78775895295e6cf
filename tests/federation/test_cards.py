"""Versions of cards between two venues: followed by themselves, in order, and never back."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from federation.key_world import GZ, ZJ, holds, impatient, install, version

from trustnode.app import history, peering
from trustnode.app.cards import CONFLICT_PREFIX, follow_cards
from trustnode.app.expiry import by_name, due
from trustnode.app.status import log_alarms
from trustnode.app.submission import submit
from trustnode.app.venue import Sender
from trustnode.core import clock
from trustnode.core.document import cosign, decode, seal
from trustnode.core.identity import Card, RootKeys, check_card, fingerprint
from trustnode.core.identity.card import CardKey
from trustnode.core.peering import PeeringState
from trustnode.errors import TrustnodeError
from trustnode.keys import Credential, FileSigner, read_card, root_signers, write_card
from trustnode.keys.cards import read_draft
from trustnode.testing.network import Network, until
from trustnode.wire.channel import Target, VenueChannel
from trustnode.wire.peer import CheckpointAnswer, Peer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def soon() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        impatient(patch)
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network(soon: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Network]:
    async with Network(tmp_path_factory.mktemp("cards")) as made:
        await made.start(ZJ)
        await made.start(GZ, area="5200", subject="915200000000000001")
        await made.peer(ZJ, GZ)
        yield made


async def refused(awaitable) -> TrustnodeError:
    with pytest.raises(TrustnodeError) as caught:
        await awaitable
    return caught.value


async def peering_of(network: Network, at: str, other: str) -> PeeringState:
    return await network[at].venue.store.read(lambda view: view.get(PeeringState, other))


async def amendments(network: Network, at: str, other: str) -> int:
    entries = await network[at].venue.store.read(lambda view: view.evidence.chain("peer", other))
    return sum(b"peer.amend" in entry.statement for entry in entries)


async def test_a_new_version_reaches_the_peer_by_itself(network) -> None:
    card = await install(network[ZJ], name="Zhejiang, renamed")
    await holds(network, GZ, card)
    assert (await peering_of(network, GZ, ZJ)).card_version == 2


async def test_a_peer_that_was_away_gets_every_version_one_by_one(network) -> None:
    await network.stop(GZ)
    cards = [await install(network[ZJ], name=f"Zhejiang {number}") for number in range(3)]
    await network.start(GZ)
    await holds(network, GZ, cards[-1])
    held = [one.digest for one in network[GZ].venue.keyring.versions(ZJ)]
    assert held[-3:] == [card.digest for card in cards]
    assert await amendments(network, GZ, ZJ) == len(held) - 1


async def test_versions_installed_while_the_node_was_down_are_all_told(network) -> None:
    node = network[ZJ]
    await network.stop(ZJ)
    before = await amendments(network, GZ, ZJ)
    for name in ("first", "second"):
        card = version(node, name=name)
        write_card(node.home, card)
    await network.start(ZJ)
    await holds(network, GZ, card)
    assert await amendments(network, GZ, ZJ) == before + 2


async def test_i5f_the_last_bundle_of_a_peer_that_is_away_stays_in_use_with_an_alarm(network) -> None:
    before = network[ZJ].trust.state.bundles[GZ]
    await network.stop(GZ)
    await network.stop(ZJ)
    await network.start(ZJ)
    assert network[ZJ].trust.state.bundles[GZ].roots == before.roots != ()
    await until(lambda: _alarmed(network[ZJ], "PEER"))
    await network.start(GZ)
    await until(lambda: _answers(network[ZJ], GZ))


async def _alarmed(node, name: str) -> bool:
    return any(alarm.name == name for alarm in node.status().alarms)


async def _answers(node, other: str) -> bool:
    await node.venue.peers.get(other).check_health(timeout_s=1)
    return True


def applicant_at(network: Network, domain: str) -> Peer:
    """A caller with the certificate that a venue's card file carries for strangers."""
    node = network[domain]
    key, chain = ((node.home / "keys" / f"apply.{kind}").read_bytes() for kind in ("key", "pem"))
    target = Target(domain, (f"127.0.0.1:{node.port}",), node.trust.state.bundles[domain].pem)
    return Peer(VenueChannel(target, Credential(key, chain)))


async def test_earlier_cards_fill_the_gap_when_no_certificate_is_known_any_more(network, tmp_path: Path) -> None:
    node = network[ZJ]
    await network.stop(ZJ)
    first = version(node, name="missed")
    write_card(node.home, first)
    second = version(node, name="newest")
    write_card(node.home, second)
    caller = applicant_at(network, GZ)
    missing = await refused(caller.apply(second, timeout_s=10))
    assert missing.reason == "STALE_VERSION"
    answer = await caller.apply(second, None, [first], timeout_s=10)
    await caller.channel.aclose()
    assert answer.card.digest == network[GZ].venue.keyring.cards[GZ].digest
    await holds(network, GZ, second)
    assert await follow_cards(network[GZ].venue, [first, second]) == ()
    await network.start(ZJ)


async def test_x6_cards_that_do_not_follow_are_refused_and_a_fork_is_kept_with_an_alarm(network) -> None:
    gz, zj = network[GZ], network[ZJ]
    held = gz.venue.keyring.cards[ZJ]
    old_root, other_root = root_signers(zj.home)[0], FileSigner.generate()
    roots = RootKeys(1, (other_root.public.hex(),))
    twice = CardKey("log", held.value.keys[0].public, held.value.time, held.value.expires)
    of_gz = CardKey("evidence", gz.venue.evidence.public.hex(), held.value.time, held.value.expires)
    hostile = {
        "skipped version": (version(zj, version=held.value.version + 2), "STALE_VERSION"),
        "old roots only": (version(zj, old_root, root=roots), "SIGNATURE_INVALID"),
        "new roots only": (version(zj, other_root, root=roots), "SIGNATURE_INVALID"),
        "a key that stands twice": (version(zj, keys=(*held.value.keys, twice)), "DUPLICATE"),
        "a key of another venue": (version(zj, keys=(*held.value.keys, of_gz)), "DUPLICATE"),
        "another history by a stranger, to frame the venue": (
            version(zj, other_root, root=roots, version=held.value.version, previous=held.value.previous),
            "CARD_ROLLBACK",
        ),
        "rollback": (gz.venue.keyring.versions(ZJ)[0].document, "CARD_ROLLBACK"),
    }
    for name, (card, reason) in hostile.items():
        assert (await refused(submit(gz.venue, Sender("PEER", ZJ), card))).reason == reason, name
    await gz.refresh_trust()
    assert not any(alarm.name == "CARD_CONFLICT" for alarm in gz.status().alarms)
    fork = version(zj, version=held.value.version, previous=held.value.previous, name="another history")
    assert (await refused(submit(gz.venue, Sender("PEER", ZJ), fork))).reason == "CARD_ROLLBACK"
    kept, note = await gz.venue.store.read(
        lambda view: (view.document(fork.digest), view.setting(CONFLICT_PREFIX + ZJ))
    )
    assert kept is not None
    assert held.digest in note
    assert gz.venue.keyring.cards[ZJ].digest == held.digest
    await gz.refresh_trust()
    assert any(alarm.name == "CARD_CONFLICT" for alarm in gz.status().alarms)


async def test_x6_a_key_that_an_older_card_gave_another_use_is_refused(network) -> None:
    gz, zj = network[GZ], network[ZJ]
    held = gz.venue.keyring.cards[ZJ].value
    evidence = next(key for key in held.keys if key.use == "evidence")
    others = tuple(key for key in held.keys if key.use != "evidence")
    again = CardKey("witness", evidence.public, evidence.not_before, evidence.not_after)
    fresh = CardKey("evidence", FileSigner.generate().public.hex(), evidence.not_before, evidence.not_after)
    card = version(zj, keys=(*others, fresh, again))
    assert (await refused(submit(gz.venue, Sender("PEER", ZJ), card))).reason == "DUPLICATE"


async def test_what_ends_is_warned_of_at_both_venues_and_written_once_for_each_threshold(network) -> None:
    zj, gz = network[ZJ], network[GZ]
    for node in (zj, gz):
        assert [alarm for alarm in node.status().alarms if alarm.name == "EXPIRY"] == []
    card = await install(zj, expires=clock.shift(zj.venue.clock.now(), 10 * 86400 + 60))
    await holds(network, GZ, card)
    for node, shown in ((zj, "our card"), (gz, f"the card of {ZJ}")):
        (alarm,) = (alarm for alarm in node.status().alarms if alarm.name == "EXPIRY")
        assert alarm.message.startswith(f"{shown} ends ")
        assert alarm.message.endswith("(10 d)")
    assert [one.name for one in await zj.warnings.look()] == ["card"]
    assert await zj.warnings.look() == ()
    card = await install(zj, expires=clock.shift(zj.venue.clock.now(), 2 * 86400))
    assert [one.days_left(zj.venue.clock.now()) for one in await zj.warnings.look()] == [1]
    names = set(by_name(zj.warnings.ends))
    expected = {
        "card",
        "key/evidence",
        "key/log",
        "key/witness",
        "authority",
        f"peer/{GZ}/card",
        f"peer/{GZ}/authority",
    }
    assert names == expected
    await holds(network, GZ, await install(zj))
    assert "card" not in [one.name for one in due(zj.warnings.ends, zj.venue.clock.now())]


async def test_x6_a_fingerprint_of_31_digits_confirms_nobody(network) -> None:
    card = network[ZJ].venue.keyring.cards[ZJ].document
    assert (await refused(peering.confirm(network[GZ].venue, ZJ, fingerprint(card)[:-1]))).reason == "FIELD_FORMAT"


async def _cosigned_nothing_newer(*_asked: object) -> tuple[str, int]:
    return "BEHIND", 0


async def test_a_restored_home_with_an_older_card_of_ours_signs_nothing_and_says_how_to_go_on(
    network, monkeypatch: pytest.MonkeyPatch
) -> None:
    await network.stop(ZJ)
    home, now = network.folder / ZJ, network.folder / "now"
    old = network.folder / "old"
    shutil.copytree(home, old)
    await network.start(ZJ)
    card = await install(network[ZJ], name="of yesterday")
    await holds(network, GZ, card)
    await network.stop(ZJ)
    home.rename(now)
    shutil.copytree(old, home)
    monkeypatch.setattr(history, "compare", _cosigned_nothing_newer)
    node = await network.start(ZJ)
    held = decode(read_card(home), Card).version
    assert node.venue.read_only == f"this home has version {held} of our card; {GZ} holds version {held + 1}"
    step = next(one.next_step for one in node.status().alarms if one.name == "READ_ONLY")
    assert f"trustnode card install {home / f'card-{held + 1}.shown'}" in step
    shown, _ = read_draft(home / f"card-{held + 1}.shown")
    assert shown.digest == card.digest
    await network.stop(ZJ)
    write_card(home, shown)
    node = await network.start(ZJ)
    assert node.venue.read_only == ""
    await network.stop(ZJ)
    shutil.rmtree(home)
    now.rename(home)
    await network.start(ZJ)


async def test_a_claim_about_our_card_without_our_signature_is_an_alarm_and_stops_nothing(network) -> None:
    node, claims = network[ZJ], [CheckpointAnswer(429, "", b"", b"", 99, "f" * 64, ())]
    held = node.venue.keyring.cards[ZJ].value
    forged = seal(msgspec.structs.replace(held, version=held.version + 1), FileSigner.generate())
    claims.append(claims[0]._replace(card_version=held.version + 1, cards=(forged, network[GZ].venue.sign(held))))
    claims.append(claims[0]._replace(card_version=held.version, card_sha256="e" * 64))
    for claim in claims:
        node.cosigning._compare_card(node.cosigning.witnesses[GZ], claim)
        alarms = log_alarms((), await node.cosigning.standings(), ZJ)
        assert [one.name for one in alarms if one.name.startswith("CARD")] == ["CARD_CLAIM"]
        assert node.venue.read_only == ""
    honest = claims[0]._replace(card_version=held.version, card_sha256=node.venue.keyring.cards[ZJ].digest)
    node.cosigning._compare_card(node.cosigning.witnesses[GZ], honest)
    assert not any(one.card_claim for one in await node.cosigning.standings())


async def test_two_of_three_new_roots_take_over_by_a_card_that_the_old_root_signed_too(network) -> None:
    zj = network[ZJ]
    three = [FileSigner.generate() for _ in range(3)]
    roots = RootKeys(2, tuple(one.public.hex() for one in three))
    incomplete = version(zj, *root_signers(zj.home), three[0], roots=roots)
    with pytest.raises(TrustnodeError):
        check_card(incomplete, None)
    card = cosign(incomplete, three[2])
    write_card(zj.home, card)
    await zj.reload()
    await holds(network, GZ, card)
    with pytest.raises(TrustnodeError) as old:
        await submit(zj.venue, zj.venue.self_sender, version(zj, *root_signers(zj.home)))
    assert old.value.reason == "SIGNATURE_INVALID"
    await holds(network, GZ, await install(zj, three[1], three[2], name="by the new roots"))
