"""DocumentService: documents in, objects out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from trustnode.app import reading
from trustnode.app.sealing import Seal, seal_of_agreement
from trustnode.app.submission import Answer, submit
from trustnode.app.venue import Venue
from trustnode.core.contract import AgreementState
from trustnode.core.document import Document
from trustnode.rpc.conversion import object_of, object_of_answer, seal_of, sender_of
from trustnode.rpc.dispatch import Call
from trustnode.rpc.methods import Method, only
from trustnode.store.unit import View
from trustnode.v1 import document_service_pb2 as pb
from trustnode.wire.convert import document_from_proto, document_to_proto, documents_from_proto

SERVICE: Final = "/trustnode.v1.DocumentService/"


def methods(venue: Venue, changes: reading.Changes) -> tuple[Method, ...]:
    """The methods of the service."""

    async def submit_document(call: Call, request: pb.SubmitDocumentRequest) -> pb.SubmitDocumentResponse:
        document = document_from_proto(request.document)
        answer = await submit(venue, sender_of(call, venue), document, documents_from_proto(request.supporting))
        produced = await venue.store.read(lambda view: produced_by(view, answer))
        return pb.SubmitDocumentResponse(
            object=object_of_answer(answer), produced=[document_to_proto(one) for one in produced]
        )

    async def get_object(call: Call, request: pb.GetObjectRequest) -> pb.GetObjectResponse:
        sender = sender_of(call, venue)

        def query(view: View) -> tuple[reading.Shown, Seal | None]:
            found = reading.show(view, sender, venue.domain, request.kind, request.id)
            state = found.state
            return found, seal_of_agreement(view, venue.domain, state) if isinstance(state, AgreementState) else None

        shown, seal = await venue.store.read(query)
        return pb.GetObjectResponse(
            object=object_of(shown.kind, shown.state, shown.documents[0] if shown.documents else None),
            documents=[document_to_proto(one) for one in shown.documents],
            seal=seal_of(seal),
        )

    async def list_objects(call: Call, request: pb.ListObjectsRequest) -> pb.ListObjectsResponse:
        sender, filters = sender_of(call, venue), dict(request.filter)
        page = await venue.store.read(
            lambda view: reading.listed(
                view, sender, venue.domain, request.kind, filters, size=request.page_size, token=request.page_token
            )
        )
        objects = [object_of(kind, state, document) for kind, state, document in page.items]
        return pb.ListObjectsResponse(objects=objects, next_page_token=page.next_token)

    async def watch_objects(call: Call, request: pb.WatchObjectsRequest) -> AsyncIterator[pb.WatchObjectsResponse]:
        sender, ids = sender_of(call, venue), tuple(request.ids)
        found = reading.watch(venue, changes, sender, request.kind, ids, request.after_version)
        async for shown in found:
            yield pb.WatchObjectsResponse(object=object_of(shown.kind, shown.state))

    own, readers = only("CLIENT", "OPERATOR"), only("CLIENT", "OPERATOR")
    return (
        Method(
            name=SERVICE + "SubmitDocument", request=pb.SubmitDocumentRequest, response=pb.SubmitDocumentResponse,
            handler=submit_document, audiences=own, max_request_bytes=4 * 1024 * 1024,
        ),
        Method(
            name=SERVICE + "GetObject", request=pb.GetObjectRequest, response=pb.GetObjectResponse, handler=get_object,
            audiences=readers,
        ),
        Method(
            name=SERVICE + "ListObjects", request=pb.ListObjectsRequest, response=pb.ListObjectsResponse,
            handler=list_objects, audiences=readers,
        ),
        Method(
            name=SERVICE + "WatchObjects", request=pb.WatchObjectsRequest, response=pb.WatchObjectsResponse,
            handler=watch_objects, audiences=readers, server_streaming=True,
        ),
    )  # fmt: skip


def produced_by(view: View, answer: Answer) -> list[Document]:
    """Documents that a submission made on the way."""
    return [document for digest in answer.produced if (document := view.document(digest)) is not None]
