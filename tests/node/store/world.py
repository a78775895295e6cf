"""What the tests of the store share: a store with a clock that stands still, documents, entries."""

import sqlite3
from contextlib import closing
from types import NoneType

from trustnode.core.document import Document, Signature
from trustnode.store.unit import RefusalRecord
from trustnode.store.writer import Store

NODE = "node-zj"


async def open_store(path, clock, **options):
    return await Store.open(path, clock=clock.now, node_id=NODE, reserve_bytes=0, **options)


def document(text, *signatures):
    payload = b'{"id":"%s","type":"offer"}' % text.encode()
    return Document(
        "application/vnd.trustnode.offer.v1+json", payload, tuple(Signature(s, s.encode()) for s in signatures)
    )


def note(store, object="C1", *, kind="agreement", event="access.request", event_id="", **fields):
    """Log one entry, in the chain of an agreement unless another kind is named."""
    return store.write(lambda tx: tx.log(kind, object, event, **fields), event_id=event_id, returns=NoneType)


async def fill(store, entries, object="C1"):
    """Log entries, some hundred a unit."""
    while entries > 0:
        count = min(entries, 250)
        await store.write(
            lambda tx, count=count: [tx.log("agreement", object, "access.request") for _ in range(count)] and None,
            event_id="",
            returns=NoneType,
        )
        entries -= count


def refusal(caller="spiffe://gz/p", object="C1", kind="agreement", event="access.deny"):
    return RefusalRecord(object_kind=kind, object=object, event=event, caller=caller, fields={"decision": "DENY"})


def sql(path, statement, *values):
    """Reach below the store, as a fault or an enemy would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return db.execute(statement, values).fetchall()


async def statements(store, kind="agreement", object="C1"):
    lines = await store.read(lambda view: view.evidence.chain(kind, object))
    return [line.statement for line in lines]
