"""Control ends streams: whoever takes a right back while data flow, both sides stop with the reason, and counts settle."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from cryptography import x509
from federation.world import (
    BIG_ROWS,
    DATA,
    HOME,
    AccessState,
    AgreementState,
    product_text,
    receipt_in,
    until,
)

from trustnode import aio
from trustnode.core.catalog import ListingState, ProductState
from trustnode.core.contract import Act, GrantState
from trustnode.core.document import payload_type
from trustnode.core.identity import DenyList
from trustnode.core.participant import ParticipantState
from trustnode.core.peering import PeeringState
from trustnode.errors import TrustnodeError

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Stalled:
    """A download whose reader took one batch and then stopped reading."""

    def __init__(self, world: Any, agreement: Any, reader: Any, batches: Any) -> None:
        self.world, self.agreement, self.reader, self.batches = world, agreement, reader, batches

    @property
    def access(self) -> str:
        return self.reader.access

    async def rest(self) -> TrustnodeError:
        """Read on until the stream ends; why it ended."""
        with pytest.raises(TrustnodeError) as ended:
            async for _ in self.batches:
                pass
        return ended.value

    async def settled(self, domain: str) -> Any:
        """The access at one node, once it has ended there."""
        return await self.world.in_state(domain, AccessState, self.access, "ABORTED", "DELIVERED")


@contextlib.asynccontextmanager
async def stalled(world: Any, agreement: Any) -> AsyncIterator[Stalled]:
    async with agreement.reader("select * from t", tries=0) as reader:
        batches = aiter(reader)
        await anext(batches)

        async def at_both() -> bool:
            held = [world[domain].venue.streams.get(reader.access) for domain in (HOME, DATA)]
            return all(stream is not None and stream.frames > 1 for stream in held)

        await until(at_both)
        yield Stalled(world, agreement, reader, batches)


async def issue(world: Any, domain: str, machine: str, object: str, event: str, **fields: str) -> Any:
    """The operator's node signs an act as the venue."""
    statement = {"machine": machine, "object": object, "event": event, "reason": "a test", "aud": ["*"], **fields}
    async with aio.operator(world.folder / domain) as operator:
        return await operator.issue(ACT, json.dumps(statement).encode())


ACT = payload_type(Act)


async def check_cut(stream: Stalled, reason: str) -> None:
    """Both ends stopped for this reason, and everybody counts what was handed over."""
    world = stream.world
    theirs = await stream.settled(DATA)
    assert (theirs.state, theirs.cause) == ("ABORTED", reason)
    failure = await stream.rest()
    assert failure.reason == reason
    ours = await stream.settled(HOME)
    assert ours.state == "ABORTED"
    assert ours.cause == reason
    receipt = await world[DATA].venue.store.read(lambda view: receipt_in(view, stream.access))
    assert (receipt.outcome, receipt.cause) == ("ABORTED", reason)
    assert 0 < receipt.rows < BIG_ROWS
    assert receipt.rows == theirs.rows
    assert ours.rows <= receipt.rows
    assert await world[DATA].venue.store.read(lambda view: view.reservations(stream.access)) == []
    for domain in (HOME, DATA):
        chain = await world.entries(domain, "agreement", stream.agreement.id)
        ends = [entry for entry in chain if entry.type == "delivery.abort" and entry.access_id == stream.access]
        assert [entry.reason_code for entry in ends] == [reason]


async def test_p3c_x9_a_suspended_agreement_cuts_its_stream_and_a_resumed_one_delivers_again(world) -> None:
    acme, bureau = world.clients["acme"], world.clients["bureau"]
    agreement = await world.agree(acme, f"{DATA}/big", "open")
    held = await bureau.agreement(agreement.id)
    async with stalled(world, agreement) as stream:
        await held.suspend("prices are wrong")
        await check_cut(stream, "GRANT_INVALID")
    for domain in (HOME, DATA):
        assert (await world.in_state(domain, AgreementState, agreement.id, "SUSPENDED")).causes == ("P:OWNER",)
        assert (await world.state(domain, GrantState, agreement.id)).state == "SUSPENDED"
    with pytest.raises(TrustnodeError) as refused:
        await agreement.sql("select count(*) from t").to_arrow()
    assert refused.value.reason == "GRANT_INVALID"
    await held.resume("they are right again")
    await world.in_state(HOME, AgreementState, agreement.id, "PERFORMING")
    assert (await agreement.sql("select id from t where id < 5").to_arrow()).num_rows == 5


async def test_the_consumer_ends_an_agreement_and_its_own_running_stream(world) -> None:
    agreement = await world.agree(world.clients["acme"], f"{DATA}/big", "open")
    async with stalled(world, agreement) as stream:
        await agreement.end("no longer needed")
        failure = await stream.rest()
        assert failure.reason == "GRANT_INVALID"
        assert (await stream.settled(DATA)).state == "ABORTED"
    held = await world.clients["bureau"].agreement(agreement.id)
    await held.end("agreed")
    for domain in (HOME, DATA):
        await world.in_state(domain, AgreementState, agreement.id, "TERMINATING", "TERMINATED")
        assert (await world.state(domain, GrantState, agreement.id)).state == "REVOKED"


async def test_stopping_one_access_leaves_the_agreement_in_force(world) -> None:
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/big", "open")
    async with stalled(world, agreement) as stream:
        await acme.stop_access(stream.access, "enough")
        failure = await stream.rest()
        assert failure.reason == "CANCELLED"
        ours, theirs = await stream.settled(HOME), await stream.settled(DATA)
        assert (ours.state, theirs.state, ours.cause, theirs.cause) == ("ABORTED", "ABORTED", "CANCELLED", "CANCELLED")
        assert 0 < theirs.rows < BIG_ROWS
    assert (await agreement.sql("select id from t where id < 5").to_arrow()).num_rows == 5


async def test_p6a_a_reader_that_leaves_settles_on_what_was_handed_over(world) -> None:
    agreement = await world.agree(world.clients["acme"], f"{DATA}/big", "open")
    async with stalled(world, agreement) as stream:
        await stream.reader.aclose()
        ours, theirs = await stream.settled(HOME), await stream.settled(DATA)
        assert (ours.state, theirs.state, theirs.cause) == ("ABORTED", "ABORTED", "CANCELLED")
        assert ours.rows <= theirs.rows < BIG_ROWS
        assert ours.receipt == theirs.receipt != ""


async def test_a_suspended_participant_loses_its_stream_at_both_nodes_and_comes_back(world) -> None:
    other = world.clients["other"]
    agreement = await world.agree(other, f"{DATA}/big", "open")
    participant = other.profile.participant
    async with stalled(world, agreement) as stream:
        await issue(world, HOME, "participant", participant, "suspend", cause="VENUE")
        failure = await stream.rest()
        assert failure.reason == "IDENTITY_REVOKED"
        assert (await stream.settled(HOME)).cause == "IDENTITY_REVOKED"
        assert (await stream.settled(DATA)).state == "ABORTED"
    await world.in_state(DATA, ParticipantState, participant, "SUSPENDED")
    await world.in_state(DATA, AgreementState, agreement.id, "SUSPENDED")
    with pytest.raises(TrustnodeError) as refused:
        await other.search("small")
    assert refused.value.reason == "IDENTITY_REVOKED"
    await issue(world, HOME, "participant", participant, "lift_cause", cause="VENUE")
    await world.in_state(DATA, AgreementState, agreement.id, "PERFORMING")
    await until(_answers(lambda: other.search("small")))
    assert (await agreement.sql("select id from t where id < 5").to_arrow()).num_rows == 5


def _answers(ask: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        try:
            await ask()
        except TrustnodeError:
            return False
        return True

    return holds


async def test_a_revoked_participant_never_comes_back(world) -> None:
    brief = await world.join(HOME, "brief", "CONSUMER")
    agreement = await world.agree(brief, f"{DATA}/big", "open")
    participant = brief.profile.participant
    async with stalled(world, agreement) as stream:
        await issue(world, HOME, "participant", participant, "revoke")
        failure = await stream.rest()
        assert failure.reason == "IDENTITY_REVOKED"
        assert (await stream.settled(HOME)).cause == "IDENTITY_REVOKED"
        assert (await stream.settled(DATA)).state == "ABORTED"
    await world.in_state(DATA, ParticipantState, participant, "REVOKED")
    await world.in_state(DATA, AgreementState, agreement.id, "SUSPENDED")
    with pytest.raises(TrustnodeError) as refused:
        await issue(world, HOME, "participant", participant, "lift_cause", cause="VENUE")
    assert refused.value.reason == "ILLEGAL_TRANSITION"


async def test_a_certificate_on_the_deny_list_ends_the_call_that_runs_under_it(world) -> None:
    agreement = await world.agree(world.clients["acme"], f"{DATA}/big", "open")
    trust = world[HOME].trust
    before = trust.state
    async with stalled(world, agreement) as stream:
        serial = serial_of(world.clients["acme"])
        try:
            trust.replace(type(before)(
                own=before.own, bundles=before.bundles, unconfirmed=before.unconfirmed,
                denied=DenyList(serials=frozenset({serial})),
            ))  # fmt: skip
            failure = await stream.rest()
            assert failure.reason == "IDENTITY_REVOKED"
        finally:
            trust.replace(before)
        assert (await stream.settled(HOME)).state == "ABORTED"
        assert (await stream.settled(DATA)).state == "ABORTED"


def serial_of(client: Any) -> tuple[str, str]:
    leaf = x509.load_pem_x509_certificate((client.profile.folder / "client.pem").read_bytes())
    return HOME, format(leaf.serial_number, "x")


async def test_a_suspended_peering_cuts_streams_through_it_and_suspends_its_agreements(world) -> None:
    agreement = await world.agree(world.clients["acme"], f"{DATA}/big", "open")
    async with stalled(world, agreement) as stream:
        await issue(world, DATA, "peering", HOME, "suspend", cause="VENUE")
        theirs = await stream.settled(DATA)
        assert (theirs.state, theirs.cause) == ("ABORTED", "PEER_SUSPENDED")
        assert (await stream.rest()).reason in ("PEER_SUSPENDED", "GRANT_INVALID")
        await stream.settled(HOME)
    for domain, other in ((HOME, DATA), (DATA, HOME)):
        await world.in_state(domain, PeeringState, other, "SUSPENDED")
        assert "K:PEER" in (await world.in_state(domain, AgreementState, agreement.id, "SUSPENDED")).causes
    with pytest.raises(TrustnodeError):
        await agreement.sql("select count(*) from t").to_arrow()
    await issue(world, DATA, "peering", HOME, "lift_cause", cause="VENUE")
    for domain in (HOME, DATA):
        await world.in_state(domain, AgreementState, agreement.id, "PERFORMING")
    await until(_answers(agreement.sql("select id from t where id < 5").to_arrow))


async def test_a_revoked_product_ends_listings_agreements_grants_and_streams(world) -> None:
    acme, bureau = world.clients["acme"], world.clients["bureau"]
    await world.publish(bureau, product_text("doomed", ("open",), file="big", columns=("id", "filler")), "doomed")
    handle = f"{DATA}/doomed"
    agreement = await world.agree(acme, handle)
    async with stalled(world, agreement) as stream:
        await issue(world, DATA, "product", handle, "revoke")
        theirs = await stream.settled(DATA)
        assert theirs.state == "ABORTED"
        assert theirs.cause in ("NOT_REGISTERED", "GRANT_INVALID")
        await stream.rest()
    assert (await world.state(DATA, ProductState, handle)).state == "REVOKED"
    listed = await world[DATA].venue.store.read(lambda view: view.find(ListingState, product=handle))
    assert {listing.state for listing in listed} == {"DELISTED"}
    for domain in (DATA, HOME):
        await world.in_state(domain, AgreementState, agreement.id, "TERMINATING", "TERMINATED")
        assert (await world.state(domain, GrantState, agreement.id)).state == "REVOKED"

    async def hidden() -> bool:
        return not any(hit.product == handle for hit in await acme.search("doomed"))

    await until(hidden)


async def test_x10_a_peer_that_is_not_heard_gets_no_more_frames_and_soon_no_stream(world, monkeypatch) -> None:
    agreement = await world.agree(world.clients["acme"], f"{DATA}/big", "open")
    age = {"s": 0.0}
    monkeypatch.setattr(world[DATA].venue.streams, "age_s", lambda _domain: age["s"])
    async with stalled(world, agreement) as stream:
        held = world[DATA].venue.streams.get(stream.access)
        age["s"] = world[DATA].config.peers.max_age_s + 1.0
        await until(_is(lambda: not held._flowing.is_set()))
        assert held.failure is None
        age["s"] = 0.0
        await until(_is(held._flowing.is_set))
        age["s"] = world[DATA].config.peers.abort_age_s + 1.0
        theirs = await stream.settled(DATA)
        assert (theirs.state, theirs.cause) == ("ABORTED", "PEER_UNREACHABLE")
        assert (await stream.rest()).reason == "PEER_UNREACHABLE"


def _is(holds: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return holds()

    return check


async def hand_over(world, sender: str, to: str, document: Any) -> str:
    """A venue hands an act to its peer as it likes; the reason of the refusal, or nothing."""
    try:
        await world[sender].venue.peers.get(to).deliver(f"{document.digest}/1", document, (), timeout_s=10)
    except TrustnodeError as refusal:
        return refusal.reason
    return ""


def act_of(world, domain: str, agreement: str, event: str, cause: str) -> Any:
    venue = world[domain].venue
    return venue.sign(
        Act(machine="agreement", object=agreement, event=event, cause=cause, reason="it suits us", **venue.fields("*"))
    )


async def test_the_consumers_venue_cannot_lift_a_stop_of_the_provider_or_of_its_venue(world) -> None:
    """Venue and venue are one letter in the table of causes; the other side's venue is no authority over ours."""
    agreement = await world.agree(world.clients["acme"], f"{DATA}/small", "open")
    held = await world.clients["bureau"].agreement(agreement.id)
    await held.suspend("prices are wrong")
    for domain in (HOME, DATA):
        await world.in_state(domain, AgreementState, agreement.id, "SUSPENDED")
    lift = act_of(world, HOME, agreement.id, "lift_cause", "OWNER")
    assert await hand_over(world, HOME, DATA, lift) == "ROLE_NOT_ALLOWED"
    assert (await world.state(DATA, AgreementState, agreement.id)).state == "SUSPENDED"
    await held.resume("they are right again")
    await world.in_state(DATA, AgreementState, agreement.id, "PERFORMING")
    await issue(world, DATA, "agreement", agreement.id, "suspend", cause="VENUE")
    assert (await world.state(DATA, AgreementState, agreement.id)).causes == ("V:VENUE",)
    again = act_of(world, HOME, agreement.id, "suspend", "VENUE")
    assert await hand_over(world, HOME, DATA, again) == "DUPLICATE"
    lift = act_of(world, HOME, agreement.id, "lift_cause", "VENUE")
    assert await hand_over(world, HOME, DATA, lift) == "ROLE_NOT_ALLOWED"
    assert (await world.state(DATA, AgreementState, agreement.id)).causes == ("V:VENUE",)
    await issue(world, DATA, "agreement", agreement.id, "lift_cause", cause="VENUE")
    await world.in_state(DATA, AgreementState, agreement.id, "PERFORMING")
