"""PostgreSQL as a source, read through ADBC as Arrow.

Decides: what a location may say, that every connection is read-only and bounded in time, which type is which word, what
tells one state of the data from another. Leaves to others: statements and connections (``database``), where the
password lies (``keys.credentials``). Only a worker gets here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

import adbc_driver_postgresql

from trustnode.core.policy.governed import Predicate
from trustnode.core.policy.schema import Column, columns
from trustnode.engine.source import pushdown
from trustnode.engine.source.arrow import Batches
from trustnode.engine.source.database import Database, driver_path
from trustnode.engine.source.model import Secrets, Source, SourceFailed, Table, bad
from trustnode.engine.source.words import quoted_name, quoted_text

CONNECT_SECONDS: Final = 5
ANSWER_SECONDS: Final = 10
"""For questions about the catalogue and the data version."""
STREAM_SECONDS: Final = 3600
"""Longest stream: the server counts the time in which nobody reads."""
_BATCH_BYTES: Final = str(1 << 20)
_QUERY_KEYS: Final = frozenset({"host", "sslmode", "sslrootcert", "sslcert", "sslkey", "target_session_attrs"})
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_MAX_DIGITS: Final = 38

_AS_TEXT: Final = "{}::pg_catalog.text"
_FINITE: Final = "CASE WHEN pg_catalog.isfinite({0}) THEN {0} END"

TYPES: Final[Mapping[str, tuple[str, str]]] = {
    "bool": ("bool", "{}"),
    "int2": ("int16", "{}"),
    "int4": ("int32", "{}"),
    "int8": ("int64", "{}"),
    "float4": ("float32", "{}"),
    "float8": ("float64", "{}"),
    **dict.fromkeys(
        ("text", "varchar", "bpchar", "name", "uuid", "json", "jsonb", "inet", "cidr", "macaddr", "citext"),
        ("utf8", _AS_TEXT),
    ),
    "date": ("date32", _FINITE),
    "time": ("time", "{}"),
    "timestamp": ("timestamp", _FINITE),
    "timestamptz": ("timestamptz", _FINITE),
    "bytea": ("binary", "{}"),
}
"""Type of the server -> word, and how the value is asked for. ``numeric(p,s)`` up to 38 digits and enumerations come
besides; domains are their base type; arrays, ranges, intervals, money and numeric without digits are left out.
Arrow has no infinite date: such a value is delivered as empty."""

_TABLES: Final = """
SELECT n.nspname AS schema, c.relname AS name FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT') ORDER BY 2
"""
_COLUMNS: Final = """
SELECT a.attname AS name, COALESCE(b.typname, t.typname) AS type, COALESCE(b.typtype, t.typtype)::text AS sort,
CASE WHEN b.oid IS NULL THEN a.atttypmod ELSE t.typtypmod END AS modifier, NOT a.attnotnull AS nullable,
pg_catalog.has_schema_privilege(n.oid, 'USAGE')
AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT') AS allowed
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_type b ON t.typtype = 'd' AND b.oid = t.typbasetype
WHERE n.nspname = {schema} AND c.relname = {name} ORDER BY a.attnum
"""
_SIZE: Final = """
SELECT pg_catalog.pg_table_size(c.oid) AS size FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = {schema} AND c.relname = {name} AND c.relkind IN ('r', 'm')
"""
_VERSION: Final = """
SELECT concat_ws(' ', pg_catalog.current_database(), pg_catalog.pg_postmaster_start_time(),
pg_catalog.pg_current_snapshot()::text) AS version
"""
"""Every transaction that commits changes the snapshot, in whichever database of the server: nothing is missed, and a
server where others write all the time looks new each time."""


class PostgresSource:
    """One database of a server."""

    def __init__(self, source: Source, secrets: Secrets) -> None:
        """Keep how it is reached; nothing is connected yet.

        Raises:
            InvalidRequest: FIELD_FORMAT for a location that says more than where the database is.
        """
        self._source = source
        password = secrets.get(source.credentials, {}).get("password", "")
        driver = driver_path(adbc_driver_postgresql)
        self._database = Database(driver, {"uri": address(source.location, password, ANSWER_SECONDS)}, password)
        self._known: dict[str, tuple[_Attribute, ...]] = {}
        self._streaming = Database(driver, {"uri": address(source.location, password, STREAM_SECONDS)}, password)

    def names(self) -> Sequence[str]:
        """Names in SQL of its tables."""
        if self._source.tables:
            return tuple(self._source.tables)
        found = tuple(row["name"] for row in self._database.rows(_TABLES))
        if not found:
            raise bad("the role may read no table in the schema public")
        return found

    def table(self, name: str, *, counted: bool) -> Table:
        """Columns by their types at the server; rows are not counted: that would read the table."""
        attributes = self._attributes(name)
        found = tuple(one.column for one in attributes if one.column)
        if not found:
            raise bad(f"{self._target(name)} has no column that can be delivered")
        return Table(name, found, tuple(one.name for one in attributes if not one.column))

    def size_bytes(self, name: str) -> int | None:
        """Size at the server; None for a view."""
        rows = self._database.rows(_SIZE.format(**self._quoted(name)))
        return int(rows[0]["size"]) if rows else None

    def batches(self, name: str, wanted: Sequence[Column], rows: Predicate | None) -> Batches:
        """Rows of these columns, as one statement sees them."""
        attributes = {one.name: one for one in self._attributes(name)}
        known = columns(tuple(one.column for one in attributes.values() if one.column))
        for column in wanted:
            if column.name not in known or known[column.name].type != column.type:
                raise SourceFailed(f"the column {column.name} is no {column.type} any more")
        listed = ", ".join(f"{attributes[c.name].asked} AS {quoted_name(c.name)}" for c in wanted) or "1"
        schema, table = self._split(name)
        origin = f"{quoted_name(schema)}.{quoted_name(table)}"
        sql = f"SELECT {listed} FROM {origin}{pushdown.where(rows, known, pushdown.POSTGRES)}"
        return self._streaming.stream(sql, **{"adbc.postgresql.batch_size_hint_bytes": _BATCH_BYTES})

    def version(self) -> str:
        """What the provider's own query says, else the state of the server."""
        rows = self._database.rows(self._source.version or _VERSION)
        if len(rows) != 1 or len(rows[0]) != 1:
            raise SourceFailed("the query of the data version gives other than one value")
        return str(next(iter(rows[0].values())))

    def _attributes(self, name: str) -> tuple[_Attribute, ...]:
        """Columns of a table, looked up once: a worker is no older than a data version."""
        if name not in self._known:
            self._known[name] = self._looked_up(name)
        return self._known[name]

    def _looked_up(self, name: str) -> tuple[_Attribute, ...]:
        rows = self._database.rows(_COLUMNS.format(**self._quoted(name)))
        if not rows:
            raise bad(f"the database has no table {self._target(name)}", "tables")
        if not any(row["allowed"] for row in rows):
            raise bad(f"the role may not SELECT from {self._target(name)}", "tables")
        return tuple(_attribute(row) for row in rows)

    def _target(self, name: str) -> str:
        return self._source.tables.get(name) or name

    def _split(self, name: str) -> tuple[str, str]:
        schema, _, table = self._target(name).rpartition(".")
        return schema or "public", table

    def _quoted(self, name: str) -> dict[str, str]:
        schema, table = self._split(name)
        return {"schema": quoted_text(schema), "name": quoted_text(table)}


class _Attribute(NamedTuple):
    name: str
    column: Column | None
    asked: str
    """How its value is asked for."""


def _attribute(row: Mapping[str, Any]) -> _Attribute:
    found = word_of(row["type"], row["sort"], row["modifier"]) if row["allowed"] else None
    if found is None:
        return _Attribute(row["name"], None, "")
    word, shape = found
    try:
        column = Column(name=row["name"], type=word, nullable=row["nullable"])
    except ValueError as failure:
        raise bad("a column of the source has a name that cannot be used") from failure
    return _Attribute(row["name"], column, shape.format(quoted_name(row["name"])))


def word_of(name: str, sort: str, modifier: int) -> tuple[str, str] | None:
    """The catalogue's word for a type of the server, and how its value is asked for; None when it is not delivered.

    Args:
        name: Of the type.
        sort: ``e`` an enumeration, ``b`` a base type.
        modifier: Digits of a ``numeric``, as the server packs them.
    """
    if sort == "e":
        return "utf8", _AS_TEXT
    if name == "numeric" and modifier >= 4:
        precision, scale = (modifier - 4) >> 16, (modifier - 4) & 0x7FF
        return (f"decimal({precision},{scale})", "{}") if scale <= precision <= _MAX_DIGITS else None
    return TYPES.get(name)


def address(location: str, password: str, seconds: int) -> str:
    """The URI for the driver: what the location says, the password, and what every connection is bound to.

    Raises:
        InvalidRequest: FIELD_FORMAT.
    """
    parts = _checked(location)
    query = dict(parse_qsl(parts.query))
    if not query.get("host", "").startswith("/") and parts.hostname not in _LOCAL:
        query = {"sslmode": "verify-full", "sslrootcert": "system"} | query
    settings = {
        "default_transaction_read_only": "on", "statement_timeout": f"{seconds}s", "lock_timeout": f"{ANSWER_SECONDS}s",
        "TimeZone": "UTC", "search_path": "pg_catalog", "standard_conforming_strings": "on",
    }  # fmt: skip
    query |= {
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        "connect_timeout": str(CONNECT_SECONDS), "application_name": "trustnode", "passfile": "/dev/null",
        "tcp_user_timeout": str(1000 * ANSWER_SECONDS),
    }  # fmt: skip
    if password:
        query["password"] = password
    return parts._replace(scheme="postgresql", query=urlencode(query, quote_via=quote)).geturl()


def _checked(location: str) -> SplitResult:
    try:
        parts = urlsplit(location)
        keys = {key for key, _ in parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))}
        secret = parts.password
    except ValueError as failure:
        raise bad("the location is no address; write: postgresql://ROLE@HOST:PORT/DATABASE") from failure
    if parts.scheme not in {"postgresql", "postgres"} or not parts.path.strip("/") or parts.fragment:
        raise bad("the location is no address; write: postgresql://ROLE@HOST:PORT/DATABASE")
    if secret is not None or keys & {"password", "passfile"}:
        raise bad("a password does not stand in the location; " + PLACE_OF_SECRETS)
    if unknown := keys - _QUERY_KEYS:
        raise bad(f"the location may not set {', '.join(sorted(unknown))}; it may set {', '.join(sorted(_QUERY_KEYS))}")
    return parts


PLACE_OF_SECRETS: Final = (
    'write it into credentials/NAME.toml below the node\'s home (mode 600) and say credentials = "NAME"'
)
