"""Heads that were signed, compared with the tiles and with the keys on kept cards.

Decides: that a head of our own log that was signed is one that the log had, and that a kept note says what its row says
and bears the signature. Leaves to others: heads that nobody here signed (forks, mirrors), which convince by themselves.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import msgspec

from trustnode.core.evidence.checkpoint import Checkpoint, parse_checkpoint
from trustnode.core.evidence.note import COSIGNATURE_V1, ED25519, VerifierKey, open_note
from trustnode.core.identity.card import Card, CardKey, log_origin, witness_name
from trustnode.errors import TrustnodeError, error
from trustnode.store.difference import Difference
from trustnode.store.log import read_head, recompute


def differences(db: sqlite3.Connection) -> Iterator[Difference]:
    """Every signed head that the log never had, or whose note is not what its row says."""
    size, keys = read_head(db).size, card_keys(db)
    for signed, root, note in db.execute("select size, root, note from checkpoint order by size"):
        message = _of_ours(db, size, signed, root) or _of_note(note, signed, root, keys)
        if message:
            yield Difference(where="checkpoint", message=message, index=signed)
    for origin, seen, root, note in db.execute("select origin, size, root, note from witnessed order by origin"):
        message = _of_note(note, seen, root, keys, origin)
        if message:
            yield Difference(where="witnessed", message=message, object=f"log {origin}")


def card_keys(db: sqlite3.Connection) -> tuple[VerifierKey, ...]:
    """Every log key and witness key on a kept card, in whatever version."""
    found: set[VerifierKey] = set()
    for (payload,) in db.execute("select payload from document where type like '%trustnode.card.%'"):
        try:
            card = msgspec.json.decode(payload, type=Card)
            found |= {_verifier(card.trust_domain, key) for key in card.keys}
        except (msgspec.MsgspecError, ValueError):
            continue  # it differs from its digest, which is a difference of its own
    return tuple(key for key in found if key.name)


def _verifier(domain: str, key: CardKey) -> VerifierKey:
    kinds = {"log": (log_origin(domain, key.log), ED25519), "witness": (witness_name(domain), COSIGNATURE_V1)}
    name, algorithm = kinds.get(key.use, ("", 0))
    return VerifierKey(name, algorithm, bytes.fromhex(key.public))


def _of_ours(db: sqlite3.Connection, size: int, signed: int, root: bytes) -> str:
    if signed > size:
        return f"size {signed} was signed, the log has {size} entries"
    try:
        had = recompute(db, signed).head.root
    except TrustnodeError as problem:
        return problem.message
    return "" if had == root else "the root that was signed is not the one of the tiles"


def _of_note(note: bytes, size: int, root: bytes, keys: tuple[VerifierKey, ...], origin: str = "") -> str:
    try:
        said = _open(note, keys)
    except (TrustnodeError, UnicodeDecodeError) as problem:
        return f"the note cannot be read: {problem}"
    same = (said.size, said.root) == (size, root) and said.origin == (origin or said.origin)
    return "" if same else "the note is about another head"


def _open(note: bytes, keys: tuple[VerifierKey, ...]) -> Checkpoint:
    """What a note says; its signatures are checked where cards are kept, and then one names the key of its log."""
    said = parse_checkpoint(note.rpartition(b"\n\n")[0].decode() + "\n")
    if keys:
        opened = open_note(note, keys)
        if not any(signature.key.name == said.origin for signature in opened.signatures):
            raise error("VERIFICATION_FAILED", f"{said.origin} did not sign it")
    return said
