"""Recovery: a store that lost entries gets them back from mirrors, with everything that follows from them.

Decides: what is put back in one step (entries at their indexes, documents, states, counters, request ids, timers, the
entry that records it), what is named as missing, which agreements wait because their evidence is incomplete, and when a
restored store may sign again. Leaves to others: asking mirrors (``salvage``), who may order it (``core.operator``).
Source: evidence-log 9, protocol 6.9.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from trustnode.app import duties, salvage
from trustnode.app.history import LOG_NUMBER
from trustnode.app.salvage import Copy, Found, Survey
from trustnode.app.transition import pseudonym, suspend_agreements
from trustnode.app.venue import Venue, log
from trustnode.core.contract import AGREEMENT, GRANT, NEGOTIATION, AgreementState, GrantState, NegotiationState
from trustnode.core.document import Document
from trustnode.core.evidence.entry import parse_statement
from trustnode.core.evidence.mirror import Checked, CheckedLine
from trustnode.core.lifecycle import State
from trustnode.core.replay import Place, Replay
from trustnode.errors import error
from trustnode.store.checkpoints import KeptCheckpoint
from trustnode.store.unit import Tx, View

RESTORED: Final = "recovery/restored"
"""Setting: when this store was restored from a backup; while it is there, nothing is signed."""
NOT_COMPARED: Final = "restored from a backup; not compared with the mirrors yet"
PAGE: Final = 1000


class Order(NamedTuple):
    """Who decided on an act, as its entry says."""

    document: Document | None
    """The signed act; None where no operator is registered."""
    asked_by: str = ""
    approved_by: str = ""
    """Empty: nobody else; one person did it alone."""

    @property
    def actor(self) -> str:
        """Both, for the entry."""
        names = "+".join(name for name in (self.asked_by, self.approved_by) if name)
        return pseudonym(f"operator/{names or 'alone'}")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a recovery brought back, and what it could not."""

    first: int
    size: int
    """Entries of the log as it was signed; the next one records the recovery."""
    cosigners: tuple[str, ...]
    statements: Mapping[str, int]
    silent: tuple[str, ...] = ()
    """Entries whose statement nobody gave, each as a line for a person."""
    lost: tuple[str, ...] = ()
    """Documents that nobody gave."""
    uncertain: tuple[str, ...] = ()
    """Objects of which only some steps are told; they stay as they were in the backup, or are missing."""
    waiting: tuple[str, ...] = ()
    """Agreements that were suspended because their evidence is incomplete."""
    not_asked: Mapping[str, str] = field(default_factory=dict)
    """Mirrors that did not answer."""

    @property
    def entries(self) -> int:
        """Entries that were put back."""
        return self.size - self.first


async def recover(venue: Venue, sources: Sequence[str], order: Order) -> Report:
    """Put back what a store has lost.

    Args:
        venue: A node that does not serve; nothing else writes to its store.
        sources: Trust domains of the mirrors to take from.
        order: Who decided it.

    Raises:
        TrustnodeError: ILLEGAL_TRANSITION, more was signed or shown than the sources hold; VERIFICATION_FAILED;
            NOT_FOUND; PEER_UNREACHABLE.
    """
    copies = sorted([await salvage.copy_at(venue, name) for name in sources], key=lambda copy: -copy.signed.size)
    asked = await salvage.survey(venue)
    _check_nobody_knows_more(venue, copies, asked)
    found = await _found(venue, copies)
    plan = await _planned(venue, found, [copy.venue for copy in (*copies, *asked.copies)])
    waiting = await venue.store.write(_unit(venue, found, plan, order), event_id="", returns=tuple[str, ...])
    venue.store.record_head()
    return Report(
        first=found.checked.lines[0].line.index if found.checked.lines else found.head.size, size=found.head.size,
        cosigners=copies[0].cosigners, statements=found.statements, silent=plan.silent, lost=plan.lost,
        uncertain=plan.uncertain, waiting=waiting, not_asked=asked.silent,
    )  # fmt: skip


def _check_nobody_knows_more(venue: Venue, copies: Sequence[Copy], asked: Survey) -> None:
    """Going on below a head that was signed would make two histories of one log."""
    if not copies:
        raise error("FIELD_MISSING", "name a mirror to recover from", field="from")
    signed = copies[0].signed.size
    more = asked.largest
    if more is not None and more.signed.size > signed:
        raise error(
            "ILLEGAL_TRANSITION",
            f"{more.venue} has {more.signed.size:,} signed entries of this log, {copies[0].venue} {signed:,}",
            next_step=f"Add: --from {more.venue}",
        )
    shown, own = venue.store.verdict.recorded_size, venue.store.head().size
    if shown > max(signed, own):
        raise error(
            "ILLEGAL_TRANSITION",
            f"this node has shown {shown:,} entries of its log, the mirrors hold {signed:,}: "
            "going on from there would make two histories",
            next_step="Name a mirror that holds more; docs/operations/recovery.md says what else is left.",
        )


async def _found(venue: Venue, copies: Sequence[Copy]) -> Found:
    """What is lacking; no lines where nothing is, and then the store must hold the very tree that was signed."""
    own, target = venue.store.head(), copies[0].signed
    if own.size < target.size:
        return await salvage.entries(venue, copies)
    root = await venue.store.read(lambda view: view.evidence.root(target.size))
    if root != target.root:
        raise error(
            "VERIFICATION_FAILED", f"this store has another history than the one {copies[0].venue} has cosigned"
        )
    edges = await venue.store.read(lambda view: view.evidence.edges())
    return Found(Checked((), edges), target, copies[0].note, copies[0].venue, {})


# --- what follows from the entries ----------------------------------------------------------------------------------


class _Plan(NamedTuple):
    """Everything that one unit writes besides the entries."""

    names: Mapping[bytes, tuple[str, str]]
    documents: tuple[Document, ...]
    states: tuple[State, ...]
    told: Replay
    silent: tuple[str, ...]
    lost: tuple[str, ...]
    uncertain: tuple[str, ...]
    doubtful: tuple[str, ...]
    """Agreements of whose chain not every entry is told."""


async def _planned(venue: Venue, found: Found, mirrors: Sequence[str]) -> _Plan:
    lines = found.checked.lines
    wanted = {digest for one in lines if one.line.statement for digest in salvage.named_in(one.line.statement)}
    named = {digest for one in lines if one.entry for digest in one.entry.documents}
    documents, lost = await salvage.documents(venue, list(dict.fromkeys(mirrors)), wanted | named)
    return await venue.store.read(lambda view: _plan(view, lines, documents, sorted(lost & named)))


def _plan(view: View, lines: Sequence[CheckedLine], documents: Mapping[str, Document], lost: Sequence[str]) -> _Plan:
    names = view.evidence.objects()
    told = Replay()
    _replay_held(view, told)
    _replay_new(lines, names, told)
    for document in documents.values():
        told.add_document(document)
    silent = [one for one in lines if one.entry is None]
    states = [one for one in told.states(lambda digest: documents.get(digest) or view.document(digest))
              if _is_newer(view, one)]  # fmt: skip
    return _Plan(
        names, tuple(documents.values()), tuple(states), told,
        silent=tuple(_silent(one, names) for one in silent), lost=tuple(lost),
        uncertain=tuple(f"{kind} {id}" for (kind, id), row in told.rows.items() if not row.whole),
        doubtful=tuple({object for one in silent for kind, object in [names.get(one.line.object, ("", ""))]
                        if kind == "agreement"}),
    )  # fmt: skip


def _replay_held(view: View, told: Replay) -> None:
    first = 0
    while page := view.evidence.named(first, PAGE):
        for one in page:
            entry = one.entry
            said = parse_statement(entry.statement) if entry.statement is not None else None
            told.add(Place(entry.index, one.kind, one.object, entry.seq, entry.data), said)
        first = page[-1].entry.index + 1


def _replay_new(lines: Sequence[CheckedLine], names: Mapping[bytes, tuple[str, str]], told: Replay) -> None:
    for one in lines:
        kind, object = names.get(one.line.object, ("", one.line.object.hex()))
        if one.entry is not None:
            kind, object = one.entry.object_kind, one.entry.object
        told.add(Place(one.line.index, kind, object, one.line.seq, one.link), one.entry)


def _is_newer(view: View, state: State) -> bool:
    held = view.get(type(state), state.id)
    return held is None or held.version < state.version


def _silent(one: CheckedLine, names: Mapping[bytes, tuple[str, str]]) -> str:
    kind, object = names.get(one.line.object, ("", ""))
    whose = f"{kind} {object}" if kind else f"an object made since the backup ({one.line.object.hex()[:16]}...)"
    return f"entry {one.line.index:,}: number {one.line.seq} of {whose}"


# --- one step -------------------------------------------------------------------------------------------------------


def _unit(venue: Venue, found: Found, plan: _Plan, order: Order) -> Callable[[Tx], tuple[str, ...]]:
    def unit(tx: Tx) -> tuple[str, ...]:
        lines = found.checked.lines
        if lines and tx.take_back(lines, plan.names) != found.head.head:
            raise error("VERIFICATION_FAILED", "the entries lead to another root than the signed one")
        if tx.checkpoint_of(found.head.size) is None:
            tx.keep_checkpoint(KeptCheckpoint(found.head.size, found.head.root, tx.now, found.note))
        for document in plan.documents:
            tx.keep(document)
        for state in plan.states:
            tx.put_back(state)
            _set_timers(tx, state)
        _count_back(tx, plan.told)
        waiting = _suspend_doubtful(tx, plan.doubtful)
        _record(tx, venue, "log.recover", order, len(lines))
        tx.set_setting(LOG_NUMBER, str(venue.keyring.log_number(venue.domain)))
        return waiting

    return unit


def _set_timers(tx: Tx, state: State) -> None:
    if isinstance(state, AgreementState) and state.state not in AGREEMENT.terminal:
        tx.at(state.end, "agreement", state.id, "end_term")
        tx.at(tx.now, "agreement", state.id, duties.TIMER)
        if state.state == "SIGNED":
            tx.at(state.start, "agreement", state.id, "activate")
    elif isinstance(state, GrantState) and state.state not in GRANT.terminal:
        tx.at(state.not_after, "grant", state.id, "term_over")
    elif isinstance(state, NegotiationState) and state.state not in NEGOTIATION.terminal and state.lapses_at:
        tx.at(state.lapses_at, "negotiation", state.id, "time_out")


def _count_back(tx: Tx, told: Replay) -> None:
    """Counters and what open accesses hold of them; the node settles those as after a crash when it starts."""
    for (key, window), used in told.counters.items():
        tx.count_back(key, window, used.amount, used.at or tx.now)
    for access, held in told.held.items():
        for (key, window), amount in held.items():
            tx.hold_back(access, key, window, amount)


def _suspend_doubtful(tx: Tx, agreements: Sequence[str]) -> tuple[str, ...]:
    """What was used under these agreements is not known: nothing is delivered until the venue's operator says so."""
    found = [state for id in agreements if (state := tx.get(AgreementState, id)) is not None]
    running = [state for state in found if state.state in ("PERFORMING", "SUSPENDED")]
    suspend_agreements(tx, running, "VENUE", actor="V")
    return tuple(state.id for state in running)


def _record(tx: Tx, venue: Venue, event: str, order: Order, entries: int) -> None:
    """The entry of a recovery; a restore before it could have none of its own, so its order stands here too."""
    documents = [tx.keep(order.document)] if order.document else []
    documents += [restored] if (restored := restored_by(tx)) else []
    tx.log(
        "node", venue.domain, event, actor=order.actor, documents=tuple(dict.fromkeys(documents)), amount=entries,
        unit="entries",
    )  # fmt: skip
    tx.set_setting(RESTORED, "")


# --- a restored store -----------------------------------------------------------------------------------------------


class Restored(msgspec.Struct, frozen=True):
    """That a store comes from a backup."""

    time: str
    actor: str
    document: str = ""
    """Digest of the order."""
    covered: bool = False
    """Whether the head record had survived, and the backup holds all that it says was ever shown."""


def mark_restored(order: Order, *, covered: bool) -> Callable[[Tx], str]:
    """Unit: nothing is signed until this store was compared with every mirror. No entry: that would be a fork."""

    def unit(tx: Tx) -> str:
        digest = tx.keep(order.document) if order.document else ""
        tx.set_setting(RESTORED, msgspec.json.encode(Restored(tx.now, order.actor, digest, covered)).decode())
        return tx.now

    return unit


def _restored(view: View) -> Restored | None:
    text = view.setting(RESTORED)
    return msgspec.json.decode(text, type=Restored) if text else None


def restored_by(view: View) -> str:
    """Query: digest of the order by which the store was restored; empty: it was not, or nobody signed one."""
    restored = _restored(view)
    return restored.document if restored else ""


def release(venue: Venue) -> Callable[[Tx], str]:
    """Unit: a restored store that fits every mirror goes on; the entry says that it was restored, and by whom."""

    def unit(tx: Tx) -> str:
        restored = _restored(tx)
        if restored is None:
            return ""
        documents = (restored.document,) if restored.document else ()
        tx.log("node", venue.domain, "log.recover", actor=restored.actor, documents=documents, amount=0, unit="entries")
        tx.set_setting(RESTORED, "")
        return restored.time

    return unit


async def is_restored(venue: Venue) -> bool:
    """Whether the store comes from a backup and was neither compared nor recovered."""
    return await venue.store.read(lambda view: _restored(view) is not None)


class Comparison(NamedTuple):
    """How a restored store fits what others hold."""

    why: str = ""
    """Why it may not sign yet; empty: it may."""
    next_step: str = ""


async def compare_restored(venue: Venue) -> Comparison:
    """Compare a restored store with every mirror; it may sign again where all of them answer and fit.

    Where no mirror is known at all, only a head record that survived can say that nothing more was ever shown.
    """
    asked, own = await salvage.survey(venue), venue.store.head().size
    if asked.largest is not None and asked.largest.signed.size > own:
        best = asked.largest
        why = f"this store ends at entry {own:,}; {best.venue} has cosigned {best.signed.size:,}"
        return Comparison(why, f"trustnode log recover --from {best.venue}")
    for copy in asked.copies:
        if await venue.store.read(_root(copy.signed.size)) != copy.signed.root:
            return Comparison(f"this store has another history than the one that {copy.venue} has cosigned")
    if asked.silent:
        names = ", ".join(sorted(asked.silent))
        step = "Wait for them; or go on with those that answer: trustnode log recover --from VENUE"
        return Comparison(f"restored from a backup; not compared yet with {names}", step)
    restored = await venue.store.read(_restored)
    if not asked.copies and not (restored and restored.covered):  # who holds nothing knows nothing
        return Comparison("restored from a backup; nobody mirrors this log, so nobody knows what else was signed")
    log.info("restored store compared", mirrors=len(asked.copies), size=own)
    return Comparison()


def _root(size: int) -> Callable[[View], bytes]:
    return lambda view: view.evidence.root(size)
