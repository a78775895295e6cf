"""Parquet files that an attacker made: refused, or contained in the worker process (docs/attacks.md, D1f)."""

from __future__ import annotations

import resource
import struct
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trustnode.core.policy.governed import Governed, GovernedTable
from trustnode.engine.message import RunLimits
from trustnode.engine.pool import EngineLimits, EnginePool
from trustnode.engine.source import Source
from trustnode.errors import TrustnodeError

CONTAINED = {"", "QUERY_TOO_COSTLY", "DEADLINE", "FIELD_FORMAT", "QUERY_INVALID", "SOURCE_UNAVAILABLE"}
MEBIBYTE = 1024 * 1024


def dictionary_bomb(path: Path) -> None:
    """One value of a mebibyte, named a hundred thousand times: 100 GiB from a file of kilobytes."""
    batch = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array(["x" * MEBIBYTE]))
    pq.write_table(pa.table({"t": batch}), path, compression="zstd", use_dictionary=True)


def huge_row_group(path: Path) -> None:
    """Fifty million equal numbers in one row group, a few kilobytes of runs."""
    with pq.ParquetWriter(path, pa.schema([("t", pa.int64())]), compression="zstd") as writer:
        writer.write_table(pa.table({"t": pa.repeat(7, 20_000_000)}), row_group_size=20_000_000)


def hostile_page_headers(path: Path) -> None:
    """Pages whose headers were overwritten; the footer is sound and says how much is there."""
    pq.write_table(pa.table({"t": [f"value {n}" for n in range(5000)]}), path, compression="none", use_dictionary=False)
    raw = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(0).column(0).data_page_offset
    raw[start : start + 24] = b"\x15\x00\x15" + b"\xff" * 4 + b"\x0f\x15" + b"\xff" * 4 + b"\x0f" + b"\xff" * 10
    path.write_bytes(raw)


def hostile_footer(path: Path) -> None:
    """A footer that is said to be two gibibytes long."""
    pq.write_table(pa.table({"t": [1, 2, 3]}), path)
    raw = bytearray(path.read_bytes())
    raw[-8:-4] = struct.pack("<I", 0x7FFFFFFF)
    path.write_bytes(raw)


FILES = [dictionary_bomb, huge_row_group, hostile_page_headers, hostile_footer]
QUERIES = ["SELECT t FROM t ORDER BY t", "SELECT max(t) AS m FROM t"]


@pytest.fixture(scope="module")
def crafted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crafted")
    for make in FILES:
        make(folder / f"{make.__name__}.parquet")
    return folder


async def answered(pool, spec, sql):
    """The reason of the refusal, or nothing and the bytes of the answer."""
    try:
        answer = await (await pool.session(spec)).read(sql, max_bytes=MEBIBYTE)
    except TrustnodeError as refusal:
        return ("its location leaks" if spec.source.location in f"{refusal} {refusal.metadata}" else refusal.reason), 0
    return "", sum(len(frame.data) for frame in answer.frames)


@pytest.mark.parametrize("make, load", [*((make, False) for make in FILES), (huge_row_group, True)])
async def test_d1f_a_crafted_parquet_file_is_refused_or_stays_in_its_worker(crafted, make_spec, make, load):
    path = crafted / f"{make.__name__}.parquet"
    assert path.stat().st_size < 4 * MEBIBYTE
    limits = RunLimits(
        load_bytes=(64 << 20) if load else 0, memory_bytes=128 << 20, engine_seconds=1.5, plan_seconds=1.5
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with EnginePool(EngineLimits(max_workers=2)) as pool:
        spec = make_spec(
            Governed((GovernedTable("t", ("t",)),)), source=Source("parquet", str(path), {"t": ""}), limits=limits
        )
        for sql in QUERIES:
            reason, answer = await answered(pool, spec, sql)
            assert reason in CONTAINED
            assert answer <= 2 * MEBIBYTE
        sound = await pool.session(make_spec(agreement="another"))
        assert (await sound.read("SELECT count(*) AS n FROM orders")).rows == 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 64, "the node itself holds none of it"
