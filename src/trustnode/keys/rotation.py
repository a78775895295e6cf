"""Replacing a key of a node: what lies staged beside it, and the one step in which the new one takes its place.

    evidence.key             signs now
    evidence.next.key        made, published by the next card or about to be; signs when peers have that card
    evidence.old.key         replaced; the log signs with it too while the card lists it, the others not any more

A certificate authority has ``ca.key`` and ``ca.pem`` in these three forms, and ``ca.cross.pem``: the new root signed by
the old one, so that whoever knows the old root alone still reaches the node (RFC 5280 6.1, new with old).

Decides: the files, and that a step which was cut off at any point is finished at the next start. Leaves to others: when
a step is due (``app.rotation``), what a card lists (``cards``). Source: protocol 1.3, identity 7.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from trustnode.core import clock
from trustnode.core.identity.card import CardUse
from trustnode.errors import error
from trustnode.keys.authority import CLIENT_LIFE, Issued, cross_sign, make_intermediate, make_root, new_key, pem_of
from trustnode.keys.files import FileSigner, load_certificate_key, private_pem, write_secret

Kind = Literal["evidence", "log", "witness", "authority", "intermediate", "node"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
SIGNING: Final[tuple[CardUse, ...]] = ("evidence", "log", "witness")
FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "evidence": ("evidence",),
    "log": ("log",),
    "witness": ("witness",),
    "authority": ("ca", "intermediate"),
    "intermediate": ("intermediate",),
    "node": ("node",),
}
"""Kind -> names of the files that change together; a new authority has an intermediate of its own."""
SUFFIXES: Final = (".key", ".pem", ".cross.pem")
JOURNAL: Final = "rotation.journal"
"""Names of the files that are taking their place; it stands until all of them have."""
REVOKED: Final = "revoked.json"
"""Keys that the operator took back, and from when on; the node tells it once its card is without them."""
REPLACED: Final = "ca.old.since"
"""When the former authority stopped issuing."""


@dataclass(frozen=True, slots=True)
class Staged:
    """What lies beside the keys in use."""

    next: Mapping[str, FileSigner] = field(default_factory=dict)
    """Use -> the key that will sign."""
    old: Mapping[str, FileSigner] = field(default_factory=dict)
    """Use -> the key that signed before."""
    root_next: x509.Certificate | None = None
    root_old: x509.Certificate | None = None
    root_old_until: str = ""
    """Until when certificates under the former root may still be in use."""
    revoked: frozenset[str] = frozenset()
    """Raw keys, and SHA-256 of roots, that no card lists any more."""


def stage(keys: Path, kind: Kind, trust_domain: str, now: str, *, stolen: bool = False) -> None:
    """Make the key that will take the place of the present one.

    Args:
        keys: Folder of the key files.
        kind: Which.
        trust_domain: The domain.
        now: Start of the lives of new certificates.
        stolen: The present authority is in other hands: nothing of the new one is signed with it.

    Raises:
        TrustnodeError: DUPLICATE, one is staged already.
    """
    if is_staged(keys, kind):
        step = "See how far it is: trustnode key status"
        raise error("DUPLICATE", f"a new {kind} key is staged already", field=kind, next_step=step)
    if kind in SIGNING:
        write_secret(keys / f"{kind}.next.key", FileSigner.generate().pem)
    elif kind == "authority":
        _stage_authority(keys, trust_domain, now, stolen=stolen)
    elif kind == "intermediate":
        root = Issued(_certificate(keys / "ca.pem"), load_certificate_key(keys / "ca.key"))
        _write_pair(keys, "intermediate.next", make_intermediate(trust_domain, root, now))
    else:
        write_secret(keys / "node.next.key", private_pem(new_key()))


def is_staged(keys: Path, kind: Kind) -> bool:
    """Whether a new key of this kind waits for its turn."""
    return (keys / f"{FILES[kind][0]}.next.key").exists()


def unstage(keys: Path, kind: Kind) -> None:
    """Throw away a staged key that nothing was published of."""
    for name in FILES[kind]:
        for suffix in SUFFIXES:
            (keys / f"{name}.next{suffix}").unlink(missing_ok=True)


def _stage_authority(keys: Path, trust_domain: str, now: str, *, stolen: bool) -> None:
    """A root with a name of its own, an intermediate under it, and the root signed by the old one."""
    root = make_root(trust_domain, now, name_by_key=True)
    _write_pair(keys, "intermediate.next", make_intermediate(trust_domain, root, now))
    if (keys / "ca.key").exists() and not stolen:
        old = Issued(_certificate(keys / "ca.pem"), load_certificate_key(keys / "ca.key"))
        (keys / "ca.next.cross.pem").write_bytes(pem_of(cross_sign(old, root.certificate, now)))
    _write_pair(keys, "ca.next", root)  # last: with its key there, everything is


def _write_pair(keys: Path, name: str, issued: Issued) -> None:
    for suffix in (".pem", ".key"):
        (keys / f"{name}{suffix}").unlink(missing_ok=True)
    (keys / f"{name}.pem").write_bytes(pem_of(issued.certificate))
    write_secret(keys / f"{name}.key", private_pem(issued.key))


def promote(keys: Path, kind: Kind, now: str) -> None:
    """Let the staged key take its place; whatever point this is cut off at, ``finish`` completes it.

    Raises:
        TrustnodeError: NOT_FOUND, none is staged.
    """
    if not is_staged(keys, kind):
        raise error("NOT_FOUND", f"no new {kind} key is staged", field=kind)
    if kind == "authority":
        (keys / REPLACED).write_text(now)
        (keys / "ca.cross.pem").unlink(missing_ok=True)
    staged = keys / f"{JOURNAL}.new"
    staged.write_text("\n".join(FILES[kind]))
    _to_disk(staged)
    staged.replace(keys / JOURNAL)
    finish(keys)


def finish(keys: Path) -> bool:
    """Complete a step that was begun; True where there was one. Repeating it changes nothing."""
    journal = keys / JOURNAL
    if not journal.exists():
        return False
    for name in journal.read_text().split():
        for suffix in SUFFIXES:
            _take_place(keys, name, suffix)
    _to_disk(keys)
    journal.unlink()
    return True


def _take_place(keys: Path, name: str, suffix: str) -> None:
    """Next becomes present, present becomes old. With no next there is nothing left to do."""
    coming, present = keys / f"{name}.next{suffix}", keys / f"{name}{suffix}"
    if coming.exists():
        if present.exists() and suffix != ".cross.pem":
            present.replace(keys / f"{name}.old{suffix}")
        coming.replace(present)


def drop_old(keys: Path, kind: Kind) -> None:
    """Destroy the replaced key: no card lists it any more."""
    for name in FILES[kind]:
        for suffix in SUFFIXES:
            (keys / f"{name}.old{suffix}").unlink(missing_ok=True)
    if kind == "authority":
        (keys / REPLACED).unlink(missing_ok=True)


def drop_old_issuers(keys: Path) -> None:
    """Destroy the private keys of replaced authorities and certificates: their certificates go on without them."""
    for name in ("ca", "intermediate", "node"):
        (keys / f"{name}.old.key").unlink(missing_ok=True)


def read_staged(keys: Path) -> Staged:
    """What lies beside the keys in use.

    Raises:
        TrustnodeError: CONFIG_INVALID.
    """
    since = (keys / REPLACED).read_text() if (keys / REPLACED).exists() else ""
    return Staged(
        next=_signers(keys, "next"),
        old=_signers(keys, "old"),
        root_next=_certificate(keys / "ca.next.pem") if is_staged(keys, "authority") else None,
        root_old=_certificate(keys / "ca.old.pem") if (keys / "ca.old.pem").exists() else None,
        root_old_until=clock.shift(since, CLIENT_LIFE.total_seconds()) if since else "",
        revoked=frozenset(one.public for one in read_revocations(keys)),
    )


def take_back(
    keys: Path,
    kinds: Iterable[Kind],
    trust_domain: str,
    now: str,
    invalid_from: str,
    listed: Iterable[tuple[str, str]] = (),
) -> None:
    """Note that keys are in other hands since a time, and make new ones that the next card lists in their place.

    A key that was staged lay beside the stolen one: it is taken back too.

    Args:
        keys: Folder of the key files.
        kinds: Which keys.
        trust_domain: The domain.
        now: Start of the lives of new certificates.
        invalid_from: Since when they may be in other hands.
        listed: Use and raw key of what the present card lists: on a new machine the stolen files are not there.
    """
    chosen = tuple(kinds)
    published = [Revocation(use, public, invalid_from) for use, public in listed if use in chosen]
    held = [one for kind in chosen for one in _in_other_hands(keys, kind, invalid_from)]
    note_revocations(keys, [*published, *held])
    for kind in chosen:
        if kind not in ("intermediate", "node") or "authority" not in chosen:
            unstage(keys, kind)
            stage(keys, kind, trust_domain, now, stolen=True)


def _in_other_hands(keys: Path, kind: Kind, invalid_from: str) -> list[Revocation]:
    if kind == "authority":
        paths = [keys / f"ca{form}.pem" for form in ("", ".next", ".old")]
        roots = [_certificate(path) for path in paths if path.exists()]
        return [Revocation(kind, root_mark(root), invalid_from) for root in roots]
    if kind not in SIGNING:
        return []
    files = [keys / f"{kind}{form}.key" for form in ("", ".next", ".old")]
    return [Revocation(kind, FileSigner.load(path).public.hex(), invalid_from) for path in files if path.exists()]


def root_mark(root: x509.Certificate) -> str:
    """By what a root is remembered as taken back: SHA-256 of the certificate."""
    return hashlib.sha256(root.public_bytes(serialization.Encoding.DER)).hexdigest()


class Revocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A document key that the operator took back."""

    use: str
    public: str
    """Raw public key, lower-case hex."""
    invalid_from: str

    @property
    def kid(self) -> str:
        """By what others know the key."""
        return hashlib.sha256(bytes.fromhex(self.public)).hexdigest()


def read_revocations(keys: Path) -> tuple[Revocation, ...]:
    """Keys that were taken back.

    Raises:
        TrustnodeError: CONFIG_INVALID.
    """
    path = keys / REVOKED
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[Revocation, ...]) if path.exists() else ()
    except msgspec.DecodeError as problem:
        raise error("CONFIG_INVALID", f"{REVOKED}: {problem}", field=REVOKED) from None


def note_revocations(keys: Path, taken_back: Iterable[Revocation]) -> None:
    """Remember that keys were taken back, before anything else is done about them."""
    known = {one.public: one for one in read_revocations(keys)}
    for one in taken_back:
        known.setdefault(one.public, one)
    staged = keys / f"{REVOKED}.new"
    staged.write_bytes(msgspec.json.encode(tuple(known.values())))
    _to_disk(staged)
    staged.replace(keys / REVOKED)


def _signers(keys: Path, form: str) -> dict[str, FileSigner]:
    paths = {use: keys / f"{use}.{form}.key" for use in SIGNING}
    return {use: FileSigner.load(path) for use, path in paths.items() if path.exists()}


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        raise error("CONFIG_INVALID", f"{path.name} is not a certificate in PEM", field=path.name) from None


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
