"""The log as files (C2SP tlog-tiles): checkpoint, tiles of hashes, bundles of entries.

Decides: content types and how long a cache may keep an answer. Leaves to others: what may be shown (``app.tiles``), the
spelling of paths (``core.evidence.tile``). Source: evidence-log 1.6, 1.7.
"""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from trustnode.app import tiles
from trustnode.app.publisher import Publisher
from trustnode.app.venue import Venue
from trustnode.core.evidence.tile import parse_path

NOTE: Final = "text/plain; charset=utf-8"
HASHES: Final = "application/octet-stream"
BRIEFLY: Final = {"cache-control": "public, max-age=2"}
FOR_EVER: Final = {"cache-control": "public, max-age=31536000, immutable"}
COMPRESSION_LEVEL: Final = 6
READS: Final = 4
"""Reads of the store at a time: strangers queue here, not before the node's own reads."""


def routes(venue: Venue, publisher: Publisher) -> tuple[BaseRoute, ...]:
    """What a log serves below its prefix."""
    reading = asyncio.Semaphore(READS)

    async def checkpoint(_request: Request) -> Response:
        return Response(await tiles.newest_checkpoint(venue, publisher), media_type=NOTE, headers=BRIEFLY)

    async def tile(request: Request) -> Response:
        name = parse_path(request.url.path[1:])
        async with reading:
            data = await tiles.tile(venue, publisher, name)
        return Response(data, media_type=HASHES, headers=FOR_EVER)

    zipped = [Middleware(GZipMiddleware, compresslevel=COMPRESSION_LEVEL)]
    return (
        Route("/checkpoint", checkpoint),
        Route("/tile/entries/{number:path}", tile, middleware=zipped),
        Route("/tile/{level}/{number:path}", tile),
    )
