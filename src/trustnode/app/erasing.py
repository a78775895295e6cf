"""Erasing entries of the log by a signed act of the operator.

Decides: which entries and documents an act means, that each gap is an entry of its own, and when the bytes are gone
from the disk. Leaves to others: which entries may go (``core.evidence.erasure``), the files (``store``).

What others hold is not reached from here: backups go by their own rule, mirrors and the other party of a deal have
their own copies and their own duty.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Final

from trustnode.app.submission import Answer, Submission, Unit, handles
from trustnode.app.transition import pseudonym
from trustnode.app.venue import Venue
from trustnode.core.carried import DIGESTED
from trustnode.core.document import decode
from trustnode.core.evidence.entry import Entry, parse_statement
from trustnode.core.evidence.erasure import LASTING, LASTING_DOCUMENTS, MAX_ENTRIES, Erasure, why_not
from trustnode.core.participant import PARTICIPANT, ParticipantKey, ParticipantState
from trustnode.core.replay import ERASED_ENTRY, ERASED_STEP
from trustnode.core.states import MACHINES, STATES
from trustnode.errors import error
from trustnode.store.log import LogEntry
from trustnode.store.unit import Tx, View
from trustnode.vocabulary import NAMES

KIND_OF_CHAIN: Final = {"peer": "peering"}
"""Kind of an object in the log -> its kind of state, where the two differ."""
WIPE_TRIES: Final = 100
WIPE_PAUSE_S: Final = 0.1
MIN_MARK_BYTES: Final = 16


@handles(Erasure, "OPERATOR", "SELF")
async def erase(submission: Submission[Erasure]) -> Unit:
    """Take salt and statement of entries away; the gap itself is evidence."""
    venue, value = submission.venue, submission.value
    if value.iss != venue.domain:
        raise error("ROLE_NOT_ALLOWED", "a venue erases in its own log")
    if value.reason not in NAMES["EraseReason"]:
        raise error("VOCABULARY_UNKNOWN", f"no reason {value.reason}", field="reason")

    def unit(tx: Tx) -> Answer:
        for one, entry in _meant(tx, value):
            tx.erase(one.index)
            for moved in entry.moved:
                _blank(tx, moved.kind, moved.id)
            tx.log(
                "node", venue.domain, "log.erase", amount=one.index, unit=_unit_of(entry),
                documents=(submission.digest,), actor=pseudonym(submission.sender.name), stage="DELETION",
            )  # fmt: skip
        for digest in value.documents:
            _check_document(tx, digest)
            tx.erase_document(digest)
        return Answer(kind="node", id=venue.domain, state="ERASED", document=submission.digest)

    return unit


def _check_document(view: View, digest: str) -> None:
    """Refuse to erase what evidence stands on.

    Raises:
        TrustnodeError: ILLEGAL_TRANSITION.
    """
    document = view.document(digest)
    reason = LASTING_DOCUMENTS.get(document.name, "") if document is not None else ""
    if document is not None and document.name == "participant-key" and not reason:
        holder = view.get(ParticipantState, decode(document, ParticipantKey).participant)
        in_use = holder is not None and holder.document == digest and holder.state not in PARTICIPANT.terminal
        reason = "its participant has not left" if in_use else ""
    if document is not None and reason:
        raise error("ILLEGAL_TRANSITION", f"{document.name} {digest[:12]} stays: {reason}", field="documents")


def _unit_of(entry: Entry) -> str:
    return ERASED_STEP if entry.moved or entry.reserved or entry.used else ERASED_ENTRY


def _meant(view: View, value: Erasure) -> list[tuple[LogEntry, Entry]]:
    """The entries that an act means, with what they say.

    Raises:
        TrustnodeError: FIELD_MISSING, NOT_FOUND, ILLEGAL_TRANSITION: one of them has to stay.
    """
    if bool(value.entries) == bool(value.object):
        raise error("FIELD_MISSING", "name either entries or an object", field="entries")
    if value.entries:
        named = [_said(view.evidence.entry(index)) for index in sorted(set(value.entries))]
        if len(named) > sum(entry is not None for _, entry in named):
            raise error("NOT_FOUND", "one of these entries was erased before", field="entries")
        found = [(one, entry) for one, entry in named if entry is not None]
    else:
        chain = view.evidence.chain(value.object_kind, value.object, limit=MAX_ENTRIES + 1)
        found = [(one, entry) for one, entry in map(_said, chain) if entry is not None and entry.type not in LASTING]
    if not found:
        raise error("NOT_FOUND", f"nothing is left to erase of {value.object_kind} {value.object[:80]}")
    if len(found) > MAX_ENTRIES:
        raise error("FIELD_TOO_LONG", f"at most {MAX_ENTRIES} entries at a time", field="entries")
    for one, entry in found:
        problem = why_not(entry, ended=_has_ended(view, entry))
        if problem:
            raise error("ILLEGAL_TRANSITION", f"entry {one.index}: {problem}", field="entries")
    return found


def _said(one: LogEntry) -> tuple[LogEntry, Entry | None]:
    return one, parse_statement(one.statement) if one.statement is not None else None


def _has_ended(view: View, entry: Entry) -> bool:
    kind = KIND_OF_CHAIN.get(entry.object_kind, entry.object_kind)
    if kind not in STATES:
        return True
    state = view.get(STATES[kind], entry.object)
    return state is None or state.state in MACHINES[kind].terminal


def _blank(tx: Tx, kind: str, id: str) -> None:
    """Take the text away that the entry had only as a digest."""
    for name, column in DIGESTED:
        if name == kind == "participant":
            tx.blank(STATES[kind], id, column)


# --- the disk -------------------------------------------------------------------------------------------------------


async def marks(venue: Venue, value: Erasure) -> tuple[bytes, ...]:
    """Bytes that stand nowhere but in what is to be erased, to look for afterwards."""

    def query(view: View) -> tuple[bytes, ...]:
        found: list[bytes] = []
        for one, entry in _meant(view, value):
            found += [one.salt or b"", entry.event_id.encode()]
        for digest in value.documents:
            document = view.document(digest)
            found += [base64.b64encode(signature.sig) for signature in document.signatures] if document else []
        return tuple(mark for mark in found if len(mark) >= MIN_MARK_BYTES)

    return await venue.store.read(query)


async def wiped(venue: Venue, erased: Sequence[bytes]) -> None:
    """Wait until the erased bytes have left the database, its free pages and its write-ahead log.

    Raises:
        TrustnodeError: EVIDENCE_UNAVAILABLE, a reader still holds them.
    """
    for _ in range(WIPE_TRIES):
        if not await asyncio.to_thread(venue.store.holds, erased):
            return
        await venue.store.write(_nothing, event_id="", returns=type(None))  # the writer moves its log after a batch
        await asyncio.sleep(WIPE_PAUSE_S)
    raise error(
        "EVIDENCE_UNAVAILABLE", "erased, but a reader still holds the old bytes in the write-ahead log",
        next_step="Restart the node; the bytes go with it.",
    )  # fmt: skip


def _nothing(_tx: Tx) -> None:
    """A step that changes nothing."""
