"""What a consumer's text may look like: size, parsing, allow-list, bound parameters.

Decides: whether a text is one query made of allowed words in allowed places (steps 1 and 2 of governed-sql 5). Leaves
to others: what its tables and columns mean (``plan``), the words themselves (``grammar``).
"""

from __future__ import annotations

import math
import re
import secrets
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

import sqlglot
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

from trustnode.engine import grammar, grammar_denied
from trustnode.engine.message import Parameter
from trustnode.errors import TrustnodeError, error

MAX_CHARACTERS: Final = 20_000
MAX_TOKENS: Final = 6_000
MAX_DEPTH: Final = 48
"""Brackets and CASE inside each other."""
MAX_TREE_DEPTH: Final = 160
"""The engine's own limit is 250; the governed sub-selects come on top."""
MAX_PARAMETERS: Final = 1_000

DIALECT: Final = "duckdb"
_OPENING: Final = {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE}
_CLOSING: Final = {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END}
_RAW_TEXT: Final = re.compile(r"[A-Za-z0-9_ ]*")
_NUMBER: Final = re.compile(r"(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_NUMBERED: Final = "number"
"""Key under which a placeholder keeps its place in the text."""
_ARITHMETIC: Final = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod)
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

_QUERY_TAIL: Final = ("with_", "order", "limit", "offset")
_ARGUMENTS: Final[Mapping[type[exp.Expr], frozenset[str]]] = {
    exp.Select: frozenset(
        ["expressions", "distinct", "from_", "joins", "where", "group", "having", "qualify", "windows"]
    ).union(_QUERY_TAIL),
    exp.Union: frozenset({"this", "expression", "distinct", *_QUERY_TAIL}),
    exp.Except: frozenset({"this", "expression", "distinct", *_QUERY_TAIL}),
    exp.Intersect: frozenset({"this", "expression", "distinct", *_QUERY_TAIL}),
    exp.Subquery: frozenset({"this", "alias", *_QUERY_TAIL}),
    exp.Table: frozenset({"this", "alias"}),
    exp.Join: frozenset({"this", "on", "side", "kind", "using", "method"}),
    exp.CTE: frozenset({"this", "alias", "materialized"}),
    exp.With: frozenset({"expressions"}),
    exp.Column: frozenset({"this", "table"}),
    exp.Values: frozenset({"expressions", "alias"}),
    exp.Limit: frozenset({"expression"}),
    exp.Offset: frozenset({"expression"}),
    exp.Ordered: frozenset({"this", "desc", "nulls_first"}),
    exp.Order: frozenset({"this", "expressions"}),
    exp.Star: frozenset({"except_", "replace", "rename"}),
    exp.In: frozenset({"this", "expressions", "query"}),
    exp.DataType: frozenset({"this", "expressions", "nested"}),
    exp.Max: frozenset({"this"}),
    exp.Min: frozenset({"this"}),
    exp.ArgMax: frozenset({"this", "expression"}),
    exp.ArgMin: frozenset({"this", "expression"}),
    exp.GroupConcat: frozenset({"this", "separator"}),
    exp.Cast: frozenset({"this", "to"}),
    exp.TryCast: frozenset({"this", "to", "safe"}),
    exp.Group: frozenset({"expressions", "grouping_sets", "cube", "rollup", "all"}),
    exp.Identifier: frozenset({"this", "quoted"}),
}
"""Arguments of classes that carry whole clauses; what is not named here (sample, version, pivots, locks) is refused."""

_CLAUSES: Final[Mapping[str, str]] = {
    "catalog": "a database before the name of a table",
    "db": "a schema before the name of a table",
    "recursive": "WITH RECURSIVE",
    "sample": "TABLESAMPLE",
    "when": "time travel",
    "by_name": "UNION BY NAME",
    "locks": "FOR UPDATE",
    "into": "INTO",
    "count": "a second argument of MIN, MAX, ARG_MIN and ARG_MAX",
}
"""Arguments whose name in the tree is not the word that was typed."""

_JOIN_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "side": frozenset({"", "LEFT", "RIGHT", "FULL"}),
    "kind": frozenset({"", "INNER", "OUTER", "CROSS", "SEMI", "ANTI"}),
    "method": frozenset({"", "NATURAL"}),
}


def invalid(message: str, **metadata: str) -> TrustnodeError:
    """QUERY_INVALID with a sentence that holds only what the consumer typed."""
    return error("QUERY_INVALID", message, **metadata)


def parse(text: str) -> exp.Query:
    """Read one query; comments and hints are gone afterwards."""
    _check_text(text)
    try:
        tokens = sqlglot.tokenize(text, read=DIALECT)
        _check_tokens([token.token_type for token in tokens])
        marked, marks = _marked(text, tokens)
        statements = sqlglot.parse(marked, read=DIALECT)
    except (SqlglotError, RecursionError, ValueError) as failure:
        raise invalid("the text is not an SQL query that is understood here") from failure
    if len(statements) != 1:
        raise invalid("exactly one query is expected")
    tree = statements[0]
    if not isinstance(tree, exp.Select | exp.SetOperation | exp.Subquery):
        raise invalid("only a SELECT is allowed")
    _place(tree, marks)
    return tree


def placeholders(tree: exp.Query) -> list[exp.Placeholder]:
    """Every ``?`` of a query, in the order of the text."""
    found = [node for node in tree.find_all(exp.Placeholder) if _NUMBERED in node.meta]
    return sorted(found, key=lambda node: int(node.meta[_NUMBERED]))


def bind(tree: exp.Query, parameters: Sequence[Parameter], today: date) -> None:
    """Put values in place of ``?`` and of the current date, as literals in the tree."""
    places = placeholders(tree)
    if len(places) != len(parameters) or len(places) > MAX_PARAMETERS:
        raise invalid(f"the query has {len(places)} parameters (?), {len(parameters)} values came with it")
    for place, value in zip(places, parameters, strict=True):
        place.replace(_literal(value, is_operand=isinstance(place.parent, _ARITHMETIC)))
    for node in list(tree.find_all(exp.CurrentDate)):
        node.replace(exp.cast(exp.Literal.string(today.isoformat()), "DATE"))


def check(tree: exp.Query, *, qualified: bool = False) -> None:
    """Refuse every word and every place that is not allowed.

    Args:
        qualified: Columns and stars have been expanded; then no star may be left but that of ``count(*)``.
    """
    for node in tree.walk():
        _check_class(node)
        _check_arguments(node)
        if isinstance(node, exp.Star):
            _check_star(node, qualified=qualified)


def is_whole_table(tree: exp.Query) -> bool:
    """Whether a query is ``SELECT * FROM t`` and nothing else."""
    given = {key for key, value in tree.args.items() if value}
    if not isinstance(tree, exp.Select) or given != {"expressions", "from_"} or len(tree.expressions) != 1:
        return False
    star, table = tree.expressions[0], tree.args["from_"].this
    plain = isinstance(star, exp.Star) and not any(star.args.values())
    return plain and isinstance(table, exp.Table) and not table.alias


def check_depth(tree: exp.Query) -> None:
    """Refuse a tree that recursive code of the parser or the engine could not descend."""
    level: list[exp.Expr] = [tree]
    for _ in range(MAX_TREE_DEPTH):
        level = [child for node in level for child in node.iter_expressions()]
        if not level:
            return
    raise invalid("the query is nested too deeply")


def _check_text(text: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise error("FIELD_TOO_LONG", f"a query has at most {MAX_CHARACTERS} characters", field="sql")
    if "\0" in text or any("\ud800" <= mark <= "\udfff" for mark in text):
        raise invalid("the query contains characters that are not text")


def _marked(text: str, tokens: Sequence[Any]) -> tuple[str, dict[str, int]]:
    """The text with a mark in place of each ``?``, and mark -> number: a tree does not keep the order of its text.

    ``?::`` is one sign to the tokenizer (of another engine) and two to everybody else.
    """
    places = [token for token in tokens if token.text in ("?", "?::") and text[token.start] == "?"]
    secret = secrets.token_hex(8)
    marks = {f"p{secret}n{number}": number for number in range(len(places))}
    for mark, token in reversed(list(zip(marks, places, strict=True))):
        text = f"{text[: token.start]}'{mark}'{text[token.start + 1 :]}"
    return text, marks


def _place(tree: exp.Query, marks: Mapping[str, int]) -> None:
    """Put a numbered placeholder in place of each mark."""
    found = [node for node in tree.find_all(exp.Literal) if node.name in marks]
    if len(found) != len(marks):
        raise invalid("a parameter (?) stands where none may")
    for node in found:
        place = exp.Placeholder()
        place.meta[_NUMBERED] = marks[node.name]
        node.replace(place)


def _check_tokens(kinds: list[TokenType]) -> None:
    if len(kinds) > MAX_TOKENS:
        raise invalid(f"a query has at most {MAX_TOKENS} words and signs")
    depth = 0
    for kind in kinds:
        depth += (kind in _OPENING) - (kind in _CLOSING)
        if depth > MAX_DEPTH:
            raise invalid("the query is nested too deeply")


def _literal(value: Parameter, *, is_operand: bool = False) -> exp.Expr:
    if is_operand and isinstance(value, str) and _NUMBER.fullmatch(value.removeprefix("-")):
        # A fraction travels as text; beside an integer the engine would round that text to an integer.
        number = exp.Literal.number(value.removeprefix("-"))
        return exp.Paren(this=exp.Neg(this=number)) if value.startswith("-") else number
    if isinstance(value, float) and not math.isfinite(value):
        raise invalid("a parameter is not a finite number")
    if isinstance(value, str) and len(value) > MAX_CHARACTERS:
        raise error("FIELD_TOO_LONG", f"a parameter has at most {MAX_CHARACTERS} characters", field="parameters")
    return exp.convert(value)


def _check_class(node: exp.Expr) -> None:
    name = type(node).__name__
    if name not in grammar.ALLOWED_NODES:
        raise invalid(f"{_typed(node)} is not allowed in a query")
    if isinstance(node, exp.Anonymous) and node.name.lower() not in grammar.ALLOWED_FUNCTIONS:
        raise _refused_function(node.name)
    if isinstance(node, exp.DataType) and (node.this.name not in grammar.ALLOWED_TYPES or node.args.get("nested")):
        raise invalid("a type in the query is not allowed; cast to a plain number, text, date or time")
    if isinstance(node, exp.Var) and node.name.upper() not in _words_at(node):
        raise invalid(f"{visible(node.name)} is not a unit of time")
    if isinstance(node, exp.Literal) and not node.is_string and not _NUMBER.fullmatch(node.name):
        raise invalid("a number in the query is not understood")


def _refused_function(name: str) -> TrustnodeError:
    reason = grammar_denied.why(name.lower())
    return invalid(f"the function {visible(name)} is not allowed in a query" + (f": it {reason}" if reason else ""))


def _words_at(node: exp.Var) -> frozenset[str]:
    return frozenset({"ALL"}) if isinstance(node.parent, exp.Ordered) else grammar.ALLOWED_UNITS


def _check_arguments(node: exp.Expr) -> None:
    allowed = _ARGUMENTS.get(type(node))
    for key, value in node.args.items():
        if allowed is not None and key not in allowed and value:
            raise invalid(f"{_CLAUSES.get(key, key.strip('_').replace('_', ' '))} is not allowed in a query")
        _check_value(node, value)
    if isinstance(node, exp.Join):
        _check_join(node)
    elif isinstance(node, exp.Table):
        _check_table(node)
    elif isinstance(node, exp.Subquery) and not isinstance(node.this, exp.Query):
        raise invalid("write joins without brackets around them")


def _check_value(node: exp.Expr, value: Any) -> None:
    """Text that is neither literal nor identifier is printed raw and read again: it must be plain words."""
    if isinstance(value, list):
        for item in value:
            _check_value(node, item)
    elif isinstance(value, str):
        if isinstance(node, exp.Identifier):
            _check_identifier(value)
        elif not isinstance(node, exp.Literal) and not _RAW_TEXT.fullmatch(value):
            raise invalid("the query contains a word with characters that are not allowed")


def _check_identifier(name: str) -> None:
    if not name or any(unicodedata.category(mark) in _INVISIBLE for mark in name):
        raise invalid("a name in the query is empty or contains invisible characters")


def _check_join(node: exp.Join) -> None:
    for key, words in _JOIN_WORDS.items():
        if str(node.args.get(key) or "").upper() not in words:
            raise invalid("this kind of join is not allowed")


def _check_table(node: exp.Table) -> None:
    if not isinstance(node.this, exp.Identifier):
        raise invalid("a function cannot stand in the place of a table")
    alias = node.args.get("alias")
    if alias is not None and alias.args.get("columns"):
        raise invalid("give new names to columns in a sub-select, not in the alias of a table")


def _check_star(node: exp.Star, *, qualified: bool) -> None:
    parent = node.parent
    counted = isinstance(parent, exp.Count)
    listed = isinstance(parent.parent if isinstance(parent, exp.Column) else parent, exp.Select)
    if not counted and (qualified or not listed):
        raise invalid("* is allowed only as a whole column list and in count(*)")


def _typed(node: exp.Expr) -> str:
    """A short name of a construct, made of our words only."""
    if isinstance(node, exp.TableColumn):
        return "a whole row as a value"
    return f"the construct {type(node).__name__.lower()}"


def visible(name: str) -> str:
    """A name that somebody typed, as it may be shown."""
    return "".join(mark for mark in name if mark.isprintable())[:64]
