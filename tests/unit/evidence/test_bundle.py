"""The file of a bundle: one form, hostile files by the name of the defect."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.evidence.deal_world import Deal

from trustnode.core.evidence import bundle
from trustnode.core.evidence.bundle import merge, pack, read_zip, unpack, write_zip
from trustnode.core.evidence.proof import TlogProof
from trustnode.errors import VerificationFailed

Edit = Callable[[zipfile.ZipInfo], None]


@pytest.fixture(scope="module")
def deal():
    return Deal()


@pytest.fixture(scope="module")
def file(deal):
    return deal.file()


def zip_of(*found: tuple[str, bytes], edit: Edit = lambda _info: None, comment: bytes = b"") -> bytes:
    """A zip in which one rule may be broken."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.comment = comment
        for name, data in found:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.external_attr, info.create_system = 0o644 << 16, 3
            edit(info)
            archive.writestr(info, data)
    return target.getvalue()


def later(info: zipfile.ZipInfo) -> None:
    info.date_time = (1980, 1, 2, 0, 0, 0)


def deflated(info: zipfile.ZipInfo) -> None:
    info.compress_type = zipfile.ZIP_DEFLATED


def with_extra_field(info: zipfile.ZipInfo) -> None:
    info.extra = b"\x01\x00\x00\x00"


def with_comment(info: zipfile.ZipInfo) -> None:
    info.comment = b"x"


TWO = (("a.json", b"1"), ("b.json", b"2"))
HOSTILE = {
    "not a zip": b"PK",
    "empty": b"",
    "members out of order": zip_of(*reversed(TWO)),
    "compressed": zip_of(("a.json", b"1" * 100), edit=deflated),
    "another time": zip_of(*TWO, edit=later),
    "extra field": zip_of(*TWO, edit=with_extra_field),
    "comment of a member": zip_of(*TWO, edit=with_comment),
    "comment of the file": zip_of(*TWO, comment=b"x"),
    "bytes in front": b"x" + zip_of(*TWO),
    "bytes behind": zip_of(*TWO) + b"x",
    "climbing name": zip_of(("../a.json", b"1")),
    "name of upper case": zip_of(("A.json", b"1")),
    "name with a back slash": zip_of(("a\\b", b"1")),
    "name with a line feed": zip_of(("a.json\n", b"1")),
    "name too long": zip_of(("a" * 129, b"1")),
}


def test_the_same_contents_give_the_same_bytes_and_come_back(deal, file):
    assert pack(deal.contents()) != b""
    assert pack(unpack(file)) == file
    assert unpack(file).nodes == ("gz.example", "zj.example")


def test_a_zip_in_the_right_form_is_read():
    assert read_zip(zip_of(*TWO)) == dict(TWO)


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_zip_in_another_form_is_refused(data):
    with pytest.raises(VerificationFailed):
        read_zip(data)


def test_a_member_that_stands_twice_is_refused():
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = zip_of(("a.json", b"1"), ("a.json", b"2"))
    with pytest.raises(VerificationFailed):
        read_zip(data)


def test_more_members_or_bytes_than_allowed_are_refused(monkeypatch):
    monkeypatch.setattr(bundle, "MAX_MEMBERS", 1)
    with pytest.raises(VerificationFailed):
        read_zip(zip_of(*TWO))
    monkeypatch.undo()
    monkeypatch.setattr(bundle, "MAX_BYTES", 1)
    with pytest.raises(VerificationFailed):
        write_zip(dict(TWO))


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_and_nothing_else_happens(data):
    with pytest.raises(VerificationFailed):
        unpack(data)


@settings(max_examples=60)
@given(st.data())
def test_a_changed_byte_of_the_file_is_refused(file, data):
    at = data.draw(st.integers(0, len(file) - 1))
    mask = data.draw(st.integers(1, 255))
    changed = file[:at] + bytes([file[at] ^ mask]) + file[at + 1 :]
    with pytest.raises(VerificationFailed):
        unpack(changed)


def reformed(file: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    found = read_zip(file)
    change(found)
    return write_zip(found)


MEMBERS: dict[str, Callable[[dict[str, bytes]], None]] = {
    "a story that says something else": lambda m: m.update({"story.txt": m["story.txt"].replace(b" 12 rows", b" 11 rows")}),
    "a manifest that counts something else": lambda m: m.update(
        {"manifest.json": m["manifest.json"].replace(b'"entries":24', b'"entries":25')}
    ),
    "no manifest": lambda m: m.pop("manifest.json") and None,
    "no story": lambda m: m.pop("story.txt") and None,
    "a member without a meaning": lambda m: m.update({"notes.txt": b"x"}),
    "white space in a document": lambda m: m.update({n: m[n] + b" " for n in list(m) if n.startswith("documents/")}),
    "an unknown field of a chain line": lambda m: m.update(
        {"chains/gz.example.jsonl": m["chains/gz.example.jsonl"].replace(b'{"com', b'{"a":1,"com', 1)}
    ),
    "no last line feed": lambda m: m.update({"chains/gz.example.jsonl": m["chains/gz.example.jsonl"][:-1]}),
    "a proof under another index": lambda m: m.update({"proofs/gz.example/99.tlog-proof": m["proofs/gz.example/3.tlog-proof"]}),
    "a proof that is none": lambda m: m.update({"proofs/gz.example/3.tlog-proof": b"x"}),
    "the agreement left out": lambda m: [m.pop(n) for n in list(m) if n.startswith("documents/") and b"agreement.v1" in m[n]]
    and None,
}  # fmt: skip


@pytest.mark.parametrize("change", MEMBERS.values(), ids=MEMBERS.keys())
def test_members_that_do_not_say_the_same_are_refused(file, change):
    with pytest.raises(VerificationFailed):
        unpack(reformed(file, change))


def test_a_proof_holds_nothing_unauthenticated(deal):
    contents = deal.contents()
    part = contents.parts["gz.example"]
    proofs = {index: TlogProof(p.position, p.path, p.checkpoint, b"extra") for index, p in part.proofs.items()}
    with pytest.raises(VerificationFailed):
        unpack(pack(replace(contents, parts={**contents.parts, "gz.example": replace(part, proofs=proofs)})))


def split(deal: Deal, domain: str):
    contents = deal.contents()
    return replace(contents, parts={domain: contents.parts[domain]})


def test_two_parts_make_the_whole(deal, file):
    whole = merge(split(deal, "gz.example"), split(deal, "zj.example"))
    assert set(whole.parts) == {"gz.example", "zj.example"}
    assert bundle.manifest(whole).missing == ()
    assert bundle.manifest(split(deal, "gz.example")).missing == ("zj.example",)


def test_what_the_other_node_says_of_our_log_is_left_out(deal):
    own, other = split(deal, "gz.example"), deal.contents()
    forged = replace(other, parts={**other.parts, "gz.example": bundle.Part()})
    assert merge(own, forged).parts["gz.example"] == own.parts["gz.example"]


def test_signatures_of_both_copies_come_together(deal):
    one, other = split(deal, "gz.example"), split(deal, "zj.example")
    first, second = other.documents[deal.agreement.digest].signatures
    for contents, kept in ((one, first), (other, second)):
        document = contents.documents[deal.agreement.digest]
        contents.documents[deal.agreement.digest] = type(document)(document.payload_type, document.payload, (kept,))  # type: ignore[index]
    merged = merge(one, other).documents[deal.agreement.digest]
    assert set(merged.signatures) == {first, second}


def test_parts_of_two_agreements_are_not_put_together(deal):
    with pytest.raises(VerificationFailed):
        merge(deal.contents(), Deal().contents())
