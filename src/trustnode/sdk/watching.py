"""News of one object: a stream that is opened again when it breaks.

Decides: that no version is missed and none comes twice. Leaves to others: what a change means.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Final

from trustnode.errors import TrustnodeError
from trustnode.wire.convert import RemoteObject

if TYPE_CHECKING:
    from trustnode.sdk.connection import Node

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 5.0


async def changes(node: Node, kind: str, id: str, after: int, timeout_s: float) -> AsyncGenerator[RemoteObject, None]:
    """Versions of an object above ``after``, until ``timeout_s`` seconds are over.

    Raises:
        TrustnodeError: What the node refuses with; a node that does not answer is asked again.
    """
    end, pause = time.monotonic() + timeout_s, FIRST_PAUSE_S
    while (left := end - time.monotonic()) > 0:
        try:
            async with node.watch(
                "DocumentService/WatchObjects", timeout_s=left, kind=kind, ids=[id], after_version=after
            ) as answers:
                async for answer in answers:
                    found: RemoteObject = answer["object"]
                    if found.version > after:
                        after, pause = found.version, FIRST_PAUSE_S
                        yield found
        except TrustnodeError as problem:
            if problem.reason == "DEADLINE" and time.monotonic() >= end - 0.05:
                return
            if not problem.retryable:
                raise
        await asyncio.sleep(min(pause, max(0.0, end - time.monotonic())))
        pause = min(pause * 2, LONGEST_PAUSE_S)
