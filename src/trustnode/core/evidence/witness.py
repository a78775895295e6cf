"""What a witness is asked and what it answers (C2SP tlog-witness v1.0.0, with the mismatch code of July 2026).

Decides: the body of ``add-checkpoint``, read strictly, the order of its checks and the status of each. Leaves to
others: whose keys speak for which log (cards), persisting before answering (``app.witness``), transport.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from trustnode.core.evidence import note as notes
from trustnode.core.evidence.checkpoint import (
    Checkpoint,
    SignedCheckpoint,
    open_checkpoint,
    parse_checkpoint,
    parse_decimal,
)
from trustnode.core.evidence.tree import EMPTY_ROOT, HASH_BYTES, MAX_PROOF_HASHES, TreeHead, verify_consistency
from trustnode.errors import TrustnodeError, error

MAX_REQUEST_BYTES: Final = 128 * 1024
"""Longest body; a note with sixteen post-quantum signatures has half of it."""
SIZE_TYPE: Final = "text/x.tlog.size"
"""Content type of a 409 that says which size is held; without it the answer speaks of a mismatch."""
TEXT_TYPE: Final = "text/plain; charset=utf-8"
NOTHING: Final = TreeHead(0, EMPTY_ROOT)
"""What a witness holds of a log that it never cosigned."""
_OLD: Final = "old "

Status = Literal[200, 400, 403, 404, 409, 422]
Conflict = Literal["", "FORK", "SUSPECTED"]
"""FORK: two notes of one size with different roots, which convince anybody. SUSPECTED: a consistency proof failed,
which anybody can bring about with a bad proof."""


class AddCheckpoint(NamedTuple):
    """A request to cosign."""

    old: int
    """Size that the witness is believed to hold; 0: none."""
    proof: tuple[bytes, ...]
    """Consistency of ``old`` with the checkpoint."""
    note: bytes

    @property
    def body(self) -> bytes:
        """The request as it is sent."""
        lines = [f"{_OLD}{self.old}", *map(notes.encode_base64, self.proof), "", ""]
        return "\n".join(lines).encode() + self.note


class Judgement(NamedTuple):
    """What a witness makes of a request."""

    status: Status
    checkpoint: Checkpoint | None = None
    """Where its log's signature verified."""
    text: str = ""
    """The text to cosign."""
    conflict: Conflict = ""
    reason: str = ""
    """One sentence for a person, where it is refused."""


def parse_request(body: bytes) -> AddCheckpoint:
    """Read the body of ``add-checkpoint``.

    Raises:
        InvalidRequest: FIELD_FORMAT, FIELD_TOO_LONG.
    """
    if len(body) > MAX_REQUEST_BYTES:
        raise error("FIELD_TOO_LONG", f"a request has at most {MAX_REQUEST_BYTES} bytes", field="body")
    head, separator, note = body.partition(b"\n\n")
    first, *hashes = head.decode("ascii", "replace").split("\n")
    old = parse_decimal(first.removeprefix(_OLD)) if first.startswith(_OLD) else None
    proof = tuple(notes.decode_base64(line) or b"" for line in hashes)
    if not separator or old is None or len(proof) > MAX_PROOF_HASHES or any(len(h) != HASH_BYTES for h in proof):
        raise error("FIELD_FORMAT", "old size, proof, empty line, note: not a request to cosign", field="body")
    return AddCheckpoint(old, proof, note)


def origin_of(note: bytes) -> str:
    """The log that a note claims to be of; nothing is verified.

    Raises:
        VerificationFailed: The note is malformed.
    """
    return notes.text_of(note).partition("\n")[0]


def judge(request: AddCheckpoint, keys: Iterable[notes.VerifierKey], held: TreeHead) -> Judgement:
    """Judge a request in the order of tlog-witness.

    Args:
        request: What is asked.
        keys: Keys trusted for the log that the note names; none: the log is unknown.
        held: What was cosigned for that log last; ``NOTHING`` before the first.

    Raises:
        VerificationFailed: The note is malformed (status 400).
    """
    text, known = notes.text_of(request.note), tuple(keys)
    if not known:
        return Judgement(404, reason="the log is not known here")
    try:
        notes.open_note(request.note, known)
    except TrustnodeError as problem:
        return Judgement(403, reason=problem.message)
    if _is_false_start(text):
        return Judgement(422, reason="an empty log has the empty root")
    found = parse_checkpoint(text)
    if found.origin != known[0].name:
        return Judgement(403, reason="the key that signed is not the key of this log")
    return _compare(request, found, held)._replace(checkpoint=found, text=text)


def _is_false_start(text: str) -> bool:
    """Whether the text speaks of an empty log with another root than the empty one."""
    lines = text.split("\n")
    return lines[1:2] == ["0"] and lines[2:3] != [notes.encode_base64(EMPTY_ROOT)]


def _compare(request: AddCheckpoint, found: Checkpoint, held: TreeHead) -> Judgement:
    fork: Conflict = "FORK" if found.size == held.size and found.root != held.root else ""
    if request.old > found.size:
        return Judgement(400, conflict=fork, reason="the old size is larger than the checkpoint")
    if request.old != held.size:
        return Judgement(409, conflict=fork, reason=f"size {held.size} is held")
    if fork:
        return Judgement(422, conflict=fork, reason=f"size {held.size} was cosigned with another root")
    try:
        verify_consistency(held, found.head, request.proof)
    except TrustnodeError as problem:
        # from nothing every log is consistent, and a surplus hash in such a proof is only malformed
        return Judgement(422, conflict="SUSPECTED" if held.size else "", reason=problem.message)
    return Judgement(200)


def cosigned(note: bytes, keys: Iterable[notes.VerifierKey], line: str) -> bytes:
    """The note that a witness keeps and shows: the text, the signature of its log, our cosignature.

    Raises:
        VerificationFailed: The note is malformed.
    """
    return notes.assemble(notes.text_of(note), [*notes.lines_by(note, keys), line])


def open_cosignatures(
    lines: bytes, note: bytes, log_keys: Iterable[notes.VerifierKey], witness_keys: Iterable[notes.VerifierKey],
    *, earliest: int, latest: int,
) -> list[str]:  # fmt: skip
    """Verify what a witness answered, before any of it stands under our own note.

    Args:
        lines: Body of the answer.
        note: Our note that was to be cosigned.
        log_keys: Our own keys.
        witness_keys: Keys of this one witness.
        earliest: Unix seconds; an earlier cosignature would make our entries older than they are.
        latest: Unix seconds; a later one is refused.

    Returns:
        The lines of known keys, with their newlines.

    Raises:
        VerificationFailed: Malformed, none by a known key, one that does not verify, or a time out of range.
    """
    if len(lines) > MAX_REQUEST_BYTES or not lines.endswith(b"\n") or b"\n\n" in lines:
        raise error("VERIFICATION_FAILED", "the answer of the witness is no list of cosignatures")
    witnesses = tuple(witness_keys)
    logs = tuple(log_keys)
    whole = notes.assemble(notes.text_of(note), notes.lines_by(note, logs)) + lines
    opened = open_checkpoint(whole, logs, witnesses, quorum=1, latest=latest)
    if any(one.time < earliest for one in opened.cosignatures):
        raise error("VERIFICATION_FAILED", "the cosignature is older than the checkpoint")
    return notes.lines_by(whole, witnesses)


def parse_size(body: bytes) -> int | None:
    """The size in a 409 that says which is held; None where it says nothing."""
    return parse_decimal(body.removesuffix(b"\n").decode("ascii", "replace"))


def open_own(note: bytes, keys: Iterable[notes.VerifierKey]) -> SignedCheckpoint | None:
    """A note that somebody says is ours, if it is: only our own signature counts against us."""
    try:
        return open_checkpoint(note, keys)
    except TrustnodeError:
        return None
