"""Several agreements of one venue in one query, before it counts: what it would deliver, and for which purpose.

Decides: which agreements may be named together, which of their purposes a query gets that names none, how explanations
of several products become one. Leaves to others: the checks when it counts (``access``), one product (``explain``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from trustnode.app import explain
from trustnode.app.access import Asker, Part, check_held_at, open_session, prepared_product
from trustnode.app.explain import Explanation, ShownColumn, Subject
from trustnode.app.venue import Sender, Venue
from trustnode.core.access import MAX_JOINED, Query
from trustnode.core.contract import Agreement, AgreementState
from trustnode.errors import TrustnodeError, error

WRITE_IT: str = "write the query: one over several agreements stands for nothing by itself"


class Under(NamedTuple):
    """An agreement that a query is to read under."""

    state: AgreementState
    value: Agreement
    terms: str


async def of_agreements(venue: Venue, sender: Sender, names: Sequence[str]) -> tuple[Under, ...]:
    """Agreements by name, all held at one venue, each once; the first stays first.

    Raises:
        TrustnodeError: NOT_FOUND; QUERY_INVALID for agreements with two venues, and for too many.
    """
    if len(names) > MAX_JOINED + 1:
        raise error("QUERY_INVALID", f"a query reads under at most {MAX_JOINED + 1} agreements", field="joined")
    found = [Under(*await explain.of_agreement(venue, sender, name)) for name in names]
    for one in found:
        check_held_at(one.state, found[0].state.provider_node)
    return tuple({one.state.id: one for one in found}.values())


def purpose_for(venue: Venue, agreements: Sequence[Agreement]) -> str:
    """The purpose of a query that names none: the first agreed one that every agreement allows, else the first."""
    for asked in agreements:
        try:
            for agreement in agreements:
                venue.policies.load(agreement.policy).check_purpose(asked.purpose)
        except TrustnodeError:
            continue
        return asked.purpose
    return agreements[0].purpose


async def explain_all(
    venue: Venue, subjects: Sequence[Subject], asker: Asker, purpose: str, query: Query
) -> Explanation:
    """Explain a query over products of ours, under an agreement each; with one of them as ``explain.explain``."""
    if len(subjects) == 1:
        return await explain.explain(venue, subjects[0], asker, purpose, query)
    basis = merged([await explain.basis_of(venue, subject) for subject in subjects], subjects)
    try:
        return await _planned(venue, subjects, asker, purpose, query, basis)
    except TrustnodeError as refusal:
        return explain.refused(basis, refusal)


def merged(several: Sequence[Explanation], subjects: Sequence[Subject]) -> Explanation:
    """What is said of each product, as one: every limit and price with the product that it is of."""
    names = [subject.product.rpartition("/")[2] for subject in subjects]
    counters = [
        msgspec.structs.replace(counter, text=f"{counter.text} of {name}")
        for name, one in zip(names, several, strict=True)
        for counter in one.counters
    ]
    return Explanation(
        allowed=False,
        columns_total=sum(one.columns_total for one in several),
        price="; ".join(f"{name} {one.price}" for name, one in zip(names, several, strict=True)),
        counters=tuple(counters),
        terms=tuple(term for one in several for term in one.terms),
    )


async def _planned(
    venue: Venue, subjects: Sequence[Subject], asker: Asker, purpose: str, query: Query, basis: Explanation
) -> Explanation:
    only_aggregates = any(venue.policies.load(subject.policy).aggregate_only for subject in subjects)
    operation = "aggregate" if only_aggregates else "read"
    now = venue.clock.now()
    for subject in subjects:
        await explain.check_allowed(venue, subject, asker, purpose, operation, now)
    if not query.sql.strip():
        raise error("QUERY_INVALID", WRITE_IT, field="sql")
    parts = [await _part(venue, subject, asker) for subject in subjects]
    session = await open_session(venue, *parts)
    plan = await session.plan(query.sql, query.parameters)
    masks = {name: words for part in parts for name, words in explain.masks_of(venue, part).items()}
    prices = [subject.price for subject in subjects]
    return msgspec.structs.replace(
        basis,
        allowed=True,
        columns=tuple(ShownColumn(c.name, c.type, c.unit, masks.get(c.name, ""), c.description) for c in plan.columns),
        price_fen=None if any(p.unit == "ROW" for p in prices) else sum(p.cost_fen(rows=0) for p in prices),
    )


async def _part(venue: Venue, subject: Subject, asker: Asker) -> Part:
    prepared = await venue.store.read(lambda view: prepared_product(view, subject.product))
    agreement = subject.agreement.contract_id if subject.agreement else ""
    return Part(subject.policy, prepared, explain.attributes(venue, asker), agreement)
