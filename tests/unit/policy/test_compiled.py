"""What a policy in force lets a request do, and what is refused before it can decide at all."""

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.policy.samples import (
    CONSUMER,
    LOANS,
    NOW,
    OFFERS,
    PATIENTS,
    START,
    agreed,
    agreed_offer,
    compiled_offer,
    request,
)

from trustnode.core.policy import compiled, duties, evaluate, odrl, words
from trustnode.core.policy.governed import AggregateRule, Comparison, Governed, GovernedTable, Mask, Measure
from trustnode.core.policy.odrl import Constraint, Prohibition
from trustnode.core.policy.purposes import PURPOSES
from trustnode.errors import REASONS, PolicyDenied, TrustnodeError


def decided(policy, **changes):
    found = policy.decide(request(**changes))
    return found.outcome, found.reason


# --- decisions


@pytest.mark.parametrize("name", OFFERS)
@pytest.mark.parametrize("purpose", ["", "credit scoring", *sorted(PURPOSES)])
def test_the_purposes_an_offer_is_agreed_for_are_those_that_are_decided_for_later(name, purpose):
    policy = agreed_offer(name)
    operation = "aggregate" if policy.aggregate_only else "read"
    refused = decided(policy, purpose=purpose, operation=operation)[1] == "PURPOSE_NOT_AGREED"
    if not refused:
        policy.check_purpose(purpose)
        return
    with pytest.raises(PolicyDenied) as caught:
        policy.check_purpose(purpose)
    assert caught.value.reason == "PURPOSE_NOT_AGREED"


def test_a_request_inside_every_term_is_allowed():
    assert agreed_offer("scoring").decide(request()) == compiled.ALLOWED


@pytest.mark.parametrize(
    "changes, outcome, reason",
    [
        ({"purpose": "marketing"}, "DENY", "PURPOSE_NOT_AGREED"),
        ({"purpose": "direct-marketing"}, "DENY", "PURPOSE_NOT_AGREED"),
        ({"purpose": "statistics"}, "DEFAULT_DENY", "PURPOSE_NOT_AGREED"),
        ({"purpose": "credit-checking"}, "DEFAULT_DENY", "PURPOSE_NOT_AGREED"),
        ({"purpose": "credit scoring"}, "DEFAULT_DENY", "PURPOSE_NOT_AGREED"),
        ({"purpose": ""}, "DEFAULT_DENY", "PURPOSE_NOT_AGREED"),
        ({"consumer": "spiffe://zj.example/participant/mallory"}, "DEFAULT_DENY", "GRANT_INVALID"),
        ({"consumer": ""}, "DEFAULT_DENY", "GRANT_INVALID"),
        ({"roles": frozenset({"AUDITOR"})}, "DEFAULT_DENY", "ROLE_NOT_ALLOWED"),
        ({"roles": frozenset()}, "DEFAULT_DENY", "ROLE_NOT_ALLOWED"),
        ({"assurance": frozenset()}, "DEFAULT_DENY", "DEFAULT_DENIED"),
        ({"areas": frozenset({"DE"})}, "DEFAULT_DENY", "DEFAULT_DENIED"),
        ({"areas": frozenset()}, "DEFAULT_DENY", "DEFAULT_DENIED"),
        ({"now": datetime(2027, 11, 30, 16, tzinfo=UTC)}, "DEFAULT_DENY", "GRANT_EXPIRED"),
        ({"now": datetime(2026, 11, 30, 15, 59, 59, tzinfo=UTC)}, "DEFAULT_DENY", "DEFAULT_DENIED"),
        ({"now": NOW.replace(tzinfo=None)}, "DEFAULT_DENY", "DEFAULT_DENIED"),
        ({"violated": frozenset({"inform:USE"})}, "DEFAULT_DENY", "DENIED"),
        ({"operation": "sell"}, "DEFAULT_DENY", "DEFAULT_DENIED"),
    ],
)
def test_each_term_denies_by_itself_with_its_reason(changes, outcome, reason):
    assert decided(agreed_offer("scoring"), **changes) == (outcome, reason)


@pytest.mark.parametrize(
    "changes",
    [{"now": datetime(2027, 11, 30, 15, 59, 59, tzinfo=UTC)}, {"now": datetime(2026, 11, 30, 16, tzinfo=UTC)}],
)
def test_the_first_and_the_last_second_of_the_period_belong_to_it(changes):
    assert decided(agreed_offer("scoring"), **changes) == ("ALLOW", "")


def test_a_refused_purpose_says_what_was_agreed():
    found = agreed_offer("scoring").decide(request(purpose="marketing"))
    assert found.words == "agreed: credit-scoring; never: marketing"
    assert isinstance(found.refusal(), PolicyDenied)


def test_of_aggregates_no_row_is_read_and_the_refusal_says_so():
    policy = agreed_offer("statistics")
    found = policy.decide(request(purpose="public-health"))
    assert (found.outcome, found.reason, found.words) == ("DENY", "DENIED", "aggregates only, groups of 20 or more")
    assert decided(policy, purpose="public-health", operation="aggregate") == ("ALLOW", "")
    assert policy.aggregate_only


def test_who_may_read_rows_may_be_given_less():
    assert decided(agreed_offer("scoring"), operation="aggregate") == ("ALLOW", "")


def test_research_is_allowed_commercial_purposes_are_forbidden_and_commercial_research_is_refused():
    policy = agreed_offer("open", purposes=["research-and-development"], not_for=["commercial-purpose"])
    assert decided(policy, purpose="academic-research") == ("ALLOW", "")
    assert decided(policy, purpose="commercial-research") == ("DENY", "PURPOSE_NOT_AGREED")
    assert decided(policy, purpose="sell-products") == ("DENY", "PURPOSE_NOT_AGREED")


def test_what_is_paid_once_is_paid_first():
    policy = agreed_offer("open", price="500 CNY once")
    assert decided(policy) == ("CONDITIONAL", "PRECONDITION_OPEN")
    assert decided(policy, fulfilled=frozenset({"compensate"})) == ("ALLOW", "")


@pytest.mark.parametrize(
    "who, changes, allowed",
    [
        (["venue:zj.example"], {}, True),
        (["venue:gz.example"], {}, False),
        (["venue:zj.example", "venue:gz.example"], {"venue": "gz.example"}, True),
        (["space:steel"], {"spaces": frozenset({"steel"})}, True),
        (["space:steel"], {}, False),
        (["venue:zj.example", "space:steel"], {}, False),
        (["participant:" + CONSUMER], {}, True),
        (["participant:somebody"], {}, False),
        (["role:AUDITOR", "role:CONSUMER"], {}, True),
        (["venue:"], {}, None),
        (["venue:zj.example"], {"venue": ""}, False),
    ],
)
def test_words_of_one_kind_are_alternatives_and_every_kind_must_hold(who, changes, allowed):
    if allowed is None:
        with pytest.raises(TrustnodeError):
            agreed_offer("open", who=who)
        return
    assert (decided(agreed_offer("open", who=who), **changes)[0] == "ALLOW") is allowed


def test_an_offer_grants_nothing():
    policy = compiled.load(compiled_offer("open"))
    assert decided(policy) == ("DEFAULT_DENY", "GRANT_INVALID")


def test_a_span_counts_from_the_start_of_the_agreement():
    policy = agreed_offer("open", period="24 months")
    end = datetime(2028, 12, 10, tzinfo=UTC)
    assert policy.expires(START) == end
    assert decided(policy, now=end) == ("ALLOW", "")
    assert decided(policy, now=end + timedelta(seconds=1)) == ("DEFAULT_DENY", "GRANT_EXPIRED")


def test_whole_days_end_with_the_last_day_in_the_zone_of_the_product():
    assert agreed_offer("scoring").expires(START) == datetime(2027, 11, 30, 16, tzinfo=UTC)


def test_counters_are_what_is_to_be_reserved():
    found = [(c.name, c.unit, c.window, c.limit, c.reason) for c in agreed_offer("scoring").counters]
    assert found == [
        ("count/day", "count", "day", 50, "QUOTA_WINDOW"),
        ("rows/none", "rows", "none", 2_000_000, "QUOTA_TOTAL"),
    ]
    assert agreed_offer("scoring", limits=["3 reads in all"]).counters[0].reason == "QUOTA_AGREED"


def test_every_reason_a_decision_can_give_is_in_the_table_of_reasons():
    reasons = {operand.reason for operand in words.OPERANDS.values()}
    assert reasons | {"GRANT_INVALID", "DENIED", "PRECONDITION_OPEN", "DEFAULT_DENIED"} <= REASONS.keys()


# --- the plan


def test_the_plan_of_rows_delivers_what_is_named_in_the_order_of_the_source():
    governed = agreed_offer("scoring").governed(LOANS, table="loans")
    assert governed == Governed(
        (
            GovernedTable(
                "loans",
                ("state", "loan_purpose", "loan_amount", "term", "interest_rate", "grade", "loan_status"),
                (
                    Mask("emp_title", "hash"),
                    Mask("annual_income", "bucket", "10000"),
                    Mask("earliest_credit_line", "bucket", "5"),
                ),
                Comparison("application_type", "=", ("individual",)),
            ),
        )
    )


def test_the_plan_of_aggregates_has_the_person_in_the_rule_and_never_in_the_columns():
    governed = agreed_offer("statistics").governed(PATIENTS, table="patients")
    assert governed.tables[0].columns == ("male", "bmi", "status")
    assert governed.aggregate == AggregateRule(
        "id", ("age", "male"), (Measure("avg", "bmi"), Measure("count"), Measure("sum", "status")), 20
    )


def test_a_column_that_appears_later_is_not_delivered_and_one_that_is_gone_is_refused():
    policy = agreed_offer("open")
    later = (*OFFERS["open"][2], *LOANS)
    assert policy.governed(later, table="t").tables[0].columns == ("origin", "arr_delay", "time_hour")
    with pytest.raises(TrustnodeError, match="arr_delay"):
        policy.governed(OFFERS["open"][2][:1], table="t")


def test_rows_of_the_consumer_are_bound_to_who_it_is_and_nobody_means_none():
    policy = agreed_offer("scoring", rows="state = {consumer.area}")
    (table,) = policy.governed(LOANS, table="loans", consumer_area="NJ").tables
    assert table.rows == Comparison("state", "=", ("NJ",))
    with pytest.raises(PolicyDenied):
        policy.governed(LOANS, table="loans")


# --- properties


PURPOSE_LISTS = st.lists(st.sampled_from(sorted(PURPOSES)), min_size=1, max_size=4, unique=True)
REQUESTS = st.builds(
    request,
    operation=st.sampled_from(["read", "aggregate"]),
    purpose=st.sampled_from([*sorted(PURPOSES), "", "no-such-purpose"]),
    now=st.integers(-400, 800).map(lambda days: NOW + timedelta(days=days)),
    consumer=st.sampled_from([CONSUMER, CONSUMER, CONSUMER, "other", ""]),
    roles=st.frozensets(st.sampled_from(["CONSUMER", "AUDITOR"])),
    areas=st.frozensets(st.sampled_from(["CN", "3300", "DE"])),
    assurance=st.frozensets(st.sampled_from(["organisation-checked", "person-checked"])),
    venue=st.sampled_from(["", "zj.example"]),
)
CONDITIONS = st.sampled_from(
    [
        Constraint(left="purpose", operator="isAnyOf", right=("statistics",)),
        Constraint(left="purpose", operator="isNoneOf", right=("statistics",)),
        Constraint(left="tn:role", operator="isNoneOf", right=("AUDITOR",)),
        Constraint(left="tn:jurisdiction", operator="neq", right="DE"),
        Constraint(left="dateTime", operator="gteq", right="2027-06-01T00:00:00Z"),
        Constraint(
            one_of=(
                Constraint(left="tn:role", operator="eq", right="AUDITOR"),
                Constraint(left="tn:membership", operator="isAnyOf", right=("venue:zj.example",)),
            )
        ),
    ]
)


AGREED = {name: agreed_offer(name).policy for name in OFFERS}


def bare(name, *, permission=(), prohibition=()):
    """An agreement with conditions added, compiled without the check for conflicts: at run time no beats yes."""
    policy = AGREED[name]
    main = policy.permission[0]
    changed = msgspec.structs.replace(
        policy,
        permission=(msgspec.structs.replace(main, constraint=(*main.constraint, *permission)), *policy.permission[1:]),
        prohibition=(*policy.prohibition, *prohibition),
    )
    return compiled.CompiledPolicy(changed)


@given(
    REQUESTS,
    st.sampled_from(sorted(OFFERS)),
    st.lists(CONDITIONS, max_size=3),
    st.sampled_from(["use", "read", "aggregate"]),
)
@settings(max_examples=150, deadline=None)
def test_a_prohibition_more_never_allows_more(asked, name, conditions, action):
    more = bare(name, prohibition=[Prohibition(action=action, constraint=tuple(conditions))])
    if more.decide(asked).outcome == "ALLOW":
        assert bare(name).decide(asked).outcome == "ALLOW"


@given(REQUESTS, st.sampled_from(sorted(OFFERS)), CONDITIONS)
@settings(max_examples=150, deadline=None)
def test_a_condition_more_on_a_permission_never_allows_more(asked, name, condition):
    if bare(name, permission=[condition]).decide(asked).outcome == "ALLOW":
        assert bare(name).decide(asked).outcome == "ALLOW"


MISSING = {
    "roles": frozenset(),
    "areas": frozenset(),
    "assurance": frozenset(),
    "venue": "",
    "purpose": "",
    "consumer": "",
}


@given(REQUESTS, st.sampled_from(sorted(OFFERS)), st.lists(CONDITIONS, max_size=2), st.sampled_from(sorted(MISSING)))
@settings(max_examples=150, deadline=None)
def test_an_attribute_taken_away_never_allows_more_in_either_polarity(asked, name, conditions, attribute):
    for policy in (
        bare(name, prohibition=[Prohibition(action="use", constraint=(condition,)) for condition in conditions]),
        bare(name, permission=conditions),
    ):
        less = msgspec.structs.replace(asked, **{attribute: MISSING[attribute]})
        if policy.decide(less).outcome == "ALLOW":
            assert policy.decide(asked).outcome == "ALLOW"


def interpreted(constraint, asked):
    """A direct interpreter of the plain operators, to compare the closures with."""
    if constraint.left is None:
        values = [interpreted(part, asked) for part in constraint.parts]
        return None if None in values and values.count(True) < 2 else values.count(True) == 1
    value = {
        "purpose": {asked.purpose} & PURPOSES.keys(),
        "tn:role": asked.roles,
        "tn:jurisdiction": asked.areas,
        "tn:membership": {f"venue:{asked.venue}"} if asked.venue else set(),
        "dateTime": {asked.now},
    }[constraint.left]
    if not value:
        return None
    if constraint.operator == "gteq":
        return asked.now >= datetime.fromisoformat(constraint.right)
    if constraint.operator in ("eq", "neq"):
        return (value == set(constraint.values)) == (constraint.operator == "eq")
    above = {word: {word} | set(PURPOSES[word].parents) if word in PURPOSES else {word} for word in value}
    meets = any(above[word] & set(constraint.values) for word in value)
    return meets == (constraint.operator == "isAnyOf")


@given(REQUESTS, CONDITIONS)
@settings(max_examples=150, deadline=None)
def test_the_closures_agree_with_a_direct_interpreter(asked, condition):
    offered = bare("open", permission=[condition])
    rest = bare("open")
    if rest.decide(asked).outcome == "ALLOW":
        expected = evaluate.permission_active(interpreted(condition, asked))
        assert (offered.decide(asked).outcome == "ALLOW") == expected


# --- refused at load


def loaded(change):
    raw = json.loads(odrl.encode(agreed_offer("scoring").policy))
    change(raw)
    return compiled.load(msgspec.json.decode(json.dumps(raw), type=odrl.Policy))


def premise(raw):
    return raw["permission"][0]["constraint"]


def duty(raw, action):
    return next(duty for duty in raw["permission"][0]["duty"] if duty["action"] == action)


def atom(left, operator, right, **more):
    return {"leftOperand": left, "operator": operator, "rightOperand": right, **more}


DEFECTS = {
    "another profile": lambda p: p.update(profile="https://w3id.org/catenax/2025/9/policy"),
    "unknown action permitted": lambda p: p["permission"].append({"action": "preview"}),
    "use permitted as a whole": lambda p: p["permission"].append({"action": "use"}),
    "sale permitted": lambda p: p["permission"].append({"action": "sell"}),
    "unknown action forbidden": lambda p: p["prohibition"].append({"action": "odrl:distribute"}),
    "transform as a prohibition": lambda p: p["prohibition"].append({"action": "tn:mask"}),
    "unknown obligation": lambda p: p["obligation"].append({"action": "watermark", "tn:timing": "AFTER"}),
    "obligation before": lambda p: p["obligation"].append({"action": "attribute"}),
    "unknown left operand": lambda p: premise(p).append(atom("tn:executionEnv", "eq", "05")),
    "unknown left operand in a logical constraint": lambda p: premise(p).append({"or": [atom("event", "eq", "x")]}),
    "operator without meaning for times": lambda p: premise(p).append(
        atom("dateTime", "isAnyOf", "2026-01-01T00:00:00Z")
    ),
    "operator without meaning for terms": lambda p: premise(p).append(atom("tn:role", "lteq", "CONSUMER")),
    "unknown purpose": lambda p: premise(p).append(atom("purpose", "isAnyOf", ["spying"])),
    "purpose forbidden by an unknown word": lambda p: p["prohibition"].append(
        {"action": "use", "constraint": [atom("purpose", "eq", "spying")]}
    ),
    "time without a zone": lambda p: premise(p).append(atom("dateTime", "lt", "2027-01-01T00:00:00")),
    "date without a zone": lambda p: premise(p).append(atom("dateTime", "lteq", "2027-01-01")),
    "two times": lambda p: premise(p).append(atom("dateTime", "lt", ["2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"])),
    "unknown datatype": lambda p: premise(p).append(
        atom("dateTime", "lt", {"@value": "2027-01-01T00:00:00Z", "@type": "xsd:gYear"})
    ),
    "unit where there is none": lambda p: premise(p).append(atom("purpose", "eq", "credit-scoring", unit="EUR")),
    "counter that bounds from below": lambda p: premise(p).append(atom("count", "gteq", "5")),
    "counter inside or": lambda p: premise(p).append({"or": [atom("count", "lteq", "5")]}),
    "counter with a float": lambda p: premise(p).append(atom("tn:bytesReturned", "lteq", "1e9")),
    "counter beyond the integers": lambda p: premise(p).append(atom("tn:bytesReturned", "lteq", "9" * 17)),
    "counter with foreign digits": lambda p: premise(p).append(atom("tn:bytesReturned", "lteq", "٥")),
    "counter with an unknown window": lambda p: premise(p).append(
        atom("tn:rowsReturned", "lteq", "5", unit="tn:perAge")
    ),
    "frequency without a window": lambda p: premise(p).append(atom("tn:frequency", "lteq", "5")),
    "same limit twice": lambda p: premise(p).append(atom("tn:rowsReturned", "lteq", "5")),
    "counter on a prohibition": lambda p: p["prohibition"].append(
        {"action": "use", "constraint": [atom("count", "lteq", "5")]}
    ),
    "transform without its timing": lambda p: duty(p, "tn:mask").pop("tn:timing"),
    "transform afterwards": lambda p: duty(p, "tn:rowFilter").update({"tn:timing": "AFTER"}),
    "mask without a method": lambda p: duty(p, "tn:mask")["constraint"].pop(),
    "mask by an unknown method": lambda p: duty(p, "tn:mask")["constraint"].__setitem__(
        1, atom("tn:method", "eq", "rot13")
    ),
    "parameter twice": lambda p: duty(p, "tn:mask")["constraint"].append(atom("tn:column", "eq", "state")),
    "parameter unknown": lambda p: duty(p, "tn:mask")["constraint"].append(atom("tn:salt", "eq", "0")),
    "parameter as a range": lambda p: duty(p, "tn:mask")["constraint"].__setitem__(
        0, atom("tn:column", "neq", "state")
    ),
    "condition on a transform": lambda p: duty(p, "tn:mask")["constraint"].append(
        {"and": [atom("purpose", "eq", "statistics")]}
    ),
    "row filter that is SQL": lambda p: duty(p, "tn:rowFilter").update(
        constraint=[atom("tn:expression", "eq", "1=1 or (select true)")]
    ),
    "two row filters": lambda p: p["permission"][0]["duty"].append(duty(p, "tn:rowFilter")),
    "one column masked twice": lambda p: p["permission"][0]["duty"].append(duty(p, "tn:mask")),
    "column in clear and masked": lambda p: duty(p, "tn:project").update(
        constraint=[atom("tn:column", "isPartOf", ["emp_title"])]
    ),
    "nothing projected": lambda p: p["permission"][0].update(duty=[duty(p, "compensate")]),
    "aggregate without its rule": lambda p: p["permission"][0].update(action="aggregate"),
    "plan on another permission": lambda p: p["permission"][1].update(duty=[duty(p, "tn:project")]),
    "two permissions to read": lambda p: p["permission"].append(p["permission"][0]),
    "paid per row before": lambda p: duty(p, "compensate").pop("tn:timing"),
    "price without a currency": lambda p: duty(p, "compensate")["constraint"][0].pop("unit"),
    "price of nothing": lambda p: duty(p, "compensate")["constraint"][0].update(rightOperand="0"),
    "retention that is no duration": lambda p: p["obligation"][0].update(
        constraint=[atom("tn:retention", "lteq", "a while")]
    ),
    "event that nothing reports": lambda p: p["obligation"][-1]["constraint"].__setitem__(
        0, atom("event", "eq", "RAIN")
    ),
    "use permitted and forbidden": lambda p: p["prohibition"].append({"action": "read"}),
    "conditions that never hold": lambda p: premise(p).append(atom("dateTime", "gteq", "2028-01-01T00:00:00Z")),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_policy_this_node_would_not_keep_is_refused_when_it_is_loaded(defect):
    with pytest.raises(TrustnodeError) as caught:
        loaded(DEFECTS[defect])
    refused = caught.value
    assert refused.reason in ("VOCABULARY_UNKNOWN", "FIELD_FORMAT", "FIELD_MISSING", "POLICY_CONFLICT")
    assert refused.metadata["field"]


def test_the_unchanged_policy_is_loaded():
    assert loaded(dict.copy).digest == agreed_offer("scoring").digest


def test_the_refusal_names_the_path():
    with pytest.raises(TrustnodeError) as caught:
        loaded(lambda p: premise(p).append({"and": [{"or": [atom("tn:weather", "eq", "fair")]}]}))
    assert caught.value.metadata["field"].startswith("permission[0].constraint[")
    assert caught.value.metadata["field"].endswith(".and[0].or[0].leftOperand")


def test_bounded_by_less_than_is_one_less():
    policy = loaded(lambda p: premise(p).append(atom("count", "lt", "10")))
    assert [counter.limit for counter in policy.counters if counter.name == "count/none"] == [9]


def test_a_policy_that_only_forbids_permits_nothing():
    only = msgspec.structs.replace(agreed_offer("scoring").policy, permission=())
    policy = compiled.load(only)
    assert decided(policy) == ("DEFAULT_DENY", "DEFAULT_DENIED")
    with pytest.raises(PolicyDenied):
        policy.governed(LOANS, table="loans")
    assert policy.expires(START) is None


def test_every_duty_that_can_stand_in_a_policy_has_a_class():
    for (place, action), form in words.FORMS.items():
        names = {action, f"obligation:{action}", *(f"{action}:{timing}" for timing in form.timings)}
        names |= {f"{action}:{event}" for event in words.EVENTS}
        assert names & duties._KEPT.keys(), (place, action)


def test_every_action_with_a_parent_has_a_known_one_and_every_place_of_a_duty_a_form():
    for action, known in words.ACTIONS.items():
        assert known.parent in words.ACTIONS or not known.parent
        for place in known.places & {"duty", "obligation"}:
            assert (place, action) in words.FORMS


def test_equal_policies_compile_to_equal_answers():
    one, other = agreed(compiled_offer("scoring")), agreed(compiled_offer("scoring"))
    assert one.digest == other.digest
    assert one.decide(request(now=NOW)) == other.decide(request(now=NOW))
