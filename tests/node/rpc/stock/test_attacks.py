"""Stock clients that lie: tickets and statements of others, uploads of every wrong kind, reads that are never read (Q5)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import grpc
import pyarrow as pa
import pytest
import pytest_asyncio
from federation.world import DATA, until
from grpc import aio
from node.engine.test_parameters import sent
from node.rpc.stock.clients import Stock

from trustnode.app import handles, statements
from trustnode.arrow import flight_pb2 as pb
from trustnode.arrow import flight_sql_pb2 as sql
from trustnode.core.identity import node_dns
from trustnode.rpc.flight_sql import pack

pytestmark = pytest.mark.asyncio(loop_scope="session")
SERVICE = "/arrow.flight.protocol.FlightService/"
CMD = pb.FlightDescriptor.CMD


class Raw:
    """A client that sends whatever bytes a test wants."""

    def __init__(self, stock: Stock, name: str) -> None:
        held = stock.world.clients[name].profile.credential
        credentials = grpc.ssl_channel_credentials(stock.roots, held.key_pem, held.chain_pem)
        self.target = (f"127.0.0.1:{stock.port}", credentials)
        self.options = [("grpc.ssl_target_name_override", node_dns(DATA))]
        self.channel = aio.secure_channel(*self.target, options=self.options)

    async def info(self, command: bytes) -> pb.FlightInfo:
        """GetFlightInfo of a command."""
        call = self.channel.unary_unary(SERVICE + "GetFlightInfo", pb.FlightDescriptor.SerializeToString)
        return pb.FlightInfo.FromString(await call(pb.FlightDescriptor(type=CMD, cmd=command)))

    def get(self, ticket: bytes) -> Any:
        """DoGet, not read yet."""
        call = self.channel.unary_stream(SERVICE + "DoGet", pb.Ticket.SerializeToString)
        return call(pb.Ticket(ticket=ticket))

    async def read(self, ticket: bytes) -> int:
        """Frames behind a ticket."""
        return len([frame async for frame in self.get(ticket)])

    async def put(self, messages: Iterable[pb.FlightData]) -> list[Any]:
        """DoPut; its one answer.

        In a thread: gRPC's asyncio client calls a write into a call that has ended an internal error.
        """

        def run() -> list[Any]:
            with grpc.secure_channel(*self.target, options=self.options) as channel:
                call = channel.stream_stream(SERVICE + "DoPut", pb.FlightData.SerializeToString)
                return list(call(iter(messages)))

        return await asyncio.to_thread(run)

    async def act(self, name: str, body: bytes) -> list[bytes]:
        """Results of an action."""
        call = self.channel.unary_stream(SERVICE + "DoAction", pb.Action.SerializeToString)
        return [pb.Result.FromString(result).body async for result in call(pb.Action(type=name, body=body))]

    async def prepare(self, text: str) -> bytes:
        """Handle of a prepared statement."""
        (body,) = await self.act("CreatePreparedStatement", pack(sql.ActionCreatePreparedStatementRequest(query=text)))
        made = sql.ActionCreatePreparedStatementResult()
        packed = pb_any(body)
        assert packed.Unpack(made)
        assert made.HasField("is_update")
        assert not made.is_update
        assert bool(made.parameter_schema) == ("?" in text)
        return made.prepared_statement_handle


def pb_any(body: bytes) -> Any:
    from google.protobuf import any_pb2

    return any_pb2.Any.FromString(body)


def bound(handle: bytes) -> bytes:
    """The command of a prepared statement."""
    return pack(sql.CommandPreparedStatementQuery(prepared_statement_handle=handle))


def upload(handle: bytes, table: pa.Table, **options: Any) -> list[pb.FlightData]:
    """Parameters as a client puts them."""
    messages = [pb.FlightData(data_header=header, data_body=body) for header, body in sent(table, **options)]
    messages[0].flight_descriptor.CopyFrom(pb.FlightDescriptor(type=CMD, cmd=bound(handle)))
    return messages


@pytest_asyncio.fixture(loop_scope="session")
async def clients(stock: Stock) -> AsyncIterator[tuple[Raw, Raw]]:
    """Somebody, and somebody else with an agreement of the same kind."""
    one, other = Raw(stock, "local"), Raw(stock, "other")
    yield one, other
    await one.channel.close()
    await other.channel.close()


async def refused(work: Any) -> tuple[str, str]:
    """Code and sentence of a refusal."""
    with pytest.raises(grpc.RpcError) as caught:
        await work
    failed: Any = caught.value
    return failed.code().name, failed.details() or ""


async def test_q5a_guessed_and_changed_tickets_are_refused_alike(stock: Stock, clients: tuple[Raw, Raw]) -> None:
    one, _ = clients
    ticket = (
        (await one.info(pack(sql.CommandStatementQuery(query=f"select id from {stock.table()}")))).endpoint[0].ticket
    )
    good = ticket.ticket
    assert len(good) == handles.HANDLE_BYTES
    said = set()
    for number in range(handles.HANDLE_BYTES):
        said.add(await refused(one.read(good[:number] + bytes([good[number] ^ 1]) + good[number + 1 :])))
    said |= {await refused(one.read(secrets.token_bytes(handles.HANDLE_BYTES))) for _ in range(20)}
    assert said == {("NOT_FOUND", "no such ticket, or it was used; ask for another one [NOT_FOUND]")}
    for mutated in (good[:-1], good + b"\0", b"", good * 3, pack(sql.CommandStatementQuery(query="select 1"))):
        code, sentence = await refused(one.read(mutated))
        assert code in {"INVALID_ARGUMENT", "FAILED_PRECONDITION"}, sentence
    assert await one.read(good) == 2


async def test_q5a_tickets_and_statements_of_another_caller_are_refused(stock: Stock, clients: tuple[Raw, Raw]) -> None:
    one, other = clients
    text = f"select id from {stock.table()} where id < ?"
    handle = await one.prepare(text)
    await one.put(upload(handle, pa.table({"1": [3]})))
    ticket = (await one.info(bound(handle))).endpoint[0].ticket.ticket
    assert (await refused(other.read(ticket)))[0] == "NOT_FOUND"
    nothing = ("NOT_FOUND", "no such prepared statement, or it was closed; prepare it again [NOT_FOUND]")
    assert await refused(other.info(bound(handle))) == nothing
    assert await refused(other.put(upload(handle, pa.table({"1": [900]})))) == nothing
    await other.act(
        "ClosePreparedStatement", pack(sql.ActionClosePreparedStatementRequest(prepared_statement_handle=handle))
    )
    request = pb.CancelFlightInfoRequest(info=await one.info(bound(handle))).SerializeToString()
    (told,) = await other.act("CancelFlightInfo", request)
    assert pb.CancelFlightInfoResult.FromString(told).status == pb.CANCEL_STATUS_NOT_CANCELLABLE
    ticket = (await one.info(bound(handle))).endpoint[0].ticket.ticket
    assert await one.read(ticket) == 2
    assert (await refused(one.read(ticket)))[0] == "NOT_FOUND"
    await one.act(
        "ClosePreparedStatement", pack(sql.ActionClosePreparedStatementRequest(prepared_statement_handle=handle))
    )
    assert await refused(one.info(bound(handle))) == nothing


async def test_q5a_a_cookie_of_another_caller_opens_no_session(stock: Stock, clients: tuple[Raw, Raw]) -> None:
    one, other = clients
    request = pb.SetSessionOptionsRequest()
    request.session_options["agreement"].string_value = stock.schema()
    request.session_options["catalog"].string_value = "x"
    call = one.channel.unary_stream(SERVICE + "DoAction", pb.Action.SerializeToString)(
        pb.Action(type="SetSessionOptions", body=request.SerializeToString())
    )
    cookie = str(dict(await call.initial_metadata())["set-cookie"]).partition(";")[0]
    (answer,) = [pb.Result.FromString(result).body async for result in call]
    errors = pb.SetSessionOptionsResult.FromString(answer).errors
    assert {name: error.value for name, error in errors.items()} == {"catalog": pb.SetSessionOptionsResult.INVALID_NAME}
    command = pb.FlightDescriptor(type=CMD, cmd=b"select count(*) from t")
    for raw, works in ((one, True), (other, False)):
        ask = raw.channel.unary_unary(SERVICE + "GetSchema", pb.FlightDescriptor.SerializeToString)
        if works:
            assert pb.SchemaResult.FromString(await ask(command, metadata=(("cookie", cookie),))).schema
        else:
            assert (await refused(ask(command, metadata=(("cookie", cookie),))))[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "descriptor",
    [
        None,
        pb.FlightDescriptor(type=pb.FlightDescriptor.PATH, path=["t"]),
        pb.FlightDescriptor(type=CMD, cmd=b"insert into t values (1)"),
        pb.FlightDescriptor(type=CMD, cmd=pack(sql.CommandGetTables())),
        pb.FlightDescriptor(type=CMD, cmd=pack(sql.CommandStatementQuery(query="select 1"))),
        pb.FlightDescriptor(type=CMD, cmd=bound(b"x" * 32)),
    ],
    ids=["none", "path", "sql", "metadata", "query", "unknown statement"],
)
async def test_q5b_an_upload_to_anything_but_a_statement_is_refused(
    clients: tuple[Raw, Raw], descriptor: pb.FlightDescriptor | None
) -> None:
    messages = upload(b"x", pa.table({"1": [1]}))
    messages[0].ClearField("flight_descriptor")
    if descriptor is not None:
        messages[0].flight_descriptor.CopyFrom(descriptor)
    code, sentence = await refused(clients[0].put(messages))
    assert code in {"INVALID_ARGUMENT", "NOT_FOUND"}
    assert len(sentence) < 200
    assert (await refused(clients[0].put([])))[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "table, options",
    [
        (pa.table({"1": ["a"], "2": [1]}), {}),
        (pa.table({"1": [[1]]}), {}),
        (pa.table({"1": [1, 2]}), {}),
        (pa.table({"1": pa.array([0] * 10_000_000, pa.int8())}), {"compression": "zstd"}),
        (pa.table({"1": ["a" * (1 << 20)]}), {}),
    ],
    ids=["surplus", "list", "two rows", "a bomb", "too long"],
)
async def test_q5b_values_that_do_not_fit_are_refused(
    stock: Stock, clients: tuple[Raw, Raw], table: pa.Table, options: dict[str, Any]
) -> None:
    one, _ = clients
    handle = await one.prepare(f"select id from {stock.table()} where id = ?")
    code, sentence = await refused(one.put(upload(handle, table, **options)))
    assert (code, "QUERY_INVALID" in sentence or "FIELD_TOO_LONG" in sentence or "at most" in sentence) == (
        "INVALID_ARGUMENT", True,
    )  # fmt: skip
    await one.put(upload(handle, pa.table({"1": [5]})))
    assert await one.read((await one.info(bound(handle))).endpoint[0].ticket.ticket) == 2


async def test_q5b_a_million_tiny_messages_end_after_a_few(stock: Stock, clients: tuple[Raw, Raw]) -> None:
    one, _ = clients
    handle = await one.prepare(f"select id from {stock.table()} where id = ?")
    first, batch = upload(handle, pa.table({"1": [5]}))
    given = 0

    def flood() -> Iterator[pb.FlightData]:
        nonlocal given
        yield first
        for _ in range(1_000_000):
            given += 1
            yield batch

    assert (await refused(one.put(flood())))[0] in {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}
    assert given < 100_000


async def test_q5b_open_statements_are_bounded_and_end_with_their_connection(
    stock: Stock, clients: tuple[Raw, Raw], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = clients
    monkeypatch.setattr(statements, "MAX_OPEN", 3)
    text = f"select id from {stock.table()}"
    made = [await one.prepare(text) for _ in range(5)]
    for handle, is_open in zip(made, (False, False, True, True, True), strict=True):
        if is_open:
            assert (await one.info(bound(handle))).endpoint
        else:
            assert (await refused(one.info(bound(handle))))[0] == "NOT_FOUND"
    await one.act("CloseSession", b"")
    for handle in made:
        assert (await refused(one.info(bound(handle))))[0] == "NOT_FOUND"


@pytest.mark.timeout(180)
async def test_q5c_hundreds_of_reads_that_are_dropped_at_once_leave_nothing_behind(
    stock: Stock, clients: tuple[Raw, Raw]
) -> None:
    one, _ = clients
    node = stock.world[DATA]
    before = {access.id for access in await stock.accesses()}
    handle = await one.prepare(f"select a.id, b.name from {stock.table()} a, {stock.table()} b")
    for number in range(300):
        call = one.get((await one.info(bound(handle))).endpoint[0].ticket.ticket)
        if number % 20 == 0:
            await call.read()
        else:
            await asyncio.sleep(0)
        call.cancel()
        assert await call.code() is grpc.StatusCode.CANCELLED

    async def settled() -> bool:
        new = [access for access in await stock.accesses() if access.id not in before]
        return len(node.venue.streams) == 0 and all(access.state == "ABORTED" and access.receipt for access in new)

    await until(settled, seconds=60)
    assert len(node.venue.engine._busy) == 0
    handle = await one.prepare(f"select id from {stock.table()}")
    assert await one.read((await one.info(bound(handle))).endpoint[0].ticket.ticket) == 2
