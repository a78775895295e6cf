"""Every kind of object that moves, by the name of its table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trustnode.core.access import ACCESS, AccessState
from trustnode.core.catalog import LISTING, PRODUCT, CatalogEntry, ListingState, ProductState
from trustnode.core.contract import AGREEMENT, GRANT, NEGOTIATION, AgreementState, GrantState, NegotiationState
from trustnode.core.duty import DUTY, DutyState
from trustnode.core.lifecycle import Machine, State
from trustnode.core.participant import PARTICIPANT, ParticipantState
from trustnode.core.peering import PEERING, PeeringState

STATES: Final[Mapping[str, type[State]]] = {
    "participant": ParticipantState,
    "peering": PeeringState,
    "product": ProductState,
    "listing": ListingState,
    "catalog": CatalogEntry,
    "negotiation": NegotiationState,
    "agreement": AgreementState,
    "grant": GrantState,
    "access": AccessState,
    "duty": DutyState,
}
"""Closed; ``catalog`` has no machine: it mirrors what venues say."""

MACHINES: Final[Mapping[str, Machine[Any]]] = {
    "participant": PARTICIPANT,
    "peering": PEERING,
    "product": PRODUCT,
    "listing": LISTING,
    "negotiation": NEGOTIATION,
    "agreement": AGREEMENT,
    "grant": GRANT,
    "access": ACCESS,
    "duty": DUTY,
}
KINDS: Final[Mapping[type[State], str]] = {state: name for name, state in STATES.items()}
