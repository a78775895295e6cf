"""The three offers of the reference page, with the columns they are about."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from trustnode.core.policy import odrl
from trustnode.core.policy.compile import compile_terms
from trustnode.core.policy.compiled import CompiledPolicy, Request, load
from trustnode.core.policy.odrl import Policy
from trustnode.core.policy.schema import Column, Schema
from trustnode.core.policy.terms import Terms, decode

NOW = datetime(2026, 12, 15, 12, tzinfo=UTC)
START = datetime(2026, 12, 10, tzinfo=UTC)
PUBLISHED = datetime(2026, 11, 24, tzinfo=UTC)
CONSUMER = "spiffe://zj.example/participant/acme"

FLIGHTS: Schema = (
    Column(name="origin", type="utf8"),
    Column(name="arr_delay", type="float64"),
    Column(name="time_hour", type="timestamp"),
)
LOANS: Schema = (
    Column(name="emp_title", type="utf8"),
    Column(name="state", type="utf8"),
    Column(name="annual_income", type="float64"),
    Column(name="application_type", type="utf8"),
    Column(name="earliest_credit_line", type="int32"),
    Column(name="loan_purpose", type="utf8"),
    Column(name="loan_amount", type="int64"),
    Column(name="term", type="int64"),
    Column(name="interest_rate", type="decimal(5,2)"),
    Column(name="grade", type="utf8"),
    Column(name="issued", type="date32"),
    Column(name="loan_status", type="utf8"),
    Column(name="joint", type="bool"),
)
PATIENTS: Schema = (
    Column(name="id", type="int64"),
    Column(name="age", type="int32"),
    Column(name="male", type="int8"),
    Column(name="bmi", type="float64"),
    Column(name="status", type="int8"),
)

OPEN: dict[str, Any] = {
    "purposes": "any",
    "who": "anyone",
    "period": "24 months",
    "columns": "all",
    "limits": ["200 reads per day"],
    "keep": "unlimited",
    "onward": "allowed",
    "duties": ["name the source"],
}
SCORING: dict[str, Any] = {
    "purposes": ["credit-scoring"],
    "not_for": ["marketing"],
    "who": ["role:CONSUMER", "assurance:organisation-checked"],
    "places": ["CN"],
    "period": "2026-12-01 to 2027-11-30",
    "rows": "application_type = 'individual'",
    "columns": ["grade", "interest_rate", "term", "loan_amount", "loan_purpose", "state", "loan_status"],
    "masks": {"annual_income": "bucket 10000", "emp_title": "hash", "earliest_credit_line": "bucket 5"},
    "limits": ["50 reads per day", "2000000 rows in all"],
    "keep": "90 days",
    "onward": "forbidden",
    "derived": "same terms",
    "duties": ["pay within 30 days", "report use monthly", "report a leak within 24 hours"],
}
STATISTICS: dict[str, Any] = {
    "purposes": ["academic-research", "public-health"],
    "who": ["role:CONSUMER"],
    "period": "12 months",
    "result": "aggregates",
    "person": "id",
    "group_by": ["age", "male"],
    "masks": {"age": "bucket 10"},
    "measures": ["count", "sum status", "avg bmi"],
    "min_group": 20,
    "limits": ["20 reads per day"],
    "keep": "unlimited",
    "onward": "results",
    "duties": ["name the source"],
}
NOISE: dict[str, Any] = {
    "epsilon_per_query": "0.5",
    "epsilon_in_all": 1,
    "per": "year",
    "delta": "1e-7",
    "clamp": {"status": [0, 1], "bmi": [10, 70]},
    "groups_per_person": 1,
    "rows_per_group": 1,
    "keys": {"age": [10, 20, 30], "male": [0, 1]},
}

OFFERS: dict[str, tuple[dict[str, Any], str, Schema, str]] = {
    "open": (OPEN, "free", FLIGHTS, "GENERAL_1"),
    "scoring": (SCORING, "0.02 CNY per row", LOANS, "GENERAL_3"),
    "statistics": (STATISTICS, "50 CNY per read", PATIENTS, "GENERAL_4"),
}


def compiled_offer(name: str, **changes: Any) -> Policy:
    """One of the three offers with some terms changed; ``None`` takes a key out; ``price``, ``level`` besides."""
    terms, price, schema, level = OFFERS[name]
    changes = dict(changes)
    price = changes.pop("price", price)
    level = changes.pop("level", level)
    changed = {key: value for key, value in {**terms, **changes}.items() if value is not None}
    return compiled(decode(changed), price=price, schema=schema, level=level)


def compiled(terms: Terms, *, price: str, schema: Schema, level: str) -> Policy:
    """Compile as the demo's venues do."""
    return compile_terms(terms, price=price, schema=schema, zone="Asia/Shanghai", level=level, at=PUBLISHED)


def agreed(offer: Policy) -> CompiledPolicy:
    """The offer as an agreement in force with ``CONSUMER``, ready to decide."""
    return load(
        odrl.agreement(
            offer, target="gz.example/product", assigner="spiffe://gz.example/participant/p", assignee=CONSUMER
        )
    )


def agreed_offer(name: str, **changes: Any) -> CompiledPolicy:
    """``compiled_offer`` in force."""
    return agreed(compiled_offer(name, **changes))


def request(**changes: Any) -> Request:
    """A request that all three offers allow, apart from the operation, with some attributes changed."""
    facts: dict[str, Any] = {
        "operation": "read",
        "purpose": "credit-scoring",
        "now": NOW,
        "start": START,
        "consumer": CONSUMER,
        "roles": frozenset({"CONSUMER"}),
        "venue": "zj.example",
        "areas": frozenset({"CN", "33", "3300"}),
        "assurance": frozenset({"organisation-checked"}),
    }
    return Request(**{**facts, **changes})
