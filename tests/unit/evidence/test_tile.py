"""Names of tiles, and the framing of entries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustnode.core.evidence.tile import TileName, decode_bundle, encode_bundle, parse_path, width_at
from trustnode.errors import InvalidRequest, VerificationFailed

PATHS = {
    "tile/0/000": TileName(0, 0),
    "tile/0/x001/000": TileName(0, 1000),
    "tile/0/273.p/112": TileName(0, 273, 112),
    "tile/1/001.p/17": TileName(1, 1, 17),
    "tile/2/000.p/1": TileName(2, 0, 1),
    "tile/0/x390/624": TileName(0, 390624),
    "tile/entries/x001/x234/067": TileName(None, 1234067),
}


@pytest.mark.parametrize("path", PATHS)
def test_paths_are_the_published_ones(path):
    assert PATHS[path].path == path
    assert parse_path(path) == PATHS[path]


@given(
    st.builds(TileName, st.none() | st.integers(0, 63), st.integers(0, 2**63 - 1), st.integers(1, 256)),
)
def test_any_name_reads_back(name):
    assert parse_path(name.path) == name


@pytest.mark.parametrize(
    "path",
    [
        "",
        "checkpoint",
        "tile/0/",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/x000/000",
        "tile/0/x001/x000",
        "tile/0/001/000",
        "tile/0/x999/../..",
        "tile/0/../../000",
        "tile/0/%2e%2e",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/0/000.p/-1",
        "tile/0/000.p/",
        "tile/0/٠٠٠",
        "tile/entry/000",
        "tile/0/" + "x001/" * 7 + "000",
    ],
)
def test_a_path_has_one_spelling(path):
    with pytest.raises(InvalidRequest) as caught:
        parse_path(path)
    assert caught.value.reason == "FIELD_FORMAT"


def test_widths_of_the_example_of_the_specification():
    size = 70_000
    assert [width_at(size, 0, n) for n in (0, 272, 273, 274)] == [256, 256, 112, 0]
    assert [width_at(size, 1, n) for n in (0, 1, 2)] == [256, 17, 0]
    assert [width_at(size, 2, n) for n in (0, 1)] == [1, 0]
    assert width_at(size, 3, 0) == 0
    assert width_at(0, 0, 0) == 0


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=256))
def test_any_bundle_reads_back(entries):
    assert decode_bundle(encode_bundle(entries)) == entries


def test_l9_a_bundle_holds_entries_of_0_to_65535_bytes():
    assert encode_bundle([b"", b"ab"]) == b"\0\0\0\2ab"
    longest = bytes(65535)
    assert decode_bundle(encode_bundle([longest])) == [longest]


@pytest.mark.parametrize("entries", [[], [b""] * 257, [bytes(65536)]], ids=["none", "257", "65,536 bytes"])
def test_l9_a_bundle_refuses_an_entry_of_65536_bytes(entries):
    with pytest.raises(InvalidRequest):
        encode_bundle(entries)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"\0\2a", b"\0\1a\0", b"\0\1a\0\1", b"\0\0" * 257, b"\0\0" * 100_000],
    ids=["empty", "half a length", "cut entry", "cut length", "missing entry", "257 entries", "far too many"],
)
def test_malformed_bundles_are_refused(data):
    with pytest.raises(VerificationFailed):
        decode_bundle(data)
