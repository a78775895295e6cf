import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustnode.core.policy import conflict, odrl
from trustnode.core.policy.odrl import Constraint, Permission, Policy, Prohibition
from trustnode.core.policy.purposes import PURPOSES, covered
from trustnode.errors import StateError


def when(left, operator, *right):
    return Constraint(left=left, operator=operator, right=right[0] if len(right) == 1 else right)


def policy(permission, prohibition):
    return Policy(
        id="urn:x",
        type="Offer",
        profile=odrl.PROFILE,
        permission=(Permission(action=permission[0], constraint=permission[1]),),
        prohibition=(Prohibition(action=prohibition[0], constraint=prohibition[1]),),
    )


NOON = "2027-01-01T12:00:00Z"
APART = [
    (when("purpose", "isAnyOf", "academic-research"), when("purpose", "isAnyOf", "marketing")),
    (when("purpose", "isNoneOf", "marketing"), when("purpose", "isAnyOf", "direct-marketing")),
    (when("purpose", "neq", "statistics"), when("purpose", "eq", "statistics")),
    (when("dateTime", "lt", NOON), when("dateTime", "gteq", NOON)),
    (when("dateTime", "gt", NOON), when("dateTime", "lteq", NOON)),
    (when("tn:role", "isAnyOf", "CONSUMER"), when("tn:role", "isNoneOf", "CONSUMER", "AUDITOR")),
    (when("recipient", "isNoneOf", "a"), when("recipient", "eq", "a")),
]
TOGETHER = [
    (when("purpose", "isAnyOf", "research-and-development"), when("purpose", "isAnyOf", "commercial-purpose")),
    (when("purpose", "neq", "marketing"), when("purpose", "isAnyOf", "marketing")),
    (when("dateTime", "lteq", NOON), when("dateTime", "gteq", NOON)),
    (when("tn:role", "isAnyOf", "CONSUMER"), when("tn:role", "isAnyOf", "AUDITOR")),
    (when("tn:role", "isAnyOf", "CONSUMER", "AUDITOR"), when("tn:role", "isNoneOf", "CONSUMER")),
    (when("tn:role", "isAnyOf", "CONSUMER"), when("tn:jurisdiction", "isNoneOf", "CN")),
    (Constraint(any_of=(when("purpose", "eq", "statistics"),)), when("purpose", "eq", "marketing")),
]


@pytest.mark.parametrize("one, other", APART)
def test_rules_whose_conditions_exclude_each_other_do_not_meet(one, other):
    conflict.check(policy(("read", (one,)), ("use", (other,))))


@pytest.mark.parametrize("one, other", TOGETHER)
def test_rules_that_may_meet_are_refused_and_both_are_named(one, other):
    with pytest.raises(StateError) as caught:
        conflict.check(policy(("read", (one,)), ("use", (other,))))
    assert caught.value.reason == "POLICY_CONFLICT"
    assert caught.value.metadata["field"] == "permission[0] read"
    assert caught.value.metadata["other"] == "prohibition[0] use"


@pytest.mark.parametrize("one, other", APART)
def test_a_permission_whose_conditions_exclude_each_other_is_refused(one, other):
    with pytest.raises(StateError):
        conflict.check(policy(("read", (one, other)), ("sell", ())))


@pytest.mark.parametrize("permitted, forbidden", [("read", "read"), ("read", "use"), ("distribute", "use")])
def test_actions_meet_by_what_they_are_included_in(permitted, forbidden):
    with pytest.raises(StateError):
        conflict.check(policy((permitted, ()), (forbidden, ())))


@pytest.mark.parametrize("permitted, forbidden", [("read", "distribute"), ("read", "sell"), ("read", "transfer")])
def test_unrelated_actions_do_not_meet(permitted, forbidden):
    conflict.check(policy((permitted, ()), (forbidden, ())))


WORDS = st.lists(st.sampled_from(sorted(PURPOSES)), min_size=1, max_size=3, unique=True)


@given(WORDS, WORDS)
def test_purposes_are_apart_exactly_when_no_purpose_lies_below_both(one, other):
    apart = conflict.exclusive(when("purpose", "isAnyOf", *one), when("purpose", "isAnyOf", *other))
    assert apart == (not covered(one) & covered(other))
