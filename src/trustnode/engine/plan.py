"""From a consumer's SQL to the only text that runs: the ten steps of governed-sql 5, with the corrections of 5.1.

Decides: what a query may see and the text it becomes. Leaves to others: parsing and the allow-list (``shape``), masks
and filters (``relation``), the minimum group (``aggregate``), the second parse (``recheck``), running (``session``).
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final, NamedTuple

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.normalize_identifiers import normalize_identifiers
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, traverse_scope
from sqlglot.schema import MappingSchema

from trustnode.core.policy.governed import AggregateRule, Use
from trustnode.core.policy.schema import Schema
from trustnode.engine import aggregate, condition, joining, lineage, noise, shape
from trustnode.engine.joining import NO_PERSON, TableName
from trustnode.engine.lineage import ReadTable, Ruled
from trustnode.engine.message import Parameter
from trustnode.engine.noise import Question
from trustnode.engine.recheck import Expected, SecondParser
from trustnode.engine.source import folded, sql_type
from trustnode.errors import TrustnodeError, error

MAX_TEXT_NAME: Final = 64
"""Characters of an expression's text that serve as its column name."""
_PRINTED_AS: Final = {exp.LogicalAnd: "BOOL_AND", exp.LogicalOr: "BOOL_OR"}
"""sqlglot prints these with a cast that raises; the engine knows them by name."""


@dataclass(frozen=True)
class Relation:
    """One table as this session sees it."""

    called: TableName
    columns: Schema
    select: exp.Select
    place: str
    """Table or view in the session's schema."""
    rule: AggregateRule | None = None
    """The aggregation rule by which it is read, if there is one."""
    uses: tuple[Use, ...] = ()
    """What single columns may be used for."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Column that groups are counted by -> its secret name in the sub-select."""

    @property
    def name(self) -> str:
        """Its name to a person."""
        return self.called.title

    @property
    def names(self) -> dict[str, str]:
        """Resolved (lower-case) name -> name as declared."""
        return {folded(column.name): column.name for column in self.columns}

    def read_table(self) -> ReadTable:
        """What lineage must know of it."""
        key = self.called.key
        rules = {folded(use.column): Ruled(key, folded(use.column), use.column, use) for use in self.uses}
        return ReadTable(key, rules, frozenset(self.names), self.units)


class Rewritten(NamedTuple):
    """A query that may run."""

    text: str
    columns_used: tuple[str, ...]
    ordered: bool
    whole: bool
    """Whether it is all of one table, as it is delivered."""
    question: Question | None = None
    """Where answers are noised: what is asked; the text bounds what one person adds."""


class _Reference(NamedTuple):
    """One place of a query that reads a relation."""

    scope: Scope
    node: exp.Table
    relation: Relation


class Planner:
    """Rewrites the queries of one session."""

    def __init__(
        self,
        relations: Sequence[Relation],
        second: SecondParser,
    ) -> None:
        """Take the relations of the session.

        Args:
            relations: What may be read.
            second: Parser of the engine.
        """
        self._relations = {relation.called.key: relation for relation in relations}
        self._names = tuple(relation.called for relation in relations)
        self._second = second
        self._ruled = {name: relation.read_table() for name, relation in self._relations.items()}
        self._has_rules = any(table.rules for table in self._ruled.values())
        self._schema = MappingSchema(
            {
                name: {folded(column.name): sql_type(column.type) for column in relation.columns}
                for name, relation in self._relations.items()
            },
            visible={name: [column for column in table.columns if column not in table.rules]
                     for name, table in self._ruled.items()},
            dialect=shape.DIALECT,
        )  # fmt: skip
        for relation in relations:
            second.learn(relation.place, _text(relation.select.copy()))

    def rewrite(self, sql: str, parameters: Sequence[Parameter], today: date) -> Rewritten:
        """Check and rewrite one query.

        Raises:
            TrustnodeError: QUERY_INVALID, FIELD_TOO_LONG, FIELD_NOT_AGREED or DENIED.
        """
        tree = shape.parse(sql)
        shape.check_depth(tree)
        joining.resolve(tree, self._names)
        shape.bind(tree, parameters, today)
        shape.check(tree)
        try:
            return self._rewrite(tree)
        except RecursionError as failure:
            raise shape.invalid("the query is nested too deeply") from failure

    def _rewrite(self, tree: exp.Query) -> Rewritten:
        whole = shape.is_whole_table(tree)
        titles = _titles(tree)
        _name_outputs(tree)
        tree = normalize_identifiers(tree, dialect=shape.DIALECT)
        self._references(tree)
        tree = self._qualify(tree)
        shape.check(tree, qualified=True)
        references = self._references(tree)
        joining.check_all_read((reference.relation.called.key for reference in references), self._names)
        used = tuple(sorted(set(_columns_used(references))))
        self._restore_titles(tree, titles)
        question = self._question(tree, references)
        if self._has_rules:
            lineage.hold(tree, _scopes(tree), lambda node: self._ruled[node.name])
        for scope, node, relation in references:
            if relation.rule is not None:
                person = relation.units.get(relation.rule.person, NO_PERSON)
                aggregate.hold(scope, node.alias_or_name, relation.rule, person)
        _make_casts_safe(tree)
        counts = Counter({kind: sum(1 for _ in tree.find_all(kind)) for kind in (exp.Select, exp.Table, exp.Values)})
        ordered = tree.args.get("order") is not None
        for reference in references:
            _replace(reference)
        text = _text(tree)
        expected = Expected(
            governed=Counter(reference.relation.place for reference in references),
            selects=counts[exp.Select],
            values=counts[exp.Values],
            references=counts[exp.Table] - len(references),
        )
        self._second.check(text, expected)
        return Rewritten(question.text if question else text, used, ordered, whole and question is None, question)

    def _question(self, tree: exp.Query, references: Sequence[_Reference]) -> Question | None:
        noised = [one.relation for one in references if one.relation.rule and one.relation.rule.noise]
        if not noised:
            return None
        if len(references) != 1:
            raise condition.denied("a question reads the table once, and no other")
        relation, rule = noised[0], noised[0].rule
        known = {folded(column.name): column for column in relation.columns}
        return noise.read(tree, relation.select, known, rule, relation.units) if rule else None

    def _references(self, tree: exp.Query) -> list[_Reference]:
        """Resolve every table of the tree; each is a relation or a reference to WITH, or the query is refused."""
        found: list[_Reference] = []
        visited: set[int] = set()
        for scope in _scopes(tree):
            names = [name for name, _ in scope.references]
            if len(names) != len(set(names)):
                raise shape.invalid("two tables of one level have the same name; give one an alias")
            for name, node in scope.references:
                if not isinstance(node, exp.Table):
                    continue
                if isinstance(scope.sources.get(name), exp.Table):
                    found.append(_Reference(scope, node, self._relation(node)))
                visited.add(id(node))
        if visited != {id(node) for node in tree.find_all(exp.Table)}:
            raise shape.invalid("a table stands where none may")
        return found

    def _relation(self, node: exp.Table) -> Relation:
        relation = self._relations.get(node.name)
        if relation is None:
            known = ", ".join(sorted(item.name for item in self._relations.values()))
            raise shape.invalid(f"there is no table {node.name[:128]}; delivered: {known}")
        return relation

    def _qualify(self, tree: exp.Query) -> exp.Query:
        own = set(_own_names(tree))
        try:
            tree = qualify(tree, dialect=shape.DIALECT, schema=self._schema, identify=True)
        except (SqlglotError, KeyError, ValueError, AttributeError) as failure:
            raise self._unresolved(tree, own) from failure
        given = {item.alias for item in tree.find_all(exp.Alias)}
        if any(not column.table and column.name not in given for column in tree.find_all(exp.Column)):
            raise self._unresolved(tree, own)
        return tree

    def _unresolved(self, tree: exp.Query, own: set[str]) -> TrustnodeError:
        """Say which name is meant by nothing; if all names are known, the query combines them wrongly."""
        delivered = {name: title for relation in self._relations.values() for name, title in relation.names.items()}
        known = {*delivered, *self._relations, *own}
        for column in tree.find_all(exp.Column):
            name = column.name[:128]
            ruled = next((table.rules[name] for table in self._ruled.values() if name in table.rules), None)
            if ruled is not None:
                return lineage.left_out(ruled)
            if isinstance(column.this, exp.Identifier) and column.name not in known:
                near = difflib.get_close_matches(name, delivered, n=1)
                hint = f"; did you mean {delivered[near[0]]}" if near else ""
                return error("FIELD_NOT_AGREED", f"the column {name} is not delivered{hint}", field=name)
        return shape.invalid("a column of the query is ambiguous, or does not belong to the table it is asked of")

    def _restore_titles(self, tree: exp.Query, titles: Mapping[str, str]) -> None:
        """Deliver column names as they were declared or typed, not as they were resolved."""
        declared = {name: title for relation in self._relations.values() for name, title in relation.names.items()}
        for projection in _first_select(tree).expressions:
            name = projection.alias_or_name
            title = titles.get(name) or declared.get(name)
            if title is not None and isinstance(projection, exp.Alias):
                projection.set("alias", exp.to_identifier(title, quoted=True))


def _scopes(tree: exp.Query) -> list[Scope]:
    try:
        return traverse_scope(tree)
    except SqlglotError as failure:
        raise shape.invalid("two tables of one level have the same name") from failure


def _first_select(tree: exp.Expr) -> exp.Select:
    """The SELECT that names the columns of the whole query."""
    while not isinstance(tree, exp.Select):
        tree = tree.this
    return tree


def _titles(tree: exp.Query) -> dict[str, str]:
    """Resolved name -> name as typed, of the aliases of the outermost level."""
    return {folded(item.alias): item.alias for item in _first_select(tree).expressions if isinstance(item, exp.Alias)}


def _name_outputs(tree: exp.Query) -> None:
    """Alias every projection at every level, before any table is replaced.

    The engine names a column without alias by its text, and that name is output: it would show the governed sub-select.
    """
    for select in tree.find_all(exp.Select):
        for item in select.expressions:
            if not isinstance(item, exp.Alias | exp.Column | exp.Star):
                name = item.sql(dialect=shape.DIALECT, comments=False)[:MAX_TEXT_NAME].lower()
                alias = exp.Alias(this=item.copy(), alias=exp.to_identifier(_printable(name), quoted=True))
                item.replace(alias)


def _printable(name: str) -> str:
    return "".join(mark if mark.isprintable() else " " for mark in name).strip() or "column"


def _own_names(tree: exp.Query) -> Iterator[str]:
    """Names the query gives itself: aliases of columns and tables, column lists."""
    for node in tree.find_all(exp.Alias, exp.TableAlias, exp.CTE, exp.Subquery):
        yield node.alias_or_name
        for column in node.args.get("columns") or ():
            yield column.name


def _columns_used(references: Sequence[_Reference]) -> Iterator[str]:
    for scope, node, relation in references:
        names = relation.names
        for column in scope.columns:
            if column.table == node.alias_or_name and column.name in names:
                yield f"{relation.name}.{names[column.name]}"


def _make_casts_safe(tree: exp.Query) -> None:
    """A cast that raises prints the value it fails on; as TRY_CAST it gives NULL."""
    for cast in list(tree.find_all(exp.Cast)):
        if type(cast) is exp.Cast:
            cast.replace(exp.TryCast(this=cast.this, to=cast.args["to"], safe=True))
    for truth in list(tree.find_all(exp.Is)):
        if isinstance(truth.expression, exp.Boolean):
            truth.set("this", exp.TryCast(this=truth.this, to=exp.DataType.build("BOOLEAN"), safe=True))
    for day in list(tree.find_all(exp.Date)):
        day.replace(exp.TryCast(this=day.this, to=exp.DataType.build("DATE"), safe=True))
    for kind, name in _PRINTED_AS.items():
        for node in list(tree.find_all(kind)):
            node.replace(exp.Anonymous(this=name, expressions=[node.this]))


def _replace(reference: _Reference) -> None:
    alias = exp.TableAlias(this=exp.to_identifier(reference.node.alias_or_name, quoted=True))
    reference.node.replace(exp.Subquery(this=reference.relation.select.copy(), alias=alias))


def _text(tree: exp.Expr) -> str:
    """Regenerate; the tree is not used afterwards, so it need not be copied."""
    return tree.sql(dialect=shape.DIALECT, comments=False, identify=True, copy=False)
