"""Depth, length and patterns without end, given to every reader of foreign text (docs/attacks.md, D1g)."""

import json

import pytest

from trustnode.core import envelope
from trustnode.core.access import AccessRequest
from trustnode.core.document import Document, decode
from trustnode.core.identity import parse_jwks
from trustnode.core.policy import grammar, odrl, rows
from trustnode.errors import TrustnodeError

DEEP = 100_000
BOMBS = {
    "lists": b"[" * DEEP + b"]" * DEEP,
    "objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "lists in a field": b'{"constraint":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "never closed": b'{"a":[' * DEEP,
    "a long number": b'{"a":' + b"9" * DEEP + b"}",
    "a million values": json.dumps({"permission": ["x"] * 1_000_000}).encode(),
}
READERS = {
    "document": lambda data: decode(Document("application/vnd.trustnode.access-request+json", data, ()), AccessRequest),
    "envelope": envelope.decode,
    "policy": odrl.decode,
    "bundle of roots": parse_jwks,
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("reader", READERS)
def test_d1g_json_without_bottom_is_a_refusal_for_every_reader(reader, bomb):
    with pytest.raises(TrustnodeError):
        READERS[reader](BOMBS[bomb])


CONDITIONS = {
    "parentheses": "(" * DEEP + "a = 1" + ")" * DEEP,
    "negations": "not " * DEEP + "a = 1",
    "a list of a million": "a in (" + ", ".join(["1"] * 1_000_000) + ")",
    "a list just inside the length": "a in (" + ", ".join(["1"] * 1300) + ")",
    "a text that a greedy pattern tries for ever": "a = '" + "a'" * 2000,
    "spaces": "a" + " " * 4000 + "= 1 or" + " " * 80,
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_d1g_a_condition_without_end_is_a_refusal(name):
    with pytest.raises(TrustnodeError):
        rows.parse(CONDITIONS[name])


PARSERS = [grammar.parse_limit, grammar.parse_who, grammar.parse_place, grammar.parse_measure, grammar.parse_price]


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@pytest.mark.parametrize(
    "text", ["a" * DEEP + "!", " " * DEEP + "x", "1 " * DEEP, "9" * DEEP + " reads per day", "(" * DEEP]
)
def test_d1g_no_pattern_of_the_terms_tries_for_ever(parse, text):
    with pytest.raises(TrustnodeError):
        parse(text)
