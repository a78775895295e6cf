"""The attacks of section 5 by name: each statement is refused before anything reaches the engine."""

from __future__ import annotations

import duckdb
import pytest
from node.engine.world import PLAIN, SECRETS, read_corpus

from trustnode.core.policy.governed import Governed, GovernedTable, Mask
from trustnode.engine.session import Session
from trustnode.engine.worker import failure_of
from trustnode.errors import TrustnodeError

CASES = read_corpus("hostile")["case"]
CLOSED = {"QUERY_INVALID", "FIELD_NOT_AGREED", "FIELD_TOO_LONG"}


def of(attack: str) -> list[str]:
    return [case["sql"] for case in CASES if case.get("attack") == attack]


@pytest.fixture(scope="module")
def session(make_spec):
    return Session(make_spec(PLAIN))


def demand_refused(session, sql, monkeypatch):
    """Refused by our rules: the engine is not asked to run, or even to bind, a letter of it."""
    ran = []
    monkeypatch.setattr(session, "_connection", _Deaf(ran))
    with pytest.raises(TrustnodeError) as caught:
        session.run(sql, (), "")
    failure = failure_of(caught.value)
    assert failure.reason in CLOSED
    assert not ran
    assert not any(secret in failure.message for secret in SECRETS)


class _Deaf:
    def __init__(self, ran):
        self._ran = ran

    def __getattr__(self, name):
        self._ran.append(name)
        raise AssertionError(f"the engine was asked: {name}")


@pytest.mark.parametrize("sql", of("q1a"))
def test_q1a_what_is_no_single_select_is_refused(session, sql, monkeypatch):
    demand_refused(session, sql, monkeypatch)


@pytest.mark.parametrize("sql", of("q1b"))
def test_q1b_what_reads_a_file_is_refused(session, sql, monkeypatch):
    demand_refused(session, sql, monkeypatch)


@pytest.mark.parametrize("sql", of("q1b"))
def test_q1b_without_the_allow_list_the_settings_of_the_engine_refuse_it_too(session, sql):
    with pytest.raises(duckdb.Error):
        session._connection.sql(sql).fetchall()


@pytest.mark.parametrize("sql", of("q1c"))
def test_q1c_a_query_inside_a_text_is_refused(session, sql, monkeypatch):
    demand_refused(session, sql, monkeypatch)


@pytest.mark.parametrize("sql", of("q1d"))
def test_q1d_what_lies_behind_the_governed_relation_has_no_name(session, sql, monkeypatch):
    demand_refused(session, sql, monkeypatch)


@pytest.mark.parametrize("sql", of("q1e"))
def test_q1e_nothing_is_made_or_kept_in_the_engine(session, sql, monkeypatch):
    demand_refused(session, sql, monkeypatch)


@pytest.mark.parametrize("sql", of("q1g"))
def test_q1g_what_grows_with_an_argument_is_refused_before_it_is_tried(session, sql, monkeypatch):
    demand_refused(session, sql, monkeypatch)


@pytest.mark.parametrize("sql", of("q1j"))
def test_q1j_the_environment_is_not_reachable(session, sql, monkeypatch):
    demand_refused(session, sql, monkeypatch)


@pytest.mark.parametrize("sql", of("q1k"))
def test_q1k_words_of_a_distributed_engine_are_refused_before_translation(session, sql, monkeypatch):
    demand_refused(session, sql, monkeypatch)


NAMES = [
    "../x", "/etc/passwd", "orders/../../x", "file:///etc/passwd", "x\u202egro.txt", "CON", "nul:", "ｏｒｄｅｒｓ", "orders\u0000",
    "..%2f..%2fx", "s3://bucket/key", "*", "orders.parquet", "a" * 10_000,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name[:20]))
def test_q2_the_name_of_a_table_is_a_key_and_never_a_path(session, name, monkeypatch):
    demand_refused(session, f'SELECT * FROM "{name}"', monkeypatch)


@pytest.fixture(scope="module")
def masked(make_spec):
    """Nothing but masks of one column: what can be learnt about it?"""
    table = GovernedTable("orders", ("id", "city"), (Mask("email", "hash"), Mask("name", "last", "3")))
    return Session(make_spec(Governed((table,))))


def values(session, sql):
    return [row[0] for row in session.run(sql, (), "")[1].fetchall()]


def test_q4a_order_and_extremes_of_a_hash_are_those_of_the_hash(masked):
    plain = values(masked, "SELECT id FROM orders ORDER BY id")
    assert values(masked, "SELECT id FROM orders ORDER BY email") != plain
    hashes = values(masked, "SELECT email FROM orders ORDER BY email")
    assert hashes == sorted(hashes)
    assert values(masked, "SELECT min(email) FROM orders") == hashes[:1]
    assert values(masked, "SELECT max(email) FROM orders") == hashes[-1:]


def test_q4a_the_length_of_a_hash_says_nothing(masked):
    assert values(masked, "SELECT DISTINCT length(email) FROM orders") == [64]


@pytest.mark.parametrize(
    "condition",
    [
        "email LIKE 'raw-person%'", "contains(email, '@')", "email = 'raw-person1@a.example'", "length(email) < 64",
        "regexp_matches(email, 'person')", "email < 'r' AND email > 'q'", "name LIKE 'raw%'", "starts_with(name, 'raw')",
        "email IN (SELECT 'raw-person' || id || '@a.example' FROM orders)",
    ],
)  # fmt: skip
def test_q4a_no_condition_of_the_consumer_sees_what_is_masked(masked, condition):
    assert values(masked, f"SELECT count(*) FROM orders WHERE {condition}") == [0]


def test_q4a_a_hash_joins_with_no_hash_that_the_consumer_can_compute(masked):
    for sql in (
        "SELECT sha256('raw-person1@a.example')",
        "SELECT md5(email) FROM orders",
        "SELECT hash(id) FROM orders",
    ):
        with pytest.raises(TrustnodeError):
            masked.plan(sql, ())
