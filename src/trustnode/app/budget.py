"""The privacy budget: who shares it, what a question costs, which answer is given again.

Decides: the scope of the ledger (source, asker, window), what one unit takes of it, and when a question was answered
before. Leaves to others: the arithmetic (``core.policy.privacy``), the conditional update (``store``), noise
(``engine``).

The scope is neither listing nor agreement: every offer of one source, told by its source statement and by the place its
rows are read from, takes of the same two counters, and so do all who share a subject code or a pool. What was taken is
never given back, whatever became of the question: its answer, or how long it took, may have been seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from trustnode.app.quota import Reservation, take, window_of
from trustnode.app.venue import Venue
from trustnode.core.catalog import Registration
from trustnode.core.policy.compiled import CompiledPolicy
from trustnode.core.policy.privacy import Budget, window_words
from trustnode.engine.source import Source
from trustnode.errors import error
from trustnode.store.unit import Tx, View

EVERYBODY: Final = "*"
"""In a pool: whoever asks."""


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """What one asker may spend on one source."""

    budget: Budget
    scopes: tuple[str, ...]
    """Names of the counters, without what they count."""
    policy: str
    """Digest of the policy."""
    zone: str

    def question(self, sql: str, data_version: str, window: str) -> str:
        """Name of the stored answer: the same question on the same data under the same policy in the same window."""
        parts = (*self.scopes, self.policy, self.zone, data_version, window, sql)
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()

    def accounts(self, now: str) -> tuple[Reservation, ...]:
        """What a question takes of each counter, now."""
        budget = self.budget
        window, ends = window_of(budget.window, now, self.zone)
        reason = "QUOTA_WINDOW" if window else "QUOTA_TOTAL"
        words = f"privacy budget (epsilon {budget.epsilon_in_all} {window_words(budget.window)})"
        costs = {"rho": (budget.rho, budget.rho_in_all), "delta": (budget.delta, budget.delta_in_all)}
        return tuple(
            Reservation(f"{scope}/{unit}", unit, window, ends, limit, reason, words, amount)
            for scope in self.scopes
            for unit, (amount, limit) in costs.items()
            if amount
        )

    def questions_left(self, view: View) -> int:
        """How many more questions there are in this window."""
        window, _ = window_of(self.budget.window, view.now, self.zone)
        rows = [view.counter(f"{scope}/rho", window) for scope in self.scopes]
        return min(self.budget.left(row.used if row else 0) for row in rows)

    def spend(self, tx: Tx, access: str) -> tuple[Reservation, ...]:
        """Take the cost of a question, in the unit that decides on it.

        Raises:
            TrustnodeError: QUOTA_WINDOW with the end of the window, QUOTA_TOTAL: it is used up.
        """
        return tuple(take(tx, account, access) for account in self.accounts(tx.now))


def ledger_of(
    venue: Venue, policy: CompiledPolicy, registration: Registration, source: Source, *, asker: str, subject: str
) -> Ledger | None:
    """The ledger that a question under a policy is booked in; None where answers are exact.

    Args:
        venue: The node.
        policy: Of the agreement, or of an offer.
        registration: Of the product.
        source: Where its rows are read from.
        asker: Participant.
        subject: Its subject code, from its key document; empty: it stands for itself.
    """
    budget = policy.budget
    if budget is None:
        return None
    who = _short(pool_of(venue.pools, (subject, asker)) or subject or asker)
    place = msgspec.json.encode((source.kind, source.location, sorted(source.tables.items())))
    sources = (f"statement-{registration.source_sha256[:24]}", f"resource-{hashlib.sha256(place).hexdigest()[:24]}")
    return Ledger(
        budget=budget,
        scopes=tuple(f"privacy/{who}/{name}" for name in sources),
        policy=policy.digest,
        zone=registration.zone,
    )


def _short(name: str) -> str:
    """An asker in the log is a pseudonym."""
    return hashlib.sha256(f"budget {name}".encode()).hexdigest()[:24]


def pool_of(pools: Mapping[str, str], names: Iterable[str]) -> str:
    """The pool that one of these names belongs to; empty: none."""
    return next((f"pool {pools[name]}" for name in (*names, EVERYBODY) if name in pools), "")


def read_pools(lines: Iterable[str]) -> dict[str, str]:
    """Read ``NAME: WHO WHO ...``: subject codes or participants that are taken for one asker.

    Returns:
        Who -> name of the pool.

    Raises:
        TrustnodeError: CONFIG_INVALID, with the line.
    """
    found: dict[str, str] = {}
    for line in lines:
        name, _, members = line.partition(":")
        if not name.strip() or not members.split():
            raise error("CONFIG_INVALID", f"privacy.pools: write NAME: WHO WHO, not {line!r}", field="privacy.pools")
        for member in members.split():
            if member in found:
                raise error("CONFIG_INVALID", f"privacy.pools: {member} is in two pools", field="privacy.pools")
            found[member] = name.strip()
    return found
