"""What the mark of a copy costs, how much of a copy names its recipient, and how long finding him takes."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
from harness import Result

from trustnode.core import tracing
from trustnode.core.policy.governed import Governed, GovernedTable, Mark
from trustnode.engine.leak import Copies, Original, Suspicious
from trustnode.engine.message import RunLimits, SessionSpec
from trustnode.engine.session import Session
from trustnode.engine.source import Source

ROWS = 1_000_000
ROUNDS = 5
NUMBER = 20
THREADS = RunLimits().threads
MOST_MS = 300
GOAL = f"+{MOST_MS * THREADS} ms"
SHARES = (0.3, 0.5, 1.0, 5.0)
"""Per cent of the rows of a copy that turn up."""
RECIPIENTS = [tracing.recipient(b"s" * 32, "venue.example/p", f"C{number}") for number in range(NUMBER)]
MARK = Mark("price", "0.01", "id")


def _session(source: Source, mark: Mark | None) -> Session:
    table = GovernedTable("t", ("id", "price", "town"), mark=mark)
    return Session(
        SessionSpec(
            agreement="C3", policy_digest="", data_version="", source=source, governed=Governed((table,)),
            mark=RECIPIENTS[3].secret, limits=RunLimits(load_bytes=0),
        )
    )  # fmt: skip


def _processor_ms(work: Callable[[], Any]) -> float:
    """Processor time of all threads: what a mark costs does not depend on who else is on the machine."""
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1e3


def _all_rows(session: Session) -> Callable[[], Any]:
    def read() -> Any:
        return session.run("SELECT * FROM t", (), "")[1].to_arrow_table()

    return read


def run(_only: str) -> list[Result]:
    """Measure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        duckdb.sql(
            f"COPY (SELECT range::BIGINT AS id, ((range * 7919) % 100000)::DECIMAL(12, 2) AS price, "
            f"'t' || (range % 9) AS town FROM range({ROWS})) TO '{folder / 't.parquet'}'"
        )
        source = Source("parquet", str(folder / "t.parquet"))
        plain, marked = _all_rows(_session(source, None)), _all_rows(_session(source, MARK))
        plain(), marked()  # opened, and the file is in memory
        times = [(_processor_ms(plain), _processor_ms(marked)) for _ in range(ROUNDS)]
        base, value = (statistics.median(one) for one in zip(*times, strict=True))
        added = value - base
        note = (
            f"+{added:.0f} ms of one processor a million rows, {added / THREADS:.0f} ms with the {THREADS} of a session"
        )
        found = [Result("mark", value, "ms", "no mark", base, value / base, GOAL, added <= MOST_MS * THREADS, note)]
        return [*found, _traced(folder, source, marked())]


def _traced(folder: Path, source: Source, copy: Any) -> Result:
    """Bits that are seen of a sample, and the least sample that names the right one and nobody else."""
    notes, named, seconds = [], [], 0.0
    for share in SHARES:
        sample = folder / "sample.parquet"
        sample.unlink(missing_ok=True)
        with duckdb.connect() as db:
            db.register("copy_", copy)
            db.execute(f"COPY (FROM copy_ USING SAMPLE {share}% (bernoulli, 7)) TO '{sample}'")
        started = time.perf_counter()
        with Original(source, "t", Suspicious(sample, "", "")) as rows:
            bits = tracing.observed(rows.count(Copies(_TABLE, RECIPIENTS[0].secret.key, b"")).votes)
        seconds = max(seconds, time.perf_counter() - started)
        suspects = tracing.suspects(bits, RECIPIENTS)
        accused = [one.name for one in suspects if one.is_accused]
        notes.append(f"{share} %: {suspects[0].seen} bits, {suspects[0].chance:.0e}")
        named += [share] if accused == ["C3"] else []
    note = f"{'; '.join(notes)}; of {NUMBER} recipients"
    return Result("trace", min(named), "%", "slowest, s", seconds, 0.0, "<= 1 %", min(named) <= 1, note)


_TABLE = GovernedTable("t", (), mark=MARK)
