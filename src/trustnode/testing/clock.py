"""A clock that moves only when a test says so."""

from __future__ import annotations

from trustnode.core import clock


class FakeClock:
    """Stands still at ``start`` until it is advanced; also usable where a monotonic clock is expected.

    Attributes:
        time: The present instant as canonical text.
        elapsed: Seconds since the start, what a monotonic clock would have counted.
    """

    def __init__(self, start: str = "2026-11-24T12:00:00.000Z") -> None:
        self.time = start
        self.elapsed = 0.0

    def now(self) -> str:
        """The present instant."""
        return self.time

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self.elapsed

    def advance(self, seconds: float) -> str:
        """Move on; the wall clock may also be set back with a negative value, the monotonic one never."""
        self.time = clock.shift(self.time, seconds)
        self.elapsed += max(seconds, 0.0)
        return self.time

    def set(self, time: str) -> None:
        """Set the wall clock alone, as an operator or NTP does."""
        self.time = time
