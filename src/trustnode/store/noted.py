"""Small facts that decide whom to believe, compared with the kept documents that told them.

Decides: which settings follow from documents: keys and certificates that a venue took back, operators of the home.
Leaves to others: taking such a document in (``app``), the documents themselves (``check`` compares each with its
digest).

Who can write to the disk could otherwise let a stolen key count again, or make himself a second operator.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final, TypeVar

import msgspec

from trustnode.core.operator import Operator, OperatorAct
from trustnode.core.peering import Status, StatusEvent
from trustnode.store.difference import Difference

REVOKED_PREFIX: Final = "revoked/"
"""Settings: ``revoked/<trust domain>/<kid>`` -> time from which no signature of the key counts."""
SERIAL_PREFIX: Final = "denied-serial/"
"""Settings: ``denied-serial/<trust domain>/<hex serial>`` -> since when the certificate is refused."""
OPERATOR_PREFIX: Final = "operator/"
"""Settings: an operator by name."""
T = TypeVar("T")


def differences(db: sqlite3.Connection) -> Iterator[Difference]:
    """Every key that was taken back and counts again, and every operator whom no act appoints."""
    yield from _ends(db)
    yield from _operators(db)


def _ends(db: sqlite3.Connection) -> Iterator[Difference]:
    stored = _settings(db, REVOKED_PREFIX) | _settings(db, SERIAL_PREFIX)
    for notice in _documents(db, "status", Status):
        for event in notice.events:
            name, since = _end_of(notice.iss, event)
            held = stored.get(name, "")
            if name and (not held or (name.startswith(REVOKED_PREFIX) and held > since)):
                message = f"{event.kind} since {since} was told, {held or 'nothing'} is kept"
                yield Difference(where="setting", message=message, object=name)


def _end_of(issuer: str, event: StatusEvent) -> tuple[str, str]:
    """The setting that an event leads to, and since when; empty where it leads to none."""
    if event.kind == "KEY_REVOKED":
        return f"{REVOKED_PREFIX}{issuer}/{event.subject}", event.invalid_from or event.effective
    if event.kind == "CERT_DENIED":
        return f"{SERIAL_PREFIX}{issuer}/{event.subject.lower().lstrip('0')}", event.effective
    return "", ""


def _operators(db: sqlite3.Connection) -> Iterator[Difference]:
    told: dict[str, str] = {}
    for act in _documents(db, "operator-act", OperatorAct):
        if act.act == "admin.remove":
            told.pop(act.arguments[0] if act.arguments else "", None)
        elif act.act == "admin.add":
            told[act.arguments[0]] = appointed(act)
    stored = {name.removeprefix(OPERATOR_PREFIX): value for name, value in _settings(db, OPERATOR_PREFIX).items()}
    for name in sorted({*told, *stored}):
        if told.get(name) != stored.get(name):
            yield Difference(
                where="setting", message="not what the kept acts of operators say", object=f"operator {name}"
            )


def appointed(act: OperatorAct) -> str:
    """The operator that ``admin.add`` appoints, as it is kept.

    Raises:
        ValidationError: What the act says is no operator.
    """
    fields = dict(zip(("name", "role", "public", "account"), act.arguments, strict=False))
    return msgspec.json.encode(msgspec.convert(fields, Operator)).decode()


def _settings(db: sqlite3.Connection, prefix: str) -> dict[str, str]:
    return dict(
        db.execute("select name, value from setting where substr(name, 1, ?) = ?", (len(prefix), prefix)).fetchall()
    )


def _documents(db: sqlite3.Connection, name: str, kind: type[T]) -> Iterator[T]:
    """Kept documents of a type, in the order in which they came; one that cannot be read is told elsewhere."""
    rows = db.execute(
        "select payload from document where type = ? order by rowid", (f"application/vnd.trustnode.{name}.v1+json",)
    )
    for (payload,) in rows:
        try:
            yield msgspec.json.decode(payload, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
