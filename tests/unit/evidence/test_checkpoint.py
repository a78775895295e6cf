"""The signed tree head."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.evidence import vectors as v

from trustnode.core.evidence import note
from trustnode.core.evidence.checkpoint import (
    MAX_SIZE,
    Checkpoint,
    open_checkpoint,
    parse_checkpoint,
    parse_decimal,
    sign_checkpoint,
)
from trustnode.core.evidence.note import COSIGNATURE_V1, ED25519
from trustnode.core.evidence.tree import EMPTY_ROOT, TreeHead
from trustnode.errors import InvalidRequest, VerificationFailed

ROOT = "XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg="
CHECKPOINT = Checkpoint(v.ORIGIN, 8, v.ROOTS[8])
OTHER = v.TestKey(0x40)


def signed(text, key=v.LOG_KEY, name=v.ORIGIN):
    return note.assemble(text, [note.sign(text, name, key.public, key.sign)])


def test_the_published_checkpoint_reads_and_writes():
    assert CHECKPOINT.text == v.CHECKPOINT_TEXT
    assert parse_checkpoint(v.CHECKPOINT_TEXT, extensions=False) == CHECKPOINT


def test_the_empty_tree_has_the_published_checkpoint():
    empty = Checkpoint(v.ORIGIN, 0, EMPTY_ROOT)
    assert empty.text == v.EMPTY_TEXT
    assert sign_checkpoint(empty, v.LOG_KEY.public, v.LOG_KEY.sign) == f"{v.EMPTY_TEXT}\n{v.EMPTY_LINE}".encode()


def test_the_published_note_opens_with_its_cosignature():
    opened = open_checkpoint(v.CHECKPOINT_NOTE, [v.LOG], [v.B], quorum=1)
    assert opened.checkpoint == CHECKPOINT
    assert opened.text == v.CHECKPOINT_TEXT
    assert opened.head == TreeHead(8, v.ROOTS[8])
    assert opened.cosignatures == (note.Signature(v.B, v.WITNESS_TIME),)


@given(
    st.text(st.characters(min_codepoint=0x20, codec="utf-8"), min_size=1),
    st.integers(1, MAX_SIZE),
    st.binary(min_size=32, max_size=32),
)
def test_any_checkpoint_reads_back(origin, size, root):
    checkpoint = Checkpoint(origin, size, root)
    assert parse_checkpoint(checkpoint.text) == checkpoint


@given(st.integers(0, MAX_SIZE))
def test_any_size_reads_back(size):
    assert parse_decimal(str(size)) == size


SIZES = ["", "08", "+8", "-1", "8 ", " 8", "1_0", "８", "٨", "0x8", "8.0", "1e3", str(2**63), "1" + "0" * 30, "00"]


@pytest.mark.parametrize("size", SIZES)
def test_l7j_a_size_has_one_spelling(size):
    assert parse_decimal(size) is None
    with pytest.raises(VerificationFailed):
        parse_checkpoint(f"{v.ORIGIN}\n{size}\n{ROOT}\n")


HOSTILE = {
    "empty": "",
    "only an origin": f"{v.ORIGIN}\n",
    "no root": f"{v.ORIGIN}\n8\n",
    "no final newline": v.CHECKPOINT_TEXT[:-1],
    "empty origin": f"\n8\n{ROOT}\n",
    "root of 31 bytes": f"{v.ORIGIN}\n8\n{note.encode_base64(bytes(31))}\n",
    "root of 33 bytes": f"{v.ORIGIN}\n8\n{note.encode_base64(bytes(33))}\n",
    "root with stray bits": f"{v.ORIGIN}\n8\n{ROOT.replace('yg=', 'yh=')}\n",
    "root in hexadecimal": f"{v.ORIGIN}\n8\n{v.ROOTS[8].hex()}\n",
    "empty tree with another root": f"{v.ORIGIN}\n0\n{ROOT}\n",
    "empty extension line": f"{v.CHECKPOINT_TEXT}\n",
    "empty line among extensions": f"{v.CHECKPOINT_TEXT}a\n\nb\n",
}


@pytest.mark.parametrize("defect", HOSTILE)
def test_l7j_malformed_texts_are_refused(defect):
    with pytest.raises(VerificationFailed):
        parse_checkpoint(HOSTILE[defect])


@pytest.mark.parametrize("defect", [name for name, text in HOSTILE.items() if text.endswith("\n")])
def test_l7j_a_valid_signature_does_not_help_a_malformed_text(defect):
    with pytest.raises(VerificationFailed):
        open_checkpoint(signed(HOSTILE[defect]), [v.LOG])


def test_extension_lines_of_others_are_kept_in_what_is_signed_and_ignored():
    text = v.CHECKPOINT_TEXT + "anything\n"
    opened = open_checkpoint(signed(text), [v.LOG])
    assert opened.checkpoint == CHECKPOINT
    assert opened.text == text


def test_our_own_log_has_no_extension_lines():
    with pytest.raises(VerificationFailed, match="extension"):
        open_checkpoint(signed(v.CHECKPOINT_TEXT + "anything\n"), [v.LOG], extensions=False)


@pytest.mark.parametrize(
    "checkpoint",
    [
        Checkpoint("", 8, v.ROOTS[8]),
        Checkpoint(v.ORIGIN, 8, b""),
        Checkpoint(v.ORIGIN, -1, v.ROOTS[8]),
        Checkpoint(v.ORIGIN, 2**63, v.ROOTS[8]),
        Checkpoint(v.ORIGIN, 0, v.ROOTS[8]),
        Checkpoint("two\nlines", 8, v.ROOTS[8]),
        Checkpoint("a space", 8, v.ROOTS[8]),
    ],
    ids=lambda c: repr(c)[:60],
)
def test_we_never_sign_a_malformed_checkpoint(checkpoint):
    with pytest.raises((VerificationFailed, InvalidRequest)):
        sign_checkpoint(checkpoint, v.LOG_KEY.public, v.LOG_KEY.sign)


def test_l7j_a_known_log_does_not_speak_for_another_origin():
    text = Checkpoint("venue-c.example/log", 8, v.ROOTS[8]).text
    with pytest.raises(VerificationFailed, match="origin"):
        open_checkpoint(signed(text), [v.LOG])


def test_a_witness_is_no_log_and_a_log_is_no_witness():
    with pytest.raises(VerificationFailed, match="origin"):
        open_checkpoint(v.CHECKPOINT_NOTE, [], [v.LOG, v.B])
    with pytest.raises(VerificationFailed, match="0 of 1"):
        open_checkpoint(signed(v.CHECKPOINT_TEXT), [v.LOG], [v.LOG], quorum=1)


def test_a_log_key_given_as_a_cosigner_type_does_not_open_a_checkpoint():
    as_cosigner = v.LOG_KEY.named(v.ORIGIN, COSIGNATURE_V1)
    with pytest.raises(VerificationFailed):
        open_checkpoint(v.CHECKPOINT_NOTE, [as_cosigner], [v.B])


def test_without_witness_keys_a_cosignature_does_not_count():
    assert open_checkpoint(v.CHECKPOINT_NOTE, [v.LOG]).cosignatures == ()
    with pytest.raises(VerificationFailed) as caught:
        open_checkpoint(v.CHECKPOINT_NOTE, [v.LOG], quorum=1)
    assert caught.value.metadata["field"] == "quorum"


def test_l7g_three_copies_of_one_cosignature_are_one_witness():
    copies = f"{v.CHECKPOINT_TEXT}\n{v.LOG_LINE}{v.WITNESS_LINE * 3}".encode()
    assert len(open_checkpoint(copies, [v.LOG], [v.B], quorum=1).cosignatures) == 1
    with pytest.raises(VerificationFailed, match="1 of 2"):
        open_checkpoint(copies, [v.LOG], [v.B], quorum=2)


def test_during_a_rotation_old_both_or_new_log_key_open_the_note():
    new = OTHER.named(v.ORIGIN, ED25519)
    lines = [v.LOG_LINE, note.sign(v.CHECKPOINT_TEXT, v.ORIGIN, OTHER.public, OTHER.sign)]
    both = note.assemble(v.CHECKPOINT_TEXT, lines)
    for keys in ([v.LOG], [new], [v.LOG, new]):
        assert open_checkpoint(both, keys).checkpoint == CHECKPOINT
