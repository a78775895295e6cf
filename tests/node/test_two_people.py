"""What one of two operators might try: an old backup that knows him alone, an act that was approved once."""

from __future__ import annotations

import uuid
from pathlib import Path
from types import NoneType, SimpleNamespace
from typing import Any

import msgspec
import pytest

from trustnode import maintenance
from trustnode.app import operators
from trustnode.core import clock as times
from trustnode.core.document import Document, seal
from trustnode.core.operator import Operator, OperatorAct
from trustnode.errors import TrustnodeError
from trustnode.keys.files import FileSigner
from trustnode.maintenance import Asked, operators_of, order_of
from trustnode.store.writer import Store
from trustnode.testing.clock import FakeClock

DOMAIN = "zj.example"
LI, WANG = FileSigner.generate(), FileSigner.generate()
PEOPLE = {"li": LI, "wang": WANG}


async def store_of(path: Path, *names: str, holds: Document | None = None) -> None:
    def unit(tx: Any) -> None:
        for name in names:
            one = Operator(name=name, role="SECURITY", public=PEOPLE[name].public.hex())
            tx.set_setting(operators.PREFIX + name, msgspec.json.encode(one).decode())
        if holds is not None:
            tx.keep(holds)

    async with await Store.open(path, clock=FakeClock().now, node_id="none", reserve_bytes=0) as store:
        await store.write(unit, event_id="", returns=NoneType)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    where = SimpleNamespace(node=SimpleNamespace(trust_domain=DOMAIN), store=SimpleNamespace(path="node.db"))
    monkeypatch.setattr(maintenance.settings, "load", lambda *_: SimpleNamespace(config=where))
    return tmp_path


def act(*signers: FileSigner, arguments: tuple[str, ...] = ("b.tnb", "ab")) -> Document:
    now = maintenance.SystemClock().now()
    value = OperatorAct(
        suite="tn1", id=str(uuid.uuid4()), iss=DOMAIN, aud=(DOMAIN,), time=now, expires=times.shift(now, 3600),
        act="backup.restore", arguments=arguments, asked_by="li",
    )  # fmt: skip
    return seal(value, *signers)


def asked(home: Path, document: Document, *, alone: bool = False) -> Asked:
    return Asked(home, "backup.restore", ("b.tnb", "ab"), document, alone)


async def test_an_old_backup_that_knows_one_operator_does_not_let_him_restore_alone(home: Path):
    await store_of(home / "node.db", "li", "wang")
    await store_of(home / "old.db", "li")
    assert [one.name for one in operators_of(home, home / "old.db")] == ["li", "wang"]
    with pytest.raises(TrustnodeError) as refusal:
        order_of(asked(home, act(LI), alone=True), home / "old.db")
    assert refusal.value.reason == "APPROVAL_MISSING"
    assert order_of(asked(home, act(LI, WANG)), home / "old.db").approved_by == "wang"


async def test_a_fresh_store_with_one_operator_does_not_let_him_restore_alone(home: Path):
    await store_of(home / "node.db", "li")
    await store_of(home / "backup.db", "li", "wang")
    assert [one.name for one in operators_of(home, home / "backup.db")] == ["li", "wang"]


async def test_an_approved_restore_is_not_repeated_by_one_of_them(home: Path):
    document = act(LI, WANG)
    await store_of(home / "node.db", "li", "wang", holds=document)
    with pytest.raises(TrustnodeError) as refusal:
        order_of(asked(home, document), home / "node.db")
    assert refusal.value.reason == "REPLAYED"


async def test_a_store_that_cannot_be_read_does_not_hinder_a_restore(home: Path):
    (home / "node.db").write_bytes(b"broken" * 1000)
    await store_of(home / "backup.db", "li", "wang")
    assert order_of(asked(home, act(LI, WANG)), home / "backup.db").approved_by == "wang"
