"""Checks 4 and 5: the logs hold these entries, and the chains have no gap.

Decides: what a log says about an agreement up to its signed head, and when each entry was sealed. Leaves to others:
who signed and cosigned that head (``witnesses``), what the entries mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

from trustnode.core.evidence import chain
from trustnode.core.evidence.bundle import ALL_PROVEN_UP_TO, Line, Part
from trustnode.core.evidence.chain import ChainEnd
from trustnode.core.evidence.checks.case import Case, Cosigned, Shown, Trail
from trustnode.core.evidence.checks.witnesses import asked_logs
from trustnode.core.evidence.entry import Entry, parse_statement
from trustnode.core.evidence.head import ChainHead
from trustnode.core.evidence.sealing import earliest_behind, sealed_text
from trustnode.core.evidence.tree import leaf_hash, verify_inclusion
from trustnode.core.identity import log_number, log_origin
from trustnode.errors import TrustnodeError

AGREEMENT: Final = "agreement"
NEGOTIATION: Final = "negotiation"
SUCCEED: Final = "log.succeed"
PUBLISHING: Final = frozenset({"identity.register", "identity.update", SUCCEED})
"""Entries by which a venue makes its own card or the key of a participant known."""


# --- 4 --------------------------------------------------------------------------------------------------------------


def check_inclusion(case: Case) -> str:
    """4. Each entry's link is a leaf of its log's tree."""
    proven = 0
    for domain, part in sorted(case.contents.parts.items()):
        trail = case.trails[domain] = follow(domain, part, case.value.negotiation, case.value.contract_id)
        proven += _check_proofs(case, trail, part)
        links = {one.line.index: one.link for one in trail.all} | _check_published(case, domain, part)
        _check_seals(case, trail, part, links)
        _note_published(case, domain, part)
        _check_succession(case, domain, part)
    case.counted["proven"] = proven
    total = sum(len(part.chain) for part in case.contents.parts.values())
    return f"{proven} of {total} entries proven"


def follow(domain: str, part: Part, negotiation: str, agreement: str) -> Trail:
    """Compute the links of both chains as far as the numbers have no gap."""
    trail = Trail(domain)
    first = next((at for at, line in enumerate(part.chain) if at and line.seq == 1), len(part.chain))
    trail.negotiation, gap, doubled = _walk(part.chain[:first], chain.object_id(NEGOTIATION, negotiation))
    trail.agreement, later, more = _walk(part.chain[first:], chain.object_id(AGREEMENT, agreement))
    trail.gap = (gap and f"negotiation: {gap}") or later
    trail.doubled = (*doubled, *more)
    return trail


def _walk(lines: tuple[Line, ...], of: bytes) -> tuple[list[Shown], str, list[Shown]]:
    """Entries up to a gap, what is missing there, and entries under a number that was taken."""
    shown: list[Shown] = []
    doubled: list[Shown] = []
    before = end = ChainEnd()
    for line in lines:
        committed = bytes.fromhex(line.commitment)
        if shown and line.seq == end.seq:
            doubled.append(Shown(line, chain.extend(before, of, committed).link, _entry(line)))
            continue
        if line.seq != end.seq + 1:
            return shown, f"entry {end.seq + 1} is missing", doubled
        before, end = end, chain.extend(end, of, committed)
        shown.append(Shown(line, end.link, _entry(line)))
    return shown, "", doubled


def _entry(line: Line) -> Entry | None:
    """What a line says; what cannot be read is told by check 5."""
    return _read(line.statement) if line.statement is not None else None


def _read(statement: str) -> Entry | None:
    try:
        return parse_statement(statement.encode(errors="replace"))
    except TrustnodeError:
        return None


def _check_proofs(case: Case, trail: Trail, part: Part) -> int:
    proven = 0
    head = case.checkpoints[trail.domain].head if trail.domain in case.checkpoints else None
    known = {one.line.index: one for one in (*trail.all, *trail.doubled)}
    published = {one.index for one in part.published}
    for index, proof in part.proofs.items():
        one = known.get(index)
        if index in published or (one is None and trail.gap):
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


def _check_seals(case: Case, trail: Trail, part: Part, links: Mapping[int, bytes]) -> None:
    """Each seal holds its entry; one that does not is worth nothing."""
    held = case.seals.get(trail.domain, {})
    for index, point in sorted(held.items()):
        link = links.get(index)
        if link is None:
            if not trail.gap:
                case.find("INVALID", f"a seal of entry {index} of {trail.domain}, which is not in the chain")
            continue
        try:
            verify_inclusion(index, leaf_hash(link), part.seals[index].path, point.head)
            case.sealed.entries[trail.domain, index] = _quorum_time(case, trail.domain, point)
        except TrustnodeError as problem:
            case.find("INVALID", f"seal of entry {index} of {trail.domain}: {problem.message}")


def _quorum_time(case: Case, domain: str, point: Cosigned) -> str:
    policy = case.policy(domain)
    seconds = policy.met_at(point.under(policy)) if policy else None
    return sealed_text(seconds) if seconds is not None else ""


def _check_published(case: Case, domain: str, part: Part) -> dict[int, bytes]:
    """Entries that published cards and keys: leaves of the same tree; what they say names the documents.

    Returns:
        Their links by index.
    """
    links: dict[int, bytes] = {}
    head = case.checkpoints[domain].head if domain in case.checkpoints else None
    for one in part.published:
        of = chain.object_id(one.object_kind, one.object)
        committed = chain.commitment(bytes.fromhex(one.salt), one.statement.encode(errors="replace"))
        link = chain.link(of, one.seq, bytes.fromhex(one.previous), committed)
        proof, entry = part.proofs.get(one.index), _read(one.statement)
        if head is None or proof is None or entry is None or entry.type not in PUBLISHING:
            case.find("INVALID", f"entry {one.index} of {domain} does not show when a key was published")
            continue
        verify_inclusion(one.index, leaf_hash(link), proof.path, head)
        links[one.index] = link
        for digest in entry.documents:
            case.published.setdefault((domain, digest), one.index)
    return links


def _note_published(case: Case, domain: str, part: Part) -> None:
    """When a card or key document was sealed with the entry that published it."""
    point = case.checkpoints.get(domain)
    newest = _quorum_time(case, domain, point) if point else ""
    for one in part.published:
        entry, time = _read(one.statement), case.sealed.entries.get((domain, one.index), newest)
        for digest in entry.documents if entry is not None and time else ():
            case.sealed.published[digest] = min(case.sealed.published.get(digest, time), time)


def _check_succession(case: Case, domain: str, part: Part) -> None:
    """Witnesses that were agreed for a log that was closed count for the one that follows it, where both say so.

    The card that opens the next log is signed by the roots; its first entry names the closed log, how far that was
    cosigned, and by its own place how much of it is still there.
    """
    point = case.checkpoints.get(domain)
    if point is None:
        return
    shown = {entry.previous_object: (one.index, entry) for one in part.published
             if (entry := _read(one.statement)) is not None and entry.type == SUCCEED}  # fmt: skip
    for number in range(min(asked_logs(case, domain), default=point.log), point.log):
        held, entry = shown.get(log_origin(domain, number), (0, None))
        opens = {card.digest for card in case.cards.get(domain, ()) if log_number(card.value) == number + 1}
        if entry is None or not opens & set(entry.documents):
            case.find("UNWITNESSED", f"how log {number + 1} of {domain} follows log {number} is not shown")
            continue
        closed = entry.amount or 0
        lost = f"{closed - held:,} entries are lost" if closed > held else "how many entries are lost nobody knows"
        case.remarks.append(
            f"log {number + 1} of {domain} follows log {number}, closed at {closed:,}; it holds {held:,}: {lost}"
        )


def _must_be_proven(trail: Trail) -> list[Shown]:
    shown = trail.all
    if len(shown) <= ALL_PROVEN_UP_TO:
        return shown
    return [one for one in shown if one in (shown[0], shown[-1]) or (one.entry is not None and one.entry.documents)]


# --- 5 --------------------------------------------------------------------------------------------------------------


def check_chains(case: Case) -> str:
    """5. Commitments open, numbers have no gap, and the chain is as long as its signed head says."""
    for domain, trail in sorted(case.trails.items()):
        for one in trail.doubled:
            case.find("INVALID", f"the log of {domain} has two entries number {one.line.seq}: it tells two stories")
        if trail.gap:
            case.find("INCOMPLETE", f"chain of {domain}: {trail.gap}")
        for one in trail.negotiation:
            _check_line(case, domain, one, (NEGOTIATION, case.value.negotiation))
        for one in trail.agreement:
            _check_line(case, domain, one, (AGREEMENT, case.value.contract_id))
        _check_order(case, trail)
        _check_join(case, trail)
        _check_head(case, trail)
        _seal(case, trail)
    lengths = [f"{domain} {len(trail.all)}" for domain, trail in sorted(case.trails.items())]
    return f"{', '.join(lengths)}; " + ("no gap" if not any(t.gap for t in case.trails.values()) else "with a gap")


def _seal(case: Case, trail: Trail) -> None:
    """When each entry, and each document that one names, was sealed (protocol 1.4)."""
    point = case.checkpoints.get(trail.domain)
    newest = _quorum_time(case, trail.domain, point) if point else ""
    own = [case.sealed.entries.get((trail.domain, one.line.index), newest) for one in trail.all]
    for one, time in zip(trail.all, earliest_behind(own), strict=True):
        case.sealed.entries[trail.domain, one.line.index] = time
        for digest in one.entry.documents if one.entry else ():
            case.sealed.indexes.setdefault((trail.domain, digest), one.line.index)
            if time:
                known = case.sealed.documents.get(digest, time)
                case.sealed.documents[digest] = min(known, time)


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
    if not case.stands(domain, "evidence", verified.keys):
        # nothing seals a chain head: a thief writes any time into it, and leaves out what he likes
        case.find("INVALID", f"the chain head of {domain} is signed by a key that was revoked or dropped by its card")
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
    point = case.checkpoints.get(domain)
    if point is None:
        return
    signed = point.signed
    told = (value.origin, value.tree_size, value.root)
    if told != (signed.checkpoint.origin, signed.head.size, signed.head.root.hex()):
        case.find("INVALID", f"the chain head of {domain} is of another state of its log")
