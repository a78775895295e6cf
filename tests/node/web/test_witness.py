"""The witness over HTTPS: another log hands in its checkpoint, anybody reads what was cosigned."""

import asyncio
import contextlib
import hashlib

import pytest
import pytest_asyncio
from node.web.world import DOMAIN, ask, connect, drop, fill, parse, start

from trustnode.core.evidence.checkpoint import open_checkpoint
from trustnode.core.evidence.note import COSIGNATURE_V1, ED25519, VerifierKey, encode_base64
from trustnode.core.identity import log_origin
from trustnode.core.identity.card import witness_name
from trustnode.testing.network import Network
from trustnode.web.admission import MAX_BODY_BYTES

pytestmark = pytest.mark.asyncio(loop_scope="module")
OTHER = "gz.example"
SIZE = "text/x.tlog.size"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def venues(tmp_path_factory):
    """zj witnesses over HTTPS; gz is its peer, and asks it over the port too."""
    async with Network(tmp_path_factory.mktemp("witness")) as network:
        node = await start(network)
        other = await network.start(OTHER, area="5200", subject="915200000000000001")
        await network.peer(DOMAIN, OTHER)
        yield node, other


@pytest.fixture
def node(venues):
    return venues[0]


async def post(node, body):
    return await ask(node, "/add-checkpoint", method="POST", body=body)


def request(old, proof, note):
    return b"old %d\n" % old + b"".join(encode_base64(one).encode() + b"\n" for one in proof) + b"\n" + note


async def handed_in(node, other, published):
    """Do as a log does: begin anywhere, go on from the size that the witness names."""
    old, size = 0, published.checkpoint.size
    while old < size:
        proof = await other.venue.store.read(lambda view, old=old: view.evidence.consistency(old, size))
        answer = await post(node, request(old, proof, published.note))
        assert answer.headers["cache-control"] == "no-store"
        assert answer.status == 200 or (answer.status, answer.headers["content-type"]) == (409, SIZE)
        old = size if answer.status == 200 else int(answer.body)
    return old


def monitoring(origin):
    return f"/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint"


async def test_a_peers_checkpoint_is_cosigned_and_can_be_read_by_anybody(venues):
    node, other = venues
    await fill(other, 20)
    published = await other.publisher.publish()
    assert await handed_in(node, other, published) == published.checkpoint.size
    log = VerifierKey(log_origin(OTHER), ED25519, other.venue.log_key.public)
    key = VerifierKey(witness_name(DOMAIN), COSIGNATURE_V1, node.keys.witness.public)
    read = await ask(node, monitoring(log_origin(OTHER)))
    assert read.headers["content-type"] == "text/plain; charset=utf-8"
    signed = open_checkpoint(read.body, [log], [key], quorum=1)
    assert signed.checkpoint == published.checkpoint
    again = await post(node, request(0, (), published.note))
    assert (again.status, again.headers["content-type"]) == (409, SIZE)
    assert again.body == b"%d\n" % published.checkpoint.size


async def test_what_is_no_request_of_a_known_log_is_refused(venues):
    node, other = venues
    published = await other.publisher.publish()
    unknown = published.note.replace(OTHER.encode(), b"xx.example")
    assert (await post(node, request(0, (), unknown))).status == 404
    for odd in (b"", b"\n", b"old\n\n" + published.note, b"old -1\n\n" + published.note, b"\xff" * 100):
        assert (await post(node, odd)).status == 400
    assert (await ask(node, "/add-checkpoint")).status == 405


@pytest.mark.parametrize(
    "path",
    [
        monitoring("xx.example/log"), monitoring(log_origin(OTHER)).upper().replace("CHECKPOINT", "checkpoint"),
        "/0/checkpoint", "/" + "g" * 64 + "/checkpoint", "/" + "0" * 65 + "/checkpoint",
    ],
)  # fmt: skip
async def test_what_was_never_cosigned_is_not_there(node, path):
    answer = await ask(node, path)
    assert (answer.status, answer.headers["cache-control"]) == (404, "no-store")


async def test_long_bodies_are_refused_whether_announced_or_not(node):
    announced = await ask(node, "/add-checkpoint", method="POST", body=b"a" * (MAX_BODY_BYTES + 1))
    assert announced.status == 413
    reader, writer = await connect(node)
    writer.write(b"POST /add-checkpoint HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        for _ in range(80):
            writer.write(b"400\r\n" + b"a" * 1024 + b"\r\n")
        writer.write(b"0\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(4096), 10)
    drop(writer)
    assert parse(answer).status == 413
