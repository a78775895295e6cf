"""The client against a running node: enrol, find, agree, read, prove; in both forms."""

import asyncio

import msgspec
import pyarrow as pa
import pytest
from node.sdk.conftest import DOMAIN, FLIGHTS, invitation

import trustnode as tn
from trustnode import aio
from trustnode.core import card_file, envelope
from trustnode.core.access import AccessState, Receipt
from trustnode.core.document import decode
from trustnode.sdk.profile import now
from trustnode.testing.network import until

HANDLE = f"{DOMAIN}/flights"
COUNTS = "select origin, count(*) n from flights group by 1 order by 1"


async def test_from_a_search_to_a_receipt_both_sides_signed(venue):
    async with aio.connect(venue.consumer.folder) as cx:
        hits = await cx.search("flights")
        assert [(hit.product, hit.hops, hit.state) for hit in hits] == [(HANDLE, 0, "LISTED")]

        flights = await hits[0].negotiate(offer="open", as_="flights")
        assert (flights.state, flights.purpose, flights.offer.name) == ("PERFORMING", "statistics", "open")
        assert (await cx.agreement("flights")).id == flights.id == (await cx.agreement(flights.short)).id

        table = flights.sql(COUNTS)
        rows = (await table.to_arrow()).to_pylist()
        assert [row["n"] for row in rows] == [50_000] * 3
        assert (table.receipt.outcome, table.receipt.rows, table.cost) == ("COMPLETE", 3, 0)

    held = venue.network[DOMAIN].venue.store
    access = await held.read(lambda view: view.get(AccessState, table.access))
    assert access.participant_ack == "EQUAL"


async def test_a_large_answer_comes_as_a_stream_and_equals_its_source(venue):
    async with aio.connect(venue.consumer.folder) as cx:
        flights = await cx.negotiate(HANDLE, offer="open")
        got = await flights.sql("select origin, n from flights").to_arrow()

    assert got.sort_by("n").equals(FLIGHTS.select(["origin", "n"]).cast(got.schema))


async def test_a_column_or_purpose_outside_the_terms_is_refused_and_nothing_is_kept(venue):
    async with aio.connect(venue.consumer.folder) as cx:
        flights = await cx.negotiate(HANDLE, offer="open")
        assert not (await flights.explain("select tail from flights")).allowed
        for table, reason in (
            (flights.sql("select tail from flights"), "FIELD_NOT_AGREED"),
            (flights.sql(COUNTS, purpose="marketing"), "PURPOSE_NOT_AGREED"),
        ):
            with pytest.raises(tn.PolicyDenied) as caught:
                await table.to_arrow()
            assert caught.value.reason == reason
            assert table.kept is None


async def test_leaving_a_stream_early_settles_it(venue):
    async with aio.connect(venue.consumer.folder) as cx:
        flights = await cx.negotiate(HANDLE, offer="open")
        async with flights.reader("select * from flights") as reader:
            async for _ in reader:
                break
        assert reader.receipt.access == reader.access
        (line,) = await flights.receipts()
        assert line.object.state in ("ABORTED", "DELIVERED")
    assert list(venue.consumer.kept_acks()) == []


async def test_the_provider_approves_from_its_inbox(venue):
    async with aio.connect(venue.consumer.folder) as cx, aio.connect(venue.provider.folder) as px:
        asked = await cx.negotiate(HANDLE, offer="asked", as_="paid")
        assert (asked.state, asked.role) == ("REQUESTED", "consumer")
        with pytest.raises(tn.TrustnodeError) as caught:
            await cx.agreement("paid")
        assert caught.value.reason == "PRECONDITION_OPEN"

        (waiting,) = await px.inbox()
        assert (waiting.id, waiting.role, waiting.consumer) == (asked.id, "provider", venue.consumer.participant)
        waiting_for = asyncio.ensure_future(asked.wait(20))
        await waiting.accept()
        paid = await waiting_for

        assert (paid.state, paid.name, paid.price) == ("PERFORMING", "paid", "0.02 CNY per row")
        table = paid.sql("select origin from flights limit 5")
        await table.to_arrow()
        assert (table.cost, await paid.cost()) == (10, 10)
        assert await px.inbox() == []


async def test_a_counter_offer_goes_back_and_forth(venue):
    terms = {
        "purposes": ["statistics"], "who": "anyone", "period": "6 months", "columns": ["origin"], "keep": "unlimited",
        "onward": "allowed", "derived": "free",
    }  # fmt: skip
    async with aio.connect(venue.consumer.folder) as cx, aio.connect(venue.provider.folder) as px:
        asked = await cx.negotiate(HANDLE, offer="asked")
        await (await px.inbox())[0].counter(terms, price="0.05 CNY per row", reason="half the time")
        with pytest.raises(tn.PolicyDenied) as caught:
            await asked.wait(20)
        assert caught.value.reason == "PRECONDITION_OPEN"
        assert (str(asked.offer.price), asked.reason) == ("0.05 CNY per row", "half the time")

        await asked.accept()
        await (await px.inbox())[0].accept()
        assert (await asked.wait(20)).price == "0.05 CNY per row"


async def test_a_refusal_names_its_reason(venue):
    async with aio.connect(venue.consumer.folder) as cx, aio.connect(venue.provider.folder) as px:
        asked = await cx.negotiate(HANDLE, offer="asked")
        await (await px.inbox())[0].refuse("not to you")
        with pytest.raises(tn.PolicyDenied, match="not to you"):
            await asked.wait(20)


async def test_publishing_the_same_file_again_changes_nothing(venue):
    async with aio.connect(venue.provider.folder) as px:
        first = await px.publish(venue.product_file())
        assert (first.differences, first.registration.version) == ((), 1)

        file = venue.folder / "flights.toml"
        file.write_text(file.read_text().replace("Departures.", "All departures."))
        second = await px.publish(venue.product_file())
        assert [line.what for line in second.differences] == ["abstract"]
        assert second.registration.version == 2


async def test_the_certificate_renews_itself_with_the_same_key(venue):
    before = venue.consumer.credential
    async with aio.connect(venue.consumer.folder) as cx:
        cx.connection._renews_at = ""
        await cx.search()
        assert cx.connection._renews_at > now()
        await cx.search()
    after = venue.consumer.credential

    assert after.key_pem == before.key_pem
    assert after.leaf.serial_number != before.leaf.serial_number


async def test_an_invitation_opens_once_and_only_with_the_right_fingerprint(venue):
    file = await invitation(venue.network, venue.folder, "late", "CONSUMER")
    with pytest.raises(tn.VerificationFailed):
        await aio.join(file, "0000" * 8, folder=venue.folder / "late")
    assert not (venue.folder / "late").exists()

    await aio.join(file, venue.fingerprint, folder=venue.folder / "late")
    with pytest.raises(tn.TrustnodeError):
        await aio.join(file, venue.fingerprint, folder=venue.folder / "again")


async def test_a_reissued_invitation_keeps_the_document_key(venue):
    file = await invitation(venue.network, venue.folder, "acme", "CONSUMER", reissue=True)
    before = venue.consumer.signer.public
    again = await aio.join(file, venue.fingerprint, folder=venue.consumer.folder)

    assert again.signer.public == before
    async with aio.connect(again.folder) as cx:
        assert len(await cx.search()) == 1


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".arrow"])
async def test_a_file_has_its_name_only_when_it_is_complete(venue, suffix):
    target = venue.folder / f"out{suffix}"
    async with aio.connect(venue.consumer.folder) as cx:
        flights = await cx.negotiate(HANDLE, offer="open")
        await aio.save(flights.reader("select origin, n from flights"), target)
        assert target.exists()
        assert not target.with_name(target.name + ".part").exists()
        with pytest.raises(tn.TrustnodeError):
            await aio.save(flights.reader("select tail from flights"), venue.folder / f"no{suffix}")
    assert not (venue.folder / f"no{suffix}").exists()
    if suffix == ".arrow":
        receipt = decode(envelope.decode((venue.folder / "out.arrow.receipt").read_bytes()), Receipt)
        assert receipt.rows == FLIGHTS.num_rows


async def test_the_blocking_form_reads_into_every_library(venue):
    await asyncio.to_thread(read_into_every_library, venue)


def read_into_every_library(venue):
    import duckdb
    import pandas as pd
    import polars as pl

    with tn.connect(venue.consumer.folder) as cx:
        flights = cx.search("flights")[0].negotiate(offer="open", as_="flights")
        t = flights.sql(COUNTS)
        assert "not read" in repr(t)
        assert t.to_pandas()["n"].tolist() == t.to_polars()["n"].to_list() == [50_000] * 3
        assert pa.table(t).num_rows == pl.DataFrame(t).height == len(pd.DataFrame.from_arrow(t)) == 3
        assert duckdb.sql("select sum(n) from t").fetchall() == [(150_000,)]
        assert len(flights.receipts()) == 1
        assert t.run().access != t.access

        lazy = flights.scan("flights").filter(pl.col("n") < 30).select("origin")
        assert lazy.collect().height == 30
        assert sum(batch.num_rows for batch in flights.reader("select * from flights")) == FLIGHTS.num_rows
        assert cx.agreement("flights").explain(COUNTS).allowed
        receipt = flights.receipts()[0].receipt
        assert msgspec.json.encode(receipt)


async def test_the_operator_speaks_over_the_local_socket_and_hears_when_the_node_is_off(venue):
    async with aio.operator(venue.home) as operator:
        status = (await operator.call("AdminService/GetStatus"))["status"]
        assert (status["trust_domain"], status["state"]) == (DOMAIN, "SERVING")
    await venue.network.stop(DOMAIN)

    async with aio.operator(venue.home) as operator:
        with pytest.raises(tn.VenueUnavailable):
            await operator.call("AdminService/GetStatus")
    await venue.network.start(DOMAIN)


async def test_a_watch_goes_on_after_the_node_was_away(venue):
    async with aio.connect(venue.consumer.folder) as cx:
        asked = await cx.negotiate(HANDLE, offer="asked")
        waiting = asyncio.ensure_future(asked.wait(60))
        await venue.network.stop(DOMAIN)
        await venue.network.start(DOMAIN)
        async with aio.connect(venue.provider.folder) as px:
            await until(lambda: _accepted(px))
        assert (await waiting).state == "PERFORMING"


async def _accepted(px):
    for waiting in await px.inbox():
        await waiting.accept()
        return True
    return False


async def test_the_bundle_of_an_agreement_verifies_offline_and_a_changed_byte_does_not(venue):
    async with aio.connect(venue.consumer.folder) as cx:
        flights = await cx.negotiate(HANDLE, offer="open")
        await flights.sql(COUNTS).to_arrow()
        file = await cx.bundle(flights, venue.folder / "deal.bundle")

    trusted = {"anchor": {DOMAIN: venue.fingerprint}}
    found = tn.verify(file, **trusted)
    assert found.verdict == "VERIFIED", found.findings
    card = venue.folder / "gz.card"
    card.write_bytes(card_file.write(venue.consumer.card.document))
    for trust in (card, venue.consumer.folder / "card.json"):
        assert tn.verify(file, trust=trust).verdict == "VERIFIED"
    assert tn.verify(file).verdict == "UNANCHORED"

    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert tn.verify(file, **trusted).verdict not in ("VERIFIED", "UNANCHORED")
