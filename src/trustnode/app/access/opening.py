"""Opening: the worker in which a query is planned and run, under one agreement or under several together.

Decides: what a session holds of each product (its policy for this consumer, its source, its secrets), and which
products are never joined. Leaves to others: who may ask (``admission``), the worker itself (``engine``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

from trustnode.app import catalog
from trustnode.app.product import source_of
from trustnode.app.venue import Venue
from trustnode.core.catalog import Binding, ProductState, Registration
from trustnode.core.document import Document, decode
from trustnode.core.policy import odrl
from trustnode.engine.message import SessionSpec
from trustnode.engine.pool import Session
from trustnode.engine.source import Source
from trustnode.engine.versions import known_version
from trustnode.errors import error
from trustnode.store.unit import View


class Prepared(NamedTuple):
    """Product and source of an agreement, as the engine needs them."""

    registration: Registration
    source: Source
    version: str = ""
    """Of the data; empty where it takes more than a look at the files."""
    content_digest: bool = True
    """Whether frames are digested by content."""


class Part(NamedTuple):
    """A product that a session may read, under one agreement."""

    policy: odrl.Policy
    prepared: Prepared
    attributes: Mapping[str, str]
    """What its rows may depend on: verified attributes of the consumer."""
    agreement: str


def prepared_product(view: View, handle: str) -> Prepared:
    """The registration in force of a product, and how we reach its data.

    Raises:
        TrustnodeError: NOT_REGISTERED, SOURCE_UNCONFIRMED.
    """
    document = catalog.registration_document(view, handle)
    product = view.get(ProductState, handle)
    binding = view.document(product.binding) if product and product.binding else None
    if document is None:
        raise error("NOT_REGISTERED", f"{handle} is not registered now", product=handle)
    if binding is None:
        raise error("SOURCE_UNCONFIRMED", f"{handle} has no data at this node", product=handle)
    bound = _bound(binding.payload_type, binding.payload)
    registration = _registration(document.payload_type, document.payload)
    return Prepared(registration, bound.source, known_version(bound.source), bound.content_digest)


@lru_cache(maxsize=256)
def _registration(payload_type: str, payload: bytes) -> Registration:
    return decode(Document(payload_type, payload), Registration)


class _Bound(NamedTuple):
    source: Source
    content_digest: bool


@lru_cache(maxsize=256)
def _bound(payload_type: str, payload: bytes) -> _Bound:
    binding = decode(Document(payload_type, payload), Binding)
    return _Bound(source_of(binding), binding.content_digest)


async def open_session(venue: Venue, *parts: Part) -> Session:
    """A worker that sees each product as its policy lets this consumer see it, and nothing else.

    Whatever the order in which the parts are named, it is the same worker and the same plan.

    Raises:
        TrustnodeError: DENIED, a product with noise together with another; otherwise as ``EnginePool.session``.
    """
    _check_joinable(venue, parts)
    first, *joined = [await _spec(venue, part) for part in sorted(parts, key=lambda part: part.agreement)]
    if joined:
        digested = any(spec.content_digest for spec in (first, *joined))
        first = msgspec.structs.replace(first, joined=tuple(joined), content_digest=digested)
    return await venue.engine.session(first)


def _check_joinable(venue: Venue, parts: Sequence[Part]) -> None:
    """Noise stands alone: of several products nobody could say whose budget a question takes."""
    if len(parts) > 1 and any(venue.policies.load(part.policy).budget is not None for part in parts):
        raise error("DENIED", "answers of this product are noised: a question reads no other product")


async def _spec(venue: Venue, part: Part) -> SessionSpec:
    policy, prepared, attributes, agreement = part
    ready = venue.policies.load(policy)
    table = prepared.registration.tables[0]
    governed = ready.governed(table.columns, table=table.name, **attributes)
    return SessionSpec(
        agreement=agreement,
        policy_digest=ready.digest,
        data_version=prepared.version or await venue.engine.data_version(prepared.source),
        source=prepared.source,
        columns={table.name: table.columns},
        governed=governed,
        hash_key=venue.mask_key(agreement),
        mark=venue.mark(prepared.registration.product, attributes["consumer_id"], agreement).secret
        if ready.is_marked
        else None,
        content_digest=prepared.content_digest,
        limits=venue.engine.run_limits,
    )
