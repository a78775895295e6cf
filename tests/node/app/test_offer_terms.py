"""Terms that are shown and the policy that is signed are one thing, at listing and before any agreement."""

import msgspec
import pytest
from unit.cli.objects import REGISTRATION, TERMS, offer

from trustnode.app.catalog import check_terms
from trustnode.core.contract import Price
from trustnode.core.document import canonical
from trustnode.errors import PolicyDenied, StateError, TrustnodeError, VerificationFailed


def said(**changes):
    return canonical(msgspec.structs.replace(TERMS, **changes)).decode()


def test_an_offer_whose_terms_compile_to_its_policy_is_accepted():
    check_terms(offer(), REGISTRATION)


@pytest.mark.parametrize(
    "changes",
    [{"onward": "forbidden"}, {"limits": ()}, {"masks": {}}, {"purposes": ("statistics",)}, {"period": "12 months"}],
)
def test_terms_that_promise_something_else_than_the_signed_policy_are_refused(changes):
    with pytest.raises(VerificationFailed) as caught:
        check_terms(offer(terms=said(**changes)), REGISTRATION)
    assert caught.value.reason == "HASH_MISMATCH"


def test_a_price_beside_the_one_in_the_policy_is_refused():
    changed = msgspec.structs.replace(offer(), price=Price.parse("0.02 CNY per row"))
    with pytest.raises(VerificationFailed):
        check_terms(changed, REGISTRATION)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"purpose":"any"}'])
def test_an_offer_that_says_nothing_readable_is_refused(text):
    with pytest.raises(TrustnodeError):
        check_terms(offer(terms=text), REGISTRATION)


def test_what_the_level_demands_binds_whatever_was_signed():
    with pytest.raises(PolicyDenied) as caught:
        check_terms(offer(), msgspec.structs.replace(REGISTRATION, level="GENERAL_4"))
    assert caught.value.reason == "LEVEL_FORBIDDEN"


def test_an_offer_below_the_floor_of_its_product_is_refused_with_the_line():
    floor = msgspec.structs.replace(REGISTRATION, floor='{"onward":"forbidden"}')
    with pytest.raises(StateError) as caught:
        check_terms(offer(), floor)
    assert (caught.value.reason, caught.value.metadata["field"]) == ("POLICY_WEAKER", "onward")
