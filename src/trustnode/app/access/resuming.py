"""Going on with a read that was broken off (protocol 6.8).

Decides: which earlier access a request may go on with, and what of its result was handed over before. Leaves to others:
whether the result is still the same so far (``engine`` repeats it without sending), the decision, which is made anew.

A read that goes on is an access of its own, with its own decision, stream and receipt. Rows and bytes count as they are
handed over. It counts and costs as a read of its own unless it is the first to begin exactly where the other was broken
off: whoever asks again for what was handed over reads it twice. It is of the same query: an answer that begins alike,
with no row for instance, is the beginning of many.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from trustnode.app.venue import Venue
from trustnode.core import clock
from trustnode.core.access import AccessRequest, AccessState, Resumes, reads_due
from trustnode.core.document import decode
from trustnode.core.stream import Prefix, plan_commitment
from trustnode.errors import TrustnodeError, error
from trustnode.store.unit import View

MAX_AGE_S: Final = 86_400
"""A read is gone on with for so long after it ended."""
MAX_PARTS: Final = 64
"""How often one result may be gone on with."""
SETTLE_WAIT_S: Final = 5.0
"""How long a stream that still runs may take to be settled before another goes on with it."""
SETTLE_PAUSE_S: Final = 0.05
_OVER: Final = frozenset({"DELIVERED", "ABORTED", "IN_USE", "PROVED"})


class Resumed(NamedTuple):
    """What a request goes on with."""

    after: Prefix
    is_complete: bool
    """Whether that had come to its end."""
    handed_over: int | None
    """Frames of it by its receipt; None: it has none."""


async def resumed(venue: Venue, value: AccessRequest, sql: str) -> Resumed | None:
    """What the request goes on with; None for one that begins anew.

    Args:
        venue: The node.
        value: The request.
        sql: The text that runs for it.

    Raises:
        TrustnodeError: RESUME_CHANGED, the same for an access that is not there and one of somebody else.
    """
    if value.resumes is None:
        return None
    await _until_over(venue, value, value.resumes)
    asked = value.resumes
    return await venue.store.read(lambda view: _resumed(view, value, asked, sql))


def reads_of(view: View, value: AccessRequest, before: Resumed | None) -> int:
    """How many reads an access counts as; to be asked in the unit that decides, where nobody else goes on meanwhile."""
    if value.resumes is None or before is None:
        return 1
    others = view.find(AccessState, limit=MAX_PARTS, agreement=value.agreement, resumes=value.resumes.access)
    is_taken = len(others) == MAX_PARTS or any(one.rows or one.state not in _OVER for one in others)
    return reads_due(value.resumes, before.handed_over, is_complete=before.is_complete, is_taken=is_taken)


async def _until_over(venue: Venue, value: AccessRequest, asked: Resumes) -> None:
    """A connection that broke may not be known here yet: its stream ends now, settled before another goes on."""
    running = venue.streams.get(asked.access)
    if running is None or f"agreement:{value.agreement}" not in running.keys:
        return
    running.stop("CANCELLED", "the reader goes on elsewhere")
    deadline = asyncio.get_running_loop().time() + SETTLE_WAIT_S
    while asyncio.get_running_loop().time() < deadline:
        state = await venue.store.read(lambda view: view.get(AccessState, asked.access))
        if state is None or state.state in _OVER:
            return
        await asyncio.sleep(SETTLE_PAUSE_S)


def _resumed(view: View, value: AccessRequest, asked: Resumes, sql: str) -> Resumed:
    last = view.get(AccessState, asked.access)
    if last is None or (last.agreement, last.consumer) != (value.agreement, value.consumer):
        raise _changed("there is no such read to go on with")
    if last.state not in _OVER:
        raise error("BUSY", "the read has not ended yet; go on in a moment")
    if plan_commitment(bytes.fromhex(last.stream_salt), sql) != last.plan_commitment:
        raise _changed("the read was of another query")
    # What a crash ended has no receipt: how far it came only its reader knows, and the chain tells whether it is true.
    handed_over = last.frames if last.receipt else None
    if asked.frames < 1 or (handed_over is not None and asked.frames > handed_over):
        raise _changed(f"the read ended after {handed_over} frames, not after {asked.frames}")
    if last.ended_at < clock.shift(view.now, -MAX_AGE_S):
        raise _changed("the read ended more than a day ago")
    after = Prefix(
        _offset(view, value, last), asked.frames, bytes.fromhex(last.stream_salt),
        bytes.fromhex(asked.stream_commitment),
    )  # fmt: skip
    return Resumed(after, last.state != "ABORTED", handed_over)


def _offset(view: View, value: AccessRequest, last: AccessState) -> int:
    """Frames with rows before the first of the last access, which may have gone on with another itself."""
    frames = 0
    state: AccessState | None = last
    for _ in range(MAX_PARTS):
        document = view.document(state.document) if state else None
        request = decode(document, AccessRequest) if document else None
        if request is None or request.agreements != value.agreements:
            raise _changed("the read was of other agreements")
        if request.resumes is None:
            return frames
        frames += request.resumes.frames - 1
        state = view.get(AccessState, request.resumes.access)
    raise _changed(f"the read was gone on with {MAX_PARTS} times")


def _changed(message: str) -> TrustnodeError:
    return error("RESUME_CHANGED", message)
