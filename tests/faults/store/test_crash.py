"""Kills and failing system calls: nothing that was acknowledged is lost, and what is left verifies."""

import random
import shutil
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
from node.store.world import open_store

from trustnode.core.access import AccessState
from trustnode.testing.clock import FakeClock

APPENDER = Path(__file__).with_name("appender.py")
KILLS = 5


def start(path, *before):
    return subprocess.Popen(
        [*before, sys.executable, APPENDER, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


async def verify(path, acknowledged):
    """Every line of the appender is in its chain, with the same link."""
    async with await open_store(path, FakeClock()) as store:
        assert store.verdict.outcome in {"EQUAL", "BEHIND"}, store.verdict
        assert await store.check() == []
        known = {}
        for name in {line.split()[0] for line in acknowledged}:
            lines = await store.read(lambda view, name=name: view.evidence.chain("agreement", name))
            states = await store.read(lambda view, name=name: view.find(AccessState, agreement=name, limit=100_000))
            feed, _ = await store.read(lambda view, name=name: view.feed_head("CONTROL", name))
            # state, entry and notice of one unit stand or fall together
            assert len(lines) == len(states) == feed
            known.update({f"{name} {line.seq} {line.data.hex()}": line.index for line in lines})
        assert set(acknowledged) <= set(known)


async def test_l1_kills_at_random_moments_lose_no_acknowledged_entry(tmp_path):
    chance = random.Random(1)
    acknowledged = []
    for _ in range(KILLS):
        with start(tmp_path / "store.db") as process:
            acknowledged += [line.strip() for line in islice(process.stdout, chance.randrange(1, 400))]
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read()
        acknowledged += [line for line in rest.split("\n") if line.count(" ") == 2 and len(line.split()[2]) == 64]
        await verify(tmp_path / "store.db", acknowledged)
    assert len(acknowledged) > KILLS


def can_trace():
    strace = shutil.which("strace")
    return (
        bool(strace)
        and subprocess.run([strace, "-o", "/dev/null", "true"], check=False, capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not can_trace(), reason="needs strace and the right to trace")
@pytest.mark.parametrize(
    "call, problem, when, ends",
    [("fdatasync", "EIO", 40, True), ("pwrite64", "EIO", 300, False), ("pwrite64", "ENOSPC", 400, False)],
)
async def test_l3c_a_failing_system_call_loses_no_acknowledged_entry(tmp_path, call, problem, when, ends):
    path, trace = tmp_path / "store.db", tmp_path / "trace"
    inject = f"inject={call}:error={problem}:when={when}"
    with start(path, "strace", "-f", "-q", "-o", trace, "-e", f"trace={call}", "-e", inject) as process:
        acknowledged = [line.strip() for line in islice(process.stdout, 2000)]
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate()
    acknowledged += [line for line in rest.split("\n") if line.count(" ") == 2 and len(line.split()[2]) == 64]
    assert "INJECTED" in trace.read_text()
    assert ("did not confirm a sync" in errors) == ends
    await verify(path, acknowledged)
