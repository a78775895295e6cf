"""Policies on the command line, without a node: example requests, differences, words."""

import json

import pytest

from trustnode.cli import source
from trustnode.core.policy import dictionary

LOANS = """\
[product]
name = "loans"
title = "Consumer loans"
abstract = "Loans: grade, income band."
provider = "lendco"
licence = "contract only"
category = "ENTERPRISE"
level = "GENERAL_2"
level_basis = "identities removed"
classes = { topic = "finance", scene = "fintech", industry = "0066" }
facts = { form = "DATASET", updates = "HISTORICAL", source = "ORIGINAL" }
personal = { kind = "NONE", processing = "RAW" }
source_statement = "own loan book of the lender"
rights = [{ right = ["HOLD", "OPERATE"], holder = "lendco", basis = "own loan book" }]
cross_border = false
zone = "Asia/Shanghai"

[resource]
kind = "csv"
location = "loans.csv"
table = "loans"

[[offer]]
name = "scoring"
price = "5 CNY once"
approval = "provider"

[offer.terms]
purposes = ["credit-scoring"]
not_for = ["marketing"]
who = ["role:CONSUMER"]
places = ["33"]
period = "2026-12-01 to 2027-11-30"
rows = "state = 'NJ'"
columns = ["grade"]
masks = { income = "bucket 10000" }
keep = "90 days"
onward = "forbidden"

[[offer]]
name = "statistics"
price = "free"
approval = "provider"

[offer.terms]
purposes = ["statistics"]
who = "anyone"
period = "12 months"
result = "aggregates"
person = "id"
group_by = ["grade"]
measures = ["count"]
min_group = 5
keep = "unlimited"
onward = "results"
"""
GOOD = """
[[test]]
name = "a bank in Zhejiang"
offer = "scoring"
purpose = "credit-scoring"
who = ["role:CONSUMER"]
places = ["3300"]
time = "2027-01-15"
done = ["compensate"]
expect = "allow"
"""


@pytest.fixture
def loans(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "now", lambda: "2026-11-24T00:00:00.000Z")
    (tmp_path / "loans.csv").write_text("id,grade,state,income\n1,A,NJ,50000\n2,B,NY,9000\n", encoding="utf-8")

    def write(tests):
        path = tmp_path / "loans.toml"
        path.write_text(LOANS + tests, encoding="utf-8")
        return path

    return write


def changed(**lines):
    """The example with lines changed; None takes one out."""
    kept = [line for line in GOOD.splitlines() if line.partition(" ")[0] not in lines]
    added = [f"{key} = {json.dumps(value)}" for key, value in lines.items() if value is not None]
    return "\n".join([*kept, *added]) + "\n"


def ended(run, path, *options):
    done = run("policy", "test", str(path), *options, "--json")
    return done.exit_code, [(one["expected"], one["found"]) for one in json.loads(done.stdout)["items"]]


@pytest.mark.parametrize(
    "lines",
    [
        {},
        {"purpose": "marketing", "expect": "PURPOSE_NOT_AGREED"},
        {"purpose": "credit-checking", "expect": "PURPOSE_NOT_AGREED"},
        {"purpose": None, "expect": "PURPOSE_NOT_AGREED"},
        {"who": None, "expect": "ROLE_NOT_ALLOWED"},
        {"places": ["44"], "expect": "DEFAULT_DENIED"},
        {"time": "2027-12-01", "expect": "GRANT_EXPIRED"},
        {"time": "2027-11-30", "expect": "allow"},
        {"time": "2027-11-30T23:59:59+08:00", "expect": "allow"},
        {"done": None, "expect": "PRECONDITION_OPEN"},
        {"operation": "aggregate", "expect": "allow"},
        {"sql": "select grade, income from loans", "expect": "allow"},
        {"sql": "select state from loans", "expect": "FIELD_NOT_AGREED"},
        {"sql": "drop table loans", "expect": "QUERY_INVALID"},
        {"offer": "statistics", "purpose": "statistics", "done": None, "expect": "allow"},
        {"offer": "statistics", "purpose": "statistics", "done": None, "operation": "read", "expect": "DENIED"},
    ],
)
def test_an_example_is_decided_as_the_node_would(run, loans, lines):
    status, results = ended(run, loans(changed(**lines)))
    assert results == [(lines.get("expect", "allow"),) * 2]
    assert status == 0


def test_an_example_that_comes_out_otherwise_is_shown_and_fails_the_command(run, loans):
    done = run("policy", "test", str(loans(GOOD + changed(name="mailing", purpose="marketing"))))
    found = "PURPOSE_NOT_AGREED (agreed: credit-scoring; never: marketing); expected allow"
    assert done.stdout.splitlines() == [
        "ok    scoring       a bank in Zhejiang  allow",
        f"FAIL  scoring       mailing             {found}",
        "1 passed, 1 failed",
    ]
    assert done.exit_code == 1


def test_an_example_without_an_offer_is_tried_under_each(run, loans):
    under_each = changed(offer=None, purpose="statistics", done=None)
    status, results = ended(run, loans(under_each))
    assert results == [("allow", "PURPOSE_NOT_AGREED"), ("allow", "allow")]
    assert status == 1
    assert ended(run, loans(under_each), "--offer", "statistics") == (0, [("allow", "allow")])


def test_examples_may_stand_in_a_file_of_their_own(run, loans, tmp_path):
    (tmp_path / "tests.toml").write_text(GOOD, encoding="utf-8")
    assert ended(run, loans(""), "--tests", str(tmp_path / "tests.toml")) == (0, [("allow", "allow")])


@pytest.mark.parametrize(
    "lines, word",
    [
        ({"expect": "MAYBE"}, "MAYBE"),
        ({"who": ["guild:x"]}, "guild:x"),
        ({"operation": "write"}, "write"),
        ({"done": ["sing"]}, "sing"),
        ({"offer": "scorin"}, "scorin"),
        ({"time": "tomorrow"}, "tomorrow"),
        ({"places": ["China"]}, "China"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_word_of_an_example_that_is_none_is_refused_and_named(run, loans, lines, word):
    done = run("policy", "test", str(loans(changed(**lines))))
    assert word in done.output
    assert done.exit_code not in (0, 10)


def test_a_file_without_examples_says_what_to_write(run, loans):
    done = run("policy", "test", str(loans("")))
    assert "has no test for its offers" in done.output
    assert done.exit_code == 4


@pytest.mark.parametrize("kind", ["action", "constraint", "operator"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_word_of_policies_is_listed_with_its_standing(run, kind, language):
    shown = run("policy", "words", kind, "--lang", language).stdout
    assert all(name in shown for name in dictionary.TABLES[kind.capitalize()])
    assert ("拒绝" in shown) == (language == "zh" and kind != "operator")
    assert len(json.loads(run("policy", "words", kind, "--json").stdout)["items"]) == len(
        dictionary.lines(kind.capitalize())
    )


# --- differences


@pytest.fixture
def both(loans, tmp_path):
    """The file, and one whose offer for scoring has other places and another price."""
    old = loans("")
    new = tmp_path / "changed.toml"
    new.write_text(LOANS.replace('places = ["33"]', 'places = ["3300"]').replace("5 CNY", "6 CNY"), encoding="utf-8")
    return str(old), str(new)


def test_a_difference_is_told_in_words_with_its_direction(run, both):
    done = run("policy", "diff", *both)
    assert done.stdout.splitlines() == [
        "offer scoring: stricter: no more is let through than before",
        "places     33                           ->  3300                         stricter",
        "price      5 CNY once                   ->  6 CNY once",
        "",
        "offer statistics: both say the same",
    ]
    assert "更严" in run("policy", "diff", *both, "--lang", "zh").stdout
    (scoring, statistics) = json.loads(run("policy", "diff", *both, "--json").stdout)["items"]
    assert (scoring["verdict"], statistics["verdict"]) == ("stricter", "same")
    assert [change["key"] for change in scoring["changes"]] == ["places", "price"]


def test_two_offers_of_one_file_are_compared_by_name(run, both):
    done = run("policy", "diff", f"{both[0]}#scoring", f"{both[0]}#statistics")
    assert done.stdout.startswith("offer scoring -> statistics: other: neither contains the other\n")


def test_offers_without_a_common_name_are_refused(run, both):
    done = run("policy", "diff", both[0], f"{both[1]}#statistics")
    assert done.exit_code == 0
    assert run("policy", "diff", both[0], f"{both[1]}#nothing").exit_code == 4


def test_an_explanation_shows_what_differs_from_another_offer_too(run, both):
    shown = run("policy", "explain", both[1], "--offer", "scoring", "--against", f"{both[0]}#scoring").stdout
    assert shown.startswith("offer scoring\n")
    assert "places     33                           ->  3300                         stricter" in shown
    as_json = run(
        "policy", "explain", both[1], "--offer", "scoring", "--against", f"{both[0]}#scoring", "--json"
    ).stdout
    items = json.loads(as_json)["items"]
    assert [item["form"] for item in items] == ["words", "difference"]
