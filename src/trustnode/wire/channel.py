"""Connections to one venue: its roots alone, its DNS name, our certificate.

A client that trusts two venues' roots accepts either one's server for the other (identity 6), so a channel trusts one.
Decides: options of outgoing connections, how one is replaced when a certificate, a root or an address changes. Leaves
to others: what is called on it (``peer``), which roots speak for whom (``core.identity``).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final, NamedTuple

import grpc
from grpc import aio

from trustnode.core.identity import node_dns
from trustnode.errors import error
from trustnode.keys import Credential

LOOK_AHEAD_BYTES: Final = 1024 * 1024
WRITE_BUFFER_BYTES: Final = 64 * 1024
MAX_RECEIVE_BYTES: Final = 8 * 1024 * 1024
MAX_METADATA_BYTES: Final = 16 * 1024
DRAIN_S: Final = 3600.0
"""How long calls on a replaced channel may go on: as long as the longest stream."""
MAX_DRAINING: Final = 8
"""Replaced channels of one venue that are kept; beyond it the oldest is closed."""

Options = list[tuple[str, str | int]]


class Target(NamedTuple):
    """A venue's node, as its card names it."""

    trust_domain: str
    addresses: tuple[str, ...]
    """host:port; tried in order."""
    roots_pem: bytes
    """The roots of this venue, and of nobody else."""


def channel_options(trust_domain: str) -> Options:
    """Options of a connection to a node of ``trust_domain``."""
    return [
        # URI names are not matched by TLS: this DNS name, which the venue gives to its nodes only, is the server's.
        ("grpc.ssl_target_name_override", node_dns(trust_domain)),
        # No connection is shared with a channel that has other roots or another certificate.
        ("grpc.use_local_subchannel_pool", 1),
        # Bytes that may be under way when a stream is stopped (protocol 8.4): 4 MiB instead of 14.
        ("grpc.http2.lookahead_bytes", LOOK_AHEAD_BYTES),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.write_buffer_size", WRITE_BUFFER_BYTES),
        # A frame has about 1 MiB; a peer that sends more than this is wrong.
        ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
        # Both the same: between the two, refusal is a lottery; a receipt and an error stand in the trailers.
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        # Only the caller knows what may be repeated.
        ("grpc.enable_retries", 0),
        # An environment variable must not put a stranger between two venues.
        ("grpc.enable_http_proxy", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),
    ]


def open_channel(target: Target, credential: Credential, address: str | None = None) -> aio.Channel:
    """Open a channel to a venue's node; connecting begins with the first call.

    Args:
        target: The venue.
        credential: What we show.
        address: One of the target's addresses; the first if absent.
    """
    if not target.roots_pem or not target.addresses:
        raise error("PEER_UNREACHABLE", f"{target.trust_domain} has no valid root or no address on its card")
    credentials = grpc.ssl_channel_credentials(target.roots_pem, credential.key_pem, credential.chain_pem)
    return aio.secure_channel(address or target.addresses[0], credentials, channel_options(target.trust_domain))


def open_local(socket: Path) -> aio.Channel:
    """Open a channel to the operator's socket of a node on this machine."""
    options: Options = [("grpc.max_receive_message_length", MAX_RECEIVE_BYTES), ("grpc.use_local_subchannel_pool", 1)]
    return aio.insecure_channel(f"unix:{socket}", options)


class VenueChannel:
    """The channel to one venue, replaced when what it was made of changes."""

    def __init__(self, target: Target, credential: Credential) -> None:
        self._target = target
        self._credential = credential
        self._address = 0
        self._channel: aio.Channel | None = None
        self._draining: dict[asyncio.Task[None], aio.Channel] = {}

    @property
    def target(self) -> Target:
        """What the channel connects to."""
        return self._target

    def get(self) -> aio.Channel:
        """The channel to make the next call on."""
        if self._channel is None:
            addresses = self._target.addresses
            address = addresses[self._address % len(addresses)] if addresses else None
            self._channel = open_channel(self._target, self._credential, address)
        return self._channel

    def replace(self, *, target: Target | None = None, credential: Credential | None = None) -> None:
        """Make calls with another certificate, other roots or other addresses; running calls go on as they are."""
        if (target or self._target, credential or self._credential) == (self._target, self._credential):
            return
        self._target = target or self._target
        self._credential = credential or self._credential
        self._drop()

    def try_next_address(self) -> None:
        """Go to the venue's next address, after the present one did not answer."""
        if len(self._target.addresses) > 1:
            self._address += 1
            self._drop()

    async def aclose(self) -> None:
        """Close at once; running calls are cancelled, those on replaced channels too."""
        self._drop()
        draining = dict(self._draining)
        for task, channel in draining.items():
            task.cancel()
            await channel.close(None)

    def _drop(self) -> None:
        if self._channel is None:
            return
        task = asyncio.get_running_loop().create_task(_drain(self._channel))
        self._draining[task] = self._channel
        task.add_done_callback(self._draining.pop)
        if len(self._draining) > MAX_DRAINING:
            oldest = next(iter(self._draining))
            oldest.cancel()
        self._channel = None


async def _drain(channel: aio.Channel) -> None:
    # Not `close(DRAIN_S)`: a channel that waits so can no longer be closed before, when its venue is removed.
    try:
        await asyncio.sleep(DRAIN_S)
    finally:
        await channel.close(None)
