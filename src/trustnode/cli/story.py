"""The story of an agreement: one line an event, refusals too, as the logs of its nodes tell it.

Decides: whose log is told, and in which time. Leaves to others: the words (``core.evidence.story``), whether any of it
is true (``verify``).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trustnode.core.evidence.bundle import unpack
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


def tell(connection: Session, agreement: str) -> list[Event]:
    """Everything that the log of the providing node says, or that of the other node where that is all there is."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "story.bundle"
        connection.bundle(agreement, file)
        contents = unpack(file.read_bytes())
    domain = next((node for node in contents.nodes if node in contents.parts), "")
    if not domain:
        return []
    return [Event(*line, domain) for line in told(contents.parts[domain].chain, contents.documents)]
