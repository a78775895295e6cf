"""Who gets through the port: every row of what TLS alone accepts, against a real server."""

import asyncio
import json

import grpc
import pytest

from trustnode.core.identity import Bundle, DenyList
from trustnode.errors import REASONS
from trustnode.keys import Credential
from trustnode.rpc.authentication import Authenticator
from trustnode.rpc.server import ServerCertificates
from trustnode.testing.certificates import WRONG_PROFILES, Leaf, wrong_names
from trustnode.v1 import document_pb2
from trustnode.wire.convert import error_from_rpc

Message = document_pb2.Document
OWN = "venue-b.example"
# What ends in the handshake already; the rest is accepted by TLS and refused on the call.
TLS_REFUSES = {
    "only server authentication",
    "no digital signature",
    "Ed25519 key",
    "P-521 key",
    "P-224 key",
    "secp256k1 key",
    "expired",
    "not yet valid",
}


@pytest.fixture(autouse=True)
async def _server(world):
    await world.start()


async def reason_of(refusal, awaitable) -> str:
    failed = await refusal(awaitable)
    assert failed.code() is grpc.StatusCode.UNAUTHENTICATED
    found = error_from_rpc(failed)
    assert failed.details() == REASONS[found.reason].meaning
    return found.reason


async def test_a_peer_is_who_its_certificate_says(world, call):
    async with world.channel(world.a.node("7")) as channel:
        who = await call(channel, "Who")
    assert who == {
        "kind": "PEER",
        "spiffe_id": "spiffe://venue-a.example/node/7",
        "trust_domain": "venue-a.example",
        "participant": "",
        "name": "7",
        "audience": "PEER",
    }


async def test_a_client_acts_for_its_participant(world, call):
    leaf = world.b.leaf(Leaf(uris=("spiffe://venue-b.example/participant/acme/laptop",)))
    async with world.channel(leaf) as channel:
        who = await call(channel, "Client")
    assert (who["kind"], who["participant"]) == ("CLIENT", "spiffe://venue-b.example/participant/acme")


async def test_i1a_a_name_of_another_domain_is_forged_although_tls_accepts_it(world, call, refusal):
    forged = world.a.leaf(Leaf(uris=("spiffe://venue-b.example/participant/acme",)))
    async with world.channel(forged) as channel:
        assert await reason_of(refusal, call(channel, "Who")) == "IDENTITY_WRONG_DOMAIN"


async def test_i1b_a_forged_server_is_refused_by_a_client_that_trusts_one_venue(world, call, refusal):
    forged = world.a.leaf(Leaf(uris=("spiffe://venue-b.example/node/1",), dns=("node.venue-b.example",)))
    world.server.replace_credential(forged)
    async with world.channel(world.b.client()) as channel:
        assert (await refusal(call(channel, "Who"))).code() is grpc.StatusCode.UNAVAILABLE
    # The control: with merged roots the same server is believed.
    merged = world.b.bundle().pem + world.a.bundle().pem
    async with world.channel(world.b.client(), roots=merged) as channel:
        assert (await call(channel, "Who"))["kind"] == "CLIENT"


NAMES = wrong_names(OWN)
COUNTED = ("two SPIFFE names", "a SPIFFE and an https name", "an https name alone", "no name at all")
"""Not exactly one URI that is a SPIFFE name (I2b)."""
UNBOUNDED = ("no path", "root path", "empty segment", "id of 2049 bytes", "id of 3000 bytes", "domain of 256 bytes")
"""No workload, or too long (I2d)."""
MISSPELT = tuple(sorted(set(NAMES) - set(COUNTED) - set(UNBOUNDED)))
"""What gRPC reports as a name all the same (I2c)."""
AUTHORITIES = ("certificate authority", "may sign certificates", "may sign revocation lists")
KEYS = tuple(defect for defect in WRONG_PROFILES if defect.endswith(" key"))
TIMES = ("expired", "not yet valid")
EXTENSIONS = tuple(sorted(set(WRONG_PROFILES) - set(AUTHORITIES) - set(KEYS) - set(TIMES)))


async def refuses_name(world, call, refusal, defect) -> None:
    async with world.channel(world.b.leaf(Leaf(uris=NAMES[defect]))) as channel:
        assert await reason_of(refusal, call(channel, "Who")) in {"CERTIFICATE_NAME", "IDENTITY_UNKNOWN"}


@pytest.mark.parametrize("defect", COUNTED)
async def test_i2b_a_certificate_without_exactly_one_spiffe_name_is_refused(world, call, refusal, defect):
    await refuses_name(world, call, refusal, defect)


@pytest.mark.parametrize("defect", MISSPELT)
async def test_i2c_a_misspelt_name_is_refused_although_grpc_reports_it(world, call, refusal, defect):
    await refuses_name(world, call, refusal, defect)


@pytest.mark.parametrize("defect", UNBOUNDED)
async def test_i2d_a_name_without_path_or_beyond_its_length_is_refused(world, call, refusal, defect):
    await refuses_name(world, call, refusal, defect)


async def refuses_profile(world, call, refusal, credential) -> bool:
    """Whether the handshake refused; else the call did."""
    async with world.channel(credential) as channel:
        failed = await refusal(call(channel, "Who"))
    in_handshake = failed.code() is grpc.StatusCode.UNAVAILABLE
    assert in_handshake or error_from_rpc(failed).reason in {"CERTIFICATE_NAME", "IDENTITY_EXPIRED"}
    return in_handshake


@pytest.mark.parametrize("defect", AUTHORITIES)
async def test_i2a_an_authority_is_no_caller(world, call, refusal, defect):
    assert not await refuses_profile(world, call, refusal, world.b.client(**WRONG_PROFILES[defect]))


@pytest.mark.parametrize("defect", EXTENSIONS)
async def test_i2e_a_certificate_for_another_use_is_refused(world, call, refusal, defect):
    refused = await refuses_profile(world, call, refusal, world.b.client(**WRONG_PROFILES[defect]))
    assert refused == (defect in TLS_REFUSES)


@pytest.mark.parametrize("defect", KEYS)
async def test_i2f_a_key_of_another_kind_is_refused(world, call, refusal, defect):
    refused = await refuses_profile(world, call, refusal, world.b.client(**WRONG_PROFILES[defect]))
    assert refused == (defect in TLS_REFUSES)


@pytest.mark.parametrize("defect", TIMES)
async def test_a_certificate_outside_its_time_is_refused_in_the_handshake(world, call, refusal, defect):
    assert await refuses_profile(world, call, refusal, world.b.client(**WRONG_PROFILES[defect]))


async def test_i9_no_certificate_no_call(world, call, refusal):
    async with world.channel(None) as channel:
        assert (await refusal(call(channel, "Who"))).code() is grpc.StatusCode.UNAVAILABLE


async def test_i9_plaintext_is_refused(world, call, refusal):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{world.port}") as channel:
        assert (await refusal(call(channel, "Who"))).code() is grpc.StatusCode.UNAVAILABLE


async def test_a_missing_intermediate_is_refused_in_the_handshake(world, call, refusal):
    key, chain = world.a.node()
    leaf = chain.split(b"-----END CERTIFICATE-----\n")[0] + b"-----END CERTIFICATE-----\n"
    async with world.channel(Credential(key, leaf)) as channel:
        assert (await refusal(call(channel, "Who"))).code() is grpc.StatusCode.UNAVAILABLE


async def test_a_stranger_is_refused_in_the_handshake(world, call, refusal):
    async with world.channel(world.stranger.node()) as channel:
        assert (await refusal(call(channel, "Who"))).code() is grpc.StatusCode.UNAVAILABLE


async def test_i9_tls_older_than_1_3_is_refused_on_the_call(world, refusal):
    context = {"transport_security_type": [b"ssl"], "ssl_tls_version": [b"TLSv1.2"]}
    authenticator = Authenticator(world.trust, world.clock.now, world.clock.monotonic)
    with pytest.raises(Exception, match=r"older than TLS 1\.3"):
        authenticator.identify(context)
    with pytest.raises(Exception, match="not TLS"):
        authenticator.identify({})


async def test_i7_identity_is_the_uri_whatever_else_the_certificate_says(world, call):
    names = ("node.venue-a.example", "evil.example")
    async with world.channel(world.b.client(dns=names, dns_first=True, common_name="admin")) as channel:
        assert (await call(channel, "Who"))["spiffe_id"] == "spiffe://venue-b.example/participant/acme"


@pytest.mark.parametrize(
    "name", ["x-forwarded-client-cert", "x-spiffe-id", "x-forwarded-for", "forwarded", "authorization"]
)
async def test_i14_identity_is_the_certificate_whatever_the_caller_says(world, call, name):
    claims = ((name, "URI=spiffe://venue-a.example/node/1"),)
    async with world.channel(world.b.client()) as channel:
        assert (await call(channel, "Who", metadata=claims))["spiffe_id"] == "spiffe://venue-b.example/participant/acme"


# --- what changes while a connection is open --------------------------------------------------------------------------


async def test_i4a_a_certificate_that_ends_on_an_open_connection_ends_the_identity(world, call, refusal):
    async with world.channel(world.a.node()) as channel:
        assert (await call(channel, "Who"))["kind"] == "PEER"
        world.clock.advance(3601)
        assert await reason_of(refusal, call(channel, "Who")) == "IDENTITY_EXPIRED"


@pytest.mark.parametrize("gone", ["removed", "emptied"])
async def test_i5a_i10_a_domain_that_is_no_longer_trusted_is_refused_on_its_open_connection(world, call, refusal, gone):
    async with world.channel(world.a.node()) as channel:
        assert (await call(channel, "Who"))["kind"] == "PEER"
        bundles = {name: bundle for name, bundle in world.state.bundles.items() if name != "venue-a.example"}
        world.change(
            bundles=bundles if gone == "removed" else bundles | {"venue-a.example": Bundle("venue-a.example", 2, ())}
        )
        assert await reason_of(refusal, call(channel, "Who")) == "IDENTITY_UNKNOWN"
        world.change(bundles=world.state.bundles)
        assert (await call(channel, "Who"))["kind"] == "PEER"


async def test_new_roots_and_a_new_certificate_hold_from_the_next_handshake_on(world, call, refusal):
    async with world.channel(world.stranger.node()) as channel:
        assert (await refusal(call(channel, "Who"))).code() is grpc.StatusCode.UNAVAILABLE
    world.change(bundles=world.state.bundles | {"venue-x.example": world.stranger.bundle()})
    async with world.channel(world.stranger.node()) as channel:
        assert (await call(channel, "Who"))["trust_domain"] == "venue-x.example"
    world.server.replace_credential(world.b.node("2"))
    async with world.channel(world.a.node()) as channel:
        assert (await call(channel, "Who"))["kind"] == "PEER"


async def test_i6a_certificates_change_under_load_without_a_failed_call(world, call):
    async def caller() -> int:
        done = 0
        for _ in range(10):
            async with world.channel(world.a.node()) as channel:
                await call(channel, "Who")
            done += 1
        return done

    async def rotate() -> None:
        for number in range(20):
            world.server.replace_credential(world.b.node(str(number)))
            await asyncio.sleep(0.01)

    done, *_ = await asyncio.gather(asyncio.gather(*(caller() for _ in range(4))), rotate())
    assert done == [10] * 4


@pytest.mark.parametrize("what", ["spiffe_ids", "serials", "spki"])
async def test_i8_i10_the_deny_list_holds_on_open_connections(world, call, refusal, what):
    leaf = world.a.node()
    async with world.channel(leaf) as channel:
        await call(channel, "Who")
        caller = Authenticator(world.trust, world.clock.now, world.clock.monotonic)._verified(*split(leaf)).caller
        denied = {
            "spiffe_ids": caller.spiffe_id,
            "serials": (caller.trust_domain, caller.serial),
            "spki": caller.spki_sha256,
        }
        world.change(denied=DenyList(**{what: frozenset({denied[what]})}))
        assert await reason_of(refusal, call(channel, "Who")) == "IDENTITY_REVOKED"


def split(credential: Credential) -> tuple[bytes, bytes]:
    end = b"-----END CERTIFICATE-----\n"
    leaf, *rest = [part + end for part in credential.chain_pem.split(end) if part]
    return leaf, b"".join(rest)


@pytest.mark.parametrize("how", ["revoked", "distrusted"])
async def test_a_running_stream_ends_with_the_reason_when_its_caller_is_refused(world, how):
    async with world.channel(world.a.node()) as channel:
        stream = channel.unary_stream("/test.T/Wait", Message.SerializeToString, Message.FromString)(
            Message(payload=b"p")
        )
        assert (await stream.read()).payload == b"begun"
        await world.started.wait()
        if how == "revoked":
            world.change(denied=DenyList(spiffe_ids=frozenset({"spiffe://venue-a.example/node/1"})))
        else:
            world.change(bundles={"venue-b.example": world.b.bundle()})
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert (
            error_from_rpc(caught.value).reason
            == {"revoked": "IDENTITY_REVOKED", "distrusted": "IDENTITY_UNKNOWN"}[how]
        )
        await asyncio.wait_for(world.ended.wait(), 5)


async def test_i4c_a_running_stream_ends_when_its_certificate_does(world):
    async with world.channel(world.a.node()) as channel:
        stream = channel.unary_stream("/test.T/Wait", Message.SerializeToString, Message.FromString)(
            Message(payload=b"p")
        )
        await stream.read()
        await world.started.wait()
        world.clock.advance(3601)
        world.server._network.recheck_running()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert error_from_rpc(caught.value).reason == "IDENTITY_EXPIRED"


# --- caches -----------------------------------------------------------------------------------------------------------


def context_of(credential: Credential) -> dict[str, list[bytes]]:
    leaf, chain = split(credential)
    values = {
        "x509_pem_cert": leaf,
        "x509_pem_cert_chain": chain,
        "transport_security_type": b"ssl",
        "ssl_tls_version": b"TLSv1.3",
    }
    return {name: [value] for name, value in values.items()}


async def test_i11_the_caches_of_identities_are_bounded(world, monkeypatch):
    monkeypatch.setattr("trustnode.rpc.authentication.CACHED_IDENTITIES", 3)
    monkeypatch.setattr("trustnode.rpc.authentication.CACHED_REFUSALS", 2)
    authenticator = Authenticator(world.trust, world.clock.now, world.clock.monotonic)
    for number in range(6):
        authenticator.identify(context_of(world.a.node(str(number))))
        with pytest.raises(Exception, match="IDENTITY"):
            authenticator.identify(context_of(world.stranger.node(str(number))))
    assert (len(authenticator._chains), len(authenticator._refusals)) == (3, 2)


async def test_d6_a_refusal_is_remembered_for_five_seconds_and_an_identity_until_it_ends(world, monkeypatch):
    verified = []
    from trustnode.rpc import authentication

    def counted(*arguments):
        verified.append(1)
        return authentic(*arguments)

    authentic = authentication.reverify
    monkeypatch.setattr(authentication, "reverify", counted)
    authenticator = Authenticator(world.trust, world.clock.now, world.clock.monotonic)
    good, bad = context_of(world.a.node()), context_of(world.stranger.node())
    for _ in range(3):
        authenticator.identify(good)
        with pytest.raises(Exception, match="IDENTITY_UNKNOWN"):
            authenticator.identify(bad)
    assert len(verified) == 2
    world.clock.advance(6)
    authenticator.identify(good)
    with pytest.raises(Exception, match="IDENTITY_UNKNOWN"):
        authenticator.identify(bad)
    assert len(verified) == 3


# --- kinds of callers -------------------------------------------------------------------------------------------------


def callers(world) -> dict[str, Credential]:
    return {
        "CLIENT": world.b.client(),
        "PEER": world.a.node(),
        "UNCONFIRMED_PEER": world.u.node(),
        "SELF": world.b.node("2"),
        "INVITEE": world.b.leaf(Leaf(uris=("spiffe://venue-b.example/invite/i1",))),
        "APPLICANT": world.b.leaf(Leaf(uris=("spiffe://venue-b.example/apply/a1",))),
    }


KINDS = ["CLIENT", "PEER", "UNCONFIRMED_PEER", "SELF", "INVITEE", "APPLICANT"]


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_of_caller_may_call_what_the_table_opens_to_it_and_nothing_else(world, call, refusal, kind):
    async with world.channel(callers(world)[kind]) as channel:
        for method in world.methods():
            name = method.name.removeprefix("/test.T/")
            if name not in {"Who", "Client", "Peer", "Apply", "Enrol"}:
                continue
            if kind in method.audiences:
                assert (await call(channel, name))["audience"] == kind
                continue
            found = error_from_rpc(await refusal(call(channel, name)))
            assert found.reason == ("PEER_SUSPENDED" if kind == "UNCONFIRMED_PEER" else "ROLE_NOT_ALLOWED")


@pytest.mark.parametrize("path", ["participant/acme", "invite/i1", "apply/a1"])
async def test_only_the_home_node_knows_participants_invitations_and_applicants(world, call, refusal, path):
    async with world.channel(world.a.leaf(Leaf(uris=(f"spiffe://venue-a.example/{path}",)))) as channel:
        assert await reason_of(refusal, call(channel, "Who")) == "IDENTITY_WRONG_DOMAIN"


async def test_a_method_for_the_operator_alone_is_unknown_at_the_port(world, call, refusal):
    async with world.channel(world.b.client()) as channel:
        hidden, unknown = [await refusal(call(channel, name)) for name in ("Admin", "Nothing")]
    assert hidden.code() is unknown.code() is grpc.StatusCode.UNIMPLEMENTED
    assert hidden.details() == unknown.details()
    assert error_from_rpc(unknown).reason == "VERSION_UNSUPPORTED"


async def test_an_unknown_method_is_refused_only_after_the_caller_is_known(world, call, refusal):
    forged = world.a.leaf(Leaf(uris=("spiffe://venue-b.example/node/1",)))
    async with world.channel(forged) as channel:
        assert await reason_of(refusal, call(channel, "Nothing")) == "IDENTITY_WRONG_DOMAIN"


async def test_i12_two_channels_with_different_identities_share_no_connection(world, call):
    async with world.channel(world.a.node()) as one, world.channel(world.b.client()) as two:
        whos = await asyncio.gather(*(call(channel, "Who") for channel in (one, two, one, two)))
    assert [who["kind"] for who in whos] == ["PEER", "CLIENT", "PEER", "CLIENT"]
    assert json.dumps(whos[0]) == json.dumps(whos[2])


async def test_i6c_a_certificate_that_cannot_be_used_leaves_the_old_one_in_place(world, call):
    async with world.channel(world.a.node()) as channel:
        await call(channel, "Who")
    world.server.replace_credential(Credential(b"no key", b"no chain"))
    for _ in range(3):
        async with world.channel(world.a.node()) as channel:
            assert (await call(channel, "Who"))["kind"] == "PEER"
    world.server.replace_credential(world.b.node("2"))
    async with world.channel(world.a.node()) as channel:
        assert (await call(channel, "Who"))["kind"] == "PEER"


def test_i6c_what_a_handshake_asks_for_neither_waits_nor_raises(world):
    certificates = ServerCertificates(world.b.node(), world.trust.roots_pem)
    assert certificates._fetch() is None
    certificates.replace(world.b.node("2"), world.trust.roots_pem)
    certificates.replace(world.b.node("3"), world.trust.roots_pem)
    assert certificates._fetch() is not None
    assert [certificates._fetch() for _ in range(100)] == [None] * 100
