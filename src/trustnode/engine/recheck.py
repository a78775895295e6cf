"""The second opinion: DuckDB's own parser reads the regenerated text, and the structure it sees must be ours.

Decides: whether every governed source in the engine's tree is exactly the sub-select we wrote, as often as we wrote it,
and everything else is made of allowed nodes (step 8 of governed-sql 5 with 5.1). Leaves to others: making the text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import duckdb
import msgspec

from trustnode.engine import grammar
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
    references: int
    """Tables without schema: references to WITH."""


class SecondParser:
    """A connection that parses and never runs anything."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
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
        stack: list[Any] = [self._statement(text)]
        while stack:
            item = stack.pop()
            if isinstance(item, list):
                stack.extend(item)
            elif isinstance(item, dict):
                stack.extend(self._look(item, seen))
        wanted = Counter({f"governed {place}": number for place, number in expected.governed.items()})
        wanted.update({"SELECT_NODE": expected.selects, "reference": expected.references})
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

    def _look(self, node: Node, seen: Counter[str]) -> list[Any]:
        """Judge one node; what is still to be looked at below it."""
        kind = str(node.get("type", ""))
        if kind == "SELECT_NODE":
            place = self._place(node.get("from_table"))
            if place is not None:
                if _stripped(node) != self._subselects.get(place):
                    raise _differs()
                seen[f"governed {place}"] += 1
                return []
            seen[kind] += 1
        elif kind == "BASE_TABLE":
            _check_reference(node)
            seen["reference"] += 1
        if "class" in node:
            _check_expression(node)
        elif _is_query_part(node, kind) and kind not in grammar.ENGINE_NODE_TYPES:
            raise _differs()
        return [value for value in node.values() if isinstance(value, dict | list)]

    def _place(self, table: Any) -> str | None:
        """The place a SELECT reads directly, when that is one of the session's schema."""
        if isinstance(table, dict) and table.get("type") == "BASE_TABLE" and table.get("schema_name") == self._schema:
            return str(table.get("table_name"))
        return None


def _is_query_part(node: Node, kind: str) -> bool:
    """Whether a dict stands for a query node, a table reference or a modifier (not a type or a literal)."""
    return kind.endswith(_QUERY_KINDS) or "alias" in node or "sample" in node


def _check_reference(node: Node) -> None:
    """A table without schema is a reference to WITH, which the rewriter has resolved and counted."""
    if node.get("schema_name") or node.get("catalog_name") or node.get("sample") or node.get("at_clause"):
        raise _differs()


def _check_expression(node: Node) -> None:
    kind = node["class"]
    if kind not in grammar.ENGINE_CLASSES:
        raise _differs()
    if kind in {"FUNCTION", "WINDOW"}:
        _check_function(node)
    if kind == "CAST" and node.get("try_cast") is not True:
        raise _differs()
    if kind == "STAR":
        raise _differs()


def _check_function(node: Node) -> None:
    name = str(node.get("function_name", "")).lower()
    if name not in grammar.ALLOWED_FUNCTIONS or node.get("schema") or node.get("catalog"):
        raise _differs()


def _stripped(item: Any) -> Any:
    """The same structure without positions in the text."""
    if isinstance(item, dict):
        return {key: _stripped(value) for key, value in item.items() if key not in _NO_MEANING}
    if isinstance(item, list):
        return [_stripped(value) for value in item]
    return item


def _differs() -> TrustnodeError:
    return error("QUERY_INVALID", "the query uses something that is not allowed here")
