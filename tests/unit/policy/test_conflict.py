import msgspec
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
    (Constraint(any_of=(when("purpose", "eq", "statistics"),)), when("purpose", "isAnyOf", "statistics", "marketing")),
    (
        when("purpose", "eq", "statistics"),
        Constraint(any_of=(when("purpose", "eq", "marketing"), when("tn:role", "eq", "x"))),
    ),
]
LOGIC_APART = [
    (Constraint(any_of=(when("purpose", "eq", "statistics"),)), when("purpose", "eq", "marketing")),
    (
        when("purpose", "eq", "statistics"),
        Constraint(all_of=(when("purpose", "eq", "marketing"), when("tn:role", "eq", "x"))),
    ),
    (
        when("purpose", "eq", "statistics"),
        Constraint(one_of=(when("purpose", "eq", "statistics"), when("purpose", "neq", "marketing"))),
    ),
    (
        Constraint(sequence=(when("tn:role", "isAnyOf", "a"), when("tn:role", "isPartOf", "a"))),
        Constraint(any_of=(when("tn:role", "isAnyOf", "b"), when("tn:role", "isNoneOf", "a"))),
    ),
    (when("elapsedTime", "lteq", "P1M"), when("elapsedTime", "gt", "P31D")),
]


@pytest.mark.parametrize("one, other", [*APART, *LOGIC_APART])
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


@pytest.mark.parametrize(
    "said, meant",
    [
        (None, "invalid"),
        ("perm", "perm"),
        ("prohibit", "prohibit"),
        ("invalid", "invalid"),
        (("perm", "perm"), "perm"),
        (("perm", "prohibit"), "invalid"),
        (("invalid", "perm"), "invalid"),
    ],
)
def test_a_strategy_that_is_not_said_or_that_merging_left_in_two_voids_the_policy(said, meant):
    merged = msgspec.structs.replace(policy(("read", ()), ("sell", ())), conflict=said)
    assert conflict.strategy(merged) == meant
    assert conflict.strategy(odrl.decode(odrl.encode(merged))) == meant


@pytest.mark.parametrize("said", ["perm", "prohibit", "invalid", ("perm", "prohibit")])
def test_whatever_the_strategy_rules_that_meet_are_refused_and_the_message_says_what_it_would_mean(said):
    meeting = msgspec.structs.replace(policy(("read", ()), ("use", ())), conflict=said)
    with pytest.raises(StateError) as caught:
        conflict.check(meeting)
    assert "permission[0] read" in caught.value.message
    assert "prohibition[0] use" in caught.value.message
    assert caught.value.message.endswith(conflict._ELSEWHERE[conflict.strategy(meeting)])


def test_two_conditions_that_exclude_each_other_only_together_with_a_third_are_found():
    never = (
        Constraint(any_of=(when("purpose", "eq", "statistics"), when("purpose", "eq", "marketing"))),
        when("purpose", "neq", "statistics"),
        when("purpose", "isNoneOf", "marketing"),
    )
    with pytest.raises(StateError, match="its conditions can never hold together"):
        conflict.check(policy(("read", never), ("sell", ())))


def test_p9_a_policy_of_many_rules_that_cannot_be_told_apart_in_bounded_work_is_refused():
    either = [Constraint(any_of=tuple(when("tn:role", "isAnyOf", f"{n}-{m}") for m in range(8))) for n in range(3)]
    many = msgspec.structs.replace(
        policy(("read", tuple(either)), ("use", tuple(either))),
        permission=tuple(Permission(action="read", constraint=tuple(either)) for _ in range(16)),
        prohibition=tuple(Prohibition(action="use", constraint=tuple(either)) for _ in range(16)),
    )
    with pytest.raises(StateError):
        conflict.check(many)
