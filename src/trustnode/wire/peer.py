"""Calls to another venue's node, each with the most that its answer may be.

Decides: which methods of a node are called how, and that an answer that cannot be read is its fault and nobody else's.
Leaves to others: the calls themselves (``call``), when to repeat (the courier), what an answer means.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple, Self, TypeVar

from google.protobuf.message import Message
from grpc import aio

from trustnode.arrow import flight_pb2
from trustnode.core.document import Document
from trustnode.errors import TrustnodeError, error
from trustnode.keys import Credential
from trustnode.v1 import access_pb2, access_service_pb2, evidence_service_pb2, peer_service_pb2
from trustnode.wire.call import UNREADABLE, Conversation, Pairs, Stream, call_both, call_stream, call_unary
from trustnode.wire.channel import Target, VenueChannel
from trustnode.wire.convert import (
    RemoteObject,
    document_from_proto,
    document_to_proto,
    documents_from_proto,
    is_retryable_code,
    object_from_proto,
)

M = TypeVar("M", bound=Message)
LaneName = Literal["CONTROL", "CATALOG"]
SERVICE: Final = "/trustnode.v1.PeerService/"
EARLIER_CARDS: Final = 16
"""Versions of a card that one call may bring before the newest."""
HEALTH: Final = "/grpc.health.v1.Health/Check"
MAX_PART_BYTES: Final = 128 * 1024 * 1024
"""A peer's part of a bundle, which is held in memory."""
MAX_ANSWER_BYTES: Final = 2 * 1024 * 1024
"""An answer of a peer: a small read has a megabyte. What is longer is not parsed."""
MAX_DELIVERED_BYTES: Final = 4 * 1024 * 1024
"""The answer to a document, with the documents that it produced."""
MAX_READ_FRAMES: Final = 1024
"""Frames of a small read."""
BEGIN_S: Final = 10.0
"""Time in which a lane must have begun."""
MAX_ITEMS: Final = 256
"""Lines of a lane in one answer; nodes send 64."""
MAX_PATH: Final = 16
"""Venues that a line came through."""
DO_GET: Final = "/arrow.flight.protocol.FlightService/DoGet"


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """What stands in an answer and can be no value is the other node's fault, not ours and not the request's."""
    try:
        yield
    except (TrustnodeError, ValueError, OverflowError) as problem:
        raise error("PEER_UNREACHABLE", UNREADABLE) from problem


class Applied(NamedTuple):
    """What a node answered to an application for peering."""

    peering: RemoteObject | None
    card: Document
    peer_agreement: Document | None


class Delivered(NamedTuple):
    """What a node made of a document."""

    object: RemoteObject | None
    produced: tuple[Document, ...]


class ReadAnswer(NamedTuple):
    """A small answer with its evidence."""

    access: str
    frames: tuple[bytes, ...]
    stream_salt: bytes
    decision_seq: int
    decision_link: bytes
    receipt: Document


class CheckpointAnswer(NamedTuple):
    """What a witness answered; nothing in it is verified."""

    status: int
    content_type: str
    body: bytes
    held: bytes
    card_version: int = 0
    """Highest version of our own card that it holds; 0: it said nothing of it."""
    card_sha256: str = ""
    cards: tuple[Document, ...] = ()
    """Versions of our card after the one that we named."""


class FeedItem(NamedTuple):
    """One line of a peer's lane."""

    seq: int
    origin: str
    path: tuple[str, ...]
    documents: tuple[Document, ...]


class FeedAnswer(NamedTuple):
    """What a peer's lane says at one moment."""

    nonce: bytes
    """The nonce that is answered; empty where something happened."""
    head_seq: int
    head_digest: bytes
    items: tuple[FeedItem, ...]


class Peer:
    """Another venue's node."""

    def __init__(self, channel: VenueChannel) -> None:
        self.channel = channel

    @property
    def trust_domain(self) -> str:
        """The venue."""
        return self.channel.target.trust_domain

    async def apply(
        self,
        card: Document,
        peer_agreement: Document | None = None,
        earlier_cards: Sequence[Document] = (),
        *,
        timeout_s: float,
    ) -> Applied:
        """Apply for peering."""
        request = peer_service_pb2.ApplyPeeringRequest(
            card=document_to_proto(card),
            peer_agreement=document_to_proto(peer_agreement) if peer_agreement else None,
            earlier_cards=[document_to_proto(earlier) for earlier in earlier_cards],
        )
        answer = await self._call("ApplyPeering", request, peer_service_pb2.ApplyPeeringResponse, timeout_s)
        with _reading():
            return Applied(
                object_from_proto(answer.peering) if answer.HasField("peering") else None,
                document_from_proto(answer.card),
                document_from_proto(answer.peer_agreement) if answer.HasField("peer_agreement") else None,
            )

    async def deliver(
        self, event_id: str, document: Document, supporting: Sequence[Document] = (), *, timeout_s: float
    ) -> Delivered:
        """Deliver one document; returns when the peer's step is durable. The same event id may be sent again."""
        request = peer_service_pb2.DeliverDocumentRequest(
            event_id=event_id,
            document=document_to_proto(document),
            supporting=[document_to_proto(one) for one in supporting],
        )
        response = peer_service_pb2.DeliverDocumentResponse
        answer = await self._call("DeliverDocument", request, response, timeout_s, MAX_DELIVERED_BYTES)
        with _reading():
            held = object_from_proto(answer.object) if answer.HasField("object") else None
            return Delivered(held, documents_from_proto(answer.produced))

    async def explain(
        self,
        *,
        consumer: str,
        agreement: str = "",
        joined: Sequence[str] = (),
        offer_sha256: str = "",
        purpose: str = "",
        sql: str = "",
        parameters_json: str = "",
        timeout_s: float,
    ) -> access_pb2.Explanation:
        """Ask what a query would deliver to one of our participants."""
        request = peer_service_pb2.PeerServiceExplainAccessRequest(
            consumer=consumer, purpose=purpose, sql=sql, parameters_json=parameters_json, joined=joined
        )
        if agreement:
            request.agreement = agreement
        if offer_sha256:
            request.offer_sha256 = offer_sha256
        response = peer_service_pb2.PeerServiceExplainAccessResponse
        return (await self._call("ExplainAccess", request, response, timeout_s)).explanation

    async def read(self, ticket: bytes, *, timeout_s: float) -> ReadAnswer:
        """Read a small answer for one of our participants."""
        request = peer_service_pb2.PeerServiceReadRequest(ticket=ticket)
        response = peer_service_pb2.PeerServiceReadResponse
        answer = await self._call("Read", request, response, timeout_s)
        with _reading():
            return read_answer(answer.result)

    async def tile(self, level: int, index: int, width: int, *, timeout_s: float) -> bytes:
        """A tile of hashes of the node's log; nothing in it is verified."""
        request = evidence_service_pb2.GetTileRequest(level=level, index=index, width=width % 256)
        method, response = "/trustnode.v1.EvidenceService/GetTile", evidence_service_pb2.GetTileResponse
        answer = await call_unary(
            self.channel.get(), method, request, response, timeout_s=timeout_s, max_bytes=MAX_ANSWER_BYTES
        )
        return answer.data

    async def add_checkpoint(self, body: bytes, *, card_version: int = 0, timeout_s: float) -> CheckpointAnswer:
        """Ask the node to cosign a checkpoint (``core.evidence.witness``), and for versions of our card after one."""
        request = peer_service_pb2.AddCheckpointRequest(body=body, card_version=card_version)
        answer = await self._call("AddCheckpoint", request, peer_service_pb2.AddCheckpointResponse, timeout_s)
        with _reading():
            cards = tuple(document_from_proto(one) for one in answer.cards[:EARLIER_CARDS])
        return CheckpointAnswer(
            answer.status, answer.content_type, answer.body, answer.held, answer.card_version, answer.card_sha256, cards
        )

    async def check_health(self, *, timeout_s: float) -> None:
        """Ask whether the node serves.

        Raises:
            TrustnodeError: As ``call_unary``; DRAINING when it answers that it does not.
        """
        from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]  # the client does not need it

        response: Any = health_pb2.HealthCheckResponse
        answer = await call_unary(
            self.channel.get(), HEALTH, health_pb2.HealthCheckRequest(), response, timeout_s=timeout_s
        )
        if answer.status != response.SERVING:
            raise error("DRAINING", f"{self.trust_domain} does not serve now")

    async def receipt(self, access: str, *, timeout_s: float) -> Document | None:
        """The receipt of an access that we carried; None while there is none."""
        request = access_service_pb2.GetReceiptRequest(access=access)
        method, response = "/trustnode.v1.AccessService/GetReceipt", access_service_pb2.GetReceiptResponse
        answer = await call_unary(
            self.channel.get(), method, request, response, timeout_s=timeout_s, max_bytes=MAX_ANSWER_BYTES
        )
        with _reading():
            return document_from_proto(answer.receipt) if answer.HasField("receipt") else None

    async def bundle_part(self, agreement: str, *, timeout_s: float) -> bytes:
        """The peer's own part of an agreement's evidence bundle; nothing in it is verified.

        Raises:
            TrustnodeError: As ``call_unary``; FIELD_TOO_LONG, HASH_MISMATCH.
        """
        request = evidence_service_pb2.GetBundleRequest(agreement=agreement, own_part=True)
        method, decode = "/trustnode.v1.EvidenceService/GetBundle", evidence_service_pb2.GetBundleResponse.FromString
        data, digest = bytearray(), b""
        async with call_stream(self.channel.get(), method, request, decode, timeout_s=timeout_s) as answers:
            async for answer in answers:
                data += answer.chunk
                digest = answer.sha256 or digest
                if len(data) > MAX_PART_BYTES:
                    raise error("FIELD_TOO_LONG", f"a part has at most {MAX_PART_BYTES} bytes", field="bundle")
        if digest != hashlib.sha256(data).digest():
            raise error("HASH_MISMATCH", "the bundle was altered or cut on its way")
        return bytes(data)

    def do_get(self, ticket: bytes, *, timeout_s: float, metadata: Pairs = ()) -> Stream[bytes]:
        """Open a data stream; each answer is one finished frame, unparsed."""
        request = flight_pb2.Ticket(ticket=ticket)
        return call_stream(self.channel.get(), DO_GET, request, None, timeout_s=timeout_s, metadata=metadata)

    async def follow_feed(self, lane: LaneName, after: int, nonce: bytes, *, timeout_s: float) -> FeedCall:
        """Follow a lane from the number after ``after``."""
        name = SERVICE + "FollowFeed"
        decode = peer_service_pb2.FollowFeedResponse.FromString
        call = call_both(self.channel.get(), name, decode, timeout_s=timeout_s, max_bytes=MAX_DELIVERED_BYTES)
        try:
            async with asyncio.timeout(BEGIN_S):  # a peer may take the connection and say nothing, not even SETTINGS
                await call.send(peer_service_pb2.FollowFeedRequest(lane=f"LANE_{lane}", after=after, nonce=nonce))
        except BaseException as problem:
            call.cancel()
            if isinstance(problem, TimeoutError):
                raise error("PEER_UNREACHABLE", f"{self.trust_domain} took no call in {BEGIN_S:g} s") from None
            raise
        return FeedCall(call)

    async def _call(
        self, name: str, request: Message, response: type[M], timeout_s: float, max_bytes: int = MAX_ANSWER_BYTES
    ) -> M:
        method = SERVICE + name
        try:
            return await call_unary(
                self.channel.get(), method, request, response, timeout_s=timeout_s, max_bytes=max_bytes
            )
        except Exception as problem:
            if isinstance(problem.__cause__, aio.AioRpcError) and is_retryable_code(problem.__cause__):
                self.channel.try_next_address()
            raise


class FeedCall:
    """A lane that is being followed."""

    def __init__(self, call: Conversation[peer_service_pb2.FollowFeedResponse]) -> None:
        self._call = call

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._call.cancel()

    def cancel(self) -> None:
        """End the call now."""
        self._call.cancel()

    async def ask(self, nonce: bytes) -> None:
        """Send a nonce; its answer shows how old our knowledge is."""
        await self._call.send(peer_service_pb2.FollowFeedRequest(nonce=nonce))

    async def __aiter__(self) -> AsyncIterator[FeedAnswer]:
        """Every answer, in order."""
        async for answer in self._call:
            with _reading():
                items = _items(answer)
            yield FeedAnswer(answer.nonce, answer.head_seq, answer.head_digest, items)


def _items(answer: peer_service_pb2.FollowFeedResponse) -> tuple[FeedItem, ...]:
    if len(answer.items) > MAX_ITEMS or any(len(item.path) > MAX_PATH for item in answer.items):
        raise error("FIELD_TOO_LONG", f"an answer has at most {MAX_ITEMS} lines", field="items")
    return tuple(
        FeedItem(item.seq, item.origin, tuple(item.path), documents_from_proto(item.documents)) for item in answer.items
    )


def read_answer(result: access_pb2.ReadResult) -> ReadAnswer:
    """Read a small answer from its message.

    Raises:
        TrustnodeError: FIELD_TOO_LONG; as ``document_from_proto``.
    """
    if len(result.frames) > MAX_READ_FRAMES:
        raise error("FIELD_TOO_LONG", f"a small answer has at most {MAX_READ_FRAMES} frames", field="frames")
    return ReadAnswer(
        result.access,
        tuple(result.frames),
        result.stream_salt,
        result.decision_seq,
        result.decision_link,
        document_from_proto(result.receipt),
    )


class Peers:
    """The channels to all confirmed peers, one a venue."""

    def __init__(self, credential: Credential) -> None:
        self._credential = credential
        self._held: dict[str, Peer] = {}

    def __iter__(self) -> Iterator[Peer]:
        return iter(tuple(self._held.values()))

    def get(self, trust_domain: str) -> Peer:
        """The node of a venue.

        Raises:
            TrustnodeError: PEER_UNREACHABLE when we have no channel to it.
        """
        peer = self._held.get(trust_domain)
        if peer is None:
            raise error("PEER_UNREACHABLE", f"{trust_domain} is no peer of this node")
        return peer

    def put(self, target: Target) -> Peer:
        """Add a venue, or follow its card to other addresses or roots."""
        peer = self._held.get(target.trust_domain)
        if peer is None:
            peer = self._held[target.trust_domain] = Peer(VenueChannel(target, self._credential))
        else:
            peer.channel.replace(target=target)
        return peer

    async def remove(self, trust_domain: str) -> None:
        """Close the channel to a venue; its running calls are cancelled."""
        peer = self._held.pop(trust_domain, None)
        if peer is not None:
            await peer.channel.aclose()

    def replace_credential(self, credential: Credential) -> None:
        """Show another certificate of ours from the next connection on."""
        self._credential = credential
        for peer in self:
            peer.channel.replace(credential=credential)

    async def aclose(self) -> None:
        """Close every channel."""
        for trust_domain in tuple(self._held):
            await self.remove(trust_domain)
