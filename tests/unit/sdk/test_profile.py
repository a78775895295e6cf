"""The folder of a profile: found by name, private, written as a whole."""

import json

import pytest

from trustnode.core import envelope
from trustnode.core.document import Document
from trustnode.errors import TrustnodeError
from trustnode.keys import FileSigner
from trustnode.sdk import profile
from trustnode.sdk.profile import Profile, Settings

CARD = Document("application/vnd.trustnode.card.v1+json", b"{}")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TRUSTNODE_PROFILES", str(tmp_path))
    monkeypatch.delenv("TRUSTNODE_PROFILE", raising=False)
    return tmp_path


def settings(name="acme", **changes):
    return Settings(
        **{
            "name": name,
            "participant": f"spiffe://zj.example/participant/{name}",
            "venue": "zj.example",
            "addresses": ("127.0.0.1:7443",),
            "fingerprint": "-".join(["4F2A"] * 8),
            "roles": ("CONSUMER",),
            "custody": "HELD",
            "anchors": {"zj.example": "-".join(["4F2A"] * 8)},
            **changes,
        }
    )


def made(folder, name="acme", **changes):
    return profile.write(folder / name, settings(name, **changes), CARD, FileSigner.generate(), CARD)


def reason(call):
    with pytest.raises(TrustnodeError) as caught:
        call()
    return caught.value.reason


def test_what_is_written_is_what_is_opened(folder):
    made(folder)

    assert Profile.open("acme").settings == settings() == Profile.open(folder / "acme").settings


def test_a_name_with_chinese_and_quotes_survives(folder):
    made(folder, addresses=('浙江"7443\n',))

    assert Profile.open("acme").settings.addresses == ('浙江"7443\n',)


def test_the_only_profile_needs_no_name_and_two_need_one(folder, monkeypatch):
    assert reason(Profile.open) == "CONFIG_INVALID"
    made(folder)
    assert Profile.open().name == "acme"
    made(folder, "lendco")
    assert reason(Profile.open) == "CONFIG_INVALID"
    monkeypatch.setenv("TRUSTNODE_PROFILE", "lendco")
    assert Profile.open().name == "lendco"


def test_an_unknown_key_in_the_settings_is_refused(folder):
    made(folder)
    with (folder / "acme/profile.toml").open("a") as file:
        file.write("[more]\n")

    assert reason(lambda: Profile.open("acme")) == "CONFIG_INVALID"


def test_every_file_is_private_and_the_key_is_never_overwritten(folder):
    first = made(folder)
    key = (folder / "acme/participant.key").read_bytes()
    made(folder)

    assert (folder / "acme/participant.key").read_bytes() == key == first.signer.pem
    assert {path.stat().st_mode & 0o077 for path in (folder / "acme").iterdir()} == {0}


def test_a_card_that_is_not_the_one_compared_is_refused(folder):
    assert reason(lambda: made(folder).card) == "FINGERPRINT_MISMATCH"


def test_a_private_name_moves_to_the_newest_agreement(folder):
    acme = made(folder)
    acme.name_agreement("flights", "one")
    acme.name_agreement("flights", "two")

    assert Profile.open("acme").aliases == {"flights": "two"}
    assert (acme.alias_of("two"), acme.alias_of("one")) == ("flights", "")
    assert reason(lambda: acme.name_agreement("Bad Name", "x")) == "FIELD_FORMAT"


def test_an_acknowledgement_waits_until_it_is_dropped(folder):
    acme = made(folder)
    acme.keep_ack("a-1", b"one")

    assert list(Profile.open("acme").kept_acks()) == [("a-1", b"one")]
    acme.drop_ack("a-1")
    acme.drop_ack("a-1")
    assert list(acme.kept_acks()) == []


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", ""])
def test_a_name_from_the_network_never_leaves_the_folder(folder, name):
    assert reason(lambda: made(folder).keep_card(name, CARD)) == "FIELD_FORMAT"


def test_an_envelope_is_read_back_and_a_broken_one_refused():
    assert envelope.decode(envelope.encode(CARD)) == CARD
    for broken in (
        b"",
        b"{}",
        b"[]",
        b"\xff",
        json.dumps({"payloadType": "x", "payload": "!", "signatures": []}).encode(),
    ):
        assert reason(lambda broken=broken: envelope.decode(broken)) == "MESSAGE_UNPARSABLE"
