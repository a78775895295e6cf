"""Callers and servers that do not behave: raw HTTP/2 frames over mutual TLS, for tests of what an attacker may send.

Public, as the rest of ``testing``; needs the package ``h2``. Decides: connections, frames, a server that answers
nothing or one byte at a time. Leaves to others: what must hold then (the tests named in docs/attacks.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Final

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from trustnode.core.identity import node_dns
from trustnode.keys import Credential
from trustnode.wire.channel import Target

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CANCEL: Final = 8
MAX_FRAME_BYTES: Final = 16384
"""What a sender may put into one frame before the other side allows more."""
Pairs = Iterable[tuple[str, str]]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def client_tls(
    target: Target,
    credential: Credential | None,
    *,
    oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> ssl.SSLContext:
    """TLS as a caller of ``target`` that may show a certificate and insist on an old version."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=target.roots_pem.decode())
    context.set_alpn_protocols(["h2"])
    context.minimum_version, context.maximum_version = oldest, newest
    if credential is not None:
        _load(context, credential)
    return context


def server_tls(credential: Credential, roots_pem: bytes) -> ssl.SSLContext:
    """TLS as a node: its certificate, and callers' certificates under these roots."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_verify_locations(cadata=roots_pem.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    _load(context, credential)
    return context


def _load(context: ssl.SSLContext, credential: Credential) -> None:
    with tempfile.NamedTemporaryFile() as file:  # the library takes a path only
        file.write(credential.key_pem + credential.chain_pem)
        file.flush()
        context.load_cert_chain(file.name)


class RawConnection:
    """An HTTP/2 connection on which every frame is chosen by the test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str) -> None:
        self.reader = reader
        self.writer = writer
        self._authority = authority
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._window = self._stream_window = 65535

    def send(self, *frames: Frame) -> None:
        """Queue frames for sending."""
        self.writer.write(b"".join(frame.serialize() for frame in frames))

    async def flush(self) -> None:
        """Wait until the other side takes more."""
        await self.writer.drain()

    def block(self, path: str, more: Pairs = ()) -> bytes:
        """The compressed headers of a call."""
        pairs = {
            ":method": "POST",
            ":scheme": "https",
            ":path": path,
            ":authority": self._authority,
            "te": "trailers",
            "content-type": "application/grpc",
        }
        return self._encoder.encode([*pairs.items(), *more], huffman=False)

    def headers(self, stream: int, path: str, more: Pairs = ()) -> HeadersFrame:
        """The HEADERS frame that begins a call."""
        return HeadersFrame(stream, self.block(path, more), flags=["END_HEADERS"])

    def large_headers(self, stream: int, path: str, more: Pairs) -> list[Frame]:
        """Headers of any size: HEADERS and as many CONTINUATION frames as it takes."""
        block = self.block(path, more)
        parts = [block[at : at + MAX_FRAME_BYTES] for at in range(0, len(block), MAX_FRAME_BYTES)]
        frames: list[Frame] = [HeadersFrame(stream, parts[0])]
        frames += [ContinuationFrame(stream, part) for part in parts[1:]]
        frames[-1].flags.add("END_HEADERS")
        return frames

    @staticmethod
    def message(stream: int, payload: bytes, *, end: bool = True) -> DataFrame:
        """One whole gRPC message in a DATA frame."""
        return DataFrame(
            stream, b"\x00" + len(payload).to_bytes(4, "big") + payload, flags=["END_STREAM"] if end else []
        )

    async def frame(self) -> Frame:
        """The next frame of the other side.

        Raises:
            ConnectionError: It closed the connection.
        """
        try:
            head = await self.reader.readexactly(9)
            frame, length = Frame.parse_frame_header(memoryview(head))
            frame.parse_body(memoryview(await self.reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ssl.SSLError, OSError) as closed:
            raise ConnectionError("the other side closed the connection") from closed
        if isinstance(frame, SettingsFrame):
            self._stream_window = frame.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE, self._stream_window)
        if isinstance(frame, WindowUpdateFrame) and not frame.stream_id:
            self._window += frame.window_increment
        return frame

    async def upload(self, stream: int, data: bytes) -> None:
        """Send the bytes of one call as fast as the other side's windows allow.

        Raises:
            ConnectionError: It ended the call, or closed the connection.
        """
        left = self._stream_window
        for at in range(0, len(data), MAX_FRAME_BYTES):
            part = data[at : at + MAX_FRAME_BYTES]
            while min(left, self._window) < len(part):
                frame = await self.frame()
                if frame.stream_id == stream and isinstance(frame, WindowUpdateFrame):
                    left += frame.window_increment
                elif frame.stream_id == stream:
                    raise ConnectionError("the other side ended the call")
            left -= len(part)
            self._window -= len(part)
            self.send(DataFrame(stream, part))
            await self.flush()

    async def trailers(self, stream: int) -> dict[str, str]:
        """Read until a call has ended; its trailers.

        Raises:
            ConnectionError: It closed the connection, or reset the stream.
        """
        while True:
            frame = await self.frame()
            if isinstance(frame, HeadersFrame):
                pairs = {str(key): str(value) for key, value in self._decoder.decode(frame.data)}
                if frame.stream_id == stream and "END_STREAM" in frame.flags:
                    return pairs
            elif isinstance(frame, RstStreamFrame) and frame.stream_id == stream:
                raise ConnectionError("the other side reset the stream")
            elif isinstance(frame, DataFrame) and frame.flow_controlled_length:
                self.send(WindowUpdateFrame(0, frame.flow_controlled_length))

    async def closed(self) -> None:
        """Read until the other side has closed the connection."""
        with contextlib.suppress(ConnectionError):
            while True:
                await self.frame()


@contextlib.asynccontextmanager
async def connect(
    target: Target, credential: Credential | None, *, settled: bool = True, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawConnection]:
    """Open a connection and begin HTTP/2 on it.

    Args:
        target: Whom to call.
        credential: What to show.
        settled: Whether the other side's SETTINGS are acknowledged; its limits hold only then.
        tls: Another TLS context than ``client_tls``.
    """
    host, port = target.addresses[0].rsplit(":", 1)
    name = node_dns(target.trust_domain)
    reader, writer = await asyncio.open_connection(
        host, int(port), ssl=tls or client_tls(target, credential), server_hostname=name
    )
    connection = RawConnection(reader, writer, name)
    writer.write(PREFACE)
    connection.send(SettingsFrame(0))
    if settled:
        while not isinstance(await connection.frame(), SettingsFrame):
            pass
        connection.send(SettingsFrame(0, flags=["ACK"]))
    try:
        yield connection
    finally:
        writer.close()


def reset(connection: RawConnection, stream: int, path: str) -> list[Frame]:
    """A call that is taken back as soon as it is begun."""
    return [connection.headers(stream, path), RstStreamFrame(stream, CANCEL)]


def ping() -> PingFrame:
    """A ping."""
    return PingFrame(0, bytes(8))


async def listen(credential: Credential, roots_pem: bytes, handler: Handler) -> tuple[asyncio.Server, int]:
    """A server that takes the handshake of a node and then does what the handler does.

    Returns:
        The server and its port.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_tls(credential, roots_pem))
    return server, server.sockets[0].getsockname()[1]


async def say_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Take everything and answer nothing, not even SETTINGS."""
    while await reader.read(65536):
        pass


async def dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept calls and answer the first one with one byte every tenth of a second."""
    writer.write(SettingsFrame(0).serialize() + SettingsFrame(0, flags=["ACK"]).serialize())
    reading = asyncio.ensure_future(say_nothing(reader, writer))
    block = Encoder().encode([(":status", "200"), ("content-type", "application/grpc")])
    writer.write(HeadersFrame(1, block, flags=["END_HEADERS"]).serialize())
    writer.write(DataFrame(1, b"\x00\x00\x00\xff\xff").serialize())
    while not reading.done():
        writer.write(DataFrame(1, b"\x00").serialize())
        await writer.drain()
        await asyncio.sleep(0.1)
