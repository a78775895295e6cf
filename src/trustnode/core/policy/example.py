"""Example requests that a provider writes beside the terms, decided as the node will decide real ones.

Decides: how the words of an example become the facts of a decision, and that the same compiled policy decides. Leaves
to others: the keys of the file (``sdk.product_text``), planning an example's SQL (the caller), printing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from trustnode import vocabulary
from trustnode.core.policy import compiled, evaluate, grammar, odrl
from trustnode.core.policy.compiled import CompiledPolicy, Decision, Request
from trustnode.core.policy.odrl import Policy
from trustnode.errors import REASONS, error

NOBODY: Final = "spiffe://consumer.example/participant/example"
"""The consumer of an example that names none."""
ALLOW: Final = "allow"
OPERATIONS: Final = ("read", "aggregate")


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One example: what is asked, by whom, when, and what must come out."""

    name: str
    expect: str
    """``allow``, or the reason of the refusal."""
    purpose: str = ""
    who: Sequence[str] = ()
    """As in the terms: ``role:``, ``assurance:``, ``participant:``, ``venue:``, ``space:``."""
    places: Sequence[str] = ()
    """Area of the consumer's node: ``CN``, ``3300``."""
    time: str = ""
    """A day or an instant of the request; empty: now."""
    signed: str = ""
    """When the agreement came into force; empty: with the request, or now where that is earlier."""
    operation: str = ""
    """``read`` or ``aggregate``; empty: what the offer lets through."""
    done: Sequence[str] = ()
    """Duties that evidence shows as done: ``compensate``."""
    overdue: Sequence[str] = ()


def decide(policy: Policy, example: Example, zone: str, now: datetime) -> Decision:
    """Decide an example under an offer as if it were agreed with the one who asks.

    Args:
        policy: The compiled offer.
        example: The example.
        zone: Zone of the product, in which a day or a time without one is meant.
        now: The instant that "now" means, with a zone.

    Raises:
        VOCABULARY_UNKNOWN: a word of the example is none.
        FIELD_FORMAT: a time or a place cannot be read.
    """
    _check_expected(example)
    ready, request = ready_for(policy, example, zone, now)
    return ready.decide(request)


def ready_for(policy: Policy, example: Example, zone: str, now: datetime) -> tuple[CompiledPolicy, Request]:
    """The offer agreed with the one who asks, and the request."""
    consumer = next((who.word for who in map(grammar.parse_who, example.who) if who.kind == "participant"), NOBODY)
    parties = odrl.agreement(policy, target="example", assigner="provider", assignee=consumer)
    ready = compiled.load(parties)
    return ready, _request(example, ready, consumer, zone, now)


def _request(example: Example, ready: CompiledPolicy, consumer: str, zone: str, now: datetime) -> Request:
    asked = _instant("time", example.time, zone) or now
    known = {owed.name for owed in ready.duties}
    for name in (*example.done, *example.overdue):
        if name not in known:
            raise vocabulary.unknown("done", name, known)
    return Request(
        operation=_operation(example.operation, ready),
        purpose=example.purpose,
        now=asked,
        start=_instant("signed", example.signed, zone) or min(asked, now),
        consumer=consumer,
        roles=_words(example, "role"),
        venue=next(iter(_words(example, "venue")), ""),
        spaces=_words(example, "space"),
        areas=_areas(example.places),
        assurance=_words(example, "assurance"),
        fulfilled=frozenset(example.done),
        violated=frozenset(example.overdue),
    )


def _words(example: Example, kind: str) -> frozenset[str]:
    return frozenset(who.word for who in map(grammar.parse_who, example.who) if who.kind == kind)


def _areas(places: Sequence[str]) -> frozenset[str]:
    found: set[str] = set()
    for place in map(grammar.parse_place, places):
        found |= {place} if place.isalpha() else grammar.areas(place)
    return frozenset(found)


def _operation(word: str, ready: CompiledPolicy) -> compiled.Operation:
    if word and word not in OPERATIONS:
        raise vocabulary.unknown("operation", word, OPERATIONS)
    is_aggregate = word == "aggregate" if word else ready.aggregate_only
    return "aggregate" if is_aggregate else "read"


def _instant(field: str, text: str, zone: str) -> datetime | None:
    """An instant; a day is meant at noon, so that it lies in the day that the reader means."""
    if not text:
        return None
    try:
        moment = evaluate.read_moment(text, grammar.zone(zone))
    except evaluate.Unreadable as problem:
        raise error("FIELD_FORMAT", f"{field}: {problem}; write: 2026-12-24", field=field) from None
    return moment.start + timedelta(hours=12) if moment.is_day else moment.start


def _check_expected(example: Example) -> None:
    if example.expect != ALLOW and example.expect not in REASONS:
        raise vocabulary.unknown("expect", example.expect, [ALLOW, *REASONS])


def answer_of(decision: Decision) -> str:
    """``allow``, or the reason: what ``expect`` is compared with."""
    return ALLOW if decision.outcome == "ALLOW" else decision.reason
