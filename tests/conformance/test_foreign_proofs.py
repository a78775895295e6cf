"""Two foreign libraries accept every proof that we make, and what they refuse, so do we."""

from pathlib import Path

import pytest
from conformance import proofs
from unit.evidence import naive

pytestmark = pytest.mark.timeout(900)  # the first test that asks builds the program


def judged(foreign, claims):
    return foreign.ask("vectors", [one.question() for one in claims])


def test_l8a_every_proof_of_small_trees_and_of_the_edges_of_tiles_verifies_here_and_elsewhere(foreign):
    claims = list(proofs.true_ones())
    assert len(claims) > 2 * 70 * 71 // 2
    assert all(one.holds() for one in claims)
    assert [v for v in judged(foreign, claims) if v != {"sumdb": True, "merkle": True}] == []


def test_l8a_the_trees_of_these_proofs_are_those_of_the_definition():
    for size in (*range(1, 71), 255, 256, 257):
        assert proofs.grown(size)[0].root == naive.mth([proofs.leaf(index) for index in range(size)])


def test_l8b_every_mutated_proof_is_refused_here_and_elsewhere(foreign):
    claims = list(proofs.false_ones())
    assert len(claims) > 4000
    assert [one for one in claims if one.holds()] == []
    wrong = [one for one, v in zip(claims, judged(foreign, claims), strict=True) if v["sumdb"] or v["merkle"]]
    assert wrong == []


@pytest.mark.parametrize("old", [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 32768, 65536])
def test_l8c_consistency_from_a_power_of_two_verifies_here_and_elsewhere(foreign, old):
    claims = [proofs.consistency(old, size) for size in (old, old + 1, old + 3, 65537) if size >= old]
    assert all(one.holds() for one in claims)
    assert all(v == {"sumdb": True, "merkle": True} for v in judged(foreign, claims))


def test_the_go_module_depends_on_no_machine():
    text = (Path(__file__).parent / "go" / "go.mod").read_text(encoding="utf-8")
    assert not {"replace", "toolchain", "exclude"} & {line.split(" ")[0] for line in text.splitlines()}
