"""Whether a session's data are still those it was opened for.

Decides: when what was computed from a source may be kept, or given again. Leaves to others: what a version is
(``source.data_version``). Looks at the sources: call it in a thread.
"""

from __future__ import annotations

import contextlib

from trustnode.engine.message import SessionSpec
from trustnode.engine.source import data_version
from trustnode.errors import TrustnodeError


def is_current(spec: SessionSpec) -> bool:
    """Whether every source of a session has the version it was opened for; one that cannot be read has not."""
    with contextlib.suppress(TrustnodeError, OSError):
        return all(data_version(part.source) == part.data_version for part in spec.parts)
    return False
