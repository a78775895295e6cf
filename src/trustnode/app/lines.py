"""What the node's own log looks like: one event is one line, whatever somebody called himself.

Decides: the form of a line, and that nothing from outside can break or colour one (attack-tests L23). Leaves to others:
what is logged; no module logs a key, a token, a salt or a query (L22).
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

from trustnode.config import Log

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters, separators of lines, and marks that turn the direction of text round."""


def configure(settings: Log) -> None:
    """One canonical line an event on stderr: JSON when stderr is no terminal."""
    as_json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,  # without the values of variables: those are keys and queries
            escaped,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def escaped(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    r"""Write what would end a line or speak to a terminal as ``\n``, ``\x1b``, ``\u2028``."""
    if "exception" in event:
        event["traceback"] = event.pop("exception")  # a console would put it on lines of its own
    return {_escape(key): _escape(value) for key, value in event.items()}


def _escape(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else str(value)
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
