"""Being witnessed: every approved peer is asked to cosign each new head of our log, all at once, each at its own pace.

Decides: whom to ask and when again, which cosignature may stand under our note, what a refusal means. Leaves to
others: signing and publishing, which wait for no witness (``publisher``), what counts against us (``history``).
Source: evidence-log 1.9, 9.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from trustnode.app import history, own_card
from trustnode.app.publisher import Published, Publisher
from trustnode.app.venue import Venue, log
from trustnode.app.witness import is_peer_in_force, witness_keys
from trustnode.core import clock
from trustnode.core.document import SKEW_S, Document
from trustnode.core.evidence import note as notes
from trustnode.core.evidence import witness as protocol
from trustnode.core.evidence.checkpoint import Checkpoint
from trustnode.core.evidence.witness import SIZE_TYPE, AddCheckpoint
from trustnode.core.identity import witness_name
from trustnode.core.peering import PeeringState
from trustnode.errors import TrustnodeError, error
from trustnode.store.unit import Tx, View
from trustnode.wire.peer import CheckpointAnswer

ASK_S: Final = 5.0
"""Longest wait for one witness."""
START_S: Final = 0.8
"""Longest wait for all of them before the node serves; who is silent then is asked on beside the work."""
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0
TRIES: Final = 3
"""Questions in a row: what is held, the head with its proof, once more where somebody else came between."""
SILENT_S: Final = 60.0
"""A witness that is this long behind is an alarm."""
STALE_STATUS: Final = (409, 422)
SENTENCE_BYTES: Final = 200
"""How much of a witness's own words is repeated."""
NOTES_READ: Final = 64
"""Newest notes in which the names of witnesses are looked up at the start."""

Ask = Callable[[str, bytes, float], Awaitable[CheckpointAnswer]]
"""(witness, body, longest wait in seconds) -> answer."""


@dataclass
class Witness:
    """One witness of our log."""

    domain: str
    size: int = 0
    """Largest head of ours under which its cosignature stands."""
    compared: bool = False
    """Whether it has shown, since this process runs, what it holds of our log."""
    problem: str = ""
    """What its last answer was lacking; empty: nothing."""
    hostile: str = ""
    """A claim against us that it did not prove; empty: none."""
    card_claim: str = ""
    """What it says of our card and did not prove; empty: nothing."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Standing(NamedTuple):
    """How far one witness is, for people."""

    domain: str
    size: int
    behind_s: float
    """Seconds since the oldest head of ours that it has not cosigned; 0: it has cosigned the newest."""
    problem: str
    hostile: str
    card_claim: str = ""


class Cosigning:
    """One task for each witness."""

    def __init__(self, venue: Venue, publisher: Publisher, ask: Ask | None = None) -> None:
        self._venue = venue
        self._publisher = publisher
        self._ask = ask or self._ask_peer
        self._tasks: asyncio.TaskGroup | None = None
        self.witnesses: dict[str, Witness] = {}
        self.newer_card = ""
        """Why this node must not sign: our own roots signed a later card than the one here; empty: not known."""
        self.newer_card_step = ""
        self.on_newer_card: Callable[[Sequence[Document]], str] = lambda _cards: "trustnode card install FILE"
        """Keeps cards that a peer showed where the operator finds them; returns the command that takes them in."""
        publisher.on_published = self.notify

    async def run(self) -> None:
        """Ask until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await self.refresh()
            await asyncio.Event().wait()

    def notify(self) -> None:
        """There is a new head."""
        for one in self.witnesses.values():
            one.wake.set()

    async def refresh(self) -> None:
        """Begin to ask peers that were approved, stop asking others."""
        found = await self._venue.store.read(_names)
        wanted = {domain for domain in found if witness_keys(self._venue, domain)}
        for domain in self.witnesses.keys() - wanted:
            gone = self.witnesses.pop(domain)
            if gone.task is not None:
                gone.task.cancel()
        new = wanted - self.witnesses.keys()
        sizes = await self._venue.store.read(_sizes(self._venue.log_origin)) if new else {}
        for domain in new:
            self.witnesses[domain] = Witness(domain, sizes.get(witness_name(domain), 0))
        for one in self.witnesses.values():
            if one.task is None and self._tasks is not None:
                one.task = self._tasks.create_task(self._serve(one))

    async def standings(self) -> list[Standing]:
        """How far every witness is, by name."""
        known = sorted(self.witnesses.values(), key=lambda one: one.domain)
        now = self._venue.clock.now()

        def query(view: View) -> list[Standing]:
            return [
                Standing(w.domain, w.size, _behind_s(view, w.size, now), w.problem, w.hostile, w.card_claim)
                for w in known
            ]

        return await self._venue.store.read(query)

    # --- before anything is signed ------------------------------------------------------------------------------------

    async def compare_at_start(self) -> None:
        """Ask every witness at once what it holds of our log; the node is read-only afterwards where that is not ours.

        Needs no new signature: the newest note of the store is shown again, with ``old 0``.
        """
        note = await history.compare_stored(self._venue)
        await self.refresh()
        if not note:
            return
        await _within(START_S, [self._compare(one, note) for one in self.witnesses.values()])
        for one in self.witnesses.values():
            one.problem = one.problem or ("" if one.compared else "it did not answer when this node started")

    async def compare_cards(self) -> None:
        """Ask every peer again which version of our card it holds; for a restored store that waits."""
        kept = await self._venue.store.read(lambda view: view.newest_checkpoint())
        body = AddCheckpoint(0, (), kept.note).body if kept else b""
        await _within(START_S, [self._ask_card(one, body) for one in self.witnesses.values()])

    async def _ask_card(self, one: Witness, body: bytes) -> None:
        with contextlib.suppress(TrustnodeError):
            self._compare_card(one, await self._ask(one.domain, body, START_S))

    async def _compare(self, one: Witness, note: bytes) -> None:
        try:
            answer = await self._ask(one.domain, AddCheckpoint(0, (), note).body, START_S)
        except TrustnodeError as problem:
            one.problem = problem.message
            return
        self._compare_card(one, answer)
        if answer.status == 200 or answer.status in STALE_STATUS:
            await self._settle(one, answer)
        else:
            one.problem = _said(one, answer)

    def _compare_card(self, one: Witness, answer: CheckpointAnswer) -> None:
        """Stop where a peer shows a later version of our own card, signed by our own roots (protocol 2.2)."""
        found = own_card.compare(self._venue, one.domain, answer)
        if found.claim and found.claim != one.card_claim:
            log.warning("unproven claim about our card", peer=one.domain, claim=found.claim)
        one.card_claim = found.claim
        if found.later and not self.newer_card:
            held, shown = self._venue.keyring.cards[self._venue.domain].value.version, found.later[-1].value.version
            self.newer_card = f"this home has version {held:,} of our card; {one.domain} holds version {shown:,}"
            self.newer_card_step = self.on_newer_card([card.document for card in found.later])
            self._venue.halt(self.newer_card, next_step=self.newer_card_step)

    async def _settle(self, one: Witness, answer: CheckpointAnswer) -> int:
        """Compare what a witness holds with what we have; returns the size that it showed."""
        verdict, size = await history.compare(self._venue, one.domain, answer.held)
        one.compared = True
        claim = self._claim(one, answer) if verdict in ("UNPROVEN", "BEHIND") else ""
        if claim and claim != one.hostile:
            log.warning("unproven claim of a witness", witness=one.domain, claim=claim)
        one.hostile = claim
        return size

    def _claim(self, one: Witness, answer: CheckpointAnswer) -> str:
        """What an answer says against us without a signature of ours that would prove it."""
        if answer.status == 200:
            return f"{one.domain} cosigned {one.size:,} before and says that it never saw this log" if one.size else ""
        claimed = protocol.parse_size(answer.body) if answer.content_type == SIZE_TYPE else None
        if claimed is None:
            return f"{one.domain} says that this log has another history, and shows no signature of ours for it"
        if claimed > self._venue.store.head().size:
            return f"{one.domain} says that it has cosigned {claimed:,}, and shows no signature of ours for it"
        return ""

    # --- one witness --------------------------------------------------------------------------------------------------

    async def _serve(self, one: Witness) -> None:
        pause = FIRST_PAUSE_S
        while True:
            one.wake.clear()
            newest = self._publisher.newest
            if self._venue.read_only or newest is None or (one.compared and one.size >= newest.checkpoint.size):
                await one.wake.wait()
                continue
            try:
                async with asyncio.timeout(ASK_S):
                    await self._cosign(one, newest)
            except (TrustnodeError, TimeoutError) as problem:
                one.problem = problem.message if isinstance(problem, TrustnodeError) else "it does not answer"
                log.info("not cosigned", witness=one.domain, cause=one.problem)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)
            else:
                one.problem, pause = "", FIRST_PAUSE_S

    async def _cosign(self, one: Witness, newest: Published) -> None:
        """Have one head cosigned.

        Raises:
            TrustnodeError: It was not; ``message`` says why.
        """
        old = one.size
        for _ in range(TRIES):
            answer = await self._ask(one.domain, await self._request(old, newest), ASK_S)
            self._compare_card(one, answer)
            if self._venue.read_only:
                raise error("READ_ONLY", self._venue.read_only)
            if answer.status == 200:
                await self._merge(one, newest, answer.body)
                return
            old = await self._refused(one, newest.checkpoint, answer)
        raise error("PEER_UNREACHABLE", f"{one.domain} holds another size each time it is asked")

    async def _request(self, old: int, newest: Published) -> bytes:
        size = newest.checkpoint.size
        proof = await self._venue.store.read(lambda view: view.evidence.consistency(old, size)) if old < size else ()
        return AddCheckpoint(old, tuple(proof), newest.note).body

    async def _refused(self, one: Witness, asked: Checkpoint, answer: CheckpointAnswer) -> int:
        """The size to go on from.

        Raises:
            TrustnodeError: There is none: the witness fails, or claims what it does not show, or we have stopped.
        """
        if answer.status not in STALE_STATUS:
            raise error("PEER_UNREACHABLE", _said(one, answer))
        shown = await self._settle(one, answer)
        if self._venue.read_only:
            raise error("READ_ONLY", self._venue.read_only)
        if one.hostile:
            raise error("VERIFICATION_FAILED", one.hostile)
        claimed = protocol.parse_size(answer.body) if answer.content_type == SIZE_TYPE else None
        if claimed is None or claimed > asked.size or shown > asked.size:
            # it knows a newer head of ours by now, or refuses what is consistent; the next question says which
            raise error("PEER_UNREACHABLE", f"{one.domain} answered {answer.status} for size {asked.size:,}")
        return claimed

    async def _merge(self, one: Witness, newest: Published, lines: bytes) -> None:
        """Put a cosignature under our note, once it has verified."""
        own = history.own_keys(self._venue)
        keys, now = witness_keys(self._venue, one.domain), clock.to_ms(self._venue.clock.now()) // 1000
        size = newest.checkpoint.size
        kept = await self._venue.store.read(lambda view: view.checkpoint_of(size))
        signed = clock.to_ms(kept.time) // 1000 if kept is not None else now
        good = protocol.open_cosignatures(
            lines, newest.note, own, keys, earliest=signed - SKEW_S, latest=now + SKEW_S
        )  # fmt: skip
        merged = await self._venue.store.write(lambda tx: _add(tx, size, good), event_id="", returns=bytes)
        self._publisher.cosigned(size, merged)
        one.size, one.compared, one.hostile = max(one.size, size), True, ""

    async def _ask_peer(self, domain: str, body: bytes, timeout_s: float) -> CheckpointAnswer:
        version = self._venue.keyring.cards[self._venue.domain].value.version
        return await self._venue.peers.get(domain).add_checkpoint(body, card_version=version, timeout_s=timeout_s)


async def _within(seconds: float, work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Do several things at once, each for so long at most."""
    if not work:
        return
    _, late = await asyncio.wait([asyncio.ensure_future(one) for one in work], timeout=seconds)
    for task in late:
        task.cancel()


def _said(one: Witness, answer: CheckpointAnswer) -> str:
    """What a witness answered instead of a cosignature, fit for a line of a log."""
    text = "".join(c for c in answer.body[:SENTENCE_BYTES].decode("ascii", "replace") if c.isprintable())
    return f"{one.domain} answered {answer.status}" + (f": {text}" if text else "")


def _names(view: View) -> list[str]:
    """Query: peers in force."""
    return [one.id for one in view.find(PeeringState, state="APPROVED", limit=10_000) if is_peer_in_force(one)]


def _sizes(origin: str) -> Callable[[View], dict[str, int]]:
    """Query: the largest size under which each witness stands, in the newest notes of this log."""

    def query(view: View) -> dict[str, int]:
        found: dict[str, int] = {}
        for kept in reversed(view.newest_checkpoints(NOTES_READ)):
            if protocol.origin_of(kept.note) == origin:
                found.update({name: kept.size for name, _ in notes.line_keys(kept.note)})
        return found

    return query


def _behind_s(view: View, size: int, now: str) -> float:
    """Age of the oldest head that is larger than ``size``, in seconds."""
    oldest = next(view.checkpoints_covering(size, limit=1), None)
    return max(0.0, (clock.to_ms(now) - clock.to_ms(oldest.time)) / 1000) if oldest else 0.0


def _add(tx: Tx, size: int, lines: list[str]) -> bytes:
    """Unit: add verified lines to the note of a size. Returns the note."""
    kept = tx.checkpoint_of(size)
    if kept is None:
        raise error("NOT_FOUND", f"no checkpoint of size {size} is kept")
    note = notes.add_lines(kept.note, lines)
    tx.keep_checkpoint(kept._replace(note=note))
    return note
