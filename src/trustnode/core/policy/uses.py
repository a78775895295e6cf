"""Column rules: what a delivered column may be used for, where it is not everything.

Decides: the words of ``uses`` (``filter``, ``join``, ``aggregate N``), both ways, and which is at least as strict as
which. Leaves to others: where in a query a column of each kind may stand (``engine.lineage``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, cast

from trustnode import vocabulary
from trustnode.core.policy.governed import USES, Use, UseKind
from trustnode.core.policy.schema import NUMBERS, Column, Schema, columns
from trustnode.core.policy.terms import Terms
from trustnode.errors import TrustnodeError, error

MIN_GROUP_FLOOR: Final = 2
"""A group of one is a person."""
_AGGREGATE: Final = re.compile(r"([1-9][0-9]{0,8})(?: of ([^ ].{0,127}))?")


def parse_use(column: Column, text: str, known: Mapping[str, Column]) -> Use:
    """What the terms say of a column, checked against the columns there are.

    Args:
        column: The column that is ruled.
        text: ``filter``, ``join``, ``aggregate 10`` or ``aggregate 10 of patient_no``.
        known: All columns of the product, for the unit that is counted.

    Raises:
        VOCABULARY_UNKNOWN: no such use, or no such column to count.
        FIELD_FORMAT: it cannot be read, or sums a column that is no number.
    """
    use = read_use(column.name, text)
    if use.kind == "aggregate" and column.family not in NUMBERS:
        raise error("FIELD_FORMAT", f"uses: {column.name} is {column.type}; only numbers are summed", field="uses")
    if use.unit and use.unit not in known:
        raise vocabulary.unknown("uses", use.unit, known)
    return use


def read_use(column: str, text: str) -> Use:
    """The grammar alone.

    Raises:
        VOCABULARY_UNKNOWN: no such use.
        FIELD_FORMAT: its parameter cannot be read.
    """
    kind, _, parameter = text.partition(" ")
    if kind not in USES:
        raise vocabulary.unknown(f"uses.{column}", kind, USES)
    if kind != "aggregate":
        if parameter:
            raise error("FIELD_FORMAT", f"uses: {kind} takes nothing; {text!r} stands there", field="uses")
        return Use(column, cast("UseKind", kind))
    match = _AGGREGATE.fullmatch(parameter)
    if match is None or int(match[1]) < MIN_GROUP_FLOOR:
        message = f"uses: cannot read {text!r}; write: aggregate 10, or aggregate 10 of COLUMN; the least is 2"
        raise error("FIELD_FORMAT", message, field="uses")
    return Use(column, "aggregate", int(match[1]), match[2] or "")


def of_terms(terms: Terms, names: Sequence[str], schema: Schema) -> tuple[Use, ...]:
    """The column rules of terms, in the order of ``names``.

    Raises:
        POLICY_CONFLICT: a rule on what is not delivered, or rules that leave nothing to show.
        VOCABULARY_UNKNOWN, FIELD_FORMAT: as ``parse_use``.
    """
    known = columns(schema)
    found = tuple(parse_use(known[name], terms.uses[name], known) for name in names)
    for use in found:
        _refuse_useless(use, terms)
    shown = [name for name in known if name not in terms.uses and _is_delivered(name, terms)]
    if found and not terms.result and not shown:
        raise _contradiction("uses leave no column that is shown")
    return found


def _is_delivered(name: str, terms: Terms) -> bool:
    named = terms.group_by if terms.result else terms.columns
    return named == "all" or name in named or name in terms.masks


def _refuse_useless(use: Use, terms: Terms) -> None:
    if not _is_delivered(use.column, terms):
        where = "group_by" if terms.result else "columns or masks"
        raise _contradiction(f"uses: {use.column} does not stand in {where}, so it is not delivered at all")
    if terms.result and use.kind != "filter":
        raise _contradiction(f'uses: of aggregates a column can be "filter" only; {use.column} is "{use.kind}"')


def _contradiction(message: str) -> TrustnodeError:
    return error("POLICY_CONFLICT", message, field="uses")


def of_duty(values: Mapping[str, Sequence[str]]) -> Use:
    """The rule that a duty of a policy says, by its parameters."""
    (kind, least, unit) = (
        next(iter(values.get(name, ())), other)
        for name, other in (("tn:useKind", "aggregate"), ("tn:minGroupSize", "0"), ("tn:privacyUnit", ""))
    )
    return Use(next(iter(values["tn:column"])), cast("UseKind", kind), int(least), unit)


def use_text(use: Use) -> str:
    """The word of the terms again."""
    if use.kind != "aggregate":
        return use.kind
    return f"aggregate {use.min_group}" + (f" of {use.unit}" if use.unit else "")


def is_as_strict(stated: str, demanded: str) -> bool:
    """Whether one word of ``uses`` allows nothing that the other does not; a join key can be compared and no more."""
    if stated == demanded or (stated, demanded) == ("join", "filter"):
        return True
    one, other = (re.fullmatch(r"aggregate ([0-9]+)(.*)", text) for text in (stated, demanded))
    return bool(one and other and int(one[1]) >= int(other[1]) and one[2] == other[2])


def use_words(use: Use) -> tuple[str, str]:
    """The rule in English and Chinese."""
    if use.kind == "filter":
        return "only to filter", "仅用于筛选"
    if use.kind == "join":
        return "only as a key to join by", "仅作关联键"
    unit, unit_zh = (f"different {use.unit}", f"个不同的 {use.unit}") if use.unit else ("rows", "行")
    return (
        f"only in count, sum, avg, stddev, of {use.min_group} {unit} or more",
        f"仅用于 count, sum, avg, stddev, 每组不少于 {use.min_group} {unit_zh}",
    )
