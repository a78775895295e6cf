"""Being witnessed: whom we ask, what may stand under our note, and what a witness can and cannot do to us."""

import asyncio
import shutil

import pytest
from node.app.witness_world import FIN, GZ, ZJ, Shadow, cosigning, signers, world_of

from trustnode.app import cosigning as asking
from trustnode.app import witness
from trustnode.app.publisher import Publisher
from trustnode.app.status import log_alarms
from trustnode.app.witness import WitnessAnswer
from trustnode.core import clock as times
from trustnode.core.document import PublicKey
from trustnode.core.evidence.checkpoint import open_checkpoint
from trustnode.core.evidence.note import COSIGNATURE_V1, ED25519, VerifierKey
from trustnode.core.evidence.witness import SIZE_TYPE, parse_request
from trustnode.core.identity import log_origin, witness_name
from trustnode.errors import TrustnodeError, error
from trustnode.keys.files import FileSigner
from trustnode.testing.network import until

ORIGIN = log_origin(GZ)


@pytest.fixture
async def world(tmp_path, monkeypatch):
    monkeypatch.setattr(asking, "FIRST_PAUSE_S", 0.02)
    async with world_of(tmp_path) as made:
        yield made


def keys(world, by=ZJ):
    return (
        [VerifierKey(ORIGIN, ED25519, world.keys[GZ].log.public)],
        [VerifierKey(witness_name(by), COSIGNATURE_V1, world.keys[by].witness.public)],
    )


def names(party):
    return signers(party.publisher.newest.note)


async def cosigned_by(party, *domains):
    async def done():
        wanted = {witness_name(domain) for domain in domains}
        return party.publisher.newest is not None and wanted <= set(names(party))

    await until(done, seconds=5)


def stale(size, held=b""):
    return WitnessAnswer(409, SIZE_TYPE, b"%d\n" % size, held)


def answering(answer):
    async def ask(body):
        return answer(body) if callable(answer) else answer

    return ask


async def ask_once(party, domain=ZJ):
    """Ask one witness about the newest head, as the task of this witness does."""
    await party.cosigning.refresh()
    newest = await party.publisher.publish()
    one = party.cosigning.witnesses[domain]
    try:
        await party.cosigning._cosign(one, newest)
    except TrustnodeError as refused:
        return refused
    return None


# --- the way it goes


async def test_every_witness_stands_under_the_note_that_is_shown_and_kept(world):
    gz = world[GZ]
    await world.open(FIN)
    await world[FIN].peer(GZ)
    await gz.append(3)
    async with cosigning(gz):
        newest = await gz.publisher.publish()
        await cosigned_by(gz, ZJ, FIN)
    for domain in (ZJ, FIN):
        assert open_checkpoint(gz.publisher.newest.note, *keys(world, domain), quorum=1).head.size == 4 - 1
    kept = await gz.read(lambda view: view.checkpoint_of(newest.checkpoint.size))
    assert kept.note == gz.publisher.newest.note


async def test_two_nodes_that_witness_each_other_come_to_rest(world):
    gz, zj = world[GZ], world[ZJ]
    await gz.append(3)
    await zj.append(2)
    async with cosigning(gz, zj):
        for _ in range(4):
            await gz.publisher.publish()
            await zj.publisher.publish()
            await cosigned_by(gz, ZJ)
            await cosigned_by(zj, GZ)
        sizes = gz.venue.store.head().size, zj.venue.store.head().size
        for party in (gz, zj):
            await party.publisher.publish()
            await cosigned_by(party, ZJ if party is gz else GZ)
    assert (gz.venue.store.head().size, zj.venue.store.head().size) == sizes == (4, 3)


async def test_a_log_that_grows_is_cosigned_again_with_a_proof(world):
    gz = world[GZ]
    async with cosigning(gz):
        for _ in range(3):
            await gz.append(5)
            await gz.publisher.publish()
            await cosigned_by(gz, ZJ)
    covering = await gz.read(lambda view: [signers(one.note) for one in view.checkpoints_covering(0)])
    assert covering == [[ORIGIN, witness_name(ZJ)]] * 3


async def test_a_peer_that_is_suspended_is_asked_no_more(world):
    gz = world[GZ]
    await gz.cosigning.refresh()
    assert set(gz.cosigning.witnesses) == {ZJ, FIN}
    await gz.peer(ZJ, state="SUSPENDED")
    await gz.cosigning.refresh()
    assert set(gz.cosigning.witnesses) == {FIN}


async def test_after_a_restart_the_witnesses_of_before_are_known(world):
    gz = world[GZ]
    size = await gz.append(4)
    await ask_once(gz)
    await world.close(GZ)
    gz = await world.open(GZ)
    await gz.cosigning.refresh()
    assert gz.cosigning.witnesses[ZJ].size == size
    assert (await gz.publisher.publish()).checkpoint.size == size
    assert witness_name(ZJ) in names(gz)


# --- time


async def test_d5_a_witness_that_never_answers_holds_up_nothing(world):
    gz = world[GZ]

    async def never(_body):
        await asyncio.Event().wait()

    gz.others[FIN] = never
    async with cosigning(gz):
        for _ in range(3):
            await gz.append()
            await gz.publisher.publish()
            await cosigned_by(gz, ZJ)
        assert gz.asked.count(FIN) == 1
    standings = {one.domain: one.size for one in await gz.cosigning.standings()}
    assert standings == {FIN: 0, ZJ: gz.venue.store.head().size}


async def test_d5_a_witness_that_fails_is_asked_with_growing_pauses(world, monkeypatch):
    gz = world[GZ]
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 8:
            await asyncio.Event().wait()

    await gz.append()
    await gz.publisher.publish()
    await gz.cosigning.refresh()
    one = gz.cosigning.witnesses[FIN]
    with monkeypatch.context() as patched:
        patched.setattr(asking, "FIRST_PAUSE_S", 1.0)
        patched.setattr(asking.asyncio, "sleep", sleep)
        task = asyncio.ensure_future(gz.cosigning._serve(one))
        while len(pauses) < 8:
            await asyncio.wait({task}, timeout=0.01)
    task.cancel()
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert "down" in one.problem


async def test_a_silent_witness_is_shown_with_how_far_it_is_behind_and_becomes_an_alarm(world):
    gz = world[GZ]
    await gz.append()
    await ask_once(gz)
    world.clock.advance(10)
    await gz.append()
    await gz.publisher.publish()
    world.clock.advance(3)
    shown = {one.domain: one for one in await gz.cosigning.standings()}
    assert (shown[ZJ].behind_s, shown[FIN].behind_s, shown[FIN].size) == (3.0, 13.0, 0)
    assert log_alarms((), list(shown.values()), GZ) == ()
    world.clock.advance(50)
    alarms = log_alarms((), await gz.cosigning.standings(), GZ)
    assert [(one.name, FIN in one.message) for one in alarms] == [("WITNESS_SILENT", True)]


async def test_a_clock_that_differs_more_than_the_skew_gives_no_cosignature(world):
    gz, zj = world[GZ], world[ZJ]
    await gz.append()
    await gz.publisher.publish()
    world.clock.advance(61)
    early = await zj.witness(await gz.request(0))
    world.clock.advance(-61)
    gz.others[ZJ] = answering(early)
    assert "time" in (await ask_once(gz)).message
    assert names(gz) == [ORIGIN]


# --- answers of all kinds (L7d)


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503])
async def test_l7d_any_other_status_is_tried_again_later_and_changes_nothing(world, status):
    gz = world[GZ]
    await gz.append()
    gz.others[ZJ] = answering(WitnessAnswer(status, body=b"x\n"))
    assert str(status) in (await ask_once(gz)).message
    assert (gz.venue.read_only, gz.cosigning.witnesses[ZJ].hostile) == ("", "")


async def test_the_words_of_a_witness_reach_the_operator_without_what_could_move_a_terminal(world):
    gz = world[GZ]
    await gz.append()
    gz.others[ZJ] = answering(WitnessAnswer(404, body=b"the log is not known here\x1b[2J\n" + b"x" * 500))
    assert (await ask_once(gz)).message.startswith(f"{ZJ} answered 404: the log is not known here[2J")
    assert len((await ask_once(gz)).message) < 250


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_l7d_a_redirect_is_not_followed(world, status):
    gz = world[GZ]
    await gz.append()
    gz.others[ZJ] = answering(WitnessAnswer(status, body=b"https://elsewhere.example/\n"))
    assert str(status) in (await ask_once(gz)).message
    assert gz.asked == [ZJ]


async def test_l7d_a_stale_answer_is_caught_up_with_a_proof(world):
    gz, zj = world[GZ], world[ZJ]
    await gz.append(3)
    await zj.witness(await gz.request(0))
    await gz.append(4)
    assert await ask_once(gz) is None
    assert gz.asked == [ZJ, ZJ]
    assert names(gz) == [ORIGIN, witness_name(ZJ)]


async def test_l7d_a_body_of_ten_megabytes_is_refused(world):
    gz = world[GZ]
    await gz.append()
    gz.others[ZJ] = answering(WitnessAnswer(200, body=b"a" * 10_000_000 + b"\n"))
    assert (await ask_once(gz)).reason == "VERIFICATION_FAILED"
    gz.others[ZJ] = answering(WitnessAnswer(409, SIZE_TYPE, b"1" * 10_000_000, b"a" * 10_000_000))
    assert "shows no signature of ours" in (await ask_once(gz)).message
    assert gz.venue.read_only == ""


async def test_l7d_a_witness_that_is_stale_for_ever_is_given_up(world):
    gz = world[GZ]
    await gz.append(5)
    sizes = iter([1, 2, 3, 4])
    gz.others[ZJ] = answering(lambda _body: stale(next(sizes)))
    assert "another size each time" in (await ask_once(gz)).message
    assert len(gz.asked) == asking.TRIES


@pytest.mark.parametrize("status", [409, 422])
async def test_l7d_a_mismatch_that_shows_our_own_signature_stops_us_and_keeps_both_notes(world, status):
    gz = world[GZ]
    size = await gz.append(4)
    shadow = Shadow(GZ, world.keys[GZ], *(b"%d" % i for i in range(size)))
    gz.others[ZJ] = answering(WitnessAnswer(status, held=shadow.note(size)))
    assert (await ask_once(gz)).reason == "READ_ONLY"
    assert gz.venue.read_only == f"{ZJ} has cosigned another history of this log at entry 4"
    found = (await gz.read(lambda view: view.forks(ORIGIN)))[0]
    assert (found.shown, found.proven, found.source) == (shadow.note(size), True, ZJ)
    assert found.held == gz.publisher.newest.note
    with pytest.raises(TrustnodeError):
        await gz.publisher.publish()
    assert [one.name for one in log_alarms((found,), [], GZ)] == ["LOG_FORK"]


@pytest.mark.parametrize("status", [409, 422])
async def test_l7d_a_mismatch_that_shows_nothing_is_an_alarm_that_names_the_peer_and_no_more(world, status):
    gz = world[GZ]
    await gz.append(4)
    gz.others[ZJ] = answering(WitnessAnswer(status))
    await ask_once(gz)
    assert gz.venue.read_only == ""
    alarms = log_alarms((), await gz.cosigning.standings(), GZ)
    assert [(one.name, one.message.split()[0]) for one in alarms] == [("WITNESS_CLAIM", ZJ)]
    assert await gz.read(lambda view: view.forks()) == []


# --- claims of a hostile peer


def forged(world):
    """A note of a larger size that another key signed under our name."""
    return Shadow(GZ, world.keys[FIN], *(b"%d" % i for i in range(99))).note(99)


def of_another_log(world):
    """A note of a larger size that is somebody else's."""
    return Shadow(ZJ, world.keys[ZJ], *(b"%d" % i for i in range(99))).note(99)


@pytest.mark.parametrize("held", [lambda _: b"", lambda _: b"junk", forged, of_another_log])
async def test_a_claim_to_hold_more_without_our_signature_changes_nothing(world, held):
    gz = world[GZ]
    size = await gz.append(4)
    gz.others[ZJ] = answering(stale(48_211, held(world)))
    assert "shows no signature of ours" in (await ask_once(gz)).message
    await gz.cosigning.compare_at_start()
    assert gz.venue.read_only == ""
    await gz.append()
    assert (await gz.publisher.publish()).checkpoint.size == size + 1
    assert "48,211" in log_alarms((), await gz.cosigning.standings(), GZ)[0].message


async def test_a_claim_is_forgotten_when_the_peer_behaves_again(world):
    gz = world[GZ]
    await gz.append(4)
    gz.others[ZJ] = answering(stale(48_211))
    await ask_once(gz)
    gz.others[ZJ] = world[ZJ]
    assert await ask_once(gz) is None
    assert gz.cosigning.witnesses[ZJ].hostile == ""


async def test_a_cosignature_of_somebody_else_does_not_stand_under_our_note(world):
    gz = world[GZ]
    await world.open(FIN)
    await world[FIN].peer(GZ)
    gz.others[ZJ] = world[FIN].witness
    await gz.append()
    assert (await ask_once(gz)).reason == "VERIFICATION_FAILED"
    assert names(gz) == [ORIGIN]


# --- the start


async def copied_store(world, name):
    """What a backup of the whole home would hold; the node is stopped meanwhile."""
    await world.close(GZ)
    for file in world.folder.glob(f"{GZ}.db*"):
        shutil.copy(file, world.folder / f"{name}-{file.name}")
    return await world.open(GZ)


async def restored(world, name):
    await world.close(GZ)
    for file in world.folder.glob(f"{GZ}.db*"):
        file.unlink()
    for file in world.folder.glob(f"{name}-{GZ}.db*"):
        shutil.copy(file, world.folder / file.name.removeprefix(f"{name}-"))
    return await world.open(GZ)


async def rolled_back(world):
    """gz after an old backup was restored, head record and all; zj has cosigned more."""
    gz = world[GZ]
    await gz.append(4)
    await gz.publisher.publish()
    gz = await copied_store(world, "old")
    await gz.append(3)
    assert await ask_once(gz) is None
    return await restored(world, "old")


WORDS = f"this store ends at entry 4; {ZJ} has cosigned 7"


async def test_l5a_an_old_backup_with_its_head_record_is_read_only_because_a_witness_is_ahead(world):
    gz = await rolled_back(world)
    await gz.cosigning.compare_at_start()
    assert (gz.venue.read_only, gz.venue.way_on) == (WORDS, f"trustnode log recover --from {ZJ}")
    for refused in (gz.append(), gz.publisher.publish()):
        with pytest.raises(TrustnodeError) as caught:
            await refused
        assert caught.value.reason == "READ_ONLY"


async def test_l5a_a_witness_that_was_silent_at_the_start_stops_the_node_later(world):
    gz = await rolled_back(world)
    gz.others.pop(ZJ)
    await gz.cosigning.compare_at_start()
    assert gz.venue.read_only == ""
    await gz.publisher.publish()
    async with cosigning(gz):
        gz.others[ZJ] = world[ZJ]
        gz.cosigning.notify()

        async def stopped():
            return gz.venue.read_only == WORDS

        await until(stopped, seconds=5)


async def test_l5b_a_witness_that_is_behind_or_equal_lets_the_node_go_on(world):
    gz = world[GZ]
    size = await gz.append(4)
    await ask_once(gz)
    for count in (0, 3):
        if count:
            size = await gz.append(count)
            await gz.publisher.publish()
        await world.close(GZ)
        gz = await world.open(GZ)
        await gz.cosigning.compare_at_start()
        assert gz.venue.read_only == ""
        assert gz.cosigning.witnesses[ZJ].compared
        assert (await gz.publisher.publish()).checkpoint.size == size


async def test_l5b_a_witness_with_another_root_for_our_size_is_equivocation(world):
    gz = world[GZ]
    size = await gz.append(4)
    await gz.publisher.publish()
    shadow = Shadow(GZ, world.keys[GZ], *(b"%d" % i for i in range(size)))
    await world[ZJ].witness(shadow.request(0, size))
    await gz.cosigning.compare_at_start()
    assert "another history" in gz.venue.read_only
    assert [one.source for one in await gz.read(lambda view: view.forks(ORIGIN))] == [ZJ]


async def test_l5b_a_note_in_the_store_that_is_larger_than_the_log_is_a_rollback(world):
    gz = world[GZ]
    await gz.append(4)
    await gz.publisher.publish()
    shadow = Shadow(GZ, world.keys[GZ], *(b"%d" % i for i in range(9)))
    await gz.write(lambda tx: tx._db.execute("update checkpoint set size = 9, root = ?, note = ?", (*_head(shadow),)))
    await gz.cosigning.compare_at_start()
    assert gz.venue.read_only == "this store ends at entry 4; it has signed 9"


def _head(shadow):
    from unit.evidence import naive

    return naive.mth(shadow.leaves), shadow.note(9)


async def test_l5b_a_stored_note_without_our_signature_is_signed_again_by_the_publisher(world):
    gz = world[GZ]
    await gz.append(4)
    good = await gz.publisher.publish()
    await gz.write(lambda tx: tx._db.execute("update checkpoint set note = x'00'"))
    assert await Publisher(gz.venue).publish() == good
    await gz.cosigning.compare_at_start()
    assert gz.venue.read_only == ""


async def test_l5b_a_witness_that_forgot_our_log_is_an_alarm(world):
    gz = world[GZ]
    await gz.append(4)
    await ask_once(gz)
    for table in ("witnessed", "setting"):
        await world[ZJ].write(lambda tx, table=table: tx._db.execute(f"delete from {table}"))
    await gz.cosigning.compare_at_start()
    assert "never saw this log" in gz.cosigning.witnesses[ZJ].hostile
    assert gz.venue.read_only == ""


async def test_l5c_without_any_witness_the_node_starts_and_is_not_called_witnessed(world):
    gz = world[GZ]
    await gz.append(4)
    await gz.publisher.publish()
    gz.others.clear()
    await gz.cosigning.compare_at_start()
    assert gz.venue.read_only == ""
    assert [(one.size, one.problem) for one in await gz.cosigning.standings()] == [
        (0, f"{FIN} is down"),
        (0, f"{ZJ} is down"),
    ]
    assert names(gz) == [ORIGIN]


async def test_l5c_a_witness_that_never_answers_costs_the_start_a_bounded_time(world, monkeypatch):
    gz = world[GZ]
    monkeypatch.setattr(asking, "START_S", 0.05)

    async def never(_body):
        await asyncio.Event().wait()

    gz.others[ZJ] = gz.others[FIN] = never
    await gz.append(4)
    await gz.publisher.publish()
    await gz.cosigning.compare_at_start()
    assert gz.venue.read_only == ""
    assert not any(one.compared for one in gz.cosigning.witnesses.values())


async def test_l5d_the_start_asks_for_what_is_held_now_and_not_what_monitoring_shows(world, monkeypatch):
    async def an_hour_old(*_args):
        raise AssertionError("the monitoring answer may be one hour old")

    monkeypatch.setattr(witness, "monitored", an_hour_old)
    gz = await rolled_back(world)
    await gz.cosigning.compare_at_start()
    assert gz.venue.read_only == WORDS


# --- between commit and publication


async def test_l2_a_node_killed_between_commit_and_publication_shows_the_same_head(world, monkeypatch):
    gz = world[GZ]
    await gz.append(4)

    async def killed(_self, _kept):
        raise error("EVIDENCE_UNAVAILABLE", "killed here")

    with monkeypatch.context() as patched:
        patched.setattr(Publisher, "_keep", killed)
        with pytest.raises(TrustnodeError):
            await gz.publisher.publish()
    head = gz.venue.store.head()
    await world.close(GZ)
    gz = await world.open(GZ)
    published = await gz.publisher.publish()
    assert published.checkpoint.head == (head.size, head.root)


async def test_l2_a_size_that_was_shown_is_shown_with_the_same_note_after_a_restart(world):
    gz = world[GZ]
    await gz.append(4)
    await ask_once(gz)
    before = gz.publisher.newest
    await world.close(GZ)
    gz = await world.open(GZ)
    assert await gz.publisher.publish() == before


async def test_a_log_key_that_takes_over_signs_beside_the_old_one_and_keeps_the_cosignatures(world):
    gz = world[GZ]
    await gz.append(4)
    await ask_once(gz)
    fresh = FileSigner.generate()
    gz.venue.keyring._keys[GZ, "log"] += (PublicKey(fresh.public, "2020-01-01T00:00:00.000Z", times.FOREVER),)
    gz.venue.log_key = fresh
    published = await Publisher(gz.venue).publish()
    assert signers(published.note) == [ORIGIN, witness_name(ZJ), ORIGIN]
    for key in (fresh, world.keys[GZ].log):
        log = [VerifierKey(ORIGIN, ED25519, key.public)]
        assert open_checkpoint(published.note, log, keys(world)[1], quorum=1).head.size == 4


async def test_l2_a_size_is_never_signed_with_another_root(world):
    gz = world[GZ]
    await gz.append(4)
    await gz.publisher.publish()
    await gz.write(lambda tx: tx._db.execute("update checkpoint set root = ?", (bytes(32),)))
    with pytest.raises(TrustnodeError) as refused:
        await Publisher(gz.venue).publish()
    assert refused.value.reason == "READ_ONLY"
    assert "another root" in gz.venue.read_only


async def test_l10a_a_witness_that_dies_after_it_persisted_is_asked_again_and_then_has_cosigned(world):
    gz, zj = world[GZ], world[ZJ]
    await gz.append(4)

    async def dies(body):
        await zj.witness(body)
        raise error("PEER_UNREACHABLE", "the answer is lost")

    gz.others[ZJ] = dies
    assert (await ask_once(gz)).message == "the answer is lost"
    olds = []

    async def back(body):
        olds.append(parse_request(body).old)
        return await zj.witness(body)

    gz.others[ZJ] = back
    assert await ask_once(gz) is None
    assert olds == [0, 4]
    assert names(gz) == [ORIGIN, witness_name(ZJ)]


@pytest.mark.parametrize("size", [3, 900])
async def test_a_stolen_log_key_that_was_taken_back_does_not_stop_the_node(world, size):
    """A peer that has the stolen key shows a longer log, or another one, under it."""
    gz, zj = world[GZ], world[ZJ]
    await gz.append(5)
    thief = Shadow(GZ, world.keys[GZ], *(b"%d" % i for i in range(size)))
    new = FileSigner.generate()
    stolen, _ = gz.venue.keyring(GZ, "log")[0], gz.venue.keyring._keys.pop((GZ, "log"))
    gz.venue.log_key = new
    gz.venue.keyring._keys[GZ, "log"] = (
        PublicKey(new.public, "2020-01-01T00:00:00.000Z", times.FOREVER),
        stolen._replace(revoked_from="2026-01-01T00:00:00.000Z"),
    )
    gz.others[ZJ] = answering(lambda _body: stale(size, thief.note(size)))
    await ask_once(gz)
    assert (gz.venue.read_only, zj.venue.read_only) == ("", "")
    assert await gz.read(lambda view: view.forks()) == []
