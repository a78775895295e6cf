"""The table of reasons is complete in every direction: classes, codes, the registry on the wire, the page."""

import re

import grpc
import pytest
from architecture.contract import CHECKOUT

from trustnode import errors
from trustnode.testing.generate import error_page, error_proto, reason_numbers
from trustnode.v1 import error_pb2

UNSPECIFIED = "REASON_UNSPECIFIED"
EXIT_STATUSES = {1, 2, 3, 4, 5, 6, 7, 8, 11, 130}
CLASSES = {
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.TrustnodeError)
} - {errors.TrustnodeError}


def test_no_reason_stands_twice():
    assert len({row.reason for row in errors.ROWS}) == len(errors.ROWS)


def test_the_wire_registry_names_exactly_the_reasons_of_the_table():
    on_the_wire = {name.removeprefix("REASON_") for name in dict(error_pb2.Reason.items()) if name != UNSPECIFIED}

    assert on_the_wire == {row.reason for row in errors.ROWS}


def test_every_class_has_a_reason_and_every_reason_a_class():
    assert {row.error for row in errors.ROWS} == CLASSES


@pytest.mark.parametrize("row", errors.ROWS, ids=lambda row: row.reason)
def test_a_reason_can_be_sent_printed_and_acted_on(row):
    assert re.fullmatch(r"[A-Z][A-Z0-9_]{0,62}", row.reason)
    assert row.code in grpc.StatusCode.__members__
    assert row.code not in {"OK", "UNKNOWN"}
    assert row.exit_status in EXIT_STATUSES
    assert row.meaning
    assert row.meaning_zh
    assert row.next_step.endswith(".") or "trustnode " in row.next_step


@pytest.mark.parametrize("row", errors.ROWS, ids=lambda row: row.reason)
def test_a_reason_makes_an_error_of_its_class(row):
    made = errors.error(row.reason)

    assert type(made) is row.error
    assert (made.exit_status, made.retryable) == (row.exit_status, row.retryable)
    assert made.next_step == row.next_step


def test_numbers_once_given_stay_when_rows_are_moved():
    before = reason_numbers(error_proto(errors.ROWS, ""))

    after = reason_numbers(error_proto(errors.ROWS[::-1], error_proto(errors.ROWS, "")))

    assert after == before


def test_the_number_of_a_removed_reason_is_never_given_again():
    present = error_proto(errors.ROWS, "")
    gone, *rest = errors.ROWS
    without = error_proto(rest, present)

    added = error_proto([*rest, gone._replace(reason="SOMETHING_NEW")], without)

    assert reason_numbers(added)["SOMETHING_NEW"] == len(errors.ROWS) + 1
    assert f'reserved "REASON_{gone.reason}";' in added


def test_the_error_catalogue_shows_the_table():
    assert (CHECKOUT / "docs/errors.md").read_text(encoding="utf-8") == error_page(errors.ROWS)


def test_the_decision_on_our_own_reasons_names_them_all():
    text = (CHECKOUT / "docs/decisions/0002-reasons-of-our-own.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `([A-Z_]+)`", text, re.MULTILINE))

    assert named == {row.reason for row in errors.ROWS[69:]}
