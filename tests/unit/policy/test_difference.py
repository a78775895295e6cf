"""What differs between two offers, in words, and in which direction."""

import pytest
from unit.policy.samples import OFFERS
from unit.policy.test_floor import BASES, STRICTER, WEAKER, offered

from trustnode.core.policy import difference, explain
from trustnode.core.policy.difference import Change, Side, changes, verdict
from trustnode.core.policy.terms import KEYS


def side(name, price="free", **lines):
    return Side(offered(name, **lines), price)


def between(name, **lines):
    return changes(side(name), side(name, **lines))


@pytest.mark.parametrize("name", OFFERS)
def test_an_offer_does_not_differ_from_itself(name):
    assert between(name) == ()
    assert verdict(()) == "same"


def test_each_line_that_differs_is_said_in_both_languages_with_its_direction():
    found = changes(
        side("scoring", price="0.02 CNY per row"),
        side("scoring", price="0.01 CNY per row", limits=["100 reads per day"], places=["3300"], keep="90 days"),
    )
    assert found == (
        Change("places", "CN", "3300", "中国", "行政区划 3300", "stricter"),
        Change(
            "limits", "50 reads per day, 2000000 rows in all", "100 reads per day",
            "每天 50 次读取、共 2000000 行", "每天 100 次读取", "weaker",
        ),
        Change("price", "0.02 CNY per row", "0.01 CNY per row", "每行 0.02 元", "每行 0.01 元", "other"),
    )  # fmt: skip
    assert verdict(found) == "other"


def test_a_line_that_comes_or_goes_has_no_words_on_the_other_side():
    (gone,) = between("scoring", places=None)
    assert (gone.key, gone.before, gone.after, gone.direction) == ("places", "CN", "", "weaker")
    (come,) = between("open", rows="origin = 'EWR'")
    assert (come.key, come.before, come.after, come.direction) == ("rows", "", "origin = 'EWR'", "stricter")


@pytest.mark.parametrize("name, key, value", WEAKER)
def test_what_is_below_the_floor_is_never_called_stricter_and_the_way_back_never_weaker(name, key, value):
    there, back = between(name, **{key: value}), changes(side(name, **{key: value}), side(name))
    assert verdict(there) in ("weaker", "other")
    assert verdict(back) in ("stricter", "other")
    assert len(there) == len(back) >= 1


@pytest.mark.parametrize("name, lines", STRICTER)
def test_what_the_floor_accepts_is_stricter_or_says_the_same(name, lines):
    assert verdict(between(name, **lines)) in ("stricter", "same", "other")
    assert all(change.direction != "weaker" for change in between(name, **lines))


def test_a_column_that_moves_from_clear_to_masked_is_stricter_and_a_new_masked_one_is_weaker():
    moved = between("open", columns=["origin"], masks={"arr_delay": "bucket 10"})
    assert {change.direction for change in moved} == {"stricter"}
    (added,) = between("scoring", masks={**BASES["scoring"]["masks"], "joint": "hash"})
    assert added.direction == "weaker"


def test_every_verdict_has_words_and_every_merged_key_a_line():
    assert all(en and zh for en, zh in difference.WORDS.values())
    assert {key for line in KEYS for key in explain.merged_into(line)} == set(explain._MERGED)
