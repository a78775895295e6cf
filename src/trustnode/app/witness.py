"""The node as a witness: it cosigns the logs of its confirmed, approved peers, each only as far as it grows.

Decides: which logs are known here, that a cosignature leaves only after what was cosigned is on the disk, what becomes
of a log that shows two histories. Leaves to others: the order of the checks (``core.evidence.witness``), transport
(``rpc``, ``web``), being witnessed (``cosigning``). Source: evidence-log 1.9.

Whoever comes may ask: a request says nothing that its log did not sign, and cosigning what is consistent is harmless.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, NamedTuple

from trustnode.app.venue import Venue, log
from trustnode.core import clock
from trustnode.core.evidence import note as notes
from trustnode.core.evidence import witness
from trustnode.core.evidence.tree import TreeHead
from trustnode.core.evidence.witness import NOTHING, SIZE_TYPE, TEXT_TYPE, AddCheckpoint, Judgement
from trustnode.core.identity import log_origin, parse_log_origin, witness_name
from trustnode.core.peering import PeeringState
from trustnode.errors import TrustnodeError, error
from trustnode.store.checkpoints import Fork, Witnessed
from trustnode.store.unit import Tx, View

BEGUN_PREFIX: Final = "witness/"
"""Settings: the peer agreement under which a log was cosigned first. A record of cosignatures that is gone while this
is there was lost, and no witness begins again by itself (attack-tests L10c)."""


class WitnessAnswer(NamedTuple):
    """The answer to ``add-checkpoint``: as HTTP says it, and what HTTP has a second address for."""

    status: int
    content_type: str = TEXT_TYPE
    body: bytes = b""
    """Cosignature lines with 200; the held size with a 409 of the type ``text/x.tlog.size``; else a sentence."""
    held: bytes = b""
    """The newest note of this log that we cosigned, where there is one."""


class _Log(NamedTuple):
    """What we know of the log that a request names."""

    domain: str
    keys: tuple[notes.VerifierKey, ...] = ()
    held: Witnessed | None = None
    lost: bool = False
    """Whether it was cosigned before and the record of it is gone."""
    closed: bool = False
    """Whether its venue has closed it: nothing grows there any more."""

    @property
    def head(self) -> TreeHead:
        """What was cosigned last."""
        return TreeHead(self.held.size, self.held.root) if self.held else NOTHING


async def add_checkpoint(venue: Venue, body: bytes, *, source: str = "") -> WitnessAnswer:
    """Answer a request to cosign; nothing in it is trusted.

    Args:
        venue: The node.
        body: The request as tlog-witness defines it.
        source: Trust domain of who asks, for the record of a fork; empty: not known.

    Returns:
        The answer. A cosignature in it stands for something that is on the disk.
    """
    if venue.read_only:
        return _said(503, venue.read_only)
    try:
        request = witness.parse_request(body)
        origin = witness.origin_of(request.note)
    except TrustnodeError as problem:
        return _said(400, problem.message)
    try:
        return await _answered(venue, request, origin, source)
    except TrustnodeError as problem:
        return _said(429 if problem.reason == "BUSY" else 503, problem.message)


async def monitored(venue: Venue, origin_sha256_hex: str) -> bytes | None:
    """The newest note that we cosigned for a log, by the lower-case hex SHA-256 of its origin; None: never."""

    def query(view: View) -> bytes | None:
        held = view.all_witnessed()
        return next((one.note or None for one in held if _sha256(one.origin) == origin_sha256_hex), None)

    return await venue.store.read(query)


def _sha256(origin: str) -> str:
    return hashlib.sha256(origin.encode()).hexdigest()


def log_keys(venue: Venue, domain: str) -> tuple[notes.VerifierKey, ...]:
    """Keys with which a venue signs the log that is open now, by the card that is accepted here."""
    now, number = venue.clock.now(), venue.keyring.log_number(domain)
    found = [key for key in venue.keyring(domain, "log") if key.log == number and key.valid_at(now)]
    return tuple(notes.VerifierKey(log_origin(domain, number), notes.ED25519, key.raw) for key in found)


def _closed_keys(venue: Venue, domain: str, number: int) -> tuple[notes.VerifierKey, ...]:
    """Keys that ever signed a log which a venue has closed."""
    found = [key for key in venue.keyring(domain, "log") if key.log == number]
    return tuple(notes.VerifierKey(log_origin(domain, number), notes.ED25519, key.raw) for key in found)


def witness_keys(venue: Venue, domain: str) -> tuple[notes.VerifierKey, ...]:
    """Keys with which a venue cosigns now, by the card that is accepted here."""
    now = venue.clock.now()
    found = [key for key in venue.keyring(domain, "witness") if key.valid_at(now)]
    return tuple(notes.VerifierKey(witness_name(domain), notes.COSIGNATURE_V1, key.raw) for key in found)


def is_peer_in_force(peering: PeeringState | None) -> bool:
    """Whether a venue's log is ours to cosign, and ours its: confirmed by its fingerprint and approved by both."""
    return peering is not None and peering.state == "APPROVED" and bool(peering.confirmed)


def _said(status: int, sentence: str, held: bytes = b"") -> WitnessAnswer:
    return WitnessAnswer(status, TEXT_TYPE, f"{sentence}\n".encode(), held)


async def _answered(venue: Venue, request: AddCheckpoint, origin: str, source: str) -> WitnessAnswer:
    known = await venue.store.read(_known(venue, origin))
    if known.lost:
        return _said(503, f"the record of what was cosigned for {origin} is lost; our operator: log witness accept")
    try:
        judgement = witness.judge(request, known.keys, known.head)
    except TrustnodeError as problem:
        return _said(400, problem.message)
    if judgement.conflict and known.held and judgement.checkpoint:
        await keep_fork(venue, _fork(request, judgement, known.held, source))
    if known.closed and judgement.status == 200:
        return await _grown_after_its_end(venue, request, judgement, known, source)
    if judgement.status != 200 or judgement.checkpoint is None:
        return _refused(judgement, known)
    return await _cosigned(venue, request, judgement, known)


async def _grown_after_its_end(
    venue: Venue, request: AddCheckpoint, judgement: Judgement, known: _Log, source: str
) -> WitnessAnswer:
    """A closed log is not cosigned any further; a head of it that is new is kept, as what must not be there."""
    found, held = judgement.checkpoint, known.held
    if found is not None and held is not None and found.size > held.size:
        await keep_fork(venue, _fork(request, judgement, held, source))
    number = venue.keyring.log_number(known.domain)
    return _said(403, f"this log is closed; log {number} of {known.domain} follows it", held.note if held else b"")


def _known(venue: Venue, origin: str) -> Callable[[View], _Log]:
    """Query: the log of a peer in force; any other has no keys."""

    def query(view: View) -> _Log:
        domain, number = parse_log_origin(origin)
        peering = view.get(PeeringState, domain)
        if peering is None or number > venue.keyring.log_number(domain) or not is_peer_in_force(peering):
            return _Log(domain)
        held = view.witnessed(origin)
        if venue.keyring.is_closed(origin):
            return _Log(domain, _closed_keys(venue, domain, number), held, closed=True)
        lost = held is None and view.setting(BEGUN_PREFIX + origin) == peering.document
        return _Log(domain, log_keys(venue, domain), held, lost)

    return query


def _refused(judgement: Judgement, known: _Log) -> WitnessAnswer:
    held = known.held.note if known.held else b""
    if judgement.status == 409:
        return _stale(known.head.size, held)
    body = b"" if judgement.conflict else f"{judgement.reason}\n".encode()
    return WitnessAnswer(judgement.status, TEXT_TYPE, body, held)


def _stale(size: int, held: bytes) -> WitnessAnswer:
    return WitnessAnswer(409, SIZE_TYPE, f"{size}\n".encode(), held)


async def _cosigned(venue: Venue, request: AddCheckpoint, judgement: Judgement, known: _Log) -> WitnessAnswer:
    """Cosign, keep, then answer: whoever came first between the look and the unit has won."""
    found = judgement.checkpoint
    if found is None:
        raise error("INTERNAL", "nothing to cosign")
    # a clock that was set back must not make a later head of the log look older (L13)
    time = max(venue.clock.now(), known.held.time if known.held else "")
    key, seconds = venue.witness_key, clock.to_ms(time) // 1000
    line = notes.cosign(judgement.text, witness_name(venue.domain), key.public, key.sign, seconds)
    new = Witnessed(found.origin, found.size, found.root, witness.cosigned(request.note, known.keys, line), time)
    winner = await venue.store.write(lambda tx: _persist(tx, venue.domain, new, known), event_id="", returns=Witnessed)
    if winner != new:
        return _stale(winner.size, winner.note)
    return WitnessAnswer(200, TEXT_TYPE, line.encode(), new.note)


def _persist(tx: Tx, own: str, new: Witnessed, known: _Log) -> Witnessed:
    """Compare and persist, in one unit. Returns what is held afterwards."""
    peering = tx.get(PeeringState, known.domain)
    if peering is None or not is_peer_in_force(peering):
        raise error("PEER_SUSPENDED", f"{new.origin} is no longer witnessed here")
    held = tx.witnessed(new.origin)
    if held is not None and (known.held is None or (held.size, held.root) != known.head):
        return held
    tx.set_witnessed(new)
    tx.forget_suspicion(new.origin, new.size, new.root)
    if tx.setting(BEGUN_PREFIX + new.origin) != peering.document:
        # one entry when it begins: one for each cosignature would make two logs grow each other for ever
        tx.set_setting(BEGUN_PREFIX + new.origin, peering.document)
        tx.log("node", own, "log.cosign", actor=known.domain[-64:])
    return new


# --- forks ----------------------------------------------------------------------------------------------------------


def _fork(request: AddCheckpoint, judgement: Judgement, held: Witnessed, source: str) -> Fork:
    found = judgement.checkpoint
    if found is None:
        raise error("INTERNAL", "a conflict without a checkpoint")
    return Fork(
        origin=found.origin, size=found.size, root=found.root, held=held.note, shown=request.note,
        proof=b"".join(request.proof), hashes=b"", proven=judgement.conflict == "FORK" and bool(held.note),
        source=source, time="",
    )  # fmt: skip


async def compare_shown(venue: Venue, domain: str, note: bytes, head: TreeHead) -> None:
    """Compare a head that a peer showed on another way with what it had us cosign: one log has one past for everybody.

    Args:
        venue: The node.
        domain: Whose open log it is, and who showed it.
        note: The signed note; its log signature was verified.
        head: What it says.

    Raises:
        TrustnodeError: VERIFICATION_FAILED, of this size another root was cosigned; both notes are kept.
    """
    origin = venue.keyring.log_origin(domain)
    held = await venue.store.read(lambda view: view.witnessed(origin))
    if held is None or held.size != head.size or held.root == head.root:
        return
    await keep_fork(
        venue,
        Fork(
            origin=origin, size=head.size, root=head.root, held=held.note, shown=note, proof=b"", hashes=b"",
            proven=bool(held.note), source=domain, time="",
        ),
    )  # fmt: skip
    raise error("VERIFICATION_FAILED", f"{domain} has shown two histories of its log at entry {head.size:,}")


async def keep_fork(venue: Venue, fork: Fork) -> None:
    """Keep both notes for ever, with an entry of its own the first time and when it becomes proven.

    Raises:
        TrustnodeError: READ_ONLY, EVIDENCE_UNAVAILABLE.
    """
    digests = tuple(sorted({hashlib.sha256(one).hexdigest() for one in (fork.held, fork.shown)}))

    def unit(tx: Tx) -> bool:
        news = tx.keep_fork(fork._replace(time=tx.now))
        if news:
            tx.log(
                "node", venue.domain, "incident.notify", actor=fork.origin[-64:], documents=digests,
                reason_code="VERIFICATION_FAILED", stage="EVIDENCE_LOG",
            )  # fmt: skip
        return news

    if await venue.store.write(unit, event_id="", returns=bool):
        word = "a fork of a log" if fork.proven else "a proof of a log does not verify"
        log.critical(word, origin=fork.origin, size=fork.size, peer=fork.source)
