"""The HTTPS socket: what a connection may cost us, when it opens and closes."""

import asyncio
import contextlib
import sys
from pathlib import Path

import pytest
import pytest_asyncio
from node.web.world import DOMAIN, ask, connect, drop, fill, parse, start

from trustnode import node as composition
from trustnode.config import Config
from trustnode.errors import TrustnodeError
from trustnode.testing.network import Network, free_port, until
from trustnode.web.listener import Connections

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def running(tmp_path_factory):
    async with Network(tmp_path_factory.mktemp("listener")) as network:
        yield await start(network)


@pytest_asyncio.fixture(loop_scope="module")
async def node(running, monkeypatch):
    """The node with a count of connections of its own, which the test may narrow."""
    await until(lambda: _open(running, 0))
    connections = running.site._connections
    for name in ("request_s", "_per_source"):
        monkeypatch.setattr(connections, name, getattr(connections, name))
    return running


async def test_who_does_not_finish_a_request_is_cut_off(node):
    node.site._connections.request_s = 0.2
    for beginning in (
        b"",
        b"GET /checkpoint HT",
        b"POST /add-checkpoint HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n12",
    ):
        reader, writer = await connect(node)
        writer.write(beginning)
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 10)
        drop(writer)
    assert (await ask(node, "/checkpoint")).status == 200


async def test_who_does_not_read_the_answers_is_cut_off(node):
    await fill(node, 300)
    await node.publisher.publish()
    node.site._connections.request_s = 0.5
    reader, writer = await connect(node)
    reader._transport.pause_reading()
    with contextlib.suppress(ConnectionError):
        writer.write(b"GET /tile/0/000 HTTP/1.1\r\nhost: a\r\n\r\n" * 2000)
        await until(lambda: _none_open(node))
    drop(writer)


async def _none_open(node):
    return not node.site._connections._open


async def test_one_connection_serves_several_requests(node):
    reader, writer = await connect(node)
    for _ in range(3):
        writer.write(b"GET /checkpoint HTTP/1.1\r\nhost: a\r\n\r\n")
        head = parse(await reader.readuntil(b"\r\n\r\n"))
        assert await reader.readexactly(int(head.headers["content-length"])) == node.publisher.newest.note
    drop(writer)


async def test_long_headers_are_refused(node):
    answer = await ask(node, "/checkpoint", headers=["x: " + "a" * 20_000])
    assert answer.status == 400


async def test_one_source_has_a_share_of_the_connections():
    connections = Connections(total=5, per_source=2)
    assert [connections.enter("a") for _ in range(3)] == [True, True, False]
    assert [connections.enter(source) for source in "bbcc"] == [True, True, True, False]
    connections.leave("a")
    assert connections.enter("c")
    for source in "abbcc":
        connections.leave(source)
    assert not connections._open


async def test_a_connection_too_many_is_closed_and_a_closed_one_makes_room(node):
    node.site._connections._per_source = 2
    held = [await connect(node) for _ in range(2)]
    await until(lambda: _open(node, 2))
    with pytest.raises((OSError, IndexError, ValueError)):
        await ask(node, "/checkpoint")
    drop(held.pop()[1])
    await until(lambda: _open(node, 1))
    assert (await ask(node, "/checkpoint")).status == 200
    drop(held.pop()[1])


async def _open(node, count):
    return node.site._connections._open.total() == count


async def test_the_socket_closes_with_the_node_and_opens_again(tmp_path):
    network = Network(tmp_path)
    listen = f"127.0.0.1:{await free_port()}"
    node = await start(network, **{"web.listen": listen})
    _, held = await connect(node)
    assert (await ask(node, "/checkpoint")).status == 200
    await network.stop("zj.example")
    with pytest.raises(ConnectionError):
        await ask(node, "/checkpoint")
    drop(held)
    node = await start(network, **{"web.listen": listen})
    assert (await ask(node, "/checkpoint")).status == 200
    await network.stop(DOMAIN)


async def test_an_address_that_is_taken_refuses_the_start(tmp_path):
    taken = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    async with Network(tmp_path) as network:
        with pytest.raises(TrustnodeError, match="in use") as caught:
            await start(network, **{"web.listen": f"127.0.0.1:{port}"})
    assert (caught.value.reason, caught.value.metadata["field"]) == ("CONFIG_INVALID", "web.listen")
    taken.close()
    await taken.wait_closed()


async def test_a_missing_extra_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("trustnode.web", "starlette"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    none = None
    with pytest.raises(TrustnodeError, match=r"trustnode\[web\]") as caught:
        composition._site(Path(), Config(), none, none)
    assert caught.value.reason == "CONFIG_INVALID"
