"""How much one caller may ask: rates and streams, counted per source address, per identity and per trust domain.

A global cap would be a lever for one noisy caller against all others (identity 10), so there is none here.
Decides: whether a call is let in now. Leaves to others: the numbers (``config``), cost of a method (``methods``), the
buckets (``app.buckets``).
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from trustnode.app.buckets import Buckets
from trustnode.config import Limits
from trustnode.errors import error
from trustnode.rpc.authentication import Identified
from trustnode.rpc.methods import COSTS, Method

MESSAGE_BURST_S: Final = 10
REFUSED_COST: Final = 50
"""What a failed authentication costs its source address: it burns more of our time than a call."""


class Allowance:
    """What the messages of one call may come to."""

    def __init__(self, method: Method, monotonic: Callable[[], float]) -> None:
        self._left = method.max_call_bytes
        self._rate = Buckets(method.messages_per_s, method.messages_per_s * MESSAGE_BURST_S, monotonic, limit=1)

    def take(self, size: int) -> None:
        """Count one message of the call.

        Raises:
            TrustnodeError: FIELD_TOO_LONG, RATE_LIMITED.
        """
        self._left -= size
        if self._left < 0:
            raise error("FIELD_TOO_LONG", "the messages of this call are too much together", field="request")
        if wait := self._rate.take("", 1):
            raise error("RATE_LIMITED", "too many messages on one call", retry_after_s=f"{wait:.3f}")


class Admission:
    """The counters of one node."""

    def __init__(self, limits: Limits, monotonic: Callable[[], float]) -> None:
        self._limits = limits
        self._monotonic = monotonic
        self._sources = Buckets(limits.source_per_second, limits.source_burst, monotonic)
        self._identities = Buckets(limits.identity_per_second, limits.identity_burst, monotonic)
        self._domains = Buckets(limits.domain_per_second, limits.domain_burst, monotonic)
        self._open: Counter[tuple[str, str]] = Counter()

    def allowance(self, method: Method) -> Allowance:
        """The allowance of a new call."""
        return Allowance(method, self._monotonic)

    def arrive(self, source: str) -> None:
        """Count a call of a source address, before anybody is authenticated.

        Raises:
            TrustnodeError: RATE_LIMITED.
        """
        self._refuse_wait(self._sources.take(source, 1), "this address")

    def refused(self, source: str) -> None:
        """Count a failed authentication against its source address."""
        self._sources.charge(source, REFUSED_COST)

    @contextlib.contextmanager
    def enter(self, who: Identified, method: Method) -> Iterator[None]:
        """Hold one place for a call while it runs.

        Raises:
            TrustnodeError: RATE_LIMITED.
        """
        if who.audience == "OPERATOR":
            yield
            return
        cost = COSTS[method.cost]
        self._refuse_wait(self._identities.take(who.caller.spiffe_id, cost), "this identity")
        self._refuse_wait(self._domains.take(who.caller.trust_domain, cost), "this trust domain")
        kind = "streams" if method.server_streaming else "calls"
        places = ((kind, who.caller.spiffe_id), (f"domain {kind}", who.caller.trust_domain))
        self._check_places(places)
        self._open.update(places)
        try:
            yield
        finally:
            self._open.subtract(places)
            for place in places:
                if self._open[place] <= 0:
                    del self._open[place]

    def _check_places(self, places: tuple[tuple[str, str], ...]) -> None:
        most = {
            "calls": self._limits.identity_calls,
            "streams": self._limits.identity_streams,
            "domain calls": self._limits.domain_calls,
            "domain streams": self._limits.domain_streams,
        }
        for place in places:
            if self._open[place] >= most[place[0]]:
                raise error("RATE_LIMITED", f"{most[place[0]]} {place[0]} are open already", limit=place[0])

    @staticmethod
    def _refuse_wait(wait: float, whose: str) -> None:
        if wait > 0:
            raise error("RATE_LIMITED", f"too many calls of {whose}", retry_after_s=f"{wait:.3f}")
