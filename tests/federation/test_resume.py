"""A read that was broken off goes on at a frame: one table, counted once, and nothing for whoever only says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from federation.world import BIG_ROWS, DATA, HOME, AccessState, World, product_text, receipt_in, ticket, two_venues

from trustnode.core.access import AccessRequest, Resumes
from trustnode.core.document import decode
from trustnode.core.evidence.verify import verify_bundle
from trustnode.core.identity import fingerprint
from trustnode.errors import TrustnodeError
from trustnode.sdk import output

pytestmark = pytest.mark.asyncio(loop_scope="session")
ALL = "select * from t"
SOME = "select id from t where id < 3000"


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Two venues, a consumer at each, a product of many frames with a limit of its rows."""
    async with two_venues(tmp_path_factory.mktemp("resume"), "open") as made:
        await made.join(HOME, "other", "CONSUMER")
        bureau = made.clients["bureau"]
        text = product_text("big", ("open", "much", "few"), file="big", columns=("id", "filler"))
        await made.publish(bureau, text, "big")
        yield made


async def agreed(pair: World, name: str = "acme", offer: str = "much") -> Any:
    return await pair.agree(pair.clients[name], f"{DATA}/big", offer)


async def again(pair: World, domain: str) -> None:
    """A node stops, and starts again."""
    await pair.network.stop(domain)
    await pair.network.start(domain)


async def broken(pair: World, agreement: Any, frames: int = 3) -> tuple[Any, list[int]]:
    """A read whose connection breaks after some batches, and the ids that came."""
    reader = agreement.reader(ALL)
    ids: list[int] = []
    async with reader:
        async for batch in reader:
            ids += batch.column("id").to_pylist()
            if reader.point.frames > frames:
                break
    await pair.in_state(DATA, AccessState, reader.access, "ABORTED", "DELIVERED")
    return reader, ids


async def refused(pair: World, agreement: Any, resumes: Resumes, name: str = "acme", sql: str = ALL) -> TrustnodeError:
    """What a request that claims to go on with something is told."""
    asked = ticket(pair.clients[name], agreement, sql, resumes=resumes)
    home = pair.clients[name].connection.home
    with pytest.raises(TrustnodeError) as caught:
        async with home.do_get(asked.raw, timeout_s=30) as stream:
            async for _ in stream:
                pass
    return caught.value


@pytest.mark.parametrize("domain", [DATA, HOME])
async def test_a_reader_notices_nothing_of_a_node_that_starts_again(pair: World, domain: str) -> None:
    agreement = await agreed(pair)
    reader = agreement.reader(ALL)
    ids: list[int] = []
    restarted: asyncio.Task[None] | None = None
    async for batch in reader:
        ids += batch.column("id").to_pylist()
        if restarted is None and len(ids) < BIG_ROWS // 2:
            restarted = asyncio.ensure_future(again(pair, domain))
            await asyncio.sleep(0)
    assert restarted is not None
    await restarted
    assert ids == list(range(BIG_ROWS))
    assert len(reader.receipts) > 1
    assert reader.rows == BIG_ROWS


async def test_the_same_command_goes_on_with_the_file_it_left(pair: World, tmp_path: Path) -> None:
    agreement = await agreed(pair)
    target = tmp_path / "out.parquet"

    class Enough(Exception):
        pass

    def until_a_third(running: Any) -> None:
        if running.rows > BIG_ROWS // 3:
            raise Enough

    with pytest.raises(Enough):
        await output.save(agreement.reader(ALL), target, until_a_third)
    assert not target.exists()
    assert target.with_name("out.parquet.part").exists()
    reader = agreement.reader(ALL)
    await output.save(reader, target)
    assert reader.rows_before > BIG_ROWS // 3
    assert reader.rows_before + reader.rows == BIG_ROWS
    assert pq.read_table(target).column("id").to_pylist() == list(range(BIG_ROWS))
    assert {path.name for path in tmp_path.iterdir()} == {"out.parquet"}


async def test_another_query_begins_anew(pair: World, tmp_path: Path) -> None:
    agreement = await agreed(pair)
    target = tmp_path / "out.parquet"

    def stop(_: Any) -> None:
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        await output.save(agreement.reader(ALL), target, stop)
    reader = agreement.reader("select id from t where id < 9")
    await output.save(reader, target)
    assert (reader.rows_before, reader.rows) == (0, 9)


async def test_what_goes_on_counts_and_costs_only_what_is_new(pair: World, tmp_path: Path) -> None:
    agreement = await agreed(pair)
    first, ids = await broken(pair, agreement)
    rest = agreement.reader(ALL)
    rest.go_on_after(None)
    rest._resumes = first.point  # as a file that was left would say
    async for batch in rest:
        ids += batch.column("id").to_pylist()
    assert ids == list(range(BIG_ROWS))
    state = await pair.in_state(DATA, AccessState, rest.access, "DELIVERED")
    assert (state.resumes, state.rows) == (first.access, rest.rows)
    begun = await pair.state(DATA, AccessState, first.access)
    counter = await pair[DATA].venue.store.read(lambda view: view.counter(f"{agreement.id}/rows/none"))
    assert counter.used >= begun.rows + rest.rows
    receipt = await pair[DATA].venue.store.read(lambda view: receipt_in(view, rest.access))
    assert receipt.rows == BIG_ROWS - (len(ids) - rest.rows)
    path = await agreement.bundle(tmp_path / "resumed.bundle")
    anchors = {domain: fingerprint(pair.card(domain)) for domain in (DATA, HOME)}
    report = await asyncio.to_thread(verify_bundle, path.read_bytes(), anchors)
    assert [finding for finding in report.findings if finding.verdict == "INVALID"] == []
    assert (report.counts.receipts, report.counts.rows) == (2, begun.rows + rest.rows)


async def test_p2a_nobody_goes_on_with_what_is_not_his_or_never_was(pair: World) -> None:
    mine, theirs = await agreed(pair), await agreed(pair, "other")
    reader, _ = await broken(pair, mine)
    point = reader.point
    wrong = [
        (theirs, "other", point),
        (mine, "acme", Resumes("00000000-0000-4000-8000-000000000000", point.frames, point.stream_commitment)),
        (mine, "acme", Resumes(point.access, point.frames, "0" * 64)),
        (mine, "acme", Resumes(point.access, point.frames - 1, point.stream_commitment)),
        (mine, "acme", Resumes(point.access, 10_000, point.stream_commitment)),
        (await agreed(pair), "acme", point),
    ]
    for agreement, name, resumes in wrong:
        assert (await refused(pair, agreement, resumes, name)).reason == "RESUME_CHANGED", resumes
    assert (await refused(pair, mine, point, sql="select id from t")).reason == "RESUME_CHANGED"


async def test_a_limit_of_reads_is_not_passed_by_going_on(pair: World) -> None:
    agreement = await agreed(pair, offer="few")
    reader, _ = await broken(pair, agreement)
    state = await pair.state(DATA, AccessState, reader.access)
    twice = Resumes(reader.access, reader.point.frames, reader.point.stream_commitment)
    used = []
    for _ in range(6):
        asked = ticket(pair.clients["acme"], agreement, ALL, resumes=twice)
        try:
            async with pair.clients["acme"].connection.home.do_get(asked.raw, timeout_s=30) as stream:
                async for _ in stream:
                    pass
        except TrustnodeError as refusal:
            used.append(refusal.reason)
        else:
            used.append("")
    allowed = 5 if twice.frames == state.frames else 4
    assert used == [""] * allowed + ["QUOTA_AGREED"] * (6 - allowed)


async def counted(pair: World, agreement: Any) -> int:
    """Reads that a limit has counted."""
    row = await pair[DATA].venue.store.read(lambda view: view.counter(f"{agreement.id}/count/none"))
    return int(row.used)


async def test_an_answer_without_rows_is_not_the_beginning_of_every_other(pair: World) -> None:
    """Its only frame is the schema, which other queries have too: one read would pay for all of them."""
    agreement = await agreed(pair, offer="few")
    reader = agreement.reader("select id from t where id < 0")
    async for _ in reader:
        pass
    for sql in ("select id from t where id < 9", "select id from t"):
        assert (await refused(pair, agreement, reader.point, sql=sql)).reason == "RESUME_CHANGED"
    assert await counted(pair, agreement) == 1


async def test_going_on_with_a_read_that_came_to_its_end_is_a_read(pair: World) -> None:
    """What a table has gained meanwhile would come for nothing."""
    agreement = await agreed(pair, offer="few")
    first = agreement.reader(SOME)
    ids = [number async for batch in first for number in batch.column("id").to_pylist()]
    rest = agreement.reader(SOME)
    rest._resumes = first.point
    rest._small = False
    async for batch in rest:
        ids += batch.column("id").to_pylist()
    assert len(ids) == 3000
    assert await counted(pair, agreement) == 2


async def test_the_rest_of_a_read_is_free_once(pair: World, tmp_path: Path) -> None:
    """Two at once, and one after the other: whoever is handed the same rows again reads them again."""
    agreement = await agreed(pair, offer="few")
    reader, _ = await broken(pair, agreement)
    state = await pair.state(DATA, AccessState, reader.access)
    point = Resumes(reader.access, state.frames, state.stream_commitment)

    async def go_on() -> None:
        asked = ticket(pair.clients["acme"], agreement, ALL, resumes=point)
        async with pair.clients["acme"].connection.home.do_get(asked.raw, timeout_s=30) as stream:
            async for _ in stream:
                pass

    await asyncio.gather(go_on(), go_on())
    assert await counted(pair, agreement) == 2
    await go_on()
    assert await counted(pair, agreement) == 3
    path = await agreement.bundle(tmp_path / "rest.bundle")
    anchors = {domain: fingerprint(pair.card(domain)) for domain in (DATA, HOME)}
    report = await asyncio.to_thread(verify_bundle, path.read_bytes(), anchors)
    assert [finding for finding in report.findings if finding.verdict == "INVALID"] == []


async def test_p3b_nothing_goes_on_once_the_right_is_gone(pair: World) -> None:
    agreement = await agreed(pair)
    reader, _ = await broken(pair, agreement)
    await agreement.end("enough")
    assert (await refused(pair, agreement, reader.point)).reason == "GRANT_INVALID"


async def test_p2a_nobody_stops_the_stream_of_another_by_going_on_with_it(pair: World) -> None:
    mine, theirs = await agreed(pair), await agreed(pair, "other")
    async with mine.reader(ALL) as reader:
        batches = aiter(reader)
        await anext(batches)
        claimed = Resumes(reader.access, 1, "0" * 64)
        assert (await refused(pair, theirs, claimed, "other")).reason == "RESUME_CHANGED"
        running = pair[DATA].venue.streams.get(reader.access)
        assert running is not None
        assert running.failure is None


async def test_x8_a_carrier_that_acknowledges_nothing_gets_two_windows_and_no_more(
    pair: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trustnode.app.streams.ACK_WAIT_S", 0.2)
    agreement = await agreed(pair)
    asked = ticket(pair.clients["acme"], agreement, ALL)
    silent = pair.node_caller(HOME, DATA)
    with pytest.raises(TrustnodeError) as ended:
        async with silent.do_get(asked.raw, timeout_s=30) as stream:
            async for _ in stream:
                pass
    await silent.channel.aclose()
    assert ended.value.reason == "DEADLINE"
    access = decode(asked.request, AccessRequest).id
    state = await pair.in_state(DATA, AccessState, access, "ABORTED")
    assert (state.cause, state.acked_rows) == ("DEADLINE", 0)
    assert 200_000 <= state.rows < BIG_ROWS


async def test_a_small_read_that_claims_to_go_on_is_refused_and_logged(pair: World) -> None:
    agreement = await agreed(pair, offer="few")
    reader, _ = await broken(pair, agreement)
    asked = ticket(pair.clients["acme"], agreement, ALL, resumes=reader.point)
    with pytest.raises(TrustnodeError) as caught:
        await pair.clients["acme"].connection.home.read(asked.raw, timeout_s=30)
    assert (caught.value.reason, caught.value.metadata.get("field")) == ("FIELD_FORMAT", "resumes")
    chain = await pair.entries(DATA, "agreement", agreement.id)
    assert [entry.reason_code for entry in chain if entry.type == "access.deny"] == ["FIELD_FORMAT"]
