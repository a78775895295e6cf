"""Signed heads of long ago: those that seal something stay for ever, of the others one an hour.

Decides: which heads may go. Leaves to others: when (``upkeep``), deleting (``store.checkpoints``), what an agreement
asks of its witnesses (``sealing``).

A head is kept for ever where it is the first to show, for some entry that names documents, the signatures it carries:
no head before it that covers the entry has all of them. So whatever quorum anybody asks for, the first head that meets
it is here, and with it the time at which the entry was sealed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec

from trustnode.app.venue import Venue
from trustnode.core import clock
from trustnode.core.evidence.note import cosigned_when, line_keys
from trustnode.store.checkpoints import KeptCheckpoint
from trustnode.store.unit import Tx, View

WHOLE_S: Final = 86400.0
"""Heads of so long stay as they are: witnesses may still answer for them."""
AT_ONCE: Final = 512
"""Heads looked at in one query, and deleted in one unit at most."""
BEFORE: Final = 256
"""Heads before those, among which one with the same signatures is looked for; a farther one counts as missing."""
SETTING: Final = "thinned"
_HOUR: Final = len("2026-11-24T20")

Signers = frozenset[tuple[str, bytes]]
"""Name and key of each signature line of a head."""


class Mark(msgspec.Struct, frozen=True):
    """How far thinning has come."""

    size: int = 0
    """Of the last head that was looked at."""
    last_named: int = -1
    """Index of the last entry below it that names documents; -1: none."""


class Plan(NamedTuple):
    """What one step does."""

    mark: Mark
    drop: tuple[int, ...] = ()
    """Sizes of the heads that go."""
    more: bool = False


async def thin(venue: Venue) -> int:
    """Drop heads that seal nothing and are not the newest of their hour.

    Returns:
        How many.
    """
    dropped, more = 0, True
    while more and not venue.read_only:
        plan = await venue.store.read(planned)
        if plan.mark.size:
            dropped += await venue.store.write(_dropping(plan), event_id="", returns=int)
        more = plan.more
    return dropped


def _dropping(plan: Plan) -> Callable[[Tx], int]:
    def unit(tx: Tx) -> int:
        tx.drop_checkpoints(plan.drop)
        tx.set_setting(SETTING, msgspec.json.encode(plan.mark).decode())
        return len(plan.drop)

    return unit


def planned(view: View) -> Plan:
    """Query: which of the next heads may go. The newest head of all is never among them."""
    text, before = view.setting(SETTING), clock.shift(view.now, -WHOLE_S)
    mark = msgspec.json.decode(text, type=Mark) if text else Mark()
    heads = list(view.checkpoints_covering(mark.size, limit=AT_ONCE + 1))
    known = [(one.size, _signers(one)) for one in view.checkpoints_before(mark.size, limit=BEFORE)]
    drop: list[int] = []
    for one, following in itertools.pairwise(heads):
        if one.time >= before:
            return Plan(mark, tuple(drop))
        named = view.evidence.last_naming(mark.size, one.size)
        mark = Mark(one.size, mark.last_named if named is None else named)
        signers = _signers(one)
        seals = bool(cosigned_when(one.note)) and mark.last_named >= _shown_before(known, signers)
        known.append((one.size, signers))
        if not seals and one.time[:_HOUR] == following.time[:_HOUR]:
            drop.append(one.size)
    return Plan(mark, tuple(drop), more=len(heads) > AT_ONCE)


def _signers(one: KeptCheckpoint) -> Signers:
    return frozenset(line_keys(one.note))


def _shown_before(known: Iterable[tuple[int, Signers]], signers: Signers) -> int:
    """Size of the largest head before that carries all these signatures: entries below it have them already."""
    return max((size for size, others in known if others >= signers), default=0)
