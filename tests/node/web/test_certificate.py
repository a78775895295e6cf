"""What the HTTPS listener shows: the node's own certificate or the operator's, never one that cannot serve."""

import asyncio
import ssl

import pytest
from cryptography.hazmat.primitives import serialization
from node.web.world import connect, drop, start

from trustnode.config import Web
from trustnode.core import clock
from trustnode.errors import TrustnodeError
from trustnode.testing.certificates import Venue
from trustnode.testing.network import Network
from trustnode.web import certificate


@pytest.fixture
async def network(tmp_path):
    async with Network(tmp_path) as made:
        yield made


@pytest.fixture
async def node(network):
    return await start(network)


def files(folder, credential, *, key=None):
    (folder / "web.pem").write_bytes(credential.chain_pem)
    (folder / "web.key").write_bytes(credential.key_pem if key is None else key)
    return {"web.certificate": str(folder / "web.pem"), "web.key": str(folder / "web.key")}


async def presented(node):
    _, writer = await connect(node)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    drop(writer)
    return shown


def der(credential):
    return credential.leaf.public_bytes(serialization.Encoding.DER)


async def test_nothing_listens_unless_it_is_configured(network):
    node = await start(network, **{"web.listen": ""})
    assert node.site is None
    assert Web().listen == ""


async def test_the_nodes_own_certificate_is_shown_and_follows_its_renewal(node):
    before = der(node.credential)
    assert await presented(node) == before
    node.renew_certificate()
    assert await presented(node) == der(node.credential) != before


async def test_nobody_is_asked_for_a_certificate_and_old_versions_of_tls_are_refused(node):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", node.site.port, ssl=context)


async def test_the_operators_certificate_is_shown_and_a_new_file_is_taken_over(network, tmp_path):
    first = await start(network)
    given = first.credential
    await network.stop("zj.example")
    node = await start(network, **files(tmp_path, given))
    assert await presented(node) == der(given) != der(node.credential)
    (tmp_path / "web.pem").write_bytes(node.credential.chain_pem)
    (tmp_path / "web.key").write_bytes(node.credential.key_pem)
    node.renew_certificate()
    newer = await presented(node)
    assert newer != der(given)
    assert web_alarms(node) == []
    (tmp_path / "web.pem").write_text("broken while somebody writes it")
    node.renew_certificate()
    assert await presented(node) == newer
    assert "is not one in PEM" in web_alarms(node)[0]
    (tmp_path / "web.pem").unlink()
    assert "cannot be read" in web_alarms(node)[0]
    (tmp_path / "web.pem").write_bytes(node.credential.chain_pem)
    assert web_alarms(node) == []


def web_alarms(node):
    return [one.message for one in node.status().alarms if one.name == "WEB_CERTIFICATE"]


async def test_a_certificate_that_cannot_serve_refuses_the_start(network):
    with pytest.raises(TrustnodeError, match="belong together") as caught:
        await start(network, **{"web.certificate": "web.pem"})
    assert caught.value.reason == "CONFIG_INVALID"


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(TrustnodeError, match=r"gone\.key cannot be read"):
        certificate.credential(tmp_path, Web(certificate="gone.pem", key="gone.key"), GOOD)


NOW = "2026-07-01T00:00:00.000Z"
GOOD = Venue.create("zj.example", NOW).node()
OTHER = Venue.create("gz.example", NOW).node()


def key_of(credential, encryption):
    key = serialization.load_pem_private_key(credential.key_pem, None)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


UNUSABLE = {
    "no key": (GOOD._replace(key_pem=b""), "cannot be used"),
    "garbage for a key": (GOOD._replace(key_pem=b"no key"), "cannot be used"),
    "the key of another": (GOOD._replace(key_pem=OTHER.key_pem), "cannot be used"),
    "an encrypted key": (
        GOOD._replace(key_pem=key_of(GOOD, serialization.BestAvailableEncryption(b"secret"))), "cannot be used",
    ),
    "garbage for a certificate": (GOOD._replace(chain_pem=b"no certificate"), "not one in PEM"),
}  # fmt: skip


@pytest.mark.parametrize("what", UNUSABLE)
def test_an_unusable_certificate_is_refused_before_it_is_shown(what):
    given, words = UNUSABLE[what]
    with pytest.raises(TrustnodeError, match=words) as caught:
        certificate.show(certificate.new_context(), given, NOW)
    assert caught.value.reason == "CONFIG_INVALID"


@pytest.mark.parametrize("days", [-1, 1])
def test_a_certificate_outside_its_time_is_refused(days):
    certificate.show(certificate.new_context(), GOOD, NOW)
    with pytest.raises(TrustnodeError, match="ends at"):
        certificate.show(certificate.new_context(), GOOD, clock.shift(NOW, days * 86400))
