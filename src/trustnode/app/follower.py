"""Following the lanes of peers: catalogue records and notices, and how old our knowledge of each peer is.

Decides: what of a lane is taken in and from where it goes on after a break. Leaves to others: checking a record
(``catalog``) and a notice (``peering``), the stream itself (``wire``). Source: protocol 8.2, 9.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from trustnode.app import catalog
from trustnode.app.cards import is_history
from trustnode.app.submission import submit
from trustnode.app.venue import Sender, Venue, log
from trustnode.core.peering import PeeringState
from trustnode.errors import TrustnodeError, error
from trustnode.store.unit import FEED_START, Tx, View, line_digest
from trustnode.wire.peer import FeedAnswer, FeedCall, FeedItem

LANES: Final[tuple[Literal["CONTROL", "CATALOG"], ...]] = ("CONTROL", "CATALOG")
NONCE_S: Final = 1.0
OUR_FAULT: Final = frozenset({"BUSY", "EVIDENCE_UNAVAILABLE", "READ_ONLY", "DRAINING", "DEADLINE"})
"""Refusals that say nothing of the line: nobody but us had no room or time for it."""
RETRY_S: Final = 2.0
FOLLOW_S: Final = 3600.0
"""A following is begun anew this often, so that a half-dead connection does not last."""
MAX_OPEN_NONCES: Final = 64
SILENT_S: Final = 15.0
"""A lane on which no nonce came back for so long is begun anew: a peer may take a call and say nothing for an hour."""
MAX_EMPTY_ANSWERS: Final = 64
"""Answers in a row that hold neither a line nor a nonce that we asked for; a node sends none."""
DIGEST_PREFIX: Final = "digest-"
"""Before the setting of a cursor: the digest over the lane up to there."""


@dataclass
class Age:
    """When a peer last answered, on the monotonic clock."""

    answered_at: float = -1e9
    """Time at which the newest *answered* nonce was sent."""
    open: dict[bytes, float] = field(default_factory=dict)
    round_trip_s: float | None = None

    def sent(self, nonce: bytes, now: float) -> None:
        """Remember a nonce; the oldest ones are given up."""
        self.open[nonce] = now
        while len(self.open) > MAX_OPEN_NONCES:
            self.open.pop(next(iter(self.open)))

    def answered(self, nonce: bytes, now: float) -> bool:
        """A nonce came back; False for one that is not open: made up, or answered before."""
        sent = self.open.pop(nonce, None)
        if sent is None:
            return False
        self.answered_at = max(self.answered_at, sent)
        self.round_trip_s = now - sent
        return True


@dataclass
class _Heard:
    """What one call of a lane has brought."""

    at: float
    """When it last brought something, on the monotonic clock."""
    empty: int = 0

    def count(self, answer: FeedAnswer, is_answered: bool, now: float) -> None:
        """Count an answer.

        Raises:
            TrustnodeError: RATE_LIMITED when too many said nothing.
        """
        if is_answered or answer.items:
            self.at, self.empty = now, 0
            return
        self.empty += 1
        if self.empty > MAX_EMPTY_ANSWERS:
            raise error("RATE_LIMITED", "the lane is flooded with answers that say nothing")


class Follower:
    """Follows both lanes of every approved peer."""

    def __init__(self, venue: Venue, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._venue = venue
        self._monotonic = monotonic
        self._tasks: asyncio.TaskGroup | None = None
        self._following: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._ages: dict[str, Age] = {}
        self._silent_since: dict[str, str] = {}
        self.on_heard: Callable[[str], None] = _nobody_waits
        """Called when a peer that was silent answers again."""

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await self.refresh()
            await asyncio.Event().wait()

    async def refresh(self) -> None:
        """Begin to follow peers that were approved, stop following others."""
        found = await self._venue.store.read(lambda view: view.find(PeeringState, state="APPROVED"))
        wanted = {(p.id, lane) for p in found for lane in LANES if lane == "CONTROL" or "CATALOG" in p.scopes}
        for key in set(self._following) - wanted:
            self._following.pop(key).cancel()
        for key in wanted - set(self._following):
            if self._tasks is not None:
                self._following[key] = self._tasks.create_task(self._follow(*key))

    def is_own(self, domain: str) -> bool:
        """Whether a domain is ours."""
        return domain == self._venue.domain

    def followed(self) -> tuple[str, ...]:
        """Peers whose lanes are followed."""
        return tuple(sorted({domain for domain, _ in self._following}))

    def age_s(self, domain: str) -> float:
        """Seconds since a peer was last known to be there; large when it never was."""
        age = self._ages.get(domain)
        return self._monotonic() - age.answered_at if age else 1e9

    def round_trip_s(self, domain: str) -> float | None:
        """Seconds that the newest nonce took."""
        age = self._ages.get(domain)
        return age.round_trip_s if age else None

    def silent_since(self, domain: str) -> str:
        """Since when a peer has not answered; empty while it does."""
        return self._silent_since.get(domain, "")

    async def _follow(self, domain: str, lane: Literal["CONTROL", "CATALOG"]) -> None:
        while True:
            try:
                await self._once(domain, lane)
            except TrustnodeError as problem:
                self._silent_since.setdefault(domain, self._venue.clock.now())
                log.info("lane ended", peer=domain, lane=lane, reason=problem.reason, message=problem.message)
            except Exception as problem:  # noqa: BLE001  # the border to another venue
                # Whatever a peer's lane makes of our code ends this lane and nothing else.
                self._silent_since.setdefault(domain, self._venue.clock.now())
                log.error("lane failed", peer=domain, lane=lane, exc_info=problem)
            await asyncio.sleep(RETRY_S)

    async def _once(self, domain: str, lane: Literal["CONTROL", "CATALOG"]) -> None:
        """Follow until the call ends. Nothing after a gap is taken in: it is asked for again first (protocol 8.1)."""
        after, digest = await self._venue.store.read(lambda view: _position(view, domain, lane))
        nonce = self._nonce(domain)
        call = await self._venue.peers.get(domain).follow_feed(lane, after, nonce, timeout_s=FOLLOW_S)
        async with call:
            heard = _Heard(self._monotonic())
            asking = asyncio.ensure_future(self._ask(call, domain, heard))
            try:
                async for answer in call:
                    heard.count(answer, self._heard(domain, answer.nonce), self._monotonic())
                    for item in answer.items:
                        if item.seq != after + 1:
                            raise error("VERIFICATION_FAILED", f"line {after + 1} was skipped, {item.seq} came instead")
                        digest = _following_digest(digest, item)
                        await self._take(domain, lane, item, digest)
                        after, heard.at = item.seq, self._monotonic()
                    await self._check_head(domain, lane, answer, after, digest)
            finally:
                asking.cancel()

    async def _check_head(self, domain: str, lane: str, answer: FeedAnswer, after: int, digest: str) -> None:
        """A feed grows and never changes; one that did is read anew from its first line (protocol 8.1).

        Raises:
            TrustnodeError: VERIFICATION_FAILED.
        """
        told = answer.head_digest.hex()
        if answer.head_seq > after or (answer.head_seq == after and (not digest or told == digest)):
            return
        await self._venue.store.write(_advance(domain, lane, 0, ""), event_id="", returns=int)
        raise error("VERIFICATION_FAILED", f"the {lane} lane is not the one it was before line {after}: read anew")

    def _nonce(self, domain: str) -> bytes:
        nonce = os.urandom(16)
        self._ages.setdefault(domain, Age()).sent(nonce, self._monotonic())
        return nonce

    async def _ask(self, call: FeedCall, domain: str, heard: _Heard) -> None:
        while True:
            await asyncio.sleep(NONCE_S)
            if self._monotonic() - heard.at > SILENT_S:
                call.cancel()
            try:
                await call.ask(self._nonce(domain))
            except TrustnodeError:
                return  # the reading side of this call learns why

    def _heard(self, domain: str, nonce: bytes) -> bool:
        """Take a nonce that came back; only one that we sent shows that somebody is there."""
        if not self._ages.setdefault(domain, Age()).answered(nonce, self._monotonic()):
            return False
        if self._silent_since.pop(domain, None):
            self.on_heard(domain)
        return True

    async def _take(self, domain: str, lane: str, item: FeedItem, digest: str) -> None:
        """Take one line in; a line that does not verify is skipped and recorded, so that one lie blocks nothing.

        Raises:
            TrustnodeError: This node could not take it in now: the line is asked for again, a revocation is not lost.
        """
        try:
            await (self._record if lane == "CATALOG" else self._notice)(domain, item)
        except TrustnodeError as refusal:
            if refusal.reason in OUR_FAULT:
                raise
            log.warning(
                "line refused", peer=domain, lane=lane, seq=item.seq, reason=refusal.reason, message=refusal.message
            )
        await self._venue.store.write(_advance(domain, lane, item.seq, digest), event_id="", returns=int)

    async def _record(self, domain: str, item: FeedItem) -> None:
        await catalog.receive_record(self._venue, domain, item.documents, item.path)

    async def _notice(self, domain: str, item: FeedItem) -> None:
        sender = Sender("PEER", domain)
        for document in item.documents:
            # A card comes by courier too; whichever is first, the other one tells nothing new.
            if document.name != "card" or not is_history(self._venue, document):
                await submit(self._venue, sender, document)


def _cursor(domain: str, lane: str) -> str:
    return f"follow/{domain}/{lane}"


def _nobody_waits(_domain: str) -> None:
    """Nobody is interested."""


def _position(view: View, domain: str, lane: str) -> tuple[int, str]:
    """Number of the last line that was taken in, and the digest over all up to it; empty: not known."""
    after = int(view.setting(_cursor(domain, lane)) or 0)
    return after, view.setting(DIGEST_PREFIX + _cursor(domain, lane)) if after else FEED_START


def _following_digest(digest: str, item: FeedItem) -> str:
    return line_digest(digest, item.seq, [document.digest for document in item.documents]) if digest else ""


def _advance(domain: str, lane: str, seq: int, digest: str) -> Callable[[Tx], int]:
    def unit(tx: Tx) -> int:
        tx.set_setting(_cursor(domain, lane), str(seq))
        tx.set_setting(DIGEST_PREFIX + _cursor(domain, lane), digest)
        return seq

    return unit
