"""How long a person waits: the help, the import, the node."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import PAIRS, Result, at_most, seconds

from trustnode.demo import story
from trustnode.demo.stage import VENUES, Stage


def _command(*words: str) -> float:
    return seconds(lambda: subprocess.run([sys.executable, *words], check=True, capture_output=True))


def _ready() -> float:
    """From typing `trustnode start` to the line that says so."""
    venue = VENUES[1]
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        try:
            story._init(stage, venue)
            started = time.perf_counter()
            stage.start(venue)
            stage.wait_ready(venue)
            return time.perf_counter() - started
        finally:
            stage.stop()


def run(_only: str) -> list[Result]:
    """Measure."""
    empty = statistics.median(_command("-c", "") for _ in range(PAIRS))
    note = f"an empty interpreter takes {empty:.2f} s"
    return [
        at_most(
            "help", "s", statistics.median(_command("-m", "trustnode.cli", "--help") for _ in range(PAIRS)), 0.3, note
        ),
        at_most("import", "s", statistics.median(_command("-c", "import trustnode") for _ in range(PAIRS)), 0.3),
        at_most("ready", "s", statistics.median(_ready() for _ in range(PAIRS)), 2.0, "a new home, process included"),
    ]
