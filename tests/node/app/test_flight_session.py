"""Which agreement a stock client means, and the sessions that remember it."""

import pytest

from trustnode.app import flight_session
from trustnode.app.flight_session import Sessions, agreements_for, agreements_named
from trustnode.app.metadata import matches
from trustnode.core import clock
from trustnode.core.identity import Caller
from trustnode.errors import TrustnodeError

NOW = "2026-01-02T03:04:05.000Z"
ONE = Caller("CLIENT", "spiffe://a.example/participant/one/client", "a.example", "", "one", "aa", "01", "cc")


@pytest.mark.parametrize(
    "sql, short",
    [
        ("select * from agreement_7k3qx9m2.t", "7K3QX9M2"),
        ('select * from "agreement_7k3qx9m2"."t"', "7K3QX9M2"),
        ("SELECT t.a FROM AGREEMENT_7K3QX9M2 . t", "7K3QX9M2"),
        ("select a.x, b.y from agreement_7k3qx9m2.t a, agreement_7K3QX9M2.t b", "7K3QX9M2"),
        ("select 'agreement_aaaaaaaa.t', 'it''s agreement_bbbbbbbb.t' from agreement_7k3qx9m2.t", "7K3QX9M2"),
        ("select 1 -- agreement_aaaaaaaa.t\n/* agreement_bbbbbbbb.t */ from t", ""),
        ("select agreement_7k3qx9m2 from t", ""),
        ("select * from my_agreement_7k3qx9m2.t", ""),
        ("select * from agreement_7k3qx9m2x.t", ""),
        ("select * from agreement_7k3qx9m2", ""),
    ],
)
def test_a_query_names_its_agreement_by_the_schema_before_a_table(sql, short):
    assert agreements_named(sql) == ((short,) if short else ())


def test_a_query_may_name_two_agreements_and_so_may_what_stands_beside_it():
    assert agreements_named("select 1 from agreement_7k3qx9m2.t, agreement_aaaaaaaa.t") == ("7K3QX9M2", "AAAAAAAA")
    assert agreements_for("select 1 from t", "loans, agreement_aaaaaaaa", None) == ("loans", "AAAAAAAA")


def test_the_query_wins_over_the_header_and_the_header_over_the_session():
    sessions = Sessions()
    session = sessions.get(ONE, sessions.open(ONE, NOW), NOW)
    assert session is not None
    with pytest.raises(TrustnodeError, match="say under which agreement"):
        agreements_for("select 1 from t", "", session)
    session.options["agreement"] = "agreement_cccccccc"
    assert agreements_for("select 1 from t", "", session) == ("CCCCCCCC",)
    assert agreements_for("select 1 from t", "BBBBBBBB", session) == ("BBBBBBBB",)
    assert agreements_for("select 1 from agreement_aaaaaaaa.t", "BBBBBBBB", session) == ("AAAAAAAA",)


def test_sessions_of_one_caller_are_bounded_and_end(monkeypatch):
    monkeypatch.setattr(flight_session, "MAX_SESSIONS_OF_ONE", 2)
    sessions = Sessions()
    cookies = [sessions.open(ONE, clock.shift(NOW, number)) for number in range(3)]
    found = [sessions.get(ONE, cookie, NOW) is not None for cookie in cookies]
    assert found == [False, True, True]
    later = clock.shift(NOW, flight_session.LIFE_S + 60)
    assert sessions.get(ONE, cookies[2], later) is None


@pytest.mark.parametrize(
    "name, pattern, fits",
    [
        ("t", None, True), ("t", "%", True), ("t", "", False), ("t", "_", True), ("ab", "_", False), ("a_b", r"a\_b", True),
        ("axb", r"a\_b", False), ("a.b", "a.b", True), ("axb", "a.b", False), ("T", "t", True), ("a(b", "a(%", True),
        ("agreement_7k3qx9m2", "agreement_%", True),
    ],
)  # fmt: skip
def test_patterns_of_metadata(name, pattern, fits):
    assert matches(name, pattern) is fits
