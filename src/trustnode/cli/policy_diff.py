"""Differences of offers on a screen: ``policy diff``, and what ``publish`` and ``inbox counter`` say about terms.

Decides: which offers are compared, and the layout. Leaves to others: what differs and in which direction
(``core.policy.difference``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import msgspec

from trustnode.cli import counter, output
from trustnode.core.policy import difference
from trustnode.core.policy.difference import Change, Direction, Side
from trustnode.core.policy.terms import Terms, decode
from trustnode.errors import error

if TYPE_CHECKING:
    from trustnode.core.contract import Offer

_ZH: Final[dict[Direction, str]] = {"stricter": "更严", "weaker": "更宽", "other": "不同"}


class Named(Protocol):
    """Something that shows an offer."""

    @property
    def offer(self) -> Offer:
        """The offer."""
        ...


T = TypeVar("T", bound=Named)


def pairs(first: Sequence[T], second: Sequence[T]) -> Iterator[tuple[str, T, T]]:
    """What is compared: one with one whatever their names, else those of the same name.

    Raises:
        TrustnodeError: NOT_FOUND when no two have the same name.
    """
    if len(first) == len(second) == 1:
        names = dict.fromkeys((first[0].offer.name, second[0].offer.name))
        yield " -> ".join(names), first[0], second[0]
        return
    known = {one.offer.name: one for one in first}
    shared = [two for two in second if two.offer.name in known]
    if not shared:
        step = "Name one of each: trustnode policy diff FILE#OFFER FILE#OFFER"
        raise error("NOT_FOUND", "no two offers have the same name", next_step=step)
    yield from ((two.offer.name, known[two.offer.name], two) for two in shared)


def changes(old: Offer, new: Offer) -> tuple[Change, ...]:
    """What the new offer changes."""
    return difference.changes(_side(old), _side(new))


def _side(offer: Offer) -> Side:
    return Side(msgspec.json.decode(offer.terms, type=Terms), str(offer.price))


def by_file(old: Offer, path: Path) -> tuple[Change, ...]:
    """What a file of terms, as ``inbox counter`` takes it, would change in an offer."""
    lines, price = counter.read(path)
    terms = decode(lines) if lines else msgspec.json.decode(old.terms, type=Terms)
    return difference.changes(_side(old), Side(terms, price or str(old.price)))


def data(found: Sequence[Change]) -> dict[str, Any]:
    """For programs."""
    return {"verdict": difference.verdict(found), "changes": [change._asdict() for change in found]}


def verdict_words(found: Sequence[Change]) -> str:
    """What all changes come to, in words."""
    return difference.WORDS[difference.verdict(found)][output.lang() == "zh"]


def table(found: Sequence[Change]) -> list[str]:
    """For people: key, before, after, direction; long cells go on below."""
    chinese = output.lang() == "zh"
    nothing = "无" if chinese else "not said"
    rows = []
    for change in found:
        before, after = (change.before_zh, change.after_zh) if chinese else (change.before, change.after)
        direction = _ZH[change.direction] if chinese else change.direction
        direction = "" if change.key == "price" else direction
        rows.append((change.key, before or nothing, "->", after or nothing, direction))
    return output.wrapped(rows, (9, 27, 2, 27, 8))
