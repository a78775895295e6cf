"""What bits seen in a file say about recipients: exact chances, one leak, two who merge, and innocents."""

from __future__ import annotations

import random
from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustnode.core import tracing
from trustnode.core.tracing import BITS, Votes, chance, observed, opening, pairs, recipient, suspects

RECIPIENTS = [recipient(b"h" * 32, "gz.example/p", f"C{number}") for number in range(20)]


def votes_of(secret, number=10):
    return [Votes(0, number) if secret.bit(bit) else Votes(number, 0) for bit in range(BITS)]


@pytest.mark.parametrize("agreeing, published", [(48, 4e-5), (52, 2e-7), (56, 3e-10), (60, 4e-14)])  # privacy 4.1
def test_chances_are_those_of_the_table(agreeing, published):
    assert chance(64, agreeing) == pytest.approx(published, rel=0.4)


@given(st.integers(0, 64), st.data())
def test_a_chance_is_exact(bits, data):
    agreeing = data.draw(st.integers(0, bits))
    exact = Fraction(sum(comb(bits, k) for k in range(agreeing, bits + 1)), 2**bits)
    assert chance(bits, agreeing) == float(exact)
    assert chance(bits, 0) == 1


def test_a_whole_copy_names_its_recipient_and_nobody_else():
    found = suspects(observed(votes_of(RECIPIENTS[3].secret)), RECIPIENTS)
    assert found[0].name == "C3"
    assert found[0].agreeing == found[0].seen == 64
    assert [one.name for one in found if one.is_accused] == ["C3"]


def test_few_bits_are_not_enough_however_well_they_agree():
    votes = [vote if bit < 30 else Votes(0, 0) for bit, vote in enumerate(votes_of(RECIPIENTS[3].secret, 1))]
    found = suspects(observed(votes), RECIPIENTS)
    assert (found[0].name, found[0].seen, found[0].agreeing) == ("C3", 30, 30)
    assert not found[0].is_accused


def test_the_number_of_recipients_counts():
    bits = observed([vote if bit < 30 else Votes(0, 0) for bit, vote in enumerate(votes_of(RECIPIENTS[3].secret, 1))])
    assert suspects(bits, [RECIPIENTS[3]])[0].is_accused
    assert not suspects(bits, RECIPIENTS[:4])[0].is_accused


def test_a_file_without_marks_says_nothing():
    assert observed([Votes(0, 0)] * BITS) == ("unseen",) * BITS
    assert not any(one.is_accused for one in suspects(("unseen",) * BITS, RECIPIENTS))
    assert pairs(("unseen",) * BITS, RECIPIENTS) == ()


@pytest.mark.parametrize("how", ["remove", "mix"])
def test_q4b_two_who_merge_their_copies_are_both_named_and_nobody_else(how):
    one, other = RECIPIENTS[5].secret, RECIPIENTS[11].secret
    torn = Votes(0, 0) if how == "remove" else Votes(6, 5)
    votes = [vote if one.bit(bit) == other.bit(bit) else torn for bit, vote in enumerate(votes_of(one))]
    bits = observed(votes)
    assert [pair.names for pair in pairs(bits, RECIPIENTS)] == [("C5", "C11")]
    assert {one.name for one in suspects(bits, RECIPIENTS)[:2]} == {"C5", "C11"}


def test_a_lone_leak_is_no_pair():
    assert pairs(observed(votes_of(RECIPIENTS[3].secret)), RECIPIENTS) == ()


def test_nobody_is_accused_by_votes_that_mean_nothing():
    chances = random.Random(3)
    for _ in range(30):
        bits = observed([Votes(chances.randrange(12), chances.randrange(12)) for _ in range(BITS)])
        assert not any(one.is_accused for one in suspects(bits, RECIPIENTS))
        assert not pairs(bits, RECIPIENTS)


def test_a_commitment_opens_to_one_mark_alone():
    one = opening(b"h" * 32, "gz.example/p", "acme", "C0")
    assert one.commitment == opening(b"h" * 32, "gz.example/p", "acme", "C0").commitment
    others = [
        opening(b"i" * 32, "gz.example/p", "acme", "C0"),
        opening(b"h" * 32, "gz.example/q", "acme", "C0"),
        opening(b"h" * 32, "gz.example/p", "beta", "C0"),
        opening(b"h" * 32, "gz.example/p", "acme", "C1"),
    ]
    assert len({one.commitment, *(other.commitment for other in others)}) == 5


def test_q4b_who_buys_twice_learns_nothing_from_comparing():
    once, again = (opening(b"h" * 32, "gz.example/p", "acme", agreement) for agreement in ("C0", "C1"))
    assert once.secret == again.secret
    assert once.salt != again.salt


def test_votes_are_counted_by_bit():
    found = tracing.tally([(0, 1, 3), (0, 0, 1), (63, 1, 2), (0, 1, 4)])
    assert (found[0], found[1], found[63]) == (Votes(1, 7), Votes(0, 0), Votes(0, 2))
