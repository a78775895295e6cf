"""``product new``: the draft of a product file.

Decides: that every mandatory field stands in it with a comment, the schema already read. Leaves to others: reading the
source (the caller passes ``describe``), checking what a person made of it (``product_file``).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from trustnode.core.catalog import Table
from trustnode.core.policy.schema import Column
from trustnode.errors import error
from trustnode.sdk.product_file import Describe, Where

SUFFIXES: Final = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".ndjson": "json",
    ".jsonl": "json",
    ".duckdb": "duckdb",
    ".db": "duckdb",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
}
_PERSONAL: Final = re.compile(
    r"name|birth|phone|mobile|mail|address|passport|id_?card|ssn|姓名|电话|身份证|住址", re.IGNORECASE
)
FILL: Final = "..."
"""What a person replaces; a file with it in a closed place is refused at check."""


def draft(path: Path, describe: Describe, beside: Path) -> str:
    """The text of a product file for the source at ``path``.

    Args:
        path: File with the data.
        describe: Reads its schema.
        beside: Folder in which the draft will lie; the location in it is relative to that.

    Raises:
        TrustnodeError: FIELD_FORMAT for a file of no known kind, and the reasons of ``describe``.
    """
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise error("FIELD_FORMAT", f"{path.name}: a source ends in one of {', '.join(SUFFIXES)}", field="location")
    tables = describe(Where(kind, str(path.resolve())))
    name = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-") or "product"
    return "\n".join(
        [
            *_product(name, tables),
            "",
            *_resource(kind, os.path.relpath(path.resolve(), beside.resolve()), tables[0]),
            "",
            *_offer(tables[0].columns),
            "",
        ]
    )


def _line(key: str, value: str, comment: str) -> str:
    return f"{key} = {value}".ljust(42) + f" # {comment}"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _product(name: str, tables: Sequence[Table]) -> list[str]:
    rows = [f"{table.rows:,} rows" for table in tables if table.rows]
    return [
        "[product]",
        _line("name", _text(name), "the handle's second half, for ever"),
        _line("title", _text(name), "for people; title_zh = the same in Chinese"),
        _line("abstract", _text(", ".join(rows) or FILL), "what it is and what it is good for"),
        _line("provider", _text(FILL), "an enrolled participant"),
        _line("licence", _text("contract only"), "or the name of a licence"),
        _line("category", _text("ENTERPRISE"), "trustnode words category"),
        _line("level", _text("GENERAL_2"), "trustnode words level"),
        _line("level_basis", _text(FILL), "why this level"),
        'classes = { topic = "...", scene = "...", industry = "0000" }   # trustnode words topic, scene, industry',
        'facts = { form = "DATASET", updates = "HISTORICAL", source = "ORIGINAL" }',
        '# kind: NONE, ORDINARY, SENSITIVE, MINOR; ANONYMISED needs method = "FILE"; PERSONAL, MIXED need legal_basis',
        'personal = { kind = "NONE", processing = "RAW" }',
        _line("source_statement", _text(FILL), "where the data come from: text, or a file; it stays home"),
        'rights = [{ right = ["HOLD", "OPERATE"], holder = "...", basis = "..." }]   # who may hold, use, operate; why',
        _line("cross_border", "false", "may they leave the country"),
        _line("zone", _text("Asia/Shanghai"), "whole days in the terms are days there"),
    ]


def _resource(kind: str, location: str, table: Table) -> list[str]:
    return [
        _line("[resource]", "", "never leaves home").replace("[resource] = ", "[resource]   "),
        _line("kind", _text(kind), "parquet, csv, json, duckdb, sqlite, postgres, s3"),
        _line("location", _text(location), "relative to this file"),
        _line("table", _text(table.name), "its name in SQL"),
    ]


def _offer(columns: Sequence[Column]) -> list[str]:
    return [
        "[[offer]]",
        _line("name", _text("open"), "what buyers choose it by"),
        _line("price", _text("free"), "free | N CNY once, per month, per read, per row"),
        _line("approval", _text("automatic"), "automatic | provider | provider and venue"),
        "",
        "[offer.terms]",
        _line("purposes", '["statistics"]', 'trustnode words purpose; or "any"'),
        _line("who", '["role:CONSUMER"]', 'role: assurance: participant: venue: space:; or "anyone"'),
        _line("period", _text("12 months"), "from signing; or 2026-12-01 to 2027-11-30"),
        "# a column that does not stand here is not delivered; move what must be masked into masks",
        "columns = [",
        *(f"  {_text(column.name)},{_remark(column)}" for column in columns),
        "]",
        '# masks = { column = "hash" }             # null, bucket N, round N, year, first N: words mask',
        '# uses = { column = "filter" }            # or join, aggregate N: a column that is not for every use',
        "# rows = \"column = 'value'\"               # only rows that satisfy it",
        _line("limits", '["200 reads per day"]', "N reads, rows, KB, MB, GB per day ... or in all"),
        _line("keep", _text("90 days"), "no copy | N days | unlimited"),
        _line("onward", _text("forbidden"), "forbidden | results | with these terms | allowed"),
        "",
        "[[test]]                                   # trustnode policy test FILE",
        _line("name", _text("whoever asks for another purpose"), "as many tests as make you sure"),
        _line("purpose", _text("marketing"), "the claim"),
        _line("who", '["role:CONSUMER"]', "and places, time, operation, sql"),
        _line("expect", _text("PURPOSE_NOT_AGREED"), "or allow"),
    ]


def _remark(column: Column) -> str:
    guess = "; may say something about persons" if _PERSONAL.search(column.name) else ""
    return f"{' ' * max(1, 32 - len(column.name))}# {column.type}{guess}"
