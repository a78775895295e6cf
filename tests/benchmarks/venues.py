"""Two venues in processes of their own, for what has to be measured through the whole node: gz holds data, zj asks."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trustnode.demo import story
from trustnode.demo.stage import VENUES, Stage, number

HANDLE = "gz.example/numbers"
QUICK = "gz.example/quick"
"""The same rows, delivered without a digest of their content."""
FEW = "gz.example/few"
"""The same columns, 10,000 rows."""
ROWS = 4_000_000
"""Six columns of eight bytes: 192 MB."""
PRODUCT = """
[product]
name = "numbers"
title = "Random numbers"
abstract = "Rows made for measuring."
provider = "maker"
licence = "CC0"
category = "PUBLIC"
level = "GENERAL_1"
level_basis = "random numbers"
classes = { topic = "transport", scene = "transport and logistics", industry = "0054" }
facts = { form = "DATASET", updates = "HISTORICAL", source = "COLLECTED" }
personal = { kind = "NONE", processing = "ANONYMISED", method = "no persons are recorded" }
source_statement = "made by a generator"
rights = [{ right = ["HOLD", "OPERATE"], holder = "maker", basis = "made here" }]
cross_border = false
zone = "Asia/Shanghai"

[product.public]
authorising_body = "nobody"
authorisation = "none needed"
fee_mode = "FREE_PUBLIC_BENEFIT"

[resource]
kind = "parquet"
location = "numbers.parquet"
table = "numbers"

[[offer]]
name = "open"
price = "free"
approval = "automatic"

[offer.terms]
purposes = "any"
who = "anyone"
period = "24 months"
columns = "all"
keep = "unlimited"
onward = "allowed"
derived = "free"
"""


def write_numbers(path: Path, rows: int = ROWS) -> None:
    """The file that is read: reproducible, not compressible."""
    columns = {f"c{n}": pc.random(rows, initializer=n) for n in range(6)}
    pq.write_table(pa.table(columns), path, row_group_size=122_880, compression="none", use_dictionary=False)


@contextlib.contextmanager
def venues() -> Iterator[Stage]:
    """Both nodes, peered; `near` is a consumer at gz, `far` one at zj; ``numbers`` is listed and found from zj."""
    pair = [venue for venue in VENUES if venue.name in ("zj", "gz")]
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        try:
            for venue in pair:
                story._init(stage, venue)
                stage.start(venue)
            for venue in pair:
                stage.wait_ready(venue)
                done = stage.run("peer", "card", "-o", f"{venue.name}.card", home=venue.name)
                stage.fingerprints[venue.domain] = number(done.out, r"fingerprint ([0-9A-F-]{39})")
            story._peer(stage, "zj", "gz", "PEER", "CATALOG,CONTRACT,ACCESS,EVIDENCE")
            stage.run("participant", "enrol", "maker", "--role", "PROVIDER", "--name", "Maker", home="gz")
            story._join(stage, "gz", "near", "Near")
            story._join(stage, "zj", "far", "Far")
            write_numbers(stage.folder / "numbers.parquet")
            (stage.folder / "numbers.toml").write_text(PRODUCT, encoding="utf-8")
            write_numbers(stage.folder / "few.parquet", 10_000)
            (stage.folder / "few.toml").write_text(PRODUCT.replace("numbers", "few"), encoding="utf-8")
            quick = PRODUCT.replace('name = "numbers"', 'name = "quick"')
            quick = quick.replace('table = "numbers"', 'table = "numbers"\ncontent_digest = false')
            (stage.folder / "quick.toml").write_text(quick, encoding="utf-8")
            stage.run("publish", "numbers.toml", home="gz")
            stage.run("publish", "quick.toml", home="gz")
            stage.run("publish", "few.toml", home="gz")
            story._until(stage, HANDLE, "search", "random", profile="far")
            yield stage
        finally:
            stage.stop()


def pid_of(stage: Stage, venue: str) -> int:
    """The process of a node."""
    return stage._nodes[venue].pid


def resident_kib(pid: int) -> int:
    """Resident memory of one process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def children(pid: int) -> list[int]:
    """Processes begun by a process: the workers of a node."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]
