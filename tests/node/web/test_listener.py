"""The HTTPS socket: its certificate, what a connection may cost us, when it opens and closes."""

import asyncio
import contextlib
import ssl
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from node.web.world import ask, connect, drop, fill, parse, start

from trustnode.config import Web
from trustnode.core import clock
from trustnode.errors import REASONS, TrustnodeError
from trustnode.testing.certificates import Venue
from trustnode.testing.network import Network, free_port, until
from trustnode.web import certificate, listener
from trustnode.web.listener import Connections
from trustnode.web.refusal import STATUSES


@pytest.fixture
async def network(tmp_path):
    async with Network(tmp_path) as made:
        yield made


@pytest.fixture
async def node(network):
    return await start(network)


async def refused(network, **flags):
    with pytest.raises(TrustnodeError) as caught:
        await start(network, **flags)
    assert caught.value.reason == "CONFIG_INVALID"
    return caught.value


def files(folder, credential, *, key=None):
    (folder / "web.pem").write_bytes(credential.chain_pem)
    (folder / "web.key").write_bytes(credential.key_pem if key is None else key)
    return {"web.certificate": str(folder / "web.pem"), "web.key": str(folder / "web.key")}


async def presented(node):
    _, writer = await connect(node)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    drop(writer)
    return shown


def der(credential):
    return credential.leaf.public_bytes(serialization.Encoding.DER)


# --- certificate ----------------------------------------------------------------------------------------------------


async def test_nothing_listens_unless_it_is_configured(network):
    node = await start(network, **{"web.listen": ""})
    assert node.site is None
    assert Web().listen == ""


async def test_the_nodes_own_certificate_is_shown_and_follows_its_renewal(node):
    before = der(node.credential)
    assert await presented(node) == before
    node.renew_certificate()
    assert await presented(node) == der(node.credential) != before


async def test_nobody_is_asked_for_a_certificate_and_old_versions_of_tls_are_refused(node):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", node.site.port, ssl=context)


async def test_the_operators_certificate_is_shown_and_a_new_file_is_taken_over(network, tmp_path):
    first = await start(network)
    given = first.credential
    await network.stop("zj.example")
    node = await start(network, **files(tmp_path, given))
    assert await presented(node) == der(given) != der(node.credential)
    (tmp_path / "web.pem").write_bytes(node.credential.chain_pem)
    (tmp_path / "web.key").write_bytes(node.credential.key_pem)
    node.renew_certificate()
    newer = await presented(node)
    assert newer != der(given)
    (tmp_path / "web.pem").write_text("broken while somebody writes it")
    node.renew_certificate()
    assert await presented(node) == newer


async def test_a_certificate_that_cannot_serve_refuses_the_start(network):
    assert "belong together" in (await refused(network, **{"web.certificate": "web.pem"})).message
    gone = {"web.certificate": "gone.pem", "web.key": "gone.key"}
    assert "cannot be read" in (await refused(network, **gone)).message


NOW = "2026-07-01T00:00:00.000Z"
GOOD = Venue.create("zj.example", NOW).node()
OTHER = Venue.create("gz.example", NOW).node()


def key_of(credential, encryption):
    key = serialization.load_pem_private_key(credential.key_pem, None)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


UNUSABLE = {
    "no key": (GOOD._replace(key_pem=b""), "cannot be used"),
    "garbage for a key": (GOOD._replace(key_pem=b"no key"), "cannot be used"),
    "the key of another": (GOOD._replace(key_pem=OTHER.key_pem), "cannot be used"),
    "an encrypted key": (
        GOOD._replace(key_pem=key_of(GOOD, serialization.BestAvailableEncryption(b"secret"))), "cannot be used",
    ),
    "garbage for a certificate": (GOOD._replace(chain_pem=b"no certificate"), "not one in PEM"),
}  # fmt: skip


@pytest.mark.parametrize("what", UNUSABLE)
def test_an_unusable_certificate_is_refused_before_it_is_shown(what):
    given, words = UNUSABLE[what]
    with pytest.raises(TrustnodeError, match=words) as caught:
        certificate.show(certificate.new_context(), given, NOW)
    assert caught.value.reason == "CONFIG_INVALID"


@pytest.mark.parametrize("days", [-1, 1])
def test_a_certificate_outside_its_time_is_refused(days):
    certificate.show(certificate.new_context(), GOOD, NOW)
    with pytest.raises(TrustnodeError, match="ends at"):
        certificate.show(certificate.new_context(), GOOD, clock.shift(NOW, days * 86400))


async def test_an_address_that_cannot_be_listened_on_refuses_the_start(network):
    taken = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    assert (await refused(network, **{"web.listen": f"127.0.0.1:{port}"})).metadata["field"] == "web.listen"
    taken.close()
    await taken.wait_closed()


@pytest.mark.parametrize(
    "odd", ["7444", ":7444", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", "127.0.0.1:-1", "a:²"]
)
def test_an_address_is_host_and_port(odd):
    with pytest.raises(TrustnodeError, match="not host:port"):
        listener.address(odd)


def test_an_address_may_be_one_of_version_6():
    assert listener.address("[::1]:7444") == ("::1", 7444)


async def test_a_missing_extra_is_named(network, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("trustnode.web", "starlette"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    assert "trustnode[web]" in (await refused(network)).message


# --- what a connection may cost -------------------------------------------------------------------------------------


async def test_a_source_that_asks_too_fast_waits(network):
    node = await start(network, **{"web.source_per_second": 1, "web.source_burst": 10})
    answers = [await ask(node, "/checkpoint") for _ in range(12)]
    assert [one.status for one in answers[:8]] == [200] * 8
    assert answers[-1].status == 429
    assert int(answers[-1].headers["retry-after"]) >= 1


async def test_a_post_costs_as_much_as_ten_reads(network):
    node = await start(network, **{"web.source_per_second": 1, "web.source_burst": 19})
    assert (await ask(node, "/checkpoint", method="POST")).status == 405
    assert (await ask(node, "/checkpoint", method="POST")).status == 429


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


def test_one_source_has_a_share_of_the_connections():
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


# --- start and stop -------------------------------------------------------------------------------------------------


async def test_the_socket_closes_with_the_node_and_opens_again(network):
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


def test_every_code_of_a_reason_has_a_status():
    assert {row.code for row in REASONS.values()} <= set(STATUSES)
