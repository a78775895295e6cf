"""Noise: from bounded sums to an answer that may leave (privacy 3.3), with OpenDP.

Decides: how the cost of a question is divided among what it releases, which keys are shown, the columns of the answer.
Leaves to others: the class of questions and the bounding (``noise``), the ledger (``app.budget``).

Every number that is released has discrete Gaussian noise drawn by OpenDP, whose own map is asked whether the noise is
enough for its share of rho; the scale grows until it is. What is computed afterwards (averages, dropping small groups,
sorting, limits) looks at noised numbers only and costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import cache
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from opendp import domains, measurements, metrics, mod

from trustnode.core.policy.governed import NoiseRule
from trustnode.core.policy.privacy import DELTA_UNITS, NOISE_95, RHO_UNITS
from trustnode.engine.noise import Bounded, Output, Question
from trustnode.errors import error

_LARGEST: Final = 2**62
"""Sums are cut here before noise, so that none overflows; cutting moves two sums apart no further."""
_GROWTH: Final = 1.0 + 2**-40
AVERAGE_DIGITS: Final = 4
_TWO_SIDED_95: Final = NormalDist().inv_cdf(0.975)


class Statistic(NamedTuple):
    """One number that is released for each group."""

    name: str
    """Column of the bounded table."""
    sensitivity: float
    """How far one person can move all groups together, Euclidean."""


class Shares(NamedTuple):
    """What a question releases, and what each part of it costs."""

    statistics: tuple[Statistic, ...]
    rho: float
    """Of each part: the cost is divided equally, by the product's rule and before the question runs."""


def shares(question: Question) -> Shares:
    """Divide the cost of a question: persons of each group first, then what was asked for."""
    statistics = _statistics(question, question.noise)
    return Shares(statistics, question.noise.rho / RHO_UNITS / len(statistics))


def _statistics(question: Question, noise: NoiseRule) -> tuple[Statistic, ...]:
    groups, rows = math.sqrt(noise.groups_per_person), noise.rows_per_group
    found = [Statistic("units", groups)]
    kinds = {output.kind for output in question.outputs}
    if "count" in kinds and not _persons_are_rows(noise):
        found.append(Statistic("n", rows * groups))
    for number, one in enumerate(question.measured):
        found.append(Statistic(f"sv{number}", one.largest * rows * groups))
        if any(output.kind == "avg" and output.column == one.column for output in question.outputs):
            found.append(Statistic(f"nv{number}", rows * groups))
    return tuple(found)


def _persons_are_rows(noise: NoiseRule) -> bool:
    """Where each person has one row of a group, the count of persons is the count of rows: released once."""
    return noise.rows_per_group == 1


# --- drawing ----------------------------------------------------------------------------------------------------------


@cache
def _enabled() -> None:
    mod.enable_features("contrib")


def scale_of(statistic: Statistic, rho: float) -> float:
    """Standard deviation of the noise, before it is found to be enough."""
    return statistic.sensitivity / math.sqrt(2 * rho)


def _gaussian(statistic: Statistic, rho: float) -> Any:
    _enabled()
    space = domains.vector_domain(domains.atom_domain(T="i64")), metrics.l2_distance(T="f64")
    scale = scale_of(statistic, rho)
    while True:
        measurement: Any = measurements.make_gaussian(*space, scale=scale)
        if measurement.map(statistic.sensitivity) <= rho:
            return measurement
        scale *= _GROWTH


def noised(values: Sequence[int], statistic: Statistic, rho: float) -> list[int]:
    """Draw noise for one statistic of all groups."""
    cut = [max(-_LARGEST, min(_LARGEST, value)) for value in values]
    drawn: list[int] = _gaussian(statistic, rho)(cut) if cut else []
    return drawn


def threshold_of(noise: NoiseRule, rho: float) -> tuple[Any, int]:
    """The measurement that shows a key only if enough persons have it, and from how many on.

    Raises:
        TrustnodeError: INTERNAL, no threshold keeps the chance that the policy allows.
    """
    _enabled()
    groups, delta = noise.groups_per_person, noise.key_delta / DELTA_UNITS
    space = (
        domains.map_domain(domains.atom_domain(T="String"), domains.atom_domain(T="f64", nan=False)),
        metrics.l02inf_distance(metrics.absolute_distance(T="f64")),
    )
    scale = math.sqrt(groups / (2 * rho))
    threshold = 1 + math.ceil(scale * NormalDist().inv_cdf(1 - delta / groups))
    for _ in range(10_000):
        measurement: Any = measurements.make_gaussian_threshold(*space, scale=scale, threshold=float(threshold))
        spent, chance = measurement.map((groups, math.sqrt(groups), 1.0))
        if spent <= rho and chance <= delta:
            return measurement, threshold
        if spent > rho:
            scale *= _GROWTH
        else:
            threshold += 1
    raise error("INTERNAL", "no threshold keeps the chance that the policy allows")


class Drawn(NamedTuple):
    """An answer that was drawn; read as what the engine would give."""

    table: pa.Table

    def to_arrow_reader(self, rows: int) -> pa.RecordBatchReader:
        """Batches of at most so many rows."""
        return self.table.to_reader(max_chunksize=rows)


# --- the answer -------------------------------------------------------------------------------------------------------


def release(bounded: pa.Table, question: Question) -> pa.Table:
    """Draw the answer to a question.

    Args:
        bounded: What the statement of the question gave.
        question: The question; groups whose noised number of persons is below the minimum of its rule are dropped.

    Returns:
        The answer, in the order that was asked for, else in that of its keys.
    """
    parts = shares(question)
    rows, persons = _persons(bounded, question, parts)
    kept = [place for place, count in enumerate(persons) if count >= question.rule.min_group]
    bounded, counts = (
        bounded.take(_places(rows[place] for place in kept)),
        {"units": [persons[place] for place in kept]},
    )
    for statistic in parts.statistics[1:]:
        counts[statistic.name] = noised(_integers(bounded, statistic.name), statistic, parts.rho)
    counts.setdefault("n", counts["units"])
    columns = [_column(output, bounded, question, counts) for output in question.outputs]
    answer = pa.Table.from_arrays(columns, schema=schema(question, bounded.schema))
    return _ordered(answer, bounded, question)


def schema(question: Question, bounded: pa.Schema) -> pa.Schema:
    """The columns of an answer, with the half-widths of their noise; nothing is drawn."""
    empty = pa.Table.from_pylist([], schema=bounded)
    counts: dict[str, list[int]] = {name: [] for name in bounded.names}
    parts = shares(question)
    return pa.schema(
        pa.field(
            output.title,
            _column(output, empty, question, counts).type,
            metadata=_half_width(output, question, parts),
        )
        for output in question.outputs
    )


def _persons(bounded: pa.Table, question: Question, parts: Shares) -> tuple[list[int], list[int]]:
    """Which groups are shown, and the noised number of persons of each."""
    counts = _integers(bounded, "units")
    if question.public:
        return list(range(len(counts))), noised(counts, parts.statistics[0], parts.rho)
    measurement, _ = threshold_of(question.noise, parts.rho)
    shown: dict[str, float] = measurement({str(place): float(n) for place, n in enumerate(counts)}) if counts else {}
    places = sorted(shown, key=int)
    return [int(place) for place in places], [round(shown[place]) for place in places]


def _places(numbers: Iterable[int]) -> pa.Array:
    return pa.array(numbers, pa.int64())


def _integers(table: pa.Table, name: str) -> list[int]:
    return [int(value) for value in table.column(name).to_pylist()]


def _column(output: Output, bounded: pa.Table, question: Question, counts: dict[str, list[int]]) -> pa.Array:
    if output.kind == "key":
        return bounded.column(f"k{question.keys.index(output.column)}").combine_chunks()
    if output.kind == "count":
        return pa.array(counts["n"], pa.int64())
    number, one = next((n, one) for n, one in enumerate(question.measured) if one.column == output.column)
    sums = counts[f"sv{number}"]
    if output.kind == "sum":
        if not one.digits:
            return pa.array(sums, pa.int64())
        return pa.array([_decimal(value, one.digits) for value in sums], pa.decimal128(38, one.digits))
    averages = [_average(total, count, one) for total, count in zip(sums, counts[f"nv{number}"], strict=True)]
    return pa.array(averages, pa.decimal128(18, AVERAGE_DIGITS))


def _decimal(value: int, digits: int) -> Decimal:
    return Decimal(value).scaleb(-digits)


def _average(total: int, count: int, one: Bounded) -> Decimal | None:
    """Noised sum over noised count, within the clamp; None where the noise left nobody."""
    if count < 1:
        return None
    value = min(max(_decimal(total, one.digits) / count, _decimal(one.low, one.digits)), _decimal(one.high, one.digits))
    return value.quantize(Decimal(1).scaleb(-AVERAGE_DIGITS))


def _half_width(output: Output, question: Question, parts: Shares) -> dict[bytes, bytes] | None:
    if output.kind not in ("count", "sum"):
        return None
    digits = next((one.digits for one in question.measured if one.column == output.column), 0)
    number = next((n for n, one in enumerate(question.measured) if one.column == output.column), 0)
    wanted = ("n", "units") if output.kind == "count" else (f"sv{number}",)
    statistic = next(one for name in wanted for one in parts.statistics if one.name == name)
    width = Decimal(math.ceil(_TWO_SIDED_95 * scale_of(statistic, parts.rho))).scaleb(-digits)
    return {NOISE_95: format(width, "f").encode()}


def _ordered(answer: pa.Table, bounded: pa.Table, question: Question) -> pa.Table:
    """Sorted by the keys, so that the order says nothing; then as asked for; then cut."""
    order: Any = range(answer.num_rows)
    if question.keys:
        keys = bounded.select([f"k{number}" for number in range(len(question.keys))])
        order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names])
        answer = answer.take(order)
    for sorting in reversed(question.sorting):
        column = answer.column(sorting.output)
        way = "descending" if sorting.descending else "ascending"
        answer = answer.take(pc.sort_indices(column, sort_keys=[("", way)]))
    return answer.slice(question.offset, question.limit)
