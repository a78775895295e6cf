"""What a compiled policy lets a query see: the contract between the policy compiler and the engine.

Decides: the shape of a governed relation (rows, columns, masks) and of the aggregation rule. Leaves to others: how a
policy becomes one (``compiler``) and how SQL is rewritten onto it (``engine.plan``).
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec

Scalar = str | int | bool | None
"""A literal of a row filter. Decimals, dates and timestamps are written as text and compared after a cast."""

MASK_METHODS: Final = (
    "null", "constant", "hash", "token", "bucket", "round", "year", "quarter", "month", "first", "last", "domain",
    "only", "redact", "network",
)  # fmt: skip
"""Closed set of masks; each has an SQL shape in ``engine.masking`` and a line in ``docs/governed-data.md``."""


class Comparison(msgspec.Struct, frozen=True, tag="comparison", forbid_unknown_fields=True):
    """``column operator values``; several values only with ``in`` and ``between`` (two)."""

    column: str
    operator: Literal["=", "<>", "<", "<=", ">", ">=", "in", "between", "is null", "is not null"]
    values: tuple[Scalar, ...] = ()


class Junction(msgspec.Struct, frozen=True, tag="junction", forbid_unknown_fields=True):
    """``and`` or ``or`` over two or more predicates; ``not`` over exactly one."""

    operator: Literal["and", "or", "not"]
    operands: tuple[Comparison | Junction, ...]


Predicate = Comparison | Junction


class Mask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one column is shown."""

    column: str
    method: str
    """One of ``MASK_METHODS``."""
    parameter: str = ""
    """Bucket width, digits to round to, number of characters, list, pattern or constant; empty where there is none."""


class Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a copy says whose it is: values of a column changed by one quantum, in rows that a key names."""

    column: str
    """Delivered as it is, but for the marks."""
    quantum: str
    """Size of the change, a decimal text above zero."""
    key: str
    """Column that names a row."""
    marker_rows: int = 0
    """How many rows a copy may hold that the source does not."""


UseKind = Literal["filter", "join", "aggregate"]
USES: Final[tuple[UseKind, ...]] = get_args(UseKind)


class Use(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one delivered column may be used for; a column without one may be used for everything."""

    column: str
    kind: UseKind
    """``filter``: in conditions only; ``join``: as a key of a join only; ``aggregate``: as the bare argument of COUNT,
    SUM, AVG and STDDEV only."""
    min_group: int = 0
    """Of ``aggregate``: the fewest that a group must hold."""
    unit: str = ""
    """Of ``aggregate``: the column whose distinct values are counted, delivered or not; empty: rows."""


class GovernedTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table as the consumer may see it; a column in neither list does not exist for the consumer."""

    name: str
    """Its name in SQL."""
    columns: tuple[str, ...]
    """Delivered as they are, in this order, before the masked ones."""
    masks: tuple[Mask, ...] = ()
    rows: Predicate | None = None
    """Rows that exist for the consumer; None: all."""
    mark: Mark | None = None
    """How each copy is marked; None: it is not."""
    uses: tuple[Use, ...] = ()
    """Rules on columns of the two lists."""


class Measure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One aggregate that may be asked: ``count`` without a column, ``sum`` and ``avg`` of a bare column."""

    function: Literal["count", "sum", "avg", "stddev"]
    column: str = ""


class Clamp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of a measured column, decimal text; never computed from the data."""

    column: str
    low: str
    high: str


class KeyValues(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Public keys of one column, as text: they stand in an answer whether or not anybody has them."""

    column: str
    values: tuple[str, ...]


class NoiseRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much one person may contribute to an answer, and how much noise hides it (privacy 3)."""

    rho: int
    """Cost of one question in billionths of rho (``privacy.RHO_UNITS``)."""
    key_delta: int = 0
    """Chance, in 10^-18, of showing a key that only one person has; 0 where all keys are public."""
    groups_per_person: int
    rows_per_group: int
    clamps: tuple[Clamp, ...] = ()
    keys: tuple[KeyValues, ...] = ()


class AggregateRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Only aggregates leave, and only of groups that hold enough persons (governed-sql 7)."""

    person: str
    """Column whose distinct values are counted: the privacy unit. Never delivered."""
    group_by: tuple[str, ...]
    """The only columns to group and filter by; masks apply to them first."""
    measures: tuple[Measure, ...]
    min_group: int
    noise: NoiseRule | None = None
    """None: exact answers."""


class Governed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything the engine needs to know of a policy."""

    tables: tuple[GovernedTable, ...]
    aggregate: AggregateRule | None = None
