"""Key files: written once, readable by their owner alone.

Decides: mode and format of a key file, and that nothing overwrites one. Leaves to others: what the keys are for.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trustnode.errors import error

PRIVATE_MODE: Final = 0o600
PRIVATE_DIRECTORY_MODE: Final = 0o700
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}\Z")


def write_secret(path: Path, content: bytes) -> None:
    """Create a file that its owner alone can read; the content is on disk when this returns.

    Raises:
        FileExistsError: The file is there already; a key is never overwritten.
    """
    path.parent.mkdir(mode=PRIVATE_DIRECTORY_MODE, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read_secret(path: Path) -> bytes:
    """Read a private file, refusing one that others could have read.

    Raises:
        TrustnodeError: CONFIG_INVALID, with the command that puts it right.
    """
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except OSError as problem:
        raise error("CONFIG_INVALID", f"{path.name} cannot be read: {problem.strerror}", field=path.name) from None
    if mode & 0o077:
        step = f"Run: chmod 600 {path}; if others have read it, replace the key."
        raise error(
            "CONFIG_INVALID",
            f"{path.name} is open to others (mode {mode & 0o777:04o})",
            field=path.name,
            next_step=step,
        )
    return content


class FileSigner:
    """A document key in a file (the ``Signer`` of ``core.document``)."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._public = key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> FileSigner:
        """Make a new key, not stored yet."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> FileSigner:
        """Read a key file.

        Raises:
            TrustnodeError: CONFIG_INVALID.
        """
        return cls.from_pem(read_secret(path), path.name)

    @classmethod
    def from_pem(cls, pem: bytes, name: str = "key") -> FileSigner:
        """Read a key from PKCS #8 PEM; ``name`` is for the message."""
        key = _load_pem(pem, name)
        if not isinstance(key, Ed25519PrivateKey):
            raise error("CONFIG_INVALID", f"{name} is not an Ed25519 key", field=name)
        return cls(key)

    @property
    def public(self) -> bytes:
        """Raw public key, 32 bytes."""
        return self._public

    @property
    def pem(self) -> bytes:
        """The private key, PKCS #8."""
        return private_pem(self._key)

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature, 64 bytes."""
        return self._key.sign(message)


class Custody:
    """Keys that the venue holds for participants, a file each (protocol 1.2)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def create(self, name: str) -> FileSigner:
        """Make the key of a participant.

        Raises:
            FileExistsError: There is one already.
        """
        signer = FileSigner.generate()
        write_secret(self._path(name), signer.pem)
        return signer

    def retire(self, name: str) -> None:
        """Use the key of a participant no more; its file is kept under the beginning of the key's name."""
        held = self.signer(name)
        if held is not None:
            path = self._path(name)
            path.rename(path.with_name(f".{name}.{held.public.hex()[:16]}.key"))

    def signer(self, name: str) -> FileSigner | None:
        """The key held for a participant; None if it holds its own."""
        path = self._path(name)
        return FileSigner.load(path) if path.exists() else None

    def _path(self, name: str) -> Path:
        if not _NAME.match(name):
            raise error("FIELD_FORMAT", "a participant's name has letters, digits, '.', '_' and '-'", field="name")
        return self._directory / f"{name}.key"


def load_certificate_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read the key of a certificate.

    Raises:
        TrustnodeError: CONFIG_INVALID.
    """
    key = _load_pem(read_secret(path), path.name)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise error("CONFIG_INVALID", f"{path.name} is not an elliptic curve key", field=path.name)
    return key


def private_pem(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as unencrypted PKCS #8 PEM; the file's mode protects it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load_pem(pem: bytes, name: str) -> object:
    try:
        return serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        raise error("CONFIG_INVALID", f"{name} is not a private key in PEM", field=name) from None
