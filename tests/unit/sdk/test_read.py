"""One access as the client sees it: what is signed, what is checked, what is acknowledged when it ends early."""

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import msgspec
import pytest
from unit.sdk.frames import TABLE, commitment, frames_of

from trustnode.core import clock
from trustnode.core.access import AccessHeader, AccessRequest, DecisionLink, Query, Receipt, ReceiptAck
from trustnode.core.contract import Agreement
from trustnode.core.document import PublicKey, decode, seal, verify
from trustnode.core.stream import query_commitment
from trustnode.errors import TrustnodeError, error
from trustnode.keys import FileSigner
from trustnode.sdk.acks import Acks
from trustnode.sdk.read import Reader, make_query
from trustnode.sdk.table import Table, looks_small
from trustnode.wire.convert import ticket_from_bytes

PARTICIPANT = "spiffe://zj.example/participant/acme"
SALT = bytes(range(16))
VENUE = FileSigner.generate()


class Profile:
    """A profile that lies in memory."""

    participant, venue, name = PARTICIPANT, "zj.example", "acme"

    def __init__(self, custody="HELD"):
        self.signer = FileSigner.generate()
        self.settings = SimpleNamespace(custody=custody)
        self.kept = {}
        self.key_document = None

    def fields(self, *audience, life_s=None):
        from trustnode.sdk.profile import Profile as Real

        return Real.fields(self, *audience, life_s=life_s)

    def sign(self, statement):
        return seal(statement, self.signer)

    def keep_ack(self, access, content):
        self.kept[access] = content

    def drop_ack(self, access):
        self.kept.pop(access, None)

    def kept_acks(self):
        return list(self.kept.items())


class Home:
    """A home node that answers as it is told."""

    def __init__(self, *, fail_after=None, failure=None, trailing=True, alter=lambda receipt: receipt, header=True):
        self.fail_after, self.failure, self.trailing, self.alter, self.header = (
            fail_after,
            failure,
            trailing,
            alter,
            header,
        )
        self.asked, self.receipts, self.cancelled, self.sent = [], {}, False, 0

    def _receipt(self, request, messages, outcome):
        value = Receipt(
            suite="tn1", id="6f1de0a5-9f5b-4e0e-8f5c-0d5f0c1e2a3b", iss="gz.example", aud=("*",),
            time=request.time, access=request.id, request_sha256=self.digest, agreement=request.agreement,
            agreement_sha256=request.agreement_sha256, policy_sha256="d" * 64, decision=DecisionLink(3, "a" * 64),
            plan_commitment="e" * 64, outcome=outcome, frames=len(messages), rows=3 if len(messages) > 1 else 0,
            bytes=sum(map(len, messages)), stream_salt=SALT.hex(), stream_commitment=commitment(SALT, messages),
            meter=(), cost_fen=7, started=request.time, ended=request.time,
        )  # fmt: skip
        return seal(self.alter(value), VENUE)

    @asynccontextmanager
    async def do_get(self, raw, *, timeout_s):
        ticket = ticket_from_bytes(raw)
        request = decode(ticket.request, AccessRequest)
        self.digest = ticket.request.digest
        self.asked.append((ticket, request))
        messages = frames_of()
        try:
            yield Stream(self, request, messages)
        finally:
            self.cancelled = True
            done = messages[: self.sent]
            outcome = "COMPLETE" if self.sent == len(messages) else "ABORTED"
            self.receipts[request.id] = self._receipt(request, done, outcome)


class Stream:
    def __init__(self, home, request, messages):
        self.home, self.request, self.messages = home, request, messages

    async def header(self):
        if not self.home.header:
            return b""
        return msgspec.json.encode(
            AccessHeader(access=self.request.id, stream_salt=SALT.hex(), decision_seq=3, decision_link="a" * 64)
        )

    async def __aiter__(self):
        for number, message in enumerate(self.messages):
            if number == self.home.fail_after:
                raise self.home.failure or asyncio.CancelledError
            self.home.sent = number + 1
            yield message

    async def receipt(self):
        return self.home._receipt(self.request, self.messages, "COMPLETE") if self.home.trailing else None


class Connection:
    timeout_s = 1.0

    def __init__(self, home, profile):
        self.home, self.profile, self.acks, self.refuse = home, profile, [], None

    async def renew_if_due(self):
        pass

    async def call(self, method, *, access):
        assert method == "AccessService/GetReceipt"
        return {"receipt": self.home.receipts.get(access), "acks": []}

    async def submit(self, document, supporting=()):
        if self.refuse:
            raise self.refuse
        self.acks.append(decode(document, ReceiptAck))


async def nothing(*_anything):
    pass


def agreement(home=None, custody="HELD"):
    profile = Profile(custody)
    connection = Connection(home or Home(), profile)
    keys = {"gz.example": (PublicKey(VENUE.public, "", clock.FOREVER),)}

    async def check(_node, document, kind, _venue):
        return verify(document, kind, trust.keys, None)

    trust = SimpleNamespace(keys=lambda owner, _use: keys.get(owner, ()), check=check, prepare=nothing)
    value = SimpleNamespace(provider_node="gz.example", consumer_node="zj.example")
    document = SimpleNamespace(digest="c" * 64)
    made = SimpleNamespace(
        connection=connection, acks=Acks(connection), trust=trust, value=value, id="C" * 47, short="7K3QX9M2",
        document=document, operation="read",
    )  # fmt: skip
    assert Agreement
    return made


def reader(held, **changes):
    return Reader(held, Query("select 1"), "statistics", timeout_s=5, **{"small": False, **changes})


async def read_all(held):
    async with reader(held) as opened:
        return opened, [batch async for batch in opened]


async def test_a_whole_read_gives_the_rows_and_a_receipt_that_is_acknowledged_as_equal():
    held = agreement()
    opened, batches = await read_all(held)

    assert sum(batch.num_rows for batch in batches) == TABLE.num_rows
    assert (opened.receipt.cost_fen, opened.cost, opened.rows) == (7, 7, 3)
    (ack,) = held.connection.acks
    assert (ack.by, ack.items[0].verdict, ack.items[0].final) == ("PARTICIPANT", "EQUAL", True)
    assert held.connection.profile.kept == {}


async def test_the_request_commits_to_the_query_and_states_the_grade_of_the_profile():
    for custody, grade in (("HELD", "SIGNED"), ("CUSTODY", "CUSTODY")):
        held = agreement(custody=custody)
        await read_all(held)
        ((ticket, request),) = held.connection.home.asked
        assert request.query_commitment == query_commitment(ticket.query_salt, ticket.query)
        assert (request.request_proof, request.consumer, request.provider) == (grade, PARTICIPANT, "gz.example")


async def test_every_read_is_a_request_of_its_own():
    held = agreement()
    await read_all(held)
    await read_all(held)
    (one, _), (two, _) = held.connection.home.asked

    assert one.request.digest != two.request.digest
    assert one.query_salt != two.query_salt


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 4},
        {"stream_commitment": "0" * 64},
        {"access": "7f1de0a5-9f5b-4e0e-8f5c-0d5f0c1e2a3b"},
        {"request_sha256": "0" * 64},
        {"agreement_sha256": "0" * 64},
        {"decision": DecisionLink(4, "a" * 64)},
        {"stream_salt": "0" * 32},
        {"frames": 9},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_receipt_that_says_something_else_is_no_receipt(change):
    held = agreement(Home(alter=lambda receipt: msgspec.structs.replace(receipt, **change)))

    with pytest.raises(TrustnodeError) as caught:
        await read_all(held)
    assert caught.value.reason == "VERIFICATION_FAILED"
    assert all(item.verdict != "EQUAL" for ack in held.connection.acks for item in ack.items)


async def test_a_receipt_signed_by_somebody_else_is_refused():
    held = agreement()
    held.trust.keys = lambda _owner, _use: (PublicKey(FileSigner.generate().public, "", clock.FOREVER),)

    with pytest.raises(TrustnodeError) as caught:
        await read_all(held)
    assert caught.value.reason == "SIGNATURE_INVALID"


async def test_data_without_their_evidence_are_not_decoded():
    with pytest.raises(TrustnodeError) as caught:
        await read_all(agreement(Home(header=False)))
    assert caught.value.reason == "VERIFICATION_FAILED"


async def test_a_receipt_that_did_not_come_with_the_stream_is_asked_for():
    held = agreement(Home(trailing=False))

    async def call(method, *, access):
        request = held.connection.home.asked[-1][1]
        return {"receipt": held.connection.home._receipt(request, frames_of(), "COMPLETE"), "acks": []}

    held.connection.call = call
    opened, _ = await read_all(held)
    assert opened.receipt.outcome == "COMPLETE"


async def test_a_stop_is_raised_with_its_cause_and_what_came_is_acknowledged():
    held = agreement(Home(fail_after=1, failure=error("ORDER_IN_FORCE", "frozen")))

    with pytest.raises(TrustnodeError) as caught:
        await read_all(held)
    assert caught.value.reason == "ORDER_IN_FORCE"
    ((item,),) = [ack.items for ack in held.connection.acks]
    assert (item.frames, item.verdict) == (1, "EQUAL")


async def test_a_refusal_before_the_first_frame_leaves_nothing_to_acknowledge():
    held = agreement(Home(header=False, fail_after=0, failure=error("PURPOSE_NOT_AGREED")))

    with pytest.raises(TrustnodeError) as caught:
        await read_all(held)
    assert caught.value.reason == "PURPOSE_NOT_AGREED"
    assert held.connection.acks == []


async def test_leaving_early_ends_the_stream_and_acknowledges_what_came():
    held = agreement()
    async with reader(held) as opened:
        pass

    assert held.connection.home.cancelled
    assert held.connection.acks[0].items[0].frames == opened.receipt.frames


async def test_a_cancelled_read_acknowledges_what_came():
    held = agreement(Home(fail_after=1))

    with pytest.raises(asyncio.CancelledError):
        await read_all(held)
    assert held.connection.acks[0].items[0].frames == 1


async def test_a_receipt_that_could_not_be_acknowledged_blocks_the_next_read_of_the_same_agreement():
    held = agreement()
    held.connection.refuse = error("PEER_UNREACHABLE", "away")
    await read_all(held)
    assert len(held.connection.profile.kept) == 1

    with pytest.raises(TrustnodeError) as caught:
        await read_all(held)
    assert caught.value.reason == "PEER_UNREACHABLE"
    assert len(held.connection.home.asked) == 1

    held.connection.refuse = None
    again = Acks(held.connection)  # another process, the same profile
    await again.flush()
    assert held.connection.profile.kept == {}
    assert len(held.connection.acks) == 1


async def test_an_acknowledgement_that_nobody_knows_any_more_does_not_block_for_ever():
    held = agreement()
    held.connection.refuse = error("NOT_FOUND")
    await read_all(held)

    assert held.connection.profile.kept == {}


async def test_a_table_runs_once_however_often_it_is_converted_and_run_is_a_new_access():
    held = agreement()
    table = Table(held, Query("select * from t"), "statistics", timeout_s=5)
    assert "not read" in repr(table)
    assert (table.receipt, table.cost, table.noise, table.access, table.kept) == (None, None, None, "", None)
    assert held.connection.home.asked == []

    results = await asyncio.gather(table.to_arrow(), table.to_pandas(), table.to_polars(), table.to_arrow())
    assert results[0].num_rows == len(results[1]) == len(results[2]) == 3
    assert len(held.connection.home.asked) == 1
    assert table.cost == 7

    fresh = await table.run()
    assert fresh.access != table.access
    assert len(held.connection.home.asked) == 2


async def test_a_failed_read_keeps_nothing_and_the_next_conversion_asks_again():
    held = agreement(Home(fail_after=1, failure=error("BUSY")))
    table = Table(held, Query("select * from t"), "statistics", timeout_s=5)
    with pytest.raises(TrustnodeError):
        await table.to_arrow()
    held.connection.home.fail_after = None

    assert (await table.to_arrow()).num_rows == 3


@pytest.mark.parametrize(
    "sql, small",
    [
        ("select count(*) from t", True),
        ("select a, SUM (b) from t group by 1", True),
        ("select * from t limit 10", True),
        ("select * from t LIMIT 1000;", True),
        ("select * from t limit 1001", False),
        ("select count(*) from t limit 100000", False),
        ("select * from t", False),
        ("select account from t", False),
    ],
)
def test_what_is_obviously_small_is_asked_for_in_one_message(sql, small):
    assert looks_small(sql) is small


@pytest.mark.parametrize("parameters", [(1.5,), ([],), (object(),)])
def test_a_parameter_that_cannot_be_signed_is_refused(parameters):
    with pytest.raises(TrustnodeError) as caught:
        make_query("select ?", parameters)
    assert caught.value.reason == "FIELD_FORMAT"
