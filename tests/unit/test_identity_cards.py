"""Venue cards: which one speaks for a domain, which may follow which."""

import dataclasses

import msgspec
import pytest

from trustnode.core import clock
from trustnode.core.document import PAYLOADS, Document, canonical, cosign, decode, seal, verify
from trustnode.core.identity import (
    Card,
    accept_card,
    bundle_of,
    check_card,
    check_fingerprint,
    fingerprint,
    log_number,
    log_origin,
    node_dns,
    parse_fingerprint,
    parse_log_origin,
    vouched,
    vouched_over,
    witness_name,
)
from trustnode.core.identity.card import CardBundle, CardKey, RootKeys
from trustnode.errors import TrustnodeError
from trustnode.keys import Custody, FileSigner, NodeKeys, issue_card
from trustnode.keys.rotation import Staged
from trustnode.testing.certificates import Venue

PAYLOADS.setdefault("card", Card)
NOW = "2026-11-24T12:00:00.000Z"
UUID = "11111111-1111-4111-8111-11111111111{}"
ROOT, NEW_ROOT = FileSigner.generate(), FileSigner.generate()


def node_keys(trust_domain: str, tmp_path) -> NodeKeys:
    venue = Venue.create(trust_domain, NOW)
    signers = [FileSigner.generate() for _ in range(3)]
    return NodeKeys(venue.authority, *signers, custody=Custody(tmp_path))


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return node_keys("zj.example", tmp_path_factory.mktemp("custody"))


def make(held, last=None, signers=ROOT, /, **changes) -> Document:
    document = issue_card(
        root=ROOT,
        keys=held,
        id=UUID.format(last.value.version if last else 0),
        now=NOW,
        node_id="29133000000000000043300000000018",
        level="REGIONAL",
        area="3300",
        name="Zhejiang Data Exchange",
        endpoints=["127.0.0.1:7443"],
        previous=last,
    )
    if not changes and signers is ROOT:
        return document
    card = msgspec.json.decode(document.payload, type=Card)
    return seal(msgspec.structs.replace(card, **changes), *(signers if isinstance(signers, tuple) else (signers,)))


def refused(function, *args) -> str:
    with pytest.raises(TrustnodeError) as caught:
        function(*args)
    return caught.value.reason


def test_the_first_card_is_accepted_on_its_own_threshold(keys):
    verified = accept_card(make(keys), None, "zj.example", NOW)
    assert verified.value.version == 1
    assert verified.keys == (vouched(verified.value)["root"][0].kid,)


def test_the_first_accepted_version_may_be_any(keys):
    ninth = make(keys, version=9, previous="a" * 64)
    assert accept_card(ninth, None, "zj.example", NOW).value.version == 9


def test_a_card_is_of_the_domain_it_was_asked_for(keys):
    assert refused(accept_card, make(keys), None, "gz.example", NOW) == "IDENTITY_WRONG_DOMAIN"


def test_the_next_version_follows_and_needs_the_stored_roots(keys):
    first = accept_card(make(keys), None, "zj.example", NOW)
    second = make(keys, first)
    assert accept_card(second, first, "zj.example", NOW).value.version == 2
    assert accept_card(first.document, first, "zj.example", NOW) is first


def test_new_roots_come_with_the_signatures_of_old_and_new(keys):
    first = accept_card(make(keys), None, "zj.example", NOW)
    roots = RootKeys(1, (NEW_ROOT.public.hex(),))
    changed = {"version": 2, "previous": first.digest, "root": roots}
    assert refused(accept_card, make(keys, first, NEW_ROOT, **changed), first, "zj.example", NOW) == "SIGNATURE_INVALID"
    assert refused(accept_card, make(keys, first, ROOT, **changed), first, "zj.example", NOW) == "SIGNATURE_INVALID"
    both = make(keys, first, (ROOT, NEW_ROOT), **changed)
    assert accept_card(both, first, "zj.example", NOW).value.root == roots


def test_a_threshold_counts_distinct_keys(keys):
    roots = RootKeys(2, (ROOT.public.hex(), NEW_ROOT.public.hex()))
    one = make(keys, None, ROOT, root=roots)
    assert refused(check_card, one, NOW) == "SIGNATURE_INVALID"
    twice = msgspec.structs.replace(one, signatures=one.signatures * 2)
    assert refused(check_card, twice, NOW) == "SIGNATURE_INVALID"
    assert len(check_card(cosign(one, NEW_ROOT), NOW).keys) == 2


def test_an_older_version_and_a_fork_are_rollbacks(keys):
    first = accept_card(make(keys), None, "zj.example", NOW)
    second = accept_card(make(keys, first), first, "zj.example", NOW)
    assert refused(accept_card, first.document, second, "zj.example", NOW) == "CARD_ROLLBACK"
    fork = make(keys, first, name="Another name")
    assert refused(accept_card, fork, second, "zj.example", NOW) == "CARD_ROLLBACK"
    stranger = make(keys, first, previous="b" * 64)
    assert refused(accept_card, stranger, first, "zj.example", NOW) == "CARD_ROLLBACK"


def test_a_skipped_version_asks_for_those_between(keys):
    first = accept_card(make(keys), None, "zj.example", NOW)
    third = make(keys, first, version=3)
    with pytest.raises(TrustnodeError) as caught:
        accept_card(third, first, "zj.example", NOW)
    assert (caught.value.reason, caught.value.metadata["expected"]) == ("STALE_VERSION", "2")


def test_an_ended_card_speaks_for_nobody_but_stays_evidence(keys):
    document = make(keys)
    later = clock.shift(NOW, 391 * 86400)
    assert refused(check_card, document, later) == "TIME_SKEW"
    assert check_card(document, None).value.version == 1


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"iss": "gz.example"}, "FIELD_FORMAT"),
        ({"aud": ("gz.example",)}, "FIELD_FORMAT"),
        ({"expires": clock.shift(NOW, 401 * 86400)}, "FIELD_FORMAT"),
        ({"previous": "a" * 64}, "FIELD_FORMAT"),
        ({"version": 2}, "FIELD_FORMAT"),
        ({"root": RootKeys(2, (ROOT.public.hex(),))}, "FIELD_FORMAT"),
        ({"root": RootKeys(1, (ROOT.public.hex(),) * 2)}, "DUPLICATE"),
        ({"keys": (CardKey("log", ROOT.public.hex(), NOW, clock.FOREVER),)}, "DUPLICATE"),
        ({"time": clock.shift(NOW, 61), "expires": clock.shift(NOW, 86400)}, "TIME_SKEW"),
    ],
    ids=[
        "other issuer",
        "not for all",
        "401 days",
        "version 1 with previous",
        "no previous",
        "threshold",
        "root twice",
        "root as log key",
        "future",
    ],
)
def test_a_wrong_card_is_refused(keys, changes, reason):
    assert refused(check_card, make(keys, **changes), NOW) == reason


def test_a_foreign_key_and_a_foreign_root_are_refused(keys, tmp_path):
    others = [check_card(make(keys), NOW).value]
    mine = node_keys("gz.example", tmp_path)
    shared = msgspec.json.decode(make(mine).payload, type=Card)
    shared = msgspec.structs.replace(shared, root=RootKeys(1, (NEW_ROOT.public.hex(),)))
    assert accept_card(seal(shared, NEW_ROOT), None, "gz.example", NOW, others).value.trust_domain == "gz.example"
    stolen = msgspec.structs.replace(shared, keys=others[0].keys)
    assert refused(accept_card, seal(stolen, NEW_ROOT), None, "gz.example", NOW, others) == "DUPLICATE"
    root = msgspec.structs.replace(shared, bundle=others[0].bundle)
    assert refused(accept_card, seal(root, NEW_ROOT), None, "gz.example", NOW, others) == "FIELD_FORMAT"


def test_only_check_card_can_verify_a_card(keys):
    document = make(keys)
    any_key = vouched(check_card(document, NOW).value)
    assert refused(verify, document, Card, lambda _owner, use: any_key[use], NOW) == "SIGNATURE_INVALID"


def test_a_card_vouches_for_each_use_and_its_roots(keys):
    card = check_card(make(keys), NOW).value
    found = vouched(card)
    assert set(found) == {"root", "evidence", "log", "witness"}
    assert found["log"][0].raw == keys.log.public
    assert found["evidence"][0].valid_at(NOW)
    assert bundle_of(card, NOW).roots == (keys.authority.root,)


def test_a_card_lists_the_key_in_use_and_the_next_one_and_drops_the_one_before(keys, tmp_path):
    first = check_card(make(keys), NOW)
    new = FileSigner.generate()
    published = dataclasses.replace(keys, staged=Staged(next={"evidence": new}))
    second = check_card(make(published, first), NOW)
    assert {key.raw for key in vouched(second.value)["evidence"]} == {keys.evidence.public, new.public}
    rotated = NodeKeys(keys.authority, new, keys.log, keys.witness, Custody(tmp_path))
    third = check_card(make(rotated, second), clock.shift(NOW, 60))
    assert [key.raw for key in vouched(third.value)["evidence"]] == [new.public]
    over = vouched_over([first.value, second.value, third.value])["evidence"]
    assert [key.raw for key in over] == [new.public, keys.evidence.public]
    assert over[1].not_after == third.value.time


def test_a_fingerprint_is_eight_groups_over_the_whole_card(keys):
    document = make(keys)
    text = fingerprint(document)
    assert [len(group) for group in text.split("-")] == [4] * 8
    assert text.replace("-", "").lower() == document.digest[:32]
    check_fingerprint(document, text.lower().replace("-", " "))
    other = make(keys, name="Another name")
    assert refused(check_fingerprint, other, text) == "FINGERPRINT_MISMATCH"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4F2A",
        "D4CE-12D8-4C98-F051-C557-CAF4-B58D-CA3",
        "D4CE-12D8-4C98-F051-C557-CAF4-B58D-CA3CA",
        "D4CE-12D8-4C98-F051-C557-CAF4-B58D-CA3G",
    ],
)
def test_a_fingerprint_is_compared_in_full_or_not_at_all(text):
    assert refused(parse_fingerprint, text) == "FIELD_FORMAT"


def test_names_follow_from_the_domain():
    assert (log_origin("zj.example"), witness_name("zj.example"), node_dns("zj.example")) == (
        "zj.example/log",
        "zj.example/witness",
        "node.zj.example",
    )


def test_i5b_a_bundle_in_a_card_never_goes_back_and_the_stored_one_stays(keys):
    first = accept_card(make(keys, None, ROOT, bundle=CardBundle(7, (keys.authority.x5c,))), None, "zj.example", NOW)
    lower = {"version": 2, "previous": first.digest, "bundle": CardBundle(6, (keys.authority.x5c,))}
    assert refused(accept_card, make(keys, first, ROOT, **lower), first, "zj.example", NOW) == "CARD_ROLLBACK"
    for sequence in (-1, 2**63, 1.5, "7"):
        card = make(keys, first, ROOT, **{**lower, "bundle": CardBundle(sequence, (keys.authority.x5c,))})
        assert refused(accept_card, card, first, "zj.example", NOW) in ("MESSAGE_UNPARSABLE", "TIME_SKEW")
    assert bundle_of(first.value, NOW).sequence == 7


def test_i5a_a_card_without_roots_trusts_nobody_and_is_no_error(keys):
    empty = accept_card(make(keys, None, ROOT, bundle=CardBundle(1, ())), None, "zj.example", NOW)
    assert bundle_of(empty.value, NOW).roots == ()


def test_i5h_a_card_is_taken_only_for_the_domain_it_was_asked_for(keys):
    assert refused(accept_card, make(keys), None, "gz.example", NOW) == "IDENTITY_WRONG_DOMAIN"


# --- logs that follow each other ------------------------------------------------------------------------------------


def opening(held, last, number, *publics, **changes) -> Document:
    """A card with these log keys, of the log with this number."""
    card = msgspec.json.decode(make(held, last).payload, type=Card)
    others = tuple(key for key in card.keys if key.use != "log")
    logs = tuple(CardKey("log", public, NOW, clock.FOREVER, number) for public in publics)
    return make(held, last, ROOT, **{"keys": (*others, *logs), **changes})


def test_the_first_log_is_not_named_so_a_card_from_before_is_equal_in_every_byte(keys):
    card = make(keys)
    assert b'"log":' not in card.payload
    assert canonical(decode(card, Card)) == card.payload
    assert log_number(decode(card, Card)) == 1


@pytest.mark.parametrize(
    "origin, found",
    [
        ("zj.example/log", ("zj.example", 1)), ("zj.example/log/2", ("zj.example", 2)),
        ("zj.example/log/1000", ("zj.example", 1000)), ("zj.example/log/1", ("", 0)), ("zj.example/log/0", ("", 0)),
        ("zj.example/log/02", ("", 0)), ("zj.example/log/2/", ("", 0)), ("zj.example/witness", ("", 0)),
        ("/log", ("", 0)), ("a/b/log", ("", 0)), ("zj.example/log/2\n", ("", 0)),
    ],
)  # fmt: skip
def test_an_origin_names_a_domain_and_a_log(origin, found):
    assert parse_log_origin(origin) == found
    if found[1]:
        assert log_origin(*found) == origin


def test_a_card_opens_the_next_log_with_a_new_key_and_closes_the_one_before(keys):
    first = accept_card(make(keys), None, "zj.example", NOW)
    old, new = keys.log.public.hex(), FileSigner.generate().public.hex()
    second = accept_card(opening(keys, first, 2, new), first, "zj.example", NOW)
    assert log_number(second.value) == 2
    assert [(key.raw.hex(), key.log) for key in vouched(second.value)["log"]] == [(new, 2)]
    assert refused(accept_card, opening(keys, first, 2, old), first, "zj.example", NOW) == "DUPLICATE"
    assert refused(accept_card, opening(keys, first, 3, new), first, "zj.example", NOW) == "CARD_ROLLBACK"
    assert refused(accept_card, opening(keys, second, 1, old), second, "zj.example", NOW) == "CARD_ROLLBACK"


def test_a_card_speaks_of_one_log(keys):
    first = accept_card(make(keys), None, "zj.example", NOW)
    card = msgspec.json.decode(make(keys, first).payload, type=Card)
    beside = CardKey("log", FileSigner.generate().public.hex(), NOW, clock.FOREVER, 2)
    both = make(keys, first, ROOT, keys=(*card.keys, beside))
    assert refused(accept_card, both, first, "zj.example", NOW) == "FIELD_FORMAT"
    other = tuple(msgspec.structs.replace(key, log=2) if key.use == "witness" else key for key in card.keys)
    assert refused(accept_card, make(keys, first, ROOT, keys=other), first, "zj.example", NOW) == "FIELD_FORMAT"


def test_a_later_card_of_the_next_log_goes_on_with_it(keys):
    first = accept_card(make(keys), None, "zj.example", NOW)
    fresh = FileSigner.generate()
    second = accept_card(opening(keys, first, 2, fresh.public.hex()), first, "zj.example", NOW)
    moved = dataclasses.replace(keys, log=fresh, staged=Staged(next={"log": FileSigner.generate()}))
    third = accept_card(make(moved, second), second, "zj.example", NOW)
    assert {key.log for key in third.value.keys if key.use == "log"} == {2}
    assert len([key for key in third.value.keys if key.use == "log"]) == 2
