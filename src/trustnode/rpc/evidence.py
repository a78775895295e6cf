"""EvidenceService: the log and what it proves."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Final

from trustnode.app import evidence, tiles
from trustnode.app.publisher import Publisher
from trustnode.app.venue import Venue
from trustnode.core.evidence.tile import MAX_LEVEL, TileName
from trustnode.core.evidence.tree import TILE_WIDTH
from trustnode.errors import error
from trustnode.rpc.conversion import sender_of
from trustnode.rpc.dispatch import Call
from trustnode.rpc.methods import Method, only
from trustnode.store.unit import View
from trustnode.v1 import evidence_service_pb2 as pb
from trustnode.wire.convert import document_to_proto

SERVICE: Final = "/trustnode.v1.EvidenceService/"
CHUNK_BYTES: Final = 1 << 20
ENTRIES: Final = -1
"""The level that asks for a bundle of entries."""


def methods(venue: Venue, publisher: Publisher) -> tuple[Method, ...]:
    """The methods of the service."""

    async def get_checkpoint(_call: Call, _request: pb.GetCheckpointRequest) -> pb.GetCheckpointResponse:
        return pb.GetCheckpointResponse(checkpoint=(await publisher.publish()).note)

    async def get_proof(_call: Call, request: pb.GetProofRequest) -> pb.GetProofResponse:
        newest = await publisher.publish()
        size = request.tree_size or newest.checkpoint.size
        if not 0 < size <= newest.checkpoint.size:
            raise error("FIELD_FORMAT", f"the log has {newest.checkpoint.size} entries", field="tree_size")
        hashes, root = await venue.store.read(lambda view: _proof(view, request, size))
        return pb.GetProofResponse(checkpoint=newest.note, tree_size=size, hashes=hashes, root=root)

    async def get_tile(_call: Call, request: pb.GetTileRequest) -> pb.GetTileResponse:
        return pb.GetTileResponse(data=await tiles.tile(venue, publisher, _tile_name(request)))

    async def get_chain_head(call: Call, request: pb.GetChainHeadRequest) -> pb.GetChainHeadResponse:
        sender = sender_of(call, venue)
        head, published = await evidence.chain_head(venue, publisher, sender, request.kind, request.id)
        return pb.GetChainHeadResponse(chain_head=document_to_proto(head), checkpoint=published.note)

    async def get_bundle(call: Call, request: pb.GetBundleRequest) -> AsyncIterator[pb.GetBundleResponse]:
        if not request.agreement:
            raise error("FIELD_MISSING", "name the agreement", field="agreement")
        sender = sender_of(call, venue)
        # a peer that could ask us for the whole would be asked by us in turn
        own_part = request.own_part or sender.kind == "PEER"
        data = await evidence.bundle(venue, publisher, sender, request.agreement, own_part=own_part)
        digest = await asyncio.to_thread(lambda: hashlib.sha256(data).digest())
        for start in range(0, len(data), CHUNK_BYTES):
            last = start + CHUNK_BYTES >= len(data)
            chunk = data[start : start + CHUNK_BYTES]
            yield pb.GetBundleResponse(chunk=chunk, total_bytes=len(data), sha256=digest if last else b"")

    readers = only("CLIENT", "PEER", "OPERATOR")
    return (
        Method(
            name=SERVICE + "GetCheckpoint", request=pb.GetCheckpointRequest, response=pb.GetCheckpointResponse,
            handler=get_checkpoint, audiences=readers,
        ),
        Method(
            name=SERVICE + "GetProof", request=pb.GetProofRequest, response=pb.GetProofResponse, handler=get_proof,
            audiences=readers,
        ),
        Method(
            name=SERVICE + "GetTile", request=pb.GetTileRequest, response=pb.GetTileResponse, handler=get_tile,
            audiences=readers,
        ),
        Method(
            name=SERVICE + "GetChainHead", request=pb.GetChainHeadRequest, response=pb.GetChainHeadResponse,
            handler=get_chain_head, audiences=readers,
        ),
        Method(
            name=SERVICE + "GetBundle", request=pb.GetBundleRequest, response=pb.GetBundleResponse,
            handler=get_bundle, audiences=readers, cost="HEAVY", server_streaming=True,
        ),
    )  # fmt: skip


def _proof(view: View, request: pb.GetProofRequest, size: int) -> tuple[list[bytes], bytes]:
    log = view.evidence
    if request.HasField("from_size"):
        if not 0 <= request.from_size <= size:
            raise error("FIELD_FORMAT", f"a consistency proof begins at 0 to {size}", field="from_size")
        return log.consistency(request.from_size, size), log.root(size)
    if not 0 <= request.index < size:
        raise error("FIELD_FORMAT", f"entries are numbered 0 to {size - 1}", field="index")
    return log.inclusion(request.index, size), log.root(size)


def _tile_name(request: pb.GetTileRequest) -> TileName:
    if not (ENTRIES <= request.level <= MAX_LEVEL and request.index >= 0 and 0 <= request.width <= TILE_WIDTH):
        raise error("FIELD_FORMAT", "levels are -1 to 63, numbers not negative, widths 0 to 256", field="level")
    level = None if request.level == ENTRIES else request.level
    return TileName(level, request.index, request.width or TILE_WIDTH)
