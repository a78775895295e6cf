"""Column rules: where a column may stand that may not be used for everything.

Decides: for each column with a rule, whether every place in which a query uses it is one the rule allows, followed
through sub-selects and WITH; whatever cannot be followed is refused. Adds the least group of columns that only leave in
aggregates. Leaves to others: the rules themselves (``core.policy.uses``), products of which only aggregates leave
(``aggregate``).

Three kinds of value. A value made of a *filter* column carries its rule wherever it goes, through CASE, functions,
aggregates and scalar sub-selects, and may stand in conditions alone. Beside it stand constants and columns of the same
row: compared with the rows of a list it would say its value, by the row of the list that is left, and with other rows
of its table its rank. A *join* key may be handed on as it is, and stands in ``one.key = other.key`` of two governed
tables alone: beside a value that the consumer typed it would be a look-up.
An *aggregate* column stands as the bare argument of COUNT, SUM, AVG or STDDEV at a level that reads its table and
nothing else: a join would let the consumer weigh one row against the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from sqlglot import exp
from sqlglot.optimizer.scope import Scope

from trustnode.core.policy.governed import Use
from trustnode.engine.aggregate import FUNCTIONS, add_minimum
from trustnode.engine.source import folded
from trustnode.errors import TrustnodeError, error

_CONDITIONS: Final = ("where", "having", "qualify")
_SHOWING: Final = ("group", "distinct", "order", "limit", "offset")
_TAILS: Final = (exp.Order, exp.Limit, exp.Offset)
_Row = tuple[int, str, "_Row | None"]
"""A level, a table of it, and the rows of that one; None: all rows that it reads, or more."""
_BROKEN_MEASURE: Final = (exp.Filter, exp.Window, exp.WithinGroup, exp.AggFunc)
"""What may not lie around an agreed aggregate: a condition of its own, a window, another aggregate."""

_PLACES: Final[Mapping[str, str]] = {
    "filter": "may only filter, in WHERE, ON, HAVING and QUALIFY, beside constants and columns of its own row; it is "
    "neither shown, grouped nor ordered by",
    "join": "is only a key to join by: it stands in an equality with the column of another table, and nowhere else",
    "aggregate": "leaves only in count, sum, avg or stddev of the column alone, where nothing but its table is read",
}


class Ruled(NamedTuple):
    """A column of a table that has a rule."""

    table: str
    column: str
    title: str
    """Its name as declared."""
    use: Use


class _Value(NamedTuple):
    """What is known of one column of a sub-select."""

    filters: frozenset[Ruled] = frozenset()
    """Filter columns it is made of."""
    key: Ruled | None = None
    """The join key it is a copy of."""
    origin: tuple[str, str] | None = None
    """Table and column it is a copy of."""
    rows: frozenset[_Row | None] = frozenset()
    """What it differs with; of a value with filter columns, what these differ with. Empty: one value."""


_Columns = list[tuple[str, _Value]]
"""Columns of a sub-select by place; a name may stand twice."""


class ReadTable(NamedTuple):
    """A governed table as lineage needs it."""

    name: str
    rules: Mapping[str, Ruled]
    """Resolved name -> rule."""
    columns: frozenset[str]
    units: Mapping[str, str]
    """Column that is counted for a group -> its secret name in the governed sub-select."""


class _Group(NamedTuple):
    """A level that shows an aggregate column of a table."""

    select: exp.Select
    alias: str
    ruled: Ruled
    table: ReadTable


def hold(tree: exp.Query, scopes: Sequence[Scope], table_of: Callable[[exp.Table], ReadTable]) -> None:
    """Check a resolved query against the column rules and add the least groups.

    Args:
        tree: The query, every column resolved.
        scopes: Its levels.
        table_of: The governed table that a node reads.

    Raises:
        PolicyDenied: FIELD_NOT_AGREED, with the column and its rule.
    """
    _Check(tree, scopes, table_of).run()


class _Check:
    def __init__(self, tree: exp.Query, scopes: Sequence[Scope], table_of: Callable[[exp.Table], ReadTable]) -> None:
        self._tree = tree
        self._scopes = {id(scope.expression): scope for scope in scopes}
        self._table_of = table_of
        self._values: dict[int, _Columns] = {}
        self._seen: set[int] = set()
        self._groups: dict[tuple[int, Ruled], _Group] = {}
        self._outer: defaultdict[int, list[_Value]] = defaultdict(list)
        """Columns that a level takes from those around it."""

    def run(self) -> None:
        _demand_plain(self._outputs(self._tree))
        for scope in self._scopes.values():
            self._outputs(scope.expression)
        for tail in self._tree.find_all(*_TAILS):
            if not isinstance(tail.parent, exp.Select):
                self._tail(tail)
        for column in self._tree.find_all(exp.Column):
            if id(column) not in self._seen:
                _unclear(column.name)
        for group in self._groups.values():
            _add_group(group)

    # --- levels

    def _outputs(self, query: exp.Expr) -> _Columns:
        """Every column of a query."""
        query = query.unnest() if isinstance(query, exp.Subquery) else query
        if id(query) not in self._values:
            self._values[id(query)] = self._read(query)
        return self._values[id(query)]

    def _read(self, query: exp.Expr) -> _Columns:
        if isinstance(query, exp.SetOperation):
            return self._set_operation(query)
        scope = self._scopes.get(id(query))
        if scope is not None and isinstance(query, exp.Select):
            return self._select(query, scope)
        if scope is not None and isinstance(query, exp.Values):
            made = self._expression(query, scope, ())._replace(rows=frozenset({None}))
            return [(name, made) for name in scope.outer_columns or query.alias_column_names]
        raise _unclear("")

    def _set_operation(self, query: exp.SetOperation) -> _Columns:
        left, right = self._outputs(query.this), self._outputs(query.expression)
        if not isinstance(query, exp.Union) or query.args.get("distinct") or len(left) != len(right):
            _demand_plain([*left, *right])
        if not isinstance(query, exp.Union) or len(left) != len(right):
            return [(name, value._replace(rows=frozenset({None}))) for name, value in left]
        return [(name, _both(one, other)) for (name, one), (_, other) in zip(left, right, strict=True)]

    def _select(self, select: exp.Select, scope: Scope) -> _Columns:
        found: _Columns = []
        for item in select.expressions:
            found.append((item.alias_or_name, self._projection(item.unalias(), scope, found)))
        for key in _CONDITIONS:
            if (clause := select.args.get(key)) is not None:
                self._condition(clause.this, scope, found)
        for join in select.args.get("joins") or ():
            self._join(join, scope)
        for key in _SHOWING:
            if (clause := select.args.get(key)) is not None:
                self._shown(clause, scope, found)
        for window in select.args.get("windows") or ():
            self._shown(window, scope, found)
        return found

    def _shown(self, clause: exp.Expr, scope: Scope, found: _Columns) -> None:
        """A clause that shows in the number or the order of rows what it is made of."""
        _demand_plain([("", self._expression(clause, scope, found))])
        if _names_all(clause):
            _demand_plain(found)

    def _projection(self, item: exp.Expr, scope: Scope, found: _Columns) -> _Value:
        if not isinstance(item, exp.Column) or not item.table:
            return self._expression(item, scope, found)
        value = self._column(item, scope)
        if isinstance(value, Ruled):
            raise _refusal(value)
        return value

    def _join(self, join: exp.Join, scope: Scope) -> None:
        """The resolver has made an ON of every USING and NATURAL whose columns it knows."""
        if join.args.get("using") or join.args.get("method"):
            raise _unclear("")
        if (condition := join.args.get("on")) is not None:
            self._condition(condition, scope, [])

    def _tail(self, tail: exp.Expr) -> None:
        """ORDER BY, LIMIT and OFFSET of brackets and set operations: nothing with a rule is in sight."""
        query = tail.parent
        if not isinstance(query, exp.Query):
            return  # of a window or an aggregate: part of its expression
        _demand_plain(self._outputs(query))
        for node in _own_nodes(tail):
            if isinstance(node, exp.Query):
                _demand_plain(self._outputs(node))
            elif isinstance(node, exp.Column) and not node.table:
                self._seen.add(id(node))

    # --- expressions

    def _condition(self, condition: exp.Expr, scope: Scope, named: _Columns) -> None:
        """A filter column may stand anywhere in it, a key in an equality that must hold."""
        part = condition.unnest()
        if isinstance(part, exp.And):
            self._condition(part.this, scope, named)
            self._condition(part.expression, scope, named)
        elif not (isinstance(part, exp.EQ) and self._is_key_equality(part, scope)):
            self._expression(part, scope, named)

    def _is_key_equality(self, part: exp.EQ, scope: Scope) -> bool:
        """Whether both sides are columns, one of them a key; then they must be of two governed tables."""
        left, right = _bare_columns(part.this), _bare_columns(part.expression)
        pairs = [
            ((one.table, self._column(one, scope)), (other.table, self._column(other, scope)))
            for one in left
            for other in right
        ]
        values = [value for pair in pairs for _, value in pair]
        keys = [value.key for value in values if isinstance(value, _Value) and value.key]
        if not keys or any(isinstance(value, Ruled) for value in values):
            return False
        if not all(_may_be_compared(*one, *other) for one, other in pairs):
            raise _refusal(keys[0])
        return True

    def _expression(self, part: exp.Expr, scope: Scope, named: Sequence[tuple[str, _Value]]) -> _Value:
        """The filter columns an expression is made of; a key or an aggregate column in it is refused."""
        filters: set[Ruled] = set()
        of_filters: set[frozenset[_Row | None]] = set()
        others: set[_Row | None] = set()
        for node in _own_nodes(part):
            for value in self._values_at(node, scope, named):
                if value.key is not None:
                    raise _refusal(value.key)
                filters |= value.filters
                if not value.filters:
                    others |= value.rows
                elif value.rows:
                    of_filters.add(value.rows)
        rows = next(iter(of_filters), frozenset())
        if filters and (len(of_filters) > 1 or not others <= rows):
            raise _refusal(min(filters, key=str))
        return _Value(frozenset(filters), rows=rows if filters else frozenset(others))

    def _values_at(self, node: exp.Expr, scope: Scope, named: Sequence[tuple[str, _Value]]) -> list[_Value]:
        if isinstance(node, exp.Query):
            return self._sub_select(node)
        if isinstance(node, exp.AggFunc | exp.Window):
            return self._over_rows(node, scope, named)
        if not isinstance(node, exp.Column):
            return []
        if not node.table:
            self._seen.add(id(node))
            return [_named(named, node.name)]
        value = self._column(node, scope)
        if not isinstance(value, Ruled):
            return [value]
        self._measure(node, scope, value)
        return []

    def _sub_select(self, query: exp.Query) -> list[_Value]:
        """Its columns, one value each, and what it takes from around it, in its conditions as well."""
        for level in query.find_all(exp.Query, exp.Values):
            if id(level) in self._scopes:
                self._outputs(level)
        return [value._replace(rows=frozenset()) for _, value in self._outputs(query)] + [
            value for level in query.find_all(exp.Query, exp.Values) for value in self._outer[id(level)]
        ]

    def _over_rows(self, node: exp.Expr, scope: Scope, named: Sequence[tuple[str, _Value]]) -> list[_Value]:
        """What a function of many rows differs with, where it is not made of filter columns: any of them."""
        parts = (part for part in _own_nodes(node) if isinstance(part, exp.Column))
        if any(value.filters for part in parts for value in self._values_at(part, scope, named)):
            return []
        names = [name for name, source in scope.references]
        if len(names) == 1 and isinstance(scope.sources.get(names[0]), exp.Table):
            return [_Value(rows=frozenset({(id(scope.expression), names[0], None)}))]
        return [_Value(rows=frozenset({None}))] if names else []

    def _measure(self, column: exp.Column, scope: Scope, ruled: Ruled) -> None:
        """An aggregate column is the bare argument of an agreed function where its table is read alone."""
        select, function = scope.expression, column.parent
        source = scope.sources.get(column.table)
        alone = [name for name, _ in scope.references] == [column.table] and not select.args.get("joins")
        if not (isinstance(select, exp.Select) and isinstance(source, exp.Table) and alone):
            raise _refusal(ruled)
        if function is None or type(function) not in FUNCTIONS or function.expressions or _is_broken(function, select):
            raise _refusal(ruled)
        self._groups[id(select), ruled] = _Group(select, column.table, ruled, self._table_of(source))

    def _column(self, column: exp.Column, scope: Scope) -> _Value | Ruled:
        """What a resolved column is; the rule itself of one that leaves in aggregates only."""
        self._seen.add(id(column))
        level: Scope | None = scope
        passed: list[Scope] = []
        while level is not None:
            if any(name == column.table for name, _ in level.references):
                value = self._of_source(level.sources.get(column.table), column.name)
                if isinstance(value, Ruled):
                    return value
                place = (id(level.expression), column.table)
                value = value._replace(rows=frozenset((*place, row) for row in value.rows))
                for inner in passed:
                    self._outer[id(inner.expression)].append(value._replace(key=None))
                return value
            passed.append(level)
            level = level.parent
        raise _unclear(column.name)

    def _of_source(self, source: exp.Expr | Scope | None, name: str) -> _Value | Ruled:
        if isinstance(source, Scope):
            return _named(self._outputs(source.expression), name)
        if not isinstance(source, exp.Table) or name not in self._table_of(source).columns:
            raise _unclear(name)
        table = self._table_of(source)
        ruled = table.rules.get(name)
        if ruled is None or ruled.use.kind == "filter":
            return _Value(frozenset((ruled,) if ruled else ()), None, (table.name, name), frozenset({None}))
        return ruled if ruled.use.kind == "aggregate" else _Value(key=ruled, origin=(table.name, name))


def _demand_plain(values: Sequence[tuple[str, _Value]]) -> None:
    """Nothing with a rule may be here."""
    for _, value in values:
        for ruled in (*sorted(value.filters, key=str), value.key):
            if ruled is not None:
                raise _refusal(ruled)


def _named(values: Sequence[tuple[str, _Value]], name: str) -> _Value:
    """The column of that name; of several, what they have in common, if none has a rule."""
    found = [value for known, value in values if known == name]
    if len(found) > 1:
        _demand_plain([(name, value) for value in found])
    if not found:
        raise _unclear(name)
    return found[0] if len(found) == 1 else _Value(rows=frozenset({None}))


def _both(one: _Value, other: _Value) -> _Value:
    """A column of UNION; of one row of it that is not the other's, a column without a rule tells which it is."""
    origin = one.origin if one.origin == other.origin else None
    key = one.key or other.key
    if key is not None and origin is None:
        raise _refusal(key)
    filters = one.filters | other.filters
    return _Value(filters, key, origin, one.rows | other.rows if filters else frozenset({None}))


def _may_be_compared(one_name: str, one: _Value | Ruled, other_name: str, other: _Value | Ruled) -> bool:
    """Two columns of two tables, or the same column of one table read twice."""
    if isinstance(one, Ruled) or isinstance(other, Ruled) or one.origin is None or other.origin is None:
        return False
    return one_name != other_name and (one.origin == other.origin or one.origin[0] != other.origin[0])


def _bare_columns(side: exp.Expr) -> list[exp.Column]:
    """The columns of one side of an equality: one, or those that USING over three tables takes the first of."""
    side = side.unnest()
    parts = [side.this, *side.expressions] if isinstance(side, exp.Coalesce) else [side]
    columns = [part for part in parts if isinstance(part, exp.Column) and part.table]
    return columns if len(columns) == len(parts) else []


def _own_nodes(part: exp.Expr) -> Iterator[exp.Expr]:
    """The nodes of an expression; a query in it is given, and not what lies below."""
    stack = [part]
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, exp.Query):
            stack.extend(node.iter_expressions())


def _names_all(clause: exp.Expr) -> bool:
    """Whether a clause means every column of its level: DISTINCT, ALL, or a place in the list."""
    if isinstance(clause, exp.Distinct):
        return True
    if clause.args.get("all"):
        return True
    plain = (item.this if isinstance(item, exp.Ordered) else item for item in clause.expressions)
    return any(isinstance(item, exp.Literal | exp.Var) for item in plain)


def _is_broken(function: exp.Expr, select: exp.Select) -> bool:
    node = function.parent
    while node is not None and node is not select:
        if isinstance(node, (*_BROKEN_MEASURE, exp.Query)):
            return True
        node = node.parent
    return node is None


def _add_group(group: _Group) -> None:
    use, units = group.ruled.use, group.table.units
    name = units[use.unit] if use.unit else group.ruled.column
    column = exp.column(exp.to_identifier(name, quoted=True), table=exp.to_identifier(group.alias, quoted=True))
    counted = exp.Count(this=exp.Distinct(expressions=[column]) if use.unit else column)
    add_minimum(group.select, counted, use.min_group)


def _refusal(ruled: Ruled) -> TrustnodeError:
    return error("FIELD_NOT_AGREED", f"the column {ruled.title} {_PLACES[ruled.use.kind]}", field=ruled.title)


def left_out(ruled: Ruled) -> TrustnodeError:
    """Why a column with a rule is not found: * means the columns that may be shown."""
    message = (
        f"the column {ruled.title} is not part of *, because it {_PLACES[ruled.use.kind]}; name it in the sub-select"
    )
    return error("FIELD_NOT_AGREED", message, field=ruled.title)


def _unclear(name: str) -> TrustnodeError:
    what = f"the column {name[:128]}" if name else "a column of the query"
    message = f"{what} cannot be followed through the query; columns of this product have rules, write it more simply"
    return error("FIELD_NOT_AGREED", message, field=folded(name[:128]))
