"""Each check of protocol 11 refuses its own defects, and nobody else notices them first.

``LIES`` are told by venues that hold their keys: everything is signed and logged, only what it says is wrong.
``EDITS`` are made by the bearer of the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from unit.evidence.deal_world import COLUMNS, START, Deal, Key, Venue

from trustnode.core import clock
from trustnode.core.access import DecisionLink, Meter
from trustnode.core.contract import Mandate, Price
from trustnode.core.document import Document, canonical, cosign, decode
from trustnode.core.evidence import bundle
from trustnode.core.evidence.bundle import Contents, Line, Part
from trustnode.core.evidence.chain import ChainEnd, extend, object_id
from trustnode.core.evidence.head import ChainHead
from trustnode.core.evidence.note import COSIGNATURE_V1, VerifierKey
from trustnode.core.evidence.report import Report
from trustnode.core.evidence.verify import verify_bundle
from trustnode.core.policy.compile import compile_terms
from trustnode.core.policy.terms import Terms


def outcome(result: Report) -> set[tuple[int, str]]:
    return {(finding.step, finding.verdict) for finding in result.findings}


def examine(deal: Deal, contents: Contents | None = None) -> Report:
    return verify_bundle(bundle.pack(contents or deal.contents()), deal.anchors)


# --- lies of venues


def other_policy() -> Any:
    terms = Terms(
        purposes="any", who="anyone", period="12 months", columns="all", keep="unlimited", onward="allowed"
    )  # fmt: skip
    return compile_terms(
        terms, price="0.02 CNY per row", schema=COLUMNS, zone="Asia/Shanghai", level="GENERAL_1", at=clock.moment(START)
    )


GZ, ZJ = "gz.example", "zj.example"
WITNESS = VerifierKey("w.example/witness", COSIGNATURE_V1, Key().public)
WITNESSED = f"witness w {WITNESS.text}\nquorum w\n"
LATER = clock.shift(START, 12)
LIES: dict[str, tuple[int, str, dict[str, Any]]] = {
    # 3
    "witnesses agreed and none cosigned": (3, "UNWITNESSED", {"agreement": {"witness_policies": (WITNESSED,)}}),
    # 6
    "agreement for other nodes": (6, "INVALID", {"agreement": {"aud": ("gz.example",)}}),
    "agreement at another price than the offer": (6, "INVALID", {"agreement": {"price": Price("FREE")}}),
    "agreement of another version": (6, "INVALID", {"agreement": {"product_version": 2}}),
    "mandate of another offer": (6, "INVALID", {"agreement": {"mandate": "a" * 64}}),
    "mandate for others": (6, "INVALID", {"offer": {"mandate": Mandate(1, ("spiffe://zj.example/participant/other",))}}),
    "mandate that had ended": (6, "INVALID", {"offer": {"valid_until": START}}),
    "agreement naming cards that are not here": (6, "INCOMPLETE", {"agreement": {"cards": ("a" * 64,)}}),
    "terms that compile to another policy": (6, "INVALID", {"offer": {"policy": other_policy()}}),
    "terms that compile to nothing": (6, "INVALID", {"offer": {"terms": canonical(Terms()).decode()}}),
    "key that was not valid yet": (6, "INVALID", {"key CONSUMER": dict.fromkeys(("time", "not_before"), LATER)}),
    # 7
    "signed too late": (7, "INVALID", {"agreement": {"sign_by": clock.shift(START, 13)}}),
    "another agreement in force": (7, "INVALID", {"sign": {"documents": ()}}),
    "never signed in the log": (7, "INCOMPLETE", {"never signed": {}}),
    # 8
    "request for another agreement": (8, "INVALID", {"request": {"agreement": "C" + "1" * 46}}),
    "request for another text": (8, "INVALID", {"request": {"agreement_sha256": "a" * 64}}),
    "request through another venue": (8, "INVALID", {"request": {"provider": "nat.example"}}),
    "decision after the request had ended": (8, "INVALID", {"decide": {"after_s": 400}}),
    "decision for another query": (8, "INVALID", {"decide": {"query_commitment": "a" * 64}}),
    "decision that does not allow": (8, "INVALID", {"decide": {"decision": "DENY"}}),
    "decision without its request": (8, "INVALID", {"decide": {"documents": ()}}),
    "grade weaker than agreed": (8, "INVALID", {"agreement": {"request_proof_min": "SIGNED"}, "grade": {}}),
    # 9
    "receipt of another decision": (9, "INVALID", {"receipt": {"decision": DecisionLink(1, "a" * 64)}}),
    "receipt of another request": (9, "INVALID", {"receipt": {"request_sha256": "a" * 64}}),
    "receipt under another policy": (9, "INVALID", {"receipt": {"policy_sha256": "a" * 64}}),
    "receipt of another plan": (9, "INVALID", {"receipt": {"plan_commitment": "a" * 64}}),
    "receipt that costs more": (9, "INVALID", {"receipt": {"cost_fen": 9999}}),
    "receipt that meters more": (9, "INVALID", {"receipt": {"meter": (Meter("ROW", 9999),)}}),
    "receipt of an abort": (9, "INVALID", {"receipt": {"outcome": "ABORTED"}}),
    "entry of more rows": (9, "INVALID", {"end": {"amount": 9999}}),
    "entry of another stream": (9, "INVALID", {"end": {"stream_commitment": "a" * 64}}),
    "more rows than reserved": (9, "INVALID", {"decide": {"amount": 1, "unit": "rows"}}),
    # 10
    "acknowledgement EQUAL of other rows": (10, "INVALID", {"ack": {"rows": 9999}}),
    "acknowledgement LESS of the same rows": (10, "INVALID", {"ack": {"verdict": "LESS"}}),
    "acknowledgement of another receipt": (10, "INVALID", {"ack": {"receipt_sha256": "a" * 64}}),
    # 11
    "carrier that never asked": (11, "INCOMPLETE", {"unasked": {}}),
    "acknowledgement that never reached the provider": (11, "INCOMPLETE", {"ack lost": {}}),
    "delivery that the provider never logged": (11, "INCOMPLETE", {"skip": {GZ: ("delivery.complete",)}}),
    "delivery that the carrier never logged": (11, "INCOMPLETE", {"skip": {ZJ: ("delivery.complete",)}}),
    "delivery that neither logged": (11, "INCOMPLETE", {"skip": dict.fromkeys((GZ, ZJ), ("delivery.complete",))}),
}  # fmt: skip


@pytest.mark.parametrize("step, verdict, lies", LIES.values(), ids=LIES.keys())
def test_a_lie_is_found_by_its_check(step, verdict, lies):
    changed = {"grade": "CUSTODY", "custody": "CUSTODY"} if "grade" in lies else {}
    deal = Deal(lies=lies, reads=(5,), **changed)
    result = examine(deal)
    assert outcome(result) == {(step, verdict)}, result.findings
    assert result.verdict == verdict


DELEGATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "for another agreement": ("INVALID", {"agreements": (("C" + "1" * 46, "a" * 64),)}),
    "to another venue": ("INVALID", {"home": "nat.example"}),
    "that had ended": ("INVALID", {"expires": START}),
    "used up": ("INVALID", {"max_accesses": 1, "id": "00000000-0000-4000-8000-000000000000"}),
}


@pytest.mark.parametrize("verdict, lie", DELEGATIONS.values(), ids=DELEGATIONS.keys())
def test_a_delegation_has_to_cover_the_access(verdict, lie):
    result = examine(Deal(grade="DELEGATED", lies={"delegation": lie}))
    assert outcome(result) == {(8, verdict)}, result.findings


def test_a_key_in_custody_does_not_make_a_signed_request():
    assert outcome(examine(Deal(custody="CUSTODY"))) == {(8, "INVALID")}


def test_a_delivery_without_a_receipt_is_incomplete():
    deal = Deal(one_venue=True, reads=(5,), lies={"end": {"documents": ()}})
    result = examine(deal, without("receipt")(deal, deal.contents()))
    assert outcome(result) == {(9, "INCOMPLETE")}


def test_an_abort_without_a_receipt_is_told():
    lies = {"end": {"documents": (), "event": "delivery.abort"}}
    deal = Deal(one_venue=True, reads=(5,), lies=lies)
    result = examine(deal, without("receipt")(deal, deal.contents()))
    assert result.verdict == "VERIFIED"
    assert any("without a receipt" in remark for remark in result.remarks)


def test_a_smaller_number_that_the_carrier_got_is_told_as_disputed():
    result = examine(Deal(reads=(5,), lies={"ack": {"rows": 4, "verdict": "LESS"}}))
    assert (result.verdict, len(result.unacknowledged)) == ("VERIFIED", 1)
    assert any("disputed" in remark for remark in result.remarks)


# 12


@pytest.mark.parametrize(
    "reads, interval_s, holds",
    [((1, 1, 1), 60, True), ((1, 1, 1, 1), 60, False), ((1, 1, 1, 1), 86400 // 2, True), ((600, 401), 60, False)],
    ids=["three in a day", "four in a day", "four in two days", "too many rows"],
)
def test_limits_are_counted_anew(reads, interval_s, holds):
    result = examine(Deal(reads=reads, interval_s=interval_s))
    assert outcome(result) == (set() if holds else {(12, "INVALID")})


@pytest.mark.parametrize("limit", ["1 read at once", "1 read per minute"])
def test_reads_one_after_the_other_keep_a_limit_of(limit):
    assert outcome(examine(Deal(limits=(limit,)))) == set()


def test_two_reads_of_one_minute_pass_a_limit_of_one_a_minute():
    assert outcome(examine(Deal(limits=("1 read per minute",), interval_s=5))) == {(12, "INVALID")}


def test_reads_that_run_together_pass_a_limit_of_one_at_once():
    running = Deal(limits=("1 read at once",), lies={"end": {"event": "delivery.transfer"}})
    assert (12, "INVALID") in outcome(examine(running))


# 13


@pytest.mark.parametrize(
    "steps",
    [
        (("contract.suspend", "SUSPENDED"),),
        (("grant.suspend", "SUSPENDED"),),
        (("contract.terminate", "TERMINATING"), ("grant.revoke", "REVOKED")),
        (("contract.suspend", "SUSPENDED"), ("contract.resume", "SUSPENDED")),
    ],
    ids=["agreement suspended", "grant suspended", "ended", "one of two causes lifted"],
)
def test_no_decision_stands_inside_a_stop(steps):
    assert outcome(examine(Deal(steps=steps))) == {(13, "INVALID")}


# --- edits of the bearer


def with_part(contents: Contents, **changes: Any) -> Contents:
    return replace(contents, parts={**contents.parts, GZ: replace(contents.parts[GZ], **changes)})


def with_lines(contents: Contents, change: Callable[[list[Line]], list[Line]]) -> Contents:
    """Lines changed, and the proofs of those that are gone left out."""
    part = contents.parts[GZ]
    lines = tuple(change(list(part.chain)))
    kept = {line.index for line in lines}
    return with_part(contents, chain=lines, proofs={i: p for i, p in part.proofs.items() if i in kept})


def renamed_document(deal: Deal, contents: Contents) -> Contents:
    documents = dict(contents.documents)
    documents["a" * 64] = documents.pop(deal.receipt.digest)
    return replace(contents, documents=documents)


def strange_part(deal: Deal, contents: Contents) -> Contents:
    return replace(contents, parts={**contents.parts, "nat.example": Part()})


def skipped_card(deal: Deal, contents: Contents) -> Contents:
    deal.gz.add_card()
    deal.gz.add_card()
    return replace(contents, cards={**contents.cards, GZ: {1: deal.gz.cards[0], 3: deal.gz.cards[2]}})


def card_of_new_roots(deal: Deal, contents: Contents) -> Contents:
    stranger = Venue(GZ)
    return replace(
        contents, cards={**contents.cards, GZ: {1: deal.gz.cards[0], 2: stranger.card(2, deal.gz.cards[0].digest)}}
    )


def card_without_signature(deal: Deal, contents: Contents) -> Contents:
    card = deal.gz.cards[0]
    return replace(contents, cards={**contents.cards, GZ: {1: Document(card.payload_type, card.payload)}})


def key_of_two_owners(deal: Deal, contents: Contents) -> Contents:
    deal.gz.evidence, kept = deal.zj.evidence, deal.gz.evidence
    double = deal.gz.card(2, deal.gz.cards[0].digest)
    deal.gz.evidence = kept
    return replace(contents, cards={**contents.cards, GZ: {1: deal.gz.cards[0], 2: double}})


def checkpoint_of_another_key(deal: Deal, contents: Contents) -> Contents:
    kept, deal.gz.log_key = deal.gz.log_key, Key()
    note = deal.gz.log.checkpoint()
    deal.gz.log_key = kept
    proofs = contents.parts[GZ].proofs
    return with_part(contents, proofs={i: proof._replace(checkpoint=note) for i, proof in proofs.items()})


def two_checkpoints(deal: Deal, contents: Contents) -> Contents:
    deal.gz.log.padding(1)
    note = deal.gz.log.checkpoint()
    proofs = dict(contents.parts[GZ].proofs)
    first = min(proofs)
    return with_part(contents, proofs={**proofs, first: proofs[first]._replace(checkpoint=note)})


def no_proofs(deal: Deal, contents: Contents) -> Contents:
    return with_part(contents, proofs={})


def other_path(deal: Deal, contents: Contents) -> Contents:
    proofs = dict(contents.parts[GZ].proofs)
    first = min(proofs)
    return with_part(contents, proofs={**proofs, first: proofs[first]._replace(path=proofs[first].path[::-1])})


def proof_left_out(deal: Deal, contents: Contents) -> Contents:
    proofs = dict(contents.parts[GZ].proofs)
    del proofs[min(proofs)]
    return with_part(contents, proofs=proofs)


def commitment_exchanged(deal: Deal, contents: Contents) -> Contents:
    def change(lines: list[Line]) -> list[Line]:
        return [*lines[:-1], msgspec.structs.replace(lines[-1], commitment="a" * 64, salt=None, statement=None)]

    return with_lines(contents, change)


def entry_left_out(deal: Deal, contents: Contents) -> Contents:
    return with_lines(contents, lambda lines: lines[:-2] + lines[-1:])


def end_left_out(deal: Deal, contents: Contents) -> Contents:
    return with_lines(contents, lambda lines: lines[:-1])


def statement_exchanged(deal: Deal, contents: Contents) -> Contents:
    def change(lines: list[Line]) -> list[Line]:
        told = (lines[-2].statement or "").replace('"amount":5', '"amount":4')
        return [*lines[:-2], msgspec.structs.replace(lines[-2], statement=told), lines[-1]]

    return with_lines(contents, change)


def two_entries_of_one_number(deal: Deal, contents: Contents) -> Contents:
    """The log goes on twice from the same place: both entries are leaves of its tree."""
    log, key = deal.gz.log, ("agreement", deal.contract)
    last, proper = log.lines[key][-1], log.ends[key]
    before = ChainEnd()
    for line in log.lines[key][:-1]:
        before = extend(before, object_id(*key), bytes.fromhex(line.commitment))
    log.ends[key] = before
    log.add(*key, "grant.expire", deal.time(700), to_state="EXPIRED")
    log.ends[key] = proper
    assert [line.seq for line in log.lines[key][-2:]] == [last.seq] * 2
    return deal.contents()


def sign_withheld(deal: Deal, contents: Contents) -> Contents:
    def change(lines: list[Line]) -> list[Line]:
        return [
            msgspec.structs.replace(line, salt=None, statement=None)
            if "contract.sign" in (line.statement or "")
            else line
            for line in lines
        ]

    return with_lines(contents, change)


def salt_alone(deal: Deal, contents: Contents) -> Contents:
    def change(lines: list[Line]) -> list[Line]:
        return [*lines[:4], msgspec.structs.replace(lines[4], statement=None), *lines[5:]]

    return with_lines(contents, change)


def negotiation_left_out(deal: Deal, contents: Contents) -> Contents:
    part = contents.parts[GZ]
    first = [line.seq for line in part.chain].index(1, 1)
    return with_lines(contents, lambda lines: lines[first:])


def no_head(deal: Deal, contents: Contents) -> Contents:
    return with_part(contents, head=None)


def head_with(**changes: Any) -> Callable[[Deal, Contents], Contents]:
    def change(deal: Deal, contents: Contents) -> Contents:
        return with_part(contents, head=deal.gz.log.part(deal, **changes).head)

    return change


def head_of_the_other(deal: Deal, contents: Contents) -> Contents:
    return with_part(contents, head=contents.parts["zj.example"].head)


def head_of_a_stranger(deal: Deal, contents: Contents) -> Contents:
    head = decode(deal.gz.log.part(deal).head, ChainHead)  # type: ignore[arg-type]
    return with_part(
        contents, head=cosign(Document("application/vnd.trustnode.chain-head.v1+json", canonical(head)), Key())
    )


def agreement_without(number: int) -> Callable[[Deal, Contents], Contents]:
    def change(deal: Deal, contents: Contents) -> Contents:
        held = contents.documents[contents.agreement]
        kept = held.signatures[:number] + held.signatures[number + 1 :]
        fewer = Document(held.payload_type, held.payload, kept)
        return replace(contents, documents={**contents.documents, contents.agreement: fewer})

    return change


def signature_of_nobody(deal: Deal, contents: Contents) -> Contents:
    more = cosign(contents.documents[deal.offer.digest], Key())
    return replace(contents, documents={**contents.documents, deal.offer.digest: more})


def without(name: str) -> Callable[[Deal, Contents], Contents]:
    def change(deal: Deal, contents: Contents) -> Contents:
        kept = {digest: one for digest, one in contents.documents.items() if one.name != name}
        return replace(contents, documents=kept)

    return change


def notice(change: Callable[[Deal], None]) -> Callable[[Deal, Contents], Contents]:
    def edit(deal: Deal, _contents: Contents) -> Contents:
        change(deal)
        return deal.contents()

    return edit


def in_name_of(domain: str) -> Callable[[Deal, Contents], Contents]:
    def change(deal: Deal, contents: Contents) -> Contents:
        deal.revoke(deal.zj, Key(), START)
        kept, deal.gz.evidence = deal.gz.evidence, Key()
        deal.revoke(deal.gz, Key(), START)
        deal.gz.evidence = kept
        return with_part(contents, status=tuple(deal.status[domain]))

    return change


INVALID, INCOMPLETE = "INVALID", "INCOMPLETE"
EDITS: dict[str, tuple[set[tuple[int, str]], Callable[[Deal, Contents], Contents]]] = {
    "a document under another name": ({(1, INVALID), (6, INCOMPLETE)}, renamed_document),
    "the part of somebody else": ({(1, INVALID), (3, INCOMPLETE), (5, INCOMPLETE)}, strange_part),
    "a card version left out": ({(2, INVALID)}, skipped_card),
    "a card signed by new roots alone": ({(2, INVALID)}, card_of_new_roots),
    "a card without a signature": ({(2, INVALID)}, card_without_signature),
    "one key of two owners": ({(2, INVALID)}, key_of_two_owners),
    "a notice in another's name": ({(2, INVALID)}, in_name_of("gz.example")),
    "a checkpoint signed by another key": ({(3, INVALID)}, checkpoint_of_another_key),
    "proofs over two checkpoints": ({(3, INVALID)}, two_checkpoints),
    "no proof at all": ({(3, INCOMPLETE), (4, INCOMPLETE)}, no_proofs),
    "a path of another entry": ({(4, INVALID)}, other_path),
    "a proof left out": ({(4, INCOMPLETE)}, proof_left_out),
    "a commitment exchanged": ({(4, INVALID), (5, INVALID), (11, INCOMPLETE)}, commitment_exchanged),
    "an entry left out": ({(5, INCOMPLETE), (11, INCOMPLETE)}, entry_left_out),
    "the last entry left out": ({(5, INCOMPLETE), (11, INCOMPLETE)}, end_left_out),
    "a statement exchanged": ({(5, INVALID), (9, INVALID)}, statement_exchanged),
    "two entries of one number": ({(5, INVALID)}, two_entries_of_one_number),
    "a salt without its statement": ({(5, INVALID)}, salt_alone),
    "no signed head": ({(5, INCOMPLETE)}, no_head),
    "a head that says more entries": ({(5, INCOMPLETE)}, head_with(seq=99)),
    "a head that says fewer entries": ({(5, INVALID)}, head_with(seq=1)),
    "a head with another link": ({(5, INVALID)}, head_with(link="a" * 64)),
    "a head of another tree": ({(5, INVALID)}, head_with(root="a" * 64)),
    "a head beyond the checkpoint": ({(5, INVALID)}, head_with(tree_size=9999)),
    "a head of another chain": ({(5, INVALID)}, head_with(object="C" + "1" * 46)),
    "a head of the other venue": ({(5, INVALID)}, head_of_the_other),
    "a head signed by a stranger": ({(5, INVALID)}, head_of_a_stranger),
    "an agreement without the venue": ({(6, INVALID)}, agreement_without(0)),
    "an agreement without the consumer": ({(6, INVALID)}, agreement_without(1)),
    "a signature of nobody known": ({(6, INVALID)}, signature_of_nobody),
    "the registration left out": ({(6, INCOMPLETE)}, without("registration")),
    "the offer left out": ({(6, INCOMPLETE)}, without("offer")),
    "a message of the negotiation left out": ({(6, INCOMPLETE)}, without("negotiation-message")),
    "the requests left out": ({(6, INCOMPLETE)}, without("access-request")),
    "the receipts left out": ({(6, INCOMPLETE)}, without("receipt")),
    "the acknowledgements left out": ({(6, INCOMPLETE)}, without("receipt-ack")),
    "the entry that puts it into force withheld": ({(7, INCOMPLETE)}, sign_withheld),
    "a consumer's key that had been revoked": (
        {(6, INVALID)}, notice(lambda deal: deal.revoke(deal.zj, deal.consumer_key, START)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("expected, edit", EDITS.values(), ids=EDITS.keys())
def test_an_edit_is_found_by_its_check(expected, edit):
    deal = Deal(reads=(5,))
    result = examine(deal, edit(deal, deal.contents()))
    assert outcome(result) == expected, result.findings
    assert result.verdict == (INVALID if INVALID in {verdict for _, verdict in expected} else INCOMPLETE)


def test_the_negotiation_belongs_to_the_chain():
    deal = Deal(reads=())
    assert examine(deal, negotiation_left_out(deal, deal.contents())).verdict != "VERIFIED"


def test_a_venue_cannot_end_the_key_of_another():
    deal = Deal(reads=(5,))
    deal.revoke(deal.gz, deal.consumer_key, START)
    assert examine(deal).verdict == "VERIFIED"


def test_a_later_revocation_does_not_touch_what_was_sealed_before():
    deal = Deal(reads=(5,))
    deal.revoke(deal.zj, deal.consumer_key, clock.shift(START, 86400))
    assert examine(deal).verdict == "VERIFIED"


def test_signing_keys_of_one_agreement_may_not_be_used_by_a_request_of_somebody_else():
    deal = Deal(reads=(5,), lies={"request": {"consumer": "spiffe://zj.example/participant/other"}})
    assert (8, INVALID) in outcome(examine(deal))


# --- attacks of the requirements


@pytest.mark.parametrize(
    "lies", [{"never signed": {}}, {"agreement": {"sign_by": clock.shift(START, 13)}}], ids=["never", "too late"]
)
def test_x4_two_signatures_without_the_entry_in_time_put_nothing_into_force(lies):
    result = examine(Deal(lies=lies, reads=(5,)))
    assert {step for step, _ in outcome(result)} == {7}
    assert result.verdict != "VERIFIED"


def test_x5_a_forged_universe_is_consistent_and_unanchored():
    """Every key is the forger's: all checks hold but the one that asks who vouches for them."""
    forged = Deal(quorum=True)
    for anchors in ({}, Deal(quorum=True).anchors):
        result = verify_bundle(forged.file(), anchors)
        assert result.verdict == "UNANCHORED"
        assert {verdict for _, verdict in outcome(result)} == {"UNANCHORED"}
        assert {one.domain: one.value for one in result.relied_on}.items() <= forged.anchors.items()


@pytest.mark.parametrize("where", [(GZ,), (ZJ,), (GZ, ZJ)], ids=["provider", "carrier", "both"])
def test_l17_x7_a_delivery_left_out_of_a_log_is_named(where):
    result = examine(Deal(reads=(5,), lies={"skip": dict.fromkeys(where, ("delivery.complete",))}))
    assert outcome(result) == {(11, INCOMPLETE)}
    assert any("receipt" in finding.message for finding in result.findings)


def test_x7_a_read_that_no_log_knows_is_named_where_its_documents_are_here():
    both = ("delivery.complete", "clearing.meter", "access.decide", "access.request")
    result = examine(Deal(reads=(5,), lies={"skip": dict.fromkeys((GZ, ZJ), both)}))
    assert outcome(result) == {(11, INCOMPLETE)}
    assert {finding.message.split()[0] for finding in result.findings} == {"access-request", "receipt", "receipt-ack"}


def test_x7_a_decision_that_the_provider_never_logged_is_named():
    result = examine(Deal(reads=(5,), lies={"skip": {GZ: ("access.decide",)}}))
    assert {step for step, _ in outcome(result)} == {9, 11}


def tail_cut(contents: Contents, *domains: str) -> Contents:
    for domain in domains:
        part = contents.parts[domain]
        last = part.chain[-1].index
        proofs = {i: p for i, p in part.proofs.items() if i != last}
        contents = replace(
            contents, parts={**contents.parts, domain: replace(part, chain=part.chain[:-1], proofs=proofs)}
        )
    return contents


@pytest.mark.parametrize("where", [(GZ,), (ZJ,), (GZ, ZJ)], ids=["provider", "carrier", "both"])
def test_x7_an_entry_left_out_of_a_tail_is_named(where):
    deal = Deal(reads=(5,))
    result = examine(deal, tail_cut(deal.contents(), *where))
    named = {domain for domain in (GZ, ZJ) for f in result.findings if f.step == 5 and domain in f.message}
    assert (result.verdict, named) == (INCOMPLETE, set(where))


def test_x7_two_links_for_one_number_are_two_stories():
    deal = Deal(reads=(5,))
    result = examine(deal, two_entries_of_one_number(deal, deal.contents()))
    assert outcome(result) == {(5, INVALID)}
    assert "two stories" in result.findings[0].message


def test_l15a_an_erased_entry_leaves_the_bundle_verified():
    """Both venues erased what they knew of a read but its documents' entries; chain and proofs hold."""
    deal = Deal(reads=(5,), lies={"deny": {}})
    contents = deal.contents()
    for domain, part in contents.parts.items():
        lines = tuple(
            msgspec.structs.replace(line, salt=None, statement=None)
            if any(event in (line.statement or "") for event in ("access.deny", "grant."))
            else line
            for line in part.chain
        )
        contents = replace(contents, parts={**contents.parts, domain: replace(part, chain=lines)})
    result = examine(deal, contents)
    assert (result.verdict, result.withheld) == ("VERIFIED", 5)


def test_every_check_has_a_bundle_that_fails_there_and_nowhere_before():
    """Step 2 besides by anchors, 12 and 13 by the tests above, 14 only prints."""
    first = [step for step, _, _ in LIES.values()] + [min(expected)[0] for expected, _ in EDITS.values()]
    assert set(first) | {12, 13, 14} == set(range(1, 15))
