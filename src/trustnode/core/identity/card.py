"""The venue card: the signed document that says which keys and roots speak for one trust domain.

Decides: which card is genuine, which version may follow which, what a fingerprint is, which keys a card vouches for.
Leaves to others: who confirmed a card (``core.peering``), storing it. Sources: protocol 1.1, 2.1 to 2.4.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, ClassVar, Final, Literal

import msgspec

from trustnode.core import clock
from trustnode.core.document import (
    Count,
    Document,
    Key,
    KeyUse,
    PublicKey,
    Required,
    Statement,
    Time,
    TrustDomain,
    Verified,
    decode,
    has_signature,
    pae,
    verify,
)
from trustnode.core.identity.bundle import Bundle, import_bundle
from trustnode.errors import error

MAX_LIFE_DAYS: Final = 400
MAX_LOGS: Final = 1000
"""Logs of one venue, one after the other; each but the last is closed."""
Level = Literal["NATIONAL", "REGIONAL", "INDUSTRY", "SERVICE"]
CardUse = Literal["evidence", "log", "witness", "order"]
VERSION_1_PREVIOUS: Final = ""
_NOT_HEX: Final = re.compile(r"[-\s]")
_ORIGIN: Final = re.compile(r"(?P<domain>[^/\s]+)/log(?:/(?P<number>[2-9]|[1-9][0-9]{1,3}))?")


class RootKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys that sign cards: ``threshold`` of ``keys``."""

    threshold: Annotated[int, msgspec.Meta(ge=1, le=16)]
    keys: Annotated[tuple[Key, ...], msgspec.Meta(min_length=1, max_length=16)]


class CardKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One public key with its use and its time."""

    use: CardUse
    public: Key
    not_before: Time
    not_after: Time
    log: Annotated[int, msgspec.Meta(ge=1, le=MAX_LOGS)] = 1
    """Which log of the venue a log key signs: 1, or the number of the log that follows one that was closed."""


class CardBundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The roots under which the venue issues certificates."""

    spiffe_sequence: Count
    x5c: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=8192)], ...], msgspec.Meta(max_length=8)]
    """Base64 DER, self-signed. Empty: every certificate of the domain is refused."""


class ProtocolRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Versions of the protocol that the node speaks."""

    min: Annotated[int, msgspec.Meta(ge=1, le=1000)]
    max: Annotated[int, msgspec.Meta(ge=1, le=1000)]


class Card(Statement, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="card"):
    """Which keys, roots and addresses speak for one venue (protocol 2.1)."""

    max_bytes: ClassVar[int] = 64 * 1024

    expires: Time  # at most 400 days ahead
    trust_domain: TrustDomain
    node_id: Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Z*]{32}$")]
    level: Level
    area: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}([0-9]{2})?$")]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    subject: Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Z]{18}$")] | None = None
    """Unified social credit code of the operating entity."""
    version: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    previous: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")]
    """Digest of the last version's payload; empty in version 1."""
    root: RootKeys
    keys: Annotated[tuple[CardKey, ...], msgspec.Meta(max_length=64)]
    bundle: CardBundle
    endpoints: Annotated[
        tuple[Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9.:\[\]-]{1,255}:[0-9]{1,5}$")], ...],
        msgspec.Meta(max_length=16),
    ]
    """host:port, tried in order."""
    protocol: ProtocolRange

    def required(self) -> tuple[Required, ...]:
        """Nobody: a threshold of roots cannot be named here, so only ``check_card`` verifies a card."""
        return ()


# --- names ----------------------------------------------------------------------------------------------------------


def log_origin(trust_domain: str, number: int = 1) -> str:
    """Origin line and key name of a log of the domain: ``zj.example/log``, then ``zj.example/log/2`` and so on."""
    return f"{trust_domain}/log" if number == 1 else f"{trust_domain}/log/{number}"


def parse_log_origin(origin: str) -> tuple[str, int]:
    """Trust domain and number of a log; an empty domain and 0 for what is no origin of a log."""
    found = _ORIGIN.fullmatch(origin)
    return (found["domain"], int(found["number"] or 1)) if found else ("", 0)


def log_number(card: Card) -> int:
    """Which log of the venue is open by a card; those before it are closed."""
    return max((key.log for key in card.keys if key.use == "log"), default=1)


def witness_name(trust_domain: str) -> str:
    """Key name of the domain's cosignatures."""
    return f"{trust_domain}/witness"


def node_dns(trust_domain: str) -> str:
    """The DNS name that TLS checks in a node's certificate."""
    return f"node.{trust_domain}"


# --- fingerprint ----------------------------------------------------------------------------------------------------


def fingerprint(document: Document) -> str:
    """First 16 bytes of the payload's SHA-256, as people compare them (protocol 2.3)."""
    digits = hashlib.sha256(document.payload).hexdigest()[:32].upper()
    return "-".join(digits[i : i + 4] for i in range(0, 32, 4))


def parse_fingerprint(text: str) -> str:
    """Read a fingerprint as a person types it, in full.

    Raises:
        TrustnodeError: FIELD_FORMAT when it has fewer or more than 32 hexadecimal digits.
    """
    digits = _NOT_HEX.sub("", text).upper()
    if not re.fullmatch("[0-9A-F]{32}", digits):
        raise error("FIELD_FORMAT", "a fingerprint has 32 hexadecimal digits; compare all of them", field="fingerprint")
    return "-".join(digits[i : i + 4] for i in range(0, 32, 4))


def check_fingerprint(document: Document, text: str) -> None:
    """Compare a card with the fingerprint that a person got from the venue.

    Raises:
        TrustnodeError: FIELD_FORMAT, FINGERPRINT_MISMATCH.
    """
    wanted = parse_fingerprint(text)
    if fingerprint(document) != wanted:
        raise error("FINGERPRINT_MISMATCH", f"the card has {fingerprint(document)}, not {wanted}")


# --- acceptance -----------------------------------------------------------------------------------------------------


def check_card(document: Document, now: str | None) -> Verified[Card]:
    """Check one card by itself: form, times, its own threshold, its keys.

    Args:
        document: The card.
        now: Instant of the check; None for a card that is evidence (expiry is then left out).

    Raises:
        TrustnodeError: As ``document.verify``; FIELD_FORMAT, DUPLICATE, CERTIFICATE faults as ``import_bundle``.
    """
    card = decode(document, Card)
    _check_fields(card)
    signers = _signers(document, card.root)
    if len(signers) < card.root.threshold:
        raise error("SIGNATURE_INVALID", f"{len(signers)} of {card.root.threshold} root signatures on this card verify")
    verified = verify(
        document,
        Card,
        lambda owner, _use: (PublicKey(bytes.fromhex(owner), "", clock.FOREVER),),
        now,
        required=[Required(raw, "root") for raw in signers],
    )
    if now is not None and card.expires <= now:
        raise error("TIME_SKEW", f"the card ended at {card.expires}")
    return verified


def accept_card(
    document: Document,
    stored: Verified[Card] | None,
    trust_domain: str,
    now: str,
    others: Iterable[Card] = (),
) -> Verified[Card]:
    """Decide whether a card may become the one that speaks for a domain (protocol 2.2).

    The first version that is accepted may be any: it needs its own threshold only. Each later one needs the threshold
    of the stored roots too, and follows the stored version without a gap.

    Args:
        document: The card received.
        stored: The version held now; None when there is none.
        trust_domain: The domain it was received for.
        now: Instant of the check.
        others: Cards of all other domains, for the uniqueness of keys and roots.

    Raises:
        TrustnodeError: As ``check_card``; IDENTITY_WRONG_DOMAIN, CARD_ROLLBACK, STALE_VERSION (versions between are
            missing: send them one by one), DUPLICATE (a key has another owner).
    """
    verified = check_card(document, now)
    if verified.value.trust_domain != trust_domain:
        raise error("IDENTITY_WRONG_DOMAIN", f"the card is of {verified.value.trust_domain}, not of {trust_domain}")
    if stored is not None and stored.digest == verified.digest:
        return stored
    if stored is not None:
        check_follows(verified, stored)
    _check_unique(verified.value, tuple(others), now)
    return verified


def _check_fields(card: Card) -> None:
    if card.iss != card.trust_domain or card.aud != ("*",):
        raise error("FIELD_FORMAT", "a card is issued by its own domain for everybody", field="iss")
    if card.expires > clock.shift(card.time, MAX_LIFE_DAYS * 86400):
        raise error("FIELD_FORMAT", f"a card lives at most {MAX_LIFE_DAYS} days", field="expires")
    if (card.version == 1) != (card.previous == VERSION_1_PREVIOUS):
        raise error("FIELD_FORMAT", "version 1 alone has no previous version", field="previous")
    if card.root.threshold > len(card.root.keys) or card.protocol.min > card.protocol.max:
        raise error("FIELD_FORMAT", "threshold or protocol range cannot be met", field="root.threshold")
    repeated = [raw for raw, times in Counter(_raw_keys(card)).items() if times > 1]
    if repeated:
        raise error("DUPLICATE", "one key stands twice on the card; a key has one use", field="keys")
    if any(key.log != (log_number(card) if key.use == "log" else 1) for key in card.keys):
        raise error(
            "FIELD_FORMAT", "a card has keys of one log: a log is closed before the next one opens", field="keys"
        )


def _raw_keys(card: Card) -> tuple[str, ...]:
    return (*card.root.keys, *(key.public for key in card.keys))


def _signers(document: Document, root: RootKeys) -> list[str]:
    message = pae(document.payload_type, document.payload)
    return [raw for raw in root.keys if has_signature(document, message, bytes.fromhex(raw))]


def is_signed_by(document: Document, root: RootKeys) -> bool:
    """Whether enough of these root keys signed a card, whatever else it says."""
    return len(_signers(document, root)) >= root.threshold


def check_follows(verified: Verified[Card], stored: Verified[Card]) -> None:
    """Refuse a card that is not the next version of the stored one (protocol 2.2, steps 3 and 4).

    Raises:
        TrustnodeError: CARD_ROLLBACK, STALE_VERSION, SIGNATURE_INVALID.
    """
    card, last = verified.value, stored.value
    if card.version <= last.version:
        raise error("CARD_ROLLBACK", f"version {card.version} of {card.trust_domain} after version {last.version}")
    if card.version != last.version + 1:
        first, final = last.version + 1, card.version - 1
        raise error("STALE_VERSION", f"versions {first} to {final} of the card come first", expected=str(first))
    if card.previous != stored.digest:
        raise error("CARD_ROLLBACK", f"version {card.version} of {card.trust_domain} follows another version")
    signers = _signers(verified.document, last.root)
    if len(signers) < last.root.threshold:
        raise error("SIGNATURE_INVALID", f"{len(signers)} of {last.root.threshold} stored roots signed the new version")
    if card.bundle.spiffe_sequence < last.bundle.spiffe_sequence:
        raise error("CARD_ROLLBACK", "spiffe_sequence went back", field="bundle.spiffe_sequence")
    _check_log_follows(card, last)


def _check_log_follows(card: Card, last: Card) -> None:
    """A log that was closed stays closed, and no key of it signs the next one (C2SP: a key has one name)."""
    number, before = log_number(card), log_number(last)
    if number not in (before, before + 1):
        raise error("CARD_ROLLBACK", f"log {number} of {card.trust_domain} does not follow log {before}", field="keys")
    held = {key.public for key in last.keys if key.use == "log"}
    if number != before and any(key.public in held for key in card.keys):
        raise error("DUPLICATE", f"log {number} of {card.trust_domain} has a key of log {before}", field="keys")


def _check_unique(card: Card, others: tuple[Card, ...], now: str) -> None:
    foreign = [other for other in others if other.trust_domain != card.trust_domain]
    taken = {raw: other.trust_domain for other in foreign for raw in _raw_keys(other)}
    for raw in _raw_keys(card):
        if raw in taken:
            raise error("DUPLICATE", f"a key of this card is already a key of {taken[raw]}", field="keys")
    bundle_of(card, now, tuple(bundle_of(other, now) for other in foreign))


# --- what a card vouches for ----------------------------------------------------------------------------------------


def bundle_of(card: Card, now: str, others: Iterable[Bundle] = ()) -> Bundle:
    """The roots of a card that are valid now.

    Raises:
        TrustnodeError: As ``import_bundle``.
    """
    return import_bundle(card.trust_domain, card.bundle.spiffe_sequence, card.bundle.x5c, now, others)


def vouched(card: Card) -> dict[KeyUse, tuple[PublicKey, ...]]:
    """The keys that speak for the card's domain, by use, old and new during a rotation."""
    found: dict[KeyUse, tuple[PublicKey, ...]] = {
        "root": tuple(PublicKey(bytes.fromhex(raw), card.time, clock.FOREVER) for raw in card.root.keys)
    }
    for key in card.keys:
        known = PublicKey(bytes.fromhex(key.public), key.not_before, key.not_after, log=key.log)
        found[key.use] = (*found.get(key.use, ()), known)
    return found
