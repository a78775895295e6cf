"""The incremental tile builder equals the definition."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.evidence import naive
from unit.evidence import vectors as v

from trustnode.core.evidence.edges import TileEdges, restore, root_from_edges
from trustnode.core.evidence.tile import width_at
from trustnode.core.evidence.tree import (
    EMPTY_ROOT,
    TreeHead,
    hashes_in,
    leaf_hash,
    prove_consistency,
    prove_inclusion,
    verify_consistency,
    verify_inclusion,
)
from trustnode.errors import VerificationFailed

# Any 32 bytes are as good as a leaf hash.
HASHES = [i.to_bytes(32, "big") for i in range(65537 + 256)]
NEAR_256 = [1, 2, 3, 254, 255, 256, 257, 511, 512, 513]
NEAR_65536 = [65535, 65536, 65537]


@pytest.fixture(scope="module")
def large():
    """Naive tiles and root near the first full tile of level 1."""
    return {size: (naive.tiles(HASHES[:size]), naive.mth(HASHES[:size])) for size in NEAR_65536}


def build(sizes):
    """Append up to each size in turn; return the last state and all tiles as a store would hold them."""
    edges, stored = TileEdges(), {}
    for start, end in pairwise([0, *sizes]):
        edges, tiles = edges.grow(HASHES[start:end])
        stored.update(tiles)
    return edges, stored


def test_a_new_log_is_the_empty_tree():
    assert TileEdges().head == TreeHead(0, EMPTY_ROOT)


def test_roots_are_the_classic_ones_one_by_one():
    edges = TileEdges()
    for size, data in enumerate(v.LEAVES, 1):
        edges = edges.grow([leaf_hash(data)]).edges
        assert edges.head == TreeHead(size, v.ROOTS[size])


def test_growing_by_nothing_changes_nothing():
    edges, _ = build([300])
    assert edges.grow([]) == (edges, {})


def test_growing_leaves_the_old_value_as_it_was():
    edges, stored = build([300])
    before = edges.head
    edges.grow(HASHES[300:700])
    assert edges.head == before
    assert edges.grow(HASHES[300:301]).head == build([300, 301])[0].head
    assert stored == naive.tiles(HASHES[:300])


@pytest.mark.parametrize("size", NEAR_256)
def test_one_batch_equals_the_definition(size):
    edges, stored = build([size])
    assert edges.head == TreeHead(size, naive.mth(HASHES[:size]))
    assert stored == naive.tiles(HASHES[:size])


@pytest.mark.parametrize("size", NEAR_65536)
@pytest.mark.parametrize("steps", [[], [1], [65279, 65534]], ids=["at once", "in two", "in three"])
def test_sizes_near_a_full_second_level_equal_the_definition(size, steps, large):
    tiles, root = large[size]
    edges, stored = build([*steps, size])
    assert edges.head == TreeHead(size, root)
    assert stored == tiles


def test_one_by_one_over_the_border_of_the_second_level(large):
    edges, stored = build([65534, *NEAR_65536])
    assert edges.head.root == large[65537][1]
    assert stored == large[65537][0]


@settings(max_examples=60)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=6))
def test_any_batches_lead_to_the_same_state(widths):
    ends = [sum(widths[: i + 1]) for i in range(len(widths))]
    edges, stored = build(ends)
    assert edges == build([ends[-1]])[0]
    assert edges.head.root == naive.mth(HASHES[: ends[-1]])
    assert stored == naive.tiles(HASHES[: ends[-1]])


def test_only_the_tiles_that_change_are_written():
    edges, _ = build([256 * 3 + 5])
    assert set(edges.grow(HASHES[773:774]).tiles) == {(0, 3)}
    assert set(edges.grow(HASHES[773 : 4 * 256]).tiles) == {(0, 3), (1, 0)}
    assert set(edges.grow(HASHES[773 : 4 * 256 + 1]).tiles) == {(0, 3), (0, 4), (1, 0)}


@pytest.mark.parametrize("size", [0, *NEAR_256, *NEAR_65536])
def test_restoring_from_tiles_gives_the_same_state(size):
    edges, stored = build([size])
    restored = restore(size, lambda *name: stored[name])
    assert restored.head == edges.head
    assert root_from_edges(size, lambda *name: stored[name]) == edges.head.root
    more = HASHES[size : size + 256]
    assert restored.grow(more).head == edges.grow(more).head
    assert restored.grow(more).tiles == edges.grow(more).tiles


@settings(max_examples=40)
@given(st.integers(0, 3000))
def test_restoring_any_size_gives_an_equal_value(size):
    edges, stored = build([size])
    assert restore(size, lambda *name: stored[name]) == edges


def test_an_earlier_state_is_restored_from_later_tiles():
    _, stored = build([700])
    assert restore(600, lambda *name: stored[name]).head == build([600])[0].head


@pytest.mark.parametrize("name", [(0, 2), (1, 0)])
def test_a_tile_that_is_too_narrow_restores_nothing(name):
    _, stored = build([700])
    stored[name] = stored[name][:-1]
    with pytest.raises(VerificationFailed, match="narrower"):
        restore(700, lambda *which: stored[which])


def test_one_flipped_bit_at_the_edge_shows_in_the_root():
    edges, stored = build([700])
    tile = stored[0, 2]
    stored[0, 2] = bytes([tile[0] ^ 1]) + tile[1:]
    assert root_from_edges(700, lambda *name: stored[name]) != edges.head.root


def test_tiles_have_the_width_that_their_size_says():
    size = 65537
    _, stored = build([size])
    for (level, number), data in stored.items():
        assert len(data) == 32 * width_at(size, level, number)


@settings(max_examples=30)
@given(st.data())
def test_proofs_read_from_the_stored_tiles_hold(data):
    old, new = sorted(data.draw(st.tuples(st.integers(1, len(HASHES)), st.integers(1, len(HASHES))), label="sizes"))
    before, _ = build([old])
    after, stored = build([old, new])
    get = hashes_in(lambda *name: stored[name])
    verify_consistency(before.head, after.head, prove_consistency(old, new, get))
    index = data.draw(st.integers(0, old - 1), label="index")
    verify_inclusion(index, HASHES[index], prove_inclusion(index, old, get), before.head)
    verify_inclusion(index, HASHES[index], prove_inclusion(index, new, get), after.head)
