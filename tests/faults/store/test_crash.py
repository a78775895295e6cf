"""Kills, failing system calls, full and read-only disks, power cuts: what was acknowledged stays, and what is left verifies.

Short here; `make soak` runs the whole grid (``faults.soak``).
"""

from __future__ import annotations

import pytest
from faults import disks, injection, kills
from faults.injection import Fault

SHORT = (
    Fault("fsync", "EIO", "opening", 2, ending=False),
    Fault("fsync", "EIO", "running", 5, ending=False),
    Fault("fdatasync", "EIO", "running", 13, ending=True),
    Fault("fdatasync", "EIO", "running", 13, ending=False),
    Fault("pwrite64", "EIO", "running", 30, ending=False),
    Fault("pwrite64", "ENOSPC", "running", 20, ending=False),
    Fault("openat", "EIO", "running", 2, ending=False),
    Fault(injection.RENAMES, "EIO", "running", 3, ending=False),
)


async def test_l1_kills_at_random_moments_lose_no_acknowledged_entry(tmp_path):
    tally = await kills.run(tmp_path, 12, seed=1)
    assert tally.clean, tally
    assert tally.kills == 12
    assert tally.acknowledged > 0
    assert tally.checkpoints > 0


@pytest.mark.skipif(bool(injection.cannot_trace()), reason=injection.cannot_trace())
@pytest.mark.parametrize("fault", SHORT, ids=str)
async def test_l3c_a_failing_system_call_loses_no_acknowledged_entry(tmp_path, fault):
    found = await injection.run(tmp_path, fault)
    assert found.hit
    assert found.tally.clean, (found.tally, found.errors)
    if fault.ending:
        assert found.status < 0
    elif fault.call in injection.SYNCS:
        # never trust a later sync: the process ends, and says why
        assert found.status == 3
        assert "sync" in found.errors
    else:
        assert found.status == 0
        assert found.failures > 0


@pytest.mark.skipif(bool(disks.cannot_mount()), reason=disks.cannot_mount())
def test_l3a_a_full_file_system_refuses_and_the_process_goes_on_when_space_returns(tmp_path):
    outcome = disks.run("full", tmp_path)
    assert set(outcome.refused) == {"EVIDENCE_UNAVAILABLE"}
    assert outcome.after > 50
    assert (outcome.lost, outcome.forks, outcome.wrong) == (0, 0, [])


@pytest.mark.skipif(bool(injection.cannot_trace()), reason=injection.cannot_trace())
async def test_l3b_a_disk_that_refuses_writes_for_a_while_loses_nothing_and_the_process_goes_on(tmp_path):
    found = await injection.run(tmp_path, Fault("pwrite64", "EROFS", "running", 20, ending=False, until=60))
    assert found.hit
    assert found.status == 0
    assert found.failures > 1
    assert found.tally.clean, found.tally


@pytest.mark.skipif(bool(disks.cannot_mount(loop=True)), reason=disks.cannot_mount(loop=True))
def test_l3b_a_file_system_that_turns_read_only_loses_nothing_that_was_acknowledged(tmp_path):
    outcome = disks.run("readonly", tmp_path)
    assert outcome.refused or outcome.ended == 3
    assert outcome.after == 64
    assert (outcome.lost, outcome.forks, outcome.wrong) == (0, 0, [])


@pytest.mark.skipif(bool(disks.cannot_mount(loop=True)), reason=disks.cannot_mount(loop=True))
def test_l18_a_power_cut_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path):
    outcome = disks.run("power", tmp_path, cuts=6)
    assert outcome.cuts == 6
    assert outcome.acknowledged > 0
    assert (outcome.lost, outcome.forks, outcome.wrong) == (0, 0, [])
