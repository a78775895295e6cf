"""The certificate chain of a caller, verified against the bundle of the domain that it claims.

TLS accepts any certificate under any root it was given, so A's authority could vouch for B. Here the leaf is read
again and verified against the claimed domain's roots alone.

Decides: which PEM bytes are which caller, until when. Leaves to others: caching, the deny list's content, and whether
the domain may call at all (``rpc.authentication``). Source: identity 4, steps 2 and 4 to 7; the profile is identity 5.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from trustnode.core import clock
from trustnode.core.identity.bundle import HASHES, Bundle, has_extension, is_accepted_key, uri_names
from trustnode.core.identity.spiffe import Caller, SpiffeId, caller_of, parse_spiffe_id
from trustnode.errors import error

MAX_CHAIN_BYTES: Final = 64 * 1024
MAX_CHAIN_CERTIFICATES: Final = 4
"""After the leaf: three intermediates and a root that was sent needlessly."""
MAX_DEPTH: Final = 3
"""Intermediates between leaf and root."""
_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_PURPOSES: Final = frozenset({ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH})


@dataclass(frozen=True, slots=True)
class VerifiedChain:
    """A caller whose chain was verified."""

    caller: Caller
    expires: str
    """When the first certificate of the chain ends; the identity counts before this instant only."""


@dataclass(frozen=True, slots=True)
class DenyList:
    """What is refused although its chain is good (identity 8). Read on every call, never cached."""

    spiffe_ids: frozenset[str] = frozenset()
    serials: frozenset[tuple[str, str]] = frozenset()
    """(trust domain, lower-case hex serial)."""
    spki: frozenset[str] = frozenset()
    """Lower-case hex SHA-256 of SubjectPublicKeyInfo."""

    def denies(self, caller: Caller) -> bool:
        """Whether the caller, the participant it acts for, its certificate or its key stands on the list."""
        return (
            caller.spiffe_id in self.spiffe_ids
            or (bool(caller.participant) and caller.participant in self.spiffe_ids)
            or (caller.trust_domain, caller.serial) in self.serials
            or caller.spki_sha256 in self.spki
        )


def reverify(leaf_pem: bytes, chain_pem: bytes, bundles: Mapping[str, Bundle], now: str) -> VerifiedChain:
    """Verify a caller's certificates against the bundle of the domain that the leaf claims.

    Args:
        leaf_pem: ``x509_pem_cert`` of the transport.
        chain_pem: ``x509_pem_cert_chain``: what the caller sent after the leaf; may be empty.
        bundles: Trust domain -> its roots.
        now: Instant of the check.

    Raises:
        TrustnodeError: CERTIFICATE_NAME, IDENTITY_UNKNOWN, IDENTITY_EXPIRED, IDENTITY_WRONG_DOMAIN.
    """
    leaf, intermediates = _read(leaf_pem, chain_pem)
    spiffe = _read_profile(leaf)
    bundle = bundles.get(spiffe.trust_domain)
    if bundle is None or not bundle.roots:
        raise error("IDENTITY_UNKNOWN", "nobody here vouches for this trust domain")
    at = clock.moment(now)
    if not leaf.not_valid_before_utc <= at < leaf.not_valid_after_utc:
        raise error("IDENTITY_EXPIRED", "the certificate is outside its time")
    path = _verify(leaf, intermediates, bundle, now)
    ends = min(certificate.not_valid_after_utc for certificate in path)
    return VerifiedChain(_caller(leaf, spiffe), clock.text(ends))


def _read(leaf_pem: bytes, chain_pem: bytes) -> tuple[x509.Certificate, list[x509.Certificate]]:
    # Counted before anything is parsed: a hostile chain costs up to 43 ms otherwise (identity 4).
    if len(leaf_pem) + len(chain_pem) > MAX_CHAIN_BYTES or chain_pem.count(_BEGIN) > MAX_CHAIN_CERTIFICATES:
        raise error("CERTIFICATE_NAME", "the certificate chain is too long")
    try:
        leaf = x509.load_pem_x509_certificate(leaf_pem)
        return leaf, x509.load_pem_x509_certificates(chain_pem) if chain_pem else []
    except ValueError:
        raise error("CERTIFICATE_NAME", "the certificates cannot be read") from None


def _read_profile(leaf: x509.Certificate) -> SpiffeId:
    """Check what the verifier does not insist on (identity 4, steps 4 and 5)."""
    try:
        names = uri_names(leaf)
        problem = _profile_problem(leaf)
    except (ValueError, TypeError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise error("CERTIFICATE_NAME", "the certificate lacks an extension or repeats one") from None
    if len(names) != 1:
        raise error("CERTIFICATE_NAME", "a certificate here has exactly one URI name")
    if problem:
        raise error("CERTIFICATE_NAME", problem)
    return parse_spiffe_id(names[0])


def _profile_problem(leaf: x509.Certificate) -> str:
    if not is_accepted_key(leaf.public_key()) or not isinstance(leaf.signature_hash_algorithm, HASHES):
        return "the key is not P-256 or P-384, or the signature not with SHA-256 or SHA-384"
    if leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
        return "a certificate authority is no caller"
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    if not (usage.critical and usage.value.digital_signature) or usage.value.key_cert_sign or usage.value.crl_sign:
        return "key usage is not digital signature alone"
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    if not set(purposes) >= _PURPOSES:
        return "extended key usage does not hold both purposes"
    if not has_extension(leaf, x509.AuthorityKeyIdentifier):
        return "the key identifier of the issuer is missing"
    return ""


def _verify(
    leaf: x509.Certificate, intermediates: list[x509.Certificate], bundle: Bundle, now: str
) -> list[x509.Certificate]:
    policy = PolicyBuilder().store(Store(list(bundle.roots))).time(clock.moment(now)).max_chain_depth(MAX_DEPTH)
    try:
        path = policy.build_client_verifier().verify(leaf, intermediates).chain
    except (VerificationError, ValueError):
        raise error("IDENTITY_WRONG_DOMAIN", "the chain does not lead to a root of the claimed domain") from None
    if path[0] != leaf:
        raise error("IDENTITY_WRONG_DOMAIN", "the verified chain begins with another certificate")
    return path


def _caller(leaf: x509.Certificate, spiffe: SpiffeId) -> Caller:
    spki = leaf.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return caller_of(
        spiffe,
        leaf_sha256=hashlib.sha256(leaf.public_bytes(serialization.Encoding.DER)).hexdigest(),
        serial=f"{leaf.serial_number:x}",
        spki_sha256=hashlib.sha256(spki).hexdigest(),
    )
