"""The closed tables name every word of the installed sqlglot and DuckDB: a new version fails here until it is looked at."""

from __future__ import annotations

import itertools

import duckdb
import pytest
from sqlglot import exp

from trustnode.engine import grammar, grammar_denied


def _node_classes():
    found, left = set(), [exp.Expr]
    while left:
        for kind in left.pop().__subclasses__():
            if kind not in found and kind.__module__.startswith("sqlglot"):
                found.add(kind)
                left.append(kind)
    return {kind.__name__ for kind in found}


def _functions():
    rows = duckdb.connect().sql("SELECT DISTINCT function_name FROM duckdb_functions()").fetchall()
    return {name for (name,) in rows if not name.startswith(grammar_denied.DENIED_PREFIXES)}


NODES = (grammar.ALLOWED_NODES, grammar.RESOURCE_NODES, grammar_denied.DENIED_NODES)
FUNCTIONS = (grammar.ALLOWED_FUNCTIONS, grammar.RESOURCE_FUNCTIONS, grammar_denied.DENIED_FUNCTIONS)


def test_q1l_every_node_class_of_sqlglot_is_classified():
    assert _node_classes() == set().union(*NODES)


def test_q1l_every_function_of_duckdb_is_classified():
    assert _functions() == set().union(*FUNCTIONS)


def test_q1l_every_kind_of_function_is_among_them():
    """Scalars, aggregates, macros, tables, pragmas: whatever a new version adds to any kind is seen."""
    rows = duckdb.connect().sql("SELECT DISTINCT function_type FROM duckdb_functions()").fetchall()
    kinds = {kind for (kind,) in rows}
    assert {"scalar", "aggregate", "macro", "table", "table_macro", "pragma"} <= kinds
    assert kinds <= {"scalar", "aggregate", "macro", "table", "table_macro", "pragma", "window"}


def test_every_denied_function_says_why():
    for name in (*grammar_denied.DENIED_FUNCTIONS, *grammar.RESOURCE_FUNCTIONS):
        assert grammar_denied.why(name), name
    assert not any(grammar_denied.why(name) for name in grammar.ALLOWED_FUNCTIONS)
    assert "reads files" in grammar_denied.why("read_csv")
    assert "runs a query" in grammar_denied.why("query_table")


@pytest.mark.parametrize("tables", [NODES, FUNCTIONS])
def test_a_word_stands_in_one_table_only(tables):
    for one, other in itertools.combinations(tables, 2):
        assert not one & other


@pytest.mark.parametrize(
    "name",
    [
        "repeat",
        "range",
        "lpad",
        "list_resize",
        "printf",
        "query_table",
        "read_csv",
        "getvariable",
        "current_setting",
        "stats",
        "error",
        "sleep_ms",
        "random",
        "json_execute_serialized_sql",
        "duckdb_views",
        "glob",
        "write_log",
        "nextval",
        "typeof",
    ],
)
def test_what_the_reference_page_rules_out_is_out(name):
    assert name not in grammar.ALLOWED_FUNCTIONS
