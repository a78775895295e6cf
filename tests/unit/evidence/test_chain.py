"""Commitments and the chain of an object."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.evidence import vectors as v

from trustnode.core.evidence import chain
from trustnode.core.evidence.chain import ChainEnd
from trustnode.errors import InvalidRequest


def test_the_commitment_is_the_published_one():
    assert len(v.STATEMENT) == 193
    assert chain.commitment(v.SALT, v.STATEMENT) == v.COMMITMENT


def test_object_and_links_are_the_published_ones():
    assert chain.object_id("agreement", v.AGREEMENT) == v.OBJECT
    first = chain.extend(ChainEnd(), v.OBJECT, v.COMMITMENT)
    assert first == ChainEnd(1, v.LINK_1)
    assert chain.extend(first, v.OBJECT, v.COMMITMENT) == ChainEnd(2, v.LINK_2)
    assert chain.link(v.OBJECT, 1, bytes(32), v.COMMITMENT) == v.LINK_1


@pytest.mark.parametrize("salt", [b"", bytes(15), bytes(17)], ids=len)
def test_a_salt_has_one_length(salt):
    with pytest.raises(InvalidRequest):
        chain.commitment(salt, v.STATEMENT)


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=2, max_size=8, unique=True), st.data())
def test_leaving_out_exchanging_or_moving_an_entry_changes_the_last_link(commitments, data):
    def last(of, entries):
        end = ChainEnd()
        for committed in entries:
            end = chain.extend(end, of, committed)
        return end.link

    at = data.draw(st.integers(0, len(commitments) - 2))
    without = commitments[:at] + commitments[at + 1 :]
    swapped = [*commitments[:at], commitments[at + 1], commitments[at], *commitments[at + 2 :]]
    whole = last(v.OBJECT, commitments)
    assert whole not in (last(v.OBJECT, without), last(v.OBJECT, swapped), last(bytes(32), commitments))


def test_objects_of_two_kinds_with_one_name_have_two_chains():
    assert chain.object_id("agreement", "1") != chain.object_id("negotiation", "1")


def test_padding_looks_like_a_link():
    assert chain.padding(v.LINK_1) == v.LINK_1
    with pytest.raises(InvalidRequest):
        chain.padding(bytes(31))


def test_l15b_a_statement_with_a_million_possible_values_is_not_guessed_from_its_leaf():
    """Everything is known but the salt and one number; with the salt, the number is found."""
    said = b'{"access_id":"a1","amount":%d,"type":"delivery.complete","unit":"rows"}'
    salt = bytes.fromhex("5f" * chain.SALT_BYTES)
    leaf = chain.extend(ChainEnd(), v.OBJECT, chain.commitment(salt, said % 271_828)).link

    def guesses(salt, numbers):
        return [n for n in numbers if chain.link(v.OBJECT, 1, bytes(32), sha256(salt + said % n).digest()) == leaf]

    assert guesses(b"", range(1_000_000)) == []
    assert guesses(salt, range(271_000, 272_000)) == [271_828]
