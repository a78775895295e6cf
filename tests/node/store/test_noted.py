"""Whoever can write to the disk makes a stolen key count again, or himself a second operator: the check finds it."""

from __future__ import annotations

import uuid
from types import NoneType

import pytest
from node.store.world import open_store, sql

from trustnode.core import documents as _documents  # noqa: F401
from trustnode.core.document import seal
from trustnode.core.operator import OperatorAct
from trustnode.core.peering import Status, StatusEvent
from trustnode.keys.files import FileSigner
from trustnode.store.check import check_store
from trustnode.store.noted import OPERATOR_PREFIX, appointed

KID, SINCE, LATER = "ab" * 32, "2026-11-24T03:00:00.000Z", "2026-11-25T03:00:00.000Z"
KEY = FileSigner.generate()


def common() -> dict:
    return {"suite": "tn1", "id": str(uuid.uuid4()), "iss": "zj.example", "aud": ("*",), "time": SINCE}


def notice() -> Status:
    revoked = StatusEvent(kind="KEY_REVOKED", subject=KID, state="REVOKED", effective=LATER, invalid_from=SINCE)
    denied = StatusEvent(kind="CERT_DENIED", subject="00AB12", state="DENIED", effective=LATER)
    return Status(**common(), events=(revoked, denied))


def act(word: str, *arguments: str) -> OperatorAct:
    return OperatorAct(**common(), act=word, arguments=arguments)


@pytest.fixture
async def used(path, clock):
    """A key and a certificate were taken back; of two operators one was removed."""
    added = [act("admin.add", name, "SECURITY", FileSigner.generate().public.hex()) for name in ("li", "wang")]

    def unit(tx):
        for one in (notice(), *added, act("admin.remove", "wang")):
            tx.keep(seal(one, KEY))
        tx.set_setting(f"revoked/zj.example/{KID}", SINCE)
        tx.set_setting("denied-serial/zj.example/ab12", LATER)
        tx.set_setting(OPERATOR_PREFIX + "li", appointed(added[0]))

    async with await open_store(path, clock) as store:
        await store.write(unit, event_id="", returns=NoneType)
        assert await store.check() == []
    return path


DAMAGE = {
    "delete from setting where name like 'revoked/%'": f"revoked/zj.example/{KID}",
    f"update setting set value = '{LATER}' where name like 'revoked/%'": f"revoked/zj.example/{KID}",
    "delete from setting where name like 'denied-serial/%'": "denied-serial/zj.example/ab12",
    "insert into setting select 'operator/wang', value from setting where name = 'operator/li'": "operator wang",
    "update setting set value = replace(value, 'SECURITY', 'SYSTEM') where name = 'operator/li'": "operator li",
    "delete from setting where name = 'operator/li'": "operator li",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_fact_that_decides_whom_to_believe_is_what_its_document_told(used, damage):
    sql(used, damage)
    assert [(one.where, one.object) for one in check_store(used)] == [("setting", DAMAGE[damage])]
