"""Copies of logs between nodes: pages of a peer's log, and of our own as a peer holds it.

Decides: the value form of a page. Leaves to others: whether it holds (``core.evidence.mirror``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from trustnode.core.document import Document
from trustnode.core.evidence.mirror import LogLine
from trustnode.v1 import peer_service_pb2 as pb
from trustnode.wire.call import call_unary
from trustnode.wire.convert import documents_from_proto
from trustnode.wire.peer import SERVICE, Peer

MAX_INDEX: Final = 2**53 - 1


class MirrorPage(NamedTuple):
    """A page of a peer's own log; nothing in it is verified."""

    checkpoint: bytes
    lines: tuple[LogLine, ...]
    consistency: tuple[bytes, ...]


class MirroredPage(NamedTuple):
    """A page of our own log as a peer has copied it; nothing in it is verified."""

    size: int
    checkpoint: bytes
    lines: tuple[LogLine, ...]


async def mirror_log(peer: Peer, first: int, *, timeout_s: float) -> MirrorPage:
    """Ask a peer for its own log from index ``first`` on."""
    request = pb.MirrorLogRequest(first=first)
    answer = await call_unary(
        peer.channel.get(), SERVICE + "MirrorLog", request, pb.MirrorLogResponse, timeout_s=timeout_s
    )
    return MirrorPage(answer.checkpoint, lines_from_proto(answer.lines), tuple(answer.consistency))


async def mirrored_log(peer: Peer, origin: str, first: int, max_lines: int, *, timeout_s: float) -> MirroredPage:
    """Ask a peer for what it has copied of our own log; with ``max_lines`` 0 for the head alone."""
    request = pb.GetMirroredLogRequest(origin=origin, first=first, max_lines=max_lines)
    answer = await call_unary(
        peer.channel.get(), SERVICE + "GetMirroredLog", request, pb.GetMirroredLogResponse, timeout_s=timeout_s
    )
    return MirroredPage(min(answer.size, MAX_INDEX), answer.checkpoint, lines_from_proto(answer.lines))


async def concerning_documents(peer: Peer, digests: Sequence[str], *, timeout_s: float) -> tuple[Document, ...]:
    """Ask a peer for documents that concern us, by digest; what it does not hold is left out."""
    request = pb.GetConcerningDocumentsRequest(digests=digests)
    method, response = SERVICE + "GetConcerningDocuments", pb.GetConcerningDocumentsResponse
    answer = await call_unary(peer.channel.get(), method, request, response, timeout_s=timeout_s)
    return documents_from_proto(answer.documents)


def lines_from_proto(messages: Iterable[pb.MirrorLine]) -> tuple[LogLine, ...]:
    """Read lines."""
    return tuple(
        LogLine(
            one.index, one.object, one.seq, one.commitment,
            one.salt if one.HasField("salt") else None, one.statement if one.HasField("statement") else None,
        )
        for one in messages
    )  # fmt: skip


def line_to_proto(line: LogLine) -> pb.MirrorLine:
    """Write a line."""
    return pb.MirrorLine(
        index=line.index, object=line.object, seq=line.seq, commitment=line.commitment, salt=line.salt,
        statement=line.statement,
    )  # fmt: skip
