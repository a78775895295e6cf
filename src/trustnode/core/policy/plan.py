"""What a permission lets the plan do: its duties read into the contract with the engine.

Decides: rows, columns, masks and the aggregation rule of a permission, and that they fit together. Leaves to others:
rewriting SQL onto them (``engine.plan``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from trustnode.core.policy import grammar, privacy, rows, trace
from trustnode.core.policy.duties import ReadDuty
from trustnode.core.policy.governed import AggregateRule, Governed, GovernedTable, Mask, NoiseRule, Predicate, Use
from trustnode.core.policy.masks import parse_mask
from trustnode.core.policy.premises import unknown
from trustnode.core.policy.privacy import Budget
from trustnode.core.policy.schema import Column, Schema, columns
from trustnode.core.policy.uses import of_duty, parse_use, use_text
from trustnode.core.policy.words import Window
from trustnode.errors import error

_USES: Final = ("tn:columnUse", "tn:aggregateColumn")


class Plan:
    """Duties of the permission that serves data."""

    def __init__(
        self, action: str, path: str, duties: tuple[ReadDuty, ...], epsilon: tuple[str, Window] | None = None
    ) -> None:
        """Read the duties.

        Args:
            action: Of the permission.
            path: Where it stands.
            duties: Its duties.
            epsilon: What ``tn:epsilon`` allows in all, and in which window; None: the permission has no such limit.

        Raises:
            POLICY_CONFLICT: a duty stands twice, or a column is delivered in two ways.
            FIELD_MISSING: the duty without which the permission would let through everything or nothing.
        """
        single = {read.duty.action: read for read in duties}
        masks = [read for read in duties if read.duty.action == "tn:mask"]
        ruled = [read for read in duties if read.duty.action in _USES]
        if len(duties) - len(masks) - len(ruled) > len(set(single) - {"tn:mask", *_USES}):
            raise error("POLICY_CONFLICT", f"{path}.duty: a duty stands twice", field=path)
        self.aggregate = single.get("tn:aggregateOnly")
        project = single.get("tn:project")
        self._columns = project.several("tn:column") if project else ()
        self._masks = {read.one("tn:column"): (_mask_text(read), read.path) for read in masks}
        marking = single.get("tn:watermark")
        self.mark = trace.of_values({name: marking.one(name) for name in marking.parameters}) if marking else None
        self._uses = {read.one("tn:column"): read for read in ruled}
        row_filter = single.get("tn:rowFilter")
        self._rows: Predicate | None = rows.parse(row_filter.one("tn:expression")) if row_filter else None
        if len(self._uses) < len(ruled):
            raise error("POLICY_CONFLICT", f"{path}.duty: a column has two uses", field=path)
        if len(self._masks) < len(masks) or self._masks.keys() & set(self._columns):
            raise error("POLICY_CONFLICT", f"{path}.duty: a column is delivered in two ways", field=path)
        self._demand_shape(action, path)
        self._noise: NoiseRule | None = None
        self.budget: Budget | None = None
        """Ledger of the noise; None: answers are exact."""
        self._read_noise(single.get("tn:dp"), epsilon, path)

    def _read_noise(self, noise: ReadDuty | None, epsilon: tuple[str, Window] | None, path: str) -> None:
        if (noise is None) != (epsilon is None):
            raise error("FIELD_MISSING", f"{path}: tn:dp and tn:epsilon stand together", field=path)
        if noise is None or epsilon is None:
            return
        if self.aggregate is None:
            raise error("POLICY_CONFLICT", f"{path}.duty: tn:dp goes with tn:aggregateOnly", field=path)
        values = {name: parameter.values for name, parameter in noise.parameters.items()}
        self._noise, self.budget = privacy.read(values, self.aggregate.several("tn:groupBy"), *epsilon)
        clamped = {clamp.column for clamp in self._noise.clamps}
        measures = [grammar.parse_measure(text) for text in self.aggregate.several("tn:measure")]
        if clamped != {measure.column for measure in measures if measure.column}:
            raise error("POLICY_CONFLICT", f"{path}.duty: tn:dp clamps what is measured, all of it", field=path)
        if any(measure.function == "stddev" for measure in measures):
            raise error("POLICY_CONFLICT", f"{path}.duty: tn:dp knows count, sum and avg", field=path)

    def _demand_shape(self, action: str, path: str) -> None:
        if (action == "aggregate") != (self.aggregate is not None):
            raise error("FIELD_MISSING", f"{path}.duty: aggregate goes with tn:aggregateOnly, and only it", field=path)
        if action == "read" and not (self._columns or self._masks):
            raise error("FIELD_MISSING", f"{path}.duty: read needs tn:project or tn:mask", field=path)
        if self.aggregate and self.mark:
            raise error("POLICY_CONFLICT", f"{path}.duty: tn:aggregateOnly delivers no rows to mark", field=path)
        if self.aggregate and self._columns:
            raise error("POLICY_CONFLICT", f"{path}.duty: tn:aggregateOnly delivers no columns", field=path)
        keys = self.aggregate.several("tn:groupBy") if self.aggregate else ()
        if self.aggregate and (not self._masks.keys() <= set(keys) or self.aggregate.one("tn:privacyUnit") in keys):
            raise error("POLICY_CONFLICT", f"{path}.duty: masks fit group keys, and the person is none", field=path)

    @property
    def min_group(self) -> int:
        """Smallest group that leaves, persons; 0 where rows may leave."""
        return int(self.aggregate.one("tn:minGroupSize")) if self.aggregate else 0

    def governed(self, schema: Schema, table: str, attributes: Mapping[str, str]) -> Governed:
        """The contract of the plan, checked against the columns there are now.

        Raises:
            VOCABULARY_UNKNOWN, FIELD_FORMAT: the policy does not fit the columns.
            DEFAULT_DENIED: an attribute that the rows depend on is not known.
        """
        known = columns(schema)
        rule = self._rule()
        clear = self._clear(rule)
        person = (rule.person,) if rule else ()
        for name in (*clear, *self._masks, *person):
            if name not in known:
                unknown("tn:column", f"there is no column {name!r} now")
        masks = tuple(self._mask(known[name], name) for name in self._masks)
        held = tuple(self._use(name, known, {*clear, *self._masks}) for name in self._uses)
        if self.mark is not None:
            masked = {mask.column: mask for mask in masks}
            trace.check(self.mark, known, frozenset(clear), masked, frozenset(self._uses))
        if self._rows is not None:
            rows.check(self._rows, schema)
        bound = rows.bind(self._rows, attributes) if self._rows is not None else None
        return Governed((GovernedTable(table, clear, masks, bound, self.mark, held),), rule)

    def _use(self, name: str, known: Mapping[str, Column], delivered: Collection[str]) -> Use:
        if name not in delivered or (self.aggregate and name not in self.aggregate.several("tn:groupBy")):
            unknown("tn:column", f"the column {name!r} has a use and is not delivered")
        read = self._uses[name]
        use = of_duty({parameter: read.several(parameter) for parameter in read.parameters})
        return parse_use(known[name], use_text(use), known)

    def _mask(self, column: Column, name: str) -> Mask:
        text, _ = self._masks[name]
        return parse_mask(column, text)

    def _clear(self, rule: AggregateRule | None) -> tuple[str, ...]:
        """Columns as they are: those delivered, or, of aggregates, those grouped by and measured."""
        if rule is None:
            return self._columns
        used = (*rule.group_by, *(measure.column for measure in rule.measures if measure.column))
        return tuple(name for name in dict.fromkeys(used) if name not in self._masks)

    def _rule(self) -> AggregateRule | None:
        read = self.aggregate
        if read is None:
            return None
        measures = tuple(grammar.parse_measure(text) for text in read.several("tn:measure"))
        return AggregateRule(
            read.one("tn:privacyUnit"), read.several("tn:groupBy"), measures, self.min_group, self._noise
        )


def _mask_text(read: ReadDuty) -> str:
    return f"{read.one('tn:method')} {read.one('tn:parameter')}".rstrip()
