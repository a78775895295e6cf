"""``[product.terms]``: the floor that no offer at any venue may lie below.

Decides: for each key, whether an offer is at least as strict; what cannot be compared counts as weaker. Leaves to
others: compiling either (``compile``). Both have been checked against the columns before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, Literal, NoReturn

from trustnode.core.policy import conditions, duration, grammar, noise, rows, subsume, trace, uses
from trustnode.core.policy.odrl import Constraint
from trustnode.core.policy.purposes import PURPOSES, covered
from trustnode.core.policy.terms import KEYS, Terms
from trustnode.errors import error


def check(offer: Terms, floor: Terms) -> None:
    """Refuse an offer that is weaker than the floor.

    Args:
        offer: Terms of an offer, complete.
        floor: Terms of the product; a key that is not said there binds nothing.

    Raises:
        POLICY_WEAKER: names the line.
    """
    for key in KEYS:
        if not is_within(key, offer, floor):
            _weaker(key, offer, floor)


def is_within(key: str, offer: Terms, floor: Terms) -> bool:
    """Whether an offer is at least as strict in one key; what the floor does not say binds nothing."""
    return key not in floor.said() or _AT_LEAST[key](offer, floor)


def _weaker(key: str, offer: Terms, floor: Terms) -> NoReturn:
    said = getattr(offer, key)
    text = f"{key} = {_text(said)}" if said else f"{key} is not said"
    raise error("POLICY_WEAKER", f"{text}; the product demands {_text(getattr(floor, key))}", field=key)


def _text(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


Rule = Callable[[Terms, Terms], bool]


def _purposes(offer: Terms, floor: Terms) -> bool:
    return _allowed(offer) <= _allowed(floor)


def _allowed(terms: Terms) -> frozenset[str]:
    words = PURPOSES.keys() if terms.purposes == "any" else terms.purposes
    return covered(words) - covered(terms.not_for)


def _not_for(offer: Terms, floor: Terms) -> bool:
    return covered(floor.not_for) <= covered(offer.not_for)


def _implied(conditions_of: Callable[[Terms], tuple[Constraint, ...]]) -> Rule:
    """The conditions of the offer imply those of the floor; "not known" is no."""
    return lambda offer, floor: subsume.implied(conditions_of(offer), conditions_of(floor)) is True


def _period_of(terms: Terms) -> tuple[Constraint, ...]:
    """The period as a condition, in one zone for both, whether it is over or not."""
    return conditions.period(terms, UTC, _LONG_AGO)


_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


def _not_longer(stated: str, demanded: str) -> bool:
    one, other = duration.parse(stated), duration.parse(demanded)
    return one is not None and other is not None and subsume.never_longer(one, other)


def _result(offer: Terms, floor: Terms) -> bool:
    return offer.result == floor.result


def _rows(offer: Terms, floor: Terms) -> bool:
    """Every condition of the floor is one of the conditions that the offer joins by ``and``."""
    if not offer.rows:
        return False
    stated = rows.conjuncts(rows.parse(offer.rows))
    return set(rows.conjuncts(rows.parse(floor.rows))) <= set(stated)


def _columns(offer: Terms, floor: Terms) -> bool:
    """No column in clear, grouped by or measured, that the floor has not in clear; none masked that it has not."""
    if floor.columns == "all":
        return True
    masked = {column for column, mask in offer.masks.items() if mask != "null"}
    is_known = masked <= {*floor.columns, *floor.masks}
    return offer.columns != "all" and is_known and _in_clear(offer) <= set(floor.columns)


def _in_clear(terms: Terms) -> set[str]:
    """Columns whose values leave as they are, alone or summed."""
    measured = {grammar.parse_measure(text).column for text in terms.measures} - {""}
    named = set(terms.columns) if isinstance(terms.columns, tuple) else set()
    return named | (set(terms.group_by) - terms.masks.keys()) | measured


def _masks(offer: Terms, floor: Terms) -> bool:
    """A column the floor masks is not delivered, or masked alike, or blank."""
    clear = _in_clear(offer)
    for column, mask in floor.masks.items():
        stated = offer.masks.get(column)
        in_clear = column in clear or (stated is None and offer.columns == "all")
        if in_clear or stated not in (None, mask, "null"):
            return False
    return True


def _uses(offer: Terms, floor: Terms) -> bool:
    """A column the floor restricts is not delivered, or blank, or restricted at least as much."""
    clear = _in_clear(offer)
    for column, demanded in floor.uses.items():
        stated = offer.uses.get(column, "")
        delivered = column in clear or offer.columns == "all" or column in offer.masks
        measured = column in {grammar.parse_measure(text).column for text in offer.measures}
        if delivered and (measured or not uses.is_as_strict(stated, demanded)) and offer.masks.get(column) != "null":
            return False
    return True


def _person(offer: Terms, floor: Terms) -> bool:
    return offer.person == floor.person


def _subset(key: Literal["group_by", "measures"]) -> Rule:
    return lambda offer, floor: set(getattr(offer, key)) <= set(getattr(floor, key))


def _min_group(offer: Terms, floor: Terms) -> bool:
    return offer.min_group >= floor.min_group


def _keep(offer: Terms, floor: Terms) -> bool:
    if floor.keep == "unlimited" or offer.keep == "no copy":
        return True
    if offer.keep == "unlimited" or floor.keep == "no copy":
        return False
    return _not_longer(grammar.parse_keep(offer.keep), grammar.parse_keep(floor.keep))


def _onward(offer: Terms, floor: Terms) -> bool:
    return grammar.ONWARD.index(offer.onward) <= grammar.ONWARD.index(floor.onward)


def _derived(offer: Terms, floor: Terms) -> bool:
    """Not said forbids; free is the most generous."""
    return offer.derived in ("", floor.derived) or floor.derived == "free"


def _duties(offer: Terms, floor: Terms) -> bool:
    stated = {owed.kind: owed for owed in map(grammar.parse_duty, offer.duties)}
    for demanded in map(grammar.parse_duty, floor.duties):
        owed = stated.get(demanded.kind)
        if owed is None or not (owed == demanded or _not_longer(owed.within, demanded.within)):
            return False
    return True


def _trace(offer: Terms, floor: Terms) -> bool:
    """The same mark, with no marker row less."""
    if not offer.trace:
        return False
    stated, demanded = trace.parse(offer.trace), trace.parse(floor.trace)
    is_same = (stated.column, stated.quantum, stated.key) == (demanded.column, demanded.quantum, demanded.key)
    return is_same and stated.marker_rows >= demanded.marker_rows


def _same(key: str) -> Rule:
    return lambda offer, floor: bool(getattr(offer, key) == getattr(floor, key))


_AT_LEAST: Final[Mapping[str, Rule]] = {
    "purposes": _purposes,
    "not_for": _not_for,
    "who": _implied(conditions.who),
    "places": _implied(conditions.places),
    "period": _implied(_period_of),
    "result": _result,
    "rows": _rows,
    "columns": _columns,
    "masks": _masks,
    "uses": _uses,
    "person": _person,
    "group_by": _subset("group_by"),
    "measures": _subset("measures"),
    "min_group": _min_group,
    "noise": noise.at_least,
    "limits": _implied(conditions.limits),
    "environment": _same("environment"),
    "keep": _keep,
    "onward": _onward,
    "derived": _derived,
    "duties": _duties,
    "trace": _trace,
}
"""Closed over the keys of the terms; a test holds it."""
