"""The client for programs that have an event loop: ``trustnode.aio``.

Decides: what is public here. Leaves to others: everything. The blocking form of the same classes is derived in
``blocking``.
"""

from __future__ import annotations

from pathlib import Path

from trustnode.sdk.agreement import Agreement, Delivered
from trustnode.sdk.client import Client
from trustnode.sdk.connection import TIMEOUT_S, Connection, Operator
from trustnode.sdk.enrolment import join
from trustnode.sdk.explanation import Explanation
from trustnode.sdk.market import Hits, Listing, OfferView, Product
from trustnode.sdk.negotiation import Negotiation
from trustnode.sdk.output import save
from trustnode.sdk.profile import Profile
from trustnode.sdk.read import Reader
from trustnode.sdk.table import Table

__all__ = [
    "Agreement",
    "Client",
    "Connection",
    "Delivered",
    "Explanation",
    "Hits",
    "Listing",
    "Negotiation",
    "OfferView",
    "Operator",
    "Product",
    "Profile",
    "Reader",
    "Table",
    "connect",
    "join",
    "operator",
    "save",
]


def connect(profile: str | Path | None = None, *, timeout_s: float = TIMEOUT_S) -> Client:
    """Connect to the home node of a profile; use it in an ``async with`` block.

    Args:
        profile: Name or folder; by default TRUSTNODE_PROFILE, else the only one there is.
        timeout_s: Deadline of calls that name none, seconds.

    Raises:
        TrustnodeError: CONFIG_INVALID when there is no such profile. Nothing is called yet.
    """
    return Client(Profile.open(profile), timeout_s=timeout_s)


def operator(home: str | Path, *, timeout_s: float = TIMEOUT_S) -> Operator:
    """The operator of a node on this machine, over the node's local socket."""
    return Operator(Path(home), timeout_s=timeout_s)
