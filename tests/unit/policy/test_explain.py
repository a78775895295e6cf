import pytest
from unit.policy.samples import NOISE, OFFERS, compiled_offer

from trustnode.core.policy import explain
from trustnode.core.policy.level import LEVELS
from trustnode.core.policy.terms import KEPT, KEYS, UNKEPT, Terms, decode


def shown(name, **changes):
    given_terms, price, _, level = OFFERS[name]
    return explain.lines(decode({**given_terms, **changes}), price, level)


def first(lines, key):
    return next(line for line in lines if line.key == key)


def test_the_lines_of_product_check():
    lines = shown("scoring")
    purposes, keep, onward = first(lines, "purposes"), first(lines, "keep"), first(lines, "onward")
    assert purposes[:4] == ("purposes", "credit-scoring; never marketing", "信用评分; 不得用于营销", "enforced")
    assert purposes.how == "each request; the purpose claimed is on record"
    assert (keep.words, keep.kept, keep.how) == (
        "90 days",
        "proven",
        "proof of erasure due; overdue stops the contract",
    )
    assert (onward.words, onward.kept, onward.how) == ("forbidden", "promised", "a copy is out of our sight")
    assert first(lines, "limits").words == "50 reads per day, 2000000 rows in all"


def test_a_duty_is_proven_only_where_something_falls_due():
    kept = {line.words: line.kept for line in shown("scoring") if line.key == "duties"}
    assert kept == {
        "pay within 30 days": "proven",
        "report use monthly": "proven",
        "report a leak within 24 hours": "promised",
    }


@pytest.mark.parametrize("keep, kept", [("no copy", "enforced"), ("90 days", "proven"), ("unlimited", "promised")])
def test_the_class_of_keep_follows_its_value(keep, kept):
    assert first(shown("statistics", keep=keep), "keep").kept == kept


@pytest.mark.parametrize("onward", ["forbidden", "results", "with these terms", "allowed"])
def test_onward_is_never_called_enforced(onward):
    assert first(shown("scoring", onward=onward), "onward").kept == "promised"


@pytest.mark.parametrize("name", OFFERS)
def test_a_policy_is_explained_by_the_lines_of_its_terms(name):
    lines = explain.policy_lines(compiled_offer(name))
    assert all(line.words and line.zh and line.how and line.how_zh and line.kept for line in lines)
    assert {line.key for line in lines} >= {"purposes", "who", "period", "keep", "onward", "price"}


def test_aggregates_are_one_line():
    line = first(shown("statistics"), "result")
    assert line.words == "aggregates only: count, sum status, avg bmi by age, male; groups of 20 or more"


def test_a_term_without_an_enforcer_has_no_class():
    unkept = {"noise": NOISE, "environment": "TEE"}
    lines = shown("statistics", **unkept)
    assert {line.key: line.how for line in lines if line.kept is None} == UNKEPT


@pytest.mark.parametrize("level", LEVELS)
def test_what_the_level_adds_says_so(level):
    lines = explain.lines(Terms(), "free", level)
    added = [line.key for line in lines if line.added_by]
    assert all(line.added_by in ("", f"added by {level}") for line in lines)
    assert bool(added) == (level != "GENERAL_1")


def test_every_key_is_shown_somewhere():
    own = set(explain._HOW) | set(explain._MERGED) | set(UNKEPT) | {"keep", "onward", "derived", "duties"}
    assert own == set(KEYS)
    assert set(explain._HOW) <= KEPT.keys()
