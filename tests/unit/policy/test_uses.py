"""Column rules as terms: words, both ways, contradictions, the floor, the plan."""

import re

import pytest
from architecture.contract import CHECKOUT
from unit.policy.samples import OFFERS, agreed_offer, compiled_offer

from trustnode.core.policy import explain, floor, odrl
from trustnode.core.policy.decompile import to_terms
from trustnode.core.policy.governed import MASK_METHODS, USES, Use
from trustnode.core.policy.terms import decode
from trustnode.core.policy.uses import is_as_strict, read_use, use_text, use_words
from trustnode.errors import StateError, TrustnodeError

WORDS = ("filter", "join", "aggregate 10", "aggregate 25 of emp_title")
HELD = {"loan_amount": "aggregate 10 of emp_title", "state": "join", "term": "filter"}


def scoring(**uses):
    return decode({**OFFERS["scoring"][0], **({"uses": uses} if uses else {})})


def test_every_mask_and_every_use_stands_on_the_page_of_governed_data():
    page = (CHECKOUT / "docs/governed-data.md").read_text(encoding="utf-8")
    for word in (*MASK_METHODS, *USES):
        assert re.search(rf"`{word}[ `]", page), word


@pytest.mark.parametrize("text", WORDS)
def test_a_word_reads_back_and_has_words(text):
    use = read_use("c", text)
    assert use_text(use) == text
    assert all(use_words(use))
    assert {read_use("c", word).kind for word in WORDS} == set(USES)


def test_rules_reach_the_plan_and_read_back():
    table = agreed_offer("scoring", uses=HELD).governed(OFFERS["scoring"][2], table="t").tables[0]
    assert table.uses == (
        Use("state", "join"), Use("loan_amount", "aggregate", 10, "emp_title"), Use("term", "filter"),
    )  # fmt: skip
    policy = compiled_offer("scoring", uses=HELD)
    terms, price = to_terms(policy)
    assert terms.uses == HELD
    assert odrl.encode(compiled_offer("scoring", uses=terms.uses)) == odrl.encode(policy)
    assert price == OFFERS["scoring"][1]


def test_of_aggregates_a_group_key_can_be_for_filtering():
    rule = agreed_offer("statistics", uses={"male": "filter"}).governed(OFFERS["statistics"][2], table="t")
    assert rule.tables[0].uses == (Use("male", "filter"),)


@pytest.mark.parametrize(
    "name, uses, reason",
    [
        ("scoring", {"state": "filtre"}, "VOCABULARY_UNKNOWN"),
        ("scoring", {"status": "filter"}, "VOCABULARY_UNKNOWN"),
        ("scoring", {"issued": "filter"}, "POLICY_CONFLICT"),
        ("scoring", {"state": "filter 3"}, "FIELD_FORMAT"),
        ("scoring", {"state": "aggregate 10"}, "FIELD_FORMAT"),
        ("scoring", {"term": "aggregate"}, "FIELD_FORMAT"),
        ("scoring", {"term": "aggregate 1"}, "FIELD_FORMAT"),
        ("scoring", {"term": "aggregate 10 of"}, "FIELD_FORMAT"),
        ("scoring", {"term": "aggregate 10 of nobody"}, "VOCABULARY_UNKNOWN"),
        ("scoring", dict.fromkeys([*OFFERS["scoring"][0]["columns"], *OFFERS["scoring"][0]["masks"]], "filter"),
         "POLICY_CONFLICT"),
        ("statistics", {"age": "join"}, "POLICY_CONFLICT"),
        ("statistics", {"bmi": "filter"}, "POLICY_CONFLICT"),
    ],
)  # fmt: skip
def test_a_rule_that_makes_no_sense_is_refused(name, uses, reason):
    with pytest.raises(TrustnodeError) as caught:
        compiled_offer(name, uses=uses)
    assert caught.value.reason == reason


@pytest.mark.parametrize("stated", [*WORDS, ""])
@pytest.mark.parametrize("demanded", WORDS)
def test_only_a_key_and_a_larger_group_are_as_strict_as_another_rule(stated, demanded):
    assert is_as_strict(stated, demanded) == (stated == demanded or (stated, demanded) == ("join", "filter"))
    assert is_as_strict("aggregate 11", "aggregate 10")
    assert not is_as_strict("aggregate 9", "aggregate 10")


@pytest.mark.parametrize(
    "offered, held",
    [
        (scoring(term="filter"), True),
        (scoring(term="join"), True),
        (scoring(), False),
        (scoring(term="aggregate 10"), False),
        (decode({**OFFERS["scoring"][0], "columns": ["grade"]}), True),
    ],
)
def test_no_offer_allows_a_use_that_the_product_does_not(offered, held):
    if held:
        floor.check(offered, scoring(term="filter"))
        return
    with pytest.raises(StateError) as caught:
        floor.check(offered, scoring(term="filter"))
    assert (caught.value.reason, caught.value.metadata["field"]) == ("POLICY_WEAKER", "uses")


def test_a_measure_of_a_column_with_a_rule_is_weaker_than_the_rule():
    with pytest.raises(StateError):
        floor.check(decode(OFFERS["statistics"][0]), decode({"uses": {"bmi": "aggregate 10 of id"}}))


def test_the_line_says_what_may_be_done_and_that_it_is_enforced():
    [line] = [line for line in explain.lines(scoring(**HELD), "free") if line.key == "uses"]
    assert line.kept == "enforced"
    assert "state: only as a key to join by" in line.words
    assert "loan_amount: only in count, sum, avg, stddev, of 10 different emp_title or more" in line.words
    assert "term: 仅用于筛选" in line.zh
