"""Signed notes: what verifies, what counts, and what is refused."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.evidence import vectors as v

from trustnode.core.evidence import note
from trustnode.core.evidence.note import COSIGNATURE_V1, ED25519, VerifierKey, open_note, parse_vkey
from trustnode.errors import InvalidRequest, VerificationFailed

TEXT = v.CHECKPOINT_TEXT
OTHER = v.TestKey(0x40)


def log_line(text=TEXT):
    return note.sign(text, v.ORIGIN, v.LOG_KEY.public, v.LOG_KEY.sign)


def line(name, identifier, signature):
    return f"— {name} {note.encode_base64(identifier + signature)}\n"


def cosignature(time, key=v.WITNESS_KEY, name=v.WITNESS):
    """A cosignature of any time, also one that `cosign` would not make."""
    message = f"cosignature/v1\ntime {time}\n{TEXT}".encode()
    return line(name, key.named(name, COSIGNATURE_V1).id, struct.pack(">Q", time) + key.sign(message))


def test_the_example_of_the_specification_opens():
    opened = open_note(v.EXAMPLE_NOTE, [parse_vkey(v.EXAMPLE_VKEY)])
    assert opened.text == "This is an example message.\n"
    assert [s.key.name for s in opened.signatures] == ["example.com/foo"]


@pytest.mark.parametrize("text", [v.LOG_VKEY, v.WITNESS_VKEY, v.EXAMPLE_VKEY])
def test_a_vkey_reads_and_writes_back(text):
    assert parse_vkey(text).text == text


def test_vkeys_follow_from_seed_name_and_type():
    assert v.LOG_KEY.named(v.ORIGIN, ED25519).text == v.LOG_VKEY
    assert v.WITNESS_KEY.named(v.WITNESS, COSIGNATURE_V1).text == v.WITNESS_VKEY


@given(
    st.text(min_size=1).filter(lambda name: note.is_key_name(name) and name.isprintable()),
    st.sampled_from([ED25519, COSIGNATURE_V1]),
    st.binary(min_size=32, max_size=32),
)
def test_any_vkey_reads_back(name, algorithm, public):
    key = VerifierKey(name, algorithm, public)
    assert parse_vkey(key.text) == key


def test_l7i_a_vkey_of_another_algorithm_is_read_and_never_counts():
    key = VerifierKey(v.ORIGIN, 0x06, bytes(1312))
    assert parse_vkey(key.text) == key
    note_ = note.assemble(TEXT, [log_line(), line(v.ORIGIN, key.id, bytes(2428))])
    assert [s.key for s in open_note(note_, [v.LOG, key]).signatures] == [v.LOG]


@pytest.mark.parametrize(
    "text",
    {
        "empty": "",
        "two parts": "venue-a.example/log+af639388",
        "id of another key": v.LOG_VKEY.replace("af639388", "af639389"),
        "id in upper case": v.LOG_VKEY.replace("af639388", "AF639388"),
        "id of 6 digits": v.LOG_VKEY.replace("af639388", "af6393"),
        "empty name": "+af639388+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4",
        "space in the name": v.LOG_VKEY.replace("example", "exam ple"),
        "key of 31 bytes": VerifierKey("a", ED25519, bytes(31)).text,
        "key of 33 bytes": VerifierKey("a", COSIGNATURE_V1, bytes(33)).text,
        "no key": "a+00000000+",
        "base64 not strict": v.LOG_VKEY + "=",
        "final newline": v.LOG_VKEY + "\n",
    }.items(),
    ids=lambda item: item[0],
)
def test_malformed_vkeys_are_refused(text):
    with pytest.raises(InvalidRequest) as caught:
        parse_vkey(text[1])
    assert caught.value.reason == "FIELD_FORMAT"


def test_signing_gives_the_published_lines():
    assert log_line() == v.LOG_LINE
    made = note.cosign(TEXT, v.WITNESS, v.WITNESS_KEY.public, v.WITNESS_KEY.sign, v.WITNESS_TIME)
    assert made == v.WITNESS_LINE
    assert note.assemble(TEXT, [v.LOG_LINE, v.WITNESS_LINE]) == v.CHECKPOINT_NOTE
    assert note.sign(v.EMPTY_TEXT, v.ORIGIN, v.LOG_KEY.public, v.LOG_KEY.sign) == v.EMPTY_LINE


def test_a_cosigned_note_opens_with_its_time():
    opened = open_note(v.CHECKPOINT_NOTE, [v.LOG, v.B])
    assert opened.signatures == (note.Signature(v.LOG), note.Signature(v.B, v.WITNESS_TIME))


@given(st.text(st.characters(min_codepoint=0x20, codec="utf-8") | st.just("\n")))
def test_any_text_with_empty_lines_signs_and_opens(text):
    text += "\n"
    assert open_note(note.assemble(text, [log_line(text)]), [v.LOG]).text == text


@given(st.data())
def test_one_flipped_bit_never_opens_to_another_text(data):
    at = data.draw(st.integers(0, len(v.CHECKPOINT_NOTE) - 1))
    bit = data.draw(st.integers(0, 7))
    forged = bytearray(v.CHECKPOINT_NOTE)
    forged[at] ^= 1 << bit
    try:
        opened = open_note(bytes(forged), [v.LOG, v.B])
    except VerificationFailed:
        return
    # the flip made a line that of an unknown key; the other one still stands over the same text
    assert opened.text == TEXT
    assert len(opened.signatures) == 1


@given(st.binary(max_size=300))
def test_l7i_no_bytes_bring_the_parser_down(data):
    with pytest.raises(VerificationFailed):
        open_note(data, [v.LOG, v.B])


@given(st.text(max_size=100), st.text(max_size=200))
def test_no_signature_block_brings_the_parser_down(text, signatures):
    with pytest.raises(VerificationFailed):
        open_note(f"{text}\n\n— {signatures}\n".encode("utf-8", "replace"), [v.LOG, v.B])


def test_unknown_keys_are_ignored_even_with_a_known_name_or_id():
    same_name = note.sign(TEXT, v.ORIGIN, OTHER.public, OTHER.sign)
    same_id = line("other.example/log", v.LOG.id, bytes(64))
    opened = open_note(note.assemble(TEXT, [same_name, same_id, log_line()]), [v.LOG])
    assert opened.signatures == (note.Signature(v.LOG),)


def test_a_signature_under_a_wrong_type_does_not_count():
    as_plain = VerifierKey(v.WITNESS, ED25519, v.WITNESS_KEY.public)
    with pytest.raises(VerificationFailed, match="no known key"):
        open_note(v.CHECKPOINT_NOTE, [as_plain])


@pytest.mark.parametrize("times", [[5, 3, 4], [3, 4, 5], [4, 4, 3]], ids=str)
def test_l7g_a_key_counts_once_at_its_earliest_time(times):
    opened = open_note(note.assemble(TEXT, [log_line(), *map(cosignature, times)]), [v.LOG, v.B])
    assert opened.signatures == (note.Signature(v.LOG), note.Signature(v.B, 3))


def test_l7g_one_raw_key_under_two_names_counts_once():
    second = v.WITNESS_KEY.named("venue-c.example/witness", COSIGNATURE_V1)
    lines = [log_line(), cosignature(7), cosignature(8, name=second.name)]
    opened = open_note(note.assemble(TEXT, lines), [v.LOG, v.B, second])
    assert opened.signatures == (note.Signature(v.LOG), note.Signature(v.B, 7))


def test_a_log_that_cosigns_with_its_own_key_counts_as_the_log_only():
    as_witness = v.LOG_KEY.named("venue-a.example/witness", COSIGNATURE_V1)
    lines = [cosignature(7, v.LOG_KEY, as_witness.name), log_line()]
    opened = open_note(note.assemble(TEXT, lines), [as_witness, v.LOG])
    assert opened.signatures == (note.Signature(v.LOG),)


def test_l7e_a_repeated_line_must_verify_each_time():
    with pytest.raises(VerificationFailed, match="does not verify"):
        open_note(note.assemble(TEXT, [log_line(), line(v.ORIGIN, v.LOG.id, bytes(64))]), [v.LOG])


def test_l7f_a_cosignature_from_the_future_is_refused():
    noted = note.assemble(TEXT, [log_line(), cosignature(1000)])
    assert len(open_note(noted, [v.LOG, v.B], latest=1000).signatures) == 2
    with pytest.raises(VerificationFailed, match="time"):
        open_note(noted, [v.LOG, v.B], latest=999)


def test_l7h_one_hundred_lines_open_and_one_more_is_refused_before_any_is_looked_at():
    many = [line(f"w{i}", bytes(4), bytes(64)) for i in range(99)]
    assert open_note(note.assemble(TEXT, [*many, log_line()]), [v.LOG])
    with pytest.raises(VerificationFailed, match="too many"):
        open_note(note.assemble(TEXT, [*many, log_line(), "x\n"]), [v.LOG])


@pytest.mark.parametrize("time", [0, 2**63, 2**64 - 1])
def test_l7f_a_cosignature_time_out_of_range_rejects_the_note(time):
    with pytest.raises(VerificationFailed, match="time"):
        open_note(note.assemble(TEXT, [log_line(), cosignature(time)]), [v.LOG, v.B])


GOOD = v.LOG_LINE
HOSTILE = {
    "empty": b"",
    "carriage return": v.CHECKPOINT_NOTE.replace(b"\n", b"\r\n"),
    "NUL in the text": ("a\0b\n\n" + GOOD).encode(),
    "tab in a name": (TEXT + "\n" + GOOD.replace("venue-a", "venue\ta")).encode(),
    "no final newline": v.CHECKPOINT_NOTE[:-1],
    "no empty line": (TEXT + GOOD).encode(),
    "no signature": (TEXT + "\n").encode(),
    "empty line between signatures": (TEXT + "\n" + GOOD + "\n" + v.WITNESS_LINE).encode(),
    "empty line after the signatures": v.CHECKPOINT_NOTE + b"\n",
    "not UTF-8": b"\xff" + v.CHECKPOINT_NOTE,
    "encoded surrogate": b"\xed\xa0\x80" + v.CHECKPOINT_NOTE,
    "hyphen for the dash": (TEXT + "\n" + GOOD.replace("—", "-")).encode(),
    "name with a plus": (TEXT + "\n" + GOOD + line("a+b", bytes(4), bytes(64))).encode(),
    "name with a no-break space": (TEXT + "\n" + GOOD + line("a\u00a0b", bytes(4), bytes(64))).encode(),
    "name with a space": (TEXT + "\n" + GOOD + line("a b", bytes(4), bytes(64))).encode(),
    "empty name": (TEXT + "\n" + GOOD + line("", bytes(4), bytes(64))).encode(),
    "two spaces": (TEXT + "\n" + GOOD.replace(" ", "  ")).encode(),
    "space at the end": (TEXT + "\n" + GOOD.replace("=\n", "= \n")).encode(),
    "base64 without padding": (TEXT + "\n" + GOOD.replace("=\n", "\n")).encode(),
    "base64 with stray bits": (TEXT + "\n" + GOOD.replace("AY=", "AZ=")).encode(),
    "base64 in the URL alphabet": (TEXT + "\n" + GOOD.replace("+", "-")).encode(),
    "base64 with full-width letters": (TEXT + "\n" + GOOD.replace("r2OT", "ｒ2OT")).encode(),
    "signature of 3 bytes": (TEXT + "\n" + GOOD + f"— {v.ORIGIN} AAAA\n").encode(),
    "an id and nothing": (TEXT + "\n" + GOOD + line(v.ORIGIN, v.LOG.id, b"")).encode(),
    "known key, short signature": (TEXT + "\n" + line(v.ORIGIN, v.LOG.id, bytes(63))).encode(),
    "known key, long signature": (TEXT + "\n" + GOOD + line(v.ORIGIN, v.LOG.id, bytes(65))).encode(),
    "known key, zero signature": (TEXT + "\n" + GOOD + line(v.ORIGIN, v.LOG.id, bytes(64))).encode(),
    "known witness, cosignature without time": (TEXT + "\n" + GOOD + line(v.WITNESS, v.B.id, bytes(64))).encode(),
    "known witness, short cosignature": (TEXT + "\n" + GOOD + line(v.WITNESS, v.B.id, bytes(3))).encode(),
    "known witness, forged cosignature": (
        TEXT + "\n" + GOOD + line(v.WITNESS, v.B.id, bytes(7) + bytes([1]) * 65)
    ).encode(),
    "text changed": v.CHECKPOINT_NOTE.replace(b"\n8\n", b"\n9\n"),
    "cosignature of another text": (TEXT + "x\n\n" + log_line(TEXT + "x\n") + v.WITNESS_LINE).encode(),
    "nobody known": (TEXT + "\n" + note.sign(TEXT, v.ORIGIN, OTHER.public, OTHER.sign)).encode(),
    "a thousand lines": (TEXT + "\n" + GOOD * 1000).encode(),
    "ten megabytes": b"a" * 10_000_000 + b"\n\n" + GOOD.encode(),
}


@pytest.mark.parametrize("defect", HOSTILE)
def test_l7i_hostile_notes_are_refused(defect):
    with pytest.raises(VerificationFailed) as caught:
        open_note(HOSTILE[defect], [v.LOG, v.B])
    assert caught.value.reason == "VERIFICATION_FAILED"


def test_l7i_two_keys_that_share_name_and_id_are_refused(monkeypatch):
    monkeypatch.setattr(note, "key_id", lambda *_: bytes(4))
    with pytest.raises(InvalidRequest, match="share a name"):
        open_note(v.CHECKPOINT_NOTE, [v.LOG, v.LOG, OTHER.named(v.ORIGIN, ED25519)])


@pytest.mark.parametrize("text", ["no newline", "", "a\0\n", "a\r\n"])
def test_we_never_sign_a_text_that_is_no_note(text):
    with pytest.raises(InvalidRequest):
        note.sign(text, v.ORIGIN, v.LOG_KEY.public, v.LOG_KEY.sign)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n", "a\u3000"])
def test_we_never_sign_under_a_name_that_is_no_key_name(name):
    with pytest.raises(InvalidRequest):
        note.sign(TEXT, name, v.LOG_KEY.public, v.LOG_KEY.sign)


@pytest.mark.parametrize("time", [-1, 0, 2**63])
def test_we_never_cosign_at_a_time_out_of_range(time):
    with pytest.raises(InvalidRequest):
        note.cosign(TEXT, v.WITNESS, v.WITNESS_KEY.public, v.WITNESS_KEY.sign, time)


def test_an_ecdsa_key_has_the_id_of_its_der_form():
    assert note.key_id("any name", note.ECDSA, b"der") == note.key_id("other", note.ECDSA, b"der")
