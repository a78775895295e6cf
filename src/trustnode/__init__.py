"""trustnode: the node that data exchanges run, and the client that reads from it.

Decides: what ``import trustnode as tn`` gives a client. Everything is loaded when it is used first, so that the import
takes no time and needs neither gRPC nor Arrow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from trustnode import errors
    from trustnode.errors import (
        IdentityRefused,
        NotFound,
        PolicyDenied,
        QuotaExceeded,
        StateError,
        TrustnodeError,
        VenueUnavailable,
        VerificationFailed,
    )
    from trustnode.sdk import aio
    from trustnode.sdk.blocking import connect, join, operator
    from trustnode.sdk.bundle import verify

__all__ = [
    "IdentityRefused",
    "NotFound",
    "PolicyDenied",
    "QuotaExceeded",
    "StateError",
    "TrustnodeError",
    "VenueUnavailable",
    "VerificationFailed",
    "aio",
    "connect",
    "errors",
    "join",
    "operator",
    "verify",
]

_PLACES: Final = {
    "aio": "trustnode.sdk.aio",
    "connect": "trustnode.sdk.blocking",
    "errors": "trustnode.errors",
    "join": "trustnode.sdk.blocking",
    "operator": "trustnode.sdk.blocking",
    "verify": "trustnode.sdk.bundle",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'trustnode' has no attribute {name!r}")
    module = importlib.import_module(_PLACES.get(name, "trustnode.errors"))
    return module if name in ("aio", "errors") else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
