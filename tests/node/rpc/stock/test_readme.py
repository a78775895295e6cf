"""The lines of the README for stock clients, run as they stand there."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from node.rpc.stock.clients import Stock

from trustnode.cli import profile as printed

pytestmark = pytest.mark.asyncio(loop_scope="session")
README = Path(__file__).parents[4] / "README.md"


async def test_the_lines_of_the_readme_read(
    stock: Stock, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    block = re.search(r"test_readme.py runs.*?```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    settings = printed.adbc(stock.world.clients["local"].profile)
    monkeypatch.setattr("subprocess.check_output", lambda _command: json.dumps(settings).encode())
    lines = block[1].replace("agreement_7k3qx9m2.flights", stock.table())
    lines = lines.replace("origin, dest", "grp as origin, id as dest").replace("month = ?", "id >= ?")
    space: dict[str, Any] = {}
    await asyncio.to_thread(exec, compile(lines, str(README), "exec"), space)
    assert space["frame"].shape == (5, 5)
    assert "origin" in capfd.readouterr().out
