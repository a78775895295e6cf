"""Erasing what entries say: the bytes are gone, the proofs and the bundles stay."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from federation.world import DATA, HOME

from trustnode import aio
from trustnode.app import evidence
from trustnode.core.contract import Act, AgreementState
from trustnode.core.document import PAYLOADS, payload_type
from trustnode.core.evidence import tree
from trustnode.core.evidence.bundle import unpack
from trustnode.core.evidence.entry import parse_statement
from trustnode.core.evidence.erasure import LASTING, LASTING_DOCUMENTS, Erasure
from trustnode.core.evidence.events import EVENTS
from trustnode.core.evidence.verify import verify_bundle
from trustnode.core.participant import ParticipantState
from trustnode.errors import TrustnodeError
from trustnode.store.check import check_store

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def erase(world: Any, domain: str, **about: Any) -> None:
    """What ``trustnode evidence erase`` sends."""
    statement = {"type": "erasure", "aud": ["*"], "reason": "ORDER", "authority": "court of Guiyang, 2026-17", **about}
    async with aio.operator(world.folder / domain) as operator:
        await operator.issue(payload_type(Erasure), json.dumps(statement).encode())


async def refused(world: Any, domain: str, **about: Any) -> str:
    with pytest.raises(TrustnodeError) as caught:
        await erase(world, domain, **about)
    return caught.value.reason


async def chain(world: Any, domain: str, kind: str, id: str) -> list[Any]:
    found: list[Any] = await world[domain].venue.store.read(lambda view: view.evidence.chain(kind, id))
    return found


async def index_of(world: Any, domain: str, agreement: str, event: str) -> int:
    entries = await chain(world, domain, "agreement", agreement)
    return next(one.index for one in entries if one.statement and parse_statement(one.statement).type == event)


async def denied(world: Any) -> Any:
    agreement = await world.agree(world.clients["acme"], f"{DATA}/small", "open")
    await agreement.sql("select id from t limit 3").to_arrow()
    with pytest.raises(TrustnodeError):
        await agreement.sql("select id from t", purpose="marketing").to_arrow()
    return agreement


async def findings(world: Any, agreement: str) -> tuple[set[tuple[str, int]], bytes]:
    node = world[DATA]
    data = await evidence.bundle(node.venue, node.publisher, node.venue.self_sender, agreement)
    result = await asyncio.to_thread(verify_bundle, data)
    return {(one.verdict, one.step) for one in result.findings}, data


async def test_l15a_an_erased_entry_leaves_the_disk_and_every_proof_and_bundle_stays(world) -> None:
    agreement = await denied(world)
    store = world[DATA].venue.store
    index = await index_of(world, DATA, agreement.id, "access.deny")
    before, _ = await findings(world, agreement.id)
    entry = await store.read(lambda view: view.evidence.entry(index))
    event = parse_statement(entry.statement).event_id.encode()
    assert await asyncio.to_thread(store.holds, [entry.salt])
    await erase(world, DATA, entries=[index])

    assert not await asyncio.to_thread(store.holds, [entry.salt, event, entry.statement])
    left = await store.read(lambda view: view.evidence.entry(index))
    assert (left.salt, left.statement) == (None, None)
    assert (left.data, left.commitment) == (entry.data, entry.commitment)
    size = store.head().size
    path, root = await store.read(lambda view: (view.evidence.inclusion(index, size), view.evidence.root(size)))
    tree.verify_inclusion(index, tree.leaf_hash(left.data), path, tree.TreeHead(size, root))
    after, data = await findings(world, agreement.id)
    assert after == before
    lines = {line.index: line for line in unpack(data).parts[DATA].chain}
    assert (lines[index].statement, lines[index].salt) == (None, None)
    gap = (await world.entries(DATA, "node", DATA))[-1]
    assert (gap.type, gap.amount, gap.unit, gap.stage) == ("log.erase", index, "entry", "DELETION")
    act = await store.read(lambda view: view.document(gap.documents[0]))
    assert (b"court of Guiyang" in act.payload, b'"reason":"ORDER"' in act.payload) == (True, True)
    assert await asyncio.to_thread(check_store, store.path) == []


async def test_what_a_running_deal_or_its_bundle_stands_on_stays(world) -> None:
    agreement = await denied(world)
    for event in ("contract.activate", "contract.sign", "access.decide", "delivery.complete"):
        index = await index_of(world, DATA, agreement.id, event)
        assert await refused(world, DATA, entries=[index]) == "ILLEGAL_TRANSITION"
    denial = await index_of(world, DATA, agreement.id, "access.deny")
    assert await refused(world, DATA, entries=[denial], reason="BECAUSE") == "VOCABULARY_UNKNOWN"
    assert await refused(world, DATA) == "FIELD_MISSING"
    assert await refused(world, DATA, entries=[denial], object_kind="agreement", object="C1") == "FIELD_MISSING"
    assert await refused(world, DATA, entries=[10**9]) == "NOT_FOUND"
    await erase(world, DATA, entries=[denial])
    assert await refused(world, DATA, entries=[denial]) == "NOT_FOUND"
    gap = (await chain(world, DATA, "node", DATA))[-1].index
    assert await refused(world, DATA, entries=[gap]) == "ILLEGAL_TRANSITION"
    state = await world.state(DATA, AgreementState, agreement.id)
    assert state.state == "PERFORMING"


async def test_an_erasure_takes_no_agreement_receipt_act_or_key_in_use_along(world) -> None:
    """One person with the socket would make every bundle of a deal incomplete, or his own act disappear."""
    agreement = await denied(world)
    denial = await index_of(world, DATA, agreement.id, "access.deny")
    receipt = next(one for one in reversed(await chain(world, DATA, "agreement", agreement.id)) if one.statement
                   and parse_statement(one.statement).type == "delivery.complete")  # fmt: skip
    card = world[DATA].venue.keyring.cards[DATA].digest
    key = world.clients["bureau"].profile.key_document.digest
    for digest in (agreement.document.digest, *parse_statement(receipt.statement).documents, card, key):
        assert await refused(world, DATA, entries=[denial], documents=[digest]) == "ILLEGAL_TRANSITION"
        assert await world[DATA].venue.store.read(lambda view, digest=digest: view.document(digest)) is not None
    await erase(world, DATA, entries=[denial])


async def test_only_the_operator_erases(world) -> None:
    acme = world.clients["acme"].profile
    signed = acme.sign(Erasure(entries=(0,), reason="ORDER", authority="myself", **acme.fields(HOME)))
    with pytest.raises(TrustnodeError) as caught:
        await world.clients["acme"].submit(signed, [acme.key_document])
    assert caught.value.reason == "ROLE_NOT_ALLOWED"


async def test_whoever_left_is_erased_with_the_documents_that_name_them(world) -> None:
    client = await world.join(HOME, "zhangsan", "CONSUMER")
    venue = world[HOME].venue
    who, key = client.profile.participant, client.profile.key_document
    assert (await world.state(HOME, ParticipantState, who)).title
    assert await refused(world, HOME, object_kind="participant", object=who) == "ILLEGAL_TRANSITION"
    left = {"type": "act", "machine": "participant", "object": who, "event": "revoke", "reason": "left", "aud": ["*"]}
    async with aio.operator(world.folder / HOME) as operator:
        await operator.issue(payload_type(Act), json.dumps(left).encode())
    await erase(world, HOME, object_kind="participant", object=who, documents=[key.digest], reason="PURPOSE_REACHED")
    assert (await world.state(HOME, ParticipantState, who)).title == ""
    assert all(one.statement is None for one in await chain(world, HOME, "participant", who))
    held = await venue.store.read(lambda view: view.document(key.digest))
    assert held is None
    assert await asyncio.to_thread(check_store, venue.store.path) == []


async def test_lasting_events_exist() -> None:
    assert set(LASTING) <= set(EVENTS)
    assert set(LASTING_DOCUMENTS) <= set(PAYLOADS)
