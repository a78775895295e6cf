"""Credentials of sources: private files of a home, each for one address."""

from __future__ import annotations

import pytest

from trustnode.errors import TrustnodeError
from trustnode.keys import read_credentials
from trustnode.keys.credentials import covers

PLACE = "postgresql://reader@db.example:5432/shop"


@pytest.fixture
def write(tmp_path):
    def write(text, mode=0o600, name="shop"):
        path = tmp_path / "credentials" / f"{name}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return tmp_path

    return write


def refused(home, name="shop", kind="postgres", location=PLACE):
    with pytest.raises(TrustnodeError) as caught:
        read_credentials(home, name, kind, location)
    assert caught.value.reason == "CONFIG_INVALID"
    assert str(home) not in f"{caught.value.message} {caught.value.next_step}"
    return caught.value.message


def test_a_private_file_gives_what_the_kind_asks_for(write):
    home = write(f'location = "{PLACE}"\npassword = "x"\n')
    assert read_credentials(home, "shop", "postgres", PLACE) == {"password": "x"}


@pytest.mark.parametrize(
    "text, mode, words",
    [
        (f'location = "{PLACE}"\npassword = "x"\n', 0o644, "open to others"),
        (f'location = "{PLACE}"\nsecret_key = "s3cret"\n', 0o600, "secret_key is not known"),
        ('password = "s3cret"\n', 0o600, "not for this address"),
        (f'location = "{PLACE}"\npassword = 7\n', 0o600, "every key has a text"),
        ("s3cret\n", 0o600, "no TOML"),
    ],
)
def test_each_mistake_has_a_sentence_without_the_secret(write, text, mode, words):
    message = refused(write(text, mode))
    assert words in message
    assert "s3cret" not in message


@pytest.mark.parametrize(
    "name", ["../root", "/etc/passwd", "a/b", "a\0b", "", ".", "A", "x" * 10_240, "ü", "con.toml", "a\nb"]
)
def test_q2_the_name_of_credentials_is_no_path(write, name):
    home = write("", name="shop")
    assert "it is no path" in refused(home, name)


@pytest.mark.parametrize(
    "written_for, location, serves",
    [
        (PLACE, PLACE, True),
        (PLACE, PLACE.replace("db.", "evil."), False),
        (PLACE, PLACE + "?host=evil.example", False),
        (PLACE, PLACE.replace("reader", "admin"), False),
        (PLACE, PLACE.replace("/shop", "/other"), False),
        ("s3://bucket?endpoint=https://a.example", "s3://bucket/x/y.parquet?endpoint=https://a.example", True),
        ("s3://bucket/x?endpoint=https://a.example", "s3://bucket/xy?endpoint=https://a.example", False),
        ("s3://bucket/x", "s3://bucket/x/../z", False),
        ("s3://bucket", "s3://bucket/x?endpoint=https://evil.example", False),
        ("", "", False),
    ],
)
def test_credentials_serve_the_address_they_were_written_for_and_no_other(written_for, location, serves):
    assert covers(written_for, location) is serves
