"""Timers: rows written by units, read by one task, fired as ordinary events.

Decides: which event a timer fires with which facts. Leaves to others: the tables; a late timer gives the same result,
because guards look at the time and not at the arrival (lifecycles 1, L7).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from trustnode.app import agreement, catalog, duties, sealing
from trustnode.app.transition import continue_effects, fire
from trustnode.app.venue import Venue, log
from trustnode.core.catalog import PRODUCT, ProductFacts, ProductState
from trustnode.core.contract import (
    AGREEMENT,
    GRANT,
    NEGOTIATION,
    Agreement,
    AgreementFacts,
    AgreementState,
    GrantFacts,
    GrantState,
    NegotiationFacts,
    NegotiationState,
)
from trustnode.core.document import decode
from trustnode.core.peering import PeeringState
from trustnode.errors import TrustnodeError
from trustnode.store.unit import Timer, Tx

LOOK_S = 1.0
Fired = Callable[[Tx, Timer], None]


def _lapse(tx: Tx, timer: Timer) -> None:
    state = tx.get(NegotiationState, timer.id)
    if state and state.state not in NEGOTIATION.terminal:
        facts = NegotiationFacts(lapsed=bool(state.lapses_at) and state.lapses_at <= tx.now)
        fire(tx, NEGOTIATION, state, "time_out", "T", facts, waits_for="", lapses_at="")


def _end_term(tx: Tx, timer: Timer) -> None:
    state = tx.get(AgreementState, timer.id)
    if state and state.state not in ("TERMINATING", "TERMINATED"):
        fire(tx, AGREEMENT, state, "end_term", "T", AgreementFacts(term_over=state.end <= tx.now))


def _begin(tx: Tx, timer: Timer) -> None:
    state = tx.get(AgreementState, timer.id)
    document = tx.document(state.document) if state else None
    if state and document and state.state == "SIGNED":
        agreement.activate(tx, state, decode(document, Agreement))


def _expire_grant(tx: Tx, timer: Timer) -> None:
    state = tx.get(GrantState, timer.id)
    if state and state.state not in GRANT.terminal:
        fire(tx, GRANT, state, "term_over", "T", GrantFacts(term_over=state.not_after <= tx.now))


def _notice_over(tx: Tx, timer: Timer) -> None:
    state = tx.get(ProductState, timer.id)
    if state and state.state == "PUBLIC_NOTICE":
        facts = ProductFacts(term_over=state.notice_until <= tx.now, objection_open=False)
        fire(tx, PRODUCT, state, "notice_over", "T", facts, entry={"product_id": state.product_id})


def _more_effects(tx: Tx, timer: Timer) -> None:
    continue_effects(tx, timer.kind, timer.id)


def _mirror(tx: Tx, timer: Timer) -> None:
    state = tx.get(PeeringState, timer.id)
    if state is not None:
        catalog.mirror_to_peer(tx, state)


TIMERS: Final[Mapping[tuple[str, str], Fired]] = {
    ("negotiation", "time_out"): _lapse,
    ("agreement", "end_term"): _end_term,
    ("agreement", "activate"): _begin,
    ("agreement", sealing.TIMER): sealing.look,
    ("agreement", duties.TIMER): duties.fired,
    ("grant", "term_over"): _expire_grant,
    ("product", "notice_over"): _notice_over,
    ("product", "effects"): _more_effects,
    ("peering", "mirror"): _mirror,
}
"""(kind, event) -> what is fired; closed."""


class Timers:
    """The one task that fires what is due."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._set = asyncio.Event()

    def notify(self) -> None:
        """Timers were set."""
        self._set.set()

    async def run(self) -> None:
        """Fire what is due, until cancelled."""
        while True:
            self._set.clear()
            while due := await self._venue.store.timers_due(self._venue.clock.now()):
                for timer in due:
                    await self._fire(timer)
            try:
                await asyncio.wait_for(self._set.wait(), LOOK_S)
            except TimeoutError:
                continue

    async def _fire(self, timer: Timer) -> None:
        """A timer whose event is refused is over all the same: the object moved on."""
        try:
            await self._venue.store.write(_firing(timer), event_id="", returns=str)
        except TrustnodeError as refusal:
            if refusal.retryable:
                raise
            log.info("timer refused", kind=timer.kind, id=timer.id, timer=timer.event, reason=refusal.reason)
            await self._venue.store.write(_forgetting(timer), event_id="", returns=str)


def _firing(timer: Timer) -> Callable[[Tx], str]:
    def unit(tx: Tx) -> str:
        tx.forget_timer(timer.kind, timer.id, timer.event)
        handler: Any = TIMERS.get((timer.kind, timer.event))
        if handler is not None:
            handler(tx, timer)
        return timer.event

    return unit


def _forgetting(timer: Timer) -> Callable[[Tx], str]:
    def unit(tx: Tx) -> str:
        tx.forget_timer(timer.kind, timer.id, timer.event)
        return timer.event

    return unit
