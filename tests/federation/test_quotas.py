"""Limits hold to the unit: whoever asks at once, whatever is refused, wherever a stream ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from federation.world import DATA, HOME, AccessState, receipt_in, ticket, until

from trustnode.errors import TrustnodeError
from trustnode.wire.peer import ReadAnswer

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def read(client: Any, raw: bytes) -> ReadAnswer | TrustnodeError:
    try:
        answer: ReadAnswer = await client.connection.home.read(raw, timeout_s=60)
    except TrustnodeError as refusal:
        return refusal
    return answer


async def used(world: Any, agreement: Any) -> dict[str, int]:
    """What each counter of an agreement has used."""
    contract = await world[DATA].venue.store.read(lambda view: view.document(agreement.document.digest))
    assert contract is not None
    policy = world[DATA].venue.policies.load(agreement.value.policy)
    names = [f"{agreement.id}/{counter.name}" for counter in policy.counters]
    rows = await world[DATA].venue.store.read(lambda view: [view.counter(name) for name in names])
    return {row.key: row.used for row in rows if row is not None}


async def test_p8_sixty_four_reads_at_once_never_pass_a_limit_of_five(world) -> None:
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/small", "few")
    raws = [ticket(acme, agreement, "select id from t limit 1").raw for _ in range(64)]
    answers = await asyncio.gather(*(read(acme, raw) for raw in raws))
    refused = [answer for answer in answers if isinstance(answer, TrustnodeError)]
    assert len(answers) - len(refused) == 5
    reasons = {refusal.reason for refusal in refused if refusal.reason.startswith("QUOTA")}
    others = [refusal for refusal in refused if not refusal.reason.startswith("QUOTA")]
    assert reasons
    assert all(refusal.retryable for refusal in others), others
    assert list((await used(world, agreement)).values()) == [5]
    chain = await world.entries(DATA, "agreement", agreement.id)
    assert sum(entry.type == "access.decide" for entry in chain) == 5
    assert any(entry.type == "access.deny" and entry.reason_code in reasons for entry in chain)


async def test_p8_a_refusal_burns_nothing(world) -> None:
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/small", "few")
    wrong = [
        ticket(acme, agreement, "select nothing from t"),
        ticket(acme, agreement, "select id from t; drop table t"),
        ticket(acme, agreement, "select id from t", asked="select grp from t"),
        ticket(acme, agreement, "select id from t", purpose="marketing"),
    ]
    for one in wrong:
        assert isinstance(await read(acme, one.raw), TrustnodeError)
    assert sum((await used(world, agreement)).values()) == 0
    answers = [await read(acme, ticket(acme, agreement, "select id from t limit 1").raw) for _ in range(6)]
    assert [isinstance(answer, TrustnodeError) for answer in answers] == [False] * 5 + [True]


@pytest.mark.parametrize("sql", ["select id from t", "select id from t order by id"])
async def test_a_stream_ends_exactly_at_the_limit_of_rows(world, sql) -> None:
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/small", "rows")
    assert (await agreement.sql(sql).to_arrow()).num_rows == 1000
    reader = agreement.reader(sql)
    rows, failure = 0, None
    try:
        async with reader:
            async for batch in reader:
                rows += batch.num_rows
    except TrustnodeError as ended:
        failure = ended
    assert rows == 500
    assert failure is None or failure.reason.startswith("QUOTA")
    state = await world.in_state(DATA, AccessState, reader.access, "DELIVERED", "ABORTED")
    assert state.rows == 500
    receipt = await world[DATA].venue.store.read(lambda view: receipt_in(view, reader.access))
    assert receipt.rows == 500
    assert list((await used(world, agreement)).values()) == [1500]
    failure = await read(acme, ticket(acme, agreement, "select id from t limit 1").raw)
    assert isinstance(failure, TrustnodeError)
    assert failure.reason.startswith("QUOTA")


async def test_what_a_cut_stream_did_not_hand_over_is_given_back(world) -> None:
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/small", "rows")
    async with agreement.reader("select id from t") as reader:
        async for _ in reader:
            break

    async def settled() -> bool:
        state = await world.state(DATA, AccessState, reader.access)
        return state.state in ("ABORTED", "DELIVERED")

    await until(settled)
    state = await world.state(DATA, AccessState, reader.access)
    assert list((await used(world, agreement)).values()) == [state.rows]
    await world.in_state(HOME, AccessState, reader.access, "ABORTED", "DELIVERED")


async def test_parallel_streams_share_a_limit_of_rows_and_never_pass_it(world) -> None:
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/small", "rows")

    async def stream() -> int:
        got = 0
        try:
            async for batch in (reader := agreement.reader("select id from t")):
                got += batch.num_rows
        except TrustnodeError:
            await reader.aclose()
        return got

    counts = await asyncio.gather(*(stream() for _ in range(4)))
    assert sum(counts) <= 1500
    assert sum((await used(world, agreement)).values()) == sum(counts)


async def test_p8_reads_at_once_never_pass_their_limit_and_a_place_is_free_again_when_one_ends(world) -> None:
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/single", "one")
    readers = [agreement.reader("select * from t") for _ in range(5)]
    streams = [aiter(reader) for reader in readers]
    begun = await asyncio.gather(*(anext(stream) for stream in streams), return_exceptions=True)
    refused = [failure for failure in begun if isinstance(failure, TrustnodeError)]
    assert len(refused) == 4
    assert {failure.reason for failure in refused} <= {"QUOTA_AT_ONCE", "BUSY"}
    late = agreement.reader("select * from t")
    with pytest.raises(TrustnodeError, match="1 read at once"):
        await anext(aiter(late))
    assert list((await used(world, agreement)).values()) == [1]
    for reader in readers:
        await reader.aclose()

    async def free() -> bool:
        return list((await used(world, agreement)).values()) == [0]

    await until(free)
    assert (await agreement.sql("select count(*) n from t").to_arrow()).num_rows == 1
    whole = await read(acme, ticket(acme, agreement, "select count(*) n from t").raw)
    assert isinstance(whole, TrustnodeError)
    assert (whole.reason, whole.metadata["next_step"]) == ("QUERY_TOO_COSTLY", "Read it as a stream (DoGet).")
