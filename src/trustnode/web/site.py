"""The site: one node's pages behind one HTTPS listener.

Decides: which pages there are, when the certificate is read again. Leaves to others: each page (``tiles``,
``witness``), bounds (``admission``, ``listener``), start order (``node``).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from trustnode.app.publisher import Publisher
from trustnode.app.venue import Venue, log
from trustnode.config import Config
from trustnode.errors import TrustnodeError
from trustnode.keys import Credential
from trustnode.web import certificate, tiles, witness
from trustnode.web.admission import MAX_BODY_BYTES, Admission
from trustnode.web.listener import Connections, listening
from trustnode.web.refusal import failed, refused


class Site:
    """What one node serves over HTTPS."""

    def __init__(self, home: Path, config: Config, venue: Venue, publisher: Publisher) -> None:
        self._home, self._settings, self._venue = home, config.web, venue
        self._context = certificate.new_context()
        self._connections = Connections(config.limits.connections)
        self._app = application(config, venue, publisher)
        self.port = 0

    @contextlib.asynccontextmanager
    async def serving(self, own: Credential) -> AsyncIterator[None]:
        """Serve until the block is left.

        Args:
            own: The node's certificate, shown where the configuration names none.

        Raises:
            TrustnodeError: CONFIG_INVALID.
        """
        self.show(own)
        async with listening(self._app, self._settings.listen, self._context, self._connections) as port:
            self.port = port
            log.info("serving https", port=port)
            yield

    def show(self, own: Credential) -> None:
        """Read the certificate again and show it from the next handshake on.

        Raises:
            TrustnodeError: CONFIG_INVALID; the old one is shown further.
        """
        shown = certificate.credential(self._home, self._settings, own)
        certificate.show(self._context, shown, self._venue.clock.now())

    def problem(self, own: Credential) -> str:
        """Why the certificate of the configuration could not be shown now; empty: it could. Nothing is changed."""
        try:
            shown = certificate.credential(self._home, self._settings, own)
            certificate.show(certificate.new_context(), shown, self._venue.clock.now())
        except TrustnodeError as problem:
            return problem.message
        return ""


def application(config: Config, venue: Venue, publisher: Publisher) -> ASGIApp:
    """The pages, behind what bounds them."""
    app = Starlette(
        routes=[*tiles.routes(venue, publisher), *witness.routes(venue)],
        middleware=[Middleware(Admission, settings=config.web)],
        exception_handlers={TrustnodeError: refused, Exception: failed},
        max_body_size=MAX_BODY_BYTES,
    )
    app.router.redirect_slashes = False
    return app
