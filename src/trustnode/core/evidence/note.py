"""Signed notes and timestamped cosignatures (C2SP signed-note v1.0.0, tlog-cosignature v1).

Decides: which bytes a line signs, and which of the signatures on a note count. Leaves to others: whose keys are given,
what the text says (``checkpoint``), how many witnesses suffice.

Stricter than the specification where it leaves room: a known key whose signature fails rejects the whole note, base64
has one spelling, one raw public key counts once however many names, types and lines it has.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from trustnode.errors import TrustnodeError, error

ED25519: Final = 0x01
ECDSA: Final = 0x02
COSIGNATURE_V1: Final = 0x04
KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
MAX_SIGNATURE_LINES: Final = 100
MAX_NOTE_BYTES: Final = 1 << 20
MAX_TIME: Final = (1 << 63) - 1

_DASH: Final = "\N{EM DASH} "
_ID_BYTES: Final = 4
_TIME = struct.Struct(">Q")
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f]")

Sign = Callable[[bytes], bytes]
"""Returns the 64-byte Ed25519 signature of a message."""


class VerifierKey(NamedTuple):
    """A public key under the name it signs notes with."""

    name: str
    algorithm: int
    """Type byte: ``ED25519`` for a log, ``COSIGNATURE_V1`` for a witness."""
    public: bytes

    @property
    def id(self) -> bytes:
        """The four bytes that stand before a signature of this key."""
        return key_id(self.name, self.algorithm, self.public)

    @property
    def text(self) -> str:
        """The vkey: ``name+id+base64(type, key)``."""
        return f"{self.name}+{self.id.hex()}+{encode_base64(bytes([self.algorithm]) + self.public)}"


class Signature(NamedTuple):
    """A signature that verified."""

    key: VerifierKey
    time: int = 0
    """Unix seconds of a cosignature; 0 for a plain signature, which has none."""


class Note(NamedTuple):
    """A text and the signatures that count: each raw public key once."""

    text: str
    signatures: tuple[Signature, ...]


def key_id(name: str, algorithm: int, public: bytes) -> bytes:
    """Four-byte id of a key under a name. ``public`` is the DER form for ECDSA, the raw key for all others."""
    if algorithm == ECDSA:
        return sha256(public).digest()[:_ID_BYTES]
    return sha256(name.encode() + b"\n" + bytes([algorithm]) + public).digest()[:_ID_BYTES]


def parse_vkey(text: str) -> VerifierKey:
    """Read a vkey. A type that this module cannot verify is read too; its signatures are then ignored.

    Raises:
        InvalidRequest: FIELD_FORMAT, where the text is malformed or the id is not that of the key.
    """
    parts = text.split("+", 2)
    material = decode_base64(parts[2]) if len(parts) == 3 else None
    if not material or not is_key_name(parts[0]):
        raise _malformed("not a vkey")
    key = VerifierKey(parts[0], material[0], material[1:])
    if key.algorithm in (ED25519, COSIGNATURE_V1) and len(key.public) != KEY_BYTES:
        raise _malformed("vkey has not 32 bytes of key")
    if key.id.hex() != parts[1]:
        raise _malformed("vkey has the id of another key")
    return key


def is_key_name(name: str) -> bool:
    """Whether ``name`` may stand in a signature line: not empty; no kind of space, no ``+``, no control character."""
    return bool(name) and not any(c.isspace() or c == "+" or c < " " for c in name)


def sign(text: str, name: str, public: bytes, signer: Sign) -> str:
    """Return the signature line of an Ed25519 key over ``text``."""
    key = VerifierKey(name, ED25519, public)
    return _line(key, signer(_signable(text).encode()))


def cosign(text: str, name: str, public: bytes, signer: Sign, time: int) -> str:
    """Return the cosignature line of a witness over a checkpoint text, at ``time`` in Unix seconds."""
    if not 0 < time <= MAX_TIME:
        raise _malformed("cosignature time out of range")
    key = VerifierKey(name, COSIGNATURE_V1, public)
    return _line(key, _TIME.pack(time) + signer(_cosigned(_signable(text), time)))


def assemble(text: str, lines: Iterable[str]) -> bytes:
    """Put a text and its signature lines together."""
    return (_signable(text) + "\n" + "".join(lines)).encode()


def open_note(note: bytes, keys: Iterable[VerifierKey], *, latest: int | None = None) -> Note:
    """Verify a note.

    Args:
        note: The whole note.
        keys: Keys to accept. Signatures of others are ignored.
        latest: Unix seconds; a cosignature of a known key that claims a later time is refused.

    Raises:
        VerificationFailed: The note is malformed, a known key's signature does not verify, or no known key signed.
    """
    text, lines = _split(note)
    known = _by_name_and_id(keys)
    counted: dict[bytes, Signature] = {}
    for line in lines:
        name, identifier, signature = _parse_line(line)
        key = known.get((name, identifier))
        if key:
            _count(counted, _verify(key, signature, text, latest))
    if not counted:
        raise _failed("no known key signed the note")
    return Note(text, tuple(counted.values()))


def line_keys(note: bytes) -> list[tuple[str, bytes]]:
    """Name and key id of each signature line, verified or not.

    Raises:
        VerificationFailed: The note is malformed.
    """
    return [_parse_line(line)[:2] for line in _split(note)[1]]


def text_of(note: bytes) -> str:
    """The text of a note, before anything is believed of it.

    Raises:
        VerificationFailed: The note is malformed.
    """
    return _split(note)[0]


def lines_by(note: bytes, keys: Iterable[VerifierKey]) -> list[str]:
    """The signature lines of these keys on a note, which was verified before; one a key, each with its newline.

    Raises:
        VerificationFailed: The note is malformed.
    """
    known = _by_name_and_id(keys)
    found: dict[tuple[str, bytes], str] = {}
    for line in _split(note)[1]:
        name, identifier, _ = _parse_line(line)
        if (name, identifier) in known:
            found.setdefault((name, identifier), f"{line}\n")
    return list(found.values())


def cosigned_when(note: bytes) -> dict[str, int]:
    """Name -> Unix seconds of the earliest cosignature under that name, on a note that was verified before.

    Raises:
        VerificationFailed: The note is malformed.
    """
    found: dict[str, int] = {}
    for line in _split(note)[1]:
        name, _, signature = _parse_line(line)
        if len(signature) == _TIME.size + SIGNATURE_BYTES:
            time: int = _TIME.unpack_from(signature)[0]
            found[name] = min(found.get(name, time), time)
    return found


def add_lines(note: bytes, lines: Iterable[str]) -> bytes:
    """Put further signature lines, which were verified, under a note; a line of the same key that is there stays.

    Raises:
        VerificationFailed: Note or line is malformed, or there would be too many lines.
    """
    text, held = _split(note)
    known = {_parse_line(line)[:2] for line in held}
    added = [line for line in lines if _parse_line(line.removesuffix("\n"))[:2] not in known]
    if len(held) + len(added) > MAX_SIGNATURE_LINES:
        raise _failed("note has too many signatures")
    return assemble(text, [*(f"{line}\n" for line in held), *added])


def encode_base64(data: bytes) -> str:
    """Standard base64 with padding."""
    return base64.b64encode(data).decode()


def decode_base64(text: str) -> bytes | None:
    """Decode standard base64 in its one canonical spelling; None for anything else."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    # validate=True still accepts stray bits before the padding
    return data if encode_base64(data) == text else None


def _line(key: VerifierKey, signature: bytes) -> str:
    if not is_key_name(key.name):
        raise _malformed("not a key name")
    return f"{_DASH}{key.name} {encode_base64(key.id + signature)}\n"


def _signable(text: str) -> str:
    if not text.endswith("\n") or _CONTROL.search(text):
        raise _malformed("a note's text ends with a newline and has no other control character")
    return text


def _cosigned(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def _split(note: bytes) -> tuple[str, list[str]]:
    """Take a note apart at its last empty line: the text with its final newline, the signature lines without."""
    if len(note) > MAX_NOTE_BYTES:
        raise _failed("note is too long")
    try:
        whole = note.decode()
    except UnicodeDecodeError:
        raise _failed("note is not UTF-8") from None
    if not whole.endswith("\n") or _CONTROL.search(whole):
        raise _failed("note has control characters or no final newline")
    text, separator, signatures = whole.rpartition("\n\n")
    if not separator or not signatures:
        raise _failed("note has no signatures")
    if signatures.count("\n") > MAX_SIGNATURE_LINES:
        raise _failed("note has too many signatures")
    return text + "\n", signatures[:-1].split("\n")


def _parse_line(line: str) -> tuple[str, bytes, bytes]:
    """Name, key id and signature of a line; also a line of an unknown key must be well formed."""
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    data = decode_base64(encoded)
    if not line.startswith(_DASH) or not is_key_name(name) or data is None or len(data) <= _ID_BYTES:
        raise _failed("signature line is malformed")
    return name, data[:_ID_BYTES], data[_ID_BYTES:]


def _by_name_and_id(keys: Iterable[VerifierKey]) -> dict[tuple[str, bytes], VerifierKey]:
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for key in keys:
        if key.algorithm in (ED25519, COSIGNATURE_V1) and known.setdefault((key.name, key.id), key) != key:
            raise _malformed("two keys share a name and an id")
    return known


def _verify(key: VerifierKey, signature: bytes, text: str, latest: int | None) -> Signature:
    if key.algorithm == ED25519:
        time, message = 0, text.encode()
    else:
        time, signature = _cosignature_time(signature, latest), signature[_TIME.size :]
        message = _cosigned(text, time)
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise _failed(f"the signature of {key.name} does not verify") from None
    return Signature(key, time)


def _cosignature_time(signature: bytes, latest: int | None) -> int:
    if len(signature) != _TIME.size + SIGNATURE_BYTES:
        raise _failed("cosignature has the wrong length")
    time: int = _TIME.unpack_from(signature)[0]
    if not 0 < time <= MAX_TIME or (latest is not None and time > latest):
        raise _failed("cosignature time is out of range")
    return time


def _count(counted: dict[bytes, Signature], signature: Signature) -> None:
    """Keep one signature a raw key: the plain one, else the earliest, since sealing asks for the earliest time."""
    kept = counted.setdefault(signature.key.public, signature)
    if (signature.key.algorithm, signature.time) < (kept.key.algorithm, kept.time):
        counted[signature.key.public] = signature


def _malformed(message: str) -> TrustnodeError:
    return error("FIELD_FORMAT", message, field="note")


def _failed(message: str) -> TrustnodeError:
    return error("VERIFICATION_FAILED", message)
