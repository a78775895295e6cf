"""The file that shows one entry to a stranger."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.evidence import naive
from unit.evidence import vectors as v

from trustnode.core.evidence.checkpoint import Checkpoint, sign_checkpoint
from trustnode.core.evidence.proof import TlogProof, parse_proof, verify_proof
from trustnode.core.evidence.tree import leaf_hash, prove_inclusion
from trustnode.errors import VerificationFailed

GOLDEN = [leaf_hash(data) for data in v.LEAVES]
ENTRY = v.LEAVES[5]


def made(index=5, extra=b""):
    path = prove_inclusion(index, 8, naive.reader(GOLDEN))
    return TlogProof(index, tuple(path), v.CHECKPOINT_NOTE, extra)


def test_the_file_is_the_published_one():
    assert len(v.PROOF_FILE) == 485
    assert made().to_bytes() == v.PROOF_FILE
    assert parse_proof(v.PROOF_FILE) == made()


def test_the_published_file_verifies_with_one_witness():
    signed = verify_proof(parse_proof(v.PROOF_FILE), ENTRY, [v.LOG], [v.B], quorum=1)
    assert signed.checkpoint == Checkpoint(v.ORIGIN, 8, v.ROOTS[8])


@given(
    st.integers(0, 2**63 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    st.binary(),
    st.binary(max_size=50),
)
def test_any_file_reads_back(index, path, checkpoint, extra):
    proof = TlogProof(index, tuple(path), checkpoint, extra)
    assert parse_proof(proof.to_bytes()) == proof


@given(st.binary(max_size=300))
def test_no_bytes_bring_the_parser_down(data):
    with pytest.raises(VerificationFailed):
        parse_proof(data)


@given(st.data())
def test_one_flipped_bit_never_proves_something_else(data):
    at, bit = data.draw(st.integers(0, len(v.PROOF_FILE) - 1)), data.draw(st.integers(0, 7))
    forged = bytearray(v.PROOF_FILE)
    forged[at] ^= 1 << bit
    with pytest.raises(VerificationFailed):
        verify_proof(parse_proof(bytes(forged)), ENTRY, [v.LOG], [v.B], quorum=1)


def test_l8d_extra_is_carried_and_changes_nothing():
    proof = parse_proof(made(extra=b"forged").to_bytes())
    assert proof.extra == b"forged"
    verify_proof(proof, ENTRY, [v.LOG])


@pytest.mark.parametrize("data", [b"", b"other", v.LEAVES[4]], ids=["empty", "other", "neighbour"])
def test_another_entry_does_not_verify(data):
    with pytest.raises(VerificationFailed, match="root"):
        verify_proof(made(), data, [v.LOG])


def test_l7m_a_proof_without_its_cosignatures_misses_the_quorum():
    bare = TlogProof(
        5, made().path, sign_checkpoint(Checkpoint(v.ORIGIN, 8, v.ROOTS[8]), v.LOG_KEY.public, v.LOG_KEY.sign)
    )
    verify_proof(bare, ENTRY, [v.LOG], [v.B])
    with pytest.raises(VerificationFailed) as caught:
        verify_proof(bare, ENTRY, [v.LOG], [v.B], quorum=1)
    assert caught.value.metadata["field"] == "quorum"


def test_l8d_the_checkpoint_of_another_log_does_not_verify():
    other = v.TestKey(0x40)
    checkpoint = sign_checkpoint(Checkpoint("venue-c.example/log", 8, v.ROOTS[8]), other.public, other.sign)
    with pytest.raises(VerificationFailed, match="known key"):
        verify_proof(TlogProof(5, made().path, checkpoint), ENTRY, [v.LOG])


def test_a_checkpoint_of_another_size_does_not_verify():
    checkpoint = sign_checkpoint(Checkpoint(v.ORIGIN, 7, v.ROOTS[7]), v.LOG_KEY.public, v.LOG_KEY.sign)
    with pytest.raises(VerificationFailed):
        verify_proof(TlogProof(5, made().path, checkpoint), ENTRY, [v.LOG])


FILE = v.PROOF_FILE
HASH = b"yoVOoSjtBQtBs1/8G4e46yveRh6eO1WW7Oa51ZdaCuA=\n"
HOSTILE = {
    "empty": b"",
    "no checkpoint": FILE.split(b"\n\n", maxsplit=1)[0],
    "no magic line": FILE.partition(b"\n")[2],
    "version 2": FILE.replace(b"@v1", b"@v2"),
    "magic line with a space": FILE.replace(b"@v1\n", b"@v1 \n"),
    "carriage returns": FILE.replace(b"\n", b"\r\n"),
    "no index": FILE.replace(b"index 5\n", b""),
    "index without number": FILE.replace(b"index 5", b"index "),
    "index 05": FILE.replace(b"index 5", b"index 05"),
    "index +5": FILE.replace(b"index 5", b"index +5"),
    "index -5": FILE.replace(b"index 5", b"index -5"),
    "index 2^63": FILE.replace(b"index 5", b"index 9223372036854775808"),
    "index twice": FILE.replace(b"index 5\n", b"index 5\nindex 5\n"),
    "full-width index": FILE.replace(b"index 5", "index ５".encode()),
    "extra after index": FILE.replace(b"index 5\n", b"index 5\nextra AAAA\n"),
    "extra without data": FILE.replace(b"index", b"extra \nindex"),
    "extra twice": FILE.replace(b"index", b"extra AAAA\nextra AAAA\nindex"),
    "extra not base64": FILE.replace(b"index", b"extra ?\nindex"),
    "hash of 31 bytes": FILE.replace(HASH, b"A" * 41 + b"A==\n"),
    "hash with stray bits": FILE.replace(b"CuA=", b"CuB="),
    "hash without padding": FILE.replace(b"CuA=", b"CuA"),
    "64 hashes": FILE.replace(HASH, HASH * 62),
    "not ASCII": FILE.replace(b"index", b"\xffndex"),
    "ten megabytes": FILE.replace(HASH, HASH * 250_000),
}


@pytest.mark.parametrize("defect", HOSTILE)
def test_l8d_malformed_files_are_refused(defect):
    with pytest.raises(VerificationFailed):
        parse_proof(HOSTILE[defect])
