"""What the client checks before its signature goes under an agreement."""

from datetime import UTC, datetime
from types import SimpleNamespace

import msgspec
import pytest

from trustnode.core import clock
from trustnode.core.contract import (
    RESPONSIBILITY,
    Ack,
    Agreement,
    Mandate,
    NegotiationMessage,
    Offer,
    Party,
    Price,
)
from trustnode.core.document import Document, PublicKey, canonical, decode, seal
from trustnode.core.policy import odrl
from trustnode.core.policy import terms as terms_module
from trustnode.core.policy.compile import compile_terms
from trustnode.core.policy.schema import Column
from trustnode.errors import TrustnodeError
from trustnode.keys import FileSigner
from trustnode.sdk.connection import Found, Submitted
from trustnode.sdk.negotiation import Negotiation
from trustnode.sdk.profile import new_id, now
from trustnode.wire.convert import RemoteObject

CONSUMER, PROVIDER = "spiffe://zj.example/participant/acme", "spiffe://gz.example/participant/lendco"
KEYS = {name: FileSigner.generate() for name in (CONSUMER, PROVIDER, "gz.example")}
NEGOTIATION = new_id()
TERMS = {
    "purposes": ["statistics"],
    "who": "anyone",
    "period": "12 months",
    "columns": ["a"],
    "keep": "unlimited",
    "onward": "allowed",
    "derived": "free",
}
KEY_DOCUMENT = Document("application/vnd.trustnode.participant-key.v1+json", b"{}")


def common(iss, **changes):
    return {"suite": "tn1", "id": new_id(), "iss": iss, "aud": ("*",), "time": now(), **changes}


def make_offer(terms=TERMS, price="free", *, mandate=True, consumers=(), signer=PROVIDER):
    read = terms_module.decode(dict(terms))
    policy = compile_terms(
        read, price=price, schema=(Column(name="a", type="int64"),), zone="Asia/Shanghai", level="GENERAL_1",
        at=datetime.now(UTC), approval="automatic",
    )  # fmt: skip
    offer = Offer(
        name="open", product="gz.example/p", product_version=1, provider=PROVIDER, policy=policy,
        terms=canonical(read).decode(), price=Price.parse(price), approval="automatic",
        valid_until=clock.shift(now(), 86400), mandate=Mandate(5, consumers) if mandate else None, **common(PROVIDER),
    )  # fmt: skip
    return seal(offer, KEYS[signer])


def make_agreement(offer, *, signer="gz.example", **changes):
    value = decode(offer, Offer)
    parts = {
        "contract_id": "C" + "0" * 46,
        "negotiation": NEGOTIATION,
        "offer_sha256": offer.digest,
        "provider": Party(participant=PROVIDER, home="gz.example", node="n", subject="", key_sha256="1" * 64),
        "consumer": Party(
            participant=CONSUMER, home="zj.example", node="n", subject="", key_sha256=KEY_DOCUMENT.digest
        ),
        "listing_venue": "gz.example",
        "provider_node": "gz.example",
        "consumer_node": "zj.example",
        "cards": (),
        "sign_mode": "01",
        "mandate": offer.digest if value.mandate else None,
        "product": value.product,
        "product_id": "6",
        "product_version": 1,
        "right_granted": "USE",
        "policy": odrl.agreement(value.policy, target=value.product, assigner=PROVIDER, assignee=CONSUMER),
        "purpose": "statistics",
        "price": value.price,
        "start": now(),
        "end": clock.shift(now(), 86400),
        "sign_by": clock.shift(now(), 3600),
        "request_proof_min": "CUSTODY",
        "ack": Ack(),
        "responsibility": RESPONSIBILITY,
        "end_disposition": "DESTROY",
        **changes,
    }
    return seal(Agreement(**common("gz.example"), **parts), KEYS[signer])


def message(signer=CONSUMER, purpose="statistics", number=1, **changes):
    statement = NegotiationMessage(
        negotiation=NEGOTIATION, number=number, message="ContractRequestMessage", counterpart=PROVIDER,
        purpose=purpose, **common(CONSUMER), **changes,
    )  # fmt: skip
    return seal(statement, KEYS[signer])


class Node:
    """A home node that shows what it is told to, and keeps what is handed in."""

    def __init__(self, documents, state="AGREED", us=CONSUMER):
        self.documents, self.state, self.submitted = tuple(documents), state, []
        self.profile = SimpleNamespace(
            participant=us, venue="zj.example", key_document=KEY_DOCUMENT, signer=KEYS[us],
            sign=lambda statement: seal(statement, KEYS[us]), alias_of=lambda _id: "",
            fields=lambda *audience: common(us, aud=audience),
        )  # fmt: skip

    async def get(self, kind, id):
        return Found(RemoteObject(kind, id, self.state, (), 2), self.documents)

    async def submit(self, document, supporting=()):
        self.submitted.append(document)
        return Submitted(RemoteObject("negotiation", NEGOTIATION, "VERIFIED"), ())


async def prepared(*_anything):
    pass


def client(node):
    def keys(owner, _use):
        return (PublicKey(KEYS[owner].public, "", clock.FOREVER),) if owner in KEYS else ()

    return SimpleNamespace(connection=node, trust=SimpleNamespace(keys=keys, learn=lambda _d: None, prepare=prepared))


async def step(documents, *, state="AGREED", us=CONSUMER):
    node = Node(documents, state, us)
    negotiation = Negotiation(client(node), await node.get("negotiation", NEGOTIATION))
    await negotiation.accept()
    return node.submitted


def documents(offer=None, agreement=None, asked=None):
    offer = offer or make_offer()
    return [asked or message(offer_sha256=offer.digest), offer, agreement or make_agreement(offer)]


async def refused(*args, **kwargs):
    with pytest.raises(TrustnodeError) as caught:
        await step(*args, **kwargs)
    return caught.value.reason


async def test_an_agreement_that_equals_its_offer_is_signed_over_the_same_bytes():
    shown = documents()
    (signed,) = await step(shown)

    assert signed.payload == shown[2].payload
    assert len(signed.signatures) == 2


OFFER = make_offer()
OTHER = make_offer({**TERMS, "period": "6 months"})


@pytest.mark.parametrize(
    "changes",
    [
        {"purpose": "marketing"},
        {"negotiation": new_id()},
        {"consumer_node": "evil.example"},
        {"provider_node": "zj.example"},
        {"counter_signature": "NONE"},
        {"price": Price("ROW", "0.02")},
        {"product": "gz.example/other"},
        {"product_version": 2},
        {
            "policy": odrl.agreement(
                decode(OTHER, Offer).policy, target="gz.example/p", assigner=PROVIDER, assignee=CONSUMER
            )
        },
        {
            "policy": odrl.agreement(
                decode(OFFER, Offer).policy, target="gz.example/p", assigner=PROVIDER, assignee=PROVIDER
            )
        },
        {"consumer": Party(participant=CONSUMER, home="zj.example", node="n", subject="", key_sha256="2" * 64)},
        {"consumer": Party(participant=PROVIDER, home="zj.example", node="n", subject="", key_sha256="2" * 64)},
        {"mandate": "3" * 64},
        {"sign_by": "2020-01-01T00:00:00.000Z"},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_an_agreement_that_differs_from_what_we_asked_for_is_not_signed(changes):
    shown = documents(OFFER, make_agreement(OFFER, **changes))

    assert await refused(shown) in ("HASH_MISMATCH", "SIGNATURE_INVALID", "ILLEGAL_TRANSITION")


async def test_an_agreement_that_nobody_signed_for_the_provider_is_not_signed():
    offer = make_offer()
    unsigned = msgspec.structs.replace(make_agreement(offer), signatures=())

    assert await refused(documents(offer, unsigned)) == "SIGNATURE_INVALID"
    assert await refused(documents(offer, make_agreement(offer, signer=CONSUMER))) == "SIGNATURE_INVALID"


async def test_an_offer_that_its_provider_did_not_sign_is_no_mandate():
    assert await refused(documents(make_offer(signer="gz.example"))) == "SIGNATURE_INVALID"


async def test_a_mandate_for_other_consumers_does_not_cover_us():
    assert (
        await refused(documents(make_offer(consumers=("spiffe://zj.example/participant/other",))))
        == "SIGNATURE_INVALID"
    )


async def test_without_a_mandate_the_provider_itself_must_have_signed():
    offer = make_offer(mandate=False)

    assert await refused(documents(offer, make_agreement(offer))) == "SIGNATURE_INVALID"
    assert len(await step(documents(offer, make_agreement(offer, signer=PROVIDER)))) == 1


async def test_the_purpose_is_the_one_we_signed_not_the_one_the_node_shows():
    offer = make_offer()
    forged = message(signer="gz.example", purpose="marketing", offer_sha256=offer.digest)
    shown = documents(offer, make_agreement(offer, purpose="marketing"), forged)

    assert await refused(shown) == "SIGNATURE_INVALID"


async def test_the_provider_signs_what_its_node_prepared_and_nothing_else():
    offer = make_offer(mandate=False)
    draft = msgspec.structs.replace(make_agreement(offer), signatures=())
    (signed,) = await step(documents(offer, draft), state="REQUESTED", us=PROVIDER)
    assert (signed.payload, len(signed.signatures)) == (draft.payload, 1)

    other = msgspec.structs.replace(make_agreement(offer, price=Price("ROW", "9")), signatures=())
    assert await refused(documents(offer, other), state="REQUESTED", us=PROVIDER) == "HASH_MISMATCH"
    other = msgspec.structs.replace(make_agreement(offer, purpose="marketing"), signatures=())
    assert await refused(documents(offer, other), state="REQUESTED", us=PROVIDER) == "HASH_MISMATCH"


@pytest.mark.parametrize("state", ["REQUESTED", "ACCEPTED", "VERIFIED", "FINALIZED", "TERMINATED"])
async def test_a_consumer_accepts_only_what_waits_for_it(state):
    assert await refused(documents(), state=state) == "ILLEGAL_TRANSITION"


async def test_a_counter_offer_is_accepted_by_a_message_that_follows_it():
    offer = make_offer()
    shown = documents(offer, asked=message(offer_sha256=offer.digest, number=4))
    (signed,) = await step(shown, state="OFFERED")
    value = decode(signed, NegotiationMessage)

    assert (value.number, value.previous, value.offer_sha256) == (5, shown[0].digest, offer.digest)
    assert value.message == "ContractNegotiationEventMessage:ACCEPTED"
