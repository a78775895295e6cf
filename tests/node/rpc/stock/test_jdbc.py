"""The JDBC driver as a tool uses it: one program, one run, the whole matrix.

The driver comes from Maven's central repository by the ordinary client, into the folder where that keeps everything.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest
from federation.world import DATA
from node.rpc.stock.clients import ROWS, Stock

from trustnode.cli import profile as printed

pytestmark = pytest.mark.asyncio(loop_scope="session")
DRIVER = "org.apache.arrow:flight-sql-jdbc-driver:18.3.0"
PROGRAM = Path(__file__).with_name("Matrix.java")
FETCH_S, RUN_S = 150, 120


def fetched_driver(folder: Path) -> Path:
    """The driver's file; the test is skipped where it cannot be had."""
    for program in ("java", "javac", "mvn"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on PATH")
    step = "org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy"
    for offline in (("-o",), ()):
        command = ["mvn", "-q", *offline, step, f"-Dartifact={DRIVER}", f"-DoutputDirectory={folder}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_S, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip(f"mvn did not fetch {DRIVER} within {FETCH_S} s")
        found = sorted(folder.glob("flight-sql-jdbc-driver-*.jar"))
        if done.returncode == 0 and found:
            return found[0]
    pytest.skip(f"mvn could not fetch {DRIVER}: {done.stdout.strip()[-200:]}")


@pytest.mark.timeout(2 * FETCH_S + RUN_S)
async def test_q7_jdbc_driver_does_the_whole_matrix(stock: Stock, tmp_path: Path) -> None:
    driver = await asyncio.to_thread(fetched_driver, tmp_path)
    settings = printed.jdbc(stock.world.clients["local"].profile)
    hosts = tmp_path / "hosts"
    hosts.write_text(settings["hosts"] + "\n", encoding="utf-8")
    stranger = settings["url"].partition("&clientCertificate")[0]
    options = ["--add-opens=java.base/java.nio=ALL-UNNAMED", f"-Djdk.net.hosts.file={hosts}", "-Xmx256m"]
    command = ["java", *options, "-cp", str(driver), str(PROGRAM), settings["url"], stock.schema(), stranger]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=RUN_S, check=False)
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    assert said.pop("no certificate").startswith("refused"), done.stderr[-1000:]
    assert said.pop("wrong parameters").startswith(("refused", "broken"))
    assert said == {
        "plain": "g0,143 g1,143",
        "parameters": "10",
        "dictionary": "red green",
        "denied": "refused the column secret is not delivered [FIELD_NOT_AGREED]",
        "wrong agreement": "refused no such agreement [NOT_FOUND]",
        "write": "refused only a SELECT is allowed [QUERY_INVALID]",
        "cancelled": "stopped",
        "after": str(ROWS),
        "product": "trustnode true",
        "catalogs": "",
        "schemas": stock.schema(),
        "tables": "t",
        "types": "TABLE",
        "columns": "id grp kind price name",
        "primary keys": "",
        "exported keys": "",
        "imported keys": "",
        "cross": "",
        "type info": "",
        "header": str(ROWS),
    }
    assert len(stock.world[DATA].venue.streams) == 0
