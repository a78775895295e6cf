"""The wire contract is readable on its own, complete, and says of every call who may make it and how it can fail."""

import json
import re

import pytest
from architecture.contract import PROTOS, elements, methods
from jsonschema import Draft202012Validator

from trustnode.core.documents import ALL, name_of
from trustnode.core.states import STATES
from trustnode.errors import REASONS

# DESIGN 3.6, as far as this slice goes: RPCs that nothing answers yet are not in the contract.
SERVICES = {
    "DocumentService": {"SubmitDocument", "GetObject", "ListObjects", "WatchObjects"},
    "CatalogService": {"SearchListings", "DescribeListing", "ResolveIdentifier"},
    "AccessService": {"ExplainAccess", "Read", "GetReceipt"},
    "EvidenceService": {"GetCheckpoint", "GetProof", "GetTile", "GetChainHead", "GetBundle"},
    "ParticipantService": {"EnrolParticipant", "RenewCertificate"},
    "PeerService": {
        "ApplyPeering",
        "DeliverDocument",
        "FollowFeed",
        "ExplainAccess",
        "Read",
        "AddCheckpoint",
        "MirrorLog",
        "GetMirroredLog",
        "GetConcerningDocuments",
    },
    "AdminService": {
        "GetStatus",
        "WatchStatus",
        "IssueDocument",
        "InviteParticipant",
        "TestPeer",
        "ReloadNode",
        "DrainNode",
        "CheckStore",
        "BackupStore",
        "ListBackups",
        "TestBackup",
        "ChangeOperators",
        "ListWitnesses",
        "ListForks",
        "AcceptHead",
    },
}
FIELD_STARTS = ("Required", "Optional.", "Output only.")
UPPER_WORD = re.compile(r"\b[A-Z]{2,}(?:_[A-Z0-9]+)*\b")
FAILS = re.compile(r"Fails (?:with|like).*?(?=\n ?(?:Not i|I)dempotent)", re.DOTALL)


def of_kind(*kinds):
    return [pytest.param(element, id=element.name) for element in elements() if element.kind in kinds]


def fails(comment):
    found = FAILS.search(comment)
    return found.group() if found else ""


def test_the_services_are_exactly_those_of_the_design():
    assert methods() == SERVICES


def test_every_element_has_a_comment():
    assert [element.name for element in elements() if not element.comment] == []


@pytest.mark.parametrize("field", of_kind("field"))
def test_a_field_says_first_whether_it_must_be_there(field):
    if not field.name.startswith(("Document.", "Signature.")):
        assert field.comment.startswith(FIELD_STARTS)


@pytest.mark.parametrize("rpc", of_kind("rpc"))
def test_a_call_says_who_may_make_it_how_it_fails_and_whether_it_may_be_repeated(rpc):
    assert "Callers: " in rpc.comment
    assert fails(rpc.comment)
    assert re.search(r"^ ?(Not idempotent|Idempotent): ", rpc.comment, re.MULTILINE)


@pytest.mark.parametrize("rpc", of_kind("rpc"))
def test_a_call_names_no_reason_that_does_not_exist(rpc):
    named = set(UPPER_WORD.findall(fails(rpc.comment)))

    assert named <= set(REASONS)


def test_the_contract_names_exactly_the_kinds_of_objects_that_are_kept():
    comment = next(element.comment for element in elements() if element.name == "Object.kind")

    assert set(re.findall(r"`([a-z]+)`", comment)) == set(STATES)


@pytest.mark.parametrize("kind", ALL, ids=name_of)
def test_a_document_has_a_schema_that_forbids_unknown_fields(kind):
    schema = json.loads((PROTOS / f"trustnode/v1/documents/{name_of(kind)}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)

    assert schema["$defs"][kind.__name__]["additionalProperties"] is False
    assert schema["$defs"][kind.__name__]["properties"]["type"]["enum"] == [name_of(kind)]
