"""Bundles of running nodes: what two logs say of one agreement verifies offline, from either side, without a node."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from architecture.contract import CHECKOUT

import trustnode as tn
from trustnode import aio
from trustnode.cli import source
from trustnode.core.evidence import bundle, report
from trustnode.core.evidence.verify import verify_bundle
from trustnode.core.identity import fingerprint
from trustnode.sdk import product_file
from trustnode.sdk.profile import Profile
from trustnode.testing.network import Network, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

PRODUCT = "gz.example/flights"
FLIGHTS = pa.table({"origin": ["EWR", "JFK", "LGA"] * 1000, "n": list(range(3000)), "tail": ["N1"] * 3000})
FILE = """
[product]
name = "flights"
title = "Flights of three airports"
abstract = "Departures."
provider = "bureau"
licence = "CC0"
category = "ENTERPRISE"
level = "GENERAL_1"
level_basis = "public facts"
classes = { topic = "finance", scene = "fintech", industry = "0066" }
facts = { form = "DATASET", updates = "HISTORICAL", source = "ORIGINAL" }
personal = { kind = "NONE", processing = "RAW" }
source_statement = "counted by ourselves at the airports"
rights = [{ right = ["HOLD", "OPERATE"], holder = "bureau", basis = "counted by ourselves at the airports" }]
cross_border = false
zone = "Asia/Shanghai"

[resource]
kind = "parquet"
location = "flights.parquet"
table = "flights"

[[offer]]
name = "open"
price = "0.02 CNY per row"
approval = "automatic"
[offer.terms]
purposes = ["statistics"]
who = "anyone"
period = "24 months"
columns = ["origin", "n"]
limits = ["5 reads per day", "5000 rows in all"]
keep = "unlimited"
onward = "allowed"
derived = "free"
"""


@dataclass
class Market:
    """Three venues: a parent, one that holds data, one that buys."""

    network: Network
    folder: Path
    provider: Profile
    consumer: Profile

    def card(self, domain: str):
        return self.network[domain].venue.keyring.cards[domain].document

    def anchors(self, *domains: str) -> dict[str, str]:
        return {domain: fingerprint(self.card(domain)) for domain in domains}

    @property
    def both(self) -> dict[str, str]:
        return self.anchors("gz.example", "zj.example")

    @property
    def all(self) -> dict[str, str]:
        return self.anchors("gz.example", "zj.example", "nat.example")

    async def bundle(self, profile: Profile, agreement: str, name: str = "deal.bundle") -> bytes:
        async with aio.connect(profile.folder) as client:
            return (await client.bundle(agreement, self.folder / name)).read_bytes()


async def joined(network: Network, folder: Path, domain: str, name: str, role: str) -> Profile:
    async with aio.operator(folder / domain) as operator:
        answer = await operator.call("AdminService/InviteParticipant", name=name, roles=(role,), title=name)
    file = folder / f"{name}.invite"
    file.write_bytes(answer["invitation"])
    mark = fingerprint(network[domain].venue.keyring.cards[domain].document)
    return await aio.join(file, mark, folder=folder / name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def market(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("market")
    async with Network(tmp_path) as network:
        await network.start("nat.example", level="NATIONAL", area="1100")
        await network.start("gz.example", area="5200", subject="915200000000000001")
        await network.start("zj.example", area="3300")
        await network.peer("gz.example", "nat.example", relation="PARENT")
        await network.peer("zj.example", "nat.example", relation="PARENT")
        await network.peer("gz.example", "zj.example")
        provider = await joined(network, tmp_path, "gz.example", "bureau", "PROVIDER")
        consumer = await joined(network, tmp_path, "zj.example", "acme", "CONSUMER")
        pq.write_table(FLIGHTS, tmp_path / "flights.parquet")
        (tmp_path / "flights.toml").write_text(FILE)
        made = Market(network, tmp_path, provider, consumer)
        async with aio.connect(provider.folder) as client:
            await client.publish(product_file.load(tmp_path / "flights.toml", source.describe))
        yield made


async def agreed(market: Market, client):
    async def found() -> bool:
        return len(await client.search("flights")) == 1

    await until(found)
    return await client.negotiate(PRODUCT, offer="open")


async def test_a_bundle_of_two_venues_verifies_from_either_side(market):
    async with aio.connect(market.consumer.folder) as client:
        flights = await agreed(market, client)
        await flights.sql("select origin, count(*) n from flights group by 1").to_arrow()
        await flights.sql("select origin, n from flights").to_arrow()
        with pytest.raises(tn.PolicyDenied):
            await flights.sql("select origin from flights", purpose="marketing").to_arrow()
        agreement = flights.id

    for profile in (market.consumer, market.provider):
        data = await market.bundle(profile, agreement, f"{profile.folder.name}.bundle")
        result = verify_bundle(data, market.all)
        assert result.verdict == "VERIFIED", "\n".join(report.lines(result))
        assert (result.counts.receipts, result.counts.rows, result.counts.acknowledged) == (2, 3003, 2)
        assert result.counts.refusals == 1
        assert result.counts.cost_fen == 6 + 6000
        assert result.grades == (("SIGNED", 2),)
        assert (result.unwitnessed, result.unsealed) == (False, ())
        assert result.sealed_at
        assert [one.sealed_at >= result.sealed_at for one in result.accesses] == [True, True]
        assert {(one.log, one.witness) for one in result.cosigned} == {
            ("gz.example", "zj.example"), ("gz.example", "nat.example"),
            ("zj.example", "gz.example"), ("zj.example", "nat.example"),
        }  # fmt: skip
    story = bundle.members(bundle.unpack(data))["story.txt"].decode()
    assert "PURPOSE_NOT_AGREED" in story
    assert "3000 rows handed over" in story


async def test_one_card_of_the_parent_is_enough_and_no_card_is_not(market):
    async with aio.connect(market.consumer.folder) as client:
        agreement = (await agreed(market, client)).id
    data = await market.bundle(market.consumer, agreement)
    result = verify_bundle(data, trust=[market.card("nat.example")])
    assert result.verdict == "VERIFIED", "\n".join(report.lines(result))
    assert {one.domain: one.value for one in result.vouched} == dict.fromkeys(market.both, "nat.example")
    assert verify_bundle(data).verdict == "UNANCHORED"


async def test_an_agreement_of_others_has_no_bundle(market):
    async with aio.connect(market.consumer.folder) as client:
        agreement = (await agreed(market, client)).id
    stranger = await joined(market.network, market.folder, "zj.example", "other", "CONSUMER")
    with pytest.raises(tn.NotFound):
        await market.bundle(stranger, agreement)


async def test_the_same_state_of_both_logs_gives_the_same_proofs(market):
    async with aio.connect(market.consumer.folder) as client:
        agreement = (await agreed(market, client)).id
    first = bundle.unpack(await market.bundle(market.consumer, agreement, "1.bundle"))
    second = bundle.unpack(await market.bundle(market.consumer, agreement, "2.bundle"))
    assert {d: part.chain for d, part in first.parts.items()} == {d: part.chain for d, part in second.parts.items()}
    assert first.documents == second.documents


async def test_streams_that_end_early_and_suspensions_are_told_and_verify(market):
    async with aio.connect(market.consumer.folder) as client:
        flights = await agreed(market, client)
        async with flights.reader("select origin, n from flights") as reader:
            async for _ in reader:
                break
    async with aio.connect(market.provider.folder) as client:
        await client.act("agreement", flights.id, "suspend", cause="OWNER", reason="maintenance")
        await client.act("agreement", flights.id, "lift_cause", cause="OWNER", reason="done")
    data = await market.bundle(market.provider, flights.id, "cut.bundle")
    result = verify_bundle(data, market.all)
    assert result.verdict == "VERIFIED", "\n".join(report.lines(result))
    assert (result.counts.accesses, result.counts.receipts) == (1, 1)
    assert "suspended by" in bundle.members(bundle.unpack(data))["story.txt"].decode()


NEEDED = ("click", "cryptography", "msgspec", "rich", "cffi", "_cffi_backend", "markdown_it", "mdurl", "pygments")
"""What the verifier may find beside the wheel: four packages, and what those import."""
ALONE = """
import sys
from importlib.abc import MetaPathFinder
BLOCKED = {"grpc", "google", "pyarrow", "duckdb", "structlog", "sqlite_utils", "sqlglot", "prometheus_client"}
class Wall(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is not installed here")
sys.meta_path.insert(0, Wall())
sys.path[:0] = sys.argv.pop(1).split(":")
from trustnode.cli import main
main()
"""


async def test_the_wheel_alone_verifies_a_live_deal(market, tmp_path):
    """Built, unpacked, with nothing beside it but what the verifier needs: no gRPC, no Arrow, no database."""
    async with aio.connect(market.consumer.folder) as client:
        agreement = (await agreed(market, client)).id
    file = tmp_path / "live.bundle"
    file.write_bytes(await market.bundle(market.consumer, agreement, "live.bundle"))
    await asyncio.to_thread(unpack_wheel, tmp_path)
    anchors = [f"--anchor={domain}={mark}" for domain, mark in market.all.items()]
    report = tmp_path / "report.html"
    words = (["verify", str(file), *anchors], ["verify", str(file), "--report", "html", "-o", str(report), *anchors])
    for line in words:
        shown = await asyncio.to_thread(alone, tmp_path, line)
        assert shown.returncode == 0, shown.stdout + shown.stderr
        assert "verified: " in shown.stdout
    assert "<html" in report.read_text()


def unpack_wheel(folder: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")]
    subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "target")
    beside = folder / "beside"
    beside.mkdir()
    for name in NEEDED:
        spec = importlib.util.find_spec(name)
        assert spec is not None, name
        assert spec.origin is not None, name
        where = Path(spec.origin)
        place = where.parent if where.name == "__init__.py" else where
        (beside / place.name).symlink_to(place)


def alone(folder: Path, words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run the program from the unpacked wheel: isolated, without site packages."""
    paths = f"{folder / 'target'}:{folder / 'beside'}"
    command = [sys.executable, "-I", "-S", "-c", ALONE, paths, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


async def test_a_node_that_does_not_answer_leaves_its_part_out_and_the_file_says_so(market):
    async with aio.connect(market.consumer.folder) as client:
        agreement = (await agreed(market, client)).id
    anchors = market.both
    await market.network.stop("gz.example")
    data = await market.bundle(market.consumer, agreement)
    assert bundle.manifest(bundle.unpack(data)).missing == ("gz.example",)
    assert verify_bundle(data, anchors).verdict == "INCOMPLETE"
