"""A whole run of two real nodes leaves no key, token, salt or query text in their logs, leaves and evidence."""

from __future__ import annotations

import base64
import contextlib
import re
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives import serialization
from faults.processes import PRODUCT, two_nodes
from federation.world import DATA, HOME

from trustnode import aio
from trustnode.errors import TrustnodeError
from trustnode.store.writer import Store

QUERIES = (
    "select id from t where grp = 'secretword1'",
    "select secretword2 from t",
    "select id from t where",
    "select cast('secretword3' as integer) secretword4 from t",
    "select id secretword5 from t where cast(grp || 'secretword6' as integer) > 1",
    "select id from t where regexp_matches(grp, '(secretword7')",
    "select id from read_csv('secretword8.csv')",
    "delete from t where grp = 'secretword9'",
)


MARK = "PRIVATE KEY"
PRIVATE_KEY = re.compile(f"-----BEGIN {MARK}-----.*?-----END {MARK}-----", re.DOTALL)


class Held(NamedTuple):
    """What one store holds that must not get out, and where it must not have got."""

    salts: tuple[bytes, ...]
    leaves: bytes
    statements: bytes


async def held(path: Path) -> Held:
    async with await Store.open(path, clock=lambda: "2099-01-01T00:00:00.000Z", node_id="test") as store:
        entries = await store.read(lambda view: view.evidence.entries(0, 100_000))
    return Held(
        tuple(entry.salt for entry in entries if entry.salt), b"".join(entry.data for entry in entries),
        b"\n".join(entry.statement for entry in entries if entry.statement),
    )  # fmt: skip


def keys_under(folder: Path) -> list[bytes]:
    """Every private key of the nodes and their participants, those in invitations too, and the key of the masks."""
    found = [path.read_bytes() for path in folder.rglob("mask.key")]
    texts = [path.read_text(errors="replace") for path in folder.rglob("*.key")]
    texts += [path.read_text().replace("\\n", "\n") for path in folder.glob("*.invite")]
    for text in texts:
        for pem in PRIVATE_KEY.findall(text):
            key = serialization.load_pem_private_key(pem.encode(), None)
            if hasattr(key, "private_bytes_raw"):
                found.append(key.private_bytes_raw())
            else:
                found.append(key.private_numbers().private_value.to_bytes(32, "big"))
    return found


def forms(secret: bytes) -> list[bytes]:
    """How a secret may be written; of base64 the part that does not depend on what stands around it."""
    return [secret, secret.hex().encode(), secret.hex().upper().encode()] + [
        encode(b"\0" * shift + secret)[4:-4] for encode in (base64.b64encode, base64.urlsafe_b64encode) for shift in range(3)
    ]  # fmt: skip


def found_in(text: bytes, secrets: list[bytes]) -> list[bytes]:
    return [secret for secret in secrets if any(form in text for form in forms(secret))]


async def test_l22_no_key_token_salt_or_query_stands_in_logs_leaves_or_evidence(tmp_path):
    async with two_nodes(tmp_path) as nodes:
        agreement = await nodes.client.negotiate(PRODUCT, offer="open")
        await agreement.sql("select id, grp from t where grp <> 'secretword0' limit 3").to_arrow()
        for sql in QUERIES:
            with contextlib.suppress(TrustnodeError):
                await agreement.sql(sql).to_arrow()
        bundles = b""
        for domain in (HOME, DATA):
            async with aio.operator(nodes.folder / domain) as operator:
                parts = operator.stream("EvidenceService/GetBundle", agreement=agreement.id)
                bundles += b"".join([part["chunk"] async for part in parts])
        await nodes.stop()
        logs = b"".join(nodes.log(domain).read_bytes() for domain in (HOME, DATA))
        stores = [await held(nodes.folder / domain / "node.db") for domain in (HOME, DATA)]
    assert logs.count(b'"request"') > len(QUERIES)
    keys, salts = keys_under(tmp_path), [salt for store in stores for salt in store.salts]
    assert len(keys) > 15
    assert len(salts) > 20
    public = b"".join(store.leaves + store.statements for store in stores)
    assert found_in(logs + public + bundles, keys) == []
    assert found_in(logs + public, salts) == []
    for place in (logs, public, bundles):
        assert b"secretword" not in place
    assert MARK.encode() not in logs + public + bundles
