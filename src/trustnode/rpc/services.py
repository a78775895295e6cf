"""The closed table of methods of a node: every service, joined.

Decides: which services a node serves. Leaves to others: each method (the modules of the services).
"""

from __future__ import annotations

from trustnode.app.cosigning import Cosigning
from trustnode.app.follower import Follower
from trustnode.app.handles import Handles
from trustnode.app.publisher import Publisher
from trustnode.app.reading import Changes
from trustnode.app.venue import Venue
from trustnode.rpc import access, admin, catalog, document, evidence, flight, mirror, participant, peer, witnessing
from trustnode.rpc.health import Health
from trustnode.rpc.methods import MethodTable


def method_table(
    venue: Venue,
    *,
    running: admin.Running,
    changes: Changes,
    follower: Follower,
    health: Health,
    publisher: Publisher,
    cosigning: Cosigning,
) -> MethodTable:
    """Every method that the node serves."""
    return MethodTable(
        (
            *health.methods(),
            *document.methods(venue, changes),
            *catalog.methods(venue, follower),
            *access.methods(venue),
            *evidence.methods(venue, publisher),
            *participant.methods(venue),
            *peer.methods(venue, changes),
            *mirror.methods(venue, publisher),
            *flight.methods(venue, Handles(venue)),
            *admin.methods(venue, running, cosigning),
            *witnessing.methods(venue, cosigning),
        )
    )
