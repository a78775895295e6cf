"""What is owed under an agreement, and the signed word that it is done.

Decides: what is asked of the home node to know how a duty stands. Leaves to others: when something is due
(``core.duty``), whether a proof counts (the node).
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from trustnode.core.document import decode
from trustnode.core.duty import Delivery, DutyProof, Standing, counts_deliveries, named, standings, usual_until

if TYPE_CHECKING:
    from trustnode.sdk.agreement import Agreement

ALL = 10_000
"""Deliveries that are looked through at most."""


async def duties_of(agreement: Agreement) -> tuple[Standing, ...]:
    """Every duty of an agreement that somebody has to show as done."""
    value = agreement.value
    said = {
        row.id.partition("/")[2]: (row.state, decode(row.document, DutyProof) if row.document else None)
        for row in await agreement.connection.list_all("duty", agreement=agreement.id)
    }
    deliveries = await _deliveries(agreement) if counts_deliveries(value) else []
    ended = agreement.changed_at if agreement.state == "TERMINATING" else value.end
    return standings(value, said, deliveries, ended)


async def _deliveries(agreement: Agreement) -> list[Delivery]:
    found = []
    for line in await agreement.receipts(limit=ALL):
        share = line.receipt.under(agreement.id) if line.receipt else None
        if line.receipt is not None:
            found.append(Delivery(line.receipt.ended, line.receipt.rows, share.cost_fen if share else 0))
    return found


async def fulfil(agreement: Agreement, duty: str, until: str, statement: str, attached: Path | None) -> None:
    """Sign that a duty is done and hand it over.

    Raises:
        TrustnodeError: NOT_FOUND, no such duty; ROLE_NOT_ALLOWED, another party shows it; DUPLICATE, it is done.
    """
    profile, value = agreement.connection.profile, agreement.value
    one = named(await duties_of(agreement), duty)
    fields = profile.fields(value.consumer_node, value.provider_node)
    now = fields["time"]
    proof = DutyProof(
        agreement=agreement.id,
        agreement_sha256=agreement.document.digest,
        duty=one.duty.name,
        until=min(until, now) if until else usual_until(value, one.duty, one.covered, now),
        statement=statement,
        attached=await asyncio.to_thread(_digest_of, attached) if attached else None,
        **fields,
    )
    await agreement.connection.submit(profile.sign(proof), [profile.key_document])


def _digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
