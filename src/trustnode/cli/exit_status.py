"""What a finished command tells the shell.

Decides: the closed set of exit statuses and their meaning; ``docs/exit-status.md`` is written from it. Leaves to
others: which reason has which status (``errors.REASONS``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trustnode.errors import REASONS

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
ALARMS: Final = 9
WAITS: Final = 10

STATUSES: Final[Mapping[int, str]] = {
    0: "done",
    1: "failed for another reason",
    2: "wrong usage",
    3: "refused by policy, role, order or a spent limit",
    4: "not found",
    5: "wrong state or conflict",
    6: "unavailable, or the limit of this window: try later",
    7: "verification failed",
    8: "own store corrupt",
    9: "works, with alarms",
    10: "accepted, waits for somebody",
    11: "identity refused (certificate, clock)",
    130: "interrupted",
}
"""Closed; numbers are never reused (surface 4)."""


def page() -> str:
    """The page ``docs/exit-status.md``."""
    lines = [
        "# Exit statuses",
        "",
        "Generated from `src/trustnode/cli/exit_status.py` and the table of reasons; `make docs` writes it.",
        "",
        "| status | meaning | reasons |",
        "|---:|---|---|",
    ]
    for status, meaning in STATUSES.items():
        reasons = ", ".join(f"`{row.reason}`" for row in REASONS.values() if row.exit_status == status)
        lines.append(f"| {status} | {meaning} | {reasons} |")
    return "\n".join(lines) + "\n"
