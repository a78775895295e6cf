"""Check 3: the logs were signed, and cosigned by those who were agreed on.

Decides: which signatures on a checkpoint count, and whether they meet the quorum of the agreement and of the reader.
Leaves to others: the grammar and arithmetic of policies (``quorum``), what the checkpoints cover (``logs``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trustnode.core.evidence.bundle import Part
from trustnode.core.evidence.checkpoint import SignedCheckpoint, open_checkpoint
from trustnode.core.evidence.checks.case import Case, Cosigned
from trustnode.core.evidence.note import COSIGNATURE_V1, ED25519, VerifierKey, line_keys
from trustnode.core.evidence.quorum import WitnessPolicy, parse_policy
from trustnode.core.evidence.sealing import sealed_text
from trustnode.core.identity import log_origin, parse_log_origin, witness_name
from trustnode.errors import TrustnodeError, error

MAX_POLICIES: Final = 32


def check_checkpoints(case: Case) -> str:
    """3. One checkpoint a log, signed by the log key of a card; the witnesses that were agreed cosigned it."""
    case.policies = [parse_policy(text) for text in case.value.witness_policies[:MAX_POLICIES]]
    for domain, part in sorted(case.contents.parts.items()):
        point = _newest(case, domain, part)
        if point is None:
            continue
        case.checkpoints[domain] = point
        _check_quorum(case, domain, point)
        _open_seals(case, domain, part)
    case.unwitnessed = not case.checkpoints or any(not _is_witnessed(case, domain) for domain in case.checkpoints)
    witnesses = {domain for point in case.checkpoints.values() for domain in point.times}
    case.counted["cosigned"] = len(witnesses)
    sizes = ", ".join(f"{d} {case.checkpoints[d].head.size} entries" for d in sorted(case.checkpoints))
    return f"{sizes}; " + (f"cosigned by {len(witnesses)}" if witnesses else "no witness cosigned")


def _newest(case: Case, domain: str, part: Part) -> Cosigned | None:
    notes = {proof.checkpoint for proof in part.proofs.values()}
    if not notes:
        case.find("INCOMPLETE", f"no proof from the log of {domain} is in the file")
        return None
    if len(notes) > 1:
        raise error("VERIFICATION_FAILED", f"the proofs of {domain} are over several checkpoints")
    (note,) = notes
    _check_log_key(case, domain, note)
    return _opened(case, domain, note)


def asked_logs(case: Case, domain: str) -> list[int]:
    """Which logs of a venue the agreement and the reader speak of, by number."""
    return [number for policy in _asked(case, domain) if (number := policy.log_of(domain))]


def _check_log_key(case: Case, domain: str, note: bytes) -> None:
    """The newest checkpoint is not the word of a log key that its venue took back: a thief may sign any other log.

    A notice may be left out of a bundle; the newest card tells it too, and that is the one that readers compare.
    """
    keys = case.book(domain, "log")
    standing = [
        VerifierKey(log_origin(domain, key.log), ED25519, key.raw)
        for key in keys
        if case.stands(domain, "log", (key.kid,))
    ]
    if len(standing) == len(keys):
        return
    try:
        open_checkpoint(note, standing, extensions=False)
    except TrustnodeError:
        case.find("INVALID", f"the newest checkpoint of {domain} is signed by a log key that was revoked")


def _opened(case: Case, domain: str, note: bytes) -> Cosigned:
    """A checkpoint of a log whose every signature line was made by a key of the bundle."""
    log_keys = [VerifierKey(log_origin(domain, key.log), ED25519, key.raw) for key in case.book(domain, "log")]
    witness_keys = {
        VerifierKey(witness_name(one), COSIGNATURE_V1, key.raw): one
        for one in case.cards
        for key in case.book(one, "witness")
    }
    signed = open_checkpoint(note, log_keys, witness_keys, extensions=False)
    if parse_log_origin(signed.checkpoint.origin)[0] != domain:
        raise error("VERIFICATION_FAILED", f"the checkpoint is of {signed.checkpoint.origin}, not of {domain}")
    known = {(key.name, key.id) for key in (*log_keys, *witness_keys)}
    if any(line not in known for line in line_keys(note)):
        raise error("VERIFICATION_FAILED", f"the checkpoint of {domain} carries a signature that no known key made")
    return Cosigned(signed, _counted(case, domain, signed, witness_keys))


def _counted(case: Case, domain: str, signed: SignedCheckpoint, owners: Mapping[VerifierKey, str]) -> dict[str, int]:
    """Cosignatures that count: the key was valid, and its owner does not run the log; each venue once."""
    found: dict[str, int] = {}
    for one in signed.cosignatures:
        owner, at = owners[one.key], sealed_text(one.time)
        valid = any(key.raw == one.key.public for key in case.book.at(at)(owner, "witness"))
        if valid and owner != domain:
            found[owner] = min(found.get(owner, one.time), one.time)
    return found


def _is_witnessed(case: Case, domain: str) -> bool:
    point = case.checkpoints[domain]
    return any(policy.met_at(point.under(policy)) is not None for policy in _asked(case, domain))


def _asked(case: Case, domain: str) -> list[WitnessPolicy]:
    """What the agreement asks for; the reader's own policy comes besides and cannot weaken it."""
    agreed = case.policy(domain)
    return [*([agreed] if agreed else []), *([parse_policy(case.witness_policy)] if case.witness_policy else [])]


def _check_quorum(case: Case, domain: str, point: Cosigned) -> None:
    if (case.policies or case.witness_policy) and case.policy(domain) is None and not case.witness_policy:
        case.find("UNWITNESSED", f"no witness policy speaks of the log of {domain}")
    for policy in _asked(case, domain):
        if policy.logs and not policy.covers_log_of(domain):
            case.find("UNWITNESSED", f"the reader's witness policy does not speak of the log of {domain}")
            continue
        if policy.log_of(domain) > point.log:
            case.find("UNWITNESSED", f"the checkpoint is of log {point.log} of {domain}, which was closed")
            continue
        anchored = {one for one in point.times if case.is_anchored(one)}
        if not policy.met_by(point.under(policy).keys()):
            names = ", ".join(sorted(point.times)) or "nobody"
            case.find("UNWITNESSED", f"the log of {domain} is cosigned by {names}: no quorum")
        elif not policy.met_by(point.under(policy, anchored).keys()):
            lacking = ", ".join(sorted(set(point.times) - anchored))
            case.find("UNANCHORED", f"the quorum of the log of {domain} rests on {lacking}, whom no anchor vouches for")


def _open_seals(case: Case, domain: str, part: Part) -> None:
    """Earlier checkpoints; each has to meet the quorum of the agreement, or it would show nothing."""
    opened: dict[bytes, Cosigned] = {}
    policy = case.policy(domain)
    for index, proof in sorted(part.seals.items()):
        if proof.checkpoint not in opened:
            opened[proof.checkpoint] = _opened(case, domain, proof.checkpoint)
        point = opened[proof.checkpoint]
        seconds = policy.met_at(point.under(policy)) if policy else None
        if seconds is None:
            case.find("INVALID", f"the seal of entry {index} of {domain} is no seal: its checkpoint has no quorum")
        else:
            case.seals.setdefault(domain, {})[index] = point
