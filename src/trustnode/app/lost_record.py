"""A witness that lost its record of one log goes on from a head that two operators compared.

Decides: which logs stand still for this reason, that nothing else is overwritten, the entry of the act. Leaves to
others: comparing the numbers (people, over another way than this one), cosigning on from there (``witness``).
Source: evidence-log 1.9 (attack-tests L10c).

Whoever accepts a head that is too small lets that log fork before it, in his own name: so it is an entry of its own.
"""

from __future__ import annotations

from typing import Final

from trustnode.app.venue import Venue, log
from trustnode.app.witness import BEGUN_PREFIX, is_peer_in_force
from trustnode.core.evidence.tree import HASH_BYTES
from trustnode.core.peering import PeeringState
from trustnode.errors import error
from trustnode.store.checkpoints import Witnessed
from trustnode.store.unit import Tx, View

ENTRIES: Final = "accepted-entries"
"""Unit of the amount in the entry."""


def is_lost(view: View, peering: PeeringState, origin: str) -> bool:
    """Whether a peer's open log was cosigned here under this peering, and the record of it is gone."""
    begun = view.setting(BEGUN_PREFIX + origin)
    return is_peer_in_force(peering) and begun == peering.document and view.witnessed(origin) is None


async def accept(venue: Venue, domain: str, size: int, root: bytes) -> None:
    """Take a head for the one that was cosigned last, by the word of the operator.

    Args:
        venue: The node.
        domain: Whose log it is.
        size: Its entries.
        root: Its root, 32 bytes.

    Raises:
        TrustnodeError: NOT_FOUND, no such peer; PRECONDITION_OPEN, nothing is lost; FIELD_FORMAT.
    """
    if size < 1 or len(root) != HASH_BYTES:
        raise error("FIELD_FORMAT", "a head has a size from 1 and a root of 64 hexadecimal digits", field="root")

    origin = venue.keyring.log_origin(domain)

    def unit(tx: Tx) -> str:
        peering = tx.get(PeeringState, domain)
        if peering is None:
            raise error("NOT_FOUND", f"no peering with {domain[:80]}")
        if not is_lost(tx, peering, origin):
            raise error("PRECONDITION_OPEN", f"the record of the log of {domain} is not lost: it is cosigned as before")
        tx.set_witnessed(Witnessed(origin, size, root, b"", tx.now))
        tx.log(
            "node", venue.domain, "log.cosign", actor=domain[-64:], documents=(root.hex(),), amount=size, unit=ENTRIES,
            stage="EVIDENCE_LOG",
        )  # fmt: skip
        return tx.now

    await venue.store.write(unit, event_id="", returns=str)
    log.warning("a head was accepted by hand", origin=origin, size=size, root=root.hex())
