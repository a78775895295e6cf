"""What every benchmark needs: pairs measured in turn, medians, one row of the table."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

PAIRS = 5


@dataclass(frozen=True)
class Result:
    """One row."""

    name: str
    value: float
    unit: str
    baseline: str = ""
    baseline_value: float | None = None
    ratio: float | None = None
    goal: str = ""
    held: bool | None = None
    note: str = ""

    def as_dict(self) -> dict[str, object]:
        """The row as `build/bench.json` has it."""
        return asdict(self)


def against(
    name: str, unit: str, values: list[float], baseline: str, bases: list[float], *, at_least: float, note: str = ""
) -> Result:
    """A rate against a baseline rate, pair by pair; the goal is a smallest ratio."""
    ratio = statistics.median(a / b for a, b in zip(values, bases, strict=True))
    value, base = statistics.median(values), statistics.median(bases)
    return Result(name, value, unit, baseline, base, ratio, f">= {at_least} x", ratio >= at_least, note)


def at_most(name: str, unit: str, value: float, goal: float, note: str = "") -> Result:
    """A figure with an upper goal of its own."""
    return Result(name, value, unit, goal=f"<= {goal:g} {unit}", held=value <= goal, note=note)


def at_least(name: str, unit: str, value: float, goal: float, note: str = "") -> Result:
    """A figure with a lower goal of its own."""
    return Result(name, value, unit, goal=f">= {goal:g} {unit}", held=value >= goal, note=note)


def seconds(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


async def aseconds(work: Callable[[], Awaitable[object]]) -> float:
    """Seconds that an awaitable takes."""
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


async def rate(work: Callable[[int], Awaitable[object]], count: int, callers: int) -> float:
    """Calls a second with ``callers`` at the same time, ``count`` in all."""
    left = iter(range(count))

    async def caller() -> None:
        for number in left:
            await work(number)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return count / (time.perf_counter() - started)


def table(results: list[Result]) -> str:
    """The rows for people."""
    lines = [f"{'name':<22}{'value':>12} {'unit':<10}{'ratio':>8}  {'goal':<18}{'held':<6}baseline"]
    for r in results:
        ratio = "" if r.ratio is None else f"{r.ratio:.2f}"
        base = "" if r.baseline_value is None else f"{r.baseline} {r.baseline_value:,.1f}"
        held = "" if r.held is None else ("yes" if r.held else "NO")
        lines.append(f"{r.name:<22}{r.value:>12,.2f} {r.unit:<10}{ratio:>8}  {r.goal:<18}{held:<6}{base}")
        if r.note:
            lines.append(f"    {r.note}")
    return "\n".join(lines)
