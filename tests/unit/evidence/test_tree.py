"""Merkle proofs: every true one holds, every false one fails."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.evidence import naive
from unit.evidence import vectors as v

from trustnode.core.evidence.tree import (
    EMPTY_ROOT,
    TreeHead,
    fold,
    hashes_in,
    leaf_hash,
    node_hash,
    prove_consistency,
    prove_inclusion,
    verify_consistency,
    verify_inclusion,
)
from trustnode.errors import VerificationFailed

GOLDEN = [leaf_hash(data) for data in v.LEAVES]
LEAVES = [leaf_hash(i.to_bytes(2, "big")) for i in range(600)]


def head(leaves):
    return TreeHead(len(leaves), naive.mth(leaves))


def test_roots_are_the_classic_ones():
    assert [naive.mth(GOLDEN[:n]) for n in range(9)] == v.ROOTS
    assert v.ROOTS[0] == EMPTY_ROOT


def test_leaf_hashes_are_the_published_ones():
    assert GOLDEN[2:4] == [v.LEAF_2, v.LEAF_3]
    assert node_hash(*GOLDEN[4:6]) == v.LEAVES_4_5
    assert node_hash(*GOLDEN[6:8]) == v.LEAVES_6_7
    assert fold(b"".join(GOLDEN[4:8])) == v.LEAVES_4_7
    assert leaf_hash(v.COMMITMENT) == v.COMMITMENT_LEAF
    assert leaf_hash(v.LINK_1) == v.LINK_1_LEAF


@pytest.mark.parametrize("old", v.CONSISTENCY_TO_8)
def test_consistency_proofs_are_the_published_ones(old):
    proof = prove_consistency(old, 8, naive.reader(GOLDEN))
    assert proof == v.CONSISTENCY_TO_8[old]
    verify_consistency(TreeHead(old, v.ROOTS[old]), TreeHead(8, v.ROOTS[8]), proof)


def test_every_leaf_of_every_small_tree_proves():
    for size in range(1, 41):
        tree, get = head(LEAVES[:size]), naive.reader(LEAVES[:size])
        for index in range(size):
            verify_inclusion(index, LEAVES[index], prove_inclusion(index, size, get), tree)


def test_every_small_tree_continues_every_smaller_one():
    for new in range(41):
        get = naive.reader(LEAVES[:new])
        for old in range(new + 1):
            verify_consistency(head(LEAVES[:old]), head(LEAVES[:new]), prove_consistency(old, new, get))


def test_no_small_tree_continues_another_history():
    forged = [leaf_hash(b"forged"), *LEAVES[1:]]
    for new in range(2, 20):
        for old in range(1, new + 1):
            proof = prove_consistency(old, new, naive.reader(LEAVES[:new]))
            with pytest.raises(VerificationFailed):
                verify_consistency(head(forged[:old]), head(LEAVES[:new]), proof)
            with pytest.raises(VerificationFailed):
                verify_consistency(head(LEAVES[:old]), head(forged[:new]), proof)


@st.composite
def inclusion(draw):
    size = draw(st.integers(1, 600))
    index = draw(st.integers(0, size - 1))
    return index, size, prove_inclusion(index, size, hashes_in(lambda *name: naive.tiles(LEAVES[:size])[name]))


def flipped(draw, data):
    at = draw(st.integers(0, len(data) * 8 - 1))
    return (int.from_bytes(data, "big") ^ (1 << at)).to_bytes(len(data), "big")


@settings(max_examples=40)
@given(inclusion(), st.data())
def test_a_leaf_proves_and_one_flipped_bit_or_another_place_fails(proof, data):
    index, size, path = proof
    tree = head(LEAVES[:size])
    verify_inclusion(index, LEAVES[index], path, tree)
    with pytest.raises(VerificationFailed):
        verify_inclusion(index, flipped(data.draw, LEAVES[index]), path, tree)
    with pytest.raises(VerificationFailed):
        verify_inclusion(index, LEAVES[index], path, TreeHead(size, flipped(data.draw, tree.root)))
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        forged = [*path[:at], flipped(data.draw, path[at]), *path[at + 1 :]]
        with pytest.raises(VerificationFailed):
            verify_inclusion(index, LEAVES[index], forged, tree)
        elsewhere = data.draw(st.integers(0, size - 1).filter(lambda i: i != index))
        with pytest.raises(VerificationFailed):
            verify_inclusion(elsewhere, LEAVES[index], path, tree)


@settings(max_examples=40)
@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_a_consistency_proof_with_one_flipped_bit_fails(old, more, data):
    new = old + more
    path = prove_consistency(old, new, naive.reader(LEAVES[:new]))
    heads = head(LEAVES[:old]), head(LEAVES[:new])
    verify_consistency(*heads, path)
    at = data.draw(st.integers(0, len(path) - 1))
    with pytest.raises(VerificationFailed):
        verify_consistency(*heads, [*path[:at], flipped(data.draw, path[at]), *path[at + 1 :]])


@pytest.mark.parametrize("change", ["surplus", "missing", "none", "31 bytes", "33 bytes"])
@pytest.mark.parametrize("old", [3, 4, 6])
def test_malformed_consistency_proofs_are_refused(old, change):
    proof = v.CONSISTENCY_TO_8[old]
    changed = {
        "surplus": [*proof, bytes(32)],
        "missing": proof[:-1],
        "none": [],
        "31 bytes": [*proof[:-1], proof[-1][:31]],
        "33 bytes": [*proof[:-1], proof[-1] + b"\0"],
    }[change]
    with pytest.raises(VerificationFailed):
        verify_consistency(TreeHead(old, v.ROOTS[old]), TreeHead(8, v.ROOTS[8]), changed)


def test_the_old_root_is_not_taken_from_the_proof_of_a_power_of_two():
    with pytest.raises(VerificationFailed):
        verify_consistency(TreeHead(4, v.ROOTS[4]), TreeHead(8, v.ROOTS[8]), [v.ROOTS[4], v.LEAVES_4_7])


@pytest.mark.parametrize(
    "old,new,path",
    [
        (TreeHead(8, v.ROOTS[7]), TreeHead(8, v.ROOTS[8]), []),
        (TreeHead(8, v.ROOTS[8]), TreeHead(8, v.ROOTS[8]), [bytes(32)]),
        (TreeHead(0, EMPTY_ROOT), TreeHead(8, v.ROOTS[8]), [bytes(32)]),
        (TreeHead(0, v.ROOTS[1]), TreeHead(8, v.ROOTS[8]), []),
        (TreeHead(8, v.ROOTS[8]), TreeHead(7, v.ROOTS[7]), []),
        (TreeHead(-1, v.ROOTS[8]), TreeHead(7, v.ROOTS[7]), []),
    ],
    ids=["fork", "surplus at equal size", "surplus from nothing", "empty tree with a root", "shrunk", "negative"],
)
def test_heads_that_cannot_follow_each_other_are_refused(old, new, path):
    with pytest.raises(VerificationFailed):
        verify_consistency(old, new, path)


@pytest.mark.parametrize("index", [-1, 8, 2**63])
def test_there_is_no_entry_outside_the_tree(index):
    with pytest.raises(VerificationFailed):
        verify_inclusion(index, GOLDEN[0], [], TreeHead(8, v.ROOTS[8]))
    with pytest.raises(VerificationFailed):
        prove_inclusion(index, 8, naive.reader(GOLDEN))


@pytest.mark.parametrize("path", [[bytes(32)], [b""]], ids=["surplus", "empty hash"])
def test_the_only_leaf_has_an_empty_proof(path):
    verify_inclusion(0, GOLDEN[0], [], TreeHead(1, v.ROOTS[1]))
    with pytest.raises(VerificationFailed):
        verify_inclusion(0, GOLDEN[0], path, TreeHead(1, v.ROOTS[1]))


def test_sizes_out_of_order_have_no_proof():
    with pytest.raises(VerificationFailed):
        prove_consistency(9, 8, naive.reader(GOLDEN))


def test_a_tile_that_is_too_narrow_gives_no_proof():
    tile = b"".join(GOLDEN[:7])
    with pytest.raises(VerificationFailed, match="too short"):
        prove_inclusion(0, 8, hashes_in(lambda *_: tile))


def test_old_sizes_are_proven_from_wider_tiles():
    tile = b"".join(GOLDEN)
    proof = prove_inclusion(3, 5, hashes_in(lambda *_: tile))
    verify_inclusion(3, GOLDEN[3], proof, TreeHead(5, v.ROOTS[5]))


def test_hashes_of_31_and_33_bytes_do_not_pass_for_two_of_32():
    leaf, sibling = GOLDEN[:2]
    with pytest.raises(VerificationFailed, match="32 bytes"):
        verify_inclusion(0, leaf + sibling[:1], [sibling[1:]], TreeHead(2, v.ROOTS[2]))


def test_a_proof_has_the_length_of_its_tree_even_where_the_root_would_fit():
    with pytest.raises(VerificationFailed, match="surplus"):
        verify_inclusion(0, GOLDEN[1], [GOLDEN[0]], TreeHead(1, v.ROOTS[2]))
    with pytest.raises(VerificationFailed, match="too few"):
        verify_inclusion(0, GOLDEN[0], [GOLDEN[1]], TreeHead(4, v.ROOTS[2]))
    with pytest.raises(VerificationFailed, match="too few"):
        verify_consistency(TreeHead(1, v.ROOTS[1]), TreeHead(4, v.ROOTS[2]), [GOLDEN[1]])
