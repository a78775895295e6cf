"""Liars at every border: what the other side says counts only as far as it can prove it, and leaves a trace."""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from types import SimpleNamespace
from typing import Any, Self

import grpc
import msgspec
import pytest
from federation.world import (
    DATA,
    FAR,
    HOME,
    NATION,
    AccessState,
    AgreementState,
    product_text,
    ticket,
    until,
)
from grpc import aio as grpc_aio

from trustnode import node as composition
from trustnode.app import catalog, peering
from trustnode.app.follower import Follower
from trustnode.app.submission import submit
from trustnode.app.venue import Sender
from trustnode.core import clock
from trustnode.core.catalog import CatalogEntry, CatalogRecord
from trustnode.core.contract import Act, Agreement, NegotiationMessage, NegotiationState, Offer
from trustnode.core.document import PAYLOADS, Document, cosign, decode, payload_type, seal
from trustnode.core.identity import check_card, fingerprint
from trustnode.core.participant import ParticipantKey, ParticipantState, domain_of
from trustnode.core.peering import PeeringState, Status, StatusEvent
from trustnode.errors import TrustnodeError
from trustnode.home import initialise
from trustnode.keys import FileSigner, issue_card
from trustnode.keys.home import root_signer
from trustnode.store.unit import FEED_START, line_digest
from trustnode.testing.certificates import Leaf, Venue
from trustnode.v1 import access_service_pb2
from trustnode.wire.convert import error_from_rpc
from trustnode.wire.peer import FeedAnswer, FeedItem

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def refused(awaitable: Any) -> TrustnodeError:
    with pytest.raises(TrustnodeError) as caught:
        await awaitable
    return caught.value


async def new_refusals(world: Any, domain: str, size: int) -> list[tuple[str, str | None]]:
    """What a node's log got since then, as (type, reason)."""
    return [(entry.type, entry.reason_code) for entry in await world.log_since(domain, size)]


async def logged(world: Any, domain: str, size: int, type: str, reason: str) -> None:
    async def there() -> bool:
        return (type, reason) in await new_refusals(world, domain, size)

    await until(there, seconds=5)


# --- certificates


async def asks_as(world: Any, to: str, credential: Any) -> TrustnodeError:
    """What a peer's question is answered when it is asked with this certificate."""
    caller = world.caller(to, credential)
    try:
        return await refused(caller.receipt(str(uuid.uuid4()), timeout_s=5))
    finally:
        await caller.channel.aclose()


async def test_i1a_a_certificate_for_gz_signed_by_zj_is_refused_by_name_and_logged(world) -> None:
    forged = authority_of(world, HOME).leaf(Leaf(uris=(f"spiffe://{DATA}/node/x",), dns=(f"node.{DATA}",)))
    for to in (HOME, DATA):
        size = world.size(to)
        assert (await asks_as(world, to, forged)).reason == "IDENTITY_WRONG_DOMAIN"
        await logged(world, to, size, "lifecycle.refuse", "IDENTITY_WRONG_DOMAIN")


def authority_of(world: Any, domain: str) -> Venue:
    authority = world[domain].keys.authority
    return Venue(domain, world[domain].venue.clock.now(), authority.intermediate, authority.intermediate)


async def test_an_expired_certificate_opens_nothing(world) -> None:
    expired = authority_of(world, DATA).node(not_before_s=-7200, not_after_s=-60)
    failure = await asks_as(world, HOME, expired)
    assert failure.reason in ("IDENTITY_EXPIRED", "PEER_UNREACHABLE")


async def test_a_foreign_certificate_does_not_get_past_the_handshake(world) -> None:
    foreign = Venue.create(DATA, world[HOME].venue.clock.now()).node()
    assert (await asks_as(world, HOME, foreign)).reason == "PEER_UNREACHABLE"


async def test_a_client_of_one_venue_is_not_heard_at_the_port_of_another(world) -> None:
    acme = world.clients["acme"].profile
    failure = await asks_as(world, DATA, acme.credential)
    assert failure.reason == "IDENTITY_WRONG_DOMAIN"


# --- requests


async def status_of(client: Any, raw: bytes) -> tuple[Any, ...]:
    """Everything a client hears of a refusal."""
    channel = client.connection.home._channels.get()
    invoke = channel.unary_unary(
        "/trustnode.v1.AccessService/Read",
        access_service_pb2.ReadRequest.SerializeToString,
        access_service_pb2.ReadResponse.FromString,
    )
    with pytest.raises(grpc_aio.AioRpcError) as failed:
        await invoke(access_service_pb2.ReadRequest(ticket=raw), timeout=10)
    assert error_from_rpc(failed.value).reason == "NOT_FOUND"
    return failed.value.code(), failed.value.details(), tuple(failed.value.trailing_metadata() or ())


async def test_x1_another_clients_agreement_is_answered_byte_for_byte_as_one_that_does_not_exist(world) -> None:
    acme, other = world.clients["acme"], world.clients["other"]
    agreement = await world.agree(acme, f"{DATA}/small", "open")
    stolen = await status_of(other, ticket(other, agreement).raw)
    invented = ticket(other, agreement, agreement="C" + "0" * 46)
    assert stolen == await status_of(other, invented.raw)
    assert stolen[0] is grpc.StatusCode.NOT_FOUND


async def test_x1_a_home_node_that_does_not_check_cannot_use_another_clients_agreement_either(world) -> None:
    acme, other = world.clients["acme"], world.clients["other"]
    agreement = await world.agree(acme, f"{DATA}/small", "open")
    liar, size = world.node_caller(HOME, DATA), world.size(DATA)
    failure = await refused(liar.read(ticket(other, agreement).raw, timeout_s=10))
    assert failure.reason == "NOT_FOUND"
    await logged(world, DATA, size, "access.deny", "NOT_FOUND")
    await liar.channel.aclose()


async def test_a_ticket_of_another_consumer_is_not_carried(world) -> None:
    acme, other = world.clients["acme"], world.clients["other"]
    agreement = await world.agree(acme, f"{DATA}/small", "open")
    await status_of(other, ticket(acme, agreement).raw)


async def test_p1a_x2_a_request_is_answered_once_at_home_and_once_at_the_node_that_holds_the_data(world) -> None:
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/small", "open")
    used = ticket(acme, agreement)
    await acme.connection.home.read(used.raw, timeout_s=10)
    assert (await refused(acme.connection.home.read(used.raw, timeout_s=10))).reason == "REPLAYED"
    liar = world.node_caller(HOME, DATA)
    assert (await refused(liar.read(used.raw, timeout_s=10))).reason == "REPLAYED"
    chain = await world.entries(DATA, "agreement", agreement.id)
    assert [e.reason_code for e in chain if e.type == "access.deny"][:1] == ["REPLAYED"]
    await liar.channel.aclose()


async def test_p2c_a_query_that_was_changed_after_signing_is_refused_and_recorded(world) -> None:
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/small", "open")
    altered = ticket(acme, agreement, "select id from t limit 1", asked="select * from t")
    assert (await refused(acme.connection.home.read(altered.raw, timeout_s=10))).reason == "HASH_MISMATCH"
    chain = await world.entries(DATA, "agreement", agreement.id)
    assert [e.reason_code for e in chain if e.type == "access.deny"] == ["HASH_MISMATCH"]


@pytest.mark.parametrize(
    "changes,reason",
    [
        pytest.param({"provider": FAR}, "IDENTITY_WRONG_DOMAIN", id="another provider"),
        pytest.param({"home": FAR}, "IDENTITY_WRONG_DOMAIN", id="another home"),
        pytest.param({"agreement_sha256": "0" * 64}, "NOT_FOUND", id="another version of the agreement"),
        pytest.param({"purpose": "marketing"}, "", id="another purpose"),
        pytest.param({"request_proof": "CUSTODY"}, "REQUEST_PROOF_TOO_WEAK", id="another grade than its key"),
    ],
)
async def test_p2a_x2_a_request_whose_fields_do_not_fit_is_refused_by_the_node_that_holds_the_data(
    world, changes, reason
) -> None:
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/small", "open")
    liar, size = world.node_caller(HOME, DATA), world.size(DATA)
    failure = await refused(liar.read(ticket(acme, agreement, **changes).raw, timeout_s=10))
    assert reason in ("", failure.reason)
    await logged(world, DATA, size, "access.deny", failure.reason)
    await liar.channel.aclose()


async def kept(world: Any, name: str) -> tuple[FileSigner, Document]:
    """A participant of HOME whose key the venue holds."""
    venue, signer = world[HOME].venue, FileSigner.generate()
    now = venue.clock.now()
    statement = ParticipantKey(
        participant=venue.identity.participant(name), title=name, roles=("CONSUMER",), public=signer.public.hex(),
        custody="CUSTODY", not_before=now, not_after=clock.shift(now, 86400 * 30), **venue.fields("*"),
    )  # fmt: skip
    return signer, seal(statement, venue.evidence, signer)


async def test_a_key_in_custody_that_claims_to_be_held_is_refused_whatever_document_comes_along(world) -> None:
    signer, document = await kept(world, "ward")
    venue = world[HOME].venue
    await submit(venue, venue.self_sender, document)
    ward = venue.identity.participant("ward")
    agreement = await agreed_for(world, ward, signer, document)
    acme = world.clients["acme"]
    liar = world.node_caller(HOME, DATA)
    claims = {"consumer": ward, "iss": ward, "request_proof": "SIGNED"}
    for key in (document, acme.profile.key_document):
        raw = ticket(acme, agreement, signer=signer, key=key, **claims).raw
        assert (await refused(liar.read(raw, timeout_s=10))).reason == "REQUEST_PROOF_TOO_WEAK"
    await liar.channel.aclose()


async def agreed_for(world: Any, consumer: str, signer: FileSigner, key: Document) -> Any:
    """An agreement of somebody without a client: the home node hands in what the key signed."""
    venue, negotiation = world[HOME].venue, str(uuid.uuid4())
    entry = await venue.store.read(lambda view: catalog.entry_of(view, f"{DATA}/small"))
    offers = await venue.store.read(lambda view: catalog.offers_of(view, entry))
    chosen = next(one for one in offers if decode(one, Offer).name == "open")
    sender = Sender("CLIENT", HOME, consumer)
    message = request_of(venue, consumer, chosen, entry.id, negotiation)
    await submit(venue, sender, seal(message, signer), [key, chosen])
    state = await world.in_state(HOME, NegotiationState, negotiation, "AGREED")
    document = await venue.store.read(lambda view: view.document(state.agreement))
    await submit(venue, sender, cosign(document, signer), [key, chosen])
    value = decode(document, Agreement)
    await world.in_state(HOME, AgreementState, value.contract_id, "PERFORMING")
    return SimpleNamespace(id=value.contract_id, document=document, value=value)


def request_of(venue: Any, consumer: str, offer: Document, listing: str, negotiation: str = "") -> NegotiationMessage:
    provider = decode(offer, Offer).provider
    return NegotiationMessage(
        negotiation=negotiation or str(uuid.uuid4()), number=1, message="ContractRequestMessage",
        offer_sha256=offer.digest, counterpart=provider, purpose="statistics", listing=listing,
        **venue.fields(domain_of(consumer), domain_of(provider), iss=consumer),
    )  # fmt: skip


# --- documents


async def open_offer(world: Any, domain: str = DATA) -> tuple[Any, Document]:
    entry = await world[domain].venue.store.read(lambda view: catalog.entry_of(view, f"{DATA}/small"))
    offers = await world[domain].venue.store.read(lambda view: catalog.offers_of(view, entry))
    return entry, next(one for one in offers if decode(one, Offer).name == "open")


async def test_a_party_of_a_national_venue_buys_nothing_whatever_its_node_says(world) -> None:
    buyer = await world.join(NATION, "ministry", "CONSUMER")
    entry, offer = await open_offer(world)
    message = request_of(world[NATION].venue, buyer.profile.participant, offer, entry.id)
    signed, key = buyer.profile.sign(message), buyer.profile.key_document
    assert (await refused(buyer.submit(signed, [key, offer]))).reason == "NATIONAL_NODE_CANNOT_TRADE"
    liar, size = world.node_caller(NATION, DATA), world.size(DATA)
    failure = await refused(liar.deliver("x", signed, [key, offer], timeout_s=10))
    assert failure.reason == "NATIONAL_NODE_CANNOT_TRADE"
    await logged(world, DATA, size, "lifecycle.refuse", "NATIONAL_NODE_CANNOT_TRADE")
    assert await world.state(DATA, NegotiationState, message.negotiation) is None
    await liar.channel.aclose()


async def test_a_party_of_a_national_venue_sells_nothing(world) -> None:
    seller = await world.join(NATION, "bureau", "PROVIDER")
    failure = await refused(world.publish(seller, product_text("state", ("open",)), "state"))
    assert failure.reason == "NATIONAL_NODE_CANNOT_TRADE"


async def test_x3_an_envelope_of_one_type_is_refused_as_every_other_type(world) -> None:
    entry, offer = await open_offer(world)
    acme = world.clients["acme"].profile
    message = acme.sign(request_of(world[HOME].venue, acme.participant, offer, entry.id))
    liar = world.node_caller(HOME, DATA)
    for kind in PAYLOADS.values():
        if payload_type(kind) == message.payload_type:
            continue
        dressed = msgspec.structs.replace(message, payload_type=payload_type(kind))
        await refused(liar.deliver("x", dressed, [acme.key_document, offer], timeout_s=10))
    assert await world.state(DATA, NegotiationState, decode(message, NegotiationMessage).negotiation) is None
    await liar.channel.aclose()


async def test_a_peer_may_not_introduce_participants_of_another_venue(world) -> None:
    venue, signer = world[HOME].venue, FileSigner.generate()
    victim = f"spiffe://{FAR}/participant/victim"
    now = venue.clock.now()
    fields: dict[str, Any] = {
        "participant": victim, "title": "victim", "roles": ("CONSUMER",), "public": signer.public.hex(),
        "custody": "HELD", "not_before": now, "not_after": clock.shift(now, 86400 * 30),
    }  # fmt: skip
    entry, offer = await open_offer(world)
    message = seal(request_of(venue, victim, offer, entry.id), signer)
    liar = world.node_caller(HOME, DATA)
    for iss in (HOME, FAR):
        key = seal(ParticipantKey(**fields, **venue.fields("*", iss=iss)), venue.evidence, signer)
        await refused(liar.deliver("x", message, [key, offer], timeout_s=10))
    assert await world.state(DATA, ParticipantState, victim) is None
    await liar.channel.aclose()


async def test_a_peer_may_not_hand_over_what_a_participant_of_another_venue_signed(world) -> None:
    acme, bureau = world.clients["acme"], world.clients["bureau"]
    agreement = await world.agree(acme, f"{DATA}/small", "open")
    act = Act(
        machine="agreement", object=agreement.id, event="suspend", cause="OWNER", reason="spite",
        **bureau.profile.fields(DATA, HOME),
    )  # fmt: skip
    signed = bureau.profile.sign(act)
    liar, size = world.node_caller(FAR, HOME), world.size(HOME)
    failure = await refused(liar.deliver("x", signed, [bureau.profile.key_document], timeout_s=10))
    assert failure.reason == "NOT_FOUND"
    await logged(world, HOME, size, "lifecycle.refuse", "NOT_FOUND")
    assert (await world.state(HOME, AgreementState, agreement.id)).state == "PERFORMING"
    await liar.channel.aclose()


async def test_a_venue_speaks_of_its_own_participants_only(world) -> None:
    acme = world.clients["acme"].profile.participant
    venue = world[FAR].venue
    event = StatusEvent(kind="PARTICIPANT", subject=acme, state="REVOKED", effective=venue.clock.now())
    liar = world.node_caller(FAR, HOME)
    await liar.deliver("x", venue.sign(Status(events=(event,), **venue.fields("*"))), timeout_s=10)
    assert (await world.state(HOME, ParticipantState, acme)).state == "ENROLLED"
    await liar.channel.aclose()


async def test_a_peering_without_contract_and_access_opens_neither(world) -> None:
    narrow = "narrow.example"
    await world.network.start(narrow, area="4400", subject="914400000000000001")
    await world.network.peer(narrow, DATA, scopes=("CATALOG",))
    client = await world.join(narrow, "reader", "CONSUMER")
    entry, offer = await open_offer(world)
    message = client.profile.sign(request_of(world[narrow].venue, client.profile.participant, offer, entry.id))
    liar = world.node_caller(narrow, DATA)
    failure = await refused(liar.deliver("x", message, [client.profile.key_document, offer], timeout_s=10))
    assert failure.reason == "ROLE_NOT_ALLOWED"
    agreement = await world.agree(world.clients["acme"], f"{DATA}/small", "open")
    request = ticket(client, agreement, agreement=agreement.id)
    assert (await refused(liar.read(request.raw, timeout_s=10))).reason == "ROLE_NOT_ALLOWED"
    await liar.channel.aclose()
    await world.network.stop(narrow)


# --- cards and feeds


async def test_p10_p11_a_relay_that_rewrites_a_catalogue_record_is_not_believed(world) -> None:
    home, far = world[HOME].venue, world[FAR].venue
    await world.found(world.clients["far"], f"{DATA}/small")
    entry = await home.store.read(lambda view: catalog.entry_of(view, f"{DATA}/small"))
    true = await home.store.read(lambda view: view.document(entry.document))
    record = decode(true, CatalogRecord)
    forged = msgspec.structs.replace(
        record, offers=record.offers[:1], listing_version=record.listing_version + 1, id=str(uuid.uuid4())
    )
    supporting = await home.store.read(lambda view: catalog._supporting(view, record))
    lie = seal(forged, far.evidence)
    seq = (await far.store.read(lambda view: view.feed_head("CATALOG", HOME)))[0] + 1

    def unit(tx: Any) -> int:
        return tx.tell("CATALOG", HOME, [lie, *supporting], origin=DATA)

    await far.store.write(unit, event_id="", returns=int)
    await until(_cursor(home, FAR, seq))
    held = await home.store.read(lambda view: view.get(CatalogEntry, entry.id))
    assert (held.document, held.verification) == (true.digest, "CONFIRMED")


async def test_a_record_whose_origin_we_cannot_check_says_who_introduced_it(world) -> None:
    await world.found(world.clients["far"], f"{DATA}/small")
    entry = await world[FAR].venue.store.read(lambda view: catalog.entry_of(view, f"{DATA}/small"))
    assert (entry.verification, entry.path) == ("INTRODUCED", (HOME,))


def _cursor(venue: Any, peer: str, seq: int) -> Any:
    async def reached() -> bool:
        return int(await venue.store.read(lambda view: view.setting(f"follow/{peer}/CATALOG")) or 0) >= seq

    return reached


class ToldLane:
    """A peer that answers one following with what a test wants."""

    def __init__(self, *answers: FeedAnswer) -> None:
        self.answers = answers

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def ask(self, _nonce: bytes) -> None:
        return None

    async def __aiter__(self) -> Any:
        for answer in self.answers:
            yield answer

    async def follow_feed(self, *_: object, **__: object) -> Self:
        return self

    def get(self, _domain: str) -> Self:
        return self


def lines(*numbers: int) -> tuple[FeedItem, ...]:
    return tuple(FeedItem(seq=n, origin="", path=(), documents=()) for n in numbers)


async def test_x10_nothing_after_a_skipped_line_is_taken_in(world) -> None:
    venue, taken = world[HOME].venue, []
    answer = FeedAnswer(nonce=b"", head_seq=4, head_digest=b"", items=lines(1, 2, 4))
    follower = Follower(dataclasses.replace(venue, peers=ToldLane(answer)))

    async def take(_domain: str, _lane: str, item: FeedItem, _digest: str) -> None:
        taken.append(item.seq)

    follower._take = take  # type: ignore[method-assign]
    failure = await refused(follower._once("liar.example", "CATALOG"))
    assert (failure.reason, taken) == ("VERIFICATION_FAILED", [1, 2])


async def test_x10_a_lane_that_is_not_the_one_it_was_is_read_anew_from_its_first_line(world) -> None:
    venue, liar = world[HOME].venue, "liar.example"
    honest = FEED_START
    for number in (1, 2, 3):
        honest = line_digest(honest, number, [])

    async def after(*answers: FeedAnswer) -> str:
        follower = Follower(dataclasses.replace(venue, peers=ToldLane(*answers)))
        with contextlib.suppress(TrustnodeError):
            await follower._once(liar, "CATALOG")
        return await venue.store.read(lambda view: view.setting(f"follow/{liar}/CATALOG"))

    told = FeedAnswer(nonce=b"", head_seq=3, head_digest=bytes.fromhex(honest), items=lines(1, 2, 3))
    shorter = FeedAnswer(nonce=b"", head_seq=2, head_digest=bytes(32), items=())
    changed = FeedAnswer(nonce=b"", head_seq=3, head_digest=bytes(32), items=())
    for lie in (shorter, changed):
        assert await after(told) == "3"
        assert await after(lie) == "0"
    assert await after(told) == "3"
    assert await after(told._replace(items=())) == "3"


@pytest.mark.parametrize(
    "given,reason",
    [
        pytest.param(lambda right: right[:-1] + ("0" if right[-1] != "0" else "1"), "FINGERPRINT_MISMATCH", id="wrong"),
        pytest.param(lambda right: right[:-5], "", id="short"),
        pytest.param(lambda _right: "", "", id="empty"),
    ],
)
async def test_a_card_with_another_fingerprint_is_not_added(world, tmp_path, given, reason) -> None:
    card = stranger_card(tmp_path, "new.example")
    wrong = peering.Application("PEER", given(fingerprint(card)))
    failure = await refused(peering.add(world[HOME].venue, card, wrong))
    assert failure.reason in (reason or failure.reason, "FINGERPRINT_MISMATCH", "FIELD_FORMAT")
    assert await world.state(HOME, PeeringState, "new.example") is None


def stranger_card(folder: Any, domain: str) -> Document:
    initialise(
        folder / domain, venue=domain, level="REGIONAL", area="1100", subject="911100000000000009",
        trust_domain=domain, listen="127.0.0.1:1",
    )  # fmt: skip
    return composition.read_card(folder / domain)


async def test_a_second_card_for_a_confirmed_domain_changes_nothing(world, tmp_path) -> None:
    before = await world.state(HOME, PeeringState, DATA)
    forged = stranger_card(tmp_path, DATA)
    own = world[HOME]
    credential = composition.Credential(
        (own.home / "keys" / "apply.key").read_bytes(), (own.home / "keys" / "apply.pem").read_bytes()
    )
    agreement = seal(
        peering.PeerAgreement(
            parties=tuple(sorted((HOME, DATA))),
            cards=tuple({HOME: world.card(HOME).digest, DATA: forged.digest}[d] for d in sorted((HOME, DATA))),
            scopes=("CATALOG",),
            **own.venue.fields(HOME, DATA, iss=DATA),
        ),
        FileSigner.generate(),
    )
    caller = world.caller(HOME, credential)
    await refused(caller.apply(forged, agreement, timeout_s=10))
    await caller.channel.aclose()
    after = await world.state(HOME, PeeringState, DATA)
    assert (after.state, after.card, after.version) == ("APPROVED", before.card, before.version)
    assert own.venue.keyring.cards[DATA].digest == before.card


async def test_a_card_is_renewed_by_its_root_and_never_goes_back(world) -> None:
    node = world[FAR]
    old = check_card(world.card(FAR), node.venue.clock.now())
    who = node.config.node
    renewed = issue_card(
        root=root_signer(node.home), keys=node.keys, id=str(uuid.uuid4()), now=node.venue.clock.now(),
        node_id=who.node_id, level=who.level, area=who.area, name=who.name, endpoints=(who.listen,),
        subject=who.subject, previous=old,
    )  # fmt: skip
    caller, size = world.node_caller(FAR, HOME), world.size(HOME)
    await caller.deliver("x", renewed, timeout_s=10)
    assert (await world.state(HOME, PeeringState, FAR)).card_version == 2
    assert (await refused(caller.deliver("y", old.document, timeout_s=10))).reason == "CARD_ROLLBACK"
    await logged(world, HOME, size, "lifecycle.refuse", "CARD_ROLLBACK")
    assert (await world.state(HOME, PeeringState, FAR)).card_version == 2
    await caller.channel.aclose()


async def test_nothing_of_all_this_left_an_access_open(world) -> None:
    for domain in (HOME, DATA):
        left = await world[domain].venue.store.read(
            lambda view: view.find(AccessState, state=("REQUESTED", "PREPARING", "STREAMING"))
        )
        assert left == []
