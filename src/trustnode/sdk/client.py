"""A participant at its home node: what ``trustnode.connect`` gives.

Decides: by which names things are called. Leaves to others: everything that happens to them (the neighbours).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self

from trustnode.core.contract import Act
from trustnode.core.document import Document
from trustnode.errors import error
from trustnode.sdk.acks import Acks
from trustnode.sdk.agreement import Agreement
from trustnode.sdk.connection import TIMEOUT_S, Connection, Found, Submitted
from trustnode.sdk.explanation import Explanation, explanation
from trustnode.sdk.market import Hits, Listing, Product, SilentVenue
from trustnode.sdk.negotiation import AUTOMATIC_WAIT_S, Negotiation, is_automatic, request
from trustnode.sdk.profile import Profile
from trustnode.sdk.publish import Published, publish
from trustnode.sdk.trust import Trust
from trustnode.wire.convert import RemoteObject

Noun = Literal["participant", "peering", "product", "listing", "negotiation", "agreement", "grant", "access"]
PAGE: Final = 50
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")


class Client:
    """A participant at its home node."""

    def __init__(self, profile: Profile, *, timeout_s: float = TIMEOUT_S) -> None:
        self.profile = profile
        self.connection = Connection(profile, timeout_s=timeout_s)
        self.trust = Trust(profile)
        self.acks = Acks(self.connection)

    def __repr__(self) -> str:
        return f"<Client {self.profile.name} at {self.profile.venue}>"

    async def __aenter__(self) -> Self:
        await self.connection.renew_if_due()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Send the acknowledgements that wait, and close the connection."""
        try:
            await self.acks.try_flush()
        finally:
            await self.connection.aclose()

    # --- finding

    async def search(
        self,
        query: str = "",
        *,
        level: str = "",
        category: str = "",
        venue: str = "",
        all_venues: bool = False,
        limit: int = PAGE,
    ) -> Hits:
        """Find listings of all venues in the home node's index.

        Args:
            query: Words in Chinese or English, all of which must occur.
            level: Data level, such as GENERAL_1.
            category: Data category, such as PUBLIC.
            venue: Trust domain of the venue that lists.
            all_venues: Refuse to answer while a venue's lane is silent.
            limit: Most hits.
        """
        items: list[Listing] = []
        token = ""
        while True:
            answer = await self.connection.call(
                "CatalogService/SearchListings",
                query=query,
                level=level,
                category=category,
                venue=venue,
                all_venues=all_venues,
                page_size=min(limit - len(items), 200),
                page_token=token,
            )
            items += [Listing(self, hit, answer["answered_at"] or "") for hit in answer["hits"]]
            token = answer["next_page_token"]
            if not token or len(items) >= limit:
                break
        silent = [SilentVenue(venue["venue"], venue["since"]) for venue in answer["not_asked"]]
        return Hits(items, silent, {feed["origin"]: feed["seq"] for feed in answer["feeds"]})

    async def product(self, product: str, offer: str = "") -> Product:
        """One product with the columns and terms of its offers."""
        answer = await self.connection.call("CatalogService/DescribeListing", product=product, offer=offer)
        return Product(self, answer)

    async def explain(
        self,
        subject: str,
        sql: str = "",
        parameters: Sequence[Any] = (),
        *,
        offer: str = "",
        purpose: str = "",
    ) -> Explanation:
        """What a query would deliver, and why; reads nothing.

        Args:
            subject: An agreement by any of its names, or a product ``venue/name`` before any contract.
            sql: The query; empty: all that is delivered.
            parameters: Values of its ``?``.
            offer: Name of the offer, for a product with several.
            purpose: Purpose of the use.
        """
        if "/" in subject:
            under: dict[str, Any] = {"offer": {"product": subject, "offer": offer}}
        else:
            under = {"agreement": self._contract(subject)}
        return await explanation(self.connection, under, purpose, sql, parameters)

    # --- contracting

    async def negotiate(
        self,
        product: str | Product,
        *,
        offer: str = "",
        purpose: str = "",
        as_: str = "",
        wait: float | None = None,
    ) -> Agreement | Negotiation:
        """Ask for an agreement on an offer as it stands.

        Args:
            product: Handle, or the product.
            offer: Name of the offer; without it the only one.
            purpose: Purpose claimed; without it the only one the offer allows.
            as_: Private name of the agreement.
            wait: Seconds to wait where somebody must approve; None does not wait.

        Returns:
            The agreement in force; a ``Negotiation`` while somebody has to move.

        Raises:
            TrustnodeError: What the nodes refuse with.
        """
        described = product if isinstance(product, Product) else await self.product(product)
        chosen = described.offer(offer)
        answer, negotiation = await request(self, described, chosen, purpose)
        if as_:
            self.profile.name_agreement(as_, negotiation)
        under_way = Negotiation(self, Found(answer.object, answer.produced))
        patience = max(wait or 0.0, AUTOMATIC_WAIT_S if is_automatic(chosen.offer) else 0.0)
        return await under_way.advance(patience) or under_way

    async def negotiation(self, name: str) -> Negotiation:
        """A negotiation by identifier, short name, or the private name given with ``as_``."""
        id = self.profile.aliases.get(name, name)
        return Negotiation(self, await self.connection.get("negotiation", id))

    async def negotiations(self, limit: int = PAGE, **filter: str) -> list[Negotiation]:
        """Negotiations that we are a party of, newest change first."""
        objects = await self.connection.list_all("negotiation", limit=limit, **filter)
        return [await self.negotiation(found.id) for found in objects]

    async def agreement(self, name: str) -> Agreement:
        """An agreement by private name, short name or identifier.

        A private name may still belong to a negotiation; then the agreement must have come into force meanwhile.

        Raises:
            TrustnodeError: NOT_FOUND; PRECONDITION_OPEN while the negotiation goes on.
        """
        id = self._contract(name)
        if _UUID.match(id):
            return await self._concluded(id)
        found = await self.connection.get("agreement", id)
        self.trust.learn(found.documents)
        return Agreement(self, found)

    async def _concluded(self, negotiation: str) -> Agreement:
        under_way = await self.negotiation(negotiation)
        agreement = await under_way.advance(0)
        if agreement is None:
            raise error("PRECONDITION_OPEN", f"the negotiation {under_way.short} is {under_way.state}")
        return agreement

    async def agreements(self, limit: int = PAGE, **filter: str) -> list[Agreement]:
        """Agreements that we are a party of, newest change first."""
        objects = await self.connection.list_all("agreement", limit=limit, **filter)
        return [await self.agreement(found.id) for found in objects]

    def _contract(self, name: str) -> str:
        return self.profile.aliases.get(name, name)

    # --- what waits for us

    async def inbox(self) -> list[Negotiation]:
        """Negotiations that wait for us: requests to approve, counter-offers to answer, agreements to sign."""
        objects = await self.connection.list_all("negotiation", inbox="true")
        return [await self.negotiation(found.id) for found in objects]

    # --- general

    async def submit(self, document: Document, supporting: Sequence[Document] = ()) -> Submitted:
        """Hand in a signed document."""
        return await self.connection.submit(document, supporting)

    async def act(
        self,
        noun: Noun,
        object: str,
        event: str,
        *,
        cause: str = "",
        reason: str = "",
        effective: str | None = None,
        audience: Sequence[str] = (),
    ) -> RemoteObject:
        """Sign and hand in a step that carries nothing but itself.

        Args:
            noun: Life cycle that the step belongs to.
            object: Identifier in full.
            event: Name of the step, as in the life cycle's table.
            cause: Cause of a suspension.
            reason: Shown to the other side.
            effective: When it takes effect, canonical time; None: now.
            audience: Venues that are to act on it; by default our own.
        """
        fields = self.profile.fields(self.profile.venue, *audience)
        statement = Act(
            machine=noun, object=object, event=event, cause=cause, reason=reason, effective=effective, **fields
        )
        answer = await self.connection.submit(self.profile.sign(statement), [self.profile.key_document])
        return answer.object

    async def bundle(self, agreement: str | Agreement, path: str | Path) -> Path:
        """Write the evidence of an agreement to a file."""
        held = agreement if isinstance(agreement, Agreement) else await self.agreement(agreement)
        return await held.bundle(path)

    async def stop_access(self, access: str, reason: str = "") -> RemoteObject:
        """Stop a running access of ours; what was delivered is settled."""
        return await self.act("access", access, "abort", reason=reason)

    async def publish(self, file: Any, *, offers: Sequence[str] = ()) -> Published:
        """Register or change the product of a file, then list it; see ``publish.publish``."""
        return await publish(self, file, offers=offers)
