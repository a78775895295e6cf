"""What differs between two offers, in words, and which of them lets through more.

Decides: the lines that differ and, for each, whether the second is stricter, weaker or only other. Leaves to others:
which of two values is stricter (``floor``), the words (``explain``), printing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from trustnode.core.policy import explain, floor
from trustnode.core.policy.terms import KEYS, Terms

Direction = Literal["stricter", "weaker", "other"]
"""``stricter``: the second lets through less; ``other``: neither contains the other, or nobody can say."""
Verdict = Literal["same", "stricter", "weaker", "other"]


class Side(NamedTuple):
    """One of the two offers."""

    terms: Terms
    price: str


class Change(NamedTuple):
    """One line that differs; empty words: the line is not there."""

    key: str
    before: str
    after: str
    before_zh: str
    after_zh: str
    direction: Direction


WORDS: Final[Mapping[Verdict, tuple[str, str]]] = {
    "same": ("both say the same", "两者相同"),
    "stricter": ("stricter: no more is let through than before", "更严: 不超出之前"),
    "weaker": ("weaker: more is let through than before", "更宽: 涵盖之前且更多"),
    "other": ("other: neither contains the other", "不同: 互不涵盖"),
}
"""What is said of the second offer, English and Chinese."""


_TOGETHER: Final[Mapping[str, tuple[str, ...]]] = {"masks": ("columns",), "columns": ("masks",)}
"""A column is delivered by the one line or by the other."""


def changes(one: Side, two: Side) -> tuple[Change, ...]:
    """The lines in which ``two`` differs from ``one``, in the order of the terms, the price last."""
    before, after = _words(one), _words(two)
    keys = [key for key in (*KEYS, "price") if before.get(key) != after.get(key)]
    return tuple(
        _change(key, before.get(key, ("", "")), after.get(key, ("", "")), one.terms, two.terms) for key in keys
    )


def verdict(found: Sequence[Change]) -> Verdict:
    """What all changes come to; a price is no right, and is left out."""
    directions = {change.direction for change in found if change.key != "price"}
    if not directions:
        return "same" if not found else "other"
    return directions.pop() if len(directions) == 1 else "other"


def _words(side: Side) -> dict[str, tuple[str, str]]:
    """Key of a line -> its words; several lines of one key are joined."""
    found: dict[str, tuple[str, str]] = {}
    for line in explain.lines(side.terms, side.price):
        words, zh = found.get(line.key, ("", ""))
        found[line.key] = ("; ".join(filter(None, (words, line.words))), "; ".join(filter(None, (zh, line.zh))))
    return found


def _change(key: str, before: tuple[str, str], after: tuple[str, str], one: Terms, two: Terms) -> Change:
    keys = [name for name in (key, *explain.merged_into(key), *_TOGETHER.get(key, ())) if name != "price"]
    narrower = all(floor.is_within(name, two, one) for name in keys)
    wider = all(floor.is_within(name, one, two) for name in keys)
    direction: Direction = "other" if narrower == wider else "stricter" if narrower else "weaker"
    return Change(key, before[0], after[0], before[1], after[1], direction)
