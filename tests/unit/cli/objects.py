"""Objects of one deal: the bureau at gz.example sells flights, acme at zj.example buys them."""

from datetime import datetime

from msgspec.structs import replace

from trustnode.core.catalog import CatalogRecord, Listing, Personal, Registration, Right, Table
from trustnode.core.contract import RESPONSIBILITY, Ack, Agreement, NegotiationMessage, Offer, Party, Price
from trustnode.core.document import Document, canonical, payload_type
from trustnode.core.identifier import contract_id
from trustnode.core.policy import odrl
from trustnode.core.policy.compile import compile_terms
from trustnode.core.policy.schema import Column
from trustnode.core.policy.terms import Terms
from trustnode.wire.convert import RemoteObject

NOW = "2026-11-24T03:20:03.000Z"
CONTRACT = contract_id("REGIONAL", "913300000000000004", "3300", NOW, "7K3QX9M2")
PROVIDER, CONSUMER = "spiffe://gz.example/participant/bureau", "spiffe://zj.example/participant/acme"
COLUMNS = (
    Column(name="origin", type="utf8"),
    Column(name="distance", type="int32", unit="mi"),
    Column(name="tailnum", type="utf8"),
)
TERMS = Terms(
    purposes="any", who="anyone", period="24 months", columns=("origin", "distance"), masks={"tailnum": "hash"},
    keep="unlimited", onward="allowed", limits=("200 reads per day",),
)  # fmt: skip


def common(iss, number=1):
    return {"suite": "tn1", "id": f"00000000-0000-4000-8000-{number:012d}", "iss": iss, "aud": ("*",), "time": NOW}


def document(statement):
    return Document(payload_type(type(statement)), canonical(statement))


REGISTRATION = Registration(
    **common(PROVIDER, 1), product="gz.example/flights-2013", version=1, title="Flights from New York, 2013",
    title_zh="2013年纽约航班", abstract="336,776 departures.", provider=PROVIDER, licence="CC0", category="PUBLIC",
    level="GENERAL_1", level_basis="published before", topic="B0300", scene="W0600", industry="0054", form="DATASET",
    updates="HISTORICAL", source="ORIGINAL", source_sha256="0" * 64, zone="Asia/Shanghai", cross_border=False,
    rights=(Right(right=("HOLD", "OPERATE"), holder="bureau", basis_sha256="0" * 64),),
    personal=Personal(kind="NONE", processing="RAW"), tables=(Table(name="flights", columns=COLUMNS),),
)  # fmt: skip


def offer(**changes):
    price = changes.pop("price", Price("FREE"))
    policy = compile_terms(
        TERMS, price=str(price), schema=COLUMNS, zone="Asia/Shanghai", level="GENERAL_1",
        at=datetime.fromisoformat(NOW),
    )  # fmt: skip
    made = Offer(
        **common(PROVIDER, 2), name="open", product=REGISTRATION.product, product_version=1, provider=PROVIDER,
        policy=policy, terms=canonical(TERMS).decode(), price=price, approval="automatic",
        valid_until="2027-11-24T00:00:00.000Z",
    )  # fmt: skip
    return replace(made, **changes)


OFFER = offer()
LISTING = Listing(
    **common(PROVIDER, 3), listing="00000000-0000-4000-8000-00000000000c", product=REGISTRATION.product,
    product_version=1, venue="gz.example", visibility="NETWORK", offers=(document(OFFER).digest,),
)  # fmt: skip
RECORD = CatalogRecord(
    **common("gz.example", 4), listing=LISTING.listing, listing_version=1, product=REGISTRATION.product,
    product_id="691520100000000019F52007F31K0Q94", product_version=1, registration_sha256=document(REGISTRATION).digest,
    offers=LISTING.offers, visibility="NETWORK", state="LISTED",
)  # fmt: skip


def party(participant):
    home = participant.split("/")[2]
    return Party(participant=participant, home=home, node="2", subject="", key_sha256="0" * 64)


AGREEMENT = Agreement(
    **common("gz.example", 5), contract_id=CONTRACT, negotiation="00000000-0000-4000-8000-00000000000d",
    offer_sha256=document(OFFER).digest, provider=party(PROVIDER), consumer=party(CONSUMER), listing_venue="gz.example",
    provider_node="gz.example", consumer_node="zj.example", cards=(), sign_mode="01", mandate=document(OFFER).digest,
    product=REGISTRATION.product, product_id="", product_version=1, right_granted="USE",
    policy=odrl.agreement(OFFER.policy, target=REGISTRATION.product, assigner=PROVIDER, assignee=CONSUMER),
    purpose="statistics", price=OFFER.price, start=NOW, end="2028-11-24T15:59:59.000Z", sign_by=NOW,
    request_proof_min="CUSTODY", ack=Ack(), responsibility=RESPONSIBILITY, end_disposition="DESTROY",
)  # fmt: skip


def negotiation_message(**changes):
    made = NegotiationMessage(
        **common(CONSUMER, 6), negotiation=AGREEMENT.negotiation, number=1, message="ContractRequestMessage",
        offer_sha256=document(OFFER).digest, counterpart=PROVIDER, purpose="statistics", listing=LISTING.listing,
    )  # fmt: skip
    return replace(made, **changes)


def thing(kind, id, state, statement=None, **more):
    return RemoteObject(kind, id, state, changed_at=NOW, document=statement and document(statement), **more)


def listed(**changes):
    supporting = [document(REGISTRATION), document(OFFER)]
    base = {
        "record": document(RECORD), "supporting": supporting, "origin": "gz.example", "path": [],
        "as_of": "2026-11-24T03:20:01.000Z", "verification": "VERIFIED", "state": "LISTED",
        "product": REGISTRATION.product,
    }  # fmt: skip
    return {**base, **changes}
