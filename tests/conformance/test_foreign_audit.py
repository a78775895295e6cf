"""A live node is audited by code that is not ours: proofs, checkpoints, cosignatures, the whole log over HTTPS."""

import asyncio

import pytest
import pytest_asyncio
from conformance.foreign import Refused
from node.store.world import sql
from node.web.world import DOMAIN, ask, fill, roots, start

from trustnode import aio
from trustnode.cli.peer import vkeys
from trustnode.core.evidence.checkpoint import open_checkpoint
from trustnode.core.evidence.note import parse_vkey
from trustnode.core.evidence.proof import TlogProof, parse_proof, verify_proof
from trustnode.core.identity import log_origin
from trustnode.core.identity.card import node_dns, witness_name
from trustnode.testing.network import Network

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]
WITNESS = "gz.example"
ENTRIES = 70_000
"""Three levels of tiles, each with one that is not full."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def node(tmp_path_factory):
    async with Network(tmp_path_factory.mktemp("foreign")) as network:
        started = await start(network)
        await network.start(WITNESS, area="5200", subject="915200000000000001")
        await network.peer(DOMAIN, WITNESS)
        await fill(started, ENTRIES)
        await started.publisher.publish()
        yield started


def vkey(node):
    (key,) = vkeys(node.venue.keyring.cards[DOMAIN].value, "log")
    return key


async def asked(foreign, check, question):
    return await asyncio.to_thread(foreign.ask, check, question)


def site(node):
    url = f"https://127.0.0.1:{node.site.port}"
    return {"URL": url, "Vkey": vkey(node), "Roots": roots(node), "ServerName": node_dns(DOMAIN)}


@pytest.mark.parametrize("index", [0, 1, 255, 256, 65535, 65536, ENTRIES - 1])
async def test_a_proof_file_of_a_live_node_verifies_elsewhere(foreign, node, index):
    async with aio.operator(node.home) as operator:
        answer = await operator.call("EvidenceService/GetProof", index=index)
    entry = (await node.venue.store.read(lambda view: view.evidence.entry(index))).data
    file = TlogProof(index, tuple(answer["hashes"]), answer["checkpoint"]).to_bytes()
    question = {"Vkey": vkey(node), "Proof": file, "Leaf": entry}
    assert await asked(foreign, "proof", question) == {
        "origin": log_origin(DOMAIN), "size": answer["tree_size"], "signers": 1,
    }  # fmt: skip
    assert verify_proof(parse_proof(file), entry, [parse_vkey(vkey(node))]).head.size == answer["tree_size"]
    moved = file.replace(b"index %d\n" % index, b"index %d\n" % (index + 1))
    for other in ({"Leaf": entry[:-1] + bytes([entry[-1] ^ 1])}, {"Proof": moved}):
        assert question | other != question
        with pytest.raises(Refused):
            await asked(foreign, "proof", question | other)


async def test_two_checkpoints_of_a_live_node_are_consistent_elsewhere(foreign, node):
    before = await node.publisher.publish()
    await fill(node, 300)
    async with aio.operator(node.home) as operator:
        answer = await operator.call("EvidenceService/GetProof", from_size=before.checkpoint.size)
    question = {"Vkey": vkey(node), "Old": before.note, "New": answer["checkpoint"], "Path": answer["hashes"]}
    assert (await asked(foreign, "consistency", question))["size"] == before.checkpoint.size + 300
    with pytest.raises(Refused):
        await asked(foreign, "consistency", question | {"Path": answer["hashes"][:-1]})


async def cosigned_checkpoint(node):
    """The newest checkpoint, once the witness has signed it."""
    while f"\N{EM DASH} {witness_name(WITNESS)} ".encode() not in (await ask(node, "/checkpoint")).body:
        await asyncio.sleep(0.05)
    return (await ask(node, "/checkpoint")).body


async def test_the_cosignature_of_a_live_witness_verifies_elsewhere(foreign, node):
    await fill(node, 10)
    await node.publisher.publish()
    checkpoint = await asyncio.wait_for(cosigned_checkpoint(node), 20)
    (witness,) = vkeys(node.venue.keyring.cards[WITNESS].value, "witness")
    question = {"Vkey": vkey(node), "Cosigners": [witness], "Checkpoint": checkpoint}
    assert (await asked(foreign, "cosigned", question))["signers"] == 2
    signed = open_checkpoint(checkpoint, [parse_vkey(vkey(node))], [parse_vkey(witness)], quorum=1)
    assert signed.checkpoint.origin == log_origin(DOMAIN)
    text, line, cosignature = checkpoint.decode().rpartition("\N{EM DASH} ")
    for other in (
        text,
        text + line + cosignature.replace("gz.example", "xx.example"),
        text + line + flipped(cosignature),
    ):
        with pytest.raises(Refused):
            await asked(foreign, "cosigned", question | {"Checkpoint": other.encode()})


def flipped(cosignature):
    """The same line with another bit in its signature."""
    name, encoded = cosignature.split()
    return f"{name} {encoded[:40]}{'B' if encoded[40] == 'A' else 'A'}{encoded[41:]}\n"


async def test_l19b_strangers_audit_the_whole_log_over_https(foreign, node):
    await node.publisher.publish()
    size = node.publisher.newest.checkpoint.size
    found = await asked(foreign, "audit", site(node))
    bundles = -(-size // 256)
    assert found == {
        "size": size, "root": node.publisher.newest.checkpoint.root.hex(), "bundles": bundles,
        "tiles": bundles + -(-(size // 256) // 256) + 1,
    }  # fmt: skip
    assert (await asked(foreign, "fsck", site(node)))["errors"] == 0


def spoiled(node, number, data):
    """Change one tile below the store, as a fault or an enemy would."""
    path = node.home / node.config.store.path
    ((kept,),) = sql(path, "select data from tile where level = 0 and number = ?", number)
    sql(path, "update tile set data = ? where level = 0 and number = ?", data(kept), number)
    return kept


async def test_l19b_strangers_find_a_tile_that_was_changed(foreign, node):
    kept = spoiled(node, 7, lambda data: bytes([data[0] ^ 1]) + data[1:])
    try:
        with pytest.raises(Refused, match="tile 0/7"):
            await asked(foreign, "audit", site(node))
        with pytest.raises(Refused):
            await asked(foreign, "fsck", site(node))
    finally:
        spoiled(node, 7, lambda _: kept)
