"""The services of a running node as their contract says: who sees what, which requests are refused, what is repeated."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from federation.world import DATA, FAR, HOME, World, product_text, ticket, until, write_tables

from trustnode import aio
from trustnode.app.upkeep import Upkeep
from trustnode.arrow import flight_pb2
from trustnode.core import invitation
from trustnode.core.access import Receipt, ReceiptAck
from trustnode.core.catalog import CatalogRecord
from trustnode.core.document import decode, seal
from trustnode.core.identity import fingerprint
from trustnode.core.participant import ParticipantKey
from trustnode.core.peering import PeeringState
from trustnode.errors import TrustnodeError
from trustnode.keys import Credential, FileSigner
from trustnode.rpc.methods import MethodTable
from trustnode.rpc.services import method_table
from trustnode.sdk.profile import now
from trustnode.store.difference import Difference
from trustnode.testing.network import Network
from trustnode.v1 import (
    access_service_pb2,
    admin_service_pb2,
    catalog_service_pb2,
    document_service_pb2,
    evidence_service_pb2,
    participant_service_pb2,
    peer_service_pb2,
)
from trustnode.wire.channel import Target, VenueChannel
from trustnode.wire.home import Home

pytestmark = pytest.mark.asyncio(loop_scope="module")
CALL_S = 20.0
HIDDEN = '[listing]\nvisibility = "{visibility}"\n\n[[offer]]'


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """gz holds data; zj may see its catalog and contract; fin may only look at accesses: scope ACCESS alone."""
    folder: Path = tmp_path_factory.mktemp("services")
    write_tables(folder)
    async with Network(folder) as network:
        made = World(network, folder)
        await network.start(DATA, area="5200", subject="915200000000000001")
        await network.start(HOME)
        await network.start(FAR, level="INDUSTRY", area="3100")
        await network.peer(DATA, HOME)
        await network.peer(DATA, FAR, scopes=("ACCESS",))
        bureau = await made.join(DATA, "bureau", "PROVIDER", "CONSUMER")
        for domain, name in ((DATA, "local"), (DATA, "stranger"), (HOME, "acme")):
            await made.join(domain, name, "CONSUMER")
        await made.publish(bureau, product_text("small", ("open", "asked")), "small")
        await made.publish(bureau, product_text("big", ("open",), file="big", columns=("id", "filler")), "big")
        for name, visibility in (("inner", "VENUE"), ("named", "INVITED")):
            text = product_text(name, ("open",)).replace("[[offer]]", HIDDEN.format(visibility=visibility), 1)
            await made.publish(bureau, text, name)
        yield made
        for client in made.clients.values():
            await client.aclose()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def deal(world: World) -> Any:
    """An agreement of a local consumer on the small product."""
    await world.found(world.clients["local"], f"{DATA}/small")
    return await world.clients["local"].negotiate(f"{DATA}/small", offer="open")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def operator(world: World) -> AsyncIterator[Any]:
    """The operator of the venue that holds the data."""
    async with aio.operator(world.folder / DATA) as node:
        yield node


async def refused(work: Any) -> str:
    """The reason with which a call ends."""
    with pytest.raises(TrustnodeError) as caught:
        await work
    return caught.value.reason


# --- the table ------------------------------------------------------------------------------------------------------


async def test_every_method_of_the_protos_is_served_with_its_messages(world: World) -> None:
    node = world[DATA]
    table: MethodTable = method_table(
        node.venue, running=node, changes=node.changes, follower=node.follower, health=node.health,
        publisher=node.publisher,
        cosigning=node.cosigning,
    )  # fmt: skip
    modules = (
        access_service_pb2, admin_service_pb2, catalog_service_pb2, document_service_pb2, evidence_service_pb2,
        participant_service_pb2, peer_service_pb2,
    )  # fmt: skip
    services = [service for module in modules for service in module.DESCRIPTOR.services_by_name.values()]
    assert table.differences(services) == []


async def test_flight_serves_reading_and_no_writing(world: World) -> None:
    node = world[DATA]
    table = method_table(
        node.venue, running=node, changes=node.changes, follower=node.follower, health=node.health,
        publisher=node.publisher,
        cosigning=node.cosigning,
    )  # fmt: skip
    names = {method.name.rpartition("/")[2] for method in table if method.name.startswith("/arrow.")}
    assert names == {"DoGet", "DoPut", "DoAction", "GetFlightInfo", "GetSchema", "ListFlights", "ListActions"}
    assert flight_pb2.DESCRIPTOR.services_by_name["FlightService"]


# --- objects --------------------------------------------------------------------------------------------------------


async def test_an_agreement_does_not_exist_for_anybody_but_its_parties(world: World, deal: Any) -> None:
    stranger = world.clients["stranger"].connection
    answers = []
    for name in (deal.id, deal.short, deal.id[:-1] + "X"):
        with pytest.raises(TrustnodeError) as caught:
            await stranger.get("agreement", name)
        answers.append((caught.value.reason, caught.value.message.replace(name, "")))
    assert len(set(answers)) == 1
    assert (await stranger.list("agreement")).items == ()
    assert (await world.clients["local"].connection.get("agreement", deal.short)).object.id == deal.id


async def test_an_agreement_comes_with_everything_it_rests_on(world: World, deal: Any) -> None:
    found = await world.clients["bureau"].connection.get("agreement", deal.id)
    assert found.object.document == found.documents[0]
    names = [document.name for document in found.documents]
    assert {"agreement", "offer", "registration", "catalog-record", "participant-key", "card"} == set(names)
    assert names.count("participant-key") == 2


async def test_pages_hold_every_object_once_although_objects_change_in_between(world: World) -> None:
    local, bureau = world.clients["local"], world.clients["bureau"]
    asked = {(await local.negotiate(f"{DATA}/small", offer="asked")).id for _ in range(4)}
    first = await local.connection.list("negotiation", page_size=2, state="REQUESTED")
    oldest = (await local.connection.list("negotiation", page_size=200, state="REQUESTED")).items[-1]
    await (await bureau.negotiation(oldest.id)).refuse("moves it to the front of the list")

    seen = [one.id for one in first.items]
    token = first.next_page_token
    while token:
        page = await local.connection.list("negotiation", page_size=2, page_token=token, state="REQUESTED")
        seen += [one.id for one in page.items]
        token = page.next_page_token
    assert sorted(seen) == sorted(asked - {oldest.id})


async def test_what_waits_for_somebody_is_in_the_inbox_of_that_one_alone(world: World) -> None:
    asked = await world.clients["local"].negotiate(f"{DATA}/small", offer="asked")
    boxes = {name: await world.clients[name].connection.list(inbox="true") for name in ("bureau", "stranger", "local")}
    held = {name: asked.id in {one.id for one in page.items} for name, page in boxes.items()}
    assert held == {"bureau": True, "stranger": False, "local": False}


@pytest.mark.parametrize(
    "fields, reason",
    [
        ({"kind": ""}, "FIELD_MISSING"),
        ({"kind": "planet"}, "VOCABULARY_UNKNOWN"),
        ({"kind": "agreement", "page_size": -1}, "FIELD_FORMAT"),
        ({"kind": "agreement", "page_token": "7"}, "FIELD_FORMAT"),
        ({"kind": "agreement", "page_token": "ключ"}, "FIELD_FORMAT"),
        ({"kind": "agreement", "filter": {"colour": "red"}}, "VOCABULARY_UNKNOWN"),
        ({"kind": "agreement", "filter": {"running": "true"}}, "VOCABULARY_UNKNOWN"),
        ({"kind": "access", "filter": {f"column{n}": "1" for n in range(9)}}, "FIELD_FORMAT"),
    ],
)
async def test_a_list_that_cannot_be_meant_is_refused(world: World, fields: dict[str, Any], reason: str) -> None:
    assert await refused(world.clients["local"].connection.call("DocumentService/ListObjects", **fields)) == reason


async def test_a_list_of_running_accesses_holds_none_that_ended(world: World, deal: Any) -> None:
    await deal.sql("select id from t").to_arrow()
    connection = world.clients["local"].connection
    assert len((await connection.list("access", agreement=deal.id)).items) >= 1
    assert (await connection.list("access", running="true")).items == ()
    assert (await world.clients["stranger"].connection.list("access")).items == ()


async def test_a_watcher_sees_the_present_state_and_then_each_change(world: World) -> None:
    local, bureau = world.clients["local"], world.clients["bureau"]
    asked = await local.negotiate(f"{DATA}/small", offer="asked")
    stream = local.connection.watch("DocumentService/WatchObjects", kind="negotiation", ids=[asked.id])
    async with stream as answers:
        assert (await anext(answers))["object"].state == "REQUESTED"
        await (await bureau.negotiation(asked.id)).refuse("no")
        assert (await anext(answers))["object"].state == "TERMINATED"


@pytest.mark.parametrize("ids", [[], [f"a{n}" for n in range(65)]])
async def test_a_watcher_names_one_to_sixty_four_objects(world: World, ids: list[str]) -> None:
    stream = world.clients["local"].connection.watch("DocumentService/WatchObjects", kind="agreement", ids=ids)
    async with stream as answers:
        assert await refused(anext(answers)) == "FIELD_MISSING"


# --- the catalogue --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields, reason",
    [
        ({"level": "GENERAL_9"}, "VOCABULARY_UNKNOWN"),
        ({"category": "SECRET"}, "VOCABULARY_UNKNOWN"),
        ({"query": "a" * 257}, "FIELD_TOO_LONG"),
        ({"page_size": -1}, "FIELD_FORMAT"),
        ({"page_token": "next"}, "FIELD_FORMAT"),
    ],
)
async def test_a_search_that_cannot_be_meant_is_refused(world: World, fields: dict[str, Any], reason: str) -> None:
    assert await refused(world.clients["local"].connection.call("CatalogService/SearchListings", **fields)) == reason


async def test_a_silent_venue_is_named_and_refuses_a_search_of_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = world.clients["acme"].connection
    await world.found(world.clients["acme"], f"{DATA}/small")
    monkeypatch.setattr(world[HOME].follower, "age_s", lambda _domain: 60.0)
    answer = await connection.call("CatalogService/SearchListings", query="small")
    assert [one["venue"] for one in answer["not_asked"]] == [DATA]
    assert {hit["verification"] for hit in answer["hits"]} == {"STALE"}
    assert await refused(connection.call("CatalogService/SearchListings", all_venues=True)) == "PEER_UNREACHABLE"


async def test_a_listing_is_found_by_those_its_visibility_names(world: World) -> None:
    async def found(name: str) -> set[str]:
        return {hit.product.partition("/")[2] for hit in await world.clients[name].search("Harbour")}

    await world.found(world.clients["acme"], f"{DATA}/big")
    await world.found(world.clients["local"], f"{DATA}/inner")
    assert await found("local") == {"small", "big", "inner"}
    assert await found("acme") == {"small", "big"}
    assert await refused(world.clients["local"].product(f"{DATA}/named")) == "NOT_FOUND"
    assert await refused(world.clients["acme"].product(f"{DATA}/inner")) == "NOT_FOUND"
    assert (await world.clients["bureau"].product(f"{DATA}/named")).offers


async def test_an_offer_that_a_listing_does_not_have_is_not_found(world: World) -> None:
    call = world.clients["local"].connection.call
    work = call("CatalogService/DescribeListing", product=f"{DATA}/small", offer="none")
    assert await refused(work) == "NOT_FOUND"
    assert await refused(call("CatalogService/DescribeListing")) == "FIELD_MISSING"


async def test_an_identifier_resolves_at_home_to_the_product_of_another_venue(world: World) -> None:
    acme = world.clients["acme"].connection
    await world.found(world.clients["acme"], f"{DATA}/small")
    by_handle = await acme.call("CatalogService/ResolveIdentifier", identifier=f"{DATA}/small")
    assert (by_handle["kind"], by_handle["origin"], by_handle["document"].name) == ("product", DATA, "registration")
    there = await world.clients["local"].connection.call(
        "CatalogService/ResolveIdentifier", identifier=by_handle["identifier"]
    )
    assert there["handle"] == f"{DATA}/small"
    venue = await acme.call("CatalogService/ResolveIdentifier", identifier=DATA)
    assert venue["kind"] == "venue"
    assert fingerprint(venue["document"]) == fingerprint(world.card(DATA))


async def test_a_product_that_somebody_may_not_see_resolves_for_the_provider_alone(world: World, operator: Any) -> None:
    def resolve(node: Any) -> Any:
        return node.call("CatalogService/ResolveIdentifier", identifier=f"{DATA}/named")

    assert await refused(resolve(world.clients["local"].connection)) == "NOT_FOUND"
    assert (await resolve(world.clients["bureau"].connection))["handle"] == f"{DATA}/named"
    assert (await resolve(operator))["handle"] == f"{DATA}/named"


async def test_a_peer_resolves_what_its_scope_and_the_visibility_open(world: World) -> None:
    async def resolve(domain: str, name: str) -> Any:
        caller = Home(world.node_caller(domain, DATA).channel)
        return await caller.call("CatalogService/ResolveIdentifier", {"identifier": f"{DATA}/{name}"}, timeout_s=CALL_S)

    assert (await resolve(HOME, "small"))["kind"] == "product"
    assert await refused(resolve(HOME, "inner")) == "NOT_FOUND"
    assert await refused(resolve(FAR, "small")) == "ROLE_NOT_ALLOWED"


# --- explaining -----------------------------------------------------------------------------------------------------


async def test_rows_are_told_of_all_that_is_delivered_and_never_of_a_condition_of_ones_own(
    world: World, deal: Any
) -> None:
    whole = await deal.explain("select id, grp from t")
    assert (whole.allowed, whole.rows_estimate) == (True, 1000)
    for sql in (
        "select id from t where grp = 'g3'",
        "select id from t limit 1",
        "select count(*) n from t group by grp having count(*) > 142",
        "select id from t a join t b using (id)",
        "select id from t -- where 1 = 0",
    ):
        found = await deal.explain(sql)
        assert (found.allowed, found.rows_estimate) == (True, None), sql


async def test_an_explanation_leaves_no_entry_and_reserves_nothing(world: World, deal: Any) -> None:
    before = world.size(DATA)
    await deal.explain("select id from t")
    await world.clients["stranger"].explain(f"{DATA}/small", offer="open", purpose="statistics")
    assert world.size(DATA) == before


async def test_a_refusal_by_the_terms_is_part_of_the_explanation(world: World, deal: Any) -> None:
    found = await deal.explain("select id from t", purpose="marketing")
    assert (found.allowed, found.reason) == (False, "PURPOSE_NOT_AGREED")
    assert found.next_step


async def test_an_explanation_has_a_subject_that_the_asker_may_see(world: World, deal: Any) -> None:
    local, stranger = (world.clients[name].connection for name in ("local", "stranger"))
    assert await refused(local.call("AccessService/ExplainAccess", sql="select 1")) == "FIELD_MISSING"
    assert await refused(stranger.call("AccessService/ExplainAccess", agreement=deal.id)) == "NOT_FOUND"
    named = await local.call("AccessService/ExplainAccess", agreement=deal.short)
    assert named["explanation"]["allowed"]
    work = local.call("AccessService/ExplainAccess", offer={"product": f"{DATA}/named"})
    assert await refused(work) == "NOT_FOUND"


async def test_a_peer_is_explained_offers_on_sale_to_it_and_nothing_else(world: World) -> None:
    def ask(domain: str, digest: str) -> Any:
        consumer = f"spiffe://{domain}/participant/acme"
        return world.node_caller(domain, DATA).explain(
            offer_sha256=digest, consumer=consumer, purpose="statistics", sql="", parameters_json="", timeout_s=CALL_S
        )

    def offers(product: str) -> Any:
        return world[DATA].venue.store.read(
            lambda view: decode(view.document(_entry(view, product).document), CatalogRecord).offers[0]
        )

    assert (await ask(HOME, await offers("small"))).allowed
    assert await refused(ask(HOME, await offers("inner"))) == "NOT_FOUND"
    assert await refused(ask(HOME, secrets.token_hex(32))) == "NOT_FOUND"
    assert await refused(ask(FAR, await offers("small"))) == "ROLE_NOT_ALLOWED"


def _entry(view: Any, product: str) -> Any:
    from trustnode.app import catalog

    return catalog.entry_of(view, f"{DATA}/{product}")


# --- receipts -------------------------------------------------------------------------------------------------------


async def test_a_receipt_is_shown_with_what_both_others_signed(world: World) -> None:
    acme = world.clients["acme"]
    await world.found(acme, f"{DATA}/small")
    flights = await acme.negotiate(f"{DATA}/small", offer="open")
    table = flights.sql("select id from t")
    await table.to_arrow()
    bureau = world.clients["bureau"].connection

    async def acknowledged() -> bool:
        return len((await bureau.call("AccessService/GetReceipt", access=table.access))["acks"]) == 2

    await until(acknowledged)
    answer = await acme.connection.call("AccessService/GetReceipt", access=table.access)
    acks = [decode(one, ReceiptAck) for one in answer["acks"]]
    assert [(one.by, one.items[0].verdict) for one in acks] == [("CARRIER", "EQUAL"), ("PARTICIPANT", "EQUAL")]
    assert {one.items[0].receipt_sha256 for one in acks} == {answer["receipt"].digest}
    stranger = world.clients["stranger"].connection
    assert await refused(stranger.call("AccessService/GetReceipt", access=table.access)) == "NOT_FOUND"


async def test_a_stream_that_is_cut_ends_with_its_receipt_beside_the_reason(world: World) -> None:
    local = world.clients["local"]
    await world.found(local, f"{DATA}/big")
    big = await local.negotiate(f"{DATA}/big", offer="open")
    asked = ticket(local, big, "select id, filler from t")
    async with local.connection.home.do_get(asked.raw, timeout_s=CALL_S) as stream:
        frames = aiter(stream)
        await anext(frames)
        await local.stop_access(decode(asked.request).id, "enough")
        with pytest.raises(TrustnodeError) as caught:
            async for _ in frames:
                pass
        receipt = await stream.receipt()
    assert caught.value.reason == "CANCELLED"
    assert receipt is not None
    assert decode(receipt, Receipt).outcome == "ABORTED"


# --- enrolling ------------------------------------------------------------------------------------------------------


async def test_an_enrolment_whose_answer_was_lost_may_be_repeated_with_the_same_two_keys_only(
    world: World, operator: Any
) -> None:
    from trustnode.keys.authority import make_client_key_and_csr

    made = await operator.call("AdminService/InviteParticipant", name="late", roles=["CONSUMER"], title="late")
    content = invitation.read(made["invitation"])
    bearer = Credential(content.key_pem.encode(), content.chain_pem.encode())
    roots = world[DATA].trust.state.bundles[DATA].pem
    home = Home(VenueChannel(Target(DATA, (f"127.0.0.1:{world[DATA].port}",), roots), bearer))
    signer, time = FileSigner.generate(), now()
    statement = ParticipantKey(
        suite="tn1", id=str(uuid.uuid4()), iss=DATA, aud=("*",), time=time, participant=made["participant"], title="late",
        roles=("CONSUMER",), public=signer.public.hex(), custody="HELD", not_before=time,
        not_after=time.replace(time[:4], str(int(time[:4]) + 1), 1),
    )  # fmt: skip
    key = seal(statement, signer)
    (_, csr), (_, other) = make_client_key_and_csr(), make_client_key_and_csr()

    def enrol(request: bytes) -> Any:
        fields = {"csr_der": request, "participant_key": key}
        return home.call("ParticipantService/EnrolParticipant", fields, timeout_s=CALL_S)

    first, again = await enrol(csr), await enrol(csr)
    assert first["participant_key"] == again["participant_key"]
    assert first["participant"].state == again["participant"].state == "ENROLLED"
    assert await refused(enrol(other)) == "IDENTITY_UNKNOWN"


# --- peers ----------------------------------------------------------------------------------------------------------


async def test_a_lane_brings_every_line_in_order_and_answers_the_nonce_with_its_head(world: World) -> None:
    call = await world.node_caller(HOME, DATA).follow_feed("CATALOG", 0, b"n" * 8, timeout_s=CALL_S)
    seen: list[int] = []
    async with call, asyncio.timeout(CALL_S):
        async for answer in call:
            seen += [item.seq for item in answer.items]
            if answer.nonce == b"n" * 8:
                head = answer.head_seq
                await call.ask(b"m" * 32)
            if answer.nonce == b"m" * 32:
                break
    assert seen == list(range(1, head + 1))
    assert head >= 2


@pytest.mark.parametrize("domain, nonce, reason", [(HOME, b"short", "FIELD_FORMAT"), (HOME, b"n" * 33, "FIELD_FORMAT"), (FAR, b"n" * 8, "ROLE_NOT_ALLOWED")])  # fmt: skip
async def test_a_lane_opens_to_a_fresh_nonce_and_a_peering_with_its_scope(
    world: World, domain: str, nonce: bytes, reason: str
) -> None:
    call = await world.node_caller(domain, DATA).follow_feed("CATALOG", 0, nonce, timeout_s=CALL_S)
    async with call:
        assert await refused(anext(aiter(call))) == reason


async def test_an_application_repeated_after_it_was_confirmed_gets_the_signed_agreement(world: World) -> None:
    state = await world.state(HOME, PeeringState, DATA)
    agreement = await world[HOME].venue.store.read(lambda view: view.document(state.document))
    applied = await world.node_caller(HOME, DATA).apply(world.card(HOME), agreement, timeout_s=CALL_S)
    assert applied.peering.state == "APPROVED"
    assert len(applied.peer_agreement.signatures) == 2
    assert fingerprint(applied.card) == fingerprint(world.card(DATA))


# --- the operator ---------------------------------------------------------------------------------------------------


async def test_a_repeated_request_of_the_operator_signs_nothing_again(world: World, operator: Any) -> None:
    def issue(title: str, request_id: str = "once") -> Any:
        statement = f'{{"participant": "kept", "title": "{title}", "roles": ["CONSUMER"]}}'
        return operator.call(
            "AdminService/IssueDocument", payload_type="application/vnd.trustnode.participant-key.v1+json",
            statement_json=statement.encode(), signer="venue", request_id=request_id,
        )  # fmt: skip

    first, again = await issue("one"), await issue("one")
    assert first["document"].digest == again["document"].digest
    assert (first["object"].id, first["object"].version) == (again["object"].id, again["object"].version)
    assert await refused(issue("two")) == "REPLAYED"
    assert await refused(issue("one", "")) == "FIELD_MISSING"


async def test_a_status_names_peers_log_and_what_was_done_today(world: World, deal: Any, operator: Any) -> None:
    await deal.sql("select id from t").to_arrow()
    status = (await operator.call("AdminService/GetStatus"))["status"]
    assert (status["trust_domain"], status["level"], status["state"]) == (DATA, "REGIONAL", "SERVING")
    assert {peer["trust_domain"]: peer["state"] for peer in status["peers"]} == {HOME: "APPROVED", FAR: "APPROVED"}
    assert status["log"]["entries"] >= status["log"]["signed"] > 0
    assert (status["today"]["contracts"] > 0, status["today"]["rows"] >= 1000) == (True, True)
    assert {alarm["name"] for alarm in status["alarms"]} >= {"ROOT_KEY"}


async def test_a_test_of_a_peer_says_what_holds_and_of_a_stranger_that_there_is_none(
    world: World, operator: Any
) -> None:
    found = await operator.call("AdminService/TestPeer", trust_domain=HOME)
    assert [(check["name"], check["ok"]) for check in found["checks"]] == [
        ("card", True), ("peering", True), ("answer", True), ("lanes", True),
    ]  # fmt: skip
    assert await refused(operator.call("AdminService/TestPeer", trust_domain="hn.example")) == "NOT_FOUND"


async def test_a_backup_is_a_new_file_with_the_digest_that_was_told(world: World, operator: Any) -> None:
    target = world.folder / "copy.db"
    made = await operator.call("AdminService/BackupStore", path=str(target))
    content = target.read_bytes()
    assert (made["size_bytes"], made["sha256"]) == (len(content), hashlib.sha256(content).digest())
    for path, reason in (
        (str(target), "DUPLICATE"), ("copy.db", "FIELD_FORMAT"), (str(world.folder / "none" / "c.db"), "FIELD_FORMAT"),
    ):  # fmt: skip
        assert await refused(operator.call("AdminService/BackupStore", path=path)) == reason
    checked = await operator.call("AdminService/CheckStore")
    assert [one["ok"] for one in checked["checks"]] == [True, True, True]


async def test_the_methods_of_the_operator_do_not_exist_on_the_port(world: World) -> None:
    work = world.clients["local"].connection.call("AdminService/GetStatus")
    assert await refused(work) == "VERSION_UNSUPPORTED"


async def test_a_store_with_a_difference_is_called_corrupt_and_the_first_one_is_named(
    operator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def damaged(_upkeep: Upkeep) -> list[Difference]:
        return [
            Difference(where="document", message="digest differs", index=7, object="d1"),
            Difference(where="tile", message="hash differs"),
        ]

    monkeypatch.setattr(Upkeep, "check", damaged)
    with pytest.raises(TrustnodeError, match=r"document: entry 7: digest differs \(d1\); and 1 more") as caught:
        await operator.call("AdminService/CheckStore")
    assert (caught.value.reason, caught.value.exit_status) == ("STORE_CORRUPT", 8)
