"""Sessions on a source with visible and hidden rows."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from node.engine import sources
from node.engine.object_store import ObjectStore
from node.engine.world import PLAIN, orders_table, shops_table

from trustnode.engine.message import RunLimits, SessionSpec
from trustnode.engine.source import Source


@pytest.fixture(scope="session")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("source")
    pq.write_table(orders_table(), path / "orders.parquet")
    pq.write_table(shops_table(), path / "shops.parquet")
    return path


@pytest.fixture(scope="session")
def make_spec(directory):
    def make(governed=PLAIN, *, agreement="urn:agreement:1", load=True, policy="p1", version="v1", **more):
        limits = more.pop("limits", RunLimits(load_bytes=(64 << 20) if load else 0))
        source = more.pop(
            "source", Source("parquet", str(directory), {"orders": "orders.parquet", "shops": "shops.parquet"})
        )
        return SessionSpec(
            agreement=agreement,
            policy_digest=policy,
            data_version=version,
            source=source,
            governed=governed,
            hash_key=b"k" * 32,
            limits=limits,
            **more,
        )

    return make


@pytest.fixture(scope="session")
def server():
    # The server runs as another user where the tests run as root, and may not look into their folder.
    with tempfile.TemporaryDirectory() as folder:
        server = sources.Server(Path(folder))
        yield server
        server.stop()


@pytest.fixture(scope="session")
def store():
    with ObjectStore() as store:
        yield store


@pytest.fixture(scope="session")
def worlds(server, store, tmp_path_factory):
    made = {}

    def world(kind):
        if kind not in made:
            made[kind] = make(kind, server, store, tmp_path_factory.mktemp(kind))
        return made[kind]

    return world


def make(kind, server, store, root):
    if kind == "postgres":
        return sources.postgres(server)
    if kind == "s3":
        return sources.objects(store)
    maker = {"duckdb": sources.database}.get(kind) or getattr(sources, kind)
    return maker(root)
