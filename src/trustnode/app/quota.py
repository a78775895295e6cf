"""Counting: what a policy limits, reserved before and settled after.

Decides: which window an instant falls into, how rows are reserved in portions, what is left. Leaves to others: the
conditional update itself (``store``), which limits a policy has (``core.policy``). Source: lifecycles 7, odrl 9.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from trustnode.core import clock
from trustnode.core.policy.counters import Counter
from trustnode.errors import TrustnodeError, error
from trustnode.store.unit import Tx, View

PORTIONS: Final = {"rows": 100_000, "bytes": 64 * 1024 * 1024}
"""Units that are taken as they flow, and how much at a time (protocol 6.6)."""


class Reservation(msgspec.Struct, frozen=True):
    """What one access holds of one counter."""

    key: str
    unit: str
    window: str
    window_ends: str
    limit: int
    reason: str
    words: str
    amount: int = 0


def reservations(counters: Sequence[Counter], agreement: str, now: str, zone: str) -> tuple[Reservation, ...]:
    """Every counter that an access under an agreement touches, nothing taken yet."""
    return tuple(_unreserved(counter, agreement, now, zone) for counter in counters)


def _unreserved(counter: Counter, agreement: str, now: str, zone: str) -> Reservation:
    window, ends = window_of(counter.window, now, zone)
    return Reservation(
        key=f"{agreement}/{counter.name}", unit=counter.unit, window=window, window_ends=ends, limit=counter.limit,
        reason=counter.reason, words=counter.words,
    )  # fmt: skip


def window_of(window: str, now: str, zone: str) -> tuple[str, str]:
    """Name of the window that ``now`` falls into, and when it ends; both empty for the whole agreement."""
    local = clock.moment(now).astimezone(ZoneInfo(zone))
    if window == "none":
        return "", ""
    begin = _begin(window, local)
    end = {
        "minute": begin + timedelta(minutes=1),
        "hour": begin + timedelta(hours=1),
        "day": begin + timedelta(days=1),
        "week": begin + timedelta(days=7),
        "month": (begin + timedelta(days=32)).replace(day=1),
        "year": begin.replace(year=begin.year + 1),
    }[window]
    return begin.isoformat(timespec="minutes" if window == "minute" else "hours"), clock.text(end)


def _begin(window: str, local: datetime) -> datetime:
    minute = local.replace(second=0, microsecond=0)
    hour = minute.replace(minute=0)
    day = hour.replace(hour=0)
    return {
        "minute": minute,
        "hour": hour,
        "day": day,
        "week": day - timedelta(days=day.weekday()),
        "month": day.replace(day=1),
        "year": day.replace(month=1, day=1),
    }[window]


def reserve(
    tx: Tx, counters: Sequence[Counter], access: str, agreement: str, zone: str, reads: int = 1
) -> tuple[Reservation, ...]:
    """Take one of each limit of reads; rows and bytes are taken as they flow.

    Raises:
        TrustnodeError: The reason of the limit that is used up.
    """
    taken = []
    for wanted in reservations(counters, agreement, tx.now, zone):
        amount = {"count": reads, "running": 1}.get(wanted.unit, 0)
        taken.append(take(tx, msgspec.structs.replace(wanted, amount=amount), access))
    return tuple(taken)


def take(tx: Tx, wanted: Reservation, access: str) -> Reservation:
    """Take the amount that a reservation names, for an access.

    Raises:
        TrustnodeError: The reason of the limit that is used up.
    """
    if not tx.reserve(wanted.key, wanted.amount, wanted.limit, access=access, window=wanted.window):
        raise used_up(tx, wanted)
    return wanted


def used_up(view: View, wanted: Reservation) -> TrustnodeError:
    """The refusal of a limit with nothing left; it names when its window ends."""
    seconds = (clock.to_ms(wanted.window_ends) - clock.to_ms(view.now)) / 1000 if wanted.window_ends else 0
    extra = {"retry_after_s": f"{seconds:.0f}", "window_ends": wanted.window_ends} if wanted.window_ends else {}
    until = f" until {wanted.window_ends[:16].replace('T', ' ')} UTC" if wanted.window_ends else ""
    said = f"{wanted.words}, and as many are running" if wanted.unit == "running" else f"{wanted.words} used up{until}"
    return error(wanted.reason, said, limit=str(wanted.limit), **extra)


def is_running(key: str) -> bool:
    """Whether a counter counts reads that run: nothing of it stays with a read that ended, a crash included."""
    return key.endswith("/running/none")


def consumed(held: Reservation, *, rows: int, size: int) -> int:
    """What an access that ended has used of a limit; a read that no longer runs holds nothing of those that run.

    Of a privacy budget all stays used that was taken: whatever became of the question.

    Args:
        held: What it took.
        rows: Handed over.
        size: Bytes handed over.
    """
    taken = held.amount
    return {"count": taken, "rho": taken, "delta": taken, "rows": rows, "bytes": size, "running": 0}[held.unit]


def rows_left(view: View, held: Sequence[Reservation]) -> int | None:
    """Rows that every limit still allows; None where rows are not limited.

    Raises:
        TrustnodeError: The reason of a limit with nothing left.
    """
    left = None
    for one in held:
        if one.unit != "rows":
            continue
        row = view.counter(one.key, one.window)
        free = one.limit - (row.used if row else 0) + one.amount
        if free <= 0:
            raise used_up(view, one)
        left = free if left is None else min(left, free)
    return left


def cover(
    tx: Tx, held: Sequence[Reservation], access: str, needed: Mapping[str, int] | None
) -> tuple[Reservation, ...]:
    """Reserve what flows so that ``needed`` is covered: exactly where the whole is known, else in portions.

    Args:
        tx: The unit.
        held: What the access holds.
        access: Its id.
        needed: Unit -> amount handed over after the next frame; None: a stream begins, one portion is taken.

    Raises:
        TrustnodeError: The reason of the limit that cannot cover it.
    """
    return tuple(_covering(tx, one, access, needed) if one.unit in PORTIONS else one for one in held)


def _covering(tx: Tx, held: Reservation, access: str, needed: Mapping[str, int] | None) -> Reservation:
    short = needed[held.unit] - held.amount if needed is not None else 0
    if needed is not None and short <= 0:
        return held
    row = tx.counter(held.key, held.window)
    free = held.limit - (row.used if row else 0)
    portion = min(max(short, PORTIONS[held.unit]), free)
    if portion < short or not tx.reserve(held.key, portion, held.limit, access=access, window=held.window):
        raise used_up(tx, held)
    return msgspec.structs.replace(held, amount=held.amount + portion)
