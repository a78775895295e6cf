"""Two bundles side by side: what only one log knows, and a log that tells two stories."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from unit.evidence.deal_world import Deal

from trustnode.core.evidence.bundle import Contents
from trustnode.core.evidence.compare import ANSWERS, ENDED_AT_HOME, ONE_SIDED, Difference, compare
from trustnode.core.evidence.events import EVENTS

GZ, ZJ = "gz.example", "zj.example"


def side(contents: Contents, domain: str) -> Contents:
    return replace(contents, maker=domain, parts={domain: contents.parts[domain]})


def named(found: tuple[Difference, ...]) -> list[tuple[str, str, str]]:
    return [(one.kind, one.domain, one.event) for one in found]


@pytest.mark.parametrize("deal", [Deal(), Deal(quorum=True), Deal(one_venue=True), Deal(grade="DELEGATED")], ids=str)
def test_two_files_of_one_honest_deal_differ_in_nothing(deal):
    contents = deal.contents()
    assert compare(contents, contents) == ()
    assert compare(side(contents, GZ), side(contents, deal.zj.domain)) == ()


def test_a_refusal_that_the_other_side_never_logged_is_named():
    contents = Deal(lies={"deny": {}}).contents()
    found = compare(side(contents, GZ), side(contents, ZJ))
    assert named(found) == [("entry", GZ, "access.deny")]
    assert "is in gz.example's log only: zj.example never logged it" in found[0].text
    assert found[0].time


@pytest.mark.parametrize(
    "where, event",
    [(GZ, "delivery.complete"), (ZJ, "delivery.complete"), (ZJ, "access.request"), (GZ, "access.decide")],
)
def test_an_entry_that_one_log_left_out_is_named(where, event):
    contents = Deal(reads=(5,), lies={"skip": {where: (event,)}}).contents()
    there = ZJ if where == GZ else GZ
    answered = {"access.request": "access.decide", "access.decide": "access.request"}.get(event, event)
    assert named(compare(contents, contents)) == [("entry", there, answered)]


def test_one_log_that_tells_two_files_different_stories_is_named():
    deal = Deal(reads=(5,))
    first = deal.contents()
    other = deal.contents()
    part = other.parts[GZ]
    forged = [line if line.seq != 3 else replace_commitment(line) for line in part.chain]
    changed = replace(other, parts={**other.parts, GZ: replace(part, chain=tuple(forged))})
    assert ("story", GZ) in {(one.kind, one.domain) for one in compare(first, changed)}


def replace_commitment(line):
    return msgspec.structs.replace(line, commitment="a" * 64)


def test_a_longer_file_of_the_same_log_is_no_other_story():
    deal = Deal(reads=(5,))
    earlier = deal.contents()
    deal._read(400, 3)
    assert compare(earlier, deal.contents()) == ()


def test_two_agreements_are_not_compared():
    assert [one.kind for one in compare(Deal().contents(), Deal().contents())] == ["agreement"]


def test_every_event_of_the_tables_exists():
    listed = {*ANSWERS, *(event for events in ANSWERS.values() for event in events), *ONE_SIDED, *ENDED_AT_HOME}
    assert listed <= set(EVENTS)
