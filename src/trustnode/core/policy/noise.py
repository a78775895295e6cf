"""The table ``[offer.terms.noise]`` both ways: to the duty ``tn:dp`` and back, in words, and compared with a floor.

Decides: what must stand there, and what contradicts the measures or the columns. Leaves to others: what it costs
(``privacy``), the rest of the terms (``compile``, ``decompile``, ``explain``, ``floor``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trustnode import vocabulary
from trustnode.core.policy import grammar, privacy
from trustnode.core.policy.masks import KEYED_METHODS
from trustnode.core.policy.odrl import Constraint, Duty, Operator
from trustnode.core.policy.schema import NUMBERS, Column, Schema, columns
from trustnode.core.policy.terms import Noise, Terms
from trustnode.core.policy.words import EPSILON, WINDOWS
from trustnode.errors import TrustnodeError, error

_NUMBERS: Final[Mapping[str, tuple[str, Operator]]] = {
    "tn:epsilonPerQuery": ("epsilon_per_query", "eq"),
    "tn:delta": ("delta", "eq"),
    "tn:groupsPerPerson": ("groups_per_person", "lteq"),
    "tn:rowsPerGroup": ("rows_per_group", "lteq"),
}
"""Parameter of the duty -> key of the table; all of them must be said."""
_UNIT: Final = {window: unit for unit, window in WINDOWS.items()}


def premise(terms: Terms) -> tuple[Constraint, ...]:
    """``tn:epsilon lteq 1`` per year: what all questions may cost; nothing where there is no noise.

    Raises:
        FIELD_MISSING, FIELD_FORMAT, VOCABULARY_UNKNOWN: the line is not said or cannot be read.
    """
    if terms.noise is None:
        return ()
    unit = _UNIT.get(privacy.window_of(terms.noise.per))
    return (Constraint(left=EPSILON, operator="lteq", right=_number(terms.noise, "epsilon_in_all"), unit=unit),)


def duty(terms: Terms, group_keys: tuple[str, ...], schema: Schema) -> tuple[Duty, ...]:
    """The duty ``tn:dp``; nothing where there is no noise.

    Args:
        terms: The readable form.
        group_keys: Columns that may be grouped by.
        schema: Columns of the product.

    Raises:
        FIELD_MISSING, FIELD_FORMAT, POLICY_CONFLICT, VOCABULARY_UNKNOWN: names the line.
    """
    noise = terms.noise
    if noise is None:
        return ()
    plain = {name: _number(noise, key) for name, (key, _) in _NUMBERS.items()}
    lists = {"tn:clamp": _clamps(terms, noise), "tn:keys": _keys(terms, noise, schema)}
    values = {**{name: (number,) for name, number in plain.items()}, **lists}
    privacy.read(values, group_keys, _number(noise, "epsilon_in_all"), privacy.window_of(noise.per))
    constraint = (
        *(Constraint(left=name, operator=_NUMBERS[name][1], right=number) for name, number in plain.items()),
        *(Constraint(left=name, operator="isPartOf", right=words) for name, words in lists.items() if words),
    )
    return (Duty(action="tn:dp", constraint=constraint, timing="PARALLEL"),)


def _number(noise: Noise, key: str) -> str:
    value: str | int = getattr(noise, key)
    if value in ("", 0):
        raise error("FIELD_MISSING", f"noise needs {key}", field=f"noise.{key}")
    return privacy.text(privacy.number(f"noise.{key}", value))


def _contradiction(key: str, message: str) -> TrustnodeError:
    return error("POLICY_CONFLICT", message, field=key)


def _clamps(terms: Terms, noise: Noise) -> tuple[str, ...]:
    """Bounds of every measured column, and of no other: without them one person moves a sum at will."""
    measures = [grammar.parse_measure(text) for text in terms.measures]
    for measure in measures:
        words = grammar.measure_words(measure)
        if measure.function == "stddev":
            raise _contradiction("measures", f"measures: {words}: noise knows count, sum and avg")
        if measure.column and measure.column not in noise.clamp:
            hint = f"clamp = {{ {measure.column} = [low, high] }}"
            raise _contradiction("noise.clamp", f"measures: {words} has no clamp; write {hint}")
    measured = {measure.column for measure in measures}
    return tuple(_clamp(column, bounds, measured) for column, bounds in sorted(noise.clamp.items()))


def _clamp(column: str, bounds: tuple[str | int, ...], measured: set[str]) -> str:
    if column not in measured:
        raise _contradiction("noise.clamp", f"noise.clamp: {column} is in no measure")
    if len(bounds) != 2:
        raise error("FIELD_FORMAT", f"noise.clamp: {column} = [low, high]", field="noise.clamp")
    low, high = (privacy.text(privacy.number("noise.clamp", bound)) for bound in bounds)
    return privacy.clamp_text(privacy.parse_clamp(f"{low} {high} {column}", "noise.clamp"))


def _keys(terms: Terms, noise: Noise, schema: Schema) -> tuple[str, ...]:
    found: list[str] = []
    known = columns(schema)
    for column, values in sorted(noise.keys.items()):
        if column not in known:
            raise vocabulary.unknown("noise.keys", column, known)
        if terms.masks.get(column, "").split(" ")[0] in KEYED_METHODS:
            raise _contradiction("noise.keys", f"noise.keys: {column} is masked with a key of each contract")
        words = sorted({_key(known[column], value) for value in values})
        if len(words) != len(values) or not words:
            raise error("FIELD_FORMAT", f"noise.keys: {column} lists a value twice, or none", field="noise.keys")
        found += [privacy.key_text(column, word) for word in words]
    return tuple(found)


def _key(column: Column, value: str | int) -> str:
    if column.family == "float":
        raise error("FIELD_FORMAT", f"noise.keys: {column.name} is a float, which has no keys", field="noise.keys")
    return privacy.text(privacy.number("noise.keys", value)) if column.family in NUMBERS else str(value)


# --- back, in words, compared -----------------------------------------------------------------------------------------


def table(epsilon: Constraint, values: Mapping[str, tuple[str, ...]]) -> Noise:
    """The readable table of a premise and a duty that are valid."""
    keys: dict[str, tuple[str | int, ...]] = {}
    for column, value in map(privacy.parse_key, values.get("tn:keys", ())):
        keys[column] = (*keys.get(column, ()), _typed(value))
    clamps = map(privacy.parse_clamp, values.get("tn:clamp", ()))
    plain: dict[str, Any] = {key: _typed(values[name][0]) for name, (key, _) in _NUMBERS.items()}
    return Noise(
        epsilon_in_all=_typed(epsilon.values[0]),
        per=WINDOWS.get(epsilon.unit or "", ""),
        clamp={clamp.column: (_typed(clamp.low), _typed(clamp.high)) for clamp in clamps},
        keys=keys,
        **plain,
    )


def _typed(written: str) -> str | int:
    """As a person would type it: whole numbers without quotes."""
    return int(written) if written.removeprefix("-").isdigit() and str(int(written)) == written else written


_PER_ZH: Final[Mapping[str, str]] = {"day": "每日", "week": "每周", "month": "每月", "year": "每年", "": "总计"}


def words(terms: Terms) -> tuple[str, str]:
    """The table in one sentence, English and Chinese."""
    noise = terms.noise or Noise()
    per, per_zh = f"per {noise.per}" if noise.per else "in all", _PER_ZH.get(noise.per, noise.per)
    groups, rows = noise.groups_per_person, noise.rows_per_group
    english = (
        f"each answer noised, epsilon {noise.epsilon_per_query} a question, {noise.epsilon_in_all} {per}, "
        f"delta {noise.delta}; a person counts in at most {groups} group{'s'[: groups != 1]}, "
        f"{rows} row{'s'[: rows != 1]} each"
    )
    chinese = (
        f"答案加噪, 每次查询 epsilon {noise.epsilon_per_query}, {per_zh} {noise.epsilon_in_all}, "
        f"delta {noise.delta}; 每人至多计入 {groups} 组, 每组 {rows} 行"
    )
    return english, chinese


def at_least(offer: Terms, floor: Terms) -> bool:
    """No more epsilon or delta than the floor, in the same window, and the same bounds of what one person adds."""
    stated, demanded = offer.noise, floor.noise
    if stated is None or demanded is None:
        return demanded is None
    same = ("per", "clamp", "keys", "groups_per_person", "rows_per_group")
    return all(getattr(stated, key) == getattr(demanded, key) for key in same) and all(
        privacy.number(key, getattr(stated, key)) <= privacy.number(key, getattr(demanded, key))
        for key in ("epsilon_per_query", "epsilon_in_all", "delta")
    )
