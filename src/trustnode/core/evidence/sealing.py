"""Sealed time: when witnesses had cosigned what an entry says (protocol 1.4).

Decides: how a cosignature's time is written, and that a chain seals what stands before: an entry's link commits to all
earlier entries of its object, so they existed by then too. Leaves to others: quorums (``quorum``), which signatures
count (``checks.witnesses``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trustnode.core import clock

LAST_SECOND: Final = clock.to_ms(clock.FOREVER) // 1000


def sealed_text(seconds: int) -> str:
    """The end of the second that a witness names: what it cosigned existed by then."""
    return clock.FOREVER if seconds >= LAST_SECOND else clock.from_ms(seconds * 1000 + 999)


def earliest_behind(times: Sequence[str]) -> list[str]:
    """For each entry of a chain, the earliest time at which it or an entry behind it was sealed.

    Args:
        times: When each entry was itself shown to be sealed, in the order of the chain; empty: not shown.

    Returns:
        As many times; empty where nothing from there on is sealed.
    """
    found: list[str] = []
    best = ""
    for time in reversed(times):
        best = min(filter(None, (best, time)), default="")
        found.append(best)
    return found[::-1]
