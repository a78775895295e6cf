"""The story of an agreement: one line an event, refusals too, as the logs of its nodes tell it.

Decides: whose log is told, and in which time. Leaves to others: the words (``core.evidence.story``), whether any of it
is true (``verify``).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trustnode.core.contract import Agreement
from trustnode.core.evidence.bundle import Part, unpack
from trustnode.core.evidence.note import cosigned_when
from trustnode.core.evidence.quorum import parse_policy
from trustnode.core.evidence.story import told

if TYPE_CHECKING:
    from trustnode.cli.session import Session


class Event(NamedTuple):
    """One line of the story."""

    time: str
    event: str
    text: str
    node: str
    """Trust domain of the node whose log says so."""
    witnessed: bool
    """Whether the agreed witnesses have cosigned a head that covers it, as the node says; not checked here."""


def tell(connection: Session, agreement: str) -> list[Event]:
    """Everything that the log of the providing node says, or that of the other node where that is all there is."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "story.bundle"
        connection.bundle(agreement, file)
        contents = unpack(file.read_bytes())
    domain = next((node for node in contents.nodes if node in contents.parts), "")
    if not domain:
        return []
    part = contents.parts[domain]
    sealed = _sealed_up_to(part, contents.value(), domain)
    lines = zip(part.chain, told(part.chain, contents.documents), strict=True)
    return [Event(*line, domain, entry.index <= sealed) for entry, line in lines]


def _sealed_up_to(part: Part, value: Agreement, domain: str) -> int:
    """Index of the last entry that a quorum has cosigned; -1: none."""
    policies = (parse_policy(text) for text in value.witness_policies)
    policy = next((one for one in policies if one.covers_log_of(domain)), None)
    if policy is None or not policy.asks:
        return -1
    for index, proof in sorted((part.proofs or {}).items(), reverse=True)[:1]:
        if policy.met_at(policy.by_names(cosigned_when(proof.checkpoint))) is not None:
            return index
    return max(part.seals, default=-1)
