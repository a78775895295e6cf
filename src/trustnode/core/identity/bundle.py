"""The roots of one trust domain. Bundles of different domains are never merged.

Decides: which certificates may be roots of a domain, and that a root cannot imitate another domain's. Leaves to
others: where a bundle comes from (a venue card, or a file of a foreign SPIFFE system). Sources: identity 2.1, 2.3, 5.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from trustnode.core import clock
from trustnode.core.document import MAX_INTEGER
from trustnode.errors import error

MAX_BUNDLE_BYTES: Final = 1024 * 1024
MAX_ROOTS: Final = 8
CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
"""What TLS in gRPC and the verifier of ``cryptography`` both take (identity 5)."""
HASHES: Final = (SHA256, SHA384)


@dataclass(frozen=True, slots=True)
class Bundle:
    """The usable roots of a domain. Without roots it means: trust nothing."""

    trust_domain: str
    sequence: int
    roots: tuple[x509.Certificate, ...]

    @property
    def pem(self) -> bytes:
        """The roots as gRPC wants them."""
        return b"".join(root.public_bytes(serialization.Encoding.PEM) for root in self.roots)


def import_bundle(
    trust_domain: str, sequence: int, x5c: Sequence[str], now: str, others: Iterable[Bundle] = ()
) -> Bundle:
    """Check the roots that a domain publishes and keep those that are valid now.

    Roots outside their time are left out, not refused: a card lists the old root until the last certificate under it
    has ended. Everything else that is wrong refuses the whole bundle.

    Args:
        trust_domain: The domain as configured; a bundle does not name its own.
        sequence: ``spiffe_sequence``.
        x5c: Base64 DER certificates.
        now: Instant of the check.
        others: Bundles of all other domains we know, for the check against imitated roots.

    Raises:
        TrustnodeError: FIELD_FORMAT, FIELD_TOO_LONG, IDENTITY_WRONG_DOMAIN.
    """
    if len(x5c) > MAX_ROOTS:
        raise error("FIELD_TOO_LONG", f"a bundle has at most {MAX_ROOTS} roots", field="bundle.x5c")
    roots = tuple(_read_root(trust_domain, text) for text in x5c)
    taken = {name_key(root): other.trust_domain for other in others for root in other.roots}
    for root in roots:
        owner = taken.get(name_key(root), trust_domain)
        if owner != trust_domain:
            raise error("IDENTITY_WRONG_DOMAIN", f"a root of {trust_domain} repeats the name and key id of {owner}'s")
    at = clock.moment(now)
    valid = tuple(root for root in roots if root.not_valid_before_utc <= at < root.not_valid_after_utc)
    return Bundle(trust_domain, sequence, valid)


def name_key(root: x509.Certificate) -> tuple[bytes, bytes]:
    """What TLS looks an issuer up by: subject and key identifier (identity 2.3)."""
    return root.subject.public_bytes(), _key_identifier(root)


def _read_root(trust_domain: str, text: str) -> x509.Certificate:
    try:
        root = x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
        problem = _root_problem(trust_domain, root)
    except (ValueError, TypeError, binascii.Error, x509.ExtensionNotFound, x509.DuplicateExtension):
        problem = "not a certificate that can be read"
    if problem:
        raise error("FIELD_FORMAT", f"root of {trust_domain}: {problem}", field="bundle.x5c")
    return root


def _root_problem(trust_domain: str, root: x509.Certificate) -> str:
    if not is_accepted_key(root.public_key()) or not isinstance(root.signature_hash_algorithm, HASHES):
        return "its key is not P-256 or P-384 signed with SHA-256 or SHA-384"
    if not root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
        return "it is not a certificate authority"
    if not root.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
        return "it may not sign certificates"
    if has_extension(root, x509.NameConstraints):
        return "name constraints cannot be verified here"
    if _key_identifier(root) != x509.SubjectKeyIdentifier.from_public_key(root.public_key()).digest:
        return "its key identifier is not the hash of its own key"
    if not root.subject.rdns:
        return "its subject is empty"
    if not is_self_signed(root):
        return "it is not signed by itself"
    names = uri_names(root)
    return "" if names in ([], [f"spiffe://{trust_domain}"]) else "it names another trust domain"


def is_accepted_key(key: Any) -> bool:
    """Whether a public key is on one of the accepted curves."""
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, CURVES)


def is_self_signed(root: x509.Certificate) -> bool:
    """Whether the certificate verifies under its own key."""
    try:
        root.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def has_extension(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> bool:
    """Whether an extension is present."""
    return any(extension.oid == kind.oid for extension in certificate.extensions)


def uri_names(certificate: x509.Certificate) -> list[str]:
    """Every URI in the subject alternative name, in the order of the certificate."""
    if not has_extension(certificate, x509.SubjectAlternativeName):
        return []
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _key_identifier(root: x509.Certificate) -> bytes:
    return root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def parse_jwks(body: bytes, stored_sequence: int | None = None) -> tuple[int, tuple[str, ...]]:
    """Read a SPIFFE bundle in its JSON form into (sequence, base64 DER roots).

    Elements that are not for X.509 certificates are ignored, as the standard demands; so the result may be empty, and
    an empty bundle trusts nothing.

    Args:
        body: The bundle as served.
        stored_sequence: Sequence of the bundle we hold; a lower one is refused.

    Raises:
        TrustnodeError: FIELD_TOO_LONG, MESSAGE_UNPARSABLE, FIELD_FORMAT, CARD_ROLLBACK.
    """
    if len(body) > MAX_BUNDLE_BYTES:
        raise error("FIELD_TOO_LONG", f"a bundle has at most {MAX_BUNDLE_BYTES} bytes", field="bundle")
    try:
        value = json.loads(body, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise error("MESSAGE_UNPARSABLE", "the bundle is not JSON with unique keys", field="bundle") from None
    if not isinstance(value, dict) or not isinstance(value.get("keys"), list):
        raise error("FIELD_FORMAT", "a bundle is an object with a list of keys", field="keys")
    sequence = _sequence(value.get("spiffe_sequence"), stored_sequence)
    return sequence, tuple(text for element in value["keys"] if (text := _first_x5c(element)))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _sequence(value: Any, stored: int | None) -> int:
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:
        raise error("FIELD_FORMAT", "spiffe_sequence is a whole number that only grows", field="spiffe_sequence")
    if stored is not None and value < stored:
        raise error("CARD_ROLLBACK", f"spiffe_sequence went back from {stored} to {value}", field="spiffe_sequence")
    return value


def _first_x5c(element: Any) -> str:
    if not isinstance(element, dict) or element.get("use") != "x509-svid" or element.get("kty") not in {"EC", "RSA"}:
        return ""
    chain = element.get("x5c")
    return chain[0] if isinstance(chain, list) and chain and isinstance(chain[0], str) else ""
