import re

import pytest
from unit.policy.samples import OFFERS, compiled_offer

from trustnode.core.policy import explain, grammar, masks
from trustnode.core.policy.level import LEVELS
from trustnode.core.policy.purposes import PURPOSES
from trustnode.core.policy.terms import KEPT, KEYS, UNKEPT, Terms, decode
from trustnode.core.policy.words import ASSURANCE, ROLES, WINDOWS


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
    assert (
        line.words == "aggregates only: count, sum status, avg bmi by age, male; groups of 20 or more, told apart by id"
    )


def test_a_term_without_an_enforcer_has_no_class():
    unkept = {"environment": "TEE"}
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


# --- every key and every word in both languages

LENGTHS = ["1 hour", "90 days", "12 months", "2 years"]
SAID = {
    "purposes": ["any", *([word] for word in PURPOSES)],
    "not_for": [[word] for word in PURPOSES if word != "credit-scoring"],
    "who": ["anyone", *([f"role:{word}"] for word in sorted(ROLES)), *([f"assurance:{word}"] for word in ASSURANCE),
            ["participant:spiffe://x/participant/p"], ["venue:zj.example"], ["space:steel"]],
    "places": [["CN"], ["33"], ["3300"], ["DE"]],
    "period": ["2026-12-01 to 2027-11-30", *LENGTHS],
    "rows": ["state = 'NJ'"],
    "columns": [["state"]],
    "masks": [{"state": text} for text in ("null", "constant ***", "hash", "hash 16", "token", "first 3", "last 1",
                                       "domain", "only NJ, NY", "redact [0-9]{4,}", "network")]
    + [{"annual_income": "bucket 5"}, {"annual_income": "round -2"}, {"issued": "year"}, {"issued": "month"}, {"issued": "quarter"}],
    "limits": [["3 reads at once"]]
    + [[f"7 {unit} {window}"] for unit in ("reads", "rows", "bytes") for window in
       ("in all", *(f"per {name}" for name in WINDOWS.values()))],
    "keep": ["unlimited", *LENGTHS],
    "onward": grammar.ONWARD,
    "derived": grammar.DERIVED,
    "duties": [["name the source"], ["pay within 30 days"], ["report a leak within 24 hours"],
               *([f"report use {word}"] for word in grammar._INTERVALS)],
}  # fmt: skip
"""Every word that a key takes, beside the offer ``scoring``."""
OF_RESULTS = ("result", "person", "group_by", "measures", "min_group")
OTHERS = {"uses", "trace", "noise", "environment"}
"""Explained, and tested, where they are kept."""
CHINESE = re.compile("[\u4e00-\u9fff]")


def test_no_key_is_without_its_words():
    assert SAID.keys() | set(OF_RESULTS) | OTHERS == set(KEYS)
    assert {mask.split(" ")[0] for said in SAID["masks"] for mask in said.values()} == set(masks.MASKS)


@pytest.mark.parametrize("key", SAID)
def test_every_word_of_a_key_is_said_in_english_and_in_chinese(key):
    for value in SAID[key]:
        for line in shown("scoring", **{key: value}):
            assert CHINESE.search(line.zh), (value, line)
            assert CHINESE.search(line.how_zh), (value, line)
            assert line.words and not CHINESE.search(line.words + line.how), (value, line)  # noqa: PT018


def test_results_are_said_in_both_languages():
    line = first(shown("statistics", measures=["count", "sum status", "avg bmi", "stddev bmi"]), "result")
    assert line.zh == "仅输出统计: 计数、status 合计、bmi 均值、bmi 标准差, 按 age, male 分组, 每组不少于 20 个 id"


@pytest.mark.parametrize(
    "price, zh",
    [
        ("free", "免费"),
        ("5 CNY once", "一次性 5 元"),
        ("30 CNY per month", "每月 30 元"),
        ("2 EUR per read", "每次读取 2 EUR"),
        ("0.02 CNY per row", "每行 0.02 元"),
    ],
)
def test_a_price_is_said_in_both_languages(price, zh):
    (line,) = (line for line in explain.lines(Terms(), price) if line.key == "price")
    assert (line.words, line.zh) == (price, zh)


def test_the_three_offers_in_chinese():
    lines = {line.key: line.zh for line in shown("scoring") if line.key != "duties"}
    assert lines["who"] == "数据使用方、组织身份核验"
    assert lines["places"] == "中国"
    assert lines["period"] == "2026-12-01 至 2027-11-30"
    assert lines["limits"] == "每天 50 次读取、共 2000000 行"
    assert lines["keep"] == "90 天后删除"
    assert lines["masks"].startswith("annual_income 按 10000 分段、")
    assert [line.zh for line in shown("scoring") if line.key == "duties"] == [
        "30 天内付款", "每月报告使用情况", "24 小时内报告泄露",
    ]  # fmt: skip
