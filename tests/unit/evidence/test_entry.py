"""The record of one event."""

import json

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from unit.evidence import vectors as v

from trustnode.core.evidence.entry import Entry, parse_statement, statement
from trustnode.core.evidence.events import EVENTS
from trustnode.core.evidence.moved import Counted, Moved
from trustnode.errors import REASONS, InvalidRequest, VerificationFailed

REQUIRED = {
    "event_id": "00000000-0000-4000-8000-000000000001",
    "type": "access.decide",
    "time": "2026-01-02T03:04:05.678Z",
    "node_id": "1" * 32,
    "object_kind": "agreement",
    "object": v.AGREEMENT,
}
EVERYTHING = {
    "trace_id": "t" * 64,
    "product_id": "p" * 65,
    "contract_id": v.AGREEMENT,
    "policy_id": "p" * 36,
    "policy_version": "1",
    "grant_id": "g",
    "access_id": "a",
    "actor": "pairwise:4711",
    "responsible_party": "spiffe://venue-a.example/participant/bank",
    "stage": "TRANSFER",
    "from_state": "REQUESTED",
    "to_state": "PREPARING",
    "decision": "ALLOW",
    "reason_code": "DENIED",
    "documents": ("0" * 64, "f" * 64),
    "query_commitment": "a" * 64,
    "plan_commitment": "b" * 64,
    "stream_commitment": "c" * 64,
    "mark_commitment": "c" * 64,
    "amount": 2**53 - 1,
    "unit": "fen",
    "previous_object": "00000000-0000-4000-8000-000000000002",
    "previous_link": "d" * 64,
    "moved": (
        Moved(kind="access", id="a", version=3, columns={"state": "STREAMING", "rows": 7, "causes": ("K:SYSTEM",)}),
    ),
    "reserved": (Counted(key=f"{v.AGREEMENT}/reads", window="2026-01-02T00+08:00", amount=1),),
    "used": (Counted(key=f"{v.AGREEMENT}/rows", amount=0),),
}


def entry(**fields):
    return Entry(**(REQUIRED | fields))


def canonical(**fields):
    return json.dumps(REQUIRED | fields, sort_keys=True, separators=(",", ":")).encode()


def test_a_record_has_the_fields_of_the_vocabulary():
    assert set(Entry.__struct_fields__) == set(REQUIRED) | set(EVERYTHING)


def test_the_bytes_are_canonical_json_without_absent_fields():
    assert statement(entry()) == canonical()
    assert statement(entry(**EVERYTHING)) == rfc8785.dumps(REQUIRED | msgspec.to_builtins(EVERYTHING))


IDENTIFIER = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='"\\'), min_size=1, max_size=32
)


@given(
    st.sampled_from(sorted(EVENTS)),
    IDENTIFIER,
    st.none() | IDENTIFIER,
    st.none() | st.sampled_from(sorted(REASONS)),
    st.none() | st.integers(0, 2**53 - 1),
    st.lists(st.binary(min_size=32, max_size=32).map(bytes.hex), max_size=64).map(tuple),
)
def test_any_record_reads_back_and_equals_an_independent_encoder(event, name, actor, reason, amount, documents):
    made = entry(
        type=event,
        object_kind=EVENTS[event].kind,
        object=name,
        actor=actor,
        reason_code=reason,
        amount=amount,
        unit=None if amount is None else "rows",
        documents=documents,
    )
    data = statement(made)
    assert parse_statement(data) == made
    assert rfc8785.dumps(json.loads(data)) == data


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_bring_the_parser_down(data):
    with pytest.raises(VerificationFailed):
        parse_statement(data)


HOSTILE = {
    "empty": b"",
    "not JSON": b"{",
    "not an object": b"[]",
    "missing field": b"{}",
    "white space": canonical().replace(b":", b": ", 1),
    "final newline": canonical() + b"\n",
    "other key order": b'{"type":"access.decide",' + canonical().replace(b',"type":"access.decide"', b"")[1:],
    "duplicate key": b'{"event_id":"1",' + canonical()[1:],
    "unknown field": canonical(zone="1"),
    "spelled-out default": canonical(documents=[]),
    "null": canonical(actor=None),
    "escaped letter": canonical().replace(b"access", b"\\u0061ccess"),
    "float": canonical(amount=1.5, unit="rows"),
    "integer as float": canonical(unit="rows", amount=1).replace(b'"amount":1', b'"amount":1.0'),
    "negative": canonical(amount=-1, unit="rows"),
    "2^53": canonical(amount=2**53, unit="rows"),
    "amount as text": canonical(amount="1", unit="rows"),
    "time without milliseconds": canonical(time="2026-01-02T03:04:05Z"),
    "time of another zone": canonical(time="2026-01-02T03:04:05.678+08:00"),
    "newline after a digest": canonical(query_commitment="a" * 64 + "\n"),
    "digest in upper case": canonical(query_commitment="A" * 64),
    "name of a person": canonical(actor="张三"),
    "prose": canonical(actor="Jane Doe"),
    "empty text": canonical(actor=""),
    "event id too long": canonical(event_id="1" * 37),
    "actor too long": canonical(actor="a" * 65),
    "65 documents": canonical(documents=["0" * 64] * 65),
    "unknown decision": canonical(decision="MAYBE"),
    "unknown stage": canonical(stage="LUNCH"),
    "unknown kind": canonical(object_kind="venue"),
    "not UTF-8": canonical().replace(b"access", b"\xff"),
    "too long": canonical(object="a" * 20000),
    "a change of a mirror": canonical(moved=[{"columns": {}, "id": "1", "kind": "catalog", "version": 1}]),
    "a change without a version": canonical(moved=[{"columns": {}, "id": "1", "kind": "grant"}]),
    "a column that is no text": canonical(moved=[{"columns": {"state": {}}, "id": "1", "kind": "grant", "version": 1}]),
    "prose in a column": canonical(
        moved=[{"columns": {"state": "not plain"}, "id": "1", "kind": "grant", "version": 1}]
    ),
}


@pytest.mark.parametrize("defect", HOSTILE)
def test_malformed_records_are_refused(defect):
    with pytest.raises(VerificationFailed) as caught:
        parse_statement(HOSTILE[defect])
    assert caught.value.reason == "VERIFICATION_FAILED"


CONTRADICTIONS = {
    "unknown event": ({"type": "access.guess"}, "VOCABULARY_UNKNOWN"),
    "unknown reason": ({"reason_code": "BECAUSE"}, "VOCABULARY_UNKNOWN"),
    "chain of another kind": ({"object_kind": "product"}, "FIELD_FORMAT"),
    "amount without unit": ({"amount": 1}, "FIELD_MISSING"),
    "unit without amount": ({"unit": "rows"}, "FIELD_MISSING"),
    "negotiation without link": ({"previous_object": "1"}, "FIELD_MISSING"),
    "counter without access": ({"used": [{"amount": 1, "key": "k"}]}, "FIELD_MISSING"),
    "link without negotiation": ({"previous_link": "0" * 64}, "FIELD_MISSING"),
}


@pytest.mark.parametrize("defect", CONTRADICTIONS)
def test_contradictions_are_refused_when_made_and_when_read(defect):
    fields, reason = CONTRADICTIONS[defect]
    with pytest.raises(InvalidRequest) as caught:
        entry(**fields)
    assert caught.value.reason == reason
    with pytest.raises(InvalidRequest) as caught:
        parse_statement(canonical(**fields))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "fields",
    [{"actor": "a" * 65}, {"actor": "Jane Doe"}, {"time": "now"}, {"query_commitment": "short"}, {"decision": "MAYBE"}],
    ids=str,
)
def test_what_nobody_could_read_back_is_not_written(fields):
    with pytest.raises(InvalidRequest) as caught:
        statement(entry(**fields))
    assert caught.value.reason == "FIELD_FORMAT"


def test_a_record_does_not_change():
    with pytest.raises(AttributeError):
        entry().type = "access.deny"
    assert msgspec.structs.replace(entry(), type="access.deny").type == "access.deny"
