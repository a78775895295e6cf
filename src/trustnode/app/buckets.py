"""Token buckets: how fast one source may ask, whatever the protocol it speaks.

Decides: when the next token is there, which addresses are one source. Leaves to others: what else is counted
(``rpc``, ``web``), the numbers (``config``).
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Final

MAX_BUCKETS: Final = 10_000
HOST_BITS: Final = 64
"""Of an address of version 6: one host may change them as it likes."""


@lru_cache(maxsize=4096)
def source_of(address: str) -> str:
    """Whom an address is counted as: itself, or its network where it is one of version 6."""
    try:
        read = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(read, ipaddress.IPv4Address):
        return str(read)
    if read.ipv4_mapped is not None:
        return str(read.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(read) >> HOST_BITS << HOST_BITS))


class Buckets:
    """A token bucket for each key; the longest unused ones are forgotten (a forgotten bucket is a full one)."""

    def __init__(self, per_second: int, burst: int, monotonic: Callable[[], float], limit: int = MAX_BUCKETS) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._monotonic = monotonic
        self._limit = limit
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, tokens: int) -> float:
        """Take tokens; returns 0 when they were there, else the seconds until they will be (nothing is taken then)."""
        now = self._monotonic()
        held = self._level(key, now)
        wait = max(0.0, (min(tokens, self._burst) - held) / self._per_second)
        self._keep(key, held if wait else held - tokens, now)
        return wait

    def charge(self, key: str, tokens: int) -> None:
        """Take tokens that may not be there: the next callers wait for them."""
        now = self._monotonic()
        self._keep(key, max(self._level(key, now) - tokens, -self._burst), now)

    def _level(self, key: str, now: float) -> float:
        held, then = self._held.get(key, (self._burst, now))
        return min(self._burst, held + (now - then) * self._per_second)

    def _keep(self, key: str, held: float, now: float) -> None:
        self._held[key] = (held, now)
        self._held.move_to_end(key)
        while len(self._held) > self._limit:
            self._held.popitem(last=False)
