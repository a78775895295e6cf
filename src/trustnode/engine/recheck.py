"""The second opinion: DuckDB's own parser reads the regenerated text, and the structure it sees must be ours.

Decides: whether every governed source in the engine's tree is exactly the sub-select we wrote, as often as we wrote it,
and everything else is made of allowed nodes (step 8 of governed-sql 5 with 5.1). Leaves to others: making the text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

import duckdb
import msgspec

from trustnode.engine import grammar
from trustnode.engine.source import folded
from trustnode.errors import TrustnodeError, error

_NO_MEANING: Final = frozenset({"query_location", "query_location_length"})
_QUERY_KINDS: Final = ("_NODE", "_MODIFIER")

Node = dict[str, Any]


class Expected(NamedTuple):
    """What the tree of the text must hold."""

    governed: Mapping[str, int]
    """Place in the session's schema -> number of sub-selects that read it."""
    selects: int
    """SELECTs outside the governed sub-selects."""
    values: int
    """VALUES lists."""
    references: int
    """Tables without schema: references to WITH."""


class SecondParser:
    """A connection that parses and never runs anything."""

    def __init__(self, schemas: Collection[str]) -> None:
        self._schemas = schemas
        self._subselects: dict[str, Any] = {}
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "enable_external_access": "false",
                "threads": "1",
                "memory_limit": "64MB",
                "lock_configuration": "true",
            },
        )

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def learn(self, place: str, text: str) -> None:
        """Remember the structure of the sub-select that reads ``place``."""
        self._subselects[place] = _stripped(self._statement(text))

    def check(self, text: str, expected: Expected) -> None:
        """Compare structures.

        Raises:
            InvalidRequest: QUERY_INVALID, the same sentence whatever differs.
        """
        seen: Counter[str] = Counter()
        stack: list[tuple[Any, frozenset[str]]] = [(self._statement(text), frozenset())]
        while stack:
            item, names = stack.pop()
            if isinstance(item, list):
                stack.extend((each, names) for each in item)
            elif isinstance(item, dict):
                stack.extend(self._look(item, names, seen))
        wanted = Counter({f"governed {place}": number for place, number in expected.governed.items()})
        wanted.update({"SELECT_NODE": expected.selects, "VALUES": expected.values, "reference": expected.references})
        if +seen != +wanted:
            raise _differs()

    def _statement(self, text: str) -> Node:
        (answer,) = self._connection.execute("SELECT json_serialize_sql(?)", [text]).fetchone() or ("{}",)
        parsed = msgspec.json.decode(answer)
        statements = parsed.get("statements", [])
        if parsed.get("error") is not False or len(statements) != 1 or statements[0].get("named_param_map"):
            raise _differs()
        node: Node = statements[0]["node"]
        return node

    def _look(self, node: Node, names: frozenset[str], seen: Counter[str]) -> list[tuple[Any, frozenset[str]]]:
        """Judge one node; what is still to be looked at below it, with the names WITH gives it."""
        kind = str(node.get("type", ""))
        if kind == "SELECT_NODE":
            place = self._place(node.get("from_table"))
            if place is not None:
                if _stripped(node) != self._subselects.get(place):
                    raise _differs()
                seen[f"governed {place}"] += 1
                return []
            if _is_values(node):
                seen["VALUES"] += 1
                return [(node["from_table"]["values"], names)]
            seen[kind] += 1
        elif kind == "ORDER_MODIFIER":
            return [(order, names) for order in node.get("orders", []) if not _is_star(order.get("expression"))]
        elif kind == "BASE_TABLE":
            _check_reference(node, names)
            seen["reference"] += 1
        if "class" in node:
            _check_expression(node)
        elif _is_query_part(node, kind):
            _check_query_part(node, kind)
        return _below(node, names)

    def _place(self, table: Any) -> str | None:
        """The place a SELECT reads directly, when that is one of the session's schemas."""
        is_table = isinstance(table, dict) and table.get("type") == "BASE_TABLE"
        return str(table.get("table_name")) if is_table and table.get("schema_name") in self._schemas else None


def _is_values(node: Node) -> bool:
    """``VALUES (..)`` is a SELECT * from a list to the engine; no other star is left when a text is regenerated."""
    table, listed = node.get("from_table") or {}, node.get("select_list") or [{}]
    return table.get("type") == "EXPRESSION_LIST" and len(listed) == 1 and _is_star(listed[0])


def _is_star(node: Any) -> bool:
    """A star without anything to it: that of VALUES, and ``ORDER BY ALL``."""
    if not isinstance(node, dict) or node.get("class") != "STAR":
        return False
    return not any(value for key, value in _stripped(node).items() if key not in {"class", "type", "columns"})


def _is_query_part(node: Node, kind: str) -> bool:
    """Whether a dict stands for a query node, a table reference or a modifier (not a type or a literal)."""
    return kind.endswith(_QUERY_KINDS) or "alias" in node or "sample" in node


def _check_query_part(node: Node, kind: str) -> None:
    if kind not in grammar.ENGINE_NODE_TYPES or node.get("sample") or node.get("at_clause"):
        raise _differs()
    if kind == "JOIN" and node.get("ref_type") not in grammar.ENGINE_JOINS:
        raise _differs()


def _below(node: Node, names: frozenset[str]) -> list[tuple[Any, frozenset[str]]]:
    """Children of a node; a WITH is visible to the ones after it and to the rest of its query."""
    found: list[tuple[Any, frozenset[str]]] = []
    for entry in (node.get("cte_map") or {}).get("map") or ():
        found.append((entry["value"], names))
        names |= {folded(str(entry["key"]))}
    rest = (value for key, value in node.items() if key != "cte_map" and isinstance(value, dict | list))
    return found + [(value, names) for value in rest]


def _check_reference(node: Node, names: frozenset[str]) -> None:
    """A table without schema is a reference to a WITH in sight; otherwise it would be one of the engine's own views."""
    if node.get("schema_name") or node.get("catalog_name") or folded(str(node.get("table_name", ""))) not in names:
        raise _differs()


def _check_expression(node: Node) -> None:
    kind = node["class"]
    if kind not in grammar.ENGINE_CLASSES:
        raise _differs()
    if kind in {"FUNCTION", "WINDOW"}:
        _check_function(node)
    if kind == "CAST" and not _is_safe(node):
        raise _differs()
    if kind == "TYPE" and str(node.get("type_name", "")).upper() not in grammar.ENGINE_TYPES:
        raise _differs()


def _check_function(node: Node) -> None:
    name = str(node.get("function_name", "")).lower()
    path = node.get("qualified_name", {}).get("path", [name])
    if name not in grammar.ALLOWED_FUNCTIONS | grammar.PRINTED_FUNCTIONS or len(path) != 1:
        raise _differs()


def _is_safe(cast: Node) -> bool:
    """A cast that cannot fail on a value: TRY_CAST, a constant, or what the parser adds to INTERVAL and IS TRUE."""
    if cast.get("try_cast") is True:
        return True
    child = cast.get("child") or {}
    if child.get("class") == "FUNCTION" and child.get("function_name") == "trunc":
        child = child["arguments"][0].get("expression") or {}
    if child.get("class") == "CAST":
        return (not child.get("try_cast") and _is_safe(child)) or _type_name(child) == _type_name(cast)
    return child.get("class") == "CONSTANT"


def _type_name(cast: Node) -> str:
    return str((cast.get("type_expr") or {}).get("type_name", "")).upper()


def _stripped(item: Any) -> Any:
    """The same structure without positions in the text."""
    if isinstance(item, dict):
        return {key: _stripped(value) for key, value in item.items() if key not in _NO_MEANING}
    if isinstance(item, list):
        return [_stripped(value) for value in item]
    return item


def _differs() -> TrustnodeError:
    return error("QUERY_INVALID", "the query uses something that is not allowed here")
