"""What somebody may look at: objects by id, short name or handle, lists, and changes as they happen.

Decides: who sees which object (parties and the operator; to everybody else it does not exist), which documents explain
it, what waits for whom. Leaves to others: messages (``rpc``), changing anything (the door).
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from trustnode.app import catalog
from trustnode.app.cards import versions_of
from trustnode.app.revocation import OWN_CARD
from trustnode.app.venue import Sender, Venue
from trustnode.core import identifier
from trustnode.core.access import AccessState
from trustnode.core.catalog import CatalogEntry, ListingState, ProductState
from trustnode.core.contract import Agreement, AgreementState, GrantState, NegotiationState
from trustnode.core.document import Document, decode
from trustnode.core.duty import DutyState
from trustnode.core.lifecycle import State
from trustnode.core.participant import ParticipantState
from trustnode.core.peering import PeeringState
from trustnode.core.states import STATES
from trustnode.errors import error
from trustnode.store.batch import Commit
from trustnode.store.unit import View

PAGE: Final = 50
MAX_PAGE: Final = 200
MAX_FILTERS: Final = 8
MAX_WATCHED: Final = 64
INBOX: Final = "inbox"
"""Filter that lists what waits for the caller."""
RUNNING: Final = "running"
"""Filter of accesses that still move data, or may."""
OPEN_ACCESSES: Final = ("REQUESTED", "CONDITIONAL", "PREPARING", "STREAMING", "PAUSED")
IN_REVIEW: Final = ("SUBMITTED", "CHANGE_REVIEW", "CANCEL_REVIEW", "LISTING_REVIEW", "DELIST_REVIEW")
"""States of a product or a listing in which its venue has to decide."""
ALL: Final = 100_000
"""Objects that are looked through for a short name."""


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
    if isinstance(state, DutyState):
        agreement = view.get(AgreementState, state.agreement)
        return agreement is not None and may_see(agreement, sender, domain)
    if isinstance(state, AccessState) and sender.kind == "CLIENT":
        agreement = view.get(AgreementState, state.agreement)
        return agreement is not None and agreement.provider == sender.participant
    return False


def sees_listing(view: View, entry: CatalogEntry, sender: Sender, domain: str) -> bool:
    """As ``may_see``; the provider sees its own listing however narrow its visibility."""
    own = view.get(ListingState, entry.id)
    return may_see(entry, sender, domain) or (own is not None and own.provider == sender.participant)


def reachable(view: View, sender: Sender, kind: str, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Conditions under which everything is found that fits ``wanted`` and that somebody may see."""
    if sender.kind in ("OPERATOR", "SELF"):
        return [dict(wanted)]
    if sender.kind == "PEER":
        columns = ("consumer_node", "provider_node") if kind in ("negotiation", "agreement", "access") else ()
        return [where for column in columns for where in _narrowed(wanted, column, (sender.domain,))]
    if kind in ("access", "duty"):
        own = [a.id for where in reachable(view, sender, "agreement", {}) for a in view.find(
            AgreementState, limit=ALL, **where)]  # fmt: skip
        return _narrowed(wanted, "agreement", tuple(own))
    if kind == "catalog":
        return _narrowed(wanted, "visibility", (*sorted(catalog.TOLD), "VENUE"))
    return [where for column in _OWNED_BY.get(kind, ()) for where in _narrowed(wanted, column, (sender.participant,))]


_OWNED_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "participant": ("id",),
    "product": ("provider",),
    "listing": ("provider",),
    "negotiation": ("consumer", "provider"),
    "agreement": ("consumer", "provider"),
    "grant": ("holder",),
}
"""Kind -> columns that name a participant to whom an object is shown; a kind that is not here is the operator's."""


def _narrowed(wanted: Mapping[str, Any], column: str, allowed: tuple[str, ...]) -> list[dict[str, Any]]:
    left = tuple(set(wanted.get(column, allowed)) & set(allowed))
    return [{**wanted, column: left}] if left else []


# --- one object -----------------------------------------------------------------------------------------------------


def show(view: View, sender: Sender, domain: str, kind: str, name: str) -> Shown:
    """An object by identifier, short name or handle.

    Raises:
        TrustnodeError: VOCABULARY_UNKNOWN, NOT_FOUND, FIELD_FORMAT when a short name fits several.
    """
    if not name:
        raise error("FIELD_MISSING", "name an object", field="id")
    for one in _kinds(kind):
        state = find(view, sender, domain, one, name)
        if state is not None:
            return Shown(one, state, tuple(_explaining(view, one, state)))
    raise error("NOT_FOUND", f"no {kind or 'object'} {name[:80]}", kind=kind)


def _kinds(kind: str) -> tuple[str, ...]:
    if kind and kind not in STATES:
        raise error("VOCABULARY_UNKNOWN", f"kind {kind[:40]!r} is not one of {', '.join(STATES)}", field="kind")
    return (kind,) if kind else tuple(STATES)


def find(view: View, sender: Sender, domain: str, kind: str, name: str) -> State | None:
    """An object by identifier, short name or handle; None where there is none for this caller.

    Raises:
        TrustnodeError: FIELD_FORMAT when a short name fits several.
    """
    state = view.get(STATES[kind], _full(kind, name, domain))
    if state is not None:
        return state if _seen(view, state, sender, domain) else None
    if len(name) != identifier.SHORT_LENGTH:
        return None
    mine = [one for where in reachable(view, sender, kind, {}) for one in view.find(STATES[kind], limit=ALL, **where)]
    found = {one.id: one for one in mine if identifier.short_name(one.id) == name.upper()}
    if len(found) > 1:
        raise error("FIELD_FORMAT", f"{name} is short for {', '.join(sorted(found))}"[:400], field="id")
    return next(iter(found.values()), None)


def find_agreement(view: View, sender: Sender, domain: str, name: str) -> AgreementState | None:
    """As ``find``, for an agreement."""
    found = find(view, sender, domain, "agreement", name)
    return found if isinstance(found, AgreementState) else None


def _full(kind: str, name: str, domain: str) -> str:
    if kind == "participant" and "/" not in name:
        return f"spiffe://{domain}/participant/{name}"
    if kind == "product" and "/" not in name:
        return f"{domain}/{name}"
    return name


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


CARDS: Final = 8
"""Versions of a venue's card that are shown with an object, the newest ones."""


def _party_digests(view: View, parties: Sequence[str], nodes: Sequence[str]) -> Iterable[str]:
    for party in parties:
        known = view.get(ParticipantState, party)
        yield known.document if known else ""
    for domain in nodes:
        peer = view.get(PeeringState, domain)
        newest = peer.card if peer else view.setting(OWN_CARD)
        yield from (card.digest for card in versions_of(view, newest)[-CARDS:])


# --- lists ----------------------------------------------------------------------------------------------------------


def listed(
    view: View, sender: Sender, domain: str, kind: str, filters: Mapping[str, str], *, size: int, token: str
) -> Page:
    """A page of objects, newest change first.

    Raises:
        TrustnodeError: VOCABULARY_UNKNOWN, FIELD_FORMAT, FIELD_MISSING.
    """
    count, after = page_size(size), _position(token)
    if filters.get(INBOX) == "true":
        waiting = [one for one in _inbox(view, sender, domain) if kind in ("", one[0])]
        return _page([one for one in waiting if not after or _place(one[1]) < after], view, count)
    if not kind:
        raise error("FIELD_MISSING", f"name a kind: {', '.join(STATES)}", field="kind")
    (known,) = _kinds(kind)
    found: list[tuple[str, State]] = []
    for where in reachable(view, sender, known, _columns(known, filters)):
        some = view.find(STATES[known], limit=count + 1, order="-changed_at", after=after or "", **where)
        found += [(known, state) for state in some]
    return _page(found, view, count)


def page_size(asked: int, most: int = MAX_PAGE, usual: int = PAGE) -> int:
    """How many objects a page has; 0 asks for the usual number.

    Raises:
        TrustnodeError: FIELD_FORMAT.
    """
    if asked < 0:
        raise error("FIELD_FORMAT", "a page has no negative size", field="page_size")
    return min(asked or usual, most)


def _columns(kind: str, filters: Mapping[str, str]) -> dict[str, Any]:
    if len(filters) > MAX_FILTERS:
        raise error("FIELD_FORMAT", f"at most {MAX_FILTERS} filters", field="filter")
    known = set(STATES[kind].__struct_fields__) | ({RUNNING} if kind == "access" else set())
    unknown = sorted(set(filters) - known - {INBOX})
    if unknown:
        raise error("VOCABULARY_UNKNOWN", f"a {kind} has no column {unknown[0][:40]!r}", field="filter")
    wanted = {name: tuple(value.split(",")) for name, value in filters.items() if name not in (INBOX, RUNNING)}
    if filters.get(RUNNING) == "true":
        wanted["state"] = tuple(set(wanted.get("state", OPEN_ACCESSES)) & set(OPEN_ACCESSES))
    return wanted


def _place(state: State) -> tuple[str, str]:
    """Where an object stands in a list, newest change first."""
    return state.changed_at, state.id


def _position(token: str) -> tuple[str, str] | None:
    if not token:
        return None
    try:
        changed_at, separator, id = base64.urlsafe_b64decode(token).decode().partition(" ")
    except ValueError:
        separator = changed_at = id = ""
    if not separator:
        raise error("FIELD_FORMAT", "this is no page token of ours", field="page_token")
    return changed_at, id


def _page(found: Iterable[tuple[str, State]], view: View, count: int) -> Page:
    """The first ``count`` objects, each once, and where the next page begins."""
    ordered = sorted({(kind, state.id): (kind, state) for kind, state in found}.values(),
                     key=lambda one: _place(one[1]), reverse=True)  # fmt: skip
    part = ordered[:count]
    last = " ".join(_place(part[-1][1])) if len(ordered) > count else ""
    token = base64.urlsafe_b64encode(last.encode()).decode()
    return Page(tuple((kind, s, view.document(s.document) if s.document else None) for kind, s in part), token)


def _inbox(view: View, sender: Sender, domain: str) -> Iterable[tuple[str, State]]:
    """What waits for somebody: negotiations for a participant, applications and reviews for the operator."""
    for where in reachable(view, sender, "negotiation", {"state": ("REQUESTED", "OFFERED", "ACCEPTED", "AGREED")}):
        for state in view.find(NegotiationState, limit=10_000, **where):
            ours = f"{state.waits_for}/".startswith((f"spiffe://{domain}/", f"{domain}/"))
            held_here = sender.kind == "OPERATOR" and ours
            if state.waits_for and (state.waits_for == sender.participant or held_here):
                yield "negotiation", state
    if sender.kind == "OPERATOR":
        yield from (("product", one) for one in view.find(ProductState, state=IN_REVIEW, limit=10_000))
        yield from (("listing", one) for one in view.find(ListingState, state=IN_REVIEW, limit=10_000))
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
    if not 0 < len(ids) <= MAX_WATCHED:
        raise error("FIELD_MISSING", f"name 1 to {MAX_WATCHED} objects", field="ids")
    told: dict[str, int] = dict.fromkeys(ids, after)

    def look(view: View) -> list[tuple[str, Shown]]:
        found = [(name, show(view, sender, venue.domain, kind, name)) for name in ids]
        return [(name, shown) for name, shown in found if shown.state.version > told[name]]

    async for _ in changes.each():
        for name, shown in await venue.store.read(look):
            told[name] = shown.state.version
            yield shown
