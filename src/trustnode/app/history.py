"""Whether our log is still the one that others have seen: what a witness shows of it, compared with what we hold.

Decides: what counts against us (a note with our own signature, by a key that we did not take back, and nothing else)
and that we stop then. Leaves to others: asking (``cosigning``), the way back (the operator). Source: evidence-log 9,
the rows that need a witness.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal

from trustnode.app.doubts import own_leaves
from trustnode.app.venue import Venue
from trustnode.app.witness import keep_fork
from trustnode.core.evidence import note as notes
from trustnode.core.evidence.checkpoint import SignedCheckpoint
from trustnode.core.evidence.witness import open_own
from trustnode.core.identity import log_origin
from trustnode.errors import TrustnodeError
from trustnode.store.checkpoints import Fork, KeptCheckpoint
from trustnode.store.unit import Tx, View

Verdict = Literal["BEHIND", "AHEAD", "FORK", "UNPROVEN"]
"""BEHIND: a head of our log as we hold it, of our size at most. AHEAD, FORK: we signed what we do not hold; the node is
read-only now. UNPROVEN: nothing that we signed was shown, so nothing follows."""
LOG_NUMBER: Final = "log/number"
"""Setting: which log of ours the store holds; it changes with the entry that opens the next one."""
SHOWN: Final = "log/shown"
"""Setting: a note of our own log that is larger than the store, as a witness showed it."""
RECOVER: Final = "trustnode log recover --from "


def own_keys(venue: Venue, *, standing: bool = False) -> tuple[notes.VerifierKey, ...]:
    """Every key that ever spoke for our log by our own card; an old one counts against us too.

    Keys of a log that was closed are not among them: what they signed speaks of that log alone.

    Args:
        venue: The node.
        standing: Without those that we took back: whoever stole one signs whatever would stop us.
    """
    number = venue.keyring.log_number(venue.domain)
    listed = [key for key in venue.keyring(venue.domain, "log") if key.log == number]
    raw = {key.raw for key in listed if not (standing and key.revoked_from)} | {venue.log_key.public}
    return tuple(notes.VerifierKey(venue.log_origin, notes.ED25519, one) for one in sorted(raw))


async def compare(venue: Venue, domain: str, note: bytes) -> tuple[Verdict, int]:
    """Compare what a witness shows as the newest head that it cosigned with our store; stop where it is not ours.

    Args:
        venue: The node.
        domain: The witness.
        note: The note that it holds; whatever it is.

    Returns:
        The verdict, and the size of the head that was shown.
    """
    shown = open_own(note, own_keys(venue)) if note else None
    if shown is None:
        return "UNPROVEN", 0
    size, head = shown.head.size, venue.store.head()
    is_word = open_own(note, own_keys(venue, standing=True)) is not None
    if size > head.size and not is_word:
        return "UNPROVEN", 0
    if size > head.size:
        with suppress(TrustnodeError):  # read-only already
            await venue.store.write(_remember(note), event_id="", returns=str)
        venue.halt(
            f"this store ends at entry {head.size:,}; {domain} has cosigned {size:,}", next_step=f"{RECOVER}{domain}"
        )
        return "AHEAD", size
    if await venue.store.read(lambda view: view.evidence.root(size)) == shown.head.root:
        return "BEHIND", size
    if not is_word:
        return "UNPROVEN", 0
    await _stop(venue, domain, shown, note)
    return "FORK", size


def _ours(view: View, size: int) -> tuple[KeptCheckpoint | None, bytes]:
    """Our own head of that size, or the next larger one with the leaves that lead to it."""
    kept = view.checkpoint_of(size) or next(view.checkpoints_covering(size), None)
    return kept, own_leaves(view, kept.size) if kept is not None and kept.size > size else b""


async def _stop(venue: Venue, domain: str, shown: SignedCheckpoint, note: bytes) -> None:
    size = shown.head.size
    kept, hashes = await venue.store.read(lambda view: _ours(view, size))
    fork = Fork(
        origin=venue.log_origin, size=size, root=shown.head.root, held=kept.note if kept else b"", shown=note,
        proof=b"", hashes=hashes, proven=bool(hashes) or (kept is not None and kept.size == size), source=domain,
        time="",
    )  # fmt: skip
    with suppress(TrustnodeError):  # read-only already: the log lines and the alarm still say it
        await keep_fork(venue, fork)
    venue.halt(
        f"{domain} has cosigned another history of this log at entry {shown.head.size:,}",
        next_step="trustnode log forks -o FILE",
    )


async def compare_stored(venue: Venue) -> bytes:
    """Compare the newest note in the store with its log; stop where it does not follow, or is of another log.

    Returns:
        The note, for the witnesses; empty where none carries our signature yet: the publisher signs the committed head.
    """
    await _compare_number(venue)
    kept = await venue.store.read(lambda view: view.newest_checkpoint())
    signed = open_own(kept.note, own_keys(venue)) if kept is not None else None
    if kept is None or signed is None or signed.head != (kept.size, kept.root):
        return b""
    head = venue.store.head()
    if kept.size > head.size:
        venue.halt(f"this store ends at entry {head.size:,}; it has signed {kept.size:,}")
    elif not venue.read_only and not await venue.store.read(lambda view: _has_root(view, kept.size, kept.root)):
        venue.halt(f"the log is not the one that was signed at entry {kept.size:,}")
    return kept.note


def _remember(note: bytes) -> Callable[[Tx], str]:
    """Unit: keep what was shown of our log, for the day on which nobody can show it any more."""

    def unit(tx: Tx) -> str:
        tx.set_setting(SHOWN, note.decode())
        return SHOWN

    return unit


async def _compare_number(venue: Venue) -> None:
    """A store of a log that was closed since must not become the next log: that would be a second history of it."""
    number = venue.keyring.log_number(venue.domain)
    held = await venue.store.read(log_number)
    if held != number:
        venue.halt(
            f"this store is of log {held} of {venue.domain}, its card of log {number}",
            next_step=f"{RECOVER}VENUE",
        )


def log_number(view: View) -> int:
    """Query: which log of ours the store holds."""
    return int(view.setting(LOG_NUMBER) or 1)


def own_origin(view: View, domain: str) -> str:
    """Query: origin of the log of ours that the store holds."""
    return log_origin(domain, log_number(view))


def _has_root(view: View, size: int, root: bytes) -> bool:
    try:
        return view.evidence.root(size) == root
    except TrustnodeError:  # a tile is too narrow
        return False
