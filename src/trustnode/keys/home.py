"""The keys of one node's home folder.

``root.key`` lies at the top, so that the operator can move it off the machine; everything else lies in ``keys/``.
Decides: which files there are, and that making them again changes nothing. Leaves to others: the configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from trustnode.errors import error
from trustnode.keys.authority import (
    Authority,
    Credential,
    Issued,
    issue_node,
    make_intermediate,
    make_root,
    new_key,
    pem_of,
    renewal_time,
)
from trustnode.keys.files import Custody, FileSigner, load_certificate_key, private_pem, write_secret
from trustnode.keys.rotation import SIGNING, Staged, finish, read_staged

ROOT_FILES: Final = ("root.key", "root-*.key")
"""Names of root key files in the home folder, where they should not stay."""


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """The keys a running node uses; the root key is not among them."""

    authority: Authority
    evidence: FileSigner
    log: FileSigner
    witness: FileSigner
    custody: Custody
    staged: Staged = field(default_factory=Staged)
    """What lies beside them while a key is being replaced."""

    def signer(self, use: str) -> FileSigner:
        """The key that signs for a use."""
        return {"evidence": self.evidence, "log": self.log, "witness": self.witness}[use]


def root_key_path(home: Path) -> Path:
    """Where ``init`` writes the root key; it should not stay there."""
    return home / "root.key"


def root_signer(home: Path) -> FileSigner | None:
    """The root key while it is on this machine, else None."""
    path = root_key_path(home)
    return FileSigner.load(path) if path.exists() else None


def root_key_files(home: Path) -> tuple[Path, ...]:
    """Every root key file that is still in the home folder."""
    return tuple(sorted(path for pattern in ROOT_FILES for path in home.glob(pattern)))


def root_signers(home: Path) -> tuple[FileSigner, ...]:
    """The root keys that are on this machine."""
    return tuple(FileSigner.load(path) for path in root_key_files(home))


def create_root_keys(folder: Path, count: int, *, stem: str = "root") -> tuple[FileSigner, ...]:
    """Make root keys in files of their own: ``root.key``, or ``root-1.key`` and so on where there are several.

    Raises:
        FileExistsError: One of the files is there already.
    """
    names = [f"{stem}.key"] if count == 1 else [f"{stem}-{number}.key" for number in range(1, count + 1)]
    made = tuple(FileSigner.generate() for _ in names)
    for name, signer in zip(names, made, strict=True):
        write_secret(folder / name, signer.pem)
    return made


def create_node_keys(home: Path, trust_domain: str, now: str, *, roots: int = 1) -> tuple[str, ...]:
    """Make every key and certificate that is missing; never touch one that is there.

    Args:
        home: Folder of the node.
        trust_domain: Its domain.
        now: Start of the certificates' lives.
        roots: How many root keys a new home gets.

    Returns:
        Names of the files made, relative to ``home``; empty when all were there.

    Raises:
        TrustnodeError: CONFIG_INVALID when a certificate is there without its key.
    """
    before = _files(home)
    keys = home / "keys"
    finish(keys)
    if not root_key_files(home) and not (keys / "evidence.key").exists():
        create_root_keys(home, roots)
    for use in SIGNING:
        if not (keys / f"{use}.key").exists():
            write_secret(keys / f"{use}.key", FileSigner.generate().pem)
    root = _certificate(keys, "ca") or _store(keys, "ca", make_root(trust_domain, now, _key(keys, "ca")))
    if _certificate(keys, "intermediate") is None:
        _store(keys, "intermediate", make_intermediate(trust_domain, root, now, _key(keys, "intermediate")))
    _key(keys, "node")
    return tuple(sorted(_files(home) - before))


def load_node_keys(home: Path, trust_domain: str, now: str) -> NodeKeys:
    """Read the keys; make a new intermediate from half the life of the old one.

    Raises:
        TrustnodeError: CONFIG_INVALID when a file is missing, open to others, or does not belong to its certificate.
    """
    keys = home / "keys"
    finish(keys)
    root_pem = _read_certificate(keys / "ca.pem")
    intermediate = _certificate(keys, "intermediate")
    if intermediate is None:
        raise error("CONFIG_INVALID", "keys/intermediate.pem is missing", field="intermediate.pem")
    if renewal_time(intermediate.certificate) <= now and (keys / "ca.key").exists():
        intermediate = _renew_intermediate(keys, trust_domain, intermediate, now)
    cross = keys / "ca.cross.pem"
    return NodeKeys(
        authority=Authority(trust_domain, root_pem, intermediate, _read_certificate(cross) if cross.exists() else None),
        evidence=FileSigner.load(keys / "evidence.key"),
        log=FileSigner.load(keys / "log.key"),
        witness=FileSigner.load(keys / "witness.key"),
        custody=Custody(keys / "custody"),
        staged=read_staged(keys),
    )


def node_credential(home: Path, keys: NodeKeys, node_id: str, now: str, dns: Sequence[str] = ()) -> Credential:
    """Issue the node's own certificate anew, for the key in ``keys/node.key``."""
    key = load_certificate_key(home / "keys" / "node.key")
    return issue_node(keys.authority, node_id, now, key=key, dns=dns)


def _renew_intermediate(keys: Path, trust_domain: str, old: Issued, now: str) -> Issued:
    root = _certificate(keys, "ca")
    if root is None:
        return old
    new = make_intermediate(trust_domain, root, now, old.key)
    staged = keys / "intermediate.pem.new"
    staged.write_bytes(pem_of(new.certificate))
    staged.replace(keys / "intermediate.pem")
    return new


def _key(keys: Path, name: str) -> ec.EllipticCurvePrivateKey:
    """The key of ``name``, made if it is missing: an interrupted ``init`` may have left a key without certificate."""
    path = keys / f"{name}.key"
    if not path.exists():
        write_secret(path, private_pem(new_key()))
    return load_certificate_key(path)


def _store(keys: Path, name: str, issued: Issued) -> Issued:
    (keys / f"{name}.pem").write_bytes(pem_of(issued.certificate))
    return issued


def _certificate(keys: Path, name: str) -> Issued | None:
    """Certificate and key of ``name``; None if neither is there."""
    path = keys / f"{name}.pem"
    if not path.exists():
        return None
    certificate = _read_certificate(path)
    key = load_certificate_key(keys / f"{name}.key")
    if certificate.public_key() != key.public_key():
        raise error("CONFIG_INVALID", f"{name}.key and {name}.pem do not belong together", field=f"{name}.key")
    return Issued(certificate, key)


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        raise error("CONFIG_INVALID", f"{path.name} is not a certificate in PEM", field=path.name) from None


def _files(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in (*home.glob("*.key"), *home.glob("keys/**/*")) if path.is_file()}
