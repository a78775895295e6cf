"""Two venues whose keys and cards are replaced while they work, and what an operator does for it."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trustnode import config
from trustnode.app import courier, follower, introducing
from trustnode.core.document import Document, Signer, seal
from trustnode.core.identity import Card, check_card
from trustnode.core.peering import PeeringState
from trustnode.home import SystemClock
from trustnode.keys import load_node_keys, read_card, root_signers, write_card
from trustnode.keys.cards import draft_card
from trustnode.node import Node
from trustnode.testing.network import Network, until

ZJ, GZ = "zj.example", "gz.example"


def impatient(patch: pytest.MonkeyPatch) -> None:
    """Let nodes look again sooner than they do for people."""
    patch.setattr(follower, "RETRY_S", 0.1)
    patch.setattr(introducing, "LOOK_S", 0.2)
    patch.setattr(introducing, "PATIENCE_S", 0.5)
    patch.setattr(courier, "FIRST_PAUSE_S", 0.1)


def drafted(home: Path, **changes: Any) -> Card:
    """The next version as settings and key files have it, with changes a test wants."""
    who, now = config.load(home, {}).config.node, SystemClock().now()
    level: Any = who.level
    card = draft_card(
        keys=load_node_keys(home, who.trust_domain, now), id=str(uuid.uuid4()), now=now, node_id=who.node_id,
        level=level, area=who.area, name=who.name, endpoints=(who.listen,), subject=who.subject or None,
        previous=check_card(read_card(home), None), roots=changes.pop("roots", None),
    )  # fmt: skip
    return msgspec.structs.replace(card, **changes)


def next_version(home: Path) -> Document:
    """The next version of a node that may be down, signed by the roots in its home."""
    return seal(drafted(home), *root_signers(home))


def version(node: Node, *signers: Signer, **changes: Any) -> Document:
    """The next version, signed by the roots in the home or by those given."""
    return seal(drafted(node.home, **changes), *(signers or root_signers(node.home)))


async def install(node: Node, *signers: Signer, **changes: Any) -> Document:
    """Make the next version the card of a node, as ``card next`` does."""
    card = version(node, *signers, **changes)
    write_card(node.home, card)
    await node.reload()
    return card


async def holds(network: Network, at: str, card: Document) -> None:
    """Wait until a venue follows a version."""
    other = msgspec.json.decode(card.payload, type=Card).trust_domain

    async def there() -> bool:
        state = await network[at].venue.store.read(lambda view: view.get(PeeringState, other))
        held = network[at].venue.keyring.cards[other].digest
        return state is not None and state.card == card.digest == held

    await until(there)
