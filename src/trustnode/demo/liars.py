"""Those who cheat in the story: each makes what a liar would make, with the liar's own keys."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from trustnode.core import clock, envelope
from trustnode.core.evidence.bundle import members, pack, unpack, write_zip
from trustnode.core.identity import bundle_of, check_card
from trustnode.errors import TrustnodeError


def forged_certificate(folder: Path, *, issuer: str, claims: str, at: str) -> str:
    """Let one venue's authority certify a node of another venue, and call a third with it.

    Returns:
        The reason of the refusal; empty when there was none.
    """
    from trustnode.keys import issue_credential, load_node_keys
    from trustnode.wire.channel import Target, VenueChannel
    from trustnode.wire.home import Home

    now = clock.text(datetime.now(UTC))
    authority = load_node_keys(folder / issuer, f"{issuer}.example", now).authority
    liar = replace(authority, trust_domain=claims)
    forged = issue_credential(liar, f"spiffe://{claims}/node/1", now, timedelta(hours=1))
    card = check_card(envelope.decode((folder / at / "venue.card").read_bytes()), now)
    target = Target(card.value.trust_domain, card.value.endpoints, bundle_of(card.value, now).pem)

    async def call() -> str:
        channel = VenueChannel(target, forged)
        try:
            await Home(channel).call("EvidenceService/GetCheckpoint", {}, timeout_s=10)
        except TrustnodeError as refusal:
            return refusal.reason
        finally:
            await channel.aclose()
        return ""

    return asyncio.run(call())


def one_byte_changed(bundle: Path) -> str:
    """A copy of a bundle with one byte of the agreement changed, and the zip made whole again."""
    data = bundle.read_bytes()
    contents = unpack(data)
    found = members(contents)
    name = f"documents/{contents.agreement}.json"
    at = len(found[name]) // 2
    found[name] = found[name][:at] + bytes([found[name][at] ^ 1]) + found[name][at + 1 :]
    return _written(bundle, "changed", write_zip(found))


def one_receipt_left_out(bundle: Path) -> str:
    """A copy of a bundle without one of its receipts, packed by the rules."""
    contents = unpack(bundle.read_bytes())
    receipt = next(digest for digest, document in contents.documents.items() if document.name == "receipt")
    rest = {digest: document for digest, document in contents.documents.items() if digest != receipt}
    return _written(bundle, "short", pack(replace(contents, documents=rest)))


def _written(bundle: Path, suffix: str, data: bytes) -> str:
    target = bundle.with_name(f"{bundle.stem}-{suffix}.bundle")
    target.write_bytes(data)
    return target.name
