"""Checks 3 to 5: the logs were signed (and cosigned), they hold these entries, and the chains have no gap.

Decides: what a log says about an agreement up to its signed head. Leaves to others: what the entries mean.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from trustnode.core.evidence import chain
from trustnode.core.evidence.bundle import ALL_PROVEN_UP_TO, Line, Part
from trustnode.core.evidence.chain import ChainEnd
from trustnode.core.evidence.checkpoint import SignedCheckpoint, open_checkpoint
from trustnode.core.evidence.checks.case import Case, Shown, Trail
from trustnode.core.evidence.entry import Entry, parse_statement
from trustnode.core.evidence.head import ChainHead
from trustnode.core.evidence.note import COSIGNATURE_V1, ED25519, VerifierKey
from trustnode.core.evidence.quorum import WitnessPolicy, parse_policy
from trustnode.core.evidence.tree import leaf_hash, verify_inclusion
from trustnode.core.identity import log_origin, witness_name
from trustnode.errors import TrustnodeError, error

AGREEMENT: Final = "agreement"
NEGOTIATION: Final = "negotiation"


# --- 3 --------------------------------------------------------------------------------------------------------------


def check_checkpoints(case: Case) -> str:
    """3. One checkpoint a log, signed by the log key of a card; the witnesses that were agreed cosigned it."""
    witnesses: set[bytes] = set()
    asked = _policies(case)
    for domain, part in sorted(case.contents.parts.items()):
        signed = _checkpoint(case, domain, part)
        if signed is None:
            continue
        case.checkpoints[domain] = signed
        cosigned = {one.key.public for one in signed.cosignatures}
        witnesses |= cosigned
        _check_quorum(case, domain, cosigned, asked)
    case.unwitnessed = not asked or any(finding.verdict == "UNWITNESSED" for finding in case.findings)
    case.counted["cosigned"] = len(witnesses)
    sizes = ", ".join(f"{d} {case.checkpoints[d].head.size} entries" for d in sorted(case.checkpoints))
    return f"{sizes}; " + (f"cosigned by {len(witnesses)}" if witnesses else "no witness cosigned")


def _checkpoint(case: Case, domain: str, part: Part) -> SignedCheckpoint | None:
    notes = {proof.checkpoint for proof in part.proofs.values()}
    if not notes:
        case.find("INCOMPLETE", f"no proof from the log of {domain} is in the file")
        return None
    if len(notes) > 1:
        raise error("VERIFICATION_FAILED", f"the proofs of {domain} are over several checkpoints")
    origin = log_origin(domain)
    log_keys = [VerifierKey(origin, ED25519, key.raw) for key in case.book(domain, "log")]
    signed = open_checkpoint(notes.pop(), log_keys, _witness_keys(case), extensions=False)
    if signed.checkpoint.origin != origin:
        raise error("VERIFICATION_FAILED", f"the checkpoint is of {signed.checkpoint.origin}, not of {origin}")
    return signed


def _witness_keys(case: Case) -> list[VerifierKey]:
    """Witness keys of cards whose domain somebody vouches for; whoever cannot be named does not count."""
    return [
        VerifierKey(witness_name(domain), COSIGNATURE_V1, key.raw)
        for domain in case.cards
        if case.is_anchored(domain)
        for key in case.book(domain, "witness")
    ]


def _policies(case: Case) -> list[WitnessPolicy]:
    """What the agreement asks for; the reader's own policy comes besides and cannot weaken it."""
    agreed = [parse_policy(text) for text in case.value.witness_policies]
    return [*agreed, *([parse_policy(case.witness_policy)] if case.witness_policy else [])]


def _check_quorum(case: Case, domain: str, cosigned: set[bytes], asked: list[WitnessPolicy]) -> None:
    concerning = [policy for policy in asked if not policy.logs or policy.covers(log_origin(domain))]
    if asked and not concerning:
        case.find("UNWITNESSED", f"no witness policy speaks of the log of {domain}")
    for policy in concerning:
        if not policy.met_by(cosigned):
            case.find("UNWITNESSED", f"{len(cosigned)} known witnesses cosigned the log of {domain}: no quorum")


# --- 4 --------------------------------------------------------------------------------------------------------------


def check_inclusion(case: Case) -> str:
    """4. Each entry's link is a leaf of its log's tree."""
    proven = 0
    for domain, part in sorted(case.contents.parts.items()):
        trail = case.trails[domain] = follow(domain, part, case.value.negotiation, case.value.contract_id)
        proven += _check_proofs(case, trail, part)
    case.counted["proven"] = proven
    total = sum(len(part.chain) for part in case.contents.parts.values())
    return f"{proven} of {total} entries proven"


def follow(domain: str, part: Part, negotiation: str, agreement: str) -> Trail:
    """Compute the links of both chains as far as the numbers have no gap."""
    trail = Trail(domain)
    first = next((at for at, line in enumerate(part.chain) if at and line.seq == 1), len(part.chain))
    trail.negotiation, gap = _walk(part.chain[:first], chain.object_id(NEGOTIATION, negotiation))
    trail.agreement, later = _walk(part.chain[first:], chain.object_id(AGREEMENT, agreement))
    trail.gap = (gap and f"negotiation: {gap}") or later
    return trail


def _walk(lines: tuple[Line, ...], of: bytes) -> tuple[list[Shown], str]:
    shown: list[Shown] = []
    end = ChainEnd()
    for line in lines:
        if line.seq != end.seq + 1:
            return shown, f"entry {end.seq + 1} is missing"
        end = chain.extend(end, of, bytes.fromhex(line.commitment))
        shown.append(Shown(line, end.link, _entry(line)))
    return shown, ""


def _entry(line: Line) -> Entry | None:
    """What a line says; what cannot be read is told by check 5."""
    if line.statement is None:
        return None
    try:
        return parse_statement(line.statement.encode(errors="replace"))
    except TrustnodeError:
        return None


def _check_proofs(case: Case, trail: Trail, part: Part) -> int:
    proven = 0
    head = case.checkpoints[trail.domain].head if trail.domain in case.checkpoints else None
    known = {one.line.index: one for one in trail.all}
    for index, proof in part.proofs.items():
        one = known.get(index)
        if one is None and trail.gap:
            continue  # what stands behind a gap cannot be computed; check 5 names the gap
        if one is None or head is None:
            case.find("INVALID", f"a proof of entry {index} of {trail.domain}, which is not in the chain")
            continue
        try:
            verify_inclusion(index, leaf_hash(one.link), proof.path, head)
            proven += 1
        except TrustnodeError as problem:
            case.find("INVALID", f"entry {index} of {trail.domain}: {problem.message}")
    for one in _must_be_proven(trail):
        if one.line.index not in part.proofs:
            case.find("INCOMPLETE", f"entry {one.line.index} of {trail.domain} has no proof")
    return proven


def _must_be_proven(trail: Trail) -> list[Shown]:
    shown = trail.all
    if len(shown) <= ALL_PROVEN_UP_TO:
        return shown
    return [one for one in shown if one in (shown[0], shown[-1]) or (one.entry is not None and one.entry.documents)]


# --- 5 --------------------------------------------------------------------------------------------------------------


def check_chains(case: Case) -> str:
    """5. Commitments open, numbers have no gap, and the chain is as long as its signed head says."""
    for domain, trail in sorted(case.trails.items()):
        if trail.gap:
            case.find("INCOMPLETE", f"chain of {domain}: {trail.gap}")
        for one in trail.negotiation:
            _check_line(case, domain, one, (NEGOTIATION, case.value.negotiation))
        for one in trail.agreement:
            _check_line(case, domain, one, (AGREEMENT, case.value.contract_id))
        _check_order(case, trail)
        _check_join(case, trail)
        _check_head(case, trail)
    lengths = [f"{domain} {len(trail.all)}" for domain, trail in sorted(case.trails.items())]
    return f"{', '.join(lengths)}; " + ("no gap" if not any(t.gap for t in case.trails.values()) else "with a gap")


def _check_line(case: Case, domain: str, one: Shown, of: tuple[str, str]) -> None:
    line = one.line
    if (line.statement is None) != (line.salt is None):
        case.find("INVALID", f"entry {line.index} of {domain} has a salt or a statement alone")
    if line.statement is None or line.salt is None:
        return
    opened = chain.commitment(bytes.fromhex(line.salt), line.statement.encode(errors="replace"))
    if opened.hex() != line.commitment:
        case.find("INVALID", f"entry {line.index} of {domain}: the statement is not the one that was committed to")
    elif one.entry is None:
        case.find("INVALID", f"entry {line.index} of {domain} is no record of a log")
    elif (one.entry.object_kind, one.entry.object) != of:
        case.find("INVALID", f"entry {line.index} of {domain} is about another object")


def _check_order(case: Case, trail: Trail) -> None:
    indexes = [one.line.index for one in trail.all]
    if any(later <= earlier for earlier, later in pairwise(indexes)):
        case.find("INVALID", f"the entries of {trail.domain} do not follow each other in its log")


def _check_join(case: Case, trail: Trail) -> None:
    """The first entry of the agreement names the negotiation and where its chain had got."""
    if not trail.negotiation or not trail.agreement:
        case.find("INCOMPLETE", f"the chain of {trail.domain} does not go from negotiation to agreement")
        return
    first = trail.agreement[0].entry
    if first is None:
        case.remarks.append(f"{trail.domain}: the first entry of the agreement is not shown")
    elif (first.previous_object, first.previous_link) != (case.value.negotiation, trail.negotiation[-1].link.hex()):
        case.find("INCOMPLETE", f"{trail.domain}: the agreement does not follow the negotiation that is shown")


def _check_head(case: Case, trail: Trail) -> None:
    domain = trail.domain
    head = case.contents.parts[domain].head
    if head is None:
        case.find("INCOMPLETE", f"{domain} did not sign how long its chain is")
        return
    verified = case.try_check(head, ChainHead)
    if verified is None:
        return
    value = verified.value
    case.as_of[domain] = value.time
    if value.iss != domain or (value.kind, value.object) != (AGREEMENT, case.value.contract_id):
        case.find("INVALID", f"the chain head of {domain} is of another chain")
        return
    _check_covered(case, domain, value)
    if trail.gap:
        return
    if len(trail.agreement) < value.seq:
        missing = value.seq - len(trail.agreement)
        case.find("INCOMPLETE", f"the chain of {domain} has {value.seq} entries, the last {missing} are left out")
    elif len(trail.agreement) > value.seq or trail.agreement[-1].link.hex() != value.link:
        case.find("INVALID", f"the chain of {domain} is not the one whose head was signed")


def _check_covered(case: Case, domain: str, value: ChainHead) -> None:
    signed = case.checkpoints.get(domain)
    if signed is None:
        return
    told = (value.origin, value.tree_size, value.root)
    if told != (signed.checkpoint.origin, signed.head.size, signed.head.root.hex()):
        case.find("INVALID", f"the chain head of {domain} is of another state of its log")
