"""Certificates and handshakes that an attacker makes by hand, against a real server (docs/attacks.md, 2)."""

import asyncio
import datetime as dt
import ssl
import tracemalloc

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc.experimental import session_cache
from node.rpc.conftest import NOW

from trustnode.core import clock
from trustnode.core.identity import chain as core_chain
from trustnode.errors import TrustnodeError, error
from trustnode.keys import Credential, Issued, authority, make_intermediate
from trustnode.keys.authority import pem_of
from trustnode.rpc import authentication
from trustnode.rpc.authentication import CACHED_IDENTITIES, CACHED_REFUSALS, Authenticator
from trustnode.testing import hostile
from trustnode.testing.certificates import Leaf, sign_leaf
from trustnode.v1 import document_pb2
from trustnode.wire.convert import error_from_rpc

Message = document_pb2.Document
WHO = "/test.T/Who"
SHA256_ECDSA = bytes.fromhex("300a06082a8648ce3d040302")
SHA1_ECDSA = bytes.fromhex("300906072a8648ce3d0401")


@pytest.fixture
async def server(world):
    await world.start()
    return world


async def refused(world, call, refusal, credential) -> str:
    """The reason with which a call is refused; HANDSHAKE where it never came so far."""
    async with world.channel(credential) as channel:
        failed = await refusal(call(channel, "Who"))
    return "HANDSHAKE" if failed.code() is grpc.StatusCode.UNAVAILABLE else error_from_rpc(failed).reason


def tlv(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    length = bytes([len(body)]) if len(body) < 128 else bytes([0x82]) + len(body).to_bytes(2, "big")
    return bytes([tag]) + length + body


def with_sha1(certificate: x509.Certificate, issuer: Issued) -> bytes:
    """The certificate signed anew with SHA-1, which no library here does any more."""
    head = certificate.tbs_certificate_bytes.replace(SHA256_ECDSA, SHA1_ECDSA, 1)
    tbs = tlv(0x30, head[4:])
    signature = issuer.key.sign(tbs, ec.ECDSA(hashes.SHA1()))
    der = tlv(0x30, tbs, SHA1_ECDSA, tlv(0x03, b"\x00", signature))
    return ssl.DER_cert_to_PEM_cert(der).encode()


async def test_i2f_a_certificate_signed_with_sha1_is_refused(server, call, refusal):
    key = ec.generate_private_key(ec.SECP256R1())
    wanted = Leaf(uris=("spiffe://venue-b.example/participant/acme",))
    signed = with_sha1(sign_leaf(wanted, key, server.b.intermediate, NOW), server.b.intermediate)
    assert x509.load_pem_x509_certificate(signed).signature_hash_algorithm.name == "sha1"
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    credential = Credential(pem, signed + pem_of(server.b.intermediate.certificate))
    assert await refused(server, call, refusal, credential) in {"HANDSHAKE", "CERTIFICATE_NAME"}
    with pytest.raises(TrustnodeError) as caught:
        core_chain.reverify(signed, pem_of(server.b.intermediate.certificate), server.state.bundles, NOW)
    assert caught.value.reason == "CERTIFICATE_NAME"


# --- chains -----------------------------------------------------------------------------------------------------------


def sent(credential: Credential, *more: x509.Certificate) -> Credential:
    """The same certificate with more behind it."""
    return Credential(credential.key_pem, credential.chain_pem + pem_of(*more))


async def test_i3a_a_foreign_chain_beside_its_own_does_not_help(server, call, refusal):
    forged = server.a.leaf(Leaf(uris=("spiffe://venue-b.example/node/1",)))
    mixed = sent(forged, server.b.intermediate.certificate, server.b.root.certificate)
    assert await refused(server, call, refusal, mixed) == "IDENTITY_WRONG_DOMAIN"
    genuine = sent(server.a.node(), server.b.intermediate.certificate)
    async with server.channel(genuine) as channel:
        assert (await call(channel, "Who"))["trust_domain"] == "venue-a.example"


def crowd(world, count: int) -> list[x509.Certificate]:
    """Certificates of one name that might each be the issuer."""
    made = [make_intermediate(world.a.trust_domain, world.a.root, NOW).certificate for _ in range(min(count, 12))]
    return [made[number % len(made)] for number in range(count)]


@pytest.mark.parametrize("count", [4, 10, 60])
async def test_i3b_a_crowd_of_certificates_is_refused_before_it_is_parsed(server, call, refusal, count, monkeypatch):
    read = []
    monkeypatch.setattr(core_chain.x509, "load_pem_x509_certificates", read.append)
    # Long chains break the call in the transport already; which of the two it is does not matter.
    found = await refused(server, call, refusal, sent(server.a.node(), *crowd(server, count)))
    assert found in {"CERTIFICATE_NAME", "HANDSHAKE"}
    assert not read


def deeper(issuer: Issued, name: str) -> Issued:
    key = authority.new_key()
    builder = authority._builder(
        issuer.certificate.subject, authority._common_name(name), issuer.key.public_key(), key.public_key(), NOW,
        dt.timedelta(hours=1),
    )  # fmt: skip
    made = authority._as_authority(builder, "venue-a.example", None).sign(issuer.key, hashes.SHA256())
    return Issued(made, key)


@pytest.mark.parametrize("depth, passes", [(3, True), (4, False)])
async def test_i3c_a_chain_has_at_most_three_intermediates(server, call, refusal, depth, passes):
    issuer, above = server.a.root, []
    for number in range(depth):
        issuer = deeper(issuer, f"depth {number}")
        above.insert(0, issuer.certificate)
    credential = server.a.leaf(Leaf(uris=("spiffe://venue-a.example/node/1",)), issuer)
    credential = sent(credential, *above)
    if passes:
        async with server.channel(credential) as channel:
            assert (await call(channel, "Who"))["kind"] == "PEER"
    else:
        assert await refused(server, call, refusal, credential) == "IDENTITY_WRONG_DOMAIN"


# --- time -------------------------------------------------------------------------------------------------------------


async def test_i4b_a_session_ticket_does_not_outlive_its_certificate(server, call, refusal, monkeypatch):
    seen = []
    identify = Authenticator.identify

    def watched(self, context):
        seen.append(b"".join(context["ssl_session_reused"]))
        return identify(self, context)

    monkeypatch.setattr(Authenticator, "identify", watched)
    begun = dt.datetime.now(dt.UTC)
    life = (begun - clock.moment(NOW)).total_seconds() + 2
    credential = server.b.client(not_after_s=int(life) + 1)
    ends = clock.moment(NOW).replace(microsecond=0) + dt.timedelta(seconds=int(life) + 1)
    cache = session_cache.ssl_session_cache_lru(4)
    async with server.channel(credential, **{"grpc.ssl_session_cache": cache}) as channel:
        assert (await call(channel, "Who"))["kind"] == "CLIENT"
    while (left := (ends - dt.datetime.now(dt.UTC)).total_seconds()) > -0.1:
        await asyncio.sleep(max(left, 0) + 0.1)
    server.clock.advance(int(life) + 2)
    async with server.channel(credential, **{"grpc.ssl_session_cache": cache}) as channel:
        failed = await refusal(call(channel, "Who"))
    assert seen == [b"false", b"true"], "TLS itself let the ended certificate in by its ticket"
    assert error_from_rpc(failed).reason == "IDENTITY_EXPIRED"
    assert await refused(server, call, refusal, credential) == "HANDSHAKE"


async def test_i4c_a_stream_over_the_end_of_its_certificate_stops_at_the_next_look(world):
    await world.start(recheck_s=1)
    async with world.channel(world.a.node()) as channel:
        stream = channel.unary_stream("/test.T/Wait", Message.SerializeToString, Message.FromString)(
            Message(payload=b"p")
        )
        await stream.read()
        world.clock.advance(3601)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
    assert error_from_rpc(caught.value).reason == "IDENTITY_EXPIRED"


@pytest.mark.parametrize(
    "wrong_s, reason", [(-299, ""), (-600, "IDENTITY_EXPIRED"), (3000, ""), (3601, "IDENTITY_EXPIRED")]
)
async def test_i13_a_wrong_clock_is_borne_for_five_minutes_back_and_until_the_certificate_ends(
    server, call, refusal, wrong_s, reason
):
    server.clock.set(clock.shift(NOW, wrong_s))
    if reason:
        assert await refused(server, call, refusal, server.a.node()) == reason
    else:
        async with server.channel(server.a.node()) as channel:
            assert (await call(channel, "Who"))["kind"] == "PEER"


# --- old TLS, caches --------------------------------------------------------------------------------------------------


async def test_i9_tls_1_1_is_refused_in_the_handshake(server):
    tls = hostile.client_tls(server.target, server.b.client())
    tls.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        tls.minimum_version = tls.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        async with hostile.connect(server.target, None, tls=tls):
            pass


def context_of(leaf: bytes) -> dict[str, list[bytes]]:
    values = {
        "x509_pem_cert": leaf, "x509_pem_cert_chain": bytes(4000), "transport_security_type": b"ssl",
        "ssl_tls_version": b"TLSv1.3",
    }  # fmt: skip
    return {name: [value] for name, value in values.items()}


def test_i11_a_million_certificates_take_no_more_memory_than_the_caches_hold(world, monkeypatch):
    known = core_chain.reverify(*world_chain(world), world.state.bundles, NOW)

    def verdict(leaf, *_others):
        if leaf.startswith(b"bad"):
            raise error("IDENTITY_UNKNOWN", "nobody")
        return known

    monkeypatch.setattr(authentication, "reverify", verdict)
    authenticator = Authenticator(world.trust, world.clock.now, world.clock.monotonic)

    def arrive(numbers) -> None:
        for number in numbers:
            authenticator.identify(context_of(b"good %d" % number))
            with pytest.raises(TrustnodeError):
                authenticator.identify(context_of(b"bad %d" % number))

    arrive(range(CACHED_IDENTITIES))
    assert (len(authenticator._chains), len(authenticator._refusals)) == (CACHED_IDENTITIES, CACHED_REFUSALS)
    tracemalloc.start()
    arrive(range(CACHED_IDENTITIES, CACHED_IDENTITIES + 3000))
    grown, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # What is new replaces what is old: nothing that was seen before tracing began is counted, so this is an upper bound.
    assert grown < 3000 * 1200
    assert (len(authenticator._chains), len(authenticator._refusals)) == (CACHED_IDENTITIES, CACHED_REFUSALS)


def world_chain(world) -> tuple[bytes, bytes]:
    leaf, *rest = x509.load_pem_x509_certificates(world.a.node().chain_pem)
    return pem_of(leaf), pem_of(*rest)
