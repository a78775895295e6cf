import pytest
from node.store.world import open_store

from trustnode.store.unlogged import Unlogged
from trustnode.testing.clock import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
async def store(path, clock):
    async with await open_store(path, clock) as opened:
        yield opened


@pytest.fixture
def without_entries(monkeypatch):
    """Units of these tests try one operation each and write no entry about it."""
    monkeypatch.setattr(Unlogged, "check", lambda _: None)
