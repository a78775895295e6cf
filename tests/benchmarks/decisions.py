"""One policy decision, compiled, against the cost of an empty function call."""

from __future__ import annotations

import statistics
import time
import tomllib
from datetime import UTC, datetime
from pathlib import Path

from harness import Result, at_most

import trustnode.demo
from trustnode.core.policy import compile as compiler
from trustnode.core.policy import compiled, odrl
from trustnode.core.policy import terms as readable
from trustnode.core.policy.schema import Column

NAMES = ("decision",)


def run(_only: str) -> list[Result]:
    """Measure."""
    file = Path(trustnode.demo.__file__).parent / "products" / "loans.toml"
    offer = tomllib.loads(file.read_text(encoding="utf-8"))["offer"][0]
    terms = readable.decode(offer["terms"])
    names = [*offer["terms"]["columns"], "application_type", "emp_title"]
    schema = tuple(Column(name=n, type="utf8") for n in names) + tuple(
        Column(name=n, type="int64") for n in ("annual_income", "earliest_credit_line")
    )
    now = datetime(2026, 12, 1, tzinfo=UTC)
    policy = compiler.compile_terms(
        terms, price=offer["price"], schema=schema, zone="Asia/Shanghai", level="GENERAL_3", at=now
    )
    agreed = odrl.agreement(policy, target="p", assigner="a", assignee="c")
    ready = compiled.load(agreed)
    request = compiled.Request(
        operation="read", purpose="credit-scoring", now=now, start=now, consumer="c", roles=frozenset({"CONSUMER"}),
        venue="zj.example", areas=frozenset({"CN", "33", "3300"}), assurance=frozenset({"organisation-checked"}),
    )  # fmt: skip
    if ready.decide(request).outcome != "ALLOW":
        raise RuntimeError(str(ready.decide(request)))
    times = []
    for _ in range(50):
        started = time.perf_counter()
        for _ in range(1000):
            ready.decide(request)
        times.append((time.perf_counter() - started) * 1000)
    return [at_most("decision", "us", statistics.median(times), 5.0, "the loans policy of the demonstration, allowed")]
