"""What the world outside a store was told, and whether the store still holds all of it.

Decides: what counts as lost, wrong and forked. Leaves to others: how the store was hurt (``kills``, ``injection``,
``disks``), who spoke for it (``appender``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from faults.appender import CALLERS, COUNTER

from trustnode.core.access import AccessState
from trustnode.core.evidence.entry import parse_statement
from trustnode.core.evidence.tree import TreeHead, verify_consistency
from trustnode.errors import TrustnodeError
from trustnode.store.unit import View
from trustnode.store.writer import Store

ALL = 1 << 40


@dataclass
class Tally:
    """The figures of a run."""

    kills: int = 0
    acknowledged: int = 0
    checkpoints: int = 0
    lost: int = 0
    wrong: list[str] = field(default_factory=list)
    forks: int = 0

    def add(self, other: Tally) -> None:
        """Take over the figures of another part."""
        self.kills += other.kills
        self.acknowledged += other.acknowledged
        self.checkpoints += other.checkpoints
        self.lost += other.lost
        self.wrong += other.wrong
        self.forks += other.forks

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, wrong or forked."""
        return not (self.lost or self.wrong or self.forks)


@dataclass
class World:
    """Everything that one store ever told anybody."""

    entries: dict[tuple[str, int], str] = field(default_factory=dict)
    """(object, number in its chain) -> link."""
    heads: dict[int, str] = field(default_factory=dict)
    """Size -> root of every head that left the store."""
    asked: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)
    """Accesses for whom the counter was acknowledged."""
    failures: Counter[str] = field(default_factory=Counter)
    forks: int = 0
    wrong: list[str] = field(default_factory=list)
    _read: int = 0

    def hear(self, file: Path) -> None:
        """Take in what was said since the last time; half a line was never said."""
        data = file.read_bytes() if file.exists() else b""
        end = data.rfind(b"\n") + 1
        for line in data[self._read : end].decode().splitlines():
            self._take(*line.split())
        self._read = end

    def _take(self, kind: str, *words: str) -> None:
        match kind:
            case "t":
                self.asked.add(words[0])
            case "e":
                access, object, seq, link, taken = words
                if self.entries.setdefault((object, int(seq)), link) != link:
                    self.wrong.append(f"{object} {seq} was acknowledged twice with different links")
                if taken == "1":
                    self.taken.add(access)
            case "c":
                if self.heads.setdefault(int(words[0]), words[1]) != words[1]:
                    self.forks += 1
            case _:
                self.failures[words[0]] += 1


async def verify(path: Path, world: World, *, limit: int = ALL) -> Tally:
    """Compare a store, after whatever happened to it, with what the world was told."""
    tally = Tally(acknowledged=len(world.entries), checkpoints=len(world.heads), forks=world.forks)
    tally.wrong += world.wrong
    try:
        opened = await Store.open(path, clock=lambda: "2026-11-24T12:00:00.000Z", node_id="n", reserve_bytes=0)
    except TrustnodeError as problem:
        tally.wrong.append(f"the store does not open: {problem.message}")
        return tally
    async with opened as store:
        if not store.verdict.may_sign:
            tally.wrong.append(f"head record: {store.verdict.outcome}: {store.verdict.message}")
        tally.wrong += [f"check: {found.where}: {found.message}" for found in await store.check()]
        await store.read(lambda view: _compare(view, world, tally, limit))
    return tally


def _compare(view: View, world: World, tally: Tally, limit: int) -> None:
    held, events = _held(view)
    decided = sum(number for (_, event), number in events.items() if event == "access.decide")
    tally.lost += sum(held.get(key) != link for key, link in world.entries.items())
    tally.wrong += list(_whole(view, events))
    tally.wrong += list(_counted(view, world, decided, limit))
    tally.forks += len(list(forked(view, world.heads)))


def _held(view: View) -> tuple[dict[tuple[str, int], str], Counter[tuple[str, str]]]:
    """(object, number) -> link of every entry, and (object, event) -> how many there are."""
    held: dict[tuple[str, int], str] = {}
    events: Counter[tuple[str, str]] = Counter()
    for name in (f"C{i}" for i in range(CALLERS)):
        for entry in view.evidence.chain("agreement", name, limit=ALL):
            held[name, entry.seq] = entry.data.hex()
            events[name, parse_statement(entry.statement or b"").type] += 1
    return held, events


def _whole(view: View, events: Counter[tuple[str, str]]) -> Iterable[str]:
    """State, entry and notice of one unit stand or fall together."""
    for name in {name for name, _ in events}:
        entries = sum(number for (of, _), number in events.items() if of == name)
        reads = events[name, "access.decide"] + events[name, "access.deny"]
        states, (notices, _) = view.count(AccessState, agreement=name), view.feed_head("CONTROL", name)
        if (entries, reads) != (notices, states):
            yield f"{name}: {entries} entries of {reads} reads, {states} states, {notices} notices"


def _counted(view: View, world: World, decided: int, limit: int) -> Iterable[str]:
    row = view.counter(COUNTER)
    used = row.used if row else 0
    if not len(world.taken) <= used <= min(len(world.asked), limit):
        yield f"counter: {len(world.taken)} acknowledged, {used} used, {len(world.asked)} asked, limit {limit}"
    if used != decided:
        yield f"counter: {used} used, {decided} decided in the log"


def forked(view: View, heads: dict[int, str]) -> Iterable[int]:
    """Sizes at which a head that was shown does not lead to the one shown next, or to the log as it is."""
    known = [TreeHead(size, bytes.fromhex(root)) for size, root in sorted(heads.items())]
    now = view.evidence.head()
    for old, new in pairwise([*known, TreeHead(now.size, now.root)]):
        try:
            verify_consistency(old, new, view.evidence.consistency(old.size, new.size))
        except TrustnodeError:
            yield old.size
