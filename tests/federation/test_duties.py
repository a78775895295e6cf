"""Duties that fall due: an overdue report stops an agreement at both nodes, a proof lets it go on; paid first, then read.

Instead of clocks being set ahead, what is due is due earlier.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from click.testing import CliRunner
from federation.test_control import check_cut, stalled
from federation.world import DATA, HOME, OFFER, World, product_text, write_tables

from trustnode.app import duties, evidence, status
from trustnode.app.venue import Sender
from trustnode.cli.root import root
from trustnode.core import clock, duty
from trustnode.core.contract import AgreementState
from trustnode.core.document import Document, seal
from trustnode.core.duty import DutyProof, DutyState
from trustnode.core.evidence.verify import verify_bundle
from trustnode.core.identity import fingerprint
from trustnode.errors import TrustnodeError
from trustnode.testing.network import Network, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
QUERY = "select id from t where id < 5"
MONTH_S = 31 * 86400.0
OFFERS = {
    "reported": ("free", "unlimited", 'duties = ["report use monthly"]'),
    "once": ("100 CNY once", "unlimited", ""),
    "metered": ("1 CNY per read", "30 days", 'duties = ["pay within 10 days"]'),
}


def product(name: str, *offers: str) -> str:
    """A product file with some of these offers."""
    text = product_text(name, (), file=name)
    for offer in offers:
        price, keep, more = OFFERS[offer]
        columns = '["id", "filler"]' if name == "big" else '["id"]'
        written = OFFER.format(name=offer, approval="automatic", more=more, columns=columns)
        written = written.replace('"free"\napproval', f'"{price}"\napproval')
        text += written.replace('keep = "unlimited"', f'keep = "{keep}"')
    return text


class Early:
    """Dates on which duties are due, so many seconds earlier than agreed: certificates live by the machine's clock."""

    seconds = 0.0

    def due_at(self, *of: Any) -> str:
        due = duty.due_at(*of)
        return clock.shift(due, -self.seconds) if due else ""


EARLY = Early()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("duties")
    write_tables(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duties, "due_at", EARLY.due_at)
        async with Network(folder) as network:
            made = World(network, folder)
            await network.start(DATA, area="5200", subject="915200000000000001")
            await network.start(HOME)
            await network.peer(DATA, HOME)
            await made.join(DATA, "bureau", "PROVIDER")
            await made.join(HOME, "acme", "CONSUMER")
            await made.publish(made.clients["bureau"], product("small", *OFFERS), "small")
            await made.publish(made.clients["bureau"], product("big", "reported"), "big")
            yield made
            for client in made.clients.values():
                await client.aclose()


async def a_month_passes(world: World, agreement: Any) -> None:
    """The timers of the agreement's duties are due at both nodes."""
    EARLY.seconds = MONTH_S
    for domain in (DATA, HOME):
        await world[domain].venue.store.write(
            lambda tx: tx.at(tx.now, "agreement", agreement.id, duties.TIMER) or "", event_id="", returns=str
        )


@pytest.fixture(autouse=True)
def _on_time() -> None:
    EARLY.seconds = 0.0


async def command(world: World, who: str, *words: str) -> Any:
    """What a party types, with its answer for programs; of a refusal, its reason."""
    folder = world.clients[who].profile.folder
    done = await asyncio.to_thread(CliRunner().invoke, root, [*words, "--json", "--profile", str(folder)])
    assert done.exit_code == 0, f"{words}: {done.output} {done.exception!r}"
    return json.loads(done.stdout)


def proof(world: World, who: str, agreement: Any, duty: str, **changes: Any) -> Document:
    mine = world.clients[who].profile
    fields = {
        **mine.fields(HOME, DATA), "agreement": agreement.id, "agreement_sha256": agreement.document.digest,
        "duty": duty, "until": mine.fields(HOME)["time"], **changes,
    }  # fmt: skip
    return seal(DutyProof(**{**fields, "until": min(fields["until"], fields["time"])}), mine.signer)


async def refusal(world: World, who: str, document: Document) -> str:
    client = world.clients[who]
    with pytest.raises(TrustnodeError) as refused:
        await client.connection.submit(document, [client.profile.key_document])
    return refused.value.reason


async def row_of(world: World, domain: str, agreement: Any, name: str) -> DutyState | None:
    row: DutyState | None = await world.state(domain, DutyState, f"{agreement.id}/{name}")
    return row


def said(row: DutyState | None) -> tuple[str, str] | None:
    return (row.state, row.covered) if row else None


async def test_an_overdue_report_stops_the_agreement_at_both_nodes_until_it_is_given(world: World) -> None:
    agreement = await world.agree(world.clients["acme"], f"{DATA}/small", "reported")
    assert len(await agreement.sql(QUERY).to_arrow()) == 5
    [owed] = (await command(world, "acme", "agreement", "duties", agreement.id))["items"]
    assert (owed["duty"], owed["state"], owed["shown_by"]) == ("inform:USE", "OPEN", "consumer")
    assert (
        clock.shift(agreement.value.start, 28 * 86400) <= owed["due_at"] <= clock.shift(agreement.value.start, MONTH_S)
    )

    await a_month_passes(world, agreement)
    for domain in (DATA, HOME):
        state = await world.in_state(domain, AgreementState, agreement.id, "SUSPENDED")
        assert state.causes == ("K:DUTY",)
        row = await row_of(world, domain, agreement, "inform:USE")
        assert said(row) == ("VIOLATED", "")
    with pytest.raises(TrustnodeError) as stopped:
        await agreement.sql(QUERY).to_arrow()
    assert stopped.value.reason == "GRANT_INVALID"
    assert "agreement duties" in stopped.value.next_step
    counted = await world[DATA].venue.store.read(lambda view: status.counted(view, world[DATA].venue))
    assert "OVERDUE" in {alarm.name for alarm in status.seal_alarms(counted, 60)}
    assert await refusal(world, "bureau", proof(world, "bureau", agreement, "inform:USE")) == "ROLE_NOT_ALLOWED"

    given = await command(world, "acme", "agreement", "fulfil", agreement.id, "inform:USE", "--text", "scored 5 firms")
    assert given["state"] == "FULFILLED"
    for domain in (DATA, HOME):
        await world.in_state(domain, AgreementState, agreement.id, "PERFORMING")
        row = await row_of(world, domain, agreement, "inform:USE")
        assert said(row) == ("FULFILLED", given["covered_until"])
    assert len(await agreement.sql(QUERY).to_arrow()) == 5
    [next_one] = (await command(world, "acme", "agreement", "duties", agreement.id))["items"]
    assert next_one["state"] == "OPEN"
    assert next_one["due_at"] > owed["due_at"]
    await is_told_and_verified(world, agreement, "overdue: inform:USE", "shows inform:USE as done")


async def test_an_overdue_report_ends_the_stream_that_runs(world: World) -> None:
    agreement = await world.agree(world.clients["acme"], f"{DATA}/big", "reported")
    async with stalled(world, agreement) as stream:
        await a_month_passes(world, agreement)
        await check_cut(stream, "GRANT_INVALID")


async def test_what_is_paid_once_is_read_after_the_provider_has_confirmed_it(world: World) -> None:
    agreement = await world.agree(world.clients["acme"], f"{DATA}/small", "once")
    with pytest.raises(TrustnodeError) as waits:
        await agreement.sql(QUERY).to_arrow()
    assert waits.value.reason == "PRECONDITION_OPEN"
    assert "compensate" in waits.value.message
    assert "fulfil" in waits.value.next_step
    assert (await agreement.explain(QUERY)).reason == "PRECONDITION_OPEN"
    assert await refusal(world, "acme", proof(world, "acme", agreement, "compensate")) == "ROLE_NOT_ALLOWED"
    assert await row_of(world, DATA, agreement, "compensate") is None

    await command(world, "bureau", "agreement", "fulfil", agreement.id, "compensate")
    assert len(await agreement.sql(QUERY).to_arrow()) == 5
    [paid] = (await command(world, "bureau", "agreement", "duties", agreement.id))["items"]
    assert (paid["state"], paid["due_at"]) == ("FULFILLED", "")
    assert await refusal(world, "bureau", proof(world, "bureau", agreement, "compensate")) == "DUPLICATE"
    await is_told_and_verified(world, agreement, "shows compensate as done")


async def test_what_was_delivered_is_paid_and_erased_in_time_each_by_its_own_proof(world: World) -> None:
    agreement = await world.agree(world.clients["acme"], f"{DATA}/small", "metered")
    assert await refusal(world, "acme", proof(world, "acme", agreement, "obligation:delete")) == "DUPLICATE"
    await agreement.sql(QUERY).to_arrow()
    await a_month_passes(world, agreement)
    await world.in_state(DATA, AgreementState, agreement.id, "SUSPENDED")
    for domain in (DATA, HOME):
        await violated(world, domain, agreement, "obligation:delete", "obligation:compensate")
    await command(world, "bureau", "agreement", "fulfil", agreement.id, "obligation:compensate")
    assert (await world.state(DATA, AgreementState, agreement.id)).causes == ("K:DUTY",), (
        "the copy is still to be erased"
    )
    await world.in_state(HOME, DutyState, f"{agreement.id}/obligation:compensate", "FULFILLED")
    erase, pay = await agreement.duties()
    assert [(one.duty.words, one.state) for one in (erase, pay)] == [
        ("erase each copy within 30 days", "VIOLATED"), ("pay within 10 days", "FULFILLED"),
    ]  # fmt: skip
    await agreement.fulfil("delete", statement="overwritten", attached=__file__)
    for domain in (DATA, HOME):
        await world.in_state(domain, AgreementState, agreement.id, "PERFORMING")
    known = (await command(world, "acme", "agreement", "duties", agreement.id))["items"]
    assert {(one["duty"], one["state"]) for one in known} == {
        ("obligation:delete", "FULFILLED"),
        ("obligation:compensate", "FULFILLED"),
    }


async def test_a_proof_of_another_agreement_or_party_or_time_counts_nothing(world: World) -> None:
    acme = world.clients["acme"]
    agreement = await world.agree(acme, f"{DATA}/small", "reported")
    other = await world.agree(acme, f"{DATA}/small", "reported")
    first = proof(world, "acme", agreement, "inform:USE")
    await acme.connection.submit(first, [acme.profile.key_document])
    before = world.size(HOME)
    await acme.connection.submit(first, [acme.profile.key_document])
    assert world.size(HOME) == before, "the same document gets the same answer, and nothing happens"
    again = proof(world, "acme", agreement, "inform:USE")
    mixed = proof(world, "acme", agreement, "inform:USE", agreement_sha256=other.document.digest)
    unknown = proof(world, "acme", agreement, "delete")
    assert [await refusal(world, "acme", one) for one in (again, mixed, unknown)] == [
        "DUPLICATE",
        "NOT_FOUND",
        "NOT_FOUND",
    ]
    peer = world.node_caller(HOME, DATA)
    stolen = proof(world, "bureau", agreement, "inform:USE")
    with pytest.raises(TrustnodeError) as refused:
        await peer.deliver("stolen/1", stolen, [world.clients["bureau"].profile.key_document], timeout_s=5)
    assert refused.value.reason == "NOT_FOUND", "a venue hands over proofs of its own participants"


async def violated(world: World, domain: str, agreement: Any, *names: str) -> None:
    async def all_are() -> bool:
        rows = [await row_of(world, domain, agreement, name) for name in names]
        return all(row is not None and row.state == "VIOLATED" for row in rows)

    await until(all_are)


async def is_told_and_verified(world: World, agreement: Any, *lines: str) -> None:
    """The bundle verifies, its story tells of the duty at both nodes, and each log tells every state again."""
    anchors = {one: fingerprint(world.card(one)) for one in (HOME, DATA)}
    node = world[DATA]
    data = await evidence.bundle(node.venue, node.publisher, Sender("OPERATOR", DATA), agreement.id)
    report = verify_bundle(data, anchors)
    assert report.verdict in ("VERIFIED", "UNWITNESSED"), report.findings
    for domain in (DATA, HOME):
        told = await evidence.story(world[domain].venue, Sender("OPERATOR", domain), agreement.id)
        story = "\n".join(str(line) for line in told)
        assert all(line in story for line in lines), story
        assert await world[domain].venue.store.check() == []
