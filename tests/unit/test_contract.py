"""Small rules of contracts and prices that documents depend on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustnode.core.contract import GRADES, Mandate, Price, at_least, check_mandate, default_grade
from trustnode.errors import TrustnodeError


@pytest.mark.parametrize(
    "text", ["free", "50 CNY once", "12 CNY per month", "50 CNY per read", "0.02 CNY per row", "0.000001 CNY per row"]
)
def test_a_price_reads_back_as_it_was_written(text: str) -> None:
    assert str(Price.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "0.02", "0.02 USD per row", "1e3 CNY once", "-1 CNY once", "1 CNY per byte", "1 CNY once\n", "NaN CNY once"],
)
def test_what_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(TrustnodeError) as refused:
        Price.parse(text)
    assert refused.value.reason == "PRICE_MISSING"


def test_the_loans_of_the_demo_cost_what_they_cost() -> None:
    assert Price.parse("0.02 CNY per row").cost_fen(rows=8505) == 17010


def test_a_part_of_a_fen_counts_as_one() -> None:
    assert Price.parse("0.0001 CNY per row").cost_fen(rows=1) == 1


@given(st.integers(0, 10**9))
def test_rows_are_never_cheaper_in_sum_than_apart(rows: int) -> None:
    price = Price.parse("0.02 CNY per row")
    assert price.cost_fen(rows=rows) + price.cost_fen(rows=1) == price.cost_fen(rows=rows + 1)


def test_protected_levels_ask_for_the_signature_of_a_key_that_is_held() -> None:
    assert [default_grade(level) for level in ("GENERAL_1", "GENERAL_2", "GENERAL_3", "GENERAL_4", "IMPORTANT")] == [
        "CUSTODY",
        "DELEGATED",
        "SIGNED",
        "SIGNED",
        "SIGNED",
    ]
    assert default_grade("a level nobody knows") == "SIGNED"


def test_grades_are_ordered() -> None:
    for weak, grade in enumerate(GRADES):
        for minimum, other in enumerate(GRADES):
            assert at_least(grade, other) == (weak >= minimum)  # type: ignore[arg-type]


ACME = "spiffe://zj.example/participant/acme"
OTHER = "spiffe://zj.example/participant/other"


@pytest.mark.parametrize(
    "mandate, now, concluded, is_covered",
    [
        (Mandate(3), "2026-11-24T00:00:00.000Z", 2, True),
        (Mandate(3), "2026-11-24T00:00:00.000Z", 3, False),
        (Mandate(3, (ACME,)), "2026-11-24T00:00:00.000Z", 0, True),
        (Mandate(3, (OTHER,)), "2026-11-24T00:00:00.000Z", 0, False),
        (Mandate(3), "2026-11-25T00:00:00.001Z", 0, False),
        (None, "2026-11-24T00:00:00.000Z", 0, False),
    ],
)
def test_a_venue_concludes_only_what_the_mandate_covers(mandate, now, concluded, is_covered) -> None:
    offer = SimpleNamespace(mandate=mandate, valid_until="2026-11-25T00:00:00.000Z")
    agreement = SimpleNamespace(consumer=SimpleNamespace(participant=ACME))
    if is_covered:
        check_mandate(agreement, offer, now, concluded)
        return
    with pytest.raises(TrustnodeError) as refused:
        check_mandate(agreement, offer, now, concluded)
    assert refused.value.reason == "SIGNATURE_INVALID"
