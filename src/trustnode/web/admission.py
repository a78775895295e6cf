"""What is refused before anything looks at a request: odd spellings of a path, long bodies, whoever asks too fast.

Decides: that each page has exactly one address, how much one source may ask. Leaves to others: connections
(``listener``), what a request means.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trustnode.app.buckets import Buckets, source_of
from trustnode.config import Web
from trustnode.errors import TrustnodeError, error
from trustnode.web.refusal import answer

MAX_HEADER_BYTES: Final = 16 * 1024
MAX_BODY_BYTES: Final = 64 * 1024
READ_COST: Final = 1
WRITE_COST: Final = 10
"""Signatures are verified and a unit is written for it."""
READING: Final = frozenset({"GET", "HEAD"})
SAFE: Final = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
NEVER_KEEP: Final = {"cache-control": "no-store"}
"""A tile that is not there yet will be."""


class Admission:
    """Stands before the whole site."""

    def __init__(self, app: ASGIApp, settings: Web, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._sources = Buckets(settings.source_per_second, settings.source_burst, monotonic)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here."""

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("date", formatdate(usegmt=True))
                for name, value in (SAFE | NEVER_KEEP if message["status"] >= 400 else SAFE).items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(scope)
        except TrustnodeError as refusal:
            await answer(refusal)(scope, receive, send_safely)
            return
        await self._app(scope, receive, send_safely)

    def _check(self, scope: Scope) -> None:
        source = source_of(scope["client"][0]) if scope.get("client") else "?"
        wait = self._sources.take(source, READ_COST if scope["method"] in READING else WRITE_COST)
        if wait > 0:
            raise error("RATE_LIMITED", "too many requests of this address", retry_after_s=f"{wait:.3f}")
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
            raise error("FIELD_TOO_LONG", "headers are longer than 16 KiB", field="headers")
        # decoded and spelled out alike: nothing here needs an escape, so an escape is an attempt
        if scope["raw_path"] != scope["path"].encode() or scope["query_string"]:
            raise error("FIELD_FORMAT", "a path without escapes and without a query", field="path")
