"""One interpreter for every life cycle: a table of rows, and the pure step through it.

Decides: which event may move which object from where to where, who may send it, which guard must hold, which evidence
event reports it, and how the causes of a suspension add up. Leaves to others: the tables (they stand with their nouns)
and storing the result (``app.transition``). Source: lifecycles 1, rules L1 to L9.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

import msgspec

from trustnode.errors import error

Actor = Literal["P", "C", "V", "H", "N", "X", "S", "T", "K"]
ACTORS: Final[dict[str, str]] = {
    "P": "provider",
    "C": "consumer",
    "V": "listing venue",
    "H": "home node",
    "N": "peer node",
    "X": "supervisor",
    "S": "data subject",
    "T": "timer",
    "K": "the node's own logic",
}
_RANK: Final[dict[str, int]] = {"X": 3, "K": 2, "V": 2, "H": 2, "N": 1, "P": 1, "C": 1, "S": 1, "T": 0}


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The row that moves. The fields of a subclass are the columns of its table (DESIGN 3.1)."""

    id: str
    state: str = ""
    causes: tuple[str, ...] = ()
    """Why it is suspended, each as ``<actor>:<CAUSE>``."""
    version: int = 0
    """Counts changes; 0 before the first one is stored."""
    changed_at: str = ""
    document: str = ""
    """Digest of the current document."""


F = TypeVar("F")

Condition = Callable[[F], bool]
Guard = Callable[[F], "str | tuple[str, str] | None"]
"""Returns None when it holds, else the reason, or (reason, sentence)."""


class Row(NamedTuple, Generic[F]):
    """(from, event, actor, guard, to, evidence)."""

    source: str | None
    """None: the row creates the object."""
    event: str
    actors: str
    """Letters of ``ACTORS``."""
    target: str
    evidence: str
    """Event of the log; empty: nothing is logged (a private draft)."""
    guard: Guard[F] | None = None
    when: Condition[F] | None = None
    """Tells rows with the same source and event apart; exactly one may hold (L1)."""


class Step(NamedTuple):
    """What a step does to the object."""

    state: str
    causes: tuple[str, ...]
    evidence: str


@dataclass(frozen=True)
class Machine(Generic[F]):
    """A life cycle as data."""

    name: str
    kind: str
    """Object kind of the evidence chain it is logged in (protocol 4)."""
    states: tuple[str, ...]
    terminal: frozenset[str]
    rows: tuple[Row[F], ...]

    @functools.cached_property
    def events(self) -> frozenset[str]:
        """Every event of the table."""
        return frozenset(row.event for row in self.rows)

    @functools.cached_property
    def index(self) -> dict[tuple[str | None, str], tuple[Row[F], ...]]:
        """Rows by (source, event)."""
        found: dict[tuple[str | None, str], tuple[Row[F], ...]] = {}
        for row in self.rows:
            key = (row.source, row.event)
            found[key] = (*found.get(key, ()), row)
        return found

    @functools.cached_property
    def illegal_pairs(self) -> tuple[tuple[str, str], ...]:
        """Every (state, event) that the table leaves out."""
        pairs = ((state, event) for state in self.states for event in sorted(self.events))
        return tuple(pair for pair in pairs if pair not in self.index)

    def may_ever(self, event: str, actor: str) -> bool:
        """Whether some row lets ``actor`` send ``event`` (asked before the object is looked up, L4)."""
        return any(row.event == event and actor in row.actors for row in self.rows)


def step(machine: Machine[F], state: State | None, event: str, actor: str, facts: F, *, cause: str = "") -> Step:
    """Find the row that fires and what it changes.

    Args:
        machine: The table.
        state: The object as stored; None when the event creates it.
        event: Name of the event.
        actor: One letter of ``ACTORS``.
        facts: What the guards look at.
        cause: Cause of ``suspend`` and ``lift_cause``, without the actor.

    Raises:
        TrustnodeError: ROLE_NOT_ALLOWED, ILLEGAL_TRANSITION, or the reason of the guard that did not hold.
    """
    if not machine.may_ever(event, actor):
        raise error("ROLE_NOT_ALLOWED", f"the {ACTORS[actor]} may not {_said(event)} a {machine.name}")
    source = state.state if state else None
    rows = machine.index.get((source, event), ())
    if not rows:
        raise error(
            "ILLEGAL_TRANSITION", f"{machine.name} in {source or '(none)'}: it is not possible to {_said(event)}"
        )
    rows = tuple(row for row in rows if actor in row.actors)
    if not rows:
        raise error("ROLE_NOT_ALLOWED", f"the {ACTORS[actor]} may not {_said(event)} a {machine.name} in {source}")
    causes = _causes(state.causes if state else (), event, actor, cause)
    row = _choose(machine, rows, facts, causes)
    return Step(row.target, causes if row.target == "SUSPENDED" or causes else (), row.evidence)


def _said(event: str) -> str:
    """An event in a sentence; the name a person types where it differs."""
    return {"lift_cause": "resume"}.get(event, event.replace("_", " "))


def _choose(machine: Machine[F], rows: tuple[Row[F], ...], facts: F, causes: tuple[str, ...]) -> Row[F]:
    open_rows = [row for row in rows if _holds(row, facts, causes)]
    if not open_rows:
        raise error("ILLEGAL_TRANSITION", f"{machine.name}: no row for {rows[0].event} fits")
    refused: str | tuple[str, str] = "ILLEGAL_TRANSITION"
    for row in open_rows:
        refusal = row.guard(facts) if row.guard else None
        if refusal is None:
            return row
        refused = refusal
    raise error(*((refused, "") if isinstance(refused, str) else refused))


def _holds(row: Row[F], facts: F, causes: tuple[str, ...]) -> bool:
    if row.when is CAUSES_REMAIN:
        return bool(causes)
    if row.when is NO_CAUSE_LEFT:
        return not causes
    return row.when is None or row.when(facts)


def CAUSES_REMAIN(_facts: Any) -> bool:  # noqa: N802 (a condition of the tables, compared by identity)
    """Holds when, after this event, a cause still stands; the interpreter answers it from the causes."""
    return True


def NO_CAUSE_LEFT(_facts: Any) -> bool:  # noqa: N802 (as above)
    """Holds when this event removes the last cause."""
    return True


def _causes(causes: tuple[str, ...], event: str, actor: str, cause: str) -> tuple[str, ...]:
    if event == "suspend":
        if not cause:
            raise error("FIELD_MISSING", "name the cause of the suspension", field="cause")
        return tuple(sorted({*causes, f"{actor}:{cause}"}))
    if event == "lift_cause":
        return _lifted(causes, actor, cause)
    return causes


def _lifted(causes: tuple[str, ...], actor: str, cause: str) -> tuple[str, ...]:
    matching = [c for c in causes if c.partition(":")[2] == cause]
    if not matching:
        raise error("ILLEGAL_TRANSITION", f"no cause {cause or '(none)'} stands, but: {', '.join(causes) or 'none'}")
    own = [c for c in matching if c[0] == actor or _RANK[actor] > _RANK[c[0]]]
    if not own:
        raise error("ROLE_NOT_ALLOWED", f"only who set {cause}, or a higher authority, may lift it")
    return tuple(c for c in causes if c not in own)
