"""Which part of a polars predicate travels as SQL."""

import json

import polars as pl
import pytest

from trustnode.core.policy.schema import TYPES
from trustnode.sdk import scan

A, B = pl.col("a"), pl.col("b")
CASES = [
    (A == 1, '"a" = 1'),
    (A != 1, '"a" <> 1'),
    ((A > 1) & (B <= 2.5), '"a" > 1 and "b" <= 2.5'),
    (B == "it's", "\"b\" = 'it''s'"),
    (A.is_between(1, 3), '"a" between 1 and 3'),
    (A.is_null(), '"a" is null'),
    (A.is_not_null() & (B < 3), '"a" is not null and "b" < 3'),
    # not said in SQL: polars filters what comes
    (A.is_between(1, 3, closed="left"), ""),
    (A + 1 == 2, ""),
    ((A == 1) | (B == 2), ""),
    (A.str.contains("x"), ""),
    (~(A == 1), ""),
    (A == B, ""),
    (float("inf") < A, ""),
    (pl.lit(float("nan")) < A, ""),
    # of a conjunction the part that is said travels
    ((A == 1) & (A + B == 2), '"a" = 1'),
]


@pytest.mark.parametrize("predicate, expected", CASES, ids=[str(case[0]) for case in CASES])
def test_a_predicate_becomes_the_sql_that_means_the_same(predicate, expected):
    assert scan.where(json.loads(predicate.meta.serialize(format="json"))) == expected


@pytest.mark.parametrize("unknown", [None, {}, [], "text", {"BinaryExpr": {}}, {"Column": "a"}, 5])
def test_a_form_that_is_not_known_is_left_to_polars(unknown):
    assert scan.where(unknown) == ""


def test_columns_and_limit_travel_and_names_are_quoted():
    assert scan.select("t", ["a", 'b"c'], "", 5) == 'select "a", "b""c" from "t" limit 5'
    assert scan.select("t", None, '"a" = 1', None) == 'select * from "t" where "a" = 1'


@pytest.mark.parametrize("word", [*TYPES, "decimal(10,2)"])
def test_every_type_of_the_catalogue_has_a_polars_type(word):
    assert scan.polars_type(word) is not None
    if word not in ("utf8", "binary"):
        assert scan.polars_type(word) != pl.String
