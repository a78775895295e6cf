"""Identifiers: the vectors of the vocabulary, and what must be refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustnode.core import identifier
from trustnode.errors import TrustnodeError

VALID = [
    "191110000000000000E110000000001V",
    "29133000000000000043300000000018",
    "291370000000000000L370000000001A",
    "391310000000000000U006600000001I",
    "491330100000000000933000000A0015",
    "591330100000000019633000000C001*",
    "691330100000000019633000000P001S",
    "791330100000000019633000000R001B",
    "C491330100000000000933002026011508300000000001P",
    "291110000MA00000X1Y110100000001O",
    "691310000MA1FL0001X3100A1B2C3D4O",
    "C491310000MA1FL0001X31002026010112000000000001U",
]
REFUSED = {
    "one character changed": "691330100000000019633000010P001S",
    "first two swapped": "961330100000000019633000000P001S",
    "lower case": "691330100000000019633000000P001s",
    "check digit by sum mod 10": "691330100000000019633000000P0011",
    "star inside": "6913301000000000196*3000000P001S",
    "too short": "691330100000000019633000000P001",
    "empty extension": "691330100000000019633000000P001S•",
    "extension of 33": "691330100000000019633000000P001S•" + "x" * 33,
    "nothing": "",
}
TEXT = st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=31)


@pytest.mark.parametrize("code", VALID)
def test_vectors_are_valid(code: str) -> None:
    assert identifier.is_valid(code)


@pytest.mark.parametrize("code", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_identifier_is_refused(code: str) -> None:
    with pytest.raises(TrustnodeError) as refused:
        identifier.check_identifier(code, 32, "product_id")
    assert refused.value.reason == "IDENTIFIER_INVALID"


def test_an_extension_stands_outside_the_check() -> None:
    code = "691330100000000019633000000P001S•ZJ-WEATHER-2025-0001"
    assert identifier.check_identifier(code, 32, "product_id") == code


def test_the_check_does_not_see_a_swap_36_places_apart() -> None:
    assert identifier.is_valid("C491330000000000000933002026011508300000000101P")


@given(TEXT, st.integers(0, 30), st.sampled_from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
def test_every_single_substitution_is_detected(body: str, place: int, other: str) -> None:
    code = body + identifier.check_character(body)
    assert identifier.is_valid(code)
    at = place % len(body)
    changed = code[:at] + other + code[at + 1 :]
    assert identifier.is_valid(changed) == (changed == code)


@given(st.binary(min_size=8, max_size=8))
def test_issued_identifiers_are_valid_and_short_names_are_their_random_part(noise: bytes) -> None:
    random = identifier.random_part(noise)
    node = identifier.node_id("REGIONAL", "913300000000000004", "3300", random)
    contract = identifier.contract_id("REGIONAL", "913300000000000004", "3300", "2026-11-24T11:02:31.000Z", random)
    assert identifier.is_valid(node)
    assert identifier.is_valid(contract)
    assert identifier.short_name(contract) == random == identifier.short_name(node)
    assert len(contract) == identifier.CONTRACT_LENGTH


@pytest.mark.parametrize("area", ["330", "33000", "33a0", ""])
def test_an_area_has_four_digits(area: str) -> None:
    with pytest.raises(TrustnodeError):
        identifier.node_id("REGIONAL", "913300000000000004", area, "AAAAAAAA")


@pytest.mark.parametrize("name", ["", "-a", "A", "a b", "a/b", "x" * 64, "ä"])
def test_names_that_nobody_should_type(name: str) -> None:
    with pytest.raises(TrustnodeError):
        identifier.check_name(name)
