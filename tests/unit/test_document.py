"""One way to sign: canonical bytes, strict reading, signatures that must be there."""

from __future__ import annotations

import json
import uuid
from typing import Any

import msgspec
import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from trustnode.core import documents
from trustnode.core.contract import Act
from trustnode.core.document import (
    MAX_INTEGER,
    PAYLOADS,
    Document,
    PublicKey,
    Required,
    Signature,
    Statement,
    canonical,
    cosign,
    decode,
    name_of,
    pae,
    payload_type,
    seal,
    verify,
)
from trustnode.core.participant import ParticipantKey
from trustnode.errors import TrustnodeError

NOW = "2026-11-24T12:00:00.000Z"
ALWAYS = ("0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z")


class Key:
    """A signer with a fixed seed."""

    def __init__(self, seed: int) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


def act(**changes: Any) -> Act:
    fields: dict[str, Any] = {
        "suite": "tn1",
        "id": "00000000-0000-4000-8000-000000000001",
        "iss": "venue-a.example",
        "aud": ("venue-a.example",),
        "time": NOW,
        "machine": "agreement",
        "object": "C1",
        "event": "suspend",
        "cause": "VENUE",
    }
    return Act(**(fields | changes))


def keys_of(*keys: Key, owner: str = "venue-a.example", use: str = "evidence") -> Any:
    found = tuple(PublicKey(key.public, *ALWAYS) for key in keys)
    return lambda o, u: found if (o, u) == (owner, use) else ()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON)
def test_canonical_bytes_equal_an_independent_encoder(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


def test_pre_authentication_encoding_of_the_specification() -> None:
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected


def test_every_type_is_in_the_table_under_its_own_name() -> None:
    assert {name_of(kind): kind for kind in documents.ALL} == PAYLOADS
    subclasses = {kind for kind in Statement.__subclasses__() if kind.__module__.startswith("trustnode.")}
    assert subclasses == set(documents.ALL)


def _types(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["type"]} if isinstance(node.get("type"), str) else set()
        return own.union(*(_types(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(_types(value) for value in node))
    return set()


@pytest.mark.parametrize("kind", documents.ALL, ids=name_of)
def test_no_document_has_a_float(kind: type[Statement]) -> None:
    assert "number" not in _types(msgspec.json.schema(kind))


@pytest.mark.parametrize("kind", documents.ALL, ids=name_of)
def test_every_integer_of_a_document_is_bounded(kind: type[Statement]) -> None:
    def unbounded(node: Any) -> list[Any]:
        if isinstance(node, dict):
            bad = [node] if node.get("type") == "integer" and "maximum" not in node else []
            return bad + [found for value in node.values() for found in unbounded(value)]
        return [found for value in node for found in unbounded(value)] if isinstance(node, list) else []

    assert unbounded(msgspec.json.schema(kind)) == []


def test_a_signed_document_verifies() -> None:
    key = Key(1)
    verified = verify(seal(act(), key), Act, keys_of(key), NOW)
    assert verified.value == act()
    assert verified.digest == verified.document.digest


def _payload(**changes: Any) -> dict[str, Any]:
    return {**json.loads(canonical(act())), **changes}


NOT_CANONICAL = {
    "white space": json.dumps(_payload(), sort_keys=True).encode(),
    "another key order": msgspec.json.encode(act()),
    "a default spelled out": canonical(_payload(reason="")),
    "null for absent": canonical(_payload(expires=None)),
    "a key twice": canonical(act())[:-1] + b',"cause":"VENUE"}',
    "an unknown key": canonical(_payload(extra="x")),
    "an escape that is not needed": canonical(act()).replace(b"VENUE", b"\\u0056ENUE"),
    "no type": canonical({k: v for k, v in _payload().items() if k != "type"}),
    "another type": canonical(_payload(type="offer")),
    "a byte order mark": b"\xef\xbb\xbf" + canonical(act()),
    "a line feed behind a digest": canonical(_payload(time=NOW + "\n")),
    "nothing": b"",
    "deep nesting": b"[" * 60_000,
}


@pytest.mark.parametrize("payload", NOT_CANONICAL.values(), ids=NOT_CANONICAL.keys())
def test_p7a_bytes_that_are_not_the_canonical_form_are_refused(payload: bytes) -> None:
    key = Key(1)
    signed = cosign(Document(payload_type(Act), payload), key)
    with pytest.raises(TrustnodeError) as refused:
        verify(signed, Act, keys_of(key), NOW)
    assert refused.value.reason == "MESSAGE_UNPARSABLE"


def test_an_envelope_of_one_type_offered_as_another_is_refused() -> None:
    key = Key(1)
    other = cosign(Document(payload_type(ParticipantKey), canonical(act())), key)
    with pytest.raises(TrustnodeError) as refused:
        verify(other, ParticipantKey, keys_of(key), NOW)
    assert refused.value.reason == "MESSAGE_UNPARSABLE"
    with pytest.raises(TrustnodeError) as refused:
        decode(seal(act(), key), ParticipantKey)
    assert refused.value.reason == "VOCABULARY_UNKNOWN"


def test_p7b_a_signature_over_another_payload_type_does_not_count() -> None:
    key = Key(1)
    as_other_type = cosign(Document(payload_type(ParticipantKey), canonical(act())), key)
    moved = Document(payload_type(Act), as_other_type.payload, as_other_type.signatures)
    with pytest.raises(TrustnodeError) as refused:
        verify(moved, Act, keys_of(key), NOW)
    assert refused.value.reason == "SIGNATURE_INVALID"


@given(st.integers(0, 10_000))
def test_one_flipped_bit_is_refused(position: int) -> None:
    key = Key(1)
    signed = seal(act(), key)
    payload = bytearray(signed.payload)
    payload[position % len(payload)] ^= 1 << (position % 8)
    with pytest.raises(TrustnodeError):
        verify(Document(signed.payload_type, bytes(payload), signed.signatures), Act, keys_of(key), NOW)


REFUSED = {
    "no signature": (Document(payload_type(Act), canonical(act())), keys_of(Key(1))),
    "nobody known": (seal(act(), Key(1)), lambda _owner, _use: ()),
    "a stranger's key": (seal(act(), Key(2)), keys_of(Key(1))),
    "the right key in another use": (seal(act(), Key(1)), keys_of(Key(1), use="log")),
    "the right key of another owner": (seal(act(), Key(1)), keys_of(Key(1), owner="venue-b.example")),
    "a key id that lies": (
        Document(payload_type(Act), canonical(act()), (Signature(PublicKey(Key(1).public, *ALWAYS).kid, bytes(64)),)),
        keys_of(Key(1)),
    ),
}


@pytest.mark.parametrize("document, keys", REFUSED.values(), ids=REFUSED.keys())
def test_p7b_signatures_that_do_not_suffice(document: Document, keys: Any) -> None:
    with pytest.raises(TrustnodeError) as refused:
        verify(document, Act, keys, NOW)
    assert refused.value.reason == "SIGNATURE_INVALID"


def test_a_document_for_which_nobody_is_named_can_never_be_verified() -> None:
    with pytest.raises(TrustnodeError):
        verify(seal(act(), Key(1)), Act, keys_of(Key(1)), NOW, required=())


def test_one_key_does_not_stand_for_two_signers() -> None:
    key = Key(1)
    both = [Required("a.example", "evidence"), Required("b.example", "evidence")]
    with pytest.raises(TrustnodeError) as refused:
        verify(seal(act(), key), Act, lambda _o, _u: (PublicKey(key.public, *ALWAYS),), NOW, required=both)
    assert refused.value.reason == "SIGNATURE_INVALID"


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"time": "2026-11-24T12:01:01.000Z"}, "TIME_SKEW"),
        ({"expires": "2026-11-24T11:58:59.000Z"}, "TIME_SKEW"),
    ],
    ids=["from the future", "ended"],
)
def test_times_outside_the_skew_are_refused(changes: dict[str, str], reason: str) -> None:
    with pytest.raises(TrustnodeError) as refused:
        verify(seal(act(**changes), Key(1)), Act, keys_of(Key(1)), NOW)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "key",
    [
        PublicKey(Key(1).public, "2026-11-24T12:00:00.001Z", ALWAYS[1]),
        PublicKey(Key(1).public, ALWAYS[0], "2026-11-24T11:59:59.999Z"),
        PublicKey(Key(1).public, *ALWAYS, revoked_from="2026-11-24T12:00:00.000Z"),
    ],
    ids=["not yet valid", "over", "revoked"],
)
def test_a_key_outside_its_time_does_not_sign(key: PublicKey) -> None:
    with pytest.raises(TrustnodeError) as refused:
        verify(seal(act(), Key(1)), Act, lambda _owner, _use: (key,), NOW)
    assert refused.value.reason == "SIGNATURE_INVALID"


def test_adding_a_signature_keeps_the_digest_and_replaces_the_own_one() -> None:
    one, two = Key(1), Key(2)
    signed = seal(act(), one)
    both = cosign(cosign(signed, two), two)
    assert both.digest == signed.digest
    assert len(both.signatures) == 2


def test_too_many_signatures_are_refused() -> None:
    flood = Document(payload_type(Act), canonical(act()), tuple(Signature("", bytes(64)) for _ in range(17)))
    with pytest.raises(TrustnodeError) as refused:
        decode(flood, Act)
    assert refused.value.reason == "FIELD_TOO_LONG"


def test_an_id_is_a_random_uuid() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**_payload(), "id": str(uuid.uuid1())}, Act)
