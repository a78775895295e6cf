"""Coming to an agreement: the consumer's side and the provider's side of one negotiation.

Decides: which message is signed next, what is checked before our signature goes under an agreement. Leaves to others:
the table of steps (``core.contract``, run by the nodes), waiting for news (``watching``). Source: protocol 5.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trustnode.core import clock
from trustnode.core.catalog import Registration
from trustnode.core.contract import (
    Agreement as Statement,
)
from trustnode.core.contract import (
    Mandate,
    MessageType,
    NegotiationMessage,
    Offer,
    Price,
    check_equals_offer,
    check_mandate,
)
from trustnode.core.document import Document, Required, canonical, cosign, decode, verify
from trustnode.core.identifier import short_name
from trustnode.core.participant import domain_of
from trustnode.core.policy import terms as terms_module
from trustnode.core.policy.compile import compile_terms
from trustnode.errors import TrustnodeError, error
from trustnode.sdk.agreement import Agreement
from trustnode.sdk.connection import Found, Submitted
from trustnode.sdk.market import OfferView, Product
from trustnode.sdk.profile import new_id, now
from trustnode.sdk.watching import changes

if TYPE_CHECKING:
    from trustnode.sdk.client import Client

RETRY_S: Final = 0.25
AUTOMATIC_WAIT_S: Final = 30.0
"""How long an agreement that needs nobody's yes may take."""


class Negotiation:
    """A negotiation that we are a party of."""

    def __init__(self, client: Client, found: Found) -> None:
        self._client = client
        self._take(found)

    def _take(self, found: Found) -> None:
        self._client.trust.learn(found.documents)
        self._found = found
        messages = [decode(d, NegotiationMessage) for d in found.documents if d.name == "negotiation-message"]
        self.messages: tuple[NegotiationMessage, ...] = tuple(messages)

    def __repr__(self) -> str:
        return f"<Negotiation {self.short} {self.product}: {self.state}>"

    # --- what it says

    @property
    def id(self) -> str:
        """Identifier (UUID)."""
        return self._found.object.id

    @property
    def short(self) -> str:
        """The eight characters that people type."""
        return short_name(self.id)

    @property
    def state(self) -> str:
        """State when it was last looked at."""
        return self._found.object.state

    @property
    def role(self) -> str:
        """``consumer`` or ``provider``: which side we are."""
        offer = self.offer
        return "provider" if offer and offer.provider == self._client.connection.profile.participant else "consumer"

    @property
    def offer_document(self) -> Document | None:
        """The offer on the table."""
        digest = self._last.offer_sha256 if self.messages else ""
        return next((d for d in self._found.documents if d.name == "offer" and d.digest == digest), None)

    @property
    def offer(self) -> Offer | None:
        """The offer on the table, decoded; its signature is checked before we sign."""
        document = self.offer_document
        return decode(document, Offer) if document else None

    @property
    def product(self) -> str:
        """Handle of the product; empty where the node does not show the offer."""
        return self.offer.product if self.offer else ""

    @property
    def purpose(self) -> str:
        """Purpose asked for."""
        return next((message.purpose for message in self.messages if message.purpose), "")

    @property
    def consumer(self) -> str:
        """SPIFFE id of the consumer."""
        us = self._client.connection.profile.participant
        if self.role == "consumer" or not self.messages:
            return us if self.role == "consumer" else ""
        return self._last.counterpart if self._last.iss == us else self._last.iss

    @property
    def documents(self) -> tuple[Document, ...]:
        """Every document the node showed with it, oldest first."""
        return self._found.documents

    @property
    def waits_for_us(self) -> bool:
        """Whether the next step is ours."""
        ours = {"consumer": ("OFFERED", "AGREED"), "provider": ("REQUESTED", "ACCEPTED")}[self.role]
        return self.state in ours

    @property
    def reason(self) -> str:
        """Why the other side ended it; empty otherwise."""
        return self._last.reason if self.messages else ""

    @property
    def _last(self) -> NegotiationMessage:
        return max(self.messages, key=lambda message: message.number)

    # --- waiting

    async def wait(self, timeout: float = 3600.0) -> Agreement:
        """Wait until the agreement is in force, signing it when the provider has.

        Args:
            timeout: Seconds.

        Raises:
            TrustnodeError: DEADLINE; PRECONDITION_OPEN when the provider made a counter-offer; DENIED when it ended.
        """
        agreement = await self.advance(timeout)
        if agreement is None and self.state == "OFFERED":
            step = f"Look at it, then: trustnode inbox accept {self.short}, or negotiation withdraw {self.short}"
            raise error("PRECONDITION_OPEN", "the provider made a counter-offer", next_step=step)
        if agreement is None:
            step = f"Wait on with: trustnode negotiation show {self.short}"
            raise error("DEADLINE", f"the provider has not answered within {timeout:g} s", next_step=step)
        return agreement

    async def advance(self, timeout: float) -> Agreement | None:
        """Go as far as our side can within ``timeout`` seconds.

        Returns:
            The agreement; None while somebody else has to move, and after a counter-offer.

        Raises:
            TrustnodeError: DENIED when the other side ended it; VERIFICATION_FAILED and its kin when the agreement is
                not what we asked for.
        """
        deadline = _Deadline(timeout)
        while True:
            await self._refreshed(deadline)
            if self.state == "AGREED" and self.role == "consumer":
                await self._countersign()
            if self.state == "FINALIZED":
                return await self._agreement()
            if self.state == "TERMINATED":
                raise error("DENIED", f"the other side ended the negotiation: {self.reason or 'no reason given'}")
            if self.state == "OFFERED" or not await self._changed(deadline):
                return None

    async def refresh(self) -> Negotiation:
        """Look at it again."""
        self._take(await self._client.connection.get("negotiation", self.id))
        return self

    async def _refreshed(self, deadline: _Deadline) -> None:
        """As ``refresh``; a node that is away is asked again until the time is over."""
        while True:
            try:
                await self.refresh()
            except TrustnodeError as problem:
                if not problem.retryable or deadline.left_s <= 0:
                    raise
                await asyncio.sleep(min(RETRY_S, deadline.left_s))
            else:
                return

    async def _changed(self, deadline: _Deadline) -> bool:
        """Wait for the next version; False when the time is over."""
        if deadline.left_s <= 0:
            return False
        connection, version = self._client.connection, self._found.object.version
        async with aclosing(changes(connection, "negotiation", self.id, version, deadline.left_s)) as news:
            async for _ in news:
                return True
        return False

    async def _agreement(self) -> Agreement:
        document = self._found.newest("agreement")
        if document is None:
            raise error("NOT_FOUND", "the node shows no agreement with this negotiation")
        contract = decode(document, Statement).contract_id
        profile = self._client.connection.profile
        alias = profile.alias_of(self.id)
        if alias:
            profile.name_agreement(alias, contract)
        return await self._client.agreement(contract)

    # --- the consumer's side

    async def _countersign(self) -> None:
        """Check that the agreement is what we asked for, and sign it (VERIFIED)."""
        document = self._found.newest("agreement")
        offer = self.offer_document
        if document is None or offer is None:
            raise error("NOT_FOUND", "the node shows no agreement or no offer with this negotiation")
        value = decode(document, Statement)
        await self._client.trust.prepare(
            self._client.connection, value.provider_signer().owner, decode(offer, Offer).provider
        )
        self._check(document, value, offer)
        signed = cosign(document, self._client.connection.profile.signer)
        await self._client.connection.submit(signed, [self._client.connection.profile.key_document, offer])

    def _check(self, document: Document, value: Statement, offer_document: Document) -> None:
        profile, keys = self._client.connection.profile, self._client.trust.keys
        offer = verify(offer_document, Offer, keys, None)
        verify(document, Statement, keys, now(), required=(value.provider_signer(),))
        check_equals_offer(value, offer.value, offer.digest)
        ours = {
            "negotiation": (value.negotiation, self.id),
            "consumer": (value.consumer.participant, profile.participant),
            "consumer.key": (value.consumer.key_sha256, profile.key_document.digest),
            "consumer_node": (value.consumer_node, profile.venue),
            "provider_node": (value.provider_node, domain_of(offer.value.provider)),
            "purpose": (value.purpose, self._own_purpose()),
            "counter_signature": (value.counter_signature, "BOTH"),
        }
        for field, (stated, expected) in ours.items():
            if stated != expected:
                raise error("HASH_MISMATCH", f"the agreement says {stated}, we asked for {expected}", field=field)
        if value.mandate is not None:
            if value.mandate != offer.digest:
                raise error("SIGNATURE_INVALID", "the venue signed by the mandate of another offer", field="mandate")
            check_mandate(value, offer.value, value.start, 0)
        if value.sign_by < now():
            raise error("ILLEGAL_TRANSITION", f"the agreement had to be signed by {value.sign_by}; negotiate again")

    def _own_purpose(self) -> str:
        """The purpose in the newest message that we signed ourselves, whatever the node shows."""
        us = self._client.connection.profile.participant
        for document in self.documents:
            if document.name == "negotiation-message" and decode(document, NegotiationMessage).iss == us:
                return verify(document, NegotiationMessage, self._client.trust.keys, None).value.purpose
        raise error("SIGNATURE_INVALID", "the node shows no message of ours in this negotiation")

    async def withdraw(self, reason: str = "") -> Negotiation:
        """End the negotiation."""
        return await self._send("ContractNegotiationTerminationMessage", reason=reason)

    # --- both sides

    async def accept(self) -> Negotiation:
        """Say yes: as provider to the request, as consumer to a counter-offer.

        Raises:
            TrustnodeError: ILLEGAL_TRANSITION when nothing waits for us.
        """
        if not self.waits_for_us:
            raise error("ILLEGAL_TRANSITION", f"the negotiation is {self.state}; nothing waits for you")
        if self.role == "provider":
            return await self._sign_draft()
        if self.state == "OFFERED":
            return await self._send("ContractNegotiationEventMessage:ACCEPTED")
        await self._countersign()
        return await self.refresh()

    async def refuse(self, reason: str) -> Negotiation:
        """Say no; the other side reads the reason."""
        return await self.withdraw(reason)

    async def counter(self, terms: Mapping[str, Any], *, price: str = "", reason: str = "") -> Negotiation:
        """As provider, answer with other terms. The consumer's yes concludes where the offer needs no approval.

        Args:
            terms: The terms as in a product file.
            price: Price in words; by default that of the offer on the table.
            reason: Shown to the consumer.
        """
        offer = self._client.connection.profile.sign(await self._counter_offer(terms, price))
        return await self._send("ContractOfferMessage", offer=offer, reason=reason)

    async def _sign_draft(self) -> Negotiation:
        """Sign the agreement that our node prepared, after comparing it with our own offer."""
        document, offer = self._found.newest("agreement"), self.offer_document
        if document is None or offer is None:
            raise error("NOT_FOUND", "the node has prepared no agreement for this request")
        value = decode(document, Statement)
        profile = self._client.connection.profile
        own = verify(offer, Offer, self._client.trust.keys, None)
        check_equals_offer(value, own.value, own.digest)
        if value.provider_signer() != Required(profile.participant, "participant") or value.negotiation != self.id:
            raise error("HASH_MISMATCH", "the agreement prepared is not between us and this consumer")
        if value.consumer.participant != self.consumer or value.purpose != self.purpose:
            raise error("HASH_MISMATCH", "the agreement prepared differs from what the consumer asked for")
        signed = cosign(msgspec.structs.replace(document, signatures=()), profile.signer)
        await self._client.connection.submit(signed, [profile.key_document, offer])
        return await self.refresh()

    async def _counter_offer(self, terms: Mapping[str, Any], price: str) -> Offer:
        old = self.offer
        if old is None or self.role != "provider":
            raise error("ROLE_NOT_ALLOWED", "only the provider makes a counter-offer")
        registration = await self._registration(old.product)
        read = terms_module.decode(dict(terms))
        worded = price or str(old.price)
        policy = compile_terms(
            read,
            price=worded,
            schema=registration.tables[0].columns,
            zone=registration.zone,
            level=registration.level,
            at=clock.moment(now()),
            approval=old.approval,
        )
        mandate = Mandate(max_agreements=1, consumers=(self.consumer,)) if old.approval == "automatic" else None
        return msgspec.structs.replace(
            old,
            policy=policy,
            terms=canonical(read).decode(),
            price=Price.parse(worded),
            mandate=mandate,
            **self._client.connection.profile.fields("*"),
        )

    async def _registration(self, product: str) -> Registration:
        found = await self._client.connection.get("product", product)
        document = found.newest("registration") or found.object.document
        if document is None:
            raise error("NOT_REGISTERED", f"the node shows no registration of {product}")
        return decode(document, Registration)

    async def _send(self, message: MessageType, *, offer: Document | None = None, reason: str = "") -> Negotiation:
        """Sign and hand in the message that follows the last one."""
        profile, last = self._client.connection.profile, self._last
        documents = {decode(d, NegotiationMessage): d for d in self.documents if d.name == "negotiation-message"}
        table = offer or self.offer_document
        statement = NegotiationMessage(
            negotiation=self.id,
            number=last.number + 1,
            previous=documents[last].digest,
            message=message,
            offer_sha256=table.digest if table else last.offer_sha256,
            counterpart=self._counterpart(),
            purpose=self.purpose,
            listing=last.listing,
            reason=reason,
            **profile.fields(profile.venue, domain_of(self._counterpart())),
        )
        supporting = [profile.key_document, *([table] if table else [])]
        await self._client.connection.submit(profile.sign(statement), supporting)
        return await self.refresh()

    def _counterpart(self) -> str:
        if self.role == "provider":
            return self.consumer
        return self.offer.provider if self.offer else self._last.counterpart


class _Deadline:
    """A span of time on the clock that nobody sets."""

    def __init__(self, timeout_s: float) -> None:
        self._end = time.monotonic() + timeout_s

    @property
    def left_s(self) -> float:
        """Seconds left; negative when it is over."""
        return self._end - time.monotonic()


async def request(client: Client, product: Product, chosen: OfferView, purpose: str) -> tuple[Submitted, str]:
    """Ask for an agreement on an offer as it stands (ContractRequestMessage, number 1).

    Returns:
        What the home node answered, and the identifier of the negotiation.
    """
    profile = client.connection.profile
    negotiation = new_id()
    statement = NegotiationMessage(
        negotiation=negotiation,
        number=1,
        message="ContractRequestMessage",
        offer_sha256=chosen.document.digest,
        counterpart=chosen.offer.provider,
        purpose=_purpose(chosen, purpose),
        listing=product.listing.record.listing,
        **profile.fields(profile.venue, domain_of(chosen.offer.provider)),
    )
    answer = await client.connection.submit(profile.sign(statement), [profile.key_document, chosen.document])
    return answer, negotiation


def is_automatic(offer: Offer) -> bool:
    """Whether the provider's venue concludes without asking anybody."""
    return offer.approval == "automatic" and offer.mandate is not None


def _purpose(chosen: OfferView, purpose: str) -> str:
    """The purpose that is claimed; one that stands alone in the offer need not be typed."""
    if purpose:
        return purpose
    if len(chosen.purposes) == 1:
        return chosen.purposes[0]
    known = ", ".join(chosen.purposes) or "any; see: trustnode words purpose"
    raise error("FIELD_MISSING", f"name the purpose; the offer allows: {known}", field="purpose")
