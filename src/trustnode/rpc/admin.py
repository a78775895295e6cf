"""AdminService: the operator of this node, on the local socket."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final, Protocol

from trustnode.app import issuing, status
from trustnode.app.cosigning import Cosigning
from trustnode.app.submission import submit
from trustnode.app.venue import Venue
from trustnode.core import clock, invitation
from trustnode.core.document import Document
from trustnode.core.participant import Invitation, ParticipantState, check_roles
from trustnode.core.peering import PeeringState
from trustnode.errors import TrustnodeError, error
from trustnode.keys.authority import INVITE_LIFE
from trustnode.rpc import upkeep, witnessing
from trustnode.rpc.conversion import object_of_answer, set_time
from trustnode.rpc.dispatch import Call
from trustnode.rpc.document import produced_by
from trustnode.rpc.methods import Method, only
from trustnode.store import check
from trustnode.store.difference import Difference
from trustnode.store.unit import Tx
from trustnode.v1 import admin_pb2
from trustnode.v1 import admin_service_pb2 as pb
from trustnode.wire.convert import document_to_proto, documents_from_proto

if TYPE_CHECKING:
    from collections.abc import Callable

SERVICE: Final = "/trustnode.v1.AdminService/"
STATUS_S: Final = 2.0
TEST_S: Final = 10.0


class Running(Protocol):
    """The node itself, as its operator may move it."""

    async def reload(self) -> tuple[str, ...]:
        """Take over a newer card and a new certificate."""

    def drain(self, grace_s: float | None) -> int:
        """Begin to stop, with that many seconds for running streams; returns how many there are."""

    def apply_later(self, domain: str, agreement: Document) -> None:
        """Hand an application to another venue until it has it."""

    def status(self) -> status.NodeFacts:
        """What only the process knows."""

    async def check_store(self) -> list[Difference]:
        """Compare the whole store with its log now; a difference makes the node read-only."""


def methods(venue: Venue, running: Running, cosigning: Cosigning) -> tuple[Method, ...]:
    """The methods of the service."""

    async def get_status(_call: Call, _request: pb.GetStatusRequest) -> pb.GetStatusResponse:
        return pb.GetStatusResponse(status=await _status(venue, running, cosigning))

    async def watch_status(_call: Call, _request: pb.WatchStatusRequest) -> AsyncIterator[pb.WatchStatusResponse]:
        while True:
            yield pb.WatchStatusResponse(status=await _status(venue, running, cosigning))
            await asyncio.sleep(STATUS_S)

    async def issue(_call: Call, request: pb.IssueDocumentRequest) -> pb.IssueDocumentResponse:
        supporting = documents_from_proto(request.supporting)
        made = await issuing.issue_once(
            venue, request.request_id, request.payload_type, request.statement_json, request.signer, supporting
        )
        if made.apply_to:
            running.apply_later(made.apply_to, made.document)
        produced = await venue.store.read(lambda view: produced_by(view, made.answer))
        return pb.IssueDocumentResponse(
            document=document_to_proto(made.document), object=object_of_answer(made.answer),
            produced=[document_to_proto(one) for one in produced],
        )  # fmt: skip

    async def invite(_call: Call, request: pb.InviteParticipantRequest) -> pb.InviteParticipantResponse:
        return await _invited(venue, request)

    async def try_peer(_call: Call, request: pb.TestPeerRequest) -> pb.TestPeerResponse:
        return await _tested(venue, request.trust_domain, running.status().silent_since(request.trust_domain))

    async def reload(_call: Call, _request: pb.ReloadNodeRequest) -> pb.ReloadNodeResponse:
        return pb.ReloadNodeResponse(changed=await running.reload())

    async def drain(_call: Call, request: pb.DrainNodeRequest) -> pb.DrainNodeResponse:
        return pb.DrainNodeResponse(streams=running.drain(_grace_s(request)))

    async def check_store(_call: Call, _request: pb.CheckStoreRequest) -> pb.CheckStoreResponse:
        return await _checked(venue, running)

    rows: tuple[tuple[str, type, type, Callable[..., object], bool], ...] = (
        ("GetStatus", pb.GetStatusRequest, pb.GetStatusResponse, get_status, False),
        ("WatchStatus", pb.WatchStatusRequest, pb.WatchStatusResponse, watch_status, True),
        ("IssueDocument", pb.IssueDocumentRequest, pb.IssueDocumentResponse, issue, False),
        ("InviteParticipant", pb.InviteParticipantRequest, pb.InviteParticipantResponse, invite, False),
        ("TestPeer", pb.TestPeerRequest, pb.TestPeerResponse, try_peer, False),
        ("ReloadNode", pb.ReloadNodeRequest, pb.ReloadNodeResponse, reload, False),
        ("DrainNode", pb.DrainNodeRequest, pb.DrainNodeResponse, drain, False),
        ("CheckStore", pb.CheckStoreRequest, pb.CheckStoreResponse, check_store, False),
        *upkeep.rows(venue),
    )
    operator = only("OPERATOR")
    return tuple(
        Method(
            name=SERVICE + name, request=request, response=response, handler=handler,  # type: ignore[arg-type]
            audiences=operator, server_streaming=streams, max_request_bytes=4 * 1024 * 1024,
        )
        for name, request, response, handler, streams in rows
    )  # fmt: skip


async def _status(venue: Venue, running: Running, cosigning: Cosigning) -> admin_pb2.NodeStatus:
    facts, standings = running.status(), await cosigning.standings()
    found = await venue.store.read(lambda view: status.counted(view, venue))
    message = admin_pb2.NodeStatus(
        trust_domain=venue.domain, name=venue.identity.name, level=venue.identity.level, area=venue.identity.area,
        node_id=venue.identity.node_id, version=facts.version, listen=facts.listen, state=facts.state,
        disk_used_percent=facts.disk_used_percent,
    )  # fmt: skip
    set_time(message.started_at, facts.started_at)
    set_time(message.certificate_not_after, facts.certificate_not_after)
    set_time(message.certificate_renews_at, facts.certificate_renews_at)
    set_time(message.authority_not_after, facts.authority_not_after)
    set_time(message.now, venue.clock.now())
    message.log.entries, message.log.signed = venue.store.head().size, facts.signed
    witnessing.add_standings(message.log.cosignatures, standings)
    await upkeep.add(message, venue)
    today = message.today
    today.contracts, today.reads, today.refused, today.rows = found.contracts, found.reads, found.refused, found.rows
    today.streams = len(venue.streams)
    logs = (
        *status.log_alarms(found.forks, standings, venue.domain, venue.keyring.is_closed),
        *status.seal_alarms(found, venue.max_unwitnessed_s),
    )
    for alarm in (*logs, *facts.alarms):
        shown = message.alarms.add(name=alarm.name, message=alarm.message, next_step=alarm.next_step)
        set_time(shown.since, alarm.since)
    for peer in found.peers:
        silent, trip = facts.silent_since(peer.trust_domain), facts.round_trip_s(peer.trust_domain)
        shown_peer = message.peers.add(
            trust_domain=peer.trust_domain, relation=peer.relation, state=peer.state, card_version=peer.card_version,
            outbox=peer.outbox, control_seq=peer.control_seq, catalog_seq=peer.catalog_seq,
        )  # fmt: skip
        set_time(shown_peer.silent_since, silent)
        set_time(shown_peer.notice_waits_since, peer.notice_waits_since)
        if trip is not None:
            shown_peer.round_trip.FromMilliseconds(round(trip * 1000))
    return message


async def _invited(venue: Venue, request: pb.InviteParticipantRequest) -> pb.InviteParticipantResponse:
    """Sign an invitation, remember for whom it is, make its one-time certificate."""
    participant = venue.identity.participant(request.name)
    known = await venue.store.read(lambda view: view.get(ParticipantState, participant))
    if request.reissue and known is None:
        raise error("NOT_FOUND", f"no participant {request.name} to reissue")
    if not request.reissue and known is not None and known.state in ("ENROLLED", "SUSPENDED"):
        raise error("DUPLICATE", f"{request.name} is enrolled; a new certificate: participant reissue {request.name}")
    roles = known.roles if request.reissue and known else check_roles(tuple(request.roles))
    title = (known.title if request.reissue and known else request.title) or request.name
    until = clock.shift(venue.clock.now(), INVITE_LIFE.total_seconds())
    replaced = known.document if known and venue.keyring.is_revoked(participant, known.kid) else ""
    statement = Invitation(
        participant=participant, title=title, roles=roles, until=until, previous=replaced, **venue.fields("*")
    )
    document = venue.sign(statement)
    await submit(venue, venue.self_sender, document)
    name = secrets.token_hex(8)
    chain, key = venue.issuer.credential(f"invite/{name}", INVITE_LIFE)

    def unit(tx: Tx) -> str:
        tx.set_setting(f"invitation/{name}", participant)
        return name

    await venue.store.write(unit, event_id="", returns=str)
    card = venue.keyring.cards[venue.domain].document
    content = invitation.write(card, document, subject=request.subject_code, chain_pem=chain, key_pem=key)
    response = pb.InviteParticipantResponse(invitation=content, participant=participant)
    set_time(response.expires_at, until)
    return response


def _grace_s(request: pb.DrainNodeRequest) -> float | None:
    """Seconds for running streams; None: as the settings say."""
    if not request.HasField("grace"):
        return None
    seconds: float = request.grace.ToTimedelta().total_seconds()
    if seconds < 0:
        raise error("FIELD_FORMAT", "a time to wait is not negative", field="grace")
    return seconds


async def _tested(venue: Venue, domain: str, silent_since: str) -> pb.TestPeerResponse:
    """What we hold of a peer, a handshake with its roots and name and one question to its health service, its lanes."""
    state = await venue.store.read(lambda view: view.get(PeeringState, domain))
    if state is None:
        raise error("NOT_FOUND", f"no peering with {domain[:80]}; see: trustnode peer list")
    response = pb.TestPeerResponse()
    response.checks.add(name="card", ok=True, detail=f"version {state.card_version}, {state.address}")
    step = "" if state.state == "APPROVED" else f"See: trustnode peer show {domain}"
    response.checks.add(name="peering", ok=not step, detail=state.state, next_step=step)
    started = time.perf_counter()
    try:
        await venue.peers.get(domain).check_health(timeout_s=TEST_S)
    except TrustnodeError as refusal:
        response.checks.add(name="answer", ok=False, detail=refusal.message, next_step=refusal.next_step)
        return response
    seconds = time.perf_counter() - started
    response.checks.add(name="answer", ok=True, detail=f"SERVING after {seconds * 1000:.0f} ms")
    response.round_trip.FromMilliseconds(round(seconds * 1000))
    detail = f"silent since {silent_since}" if silent_since else "answered"
    response.checks.add(name="lanes", ok=not silent_since, detail=detail)
    return response


async def _checked(venue: Venue, running: Running) -> pb.CheckStoreResponse:
    response = pb.CheckStoreResponse(entries=venue.store.head().size)
    found = await running.check_store()
    if found:
        raise check.corrupt(found)
    response.checks.add(name="log", ok=True, detail="tiles, links and statements lead to the signed heads")
    response.checks.add(name="documents", ok=True, detail="documents and feeds are what their digests say")
    response.checks.add(name="states", ok=True, detail="states and counters are what the log tells")
    return response
