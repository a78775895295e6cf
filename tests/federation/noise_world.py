"""A product whose answers are noised, and one whose answers are exact: the same persons, two venues."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
from federation.world import PRODUCT

PERSONS = 4000
KEYS = ("north", "south", "empty")
TERMS = """
[[offer]]
name = "{name}"
price = "free"
approval = "automatic"
[offer.terms]
purposes = ["statistics"]
who = "anyone"
period = "12 months"
result = "aggregates"
person = "id"
group_by = ["grp", "age"]
measures = ["count", "sum pay", "avg pay"]
min_group = {min_group}
keep = "unlimited"
onward = "results"
"""
NOISE = """
[offer.terms.noise]
epsilon_per_query = {one}
epsilon_in_all = {total}
per = "year"
delta = 1e-7
clamp = {{ pay = [0, 100] }}
groups_per_person = 1
rows_per_group = 1
keys = {{ grp = {keys} }}
"""


def write_persons(folder: Path) -> None:
    """One person has a pay and an age that nobody shares."""
    with duckdb.connect() as db:
        db.execute(
            "copy (select i::bigint id, case when i % 4 = 0 then 'south' else 'north' end grp,"
            f" (20 + i % 60)::int age, (i * 7919) % 100 pay from range({PERSONS}) t(i)"
            f" union all select {PERSONS}, 'north', 99, 77) to '{folder / 'persons.parquet'}'"
        )


def product(name: str, offers: Sequence[str]) -> str:
    """A product file; the source statement is the same whatever the name."""
    return PRODUCT.format(name=name, file="persons") + "".join(offers)


def exact(name: str = "exact", min_group: int = 10) -> str:
    """An offer of exact answers of groups."""
    return TERMS.format(name=name, min_group=min_group)


def noised(name: str = "noised", one: str = "0.5", total: str = "1", keys: Sequence[str] = KEYS) -> str:
    """An offer of noised answers."""
    listed = "[" + ", ".join(f'"{key}"' for key in keys) + "]"
    return TERMS.format(name=name, min_group=2) + NOISE.format(one=one, total=total, keys=listed)


async def ask(agreement: Any, sql: str) -> list[dict[str, Any]]:
    """The rows of an answer."""
    table = await agreement.sql(sql).to_arrow()
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
