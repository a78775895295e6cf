"""Four venues over real mutual TLS, with participants and products, and what a liar needs to speak in anybody's name."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from trustnode import aio
from trustnode.cli import source
from trustnode.core.access import AccessRequest, AccessState, Query, Receipt
from trustnode.core.contract import AgreementState, NegotiationState
from trustnode.core.document import Document, Signer, decode, seal
from trustnode.core.evidence.entry import Entry, parse_statement
from trustnode.core.identity import fingerprint
from trustnode.core.stream import query_commitment
from trustnode.keys import Credential
from trustnode.node import Node
from trustnode.sdk import product_file
from trustnode.sdk.profile import Profile
from trustnode.store.unit import View
from trustnode.testing.network import Network, until
from trustnode.wire.channel import Target, VenueChannel
from trustnode.wire.convert import Ticket, new_ticket
from trustnode.wire.peer import Peer

HOME, DATA, FAR, NATION = "zj.example", "gz.example", "fin.example", "nat.example"
"""The consumers' venue, the venue that holds the data, one that knows only HOME, and a national one above them."""
BIG_ROWS = 250_000
PRODUCT = """\
[product]
name = "{name}"
title = "Harbour records {name}"
title_zh = "港口记录{name}"
abstract = "Records of a harbour, for tests."
provider = "bureau"
licence = "CC0"
category = "ENTERPRISE"
level = "GENERAL_1"
level_basis = "public facts"
classes = {{ topic = "finance", scene = "fintech", industry = "0066" }}
facts = {{ form = "DATASET", updates = "HISTORICAL", source = "ORIGINAL" }}
personal = {{ kind = "NONE", processing = "RAW" }}
source_statement = "counted by ourselves at the harbour"
rights = [{{ right = ["HOLD", "OPERATE"], holder = "bureau", basis = "counted by ourselves at the harbour" }}]
cross_border = false
zone = "Asia/Shanghai"

[resource]
kind = "parquet"
location = "{file}.parquet"
table = "t"
"""
OFFER = """
[[offer]]
name = "{name}"
price = "free"
approval = "{approval}"
[offer.terms]
purposes = ["statistics"]
who = "anyone"
period = "12 months"
columns = {columns}
keep = "unlimited"
onward = "allowed"
derived = "free"
{more}
"""
SMALL = ("id", "grp")
OFFERS = {
    "open": ("automatic", ""),
    "asked": ("provider", ""),
    "few": ("automatic", 'limits = ["5 reads in all"]'),
    "daily": ("automatic", 'limits = ["2 reads per day"]'),
    "minute": ("automatic", 'limits = ["2 reads per minute"]'),
    "one": ("automatic", 'limits = ["1 read at once"]'),
    "much": ("automatic", 'limits = ["1000000 rows in all"]'),
    "rows": ("automatic", 'limits = ["1500 rows in all"]\nduties = ["report use monthly"]'),
}


def product_text(name: str, offers: Iterable[str], *, file: str = "small", columns: tuple[str, ...] = SMALL) -> str:
    """A product file with some of the offers above."""
    listed = '["' + '", "'.join(columns) + '"]'
    made = [
        OFFER.format(name=offer, approval=OFFERS[offer][0], more=OFFERS[offer][1], columns=listed) for offer in offers
    ]
    return PRODUCT.format(name=name, file=file) + "".join(made)


def write_tables(folder: Path) -> None:
    """A small table, and one large enough that a reader who stops reading stalls its stream."""
    small, big = folder / "small.parquet", folder / "big.parquet"
    with duckdb.connect() as db:
        db.execute(f"copy (select i::bigint id, 'g' || (i % 7) grp from range(1000) t(i)) to '{small}'")
        fill = " || ".join(f"md5((i * {n})::varchar)" for n in (3, 5, 7, 11))
        db.execute(f"copy (select i::bigint id, {fill} filler from range({BIG_ROWS}) t(i)) to '{big}'")


@dataclass
class World:
    """Running nodes and those who use them."""

    network: Network
    folder: Path
    clients: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, domain: str) -> Node:
        return self.network[domain]

    def card(self, domain: str) -> Document:
        """The card of a venue."""
        return self.network[domain].venue.keyring.cards[domain].document

    async def join(self, domain: str, name: str, *roles: str) -> Any:
        """Invite somebody, who makes keys and enrols with the one-time certificate."""
        async with aio.operator(self.folder / domain) as operator:
            answer = await operator.call("AdminService/InviteParticipant", name=name, roles=roles, title=name)
        file = self.folder / f"{domain}-{name}.invite"
        file.write_bytes(answer["invitation"])
        profile = await aio.join(file, fingerprint(self.card(domain)), folder=self.folder / f"{domain}-{name}")
        client = aio.connect(profile.folder)
        self.clients.setdefault(name, client)
        return client

    async def publish(self, client: Any, text: str, name: str) -> Any:
        """Register and list a product."""
        path = self.folder / f"{name}.toml"
        path.write_text(text, encoding="utf-8")
        return await client.publish(product_file.load(path, source.describe))

    async def agree(self, client: Any, product: str, offer: str = "") -> Any:
        """An agreement in force at both nodes."""
        await self.found(client, product)
        agreement = await client.negotiate(product, offer=offer)
        await self.in_state(HOME, AgreementState, agreement.id, "PERFORMING")
        return agreement

    async def found(self, client: Any, product: str) -> None:
        """Wait until a venue knows a product."""

        async def known() -> bool:
            return (await client.product(product)) is not None

        await until(known)

    async def state(self, domain: str, kind: type, id: str) -> Any:
        """The row of an object at one node."""
        return await self[domain].venue.store.read(lambda view: view.get(kind, id))

    async def in_state(self, domain: str, kind: type, id: str, *states: str) -> Any:
        """Wait until an object is in one of some states; its row."""

        async def there() -> bool:
            row = await self.state(domain, kind, id)
            return row is not None and row.state in states

        try:
            await until(there)
        except TimeoutError:
            raise AssertionError(f"{id} at {domain} is {await self.state(domain, kind, id)}, not {states}") from None
        return await self.state(domain, kind, id)

    async def entries(self, domain: str, kind: str, object: str) -> list[Entry]:
        """Entries of one chain of a node's log, decoded."""
        found = await self[domain].venue.store.read(lambda view: view.evidence.chain(kind, object))
        return [parse_statement(entry.statement) for entry in found]

    async def log_since(self, domain: str, size: int) -> list[Entry]:
        """Entries of the whole log after an index."""
        found = await self[domain].venue.store.read(lambda view: view.evidence.entries(size))
        return [parse_statement(entry.statement) for entry in found]

    def size(self, domain: str) -> int:
        """Entries of a node's log."""
        size: int = self[domain].venue.store.head().size
        return size

    def caller(self, domain: str, credential: Credential, *, trusting: str = "") -> Peer:
        """Somebody who calls a venue's node with any certificate."""
        roots = self[domain].trust.state.bundles[trusting or domain].pem
        target = Target(domain, (f"127.0.0.1:{self[domain].port}",), roots)
        return Peer(VenueChannel(target, credential))

    def node_caller(self, of: str, to: str) -> Peer:
        """A node that calls another one and says whatever a test wants."""
        return self.caller(to, self[of].credential)


@asynccontextmanager
async def two_venues(folder: Path, *offers: str) -> AsyncIterator[World]:
    """A network of its own for tests that change what others rest on: one venue with data, one that buys."""
    write_tables(folder)
    async with Network(folder) as network:
        made = World(network, folder)
        await network.start(DATA, area="5200", subject="915200000000000001")
        await network.start(HOME)
        await network.peer(DATA, HOME)
        bureau = await made.join(DATA, "bureau", "PROVIDER")
        await made.join(HOME, "acme", "CONSUMER")
        await made.publish(bureau, product_text("small", offers), "small")
        yield made
        for client in made.clients.values():
            await client.aclose()


def ticket(
    client: Any, under: Any, sql: str = "select id from t", *, signer: Signer | None = None,
    asked: str | None = None, key: Document | None = None, **changes: Any,
) -> Ticket:  # fmt: skip
    """A signed request with its query; ``asked`` replaces the query after signing, ``changes`` before."""
    profile: Profile = client.profile
    salt = secrets.token_bytes(16)
    query = Query(sql).to_bytes()
    fields: dict[str, Any] = {
        "agreement": under.id, "agreement_sha256": under.document.digest, "consumer": profile.participant,
        "home": profile.venue, "provider": under.value.provider_node, "purpose": "statistics", "operation": "read",
        "query_commitment": query_commitment(salt, query), "request_proof": "SIGNED",
        **profile.fields(profile.venue, under.value.provider_node, life_s=300),
    }  # fmt: skip
    document = seal(AccessRequest(**(fields | changes)), signer or profile.signer)
    carried = Query(asked).to_bytes() if asked else query
    return new_ticket(document, carried, salt, key or profile.key_document)


def receipt_in(view: View, access: str) -> Receipt | None:
    """The receipt of an access as one node holds it."""
    state = view.get(AccessState, access)
    document = view.document(state.receipt) if state and state.receipt else None
    return decode(document, Receipt) if document else None


__all__ = [
    "BIG_ROWS", "DATA", "FAR", "HOME", "NATION", "AccessState", "AgreementState", "NegotiationState", "World",
    "product_text", "receipt_in", "ticket", "two_venues", "until",
    "write_tables",
]  # fmt: skip
