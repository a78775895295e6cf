"""Bundles made by somebody who holds a key that was taken back, or who shows only what suits him."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from unit.evidence.deal_world import START, Deal, Key, common

from trustnode.core import clock
from trustnode.core.document import decode, seal
from trustnode.core.evidence import bundle
from trustnode.core.evidence.bundle import Contents
from trustnode.core.evidence.entry import Entry
from trustnode.core.evidence.erasure import why_not
from trustnode.core.evidence.head import ChainHead
from trustnode.core.evidence.report import Report
from trustnode.core.evidence.verify import verify_bundle
from trustnode.core.identity import CardKey

GZ, ZJ = "gz.example", "zj.example"


def at(seconds: float) -> str:
    return clock.shift(START, seconds)


def examine(deal: Deal, contents: Contents) -> Report:
    return verify_bundle(bundle.pack(contents), deal.anchors)


def outcome(result: Report) -> set[tuple[int, str]]:
    return {(finding.step, finding.verdict) for finding in result.findings}


def hide(contents: Contents, *words: str, domains: tuple[str, ...] = (GZ, ZJ)) -> Contents:
    """Show only the commitments of entries that hold one of these words."""
    parts = dict(contents.parts)
    for domain in domains:
        chain = tuple(
            msgspec.structs.replace(line, salt=None, statement=None)
            if any(word in (line.statement or "") for word in words)
            else line
            for line in parts[domain].chain
        )
        parts[domain] = replace(parts[domain], chain=chain)
    return replace(contents, parts=parts)


def shortened(deal: Deal, contents: Contents, thief: Key) -> Contents:
    """The provider's chain without its last entry, and a head for it by whoever holds the stolen key."""
    part = contents.parts[GZ]
    assert part.head is not None
    told = decode(part.head, ChainHead)
    log = deal.gz.log.lines["agreement", deal.contract]
    kept = part.chain[:-1]
    link = deal.gz.log.leaves[log[-2].index].hex()
    lie = ChainHead(
        **common(GZ, "*", time=at(900)), kind=told.kind, object=told.object, seq=told.seq - 1, link=link,
        origin=told.origin, tree_size=told.tree_size, root=told.root,
    )  # fmt: skip
    proofs = {index: proof for index, proof in part.proofs.items() if index != part.chain[-1].index}
    seals = {index: proof for index, proof in part.seals.items() if index != part.chain[-1].index}
    changed = replace(part, chain=kept, head=seal(lie, thief), proofs=proofs, seals=seals)
    return replace(contents, parts={**contents.parts, GZ: changed})


def test_a_stolen_evidence_key_that_was_revoked_cannot_shorten_a_chain():
    deal = Deal(lies={"deny": {}})
    lying = shortened(deal, deal.contents(), deal.gz.evidence)
    assert examine(deal, lying).verdict == "VERIFIED", "as long as nobody took the key back, it speaks for the venue"
    deal.revoke(deal.gz, deal.gz.evidence, at(1200))
    part = replace(lying.parts[GZ], status=tuple(deal.status[GZ]))
    assert (5, "INVALID") in outcome(examine(deal, replace(lying, parts={**lying.parts, GZ: part})))


def replaced(deal: Deal, use: str, key: Key, *, beside: Key | None = None) -> None:
    """The provider's next card lists another key, and the one before only where it goes in good order."""
    _replace_on(deal.gz, use, key, beside=beside)


def _replace_on(venue, use: str, key: Key, *, beside: Key | None = None) -> None:
    until = clock.shift(START, 86400 * 700)
    held = decode(venue.cards[-1]).keys
    others = tuple(one for one in held if one.use != use)
    mine = tuple(
        CardKey(use, one.public.hex(), clock.shift(START, -86400), until) for one in (key, beside) if one is not None
    )
    venue.add_card(keys=(*others, *mine))


def test_a_chain_head_by_a_key_that_the_newest_card_dropped_is_no_head_though_the_notice_is_left_out():
    deal = Deal(lies={"deny": {}})
    stolen = deal.gz.evidence
    replaced(deal, "evidence", Key())
    lying = shortened(deal, deal.contents(), stolen)
    assert (5, "INVALID") in outcome(examine(deal, lying))


def test_a_checkpoint_by_a_log_key_that_the_newest_card_dropped_convinces_nobody():
    deal = Deal()
    replaced(deal, "log", Key())
    assert (3, "INVALID") in outcome(examine(deal, deal.contents()))


def test_a_stolen_key_of_a_parent_vouches_for_nobody_once_its_card_is_without_it():
    deal = Deal()
    deal.recognise()
    _replace_on(deal.nat, "evidence", Key())
    contents = deal.contents()
    cards = {**contents.cards, deal.nat.domain: dict(enumerate(deal.nat.cards, 1))}
    forged = replace(contents, cards=cards)
    result = verify_bundle(bundle.pack(forged), trust=[deal.nat.cards[-1]])
    assert result.verdict == "UNANCHORED"


def test_a_key_of_a_parent_that_was_replaced_in_good_order_still_vouches():
    deal = Deal()
    deal.recognise()
    new = Key()
    _replace_on(deal.nat, "evidence", new, beside=deal.nat.evidence)
    _replace_on(deal.nat, "evidence", new)
    contents = deal.contents()
    cards = {**contents.cards, deal.nat.domain: dict(enumerate(deal.nat.cards, 1))}
    result = verify_bundle(bundle.pack(replace(contents, cards=cards)), trust=[deal.nat.cards[-1]])
    assert result.verdict == "VERIFIED"


# --- what is not shown


def test_limits_cannot_be_passed_behind_decisions_that_are_withheld():
    """The receipts are there, their decisions are not: five reads of three."""
    deal = Deal(reads=(1, 1, 1, 1, 1))
    lying = hide(deal.contents(), "access.decide", "access.request")
    assert (12, "INVALID") in outcome(examine(deal, lying))


def test_rows_cannot_be_passed_behind_decisions_that_are_withheld():
    deal = Deal(reads=(900, 900))
    lying = hide(deal.contents(), "access.decide", "access.request")
    assert (12, "INVALID") in outcome(examine(deal, lying))


def test_what_is_kept_as_far_as_it_is_shown_is_said_so():
    """A whole read withheld on both sides, with its documents: limits and stops are told with that reserve."""
    deal = Deal(reads=(3,), steps=())
    one = deal.requests[0].id
    hidden = hide(deal.contents(), one)
    kept = {d: doc for d, doc in hidden.documents.items()
            if doc.name not in ("access-request", "receipt", "receipt-ack")}  # fmt: skip
    result = examine(deal, replace(hidden, documents=kept))
    texts = {step.number: step.text for step in result.steps}
    assert result.withheld == 5
    assert all("as far as shown" in texts[number] for number in (8, 12, 13)), texts
    whole = {step.number: step.text for step in examine(deal, deal.contents()).steps}
    assert not any("as far as shown" in text for text in whole.values())


def test_nobody_but_a_node_of_the_agreement_is_named_as_who_made_the_file():
    deal = Deal()
    assert outcome(examine(deal, replace(deal.contents(), maker="court.example"))) == {(1, "INVALID")}


def test_a_read_inside_a_stop_is_not_washed_white_by_a_gap_behind_the_stop():
    steps = (("contract.suspend", "SUSPENDED"), ("contract.breach", "SUSPENDED"))
    deal = Deal(steps=steps)
    assert (13, "INVALID") in outcome(examine(deal, deal.contents()))
    washed = examine(deal, hide(deal.contents(), "contract.breach"))
    assert outcome(washed) == {(13, "INCOMPLETE")}


def test_what_tells_of_a_stop_is_never_erased():
    told = {"event_id": "a" * 32, "time": START, "node_id": "n", "object_kind": "agreement", "object": "C1"}
    for event in ("contract.suspend", "contract.resume", "grant.suspend", "grant.resume"):
        assert why_not(Entry(type=event, **told), ended=True)
