"""Whether conditions imply others, or exclude each other: exactly, on the finitely many cases that they tell apart.

Decides: yes, no, or not known, for any nesting of constraints (odrl 8). Leaves to others: what follows from the answer
("not known" is never yes: ``floor``, ``conflict``), operators (``evaluate``).

The values of an operand fall into cells that no constraint at hand tells apart: the instants between two bounds, the
words that stand in the same lists, and "no value". One value stands for a cell and is put to the closures that decide
real requests, so this cannot disagree with them. A rule becomes boxes: one set of cells for each operand.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

from trustnode.core.policy import evaluate, grammar, words
from trustnode.core.policy.duration import Duration
from trustnode.core.policy.odrl import Constraint
from trustnode.core.policy.premises import DATA_STATE, test_of
from trustnode.core.policy.purposes import PURPOSES

MAX_BOXES: Final = 256
"""Beyond that the answer is "not known"."""
MAX_TESTS: Final = 16_384
"""Cells of an operand, times the constraints on it."""

Answer = bool | None
"""None: not known."""

Operand = tuple[str, str]
"""Left operand and unit: limits of different windows are different quantities."""


class Box(NamedTuple):
    """One conjunction: for some operands the cells that satisfy it, as bits; the others are free."""

    cells: Mapping[Operand, int]


class _Undecidable(Exception):
    """Too many cases, or values that have no order."""


# --- questions


def implied(asked: Sequence[Constraint], offered: Sequence[Constraint]) -> Answer:
    """Whether every request that satisfies ``asked`` satisfies ``offered``.

    Args:
        asked: Constraints of one rule: all of them.
        offered: Those of the other.
    """
    space = Space((*asked, *offered))
    try:
        left_over = _outside(space.boxes(asked, TRUE), space.boxes(offered, TRUE), space)
    except _Undecidable:
        return True if set(offered) <= set(asked) else None
    return None if left_over and space.is_entangled else not left_over


def may_meet(one: Sequence[Box], other: Sequence[Box]) -> bool:
    """Whether some request lies in a box of each."""
    return any(_meet(a, b) is not None for a in one for b in other)


# --- boxes

_Truths = tuple[bool | None, ...]
TRUE: Final[_Truths] = (True,)
"""A permission is active."""
NOT_FALSE: Final[_Truths] = (True, None)
"""A prohibition is: what is missing does not lift it."""
_FALSE: Final[_Truths] = (False,)
_NOT_TRUE: Final[_Truths] = (False, None)
_OPPOSITE: Final = {TRUE: _FALSE, NOT_FALSE: _NOT_TRUE, _FALSE: TRUE, _NOT_TRUE: NOT_FALSE}


def _meet(one: Box, other: Box) -> Box | None:
    """What lies in both; None: nothing."""
    cells = dict(one.cells)
    for operand, mask in other.cells.items():
        cells[operand] = cells.get(operand, mask) & mask
        if not cells[operand]:
            return None
    return Box(cells)


def _bounded(boxes: Iterable[Box]) -> list[Box]:
    found = list(itertools.islice(boxes, MAX_BOXES + 1))
    if len(found) > MAX_BOXES:
        raise _Undecidable
    return found


def _outside(wanted: list[Box], given: list[Box], space: Space) -> list[Box]:
    """What of ``wanted`` no box of ``given`` covers."""
    for cover in given:
        wanted = _bounded(piece for box in wanted for piece in _without(box, cover, space))
    return wanted


def _without(box: Box, cover: Box, space: Space) -> Iterator[Box]:
    """The parts of a box that lie outside another."""
    if _meet(box, cover) is None:
        yield box
        return
    inside = dict(box.cells)
    for operand, mask in cover.cells.items():
        whole = inside.get(operand, space.everything(operand))
        if outside := whole & ~mask:
            yield Box({**inside, operand: outside})
        inside[operand] = whole & mask


class Space:
    """The operands of some constraints, each with its cells."""

    def __init__(self, constraints: Sequence[Constraint], *, widest: bool = False) -> None:
        """Gather the constraints.

        Args:
            constraints: Those that boxes will be asked of.
            widest: What is too much to look at becomes a box of everything, in place of "not known".
        """
        self._atoms: dict[Operand, list[Constraint]] = {}
        for atom in _atoms(constraints):
            self._atoms.setdefault(_operand(atom), []).append(atom)
        self._facts: dict[Operand, list[SimpleNamespace]] = {}
        self._widest = widest

    @property
    def is_entangled(self) -> bool:
        """Whether two operands hang together, so that a case found here may not exist."""
        return {"dateTime", "elapsedTime"} <= {left for left, _ in self._atoms}

    def everything(self, operand: Operand) -> int:
        """All cells of an operand."""
        return (1 << len(self._cells(operand))) - 1

    def boxes(self, constraints: Sequence[Constraint], truths: _Truths) -> list[Box]:
        """All of some constraints, as boxes of the cells where their truth is one of ``truths``."""
        return self._all([(constraint, truths) for constraint in constraints])

    def _boxes(self, constraint: Constraint, truths: _Truths) -> list[Box]:
        try:
            return self._of_parts(constraint, truths) if constraint.parts else self._of_atom(constraint, truths)
        except _Undecidable:
            if self._widest:
                return [Box({})]
            raise

    def _of_parts(self, constraint: Constraint, truths: _Truths) -> list[Box]:
        parts, is_positive = constraint.parts, truths in (TRUE, NOT_FALSE)
        if constraint.one_of:
            choices = _one_holds(parts, truths) if is_positive else _not_one_holds(parts, truths)
        elif bool(constraint.any_of) == is_positive:
            choices = [[(part, truths)] for part in parts]
        else:
            choices = [[(part, truths) for part in parts]]
        return _bounded(box for choice in choices for box in self._all(choice))

    def _all(self, choice: Sequence[tuple[Constraint, _Truths]]) -> list[Box]:
        found = [Box({})]
        for part, truths in choice:
            found = self._narrowed(found, self._boxes(part, truths))
        return found

    def _narrowed(self, found: list[Box], by: list[Box]) -> list[Box]:
        try:
            return _bounded(met for a in found for b in by if (met := _meet(a, b)) is not None)
        except _Undecidable:
            if self._widest:
                return found
            raise

    def _of_atom(self, atom: Constraint, truths: _Truths) -> list[Box]:
        operand, test = _operand(atom), _test(atom)
        mask = sum(1 << bit for bit, facts in enumerate(self._cells(operand)) if test(facts) in truths)
        return [Box({operand: mask})] if mask else []

    def _cells(self, operand: Operand) -> list[SimpleNamespace]:
        if operand not in self._facts:
            self._facts[operand] = _bounded_cells(operand[0], self._atoms[operand])
        found = self._facts[operand]
        if not found:
            raise _Undecidable
        return found


def _bounded_cells(left: str, atoms: Sequence[Constraint]) -> list[SimpleNamespace]:
    """The cells of an operand; none where they are too many or have no order."""
    most = MAX_TESTS // len(atoms)
    try:
        found = list(itertools.islice(_cells(left, atoms), most + 1))
    except _Undecidable:
        return []
    return found if len(found) <= most else []


_Choices = list[list[tuple[Constraint, _Truths]]]


def _one_holds(parts: Sequence[Constraint], truths: _Truths) -> _Choices:
    """``xone`` holds where one part does and all others fail."""
    opposite = _OPPOSITE[truths]
    return [
        [(part, truths if number == one else opposite) for number, part in enumerate(parts)]
        for one in range(len(parts))
    ]


def _not_one_holds(parts: Sequence[Constraint], truths: _Truths) -> _Choices:
    """``xone`` fails where two parts hold, or all fail."""
    opposite = _OPPOSITE[truths]
    pairs = [[(a, opposite), (b, opposite)] for a, b in itertools.combinations(parts, 2)]
    return [*pairs, [(part, truths) for part in parts]]


def _atoms(constraints: Sequence[Constraint]) -> Iterator[Constraint]:
    for constraint in constraints:
        if constraint.parts:
            yield from _atoms(constraint.parts)
        else:
            yield constraint


def _operand(atom: Constraint) -> Operand:
    return str(atom.left), atom.unit or ""


def _test(atom: Constraint) -> evaluate.Test:
    """The closure that decides requests; of a quantity, the comparison of the amount."""
    left = str(atom.left)
    if left in _QUANTITIES:
        return evaluate.number(str(atom.operator), str(_amount(atom.values[0])), lambda facts: facts.amount)
    if left == DATA_STATE:
        return evaluate.term(str(atom.operator), atom.values, lambda facts: facts.state)
    return test_of(atom, left)


# --- cells

_ATTRIBUTES: Final = {left: known.attribute for left, known in words.OPERANDS.items()} | {DATA_STATE: "state"}
_QUANTITIES: Final = frozenset({*words.COUNTERS, words.EPSILON})
_DECIMALS: Final = 18
_SINGLE: Final = frozenset({"recipient", DATA_STATE})
"""Terms of which a request has one."""
_WHOLE: Final = frozenset({"eq", "neq", "isAllOf", "hasPart"})
"""Operators that tell some words of a list from all of them."""
_OTHER: Final = "\x00other"
"""Stands for every word that no constraint names."""
_START: Final = datetime(2024, 1, 31, tzinfo=UTC)
"""An end of a month, where a month and its days differ."""


def _cells(left: str, atoms: Sequence[Constraint]) -> Iterator[SimpleNamespace]:
    """Facts that stand for the cells of an operand."""
    if left in _QUANTITIES:
        yield from (SimpleNamespace(amount=amount) for amount in _numbers(atoms))
        return
    kind = words.OPERANDS[left].kind if left in words.OPERANDS else "term"
    if kind == "elapsed":
        yield from _lengths(atoms)
        return
    yield SimpleNamespace(**{_ATTRIBUTES[left]: None})
    yield from (SimpleNamespace(**{_ATTRIBUTES[left]: value}) for value in _values(left, kind, atoms))


def _values(left: str, kind: words.Kind, atoms: Sequence[Constraint]) -> Iterable[Any]:
    if kind == "instant":
        moments = [evaluate.read_moment(value) for atom in atoms for value in atom.values]
        return _between(sorted({edge for moment in moments for edge in (moment.start, moment.end)}))
    if kind == "purpose":
        return PURPOSES
    if left in _SINGLE:
        return _one_word(atoms)
    return _areas(atoms) if left == "tn:jurisdiction" else _several_words(atoms, _named(atoms), _alike)


def _named(atoms: Sequence[Constraint]) -> set[str]:
    return {value for atom in atoms for value in atom.values}


def _numbers(atoms: Sequence[Constraint]) -> list[int]:
    bounds = {_amount(value) for atom in atoms for value in atom.values}
    return sorted({near for bound in bounds for near in (bound - 1, bound, bound + 1) if near >= 0})


def _amount(written: str) -> int:
    """A quantity in the smallest unit that any of them has: an epsilon is no whole number."""
    return int(Decimal(written).scaleb(_DECIMALS))


def _between(bounds: Sequence[datetime]) -> Iterator[datetime]:
    margin = timedelta(days=1)
    yield bounds[0] - margin
    for bound, after in itertools.zip_longest(bounds, bounds[1:]):
        yield bound
        yield bound + (margin if after is None else (after - bound) / 2)


def _lengths(atoms: Sequence[Constraint]) -> Iterator[SimpleNamespace]:
    """Lengths of time, where they have an order whatever the start."""
    lengths = sorted({evaluate.read_duration(value) for atom in atoms for value in atom.values}, key=_extent)
    if not all(never_longer(a, b) for a, b in itertools.pairwise(lengths)):
        raise _Undecidable
    yield SimpleNamespace(start=None, now=None)
    bounds = sorted({length.after(_START) for length in lengths})
    yield from (SimpleNamespace(start=_START, now=now) for now in _between(bounds) if now >= _START)


def _extent(length: Duration) -> tuple[int, int]:
    return length.at_most_s, length.at_least_s


def never_longer(one: Duration, other: Duration) -> bool:
    """Whether a length of time never ends after another, whatever instant both begin at."""
    in_months = one.months <= other.months and one.seconds <= other.seconds
    return in_months or one.at_most_s <= other.at_least_s


def _areas(atoms: Sequence[Constraint]) -> Iterator[frozenset[str]]:
    """Sets of areas: a node that lies in one lies in those around it, too."""
    named = _named(atoms).union(*map(_around, _named(atoms)))
    kind_of = str if _tells_all(atoms) else _around
    for found in _several_words(atoms, named, kind_of):
        if all(_around(area) <= found for area in found):
            yield found


def _around(area: str) -> frozenset[str]:
    return grammar.areas(area) - {area} if area.isdigit() else frozenset()


def _alike(_word: str) -> object:
    return None


def _tells_all(atoms: Sequence[Constraint]) -> bool:
    return any(atom.operator in _WHOLE for atom in atoms)


def _one_word(atoms: Sequence[Constraint]) -> Iterator[str]:
    yield from sorted(_named(atoms))
    yield _OTHER


def _several_words(
    atoms: Sequence[Constraint], named: Iterable[str], kind_of: Callable[[str], object]
) -> Iterator[frozenset[str]]:
    """Every set of words, up to words of one kind that stand in the same lists."""
    classes: dict[tuple[object, ...], list[str]] = {}
    for word in sorted(named):
        classes.setdefault((kind_of(word), *(word in atom.values for atom in atoms)), []).append(word)
    tells_all = _tells_all(atoms)
    choices = [_parts(group, tells_all) for group in classes.values()]
    for chosen in itertools.product(*choices, _parts([_OTHER], tells_all)):
        if found := frozenset(itertools.chain.from_iterable(chosen)):
            yield found


def _parts(group: Sequence[str], tells_all: bool) -> list[Sequence[str]]:
    some = [group[:1]] if tells_all and len(group) > 1 else []
    return [(), *some, group]
