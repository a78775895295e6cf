"""Misuse of the protocol between honest-looking parties: what is old, early, twice, withdrawn, oversized or nearly right."""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from typing import Any

import msgspec
import pytest
from federation.world import (
    DATA,
    FAR,
    HOME,
    AccessState,
    AgreementState,
    NegotiationState,
    product_text,
    receipt_in,
    ticket,
    until,
)
from google.protobuf.message import Message

from trustnode.app import catalog
from trustnode.core import clock
from trustnode.core.access import AccessRequest, AckItem, ReceiptAck
from trustnode.core.catalog import CatalogEntry, CatalogRecord, ListingState, Registration
from trustnode.core.contract import Act, Delegation, NegotiationMessage, Offer
from trustnode.core.document import Document, Signer, decode, seal
from trustnode.core.participant import domain_of
from trustnode.core.peering import PeeringState
from trustnode.errors import TrustnodeError
from trustnode.keys import FileSigner
from trustnode.v1 import document_pb2
from trustnode.wire.convert import document_from_proto, document_to_proto, new_ticket

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def refused(awaitable: Any) -> TrustnodeError:
    with pytest.raises(TrustnodeError) as caught:
        await awaitable
    return caught.value


async def outcome(awaitable: Any) -> str:
    """The reason of a refusal; empty where there was none."""
    try:
        await awaitable
    except TrustnodeError as refusal:
        return refusal.reason
    return ""


async def used(world: Any, agreement: Any) -> int:
    """What the counters of an agreement have used at the node that counts."""
    policy = world[DATA].venue.policies.load(agreement.value.policy)
    names = [f"{agreement.id}/{counter.name}" for counter in policy.counters]
    rows = await world[DATA].venue.store.read(lambda view: [view.counter(name) for name in names])
    return sum(row.used for row in rows if row is not None)


# --- requests


async def test_p1c_p2b_one_request_sent_eight_times_at_once_is_one_access(world) -> None:
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/small", "few")
    raw = ticket(acme, agreement).raw
    liar = world.node_caller(HOME, DATA)
    answers = await asyncio.gather(*(outcome(liar.read(raw, timeout_s=20)) for _ in range(8)))
    await liar.channel.aclose()
    assert answers.count("") == 1
    assert set(answers) <= {"", "REPLAYED", "BUSY"}
    chain = await world.entries(DATA, "agreement", agreement.id)
    assert sum(entry.type == "access.decide" for entry in chain) == 1
    assert await used(world, agreement) == 1


@pytest.mark.parametrize(
    "made,lives,changes,reason",
    [
        pytest.param(-700, 300, {}, "TIME_SKEW", id="stale"),
        pytest.param(120, 300, {}, "TIME_SKEW", id="not yet valid"),
        pytest.param(0, 3600, {}, "FIELD_FORMAT", id="valid for too long"),
        pytest.param(0, None, {}, "FIELD_FORMAT", id="valid for ever"),
        pytest.param(0, 300, {"agreement": "C" + "0" * 46}, "NOT_FOUND", id="another agreement"),
        pytest.param(0, 300, {"consumer": f"spiffe://{HOME}/participant/other"}, "SIGNATURE_INVALID", id="in another name"),
    ],
)  # fmt: skip
async def test_p2a_a_ticket_outside_its_time_or_its_deal_is_refused(world, made, lives, changes, reason) -> None:
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/small", "open")
    now = clock.shift(acme.profile.fields(DATA)["time"], made)
    times = {"time": now, "expires": clock.shift(now, lives) if lives else None}
    fields = {**changes, **({"iss": changes["consumer"]} if "consumer" in changes else {})}
    liar = world.node_caller(HOME, DATA)
    failure = await refused(liar.read(ticket(acme, agreement, **times, **fields).raw, timeout_s=10))
    await liar.channel.aclose()
    assert failure.reason == reason


async def test_p2a_a_ticket_for_the_ears_of_another_venue_is_not_carried_out(world) -> None:
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/small", "open")
    liar = world.node_caller(HOME, DATA)
    failure = await refused(liar.read(ticket(acme, agreement, aud=(FAR,)).raw, timeout_s=10))
    await liar.channel.aclose()
    assert failure.reason == "IDENTITY_WRONG_DOMAIN"


async def test_p3d_a_request_gets_what_was_agreed_whatever_it_asks_for(world) -> None:
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/small", "rows")
    table = await agreement.sql("select * from t").to_arrow()
    assert table.column_names == ["id", "grp"]
    wide = ticket(acme, agreement, "select * from t", operation="copy-without-limits")
    assert await outcome(acme.connection.home.read(wide.raw, timeout_s=10)) != ""
    assert await used(world, agreement) == table.num_rows


# --- offers


async def open_offer(world: Any, product: str = f"{DATA}/small") -> tuple[Any, Document]:
    entry = await world[DATA].venue.store.read(lambda view: catalog.entry_of(view, product))
    offers = await world[DATA].venue.store.read(lambda view: catalog.offers_of(view, entry))
    return entry, next(one for one in offers if decode(one, Offer).name == "open")


async def asks(world: Any, offer: Document, listing: str, signer: Signer | None = None) -> tuple[str, str]:
    """A contract request under an offer, straight to the provider's node; the negotiation and the reason of a refusal."""
    acme, value = world.clients["acme"].profile, decode(offer, Offer)
    message = NegotiationMessage(
        negotiation=str(uuid.uuid4()), number=1, message="ContractRequestMessage", offer_sha256=offer.digest,
        counterpart=value.provider, purpose="statistics", listing=listing,
        **acme.fields(domain_of(acme.participant), domain_of(value.provider)),
    )  # fmt: skip
    liar = world.node_caller(HOME, DATA)
    signed = seal(message, signer or acme.signer)
    reason = await outcome(liar.deliver(str(uuid.uuid4()), signed, [acme.key_document, offer], timeout_s=10))
    await liar.channel.aclose()
    return message.negotiation, reason


async def test_p3a_an_offer_nobody_signed_or_somebody_changed_opens_no_negotiation(world) -> None:
    entry, offer = await open_offer(world)
    value = decode(offer, Offer)
    cheaper = msgspec.structs.replace(value, valid_until=clock.shift(value.valid_until, 86400))
    for forged in (seal(cheaper, FileSigner.generate()), seal(cheaper, world.clients["acme"].profile.signer)):
        negotiation, reason = await asks(world, forged, entry.id)
        assert reason in ("SIGNATURE_INVALID", "NOT_LISTED", "OFFER_WITHDRAWN", "HASH_MISMATCH")
        assert await world.state(DATA, NegotiationState, negotiation) is None


async def test_p3a_a_withdrawn_offer_opens_no_negotiation(world) -> None:
    bureau = world.clients["bureau"]
    await world.publish(bureau, product_text("brief", ("open",)), "brief")
    await world.found(bureau, f"{DATA}/brief")
    await world.found(world.clients["acme"], f"{DATA}/brief")
    entry, offer = await open_offer(world, f"{DATA}/brief")
    negotiation, reason = await asks(world, offer, entry.id)
    assert reason == ""
    await world.in_state(DATA, NegotiationState, negotiation, "AGREED", "VERIFIED", "FINALIZED")
    listing = await world[DATA].venue.store.read(lambda view: view.find(ListingState, product=f"{DATA}/brief")[0])
    act = Act(
        machine="listing", object=listing.id, event="request_delist", reason="sold out", **bureau.profile.fields(DATA)
    )
    await bureau.submit(bureau.profile.sign(act))
    await world.in_state(DATA, ListingState, listing.id, "DELISTED")
    negotiation, reason = await asks(world, offer, entry.id)
    assert reason != ""
    assert await world.state(DATA, NegotiationState, negotiation) is None


# --- revocation against access


async def test_p3b_no_read_begins_after_a_suspension_was_acknowledged(world) -> None:
    acme, bureau = world.clients["acme"], world.clients["bureau"]
    agreement = await world.agree(acme, f"{DATA}/small", "open")
    held = await bureau.agreement(agreement.id)
    liar = world.node_caller(HOME, DATA)
    for _ in range(12):
        racing = [
            asyncio.ensure_future(outcome(liar.read(ticket(acme, agreement).raw, timeout_s=20))) for _ in range(4)
        ]
        await held.suspend("a race")
        assert await outcome(liar.read(ticket(acme, agreement).raw, timeout_s=20)) == "GRANT_INVALID"
        assert set(await asyncio.gather(*racing)) <= {"", "GRANT_INVALID", "BUSY"}
        await held.resume("the race is over")
        await world.in_state(DATA, AgreementState, agreement.id, "PERFORMING")
    await liar.channel.aclose()
    chain = await world.entries(DATA, "agreement", agreement.id)
    stopped = False
    for entry in chain:
        stopped = entry.type == "contract.suspend" or (stopped and entry.type != "contract.resume")
        assert not (stopped and entry.type == "access.decide")


# --- settlement


class Delivered:
    """One read that reached HOME, whose node has said nothing of it yet."""

    def __init__(self, world: Any, agreement: Any, access: str, receipt: Any) -> None:
        self.world, self.agreement, self.access, self.receipt = world, agreement, access, receipt

    def acknowledgement(self, *, by: str = "CARRIER", **changes: Any) -> ReceiptAck:
        counted = self.receipt
        fields: dict[str, Any] = {
            "access": self.access, "frames": counted.frames, "rows": counted.rows, "bytes": counted.bytes,
            "stream_commitment": counted.stream_commitment, "verdict": "EQUAL", "final": True,
        }  # fmt: skip
        return ReceiptAck(by=by, items=(AckItem(**(fields | changes)),), **self.world[HOME].venue.fields(HOME, DATA))

    async def acknowledge(self, *, of: str = HOME, signer: Signer | None = None, **changes: Any) -> str:
        """Hand one in at DATA as the node of a venue; the reason of a refusal."""
        liar = self.world.node_caller(of, DATA)
        signed = seal(self.acknowledgement(**changes), signer or self.world[of].venue.evidence)
        reason = await outcome(liar.deliver(str(uuid.uuid4()), signed, timeout_s=10))
        await liar.channel.aclose()
        return reason

    async def state(self) -> Any:
        return await self.world.state(DATA, AccessState, self.access)

    async def metered(self) -> int:
        chain = await self.world.entries(DATA, "agreement", self.agreement.id)
        return sum(entry.type == "clearing.meter" and entry.access_id == self.access for entry in chain)


async def delivered(world: Any, offer: str) -> Delivered:
    """Read as a home node would that forgets to acknowledge."""
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/priced", offer)
    one = ticket(acme, agreement, "select id from t limit 10")
    liar = world.node_caller(HOME, DATA)
    await liar.read(one.raw, timeout_s=10)
    await liar.channel.aclose()
    access = decode(one.request, AccessRequest).id
    receipt = await world[DATA].venue.store.read(lambda view: receipt_in(view, access))
    return Delivered(world, agreement, access, receipt)


async def published(world: Any) -> None:
    text = product_text("priced", ("open",)).replace('price = "free"', 'price = "0.02 CNY per row"')
    await world.publish(world.clients["bureau"], text, "priced")


async def test_p6b_an_acknowledgement_counts_once_in_any_order_and_never_backwards(world) -> None:
    await published(world)
    one = await delivered(world, "open")
    assert await one.acknowledge(final=False, frames=1, rows=8, bytes=80) == ""
    assert await one.acknowledge(final=False, frames=1, rows=3, bytes=30) == ""
    assert (await one.state()).acked_rows == 8
    assert await one.acknowledge() == ""
    assert await one.acknowledge() == ""
    assert await one.acknowledge(verdict="LESS", rows=1) == ""
    state = await one.state()
    assert (state.state, state.carrier_ack, state.cost_fen) == ("DELIVERED", "EQUAL", 20)
    assert await one.metered() == 1


async def test_p6b_an_acknowledgement_of_somebody_else_is_not_heard(world) -> None:
    one = await delivered(world, "open")
    acme = world.clients["acme"].profile
    assert await one.acknowledge(of=FAR) != ""
    assert await one.acknowledge(by="PARTICIPANT") != ""
    assert await one.acknowledge(signer=acme.signer) == "SIGNATURE_INVALID"
    assert ((await one.state()).carrier_ack, await one.metered()) == ("", 0)


@pytest.mark.parametrize("verdict", ["EQUAL", "LESS", "DIFFERENT"])
async def test_x8_of_two_numbers_the_smaller_is_billed_and_the_difference_is_a_dispute(world, verdict) -> None:
    one = await delivered(world, "open")
    assert await one.acknowledge(verdict=verdict, rows=4) == ""
    state = await one.state()
    assert (state.state, state.cause, state.cost_fen, state.rows) == ("ABORTED", "OBJECTION_OPEN", 8, 10)
    chain = await world.entries(DATA, "agreement", one.agreement.id)
    assert [entry.type for entry in chain][-1] == "clearing.dispute"


async def test_x8_a_larger_number_than_the_receipt_earns_nothing(world) -> None:
    one = await delivered(world, "open")
    assert await one.acknowledge(rows=10_000) == ""
    assert (await one.state()).cost_fen == 20


async def test_p6c_x8_who_keeps_silent_about_a_delivery_gets_no_other(world) -> None:
    one = await delivered(world, "open")
    venue = world[DATA].venue

    def long_ago(tx: Any) -> str:
        state = tx.get(AccessState, one.access)
        tx.save(msgspec.structs.replace(state, ended_at=clock.shift(tx.now, -one.agreement.value.ack.term_s - 1)))
        tx.log("agreement", state.agreement, "delivery.complete")
        return state.id

    await venue.store.write(long_ago, event_id="", returns=str)
    acme = world.clients["acme"]
    again = ticket(acme, one.agreement, "select id from t limit 1")
    liar = world.node_caller(HOME, DATA)
    assert await outcome(liar.read(again.raw, timeout_s=10)) == "PRECONDITION_OPEN"
    assert await one.acknowledge() == ""
    assert await outcome(liar.read(ticket(acme, one.agreement).raw, timeout_s=10)) == ""
    await liar.channel.aclose()


# --- what is nearly right


async def test_p7c_unknown_fields_of_a_message_are_no_part_of_what_is_signed(world) -> None:
    acme = world.clients["acme"].profile
    signed = acme.sign(Act(machine="agreement", object="x", event="end", **acme.fields(DATA)))
    honest = document_to_proto(signed).SerializeToString()
    more = bytes([0xFA, 0x07, 0x03]) + b"abc"  # field 127, length-delimited
    for raw in (honest + more, more + honest, honest + bytes([0xF8, 0x07, 0x01])):
        message: Message = document_pb2.Document.FromString(raw)
        read = document_from_proto(message)
        assert (read.digest, read.payload) == (signed.digest, signed.payload)
    twice = document_pb2.Document.FromString(honest + document_pb2.Document(payload=b"{}").SerializeToString())
    assert await outcome(world.clients["acme"].submit(document_from_proto(twice), [acme.key_document])) != ""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("аcme", id="a Cyrillic letter"),
        pytest.param("ac\u0301me", id="a combining accent"),
        pytest.param("ACME", id="capitals"),
        pytest.param("acme ", id="a space"),
        pytest.param("ac\u200bme", id="a space of no width"),
        pytest.param("ac/me", id="a path"),
        pytest.param("acme\n", id="a line feed"),
    ],
)
async def test_p7d_a_name_that_looks_like_anothers_is_nobodys(world, name) -> None:
    failure = await refused(world.join(HOME, name, "CONSUMER"))
    assert failure.reason in ("FIELD_FORMAT", "IDENTIFIER_INVALID")


async def test_x3_a_document_signed_by_a_key_of_another_use_is_refused(world) -> None:
    home, acme = world[HOME], world.clients["acme"].profile
    one = await delivered(world, "open")
    for signer in (home.venue.log_key, home.keys.witness, acme.signer, FileSigner.generate()):
        assert await one.acknowledge(signer=signer) == "SIGNATURE_INVALID"
    entry, offer = await open_offer(world)
    for signer in (home.venue.evidence, home.venue.log_key, FileSigner.generate()):
        _, reason = await asks(world, offer, entry.id, signer)
        assert reason == "SIGNATURE_INVALID"
    assert (await one.state()).carrier_ack == ""


# --- catalogues


async def told(world: Any, origin: str, record: CatalogRecord, supporting: list[Document], *, count: int = 1) -> None:
    """A venue tells HOME some records in its own name, and HOME has read them."""
    venue = world[origin].venue
    records = [
        seal(msgspec.structs.replace(record, id=str(uuid.uuid4()), listing=str(uuid.uuid4())), venue.evidence)
        for _ in range(count)
    ]

    def unit(tx: Any) -> int:
        return [tx.tell("CATALOG", HOME, [one, *supporting], origin=origin) for one in records][-1]

    last = await venue.store.write(unit, event_id="", returns=int)

    async def read() -> bool:
        cursor = await world[HOME].venue.store.read(lambda view: view.setting(f"follow/{origin}/CATALOG"))
        return int(cursor or 0) >= last

    await until(read)


async def listed(world: Any, product: str) -> tuple[CatalogRecord, list[Document]]:
    """The record under which DATA lists a product, and what explains it."""
    venue = world[HOME].venue
    await world.found(world.clients["acme"], product)
    entry = await venue.store.read(lambda view: catalog.entry_of(view, product))
    document = await venue.store.read(lambda view: view.document(entry.document))
    record = decode(document, CatalogRecord)
    return record, await venue.store.read(lambda view: catalog._supporting(view, record))


async def entries_of(world: Any, product: str) -> set[str]:
    """Origins of the listings that HOME has of a product."""
    found = await world[HOME].venue.store.read(lambda view: view.find(CatalogEntry, product=product))
    return {entry.origin for entry in found}


async def test_p10_a_venue_cannot_sell_under_the_name_of_another(world) -> None:
    record, supporting = await listed(world, f"{DATA}/small")
    far = world.clients["far"].profile
    venue = world[FAR].venue
    true = next(decode(one, Registration) for one in supporting if one.name == "registration")
    claim = {"provider": far.participant, **far.fields("*")}
    false = far.sign(msgspec.structs.replace(true, **claim))
    offers = [decode(one, Offer) for one in supporting if one.name == "offer"]
    cheap = far.sign(msgspec.structs.replace(offers[0], **claim))
    lies = {
        "its own registration": ([false, cheap], false.digest, (cheap.digest,)),
        "the true registration": (supporting, record.registration_sha256, record.offers),
        "the true one with its own offer": (
            [*(one for one in supporting if one.name != "offer"), cheap], record.registration_sha256, (cheap.digest,),
        ),
    }  # fmt: skip
    for given, registration, named in lies.values():
        lie = msgspec.structs.replace(record, registration_sha256=registration, offers=named, **venue.fields("*"))
        await told(world, FAR, lie, [*given, far.key_document])
    assert await entries_of(world, f"{DATA}/small") == {DATA}


async def test_p10_a_peer_tells_no_more_listings_than_were_agreed(world) -> None:
    record, supporting = await listed(world, f"{DATA}/small")
    venue = world[HOME].venue
    peering = await world.state(HOME, PeeringState, DATA)
    held = await venue.store.read(lambda view: int(view.setting(f"listings/{DATA}") or 0))

    def limited(most: int) -> Any:
        def unit(tx: Any) -> str:
            tx.save(msgspec.structs.replace(tx.get(PeeringState, DATA), max_listings=most))
            tx.log("peer", DATA, "peer.amend")
            return DATA

        return venue.store.write(unit, event_id="", returns=str)

    await limited(held + 2)
    size = world.size(HOME)
    await told(world, DATA, record, supporting, count=5)
    assert await venue.store.read(lambda view: view.count(CatalogEntry, origin=DATA)) == held + 2
    assert world.size(HOME) - size <= 2
    await limited(peering.max_listings)
    await told(world, DATA, msgspec.structs.replace(record, listing_version=99), supporting)


async def test_p10_an_older_version_of_a_listing_is_not_taken_back(world) -> None:
    record, supporting = await listed(world, f"{DATA}/big")
    venue = world[DATA].venue
    old = seal(msgspec.structs.replace(record, id=str(uuid.uuid4()), state="SUSPENDED"), venue.evidence)
    new = seal(
        msgspec.structs.replace(record, id=str(uuid.uuid4()), listing_version=record.listing_version + 5),
        venue.evidence,
    )

    def unit(tx: Any) -> int:
        return [tx.tell("CATALOG", HOME, [one, *supporting], origin=DATA) for one in (new, old)][-1]

    last = await venue.store.write(unit, event_id="", returns=int)

    async def read() -> bool:
        cursor = await world[HOME].venue.store.read(lambda view: view.setting(f"follow/{DATA}/CATALOG"))
        return int(cursor or 0) >= last

    await until(read)
    entry = await world[HOME].venue.store.read(lambda view: catalog.entry_of(view, f"{DATA}/big"))
    assert (entry.state, entry.document) == ("LISTED", new.digest)


async def test_a_home_venue_cannot_ask_more_often_than_its_participant_let_it(world) -> None:
    """Each further access would stand in both logs, and no bundle of the agreement would verify any more."""
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/small", "open")
    delegation = acme.profile.sign(
        Delegation(
            agreements=((agreement.id, agreement.document.digest),), home=HOME, max_accesses=1,
            **acme.profile.fields(HOME, DATA, life_s=3600),
        )
    )  # fmt: skip
    liar = world.node_caller(HOME, DATA)

    async def asks_again() -> str:
        asked = ticket(
            acme, agreement, signer=world[HOME].venue.evidence, iss=HOME, request_proof="DELEGATED",
            delegation_sha256=delegation.digest,
        )  # fmt: skip
        return await outcome(
            liar.read(
                new_ticket(asked.request, asked.query, asked.query_salt, asked.key_document, delegation).raw,
                timeout_s=20,
            )
        )

    assert await asks_again() == ""
    assert await asks_again() == "QUOTA_TOTAL"
    await liar.channel.aclose()
    assert await world[DATA].venue.store.check() == []


# --- readers that go away


async def test_q5c_readers_that_go_away_at_any_moment_leave_nothing_open_and_nothing_reserved(world) -> None:
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/small", "rows")
    chance = random.Random(7)
    for number in range(60):
        asked = ticket(acme, agreement, "select id from t limit 1").raw
        home = acme.connection.home
        work = asyncio.ensure_future(drained(home, asked) if number % 2 else home.read(asked, timeout_s=20))
        await asyncio.sleep(chance.uniform(0, 0.03))
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    async def left_open() -> dict[str, list[Any]]:
        return {
            domain: await world[domain].venue.store.read(
                lambda view: view.find(AccessState, agreement=agreement.id, state=OPEN, limit=100)
            )
            for domain in (HOME, DATA)
        }

    async def closed() -> bool:
        return not any((await left_open()).values())

    with contextlib.suppress(TimeoutError):
        await until(closed)
    assert await left_open() == {HOME: [], DATA: []}
    reserved = await world[DATA].venue.store.read(lambda view: view.reservations())
    assert [one for one in reserved if one.key.startswith(agreement.id)] == []


OPEN = ("REQUESTED", "PREPARING", "STREAMING", "PAUSED", "CONDITIONAL")


async def drained(home: Any, raw: bytes) -> None:
    async with home.do_get(raw, timeout_s=20) as call:
        async for _ in call:
            pass
