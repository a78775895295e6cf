"""Terms to ODRL and back, over the whole grammar: rows, columns, masks, uses, results, limits, prices, duties."""

import json

import msgspec
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from unit.policy.samples import LOANS, NOISE, PATIENTS, compiled
from unit.policy.test_explain import LENGTHS, SAID

from trustnode.core.policy import explain, grammar, masks, odrl, terms
from trustnode.core.policy.decompile import to_terms
from trustnode.core.policy.governed import MASK_METHODS
from trustnode.core.policy.purposes import PURPOSES
from trustnode.core.policy.schema import NUMBERS
from trustnode.errors import StateError

MASK_TEXTS = (
    "null", "constant ***", "hash", "hash 16", "token", "bucket 5", "bucket 10000", "round -2", "round 1", "year",
    "quarter", "month", "first 3", "last 4", "domain", "only NJ, NY", "redact [0-9]{4,}", "network",
)  # fmt: skip


def subset(values, **sizes):
    return st.lists(st.sampled_from(values), unique=True, **sizes)


def one_of_each(key):
    """The words of a key that stand alone or in a list of one, together."""
    return sorted({word for value in SAID[key] if not isinstance(value, str) for word in value})


def fitting(column):
    """The masks that fit a column."""
    return [text for text in MASK_TEXTS if column.family in masks.MASKS[text.split(" ")[0]].families and
            (text != "only NJ, NY" or column.family == "text")]  # fmt: skip


def literal(column):
    return {"text": "'it''s'", "boolean": "true", "date": "'2026-01-31'", "decimal": "7.50"}.get(column.family, "12")


COMPARISONS = st.sampled_from(LOANS).flatmap(
    lambda column: st.sampled_from(
        [
            f"{column.name} = {literal(column)}",
            f"{column.name} <> {literal(column)}",
            f"{column.name} is null",
            f"{column.name} is not null",
            f"{column.name} in ({literal(column)}, {literal(column)})",
            *([f"{column.name} < {literal(column)}", f"{column.name} >= {literal(column)}",
               f"{column.name} between {literal(column)} and {literal(column)}"] if column.family != "boolean" else []),
            *([f"{column.name} = {{consumer.id}}", f"{column.name} <> {{consumer.area}}"] if column.family == "text"
              else []),
        ]
    )
)  # fmt: skip
CONDITIONS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda text: f"not ({text})"),
    ),
    max_leaves=4,
)


@st.composite
def delivered(draw):
    """Columns in clear, masked ones, and uses of the clear ones."""
    chosen = draw(st.lists(st.sampled_from(LOANS), min_size=1, unique_by=lambda column: column.name))
    masked = {column.name: draw(st.sampled_from(fitting(column))) for column in chosen if draw(st.booleans())}
    clear = [column for column in chosen if column.name not in masked]
    uses = {}
    for column in clear:
        known = ["", "", "", "filter", "join", *(["aggregate 5"] if column.family in NUMBERS else [])]
        if use := draw(st.sampled_from(known)):
            uses[column.name] = use
    found = {"columns": [column.name for column in clear], "masks": masked, "uses": uses}
    return {key: value for key, value in found.items() if value}


COMMON = {
    "purposes": st.one_of(st.just("any"), subset(sorted(PURPOSES), min_size=1, max_size=4)),
    "who": st.one_of(st.just("anyone"), subset(one_of_each("who"), min_size=1, max_size=5)),
    "period": st.sampled_from(SAID["period"]),
    "keep": st.sampled_from(["unlimited", *LENGTHS]),
    "onward": st.sampled_from(grammar.ONWARD),
}
BESIDES = {
    "not_for": subset(sorted(PURPOSES), min_size=1, max_size=3),
    "places": subset(one_of_each("places"), min_size=1),
    "rows": CONDITIONS,
    "limits": subset(one_of_each("limits"), min_size=1, max_size=5),
    "derived": st.sampled_from(grammar.DERIVED),
    "duties": subset(one_of_each("duties"), min_size=1, max_size=4),
}
PRICES = st.sampled_from(["free", "5 CNY once", "30 CNY per month", "0.5 EUR per read", "0.02 CNY per row"])
OF_ROWS = st.tuples(st.fixed_dictionaries(COMMON, optional=BESIDES), delivered()).map(lambda parts: parts[0] | parts[1])


@st.composite
def of_results(draw):
    """Aggregates of the patients."""
    keys = draw(subset(["age", "male"], max_size=2))
    found = draw(st.fixed_dictionaries(COMMON, optional={k: v for k, v in BESIDES.items() if k != "rows"}))
    found |= {
        "result": "aggregates",
        "person": "id",
        "measures": draw(subset(["count", "sum status", "avg bmi", "stddev bmi", "sum age"], min_size=1)),
        "min_group": draw(st.integers(2, 10_000)),
        "keep": draw(st.sampled_from(["no copy", "unlimited", *LENGTHS])),
    }
    if keys:
        found["group_by"] = keys
    if "age" in keys and "sum age" not in found["measures"] and draw(st.booleans()):
        found["masks"] = {"age": "bucket 10"}
    return found


def compiled_or_contradiction(given_terms, price, schema):
    try:
        return compiled(msgspec.convert(given_terms, terms.Terms), price=price, schema=schema, level="GENERAL_2")
    except StateError as refused:
        assume(refused.reason != "POLICY_CONFLICT")
        raise


def goes_round(given_terms, price, schema):
    policy = compiled_or_contradiction(given_terms, price, schema)
    read_back, read_price = to_terms(policy)
    again = compiled(read_back, price=read_price, schema=schema, level="GENERAL_2")
    assert again == policy
    assert odrl.decode(odrl.encode(policy)) == policy
    assert to_terms(again) == (read_back, read_price)
    assert set(read_back.said()) == set(msgspec.convert(given_terms, terms.Terms).said())
    assert msgspec.json.decode(json.dumps(msgspec.to_builtins(read_back)), type=terms.Terms) == read_back
    return read_back, read_price


@given(OF_ROWS, PRICES)
@settings(max_examples=80, deadline=None)
def test_rows_go_to_odrl_and_back_and_mean_the_same(given_terms, price):
    read_back, read_price = goes_round(given_terms, price, LOANS)
    assert all(line.zh and line.how_zh for line in explain.lines(read_back, read_price))


@given(of_results(), PRICES)
@settings(max_examples=40, deadline=None)
def test_results_go_to_odrl_and_back_and_mean_the_same(given_terms, price):
    goes_round(given_terms, price, PATIENTS)


def test_the_grammar_that_is_tried_is_the_whole_one():
    elsewhere = {"noise", "environment", "trace"}
    of_results_alone = {"result", "person", "group_by", "measures", "min_group"}
    assert {*COMMON, *BESIDES, "columns", "masks", "uses", *of_results_alone, *elsewhere} == set(terms.KEYS)
    assert {text.split(" ")[0] for text in MASK_TEXTS} == set(MASK_METHODS)
    assert NOISE.keys() <= set(terms.Noise.__struct_fields__)
