"""AccessService: explaining, small answers, receipts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from trustnode.app import access, explain, joined, reading
from trustnode.app.venue import Sender, Venue
from trustnode.core.access import AccessRequest, Query
from trustnode.core.document import decode
from trustnode.errors import error
from trustnode.rpc.catalog import term_of
from trustnode.rpc.conversion import object_of, seal_of, sender_of, set_time
from trustnode.rpc.dispatch import Call
from trustnode.rpc.methods import Method, only
from trustnode.v1 import access_pb2
from trustnode.v1 import access_service_pb2 as pb
from trustnode.wire.convert import Ticket, document_to_proto, ticket_from_bytes

SERVICE: Final = "/trustnode.v1.AccessService/"
EXPLAIN_S: Final = 20.0


def methods(venue: Venue) -> tuple[Method, ...]:
    """The methods of the service."""

    async def explain_access(call: Call, request: pb.ExplainAccessRequest) -> pb.ExplainAccessResponse:
        sender = sender_of(call, venue)
        if not request.WhichOneof("subject"):
            raise error("FIELD_MISSING", "name an agreement or an offer", field="subject")
        asked = _of_agreement if request.HasField("agreement") else _of_offer
        return pb.ExplainAccessResponse(explanation=await asked(venue, sender, request))

    async def read(call: Call, request: pb.ReadRequest) -> pb.ReadResponse:
        sender, ticket = sender_of(call, venue), ticket_from_bytes(request.ticket)
        answer = await (access.read if is_ours(venue, ticket) else access.broker_read)(venue, sender, ticket)
        return pb.ReadResponse(result=result_of(answer))

    async def get_receipt(call: Call, request: pb.GetReceiptRequest) -> pb.GetReceiptResponse:
        sender = sender_of(call, venue)
        found = await venue.store.read(
            lambda view: reading.show(view, sender, venue.domain, "access", request.access).state.id
        )
        return _receipt_response(await access.receipt_of(venue, sender, found))

    return (
        Method(
            name=SERVICE + "ExplainAccess", request=pb.ExplainAccessRequest, response=pb.ExplainAccessResponse,
            handler=explain_access, quotes_query=True, audiences=only("CLIENT"),
        ),
        Method(
            name=SERVICE + "Read", request=pb.ReadRequest, response=pb.ReadResponse, handler=read,
            quotes_query=True, audiences=only("CLIENT"),
        ),
        Method(
            name=SERVICE + "GetReceipt", request=pb.GetReceiptRequest, response=pb.GetReceiptResponse,
            handler=get_receipt, audiences=only("CLIENT", "OPERATOR", "PEER"),
        ),
    )  # fmt: skip


def _receipt_response(found: access.Settlement) -> pb.GetReceiptResponse:
    return pb.GetReceiptResponse(
        access=object_of("access", found.state),
        receipt=document_to_proto(found.receipt) if found.receipt else None,
        acks=[document_to_proto(one) for one in found.acks],
        seal=seal_of(found.seal),
    )


def is_ours(venue: Venue, ticket: Ticket) -> bool:
    """Whether the data that a ticket asks for lie at this node."""
    return decode(ticket.request, AccessRequest).provider == venue.domain


def query_of(sql: str, parameters_json: str) -> Query:
    """A query of an explanation; empty SQL means everything.

    Raises:
        TrustnodeError: QUERY_INVALID.
    """
    try:
        parameters = msgspec.json.decode(parameters_json or "[]", type=tuple[str | int | bool | None, ...])
        return Query(sql or " ", parameters) if sql else Query(" ")
    except (msgspec.DecodeError, msgspec.ValidationError) as problem:
        raise error("QUERY_INVALID", f"parameters: {problem}", field="parameters_json") from None


async def _of_agreement(venue: Venue, sender: Sender, request: pb.ExplainAccessRequest) -> access_pb2.Explanation:
    found = await joined.of_agreements(venue, sender, (request.agreement, *request.joined))
    first, *others = [one.state for one in found]
    if first.provider_node != venue.domain:
        return await venue.peers.get(first.provider_node).explain(
            agreement=first.id, joined=[one.id for one in others], consumer=first.consumer, sql=request.sql,
            purpose=request.purpose or joined.purpose_for(venue, [one.value for one in found]),
            parameters_json=request.parameters_json, timeout_s=EXPLAIN_S,
        )  # fmt: skip
    return await explain_found(venue, found, request.purpose, request.sql, request.parameters_json)


async def explain_found(
    venue: Venue, found: Sequence[joined.Under], purpose: str, sql: str, parameters_json: str
) -> access_pb2.Explanation:
    """Explain a query under agreements on our own products."""
    subjects = [explain.subject_of_agreement(one.value, one.terms) for one in found]
    asker = explain.asker_of(venue, found[0].state.consumer)
    purpose = purpose or joined.purpose_for(venue, [one.value for one in found])
    query = query_of(sql, parameters_json)
    return explanation_of(await joined.explain_all(venue, subjects, asker, purpose, query))


async def _of_offer(venue: Venue, sender: Sender, request: pb.ExplainAccessRequest) -> access_pb2.Explanation:
    named = request.offer
    origin, document = await venue.store.read(
        lambda view: explain.find_offer(view, named.product, named.offer, sender, venue.domain)
    )
    if origin != venue.domain:
        return await venue.peers.get(origin).explain(
            offer_sha256=document.digest, consumer=sender.participant, purpose=request.purpose, sql=request.sql,
            parameters_json=request.parameters_json, timeout_s=EXPLAIN_S,
        )  # fmt: skip
    return await explain_offer(
        venue, sender, document.digest, sender.participant, request.purpose, request.sql, request.parameters_json
    )


async def explain_offer(
    venue: Venue, sender: Sender, digest: str, consumer: str, purpose: str, sql: str, parameters_json: str
) -> access_pb2.Explanation:
    """Explain one of our offers to a consumer."""
    offer = await venue.store.read(lambda view: explain.offer_on_sale(view, digest, sender, venue.domain))
    subject, key = explain.subject_of_offer(offer, consumer), explain.asker_of(venue, consumer)
    return explanation_of(await explain.explain(venue, subject, key, purpose, query_of(sql, parameters_json)))


def explanation_of(value: explain.Explanation) -> access_pb2.Explanation:
    """An explanation as a message."""
    message = access_pb2.Explanation(
        allowed=value.allowed, reason=value.reason, message=value.message, next_step=value.next_step,
        columns_total=value.columns_total, price=value.price, terms=[term_of(term) for term in value.terms],
    )  # fmt: skip
    for column in value.columns:
        message.columns.add(**msgspec.structs.asdict(column))
    for counter in value.counters:
        shown = message.counters.add(text=counter.text, unit=counter.unit, used=counter.used, limit=counter.limit)
        set_time(shown.window_ends_at, counter.window_ends)
    for name in ("rows_estimate", "rows_total", "price_fen"):
        if getattr(value, name) is not None:
            setattr(message, name, getattr(value, name))
    return message


def result_of(answer: access.SmallRead) -> access_pb2.ReadResult:
    """A small answer as a message."""
    return access_pb2.ReadResult(
        access=answer.header.access,
        frames=answer.frames,
        stream_salt=bytes.fromhex(answer.header.stream_salt),
        decision_seq=answer.header.decision_seq,
        decision_link=bytes.fromhex(answer.header.decision_link),
        receipt=document_to_proto(answer.receipt),
    )
