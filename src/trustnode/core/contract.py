"""Contracts: offers, the messages of a negotiation, the agreement, the running right.

Decides: these documents, their three state tables (lifecycles 5.1, 5.2, 7), when an agreement equals its offer and when
it is in force (protocol 5). Leaves to others: what a policy means (``policy``), who signs when (``app.contract``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Annotated, Final, Literal

import msgspec

from trustnode.core.catalog import Approval, needs
from trustnode.core.document import Count, Digest, LongText, Required, Statement, Text, Time, Uuid, Version
from trustnode.core.lifecycle import CAUSES_REMAIN, NO_CAUSE_LEFT, Machine, Row, State
from trustnode.core.policy import odrl
from trustnode.errors import error

Grade = Literal["SIGNED", "DELEGATED", "CUSTODY"]
GRADES: Final = ("CUSTODY", "DELEGATED", "SIGNED")
"""Weakest first (protocol 6.2)."""
SIGN_BY_S: Final = 3600
"""Seconds from AGREED until which the agreement must be finalised."""
NEGOTIATION_TERM_S: Final = 14 * 86400
"""Seconds without a move after which a negotiation lapses."""
PriceUnit = Literal["FREE", "ONCE", "MONTH", "READ", "ROW"]
_PRICE: Final = re.compile(r"(?P<cny>[0-9]{1,12}(\.[0-9]{1,6})?) CNY (?P<unit>once|per month|per read|per row)\Z")
_UNITS: Final[dict[str, PriceUnit]] = {"once": "ONCE", "per month": "MONTH", "per read": "READ", "per row": "ROW"}


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an offer costs; the amount is text, never a float."""

    unit: PriceUnit
    cny: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,12}(\.[0-9]{1,6})?$(?!\n)")] = "0"

    @classmethod
    def parse(cls, text: str) -> Price:
        """Read ``free`` or ``0.02 CNY per row``.

        Raises:
            TrustnodeError: PRICE_MISSING.
        """
        if text == "free":
            return cls("FREE")
        match = _PRICE.match(text)
        if not match:
            raise error("PRICE_MISSING", 'price: "free", or "N CNY once|per month|per read|per row"', field="price")
        return cls(_UNITS[match["unit"]], match["cny"])

    def __str__(self) -> str:
        words = {unit: word for word, unit in _UNITS.items()}
        return "free" if self.unit == "FREE" else f"{self.cny} CNY {words[self.unit]}"

    def cost_fen(self, *, rows: int, reads: int = 1) -> int:
        """Fen owed for one access; a part of a fen counts as one."""
        amount = {"ROW": rows, "READ": reads}.get(self.unit, 0)
        return int((Decimal(self.cny) * 100 * amount).to_integral_value(rounding=ROUND_CEILING))


class Mandate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Lets the provider's venue conclude agreements on this offer without asking."""

    max_agreements: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    consumers: tuple[str, ...] = ()
    """SPIFFE ids; empty: whoever the policy allows."""


class Offer(Statement, tag="offer", kw_only=True, frozen=True):
    """Terms and price of one product, signed by its provider."""

    max_bytes = 512 * 1024

    name: Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9._-]{0,62}$(?!\n)")]
    product: Text
    """Handle."""
    product_id: str = ""
    product_version: Version
    provider: Text
    policy: odrl.Policy
    terms: LongText
    """The readable form, canonical JSON of ``policy.terms.Terms``; compiling it gives ``policy`` again."""
    price: Price
    approval: Approval
    valid_until: Time
    mandate: Mandate | None = None
    listing: str = ""

    def required(self) -> tuple[Required, ...]:
        """The provider."""
        return (Required(self.provider, "participant"),)


MessageType = Literal[
    "ContractRequestMessage",
    "ContractOfferMessage",
    "ContractAgreementMessage",
    "ContractAgreementVerificationMessage",
    "ContractNegotiationEventMessage:ACCEPTED",
    "ContractNegotiationEventMessage:FINALIZED",
    "ContractNegotiationTerminationMessage",
]
EVENT_OF: Final[dict[str, str]] = {
    "ContractRequestMessage": "request",
    "ContractOfferMessage": "offer",
    "ContractAgreementMessage": "agree",
    "ContractAgreementVerificationMessage": "verify",
    "ContractNegotiationEventMessage:ACCEPTED": "accept",
    "ContractNegotiationEventMessage:FINALIZED": "finalize",
    "ContractNegotiationTerminationMessage": "terminate",
}


class NegotiationMessage(Statement, tag="negotiation-message", kw_only=True, frozen=True):
    """One step of a negotiation in the words of the Dataspace Protocol 2025-1."""

    negotiation: Uuid
    number: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    previous: str = ""
    """Digest of the last message; empty in the first."""
    message: MessageType
    offer_sha256: Digest
    counterpart: Text
    """SPIFFE id of the other party."""
    purpose: str = ""
    listing: str = ""
    agreement_sha256: Digest | None = None
    previous_negotiation: str = ""
    reason: Annotated[str, msgspec.Meta(max_length=1024)] = ""

    def required(self) -> tuple[Required, ...]:
        """The sender: a participant, or its venue where the protocol lets it speak (mandate, FINALIZED)."""
        return (Required(self.iss, "participant" if self.iss.startswith("spiffe://") else "evidence"),)


class Party(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One side of an agreement."""

    participant: Text
    home: Text
    node: Text
    subject: str
    key_sha256: Digest
    """Digest of its key document."""


class Ack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How deliveries are acknowledged (protocol 6.6)."""

    window_bytes: Count = 64 * 1024 * 1024
    window_rows: Count = 100_000
    term_s: Count = 86_400


class Agreement(Statement, tag="agreement", kw_only=True, frozen=True):
    """An offer both parties accepted; in force only with its entry in the provider's log (protocol 3.5, 5)."""

    max_bytes = 512 * 1024

    contract_id: Annotated[str, msgspec.Meta(min_length=47, max_length=47)]
    negotiation: Uuid
    offer_sha256: Digest
    provider: Party
    consumer: Party
    listing_venue: Text
    provider_node: Text
    """Trust domain that performs, counts and signs receipts."""
    consumer_node: Text
    """Trust domain that carries the data and sees them in clear."""
    cards: tuple[Digest, ...]
    sign_mode: Literal["01", "02"]
    mandate: Digest | None = None
    """Digest of the offer whose mandate the provider's venue used."""
    product: Text
    product_id: str
    product_version: Version
    right_granted: str
    policy: odrl.Policy
    purpose: str
    price: Price
    start: Time
    end: Time
    sign_by: Time
    request_proof_min: Grade
    ack: Ack
    peer_max_age_s: Count = 5
    authority_max_age_s: Count = 14_400
    witness_policies: tuple[str, ...] = ()
    max_unwitnessed_s: Count = 0
    """0: no quorum was agreed; results are reported UNWITNESSED."""
    responsibility: tuple[tuple[str, str], ...]
    """(stage, who answers): PROVIDER, CONSUMER, PROVIDER_VENUE or CONSUMER_VENUE."""
    end_disposition: str
    annex_commitments: tuple[Digest, ...] = ()
    counter_signature: Literal["BOTH", "NONE"] = "BOTH"

    def required(self) -> tuple[Required, ...]:
        """Provider (or its venue under a mandate), consumer."""
        return (self.provider_signer(), Required(self.consumer.participant, "participant"))

    def provider_signer(self) -> Required:
        """Who signs for the provider's side."""
        if self.mandate is not None:
            return Required(self.provider_node, "evidence")
        return Required(self.provider.participant, "participant")


class Delegation(Statement, tag="delegation", kw_only=True, frozen=True):
    """A participant lets its venue ask in its name, for clients that cannot sign."""

    agreements: Annotated[tuple[tuple[str, Digest], ...], msgspec.Meta(min_length=1, max_length=64)]
    home: Text
    max_accesses: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]

    def required(self) -> tuple[Required, ...]:
        """The participant."""
        return (Required(self.iss, "participant"),)


class Act(Statement, tag="act", kw_only=True, frozen=True):
    """A life-cycle step that carries nothing but itself: suspend, resume, end, withdraw, approve, revoke."""

    machine: Literal["participant", "peering", "product", "listing", "negotiation", "agreement", "grant", "access"]
    object: Text
    event: Annotated[str, msgspec.Meta(pattern="^[a-z_]{1,32}$(?!\n)")]
    cause: str = ""
    reason: Annotated[str, msgspec.Meta(max_length=1024)] = ""
    effective: Time | None = None

    def required(self) -> tuple[Required, ...]:
        """Its issuer: a participant or a venue."""
        return (Required(self.iss, "participant" if self.iss.startswith("spiffe://") else "evidence"),)


class NegotiationState(State, kw_only=True, frozen=True):
    """One negotiation; ``id`` is its UUID, ``document`` the last message."""

    product: str = ""
    listing: str = ""
    offer: str = ""
    """Digest of the offer on the table."""
    offer_name: str = ""
    provider: str = ""
    consumer: str = ""
    provider_node: str = ""
    consumer_node: str = ""
    purpose: str = ""
    number: int = 0
    proposed_by: str = ""
    """C or P: whose version is on the table."""
    agreement: str = ""
    """Digest of the agreement document, from AGREED on."""
    waits_for: str = ""
    """Who has to move: a SPIFFE id, or a trust domain where the venue must approve."""
    lapses_at: str = ""


class AgreementState(State, kw_only=True, frozen=True):
    """One agreement; ``id`` is the contract identifier, ``document`` the agreement with both signatures."""

    negotiation: str = ""
    product: str = ""
    product_id: str = ""
    provider: str = ""
    consumer: str = ""
    provider_node: str = ""
    consumer_node: str = ""
    offer_name: str = ""
    purpose: str = ""
    start: str = ""
    end: str = ""
    policy: str = ""
    """Digest of the policy."""
    ending_signed_by: tuple[str, ...] = ()
    """Parties that asked for an early end."""


class GrantState(State, kw_only=True, frozen=True):
    """The running right under an agreement; ``id`` is the contract identifier, one grant an agreement."""

    agreement: str = ""
    holder: str = ""
    provider_node: str = ""
    not_before: str = ""
    not_after: str = ""


@dataclass(frozen=True)
class NegotiationFacts:
    """What the guards look at."""

    listing_open: bool = False
    signed: bool = False
    words_known: bool = False
    next_version: bool = False
    own_offer: bool = True
    digest_matches: bool = False
    offer_unchanged: bool = False
    provider_signed: bool = False
    consumer_signed: bool = False
    conflict: tuple[str, str] | None = ("POLICY_CONFLICT", "nothing was checked")
    right_free: bool = False
    gates_passed: bool = False
    in_time: bool = False
    lapsed: bool = False


def _may_open(facts: NegotiationFacts) -> tuple[str, str] | str | None:
    if not facts.listing_open:
        return "NOT_LISTED"
    if not facts.signed:
        return "SIGNATURE_INVALID"
    return None if facts.words_known else "VOCABULARY_UNKNOWN"


def _may_agree(facts: NegotiationFacts) -> tuple[str, str] | str | None:
    if not facts.provider_signed:
        return "SIGNATURE_INVALID", "the provider's signature over the frozen agreement is missing"
    if not (facts.offer_unchanged and facts.digest_matches):
        return "HASH_MISMATCH", "the agreement differs from the offer on the table"
    if facts.conflict:
        return facts.conflict
    if not facts.right_free:
        return "RIGHT_CONFLICT"
    return None if facts.gates_passed else ("APPROVAL_MISSING", "somebody must approve first")


def _may_accept(facts: NegotiationFacts) -> tuple[str, str] | str | None:
    if facts.own_offer:
        return "ROLE_NOT_ALLOWED", "nobody accepts their own offer"
    return None if facts.digest_matches else "HASH_MISMATCH"


def _may_verify(facts: NegotiationFacts) -> tuple[str, str] | str | None:
    if not (facts.consumer_signed and facts.provider_signed):
        return "SIGNATURE_INVALID", "both signatures over one agreement are needed"
    return None if facts.digest_matches else "HASH_MISMATCH"


def _may_finalize(facts: NegotiationFacts) -> tuple[str, str] | str | None:
    if not (facts.consumer_signed and facts.provider_signed):
        return "SIGNATURE_INVALID", "both signatures over one agreement are needed"
    return None if facts.in_time else ("ILLEGAL_TRANSITION", "sign_by is over; negotiate again")


_next = needs("next_version", "ILLEGAL_TRANSITION", "this message does not follow the last one")
_lapsed = needs("lapsed", "ILLEGAL_TRANSITION", "the term is not over")

NEGOTIATION: Final = Machine[NegotiationFacts](
    name="negotiation",
    kind="negotiation",
    states=("REQUESTED", "OFFERED", "ACCEPTED", "AGREED", "VERIFIED", "FINALIZED", "TERMINATED"),
    terminal=frozenset({"FINALIZED", "TERMINATED"}),
    rows=(
        Row(None, "request", "C", "REQUESTED", "contract.request", _may_open),
        Row(None, "offer", "P", "OFFERED", "contract.offer", _may_open),
        Row("REQUESTED", "offer", "P", "OFFERED", "contract.offer", _next),
        Row("REQUESTED", "agree", "P", "AGREED", "contract.agree", _may_agree),
        Row("REQUESTED", "terminate", "PC", "TERMINATED", "contract.withdraw"),
        Row("REQUESTED", "time_out", "T", "TERMINATED", "contract.lapse", _lapsed),
        Row("OFFERED", "request", "C", "REQUESTED", "contract.request", _next),
        Row("OFFERED", "accept", "C", "ACCEPTED", "contract.accept", _may_accept),
        Row("OFFERED", "terminate", "PC", "TERMINATED", "contract.withdraw"),
        Row("OFFERED", "time_out", "T", "TERMINATED", "contract.lapse", _lapsed),
        Row("ACCEPTED", "agree", "P", "AGREED", "contract.agree", _may_agree),
        Row("ACCEPTED", "terminate", "PC", "TERMINATED", "contract.withdraw"),
        Row("ACCEPTED", "time_out", "T", "TERMINATED", "contract.lapse", _lapsed),
        Row("AGREED", "verify", "C", "VERIFIED", "contract.verify", _may_verify),
        Row("AGREED", "terminate", "PC", "TERMINATED", "contract.withdraw"),
        Row("AGREED", "time_out", "T", "TERMINATED", "contract.lapse", _lapsed),
        Row("VERIFIED", "finalize", "P", "FINALIZED", "contract.sign", _may_finalize),
        Row("VERIFIED", "terminate", "PC", "TERMINATED", "contract.withdraw"),
        Row("VERIFIED", "time_out", "T", "TERMINATED", "contract.lapse", _lapsed),
    ),
)


@dataclass(frozen=True)
class AgreementFacts:
    """What the guards look at."""

    finalized: bool = False
    filing_receipt: bool = False
    filing_required: bool = False
    start_reached: bool = False
    signatures_valid: bool = False
    product_registered: bool = False
    cleared: bool = False
    """Approvals, consent and orders allow it."""
    term_over: bool = False
    both_ended: bool = False
    order_or_registration: bool = False
    proven: bool = False
    grounds: bool = False
    fulfilled: bool = False
    condition_met: bool = False
    remedied: bool = False
    remedy_term_over: bool = False
    settled: bool = False
    in_objection_term: bool = False
    closed_out: bool = False


def _may_activate(facts: AgreementFacts) -> tuple[str, str] | str | None:
    if facts.filing_required:
        return "PRECONDITION_OPEN", "the venue asks for filing first"
    return _may_perform(facts)


def _may_perform(facts: AgreementFacts) -> tuple[str, str] | str | None:
    if not facts.start_reached:
        return "PRECONDITION_OPEN", "the agreement has not begun"
    if not facts.signatures_valid:
        return "SIGNATURE_INVALID"
    if not facts.product_registered:
        return "NOT_REGISTERED"
    return None if facts.cleared else "ORDER_IN_FORCE"


_finalized = needs("finalized", "ILLEGAL_TRANSITION")
_filed = needs("filing_receipt", "PRECONDITION_OPEN", "a filing needs the receipt of the filing node")
_over = needs("term_over", "ILLEGAL_TRANSITION", "the term is not over")
_both = needs("both_ended", "SIGNATURE_INVALID", "an early end needs the signature of both parties")
_by_order = needs("order_or_registration", "ILLEGAL_TRANSITION", "no order and no lost registration ends it")
_proven = needs("proven", "FIELD_MISSING", "a breach is proven by evidence that names the party")
_grounds = needs("grounds", "FIELD_MISSING", "a dispute needs grounds and a signature")
_fulfilled = needs("fulfilled", "PRECONDITION_OPEN", "fulfilment is not proven")
_condition = needs("condition_met", "ILLEGAL_TRANSITION", "the agreed condition is not met")
_remedied = needs("remedied", "PRECONDITION_OPEN", "the remedy is not proven")
_remedy_over = needs("remedy_term_over", "ILLEGAL_TRANSITION", "the term of the remedy is not over")
_settled = needs("settled", "SIGNATURE_INVALID", "both parties sign, or the mediator rules")
_objection_term = needs("in_objection_term", "ILLEGAL_TRANSITION", "the objection term is over")
_closed_out = needs("closed_out", "ERASURE_PENDING", "erasure, statement or an open dispute stands in the way")

AGREEMENT: Final = Machine[AgreementFacts](
    name="agreement",
    kind="agreement",
    states=(
        "SIGNED",
        "FILED",
        "PERFORMING",
        "SUSPENDED",
        "BREACHED",
        "DISPUTED",
        "FULFILLED",
        "TERMINATING",
        "TERMINATED",
    ),
    terminal=frozenset({"TERMINATED"}),
    rows=(
        Row(None, "finalized", "K", "SIGNED", "contract.sign", _finalized),
        Row("SIGNED", "file", "PCV", "FILED", "contract.file", _filed),
        Row("SIGNED", "activate", "K", "PERFORMING", "contract.activate", _may_activate),
        Row("SIGNED", "end_term", "T", "TERMINATING", "contract.terminate", _over),
        Row("SIGNED", "end_early", "PC", "TERMINATING", "contract.terminate", _both),
        Row("SIGNED", "end_by_order", "XK", "TERMINATING", "contract.terminate", _by_order),
        Row("FILED", "activate", "K", "PERFORMING", "contract.activate", _may_perform),
        Row("FILED", "end_term", "T", "TERMINATING", "contract.terminate", _over),
        Row("FILED", "end_early", "PC", "TERMINATING", "contract.terminate", _both),
        Row("FILED", "end_by_order", "XK", "TERMINATING", "contract.terminate", _by_order),
        Row("PERFORMING", "suspend", "XPVK", "SUSPENDED", "contract.suspend"),
        Row("PERFORMING", "breach", "VK", "BREACHED", "contract.breach", _proven),
        Row("PERFORMING", "dispute", "PC", "DISPUTED", "contract.dispute", _grounds),
        Row("PERFORMING", "fulfil", "K", "FULFILLED", "contract.fulfil", _fulfilled),
        Row("PERFORMING", "end_term", "T", "TERMINATING", "contract.terminate", _over),
        Row("PERFORMING", "end_early", "PC", "TERMINATING", "contract.terminate", _both),
        Row("PERFORMING", "end_by_condition", "K", "TERMINATING", "contract.terminate", _condition),
        Row("PERFORMING", "end_by_order", "XK", "TERMINATING", "contract.terminate", _by_order),
        Row("SUSPENDED", "suspend", "XPVK", "SUSPENDED", "contract.suspend"),
        Row("SUSPENDED", "lift_cause", "XPVK", "SUSPENDED", "contract.resume", when=CAUSES_REMAIN),
        Row("SUSPENDED", "lift_cause", "XPVK", "PERFORMING", "contract.resume", _may_perform, NO_CAUSE_LEFT),
        Row("SUSPENDED", "breach", "VK", "BREACHED", "contract.breach", _proven),
        Row("SUSPENDED", "dispute", "PC", "DISPUTED", "contract.dispute", _grounds),
        Row("SUSPENDED", "end_term", "T", "TERMINATING", "contract.terminate", _over),
        Row("SUSPENDED", "end_early", "PC", "TERMINATING", "contract.terminate", _both),
        Row("SUSPENDED", "end_by_order", "XK", "TERMINATING", "contract.terminate", _by_order),
        Row("BREACHED", "remedy", "V", "PERFORMING", "contract.remedy", _remedied, NO_CAUSE_LEFT),
        Row("BREACHED", "remedy", "V", "SUSPENDED", "contract.remedy", _remedied, CAUSES_REMAIN),
        Row("BREACHED", "remedy_failed", "VT", "TERMINATING", "contract.terminate", _remedy_over),
        Row("BREACHED", "dispute", "PC", "DISPUTED", "contract.dispute", _grounds),
        Row("BREACHED", "end_early", "PC", "TERMINATING", "contract.terminate", _both),
        Row("BREACHED", "end_term", "T", "TERMINATING", "contract.terminate", _over),
        Row("BREACHED", "end_by_order", "XK", "TERMINATING", "contract.terminate", _by_order),
        Row("DISPUTED", "settle_continue", "PCV", "PERFORMING", "contract.settle_dispute", _settled, NO_CAUSE_LEFT),
        Row("DISPUTED", "settle_continue", "PCV", "SUSPENDED", "contract.settle_dispute", _settled, CAUSES_REMAIN),
        Row("DISPUTED", "settle_end", "PCV", "TERMINATING", "contract.settle_dispute", _settled),
        Row("DISPUTED", "end_term", "T", "TERMINATING", "contract.terminate", _over),
        Row("DISPUTED", "end_by_order", "XK", "TERMINATING", "contract.terminate", _by_order),
        Row("FULFILLED", "dispute", "PC", "DISPUTED", "contract.dispute", _objection_term),
        Row("FULFILLED", "end_term", "T", "TERMINATING", "contract.terminate", _over),
        Row("FULFILLED", "end_early", "PC", "TERMINATING", "contract.terminate", _both),
        Row("FULFILLED", "end_by_order", "XK", "TERMINATING", "contract.terminate", _by_order),
        Row("TERMINATING", "dispute", "PC", "TERMINATING", "contract.dispute", _grounds),
        Row("TERMINATING", "settle_end", "PCV", "TERMINATING", "contract.settle_dispute", _settled),
        Row("TERMINATING", "close", "K", "TERMINATED", "contract.close", _closed_out),
    ),
)


@dataclass(frozen=True)
class GrantFacts:
    """What the guards look at."""

    performing: bool = False
    holder_bound: bool = False
    started: bool = False
    compiled: bool = False
    counter_at_limit: bool = False
    counter_open: bool = False
    term_over: bool = False
    right_lost: bool = False


def _may_issue(facts: GrantFacts) -> tuple[str, str] | None:
    if not facts.performing:
        return "GRANT_INVALID", "the agreement is not performing"
    return None if facts.holder_bound else ("GRANT_INVALID", "the holder's identity is not bound")


def _may_start(facts: GrantFacts) -> tuple[str, str] | None:
    if not facts.started:
        return "PRECONDITION_OPEN", "the start time is not reached"
    return None if facts.compiled else ("OFFER_UNENFORCEABLE", "the policy does not compile here")


_at_limit = needs("counter_at_limit", "ILLEGAL_TRANSITION", "no counter is at its limit")
_open = needs("counter_open", "QUOTA_WINDOW")
_expired = needs("term_over", "ILLEGAL_TRANSITION", "the term is not over")
_lost = needs("right_lost", "ILLEGAL_TRANSITION", "the right still stands")

GRANT: Final = Machine[GrantFacts](
    name="grant",
    kind="agreement",
    states=("ISSUED", "ACTIVE", "SUSPENDED", "EXHAUSTED", "EXPIRED", "REVOKED"),
    terminal=frozenset({"EXPIRED", "REVOKED"}),
    rows=(
        Row(None, "issue", "K", "ISSUED", "grant.issue", _may_issue),
        Row("ISSUED", "activate", "K", "ACTIVE", "grant.activate", _may_start),
        Row("ISSUED", "suspend", "XPVK", "SUSPENDED", "grant.suspend"),
        Row("ISSUED", "term_over", "T", "EXPIRED", "grant.expire", _expired),
        Row("ISSUED", "revoke", "XPK", "REVOKED", "grant.revoke", _lost),
        Row("ACTIVE", "exhaust", "K", "EXHAUSTED", "grant.exhaust", _at_limit),
        Row("ACTIVE", "suspend", "XPVK", "SUSPENDED", "grant.suspend"),
        Row("ACTIVE", "term_over", "T", "EXPIRED", "grant.expire", _expired),
        Row("ACTIVE", "revoke", "XPK", "REVOKED", "grant.revoke", _lost),
        Row("SUSPENDED", "suspend", "XPVK", "SUSPENDED", "grant.suspend"),
        Row("SUSPENDED", "lift_cause", "XPVK", "SUSPENDED", "grant.resume", when=CAUSES_REMAIN),
        Row("SUSPENDED", "lift_cause", "XPVK", "ACTIVE", "grant.resume", when=NO_CAUSE_LEFT),
        Row("SUSPENDED", "term_over", "T", "EXPIRED", "grant.expire", _expired),
        Row("SUSPENDED", "revoke", "XPK", "REVOKED", "grant.revoke", _lost),
        Row("EXHAUSTED", "refill", "K", "ACTIVE", "grant.refill", _open),
        Row("EXHAUSTED", "suspend", "XPVK", "SUSPENDED", "grant.suspend"),
        Row("EXHAUSTED", "exhaust", "K", "EXHAUSTED", "grant.exhaust", _at_limit),
        Row("EXHAUSTED", "term_over", "T", "EXPIRED", "grant.expire", _expired),
        Row("EXHAUSTED", "revoke", "XPK", "REVOKED", "grant.revoke", _lost),
    ),
)


def check_equals_offer(agreement: Agreement, offer: Offer, digest: str, *, version: int | None = None) -> None:
    """Refuse an agreement that differs from its offer in policy, price or product (protocol 5, odrl 3 rule 11).

    Raises:
        TrustnodeError: HASH_MISMATCH.
    """
    same = (
        odrl.same_terms(agreement.policy, offer.policy)
        and agreement.price == offer.price
        and agreement.product == offer.product
        and agreement.product_version == (version or offer.product_version)
        and agreement.offer_sha256 == digest
        and agreement.provider.participant == offer.provider
        and agreement.policy.assignee == agreement.consumer.participant
    )
    if not same:
        raise error("HASH_MISMATCH", "the agreement differs from the offer in policy, price, product or parties")


def check_mandate(agreement: Agreement, offer: Offer, now: str, concluded: int) -> None:
    """Refuse an agreement that the provider's mandate does not cover.

    Raises:
        TrustnodeError: SIGNATURE_INVALID.
    """
    mandate = offer.mandate
    covered = (
        mandate is not None
        and concluded < mandate.max_agreements
        and now <= offer.valid_until
        and (not mandate.consumers or agreement.consumer.participant in mandate.consumers)
    )
    if not covered:
        raise error("SIGNATURE_INVALID", "the provider gave its venue no mandate that covers this agreement")


def default_grade(level: str) -> Grade:
    """The weakest request proof that a level allows (protocol 6.2; custody only for open data, docs/decisions/0004)."""
    open_grades: dict[str, Grade] = {"GENERAL_1": "CUSTODY", "GENERAL_2": "DELEGATED"}
    return open_grades.get(level, "SIGNED")


def at_least(grade: Grade, minimum: Grade) -> bool:
    """Whether a request proof of ``grade`` satisfies ``minimum``."""
    return GRADES.index(grade) >= GRADES.index(minimum)


RESPONSIBILITY: Final[tuple[tuple[str, str], ...]] = (
    ("SOURCE_STATED", "PROVIDER"),
    ("SOURCE_CHECKED", "PROVIDER_VENUE"),
    ("DESCRIPTION", "PROVIDER"),
    ("LISTING_CHECK", "PROVIDER_VENUE"),
    ("SIGNATURE", "PROVIDER_VENUE"),
    ("AT_REST", "PROVIDER"),
    ("PREPARATION", "PROVIDER_VENUE"),
    ("TRANSFER", "PROVIDER_VENUE"),
    ("RELAY_PATH", "PROVIDER_VENUE"),
    ("USE", "CONSUMER"),
    ("DERIVATION", "CONSUMER"),
    ("DELETION", "CONSUMER"),
    ("DELETION_CHECK", "CONSUMER_VENUE"),
    ("INCIDENT_NOTICE", "CONSUMER_VENUE"),
    ("METERING", "PROVIDER_VENUE"),
    ("STATEMENT", "PROVIDER_VENUE"),
    ("EVIDENCE_LOG", "PROVIDER_VENUE"),
    ("PERSONAL_NOTICE", "PROVIDER"),
)
"""Who answers for each stage of a delivery between two venues (market 4)."""
