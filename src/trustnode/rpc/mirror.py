"""PeerService, its part about copies of logs."""

from __future__ import annotations

import re
from typing import Final

from trustnode.app import mirror
from trustnode.app.publisher import Publisher
from trustnode.app.venue import Venue
from trustnode.errors import error
from trustnode.rpc.conversion import sender_of
from trustnode.rpc.dispatch import Call
from trustnode.rpc.methods import Method, only
from trustnode.v1 import peer_service_pb2 as pb
from trustnode.wire.convert import document_to_proto
from trustnode.wire.mirror import line_to_proto

SERVICE: Final = "/trustnode.v1.PeerService/"
DIGEST: Final = re.compile("[0-9a-f]{64}")


def methods(venue: Venue, publisher: Publisher) -> tuple[Method, ...]:
    """The methods."""

    async def mirror_log(call: Call, request: pb.MirrorLogRequest) -> pb.MirrorLogResponse:
        page = await mirror.page(venue, publisher, sender_of(call, venue), request.first)
        lines = [line_to_proto(line) for line in page.lines]
        return pb.MirrorLogResponse(checkpoint=page.note, lines=lines, consistency=page.consistency)

    async def get_mirrored_log(call: Call, request: pb.GetMirroredLogRequest) -> pb.GetMirroredLogResponse:
        sender = sender_of(call, venue)
        held = await venue.store.read(
            lambda view: mirror.held(view, sender, request.origin, request.first, request.max_lines)
        )
        lines = [line_to_proto(line) for line in held.lines]
        return pb.GetMirroredLogResponse(size=held.size, checkpoint=held.note, lines=lines)

    async def get_documents(call: Call, request: pb.GetConcerningDocumentsRequest) -> pb.GetConcerningDocumentsResponse:
        if not all(DIGEST.fullmatch(one) for one in request.digests):
            raise error("FIELD_FORMAT", "a digest is 64 hexadecimal digits", field="digests")
        sender = sender_of(call, venue)
        found = await venue.store.read(lambda view: mirror.documents(view, sender, request.digests))
        return pb.GetConcerningDocumentsResponse(documents=[document_to_proto(one) for one in found])

    peer = only("PEER")
    return (
        Method(
            name=SERVICE + "MirrorLog", request=pb.MirrorLogRequest, response=pb.MirrorLogResponse,
            handler=mirror_log, audiences=peer,
        ),
        Method(
            name=SERVICE + "GetMirroredLog", request=pb.GetMirroredLogRequest, response=pb.GetMirroredLogResponse,
            handler=get_mirrored_log, audiences=peer,
        ),
        Method(
            name=SERVICE + "GetConcerningDocuments", request=pb.GetConcerningDocumentsRequest,
            response=pb.GetConcerningDocumentsResponse, handler=get_documents, audiences=peer,
        ),
    )  # fmt: skip
