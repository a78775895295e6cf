"""Signed heads in the database: ours, those cosigned for others, forks."""

from types import NoneType

import pytest

from trustnode.errors import TrustnodeError
from trustnode.store.checkpoints import MAX_FORKS, Fork, KeptCheckpoint, Witnessed

ROOT, OTHER = b"r" * 32, b"o" * 32
TIME = "2026-11-24T12:00:00.000Z"


def do(store, unit):
    return store.write(lambda tx: unit(tx) and None, event_id="", returns=NoneType)


def kept(size, root=ROOT, note=b"signed"):
    return KeptCheckpoint(size, root, TIME, note)


def fork(size=5, root=OTHER, *, proven=True, origin="lie.example/log"):
    return Fork(origin, size, root, b"held", b"shown", b"", b"", proven, "told.example", TIME)


async def test_heads_come_back_by_size_and_the_newest_is_the_largest(store):
    await do(store, lambda tx: [tx.keep_checkpoint(kept(size)) for size in (3, 9, 7)])
    assert (await store.read(lambda view: view.newest_checkpoint())).size == 9
    assert await store.read(lambda view: view.checkpoint_of(7)) == kept(7)
    assert await store.read(lambda view: view.checkpoint_of(8)) is None


async def test_before_the_first_signature_there_is_no_newest(store):
    assert await store.read(lambda view: view.newest_checkpoint()) is None


@pytest.mark.parametrize("index, sizes", [(0, [3, 7, 9]), (2, [3, 7, 9]), (3, [7, 9]), (8, [9]), (9, [])])
async def test_an_entry_is_covered_by_the_heads_that_are_larger_the_smallest_first(store, index, sizes):
    await do(store, lambda tx: [tx.keep_checkpoint(kept(size)) for size in (3, 9, 7)])
    assert [one.size for one in await store.read(lambda view: list(view.checkpoints_covering(index)))] == sizes


async def test_a_note_is_replaced_by_the_one_with_more_cosignatures(store):
    await do(store, lambda tx: tx.keep_checkpoint(kept(3)))
    await do(store, lambda tx: tx.keep_checkpoint(kept(3, note=b"signed, cosigned")))
    assert (await store.read(lambda view: view.checkpoint_of(3))).note == b"signed, cosigned"


async def test_a_size_has_one_root_for_ever(store):
    await do(store, lambda tx: tx.keep_checkpoint(kept(3)))
    with pytest.raises(TrustnodeError) as refused:
        await do(store, lambda tx: tx.keep_checkpoint(kept(3, OTHER)))
    assert refused.value.reason == "STORE_CORRUPT"


@pytest.mark.parametrize("late", [Witnessed("a/log", 4, ROOT, b"n", TIME), Witnessed("a/log", 5, OTHER, b"n", TIME)])
async def test_what_was_cosigned_for_a_log_never_goes_back(store, late):
    await do(store, lambda tx: tx.set_witnessed(Witnessed("a/log", 5, ROOT, b"n", TIME)))
    with pytest.raises(TrustnodeError) as refused:
        await do(store, lambda tx: tx.set_witnessed(late))
    assert refused.value.reason == "STALE_VERSION"
    assert (await store.read(lambda view: view.witnessed("a/log"))).size == 5


async def test_a_fork_is_news_once_and_again_when_it_is_proven(store):
    news = [
        await store.write(lambda tx, one=one: tx.keep_fork(one), event_id="", returns=bool)
        for one in (fork(proven=False), fork(proven=False), fork(), fork(proven=False))
    ]
    assert news == [True, False, True, False]
    assert [one.proven for one in await store.read(lambda view: view.forks())] == [True]


async def test_a_log_that_lies_without_end_does_not_fill_the_disk(store):
    await do(store, lambda tx: [tx.keep_fork(fork(size)) for size in range(1, MAX_FORKS + 9)])
    await do(store, lambda tx: tx.keep_fork(fork(origin="other.example/log")))
    assert len(await store.read(lambda view: view.forks("lie.example/log"))) == MAX_FORKS
    assert len(await store.read(lambda view: view.forks())) == MAX_FORKS + 1


async def test_only_a_suspicion_can_be_dropped(store):
    await do(store, lambda tx: [tx.keep_fork(fork(5, proven=False)), tx.keep_fork(fork(6))])
    await do(store, lambda tx: [tx.forget_suspicion("lie.example/log", size, OTHER) for size in (5, 6)])
    assert [one.size for one in await store.read(lambda view: view.forks())] == [6]
