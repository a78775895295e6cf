"""`make bench`: one table of ratios, each against a baseline measured in the same run, in turn, and `build/bench.json`.

A benchmark prints what it measured and never asserts a time: machines differ, ratios travel better (docs/benchmarks.md).
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from harness import Result, table

MODULES = ("units", "searching", "proofs", "decisions", "starting", "reading", "negotiating", "memory")


def main() -> int:
    """Run the benchmarks asked for; exit 1 only when one could not run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="name of one benchmark")
    parser.add_argument("--minutes", type=float, default=0, help="kept for `make soak`")
    arguments = parser.parse_args()
    results: list[Result] = []
    failed = False
    for name in MODULES:
        module = importlib.import_module(name)
        if arguments.only and arguments.only not in module.NAMES:
            continue
        try:
            results += module.run(arguments.only)
        except Exception as problem:  # noqa: BLE001  # one benchmark that breaks must not hide the others
            sys.stderr.write(f"{name}: {type(problem).__name__}: {problem}\n")
            failed = True
    sys.stdout.write(table(results) + "\n")
    folder = Path("build")
    folder.mkdir(exist_ok=True)
    (folder / "bench.json").write_text(json.dumps([r.as_dict() for r in results], indent=2) + "\n", encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
