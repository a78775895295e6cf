import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.policy.samples import CONSUMER, OFFERS, compiled_offer

from trustnode.core.policy import odrl
from trustnode.core.policy.odrl import Constraint, Permission, Policy
from trustnode.errors import InvalidRequest

RULE = {"action": "read", "constraint": [{"leftOperand": "purpose", "operator": "eq", "rightOperand": "statistics"}]}
OFFER = {"@id": "urn:x", "@type": "Offer", "profile": odrl.PROFILE, "permission": [RULE]}


def written(**changes):
    return json.dumps({**OFFER, **changes}).encode()


def with_constraint(constraint):
    return written(permission=[{"action": "read", "constraint": [constraint]}])


def atom(**changes):
    return {"leftOperand": "purpose", "operator": "eq", "rightOperand": "statistics", **changes}


@pytest.mark.parametrize("name", OFFERS)
def test_a_policy_survives_its_own_bytes(name):
    policy = compiled_offer(name)
    assert odrl.decode(odrl.encode(policy)) == policy
    assert odrl.encode(odrl.decode(odrl.encode(policy))) == odrl.encode(policy)


def test_key_order_and_white_space_of_a_foreign_policy_do_not_change_its_digest():
    backwards = json.dumps(dict(reversed(OFFER.items())), indent=3).encode()
    assert odrl.digest(odrl.decode(backwards)) == odrl.digest(odrl.decode(written()))


@pytest.mark.parametrize(
    "changes",
    [
        {"conflict": "permit"},
        {"conflict": []},
        {"inheritFrom": "urn:elsewhere"},
        {"@context": "urn:anything"},
        {"permission": [{**RULE, "target": "urn:other"}]},
        {"permission": [{**RULE, "assignee": "urn:other"}]},
        {"permission": [{**RULE, "duty": [{"action": "compensate", "consequence": []}]}]},
        {"prohibition": [{"action": "use", "remedy": []}]},
        {"permission": [{"action": {"@id": "read", "refinement": []}}]},
        {"permission": []},
        {"permission": [], "obligation": [{"action": "delete"}]},
        {"@type": "Set"},
        {"@type": "Agreement"},
        {"@type": "Agreement", "target": "t", "assigner": "a"},
    ],
)
def test_p9_a_key_or_shape_that_nothing_here_keeps_is_refused(changes):
    with pytest.raises(InvalidRequest) as caught:
        odrl.decode(written(**changes))
    assert caught.value.reason == "MESSAGE_UNPARSABLE"


@pytest.mark.parametrize(
    "constraint",
    [
        {"and": []},
        {"and": [atom()], "or": [atom()]},
        {"and": [atom()], **atom()},
        {"leftOperand": "purpose", "operator": "eq"},
        {},
        atom(operator="odrl:eq"),
        atom(operator="term-lteq"),
        atom(rightOperand=5),
        atom(rightOperand=True),
        atom(rightOperand=[]),
        atom(rightOperand=None),
        atom(rightOperand={"@value": 5, "@type": "xsd:integer"}),
        atom(rightOperandReference="urn:fetch-me"),
        atom(status="0"),
        {"and": [atom()], "unit": "CNY"},
    ],
)
def test_a_constraint_is_a_comparison_or_one_logical_list(constraint):
    with pytest.raises(InvalidRequest):
        odrl.decode(with_constraint(constraint))


def test_a_key_written_twice_is_refused():
    twice = written().replace(b'"@id": "urn:x"', b'"@id": "urn:y", "@id": "urn:x"')
    with pytest.raises(InvalidRequest):
        odrl.decode(twice)


def nested(depth, inner=None):
    """Built as bytes: a bomb is too deep for the encoder."""
    return with_constraint("@").replace(
        b'"@"', b'{"and": [' * depth + json.dumps(inner or atom()).encode() + b"]}" * depth
    )


@pytest.mark.parametrize(
    "data",
    [
        nested(odrl.MAX_DEPTH),
        nested(20_000),
        with_constraint({"or": [atom() for _ in range(odrl.MAX_CONSTRAINTS)]}),
        written(permission=[{"action": "read", "constraint": [atom(rightOperand=["x"] * 2100)] * 2}]),
        b" " * odrl.MAX_BYTES + written(),
    ],
    ids=["one level too deep", "nesting bomb", "list bomb", "too many values", "too many bytes"],
)
def test_p9_a_policy_larger_than_any_honest_one_is_refused(data):
    with pytest.raises(InvalidRequest) as caught:
        odrl.decode(data)
    assert caught.value.reason == "FIELD_TOO_LONG"


def test_brackets_inside_texts_are_neither_counted_nor_hide_depth():
    assert odrl.decode(with_constraint(atom(rightOperand="[" * 200)))
    with pytest.raises(InvalidRequest):
        odrl.decode(nested(5_000, atom(rightOperand="]" * 100_000)))


def test_the_deepest_honest_policy_is_read():
    assert odrl.decode(nested(odrl.MAX_DEPTH - 1))


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_and_never_crash(data):
    with pytest.raises(InvalidRequest):
        odrl.decode(data)


def test_an_agreement_says_the_same_as_its_offer_and_only_names_the_parties():
    offer = compiled_offer("scoring")
    agreement = odrl.agreement(offer, target="fin.example/loans-2018", assigner="lendco", assignee=CONSUMER)
    assert odrl.same_terms(offer, agreement)
    assert agreement.id == offer.id


def test_one_operand_more_is_not_the_same_terms():
    offer = compiled_offer("scoring")
    wider = Permission(action="distribute", constraint=(Constraint(left="purpose", operator="eq", right="statistics"),))
    changed = Policy(id=offer.id, type="Offer", profile=offer.profile, permission=(*offer.permission, wider))
    assert not odrl.same_terms(offer, changed)
