"""How a refusal looks over HTTP: a status and one sentence.

Decides: the status of each gRPC code of the reason table. Leaves to others: the reasons (``errors``). The witness
protocol has answers of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from trustnode.app.venue import log
from trustnode.errors import REASONS, TrustnodeError, error

STATUSES: Final[Mapping[str, int]] = {
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "CANCELLED": 499,
    "DATA_LOSS": 500,
    "DEADLINE_EXCEEDED": 504,
    "FAILED_PRECONDITION": 409,
    "INTERNAL": 500,
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "OUT_OF_RANGE": 400,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "UNAUTHENTICATED": 401,
    "UNAVAILABLE": 503,
    "UNIMPLEMENTED": 501,
}
"""gRPC code -> HTTP status."""


def answer(refusal: TrustnodeError) -> Response:
    """The answer to a request that is refused."""
    seconds = refusal.metadata.get("retry_after_s")
    headers = {"retry-after": str(math.ceil(float(seconds)))} if seconds else {}
    status = STATUSES[REASONS[refusal.reason].code]
    return PlainTextResponse(f"{refusal.reason}: {refusal.message}\n", status, headers)


async def refused(_request: Request, problem: Exception) -> Response:
    """Handler of refusals."""
    return answer(problem if isinstance(problem, TrustnodeError) else error("INTERNAL"))


async def failed(request: Request, problem: Exception) -> Response:
    """Handler of everything else: our fault, so the text stays here."""
    log.error("web request failed", path=request.url.path, exc_info=problem)
    return answer(error("INTERNAL"))
