"""Operators of a home: kept with the store, so that a backup knows who may restore it.

Decides: where they are kept, that a change is an act like others, and its entry. Leaves to others: when an act is
enough (``core.operator``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from trustnode.app.recovery import Order
from trustnode.app.venue import Venue, log
from trustnode.core import envelope
from trustnode.core.document import Document, decode
from trustnode.core.operator import ACTS, CARRIED, Act, Operator, OperatorAct, check_act, check_new, signers
from trustnode.errors import TrustnodeError, error
from trustnode.store import noted
from trustnode.store.unit import Tx, View

PREFIX: Final = noted.OPERATOR_PREFIX


def operators(view: View) -> list[Operator]:
    """Query: all operators, by name."""
    found = view.settings(PREFIX)
    return [msgspec.json.decode(found[name], type=Operator) for name in sorted(found)]


def ordered(
    view: View, document: Document, domain: str, now: str, act: Act, arguments: Sequence[str], *, alone: bool
) -> Order:
    """Check an act against the operators of a store.

    Raises:
        TrustnodeError: As ``check_act``.
    """
    known = operators(view)
    found = check_act(
        document, known, domain=domain, now=now, act=act, arguments=tuple(arguments), alone=alone
    )  # fmt: skip
    return Order(document, found.asked_by, found.approved_by)


def check_unused(view: View, document: Document) -> None:
    """Refuse an act that was carried out: an approval is for once.

    Raises:
        TrustnodeError: REPLAYED.
    """
    if view.document(document.digest) is not None:
        raise error("REPLAYED", "this act was carried out already; ask for another one")


async def change(venue: Venue, document: Document) -> tuple[Operator, ...]:
    """Carry out ``admin.add`` or ``admin.remove``.

    One person alone may add the second; from then on it takes both.

    Returns:
        All operators afterwards.

    Raises:
        TrustnodeError: As ``check_act``; DUPLICATE, FIELD_FORMAT, NOT_FOUND.
    """
    value = decode(document, OperatorAct)
    if value.act not in ("admin.add", "admin.remove"):
        raise error("VOCABULARY_UNKNOWN", f"{value.act} is carried out on a node that does not run", field="act")

    now = venue.clock.now()
    known, order = await venue.store.read(
        lambda view: (
            operators(view),
            ordered(view, document, venue.domain, now, value.act, value.arguments, alone=True),
        )
    )

    def unit(tx: Tx) -> tuple[Operator, ...]:
        if operators(tx) != known:
            raise error("STALE_VERSION", "the operators have changed meanwhile")
        check_unused(tx, document)
        _apply(tx, value)
        event = "identity.register" if value.act == "admin.add" else "identity.revoke"
        tx.log("node", venue.domain, event, documents=(tx.keep(document),), actor=order.actor)
        return tuple(operators(tx))

    return await venue.store.write(unit, event_id=f"operator-act/{document.digest}", returns=tuple[Operator, ...])


KEY_EVENTS: Final[Mapping[Act, str]] = {"key.rotate": "identity.update", "key.revoke": "identity.revoke"}


async def note_carried(venue: Venue, home: Path) -> None:
    """Write down acts about keys that were carried out on the files of this home, once each."""
    for path in sorted((home / ACTS).glob(f"*{CARRIED}")):
        try:
            noting = _noting(venue.domain, envelope.decode(path.read_bytes()))
        except TrustnodeError as problem:
            log.error("not an act of an operator", file=path.name, cause=problem.message)
            continue
        await venue.store.write(noting, event_id="", returns=str)
        path.unlink()


def _noting(domain: str, document: Document) -> Callable[[Tx], str]:
    value = decode(document, OperatorAct)

    def unit(tx: Tx) -> str:
        event = KEY_EVENTS.get(value.act)
        if event is not None and tx.document(document.digest) is None:
            names = [one.name for one in signers(document, operators(tx))]
            others = [name for name in names if name != value.asked_by]
            order = Order(document, value.asked_by if value.asked_by in names else "", (others or [""])[0])
            tx.log("node", domain, event, documents=(tx.keep(document),), actor=order.actor)
        return document.digest

    return unit


def _apply(tx: Tx, value: OperatorAct) -> None:
    known = operators(tx)
    if value.act == "admin.remove":
        (name,) = value.arguments[:1] or ("",)
        if name not in {one.name for one in known}:
            raise error("NOT_FOUND", f"no operator {name[:40]}")
        tx.set_setting(PREFIX + name, "")
        return
    try:
        kept = noted.appointed(value)
    except msgspec.ValidationError as problem:
        raise error("FIELD_FORMAT", f"operator: {problem}", field="arguments") from None
    new = msgspec.json.decode(kept, type=Operator)
    check_new(known, new)
    tx.set_setting(PREFIX + new.name, kept)
