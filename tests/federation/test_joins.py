"""One query over several agreements of one venue: each is asked, counted and logged, and each can end the stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import adbc_driver_manager
import msgspec
import pytest
import pytest_asyncio
from click.testing import CliRunner
from federation.noise_world import noised, product, write_persons
from federation.test_control import stalled
from federation.test_quotas import read, used
from federation.test_replay import counters_of, lost, rows, told_by
from federation.test_stock_clients import connect
from federation.world import (
    DATA,
    HOME,
    AccessState,
    AgreementState,
    World,
    product_text,
    receipt_in,
    ticket,
    two_venues,
    until,
)

from trustnode.app import access
from trustnode.app.access import carrying, recover, serving
from trustnode.cli.root import root
from trustnode.core import clock
from trustnode.core.access import AccessRequest, AckItem, Named, Receipt, ReceiptAck, joined_id
from trustnode.core.document import decode, seal
from trustnode.core.evidence.bundle import unpack
from trustnode.core.evidence.story import tell
from trustnode.core.evidence.verify import verify_bundle
from trustnode.core.identifier import schema_name
from trustnode.core.identity import fingerprint
from trustnode.errors import TrustnodeError, error
from trustnode.sdk.profile import now
from trustnode.wire.convert import new_ticket

pytestmark = pytest.mark.asyncio(loop_scope="session")
BOTH = "select t.id, p.grp from t join ports p on t.id = p.id"
TOTALS = """
[[offer]]
name = "totals"
price = "free"
approval = "automatic"
[offer.terms]
purposes = ["statistics"]
who = "anyone"
period = "12 months"
result = "aggregates"
person = "id"
group_by = ["grp"]
measures = ["count"]
min_group = 10
keep = "unlimited"
onward = "allowed"
"""
FEW = BOTH + " where t.id < 5"


def ports(name: str, *offers: str, file: str = "small") -> str:
    """Another product, whose table is called ports."""
    columns = ("id", "grp") if file == "small" else ("id", "filler")
    return product_text(name, offers, file=file, columns=columns).replace('table = "t"', 'table = "ports"')


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with two_venues(tmp_path_factory.mktemp("pair"), "open", "few", "rows") as made:
        bureau = made.clients["bureau"]
        await made.publish(bureau, ports("ports", "open", "few", "daily"), "ports")
        await made.publish(bureau, ports("wide", "open", file="big"), "wide")
        await made.publish(bureau, product_text("counted", ()) + TOTALS, "counted")
        await made.join(HOME, "other", "CONSUMER")
        yield made


async def two(pair: World, first: str = "open", second: str = "open", product: str = "ports") -> tuple[Any, Any]:
    acme = pair.clients["acme"]
    return await pair.agree(acme, f"{DATA}/small", first), await pair.agree(acme, f"{DATA}/{product}", second)


def joining(client: Any, first: Any, *others: Any, sql: str = FEW, **changes: Any) -> Any:
    """A signed request over several agreements."""
    named = tuple(sorted((Named(one.id, one.document.digest) for one in others), key=lambda one: one.agreement))
    return ticket(client, first, sql, **({"joined": named} | changes))


async def acknowledged(pair: World, *agreements: Any) -> bool:
    """Whether the carrier's word on every access has reached the provider: it comes after the answer."""
    rows = [
        await pair[DATA].venue.store.read(lambda view, a=agreement: view.find(AccessState, agreement=a.id))
        for agreement in agreements
    ]
    return all(row.carrier_ack for found in rows for row in found)


async def test_two_products_are_read_in_one_query_and_both_chains_and_receipts_say_so(pair: World) -> None:
    one, other = await two(pair, "few", "few")
    table = one.sql(FEW, joined=[other])
    got = await table.to_arrow()
    assert (got.num_rows, got.column_names) == (5, ["id", "grp"])
    assert [share.agreement for share in table.receipt.shares] == [one.id, other.id]
    assert (await used(pair, one), await used(pair, other)) == (
        {f"{one.id}/count/none": 1}, {f"{other.id}/count/none": 1},
    )  # fmt: skip
    await until(lambda: acknowledged(pair, one, other))
    for domain in (DATA, HOME):
        for agreement in (one, other):
            [row] = await pair[domain].venue.store.read(
                lambda view, a=agreement: view.find(AccessState, agreement=a.id)
            )
            assert (row.state, row.rows, row.carrier_ack) == ("DELIVERED", 5, "EQUAL")
            [line] = await agreement.receipts()
            assert line.receipt == table.receipt
            chain = [entry.type for entry in await pair.entries(domain, "agreement", agreement.id)]
            assert "delivery.complete" in chain
            assert ("access.decide" if domain == DATA else "access.request") in chain


async def test_the_bundle_of_each_agreement_holds_and_every_counter_is_told_again(pair: World, tmp_path: Any) -> None:
    one, other = await two(pair, "few", "few")
    await one.sql(FEW, joined=[other]).to_arrow()
    async with one.reader(BOTH, joined=[other]) as reader:
        assert sum([batch.num_rows async for batch in reader]) == 1000
    anchors = {domain: fingerprint(pair.card(domain)) for domain in (DATA, HOME)}
    for agreement in (one, other):
        path = await agreement.bundle(tmp_path / f"{agreement.short}.bundle")
        report = await asyncio.to_thread(verify_bundle, path.read_bytes(), anchors)
        assert report.findings == ()
        assert f"may read: ALLOW, joined with {({one: other, other: one}[agreement]).short}" in tell(
            unpack(path.read_bytes())
        )
        assert (report.verdict, report.counts.receipts, report.counts.rows) == ("VERIFIED", 2, 1005)
    for domain in (DATA, HOME):
        store = pair[domain].venue.store
        told, live, counted = await store.read(lambda view: (told_by(view), rows(view), counters_of(view)))
        again = await store.read(lambda view, told=told: {(type(s), s.id): s for s in told.states(view.document)})
        assert again == {name: state for name, state in live.items() if not lost(told, state)}
        assert {name: amount.amount for name, amount in told.counters.items()} == counted
        assert told.older == set()


async def test_p8_sixteen_clients_pass_the_limit_of_neither_agreement(pair: World) -> None:
    acme = pair.clients["acme"]
    one, other = await two(pair, "few", "daily")
    raws = [joining(acme, one, other).raw if i % 2 else joining(acme, other, one).raw for i in range(16)]
    answers = await asyncio.gather(*(read(acme, raw) for raw in raws))
    assert sum(not isinstance(answer, TrustnodeError) for answer in answers) == 2
    assert await used(pair, one) == {f"{one.id}/count/none": 2}


async def test_p8_a_join_does_not_bypass_the_limit_of_one_and_burns_nothing_of_the_other(pair: World) -> None:
    acme = pair.clients["acme"]
    one, other = await two(pair, "open", "few")
    for _ in range(5):
        await other.sql("select id from ports limit 1").to_arrow()
    failures = [await read(acme, joining(acme, *pairing).raw) for pairing in ((one, other), (other, one))]
    assert [failure.reason for failure in failures] == ["QUOTA_AGREED"] * 2
    limited, free = await two(pair, "few", "open")
    for _ in range(5):
        await limited.sql("select id from t limit 1").to_arrow()
    assert (await read(acme, joining(acme, limited, other).raw)).reason == "QUOTA_AGREED"
    assert await used(pair, other) == {f"{other.id}/count/none": 5}
    rows_of_one, _ = await two(pair, "rows", "open")
    async with rows_of_one.reader(BOTH, joined=[free]) as reader:
        assert sum([batch.num_rows async for batch in reader]) == 1000
    reader, got = rows_of_one.reader(BOTH, joined=[free]), 0
    with pytest.raises(TrustnodeError) as ended:
        async with reader:
            async for batch in reader:
                got += batch.num_rows
    assert (got, ended.value.reason[:5]) == (500, "QUOTA")
    assert list((await used(pair, rows_of_one)).values()) == [1500]


async def test_p2a_an_agreement_that_is_added_or_swapped_after_signing_is_refused(pair: World) -> None:
    acme = pair.clients["acme"]
    one, other = await two(pair)
    third = await pair.agree(acme, f"{DATA}/ports", "few")
    honest = joining(acme, one, other)
    for changed in ({"joined": [{"agreement": third.id, "agreement_sha256": third.document.digest}]}, {"joined": []}):
        body = honest.request.payload
        value = decode(honest.request, AccessRequest)
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        forged = AccessRequest(**(fields | {"joined": tuple(Named(**item) for item in changed["joined"])}))
        document = seal(forged)
        assert document.payload != body
        resigned = type(document)(document.payload_type, document.payload, honest.request.signatures)
        raw = ticket_with(honest, resigned)
        for caller in (acme.connection.home, pair.node_caller(HOME, DATA)):
            with pytest.raises(TrustnodeError) as refused:
                await caller.read(raw, timeout_s=20)
            assert refused.value.reason == "SIGNATURE_INVALID"


def ticket_with(honest: Any, request: Any) -> bytes:
    return new_ticket(request, honest.query, honest.query_salt, honest.key_document).raw


async def test_p2a_an_agreement_of_somebody_else_is_no_other_than_one_that_is_not_there(pair: World) -> None:
    acme, other = pair.clients["acme"], pair.clients["other"]
    mine, _ = await two(pair)
    theirs = await pair.agree(other, f"{DATA}/ports", "few")
    unknown = Named("no such agreement", "0" * 64)
    theirs_by = Named(theirs.id, theirs.document.digest)
    by_node = pair.node_caller(HOME, DATA)
    for named in (theirs_by, unknown, Named(theirs.id, "0" * 64)):
        raw = ticket(acme, mine, FEW, joined=(named,)).raw
        for caller in (acme.connection.home, by_node):
            with pytest.raises(TrustnodeError) as refused:
                await caller.read(raw, timeout_s=20)
            assert (refused.value.reason, refused.value.message) == ("NOT_FOUND", "no such agreement")
    chain = await pair.entries(DATA, "agreement", theirs.id)
    assert not any(entry.type in ("access.decide", "access.deny") for entry in chain)


async def test_q3a_a_join_gets_no_row_past_an_agreement_for_aggregates(pair: World) -> None:
    acme = pair.clients["acme"]
    totals, plain = await pair.agree(acme, f"{DATA}/counted"), await pair.agree(acme, f"{DATA}/ports", "open")
    sql = "select p.id, x.n from ports p join (select grp, count(*) n from t group by grp) x using (grp)"
    for order in ((totals, plain), (plain, totals)):
        for operation in ("read", "aggregate"):
            failure = await read(acme, joining(acme, *order, sql=sql, operation=operation).raw)
            assert failure.reason == "DENIED"
            assert failure.message.startswith("aggregates only")
    assert [entry.type for entry in await pair.entries(DATA, "agreement", plain.id)].count("access.decide") == 0


async def test_p3c_revoking_any_one_agreement_stops_the_stream_in_both_chains(pair: World) -> None:
    one, wide = await two(pair, product="wide")
    held = await pair.clients["bureau"].agreement(wide.id)

    class Joined:
        id = one.id

        def reader(self, _sql: str, **settings: Any) -> Any:
            sql = (
                f"select p.* from ports p, (select count(*) n from {schema_name(one.id)}.t) x where p.id >= x.n - 1000"
            )
            return one.reader(sql, joined=[wide], **settings)

    async with stalled(pair, Joined()) as stream:
        await held.suspend("prices are wrong")
        failure = await stream.rest()
        assert failure.reason == "GRANT_INVALID"
    for domain in (DATA, HOME):
        await stream.settled(domain)
        for agreement in (one, wide):
            chain = await pair.entries(domain, "agreement", agreement.id)
            assert [e.reason_code for e in chain if e.type == "delivery.abort"] == ["GRANT_INVALID"]
    receipt = await pair[DATA].venue.store.read(lambda view: receipt_in(view, stream.access))
    assert [share.agreement for share in receipt.shares] == [one.id, wide.id]
    assert (await pair.state(DATA, AgreementState, one.id)).state == "PERFORMING"
    with pytest.raises(TrustnodeError) as refused:
        await one.sql("select count(*) from t, ports", joined=[wide]).to_arrow()
    assert refused.value.reason == "GRANT_INVALID"


async def test_an_explanation_shows_limits_and_prices_of_both(pair: World) -> None:
    one, other = await two(pair, "few", "daily")
    found = await one.explain(FEW, joined=[other])
    assert found.allowed
    assert [column.name for column in found.columns] == ["id", "grp"]
    assert [(counter.text, counter.used) for counter in found.counters] == [
        ("5 reads in all of small", 0), ("2 reads per day of ports", 0),
    ]  # fmt: skip
    assert found.price == "small free; ports free"
    assert (found.rows_estimate, found.columns_total) == (None, 4)
    refused = await one.explain("select id from t", joined=[other])
    assert (refused.allowed, refused.reason) == (False, "QUERY_INVALID")
    assert "leave that agreement out" in refused.message
    assert "write the query" in (await one.explain("", joined=[other])).message
    assert (await used(pair, one), await used(pair, other)) == ({}, {})


async def test_products_held_at_two_venues_are_not_joined(pair: World) -> None:
    acme = pair.clients["acme"]
    maker = await pair.join(HOME, "maker", "PROVIDER")
    await pair.publish(maker, product_text("near", ("open",)).replace('"bureau"', '"maker"'), "near")
    here = await pair.agree(acme, f"{HOME}/near", "open")
    there, _ = await two(pair)
    words = "these are held at (2|two) venues, .*: read each"
    with pytest.raises(TrustnodeError, match=words):
        here.sql("select 1 from t", joined=[there])
    for first, second in ((here, there), (there, here)):
        for sql in ("select 1 from t", BOTH):
            failure = await read(acme, joining(acme, first, second, sql=sql).raw)
            assert (failure.reason, failure.message[-9:]) == ("QUERY_INVALID", "read each")
    assert [entry.type for entry in await pair.entries(DATA, "agreement", there.id)].count("access.decide") == 0


async def test_q7_a_stock_client_joins_what_was_delegated_together_by_qualified_names(pair: World) -> None:
    one, other = await two(pair, "open", "daily")
    await one.delegate(clock.shift(now(), 86400), joined=[other])
    alone = await pair.agree(pair.clients["acme"], f"{DATA}/ports", "few")
    await alone.delegate(clock.shift(now(), 86400))
    a, b, c = (schema_name(deal.id) for deal in (one, other, alone))
    sql = "select count(*) n from {}.t x join {}.ports y on x.id = y.id where x.id < ? and y.grp = ?"

    def ask(text: str, values: tuple[Any, ...]) -> Any:
        with connect(pair, "acme") as connection, connection.cursor() as cursor:
            cursor.execute(text, values)
            return cursor.fetchall()

    assert await asyncio.to_thread(ask, sql.format(a, b), (70, "g1")) == [(10,)]
    with pytest.raises(adbc_driver_manager.Error, match="no delegation covers these agreements together"):
        await asyncio.to_thread(ask, sql.format(a, c), (70, "g1"))
    with pytest.raises(adbc_driver_manager.Error, match="no such agreement"):
        await asyncio.to_thread(ask, sql.format(a, "agreement_00000000"), (70, "g1"))
    for domain in (DATA, HOME):
        for deal in (one, other):
            [row] = await pair[domain].venue.store.read(lambda view, a=deal: view.find(AccessState, agreement=a.id))
            row = await pair.in_state(domain, AccessState, row.id, "DELIVERED", "ABORTED")
            assert (row.grade, row.rows) == ("DELEGATED", 1)


async def test_p2a_a_delegation_for_one_agreement_does_not_cover_a_join(pair: World) -> None:
    acme = pair.clients["acme"]
    one, other = await two(pair)
    given = await one.delegate(clock.shift(now(), 86400))
    node = pair[HOME].venue
    changes = {
        "request_proof": "DELEGATED", "delegation_sha256": given.digest, "iss": HOME, "signer": node.evidence,
        "joined": (Named(other.id, other.document.digest),),
    }  # fmt: skip
    made = ticket(acme, one, FEW, **changes)
    raw = new_ticket(made.request, made.query, made.query_salt, made.key_document, given).raw
    with pytest.raises(TrustnodeError) as refused:
        await pair.node_caller(HOME, DATA).read(raw, timeout_s=20)
    assert refused.value.reason == "REQUEST_PROOF_TOO_WEAK"


async def test_a_participant_of_the_venue_that_holds_the_data_joins_too(pair: World) -> None:
    local = await pair.join(DATA, "local", "CONSUMER")
    deals = []
    for name in ("small", "ports"):
        await pair.found(local, f"{DATA}/{name}")
        deals.append(await local.negotiate(f"{DATA}/{name}", offer="few"))
        await pair.in_state(DATA, AgreementState, deals[-1].id, "PERFORMING")
    assert (await deals[0].sql(FEW, joined=deals[1:]).to_arrow()).num_rows == 5
    assert [len(await deal.receipts()) for deal in deals] == [1, 1]


async def test_p6b_an_acknowledgement_of_one_agreement_alone_is_of_no_access(pair: World) -> None:
    one, other = await two(pair)
    table = one.sql(FEW, joined=[other])
    await table.to_arrow()
    receipt = table.receipt
    item = AckItem(
        access=joined_id(table.access, other.id), frames=receipt.frames, rows=0, bytes=0,
        stream_commitment=receipt.stream_commitment, verdict="LESS", final=True,
    )  # fmt: skip
    venue = pair[HOME].venue
    ack = venue.sign(ReceiptAck(by="CARRIER", items=(item,), **venue.fields(DATA, HOME)))
    with pytest.raises(TrustnodeError) as refused:
        await pair.node_caller(HOME, DATA).deliver(ack.digest, ack, timeout_s=20)
    assert refused.value.reason == "NOT_FOUND"


async def test_a_receipt_that_leaves_an_agreement_out_is_none(pair: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = await two(pair)
    honest = serving.settle

    async def shorter(venue: Any, *arguments: Any) -> Any:
        receipt = decode(await honest(venue, *arguments), Receipt)
        return venue.sign(msgspec.structs.replace(receipt, joined=()))

    whole = access.read

    async def small(venue: Any, *arguments: Any) -> Any:
        answer = await whole(venue, *arguments)
        receipt = msgspec.structs.replace(decode(answer.receipt, Receipt), joined=())
        return answer._replace(receipt=venue.sign(receipt))

    monkeypatch.setattr(serving, "settle", shorter)
    monkeypatch.setattr(access, "read", small)
    for text in (FEW, FEW + " limit 3"):
        with pytest.raises(TrustnodeError) as refused:
            await one.sql(text, joined=[other]).to_arrow()
        # as a stream, the home node hands on the request where no receipt came
        assert refused.value.reason in ("VERIFICATION_FAILED", "VOCABULARY_UNKNOWN")


async def test_a_receipt_that_asks_too_much_under_one_agreement_is_found_in_its_bundle(
    pair: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    one, other = await two(pair)
    honest = serving._receipt

    def dearer(*arguments: Any) -> Any:
        receipt = honest(*arguments)
        return msgspec.structs.replace(receipt, joined=(msgspec.structs.replace(receipt.joined[0], cost_fen=900),))

    monkeypatch.setattr(serving, "_receipt", dearer)
    await one.sql(FEW, joined=[other]).to_arrow()
    monkeypatch.undo()
    path = await other.bundle(tmp_path / "other.bundle")
    report = await asyncio.to_thread(verify_bundle, path.read_bytes(), {})
    assert ["cost" in finding.message for finding in report.findings if finding.step == 9] == [True]


async def test_a_node_that_fell_ends_the_access_under_every_agreement(
    pair: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await two(pair, "few", "few")

    async def fallen(*_: Any) -> Any:
        raise error("EVIDENCE_UNAVAILABLE", "the node fell here")

    monkeypatch.setattr(serving, "settle", fallen)
    monkeypatch.setattr(carrying, "RECEIPT_WAIT_S", 0.1)
    with pytest.raises(TrustnodeError):
        async with one.reader(FEW, joined=[other]) as reader:
            async for _ in reader:
                pass
    monkeypatch.undo()
    assert await recover(pair[DATA].venue) == 2
    for deal in (one, other):
        [row] = await pair[DATA].venue.store.read(lambda view, a=deal: view.find(AccessState, agreement=a.id))
        assert (row.state, row.cause) == ("ABORTED", "INTERNAL")
        assert await pair[DATA].venue.store.read(lambda view, a=row: view.reservations(a.id)) == []
        assert await used(pair, deal) == {f"{deal.id}/count/none": 1}


async def test_the_command_line_explains_reads_saves_and_delegates_over_two_agreements(
    pair: World, tmp_path: Any
) -> None:
    one, other = await two(pair, "open", "few")
    profile = ["--profile", str(pair.clients["acme"].profile.folder), "--json"]
    joined = [one.short, "--with", other.short]

    async def run(*words: str) -> Any:
        done = await asyncio.to_thread(CliRunner().invoke, root, [*words, *profile])
        assert done.exit_code == 0, done.output
        # the nodes run in this process, and may log in between
        return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))

    explained = await run("explain", *joined, "--sql", FEW)
    assert [counter["text"] for counter in explained["counters"]] == ["5 reads in all of ports"]
    got = await run("read", *joined, "--sql", FEW)
    assert len(got["items"]) == 5
    assert [share["agreement"] for share in got["receipt"]["agreements"]] == [one.id, other.id]
    target = tmp_path / "out.arrow"
    assert (await run("read", *joined, "--sql", BOTH, "-o", str(target)))["rows"] == 1000
    until_day = clock.shift(now(), 86400)[:10]
    given = await run("agreement", "delegate", one.short, other.short, "--until", until_day)
    assert given["agreements"] == [one.id, other.id]
    assert [line["rows"] for line in (await run("receipts", other.short))["items"]] == [1000, 5]
    failed = await asyncio.to_thread(CliRunner().invoke, root, ["read", *joined, *profile])
    assert failed.exit_code == 2


async def test_q3b_a_product_with_noise_is_joined_with_no_other_and_its_budget_is_not_touched(pair: World) -> None:
    write_persons(pair.folder)
    await pair.publish(pair.clients["bureau"], product("persons", [noised()]), "persons")
    acme = pair.clients["acme"]
    persons, plain = await pair.agree(acme, f"{DATA}/persons"), await pair.agree(acme, f"{DATA}/ports", "few")
    sql = "select a.n, b.n from (select count(*) n from t) a, (select count(*) n from ports) b"
    for order in ((persons, plain), (plain, persons)):
        refused = await read(acme, joining(acme, *order, sql=sql, operation="aggregate").raw)
        assert (refused.reason, refused.message[-29:]) == ("DENIED", "question reads no other product"[-29:])
        explained = await order[0].explain(sql, joined=order[1:])
        assert (explained.allowed, explained.reason) == (False, "DENIED")
    assert await used(pair, plain) == {}
    counters = await pair[DATA].venue.store.read(counters_of)
    assert not any("persons" in key or persons.id in key for key, _ in counters)
