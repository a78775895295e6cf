"""What somebody may look at: objects by id, short name or handle, lists, and changes as they happen.

Decides: who sees which object (parties and the operator; to everybody else it does not exist), which documents explain
it, what waits for whom. Leaves to others: messages (``rpc``), changing anything (the door).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from trustnode.app import catalog
from trustnode.app.venue import Sender, Venue
from trustnode.core import identifier
from trustnode.core.access import AccessState
from trustnode.core.catalog import CatalogEntry, ListingState, ProductState
from trustnode.core.contract import Agreement, AgreementState, GrantState, NegotiationState
from trustnode.core.document import Document, decode
from trustnode.core.lifecycle import State
from trustnode.core.participant import ParticipantState
from trustnode.core.peering import PeeringState
from trustnode.core.states import STATES
from trustnode.errors import error
from trustnode.store.batch import Commit
from trustnode.store.unit import View

PAGE: Final = 100
MAX_PAGE: Final = 500
INBOX: Final = "inbox"
"""Filter that lists what waits for the caller."""


class Shown(NamedTuple):
    """An object with the documents that explain it, oldest first."""

    kind: str
    state: State
    documents: tuple[Document, ...]


class Page(NamedTuple):
    """Objects, and where the next page begins."""

    items: tuple[tuple[str, State, Document | None], ...]
    next_token: str


# --- who sees what --------------------------------------------------------------------------------------------------


def may_see(state: State, sender: Sender, domain: str) -> bool:
    """Whether an object exists for somebody."""
    if sender.kind in ("OPERATOR", "SELF"):
        return True
    if isinstance(state, ProductState | ListingState):
        return sender.participant == state.provider
    if isinstance(state, CatalogEntry):
        return state.visibility in catalog.TOLD or (state.visibility == "VENUE" and sender.domain == domain)
    if isinstance(state, NegotiationState | AgreementState):
        return _is_party(sender, (state.consumer, state.provider), (state.consumer_node, state.provider_node))
    if isinstance(state, GrantState):
        return sender.participant == state.holder
    if isinstance(state, AccessState):
        return _is_party(sender, (state.consumer,), (state.consumer_node, state.provider_node))
    return isinstance(state, ParticipantState) and sender.participant == state.id


def _is_party(sender: Sender, parties: Sequence[str], nodes: Sequence[str]) -> bool:
    return sender.participant in parties if sender.kind == "CLIENT" else sender.domain in nodes


def _seen(view: View, state: State, sender: Sender, domain: str) -> bool:
    """As ``may_see``; the provider of an agreement sees its accesses too."""
    if may_see(state, sender, domain):
        return True
    if isinstance(state, AccessState) and sender.kind == "CLIENT":
        agreement = view.get(AgreementState, state.agreement)
        return agreement is not None and agreement.provider == sender.participant
    return False


# --- one object -----------------------------------------------------------------------------------------------------


def show(view: View, sender: Sender, domain: str, kind: str, name: str) -> Shown:
    """An object by identifier, short name or handle.

    Raises:
        TrustnodeError: VOCABULARY_UNKNOWN, NOT_FOUND, FIELD_FORMAT when a short name fits several.
    """
    for one in _kinds(kind):
        state = _find(view, sender, domain, one, name)
        if state is not None:
            return Shown(one, state, tuple(_explaining(view, one, state)))
    raise error("NOT_FOUND", f"no {kind or 'object'} {name[:80]}", kind=kind)


def _kinds(kind: str) -> tuple[str, ...]:
    if kind and kind not in STATES:
        raise error("VOCABULARY_UNKNOWN", f"kind {kind[:40]!r} is not one of {', '.join(STATES)}", field="kind")
    return (kind,) if kind else tuple(STATES)


def _find(view: View, sender: Sender, domain: str, kind: str, name: str) -> State | None:
    state = view.get(STATES[kind], _full(kind, name, domain))
    if state is not None:
        return state if _seen(view, state, sender, domain) else None
    if len(name) != identifier.SHORT_LENGTH:
        return None
    found = [one for one in _mine(view, sender, domain, kind) if identifier.short_name(one.id) == name.upper()]
    if len(found) > 1:
        raise error("FIELD_FORMAT", f"{name} fits {len(found)} objects; use the full identifier", field="id")
    return found[0] if found else None


def _full(kind: str, name: str, domain: str) -> str:
    if kind == "participant" and "/" not in name:
        return f"spiffe://{domain}/participant/{name}"
    if kind == "product" and "/" not in name:
        return f"{domain}/{name}"
    return name


def _mine(view: View, sender: Sender, domain: str, kind: str) -> Iterable[State]:
    found = view.find(STATES[kind], limit=100_000, order="-changed_at")
    return (state for state in found if _seen(view, state, sender, domain))


def _explaining(view: View, kind: str, state: State) -> Iterable[Document]:
    digests = dict.fromkeys(_digests(view, kind, state))
    return (document for digest in digests if digest and (document := view.document(digest)) is not None)


def _digests(view: View, kind: str, state: State) -> Iterable[str]:
    """Digests of what explains an object; the object's own document first."""
    yield state.document
    if isinstance(state, NegotiationState):
        yield from (state.offer, state.agreement)
        yield from _party_digests(view, (state.provider, state.consumer), (state.provider_node, state.consumer_node))
    elif isinstance(state, AgreementState):
        document = view.document(state.document)
        if document is not None:
            yield decode(document, Agreement).offer_sha256
        yield from product_digests(view, state.product)
        yield from _party_digests(view, (state.provider, state.consumer), (state.provider_node, state.consumer_node))
        yield view.setting(f"delegation/{state.id}")
    elif isinstance(state, ListingState | CatalogEntry):
        yield from state.offers
        yield from product_digests(view, state.product)
    elif isinstance(state, AccessState):
        yield state.receipt
    elif isinstance(state, PeeringState):
        yield state.card
    del kind


def product_digests(view: View, product: str) -> Iterable[str]:
    """Digests of the registration and the record by which a product is known here; empty texts among them."""
    own = view.get(ProductState, product)
    entry = catalog.entry_of(view, product)
    return (own.document if own else "", entry.registration if entry else "", entry.document if entry else "")


def _party_digests(view: View, parties: Sequence[str], nodes: Sequence[str]) -> Iterable[str]:
    for party in parties:
        known = view.get(ParticipantState, party)
        yield known.document if known else ""
    for domain in nodes:
        peer = view.get(PeeringState, domain)
        yield peer.card if peer else view.setting("own-card")


# --- lists ----------------------------------------------------------------------------------------------------------


def listed(
    view: View, sender: Sender, domain: str, kind: str, filters: Mapping[str, str], *, size: int, token: str
) -> Page:
    """A page of objects, newest change first.

    Raises:
        TrustnodeError: VOCABULARY_UNKNOWN, FIELD_FORMAT.
    """
    if filters.get(INBOX) == "true":
        return _page([(name, state) for name, state in _inbox(view, sender, domain)], view, size, token)
    found: list[tuple[str, State]] = []
    for one in _kinds(kind) if kind else ():
        wanted = _columns(one, filters)
        found += [(one, s) for s in view.find(STATES[one], limit=100_000, order="-changed_at", **wanted)
                  if _seen(view, s, sender, domain)]  # fmt: skip
    if not kind:
        raise error("FIELD_MISSING", f"name a kind: {', '.join(STATES)}", field="kind")
    return _page(found, view, size, token)


def _columns(kind: str, filters: Mapping[str, str]) -> dict[str, Any]:
    known = set(STATES[kind].__struct_fields__)
    unknown = sorted(set(filters) - known - {INBOX})
    if unknown:
        raise error("VOCABULARY_UNKNOWN", f"a {kind} has no column {unknown[0][:40]!r}", field="filter")
    return {name: tuple(value.split(",")) for name, value in filters.items() if name in known}


def _page(found: list[tuple[str, State]], view: View, size: int, token: str) -> Page:
    start = int(token) if token.isascii() and token.isdigit() else 0
    count = min(size, MAX_PAGE) if size > 0 else PAGE
    part = found[start : start + count]
    more = str(start + count) if start + count < len(found) else ""
    return Page(tuple((kind, s, view.document(s.document) if s.document else None) for kind, s in part), more)


def _inbox(view: View, sender: Sender, domain: str) -> Iterable[tuple[str, State]]:
    """What waits for somebody: negotiations for a participant, applications of venues for the operator."""
    for state in view.find(NegotiationState, state=("REQUESTED", "OFFERED", "ACCEPTED", "AGREED"), limit=10_000):
        held_here = sender.kind == "OPERATOR" and state.waits_for.startswith(f"spiffe://{domain}/")
        if state.waits_for and (state.waits_for == sender.participant or held_here):
            yield "negotiation", state
    if sender.kind == "OPERATOR":
        for peering in view.find(PeeringState, state="APPLIED", limit=10_000):
            if peering.applied_by != domain:
                yield "peering", peering


# --- changes --------------------------------------------------------------------------------------------------------


class Changes:
    """Everybody who waits for commits, woken once for each."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Event] = set()

    def on_commit(self, _commit: Commit) -> None:
        """Wake everybody; each looks for itself."""
        for event in self._waiting:
            event.set()

    async def each(self) -> AsyncIterator[None]:
        """Yield at once, then after every commit."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            while True:
                event.clear()
                yield
                await event.wait()
        finally:
            self._waiting.discard(event)


async def watch(
    venue: Venue, changes: Changes, sender: Sender, kind: str, ids: Sequence[str], after: int
) -> AsyncIterator[Shown]:
    """The named objects now and after every change, each version once.

    Raises:
        TrustnodeError: As ``show``.
    """
    told: dict[str, int] = dict.fromkeys(ids, after)

    def look(view: View) -> list[tuple[str, Shown]]:
        found = [(name, show(view, sender, venue.domain, kind, name)) for name in ids]
        return [(name, shown) for name, shown in found if shown.state.version > told[name]]

    async for _ in changes.each():
        for name, shown in await venue.store.read(look):
            told[name] = shown.state.version
            yield shown


async def until_changed(changes: Changes, query: Callable[[], Any]) -> AsyncIterator[Any]:
    """Results of a query, after every commit."""
    async for _ in changes.each():
        yield await query()
