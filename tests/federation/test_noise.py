"""Answers with noise between two venues: paid before they are drawn, given again as they were, never given back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from federation.noise_world import ask, exact, noised, product, write_persons
from federation.world import DATA, HOME, AccessState, World, ticket, two_venues, until

from trustnode.app.access import recover
from trustnode.app.access.admission import admit
from trustnode.app.access.decision import decide
from trustnode.app.budget import read_pools
from trustnode.app.venue import Sender
from trustnode.engine.pool import Session
from trustnode.errors import TrustnodeError, error
from trustnode.store.unit import View
from trustnode.wire.peer import ReadAnswer

pytestmark = pytest.mark.asyncio(loop_scope="module")

BY_GROUP = "select grp, count(*) n from t group by grp"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder: Path = tmp_path_factory.mktemp("noise")
    write_persons(folder)
    async with two_venues(folder, "open") as made:
        await made.publish(
            made.clients["bureau"], product("persons", [noised(), exact(), noised("tight", total="0.5")]), "persons"
        )
        yield made


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def agreement(world: World) -> Any:
    return await world.agree(world.clients["acme"], f"{DATA}/persons", "noised")


@pytest.fixture(autouse=True)
def asked_nothing_yet(world: World, request: pytest.FixtureRequest) -> None:
    """Each test has a ledger of its own: its asker is in a pool that has spent nothing."""
    world[DATA].venue.pools = {world.clients["acme"].profile.participant: request.node.name}


def budget_of(world: World, agreement: Any) -> Any:
    return world[DATA].venue.policies.load(agreement.value.policy).budget


async def spent(world: World) -> dict[str, int]:
    """What is used of every ledger, rho only."""

    def query(view: View) -> dict[str, int]:
        rows = view._db.execute("select key, used from counter where key like 'privacy/%/rho'")
        return dict(rows.fetchall())

    return await world[DATA].venue.store.read(query)


async def difference(world: World, before: dict[str, int]) -> set[int]:
    """By how much each ledger that moved has grown."""
    return {used - before.get(key, 0) for key, used in (await spent(world)).items()} - {0}


async def raw_read(client: Any, agreement: Any, sql: str) -> ReadAnswer | TrustnodeError:
    """An answer in one message; what is only busy is asked again."""
    while True:
        raw = ticket(client, agreement, sql, operation="aggregate").raw
        try:
            answer: ReadAnswer = await client.connection.home.read(raw, timeout_s=60)
        except TrustnodeError as refusal:
            if not refusal.retryable or refusal.reason.startswith("QUOTA"):
                return refusal
            await asyncio.sleep(0.05)
        else:
            return answer


async def test_an_answer_has_noise_its_width_and_its_price(world: World, agreement: Any) -> None:
    before = await spent(world)
    shown = await agreement.explain(BY_GROUP)
    line = next(one for one in shown.counters if one.unit == "questions")
    assert line.text == "this question costs epsilon 0.5; 3 of 3 questions per year left"
    assert line.window_ends_at[:16] == "2026-12-31T16:00"
    assert await difference(world, before) == set()
    answer = agreement.sql(BY_GROUP)
    table = await answer.to_arrow()
    assert list(answer.noise) == ["n"]
    counts = dict(zip(table["grp"].to_pylist(), table["n"].to_pylist(), strict=True))
    width = float(table.schema.field("n").metadata[b"trustnode.noise_95"])
    assert abs(counts["north"] - 3001) < 4 * width
    assert abs(counts["south"] - 1000) < 4 * width
    assert await difference(world, before) == {budget_of(world, agreement).rho}
    shown = await agreement.explain(BY_GROUP)
    line = next(one for one in shown.counters if one.unit == "questions")
    assert line.text == "this question costs nothing, it was answered before; 2 of 3 questions per year left"


async def test_q3b_repeating_a_question_gives_one_answer_and_costs_one_question(world: World, agreement: Any) -> None:
    """Averaging needs new noise each time; there is one draw, whoever asks it again and however many at once."""
    client, before = world.clients["acme"], await spent(world)
    answers = set()
    for _ in range(5):
        found = await asyncio.gather(*(raw_read(client, agreement, BY_GROUP) for _ in range(40)))
        assert not [one for one in found if isinstance(one, TrustnodeError)]
        answers |= {one.frames for one in found if isinstance(one, ReadAnswer)}
    streamed = await agreement.sql(BY_GROUP).to_arrow()
    assert len(answers) == 1
    assert await difference(world, before) == {budget_of(world, agreement).rho}
    assert streamed.num_rows >= 2


async def test_the_budget_ends_with_a_reason_that_names_the_end_of_the_window(world: World, agreement: Any) -> None:
    for age in (20, 21, 22):
        await ask(agreement, f"select count(*) n from t where age = {age}")
    with pytest.raises(TrustnodeError) as caught:
        await ask(agreement, "select count(*) n from t where age = 23")
    assert caught.value.reason == "QUOTA_WINDOW"
    assert caught.value.metadata["window_ends"] in caught.value.metadata["window_ends"]
    assert "privacy budget (epsilon 1 per year) used up until" in caught.value.message
    shown = await agreement.explain("select count(*) n from t where age = 23")
    assert (shown.allowed, shown.reason) == (False, "QUOTA_WINDOW")
    assert await ask(agreement, "select count(*) n from t where age = 20")
    chain = await world.entries(DATA, "agreement", agreement.id)
    costs = [one.amount for entry in chain for one in entry.reserved if one.key.endswith("/rho")]
    assert costs[-6:] == [budget_of(world, agreement).rho] * 6  # two scopes of one source, three questions


async def test_64_different_questions_at_once_never_overspend(world: World, agreement: Any) -> None:
    client, before = world.clients["acme"], await spent(world)
    questions = [f"select count(*) n from t where age = {age}" for age in range(20, 84)]
    found = await asyncio.gather(*(raw_read(client, agreement, sql) for sql in questions))
    refused = [one for one in found if isinstance(one, TrustnodeError)]
    assert len(found) - len(refused) == 3
    assert {one.reason for one in refused} == {"QUOTA_WINDOW"}
    assert await difference(world, before) == {3 * budget_of(world, agreement).rho}


async def test_neither_another_offer_nor_a_second_agreement_nor_another_listing_is_a_second_budget(
    world: World, agreement: Any
) -> None:
    """All of one source and one asker take of one ledger; another asker has another one."""
    acme = world.clients["acme"]
    await world.publish(world.clients["bureau"], product("persons-again", [noised()]), "persons-again")
    second, tight = [await world.agree(acme, f"{DATA}/persons", offer) for offer in ("noised", "tight")]
    again = await world.agree(acme, f"{DATA}/persons-again", "noised")
    for one, age in ((agreement, 20), (second, 21), (again, 22)):
        await ask(one, f"select count(*) n from t where age = {age}")
    for one in (agreement, second, tight, again):
        with pytest.raises(TrustnodeError) as caught:
            await ask(one, "select count(*) n from t where age = 30")
        assert caught.value.reason == "QUOTA_WINDOW"
    world[DATA].venue.pools = {}
    assert await ask(tight, "select count(*) n from t where age = 20")


async def test_those_of_one_pool_share_a_budget(world: World, agreement: Any) -> None:
    beta = await world.join(HOME, "beta", "CONSUMER")
    theirs = await world.agree(beta, f"{DATA}/persons", "tight")
    ours = world.clients["acme"].profile.participant
    world[DATA].venue.pools = read_pools([f"twins: {ours} {beta.profile.participant}"])
    await ask(agreement, "select count(*) n from t where age = 20")
    with pytest.raises(TrustnodeError) as caught:
        await ask(theirs, "select count(*) n from t where age = 20")
    assert caught.value.reason == "QUOTA_WINDOW"


async def test_q3c_failing_and_cancelled_questions_are_paid_for(
    world: World, agreement: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a question cost stays spent: a failure or its time may have told something."""
    rho, before = budget_of(world, agreement).rho, await spent(world)
    real = Session.read

    async def failing(self: Session, *args: Any, **more: Any) -> Any:
        await real(self, *args, **more)
        raise error("DEADLINE", "injected")

    with monkeypatch.context() as patch:
        patch.setattr(Session, "read", failing)
        with pytest.raises(TrustnodeError):
            await ask(agreement, "select count(*) n from t where age = 20")
    assert await difference(world, before) == {rho}
    started = asyncio.Event()

    async def hanging(self: Session, *args: Any, **more: Any) -> Any:
        started.set()
        await asyncio.sleep(3600)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "read", hanging)
        stream = agreement.reader("select count(*) n from t where age = 21")
        reading = asyncio.ensure_future(stream.open())
        await started.wait()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await stream.aclose()
    await settled(world, agreement)
    assert await difference(world, before) == {2 * rho}
    await ask(agreement, "select count(*) n from t where age = 21")
    with pytest.raises(TrustnodeError) as caught:
        await ask(agreement, "select count(*) n from t where age = 20")
    assert caught.value.reason == "QUOTA_WINDOW"
    assert await difference(world, before) == {3 * rho}


async def test_q3c_a_question_that_a_crash_cut_off_is_paid_for_and_leaves_nothing_open(
    world: World, agreement: Any
) -> None:
    """Killed between the decision and the answer: what the log says was taken is used, after the start as before."""
    before, venue = await spent(world), world[DATA].venue
    asked = ticket(world.clients["acme"], agreement, "select count(*) n from t where age = 44", operation="aggregate")
    admission = await admit(venue, Sender("PEER", HOME), asked)
    await decide(venue, admission)
    held = await venue.store.read(lambda view: view.reservations(admission.id))
    assert {one.key.rpartition("/")[2] for one in held} == {"rho", "delta"}
    await recover(venue)
    state = await world.state(DATA, AccessState, admission.id)
    assert (state.state, await venue.store.read(lambda view: view.reservations(admission.id))) == ("ABORTED", [])
    assert await difference(world, before) == {budget_of(world, agreement).rho}


async def settled(world: World, agreement: Any) -> None:
    """No access of an agreement is open any more."""

    async def done() -> bool:
        return not await world[DATA].venue.store.read(
            lambda view: view.find(AccessState, agreement=agreement.id, state="STREAMING")
        )

    await until(done)


async def test_q3a_the_difference_of_two_noised_answers_does_not_tell_one_person(world: World, agreement: Any) -> None:
    """Two questions whose groups differ by one person: the difference has the noise of both, many times a person's."""
    everybody = await agreement.sql("select sum(pay) s from t").to_arrow()
    others = await agreement.sql("select sum(pay) s from t where age <> 99").to_arrow()
    width = float(everybody.schema.field("s").metadata[b"trustnode.noise_95"])
    assert width > 5 * 100, "the noise of a sum hides more than the largest pay"
    assert abs(everybody["s"][0].as_py() - others["s"][0].as_py()) < 6 * width


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) n from t group by age having count(*) > 3",
        "select sum(pay) s from t where id = 4000",
        "select sum(pay) s from t where pay > 50",
        "select max(pay) s from t",
        "select stddev(pay) s from t",
        "select sum(pay) filter (where age = 99) s from t",
        "select sum(case when age = 99 then pay end) s from t",
        "select age, avg(pay) over () s from t",
        "select count(*) n from t where age in (select age from t group by age)",
        "select a.n from (select count(*) n from t) a",
        "select count(*) n from t union all select count(*) n from t",
        "select count(*) n from t where 1 / (age - 99) > 0",
        "select count(*) n from t where age = age",
        "select id from t",
    ],
)
async def test_what_is_not_of_the_class_is_refused_before_it_costs_anything(
    world: World, agreement: Any, sql: str
) -> None:
    before = await spent(world)
    with pytest.raises(TrustnodeError) as caught:
        await ask(agreement, sql)
    assert caught.value.reason in ("DENIED", "FIELD_NOT_AGREED", "QUERY_INVALID")
    assert await difference(world, before) == set()


async def _answers(agreement: Any) -> bool:
    return bool((await agreement.explain(BY_GROUP)).allowed)


async def test_q3b_the_answer_is_the_same_after_a_restart_and_another_spelling(world: World, agreement: Any) -> None:
    first = await agreement.sql(BY_GROUP).to_arrow()
    before = await spent(world)
    pools = world[DATA].venue.pools
    await world.network.stop(DATA)
    await world.network.start(DATA)
    world[DATA].venue.pools = pools
    await until(lambda: _answers(agreement))
    again = await agreement.sql("SELECT t.grp, COUNT( * ) AS n FROM t GROUP BY 1 -- again").to_arrow()
    assert again.equals(first)
    assert await difference(world, before) == set()


async def test_the_log_tells_the_whole_ledger(world: World, agreement: Any) -> None:
    """Last: everything above, told again from entries alone, and nothing in the store differs."""
    from federation.test_replay import counters_of, told_by

    told, counters = await world[DATA].venue.store.read(lambda view: (told_by(view), counters_of(view)))
    assert {name: used.amount for name, used in told.counters.items()} == counters
    assert any(key.startswith("privacy/") for key, _ in counters)
    assert await world[DATA].venue.store.check() == []
