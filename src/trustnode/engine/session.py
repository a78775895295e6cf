"""One agreement's session inside a worker: the opened source, the planner, the running query.

Decides: how the engine is opened and locked (governed-sql 3), what is copied into memory, the output types of a query.
Leaves to others: what a query may see (``plan``), the process around it (``worker``).

A small table is copied into memory once, with the columns and rows the policy delivers and nothing else: then a small
read is fast, and what the policy hides is not in the process. A larger one stays a scan of its file.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cached_property
from secrets import token_hex
from types import ModuleType
from typing import TYPE_CHECKING, Final

import duckdb
import pyarrow as pa
from sqlglot import exp

from trustnode.core.identifier import schema_name
from trustnode.core.policy.governed import AggregateRule, GovernedTable
from trustnode.core.policy.masks import KEYED_METHODS
from trustnode.core.policy.schema import Column, columns
from trustnode.engine import fingerprint, markers, masking
from trustnode.engine import relation as governing
from trustnode.engine import source as reading
from trustnode.engine.joining import TableName, strictest, table_names
from trustnode.engine.message import Parameter, Plan, RunLimits, SessionSpec
from trustnode.engine.noise import Question
from trustnode.engine.plan import Planner, Relation, Rewritten
from trustnode.engine.recheck import SecondParser
from trustnode.engine.relation import unenforceable
from trustnode.engine.shape import invalid
from trustnode.errors import TrustnodeError, error

if TYPE_CHECKING:
    from trustnode.engine.release import Drawn

PLANS_KEPT: Final = 256
MIN_HASH_KEY_BYTES: Final = 16
_STATIC_CONFIG: Final[Mapping[str, str]] = {
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_unsigned_extensions": "false",
    "allow_persistent_secrets": "false",
    "temp_directory": "",
    "max_temp_directory_size": "0MB",
    "max_expression_depth": "250",
}


class Session:
    """Plans and runs the queries of one agreement."""

    def __init__(self, spec: SessionSpec, secrets: reading.Secrets | None = None) -> None:
        """Open the source and lock the engine.

        Raises:
            SourceFailed: The source cannot be read, or is not what was registered.
            TrustnodeError: OFFER_UNENFORCEABLE when the policy names something the source does not have.
        """
        self._spec = spec
        self._secrets = secrets or {}
        self._opened: list[reading.Opened] = []
        self._is_streamed = False
        """Whether any table is read from its source by each query, and not from memory."""
        self._token = token_hex(16)
        self._schemas = tuple(f"g{self._token}{number or ''}" for number in range(len(spec.parts)))
        self._second = SecondParser(self._schemas)
        self._connection = _connect(spec)
        self._databases: dict[str, str] = {}
        try:
            with reading.served(self.explained):
                relations = self._open()
            _lock(self._connection, spec)
        except BaseException:
            self._connection.close()
            raise
        self._planner = Planner(relations, self._second)
        self._plans: OrderedDict[tuple[str, str, date], tuple[Rewritten, Plan]] = OrderedDict()
        self._check_relations(relations)
        if any(relation.rule and relation.rule.noise for relation in relations):
            self._release  # noqa: B018 - loaded before the first question, whose time is bounded

    @property
    def limits(self) -> RunLimits:
        """What one query may use."""
        return self._spec.limits

    def interrupt(self) -> None:
        """Stop the running query; called from another thread."""
        self._connection.interrupt()

    def explained(self, failure: Exception) -> Exception:
        """What ended a query, if it was a source; else ``failure`` itself."""
        if isinstance(failure, TrustnodeError):
            return failure
        for own in self._failures():
            return own if isinstance(own, reading.SourceFailed) else reading.SourceFailed(_loggable(own))
        is_of_the_engine = isinstance(failure, duckdb.Error | OSError | pa.ArrowException)
        return self._change() or failure if is_of_the_engine else failure

    def _change(self) -> reading.SourceFailed | None:
        """What is wrong with rows that were read while their file changed."""
        if self._is_streamed and any(opened.has_changed() for opened in self._opened):
            return reading.SourceFailed("a file of the source has changed while it was read")
        return None

    def _failures(self) -> list[Exception]:
        """What ended streams of the sources since this was asked last."""
        return [last for opened in self._opened if (last := opened.failure()) is not None]

    def check_unchanged(self) -> None:
        """After the last row: what was read is what was opened.

        Raises:
            SourceFailed: A file was replaced, written to or taken away meanwhile.
        """
        if (change := self._change()) is not None:
            raise change

    def plan(self, sql: str, parameters: tuple[Parameter, ...]) -> Plan:
        """Check, rewrite and type a query without reading data."""
        return self._planned(sql, parameters)[1]

    def answer_schema(self, sql: str, parameters: tuple[Parameter, ...]) -> pa.Schema:
        """The Arrow schema of what a query would deliver; no data is read.

        Raises:
            TrustnodeError: As ``plan``.
        """
        rewritten = self._planned(sql, parameters)[0]
        if rewritten.question is not None:
            bounded = self._bounded(f"SELECT * FROM ({rewritten.text}) AS q LIMIT 0")
            schema: pa.Schema = self._release.schema(rewritten.question, bounded.schema)
            return schema
        return self._connection.sql(f"SELECT * FROM ({rewritten.text}) AS q LIMIT 0").to_arrow_reader().schema

    def run(
        self, sql: str, parameters: tuple[Parameter, ...], expected_sql: str
    ) -> tuple[Plan, duckdb.DuckDBPyRelation | Drawn]:
        """The plan and what yields its rows; where answers are noised, the answer is drawn here.

        Args:
            sql: The consumer's text.
            parameters: Values for its ``?``.
            expected_sql: ``Plan.sql`` that was decided on; empty: none yet.

        Raises:
            TrustnodeError: STALE_VERSION when the plan is not the one that was decided on.
        """
        self._failures()  # of an earlier query that nobody read to its end
        rewritten, plan, relation = self._planned(sql, parameters)
        if expected_sql and plan.sql != expected_sql:
            raise error("STALE_VERSION", "the plan has changed since it was decided on; plan again")
        if rewritten.question is not None:
            return plan, self._drawn(rewritten.question)
        return plan, relation if relation is not None else self._connection.sql(rewritten.text)

    @cached_property
    def _release(self) -> ModuleType:
        """The noise; its library is loaded only where a product needs it."""
        try:
            from trustnode.engine import release
        except ImportError as failure:
            raise unenforceable("noise needs OpenDP: install trustnode[privacy]", "noise") from failure
        return release

    def _bounded(self, text: str) -> pa.Table:
        """Sums in which nobody adds more than the policy allows; what of each person counts is drawn anew each time."""
        return self._connection.sql(text, params={"key": token_hex(32)}).to_arrow_table()

    def _drawn(self, question: Question) -> Drawn:
        release = self._release
        drawn: Drawn = release.Drawn(release.release(self._bounded(question.text), question))
        return drawn

    def _planned(
        self, sql: str, parameters: tuple[Parameter, ...]
    ) -> tuple[Rewritten, Plan, duckdb.DuckDBPyRelation | None]:
        """A kept plan, or a new one with the relation that told its types."""
        today = datetime.now(UTC).date()
        key = (sql, repr(parameters), today)
        if key in self._plans:
            self._plans.move_to_end(key)
            return *self._plans[key], None
        rewritten = self._planner.rewrite(sql, parameters, today)
        relation, output = self._typed(rewritten)
        plan = Plan(
            query=sql,
            parameters=parameters,
            sql=rewritten.text.replace(self._token, ""),
            columns=output,
            columns_used=rewritten.columns_used,
            ordered=rewritten.ordered,
            whole=rewritten.whole,
            content_digest=self._spec.content_digest,
        )
        self._plans[key] = rewritten, plan
        if len(self._plans) > PLANS_KEPT:
            self._plans.popitem(last=False)
        return rewritten, plan, relation

    def _typed(self, rewritten: Rewritten) -> tuple[duckdb.DuckDBPyRelation | None, tuple[Column, ...]]:
        """The columns of an answer, and the relation that told them; those of a noised one are known beforehand."""
        if rewritten.question is not None:
            return None, rewritten.question.columns
        relation = self._connection.sql(rewritten.text)
        return relation, _output(relation)

    def _open(self) -> list[Relation]:
        parts = self._spec.parts
        names = iter(table_names([(schema_name(p.agreement), t.name) for p in parts for t in p.governed.tables]))
        rules = strictest([part.governed for part in parts])
        return [
            relation
            for number, (part, rule) in enumerate(zip(parts, rules, strict=True))
            for relation in self._open_part(number, part, rule, names)
        ]

    def _open_part(
        self, number: int, part: SessionSpec, rule: AggregateRule | None, names: Iterator[TableName]
    ) -> Iterator[Relation]:
        """Everything of one agreement in a schema of its own: the secrets of its masks and marks, its tables."""
        connection, schema = self._connection, self._schemas[number]
        database = f"{reading.DATABASE}{self._token}n{number}"
        if part.source.kind == "duckdb":  # a file that two products share is opened once: a second time is refused
            database = self._databases.setdefault(part.source.location, database)
        opened = reading.open_source(connection, part.source, self._secrets, database, part.columns)
        self._opened.append(opened)
        connection.execute(f'CREATE SCHEMA "{schema}"')
        self._create_hash(part, schema)
        self._create_mark(part, schema)
        for count, table in enumerate(part.governed.tables):
            place = f"t{number}_{count}" if number else f"t{count}"
            relation = self._open_table(part, schema, place, table, opened.readers.get(table.name))
            yield dataclasses.replace(relation, called=next(names), rule=rule)

    def _create_hash(self, part: SessionSpec, schema: str) -> None:
        """The keyed hash as a macro: its key stands in no text of a query."""
        key = part.hash_key
        masks = [mask for table in part.governed.tables for mask in table.masks]
        if not any(mask.method in KEYED_METHODS for mask in masks):
            return
        if len(key) < MIN_HASH_KEY_BYTES:
            raise error("INTERNAL", "a keyed mask needs a key of this agreement")
        self._connection.execute(masking.hash_macro(schema, key))

    def _create_mark(self, part: SessionSpec, schema: str) -> None:
        """The mark of this copy as a macro: its secrets stand in no text of a query."""
        if not any(table.mark for table in part.governed.tables):
            return
        if part.mark is None:
            raise error("INTERNAL", "a marked copy needs the secrets of its agreement")
        self._connection.execute(fingerprint.macro_sql(schema, part.mark))

    def _open_table(
        self, part: SessionSpec, schema: str, place: str, table: GovernedTable, reader: reading.Reader | None
    ) -> Relation:  # fmt: skip
        if reader is None:
            raise unenforceable(f"the source has no table {table.name}", table.name)
        rule = part.governed.aggregate
        found = columns(reader.table().columns)
        person = rule.person if rule else None
        needed = sorted(governing.needed_columns(table, person))
        reading.check_registered(table.name, found, part.columns.get(table.name, ()), needed)
        self._check_constants(governing.row_filter(table.rows, found) if table.rows else None, table.name)
        units = {name: f"p{self._token}n{n}" for n, name in enumerate(governing.counted_units(table, person))}
        select = governing.governed_select(table, found, schema=schema, place=place, units=units)
        item = reader.item(needed, table.rows)
        rows = markers.Rows(item, table, found, needed, part.mark.seed if part.mark else b"")
        if self._create_place(markers.Place(schema, place), rows, reader.size_bytes()):
            reader.release()
        called = TableName(schema_name(part.agreement), table.name, reading.folded(table.name))
        shown = governing.governed_schema(table, found)
        return Relation(called, shown, select, place, uses=table.uses, units=units)

    def _create_place(self, place: markers.Place, rows: markers.Rows, size_bytes: int | None) -> bool:
        """Copy a small table into memory (True), leave a larger one where it is (False)."""
        listed = ", ".join(reading.quoted_name(column) for column in rows.needed)
        reader = self._with_markers(place.beside("markers"), rows)
        if size_bytes is None or size_bytes > self._spec.limits.load_bytes // len(self._spec.parts):
            self._is_streamed = True
            self._connection.execute(f"CREATE VIEW {place.sql} AS SELECT {listed} FROM {reader}")
            return False
        self._connection.execute(f"CREATE TABLE {place.sql} AS SELECT {listed} FROM {reader}{rows.where}")
        return True

    def _with_markers(self, place: markers.Place, rows: markers.Rows) -> str:
        """The rows of the source, with the marker rows of this copy where the terms declare some."""
        if rows.table.mark is None or not rows.table.mark.marker_rows:
            return rows.reader
        if not markers.create(self._connection, place, rows):
            return rows.reader
        return markers.reader(self._connection, place, rows)

    def _check_constants(self, tree: exp.Expr | None, name: str) -> None:
        """Each value of a rule once, so that one which does not fit its column fails here and not at a consumer."""
        if tree is None:
            return
        constants = [cast for cast in tree.find_all(exp.Cast) if cast.find(exp.Column) is None]
        for text in (one.sql("duckdb") for one in [*constants, *masking.patterns(tree)]):
            try:
                self._connection.sql(f"SELECT {text}").fetchall()
            except duckdb.Error as failure:
                raise unenforceable("a value of a mask or of the row filter does not fit its column", name) from failure

    def _check_relations(self, relations: Sequence[Relation]) -> None:
        """Bind each sub-select once, so that a policy that cannot be applied fails here and not at a consumer."""
        for relation in relations:
            self._check_constants(relation.select, relation.name)
            try:
                self._connection.sql(f"{relation.select.sql('duckdb', identify=True)} LIMIT 0").fetchall()
            except duckdb.Error as failure:
                raise unenforceable("a mask or the row filter does not fit the source", relation.name) from failure


def _loggable(failure: Exception) -> str:
    return failure.message if isinstance(failure, TrustnodeError) else type(failure).__name__


def _connect(spec: SessionSpec) -> duckdb.DuckDBPyConnection:
    config: dict[str, str | bool | int | float | list[str]] = dict(_STATIC_CONFIG)
    config["memory_limit"] = f"{spec.limits.memory_bytes}B"
    config["threads"] = str(spec.limits.threads)
    connection = duckdb.connect(":memory:", config=config)
    # Not possible in the config above: the time zone setting comes with an extension that is loaded after it.
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    return connection


def _lock(connection: duckdb.DuckDBPyConnection, spec: SessionSpec) -> None:
    """No file but those of the source, no setting, from here on."""
    found = {str(path) for part in spec.parts for path in reading.engine_files(part.source)}
    paths = ", ".join(map(reading.quoted_text, sorted(found)))
    connection.execute(f"SET allowed_paths = [{paths}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _output(relation: duckdb.DuckDBPyRelation) -> tuple[Column, ...]:
    found = []
    for name, kind in zip(relation.columns, relation.types, strict=True):
        word = reading.type_word(str(kind))
        if word is None:
            raise invalid(f"the column {name[:64]} has a type that is not delivered; cast it")
        found.append(_named(name, word))
    return tuple(found)


def _named(name: str, word: str) -> Column:
    try:
        return Column(name=name, type=word)
    except ValueError as failure:
        raise invalid("a column of the answer has a name that cannot be used; give it another with AS") from failure
