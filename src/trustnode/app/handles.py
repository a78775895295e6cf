"""Single-use handles for clients that cannot sign: the venue asks in their name, delegated or in custody.

Decides: who may get a handle, what it is bound to, how long it lives. Leaves to others: admission, where everything is
checked again (``access``), the Flight messages (``rpc.flight``). Source: protocol 6.2, 6.3; data-plane 6.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from trustnode.app import reading
from trustnode.app.access import Ticket, open_session, prepared_product
from trustnode.app.agreement import parties_only
from trustnode.app.venue import Sender, Venue
from trustnode.core import clock
from trustnode.core.access import REQUEST_LIFE_S, AccessRequest, Query
from trustnode.core.contract import Agreement, AgreementState
from trustnode.core.document import Document, Signer, decode, seal
from trustnode.core.identity import Caller
from trustnode.core.stream import SALT_BYTES, query_commitment
from trustnode.errors import error
from trustnode.store.unit import View
from trustnode.wire.convert import new_ticket
from trustnode.wire.frame import parse_frame

HANDLE_BYTES: Final = 32
MAX_HANDLES: Final = 10_000


class Made(NamedTuple):
    """A handle and the schema of what it will deliver, as an Arrow message."""

    handle: bytes
    schema: bytes


@dataclass(frozen=True)
class _Bound:
    """What a handle stands for, and for whom."""

    spiffe_id: str
    leaf_sha256: str
    until: str
    sender: Sender
    agreement: str
    sql: str


@dataclass
class Handles:
    """All handles that were given out and not used yet."""

    venue: Venue
    _held: dict[bytes, _Bound] = field(default_factory=dict)

    async def make(self, sender: Sender, caller: Caller, agreement: str, sql: str) -> Made:
        """Give a handle for a query that would be allowed now; nothing is reserved or logged.

        Raises:
            TrustnodeError: NOT_FOUND, QUERY_INVALID, BUSY when too many wait.
        """
        schema = await self.schema(sender, agreement, sql)
        now = self.venue.clock.now()
        self._held = {key: bound for key, bound in self._held.items() if bound.until > now}
        if len(self._held) >= MAX_HANDLES:
            raise error("BUSY", "too many handles wait to be used")
        handle = secrets.token_bytes(HANDLE_BYTES)
        until = clock.shift(now, REQUEST_LIFE_S)
        self._held[handle] = _Bound(caller.spiffe_id, caller.leaf_sha256, until, sender, agreement, sql)
        return Made(handle, schema)

    async def redeem(self, caller: Caller, raw: bytes) -> Ticket | None:
        """The ticket behind a handle, once; None when these bytes are no handle.

        Raises:
            TrustnodeError: NOT_FOUND, REQUEST_PROOF_TOO_WEAK.
        """
        if len(raw) != HANDLE_BYTES:
            return None
        bound = self._held.pop(raw, None)
        now = self.venue.clock.now()
        fits = bound is not None and (bound.spiffe_id, bound.leaf_sha256) == (caller.spiffe_id, caller.leaf_sha256)
        if bound is None or not fits or bound.until < now:
            raise error("NOT_FOUND", "no such ticket, or it was used; ask for another one")
        return await self._ticket(bound)

    async def agreements(self, sender: Sender) -> list[str]:
        """Agreements that a caller may read under."""
        found = await self.venue.store.read(
            lambda view: view.find(AgreementState, consumer=sender.participant, state="PERFORMING")
        )
        return [state.id for state in found]

    async def schema(self, sender: Sender, agreement: str, sql: str) -> bytes:
        """The Arrow schema message of a query's answer; a foreign product has none before it is read."""
        state, _, _ = await self._read(sender, agreement)
        if state.provider_node != self.venue.domain:
            return b""
        return await self._planned_schema(state, sql)

    async def _read(self, sender: Sender, name: str) -> tuple[AgreementState, Agreement, Document | None]:
        return await self.venue.store.read(lambda view: _known(view, sender, self.venue.domain, name))

    async def _planned_schema(self, state: AgreementState, sql: str) -> bytes:
        document = await self.venue.store.read(lambda view: view.document(state.document))
        prepared = await self.venue.store.read(lambda view: prepared_product(view, state.product))
        if document is None:
            raise error("NOT_FOUND", "no such agreement")
        card = self.venue.keyring.cards.get(state.consumer_node)
        attributes = {"consumer_id": state.consumer, "consumer_area": card.value.area if card else ""}
        session = await open_session(self.venue, decode(document, Agreement).policy, prepared, attributes, state.id)
        plan = await session.plan(sql)
        # The engine plans this text like any other that a consumer sends; nothing in it is trusted.
        empty = f"select * from ({plan.query.rstrip().rstrip(';')}) as q limit 0"  # noqa: S608
        answer = await session.read(empty)
        header = bytes(parse_frame(answer.frames[0].data).header)
        return b"\xff\xff\xff\xff" + len(header).to_bytes(4, "little") + header

    async def _ticket(self, bound: _Bound) -> Ticket:
        venue = self.venue
        state, agreement, delegation = await self._read(bound.sender, bound.agreement)
        query, salt = Query(bound.sql), secrets.token_bytes(SALT_BYTES)
        name = state.consumer.rpartition("/")[2]
        held: Signer | None = venue.custody.signer(name)
        if delegation is None and held is None:
            raise error("REQUEST_PROOF_TOO_WEAK", "this client cannot sign and has delegated nothing")
        request = AccessRequest(
            agreement=state.id,
            agreement_sha256=state.document,
            consumer=state.consumer,
            home=venue.domain,
            provider=state.provider_node,
            purpose=agreement.purpose,
            operation="aggregate" if venue.policies.load(agreement.policy).aggregate_only else "read",
            query_commitment=query_commitment(salt, query.to_bytes()),
            request_proof="DELEGATED" if delegation else "CUSTODY",
            delegation_sha256=delegation.digest if delegation else None,
            **venue.fields(
                state.provider_node, venue.domain, iss=venue.domain if delegation else state.consumer,
                life_s=REQUEST_LIFE_S,
            ),
        )  # fmt: skip
        signer = venue.evidence if delegation or held is None else held
        key = venue.keyring.key_documents.get(state.consumer)
        document = seal(request, signer)
        return new_ticket(document, query.to_bytes(), salt, key.document if key else None, delegation)


def _known(view: View, sender: Sender, domain: str, name: str) -> tuple[AgreementState, Agreement, Document | None]:
    state = parties_only(reading.find_agreement(view, sender, domain, name), sender)
    document = view.document(state.document)
    if document is None:
        raise error("NOT_FOUND", "no such agreement")
    digest = view.setting(f"delegation/{state.id}")
    return state, decode(document, Agreement), view.document(digest) if digest else None
