"""No offer lies below ``[product.terms]``."""

import pytest
from unit.policy.samples import OPEN, SCORING, STATISTICS

from trustnode.core.policy import floor
from trustnode.core.policy.terms import KEYS, decode
from trustnode.errors import StateError

BASES = {"open": OPEN, "scoring": SCORING, "statistics": STATISTICS}


def offered(name, **changes):
    return decode({key: value for key, value in {**BASES[name], **changes}.items() if value is not None})


@pytest.mark.parametrize("name", BASES)
def test_terms_are_not_weaker_than_themselves(name):
    floor.check(offered(name), offered(name))


@pytest.mark.parametrize("name", BASES)
def test_a_floor_that_says_nothing_binds_nothing(name):
    floor.check(offered(name), decode({}))


WEAKER = [
    ("scoring", "purposes", ["credit-scoring", "statistics"]),
    ("scoring", "purposes", ["credit-checking"]),
    ("scoring", "purposes", "any"),
    ("scoring", "not_for", ["direct-marketing"]),
    ("scoring", "not_for", None),
    ("scoring", "who", "anyone"),
    ("scoring", "who", ["role:CONSUMER"]),
    ("scoring", "who", ["role:CONSUMER", "role:AUDITOR", "assurance:organisation-checked"]),
    ("scoring", "places", None),
    ("scoring", "places", ["CN", "DE"]),
    ("scoring", "places", ["3300", "DE"]),
    ("scoring", "period", "2026-12-01 to 2027-12-01"),
    ("scoring", "period", "1 day"),
    ("open", "period", "25 months"),
    ("open", "period", "3 years"),
    ("scoring", "rows", None),
    ("scoring", "rows", "application_type = 'individual' or state = 'NJ'"),
    ("scoring", "columns", [*SCORING["columns"], "issued"]),
    ("scoring", "columns", "all"),
    ("scoring", "columns", [*SCORING["columns"], "emp_title"]),
    ("scoring", "masks", {**SCORING["masks"], "annual_income": "bucket 10"}),
    ("scoring", "masks", {**SCORING["masks"], "joint": "hash"}),
    ("scoring", "limits", ["50 reads per day"]),
    ("scoring", "limits", ["51 reads per day", "2000000 rows in all"]),
    ("scoring", "keep", "91 days"),
    ("scoring", "keep", "3 months"),
    ("scoring", "keep", "unlimited"),
    ("scoring", "onward", "results"),
    ("scoring", "derived", "free"),
    ("scoring", "duties", ["pay within 30 days", "report use monthly"]),
    ("scoring", "duties", ["pay within 60 days", "report use monthly", "report a leak within 24 hours"]),
    ("statistics", "result", None),
    ("statistics", "person", "male"),
    ("statistics", "group_by", ["age", "male", "status"]),
    ("statistics", "measures", ["count", "sum bmi"]),
    ("statistics", "min_group", 19),
    ("statistics", "masks", {"age": "bucket 5"}),
    ("statistics", "masks", None),
]


@pytest.mark.parametrize("name, key, value", WEAKER)
def test_a_weaker_line_is_refused_and_named(name, key, value):
    with pytest.raises(StateError) as caught:
        floor.check(offered(name, **{key: value}), offered(name))
    assert caught.value.reason == "POLICY_WEAKER"
    assert caught.value.metadata["field"] in (key, "columns", "masks")


STRICTER = [
    ("open", {"purposes": ["statistics"]}),
    ("open", {"who": ["role:AUDITOR"]}),
    ("scoring", {"who": ["role:CONSUMER", "assurance:organisation-checked", "venue:zj.example"]}),
    ("scoring", {"not_for": ["marketing", "personalisation"]}),
    ("scoring", {"period": "2027-01-01 to 2027-01-31"}),
    ("open", {"period": "23 months"}),
    ("open", {"period": "300 days"}),
    ("open", {"period": "2 years"}),
    ("scoring", {"rows": "application_type = 'individual' and state = 'NJ'"}),
    ("scoring", {"columns": ["grade"]}),
    ("open", {"columns": ["origin"]}),
    ("scoring", {"masks": {**SCORING["masks"], "emp_title": "null"}}),
    ("scoring", {"masks": {"emp_title": "hash"}}),
    ("scoring", {"limits": ["10 reads per day", "1 rows in all", "5 rows per hour"]}),
    ("scoring", {"keep": "2 months"}),
    ("open", {"onward": "with these terms"}),
    ("scoring", {"derived": None}),
    ("scoring", {"places": ["3300"]}),
    ("scoring", {"places": ["CN", "33"]}),
    ("open", {"limits": ["100 reads per day", "1 rows in all"]}),
    ("statistics", {"min_group": 50, "group_by": ["age"]}),
    ("statistics", {"keep": "no copy"}),
]


@pytest.mark.parametrize("name, changes", STRICTER)
def test_a_stricter_line_is_accepted(name, changes):
    floor.check(offered(name, **changes), offered(name))


def test_aggregates_of_a_column_the_floor_masks_are_weaker_than_the_mask():
    rows_floor = decode({"columns": ["male", "age"], "masks": {"bmi": "bucket 5"}})
    with pytest.raises(StateError):
        floor.check(offered("statistics", measures=["avg bmi"], masks=None), rows_floor)


def test_every_key_of_the_terms_can_be_compared():
    assert set(floor._AT_LEAST) == set(KEYS)
