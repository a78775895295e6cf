"""``trustnode verify`` at the command line: one file, two files, the page; exit status says what scripts need."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from unit.evidence.deal_world import Deal

from trustnode.cli.root import root
from trustnode.core.evidence import bundle


@pytest.fixture(scope="module")
def deal():
    return Deal(quorum=True, lies={"deny": {}})


@pytest.fixture
def run(tmp_path, deal):
    def call(*words, anchors=True):
        named = [f"--anchor={domain}={mark}" for domain, mark in deal.anchors.items()] if anchors else []
        return CliRunner().invoke(root, ["verify", *map(str, words), *named])

    return call


@pytest.fixture
def files(tmp_path, deal):
    contents = deal.contents()
    found = []
    for domain in ("gz.example", "zj.example"):
        path = tmp_path / f"{domain}.bundle"
        path.write_bytes(bundle.pack(replace(contents, maker=domain)))
        found.append(path)
    return found


def test_a_sealed_bundle_is_verified_and_names_its_witnesses(run, files):
    result = run(files[0])
    assert result.exit_code == 0
    assert "cosigned     gz.example at" in result.output
    assert "sealed       the agreement by 2026-11-24T03:00:20.999Z" in result.output
    assert json.loads(run(files[0], "--json").stdout)["sealed_at"] == "2026-11-24T03:00:20.999Z"


def test_x5_without_an_anchor_the_exit_status_is_7(run, files):
    result = run(files[0], anchors=False)
    assert result.exit_code == 7
    assert "UNANCHORED" in result.output


def test_two_bundles_are_compared_and_what_one_log_has_alone_is_named(run, files):
    result = run(*files)
    assert result.exit_code == 0
    assert "access.deny is in gz.example's log only: zj.example never logged it" in result.output
    shown = json.loads(run(*files, "--json").stdout)
    assert [one["event"] for one in shown["differences"]] == ["access.deny"]
    assert [report["verdict"] for report in shown["reports"]] == ["VERIFIED", "VERIFIED"]


def test_a_second_file_of_another_agreement_is_not_verified(run, files, tmp_path, deal):
    other = Deal()
    path = tmp_path / "other.bundle"
    path.write_bytes(other.file())
    result = run(files[0], path)
    assert result.exit_code == 7
    assert "these are two agreements" in result.output


def test_a_second_file_that_is_no_bundle_is_told(run, files, tmp_path):
    path = tmp_path / "broken.bundle"
    path.write_bytes(b"PK")
    result = run(files[0], path)
    assert result.exit_code == 7
    assert "INVALID" in result.output


@pytest.mark.parametrize("language, word", [("en", "What this does not prove"), ("zh", "本件不能证明者")])
def test_the_page_is_written_in_either_language(run, files, tmp_path, language, word):
    target = tmp_path / "page.html"
    result = run(files[0], "--report", "html", "-o", target, "--lang", language)
    assert result.exit_code == 0
    assert word in target.read_text()
    assert run(files[0], "--report", "html", "--lang", language).output == target.read_text()


def test_the_page_of_what_is_not_verified_exits_with_7(run, files):
    assert run(files[0], "--report", "html", anchors=False).exit_code == 7


def test_a_page_tells_of_one_bundle(run, files):
    assert run(*files, "--report", "html").exit_code == 2


def test_the_readers_own_policy_is_asked_for_too(run, files, tmp_path, deal):
    policy = tmp_path / "own.policy"
    policy.write_text(deal.policy(deal.gz))
    result = run(files[0], "--policy", policy)
    assert result.exit_code == 7
    assert "the reader's witness policy does not speak of the log of zj.example" in result.output
