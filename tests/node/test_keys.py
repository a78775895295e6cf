"""Key files and the authority of a home folder."""

import stat

import pytest
from cryptography import x509

from trustnode.core import clock
from trustnode.core.document import PAYLOADS, is_signature
from trustnode.core.identity import Card, check_card, import_bundle, reverify
from trustnode.errors import TrustnodeError
from trustnode.keys import (
    Custody,
    FileSigner,
    create_node_keys,
    issue_card,
    issue_credential,
    issue_from_request,
    load_node_keys,
    make_client_key_and_csr,
    node_credential,
    renewal_time,
    root_key_path,
    root_signer,
    write_secret,
)
from trustnode.keys.authority import INVITE_LIFE, pem_of

PAYLOADS.setdefault("card", Card)
NOW = "2026-11-24T12:00:00.000Z"
DOMAIN = "zj.example"
FILES = {
    "root.key",
    "keys/ca.key",
    "keys/ca.pem",
    "keys/intermediate.key",
    "keys/intermediate.pem",
    "keys/node.key",
    "keys/evidence.key",
    "keys/log.key",
    "keys/witness.key",
}


@pytest.fixture
def home(tmp_path):
    assert set(create_node_keys(tmp_path, DOMAIN, NOW)) == FILES
    return tmp_path


def verify(chain_pem: bytes, keys, now=NOW):
    leaf, *rest = x509.load_pem_x509_certificates(chain_pem)
    bundle = import_bundle(DOMAIN, 1, [keys.authority.x5c], now)
    return reverify(pem_of(leaf), pem_of(*rest), {DOMAIN: bundle}, now)


def refused(function, *args) -> TrustnodeError:
    with pytest.raises(TrustnodeError) as caught:
        function(*args)
    return caught.value


def test_every_key_is_its_owners_alone(home):
    for name in FILES:
        if name.endswith(".key"):
            assert stat.S_IMODE((home / name).stat().st_mode) == 0o600


def test_making_keys_again_changes_nothing(home):
    before = {name: (home / name).read_bytes() for name in FILES}
    assert create_node_keys(home, DOMAIN, NOW) == ()
    assert {name: (home / name).read_bytes() for name in FILES} == before


def test_a_root_key_that_was_moved_away_is_not_made_anew(home):
    root_key_path(home).unlink()
    assert create_node_keys(home, DOMAIN, NOW) == ()
    assert root_signer(home) is None


def test_an_interrupted_init_goes_on(home):
    (home / "keys/ca.pem").unlink()
    (home / "keys/intermediate.pem").unlink()
    assert set(create_node_keys(home, DOMAIN, NOW)) == {"keys/ca.pem", "keys/intermediate.pem"}
    assert load_node_keys(home, DOMAIN, NOW).authority.trust_domain == DOMAIN


def test_a_key_is_never_overwritten(tmp_path):
    write_secret(tmp_path / "a.key", b"one")
    with pytest.raises(FileExistsError):
        write_secret(tmp_path / "a.key", b"two")
    assert (tmp_path / "a.key").read_bytes() == b"one"


def test_i15_a_key_open_to_others_is_refused_with_what_to_do(home):
    (home / "keys/log.key").chmod(0o640)
    refusal = refused(load_node_keys, home, DOMAIN, NOW)
    assert refusal.reason == "CONFIG_INVALID"
    assert "chmod 600" in refusal.next_step


def test_i15_a_key_of_another_certificate_is_refused(home):
    (home / "keys/node.key").replace(home / "keys/intermediate.key")
    assert "do not belong together" in refused(load_node_keys, home, DOMAIN, NOW).message


@pytest.mark.parametrize("name", ["evidence.key", "ca.pem", "intermediate.pem"])
def test_a_missing_file_is_named(home, name):
    (home / "keys" / name).unlink()
    refusal = refused(load_node_keys, home, DOMAIN, NOW)
    assert (refusal.reason, refusal.metadata["field"]) == ("CONFIG_INVALID", name)


def test_garbage_is_no_key(tmp_path):
    write_secret(tmp_path / "a.key", b"garbage")
    assert refused(FileSigner.load, tmp_path / "a.key").reason == "CONFIG_INVALID"


def test_a_signer_signs_what_verifies_under_its_public_key():
    signer = FileSigner.generate()
    again = FileSigner.from_pem(signer.pem)
    assert again.public == signer.public
    assert is_signature(signer.public, again.sign(b"text"), b"text")


def test_the_node_certificate_is_a_peer_with_its_dns_name_for_an_hour(home):
    keys = load_node_keys(home, DOMAIN, NOW)
    credential = node_credential(home, keys, "n1", NOW, ["data.zj.example", "127.0.0.1"])
    verified = verify(credential.chain_pem, keys)
    assert (verified.caller.kind, verified.caller.name) == ("PEER", "n1")
    assert verified.expires == clock.shift(NOW, 3600)
    names = credential.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["node.zj.example", "data.zj.example"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert credential.key_pem == node_credential(home, keys, "n1", NOW).key_pem


def test_a_client_certificate_is_for_the_key_of_the_request_and_ignores_its_names(home):
    keys = load_node_keys(home, DOMAIN, NOW)
    _, csr = make_client_key_and_csr()
    chain = issue_from_request(keys.authority, csr, f"spiffe://{DOMAIN}/participant/acme", NOW)
    caller = verify(chain, keys).caller
    assert (caller.kind, caller.name) == ("CLIENT", "acme")
    leaf = x509.load_pem_x509_certificate(chain)
    assert leaf.public_key() == x509.load_der_x509_csr(csr).public_key()
    assert verify(chain, keys, clock.shift(NOW, 89 * 86400)).caller.name == "acme"
    assert clock.text(leaf.not_valid_after_utc) == clock.shift(NOW, 90 * 86400)


@pytest.mark.parametrize("kind, path", [("INVITEE", "invite/i1"), ("APPLICANT", "apply/a1")])
def test_credentials_open_one_door_and_end(home, kind, path):
    keys = load_node_keys(home, DOMAIN, NOW)
    chain = issue_credential(keys.authority, f"spiffe://{DOMAIN}/{path}", NOW, INVITE_LIFE).chain_pem
    verified = verify(chain, keys)
    assert (verified.caller.kind, verified.caller.participant) == (kind, "")
    assert verified.expires == clock.shift(NOW, 72 * 3600)


def test_no_certificate_is_issued_for_a_name_of_another_domain(home):
    keys = load_node_keys(home, DOMAIN, NOW)
    _, csr = make_client_key_and_csr()
    refusal = refused(issue_from_request, keys.authority, csr, "spiffe://gz.example/participant/acme", NOW)
    assert refusal.reason == "IDENTITY_WRONG_DOMAIN"
    assert refused(issue_from_request, keys.authority, b"no", "x", NOW).reason == "FIELD_FORMAT"


def test_the_intermediate_is_renewed_from_half_its_life_so_that_clients_keep_theirs(home):
    early = load_node_keys(home, DOMAIN, NOW).authority.intermediate.certificate
    later = clock.shift(NOW, 100 * 86400)
    keys = load_node_keys(home, DOMAIN, later)
    renewed = keys.authority.intermediate.certificate
    assert renewed.serial_number != early.serial_number
    _, csr = make_client_key_and_csr()
    chain = issue_from_request(keys.authority, csr, f"spiffe://{DOMAIN}/participant/acme", later)
    assert verify(chain, keys, clock.shift(later, 89 * 86400)).caller.name == "acme"
    assert load_node_keys(home, DOMAIN, later).authority.intermediate.certificate == renewed


def test_a_node_renews_after_half_of_its_life_and_a_client_after_two_thirds(home):
    keys = load_node_keys(home, DOMAIN, NOW)
    leaf = node_credential(home, keys, "n1", NOW).leaf
    assert NOW < renewal_time(leaf) < renewal_time(leaf, 2, 3) < clock.shift(NOW, 3600)


def test_custody_holds_a_key_per_participant(tmp_path):
    custody = Custody(tmp_path / "custody")
    assert custody.signer("acme") is None
    made = custody.create("acme")
    held = custody.signer("acme")
    assert held is not None
    assert held.public == made.public
    with pytest.raises(FileExistsError):
        custody.create("acme")


@pytest.mark.parametrize("name", ["", "..", "../log", "a/b", ".hidden", "a\n"])
def test_custody_names_are_no_paths(tmp_path, name):
    assert refused(Custody(tmp_path).signer, name).reason == "FIELD_FORMAT"


def test_the_card_vouches_for_the_keys_of_the_home(home):
    keys = load_node_keys(home, DOMAIN, NOW)
    root = root_signer(home)
    assert root is not None
    document = issue_card(
        root=root,
        keys=keys,
        id="11111111-1111-4111-8111-111111111111",
        now=NOW,
        node_id="29133000000000000043300000000018",
        level="REGIONAL",
        area="3300",
        name="Zhejiang Data Exchange",
        endpoints=["127.0.0.1:7443"],
    )
    card = check_card(document, NOW).value
    assert {key.public for key in card.keys} == {s.public.hex() for s in (keys.evidence, keys.log, keys.witness)}
    assert card.bundle.x5c == (keys.authority.x5c,)
