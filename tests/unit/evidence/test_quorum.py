"""Witness policies: the grammar of tlog-policy, and who meets a quorum."""

from __future__ import annotations

import pytest
from unit.evidence.vectors import LOG_VKEY, TestKey

from trustnode.core.evidence.note import COSIGNATURE_V1, VerifierKey, parse_vkey
from trustnode.core.evidence.quorum import MAX_WITNESSES, parse_policy, policy_text, threshold
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
    assert not policy.covers("venue-a.example/log/2")
    assert (policy.log_of("venue-a.example"), policy.log_of("venue-b.example")) == (1, 0)
    assert policy.covers_log_of("venue-a.example")


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


# --- the policy of an agreement

OWN = parse_vkey(LOG_VKEY)
PARTY = {"B": KEYS["B"].named("B.example/witness", COSIGNATURE_V1)}


def others(count: int) -> dict[str, VerifierKey]:
    names = (f"o{number:02}.example" for number in range(count))
    return {name: TestKey(0x60 + at).named(f"{name}/witness", COSIGNATURE_V1) for at, name in enumerate(names)}


@pytest.mark.parametrize("count, wanted", [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 5), (7, 5), (10, 7), (31, 21)])
def test_as_many_outsiders_have_to_cosign_as_leave_no_room_for_two_histories(count, wanted):
    assert threshold(count) == wanted
    assert count < 4 or 2 * wanted - count >= count // 3, "that many would have to collude"


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 9])
def test_the_policy_of_an_agreement_needs_every_party_and_a_majority_of_the_others(count):
    outsiders = others(count)
    policy = parse_policy(policy_text(OWN, PARTY, outsiders))
    party = {key.public for key in PARTY.values()}
    all_of_them = [key.public for key in outsiders.values()]
    enough = set(all_of_them[: threshold(count)]) if count else set()
    assert policy.logs == (OWN,)
    assert policy.met_by(party | enough)
    assert not policy.met_by(set(all_of_them))
    assert count == 0 or not policy.met_by(party | set(list(enough)[1:]))


def test_where_nobody_is_there_nobody_has_to_cosign():
    policy = parse_policy(policy_text(OWN, {}, {}))
    assert (policy.asks, policy.words, policy.met_at({})) == (False, "nobody has to cosign", None)


def test_one_venue_that_is_both_parties_is_witnessed_by_outsiders():
    policy = parse_policy(policy_text(OWN, {}, others(4)))
    assert policy.words.startswith("3 of: o00.example/witness")


def test_a_policy_names_at_most_as_many_witnesses_as_a_verifier_has_to_read():
    assert len(parse_policy(policy_text(OWN, PARTY, others(60))).witnesses) == MAX_WITNESSES


@pytest.mark.parametrize(
    "times, sealed", [({}, None), ({"B": 9}, None), ({"B": 9, "C": 3}, 9), ({"B": 2, "C": 3, "D": 1}, 2)]
)
def test_sealed_is_the_earliest_time_at_which_the_quorum_was_met(times, sealed):
    policy = parse_policy(HEAD + "group o any C D E\ngroup q all B o\nquorum q\n")
    assert policy.met_at({KEYS[name].public: at for name, at in times.items()}) == sealed


def test_a_witness_counts_by_its_name_whatever_key_it_has_now_and_once():
    policy = parse_policy(HEAD + "group q all B C\nquorum q\n")
    counted = policy.by_names({"B.example/witness": 5, "C.example/witness": 7, "X.example/witness": 1})
    assert policy.met_at(counted) == 7
    twice = TestKey(0x59).named("B.example/witness", COSIGNATURE_V1).text
    doubled = parse_policy(HEAD + f"witness again {twice}\ngroup q all B again\nquorum q\n")
    assert doubled.met_at(doubled.by_names({"B.example/witness": 5})) is None
