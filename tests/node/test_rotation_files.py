"""Key files that change places: whatever point a change is cut off at, the next start completes it."""

import itertools
import shutil

import pytest

from trustnode.core import documents as _documents  # noqa: F401 (closes the table of document types)
from trustnode.core.identity import Card, check_card
from trustnode.errors import TrustnodeError
from trustnode.keys import FileSigner, create_node_keys, issue_card, load_node_keys, root_signers, rotation
from trustnode.keys import cards as making
from trustnode.keys.rotation import KINDS, is_staged, promote, read_revocations, stage, take_back

NOW = "2026-11-24T12:00:00.000Z"
DOMAIN = "zj.example"
FIELDS = {
    "id": "11111111-1111-4111-8111-111111111111", "now": NOW, "node_id": "29133000000000000043300000000018",
    "level": "REGIONAL", "area": "3300", "name": "Zhejiang", "endpoints": ["127.0.0.1:7443"],
}  # fmt: skip


@pytest.fixture
def home(tmp_path):
    create_node_keys(tmp_path, DOMAIN, NOW, roots=3)
    return tmp_path


def content(keys) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in keys.glob("*.*") if path.is_file()}


class Cut(Exception):
    """The machine stops here."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_that_is_cut_off_anywhere_is_completed_at_the_next_start(home, monkeypatch, kind, tmp_path):
    keys = home / "keys"
    stage(keys, kind, DOMAIN, NOW)
    expected = None
    for at in itertools.count():
        copy = tmp_path / f"cut-{at}"
        shutil.copytree(keys, copy)
        steps = 0
        real = rotation.Path.replace

        def replace(path, target, at=at, real=real):
            nonlocal steps
            if steps == at:
                raise Cut
            steps += 1
            return real(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(rotation.Path, "replace", replace)
            try:
                promote(copy, kind, NOW)
                whole = True
            except Cut:
                whole = False
        rotation.finish(copy)
        if at > 0 and not whole:  # before the journal stands nothing has happened, and the step is begun again
            assert not is_staged(copy, kind)
        if whole:
            expected = content(copy)
            break
    assert expected is not None
    for number in range(1, at):
        assert content(tmp_path / f"cut-{number}") == expected, number


def test_one_key_is_staged_at_a_time(home):
    stage(home / "keys", "log", DOMAIN, NOW)
    with pytest.raises(TrustnodeError) as caught:
        stage(home / "keys", "log", DOMAIN, NOW)
    assert caught.value.reason == "DUPLICATE"


def test_what_was_taken_back_stands_on_no_card_and_its_successor_does(home):
    keys = load_node_keys(home, DOMAIN, NOW)
    stage(home / "keys", "evidence", DOMAIN, NOW)
    staged = load_node_keys(home, DOMAIN, NOW).staged.next["evidence"]
    elsewhere = FileSigner.generate()
    listed = [("evidence", elsewhere.public.hex()), ("order", FileSigner.generate().public.hex())]
    take_back(home / "keys", ["evidence", "authority"], DOMAIN, NOW, "2026-11-20T00:00:00.000Z", listed)
    taken = {one.public for one in read_revocations(home / "keys") if one.use == "evidence"}
    assert taken == {signer.public.hex() for signer in (keys.evidence, staged, elsewhere)}
    after = load_node_keys(home, DOMAIN, NOW)
    card = check_card(issue_card(root=root_signers(home), threshold=2, keys=after, **FIELDS), NOW).value
    assert [key.public for key in card.keys if key.use == "evidence"] == [after.staged.next["evidence"].public.hex()]
    assert len(card.bundle.x5c) == 1
    assert card.bundle.x5c != (keys.authority.x5c,)
    assert card.root.threshold == 2


def test_a_draft_collects_roots_until_old_and_new_suffice(home, tmp_path):
    keys, roots = load_node_keys(home, DOMAIN, NOW), root_signers(home)
    first = issue_card(root=roots, threshold=2, keys=keys, **FIELDS)
    drafted = making.draft_card(keys=keys, previous=check_card(first, NOW), **FIELDS)
    path = tmp_path / "next.card"
    making.write_draft(path, making.seal(drafted), first)
    with pytest.raises(TrustnodeError) as stranger:
        making.sign_draft(path, FileSigner.generate())
    assert stranger.value.reason == "ROLE_NOT_ALLOWED"
    assert not making.sign_draft(path, roots[0]).complete
    with pytest.raises(TrustnodeError) as early:
        making.check_next(making.read_draft(path)[0], first, keys, NOW)
    assert early.value.reason == "SIGNATURE_INVALID"
    assert making.sign_draft(path, roots[2]).complete
    document, _ = making.read_draft(path)
    assert making.check_next(document, first, keys, NOW).value.version == 2
    strange = load_node_keys(home, DOMAIN, NOW)
    object.__setattr__(strange, "evidence", FileSigner.generate())
    with pytest.raises(TrustnodeError) as other:
        making.check_next(document, first, strange, NOW)
    assert other.value.reason == "CONFIG_INVALID"
    assert isinstance(drafted, Card)
