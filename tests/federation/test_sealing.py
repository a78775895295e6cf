"""What follows when witnesses are silent, and what a bundle shows once they have answered: over real nodes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from click.testing import CliRunner
from federation.key_world import holds, install
from federation.test_rotation import rotate
from federation.world import DATA, HOME, World, product_text, write_tables

import trustnode as tn
from trustnode import aio
from trustnode.app import contract, cosigning, courier, evidence, quorums, sealed_part, sealing, status
from trustnode.app.submission import submit
from trustnode.app.venue import Sender
from trustnode.cli.root import root
from trustnode.core import clock
from trustnode.core.contract import Agreement, AgreementState
from trustnode.core.document import Document, cosign, decode, seal
from trustnode.core.evidence import bundle
from trustnode.core.evidence.entry import parse_statement
from trustnode.core.evidence.quorum import parse_policy
from trustnode.core.evidence.report import Report
from trustnode.core.evidence.verify import verify_bundle
from trustnode.core.identity import fingerprint
from trustnode.core.peering import Status
from trustnode.errors import error
from trustnode.keys.rotation import take_back
from trustnode.node import Node
from trustnode.testing.network import Network, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
QUERY = "select id from t where id < 5"
ORIGINAL_CHECK = quorums.check_sealed


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("sealing")
    write_tables(folder)
    with pytest.MonkeyPatch.context() as patch:
        for module in (cosigning, courier):  # nobody waits half a minute for a witness that answers again
            patch.setattr(module, "FIRST_PAUSE_S", 0.05)
            patch.setattr(module, "LONGEST_PAUSE_S", 0.1)
        async with running(folder) as made:
            yield made


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[World]:
    async with Network(folder) as network:
        made = World(network, folder)
        await network.start(DATA, area="5200", subject="915200000000000001")
        await network.start(HOME)
        await network.peer(DATA, HOME)
        await made.join(DATA, "bureau", "PROVIDER")
        await made.join(HOME, "acme", "CONSUMER")
        await made.publish(made.clients["bureau"], product_text("small", ("open", "asked")), "small")
        yield made
        for client in made.clients.values():
            await client.aclose()


class Silence:
    """The witnesses of a node do not answer until the block is left."""

    def __init__(self, node: Node) -> None:
        self._cosigning = node.cosigning
        self._ask = node.cosigning._ask

    def __enter__(self) -> None:
        async def silent(domain: str, _body: bytes, _timeout_s: float) -> None:
            raise error("PEER_UNREACHABLE", f"{domain} does not answer")

        self._cosigning._ask = silent  # type: ignore[assignment]

    def __exit__(self, *_: object) -> None:
        self._cosigning._ask = self._ask
        self._cosigning.notify()


async def bundle_of(world: World, agreement: str, domain: str = DATA) -> Report:
    node = world[domain]
    data = await evidence.bundle(node.venue, node.publisher, Sender("OPERATOR", domain), agreement)
    anchors = {one: fingerprint(world[one].venue.keyring.versions(one)[0].document) for one in (HOME, DATA)}
    return verify_bundle(data, anchors)


async def value_of(world: World, agreement: str) -> Agreement:
    state = await world.state(DATA, AgreementState, agreement)
    document = await world[DATA].venue.store.read(lambda view: view.document(state.document))
    return decode(document, Agreement)


async def test_each_log_is_cosigned_by_the_other_party_and_the_agreement_says_so(world):
    agreement = await world.agree(world.clients["acme"], f"{DATA}/small", "open")
    value = await value_of(world, agreement.id)
    policies = [parse_policy(text) for text in value.witness_policies]
    assert [(one.logs[0].name, one.words) for one in policies] == [
        (f"{DATA}/log", f"{HOME}/witness"), (f"{HOME}/log", f"{DATA}/witness"),
    ]  # fmt: skip
    assert value.max_unwitnessed_s == 14_400
    terms = {term.key: term for term in (await agreement.explain(QUERY)).terms}
    assert f"{HOME}/witness" in terms["witnesses"].text
    assert terms["witnesses"].keeping == "ENFORCED"
    assert (await bundle_of(world, agreement.id)).verdict == "VERIFIED"


async def test_l7m_a_bundle_says_unwitnessed_until_the_witnesses_answer_and_then_no_more(world, monkeypatch):
    monkeypatch.setattr(sealed_part, "WAIT_S", 0.2)
    agreement = await world.agree(world.clients["acme"], f"{DATA}/small", "open")
    await bundle_of(world, agreement.id)  # both logs are sealed up to here
    with Silence(world[DATA]), Silence(world[HOME]):
        await agreement.sql(QUERY).to_arrow()
        early = await bundle_of(world, agreement.id)
        assert (early.verdict, early.unwitnessed) == ("UNWITNESSED", True)
        assert early.sealed_at, "the agreement itself was cosigned before"
        assert len(early.unsealed) == len(early.accesses) == 1
        [one] = await agreement.receipts()
        for domain in (DATA, HOME):
            unsealed = await receipt_at(world, domain, one.object.id)
            assert (unsealed["seal"]["size"], unsealed["seal"]["sealed_at"]) == (0, None)
            assert (await agreement_at(world, domain, agreement.id))["seal"]["sealed_at"], "it was cosigned before"

    async def upgraded() -> bool:
        return (await bundle_of(world, agreement.id)).verdict == "VERIFIED"

    await until(upgraded)
    later = await bundle_of(world, agreement.id)
    assert (later.unsealed, later.unwitnessed) == ((), False)
    for domain, witness in ((DATA, HOME), (HOME, DATA)):
        sealed = await receipt_at(world, domain, one.object.id)
        assert (sealed["seal"]["log"], sealed["seal"]["witnesses"]) == (f"{domain}/log", [f"{witness}/witness"])
        assert sealed["receipt"] == unsealed["receipt"], "nothing was signed anew"
        assert sealed["seal"]["sealed_at"]
        assert sealed["seal"]["size"] <= world[domain].publisher.newest.checkpoint.size
    shown = await asyncio.to_thread(typed, world[HOME].home, "receipts", agreement.id)
    assert "unwitnessed" not in shown
    assert "SEALED" in shown
    shown = await asyncio.to_thread(typed, world[HOME].home, "agreement", "show", agreement.id)
    assert f"by {DATA}/witness" in shown


async def receipt_at(world: World, domain: str, access: str) -> dict[str, Any]:
    """What the operator of a node is told of an access."""
    async with aio.operator(world[domain].home) as node:
        return await node.call("AccessService/GetReceipt", access=access)


async def agreement_at(world: World, domain: str, agreement: str) -> dict[str, Any]:
    """What the operator of a node is told of an agreement."""
    async with aio.operator(world[domain].home) as node:
        return await node.call("DocumentService/GetObject", kind="agreement", id=agreement)


def typed(home: Path, *words: str) -> str:
    """What the operator of a home sees."""
    done = CliRunner().invoke(root, [*words, "--home", str(home)])
    assert done.exit_code == 0, done.output
    return done.stdout


async def test_an_agreement_that_nobody_witnessed_in_time_is_suspended_until_somebody_has(world, monkeypatch):
    monkeypatch.setattr(contract, "SIGN_BY_S", 1)
    monkeypatch.setattr(sealing, "AGAIN_S", 0.1)
    node = world[DATA]
    monkeypatch.setattr(node.venue, "max_unwitnessed_s", 2)
    await until(lambda: sealed_up_to_now(node))
    with Silence(node):
        agreement = await world.agree(world.clients["acme"], f"{DATA}/small", "open")
        assert (await agreement.sql(QUERY).to_arrow()).num_rows == 5
        state = await world.in_state(DATA, AgreementState, agreement.id, "SUSPENDED")
        assert state.causes == ("K:UNWITNESSED",)
        assert await alarms(node, 14_400) == ["UNWITNESSED"]
        with pytest.raises(tn.TrustnodeError) as refused:
            await agreement.sql(QUERY).to_arrow()
        assert "UNWITNESSED" in refused.value.message
    await world.in_state(DATA, AgreementState, agreement.id, "PERFORMING")
    assert (await agreement.sql(QUERY).to_arrow()).num_rows == 5
    report = await bundle_of(world, agreement.id)
    assert {(one.step, one.verdict) for one in report.findings} == {(7, "UNWITNESSED")}, "one read was before the seal"


async def alarms(node: Node, limit_s: int) -> list[str]:
    found = await node.venue.store.read(lambda view: status.counted(view, node.venue))
    return [one.name for one in status.seal_alarms(found, limit_s)]


async def sealed_up_to_now(node: Node) -> bool:
    newest = node.publisher.newest
    found = await node.venue.store.read(lambda view: view.newest_checkpoint())
    return newest is not None and found is not None and b"/witness" in found.note


async def test_l20_nothing_new_is_agreed_on_a_log_that_its_witnesses_have_left(world, monkeypatch):
    """The provider's node has no quorum: the request waits at the consumer's node, and is answered when it has."""
    node, acme = world[DATA], world.clients["acme"]
    monkeypatch.setattr(node.venue, "max_unwitnessed_s", 1)
    await world.found(acme, f"{DATA}/small")
    refused = asyncio.Event()

    def check(*args) -> None:
        try:
            ORIGINAL_CHECK(*args)
        except tn.TrustnodeError as problem:
            if problem.reason == "UNWITNESSED":
                refused.set()
            raise

    monkeypatch.setattr(quorums, "check_sealed", check)
    with Silence(node):
        await note(node)
        assert await until_stale(node) > 1
        waiting = asyncio.create_task(acme.negotiate(f"{DATA}/small", offer="open"))
        async with asyncio.timeout(20):
            await refused.wait()
        assert not waiting.done()
    assert (await waiting).state == "PERFORMING"


async def note(node: Node) -> None:
    await node.venue.store.write(
        lambda tx: tx.log("node", DATA, "incident.notify", reason_code="INTERNAL"), event_id="", returns=type(None)
    )
    await node.publisher.publish()


async def until_stale(node: Node) -> float:
    found = []
    policy = parse_policy((await quorums.draft(node.venue, HOME, ()))[0])

    async def stale() -> bool:
        age = await node.venue.store.read(lambda view: sealing.unwitnessed_s(view, policy))
        found.append(age)
        return age > 1

    await until(stale)
    return found[-1]


async def test_l20_a_venue_that_acts_and_shows_no_later_head_is_reported_and_nothing_new_is_agreed(world, monkeypatch):
    monkeypatch.setattr(quorums, "SKEW_S", 0)
    home = world[HOME]
    with Silence(world[DATA]):
        agreement = await world.agree(world.clients["acme"], f"{DATA}/small", "open")
        await agreement.sql(QUERY).to_arrow()
        monkeypatch.setattr(home.venue, "max_unwitnessed_s", 0)
        with pytest.raises(tn.TrustnodeError) as told:
            await world.clients["acme"].negotiate(f"{DATA}/small", offer="open")
        assert told.value.reason == "UNWITNESSED"
        assert "has not grown" in told.value.message
        assert await alarms(home, 0) == ["LOG_FROZEN"]
    monkeypatch.setattr(quorums, "SKEW_S", 60)
    assert (await world.agree(world.clients["acme"], f"{DATA}/small", "open")).id


# --- policies that our participant is not asked to sign


LIES = {
    "nobody witnesses the provider's log": lambda value, _: value.witness_policies[1:],
    "quorum none": lambda value, _: (value.witness_policies[0].split("quorum")[0] + "quorum none\n",),
    "a witness of no accepted card": lambda value, stranger: (value.witness_policies[0].replace(
        next(line for line in value.witness_policies[0].splitlines() if line.startswith("witness")), stranger),),
    "another log": lambda value, _: (value.witness_policies[1],),
    "no policy at all": lambda _value, _: (),
    "what cannot be read": lambda _value, _: ("quorum",),
}  # fmt: skip
STRANGER = "witness zj.example zj.example/witness+7bd3e2a4+BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_an_agreement_with_other_witnesses_is_not_laid_before_our_participant(world, lie):
    value = await value_of(world, (await world.agree(world.clients["acme"], f"{DATA}/small", "open")).id)
    changed = msgspec.structs.replace(value, witness_policies=lie(value, STRANGER))
    with pytest.raises(tn.TrustnodeError) as refused:
        quorums.check_policies(world[HOME].venue, changed)
    assert refused.value.reason == "WITNESS_POLICY"
    document: Document = cosign(seal(changed), world[DATA].venue.evidence)
    with pytest.raises(tn.TrustnodeError) as at_the_door:
        await submit(world[HOME].venue, Sender("PEER", DATA), document)
    assert at_the_door.value.reason == "WITNESS_POLICY"
    quorums.check_policies(world[HOME].venue, value)


# --- keys


async def test_a_bundle_over_replaced_keys_shows_when_each_was_published(world):
    """Evidence, log and witness key of the provider's venue are replaced between agreement and reads."""
    agreement = await world.agree(world.clients["acme"], f"{DATA}/small", "open")
    await agreement.sql(QUERY).to_arrow()
    before = await bundle_of(world, agreement.id)
    for kind in ("evidence", "witness", "log"):
        await rotate(world, world[DATA], kind)
    await agreement.sql(QUERY).to_arrow()
    report = await bundle_of(world, agreement.id)
    assert (before.verdict, report.verdict) == ("VERIFIED", "VERIFIED"), report.findings
    assert report.counts.receipts == 2


async def test_a_bundle_holds_the_notice_that_took_a_key_back_and_what_was_sealed_before_still_counts(world):
    node = world[DATA]
    agreement = await world.agree(world.clients["acme"], f"{DATA}/small", "open")
    await agreement.sql(QUERY).to_arrow()
    assert (await bundle_of(world, agreement.id)).verdict == "VERIFIED"
    stolen, now = node.venue.evidence, clock.shift(node.venue.clock.now(), 1)
    await until(lambda: past(node, now))
    take_back(node.home / "keys", ["evidence"], DATA, now, now)
    await holds(world.network, HOME, await install(node))
    kid = hashlib.sha256(stolen.public).hexdigest()

    async def told() -> bool:
        data = await evidence.bundle(node.venue, node.publisher, Sender("OPERATOR", DATA), agreement.id)
        notices = [decode(one, Status) for one in bundle.unpack(data).parts[DATA].status]
        return kid in {event.subject for one in notices for event in one.events}

    await until(told)
    await agreement.sql(QUERY).to_arrow()
    report = await bundle_of(world, agreement.id)
    assert (report.verdict, report.counts.receipts) == ("VERIFIED", 2), report.findings


async def past(node: Node, time: str) -> bool:
    return node.venue.clock.now() > time


async def test_l15a_a_bundle_with_an_erased_statement_still_verifies(world):
    agreement = await world.agree(world.clients["acme"], f"{DATA}/small", "open")
    with pytest.raises(tn.PolicyDenied):
        await agreement.sql(QUERY, purpose="marketing").to_arrow()
    chain = await world[DATA].venue.store.read(lambda view: view.evidence.chain("agreement", agreement.id))
    denied = next(one for one in chain if parse_statement(one.statement).type == "access.deny")
    await world[DATA].venue.store.write(lambda tx: tx.erase(denied.index), event_id="", returns=type(None))
    report = await bundle_of(world, agreement.id)
    assert (report.verdict, report.withheld) == ("VERIFIED", 1), report.findings
