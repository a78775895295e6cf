"""Checks 6 and 7: the agreement is what both parties signed, its policy is what the terms say, and it came into force.

Decides: signatures and references of every document but those of single reads. Leaves to others: reads (``reads``).
"""

from __future__ import annotations

from typing import Final

import msgspec

from trustnode.core import clock
from trustnode.core.catalog import Registration
from trustnode.core.contract import (
    Act,
    Agreement,
    NegotiationMessage,
    Offer,
    Party,
    check_equals_offer,
    check_mandate,
)
from trustnode.core.document import PAYLOADS, SKEW_S, Document, Verified, decode
from trustnode.core.duty import DutyProof, watched
from trustnode.core.evidence.checks.case import Case
from trustnode.core.participant import ParticipantKey, domain_of
from trustnode.core.policy import odrl
from trustnode.core.policy.compile import compile_terms
from trustnode.core.policy.terms import Terms
from trustnode.errors import TrustnodeError, error

ELSEWHERE: Final = frozenset({"participant-key", "access-request", "delegation", "receipt", "receipt-ack"})
"""Types that checks 2, 8, 9 and 10 look at; every other document is checked with the agreement."""
NOT_KEPT: Final = frozenset({"access.deny", "lifecycle.refuse"})
"""Entries of refusals name what was refused; a node keeps no document that it refused."""


def check_agreement(case: Case) -> str:
    """6. Schema, signers and their keys when it was sealed, mandate, offer, product, policy."""
    value = case.value
    agreement = case.check(case.contents.documents[case.contents.agreement], Agreement, case.sealed_at)
    for domain in case.contents.nodes:
        if domain not in value.aud:
            case.find("INVALID", f"the agreement is not addressed to {domain}")
    _check_parties(case, value)
    _check_others(case)
    offer = _check_offer(case, agreement)
    if offer is not None:
        _check_terms(case, offer.value)
    _check_named(case)
    names = [domain_of(value.provider.participant), domain_of(value.consumer.participant)]
    who = f"{value.provider.participant.rpartition('/')[2]}, {value.consumer.participant.rpartition('/')[2]}"
    return f"signed by {who} of {', '.join(dict.fromkeys(names))}" + ("; under a mandate" if value.mandate else "")


def _check_parties(case: Case, value: Agreement) -> None:
    for party, node in ((value.provider, value.provider_node), (value.consumer, value.consumer_node)):
        if domain_of(party.participant) != party.home or party.home != node:
            case.find("INVALID", f"{party.participant} is not at home at {node}")
        _check_key(case, party)
    known = {card.digest for cards in case.cards.values() for card in cards}
    for digest in value.cards:
        if digest not in known:
            case.find("INCOMPLETE", f"card {digest[:12]}, which the agreement names, is left out")


def _check_key(case: Case, party: Party) -> None:
    document = case.document(party.key_sha256, f"the key of {party.participant}")
    if document is None:
        return
    if decode(document, ParticipantKey).participant != party.participant:
        case.find("INVALID", f"the agreement names another's key for {party.participant}")
    elif case.is_revoked(document):
        case.find("INVALID", f"the key that vouches for {party.participant} had been revoked when this was sealed")


def _check_others(case: Case) -> None:
    """Whatever else came along: no byte of it goes unchecked."""
    for digest, document in sorted(case.contents.documents.items()):
        kind = PAYLOADS.get(document.name)
        if kind is None:
            case.find("INVALID", f"document {digest[:12]} is of no known type")
        elif document.name not in ELSEWHERE and digest != case.contents.agreement:
            case.try_check(document, kind)


def _check_offer(case: Case, agreement: Verified[Agreement]) -> Verified[Offer] | None:
    value = agreement.value
    document = case.document(value.offer_sha256, "the offer")
    if document is None:
        return None
    offer = case.check(document, Offer)
    check_equals_offer(value, offer.value, offer.digest)
    if (value.policy.target, value.policy.assigner) != (value.product, value.provider.participant):
        raise error("HASH_MISMATCH", "the policy of the agreement is for another product or of another provider")
    if value.mandate is not None:
        if value.mandate != offer.digest:
            raise error("SIGNATURE_INVALID", "the mandate is that of another offer")
        check_mandate(value, offer.value, value.time, 0)
    return offer


def _check_terms(case: Case, offer: Offer) -> None:
    """The readable terms compile to the policy that was signed."""
    registration = _registration(case, offer)
    if registration is None:
        return
    case.zone = registration.zone
    try:
        compiled = compile_terms(
            msgspec.json.decode(offer.terms, type=Terms), price=str(offer.price), schema=registration.tables[0].columns,
            zone=registration.zone, level=registration.level, at=clock.moment(offer.time), approval=offer.approval,
        )  # fmt: skip
    except (TrustnodeError, msgspec.MsgspecError) as problem:
        case.find("INVALID", f"the terms of the offer do not compile: {problem}")
        return
    if not odrl.same_terms(compiled, offer.policy):
        case.find("INVALID", "the terms of the offer compile to another policy than the one that was signed")


def _registration(case: Case, offer: Offer) -> Registration | None:
    for _, document in case.of_type(Registration):
        value = decode(document, Registration)
        if (value.product, value.version, value.provider) == (offer.product, offer.product_version, offer.provider):
            return value
    case.find("INCOMPLETE", f"the registration of {offer.product} version {offer.product_version} is left out")
    return None


def _check_named(case: Case) -> None:
    """Every document that a shown entry reports is here; negotiation messages belong to this negotiation."""
    for trail in case.trails.values():
        for one in trail.all:
            if one.entry is None or one.entry.type in NOT_KEPT:
                continue
            for digest in one.entry.documents:
                if digest not in case.contents.documents:
                    message = f"{one.entry.type} at {trail.domain} reports document {digest[:12]}, which is left out"
                    case.find("INCOMPLETE", message)
    for _, document in case.of_type(NegotiationMessage, Act):
        _check_concerns(case, document)
    for _, document in case.of_type(DutyProof):
        _check_proof(case, document)


def _check_concerns(case: Case, document: Document) -> None:
    value = decode(document, NegotiationMessage, Act)
    about = value.negotiation if isinstance(value, NegotiationMessage) else ""
    if about and about != case.value.negotiation:
        case.find("INVALID", f"message {document.digest[:12]} is of another negotiation")


def _check_proof(case: Case, document: Document) -> None:
    """A proof is of a duty of this agreement, by the party whose word counts."""
    value, agreed = decode(document, DutyProof), case.value
    parties = {"consumer": agreed.consumer.participant, "provider": agreed.provider.participant}
    provers = {one.name: parties[one.prover] for one in watched(agreed)}
    if (value.agreement, value.agreement_sha256) != (agreed.contract_id, case.contents.agreement):
        case.find("INVALID", f"proof {document.digest[:12]} is of another agreement")
    elif provers.get(value.duty) != value.iss:
        case.find("INVALID", f"proof {document.digest[:12]}: {value.iss} is not who shows that {value.duty} is done")


# --- 7 --------------------------------------------------------------------------------------------------------------


def check_in_force(case: Case) -> str:
    """7. ``contract.sign`` stands in the provider's log, for these bytes, in time, and was sealed in time (5)."""
    value = case.value
    signed = case.provider_trail.entries("contract.sign")
    if not signed:
        case.find(
            "INCOMPLETE", f"no contract.sign is shown in the log of {value.provider_node}: not shown to be in force"
        )
        return "not shown to be in force"
    shown, entry = signed[0]
    time = entry.time
    for trail in case.trails.values():
        for _, entry in trail.entries("contract.sign"):
            if case.contents.agreement not in entry.documents:
                case.find("INVALID", f"{trail.domain} put another agreement into force")
    if len(signed) > 1:
        case.find("INVALID", "the agreement came into force twice")
    if time > value.sign_by:
        case.find("INVALID", f"signed in the log at {time}, after sign_by {value.sign_by}: never in force")
    if value.consumer_node != value.provider_node:
        consumer = case.consumer_trail
        if consumer is not None and not consumer.entries("contract.sign"):
            case.remarks.append(f"the log of {value.consumer_node} does not show contract.sign")
    sealed = case.sealed.entries.get((value.provider_node, shown.line.index), "")
    _check_sealed(case, sealed)
    return f"in force from {time}" + (f", sealed by {sealed}" if sealed else "")


def _check_sealed(case: Case, sealed: str) -> None:
    """What was decided before witnesses had sealed the agreement, and so late, rests on the venues' word."""
    limit = clock.shift(case.value.sign_by, case.value.max_unwitnessed_s)
    if not sealed or sealed <= limit:
        return
    early = [entry for _, entry in case.provider_trail.entries("access.decide") if entry.time < sealed]
    if any(entry.time > clock.shift(limit, SKEW_S) for entry in early):
        case.find("INVALID", f"not in force: read after {limit}, sealed only at {sealed}")
    elif early:
        case.find("UNWITNESSED", f"sealed only at {sealed}, after {limit}: what was read before rests on no witness")
    else:
        case.remarks.append(f"sealed only at {sealed}, after {limit}; nothing was read before")
