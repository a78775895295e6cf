"""The closed table of events: which exist, to which family each belongs, in whose chain it stands (protocol 4).

Decides: that an event is a word of the network, and the kinds of object whose chain it may enter. Leaves to others:
when an event happens (the tables of the life cycles).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, get_args

ObjectKind = Literal["agreement", "product", "participant", "peer", "negotiation", "node"]
OBJECT_KINDS: Final[tuple[ObjectKind, ...]] = get_args(ObjectKind)


class Event(NamedTuple):
    """One event."""

    type: str
    family: str
    kinds: tuple[ObjectKind, ...]
    """Kinds of object whose chain it may enter; the first is the usual one."""

    @property
    def kind(self) -> ObjectKind:
        """The kind of object whose chain it enters as a rule."""
        return self.kinds[0]


# An own card is an `identity.update` of the node itself; a denial may name an agreement that does not exist here, and a
# stranger must not be able to start a chain; what comes before `contract.sign` is the chain of the negotiation. A meter
# reading or a dispute of one delivery belongs to its agreement, of a period to the peer; a refused step of an object
# that exists stands where its steps stand.
_ROWS: Final[tuple[tuple[str, tuple[ObjectKind, ...], str], ...]] = (
    ("identity", ("participant", "node"), "register update verify revoke"),
    ("peer", ("peer",), "apply approve reject amend suspend resume terminate"),
    (
        "product",
        ("product",),
        "submit return withdraw discard notice object settle_objection register reject",
    ),
    ("product", ("product",), "change transfer licence renew expire dispute level_change cancel revoke"),
    ("listing", ("product",), "submit approve reject change suspend resume delist"),
    ("demand", ("node",), "post match close"),
    ("contract", ("negotiation",), "request offer accept agree verify lapse withdraw"),
    (
        "contract",
        ("agreement",),
        "sign file activate suspend resume breach remedy dispute settle_dispute fulfil terminate close",
    ),
    ("policy", ("node",), "push parse conflict adapt"),
    ("grant", ("agreement",), "issue activate suspend resume exhaust refill expire revoke"),
    ("access", ("agreement",), "request decide precondition"),
    ("access", ("agreement", "node"), "deny"),
    ("delivery", ("agreement",), "prepare transfer pause relay complete abort"),
    ("use", ("agreement",), "start step derive notify"),
    ("proof", ("agreement",), "fulfil overdue destroy anonymise verify"),
    ("data", ("agreement",), "hold retention_due extend erase_order overdue restrict"),
    ("custody", ("participant",), "act"),
    ("consent", ("participant",), "ask grant refuse withdraw expire replace"),
    ("crossborder", ("node",), "assess approve count export"),
    ("clearing", ("peer", "agreement"), "meter dispute"),
    ("clearing", ("peer",), "statement countersign correct rule net settle settle_failed"),
    ("supervision", ("node",), "inquire freeze cutoff ratelimit lift report"),
    ("incident", ("node",), "notify"),
    ("log", ("node",), "checkpoint cosign erase recover succeed"),
    ("lifecycle", ("node", "agreement", "negotiation", "product", "participant", "peer"), "refuse"),
    ("status", ("node",), "event"),
)

EVENTS: Final[Mapping[str, Event]] = {
    f"{family}.{word}": Event(f"{family}.{word}", family, kinds)
    for family, kinds, words in _ROWS
    for word in words.split()
}
