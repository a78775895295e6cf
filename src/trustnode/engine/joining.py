"""Several agreements in one query: which table a name means, and by which rule each product is read.

Decides: that a name is one table or the query is refused, that the strictest rule of all products holds for every level
of the query (governed-sql 10), that no agreement is named in vain. Leaves to others: the governed sub-selects
(``relation``), what a level that reads one may say (``aggregate``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
from sqlglot import exp

from trustnode.core.policy.governed import AggregateRule, Governed, Measure
from trustnode.engine import shape
from trustnode.engine.source import folded

NO_PERSON: Final = ""
"""Stands for the privacy unit of a product that names none: there each row is one."""


class TableName(NamedTuple):
    """What a table of an agreement is called."""

    schema: str
    """Of the agreement: ``agreement_7k3qx9m2``."""
    name: str
    """As the product gives it."""
    key: str
    """Inside the rewriter: the name, with the schema before it where several agreements deliver that name."""

    @property
    def title(self) -> str:
        """To a person."""
        return self.name if self.key == folded(self.name) else f"{self.schema}.{self.name}"


def table_names(tables: Sequence[tuple[str, str]]) -> tuple[TableName, ...]:
    """Tables, given by schema and name, each with a key of its own.

    Raises:
        TrustnodeError: QUERY_INVALID, two of them cannot be told apart.
    """
    count = Counter(folded(name) for _, name in tables)
    if len({(schema, folded(name)) for schema, name in tables}) < len(tables):
        raise shape.invalid("two agreements have the same short name: read each")
    return tuple(
        TableName(schema, name, folded(name) if count[folded(name)] == 1 else f"{schema}.{folded(name)}")
        for schema, name in tables
    )


# --- names ------------------------------------------------------------------------------------------------------------


def resolve(tree: exp.Query, known: Sequence[TableName]) -> None:
    """Take the schemas of agreements off a query and give each table the key of the one it means.

    Raises:
        TrustnodeError: QUERY_INVALID for another schema, for a name that several agreements deliver, and for a column
            of a table that the query does not read.
    """
    schemas = sorted({one.schema for one in known})
    for node in tree.find_all(exp.Table, exp.Column):
        _check_schema(node, schemas)
    own = {folded(cte.alias) for cte in tree.find_all(exp.CTE)}
    read = {_resolved(node, known, own) for node in tree.find_all(exp.Table) if isinstance(node.this, exp.Identifier)}
    for column in tree.find_all(exp.Column):
        if column.args.get("db") is not None:
            if (folded(column.text("db")), folded(column.table)) not in read:
                named = shape.visible(f"{column.text('db')}.{column.table}")
                raise shape.invalid(f"a column is asked of {named}, which the query does not read")
            column.set("db", None)


def _check_schema(node: exp.Expr, schemas: Sequence[str]) -> None:
    if node.args.get("db") is None:
        return
    if node.args.get("catalog") is not None:
        raise shape.invalid("a database before the name of a table is not allowed in a query")
    if folded(node.text("db")) not in schemas:
        which = "this agreement; its" if len(schemas) == 1 else "these agreements; their"
        named = shape.visible(node.text("db"))
        raise shape.invalid(f"the schema {named} is not of {which} tables are in {', '.join(schemas)}")


def _resolved(node: exp.Table, known: Sequence[TableName], own: set[str]) -> tuple[str, str]:
    """Give a table its key; schema and name under which columns may be asked of it."""
    name, schema, spoken = folded(node.name), folded(node.text("db")), folded(node.alias_or_name)
    meant = [one for one in known if folded(one.name) == name and schema in ("", one.schema)]
    if len(meant) > 1 and name not in own:
        listed = " or ".join(f"{one.schema}.{one.name}" for one in meant)
        raise shape.invalid(f"several agreements deliver a table {shape.visible(node.name)}: write {listed}")
    if schema and not meant and len({one.schema for one in known}) > 1:
        raise shape.invalid(f"{schema} delivers no table {shape.visible(node.name)}")
    node.set("db", None)
    if len(meant) != 1 or (not schema and name in own):
        return schema, spoken
    if meant[0].key != name:
        if not node.alias:
            node.set("alias", exp.TableAlias(this=exp.to_identifier(node.name, quoted=True)))
        node.set("this", exp.to_identifier(meant[0].key, quoted=True))
    return meant[0].schema, spoken


def check_all_read(read: Iterable[str], known: Sequence[TableName]) -> None:
    """Refuse a query that reads nothing of one of its agreements: it would be counted and paid for nothing.

    Args:
        read: Keys of the tables that the query reads.
        known: All there are.

    Raises:
        TrustnodeError: QUERY_INVALID.
    """
    keys, schemas = set(read), {one.schema for one in known}
    idle = schemas - {one.schema for one in known if one.key in keys}
    if idle and len(schemas) > 1:
        raise shape.invalid(f"the query reads nothing of {', '.join(sorted(idle))}: leave that agreement out")


# --- rules ------------------------------------------------------------------------------------------------------------


def strictest(parts: Sequence[Governed]) -> tuple[AggregateRule | None, ...]:
    """The rule by which each product is read: its own where it stands alone, else the strictest of all.

    One product that delivers aggregates only makes it so for the others: of them, too, only aggregates leave, of groups
    as large as the largest minimum. Of a product without a privacy unit the rows are counted.
    """
    agreed = [part.aggregate for part in parts if part.aggregate is not None]
    if not agreed or len(parts) == 1:
        return tuple(part.aggregate for part in parts)
    least = max(rule.min_group for rule in agreed)
    return tuple(
        msgspec.structs.replace(part.aggregate, min_group=least) if part.aggregate else _rule_for_rows(part, least)
        for part in parts
    )


def _rule_for_rows(part: Governed, least: int) -> AggregateRule:
    shown = [name for table in part.tables for name in (*table.columns, *(mask.column for mask in table.masks))]
    measures = [
        measure
        for name in shown
        for measure in (Measure("count", name), Measure("sum", name), Measure("avg", name), Measure("stddev", name))
    ]
    return AggregateRule(NO_PERSON, tuple(shown), (Measure("count"), *measures), least)
