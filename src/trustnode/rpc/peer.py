"""PeerService: what other venues' nodes may ask of this one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from trustnode.app import access, joined, own_card, peering, reading, witness
from trustnode.app.cards import follow_cards
from trustnode.app.submission import Answer, submit
from trustnode.app.venue import Venue
from trustnode.core.document import Document, decode
from trustnode.core.identity import Card, in_order
from trustnode.core.participant import domain_of
from trustnode.core.peering import PeerAgreement, PeeringState, check_scope
from trustnode.errors import error
from trustnode.rpc.access import explain_found, explain_offer, result_of
from trustnode.rpc.conversion import object_of_answer, sender_of
from trustnode.rpc.dispatch import Call
from trustnode.rpc.document import produced_by
from trustnode.rpc.methods import Method, only
from trustnode.store.unit import FeedLine, View
from trustnode.v1 import access_pb2
from trustnode.v1 import peer_service_pb2 as pb
from trustnode.wire.convert import document_from_proto, document_to_proto, documents_from_proto, ticket_from_bytes
from trustnode.wire.peer import EARLIER_CARDS

SERVICE: Final = "/trustnode.v1.PeerService/"
LANES: Final = {pb.LANE_CONTROL: "CONTROL", pb.LANE_CATALOG: "CATALOG"}
SIGNED: Final = ("APPROVED", "SUSPENDED")
"""States of a peering whose agreement both venues have signed."""
LINES: Final = 64
"""Feed lines in one answer."""
ANSWER_BYTES: Final = 1024 * 1024
"""Documents in one answer; a single line may pass it."""
NONCE_BYTES: Final = range(8, 33)


def methods(venue: Venue, changes: reading.Changes) -> tuple[Method, ...]:
    """The methods of the service."""

    async def apply_peering(call: Call, request: pb.ApplyPeeringRequest) -> pb.ApplyPeeringResponse:
        return await _applied(venue, call, request)

    async def deliver(call: Call, request: pb.DeliverDocumentRequest) -> pb.DeliverDocumentResponse:
        document = document_from_proto(request.document)
        if call.audience == "UNCONFIRMED_PEER" and document.name != "peer-agreement":
            raise error("PEER_SUSPENDED", "no peering is in force with this venue")
        answer = await submit(venue, sender_of(call, venue), document, documents_from_proto(request.supporting))
        produced = await venue.store.read(lambda view: produced_by(view, answer))
        return pb.DeliverDocumentResponse(
            object=object_of_answer(answer), produced=[document_to_proto(one) for one in produced]
        )

    async def follow(call: Call, requests: AsyncIterator[pb.FollowFeedRequest]) -> AsyncIterator[pb.FollowFeedResponse]:
        async for response in _followed(venue, changes, call.caller.trust_domain, requests):
            yield response

    async def explain_access(
        call: Call, request: pb.PeerServiceExplainAccessRequest
    ) -> pb.PeerServiceExplainAccessResponse:
        return pb.PeerServiceExplainAccessResponse(explanation=await _explained(venue, call, request))

    async def read(call: Call, request: pb.PeerServiceReadRequest) -> pb.PeerServiceReadResponse:
        answer = await access.read(venue, sender_of(call, venue), ticket_from_bytes(request.ticket))
        return pb.PeerServiceReadResponse(result=result_of(answer))

    async def add_checkpoint(call: Call, request: pb.AddCheckpointRequest) -> pb.AddCheckpointResponse:
        return await _witnessed(venue, call.caller.trust_domain, request)

    peer = only("PEER")
    return (
        Method(
            name=SERVICE + "ApplyPeering", request=pb.ApplyPeeringRequest, response=pb.ApplyPeeringResponse,
            handler=apply_peering, audiences=only("APPLICANT", "UNCONFIRMED_PEER", "PEER"), cost="HEAVY",
        ),
        Method(
            name=SERVICE + "DeliverDocument", request=pb.DeliverDocumentRequest, response=pb.DeliverDocumentResponse,
            handler=deliver, audiences=only("PEER", "UNCONFIRMED_PEER"), max_request_bytes=4 * 1024 * 1024,
        ),
        Method(
            name=SERVICE + "FollowFeed", request=pb.FollowFeedRequest, response=pb.FollowFeedResponse, handler=follow,
            audiences=peer, client_streaming=True, server_streaming=True,
        ),
        Method(
            name=SERVICE + "ExplainAccess", request=pb.PeerServiceExplainAccessRequest,
            response=pb.PeerServiceExplainAccessResponse, handler=explain_access, quotes_query=True, audiences=peer,
        ),
        Method(
            name=SERVICE + "Read", request=pb.PeerServiceReadRequest, response=pb.PeerServiceReadResponse, handler=read,
            quotes_query=True, audiences=peer,
        ),
        Method(
            name=SERVICE + "AddCheckpoint", request=pb.AddCheckpointRequest, response=pb.AddCheckpointResponse,
            handler=add_checkpoint, audiences=peer,
        ),
    )  # fmt: skip


async def _witnessed(venue: Venue, domain: str, request: pb.AddCheckpointRequest) -> pb.AddCheckpointResponse:
    answer = await witness.add_checkpoint(venue, request.body, source=domain)
    held = own_card.held_of(venue, domain, request.card_version)
    return pb.AddCheckpointResponse(
        **answer._asdict(), card_version=held.version, card_sha256=held.digest,
        cards=[document_to_proto(one) for one in held.later],
    )  # fmt: skip


async def _applied(venue: Venue, call: Call, request: pb.ApplyPeeringRequest) -> pb.ApplyPeeringResponse:
    versions = in_order([document_from_proto(one) for one in (*request.earlier_cards[:EARLIER_CARDS], request.card)])
    # An applicant shows the certificate that our own card file carries; for whom it speaks, the card says.
    card = versions[-1]
    domain = decode(card, Card).trust_domain if call.audience == "APPLICANT" else call.caller.trust_domain
    if request.HasField("peer_agreement"):
        agreement = document_from_proto(request.peer_agreement)
        named = decode(agreement, PeerAgreement).cards
        card = next((one for one in versions if one.digest in named), card)
        answer = await peering.receive_application(venue, domain, card, agreement)
    else:
        answer = await _introduced(venue, domain, versions)
    own = venue.keyring.cards[venue.domain].document
    held = await venue.store.read(lambda view: view.document(answer.document)) if answer.state in SIGNED else None
    return pb.ApplyPeeringResponse(
        peering=object_of_answer(answer), card=document_to_proto(own),
        peer_agreement=document_to_proto(held) if held else None,
    )  # fmt: skip


async def _introduced(venue: Venue, domain: str, versions: Sequence[Document]) -> Answer:
    """A peer whose certificates we do not know any more hands over its newer cards; their roots are what counts."""
    if any(decode(one, Card).trust_domain != domain for one in versions):
        raise error("IDENTITY_WRONG_DOMAIN", "a venue hands over its own cards")
    await follow_cards(venue, versions)
    state = await venue.store.read(lambda view: peering.find(view, domain))
    if state is None:
        raise error("NOT_FOUND", f"no peering with {domain}")
    return Answer.of(state)


async def _explained(venue: Venue, call: Call, request: pb.PeerServiceExplainAccessRequest) -> access_pb2.Explanation:
    sender = sender_of(call, venue)
    state = await venue.store.read(lambda view: view.get(PeeringState, sender.domain))
    check_scope(state, "CONTRACT" if request.HasField("offer_sha256") else "ACCESS")
    if domain_of(request.consumer) != sender.domain:
        raise error("IDENTITY_WRONG_DOMAIN", "a venue asks for its own participants")
    if request.HasField("offer_sha256"):
        digest = request.offer_sha256
        return await explain_offer(
            venue, sender, digest, request.consumer, request.purpose, request.sql, request.parameters_json
        )
    found = await joined.of_agreements(venue, sender, (request.agreement, *request.joined))
    if any(one.state.consumer != request.consumer or one.state.provider_node != venue.domain for one in found):
        raise error("NOT_FOUND", "no such agreement")
    return await explain_found(venue, found, request.purpose, request.sql, request.parameters_json)


# --- feeds ----------------------------------------------------------------------------------------------------------


async def _followed(
    venue: Venue, changes: reading.Changes, audience: str, requests: AsyncIterator[pb.FollowFeedRequest]
) -> AsyncIterator[pb.FollowFeedResponse]:
    """Push the lines of one lane as they come, and answer every nonce with the head of the lane."""
    first = await anext(requests, None)
    if first is None or first.lane not in LANES:
        raise error("FIELD_MISSING", "name a lane first", field="lane")
    lane, seen = LANES[first.lane], first.after
    waiting: asyncio.Queue[bytes] = asyncio.Queue(maxsize=64)
    waiting.put_nowait(_nonce(first))
    tasks = [asyncio.ensure_future(_nonces(requests, waiting)), asyncio.ensure_future(_woken(changes, waiting))]
    try:
        while True:
            nonce = await waiting.get()
            lines, head = await venue.store.read(_lane(lane, audience, seen))
            seen = lines[-1].seq if lines else seen
            if lines or nonce:
                yield _answer(first.lane, nonce, head, lines)
            if lines and seen < head[0]:
                _put(waiting, b"")
            if tasks[0].done():
                tasks[0].result()
                return
    finally:
        for task in tasks:
            task.cancel()


def _nonce(request: pb.FollowFeedRequest) -> bytes:
    if len(request.nonce) not in NONCE_BYTES:
        raise error("FIELD_FORMAT", "a nonce has 8 to 32 bytes", field="nonce")
    return request.nonce


async def _nonces(requests: AsyncIterator[pb.FollowFeedRequest], waiting: asyncio.Queue[bytes]) -> None:
    try:
        async for request in requests:
            await waiting.put(_nonce(request))
    finally:
        _put(waiting, b"")


async def _woken(changes: reading.Changes, waiting: asyncio.Queue[bytes]) -> None:
    async for _ in changes.each():
        _put(waiting, b"")


def _put(waiting: asyncio.Queue[bytes], value: bytes) -> None:
    """A wake-up that finds the queue full is not needed: the reader looks anyway."""
    if not waiting.full():
        waiting.put_nowait(value)


def _lane(lane: str, audience: str, after: int) -> Any:
    """Query: the next lines of a lane and its head, while the peering opens it."""

    def query(view: View) -> tuple[list[FeedLine], tuple[int, str]]:
        check_scope(view.get(PeeringState, audience), "CATALOG" if lane == "CATALOG" else "")
        return _bounded(view.feed(lane, audience, after, LINES)), view.feed_head(lane, audience)

    return query


def _bounded(lines: list[FeedLine]) -> list[FeedLine]:
    """As many lines as one answer carries, at least one."""
    size = 0
    for count, line in enumerate(lines):
        size += sum(len(document.payload) for document in line.documents)
        if count and size > ANSWER_BYTES:
            return lines[:count]
    return lines


def _answer(lane: int, nonce: bytes, head: tuple[int, str], lines: list[FeedLine]) -> pb.FollowFeedResponse:
    response = pb.FollowFeedResponse(lane=lane, nonce=nonce, head_seq=head[0], head_digest=bytes.fromhex(head[1]))  # type: ignore[arg-type]
    for line in lines:
        documents = [document_to_proto(one) for one in line.documents]
        response.items.add(seq=line.seq, origin=line.origin, path=line.path, documents=documents)
    return response
