"""The ``trace`` line: its grammar, what it demands of the columns, and where it stands in a policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.policy.samples import LOANS, OFFERS, SCORING, STATISTICS, agreed_offer, compiled_offer

from trustnode.core.policy import compiled, explain, floor, odrl, trace
from trustnode.core.policy.decompile import to_terms
from trustnode.core.policy.governed import Mark
from trustnode.core.policy.odrl import Constraint
from trustnode.core.policy.terms import decode
from trustnode.errors import TrustnodeError

LINE = "mark loan_amount by 5 key emp_title"
MONTHLY = "500 CNY per month"


def refusal(name="scoring", **changes):
    with pytest.raises(TrustnodeError) as caught:
        compiled_offer(name, **changes)
    return caught.value


NAMES = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=20)


@given(NAMES, NAMES, st.decimals("0.000000001", "999999999", places=9), st.integers(0, trace.MAX_MARKER_ROWS))
def test_what_is_written_is_read_again(column, key, step, rows):
    mark = Mark(column, trace.quantum(f"{step:f}"), key, rows)
    assert trace.parse(trace.to_text(mark)) == mark


@pytest.mark.parametrize(
    "line",
    [
        "watermark",
        "mark loan_amount by 5",
        "mark loan_amount by 0 key emp_title",
        "mark loan_amount by -5 key emp_title",
        "mark loan_amount by 1e3 key emp_title",
        "mark loan_amount by 0.50000000001 key emp_title",
        "mark loan_amount by 5 key emp_title with 21 marker rows",
        "mark loan_amount by 5 key emp_title with 0 marker rows",
        "mark loan_amount by 5 key emp_title; drop",
        # a step that the type cannot take
        "mark loan_amount by 0.5 key emp_title",
        "mark interest_rate by 0.001 key emp_title",
        "mark interest_rate by 1000 key emp_title",
        "mark grade by 1 key emp_title",
        "mark loan_amount by 1 key nothing",
    ],
)
def test_a_mark_that_cannot_be_read_or_does_not_fit_is_refused(line):
    assert refusal(trace=line).reason in ("FIELD_FORMAT", "VOCABULARY_UNKNOWN")


@pytest.mark.parametrize(
    "line",
    [
        "mark annual_income by 1 key emp_title",  # masked: the mark would be rounded away
        "mark loan_amount by 1 key earliest_credit_line",  # a bucket names no row
        "mark loan_amount by 1 key issued",  # not delivered
        "mark loan_amount by 1 key loan_amount",
    ],
)
def test_column_and_key_are_in_the_copy(line):
    assert refusal(trace=line).reason == "POLICY_CONFLICT"


@pytest.mark.parametrize("mask, names", [("hash", True), ("hash 16", True), ("hash 8", False), ("token", False)])
def test_a_masked_key_names_rows_where_values_stay_apart(mask, names):
    masks = {**SCORING["masks"], "emp_title": mask}
    if names:
        assert compiled_offer("scoring", trace=LINE, masks=masks)
    else:
        assert refusal(trace=LINE, masks=masks).reason == "POLICY_CONFLICT"


def test_aggregates_carry_no_mark():
    assert refusal("statistics", trace="mark bmi by 1 key id").reason == "POLICY_CONFLICT"


def test_a_row_that_nobody_asked_for_is_not_sold():
    assert refusal(trace=f"{LINE} with 5 marker rows").reason == "POLICY_CONFLICT"
    assert compiled_offer("scoring", trace=f"{LINE} with 5 marker rows", price=MONTHLY)


def test_a_mark_is_a_duty_of_the_plan_and_comes_back_as_the_same_line():
    policy = compiled_offer("scoring", trace=f"{LINE} with 5 marker rows", price=MONTHLY)
    duty = next(duty for duty in policy.permission[0].duty if duty.action == "tn:watermark")
    assert duty.timing == "PARALLEL"
    assert to_terms(policy)[0].trace == f"{LINE} with 5 marker rows"
    ready = agreed_offer("scoring", trace=LINE)
    assert ready.is_marked
    assert not agreed_offer("scoring").is_marked
    assert ready.governed(LOANS, table="t").tables[0].mark == Mark("loan_amount", "5", "emp_title")
    assert next(owed.kept for owed in ready.duties if owed.action == "tn:watermark") == "enforced"


@pytest.mark.parametrize(
    "left, right",
    [("tn:column", "annual_income"), ("tn:quantum", "0"), ("tn:quantum", "1e3"), ("tn:markerRows", "many")],
)
def test_a_mark_that_no_terms_would_have_made_is_refused_in_a_policy(left, right):
    policy = compiled_offer("scoring", trace=f"{LINE} with 5 marker rows", price=MONTHLY)
    main = policy.permission[0]
    duties = tuple(
        duty if duty.action != "tn:watermark" else duty.__class__(
            action=duty.action, timing=duty.timing,
            constraint=tuple(
                Constraint(left=c.left, operator=c.operator, right=right) if c.left == left else c
                for c in duty.constraint
            ),
        )
        for duty in main.duty
    )  # fmt: skip
    changed = odrl.Policy(
        **{field: getattr(policy, field) for field in policy.__struct_fields__}
        | {"permission": (main.__class__(action="read", constraint=main.constraint, duty=duties),)}
    )
    with pytest.raises(TrustnodeError):
        compiled.load(changed).governed(LOANS, table="t")


def test_it_says_in_words_what_is_done_and_what_it_cannot_do():
    terms = decode({**SCORING, "trace": f"{LINE} with 5 marker rows"})
    line = next(line for line in explain.lines(terms, MONTHLY) if line.key == "trace")
    assert line.words == (
        "each copy is marked: loan_amount differs by 5 in 2 % of the rows, by emp_title; "
        "may contain 5 marker rows, which are false data"
    )
    assert (line.kept, line.how) == ("enforced", "in the plan; tells whose copy leaked, holds none back")
    assert "标记" in line.zh


@pytest.mark.parametrize(
    "offer, allowed",
    [
        (f"{LINE} with 2 marker rows", True),
        (f"{LINE} with 3 marker rows", True),
        (f"{LINE} with 1 marker row", False),
        (LINE, False),
        ("mark loan_amount by 6 key emp_title with 2 marker rows", False),
        ("mark term by 5 key emp_title with 2 marker rows", False),
        (None, False),
    ],
)
def test_an_offer_marks_as_the_floor_demands(offer, allowed):
    demanded = decode({"trace": f"{LINE} with 2 marker rows"})
    stated = decode({**SCORING, **({"trace": offer} if offer else {})})
    if allowed:
        floor.check(stated, demanded)
        return
    with pytest.raises(TrustnodeError, match="trace"):
        floor.check(stated, demanded)


def test_the_samples_have_no_mark_of_their_own():
    assert all("trace" not in terms for terms, *_ in OFFERS.values())
    assert "trace" not in STATISTICS


@pytest.mark.parametrize(
    "line, used",
    [(LINE, "loan_amount"), (LINE, "emp_title"), (f"{LINE} with 5 marker rows", "term")],
)
def test_columns_that_may_be_used_in_one_way_only_carry_no_mark_and_see_no_marker_row(line, used):
    assert refusal(trace=line, uses={used: "filter"}, price=MONTHLY).reason == "POLICY_CONFLICT"
    assert compiled_offer("scoring", trace=LINE, uses={"term": "filter"})
