"""What crosses a border when everybody is honest: finding, contracting, reading, acknowledging, proving."""

from __future__ import annotations

import pytest
from federation.world import (
    BIG_ROWS,
    DATA,
    HOME,
    AccessState,
    AgreementState,
    NegotiationState,
    receipt_in,
    until,
)

from trustnode import aio
from trustnode.core.identity import fingerprint
from trustnode.core.participant import ParticipantState
from trustnode.core.peering import PeeringState
from trustnode.errors import PolicyDenied, TrustnodeError

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_both_venues_hold_the_same_peer_agreement_with_both_signatures(world) -> None:
    ours, theirs = await world.state(HOME, PeeringState, DATA), await world.state(DATA, PeeringState, HOME)
    assert (ours.state, theirs.state, ours.document) == ("APPROVED", "APPROVED", theirs.document)
    for domain in (HOME, DATA):
        document = await world[domain].venue.store.read(lambda view: view.document(ours.document))
        assert len(document.signatures) == 2


async def test_an_invitation_opens_enrolment_once_and_the_key_document_carries_both_signatures(world) -> None:
    acme = world.clients["acme"].profile
    state = await world.state(HOME, ParticipantState, acme.participant)
    assert (state.state, state.custody, len(acme.key_document.signatures)) == ("ENROLLED", "HELD", 2)

    with pytest.raises(TrustnodeError) as refused:
        await aio.join(
            world.folder / f"{HOME}-acme.invite", fingerprint(world.card(HOME)), folder=world.folder / "again"
        )
    assert refused.value.reason == "IDENTITY_UNKNOWN"


async def test_a_product_is_found_over_one_hop_and_over_two_with_its_path(world) -> None:
    acme, far = world.clients["acme"], world.clients["far"]
    await world.found(acme, f"{DATA}/small")
    await world.found(far, f"{DATA}/small")
    near = next(hit for hit in await acme.search("small") if hit.record.product == f"{DATA}/small")
    hop = next(hit for hit in await far.search("港口记录small") if hit.record.product == f"{DATA}/small")
    assert (near.origin, hop.origin) == (DATA, DATA)
    assert (near.path, hop.path) == ((), (HOME,))
    assert near.record.listing == hop.record.listing


async def test_under_a_mandate_an_agreement_is_in_force_at_both_nodes_and_both_chains_say_so(world) -> None:
    agreement = await world.agree(world.clients["acme"], f"{DATA}/small", "open")
    for domain in (HOME, DATA):
        state = await world.in_state(domain, AgreementState, agreement.id, "PERFORMING")
        assert state.document == agreement.document.digest
        events = [entry.type for entry in await world.entries(domain, "agreement", agreement.id)]
        assert events[0] == "contract.sign"
    ours = (await world.entries(HOME, "agreement", agreement.id))[0]
    theirs = (await world.entries(DATA, "agreement", agreement.id))[0]
    assert ours.documents == theirs.documents


async def test_a_purpose_that_the_offer_does_not_allow_is_refused_when_it_is_asked_for(world) -> None:
    for offer in ("open", "asked"):
        with pytest.raises(TrustnodeError) as caught:
            await world.clients["acme"].negotiate(f"{DATA}/small", offer=offer, purpose="marketing")
        assert caught.value.reason == "PURPOSE_NOT_AGREED"


async def test_an_offer_with_approval_waits_for_the_provider_and_then_for_the_consumer(world) -> None:
    acme, bureau = world.clients["acme"], world.clients["bureau"]
    under_way = await acme.negotiate(f"{DATA}/small", offer="asked")
    await world.in_state(DATA, NegotiationState, under_way.id, "REQUESTED")
    waiting = await _in_inbox(bureau, under_way.id)
    await waiting.accept()
    agreement = await under_way.wait(20)
    assert (await world.in_state(DATA, AgreementState, agreement.id, "PERFORMING")).state == "PERFORMING"
    assert agreement.value.mandate is None
    assert len(agreement.document.signatures) == 2


async def _in_inbox(client, negotiation):
    async def there() -> bool:
        return any(one.id == negotiation for one in await client.inbox())

    await until(there)
    return next(one for one in await client.inbox() if one.id == negotiation)


async def test_a_counter_offer_is_accepted_and_its_terms_hold(world) -> None:
    acme, bureau = world.clients["acme"], world.clients["bureau"]
    under_way = await acme.negotiate(f"{DATA}/small", offer="asked")
    terms = {
        "purposes": ["statistics"], "who": "anyone", "period": "12 months", "columns": ["id"], "keep": "unlimited",
        "onward": "allowed", "derived": "free",
    }  # fmt: skip
    waiting = await _in_inbox(bureau, under_way.id)
    await waiting.counter(terms, price="free")
    await world.in_state(HOME, NegotiationState, under_way.id, "OFFERED")
    await (await under_way.refresh()).accept()
    await world.in_state(DATA, NegotiationState, under_way.id, "ACCEPTED")
    await (await _in_inbox(bureau, under_way.id)).accept()
    agreement = await under_way.wait(20)
    table = await agreement.sql("select * from t limit 3").to_arrow()
    assert table.column_names == ["id"]


async def test_a_withdrawn_negotiation_ends_at_both_nodes_and_the_other_side_reads_why(world) -> None:
    acme, bureau = world.clients["acme"], world.clients["bureau"]
    under_way = await acme.negotiate(f"{DATA}/small", offer="asked")
    await world.in_state(DATA, NegotiationState, under_way.id, "REQUESTED")
    await under_way.withdraw("changed our mind")
    await world.in_state(DATA, NegotiationState, under_way.id, "TERMINATED")
    theirs = await bureau.negotiation(under_way.id)
    assert theirs.reason == "changed our mind"
    with pytest.raises(PolicyDenied):
        await under_way.advance(0)


async def test_a_provider_that_refuses_ends_the_negotiation_and_says_why(world) -> None:
    acme, bureau = world.clients["acme"], world.clients["bureau"]
    under_way = await acme.negotiate(f"{DATA}/small", offer="asked")
    await (await _in_inbox(bureau, under_way.id)).refuse("not this year")
    with pytest.raises(PolicyDenied, match="not this year"):
        await under_way.wait(20)


@pytest.mark.parametrize(
    "sql,rows",
    [
        pytest.param("select grp, count(*) n from t group by grp", 7, id="small"),
        pytest.param("select id from t", 1000, id="stream"),
    ],
)
async def test_a_brokered_read_leaves_matching_evidence_at_both_nodes(world, sql, rows) -> None:
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/small", "open")
    table = agreement.sql(sql)
    assert (await table.to_arrow()).num_rows == rows
    await acme.acks.flush(agreement.id)
    ours = await world.in_state(HOME, AccessState, table.access, "DELIVERED")
    theirs = await world.in_state(DATA, AccessState, table.access, "DELIVERED")
    assert (ours.rows, ours.frames, ours.stream_commitment) == (theirs.rows, theirs.frames, theirs.stream_commitment)
    assert ours.receipt == theirs.receipt == table.receipt_document.digest

    async def acknowledged() -> bool:
        row = await world.state(DATA, AccessState, table.access)
        return (row.carrier_ack, row.participant_ack) == ("EQUAL", "EQUAL")

    await until(acknowledged)
    chain = await world.entries(DATA, "agreement", agreement.id)
    mine = [entry.type for entry in chain if entry.access_id == table.access]
    assert mine[:2] == ["access.decide", "delivery.complete"]
    assert mine.count("clearing.meter") == 2
    decision = table.receipt.decision
    assert (decision.seq, decision.link) == (theirs.decision_seq, theirs.decision_link)
    chain = await world.entries(HOME, "agreement", agreement.id)
    mine = [entry.type for entry in chain if entry.access_id == table.access]
    assert mine[:2] == ["access.request", "delivery.complete"]


async def test_two_parties_of_one_venue_contract_and_read_without_another_node(world) -> None:
    local = world.clients["local"]
    agreement = await local.negotiate(f"{DATA}/small", offer="open")
    table = agreement.sql("select id from t where id < 10")
    assert (await table.to_arrow()).num_rows == 10
    await local.acks.flush(agreement.id)
    state = await world.in_state(DATA, AccessState, table.access, "DELIVERED")
    assert (state.consumer_node, state.provider_node) == (DATA, DATA)

    async def acknowledged() -> bool:
        return (await world.state(DATA, AccessState, table.access)).participant_ack == "EQUAL"

    await until(acknowledged)


async def test_a_stream_larger_than_two_windows_is_acknowledged_on_its_way(world) -> None:
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/big")
    reader = agreement.reader("select * from t")
    assert sum([batch.num_rows async for batch in reader]) == BIG_ROWS
    state = await world.in_state(DATA, AccessState, reader.access, "DELIVERED")
    assert state.acked_rows >= 100_000
    receipt = await world[HOME].venue.store.read(lambda view: receipt_in(view, reader.access))
    assert receipt == reader.receipt
    # On a machine with more to do than it can, a connection may break on the way: the read goes on in a further access.
    assert sum(one.rows for one in reader.receipts) == BIG_ROWS
