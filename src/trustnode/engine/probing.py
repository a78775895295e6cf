"""Which state a source's data are in, and what a worker is told when it opens one.

Decides: that credentials are read when a worker opens and travel in that message alone, which failures of a source a
consumer sees as one. Leaves to others: where credentials lie (``keys.credentials``), what a state is (``source``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn

import structlog

from trustnode.engine import message as wire
from trustnode.engine import source as reading
from trustnode.engine.message import ClerkSpec, ProbeSpec, SessionSpec
from trustnode.engine.source import Secrets, Source
from trustnode.errors import TrustnodeError, error

Spec = SessionSpec | ClerkSpec | ProbeSpec
Credentials = Callable[[Source], Mapping[str, str]]
"""Reads the credentials that a source names."""

_log: Final = structlog.get_logger("trustnode.engine")


def no_credentials(source: Source) -> NoReturn:
    """Where there is no home, there are no credentials."""
    raise error("CONFIG_INVALID", f"there are no credentials {source.credentials}", field="credentials")


def secrets_of(sources: Sequence[Source], credentials: Credentials) -> Secrets:
    """What the sources need to be opened.

    Raises:
        TrustnodeError: CONFIG_INVALID, which names the credentials and speaks to the provider.
    """
    return {source.credentials: credentials(source) for source in sources if source.credentials}


def opening(spec: Spec, credentials: Credentials) -> wire.Opening:
    """The first message to a worker.

    Raises:
        TrustnodeError: SOURCE_UNAVAILABLE where credentials cannot be read.
    """
    if isinstance(spec, ClerkSpec):
        return wire.OpenClerk(spec.limits)
    try:
        secrets = secrets_of(spec.sources, credentials)
    except TrustnodeError as failure:
        raise _unavailable(failure) from failure
    return wire.OpenProbe(spec.source, secrets) if isinstance(spec, ProbeSpec) else wire.OpenSession(spec, secrets)


def version_of_files(source: Source) -> str:
    """The state of a source on this machine.

    Raises:
        TrustnodeError: SOURCE_UNAVAILABLE.
    """
    try:
        return reading.data_version(source)
    except TrustnodeError as failure:
        raise _unavailable(failure) from failure


def _unavailable(failure: TrustnodeError) -> TrustnodeError:
    """What a consumer hears; the provider reads in the log what was said to it."""
    _log.warning("source not readable", reason=failure.reason, cause=failure.message)
    return error("SOURCE_UNAVAILABLE")
