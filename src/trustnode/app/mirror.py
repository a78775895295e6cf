"""Mirrors: peers keep each other's logs, so that a venue which lost its own has it back (evidence-log 1.11).

Decides: who may copy our log and what of it is shown to whom, how a copy of another log grows and which page ends it,
and what of a copy goes back to its owner. Leaves to others: whether lines hold (``core.evidence.mirror``), the tables
(``store.mirror``), putting a log together again (``recovery``).

A mirror learns of every entry that it exists, and what those say to which its venue is a party; of other people's deals
it sees hashes, salted and without a name.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from trustnode.app.publisher import Publisher
from trustnode.app.venue import Sender, Venue, log
from trustnode.app.witness import compare_shown
from trustnode.core.contract import AgreementState, NegotiationState
from trustnode.core.document import Document
from trustnode.core.evidence.checkpoint import SignedCheckpoint, open_checkpoint
from trustnode.core.evidence.edges import TileEdges
from trustnode.core.evidence.mirror import MAX_LINES, Checked, LogLine, check_head, check_lines
from trustnode.core.evidence.note import ED25519, VerifierKey
from trustnode.core.identity import Card
from trustnode.core.participant import domain_of
from trustnode.core.peering import PeeringState, check_scope
from trustnode.errors import TrustnodeError, error
from trustnode.store.log import NamedEntry, chain_object
from trustnode.store.mirror import MirrorHead, size_of
from trustnode.store.unit import Tx, View
from trustnode.wire.mirror import MirrorPage, mirror_log

SCOPE: Final = "EVIDENCE"
LOOK_S: Final = 1.0
"""How often we look whether we have cosigned a larger head of a peer than our copy of its log has; no call."""
ASK_S: Final = 60.0
"""How often a peer is asked although we have cosigned nothing new of its log."""
CALL_S: Final = 20.0
PAGE_BYTES: Final = 1 << 20
MAX_DIGESTS: Final = 256
DOCUMENT_BYTES: Final = 3 << 20
QUOTA_BYTES: Final = 4 << 30
"""Most that the copy of one log may take (``[mirror] quota_mb`` sets another)."""


# --- our own log, for those who mirror it ---------------------------------------------------------------------------


class Page(NamedTuple):
    """A part of our own log."""

    note: bytes
    lines: tuple[LogLine, ...]
    consistency: tuple[bytes, ...]


async def page(venue: Venue, publisher: Publisher, sender: Sender, first: int) -> Page:
    """The next lines of our own log, under the newest checkpoint.

    Raises:
        TrustnodeError: PEER_SUSPENDED, ROLE_NOT_ALLOWED; READ_ONLY, nothing was signed since the start; FIELD_FORMAT.
    """
    if first < 0:
        raise error("FIELD_FORMAT", "entries are numbered from 0", field="first")
    await venue.store.read(lambda view: check_scope(view.get(PeeringState, sender.domain), SCOPE))
    published = publisher.newest if venue.read_only else await publisher.publish()
    if published is None:
        raise error("READ_ONLY", venue.read_only)
    venue.mirrored[sender.domain] = (first, venue.clock.now())
    size = published.checkpoint.size
    lines, proof = await venue.store.read(lambda view: _lines(view, sender.domain, first, size))
    return Page(published.note, lines, proof)


def _lines(view: View, mirror: str, first: int, size: int) -> tuple[tuple[LogLine, ...], tuple[bytes, ...]]:
    if first >= size:
        return (), ()
    is_shown = _Shown(view, mirror)
    named = view.evidence.named(first, min(MAX_LINES, size - first))
    lines = _bounded([_line(one, is_shown(one.kind, one.object)) for one in named])
    last = lines[-1].index + 1 if lines else first
    return lines, tuple(view.evidence.consistency(last, size)) if last else ()


def _line(one: NamedEntry, is_shown: bool) -> LogLine:
    entry, of = one.entry, chain_object(one.kind, one.object)
    shown = (entry.salt, entry.statement) if is_shown else (None, None)
    return LogLine(entry.index, of, entry.seq, entry.commitment, *shown)


def _bounded(lines: Sequence[LogLine]) -> tuple[LogLine, ...]:
    """As many lines as one answer carries, at least one."""
    size = 0
    for count, line in enumerate(lines):
        size += 128 + len(line.statement or b"")
        if count and size > PAGE_BYTES:
            return tuple(lines[:count])
    return tuple(lines)


@dataclass
class _Shown:
    """Whether a mirror's venue is a party to an object, so that it may see what is said of it."""

    view: View
    mirror: str
    known: dict[tuple[str, str], bool] = field(default_factory=dict)

    def __call__(self, kind: str, object: str) -> bool:
        key = (kind, object)
        if key not in self.known:
            self.known[key] = self._is_party(kind, object)
        return self.known[key]

    def _is_party(self, kind: str, object: str) -> bool:
        if kind == "peer":
            return object == self.mirror
        state: AgreementState | NegotiationState | None = None
        if kind == "agreement":
            state = self.view.get(AgreementState, object)
        elif kind == "negotiation":
            state = self.view.get(NegotiationState, object)
        return state is not None and self.mirror in (state.provider_node, state.consumer_node)


# --- copies of other logs -------------------------------------------------------------------------------------------


@dataclass
class Mirrors:
    """Keeps copies of the logs of all peers that opened theirs to us."""

    venue: Venue
    quota_bytes: int = QUOTA_BYTES
    problems: dict[str, str] = field(default_factory=dict)
    """Why the copy of a venue's log does not grow; its operator and ours should know."""
    _asked: dict[str, float] = field(default_factory=dict)
    _monotonic: Callable[[], float] = time.monotonic

    async def run(self) -> None:
        """Copy until cancelled."""
        while True:
            if not self.venue.read_only:
                due = await self.venue.store.read(self._due)
                await asyncio.gather(*(self._try(domain) for domain in due))
            await asyncio.sleep(LOOK_S)

    def _due(self, view: View) -> list[str]:
        """Query: peers whose log has grown as far as we know, and those that were not asked for long."""
        found = view.find(PeeringState, state="APPROVED")
        return [peer.id for peer in found if SCOPE in peer.scopes and self._is_due(view, peer.id)]

    def _is_due(self, view: View, domain: str) -> bool:
        if self._monotonic() - self._asked.get(domain, -ASK_S) >= ASK_S:
            return True
        origin = self.venue.keyring.log_origin(domain)
        cosigned, held = view.witnessed(origin), view.mirrors.head(origin)
        return cosigned is not None and cosigned.size > (held.size if held else 0)

    async def _try(self, domain: str) -> None:
        self._asked[domain] = self._monotonic()
        try:
            await self.pull(domain)
        except TrustnodeError as problem:
            if not problem.retryable and self.problems.get(domain) != problem.message:
                self.problems[domain] = problem.message
                log.error("log of a peer is not mirrored", peer=domain, reason=problem.reason, message=problem.message)
        else:
            self.problems.pop(domain, None)

    async def pull(self, domain: str) -> int:
        """Copy what a venue's log has grown by.

        Returns:
            Entries of the copy.

        Raises:
            TrustnodeError: VERIFICATION_FAILED, what came is not the log that we have copied so far; QUOTA_TOTAL; as a
                call to a peer.
        """
        while True:
            held = await self._held(domain)
            came = await mirror_log(self.venue.peers.get(domain), held.size, timeout_s=CALL_S)
            signed = open_of(self._card(domain), came.checkpoint, held.origin)
            await compare_shown(self.venue, domain, came.checkpoint, signed.head)
            grown = await self._grown(held, came, signed)
            if grown is not None:
                await self.venue.store.write(grown, event_id="", returns=int)
            if not came.lines:
                return held.size

    async def _held(self, domain: str) -> MirrorHead:
        origin = self.venue.keyring.log_origin(domain)
        held = await self.venue.store.read(lambda view: view.mirrors.head(origin))
        return held or MirrorHead(origin, domain, TileEdges(), b"", "", 0)

    def _card(self, domain: str) -> Card:
        card = self.venue.keyring.cards.get(domain)
        if card is None:
            raise error("PEER_SUSPENDED", f"no card of {domain} is confirmed here")
        return card.value

    async def _grown(self, held: MirrorHead, came: MirrorPage, signed: SignedCheckpoint) -> Callable[[Tx], int] | None:
        """The unit that keeps what came; None where nothing is new."""
        if not came.lines and came.checkpoint == held.note:
            return None
        if len(came.lines) > MAX_LINES:
            raise error("VERIFICATION_FAILED", f"a page has at most {MAX_LINES} lines")
        ends = await self.venue.store.read(
            lambda view: view.mirrors.ends(held.origin, {line.object for line in came.lines})
        )
        checked = await asyncio.to_thread(check_lines, held.edges, ends, came.lines)
        check_head(checked.edges, signed.head, came.consistency)
        if not came.lines and signed.head.size > held.size:
            raise error("VERIFICATION_FAILED", f"{held.venue} has signed {signed.head.size} entries and gives none")
        return self._keeping(held, checked, came.checkpoint)

    def _keeping(self, held: MirrorHead, checked: Checked, note: bytes) -> Callable[[Tx], int]:
        taken = held.bytes + size_of(checked.lines)
        if taken > self.quota_bytes:
            raise error(
                "QUOTA_TOTAL", f"the copy of {held.origin} has reached its quota of {self.quota_bytes >> 20} MiB"
            )
        head = held._replace(edges=checked.edges, note=note, time=self.venue.clock.now(), bytes=taken)

        def unit(tx: Tx) -> int:
            tx.mirrors.append(head, checked)
            return head.size

        return unit


def open_of(card: Card, note: bytes, origin: str) -> SignedCheckpoint:
    """Verify a checkpoint of one log by the log keys of its venue's card.

    Raises:
        VerificationFailed: It is not signed by that log, or is the checkpoint of another one.
    """
    keys = [VerifierKey(origin, ED25519, bytes.fromhex(key.public)) for key in card.keys if key.use == "log"]
    signed = open_checkpoint(note, keys, extensions=False)
    if signed.checkpoint.origin != origin:
        raise error("VERIFICATION_FAILED", f"the checkpoint is of {signed.checkpoint.origin}, not of {origin}")
    return signed


# --- a copy goes back to its owner ----------------------------------------------------------------------------------


class Held(NamedTuple):
    """A part of the copy of somebody's log."""

    size: int
    note: bytes
    lines: tuple[LogLine, ...]


def held(view: View, sender: Sender, origin: str, first: int, limit: int) -> Held:
    """Query: what we have copied of the caller's own log.

    Raises:
        TrustnodeError: NOT_FOUND, to everybody else too; PEER_SUSPENDED, ROLE_NOT_ALLOWED.
    """
    check_scope(view.get(PeeringState, sender.domain), SCOPE)
    head = view.mirrors.head(origin)
    if head is None or head.venue != sender.domain:
        raise error("NOT_FOUND", f"no copy of {origin[:80]} of yours is here")
    wanted = max(0, min(limit, MAX_LINES))
    lines = view.mirrors.lines(origin, max(0, first), wanted) if wanted else []
    return Held(head.size, head.note, _bounded(lines))


def documents(view: View, sender: Sender, digests: Sequence[str]) -> list[Document]:
    """Query: those of some documents that are held here and concern the caller.

    Raises:
        TrustnodeError: FIELD_TOO_LONG, PEER_SUSPENDED, ROLE_NOT_ALLOWED.
    """
    check_scope(view.get(PeeringState, sender.domain), SCOPE)
    if len(digests) > MAX_DIGESTS:
        raise error("FIELD_TOO_LONG", f"at most {MAX_DIGESTS} documents are asked for at once", field="digests")
    found: list[Document] = []
    size = 0
    for digest in dict.fromkeys(digests):
        document = view.document(digest)
        if document is None or not _concerns(view, sender.domain, document):
            continue
        size += len(document.payload)
        if found and size > DOCUMENT_BYTES:
            break
        found.append(document)
    return found


class _Parties(msgspec.Struct):
    """Who issued a document, and for whom."""

    iss: str
    aud: tuple[str, ...] = ()


def _concerns(view: View, domain: str, document: Document) -> bool:
    if view.mirrors.names(domain, document.digest):
        return True
    try:
        parties = msgspec.json.decode(document.payload, type=_Parties)
    except msgspec.MsgspecError:
        return False
    return domain in parties.aud or domain in (parties.iss, domain_of(parties.iss))
