"""Policies as a hostile peer writes them: refused at every level, in bounded work, and nothing of them is executed."""

import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from unit.policy.samples import NOW, OFFERS, agreed_offer, compiled_offer, request
from unit.policy.test_subsume import RULES, Oracle, is_possible

from trustnode.core.policy import compiled, odrl, subsume
from trustnode.core.policy.subsume import TRUE, Space
from trustnode.errors import TrustnodeError

TEMPLATES = (
    "__import__('os').system('true')", "{{ 7*7 }}${jndi:ldap://x}{0.__class__}%s%n", "'; drop table loans; --",
    "(a+)+$" + "a" * 60, "\u202e\x00../../etc/passwd", "9" * 300,
)  # fmt: skip


BYTES = odrl.encode(agreed_offer("scoring").policy)


def written():
    return json.loads(BYTES)


def objects(value, path="$"):
    """Every JSON object of a policy with its path."""
    if isinstance(value, dict):
        yield path, value
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from objects(item, f"{path}.{key}")


LEVELS = [path for path, _ in objects(written())]


def load(policy):
    return compiled.load(odrl.decode(policy if isinstance(policy, bytes) else json.dumps(policy).encode()))


@pytest.mark.parametrize(
    "key", ["evil", "consequence", "refinement", "remedy", "uid", "rightOperandReference", "status"]
)
def test_p9_an_unknown_key_is_refused_at_every_level(key):
    for level in LEVELS:
        policy = written()
        dict(objects(policy))[level][key] = "x"
        with pytest.raises(TrustnodeError) as caught:
            load(policy)
        assert caught.value.reason == "MESSAGE_UNPARSABLE", level


def test_p9_a_key_that_stands_twice_is_refused_at_every_level():
    for level in LEVELS:
        policy = written()
        found = dict(objects(policy))[level]
        key, value = next(iter(found.items()))
        found["MARK"] = 0
        twice = json.dumps(policy).replace('"MARK": 0', f"{json.dumps(key)}: {json.dumps(value)}")
        with pytest.raises(TrustnodeError) as caught:
            load(twice.encode())
        assert caught.value.reason == "MESSAGE_UNPARSABLE", level


def leaves(value, path=()):
    """Every text of a policy with the keys that lead to it."""
    if isinstance(value, str):
        yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from leaves(item, (*path, key))


def put(policy, path, value):
    for key in path[:-1]:
        policy = policy[key]
    policy[path[-1]] = value


FREE = ("@id", "target", "assigner", "assignee")
"""Names that mean nothing to the compiler."""


@pytest.mark.parametrize("text", TEMPLATES)
def test_p9_templates_expressions_and_bombs_in_every_place_are_data_or_refused(text):
    for path in leaves(written()):
        policy = written()
        put(policy, path, text)
        try:
            ready = load(policy)
        except TrustnodeError:
            continue
        assert path[0] in FREE or "rightOperand" in path
        decided = ready.decide(request())
        assert decided.outcome in ("ALLOW", "DEFAULT_DENY", "DENY")


@pytest.mark.parametrize("value", [5.5, True, None, [], [[]], {"@value": 5}], ids=repr)
def test_p9_a_value_of_another_json_type_is_refused_in_every_place(value):
    for path in leaves(written()):
        policy = written()
        put(policy, path, value)
        if value is None and path[0] in FREE[1:]:
            continue  # an agreement without parties is refused by what it lacks: test_odrl
        with pytest.raises(TrustnodeError):
            load(policy)


@pytest.mark.parametrize("list_of", ["permission", "prohibition", "obligation"])
def test_p9_ten_thousand_rules_are_refused_before_they_are_looked_at(list_of):
    policy = written()
    policy[list_of] = policy[list_of][:1] * 10_000
    with pytest.raises(TrustnodeError) as caught:
        load(policy)
    assert caught.value.reason in ("FIELD_TOO_LONG", "MESSAGE_UNPARSABLE")


@pytest.mark.parametrize("words", [
    {"profile": "https://w3id.org/catenax/2025/9/policy"}, {"profile": "http://www.w3.org/ns/odrl/2/"}, {"profile": ""},
    {"@type": "Set"}, {"@type": "Request"}, {"conflict": "http://www.w3.org/ns/odrl/2/perm"},
])  # fmt: skip
def test_p9_another_profile_or_kind_of_policy_is_refused(words):
    with pytest.raises(TrustnodeError):
        load(written() | words)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(OFFERS)), st.data())
@settings(max_examples=50, deadline=None)
def test_p9_a_policy_with_anything_put_anywhere_is_refused_or_decides(name, data):
    policy = json.loads(odrl.encode(compiled_offer(name)))
    path = data.draw(st.sampled_from(list(leaves(policy))))
    put(policy, path, data.draw(JSON))
    try:
        ready = load(policy)
    except TrustnodeError:
        return
    assert ready.decide(request()).outcome == "DEFAULT_DENY"  # it is an offer: it grants nothing


# --- the closures, the cells and the oracle say the same of one request

PRESENT = st.fixed_dictionaries(
    {
        "purpose": st.sampled_from(["commercial-research", "academic-research", "direct-marketing", "statistics"]),
        "roles": st.frozensets(st.sampled_from(["a", "b", "c", "other"]), min_size=1),
        "consumer": st.sampled_from(["a", "b", "other"]),
    }
)


@given(RULES, PRESENT)
@settings(max_examples=60, deadline=None)
def test_closures_agree_with_the_oracle_on_a_request(rule, facts):
    plain = [part for part in rule if not mentions(part, {"count", "dateTime", "elapsedTime"})]
    assume(plain)
    oracle = Oracle()
    asked = request(now=NOW, **facts)
    truths = [compiled_test(part)(asked) for part in plain]
    expected = all(truth is True for truth in truths)
    fixed = [oracle.present[left] for left in oracle.present]
    fixed += [held if word in facts["roles"] else held == False for word, held in oracle.role.items()]  # noqa: E712
    fixed.append(oracle.purpose == list(subsume.PURPOSES).index(facts["purpose"]))
    fixed.append(oracle.recipient == ["a", "b", "c", "other"].index(facts["consumer"]))
    assert is_possible(oracle.facts(), *fixed, *(oracle.truth(part)[0] for part in plain)) == expected
    if expected:
        assert Space(plain).boxes(plain, TRUE)


def mentions(constraint, lefts):
    return constraint.left in lefts or any(mentions(part, lefts) for part in constraint.parts)


def compiled_test(constraint):
    return compiled.ready(odrl.Permission(action="distribute", constraint=(constraint,)), "p", "permission").holds
