"""The signed act by which a venue erases what entries of its log say (evidence-log 4).

Decides: the document, and which entries may go. Leaves to others: erasing (``store``), the entry that reports it
(``app.erasing``).

Erasing takes salt and statement away; commitment, link and leaf stay, so that every proof still verifies and the chain
of the object shows where something is gone. What an entry told of states and counters goes with it: the object cannot
be told again from the log, and a check of the store calls it erased, not different. So an entry that moved something
may go only when the object of its chain has ended, and some never, because a bundle stands on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from trustnode.core.document import Count, Digest, Required, Statement
from trustnode.core.evidence.entry import Entry

MAX_ENTRIES: Final = 1000

_BOTH_TELL: Final = "the other venue's log tells of it too: a gap here would look like an omission"
_STOP: Final = "it tells when nothing might be read; with a gap here a read inside a stop would look allowed"
LASTING: Final[Mapping[str, str]] = {
    "log.erase": "it is what shows that the gap is no accident",
    "contract.sign": "it binds the agreement to this log; without it no bundle of the agreement verifies",
    "access.request": _BOTH_TELL,
    "access.decide": _BOTH_TELL,
    "delivery.complete": _BOTH_TELL,
    "delivery.abort": _BOTH_TELL,
    "clearing.meter": _BOTH_TELL,
    "proof.fulfil": _BOTH_TELL,
    "proof.overdue": _BOTH_TELL,
    "delivery.prepare": "it commits to the mark of a copy before anybody has it; without it a leak proves nothing",
    "contract.suspend": _STOP,
    "contract.resume": _STOP,
    "grant.suspend": _STOP,
    "grant.resume": _STOP,
}
"""Events whose entries are never erased, with the reason."""


_PROOF: Final = "bundles of its agreement stand on it, at the other venue too"
_ACT: Final = "it shows who decided what; without it the act would be gone with what it did"
_TRUST: Final = "whom to believe follows from it"
LASTING_DOCUMENTS: Final[Mapping[str, str]] = {
    "agreement": _PROOF,
    "offer": _PROOF,
    "negotiation-message": _PROOF,
    "access-request": _PROOF,
    "delegation": _PROOF,
    "duty-proof": _PROOF,
    "receipt": _PROOF,
    "receipt-ack": _PROOF,
    "act": _ACT,
    "erasure": _ACT,
    "operator-act": _ACT,
    "card": _TRUST,
    "peer-agreement": _TRUST,
    "status": _TRUST,
}
"""Types of documents that are never erased, with the reason. None of them names a natural person."""


class Erasure(Statement, tag="erasure", kw_only=True, frozen=True):
    """The venue erases entries of its log, and documents that say the same."""

    entries: Annotated[tuple[Count, ...], msgspec.Meta(max_length=MAX_ENTRIES)] = ()
    """Indexes in the log; empty: every entry of the object named below that may go."""
    object_kind: Annotated[str, msgspec.Meta(max_length=32)] = ""
    object: Annotated[str, msgspec.Meta(max_length=2048)] = ""
    documents: Annotated[tuple[Digest, ...], msgspec.Meta(max_length=64)] = ()
    """Kept documents that go too: annexes, key documents of somebody who has left."""
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    """Word of ``EraseReason``."""
    authority: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    """Who asked or ordered, on what ground; no name of a person."""

    def required(self) -> tuple[Required, ...]:
        """The venue whose log it is."""
        return (Required(self.iss, "evidence"),)


def why_not(entry: Entry, *, ended: bool) -> str:
    """Why an entry may not be erased now; empty: it may.

    Args:
        entry: What it says.
        ended: Whether the object of its chain has ended.
    """
    if entry.type in LASTING:
        return f"{entry.type} stays: {LASTING[entry.type]}"
    if (entry.moved or entry.reserved or entry.used) and not ended:
        return f"the {entry.object_kind} has not ended, its state is told by this entry"
    return ""
