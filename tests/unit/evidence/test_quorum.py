"""Witness policies: the grammar of tlog-policy, and who meets a quorum."""

from __future__ import annotations

import pytest
from unit.evidence.vectors import LOG_VKEY, TestKey

from trustnode.core.evidence.note import COSIGNATURE_V1
from trustnode.core.evidence.quorum import parse_policy
from trustnode.errors import InvalidRequest

KEYS = {name: TestKey(number) for number, name in enumerate("BCDE", 0x40)}
LINES = {
    name: f"witness {name} {key.named(f'{name}.example/witness', COSIGNATURE_V1).text}" for name, key in KEYS.items()
}
HEAD = "\n".join([f"log {LOG_VKEY} https://a.example/", *LINES.values()]) + "\n"


def met(rest: str, cosigned: str) -> bool:
    return parse_policy(HEAD + rest).met_by({KEYS[name].public for name in cosigned})


@pytest.mark.parametrize(
    "rest, cosigned, expected",
    [
        ("quorum none", "", True),
        ("quorum B", "B", True),
        ("quorum B", "CDE", False),
        ("group g 2 C D E\nquorum g", "CE", True),
        ("group g 2 C D E\nquorum g", "CB", False),
        ("group g any C D\nquorum g", "D", True),
        ("group g all C D\nquorum g", "D", False),
        ("group o 2 C D E\ngroup q all B o # both\n\nquorum q", "BCD", True),
        ("group o 2 C D E\ngroup q all B o\nquorum q", "CDE", False),
    ],
)
def test_a_quorum_is_met_by_the_witnesses_it_names(rest, cosigned, expected):
    assert met(rest, cosigned) is expected


def test_a_policy_says_whose_log_it_is_about():
    policy = parse_policy(HEAD + "quorum none")
    assert policy.covers("venue-a.example/log")
    assert not policy.covers("venue-b.example/log")


BAD = {
    "no quorum": HEAD,
    "two quorums": HEAD + "quorum none\nquorum none",
    "an unknown line": HEAD + "threshold 2\nquorum none",
    "an unknown name": HEAD + "quorum X",
    "a name used above its line": HEAD + "group g any h\ngroup h any B\nquorum g",
    "a member twice in a group": HEAD + "group g any B B\nquorum g",
    "a member of two groups": HEAD + "group g any B\ngroup h any B\nquorum g",
    "a name given twice": HEAD + f"witness B {LINES['B'].split()[2]}\nquorum B",
    "the reserved name": HEAD + "group none any B\nquorum none",
    "one key under two names": HEAD + f"witness F {LINES['B'].split()[2]}\nquorum F",
    "one key of two logs": HEAD + f"log {LOG_VKEY}\nquorum none",
    "a threshold of nothing": HEAD + "group g 0 B\nquorum g",
    "a threshold beyond all": HEAD + "group g 3 B C\nquorum g",
    "a threshold with a sign": HEAD + "group g +1 B C\nquorum g",
    "a log key as a witness": f"witness B {LOG_VKEY}\nquorum B",
    "a witness key as a log": f"log {LINES['B'].split()[2]}\nquorum none",
    "a key that is none": "log nobody\nquorum none",
    "a control character": HEAD + "quorum none\r",
    "too long": HEAD + "quorum none\n" + "#" * 70_000,
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_l7k_a_malformed_policy_is_refused(text):
    with pytest.raises(InvalidRequest):
        parse_policy(text)


@pytest.mark.parametrize("count", [32, 33])
def test_l7k_as_many_witnesses_as_the_specification_asks_for_and_more(count):
    keys = {f"w{i}": TestKey(i) for i in range(count)}
    lines = [f"witness {name} {key.named(f'{name}/witness', COSIGNATURE_V1).text}" for name, key in keys.items()]
    text = "\n".join([*lines, f"group g all {' '.join(keys)}", "quorum g"])
    assert parse_policy(text).met_by({key.public for key in keys.values()})
    assert not parse_policy(text).met_by({key.public for name, key in keys.items() if name != "w7"})


def views(policy: str, first: str, second: str) -> tuple[bool, bool]:
    """Whether a log that shows two views, each to its own honest witnesses, meets the policy with each of them."""
    return met(policy, first), met(policy, second)


def test_l7l_any_of_several_outsiders_does_not_notice_a_log_with_two_views():
    assert views("group outsiders any C D\nquorum outsiders", "C", "D") == (True, True)


@pytest.mark.parametrize("first, second", [("C", "DE"), ("D", "CE"), ("CD", "E"), ("CDE", "")])
def test_l7l_with_a_majority_of_outsiders_only_one_view_can_be_witnessed(first, second):
    assert views("group outsiders 2 C D E\nquorum outsiders", first, second).count(True) == 1
