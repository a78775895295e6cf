"""SIGKILL of either of two real nodes while a client negotiates and reads.

Decides: the moments (from a seed), what the client and the public were told, and what both stores must hold then. The
store of a node is looked at while its process is dead. Leaves to others: the processes (``processes``).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from faults.outside import Tally, forked
from faults.processes import PRODUCT, WAIT_S, Processes, two_nodes
from federation.world import DATA, HOME, AccessState, AgreementState

from trustnode import aio
from trustnode.core.access import Receipt
from trustnode.core.evidence.checkpoint import parse_checkpoint
from trustnode.errors import TrustnodeError
from trustnode.store.unit import View
from trustnode.store.writer import Store

READERS = 3
LIMIT = 5
"""Reads that the offer ``few`` allows in all."""
TRIES = 40
"""Most reads asked for under one agreement; the counter refuses earlier unless a node is down for long."""
MOMENT_S = 1.0
PAUSE_S = 0.1
OPEN_STATES = ("REQUESTED", "PREPARING", "STREAMING")


@dataclass
class Told:
    """What left the two nodes."""

    agreements: dict[str, str] = field(default_factory=dict)
    """Id -> digest of what the client was told is in force."""
    receipts: list[tuple[Receipt, str]] = field(default_factory=list)
    """Of each read that ended well, with its digest."""
    asked: Counter[str] = field(default_factory=Counter)
    """Agreement -> reads that were tried."""
    heads: dict[str, dict[int, str]] = field(default_factory=lambda: {HOME: {}, DATA: {}})
    refused: Counter[str] = field(default_factory=Counter)
    forks: int = 0

    @property
    def acknowledged(self) -> int:
        """Agreements in force and reads that the client was told of."""
        return len(self.agreements) + len(self.receipts)


async def _client(nodes: Processes, told: Told) -> None:
    """Negotiate, use the agreement up, begin again; a node that is down is no reason to stop."""
    while True:
        try:
            agreement = await nodes.client.negotiate(PRODUCT, offer="few")
            told.agreements[agreement.id] = agreement.document.digest
            for _ in range(TRIES):
                if not await _read(agreement, told):
                    break
        except TrustnodeError as problem:
            told.refused[problem.reason] += 1
            await asyncio.sleep(PAUSE_S)


async def _read(agreement: aio.Agreement, told: Told) -> bool:
    """One read; False where the counter has refused it."""
    told.asked[agreement.id] += 1
    reader = agreement.reader("select id from t limit 10")
    try:
        async with reader:
            async for _ in reader:
                pass
    except TrustnodeError as problem:
        told.refused[problem.reason] += 1
        await asyncio.sleep(PAUSE_S if problem.retryable else 0)
        return not problem.reason.startswith("QUOTA")
    told.receipts.append((reader.receipt, reader.receipt_document.digest))
    return True


async def _public(nodes: Processes, domain: str, told: Told) -> None:
    """Take down every checkpoint that a node shows."""
    while True:
        with contextlib.suppress(TrustnodeError, OSError):
            async with aio.operator(nodes.folder / domain) as operator:
                note = (await operator.call("EvidenceService/GetCheckpoint", timeout_s=1.0))["checkpoint"]
            seen = parse_checkpoint(note.decode().split("\n\n")[0] + "\n")
            told.forks += told.heads[domain].setdefault(seen.size, seen.root.hex()) != seen.root.hex()
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def _traffic(nodes: Processes, told: Told) -> AsyncIterator[None]:
    """Clients and public, until the block is left; one that ends by itself is an error of the run."""
    tasks = [asyncio.ensure_future(_client(nodes, told)) for _ in range(READERS)]
    tasks += [asyncio.ensure_future(_public(nodes, domain, told)) for domain in (HOME, DATA)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for problem in ended:
        if not isinstance(problem, asyncio.CancelledError):
            raise problem


async def run(folder: Path, kills: int, seed: int) -> Tally:
    """Kill and verify, that many times, then let both nodes come to rest and compare them."""
    chance, tally, told = random.Random(seed), Tally(), Told()
    async with two_nodes(folder) as nodes:
        async with _traffic(nodes, told):
            for _ in range(kills):
                if not await _moment(chance, told):
                    tally.wrong.append(f"no client was served for {WAIT_S} s; refused: {dict(told.refused)}")
                domain = chance.choice((HOME, DATA))
                await nodes.kill(domain)
                tally.add(await _verify(nodes.folder / domain / "node.db", domain, told))
                await nodes.start(domain)
        await _rest(nodes)
        await nodes.stop()
        for domain in (HOME, DATA):
            tally.add(await _verify(nodes.folder / domain / "node.db", domain, told))
        tally.wrong += _counters(nodes.folder / DATA / "node.db", told)
    return Tally(
        kills=kills, acknowledged=told.acknowledged, checkpoints=sum(map(len, told.heads.values())), lost=tally.lost,
        wrong=tally.wrong, forks=tally.forks + told.forks,
    )  # fmt: skip


async def _moment(chance: random.Random, told: Told) -> bool:
    """A random moment: one in five while nodes still find each other again, the others while reads come through.

    Returns:
        Whether anything came through where it had to.
    """
    served = True
    if chance.random() >= 0.2:
        before = told.acknowledged
        try:
            async with asyncio.timeout(WAIT_S):
                while told.acknowledged == before:
                    await asyncio.sleep(0.005)
        except TimeoutError:
            served = False
    await asyncio.sleep(chance.uniform(0, MOMENT_S))
    return served


async def _rest(nodes: Processes) -> None:
    """Wait until no access is open at either node."""
    async with asyncio.timeout(WAIT_S):
        for domain in (HOME, DATA):
            async with aio.operator(nodes.folder / domain) as operator:
                while any([(await operator.list_all("access", state=state)) for state in OPEN_STATES]):
                    await asyncio.sleep(0.1)


async def _verify(path: Path, domain: str, told: Told) -> Tally:
    """The store of a node whose process is dead holds everything that was told."""
    tally = Tally()
    async with await Store.open(path, clock=lambda: "2099-01-01T00:00:00.000Z", node_id="test") as store:
        if not store.verdict.may_sign:
            tally.wrong.append(f"{domain}: {store.verdict.outcome}: {store.verdict.message}")
        tally.wrong += [f"{domain}: {found.where}: {found.message}" for found in await store.check()]
        tally.forks += len(await store.read(lambda view: list(forked(view, told.heads[domain]))))
        tally.lost += len(await store.read(lambda view: list(_lost(view, domain, told))))
    if domain == DATA:
        tally.wrong += _counters(path, told)
    return tally


def _lost(view: View, domain: str, told: Told) -> Iterable[str]:
    """Names of what a client was told and the store does not hold, or holds otherwise."""
    for id, digest in told.agreements.items():
        row = view.get(AgreementState, id)
        if row is None or row.document != digest or row.state != "PERFORMING":
            yield id
    links: dict[str, dict[int, str]] = {}
    for receipt, digest in told.receipts:
        row = view.get(AccessState, receipt.access)
        if row is None or row.receipt != digest or view.document(digest) is None:
            yield receipt.access
        if domain == DATA:
            if receipt.agreement not in links:
                chain = view.evidence.chain("agreement", receipt.agreement)
                links[receipt.agreement] = {entry.seq: entry.data.hex() for entry in chain}
            if links[receipt.agreement].get(receipt.decision.seq) != receipt.decision.link:
                yield receipt.access


def _counters(path: Path, told: Told) -> Iterable[str]:
    """Reads acknowledged <= reads used <= reads asked for, and never more than the limit."""
    acknowledged = Counter(receipt.agreement for receipt, _ in told.receipts)
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute('select key, "used" from counter').fetchall()
    used = {key.partition("/")[0]: number for key, number in rows}
    for id in told.agreements:
        number = used.get(id, 0)
        if not acknowledged[id] <= number <= min(told.asked[id], LIMIT):
            yield f"counter {id}: {acknowledged[id]} acknowledged, {number} used, {told.asked[id]} asked"
