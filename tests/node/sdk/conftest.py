"""One venue with a provider, a consumer and a published product."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trustnode import aio
from trustnode.cli import source
from trustnode.core.identity import fingerprint
from trustnode.sdk import product_file
from trustnode.sdk.profile import Profile
from trustnode.testing.network import Network, until

DOMAIN = "gz.example"
FLIGHTS = pa.table({"origin": ["EWR", "JFK", "LGA"] * 50_000, "n": list(range(150_000)), "tail": ["N1"] * 150_000})
FILE = """
[product]
name = "flights"
title = "Flights of three airports"
abstract = "Departures."
provider = "lendco"
licence = "CC0"
category = "ENTERPRISE"
level = "GENERAL_1"
level_basis = "public facts"
classes = { topic = "finance", scene = "fintech", industry = "0066" }
facts = { form = "DATASET", updates = "HISTORICAL", source = "ORIGINAL" }
personal = { kind = "NONE", processing = "RAW" }
source_statement = "counted by ourselves at the airports"
rights = [{ right = ["HOLD", "OPERATE"], holder = "lendco", basis = "counted by ourselves at the airports" }]
cross_border = false
zone = "Asia/Shanghai"

[resource]
kind = "parquet"
location = "flights.parquet"
table = "flights"

[[offer]]
name = "open"
price = "free"
approval = "automatic"
[offer.terms]
purposes = ["statistics"]
who = "anyone"
period = "24 months"
columns = ["origin", "n"]
keep = "unlimited"
onward = "allowed"
derived = "free"

[[offer]]
name = "asked"
price = "0.02 CNY per row"
approval = "provider"
[offer.terms]
purposes = ["statistics"]
who = "anyone"
period = "24 months"
columns = ["origin"]
keep = "unlimited"
onward = "allowed"
derived = "free"
"""


@dataclass
class Venue:
    """A running node and the profiles of its two participants."""

    network: Network
    folder: Path
    provider: Profile
    consumer: Profile

    @property
    def home(self) -> Path:
        return self.folder / DOMAIN

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.network[DOMAIN].venue.keyring.cards[DOMAIN].document)

    def product_file(self) -> product_file.ProductFile:
        return product_file.load(self.folder / "flights.toml", source.describe)


async def invitation(network: Network, folder: Path, name: str, *roles: str, reissue: bool = False) -> Path:
    async with aio.operator(folder / DOMAIN) as operator:
        answer = await operator.call(
            "AdminService/InviteParticipant", name=name, roles=roles, title=name, reissue=reissue
        )
    file = folder / f"{name}.invite"
    file.write_bytes(answer["invitation"])
    return file


async def _found(client) -> bool:
    return len(await client.search("flights")) == 1


@pytest.fixture
async def venue(tmp_path):
    async with Network(tmp_path) as network:
        await network.start(DOMAIN, area="4401")
        mark = fingerprint(network[DOMAIN].venue.keyring.cards[DOMAIN].document)
        profiles = [
            await aio.join(await invitation(network, tmp_path, name, role), mark, folder=tmp_path / name)
            for name, role in (("lendco", "PROVIDER"), ("acme", "CONSUMER"))
        ]
        pq.write_table(FLIGHTS, tmp_path / "flights.parquet")
        (tmp_path / "flights.toml").write_text(FILE)
        made = Venue(network, tmp_path, *profiles)
        async with aio.connect(made.provider.folder) as provider:
            await provider.publish(made.product_file())
            await until(lambda: _found(provider))
        yield made
