"""Two bundles of one agreement, side by side: what only one of them, or only one of the two logs, knows.

Decides: which entries of the two logs answer each other, and when one log tells two stories. Leaves to others: whether
either file holds (``verify``); compare files that were verified.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal

import msgspec

from trustnode.core.document import decode
from trustnode.core.evidence.bundle import Contents, Part
from trustnode.core.evidence.checks.case import Shown, Trail
from trustnode.core.evidence.checks.logs import follow
from trustnode.core.evidence.entry import Entry
from trustnode.core.evidence.head import ChainHead

ANSWERS: Final[Mapping[str, tuple[str, ...]]] = {
    "access.decide": ("access.request",),
    "access.request": ("access.decide", "access.deny"),
    "access.deny": ("access.deny",),
    "delivery.complete": ("delivery.complete", "delivery.abort"),
    "delivery.abort": ("delivery.complete", "delivery.abort"),
}
"""Entry about an access -> entries of the other log that answer it. Others are answered by one of their own type."""
ONE_SIDED: Final = frozenset({"clearing.meter", "lifecycle.refuse"})
"""Each node keeps its own: an answer that it got, a step that it refused."""
ENDED_AT_HOME: Final = ("access.deny", "delivery.abort")
"""A carrier that ended an access itself may never have passed it on."""
Key = tuple[str, ...]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Something that one side has and the other has not."""

    kind: Literal["entry", "story", "agreement"]
    domain: str
    """Whose log has it."""
    other: str = ""
    event: str = ""
    time: str = ""
    """Canonical; empty where the entry is not shown."""
    text: str
    """One sentence."""


def compare(one: Contents, other: Contents) -> tuple[Difference, ...]:
    """Compare two bundles of one agreement.

    Returns:
        What differs: a log that tells each file another story, then entries that only one of the two logs has. What
        is younger than the other side's part is left out.
    """
    if one.agreement != other.agreement:
        return (Difference(kind="agreement", domain=one.maker, other=other.maker, text="these are two agreements"),)
    value = one.value()
    trails: dict[str, Trail] = {}
    found: list[Difference] = []
    for domain in one.nodes:
        sides = [
            follow(domain, file.parts[domain], value.negotiation, value.contract_id)
            for file in (one, other)
            if domain in file.parts
        ]
        found += _two_stories(domain, sides)
        if sides:
            trails[domain] = max(sides, key=lambda trail: len(trail.all))
    heads = {domain: _as_of(domain, (one, other)) for domain in trails}
    for ours, theirs in _pairs(trails):
        found += _missing(ours, theirs, heads[theirs.domain])
    return tuple(found)


def _pairs(trails: Mapping[str, Trail]) -> Iterator[tuple[Trail, Trail]]:
    return ((one, other) for one in trails.values() for other in trails.values() if one is not other)


def _two_stories(domain: str, sides: list[Trail]) -> Iterator[Difference]:
    """One log, two links for one number: a proof that it showed two histories."""
    if len(sides) < 2:
        return
    for chain in ("negotiation", "agreement"):
        for mine, yours in zip(getattr(sides[0], chain), getattr(sides[1], chain), strict=False):
            if mine.link != yours.link:
                yield _story(domain, chain, mine, yours)
                break


def _story(domain: str, chain: str, mine: Shown, yours: Shown) -> Difference:
    entry = mine.entry or yours.entry
    return Difference(
        kind="story",
        domain=domain,
        event=entry.type if entry else "",
        time=entry.time if entry else "",
        text=f"the log of {domain} tells two stories: entry {mine.line.seq} of its {chain} differs in the two files",
    )


def _as_of(domain: str, files: Iterable[Contents]) -> str:
    parts: list[Part] = [file.parts[domain] for file in files if domain in file.parts]
    return max((decode(part.head, ChainHead).time for part in parts if part.head is not None), default="")


def _missing(ours: Trail, theirs: Trail, as_of: str) -> Iterator[Difference]:
    known = {key for _, entry in _shown(theirs) for key in _keys(entry, (entry.type,))}
    ended = {entry.access_id for _, entry in _shown(ours) if entry.type in ENDED_AT_HOME}
    for one, entry in _shown(ours):
        passed_on = entry.type != "access.request" or entry.access_id not in ended
        if entry.type in ONE_SIDED or entry.time > as_of or not passed_on or known & _wanted(entry):
            continue
        yield Difference(
            kind="entry",
            domain=ours.domain,
            other=theirs.domain,
            event=entry.type,
            time=entry.time,
            text=f"entry {one.line.index} {entry.type} is in {ours.domain}'s log only: {theirs.domain} never logged it",
        )


def _shown(trail: Trail) -> Iterator[tuple[Shown, Entry]]:
    return ((one, one.entry) for one in trail.all if one.entry is not None)


def _wanted(entry: Entry) -> set[Key]:
    """Keys of entries in the other log, one of which answers this one."""
    return _keys(entry, ANSWERS.get(entry.type, (entry.type,)))


def _keys(entry: Entry, types: tuple[str, ...]) -> set[Key]:
    about = (entry.access_id,) if entry.access_id else (*sorted(entry.documents), entry.to_state or "")
    return {(kind, *about) for kind in types}
