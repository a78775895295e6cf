"""An agreement in force, as its consumer or provider holds it: what one may do with it.

Decides: which step is which signed act, what an agreement shows. Leaves to others: reading (``read``), coming to an
agreement (``negotiation``), its evidence (``bundle``).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from trustnode.core import clock
from trustnode.core.access import AccessRequest, Receipt
from trustnode.core.contract import Agreement as Statement
from trustnode.core.contract import Delegation, Offer
from trustnode.core.document import Document, decode
from trustnode.core.duty import Standing
from trustnode.core.identifier import short_name
from trustnode.core.policy import compiled
from trustnode.errors import TrustnodeError, error
from trustnode.sdk import bundle, duties
from trustnode.sdk.acks import Acks
from trustnode.sdk.connection import STREAM_TIMEOUT_S, Connection, Found
from trustnode.sdk.explanation import Explanation, explanation
from trustnode.sdk.read import RESUME_TRIES, Parameter, Reader, in_order, make_query
from trustnode.sdk.table import Table
from trustnode.sdk.trust import Trust
from trustnode.wire.convert import RemoteObject

if TYPE_CHECKING:
    from trustnode.sdk.client import Client

MAX_DELEGATION_DAYS: Final = 31
MAX_ACCESSES: Final = 10_000


class Delivered(NamedTuple):
    """One access under an agreement."""

    object: RemoteObject
    request: AccessRequest | None
    receipt: Receipt | None
    """None while the access runs, and where the providing node ended before it signed one."""
    receipt_document: Document | None
    acks: tuple[Document, ...]

    @property
    def short(self) -> str:
        """Short name of the access."""
        return short_name(self.object.id)


class Agreement:
    """An agreement that came into force."""

    def __init__(self, client: Client, found: Found) -> None:
        document = found.newest("agreement") or found.object.document
        if document is None:
            raise error("NOT_FOUND", "the node shows no agreement under this name")
        self._client = client
        self._documents = found.documents
        self._object = found.object
        self.document = document
        self.value: Statement = decode(document, Statement)

    def __repr__(self) -> str:
        return f"<Agreement {self.short} {self.product}: {self.state}>"

    # --- what it says

    @property
    def connection(self) -> Connection:
        """The way to the home node."""
        return self._client.connection

    @property
    def trust(self) -> Trust:
        """Whose keys count."""
        return self._client.trust

    @property
    def acks(self) -> Acks:
        """Acknowledgements that wait."""
        return self._client.acks

    @property
    def id(self) -> str:
        """Contract identifier, 47 characters."""
        return self.value.contract_id

    @property
    def short(self) -> str:
        """The eight characters that people type."""
        return short_name(self.id)

    @property
    def name(self) -> str:
        """Private name; empty if it has none."""
        return self.connection.profile.alias_of(self.id)

    @property
    def product(self) -> str:
        """Handle of the product."""
        return self.value.product

    @property
    def state(self) -> str:
        """State when it was last looked at."""
        return self._object.state

    @property
    def causes(self) -> tuple[str, ...]:
        """What holds it where it is, such as ``P:OWNER``."""
        return self._object.causes

    @property
    def changed_at(self) -> str:
        """When it came into this state, canonical time."""
        return self._object.changed_at

    @property
    def purpose(self) -> str:
        """The purpose agreed."""
        return self.value.purpose

    @property
    def price(self) -> str:
        """Price in words."""
        return str(self.value.price)

    @property
    def until(self) -> str:
        """End, canonical time."""
        return self.value.end

    @cached_property
    def offer(self) -> Offer | None:
        """The offer that became this agreement; None where the node does not show it."""
        for document in self._documents:
            if document.name == "offer" and document.digest == self.value.offer_sha256:
                return decode(document, Offer)
        return None

    @property
    def documents(self) -> tuple[Document, ...]:
        """Every document the node showed with it, oldest first."""
        return self._documents

    @cached_property
    def operation(self) -> Literal["read", "aggregate"]:
        """What the policy lets through."""
        return "aggregate" if compiled.load(self.value.policy).aggregate_only else "read"

    async def refresh(self) -> Agreement:
        """Look at its state again."""
        found = await self.connection.get("agreement", self.id)
        self._object, self._documents = found.object, found.documents
        self.trust.learn(found.documents)
        return self

    # --- reading

    def sql(
        self,
        sql: str,
        parameters: Sequence[Parameter] = (),
        *,
        purpose: str = "",
        timeout_s: float = STREAM_TIMEOUT_S,
        joined: Sequence[Agreement] = (),
    ) -> Table:
        """A query under this agreement; nothing runs yet.

        Args:
            sql: The query; the table of an agreement is also ``agreement_<short name>.<table>``.
            parameters: Values of its ``?``.
            purpose: Purpose of the use; default: that of this agreement.
            timeout_s: Longest the read may take.
            joined: Further agreements whose products the query reads too, held at the same venue. Each must allow it,
                each is counted and paid; the strictest terms hold for the whole query.
        """
        query = make_query(sql, parameters)
        return Table(self, query, purpose or self.purpose, timeout_s=timeout_s, joined=joined)

    def reader(
        self,
        sql: str,
        parameters: Sequence[Parameter] = (),
        *,
        purpose: str = "",
        timeout_s: float = STREAM_TIMEOUT_S,
        small: bool = False,
        joined: Sequence[Agreement] = (),
        tries: int = RESUME_TRIES,
    ) -> Reader:
        """Read as a stream of batches: one pass, nothing kept; arguments as of ``sql``.

        Args:
            tries: How often in a row to go on after a broken connection; each time that data come, it begins anew.
        """
        query = make_query(sql, parameters)
        purpose = purpose or self.purpose
        return Reader(self, query, purpose, timeout_s=timeout_s, small=small, joined=joined, tries=tries)

    async def explain(
        self,
        sql: str = "",
        parameters: Sequence[Parameter] = (),
        *,
        purpose: str = "",
        joined: Sequence[Agreement] = (),
    ) -> Explanation:
        """What a query would deliver, and why; reads nothing, uses nothing up; arguments as of ``sql``."""
        under = {"agreement": self.id, "joined": [one.id for one in in_order(self, joined)]}
        return await explanation(self.connection, under, purpose or self.purpose, sql, parameters)

    async def receipts(self, limit: int = 100) -> list[Delivered]:
        """Accesses under this agreement with their receipts, newest first."""
        objects = await self.connection.list_all("access", agreement=self.id, limit=limit)
        await self.trust.prepare(self.connection, self.value.provider_node)
        return [await self._delivered(found) for found in objects]

    async def _delivered(self, found: RemoteObject) -> Delivered:
        try:
            answer = await self.connection.call("AccessService/GetReceipt", access=found.id)
        except TrustnodeError as problem:
            if not problem.retryable:
                raise
            answer = {"receipt": None, "acks": ()}
        document: Document | None = answer["receipt"]
        provider = self.value.provider_node
        receipt = (await self.trust.check(self.connection, document, Receipt, provider)).value if document else None
        asked = found.document if found.document and found.document.name == "access-request" else None
        request = decode(asked, AccessRequest) if asked else None
        return Delivered(found, request, receipt, document, tuple(answer["acks"]))

    async def cost(self) -> int:
        """Fen owed under this agreement so far, by the receipts."""
        shares = [line.receipt.under(self.id) for line in await self.receipts(limit=10_000) if line.receipt]
        return sum(share.cost_fen for share in shares if share)

    # --- steps

    async def duties(self) -> tuple[Standing, ...]:
        """What has to be shown as done: by whom, until when, and how it stands."""
        return await duties.duties_of(self)

    async def fulfil(
        self, duty: str, *, until: str | date | None = None, statement: str = "", attached: str | Path | None = None
    ) -> Agreement:
        """Show that a duty is done: a use report, an erasure; as provider, that we were paid.

        Args:
            duty: Its name, as ``duties`` has it.
            until: Up to when it is done; by default the period that is owed.
            statement: What we state, in words; the other side sees it.
            attached: A file that says more; its SHA-256 is signed, the file stays here.
        """
        reaches = instant(until) if until else ""
        await duties.fulfil(self, duty, reaches, statement, Path(attached) if attached else None)
        return await self.refresh()

    async def suspend(self, reason: str = "") -> Agreement:
        """As provider, stop the data until we resume; running streams end. A consumer ends the agreement instead."""
        return await self._act("suspend", cause="OWNER", reason=reason)

    async def resume(self, reason: str = "") -> Agreement:
        """Lift our own suspension."""
        return await self._act("lift_cause", cause="OWNER", reason=reason)

    async def end(self, reason: str = "", *, on: str | date | None = None) -> Agreement:
        """Propose the end: data stop at once for us, the agreement ends when the other side signs too."""
        return await self._act("end_early", reason=reason, effective=instant(on) if on else None)

    async def _act(self, event: str, **fields: Any) -> Agreement:
        await self._client.act("agreement", self.id, event, audience=self._nodes, **fields)
        return await self.refresh()

    @property
    def _nodes(self) -> tuple[str, ...]:
        return (self.value.consumer_node, self.value.provider_node)

    async def delegate(
        self, until: str | date, *, max_accesses: int = MAX_ACCESSES, joined: Sequence[Agreement] = ()
    ) -> Document:
        """Let the home venue ask in our name, for clients that cannot sign.

        Args:
            until: Last day, or the instant of the end.
            max_accesses: How often, under each agreement.
            joined: Further agreements that the same delegation covers, so that one query may read under all of them.

        Raises:
            TrustnodeError: FIELD_FORMAT when ``until`` is more than 31 days ahead.
        """
        profile = self.connection.profile
        fields = profile.fields(*self._nodes)
        expires = instant(until)
        if not fields["time"] < expires <= clock.shift(fields["time"], MAX_DELEGATION_DAYS * 86400):
            raise error("FIELD_FORMAT", f"until: at most {MAX_DELEGATION_DAYS} days ahead", field="until")
        delegation = Delegation(
            agreements=tuple((one.id, one.document.digest) for one in (self, *in_order(self, joined))),
            home=profile.venue,
            max_accesses=max_accesses,
            **{**fields, "expires": expires},
        )
        document = profile.sign(delegation)
        await self.connection.submit(document, [profile.key_document])
        return document

    async def bundle(self, path: str | Path) -> Path:
        """Write the evidence of this agreement to a file; see ``trustnode.verify``."""
        return await bundle.fetch(self.connection, self.id, Path(path))


def instant(when: str | date) -> str:
    """Canonical text of a date (its end, local time), a time, or the canonical text itself.

    Raises:
        TrustnodeError: FIELD_FORMAT.
    """
    if isinstance(when, datetime):
        return clock.text(when)
    try:
        text = when.isoformat() if isinstance(when, date) else when
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise error("FIELD_FORMAT", f"{when!r} is neither a date nor a time", field="until") from None
    if len(text) == len("2028-11-24"):
        moment = moment.replace(hour=23, minute=59, second=59, microsecond=999_000)
    return clock.text(moment.astimezone())
