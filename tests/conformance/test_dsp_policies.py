"""Every policy we emit is valid under the schemas of the Dataspace Protocol 2025-1, and where those are open we are not."""

import json
from pathlib import Path

import jsonschema
import pytest
from referencing import Registry, Resource
from unit.policy.samples import OFFERS, compiled_offer

from trustnode.core.policy import compiled, grammar, odrl
from trustnode.core.policy.odrl import Constraint, Permission
from trustnode.errors import TrustnodeError

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "dsp-2025-1"
CONTRACT = "https://w3id.org/dspace/2025/1/negotiation/contract-schema.json"
MESSAGES = "https://w3id.org/dspace/2025/1/negotiation/contract-{}-message-schema.json"
CONTEXT = ["https://w3id.org/dspace/2025/1/context.jsonld"]

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the DSP 2025-1 schemas are not beside the checkout")


@pytest.fixture(scope="module")
def validate():
    schemas = [json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*/*-schema.json")]
    registry = Registry().with_resources((schema["$id"], Resource.from_contents(schema)) for schema in schemas)

    def check(document, reference):
        jsonschema.Draft201909Validator({"$ref": reference}, registry=registry).validate(document)

    return check


def plain(policy):
    return json.loads(odrl.encode(policy))


VARIANTS = [
    *((name, {}) for name in OFFERS),
    *(("statistics", {"onward": word}) for word in grammar.ONWARD),
    *(("scoring", {"derived": word}) for word in grammar.DERIVED),
    ("open", {"not_for": ["marketing"], "price": "5 CNY once"}),
    ("open", {"price": "30 CNY per month", "duties": ["pay within 30 days", "report use yearly"]}),
    ("statistics", {"keep": "no copy"}),
    ("scoring", {"limits": ["10 GB per month", "5 reads in all", "9 rows per hour"]}),
]


@pytest.mark.parametrize("name, changes", VARIANTS)
def test_an_offer_is_a_catalogue_offer_and_with_a_target_a_message_offer(validate, name, changes):
    offer = plain(compiled_offer(name, **changes))
    validate(offer, f"{CONTRACT}#/definitions/Offer")
    validate({**offer, "target": "gz.example/product"}, f"{CONTRACT}#/definitions/MessageOffer")


@pytest.mark.parametrize("name, changes", VARIANTS)
def test_an_agreement_is_valid_inside_its_message(validate, name, changes):
    offer = compiled_offer(name, **changes)
    agreement = plain(odrl.agreement(offer, target="gz.example/product", assigner="a", assignee="b"))
    message = {
        "@context": CONTEXT,
        "@type": "ContractAgreementMessage",
        "providerPid": "urn:uuid:1",
        "consumerPid": "urn:uuid:2",
        "agreement": agreement,
    }
    validate(agreement, f"{CONTRACT}#/definitions/Agreement")
    validate(message, MESSAGES.format("agreement"))


def test_logical_and_typed_constraints_are_valid_too(validate):
    atom = Constraint(
        left="dateTime", operator="lt", right=odrl.Typed(value="2027-01-01T00:00:00Z", type="xsd:dateTime")
    )
    logical = [Constraint(**{key: (atom, atom)}) for key in ("all_of", "any_of", "one_of", "sequence")]
    permission = Permission(action="read", constraint=(atom, *logical))
    policy = odrl.Policy(id="urn:x", type="Offer", profile=odrl.PROFILE, permission=(permission,))
    validate(plain(policy), f"{CONTRACT}#/definitions/Offer")


OPEN_IN_THE_SCHEMA = {
    "an empty logical list": {"permission": [{"action": "read", "constraint": [{"and": []}]}]},
    "a target inside a permission": {"permission": [{"action": "read", "target": "urn:other"}]},
    "a consequence": {"permission": [{"action": "read"}], "obligation": [{"action": "delete", "consequence": []}]},
    "a conflict strategy": {"permission": [{"action": "read"}], "conflict": "perm"},
    "inheritance": {"permission": [{"action": "read"}], "inheritFrom": "urn:parent"},
    "an invented action": {"permission": [{"action": "levitate"}]},
    "an invented operand": {
        "permission": [
            {"action": "read", "constraint": [{"leftOperand": "mood", "operator": "eq", "rightOperand": "good"}]}
        ]
    },
}


@pytest.mark.parametrize("hole", OPEN_IN_THE_SCHEMA)
def test_what_the_schema_lets_pass_and_nothing_keeps_is_refused_here(validate, hole):
    offer = {"@id": "urn:x", "@type": "Offer", "profile": odrl.PROFILE, **OPEN_IN_THE_SCHEMA[hole]}
    validate(offer, f"{CONTRACT}#/definitions/Offer")
    with pytest.raises(TrustnodeError):
        compiled.load(odrl.decode(json.dumps(offer).encode()))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("negotiation/example/*offer*.json")), ids=lambda path: path.stem)
def test_an_offer_of_the_standards_own_examples_says_no_profile_and_is_refused(validate, path):
    offer = json.loads(path.read_text(encoding="utf-8"))["offer"]
    validate(offer, f"{CONTRACT}#/definitions/MessageOffer")
    with pytest.raises(TrustnodeError):
        compiled.load(odrl.decode(json.dumps(offer).encode()))
