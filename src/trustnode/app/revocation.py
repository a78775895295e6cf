"""Keys and certificates that no longer count: what a venue says of its own, kept here and at its peers.

Decides: that a venue speaks of its own keys alone, that the earliest ``invalid_from`` stays, what is remembered between
starts. Leaves to others: the notice's way (``peering``, ``follower``), the key ring in memory (``keyring``), what a
participant without a key may still do (``participant``). Source: protocol 1.4, 8.1; identity 8.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from trustnode.core.peering import StatusEvent
from trustnode.errors import error
from trustnode.store.noted import REVOKED_PREFIX, SERIAL_PREFIX
from trustnode.store.unit import Tx, View

OWN_CARD: Final = "own-card"
"""Setting: digest of the newest version of our own card that was taken in."""
_KID: Final = re.compile("[0-9a-f]{64}")
_SERIAL: Final = re.compile("[0-9a-f]{1,40}")


class Revoked(NamedTuple):
    """A key that its venue took back."""

    issuer: str
    kid: str
    invalid_from: str


def revoke_key(tx: Tx, event: StatusEvent, issuer: str) -> None:
    """Keep that a venue took one of its keys back.

    Raises:
        TrustnodeError: FIELD_FORMAT.
    """
    if not _KID.fullmatch(event.subject):
        raise error("FIELD_FORMAT", "a revoked key is named by its kid, 64 hexadecimal digits", field="subject")
    name = f"{REVOKED_PREFIX}{issuer}/{event.subject}"
    since, told = event.invalid_from or event.effective, tx.setting(name)
    tx.set_setting(name, min(since, told) if told else since)


def deny_certificate(tx: Tx, event: StatusEvent, issuer: str) -> None:
    """Keep that a venue took one of its certificates back.

    Raises:
        TrustnodeError: FIELD_FORMAT.
    """
    serial = event.subject.lower().lstrip("0")
    if not _SERIAL.fullmatch(serial):
        raise error("FIELD_FORMAT", "a certificate is named by its serial, in hexadecimal digits", field="subject")
    tx.set_setting(f"{SERIAL_PREFIX}{issuer}/{serial}", event.effective)


def revoked_keys(view: View) -> tuple[Revoked, ...]:
    """Every key that was taken back, ours and others'."""
    found = view.settings(REVOKED_PREFIX)
    names = ((name.removeprefix(REVOKED_PREFIX).rpartition("/"), since) for name, since in found.items())
    return tuple(Revoked(issuer, kid, since) for (issuer, _, kid), since in names)


def denied_serials(view: View) -> frozenset[tuple[str, str]]:
    """Certificates that are refused, by trust domain and serial."""
    names = (name.removeprefix(SERIAL_PREFIX).rpartition("/") for name in view.settings(SERIAL_PREFIX))
    return frozenset((issuer, serial) for issuer, _, serial in names)
