"""Marks counted again in what is left of a copy: samples, rounding, another order, other formats, two copies merged."""

from __future__ import annotations

import random

import duckdb
import pytest

from trustnode.core import tracing
from trustnode.core.policy.governed import Governed, GovernedTable, Mark, Mask
from trustnode.engine.leak import Copies, Original, Suspicious
from trustnode.engine.session import Session
from trustnode.engine.source import Source
from trustnode.errors import TrustnodeError

ROWS = 60_000
PRODUCT = "gz.example/prices"
RECIPIENTS = [tracing.recipient(b"s" * 32, PRODUCT, f"C{number}") for number in range(6)]
TABLE = GovernedTable("prices", ("id", "price", "load"), mark=Mark("price", "0.01", "id"))
GROUP = Copies(TABLE, RECIPIENTS[0].secret.key, b"")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("leak")


@pytest.fixture(scope="module")
def source(folder):
    made = (
        f"SELECT range::BIGINT AS id, ((range * 7919) % 100000)::DECIMAL(12, 2) / 100 AS price, "
        f"((range * 31) % 977) / 8 AS load, 'n' || range AS name FROM range({ROWS})"
    )
    duckdb.sql(
        f"COPY (SELECT id, price::DECIMAL(12, 2) AS price, load, name FROM ({made})) TO '{folder}/prices.parquet'"
    )
    return Source("parquet", str(folder / "prices.parquet"))


@pytest.fixture(scope="module")
def copies(make_spec, source, folder):
    """Whole copies of two recipients."""
    for number in (2, 4):
        spec = make_spec(Governed((TABLE,)), source=source, mark=RECIPIENTS[number].secret)
        copy = Session(spec).run("SELECT * FROM prices", (), "")[1].to_arrow_table()
        with duckdb.connect() as db:
            db.register("copy_", copy)
            db.execute(f"COPY copy_ TO '{folder}/copy{number}.parquet'")
    return folder


@pytest.fixture
def judged(source, folder, copies):
    def judged(sql, name="suspect.parquet", group=GROUP, recipients=RECIPIENTS, **columns):
        path = folder / name
        path.unlink(missing_ok=True)
        with duckdb.connect() as db:
            for number in (2, 4):
                db.execute(f"CREATE VIEW copy{number} AS FROM '{folder}/copy{number}.parquet'")
            db.execute("SELECT setseed(0.42)")
            db.execute(f"COPY ({sql}) TO '{path}'")
        with Original(source, "prices", Suspicious(path, columns.get("column", ""), columns.get("key", ""))) as rows:
            found = rows.count(group)
        bits = tracing.observed(found.votes)
        return found, tracing.suspects(bits, recipients), tracing.pairs(bits, recipients)

    return judged


SAMPLES = {
    "everything": "FROM copy2",
    "another order": "FROM copy2 ORDER BY hash(id)",
    "a sample of 5 %": "FROM copy2 USING SAMPLE 5% (bernoulli, 3)",
    "a sample of 10 %": "FROM copy2 USING SAMPLE 10% (bernoulli, 7)",
    "8 %, of which 30 % rounded": "SELECT id, CASE WHEN random() < 0.3 THEN round(price, 0) ELSE price END AS price "
    "FROM copy2 USING SAMPLE 8% (bernoulli, 3)",
    "whole columns as text": "SELECT id::VARCHAR AS ID, price::VARCHAR AS Price FROM copy2",
    "half of it, with strange rows": "SELECT id, price FROM copy2 WHERE id % 2 = 0 UNION ALL SELECT -range, 1 FROM range(9)",
}


@pytest.mark.parametrize("what", SAMPLES)
def test_q4b_what_is_left_of_a_copy_names_its_recipient_and_nobody_else(judged, what):
    _, suspects, pairs = judged(SAMPLES[what])
    assert [one.name for one in suspects if one.is_accused] == ["C2"]
    assert suspects[0].agreeing == suspects[0].seen
    assert not pairs


def test_a_file_of_text_is_read_as_one_of_columns(judged):
    _, suspects, _ = judged(
        "SELECT id AS number, price AS amount FROM copy2 WHERE id % 10 = 0",
        "suspect.csv",
        column="amount",
        key="number",
    )
    assert [one.name for one in suspects if one.is_accused] == ["C2"]


@pytest.mark.parametrize(
    "sql", ["SELECT * FROM copy2 WHERE id < 600", "SELECT id, round(price, 1) AS price FROM copy2"]
)
def test_too_little_of_a_copy_names_nobody(judged, sql):
    found, suspects, _ = judged(sql)
    assert found.known
    assert not any(one.is_accused for one in suspects)


MERGES = {
    "what differs is left out": "SELECT a.* FROM copy2 a JOIN copy4 b USING (id) WHERE a.price = b.price",
    "one or the other by lot": "SELECT id, CASE WHEN random() < 0.5 THEN a.price ELSE b.price END AS price "
    "FROM copy2 a JOIN copy4 b USING (id)",
    "the mean of both": "SELECT id, (a.price + b.price) / 2 AS price FROM copy2 a JOIN copy4 b USING (id)",
    "half of the rows of each": "SELECT * FROM copy2 WHERE id % 2 = 0 UNION ALL SELECT * FROM copy4 WHERE id % 2 = 1",
    "half of it, without what differs": "SELECT a.* FROM copy2 a JOIN copy4 b USING (id) WHERE a.price = b.price "
    "AND hash(id) % 2 = 0",
}


@pytest.mark.parametrize("how", MERGES)
def test_q4b_two_recipients_who_merge_their_copies_are_both_found(judged, how):
    _, suspects, pairs = judged(MERGES[how])
    assert pairs[0].names == ("C2", "C4")
    assert {one.name for one in suspects if one.is_accused} <= {"C2", "C4"}


def test_the_original_itself_accuses_nobody(judged, folder):
    found, suspects, pairs = judged(f"FROM '{folder}/prices.parquet'")
    assert (found.rows, sum(vote.all for vote in found.votes)) == (ROWS, 0)
    assert not any(one.is_accused for one in suspects)
    assert not pairs


def test_a_copy_whose_key_is_masked_is_found_by_its_own_mask(make_spec, source, folder):
    few = folder / "few.parquet"
    duckdb.sql(f"COPY (FROM '{source.location}' LIMIT 20000) TO '{few}'")
    table = GovernedTable("few", ("price",), (Mask("name", "hash"),), None, Mark("price", "0.01", "name"))
    spec = make_spec(Governed((table,)), source=Source("parquet", str(few)), mark=RECIPIENTS[3].secret)
    copy = Session(spec).run("SELECT * FROM few", (), "")[1].to_arrow_table()
    with duckdb.connect() as db:
        db.register("copy_", copy)
        db.execute(f"COPY copy_ TO '{folder}/masked.parquet'")
    with Original(spec.source, "few", Suspicious(folder / "masked.parquet", "", "")) as rows:
        for hash_key, accused in ((b"k" * 32, ["C3"]), (b"j" * 32, [])):
            bits = tracing.observed(rows.count(Copies(table, RECIPIENTS[3].secret.key, hash_key)).votes)
            assert [one.name for one in tracing.suspects(bits, RECIPIENTS) if one.is_accused] == accused


@pytest.mark.parametrize(
    "sql, name, reason",
    [("SELECT price FROM copy2", "suspect.parquet", "FIELD_MISSING"), ("FROM copy2", "suspect.json", "FIELD_FORMAT")],
)
def test_a_file_that_cannot_be_compared_is_refused(judged, sql, name, reason):
    with pytest.raises(TrustnodeError) as refused:
        judged(sql, name)
    assert refused.value.reason == reason


def test_a_wrong_guess_of_the_secret_finds_nothing(judged):
    wrong = tracing.recipient(random.Random(1).randbytes(32), PRODUCT, "C2")
    _, suspects, _ = judged("FROM copy2", group=Copies(TABLE, wrong.secret.key, b""), recipients=[wrong])
    assert not any(one.is_accused for one in suspects)
