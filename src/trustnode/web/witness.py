"""The witness over HTTPS (C2SP tlog-witness): logs hand us checkpoints, anybody reads what we cosigned.

Decides: nothing but the addresses. Leaves to others: every check and answer (``app.witness``), the bound of a body
(``site``). Source: evidence-log 1.9.
"""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from trustnode.app import witness
from trustnode.app.venue import Venue
from trustnode.errors import error
from trustnode.web.tiles import BRIEFLY, NOTE

_SHA256: Final = re.compile("[0-9a-f]{64}")


def routes(venue: Venue) -> tuple[BaseRoute, ...]:
    """The submission and the monitoring address."""

    async def add_checkpoint(request: Request) -> Response:
        answer = await witness.add_checkpoint(venue, await request.body())
        return Response(answer.body, answer.status, {"content-type": answer.content_type, "cache-control": "no-store"})

    async def monitored(request: Request) -> Response:
        origin = request.path_params["origin"]
        note = await witness.monitored(venue, origin) if _SHA256.fullmatch(origin) else None
        if note is None:
            raise error("NOT_FOUND", "no checkpoint of such a log was cosigned here")
        return Response(note, media_type=NOTE, headers=BRIEFLY)

    return Route("/add-checkpoint", add_checkpoint, methods=["POST"]), Route("/{origin}/checkpoint", monitored)
