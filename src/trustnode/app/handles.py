"""Single-use handles for clients that cannot sign: the venue asks in their name, delegated or in custody.

Decides: who may get a handle, what it is bound to, how long it lives. Leaves to others: admission, where everything is
checked again (``access``), the Flight messages (``rpc.flight``). Source: protocol 6.2, 6.3; data-plane 6.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from trustnode.app import reading
from trustnode.app.access import Part, Ticket, check_held_at, open_session, prepared_product
from trustnode.app.agreement import parties_only
from trustnode.app.flight_session import Names
from trustnode.app.joined import purpose_for
from trustnode.app.venue import Sender, Venue
from trustnode.core import clock
from trustnode.core.access import MAX_JOINED, REQUEST_LIFE_S, AccessRequest, Named, Query
from trustnode.core.contract import Agreement, AgreementState, Delegation
from trustnode.core.document import Document, Signer, decode, seal
from trustnode.core.identity import Caller
from trustnode.core.policy.schema import Column
from trustnode.core.stream import SALT_BYTES, query_commitment
from trustnode.engine.message import Value
from trustnode.errors import REASONS, TrustnodeError, error
from trustnode.store.unit import View
from trustnode.wire.convert import new_ticket

HANDLE_BYTES: Final = 32
MAX_HANDLES: Final = 10_000
MAX_HANDLES_OF_ONE: Final = 1_000
"""A caller that asks and never reads keeps nobody else from asking."""
EXPLAIN_S: Final = 20.0
Values = tuple[Value, ...]


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
    agreements: Names
    sql: str
    parameters: Values = ()

    def fits(self, caller: Caller) -> bool:
        """Whether it was given to this caller, with this very certificate."""
        return (self.spiffe_id, self.leaf_sha256) == (caller.spiffe_id, caller.leaf_sha256)


@dataclass
class Running:
    """A read under way by a handle."""

    bound: _Bound
    access: str
    is_cancelled: bool = False

    def check(self) -> None:
        """Raise CANCELLED when the caller took the read back before it began to flow."""
        if self.is_cancelled:
            raise error("CANCELLED", "the query was cancelled")


@dataclass
class Handles:
    """All handles that were given out and not used yet."""

    venue: Venue
    _held: dict[bytes, _Bound] = field(default_factory=dict)
    _running: dict[bytes, Running] = field(default_factory=dict)

    async def make(
        self, sender: Sender, caller: Caller, agreements: Names, sql: str, parameters: Values = (), schema: bytes = b""
    ) -> Made:
        """Give a handle for a query that would be allowed now; nothing is reserved or logged.

        Args:
            sender: Who asks.
            caller: The certificate the handle is bound to.
            agreements: Identifiers or short names.
            sql: The query.
            parameters: Values for its ``?``.
            schema: What was planned before for the same query; empty: it is planned now.

        Raises:
            TrustnodeError: As ``schema``; BUSY when too many wait.
        """
        schema = schema or await self.schema(sender, agreements, sql, parameters)
        now = self.venue.clock.now()
        self._held = {key: bound for key, bound in self._held.items() if bound.until > now}
        if len(self._held) >= MAX_HANDLES or self._held_by(caller) >= MAX_HANDLES_OF_ONE:
            raise error("BUSY", "too many handles wait to be used")
        handle = secrets.token_bytes(HANDLE_BYTES)
        until = clock.shift(now, REQUEST_LIFE_S)
        self._held[handle] = _Bound(caller.spiffe_id, caller.leaf_sha256, until, sender, agreements, sql, parameters)
        return Made(handle, schema)

    def _held_by(self, caller: Caller) -> int:
        return sum(bound.spiffe_id == caller.spiffe_id for bound in self._held.values())

    @contextlib.asynccontextmanager
    async def redeemed(self, caller: Caller, raw: bytes) -> AsyncIterator[tuple[Ticket, Running]]:
        """The ticket behind a handle, once; until the block is left ``cancel`` finds the read that it began.

        Raises:
            TrustnodeError: NOT_FOUND, REQUEST_PROOF_TOO_WEAK.
        """
        bound = self._held.pop(raw, None)
        if bound is None or not bound.fits(caller) or bound.until < self.venue.clock.now():
            raise error("NOT_FOUND", "no such ticket, or it was used; ask for another one")
        ticket = await self._ticket(bound)
        running = self._running[raw] = Running(bound, decode(ticket.request, AccessRequest).id)
        try:
            yield ticket, running
        finally:
            del self._running[raw]

    def cancel(self, caller: Caller, raw: bytes) -> bool:
        """Take a handle back, or stop the read that it began.

        Returns:
            Whether there was one of this caller.
        """
        waiting, running = self._held.get(raw), self._running.get(raw)
        if waiting is not None and waiting.fits(caller):
            del self._held[raw]
            return True
        if running is None or not running.bound.fits(caller):
            return False
        running.is_cancelled = True
        self.venue.streams.stop(f"access:{running.access}", "CANCELLED", "the query was cancelled")
        return True

    async def agreements(self, sender: Sender) -> list[str]:
        """Agreements that a caller may read under."""
        found = await self.venue.store.read(
            lambda view: view.find(AgreementState, consumer=sender.participant, state="PERFORMING")
        )
        return [state.id for state in found]

    async def schema(self, sender: Sender, agreements: Names, sql: str, parameters: Values = ()) -> bytes:
        """The Arrow schema message of a query's answer; no data is read, nothing is logged.

        Raises:
            TrustnodeError: NOT_FOUND, QUERY_INVALID, BUSY; PEER_UNREACHABLE where the data are at another node.
        """
        found = await self._read(sender, agreements)
        if found[0].state.provider_node != self.venue.domain:
            return await self._schema_there(found, sql, parameters)
        return await self._planned_schema(found, sql, parameters)

    async def _read(self, sender: Sender, names: Names) -> tuple[Known, ...]:
        return await self.venue.store.read(lambda view: _known(view, sender, self.venue.domain, names))

    async def _planned_schema(self, known: Sequence[Known], sql: str, parameters: Values) -> bytes:
        venue = self.venue
        prepared = await venue.store.read(lambda view: [prepared_product(view, one.state.product) for one in known])
        parts = [
            Part(one.value.policy, ready, attributes_of(venue, one.state), one.state.id)
            for one, ready in zip(known, prepared, strict=True)
        ]
        return await (await open_session(venue, *parts)).answer_schema(sql, parameters)

    async def _schema_there(self, known: Sequence[Known], sql: str, parameters: Values) -> bytes:
        """Ask the node that holds the data what the query would deliver."""
        first, *others = [one.state for one in known]
        found = await self.venue.peers.get(first.provider_node).explain(
            agreement=first.id, joined=[state.id for state in others], consumer=first.consumer,
            purpose=purpose_for(self.venue, [one.value for one in known]), sql=sql,
            parameters_json=msgspec.json.encode(parameters).decode(), timeout_s=EXPLAIN_S,
        )  # fmt: skip
        if not found.allowed:
            raise error(found.reason if found.reason in REASONS else "DENIED", found.message)
        columns = [_column(one.name, one.type) for one in found.columns]
        return (await self.venue.engine.clerk().schema(columns))[1]

    async def _ticket(self, bound: _Bound) -> Ticket:
        venue = self.venue
        known = await self._read(bound.sender, bound.agreements)
        state, delegation = known[0].state, _delegation(known)
        query, salt = Query(bound.sql, bound.parameters), secrets.token_bytes(SALT_BYTES)
        name = state.consumer.rpartition("/")[2]
        held: Signer | None = venue.custody.signer(name)
        if delegation is None and held is None:
            raise _undelegated(known)
        request = AccessRequest(
            agreement=state.id,
            agreement_sha256=state.document,
            consumer=state.consumer,
            home=venue.domain,
            provider=state.provider_node,
            purpose=purpose_for(venue, [one.value for one in known]),
            operation="aggregate" if any(venue.policies.load(k.value.policy).aggregate_only for k in known) else "read",
            joined=tuple(sorted((Named(k.state.id, k.state.document) for k in known[1:]), key=lambda n: n.agreement)),
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


class Known(NamedTuple):
    """An agreement of the caller, with the newest delegation that covers it."""

    state: AgreementState
    value: Agreement
    delegation: Document | None


def _known(view: View, sender: Sender, domain: str, names: Names) -> tuple[Known, ...]:
    """Agreements by name, each once, all with one venue."""
    if len(names) > MAX_JOINED + 1:
        raise error("QUERY_INVALID", f"a query reads under at most {MAX_JOINED + 1} agreements", field="sql")
    found = [_known_one(view, sender, domain, name) for name in names]
    for one in found:
        check_held_at(one.state, found[0].state.provider_node)
    return tuple({one.state.id: one for one in found}.values())


def _known_one(view: View, sender: Sender, domain: str, name: str) -> Known:
    state = parties_only(reading.find_agreement(view, sender, domain, name), sender)
    document = view.document(state.document)
    if document is None:
        raise error("NOT_FOUND", "no such agreement")
    digest = view.setting(f"delegation/{state.id}")
    return Known(state, decode(document, Agreement), view.document(digest) if digest else None)


def _delegation(known: Sequence[Known]) -> Document | None:
    """A delegation that covers all of them."""
    wanted = {(one.state.id, one.state.document) for one in known}
    given = (one.delegation for one in known if one.delegation is not None)
    return next((one for one in given if wanted <= set(decode(one, Delegation).agreements)), None)


def _undelegated(known: Sequence[Known]) -> TrustnodeError:
    if len(known) == 1:
        return error("REQUEST_PROOF_TOO_WEAK", "this client cannot sign and has delegated nothing")
    step = "Delegate them together: trustnode agreement delegate AGREEMENT AGREEMENT --until DATE"
    message = "this client cannot sign, and no delegation covers these agreements together"
    return error("REQUEST_PROOF_TOO_WEAK", message, next_step=step)


def attributes_of(venue: Venue, state: AgreementState) -> Mapping[str, str]:
    """What the rows of an agreement may depend on: verified attributes of its consumer."""
    card = venue.keyring.cards.get(state.consumer_node)
    return {"consumer_id": state.consumer, "consumer_area": card.value.area if card else ""}


def _column(name: str, word: str) -> Column:
    try:
        return Column(name=name, type=word)
    except ValueError:
        raise error("VERIFICATION_FAILED", "the other node named a column that is none") from None
