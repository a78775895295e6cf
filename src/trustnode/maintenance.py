"""What is done to the home of a node that does not run: restoring a backup, recovering its log.

Decides: how a stopped home is opened and closed, and that only one process does it. Leaves to others: every rule
(``app.recovery``, ``store.check``), who may order it (``app.operators``). Like ``node``, it knows everybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from trustnode import config as settings
from trustnode.app import operators, recovery, succession, trust
from trustnode.app.keyring import KeyRing
from trustnode.app.streams import Streams
from trustnode.app.venue import Clock, Identity, Venue
from trustnode.core.document import Document, Verified, decode
from trustnode.core.identity import Card, bundle_of, check_card, check_fingerprint, log_number, log_origin
from trustnode.core.operator import Act, Operator, check_act
from trustnode.engine.pool import EngineLimits, EnginePool
from trustnode.errors import TrustnodeError, error
from trustnode.home import MASK_KEY_FILE, SystemClock
from trustnode.keys import load_node_keys, node_credential, read_card, rotation
from trustnode.keys.cards import check_next, earlier_cards
from trustnode.keys.files import read_secret
from trustnode.node import Certificates
from trustnode.store import check, connection
from trustnode.store.head import HeadRecord, read_record, record_path
from trustnode.store.log import Head
from trustnode.store.unit import View
from trustnode.store.writer import Store
from trustnode.wire.channel import Target
from trustnode.wire.peer import Peers

REPORT_FILE = "recover.txt"
T = TypeVar("T")


class Mirror(NamedTuple):
    """A mirror that the store itself may not know, because the store is lost."""

    card: Document
    fingerprint: str
    """As the operator compared it."""


class Asked(NamedTuple):
    """An act for a home whose node does not run."""

    home: Path
    act: Act
    arguments: tuple[str, ...]
    document: Document
    alone: bool = False


def operators_of(home: Path, backup: Path | None = None) -> list[Operator]:
    """Who may order an act: the operators of the store, unless it is lost, or of a backup that is to be restored.

    Whichever knows more people: a backup of the days when one was alone does not make him alone again.
    """
    found = _read(_store_of(home), operators.operators) or []
    kept = (_read(backup, operators.operators) or []) if backup else []
    return kept if len(kept) > len(found) else found


def _read(store: Path, query: Callable[[View], T]) -> T | None:
    """What a store says; None where it is lost, or broken, which is why it is being replaced."""
    if not store.exists():
        return None
    try:
        with check.reading(store) as view:
            return query(view)
    except TrustnodeError:
        return None


def order_of(asked: Asked, backup: Path | None = None) -> recovery.Order:
    """Check an act against the operators that its home, or the backup, knows.

    Raises:
        TrustnodeError: As ``core.operator.check_act``; REPLAYED, it was carried out already.
    """
    if _read(_store_of(asked.home), lambda view: view.document(asked.document.digest)) is not None:
        raise error("REPLAYED", "this act was carried out already; ask for another one")
    found = check_act(
        asked.document, operators_of(asked.home, backup), domain=settings.load(asked.home, {}).config.node.trust_domain,
        now=SystemClock().now(), act=asked.act, arguments=asked.arguments, alone=asked.alone,
    )  # fmt: skip
    return recovery.Order(asked.document, found.asked_by, found.approved_by)


def _store_of(home: Path) -> Path:
    return home / settings.load(home, os.environ).config.store.path


@contextlib.asynccontextmanager
async def opened(
    home: Path,
    *,
    environ: Mapping[str, str] | None = None,
    time: Clock | None = None,
    flags: Mapping[str, Any] | None = None,
) -> AsyncIterator[Venue]:
    """A stopped node with its store open for repair; nothing listens, nothing is signed by itself.

    Raises:
        TrustnodeError: CONFIG_INVALID, a node runs on it; STORE_CORRUPT, the store is not only behind but broken.
    """
    loaded = settings.load(home, os.environ if environ is None else environ, flags).config
    ticking, node = time or SystemClock(), loaded.node
    now = ticking.now()
    succession.finish(home, home / loaded.store.path, now)
    keys = load_node_keys(home, node.trust_domain, now)
    credential = node_credential(home, keys, node.node_id, now, node.dns)
    card = check_card(read_card(home), None)
    async with contextlib.AsyncExitStack() as exits:
        store = await Store.open(
            home / loaded.store.path, clock=ticking.now, node_id=node.node_id,
            reserve_bytes=loaded.disk.reserve_mb << 20, repairing=True,
        )  # fmt: skip
        await exits.enter_async_context(store)
        peers = Peers(credential)
        exits.push_async_callback(peers.aclose)
        venue = Venue(
            identity=Identity(node.trust_domain, node.node_id, node.level, node.area, node.subject, node.name),
            clock=ticking, store=store, keyring=KeyRing(), evidence=keys.evidence, log_key=keys.log,
            witness_key=keys.witness, custody=keys.custody, issuer=Certificates(keys.authority, ticking),
            engine=EnginePool(EngineLimits(max_workers=1)), peers=peers, streams=Streams(),
            mask_secret=read_secret(home / "keys" / MASK_KEY_FILE),
        )  # fmt: skip
        venue.keyring.add_card(card, [check_card(one, None) for one in earlier_cards(home)])
        await _know_peers(venue)
        yield venue


async def _know_peers(venue: Venue) -> None:
    found = await venue.store.read(trust.known)
    trust.load_keyring(venue, found)
    roots, _ = trust.bundles(venue, found)
    for domain, card in venue.keyring.cards.items():
        if domain != venue.domain and domain in roots:
            venue.peers.put(Target(domain, card.value.endpoints, roots[domain].pem))


def know_mirror(venue: Venue, mirror: Mirror) -> str:
    """Let a venue of which the lost store told speak again, by its card and the fingerprint that was compared.

    Returns:
        Its trust domain.

    Raises:
        TrustnodeError: FINGERPRINT_MISMATCH, and as ``check_card``.
    """
    check_fingerprint(mirror.card, mirror.fingerprint)
    now = venue.clock.now()
    card = check_card(mirror.card, now)
    venue.keyring.add_card(card)
    domain = card.value.trust_domain
    venue.peers.put(Target(domain, card.value.endpoints, bundle_of(card.value, now).pem))
    return domain


async def restore(home: Path, copy: Path, order: recovery.Order, **how: Any) -> Head:
    """Put a backup where the store of a stopped node is expected; what was there is moved aside.

    The restored store signs nothing until it was compared with every mirror, or is recovered.

    Raises:
        TrustnodeError: CONFIG_INVALID, a node runs on it, or the copy is of another node; STORE_CORRUPT, the copy fails
            verification.
    """
    loaded = settings.load(home, os.environ if how.get("environ") is None else how["environ"], how.get("flags")).config
    store = home / loaded.store.path
    await asyncio.to_thread(check_own, copy, loaded.node.trust_domain)
    covered = await asyncio.to_thread(_put, copy, store, (how.get("time") or SystemClock()).now())
    async with opened(home, **how) as venue:
        await venue.store.write(recovery.mark_restored(order, covered=covered), event_id="", returns=str)
        return venue.store.head()


def check_own(copy: Path, domain: str) -> None:
    """Refuse a backup of somebody else's store.

    Raises:
        TrustnodeError: CONFIG_INVALID; STORE_CORRUPT, it is no store at all.
    """
    with check.reading(copy) as view:
        card = view.document(view.setting("own-card"))
    if card is not None and (of := decode(card, Card).trust_domain) != domain:
        raise error("CONFIG_INVALID", f"{copy.name} is a backup of {of}, not of {domain}", field="file")


def _put(copy: Path, store: Path, now: str) -> bool:
    """Move the old store aside, put the copy in its place; whether the copy holds all that the old one ever showed."""
    shown = read_record(store)
    with connection.lock(store):
        problems = check.check_store(copy, limit=1, has_record=record_path(copy).exists())
        if problems:
            raise check.corrupt(problems)
        aside = f"{store.name}.replaced-{now[:19].replace(':', '')}"
        for suffix in ("", "-wal", "-shm"):
            part = store.with_name(store.name + suffix)
            if part.exists():
                part.rename(store.with_name(aside + suffix))
        check.restore(copy, store)
        with check.reading(store) as view:
            return isinstance(shown, HeadRecord) and shown.size <= view.evidence.head().size


async def recover(
    home: Path, sources: Sequence[str], order: recovery.Order, *, mirrors: Sequence[Mirror] = (), **how: Any
) -> recovery.Report:
    """Give a stopped node back what its log has lost (``app.recovery.recover``), and write ``recover.txt``.

    Args:
        home: Its folder.
        sources: Trust domains of mirrors that its store knows.
        order: Who decided it.
        mirrors: Mirrors that it does not know, by their cards.
        **how: As ``opened``.

    Raises:
        TrustnodeError: As ``opened`` and ``app.recovery.recover``; STORE_CORRUPT, what is there now fails verification.
    """
    async with opened(home, **how) as venue:
        known = [know_mirror(venue, mirror) for mirror in mirrors]
        report = await recovery.recover(venue, [*sources, *known], order)
        (home / REPORT_FILE).write_text("\n".join(lines_of(report)) + "\n", encoding="utf-8")
        problems = await venue.store.check()
    if problems:
        raise check.corrupt(problems)
    return report


# --- succession -----------------------------------------------------------------------------------------------------


class Succeeded(NamedTuple):
    """A log that was closed, and the one that follows it."""

    loss: succession.Loss
    origin: str
    """Of the next log."""
    waiting: tuple[str, ...]
    """Agreements that were suspended."""


async def loss(home: Path, without: Sequence[str] = (), **how: Any) -> succession.Loss:
    """What a stopped node has lost of its log for good (``app.succession.loss``).

    Raises:
        TrustnodeError: As ``opened`` and ``app.succession.loss``.
    """
    async with opened(home, **how) as venue:
        return await succession.loss(venue, without)


async def succeed(
    home: Path, arguments: Sequence[str], order: recovery.Order, *, without: Sequence[str] = (), **how: Any
) -> Succeeded:
    """Close the log of a stopped node, and open the next one with the card that is staged.

    Args:
        home: Its folder.
        arguments: The loss that was ordered (``Loss.arguments``).
        order: Who decided it.
        without: Peers that do not answer.
        **how: As ``opened``.

    Raises:
        TrustnodeError: As ``loss``; STALE_VERSION, the loss is another one; PRECONDITION_OPEN, no card is staged; as
            ``keys.cards.check_next``.
    """
    async with opened(home, **how) as venue:
        found = await succession.loss(venue, without)
        if found.arguments != tuple(arguments):
            raise error("STALE_VERSION", f"that was ordered for another loss: {found.words}")
        card = checked_card(home, venue.domain, venue.clock.now())
        waiting = await succession.succeed(venue, found, card, order)
        path, now = venue.store.path, venue.clock.now()
    succession.finish(home, path, now)
    return Succeeded(found, log_origin(card.value.trust_domain, log_number(card.value)), waiting)


def checked_card(home: Path, domain: str, now: str) -> Verified[Card]:
    """The staged card that opens the next log.

    Raises:
        TrustnodeError: PRECONDITION_OPEN, none is staged; as ``keys.cards.check_next``.
    """
    staged = succession.staged_card(home)
    if staged is None:
        step = "Sign one: trustnode log succeed --key root.key; or with roots elsewhere: --draft FILE, then --card FILE"
        raise error("PRECONDITION_OPEN", "no card that opens the next log is signed", next_step=step)
    return check_next(staged, read_card(home), load_node_keys(home, domain, now), now, opens_log=True)


def stage_log_key(home: Path) -> None:
    """Make the key of the next log, unless one waits that is on no card: a key never signs two logs.

    Raises:
        TrustnodeError: CONFIG_INVALID.
    """
    keys, domain = home / "keys", settings.load(home, os.environ).config.node.trust_domain
    listed = {key.public for key in decode(read_card(home), Card).keys}
    waiting = rotation.read_staged(keys).next.get("log")
    if waiting is not None and waiting.public.hex() in listed:
        rotation.unstage(keys, "log")
        waiting = None
    if waiting is None:
        rotation.stage(keys, "log", domain, SystemClock().now())


def stage_card(home: Path, card: Document) -> None:
    """Let the card that opens the next log wait for the act that opens it.

    Raises:
        TrustnodeError: As ``keys.cards.check_next``.
    """
    domain, now = settings.load(home, os.environ).config.node.trust_domain, SystemClock().now()
    check_next(card, read_card(home), load_node_keys(home, domain, now), now, opens_log=True)
    succession.stage_card(home, card)


def has_card(home: Path) -> bool:
    """Whether a card that opens the next log waits and is good."""
    domain, now = settings.load(home, os.environ).config.node.trust_domain, SystemClock().now()
    try:
        checked_card(home, domain, now)
    except TrustnodeError:
        return False
    return True


def lines_of(report: recovery.Report) -> list[str]:
    """What a recovery could not bring back, for people."""
    parts = (
        ("statements that nobody gave", report.silent),
        ("documents that nobody gave", report.lost),
        ("objects of which only some steps are told; look at each", report.uncertain),
        ("agreements suspended because their evidence is incomplete: trustnode agreement resume ID", report.waiting),
        ("mirrors that did not answer", tuple(f"{name}: {why}" for name, why in report.not_asked.items())),
    )
    lines = [
        f"{report.entries:,} entries put back behind entry {report.first:,}; the log was signed at {report.size:,}"
    ]
    for title, items in parts:
        lines += ["", f"{len(items):,} {title}", *(f"  {item}" for item in items)]
    return lines
