"""Questions that are answered with noise: which queries they are, and how much one person may add to the answer.

Decides: the query class (privacy 3.1) and the text that bounds every person's contribution before anything is summed
(3.2). Leaves to others: names, measures and masks (``plan``, ``aggregate``, ``relation``), the noise (``release``).

The text is put together from parts that were resolved and checked; the consumer's own text is no part of it. Sums are
of whole numbers, so the order of additions changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, NamedTuple, NoReturn

from sqlglot import exp

from trustnode.core.policy.governed import AggregateRule, Clamp, NoiseRule
from trustnode.core.policy.schema import Column
from trustnode.engine import condition, shape
from trustnode.engine.source import folded, quoted_name, quoted_text, sql_type
from trustnode.errors import error

FLOAT_DIGITS: Final = 3
"""Decimals that are kept of a measured float."""
MAX_DIGITS: Final = 6
MAX_ORDER: Final = 16

Kind = Literal["key", "count", "sum", "avg"]


class Output(NamedTuple):
    """One column of the answer."""

    title: str
    kind: Kind
    column: str
    """Resolved name; empty for ``count``."""


class Sorting(NamedTuple):
    """By which column of the answer it is sorted."""

    output: int
    descending: bool


class Bounded(NamedTuple):
    """A measured column as whole numbers."""

    column: str
    digits: int
    """How many of its decimals the whole numbers hold."""
    low: int
    high: int

    @property
    def largest(self) -> int:
        """Most that one row moves the sum by, either way."""
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True)
class Question:
    """A query of the class, and the text that answers it before noise."""

    keys: tuple[str, ...]
    """Columns grouped by, resolved names."""
    outputs: tuple[Output, ...]
    measured: tuple[Bounded, ...]
    sorting: tuple[Sorting, ...]
    limit: int | None
    offset: int
    public: bool
    """Whether every key that can appear is known beforehand."""
    text: str
    """Columns: ``k0`` ..., ``units``, ``n`` (rows), and ``nv0``, ``sv0`` ... (values and sum of a measured column)."""
    columns: tuple[Column, ...]
    """What is delivered."""
    rule: AggregateRule
    noise: NoiseRule
    """Of the rule."""


def read(
    select: exp.Query, governed: exp.Select, known: Mapping[str, Column], rule: AggregateRule, units: Mapping[str, str]
) -> Question:
    """Read a resolved query.

    Args:
        select: The query; its one table is still the relation.
        governed: The governed sub-select of the relation.
        known: Resolved name -> column of the relation, as delivered.
        rule: The aggregation rule, with noise.
        units: Column that persons are counted by -> its name inside ``governed``.

    Raises:
        PolicyDenied: DENIED; the sentence names what is not of the class.
    """
    noise = rule.noise
    if noise is None:
        raise error("INTERNAL", "no noise is agreed")
    if not isinstance(select, exp.Select) or any(select.args.get(key) for key in ("with_", "having", "joins")):
        _deny("one SELECT with WHERE, GROUP BY, ORDER BY and LIMIT; no WITH, no HAVING, no sub-selects, no UNION")
    if not isinstance(select.args.get("from_"), exp.From) or not isinstance(select.args["from_"].this, exp.Table):
        _deny("the table itself must stand in FROM")
    keys = tuple(dict.fromkeys(_key(item) for item in _grouped(select)))
    outputs = tuple(_output(item, keys) for item in select.expressions)
    measured = tuple(
        _bounded(known[column], clamp)
        for column, clamp in {folded(clamp.column): clamp for clamp in noise.clamps}.items()
        if any(output.column == column and output.kind != "key" for output in outputs)
    )
    where = select.args.get("where")
    statement = _Statement(
        source=governed.sql(shape.DIALECT, comments=False, identify=True),
        person=units[rule.person],
        keys=tuple(known[key] for key in keys),
        measured=measured,
        condition=condition.text(where.this, known) if where is not None else "",
        tested=frozenset(column.name for column in where.find_all(exp.Column)) if where is not None else frozenset(),
        public={folded(one.column): one.values for one in noise.keys},
        known=known,
        noise=noise,
    )
    return Question(
        keys=keys,
        outputs=outputs,
        measured=measured,
        sorting=tuple(_sortings(select, outputs)),
        limit=_whole(select, "limit"),
        offset=_whole(select, "offset") or 0,
        public=all(key in statement.public for key in keys),
        text=statement.text(),
        columns=tuple(_column(output, known, measured) for output in outputs),
        rule=rule,
        noise=noise,
    )


def _deny(detail: str) -> NoReturn:
    raise condition.denied(detail)


# --- the class --------------------------------------------------------------------------------------------------------


def _grouped(select: exp.Select) -> list[exp.Expr]:
    group = select.args.get("group")
    return list(group.expressions) if group is not None else []


def _key(item: exp.Expr) -> str:
    if not isinstance(item, exp.Column):
        _deny("group by columns as they are delivered, without computing on them")
    return item.name


def _output(item: exp.Expr, keys: tuple[str, ...]) -> Output:
    value = item.this if isinstance(item, exp.Alias) else item
    if isinstance(value, exp.Column) and value.name in keys:
        return Output(item.alias_or_name, "key", value.name)
    kinds: dict[type[exp.Expr], Kind] = {exp.Count: "count", exp.Sum: "sum", exp.Avg: "avg"}
    kind = kinds.get(type(value))
    if kind is None:
        _deny("select columns to group by, count(*), sum(column) and avg(column); compute on the answer afterwards")
    column = value.this.name if isinstance(value.this, exp.Column) else ""
    return Output(item.alias_or_name, kind, column)


def _sortings(select: exp.Select, outputs: tuple[Output, ...]) -> Iterator[Sorting]:
    order = select.args.get("order")
    items = order.expressions if order is not None else []
    if len(items) > MAX_ORDER:
        _deny(f"at most {MAX_ORDER} columns to sort by")
    for item in items:
        value = item.this
        names = [
            output.column if output.kind == "key" and value.args.get("table") else folded(output.title)
            for output in outputs
        ]
        if not isinstance(value, exp.Column) or folded(value.name) not in names:
            _deny("sort by columns of the answer")
        yield Sorting(names.index(folded(value.name)), bool(item.args.get("desc")))


def _whole(select: exp.Select, clause: str) -> int | None:
    node = select.args.get(clause)
    if node is None:
        return None
    value = node.expression
    if not isinstance(value, exp.Literal) or value.is_string or not value.name.isdigit():
        _deny(f"{clause.upper()} takes a whole number")
    return int(value.name)


def _bounded(column: Column, clamp: Clamp) -> Bounded:
    low, high = Decimal(clamp.low), Decimal(clamp.high)
    digits = _digits(column, low, high)
    return Bounded(folded(column.name), digits, int(low.scaleb(digits)), int(high.scaleb(digits)))


def _digits(column: Column, *bounds: Decimal) -> int:
    stated = max(-min(int(bound.as_tuple().exponent), 0) for bound in bounds)
    own = {"integer": 0, "float": FLOAT_DIGITS}.get(column.family)
    if own is None:
        own = int(column.type.rpartition(",")[2].rstrip(")"))
    return min(max(own, stated), MAX_DIGITS)


def _column(output: Output, known: Mapping[str, Column], measured: tuple[Bounded, ...]) -> Column:
    if output.kind == "key":
        return Column(name=output.title, type=known[output.column].type)
    digits = next((one.digits for one in measured if one.column == output.column), 0)
    kind = {"count": "int64", "sum": f"decimal(38,{digits})" if digits else "int64", "avg": "decimal(18,4)"}[
        output.kind
    ]
    try:
        return Column(name=output.title, type=kind)
    except ValueError as failure:
        raise shape.invalid(
            "a column of the answer has a name that cannot be used; give it another with AS"
        ) from failure


# --- bounding ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Statement:
    """The parts of the bounding statement; its own names are short and cannot meet a column's."""

    source: str
    """The governed sub-select."""
    person: str
    keys: tuple[Column, ...]
    measured: tuple[Bounded, ...]
    condition: str
    tested: frozenset[str]
    """Columns that the condition looks at."""
    public: Mapping[str, tuple[str, ...]]
    known: Mapping[str, Column]
    noise: NoiseRule

    def text(self) -> str:
        """Rows, then what each person adds to each group, then the groups of each person, then the groups.

        A person with more rows in a group than agreed adds as many as agreed, of its own average: no row is chosen.
        """
        keys, values = self._numbered("k", self.keys), self._numbered("v", self.measured)
        rows = self.noise.rows_per_group
        added = [part for value in values for part in (_share(f"count({value})", rows), _share(f"sum({value})", rows))]
        named = [f"{kind}{value}" for value in values for kind in ("n", "s")]
        chosen = [f"{part} AS {name}" for part, name in zip(added, named, strict=True)]
        summed = [f"coalesce(sum({name}), 0) AS {name}" for name in named]
        person = ", ".join(["unit", *keys])
        return (
            f"WITH f AS ({self._rows()}), "
            f"b AS (SELECT {', '.join([person, f'least(count(*), {rows}) AS n', *chosen])} FROM f GROUP BY {person}), "
            f"l AS ({self._kept(keys)}), "
            f"t AS (SELECT {', '.join([*keys, 'count(*) AS units', 'coalesce(sum(n), 0) AS n', *summed])} FROM l"
            f"{' GROUP BY ' + ', '.join(keys) if keys else ''}) "
            f"{self._groups(keys, values)}"
        )

    def _kept(self, keys: list[str]) -> str:
        """As many groups of each person as agreed, drawn anew for each question: nobody can foresee which.

        The order is a hash over a fresh secret; it looks at nothing but the person's own groups.
        """
        if not keys:
            return "SELECT * FROM b WHERE $key IS NOT NULL"
        drawn = f"row_number() OVER (PARTITION BY unit ORDER BY hash({', '.join(['$key', 'unit', *keys])}))"
        return f"SELECT * FROM (SELECT *, {drawn} AS j FROM b) WHERE j <= {self.noise.groups_per_person}"

    @staticmethod
    def _numbered(letter: str, items: tuple[object, ...]) -> list[str]:
        return [f"{letter}{number}" for number in range(len(items))]

    def _rows(self) -> str:
        """Person, keys and measured columns of the rows that count; a row of nobody counts for nothing."""
        unit = f"c.{quoted_name(self.person)}"
        kept = [f"{unit} AS unit"]
        kept += [f"{_field(key)} AS k{number}" for number, key in enumerate(self.keys)]
        kept += [
            f"{_whole_number(one, self.known[one.column])} AS v{number}" for number, one in enumerate(self.measured)
        ]
        tests = [f"{unit} IS NOT NULL", *([self.condition] if self.condition else [])]
        tests += [
            f"list_contains({self._listed(key)}, {_field(key)})" for key in self.keys if folded(key.name) in self.public
        ]
        return f"SELECT {', '.join(kept)} FROM ({self.source}) AS c WHERE {' AND '.join(tests)}"

    def _listed(self, column: Column) -> str:
        kind = sql_type(column.type)
        values = (f"TRY_CAST({quoted_text(value)} AS {kind})" for value in self.public[folded(column.name)])
        return f"[{', '.join(values)}]"

    def _groups(self, keys: list[str], values: list[str]) -> str:
        """Every group that the public keys span, empty ones included; where a key is private, those that were found.

        Groups that the condition excludes by their keys alone are left out: that looks at no row.
        """
        names = {folded(key.name) for key in self.keys}
        if not keys or not names <= self.public.keys():
            return "SELECT * FROM t"
        spans = " CROSS JOIN ".join(
            f"(SELECT unnest({self._listed(key)}) AS {quoted_name(folded(key.name))}) AS l{number}"
            for number, key in enumerate(self.keys)
        )
        test = f" WHERE {self.condition}" if self.condition and self.tested <= names else ""
        counted = ["units", "n", *(f"{kind}{value}" for value in values for kind in ("n", "s"))]
        shown = [f"{_field(key)} AS {name}" for key, name in zip(self.keys, keys, strict=True)]
        shown += [f"coalesce(t.{name}, 0) AS {name}" for name in counted]
        joined = " AND ".join(f"t.{name} = {_field(key)}" for key, name in zip(self.keys, keys, strict=True))
        return f"SELECT {', '.join(shown)} FROM (SELECT * FROM {spans}) AS c LEFT JOIN t ON {joined}{test}"


def _field(column: Column) -> str:
    return f"c.{quoted_name(folded(column.name))}"


def _share(total: str, rows: int) -> str:
    """A total of one person's rows of a group, cut down to the rows that are agreed; whole, and no larger than they."""
    return f"coalesce(CASE WHEN count(*) > {rows} THEN {total} * {rows} // count(*) ELSE {total} END, 0)"


def _whole_number(one: Bounded, column: Column) -> str:
    """Clamped, as a whole number; what is missing or no number counts as none: the engine's ``least`` skips NULL."""
    if column.family == "integer" and not one.digits:
        value, present = f"TRY_CAST({_field(column)} AS HUGEINT)", f"{_field(column)} IS NOT NULL"
    else:
        plain = f"TRY_CAST({_field(column)} AS DOUBLE)"
        value, present = f"round({plain} * 1e{one.digits})", f"NOT isnan({plain})"
    return f"CASE WHEN {present} THEN CAST(least(greatest({value}, {one.low}), {one.high}) AS BIGINT) END"
