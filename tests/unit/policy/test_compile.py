"""Terms to ODRL: each word in both directions, what must be said, what contradicts (demo 2, surface 8)."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.policy.samples import (
    LOANS,
    OFFERS,
    OPEN,
    PUBLISHED,
    SCORING,
    STATISTICS,
    agreed_offer,
    compiled,
    compiled_offer,
)

from trustnode.core.policy import governed, grammar, masks, odrl, terms
from trustnode.core.policy.compile import check_stated, compile_terms
from trustnode.core.policy.decompile import to_terms
from trustnode.core.policy.level import APPROVALS, LEVELS
from trustnode.core.policy.odrl import Constraint
from trustnode.core.policy.purposes import PURPOSES, covered
from trustnode.core.policy.words import ASSURANCE, ROLES, WINDOWS
from trustnode.errors import TrustnodeError, VerificationFailed


def refusal(name, **changes):
    with pytest.raises(TrustnodeError) as caught:
        compiled_offer(name, **changes)
    return caught.value


@pytest.mark.parametrize("name", OFFERS)
def test_the_three_offers_of_the_reference_compile_load_and_fit_their_columns(name):
    assert agreed_offer(name).governed(OFFERS[name][2], table="t").tables


@pytest.mark.parametrize("name", OFFERS)
@given(order=st.randoms(use_true_random=False))
@settings(max_examples=10)
def test_the_same_terms_have_the_same_bytes_whatever_the_order_of_keys_and_lists(name, order):
    given_terms, price, schema, level = OFFERS[name]
    shuffled = {}
    for key in order.sample(sorted(given_terms), len(given_terms)):
        value = given_terms[key]
        shuffled[key] = order.sample(value, len(value)) if isinstance(value, list) else value
        if isinstance(value, dict):
            shuffled[key] = {inner: value[inner] for inner in order.sample(sorted(value), len(value))}
    policy = compiled(terms.decode(shuffled), price=price, schema=schema, level=level)
    assert odrl.encode(policy) == odrl.encode(compiled_offer(name))


@pytest.mark.parametrize("name", OFFERS)
def test_one_changed_term_changes_the_digest_and_the_identifier(name):
    one, other = compiled_offer(name), compiled_offer(name, limits=["7 reads per day"])
    assert odrl.digest(one) != odrl.digest(other)
    assert one.id != other.id


def test_the_judging_instant_is_not_in_the_policy():
    given_terms, price, schema, level = OFFERS["scoring"]
    other_day = compile_terms(
        terms.decode(given_terms),
        price=price,
        schema=schema,
        zone="Asia/Hong_Kong",
        level=level,
        at=grammar.datetime(2027, 1, 1, tzinfo=grammar.timezone.utc),
    )
    assert other_day == compiled_offer("scoring")


# --- nothing by silence, closed words


@pytest.mark.parametrize("key", ["purposes", "who", "period", "columns", "keep", "onward"])
def test_nothing_is_allowed_by_silence(key):
    refused = refusal("open", **{key: None})
    assert (refused.reason, refused.metadata["field"]) == ("FIELD_MISSING", key)


def test_a_price_must_be_said():
    assert refusal("open", price="").reason == "PRICE_MISSING"


@pytest.mark.parametrize("key", ["person", "measures", "min_group"])
def test_aggregates_need_their_keys(key):
    assert refusal("statistics", **{key: None}).metadata["field"] == key


@pytest.mark.parametrize(
    "key, value, hint",
    [
        ("purposes", ["marketting"], "marketing"),
        ("not_for", ["marketting"], "marketing"),
        ("purposes", "anything", "any"),
        ("who", ["role:CONSUMR"], "CONSUMER"),
        ("who", ["rol:CONSUMER"], "role:"),
        ("who", ["assurance:organization-checked"], "organisation-checked"),
        ("who", "anybody", "anyone"),
        ("limits", ["50 reeds per day"], "read"),
        ("limits", ["50 reads per dya"], "day"),
        ("columns", ["grad"], "grade"),
        ("columns", "everything", "known"),
        ("masks", {"emp_titel": "hash"}, "emp_title"),
        ("masks", {"emp_title": "hush"}, "hash"),
        ("rows", "grad = 'A'", "grade"),
        ("onward", "forbiden", "forbidden"),
        ("derived", "same term", "same terms"),
        ("duties", ["name the sauce"], "name the source"),
        ("duties", ["report use monthy"], "monthly"),
    ],
)
def test_an_unknown_word_is_refused_with_the_nearest_known_one(key, value, hint):
    refused = refusal("scoring", **{key: value})
    assert refused.reason == "VOCABULARY_UNKNOWN"
    assert hint in refused.message


def test_an_unknown_key_is_refused_with_the_nearest_known_one():
    with pytest.raises(TrustnodeError, match="purposes") as caught:
        terms.decode({"purpose": ["statistics"]})
    assert caught.value.reason == "VOCABULARY_UNKNOWN"


@pytest.mark.parametrize("key, value", [("purposes", []), ("masks", {}), ("who", ""), ("duties", [])])
def test_a_key_with_nothing_in_it_is_refused(key, value):
    with pytest.raises(TrustnodeError) as caught:
        terms.decode({key: value})
    assert caught.value.reason == "FIELD_MISSING"


@pytest.mark.parametrize("key, value", [("min_group", "20"), ("min_group", -1), ("purposes", 5), ("columns", [""])])
def test_a_value_of_another_kind_is_refused(key, value):
    with pytest.raises(TrustnodeError) as caught:
        terms.decode({key: value})
    assert caught.value.reason == "FIELD_FORMAT"


@pytest.mark.parametrize(
    "key, value",
    [
        ("period", "2026-12-01 to 2026-13-01"),
        ("period", "20261201 to 20271201"),
        ("period", "12 moons"),
        ("period", "0 days"),
        ("period", "forever"),
        ("limits", ["many reads per day"]),
        ("limits", ["0 reads per day"]),
        ("limits", ["9999999999999999 bytes in all"]),
        ("limits", ["50 reads"]),
        ("keep", "a while"),
        ("masks", {"annual_income": "bucket"}),
        ("masks", {"annual_income": "bucket 0"}),
        ("masks", {"emp_title": "bucket 5"}),
        ("masks", {"emp_title": "hash twice"}),
        ("masks", {"emp_title": "year"}),
        ("masks", {"emp_title": "hash 7"}),
        ("masks", {"emp_title": "hash 65"}),
        ("masks", {"emp_title": "first 0"}),
        ("masks", {"emp_title": "only a,,b"}),
        ("masks", {"annual_income": "only 1, 2"}),
        ("masks", {"earliest_credit_line": "only 1999, soon"}),
        ("masks", {"emp_title": "redact ["}),
        ("masks", {"emp_title": "redact (?=x)y"}),
        ("masks", {"emp_title": r"redact (a)\1"}),
        ("masks", {"emp_title": "redact x*"}),
        ("masks", {"issued": "network"}),
        ("places", ["China"]),
        ("price", "0.02 CNY"),
        ("price", "0 CNY per row"),
        ("price", "1e3 CNY once"),
        ("price", "-1 CNY once"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused(key, value):
    assert refusal("scoring", **{key: value}).reason == "FIELD_FORMAT"


# --- terms that nothing keeps


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("scoring", {"environment": "TEE"}, 'environment = "TEE": no verifier here'),
    ],
)
def test_a_term_that_nothing_keeps_makes_the_offer_unpublishable_and_is_named(name, changes, message):
    refused = refusal(name, **changes)
    assert (refused.reason, refused.message) == ("OFFER_UNENFORCEABLE", message)


def test_rows_that_are_read_are_a_copy():
    assert refusal("scoring", keep="no copy").reason == "OFFER_UNENFORCEABLE"


def test_every_key_has_a_class_or_is_refused_as_unkept():
    assert terms.KEPT.keys() | terms.UNKEPT.keys() == set(terms.KEYS)
    assert not terms.KEPT.keys() & terms.UNKEPT.keys()


def test_every_mask_of_the_engine_has_a_rule_and_no_other():
    assert set(masks.MASKS) == set(governed.MASK_METHODS)


# --- contradictions


@pytest.mark.parametrize(
    "name, changes",
    [
        ("scoring", {"not_for": ["credit-scoring"]}),
        ("scoring", {"not_for": ["customer-management"]}),
        ("open", {"not_for": sorted(PURPOSES)}),
        ("scoring", {"purposes": ["any", "credit-scoring"]}),
        ("scoring", {"who": ["anyone", "role:CONSUMER"]}),
        ("scoring", {"period": "2025-12-01 to 2026-11-23"}),
        ("scoring", {"period": "2027-12-01 to 2026-12-01"}),
        ("scoring", {"masks": {"grade": "hash"}}),
        ("scoring", {"limits": ["50 reads per day", "60 reads per day"]}),
        ("scoring", {"keep": "7 days"}),
        ("scoring", {"price": "free"}),
        ("scoring", {"price": "100 CNY once"}),
        ("scoring", {"duties": ["report use monthly", "report use weekly"]}),
        ("scoring", {"min_group": 20}),
        ("statistics", {"columns": ["age"]}),
        ("statistics", {"group_by": ["id"]}),
        ("statistics", {"measures": ["sum id"]}),
        ("statistics", {"masks": {"bmi": "round 0"}}),
        ("statistics", {"masks": {"age": "null"}}),
    ],
)
def test_terms_that_contradict_each_other_are_refused(name, changes):
    assert refusal(name, **changes).reason == "POLICY_CONFLICT"


def test_a_group_of_one_is_a_person():
    assert refusal("statistics", min_group=1).metadata["field"] == "min_group"


def test_an_amount_may_only_be_summed_where_it_is_a_number():
    with pytest.raises(TrustnodeError, match="no number"):
        compiled(
            terms.decode(
                {
                    **STATISTICS,
                    "person": "loan_amount",
                    "group_by": ["state"],
                    "masks": {"state": "hash"},
                    "measures": ["sum grade"],
                }
            ),
            price="free",
            schema=LOANS,
            level="GENERAL_4",
        )


def test_the_last_day_of_a_period_counts_until_it_ends_in_the_zone_of_the_product():
    assert compiled_offer("scoring", period="2025-12-01 to 2026-11-24")
    assert refusal("scoring", period="2025-12-01 to 2026-11-23").metadata["field"] == "period"


# --- level


def test_all_columns_only_at_the_lowest_level():
    assert refusal("open", level="GENERAL_2").reason == "LEVEL_FORBIDDEN"


def test_at_the_highest_tradable_level_only_results_leave():
    refused = refusal("scoring", level="GENERAL_4")
    assert (refused.reason, refused.metadata["field"]) == ("LEVEL_FORBIDDEN", "result")


def test_core_data_are_refused_whatever_the_terms():
    assert refusal("statistics", level="CORE").reason == "LEVEL_FORBIDDEN"


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("approval", APPROVALS)
def test_an_approval_is_never_weaker_than_the_level_demands(level, approval):
    given_terms, price, schema, _ = OFFERS["statistics"]

    def offer():
        return compile_terms(
            terms.decode(given_terms),
            price=price,
            schema=schema,
            zone="UTC",
            level=level,
            at=grammar.datetime(2026, 1, 1, tzinfo=grammar.timezone.utc),
            approval=approval,
        )

    if APPROVALS.index(approval) >= APPROVALS.index(LEVELS[level].approval):
        assert offer()
    else:
        with pytest.raises(TrustnodeError) as caught:
            offer()
        assert caught.value.reason == "LEVEL_FORBIDDEN"


# --- each word, both ways


def actions(rules):
    return {rule.action for rule in rules}


@pytest.mark.parametrize(
    "word, permitted, prohibited",
    [
        ("forbidden", set(), {"distribute", "grantUse", "sell"}),
        ("results", {"distribute"}, {"grantUse", "sell"}),
        ("with these terms", {"distribute"}, set()),
        ("allowed", {"distribute"}, set()),
    ],
)
@pytest.mark.parametrize("name", OFFERS)
def test_every_word_of_onward_adds_its_permission_or_its_prohibition_and_reads_back(name, word, permitted, prohibited):
    policy = compiled_offer(name, onward=word, not_for=None, derived=None)
    assert actions(policy.permission) - {"read", "aggregate"} == permitted
    assert actions(policy.prohibition) == prohibited
    assert to_terms(policy)[0].onward == word


@pytest.mark.parametrize(
    "word, permitted, owed", [("", set(), 0), ("free", {"derive"}, 0), ("same terms", {"derive"}, 1)]
)
def test_every_word_of_derived_and_its_silence(word, permitted, owed):
    policy = compiled_offer("scoring", derived=word or None, duties=None)
    assert actions(policy.permission) - {"read"} == permitted
    assert sum(duty.action == "tn:policyTransmit" for duty in policy.obligation) == owed
    assert to_terms(policy)[0].derived == word


@pytest.mark.parametrize("keep", ["no copy", "unlimited", "90 days", "1 day", "18 months", "2 years", "48 hours"])
def test_every_form_of_keep(keep):
    policy = compiled_offer("statistics", keep=keep)
    assert ("reproduce" in actions(policy.prohibition)) == (keep == "no copy")
    assert ("delete" in actions(policy.obligation)) == (keep not in ("no copy", "unlimited"))
    assert to_terms(policy)[0].keep == keep


@pytest.mark.parametrize(
    "period", ["2026-12-01 to 2027-11-30", "2028-02-29 to 2028-02-29", "24 months", "1 year", "90 days", "12 hours"]
)
def test_every_form_of_a_period(period):
    assert to_terms(compiled_offer("scoring", period=period, keep="unlimited"))[0].period == period


WHO = [f"role:{word}" for word in sorted(ROLES)] + [f"assurance:{word}" for word in ASSURANCE]


@pytest.mark.parametrize("who", [*WHO, "participant:spiffe://x/p", "venue:zj.example", "space:steel"])
def test_every_kind_of_who(who):
    assert to_terms(compiled_offer("scoring", who=[who]))[0].who == (who,)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_every_purpose_can_be_allowed_and_can_be_forbidden(purpose):
    allowed = compiled_offer("open", purposes=[purpose])
    assert to_terms(allowed)[0].purposes == (purpose,)
    forbidden = compiled_offer("open", not_for=[purpose])
    assert to_terms(forbidden)[0].not_for == (purpose,)


@pytest.mark.parametrize("window", ["in all", *(f"per {window}" for window in WINDOWS.values())])
@pytest.mark.parametrize("unit", ["reads", "rows", "bytes"])
def test_every_limit_becomes_a_counter_and_reads_back(unit, window):
    compiled_policy = agreed_offer("scoring", limits=[f"50 {unit} {window}"])
    (counter,) = compiled_policy.counters
    assert counter.limit == 50
    assert counter.words == f"50 {unit} {window}"
    assert (counter.reason == "QUOTA_WINDOW") == (window != "in all")
    assert to_terms(compiled_policy.policy)[0].limits == (f"50 {unit} {window}",)


def test_a_size_is_counted_in_bytes():
    (counter,) = agreed_offer("scoring", limits=["10 GB per month"]).counters
    assert (counter.unit, counter.limit) == ("bytes", 10**10)


MASKED = [
    ("emp_title", "null"),
    ("emp_title", "constant withheld"),
    ("emp_title", "hash"),
    ("annual_income", "bucket 10000"),
    ("annual_income", "round -2"),
    ("issued", "year"),
    ("issued", "month"),
    ("issued", "quarter"),
    ("emp_title", "hash 16"),
    ("emp_title", "token"),
    ("emp_title", "first 3"),
    ("emp_title", "last 4"),
    ("emp_title", "domain"),
    ("emp_title", "only nurse, teacher"),
    ("earliest_credit_line", "only 1999, 2000"),
    ("emp_title", r"redact [0-9]{2,}|\bsenior\b"),
    ("emp_title", "network"),
]


def test_every_mask_is_tried():
    assert {mask.split(" ")[0] for _, mask in MASKED} == set(governed.MASK_METHODS)


@pytest.mark.parametrize("column, mask", MASKED)
def test_every_mask_reaches_the_plan_and_reads_back(column, mask):
    compiled_policy = agreed_offer("scoring", masks={column: mask})
    (table,) = compiled_policy.governed(LOANS, table="loans").tables
    assert [masks.mask_words(found) for found in table.masks] == [mask]
    assert column not in table.columns
    assert to_terms(compiled_policy.policy)[0].masks == {column: mask}


DUTIES = ["name the source", "pay within 30 days", "report a leak within 24 hours"]
DUTIES += [f"report use {word}" for word in ("daily", "weekly", "monthly", "quarterly", "yearly")]


@pytest.mark.parametrize("duty", DUTIES)
def test_every_duty_is_owed_and_reads_back(duty):
    compiled_policy = agreed_offer("scoring", duties=[duty], keep="unlimited", derived=None)
    owed = [owed for owed in compiled_policy.duties if owed.path.startswith("obligation")]
    assert [found.timing for found in owed] == ["AFTER"]
    assert to_terms(compiled_policy.policy)[0].duties == (duty,)


@pytest.mark.parametrize("price", ["free", "500 CNY once", "30 CNY per month", "50 CNY per read", "0.02 CNY per row"])
def test_every_price_reads_back_and_only_what_is_paid_once_is_a_precondition(price):
    compiled_policy = agreed_offer("open", price=price)
    before = [owed.action for owed in compiled_policy.duties if owed.timing == "BEFORE"]
    assert before == (["compensate"] if price.endswith("once") else [])
    assert to_terms(compiled_policy.policy)[1] == price


# --- no beats yes


def subset(values, **sizes):
    return st.lists(st.sampled_from(values), unique=True, **sizes)


@given(subset(sorted(PURPOSES), min_size=1, max_size=3), subset(sorted(PURPOSES), min_size=1, max_size=3))
def test_no_beats_yes_and_a_purpose_that_is_wholly_forbidden_is_refused(purposes, not_for):
    if covered(not_for) & set(purposes):
        assert refusal("open", purposes=purposes, not_for=not_for).reason == "POLICY_CONFLICT"
    else:
        assert compiled_offer("open", purposes=purposes, not_for=not_for)


@pytest.mark.parametrize(
    "replace",
    [
        lambda p: {
            "permission": (msgspec.structs.replace(p.permission[0], constraint=()),),
            "prohibition": p.prohibition[1:],
        },
        lambda p: {"prohibition": p.prohibition[:2]},
        lambda p: {"prohibition": p.prohibition[1:]},
        lambda p: {
            "permission": (
                msgspec.structs.replace(
                    p.permission[0],
                    constraint=(
                        *p.permission[0].constraint,
                        Constraint(any_of=(Constraint(left="tn:role", operator="isAnyOf", right="AUDITOR"),)),
                    ),
                ),
            )
        },
    ],
    ids=["no period", "sale neither way", "no word for it", "a logical constraint"],
)
def test_a_policy_that_terms_cannot_say_has_no_short_form_and_the_path_is_named(replace):
    policy = compiled_offer("scoring", derived=None, not_for=["customer-care"], purposes=["customer-management"])
    changed = msgspec.structs.replace(policy, **replace(policy))
    with pytest.raises(TrustnodeError, match="no short form for: "):
        to_terms(changed)


def test_silence_about_all_three_examples_is_honest():
    assert {*OPEN, *SCORING, *STATISTICS} <= set(terms.KEYS)


def test_terms_that_say_another_policy_than_the_signed_one_are_refused():
    given_terms, price, schema, level = OFFERS["scoring"]
    signed = compiled_offer("scoring")
    about = {"price": price, "schema": schema, "zone": "Asia/Shanghai", "level": level, "at": PUBLISHED}
    check_stated(signed, terms.decode(given_terms), **about)
    for key, value in {"onward": "allowed", "not_for": ["personalisation"], "keep": "91 days"}.items():
        with pytest.raises(VerificationFailed) as caught:
            check_stated(signed, terms.decode({**given_terms, key: value}), **about)
        assert caught.value.reason == "HASH_MISMATCH"
    with pytest.raises(VerificationFailed):
        check_stated(signed, terms.decode(given_terms), **{**about, "price": "0.01 CNY per row"})
