"""When our log was sealed: which of its heads the agreed witnesses had cosigned, and what follows where none was.

Decides: the head that seals an entry, how long the log has gone without a quorum, that an agreement which is not
sealed in time is suspended until it is. Leaves to others: asking witnesses (``cosigning``), whom an agreement asks
(``quorums``), the same question to a bundle (``core.evidence``). Source: protocol 1.4, 5; evidence-log 8.

The notes in the store were verified before they were kept; here their lines are only counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from trustnode.app.history import own_origin
from trustnode.app.transition import resume_agreements, suspend_agreements
from trustnode.core import clock
from trustnode.core.access import AccessState
from trustnode.core.contract import Agreement, AgreementState
from trustnode.core.document import decode
from trustnode.core.evidence.entry import parse_statement
from trustnode.core.evidence.note import cosigned_when
from trustnode.core.evidence.quorum import WitnessPolicy, parse_policy
from trustnode.core.evidence.witness import origin_of
from trustnode.core.peering import PeeringState
from trustnode.store.checkpoints import KeptCheckpoint
from trustnode.store.unit import Timer, Tx, View

CAUSE: Final = "UNWITNESSED"
TIMER: Final = "unwitnessed"
LOOK: Final = 256
"""Heads that are looked at for one answer: a unit stays short, and witnesses that answer at all do so at once."""
AGAIN_S: Final = 10.0
"""How often an agreement that was suspended for want of witnesses is looked at again."""


def policy_of(value: Agreement, domain: str) -> WitnessPolicy | None:
    """Who has to cosign the log of a venue by an agreement; None where it says nothing.

    What was agreed for a log that was closed holds for the one that follows it.
    """
    found = (parse_policy(text) for text in value.witness_policies)
    return next((one for one in found if one.covers_log_of(domain)), None)


def has_quorum(policy: WitnessPolicy, kept: KeptCheckpoint) -> bool:
    """Whether the agreed witnesses have cosigned a head of ours."""
    return policy.met_at(policy.by_names(cosigned_when(kept.note))) is not None


def sealing(view: View, policy: WitnessPolicy, index: int) -> KeptCheckpoint | None:
    """The smallest head with a quorum that covers an entry, or the newest where the smallest are out of reach."""
    early = (one for one in view.checkpoints_covering(index, limit=LOOK) if has_quorum(policy, one))
    late = (one for one in view.newest_checkpoints(LOOK) if one.size > index and has_quorum(policy, one))
    return next(early, None) or next(late, None)


def newest_sealed(view: View, policy: WitnessPolicy) -> KeptCheckpoint | None:
    """The newest head with a quorum."""
    return next((one for one in view.newest_checkpoints(LOOK) if has_quorum(policy, one)), None)


def unwitnessed_s(view: View, policy: WitnessPolicy) -> float:
    """For how long heads of ours have been waiting for a quorum, in seconds; 0: the newest has one.

    A peering that was approved since then begins the time anew: before it there was nobody to ask.
    """
    waiting = ""
    for one in view.newest_checkpoints(LOOK):
        if has_quorum(policy, one):
            break
        waiting = one.time
    if not waiting or not policy.asks:
        return 0.0
    since = max(waiting, *_peered(view, policy))
    return max(0.0, (clock.to_ms(view.now) - clock.to_ms(since)) / 1000)


def _peered(view: View, policy: WitnessPolicy) -> Iterable[str]:
    for key in policy.witnesses.values():
        known = view.get(PeeringState, key.name.partition("/")[0])
        yield known.changed_at if known else ""


# --- one agreement --------------------------------------------------------------------------------------------------


def sealed_head(view: View, domain: str, state: AgreementState) -> tuple[bool, KeptCheckpoint | None]:
    """Whether an agreement asks for witnesses of our log, and the head that sealed its ``contract.sign``."""
    document = view.document(state.document)
    policy = policy_of(decode(document, Agreement), domain) if document else None
    if policy is None or not policy.asks:
        return False, None
    first = next(iter(view.evidence.chain("agreement", state.id, after=0, limit=1)), None)
    return True, sealing(view, policy, first.index) if first else None


class Seal(NamedTuple):
    """What an agreement's witnesses have made of one entry of our log, for people."""

    log: str
    size: int = 0
    """Of the head that seals it; 0: none yet."""
    sealed_at: str = ""
    witnesses: tuple[str, ...] = ()


def seal_of_agreement(view: View, domain: str, state: AgreementState) -> Seal | None:
    """How far the signature of an agreement is sealed in our log; None where nobody is asked to."""
    first = next(iter(view.evidence.chain("agreement", state.id, after=0, limit=1)), None)
    return _seal(view, domain, state, first.index if first else None)


def seal_of_receipt(view: View, domain: str, state: AgreementState, access: AccessState) -> Seal | None:
    """How far the receipt of an access is sealed in our log; None where nobody is asked to, or there is none."""
    return _seal(view, domain, state, _index_of(view, access) if access.receipt else None)


def _seal(view: View, domain: str, state: AgreementState, index: int | None) -> Seal | None:
    document = view.document(state.document)
    policy = policy_of(decode(document, Agreement), domain) if document else None
    if policy is None or not policy.asks or index is None:
        return None
    head = sealing(view, policy, index)
    times = policy.by_names(cosigned_when(head.note)) if head else {}
    at = policy.met_at(times)
    if head is None or at is None:
        return Seal(own_origin(view, domain))
    names = sorted(key.name for key in policy.witnesses.values() if key.public in times)
    return Seal(origin_of(head.note), head.size, clock.from_ms(at * 1000), tuple(names))


def _index_of(view: View, access: AccessState) -> int | None:
    """The entry that names a receipt: the chain is in the order of time, so it is found by when the access ended."""
    low, high = 0, view.evidence.end("agreement", access.agreement).seq
    while low < high:
        middle = (low + high) // 2
        found = next(iter(view.evidence.chain("agreement", access.agreement, after=middle, limit=1)))
        if found.statement and parse_statement(found.statement).time >= access.ended_at:
            high = middle
        else:
            low = middle + 1
    entries = view.evidence.chain("agreement", access.agreement, after=low, limit=LOOK)
    named = access.receipt.encode()
    return next((one.index for one in entries if one.statement and named in one.statement), None)


def watch(tx: Tx, value: Agreement, domain: str) -> None:
    """At the provider's node: look at the agreement when its time without witnesses is over."""
    policy = policy_of(value, domain)
    if policy is not None and policy.asks:
        tx.at(clock.shift(value.sign_by, value.max_unwitnessed_s), "agreement", value.contract_id, TIMER)


def look(tx: Tx, timer: Timer) -> None:
    """Suspend an agreement that no witness has seen in time, and let it perform again once one has."""
    state = tx.get(AgreementState, timer.id)
    if state is None or state.state in ("TERMINATING", "TERMINATED"):
        return
    asks, head = sealed_head(tx, state.provider_node, state)
    if not asks or head is not None:
        resume_agreements(tx, [state], CAUSE)
        return
    if state.state in ("PERFORMING", "SUSPENDED"):
        suspend_agreements(tx, [state], CAUSE)
    tx.at(clock.shift(tx.now, AGAIN_S), "agreement", state.id, TIMER)


# --- seals of a bundle ----------------------------------------------------------------------------------------------


def seals(view: View, policy: WitnessPolicy, indexes: Sequence[int], newest: int) -> list[tuple[int, KeptCheckpoint]]:
    """For a chain, the earliest heads that sealed its entries: each with the last entry that it covers.

    Args:
        view: A snapshot.
        policy: Who has to cosign our log.
        indexes: Of the chain's entries, rising.
        newest: Size of the head under which all of them are proven anyway; it needs no seal.
    """
    found: list[tuple[int, KeptCheckpoint]] = []
    at = 0
    while at < len(indexes):
        head = sealing(view, policy, indexes[at])
        if head is None or head.size >= newest:
            break
        last = max(index for index in indexes[at:] if index < head.size)
        found.append((last, head))
        at = indexes.index(last) + 1
    return found
