"""The one way anything is signed: canonical JSON inside a DSSE envelope.

Decides: which bytes are a document (strict decoding, re-encoded and compared), what a signature covers (DSSE PAE), when
the signatures on a document suffice, and whether its times are acceptable. Leaves to others: which keys speak for whom
(the caller passes ``keys``), what a document means (the nouns), when it was sealed (``evidence``).

Sources: DSSE v1 (PAE), RFC 8785 (byte-equal to msgspec's sorted encoder in this value domain), protocol 3.1.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Generic, Literal, NamedTuple, Protocol, TypeVar, cast

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from trustnode.core import clock
from trustnode.errors import error

MAX_INTEGER: Final = 2**53 - 1
MAX_SIGNATURES: Final = 16
SKEW_S: Final = 60
"""Accepted difference between two clocks, seconds (protocol 3.1.2)."""

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
LongText = Annotated[str, msgspec.Meta(max_length=16384)]
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$(?!\n)")]
Key = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$(?!\n)")]
"""A raw Ed25519 public key, lower-case hex."""
Salt = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$(?!\n)")]
Time = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$(?!\n)")]
"""RFC 3339 UTC with exactly three fraction digits; texts of this form sort by time."""
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]
Version = Annotated[int, msgspec.Meta(ge=1, le=MAX_INTEGER)]
_UUID4 = "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$(?!\n)"
Uuid = Annotated[str, msgspec.Meta(pattern=_UUID4)]
TrustDomain = Annotated[str, msgspec.Meta(pattern="^[a-z0-9._-]{1,255}$(?!\n)")]

KeyUse = Literal["root", "evidence", "log", "witness", "order", "participant"]

_encoder = msgspec.json.Encoder(order="sorted")


class Signature(msgspec.Struct, frozen=True):
    """One signature; ``keyid`` is a hint and never a decision."""

    keyid: str
    sig: bytes


class Document(msgspec.Struct, frozen=True):
    """Bytes from somebody: nothing in it is verified."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the payload bytes, the name by which documents refer to each other."""
        return hashlib.sha256(self.payload).hexdigest()

    @property
    def name(self) -> str:
        """The short type name; empty when the payload type is not of this network."""
        prefix, suffix = "application/vnd.trustnode.", ".v1+json"
        known = self.payload_type.startswith(prefix) and self.payload_type.endswith(suffix)
        return self.payload_type[len(prefix) : -len(suffix)] if known else ""


class Required(NamedTuple):
    """A signature that a document must carry."""

    owner: str
    """Trust domain (root, evidence, log, witness, order) or participant SPIFFE id (participant)."""
    use: KeyUse


class PublicKey(NamedTuple):
    """A key that its owner's card or key document vouches for."""

    raw: bytes
    not_before: str
    not_after: str
    revoked_from: str = ""
    """``invalid_from`` of a KEY_REVOKED status event; empty: never revoked."""
    log: int = 1
    """Which log of its owner a log key signs."""

    @property
    def kid(self) -> str:
        """Lower-case hex SHA-256 of the raw public key."""
        return hashlib.sha256(self.raw).hexdigest()

    def valid_at(self, time: str) -> bool:
        """Whether the key could sign at ``time`` (protocol 1.4)."""
        return self.not_before <= time <= self.not_after and not (self.revoked_from and self.revoked_from <= time)

    def counts_for(self, time: str, now: str | None) -> bool:
        """Whether a signature of this key counts on a document that says it was made at ``time``.

        Args:
            time: What the document says. A key that a later card dropped still counts for what it signed before.
            now: When the document came in. A revoked key is believed about no time: whoever stole it writes any time
                into a document. None: the document was held before, so that its own time stands.
        """
        if now is not None and self.revoked_from and self.revoked_from <= now:
            return False
        return self.valid_at(time)


Keys = Callable[[str, KeyUse], Sequence[PublicKey]]
"""(owner, use) -> keys that somebody we trust vouches for; empty: nobody known."""


class Signer(Protocol):
    """Something that signs: a key file, a key in custody, later a KMS."""

    @property
    def public(self) -> bytes:
        """Raw Ed25519 public key, 32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature, 64 bytes."""


class Statement(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type"
):
    """Common fields of everything that is signed (protocol 3.1.2). A subclass is a document type, its tag the name."""

    max_bytes: ClassVar[int] = 64 * 1024

    suite: Literal["tn1"]
    """``tn1``: JCS, SHA-256, Ed25519, RFC 6962."""
    id: Uuid
    """Random, so that the digest cannot be guessed."""
    iss: Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
    """Trust domain or participant SPIFFE id."""
    aud: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=64)]
    """Trust domains that are to act on it, or ``*``."""
    time: Time
    expires: Time | None = None
    """Absent where the document does not end."""

    def required(self) -> tuple[Required, ...]:
        """Who must have signed. A type that forgets to say so can never be verified."""
        return ()


S = TypeVar("S", bound=Statement)
S_co = TypeVar("S_co", bound=Statement, covariant=True)


@dataclass(frozen=True, slots=True)
class Verified(Generic[S_co]):
    """A statement whose form, signatures and times were checked by ``verify``."""

    value: S_co
    document: Document
    keys: tuple[str, ...]
    """kid of the key that made each required signature, in the order of ``required()``."""

    @property
    def digest(self) -> str:
        """SHA-256 of the payload bytes."""
        return self.document.digest


PAYLOADS: dict[str, type[Statement]] = {}
"""Closed table name -> Struct of every document type; filled by ``trustnode.core.documents``."""


def name_of(kind: type[Statement]) -> str:
    """The type name of a statement class."""
    return str(kind.__struct_config__.tag)


def payload_type(kind: type[Statement]) -> str:
    """The DSSE payload type of a statement class."""
    return f"application/vnd.trustnode.{name_of(kind)}.v1+json"


def canonical(value: Any) -> bytes:
    """Encode as RFC 8785 in the value domain of this project (ASCII keys, integers, no floats)."""
    return _encoder.encode(value)


def pae(kind: str, body: bytes) -> bytes:
    """DSSE v1 pre-authentication encoding."""
    return b"DSSEv1 %d %b %d %b" % (len(kind.encode()), kind.encode(), len(body), body)


def seal(statement: Statement, *signers: Signer) -> Document:
    """Sign a statement; without signers the document waits for them."""
    bare = Document(payload_type(type(statement)), canonical(statement))
    return cosign(bare, *signers)


def cosign(document: Document, *signers: Signer) -> Document:
    """Add signatures over the same payload bytes."""
    message = pae(document.payload_type, document.payload)
    added = tuple(Signature(hashlib.sha256(s.public).hexdigest(), s.sign(message)) for s in signers)
    known = {s.keyid for s in added}
    kept = tuple(s for s in document.signatures if s.keyid not in known)
    return msgspec.structs.replace(document, signatures=(*kept, *added))


def decode(document: Document, *kinds: type[S]) -> S:
    """Read a document strictly: known type, one of ``kinds`` if given, bounded, canonical.

    Raises:
        TrustnodeError: VOCABULARY_UNKNOWN, FIELD_TOO_LONG, MESSAGE_UNPARSABLE.
    """
    kind = PAYLOADS.get(document.name)
    if kind is None or (kinds and kind not in kinds):
        raise error("VOCABULARY_UNKNOWN", f"not a document for this place: {document.name or 'unknown payload type'}")
    if len(document.payload) > kind.max_bytes or len(document.signatures) > MAX_SIGNATURES:
        raise error("FIELD_TOO_LONG", f"a {document.name} has at most {kind.max_bytes} bytes", field=document.name)
    return cast("S", _decode_canonical(document.payload, kind))


def _decode_canonical(payload: bytes, kind: type[Statement]) -> Statement:
    try:
        value = _decoder(kind).decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise error("MESSAGE_UNPARSABLE", f"{name_of(kind)}: {problem}", field=name_of(kind)) from None
    if canonical(value) != payload:
        raise error("MESSAGE_UNPARSABLE", f"{name_of(kind)} is not in canonical form", field=name_of(kind))
    return value


@functools.cache
def _decoder(kind: type[Statement]) -> msgspec.json.Decoder[Statement]:
    return msgspec.json.Decoder(kind)


def verify(
    document: Document,
    kind: type[S],
    keys: Keys,
    now: str | None,
    *,
    required: Iterable[Required] | None = None,
) -> Verified[S]:
    """Check form, times and signatures of a document.

    Args:
        document: Bytes from somebody.
        kind: The only accepted type.
        keys: Who vouches for which keys.
        now: Instant of the check; None leaves out expiry and skew (old evidence: the caller checks sealed time).
        required: Overrides who must have signed, for a document that still collects signatures.

    Raises:
        TrustnodeError: As ``decode``; TIME_SKEW; SIGNATURE_INVALID.
    """
    value = decode(document, kind)
    if now is not None:
        check_times(value, now)
    wanted = tuple(value.required() if required is None else required)
    if not wanted:
        raise error("SIGNATURE_INVALID", f"nobody is named who could have signed this {document.name}")
    used = tuple(_signed_by(document, need, keys, value.time, now) for need in wanted)
    if len(set(used)) != len(used):
        raise error("SIGNATURE_INVALID", "one key stands for two signers")
    return Verified(value, document, used)


def check_times(statement: Statement, now: str) -> None:
    """Refuse a document from the future or one whose life is over."""
    if statement.time > clock.shift(now, SKEW_S):
        raise error("TIME_SKEW", f"{name_of(type(statement))} is dated {statement.time}, after now")
    if statement.expires is not None and statement.expires < clock.shift(now, -SKEW_S):
        raise error("TIME_SKEW", f"{name_of(type(statement))} ended at {statement.expires}")


def _signed_by(document: Document, need: Required, keys: Keys, time: str, now: str | None) -> str:
    message = pae(document.payload_type, document.payload)
    for key in keys(need.owner, need.use):
        if key.counts_for(time, now) and has_signature(document, message, key.raw):
            return key.kid
    raise error("SIGNATURE_INVALID", f"no valid {need.use} signature of {need.owner} on this {document.name}")


def has_signature(document: Document, message: bytes, raw: bytes) -> bool:
    """Whether one of the signatures on ``document`` was made over ``message`` by the key ``raw``."""
    kid = hashlib.sha256(raw).hexdigest()
    hinted = sorted(document.signatures, key=lambda s: s.keyid != kid)
    return any(is_signature(raw, s.sig, message) for s in hinted[:MAX_SIGNATURES])


def is_signature(raw: bytes, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` over ``message`` verifies under the raw Ed25519 key."""
    try:
        _loaded(raw).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@functools.lru_cache(maxsize=4096)
def _loaded(raw: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(raw)
