"""What others hold of our log: asking mirrors how far their copies go, fetching entries, statements and documents.

Decides: which peers are asked, whose word counts (our own signature under the checkpoint, nothing else), and that what
came fits together. Leaves to others: putting it back (``recovery``), copying peers' logs (``mirror``).

A mirror may lie, lag or be silent. It can withhold; it cannot make us take back anything that we did not sign.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from trustnode.app.mirror import CALL_S, MAX_DIGESTS, SCOPE, open_of
from trustnode.app.venue import Venue
from trustnode.core.document import Document, decode
from trustnode.core.evidence.chain import ChainEnd
from trustnode.core.evidence.checkpoint import Checkpoint
from trustnode.core.evidence.checks.case import KeyBook, without_strangers
from trustnode.core.evidence.mirror import MAX_LINES, Checked, LogLine, check_lines, opened
from trustnode.core.identity import Card, check_card
from trustnode.core.participant import ParticipantKey
from trustnode.core.peering import PeeringState
from trustnode.errors import TrustnodeError, error
from trustnode.store.unit import View
from trustnode.wire.mirror import concerning_documents, mirrored_log

ROUNDS: Final = 4
"""How far documents are followed that documents name."""
DIGEST: Final = re.compile(rb'"([0-9a-f]{64})"')


class Copy(NamedTuple):
    """What one mirror says that it holds, under a checkpoint that we signed."""

    venue: str
    size: int
    """Entries that it can give."""
    signed: Checkpoint
    """The newest head of ours that it knows; at least ``size`` entries."""
    note: bytes

    @property
    def cosigners(self) -> tuple[str, ...]:
        """Names under the note besides our own; not verified here."""
        lines = self.note.decode("utf-8", "replace").rpartition("\n\n")[2].splitlines()
        names = [line.split(" ")[1] for line in lines if line.count(" ") >= 2]
        return tuple(name for name in names if name != self.signed.origin)


@dataclass(frozen=True)
class Survey:
    """What every peer with scope EVIDENCE said when it was asked."""

    copies: tuple[Copy, ...] = ()
    """The largest signed head first."""
    empty: tuple[str, ...] = ()
    """Peers that hold nothing of our log."""
    silent: Mapping[str, str] = field(default_factory=dict)
    """Peer -> why its word does not count."""

    @property
    def largest(self) -> Copy | None:
        """The largest head of ours that anybody knows."""
        return self.copies[0] if self.copies else None


async def survey(venue: Venue, *, timeout_s: float = CALL_S) -> Survey:
    """Ask every known mirror how much of our log it holds."""
    names = await venue.store.read(mirrors_of)
    found = await asyncio.gather(*(_asked(venue, name, timeout_s) for name in names))
    copies = sorted((one for one in found if isinstance(one, Copy)), key=lambda copy: -copy.signed.size)
    silent = {name: one for name, one in zip(names, found, strict=True) if isinstance(one, str) and one}
    empty = tuple(name for name, one in zip(names, found, strict=True) if one == "")
    return Survey(tuple(copies), empty, silent)


def mirrors_of(view: View) -> list[str]:
    """Query: peers that may hold a copy of our log."""
    found = view.find(PeeringState, state=("APPROVED", "SUSPENDED"), limit=10_000)
    return sorted(peer.id for peer in found if SCOPE in peer.scopes)


async def _asked(venue: Venue, name: str, timeout_s: float) -> Copy | str:
    """What a mirror holds; empty text: nothing; other text: why its word does not count."""
    try:
        return await copy_at(venue, name, timeout_s=timeout_s)
    except TrustnodeError as problem:
        return "" if problem.reason == "NOT_FOUND" else problem.message


async def copy_at(venue: Venue, name: str, *, timeout_s: float = CALL_S) -> Copy:
    """Ask one mirror how much of our log it holds.

    Raises:
        TrustnodeError: NOT_FOUND, nothing; VERIFICATION_FAILED, its checkpoint is not one that we signed; as any call.
    """
    origin = venue.log_origin
    held = await mirrored_log(venue.peers.get(name), origin, 0, 0, timeout_s=timeout_s)
    own = venue.keyring.cards[venue.domain].value
    signed = open_of(own, held.checkpoint, origin).checkpoint
    if held.size > signed.size:
        raise error("VERIFICATION_FAILED", f"{name} claims {held.size:,} entries, we signed {signed.size:,} of them")
    return Copy(name, held.size, signed, held.checkpoint)


# --- entries --------------------------------------------------------------------------------------------------------


class Found(NamedTuple):
    """Every entry from the end of our store to the head that we signed."""

    checked: Checked
    head: Checkpoint
    note: bytes
    from_venue: str
    statements: Mapping[str, int]
    """Mirror -> statements that only it, or it first, could give."""


async def entries(venue: Venue, copies: Sequence[Copy]) -> Found:
    """Fetch what our store lacks up to the largest signed head, and what anybody can say of it.

    Args:
        venue: The node, whose store is behind.
        copies: Mirrors to take from, the largest first.

    Raises:
        TrustnodeError: NOT_FOUND, no mirror holds all of it; VERIFICATION_FAILED, what came is not what we signed.
    """
    target = copies[0].signed
    edges, first = await venue.store.read(lambda view: (view.evidence.edges(), view.evidence.head().size))
    problems = []
    for copy in copies:
        if copy.size < target.size:
            problems.append(f"{copy.venue} holds {copy.size:,} of {target.size:,} entries")
            continue
        try:
            lines = await _lines(venue, copy.venue, first, target.size)
            ends = await venue.store.read(_ends({line.object for line in lines}))
            checked = await asyncio.to_thread(check_lines, edges, ends, lines)
            if checked.edges.head != target.head:
                raise error("VERIFICATION_FAILED", f"the entries of {copy.venue} lead to another root than we signed")
        except TrustnodeError as problem:
            problems.append(f"{copy.venue}: {problem.message}")
            continue
        return await _told(venue, Found(checked, target, copy.note, copy.venue, {}), lines, copies)
    raise error("VERIFICATION_FAILED", "no mirror gives the entries that we signed: " + "; ".join(problems))


def _ends(objects: set[bytes]) -> Callable[[View], Mapping[bytes, ChainEnd]]:
    return lambda view: view.evidence.ends(objects)


async def _lines(venue: Venue, name: str, first: int, size: int) -> tuple[LogLine, ...]:
    """Lines of one copy, ``size`` at most."""
    found: list[LogLine] = []
    origin = venue.log_origin
    while first + len(found) < size:
        at = first + len(found)
        page = await mirrored_log(venue.peers.get(name), origin, at, MAX_LINES, timeout_s=CALL_S)
        if not page.lines:
            raise error("NOT_FOUND", f"{name} gives no entry {at}")
        found += page.lines[: size - at]
    return tuple(found)


async def _told(venue: Venue, found: Found, lines: Sequence[LogLine], copies: Sequence[Copy]) -> Found:
    """Add statements that other mirrors hold, each of which opens the commitment that is proven already."""
    told = {line.index: line for line in lines if opened(line) is not None}
    counted = {found.from_venue: len(told)}
    for copy in copies:
        if copy.venue == found.from_venue or len(told) == len(lines):
            continue
        before = len(told)
        try:
            theirs = await _lines(venue, copy.venue, lines[0].index, min(copy.size, found.head.size))
        except TrustnodeError:
            continue  # what is missing is named in the report
        for known, other in zip(lines, theirs, strict=False):
            if known.index not in told and (filled := _filled(known, other)) is not None:
                told[known.index] = filled
        counted[copy.venue] = len(told) - before
    whole = [told.get(line.index, line) for line in lines]
    edges, ends = await venue.store.read(
        lambda view: (view.evidence.edges(), view.evidence.ends({line.object for line in whole}))
    )
    checked = await asyncio.to_thread(check_lines, edges, ends, whole)
    return found._replace(checked=checked, statements=counted)


def _filled(known: LogLine, other: LogLine) -> LogLine | None:
    """A proven line with the statement that another mirror has for it."""
    filled = msgspec.structs.replace(known, salt=other.salt, statement=other.statement)
    try:
        return filled if opened(filled) is not None else None
    except TrustnodeError:
        return None


# --- documents ------------------------------------------------------------------------------------------------------


async def documents(venue: Venue, names: Sequence[str], wanted: Iterable[str]) -> tuple[dict[str, Document], set[str]]:
    """Fetch documents by digest, and those that they name in turn.

    Returns:
        What came, with the signatures only that known keys made, and the digests of ``wanted`` that nobody has.
    """
    asked: set[str] = set()
    found: dict[str, Document] = {}
    first = set(wanted)
    open_digests = set(first)
    for _ in range(ROUNDS):
        lacking = await venue.store.read(_lacking(open_digests - asked - found.keys()))
        if not lacking:
            break
        asked |= lacking
        came: dict[str, Document] = {}
        for name in names:
            came |= await _fetched(venue, name, sorted(lacking - came.keys()))
        found |= came
        open_digests = {digest for one in came.values() for digest in named_in(one.payload)}
    held = first - await venue.store.read(_lacking(first))
    return await _clean(venue, found), first - found.keys() - held


def named_in(data: bytes) -> set[str]:
    """Every text in a document or statement that may be the digest of another document."""
    return {match.decode() for match in DIGEST.findall(data)}


def _lacking(digests: set[str]) -> Callable[[View], set[str]]:
    return lambda view: {digest for digest in digests if view.document(digest) is None}


async def _fetched(venue: Venue, name: str, digests: Sequence[str]) -> dict[str, Document]:
    """What one mirror gives of some documents; what it does not give is not asked for again."""
    found: dict[str, Document] = {}
    waiting = list(digests)
    while waiting:
        try:
            came = await concerning_documents(venue.peers.get(name), waiting[:MAX_DIGESTS], timeout_s=CALL_S)
        except TrustnodeError:
            return found
        fitting = {one.digest: one for one in came if one.digest in waiting[:MAX_DIGESTS]}
        found |= fitting
        # An answer is cut where it would grow too long: what is behind the last document is asked for again.
        last = max((waiting.index(digest) for digest in fitting), default=-1)
        waiting = waiting[MAX_DIGESTS:] if last < 0 else waiting[last + 1 :]
    return found


async def _clean(venue: Venue, found: Mapping[str, Document]) -> dict[str, Document]:
    """The documents without signatures that a mirror may have hung on them."""
    book = KeyBook()
    for card in venue.keyring.cards.values():
        book.add_card(card.value)
    for key in venue.keyring.key_documents.values():
        book.add_participant(key.value)
    for document in found.values():
        try:
            if document.name == "card":
                check_card(document, None)
                book.add_card(decode(document, Card))
            elif document.name == "participant-key":
                book.add_participant(decode(document, ParticipantKey))
        except TrustnodeError:
            continue
    return {digest: one if one.name == "card" else without_strangers(one, book) for digest, one in found.items()}
