"""What witnesses add to a bundle: quorums, when something was sealed, and which keys counted then (protocol 1.4)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from unit.evidence.deal_world import START, Deal, Key, common

from trustnode.core import clock
from trustnode.core.document import seal
from trustnode.core.evidence import bundle, report
from trustnode.core.evidence.bundle import Contents
from trustnode.core.evidence.checkpoint import Checkpoint, parse_checkpoint
from trustnode.core.evidence.note import cosign
from trustnode.core.evidence.report import Report
from trustnode.core.evidence.sealing import earliest_behind, sealed_text
from trustnode.core.evidence.verify import verify_bundle
from trustnode.core.identity import CardKey
from trustnode.core.peering import Status, StatusEvent

GZ, ZJ = "gz.example", "zj.example"


def outcome(result: Report) -> set[tuple[int, str]]:
    return {(finding.step, finding.verdict) for finding in result.findings}


def examine(deal: Deal, contents: Contents | None = None) -> Report:
    return verify_bundle(bundle.pack(contents or deal.contents()), deal.anchors)


def at(seconds: float) -> str:
    return clock.shift(START, seconds)


def with_notes(contents: Contents, change: Any, *, seals: bool = False) -> Contents:
    """The bundle with another note in every proof (or seal) of the provider's log."""
    part = contents.parts[GZ]
    held = part.seals if seals else part.proofs
    proofs = {i: proof._replace(checkpoint=change(proof.checkpoint)) for i, proof in held.items()}
    changed = replace(part, seals=proofs) if seals else replace(part, proofs=proofs)
    return replace(contents, parts={**contents.parts, GZ: changed})


def lines_of(note: bytes) -> tuple[bytes, list[bytes]]:
    text, _, signatures = note.rpartition(b"\n\n")
    return text + b"\n\n", signatures.splitlines(keepends=True)


# --- good ones


def test_a_sealed_bundle_names_witnesses_and_the_time_of_each_receipt():
    deal = Deal(quorum=True)
    result = examine(deal)
    assert (result.verdict, result.findings, result.unwitnessed) == ("VERIFIED", (), False)
    assert result.sealed_at == sealed_text(clock.to_ms(START) // 1000 + 20)
    assert [line.sealed_at for line in result.accesses] == [
        sealed_text(clock.to_ms(START) // 1000 + seconds) for seconds in (110, 170)
    ]
    assert {(one.log, one.witness) for one in result.cosigned} == {
        (GZ, ZJ), (GZ, "nat.example"), (ZJ, GZ), (ZJ, "nat.example"),
    }  # fmt: skip
    printed = "\n".join(report.lines(result))
    assert f"witnesses    of {GZ}: all of: zj.example/witness, nat.example/witness" in printed
    assert printed.splitlines()[-1].startswith("verified: 24 of 24 entries, no gap, cosigned by 3")


def test_seals_and_publications_come_back_from_the_file():
    deal = Deal(quorum=True)
    deal.gz.log.publish("node", GZ, "identity.update", at(500), "a" * 64)
    contents = bundle.unpack(deal.file())
    assert len(contents.parts[GZ].seals) == 3
    assert [one.object_kind for one in contents.parts[GZ].published] == ["node"]
    assert verify_bundle(deal.file(), deal.anchors).verdict == "VERIFIED"


def test_one_venue_has_outside_witnesses():
    assert examine(Deal(quorum=True, one_venue=True)).verdict == "VERIFIED"


# --- 3: the quorum


def without_cosignatures(note: bytes) -> bytes:
    text, lines = lines_of(note)
    return text + lines[0]


def test_l7m_an_unwitnessed_receipt_is_not_passed_off_as_witnessed():
    """The newest checkpoint has lost its cosignatures: what the seals do not cover is named; later it is upgraded."""
    deal = Deal(quorum=True)
    deal.gz.log.points.pop()
    result = examine(deal, with_notes(deal.contents(), without_cosignatures))
    assert outcome(result) == {(3, "UNWITNESSED")}
    assert (result.unwitnessed, result.sealed_at != "") == (True, True)
    assert [one.id in result.unsealed for one in result.accesses] == [False, False], "the carrier's log is sealed"
    both = deal.contents()
    deal.zj.log.points.pop()
    both = replace(deal.contents(), parts={d: with_notes(
        replace(both, parts={GZ: deal.contents().parts[d]}), without_cosignatures).parts[GZ] for d in (GZ, ZJ)
    })  # fmt: skip
    result = examine(deal, both)
    assert result.unsealed == (result.accesses[1].id,)
    assert f"unwitnessed  access {result.accesses[1].id}" in "\n".join(report.lines(result))
    assert examine(deal).unsealed == ()


def repeated(note: bytes) -> bytes:
    text, lines = lines_of(note)
    return text + lines[0] + lines[1] * 3


def test_one_witness_whose_line_stands_three_times_is_one_witness():
    deal = Deal(quorum=True)
    assert outcome(examine(deal, with_notes(deal.contents(), repeated))) == {(3, "UNWITNESSED")}


def test_two_names_of_one_witness_key_make_no_policy():
    deal = Deal(quorum=True)
    text = deal.policy(deal.gz)
    vkey = next(line.split()[2] for line in text.splitlines() if line.startswith("witness zj"))
    doubled = text.replace("group", f"witness again {vkey}\ngroup", 1)
    lying = Deal(quorum=True, lies={"agreement": {"witness_policies": (doubled,)}}, reads=(5,))
    assert outcome(examine(lying)) == {(3, "INVALID")}


def test_a_signature_line_of_nobody_is_refused():
    deal = Deal(quorum=True)
    stranger = Key()

    def change(note: bytes) -> bytes:
        text = note.rpartition(b"\n\n")[0].decode() + "\n"
        return note + cosign(text, "x.example/witness", stranger.public, stranger.sign, 1_800_000_000).encode()

    assert outcome(examine(deal, with_notes(deal.contents(), change))) == {(3, "INVALID")}


def test_a_forged_cosignature_refuses_the_whole_note():
    deal = Deal(quorum=True)

    def change(note: bytes) -> bytes:
        text, lines = lines_of(note)
        other = deal.gz.log.points[0][1]
        return text + lines[0] + lines_of(other)[1][1] + lines[2]

    assert outcome(examine(deal, with_notes(deal.contents(), change))) == {(3, "INVALID")}


def test_a_log_that_cosigns_itself_gains_nothing():
    deal = Deal(quorum=True, lies={"agreement": {"witness_policies": ()}}, reads=(5,))
    own = deal.policy(deal.zj).replace(
        f"log {deal.policy(deal.zj).split()[1]}", f"log {deal.policy(deal.gz).split()[1]}"
    )
    lying = Deal(quorum=True, reads=(5,))
    lying.gz, deal.gz = deal.gz, deal.gz
    result = verify_bundle(deal.file(), deal.anchors, witness_policy=own)
    assert (3, "UNWITNESSED") in outcome(result)


def test_a_witness_of_the_quorum_that_nobody_anchors_is_named():
    deal = Deal(quorum=True)
    anchors = {domain: mark for domain, mark in deal.anchors.items() if domain != "nat.example"}
    result = verify_bundle(deal.file(), anchors)
    assert outcome(result) == {(3, "UNANCHORED")}
    assert all("nat.example" in finding.message for finding in result.findings)


def test_a_policy_that_does_not_speak_of_a_log_leaves_it_unwitnessed():
    deal = Deal(reads=(5,))
    lying = Deal(quorum=True, reads=(5,), lies={"agreement": {"witness_policies": (deal.policy(deal.gz),)}})
    assert (3, "UNWITNESSED") in outcome(examine(lying))


# --- 4: seals


def test_a_seal_without_a_quorum_is_no_seal():
    deal = Deal(quorum=True)
    result = examine(deal, with_notes(deal.contents(), without_cosignatures, seals=True))
    assert outcome(result) == {(3, "INVALID")}


def test_a_seal_of_another_entry_is_refused():
    deal = Deal(quorum=True)
    contents = deal.contents()
    part = contents.parts[GZ]
    first, second = sorted(part.seals)[:2]
    moved = {second: part.seals[second]._replace(path=part.seals[first].path)}
    changed = replace(contents, parts={**contents.parts, GZ: replace(part, seals={**part.seals, **moved})})
    assert outcome(examine(deal, changed)) == {(4, "INVALID")}


def test_a_seal_of_an_entry_that_is_not_in_the_chain_is_refused():
    deal = Deal(quorum=True)
    contents = deal.contents()
    part = contents.parts[GZ]
    first = min(part.seals)
    moved = {0: part.seals[first]._replace(position=0)}
    changed = replace(contents, parts={**contents.parts, GZ: replace(part, seals={**part.seals, **moved})})
    assert outcome(examine(deal, changed)) == {(4, "INVALID")}


# --- 7: in force


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"sealed_s": 3600}, set()),
        ({"sealed_s": None, "final_s": 3600, "reads": ()}, set()),
        ({"sealed_s": None, "final_s": 3700, "reads": ()}, set()),
        ({"sealed_s": None, "final_s": 3700, "max_unwitnessed_s": 200, "reads": (5,)}, set()),
        ({"sealed_s": None, "final_s": 3700, "reads": (5,)}, {(7, "UNWITNESSED")}),
        ({"sealed_s": None, "final_s": 9000, "reads": (5,), "first_read_s": 4000}, {(7, "INVALID")}),
        ({"sealed_s": 5000, "final_s": 9000, "reads": (5,), "first_read_s": 6000}, set()),
    ],
    ids=["in time", "in time, nothing read", "late, nothing read", "late, within the term", "late and read",
         "read unsealed after the term", "late, read after it"],
)  # fmt: skip
def test_an_agreement_is_sealed_before_the_term_or_what_was_read_before_is_named(changes, expected):
    deal = Deal(quorum=True, seal_reads=False, **changes)
    assert outcome(examine(deal)) == expected


# --- which key was valid when


def test_a_key_that_ended_later_counts_for_what_was_sealed_before():
    deal = Deal(quorum=True, lies={"key CONSUMER": {"not_after": at(300)}})
    assert examine(deal).verdict == "VERIFIED"


def test_a_key_that_had_ended_when_it_was_sealed_does_not_count():
    """The documents are dated before the end; witnesses saw them only after it."""
    deal = Deal(quorum=True, seal_reads=False, lies={"key CONSUMER": {"not_after": at(300)}})
    assert (8, "INVALID") in outcome(examine(deal))


def test_a_stolen_key_cannot_backdate():
    """A receipt dated before ``invalid_from``, sealed after it."""
    deal = Deal(quorum=True, seal_reads=False, reads=(5,))
    deal.revoke(deal.zj, deal.consumer_key, at(300))
    assert outcome(examine(deal)) == {(8, "INVALID")}


def test_a_key_revoked_after_sealing_still_counts():
    deal = Deal(quorum=True, reads=(5,))
    deal.revoke(deal.zj, deal.consumer_key, at(300))
    assert examine(deal).verdict == "VERIFIED"


def rotated(deal: Deal) -> Key:
    """The provider's venue takes a new evidence key with its second card; returns the new one."""
    new = Key()
    old = deal.gz.evidence
    keys = tuple(
        CardKey(use, key.public.hex(), at(-86400), at(86400 * 700))  # type: ignore[arg-type]
        for use, key in (("evidence", old), ("evidence", new), ("log", deal.gz.log_key), ("witness", deal.gz.witness))
    )
    deal.gz.add_card(keys=keys)
    return new


class Rotating(Deal):
    """The provider's venue changes its evidence key between agreement and reads."""

    published: str = "before"

    def _read_all(self) -> None:
        new = rotated(self)
        if self.published == "before":
            self.gz.log.publish("node", GZ, "identity.update", at(50), self.gz.cards[1].digest)
        self.gz.evidence = new
        super()._read_all()
        if self.published == "after":
            self.gz.log.publish("node", GZ, "identity.update", at(50), self.gz.cards[1].digest)


@pytest.mark.parametrize(
    "published, expected", [("before", set()), ("after", {(9, "INVALID")}), ("never", {(9, "INCOMPLETE")})]
)
def test_the_entry_that_publishes_a_key_precedes_what_the_key_signs(published, expected):
    kind = type("Rotating", (Rotating,), {"published": published})
    assert outcome(examine(kind(quorum=True, reads=(5,)))) == expected


def test_an_entry_that_publishes_nothing_is_refused():
    deal = Deal(quorum=True)
    deal.gz.log.publish("participant", deal.provider, "identity.revoke", at(500))
    assert outcome(examine(deal)) == {(4, "INVALID")}


def test_a_witness_whose_key_was_revoked_does_not_count():
    deal = Deal(quorum=True, reads=(5,))
    kid = hashlib.sha256(deal.nat.witness.public).hexdigest()
    event = StatusEvent(kind="KEY_REVOKED", subject=kid, state="REVOKED", effective=START, invalid_from=at(15))
    notice = seal(Status(**common("nat.example", "*"), events=(event,)), deal.nat.evidence)
    contents = deal.contents()
    part = contents.parts[GZ]
    changed = replace(contents, parts={**contents.parts, GZ: replace(part, status=(notice,))})
    assert (3, "UNWITNESSED") in outcome(examine(deal, changed))


# --- the arithmetic


def test_what_stands_before_a_sealed_entry_existed_by_then():
    assert earliest_behind(["9", "", "3", "", "5"]) == ["3", "3", "3", "5", "5"]
    assert earliest_behind(["3", ""]) == ["3", ""]
    assert earliest_behind([]) == []


def test_a_cosignature_of_the_far_future_has_a_time_too():
    assert sealed_text((1 << 63) - 1) == clock.FOREVER


def test_the_note_in_a_seal_is_smaller_than_the_newest():
    deal = Deal(quorum=True)
    part = deal.contents().parts[GZ]

    def size(note: bytes) -> int:
        point: Checkpoint = parse_checkpoint(note.rpartition(b"\n\n")[0].decode() + "\n")
        return point.size

    newest = size(part.proofs[min(part.proofs)].checkpoint)
    assert [size(one.checkpoint) < newest for _, one in sorted(part.seals.items())] == [True, True, True]


@pytest.mark.parametrize(
    "invalid_from, published, expected",
    [(15, False, {(6, "INVALID")}), (15, True, set()), (25, False, set())],
    ids=["before the seal", "before the seal, published before", "after the seal"],
)
def test_a_key_document_counts_for_what_its_venue_had_published_before_the_key_was_revoked(
    invalid_from, published, expected
):
    """The venue's key was stolen between enrolment and agreement; the enrolment is sealed, or nobody can know."""
    deal = Publishing() if published else Deal(quorum=True, reads=(), ack=False)
    second = Key()
    keys = tuple(
        CardKey(use, key.public.hex(), at(-86400), at(86400 * 700))  # type: ignore[arg-type]
        for use, key in (("evidence", second), ("log", deal.zj.log_key), ("witness", deal.zj.witness))
    )
    stolen, deal.zj.evidence = deal.zj.evidence, second
    deal.zj.add_card(keys=keys)
    deal.revoke(deal.zj, stolen, at(invalid_from))
    found = outcome(examine(deal))
    assert {one for one in found if one[0] == 6} == expected


class Publishing(Deal):
    """The consumer's enrolment is an entry of its venue's log, and sealed by itself."""

    def __init__(self) -> None:
        super().__init__(quorum=True, reads=(), ack=False)

    def _negotiate(self) -> None:
        digest = self.keys[self.consumer].digest
        self.zj.log.publish("participant", self.consumer, "identity.register", at(1), digest)
        self.zj.log.alone = (self.zj.log.published[-1].index, len(self.zj.log.leaves), 5)
        super()._negotiate()
