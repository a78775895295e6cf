"""One live node with HTTPS, and a client that sends exactly the bytes a test wants."""

import asyncio
import ssl
from dataclasses import dataclass
from types import NoneType

from trustnode.core.identity.card import node_dns
from trustnode.testing.network import Network

DOMAIN = "zj.example"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def roots(node) -> str:
    """What a stranger who has our card trusts."""
    return node.trust.state.bundles[DOMAIN].pem.decode()


def tls(node) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=roots(node))


async def connect(node):
    return await asyncio.open_connection("127.0.0.1", node.site.port, ssl=tls(node), server_hostname=node_dns(DOMAIN))


def drop(writer) -> None:
    """End a connection without waiting for the other side."""
    writer.close()
    writer.transport.abort()


async def ask(node, path, *, method="GET", body=b"", headers=()) -> Answer:
    """One request on its own connection; the path goes out as it stands."""
    reader, writer = await connect(node)
    try:
        writer.write(request(path, method, body, headers))
        return parse(await asyncio.wait_for(reader.read(), 20))
    finally:
        drop(writer)


def request(path, method="GET", body=b"", headers=()) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: log", "connection: close", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def parse(data) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Answer(int(status.split()[1]), headers, body)


async def fill(node, entries, object="C1"):
    """Log entries, some hundred a unit."""
    while entries > 0:
        count = min(entries, 250)
        await node.venue.store.write(
            lambda tx, count=count: [tx.log("agreement", object, "access.request") for _ in range(count)] and None,
            event_id="",
            returns=NoneType,
        )
        entries -= count


async def start(network: Network, **flags):
    return await network.start(DOMAIN, **{"web.listen": "127.0.0.1:0", **flags})
