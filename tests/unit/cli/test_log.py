"""``trustnode log``: the witnesses, and what proves a fork to somebody else."""

import json

import pytest
from unit.cli.objects import NOW
from unit.evidence import vectors as v

from trustnode.core.evidence.note import open_note

HELD, SHOWN = v.CHECKPOINT_NOTE, f"{v.CHECKPOINT_TEXT.replace('8', '9', 1)}\n{v.LOG_LINE}".encode()


def witness(domain="gz.example", size=8, behind=None, problem=""):
    return {"witness": domain, "size": size, "behind": behind, "problem": problem}


def fork(**changes):
    base = {
        "origin": v.ORIGIN, "size": 8, "held": HELD, "shown": SHOWN, "proof": [], "hashes": b"", "proven": True,
        "source": "told.example", "time": NOW,
    }  # fmt: skip
    return {**base, **changes}


def test_witnesses_and_witnessed_logs_are_listed(run, node):
    node.answers["AdminService/ListWitnesses"] = {
        "witnesses": [witness(), witness("fin.example", 0, 61.5, "it does not answer")],
        "logs": [{"origin": "gz.example/log", "size": 48211, "time": NOW}],
    }
    lines = run("log", "witness", "list", operator=True).stdout.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["WITNESS", "COSIGNED", "TO", "STATE"],
        ["gz.example", "8", "up", "to", "date"],
        ["fin.example", "nothing", "yet", "61", "s", "behind:", "it", "does", "not", "answer"],
    ]
    assert lines[-1].split()[:2] == ["gz.example/log", "48,211"]


def test_a_node_without_peers_has_no_witness(run, node):
    node.answers["AdminService/ListWitnesses"] = {"witnesses": [], "logs": []}
    assert run("log", "witness", "list", operator=True).stdout == "no witness\n"


def test_the_log_names_who_has_cosigned_its_newest_head(run, node):
    node.answers["EvidenceService/GetCheckpoint"] = {"checkpoint": v.CHECKPOINT_NOTE}
    node.answers["AdminService/ListWitnesses"] = {"witnesses": [witness(), witness("fin.example", 5, 3.0)], "logs": []}
    shown = run("log", "status", operator=True).stdout
    assert f"by {v.WITNESS}\n" in shown
    assert "fin.example: 3 s behind" in shown
    assert "not checked here" in run("log", "status").stdout


@pytest.mark.parametrize("proven, word", [(True, "proven"), (False, "open")])
def test_forks_are_listed_with_how_much_they_prove(run, node, proven, word):
    node.answers["AdminService/ListForks"] = {"forks": [fork(proven=proven)]}
    line = run("log", "forks", operator=True).stdout.splitlines()[1]
    assert v.ORIGIN in line
    assert word in line
    body = json.loads(run("log", "forks", "--json", operator=True).stdout)
    assert body["items"][0]["held"] == HELD.decode()


def between(text, name):
    begin, end = f"-----BEGIN {name}-----\n", f"-----END {name}-----\n"
    return text.partition(begin)[2].partition(end)[0]


def test_l16_a_fork_is_written_with_both_signed_notes_as_they_are(run, node, tmp_path):
    hashes = bytes(range(64))
    node.answers["AdminService/ListForks"] = {"forks": [fork(hashes=hashes, proof=[bytes(32)])]}
    file = tmp_path / "fork.txt"
    assert run("log", "forks", "-o", str(file), operator=True).exit_code == 0
    text = file.read_text("utf-8")
    assert between(text, "SIGNED NOTE (held)").encode() == HELD
    assert between(text, "SIGNED NOTE (shown)").encode() == SHOWN
    assert open_note(between(text, "SIGNED NOTE (held)").encode(), [v.LOG, v.B])
    assert bytes.fromhex(between(text, "LEAF HASHES")) == hashes
    assert "RFC 6962" in text
    assert run("log", "forks", "-o", str(file), operator=True).exit_code == 5


def test_without_a_fork_no_file_is_written(run, node, tmp_path):
    node.answers["AdminService/ListForks"] = {"forks": []}
    assert run("log", "forks", operator=True).stdout == "no fork was found\n"
    assert run("log", "forks", "-o", str(tmp_path / "fork.txt"), operator=True).exit_code == 4
    assert not (tmp_path / "fork.txt").exists()


def test_a_file_of_what_is_not_proven_says_so(run, node, tmp_path):
    node.answers["AdminService/ListForks"] = {"forks": [fork(proven=False)]}
    file = tmp_path / "fork.txt"
    run("log", "forks", "-o", str(file), operator=True)
    assert "Not proven" in file.read_text("utf-8")


def test_a_head_is_accepted_by_hand_with_both_numbers(run, node):
    node.answers["AdminService/AcceptHead"] = {"origin": "gz.example/log"}
    asks = ("log", "witness", "accept", "gz.example", "--size", "48211", "--yes")
    assert run(*asks, "--root", "no root", operator=True).exit_code == 1
    done = run(*asks, "--root", "ab" * 32, operator=True)
    assert (done.exit_code, "48,211" in done.stdout) == (0, True)
    sent = {"trust_domain": "gz.example", "size": 48211, "root": bytes.fromhex("ab" * 32)}
    assert node.requests("AdminService/AcceptHead") == [sent]
