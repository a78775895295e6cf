import pytest
from node.store.world import open_store

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
