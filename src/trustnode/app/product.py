"""Registered products: who may register, whether the source is what was said, how a registration changes or ends.

Decides: what is looked at before a registration stands. Leaves to others: listing and telling (``catalog``), the table
(``core.catalog``), reading the file (``engine.source``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from trustnode.app.submission import Answer, Submission, Unit, handles
from trustnode.app.transition import end_agreements_of, fire
from trustnode.app.venue import Sender, Venue
from trustnode.core.catalog import (
    PRODUCT,
    Binding,
    ListingState,
    ProductFacts,
    ProductState,
    Registration,
    Table,
    check_registration,
    end_of_notice,
    holds,
)
from trustnode.core.contract import Act
from trustnode.core.document import Document, Verified, verify
from trustnode.core.participant import domain_of
from trustnode.core.peering import PeeringState, Status, StatusEvent
from trustnode.core.policy.schema import Column
from trustnode.engine.source import Source
from trustnode.errors import error
from trustnode.store.unit import Tx


@handles(Registration, "CLIENT", "OPERATOR", "SELF")
async def register(submission: Submission[Registration]) -> Unit:
    """A provider registers a product, or a new version of it."""
    venue, value = submission.venue, submission.value
    check_provider(venue, submission.sender, value.provider)
    check_registration(value)
    if len(value.tables) != 1:
        raise error("FIELD_FORMAT", "a product has one table in this version", field="resource.table")
    if value.product.partition("/")[0] != venue.domain:
        raise error("IDENTIFIER_AREA", f"a product of this venue is called {venue.domain}/NAME", field="product")
    binding = await _checked_binding(submission)
    identifier = venue.new_product_id()
    notice = end_of_notice(venue.clock.now(), value.level)

    def unit(tx: Tx) -> Answer:
        known = tx.get(ProductState, value.product)
        if binding:
            tx.keep(binding.document)
        columns = {
            "provider": value.provider, "level": value.level, "category": value.category, "title": value.title,
            "binding": binding.digest if binding else "",
        }  # fmt: skip
        if known is None or known.state == "DRAFT":
            stored = _first(tx, submission, known, identifier, notice, columns)
        else:
            stored = _change(tx, submission, known, columns)
        return Answer.of(stored)

    return unit


def check_provider(venue: Venue, sender: Sender, provider: str) -> None:
    """Only the provider itself, or our operator for a participant of this venue, may offer its data.

    Raises:
        TrustnodeError: ROLE_NOT_ALLOWED, or that this venue may not trade.
    """
    venue.check_may_trade()
    if domain_of(provider) != venue.domain:
        raise error("IDENTITY_WRONG_DOMAIN", "the provider is a participant of this venue", field="provider")
    if sender.kind == "CLIENT" and sender.participant != provider:
        raise error("ROLE_NOT_ALLOWED", "a provider speaks for itself")
    key = venue.keyring.key_documents.get(provider)
    if key is None:
        raise error("IDENTITY_UNKNOWN", f"{provider.rpartition('/')[2]} is not enrolled here", field="provider")
    if "PROVIDER" not in key.value.roles:
        raise error("ROLE_NOT_ALLOWED", f"{provider.rpartition('/')[2]} is not enrolled as PROVIDER")
    venue.check_may_trade(key.value.subject)


async def _checked_binding(submission: Submission[Registration]) -> Verified[Binding] | None:
    """The binding that came along, its source read once and compared with the columns registered."""
    venue, value = submission.venue, submission.value
    document = next((d for d in submission.supporting.values() if d.name == "resource-binding"), None)
    if document is None:
        return None
    binding = verify(document, Binding, submission.keys, venue.clock.now())
    if binding.value.product != value.product or binding.value.iss != value.provider:
        raise error("HASH_MISMATCH", "the binding is of another product", field="resource")
    found = await venue.engine.describe(source_of(binding.value))
    _compare_schema(value.tables, {table.name: table.columns for table in found})
    return binding


def _compare_schema(registered: Sequence[Table], found: Mapping[str, Sequence[Column]]) -> None:
    for table in registered:
        columns = found.get(table.name)
        if columns is None:
            raise error("FIELD_FORMAT", f"the source has no table {table.name}", field="resource.table")
        actual = {column.name: column.type for column in columns}
        for column in table.columns:
            if actual.get(column.name) != column.type:
                raise error(
                    "FIELD_FORMAT", f"the source has no column {column.name} of type {column.type}", field="columns"
                )


def source_of(binding: Binding) -> Source:
    """The engine's view of a binding.

    Raises:
        TrustnodeError: VOCABULARY_UNKNOWN, a kind of source that this version does not read.
    """
    try:
        return msgspec.convert(
            {
                "kind": binding.kind, "location": binding.location, "tables": dict(binding.tables),
                "credentials": binding.credentials, "version": binding.version,
            },
            Source,
        )  # fmt: skip
    except msgspec.ValidationError:
        raise error("VOCABULARY_UNKNOWN", f"resource.kind: {binding.kind!r} is not read here", field="kind") from None


def _first(
    tx: Tx, submission: Submission[Registration], known: ProductState | None, identifier: str, notice: str,
    columns: dict[str, Any],
) -> ProductState:  # fmt: skip
    value, by = submission.value, submission.value.provider
    if value.version != 1:
        raise error("STALE_VERSION", "a first registration has version 1", field="version")
    state = known or fire(tx, PRODUCT, ProductState(id=value.product), "draft", "P", ProductFacts(), by=by)
    documents = (submission.digest,)
    facts = _product_facts(value, notice_days=1 if notice else 0)
    state = fire(
        tx, PRODUCT, state, "submit", "P", facts, by=by, documents=documents, document=submission.digest, **columns
    )
    state = fire(
        tx, PRODUCT, state, "check_passed", "H", facts, by=submission.venue.domain, documents=documents,
        product_id=identifier, product_version=1, notice_until=notice, entry={"product_id": identifier},
    )  # fmt: skip
    if notice:
        tx.at(notice, "product", state.id, "notice_over")
    return state


def _change(tx: Tx, submission: Submission[Registration], known: ProductState, columns: dict[str, Any]) -> ProductState:
    value = submission.value
    if known.provider != value.provider:
        raise error("NOT_FOUND", "no such product of this provider")
    if known.document == submission.digest:
        return known
    if value.version != known.product_version + 1:
        raise error("STALE_VERSION", f"the next version is {known.product_version + 1}", field="version")
    facts = _product_facts(value, notice_days=0)
    documents = (submission.digest,)
    review = fire(tx, PRODUCT, known, "request_change", "P", facts, by=value.provider, documents=documents)
    return fire(
        tx, PRODUCT, review, "change_approved", "H", facts, by=submission.venue.domain, documents=documents,
        document=submission.digest, product_version=value.version, **columns,
    )  # fmt: skip


def _product_facts(value: Registration, *, notice_days: int) -> ProductFacts:
    """What stands after ``check_registration``: everything the home node can establish by itself."""
    return ProductFacts(
        incomplete=None,
        signed=True,
        source_confirmed=bool(value.source_sha256),
        rights_valid=holds(value, "OPERATE"),
        level_allowed=value.level != "CORE",
        notice_days=notice_days,
        rights_unchanged=True,
    )


async def prepare_product_act(submission: Submission[Act]) -> Unit:
    """Cancel, recall or review a product."""
    venue, act = submission.venue, submission.value
    status = venue.sign(_product_notice(venue, act))

    def unit(tx: Tx) -> Answer:
        state = tx.get(ProductState, act.object)
        actor = "P" if state and act.iss == state.provider else ("H" if act.iss == venue.domain else "")
        if state is None or not actor:
            raise error("NOT_FOUND", f"no product {act.object}")
        running = tx.find(ListingState, product=state.id, state="LISTED", limit=1)
        facts = ProductFacts(
            signed=True, reasons_given=bool(act.reason), ground=bool(act.reason), agreements_settled=not running,
            admissible=bool(act.reason),
        )  # fmt: skip
        stored = fire(
            tx, PRODUCT, state, act.event, actor, facts, by=act.iss, documents=(submission.digest,),
            entry={"product_id": state.product_id} if state.product_id else None,
        )  # fmt: skip
        if stored.state in ("REVOKED", "CANCELLED"):
            _tell_control(tx, status)
        return Answer.of(stored)

    return unit


def _product_notice(venue: Venue, act: Act) -> Status:
    state = {"revoke": "REVOKED"}.get(act.event, "CANCELLED")
    event = StatusEvent(
        kind="PRODUCT",
        subject=act.object,
        state=state,
        cause=act.reason[:64],
        effective=act.effective or venue.clock.now(),
    )
    return Status(events=(event,), **venue.fields("*"))


def _tell_control(tx: Tx, status: Document) -> None:
    for peering in tx.find(PeeringState, state=("APPROVED", "SUSPENDED")):
        tx.tell("CONTROL", peering.id, [status])


def product_status(tx: Tx, event: StatusEvent, issuer: str, _digest: str) -> None:
    """Another venue revoked a product of its own: agreements on it end here too."""
    if event.subject.partition("/")[0] == issuer and event.state == "REVOKED":
        end_agreements_of(tx, event.subject)
