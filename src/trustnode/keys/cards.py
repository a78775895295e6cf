"""The venue card as it is made: what a home's keys and settings put on it, drafts for roots that are elsewhere.

Decides: which keys the next version lists, the file of a draft, what a node demands of a version before it takes it as
its own. Leaves to others: which version is genuine (``core.identity``), telling peers (``app.cards``).
Source: protocol 1.3, 2.1.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from trustnode.core import clock, envelope
from trustnode.core.document import Document, Signer, Verified, canonical, cosign, decode, has_signature, pae, seal
from trustnode.core.envelope import Envelope
from trustnode.core.identity import (
    Card,
    CardBundle,
    CardKey,
    ProtocolRange,
    RootKeys,
    check_card,
    check_follows,
    in_order,
    log_number,
)
from trustnode.core.identity.card import CardUse, Level
from trustnode.errors import TrustnodeError, error
from trustnode.keys.home import NodeKeys
from trustnode.keys.rotation import SIGNING, root_mark

PROTOCOL: Final = ProtocolRange(1, 1)
CARD_FILE: Final = "venue.card"
VERSIONS: Final = "cards"
"""Folder of all versions of our card, by number."""
CARD_LIFE_DAYS: Final = 390
KEY_LIFE_DAYS: Final[dict[CardUse, int]] = {"evidence": 730, "log": 1825, "witness": 1825}
"""Longest time of a new key (protocol 1.1), days."""
MAX_FILE_BYTES: Final = 512 * 1024


# --- making a version -----------------------------------------------------------------------------------------------


def draft_card(
    *,
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
    roots: RootKeys | None = None,
    log: int = 0,
) -> Card:
    """Put together the next version of the venue card; nobody has signed it.

    Args:
        keys: The keys that the card vouches for, staged ones included.
        id: Random UUID of the document.
        now: Its time.
        node_id: 32-character identifier of the node.
        level: Place of the venue.
        area: Administrative or industry area code.
        name: Name of the venue.
        endpoints: host:port, in the order in which peers try them.
        subject: Unified social credit code.
        previous: The version before; None for the first.
        roots: Which roots sign from now on; None: those of the version before.
        log: Number of the log that it opens, with the staged log key alone; 0: the log of the version before goes on.

    Raises:
        TrustnodeError: FIELD_MISSING, a first card without roots.
    """
    last = previous.value if previous else None
    signing = roots or (last.root if last else None)
    if signing is None:
        raise error("FIELD_MISSING", "the first card names its root keys", field="root")
    return Card(
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
        root=signing,
        keys=_card_keys(keys, last, now, log),
        bundle=_card_bundle(keys, last, now),
        endpoints=tuple(endpoints),
        protocol=PROTOCOL,
    )


def issue_card(*, root: Signer | Sequence[Signer], threshold: int = 0, **fields: Any) -> Document:
    """Sign the next version of the venue card with root keys that are at hand; further arguments as ``draft_card``.

    Args:
        root: The root key; several for a threshold, or for old and new roots.
        threshold: How many of them a card needs, for a first card; 0: all.
        **fields: As ``draft_card``.
    """
    signers = tuple(root) if isinstance(root, Sequence) else (root,)
    if fields.get("previous") is None and fields.get("roots") is None:
        fields["roots"] = RootKeys(threshold or len(signers), tuple(signer.public.hex() for signer in signers))
    return seal(draft_card(**fields), *signers)


def _card_keys(keys: NodeKeys, last: Card | None, now: str, opens: int) -> tuple[CardKey, ...]:
    """The keys in use and those that come next; a key that is neither is dropped, unless it is no key of the node.

    A card that opens the next log lists no key of the one that is closed.
    """
    number = opens or (log_number(last) if last else 1)
    known = {key.public: key for key in (last.keys if last else ())}
    revoked = keys.staged.revoked
    listed: list[CardKey] = [key for key in known.values() if key.use not in SIGNING and key.not_after > now]
    for use in SIGNING:
        present = keys.signer(use) if use != "log" or not opens else None
        for signer in (present, keys.staged.next.get(use)):
            if signer is not None and signer.public.hex() not in revoked:
                raw, of = signer.public.hex(), number if use == "log" else 1
                ends = clock.shift(now, KEY_LIFE_DAYS[use] * 86400)
                listed.append(known.get(raw) or CardKey(use, raw, clock.shift(now, -300), ends, of))
    return tuple(listed)


def _card_bundle(keys: NodeKeys, last: Card | None, now: str) -> CardBundle:
    """The root in use, the one that comes next, and the one before while certificates under it are about."""
    staged = keys.staged
    former = staged.root_old if staged.root_old_until > now else None
    roots = [root for root in (keys.authority.root, staged.root_next, former) if root is not None]
    x5c = tuple(_x5c(root) for root in roots if root_mark(root) not in staged.revoked)
    if last is None:
        return CardBundle(1, x5c)
    return CardBundle(last.bundle.spiffe_sequence + (x5c != last.bundle.x5c), x5c)


def _x5c(root: x509.Certificate) -> str:
    return base64.b64encode(root.public_bytes(serialization.Encoding.DER)).decode()


# --- drafts ---------------------------------------------------------------------------------------------------------


class CardDraft(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version that collects the signatures of its roots, with the one before it. Holds nothing secret."""

    format: Literal["trustnode-card-draft-v1"] = "trustnode-card-draft-v1"
    card: Envelope
    previous: Envelope | None = None


class Signed(NamedTuple):
    """How far the signatures of a draft are."""

    old: int
    old_needed: int
    new: int
    new_needed: int

    @property
    def complete(self) -> bool:
        """Whether enough of the old and of the new roots have signed."""
        return self.old >= self.old_needed and self.new >= self.new_needed


def write_draft(path: Path, card: Document, previous: Document | None) -> None:
    """Write a draft."""
    draft = CardDraft(card=Envelope.of(card), previous=Envelope.of(previous) if previous else None)
    path.write_bytes(canonical(draft) + b"\n")


def read_draft(path: Path) -> tuple[Document, Document | None]:
    """Read a draft; nothing in it is verified.

    Raises:
        TrustnodeError: FIELD_TOO_LONG, MESSAGE_UNPARSABLE.
    """
    content = path.read_bytes()
    if len(content) > MAX_FILE_BYTES:
        raise error("FIELD_TOO_LONG", f"a draft has at most {MAX_FILE_BYTES} bytes", field="card")
    try:
        draft = msgspec.json.decode(content, type=CardDraft)
        card, previous = draft.card.document(), draft.previous.document() if draft.previous else None
        decode(card, Card)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise error("MESSAGE_UNPARSABLE", f"not a draft of a card: {problem}", field="card") from None
    return card, previous


def sign_draft(path: Path, signer: Signer) -> Signed:
    """Add one root signature to a draft.

    Raises:
        TrustnodeError: As ``read_draft``; ROLE_NOT_ALLOWED when the key is a root neither of this version nor of the
            one before.
    """
    card, previous = read_draft(path)
    roots = [decode(document, Card).root.keys for document in (card, previous) if document is not None]
    if not any(signer.public.hex() in keys for keys in roots):
        raise error("ROLE_NOT_ALLOWED", "this key is no root of this venue, in this version or in the one before")
    card = cosign(card, signer)
    write_draft(path, card, previous)
    return signed(card, previous)


def signed(card: Document, previous: Document | None) -> Signed:
    """How many of the roots have signed."""
    old = decode(previous, Card).root if previous else None
    new = decode(card, Card).root
    return Signed(_count(card, old), old.threshold if old else 0, _count(card, new), new.threshold)


def _count(card: Document, root: RootKeys | None) -> int:
    message = pae(card.payload_type, card.payload)
    return sum(has_signature(card, message, bytes.fromhex(raw)) for raw in (root.keys if root else ()))


# --- the card of a home ---------------------------------------------------------------------------------------------


def write_card(home: Path, card: Document) -> None:
    """Keep our own card beside the settings, and every version of it: a peer that was away gets those between."""
    versions = home / VERSIONS
    versions.mkdir(exist_ok=True)
    for path in (versions / f"{decode(card, Card).version}.card", home / CARD_FILE):
        staged = path.with_name(f"{path.name}.new")
        staged.write_bytes(envelope.encode(card))
        staged.replace(path)


def earlier_cards(home: Path) -> tuple[Document, ...]:
    """The versions before our own card that this home has, oldest first."""
    newest = read_card(home)
    kept = (envelope.decode(path.read_bytes()) for path in (home / VERSIONS).glob("*.card"))
    return tuple(in_order(one for one in kept if one.digest != newest.digest))


def read_card(home: Path) -> Document:
    """Our own card.

    Raises:
        TrustnodeError: CONFIG_INVALID.
    """
    try:
        return envelope.decode((home / CARD_FILE).read_bytes())
    except (OSError, TrustnodeError):
        raise error(
            "CONFIG_INVALID", f"{CARD_FILE} is missing or not a card; run: trustnode init", field="home"
        ) from None


def check_next(
    card: Document, previous: Document, keys: NodeKeys, now: str, *, opens_log: bool = False
) -> Verified[Card]:
    """Decide whether a version may become the card of this home.

    Args:
        card: The version.
        previous: The one before.
        keys: The node's keys.
        now: Instant of the check.
        opens_log: Whether it has to open the next log, which no other version may.

    Raises:
        TrustnodeError: As ``check_card`` and ``check_follows``; CONFIG_INVALID when the card does not vouch for a key
            that this node signs with.
    """
    checked = check_card(card, now)
    last = check_card(previous, None)
    check_follows(checked, last)
    if opens_log != (log_number(checked.value) != log_number(last.value)):
        step = "To close this log and to open the next one: trustnode log succeed"
        raise error("ILLEGAL_TRANSITION", "only log succeed opens the next log, and it opens one", next_step=step)
    listed, staged = {(key.use, key.public) for key in checked.value.keys}, keys.staged
    for use in SIGNING:
        ours = {(use, one.public.hex()) for one in (keys.signer(use), staged.next.get(use)) if one is not None}
        if not ours & listed:
            step = "Make it anew on this machine: trustnode card next"
            raise error("CONFIG_INVALID", f"this card lists another {use} key than the node has", next_step=step)
    roots = {_x5c(root) for root in (keys.authority.root, staged.root_next) if root is not None}
    if not roots & set(checked.value.bundle.x5c):
        raise error("CONFIG_INVALID", "this card lists another certificate authority than the node has", field="bundle")
    return checked
