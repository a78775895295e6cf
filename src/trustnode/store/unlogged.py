"""What a unit changed and no entry carries yet: rows, and amounts of counters.

Decides: which entry of a unit carries which change, and that none is left over: a state that moved without evidence
could not be told again. Leaves to others: the columns (``core.carried``), the entry itself (``unit``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trustnode.core.carried import chain_of, change_of
from trustnode.core.evidence.moved import Counted, Moved
from trustnode.core.lifecycle import State
from trustnode.core.states import KINDS

_Row = tuple[str, str]
_Counter = tuple[str, str]
_NEGOTIATION: Final = "negotiation"


class Unlogged:
    """The open account of one unit."""

    def __init__(self) -> None:
        self._rows: dict[_Row, State] = {}
        self._waiting: dict[_Row, tuple[State | None, State]] = {}
        self._reserved: dict[str, dict[_Counter, int]] = {}
        self._used: dict[str, dict[_Counter, int]] = {}

    def seen(self, state: State) -> None:
        """A row as it stands now."""
        self._rows[KINDS[type(state)], state.id] = state

    def row(self, kind: str, id: str) -> State | None:
        """A row that this unit has read or written, as it stands now."""
        return self._rows.get((kind, id))

    def changed(self, before: State | None, after: State) -> None:
        """A row went from ``before`` to ``after``; several steps before one entry are one change."""
        key = (KINDS[type(after)], after.id)
        self._rows[key] = after
        if chain_of(after) is not None:
            first, _ = self._waiting.get(key, (before, after))
            self._waiting[key] = (first, after)

    def reserved(self, access: str, key: str, window: str, amount: int) -> None:
        """An access took of a counter."""
        held = self._reserved.setdefault(access, {})
        held[key, window] = held.get((key, window), 0) + amount

    def used(self, access: str, key: str, window: str, amount: int) -> None:
        """An access is settled: this is what it used up."""
        self._used.setdefault(access, {})[key, window] = amount

    def moved(self, kind: str, object: str, previous: str | None) -> tuple[Moved, ...]:
        """Take the changes that belong into the chain of an object.

        Args:
            kind: Kind of the object.
            object: Its id.
            previous: Negotiation that the entry names as where its agreement comes from.
        """
        if not self._waiting:
            return ()
        chains = ((kind, object), (_NEGOTIATION, previous))
        taken = [key for key, (_, after) in self._waiting.items() if chain_of(after) in chains]
        return tuple(change_of(*self._waiting.pop(key)) for key in taken)

    def counts(self, access: str | None) -> tuple[tuple[Counted, ...], tuple[Counted, ...]]:
        """Take what an access reserved, and what it used up."""
        if access is None:
            return (), ()
        return _counted(self._reserved.pop(access, {})), _counted(self._used.pop(access, {}))

    def check(self) -> None:
        """Refuse a unit that moved something without an entry.

        Raises:
            TypeError: It did; a defect of the program, never of a caller.
        """
        left = [f"{kind} {id}" for kind, id in self._waiting]
        left += [f"counters of access {access}" for access in (*self._reserved, *self._used)]
        if left:
            raise TypeError(f"changed without an entry of its chain: {', '.join(left)}")


def _counted(amounts: Mapping[_Counter, int]) -> tuple[Counted, ...]:
    return tuple(Counted(key=key, window=window, amount=amount) for (key, window), amount in amounts.items())
