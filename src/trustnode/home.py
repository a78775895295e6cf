"""The home folder of a node: making it, and looking into one whose node does not run.

Decides: which files a new home has, and that nothing that is there is changed. Leaves to others: the keys themselves
(``keys``), settings (``config``), running a node in it (``node``), putting a lost one right (``maintenance``).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from cryptography import x509

from trustnode import config as settings
from trustnode.core import clock, identifier
from trustnode.core.document import Document
from trustnode.core.identity import fingerprint
from trustnode.core.identity.card import Level
from trustnode.errors import error
from trustnode.keys import (
    NodeKeys,
    create_node_keys,
    issue_card,
    load_node_keys,
    read_card,
    root_signers,
    write_card,
)
from trustnode.keys.authority import APPLY_LIFE, issue_credential, renewal_time
from trustnode.keys.cards import CARD_FILE
from trustnode.keys.files import write_secret
from trustnode.store import connection
from trustnode.store.check import check_store
from trustnode.store.difference import Difference
from trustnode.store.log import read_head

MASK_KEY_FILE: Final = "mask.key"


class SystemClock:
    """The clock of this machine."""

    def now(self) -> str:
        """The present instant as the canonical text."""
        return clock.from_ms(time.time_ns() // 1_000_000)


class Initialised(NamedTuple):
    """What ``initialise`` made."""

    node_id: str
    made: tuple[str, ...]
    """Files that were not there before."""
    fingerprint: str


def initialise(
    home: Path,
    *,
    venue: str,
    level: Level,
    area: str,
    subject: str,
    trust_domain: str,
    listen: str,
    dns: Sequence[str] = (),
    endpoints: Sequence[str] = (),
    roots: tuple[int, int] = (1, 1),
) -> Initialised:
    """Make the home of a node: settings, keys, card. What is there already is never changed.

    ``roots`` is how many root keys have to sign a card, of how many.

    Raises:
        TrustnodeError: FIELD_FORMAT, IDENTIFIER_INVALID, CONFIG_INVALID.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    now, made = SystemClock().now(), []
    if not (home / settings.FILE_NAME).exists():
        values = {
            "node.trust_domain": trust_domain, "node.name": venue, "node.level": level, "node.area": area,
            "node.subject": subject, "node.listen": listen, "node.dns": list(dns),
            "node.endpoints": list(endpoints) or [listen],
            "node.node_id": _new_node_id(level, subject, area),
        }  # fmt: skip
        settings.write_default(home / settings.FILE_NAME, values)
        made.append(settings.FILE_NAME)
    node = settings.load(home, {}).config.node
    made += create_node_keys(home, node.trust_domain, now, roots=roots[1])
    made += applicant_certificate(home, node.trust_domain, now)
    if not (home / "keys" / MASK_KEY_FILE).exists():
        write_secret(home / "keys" / MASK_KEY_FILE, secrets.token_bytes(32))
        made.append(f"keys/{MASK_KEY_FILE}")
    if not (home / CARD_FILE).exists():
        write_card(home, first_card(home, node, now, roots[0]))
        made.append(CARD_FILE)
    return Initialised(node.node_id, tuple(made), fingerprint(read_card(home)))


def _new_node_id(level: str, subject: str, area: str) -> str:
    """A new identifier that may stand in a SPIFFE id: one in 37 ends in ``*``, which no path there holds."""
    while True:
        made = identifier.node_id(level, subject, area, identifier.random_part(secrets.token_bytes(8)))
        if "*" not in made:
            return made


def first_card(home: Path, node: settings.Node, now: str, threshold: int = 1) -> Document:
    """Sign version 1 of the card with the root keys that were just made.

    Raises:
        TrustnodeError: CONFIG_INVALID when no root key is on this machine.
    """
    root = root_signers(home)
    if not root:
        raise error("CONFIG_INVALID", "root.key is not on this machine and there is no card yet", field="root.key")
    keys = load_node_keys(home, node.trust_domain, now)
    level: Any = node.level
    return issue_card(
        root=root, threshold=threshold, keys=keys, id=str(uuid.uuid4()), now=now, node_id=node.node_id, level=level,
        area=node.area, name=node.name, endpoints=tuple(node.endpoints) or (node.listen,), subject=node.subject or None,
    )  # fmt: skip


def applicant_certificate(home: Path, trust_domain: str, now: str) -> tuple[str, ...]:
    """Make the certificate that our card file carries, so that a venue we do not know can apply here."""
    chain, key = home / "keys" / "apply.pem", home / "keys" / "apply.key"
    keys = load_node_keys(home, trust_domain, now)
    if chain.exists() and key.exists() and _is_fresh(chain.read_bytes(), keys, now):
        return ()
    spiffe = f"spiffe://{trust_domain}/apply/{secrets.token_hex(8)}"
    made = issue_credential(keys.authority, spiffe, now, APPLY_LIFE)
    key.unlink(missing_ok=True)
    write_secret(key, made.key_pem)
    chain.write_bytes(made.chain_pem)
    return ("keys/apply.key", "keys/apply.pem")


def _is_fresh(chain_pem: bytes, keys: NodeKeys, now: str) -> bool:
    """Whether a certificate is in the first half of its life and of our present authority."""
    leaf, *issuers = x509.load_pem_x509_certificates(chain_pem)
    return renewal_time(leaf) > now and keys.authority.intermediate.certificate in issuers


class StoreChecked(NamedTuple):
    """What a check of a stopped node's store found."""

    entries: int
    differences: list[Difference]


def check_stopped(home: Path) -> StoreChecked:
    """Compare the store of a node that does not run with its log; nobody can start it meanwhile.

    Raises:
        TrustnodeError: CONFIG_INVALID, a node runs on it; NOT_FOUND, there is no store.
    """
    path = home / settings.load(home, os.environ).config.store.path
    if not path.exists():
        raise error("NOT_FOUND", f"{path.name} is not in {home}; the node was never started", field="home")
    with connection.lock(path):
        found = check_store(path)
        with contextlib.closing(connection.open_reader(path)) as db:
            entries = 0 if found else read_head(db).size
        return StoreChecked(entries, found)
