"""What a caller hears: answers, refusals, and nothing that should stay inside."""

import asyncio
import json

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from structlog.testing import capture_logs

from trustnode.errors import ROWS, TrustnodeError
from trustnode.rpc.boundary import DETAILS_KEY
from trustnode.rpc.methods import ANYONE, Method, MethodTable
from trustnode.v1 import document_pb2, peer_service_pb2
from trustnode.wire.call import call_both, call_stream, call_unary, call_unary_whole
from trustnode.wire.channel import open_channel
from trustnode.wire.convert import RemoteError, error_from_rpc

Message = document_pb2.Document


@pytest.fixture
async def channel(world):
    await world.start(first_message_s=1, max_call_s=2)
    async with open_channel(world.target, world.b.client()) as channel:
        yield channel


async def ask(channel, name, payload_type="x", payload=b"p", **more):
    request = Message(payload_type=payload_type, payload=payload)
    return await call_unary(channel, f"/test.T/{name}", request, Message, timeout_s=5, **more)


async def refused(awaitable) -> TrustnodeError:
    with pytest.raises(TrustnodeError) as caught:
        await awaitable
    return caught.value


def status_of(failure: TrustnodeError) -> status_pb2.Status:
    trailing = dict(failure.__cause__.trailing_metadata())
    return status_pb2.Status.FromString(trailing[DETAILS_KEY])


# --- errors -----------------------------------------------------------------------------------------------------------


async def test_every_reason_comes_back_as_the_error_it_was(channel):
    for row in ROWS:
        failure = await refused(ask(channel, "Fail", row.reason, b'{"field":"price","limit":"7"}'))
        assert type(failure) is row.error
        assert (failure.reason, failure.message) == (
            row.reason,
            row.meaning if row.code == "UNAUTHENTICATED" else "a sentence with ümlaut",
        )
        assert failure.__cause__.code() is grpc.StatusCode[row.code]
        assert failure.next_step == row.next_step
        if row.code != "UNAUTHENTICATED":
            assert (failure.metadata["field"], failure.metadata["limit"]) == ("price", "7")
        infos = [detail for detail in status_of(failure).details if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
        assert len(infos) == 1


async def test_an_error_nobody_foresaw_leaves_an_id_and_nothing_of_its_text(channel):
    with capture_logs() as lines:
        failure = await refused(ask(channel, "Fail", "unforeseen"))
    assert failure.reason == "INTERNAL"
    assert failure.__cause__.code() is grpc.StatusCode.INTERNAL
    assert "hunter2" not in str(failure.__cause__)
    logged = next(line for line in lines if line["event"] == "internal")
    assert logged["error_id"] == failure.metadata["error_id"]
    assert "hunter2" in str(logged["exc_info"])


async def test_a_wrong_field_and_a_time_to_wait_are_told_in_googles_words_too(channel):
    failure = await refused(ask(channel, "Fail", "FIELD_FORMAT", b'{"field":"price"}'))
    violation = error_details_pb2.BadRequest()
    assert any(detail.Unpack(violation) for detail in status_of(failure).details)
    assert violation.field_violations[0].field == "price"
    failure = await refused(ask(channel, "Fail", "QUOTA_WINDOW", b'{"retry_after_s":"1.5"}'))
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status_of(failure).details)
    assert retry.retry_delay == duration_pb2.Duration(seconds=1, nanos=500_000_000)
    assert failure.retry_after == 1.5


async def test_long_particulars_are_cut_so_that_the_refusal_arrives(channel):
    values = {f"k{number}": "x" * 4000 for number in range(40)}
    failure = await refused(ask(channel, "Fail", "DENIED", json.dumps(values).encode()))
    assert failure.reason == "DENIED"
    assert len(failure.metadata) <= 17


def failed_call(
    code: grpc.StatusCode, *infos: error_details_pb2.ErrorInfo, raw: bytes | None = None
) -> aio.AioRpcError:
    status = status_pb2.Status()
    for info in infos:
        status.details.add().Pack(info)
    trailing = aio.Metadata((DETAILS_KEY, status.SerializeToString() if raw is None else raw))
    return aio.AioRpcError(code, aio.Metadata(), trailing, "text")


def test_an_unknown_reason_is_kept_in_a_remote_error():
    info = error_details_pb2.ErrorInfo(
        reason="OF_A_LATER_VERSION", domain="trustnode", metadata={"next_step": "Upgrade."}
    )
    found = error_from_rpc(failed_call(grpc.StatusCode.FAILED_PRECONDITION, info))
    assert isinstance(found, RemoteError)
    assert (found.reason, found.code, found.remote_reason) == ("INTERNAL", "FAILED_PRECONDITION", "OF_A_LATER_VERSION")
    assert found.next_step == "Upgrade."


@pytest.mark.parametrize(
    "code, reason", [("UNAVAILABLE", "PEER_UNREACHABLE"), ("DEADLINE_EXCEEDED", "DEADLINE"), ("DATA_LOSS", "INTERNAL")]
)
def test_a_failure_without_a_reason_is_told_by_its_code(code, reason):
    assert error_from_rpc(failed_call(grpc.StatusCode[code])).reason == reason
    other = error_details_pb2.ErrorInfo(reason="DENIED", domain="another.example")
    assert error_from_rpc(failed_call(grpc.StatusCode[code], other)).reason == reason


def test_metadata_of_a_peer_cannot_set_parts_of_the_error_itself():
    hostile = {"record": "x", "reason": "y", "message": "z", "self": "q", "Bad Key": "w", "field": "price"}
    info = error_details_pb2.ErrorInfo(reason="DENIED", domain="trustnode", metadata=hostile)
    found = error_from_rpc(failed_call(grpc.StatusCode.PERMISSION_DENIED, info))
    assert (found.reason, found.record, dict(found.metadata)) == ("DENIED", None, {"field": "price"})


def test_garbage_in_the_details_is_no_exception():
    assert error_from_rpc(failed_call(grpc.StatusCode.UNAVAILABLE, raw=b"\xff\xff")).reason == "PEER_UNREACHABLE"


async def test_a_node_that_is_not_there_is_unreachable(world, channel):
    port = world.port
    await world.server.stop(0)
    world.server = None
    async with open_channel(world.target, world.b.client(), f"127.0.0.1:{port}") as other:
        assert (await refused(ask(other, "Who"))).reason == "PEER_UNREACHABLE"


# --- requests ---------------------------------------------------------------------------------------------------------


async def test_d2f_headers_without_a_message_are_identified_and_then_ended(channel):
    call = channel.stream_unary("/test.T/Who", Message.SerializeToString, Message.FromString)()
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    assert error_from_rpc(caught.value).message == "the request message did not come in time"


async def test_an_empty_call_and_a_second_message_are_refused(channel):
    for count, reason in ((0, "REQUEST_EMPTY"), (2, "MESSAGE_UNPARSABLE")):
        invoke = channel.stream_unary("/test.T/Who", Message.SerializeToString, Message.FromString)
        with pytest.raises(aio.AioRpcError) as caught:
            await invoke(iter([Message(payload=b"p")] * count))
        assert error_from_rpc(caught.value).reason == reason


async def test_bytes_that_are_no_message_are_refused(channel):
    invoke = channel.unary_unary("/test.T/Who")
    with pytest.raises(aio.AioRpcError) as caught:
        await invoke(b"\xff\xff\xff")
    assert error_from_rpc(caught.value).reason == "MESSAGE_UNPARSABLE"


async def test_a_request_longer_than_its_method_takes_is_refused(channel):
    assert (await ask(channel, "Small")).payload
    assert (await refused(ask(channel, "Small", payload=b"x" * 100))).reason == "FIELD_TOO_LONG"


async def test_d2d_a_call_has_a_longest_time_even_if_its_caller_sets_none(channel):
    invoke = channel.unary_unary("/test.T/Slow", Message.SerializeToString, Message.FromString)
    with pytest.raises(aio.AioRpcError) as caught:
        await invoke(Message(payload=b"p"))
    assert error_from_rpc(caught.value).reason == "DEADLINE"


async def test_a_deadline_of_the_caller_is_a_deadline(channel):
    request = Message(payload=b"p")
    failure = await refused(call_unary(channel, "/test.T/Slow", request, Message, timeout_s=0.2))
    assert failure.reason == "DEADLINE"


# --- streams ----------------------------------------------------------------------------------------------------------


async def test_a_stream_brings_bytes_and_the_metadata_at_both_ends(channel):
    async with call_stream(channel, "/test.T/Count", Message(payload=b"3"), None, timeout_s=5) as stream:
        assert (await stream.initial_metadata())["trustnode-access-bin"] == b"\x01\x02"
        assert [frame async for frame in stream] == [b"frame 0", b"frame 1", b"frame 2"]
        assert (await stream.trailing_metadata())["trustnode-receipt-bin"] == b"\x03"


async def test_leaving_a_stream_ends_it_at_the_node(world, channel):
    async with call_stream(channel, "/test.T/Wait", Message(payload=b"p"), Message.FromString, timeout_s=5) as stream:
        async for answer in stream:
            assert answer.payload == b"begun"
            break
    await asyncio.wait_for(world.ended.wait(), 5)


async def test_a_stream_that_is_cancelled_here_is_no_cancelled_task(world, channel):
    stream = call_stream(channel, "/test.T/Wait", Message(payload=b"p"), Message.FromString, timeout_s=5)
    answers = aiter(stream)
    await anext(answers)
    await world.started.wait()
    asyncio.get_running_loop().call_soon(stream.cancel)
    assert (await refused(anext(answers))).reason == "CANCELLED"


async def test_both_directions_answer_each_other(channel):
    async with call_both(channel, "/test.T/Echo", Message.FromString, timeout_s=5) as conversation:
        answers = aiter(conversation)
        for number in range(3):
            await conversation.send(Message(payload=b"%d" % number))
            assert (await anext(answers)).payload == b"%d" % number
        await conversation.done_sending()
        assert [answer async for answer in answers] == []


async def test_a_whole_answer_has_its_metadata(channel):
    answer = await call_unary_whole(channel, "/test.T/Who", Message(payload=b"p"), Message, timeout_s=5)
    assert json.loads(answer.message.payload)["kind"] == "CLIENT"


# --- log and table ----------------------------------------------------------------------------------------------------


async def test_each_request_writes_one_line_without_what_was_in_it(channel):
    with capture_logs() as lines:
        await ask(channel, "Who", payload=b"secret words")
        await refused(ask(channel, "Fail", "DENIED", b"{}"))
    requests = [line for line in lines if line["event"] == "request"]
    assert [(line["code"], line["reason"]) for line in requests] == [("OK", ""), ("PERMISSION_DENIED", "DENIED")]
    assert requests[0]["caller"] == "spiffe://venue-b.example/participant/acme"
    assert requests[0]["bytes_in"] > 0 < requests[0]["bytes_out"]
    assert "secret" not in str(lines)


async def handler(call, request):
    return request


def one(name="/test.T/One", **changes) -> Method:
    fields = {"request": Message, "response": Message, "handler": handler, "audiences": ANYONE} | changes
    return Method(name=name, **fields)


def test_a_table_refuses_what_would_open_too_much():
    with pytest.raises(ValueError, match="twice"):
        MethodTable([one(), one()])
    with pytest.raises(ValueError, match="audiences"):
        one(audiences=frozenset())
    with pytest.raises(ValueError, match="audiences"):
        one(audiences=frozenset({"EVERYBODY"}))


def test_a_table_is_compared_with_the_proto_services():
    service = peer_service_pb2.DESCRIPTOR.services_by_name["PeerService"]
    names = {text.split()[0] for text in MethodTable([]).differences([service])}
    assert names == {f"/trustnode.v1.PeerService/{method.name}" for method in service.methods}
    deliver = "/trustnode.v1.PeerService/DeliverDocument"
    messages = {
        "request": peer_service_pb2.DeliverDocumentRequest,
        "response": peer_service_pb2.DeliverDocumentResponse,
    }
    assert not any(deliver in text for text in MethodTable([one(deliver, **messages)]).differences([service]))
    assert f"{deliver} has other messages" in MethodTable([one(deliver)]).differences([service])
    streaming = one(deliver, server_streaming=True)
    assert f"{deliver} streams differently" in MethodTable([streaming]).differences([service])
