"""The keys of one node's home folder.

``root.key`` lies at the top, so that the operator can move it off the machine; everything else lies in ``keys/``.
Decides: which files there are, and that making them again changes nothing. Leaves to others: the configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from trustnode.core import clock
from trustnode.core.document import Document, Signer, Verified, seal
from trustnode.core.identity import Card, CardBundle, CardKey, ProtocolRange, RootKeys
from trustnode.core.identity.card import CardUse, Level
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

PROTOCOL: Final = ProtocolRange(1, 1)
CARD_LIFE_DAYS: Final = 390
KEY_LIFE_DAYS: Final[dict[CardUse, int]] = {"evidence": 730, "log": 1825, "witness": 1825}
"""Longest time of a new key (protocol 1.1), days."""
SIGNING: Final = ("evidence", "log", "witness")


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """The keys a running node uses; the root key is not among them."""

    authority: Authority
    evidence: FileSigner
    log: FileSigner
    witness: FileSigner
    custody: Custody


def root_key_path(home: Path) -> Path:
    """Where ``init`` writes the root key; it should not stay there."""
    return home / "root.key"


def root_signer(home: Path) -> FileSigner | None:
    """The root key while it is on this machine, else None."""
    path = root_key_path(home)
    return FileSigner.load(path) if path.exists() else None


def create_node_keys(home: Path, trust_domain: str, now: str) -> tuple[str, ...]:
    """Make every key and certificate that is missing; never touch one that is there.

    Returns:
        Names of the files made, relative to ``home``; empty when all were there.

    Raises:
        TrustnodeError: CONFIG_INVALID when a certificate is there without its key.
    """
    before = _files(home)
    keys = home / "keys"
    if not root_key_path(home).exists() and not (keys / "evidence.key").exists():
        write_secret(root_key_path(home), FileSigner.generate().pem)
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
    root_pem = _read_certificate(keys / "ca.pem")
    intermediate = _certificate(keys, "intermediate")
    if intermediate is None:
        raise error("CONFIG_INVALID", "keys/intermediate.pem is missing", field="intermediate.pem")
    if renewal_time(intermediate.certificate) <= now and (keys / "ca.key").exists():
        intermediate = _renew_intermediate(keys, trust_domain, intermediate, now)
    return NodeKeys(
        authority=Authority(trust_domain, root_pem, intermediate),
        evidence=FileSigner.load(keys / "evidence.key"),
        log=FileSigner.load(keys / "log.key"),
        witness=FileSigner.load(keys / "witness.key"),
        custody=Custody(keys / "custody"),
    )


def node_credential(home: Path, keys: NodeKeys, node_id: str, now: str, dns: Sequence[str] = ()) -> Credential:
    """Issue the node's own certificate anew, for the key in ``keys/node.key``."""
    key = load_certificate_key(home / "keys" / "node.key")
    return issue_node(keys.authority, node_id, now, key=key, dns=dns)


def issue_card(
    *,
    root: Signer | Sequence[Signer],
    keys: NodeKeys,
    id: str,
    now: str,
    node_id: str,
    level: Level,
    area: str,
    name: str,
    endpoints: Sequence[str],
    subject: str | None = None,
    previous: Verified[Card] | None = None,
) -> Document:
    """Sign the next version of the venue card.

    Args:
        root: The root key; several for a threshold, or for old and new roots.
        keys: The keys that the card vouches for.
        id: Random UUID of the document.
        now: Its time.
        node_id: 32-character identifier of the node.
        level: Place of the venue.
        area: Administrative or industry area code.
        name: Name of the venue.
        endpoints: host:port, in the order in which peers try them.
        subject: Unified social credit code.
        previous: The version before; None for the first.
    """
    roots = (root,) if not isinstance(root, Sequence) else tuple(root)
    last = previous.value if previous else None
    card = Card(
        suite="tn1",
        id=id,
        iss=keys.authority.trust_domain,
        aud=("*",),
        time=now,
        expires=clock.shift(now, CARD_LIFE_DAYS * 86400),
        trust_domain=keys.authority.trust_domain,
        node_id=node_id,
        level=level,
        area=area,
        name=name,
        subject=subject,
        version=last.version + 1 if last else 1,
        previous=previous.digest if previous else "",
        root=last.root if last else RootKeys(len(roots), tuple(signer.public.hex() for signer in roots)),
        keys=_card_keys(keys, last, now),
        bundle=_card_bundle(keys, last),
        endpoints=tuple(endpoints),
        protocol=PROTOCOL,
    )
    return seal(card, *roots)


def _card_keys(keys: NodeKeys, last: Card | None, now: str) -> tuple[CardKey, ...]:
    held: dict[CardUse, FileSigner] = {"evidence": keys.evidence, "log": keys.log, "witness": keys.witness}
    known = {key.public: key for key in (last.keys if last else ()) if key.not_after > now}
    for use, signer in held.items():
        ends = clock.shift(now, KEY_LIFE_DAYS[use] * 86400)
        known.setdefault(signer.public.hex(), CardKey(use, signer.public.hex(), clock.shift(now, -300), ends))
    return tuple(known.values())


def _card_bundle(keys: NodeKeys, last: Card | None) -> CardBundle:
    x5c = (keys.authority.x5c,)
    if last is None:
        return CardBundle(1, x5c)
    grown = last.bundle.spiffe_sequence + (x5c != last.bundle.x5c)
    return CardBundle(grown, x5c)


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
