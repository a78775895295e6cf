"""The aggregation rule: only aggregates leave, and only of groups that hold enough persons.

Decides: which levels of a query may read a governed relation of an aggregate-only product, and adds the minimum group
there (governed-sql 7). Leaves to others: whether a minimum group is privacy (it is not: ``privacy``), levels that read
only what such a level delivers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NoReturn

from sqlglot import exp
from sqlglot.optimizer.scope import Scope

from trustnode.core.policy.governed import AggregateRule
from trustnode.engine.joining import NO_PERSON
from trustnode.engine.source import folded
from trustnode.errors import error

FUNCTIONS: Final[Mapping[type[exp.Expr], str]] = {
    exp.Count: "count",
    exp.Sum: "sum",
    exp.Avg: "avg",
    exp.Stddev: "stddev",
    exp.StddevSamp: "stddev",
}
"""Aggregates that may be agreed; MIN and MAX are one person's value each."""
_REFUSED: Final = (
    *(exp.Window, exp.Filter, exp.Query, exp.Distinct, exp.Star, exp.WithinGroup, exp.Anonymous),
    *(exp.Rollup, exp.Cube, exp.GroupingSets),
)
"""Inside a level that reads the relation. The star of ``count(*)`` is looked at with its measure; functions known only
to the engine are refused because some of them are aggregates."""
_GROUP_ARGUMENTS: Final = ("grouping_sets", "cube", "rollup", "all")


def hold(scope: Scope, alias: str, rule: AggregateRule, person: str) -> None:
    """Check one level that reads the relation ``alias`` and add its minimum group.

    Raises:
        PolicyDenied: DENIED; the sentence names the rule, never a value.
    """
    select = scope.expression
    if not isinstance(select, exp.Select) or select.args.get("joins") or len(scope.selected_sources) != 1:
        _deny(rule, "joins are not allowed")
    if select.args.get("distinct") or select.args.get("qualify") or select.args.get("windows"):
        _deny(rule, "DISTINCT, QUALIFY and windows are not allowed")
    if scope.is_correlated_subquery or scope.external_columns:
        _deny(rule, "sub-selects that look outside are not allowed")
    group = select.args.get("group")
    if group is None and select.find(exp.AggFunc) is None:
        _deny(rule, "rows do not leave")
    if group is not None and any(group.args.get(key) for key in _GROUP_ARGUMENTS):
        _deny(rule, "name the columns to group by")
    _check_leaves(select, rule)
    unit = exp.column(exp.to_identifier(person, quoted=True), table=exp.to_identifier(alias, quoted=True))
    counted = exp.Star() if rule.person == NO_PERSON else exp.Distinct(expressions=[unit])
    add_minimum(select, exp.Count(this=counted), rule.min_group)


def _check_leaves(select: exp.Select, rule: AggregateRule) -> None:
    """Every expression is made of constants, columns to group by, and agreed measures."""
    allowed = {folded(column) for column in rule.group_by}
    for node in _outside_measures(select, rule):
        if isinstance(node, exp.Column) and node.table and node.name not in allowed:
            _deny(rule, "other columns than those to group by stand only inside the agreed measures")
        if node is not select and isinstance(node, _REFUSED):
            _deny(rule, "sub-selects, windows, conditions inside a measure and grouping sets are not allowed")


def _outside_measures(node: exp.Expr, rule: AggregateRule) -> Iterator[exp.Expr]:
    yield node
    for child in node.iter_expressions():
        if isinstance(child, exp.AggFunc):
            _check_measure(child, rule)
        elif not isinstance(child, exp.From | exp.With):
            yield from _outside_measures(child, rule)


def _check_measure(node: exp.AggFunc, rule: AggregateRule) -> None:
    function = FUNCTIONS.get(type(node))
    agreed = {folded(measure.column) for measure in rule.measures if measure.function == function}
    argument = node.this
    if isinstance(node, exp.Count) and (argument is None or isinstance(argument, exp.Star)):
        column = ""
    elif isinstance(argument, exp.Column):
        column = argument.name
    else:
        _deny(rule, "a measure is one bare column")
    if function is None or column not in agreed or node.expressions:
        _deny(rule, "this measure was not agreed")


def add_minimum(select: exp.Select, counted: exp.Count, least: int) -> None:
    """Let a group leave only where ``counted`` is at least ``least``."""
    minimum = exp.GTE(this=counted, expression=exp.Literal.number(least))
    having = select.args.get("having")
    condition = minimum if having is None else exp.And(this=exp.Paren(this=having.this), expression=minimum)
    select.set("having", exp.Having(this=condition))


def _deny(rule: AggregateRule, detail: str) -> NoReturn:
    raise error("DENIED", f"aggregates only, of groups of {rule.min_group} or more: {detail}")
