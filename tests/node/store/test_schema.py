"""Tables and Structs are the same thing."""

import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from node.store.world import open_store, sql

from trustnode.core.lifecycle import State
from trustnode.core.states import STATES
from trustnode.store import schema
from trustnode.store.rows import columns_of, table_of


@pytest.mark.parametrize("name", STATES)
def test_the_fields_of_a_state_are_the_columns_of_its_table(name):
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        schema.migrate(db)
        table = {row[1]: (row[2].upper(), bool(row[3])) for row in db.execute(f'pragma table_info("{name}")')}
    fields = {c.name: (c.sql_type, not c.nullable) for c in columns_of(STATES[name])}
    key = table.pop("id")
    assert (key[0], table) == (fields.pop("id")[0], fields)


@pytest.mark.parametrize("name", STATES)
def test_a_state_survives_its_row(name):
    kind = STATES[name]
    values = {"id": "x", "causes": ("X:ORDER", "K:气象"), "version": 3}
    values |= {f: "text" for f in ("name",) if f in kind.__struct_fields__}
    state = kind(**values)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        schema.migrate(db)
        table = table_of(kind)
        db.execute(table.insert, table.write(state))
        assert table.read(db.execute(table.get, ("x",)).fetchone()) == state


def test_optional_and_nested_fields_have_a_spelling():
    class Odd(State, frozen=True, kw_only=True):
        flag: bool = False
        maybe: str | None = None
        pairs: tuple[tuple[str, int], ...] = ()
        raw: bytes = b""

    own = columns_of(Odd)[len(State.__struct_fields__) :]
    assert [(c.name, c.sql_type, c.nullable) for c in own] == [
        ("flag", "INTEGER", False),
        ("maybe", "TEXT", True),
        ("pairs", "TEXT", False),
        ("raw", "BLOB", False),
    ]


def test_a_kind_that_is_not_registered_has_no_table():
    class Stranger(State, frozen=True, kw_only=True):
        pass

    with pytest.raises(KeyError):
        table_of(Stranger)


async def test_migrations_are_recorded_once(path, clock):
    for _ in range(2):
        async with await open_store(path, clock):
            pass
    rows = sql(path, "select name from _sqlite_migrations where migration_set = 'trustnode' order by id")
    assert [name for (name,) in rows] == [name for name, _ in schema.STEPS]


def test_a_step_that_fails_leaves_no_half_of_itself(monkeypatch):
    def breaks(db):
        db.execute("create table half (a)")
        raise ValueError

    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, ("9999_breaks", breaks)))
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        with pytest.raises(ValueError):
            schema.migrate(db)
        assert db.execute("select count(*) from sqlite_master where name = 'half'").fetchone() == (0,)
        assert db.execute("pragma user_version").fetchone() == (0,)


async def test_a_store_that_is_up_to_date_opens_without_the_migration_library(path, clock):
    async with await open_store(path, clock):
        pass
    program = (
        "import asyncio, sys; from pathlib import Path; from trustnode.store.writer import Store\n"
        "async def main():\n"
        "    async with await Store.open(Path(sys.argv[1]), clock=lambda: '2026-11-24T12:00:00.000Z', node_id='n'): pass\n"
        "asyncio.run(main()); print('sqlite_utils' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
