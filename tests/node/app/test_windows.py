"""What happens because time passes: windows of limits, negotiations that lapse, agreements that end."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from federation.world import DATA, HOME, World, product_text, ticket, until, write_tables

from trustnode.app import access
from trustnode.app.quota import window_of
from trustnode.app.venue import Sender
from trustnode.core import clock
from trustnode.core.contract import AgreementState, GrantState, NegotiationState
from trustnode.errors import TrustnodeError
from trustnode.testing.network import Network


class Stopped:
    """The clock of this machine until a test sets it; participants sign by the machine's, so they enrol before."""

    def __init__(self) -> None:
        self.time = ""

    def now(self) -> str:
        return self.time or clock.text(dt.datetime.now(dt.UTC))

    def set(self, time: str) -> None:
        self.time = time

    def advance(self, seconds: float) -> None:
        self.time = clock.shift(self.now(), seconds)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Two venues whose clock a test sets; ``noon`` is the next one in the zone of the product."""
    now = dt.datetime.now(dt.UTC)
    noon = now.replace(hour=4, minute=0, second=0, microsecond=0)
    ticking = Stopped()
    write_tables(tmp_path)
    async with Network(tmp_path, clock=ticking) as network:
        made = World(network, tmp_path)
        made.clock, made.noon = ticking, clock.text(noon + dt.timedelta(days=1))  # type: ignore[attr-defined]
        for_years = {"evidence.max_unwitnessed_s": 10**9}  # the clock is set; no witness has a certificate then
        await network.start(DATA, area="5200", subject="915200000000000001", **for_years)
        await network.start(HOME, **for_years)
        await network.peer(DATA, HOME)
        bureau = await made.join(DATA, "bureau", "PROVIDER")
        await made.join(DATA, "local", "CONSUMER")
        await made.join(HOME, "acme", "CONSUMER")
        await made.publish(bureau, product_text("small", ("daily", "minute", "asked")), "small")
        await made.found(made.clients["local"], f"{DATA}/small")
        yield made
        for client in made.clients.values():
            await client.aclose()


async def read(world: Any, agreement: Any) -> str:
    """One read of the local party at the present of the node's clock; the reason of its refusal."""
    local, venue = world.clients["local"], world[DATA].venue
    now = venue.clock.now()
    asked = ticket(local, agreement, "select id from t limit 1", time=now, expires=clock.shift(now, 300))
    try:
        await access.read(venue, Sender("CLIENT", DATA, local.profile.participant), asked)
    except TrustnodeError as refusal:
        return refusal.reason
    return ""


async def test_a_daily_limit_begins_again_at_midnight_of_the_products_zone(world) -> None:
    agreement = await world.clients["local"].negotiate(f"{DATA}/small", offer="daily")
    world.clock.set(world.noon)
    assert [await read(world, agreement) for _ in range(3)] == ["", "", "QUOTA_WINDOW"]
    world.clock.advance(12 * 3600 - 1)
    assert await read(world, agreement) == "QUOTA_WINDOW"
    world.clock.advance(2)
    assert [await read(world, agreement) for _ in range(3)] == ["", "", "QUOTA_WINDOW"]


async def test_a_limit_of_a_minute_begins_again_with_the_next(world) -> None:
    agreement = await world.clients["local"].negotiate(f"{DATA}/small", offer="minute")
    world.clock.set(clock.shift(world.noon, 20))
    assert [await read(world, agreement) for _ in range(3)] == ["", "", "QUOTA_WINDOW"]
    world.clock.advance(39)
    assert await read(world, agreement) == "QUOTA_WINDOW"
    world.clock.advance(2)
    assert [await read(world, agreement) for _ in range(3)] == ["", "", "QUOTA_WINDOW"]


async def test_a_negotiation_nobody_answers_lapses_at_both_nodes(world) -> None:
    acme = world.clients["acme"]
    await world.found(acme, f"{DATA}/small")
    under_way = await acme.negotiate(f"{DATA}/small", offer="asked")
    await world.in_state(DATA, NegotiationState, under_way.id, "REQUESTED")
    world.clock.advance(14 * 86400 + 60)
    for domain in (HOME, DATA):
        state = await world.in_state(domain, NegotiationState, under_way.id, "TERMINATED")
        assert (state.waits_for, state.lapses_at) == ("", "")
        chain = await world.entries(domain, "negotiation", under_way.id)
        assert chain[-1].to_state == "TERMINATED"


async def test_an_agreement_ends_with_its_term_and_delivers_nothing_after(world) -> None:
    agreement = await world.clients["local"].negotiate(f"{DATA}/small", offer="daily")
    world.clock.set(clock.shift(agreement.until, 1))

    async def over() -> bool:
        state = await world.state(DATA, AgreementState, agreement.id)
        return state.state not in ("PERFORMING", "SIGNED")

    await until(over)
    assert (await world.state(DATA, GrantState, agreement.id)).state in ("REVOKED", "EXPIRED")
    assert await read(world, agreement) in ("GRANT_INVALID", "GRANT_EXPIRED")


@pytest.mark.parametrize(
    "window,begins,ends",
    [
        ("hour", "2026-11-24T20:00:00.000Z", "2026-11-24T20:59:59.999Z"),
        ("day", "2026-11-24T16:00:00.000Z", "2026-11-25T15:59:59.999Z"),
        ("week", "2026-11-22T16:00:00.000Z", "2026-11-29T15:59:59.999Z"),
        ("month", "2026-10-31T16:00:00.000Z", "2026-11-30T15:59:59.999Z"),
        ("year", "2025-12-31T16:00:00.000Z", "2026-12-31T15:59:59.999Z"),
    ],
)
async def test_first_and_last_instant_of_a_window_fall_into_it_and_the_next_does_not(window, begins, ends) -> None:
    name, end = window_of(window, begins, "Asia/Shanghai")
    assert window_of(window, ends, "Asia/Shanghai") == (name, end)
    assert end == clock.shift(ends, 0.001)
    assert window_of(window, end, "Asia/Shanghai")[0] != name
    assert window_of(window, clock.shift(begins, -0.001), "Asia/Shanghai")[0] != name
