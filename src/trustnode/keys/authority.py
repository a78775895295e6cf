"""The venue's certificate authority: root, intermediate, leaves, all by one profile.

Decides: names, lives and extensions of the certificates of this venue. Leaves to others: who gets one (``app``), where
the keys lie (``files``). Source: identity 5 (the profile), protocol 1.1 (lives) and 1.2 (paths).
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from trustnode.core import clock
from trustnode.core.identity import node_dns, parse_spiffe_id
from trustnode.core.identity.bundle import is_accepted_key
from trustnode.errors import error
from trustnode.keys.files import private_pem

ROOT_LIFE: Final = timedelta(days=547)
# A client's leaf cannot outlive its issuer, so half of an intermediate's life is longer than CLIENT_LIFE.
INTERMEDIATE_LIFE: Final = timedelta(weeks=26)
NODE_LIFE: Final = timedelta(hours=1)
CLIENT_LIFE: Final = timedelta(days=90)
INVITE_LIFE: Final = timedelta(hours=72)
APPLY_LIFE: Final = timedelta(days=30)
BACKDATED: Final = timedelta(minutes=5)
"""A new certificate is valid for clocks that are up to this much behind ours."""

PublicKey = ec.EllipticCurvePublicKey
PrivateKey = ec.EllipticCurvePrivateKey


class Issued(NamedTuple):
    """A certificate authority's certificate and its key."""

    certificate: x509.Certificate
    key: PrivateKey


class Credential(NamedTuple):
    """What one side of a TLS connection shows: its key and its chain, leaf first."""

    key_pem: bytes
    chain_pem: bytes

    @property
    def leaf(self) -> x509.Certificate:
        """The first certificate of the chain."""
        return x509.load_pem_x509_certificate(self.chain_pem)


@dataclass(frozen=True, slots=True)
class Authority:
    """What issues leaves for one trust domain."""

    trust_domain: str
    root: x509.Certificate
    intermediate: Issued
    cross: x509.Certificate | None = None
    """The root signed by the one before it, for those who know that one alone; absent before the first rotation."""

    @property
    def x5c(self) -> str:
        """The root as it stands in the venue card: base64 DER."""
        return base64.b64encode(self.root.public_bytes(serialization.Encoding.DER)).decode()


def make_root(trust_domain: str, now: str, key: PrivateKey | None = None, *, name_by_key: bool = False) -> Issued:
    """Make the self-signed root of a domain.

    Args:
        trust_domain: The domain.
        now: Start of its life.
        key: Its key; a new one if absent.
        name_by_key: Put the beginning of its key id into its name: two roots of one domain are told apart by name.
    """
    key = key or new_key()
    mark = f" {x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()[:8]}" if name_by_key else ""
    subject = _common_name(f"{trust_domain} root{mark}")
    builder = _builder(subject, subject, key.public_key(), key.public_key(), now, ROOT_LIFE)
    return Issued(_as_authority(builder, trust_domain, None).sign(key, hashes.SHA256()), key)


def make_intermediate(trust_domain: str, root: Issued, now: str, key: PrivateKey | None = None) -> Issued:
    """Make the certificate authority that issues the leaves; it may issue no further authority."""
    key = key or new_key()
    subject = _common_name(f"{trust_domain} int")
    life = min(INTERMEDIATE_LIFE, root.certificate.not_valid_after_utc - clock.moment(now))
    builder = _builder(root.certificate.subject, subject, root.key.public_key(), key.public_key(), now, life)
    return Issued(_as_authority(builder, trust_domain, 0).sign(root.key, hashes.SHA256()), key)


def cross_sign(old: Issued, root: x509.Certificate, now: str) -> x509.Certificate:
    """Sign a new root with the old one: whoever trusts the old root alone can verify what the new one issued.

    It ends with the old root. Holders of the new root do not need it.
    """
    key = root.public_key()
    if not isinstance(key, PublicKey):
        raise error("CONFIG_INVALID", "the root has no elliptic curve key", field="ca.next.pem")
    domain = root.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (name,) = domain.get_values_for_type(x509.UniformResourceIdentifier)
    life = min(ROOT_LIFE, old.certificate.not_valid_after_utc - clock.moment(now))
    builder = _builder(old.certificate.subject, root.subject, old.key.public_key(), key, now, life)
    return _as_authority(builder, name.removeprefix("spiffe://"), None).sign(old.key, hashes.SHA256())


def issue_node(
    authority: Authority, node_id: str, now: str, *, key: PrivateKey | None = None, dns: Iterable[str] = ()
) -> Credential:
    """Issue the certificate of a node: an hour, with the DNS name that peers check.

    Args:
        authority: The issuer.
        node_id: Path segment of the SPIFFE id.
        now: Start of its life.
        key: Key of the node; a new one if absent.
        dns: Further names or addresses that stock clients verify.
    """
    key = key or new_key()
    spiffe_id = f"spiffe://{authority.trust_domain}/node/{node_id}"
    names = [_dns_name(name) for name in dict.fromkeys([node_dns(authority.trust_domain), *dns])]
    leaf = _issue(authority, key.public_key(), spiffe_id, now, NODE_LIFE, names)
    return Credential(private_pem(key), _chain(authority, leaf))


def issue_credential(authority: Authority, spiffe_id: str, now: str, life: timedelta) -> Credential:
    """Make key and certificate together: invitations, applications, participants enrolled here."""
    key = new_key()
    leaf = _issue(authority, key.public_key(), spiffe_id, now, life, [])
    return Credential(private_pem(key), _chain(authority, leaf))


def issue_from_request(authority: Authority, csr: bytes, spiffe_id: str, now: str) -> bytes:
    """Issue the certificate of a client for the key in its request; every name in the request is ignored.

    Returns:
        The chain in PEM, leaf first.

    Raises:
        TrustnodeError: FIELD_FORMAT.
    """
    try:
        # The call carries DER; a file that a person sends is PEM.
        read = x509.load_pem_x509_csr if csr.startswith(b"-----BEGIN") else x509.load_der_x509_csr
        request = read(csr)
        valid = request.is_signature_valid
        public = request.public_key()
    except (ValueError, TypeError, InvalidSignature):
        raise error("FIELD_FORMAT", "not a PKCS #10 certificate request", field="csr") from None
    if not (valid and is_accepted_key(public) and isinstance(public, PublicKey)):
        raise error("FIELD_FORMAT", "the request is not signed by its own P-256 or P-384 key", field="csr")
    return _chain(authority, _issue(authority, public, spiffe_id, now, CLIENT_LIFE, []))


def make_client_key_and_csr() -> tuple[bytes, bytes]:
    """Make a participant's TLS key (PEM) and the request for its certificate (DER). The key stays here."""
    key = new_key()
    return private_pem(key), make_csr(key)


def make_csr(key: PrivateKey) -> bytes:
    """Make a request (DER) for the certificate of a key; it names nobody, the issuer decides the name."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


def described(chain_pem: bytes) -> tuple[str, str]:
    """Serial in lower-case hexadecimal digits, and end, of the first certificate of a chain."""
    leaf = x509.load_pem_x509_certificate(chain_pem)
    return f"{leaf.serial_number:x}", clock.text(leaf.not_valid_after_utc)


def renewal_time(certificate: x509.Certificate, numerator: int = 1, denominator: int = 2) -> str:
    """When to renew: after half of its life (a node), or another fraction (a client: 2, 3)."""
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return clock.text(certificate.not_valid_before_utc + life * numerator / denominator)


def new_key() -> PrivateKey:
    """Make a key for a certificate."""
    return ec.generate_private_key(ec.SECP256R1())


def pem_of(*certificates: x509.Certificate) -> bytes:
    """Certificates one after the other in PEM."""
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def _issue(
    authority: Authority,
    public: PublicKey,
    spiffe_id: str,
    now: str,
    life: timedelta,
    names: list[x509.GeneralName],
) -> x509.Certificate:
    if parse_spiffe_id(spiffe_id).trust_domain != authority.trust_domain:
        raise error("IDENTITY_WRONG_DOMAIN", f"{authority.trust_domain} issues names of its own domain only")
    issuer, key = authority.intermediate
    life = min(life, issuer.not_valid_after_utc - clock.moment(now))
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    san = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id), *names])
    return (
        _builder(issuer.subject, x509.Name([]), key.public_key(), public, now, life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(san, critical=True)  # RFC 5280 4.1.2.6: critical because the subject is empty
        .sign(key, hashes.SHA256())
    )


def _builder(
    issuer: x509.Name, subject: x509.Name, issuer_key: PublicKey, public: PublicKey, now: str, life: timedelta
) -> x509.CertificateBuilder:
    start = clock.moment(now).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - BACKDATED)
        .not_valid_after(start + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _as_authority(builder: x509.CertificateBuilder, trust_domain: str, depth: int | None) -> x509.CertificateBuilder:
    san = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")])
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=depth), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(san, critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _chain(authority: Authority, leaf: x509.Certificate) -> bytes:
    return pem_of(leaf, authority.intermediate.certificate, *([authority.cross] if authority.cross else []))


def _common_name(text: str) -> x509.Name:
    # A common name holds 64 characters (RFC 5280 A.1); the tail tells long domains apart.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[-64:])])


def _dns_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
