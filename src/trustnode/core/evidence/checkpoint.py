"""The signed tree head of a log (C2SP tlog-checkpoint v1.0.0).

Decides: what the text says, and when a signed checkpoint counts. Leaves to others: which keys are a log's and which
are witnesses (cards), quorums by group (the agreement's policy), whether a head may be signed at all (``store``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from trustnode.core.evidence import note as notes
from trustnode.core.evidence.tree import EMPTY_ROOT, HASH_BYTES, TreeHead
from trustnode.errors import TrustnodeError, error

MAX_SIZE: Final = (1 << 63) - 1
_DECIMAL = re.compile("0|[1-9][0-9]{0,18}")


class Checkpoint(NamedTuple):
    """What a log says about itself at one size. We write no extension lines: monitors cannot audit them."""

    origin: str
    size: int
    root: bytes

    @property
    def head(self) -> TreeHead:
        """Size and root without the origin."""
        return TreeHead(self.size, self.root)

    @property
    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{notes.encode_base64(self.root)}\n"


class SignedCheckpoint(NamedTuple):
    """A checkpoint whose log signature verified, with the cosignatures that count."""

    checkpoint: Checkpoint
    text: str
    """The signed text, with extension lines if the log writes any."""
    cosignatures: tuple[notes.Signature, ...]

    @property
    def head(self) -> TreeHead:
        """Size and root."""
        return self.checkpoint.head


def parse_decimal(text: str) -> int | None:
    """Read a size or an index: ASCII digits, no leading zero, below 2^63; None for anything else."""
    value = int(text) if _DECIMAL.fullmatch(text) else None
    return value if value is not None and value <= MAX_SIZE else None


def parse_checkpoint(text: str, *, extensions: bool = True) -> Checkpoint:
    """Read the text of a checkpoint.

    Args:
        text: The text of the note.
        extensions: Whether extension lines are tolerated (and ignored). False for a log of our own.

    Raises:
        VerificationFailed: The text is malformed, or an empty tree has another root than the empty one.
    """
    lines = text.split("\n")
    if len(lines) < 4 or lines.pop() != "" or not all(lines):
        raise _failed("checkpoint has missing or empty lines")
    origin, decimal, encoded, *others = lines
    size, root = parse_decimal(decimal), notes.decode_base64(encoded)
    if size is None or root is None or len(root) != HASH_BYTES:
        raise _failed("checkpoint has a malformed size or root")
    if size == 0 and root != EMPTY_ROOT:
        raise _failed("empty tree with another root")
    if others and not extensions:
        raise _failed("checkpoint has extension lines")
    return Checkpoint(origin, size, root)


def sign_checkpoint(
    checkpoint: Checkpoint, public: bytes, signer: notes.Sign, *besides: tuple[bytes, notes.Sign]
) -> bytes:
    """Write the note of a checkpoint, signed by the log key under the origin as its name.

    Args:
        checkpoint: What is said of the log.
        public: Raw public key.
        signer: Signs with it.
        *besides: Further log keys, while one takes the place of another (protocol 1.3): whoever knows one can verify.
    """
    parse_checkpoint(checkpoint.text, extensions=False)
    signers = ((public, signer), *besides)
    lines = [notes.sign(checkpoint.text, checkpoint.origin, raw, sign) for raw, sign in signers]
    return notes.assemble(checkpoint.text, lines)


def open_checkpoint(
    note: bytes,
    log_keys: Iterable[notes.VerifierKey],
    witness_keys: Iterable[notes.VerifierKey] = (),
    *,
    quorum: int = 0,
    latest: int | None = None,
    extensions: bool = True,
) -> SignedCheckpoint:
    """Verify a checkpoint note.

    Args:
        note: The whole note.
        log_keys: Keys of the logs to accept; each counts for the origin that is its name.
        witness_keys: Keys whose cosignatures count.
        quorum: Cosignatures by distinct raw keys that must be there.
        latest: Unix seconds; a counted cosignature that claims a later time is refused.
        extensions: Whether extension lines are tolerated.

    Raises:
        VerificationFailed: The note or text is malformed, the log did not sign, or the quorum is not met; then
            metadata ``field`` is ``quorum``.
    """
    logs, witnesses = frozenset(log_keys), frozenset(witness_keys)
    opened = notes.open_note(note, logs | witnesses, latest=latest)
    checkpoint = parse_checkpoint(opened.text, extensions=extensions)
    if not any(_is_log(s.key, checkpoint.origin) and s.key in logs for s in opened.signatures):
        raise _failed("checkpoint is not signed by a known key of its origin")
    cosignatures = tuple(s for s in opened.signatures if s.key in witnesses and s.key.algorithm == notes.COSIGNATURE_V1)
    if len(cosignatures) < quorum:
        message = f"{len(cosignatures)} of {quorum} required witnesses cosigned"
        raise error("VERIFICATION_FAILED", message, field="quorum")
    return SignedCheckpoint(checkpoint, opened.text, cosignatures)


def _is_log(key: notes.VerifierKey, origin: str) -> bool:
    return key.algorithm == notes.ED25519 and key.name == origin


def _failed(message: str) -> TrustnodeError:
    return error("VERIFICATION_FAILED", message)
