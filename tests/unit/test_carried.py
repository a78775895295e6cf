"""Every column of every state is carried, or follows, or is local, and the tables say so."""

from typing import get_args, get_origin

import msgspec
import pytest

from trustnode.core import carried
from trustnode.core.access import AccessState
from trustnode.core.evidence.moved import RowKind
from trustnode.core.participant import ParticipantState
from trustnode.core.states import KINDS, MACHINES, STATES

EVERY = {(kind, column) for kind, state in STATES.items() for column in state.__struct_fields__}
BESIDE = {"id", "version", "changed_at"}


def test_each_column_has_exactly_one_place():
    for kind in STATES:
        places = [set(carried.carried(kind)), {c for k, c in carried.FOLLOWING if k == kind}]
        places.append({c for k, c in carried.LOCAL if k == kind})
        assert set().union(*places) | BESIDE == set(STATES[kind].__struct_fields__)
        assert sum(map(len, places)) == len(set().union(*places))


def test_the_tables_name_no_column_that_does_not_exist():
    assert {*carried.DIGESTED, *carried.FOLLOWING, *carried.LOCAL} <= EVERY
    assert all(len(reason) > 10 for table in (carried.FOLLOWING, carried.LOCAL) for reason in table.values())


def test_a_kind_with_a_life_cycle_has_a_chain_and_nothing_local():
    assert set(carried.CHAINS) == set(MACHINES) == set(get_args(RowKind))
    assert not {kind for kind, _ in carried.LOCAL} & set(MACHINES)
    for kind, chain in carried.CHAINS.items():
        assert chain.column in STATES[kind].__struct_fields__
        assert MACHINES[kind].kind == chain.kind


@pytest.mark.parametrize("kind", carried.CHAINS)
def test_a_carried_column_has_a_spelling_in_an_entry(kind):
    for field in msgspec.structs.fields(STATES[kind]):
        assert (get_origin(field.type) or field.type) in (str, int, tuple), field.name


def test_a_new_object_carries_what_is_not_empty_and_a_change_what_changed():
    before = AccessState(id="a1", agreement="C1", state="REQUESTED", version=1, rows=0)
    assert msgspec.to_builtins(carried.change_of(None, before)) == {
        "kind": "access",
        "id": "a1",
        "version": 1,
        "columns": {"agreement": "C1", "state": "REQUESTED"},
    }
    after = msgspec.structs.replace(before, version=2, rows=7, agreement="", decision_seq=4)
    found = carried.change_of(before, after)
    assert (found.since, found.version, found.columns) == (1, 2, {"rows": 7, "agreement": ""})


def test_a_name_stands_in_no_entry():
    state = ParticipantState(id="spiffe://a.example/participant/p", name="p", title="张三 Ltd", version=1)
    assert carried.change_of(None, state).columns["title"] == carried.text_digest("张三 Ltd")


def test_every_kind_has_its_empty_row():
    for kind, state in KINDS.items():
        row = carried.empty_columns(state)
        assert msgspec.convert(dict(row), kind) == kind(**row)


SHOWN = {
    "negotiation": "state causes document product listing offer offer_name provider consumer provider_node consumer_node "
    "purpose number proposed_by agreement waits_for lapses_at",
    "agreement": "state causes document negotiation product product_id provider consumer provider_node consumer_node "
    "offer_name purpose start end policy ending_signed_by",
    "grant": "state causes document agreement holder provider_node not_before not_after",
    "access": "state causes document agreement product consumer consumer_node provider_node purpose grade plan_commitment "
    "stream_salt frames rows bytes stream_commitment receipt carrier_ack participant_ack cause cost_fen resumes "
    "started_at ended_at",
    "duty": "state causes document agreement duty covered",
}
"""What a bundle shows to the other party and to strangers, column by column. Each was looked at: it stands in a document
that both parties have, or was sent to the other one. A new column belongs here only after the same question."""


def test_a_bundle_shows_no_column_that_nobody_has_looked_at():
    shown = {kind for kind, chain in carried.CHAINS.items() if chain.kind in ("agreement", "negotiation")}
    assert shown == set(SHOWN)
    for kind, columns in SHOWN.items():
        assert set(carried.carried(kind)) == set(columns.split())
    assert not any("binding" in carried.carried(kind) for kind in shown)
