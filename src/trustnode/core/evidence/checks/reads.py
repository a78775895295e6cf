"""Checks 8 to 13: every read was asked for, decided, delivered, receipted and counted inside the agreement.

Decides: what the chain of the provider's node, the chain of the carrier and the signed documents must agree on.
Leaves to others: whether those chains and keys are genuine (checks 2 to 5).
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final, TypeVar

from trustnode.core import clock
from trustnode.core.access import AccessRequest, Named, Receipt, ReceiptAck, reads_due
from trustnode.core.contract import Delegation, at_least
from trustnode.core.document import SKEW_S, Statement, Verified, decode, name_of
from trustnode.core.evidence.checks.case import Access, Case, Shown, Trail
from trustnode.core.evidence.entry import Entry
from trustnode.core.policy import compiled, grammar, odrl
from trustnode.core.policy.counters import Counter

S = TypeVar("S", bound=Statement)
ENDS: Final = ("delivery.complete", "delivery.abort")


# --- 8 --------------------------------------------------------------------------------------------------------------


def check_decisions(case: Case) -> str:
    """8. Every decision has its request: signed in the grade it states, in time, by the consumer of the agreement."""
    requests = _checked(case, AccessRequest)
    delegations = _checked(case, Delegation)
    used: dict[str, int] = defaultdict(int)
    for one, entry in case.provider_trail.entries("access.decide"):
        request = _request_of(case, entry, requests)
        if request is None:
            continue
        _note_access(case, one, entry, request)
        _check_request(case, entry, request.value)
        if request.value.request_proof == "DELEGATED":
            _check_delegation(case, entry, request.value, delegations, used)
        case.grades[request.value.request_proof] = case.grades.get(request.value.request_proof, 0) + 1
    refused = case.provider_trail.entries("access.deny")
    case.counted["refusals"] = sum(1 if entry.amount is None else entry.amount for _, entry in refused)
    grades = ", ".join(f"{count} {grade}" for grade, count in sorted(case.grades.items()))
    return f"{len(case.accesses)} decisions" + (f": {grades}" if grades else "") + case.reserve


def _checked(case: Case, kind: type[S]) -> dict[str, Verified[S]]:
    found = ((digest, case.try_check(document, kind)) for digest, document in case.of_type(kind))
    return {digest: verified for digest, verified in found if verified is not None}


def _request_of(
    case: Case, entry: Entry, requests: dict[str, Verified[AccessRequest]]
) -> Verified[AccessRequest] | None:
    named = [requests[digest] for digest in entry.documents if digest in requests]
    if len(named) != 1:
        if all(digest in case.contents.documents for digest in entry.documents):
            case.find("INVALID", f"the decision on {entry.access_id} names no request that stands")
        return None
    request = named[0].value
    if entry.decision != "ALLOW" or _id_here(case, request) != entry.access_id or request.id in case.accesses:
        case.find("INVALID", f"the decision on {entry.access_id} is not one decision to allow this request")
        return None
    return named[0]


def _note_access(case: Case, one: Shown, entry: Entry, request: Verified[AccessRequest]) -> None:
    case.accesses[request.value.id] = Access(
        id=request.value.id,
        entry_id=entry.access_id or "",
        decided=one,
        time=entry.time,
        request=request.digest,
        agreements=request.value.agreements,
        consumer=request.value.consumer,
        plan_commitment=entry.plan_commitment or "",
        reserved_rows=entry.amount if entry.unit == "rows" else None,
        grade=request.value.request_proof,
        resumes=request.value.resumes,
    )
    if request.value.resumes:
        case.going_on[request.value.resumes.access].append(case.accesses[request.value.id])


def _check_request(case: Case, entry: Entry, request: AccessRequest) -> None:
    value = case.value
    wrong = _failing(
        {
            "agreement": _is_of_this(case, request),
            "consumer": request.consumer == value.consumer.participant,
            "nodes": (request.home, request.provider) == (value.consumer_node, value.provider_node),
            "query": entry.query_commitment in (None, request.query_commitment),
            "grade": at_least(request.request_proof, value.request_proof_min),
            "time": _in_time(entry.time, request),
            "custody of the key": request.request_proof != "SIGNED" or request.consumer not in case.custody,
        }
    )
    if wrong:
        case.find("INVALID", f"access {request.id} was decided for a request that does not fit: {wrong}")


def _is_of_this(case: Case, one: AccessRequest | Receipt) -> bool:
    return Named(case.value.contract_id, case.contents.agreement) in one.agreements


def _others(case: Case, agreements: Iterable[Named]) -> list[Named]:
    """What was read under besides the agreement of this bundle."""
    return [one for one in agreements if one.agreement != case.value.contract_id]


def _id_here(case: Case, request: AccessRequest) -> str:
    """The access in the chain of this agreement: an id of its own where it is one of those that were joined."""
    return request.id_under(case.value.contract_id)


def _failing(facts: Mapping[str, bool]) -> str:
    """Names of what does not hold; empty where all does."""
    return ", ".join(name for name, holds in facts.items() if not holds)


def _in_time(decided: str, request: AccessRequest) -> bool:
    begun = clock.shift(request.time, -SKEW_S) <= decided
    return begun and request.expires is not None and decided <= clock.shift(request.expires, SKEW_S)


def _check_delegation(
    case: Case, entry: Entry, request: AccessRequest, delegations: dict[str, Verified[Delegation]], used: dict[str, int]
) -> None:
    digest = request.delegation_sha256 or ""
    given = delegations.get(digest)
    if given is None:
        if digest not in case.contents.documents:
            case.find("INCOMPLETE", f"the delegation behind access {request.id} is left out")
        return
    used[digest] += 1
    value = given.value
    covers = (
        value.iss == request.consumer
        and value.home == request.home
        and {(one.agreement, one.agreement_sha256) for one in request.agreements} <= set(value.agreements)
        and value.expires is not None
        and entry.time <= clock.shift(value.expires, SKEW_S)
        and used[digest] <= value.max_accesses
    )
    if not covers:
        case.find("INVALID", f"the delegation does not cover access {request.id}")


# --- 9 --------------------------------------------------------------------------------------------------------------


def check_receipts(case: Case) -> str:
    """9. Every delivery has a receipt that points at its decision and says what the entry says."""
    receipts = _checked(case, Receipt)
    links = {(one.line.seq, one.link.hex()): one for one in case.provider_trail.agreement}
    rows = fen = count = 0
    for _, entry in case.provider_trail.entries(*ENDS):
        receipt = _receipt_of(case, entry, receipts)
        if receipt is None:
            continue
        _check_receipt(case, entry, receipt, links)
        share = receipt.value.under(case.value.contract_id)
        count, rows, fen = count + 1, rows + receipt.value.rows, fen + (share.cost_fen if share else 0)
    case.counted |= {"receipts": count, "rows": rows, "cost_fen": fen}
    return f"{count} receipts: {rows:,} rows"


def _receipt_of(case: Case, entry: Entry, receipts: dict[str, Verified[Receipt]]) -> Verified[Receipt] | None:
    named = [receipts[digest] for digest in entry.documents if digest in receipts]
    if len(named) > 1:
        case.find("INVALID", f"the delivery of {entry.access_id} has two receipts")
    if named:
        return named[0]
    if case.named(entry, Receipt):
        return None  # it is here and does not stand; that is told
    if entry.type == "delivery.complete" and not any(d not in case.contents.documents for d in entry.documents):
        case.find("INCOMPLETE", f"the delivery of {entry.access_id} has no receipt")
    elif entry.type == "delivery.abort" and not entry.documents:
        case.remarks.append(f"access {entry.access_id} ended without a receipt: the node stopped in between")
    return None


def _check_receipt(case: Case, entry: Entry, found: Verified[Receipt], links: dict[tuple[int, str], Shown]) -> None:
    receipt, value = found.value, case.value
    share = receipt.under(value.contract_id)
    if share is None:
        case.find("INVALID", f"the receipt of {receipt.access} is of other agreements than this one")
        return
    access = case.accesses.get(receipt.access)
    decided = links.get((share.decision.seq, share.decision.link))
    if access is None and decided is not None and decided.entry is None:
        case.bare.append(receipt)
        return
    if access is None and decided is not None and decided.entry is not None and decided.entry.type == "access.decide":
        return  # check 8 has said what is wrong with it
    if access is None or access.decided is not decided or entry.access_id != access.entry_id:
        case.find("INVALID", f"the receipt of {receipt.access} points at no decision of that access in the chain")
        return
    ended = "COMPLETE" if entry.type == "delivery.complete" else "ABORTED"
    wrong = _failing(
        {
            "issuer": receipt.iss == value.provider_node,
            "request": receipt.request_sha256 == access.request,
            "agreement": _is_of_this(case, receipt),
            "joined agreements": _others(case, receipt.agreements) == _others(case, access.agreements),
            "policy": share.policy_sha256 == odrl.digest(value.policy),
            "plan": receipt.plan_commitment == access.plan_commitment,
            "outcome": receipt.outcome == ended,
            "rows": entry.unit != "rows" or entry.amount == receipt.rows,
            "stream": entry.stream_commitment in (None, receipt.stream_commitment),
            "reservation": access.reserved_rows is None or receipt.rows <= access.reserved_rows,
            "cost": share.cost_fen in {value.price.cost_fen(rows=receipt.rows, reads=n) for n in _reads(case, access)},
            "meter": {m.amount for m in receipt.meter if m.unit == "ROW"} <= {receipt.rows},
            "time": receipt.started <= receipt.ended <= clock.shift(entry.time, SKEW_S),
            "second receipt": not access.receipt,
        }
    )
    if wrong:
        case.find("INVALID", f"the receipt of {receipt.access} does not fit its entry or agreement: {wrong}")
    access.receipt, access.frames, access.rows, access.bytes = (
        found.digest, receipt.frames, receipt.rows, receipt.bytes,
    )  # fmt: skip
    access.outcome, access.cost_fen, access.receipted = receipt.outcome, share.cost_fen, entry.time


# --- 10 -------------------------------------------------------------------------------------------------------------


def check_acknowledgements(case: Case) -> str:
    """10. Every receipt is acknowledged, or listed as not; an acknowledgement says what the receipt says."""
    receipts = {one.access: one for one in (decode(document, Receipt) for _, document in case.of_type(Receipt))}
    for digest, document in case.of_type(ReceiptAck):
        ack = case.try_check(document, ReceiptAck)
        if ack is not None:
            _check_ack(case, digest, ack.value, receipts)
    got = sum(access.acknowledged for access in case.accesses.values() if access.receipt)
    case.counted["acknowledged"] = got
    return f"{got} of {case.counted.get('receipts', 0)} receipts acknowledged"


def _check_ack(case: Case, digest: str, ack: ReceiptAck, receipts: dict[str, Receipt]) -> None:
    value = case.value
    if ack.iss != (value.consumer_node if ack.by == "CARRIER" else value.consumer.participant):
        case.find("INVALID", f"acknowledgement {digest[:12]} is of nobody who could have got these data")
        return
    for item in ack.items:
        access, receipt = case.accesses.get(item.access), receipts.get(item.access)
        if not item.final or access is None or receipt is None or not access.receipt:
            continue
        if item.receipt_sha256 not in (None, access.receipt):
            case.find("INVALID", f"acknowledgement {digest[:12]} is of another receipt for access {item.access}")
            continue
        same = (item.frames, item.rows, item.stream_commitment) == (
            receipt.frames, receipt.rows, receipt.stream_commitment,
        )  # fmt: skip
        if (item.verdict == "EQUAL") != same:
            case.find("INVALID", f"acknowledgement {digest[:12]} says {item.verdict} of access {item.access}, wrongly")
        elif item.verdict == "EQUAL":
            access.acknowledged = True
        else:
            case.remarks.append(f"access {item.access} is disputed: {ack.by} got {item.rows} of {receipt.rows} rows")


# --- 11 -------------------------------------------------------------------------------------------------------------


def check_both_sides(case: Case) -> str:
    """11. Requests, receipts and acknowledgements named in the carrier's chain are those named in the provider's."""
    theirs, ours = case.consumer_trail, case.provider_trail
    _check_unlogged(case)
    if theirs is None:
        return "one venue, one log: nothing to compare with"
    if theirs.domain not in case.trails or ours.domain not in case.trails:
        return "one side is not in the file"
    _compare_accesses(case, ours, theirs)
    for kind in (Receipt, ReceiptAck):
        here, there = (_named(case, trail, kind) for trail in (ours, theirs))
        for digest in sorted(here ^ there):
            one, other = (ours, theirs) if digest in here else (theirs, ours)
            what = name_of(kind)
            case.find("INCOMPLETE", f"{what} {str(digest)[:12]} is in the log of {one.domain}, not of {other.domain}")
    return f"{ours.domain} and {theirs.domain} compared"


def _check_unlogged(case: Case) -> None:
    """A request, receipt or answer that is here and in no log was left out of all of them."""
    shown = [one for trail in case.trails.values() for one in trail.all]
    if any(one.entry is None for one in shown):
        return  # an entry that is not shown may be the one that names it
    named = {digest for one in shown if one.entry is not None for digest in one.entry.documents}
    for _, document in case.of_type(AccessRequest, Receipt, ReceiptAck):
        if document.digest not in named:
            case.find("INCOMPLETE", f"{document.name} {document.digest[:12]} is here and in no log")


def _named(case: Case, trail: Trail, kind: type[Statement]) -> set[str]:
    entries = (one.entry for one in trail.agreement if one.entry is not None)
    return {digest for entry in entries for digest, _ in case.named(entry, kind)}


def _compare_accesses(case: Case, ours: Trail, theirs: Trail) -> None:
    """A carrier's request that the provider never decided must have ended at the carrier, by refusal or abort."""
    decided = _accesses(ours, "access.decide")
    asked = _accesses(theirs, "access.request")
    ended = _accesses(theirs, "access.deny", "delivery.abort")
    refused = _accesses(ours, "access.deny")
    for access in sorted(decided - asked):
        case.find(
            "INCOMPLETE", f"access {access} is decided in the log of {ours.domain}, not asked in {theirs.domain}'s"
        )
    for access in sorted(asked - decided - ended - refused):
        case.find(
            "INCOMPLETE", f"access {access} is asked in the log of {theirs.domain}, not decided in {ours.domain}'s"
        )


def _accesses(trail: Trail, *types: str) -> set[str]:
    return {entry.access_id for _, entry in trail.entries(*types) if entry.access_id is not None}


# --- 12 -------------------------------------------------------------------------------------------------------------


def check_limits(case: Case) -> str:
    """12. What was counted never passes what the policy allows; the counters are computed anew from decisions."""
    counters = compiled.load(case.value.policy).counters
    for counter in counters:
        if counter.unit == "running":
            _check_running(case, counter)
            continue
        totals: dict[str, int] = defaultdict(int)
        for access in case.accesses.values():
            totals[_window(counter.window, access.time, case.zone)] += _amount(case, counter.unit, access)
        for receipt in case.bare:  # a decision that is withheld counts by what was delivered for it
            told = {"count": 1, "rows": receipt.rows, "bytes": receipt.bytes}
            totals[_window(counter.window, receipt.started, case.zone)] += told[counter.unit]
        for window, total in totals.items():
            if total > counter.limit:
                at = f" in {window}" if window else ""
                case.find("INVALID", f"{total} counted{at}, {counter.words} agreed")
    kept = ", ".join(counter.words for counter in counters)
    return f"kept: {kept}{case.reserve}" if kept else "no limits agreed"


def _check_running(case: Case, counter: Counter) -> None:
    """Reads that were decided and had not ended, at each entry of the provider's chain."""
    running: set[str | None] = set()
    for one, entry in case.provider_trail.entries("access.decide", "delivery.complete", "delivery.abort"):
        (running.add if entry.type == "access.decide" else running.discard)(entry.access_id)
        if len(running) > counter.limit:
            case.find("INVALID", f"{len(running)} reads ran at entry {one.line.index}, {counter.words} agreed")
            return


def _amount(case: Case, unit: str, access: Access) -> int:
    return {"count": min(_reads(case, access)), "rows": access.rows, "bytes": access.bytes}[unit]


def _reads(case: Case, access: Access) -> set[int]:
    """How many reads it counts as: none where it is the first to go on exactly behind another.

    Either where that is not shown, or where one before it that was handed nothing may have run still.
    """
    if access.resumes is None:
        return {1}
    before = case.accesses.get(access.resumes.access)
    if before is None or not before.receipt:
        return {0, 1}
    together = case.going_on[access.resumes.access]
    others = list(itertools.takewhile(lambda one: one is not access, together))
    is_complete, is_taken = before.outcome == "COMPLETE", any(one.rows for one in others)
    if reads_due(access.resumes, before.frames, is_complete=is_complete, is_taken=is_taken):
        return {1}
    return {0, 1} if others or case.reserve else {0}


def _window(window: str, time: str, zone: str) -> str:
    """Name of the window that an instant falls into; empty for the whole agreement."""
    local = clock.moment(time).astimezone(grammar.zone(zone))
    return "" if window == "none" else _FORMATS[window](local)


def _week(local: datetime) -> str:
    year, week, _ = local.isocalendar()
    return f"{year}-W{week:02d}"


_FORMATS: Final[Mapping[str, Callable[[datetime], str]]] = {
    "minute": lambda local: f"{local:%Y-%m-%dT%H:%M}",
    "hour": lambda local: f"{local:%Y-%m-%dT%H}",
    "day": lambda local: f"{local:%Y-%m-%d}",
    "week": _week,
    "month": lambda local: f"{local:%Y-%m}",
    "year": lambda local: f"{local:%Y}",
}


# --- 13 -------------------------------------------------------------------------------------------------------------


def check_stops(case: Case) -> str:
    """13. No decision stands between a stop and its lift in the provider's chain."""
    states = {"contract": "", "grant": ""}
    stops = 0
    hidden: set[str] = set()
    for one in case.provider_trail.agreement:
        entry = one.entry
        if entry is None:
            # it may have been a lift of anything but a suspension, whose lift is never erased
            states = {family: state if state == "SUSPENDED" else "" for family, state in states.items()}
            hidden = {family for family, state in states.items() if state}
            continue
        family = entry.type.partition(".")[0]
        if family in states and entry.to_state is not None:
            stops += entry.to_state in ("SUSPENDED", "REVOKED", "TERMINATING")
            states[family] = entry.to_state
            hidden.discard(family)
        if entry.type == "access.decide" and _stopped(states.values()):
            # whoever withholds a lift proves nothing by it
            said = "and no lift is shown" if hidden else f"the agreement was stopped: {states}"
            message = f"access {entry.access_id} was decided while stopped: {said}"
            case.find("INCOMPLETE" if hidden else "INVALID", message)
    return f"{stops} stops, no decision inside one{case.reserve}"


def _stopped(states: Iterable[str]) -> bool:
    return any(state and state not in ("PERFORMING", "ACTIVE", "EXHAUSTED") for state in states)
