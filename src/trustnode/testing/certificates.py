"""Certificates for tests: right ones by the profile of the node, wrong ones by the name of the defect.

A ``Venue`` is a trust domain with its authority; ``Leaf`` says in which way a certificate departs from the profile.
``WRONG`` lists every defect that the identity page names.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from trustnode.core import clock
from trustnode.core.identity import Bundle, import_bundle
from trustnode.keys.authority import Authority, Credential, Issued, make_intermediate, make_root, pem_of

BOTH: Final = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)
CLIENT_ONLY: Final = (ExtendedKeyUsageOID.CLIENT_AUTH,)
SERVER_ONLY: Final = (ExtendedKeyUsageOID.SERVER_AUTH,)
PrivateKey = Any


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """A leaf certificate, right unless told otherwise."""

    uris: Sequence[str] = ()
    dns: Sequence[str] = ()
    dns_first: bool = False
    common_name: str = ""
    key: Callable[[], PrivateKey] = field(default=lambda: ec.generate_private_key(ec.SECP256R1()))
    purposes: Sequence[x509.ObjectIdentifier] = BOTH
    key_usage: bool = True
    digital_signature: bool = True
    key_cert_sign: bool = False
    crl_sign: bool = False
    basic_constraints: bool = True
    is_ca: bool = False
    authority_key_identifier: bool = True
    not_before_s: int = -300
    """Start, seconds after now."""
    not_after_s: int = 3600
    """End, seconds after now."""


@dataclass(frozen=True)
class Venue:
    """A trust domain with root and intermediate, made at ``now``."""

    trust_domain: str
    now: str
    root: Issued
    intermediate: Issued

    @classmethod
    def create(cls, trust_domain: str, now: str, *, root: Issued | None = None) -> Venue:
        """Make the authority of a domain."""
        root = root or make_root(trust_domain, now)
        return cls(trust_domain, now, root, make_intermediate(trust_domain, root, now))

    @property
    def authority(self) -> Authority:
        """The authority as a node uses it."""
        return Authority(self.trust_domain, self.root.certificate, self.intermediate)

    def bundle(self, others: Sequence[Bundle] = ()) -> Bundle:
        """The bundle that the venue's card would carry."""
        return import_bundle(self.trust_domain, 1, [self.authority.x5c], self.now, others)

    def node(self, node_id: str = "1", **changes: Any) -> Credential:
        """A node's certificate; ``changes`` as in ``Leaf``."""
        dns = changes.pop("dns", (f"node.{self.trust_domain}",))
        return self.leaf(Leaf(uris=(f"spiffe://{self.trust_domain}/node/{node_id}",), dns=dns, **changes))

    def client(self, name: str = "acme", **changes: Any) -> Credential:
        """A participant's certificate; ``changes`` as in ``Leaf``."""
        return self.leaf(Leaf(uris=(f"spiffe://{self.trust_domain}/participant/{name}",), **changes))

    def leaf(self, wanted: Leaf, issuer: Issued | None = None) -> Credential:
        """Issue what was asked for, right or wrong, under the intermediate unless told otherwise."""
        issuer = issuer or self.intermediate
        key = wanted.key()
        chain = pem_of(sign_leaf(wanted, key, issuer, self.now))
        if issuer is self.intermediate:
            chain += pem_of(issuer.certificate)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Credential(pem, chain)


def sign_leaf(wanted: Leaf, key: PrivateKey, issuer: Issued, now: str) -> x509.Certificate:
    """Build and sign one leaf."""
    start = clock.moment(now).replace(microsecond=0)
    names = [x509.NameAttribute(NameOID.COMMON_NAME, wanted.common_name)] if wanted.common_name else []
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start + dt.timedelta(seconds=wanted.not_before_s))
        .not_valid_after(start + dt.timedelta(seconds=wanted.not_after_s))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    for extension, critical in _extensions(wanted, issuer):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer.key, hashes.SHA256())


def _extensions(wanted: Leaf, issuer: Issued) -> list[tuple[x509.ExtensionType, bool]]:
    found: list[tuple[x509.ExtensionType, bool]] = []
    if wanted.authority_key_identifier:
        found.append((x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False))
    if wanted.basic_constraints:
        found.append((x509.BasicConstraints(ca=wanted.is_ca, path_length=None), True))
    if wanted.key_usage:
        found.append((_key_usage(wanted), True))
    if wanted.purposes:
        found.append((x509.ExtendedKeyUsage(list(wanted.purposes)), False))
    uris = [_raw_uri(uri) for uri in wanted.uris]
    dns: list[x509.GeneralName] = [x509.DNSName(name) for name in wanted.dns]
    names = [*dns, *uris] if wanted.dns_first else [*uris, *dns]
    if names:
        found.append((x509.SubjectAlternativeName(names), not wanted.common_name))
    return found


def _raw_uri(uri: str) -> x509.GeneralName:
    # The constructor insists on ASCII only; an attacker's encoder insists on nothing.
    return x509.UniformResourceIdentifier._init_without_validation(uri)  # noqa: SLF001


def _key_usage(wanted: Leaf) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=wanted.digital_signature,
        content_commitment=not wanted.digital_signature,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=wanted.key_cert_sign,
        crl_sign=wanted.crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def wrong_names(trust_domain: str) -> Mapping[str, Sequence[str]]:
    """URI names that gRPC reports and SPIFFE forbids, by defect (attack-tests I2b to I2d)."""
    good = f"spiffe://{trust_domain}/participant/acme"
    return {
        "two SPIFFE names": (good, f"spiffe://{trust_domain}/participant/other"),
        "a SPIFFE and an https name": (good, f"https://{trust_domain}/"),
        "an https name alone": (f"https://{trust_domain}/participant/acme",),
        "no name at all": (),
        "upper-case domain": (f"spiffe://{trust_domain.upper()}/participant/acme",),
        "upper-case scheme": (f"SPIFFE://{trust_domain}/participant/acme",),
        "two dots": (f"spiffe://{trust_domain}/participant/../node/1",),
        "one dot": (f"spiffe://{trust_domain}/participant/./acme",),
        "trailing slash": (f"{good}/",),
        "escaped slash": (f"spiffe://{trust_domain}/participant/acme%2fb",),
        "space": (f"spiffe://{trust_domain}/participant/ac me",),
        "line feed": (f"{good}\n",),
        "port": (f"spiffe://{trust_domain}:80/participant/acme",),
        "userinfo": (f"spiffe://user@{trust_domain}/participant/acme",),
        "query": (f"{good}?x=1",),
        "fragment": (f"{good}#x",),
        "empty domain": ("spiffe:///participant/acme",),
        "no path": (f"spiffe://{trust_domain}",),
        "root path": (f"spiffe://{trust_domain}/",),
        "empty segment": (f"spiffe://{trust_domain}//acme",),
        "id of 2049 bytes": (good + "a" * (2049 - len(good)),),
        "id of 3000 bytes": (good + "a" * (3000 - len(good)),),
        "domain of 256 bytes": ("spiffe://" + "a" * 256 + "/participant/acme",),
        "path of nobody": (f"spiffe://{trust_domain}/robot/7",),
        "participant without a name": (f"spiffe://{trust_domain}/participant",),
        "node with a segment too many": (f"spiffe://{trust_domain}/node/1/2",),
    }


WRONG_PROFILES: Final[Mapping[str, Mapping[str, Any]]] = {
    "certificate authority": {"is_ca": True, "key_cert_sign": True},
    "may sign certificates": {"key_cert_sign": True},
    "may sign revocation lists": {"crl_sign": True},
    "no extended key usage": {"purposes": ()},
    "only client authentication": {"purposes": CLIENT_ONLY},
    "only server authentication": {"purposes": SERVER_ONLY},
    "no key usage": {"key_usage": False},
    "no digital signature": {"digital_signature": False},
    "no basic constraints": {"basic_constraints": False},
    "no authority key identifier": {"authority_key_identifier": False},
    "Ed25519 key": {"key": ed25519.Ed25519PrivateKey.generate},
    "P-521 key": {"key": lambda: ec.generate_private_key(ec.SECP521R1())},
    "P-224 key": {"key": lambda: ec.generate_private_key(ec.SECP224R1())},
    "secp256k1 key": {"key": lambda: ec.generate_private_key(ec.SECP256K1())},
    "RSA-1024 key": {"key": lambda: rsa.generate_private_key(65537, 1024)},  # noqa: S505
    "RSA-2048 key": {"key": lambda: rsa.generate_private_key(65537, 2048)},
    "expired": {"not_before_s": -7200, "not_after_s": -1},
    "not yet valid": {"not_before_s": 1800},
}
"""Defects of a leaf with a right name, as changes of ``Leaf`` (attack-tests I2a, I2e, I2f).

SHA-1 is missing: the library no longer signs with it."""
