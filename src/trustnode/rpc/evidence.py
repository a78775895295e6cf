"""EvidenceService: the log and what it proves."""

from __future__ import annotations

from typing import Final

from trustnode.app.publisher import Publisher
from trustnode.app.venue import Venue
from trustnode.errors import error
from trustnode.rpc.dispatch import Call
from trustnode.rpc.methods import Method, only
from trustnode.store.unit import View
from trustnode.v1 import evidence_service_pb2 as pb

SERVICE: Final = "/trustnode.v1.EvidenceService/"
HASH_BYTES: Final = 32
TILE_WIDTH: Final = 256


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
        data = await venue.store.read(lambda view: _tile(view, request))
        return pb.GetTileResponse(data=data)

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


def _tile(view: View, request: pb.GetTileRequest) -> bytes:
    width = request.width or TILE_WIDTH
    held = view.evidence.tile(request.level, request.index) if 0 <= request.level < 8 and request.index >= 0 else b""
    if not 0 < width <= TILE_WIDTH or len(held) < width * HASH_BYTES:
        raise error("NOT_FOUND", "the log has no such tile yet")
    return held[: width * HASH_BYTES]
