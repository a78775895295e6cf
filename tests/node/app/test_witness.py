"""The node as a witness: which logs it cosigns, what is on the disk before it answers, what becomes of a fork."""

import asyncio
import contextlib
import hashlib

import pytest
from node.app.witness_world import FIN, GZ, ZJ, Shadow, world_of

from trustnode.app import lost_record, status
from trustnode.app.witness import compare_shown
from trustnode.core.evidence.checkpoint import open_checkpoint
from trustnode.core.evidence.note import COSIGNATURE_V1, ED25519, VerifierKey, open_note
from trustnode.core.evidence.witness import SIZE_TYPE, AddCheckpoint
from trustnode.core.identity import log_origin, witness_name
from trustnode.errors import TrustnodeError, error

ORIGIN = log_origin(GZ)


@pytest.fixture
async def world(tmp_path):
    async with world_of(tmp_path) as made:
        yield made


def keys(world, log=GZ, by=ZJ):
    return (
        [VerifierKey(log_origin(log), ED25519, world.keys[log].log.public)],
        [VerifierKey(witness_name(by), COSIGNATURE_V1, world.keys[by].witness.public)],
    )


async def held(party, origin=ORIGIN):
    return await party.read(lambda view: view.witnessed(origin))


async def test_a_peers_log_is_cosigned_and_what_was_cosigned_is_kept(world):
    gz, zj = world[GZ], world[ZJ]
    size = await gz.append(5)
    answer = await zj.witness(await gz.request(0))
    assert answer.status == 200
    kept = await held(zj)
    assert (kept.size, kept.note) == (size, answer.held)
    signed = open_checkpoint(kept.note, *keys(world), quorum=1)
    assert signed.head.size == size
    assert answer.body.decode() in kept.note.decode()


async def test_what_is_held_is_shown_to_whoever_asks_by_the_hash_of_the_origin(world):
    from trustnode.app.witness import monitored

    gz, zj = world[GZ], world[ZJ]
    await gz.append()
    name = hashlib.sha256(ORIGIN.encode()).hexdigest()
    assert await monitored(zj.venue, name) is None
    answer = await zj.witness(await gz.request(0))
    assert await monitored(zj.venue, name) == answer.held
    assert await monitored(zj.venue, name.upper()) is None


async def test_an_entry_is_written_when_it_begins_and_none_for_a_cosignature(world):
    gz, zj = world[GZ], world[ZJ]
    for old, size in ((0, await gz.append()), (0, 0), (0, 0)):
        now = await held(zj)
        assert (await zj.witness(await gz.request(now.size if now else old, size))).status == 200
        await gz.append()
    assert [one for one in await zj.events() if one[0].startswith("log.")] == [("log.cosign", GZ)]


@pytest.mark.parametrize(
    "state, confirmed", [("APPLIED", "AB"), ("SUSPENDED", "AB"), ("TERMINATED", "AB"), ("APPROVED", "")]
)
async def test_only_logs_of_peers_in_force_are_known(world, state, confirmed):
    gz, zj = world[GZ], world[ZJ]
    await gz.append()
    await zj.peer(GZ, state=state, confirmed=confirmed)
    assert (await zj.witness(await gz.request(0))).status == 404
    assert await held(zj) is None


async def test_a_node_does_not_witness_itself(world):
    gz = world[GZ]
    await gz.append()
    assert (await gz.witness(await gz.request(0))).status == 404


async def test_the_key_of_another_peer_does_not_speak_for_a_log(world):
    await world[GZ].append()
    forged = Shadow(GZ, world.keys[FIN], b"a")
    assert (await world[ZJ].witness(forged.request(0, 1))).status == 403


async def test_a_stale_request_is_told_what_is_held_and_shown_it(world):
    gz, zj = world[GZ], world[ZJ]
    size = await gz.append(3)
    first = await zj.witness(await gz.request(0))
    await gz.append(2)
    answer = await zj.witness(await gz.request(0))
    assert (answer.status, answer.content_type, answer.body) == (409, SIZE_TYPE, b"%d\n" % size)
    assert answer.held == first.held
    assert (await zj.witness(await gz.request(size))).status == 200


@pytest.mark.parametrize("body", [b"", b"old 0\n", b"old 0\n\nx\n", b"old 0\n\n" + bytes(200_000)])
async def test_what_is_no_request_is_400(world, body):
    assert (await world[ZJ].witness(body)).status == 400


async def test_a_witness_that_may_not_write_is_503(world):
    gz, zj = world[GZ], world[ZJ]
    await gz.append()
    zj.venue.halt("the store was rolled back")
    assert (await zj.witness(await gz.request(0))).status == 503


async def test_a_witness_that_is_full_says_so_and_cosigns_nothing(world, monkeypatch):
    gz, zj = world[GZ], world[ZJ]
    await gz.append()

    async def full(*_args, **_more):
        raise error("BUSY", "too many steps wait for the disk")

    monkeypatch.setattr(zj.venue.store, "write", full)
    assert (await zj.witness(await gz.request(0))).status == 429


async def test_a_peering_that_ends_while_the_request_is_judged_is_not_cosigned(world, monkeypatch):
    gz, zj = world[GZ], world[ZJ]
    await gz.append()
    write = zj.venue.store.write

    async def ended_first(unit, **more):
        monkeypatch.setattr(zj.venue.store, "write", write)
        await zj.peer(GZ, state="SUSPENDED")
        return await write(unit, **more)

    monkeypatch.setattr(zj.venue.store, "write", ended_first)
    assert (await zj.witness(await gz.request(0))).status == 503
    assert await held(zj) is None


# --- forks


async def both_notes(zj):
    return [(one.held, one.shown, one.proven, one.source) for one in await zj.read(lambda view: view.forks())]


async def test_l7a_a_fork_of_equal_size_is_refused_and_both_notes_are_kept(world):
    gz, zj = world[GZ], world[ZJ]
    size = await gz.append(4)
    first = await zj.witness(await gz.request(0))
    shadow = Shadow(GZ, world.keys[GZ], *(b"%d" % i for i in range(size)))
    answer = await zj.witness(shadow.request(size, size), FIN)
    assert (answer.status, answer.body, answer.held) == (422, b"", first.held)
    assert await both_notes(zj) == [(first.held, shadow.note(size), True, FIN)]
    assert ("incident.notify", ORIGIN) in await zj.events()
    assert (await held(zj)).note == first.held


async def test_l7b_a_fork_that_has_grown_is_refused_and_both_notes_are_kept(world):
    gz, zj = world[GZ], world[ZJ]
    size = await gz.append(4)
    first = await zj.witness(await gz.request(0))
    shadow = Shadow(GZ, world.keys[GZ], *(b"%d" % i for i in range(size + 3)))
    answer = await zj.witness(shadow.request(size, size + 3))
    assert answer.status == 422
    assert await both_notes(zj) == [(first.held, shadow.note(size + 3), False, "")]


async def test_l7c_a_restored_smaller_log_is_told_the_size_and_changes_nothing(world):
    gz, zj = world[GZ], world[ZJ]
    size = await gz.append(3)
    old = await gz.request(0)
    await gz.append(2)
    await zj.witness(await gz.request(0))
    answer = await zj.witness(old)
    assert (answer.status, answer.body) == (409, b"%d\n" % (size + 2))
    assert await both_notes(zj) == []


async def test_a_fork_is_one_entry_however_often_it_is_shown(world):
    gz, zj = world[GZ], world[ZJ]
    size = await gz.append(2)
    await zj.witness(await gz.request(0))
    shadow = Shadow(GZ, world.keys[GZ], b"a", b"b", b"c")
    for _ in range(5):
        await zj.witness(shadow.request(size, size))
    assert (await zj.events()).count(("incident.notify", ORIGIN)) == 1


async def test_a_bad_proof_of_a_stranger_is_forgotten_when_the_log_shows_a_good_one(world):
    gz, zj = world[GZ], world[ZJ]
    size = await gz.append(2)
    await zj.witness(await gz.request(0))
    await gz.append(3)
    good = await gz.request(size)
    note = AddCheckpoint(size, (bytes(32),), good.partition(b"\n\n")[2])
    assert (await zj.witness(note.body)).status == 422
    assert [one[2] for one in await both_notes(zj)] == [False]
    assert (await zj.witness(good)).status == 200
    assert await both_notes(zj) == []


async def test_l16_a_log_that_shows_one_past_to_the_witness_and_another_to_the_mirror_has_forked(world):
    gz, zj = world[GZ], world[ZJ]
    size = await gz.append(4)
    first = await zj.witness(await gz.request(0))
    shadow = Shadow(GZ, world.keys[GZ], *(b"%d" % i for i in range(size + 2)))
    for other, forks in ((size + 1, 0), (size, 1)):
        signed = open_checkpoint(shadow.note(other), keys(world)[0])
        with contextlib.suppress(TrustnodeError):
            await compare_shown(zj.venue, GZ, shadow.note(other), signed.head)
        assert len(await both_notes(zj)) == forks
    assert await both_notes(zj) == [(first.held, shadow.note(size), True, GZ)]
    honest = await zj.read(lambda view: view.witnessed(ORIGIN))
    await compare_shown(zj.venue, GZ, honest.note, open_checkpoint(honest.note, keys(world)[0]).head)


# --- order and loss


async def test_l10a_an_answer_that_was_lost_is_asked_again_from_the_size_that_was_kept(world):
    gz, zj = world[GZ], world[ZJ]
    size = await gz.append(3)
    lost = await zj.witness(await gz.request(0))
    again = await zj.witness(await gz.request(0))
    assert (lost.status, again.status, again.body) == (200, 409, b"%d\n" % size)
    assert (await zj.witness(await gz.request(size))).status == 200


async def test_l10a_nothing_is_cosigned_where_the_disk_did_not_take_it(world, monkeypatch):
    gz, zj = world[GZ], world[ZJ]
    await gz.append(3)

    async def dies(*_args, **_more):
        raise error("EVIDENCE_UNAVAILABLE", "the writer ended")

    with monkeypatch.context() as patched:
        patched.setattr(zj.venue.store, "write", dies)
        answer = await zj.witness(await gz.request(0))
        assert (answer.status, b"witness" in answer.body) == (503, False)
    assert await held(zj) is None


async def test_l10b_of_two_requests_that_overtake_each_other_the_larger_stays(world, monkeypatch):
    gz, zj = world[GZ], world[ZJ]
    small = await gz.append(3)
    slow = await gz.request(0)
    await gz.append(4)
    fast = await gz.request(0)
    write, judged, go_on = zj.venue.store.write, asyncio.Event(), asyncio.Event()

    async def held_back(unit, **more):
        monkeypatch.setattr(zj.venue.store, "write", write)
        judged.set()
        await go_on.wait()
        return await write(unit, **more)

    monkeypatch.setattr(zj.venue.store, "write", held_back)
    first = asyncio.ensure_future(zj.witness(slow))
    await judged.wait()
    assert (await zj.witness(fast)).status == 200
    go_on.set()
    answer = await first
    assert (answer.status, answer.body) == (409, b"%d\n" % (small + 4))
    assert (await held(zj)).size == small + 4


async def test_l10b_many_at_once_never_go_back(world):
    gz, zj = world[GZ], world[ZJ]
    requests = []
    for _ in range(10):
        await gz.append()
        requests.append(await gz.request(0))
    answers = await asyncio.gather(*(zj.witness(body) for body in reversed(requests)))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 9
    assert (await held(zj)).size == max(int(a.body) for a in answers if a.status == 409)


async def test_l10c_a_witness_whose_record_is_gone_does_not_begin_again_by_itself(world):
    gz, zj = world[GZ], world[ZJ]
    await gz.append(3)
    await zj.witness(await gz.request(0))
    await zj.write(lambda tx: tx._db.execute("delete from witnessed"))
    answer = await zj.witness(await gz.request(0))
    assert (answer.status, b"lost" in answer.body) == (503, True)
    await zj.peer(GZ, agreement="b" * 64)
    assert (await zj.witness(await gz.request(0))).status == 200


async def test_l10c_a_witness_goes_on_from_a_head_that_its_operator_accepts_by_hand(world):
    gz, zj = world[GZ], world[ZJ]
    size = await gz.append(3)
    await zj.witness(await gz.request(0))
    root = (await held(zj)).root
    with pytest.raises(TrustnodeError) as refusal:  # what is not lost is not replaced
        await lost_record.accept(zj.venue, GZ, size, root)
    assert refusal.value.reason == "PRECONDITION_OPEN"
    await zj.write(lambda tx: tx._db.execute("delete from witnessed"))
    found = await zj.read(lambda view: status.counted(view, zj.venue))
    [alarm] = [one for one in status.seal_alarms(found, 60) if one.name == "WITNESS_LOST"]
    assert f"trustnode log witness accept {GZ} --size N --root R" in alarm.next_step

    with pytest.raises(TrustnodeError):
        await lost_record.accept(zj.venue, GZ, size, root[:31])
    await lost_record.accept(zj.venue, GZ, size, root)
    assert (await zj.events())[-1] == ("log.cosign", GZ)
    assert (await zj.read(lambda view: status.counted(view, zj.venue))).lost == ()
    shadow = Shadow(GZ, world.keys[GZ], *(b"%d" % i for i in range(9)))
    assert (await zj.witness(shadow.request(size, 9))).status == 422
    await gz.append()
    assert (await zj.witness(await gz.request(0))).status == 409
    assert (await zj.witness(await gz.request(size))).status == 200


async def test_l10c_a_witness_whose_store_is_gone_is_read_only(world):
    gz = world[GZ]
    await gz.append(3)
    await world[ZJ].witness(await gz.request(0))
    await world[ZJ].publisher.publish()
    await world.close(ZJ)
    for file in world.folder.glob(f"{ZJ}.db*"):
        if not file.name.endswith(".head"):
            file.unlink()
    zj = await world.open(ZJ)
    assert (await zj.witness(await gz.request(0))).status == 503


async def test_l13_a_witness_whose_clock_is_set_back_never_cosigns_earlier_than_before(world):
    gz, zj = world[GZ], world[ZJ]
    size = await gz.append()
    await zj.witness(await gz.request(0))
    before = open_note((await held(zj)).note, keys(world)[1]).signatures[0].time
    world.clock.advance(-3600)
    await gz.append()
    assert (await zj.witness(await gz.request(size))).status == 200
    assert open_note((await held(zj)).note, keys(world)[1]).signatures[0].time == before


async def test_a_log_that_fills_the_shelf_with_suspicions_is_still_convicted_by_a_proven_fork(world):
    gz, zj = world[GZ], world[ZJ]
    await gz.append(5)
    assert (await zj.witness(await gz.request(0))).status == 200
    for number in range(20):
        liar = Shadow(GZ, world.keys[GZ], *(b"%d/%d" % (number, i) for i in range(8 + number)))
        assert (await zj.witness(liar.request(5, 8 + number))).status == 422
    liar = Shadow(GZ, world.keys[GZ], *(b"other/%d" % i for i in range(5)))
    assert (await zj.witness(liar.request(5, 5))).status == 422
    assert [one.size for one in await zj.read(lambda view: view.forks()) if one.proven] == [5]
