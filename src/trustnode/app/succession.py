"""Closing a log that lost entries which nobody can give back, and opening the next one that names it.

Decides: how far the closed log was seen (our own signature, or our own head record, nothing else), that no mirror can
help, what the one unit writes that opens the next log, and that a succession which was cut off is either not begun or
finished at the next start. Leaves to others: who may order it (``core.operator``), the card (``keys.cards``, its
roots), what others make of it (``witness``, ``core.evidence.checks.logs``). Source: evidence-log 9, surface 6.

The store goes on: the surviving entries are the beginning of the next log. Its name and its key are new, so no second
history of the old name is ever signed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, NamedTuple

from trustnode.app import history, salvage
from trustnode.app.cosigning import ASK_S
from trustnode.app.history import LOG_NUMBER, SHOWN, own_keys
from trustnode.app.recovery import RESTORED, Order, compare_restored, is_restored, restored_by
from trustnode.app.transition import suspend_agreements
from trustnode.app.venue import Venue
from trustnode.app.witness import is_peer_in_force
from trustnode.core import envelope
from trustnode.core.contract import AgreementState
from trustnode.core.document import Document, Verified, decode
from trustnode.core.evidence.witness import AddCheckpoint, open_own
from trustnode.core.identity import Card, log_number
from trustnode.core.peering import PeeringState
from trustnode.errors import TrustnodeError, error
from trustnode.keys import rotation
from trustnode.keys.cards import read_card, write_card
from trustnode.store import check
from trustnode.store.head import HeadRecord, read_record, write_record
from trustnode.store.unit import Tx, View

STAGED_CARD: Final = "succession.card"
"""In the home: the signed card that opens the next log, until it has taken its place."""
CLOSED_PREFIX: Final = "log/closed/"
"""Settings: the largest note of a closed log of ours that anybody showed, by its number."""


class Loss(NamedTuple):
    """How a log ends."""

    origin: str
    size: int
    """At which it was seen last."""
    root: bytes
    held: int
    """Entries that are left: those before the one that opens the next log."""
    seen_by: str
    """Who showed it; empty: our own head record, or nobody."""
    note: bytes = b""
    """With our own signature; empty where nobody showed one."""

    @property
    def arguments(self) -> tuple[str, str, str, str]:
        """As an act binds it: an approval is for this loss and no other."""
        return self.origin, str(self.size), self.root.hex(), str(self.held)

    @property
    def words(self) -> str:
        """For a person: ``zj.example/log was seen at 48,211; we hold 47,950: 261 entries are lost``."""
        if self.size == self.held:
            return f"{self.origin} ends at {self.held:,}; whether more was signed, nobody knows"
        lost = f"{self.size - self.held:,} entries are lost"
        return f"{self.origin} was seen at {self.size:,}; we hold {self.held:,}: {lost}"


# --- how far it was seen --------------------------------------------------------------------------------------------


async def loss(venue: Venue, without: Collection[str] = ()) -> Loss:
    """Ask everybody who may know more of our log, and say what is lost for good.

    Args:
        venue: A stopped node.
        without: Peers that do not answer and that the operator goes on without.

    Raises:
        TrustnodeError: ILLEGAL_TRANSITION, nothing is lost, or a mirror can give it back; PEER_UNREACHABLE, somebody
            who may hold it does not answer.
    """
    asked, (shown, silent) = await asyncio.gather(salvage.survey(venue), _shown(venue))
    _check_answers({**asked.silent, **silent}, without)
    own = venue.store.head()
    seen = [Loss(venue.log_origin, one.signed.size, one.signed.root, own.size, one.venue, one.note)
            for one in asked.copies]  # fmt: skip
    for domain, note in (*shown, ("", (await venue.store.read(lambda view: view.setting(SHOWN))).encode())):
        signed = open_own(note, own_keys(venue, standing=True)) if note else None
        if signed is not None:
            seen.append(Loss(venue.log_origin, signed.head.size, signed.head.root, own.size, domain, note))
    record = await asyncio.to_thread(read_record, venue.store.path)
    if isinstance(record, HeadRecord):
        seen.append(Loss(venue.log_origin, record.size, bytes.fromhex(record.root), own.size, ""))
    end = max(seen, key=lambda one: one.size, default=None)
    if end is None or end.size <= own.size:
        if asked.copies or not await is_restored(venue) or not (await compare_restored(venue)).why:
            raise error("ILLEGAL_TRANSITION", f"nothing of {venue.log_origin} is lost: it ends at {own.size:,} here")
        end = Loss(venue.log_origin, own.size, own.root, own.size, "")
    helper = next((one for one in asked.copies if one.size >= end.size > own.size), None)
    if helper is not None:
        step = f"trustnode log recover --from {helper.venue}"
        raise error("ILLEGAL_TRANSITION", f"{helper.venue} holds all {end.size:,} entries", next_step=step)
    return end


def _check_answers(silent: Collection[str], without: Collection[str]) -> None:
    missing = sorted(set(silent) - set(without))
    if missing:
        step = "Wait for them; or go on without: " + " ".join(f"--without {name}" for name in missing)
        raise error("PEER_UNREACHABLE", f"{', '.join(missing)} may hold what is lost, and gives no answer that counts",
                    next_step=step)  # fmt: skip


async def _shown(venue: Venue) -> tuple[list[tuple[str, bytes]], dict[str, str]]:
    """What every witness has cosigned of our log last, and who does not answer."""
    kept = await venue.store.read(lambda view: view.newest_checkpoint())
    names = await venue.store.read(_witnesses) if kept is not None else []
    if kept is None:
        return [], {}
    body = AddCheckpoint(0, (), kept.note).body
    found = await asyncio.gather(*(_held(venue, name, body) for name in names))
    told = [(name, one) for name, one in zip(names, found, strict=True) if isinstance(one, bytes) and one]
    return told, {name: one for name, one in zip(names, found, strict=True) if isinstance(one, str)}


async def _held(venue: Venue, name: str, body: bytes) -> bytes | str:
    try:
        return (await venue.peers.get(name).add_checkpoint(body, timeout_s=ASK_S)).held
    except TrustnodeError as problem:
        return problem.message


def _witnesses(view: View) -> list[str]:
    return [one.id for one in view.find(PeeringState, state="APPROVED", limit=10_000) if is_peer_in_force(one)]


# --- one step -------------------------------------------------------------------------------------------------------


async def succeed(venue: Venue, end: Loss, card: Verified[Card], order: Order) -> tuple[str, ...]:
    """Write the first entry of the next log; with it the store is of that log, and the card follows.

    Args:
        venue: A stopped node.
        end: What is lost, as it was ordered.
        card: The card that opens the next log, signed by its roots.
        order: Who decided it.

    Returns:
        Agreements that wait: what was used under them since the backup is not told by any entry.

    Raises:
        TrustnodeError: STALE_VERSION, the store is not the one that the loss was reckoned for.
    """
    return await venue.store.write(_unit(venue, end, card, order), event_id="", returns=tuple[str, ...])


def _unit(venue: Venue, end: Loss, card: Verified[Card], order: Order) -> Callable[[Tx], tuple[str, ...]]:
    number = log_number(card.value)

    def unit(tx: Tx) -> tuple[str, ...]:
        if tx.evidence.head().size != end.held or history.log_number(tx) >= number:
            raise error("STALE_VERSION", f"the store no longer ends at {end.held:,} of {end.origin}")
        tx.keep(card.document)
        acts = (tx.keep(order.document) if order.document else "", restored_by(tx))
        documents = tuple(dict.fromkeys((card.digest, *(act for act in acts if act))))
        tx.log(
            "node", venue.domain, "log.succeed", actor=order.actor, documents=documents, amount=end.size,
            unit="entries", previous_object=end.origin, previous_link=end.root.hex(),
        )  # fmt: skip
        tx.set_setting(LOG_NUMBER, str(number))
        tx.set_setting(f"{CLOSED_PREFIX}{number - 1}", end.note.decode())
        for name in (SHOWN, RESTORED):
            tx.set_setting(name, "")
        return _suspend(tx, venue.domain)

    return unit


def _suspend(tx: Tx, domain: str) -> tuple[str, ...]:
    """Which agreements the lost entries were about nobody can say, so each one waits for the venue's operator."""
    found = tx.find(AgreementState, state=("PERFORMING", "SUSPENDED"), provider_node=domain, limit=100_000)
    suspend_agreements(tx, found, "VENUE", actor="V")
    return tuple(one.id for one in found)


# --- files ----------------------------------------------------------------------------------------------------------


def finish(home: Path, store: Path, now: str) -> bool:
    """Let the staged card and key take their place where the store is of the next log already.

    The unit of ``succeed`` is the one moment: before it everything is as it was, whatever files are staged; behind it
    every start, and every repair, does this first. Repeating it changes nothing.

    Returns:
        Whether a succession was finished now.

    Raises:
        TrustnodeError: CONFIG_INVALID, STORE_CORRUPT.
    """
    staged = home / STAGED_CARD
    if not staged.exists() or not store.exists():
        return False
    card, keys = envelope.decode(staged.read_bytes()), home / "keys"
    with check.reading(store) as view:
        if history.log_number(view) != log_number(decode(card, Card)) or view.document(card.digest) is None:
            return False
        head = view.evidence.head()
        record = HeadRecord(size=head.size, root=view.evidence.root(head.size).hex(), time=now)
    write_record(store, record)
    if read_card(home).digest != card.digest:
        write_card(home, card)
    rotation.finish(keys)
    if rotation.is_staged(keys, "log"):
        rotation.promote(keys, "log", now)
    rotation.drop_old(keys, "log")  # whoever finds it later finds nothing to sign the closed log with
    staged.unlink()
    return True


def staged_card(home: Path) -> Document | None:
    """The card that waits to open the next log."""
    path = home / STAGED_CARD
    return envelope.decode(path.read_bytes()) if path.exists() else None


def stage_card(home: Path, card: Document) -> None:
    """Let a card wait; nothing follows from it before the store is of its log."""
    fresh = home / f"{STAGED_CARD}.new"
    fresh.write_bytes(envelope.encode(card))
    fresh.replace(home / STAGED_CARD)
