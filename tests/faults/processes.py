"""Two venues as processes of their own, as an operator starts them: one holds data, one buys.

Decides: how they are set up, started, killed and asked. Leaves to others: when they are killed, what must hold then.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from federation.world import DATA, HOME, World, product_text, write_tables

from trustnode import aio
from trustnode.errors import TrustnodeError
from trustnode.sdk.negotiation import request
from trustnode.testing.network import Network

PRODUCT, BIG = f"{DATA}/small", f"{DATA}/big"
WAIT_S = 30.0


class Processes:
    """Nodes as processes, on homes that were set up before."""

    def __init__(self, folder: Path, profile: Path) -> None:
        self.folder = folder
        self.client = aio.connect(profile)
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, domain: str) -> None:
        """Start a node and wait until it says that it serves."""
        command = [sys.executable, "-m", "trustnode.cli", "start", "--home", str(self.folder / domain), "--json"]
        settings = {"TRUSTNODE_DISK_RESERVE_MB": "0", "TRUSTNODE_NODE_DRAIN_S": "0"}
        with self.log(domain).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, stderr=log, env={**os.environ, **settings}
            )
        self._running[domain] = process
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), WAIT_S)
        assert domain.encode() in line, f"{domain} did not start: {line!r}"

    def resident_mib(self, domain: str) -> float:
        """Resident memory of a node's own process; workers are others."""
        status = Path(f"/proc/{self._running[domain].pid}/status").read_text(encoding="utf-8")
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024

    def log(self, domain: str) -> Path:
        """What a node said to its operator, over every start."""
        return self.folder / f"{domain}.log"

    async def kill(self, domain: str) -> None:
        """As if the machine's memory ran out: no handler runs, nothing is flushed."""
        process = self._running.pop(domain)
        process.kill()
        await process.wait()

    async def stop(self) -> None:
        """Stop every node, as an operator does."""
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):  # it ended by itself: whoever waits for it will say so
                process.terminate()
        for process in self._running.values():
            await asyncio.wait_for(process.wait(), WAIT_S)
        self._running.clear()

    async def restart(self, domain: str) -> None:
        await self.kill(domain)
        await self.start(domain)

    async def in_state(self, domain: str, kind: str, id: str, *states: str) -> str:
        """Wait until the operator of a node sees an object in one of some states."""
        async with asyncio.timeout(WAIT_S), aio.operator(self.folder / domain) as operator:
            while True:
                with contextlib.suppress(TrustnodeError):
                    found = (await operator.get(kind, id)).object.state
                    if found in states:
                        return found
                await asyncio.sleep(0.02)

    async def ask(self) -> Any:
        """Hand in a request for the offer under a mandate; the negotiation, as the home node has stored it."""
        described = await self.client.product(PRODUCT)
        _, id = await request(self.client, described, described.offer("open"), "")
        return id

    async def conclude(self, negotiation: str) -> Any:
        """Go on until the agreement is in force, over every break."""
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    found = await (await self.client.negotiation(negotiation)).advance(WAIT_S)
                except TrustnodeError as broken:
                    if not broken.retryable:
                        raise
                else:
                    if found is not None:
                        return found
                await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def two_nodes(folder: Path) -> AsyncIterator[Processes]:
    """One venue with data, one that buys; set up in this process, then run as two others."""
    write_tables(folder)
    async with Network(folder) as network:
        made = World(network, folder)
        await network.start(DATA, area="5200", subject="915200000000000001")
        await network.start(HOME)
        await network.peer(DATA, HOME)
        bureau = await made.join(DATA, "bureau", "PROVIDER")
        acme = await made.join(HOME, "acme", "CONSUMER")
        await made.publish(bureau, product_text("small", ("open", "few")), "small")
        await made.publish(bureau, product_text("big", ("much", "open"), file="big", columns=("id", "filler")), "big")
        await made.found(acme, PRODUCT)
        await made.found(acme, BIG)
        for client in made.clients.values():
            await client.aclose()
    processes = Processes(folder, acme.profile.folder)
    await processes.start(DATA)
    await processes.start(HOME)
    try:
        yield processes
    finally:
        await processes.client.aclose()
        await processes.stop()
