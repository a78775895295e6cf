"""Who somebody is: names, chains and bundles, with hostile certificates named by their defect."""

import base64
import contextlib
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from trustnode.core import clock
from trustnode.core.identity import (
    Bundle,
    DenyList,
    caller_of,
    import_bundle,
    parse_jwks,
    parse_spiffe_id,
    participant_of,
    reverify,
)
from trustnode.core.identity.spiffe import KINDS
from trustnode.errors import TrustnodeError
from trustnode.keys import Issued, authority, make_intermediate, make_root
from trustnode.keys.authority import pem_of
from trustnode.testing.certificates import WRONG_PROFILES, Leaf, Venue, wrong_names

NOW = "2026-11-24T12:00:00.000Z"
A = Venue.create("venue-a.example", NOW)
B = Venue.create("venue-b.example", NOW)
BUNDLES = {"venue-a.example": A.bundle(), "venue-b.example": B.bundle()}


def split(chain_pem: bytes) -> tuple[bytes, bytes]:
    leaf, *rest = x509.load_pem_x509_certificates(chain_pem)
    return pem_of(leaf), pem_of(*rest)


def check(chain_pem: bytes, bundles=None, now=NOW):
    return reverify(*split(chain_pem), BUNDLES if bundles is None else bundles, now)


def refusal(chain_pem: bytes, bundles=None, now=NOW) -> str:
    with pytest.raises(TrustnodeError) as caught:
        check(chain_pem, bundles, now)
    assert caught.value.reason == "CERTIFICATE_NAME" or caught.value.reason.startswith("IDENTITY_")
    return caught.value.reason


# --- chains ---------------------------------------------------------------------------------------------------------


def test_a_right_certificate_is_its_caller_until_its_first_certificate_ends():
    verified = check(A.node("7").chain_pem)
    assert (verified.caller.kind, verified.caller.trust_domain, verified.caller.name) == (
        "PEER",
        "venue-a.example",
        "7",
    )
    assert verified.caller.participant == ""
    assert verified.expires == clock.shift(NOW, 3600)
    assert len(verified.caller.leaf_sha256) == len(verified.caller.spki_sha256) == 64


def test_a_client_below_a_participant_acts_for_the_participant():
    chain = A.leaf(Leaf(uris=("spiffe://venue-a.example/participant/acme/notebook",))).chain_pem
    caller = check(chain).caller
    assert (caller.kind, caller.participant) == ("CLIENT", "spiffe://venue-a.example/participant/acme")
    assert caller.name == "acme"


def test_i1a_an_authority_cannot_issue_a_name_of_another_domain():
    forged = A.leaf(Leaf(uris=("spiffe://venue-b.example/node/1",)))
    assert refusal(forged.chain_pem) == "IDENTITY_WRONG_DOMAIN"


def test_i3a_an_intermediate_of_another_domain_does_not_help():
    forged = A.leaf(Leaf(uris=("spiffe://venue-b.example/node/1",))).chain_pem
    assert refusal(forged + pem_of(B.intermediate.certificate, B.root.certificate)) == "IDENTITY_WRONG_DOMAIN"


@pytest.mark.parametrize("defect", wrong_names("venue-a.example"))
def test_a_wrong_name_is_nobody(defect):
    chain = A.leaf(Leaf(uris=wrong_names("venue-a.example")[defect])).chain_pem
    assert refusal(chain) in {"CERTIFICATE_NAME", "IDENTITY_UNKNOWN"}


@pytest.mark.parametrize("defect", WRONG_PROFILES)
def test_a_wrong_profile_is_nobody(defect):
    chain = A.client(**WRONG_PROFILES[defect]).chain_pem
    expected = "IDENTITY_EXPIRED" if "valid" in defect or defect == "expired" else "CERTIFICATE_NAME"
    assert refusal(chain) == expected


def test_i7_identity_is_the_uri_whatever_else_the_certificate_says():
    chain = A.client(dns=("evil.example", "node.venue-b.example"), dns_first=True, common_name="admin").chain_pem
    assert check(chain).caller.spiffe_id == "spiffe://venue-a.example/participant/acme"


@pytest.mark.parametrize(
    "bundles", [{}, {"venue-a.example": Bundle("venue-a.example", 1, ())}], ids=["unknown", "empty"]
)
def test_i5a_a_domain_without_roots_is_trusted_for_nothing(bundles):
    assert refusal(A.node().chain_pem, bundles) == "IDENTITY_UNKNOWN"


def test_a_missing_intermediate_is_refused():
    leaf, _ = split(A.node().chain_pem)
    assert refusal(leaf) == "IDENTITY_WRONG_DOMAIN"


def test_a_root_that_was_sent_needlessly_does_no_harm():
    assert check(A.node().chain_pem + pem_of(A.root.certificate)).caller.kind == "PEER"


def test_i3b_a_long_chain_is_refused_before_it_is_parsed():
    leaf, chain = split(A.node().chain_pem)
    with pytest.raises(TrustnodeError) as caught:
        reverify(leaf, chain * 5, BUNDLES, NOW)
    assert caught.value.message == "the certificate chain is too long"
    with pytest.raises(TrustnodeError) as caught:
        reverify(leaf, b"x" * 70_000, BUNDLES, NOW)
    assert caught.value.message == "the certificate chain is too long"


def test_i3c_a_chain_deeper_than_three_intermediates_is_refused():
    issuer, sent = A.root, []
    for _ in range(4):
        issuer = deeper(issuer)
        sent.insert(0, issuer.certificate)
    leaf, _ = split(A.leaf(Leaf(uris=("spiffe://venue-a.example/node/1",)), issuer).chain_pem)
    with pytest.raises(TrustnodeError) as caught:
        reverify(leaf, pem_of(*sent), BUNDLES, NOW)
    assert caught.value.reason == "IDENTITY_WRONG_DOMAIN"


def deeper(issuer: Issued) -> Issued:
    key = authority.new_key()
    name = authority._common_name(f"depth {id(key)}")
    builder = authority._builder(
        issuer.certificate.subject, name, issuer.key.public_key(), key.public_key(), NOW, authority.NODE_LIFE
    )
    certificate = authority._as_authority(builder, "venue-a.example", None).sign(issuer.key, authority.hashes.SHA256())
    return Issued(certificate, key)


@pytest.mark.parametrize(
    "garbage", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\x00" * 99]
)
def test_garbage_is_a_refusal_and_no_exception(garbage):
    with pytest.raises(TrustnodeError) as caught:
        reverify(garbage, b"", BUNDLES, NOW)
    assert caught.value.reason == "CERTIFICATE_NAME"


def test_i13_the_clock_may_be_five_minutes_behind_and_no_more():
    chain = A.node().chain_pem
    assert check(chain, now=clock.shift(NOW, -299)).caller.kind == "PEER"
    assert refusal(chain, now=clock.shift(NOW, -301)) == "IDENTITY_EXPIRED"
    assert refusal(chain, now=clock.shift(NOW, -600)) == "IDENTITY_EXPIRED"
    assert refusal(chain, now=clock.shift(NOW, 3600)) == "IDENTITY_EXPIRED"


# --- names ----------------------------------------------------------------------------------------------------------


@given(
    st.from_regex(r"[a-z0-9._-]{1,60}", fullmatch=True),
    st.lists(st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True), min_size=1, max_size=4),
)
def test_what_was_read_is_written_the_same(domain, segments):
    text = f"spiffe://{domain}/{'/'.join(segments)}"
    assert str(parse_spiffe_id(text)) == text


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text):
    with contextlib.suppress(TrustnodeError):
        assert str(parse_spiffe_id(text)) == text


def test_every_kind_of_path_is_one_kind_of_caller():
    kinds = {
        caller_of(parse_spiffe_id(f"spiffe://a.example/{word}/x"), leaf_sha256="", serial="", spki_sha256="").kind
        for word in KINDS
    }
    assert kinds == {"PEER", "CLIENT", "INVITEE", "APPLICANT"}


def test_only_participants_have_a_participant():
    assert participant_of(parse_spiffe_id("spiffe://a.example/node/1")) == ""


# --- deny list ------------------------------------------------------------------------------------------------------


def test_i8_the_deny_list_knows_name_participant_serial_and_key():
    caller = check(A.leaf(Leaf(uris=("spiffe://venue-a.example/participant/acme/notebook",))).chain_pem).caller
    assert not DenyList().denies(caller)
    assert not DenyList(spiffe_ids=frozenset({""})).denies(check(A.node().chain_pem).caller)
    assert DenyList(spiffe_ids=frozenset({caller.spiffe_id})).denies(caller)
    assert DenyList(spiffe_ids=frozenset({caller.participant})).denies(caller)
    assert DenyList(serials=frozenset({("venue-a.example", caller.serial)})).denies(caller)
    assert not DenyList(serials=frozenset({("venue-b.example", caller.serial)})).denies(caller)
    assert DenyList(spki=frozenset({caller.spki_sha256})).denies(caller)


# --- bundles --------------------------------------------------------------------------------------------------------


def bundle_refusal(x5c, others=(), domain="venue-a.example") -> str:
    with pytest.raises(TrustnodeError) as caught:
        import_bundle(domain, 1, x5c, NOW, others)
    return caught.value.reason


def x5c(certificate: x509.Certificate) -> str:
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()


def test_i5a_an_empty_bundle_is_a_bundle_that_trusts_nothing():
    assert import_bundle("venue-a.example", 1, [], NOW).roots == ()


def test_i5c_an_ended_root_is_left_out_and_a_valid_one_kept():
    old = make_root("venue-a.example", clock.shift(NOW, -86400 * 600))
    both = import_bundle("venue-a.example", 2, [x5c(old.certificate), x5c(A.root.certificate)], NOW)
    assert both.roots == (A.root.certificate,)


def test_i5c_a_leaf_is_no_root():
    assert bundle_refusal([x5c(A.node().leaf)]) == "FIELD_FORMAT"


def test_an_intermediate_is_no_root_because_it_does_not_sign_itself():
    assert bundle_refusal([x5c(A.intermediate.certificate)]) == "FIELD_FORMAT"


@pytest.mark.parametrize("text", ["", "not base64!", "AAAA"])
def test_i5c_garbage_is_no_root(text):
    assert bundle_refusal([text]) == "FIELD_FORMAT"


def test_i5h_a_root_that_names_another_domain_is_refused():
    assert bundle_refusal([x5c(B.root.certificate)]) == "FIELD_FORMAT"


def test_i5d_more_than_eight_roots_are_refused():
    assert bundle_refusal([x5c(A.root.certificate)] * 9) == "FIELD_TOO_LONG"


def test_i5g_a_root_that_repeats_the_name_and_key_of_another_domains_root_is_refused():
    # The key identifier is the hash of the key, so only the same key can repeat it; without a URI it fits any domain.
    shared = make_root("venue-a.example", NOW)
    plain = without_uri(shared, "venue-a.example root")
    first = import_bundle("venue-a.example", 1, [x5c(plain)], NOW)
    assert bundle_refusal([x5c(plain)], [first], domain="venue-c.example") == "IDENTITY_WRONG_DOMAIN"
    assert import_bundle("venue-a.example", 2, [x5c(plain)], NOW, [first]).roots


def test_i5g_a_root_whose_key_identifier_was_chosen_is_refused():
    shared = make_root("venue-c.example", NOW)
    victim = x509.SubjectKeyIdentifier.from_public_key(A.root.key.public_key())
    assert (
        bundle_refusal([x5c(without_uri(shared, "venue-a.example root", victim))], domain="venue-c.example")
        == "FIELD_FORMAT"
    )


def without_uri(issued: Issued, name: str, identifier: x509.SubjectKeyIdentifier | None = None) -> x509.Certificate:
    key, subject = issued.key, authority._common_name(name)
    start = clock.moment(NOW)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start - authority.BACKDATED)
        .not_valid_after(start + authority.NODE_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(authority._usage(signs_certificates=True), critical=True)
        .add_extension(identifier or x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, authority.hashes.SHA256())
    )


def jwks(**changes) -> bytes:
    value = {"spiffe_sequence": 3, "keys": [{"use": "x509-svid", "kty": "EC", "x5c": ["AAAA", "BBBB"]}]} | changes
    return json.dumps(value).encode()


def test_i5a_i5c_of_a_jwks_bundle_the_first_certificate_of_each_usable_element_counts():
    keys = [
        {"use": "x509-svid", "kty": "EC", "x5c": ["AAAA", "BBBB"]},
        {"use": "jwt-svid", "kty": "EC", "x5c": ["CCCC"]},
        {"use": "x509-svid", "kty": "OKP", "x5c": ["DDDD"]},
        {"use": "x509-svid", "kty": "EC", "x5c": []},
        {"kty": "EC", "x5c": ["EEEE"]},
        7,
    ]
    assert parse_jwks(jwks(keys=keys)) == (3, ("AAAA",))
    assert parse_jwks(jwks(keys=[])) == (3, ())


@pytest.mark.parametrize("sequence", [None, -1, 2**63, 1.5, "3", True])
def test_i5b_a_jwks_sequence_that_cannot_grow_is_refused(sequence):
    with pytest.raises(TrustnodeError) as caught:
        parse_jwks(jwks(spiffe_sequence=sequence))
    assert caught.value.reason == "FIELD_FORMAT"


def test_i5b_a_jwks_sequence_does_not_go_back():
    assert parse_jwks(jwks(), 3)[0] == 3
    with pytest.raises(TrustnodeError) as caught:
        parse_jwks(jwks(), 4)
    assert caught.value.reason == "CARD_ROLLBACK"


@pytest.mark.parametrize(
    "body, reason",
    [
        (b'{"keys":[],"keys":[],"spiffe_sequence":1}', "MESSAGE_UNPARSABLE"),
        (b"[" * 100_000, "MESSAGE_UNPARSABLE"),
        (b"\xff", "MESSAGE_UNPARSABLE"),
        (b"[]", "FIELD_FORMAT"),
        (b'{"spiffe_sequence":1}', "FIELD_FORMAT"),
        (b" " * (1024 * 1024 + 1), "FIELD_TOO_LONG"),
    ],
    ids=["duplicate keys", "deep nesting", "not UTF-8", "a list", "no keys", "too long"],
)
def test_i5c_i5d_a_hostile_jwks_is_a_refusal(body, reason):
    with pytest.raises(TrustnodeError) as caught:
        parse_jwks(body)
    assert caught.value.reason == reason


def test_an_intermediate_never_outlives_its_root():
    root = make_root("venue-a.example", clock.shift(NOW, -86400 * 500))
    intermediate = make_intermediate("venue-a.example", root, NOW)
    assert intermediate.certificate.not_valid_after_utc <= root.certificate.not_valid_after_utc
