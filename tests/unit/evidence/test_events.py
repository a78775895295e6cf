"""The closed table of events."""

from collections import Counter

import pytest

from trustnode.core.evidence.events import EVENTS, OBJECT_KINDS

# vocabulary 8, family by family, and `status.event`
FAMILIES = {
    "identity": 4,
    "peer": 7,
    "product": 18,
    "listing": 7,
    "demand": 3,
    "contract": 19,
    "policy": 4,
    "grant": 8,
    "access": 4,
    "delivery": 6,
    "use": 4,
    "proof": 5,
    "data": 6,
    "custody": 1,
    "consent": 6,
    "crossborder": 4,
    "clearing": 9,
    "supervision": 6,
    "incident": 1,
    "log": 5,
    "lifecycle": 1,
    "status": 1,
}
# protocol 4
CHAINS = {
    "agreement": {"contract", "grant", "access", "delivery", "use", "proof", "data"},
    "product": {"product", "listing"},
    "participant": {"identity", "consent", "custody"},
    "peer": {"peer", "clearing"},
    "negotiation": {"contract"},
    "node": {"demand", "policy", "crossborder", "supervision", "incident", "log", "lifecycle", "status"},
}


def test_every_family_has_its_events():
    assert Counter(event.family for event in EVENTS.values()) == FAMILIES


def test_the_name_of_an_event_begins_with_its_family():
    assert all(name == event.type and name.split(".")[0] == event.family for name, event in EVENTS.items())
    assert max(map(len, EVENTS)) <= 32


@pytest.mark.parametrize("kind", OBJECT_KINDS)
def test_every_kind_of_object_has_the_families_of_its_chain(kind):
    assert {event.family for event in EVENTS.values() if event.kind == kind} == CHAINS[kind]


def test_an_agreement_begins_with_its_signature():
    before = {name for name, event in EVENTS.items() if event.kind == "negotiation"}
    assert before == {
        f"contract.{word}" for word in ("request", "offer", "accept", "agree", "verify", "lapse", "withdraw")
    }
    assert EVENTS["contract.sign"].kinds == ("agreement",)


def test_only_these_events_may_stand_in_chains_of_two_kinds():
    assert {name for name, event in EVENTS.items() if len(event.kinds) > 1} == {
        "access.deny",
        "clearing.dispute",
        "clearing.meter",
        "identity.register",
        "identity.revoke",
        "identity.update",
        "identity.verify",
        "lifecycle.refuse",
    }
    assert set(EVENTS["lifecycle.refuse"].kinds) == set(OBJECT_KINDS)
