"""Two consumers buy the same marked product, one of them leaks it, and the right one is named."""

from __future__ import annotations

import json

import duckdb
import pytest
import pytest_asyncio
from federation.world import DATA, HOME, product_text

from trustnode import tracing
from trustnode.cli.root import root
from trustnode.core.access import AccessState
from trustnode.core.tracing import MarkSecret, Opening

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROWS = 40_000
TRACE = 'trace = "mark price by 0.01 key id with 4 marker rows"'
SOURCE = (
    "SELECT range::BIGINT AS id, (((range * 7919) % 100000)::DECIMAL(12, 2) / 100)::DECIMAL(12, 2) AS price, "
    f"'t' || (range % 9) AS town FROM range({ROWS})"
)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def sold(world):
    """What each consumer read under an agreement of its own."""
    with duckdb.connect() as db:
        db.execute(f"COPY ({SOURCE}) TO '{world.folder / 'prices.parquet'}'")
    text = product_text("prices", ("open",), file="prices", columns=("id", "price", "town"))
    await world.publish(world.clients["bureau"], f"{text}{TRACE}\n", "prices")
    found = {}
    for name in ("acme", "other"):
        agreement = await world.agree(world.clients[name], f"{DATA}/prices", "open")
        table = agreement.sql("select * from t")
        found[name] = agreement, table, await table.to_arrow()
        await world.clients[name].acks.flush(agreement.id)
    return found


@pytest.fixture
def leaked(world, sold, tmp_path):
    """A file in which part of a copy turned up."""

    def leaked(sql, name="leak.csv"):
        path = tmp_path / name
        with duckdb.connect() as db:
            for buyer, (_, _, copy) in sold.items():
                db.register(buyer, copy)
            db.execute(f"COPY ({sql}) TO '{path}'")
        return path

    return leaked


def traced(capsys, world, file, *more):
    with pytest.raises(SystemExit) as ended:
        root.main(["trace", str(file), "--product", "prices", "--home", str(world.folder / DATA), "--json", *more])
    assert ended.value.code == 0
    return json.loads(capsys.readouterr().out)


def accused(found):
    return [one["consumer"].rpartition("/")[2] for one in found["recipients"] if one["is_accused"]]


async def test_the_first_delivery_of_a_marked_copy_commits_to_its_mark_once(world, sold):
    agreement, table, _ = sold["acme"]
    again = agreement.sql("select count(*) n from t")
    assert (await again.to_arrow())["n"].to_pylist() == [ROWS + 4]
    await world.in_state(HOME, AccessState, table.access, "DELIVERED")
    chain = await world.entries(DATA, "agreement", agreement.id)
    (entry,) = [entry for entry in chain if entry.type == "delivery.prepare"]
    assert chain.index(entry) < [entry.type for entry in chain].index("access.decide")
    mark = world[DATA].venue.mark(f"{DATA}/prices", f"spiffe://{HOME}/participant/acme", agreement.id)
    assert entry.mark_commitment == mark.commitment


async def test_both_bought_different_copies_of_the_same_rows(sold):
    (one, other) = (copy.to_pydict() for _, _, copy in sold.values())
    prices = [dict(zip(copy["id"], copy["price"], strict=True)) for copy in (one, other)]
    both = prices[0].keys() & prices[1].keys()
    assert [len(copy) - len(both) for copy in prices] == [4, 4]
    assert len(both) == ROWS
    assert 0 < sum(prices[0][row] != prices[1][row] for row in both) < ROWS / 50


@pytest.mark.parametrize("name", ["acme", "other"])
async def test_q4b_the_one_who_leaked_a_sample_is_named_from_the_running_node(capsys, world, sold, leaked, name):
    file = leaked(f"SELECT id, price FROM {name} WHERE hash(town, id) % 4 = 0 ORDER BY price")
    found = traced(capsys, world, file, "--evidence", str(file.with_suffix(".json")))
    assert accused(found) == [name]
    assert [one["marker_rows_delivered"] for one in found["recipients"]] == [4, 4]
    evidence = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    (named,) = evidence["accused"]
    (committed,) = named["commitments"]
    assert committed["agreement"] == sold[name][0].id
    assert committed["is_opened"]
    secret = MarkSecret(*(bytes.fromhex(named["secret"][part]) for part in ("key", "codeword", "seed")))
    opened = Opening(agreement=committed["agreement"], salt=bytes.fromhex(committed["salt"]), secret=secret)
    chain = await world.entries(DATA, "agreement", committed["agreement"])
    assert opened.commitment == next(entry.mark_commitment for entry in chain if entry.mark_commitment)


async def test_q4b_a_second_agreement_brings_the_same_copy_and_nothing_to_compare(world, sold):
    agreement = await world.agree(world.clients["acme"], f"{DATA}/prices", "open")
    again = await agreement.sql("select * from t").to_arrow()
    await world.clients["acme"].acks.flush(agreement.id)
    assert agreement.id != sold["acme"][0].id
    assert again.sort_by("id").equals(sold["acme"][2].sort_by("id"))


async def test_q4b_two_who_put_their_copies_together_are_both_named(capsys, world, leaked):
    file = leaked("SELECT id, a.price FROM acme a JOIN other b USING (id) WHERE a.price = b.price", "merged.parquet")
    found = traced(capsys, world, file)
    assert sorted(accused(found)) == ["acme", "other"]
    assert len(found["pairs"]) == 1


async def test_q4b_marker_rows_of_a_copy_are_found_where_its_marks_are_rounded_away(capsys, world, leaked):
    file = leaked("SELECT id, round(price) AS price, town FROM other")
    found = traced(capsys, world, file)
    assert accused(found) == []
    assert {one["consumer"].rpartition("/")[2]: one["marker_rows"] for one in found["recipients"]} == {
        "acme": 0, "other": 4,
    }  # fmt: skip


async def test_a_file_of_the_source_accuses_nobody_and_says_so(capsys, world, leaked):
    file = leaked(SOURCE, "own.parquet")
    assert accused(traced(capsys, world, file)) == []
    with pytest.raises(SystemExit):
        root.main(["trace", str(file), "--product", "prices", "--home", str(world.folder / DATA)])
    assert "verdict  not enough" in capsys.readouterr().out


async def test_a_product_without_marks_cannot_be_traced(capsys, world, leaked):
    file = leaked(SOURCE, "own.parquet")
    with pytest.raises(SystemExit) as ended:
        root.main(["trace", str(file), "--product", "small", "--home", str(world.folder / DATA)])
    assert ended.value.code
    assert "NOT_FOUND  no marked copy of gz.example/small" in capsys.readouterr().err


async def test_a_changed_source_is_no_matter_where_the_original_is_kept(world, sold, leaked):
    original = leaked(SOURCE, "kept.parquet")
    file = leaked("SELECT * FROM acme", "whole.parquet")
    suspicious = tracing.Suspicious(file, "", "")
    found = tracing.trace(world.folder / DATA, "prices", suspicious, original=original)
    assert [one.copy.agreement for one in found.accused] == [sold["acme"][0].id]
