"""A copy of another venue's log: what a line of it says, and when a page of lines may be believed.

Decides: that lines follow each other without a gap, that each link follows from its chain, that what is shown opens the
commitment it stands under, and that the tree so grown is the beginning of the signed one. Leaves to others: keeping the
copy (``store.mirror``), asking for pages and the signature of the checkpoint (``app.mirror``).

A mirror sees the object of a line as its digest O alone; a statement only where the venue shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from trustnode.core.evidence import chain, tree
from trustnode.core.evidence.chain import ENTRY_BYTES, SALT_BYTES, ChainEnd
from trustnode.core.evidence.edges import TileEdges
from trustnode.core.evidence.entry import Entry, parse_statement
from trustnode.core.evidence.tree import TreeHead
from trustnode.errors import TrustnodeError, error

MAX_LINES: Final = 1024
"""Lines of one page."""


class LogLine(msgspec.Struct, frozen=True):
    """One entry of a log, as somebody else may hold it."""

    index: int
    object: bytes
    """O, 32 bytes."""
    seq: int
    """Number in the chain of the object, from 1."""
    commitment: bytes
    """C, 32 bytes."""
    salt: bytes | None = None
    """None where the statement is withheld or erased, like ``statement``."""
    statement: bytes | None = None


class CheckedLine(NamedTuple):
    """A line with the link that was computed for it."""

    line: LogLine
    link: bytes
    entry: Entry | None
    """What it says, where it is shown."""


class Checked(NamedTuple):
    """A page that holds."""

    lines: tuple[CheckedLine, ...]
    edges: TileEdges
    """The right edge of the copy behind the page."""


def check_lines(edges: TileEdges, ends: Mapping[bytes, ChainEnd], lines: Sequence[LogLine]) -> Checked:
    """Grow a copy by lines, each of which must follow.

    Args:
        edges: The copy before.
        ends: O -> where the copy's chain of that object ends, for every object of the page that it knows.
        lines: What came, by rising index.

    Raises:
        VerificationFailed: A gap, a foreign number, a malformed hash, or a statement that does not open its commitment.
    """
    known = dict(ends)
    checked = []
    for expected, line in enumerate(lines, edges.size):
        if line.index != expected:
            raise _failed(f"entry {expected} is missing, {line.index} came instead")
        _check_form(line)
        end = chain.extend(known.get(line.object, ChainEnd()), line.object, line.commitment)
        if end.seq != line.seq:
            raise _failed(f"entry {line.index} is number {line.seq} of its object, number {end.seq} is due")
        known[line.object] = end
        checked.append(CheckedLine(line, end.link, opened(line)))
    growth = edges.grow([tree.leaf_hash(one.link) for one in checked])
    return Checked(tuple(checked), growth.edges)


def opened(line: LogLine) -> Entry | None:
    """What a line says; None where it is withheld.

    Raises:
        VerificationFailed: It is not the statement that the line commits to, or speaks of another object.
    """
    if line.salt is None or line.statement is None:
        return None
    if chain.commitment(line.salt, line.statement) != line.commitment:
        raise _failed(f"the statement of entry {line.index} is not the one committed to")
    try:
        entry = parse_statement(line.statement)
    except TrustnodeError as problem:
        raise _failed(f"the statement of entry {line.index}: {problem.message}") from problem
    if chain.object_id(entry.object_kind, entry.object) != line.object:
        raise _failed(f"the statement of entry {line.index} is about another object")
    return entry


def check_head(edges: TileEdges, head: TreeHead, proof: Sequence[bytes]) -> None:
    """Check that a copy is the beginning of a signed tree.

    Args:
        edges: The copy.
        head: Size and root that the log signed.
        proof: Consistency proof between both; empty where they are of one size.

    Raises:
        VerificationFailed: The log is shorter than the copy, or has another history.
    """
    if edges.size > head.size:
        raise _failed(f"the log has {head.size} entries now, {edges.size} were copied before: it went back")
    tree.verify_consistency(edges.head, head, proof)


def _check_form(line: LogLine) -> None:
    is_whole = len(line.object) == len(line.commitment) == ENTRY_BYTES
    if not is_whole or (line.salt is None) != (line.statement is None) or len(line.salt or bytes(16)) != SALT_BYTES:
        raise _failed(f"entry {line.index} is malformed")


def _failed(message: str) -> TrustnodeError:
    return error("VERIFICATION_FAILED", message)
