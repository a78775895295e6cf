"""Reading under an agreement: a stream of batches.

Decides: what one read is (one ``Reader``), what is signed and sent, what happens when a stream ends early. Leaves to
others: counting and the receipt (``delivery``), decoding (``decoding``), acknowledging (``acks``). Source: protocol 6.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import msgspec

from trustnode.core.access import (
    MAX_JOINED,
    REQUEST_LIFE_S,
    AccessHeader,
    AccessRequest,
    Named,
    Query,
    Receipt,
    Resumes,
)
from trustnode.core.document import Document, Verified
from trustnode.core.stream import SALT_BYTES, query_commitment
from trustnode.errors import REASONS, IdentityRefused, TrustnodeError, error
from trustnode.sdk.delivery import Delivery, check_receipt, ids
from trustnode.sdk.partial import Noted, read_digest
from trustnode.wire.convert import new_ticket

if TYPE_CHECKING:
    from trustnode.sdk.agreement import Agreement

Parameter = str | int | bool | None
RECEIPT_TRIES: Final = 25
RECEIPT_PAUSE_S: Final = 0.2
TOO_LARGE: Final = frozenset({"QUERY_TOO_COSTLY", "FIELD_TOO_LONG"})
"""What a node answers to a small read whose result is not small: it is asked again as a stream."""
GOES_ON: Final = frozenset({"PEER_UNREACHABLE", "DRAINING", "DEADLINE", "BUSY"})
"""What ended a stream that another access may go on with (protocol 6.8)."""
RESUME_TRIES: Final = 10
"""How often a broken stream is gone on with while no further row comes."""
RESUME_PAUSE_S: Final = 0.25
"""Before the first try; twice as long before each further one."""
MAX_PAUSE_S: Final = 10.0


class Asked(NamedTuple):
    """A request that was signed, and the ticket that carries it."""

    request: Verified[AccessRequest]
    ticket: bytes


class Part(NamedTuple):
    """One access of a read, with what came under it."""

    asked: Asked
    delivery: Delivery

    @property
    def access(self) -> str:
        """Its identifier."""
        return self.asked.request.value.id


class Reader:
    """A read as a stream of ``pyarrow.RecordBatch``: one pass, nothing kept.

    Leaving it early ends the access; what was delivered is settled by its receipt. Where the connection breaks, a
    further access goes on at the next frame; each has its own receipt.
    """

    def __init__(
        self, agreement: Agreement, query: Query, purpose: str, *, timeout_s: float, small: bool,
        joined: Sequence[Agreement] = (), tries: int = RESUME_TRIES,
    ) -> None:  # fmt: skip
        self._agreement = agreement
        self._joined = in_order(agreement, joined)
        self._query = query
        self._purpose = purpose
        self._timeout_s = timeout_s
        self._small = small
        self._earlier: Noted | None = None
        self._resumes: Resumes | None = None
        self._tries = tries
        self._batches: AsyncGenerator[Any, None] | None = None
        self._held: list[Any] = []
        self._asked: Asked | None = None
        self._parts: list[Part] = []
        self._receipts: dict[str, Verified[Receipt]] = {}
        self._cause = ""

    def __repr__(self) -> str:
        return f"<Reader of {self._agreement.short}: {self.rows} rows so far>"

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Every batch, once."""
        await self.open()
        for batch in self._held:
            yield batch
        self._held = []
        if self._batches is not None:
            async for batch in self._batches:
                yield batch

    @property
    def access(self) -> str:
        """Identifier of the access, the last one where there are several; empty before it began."""
        return self._asked.request.value.id if self._asked else ""

    @property
    def schema(self) -> Any:
        """``pyarrow.Schema``; None before it came."""
        return self._parts[0].delivery.decoder.schema if self._parts else None

    @property
    def rows(self) -> int:
        """Rows delivered so far."""
        return sum(part.delivery.rows for part in self._parts)

    @property
    def size_bytes(self) -> int:
        """Bytes delivered so far."""
        return sum(part.delivery.size_bytes for part in self._parts)

    @property
    def receipt(self) -> Receipt | None:
        """What the providing venue signed of the last access; None until that has ended."""
        found = self._receipts.get(self.access)
        return found.value if found else None

    @property
    def receipts(self) -> tuple[Receipt, ...]:
        """Of every access of this read that has ended, in order."""
        return tuple(found.value for found in self._receipts.values())

    @property
    def receipt_document(self) -> Document | None:
        """The receipt of the last access as it was signed."""
        found = self._receipts.get(self.access)
        return found.document if found else None

    @property
    def cost(self) -> int | None:
        """Fen owed for this read, under all its agreements; None until it has ended."""
        return sum(receipt.total_fen for receipt in self.receipts) if self.receipt else None

    @property
    def point(self) -> Resumes | None:
        """Where a further access goes on; None while nothing came."""
        for part in reversed(self._parts):
            if part.delivery.frames:
                return Resumes(part.access, part.delivery.frames, part.delivery.chain.hex())
        return self._resumes

    @property
    def digest(self) -> str:
        """What is read: agreements, query, purpose."""
        under = ids([Named(one.id, one.document.digest) for one in (self._agreement, *self._joined)])
        return read_digest(under.encode(), self._query.to_bytes(), self._purpose.encode())

    @property
    def rows_before(self) -> int:
        """Rows that an earlier process had, which this read goes on behind."""
        return self._earlier.rows if self._earlier else 0

    def go_on_after(self, earlier: Noted | None) -> None:
        """Begin behind what an earlier process had; before the read is opened."""
        self._earlier = earlier
        self._resumes = earlier.resumes if earlier else None
        self._small = self._small and earlier is None

    async def open(self) -> None:
        """Begin the access and wait for its schema.

        Raises:
            TrustnodeError: What the terms, the venue or the evidence refuse with.
        """
        if self._batches is None:
            self._batches = self._read()
            async for batch in self._batches:
                self._held.append(batch)
                break

    async def aclose(self) -> None:
        """End the access; waits for its receipt."""
        if self._batches is not None:
            await self._batches.aclose()

    # --- inside

    async def _read(self) -> AsyncGenerator[Any, None]:
        agreement = self._agreement
        await agreement.connection.renew_if_due()
        for one in (agreement, *self._joined):
            await agreement.acks.flush(one.id)
        await agreement.trust.prepare(agreement.connection, agreement.value.provider_node)
        if self._small:
            try:
                batches = await self._read_small()
            except TrustnodeError as problem:
                if problem.reason not in TOO_LARGE:
                    raise
            else:
                for batch in batches:
                    yield batch
                return
        async with aclosing(self._stream()) as streamed:
            async for batch in streamed:
                yield batch

    async def _stream(self) -> AsyncGenerator[Any, None]:
        """The frames of one access after the other, until one has delivered the end."""
        clock = asyncio.get_running_loop()
        deadline = clock.time() + self._timeout_s
        failed = 0
        while True:
            rows = self.rows
            try:
                async with aclosing(self._stream_once(deadline - clock.time())) as streamed:
                    async for batch in streamed:
                        yield batch
            except TrustnodeError as problem:
                if problem.reason in GOES_ON and self._has_all():
                    return
                failed = 1 if self.rows > rows else failed + 1
                pause_s = min(RESUME_PAUSE_S * 2 ** (failed - 1), MAX_PAUSE_S)
                if not self._goes_on(problem, failed) or clock.time() + pause_s > deadline:
                    raise
                await asyncio.sleep(pause_s)
            else:
                await self._settle_rest()
                return

    def _has_all(self) -> bool:
        """Whether only the end of the stream was lost: the receipt says that all there is has come."""
        part, receipt = self._parts[-1] if self._parts else None, self._receipts.get(self.access)
        if part is None or receipt is None or part.access != self.access:
            return False
        return receipt.value.outcome == "COMPLETE" and part.delivery.item(receipt).verdict == "EQUAL"

    def _goes_on(self, problem: TrustnodeError, failed: int) -> bool:
        return problem.reason in GOES_ON and self.point is not None and failed <= self._tries

    async def _settle_rest(self) -> None:
        """Acknowledge the accesses whose receipt could not be fetched while the connection was broken."""
        for part in self._parts:
            if part.access not in self._receipts:
                with suppress(TrustnodeError):
                    await self._settle(None, part)

    async def _read_small(self) -> list[Any]:
        asked = self._asked = self._ask()
        connection = self._agreement.connection
        answer = await connection.home.read(asked.ticket, timeout_s=connection.timeout_s)
        header = AccessHeader(
            access=answer.access,
            stream_salt=answer.stream_salt.hex(),
            decision_seq=answer.decision_seq,
            decision_link=answer.decision_link.hex(),
        )
        part = self._begin(header)
        batches = await asyncio.to_thread(lambda: [part.delivery.take(frame) for frame in answer.frames])
        await self._settle(answer.receipt, part)
        return [batch for batch in batches if batch is not None]

    async def _stream_once(self, timeout_s: float) -> AsyncGenerator[Any, None]:
        asked = self._asked = self._ask(self.point)
        try:
            async with self._agreement.connection.home.do_get(asked.ticket, timeout_s=timeout_s) as stream:
                header = await stream.header()
                if header:
                    self._begin(_header(header))
                async for message in stream:
                    batch = await asyncio.to_thread(self._counting().delivery.take, message)
                    self._check_schema()
                    if batch is not None:
                        yield batch
                receipt = await stream.receipt()
        except TrustnodeError as problem:
            why = await self._settle_early()
            # gRPC loses the status of a call that is ended while its reader does not read (protocol 8.4).
            raise (why or problem) if problem.reason == "CANCELLED" else problem from None
        except (asyncio.CancelledError, GeneratorExit):
            await self._settle_early()
            raise
        await self._settle(receipt, self._counting())

    def _begin(self, header: AccessHeader) -> Part:
        if self._asked is None or header.access != self._asked.request.value.id:
            raise error("VERIFICATION_FAILED", "the node answered another request than ours", field="access")
        part = Part(self._asked, Delivery(header))
        self._parts.append(part)
        return part

    def _counting(self) -> Part:
        if not self._parts or self._parts[-1].access != self.access:
            raise error("VERIFICATION_FAILED", "data came before their evidence", field="access")
        return self._parts[-1]

    def _check_schema(self) -> None:
        if self._parts[-1].delivery.decoder.schema != self.schema:
            raise error("RESUME_CHANGED", "the columns are no longer those that were begun")

    async def _settle_early(self) -> TrustnodeError | None:
        """The stream ended before its receipt: fetch it, and acknowledge what we got.

        Returns:
            Why it ended, as our node has it, or what it answers when it is asked.
        """
        if not self._parts or self._parts[-1].access != self.access:
            return None
        try:
            await asyncio.shield(self._settle(None, self._parts[-1]))
        except TrustnodeError as refusal:
            return refusal if isinstance(refusal, IdentityRefused) else None
        return error(self._cause) if self._cause in REASONS else None

    async def _settle(self, document: Document | None, part: Part) -> None:
        """Check the receipt and acknowledge it; a difference is acknowledged too, then raised."""
        agreement, delivery = self._agreement, part.delivery
        document = document or await self._fetch_receipt(part.access)
        if document is None:
            raise error("VERIFICATION_FAILED", "the node delivered without a receipt", access=part.access)
        receipt = await agreement.trust.check(agreement.connection, document, Receipt, agreement.value.provider_node)
        check_receipt(receipt.value, part.asked.request, delivery.header)
        self._receipts[part.access] = receipt
        item = delivery.item(receipt)
        agreement.acks.add(agreement.id, agreement.value.provider_node, item)
        await agreement.acks.try_flush()
        if item.verdict == "DIFFERENT" or (item.verdict == "LESS" and receipt.value.outcome == "COMPLETE"):
            message = f"the receipt says {receipt.value.rows} rows in {receipt.value.frames} frames, we got other data"
            raise error("VERIFICATION_FAILED", message, access=part.access)

    async def _fetch_receipt(self, access: str) -> Document | None:
        """Ask for a receipt that did not come with the stream; it may still be in the making."""
        for _ in range(RECEIPT_TRIES):
            try:
                answer = await self._agreement.connection.call("AccessService/GetReceipt", access=access)
            except TrustnodeError as problem:
                if not problem.retryable:
                    raise
            else:
                ended = answer.get("access")
                self._cause = ended.causes[0] if ended and ended.causes else ""
                if answer["receipt"] is not None:
                    found: Document = answer["receipt"]
                    return found
                if ended and ended.state == "ABORTED":
                    return None  # the end and its receipt are one step: a node that fell has none, and will not
            await asyncio.sleep(RECEIPT_PAUSE_S)
        return None

    def _ask(self, resumes: Resumes | None = None) -> Asked:
        """Sign a request; each one is used once."""
        agreement, profile = self._agreement, self._agreement.connection.profile
        salt, content = secrets.token_bytes(SALT_BYTES), self._query.to_bytes()
        value = agreement.value
        request = AccessRequest(
            agreement=agreement.id,
            agreement_sha256=agreement.document.digest,
            consumer=profile.participant,
            home=profile.venue,
            provider=value.provider_node,
            purpose=self._purpose,
            operation="aggregate" if "aggregate" in {one.operation for one in (agreement, *self._joined)} else "read",
            joined=tuple(Named(one.id, one.document.digest) for one in self._joined),
            query_commitment=query_commitment(salt, content),
            resumes=resumes,
            request_proof="SIGNED" if profile.settings.custody == "HELD" else "CUSTODY",
            **profile.fields(profile.venue, value.provider_node, life_s=REQUEST_LIFE_S),
        )
        document = profile.sign(request)
        ticket = new_ticket(document, content, salt, profile.key_document)
        return Asked(Verified(request, document, ()), ticket.raw)


def in_order(agreement: Agreement, joined: Sequence[Agreement]) -> tuple[Agreement, ...]:
    """The further agreements of one query, as a request names them.

    Raises:
        TrustnodeError: QUERY_INVALID when their data are not held at one venue, or they are too many.
    """
    if len(joined) > MAX_JOINED:
        raise error("QUERY_INVALID", f"a query reads under at most {MAX_JOINED + 1} agreements", field="joined")
    venues = sorted({one.value.provider_node for one in (agreement, *joined)})
    if len(venues) > 1:
        message = f"these are held at {len(venues)} venues, {', '.join(venues)}: read each"
        raise error("QUERY_INVALID", message, field="joined")
    others = {one.id: one for one in joined if one.id != agreement.id}
    return tuple(others[id] for id in sorted(others))


def make_query(sql: str, parameters: Sequence[Parameter]) -> Query:
    """Bound a query before it is signed.

    Raises:
        TrustnodeError: FIELD_FORMAT.
    """
    try:
        return msgspec.convert({"sql": sql, "parameters": tuple(parameters)}, Query)
    except msgspec.ValidationError as problem:
        raise error("FIELD_FORMAT", f"query: {problem}", field="sql") from None


def _header(content: bytes) -> AccessHeader:
    try:
        return msgspec.json.decode(content, type=AccessHeader)
    except msgspec.DecodeError:
        raise error("VERIFICATION_FAILED", "the node's access header cannot be read", field="access") from None
