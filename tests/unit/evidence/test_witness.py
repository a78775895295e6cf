"""What a witness is asked and what it answers: the body, read strictly, and the order of the checks."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.evidence import naive
from unit.evidence import vectors as v

from trustnode.core.evidence import note, witness
from trustnode.core.evidence.checkpoint import Checkpoint, sign_checkpoint
from trustnode.core.evidence.note import COSIGNATURE_V1
from trustnode.core.evidence.tree import EMPTY_ROOT, TreeHead, leaf_hash, prove_consistency
from trustnode.core.evidence.witness import NOTHING, AddCheckpoint, judge, open_cosignatures, parse_request
from trustnode.errors import InvalidRequest, TrustnodeError, VerificationFailed

NOW = v.WITNESS_TIME
OTHER = v.TestKey(0x40)


class Log:
    """A log of one key; two of them with the same key are a fork."""

    def __init__(self, *leaves: bytes) -> None:
        self.leaves = [leaf_hash(leaf) for leaf in leaves]

    def head(self, size: int) -> TreeHead:
        return TreeHead(size, naive.mth(self.leaves[:size]))

    def note(self, size: int) -> bytes:
        return sign_checkpoint(Checkpoint(v.ORIGIN, *self.head(size)), v.LOG_KEY.public, v.LOG_KEY.sign)

    def ask(self, old: int, size: int) -> AddCheckpoint:
        proof = prove_consistency(old, size, naive.reader(self.leaves)) if 0 < old < size else ()
        return AddCheckpoint(old, tuple(proof), self.note(size))


HONEST = Log(*v.LEAVES)
FORKED = Log(*v.LEAVES[:4], b"x", *v.LEAVES[5:], b"y", b"z")


def status(request: AddCheckpoint, held: TreeHead) -> tuple[int, str]:
    made = judge(request, [v.LOG], held)
    return made.status, made.conflict


# --- the body


@given(st.integers(0, 2**63 - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=63))
def test_any_request_reads_back(old, proof):
    request = AddCheckpoint(old, tuple(proof), v.CHECKPOINT_NOTE)
    assert parse_request(request.body) == request


def test_a_request_is_written_as_the_specification_shows_it():
    body = AddCheckpoint(4, (v.LEAVES_4_7,), v.CHECKPOINT_NOTE).body
    assert body == b"old 4\n" + note.encode_base64(v.LEAVES_4_7).encode() + b"\n\n" + v.CHECKPOINT_NOTE


HASH = note.encode_base64(bytes(32)).encode()
MALFORMED = {
    "empty": b"",
    "no note": b"old 0\n",
    "no old size": b"\n\n" + v.CHECKPOINT_NOTE,
    "size 08": b"old 08\n\n" + v.CHECKPOINT_NOTE,
    "size +8": b"old +8\n\n" + v.CHECKPOINT_NOTE,
    "size 1_0": b"old 1_0\n\n" + v.CHECKPOINT_NOTE,
    "size with a space": b"old 8 \n\n" + v.CHECKPOINT_NOTE,
    "full-width digits": "old ８\n\n".encode() + v.CHECKPOINT_NOTE,
    "size 2^63": b"old 9223372036854775808\n\n" + v.CHECKPOINT_NOTE,
    "upper case": b"Old 0\n\n" + v.CHECKPOINT_NOTE,
    "carriage return": b"old 0\r\n\r\n" + v.CHECKPOINT_NOTE,
    "hash of 31 bytes": b"old 1\n" + note.encode_base64(bytes(31)).encode() + b"\n\n" + v.CHECKPOINT_NOTE,
    "hash without padding": b"old 1\n" + HASH[:-1] + b"\n\n" + v.CHECKPOINT_NOTE,
    "64 hashes": b"old 1\n" + (HASH + b"\n") * 64 + b"\n" + v.CHECKPOINT_NOTE,
    "too long": b"old 0\n\n" + bytes(witness.MAX_REQUEST_BYTES),
}


@pytest.mark.parametrize("defect", MALFORMED)
def test_a_malformed_request_is_refused(defect):
    with pytest.raises(InvalidRequest):
        parse_request(MALFORMED[defect])


@given(st.binary(max_size=300))
def test_no_bytes_bring_the_witness_down(data):
    try:
        judge(parse_request(b"old 0\n\n" + data), [v.LOG], NOTHING)
    except TrustnodeError as refused:
        assert refused.reason in ("FIELD_FORMAT", "VERIFICATION_FAILED")  # noqa: PT017 (most data are refused)


# --- the checks, in their order


def test_a_log_that_grows_is_cosigned_from_any_size_that_was_held():
    for old in range(9):
        held = HONEST.head(old) if old else NOTHING
        assert status(HONEST.ask(old, 8), held) == (200, "")


def test_the_same_head_again_is_cosigned_again():
    assert status(HONEST.ask(8, 8), HONEST.head(8)) == (200, "")


def test_an_unknown_log_is_404_before_its_signature_is_looked_at():
    assert judge(HONEST.ask(0, 8), [], NOTHING).status == 404


def test_a_signature_of_another_key_is_403():
    forged = sign_checkpoint(Checkpoint(v.ORIGIN, *HONEST.head(8)), OTHER.public, OTHER.sign)
    assert judge(AddCheckpoint(0, (), forged), [v.LOG], NOTHING).status == 403


def test_a_known_key_with_a_bad_signature_is_403():
    forged = v.CHECKPOINT_NOTE.replace(b"\n8\n", b"\n9\n")
    assert judge(AddCheckpoint(0, (), forged), [v.LOG], NOTHING).status == 403


def test_a_log_that_signs_under_another_origin_is_403():
    text = HONEST.note(8).decode().partition("\n\n")[0].replace(v.ORIGIN, "venue-c.example/log") + "\n"
    signed = note.assemble(text, [note.sign(text, v.ORIGIN, v.LOG_KEY.public, v.LOG_KEY.sign)])
    assert judge(AddCheckpoint(0, (), signed), [v.LOG], NOTHING).status == 403


def test_an_empty_log_with_another_root_is_422():
    text = f"{v.ORIGIN}\n0\n{note.encode_base64(bytes(32))}\n"
    signed = note.assemble(text, [note.sign(text, v.ORIGIN, v.LOG_KEY.public, v.LOG_KEY.sign)])
    assert judge(AddCheckpoint(0, (), signed), [v.LOG], NOTHING).status == 422
    assert judge(AddCheckpoint(0, (), HONEST.note(0)), [v.LOG], NOTHING).status == 200


@pytest.mark.parametrize("held, expected", [(4, 409), (6, 409), (8, 400)])
def test_l7c_a_smaller_tree_is_stale_or_malformed_and_no_fork(held, expected):
    old = 8 if expected == 400 else 0
    assert status(AddCheckpoint(old, (), HONEST.note(3)), HONEST.head(held)) == (expected, "")


@pytest.mark.parametrize("old", [0, 3, 7, 9])
def test_an_old_size_that_is_not_the_one_held_is_stale(old):
    proof = HONEST.ask(3, 8).proof if old == 3 else ()
    expected = 400 if old == 9 else 409
    assert status(AddCheckpoint(old, proof, HONEST.note(8)), HONEST.head(5)) == (expected, "")


@pytest.mark.parametrize("old, expected", [(8, 422), (0, 409), (9, 400)])
def test_l7a_a_fork_of_equal_size_is_refused_and_seen_whatever_the_old_size_says(old, expected):
    assert status(AddCheckpoint(old, (), FORKED.note(8)), HONEST.head(8)) == (expected, "FORK")


@pytest.mark.parametrize("size", [9, 10])
def test_l7b_a_fork_that_has_grown_is_refused_and_suspected(size):
    assert status(FORKED.ask(8, size), HONEST.head(8)) == (422, "SUSPECTED")


@pytest.mark.parametrize("proof", [(), (bytes(32),), (bytes(32),) * 63])
def test_a_proof_that_fails_convicts_nobody(proof):
    assert status(AddCheckpoint(6, proof, HONEST.note(8)), HONEST.head(6)) == (422, "SUSPECTED")


def test_from_nothing_a_surplus_hash_is_refused_and_no_suspicion():
    assert status(AddCheckpoint(0, (bytes(32),), HONEST.note(8)), NOTHING) == (422, "")


def test_what_nobody_cosigned_is_the_empty_tree():
    assert NOTHING == (0, EMPTY_ROOT)


# --- what a witness answers


def opened(lines: bytes, *, earliest: int = NOW - 60, latest: int = NOW + 60) -> list[str]:
    return open_cosignatures(lines, HONEST.note(8), [v.LOG], [v.B], earliest=earliest, latest=latest)


def cosignature(time: int, key: v.TestKey = v.WITNESS_KEY) -> bytes:
    message = f"cosignature/v1\ntime {time}\n{v.CHECKPOINT_TEXT}".encode()
    data = note.encode_base64(v.B.id + struct.pack(">Q", time) + key.sign(message))
    return f"— {v.WITNESS} {data}\n".encode()


def test_the_published_cosignature_is_taken_in():
    assert opened(v.WITNESS_LINE.encode()) == [v.WITNESS_LINE]


def test_l7e_a_forged_cosignature_under_a_known_name_and_id_is_refused_whole():
    with pytest.raises(VerificationFailed, match="does not verify"):
        opened(cosignature(NOW) + cosignature(NOW, OTHER))


@pytest.mark.parametrize("time", [0, NOW + 61, 2**63, 2**64 - 1])
def test_l7f_a_cosignature_at_an_impossible_time_is_refused(time):
    with pytest.raises(VerificationFailed, match="time"):
        opened(cosignature(time))


@pytest.mark.parametrize("time", [1, NOW - 5 * 365 * 86400, NOW - 61])
def test_l7f_a_cosignature_older_than_the_checkpoint_would_backdate_it(time):
    with pytest.raises(VerificationFailed, match="older"):
        opened(cosignature(time))


@pytest.mark.parametrize("time", [NOW - 60, NOW, NOW + 60])
def test_l7f_clocks_may_differ_by_the_skew(time):
    assert len(opened(cosignature(time))) == 1


def test_l7g_one_line_three_times_stands_once_under_the_note():
    lines = opened(v.WITNESS_LINE.encode() * 3)
    merged = note.add_lines(note.add_lines(HONEST.note(8), lines), lines)
    assert merged.count(v.WITNESS_LINE.encode()) == 1
    assert merged == v.CHECKPOINT_NOTE


HOSTILE = {
    "nothing": b"",
    "no line": b"\n",
    "no final newline": v.WITNESS_LINE.encode()[:-1],
    "a text of its own": b"x\n1\n\n" + v.WITNESS_LINE.encode(),
    "a stranger's line": note.cosign(v.CHECKPOINT_TEXT, "w/x", OTHER.public, OTHER.sign, NOW).encode(),
    "a size": b"48211\n",
    "ten megabytes": b"a" * 10_000_000 + b"\n",
    "a thousand lines": v.WITNESS_LINE.encode() * 1000,
    "our own signature": v.LOG_LINE.encode(),
    "three bytes": f"— {v.WITNESS} AAAA\n".encode(),
    "not UTF-8": b"\xff\n",
}


@pytest.mark.parametrize("defect", HOSTILE)
def test_an_answer_that_is_no_cosignature_of_this_witness_is_refused(defect):
    with pytest.raises(TrustnodeError) as refused:
        opened(HOSTILE[defect])
    assert refused.value.reason == "VERIFICATION_FAILED"


def test_only_lines_of_the_witness_that_was_asked_are_taken_over():
    stranger = note.cosign(v.CHECKPOINT_TEXT, "w/x", OTHER.public, OTHER.sign, NOW).encode()
    assert opened(stranger + v.WITNESS_LINE.encode()) == [v.WITNESS_LINE]


def test_the_note_that_a_witness_keeps_has_the_signature_of_the_log_and_its_own():
    other = note.cosign(v.CHECKPOINT_TEXT, "w/x", OTHER.public, OTHER.sign, NOW)
    asked = note.add_lines(HONEST.note(8), [other])
    assert witness.cosigned(asked, [v.LOG], v.WITNESS_LINE) == v.CHECKPOINT_NOTE


def test_a_note_that_is_not_ours_says_nothing_about_us():
    forged = sign_checkpoint(Checkpoint(v.ORIGIN, *HONEST.head(8)), OTHER.public, OTHER.sign)
    assert witness.open_own(forged, [v.LOG]) is None
    assert witness.open_own(b"", [v.LOG]) is None
    assert witness.open_own(v.CHECKPOINT_NOTE, [v.LOG]).head == HONEST.head(8)


@pytest.mark.parametrize("body, size", [(b"48211\n", 48211), (b"0\n", 0), (b"", None), (b"08\n", None), (b"x", None)])
def test_the_size_in_a_stale_answer_has_one_spelling(body, size):
    assert witness.parse_size(body) == size


def test_a_cosigner_is_no_log():
    as_log = v.WITNESS_KEY.named(v.ORIGIN, COSIGNATURE_V1)
    assert judge(HONEST.ask(0, 8), [as_log], NOTHING).status == 403
