"""When duties fall due, what a proof covers, and their table."""

from __future__ import annotations

import msgspec
import pytest

from trustnode.core import clock, duty
from trustnode.core.contract import Agreement, Price
from trustnode.core.duty import DUTY, DutyFacts, DutyState, Watched, due_at, periods, usual_until, watched, why_not
from trustnode.core.lifecycle import step
from trustnode.core.policy.duration import Duration
from trustnode.core.policy.odrl import Constraint, Duty, Permission, Policy
from trustnode.errors import TrustnodeError

START, END = "2026-01-31T12:00:00.000Z", "2027-01-31T12:00:00.000Z"
DAY = Duration(0, 86_400)
NONE, MONTH = Duration(0, 0), Duration(1, 0)
REPORT = Watched("inform:USE", "interval", "consumer", NONE, MONTH, "report", "")
RENT = Watched("obligation:compensate", "month", "provider", DAY, MONTH, "pay", "")
ERASE = Watched("obligation:delete", "delivery", "consumer", DAY, NONE, "erase", "")
FIRST = Watched("compensate", "once", "provider", None, NONE, "pay first", "")


class Dates(msgspec.Struct):
    """As much of an agreement as dates are counted from."""

    start: str = START


AGREEMENT: Agreement = Dates()  # type: ignore[assignment]


@pytest.mark.parametrize(
    "covered, number, due",
    [
        ("", 0, "2026-02-28T12:00:00.000Z"),
        ("2026-02-01T00:00:00.000Z", 1, "2026-03-31T12:00:00.000Z"),
        ("2026-02-28T12:00:00.000Z", 1, "2026-03-31T12:00:00.000Z"),
        ("2026-02-28T12:00:00.001Z", 2, "2026-04-30T12:00:00.000Z"),
    ],
)
def test_a_report_counts_for_the_whole_interval_it_is_given_in(covered, number, due):
    assert periods(AGREEMENT, REPORT, covered) == number
    assert due_at(AGREEMENT, REPORT, covered, "", END) == due


@pytest.mark.parametrize(
    "covered, number, due",
    [
        ("", 0, "2026-03-01T12:00:00.000Z"),
        ("2026-02-28T11:59:59.999Z", 0, "2026-03-01T12:00:00.000Z"),
        ("2026-02-28T12:00:00.000Z", 1, "2026-04-01T12:00:00.000Z"),
    ],
)
def test_a_payment_counts_for_whole_months(covered, number, due):
    assert periods(AGREEMENT, RENT, covered) == number
    assert due_at(AGREEMENT, RENT, covered, "", END) == due


def test_no_period_begins_after_the_end():
    last = "2027-01-31T12:00:00.000Z"
    assert due_at(AGREEMENT, REPORT, "2026-12-31T12:00:00.000Z", "", END) == last
    assert due_at(AGREEMENT, REPORT, last, "", END) == ""


def test_what_is_owed_for_deliveries_counts_from_the_first_that_no_proof_covers():
    first = "2026-05-01T00:00:00.000Z"
    assert due_at(AGREEMENT, ERASE, "", "", END) == ""
    assert due_at(AGREEMENT, ERASE, "", first, END) == clock.shift(first, 86_400)


def test_what_reads_wait_for_is_due_at_no_time():
    assert due_at(AGREEMENT, FIRST, "", "", END) == ""
    by_a_day = FIRST._replace(within=DAY)
    assert due_at(AGREEMENT, by_a_day, "", "", END) == clock.shift(START, 86_400)
    assert due_at(AGREEMENT, by_a_day, START, "", END) == ""


@pytest.mark.parametrize("month", [1, 7, 40, 300])
def test_periods_far_from_the_start_are_found(month):
    ends = clock.text(Duration(month, 0).after(clock.moment(START)))
    assert periods(AGREEMENT, RENT, ends) == periods(AGREEMENT, REPORT, ends) == month
    assert periods(AGREEMENT, REPORT, clock.shift(ends, 1)) == month + 1


def test_a_proof_covers_the_oldest_period_that_is_owed():
    now = "2026-06-15T00:00:00.000Z"
    assert usual_until(AGREEMENT, REPORT, "", now) == "2026-02-28T12:00:00.000Z"
    assert usual_until(AGREEMENT, REPORT, "2026-05-31T12:00:00.000Z", now) == now
    assert usual_until(AGREEMENT, RENT, "2026-05-31T12:00:00.000Z", now) == "2026-06-30T12:00:00.000Z"
    assert usual_until(AGREEMENT, ERASE, "", now) == now


def test_what_is_not_owed_is_not_shown():
    given = "2026-02-15T00:00:00.000Z"
    assert "next one begins" in why_not(AGREEMENT, REPORT, given, "", "2026-02-20T00:00:00.000Z")
    assert why_not(AGREEMENT, REPORT, given, "", "2026-03-01T00:00:00.000Z") == ""
    assert "ends at" in why_not(AGREEMENT, RENT, "", "", given)
    assert "nothing was delivered" in why_not(AGREEMENT, ERASE, "", "", given)
    assert why_not(AGREEMENT, ERASE, "", given, given) == ""
    assert why_not(AGREEMENT, FIRST, given, "", given) == "it is done"


# --- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state, event, actor, facts, reached",
    [
        ("", "fulfil", "C", DutyFacts(covers=True), "FULFILLED"),
        ("", "overdue", "T", DutyFacts(overdue=True), "VIOLATED"),
        ("FULFILLED", "overdue", "T", DutyFacts(overdue=True), "VIOLATED"),
        ("FULFILLED", "fulfil", "P", DutyFacts(covers=True), "FULFILLED"),
        ("VIOLATED", "fulfil", "C", DutyFacts(covers=True), "FULFILLED"),
    ],
)
def test_every_step(state, event, actor, facts, reached):
    row = DutyState(id="a/d", state=state, version=1) if state else None
    assert step(DUTY, row, event, actor, facts).state == reached
    with pytest.raises(TrustnodeError) as refused:
        step(DUTY, row, event, actor, DutyFacts())
    assert refused.value.reason in ("DUPLICATE", "ILLEGAL_TRANSITION")


def test_nobody_but_time_makes_a_duty_overdue():
    for actor in "PCVHNXSK":
        with pytest.raises(TrustnodeError):
            step(DUTY, None, "overdue", actor, DutyFacts(overdue=True))


# --- what is watched --------------------------------------------------------------------------------------------------


def of(*obligations: Duty, price: Price = Price("FREE"), before: tuple[Duty, ...] = ()) -> dict[str, Watched]:  # noqa: B008
    policy = Policy(
        id="urn:a", type="Agreement", profile="p", target="a/p", assigner="p", assignee="c",
        permission=(Permission(action="read", duty=before),), obligation=obligations,
    )  # fmt: skip
    value = msgspec.defstruct("A", [("policy", Policy), ("price", Price)])(policy, price)
    return {one.name: one for one in watched(value)}


def owed(action: str, *parts: tuple[str, str]) -> Duty:
    found = tuple(Constraint(left=left, operator="eq" if left in ("event", "timeInterval") else "lteq", right=right)
                  for left, right in parts)  # fmt: skip
    return Duty(action=action, constraint=found, timing="AFTER")


def test_only_what_falls_due_or_is_waited_for_is_watched():
    monthly = owed("inform", ("event", "USE"), ("timeInterval", "P1M"))
    assert of(monthly)["inform:USE"].rule == "interval"
    assert of(owed("delete", ("tn:retention", "P90D")))["obligation:delete"].within == Duration(0, 90 * 86_400)
    assert of(owed("attribute"), owed("inform", ("event", "LEAK"), ("delayPeriod", "PT24H"))) == {}
    assert of(owed("inform", ("event", "USE"))) == {}, "a report on no day is never overdue"
    by_day = owed("compensate", ("delayPeriod", "P30D"))
    rules = {
        unit: of(by_day, price=Price(unit, "1"))["obligation:compensate"].rule for unit in ("ROW", "MONTH", "ONCE")
    }
    assert rules == {"ROW": "cost", "MONTH": "month", "ONCE": "once"}


def test_an_interval_of_no_length_is_refused():
    with pytest.raises(TrustnodeError) as refused:
        of(owed("inform", ("event", "USE"), ("timeInterval", "P0D")))
    assert refused.value.reason == "FIELD_FORMAT"


def test_the_payee_confirms_and_the_debtor_shows():
    amount = Constraint(left="payAmount", operator="eq", right="100", unit="CNY")
    once = Duty(action="compensate", constraint=(amount, Constraint(left="tn:per", operator="eq", right="once")),
                timing="BEFORE")  # fmt: skip
    found = of(owed("delete", ("tn:retention", "P1D")), before=(once,), price=Price("ONCE", "100"))
    assert {name: one.prover for name, one in found.items()} == {
        "compensate": "provider", "obligation:delete": "consumer",
    }  # fmt: skip
    assert found["compensate"].within is None
    assert [(one.words, one.zh) for one in found.values()] == [
        ("pay 100 CNY once", "付款: 一次性 100 元"), ("erase each copy within 1 day", "副本于1 天后删除"),
    ]  # fmt: skip
    assert duty.DutyProof.__struct_config__.tag == "duty-proof"
