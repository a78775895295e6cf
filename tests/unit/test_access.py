"""Requests and receipts over several agreements: one spelling, and the same bytes as ever where there is one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from trustnode.core.access import (
    MAX_JOINED,
    AccessRequest,
    DecisionLink,
    Named,
    Receipt,
    Share,
    joined_id,
)
from trustnode.core.document import Uuid, canonical, decode, seal
from trustnode.errors import TrustnodeError

ID = "0b6f3f0e-6c1b-4b52-9a3e-0d3f5a4b7c11"
FIELDS: dict[str, Any] = {
    "suite": "tn1", "id": ID, "iss": "spiffe://a.example/participant/acme", "aud": ("b.example",),
    "time": "2026-01-02T03:04:05.000Z", "expires": "2026-01-02T03:09:05.000Z",
}  # fmt: skip


def named(letter: str) -> Named:
    return Named(f"agreement-{letter}", letter * 64)


def request(*joined: Named) -> AccessRequest:
    return AccessRequest(
        **FIELDS, agreement="agreement-b", agreement_sha256="b" * 64, consumer=FIELDS["iss"], home="a.example",
        provider="b.example", purpose="statistics", operation="read", query_commitment="0" * 64,
        request_proof="SIGNED", joined=joined,
    )  # fmt: skip


def test_a_request_under_one_agreement_has_the_bytes_it_always_had():
    assert b"joined" not in canonical(request())
    assert request().agreements == (named("b"),)
    assert request().id_under("agreement-b") == ID


@pytest.mark.parametrize("letters", ["ca", "aa", "b", "abc", "acc"])
def test_a_set_of_agreements_has_one_spelling(letters):
    with pytest.raises(TrustnodeError, match="named once each, in order"):
        request(*map(named, letters))
    honest = msgspec.json.decode(canonical(request(named("a"), named("c"))))
    honest["joined"] = [{"agreement": f"agreement-{x}", "agreement_sha256": x * 64} for x in letters]
    document = seal(request())
    with pytest.raises(TrustnodeError):
        decode(msgspec.structs.replace(document, payload=msgspec.json.encode(honest)), AccessRequest)


def test_no_more_agreements_than_eight():
    many = tuple(Named(f"agreement-c{i}", "c" * 64) for i in range(MAX_JOINED + 1))
    document = seal(request(*many))
    with pytest.raises(TrustnodeError):
        decode(document, AccessRequest)
    assert decode(seal(request(*many[1:])), AccessRequest).joined == many[1:]


def test_the_access_has_another_id_under_each_joined_agreement_and_everybody_computes_the_same():
    value = request(named("a"), named("c"))
    ids = [value.id_under(one.agreement) for one in value.agreements]
    assert ids == [ID, joined_id(ID, "agreement-a"), joined_id(ID, "agreement-c")]
    assert len(set(ids)) == 3
    assert [msgspec.convert(id, Uuid) for id in ids] == ids


def test_a_receipt_says_what_the_access_is_and_costs_under_each():
    share = Share(
        agreement="agreement-c", agreement_sha256="c" * 64, policy_sha256="2" * 64, decision=DecisionLink(9, "9" * 64),
        cost_fen=40,
    )  # fmt: skip
    receipt = Receipt(
        **FIELDS | {"iss": "b.example"}, access=ID, request_sha256="1" * 64, agreement="agreement-b",
        agreement_sha256="b" * 64, policy_sha256="1" * 64, decision=DecisionLink(3, "3" * 64), plan_commitment="0" * 64,
        outcome="COMPLETE", frames=1, rows=2, bytes=3, stream_salt="0" * 32, stream_commitment="0" * 64, meter=(),
        cost_fen=2, started=FIELDS["time"], ended=FIELDS["time"], joined=(share,),
    )  # fmt: skip
    assert receipt.agreements == (named("b"), named("c"))
    assert (receipt.under("agreement-c"), receipt.under("agreement-a")) == (share, None)
    assert receipt.under("agreement-b").decision == DecisionLink(3, "3" * 64)
    assert receipt.total_fen == 42
    whole = msgspec.structs.replace(receipt, joined=(share,) * MAX_JOINED)
    assert len(canonical(whole)) < Receipt.max_bytes
