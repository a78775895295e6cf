"""What it costs to govern a query: a new plan, each mask; and what the corpora let through or refuse.

The corpora stand in `tests/conformance/sql`. A mask is measured over a million rows against reading the column as it is.
"""

from __future__ import annotations

import logging
import statistics
import sys
import tempfile
import tomllib
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from harness import Result, at_most, seconds

sys.path.insert(0, str(Path(__file__).parents[1]))

from node.engine.world import AGGREGATES, PLAIN, orders_table, shops_table

from trustnode.core.policy.governed import Governed, GovernedTable, Mask, Use
from trustnode.engine.message import RunLimits, SessionSpec
from trustnode.engine.session import Session
from trustnode.engine.source import Source
from trustnode.errors import TrustnodeError

NAMES = ("plan", "masks", "corpus")
ROWS = 1_000_000
CORPORA = Path(__file__).parents[1] / "conformance" / "sql"
AGGREGATE = (
    "select zip, count(*) n, avg(price) a from orders where id > 10 and city like 'B%' "
    "group by zip having count(*) >= 5 order by n desc limit 10"
)
MASKS = [
    Mask("mail", "null"), Mask("mail", "constant", "***"), Mask("mail", "hash"), Mask("mail", "hash", "16"),
    Mask("digits", "token"), Mask("mail", "first", "3"), Mask("digits", "last", "4"), Mask("mail", "domain"),
    Mask("city", "only", "city1, city2"), Mask("mail", "redact", "[a-z]+[0-9]+"), Mask("ip", "network"),
    Mask("born", "year"), Mask("born", "quarter"), Mask("born", "month"), Mask("amount", "round", "-2"),
    Mask("number", "bucket", "500"),
]  # fmt: skip


def run(only: str) -> list[Result]:
    """Measure."""
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)  # it prints what it does not understand
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        results = []
        if only in ("", "plan", "corpus"):
            pq.write_table(orders_table(), path / "orders.parquet")
            pq.write_table(shops_table(), path / "shops.parquet")
            results += _plans(path) if only != "corpus" else []
            results += _corpora(path) if only != "plan" else []
        if only in ("", "masks"):
            results += _masks(path)
        return results


def _session(governed: Governed, source: Source, load_bytes: int = 512 << 20) -> Session:
    limits = RunLimits(load_bytes=load_bytes, memory_bytes=2 << 30)
    return Session(
        SessionSpec(
            agreement="urn:agreement:1", policy_digest="p", data_version="v", source=source, governed=governed,
            hash_key=b"k" * 32, limits=limits,
        )
    )  # fmt: skip


def _shop(path: Path) -> Source:
    return Source("parquet", str(path), {"orders": "orders.parquet", "shops": "shops.parquet"})


def _plans(path: Path) -> list[Result]:
    """A query nobody has asked before: parse, check, rewrite, parse again, bind."""
    orders, shops = PLAIN.tables
    ruled = Governed(
        (GovernedTable("orders", orders.columns, orders.masks, orders.rows, uses=(Use("paid", "filter"),)), shops)
    )
    numbers = range(100, 300)
    plain, held = (
        statistics.median(_plan(session, AGGREGATE.replace("10", str(n), 1)) for n in numbers)
        for session in (_session(PLAIN, _shop(path)), _session(ruled, _shop(path)))
    )
    session = _session(PLAIN, _shop(path))
    small = statistics.median(_plan(session, f"select id from orders where id = {n}") for n in numbers)
    note = f"an aggregate; with a column rule {held:.2f}; one row by its key {small:.2f}"
    return [at_most("plan", "ms", plain, 10, note)]


def _plan(session: Session, sql: str) -> float:
    return seconds(lambda: session.plan(sql, ())) * 1000


def _corpora(path: Path) -> list[Result]:
    plain, aggregates = _session(PLAIN, _shop(path)), _session(AGGREGATES, _shop(path))
    hostile = [(plain, case["sql"]) for case in _read("hostile")["case"]]
    hostile += [(aggregates, case["sql"]) for case in _read("aggregate")["refused"]]
    ordinary = [(plain, case["sql"], tuple(case.get("parameters", ()))) for case in _read("ordinary")["case"]]
    escapes = sum(not _is_refused(session, sql, ()) for session, sql in hostile)
    refused = sum(_is_refused(*case) for case in ordinary)
    return [
        at_most("corpus", "escapes", escapes, 0, f"of {len(hostile)} hostile statements"),
        at_most("corpus", "refused", refused, 0, f"of {len(ordinary)} ordinary queries"),
    ]


def _read(name: str) -> dict[str, list[dict[str, str]]]:
    return tomllib.loads((CORPORA / f"{name}.toml").read_text(encoding="utf-8"))


def _is_refused(session: Session, sql: str, parameters: tuple[object, ...]) -> bool:
    try:
        session.run(sql, parameters, "")[1].fetchall()
    except (TrustnodeError, duckdb.Error):
        return True
    return False


def _masks(path: Path) -> list[Result]:
    numbers = range(ROWS)
    with duckdb.connect() as db:
        table = db.sql(
            "select range id, 'user' || range || '@mail.example' mail, lpad((range * 7919 % 10000000000)::varchar, 10, '0') "
            "digits, 'city' || range % 500 city, '10.' || range % 250 || '.' || range % 199 || '.' || range % 251 ip, "
            "(date '1950-01-01' + (range % 25000)::int) born, (range % 1000) * 13.37::double amount, range number "
            f"from range({len(numbers)})"
        ).to_arrow_table()
    pq.write_table(table.cast(pa.schema(table.schema)), path / "m.parquet")
    source = Source("parquet", str(path / "m.parquet"))
    plain = {}
    found = []
    for mask in MASKS:
        base = plain.setdefault(
            mask.column, _read_all(Governed((GovernedTable("m", (mask.column,)),)), source, mask.column)
        )
        took = _read_all(Governed((GovernedTable("m", (), (mask,)),)), source, mask.column)
        words = f"{mask.method} {mask.parameter}".strip()
        found.append(Result(f"mask {words}", (took - base) * 1000, "ms more", "as it is, ms", base * 1000))
    return found


def _read_all(governed: Governed, source: Source, column: str) -> float:
    session = _session(governed, source)
    sql = f"select count({column}) n, min({column}) m from m"
    return statistics.median(seconds(session.run(sql, (), "")[1].fetchall) for _ in range(3))
