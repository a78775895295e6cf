"""Explaining a read before it is made: advisory, nothing is reserved, nothing is logged, no data leave.

Decides: what a query would deliver under an agreement, or under an offer before any contract, and what it would cost.
Rows are counted for a plain reading of everything only: a count under a condition of the asker's own is an answer about
the data, unlogged and unpaid, and enough of them spell out every value.
Leaves to others: the same checks when it counts (``access``), the words of terms (``core.policy.explain``).
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from trustnode.app import catalog, quorums, reading
from trustnode.app.access import Asker, Part, Prepared, open_session, policy_request, prepared_product
from trustnode.app.agreement import parties_only
from trustnode.app.budget import Ledger, ledger_of
from trustnode.app.duties import NOTHING_SAID, Standing, standing
from trustnode.app.quota import Reservation, reservations, used_up
from trustnode.app.venue import Sender, Venue
from trustnode.core.access import Query
from trustnode.core.contract import Agreement, AgreementState, Offer, Price
from trustnode.core.document import Document, decode
from trustnode.core.participant import domain_of
from trustnode.core.policy import explain as words
from trustnode.core.policy import odrl
from trustnode.core.policy.privacy import window_words
from trustnode.core.policy.terms import Terms
from trustnode.engine.pool import Session
from trustnode.errors import TrustnodeError, error
from trustnode.store.unit import View

_NAME: Final = r'(?:[a-z_]\w*|"[^"]+")'
_PLAIN: Final = re.compile(
    rf'\s*select\s+(?:\*|{_NAME}(?:\s*,\s*{_NAME})*)\s+from\s+(?:(?P<table>[a-z_]\w*)|"(?P<quoted>[^"]+)")\s*;?\s*',
    re.ASCII | re.IGNORECASE,
)


QUESTIONS: Final = "questions"
"""Unit of the counter that shows a privacy budget."""


class ShownColumn(msgspec.Struct, frozen=True):
    """A column of the result."""

    name: str
    type: str
    unit: str = ""
    mask: str = ""
    description: str = ""


class ShownCounter(msgspec.Struct, frozen=True):
    """A limit and how much of it is used."""

    text: str
    unit: str
    used: int
    limit: int
    window_ends: str = ""


class ShownTerm(msgspec.Struct, frozen=True):
    """A line of the terms, in words, with who keeps it."""

    key: str
    text: str
    text_zh: str
    keeping: str
    added_by: str = ""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What a query would deliver and why."""

    allowed: bool
    reason: str = ""
    message: str = ""
    next_step: str = ""
    columns: tuple[ShownColumn, ...] = ()
    columns_total: int = 0
    rows_estimate: int | None = None
    rows_total: int | None = None
    price: str = ""
    price_fen: int | None = None
    counters: tuple[ShownCounter, ...] = ()
    terms: tuple[ShownTerm, ...] = ()


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be explained: a policy on one of our products, for one consumer."""

    policy: odrl.Policy
    product: str
    price: Price
    consumer: str
    terms: str = ""
    agreement: Agreement | None = None


async def explain(venue: Venue, subject: Subject, asker: Asker, purpose: str, query: Query) -> Explanation:
    """Explain a query on a product of ours.

    Raises:
        TrustnodeError: NOT_REGISTERED, SOURCE_UNCONFIRMED, BUSY; a refusal of the query itself is part of the answer.
    """
    basis = await basis_of(venue, subject)
    try:
        return await _planned(venue, subject, asker, purpose, query, basis)
    except TrustnodeError as refusal:
        return refused(basis, refusal)


def refused(basis: Explanation, refusal: TrustnodeError) -> Explanation:
    """What is told of a query that would be refused; what has nothing to do with the query is raised again."""
    if refusal.reason in ("BUSY", "INTERNAL", "EVIDENCE_UNAVAILABLE"):
        raise refusal
    return msgspec.structs.replace(basis, reason=refusal.reason, message=refusal.message, next_step=refusal.next_step)


async def basis_of(venue: Venue, subject: Subject) -> Explanation:
    """What holds for every query on a product: its limits, price and terms."""
    ready = venue.policies.load(subject.policy)
    prepared = await venue.store.read(lambda view: prepared_product(view, subject.product))
    ledger = _ledger(venue, subject, prepared)
    return Explanation(
        allowed=False,
        columns_total=len(prepared.registration.tables[0].columns),
        rows_total=prepared.registration.tables[0].rows,
        price=str(subject.price),
        counters=await venue.store.read(
            lambda view: (*_counters(view, ready.counters, subject, prepared), *_budget(view, ledger))
        ),
        terms=(
            *shown_terms(subject.terms, str(subject.price), prepared.registration.level),
            *_witnesses(subject.agreement),
        ),
    )


async def _planned(
    venue: Venue, subject: Subject, asker: Asker, purpose: str, query: Query, basis: Explanation
) -> Explanation:
    ready = venue.policies.load(subject.policy)
    prepared = await venue.store.read(lambda view: prepared_product(view, subject.product))
    operation = "aggregate" if ready.aggregate_only else "read"
    await check_allowed(venue, subject, asker, purpose, operation)
    agreement = subject.agreement.contract_id if subject.agreement else f"explain/{subject.product}/{ready.digest}"
    part = Part(subject.policy, prepared, attributes(venue, asker), agreement)
    session = await open_session(venue, part)
    table = prepared.registration.tables[0]
    sql = query.sql.strip() or f"select * from {table.name}"  # noqa: S608 (a name that the registration checked)
    plan = await session.plan(sql, query.parameters)
    masks = masks_of(venue, part)
    cost = await _cost(venue, _ledger(venue, subject, prepared), session.data_version, plan.sql)
    rows = None if ready.aggregate_only or not is_plain(sql, table.name) else await _count(session, table.name)
    return msgspec.structs.replace(
        basis,
        allowed=True,
        counters=_priced(basis.counters, cost),
        columns=tuple(ShownColumn(c.name, c.type, c.unit, masks.get(c.name, ""), c.description) for c in plan.columns),
        rows_estimate=rows,
        price_fen=None if rows is None and subject.price.unit == "ROW" else subject.price.cost_fen(rows=rows or 0),
    )


async def check_allowed(
    venue: Venue, subject: Subject, asker: Asker, purpose: str, operation: str, now: str = ""
) -> None:
    """Ask the policy of a subject, at an instant.

    Raises:
        TrustnodeError: Its refusal.
    """
    duties = await _duties_of(venue, subject)
    request = policy_request(venue, purpose, operation, subject.agreement, asker, now, duties)
    decision = venue.policies.load(subject.policy).decide(request)
    if decision.outcome != "ALLOW":
        raise decision.refusal()


async def _duties_of(venue: Venue, subject: Subject) -> Standing:
    """How the duties of the subject's agreement stand; before there is one, nothing is done."""
    agreement, ready = subject.agreement, venue.policies.load(subject.policy)
    if agreement is None:
        return NOTHING_SAID
    return await venue.store.read(lambda view: standing(view, agreement.contract_id, ready))


def attributes(venue: Venue, asker: Asker) -> dict[str, str]:
    """What the rows that somebody gets may depend on: its verified attributes."""
    card = venue.keyring.cards.get(asker.home)
    return {"consumer_id": asker.participant, "consumer_area": card.value.area if card else ""}


def masks_of(venue: Venue, part: Part) -> dict[str, str]:
    """Column -> its mask in words."""
    table = part.prepared.registration.tables[0]
    governed = venue.policies.load(part.policy).governed(table.columns, table=table.name, **part.attributes)
    masks = [mask for one in governed.tables for mask in one.masks]
    return {mask.column: f"{mask.method} {mask.parameter}".strip() for mask in masks}


def _ledger(venue: Venue, subject: Subject, prepared: Prepared) -> Ledger | None:
    """Where questions of the subject's consumer are booked; None where answers are exact."""
    ready, asker = venue.policies.load(subject.policy), asker_of(venue, subject.consumer)
    return ledger_of(
        venue, ready, prepared.registration, prepared.source, asker=asker.participant, subject=asker.subject
    )


def _budget(view: View, ledger: Ledger | None) -> tuple[ShownCounter, ...]:
    """How many questions there are and were; nothing where answers are exact."""
    if ledger is None:
        return ()
    budget, first = ledger.budget, ledger.accounts(view.now)[0]
    text = f"epsilon {budget.epsilon} a question, {budget.epsilon_in_all} {window_words(budget.window)}"
    used = budget.questions - ledger.questions_left(view)
    return (ShownCounter(text, QUESTIONS, used, budget.questions, first.window_ends),)


async def _cost(venue: Venue, ledger: Ledger | None, data_version: str, sql: str) -> str:
    """What one question takes of the privacy budget, and how many more there are; empty where answers are exact.

    Raises:
        TrustnodeError: QUOTA_WINDOW, QUOTA_TOTAL: it is used up, and this question was not answered before.
    """

    def query(view: View) -> str:
        if ledger is None:
            return ""
        budget, first = ledger.budget, ledger.accounts(view.now)[0]
        answered = view.noised_answer(ledger.question(sql, data_version, first.window)) is not None
        left = ledger.questions_left(view)
        if not left and not answered:
            raise used_up(view, first)
        cost = "nothing, it was answered before" if answered else f"epsilon {budget.epsilon}"
        return f"this question costs {cost}; {left} of {budget.questions} questions {window_words(budget.window)} left"

    return await venue.store.read(query)


def _priced(counters: tuple[ShownCounter, ...], cost: str) -> tuple[ShownCounter, ...]:
    return tuple(msgspec.structs.replace(one, text=cost) if one.unit == QUESTIONS else one for one in counters)


def is_plain(sql: str, table: str) -> bool:
    """Whether a query reads every row that the policy delivers: ``select`` names or ``*`` from the table, no more."""
    found = _PLAIN.fullmatch(sql)
    return found is not None and table in (found["table"], found["quoted"])


async def _count(session: Session, table: str) -> int | None:
    """How many rows the policy delivers in all; None where that cannot be said in time."""
    try:
        answer = await session.read(f'select count(*) as n from "{table}"')  # noqa: S608 (checked by the registration)
    except TrustnodeError:
        return None
    return first_integer(answer.frames[1].data) if len(answer.frames) > 1 else None


def first_integer(frame: bytes) -> int | None:
    """The one 64-bit value of a one-row, one-column answer: the last eight bytes of its values buffer."""
    from trustnode.wire.frame import parse_frame

    body = parse_frame(frame).body
    return int.from_bytes(body[-8:], "little", signed=True) if len(body) >= 8 else None


def _counters(view: View, counters: Any, subject: Subject, prepared: Prepared) -> tuple[ShownCounter, ...]:
    agreement = subject.agreement.contract_id if subject.agreement else ""
    return tuple(_counter(view, one) for one in reservations(counters, agreement, view.now, prepared.registration.zone))


def _counter(view: View, one: Reservation) -> ShownCounter:
    row = view.counter(one.key, one.window)
    return ShownCounter(
        one.words, "reads" if one.unit == "count" else one.unit, row.used if row else 0, one.limit, one.window_ends
    )


def shown_terms(text: str, price: str, level: str) -> tuple[ShownTerm, ...]:
    """The lines of readable terms, in both languages."""
    if not text:
        return ()
    try:
        terms = msgspec.json.decode(text, type=Terms)
    except msgspec.DecodeError:
        return ()
    return tuple(
        ShownTerm(line.key, line.words, line.zh, (line.kept or "").upper(), line.added_by)
        for line in words.lines(terms, price, level)
    )


def _witnesses(agreement: Agreement | None) -> tuple[ShownTerm, ...]:
    """Who sees to it that neither log tells two stories; an offer does not say it yet."""
    if agreement is None:
        return ()
    text, zh = quorums.words(agreement)
    return (ShownTerm("witnesses", text, zh, "ENFORCED" if quorums.asks(agreement.witness_policies) else "PROMISED"),)


# --- who asks -------------------------------------------------------------------------------------------------------


async def of_agreement(venue: Venue, sender: Sender, name: str) -> tuple[AgreementState, Agreement, str]:
    """An agreement as a subject, with the readable terms of its offer.

    Raises:
        TrustnodeError: NOT_FOUND.
    """

    def query(view: View) -> tuple[AgreementState, Document | None, Document | None]:
        state = parties_only(reading.find_agreement(view, sender, venue.domain, name), sender)
        document = view.document(state.document)
        offer = view.document(decode(document, Agreement).offer_sha256) if document else None
        return state, document, offer

    state, document, offer = await venue.store.read(query)
    if document is None:
        raise error("NOT_FOUND", "no such agreement")
    return state, decode(document, Agreement), decode(offer, Offer).terms if offer else ""


def subject_of_agreement(value: Agreement, terms: str) -> Subject:
    """What an agreement lets one read."""
    return Subject(
        policy=value.policy,
        product=value.product,
        price=value.price,
        consumer=value.consumer.participant,
        terms=terms,
        agreement=value,
    )


def subject_of_offer(offer: Offer, consumer: str) -> Subject:
    """What an offer would let somebody read, were it agreed now."""
    policy = odrl.agreement(offer.policy, target=offer.product, assigner=offer.provider, assignee=consumer)
    return Subject(policy=policy, product=offer.product, price=offer.price, consumer=consumer, terms=offer.terms)


def asker_of(venue: Venue, participant: str) -> Asker:
    """Who asks.

    Somebody whose key document never came here is explained to as an ordinary consumer of its venue: an explanation
    binds nobody, and the decision that counts looks at the key document.
    """
    key = venue.keyring.key_documents.get(participant)
    if key is not None:
        return Asker.of(key.value)
    return Asker(participant, domain_of(participant), frozenset({"CONSUMER"}), frozenset({"organisation-checked"}))


def offer_on_sale(view: View, digest: str, sender: Sender, domain: str) -> Offer:
    """An offer of ours by digest, if it is on sale to whoever asks.

    Raises:
        TrustnodeError: NOT_FOUND, NOT_LISTED.
    """
    document = view.document(digest)
    offer = decode(document, Offer) if document is not None and document.name == "offer" else None
    entry = catalog.entry_of(view, offer.product) if offer else None
    if offer is None or entry is None or not reading.sees_listing(view, entry, sender, domain):
        raise error("NOT_FOUND", "no such offer")
    if entry.origin != domain or entry.state != "LISTED" or digest not in entry.offers:
        raise error("NOT_LISTED", "this offer is not on sale here now")
    return offer


def find_offer(view: View, product: str, name: str, sender: Sender, domain: str) -> tuple[str, Document]:
    """Origin and document of an offer by product and name.

    Raises:
        TrustnodeError: NOT_FOUND, NOT_LISTED, FIELD_MISSING.
    """
    entry = catalog.entry_of(view, product)
    if entry is not None and not reading.sees_listing(view, entry, sender, domain):
        raise error("NOT_FOUND", f"no listing {product[:80]} is known here")
    entry, document = catalog.find_offer(view, product, name)
    return entry.origin, document
