"""The file that shows one entry of a log to a stranger (C2SP tlog-proof v1).

Decides: the format, and the order of checks. Leaves to others: what the entry says (``entry``, ``chain``), which keys
to trust.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from trustnode.core.evidence import note as notes
from trustnode.core.evidence.checkpoint import SignedCheckpoint, open_checkpoint, parse_decimal
from trustnode.core.evidence.tree import HASH_BYTES, MAX_PROOF_HASHES, leaf_hash, verify_inclusion
from trustnode.errors import TrustnodeError, error

MAGIC: Final = "c2sp.org/tlog-proof@v1"
MAX_PROOF_BYTES: Final = notes.MAX_NOTE_BYTES


class TlogProof(NamedTuple):
    """An index, a path and a checkpoint note. Nothing in it is verified."""

    position: int
    """Zero-based index of the entry in its log."""
    path: tuple[bytes, ...]
    """Inclusion proof, leaf sibling first."""
    checkpoint: bytes
    """The note, verbatim."""
    extra: bytes = b""
    """Not authenticated by anything: never a ground for a decision."""

    def to_bytes(self) -> bytes:
        """Write the file."""
        extra = [f"extra {notes.encode_base64(self.extra)}"] if self.extra else []
        path = [notes.encode_base64(one) for one in self.path]
        header = "\n".join([MAGIC, *extra, f"index {self.position}", *path])
        return header.encode() + b"\n\n" + self.checkpoint


def parse_proof(data: bytes) -> TlogProof:
    """Read a proof file.

    Raises:
        VerificationFailed: The file is malformed.
    """
    header, separator, checkpoint = data[: MAX_PROOF_BYTES + 1].partition(b"\n\n")
    if len(data) > MAX_PROOF_BYTES or not separator or not header.isascii():
        raise _failed("proof file is too long or has no checkpoint")
    magic, *lines = header.decode().split("\n")
    if magic != MAGIC:
        raise _failed("not a proof file of version 1")
    extra = b""
    if lines and lines[0].startswith("extra "):
        extra = notes.decode_base64(lines.pop(0)[len("extra ") :]) or b""
        if not extra:
            raise _failed("proof file has a malformed extra line")
    return TlogProof(_parse_index(lines[:1]), _parse_path(lines[1:]), checkpoint, extra)


def verify_proof(
    proof: TlogProof,
    data: bytes,
    log_keys: Iterable[notes.VerifierKey],
    witness_keys: Iterable[notes.VerifierKey] = (),
    *,
    quorum: int = 0,
    latest: int | None = None,
) -> SignedCheckpoint:
    """Check that a log signed a tree in which the entry ``data`` stands at the index of the proof.

    Checks in the order of the specification: leaf, log signature, quorum, inclusion.

    Args:
        proof: The parsed file.
        data: The entry, which is hashed as a leaf.
        log_keys: Keys of the logs to accept.
        witness_keys: Keys whose cosignatures count.
        quorum: Cosignatures by distinct raw keys that must be there.
        latest: Unix seconds; a counted cosignature that claims a later time is refused.

    Raises:
        VerificationFailed: Any check fails.
    """
    leaf = leaf_hash(data)
    signed = open_checkpoint(proof.checkpoint, log_keys, witness_keys, quorum=quorum, latest=latest)
    verify_inclusion(proof.position, leaf, proof.path, signed.head)
    return signed


def _parse_index(lines: list[str]) -> int:
    word, _, decimal = lines[0].partition(" ") if lines else ("", "", "")
    index = parse_decimal(decimal)
    if word != "index" or index is None:
        raise _failed("proof file has no well-formed index")
    return index


def _parse_path(lines: list[str]) -> tuple[bytes, ...]:
    path = tuple(notes.decode_base64(line) or b"" for line in lines)
    if len(path) > MAX_PROOF_HASHES or any(len(one) != HASH_BYTES for one in path):
        raise _failed("proof file has malformed or surplus hashes")
    return path


def _failed(message: str) -> TrustnodeError:
    return error("VERIFICATION_FAILED", message)
