"""Verification of a bundle: what a good one shows, which trust it rests on, and that no byte may change."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.evidence.deal_world import Deal, Venue

from trustnode.core.evidence import bundle, report
from trustnode.core.evidence.bundle import read_zip, write_zip
from trustnode.core.evidence.note import COSIGNATURE_V1, ED25519, VerifierKey
from trustnode.core.evidence.verify import CHECKS, verify_bundle
from trustnode.errors import TrustnodeError


@pytest.fixture(scope="module")
def deal():
    return Deal()


@pytest.fixture(scope="module")
def file(deal):
    return deal.file()


def found(result: report.Report) -> set[tuple[int, str]]:
    return {(finding.step, finding.verdict) for finding in result.findings}


# --- good bundles


def test_a_good_bundle_is_verified_and_says_what_it_shows(deal, file):
    result = verify_bundle(file, deal.anchors)
    assert (result.verdict, result.findings) == ("VERIFIED", ())
    assert [step.number for step in result.steps] == list(range(1, 15))
    assert result.counts == report.Counts(
        entries=24, proven=24, accesses=2, refusals=0, receipts=2, rows=15, cost_fen=30, acknowledged=2, cosigned=0
    )
    assert result.grades == (("SIGNED", 2),)
    assert (result.unwitnessed, result.one_venue, result.withheld, result.unacknowledged) == (True, False, 0, ())
    assert {one.domain for one in result.as_of} == {"gz.example", "zj.example"}
    assert list(report.lines(result))[-1] == (
        "verified: 24 of 24 entries, no gap, unwitnessed; 2 receipts, 15 rows, 0.30 CNY"
    )


@pytest.mark.parametrize(
    "kind",
    [
        {"one_venue": True},
        {"grade": "DELEGATED"},
        {"grade": "CUSTODY", "custody": "CUSTODY"},
        {"reads": ()},
        {"price": "free"},
        {"ack": False},
        {"lies": {"deny": {}}},
        {"lies": {"end": {"event": "delivery.abort"}, "receipt": {"outcome": "ABORTED", "cause": "CANCELLED"}}},
        {"steps": (("contract.suspend", "SUSPENDED"), ("contract.resume", "PERFORMING"))},
    ],
    ids=str,
)
def test_every_honest_course_is_verified(kind):
    deal = Deal(**kind)
    result = verify_bundle(deal.file(), deal.anchors)
    assert result.findings == ()
    assert result.one_venue == deal.one_venue
    assert result.custody == ((deal.consumer,) if deal.custody == "CUSTODY" else ())
    assert len(result.unacknowledged) == (2 if not deal.ack or deal.one_venue else 0)


def test_an_entry_may_be_withheld_and_is_counted(deal):
    contents = deal.contents()
    part = contents.parts["zj.example"]
    hidden = tuple(
        msgspec.structs.replace(line, salt=None, statement=None) if "grant.issue" in (line.statement or "") else line
        for line in part.chain
    )
    changed = replace(contents, parts={**contents.parts, "zj.example": replace(part, chain=hidden)})
    result = verify_bundle(bundle.pack(changed), deal.anchors)
    assert (result.verdict, result.withheld) == ("VERIFIED", 1)


def test_a_later_card_is_verified_by_the_anchored_one():
    deal = Deal()
    deal.gz.add_card(name="renamed")
    assert verify_bundle(deal.file(), deal.anchors).verdict == "VERIFIED"


# --- trust


def test_without_an_anchor_all_checks_run_and_the_fingerprints_are_named(file, deal):
    result = verify_bundle(file)
    assert result.verdict == "UNANCHORED"
    assert found(result) == {(2, "UNANCHORED")}
    assert {one.domain: one.value for one in result.relied_on} == deal.anchors
    assert all(step.outcome != "NOT_CHECKED" for step in result.steps)


def test_an_anchor_for_one_side_is_not_enough(file, deal):
    result = verify_bundle(file, {"gz.example": deal.gz.fingerprint})
    assert found(result) == {(2, "UNANCHORED")}


def test_a_forger_with_keys_of_its_own_is_not_anchored(deal):
    assert verify_bundle(Deal().file(), deal.anchors).verdict == "UNANCHORED"


def test_one_card_vouches_for_the_venues_it_recognised():
    deal = Deal()
    deal.recognise()
    result = verify_bundle(deal.file(), trust=[deal.nat.cards[0]])
    assert result.verdict == "VERIFIED"
    assert {one.domain: one.value for one in result.vouched} == dict.fromkeys(
        ("gz.example", "zj.example"), "nat.example"
    )


@pytest.mark.parametrize("parent", [True, False])
def test_an_anchor_alone_and_a_peer_that_is_no_parent_vouch_for_nobody(parent):
    deal = Deal()
    deal.recognise(parent=parent)
    trust = () if parent else (deal.nat.cards[0],)
    result = verify_bundle(deal.file(), {"nat.example": deal.nat.fingerprint}, trust)
    assert (result.verdict, result.vouched) == ("UNANCHORED", ())


@pytest.mark.parametrize("anchors", [{"gz.example": "D4CE-12D8"}, {"gz.example": "x" * 32}], ids=["short", "no hex"])
def test_an_anchor_that_is_none_is_refused(file, anchors):
    with pytest.raises(TrustnodeError):
        verify_bundle(file, anchors)


# --- witnesses


def policy_of(deal: Deal, witness: Venue) -> str:
    log = VerifierKey("gz.example/log", ED25519, deal.gz.log_key.public).text
    other = VerifierKey("zj.example/log", ED25519, deal.zj.log_key.public).text
    vkey = VerifierKey(f"{witness.domain}/witness", COSIGNATURE_V1, witness.witness.public).text
    return f"log {log}\nlog {other}\nwitness w {vkey}\nquorum w\n"


@pytest.mark.parametrize("cosigned", [True, False])
def test_a_stricter_policy_of_the_reader_is_kept(cosigned):
    witness = Venue("nat.example", "NATIONAL")
    deal = Deal(witnesses=(witness,) if cosigned else ())
    anchors = {**deal.anchors, "nat.example": witness.fingerprint}
    result = verify_bundle(deal.file(), anchors, witness_policy=policy_of(deal, witness))
    assert result.verdict == ("VERIFIED" if cosigned else "UNWITNESSED")
    assert result.unwitnessed is not cosigned
    assert result.counts.cosigned == cosigned


def test_a_witness_that_nobody_anchors_does_not_count():
    witness = Venue("nat.example", "NATIONAL")
    deal = Deal(witnesses=(witness,))
    result = verify_bundle(deal.file(), deal.anchors, witness_policy=policy_of(deal, witness))
    assert found(result) == {(3, "UNANCHORED")}
    assert any("nat.example" in finding.message for finding in result.findings)


# --- no byte may change


@settings(max_examples=150)
@given(st.data())
def test_one_byte_changed_anywhere_in_any_member_is_never_verified(deal, file, data):
    """Checksums of the zip are made right again, so that what protects is what is signed and logged."""
    found = read_zip(file)
    name = data.draw(st.sampled_from(sorted(found)))
    at = data.draw(st.integers(0, len(found[name]) - 1))
    mask = data.draw(st.integers(1, 255))
    member = found[name]
    found[name] = member[:at] + bytes([member[at] ^ mask]) + member[at + 1 :]
    assert verify_bundle(write_zip(found), deal.anchors).verdict != "VERIFIED"


@pytest.mark.parametrize("prefix", ["documents/", "proofs/", "chains/", "heads/", "status/", "cards/"])
def test_no_member_can_be_left_out(deal, file, prefix):
    for name in read_zip(file):
        if name.startswith(prefix):
            contents = drop(deal.contents(), name)
            assert contents is None or verify_bundle(bundle.pack(contents), deal.anchors).verdict != "VERIFIED", name


def drop(contents: bundle.Contents, name: str) -> bundle.Contents | None:
    """The bundle without one member, manifest and story made anew; None where that is no bundle, or says as much."""
    kind, *rest = name.removesuffix(".json").removesuffix(".jsonl").removesuffix(".tlog-proof").split("/")
    if kind == "documents":
        if rest[0] == contents.agreement:
            return None
        return replace(contents, documents={d: one for d, one in contents.documents.items() if d != rest[0]})
    if kind == "cards":
        return replace(contents, cards={d: one for d, one in contents.cards.items() if d != rest[0]})
    part = contents.parts[rest[0]]
    if kind == "status":
        return None  # an empty list of notices is written all the same
    changed = {
        "proofs": lambda: replace(part, proofs={i: p for i, p in part.proofs.items() if str(i) != rest[1]}),
        "chains": lambda: replace(part, chain=()),
        "heads": lambda: replace(part, head=None),
    }[kind]()
    return replace(contents, parts={**contents.parts, rest[0]: changed})


def test_a_receipt_that_is_left_out_makes_it_incomplete(deal):
    contents = drop(deal.contents(), f"documents/{deal.receipt.digest}.json")
    result = verify_bundle(bundle.pack(contents), deal.anchors)
    assert result.verdict == "INCOMPLETE"
    assert any(deal.receipt.digest[:12] in finding.message for finding in result.findings)


def test_the_part_of_one_side_alone_is_incomplete(deal):
    contents = deal.contents()
    alone = replace(contents, parts={"gz.example": contents.parts["gz.example"]})
    result = verify_bundle(bundle.pack(alone), deal.anchors)
    assert result.verdict == "INCOMPLETE"
    assert {finding.step for finding in result.findings} == {1}


# --- alone


def test_verification_needs_nothing_but_core():
    code = (
        "import sys, trustnode.core.evidence.verify\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "print(sorted(loaded & {'grpc', 'google', 'sqlite3', 'sqlite_utils', 'pyarrow', 'duckdb', 'asyncio', 'structlog'}))\n"
        "print(sorted(n for n in sys.modules if n.startswith('trustnode.') and n.split('.')[1] not in "
        "('core', 'errors', 'vocabulary')))\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split("\n")[:2] == ["[]", "[]"]


def test_the_checks_are_the_fourteen_of_the_protocol_in_their_order():
    assert [check.number for check in CHECKS] == list(range(1, 15))
    assert all((check.run.__doc__ or "").startswith(f"{check.number}. ") for check in CHECKS)
