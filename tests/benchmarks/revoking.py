"""How long data flow after a right was taken back: from the entry that says so to the end of the stream at the provider.

One reader reads as fast as it can, the other took one batch and no longer reads. Both figures are the providing node's
own: the time of the suspension in its log, and `ended` of the receipt, which follows the last frame handed over and the
stop of the engine; so they are upper bounds. A frame that is under way when the stop comes has 50 ms to be taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
from collections.abc import Awaitable, Callable
from typing import Any

from harness import Result, at_most
from venues import HANDLE, venues

from trustnode import aio
from trustnode.core import clock
from trustnode.core.contract import Act
from trustnode.core.document import payload_type
from trustnode.errors import TrustnodeError

ROUNDS = 50
SQL = "select n.* from numbers n cross join (select c0 as x from numbers limit 40) r"
"""Far more than flows within a round."""
STALL_S = 0.3
"""A reader that stopped reading fills what lies between it and the node meanwhile."""


async def _act(operator: Any, agreement: str, event: str, **fields: str) -> None:
    statement = {"machine": "agreement", "object": agreement, "event": event, "reason": "measured", "aud": ["*"]}
    await operator.issue(payload_type(Act), json.dumps({**statement, **fields}).encode())


async def _until_cut(batches: Any) -> None:
    with contextlib.suppress(TrustnodeError):
        async for _ in batches:
            pass


async def _running(batches: Any, revoke: Callable[[], Awaitable[None]]) -> None:
    reading = asyncio.ensure_future(_until_cut(batches))
    await asyncio.sleep(STALL_S / 3)
    await revoke()
    await reading


async def _stalled(_batches: Any, revoke: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(STALL_S)
    await revoke()
    await _until_cut(_batches)


async def _round(operator: Any, agreement: Any, way: Callable[..., Awaitable[None]]) -> float:
    """Milliseconds from the suspension to the end of the stream."""

    async def revoke() -> None:
        await _act(operator, agreement.id, "suspend", cause="VENUE")

    reader = agreement.reader(SQL, tries=0)
    batches = aiter(reader)
    await anext(batches)
    await way(batches, revoke)
    suspended = (await operator.get("agreement", agreement.id)).object.changed_at
    ended = (await operator.get("access", reader.access)).object.changed_at
    await _act(operator, agreement.id, "lift_cause", cause="VENUE")
    return float(clock.to_ms(reader.receipt.ended if reader.receipt else ended) - clock.to_ms(suspended))


async def _measure(profile: str, home: str, way: Callable[..., Awaitable[None]]) -> list[float]:
    async with aio.connect(profile) as cx, aio.operator(home) as operator:
        agreement = await cx.negotiate(HANDLE, offer="open", purpose="statistics")
        return [await _round(operator, agreement, way) for _ in range(ROUNDS)]


def run(_only: str) -> list[Result]:
    """Measure."""
    results = []
    with venues() as stage:
        profile, home = str(stage.folder / "profiles" / "near"), str(stage.folder / "gz")
        for name, way in (("revoke_running", _running), ("revoke_stalled", _stalled)):
            found = asyncio.run(_measure(profile, home, way))
            p99 = statistics.quantiles(found, n=100, method="inclusive")[98]
            note = f"median {statistics.median(found):.0f} ms, longest {max(found):.0f} ms of {len(found)} rounds"
            results.append(at_most(name, "ms p99", p99, 100.0, note))
    return results
