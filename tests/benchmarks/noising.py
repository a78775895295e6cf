"""Answers with noise: the error of a count against the theory, and the time that bounding and noise take."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import duckdb
from harness import Result, at_most, seconds

from trustnode.core.policy.governed import AggregateRule, Clamp, Governed, GovernedTable, KeyValues, Measure, NoiseRule
from trustnode.engine import release
from trustnode.engine.message import RunLimits, SessionSpec
from trustnode.engine.session import Session
from trustnode.engine.source import Source

ROWS, PERSONS, GROUPS = 1_000_000, 250_000, 7
SQL = "select zip, count(*) n, avg(pay) m from t group by zip"
COUNT = "select zip, count(*) n from t group by zip"
DRAWS = 60


def run(_only: str) -> list[Result]:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.parquet"
        duckdb.sql(
            f"select i % {PERSONS} id, i % {GROUPS} zip, (i * 7919) % 1000 / 10 pay from range({ROWS}) t(i)"
        ).write_parquet(str(path))
        exact, noised = _session(path, noisy=False), _session(path, noisy=True)
        times = [(seconds(lambda: _ask(exact, SQL)), seconds(lambda: _ask(noised, SQL))) for _ in range(5)]
        plain, with_noise = (statistics.median(part) * 1000 for part in zip(*times, strict=True))
        question = noised._planned(COUNT, ())[0].question
        errors, width = _errors(noised, question)
    ratio = statistics.stdev(errors) / width
    note = f"{len(errors)} draws, deviation {statistics.stdev(errors):.2f}, theory {width:.2f}"
    time = f"a million rows, {PERSONS:,} persons; exact: {plain:.0f} ms"
    return [
        at_most("noise_time", "ms", with_noise, 2000, time),
        at_most("noise_error", "x", ratio, 1.25, note),
    ]


def _errors(session: Session, question: object) -> tuple[list[int], float]:
    """Noise of the counts alone, against the deviation that the share of rho asks for."""
    statistic = release.Statistic("units", 1.0)
    rho = release.shares(question).rho
    return release.noised([0] * (GROUPS * DRAWS), statistic, rho), release.scale_of(statistic, rho)


def _ask(session: Session, sql: str) -> object:
    _, answer = session.run(sql, (), session.plan(sql, ()).sql)
    return answer.to_arrow_reader(1000).read_all()


def _session(path: Path, *, noisy: bool) -> Session:
    noise = NoiseRule(
        rho=15_047_247, groups_per_person=1, rows_per_group=4, clamps=(Clamp("pay", "0", "100"),),
        keys=(KeyValues("zip", tuple(map(str, range(GROUPS)))),),
    )  # fmt: skip
    rule = AggregateRule("id", ("zip",), (Measure("count"), Measure("avg", "pay")), 20, noise if noisy else None)
    return Session(
        SessionSpec(
            agreement="bench", policy_digest="p", data_version="v", source=Source("parquet", str(path), {"t": path.name}),
            governed=Governed((GovernedTable("t", ("zip", "pay")),), rule),
            limits=RunLimits(memory_bytes=1 << 30),
        )
    )  # fmt: skip
