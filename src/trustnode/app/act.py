"""Acts: life-cycle steps that carry nothing but themselves, sent to the noun they are about.

Decides: which noun takes an act. Leaves to others: everything else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from trustnode.app import access, agreement, catalog, contract, participant, peering, product
from trustnode.app.submission import Submission, Unit, handles
from trustnode.core.contract import Act
from trustnode.errors import error

PREPARE: Final[Mapping[str, Callable[[Submission[Act]], Awaitable[Unit]]]] = {
    "participant": participant.prepare_act,
    "peering": peering.prepare_act,
    "product": product.prepare_product_act,
    "listing": catalog.prepare_listing_act,
    "negotiation": contract.prepare_negotiation_act,
    "agreement": agreement.prepare_act,
    "access": access.prepare_act,
}
"""Machine -> who takes its acts. A grant moves by its agreement, a negotiation by messages or the venue's yes."""


@handles(Act, "CLIENT", "OPERATOR", "PEER", "SELF")
async def act(submission: Submission[Act]) -> Unit:
    """Hand an act to its noun."""
    prepare = PREPARE.get(submission.value.machine)
    if prepare is None:
        raise error("ROLE_NOT_ALLOWED", f"a {submission.value.machine} is not moved by acts")
    if submission.sender.kind == "PEER" and submission.value.machine not in ("peering", "agreement"):
        raise error("ROLE_NOT_ALLOWED", f"a peer does not move a {submission.value.machine} here")
    return await prepare(submission)
