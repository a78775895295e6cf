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

MODULES = {
    "units": ("unit", "unit_floor", "unit_alone"),
    "appending": ("append",),
    "searching": ("search",),
    "proofs": ("log_proof",),
    "logs": ("log_1m", "log_10m"),
    "decisions": ("decision",),
    "starting": ("help", "import", "ready"),
    "negotiating": ("negotiation",),
    "reading": ("stream", "stream_undigested", "stream_kept", "stream_brokered", "small_read", "small_kept"),
    "memory": ("memory_provider", "memory_broker"),
    "revoking": ("revoke_running", "revoke_stalled"),
    "identifying": ("identity",),
    "floods": ("floods",),
    "marking": ("mark", "trace"),
    "noising": ("noise_time", "noise_error"),
    "guarding": ("plan", "masks", "corpus"),
}
"""Module -> what it measures; imported only when asked for."""


def main() -> int:
    """Run the benchmarks asked for; exit 1 only when one could not run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="name of one benchmark")
    only = parser.parse_args().only
    results: list[Result] = []
    failed = False
    for name in (module for module, names in MODULES.items() if not only or only in names):
        try:
            results += importlib.import_module(name).run(only)
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
