# ruff: noqa: DTZ001 - timestamps of the source have no zone
"""A source with visible and hidden rows and columns, policies on it, and the SQL corpora."""

from __future__ import annotations

import datetime as dt
import random
import tomllib
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

from trustnode.core.policy.governed import AggregateRule, Comparison, Governed, GovernedTable, Mask, Measure

CORPORA = Path(__file__).parents[2] / "conformance" / "sql"
CITIES = ("Bonn", "Berlin", "Köln", "Essen", "Bonn", None)
ROWS = 600
SECRETS = ("hidden-tenant", "s3cret", "raw-person")
"""Texts that stand only in what the policy hides."""


def orders_table(rows: int = ROWS) -> pa.Table:
    chance = random.Random(7)
    day = dt.date(2024, 1, 1)
    return pa.table(
        {
            "id": pa.array(range(rows), pa.int64()),
            "city": [chance.choice(CITIES) for _ in range(rows)],
            "zip": pa.array([10000 + chance.randrange(6) for _ in range(rows)], pa.int32()),
            "price": [round(chance.random() * 100, 3) for _ in range(rows)],
            "Total Amount": pa.array(
                [Decimal(chance.randrange(100000)) / 100 for _ in range(rows)], pa.decimal128(12, 2)
            ),
            "quantity": pa.array([chance.randrange(1, 9) for _ in range(rows)], pa.int32()),
            "bought": [day + dt.timedelta(days=chance.randrange(300)) for _ in range(rows)],
            "sold_at": [
                dt.datetime(2024, 1, 1) + dt.timedelta(seconds=chance.randrange(20_000_000)) for _ in range(rows)
            ],
            "paid": [chance.random() < 0.6 for _ in range(rows)],
            "email": [f"raw-person{i}@{chance.choice(('a.example', 'b.example'))}" for i in range(rows)],
            "name": [f"raw-person {i}" for i in range(rows)],
            "person": [f"raw-person-{i % 40}" for i in range(rows)],
            "secret": [f"s3cret{i}" for i in range(rows)],
            "tenant": [chance.choice(("open", "hidden-tenant")) for _ in range(rows)],
        }
    )


def shops_table() -> pa.Table:
    return pa.table(
        {
            "zip": pa.array([10001, 10002, 10003, 10009], pa.int32()),
            "opened": [dt.date(2000 + i, 1, 1) for i in range(4)],
        }
    )


ORDERS = GovernedTable(
    "orders",
    ("id", "city", "zip", "price", "Total Amount", "quantity", "bought", "sold_at", "paid"),
    (Mask("email", "domain"), Mask("name", "hash")),
    Comparison("tenant", "=", ("open",)),
)
SHOPS = GovernedTable("shops", ("zip", "opened"))
PLAIN = Governed((ORDERS, SHOPS))
AGGREGATES = Governed(
    (GovernedTable("orders", ("zip", "city", "price", "quantity"), rows=Comparison("tenant", "=", ("open",))),),
    AggregateRule(
        "person",
        ("zip", "city"),
        (Measure("count"), Measure("sum", "quantity"), Measure("avg", "price"), Measure("stddev", "price")),
        5,
    ),
)


def read_corpus(name):
    with (CORPORA / f"{name}.toml").open("rb") as file:
        return tomllib.load(file)
